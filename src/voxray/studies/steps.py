"""One recognition in numbers: what attention, emissions and sound were like, and a small picture of the attention.

Conventions: how wide attention is (entropy, focus, prompt mass) is measured of every head and averaged, since the mean of narrow
heads is wide; where it goes (coverage, leakage, order, distance) is measured of the mean over layers and heads. Of a model with
many layers eight are looked at, evenly spread. A figure that cannot be told (prompt mass of a model without prompts) is NaN, and
``None`` in JSON. These are views of the model: a map with good figures can still be wrong.

**Source:** ``voxray.measures.alignment``, where each figure has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray import vad
from voxray.measures import alignment
from voxray.sounds import local_snr
from voxray.types import FloatArray, OptionError, frozen

if TYPE_CHECKING:
    from voxray.studies.drift import Drift
    from voxray.trace import Trace

Float64Array = npt.NDArray[np.float64]
Span = tuple[float, float]

STATISTICS: Mapping[str, str] = {
    "entropy": "bits",
    "focus": "share",
    "prompt_mass": "share",
    "coverage": "share",
    "silence_leakage": "share",
    "monotonicity": "share",
    "agreement": "s",
    "confidence": "probability",
    "least_confidence": "probability",
    "margin": "nats",
    "blank_ratio": "share",
    "tokens_per_second": "1/s",
    "snr": "dB",
    "duration": "s",
}
"""What is measured at every step, with its unit, in the order to show it.

``entropy``: how widely a token's attention spreads; ``focus``: its largest weight; ``prompt_mass``: what goes to the prompt rows;
``coverage``: frames with speech that are looked at; ``silence_leakage``: what goes to frames without; ``monotonicity``: tokens in
the order of their attention; ``agreement``: from the centre of a token's attention to where it was emitted (0 agrees);
``confidence``: mean of the tokens; ``least_confidence``: of the least certain; ``margin``: over the runner-up, at the lowest tenth;
``blank_ratio``: frames that emit nothing; ``snr``: of the sound by its own valleys; ``duration``: of the sound.
"""
MOST_LAYERS = 8
TALL, WIDE = 32, 96
"""Cells of the small picture at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a monitor keeps of one recognition.

    Attributes:
        index: 0, 1, 2, ... over the life of the monitor.
        name: of the sound.
        text: what was recognised.
        tokens: their texts; the rows of the attention.
        start: of the sound, seconds.
        end: of the sound, seconds.
        tags: label by kind: language, emotion, event, textnorm.
        statistics: by the names of ``STATISTICS``, NaN where it cannot be told.
        thumbnail: (at most 32, at most 96) float32, attention from tokens to time, the mean over layers and heads.
        settled: whether the recognition is final; of partial ones drift is not judged.
        model: SHA-256 of the model's files; empty where it is not known.
        drift: the check for drift that was made at this step; None where none was due.
    """

    index: int
    name: str
    text: str
    tokens: tuple[str, ...]
    start: float
    end: float
    tags: Mapping[str, str]
    statistics: Mapping[str, float]
    thumbnail: FloatArray
    settled: bool = True
    model: str = ""
    drift: Drift | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "thumbnail", frozen(self.thumbnail, np.float32, "U T", "Step.thumbnail"))

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the picture as JSON can hold it."""
        named = ("index", "name", "text", "start", "end", "settled")
        return {name: getattr(self, name) for name in named} | {
            "tokens": list(self.tokens),
            "tags": dict(self.tags),
            "statistics": {name: None if math.isnan(value) else value for name, value in self.statistics.items()},
            "drift": None if self.drift is None else self.drift.to_dict(),
        }


def chosen_layers(count: int) -> list[int]:
    """Return the layers that are looked at: all of them, or eight spread evenly, first and last among them."""
    return list(range(count)) if count <= MOST_LAYERS else np.linspace(0, count - 1, MOST_LAYERS).round().astype(int).tolist()


