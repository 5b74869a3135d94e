"""Every call and every command in the table "from the tutorial to Voxray" works as it is written there."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import voxray
from hubserver import FUNASR, bare_machine, serving
from voxray import cli
from voxray.models import BUNDLED

ROOT = Path(__file__).parents[2]
GIVEN = ("voxray", "model", "trace", "found", "study", "monitor", "AttentionView")
ENDLESS = ("voxray live --json", "voxray app")  # a microphone; a page that is served until it is stopped
SAID = "we removed my rice with cabbage"
NAMED = {"PATH": "a.onnx", "FILE": "clip.wav --speed 0", "TEXT": f'"{SAID}"', "the right text": SAID}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the files that the table names, on a machine without models; a hub has the one model that it names."""
    folder = tmp_path_factory.mktemp("tutorial")
    clips = BUNDLED.parent / "clips"
    with pytest.MonkeyPatch.context() as patch, serving() as hub:
        bare_machine(folder, patch)
        hub.files = {FUNASR: {path.name: path.read_bytes() for path in sorted(BUNDLED.iterdir())}}
        patch.setenv("MODELSCOPE_DOMAIN", hub.url)
        place = folder / "desk"
        shutil.copytree(BUNDLED, place, dirs_exist_ok=True)
        for name, model in {"a": "model.onnx", "b": "model_quant.onnx"}.items():
            shutil.copy(place / model, place / f"{name}.onnx")
        for name, clip in {"clip": "en_noise_burst", "a": "zh_happy_speech", "b": "en_neutral_speech"}.items():
            shutil.copy(clips / f"{clip}.wav", place / f"{name}.wav")
        entry = {"audio": "a.wav", "text": "明年爷爷使用雨衣", "language": "zh"}
        (place / "corpus.jsonl").write_text(json.dumps(entry, ensure_ascii=False) + "\n", encoding="utf-8")
        for run in ("run", "run1", "run2"):
            voxray.evaluate(place / "corpus.jsonl", place / run)
        yield place


def spans(column: int, page: str = "tutorial.md") -> list[str]:
    """What stands in code marks in a column of the table, in order."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[column + 1] for line in lines if line.startswith("| ") and not line.startswith(("| step", "| 步骤"))]
    return [one for cell in cells for one in re.findall(r"`([^`]+)`", cell)]


def calls() -> list[str]:
    return [one for one in spans(1) if one.split("(")[0].split(".")[0].split(" ")[0] in GIVEN]


def shape(command: str) -> tuple[str, frozenset[str]]:
    """The subcommand and the options of a command."""
    parts = shlex.split(command)
    return parts[1], frozenset(one for one in parts[2:] if one.startswith("-"))


def commands() -> list[str]:
    """Every command that the README has not likewise; options alone are those of the command that they are for."""
    bare = {"--model": "voxray transcribe clip.wav", "--tags": "voxray attention clip.wav"}
    found = [
        one if one.startswith("voxray") else f"{bare.get(one.split()[0], 'voxray attention clip.wav')} {one}" for one in spans(2)
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    tested = {shape(line.split("#")[0]) for line in readme if line.startswith("    voxray ")}  # by test_readme.py
    return [one for one in dict.fromkeys(found) if one not in ENDLESS and (FUNASR in one or shape(one) not in tested)]


def filled(told: str) -> str:
    """Put files and texts where the table only names them."""
    for name, value in NAMED.items():
        told = re.sub(rf"\b{name}\b", value, told)
    return told


def test_the_calls_work_in_their_order(desk: Path) -> None:
    names: dict[str, Any] = {"voxray": voxray, "AttentionView": voxray.AttentionView}
    assert len(calls()) >= 25
    for call in calls():
        one = filled(call)
        tree = ast.parse(one)
        if isinstance(tree.body[-1], ast.Expr):
            value = eval(compile(ast.Expression(tree.body[-1].value), one, "eval"), names)
            assert value is not None or one.startswith("monitor."), one
        else:
            exec(compile(tree, one, "exec"), names)
    assert names["trace"].text == "we removed bicycle rice with cabbage"
    assert names["model"].info.sha256 == voxray.load_model(BUNDLED).info.sha256
    assert names["study"].clips[0].forced
    assert [one.cause for one in names["found"].findings] == ["noise"]
    pictures = {"a.png", "o.png", "h.png", "p.png", "l.png", "last.png", "last.gif"}
    assert {path.name for path in desk.iterdir()} >= pictures


def test_the_commands_work_in_their_order(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(commands()) >= 10
    for one in commands():
        parts = [path for part in shlex.split(filled(one)) for path in (sorted(desk.glob(part)) if "*" in part else [part])]
        monkeypatch.setattr(sys, "argv", [str(part) for part in parts])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, one


def test_every_step_that_people_expect_has_a_row() -> None:
    steps = [
        line.split(" | ")[0].strip("| ") for line in (ROOT / "docs" / "tutorial.md").read_text("utf-8").splitlines() if "|" in line
    ]
    assert len(steps) == len(set(steps))
    wanted = ("load", "weights", "min-max", "300 dpi", "one call", "error", "alignment quality", "languages", "emotion", "smooth",
              "overlay", "monitor", "last ten", "web page", "evaluation", "fp32 against int8")  # fmt: skip
    for one in wanted:
        assert any(one in step for step in steps), one


@pytest.mark.parametrize("column", [1, 2])
def test_both_languages_have_the_same_calls_and_commands(column: int) -> None:
    assert spans(column, "tutorial.zh.md") == spans(column)
