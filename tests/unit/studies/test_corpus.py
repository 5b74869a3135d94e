"""A corpus is examined once and whole: a run goes on after a stop, and its summary depends on the clips alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.demo import DemoClip, demo_clips
from voxray.listen import write_sound
from voxray.manifest import Item, WordTime, read_manifest
from voxray.studies.corpus import Run, evaluate, opened
from voxray.studies.folder import read_records, read_run
from voxray.studies.why import Inquiry
from voxray.studies.workers import Job
from voxray.types import Audio, AudioError, ModelError, OptionError


def prepared(job: Job) -> tuple[dict[str, Any], Any]:
    """Stand for a model that hears a fixed number of errors in each clip, and writes down which clips it heard."""
    if job.model is not None and job.model.name == "broken":
        raise ModelError("the model is broken")

    def examine(item: Item) -> dict[str, Any]:
        with (item.audio.parent / "heard.log").open("a") as log:
            log.write(f"{item.id}\n")
        if item.id == "clip-13":
            os.kill(os.getpid(), signal.SIGKILL)
        if item.id == "clip-17":
            raise AudioError("17 is no sound")
        draw = np.random.default_rng(list(hashlib.sha256(item.id.encode()).digest()))
        wrong = draw.integers(0, 3, 3)
        counts = dict(zip(("substitutions", "deletions", "insertions"), wrong.tolist(), strict=True))
        return {
            "text": item.id,
            "duration": 1 + draw.random(),
            "errors": {
                "unit": "word",
                "normalisation": "n",
                "hits": 5,
                **counts,
                "length": int(5 + wrong[0] + wrong[1]),
                "other": None,
            },
            "words": [{"confidence": draw.random(), "calibrated": draw.random(), "right": draw.random() < 0.7} for _ in range(5)],
            "mistakes": [{"cause": None}],
            "tags": [{"kind": "language", "label": "en", "wanted": item.language}],
            "seconds": {"recognition": draw.random()},
        }

    return {"name": str(job.model and job.model.name), "sha256": "1"}, examine


def corpus(folder: Path, clips: int = 20) -> Path:
    """Write a manifest of clips that nobody listens to, with a missing sound in line 3."""
    (folder / "clip.wav").write_bytes(b"sound")
    lines = [
        {"id": f"clip-{index}", "audio": "clip.wav", "text": "a b c d e", "lang": "en", "room": "hall" if index % 3 else "car"}
        for index in range(clips)
    ]
    lines.insert(2, {"id": "gone", "audio": "gone.wav"})
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def run(manifest: Path, out: Path, **how: Any) -> Run:
    return evaluate(manifest, out, **{"prepare": prepared, "groups": ["room"], **how})


def without_timing(told: Any) -> Any:
    if isinstance(told, Mapping):
        return {name: without_timing(one) for name, one in told.items() if name != "timing"}
    return [without_timing(one) for one in told] if isinstance(told, list) else told


def test_every_clip_has_a_line_and_the_run_a_summary(tmp_path: Path) -> None:
    manifest, seen = corpus(tmp_path), list[tuple[int, int]]()
    result = run(manifest, tmp_path / "run", progress=lambda done, total: seen.append((done, total)))
    records = {one["id"]: one for one in read_records(tmp_path / "run")}
    assert set(records) == {f"clip-{index}" for index in range(20)}
    assert seen == [(done, 20) for done in range(1, 21)]
    assert records["clip-3"]["groups"] == {"lang": "en", "language": "en", "room": "car"}
    assert records["clip-3"]["reference"] == "a b c d e"
    overall = result.summary["overall"]
    assert (overall["clips"], overall["compared"], overall["problems"]) == (20, 18, 2)
    good = [one["errors"] for one in records.values() if one["problem"] is None]
    wrong = sum(one["substitutions"] + one["deletions"] + one["insertions"] for one in good)
    assert overall["wer"]["value"] == pytest.approx(wrong / sum(one["length"] for one in good))
    assert {name: one["clips"] for name, one in result.summary["groups"]["room"].items()} == {"car": 7, "hall": 13}
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == result.summary
    assert result.problems == (
        f"line 3: there is no sound 'gone.wav' in {tmp_path}; mend the path or remove the line",
        "clip-13: the process that examined it was killed by SIGKILL (out of memory?); the other clips went on",
        "clip-17: 17 is no sound",
    )
    told = read_run(tmp_path / "run")
    assert told["manifest"]["sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert told["inquiry"]["language"] == "auto"
    assert told["manifest"]["clips"] == 20


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    manifest = corpus(tmp_path)
    one, three = (run(manifest, tmp_path / f"run{count}", processes=count).summary for count in (1, 3))
    assert without_timing(one) == without_timing(three)
    lines = [sorted((tmp_path / f"run{count}" / "results.jsonl").read_bytes().splitlines()) for count in (1, 3)]
    assert lines[0] == lines[1]


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    manifest = corpus(tmp_path)
    whole = run(manifest, tmp_path / "whole").summary
    results = tmp_path / "run" / "results.jsonl"
    run(manifest, tmp_path / "run", processes=2)
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:8]) + lines[8][:40])  # killed in the middle of the ninth line
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "heard.log").unlink()
    seen: list[tuple[int, int]] = []
    again = run(manifest, tmp_path / "run", processes=2, progress=lambda done, total: seen.append((done, total)))
    assert results.read_bytes().splitlines(keepends=True)[:8] == lines[:8]
    kept = {json.loads(line)["id"] for line in lines[:8]}
    heard = (tmp_path / "heard.log").read_text().split()
    assert sorted([*kept, *heard]) == sorted(f"clip-{index}" for index in range(20))
    assert seen == [(done, 20) for done in range(9, 21)]
    assert without_timing(again.summary) == without_timing(whole)


def test_a_finished_run_does_nothing_twice(tmp_path: Path) -> None:
    manifest = corpus(tmp_path)
    first = run(manifest, tmp_path / "run")
    before = (tmp_path / "run" / "results.jsonl").read_bytes()
    assert run(manifest, tmp_path / "run") == first
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == before
    assert len((tmp_path / "heard.log").read_text().split()) == 20
    regrouped = run(manifest, tmp_path / "run", groups=["language"]).summary
    assert list(regrouped["groups"]) == ["language"]


def test_another_run_needs_another_folder(tmp_path: Path) -> None:
    manifest = corpus(tmp_path, 3)
    run(manifest, tmp_path / "run")
    with pytest.raises(
        OptionError, match=r'holds a run with inquiry\.language "auto", now it is "zh"; give another folder, or restart'
    ):
        run(manifest, tmp_path / "run", inquiry=Inquiry(language="zh", evidence=False, causes=False))
    with pytest.raises(OptionError, match=r'a run with model.name "None", now it is "other.onnx"'):
        run(manifest, tmp_path / "run", model="other.onnx")
    manifest.write_text(manifest.read_text() + "\n\n")
    with pytest.raises(OptionError, match=r"a run with manifest\.sha256"):
        run(manifest, tmp_path / "run")
    (tmp_path / "heard.log").unlink()
    run(manifest, tmp_path / "run", model="other.onnx", restart=True)
    assert sorted((tmp_path / "heard.log").read_text().split()) == ["clip-0", "clip-1", "clip-2"]
    assert read_run(tmp_path / "run")["model"]["name"] == "other.onnx"


def test_what_cannot_begin_is_one_line_and_harms_nothing(tmp_path: Path) -> None:
    manifest = corpus(tmp_path, 3)
    done = run(manifest, tmp_path / "run")
    with pytest.raises(ModelError, match="the model is broken"):
        run(manifest, tmp_path / "run", model="broken", restart=True)
    assert run(manifest, tmp_path / "run") == done  # a restart that could not begin threw nothing away
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": "no sound"}')
    with pytest.raises(OptionError, match=r"empty.jsonl lists no clip that can be read: line 1: no field names the sound"):
        run(empty, tmp_path / "other")
    with pytest.raises(OptionError, match="processes and threads must be at least 1, got 0 and 1"):
        run(manifest, tmp_path / "other", processes=0)
    with pytest.raises(OptionError, match="there is no engine 'slurm'; choose local or ray"):
        run(manifest, tmp_path / "other", engine="slurm")


def test_a_changed_model_stops_the_run(tmp_path: Path) -> None:
    """Clip 13 kills its worker; the next one then opens another file than the first."""
    manifest = corpus(tmp_path)
    with pytest.raises(OptionError, match="the model file changed while the run went on; leave it alone, and restart"):
        run(manifest, tmp_path / "run", prepare=restless)


def restless(job: Job) -> tuple[dict[str, Any], Any]:
    """Open a model that is another one each time."""
    return {"sha256": str(os.getpid())}, prepared(job)[1]


# --- With the bundled model --------------------------------------------------------------------------------------------


def clip(name: str) -> DemoClip:
    return next(one for one in demo_clips() if one.path.stem == name)


def item(shown: DemoClip, **more: Any) -> Item:
    return Item(shown.path.stem, shown.path, shown.path.name, shown.text, **more)


def test_a_clip_is_examined_with_all_that_the_manifest_says() -> None:
    model, examine = opened(Job(None, 1, Inquiry(evidence=False, causes=False), opened))
    shown = clip("en_neutral_speech")
    words = tuple(WordTime(word, start, start + 0.1) for word, start in shown.words)
    record = examine(item(shown, language="en", emotion="happy", event="speech", words=words))
    assert record["model"] == model
    assert record["text"] == shown.heard
    assert record["language"] == "auto"
    assert {tag["kind"]: tag["wanted"] for tag in record["tags"]} == {
        "language": "en", "emotion": "HAPPY", "event": "Speech", "textnorm": None,
    }  # fmt: skip
    assert record["alignment"]["words"] == len(shown.words)
    assert (record["errors"]["unit"], record["errors"]["length"]) == ("word", len(shown.text.split()))


def test_errors_are_counted_in_the_unit_of_the_reference() -> None:
    """However wrong the language that was recognised, Chinese counts in characters."""
    _, examine = opened(Job(None, 1, Inquiry(evidence=False, causes=False), opened))
    english = clip("en_neutral_speech")
    record = examine(Item("x", english.path, "x.wav", "我们", language="zh"))
    assert record["errors"]["unit"] == "character"
    unsaid = examine(Item("x", english.path, "x.wav", "我们"))
    assert unsaid["errors"]["unit"] == "character"
    unknown = examine(Item("x", english.path, "x.wav"))
    assert (unknown["errors"], unknown["text"]) == (None, english.heard)


def test_the_manifest_may_set_the_prompt() -> None:
    _, examine = opened(Job(None, 1, Inquiry(language="manifest", evidence=False, causes=False), opened))
    shown = clip("zh_happy_speech")
    assert examine(item(shown, language="zh"))["language"] == "zh"
    assert examine(item(shown))["language"] == "auto"
    with pytest.raises(OptionError, match="'pt'"):
        examine(item(shown, language="pt"))


def test_an_unknown_language_stops_the_run_before_it_begins() -> None:
    with pytest.raises(OptionError, match="the model has no language 'xx'; choose one of auto, manifest, "):
        opened(Job(None, 1, Inquiry(language="xx"), opened))


def test_a_part_of_a_recording_is_recognised_alone(tmp_path: Path) -> None:
    _, examine = opened(Job(None, 1, Inquiry(evidence=False, causes=False), opened))
    from voxray.api import load_audio

    parts = [clip("zh_happy_speech"), clip("en_neutral_speech")]
    sounds = [load_audio(one.path).samples for one in parts]
    path = write_sound(Audio(np.concatenate(sounds)), tmp_path / "long.wav")
    length = len(sounds[0]) / 16000
    lines = [{"audio": path.name, "offset": 0, "duration": length, "text": parts[0].text},
             {"audio": path.name, "offset": length, "text": parts[1].text},
             {"audio": path.name, "offset": 60, "text": ""},
             {"audio": path.name, "offset": 1, "duration": 60, "text": ""}]  # fmt: skip
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    first, second, late, long = read_manifest(manifest).items
    assert examine(first)["text"] == parts[0].heard
    assert examine(second)["text"] == parts[1].heard
    assert examine(second)["duration"] == pytest.approx(len(sounds[1]) / 16000, abs=1e-3)
    with pytest.raises(AudioError, match=r"the clip is said to lie at 60 to .* s, but long.wav has .* s; mend its line"):
        examine(late)
    with pytest.raises(AudioError, match="the clip is said to lie at 1 to 61 s"):
        examine(long)
