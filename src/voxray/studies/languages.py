"""Languages side by side: the same model on clips of several languages, and what happens when it is told the wrong one.

Every clip goes through the model once with the prompt ``auto``, and its attention is measured head by head over the rows of sound
(what the prompt rows look at is left out). Then, where that is wanted, once more with each language as prompt.

Conventions: layers and heads count from 0, entropies in bits, times in seconds, offsets positive where a row looks ahead. ``N`` =
rows of a piece, prompts first, ``T`` = its frames of sound. What goes to the prompt rows is ``prompt_mass``; distance, reach
and direction are of the mass that stays on the sound, all rows of a clip pooled. A figure that cannot be told (the distance of
a head that looks at prompts alone) is NaN in arrays and None elsewhere. Attention is a view of the model, not an explanation.

Entropy, distance and reach depend on how long a clip is; ``Heads.chance`` says what attention spread evenly over the same
rows would give, and ``LanguageStudy.notes`` warns where the languages' clips differ much in length.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.edits import Comparison, compare
from voxray.measures.confidence import tsallis
from voxray.measures.heads import MEASURES, ROLES, Heads, Role, Sums, heads_of, jsonable, known_name, sums_of
from voxray.measures.statistics import Interval, bootstrap_mean, bootstrap_ratio, holm
from voxray.types import FloatArray, ModelInfo, OptionError, Progress, Tag, VoxrayError, plain

if TYPE_CHECKING:
    from voxray.models import Decoding, Recogniser
    from voxray.trace import Trace

Float64Array = npt.NDArray[np.float64]

STABLE = 0.8
"""Share of the clips in which a head must have one role to be called stable. **Source:** these bounds are our conventions."""
MANY = 12  # languages; forcing more of them on every clip takes longer than anybody waits for
AT_ONCE = 128 << 20
"""Bytes of attention that are measured at a time; the bundled model's all, a few layers of 30 s through SenseVoice-Small."""
ROUNDS = 9999
"""Random rearrangements of a permutation test, where there are more than so many; so p-values go down to 0.0001."""
SURE = 0.05
"""Corrected p-value below which a difference is called one."""
FEW = 5
"""Clips below which an interval by bootstrap is told to be too short."""
UNLIKE = 1.5
"""Times that one language's clips may be longer than another's before that is told."""

