"""Where one word ends and the next begins: how likely each 10 ms is, from the sound and from what a recogniser heard around it.

A *seam* lies between two neighbouring words, before the first and after the last. A small network looks at a stretch of sound
around it and says of each row of the filter bank how likely the word before ends there and the word after begins there. What it
sees knows nothing of the recogniser nor of a language: 40 bands of the sound, set to its own level; how far each of the two words
is behind the best token, row by row; where they were emitted; how many letters they have and, of scripts that tell it, which kind
of letter meets which.

The sound's part of the network is a stack of dilated convolutions, computed once for a piece; a seam's part are two more.

Conventions: ``F`` = rows of the bank, 10 ms each, ``L`` = rows of a seam's stretch, ``C`` = channels.

**Source:** ours. ``training/times`` trains the weights on ``voxray.truespeech`` and writes them; ``docs/times.md`` has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from voxray.types import FloatArray

WEIGHTS = Path(__file__).parent / "assets" / "seams.npz"
BANDS = 40  # of what the network sees: two mel filters each
LOUD = 95  # percentile of the loudest band of every row: the sound's level
OFFSET, SCALE, REACH = 6.0, 3.0, 2.0  # nats, nats, and how far a band may lie from the middle of its range
FURTHEST = 12.0  # nats by which odds count at most
SIGHT = 50  # rows that a stretch goes beyond the two emissions
TIME = 20.0  # rows; the unit of distances
LETTERS = 2  # at either side of a seam
KINDS = ("AEIOU", "PTKCQ", "BDG", "SFZVXJH", "MNL", "RWY")  # of letters that sound alike at a word's edge
MOVING, STILL = 10, 11 + 2 * LETTERS * len(KINDS)  # numbers told of each row of a stretch, and of a seam


@dataclass(frozen=True, slots=True)
class Side:
    """A word beside a seam.

    Attributes:
        near: (L,) nats by which its token next to the seam is behind the best one, at most 0.
        nearest: (L,) the same of its best token.
        emitted: row of the bank at which the token next to the seam was emitted.
        lasted: rows of the bank between the emissions of its first and last token.
        letters: how many it has.
        tokens: how many of them are heard.
        wide: whether it is written in Hanzi or kana.
        edge: its letters from the seam on, in Latin script; empty where its script does not tell how it sounds.
    """

    near: FloatArray
    nearest: FloatArray
    emitted: float
    lasted: float
    letters: int
    tokens: int
    wide: bool
    edge: str


@dataclass(frozen=True, slots=True)
class Seam:
    """A place between two words, at least one of which there is, and the stretch around it.

    Attributes:
        first: row of the bank at which the stretch begins.
        blank: (L,) nats by which the blank is before the best token.
        before: the word that ends here; None before the first word.
        after: the word that begins here; None after the last word.
    """

    first: int
    blank: FloatArray
    before: Side | None
    after: Side | None


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution over time: weight (taps, C_in, C_out), bias (C_out,), rows from tap to tap."""

    weight: FloatArray
    bias: FloatArray
    dilation: int = 1

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return (L, C_out) of (L, C_in); beyond the ends there is nothing."""
        rows, reach = len(values), self.dilation * (len(self.weight) // 2)
        padded = np.zeros((rows + 2 * reach, values.shape[1]), np.float32)
        padded[reach : reach + rows] = values
        result = padded[:rows] @ self.weight[0]
        for tap, weight in enumerate(self.weight[1:], start=1):
            result += padded[tap * self.dilation : tap * self.dilation + rows] @ weight
        result += self.bias
        return np.asarray(result, np.float32)


@dataclass(frozen=True, slots=True)
class Network:
    """The weights.

    Attributes:
        enter: of the sound.
        deepen: of the sound, each adding to what came before.
        leave: of the sound, to the channels of a seam.
        look: of what moves along a stretch.
        know: (STILL, C) of what is told once.
        look_on, say: of a seam; the last gives two scores a row, for the start of the word after and the end of the word before.
    """

    enter: Layer
    deepen: tuple[Layer, ...]
    leave: Layer
    look: Layer
    know: FloatArray
    look_on: Layer
    say: Layer

    def hear(self, view: FloatArray) -> FloatArray:
        """Return what the sound tells, (F, C), of its view, (F, BANDS)."""
        values = np.maximum(self.enter(view), 0)
        for layer in self.deepen:
            values = values + np.maximum(layer(values), 0)
        return self.leave(values)

    def judge(self, heard: FloatArray, seam: Seam) -> FloatArray:
        """Return log-probabilities over the rows of a seam's stretch, (2, L): the word after starts, the word before ends there."""
        return self.scored(heard, seam.first, *told(seam))

    def scored(self, heard: FloatArray, first: int, moving: FloatArray, still: FloatArray) -> FloatArray:
        """Return the same of what is told of a seam, (L, MOVING) and (STILL,), whose stretch begins at row ``first``."""
        stretch = heard[first : first + len(moving)]
        values = np.maximum(stretch + self.look(moving) + still @ self.know, 0)
        scores = self.say(np.maximum(values + self.look_on(values), 0)).T
        top = scores.max(axis=1, keepdims=True)
        return np.asarray(scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True)), np.float32)


