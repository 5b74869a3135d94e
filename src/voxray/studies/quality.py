"""How good an alignment is: of attention, of one head, of relevance, or of the times that a model gives to words.

With the true times, starts and ends are scored apart (:mod:`voxray.measures.boundaries`). Without them a map can only be judged by
its own looks (:mod:`voxray.measures.alignment`): whether it goes on in order, covers the speech, keeps out of silence, and agrees
with the emissions. None of that proves a map right, so each figure stands beside what a map without knowledge would have.

Conventions: seconds from the start of the sound; maps are (U, T), tokens by frames; a figure over several pieces is the mean over
their tokens. What cannot be told is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray import vad
from voxray.attention import AttentionView, attention_map
from voxray.explanation import explain
from voxray.measures import alignment, boundaries
from voxray.measures.boundaries import Boundaries, Timed
from voxray.measures.heads import Role
from voxray.studies.errors import heard_words
from voxray.studies.languages import measured
from voxray.trace import Trace
from voxray.types import OptionError, plain

if TYPE_CHECKING:
    from voxray.models import Explainable, Recogniser

Float64Array = npt.NDArray[np.float64]
SLACK = 0.06  # seconds: one frame of the models
NEAR = 0.05  # seconds; a start or end so near the true one counts as found
SURE = 0.8  # of the clips must show the same role for a head's role to be called stable


@dataclass(frozen=True, slots=True)
class Looks:
    """What a figure is: its unit, which way is better, what a map without knowledge has, and what it asks.

    Attributes:
        unit: of the figure.
        better: ``higher`` or ``lower``.
        asks: in a few words.
        recommended: whether a clock that is half a second off and random layers always make the figure worse, of attention and of
            relevance (``benchmarks/quality.py``).
    """

    unit: str
    better: str
    asks: str
    recommended: bool = False


QUALITY_FIGURES: Mapping[str, Looks] = {
    "agreement": Looks("s", "lower", "how far from where the token was emitted"),
    "pointing": Looks("share", "higher", "does the largest weight lie within 60 ms of the token", recommended=True),
    "order": Looks("tau", "higher", "do later tokens look at later sound"),
    "monotonicity": Looks("share", "higher", "does each token look no earlier than the one before"),
    "diagonality": Looks("share", "higher", "how near the line from the first token and frame to the last"),
    "speech_preference": Looks("share", "higher", "weight on speech over what chance would put there"),
    "silence_leakage": Looks("share", "lower", "weight where nobody speaks"),
    "coverage": Looks("share", "higher", "frames with speech that some token looks at"),
    "energy_at_peak": Looks(
        "share", "higher", "how loud it is where the token looks most: share of the frames that are quieter", recommended=True
    ),
    "concentration": Looks("share", "higher", "how narrowly a token looks: 1 at one frame, 0 at all alike"),
    "focus_rate": Looks("share", "higher", "the largest weight of a token"),
}
"""Every figure that needs no true times. Those that are not recommended a wrong map can have as good as a right one."""


@dataclass(frozen=True, slots=True)
class HeadScore:
    """What the attention of one head is worth as an alignment; means over the clips.

    Attributes:
        layer: which.
        head: which.
        role: what its rows do (:class:`voxray.measures.heads.Heads`), most often; of the encoder where there is a decoder: None.
        stable: whether at least 80 % of the clips show that role; None of a single clip.
        pointing: share of the tokens whose largest weight lies within 60 ms of them.
        spread: standard deviation of ``pointing`` over the clips; None of a single clip.
        agreement: seconds from the centre of a token's weight to its emission.
        order: Kendall's tau of tokens and centres.
        prompts: share of the weight that goes to the prompt rows.
        leakage: share of the weight where nobody speaks.
    """

    layer: int
    head: int
    role: Role | None
    stable: bool | None
    pointing: float | None
    spread: float | None
    agreement: float | None
    order: float | None
    prompts: float | None
    leakage: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one alignment is.

    Attributes:
        audio: name of the sound.
        model: name of the model.
        view: what was judged, in a few words.
        tokens: how many.
        figures: by the names of :data:`QUALITY_FIGURES`; None where a figure cannot be told.
        chance: the same figures of a map without knowledge: the same everywhere, its largest weight at any frame.
        boundaries: of the words' times against the true ones; None without those, or where no word came out right.
        recall: share of all true starts and ends that were found within 50 ms, those of words that came out wrong being missed.
        spoken: how many words are true; 0 where that is not known.
    """

    audio: str
    model: str
    view: str
    tokens: int
    figures: Mapping[str, float | None]
    chance: Mapping[str, float | None]
    boundaries: Boundaries | None = None
    recall: float | None = None
    spoken: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told | {"units": {name: looks.unit for name, looks in QUALITY_FIGURES.items()}}


