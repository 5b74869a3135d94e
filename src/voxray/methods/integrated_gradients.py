"""Integrated gradients: the gradient summed along the way from a sound without content to the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from voxray.case import Case
from voxray.masking import Filling
from voxray.methods import Found, Needs
from voxray.types import FloatArray, OptionError

TOGETHER = 8  # steps in one pass, at most
BEND = 5.0  # how much denser the steps lie near the baseline, where the first norm makes the score move fastest

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Method:
    """Integrated gradients of the margin.

    Attributes:
        baseline: ``mean`` (every feature average), ``noise_floor`` (the clip's own quiet frames) or ``draws`` (the mean over
            several draws of the noise floor: expected gradients).
        steps: of the way, for each draw.
        draws: of the baseline, for ``draws``.
        seed: of the noise floor.
    """

    name: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "integrated gradients"
    answers: ClassVar[str] = "How the score's change from a sound without content to this sound is shared out; it adds up."
    cannot: ClassVar[str] = "Be independent of the baseline; sounds half-way to it are no speech that the model knows."
    cost: ClassVar[str] = "A forward and a backward pass for each step (64), the forward ones shared by all targets."
    source: ClassVar[str] = "Sundararajan et al. 2017, Axiomatic Attribution; Erion et al. 2021 for expected gradients."
    needs: ClassVar[Needs] = "gradients"
    view: ClassVar[bool] = False
    adds_up: ClassVar[bool] = True

    baseline: Literal["mean", "noise_floor", "draws"] = "mean"
    steps: int = 64
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 2 or self.draws < 1:
            raise OptionError(f"integrated_gradients needs 2 steps and 1 draw at least, got {self.steps} and {self.draws}")

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""
        starts = self._baselines(case)
        passes = self.steps * len(starts) * (1 + len(case.aims))
        case.affordable(passes, least=passes)
        walks = [_walk(case, start, self.steps) for start in starts]
        shares = np.mean([_summed(walk) for walk in walks], axis=0)
        low, high = (np.mean([walk[place].score for walk in walks], axis=0) for place in (0, -1))
        return [
            Found(
                scores=case.fold(shares[index]).astype(np.float32),
                grid=case.cells,
                score=float(high[index]),
                unit="logit",
                parts={"baseline": float(low[index])},
                notes=(_note(float(high[index] - low[index] - shares[index].sum()), float(high[index] - low[index])),),
            )
            for index in range(len(case.aims))
        ]

    def _baselines(self, case: Case) -> list[FloatArray]:
        if self.baseline == "mean":
            return [np.zeros_like(case.features.values)]
        seeds = range(self.seed, self.seed + (self.draws if self.baseline == "draws" else 1))
        return [Filling("noise_floor", seed=seed).features(case) for seed in seeds]


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """A place on the way, 0 to 1: how each feature's change would move each score there (targets, T, D), and the scores."""

    place: float
    slopes: Array
    score: Array


def _walk(case: Case, start: FloatArray, steps: int) -> list[_Step]:
    """Walk from a baseline to the sound.

    The score of a network of ReLUs moves along the way as a crooked line. Half of the steps are spread, denser near the baseline;
    the others halve the stretches in which most of the change is missed, for the score is known at every step.

    Returns:
        The steps in order.
    """
    first = max(2, steps // 2)
    walk = _steps(case, start, np.sinh(BEND * np.linspace(0.0, 1.0, first)) / np.sinh(BEND))
    while len(walk) < steps:
        missed = [np.abs(_lean(one, two)[1]).max() for one, two in pairwise(walk)]
        worst = np.argsort(missed)[::-1][: min(TOGETHER, steps - len(walk))]
        walk += _steps(case, start, np.array([(walk[at].place + walk[at + 1].place) / 2 for at in worst]))
        walk.sort(key=lambda step: step.place)
    return walk


def _steps(case: Case, start: FloatArray, places: Array) -> list[_Step]:
    """Take steps at some places on the way."""
    way, found = case.features.values - start, []
    for chosen in np.array_split(places, -(-len(places) // TOGETHER)):
        tape = case.tape((start + chosen[:, None, None] * way).astype(np.float32), frozen=False)
        slopes = [tape.pull(*case.seeds(index, len(chosen))).gradient * way for index in range(len(case.aims))]
        case.meter.pay(len(chosen) * len(case.aims))
        for at, (place, rows) in enumerate(zip(chosen, tape.logits, strict=True)):
            score = np.array([aim.margin(rows) for aim in case.aims])
            found.append(_Step(float(place), np.array([one[at] for one in slopes]), score))
    return found


def _lean(one: _Step, two: _Step) -> tuple[Array, Array]:
    """Return how much the first of two steps counts between them, 0 to 1, and what of each score's change is missed even so.

    The change is known, so the two slopes are weighed such that they give it; where it lies outside of what they can give, the
    nearer one counts alone.
    """
    length = two.place - one.place
    first, second = (step.slopes.sum(axis=(1, 2), dtype=np.float64) for step in (one, two))
    apart, wanted = first - second, (two.score - one.score) / length
    weight = np.divide(wanted - second, apart, out=np.full_like(apart, 0.5), where=apart != 0).clip(0.0, 1.0)
    return weight, (wanted - weight * first - (1 - weight) * second) * length


def _summed(walk: Sequence[_Step]) -> Array:
    """Return what each feature added to each score along the way, (targets, T, D)."""
    total = np.zeros(walk[0].slopes.shape)
    for one, two in pairwise(walk):
        weight = _lean(one, two)[0][:, None, None]
        total += (weight * one.slopes + (1 - weight) * two.slopes) * (two.place - one.place)
    return total


def _note(missed: float, change: float) -> str:
    return f"the shares miss {abs(missed) / max(abs(change), 1e-9):.1%} of the score's change (the residual); more steps miss less"
