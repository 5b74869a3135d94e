"""Leave one word out: hide each word and see how far the score falls.

**Source:** Pastor et al. 2024, word-level audio segments (SpeechXAI).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.alignment import REACH
from voxray.case import Case
from voxray.masking import WIDEN, Domain, Fill, Filling, Runs, Segments, coarse_to_fine, grid_of, spacing, words, words_and_pauses
from voxray.methods import Found, Needs
from voxray.targets import ScoreName
from voxray.types import Grid, IntArray, shortened


@dataclass(frozen=True, slots=True)
class Method:
    """What each word is worth to each decision.

    Attributes:
        score: which score must fall.
        fill: what takes the place of what is hidden.
        domain: whether features or samples are replaced.
        seed: of the fill.
    """

    name: ClassVar[str] = "word_leave_one_out"
    title: ClassVar[str] = "Leave one word out"
    answers: ClassVar[str] = "Which spoken words does the decision lean on: how far does it fall when a word cannot be heard?"
    cannot: ClassVar[str] = "It says nothing about pauses or about parts of words, and misses what two words say alike."
    cost: ClassVar[str] = "One pass for each word; all targets share them."
    source: ClassVar[str] = "Pastor et al. 2024 (2309.07733)."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    score: ScoreName = "forced"
    fill: Fill = "noise_floor"
    domain: Domain = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        Filling(self.fill, self.domain, self.seed)

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case.

        Raises:
            OptionError: when nothing was said.
        """
        said = words(case.cells, case.trace.words)
        segments = _widened(said, case.cells)
        runs = Runs(case, segments, Filling(self.fill, self.domain, self.seed), self.score)
        order = coarse_to_fine(len(segments))
        case.affordable(len(segments))
        drops = runs.base - runs.all(np.eye(len(segments), dtype=bool)[order])
        edges = words_and_pauses(case.cells, case.trace.words)
        places = np.searchsorted(edges, said[order[: len(drops)], 0])
        how = (
            f"words reach half-way to their neighbours, at most {REACH * 1000:.0f} ms beyond their times, and are "
            f"hidden with {WIDEN * 1000:.0f} ms more on both sides"
        )
        left = sorted(order[len(drops) :])
        unheard = [case.trace.words[at].text for at in left]
        unreached = tuple((float(a), float(b)) for a, b in case.cells.times[said[left]])
        missing = (
            f"the budget ended after {len(drops)} of {len(segments)} words; never hidden, so their 0 says nothing: "
            f"{shortened(' '.join(unheard), 80)}"
        )
        notes = (runs.note, how, *([missing] if unheard else []))
        found = []
        for drop, base in zip(drops.T, runs.base, strict=True):
            scores = np.zeros((1, len(edges) - 1), np.float32)
            scores[0, places] = drop
            found.append(Found(scores, grid_of(case.cells, edges), float(base), runs.unit, notes=notes, unreached=unreached))
        return found


def _widened(said: IntArray, cells: Grid) -> Segments:
    """Return the words (W, 2), wider on both sides, over all mel filters."""
    by, shape = round(WIDEN / spacing(cells)), cells.shape
    first, stop = (said[:, 0] - by).clip(0), (said[:, 1] + by).clip(max=shape[1])
    return Segments(np.stack([np.zeros_like(first), np.full_like(first, shape[0]), first, stop], axis=1), shape)
