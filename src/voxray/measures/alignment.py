"""How well a map from tokens to frames of sound looks like an alignment, judged by the map itself, without reference times.

Conventions: ``weights`` is (..., U, T), U tokens by T frames, any axes before them (layers, heads); each map gives one number, so
results are (...) float64. Rows are scaled to sum to 1 first; a row without any weight says nothing and does not count. Entropies
are in bits, times in seconds. What cannot be told (a map without tokens, coverage of a sound without speech) is NaN.

None of these proves an alignment right: a ramp of bumps from corner to corner scores well on all of them, whatever was said.

**Source:** Ren et al. 2019, "FastSpeech" (focus rate); Shim et al. 2022, "Understanding the role of self attention for efficient
speech recognition" (diagonality). The others are plain statistics; thresholds are ours.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from voxray.measures.heads import mean_of

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

COVERED = 0.5
"""Of the mean weight of all frames: a frame that draws more than this is covered."""
HELD = 0.8
"""Share of a token's weight that ``width`` has to hold."""
SLOWEST, FASTEST = 1.0, 12.0
"""Tokens a second that speech can have; outside, text was lost or made up."""


def entropy(weights: npt.ArrayLike) -> Float64Array:
    """Return how widely a token spreads its weight over the frames, mean over tokens, bits."""
    return mean_of(_entropies(_rows(weights)), axis=-1)


def concentration(weights: npt.ArrayLike) -> Float64Array:
    """Return 1 - H / log T, mean over tokens: 1 where each looks at one frame, 0 where each looks at all alike."""
    rows = _rows(weights)
    frames = rows.shape[-1]
    shares = _entropies(rows) / math.log2(frames) if frames > 1 else np.full(rows.shape[:-1], np.nan)
    return 1.0 - mean_of(shares, axis=-1)


def focus_rate(weights: npt.ArrayLike) -> Float64Array:
    """Return the largest weight of a token, mean over tokens: 1 / T to 1."""
    rows = _rows(weights)
    return mean_of(rows.max(axis=-1), axis=-1)


def width(weights: npt.ArrayLike, hop: float, share: float = HELD) -> Float64Array:
    """Return the shortest stretch of sound that holds a share of a token's weight, mean over tokens, seconds.

    Args:
        weights: (..., U, T).
        hop: seconds between frames.
        share: of the token's weight.
    """
    rows = _rows(weights)
    edges = np.concatenate([np.zeros_like(rows[..., :1]), rows.cumsum(axis=-1)], axis=-1)
    found = np.full(rows.shape[:-1], np.nan)
    for frames in range(rows.shape[-1], 0, -1):
        held = (edges[..., frames:] - edges[..., :-frames]).max(axis=-1)
        found = np.where(held >= share - 1e-9, frames * hop, found)
    return mean_of(found, axis=-1)


def centres(weights: npt.ArrayLike, times: npt.ArrayLike) -> Float64Array:
    """Return the centre of each token's weight, (..., U) float64, seconds.

    Args:
        weights: (..., U, T).
        times: (T,) centre of each frame, seconds.
    """
    return np.asarray(_rows(weights) @ np.asarray(times, np.float64), np.float64)


def monotonicity(weights: npt.ArrayLike) -> Float64Array:
    """Return the share of tokens whose centre lies no earlier than that of the token before; NaN below two tokens."""
    found = centres(weights, np.arange(np.shape(weights)[-1]))
    steps = np.diff(found, axis=-1)
    return mean_of(np.where(np.isnan(steps), np.nan, steps >= -1e-9), axis=-1)


def order(weights: npt.ArrayLike) -> Float64Array:
    """Return Kendall's tau-a between the tokens and their centres: 1 in order, -1 reversed, about 0 by chance; NaN below two."""
    found = centres(weights, np.arange(np.shape(weights)[-1]))
    first, second = np.triu_indices(found.shape[-1], 1)
    return mean_of(np.sign(found[..., second] - found[..., first]), axis=-1)


