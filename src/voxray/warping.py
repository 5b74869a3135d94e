"""From attention to times: dynamic time warping of tokens over frames, and which heads to trust.

All functions are pure. Axes: ``K`` = heads, ``U`` = tokens, ``T`` = frames; ``L`` layers of ``H`` heads.

**Source:** OpenAI ``whisper/timing.py``; choosing heads by their norm: "Whisper has an internal word aligner", 2025
(arXiv 2509.09987), as in its code whisper-char-alignment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, IntArray

FILTER = 7  # frames; width of the median filter
KEPT = 10  # heads that are kept where none are known to align
NEAR = 0.8  # of a token's highest closeness, from where on it is heard
OVER = 10  # frames that a token may last after the path has left it
DIAGONAL, DOWN, RIGHT = 0, 1, 2


def closeness(scores: FloatArray) -> npt.NDArray[np.float64]:
    """Return how well each token fits each frame, (K, U, T) -> (U, T) float64.

    Scores become probabilities over the frames; each frame's are compared among the tokens (as many standard deviations above
    their mean), which takes away what every token looks at; what flickers is filtered out; heads are averaged.

    Args:
        scores: what goes into the softmax, of the frames of sound alone.
    """
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    weights /= weights.sum(axis=-1, keepdims=True)
    spread = weights.std(axis=-2, keepdims=True)
    compared = np.divide(weights - weights.mean(axis=-2, keepdims=True), spread, out=np.zeros_like(weights), where=spread > 0)
    return np.asarray(median_filter(compared, FILTER).mean(axis=0))


def median_filter(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Return the median of a window around each value of the last axis, reflected at the ends; too short rows stay as they are.

    Args:
        values: (..., T).
        width: of the window, odd.
    """
    reach = width // 2
    if values.shape[-1] <= reach:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(reach, reach)], mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1), np.float64)


def warp(cost: npt.NDArray[np.floating[Any]]) -> tuple[IntArray, IntArray]:
    """Return the cheapest path from the first cell to the last: down, right or both at each step.

    Costs along the path are summed in float32, and ties are broken, as OpenAI's code does it, so that paths are equal.

    Args:
        cost: (U, T), at least one of each.

    Returns:
        Rows and columns of the path's cells, (n,) each.
    """
    rows, columns = cost.shape
    if not cost.size:
        raise ValueError(f"cost must have at least one row and one column, got {cost.shape}")
    total = np.full((rows + 1, columns + 1), np.inf, np.float32)
    total[0, 0] = 0
    steps = np.full((rows + 1, columns + 1), RIGHT, np.int8)
    steps[:, 0] = DOWN
    steps[0] = RIGHT
    flat, flat_steps, width = total.ravel(), steps.ravel(), columns + 1
    values = np.zeros((rows + 1, columns + 1))
    values[1:, 1:] = cost
    flat_cost = values.ravel()
    for diagonal in range(2, rows + columns + 1):  # cells of a diagonal do not wait for one another
        first, last = max(1, diagonal - columns), min(rows, diagonal - 1)
        start, stop = first * columns + diagonal, last * columns + diagonal + 1  # (row, column) lies at row * width + column
        here = slice(start, stop, columns)
        both, down, right = (flat[start - back : stop - back : columns] for back in (width + 1, width, 1))
        is_both = (both < down) & (both < right)
        is_down = (down < both) & (down < right)
        flat[here] = flat_cost[here] + np.where(is_both, both, np.where(is_down, down, right))
        flat_steps[here] = np.where(is_both, DIAGONAL, np.where(is_down, DOWN, RIGHT))
    return _traced(steps)


def _traced(steps: npt.NDArray[np.int8]) -> tuple[IntArray, IntArray]:
    """Return the path that leads to the last cell."""
    row, column = steps.shape[0] - 1, steps.shape[1] - 1
    path = []
    while row > 0 or column > 0:
        path.append((row - 1, column - 1))
        step = steps[row, column]
        row -= step in (DIAGONAL, DOWN)
        column -= step in (DIAGONAL, RIGHT)
    found = np.array(path[::-1], np.int64)
    return found[:, 0], found[:, 1]


def firsts(rows: IntArray, columns: IntArray) -> IntArray:
    """Return the column at which a path steps into each row, (U,)."""
    return np.asarray(columns[np.diff(rows, prepend=-1) > 0], np.int64)


def spans(close: npt.NDArray[np.float64]) -> IntArray:
    """Return the frames at which each token begins and ends, (U, 2).

    The path gives every frame to some token, pauses too, and moves on before the next token is heard: on speech of known times its
    steps came 0.1 s too early. So a token begins where, in the stretch that the path gives it, its closeness first comes near to
    the highest there; it ends where the next one begins, but no more than 0.2 s after the path has left it.

    Args:
        close: (U + 1, T) of ``closeness``, the row that ends the text last.

    **Source:** the path: OpenAI ``whisper/timing.py``; what is made of it: ours, with both numbers from 40 synthetic English clips.
    """
    steps = firsts(*warp(-close))
    stops = np.append(steps[1:], close.shape[1])
    begins = []
    for row, first, stop in zip(close, steps.tolist(), stops.tolist(), strict=True):
        stretch = row[first : max(stop, first + 1)]
        begins.append(first + int((stretch >= min(NEAR * stretch.max(), stretch.max())).argmax()))
    ends = np.minimum(begins[1:], stops[:-1] + OVER)
    return np.stack([begins[:-1], ends], axis=1).astype(np.int64)


def heads_by_norm(weights: FloatArray, keep: int = KEPT) -> list[tuple[int, int]]:
    """Return the heads whose attention is the most concentrated, (layer, head), in order.

    A head that moves from frame to frame with the tokens has few large weights; the norms of its rows and columns are large.

    Args:
        weights: (L, H, U, T), probabilities.
        keep: how many.
    """
    squares = weights.astype(np.float64) ** 2
    norms = np.sqrt(squares.sum(axis=-1)).sum(axis=-1) + np.sqrt(squares.sum(axis=-2)).sum(axis=-1)
    best = np.argsort(-norms.ravel(), kind="stable")[:keep]
    return sorted((int(one) // norms.shape[1], int(one) % norms.shape[1]) for one in best)