FIGURES: Mapping[str, str] = {
    "error_rate": "errors a unit",
    "confidence": "mean over words",
    "least_confidence": "the weakest word",
    "tsallis": "mean over tokens",
    "tag_probability": "of the language",
    "token_rate": "tokens a second",
}
"""What is measured of every clip besides, with its unit."""
Shown = Literal["changed", "error_rate", "support", "log_odds", "follows"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A clip and what is known of it.

    Attributes:
        sound: a path, bytes, file object, array or ``Audio``; or a function that returns one, called when it is its turn.
        language: that it is in; None for what the model hears.
        reference: the right text; None where it is not known.
    """

    sound: Any
    language: str | None = None
    reference: str | None = None


# --- One clip ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class TokenMap:
    """Attention from tokens to moments of sound, mean over layers and heads, of a clip's first piece: a picture's worth.

    Attributes:
        weights: (U, T) float32, rows that sum to 1.
        labels: texts of the U tokens.
        spans: start and end of each token, s.
        times: (T,) centres of the frames, s.
    """

    weights: FloatArray
    labels: tuple[str, ...]
    spans: tuple[tuple[float, float], ...]
    times: Float64Array


@dataclass(frozen=True, slots=True)
class Forced:
    """What became of a clip when the model was told a language.

    Attributes:
        language: that it was told.
        text: what it then recognised.
        changes: edits between the text without force and this one, and units of the former.
        errors: against the right text, and its units; None where there is none.
        support: log-likelihood of the text without force, less that which it had without force, nats a token; below 0 the model
            believes less in it. None where that text was empty or cannot be emitted.
        tag: the language that the model said.
        log_odds: of the clip's own language at the language tag, nats; None where the model has no such label.
    """

    language: str
    text: str
    changes: tuple[int, int]
    errors: tuple[int, int] | None
    support: float | None
    tag: str
    log_odds: float | None

    @property
    def changed(self) -> float | None:
        """Edits for each unit of the text without force; None where that was empty."""
        return _rate(self.changes)

    @property
    def error_rate(self) -> float | None:
        """Errors for each unit of the right text; None without one, or where it is empty."""
        return _rate(self.errors)

    @property
    def follows(self) -> bool:
        """Whether the model said the language that it was told."""
        return self.tag == self.language

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told | {"changed": self.changed, "error_rate": self.error_rate, "follows": self.follows}


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the model made of one clip.

    Attributes:
        name: of the sound.
        duration: s.
        language: that the clip is in.
        told: whether that was known; otherwise it is what the model heard.
        text: recognised.
        reference: the right text; None where it is not known.
        comparison: of the two; None without a right text.
        confidence: mean over words; None without words.
        least_confidence: of the weakest word.
        tsallis: mean over tokens; see ``voxray.measures.confidence``.
        tag: the language that the model heard.
        runner_up: the next likely one and its probability.
        tag_probability: that the model gave to the clip's language; None where it has no such label.
        token_rate: tokens a second.
        heads: the attention, measured.
        forced: one for each language that was forced.
        map: for a picture; None where it was not kept.
        seconds: spent.
    """

    name: str
    duration: float
    language: str
    told: bool
    text: str
    reference: str | None
    comparison: Comparison | None
    confidence: float | None
    least_confidence: float | None
    tsallis: float | None
    tag: str
    runner_up: tuple[str, float]
    tag_probability: float | None
    token_rate: float
    heads: Heads
    forced: tuple[Forced, ...]
    map: TokenMap | None
    seconds: float

    @property
    def error_rate(self) -> float | None:
        """Errors for each unit of the right text; None without one, or where it is empty."""
        return None if self.comparison is None else self.comparison.rate

    @property
    def verdict(self) -> str:
        """How well the clip was recognised, in a few words."""
        found = self.comparison
        sure = "" if self.confidence is None else f"confidence {self.confidence:.2f}"
        if found is None or not found.length:
            return sure
        counted = {"character": "characters", "word": "words", "mixed": "characters and words"}[found.unit]
        wrong = "1 error" if found.errors == 1 else f"{found.errors} errors"
        return " · ".join(filter(None, (f"{wrong} in {found.length} {counted}", sure)))

    def amount(self, figure: str) -> tuple[float, float] | None:
        """Return a figure as a fraction, so that those of several clips can be pooled; None where it cannot be told."""
        if figure == "error_rate":
            return None if self.comparison is None else (self.comparison.errors, self.comparison.length)
        value = self.heads.mean(figure) if figure in MEASURES else getattr(self, known_name(figure, FIGURES))
        return None if value is None or math.isnan(value) else (value, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the map as JSON can hold it."""
        names = ("name", "duration", "language", "told", "text", "reference", *FIGURES, "tag", "runner_up", "seconds")
        told = {name: plain(getattr(self, name)) for name in names}
        counts = ("unit", "errors", "length", "rate")
        errors = None if self.comparison is None else {name: getattr(self.comparison, name) for name in counts}
        forced = [one.to_dict() for one in self.forced]
        return told | {"errors": errors, "attention": self.heads.to_dict(), "forced": forced}


def compare_languages(
    model: Recogniser,
    clips: Sequence[Any],
    *,
    force: bool | Sequence[str] = True,
    textnorm: bool = False,
    maps: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    refused: Callable[[int, VoxrayError], None] | None = None,
) -> LanguageStudy:
    """Put languages side by side: attention, errors and confidence, and what becomes of clips when another language is forced.

    One pass a clip, and one more for each forced language. Memory holds the attention of one clip at a time; of sounds longer than
    30 s that of later pieces is computed a few layers at a time.

    Args:
        model: an open model.
        clips: sounds, or :class:`Spoken` where more is known; languages are listed in the order in which they come.
        force: whether to tell the model each of its languages in turn, or which ones. Of a model with very many, each language that
            a clip is known to be in.
        textnorm: prompt of text normalisation.
        maps: of how many clips of each language, the first ones, to keep the map that pictures need.
        seed: of the intervals and tests.
        progress: called after each pass.
        refused: called with the index of a clip that cannot be used, and why; the others go on. None: the first such ends it all.

    Raises:
        AudioError: when a sound cannot be read.
        OptionError: when there is no clip, or the model does not have a language to force.
    """
    spoken = [clip if isinstance(clip, Spoken) else Spoken(clip) for clip in clips]
    chosen = _to_force(model, force, spoken)
    if not spoken:
        raise OptionError("there are no clips to compare; give at least one, better five of each language")
    heard: list[Heard] = []
    passes = 1 + len(chosen)

    def step(index: int, done: int) -> None:
        if progress is not None:
            progress(index * passes + done, len(spoken) * passes)

    def has_room(language: str) -> bool:
        return sum(one.language == language for one in heard) < maps

    for index, clip in enumerate(spoken):
        try:
            one = _listen(model, clip, chosen, textnorm=textnorm, has_room=has_room, step=partial(step, index))
        except VoxrayError as error:
            if refused is None:
                raise
            refused(index, error)
            step(index, passes)
        else:
            heard.append(one)
    if not heard:
        raise OptionError("none of the clips could be used; give sounds in which something is said")
    return LanguageStudy(model.info, tuple(heard), chosen, seed)


def _to_force(model: Recogniser, force: bool | Sequence[str], clips: Sequence[Spoken]) -> tuple[str, ...]:  # noqa: FBT001 - as given
    """Return the languages to force."""
    known = tuple(name for name in model.languages if name != "auto")
    if isinstance(force, bool):
        if len(known) > MANY:
            known = tuple(dict.fromkeys(clip.language for clip in clips if clip.language in known))
        return known if force else ()
    if isinstance(force, str):
        raise OptionError(f'languages to force are given as a list, got {force!r}; give a list such as ["{force}"]')
    wrong = [name for name in force if name not in known]
    if wrong:
        raise OptionError(f"the model cannot be told the language {wrong[0]!r}; choose from {', '.join(known)}")
    return tuple(dict.fromkeys(force))


def _listen(
    model: Recogniser,
    clip: Spoken,
    chosen: Sequence[str],
    *,
    textnorm: bool,
    has_room: Callable[[str], bool],
    step: Callable[[int], None],
) -> Heard:
    """Recognise one clip without force, measure it, and then force each language."""
    started = time.perf_counter()
    trace = model.trace(clip.sound() if callable(clip.sound) else clip.sound, "auto", textnorm=textnorm)
    if not trace.pieces:
        raise OptionError(f"{trace.audio.name} holds no speech, so there is nothing to compare; leave it out")
    if not trace.tags:
        raise OptionError(f"{trace.model.name} decides no language, so languages cannot be compared; give a SenseVoice")
    tags = _language_tag(trace)
    label, *others = sorted(tags, key=lambda name: -tags[name])
    language = clip.language or label
    heads, weights = measured(trace)
    comparison = None if clip.reference is None else compare(clip.reference, trace.text, language)
    words = [word.confidence for word in trace.words]
    sure = _tsallis(trace)
    belief = _belief(model, trace, trace)
    step(1)
    forced = []
    for number, name in enumerate(chosen):
        again = model.trace(trace.audio, name, textnorm=textnorm, layers=())
        after = _belief(model, trace, again)
        support = None if belief is None or after is None else (after - belief) / len(trace.tokens)
        forced.append(_forced(trace, again, clip.reference, language, support))
        step(2 + number)
    return Heard(
        name=trace.audio.name,
        duration=trace.audio.duration,
        language=language,
        told=clip.language is not None,
        text=trace.text,
        reference=clip.reference,
        comparison=comparison,
        confidence=float(np.mean(words)) if words else None,
        least_confidence=min(words, default=None),
        tsallis=float(np.mean(sure)) if len(sure) else None,
        tag=label,
        runner_up=(others[0], tags[others[0]]) if others else ("", 0.0),
        tag_probability=tags.get(language),
        token_rate=len(trace.tokens) / trace.audio.duration,
        heads=heads,
        forced=tuple(forced),
        map=_token_map(trace, weights) if has_room(language) else None,
        seconds=time.perf_counter() - started,
    )


def measured(trace: Trace) -> tuple[Heads, FloatArray]:
    """Return the measures of every head of a trace, and the attention from tokens to sound of its first piece.

    Args:
        trace: with at least one piece.

    Returns:
        The measures (of the encoder, where there is a decoder), and (U, T) float32: the mean over layers and heads of
        ``Trace.token_attention``.
    """
    found = []
    shown = np.zeros((0, 0), np.float64)
    for index, piece in enumerate(trace.pieces):
        prompts = 0 if trace.decoder is not None else piece.prompts  # of the encoder
        rows = len(trace.piece(index).times) + prompts
        count = max(1, AT_ONCE // (4 * trace.heads * rows * rows))
        parts = []
        mixing = _occupied(trace) if index == 0 and trace.decoder is None else None
        for first in range(0, trace.layers, count):
            attention = trace.evidence[index].attention(range(first, min(first + count, trace.layers)))
            parts.append(sums_of(attention, prompts))
            if mixing is not None:
                shown = _mixed(attention, prompts, mixing) + (shown if shown.size else 0.0)
        found.append(_stacked(parts))
    part = trace.piece(0)
    if trace.decoder is not None:
        return heads_of(found, _hop(part)), np.asarray(part.token_attention().values.mean(axis=(0, 1)), np.float32)
    return heads_of(found, _hop(part)), np.asarray(shown / (trace.layers * trace.heads), np.float32)


def _hop(part: Trace) -> float:
    """Return the seconds from frame to frame of what attention looks at."""
    return float(part.times[1] - part.times[0]) if len(part.times) > 1 else part.features[0].hop


def _stacked(parts: Sequence[Sums]) -> Sums:
    """Return the sums of all layers of a piece."""
    names = ("entropy", "relative", "prompts", "own", "largest", "offsets")
    return Sums(parts[0].rows, *(np.concatenate([getattr(one, name) for one in parts]) for name in names))


def _occupied(trace: Trace) -> FloatArray:
    """Return how the first piece's rows of sound are averaged into its tokens, (U, T): rows that sum to 1."""
    weights = trace.occupancy(0)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny))


