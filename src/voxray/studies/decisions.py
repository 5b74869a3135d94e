"""Decision traces: for every word, token and tag, all that says how the decision came about and how firm it is.

When it was emitted, with which posterior, by which margin and over what; in which layer it was settled; which stretches of sound
carried it and how much the prompt, the place in the sound and the constants did; whether a second way to explain says the same;
and whether it stands when a little noise is added.

**Source:** the list is that of the decision trace in the study of methods (sections 6.1 to 6.6); confidence by Tsallis entropy:
Laptev and Ginsburg 2022 (arXiv 2212.08703); that agreement is a sign that an explanation can be relied on: Shen et al. 2025 (arXiv
2505.16406).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray import targets as asking
from voxray.edits import align
from voxray.explanation import explain, layer_lens, live_trace
from voxray.measures import confidence
from voxray.measures.calibration import Calibration
from voxray.methods import options_of
from voxray.sounds import with_noise
from voxray.trace import Trace
from voxray.types import FloatArray, ModelError, OptionError, Relevance, Tag, Target, Token, plain

if TYPE_CHECKING:
    from voxray.lens import Lens
    from voxray.models import Explainable

NOISE = 30.0  # dB below the speech: heard, but no reason to decide otherwise
VERSIONS = 3
AGREES = 0.5  # correlation from which two maps count as the same story
SEGMENTS = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of sound that spoke for a decision: start and end in seconds, and its relevance in logits."""

    start: float
    end: float
    score: float


