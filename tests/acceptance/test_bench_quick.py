"""The quick benchmark, as a new user runs it: sets are made, clips examined by two processes, gates asked, files written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import voxray


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run by the command line."""
    folder = tmp_path_factory.mktemp("bench") / "run"
    command = [sys.executable, "-m", "voxray", "bench", "--quick", "-o", str(folder), "-p", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def table(run: Path) -> dict[str, Any]:
    """Its table."""
    told: dict[str, Any] = json.loads((run / "table.json").read_text(encoding="utf-8"))
    return told


def mean(table: dict[str, Any], of: str, kind: str, method: str, measure: str) -> float:
    cells = {
        (one["set"], one["kind"], one["method"], one["measure"]): one["mean"]
        for one in table["cells"]
        if one["fill"] == "noise_floor"
    }
    return float(cells[of, kind, method, measure])


def test_all_is_written(run: Path) -> None:
    assert {"table.json", "table.md", "table.html", "items.csv", "results.jsonl", "run.json"} <= {one.name for one in run.iterdir()}
    assert list((run / "plots").glob("*.png"))


def test_gates_hold(table: dict[str, Any]) -> None:
    assert [gate["name"] for gate in table["gates"] if gate["passed"] is not True] == []


def test_what_points_does_and_what_knows_nothing_does_not(table: dict[str, Any]) -> None:
    assert mean(table, "A", "word", "occlusion", "pointing") >= 0.9
    assert mean(table, "A", "word", "exact", "pointing") >= 0.85
    assert mean(table, "A", "word", "random", "pointing") <= 0.5
    assert mean(table, "A", "word", "occlusion", "deletion") < mean(table, "A", "word", "uniform", "deletion") / 4
    assert mean(table, "F", "event", "exact", "top_segment") > mean(table, "F", "event", "random", "top_segment")


def test_random_weights_leave_nothing_of_a_map(table: dict[str, Any]) -> None:
    assert abs(mean(table, "A", "word", "exact", "randomised")) < 0.3
    assert abs(mean(table, "A", "word", "occlusion", "randomised")) < 0.3


def test_a_quick_run_is_no_result(run: Path) -> None:
    told = json.loads((run / "table.json").read_text(encoding="utf-8"))
    assert told["provenance"]["quick"] is True
    assert voxray.standing_of("exact", "word").because != ""
