"""Watches recognitions go by: keeps the last ones in numbers and small pictures, draws how they evolve, and sees drift.

    monitor = voxray.AttentionMonitor(history=100)
    monitor.update(model.trace("clip.wav"))
    monitor.steps[-1].statistics["focus"]
    monitor.draw(path="evolution.png"); monitor.animate("evolution.gif")

Memory is bounded: of each recognition some numbers, its text and a picture of at most 32 by 96 cells are kept, of no more than
``history`` of them. All methods may be called from several threads.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.studies.drift import DriftOptions, DriftWatch, Profile
from voxray.studies.steps import STATISTICS, Span, Step, step_of_weights, steps_of
from voxray.trace import Trace
from voxray.types import OptionError, OutputError

CURVES = {
    "focus": "focus",
    "entropy": "entropy (bits)",
    "silence_leakage": "into silence",
    "confidence": "confidence",
    "tokens_per_second": "tokens / s",
}
"""The figures that run under the pictures, and what they are called there."""
LAST = 10
TITLE = "Attention from one recognition to the next"
PROVENANCE = "mean over layers and heads · one colour scale for all maps · a view, not an explanation"
Callback = Callable[[Step], object]


class AttentionMonitor:
    """The last recognitions, in numbers and small pictures.

    Attributes:
        history: how many steps are kept.
        profile: what recognitions should be like; None where nothing is compared.
    """

    def __init__(self, history: int = 100, *, profile: Profile | None = None, drift: DriftOptions | None = None) -> None:
        """Begin with nothing.

        Args:
            history: how many steps are kept, at least 1.
            profile: of a good corpus; then every settled step is judged for drift.
            drift: how.

        Raises:
            OptionError: when ``history`` is below 1.
        """
        if history < 1:
            raise OptionError(f"history must be at least 1 step, got {history}")
        self.history, self.profile = history, profile
        self._steps: deque[Step] = deque(maxlen=history)
        self._watch = None if profile is None else DriftWatch(profile, drift or DriftOptions())
        self._callbacks: list[Callback] = []
        self._count = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        watched = "" if self.profile is None else f", profile of {self.profile.count} utterances"
        return f"AttentionMonitor({len(self.steps)} of at most {self.history} steps{watched})"

    def update(
        self,
        seen: Trace | npt.ArrayLike,
        prediction: str | Sequence[str] = "",
        *,
        confidences: npt.ArrayLike | None = None,
        hop: float | None = None,
        speech: Sequence[Span] | None = None,
        offset: float = 0.0,
        settled: bool = True,
    ) -> tuple[Step, ...]:
        """Take one recognition in.

        Args:
            seen: a trace (each of its pieces is a step), or attention alone: (L, H, U, T), (H, U, T) or (U, T). What attention
                alone cannot tell is NaN. Nothing of either is kept but a small picture.
            prediction: with attention alone, the text or the texts of the tokens.
            confidences: with attention alone, (U,) the probability of each token.
            hop: with attention alone, seconds between frames.
            speech: with a trace, where somebody speaks in it, seconds; None finds it by voice activity.
            offset: with a trace, seconds to add to its times.
            settled: whether the recognition is final; of partial ones drift is not judged.

        Returns:
            The steps as they were kept.

        Raises:
            OptionError: when arrays have other shapes, or the profile belongs to another model.
        """
        if isinstance(seen, Trace):
            found = steps_of(seen, speech=speech, offset=offset, settled=settled)
        else:
            found = [replace(step_of_weights(seen, prediction, confidences=confidences, hop=hop), settled=settled)]
        return tuple(self._keep(step) for step in found)

    def subscribe(self, callback: Callback) -> None:
        """Have a function called with every step that is taken in from now on, in the thread that took it in."""
        with self._lock:
            self._callbacks.append(callback)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is kept, oldest first."""
        with self._lock:
            return tuple(self._steps)

    def series(self, name: str) -> npt.NDArray[np.float64]:
        """Return one figure of all steps that are kept, (n,) float64, NaN where it cannot be told.

        Raises:
            OptionError: when there is no such figure.
        """
        if name not in STATISTICS:
            raise OptionError(f"no figure is called {name!r}; choose one of {', '.join(STATISTICS)}")
        return np.array([step.statistics[name] for step in self.steps], np.float64)

    def learn(self, name: str = "") -> Profile:
        """Return a profile of the settled steps that are kept.

        Args:
            name: of the model.

        Raises:
            OptionError: when there are fewer than 20.
        """
        return Profile.of(self.steps, name=name)

    def draw(self, path: str | os.PathLike[str] | None = None, *, last: int = LAST, **options: Any) -> Any:
        """Draw the last steps as small maps, and some figures under them.

        Args:
            path: where to write the picture, PNG, SVG or PDF; None returns the figure.
            last: how many.
            **options: ``theme``, ``dpi`` and ``width`` of the picture.

        Returns:
            The matplotlib figure, or the path.

        Raises:
            OptionError: when there is no step yet, or an option does not exist.
            OutputError: when the picture cannot be written.
        """
        from voxray.views.canvas import Style, save_figure
        from voxray.views.evolution import draw_evolution

        style = _style(Style, options)
        figure = draw_evolution(*self._shown(last), style, title=TITLE, provenance=PROVENANCE)
        return figure if path is None else save_figure(figure, Path(path), style)

    def animate(self, path: str | os.PathLike[str], *, last: int = LAST, **options: Any) -> Path:
        """Write the last steps as a film, one a frame: GIF or MP4 by the path's ending.

        Args:
            path: ends in ``.gif`` or ``.mp4``.
            last: how many.
            **options: ``theme`` and ``dpi`` (at most 150) of the pictures.

        Raises:
            OptionError: when there is no step yet, the path ends otherwise, or an option does not exist.
            OutputError: when the film cannot be written.
        """
        from voxray.views.canvas import Style
        from voxray.views.evolution import write_film

        style = _style(Style, {"dpi": 110, **options})
        return write_film(*self._shown(last), Path(path), style, title=TITLE, provenance=PROVENANCE)

    def _keep(self, step: Step) -> Step:
        """Number a step, judge it, keep it, and tell whoever wants to know."""
        with self._lock:
            kept = replace(step, index=self._count)
            if self._watch is not None and step.settled:
                kept = replace(kept, drift=self._watch.add(kept))
            self._steps.append(kept)
            self._count += 1
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback(kept)
        return kept

    def _shown(self, last: int) -> tuple[list[Any], dict[str, npt.NDArray[np.float64]]]:
        """Return the panels and curves of the last steps."""
        from voxray.views.evolution import Panel

        if last < 1:
            raise OptionError(f"last must be at least 1 step, got {last}")
        steps = self.steps[-last:]
        panels = [Panel(step.index, step.text, step.tokens, step.thumbnail, step.start, step.end) for step in steps]
        named = {called: np.array([step.statistics[name] for step in steps]) for name, called in CURVES.items()}
        return panels, named


class JsonLines:
    """Writes every step as one line of JSON at the end of a file, at once; give it to ``AttentionMonitor.subscribe``.

    Attributes:
        path: the file; what it held stays.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._append("")  # a place that cannot be written to is told now, not at the first step

    def __call__(self, step: Step) -> None:
        """Write a step.

        Raises:
            OutputError: when the file cannot be written to.
        """
        self._append(json.dumps(step.to_dict(), ensure_ascii=False) + "\n")

    def _append(self, line: str) -> None:
        try:
            with self._lock, self.path.open("a", encoding="utf-8") as file:  # closed, so that it is on disk and can be rotated
                file.write(line)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written to ({error.strerror}); choose another place") from error


def _style(kind: Any, options: dict[str, Any]) -> Any:
    """Return the style that keywords ask for.

    Raises:
        OptionError: when there is no such option.
    """
    wrong = [name for name in options if name not in kind.__dataclass_fields__]
    if wrong:
        raise OptionError(f"no option is called {wrong[0]!r}; choose from {', '.join(kind.__dataclass_fields__)}")
    return kind(**options)
