"""Connectionist temporal classification: from rows of posteriors to tokens and back to rows.

Conventions: ``log_probs`` is (T, V), natural logarithms, one row per frame; ``ids`` holds U token ids without blanks. A path gives
every frame one label; equal neighbours merge, blanks vanish.

**Source:** Graves et al. 2006, "Connectionist temporal classification", equations 6-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]


class Run(NamedTuple):
    """A token and the frames [first, stop) of a path that emit it."""

    id: int
    first: int
    stop: int


def runs(path: npt.ArrayLike, blank: int = 0) -> list[Run]:
    """Collapse a path: one run for each maximal stretch of equal, non-blank labels.

    Args:
        path: (T,) label ids.
        blank: id of the blank.
    """
    labels = np.asarray(path)
    if not len(labels):
        return []
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = np.concatenate(([0], edges))
    stops = np.concatenate((edges, [len(labels)]))
    return [
        Run(int(labels[first]), int(first), int(stop)) for first, stop in zip(starts, stops, strict=True) if labels[first] != blank
    ]


def log_softmax(logits: npt.ArrayLike) -> FloatArray:
    """Return log-probabilities over the last axis, computed a few rows at a time to stay within the cache.

    Args:
        logits: (N, V) float32.
    """
    values = np.asarray(logits, np.float32)
    result = np.empty_like(values)
    for first in range(0, len(values), 16):
        rows = values[first : first + 16]
        result[first : first + 16] = rows - log_normaliser(rows)[:, None]
    return result


def log_normaliser(logits: FloatArray) -> FloatArray:
    """Return log(sum(exp(row))) for each row: (N, V) float32 -> (N,) float32."""
    top = logits.max(axis=-1, keepdims=True)
    shifted = logits - top
    np.exp(shifted, out=shifted)
    return np.asarray(top[:, 0] + np.log(shifted.sum(axis=-1)), np.float32)


def forced_alignment(log_probs: FloatArray, ids: Sequence[int], blank: int = 0) -> IntArray:
    """Return the likeliest path that collapses to the given tokens (Viterbi).

    For the tokens of the greedy text this is the greedy path itself, since no path is likelier.

    Args:
        log_probs: (T, V).
        ids: U token ids.
        blank: id of the blank.

    Returns:
        (T,) int64, a label id per frame.

    Raises:
        ValueError: when the frames are too few for the tokens (repeats need a blank between them).
    """
    scores, extended, skips = _trellis(log_probs, ids, blank)
    frames, states = scores.shape
    best = np.full(states, -np.inf)
    best[: min(2, states)] = scores[0, : min(2, states)]
    steps = np.zeros((frames, states), np.int8)
    for frame in range(1, frames):
        candidates = np.stack([best, _shift(best, 1), np.where(skips, _shift(best, 2), -np.inf)])
        steps[frame] = candidates.argmax(axis=0)
        best = candidates.max(axis=0) + scores[frame]
    state = states - 1 if states == 1 or best[-1] >= best[-2] else states - 2
    path = np.empty(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = extended[state]
        state -= int(steps[frame, state])
    return path


def log_likelihood(log_probs: FloatArray, ids: Sequence[int], blank: int = 0) -> float:
    """Return the log-probability of the tokens: the sum over every path that collapses to them."""
    scores, _, skips = _trellis(log_probs, ids, blank)
    return float(np.logaddexp.reduce(_forward(scores, skips)[-1, -2:]))


def occupancy(log_probs: FloatArray, ids: Sequence[int], blank: int = 0) -> FloatArray:
    """Return how probable it is, given the tokens, that a frame emits each of them (forward-backward).

    Args:
        log_probs: (T, V).
        ids: U token ids.
        blank: id of the blank.

    Returns:
        (U, T) float32; a column sums to at most 1, the rest being the blank's share.

    Raises:
        ValueError: when the frames are too few for the tokens, or cannot emit them since a log-probability is minus infinity.
    """
    scores, _, skips = _trellis(log_probs, ids, blank)
    forward = _forward(scores, skips)
    mirrored = np.zeros_like(skips)  # read backwards, the same two states are joined by the same skip
    mirrored[2:] = skips[::-1][:-2]
    backward = _forward(scores[::-1, ::-1], mirrored)[::-1, ::-1]
    total = np.logaddexp.reduce(forward[-1, -2:])
    if total == -np.inf:
        raise ValueError(f"no path through these {len(scores)} frames emits the {len(ids)} tokens")
    joint = np.subtract(forward + backward, scores, out=np.full_like(scores, -np.inf), where=scores > -np.inf)
    return np.asarray(np.exp(joint - total)[:, 1::2].T, np.float32)


def _trellis(log_probs: FloatArray, ids: Sequence[int], blank: int) -> tuple[Float64Array, IntArray, npt.NDArray[np.bool_]]:
    """Return scores (T, 2U+1) of blank, y1, blank, ..., the labels, and which states may be entered past a blank."""
    extended = np.full(2 * len(ids) + 1, blank, np.int64)
    extended[1::2] = ids
    repeats = int(np.sum(extended[3::2] == extended[1:-2:2])) if len(ids) > 1 else 0
    if len(log_probs) < max(len(ids) + repeats, 1):
        raise ValueError(f"{len(log_probs)} frames cannot emit {len(ids)} tokens with {repeats} repeats")
    skips = np.zeros(len(extended), np.bool_)
    skips[3::2] = extended[3::2] != extended[1:-2:2]
    return np.asarray(log_probs[:, extended], np.float64), extended, skips


def _forward(scores: Float64Array, skips: npt.NDArray[np.bool_]) -> Float64Array:
    """Return log of the summed probability of all partial paths that end in each state, (T, S)."""
    result = np.full(scores.shape, -np.inf)
    result[0, :2] = scores[0, :2]
    with np.errstate(invalid="ignore"):
        for frame in range(1, len(scores)):
            above = result[frame - 1]
            stay = np.logaddexp(above, _shift(above, 1))
            result[frame] = np.logaddexp(stay, np.where(skips, _shift(above, 2), -np.inf)) + scores[frame]
    return result


def _shift(values: Float64Array, by: int) -> Float64Array:
    """Move state values up by some states, filling with minus infinity."""
    moved = np.full_like(values, -np.inf)
    moved[by:] = values[: len(values) - by]
    return moved
