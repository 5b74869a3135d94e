"""Uniform relevance: every moment counts the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.types import Grid


@dataclass(frozen=True, slots=True)
class Method:
    """The same share for every 10 ms."""

    name: ClassVar[str] = "uniform"
    title: ClassVar[str] = "Uniform"
    answers: ClassVar[str] = "Nothing: it says what a measure gives to a map that prefers no moment."
    cannot: ClassVar[str] = "It looks at neither sound nor model."
    cost: ClassVar[str] = "No pass."
    source: ClassVar[str] = "None; the usual control."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case."""
        grid = Grid(case.cells.times, case.cells.mels[[0, -1]])
        return [Found(np.full(grid.shape, 1 / grid.shape[1], np.float32), grid, 1.0, "share") for _ in case.aims]
