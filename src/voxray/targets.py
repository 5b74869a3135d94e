"""Targets: what can be asked about, and the scores that say how strongly the model holds to it.

A target is a token, a word, a tag or the whole text of one piece of sound, by itself or against a rival. Two kinds of score:

- the **margin** is a fixed weighted sum of logits, so it splits exactly into what each part of the network carried to it. Of a
  token: its logit at its emission, minus half the best other logit and half the best other that is no blank. Of a word or text:
  the sum over its tokens. Of a tag: its logit minus the mean of the other labels' logits, each weighted by its probability
  among them. Against a rival at the same place: the difference of the two logits. Against another wording: the difference of
  the two texts' CTC occupancies times the logits, which is the gradient of the logarithm of their likelihood ratio.
- the **forced** score and the **log-odds** (nats) stay defined when the sound is changed and other tokens win; see
  :meth:`Aim.score`.

A decoder's output has one row a token, so there nothing needs to be aligned (:class:`TokenAim`): the margin of a token is its
logit at its row minus the best other; against another wording it is the difference of the two logits at the first token where the
wordings part, given the same tokens before.

**Source:** methods of scoring CTC: the forced token score is a Viterbi alignment of the original text; the segmentation-free
log-odds follow Graves et al. 2006 (the sums) and the goodness of pronunciation (the ratio).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.trace import Trace
from voxray.types import TAG_KINDS, FloatArray, OptionError, Target, Token, Word, shortened
from voxray.vocabulary import Vocabulary

ScoreName = Literal["forced", "log_odds", "margin"]
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)
RIVALS = 5  # alternatives of a token in its log-odds
LEAST = 1e-6  # weights below are dropped from a margin
Shared = dict[str, Any]
"""What several targets on the same rows share: ``path``, the runs of the forced alignment, and ``normaliser``, (T,)."""
SYNTAX = 'token:5, word:3, word:"hello", text, ' + ", ".join(TAG_KINDS)


@dataclass(frozen=True, slots=True, eq=False)
class Aim:
    """A target made ready to be scored on the rows of its piece.

    Attributes:
        target: what it is.
        rows: (n,) int64, output rows of the margin, ascending.
        ids: (n,) int64, token ids of the margin.
        weights: (n,) float64; at every row they sum to 0, so the margin is the same of logits and of log posteriors.
        text: ids of the piece's text.
        members: [first, stop) of ``text``: the target's own tokens; empty for tags.
        others: texts that compete with ``text`` where the target has a rival, or in the log-odds.
        labels: ids of the tag's label and of those that it is held against; empty for the rest.
        prompts: prompt rows before the sound.
        blank: id of the CTC blank.
    """

    target: Target
    rows: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    text: tuple[int, ...]
    members: tuple[int, int]
    others: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    prompts: int
    blank: int

    def margin(self, logits: FloatArray) -> float:
        """Return the margin, in logits, on output rows (N, V)."""
        return float(logits[self.rows, self.ids].astype(np.float64) @ self.weights)

    def score(self, logits: FloatArray, how: ScoreName = "forced", shared: Shared | None = None) -> float:
        """Return how strongly output rows hold to the target.

        Args:
            logits: (N, V) float32, prompt rows first; logits or log posteriors.
            how: ``margin``; or, in nats, ``forced``: of tokens the sum over each token's best frame in the forced alignment of
                the original text, of a text its CTC log-likelihood; or ``log_odds``: the log-likelihood of the text minus that of
                all competing texts together. Tags give the log-odds of their label among the labels of their kind for both, and
                with a rival both are the log of the likelihood ratio.
            shared: what was computed for another target on the same rows, to be used and added to.
        """
        if how == "margin":
            return self.margin(logits)
        if self.target.kind == "tag":
            label, *held = (float(logits[self.target.rows[0], one]) for one in self.labels)
            return label - float(np.logaddexp.reduce(held))
        return self._spoken(logits, how, {} if shared is None else shared)

    def _spoken(self, logits: FloatArray, how: ScoreName, known: Shared) -> float:
        """Return the forced score or the log-odds of tokens."""
        sound = logits[self.prompts :]
        columns = sorted({self.blank, *self.text, *(one for other in self.others for one in other)})
        place = {one: index for index, one in enumerate(columns)}
        if how == "forced" and not self.target.against and self.target.kind != "text":
            return _forced(sound, self.text, self.members, self.blank, known)
        if "normaliser" not in known:
            known["normaliser"] = ctc.log_normaliser(sound)
        posteriors = sound[:, columns] - known["normaliser"][:, None]
        text = [place[one] for one in self.text]
        if how == "log_odds" or self.target.against:
            rivals = [ctc.log_likelihood(posteriors, [place[one] for one in other], place[self.blank]) for other in self.others]
            return ctc.log_likelihood(posteriors, text, place[self.blank]) - float(np.logaddexp.reduce(rivals))
        return ctc.log_likelihood(posteriors, text, place[self.blank])


@dataclass(frozen=True, slots=True, eq=False)
class TokenAim(Aim):
    """A target on the output of a decoder, which has one row a token.

    Its forced score is the sum of the log posteriors of its tokens, its log-odds the sum of log p - log(1 - p) of each. Against
    another wording both are the margin.

    Attributes:
        places: the row at which each token of ``text`` is decided.
    """

    places: tuple[int, ...]

    def _spoken(self, logits: FloatArray, how: ScoreName, known: Shared) -> float:  # noqa: ARG002
        if self.target.against:
            return self.margin(logits)
        own = slice(*self.members)
        rows = logits[list(self.places[own])]
        at = np.arange(len(rows)), list(self.text[own])
        chosen = rows[at].astype(np.float64)
        if how == "log_odds":
            rows[at] = -np.inf  # the posterior of all the others, however near to 0 it is
        return float((chosen - ctc.log_normaliser(rows)).sum())


def scores(aims: Sequence[Aim], logits: FloatArray, how: ScoreName = "forced") -> list[float]:
    """Return the score of each target of one piece on output rows (N, V); what they share is computed once."""
    shared: Shared = {}
    return [aim.score(logits, how, shared) for aim in aims]


def _forced(sound: FloatArray, text: tuple[int, ...], members: tuple[int, int], blank: int, shared: Shared) -> float:
    """Return the sum over some tokens of their best log posterior in the forced alignment of the whole text.

    The best path does not depend on how a row is normalised, so only the rows that count are.
    """
    if "path" not in shared:
        columns = sorted({blank, *text})
        places = [columns.index(one) for one in text]
        path = ctc.forced_alignment(sound[:, columns], places, columns.index(blank))
        shared["path"] = ctc.runs(path, columns.index(blank))
    total = 0.0
    for run, token in list(zip(shared["path"], text, strict=True))[slice(*members)]:
        rows = sound[run.first : run.stop]
        total += float((rows[:, token] - ctc.log_normaliser(rows)).max())
    return total


def resolve(trace: Trace, vocabulary: Vocabulary, labels: dict[str, dict[str, int]], name: str, against: str | None = None) -> Aim:
    """Find a target in a trace and make it ready to be scored.

    Args:
        trace: of the whole sound.
        vocabulary: the model's.
        labels: ids of every label by kind of tag.
        name: ``token:5`` or ``word:3`` (counted from 0), ``word:"hello"``, ``text``, or a kind of tag: ``emotion`` for what was
            decided, ``emotion:SAD`` for any other label; of sounds of several pieces ``text@1`` and ``emotion@1`` say which.
        against: a rival: another token, wording or label; None for the likeliest others.

    Raises:
        OptionError: when there is no such target, or the rival cannot compete with it.
    """
    if against is not None and not against.strip():
        raise OptionError("the rival is empty; give another token, wording or label, or none")
    kind, piece, index = _find(trace, name)
    one = trace.piece(piece)
    if kind == "tag":
        return _tag_aim(one, labels, name, piece, against)
    if not one.tokens:
        tags = [tag.kind for tag in one.tags if tag.kind != "textnorm"]
        instead = f"ask for a tag, such as {tags[min(1, len(tags) - 1)]}" if tags else "there is nothing to explain"
        raise OptionError(f"nothing was said in {trace.audio.name}, so it has no {name.partition(':')[0]}; {instead}")
    first = trace.pieces[piece].tokens[0]
    if kind == "token":
        members, label = (index - first, index - first + 1), trace.tokens[index].text.strip()
    elif kind == "word":
        word = trace.words[index]
        members, label = (word.tokens[0] - first, word.tokens[1] - first), word.text
    else:
        members, label = (0, len(one.tokens)), one.text
    tokens = one.tokens[slice(*members)]
    target = Target(
        kind="token" if kind == "token" else "word" if kind == "word" else "text",
        name=f"{kind}:{index}" if kind != "text" else name,
        label=label,
        against=against or "",
        piece=piece,
        rows=(tokens[0].rows[0], tokens[-1].rows[1]),
        start=tokens[0].start,
        end=tokens[-1].end,
    )
    return _token_aim(one, vocabulary, target, members)


def names(trace: Trace) -> list[str]:
    """Return every target of a trace as it can be asked for: tags, words, tokens, text."""
    several = len(trace.pieces) > 1
    ends = [f"@{index}" for index in range(len(trace.pieces))] if several else [""]
    kinds = TAG_KINDS if trace.decoder is None else [kind for kind in TAG_KINDS if any(tag.kind == kind for tag in trace.tags)]
    tags = [f"{kind}{end}" for end in ends for kind in kinds]
    spoken = [f"word:{index}" for index in range(len(trace.words))] + [f"token:{index}" for index in range(len(trace.tokens))]
    return tags + spoken + ([f"text{end}" for end in ends] if trace.tokens else [])


def _find(trace: Trace, name: str) -> tuple[Literal["token", "word", "tag", "text"], int, int]:
    """Return the kind of a target, its piece, and the index of its token or word."""
    whole, _, number = name.strip().partition("@")
    kind, _, which = whole.partition(":")
    if kind in TAG_KINDS or (kind == "text" and not which):
        return ("text" if kind == "text" else "tag"), _piece(trace, name, number), 0
    if kind not in ("token", "word") or not which:
        close = difflib.get_close_matches(kind, ["token", "word", "text", *TAG_KINDS], 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise OptionError(f"there is no target {name!r}{meant}; give one such as {SYNTAX}")
    which = name.strip().partition(":")[2]  # a quoted word may hold any sign
    values: Sequence[Token | Word] = trace.tokens if kind == "token" else trace.words
    if re.fullmatch(r"\d+", which):
        index = int(which)
        if index >= len(values):
            held = f"{len(values)} {kind}s, counted from 0" if values else f"no {kind}s"
            raise OptionError(f"{kind} {index} is not there: {trace.audio.name} has {held}")
    else:
        index = _named(values, kind, which.strip("\"'“”"))
    first = index if kind == "token" else trace.words[index].tokens[0]
    return (
        ("token" if kind == "token" else "word"),
        next(number for number, piece in enumerate(trace.pieces) if piece.tokens[0] <= first < piece.tokens[1]),
        index,
    )


def _piece(trace: Trace, name: str, number: str) -> int:
    count = len(trace.pieces)
    if not count:
        raise OptionError(f"{trace.audio.name} holds no speech, so there is nothing to explain")
    if not number and count == 1:
        return 0
    if not number.isdigit() or int(number) >= count:
        bare = name.partition("@")[0]
        if count == 1:
            raise OptionError(f"{trace.audio.name} has one piece of sound; ask for {bare}")
        told = f" and no piece {number!r}" if number else ""
        raise OptionError(f"{trace.audio.name} has {count} pieces of sound{told}; say which: {bare}@0 to {bare}@{count - 1}")
    return int(number)


def _named(values: Sequence[Token | Word], kind: str, text: str) -> int:
    """Return the index of the only token or word that reads so."""
    found = [index for index, value in enumerate(values) if value.text.strip() == text]
    if not found:
        said = " ".join(value.text.strip() for value in values)
        meant = _meant(text, [value.text.strip() for value in values])
        raise OptionError(f"no {kind} reads {text!r}{meant}; there are: {shortened(said, 80)}")
    if len(found) > 1:
        choices = ", ".join(f"{kind}:{index}" for index in found)
        raise OptionError(f"{len(found)} {kind}s read {text!r}; choose one of {choices}")
    return found[0]


def _meant(text: str, known: Sequence[str]) -> str:
    """Return a hint at the nearest of known texts, whatever their case; nothing where none is near."""
    folded = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(text.casefold(), folded, 1)
    return f" (did you mean {folded[close[0]]}?)" if close else ""


def _tag_aim(trace: Trace, labels: dict[str, dict[str, int]], name: str, piece: int, against: str | None) -> Aim:
    kind, _, wanted = name.strip().partition("@")[0].partition(":")
    tag = next((one for one in trace.tags if one.kind == kind), None)
    if tag is None:
        decided = [one.kind for one in trace.tags]
        raise OptionError(f"this model decides no {kind}; ask for {', '.join([*decided, 'a word, a token'])} or the text")
    label = wanted or tag.label
    if label not in labels[kind]:
        meant, choices = _meant(label, list(labels[kind])), ", ".join(labels[kind])
        raise OptionError(f"the {kind} {label!r} is none of this model's{meant}; choose one of {choices}")
    if kind == "language" and trace.language != "auto":
        raise OptionError(
            f"the language prompt was {trace.language!r}, so the language was told and not heard; recognise with language auto"
        )
    known = labels[kind]
    others = [one for one in known if one != label]
    if against is not None and against not in others:
        raise OptionError(f"{against!r} cannot compete with the {kind} {label!r}; choose one of {', '.join(others)}")
    rivals = [against] if against is not None else others
    odds = np.array([tag.probabilities[one] for one in rivals]) + 1e-30
    odds[odds < LEAST * odds.sum()] = 0.0
    ids = np.array([known[label], *(known[one] for one in rivals)])
    weights = np.concatenate([[1.0], -odds / odds.sum()])
    kept = weights != 0.0
    target = Target("tag", name, label, against or "", piece, (tag.row, tag.row + 1), tag.start, tag.end)
    return Aim(
        target=target,
        rows=np.full(int(kept.sum()), tag.row),
        ids=ids[kept],
        weights=weights[kept],
        text=(),
        members=(0, 0),
        others=(),
        labels=tuple(int(one) for one in ids),
        prompts=trace.pieces[0].prompts,
        blank=trace.blank,
    )


def contrast(trace: Trace, target: Target, members: tuple[int, int], rival: tuple[int, ...]) -> Aim:
    """Make ready: some tokens of a text, or none, rather than others in their place.

    Args:
        trace: of one piece.
        target: what to call it, and where it is.
        members: [first, stop) of the piece's tokens; an empty range stands for the gap before ``first``.
        rival: ids of the tokens that would stand there; none for nothing.

    Raises:
        OptionError: when the two are the same, or the sound is too short for the rival.
    """
    return _contrasted(trace, _bare(trace, target, members), rival)


def stretch(trace: Trace, vocabulary: Vocabulary, members: tuple[int, int], label: str) -> Aim:
    """Make ready: some neighbouring tokens together, as a word is that the recogniser writes as several.

    Args:
        trace: of one piece.
        vocabulary: the model's.
        members: [first, stop) of the piece's tokens, at least one.
        label: what to call them.
    """
    return _token_aim(trace, vocabulary, stretch_target(trace, members, label), members)


def stretch_target(trace: Trace, members: tuple[int, int], label: str, against: str = "") -> Target:
    """Return neighbouring tokens of a trace of one piece, at least one, as a target; it cannot be asked for by its name again."""
    tokens = trace.tokens[slice(*members)]
    name = f"tokens:{members[0]}-{members[1] - 1}"
    return Target("word", name, label, against, 0, (tokens[0].rows[0], tokens[-1].rows[1]), tokens[0].start, tokens[-1].end)


def _bare(trace: Trace, target: Target, members: tuple[int, int]) -> Aim:
    """Return an aim without a margin."""
    none, text = np.zeros(0, np.int64), tuple(token.id for token in trace.tokens)
    common = (target, none, none, np.zeros(0), text, members, (), (), trace.pieces[0].prompts, trace.blank)
    return Aim(*common) if trace.decoder is None else TokenAim(*common, tuple(token.peak for token in trace.tokens))


def _token_aim(trace: Trace, vocabulary: Vocabulary, target: Target, members: tuple[int, int]) -> Aim:
    aim = _bare(trace, target, members)
    if target.against:
        return _against(trace, vocabulary, aim)
    parts = [_margin_of(trace, token) for token in trace.tokens[slice(*members)]]
    rows, ids, weights = (np.concatenate([part[place] for part in parts]) for place in range(3))
    return replace(
        aim, rows=rows.astype(np.int64), ids=ids.astype(np.int64), weights=weights, others=_competitors(trace, aim.text, members)
    )


def _margin_of(trace: Trace, token: Token) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return rows, ids and weights of a token's margin over the best other, and the best other that is no blank.

    A decoder's rows know no blank: the best other is one.
    """
    row = trace.evidence[0].logits()[token.peak]
    if trace.decoder is not None:
        return np.full(2, token.peak), np.array([token.id, *_likeliest(row, 1, without=[token.id])]), np.array([1.0, -1.0])
    best, second = _likeliest(row, 2, without=[token.id])
    ids = np.array([token.id, best, second if best == trace.blank else best])
    return np.full(3, token.peak), ids, np.array([1.0, -0.5, -0.5])


