"""Mistakes of a recogniser against a right text, each joined to its place in the sound.

The two texts are aligned (:mod:`voxray.edits`), and every unbroken run of differences is one mistake. A mistake owns whole tokens:
where one token spells both right and wrong letters, the mistake takes in all of them. What the right words would have been in
tokens makes the contrast "recognised rather than right": two texts of the same piece of sound that differ in this mistake alone.

A decoder is asked otherwise (Paraformer, Whisper): its output has one row a token, and the two texts are told apart at the first
token at which they part, given the same tokens before. The rank is that of the right token there.

Times are seconds from the start of the whole sound, places count from 0.

**Source:** the log-odds of two texts are those of Graves et al. 2006, summed over all paths; the idea of asking each error for its
cause goes back to Chase 1997, *Blame assignment for errors made by large vocabulary speech recognizers*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from voxray import ctc
from voxray.case import Case
from voxray.edits import Comparison, Edit, align, compare
from voxray.explanation import live_trace, relevances
from voxray.methods import build, default
from voxray.sounds import local_snr
from voxray.targets import Aim, contrast
from voxray.texts import Normalisation, Unit, units
from voxray.trace import Trace
from voxray.types import Audio, AudioError, FloatArray, OptionError, Relevance, Target
from voxray.vocabulary import TAG, Vocabulary, strip_tags

if TYPE_CHECKING:
    from voxray.models import Decoding, Explainable

NOTHING = "(nothing)"
REACH = 0.2  # seconds that a mistake may reach beyond the frames that emitted it: CTC emits late and briefly
NEAR = 2  # frames around a token's alignment in which its best place is looked for
MistakeKind = Literal["substitution", "deletion", "insertion", "mixed"]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One run of differences between the recognised and the right text.

    Attributes:
        kind: substitution, deletion or insertion; mixed where the run holds several kinds.
        reference: the right words, as the reference writes them; empty for an insertion.
        recognised: the wrong words; empty for a deletion.
        edits: [first, stop) of ``Comparison.edits``.
        tokens: [first, stop) of ``Trace.tokens``; an empty range stands for the gap before ``first``.
        piece: index of the piece of sound.
        rival: ids of the tokens that would spell the right words; None where the vocabulary cannot spell them.
        start: seconds, of the sound that the wrong and the right words compete for.
        end: seconds.
        log_odds: nats, of the recognised text over the one with this mistake put right; above 0 the model holds to its mistake.
            None where the vocabulary cannot spell the right words, or the sound is too short for them.
        rank: how many tokens, blank left out, are likelier than the least likely right token at its best frame; None as before.
    """

    kind: MistakeKind
    reference: str
    recognised: str
    edits: Span
    tokens: Span
    piece: int
    rival: tuple[int, ...] | None
    start: float
    end: float
    log_odds: float | None
    rank: int | None

    @property
    def title(self) -> str:
        """The mistake in a few words."""
        return f"{self.recognised or NOTHING!r} rather than {self.reference or NOTHING!r}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a mistake stands on some version of its sound.

    Attributes:
        log_odds: nats, above 0 favours the mistake; NaN where it cannot be told.
        right: whether the text recognised there has the right words at the mistake's place.
        text: what was recognised.
    """

    log_odds: float
    right: bool
    text: str


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What one recognition got wrong.

    Attributes:
        model: that recognised.
        trace: of the recognition.
        reference: the right text.
        comparison: the two texts, aligned.
        mistakes: in order of time.
        spans: start and end in seconds of every edit.
    """

    model: Explainable
    trace: Trace
    reference: str
    comparison: Comparison
    mistakes: tuple[Mistake, ...]
    spans: tuple[tuple[float, float], ...]

    def aim(self, mistake: Mistake) -> Aim:
        """Return the contrast of a mistake, ready to be scored and explained: recognised rather than right.

        Raises:
            OptionError: when the right words cannot be spelled in tokens, or the sound is too short for them.
        """
        if mistake.rival is None:
            raise OptionError(f"this model's vocabulary cannot spell {mistake.reference!r}, so it cannot compete")
        piece = self.trace.piece(mistake.piece)
        return _aim(piece, mistake, self.trace.pieces[mistake.piece].tokens[0])

    @property
    def right_words(self) -> tuple[bool, ...]:
        """Whether each recognised word is right: none of its tokens belongs to a difference."""
        wrong = {
            token
            for edit, span in zip(self.comparison.edits, _tokens_of(self.trace, self.comparison), strict=True)
            if span is not None and edit.kind != "hit"
            for token in range(*span)
        }
        return tuple(not wrong & set(range(*word.tokens)) for word in self.trace.words)

    def scene(self, mistake: Mistake, beyond: Beyond | None = None) -> Scene:
        """Return a mistake with the means to ask how it stands on other versions of its sound."""
        return Scene(self, mistake, beyond)


