"""How alike two models are inside, on the same sound: attention, layer outputs, logits, margins.

Conventions: attention is (H, N, N), rows that sum to 1, prompt rows first; only the rows of sound are measured. Sums are kept and
not means, so that those of several pieces and clips can be added. Divergences are in bits, margins in logits. Equal inputs give
exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]


# --- Attention -----------------------------------------------------------------------------------------------------------


def jensen_shannon(first: npt.ArrayLike, second: npt.ArrayLike) -> Float64Array:
    """Return the Jensen-Shannon divergence of distributions in bits, 0 for equal ones and 1 for those that share nothing.

    Args:
        first: (..., N), not negative, summing to 1 along the last axis.
        second: the same shape.

    Returns:
        (...) float64.

    Raises:
        ValueError: when the shapes differ.

    **Source:** Lin 1991, "Divergence measures based on the Shannon entropy": half of KL(A, M) and half of KL(B, M), M the mean.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"two distributions to be compared must have one shape, got {a.shape} and {b.shape}")
    middle = (a + b) / 2
    bits = np.zeros_like(middle)
    for one in (a, b):
        ratio = np.divide(one, middle, out=np.ones_like(one), where=one > 0)
        bits += one * np.log2(ratio)
    return np.asarray(np.maximum(bits.sum(axis=-1) / 2, 0.0))


def without_prompts(weights: FloatArray, prompts: int) -> tuple[Float64Array, Float64Array]:
    """Return what rows give to the sound, scaled to sum to 1 again, and how much of them that was.

    Args:
        weights: (..., N), prompt columns first.
        prompts: how many those are.

    Returns:
        (..., N - prompts), rows of zeros where nothing goes to the sound; and (...) the share of the sound.
    """
    sound = np.asarray(weights[..., prompts:], np.float64)
    mass = sound.sum(axis=-1)
    return np.divide(sound, mass[..., None], out=np.zeros_like(sound), where=mass[..., None] > 0), mass


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSums:
    """How far the attention of some heads of two models diverges, added up over rows of sound; arrays are (L, H) float64.

    Attributes:
        rows: of sound.
        divergence: Jensen-Shannon divergence over all columns, bits.
        sound_rows: rows of which both models give something to the sound.
        sound_divergence: the same over the columns of sound alone, scaled to sum to 1.
        weighted: ``divergence`` times the norm of what the head adds to the row, mean of both models.
        norm: (L,), those norms, mean over the heads.
        moved: rows whose largest weight stands in another column.
    """

    rows: Float64Array
    divergence: Float64Array
    sound_rows: Float64Array
    sound_divergence: Float64Array
    weighted: Float64Array
    norm: Float64Array
    moved: Float64Array

    def __add__(self, other: AttentionSums) -> AttentionSums:
        return AttentionSums(*(getattr(self, name) + getattr(other, name) for name in AttentionSums.__slots__))


def attention_sums(first: FloatArray, second: FloatArray, norms: tuple[FloatArray, FloatArray], prompts: int) -> AttentionSums:
    """Add up how far the attention of two models diverges on one piece of sound.

    Args:
        first: (L, H, N, N) of the first model.
        second: likewise of the second.
        norms: (L, H, N) of each model: the norm of what each head adds to each row of its layer's output.
        prompts: how many rows and columns are prompts; they come first.

    Raises:
        ValueError: when the shapes differ.

    **Source:** weighting by the norm of what a head adds: Kobayashi et al. 2020, "Attention is not only a weight". A head that
    looks about evenly diverges much and does little; its divergence counts as much as what it adds to the layer's output.
    """
    size = (norms[0].astype(np.float64) + norms[1])[..., prompts:] / 2
    found = np.array(
        [
            [_head_sums(a, b, size[layer, head], prompts) for head, (a, b) in enumerate(zip(*pair, strict=True))]
            for layer, pair in enumerate(zip(first[..., prompts:, :], second[..., prompts:, :], strict=True))
        ]
    )
    rows, divergence, sound_rows, sound_divergence, weighted, moved = np.moveaxis(found, -1, 0)
    return AttentionSums(rows, divergence, sound_rows, sound_divergence, weighted, size.sum(axis=-1).mean(axis=-1), moved)


def _head_sums(a: FloatArray, b: FloatArray, size: Float64Array, prompts: int) -> tuple[float, ...]:
    """Return rows, divergence, rows with sound, divergence over it, weighted divergence and moved rows of one head, (T, N)."""
    bits = jensen_shannon(a, b)
    there, sound_bits = np.ones(len(a), np.bool_), bits
    if prompts:
        (sound_a, mass_a), (sound_b, mass_b) = (without_prompts(one, prompts) for one in (a, b))
        there = (mass_a > 0) & (mass_b > 0)
        sound_bits = np.where(there, jensen_shannon(sound_a, sound_b), 0.0)
    moved = a.argmax(axis=-1) != b.argmax(axis=-1)
    return (len(a), *(float(one.sum()) for one in (bits, there, sound_bits, bits * size, moved)))