@dataclass(frozen=True, slots=True)
class Rival:
    """What else could have been decided: its text, and its log posterior (of tags: among the labels of the kind) in nats."""

    text: str
    log_prob: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: a token, a word or a tag. What is of several tokens is that of the least certain one.

    Attributes:
        target: what was decided.
        time: of the emission, seconds; of a word that of its first token; None of a tag.
        log_prob: log posterior at the emission, nats; of a tag among the labels of its kind.
        margin: logits over the best other token, blank included; of a tag over the best other label.
        margin_spoken: logits over the best other token that is no blank; as ``margin`` of a tag.
        rivals: the likeliest others there, best first.
        blank: log posterior of the blank minus that of the likeliest token at the emission, nats; of a word that of the token
            where the blank came nearest. Always below 0; near 0 the token was nearly left out. None of a tag.
        tsallis: confidence by Tsallis entropy, 0 to 1.
        calibrated: probability of being right that this confidence has shown on other speech; None where that is not known.
        layer: from which on the decision stands, counted from 0; ``layers`` where it does not stand even in the last.
        layers: of the model.
        segments: what spoke for it most, largest first.
        parts: what no stretch of sound carried, in logits: prompt, position, bias.
        agreement: correlation over time of the exact relevance with another method's map; None where none was asked. Below 0.5
            the two tell different stories, and neither map should be leaned on.
        held: in how many noisy versions of the sound the decision stands.
        versions: of how many.
    """

    target: Target
    time: float | None
    log_prob: float
    margin: float
    margin_spoken: float
    rivals: tuple[Rival, ...]
    blank: float | None
    tsallis: float
    calibrated: float | None
    layer: int
    layers: int
    segments: tuple[Segment, ...]
    parts: dict[str, float]
    agreement: float | None
    held: int
    versions: int

    @property
    def probability(self) -> float:
        """Posterior probability, 0 to 1."""
        return float(np.exp(self.log_prob))

    @property
    def stable(self) -> bool | None:
        """Whether the decision stands in every noisy version; None where none was asked."""
        return self.held == self.versions if self.versions else None

    @property
    def explained(self) -> bool | None:
        """Whether both methods tell the same story of where the decision came from; None where only one was asked."""
        return None if self.agreement is None else self.agreement >= AGREES

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told | {"probability": self.probability, "stable": self.stable, "explained": self.explained}


@dataclass(frozen=True, slots=True)
class Missed:
    """A place where the blank won but a token was near: what may have been left out.

    Attributes:
        start: seconds.
        end: seconds.
        text: of the token.
        log_prob: its log posterior at its best frame, nats.
    """

    start: float
    end: float
    text: str
    log_prob: float


@dataclass(frozen=True, eq=False)
class DecisionTrace:
    """Every decision of one recognition.

    Attributes:
        trace: the recognition.
        decisions: words, tokens and tags as they were asked for.
        missed: places where a token was near but not emitted.
        method: that agreement was asked of; None where it was not.
    """

    trace: Trace
    decisions: tuple[Decision, ...]
    missed: tuple[Missed, ...]
    method: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told = {"text": self.trace.text, "decisions": [one.to_dict() for one in self.decisions], "missed": plain(self.missed)}
        return self.trace.provenance() | told | {"second_method": self.method}


def decisions(
    model: Explainable,
    source: Any,
    target: Sequence[str] | None = None,
    *,
    language: str = "auto",
    textnorm: bool = False,
    second_method: str | None = "occlusion",
    versions: int = VERSIONS,
    seed: int = 0,
) -> DecisionTrace:
    """Say of every word and tag, or of some targets, how the decision came about and how firm it is.

    Args:
        model: an open model.
        source: a trace of it, or a sound.
        target: which, as for ``explain``; None for every word and every tag.
        language: prompt for a sound.
        textnorm: prompt for a sound.
        second_method: whose map the exact relevance is held against; None saves its passes.
        versions: how many versions with noise at 30 dB below the speech must give the same; 0 saves their passes.
        seed: of the noise.

    Raises:
        OptionError: when there is no such target or method, nothing to trace, or the model has a decoder.
        TraceError: when the trace was made by another model.
    """
    if versions < 0:
        raise OptionError(f"the number of noisy versions must be 0 or more, got {versions}")
    if not {"gradients", "anatomy"} <= model.gives:
        raise OptionError(f"decision traces need gradients and layers, which {model.info.name} does not give; explain words")
    trace = live_trace(model, source, language=language, textnorm=textnorm)
    names = _default(trace) if target is None else list(target)
    if not names:
        raise OptionError(f"{trace.audio.name} holds nothing that was decided")
    exact = explain(model, trace, names)
    second: Sequence[Relevance | None] = [None] * len(names)
    if second_method:
        same_score = {"score": "margin"} if "score" in options_of(second_method) else {}
        second = explain(model, trace, names, method=second_method, **same_score)
    lenses = layer_lens(model, trace, names)
    held = _held(model, trace, [one.target for one in exact], versions, seed)
    calibration = calibration_of(model)
    rows = _Rows(trace)
    found = []
    for relevance, other, lens, count in zip(exact, second, lenses, held, strict=True):
        one = rows.decision(relevance, lens)
        found.append(
            replace(
                one,
                calibrated=float(calibration.apply(one.tsallis)) if calibration and one.target.kind != "tag" else None,
                agreement=None if other is None else agreement(relevance, other, rows.frames(relevance.target.piece)),
                held=count,
                versions=versions,
            )
        )
    return DecisionTrace(trace, tuple(found), tuple(rows.missed(model)), second_method)


def agreement(one: Relevance, other: Relevance, edges: npt.NDArray[np.float64]) -> float:
    """Return how alike two maps are over time, -1 to 1: the correlation of their frames, each averaged with its two neighbours.

    Args:
        one: a map.
        other: of the same target.
        edges: (T + 1,) seconds of the frames.

    Returns:
        0 where one of them is the same everywhere.
    """
    both = [np.convolve(np.pad(_frames(each, edges), 1, "edge"), np.full(3, 1 / 3), "valid") for each in (one, other)]
    if any(np.ptp(row) <= 1e-9 * np.abs(row).max() for row in both):
        return 0.0
    return float(np.corrcoef(both[0], both[1])[0, 1])


def _frames(relevance: Relevance, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([relevance.between(float(first), float(stop)) for first, stop in pairwise(edges)])


def top_segments(relevance: Relevance, edges: npt.NDArray[np.float64], count: int = SEGMENTS) -> tuple[Segment, ...]:
    """Return the runs of frames that speak for a decision, those of the largest sums first.

    A run is an unbroken row of frames each of which has at least a tenth of the largest frame's relevance.

    Args:
        relevance: a map.
        edges: (T + 1,) seconds of the frames.
        count: how many at most.
    """
    frames = _frames(relevance, edges)
    if not (frames > 0).any():
        return ()
    loud = np.concatenate([[False], frames >= 0.1 * frames.max(), [False]])
    starts, stops = np.flatnonzero(~loud[:-1] & loud[1:]), np.flatnonzero(loud[:-1] & ~loud[1:])
    runs = [Segment(float(edges[a]), float(edges[b]), float(frames[a:b].sum())) for a, b in zip(starts, stops, strict=True)]
    return tuple(sorted(runs, key=lambda run: -run.score)[:count])


def _default(trace: Trace) -> list[str]:
    """Return the names of every word, and of every tag that the sound decides."""
    told = ("textnorm", *(() if trace.language == "auto" else ("language",)))
    return [name for name in asking.names(trace) if not name.startswith(("token", "text@", *told)) and name != "text"]


class _Rows:
    """The output rows of a trace, one piece's at a time, read for decisions."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._pieces: dict[int, tuple[Trace, FloatArray]] = {}

    def piece(self, index: int) -> tuple[Trace, FloatArray]:
        """Return the trace of a piece and its log posteriors (N, V)."""
        if index not in self._pieces:
            part = self._trace.piece(index)
            self._pieces = {index: (part, part.log_probs)}  # of one piece at a time: they are large
        return self._pieces[index]

    def frames(self, index: int) -> npt.NDArray[np.float64]:
        """Return the edges of a piece's frames in seconds, (T + 1,)."""
        part = self._trace.features[index]
        return np.asarray(part.start + part.hop * (np.arange(len(part.values) + 1) - 0.5), np.float64)

    def decision(self, relevance: Relevance, lens: Lens) -> Decision:
        """Return what rows, relevance and lens say of a decision."""
        target = relevance.target
        part, log_probs = self.piece(target.piece)
        bare = Decision(
            target=target, time=None, log_prob=0.0, margin=0.0, margin_spoken=0.0, rivals=(), blank=None, tsallis=0.0,
            calibrated=None, layer=int(lens.commits.max()), layers=len(lens.log_probs),
            segments=top_segments(relevance, self.frames(target.piece)), parts=dict(relevance.parts), agreement=None, held=0,
            versions=0,
        )  # fmt: skip
        if target.kind == "tag":
            tag = next(one for one in part.tags if target.rows[0] == one.row)
            return _of_tag(bare, tag, log_probs[tag.row])
        tokens = [token for token in part.tokens if target.rows[0] <= token.rows[0] < target.rows[1]]
        return _of_tokens(bare, tokens, log_probs, part)

    def missed(self, model: Explainable) -> list[Missed]:
        """Return the places where a token was near but the blank won."""
        found = []
        for index, piece in enumerate(self._trace.pieces):
            part, log_probs = self.piece(index)
            edges = self.frames(index)
            for run in confidence.silent_candidates(log_probs[piece.prompts :], part.blank):
                text = model.vocabulary.text(run.token)
                if text.strip() and not text.startswith("<"):
                    found.append(Missed(float(edges[run.first]), float(edges[run.stop]), text.strip(), float(run.log_prob)))
        return found