@dataclass(frozen=True, slots=True, eq=False)
class Beyond:
    """The longer recording that a sound was cut from: its sound at 16 kHz, and where in it the cut lies, in seconds."""

    audio: Audio
    start: float
    end: float


class Scene:
    """One mistake, the sound of its piece, and the means to ask "what if".

    Attributes:
        diagnosis: what was recognised.
        mistake: the one in question.
        beyond: the longer recording around the sound, where there is one.
        audio: the sound of the piece alone, 16 kHz.
        start: of the mistake, seconds from the start of ``audio``.
        end: of the mistake.
        passes: how often the model was asked.
    """

    def __init__(self, diagnosis: Diagnosis, mistake: Mistake, beyond: Beyond | None = None) -> None:
        self.diagnosis, self.mistake, self.beyond, self.passes = diagnosis, mistake, beyond, 0
        piece, whole = diagnosis.trace.pieces[mistake.piece], diagnosis.trace.audio
        alone = len(diagnosis.trace.pieces) == 1
        self.audio = whole if alone else whole.cut(piece.start, piece.end)
        self._offset = 0.0 if alone else piece.start
        self.start, self.end = (max(0.0, one - self._offset) for one in (mistake.start, mistake.end))

    @property
    def model(self) -> Explainable:
        """The model that made the mistake."""
        return self.diagnosis.model

    @property
    def language(self) -> str:
        """The language prompt."""
        return self.diagnosis.trace.language

    @property
    def textnorm(self) -> bool:
        """The prompt of text normalisation."""
        return self.diagnosis.trace.textnorm

    @cached_property
    def words(self) -> tuple[tuple[float, float, str], ...]:
        """The words recognised in this piece: start and end in seconds from the start of ``audio``, and text."""
        trace = self.diagnosis.trace.piece(self.mistake.piece)
        return tuple((word.start - self._offset, word.end - self._offset, word.text) for word in trace.words)

    @cached_property
    def recognised(self) -> str:
        """The text recognised in this piece."""
        return self.diagnosis.trace.piece(self.mistake.piece).text

    @cached_property
    def _places(self) -> tuple[str, Span]:
        """The right text of this piece, and [first, stop) of its units that the mistake got wrong."""
        comparison = self.diagnosis.comparison
        owners = _pieces_of(self.diagnosis.trace, _tokens_of(self.diagnosis.trace, comparison))
        edits = comparison.edits
        inside = [edit.reference_place for edit, owner in zip(edits, owners, strict=True) if owner == self.mistake.piece]
        places = [place for place in inside if place is not None]
        if not places:
            return "", (0, 0)
        units = comparison.reference_units
        text = self.diagnosis.reference[units[places[0]].start : units[places[-1]].stop]
        first = sum(edit.reference_place is not None for edit in edits[: self.mistake.edits[0]]) - places[0]
        own = [one.reference_place for one in edits[slice(*self.mistake.edits)] if one.reference_place is not None]
        return text, (first, first + len(own))

    @property
    def reference(self) -> str:
        """The right text of this piece."""
        return self._places[0]

    @cached_property
    def aim(self) -> Aim | None:
        """The contrast of the mistake; None where the right words cannot compete."""
        try:
            return self.diagnosis.aim(self.mistake)
        except OptionError:
            return None

    @cached_property
    def base(self) -> Standing:
        """How the mistake stands on the sound as it is."""
        odds = self.mistake.log_odds
        return Standing(math.nan if odds is None else odds, self.is_right(self.recognised), self.recognised)

    def ask(
        self,
        audio: Audio | None = None,
        *,
        language: str | None = None,
        textnorm: bool | None = None,
        model: Explainable | None = None,
    ) -> Standing:
        """Return how the mistake stands on another version of its sound, under other prompts, or with another model.

        Args:
            audio: at 16 kHz, of any length; None for the sound as it is.
            language: prompt; None for the one that was used.
            textnorm: prompt; None for the one that was used.
            model: None for the one that made the mistake; the log-odds of a model with other tokens are NaN.
        """
        self.passes += 1
        asked = model or self.model
        try:
            trace = asked.trace(
                audio if audio is not None else self.audio,
                language or self.language,
                textnorm=self.textnorm if textnorm is None else textnorm,
                layers=(),
            )
        except AudioError:  # nothing is left to recognise
            return Standing(math.nan, self.is_right(""), "")
        odds = math.nan
        if self.aim is not None and len(trace.pieces) == 1 and asked.vocabulary.pieces == self.model.vocabulary.pieces:
            odds = _odds(self.aim, self._rows(asked, trace))
        return Standing(odds, self.is_right(trace.text), trace.text)

    def _rows(self, asked: Explainable, heard: Trace) -> FloatArray:
        """Return the output rows on a sound; a decoder is given the tokens of the mistake's own piece."""
        if heard.decoder is None:
            return heard.evidence[0].logits()
        own = self.diagnosis.trace.piece(self.mistake.piece)
        (rows,) = cast("Decoding", asked).forced(heard.features, own, heard.language, textnorm=heard.textnorm)
        return rows

    def is_right(self, text: str) -> bool:
        """Tell whether a text of this piece has the right words at the mistake's place, whatever it says elsewhere."""
        reference, (first, stop) = self._places
        comparison = self.diagnosis.comparison
        found = compare(reference, text, unit=comparison.unit, normalisation=comparison.normalisation)
        at = 0  # the unit of the reference that comes next
        for edit in found.edits:
            inside = first <= at < stop if edit.reference_place is not None else first <= at <= stop
            if inside and edit.kind != "hit":
                return False
            at += edit.reference_place is not None
        return True


