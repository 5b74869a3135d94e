"""Norm-based mixing with the memory, multiplied through the layers: how much of each row goes where, values and all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.mixing import layers_down, rolled, rounding
from voxray.sanm import shares
from voxray.types import FloatArray


@dataclass(frozen=True, slots=True)
class Method:
    """Norm-based mixing.

    Attributes:
        path: ``both`` ways that a layer moves sound; ``attention`` alone or ``memory`` alone for comparison. What a row keeps by
            the residual counts with each.
    """

    path: Literal["both", "attention", "memory"] = "both"

    name: ClassVar[str] = "norm_rollout"
    title: ClassVar[str] = "norm-based mixing"
    answers: ClassVar[str] = (
        "How much of what reaches a target's rows came from which frame, through attention with its values, the memory and the "
        "residual, layer by layer."
    )
    cannot: ClassVar[str] = (
        "Say for or against, or tell two tokens of one frame apart. Norms ignore direction: two large vectors that cancel both "
        "look important. Over many layers the maps grow alike, which its notes tell."
    )
    cost: ClassVar[str] = (
        "About a third of a pass for all targets together, and two passes that read the layers where the trace kept none."
    )
    source: ClassVar[str] = (
        "Kobayashi et al. 2020 and 2021, arXiv 2004.10102 and 2109.07152; on speech: Mohebbi et al. 2023, arXiv 2310.09925. The "
        "memory path is ours."
    )
    needs: ClassVar[Needs] = "anatomy"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Return where what reaches each target came from."""
        kept = []

        def mixing() -> Iterator[FloatArray]:
            for layer in layers_down(case):
                result = shares(layer.norms(self.path))
                kept.append(float(np.trace(result)) / len(result))
                yield result

        results = rolled(case, mixing(), notes=rounding(case))
        note = f"a row keeps {np.mean(kept):.0%} of itself in a layer on average, {min(kept):.0%} to {max(kept):.0%}"
        return [replace(one, notes=(*one.notes, note)) for one in results]
