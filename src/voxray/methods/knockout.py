"""Knock-out: what the score loses when rows of sound are hidden from all others in every layer, attention and memory alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from voxray.case import Case
from voxray.masking import coarse_to_fine
from voxray.methods import Found, Needs
from voxray.mixing import spans
from voxray.targets import ScoreName
from voxray.types import Grid, OptionError


@dataclass(frozen=True, slots=True)
class Method:
    """Knock-out.

    Attributes:
        segments: what is hidden at once: ``words`` and the pauses between them, or ``windows`` of equal width.
        window: width in seconds of ``windows``.
        score: whose drop the map shows.
    """

    segments: Literal["words", "windows"] = "words"
    window: float = 0.24
    score: ScoreName = "forced"

    name: ClassVar[str] = "knockout"
    title: ClassVar[str] = "attention and memory knock-out"
    answers: ClassVar[str] = "What the score loses when no other row may look at a word, in any layer, while the sound stays whole."
    cannot: ClassVar[str] = (
        "Measure what a row does with its own sound: a hidden row still keeps itself by the residual, so the frame that emits a "
        "token shows less than occlusion would."
    )
    cost: ClassVar[str] = "A pass for each segment, for all targets together."
    source: ClassVar[str] = "Mohebbi et al. 2023, arXiv 2310.09925; Geva et al. 2023, arXiv 2304.14767. With SANM's memory: ours."
    needs: ClassVar[Needs] = "anatomy"
    adds_up: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.window < np.inf:
            raise OptionError(f"knockout: window is {self.window}; expected a width in seconds above 0, such as 0.24")

    def explain(self, case: Case) -> list[Found]:
        """Return what each target loses."""
        wanted = spans(case, self.segments, self.window)
        groups = _merged(wanted, case.affordable(len(wanted)))
        base = case.base(self.score)
        drops = np.zeros((len(groups), len(case.aims)))
        done = 0
        for index in coarse_to_fine(len(groups)):
            if done and not case.meter.affordable(1):
                break
            keep = np.ones((1, len(case.logits)), np.bool_)
            keep[0, slice(*groups[index])] = False
            (rows,) = case.knocked_out(keep)
            drops[index] = base - case.scored(rows, self.score)
            done += 1
        notes = [f"{done} runs with rows hidden"]
        if len(groups) < len(wanted):
            notes.append(f"the budget allows {len(groups)} segments of {len(wanted)}, so neighbours are hidden together")
        if done < len(groups):
            notes.append(f"the time ran out after {done} of {len(groups)} segments; the others are shown as 0")
        prompts, frames = case.trace.pieces[0].prompts, case.frames
        edges = np.array([groups[0][0], *(stop for _, stop in groups)]) - prompts
        grid = Grid(frames.times[edges], frames.mels)
        unit = "logit" if self.score == "margin" else "nats"
        return [
            Found(np.asarray(drop[None], np.float32), grid, float(score), unit, notes=tuple(notes))
            for drop, score in zip(drops.T, base, strict=True)
        ]


def _merged(groups: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Return neighbours joined until there are no more than so many groups."""
    parts = np.array_split(np.array(groups), min(count, len(groups)))
    return [(int(part[0, 0]), int(part[-1, 1])) for part in parts]
