"""Why was it wrong: one clip's mistakes with the sound behind each, what caused it, and the record of all that.

A record is plain JSON: what the report, the exports, comparisons of runs and gates read. Its fields are written out in
``docs/records.md``.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.alignment import is_spoken
from voxray.edits import Comparison, align, compare
from voxray.explanation import live_trace
from voxray.measures import confidence
from voxray.studies.causes import Cause, Smallest, causes_of, smallest_edit
from voxray.studies.decisions import calibration_of
from voxray.studies.errors import Beyond, Diagnosis, Mistake, diagnose, evidence, letter_owners, surroundings
from voxray.texts import Normalisation, Unit, units
from voxray.trace import Trace
from voxray.types import ModelError, OptionError, Relevance, Word, plain

if TYPE_CHECKING:
    from voxray.measures.calibration import Calibration
    from voxray.models import Explainable

CARRIED = 0.5  # share of a map's absolute relevance that its spans hold
FRAME = 0.06  # seconds; a frame of the model: finer cells only say how a frame's own relevance is spread
NEAR = 0.05  # seconds; a word that starts within counts as well placed


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked of every clip.

    Attributes:
        language: prompt; of a corpus ``manifest`` takes what each clip's line says, or else ``auto``.
        textnorm: prompt of text normalisation.
        unit: what counts as one error; None for what the language asks for.
        normalisation: of both texts; None for what the language asks for.
        evidence: whether to say which sound spoke for each mistake.
        causes: whether to test what caused each mistake.
        seconds: the most that the tests of one mistake may take; None for no limit.
        seed: of the random numbers.
    """

    language: str = "auto"
    textnorm: bool = False
    unit: Unit | None = None
    normalisation: Normalisation | None = None
    evidence: bool = True
    causes: bool = True
    seconds: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Clip:
    """One sound and what is known of it.

    Attributes:
        sound: a path, bytes, array, ``Audio`` or trace.
        reference: the right text; None where it is not known.
        language: prompt; None for that of the inquiry.
        beyond: the longer recording around the sound, where there is one.
        wanted: the right labels by kind of tag.
        words: the true words, each with start and end in seconds.
    """

    sound: Any
    reference: str | None = None
    language: str | None = None
    beyond: Beyond | None = None
    wanted: Mapping[str, str] = field(default_factory=dict)
    words: Sequence[tuple[str, float, float]] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One mistake, explained.

    Attributes:
        mistake: what is wrong.
        relevance: which sound spoke for the recognised words rather than the right ones; None where that was not asked or the
            right words cannot compete.
        causes: every cause that was looked at, the named one first.
        smallest: the cheapest change of the sound that puts the mistake right; None where none of those tried does.
    """

    mistake: Mistake
    relevance: Relevance | None = None
    causes: tuple[Cause, ...] = ()
    smallest: Smallest | None = None

    @property
    def cause(self) -> str | None:
        """The cause that an experiment proved; None where the mistake stays unexplained."""
        return next((one.cause for one in self.causes if one.named), None)


@dataclass(frozen=True, slots=True, eq=False)
class Why:
    """Why one sound came out as it did.

    Attributes:
        diagnosis: the recognition against the right text.
        findings: one for each mistake, in order of time.
        notes: what could not be told, one sentence each.
        seconds: spent, by what they were spent on.
    """

    diagnosis: Diagnosis
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def trace(self) -> Trace:
        """The recognition."""
        return self.diagnosis.trace

    @property
    def comparison(self) -> Comparison:
        """Recognised and right text, aligned."""
        return self.diagnosis.comparison

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told = _recognised(self.trace, calibration_of(self.diagnosis.model))
        for word, right in zip(told["words"], self.diagnosis.right_words, strict=True):
            word["right"] = right
        return told | _against(self) | {"notes": list(self.notes), "seconds": dict(self.seconds)}


def why(
    model: Explainable, source: Any, reference: str, inquiry: Inquiry | None = None, *, beyond: Beyond | None = None, **asked: Any
) -> Why:
    """Say what is wrong in a recognition, which sound was behind it, and what caused it.

    Args:
        model: an open model.
        source: a trace, or a sound: a path, bytes, file object, array or ``Audio``.
        reference: the right text.
        inquiry: what to ask; None for everything.
        beyond: the longer recording that the sound was cut from, so that its edges can be tested.
        **asked: fields of :class:`Inquiry`, in place of one.

    Raises:
        AudioError: when the sound cannot be read.
        OptionError: when an option does not exist, or the right text is none.
        TraceError: when the trace was made by another model.
    """
    how = inquiry or _inquiry(asked)
    begun = time.perf_counter()
    trace = live_trace(model, source, language=how.language, textnorm=how.textnorm)
    recognised = time.perf_counter()
    diagnosis = diagnose(model, trace, reference, unit=how.unit, normalisation=how.normalisation)
    relevances, notes = _evidence(diagnosis) if how.evidence else ([None] * len(diagnosis.mistakes), ())
    shown = time.perf_counter()
    findings = []
    for mistake, relevance in zip(diagnosis.mistakes, relevances, strict=True):
        if not how.causes:
            findings.append(Finding(mistake, relevance))
            continue
        scene = diagnosis.scene(mistake, beyond)
        causes = causes_of(scene, seed=how.seed, seconds=how.seconds)
        findings.append(Finding(mistake, relevance, causes, smallest_edit(scene, seed=how.seed, seconds=how.seconds)))
    spent = {"recognition": recognised - begun, "evidence": shown - recognised, "causes": time.perf_counter() - shown}
    return Why(diagnosis, tuple(findings), notes, {name: round(value, 4) for name, value in spent.items()})


def _evidence(diagnosis: Diagnosis) -> tuple[list[Relevance | None], tuple[str, ...]]:
    """Return the evidence for each mistake; where the file's gradients cannot be taken, a note says why and the rest goes on."""
    try:
        return evidence(diagnosis), ()
    except ModelError as error:
        return [None] * len(diagnosis.mistakes), (str(error),)