def _mixed(attention: FloatArray, prompts: int, mixing: FloatArray) -> Float64Array:
    """Return the attention from tokens to sound summed over layers and heads, each head's rows made to sum to 1 first."""
    sound = mixing @ attention[:, :, prompts:, prompts:]
    total = sound.sum(axis=-1, keepdims=True)
    scaled = np.divide(sound, total, out=np.zeros_like(sound), where=total > 0)
    return np.asarray(scaled.sum(axis=(0, 1), dtype=np.float64))


def _token_map(trace: Trace, weights: FloatArray) -> TokenMap:
    tokens = trace.tokens[slice(*trace.pieces[0].tokens)]
    spans = tuple((token.start, token.end) for token in tokens)
    return TokenMap(weights, tuple(token.text for token in tokens), spans, trace.piece(0).times)


def _language_tag(trace: Trace) -> dict[str, float]:
    """Return the probability of each language, the mean over pieces weighted by their length."""
    tags: list[Tag] = [tag for tag in trace.tags if tag.kind == "language"]
    lengths = np.array([tag.end - tag.start for tag in tags])
    together = lengths / lengths.sum() @ [[tag.probabilities[name] for name in tags[0].probabilities] for tag in tags]
    return dict(zip(tags[0].probabilities, together.tolist(), strict=True))


