"""Masked runs that tell what the model leans on, shared by every map of a clip.

The sound is cut into parts of 60 ms. Whatever a map is, it becomes one number a part; what is then hidden depends on the map, or,
in the shared table of random sets, on no map at all. All masks of all maps of a clip are run together and none twice.

Values are the target's probability as a share of that in the sound as it is: of words from the forced score, of what has a rival
from the odds. Where hiding something helps it counts as 1: one lucky mask of an unsure word would outweigh all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxray.case import Case
from voxray.masking import Fill, Filling, Runs, Segments, bands, spacing, tiles
from voxray.measures import faithfulness
from voxray.types import Grid

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
PART = 0.06  # seconds: one frame of the models
FIRST_PARTS = (0, 1, 2, 3, 4, 6, 8)  # hidden at the beginning of a deletion; a word is about so many
SHARES = (0.1, 0.15, 0.2, 0.3, 0.5, 1.0)  # of all parts, hidden later


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What can be hidden of a clip.

    Attributes:
        segments: the parts over the finest cells.
        edges: (S + 1,) seconds.
    """

    segments: Segments
    edges: Float64Array

    def __len__(self) -> int:
        return len(self.edges) - 1


def even_parts(cells: Grid, width: float = PART) -> Parts:
    """Return parts of one width; the last may be shorter."""
    step = max(1, round(width / spacing(cells)))
    return _parts(cells, np.unique(np.append(np.arange(0, cells.shape[1], step), cells.shape[1])))


def true_parts(cells: Grid, spans: Sequence[tuple[float, float]]) -> Parts:
    """Return the words of a clip, given by their true times, and all between and around them, as parts."""
    times = np.array([time for span in spans for time in span])
    at = np.round((times - cells.times[0]) / spacing(cells)).clip(0, cells.shape[1]).astype(int)
    return _parts(cells, np.unique(np.concatenate([[0], at, [cells.shape[1]]])))


def _parts(cells: Grid, edges: npt.NDArray[np.int_]) -> Parts:
    return Parts(tiles(edges.astype(np.int64), bands(1, cells.shape[0])), cells.times[edges])


def on_parts(scores: npt.ArrayLike, times: Float64Array, edges: Float64Array) -> Float64Array:
    """Return a map over time (K,) as the relevance of each part, (S,): cells that are cut count in proportion.

    Args:
        scores: (K,).
        times: (K + 1,) edges of its cells, seconds.
        edges: (S + 1,) edges of the parts, seconds.
    """
    run = np.concatenate([[0.0], np.cumsum(np.asarray(scores, np.float64))])
    return np.asarray(np.diff(np.interp(edges, times, run)))


def counts(parts: int) -> npt.NDArray[np.int64]:
    """Return how many parts are hidden, step by step, from none to all."""
    later = [round(share * parts) for share in SHARES]
    return np.unique([min(one, parts) for one in (*FIRST_PARTS, *later)]).astype(np.int64)


def deletions(relevance: npt.ArrayLike) -> BoolArray:
    """Return which parts are hidden at each step while the most relevant go first, (R, S)."""
    ranks = np.argsort(faithfulness.order(relevance))
    return np.asarray(ranks[None] < counts(len(ranks))[:, None])


class Ledger:
    """Masks that shall be run, each once, and the scores once they were."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._masks: list[BoolArray] = []
        self._scores: Float64Array = np.zeros((0, 0))

    def add(self, masks: BoolArray) -> npt.NDArray[np.int64]:
        """Note masks (R, S) and return their places, (R,)."""
        found = []
        for mask in masks:
            key = np.packbits(mask).tobytes()
            if key not in self._places:
                self._places[key] = len(self._masks)
                self._masks.append(mask)
            found.append(self._places[key])
        return np.array(found, np.int64)

    def run(self, case: Case, parts: Parts, fill: Fill, seed: int) -> None:
        """Run every mask; hiding nothing gives the scores of the sound as it is."""
        runs = Runs(case, parts.segments, Filling(fill, seed=seed), "forced")
        self._scores = runs.all(np.array(self._masks)) if self._masks else np.zeros((0, len(case.aims)))

    def scores(self, places: npt.NDArray[np.int64], aim: int) -> Float64Array:
        """Return the scores (R,) of one target."""
        return np.asarray(self._scores[places, aim])


def shares(scores: Float64Array, base: float, *, odds: bool) -> Float64Array:
    """Return probabilities as shares of that of the sound as it is, 0 to 1.

    Args:
        scores: nats.
        base: nats, of the sound as it is.
        odds: whether scores are log-odds; else they are logarithms of probabilities.
    """
    if not odds:
        return np.asarray(np.exp(np.minimum(scores - base, 0.0)))
    return np.asarray(np.exp(np.minimum(np.logaddexp(0.0, -base) - np.logaddexp(0.0, -scores), 0.0)))


def curve(values: Float64Array, parts: int) -> dict[str, float]:
    """Return what a deletion says: its area, and the mean fall without the top 10, 20 and 50 %.

    Args:
        values: (R,) shares at each of :func:`counts`.
        parts: how many there are.
    """
    steps = counts(parts)
    at = {int(count): float(value) for count, value in zip(steps, values, strict=True)}
    tops = [at[round(share * parts)] for share in faithfulness.SHARES]
    return {"area": faithfulness.area(steps / parts, values), "fall": faithfulness.comprehensiveness(1.0, tops)}


def table_measures(relevance: Float64Array, hidden: BoolArray, drops: Float64Array) -> Mapping[str, float | None]:
    """Return what the shared table of random sets says of a map."""
    return {
        "correlation": faithfulness.correlation(relevance, hidden, drops),
        "infidelity": faithfulness.infidelity(relevance, hidden, drops),
    }
