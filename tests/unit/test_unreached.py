"""What a budget did not reach has no number: in tables, in JSON, and in the relevance itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import voxray
from commands import Run, runner

CLIP = Path(voxray.__file__).parent / "assets" / "clips" / "en_neutral_speech.wav"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_words_that_were_never_left_out(bundled: Any) -> None:
    trace = bundled.trace(CLIP)
    assert len(trace.words) == 6
    whole = voxray.explain(bundled, trace, "word:1", method="word_leave_one_out")
    some = voxray.explain(bundled, trace, "word:1", method="word_leave_one_out", passes=3)
    assert whole.unreached == ()
    assert [whole.reaches(word.start, word.end) for word in trace.words] == [True] * 6
    assert len(some.unreached) == 3
    missed = [word for word in trace.words if not some.reaches(word.start, word.end)]
    assert len(missed) == 3
    for (start, end), word in zip(some.unreached, missed, strict=True):
        assert (start, end) == pytest.approx((word.start, word.end), abs=0.16)  # words reach half-way to their neighbours
        assert some.between(start, end) == 0.0
        assert word.text in some.notes[-1]


def test_windows_that_were_never_hidden(bundled: Any) -> None:
    trace = bundled.trace(CLIP)
    whole = voxray.explain(bundled, trace, "word:1", method="occlusion")
    some = voxray.explain(bundled, trace, "word:1", method="occlusion", passes=4)
    assert whole.unreached == ()
    assert sum(end - start for start, end in some.unreached) == pytest.approx(
        some.grid.times[-1] - some.grid.times[0] - 4 * 0.12, abs=0.13
    )
    for start, end in some.unreached:
        assert not some.reaches(start, end)
        assert some.between(start, end) == 0.0
        assert whole.reaches(start, end)


def test_the_table_and_the_json_say_so(run: Run) -> None:
    asked = ("explain", CLIP, "-t", "word:1", "--method", "word_leave_one_out", "--budget", "3")
    _, out, _ = run(*asked)
    assert out.count("not reached") == 3
    _, told, _ = run(*asked, "--json")
    (one,) = json.loads(told)["relevances"]
    missed = [part["text"] for part in one["stretches"] if part["relevance"] is None]
    assert len(missed) == 3 == len(one["unreached"])
    assert all(f"{text}" in line for text in missed for line in out.splitlines() if "not reached" in line and text in line)
    _, out, _ = run("explain", CLIP, "--method", "word_leave_one_out", "--budget", "3")
    assert sum("word:" in line and "not reached" in line for line in out.splitlines()) == 3
    _, out, _ = run(*asked[:-2])
    assert "not reached" not in out
