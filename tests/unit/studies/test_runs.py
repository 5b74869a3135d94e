"""Two runs are compared clip by clip: rates with a paired test, what regressed, which words, which causes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.measures.statistics import holm, paired_difference
from voxray.studies.runs import ClipChange, compare_runs
from voxray.types import OptionError


def record(name: str, reference: str, recognised: str, **more: Any) -> dict[str, Any]:
    """Return a record whose texts are as long as each other but for ``-`` (nothing there), character by character."""
    kinds = {(True, False): "insertion", (False, True): "deletion", (False, False): "substitution"}
    edits = [
        {"kind": "hit" if a == b else kinds[a == "-", b == "-"], "reference": a.replace("-", ""), "recognised": b.replace("-", "")}
        for a, b in zip(reference, recognised, strict=True)
        if (a, b) != ("-", "-")
    ]
    counts = {f"{kind}s": sum(edit["kind"] == kind for edit in edits) for kind in ("hit", "substitution", "deletion", "insertion")}
    errors = {"unit": "character", "normalisation": "usual", **counts, "length": len(reference.replace("-", "")), "other": None}
    base = {"id": name, "groups": {}, "errors": errors, "edits": edits, "mistakes": [], "problem": None, "duration": 1.0}
    return base | {"reference": reference.replace("-", ""), "text": recognised.replace("-", "")} | more


def written(folder: Path, records: Sequence[Mapping[str, Any]], groups: Sequence[str] = (), **about: Any) -> Path:
    folder.mkdir()
    told = {"model": {"name": "m", "precision": "fp32", "sha256": "1"}, "inquiry": {"causes": True, "language": "auto"}} | about
    (folder / "run.json").write_text(json.dumps(told))
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (folder / "summary.json").write_text(json.dumps({"groups": {name: {} for name in groups}}))
    return folder


OLD = [
    record("a", "abcd", "abcd", groups={"room": "car"}, mistakes=[]),
    record("b", "abcd", "xycd", groups={"room": "car"}, mistakes=[{"cause": "noise"}]),
    record("c", "ab--", "ab--", groups={"room": "hall"}),
    record("d", "efgh", "e--h", groups={"room": "hall"}, mistakes=[{"cause": None}]),
    record("gone", "q", "q", groups={"room": "hall"}),
    record("silent", "q", "q", errors=None, edits=None),
]
NEW = [
    record("new", "q", "q", groups={"room": "hall"}),
    record("d", "efgh", "efgh", groups={"room": "hall"}),
    record("c", "ab--", "abcd", groups={"room": "hall"}, mistakes=[{"cause": "noise"}]),
    record("b", "abcd", "xbcd", groups={"room": "car"}, mistakes=[{"cause": "fast"}]),
    record("a", "abcd", "xyz-", groups={"room": "car"}, mistakes=[{"cause": None}]),
    record("silent", "q", "q"),
]


def test_everything_that_changed_is_told(tmp_path: Path) -> None:
    old, new = written(tmp_path / "old", OLD), written(tmp_path / "new", NEW, ["room"])
    found = compare_runs(old, new, seed=7)
    # Clips a, b, c, d: errors 0 2 0 2 before, 4 1 2 0 after, over 4 4 2 4 units.
    expected = paired_difference([4, 1, 2, 0], [4, 4, 2, 4], [0, 2, 0, 2], [4, 4, 2, 4], seed=7)
    assert expected is not None
    assert found.overall is not None
    assert (found.overall.before, found.overall.after) == (4 / 14, 7 / 14)
    assert found.overall.difference == pytest.approx(3 / 14)
    assert (found.overall.low, found.overall.high) == (expected.interval.low, expected.interval.high)
    assert (found.overall.p_value, found.overall.clips) == (expected.p_value, 4)
    assert not found.is_worse
    assert found.regressed == (
        ClipChange("a", 0, 4, 4, "abcd", "abcd", "xyz"),
        ClipChange("c", 0, 2, 2, "ab", "ab", "abcd"),
    )
    assert found.improved == (ClipChange("d", 2, 0, 4, "efgh", "eh", "efgh"), ClipChange("b", 2, 1, 4, "abcd", "xycd", "xbcd"))
    assert found.newly_wrong == (("a", 1), ("b", 1), ("c", 1), ("d", 1))
    assert found.newly_right == (("b", 1), ("f", 1), ("g", 1))
    assert found.causes == {"fast": (0, 1), "noise": (1, 1), "unexplained": (1, 1)}
    assert (found.missing, found.extra, found.left_out, found.notes) == (("gone",), ("new",), ("silent",), ())


def test_groups_are_those_of_the_second_run_with_corrected_tests(tmp_path: Path) -> None:
    old, new = written(tmp_path / "old", OLD), written(tmp_path / "new", NEW, ["room"])
    found = compare_runs(old, new, seed=7)
    parts = [
        paired_difference([4, 1], [4, 4], [0, 2], [4, 4], seed=7),
        paired_difference([2, 0], [2, 4], [0, 2], [2, 4], seed=7),
    ]
    corrected = holm([one.p_value for one in parts if one])
    assert list(found.groups) == ["room"]
    assert [one.p_value for one in found.groups["room"].values()] == corrected.tolist()
    assert [(name, one.before, one.after, one.clips) for name, one in found.groups["room"].items()] == [
        ("car", 2 / 8, 5 / 8, 2),
        ("hall", 2 / 6, 2 / 6, 2),
    ]
    assert compare_runs(old, new, groups=()).groups == {}


def test_a_rise_beyond_chance_counts_as_worse(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.uniform(size=60) < 0.4
    old = written(tmp_path / "old", [record(f"{index}", "abcd", "abcd") for index in range(60)])
    new = written(tmp_path / "new", [record(f"{index}", "abcd", "abxx" if bad else "abcd") for index, bad in enumerate(wrong)])
    rise, fall, same = compare_runs(old, new), compare_runs(new, old), compare_runs(old, old)
    assert rise.is_worse
    assert not fall.is_worse
    assert not same.is_worse
    assert rise.overall is not None
    assert fall.overall is not None
    assert rise.overall.difference == pytest.approx(wrong.mean() / 2)
    assert rise.overall.p_value < 0.01
    assert fall.overall.difference == -rise.overall.difference
    assert len(rise.regressed) == wrong.sum()
    assert [one.id for one in rise.regressed] == sorted(str(index) for index in np.flatnonzero(wrong))
    told = json.loads(json.dumps(rise.to_dict(), allow_nan=False))
    assert told["is_worse"] is True
    assert told["overall"]["p_value"] == rise.overall.p_value


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    old = written(tmp_path / "old", OLD)
    with pytest.raises(OptionError, match="holds no run; give a folder that 'voxray evaluate' wrote"):
        compare_runs(old, tmp_path)
    with pytest.raises(OptionError, match="share no clip id; compare two runs over the same manifest"):
        compare_runs(old, written(tmp_path / "else", [record("z", "a", "a")]))
    changed = [record("a", "abce", "abcd"), record("b", "abc", "xyc"), OLD[2]]
    with pytest.raises(OptionError, match=r"the references of 2 clips differ \(a, b; 'abcd' and 'abce'\); evaluate both with one"):
        compare_runs(old, written(tmp_path / "changed", changed))
    counted = [one | {"errors": one["errors"] | {"unit": "mixed"}} for one in OLD[:3]]
    with pytest.raises(OptionError, match=r"3 clips were counted otherwise \(a: by character with usual, then mixed with usual\)"):
        compare_runs(old, written(tmp_path / "counted", counted))


def test_what_else_differs_is_noted(tmp_path: Path) -> None:
    old = written(tmp_path / "old", OLD[:2])
    other: dict[str, Any] = {
        "model": {"name": "m", "precision": "int8", "sha256": "2"},
        "inquiry": {"causes": False, "language": "zh"},
    }
    found = compare_runs(old, written(tmp_path / "new", OLD[:2], **other))
    assert found.notes == ("model precision: fp32 before, int8 after", "inquiry language: auto before, zh after")
    assert found.causes is None


def test_empty_references_have_no_rate(tmp_path: Path) -> None:
    old, new = written(tmp_path / "old", [record("a", "-", "-")]), written(tmp_path / "new", [record("a", "-", "x")])
    found = compare_runs(old, new)
    assert found.overall is None
    assert not found.is_worse
    assert found.regressed == (ClipChange("a", 0, 1, 0, "", "", "x"),)