def _inquiry(asked: Mapping[str, Any]) -> Inquiry:
    known = Inquiry.__dataclass_fields__
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise OptionError(f"why has no option {unknown[0]!r}; it has {', '.join(known)}")
    return Inquiry(**asked)


def examine(model: Explainable, clip: Clip, inquiry: Inquiry) -> dict[str, Any]:
    """Return the record of one clip of a corpus.

    Args:
        model: an open model.
        clip: the sound and what is known of it.
        inquiry: what to ask.

    Raises:
        AudioError: when the sound cannot be read.
        OptionError: when an option does not exist.
    """
    language = clip.language or inquiry.language
    begun = time.perf_counter()
    trace = model.trace(clip.sound, language, textnorm=inquiry.textnorm, layers=())
    spent = time.perf_counter() - begun
    if clip.reference is None:
        nothing = dict.fromkeys(("reference", "errors", "edits")) | {"mistakes": [], "notes": []}
        told = _recognised(trace, calibration_of(model)) | nothing | {"seconds": {}}
    else:
        told = why(model, trace, clip.reference, inquiry, beyond=clip.beyond).to_dict()
    told["seconds"]["recognition"] = round(spent, 4)
    for tag in told["tags"]:
        tag["wanted"] = clip.wanted.get(tag["kind"])
    told["alignment"] = _word_starts(trace, clip.words) if clip.words else None
    return told


# --- The record ----------------------------------------------------------------------------------------------------------


def _recognised(trace: Trace, calibration: Calibration | None) -> dict[str, Any]:
    """Return what a recognition says without a right text."""
    tokens = _token_confidences(trace)
    words = [_word(word, _spoken(trace, word, tokens), calibration) for word in trace.words]
    sure = [word["confidence"] for word in words]
    return {
        "duration": round(trace.audio.duration, 3),
        "language": trace.language,
        "textnorm": trace.textnorm,
        "model": plain(trace.model),
        "text": trace.text,
        "rich_text": trace.rich_text,
        "tags": [
            {
                "kind": t.kind,
                "label": t.label,
                "probability": round(t.probability, 4),
                "start": t.start,
                "end": t.end,
                "wanted": None,
            }
            for t in trace.tags
        ],
        "words": words,
        "confidence": {"mean": round(sum(sure) / len(sure), 4), "least": min(sure)} if sure else None,
    }


def _spoken(trace: Trace, word: Word, tokens: Sequence[float]) -> list[float]:
    """Return the confidences of a word's tokens, punctuation left out."""
    return [tokens[index] for index in range(*word.tokens) if is_spoken(trace.tokens[index].text)]


def _word(word: Word, tokens: Sequence[float], calibration: Calibration | None) -> dict[str, Any]:
    """Return a word; ``tokens`` are the confidences of its own."""
    value = confidence.word(tokens)
    return {
        "text": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.confidence, 4),
        "log_prob": round(word.log_prob, 4),
        "tsallis": round(value, 4),
        "calibrated": None if calibration is None else round(float(calibration.apply(value)), 4),
        "right": None,
    }


def _token_confidences(trace: Trace) -> list[float]:
    """Return the Tsallis confidence of every token at its emission."""
    found: list[float] = []
    for index, _piece in enumerate(trace.pieces):
        part = trace.piece(index)
        rows = part.evidence[0].logits()[[token.peak for token in part.tokens]]
        top = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
        found += confidence.tsallis(top - np.log(np.exp(top).sum(axis=1, keepdims=True))).tolist() if len(rows) else []
    return found


