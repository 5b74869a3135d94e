"""The mathematics of one SANM layer: what each row of the stream hands to each other row, exactly.

A layer is ``z = x + attention(x) + memory(x)`` and then ``y = z + feed-forward(z)``. With the attention and the denominators of its
norm taken as they came out, ``z`` is a sum over the rows that entered, and a constant:

    z_i = sum_j T_i(x_j) + b_i
    T_i(x_j) = sum_h A^h_ij W_O^h u^h_j + c_(j-i+p) u_j + [i = j] (u_j + r x_j),     u_j = W_V L(x_j)

where ``L`` is the norm without its shift, ``c`` the memory's taps with ``p`` of them before the middle, ``[i = j] u_j`` the values
that the memory passes on as they are, and ``r`` is 1 where the layer has a residual.

Axes: (N, D) rows by width, (H, N, N) head by row that looks by row that is looked at. All is float32, as the models compute.

**Source:** the layer as in FunASR ``funasr/models/sense_voice/model.py``; norms of the parts instead of attention weights:
Kobayashi et al. 2020 (arXiv 2004.10102) and, with residual and norm, 2021 (arXiv 2109.07152). The memory, the constants and the
inner products of heads by which the norms need no vectors are worked out here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, IntArray, LayerWeights, NormWeights

Path = Literal["both", "attention", "memory"]
TOLD_APART = 0.02  # bits; maps that differ by less on average say the same of every token
COMPARED = 64  # maps at most; their pairs are compared


def centred(rows: FloatArray, norm: NormWeights) -> FloatArray:
    """Return rows (N, D) through a layer norm without its shift: linear in each row once its denominator is held."""
    middle = rows - rows.mean(axis=-1, keepdims=True)
    spread = np.einsum("...d,...d->...", middle, middle)[..., None] / np.float32(rows.shape[-1])
    return np.asarray(middle / np.sqrt(spread + np.float32(norm.epsilon)) * norm.scale, np.float32)


def normalised(rows: FloatArray, norm: NormWeights) -> FloatArray:
    """Return rows (N, D) through a layer norm."""
    return np.asarray(centred(rows, norm) + norm.shift, np.float32)


def before(taps: FloatArray) -> int:
    """Return how many of the memory's taps (D, K) look back; of an even number the larger half looks ahead."""
    return int(taps.shape[1] - 1) // 2


def memory(values: FloatArray, taps: FloatArray) -> FloatArray:
    """Return what the memory's taps (D, K) give of values (N, D), zeros beyond both ends; the values themselves not added."""
    back, count = before(taps), len(values)
    padded = np.pad(values, ((back, taps.shape[1] - 1 - back), (0, 0)))
    return np.asarray(sum(padded[k : k + count] * taps[:, k] for k in range(taps.shape[1])), np.float32)


def feed_forward(middle: FloatArray, weights: LayerWeights) -> FloatArray:
    """Return the stream after the feed-forward, (N, D): the stream before it and what it adds."""
    inner = normalised(middle, weights.norm2) @ weights.inner[0] + weights.inner[1]
    return np.asarray(middle + np.maximum(inner, 0.0) @ weights.outer[0] + weights.outer[1], np.float32)


