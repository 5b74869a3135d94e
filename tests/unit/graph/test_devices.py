"""Which device a model runs on: by name, by what is there, and what happens when it does not start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import voxray
from voxray.graph import session
from voxray.graph.graph import Graph
from voxray.graph.session import CPU, DEVICES, Runner, RunOptions, run_options
from voxray.types import ModelError, OptionError


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose ONNX Runtime was built for a graphics card that is not plugged in."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CoreMLExecutionProvider", CPU])


def test_without_a_card_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["OpenVINOExecutionProvider", CPU])
    assert run_options() == RunOptions(None, (CPU,), wished=True)
    assert run_options("cpu", 3) == RunOptions(3, (CPU,))


@pytest.mark.usefixtures("card")
def test_a_card_is_taken_where_there_is_one() -> None:
    assert run_options().providers == ("CUDAExecutionProvider", CPU)
    assert run_options("CUDA:2") == RunOptions(None, ("CUDAExecutionProvider", CPU), number=2)
    assert run_options("coreml").providers == ("CoreMLExecutionProvider", CPU)  # never taken unasked


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("cudaa", "there is no device 'cudaa' (did you mean cuda?); choose auto or one of cpu, cuda"),
        ("gpu9", "there is no device 'gpu9'; choose auto or one of cpu, cuda"),
        ("cuda:x", "device 'cuda:x': 'x' is no whole number; give cuda or cuda:0"),
        ("cpu:1", "device 'cpu:1': cpu is one device; give cpu"),
        (
            "rocm",
            "the installed ONNX Runtime cannot use rocm; it can use: cpu, cuda, coreml. Install",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(device: str, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        run_options(device)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fails", [True, False])
def test_a_card_that_does_not_start_is_passed_over_only_unasked(
    fails: bool, data: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """ONNX Runtime either raises or goes on without the provider; both end on the CPU where the card was only wished for."""
    request.getfixturevalue("card")
    real, asked = onnxruntime.InferenceSession, []

    def opened(model: bytes, settings: Any, providers: list[tuple[str, dict[str, str]]], **more: Any) -> Any:
        asked.append(providers)
        if fails and providers[0][0] != CPU:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
        return real(model, settings, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    graph = Graph(data / "sensevoice-funasr" / "model.onnx")
    runner = Runner(graph, run_options("auto"))
    assert runner.device == "cpu"
    assert asked[0] == [(DEVICES["cuda"], {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}), (CPU, {})]
    with pytest.raises(ModelError if fails else OptionError, match="no CUDA-capable device" if fails else "does not start here"):
        Runner(graph, run_options("cuda")).run({}, [])


@pytest.mark.usefixtures("card")
def test_libraries_of_cuda_are_loaded_from_where_pip_puts_them(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime does not look there by itself, and prints what it does not find; that belongs into the error."""
    loads: list[str] = []
    real = onnxruntime.InferenceSession

    def preload() -> None:
        loads.append("cuda")
        sys.stdout.write("Failed to load libcublas.so.13: no such file\nPlease install CUDA.\n")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, settings, providers, **more: real(model, settings, providers=[CPU], **more),
    )
    graph = Graph(data / "sensevoice-funasr" / "model.onnx")
    assert Runner(graph, run_options("cpu")).device == "cpu"
    assert loads == []
    told = r"'CUDAExecutionProvider' does not start here \(Failed to load libcublas.so.13: no such file\); mend its installation"
    with pytest.raises(OptionError, match=told):
        Runner(graph, run_options("cuda")).run({}, [])
    assert loads == ["cuda"]
    assert capsys.readouterr().out == ""


def test_only_a_further_device_is_named() -> None:
    assert "device_id" not in session._exact(DEVICES["cuda"], 0)
    assert session._exact(DEVICES["cuda"], 2)["device_id"] == "2"
    assert session._exact(CPU, 0) == {}


def test_the_library_and_the_commands_pass_the_device_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = session.run_options
    monkeypatch.setattr(session, "run_options", lambda device, threads=None: asked.append(device) or real(device, threads))
    model = voxray.load_model(device="cpu", threads=1)
    assert model.describe()["device"] == "cpu"
    from voxray.cli import cli

    clip = str(sorted((Path(voxray.__file__).parent / "assets" / "clips").glob("en_n*.wav"))[0])
    cli.main(["transcribe", clip, "--device", "cpu"], standalone_mode=False)
    cli.main(["inspect", "--device", "cpu", "--json"], standalone_mode=False)
    assert asked == ["cpu"] * 3


def test_a_device_may_differ_in_the_last_bits_and_the_cpu_may_not(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read changes what a device fuses: a difference of 1e-4 of a logit is let through there, and refused on the CPU."""
    real = Runner.run

    def shaken(self: Runner, feeds: Any, outputs: Any) -> list[Any]:
        found = real(self, feeds, outputs)
        return [found[0] + np.float32(1e-4), *found[1:]] if len(outputs) > 20 else found

    monkeypatch.setattr(Runner, "run", shaken)
    path = data / "sensevoice-funasr" / "model.onnx"
    with pytest.raises(voxray.AnatomyError, match=r"changes the logits by .* \(at most 1e-05 is allowed\)"):
        voxray.load_model(path)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    monkeypatch.setattr(session, "_exact", lambda *_: {})
    real_session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, settings, providers, **more: real_session(model, settings, providers=[CPU], **more),
    )
    assert 5e-5 < voxray.load_model(path).proof.logit_difference < 2e-4
