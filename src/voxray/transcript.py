"""Turns a model's output rows into tokens, and the readings of several pieces into one transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from voxray import ctc
from voxray.alignment import group_words
from voxray.richtext import rich_text
from voxray.types import Alternative, Features, FloatArray, IntArray, Piece, Tag, Token, Transcript, Word
from voxray.vocabulary import Vocabulary, strip_tags


@dataclass(frozen=True, slots=True)
class Rows:
    """The output rows of one piece.

    Attributes:
        logits: (N, V) float32.
        prompts: how many rows come before those of the sound.
        blank: id of the CTC blank.
        normalised: whether the rows are log-probabilities already.
    """

    logits: FloatArray
    prompts: int
    blank: int = 0
    normalised: bool = False

    def normalisers(self, rows: Sequence[int]) -> FloatArray:
        """Return what to subtract from some rows to make them log posteriors, (rows,) float32, nats.

        A few rows at a time: they are long, and few of them are needed.
        """
        if self.normalised or not len(rows):
            return np.zeros(len(rows), np.float32)
        return np.concatenate([ctc.log_normaliser(self.logits[rows[at : at + 4]]) for at in range(0, len(rows), 4)])


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pass over one piece of sound said; rows count from the piece's own first row.

    Attributes:
        tokens: in order of time. Where several make up one character, those that do not complete it have no text.
        tags: of the piece.
        raw_text: with every tag as the model wrote it.
        rows: how many.
        prompts: how many of them come before that of the first frame or token.
        start: seconds.
        end: seconds.
        signs: whether the rich text writes tags as emoji; otherwise it is the text.
    """

    tokens: tuple[Token, ...]
    tags: tuple[Tag, ...]
    raw_text: str
    rows: int
    prompts: int
    start: float
    end: float
    signs: bool = True


def greedy_tokens(rows: Rows, part: Features, vocabulary: Vocabulary, alternatives: int = 0) -> tuple[Token, ...]:
    """Return the tokens of the likeliest path.

    The likeliest path is also the forced alignment of its own text, so a token's span is the stretch of frames that emit it.

    Args:
        rows: the model's output.
        part: the features that it saw, for their times.
        vocabulary: of the model.
        alternatives: how many of the likeliest tokens to list at each emission.
    """
    runs = ctc.runs(rows.logits[rows.prompts :].argmax(axis=1), rows.blank)
    if not runs:
        return ()
    emitting = [row + rows.prompts for run in runs for row in range(run.first, run.stop)]
    normalisers = dict(zip(emitting, rows.normalisers(emitting).tolist(), strict=True))
    edge = part.start - part.hop / 2
    tokens = []
    for run in runs:
        first, stop = run.first + rows.prompts, run.stop + rows.prompts
        scores = {row: float(rows.logits[row, run.id]) - normalisers[row] for row in range(first, stop)}
        peak = max(scores, key=lambda row: scores[row])
        tokens.append(
            Token(
                id=run.id,
                text=vocabulary.text(run.id),
                start=max(edge + part.hop * run.first, 0.0),
                end=edge + part.hop * run.stop,
                rows=(first, stop),
                peak=peak,
                log_prob=scores[peak],
                alternatives=likeliest(rows.logits[peak], normalisers[peak], vocabulary, alternatives),
            )
        )
    return tuple(tokens)


def likeliest(logits: FloatArray, normaliser: float, vocabulary: Vocabulary, count: int) -> tuple[Alternative, ...]:
    """Return the likeliest tokens of one row, best first.

    Args:
        logits: (V,).
        normaliser: what makes them log posteriors when subtracted, nats.
        vocabulary: of the model.
        count: how many.
    """
    best = largest(logits, count)
    return tuple(Alternative(int(one), vocabulary.text(int(one)), float(logits[one]) - normaliser) for one in best)


def largest(values: FloatArray, count: int) -> IntArray:
    """Return the indices of the largest values, largest first; of equal ones the first.

    The count-th largest maximum of blocks bounds the count-th largest value from below, so few values need sorting.

    Args:
        values: (V,).
        count: how many.
    """
    if count < 1:
        return np.zeros(0, np.int64)
    maxima = np.maximum.reduceat(values, np.arange(0, len(values), 64))
    bound = np.partition(maxima, -count)[-count] if len(maxima) > count else -np.inf
    candidates = np.flatnonzero(values >= bound)
    return np.asarray(candidates[np.argsort(-values[candidates], kind="stable")[:count]], np.int64)


def words_of(tokens: Sequence[Token]) -> list[Word]:
    """Return the words that tokens spell; tokens that make up one character together stay together.

    Args:
        tokens: in order of time; where several make up a character, all but the last have no text.
    """
    starts = [index for index in range(len(tokens)) if index == 0 or tokens[index - 1].text]
    spans = list(pairwise([*starts, len(tokens)]))
    whole = [_joined(tokens[first:stop]) for first, stop in spans]
    return [replace(word, tokens=(spans[word.tokens[0]][0], spans[word.tokens[1] - 1][1])) for word in group_words(whole)]


def _joined(tokens: Sequence[Token]) -> Token:
    """Return the tokens of one character as one."""
    if len(tokens) == 1:
        return tokens[0]
    least = min(token.log_prob for token in tokens)
    return replace(tokens[-1], text="".join(token.text for token in tokens), start=tokens[0].start, log_prob=least)


def join(readings: Sequence[Reading], duration: float) -> Transcript:
    """Return one transcript of all pieces, rows and tokens numbered through.

    Args:
        readings: in order of time.
        duration: of the whole sound, seconds; no token ends later.
    """
    tokens: list[Token] = []
    tags: list[Tag] = []
    words: list[Word] = []
    pieces: list[Piece] = []
    row = 0
    for one in readings:
        first = len(tokens)
        tokens += [
            replace(
                token,
                rows=(token.rows[0] + row, token.rows[1] + row),
                peak=token.peak + row,
                start=min(token.start, duration),
                end=min(token.end, duration),
            )
            for token in one.tokens
        ]
        words += [replace(word, tokens=(word.tokens[0] + first, word.tokens[1] + first)) for word in words_of(tokens[first:])]
        end = min(one.end, duration)
        tags += [replace(tag, row=tag.row + row, end=end) for tag in one.tags]
        pieces.append(Piece(one.start, end, (row, row + one.rows), (first, len(tokens)), one.prompts, one.raw_text))
        row += one.rows
    raw = "".join(one.raw_text for one in readings)
    texts = [strip_tags("".join(token.text for token in one.tokens)).strip() for one in readings]
    rich = [rich_text(one.raw_text) if one.signs else text for one, text in zip(readings, texts, strict=True)]
    return Transcript(
        text=" ".join(filter(None, texts)),
        rich_text=" ".join(filter(None, rich)),
        raw_text=raw,
        tokens=tuple(tokens),
        words=tuple(words),
        tags=tuple(tags),
        pieces=tuple(pieces),
        duration=duration,
    )
