"""Runs a graph, with any of its inner tensors as further outputs.

One session is open at a time: a request for an inner tensor that it does not expose replaces it. The weights are mapped from the
model's own file, so a replacement costs no second copy on disk.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.graph import Graph
from voxray.types import ModelError, OptionError

Feeds = Mapping[str, npt.NDArray[Any]]
FLOAT16 = 10
CPU = "CPUExecutionProvider"
DEVICES = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "cann": "CANNExecutionProvider",
}
# Whoever installs these has a card and means it. The others compile each shape anew or round, so they must be asked for.
AUTOMATIC = ("cuda", "rocm", "migraphx", "directml")
NUMBERED = ("cuda", "tensorrt", "rocm", "migraphx", "directml", "cann")
# Settings without which a provider rounds its factors: an explanation must not depend on the card.
EXACT: dict[str, dict[str, str]] = {
    DEVICES["cuda"]: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    DEVICES["openvino"]: {"device_type": "CPU", "load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'},
}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a model.

    Attributes:
        threads: for one operator; None takes every core that this process may use.
        providers: execution providers of ONNX Runtime, best first.
        number: which of several devices of that kind, from 0.
        wished: whether the CPU will do where the first provider does not start.
    """

    threads: int | None = None
    providers: tuple[str, ...] = (CPU,)
    number: int = 0
    wished: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads must be at least 1, got {self.threads}")
        if not self.providers:
            raise OptionError("no execution provider is named; give at least one, such as CPUExecutionProvider")


def run_options(device: str = "auto", threads: int | None = None) -> RunOptions:
    """Return how to run a model on a device.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt``, ``rocm``, ``migraphx``, ``directml``, ``coreml``, ``openvino``, ``qnn``
            or ``cann``; or ``auto``: a graphics card that the installed ONNX Runtime can use and that starts, else the CPU.
        threads: for one operator on the CPU.

    Raises:
        OptionError: when there is no such device, or the installed ONNX Runtime cannot use it.
    """
    import onnxruntime

    have = onnxruntime.get_available_providers()
    if device == "auto":
        name = next((one for one in AUTOMATIC if DEVICES[one] in have), "cpu")
        return RunOptions(threads, tuple(dict.fromkeys([DEVICES[name], CPU])), wished=True)
    name, colon, number = device.lower().partition(":")
    if name not in DEVICES:
        close = difflib.get_close_matches(name, DEVICES, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise OptionError(f"there is no device {device!r}{meant}; choose auto or one of {', '.join(DEVICES)}")
    if colon and (name not in NUMBERED or not number.isdigit()):
        wrong = f"{number!r} is no whole number" if name in NUMBERED else f"{name} is one device"
        raise OptionError(f"device {device!r}: {wrong}; give {name}" + (f" or {name}:0" if name in NUMBERED else ""))
    if DEVICES[name] not in have:
        there = ", ".join(one for one, provider in DEVICES.items() if provider in have)
        raise OptionError(
            f"the installed ONNX Runtime cannot use {name}; it can use: {there}. "
            f"Install the ONNX Runtime built for {name} (docs/devices.md)"
        )
    return RunOptions(threads, tuple(dict.fromkeys([DEVICES[name], CPU])), number=int(number or 0))


def expose(graph: Graph, tensors: Sequence[str]) -> bytes:
    """Return the graph as a serialised model in which the named tensors are outputs too.

    Args:
        graph: the opened file.
        tensors: names of inner tensors.
    """
    import onnx

    present = graph.outputs
    extra = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(tensors) if name not in present]
    # Protobuf joins repeated fields of concatenated messages, so the model itself need not be copied and changed.
    addition = onnx.ModelProto(graph=onnx.GraphProto(output=extra))
    return bytes(graph.model.SerializeToString() + addition.SerializeToString())