# --- Layer outputs -------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Pooled:
    """Second moments of two models' rows of one layer, gathered over clips; grows by :meth:`add`.

    Attributes:
        rows: how many were added.
        width: of a row of the first model; 0 before the first.
    """

    rows: int = 0
    width: int = 0
    _sums: list[Float64Array] = field(default_factory=list)

    def add(self, first: FloatArray, second: FloatArray) -> None:
        """Take rows (n, D) of the first model and (n, E) of the second along.

        Raises:
            ValueError: when the numbers of rows differ.
        """
        if len(first) != len(second):
            raise ValueError(f"rows are compared one by one, got {len(first)} and {len(second)}")
        x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
        found = [x.T @ y, x.T @ x, y.T @ y, x.sum(axis=0), y.sum(axis=0)]
        self._sums = found if not self._sums else [old + new for old, new in zip(self._sums, found, strict=True)]
        self.rows, self.width = self.rows + len(x), x.shape[1]

    def cka(self) -> float | None:
        """Return the linear centred kernel alignment, 1 for rows equal up to rotation and scale; None where nothing varies.

        It wants at least twice as many rows as they are wide; with fewer it comes out too high.

        **Source:** Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", equation 4 for linear kernels.
        """
        if self.rows < 2:
            return None
        xy, xx, yy, x, y = self._sums
        cross, own, other = xy - np.outer(x, y) / self.rows, xx - np.outer(x, x) / self.rows, yy - np.outer(y, y) / self.rows
        scale = float(np.linalg.norm(own)) * float(np.linalg.norm(other))
        return min(float(np.linalg.norm(cross)) ** 2 / scale, 1.0) if scale > 0 else None


def squared_change(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float]:
    """Return the squared distance of two arrays and the squared size of the first; the root of their ratio is relative L2."""
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return float(np.square(y - x).sum()), float(np.square(x).sum())


# --- Logits --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogitSums:
    """How far the output rows of two models lie apart, added up over rows.

    Attributes:
        rows: how many.
        distance: squared distance of the centred rows.
        size: squared size of the first model's centred rows.
        divergence: Jensen-Shannon divergence of the posteriors, bits.
        moved: rows with another winner.
        largest: the largest distance of two logits of centred rows.
    """

    rows: int
    distance: float
    size: float
    divergence: float
    moved: int
    largest: float

    @property
    def relative(self) -> float:
        """Relative L2 distance."""
        return math.sqrt(self.distance / self.size) if self.size else 0.0

    def __add__(self, other: LogitSums) -> LogitSums:
        return LogitSums(
            self.rows + other.rows,
            self.distance + other.distance,
            self.size + other.size,
            self.divergence + other.divergence,
            self.moved + other.moved,
            max(self.largest, other.largest),
        )


def logit_sums(first: FloatArray, second: FloatArray) -> LogitSums:
    """Return how far output rows lie apart. What a row has in common changes no posterior, so rows are centred first.

    Args:
        first: (N, V) logits or log-probabilities.
        second: likewise.

    Raises:
        ValueError: when the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"output rows to be compared must have one shape, got {first.shape} and {second.shape}")
    x, y = centred(first), centred(second)
    apart, size = squared_change(x, y)
    bits = float(jensen_shannon(posteriors(first), posteriors(second)).sum()) if len(first) else 0.0
    moved = int((first.argmax(axis=1) != second.argmax(axis=1)).sum()) if len(first) else 0
    return LogitSums(len(x), apart, size, bits, moved, float(np.abs(y - x).max(initial=0.0)))


def centred(logits: FloatArray) -> Float64Array:
    """Return rows (N, V) less the mean of each."""
    values = np.asarray(logits, np.float64)
    return np.asarray(values - values.mean(axis=1, keepdims=True)) if len(values) else values


def posteriors(logits: FloatArray) -> Float64Array:
    """Return the softmax of each row, (N, V)."""
    values = np.asarray(logits, np.float64)
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def margins(logits: FloatArray, rows: Sequence[int] | IntArray, ids: Sequence[int] | IntArray) -> Float64Array:
    """Return by how much each token leads the best other one at its row; below 0 another one wins.

    Args:
        logits: (N, V) logits or log-probabilities.
        rows: (U,) one for each token.
        ids: (U,) their ids.

    Returns:
        (U,) float64, in logits.
    """
    at = np.asarray(rows, np.int64)
    if not len(at):
        return np.zeros(0)
    chosen = np.array(np.asarray(logits)[at], np.float64)
    place = np.arange(len(at)), np.asarray(ids, np.int64)
    own = chosen[place]
    chosen[place] = -np.inf
    return np.asarray(own - chosen.max(axis=1))
