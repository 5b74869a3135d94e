"""Emission as relevance: a bell around the moment where CTC emits the target, or where a decoder takes it from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.types import Grid, OptionError


@dataclass(frozen=True, slots=True)
class Method:
    """A Gaussian at the CTC emission of each token of the target, or at the mean of the frames that a decoder makes it of.

    Attributes:
        sigma: its standard deviation, seconds.
    """

    name: ClassVar[str] = "emission"
    title: ClassVar[str] = "Emission"
    answers: ClassVar[str] = (
        "When was it said, as far as the emission tells? A method that does not beat this adds nothing to where."
    )
    cannot: ClassVar[str] = "It does not say what the decision leans on. Tags are emitted at no moment, so their map is uniform."
    cost: ClassVar[str] = "No pass."
    source: ClassVar[str] = "Alignment as a baseline, as in the structured saliency benchmark (2005.10929)."
    needs: ClassVar[Needs] = "passes"
    adds_up: ClassVar[bool] = False

    sigma: float = 0.12

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise OptionError(f"sigma is {self.sigma} s; expected a number above 0")

    def explain(self, case: Case) -> list[Found]:
        """Explain every target of a case."""
        grid = Grid(case.cells.times, case.cells.mels[[0, -1]])
        found = []
        for aim in case.aims:
            moments = case.moments[slice(*aim.members)]
            shares = self._bells(grid.centres, moments)
            notes = () if len(moments) else ("a tag is emitted at no moment of the sound, so every moment has the same share",)
            found.append(Found(shares[None].astype(np.float32), grid, 1.0, "share", notes=notes))
        return found

    def _bells(self, times: npt.NDArray[np.float64], peaks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return shares (K,) of times; one bell for each peak (n,), all of one weight; uniform where there is none."""
        if not len(peaks):
            return np.full(len(times), 1 / len(times))
        bells = np.exp(-0.5 * ((times - peaks[:, None]) / self.sigma) ** 2) + np.finfo(np.float64).tiny
        return np.asarray((bells / bells.sum(axis=1, keepdims=True)).mean(axis=0), np.float64)
