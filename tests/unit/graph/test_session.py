"""Running a graph: inner tensors, buffers, and errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import voxray
from voxray.graph.session import Runner, RunOptions, expose, first_line
from voxray.types import ModelError, OptionError


@pytest.fixture
def feeds(funasr_model: Any) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(2).standard_normal((9, 560)).astype(np.float32)
    made: dict[str, np.ndarray] = funasr_model.feeds([noise], "en", textnorm=True)
    return made


def test_exposing_adds_outputs_and_changes_nothing_else(funasr_model: Any) -> None:
    graph, block = funasr_model.graph, funasr_model.anatomy.blocks[1]
    before = graph.model.SerializeToString()
    wider = onnx.ModelProto.FromString(expose(graph, [block.memory, block.memory, "ctc_logits"]))
    assert [one.name for one in wider.graph.output] == [*graph.outputs, block.memory]
    del wider.graph.output[-1]
    assert wider.SerializeToString(deterministic=True) == graph.model.SerializeToString(deterministic=True)
    assert graph.model.SerializeToString() == before
    assert len(before) < graph.path.stat().st_size / 3  # large weights stay where they are


def test_a_later_run_leaves_earlier_results_alone(funasr_model: Any, feeds: Any) -> None:
    runner = Runner(funasr_model.graph)
    names = ["ctc_logits", *(block.probabilities for block in funasr_model.anatomy.blocks)]
    first = runner.run(feeds, names)
    before = [one.copy() for one in first]
    for _ in range(3):
        later = runner.run({name: value[::-1] * 2 if value.ndim == 3 else value for name, value in feeds.items()}, names)
    assert not np.array_equal(later[0], before[0])
    assert all(np.array_equal(one, other) for one, other in zip(first, before, strict=True))


def test_attention_is_float32_where_the_graph_is_not(shared_fixtures: Path, data: Path, tmp_path: Path) -> None:
    for beside in ("tokens.json", "am.mvn"):
        (tmp_path / beside).write_bytes((data / "sensevoice-funasr" / beside).read_bytes())
    (tmp_path / "model.onnx").write_bytes((shared_fixtures / "sensevoice-variants" / "model_fp16.onnx").read_bytes())
    model = voxray.load_model(tmp_path)
    weights = model.trace(data / "audio" / "odd.wav").self_attention()
    assert weights.dtype == np.float32
    assert np.abs(weights.sum("key") - 1).max() < 2e-3


def test_a_tensor_asked_for_twice_comes_twice(funasr_model: Any, feeds: Any) -> None:
    name = funasr_model.anatomy.blocks[0].memory
    first, logits, second = Runner(funasr_model.graph).run(feeds, [name, "ctc_logits", name])
    assert np.array_equal(first, second)
    assert logits.shape == (1, 13, 280)


def test_results_stay_when_more_is_exposed(funasr_model: Any, feeds: Any) -> None:
    runner = Runner(funasr_model.graph)
    (plain,) = runner.run(feeds, ["ctc_logits"])
    blocks = funasr_model.anatomy.blocks
    (attention,) = runner.run(feeds, [blocks[0].probabilities])
    memory, attention_again = runner.run(feeds, [blocks[3].memory, blocks[0].probabilities])
    (plain_again,) = runner.run(feeds, ["ctc_logits"])
    assert np.array_equal(attention, attention_again)
    assert memory.shape == (1, 13, 48)
    assert np.abs(plain - plain_again).max() <= 1e-5


def test_one_session_serves_what_was_asked_for_before(funasr_model: Any, feeds: Any) -> None:
    runner, block = Runner(funasr_model.graph), funasr_model.anatomy.blocks[0]
    runner.run(feeds, [block.probabilities, block.memory])
    session = runner._session
    runner.run(feeds, ["ctc_logits"])
    runner.run(feeds, [block.memory])
    assert runner._session is session


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> bool:
    return "\n" not in str(caught.value) and "[ONNXRuntimeError]" not in str(caught.value)


def test_a_failing_run_is_told_in_one_line(funasr_model: Any, feeds: Any) -> None:
    runner = Runner(funasr_model.graph)
    with pytest.raises(ModelError, match=r"model\.onnx failed while running: .*/embed/Gather") as caught:
        runner.run(feeds | {"language": np.array([99], np.int32)}, ["ctc_logits"])
    assert one_line(caught)
    (logits,) = runner.run(feeds, ["ctc_logits"])  # and the next run is fine
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"language": np.array([0], np.int64)},
        {"nonsense": np.array([0], np.int32)},
        {"speech": np.zeros((1, 5, 80), np.float32)},
        {"speech": np.zeros((1, 5, 560), np.float64)},
    ],
    ids=["type of an id", "name", "width", "type of the features"],
)
def test_wrong_feeds_are_told_in_one_line(wrong: dict[str, np.ndarray], funasr_model: Any, feeds: Any) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx failed while running: ") as caught:
        Runner(funasr_model.graph).run(feeds | wrong, ["ctc_logits"])
    assert one_line(caught)


def test_a_missing_feed_is_told_in_one_line(funasr_model: Any, feeds: Any) -> None:
    del feeds["textnorm"]
    with pytest.raises(ModelError, match=r"failed while running: .*textnorm") as caught:
        Runner(funasr_model.graph).run(feeds, ["ctc_logits"])
    assert one_line(caught)


def test_a_tensor_that_does_not_exist_is_told_in_one_line(funasr_model: Any, feeds: Any, capfd: pytest.CaptureFixture[str]) -> None:
    runner = Runner(funasr_model.graph)
    with pytest.raises(ModelError, match=r"model\.onnx cannot be opened by ONNX Runtime: ") as caught:
        runner.run(feeds, ["no such tensor"])
    assert one_line(caught)
    assert capfd.readouterr() == ("", "")
    assert runner.run(feeds, ["ctc_logits"])[0].shape == (1, 13, 280)


def test_a_provider_that_is_not_installed_is_named(funasr_model: Any, feeds: Any) -> None:
    runner = Runner(funasr_model.graph, RunOptions(providers=("TpuProvider",)))
    with pytest.raises(OptionError, match=r"'TpuProvider' is not installed; this onnxruntime has: .*CPUExecutionProvider"):
        runner.run(feeds, ["ctc_logits"])


def test_a_provider_that_does_not_start_is_never_replaced(funasr_model: Any, feeds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists a provider whose libraries are missing and then runs on the processor instead."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: ["AnotherProvider"])
    with pytest.raises(OptionError, match="'CPUExecutionProvider' does not start here"):
        Runner(funasr_model.graph).run(feeds, ["ctc_logits"])


def test_a_session_that_fails_is_not_tried_again_on_another_provider(
    funasr_model: Any, feeds: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's own answer to a failing provider is to print a banner and to take the processor."""
    import onnxruntime

    tried = []

    def fail(_: Any, providers: list[Any], *__: Any) -> None:
        tried.append(providers)
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(ModelError, match=r"cannot be opened by ONNX Runtime: out of memory$"):
        Runner(funasr_model.graph).run(feeds, ["ctc_logits"])
    assert tried == [[("CPUExecutionProvider", {})]]
    assert capfd.readouterr() == ("", "")