def projected(stream: FloatArray, weights: LayerWeights) -> FloatArray:
    """Return the values (N, D) of the rows (N, D_in) that enter a layer."""
    return np.asarray(normalised(stream, weights.norm) @ weights.value[0] + weights.value[1], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer at work on one sound, taken apart; made by :func:`take_apart`.

    Attributes:
        attention: (H, N, N) probabilities.
        weights: of the layer.
        values: (N, D) as the model had them, heads side by side.
        constant: (D,) what the values hold whatever enters: shift of the norm and bias, through the value projection.
        own: (N, D) the values without it, ``u`` of the module's formula.
        carried: (H, N, D) each head's part of ``own`` through its part of the output projection.
        passed: (N, D) what the residual passes on; 0 where there is none.
    """

    attention: FloatArray
    weights: LayerWeights
    values: FloatArray
    constant: FloatArray
    own: FloatArray
    carried: FloatArray
    passed: FloatArray

    @property
    def constants(self) -> FloatArray:
        """What reaches each row whatever entered, (N, D): less of it where taps reach beyond the ends."""
        projection, bias = self.weights.projection
        spread = memory(np.broadcast_to(self.constant, self.own.shape), self.weights.taps)
        return np.asarray(spread + (self.constant @ projection + bias + self.constant), np.float32)

    @property
    def middle(self) -> FloatArray:
        """The stream between attention and feed-forward, (N, D)."""
        projection, bias = self.weights.projection
        heads, count, _ = self.attention.shape
        context = self.attention @ self.values.reshape(count, heads, -1).transpose(1, 0, 2)
        attended = context.transpose(1, 0, 2).reshape(count, -1) @ projection + bias
        return np.asarray(attended + memory(self.values, self.weights.taps) + self.values + self.passed, np.float32)

    def sources(self, first: int, stop: int) -> FloatArray:
        """Return what rows get from every row, (stop - first, N, D): ``T_i(x_j)``; with ``constants`` it sums to ``middle``."""
        taps, count = self.weights.taps, len(self.own)
        looks = np.ascontiguousarray(self.attention[:, first:stop].transpose(2, 1, 0))
        result = (looks @ np.ascontiguousarray(self.carried.transpose(1, 0, 2))).transpose(1, 0, 2)
        for row in range(first, stop):
            low, high = max(0, row - before(taps)), min(count, row + taps.shape[1] - before(taps))
            tap = low - row + before(taps)
            result[row - first, low:high] += taps.T[tap : tap + high - low] * self.own[low:high]
            result[row - first, row] += self.own[row] + self.passed[row]
        return np.asarray(result, np.float32)

    def lost(self, first: int, stop: int, path: Path = "both") -> FloatArray:
        """Return what every row loses when the values of some rows are set to zero, (N, D).

        Args:
            first: of the rows.
            stop: after the last of them.
            path: where the values are missed: by the attention, the memory, or both.
        """
        projection, heads = self.weights.projection[0], len(self.attention)
        result = np.zeros_like(self.own)
        if path != "memory":
            constant = self.constant.reshape(heads, 1, -1) @ projection.reshape(heads, -1, projection.shape[1])
            result += (self.attention[:, :, first:stop] @ (self.carried[:, first:stop] + constant)).sum(axis=0)
        if path != "attention":
            alone = np.zeros_like(self.own)
            alone[first:stop] = self.values[first:stop]
            result += memory(alone, self.weights.taps) + alone
        return result

    def norms(self, path: Path = "both") -> FloatArray:
        """Return the Euclidean norm of everything that ``sources`` gives, (N, N), without building it.

        The norm of a weighted sum follows from the inner products of what is summed: those of the heads at each row, those of the
        heads with each tap's share, the taps' own, and on the diagonal those with what the residual passes on.

        Args:
            path: ``attention`` leaves the memory out and ``memory`` the attention; what a row keeps stays in its own entry.
        """
        count = len(self.own)
        squares = np.zeros((count, count), np.float32)
        passed = np.einsum("nd,nd->n", self.passed, self.passed)
        if path != "memory":
            for head, carried in enumerate(self.carried):
                mixed = self.attention[head] * np.einsum("nd,nd->n", carried, carried)
                for other in range(head):
                    mixed += self.attention[other] * (2 * np.einsum("nd,nd->n", carried, self.carried[other]))
                squares += self.attention[head] * mixed
            meeting = np.einsum("hnd,nd->hn", self.carried, self.passed)
            passed += 2 * np.einsum("hnn,hn->n", self.attention, meeting)
        if path != "attention":
            taps = self.weights.taps.copy()
            taps[:, before(taps)] += 1  # the values that the memory passes on as they are
            self._add_taps(squares, taps, with_attention=path == "both")
            passed += 2 * np.einsum("nd,nd->n", self.own * taps[:, before(taps)], self.passed)
        squares.reshape(-1)[:: count + 1] += passed
        return np.asarray(np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares), np.float32)

    def _add_taps(self, squares: FloatArray, taps: FloatArray, *, with_attention: bool) -> None:
        """Add to squared norms (N, N) what taps (D, K) make of them."""
        there, places = _reached(len(self.own), taps.shape[1], before(taps))
        room = np.square(self.own)
        added = room @ np.square(taps)
        if with_attention:
            for looks, carried in zip(self.attention, self.carried, strict=True):
                np.multiply(carried, self.own, out=room)  # fresh memory would cost more than the product
                added += 2 * looks.reshape(-1)[places] * (room @ taps)
        squares.reshape(-1)[places[there]] += added[there]


def _reached(count: int, taps: int, back: int) -> tuple[npt.NDArray[np.bool_], IntArray]:
    """Return where each tap takes each of some rows to.

    Returns:
        Whether that lies within the rows, (N, K), and its place among (N, N) entries laid end to end; 0 where it does not.
    """
    from_rows = np.arange(count)[:, None]
    at_rows = from_rows + back - np.arange(taps)
    there = (at_rows >= 0) & (at_rows < count)
    return there, np.where(there, at_rows * count + from_rows, 0)


def take_apart(
    stream: FloatArray, values: FloatArray, attention: FloatArray, weights: LayerWeights, room: FloatArray | None = None
) -> Layer:
    """Take one layer apart.

    Args:
        stream: (N, D_in) float32, the rows that enter; not looked at where the layer has no residual.
        values: (N, D) float32, the values that the model made of them; :func:`projected` makes them too.
        attention: (H, N, N) float32, probabilities.
        weights: of the layer.
        room: (H, N, D) where ``carried`` is put; None for memory of its own. Fresh memory costs more than the product.
    """
    projection, heads = weights.projection[0], len(attention)
    constant = np.asarray(weights.norm.shift @ weights.value[0] + weights.value[1], np.float32)
    own = values - constant
    parts = own.reshape(len(own), heads, -1).transpose(1, 0, 2)
    carried = np.matmul(parts, projection.reshape(heads, -1, projection.shape[1]), out=room)
    passed = stream if weights.residual else np.zeros_like(values)
    return Layer(attention, weights, values, constant, own, np.asarray(carried, np.float32), passed)


def shares(sizes: FloatArray) -> FloatArray:
    """Return non-negative sizes (N, N) as shares that sum to 1 in every row; a row that gets nothing from any keeps itself."""
    total = sizes.sum(axis=1, keepdims=True)
    result: FloatArray = np.divide(sizes, total, out=np.zeros_like(sizes), where=total > 0)
    empty = np.flatnonzero(total[:, 0] <= 0)
    result[empty, empty] = 1.0
    return result


def rolled(rows: FloatArray, mixing: Iterable[FloatArray]) -> FloatArray:
    """Carry rows down through layers.

    Args:
        rows: (A, N) shares at the output.
        mixing: (N, N) shares of each layer, the last layer first. Rows are multiplied one layer at a time, so the cost is
            A N^2 and no product of layers is built.

    Returns:
        (A, N) float32, shares at the input.

    **Source:** Abnar and Zuidema 2020 (arXiv 2005.00928), from the other end.
    """
    return reduce(lambda above, one: np.asarray(above @ one, np.float32), mixing, rows)


def divergence(maps: FloatArray) -> float:
    """Return how different maps are: the mean Jensen-Shannon divergence of all pairs, in bits.

    Below ``TOLD_APART`` the product of the layers has forgotten which row was asked about.

    Args:
        maps: (A, K) non-negative; each is scaled to sum to 1. Of more than 64, 64 are compared. Fewer than 2 give 0.
    """
    picked = maps[np.unique(np.linspace(0, len(maps) - 1, min(len(maps), COMPARED)).round().astype(int))].astype(np.float64)
    totals = picked.sum(axis=1, keepdims=True)
    picked = (picked / np.where(totals > 0, totals, 1.0))[totals[:, 0] > 0]
    if len(picked) < 2:
        return 0.0
    single = _entropy(picked)
    pairs = [_entropy((one + picked[at + 1 :]) / 2) - (single[at] + single[at + 1 :]) / 2 for at, one in enumerate(picked[:-1])]
    return float(np.concatenate(pairs).mean())


def effective_rank(maps: FloatArray) -> float:
    """Return how many independent maps there are among maps (A, K): 1 where all are alike.

    **Source:** Roy and Vetterli 2007: the exponential of the entropy of the singular values' shares.
    """
    values = np.linalg.svd(maps.astype(np.float64), compute_uv=False)
    return float(2 ** _entropy(values[None] / values.sum())[0]) if values.sum() > 0 else 0.0


def _entropy(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the entropy of each row of shares in bits."""
    return np.asarray(-(rows * np.log2(np.where(rows > 0, rows, 1.0))).sum(axis=-1))