def quality(
    trace: Trace,
    view: AttentionView | None = None,
    *,
    words: Sequence[Timed] = (),
    method: str | None = None,
    model: Explainable | None = None,
) -> Quality:
    """Judge an alignment of a recognition.

    Args:
        trace: of a sound of any length.
        view: which attention, and how heads are put together; None for the mean of all.
        words: the true words: text, start and end in seconds.
        method: a way to explain, whose maps of all tokens are judged in place of attention; needs ``model``.
        model: that made the trace.

    Raises:
        OptionError: when the layer, head or method does not exist, or a method is named without its model.
    """
    if method is not None and model is None:
        raise OptionError("a method asks the model again; give the model that made the trace")
    parts = [trace.piece(index) for index in range(len(trace.pieces))]
    found: list[tuple[int, dict[str, float]]] = []
    chance: list[tuple[int, dict[str, float]]] = []
    for part in parts:
        if not part.tokens:
            continue
        weights = attended(part, view) if method is None else relevance_of(part, method, model)
        found.append((len(part.tokens), looks_of(part, weights)))
        chance.append((len(part.tokens), by_chance(part)))
    times = _times(trace, checked_words(words, trace.audio.duration)) if words else None
    return Quality(
        audio=trace.audio.name,
        model=trace.model.name,
        view=f"relevance by {method}" if method else f"attention, {view or AttentionView()}",
        tokens=len(trace.tokens),
        figures=_together(found),
        chance=_together(chance),
        boundaries=None if times is None else boundaries.evaluate(*times),
        recall=None if times is None else float((np.abs(times[0] - times[1]) <= NEAR + 1e-9).sum() / (2 * len(words))),
        spoken=len(words),
    )


def head_atlas(model: Recogniser, sounds: Sequence[Any], *, language: str = "auto") -> tuple[HeadScore, ...]:
    """Return what each head is worth as an alignment, over some clips, best pointing first.

    Args:
        model: an open model.
        sounds: paths, bytes, arrays or ``Audio``; clips without a word are left out.
        language: prompt.

    Raises:
        OptionError: when no clip has a word.
    """
    rows, roles = [], []
    for source in sounds:
        trace = model.trace(source, language)
        for index in range(len(trace.pieces)):
            part = trace.piece(index)
            if part.tokens:
                rows.append(_head_rows(part))
                roles.append(None if part.decoder is not None else measured(part)[0].roles)
    if not rows:
        raise OptionError("none of the clips has a word, so no head can align any; give sounds in which something is said")
    values = {name: np.array([one[name] for one in rows]) for name in rows[0]}
    layers, heads = values["pointing"].shape[1:]
    scores = [_head(values, roles, layer, head) for layer in range(layers) for head in range(heads)]
    return tuple(sorted(scores, key=lambda one: -(one.pointing or 0.0)))


def looks_of(part: Trace, weights: Float64Array) -> dict[str, float]:
    """Return the figures of a map from tokens to frames (U, T) of a trace of one piece; NaN where one cannot be told."""
    times, speech = part.times, _speech(part)
    emissions, spans = _emissions(part), np.array([(token.start, token.end) for token in part.tokens])
    loud = _loudness(part)
    peaks = weights.argmax(axis=-1)
    varies = weights.max(axis=-1) > weights.min(axis=-1)
    quieter = (loud[None] < loud[peaks][:, None]).mean(axis=1) + 0.5 * (loud[None] == loud[peaks][:, None]).mean(axis=1)
    near = (times[peaks] >= spans[:, 0] - SLACK) & (times[peaks] <= spans[:, 1] + SLACK)
    return {
        "order": float(alignment.order(weights)),
        "monotonicity": float(alignment.monotonicity(weights)),
        "diagonality": float(alignment.diagonality(weights)),
        "agreement": float(alignment.emission_distance(weights, times, emissions)),
        "pointing": float((near & varies).mean()),
        "speech_preference": float(alignment.speech_preference(weights, speech)) if speech.any() else math.nan,
        "silence_leakage": float(alignment.silence_leakage(weights, speech)),
        "coverage": float(alignment.coverage(weights, speech)),
        "energy_at_peak": float(quieter[varies].mean()) if varies.any() else math.nan,
        "concentration": float(alignment.concentration(weights)),
        "focus_rate": float(alignment.focus_rate(weights)),
    }


def by_chance(part: Trace) -> dict[str, float]:
    """Return the figures of a map that is the same everywhere; its largest weight is as likely at one frame as at another."""
    found = looks_of(part, np.ones((len(part.tokens), len(part.times))))
    near = [((part.times >= token.start - SLACK) & (part.times <= token.end + SLACK)).mean() for token in part.tokens]
    return found | {"pointing": float(np.mean(near)), "energy_at_peak": 0.5, "order": 0.0}


def _together(parts: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float | None]:
    """Return the means over pieces, weighted by their tokens."""
    result: dict[str, float | None] = {}
    for name in QUALITY_FIGURES:
        known = [(count, figures[name]) for count, figures in parts if not math.isnan(figures[name])]
        total = sum(count for count, _ in known)
        result[name] = round(sum(count * value for count, value in known) / total, 6) if total else None
    return result


