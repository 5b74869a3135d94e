"""Energy as relevance: loud moments count more, whatever was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.types import Grid


@dataclass(frozen=True, slots=True)
class Method:
    """Log energy of every 10 ms above that of the quietest, as shares."""

    name: ClassVar[str] = "energy"
    title: ClassVar[str] = "Energy"
    answers: ClassVar[str] = (
        "Where is the sound loud? A method that finds no more than this has found the speech, not the evidence."
    )
    cannot: ClassVar[str] = "It does not look at the model, and is the same for every target."
    cost: ClassVar[str] = "No pass."
    source: ClassVar[str] = "A baseline of the structured saliency benchmark (2005.10929)."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case."""
        grid = Grid(case.cells.times, case.cells.mels[[0, -1]])
        loudness = case.front.loudness
        above = loudness - loudness.min()
        # Sound of one loudness throughout (digital silence) prefers no moment.
        shares = above / above.sum() if above.sum() > 0 else np.full(len(above), 1 / len(above))
        return [Found(shares[None].astype(np.float32), grid, 1.0, "share") for _ in case.aims]
