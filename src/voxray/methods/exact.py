"""Exact relevance: what every piece of sound carried to a decision, the parts of which sum to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs


@dataclass(frozen=True, slots=True)
class Method:
    """Gradient times features with attention weights, norm denominators and ReLU gates held as they were.

    Attributes:
        cells: ``fine`` for every filter-bank value (80 mel filters, 10 ms), ``frame`` for the model's frames of 60 ms.
    """

    name: ClassVar[str] = "exact"
    title: ClassVar[str] = "exact relevance (frozen routing)"
    answers: ClassVar[str] = (
        "How much each bit of sound carried to the score, for or against; cells, prompts, position code and biases sum to it."
    )
    cannot: ClassVar[str] = (
        "Why attention looked where it did: routing is held. The reference is a sound that is average in every filter."
    )
    cost: ClassVar[str] = "One backward pass for each target, about as long as a forward pass."
    source: ClassVar[str] = (
        "Ali et al. 2022, XAI for Transformers; Achtibat et al. 2024, AttnLRP, its variant with attention held; "
        "time by mel through the adjoint of frame stacking."
    )
    needs: ClassVar[Needs] = "split"
    adds_up: ClassVar[bool] = True

    cells: Literal["fine", "frame"] = "fine"

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""
        tape = case.tape(frozen=True)
        pulled = tape.pull(*case.seeds())
        case.meter.pay(len(case.aims))
        found = []
        for index, aim in enumerate(case.aims):
            carried = pulled.gradient[index].astype(np.float64) * case.features.values
            scores = case.fold(carried) if self.cells == "fine" else carried.sum(axis=1)[None]
            found.append(
                Found(
                    scores=scores.astype(np.float32),
                    grid=case.cells if self.cells == "fine" else case.frames,
                    score=aim.margin(tape.logits[0]),
                    unit="logit",
                    parts={name: float(value[index]) for name, value in pulled.constants.items()},
                )
            )
        return found