def attended(part: Trace, view: AttentionView | None) -> Float64Array:
    """Return the attention of every token on the frames of a piece, (U, T); rows of tags are left out."""
    return np.asarray(attention_map(part, replace(view or AttentionView(), tags=False)).values, np.float64)


def relevance_of(part: Trace, method: str, model: Explainable | None) -> Float64Array:
    """Return the positive relevance of every token on the frames of a piece, (U, T)."""
    assert model is not None
    found = explain(model, part, [f"token:{index}" for index in range(len(part.tokens))], method=method)
    hop = part.times[1] - part.times[0] if len(part.times) > 1 else part.features[0].hop
    edges = np.append(part.times - hop / 2, part.times[-1] + hop / 2)
    maps = [[one.between(float(a), float(b)) for a, b in pairwise(edges)] for one in found]
    return np.maximum(np.array(maps, np.float64), 0.0)


def _speech(part: Trace) -> npt.NDArray[np.bool_]:
    """Return whether somebody speaks at each frame, (T,)."""
    times, result = part.times, np.zeros(len(part.times), np.bool_)
    for start, end in vad.voice_segments(part.audio):
        result |= (times >= start) & (times < end)
    return result


def _loudness(part: Trace) -> Float64Array:
    """Return the energy of the sound around each frame in dB, (T,): of a window as wide as the frames are apart."""
    times, samples, rate = part.times, part.audio.samples.astype(np.float64), part.audio.sample_rate
    half = max(1, round((times[1] - times[0] if len(times) > 1 else part.features[0].hop) * rate / 2))
    sums = np.concatenate([[0.0], np.cumsum(samples**2)])
    first = (times * rate).round().astype(int).clip(0, len(samples))
    stop, first = (first + half).clip(0, len(samples)), (first - half).clip(0, len(samples))
    return np.asarray(10 * np.log10((sums[stop] - sums[first]) / np.maximum(stop - first, 1) + 1e-12))


def _emissions(part: Trace) -> Float64Array:
    """Return when each token of a trace of one piece was emitted, (U,) seconds."""
    if part.decoder is not None:
        return np.asarray(part.times[part.occupancy().argmax(axis=1)])
    return part.times[[token.peak - part.pieces[0].prompts for token in part.tokens]]


def _times(trace: Trace, words: Sequence[Timed]) -> tuple[Float64Array, Float64Array]:
    """Return the times found and true of the words that were recognised right, (n, 2) each; of several tokens first to last."""
    heard = heard_words(trace, [text for text, _, _ in words])
    pairs = [(own, (start, end)) for own, (_, start, end) in zip(heard, words, strict=True) if own is not None]
    found = [(trace.tokens[first].start, trace.tokens[stop - 1].end) for (first, stop), _ in pairs]
    return np.array(found, np.float64).reshape(-1, 2), np.array([true for _, true in pairs], np.float64).reshape(-1, 2)


def _head_rows(part: Trace) -> dict[str, Float64Array]:
    """Return, of a trace of one piece, the figures of each head, (L, H) each."""
    told = part.token_attention()
    weights, times = np.asarray(told.values, np.float64), part.times
    spans = np.array([(token.start, token.end) for token in part.tokens])
    peaks = times[weights.argmax(axis=-1)]
    near = (peaks >= spans[:, 0] - SLACK) & (peaks <= spans[:, 1] + SLACK)
    varies = weights.max(axis=-1) > weights.min(axis=-1)
    return {
        "pointing": (near & varies).mean(axis=-1),
        "agreement": alignment.emission_distance(weights, times, _emissions(part)),
        "order": alignment.order(weights),
        "prompts": np.asarray(told["prompt_mass"].values, np.float64).mean(axis=-1),
        "leakage": alignment.silence_leakage(weights, _speech(part)),
    }


def _head(values: Mapping[str, Float64Array], roles: Sequence[list[list[Role]] | None], layer: int, head: int) -> HeadScore:
    """Return one head of the atlas from the figures of all clips, (clips, L, H) each."""
    said = [one[layer][head] for one in roles if one is not None]
    counts = Counter(said)
    role = counts.most_common(1)[0][0] if said else None
    means = {name: _mean(array[:, layer, head]) for name, array in values.items()}
    several = len(values["pointing"]) > 1
    return HeadScore(
        layer=layer,
        head=head,
        role=role,
        stable=counts[role] >= SURE * len(said) if role is not None and len(said) > 1 else None,
        spread=float(values["pointing"][:, layer, head].std(ddof=1)) if several else None,
        **means,
    )


def _mean(values: Float64Array) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None


def checked_words(words: Sequence[Timed], duration: float) -> Sequence[Timed]:
    """Return true words after checking that their times are those of the sound.

    Raises:
        OptionError: when one ends before it starts, or after the sound.
    """
    for text, start, end in words:
        if not 0 <= start <= end:
            raise OptionError(f"the word {text!r} is said to last from {start} to {end} s; give start and end in seconds")
        if end > duration + 1.0:
            raise OptionError(f"the word {text!r} ends at {end:g} s, after the sound ({duration:.2f} s); are the times in seconds?")
    return words