class Runner:
    """A graph ready to run, from any number of threads.

    A session is opened for what is asked for. Tensors that are exposed but not asked for cost memory while a run lasts, so only
    those named in ``together`` stay exposed; others are forgotten when a later request needs a new session.

    Attributes:
        graph: the opened file.
        options: threads and execution providers.
    """

    def __init__(
        self,
        graph: Graph,
        options: RunOptions | None = None,
        together: Iterable[str] = (),
        entries: Mapping[str, str] | None = None,
    ) -> None:
        self.graph, self._entries = graph, entries
        self.options = options or RunOptions()
        self._together = frozenset(together)
        self._halves = frozenset(name for name, (kind, _) in graph.inputs.items() if kind == FLOAT16)
        self._exposed: frozenset[str] = frozenset()
        self._session: Any = None
        self._opening = threading.Lock()

    @property
    def device(self) -> str:
        """What the graph runs on, such as ``cpu`` or ``cuda``."""
        provider = self._open([]).get_providers()[0]
        return next((name for name, one in DEVICES.items() if one == provider), provider)

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Run the graph once.

        Args:
            feeds: input name -> array of the type that the graph declares; float32 will do where it declares float16.
            outputs: names of outputs or inner tensors.

        Returns:
            The tensors in the order asked for. They stay in the memory that ONNX Runtime computed them in, which is much
            cheaper than fresh memory for each of many large ones.

        Raises:
            ModelError: when the graph fails.
        """
        session = self._open(outputs)
        names = list(dict.fromkeys(outputs))
        try:
            values = session.run(names, {name: _half(one) if name in self._halves else one for name, one in feeds.items()})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelError(f"{self.graph.path.name} failed while running: {first_line(error)}") from error
        found = dict(zip(names, values, strict=True))
        return [found[name] for name in outputs]

    def _open(self, outputs: Sequence[str]) -> Any:
        """Return a session that exposes what is asked for. One that is replaced lives on until the runs of other threads end."""
        asked = frozenset(outputs)
        with self._opening:
            if self._session is None or not asked <= self._exposed:
                lasting = self._together if (asked | self._exposed) & self._together else frozenset()
                own = frozenset(self.graph.outputs)
                self._session = None  # the old session's memory goes before the new one's comes
                model = expose(self.graph, sorted((lasting | asked) - own))
                self._session = open_session(self.graph, model, self.options, self._entries)
                self._exposed = own | lasting | asked
            return self._session


def _half(values: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    return values.astype(np.float16, copy=False)


def open_session(graph: Graph, model: bytes, options: RunOptions, entries: Mapping[str, str] | None = None) -> Any:
    """Return an ``onnxruntime.InferenceSession``.

    Args:
        graph: the opened file, in whose folder the weights lie.
        model: the model to run, serialised.
        options: threads and execution providers.
        entries: further settings of the session.

    Raises:
        ModelError: when ONNX Runtime refuses the graph.
        OptionError: when an execution provider is not there.
    """
    import onnxruntime

    missing = [name for name in options.providers if name not in onnxruntime.get_available_providers()]
    if missing:
        have = ", ".join(onnxruntime.get_available_providers())
        raise OptionError(f"execution provider {missing[0]!r} is not installed; this onnxruntime has: {have}")
    lacking = _libraries(options.providers)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what goes wrong is raised, not printed
    settings.intra_op_num_threads = options.threads or _cores()
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.folder))
    for name, value in (entries or {}).items():
        settings.add_session_config_entry(name, value)
    wanted = [(name, _exact(name, options.number)) for name in options.providers]
    if DEVICES["directml"] in options.providers:  # it asks for both
        settings.enable_mem_pattern, settings.execution_mode = False, onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    try:
        session = onnxruntime.InferenceSession(model, settings, providers=wanted, enable_fallback=False)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        if options.wished and options.providers != (CPU,):
            return open_session(graph, model, replace(options, providers=(CPU,)), entries)
        raise ModelError(f"{graph.path.name} cannot be opened by ONNX Runtime: {first_line(error)}") from error
    # Where its libraries are missing, ONNX Runtime goes on without a word.
    if options.providers[0] not in session.get_providers() and not options.wished:
        why = f" ({lacking})" if lacking else ""
        raise OptionError(
            f"execution provider {options.providers[0]!r} does not start here{why}; mend its installation or name another one"
        )
    return session


def _libraries(providers: Sequence[str]) -> str:
    """Load CUDA's libraries from the packages that pip installs, where no linker looks; return what is lacking, in one line."""
    import onnxruntime

    if not {DEVICES["cuda"], DEVICES["tensorrt"]} & set(providers):
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it does not find
        onnxruntime.preload_dlls()
    return said.getvalue().strip().partition("\n")[0]


def _exact(provider: str, number: int) -> dict[str, str]:
    """Return the settings of a provider: which device, and no rounding of factors."""
    numbered = {DEVICES[name] for name in NUMBERED}
    # The first device is not named: ONNX Runtime 1.31 prints a warning for every session in which it is.
    return EXACT.get(provider, {}) | ({"device_id": str(number)} if number and provider in numbered else {})


def _cores() -> int:
    """Return how many cores this process may use; 0, ONNX Runtime's own choice, where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def first_line(error: BaseException) -> str:
    """Return an error's text up to its first line break, without ONNX Runtime's code and what stands before it."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    _, coded, told = text.rpartition("[ONNXRuntimeError] : ")
    return told.partition(" : ")[2] if coded else text
