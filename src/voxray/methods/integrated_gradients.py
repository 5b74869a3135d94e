"""Integrated gradients: the gradient summed along the way from a sound without content to the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        steps: of the way, spread over the draws.
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
        steps = max(2, self.steps // len(starts))
        passes = steps * len(starts) * (1 + len(case.aims))
        case.affordable(passes, least=passes)
        shares, missed, ends = (np.mean(one, axis=0) for one in zip(*(_along(case, start, steps) for start in starts), strict=True))
        return [
            Found(
                scores=case.fold(shares[index]).astype(np.float32),
                grid=case.cells,
                score=float(ends[index, 1]),
                unit="logit",
                parts={"baseline": float(ends[index, 0])},
                notes=(_note(float(missed[index]), float(ends[index, 1] - ends[index, 0])),),
            )
            for index in range(len(case.aims))
        ]

    def _baselines(self, case: Case) -> list[FloatArray]:
        if self.baseline == "mean":
            return [np.zeros_like(case.features.values)]
        seeds = range(self.seed, self.seed + (self.draws if self.baseline == "draws" else 1))
        return [Filling("noise_floor", seed=seed).features(case) for seed in seeds]


def _along(case: Case, start: FloatArray, steps: int) -> tuple[Array, Array, Array]:
    """Walk from a baseline to the sound.

    Returns:
        What each target's score gained on the way at each feature (targets, T, D), the part of it that the trapezoid rule missed
        (targets,), and the score at the baseline and at the sound (targets, 2).

    The score is known at every step, so what the rule misses between two steps is known too. It is spread over the features in
    proportion to the size of their shares of that step.
    """
    places = np.sinh(BEND * np.linspace(0.0, 1.0, steps)) / np.sinh(BEND)
    way = (case.features.values - start).astype(np.float64)
    shares, missed = np.zeros((len(case.aims), *way.shape)), np.zeros(len(case.aims))
    ends = np.zeros((len(case.aims), 2))
    before: list[tuple[Array, float]] = []
    for chosen in np.array_split(np.arange(steps), -(-steps // TOGETHER)):
        batch = (start + places[chosen, None, None] * way).astype(np.float32)
        tape = case.tape(batch, frozen=False)
        after = []
        for index, aim in enumerate(case.aims):
            gradients = tape.pull(*case.seeds(index, len(batch))).gradient
            walk = [(gradient * way, aim.margin(rows)) for gradient, rows in zip(gradients, tape.logits, strict=True)]
            path = [*before[index : index + 1], *walk]
            lengths = np.diff(places[chosen[-1] + 1 - len(path) : chosen[-1] + 1])
            for (left, low), (right, high), length in zip(path, path[1:], lengths, strict=False):
                share = (left + right) * (length / 2)
                rest = high - low - share.sum()
                shares[index] += share + rest * np.abs(share) / max(np.abs(share).sum(), 1e-30)
                missed[index] += rest
            after.append(walk[-1])
            ends[index] = ends[index, 0] if before else walk[0][1], walk[-1][1]
        before = after
        case.meter.pay(len(batch) * len(case.aims))
    return shares, missed, ends


def _note(missed: float, change: float) -> str:
    return (
        f"the trapezoid rule missed {abs(missed) / max(abs(change), 1e-9):.1%} of the score's change, which was spread over each "
        "step's shares; more steps miss less"
    )
