"""Visits: what the server knows of each visitor while the page is open, and the models that all of them share."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import voxray

Found = TypeVar("Found")
BUNDLED, BUNDLED_INT8 = "bundled", "bundled, int8"
KEPT = 3600.0  # s without a sign of life
MOST = 200  # visits at once; the oldest ends
REMEMBERED = 24  # results of one sound


@dataclass(frozen=True, slots=True)
class Ask:
    """How a sound is to be recognised: model by its name on the page, language prompt, text norm."""

    model: str = BUNDLED
    language: str = "auto"
    textnorm: bool = False


@dataclass(slots=True)
class Visit:
    """One open page.

    Attributes:
        audio: the sound that was given last; None before.
        ask: how it was recognised.
        trace: what was recognised; None before.
        target: what was chosen last, as ``explain`` takes it.
        tokens: names of what lies on the shelf for the present recognition.
        before: those of the one before, which the page may still be fetching.
        live: the recogniser of the microphone and its monitor; None where it does not run.
        seen: monotonic seconds of the last request.
    """

    audio: voxray.Audio | None = None
    ask: Ask = field(default_factory=Ask)
    trace: Any = None
    target: str = ""
    tokens: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    live: Any = None
    seen: float = field(default_factory=time.monotonic)
    lock: Any = field(default_factory=threading.RLock, repr=False)
    _results: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Found]) -> Found:
        """Return a result of the present sound, made only the first time that it is asked for."""
        with self.lock:
            if key not in self._results:
                self._results[key] = make()
                while len(self._results) > REMEMBERED:
                    self._results.popitem(last=False)
            self._results.move_to_end(key)
            found: Found = self._results[key]
            return found

    def begin(self, audio: voxray.Audio, ask: Ask, trace: Any) -> list[str]:
        """Take a new recognition; what was found about the old one goes. Returns the names of what can leave the shelf."""
        with self.lock:
            gone, self.before, self.tokens = self.before, self.tokens, []
            self.audio, self.ask, self.trace, self.target = audio, ask, trace, ""
            self._results.clear()
        return gone


class Visits:
    """Every open page, by the visitor's cookie and the page's own name."""

    def __init__(self, *, kept: float = KEPT, most: int = MOST) -> None:
        self._kept, self._most = kept, most
        self._open: OrderedDict[tuple[str, str], Visit] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, owner: str, page: str) -> Visit:
        """Return the visit of a page; a new one where there is none. Visits without a sign of life end."""
        now = time.monotonic()
        with self._lock:
            for key in [key for key, visit in self._open.items() if now - visit.seen > self._kept]:
                del self._open[key]
            visit = self._open.setdefault((owner, page), Visit())
            visit.seen = now
            self._open.move_to_end((owner, page))
            while len(self._open) > self._most:
                self._open.popitem(last=False)
            return visit

    def end(self, owner: str, page: str) -> list[str]:
        """End a visit; returns the names of what it had on the shelf."""
        with self._lock:
            visit = self._open.pop((owner, page), None)
        return [] if visit is None else [*visit.before, *visit.tokens]

    def __len__(self) -> int:
        return len(self._open)


class Models:
    """The models that visitors may choose: those that the one who starts the server lists, and the bundled ones.

    Args:
        sources: what ``load_model`` takes.

    Raises:
        ModelError: when the first cannot be opened.
    """

    def __init__(self, sources: tuple[str, ...] = ()) -> None:
        self._sources: dict[str, Any] = {}
        for source in sources:
            name = Path(source).name if Path(source).exists() else source
            same = sum(one.split(" #")[0] == name for one in self._sources)
            self._sources[f"{name} #{same + 1}" if same else name] = source
        self._sources[BUNDLED] = None
        self._sources[BUNDLED_INT8] = Path(voxray.__file__).parent / "assets" / "model" / "model_quant.onnx"
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.open(self.names[0])

    @property
    def names(self) -> tuple[str, ...]:
        """As the page shows them; the first is chosen at first."""
        return tuple(self._sources)

    def open(self, name: str) -> Any:
        """Return an open model.

        Raises:
            OptionError: when it is none of those listed.
            ModelError: when it cannot be opened.
        """
        if name not in self._sources:
            raise voxray.OptionError("there is no such model on this server; choose one of the list")
        if name in self._opened:  # whoever waits for a large model keeps nobody else waiting
            return self._opened[name]
        with self._lock:
            if name not in self._opened:
                self._opened[name] = voxray.load_model(self._sources[name])
            return self._opened[name]
