"""Two opened models that exchange their layers: what it takes to find where in the network they come apart.

No family of its own: it works on any two recognisers whose encoder is a stack of SANM layers with a head for every frame.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from voxray.graph.anatomy import Anatomy
from voxray.graph.session import RunOptions
from voxray.graph.transplant import HEAD, NORM, PARTS, Bench, Donor, Part, unlike
from voxray.types import Features, FloatArray

__all__ = ["HEAD", "NORM", "PARTS", "Exchange", "Part", "why_not"]


class Exchange:
    """Two models of one shape, of which every part can be taken from either.

    Attributes:
        parts: (layer, name) of all of them, from the sound to the output head; what comes after the layers has their number.
    """

    def __init__(self, host: Any, guest: Any, *, threads: int | None = None) -> None:
        """Lay two models side by side.

        Args:
            host: whose graph is used, in floating point.
            guest: whose parts can be put in.
            threads: for one operator; None takes every core.

        Raises:
            OptionError: when their shapes differ.
            ModelError: when their weights cannot be read or do not fit into memory.
        """
        self._host = host
        self._bench = Bench(Donor(host.graph, host.anatomy), Donor(guest.graph, guest.anatomy), RunOptions(threads))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, from the sound to the head."""
        return self._bench.parts

    def logits(
        self, part: Features, language: str, *, textnorm: bool, guest: Collection[Part] = (), rounding: bool = True
    ) -> FloatArray:
        """Return the output rows of one piece of sound with some parts of the guest's and all others of the host's.

        Args:
            part: the features of the piece, as the host takes them.
            language: its prompt.
            textnorm: its prompt.
            guest: parts to take from the guest.
            rounding: whether they round what enters them to 8 bits where the guest does so as it runs.

        Returns:
            (N, V) float32.
        """
        return self._bench.run(self._host.feeds([part.values], language, textnorm=textnorm), guest, rounding=rounding)


def why_not(host: Any, guest: Any) -> str:
    """Return in a few words why two models cannot exchange their layers; nothing where they can."""
    for model in (host, guest):
        if model.cross_shape is not None or not isinstance(getattr(model, "anatomy", None), Anatomy):
            return f"{model.family} has a decoder"
    if host.heads != guest.heads:
        return f"{host.heads} and {guest.heads} heads"
    return unlike(Donor(host.graph, host.anatomy), Donor(guest.graph, guest.anatomy))
