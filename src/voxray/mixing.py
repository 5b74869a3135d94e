"""From what layers mix to maps of the targets: which rows a target is read at, and what of it lands on which frame.

A view of mixing has no sign and knows a target only by the rows that it is read at: of a token the frames that emit it, weighted
by its CTC occupancy, or a decoder's row of it; of a word or text the mean of its tokens; of a tag its prompt row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from voxray import sanm
from voxray.case import Case
from voxray.masking import words_and_pauses
from voxray.methods import Found
from voxray.types import FloatArray

Segments = Literal["words", "windows", "frames"]


def token_rows(case: Case) -> FloatArray:
    """Return at which rows each token of the piece is read, (U, N) float32 shares."""
    if case.trace.decoder is not None:
        return np.eye(len(case.logits), dtype=np.float32)[[token.peak for token in case.trace.tokens]]
    weights = case.trace.occupancy()
    read = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(np.pad(read, ((0, 0), (case.trace.pieces[0].prompts, 0))), np.float32)


def target_rows(case: Case, tokens: FloatArray) -> FloatArray:
    """Return at which rows each target is read, (targets, N) float32 shares; of the tokens it is known."""
    tags = np.eye(len(case.logits), dtype=np.float32)
    return np.stack(
        [
            tags[aim.target.rows[0]] if aim.target.kind == "tag" else tokens[slice(*aim.members)].mean(axis=0, dtype=np.float32)
            for aim in case.aims
        ]
    )


def layers_down(case: Case) -> Iterator[sanm.Layer]:
    """Yield every layer taken apart, the last one first; each is gone when the next one comes, for they share memory."""
    streams, values = _inside(case)
    room = np.empty((case.trace.heads, *values[-1].shape), np.float32)
    for index in reversed(range(case.layers)):
        yield sanm.take_apart(streams[index], values[index], case.attention(index), case.weights(index), room)


def _inside(case: Case) -> tuple[Sequence[FloatArray], Sequence[FloatArray]]:
    """Return the rows that enter each layer and the values that it makes of them, (N, D) each; costs two passes.

    The first layer may be of another width. It has no residual then and its rows are not looked at: its values stand for them.
    """
    evidence = case.trace.evidence[0]
    case.meter.pay(2)
    values = evidence.tensors("value", range(case.layers))
    plain = [index for index in range(case.layers) if not case.weights(index).residual]
    later = [index for index in range(case.layers) if index not in plain]
    streams = dict(zip(later, evidence.tensors("input", later), strict=True)) if later else {}
    return [streams.get(index, values[index]) for index in range(case.layers)], values


def rolled(
    case: Case, mixing: Iterable[FloatArray], groups: Sequence[tuple[int, int]] = (), notes: tuple[str, ...] = ()
) -> list[Found]:
    """Carry every target, and every token for comparison, down through the layers' mixing.

    Args:
        case: the targets.
        mixing: (N, N) shares of each layer, the last layer first; (S, S) where rows go in groups.
        groups: the rows [first, stop) of each group, all rows in order; what lands on a group is spread evenly over its rows.
        notes: what else the reader must know.
    """
    tokens = token_rows(case)
    tags = [aim.target.rows[0] for aim in case.aims if aim.target.kind == "tag"]
    reached = np.concatenate([tokens, np.eye(len(case.logits), dtype=np.float32)[tags]])
    if groups:
        firsts, sizes = [first for first, _ in groups], [stop - first for first, stop in groups]
        landed = sanm.rolled(np.add.reduceat(reached, firsts, axis=1), mixing)
        reached = np.repeat(landed / np.array(sizes, np.float32), sizes, axis=1)
    else:
        reached = sanm.rolled(reached, mixing)
    told = told_apart(reached[: len(tokens), case.trace.pieces[0].prompts :])
    return found(case, _of_targets(case, reached), told + notes)


def _of_targets(case: Case, reached: FloatArray) -> FloatArray:
    """Return the map of each target, (targets, N), of the maps of all tokens and then of the tags asked for.

    What is carried down through the layers adds up, so the map of a word or text is the mean of its tokens'.
    """
    tags = iter(reached[len(case.trace.tokens) :])
    maps = [next(tags) if aim.target.kind == "tag" else reached[slice(*aim.members)].mean(axis=0) for aim in case.aims]
    return np.asarray(maps, np.float32)


def rounding(case: Case) -> tuple[str, ...]:
    """Return a note where layers are taken apart by other numbers than the file computes with."""
    precision = case.trace.model.precision
    if precision == "fp32":
        return ()
    return (
        f"the file computes in {precision}: layers are taken apart by its weights as fp32, so they add up but for its rounding",
    )


def told_apart(maps: FloatArray) -> tuple[str, ...]:
    """Return a note on whether maps (U, T) of the tokens still differ from one another; none of fewer than two."""
    if len(maps) < 2:
        return ()
    apart, rank = sanm.divergence(maps), sanm.effective_rank(maps)
    figures = f"the maps of the {len(maps)} tokens differ by {apart:.3f} bit on average, effective rank {rank:.1f}"
    if apart < sanm.TOLD_APART:
        return (f"uninformative: {figures}; below {sanm.TOLD_APART} bit the layers' product has forgotten what was asked",)
    return (figures,)


def before_sound(case: Case) -> int:
    """Return how many of the columns that rows look at are no sound: prompts, or what fills up a decoder's window."""
    return case.trace.pieces[0].prompts if case.trace.decoder is None else 1


def found(case: Case, reached: FloatArray, notes: tuple[str, ...] = ()) -> list[Found]:
    """Return what landed on each column, (targets, N) shares, as maps over the frames and the part that landed on no sound."""
    first, name = before_sound(case), "prompt" if case.trace.decoder is None else "silence"
    result = []
    for aim, shares in zip(case.aims, reached / reached.sum(axis=1, keepdims=True), strict=True):
        rival = ("a view of mixing is the same whatever the rival",) if aim.target.against else ()
        parts = {name: float(shares[:first].sum())}
        result.append(Found(np.asarray(shares[None, first:], np.float32), case.frames, 1.0, "share", parts, notes + rival))
    return result


def spans(case: Case, kind: Segments, window: float) -> list[tuple[int, int]]:
    """Return the rows [first, stop) of sound that stand together; they cover all frames and do not overlap.

    Args:
        case: the sound.
        kind: ``words`` and the longer pauses between them, ``windows`` of equal width, or single ``frames``.
        window: width in seconds, taken to the nearest whole frame.

    Raises:
        OptionError: when there are no words.
    """
    count, prompts, hop = len(case.features.values), case.trace.pieces[0].prompts, case.features.hop
    if kind == "words":
        seconds = case.cells.times[words_and_pauses(case.cells, case.trace.words)]
        inner = np.round((seconds[1:-1] - case.frames.times[0]) / hop).astype(int).clip(0, count)
        edges = np.unique([0, *inner, count])
    else:
        edges = np.unique([*range(0, count, max(1, round(window / hop)) if kind == "windows" else 1), count])
    return list(pairwise((edges + prompts).tolist()))
