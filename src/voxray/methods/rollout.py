"""Attention rollout: raw attention multiplied through the layers, half of each row kept, as the method was published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.mixing import rolled
from voxray.types import FloatArray

KEPT = np.float32(0.5)  # what the residual is taken to keep of each row


@dataclass(frozen=True, slots=True)
class Method:
    """Attention rollout, a baseline."""

    name: ClassVar[str] = "rollout"
    title: ClassVar[str] = "attention rollout (baseline)"
    answers: ClassVar[str] = "Which frames raw attention would lead to if it were followed through all layers."
    cannot: ClassVar[str] = (
        "Be trusted on SANM: half is kept of every row though the first layer has no residual and the memory moves sound without "
        "any attention. Over many layers all targets get the same map, which its notes tell."
    )
    cost: ClassVar[str] = "Nothing beyond the trace but a product of a row and a matrix in each layer."
    source: ClassVar[str] = "Abnar and Zuidema 2020, arXiv 2005.00928."
    needs: ClassVar[Needs] = "anatomy"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Return where each target leads to."""

        def mixing() -> Iterator[FloatArray]:
            for layer in reversed(range(case.layers)):
                looks = case.attention(layer).mean(axis=0, dtype=np.float32) * (1 - KEPT)
                looks[np.diag_indices(len(looks))] += KEPT
                yield looks

        return rolled(case, mixing())