def _of_tag(bare: Decision, tag: Tag, row: FloatArray) -> Decision:
    others = sorted(((p, label) for label, p in tag.probabilities.items() if label != bare.target.label), reverse=True)
    own = float(np.log(max(tag.probabilities[bare.target.label], 1e-30)))
    rivals = tuple(Rival(label, float(np.log(max(p, 1e-30)))) for p, label in others)
    margin = own - rivals[0].log_prob if rivals else 0.0
    return replace(
        bare, log_prob=own, margin=margin, margin_spoken=margin, rivals=rivals, tsallis=float(confidence.tsallis(row[None])[0])
    )


def _of_tokens(bare: Decision, tokens: Sequence[Token], log_probs: FloatArray, part: Trace) -> Decision:
    margins = [confidence.margin(log_probs[token.peak], token.id, part.blank) for token in tokens]
    least = min(tokens, key=lambda token: token.log_prob)
    features, prompts = part.features[0], part.pieces[0].prompts
    blanks = [float(confidence.blank_dominance(log_probs, token.peak, blank=part.blank, reach=0)[0]) for token in tokens]
    return replace(
        bare,
        time=float(features.start + features.hop * (tokens[0].peak - prompts)),
        log_prob=least.log_prob,
        margin=min(one.with_blank for one in margins),
        margin_spoken=min(one.without_blank for one in margins),
        rivals=tuple(Rival(one.text.strip(), one.log_prob) for one in least.alternatives if one.id != least.id),
        blank=max(blanks),
        tsallis=confidence.word([float(confidence.tsallis(log_probs[token.peak][None])[0]) for token in tokens]),
    )


def _held(model: Explainable, trace: Trace, targets: Sequence[Target], versions: int, seed: int) -> list[int]:
    """Return in how many noisy versions each decision stands."""
    counts = [0] * len(targets)
    for version in range(versions):
        other = model.trace(with_noise(trace.audio, NOISE, seed + version), trace.language, textnorm=trace.textnorm, layers=())
        stands = {kind: _matched(kind, trace, other) for kind in ("token", "word")}
        for place, target in enumerate(targets):
            if target.kind == "tag":
                heard = [tag.label for tag in other.tags if tag.kind == target.name.partition(":")[0].partition("@")[0]]
                counts[place] += target.piece < len(heard) and heard[target.piece] == target.label
            elif target.kind == "text":
                counts[place] += other.text == trace.text
            else:
                counts[place] += int(target.name.partition(":")[2]) in stands[target.kind]
    return counts


def _matched(kind: str, trace: Trace, other: Trace) -> set[int]:
    """Return which tokens or words of a trace come again in another, in order."""
    texts = [[one.text for one in (each.tokens if kind == "token" else each.words)] for each in (trace, other)]
    return {edit.reference_place for edit in align(*texts) if edit.kind == "hit" and edit.reference_place is not None}


def calibration_of(model: Explainable) -> Calibration | None:
    """Return what a model's confidences have meant on other speech, from ``calibration.json`` beside it; None where there is none.

    Raises:
        ModelError: when the file cannot be read.
    """
    file = Path(model.graph.path).parent / "calibration.json"
    if not file.is_file():
        return None
    try:
        return Calibration.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is no calibration ({error}); make it again or take it away") from error
