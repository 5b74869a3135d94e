"""Random relevance: what every explanation must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.types import Grid, OptionError


@dataclass(frozen=True, slots=True)
class Method:
    """Shares drawn at random for every 10 ms.

    Attributes:
        seed: of the random numbers.
    """

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random"
    answers: ClassVar[str] = "Nothing: it is the floor of every comparison."
    cannot: ClassVar[str] = "It looks at neither sound nor model."
    cost: ClassVar[str] = "No pass."
    source: ClassVar[str] = "None; the usual control."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise OptionError(f"seed is {self.seed}; expected a whole number of at least 0")

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case, each with numbers of its own."""
        grid = Grid(case.cells.times, case.cells.mels[[0, -1]])
        drawn = np.random.default_rng(self.seed).random((len(case.aims), *grid.shape))
        return [Found((one / one.sum()).astype(np.float32), grid, 1.0, "share") for one in drawn]