def diagnose(
    model: Explainable,
    source: Any,
    reference: str,
    *,
    language: str = "auto",
    textnorm: bool = False,
    unit: Unit | None = None,
    normalisation: Normalisation | None = None,
) -> Diagnosis:
    """Recognise a sound and find what is wrong against the right text.

    Args:
        model: an open model.
        source: a trace, or a sound: a path, bytes, file object, array or ``Audio``.
        reference: the right text; an empty one says that nothing is said.
        language: prompt for a sound; a trace has its own. With ``auto`` the units are those of the language recognised.
        textnorm: prompt for a sound; a trace has its own.
        unit: what counts as one error: character, word or mixed; None for what the language asks for.
        normalisation: what both texts go through before they are compared; None for what the language asks for.

    Raises:
        AudioError: when the sound cannot be read.
        OptionError: when the reference is no text.
        TraceError: when the trace was made by another model.
    """
    if not isinstance(reference, str):
        raise OptionError(f"the right text must be a text, got {type(reference).__name__}")
    trace = live_trace(model, source, language=language, textnorm=textnorm)
    comparison = compare(reference, trace.text, language_of(trace), unit=unit, normalisation=normalisation)
    tokens = _tokens_of(trace, comparison)
    owners = _pieces_of(trace, tokens)
    groups = _groups(comparison.edits, owners, tokens)
    mistakes = [_mistake(model.vocabulary, trace, reference, comparison, group, owners[group[0]], tokens) for group in groups]
    return Diagnosis(model, trace, reference, comparison, tuple(mistakes), _spans(trace, tokens, mistakes))


def language_of(trace: Trace) -> str:
    """Return the language of a trace: its prompt, or with ``auto`` what was recognised most often."""
    if trace.language != "auto":
        return trace.language
    heard = [tag.label for tag in trace.tags if tag.kind == "language"]
    return max(heard, key=heard.count) if heard else "auto"


def evidence(diagnosis: Diagnosis, method: str | None = None, **options: Any) -> list[Relevance | None]:
    """Return, for each mistake, which part of the sound spoke for the recognised words rather than the right ones.

    Args:
        diagnosis: what was recognised.
        method: see ``voxray explain --list``; None for ``exact``, or for ``occlusion`` where the model gives no gradients.
        **options: of the method.

    Returns:
        None for a mistake whose right words cannot compete: the vocabulary lacks them, or the sound is too short.
    """
    how = build(method or default(diagnosis.model), options)
    found: dict[int, Relevance] = {}
    for piece in sorted({mistake.piece for mistake in diagnosis.mistakes}):
        aims = {}
        for index, mistake in enumerate(diagnosis.mistakes):
            if mistake.piece == piece and mistake.log_odds is not None:
                aims[index] = diagnosis.aim(mistake)
        if aims:
            case = Case(diagnosis.model, diagnosis.trace.piece(piece), list(aims.values()))
            found |= dict(zip(aims, relevances(how, case), strict=True))
    return [found.get(index) for index in range(len(diagnosis.mistakes))]


