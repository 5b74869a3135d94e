"""What a map may be called: by the committed result alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import voxray
from voxray import standing
from voxray.methods import names
from voxray.types import Target

DOCS = Path(__file__).parents[2] / "docs"


def target(kind: str, name: str, against: str = "") -> Target:
    return Target(kind, name, "x", against, 0, (0, 1), 0.0, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (target("word", "word:3"), "word"),
        (target("token", "token:0"), "word"),
        (target("text", "text"), "word"),
        (target("word", "word:3", "hello"), "contrast"),
        (target("tag", "emotion:SAD@1"), "emotion"),
        (target("tag", "language", "zh"), "language"),
        (target("tag", "textnorm"), "textnorm"),
    ],
)
def test_a_target_is_of_one_kind(one: Target, kind: str) -> None:
    assert standing.kind_of(one) == kind


def test_what_the_benchmark_does_not_know_is_a_view() -> None:
    assert standing.standing_of("exact", "textnorm").status == "view"
    assert standing.standing_of("tea_leaves", "word").status == "view"
    assert standing.explains("random") == ()


def test_the_status_is_that_of_the_committed_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [{"method": "exact", "kind": "word", "status": "explanation", "because": "it was measured"}]
    (tmp_path / "e.json").write_text(json.dumps({"status": rows}), encoding="utf-8")
    monkeypatch.setattr(standing, "EVIDENCE", tmp_path / "e.json")
    standing._evidence.cache_clear()
    try:
        assert standing.standing("exact", target("word", "word:0")) == standing.Standing("word", "explanation", "it was measured")
        assert standing.explains("exact") == ("word",)
        assert standing.explains("occlusion") == ()
    finally:
        standing._evidence.cache_clear()


def test_a_relevance_says_what_it_is_and_why(bundled: Any, clips: Path) -> None:
    trace = bundled.trace(clips / "en_neutral_speech.wav")
    for method in ("attention", "occlusion"):
        for found in voxray.explain(bundled, trace, ["word:1", "emotion"], method=method):
            told = voxray.standing_of(method, "word" if found.target.kind == "word" else "emotion")
            assert (found.view, found.because) == (told.status == "view", told.because)
            assert found.to_dict()["because"] == told.because


def test_the_committed_result_is_whole_and_of_the_bundled_model(bundled: Any) -> None:
    told = standing.evidence()
    assert told["provenance"]["model"]["sha256"] == bundled.info.sha256
    assert not told["provenance"]["quick"]
    assert all(gate["passed"] for gate in told["gates"])
    assert {one["method"].partition(":")[0] for one in told["status"]} >= set(names()) - {"random", "uniform", "energy", "emission"}
    table = json.loads((DOCS / "proof" / "table.json").read_text(encoding="utf-8"))
    assert {name: table[name] for name in told} == told
