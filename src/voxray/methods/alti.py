"""ALTI: how much closer each row's contribution brings a layer's output to what it is, multiplied through the layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.mixing import layers_down, rolled, rounding
from voxray.sanm import Layer, shares
from voxray.types import FloatArray

CHUNK = 32 << 20  # bytes of contributions that are held at once


@dataclass(frozen=True, slots=True)
class Method:
    """ALTI.

    Attributes:
        bias: whether a layer's output counts with what it holds whatever enters (as published), or without.
    """

    bias: bool = True

    name: ClassVar[str] = "alti"
    title: ClassVar[str] = "ALTI"
    answers: ClassVar[str] = (
        "How much of a target's rows each frame accounts for: the output would be that much further off without it."
    )
    cannot: ClassVar[str] = (
        "Say for or against: contributions that push a row away from its output are cut off at 0. Over many layers the maps grow "
        "alike, though less than those of other views."
    )
    cost: ClassVar[str] = "The time of two to six passes for all targets together, and two that read the layers."
    source: ClassVar[str] = "Ferrando et al. 2022, arXiv 2203.04212. The memory path is ours."
    needs: ClassVar[Needs] = "anatomy"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Return what accounts for each target."""

        def mixing() -> Iterator[FloatArray]:
            for layer in layers_down(case):
                yield shares(self.closeness(layer))

        return rolled(case, mixing(), notes=rounding(case))

    def closeness(self, layer: Layer) -> FloatArray:
        """Return how much nearer to each row's output each row's contribution brings it, in the sum of absolutes, (N, N)."""
        goal = layer.middle if self.bias else layer.middle - layer.constants
        count, width = goal.shape
        step = max(1, CHUNK // (4 * count * width))
        result = np.empty((count, count), np.float32)
        for first in range(0, count, step):
            part = slice(first, min(first + step, count))
            away = layer.sources(part.start, part.stop)
            away -= goal[part, None]
            np.abs(away, out=away)
            result[part] = np.abs(goal[part]).sum(axis=1, keepdims=True) - away.sum(axis=-1)
        return np.maximum(result, 0.0, out=result)
