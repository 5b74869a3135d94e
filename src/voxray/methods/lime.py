"""LIME: a linear model of what the recogniser does when random segments of the sound are hidden.

**Source:** Ribeiro et al. 2016; over time as in Wu et al. 2024 (LIME-TS).
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
    Units,
    bands,
    grid_of,
    of_width,
    random_bits,
    sample,
    tiles,
    words_and_pauses,
)
from voxray.methods import Found, Needs
from voxray.targets import ScoreName
from voxray.types import OptionError

LINEAR = 0.5  # weighted R² below which the model is not linear around this sound


@dataclass(frozen=True, slots=True)
class Method:
    """Ridge regression of the score on which segments are heard, weighted by how near the masked sound is to the real one.

    Attributes:
        units: segments of equal length, or words and the pauses between them.
        segment: seconds of a segment of equal length; longer where there would be more than 60.
        samples: random masks, each segment hidden half of the time.
        kernel: width of the weighting in cosine distance.
        ridge: weight of the penalty.
        stop_early: whether to end when the top three segments have settled.
        score: which score is modelled.
        fill: what takes the place of what is hidden.
        domain: whether features or samples are replaced.
        seed: of the masks and the fill.
    """

    name: ClassVar[str] = "lime"
    title: ClassVar[str] = "LIME"
    answers: ClassVar[str] = "Which segments carry the decision, if it is taken as a sum of what each segment says?"
    cannot: ClassVar[str] = "Where segments need one another no sum is right; the weighted R² says so, below 0.5 with 'not linear'."
    cost: ClassVar[str] = (
        "A pass for each sample, 500 unless told; it ends early when the top three segments have settled. All targets share them."
    )
    source: ClassVar[str] = "Ribeiro et al. 2016; Wu et al. 2024 (LIME-TS)."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    units: Units = "equal"
    segment: float = 0.12
    samples: int = 500
    kernel: float = 0.25
    ridge: float = 1.0
    stop_early: bool = True
    score: ScoreName = "forced"
    fill: Fill = "noise_floor"
    domain: Domain = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        Filling(self.fill, self.domain, self.seed)
        if self.samples < 2:
            raise OptionError(f"samples is {self.samples}; a regression needs at least 2")
        for option in ("segment", "kernel", "ridge"):
            if not getattr(self, option) > 0:
                raise OptionError(f"{option} is {getattr(self, option)}; expected a number above 0")

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case.

        Raises:
            OptionError: when words are asked for and nothing was said.
        """
        words = self.units == "words"
        edges = words_and_pauses(case.cells, case.trace.words) if words else of_width(case.cells, self.segment)
        segments = tiles(edges, bands(1, case.front.mels))
        runs = Runs(case, segments, Filling(self.fill, self.domain, self.seed), self.score)
        hidden = random_bits((self.samples, len(segments)), 0.5, self.seed)
        case.affordable(self.samples, least=2)
        scores, taken = sample(
            runs, hidden, lambda some: self._fit(hidden[: len(some)], some, runs.base)[0], stop_early=self.stop_early
        )
        effects, squares = self._fit(hidden[: len(scores)], scores, runs.base)
        found = []
        for effect, square, base in zip(effects.T, squares, runs.base, strict=True):
            fitted = f"weighted R² {square:.2f}" + ("" if square >= LINEAR else ": not linear, do not trust the sizes")
            notes = (runs.note, taken, fitted)
            found.append(Found(effect[None].astype(np.float32), grid_of(case.cells, edges), float(base), runs.unit, notes=notes))
        return found

    def _fit(self, hidden: BoolArray, scores: Float64Array, base: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the effect of hearing each segment, (S, A), and the weighted R² of each target, (A,).

        The sound as it is counts as one sample more, of weight 1. The intercept is not penalised: both sides are centred.
        """
        heard = np.concatenate([np.ones((1, hidden.shape[1])), ~hidden])
        values = np.concatenate([base[None], scores])
        cosine = np.sqrt(heard.mean(axis=1))  # of a row of 0 and 1 with a row of ones
        weights = np.exp(-((1 - cosine) ** 2) / self.kernel**2)
        heard = heard - np.average(heard, axis=0, weights=weights)
        values = values - np.average(values, axis=0, weights=weights)
        normal = heard.T @ (weights[:, None] * heard) + self.ridge * np.eye(heard.shape[1])
        effects = np.linalg.solve(normal, heard.T @ (weights[:, None] * values))
        left, whole = weights @ (values - heard @ effects) ** 2, weights @ values**2
        return effects, 1 - np.divide(left, whole, out=np.zeros_like(left), where=whole > 0)
