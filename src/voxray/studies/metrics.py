"""What a monitor and live recognition see, as metrics that Prometheus fetches.

One registry each, apart from the library's global one, so that several can live in a process. Figures are those of the latest
settled step; names end in their unit as Prometheus wants it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from voxray.studies.steps import STATISTICS, Step
from voxray.types import OptionError

if TYPE_CHECKING:
    from voxray.studies.live import LiveEvent

UNITS = {
    "bits": "_bits",
    "share": "_ratio",
    "probability": "_ratio",
    "s": "_seconds",
    "nats": "_nats",
    "dB": "_decibels",
    "1/s": "",
}


class Metrics:
    """Metrics of one recogniser; give it to ``AttentionMonitor.subscribe``.

    Attributes:
        registry: the ``prometheus_client.CollectorRegistry`` that holds them.

    Raises:
        OptionError: when ``prometheus_client`` is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as client
        except ImportError:
            raise OptionError("metrics need prometheus_client; install it with: pip install 'voxray[monitor]'") from None
        self._client: Any = client
        self.registry = client.CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self._figures = {
            name: client.Gauge(f"voxray_{name}{UNITS[unit]}", f"{name} of the latest settled step, {unit}", **own)
            for name, unit in STATISTICS.items()
        }
        self._steps = client.Counter("voxray_steps", "Recognitions taken in", ["kind"], **own)
        self._tags = client.Counter("voxray_tags", "Labels decided by settled recognitions", ["kind", "label"], **own)
        self._distance = client.Gauge("voxray_drift_distance", "Distance of the latest window from the profile", ["figure"], **own)
        self._psi = client.Gauge("voxray_drift_psi", "Population stability index of the latest window", ["figure"], **own)
        self._p = client.Gauge("voxray_drift_p", "p-value of the latest window, corrected for all figures", ["figure"], **own)
        self._alarm = client.Gauge("voxray_drift_alarm", "1 while enough windows in a row are suspicious", **own)
        self._alarms = client.Counter("voxray_drift_alarms", "Times that an alarm began", **own)
        self._lag = client.Gauge("voxray_live_lag_seconds", "Seconds that live recognition is behind the clock", **own)
        self._heard = client.Gauge("voxray_live_heard_seconds", "Seconds of sound taken in", **own)
        self._skipped = client.Gauge("voxray_live_skipped", "Partial recognitions left out since the start", **own)
        self._spent = client.Histogram("voxray_live_recognition_seconds", "Seconds spent on a recognition", ["kind"], **own)
        self._alarmed = False

    def __call__(self, step: Step) -> None:
        """Take a step in."""
        self._steps.labels("settled" if step.settled else "partial").inc()
        if not step.settled:
            return
        for name, value in step.statistics.items():
            self._figures[name].set(value)
        for kind, label in step.tags.items():
            self._tags.labels(kind, label).inc()
        if step.drift is None:
            return
        for name, shift in step.drift.shifts.items():
            self._distance.labels(name).set(shift.distance)
            self._p.labels(name).set(shift.adjusted)
            if not math.isnan(shift.psi):
                self._psi.labels(name).set(shift.psi)
        self._alarm.set(step.drift.alarm)
        if step.drift.alarm and not self._alarmed:
            self._alarms.inc()
        self._alarmed = step.drift.alarm

    def live(self, event: LiveEvent) -> None:
        """Take an event of live recognition in."""
        self._lag.set(event.lag)
        self._heard.set(event.heard)
        self._skipped.set(event.skipped)
        if event.kind in ("partial", "final"):
            self._spent.labels(event.kind).observe(event.seconds)

    def text(self) -> str:
        """Return the metrics as Prometheus reads them."""
        told: bytes = self._client.generate_latest(self.registry)
        return told.decode()

    def serve(self, port: int, host: str = "127.0.0.1") -> tuple[Any, Any]:
        """Answer on a port in a thread of its own; on this machine only unless another address is given.

        Returns:
            The server, whose ``shutdown()`` ends it and whose ``server_port`` tells the port, and its thread.

        Raises:
            OptionError: when the port cannot be had.
        """
        try:
            server, thread = self._client.start_http_server(port, addr=host, registry=self.registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OptionError(f"the metrics cannot be served on {host}:{port} ({reason}); choose another port") from error
        return server, thread