def _likeliest(row: FloatArray, count: int, without: Sequence[int]) -> list[int]:
    """Return the ids of the largest entries of a row, largest first; a few searches are quicker than sorting a large vocabulary."""
    left, found = row.copy(), []
    left[list(without)] = -np.inf
    for _ in range(min(count, len(row) - len(without))):
        found.append(int(left.argmax()))
        left[found[-1]] = -np.inf
    return found


def _competitors(trace: Trace, text: tuple[int, ...], members: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Return the texts without the target's tokens, and with one of them replaced by its likeliest rivals; none of a decoder."""
    if trace.decoder is not None:
        return ()
    first, stop = members
    found = [text[:first] + text[stop:]]
    logits = trace.evidence[0].logits()
    for at in range(first, stop):
        best = _likeliest(logits[trace.tokens[at].peak], RIVALS, without=[text[at], trace.blank])
        found += [(*text[:at], one, *text[at + 1 :]) for one in best]
    return tuple(found)


def _against(trace: Trace, vocabulary: Vocabulary, aim: Aim) -> Aim:
    """Return the aim against another wording of the target's tokens."""
    spelled = vocabulary.encode(aim.target.against, after_space=trace.tokens[aim.members[0]].text.startswith(" "))
    return _contrasted(trace, aim, spelled)


def _contrasted(trace: Trace, aim: Aim, rival: tuple[int, ...]) -> Aim:
    """Return the aim against other tokens in the place of the target's own.

    Raises:
        OptionError: when they are the same, or the sound is too short for them.
    """
    target, (first, stop) = aim.target, aim.members
    other = aim.text[:first] + rival + aim.text[stop:]
    if other == aim.text:
        raise OptionError(f"{target.against!r} cannot compete with {target.label!r}: it is the same")
    if isinstance(aim, TokenAim):
        return _parting(aim, other)
    if len(rival) == 1 and stop - first == 1:
        peak = trace.tokens[first].peak
        rows, ids = np.array([peak, peak]), np.array([aim.text[first], rival[0]])
        return replace(aim, rows=rows, ids=ids, weights=np.array([1.0, -1.0]), others=(other,))
    sound = trace.evidence[0].logits()[aim.prompts :]
    columns = sorted({trace.blank, *aim.text, *other})
    posteriors = sound[:, columns] - ctc.log_normaliser(sound)[:, None]
    try:
        weights = _emissions(posteriors, columns, aim.text, trace.blank) - _emissions(posteriors, columns, other, trace.blank)
    except ValueError as error:
        raise OptionError(f"{target.against!r} cannot compete with {target.label!r}: {error}") from error
    rows, places = np.nonzero(np.abs(weights) > LEAST)
    kept = weights[rows, places]
    return replace(aim, rows=rows + aim.prompts, ids=np.array(columns)[places], weights=_balanced(rows, kept), others=(other,))


def _parting(aim: TokenAim, other: tuple[int, ...]) -> TokenAim:
    """Return the aim against another text, by the first token at which the two part: up to there a decoder was given the same.

    Raises:
        OptionError: when one text is the beginning of the other.
    """
    pairs = zip(aim.text, other, strict=False)
    at = next((index for index, (own, rival) in enumerate(pairs) if own != rival), None)
    if at is None:
        raise OptionError(
            f"{aim.target.against!r} cannot compete with {aim.target.label!r}: the one text is the beginning of the other, and "
            "that it ends is no token; give a wording that goes on otherwise"
        )
    place, weights = aim.places[at], np.array([1.0, -1.0])
    return replace(aim, rows=np.full(2, place), ids=np.array([aim.text[at], other[at]]), weights=weights, others=(other,))


def _emissions(posteriors: FloatArray, columns: list[int], text: Sequence[int], blank: int) -> npt.NDArray[np.float64]:
    """Return how probable it is, given a text, that a frame emits each column, (T, columns)."""
    places = [columns.index(one) for one in text]
    given = ctc.occupancy(posteriors, places, blank=columns.index(blank)).astype(np.float64)
    result = np.zeros(posteriors.shape)
    np.add.at(result.T, places, given)
    result[:, columns.index(blank)] += 1.0 - given.sum(axis=0)
    return result


def _balanced(rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return weights that sum to 0 at each row, what was dropped as too small being spread over its row."""
    sums, counts = np.bincount(rows, weights), np.bincount(rows)
    return np.asarray(weights - (sums / np.maximum(counts, 1))[rows])