def view_of(bank: FloatArray) -> FloatArray:
    """Return what the network sees of a sound, (F, BANDS), each -2 to 2: its bands beside the level of its loud parts.

    Args:
        bank: (F, M) log mel energies, nats; M a multiple of 40.
    """
    bands = np.asarray(bank, np.float32).reshape(len(bank), BANDS, -1).mean(axis=2)
    level = np.percentile(bands.max(axis=1), LOUD).astype(np.float32)
    return np.asarray(np.clip((bands - level + OFFSET) / SCALE, -REACH, REACH), np.float32)


def told(seam: Seam) -> tuple[FloatArray, FloatArray]:
    """Return what a network is told of a seam: of each row, (L, MOVING), and once, (STILL,), all within a few units of 0."""
    before, after, rows = seam.before, seam.after, np.arange(seam.first, seam.first + len(seam.blank), dtype=np.float32)
    none = np.zeros_like(rows)
    sides = [side for side in (before, after) if side is not None]
    left, right = sides[0].emitted, sides[-1].emitted
    near = [none if side is None else side.near for side in (before, after)]
    nearest = [none if side is None else side.nearest for side in (before, after)]
    likely = [none if side is None else np.exp(side.near) for side in (before, after)]
    lead = near[0] - near[1] if before and after else near[0] + FURTHEST / 2 if before else -near[1] - FURTHEST / 2
    odds = [np.clip(one, -FURTHEST, FURTHEST) * 2 / FURTHEST for one in (lead, *near, *nearest, seam.blank)]
    distances = [np.clip((rows - place) / TIME, -3, 3) for place in (left, right)]
    moving = np.stack([*odds, *distances, *likely], axis=1)
    still = [min((right - left) / TIME, 4.0)]
    for side in (before, after):
        still += _once(side)
    return np.asarray(moving, np.float32), np.array(still, np.float32)


def _once(side: Side | None) -> list[float]:
    """Return what is told of a word: its size, its script, and the kinds of its letters from the seam on."""
    if side is None:
        return [0.0, 0.0, 0.0, 0.0, 1.0, *[0.0] * (LETTERS * len(KINDS))]
    edge = side.edge[:LETTERS].ljust(LETTERS)
    kinds = [float(letter in kind) for letter in edge for kind in KINDS]
    return [float(np.log1p(side.letters)), min(side.lasted / TIME, 4.0), side.tokens / 4, float(side.wide), 0.0, *kinds]


@cache
def network(path: Path = WEIGHTS) -> Network:
    """Read the weights once; they are computed with in float32."""
    with np.load(path, allow_pickle=False) as stored:
        return built({name: stored[name] for name in stored.files})


def built(stored: Mapping[str, FloatArray]) -> Network:
    """Return the network of stored arrays: ``NAME.weight`` and ``NAME.bias`` of each layer, ``know``, and ``dilations``."""
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in stored.items() if name != "dilations"}
    dilations = np.asarray(stored["dilations"]).astype(int).tolist()
    one = {name: Layer(arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in ("enter", "leave", "look", "say")}
    deepen = tuple(
        Layer(arrays[f"deepen.{at}.weight"], arrays[f"deepen.{at}.bias"], dilation) for at, dilation in enumerate(dilations[:-1])
    )
    look_on = Layer(arrays["look_on.weight"], arrays["look_on.bias"], dilations[-1])
    return Network(one["enter"], deepen, one["leave"], one["look"], arrays["know"], look_on, one["say"])