def test_some_provider_must_be_named() -> None:
    with pytest.raises(OptionError, match="no execution provider is named"):
        RunOptions(providers=())


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(threads: int) -> None:
    with pytest.raises(OptionError, match=f"threads must be at least 1, got {threads}"):
        RunOptions(threads=threads)


def test_threads_reach_the_session(funasr_model: Any, feeds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def threads(options: RunOptions) -> int:
        runner = Runner(funasr_model.graph, options)
        runner.run(feeds, ["ctc_logits"])
        return int(runner._session.get_session_options().intra_op_num_threads)

    assert threads(RunOptions(threads=1)) == 1
    assert threads(RunOptions()) == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    assert threads(RunOptions(threads=1)) == 1
    assert threads(RunOptions()) == 0  # ONNX Runtime decides


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got bad dims\nmore", "INVALID_ARGUMENT : Got bad dims"),
        ("/a/b.cc:63 static C::From(x) [ONNXRuntimeError] : 1 : FAIL : Invalid device ID: 1", "FAIL : Invalid device ID: 1"),
        ("plain\nmore", "plain"),
        ("", "ValueError"),
    ],
)
def test_first_line(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line


def test_only_lasting_tensors_stay_exposed(funasr_model: Any, feeds: Any) -> None:
    blocks = funasr_model.anatomy.blocks
    maps = [block.probabilities for block in blocks]
    runner = Runner(funasr_model.graph, together=maps)

    def exposed() -> set[str]:
        return {one.name for one in runner._session.get_outputs()} - set(funasr_model.graph.outputs)

    runner.run(feeds, ["ctc_logits"])
    assert exposed() == set()
    runner.run(feeds, [maps[2]])
    assert exposed() == set(maps)
    runner.run(feeds, [blocks[0].memory])
    assert exposed() == {*maps, blocks[0].memory}
    session = runner._session
    runner.run(feeds, [maps[0], blocks[0].memory, "ctc_logits"])
    assert runner._session is session
    runner.run(feeds, [blocks[1].context])
    assert exposed() == {*maps, blocks[1].context}


def test_nobody_is_told_what_is_run() -> None:
    code = "import voxray.graph, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"


def test_the_home_folder_stays_empty(tmp_path: Path, clips: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    command = [sys.executable, "-m", "voxray", "transcribe", str(clips / "zh_happy_speech.wav")]
    known = json.loads((clips / "truth.json").read_text("utf-8"))["zh_happy_speech.wav"]
    told = subprocess.run(command, env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == (f"{known['text']}\n", "")
    assert list(tmp_path.rglob("*")) == []