# --- From texts to tokens ------------------------------------------------------------------------------------------------


def letter_owners(trace: Trace) -> list[int]:
    """Return the index of the token that each letter of the trace's text comes from; -1 for the space between pieces."""
    letters: list[int] = []
    for piece in trace.pieces:
        spelled = [(letter, index) for index in range(*piece.tokens) for letter in _letters(trace.tokens[index].text)]
        text = "".join(letter for letter, _ in spelled)
        kept = spelled[len(text) - len(text.lstrip()) : len(text.rstrip())]
        letters += ([-1] if letters and kept else []) + [index for _, index in kept]
    return letters


def heard_words(trace: Trace, words: Sequence[str]) -> list[Span | None]:
    """Return the tokens [first, stop) of each true word that was recognised right; None where it was not.

    Words are aligned by their letters, since a word of the truth can be several of the trace: one counts where all its letters were
    recognised, from the token of the first letter to that of the last.
    """
    how = Normalisation()
    letters = [[unit.text for unit in units(text, "character", how)] for text in words]
    heard, owners = units(trace.text, "character", how), letter_owners(trace)
    edits = align([one for word in letters for one in word], [unit.text for unit in heard])
    place = {edit.reference_place: edit.recognised_place for edit in edits if edit.kind == "hit"}
    found: list[Span | None] = []
    at = 0
    for own in letters:
        known = [one for step in range(len(own)) if (one := place.get(at + step)) is not None]
        whole = bool(own) and len(known) == len(own)
        found.append((owners[heard[known[0]].start], owners[heard[known[-1]].start] + 1) if whole else None)
        at += len(own)
    return found


def _letters(text: str) -> str:
    return "" if TAG.fullmatch(text.strip()) else strip_tags(text)


def _tokens_of(trace: Trace, comparison: Comparison) -> list[Span | None]:
    """Return the tokens [first, stop) of each edit; None for a deletion."""
    owners = letter_owners(trace)
    found: list[Span | None] = []
    for edit in comparison.edits:
        if edit.recognised_place is None:
            found.append(None)
            continue
        unit = comparison.recognised_units[edit.recognised_place]
        own = [owner for owner in owners[unit.start : unit.stop] if owner >= 0]
        found.append((min(own), max(own) + 1))
    return found


def _pieces_of(trace: Trace, tokens: Sequence[Span | None]) -> list[int]:
    """Return the piece of each edit, given its tokens: theirs, or of a deletion that of the edit before it, or else after it."""
    known = [
        None if span is None else next(at for at, piece in enumerate(trace.pieces) if piece.tokens[0] <= span[0] < piece.tokens[1])
        for span in tokens
    ]
    last = next((one for one in known if one is not None), 0)
    pieces = []
    for one in known:
        last = last if one is None else one
        pieces.append(last)
    return pieces


def _groups(edits: Sequence[Edit], owners: Sequence[int], tokens: Sequence[Span | None]) -> list[Span]:
    """Return the runs [first, stop) of edits that are one mistake: differences side by side, and all that shares a token."""
    before, after = list(tokens), list(tokens)  # of an edit without tokens those of its neighbours
    for index in range(1, len(edits)):
        before[index] = tokens[index] or before[index - 1]
    for index in range(len(edits) - 2, -1, -1):
        after[index] = tokens[index] or after[index + 1]
    starts = [0]
    for index, (one, other) in enumerate(pairwise(edits), start=1):
        left, right = before[index - 1], after[index]
        share = left is not None and right is not None and left[1] > right[0]
        apart = owners[index - 1] != owners[index] or "hit" in (one.kind, other.kind)
        if apart and not share:
            starts.append(index)
    groups = [*pairwise(starts), (starts[-1], len(edits))] if edits else []
    return [(first, stop) for first, stop in groups if any(edit.kind != "hit" for edit in edits[first:stop])]


