"""Figures of a run, checked by hand and against slow sums; the order of the records does not matter."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from voxray.measures import calibration
from voxray.measures.statistics import bootstrap_ratio, wilson
from voxray.studies.summary import NONE, summarise
from voxray.types import plain


def record(name: str, counts: tuple[int, ...] | None = (3, 1, 0, 0), unit: str = "character", **more: Any) -> dict[str, Any]:
    """Return a record; counts are hits, substitutions, deletions, insertions."""
    errors = None
    if counts is not None:
        names = ("hits", "substitutions", "deletions", "insertions")
        errors = {"unit": unit, "normalisation": "n", **dict(zip(names, counts, strict=True)), "length": sum(counts[:3])}
        errors["other"] = more.pop("other", None)
    base: dict[str, Any] = {"id": name, "duration": 2.0, "groups": {}, "errors": errors, "mistakes": [], "tags": [], "words": []}
    return base | {"problem": None, "seconds": {"recognition": 0.5}, "reference": "r", "text": "t"} | more


def other(unit: str, *counts: int) -> dict[str, Any]:
    errors: dict[str, Any] = record("x", counts, unit)["errors"]
    return errors


def test_rates_are_pooled_by_unit() -> None:
    records = [
        record("a", (3, 1, 0, 0)),
        record("b", (6, 0, 2, 1), other=other("word", 1, 1, 0, 0)),
        record("c", (2, 1, 0, 0), "word"),
        record("d", (4, 0, 0, 2), "mixed"),
        record("e", None),
        record("f", None, problem="no sound", duration=None),
    ]
    overall = summarise(records)["overall"]
    assert overall["error_rate"] == plain(bootstrap_ratio([1, 3, 1, 2], [4, 8, 3, 4], seed=0))
    assert overall["error_rate"]["value"] == pytest.approx(7 / 19)
    assert overall["cer"]["value"] == pytest.approx(4 / 12)
    assert overall["wer"]["value"] == pytest.approx(2 / 5)
    assert overall["wer"]["n"] == 2
    assert overall["mer"]["value"] == pytest.approx(2 / 4)
    assert [overall[name] for name in ("hits", "substitutions", "deletions", "insertions", "length", "errors")] == [
        15,
        2,
        2,
        3,
        19,
        7,
    ]
    assert [overall[name] for name in ("clips", "compared", "problems", "seconds")] == [6, 4, 1, 10.0]


def test_words_where_nothing_is_said_count_as_errors() -> None:
    found = summarise([record("a", (0, 0, 0, 3)), record("b", (4, 0, 0, 0))])
    assert found["overall"]["cer"]["value"] == 0.75
    assert found["worst"] == [{"id": "a", "rate": None, "errors": 3, "length": 0, "reference": "r", "text": "t"}]
    alone = summarise([record("a", (0, 0, 0, 3))])["overall"]
    assert (alone["error_rate"], alone["cer"], alone["insertions"]) == (None, None, 3)


def test_groups_hold_the_figures_of_their_clips() -> None:
    records = [
        record("a", (3, 1, 0, 0), groups={"room": "hall", "age": 30}),
        record("b", (4, 0, 0, 0), groups={"room": "car", "age": 30}),
        record("c", (0, 4, 0, 0), groups={"room": "hall"}),
    ]
    found = summarise(records, ("room", "age"))
    assert {name: one["cer"]["value"] for name, one in found["groups"]["room"].items()} == {"car": 0.0, "hall": 0.625}
    assert {name: one["clips"] for name, one in found["groups"]["age"].items()} == {NONE: 1, "30": 2}
    assert found["groups"]["room"]["hall"] == summarise([records[0], records[2]])["overall"]


def test_causes_are_counted_and_the_unexplained_with_them() -> None:
    causes: list[list[str | None]] = [["noise", None], ["noise"], [], [None, "fast"]]
    records = [record(str(index), mistakes=[{"cause": one} for one in several]) for index, several in enumerate(causes)]
    overall = summarise(records)["overall"]
    assert overall["causes"] == {"fast": 1, "noise": 2, "unexplained": 2}
    assert (overall["mistakes"], overall["unexplained"]) == (5, 0.4)
    untested = summarise(records, causes=False)["overall"]
    assert (untested["causes"], untested["unexplained"], untested["mistakes"]) == (None, None, 5)
    faultless = summarise([record("a", (4, 0, 0, 0))])["overall"]
    assert (faultless["causes"], faultless["unexplained"]) == ({}, 0.0)


def test_tags_are_judged_where_the_manifest_knows_them() -> None:
    said = [("zh", "zh"), ("zh", "yue"), ("en", "en"), ("en", None), ("ja", "zh")]
    records = [
        record(str(index), tags=[{"kind": "language", "label": label, "wanted": wanted}, {"kind": "event", "label": "BGM"}])
        for index, (label, wanted) in enumerate(said)
    ]
    tags = summarise(records)["overall"]["tags"]
    assert tags == {
        "language": {
            "tags": 4,
            "right": 2,
            "accuracy": plain(wilson(2, 4)),
            "confusion": {"en": {"en": 1}, "yue": {"zh": 1}, "zh": {"ja": 1, "zh": 1}},
        }
    }


def test_confidence_is_judged_by_the_words_that_are_right() -> None:
    rng = np.random.default_rng(3)
    raw, right = rng.uniform(size=60).round(4), rng.uniform(size=60) < 0.7
    words = [
        {"confidence": float(one), "calibrated": float(one) / 2 if index % 2 else None, "right": bool(good)}
        for index, (one, good) in enumerate(zip(raw, right, strict=True))
    ]
    records = [record(f"{index:02}", words=words[index * 10 : index * 10 + 10]) for index in range(6)]
    records.append(record("unjudged", None, words=[{"confidence": 0.1, "calibrated": 0.1, "right": None}]))
    overall = summarise(records)["overall"]
    assert overall["confidence"] == {
        "words": 60,
        "right": int(right.sum()),
        "mean": pytest.approx(raw.mean()),
        "ece": calibration.expected_calibration_error(raw, right),
        "nce": calibration.normalised_cross_entropy(raw, right),
        "brier": calibration.brier(raw, right),
        "auroc": calibration.roc_auc(raw, right),
        "bins": plain(calibration.reliability(raw, right)),
    }
    assert overall["calibrated"]["words"] == 30
    assert overall["calibrated"]["auroc"] == calibration.roc_auc(raw[1::2], right[1::2])
    assert summarise([record("a")])["overall"]["confidence"] is None


def test_alignment_pools_the_words_of_every_clip() -> None:
    placed = [[0.9], [0.02, -0.01, 0.04, 0.2, 0.3, 0.02], [], [-0.4, -0.3, -0.06]]
    records = [record(str(index), alignment={"words": len(errors), "errors": errors}) for index, errors in enumerate(placed)]
    alignment = summarise([*records, record("none", alignment=None)])["overall"]["alignment"]
    assert alignment == {"words": 10, "start_within_50ms": pytest.approx(0.4), "start_median": pytest.approx(0.02)}


def test_timing_tells_seconds_for_each_second_of_sound() -> None:
    records = [
        record("a", seconds={"recognition": 0.25, "causes": 3.0}),
        record("b", duration=6.0),
        record("c", None, duration=None),
    ]
    timing = summarise(records)["overall"]["timing"]
    assert timing == {"recognition": 1.25, "evidence": 0.0, "causes": 3.0, "rtf": pytest.approx(1.25 / 8)}


def test_the_worst_clips_come_first() -> None:
    counts = {"a": (9, 1, 0, 0), "b": (0, 2, 0, 0), "c": (0, 4, 0, 0), "d": (5, 0, 0, 0), "e": (9, 1, 0, 0)}
    found = summarise([record(name, one) for name, one in counts.items()])
    assert [one["id"] for one in found["worst"]] == ["c", "b", "a", "e"]
    assert [one["rate"] for one in found["worst"]] == [1.0, 1.0, 0.1, 0.1]
    assert found["failed"] == []


def test_failed_clips_are_listed_with_their_problem() -> None:
    found = summarise([record("b", None, problem="no sound"), record("a"), {"id": "0", "problem": "gone"}])
    assert found["failed"] == [{"id": "0", "problem": "gone"}, {"id": "b", "problem": "no sound"}]


def test_the_order_of_the_records_does_not_matter() -> None:
    rng = random.Random(1)
    records = [
        record(
            f"{index}",
            (rng.randrange(1, 9), rng.randrange(3), rng.randrange(3), rng.randrange(3)),
            rng.choice(["word", "character"]),
            duration=rng.random(),
            groups={"room": rng.choice("ab")},
            words=[{"confidence": rng.random(), "right": rng.random() < 0.8} for _ in range(5)],
            mistakes=[{"cause": rng.choice(["noise", None])}],
            tags=[{"kind": "emotion", "label": rng.choice("XY"), "wanted": rng.choice("XY")}],
            alignment={"words": 3, "errors": [rng.random() for _ in range(3)]},
            seconds={"recognition": rng.random()},
        )
        for index in range(50)
    ]
    first = json.dumps(summarise(records, ("room",), seed=4), allow_nan=False)
    rng.shuffle(records)
    assert json.dumps(summarise(records, ("room",), seed=4)) == first
    assert json.dumps(summarise(records, ("room",), seed=5)) != first


def test_a_run_of_nothing_has_no_rates() -> None:
    overall = summarise([])["overall"]
    assert (overall["clips"], overall["error_rate"], overall["length"], overall["timing"]["rtf"]) == (0, None, 0, None)
