"""Gradient times input: the first-order effect of making every feature average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs


@dataclass(frozen=True, slots=True)
class Method:
    """The margin's gradient times the normalised features."""

    name: ClassVar[str] = "input_x_gradient"
    title: ClassVar[str] = "input times gradient"
    answers: ClassVar[str] = "What a linear model with this model's slopes would have taken from each bit of sound."
    cannot: ClassVar[str] = (
        "Anything about a frame as a whole: the first norm makes the products of a frame cancel almost exactly, so only the "
        "pattern over mel within a frame means something. Use exact instead."
    )
    cost: ClassVar[str] = "One backward pass for each target, about 1.2 forward passes."
    source: ClassVar[str] = "Shrikumar et al. 2016, Not Just a Black Box."
    needs: ClassVar[Needs] = "gradients"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""
        tape = case.tape(frozen=False)
        pulled = tape.pull(*case.seeds())
        case.meter.pay(len(case.aims))
        return [
            Found(
                case.fold(one.astype(np.float64) * case.features.values).astype(np.float32),
                case.cells,
                aim.margin(tape.logits[0]),
                "logit",
            )
            for one, aim in zip(pulled.gradient, case.aims, strict=True)
        ]