def _tsallis(trace: Trace) -> FloatArray:
    """Return the Tsallis confidence of every token at its emission."""
    found = [np.zeros(0, np.float32)]
    for index, piece in enumerate(trace.pieces):
        tokens = trace.tokens[slice(*piece.tokens)]
        rows = trace.evidence[index].logits()[[token.peak - piece.rows[0] for token in tokens]]
        if tokens:
            found.append(tsallis(rows if trace.logits_are_log_probs else ctc.log_softmax(rows)))
    return np.concatenate(found)


def _belief(model: Recogniser, text: Trace, trace: Trace) -> float | None:
    """Return the log-likelihood of one trace's text in another of the same sound, nats; None where there is no text."""
    if not text.tokens:
        return None
    total = 0.0
    for index, piece in enumerate(text.pieces):
        ids = [token.id for token in text.tokens[slice(*piece.tokens)]]
        if text.decoder is not None:
            part = text.piece(index)
            (rows,) = cast("Decoding", model).forced(part.features, part, trace.language, textnorm=trace.textnorm)
            total += float(ctc.log_softmax(rows)[[token.peak for token in part.tokens], ids].sum())
            continue
        columns = [trace.blank, *sorted(set(ids))]  # of a large vocabulary only these matter
        logits = trace.evidence[index].logits()[piece.prompts :]
        norms = np.zeros(len(logits), np.float32) if trace.logits_are_log_probs else ctc.log_normaliser(logits)
        total += ctc.log_likelihood(logits[:, columns] - norms[:, None], [columns.index(one) for one in ids], blank=0)
    return total if math.isfinite(total) else None