def _mistake(
    vocabulary: Vocabulary, trace: Trace, reference: str, comparison: Comparison, group: Span, piece: int, tokens: list[Span | None]
) -> Mistake:
    """Return the mistake of a run of edits."""
    edits = comparison.edits[slice(*group)]
    own = [span for span in tokens[slice(*group)] if span is not None]
    if own:
        members = (min(span[0] for span in own), max(span[1] for span in own))
    else:
        gap = next((span[1] for span in tokens[: group[0]][::-1] if span is not None), 0)
        first, stop = trace.pieces[piece].tokens if trace.pieces else (0, 0)
        members = (min(max(gap, first), stop),) * 2
    wrong = strip_tags("".join(token.text for token in trace.tokens[slice(*members)])).strip()
    places = [edit.reference_place for edit in edits if edit.reference_place is not None]
    units = [comparison.reference_units[place] for place in places]
    right = reference[units[0].start : units[-1].stop] if units else ""
    kinds = {edit.kind for edit in edits} - {"hit"}
    rival = _spelled(vocabulary, trace, reference, units, members) if trace.pieces else None
    bare = Mistake(
        kinds.pop() if len(kinds) == 1 else "mixed",  # type: ignore[arg-type]
        right, wrong, group, members, piece, rival, 0.0, trace.audio.duration, None, None,
    )  # fmt: skip
    return _placed(trace, bare) if trace.pieces else bare


def _spelled(vocabulary: Vocabulary, trace: Trace, reference: str, units: Sequence[Any], members: Span) -> tuple[int, ...] | None:
    """Return the ids that spell some units of the reference as this model would; None where it cannot."""
    if not units:
        return ()
    written = reference[units[0].start : units[-1].stop]
    gaps = [any(letter.isspace() for letter in reference[one.stop : two.start]) for one, two in pairwise(units)]
    plain = units[0].text + "".join((" " if gap else "") + unit.text for gap, unit in zip(gaps, units[1:], strict=True))
    opens = not reference[: units[0].start].strip() or reference[units[0].start - 1].isspace()
    spaced = trace.tokens[members[0]].text.startswith(" ") if members[0] < members[1] else opens
    for text in (written, plain, plain.replace(" ", "")):
        for after_space in (spaced, not spaced):
            try:
                return vocabulary.encode(text, after_space=after_space)
            except OptionError:
                continue
    return None


def _placed(trace: Trace, mistake: Mistake) -> Mistake:
    """Return a mistake with its times, its log-odds and the rank of its right words."""
    offset = trace.pieces[mistake.piece].tokens[0]
    piece = trace.piece(mistake.piece)
    members = (mistake.tokens[0] - offset, mistake.tokens[1] - offset)
    aim = None
    if mistake.rival is not None:
        try:
            aim = _aim(piece, mistake, offset)
        except OptionError:
            aim = None
    if piece.decoder is not None:
        told = (None, None) if aim is None else _parted(aim, piece.evidence[0].logits())
        start, end = _between(piece, _token_span(piece, members), members)
        return replace(mistake, start=start, end=end, log_odds=told[0], rank=told[1])
    odds, rank, rows = None, None, [token.rows for token in piece.tokens[slice(*members)]]
    if aim is not None and mistake.rival is not None:
        logits = piece.evidence[0].logits()
        odds = _odds(aim, logits)
        right = _right_rows(aim, logits, mistake, offset)
        rank = max((_rank(logits, span, one, aim) for span, one in zip(right, mistake.rival, strict=True)), default=None)
        rows += right
    start, end = _between(piece, _row_span(piece, rows) or _token_span(piece, members), members)
    return replace(mistake, start=start, end=end, log_odds=odds, rank=rank)


def _parted(aim: Aim, logits: FloatArray) -> tuple[float, int]:
    """Return the log-odds of an aim where a decoder's two texts part, and how many tokens are likelier there than the right one."""
    row, right = logits[aim.rows[0]], aim.ids[1]
    return aim.score(logits), int((row > row[right]).sum())


def _aim(piece: Trace, mistake: Mistake, offset: int) -> Aim:
    """Return the contrast of a mistake on the trace of its piece; ``offset`` is the piece's first token."""
    assert mistake.rival is not None
    first, stop = mistake.tokens[0] - offset, mistake.tokens[1] - offset
    named = f"word:{_word_at(piece, first, stop)}" if stop > first else "text"
    target = Target(
        "word", named, mistake.recognised or NOTHING, mistake.reference or NOTHING, mistake.piece,
        (piece.pieces[0].prompts, piece.pieces[0].rows[1]), mistake.start, mistake.end,
    )  # fmt: skip
    return contrast(piece, target, (first, stop), mistake.rival)


def _word_at(piece: Trace, first: int, stop: int) -> int:
    return next((at for at, word in enumerate(piece.words) if word.tokens[0] < stop and word.tokens[1] > first), 0)


