"""RISE: the mean score over random masks that leave a cell to be heard, against those that hide it.

**Source:** Petsiuk et al. 2018, with the mean score taken off.
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
    bands,
    grid_of,
    of_width,
    random_bits,
    sample,
    tiles,
)
from voxray.methods import Found, Needs
from voxray.targets import ScoreName
from voxray.types import OptionError


@dataclass(frozen=True, slots=True)
class Method:
    """Random coarse masks.

    Attributes:
        cell: seconds of a cell; longer where there would be more than 60.
        mels: bands over the mel filters; 1 hides all of them.
        samples: random masks.
        kept: probability that a cell is left to be heard.
        stop_early: whether to end when the top three cells have settled.
        score: which score is averaged.
        fill: what takes the place of what is hidden.
        domain: whether features or samples are replaced.
        seed: of the masks and the fill.
    """

    name: ClassVar[str] = "rise"
    title: ClassVar[str] = "RISE"
    answers: ClassVar[str] = (
        "With a random half of the sound missing, how much better does the decision hold where this cell is heard?"
    )
    cannot: ClassVar[str] = (
        "It is a random estimate around sound that is half hidden, far from the real one; its standard error is told."
    )
    cost: ClassVar[str] = (
        "A pass for each sample, 500 unless told; it ends early when the top three cells have settled. All targets share them."
    )
    source: ClassVar[str] = "Petsiuk et al. 2018."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    cell: float = 0.12
    mels: int = 1
    samples: int = 500
    kept: float = 0.5
    stop_early: bool = True
    score: ScoreName = "forced"
    fill: Fill = "noise_floor"
    domain: Domain = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        Filling(self.fill, self.domain, self.seed)
        bands(self.mels)
        if self.domain == "waveform" and self.mels != 1:
            raise OptionError(f"mels is {self.mels}, but a waveform is masked over time alone; give mels 1 or the domain features")
        if self.samples < 2:
            raise OptionError(f"samples is {self.samples}; a mean needs at least 2")
        if not self.cell > 0:
            raise OptionError(f"cell is {self.cell} s; expected a number above 0")
        if not 0 < self.kept < 1:
            raise OptionError(f"kept is {self.kept}; expected a probability between 0 and 1")

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case."""
        edges, mels = of_width(case.cells, self.cell), bands(self.mels, case.front.mels)
        segments = tiles(edges, mels)
        runs = Runs(case, segments, Filling(self.fill, self.domain, self.seed), self.score)
        hidden = random_bits((self.samples, len(segments)), self.kept, self.seed)
        case.affordable(self.samples, least=2)
        scores, taken = sample(runs, hidden, lambda some: _gain(hidden[: len(some)], some)[0], stop_early=self.stop_early)
        gains, errors = _gain(hidden[: len(scores)], scores)
        grid = grid_of(case.cells, edges, mels)
        found = []
        for gain, error, base in zip(gains.T, errors.T, runs.base, strict=True):
            how = (
                "estimator: mean score with the cell heard minus mean score with it hidden, which is RISE's mean with the mean "
                f"score taken off; standard error at most {error.max():.2g} {runs.unit}"
            )
            notes = (runs.note, taken, how)
            found.append(Found(gain.reshape(grid.shape).astype(np.float32), grid, float(base), runs.unit, notes=notes))
        return found


def _gain(hidden: BoolArray, scores: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return what hearing each cell adds to the mean score, (S, A), and its standard error.

    A cell that was always heard, or never, has no difference: 0.
    """
    centred = scores - scores.mean(axis=0)
    mean, spread = np.zeros((2, hidden.shape[1], scores.shape[1])), np.zeros((2, hidden.shape[1], scores.shape[1]))
    for index, bits in enumerate((~hidden, hidden)):
        count = np.maximum(bits.sum(axis=0), 1)[:, None]
        mean[index] = bits.T.astype(np.float64) @ centred / count
        spread[index] = np.maximum(bits.T.astype(np.float64) @ centred**2 / count - mean[index] ** 2, 0) / count
    both = np.asarray(hidden.any(axis=0) & ~hidden.all(axis=0))[:, None]
    return np.where(both, mean[0] - mean[1], 0.0), np.sqrt(spread.sum(axis=0))
