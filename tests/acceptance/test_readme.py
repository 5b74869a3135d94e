"""What the documents say works as written."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray import cli
from voxray.exports import write_export
from voxray.models import BUNDLED
from voxray.studies import causes, gates
from voxray.studies.decisions import Decision

ROOT = Path(__file__).parent.parent.parent
READMES = ("README.md", "README.zh-CN.md")
COMMANDS = {"README.md": 20, "docs/evaluate.md": 4}
ELSEWHERE = ("-m whisper-base", "voxray live", "voxray app", "voxray bench")  # need a hub or a microphone, or take long
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


@pytest.fixture
def desk(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documents talk of."""
    for name in ("clip.wav", "meeting.m4a", "a.wav", "b.wav"):  # what a sound is, is told by its content
        shutil.copy(clips / "zh_happy_speech.wav", tmp_path / name)
    shutil.copytree(BUNDLED, tmp_path, dirs_exist_ok=True)
    for folder in ("path/to", "path/to/SenseVoiceSmall-onnx"):
        shutil.copytree(BUNDLED, tmp_path / folder, dirs_exist_ok=True)
    shutil.copytree(clips, tmp_path / "clips")
    known = json.loads((clips / "truth.json").read_text(encoding="utf-8"))
    spoken = ("en_noise_burst.wav", "ko_angry_speech.wav", "yue_neutral_speech.wav", "zh_happy_speech.wav")
    words = [{"text": one["word"], "start": one["start"], "end": one["end"]} for one in known["zh_happy_speech.wav"]["words"]]
    write_export({"id": "clip", "duration": 4.0, "words": words}, tmp_path / "clip.TextGrid")
    manifest(tmp_path / "corpus.jsonl", [{"audio": f"clips/{name}", "speaker": name[:2], **known[name]} for name in spoken])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest(path: Path, entries: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in entries), encoding="utf-8")


def status(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command as a shell would; return its exit code."""
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def block(name: str, opening: str, closing: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.search(f"{re.escape(opening)}\n(.*?){re.escape(closing)}", text, re.DOTALL)
    assert found is not None
    return found.group(1)


def commands_of(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.split("#")[0].strip() for line in lines if line.startswith("    voxray ")]
    return [command for command in found if not any(part in command for part in ELSEWHERE)]


def test_the_python_of_the_readme_runs(desk: Path) -> None:
    code = block("README.md", "```python", "```")
    found: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), found)
    assert {"attention.png", "attention.svg", "clip.trace", "report.html"} <= {path.name for path in desk.iterdir()}
    assert [one.mistake.reference for one in found["wrong"].findings] == ["the right text"]
    assert found["run"].summary["overall"]["causes"] == {"noise": 1}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_of_the_documents_run(name: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = commands_of(name)
    assert len(commands) == COMMANDS[name]
    for command in commands:
        assert status(command, monkeypatch) == 0, command
    written = {"pictures/clip-heads.png", "why.html", "languages/languages.csv", "report.html"} if name == "README.md" else set()
    for path in {*written, "run1/report.html", "run2/results.jsonl"}:
        assert (desk / path).is_file(), path


def test_the_example_is_what_voxray_prints(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command, *shown = block("README.md", "```text", "```").strip().splitlines()
    assert status(command.removeprefix("$ "), monkeypatch) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.strip().splitlines()]
    assert [NUMBER.sub("#", line) for line in shown] == [NUMBER.sub("#", line) for line in printed]
    figures = [[float(one) for line in lines for one in NUMBER.findall(line)] for lines in (shown, printed)]
    np.testing.assert_allclose(figures[0], figures[1], rtol=0.02, atol=0.06)  # other processors round otherwise


@pytest.mark.parametrize(
    ("entry", "options", "code"),
    [
        ({"audio": "clips/en_noise_burst.wav"}, "", 0),
        ({"audio": "clips/en_noise_burst.wav"}, "--fail-if 'error_rate > 8%'", 1),
        ({"audio": "clips/absent.wav"}, "", 2),
        ({"audio": "clips/absent.wav"}, "--fail-if 'error_rate > 8%'", 1),
    ],
)
def test_exit_codes(entry: dict[str, object], options: str, code: int, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = {"text": "we removed my rice with cabbage"}
    manifest(desk / "two.jsonl", [{"audio": "clips/en_noise_burst.wav", "id": "one"} | text, entry | text])
    assert status(f"voxray evaluate two.jsonl -o run --no-report {options}", monkeypatch) == code


def test_the_table_of_causes_is_that_of_the_code() -> None:
    table = (ROOT / "docs" / "why.md").read_text(encoding="utf-8").partition("| cause | suspected when")[2].partition("\n\n")[0]
    rows = {cells[1].strip(" `"): row for row in table.splitlines()[2:] if (cells := row.split("|"))}
    assert tuple(rows) == causes.CAUSES
    bounds = {
        "language": [f"less than {causes.UNHEARD:g}"],
        "noise": [f"under {causes.NOISY:g} dB", f"in {('three', 'four', 'five', 'six')[len(causes.GATES) - 3]} strengths"],
        "truncation": [f"within {causes.NEAR_EDGE:g} s", f"{causes.CUT:g} dB", f"{causes.QUIET_PAD:g} s of the clip's own quiet"],
        "fast speech": [*(f"{rate}" for rate in causes.FAST.values()), *(f"{factor:g}" for factor in causes.SLOWER)],
        "quantisation": [f"{causes.FAINT:g} dB"],
        "reference error": [f"at least {causes.FIRM:g} nats"],
    }
    for name, told in bounds.items():
        for one in told:
            assert one in rows[name], (name, one)


def test_the_gates_of_the_documents_exist() -> None:
    text = (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    told = text.partition("Figures: ")[2].partition(". A figure")[0]
    assert set(re.findall(r"`(\w+)`", told)) == set(gates.FIGURES)


def test_every_field_of_a_decision_is_told() -> None:
    rows = (ROOT / "docs" / "why.md").read_text(encoding="utf-8").partition("## Decision traces")[2].partition("\n## ")[0]
    told = {name for cell in re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert told == {field.name for field in fields(Decision)} | {"probability", "stable", "explained"}


def test_both_readmes_say_the_same() -> None:
    codes = [re.sub(r"#.*", "", block(name, "```python", "```")) for name in READMES]
    assert [line.rstrip() for line in codes[0].splitlines()] == [line.rstrip() for line in codes[1].splitlines()]
    assert commands_of(READMES[0]) == commands_of(READMES[1])
    assert block(READMES[0], "```text", "```") == block(READMES[1], "```text", "```")
    figures = [re.findall(r"\d\.\d\d \[\d\.\d\d-\d\.\d\d\]", (ROOT / name).read_text(encoding="utf-8")) for name in READMES]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 6


def test_make_has_the_targets_that_the_documents_name() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in (*READMES, "CONTRIBUTING.md"):
        assert set(re.findall(r"(?:^ {4}|`)make ([\w-]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)) <= targets


def test_options_of_the_tutorial_table_exist() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    known = {name for command in cli.cli.commands.values() for option in command.params for name in option.opts}
    named = set(re.findall(r"(--[a-z]+(?:-[a-z]+)*)", text))
    assert named
    assert named <= known


def test_pictures_that_the_documents_show_are_there() -> None:
    for name in READMES:
        for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), path
