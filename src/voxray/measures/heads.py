"""What the heads of an encoder look at, in numbers: how wide, how far, which way, and how much at the prompts.

Conventions: attention is (L, H, N, N), rows that sum to 1, prompt rows first; layers and heads count from 0. Entropies are in bits,
distances in seconds, offsets positive where a row looks ahead. What goes to the prompt rows is ``prompt_mass``; distance, reach and
direction are of the mass that stays on the sound, all rows of a clip pooled. A figure that cannot be told (the distance of a head
that looks at prompts alone) is NaN. Attention is a view of the model, not an explanation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, OptionError

Float64Array = npt.NDArray[np.float64]
Role = Literal["prompt", "look-ahead", "look-back", "local", "global", "mixed"]
ROLES: tuple[Role, ...] = get_args(Role)

NEAR = 0.3
"""Seconds to each side that count as near: as far as the memory of a SANM layer reaches (11 taps of 60 ms)."""
HALF = 0.5
"""Share from which on a head is called after what it does with its mass: prompts, one direction, nearness over chance."""
SPREAD = 0.8
"""Share of the greatest possible entropy from which on a head that is nothing else is called global."""
MEASURES: Mapping[str, str] = {
    "entropy": "bits",
    "relative_entropy": "share of the most possible",
    "distance": "s",
    "near": f"share within {1000 * NEAR:.0f} ms",
    "offset": "s, ahead above 0",
    "balance": "ahead less behind",
    "prompt_mass": "share",
    "self_mass": "share",
    "sharpness": "largest weight",
}
"""What is measured of every head, with its unit."""


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The attention of every head on one clip, in numbers; arrays are (L, H) float64.

    Attributes:
        entropy: of a row's weights over all N rows, mean over the rows of sound, bits.
        relative_entropy: the same as a share of log2 N.
        distance: how far away the middle of the mass lies: half of it is nearer, s.
        near: share of the mass within 300 ms.
        offset: mean of the signed distance, s; above 0 looks ahead.
        balance: share of the mass ahead less share behind, -1 to 1.
        prompt_mass: share of a row's weights that goes to the prompt rows.
        self_mass: share that stays at the row itself.
        sharpness: the largest weight of a row, mean over rows.
        prompts: (L, H, P), the prompt mass by prompt row.
        chance: ``entropy``, ``distance`` and ``near`` of attention spread evenly over the same rows.
    """

    entropy: Float64Array
    relative_entropy: Float64Array
    distance: Float64Array
    near: Float64Array
    offset: Float64Array
    balance: Float64Array
    prompt_mass: Float64Array
    self_mass: Float64Array
    sharpness: Float64Array
    prompts: Float64Array
    chance: Mapping[str, float]

    @property
    def roles(self) -> list[list[Role]]:
        """What each head of each layer does, by the first of these that holds.

        ``prompt``: at least half of its mass goes to the prompts. ``look-ahead``, ``look-back``: the mass on one side outweighs the
        other by half of all. ``local``: mass within 300 ms at least halfway from chance to all. ``global``: at least 80 % of the
        greatest entropy. ``mixed``: none of these.
        """
        rules = np.stack(
            [
                self.prompt_mass >= HALF,
                self.balance >= HALF,
                self.balance <= -HALF,
                self.near >= self.chance["near"] + HALF * (1 - self.chance["near"]),
                self.relative_entropy >= SPREAD,
                np.ones(self.entropy.shape, np.bool_),
            ]
        )
        return [[ROLES[one] for one in row] for row in rules.argmax(axis=0).tolist()]

    def profile(self, measure: str) -> Float64Array:
        """Return the mean of a measure over the heads of each layer, (L,); heads without a value do not count."""
        return mean_of(getattr(self, known_name(measure, MEASURES)), axis=1)

    def mean(self, measure: str) -> float:
        """Return the mean of a measure over all layers, NaN where no head has a value."""
        return float(mean_of(self.profile(measure), axis=0))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        named = {name: jsonable(getattr(self, name)) for name in (*MEASURES, "prompts")}
        return named | {"chance": dict(self.chance), "roles": self.roles}


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What the rows of sound of one piece add up to, for the heads of some layers.

    Attributes:
        rows: T.
        entropy: (L, H) summed over rows, bits.
        relative: (L, H) the same over log2 N.
        prompts: (L, H, P) mass.
        own: (L, H) mass.
        largest: (L, H).
        offsets: (L, H, 2 T - 1) mass by key less query, from 1 - T to T - 1 frames.
    """

    rows: int
    entropy: Float64Array
    relative: Float64Array
    prompts: Float64Array
    own: Float64Array
    largest: Float64Array
    offsets: Float64Array


def sums_of(attention: FloatArray, prompts: int) -> Sums:
    """Add up what is measured over the rows of sound of one piece.

    Args:
        attention: (L, H, N, N) float32, rows that sum to 1, prompt rows first.
        prompts: how many rows those are.

    Raises:
        ValueError: when there is no row of sound.
    """
    rows = attention.shape[-1] - prompts
    if rows < 1:
        raise ValueError(f"attention {attention.shape} with {prompts} prompt rows holds no row of sound")
    parts = [_layer_sums(layer[:, prompts:], prompts) for layer in attention]
    entropy, shares, own, largest, offsets = (np.stack(column) for column in zip(*parts, strict=True))
    return Sums(rows, entropy, entropy / math.log2(rows + prompts), shares, own, largest, offsets)


def _layer_sums(weights: FloatArray, prompts: int) -> tuple[Float64Array, ...]:
    """Return entropy, prompt masses, own mass, largest weights and mass by offset of one layer's rows (H, T, N)."""
    heads, rows, _ = weights.shape
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    entropy = -np.einsum("htn,htn->h", weights, logs, dtype=np.float64)
    # Laid out one column further to the left from row to row, the diagonals of the matrix stand upright and can be summed.
    wide = np.zeros((heads, rows, 2 * rows), np.float32)
    wide[:, :, :rows] = weights[:, ::-1, prompts:]
    upright = wide.reshape(heads, -1)[:, : rows * (2 * rows - 1)].reshape(heads, rows, 2 * rows - 1)
    offsets = upright.sum(axis=1, dtype=np.float64)
    shares = weights[..., :prompts].sum(axis=1, dtype=np.float64)
    return entropy, shares, offsets[:, rows - 1], weights.max(axis=2).sum(axis=1, dtype=np.float64), offsets


