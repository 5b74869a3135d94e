"""The command ``models`` and the option that names a model, run in this process: what they print and how they end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import voxray
from commands import Result, runner
from voxray.cli.inspect import inspect
from voxray.cli.models import MODEL, bar, megabytes

SHERPA = "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17"
CACHES = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HOME",
    "XDG_CACHE_HOME",
    "MODELSCOPE_CACHE",
    "HF_ENDPOINT",
    "MODELSCOPE_DOMAIN",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Result]:
    """Run the command line on a machine without models or network; returns exit code, standard output, standard error."""
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE", "VOXRAY_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("VOXRAY_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    return runner(monkeypatch, capsys)


@pytest.fixture
def archive(tmp_path: Path, data: Path) -> Path:
    """A model as an unpacked archive leaves it in the working folder."""
    return Path(shutil.copytree(data / "sensevoice-funasr", tmp_path / SHERPA))


def test_the_list(run: Any, archive: Path) -> None:
    code, out, err = run("models")
    assert (code, err) == (0, "")
    for one in voxray.known_models():
        assert one.alias in out
        assert one.source in out
    assert "    fp32 938 MB, int8 239 MB, exported by sherpa-onnx" in out
    assert f"    here: model.onnx 0.9 MB, model_quant.onnx 0.5 MB, in the working folder: {archive}\n" in out
    assert out.count("here:") == 1


def test_the_list_as_json(run: Any, archive: Path) -> None:
    code, out, err = run("models", "--json")
    assert (code, err) == (0, "")
    listed = {one["alias"]: one for one in json.loads(out)["models"]}
    small = listed["sensevoice-small"]
    assert (small["source"], small["family"], small["licence"]) == (f"hf:csukuangfj/{SHERPA}", "sensevoice", "")
    assert small["sizes"] == {"fp32": 938_000_000, "int8": 239_000_000}
    assert small["held"] == [["the working folder", str(archive), {"model.onnx": 908_661, "model_quant.onnx": 457_528}]]
    assert all(one["held"] == [] for name, one in listed.items() if name != "sensevoice-small")


def test_where_a_model_is(run: Any, archive: Path) -> None:
    assert run("models", "--fetch", "sensevoice-small") == (0, f"{archive / 'model.onnx'}\n", "")
    code, out, _ = run("models", "--fetch", "sensevoice-small:int8", "--json")
    assert json.loads(out) == {"source": "sensevoice-small:int8", "files": [str(archive / "model_quant.onnx")]}
    assert code == 0


@pytest.mark.parametrize("words", [("models", "--fetch"), ("inspect",), ("languages", "x.wav", "-m"), ("trace", "x.wav", "-m")])
def test_a_model_that_is_not_here(run: Any, words: tuple[str, ...]) -> None:
    code, out, err = run(*words, "sensevoice-small-funasr")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("voxray: ms:iic/SenseVoiceSmall-onnx is not on this machine and VOXRAY_OFFLINE is set")
    assert "www.modelscope.cn/models/iic/SenseVoiceSmall-onnx/files" in err


def test_inspect_takes_a_name(run: Any, archive: Path) -> None:
    code, out, _ = run("inspect", "sensevoice-small:int8", "--json")
    assert (code, json.loads(out)["precision"]) == (0, "int8")


def test_evaluate_takes_a_name(run: Any, archive: Path, tmp_path: Path, data: Path) -> None:
    line = {"audio": str(data / "audio" / "short.wav"), "text": "an"}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(line), encoding="utf-8")
    code, _, err = run("evaluate", "corpus.jsonl", "-o", "run", "-m", "sensevoice-small:int8", "--processes", 1)
    assert (code, err) == (0, "")
    told = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (told["model"]["precision"], told["model_path"]) == ("int8", "sensevoice-small:int8")


def test_completing_words_fetches_nothing(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(voxray, "find_model", lambda source, **_: asked.append(source))
    with inspect.make_context("inspect", ["sensevoice-small"], resilient_parsing=True) as context:
        assert context.params["model"] == "sensevoice-small"
    assert asked == []
    with inspect.make_context("inspect", ["sensevoice-small"]):
        assert asked == ["sensevoice-small"]


def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("a model") as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with bar("a model") as progress:
        progress(50_000_000, 200_000_000)
        progress(200_000_000, 200_000_000)
    told = capsys.readouterr()
    assert told.out == ""
    assert "a model" in told.err
    assert "200.0/200.0 MB" in told.err


def test_small_things() -> None:
    assert megabytes(241_216_270) == "241 MB"
    assert MODEL.convert(str(Path(voxray.__file__).parent / "assets" / "model"), None, click.Context(inspect)).endswith("model")