def steps_of(trace: Trace, *, speech: Sequence[Span] | None = None, offset: float = 0.0, settled: bool = True) -> list[Step]:
    """Return the step of each piece of a trace, numbered from 0.

    Args:
        trace: of a sound of any length.
        speech: where somebody speaks, in seconds of the trace; None finds it by voice activity.
        offset: seconds to add to the times.
        settled: whether the recognition is final.
    """
    found = []
    for index in range(len(trace.pieces)):
        one = trace.piece(index)
        span = one.pieces[0]
        weights, inside = _attention(one)
        spoken = _spoken(one) if speech is None else speech
        together = weights.mean(axis=(0, 1), dtype=np.float64) if len(weights) else np.zeros((0, weights.shape[-1]))
        found.append(
            Step(
                index=index,
                name=trace.audio.name,
                text=one.text,
                tokens=tuple(token.text for token in one.tokens),
                start=span.start + offset,
                end=span.end + offset,
                tags={tag.kind: tag.label for tag in one.tags},
                statistics=_statistics(one, weights, together, inside, spoken),
                thumbnail=thumbnail(together),
                settled=settled,
                model=trace.model.sha256,
            )
        )
    return found


def step_of_weights(
    weights: npt.ArrayLike,
    prediction: str | Sequence[str] = "",
    *,
    confidences: npt.ArrayLike | None = None,
    hop: float | None = None,
) -> Step:
    """Return the step of attention that comes without a trace.

    Args:
        weights: (L, H, U, T), (H, U, T) or (U, T), of any scale: rows are made to sum to 1.
        prediction: the text, or the texts of the tokens.
        confidences: (U,) probability of each token.
        hop: seconds between frames; without it nothing in seconds can be told.

    Raises:
        OptionError: when the arrays are of other shapes, negative or not finite.
    """
    values = np.asarray(weights, np.float64)
    if not 2 <= values.ndim <= 4 or not values.shape[-1]:
        raise OptionError(f"attention must have the shape (L, H, U, T), (H, U, T) or (U, T), got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise OptionError("attention must be finite and 0 or more, got a weight that is not")
    if hop is not None and not 0 < hop < math.inf:
        raise OptionError(f"hop must be seconds above 0, got {hop}")
    maps = values.reshape(math.prod(values.shape[:-2]), *values.shape[-2:])
    total = maps.sum(axis=-1, keepdims=True)
    maps = np.divide(maps, total, out=np.zeros_like(maps), where=total > 0)
    together = maps.mean(axis=0)
    told = _confidences(confidences, values.shape[-2])
    seconds = math.nan if hop is None else hop * values.shape[-1]
    known = {
        "entropy": _mean(alignment.entropy(maps)),
        "focus": _mean(alignment.focus_rate(maps)),
        "monotonicity": float(alignment.monotonicity(together)),
        "confidence": float(told.mean()) if len(told) else math.nan,
        "least_confidence": float(told.min()) if len(told) else math.nan,
        "tokens_per_second": alignment.token_rate(values.shape[-2], seconds) if hop else math.nan,
        "duration": seconds,
    }
    tokens = (prediction,) if isinstance(prediction, str) else tuple(prediction)
    return Step(
        index=0,
        name="attention",
        text=prediction if isinstance(prediction, str) else "".join(prediction).strip(),
        tokens=tokens if len(tokens) == values.shape[-2] else (),
        start=0.0,
        end=0.0 if hop is None else seconds,
        tags={},
        statistics={name: known.get(name, math.nan) for name in STATISTICS},
        thumbnail=thumbnail(together),
    )


def thumbnail(weights: npt.ArrayLike) -> FloatArray:
    """Return a map with at most 32 rows and 96 columns, neighbours averaged: (U, T) -> (U', T') float32."""
    values = np.asarray(weights, np.float64)
    for axis, most in ((0, TALL), (1, WIDE)):
        count = values.shape[axis]
        if count > most:
            edges = np.linspace(0, count, most + 1).round().astype(int)
            values = np.add.reduceat(values, edges[:-1], axis=axis) / np.expand_dims(np.diff(edges), 1 - axis)
    return np.asarray(values, np.float32)


def _attention(trace: Trace) -> tuple[FloatArray, FloatArray]:
    """Return the attention from tokens to frames (L, H, U, T) of some layers, and the share that went to prompts (L, H, U).

    Of a model in which no attention was found there are no layers.
    """
    count = trace.layers if trace.decoder is None else trace.decoder[0]
    if not count:
        return np.zeros((0, 0, len(trace.tokens), len(trace.times)), np.float32), np.zeros((0, 0, len(trace.tokens)), np.float32)
    found = trace.token_attention(chosen_layers(count))
    return found.values, found["prompt_mass"].values


def _statistics(
    trace: Trace, weights: FloatArray, together: Float64Array, inside: FloatArray, spoken: Sequence[Span]
) -> dict[str, float]:
    """Return the figures of a trace of one piece."""
    times, piece = trace.times, trace.pieces[0]
    speech = np.zeros(len(times), np.bool_)
    for start, end in spoken:
        speech |= (times >= start) & (times < end)
    seconds = piece.end - piece.start
    told = np.array([token.confidence for token in trace.tokens])
    prompts = piece.prompts if trace.decoder is None else 0
    return {
        "entropy": _mean(alignment.entropy(weights)),
        "focus": _mean(alignment.focus_rate(weights)),
        "prompt_mass": _mean(inside) if prompts else math.nan,
        "coverage": float(alignment.coverage(together, speech)),
        "silence_leakage": float(alignment.silence_leakage(together, speech)),
        "monotonicity": float(alignment.monotonicity(together)),
        "agreement": float(alignment.emission_distance(together, times, _emissions(trace)[: len(together)])),
        "confidence": float(told.mean()) if len(told) else math.nan,
        "least_confidence": float(told.min()) if len(told) else math.nan,
        "margin": _margin(trace),
        "blank_ratio": _blank_ratio(trace),
        "tokens_per_second": alignment.token_rate(len(trace.tokens), seconds),
        "snr": local_snr(trace.audio, piece.start, piece.end),
        "duration": seconds,
    }


def _mean(values: npt.ArrayLike) -> float:
    """Return the mean of what is there, NaN of nothing."""
    there = np.asarray(values, np.float64)
    there = there[~np.isnan(there)]
    return float(there.mean()) if len(there) else math.nan


def _emissions(trace: Trace) -> Float64Array:
    """Return when each token of a trace of one piece was emitted, (U,) seconds."""
    if not trace.tokens:
        return np.zeros(0)
    if trace.decoder is not None:
        return np.asarray(trace.times[trace.occupancy().argmax(axis=1)])
    return np.asarray(trace.times[[token.peak - trace.pieces[0].prompts for token in trace.tokens]])


def _margin(trace: Trace) -> float:
    """Return by how many nats the tokens lead their runners-up, at their lowest tenth."""
    leads = []
    for token in trace.tokens:
        others = [one.log_prob for one in token.alternatives if one.id != token.id]
        leads += [min(token.log_prob - max(others), 100.0)] if others else []
    return float(np.quantile(leads, 0.1)) if leads else math.nan


def _blank_ratio(trace: Trace) -> float:
    """Return the share of the frames that emit the blank, NaN of a model without frames in its output."""
    if trace.decoder is not None:
        return math.nan
    rows = trace.evidence[0].logits()[trace.pieces[0].prompts :]
    return float((rows.argmax(axis=1) == trace.blank).mean())


def _spoken(trace: Trace) -> list[Span]:
    """Return where somebody speaks in a trace of one piece, seconds."""
    piece = trace.pieces[0]
    runs = vad.detected_runs(vad.speech_probabilities(trace.audio.cut(piece.start, piece.end)))
    return [(piece.start + first * vad.CHUNK_SECONDS, piece.start + stop * vad.CHUNK_SECONDS) for first, stop in runs]


def _confidences(told: npt.ArrayLike | None, tokens: int) -> Float64Array:
    """Return confidences after checking that there is one a token."""
    values = np.asarray([] if told is None else told, np.float64)
    if told is not None and (values.shape != (tokens,) or not ((values >= 0) & (values <= 1)).all()):
        raise OptionError(f"confidences must be {tokens} probabilities, one a token, got {np.shape(told)}")
    return values