def heads_of(pieces: Sequence[Sums], hop: float) -> Heads:
    """Return the measures of a clip from the sums of its pieces.

    Args:
        pieces: of all layers, at least one.
        hop: seconds between frames.

    Raises:
        OptionError: when there is no piece.
    """
    if not pieces:
        raise OptionError("the sound holds no speech, so there is no attention to measure; leave it out")
    rows, reach = sum(one.rows for one in pieces), max(one.rows for one in pieces)
    offsets = np.sum([_padded(one.offsets, reach) for one in pieces], axis=0)
    even = np.sum([_padded(_even(one.rows), reach) for one in pieces], axis=0)
    prompts = np.sum([one.prompts for one in pieces], axis=0) / rows
    widths = np.array([one.rows + one.prompts.shape[-1] for one in pieces])
    chance = {"entropy": float(np.log2(widths) @ [one.rows for one in pieces]) / rows}
    return Heads(
        entropy=np.sum([one.entropy for one in pieces], axis=0) / rows,
        relative_entropy=np.sum([one.relative for one in pieces], axis=0) / rows,
        **_along(offsets, hop),
        prompt_mass=prompts.sum(axis=-1),
        self_mass=np.sum([one.own for one in pieces], axis=0) / rows,
        sharpness=np.sum([one.largest for one in pieces], axis=0) / rows,
        prompts=prompts,
        chance=chance | {name: float(value) for name, value in _along(even, hop).items() if name in ("distance", "near")},
    )


def _along(offsets: Float64Array, hop: float) -> dict[str, Float64Array]:
    """Return distance, near, offset and balance of mass by offset, (..., 2 T - 1) -> (...); NaN where there is no mass."""
    reach = offsets.shape[-1] // 2
    steps = np.arange(-reach, reach + 1)
    total = offsets.sum(axis=-1)
    shares = np.divide(offsets, total[..., None], out=np.full_like(offsets, np.nan), where=total[..., None] > 0)
    apart = shares[..., reach:].copy()
    apart[..., 1:] += shares[..., :reach][..., ::-1]
    middle = (apart.cumsum(axis=-1) >= HALF - 1e-9).argmax(axis=-1)
    near = np.abs(steps) * hop <= NEAR + 1e-9
    return {
        "distance": np.where(total > 0, middle * hop, np.nan),
        "near": np.asarray(shares[..., near].sum(axis=-1)),
        "offset": np.asarray(shares @ (steps * hop)),
        "balance": np.asarray(shares @ np.sign(steps).astype(np.float64)),
    }


def _even(rows: int) -> Float64Array:
    """Return the mass by offset of attention spread evenly over some rows, (2 T - 1,)."""
    return np.asarray((rows - np.abs(np.arange(1 - rows, rows))) / rows, np.float64)


def _padded(offsets: Float64Array, reach: int) -> Float64Array:
    """Return masses by offset with room for longer pieces, (..., 2 T - 1) -> (..., 2 reach - 1)."""
    missing = reach - (offsets.shape[-1] + 1) // 2
    return np.pad(offsets, [(0, 0)] * (offsets.ndim - 1) + [(missing, missing)])


def mean_of(values: Float64Array, axis: int) -> Float64Array:
    """Return the mean of what is there along an axis, NaN where nothing is."""
    there = ~np.isnan(values)
    total, count = np.where(there, values, 0.0).sum(axis=axis), there.sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0), np.float64)


def known_name(name: str, names: Sequence[str] | Mapping[str, str]) -> str:
    """Return a name after checking that it is one of those known.

    Raises:
        OptionError: when it is not.
    """
    if name not in names:
        raise OptionError(f"{name!r} is not known here; choose one of {', '.join(names)}")
    return name


def jsonable(values: Float64Array) -> Any:
    """Return an array as nested lists with None for NaN, in the digits that float32 weights have."""
    if values.ndim:
        return [jsonable(one) for one in values]
    return None if np.isnan(values) else float(f"{float(values):.7g}")