def _against(told: Why) -> dict[str, Any]:
    """Return what a comparison with the right text says."""
    diagnosis, comparison = told.diagnosis, told.comparison
    inside = {index: number for number, one in enumerate(diagnosis.mistakes) for index in range(*one.edits)}
    edits = [
        {
            "kind": edit.kind,
            "reference": edit.reference,
            "recognised": edit.recognised,
            "start": round(start, 3),
            "end": round(end, 3),
            "mistake": inside.get(index),
        }
        for index, (edit, (start, end)) in enumerate(zip(comparison.edits, diagnosis.spans, strict=True))
    ]
    return {
        "reference": diagnosis.reference,
        "errors": _errors(diagnosis),
        "edits": edits,
        "mistakes": [_finding(diagnosis, one) for one in told.findings],
    }


def _errors(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the error counts; of Korean by character with those by word beside them."""
    comparison, trace = diagnosis.comparison, diagnosis.trace
    other = None
    if comparison.unit == "character" and " " in diagnosis.reference.strip() and _is_korean(diagnosis.reference):
        other = _counts(compare(diagnosis.reference, trace.text, unit="word", normalisation=comparison.normalisation))
    return _counts(comparison) | {"other": other}


def _is_korean(text: str) -> bool:
    return any("\uac00" <= letter <= "\ud7a3" for letter in text)


def _counts(comparison: Comparison) -> dict[str, Any]:
    names = ("hits", "substitutions", "deletions", "insertions", "length")
    rate = comparison.rate
    return {"unit": comparison.unit, "normalisation": comparison.normalisation.title} | {
        name: getattr(comparison, name) for name in names
    } | {"rate": None if rate is None else round(rate, 6)}  # fmt: skip


def _finding(diagnosis: Diagnosis, finding: Finding) -> dict[str, Any]:
    mistake = finding.mistake
    odds = mistake.log_odds
    return {
        "kind": mistake.kind,
        "reference": mistake.reference,
        "recognised": mistake.recognised,
        "start": round(mistake.start, 3),
        "end": round(mistake.end, 3),
        "tokens": list(mistake.tokens),
        "log_odds": None if odds is None or not math.isfinite(odds) else round(odds, 3),
        "rank": mistake.rank,
        **surroundings(diagnosis, mistake),
        "evidence": None if finding.relevance is None else _spans(finding.relevance, mistake),
        "causes": [one.to_dict() for one in finding.causes],
        "cause": finding.cause,
        "smallest_edit": None if finding.smallest is None else finding.smallest.to_dict(),
    }


def _spans(relevance: Relevance, mistake: Mistake) -> dict[str, Any]:
    """Return the stretches of sound that decided a contrast: those cells that hold half of all relevance, run by run."""
    edges = np.arange(relevance.grid.times[0], relevance.grid.times[-1] + FRAME, FRAME)
    cells = np.array([relevance.between(float(a), float(b)) for a, b in itertools.pairwise(edges)])
    sizes = np.abs(cells)
    order = np.argsort(-sizes, kind="stable")
    held = np.cumsum(sizes[order])
    kept = np.zeros(len(cells), np.bool_)
    if len(held) and held[-1] > 0:
        kept[order[: int(np.searchsorted(held, CARRIED * held[-1])) + 1]] = True
    signs = np.where(kept, np.sign(cells), 0.0)
    cuts = [0, *(np.flatnonzero(np.diff(signs)) + 1).tolist(), len(cells)]
    spans = [
        {"start": round(float(edges[a]), 3), "end": round(float(edges[b]), 3), "score": round(float(cells[a:b].sum()), 4)}
        for a, b in itertools.pairwise(cuts)
        if b > a and kept[a]
    ]
    middle = (edges[:-1] + edges[1:]) / 2
    inside = sizes[(middle >= mistake.start) & (middle <= mistake.end)].sum()
    total = float(sizes.sum())
    return {
        "method": relevance.method,
        "unit": relevance.unit,
        "spans": spans,
        "share_inside": round(float(inside) / total, 4) if total > 0 else None,
    }


def _word_starts(trace: Trace, words: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """Return how far the starts of the words recognised right lie from the true ones.

    The true words are aligned with what was recognised by letters, since a word of the truth can be several of the trace; a word
    counts where its first letter was recognised right, and there its token starts.
    """
    how = Normalisation()
    whole: list[str] = []
    starts: dict[int, float] = {}  # of the letters that a word begins with
    for text, start, _ in words:
        own = [unit.text for unit in units(text, "character", how)]
        if own:
            starts[len(whole)] = start
        whole += own
    heard = units(trace.text, "character", how)
    owners = letter_owners(trace)
    errors = [
        trace.tokens[owners[heard[edit.recognised_place].start]].start - starts[edit.reference_place]
        for edit in align(whole, [unit.text for unit in heard])
        if edit.kind == "hit" and edit.recognised_place is not None and edit.reference_place in starts
    ]
    if not errors:
        return {"start_median": None, "start_within_50ms": None, "words": 0, "errors": []}
    sizes = np.abs(errors)
    return {
        "start_median": round(float(np.median(errors)), 4),
        "start_within_50ms": round(float((sizes <= NEAR).mean()), 4),
        "words": len(errors),
        "errors": [round(error, 4) for error in errors],
    }