def diagonality(weights: npt.ArrayLike) -> Float64Array:
    """Return how close the weight lies to the line from the first token and frame to the last, 0 to 1.

    It is the integral over r from 0 to 1 of the mean share of a token's weight within r of the diagonal, both axes scaled to 1,
    which is the mean of 1 - |distance from the diagonal|. Evenly spread weight has 2/3 of many tokens and frames.

    **Source:** Shim et al. 2022, cumulative attention diagonality; the closed form and maps that are not square are ours.
    """
    rows = _rows(weights)
    tokens, frames = rows.shape[-2:]
    places = (np.arange(frames) + 0.5) / max(frames, 1)
    apart = np.abs((np.arange(tokens)[:, None] + 0.5) / max(tokens, 1) - places)
    return mean_of((rows * (1.0 - apart)).sum(axis=-1), axis=-1)


def coverage(weights: npt.ArrayLike, speech: npt.ArrayLike) -> Float64Array:
    """Return the share of the frames with speech that the tokens together look at: with more than half of a frame's mean weight.

    Args:
        weights: (..., U, T).
        speech: (T,) bool, whether somebody speaks in a frame.
    """
    spoken = _mask(weights, speech)
    drawn = np.nansum(_rows(weights), axis=-2)
    if not spoken.any():
        return np.full(drawn.shape[:-1], np.nan)
    covered = drawn[..., spoken] > COVERED * drawn.mean(axis=-1, keepdims=True)
    return np.where(drawn.any(axis=-1), covered.mean(axis=-1), np.nan)


def silence_leakage(weights: npt.ArrayLike, speech: npt.ArrayLike) -> Float64Array:
    """Return the share of a token's weight that lies where nobody speaks, mean over tokens.

    Args:
        weights: (..., U, T).
        speech: (T,) bool, whether somebody speaks in a frame.
    """
    rows = _rows(weights)
    return mean_of(rows[..., ~_mask(weights, speech)].sum(axis=-1), axis=-1)


def speech_preference(weights: npt.ArrayLike, speech: npt.ArrayLike) -> Float64Array:
    """Return the share of the weight on speech less the share of the frames that are speech: 0 by chance, above it better.

    Args:
        weights: (..., U, T).
        speech: (T,) bool, whether somebody speaks in a frame.
    """
    spoken = _mask(weights, speech)
    return 1.0 - silence_leakage(weights, speech) - (spoken.mean() if len(spoken) else np.nan)


def emission_distance(weights: npt.ArrayLike, times: npt.ArrayLike, emissions: npt.ArrayLike) -> Float64Array:
    """Return how far the centre of a token's weight lies from where it was emitted, mean over tokens, seconds.

    Args:
        weights: (..., U, T).
        times: (T,) centre of each frame, seconds.
        emissions: (U,) when each token was emitted, seconds.
    """
    return mean_of(np.abs(centres(weights, times) - np.asarray(emissions, np.float64)), axis=-1)


def token_rate(tokens: int, seconds: float) -> float:
    """Return tokens a second, NaN of no time."""
    return tokens / seconds if seconds > 0 else math.nan


def is_plausible(rate: float) -> bool:
    """Tell whether speech can have so many tokens a second: 1 to 12."""
    return SLOWEST <= rate <= FASTEST


def _rows(weights: npt.ArrayLike) -> Float64Array:
    """Return the map with rows that sum to 1; rows without weight are NaN.

    Raises:
        ValueError: when there are fewer than two axes or no frames, or a weight is below 0 or not finite.
    """
    values = np.asarray(weights, np.float64)
    if values.ndim < 2 or not values.shape[-1]:
        raise ValueError(f"weights must have the shape (..., U, T) with at least one frame, got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("weights must be finite and 0 or more, got one that is not")
    total = values.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0), np.float64)


def _entropies(rows: Float64Array) -> Float64Array:
    logs = np.log2(rows, out=np.zeros_like(rows), where=rows > 0)
    return np.asarray(-(rows * logs).sum(axis=-1), np.float64)


def _mask(weights: npt.ArrayLike, speech: npt.ArrayLike) -> BoolArray:
    """Return which frames are speech after checking that there is one answer a frame."""
    spoken = np.asarray(speech, np.bool_)
    if spoken.shape != np.shape(weights)[-1:]:
        raise ValueError(f"speech must have the shape {np.shape(weights)[-1:]}, one a frame, got {spoken.shape}")
    return spoken