def _forced(free: Trace, again: Trace, reference: str | None, language: str, support: float | None) -> Forced:
    """Return what a forced language changed; ``support``: by how much each token's log posterior rose under it, nats."""
    changes = compare(free.text, again.text, language)
    right = None if reference is None else compare(reference, again.text, language)
    tags = _language_tag(again)
    rest = sum(value for name, value in tags.items() if name != language)
    own = tags.get(language)
    tiny = float(np.finfo(np.float64).tiny)
    return Forced(
        language=again.language,
        text=again.text,
        changes=(changes.errors, changes.length),
        errors=None if right is None else (right.errors, right.length),
        support=support,
        tag=max(tags, key=lambda name: tags[name]),
        log_odds=None if own is None else math.log(max(own, tiny)) - math.log(max(rest, tiny)),
    )


# --- All clips ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Summary:
    """The clips of one language together.

    Attributes:
        language: which.
        clips: how many.
        seconds: of sound.
        unit: of its errors; empty without right texts.
        figures: each with its interval over clips; None where no clip has it. A single clip has a value and no interval.
    """

    language: str
    clips: int
    seconds: float
    unit: str
    figures: Mapping[str, Interval | None]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One figure of two languages.

    Attributes:
        figure: which.
        first: a language.
        second: another.
        values: of the two.
        p_value: two-sided, by permutation of the clips; None where that cannot be told.
        corrected: for all tests of the study, by Holm's procedure.
        least: the smallest p-value that so few clips could give.
        problem: why there is no p-value, in a few words; empty where there is one.
    """

    figure: str
    first: str
    second: str
    values: tuple[float, float]
    p_value: float | None
    corrected: float | None
    least: float | None
    problem: str

    @property
    def is_sure(self) -> bool:
        """Whether chance explains so much of a difference in fewer than 5 of 100 studies."""
        return self.corrected is not None and self.corrected < SURE


@dataclass(frozen=True, slots=True)
class HeadRole:
    """What one head does on the clips of a language, or on all of them.

    Attributes:
        layer: which.
        head: which.
        role: the most frequent one.
        share: of the clips that show it.
        clips: how many there are.
        stable: whether at least 80 % of them do; None of a single clip, which cannot tell.
    """

    layer: int
    head: int
    role: Role
    share: float
    clips: int
    stable: bool | None


@dataclass(frozen=True, eq=False)
class LanguageStudy:
    """Languages side by side.

    Attributes:
        model: which model it was.
        clips: in the order given, without those that were refused.
        forced: the languages that were forced.
        seed: of the intervals and tests.
    """

    model: ModelInfo
    clips: tuple[Heard, ...]
    forced: tuple[str, ...]
    seed: int

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the clips, in the order in which they come."""
        return tuple(dict.fromkeys(one.language for one in self.clips))

    def of(self, language: str) -> list[Heard]:
        """Return the clips of a language.

        Raises:
            OptionError: when there is none.
        """
        return [one for one in self.clips if one.language == known_name(language, self.languages)]

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """Every language with its figures."""
        found = []
        for language in self.languages:
            clips = self.of(language)
            units = {one.comparison.unit for one in clips if one.comparison is not None}
            amounts = {name: _amounts(clips, name) for name in (*FIGURES, *MEASURES)}
            figures = {name: bootstrap_ratio(*one, seed=self.seed) for name, one in amounts.items()}
            seconds = sum(one.duration for one in clips)
            found.append(Summary(language, len(clips), seconds, " and ".join(sorted(units)), figures))
        return tuple(found)

    def profile(self, measure: str, language: str) -> list[Interval | None]:
        """Return a measure layer by layer, each the mean over heads and then clips, with its interval over clips.

        Raises:
            OptionError: when there is no such measure or language.
        """
        layers = np.array([one.heads.profile(measure) for one in self.of(language)]).T
        return [bootstrap_mean(column[~np.isnan(column)], seed=self.seed) for column in layers]

    def band(self, measure: str, language: str) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return a profile as arrays: means and lower and upper ends, (L,) each, NaN where there is none.

        Raises:
            OptionError: when there is no such measure or language.
        """
        found = self.profile(measure, language)
        ends = [[None if one is None else getattr(one, name) for one in found] for name in ("value", "low", "high")]
        values, low, high = np.array(ends, np.float64)  # None becomes NaN
        return values, low, high

    def roles(self, language: str | None = None) -> list[HeadRole]:
        """Return what every head does, on the clips of one language or of all of them.

        Raises:
            OptionError: when there is no such language.
        """
        clips = list(self.clips) if language is None else self.of(language)
        every = [one.heads.roles for one in clips]
        found = []
        for layer, head in np.ndindex(*clips[0].heads.entropy.shape):
            seen = Counter(roles[layer][head] for roles in every)
            role = max(ROLES, key=lambda name: seen[name])
            share = seen[role] / len(clips)
            found.append(HeadRole(layer, head, role, share, len(clips), share >= STABLE if len(clips) > 1 else None))
        return found

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Every figure of every two languages, with p-values by permutation that are corrected for all of these tests.

        Error rates counted in different units (words, characters) are set side by side but not tested.
        """
        pairs = combinations(self.languages, 2)
        found = [one for first, second in pairs for one in _contrasts(self.of(first), self.of(second), self.seed)]
        corrected = iter(holm([one.p_value for one in found if one.p_value is not None]).tolist())
        return tuple(one if one.p_value is None else replace(one, corrected=next(corrected)) for one in found)

    def matrix(self, shown: Shown = "changed") -> Float64Array:
        """Return what forcing did: languages of the clips down, forced languages across; NaN where it cannot be told.

        Args:
            shown: ``changed``: share of the text that changes; ``error_rate``: against the right texts (both pooled over clips);
                ``support``: by how much the text without force is believed more, nats a token, and ``log_odds``: of the clip's own
                language at the language tag, nats (both mean over clips); ``follows``: share of clips of which the model said the
                forced language.

        Raises:
            OptionError: when it is none of these.
        """
        known_name(shown, get_args(Shown))
        return np.array([[self._cell(shown, row, name) for name in self.forced] for row in self.languages], np.float64).reshape(
            len(self.languages), len(self.forced)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before trusting the figures, one sentence each."""
        single = ", ".join(one.language for one in self.summaries if one.clips == 1)
        few = ", ".join(one.language for one in self.summaries if 1 < one.clips < FEW)
        guessed = sum(not one.told for one in self.clips)
        units = {one.unit for one in self.summaries if one.unit}
        told = {
            f"One clip alone has no interval: {single}.": single,
            f"Intervals from fewer than {FEW} clips are too short: {few}.": few,
            self._test_note: self._test_note,
            self._length_note: self._length_note,
            f"The language of {guessed} of {len(self.clips)} clips is what the model itself heard.": guessed,
            f"Error rates in {' and in '.join(f'{unit}s' for unit in sorted(units))} do not compare.": len(units) > 1,
        }
        return tuple(note for note, holds in told.items() if holds)

    @property
    def _test_note(self) -> str:
        """Say that no difference can be told where that is so."""
        tested = [one.least for one in self.contrasts if one.least is not None]
        if not tested:
            alone = len(self.languages) < 2
            return "" if alone else "No difference between languages was tested: that takes two clips or more of each."
        if min(tested) * len(tested) <= SURE:
            return ""
        return (
            f"Too few clips to call any difference between languages real: of {len(tested)} tests the smallest p-value that "
            f"could come out is {min(tested):.2g}, before correction."
        )

    @property
    def _length_note(self) -> str:
        """Say that clips of different languages differ in length where that matters."""
        lengths = {language: float(np.median([one.duration for one in self.of(language)])) for language in self.languages}
        short, long = (choice(lengths, key=lambda name: lengths[name]) for choice in (min, max))
        if lengths[long] <= UNLIKE * lengths[short]:
            return ""
        ratio = lengths[long] / lengths[short]
        return f"Clips of {long} are {ratio:.1f} times as long as those of {short}: entropy, distance and nearness depend on that."

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a long table: one row for each clip, layer, head and measure, prompt masses by row among them."""
        for index, clip in enumerate(self.clips):
            known = {"clip": index, "name": clip.name, "language": clip.language, "duration": round(clip.duration, 4)}
            roles, prompts = clip.heads.roles, clip.heads.prompts
            for layer, head in np.ndindex(*clip.heads.entropy.shape):
                place = known | {"layer": layer, "head": head, "role": roles[layer][head]}
                values = {name: getattr(clip.heads, name)[layer, head] for name in MEASURES}
                values |= {f"prompt_mass_{row}": prompts[layer, head, row] for row in range(prompts.shape[-1])}
                for name, value in values.items():
                    yield place | {"measure": name, "value": None if np.isnan(value) else float(value)}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the maps as JSON can hold it; layer profiles as arrays of means and of interval ends."""
        ends = ("value", "low", "high")
        profiles = {
            language: {measure: dict(zip(ends, map(jsonable, self.band(measure, language)), strict=True)) for measure in MEASURES}
            for language in self.languages
        }
        return {
            "model": plain(self.model),
            "seed": self.seed,
            "notes": list(self.notes),
            "languages": [plain(one) for one in self.summaries],
            "contrasts": [plain(one) for one in self.contrasts],
            "profiles": profiles,
            "roles": {language: [plain(one) for one in self.roles(language)] for language in self.languages}
            | {"all": [plain(one) for one in self.roles()]},
            "forced": {"rows": list(self.languages), "columns": list(self.forced)}
            | {shown: jsonable(self.matrix(shown)) for shown in get_args(Shown)},
            "clips": [one.to_dict() for one in self.clips],
        }

    def _cell(self, shown: Shown, language: str, forced: str) -> float:
        """Return one cell of the matrix."""
        found = [clip.forced[self.forced.index(forced)] for clip in self.of(language)]
        if shown == "changed":
            return _pooled([one.changes for one in found])
        if shown == "error_rate":
            return _pooled([one.errors for one in found if one.errors is not None])
        values = [float(one.follows) if shown == "follows" else getattr(one, shown) for one in found]
        return _pooled([(value, 1) for value in values if value is not None])


def _amounts(clips: Sequence[Heard], figure: str) -> tuple[Float64Array, Float64Array]:
    """Return a figure of every clip that has it, as numerators and denominators."""
    found = [one for one in (clip.amount(figure) for clip in clips) if one is not None]
    pairs = np.array(found, np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _contrasts(first: Sequence[Heard], second: Sequence[Heard], seed: int) -> Iterator[Contrast]:
    """Yield every figure that the clips of two languages have, not yet corrected for the number of tests."""
    names = first[0].language, second[0].language
    splits: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
    for figure in (*FIGURES, *MEASURES):
        one, other = _amounts(first, figure), _amounts(second, figure)
        if not one[1].sum() or not other[1].sum():
            continue
        values = one[0].sum() / one[1].sum(), other[0].sum() / other[1].sum()
        sizes = len(one[0]), len(other[0])
        problem = _untestable(figure, first, second, sizes)
        bare = Contrast(figure, *names, (float(values[0]), float(values[1])), None, None, None, problem)
        if problem:
            yield bare
            continue
        if sizes not in splits:
            splits[sizes] = _splits(*sizes, seed)
        p_value = _permuted(np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]]), splits[sizes])
        yield replace(bare, p_value=p_value, least=_least(*sizes))


def _untestable(figure: str, first: Sequence[Heard], second: Sequence[Heard], sizes: tuple[int, int]) -> str:
    """Say in a few words why two languages cannot be tested for a difference; nothing where they can."""
    if figure == "error_rate":
        units = {one.comparison.unit for one in (*first, *second) if one.comparison is not None}
        if len(units) > 1:
            return f"{' against '.join(f'{unit}s' for unit in sorted(units))}"
    alone = [clips[0].language for clips, size in zip((first, second), sizes, strict=True) if size < 2]
    return f"one clip of {' and of '.join(alone)}" if alone else ""


def _splits(first: int, second: int, seed: int) -> npt.NDArray[np.float32]:
    """Return ways to deal clips to two groups, (rounds, clips) of 1 for the first group; row 0 is how they came.

    All ways where there are no more than 9999, else 9999 random ones after row 0.
    """
    total = first + second
    if math.comb(total, first) <= ROUNDS:
        chosen = np.array(list(combinations(range(total), first)))  # in order, so the first is how they came
    else:
        drawn = np.random.default_rng(seed).random((ROUNDS, total))
        chosen = np.concatenate([np.arange(first)[None], drawn.argsort(axis=1)[:, :first]])
    splits = np.zeros((len(chosen), total), np.float32)
    np.put_along_axis(splits, chosen, 1.0, axis=1)
    return splits


def _permuted(tops: Float64Array, bottoms: Float64Array, splits: npt.NDArray[np.float32]) -> float:
    """Return the share of splits in which two pooled rates lie at least as far apart as in the first split.

    **Source:** Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", chapter 3.
    """
    top, bottom = splits @ tops, splits @ bottoms
    rest = bottoms.sum() - bottom
    there = (bottom > 0) & (rest > 0)
    apart = np.abs(top[there] / bottom[there] - (tops.sum() - top[there]) / rest[there])
    # Sums in another order may differ in the last digits: equal differences must count as equal.
    slack = 1e-9 * float(np.abs(tops).max(initial=0.0))
    return float((apart >= apart[0] - slack).mean())


def _least(first: int, second: int) -> float:
    """Return the smallest p-value that a test of so many clips can give: mirrored splits of equal groups lie as far apart."""
    ways = math.comb(first + second, first)
    return (2 if first == second else 1) / ways if ways <= ROUNDS else 1 / (ROUNDS + 1)


# --- Numbers -----------------------------------------------------------------------------------------------------------


def _pooled(amounts: Sequence[tuple[float, float]]) -> float:
    """Return the sum of numerators over that of denominators, NaN over nothing."""
    found = _rate((sum(top for top, _ in amounts), sum(bottom for _, bottom in amounts)))
    return math.nan if found is None else found


def _rate(amount: tuple[float, float] | None) -> float | None:
    """Return a fraction as a number; None over nothing."""
    return None if amount is None or not amount[1] else amount[0] / amount[1]
