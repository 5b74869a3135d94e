"""What the documents say works as written."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxray import cli
from voxray.models import BUNDLED

ROOT = Path(__file__).parent.parent.parent
READMES = ("README.md", "README.zh-CN.md")


@pytest.fixture
def desk(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documents talk of."""
    for name in ("clip.wav", "meeting.m4a"):  # what a sound is, is told by its content
        shutil.copy(clips / "zh_happy_speech.wav", tmp_path / name)
    parts = [soundfile.read(path, dtype="float32")[0] for path in sorted(clips.glob("*.wav"))]
    soundfile.write(tmp_path / "lecture.mp3", np.concatenate(parts * 6), 16000)
    for folder in ("path/to", "path/to/SenseVoiceSmall-onnx"):
        shutil.copytree(BUNDLED, tmp_path / folder, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def block(name: str, opening: str, closing: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.search(f"{re.escape(opening)}\n(.*?){re.escape(closing)}", text, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("name", READMES)
def test_the_python_of_the_readme_runs(name: str, desk: Path) -> None:
    code = block(name, "```python", "```")
    exec(compile(code, name, "exec"), {})
    assert {"attention.png", "attention.svg", "clip.trace"} <= {path.name for path in desk.iterdir()}


@pytest.mark.parametrize("name", READMES)
def test_the_commands_of_the_readme_run(name: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    commands = [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("    voxray ")]
    assert len(commands) == 11
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, command
    assert (desk / "pictures" / "clip-heads.png").is_file()


def test_both_readmes_say_the_same() -> None:
    codes = [re.sub(r"#.*", "", block(name, "```python", "```")) for name in READMES]
    assert [line.rstrip() for line in codes[0].splitlines()] == [line.rstrip() for line in codes[1].splitlines()]
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
    named = set(re.findall(r"(--[a-z]+)", text))
    assert named
    assert named <= known


def test_pictures_that_the_documents_show_are_there() -> None:
    for name in READMES:
        for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), path
