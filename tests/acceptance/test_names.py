"""Names in a model's file mean nothing: with every one of them changed, the same is found, said, shown and explained.

What is needed at least, besides the graph itself: the type and the axes of the inputs and of the output, and of files that keep
their normalisation in their metadata, that metadata. Names of the nodes, of the tensors, of the weights and of the inputs and
outputs are not needed, and neither is what an exporter says of them in a node's metadata.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import version_converter

import voxray

FILES = [
    "sensevoice-funasr/model.onnx",
    "sensevoice-funasr/model_quant.onnx",
    "sensevoice-funasr-dynamo/model.onnx",
    "sensevoice-funasr-dynamo/model_quant.onnx",
    "sensevoice-sherpa/model.onnx",
    "sensevoice-sherpa/model.int8.onnx",
    "sensevoice-lovemefan/sense-voice-encoder.onnx",
    "sensevoice-lovemefan/sense-voice-encoder-int8.onnx",
    "sensevoice-dynamo/model.onnx",
    "sensevoice-dynamo/model_int8.onnx",
    "sensevoice-variants/model_fp16.onnx",
    "sensevoice-variants/model_q4.onnx",
]


@pytest.fixture
def folder_of(shared_fixtures: Path, data: Path, tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a model into a folder with what lies beside the original (tokens and the like); return its file."""

    def write(name: str, model: Any) -> Path:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        source = (shared_fixtures / name).parent
        beside = source if source.name != "sensevoice-variants" else data / "sensevoice-funasr"
        for file in beside.iterdir():
            if ".onnx" not in file.name:
                shutil.copyfile(file, folder / file.name)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return folder / "m.onnx"

    return write


def renamed(model: Any) -> Any:
    """Return the model with every name in it changed, inputs and outputs as well, and all metadata of nodes gone."""
    names: dict[str, str] = {"": ""}

    def new(name: str) -> str:
        return names.setdefault(name, f"n{len(names)}")

    graph = model.graph
    graph.name = "g"
    del graph.value_info[:], model.functions[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = new(f"axis {axis.dim_param}")
    for node in graph.node:
        node.name, node.doc_string = new(f"node {node.name}"), ""
        node.input[:], node.output[:] = [new(name) for name in node.input], [new(name) for name in node.output]
        del node.metadata_props[:]
    return model


def evidence(path: Path, data: Path) -> tuple[Any, Any, list[Any]]:
    """Return an opened model, its trace of a sound, and its exact explanations of two decisions."""
    model = voxray.load_model(path)
    trace = model.trace(data / "audio" / "short.wav", tensors=["memory"])
    return model, trace, [voxray.explain(model, trace, target=target, method="exact") for target in ("emotion", "text")]


def same(one: tuple[Any, Any, list[Any]], other: tuple[Any, Any, list[Any]], near: float) -> None:
    assert [tag.label for tag in one[1].tags] == [tag.label for tag in other[1].tags]
    assert one[1].raw_text == other[1].raw_text
    assert np.abs(one[1].log_probs - other[1].log_probs).max() <= near
    for found, wanted in (
        (one[1].self_attention(), other[1].self_attention()),
        (one[1].token_attention(), other[1].token_attention()),
        (one[1].tensor("memory"), other[1].tensor("memory")),
        *((found.scores, wanted.scores) for found, wanted in zip(one[2], other[2], strict=True)),
    ):
        assert np.abs(np.asarray(found) - np.asarray(wanted)).max() <= near
    assert max(abs(found.residual) for found in one[2]) <= 1e-4


@pytest.mark.parametrize("name", FILES)
def test_names_mean_nothing(name: str, shared_fixtures: Path, folder_of: Any, data: Path) -> None:
    model = onnx.load(shared_fixtures / name)
    plain, other = folder_of(name, model), folder_of(name, renamed(onnx.load(shared_fixtures / name)))
    assert not {node.name for node in model.graph.node} & {node.name for node in onnx.load(other).graph.node} - {""}
    one, two = evidence(plain, data), evidence(other, data)
    assert one[0].info.layout == two[0].info.layout
    assert one[0].info.precision == two[0].info.precision
    same(two, one, near=2e-5)  # what the runtime sums first may hang on the names


def test_inputs_in_another_order_are_told_apart(shared_fixtures: Path, folder_of: Any, data: Path) -> None:
    """Not even the order of the inputs is needed: language is what gives the first of the rows that are joined with the sound."""
    name = "sensevoice-sherpa/model.onnx"
    model = renamed(onnx.load(shared_fixtures / name))
    turned = [type(one).FromString(one.SerializeToString()) for one in reversed(model.graph.input)]
    del model.graph.input[:]
    model.graph.input.extend(turned)
    one = voxray.load_model(folder_of(name, model))
    other = voxray.load_model(shared_fixtures / name)
    said = [two.trace(data / "audio" / "odd.wav", language="en", textnorm=True).raw_text for two in (one, other)]
    assert said[0] == said[1]
    assert len(said[0]) > 10


# Of each exporter one file; the converter knows these ways.
OPSETS = [
    *(("sensevoice-sherpa/model.onnx", opset) for opset in range(13, 21)),
    *(("sensevoice-funasr/model.onnx", opset) for opset in (14, 17, 18, 20)),
    ("sensevoice-funasr/model_quant.onnx", 19),
    ("sensevoice-lovemefan/sense-voice-encoder.onnx", 18),
    *(("sensevoice-funasr-dynamo/model.onnx", opset) for opset in (19, 20)),
    *(("sensevoice-dynamo/model.onnx", opset) for opset in (19, 20)),
]


@pytest.mark.parametrize(("name", "opset"), OPSETS)
def test_opsets_13_to_20_open_alike(name: str, opset: int, shared_fixtures: Path, folder_of: Any, data: Path) -> None:
    model = onnx.load(shared_fixtures / name)
    converted = version_converter.convert_version(model, opset)
    converted.metadata_props.extend(model.metadata_props[len(converted.metadata_props) :])
    one, two = evidence(folder_of(name, model), data), evidence(folder_of(name, converted), data)
    assert two[0].describe()["opset"] == opset
    same(two, one, near=2e-3 if "quant" in name else 1e-4)
