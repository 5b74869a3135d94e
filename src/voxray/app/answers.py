"""What the page shows, as plain data: every number in it is the library's.

Arrays go as base64 of little-endian integers with their scale beside them, so that a spectrogram of a minute stays small.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import voxray

Payload = dict[str, Any]
ATTENTION = "attention"
WAVE_COLUMNS = 1200
STEPS = 32767
ENERGY = (4.0, 99.7)  # percentiles of log energy drawn as white and black


def packed(values: npt.ArrayLike) -> Payload:
    """Return an array as int16 with its scale: ``data * scale`` are the values."""
    array = np.nan_to_num(np.asarray(values, np.float64))
    scale = float(np.abs(array).max(initial=0.0)) / STEPS
    steps = np.rint(array / scale if scale else array).astype("<i2")
    return {"data": base64.b64encode(steps.tobytes()).decode("ascii"), "shape": list(array.shape), "scale": scale}


# --- What was recognised ----------------------------------------------------------------------------------------------------


def heard(trace: voxray.Trace, sound: str) -> Payload:
    """Return a recognition: text, words, tokens and tags, each with the name by which it can be asked about; waveform, spectrogram.

    Args:
        trace: what was recognised.
        sound: the address of the sound.
    """
    model = trace.model
    return {
        "sound": sound,
        "name": trace.audio.name,
        "duration": trace.audio.duration,
        "text": trace.text,
        "rich_text": trace.rich_text,
        "model": f"{model.name} ({model.layout}, {model.precision})",
        "words": [_spoken(f"word:{index}", word) for index, word in enumerate(trace.words)],
        "tokens": [
            _spoken(f"token:{index}", token)
            | {"alternatives": [[one.text, float(np.exp(one.log_prob))] for one in token.alternatives]}
            for index, token in enumerate(trace.tokens)
        ],
        "tags": tags(trace),
        "wave": wave(trace.audio),
        "mel": spectrogram(trace.audio),
    }


def _spoken(target: str, one: voxray.Word | voxray.Token) -> Payload:
    return {"target": target, "text": one.text, "start": one.start, "end": one.end, "confidence": one.confidence}


def tags(trace: voxray.Trace) -> list[Payload]:
    """Return the tags of every piece, with the probability of every label."""
    return [
        {
            "target": tag.kind if len(trace.pieces) == 1 else f"{tag.kind}@{index}",
            "kind": tag.kind,
            "label": tag.label,
            "probability": tag.probability,
            "probabilities": dict(sorted(tag.probabilities.items(), key=lambda one: -one[1])),
            "start": tag.start,
            "end": tag.end,
        }
        for index, piece in enumerate(trace.pieces)
        for tag in trace.tags
        if piece.rows[0] <= tag.row < piece.rows[1]
    ]


def wave(audio: voxray.Audio) -> Payload:
    """Return the least and greatest sample of each of at most 1200 columns, (columns, 2)."""
    samples = audio.samples
    edges = np.linspace(0, len(samples), min(WAVE_COLUMNS, len(samples)) + 1).astype(np.int64)[:-1]
    return packed(np.stack([np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)], axis=1))


def spectrogram(audio: voxray.Audio) -> Payload | None:
    """Return the log mel energies as the front-end computes them, as 256 greys; None of a sound too short for one frame."""
    try:
        bank = voxray.log_mel(audio)
    except voxray.VoxrayError:
        return None
    if not len(bank.values):
        return None
    low, high = np.percentile(bank.values, ENERGY)
    greys = np.clip((bank.values - low) / max(float(high - low), 1e-9), 0, 1) * 255
    return {
        "data": base64.b64encode(greys.astype(np.uint8).tobytes()).decode("ascii"),
        "frames": len(bank.values),
        "bands": bank.values.shape[1],
        "hop": bank.hop,
        "start": bank.start - bank.hop / 2,
    }


# --- The sound behind a decision --------------------------------------------------------------------------------------------


def piece_of(trace: voxray.Trace, target: str) -> int:
    """Return in which piece of a long sound a target lies."""
    kind, _, index = target.partition(":")
    if kind in ("word", "token"):
        tokens = [word.tokens[0] for word in trace.words] if kind == "word" else list(range(len(trace.tokens)))
        place = tokens[_index(index, len(tokens), kind)]
        return next(number for number, piece in enumerate(trace.pieces) if piece.tokens[0] <= place < piece.tokens[1])
    where = target.partition("@")[2]
    return _index(where, len(trace.pieces), "piece") if where else 0


def _index(text: str, count: int, what: str) -> int:
    if not text.isdecimal() or not int(text) < count:
        raise voxray.OptionError(f"there is no {what} {text[:20]!r} in this sound; choose one that is shown")
    return int(text)


def attention_of(trace: voxray.Trace, target: str, view: voxray.AttentionView) -> Payload:
    """Return the attention of a word, token or tag over time, as ``voxray.plot.overlay`` shows it: the largest of its rows."""
    number = piece_of(trace, target)
    kind, _, index = target.partition("@")[0].partition(":")
    part, first = trace.piece(number), trace.pieces[number].tokens[0]
    scores = voxray.attention_map(part, view)
    labels, kinds = scores["label"].values.tolist(), scores["kind"].values.tolist()
    before = kinds.count("tag")
    if kind == "word":
        tokens = trace.words[int(index)].tokens
        rows = list(range(before + tokens[0] - first, before + tokens[1] - first))
        label, start, end = trace.words[int(index)].text, trace.words[int(index)].start, trace.words[int(index)].end
    elif kind == "token":
        rows = [before + int(index) - first]
        label, start, end = trace.tokens[int(index)].text, trace.tokens[int(index)].start, trace.tokens[int(index)].end
    else:
        rows = [place for place, one in enumerate(kinds) if one == "tag" and labels[place].startswith(f"{kind}:")]
        label, start, end = kind, part.pieces[0].start, part.pieces[0].end
    if not rows:
        raise voxray.OptionError(f"this model has no attention row for {kind}; choose a word")
    values = scores.values[rows].max(axis=0)
    return {
        "kind": "amount",
        "target": target,
        "label": label.strip(),
        "span": [start, end] if kind in ("word", "token") else None,
        "cells": packed(values[None]),
        "times": _edges(scores["time"].values),
        "mels": [0.0, 80.0],
        "curve": packed(values),
        "unit": scores.attrs["unit"],
        "method": ATTENTION,
        "view": True,
        "facts": [["prompt_mass", float(np.mean(scores["prompt_mass"].values[rows]))]],
        "provenance": scores.attrs["provenance"],
        "notes": [],
    }


def _edges(centres: npt.NDArray[np.float64]) -> list[float]:
    hop = float(centres[1] - centres[0]) if len(centres) > 1 else 0.06
    return [round(float(one), 5) for one in [*(centres - hop / 2), centres[-1] + hop / 2]]


def relevance_of(found: voxray.Relevance) -> Payload:
    """Return a relevance map."""
    target = found.target
    facts: list[list[Any]] = [["score", found.score]]
    if found.adds_up:
        sound = float(found.scores.sum(dtype=np.float64))
        facts += [["sound", sound], *([name, value] for name, value in found.parts.items()), ["residual", found.residual]]
    options = ", ".join(f"{name} {value}" for name, value in found.options.items() if value is not None)
    told = [
        found.method,
        options,
        f"{found.passes} passes",
        f"{found.seconds:.2f} s",
        f"{found.model.name} ({found.model.precision})",
    ]
    return {
        "kind": "amount" if found.view and float(found.scores.min(initial=0.0)) >= 0 else "signed",
        "target": target.name,
        "label": target.label.strip(),
        "against": target.against,
        "span": [target.start, target.end] if target.kind in ("word", "token") else None,
        "cells": packed(found.scores),
        "times": [round(float(one), 5) for one in found.grid.times],
        "mels": [float(one) for one in found.grid.mels],
        "curve": packed(found.over_time),
        "unit": found.unit,
        "method": found.method,
        "view": found.view,
        "facts": facts,
        "provenance": " · ".join(filter(None, told)),
        "notes": list(found.notes),
    }


def decision_of(found: voxray.Decision) -> Payload:
    """Return how a decision came about."""
    told = found.to_dict()
    names = ("time", "probability", "margin", "margin_spoken", "blank", "tsallis", "calibrated", "layer", "layers",
             "agreement", "explained", "held", "versions", "stable", "parts")  # fmt: skip
    return {name: told[name] for name in names} | {
        "title": found.target.title,
        "kind": found.target.kind,
        "rivals": [[one.text, float(np.exp(one.log_prob))] for one in found.rivals[:6]],
        "segments": [[one.start, one.end, one.score] for one in found.segments],
    }


# --- Attention, tags --------------------------------------------------------------------------------------------------------


def heads_of(study: voxray.LanguageStudy) -> Payload:
    """Return what every head looks at, as ``compare_languages`` measures it on the one clip of a study."""
    told = study.clips[0].heads.to_dict()
    measures = {name: told[name] for name in ("near", "entropy", "distance", "offset", "prompt_mass", "self_mass", "sharpness")}
    return {"roles": told["roles"], "measures": measures, "chance": told["chance"]}


def labels_asked(trace: voxray.Trace, kind: str, number: int, most: int = 8) -> list[str]:
    """Return the labels of a kind in a piece of sound as targets, the likeliest first."""
    tag = next((one for one in trace.piece(number).tags if one.kind == kind), None)
    if tag is None:
        raise voxray.OptionError(f"this model says nothing of the kind {kind[:20]!r}")
    ordered = sorted(tag.probabilities, key=lambda label: -tag.probabilities[label])
    where = f"@{number}" if len(trace.pieces) > 1 else ""
    return [f"{kind}:{label}{where}" for label in ordered[:most]]


# --- Why, comparisons -------------------------------------------------------------------------------------------------------


def why_of(record: Mapping[str, Any], page: str) -> Payload:
    """Return what was wrong in short, and the address of the report that says all."""
    errors = record["errors"]
    return {
        "errors": {name: errors[name] for name in ("unit", "hits", "substitutions", "deletions", "insertions", "length", "rate")},
        "edits": record["edits"],
        "mistakes": [
            {name: one[name] for name in ("kind", "reference", "recognised", "start", "end", "log_odds", "cause")}
            for one in record["mistakes"]
        ],
        "notes": list(record.get("notes", ())),
        "report": page,
    }


def side_of(title: str, trace: voxray.Trace, sound: str) -> Payload:
    """Return one side of a comparison."""
    return {
        "title": title,
        "text": trace.text,
        "sound": sound,
        "duration": trace.audio.duration,
        "words": [_spoken(f"word:{index}", word) for index, word in enumerate(trace.words)],
        "tags": tags(trace),
        "model": f"{trace.model.name} ({trace.model.layout}, {trace.model.precision})",
        "language": trace.language,
    }


def difference_of(first: str, second: str) -> Payload:
    """Return two texts aligned unit by unit."""
    found = voxray.compare(first, second)
    edits: Sequence[voxray.Edit] = found.edits
    return {
        "unit": found.unit,
        "length": found.length,
        "errors": found.errors,
        "edits": [{"kind": one.kind, "first": one.reference, "second": one.recognised} for one in edits],
    }