def _odds(aim: Aim, logits: FloatArray) -> float:
    """Return the log-odds of an aim's text over its rival on output rows; NaN where the sound is too short for one of them."""
    try:
        return aim.score(logits)
    except ValueError:
        return math.nan


def _right_rows(aim: Aim, logits: FloatArray, mistake: Mistake, offset: int) -> list[Span]:
    """Return the rows [first, stop) that the right words would take in the forced alignment of the text put right."""
    assert mistake.rival is not None
    other = aim.others[0]
    sound = logits[aim.prompts :]
    columns = sorted({aim.blank, *other})
    path = ctc.forced_alignment(sound[:, columns], [columns.index(one) for one in other], columns.index(aim.blank))
    runs = ctc.runs(path, columns.index(aim.blank))
    first = mistake.tokens[0] - offset
    return [(run.first + aim.prompts, run.stop + aim.prompts) for run in runs[first : first + len(mistake.rival)]]


def _rank(logits: FloatArray, rows: Span, token: int, aim: Aim) -> int:
    """Return how many tokens, blank left out, are likelier than one at the row near some rows where it is likeliest."""
    near = np.arange(max(aim.prompts, rows[0] - NEAR), min(len(logits), rows[1] + NEAR))
    row = logits[near[logits[near, token].argmax()]]
    return int((row > row[token]).sum() - (row[aim.blank] > row[token]))


def _row_span(piece: Trace, rows: Sequence[Span]) -> tuple[float, float] | None:
    """Return start and end in seconds of some rows of frames; None of no rows."""
    if not rows:
        return None
    part, prompts = piece.features[0], piece.pieces[0].prompts
    edge = part.start - part.hop / 2 - part.hop * prompts
    return edge + part.hop * min(one[0] for one in rows), edge + part.hop * max(one[1] for one in rows)


def _token_span(piece: Trace, members: Span) -> tuple[float, float]:
    """Return start and end in seconds of some tokens; of none, the end of the token before."""
    own = piece.tokens[slice(*members)]
    if own:
        return min(token.start for token in own), max(token.end for token in own)
    gap = piece.tokens[members[0] - 1].end if 0 < members[0] <= len(piece.tokens) else piece.pieces[0].start
    return gap, gap


def _between(piece: Trace, span: tuple[float, float], members: Span) -> tuple[float, float]:
    """Return a stretch of sound in seconds, reaching half-way to the tokens beside it but no more than ``REACH``."""
    start, end = span
    before = piece.tokens[members[0] - 1].end if members[0] > 0 else start - 2 * REACH
    after = piece.tokens[members[1]].start if members[1] < len(piece.tokens) else end + 2 * REACH
    start -= min(REACH, max(0.0, (start - before) / 2))
    end += min(REACH, max(0.0, (after - end) / 2))
    return max(start, piece.pieces[0].start, 0.0), min(end, piece.pieces[0].end)


def _spans(trace: Trace, tokens: Sequence[Span | None], mistakes: Sequence[Mistake]) -> tuple[tuple[float, float], ...]:
    """Return start and end of every edit: of its tokens; of a deletion, of its mistake."""
    inside = {index: mistake for mistake in mistakes for index in range(*mistake.edits)}
    spans = []
    for index, span in enumerate(tokens):
        if span is not None:
            spans.append((trace.tokens[span[0]].start, trace.tokens[span[1] - 1].end))
        else:
            spans.append((inside[index].start, inside[index].end))
    return tuple(spans)


# --- What stands around a mistake ----------------------------------------------------------------------------------------


def surroundings(diagnosis: Diagnosis, mistake: Mistake) -> dict[str, Any]:
    """Return what stands around a mistake: local SNR in dB, seconds to the clip's edges, units a second, the words beside it."""
    trace = diagnosis.trace
    around = (
        [word for word in trace.words if word.tokens[1] <= mistake.tokens[0]],
        [word for word in trace.words if word.tokens[0] >= mistake.tokens[1]],
    )
    spoken = trace.tokens[-1].end - trace.tokens[0].start if trace.tokens else 0.0
    return {
        "snr": round(local_snr(trace.audio, mistake.start, mistake.end), 1),
        "from_start": round(mistake.start, 3),
        "to_end": round(trace.audio.duration - mistake.end, 3),
        "rate": round(diagnosis.comparison.length / spoken, 2) if spoken > 0 else None,
        "before": around[0][-1].text if around[0] else "",
        "after": around[1][0].text if around[1] else "",
    }
