"""Occlusion: hide one window of the sound after the other and see how far the score falls.

**Source:** Zeiler and Fergus 2014, on images; windows of 120 ms suit speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.masking import (
    BoolArray,
    Domain,
    Fill,
    Filling,
    Float64Array,
    Runs,
    Segments,
    bands,
    coarse_to_fine,
    grid_of,
    spacing,
    windows,
    words,
)
from voxray.methods import Found, Needs
from voxray.targets import ScoreName
from voxray.types import OptionError, shortened

FRAME = 0.01  # seconds; no window is shorter than a cell


@dataclass(frozen=True, slots=True)
class Method:
    """Occlusion of windows over time, or of tiles of time by mel.

    Attributes:
        width: seconds of a window.
        hop: seconds from window to window.
        mels: bands over the mel filters; 1 hides all of them.
        score: which score must fall.
        fill: what takes the place of what is hidden.
        domain: whether features or samples are replaced.
        seed: of the fill.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    answers: ClassVar[str] = (
        "How far does the decision fall when this stretch of sound (or this part of its spectrum) is not there?"
    )
    cannot: ClassVar[str] = (
        "It misses evidence that is there twice: hiding either copy changes nothing. What fills the gap matters."
    )
    cost: ClassVar[str] = (
        "One pass for each window, about 17 for a second of sound; as many times more as there are bands. All targets share them."
    )
    source: ClassVar[str] = "Zeiler and Fergus 2014; windows over speech as in Pastor et al. 2024."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    width: float = 0.12
    hop: float = 0.06
    mels: int = 1
    score: ScoreName = "forced"
    fill: Fill = "noise_floor"
    domain: Domain = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        Filling(self.fill, self.domain, self.seed)
        bands(self.mels)
        if self.domain == "waveform" and self.mels != 1:
            raise OptionError(f"mels is {self.mels}, but a waveform is masked over time alone; give mels 1 or the domain features")
        if not FRAME <= self.hop <= self.width:
            raise OptionError(f"hop is {self.hop} s and width {self.width} s; expected {FRAME} s <= hop <= width")

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case."""
        edges = bands(self.mels, case.front.mels)
        step = spacing(case.cells)
        segments = windows(len(case.bank), round(self.width / step), round(self.hop / step), edges)
        runs = Runs(case, segments, Filling(self.fill, self.domain, self.seed), self.score)
        order = coarse_to_fine(len(segments))
        case.affordable(len(segments))
        drops = runs.base - runs.all(np.eye(len(segments), dtype=bool)[order])
        maps, reached = _spread(segments, order[: len(drops)], drops)
        grid = grid_of(case.cells, np.arange(len(case.bank) + 1), edges)
        ended = f"the budget ended after {len(drops)} of {len(segments)} windows; "
        notes = (runs.note, *([ended + _unreached(case, reached)] if len(drops) < len(segments) else []))
        unreached = _gaps(case, reached)
        return [
            Found(one[edges[:-1]].astype(np.float32), grid, float(base), runs.unit, notes=notes, unreached=unreached)
            for one, base in zip(maps, runs.base, strict=True)
        ]


def _spread(segments: Segments, hidden: list[int], drops: Float64Array) -> tuple[Float64Array, BoolArray]:
    """Spread drops (n, A) of windows evenly over their frames, averaged over the windows that cover a cell.

    Returns:
        (A, mels, F), the same at every filter of a band; and the cells that any window covers, (mels, F).
    """
    maps, cover = np.zeros((drops.shape[1], *segments.shape)), np.zeros(segments.shape)
    for (low, high, first, stop), drop in zip(segments.spans[hidden], drops, strict=True):
        maps[:, low:high, first:stop] += drop[:, None, None] / (stop - first)
        cover[low:high, first:stop] += 1
    return maps / np.maximum(cover, 1), cover > 0


def _gaps(case: Case, reached: BoolArray) -> tuple[tuple[float, float], ...]:
    """Return from and to, in seconds, where nothing was hidden at any filter."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], reached.any(axis=0), [True]]).astype(int)))
    return tuple((float(first), float(last)) for first, last in case.cells.times[edges].reshape(-1, 2))


def _unreached(case: Case, reached: BoolArray) -> str:
    """Say how much was never hidden, and which words no part of which was."""
    told = f"{1 - reached.mean():.0%} of the cells were never hidden"
    said = case.trace.words
    spans = words(case.cells, said) if said else ()
    unheard = [word.text for word, (first, stop) in zip(said, spans, strict=True) if not reached[:, first:stop].any()]
    return told + (f", and no part of these words, so their 0 says nothing: {shortened(' '.join(unheard), 80)}" if unheard else "")
