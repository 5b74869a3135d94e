"""Opens models, sounds and traces: the functions behind ``import voxray``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxray.audio import load_audio, probe_audio
from voxray.trace import Trace
from voxray.tracefile import read_trace
from voxray.types import Progress, TraceError

if TYPE_CHECKING:
    from voxray.models import ListedModel, Recogniser

__all__ = [
    "draft_description",
    "draw_attention",
    "find_model",
    "known_models",
    "load_audio",
    "load_model",
    "load_trace",
    "probe_audio",
]


def load_model(
    source: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    device: str = "auto",
    providers: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Recogniser:
    """Open a recogniser and let it prove that its attention can be read.

    Args:
        source: an ``.onnx`` file or a folder that holds one, an id on a hub (``hf:owner/name``, ``ms:owner/name``), or a name that
            ``known_models`` lists; None for the bundled model. An id may end in ``@revision`` and ``:int8``, ``:fp32``, ...
        threads: for one operator; None takes every core that this process may use.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``directml``, ``coreml``, ``openvino``, ...; ``auto`` takes a graphics card if the
            installed ONNX Runtime can use one and it starts, else the CPU.
        providers: execution providers of ONNX Runtime by their own names, best first, instead of a device.
        progress: called with the bytes that were fetched and all that are missing, where an id is not on this machine.

    Returns:
        The model: ``transcribe``, ``transcribe_batch``, ``trace``, ``anatomy``, ``proof``, ``info``, ``languages``.

    Raises:
        ModelError: when there is no model, it cannot be fetched, or it is none of a known kind.
        AnatomyError: when its attention cannot be read or does not add up.
        OptionError: when threads, device or providers make no sense, or the installed ONNX Runtime cannot use them.
    """
    from voxray.graph.session import RunOptions, run_options
    from voxray.models import BUNDLED, located, open_files

    options = run_options(device, threads) if providers is None else RunOptions(threads, tuple(providers))
    return open_files(located(BUNDLED if source is None else source, progress), options)


def find_model(source: str | os.PathLike[str], *, progress: Progress | None = None) -> tuple[Path, ...]:
    """Return the model files that a path, an id on a hub or a known name stands for, fetched if they are nowhere on this machine.

    Args:
        source: as for ``load_model``.
        progress: called with the bytes that were fetched and all that are missing.

    Raises:
        ModelError: when there is no such model, or it cannot be fetched.
    """
    from voxray.models import located

    return tuple(located(source, progress))


def draft_description(source: str | os.PathLike[str]) -> str:
    """Return the draft of a description of a model that Voxray does not know, as ``voxray.toml`` beside it would hold it.

    Args:
        source: as for ``load_model``.

    Raises:
        ModelError: when there is no such model, or it cannot be read.
    """
    from voxray.graph.graph import Graph
    from voxray.models import located
    from voxray.models.generic.template import template

    return template(Graph(located(source)[0]))


def known_models() -> tuple[ListedModel, ...]:
    """Return the models that have a short name and those that were fetched, each with where this machine has it."""
    from voxray.models import listed_models

    return tuple(listed_models())


def load_trace(path: str | os.PathLike[str], model: Recogniser | None = None) -> Trace:
    """Read a trace that ``Trace.save`` wrote.

    Args:
        path: the file.
        model: the model that made it; then every inner tensor can be had, not only what was saved.

    Raises:
        TraceError: when the file is missing, damaged or no trace, or the model is another one.
    """
    trace = read_trace(Path(path))
    if model is None:
        return trace
    if model.info.sha256 != trace.model.sha256:
        raise TraceError(f"{path} was made with {trace.model.name}, not with {model.info.name}; open that model")
    return replace(trace, evidence=tuple(model.replay(part, trace.language, textnorm=trace.textnorm) for part in trace.features))


def draw_attention(
    source: Any, path: str | os.PathLike[str], *, model: Recogniser | None = None, language: str = "auto", **options: Any
) -> Trace:
    """Go from a sound to a picture of its attention in one call.

    Args:
        source: a path, bytes, file object, array or ``Audio`` of at most 30 s.
        path: where to write the picture; PNG, SVG or PDF by its ending.
        model: an open model, or None for the bundled one.
        language: for the model.
        **options: fields of ``AttentionView`` (layer, head, aggregate, normalise, smooth, tags) and of the style (theme, dpi).

    Returns:
        The trace; its ``text`` is what was recognised.

    Raises:
        VoxrayError: when sound, model, option or path is not usable.
    """
    from voxray import plot

    trace = (model or load_model()).trace(source, language)
    plot.attention(trace, path=path, **options)
    return trace
