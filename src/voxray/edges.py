"""Where words begin and end in the sound itself, near where attention puts them.

Attention knows which word is said, but not to a frame when: it looks ahead to the next word before that is heard, and a pause has
to belong to some word. The sound has edges there: where a word begins, many bands get louder at once; where it ends before a
pause, softer. So a start moves to the strongest rise near it and an end to the strongest fall, the likelier the nearer it lies to
where such edges were found on speech of known times.

Conventions: ``F`` = rows of the bank, ``M`` = mel filters. Times are seconds from the bank's first row.

**Source:** ours. The numbers are from 60 synthetic English sentences in 9 sounds; see ``docs/whisper.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, Token, Word

RANGE = 8.0  # decades under the loudest value; what lies lower is silence
STEPS = (0.01, 0.02, 0.03)  # s to either side of an edge; together they are largest at the edge itself
FAINT = 1e-3  # decades: a change that counts as none
OVERLAP = 0.15  # s by which a start may pass the next word's, which moves too


@dataclass(frozen=True, slots=True)
class Reach:
    """Where an edge is looked for around a time that attention gives, in seconds.

    Attributes:
        before, after: the farthest.
        likely, spread: mean and standard deviation of how much later it lies.
    """

    before: float
    after: float
    likely: float
    spread: float


RISE = Reach(0.10, 0.35, 0.08, 0.10)
FALL = Reach(0.20, 0.30, 0.04, 0.10)


def changes(bank: FloatArray, hop: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return by how many decades the bands get louder and by how many softer around each row, (F,) each.

    Both are means over all bands and ``STEPS``; in the first, a band that gets softer counts as 0, and so the other way round.

    Args:
        bank: (F, M) log10 energies.
        hop: seconds from row to row.
    """
    floored = np.maximum(bank, bank.max() - RANGE).astype(np.float64)
    up, down = np.zeros(len(bank)), np.zeros(len(bank))
    for seconds in STEPS:
        step = max(round(seconds / hop), 1)
        padded = np.pad(floored, ((step, step), (0, 0)), mode="edge")
        change = padded[2 * step :] - padded[: -2 * step]
        up += np.maximum(change, 0.0).mean(axis=1) / len(STEPS)
        down += np.maximum(-change, 0.0).mean(axis=1) / len(STEPS)
    return up, down


def edge_near(change: npt.NDArray[np.float64], hop: float, time: float, limit: float, reach: Reach) -> float:
    """Return the time of the strongest change near a time.

    Args:
        change: (F,), one of those of ``changes``.
        hop: seconds from row to row.
        time: around which to look.
        limit: at the latest.
        reach: how far to look.
    """
    first = min(max(round((time - reach.before) / hop), 0), len(change) - 1)
    last = min(round(min(time + reach.after, limit) / hop), len(change) - 1)
    rows = np.arange(first, max(last, first) + 1)
    late = (rows * hop - time - reach.likely) / reach.spread
    return float(rows[(np.log(change[rows] + FAINT) - late**2 / 2).argmax()] * hop)


def settle(spans: Sequence[tuple[float, float]], bank: FloatArray, hop: float) -> list[tuple[float, float]]:
    """Return the spans of words, moved to the edges of the sound; they stay in order and do not overlap.

    Args:
        spans: starts and ends in order, as attention gives them.
        bank: (F, M) log10 energies.
        hop: seconds from row to row.
    """
    (up, down), stop = changes(bank, hop), len(bank) * hop
    starts: list[float] = []
    for at, (start, _) in enumerate(spans):
        following = spans[at + 1][0] + OVERLAP if at + 1 < len(spans) else stop
        starts.append(max(edge_near(up, hop, start, following, RISE), starts[-1] if starts else 0.0))
    result = []
    for start, (_, end), following in zip(starts, spans, [*starts, stop][1:], strict=True):
        found = min(edge_near(down, hop, end, following, FALL), following)
        result.append((start, max(found, min(start + hop, following))))
    return result


def move_tokens(tokens: Sequence[Token], words: Sequence[Word], bank: FloatArray, hop: float, origin: float) -> list[Token]:
    """Return tokens with the times of their words moved to the edges of the sound.

    A word's tokens keep their shares of it. What follows a word's letters, such as a full stop, lies after its end.

    Args:
        tokens: in order.
        words: those that the tokens make up, with the times that the tokens have.
        bank: (F, M) log10 energies.
        hop: seconds from row to row.
        origin: time of the bank's first row.
    """
    spans = settle([(word.start - origin, word.end - origin) for word in words], bank, hop)
    result = list(tokens)
    for at, (word, (start, end)) in enumerate(zip(words, spans, strict=True)):
        following = spans[at + 1][0] if at + 1 < len(spans) else np.inf
        for index in range(*word.tokens):
            own = tokens[index].start - origin, tokens[index].end - origin
            inside = np.interp(own, (word.start - origin, word.end - origin), (start, end)).tolist()
            last = inside[1] if tokens[index].end <= word.end else max(end, min(own[1], following))
            result[index] = replace(tokens[index], start=origin + inside[0], end=origin + last)
    return result
