"""The gradient of a decision by the features: where a small change would matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs

UNSIGNED = (
    "sizes of slopes, in logits for each standard deviation of a feature: neither for nor against, and no shares of the score"
)


@dataclass(frozen=True, slots=True)
class Method:
    """Absolute gradient of the margin by the normalised features."""

    name: ClassVar[str] = "gradient"
    title: ClassVar[str] = "gradient (saliency)"
    answers: ClassVar[str] = "Where a small change of the sound would change the score most."
    cannot: ClassVar[str] = "What speaks for and what against (it has no sign), and how much was carried: it does not add up."
    cost: ClassVar[str] = "One backward pass for each target, about 1.2 forward passes."
    source: ClassVar[str] = "Simonyan et al. 2013, Deep Inside Convolutional Networks."
    needs: ClassVar[Needs] = "gradients"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""
        tape = case.tape(frozen=False)
        pulled = tape.pull(*case.seeds())
        case.meter.pay(len(case.aims))
        return [
            Found(case.fold(np.abs(one)).astype(np.float32), case.cells, aim.margin(tape.logits[0]), "logit", notes=(UNSIGNED,))
            for one, aim in zip(pulled.gradient, case.aims, strict=True)
        ]
