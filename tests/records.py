"""Records in the shape of a run folder, made from the bundled clips with mistakes planted, for tests of what reads them."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

CLIPS = Path(__file__).parents[1] / "src" / "voxray" / "assets" / "clips"
CAUSES = (
    *("dropout", "clipping", "noise", "truncation", "fast speech", "language", "quantisation", "text normalisation"),
    *("homophone", "insertion without sound", "reference error"),
)
LETTERS = {"zh": "他她它树路", "yue": "佢哋啲嘢", "ja": "はがをにで", "ko": "가나다라마", "en": "etaoin"}


def made(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return records of the bundled clips, over and over, each with up to three mistakes."""
    truth = sorted(json.loads((CLIPS / "truth.json").read_text(encoding="utf-8")).items())
    rng = random.Random(seed)
    return [record(f"clip-{number:04d}", *truth[number % len(truth)], rng) for number in range(count)]


def record(name: str, audio: str, told: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return the record of one clip."""
    language = told["language"]
    units = _units(told)
    edits = [_edit(unit, language, rng) for unit in units]
    mistakes = _mistakes(edits, rng)
    counts = Counter(one["kind"] for one in edits)
    wrong = {"substitutions": counts["substitution"], "deletions": counts["deletion"], "insertions": counts["insertion"]}
    length = len(edits) - counts["insertion"]
    words = [
        {"text": one["recognised"], "start": one["start"], "end": one["end"], "confidence": round(rng.uniform(0.4, 1), 4)}
        | {"log_prob": -0.3, "tsallis": 0.8, "calibrated": 0.9}
        for one in edits
        if one["recognised"]
    ]
    gap = " " if language == "en" else ""
    tags = {"language": language, "emotion": told["emotion"], "event": told["event"]}
    return {
        "id": name,
        "audio": f"clips/{audio}",
        "duration": told["duration"],
        "language": "auto",
        "textnorm": False,
        "model": {"family": "sensevoice", "layout": "funasr", "name": "model.onnx", "precision": "fp32", "sha256": "0" * 64},
        "groups": {"speaker": rng.choice(["f1", "f2", "m1"]), "lang": language},
        "text": gap.join(one["text"] for one in words),
        "rich_text": gap.join(one["text"] for one in words),
        "reference": told["text"],
        "tags": [
            {"kind": kind, "label": label, "probability": 0.97, "start": 0.0, "end": told["duration"], "wanted": label}
            for kind, label in tags.items()
        ],
        "words": words,
        "errors": {"unit": "word" if language == "en" else "character", "normalisation": "lower case, no punctuation, NFKC"}
        | {"hits": counts["hit"], **wrong, "length": length, "rate": round(sum(wrong.values()) / length, 6), "other": None},
        "edits": edits,
        "mistakes": mistakes,
        "confidence": {"mean": 0.84, "least": 0.41},
        "alignment": None,
        "seconds": {"recognition": 0.05, "evidence": 0.1, "causes": 0.7},
        "problem": None,
    }


def _units(told: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return words, or the characters of a script without spaces, each with its part of the word's time."""
    units = []
    for word in told["words"]:
        parts = [word["word"]] if told["language"] == "en" else list(word["word"])
        length = (word["end"] - word["start"]) / len(parts)
        units += [(part, word["start"] + place * length, word["start"] + (place + 1) * length) for place, part in enumerate(parts)]
    return units


def _edit(unit: tuple[str, float, float], language: str, rng: random.Random) -> dict[str, Any]:
    text, start, end = unit
    kind = rng.choices(["hit", "substitution", "deletion", "insertion"], [86, 8, 3, 3])[0]
    other = text[:-1] + rng.choice([one for one in LETTERS[language] if one != text[-1]])
    recognised = {"hit": text, "substitution": other, "deletion": "", "insertion": rng.choice(LETTERS[language])}[kind]
    reference = "" if kind == "insertion" else text
    told = {"kind": kind, "reference": reference, "recognised": recognised}
    return told | {"start": round(start, 3), "end": round(end, 3), "mistake": None}


def _mistakes(edits: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Return the unbroken runs of edits that are no hits, and number the edits by them."""
    mistakes: list[dict[str, Any]] = []
    place = 0
    while place < len(edits):
        run = []
        while place < len(edits) and edits[place]["kind"] != "hit":
            edits[place]["mistake"] = len(mistakes)
            run.append(edits[place])
            place += 1
        if run:
            mistakes.append(_mistake(run, rng))
        place += 1
    return mistakes


def _mistake(run: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    start, end = run[0]["start"], run[-1]["end"]
    kinds = {one["kind"] for one in run}
    causes = _causes(start, end, rng)
    named = next((one["cause"] for one in causes if one["named"]), None)
    spans = [
        {"start": start, "end": round((start + end) / 2, 3), "score": round(rng.uniform(1, 3), 4)},
        {"start": round((start + end) / 2, 3), "end": end, "score": round(rng.uniform(0.2, 1), 4)},
        {"start": round(end + 0.12, 3), "end": round(end + 0.24, 3), "score": -round(rng.uniform(0.2, 1), 4)},
    ]
    return {
        "kind": kinds.pop() if len(kinds) == 1 else "mixed",
        "reference": "".join(one["reference"] for one in run),
        "recognised": "".join(one["recognised"] for one in run),
        "start": start,
        "end": end,
        "tokens": [2, 2 + sum(bool(one["recognised"]) for one in run)],
        "log_odds": round(rng.uniform(0.2, 6), 3),
        "rank": rng.randrange(1, 9),
        "snr": round(rng.uniform(-3, 25), 1),
        "from_start": start,
        "to_end": 0.4,
        "rate": 4.1,
        "before": "见",
        "after": "走",
        "evidence": {"method": "exact", "unit": "nats", "spans": spans, "share_inside": 0.72},
        "causes": causes,
        "cause": named,
        "smallest_edit": {"edit": f"noise gate over {start:.2f}-{end:.2f} s", "cost": 0.3, "stable": "3 of 3"} if named else None,
    }


def _causes(start: float, end: float, rng: random.Random) -> list[dict[str, Any]]:
    """Return one cause that may be named, one that its placebo refutes, and one that could not be tested."""
    before, named = round(rng.uniform(1, 4), 3), rng.random() < 0.8
    first, second, third = rng.sample(CAUSES, 3)
    return [
        {
            "cause": first,
            "suspected": True,
            "evidence": "local SNR -2 dB, clip 25 dB",
            "tested": True,
            "intervention": f"noise gate over {start:.2f}-{end:.2f} s",
            "before": before,
            "after": -1.4 if named else round(before - 0.2, 3),
            "placebo": round(before - 0.1, 3) if named else None,
            "flips": named,
            "placebo_flips": False,
            "named": named,
            "passed": named,
        },
        {"cause": second, "suspected": True, "evidence": "0.15 s from the clip's end", "tested": True, "named": False}
        | {"passed": False, "intervention": "0.3 s of silence added", "before": before, "after": -0.8, "placebo": -0.7}
        | {"flips": True, "placebo_flips": True},
        {"cause": third, "suspected": True, "evidence": "no other model at hand", "tested": False, "named": False}
        | {"intervention": "", "before": before, "after": None, "placebo": None, "flips": False, "placebo_flips": False},
    ]


def summary_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a summary in the shape of ``summary.json``."""
    names = ("substitutions", "deletions", "insertions", "hits", "length")
    counts = {name: sum(one["errors"][name] for one in records) for name in names}
    causes = Counter(mistake["cause"] for one in records for mistake in one["mistakes"])
    unexplained = causes.pop(None, 0)
    return {
        "clips": len(records),
        "failed": 0,
        "errors": counts | {"rate": _rate(records)},
        "causes": {"named": dict(causes), "unexplained": unexplained, "mistakes": sum(causes.values()) + unexplained},
        "groups": {field: _groups(records, field) for field in ("speaker", "lang")},
        "calibration": {
            "ece": 0.031,
            "nce": 0.42,
            "bins": [
                {"low": n / 10, "high": (n + 1) / 10, "words": 3 * n, "confidence": n / 10 + 0.05, "right": min(n / 10 + 0.1, 1)}
                for n in range(10)
            ],
        },
        "tags": {
            "emotion": {"wanted": ["HAPPY", "SAD"], "recognised": ["HAPPY", "NEUTRAL", "SAD"], "counts": [[5, 1, 0], [0, 2, 7]]}
        },
        "alignment": {"start_median": -0.012, "start_within_50ms": 0.81, "words": 940},
        "run": {"model": "model.onnx", "voxray": "0.1.0", "started": "2026-11-20T10:00:00Z"},
    }


def _rate(records: list[dict[str, Any]]) -> dict[str, Any]:
    length = sum(one["errors"]["length"] for one in records)
    wrong = sum(one["errors"][name] for one in records for name in ("substitutions", "deletions", "insertions"))
    value = wrong / length
    return {"value": value, "low": 0.9 * value, "high": 1.1 * value, "level": 0.95, "n": len(records)}


def _groups(records: list[dict[str, Any]], field: str) -> list[dict[str, Any]]:
    values = sorted({one["groups"][field] for one in records})
    members = {value: [one for one in records if one["groups"][field] == value] for value in values}
    return [{"value": value, "clips": len(own), "rate": _rate(own)} for value, own in members.items()]
