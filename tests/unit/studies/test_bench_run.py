"""The benchmark as a run: a folder that goes on where it was, whose table does not depend on how it was made."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.audio import load_audio
from voxray.manifest import read_manifest
from voxray.studies.bench import BenchOptions, bench, chosen
from voxray.types import OptionError

FEW = BenchOptions(methods=("exact", "attention"), aims=1, subsets=6, sane=0)


@pytest.fixture(scope="module")
def corpus(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bundled clips as two sets, one of them moved, with a clip of the split that is not scored."""
    import soundfile

    folder = tmp_path_factory.mktemp("corpus")
    truths = json.loads((clips / "truth.json").read_text(encoding="utf-8"))
    lines: list[dict[str, Any]] = []
    for name, of in (("en_neutral_speech.wav", "A"), ("zh_happy_speech.wav", "A"), ("ko_angry_speech.wav", "B")):
        shutil.copyfile(clips / name, folder / name)
        words = [{"word": one["word"], "start": one["start"], "end": one["end"]} for one in truths[name]["words"]]
        lines.append({"id": name[:2], "audio": name, "set": of, "text": truths[name]["text"], "words": words})
    samples = load_audio(folder / "en_neutral_speech.wav").samples
    hiss = np.random.default_rng(0).normal(0, 1e-4, 9600)
    soundfile.write(folder / "moved.wav", np.concatenate([hiss, samples]), 16000, subtype="PCM_16")
    late = [{**word, "start": word["start"] + 0.6, "end": word["end"] + 0.6} for word in lines[0]["words"]]
    moved = {"id": "moved", "audio": "moved.wav", "set": "G", "pair": "en", "moved": {"kind": "shift", "seconds": 0.6}}
    lines += [moved | {"text": lines[0]["text"], "words": late}, {**lines[0], "id": "dev", "split": "dev"}]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A whole run by one process."""
    return bench(None, corpus, tmp_path_factory.mktemp("run"), options=FEW)


def without_clock(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without what the clock says."""
    cells = [one for one in table["cells"] if one["measure"] != "seconds"]
    return {**table, "cells": cells, "provenance": None}


def test_every_clip_of_the_test_split_is_there(run: Any) -> None:
    assert run.whole
    assert run.problems == ()
    assert {one["set"]: one["clips"] for one in run.table["coverage"]} == {"A": 2, "B": 1, "G": 1}
    assert [one["name"] for one in run.table["methods"]][-3:] == ["attention", "exact", "oracle"]


def test_the_files_hold_what_the_table_says(run: Any) -> None:
    assert json.loads((run.folder / "table.json").read_text(encoding="utf-8")) == run.table
    with (run.folder / "items.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    of = [float(row["mass"]) for row in rows if (row["set"], row["method"], row["kind"]) == ("A", "exact", "word") and row["mass"]]
    cell = next(
        one
        for one in run.table["cells"]
        if (one["set"], one["method"], one["kind"], one["measure"]) == ("A", "exact", "word", "mass")
    )
    assert cell["mean"] == pytest.approx(np.mean(of), rel=1e-4)
    assert cell["items"] == len(of)


def test_figures_are_what_they_must_be(run: Any) -> None:
    cells = {(one["set"], one["kind"], one["method"], one["measure"], one["fill"]): one["mean"] for one in run.table["cells"]}
    assert cells["A", "word", "oracle", "pointing", "noise_floor"] == 1.0
    assert cells["A", "word", "uniform", "lift", "noise_floor"] == pytest.approx(1.0)
    assert cells["A", "word", "uniform", "roc_auc", "noise_floor"] == pytest.approx(0.5)
    assert cells["A", "word", "exact", "completeness", "noise_floor"] < 1e-4
    assert cells["G", "word", "oracle", "shift_error", "noise_floor"] <= 1.01  # parts of 60 ms do not begin with the words
    assert cells["G", "word", "uniform", "shift_error", "noise_floor"] == pytest.approx(10.0)
    assert cells["A", "word", "emission", "deletion", "noise_floor"] < cells["A", "word", "random", "deletion", "noise_floor"]
    assert (("A", "word", "exact", "insertion", "mean") in cells) is False  # under the second fill only deletion


def test_a_run_that_a_budget_ended_goes_on_and_processes_change_nothing(run: Any, corpus: Path, tmp_path: Path) -> None:
    first = bench(None, corpus, tmp_path / "run", options=FEW, seconds=1e-3)
    assert not first.whole
    done = (first.folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    told: list[tuple[int, int]] = []
    second = bench(None, corpus, tmp_path / "run", options=FEW, processes=2, progress=lambda *step: told.append(step))
    assert second.whole
    assert (second.folder / "results.jsonl").read_text(encoding="utf-8").splitlines()[: len(done)] == done
    assert told[-1] == (4, 4)
    assert without_clock(dict(second.table)) == without_clock(dict(run.table))


def test_another_run_is_not_mixed_in(run: Any, corpus: Path) -> None:
    with pytest.raises(OptionError, match=r"holds a run with inquiry\.seed 0, now it is 1"):
        bench(None, corpus, run.folder, options=replace(FEW, seed=1))


def test_a_clip_that_cannot_be_asked_is_told_and_the_rest_goes_on(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(corpus, folder)
    manifest = folder / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    lines[0]["aims"] = [{"kind": "cause"}]
    manifest.write_text("".join(json.dumps(one) + "\n" for one in (lines[0], lines[2])), encoding="utf-8")
    found = bench(None, folder, tmp_path / "run", options=FEW)
    assert [one.split(":")[0] for one in found.problems] == ["en"]
    assert "kind 'cause'" in found.problems[0]
    assert [one["set"] for one in found.table["coverage"]] == ["B"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sets": ("A", "Z")}, "no set Z; it has A, B, G"),
        ({"clips": 0}, "clips is 0"),
        ({"methods": ("exat",)}, "did you mean exact"),
    ],
)
def test_bad_options_are_refused_in_a_line(corpus: Path, tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        bench(None, corpus, tmp_path / "run", options=BenchOptions(**options))


def test_a_corpus_without_word_times_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": str(clips / "zh_happy_speech.wav"), "text": "x"}), encoding="utf-8")
    with pytest.raises(OptionError, match="clips need text and words"):
        bench(None, tmp_path / "m.jsonl", tmp_path / "run", options=FEW)


def test_sanity_is_tested_on_the_first_clips_of_the_first_set(corpus: Path) -> None:
    listed = read_manifest(corpus / "manifest.jsonl")
    assert [one.id for one in chosen(listed, BenchOptions(sane=1)) if one.sanity] == ["en"]
    assert [one.id for one in chosen(listed, BenchOptions(sane=9)) if one.sanity] == ["en", "zh"]
    assert [one.id for one in chosen(listed, BenchOptions(clips=1))] == ["en", "ko", "moved"]
    assert [one.id for one in chosen(listed, BenchOptions())] == ["en", "ko", "moved", "zh"]  # sets take turns
