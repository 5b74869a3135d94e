"""Are the times right: starts and ends that were found against those that are true.

Conventions: times are seconds; ``found`` and ``true`` are (n, 2), start and end of the same n units in the same order (words that
were recognised right: what is missing is told by :func:`pair`, never scored). An error is found minus true, so above 0 is late.

**Source:** the measures of forced alignment as in Rousso et al. 2024 (arXiv 2406.19363; shares within a tolerance), the accumulated
shift of start and end of Shi et al. 2023 (arXiv 2301.12343), boundary F1 with the identity of the word as usual in segmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Timed = tuple[str, float, float]
TOLERANCES = (0.02, 0.05, 0.1, 0.2)  # seconds


@dataclass(frozen=True, slots=True)
class Edge:
    """Errors of one kind of edge, the starts or the ends.

    Attributes:
        mean: of the absolute errors, seconds.
        median: of the absolute errors, seconds.
        bias: median of the signed errors, seconds; above 0 is late.
        within: share of the errors within 20, 50, 100 and 200 ms.
    """

    mean: float
    median: float
    bias: float
    within: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Boundaries:
    """How well times were found.

    Attributes:
        units: how many were compared.
        start: errors of the starts.
        end: errors of the ends.
        shift: mean of the errors of start and end together, seconds (accumulated averaging shift).
        overlap: mean of what found and true have in common over what they cover together (intersection over union).
    """

    units: int
    start: Edge
    end: Edge
    shift: float
    overlap: float


def validate(found: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return both as (n, 2) float64.

    Raises:
        ValueError: when they are no (n, 2) of one length, or a unit ends before it starts.
    """
    one, other = np.asarray(found, np.float64), np.asarray(true, np.float64)
    for name, values in (("found", one), ("true", other)):
        if values.ndim != 2 or values.shape[1] != 2:
            raise ValueError(f"{name} must be (n, 2), start and end in seconds, got {values.shape}")
        if not np.isfinite(values).all() or (values[:, 1] < values[:, 0]).any():
            raise ValueError(f"{name} holds a unit that ends before it starts; are the times in seconds, start and end?")
    if len(one) != len(other):
        raise ValueError(f"found has {len(one)} units and true has {len(other)}; compare the same ones")
    return one, other


def evaluate(found: npt.ArrayLike, true: npt.ArrayLike) -> Boundaries | None:
    """Return every figure; None of no units.

    Raises:
        ValueError: as :func:`validate`.
    """
    one, other = validate(found, true)
    if not len(one):
        return None
    errors = one - other
    shared = (np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0])).clip(0)
    covered = np.maximum(one[:, 1], other[:, 1]) - np.minimum(one[:, 0], other[:, 0])
    return Boundaries(
        units=len(one),
        start=edge(errors[:, 0]),
        end=edge(errors[:, 1]),
        shift=float(np.abs(errors).mean()),
        overlap=float(np.divide(shared, covered, out=np.ones_like(shared), where=covered > 0).mean()),
    )


def edge(errors: npt.ArrayLike) -> Edge:
    """Return the figures of signed errors in seconds, at least one."""
    signed = np.asarray(errors, np.float64)
    sizes = np.abs(signed)
    within = tuple(float((sizes <= tolerance + 1e-9).mean()) for tolerance in TOLERANCES)
    return Edge(float(sizes.mean()), float(np.median(sizes)), float(np.median(signed)), within)


def pair(found: Sequence[Timed], true: Sequence[Timed]) -> tuple[Float64Array, Float64Array]:
    """Return the times of the words that both have in the same order, (n, 2) each: the longest common row of texts.

    Args:
        found: text, start and end of each word.
        true: likewise.

    **Source:** of several longest rows the one whose times lie nearest, so that of two like words the right one is taken.
    """
    rows, columns = len(found), len(true)
    best = np.zeros((rows + 1, columns + 1, 2))  # words in common, and minus the seconds between them
    for row in range(rows - 1, -1, -1):
        for column in range(columns - 1, -1, -1):
            options = [tuple(best[row + 1, column]), tuple(best[row, column + 1])]
            if found[row][0].casefold() == true[column][0].casefold():
                count, near = best[row + 1, column + 1]
                options.append((count + 1, near - abs(found[row][1] - true[column][1])))
            best[row, column] = max(options)
    pairs, row, column = [], 0, 0
    while row < rows and column < columns:
        here = tuple(best[row, column])
        if here == tuple(best[row + 1, column]):
            row += 1
        elif here == tuple(best[row, column + 1]):
            column += 1
        else:
            pairs.append((row, column))
            row, column = row + 1, column + 1
    ones = np.array([found[one][1:] for one, _ in pairs], np.float64).reshape(-1, 2)
    return ones, np.array([true[two][1:] for _, two in pairs], np.float64).reshape(-1, 2)


def spelled(found: Sequence[str], true: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return which true words were found letter for letter, though maybe cut otherwise, as (true, first found, last found).

    A word in Hanzi may be found as several of one character each; its start is then that of the first, its end that of the last.
    Spaces, punctuation and case do not count.

    Args:
        found: texts of the words that were found, in order.
        true: texts of the true words, in order.

    **Source:** the longest matching blocks of letters, as ``difflib`` finds them.
    """
    (mine, own), (yours, theirs) = (
        [list(part) for part in zip(*_letters(words), strict=True)] or [[], []] for words in (found, true)
    )
    place = {
        block.b + step: block.a + step
        for block in SequenceMatcher(None, mine, yours, autojunk=False).get_matching_blocks()
        for step in range(block.size)
    }
    result = []
    for index in range(len(true)):
        letters = [at for at, word in enumerate(theirs) if word == index]
        places = [place.get(at, -1) for at in letters]
        if not places or -1 in places or places != list(range(places[0], places[0] + len(places))):
            continue
        first, last = own[places[0]], own[places[-1]]
        if own.index(first) == places[0] and (places[-1] + 1 == len(own) or own[places[-1] + 1] != last):
            result.append((index, first, last))
    return result


def _letters(words: Sequence[str]) -> list[tuple[str, int]]:
    """Return every letter of words with the index of its word."""
    return [(letter, index) for index, word in enumerate(words) for letter in word.casefold() if letter.isalnum()]


def f1(found: Sequence[Timed], true: Sequence[Timed], tolerance: float = 0.05) -> float | None:
    """Return the F1 of boundaries: a start or end counts if its word was paired and it lies within a tolerance of seconds.

    None where there is nothing on either side.
    """
    total = 2 * (len(found) + len(true))
    if not total:
        return None
    one, other = pair(found, true)
    hits = int((np.abs(one - other) <= tolerance + 1e-9).sum())
    return 2 * hits / total
