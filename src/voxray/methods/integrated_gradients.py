"""Integrated gradients: the gradient summed along the way from a sound without content to the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        steps: of the way, for each draw, that all targets share.
        tolerance: share of the score's change that may be missed; a target that misses more gets steps of its own.
        most: steps for each draw that a target may come to; none for four times ``steps``.
        draws: of the baseline, for ``draws``.
        seed: of the noise floor.
    """

    name: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "integrated gradients"
    answers: ClassVar[str] = "How the score's change from a sound without content to this sound is shared out; it adds up."
    cannot: ClassVar[str] = "Be independent of the baseline; sounds half-way to it are no speech that the model knows."
    cost: ClassVar[str] = (
        "A forward and a backward pass for each step (64), the forward ones shared by all targets; a target whose shares miss more "
        "than 2 % of the change takes more steps, up to 256."
    )
    source: ClassVar[str] = "Sundararajan et al. 2017, Axiomatic Attribution; Erion et al. 2021 for expected gradients."
    needs: ClassVar[Needs] = "gradients"
    adds_up: ClassVar[bool] = True

    baseline: Literal["mean", "noise_floor", "draws"] = "mean"
    steps: int = 64
    tolerance: float = 0.02
    most: int | None = None
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 2 or self.draws < 1:
            raise OptionError(f"integrated_gradients needs 2 steps and 1 draw at least, got {self.steps} and {self.draws}")
        if not 0 <= self.tolerance < 1:
            raise OptionError(f"tolerance is {self.tolerance}; expected a share of the change: 0 or more, below 1")
        if self.most is not None and self.most < self.steps:
            raise OptionError(f"most is {self.most}, but {self.steps} steps are taken at least; give as many or more")

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""
        starts = self._baselines(case)
        passes = self.steps * len(starts) * (1 + len(case.aims))
        case.affordable(passes, least=passes)
        walks = [_walk(case, start, self.steps) for start in starts]
        return [self._found(case, starts, walks, index) for index in range(len(case.aims))]

    def _baselines(self, case: Case) -> list[FloatArray]:
        if self.baseline == "mean":
            return [np.zeros_like(case.features.values)]
        seeds = range(self.seed, self.seed + (self.draws if self.baseline == "draws" else 1))
        return [Filling("noise_floor", seed=seed).features(case.front) for seed in seeds]

    def _found(self, case: Case, starts: Sequence[FloatArray], walks: Sequence[list[_Step]], index: int) -> Found:
        """Return what was found about one target, after steps of its own where it needs them."""
        own = [self._refined(case, start, [step.of(index) for step in walk]) for start, walk in zip(starts, walks, strict=True)]
        shares = np.mean([_summed(walk)[0] for walk in own], axis=0)
        low, high = (float(np.mean([walk[place].score[0] for walk in own])) for place in (0, -1))
        missed = abs(high - low - float(shares.sum())) / max(abs(high - low), 1e-9)
        told = f"{sum(map(len, own))} steps miss {missed:.1%} of the score's change (the residual)"
        return Found(
            scores=case.fold(shares).astype(np.float32),
            grid=case.cells,
            score=high,
            unit="logit",
            parts={"baseline": low},
            notes=(told if missed <= self.tolerance else f"{told}; more steps miss less",),
        )

    def _refined(self, case: Case, start: FloatArray, walk: list[_Step]) -> list[_Step]:
        """Add steps of one target until its shares miss no more than is tolerated, or as many as may be are taken."""
        most = 4 * self.steps if self.most is None else self.most
        tolerated = self.tolerance * abs(walk[-1].score[0] - walk[0].score[0])
        while len(walk) < most:
            missed = np.array([_lean(one, two)[1][0] for one, two in pairwise(walk)])
            if abs(missed.sum()) <= tolerated:
                break
            small = np.searchsorted(np.cumsum(np.sort(np.abs(missed))), tolerated, side="right")  # stretches that may stay
            wanted = min(TOGETHER, most - len(walk), len(missed) - int(small))
            allowed = case.affordable(2 * wanted, least=0) // 2
            if not allowed:
                break
            walk = _halved(case, start, walk, allowed)
        return walk


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """A place on the way, 0 to 1: how each feature's change would move some targets' scores there, and the scores.

    Attributes:
        place: on the way.
        targets: their places in the case.
        slopes: (targets, T, D).
        score: (targets,).
    """

    place: float
    targets: tuple[int, ...]
    slopes: Array
    score: Array

    def of(self, index: int) -> _Step:
        """Return the same step of one target."""
        only = slice(index, index + 1)
        return replace(self, targets=self.targets[only], slopes=self.slopes[only], score=self.score[only])


def _walk(case: Case, start: FloatArray, steps: int) -> list[_Step]:
    """Walk from a baseline to the sound.

    The score of a network of ReLUs moves along the way as a crooked line. Half of the steps are spread, denser near the baseline;
    the others halve the stretches in which most of the change is missed, for the score is known at every step.

    Returns:
        The steps in order.
    """
    spread = np.sinh(BEND * np.linspace(0.0, 1.0, max(2, steps // 2))) / np.sinh(BEND)
    walk = _steps(case, start, spread, tuple(range(len(case.aims))))
    while len(walk) < steps:
        walk = _halved(case, start, walk, min(TOGETHER, steps - len(walk)))
    return walk


def _halved(case: Case, start: FloatArray, walk: Sequence[_Step], count: int) -> list[_Step]:
    """Return a walk with more steps, each in the middle of one of the stretches in which most of a score's change is missed."""
    missed = [np.abs(_lean(one, two)[1]).max() for one, two in pairwise(walk)]
    worst = np.argsort(missed)[::-1][:count]
    middles = np.array([(walk[at].place + walk[at + 1].place) / 2 for at in worst])
    return sorted([*walk, *_steps(case, start, middles, walk[0].targets)], key=lambda step: step.place)


def _steps(case: Case, start: FloatArray, places: Array, targets: tuple[int, ...]) -> list[_Step]:
    """Take steps at some places on the way, for some targets."""
    way, found = case.features.values - start, []
    for chosen in np.array_split(places, -(-len(places) // TOGETHER)):
        tape = case.tape((start + chosen[:, None, None] * way).astype(np.float32), frozen=False)
        slopes = [tape.pull(*case.seeds(index, len(chosen))).gradient * way for index in targets]
        case.meter.pay(len(chosen) * len(targets))
        for at, (place, rows) in enumerate(zip(chosen, tape.logits, strict=True)):
            score = np.array([case.aims[index].margin(rows) for index in targets])
            found.append(_Step(float(place), targets, np.array([one[at] for one in slopes]), score))
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
