"""Questions about a sound and their answers: what ``explain`` asks, finds, and writes as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

import voxray

UNNAMED = "exact"  # the method whose options are offered where none is named
KEPT_WHOLE = 60.0  # seconds; of longer sound only the pieces that are asked about are run again for their gradients


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained, and how.

    Attributes:
        targets: as they were asked for; none for every word and tag.
        against: a rival of each target; None for the likeliest others.
        method: its name; empty for the one that suits the model.
        options: of the method; of ``exact`` where none is named.
        passes: the most passes for each piece of sound.
        seconds: the most seconds for each piece of sound.
        lens: whether to look at every layer.
    """

    targets: tuple[str, ...]
    against: str | None
    method: str
    options: Mapping[str, Any]
    passes: int | None
    seconds: float | None
    lens: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one sound gave: what was asked, its trace, the relevance of each target, and its lens where that was asked for."""

    question: Question
    trace: voxray.Trace
    relevances: Sequence[voxray.Relevance]
    lenses: Sequence[voxray.Lens]


def asked(how: Mapping[str, Any]) -> Question:
    """Return the question that options ask.

    Raises:
        OptionError: when a value of the method's options makes no sense.
        UsageError: when a rival is given without a target.
    """
    if how["against"] is not None and not how["targets"]:
        raise click.UsageError("--against needs a --target that it is to be held against, such as --target word:2.")
    if "labels" in how["kinds"]:
        if how["against"] is not None:
            raise click.UsageError("--kind labels shows every label against the others; leave out --against.")
        if how["targets"] and not any(re.match("language|emotion|event|textnorm", name) for name in how["targets"]):
            raise click.UsageError("--kind labels needs a tag, such as --target emotion.")
    named = how["method"] or UNNAMED
    options = {name: how[name] for name in voxray.methods.options_of(named)}
    voxray.methods.build(named, options)
    if not 0 < how["share"] <= 1:
        raise voxray.OptionError(f"share must lie above 0 and be at most 1, got {how['share']:g}")
    targets = tuple(dict.fromkeys(how["targets"]))
    lens = how["lens"] or "lens" in how["kinds"]
    return Question(targets, how["against"], how["method"] or "", options, how["passes"], how["seconds"], lens)


def suited(question: Question, model: Any) -> Question:
    """Return a question with the method that suits a model where none was named.

    Raises:
        OptionError: when an option was given that this method has not.
    """
    if question.method:
        return question
    method = voxray.methods.default(model)
    plain = {name: default for name, (_, default) in voxray.methods.options_of(UNNAMED).items()}
    given = {name: value for name, value in question.options.items() if value != plain[name]}
    options = question.options if method == UNNAMED else given
    voxray.methods.build(method, options)
    return replace(question, method=method, options=options)


def answered(model: Any, heard: voxray.Audio, question: Question, how: Mapping[str, Any], progress: Any) -> Answer:
    """Explain what was asked about one sound.

    Raises:
        OptionError: when there is no such target, or the sound holds no speech.
    """
    voxray.methods.check_fits(question.method, model)
    trace = model.trace(
        heard,
        how["language"],
        textnorm=how["textnorm"],
        layers=voxray.methods.kept_layers(voxray.methods.method_class(question.method).needs, model),
        gradients=question.method == "exact" and heard.duration <= KEPT_WHOLE,
        progress=progress,
    )
    targets = question.targets or every_target(trace)
    if not targets:
        raise voxray.OptionError(f"{trace.audio.name} holds no speech, so there is nothing to explain")
    relevances = voxray.explain(
        model,
        trace,
        targets,
        against=question.against,
        method=question.method,
        passes=question.passes,
        seconds=question.seconds,
        progress=progress,
        **question.options,
    )
    lenses = voxray.layer_lens(model, trace, targets, against=question.against) if question.lens else []
    return Answer(question, trace, relevances, lenses)


def every_target(trace: voxray.Trace) -> list[str]:
    """Return every word and every tag that the sound decides: a language that was told, and the text norm, are not."""
    decided = {tag.kind for tag in trace.tags} - {"textnorm", *(() if trace.language == "auto" else ("language",))}
    kinds = [kind for kind in ("language", "emotion", "event") if kind in decided]
    pieces = [f"@{index}" for index in range(len(trace.pieces))] if len(trace.pieces) > 1 else [""] * len(trace.pieces)
    return [f"word:{index}" for index in range(len(trace.words))] + [f"{kind}{piece}" for piece in pieces for kind in kinds]


def clearer(error: voxray.VoxrayError, question: Question, source: str) -> voxray.VoxrayError:
    """Return an error that says which of several sounds it is about, and which method helps where gradients do not."""
    text = str(error)
    if (
        question.method
        and isinstance(error, voxray.ModelError)
        and voxray.methods.method_class(question.method).needs in ("split", "gradients")
    ):
        text += "" if "occlusion" in text else "; a method that only asks the model still works, such as --method occlusion"
    return type(error)(text if not source or Path(source).name in text else f"{source}: {text}")


def answer_told(source: str, answer: Answer, *, every_cell: bool = False) -> dict[str, Any]:
    """Return an answer as JSON can hold it, with the relevance over time, of every word and pause, and perhaps of every cell."""
    told = []
    for one in answer.relevances:
        cut = voxray.stretches(answer.trace.words, *span_of(one))
        shares = [
            {"text": part.text, "start": part.start, "end": part.end,
             "relevance": one.between(part.start, part.end) if one.reaches(part.start, part.end) else None}
            for part in cut
        ]  # fmt: skip
        known = one.to_dict() | {"over_time": [short(value) for value in one.over_time.tolist()]}
        if not every_cell:
            del known["scores"]
        told.append(known | {"peak": peak_of(one), "stretches": shares})
    lenses = [
        {"target": one.target.title, "layers": len(one.log_probs), "decided_at": one.commits.tolist(), "ids": one.ids.tolist(),
         "log_probs": one.log_probs.tolist(), "ranks": one.ranks.tolist()}
        for one in answer.lenses
    ]  # fmt: skip
    result: dict[str, Any] = tidy({"audio": source, "text": answer.trace.text, "relevances": told, "lenses": lenses})
    return result


def short(value: float) -> float:
    """Return a number with six digits that count."""
    return float(f"{value:.6g}")


def tidy(value: Any) -> Any:
    """Return a value with its numbers as short as float32 is exact, and null for what is no number."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: tidy(one) for key, one in value.items()}
    return [tidy(one) for one in value] if isinstance(value, (list, tuple)) else value


def span_of(relevance: voxray.Relevance) -> tuple[float, float]:
    """Return start and end of a map in seconds."""
    first, last = relevance.grid.times[[0, -1]].tolist()
    return first, last


def is_own(part: voxray.Stretch, relevance: voxray.Relevance) -> bool:
    """Tell whether a stretch is the word that the target is, or is part of."""
    target = relevance.target
    return target.kind in ("word", "token") and bool(part.text) and part.start <= (target.start + target.end) / 2 < part.end


def peak_of(relevance: voxray.Relevance) -> float | None:
    """Return the middle of the cell with the most relevance for its length, in seconds; None where nothing speaks for it."""
    edges = relevance.grid.times
    rates = [value / width if value > 0 else 0.0 for value, width in zip(relevance.over_time, edges[1:] - edges[:-1], strict=True)]
    top = max(rates)
    return float(relevance.grid.centres[rates.index(top)]) if top > 0 else None
