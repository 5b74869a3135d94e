"""The lens: what the head would have said after each layer, at the rows where a target is decided.

The stream after a layer goes through the norms that still stand in the stream and the linear head, past all later layers. It shows
where a decision came about: the layer from which a token stays on top, and where it overtakes each rival or falls behind it.

The model was never trained to be read there. Early layers may speak of nothing at all; the rank of a token says more there than
its probability.

**Source:** logit lens (nostalgebraist 2020); on encoders of speech: DecoderLens, Langedijk et al. 2024 (arXiv 2310.03686).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxray.case import Case
from voxray.sanm import normalised
from voxray.types import FloatArray, IntArray, NormWeights, OptionError, Target, frozen

RIVALS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """What the head says after each layer at the R rows that decide a target: one for each token, or the tag's own.

    Attributes:
        target: what is decided.
        rows: (R,) int64, output rows.
        ids: (R, 1 + K) int64, the target's own token at each row and then its rivals.
        log_probs: (L, R, 1 + K) float32, log posterior of each in nats.
        ranks: (L, R, 1 + K) int64, how many tokens of the vocabulary are likelier.
        best: (L, R) int64, the likeliest token.
        divergences: (L, R) float32, Kullback-Leibler divergence of the last layer's posteriors from this layer's, nats.
        difference: largest difference of the last layer's log posteriors from the model's own, nats: 0 but for rounding, more
            where the file computes with integers.
    """

    target: Target
    rows: IntArray
    ids: IntArray
    log_probs: FloatArray
    ranks: IntArray
    best: IntArray
    divergences: FloatArray
    difference: float

    def __post_init__(self) -> None:
        for name, kind, shape in (
            ("rows", np.int64, "R"),
            ("ids", np.int64, "R K"),
            ("log_probs", np.float32, "L R K"),
            ("ranks", np.int64, "L R K"),
            ("best", np.int64, "L R"),
            ("divergences", np.float32, "L R"),
        ):
            object.__setattr__(self, name, frozen(getattr(self, name), kind, shape, f"Lens.{name}"))

    @property
    def log_odds(self) -> FloatArray:
        """The target's own log posterior minus each rival's, (L, R, K) float32 nats."""
        return np.asarray(self.log_probs[..., :1] - self.log_probs[..., 1:], np.float32)

    @property
    def commits(self) -> IntArray:
        """The first layer from which each row's token stays the likeliest, (R,); L where it is not so even at the end."""
        return settled(self.best == self.ids[:, 0])

    @property
    def overtakes(self) -> IntArray:
        """Layer at which the final order of the target and each rival comes about, (R, K); ``log_odds`` says who won."""
        ahead = self.log_odds > 0
        return settled(ahead == ahead[-1])


def settled(held: npt.NDArray[np.bool_]) -> IntArray:
    """Return the first layer from which something holds to the end, (L, ...) -> (...); L where it does not hold at the end."""
    broken = np.where(held, -1, np.arange(len(held)).reshape(-1, *[1] * (held.ndim - 1)))
    return np.asarray(broken.max(axis=0) + 1, np.int64)


def lens(case: Case, rivals: int = RIVALS) -> tuple[Lens, ...]:
    """Look at every target of a case after each layer.

    Args:
        case: the targets. Costs one pass, and the head at a target's rows for each layer.
        rivals: how many tokens to hold a token against: those likeliest at its row, after the rival that the target is explained
            against. A tag is held against the labels of its kind.

    Raises:
        OptionError: when ``rivals`` is below 1.
        AnatomyError: when the weights of the head cannot be read.
    """
    if rivals < 1:
        raise OptionError(f"the lens holds a token against at least 1 rival, got {rivals}")
    asked = [_asked(case, index, rivals) for index in range(len(case.aims))]
    places = np.unique(np.concatenate([rows for rows, _ in asked]))
    case.meter.pay(1)
    streams = case.trace.evidence[0].tensor("output", range(case.layers))
    weight, bias = case.head(range(case.logits.shape[1]))
    norms = case.stream_norms
    final = _log_softmax(_after(streams[-1][places], case.layers - 1, norms) @ weight + bias)
    seen: list[list[_Reading]] = [[] for _ in asked]
    for index, stream in enumerate(streams):  # one layer at a time: of a large vocabulary the posteriors of all take gigabytes
        posteriors = _log_softmax(_after(stream[places], index, norms) @ weight + bias)
        for one, (rows, ids) in zip(seen, asked, strict=True):
            at = np.searchsorted(places, rows)
            one.append(_read(posteriors[at], final[at], ids))
    differences = np.abs(final - _log_softmax(case.logits[places])).max(axis=1)
    result = []
    for aim, (rows, ids), readings in zip(case.aims, asked, seen, strict=True):
        log_probs, ranks, best, divergences = (np.stack(part) for part in zip(*readings, strict=True))
        difference = float(differences[np.isin(places, rows)].max())
        result.append(Lens(aim.target, rows, ids, log_probs, ranks, best, divergences, difference))
    return tuple(result)


class _Reading(NamedTuple):
    """What one layer says at a target's rows, as in Lens."""

    log_probs: FloatArray
    ranks: IntArray
    best: IntArray
    divergences: FloatArray


def _read(posteriors: FloatArray, final: FloatArray, ids: IntArray) -> _Reading:
    """Read log posteriors (R, V) of a layer and of the last one."""
    chosen = np.take_along_axis(posteriors, ids, axis=-1)
    ranks = np.stack([(posteriors > chosen[:, place, None]).sum(axis=-1) for place in range(ids.shape[1])], axis=-1)
    return _Reading(chosen, ranks, posteriors.argmax(axis=-1), (np.exp(final) * (final - posteriors)).sum(axis=-1))


def _asked(case: Case, index: int, rivals: int) -> tuple[IntArray, IntArray]:
    """Return the rows (R,) that decide a target, and at each its own token and the rivals (R, 1 + K)."""
    aim = case.aims[index]
    if aim.target.kind == "tag":
        return np.array(aim.target.rows[:1]), np.array([aim.labels])
    tokens = case.trace.tokens[slice(*aim.members)]
    given = [int(aim.ids[1])] if aim.target.against and len(aim.ids) == 2 else []  # a rival of one token at the same row
    ids = np.array([_rivals(case.logits[token.peak], token.id, given, rivals) for token in tokens])
    return np.array([token.peak for token in tokens]), ids


def _rivals(row: FloatArray, own: int, given: Sequence[int], count: int) -> list[int]:
    """Return a token, the rivals given, and the likeliest others at its row (V,) up to so many rivals."""
    likeliest = np.argpartition(-row, min(count + 1, len(row) - 1))[: count + 2]
    others = [int(one) for one in likeliest[np.argsort(-row[likeliest], kind="stable")] if one != own and one not in given]
    return [own, *given, *others][: count + 1]


def _after(stream: FloatArray, index: int, norms: Mapping[int, NormWeights]) -> FloatArray:
    """Return rows of the stream after a layer through the norms that still stand between it and the head."""
    for place in sorted(norms):
        if place > index:
            stream = normalised(stream, norms[place])
    return stream


def _log_softmax(logits: FloatArray) -> FloatArray:
    top = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(top - np.log(np.exp(top).sum(axis=-1, keepdims=True)), np.float32)
