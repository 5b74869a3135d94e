"""What only some families can be told: to translate, to write timestamps, to listen for hotwords."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import voxray
from commands import Run, refused, runner
from voxray.types import OptionError

CLIP = Path(voxray.__file__).parent / "assets" / "clips" / "en_neutral_speech.wav"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_a_whisper_translates_and_writes_timestamps(run: Run, data: Path) -> None:
    model = data / "whisper-tiny-optimum"
    opened = voxray.load_model(model)
    plain = opened.transcribe(CLIP).text
    opened.instruct(task="translate")
    translated = opened.transcribe(CLIP).text
    assert translated != plain
    assert run("transcribe", CLIP, "-m", model) == (0, f"{plain}\n", "")
    assert run("transcribe", CLIP, "-m", model, "--task", "translate") == (0, f"{translated}\n", "")
    _, raw, _ = run("transcribe", CLIP, "-m", model, "--timestamps", "--style", "raw")
    assert raw.startswith("<|en|><|0.00|>")
    assert raw.count("<|") >= 3
    _, told, _ = run("trace", CLIP, "-m", model, "--task", "translate", "--json")
    assert json.loads(told)["text"] == translated


def test_a_seaco_listens_for_hotwords(run: Run, data: Path) -> None:
    model = data / "paraformer-variants" / "seaco"
    opened = voxray.load_model(model)
    plain = opened.transcribe(CLIP).text
    opened.instruct(hotwords=["你好", "魔搭"])
    assert opened.hotwords == ("你好", "魔搭")
    hot = opened.transcribe(CLIP).text
    assert hot != plain
    assert run("transcribe", CLIP, "-m", model) == (0, f"{plain}\n", "")
    for words in (("--hotwords", "你好,魔搭"), ("--hotwords", "你好", "--hotwords", "魔搭")):
        assert run("transcribe", CLIP, "-m", model, *words) == (0, f"{hot}\n", "")
    opened.instruct()
    assert opened.transcribe(CLIP).text == plain


@pytest.mark.parametrize("command", ["transcribe", "trace", "explain", "attention"])
def test_others_refuse_in_one_line(run: Run, command: str, tmp_path: Path) -> None:
    out = ("-o", tmp_path) if command == "attention" else ()
    assert "model.onnx cannot translate; use a multilingual Whisper" in refused(run(command, CLIP, "--task", "translate", *out))
    assert "writes no timestamps into its text; use a Whisper" in refused(run(command, CLIP, "--timestamps", *out))
    assert "takes no hotwords; use a SeACo or contextual Paraformer" in refused(run(command, CLIP, "--hotwords", "x", *out))
    assert list(tmp_path.iterdir()) == []


def test_what_every_model_does_is_no_instruction(run: Run) -> None:
    assert run("transcribe", CLIP, "--task", "transcribe")[0] == 0


def test_families_are_told_apart(bundled: Any, data: Path) -> None:
    whisper, paraformer = (voxray.load_model(data / one) for one in ("whisper-tiny-optimum", "paraformer-funasr/model.onnx"))
    bundled.instruct()
    with pytest.raises(OptionError, match="takes no hotwords"):
        whisper.instruct(hotwords=["x"])
    with pytest.raises(OptionError, match="cannot summarise; use a multilingual Whisper"):
        whisper.instruct(task="summarise")
    with pytest.raises(OptionError, match="cannot translate"):
        paraformer.instruct(task="translate")
    with pytest.raises(OptionError, match="takes no hotwords; use a SeACo or contextual Paraformer"):
        paraformer.instruct(hotwords=["x"])
