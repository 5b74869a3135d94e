"""SmoothGrad: the gradient averaged over noisy copies of the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.types import OptionError

TOGETHER = 8  # samples in one pass


@dataclass(frozen=True, slots=True)
class Method:
    """The mean gradient over noisy features.

    Attributes:
        of: what is averaged: the absolute ``gradient`` or ``input_x_gradient``.
        samples: noisy copies.
        noise: standard deviation of the noise as a share of the features' range.
        seed: of the noise.
    """

    name: ClassVar[str] = "smoothgrad"
    title: ClassVar[str] = "SmoothGrad"
    answers: ClassVar[str] = "Where a small change matters, with what is peculiar to this very sound averaged away."
    cannot: ClassVar[str] = "Show detail below the noise that it adds; it does not add up."
    cost: ClassVar[str] = "A forward and a backward pass for each sample (25), the forward ones shared by all targets."
    source: ClassVar[str] = "Smilkov et al. 2017, SmoothGrad: removing noise by adding noise."
    needs: ClassVar[Needs] = "gradients"
    adds_up: ClassVar[bool] = False

    of: Literal["gradient", "input_x_gradient"] = "gradient"
    samples: int = 25
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.noise < 0:
            raise OptionError(f"smoothgrad needs 1 sample at least and no negative noise, got {self.samples} and {self.noise}")

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""
        passes = self.samples * (1 + len(case.aims))
        case.affordable(passes, least=passes)
        values = case.features.values
        draw, deviation = np.random.default_rng(self.seed), self.noise * float(np.ptp(values))
        total = np.zeros((len(case.aims), *values.shape))
        for first in range(0, self.samples, TOGETHER):
            count = min(TOGETHER, self.samples - first)
            batch = values + (deviation * draw.standard_normal((count, *values.shape))).astype(np.float32)
            tape = case.tape(batch, frozen=False)
            for index in range(len(case.aims)):
                gradient = tape.pull(*case.seeds(index, count)).gradient
                total[index] += (np.abs(gradient) if self.of == "gradient" else gradient * batch).sum(axis=0, dtype=np.float64)
            case.meter.pay(count * len(case.aims))
        return [
            Found(case.fold(one / self.samples).astype(np.float32), case.cells, aim.margin(case.logits), "logit")
            for one, aim in zip(total, case.aims, strict=True)
        ]
