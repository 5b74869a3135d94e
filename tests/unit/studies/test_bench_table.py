"""The table: means over clips, differences from the baselines, status and gates, on figures worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxray.studies.bench.gates import gates
from voxray.studies.bench.measures import MEASURES
from voxray.studies.bench.table import Figures, contrasted, coverage, status, table

METHODS = [
    {"name": name, "title": name, "baseline": name in ("random", "emission"), "oracle": name == "oracle"}
    for name in ("random", "emission", "good", "poor", "oracle")
]


def record(clip: str, figures: dict[str, dict[str, float | None]], fill: str = "noise_floor", of: str = "A") -> dict[str, Any]:
    rows = [
        {"kind": "word", "target": "hello", "against": "", "method": name, "fill": fill, "figures": one}
        for name, one in figures.items()
    ]
    shared = {"letters": 10, "wrong_letters": 1, "words": 5, "words_right": 4, "aims": 1}
    return {"id": clip, "set": of, "rows": rows, **shared}


def corpus(clips: int = 40, fills: tuple[str, ...] = ("noise_floor", "mean")) -> list[dict[str, Any]]:
    """Clips in which deletion areas are: good 0.1, emission 0.2, poor 0.2, random 0.5, oracle 0.05, each with noise of 0.02."""
    rng = np.random.default_rng(7)
    level = {"random": 0.5, "emission": 0.2, "good": 0.1, "poor": 0.2, "oracle": 0.05}
    found = []
    for index in range(clips):
        both = [{name: {"deletion": value + rng.normal(0, 0.02)} for name, value in level.items()} for _ in fills]
        for name, extra in (("random", {"roc_auc": 0.5 + rng.normal(0, 0.05)}), ("oracle", {"pointing": 1.0, "mass": 1.0})):
            both[0][name] |= extra
        for name, value in level.items():
            both[0][name]["deletion_words"] = value
        one = record(f"c{index:02}", both[0])
        for fill, figures in zip(fills[1:], both[1:], strict=True):
            one["rows"] += record("", figures, fill)["rows"]
        found.append(one)
    return found


def test_a_mean_is_that_of_all_questions_and_not_of_clips() -> None:
    records = [record("a", {"good": {"mass": 1.0}}), record("b", {"good": {"mass": 0.0}})]
    records[0]["rows"] *= 3
    cell = next(one for one in table(records, METHODS, seed=0)["cells"] if one["measure"] == "mass")
    assert cell["mean"] == pytest.approx(0.75)
    assert (cell["clips"], cell["items"]) == (2, 4)


def test_what_is_not_known_is_left_out() -> None:
    records = [record("a", {"good": {"mass": None, "lift": 2.0}}), record("b", {"good": {"mass": 0.4, "lift": 4.0}})]
    cells = {one["measure"]: one for one in table(records, METHODS, seed=0)["cells"]}
    assert cells["mass"]["items"] == 1
    assert cells["mass"]["low"] is None
    assert cells["lift"]["mean"] == pytest.approx(3.0)


def test_intervals_hold_the_mean_and_do_not_depend_on_the_order_of_clips() -> None:
    records = corpus()
    first, second = table(records, METHODS, seed=3), table(records[::-1], METHODS, seed=3)
    assert first["cells"] == second["cells"]
    assert first["contrasts"] == second["contrasts"]
    assert all(one["low"] <= one["mean"] + 1e-12 and one["mean"] <= one["high"] + 1e-12 for one in first["cells"])


def test_only_what_beats_emission_and_chance_is_an_explanation() -> None:
    found = {one["method"]: one for one in table(corpus(), METHODS, seed=0)["status"]}
    assert set(found) == {"good", "poor"}
    assert found["good"]["status"] == "explanation"
    assert found["poor"]["status"] == "view"
    assert "emission" in found["poor"]["because"]
    half = corpus()
    for one in half:
        for row in one["rows"]:
            if row["method"] == "good" and row["fill"] == "mean":
                row["figures"]["deletion"] = 0.3
    assert next(one for one in table(half, METHODS, seed=0)["status"] if one["method"] == "good")["status"] == "view"


@pytest.mark.parametrize(("left", "called"), [(0.29, "explanation"), (0.31, "view")])
def test_a_map_that_outlives_the_weights_is_a_view(left: float, called: str) -> None:
    records = corpus()
    for row in records[0]["rows"]:
        if row["method"] == "good" and row["fill"] == "noise_floor":
            row["figures"]["randomised"] = left
    found = next(one for one in table(records, METHODS, seed=0)["status"] if one["method"] == "good")
    assert found["status"] == called
    assert ("random weights" in found["because"]) == (called == "view")


def test_differences_have_their_sign_and_are_corrected() -> None:
    found = contrasted(Figures(corpus()), [one["name"] for one in METHODS], 0)
    own = {(one["method"], one["baseline"], one["fill"]): one for one in found if one["measure"] == "deletion"}
    good = own["good", "emission", "noise_floor"]
    assert good["difference"] == pytest.approx(-0.1, abs=0.02)
    assert good["high"] < 0
    assert good["better"]
    poor = own["poor", "emission", "noise_floor"]
    assert not poor["better"]
    assert poor["holm"] >= poor["p"]


def test_one_clip_proves_nothing() -> None:
    figures = Figures(corpus(1))
    assert status(figures, contrasted(figures, ["good"], 0), METHODS) == []


def test_coverage_counts_clips_words_and_letters() -> None:
    [found] = coverage(corpus(4))
    assert found == {
        "set": "A",
        "clips": 4,
        "asked": 4,
        "words": 20,
        "words_right": 16,
        "aims": 4,
        "error_rate": pytest.approx(0.1),
    }


def test_every_measure_says_what_it_is() -> None:
    assert all(one.meaning.endswith(".") and one.unit for one in MEASURES.values())
    assert {name for name, one in MEASURES.items() if one.compared} >= {"deletion", "pointing", "correlation"}


def found_gates(records: list[dict[str, Any]]) -> dict[str, bool | None]:
    return {gate.name: gate.passed for gate in gates(records, seed=0)}


def test_gates_hold_on_a_sound_run_and_say_what_they_could_not_ask() -> None:
    told = found_gates(corpus())
    assert told.pop("exact map adds up") is None
    assert all(told.values()), told
    assert len(told) == 5


@pytest.mark.parametrize(
    ("method", "measure", "value", "gate"),
    [
        ("random", "roc_auc", 0.56, "random map at chance"),
        ("oracle", "mass", 0.9, "oracle points"),
        ("poor", "deletion_words", 0.01, "oracle has the best deletion of words on set A"),
    ],
)
def test_a_broken_benchmark_fails_its_gate(method: str, measure: str, value: float, gate: str) -> None:
    records = corpus()
    for one in records:
        for row in one["rows"]:
            if row["method"] == method and row["fill"] == "noise_floor":
                row["figures"][measure] = value
    told = found_gates(records)
    assert told[gate] is False
    assert [name for name, passed in told.items() if passed is False] == [gate]


def test_an_exact_map_that_does_not_add_up_fails() -> None:
    records = corpus()
    for one in records:
        one["rows"] += record("", {"exact": {"completeness": 0.02}})["rows"]
    assert found_gates(records)["exact map adds up"] is False


def test_methods_that_change_places_with_the_fill_fail() -> None:
    records = corpus()
    for one in records:
        for row in one["rows"]:
            if row["fill"] == "mean":
                row["figures"]["deletion"] = 1 - row["figures"]["deletion"]
    assert found_gates(records)["stable to the fill"] is False
