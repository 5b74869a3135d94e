"""Attention, memory, norms and head are found by structure: in every export, in any order of nodes, under any names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voxray.graph.anatomy import Anatomy, Block, Linear, Norm, find_anatomy
from voxray.graph.graph import Graph
from voxray.models import BUNDLED
from voxray.types import AnatomyError, ModelError

LARGER = [
    ("sensevoice-dynamo/model.onnx", "fp32"),
    ("sensevoice-dynamo/model_int8.onnx", "int8"),
    ("sensevoice-funasr/model.onnx", "fp32"),
    ("sensevoice-funasr/model_quant.onnx", "int8"),
    ("sensevoice-funasr-dynamo/model.onnx", "fp32"),
    ("sensevoice-funasr-dynamo/model_quant.onnx", "int8"),
    ("sensevoice-lovemefan/sense-voice-encoder.onnx", "fp32"),
    ("sensevoice-lovemefan/sense-voice-encoder-int8.onnx", "int8"),
    ("sensevoice-sherpa/model.onnx", "fp32"),
    ("sensevoice-sherpa/model.int8.onnx", "int8"),
    ("sensevoice-variants/model_fp16.onnx", "fp16"),
    ("sensevoice-variants/model_q4.onnx", "int4"),
]


def anatomy_of(path: Path) -> Anatomy:
    graph = Graph(path)
    return find_anatomy(graph, next(iter(graph.outputs)))


def leaves(part: Any) -> list[Any]:
    """Return everything that an anatomy says, in order, but for labels."""
    if isinstance(part, tuple):
        return [leaf for one in part for leaf in leaves(one)]
    if isinstance(part, (Anatomy, Block, Linear, Norm)):
        return [leaf for one in fields(part) if one.name != "label" for leaf in leaves(getattr(part, one.name))]
    return [part]


@pytest.fixture
def edited(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a changed copy of the fixture model."""

    def save(change: Callable[[Any], None], name: str = "model.onnx") -> Path:
        model = onnx.load(data / "sensevoice-funasr" / name)
        change(model)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize(("name", "precision"), LARGER)
def test_every_export_has_the_same_structure(name: str, precision: str, shared_fixtures: Path) -> None:
    anatomy = anatomy_of(shared_fixtures / name)
    assert [block.index for block in anatomy.blocks] == [0, 1, 2, 3, 4]
    assert [block.residual for block in anatomy.blocks] == [False, True, True, True, True]
    assert [index for index, _ in anatomy.stream_norms] == [3, 5]
    assert anatomy.precision == precision
    assert anatomy.log_softmax == name.startswith("sensevoice-dynamo/")
    assert [block.norm.epsilon for block in anatomy.blocks] == pytest.approx([1e-5] * 5, rel=0.02)


@pytest.mark.parametrize(("name", "precision"), [("model.onnx", "fp32"), ("model_quant.onnx", "int8")])
def test_the_bundled_model(name: str, precision: str) -> None:
    anatomy = anatomy_of(BUNDLED / name)
    assert [block.residual for block in anatomy.blocks] == [False] + [True] * 13
    assert [index for index, _ in anatomy.stream_norms] == [10, 14]
    assert anatomy.precision == precision


@pytest.mark.parametrize("name", ["model.onnx", "model_quant.onnx"])
def test_tensors_are_those_that_the_exporter_named(name: str, data: Path, expected: dict[str, Any]) -> None:
    """The names are TorchScript's; they check what was found without them."""
    anatomy, told = anatomy_of(data / "sensevoice-funasr" / name), expected["sensevoice_onnx_nodes"]
    assert [block.probabilities for block in anatomy.blocks] == told["softmax"]
    assert [block.memory for block in anatomy.blocks] == told["fsmn"]
    assert [block.label.replace("/", ".") for block in anatomy.blocks] == expected["sensevoice_layers"]
    assert [block.taps for block in anatomy.blocks] == [
        f"{layer}.self_attn.fsmn_block.weight" for layer in expected["sensevoice_layers"]
    ]


@pytest.mark.parametrize("name", ["model.onnx", "model_quant.onnx"])
def test_the_stream_runs_through_every_layer(name: str, data: Path) -> None:
    """Each layer takes what the one before gave, or the norm between them; the head takes the last."""
    graph = Graph(data / "sensevoice-funasr" / name)
    anatomy = find_anatomy(graph, "ctc_logits")
    norms = dict(anatomy.stream_norms)
    for index, block in enumerate(anatomy.blocks[1:], start=1):
        given = anatomy.blocks[index - 1].output
        if index in norms:
            assert graph.back(norms[index].input) == graph.back(given)
            given = norms[index].output
        assert graph.back(block.input) == graph.back(given)
    assert graph.back(norms[5].input) == graph.back(anatomy.blocks[-1].output)
    assert graph.back(anatomy.head.input) == graph.back(norms[5].output)


def test_the_order_of_nodes_does_not_matter(edited: Any, data: Path) -> None:
    def shuffle(model: Any) -> None:
        nodes = list(model.graph.node)
        order = np.random.default_rng(3).permutation(len(nodes))
        del model.graph.node[:]
        model.graph.node.extend(nodes[index] for index in order)

    assert anatomy_of(edited(shuffle)) == anatomy_of(data / "sensevoice-funasr" / "model.onnx")


@pytest.mark.parametrize("name", ["model.onnx", "model_quant.onnx"])
def test_names_do_not_matter(name: str, edited: Any, data: Path) -> None:
    names: dict[str, str] = {"": ""}

    def rename(model: Any) -> None:
        graph = model.graph
        names.update({value.name: value.name for value in (*graph.input, *graph.output)})
        for index, node in enumerate(graph.node):
            node.name = f"n{index}"
            node.input[:] = [names.setdefault(one, f"t{len(names)}") for one in node.input]
            node.output[:] = [names.setdefault(one, f"t{len(names)}") for one in node.output]
        for tensor in graph.initializer:
            tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
        del graph.value_info[:]

    found = anatomy_of(edited(rename, name))
    original = anatomy_of(data / "sensevoice-funasr" / name)
    values = {"fp32", "int8", "MatMul", "MatMulInteger"}
    renamed = [names[one] if isinstance(one, str) and one not in values else one for one in leaves(original)]
    assert leaves(found) == renamed
    assert [block.label for block in found.blocks] == [f"layer {index}" for index in range(5)]


def test_labels_stay_within_one_line_of_names(data: Path) -> None:
    assert all(re.fullmatch(r"[\w./]+", block.label) for block in anatomy_of(data / "sensevoice-funasr/model.onnx").blocks)


def only_node(model: Any, operator: str, index: int = 0) -> Any:
    return [node for node in model.graph.node if node.op_type == operator][index]


def test_fused_attention_is_named(edited: Any) -> None:
    def fuse(model: Any) -> None:
        for node in model.graph.node:
            if node.op_type == "Softmax":
                node.op_type, node.domain = "Attention", "com.microsoft"

    with pytest.raises(AnatomyError, match=r"model\.onnx: attention is fused into single nodes \(5 Attention\).*as exported"):
        anatomy_of(edited(fuse))


def test_a_graph_without_attention_says_so(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    onnx.save(helper.make_model(graph), tmp_path / "linear.onnx")
    with pytest.raises(AnatomyError, match=r"linear\.onnx: no attention was found in its 1 nodes; a SANM encoder"):
        anatomy_of(tmp_path / "linear.onnx")


def test_a_softmax_of_something_else_is_not_attention(edited: Any, data: Path) -> None:
    """A Softmax over the output (as in classifiers) and one over a weight must not be taken for attention."""

    def add(model: Any) -> None:
        model.graph.node.append(helper.make_node("Softmax", ["ctc_logits"], ["posterior"], axis=-1))
        model.graph.node.append(helper.make_node("Softmax", ["embed.weight"], ["mixture"], axis=-1))

    assert anatomy_of(edited(add)) == anatomy_of(data / "sensevoice-funasr" / "model.onnx")


@pytest.mark.parametrize(
    ("operator", "index", "part"),
    [
        ("Relu", 0, "ReLU in its feed-forward"),
        ("Conv", 0, "FSMN memory beside attention"),
        ("Split", 0, "split into query, key and value"),
        ("Sqrt", 0, "layer norm before attention"),
        ("Sqrt", 1, "layer norm before feed-forward"),
    ],
)
def test_a_missing_part_is_named_with_its_layer(operator: str, index: int, part: str, edited: Any) -> None:
    def replace(model: Any) -> None:
        only_node(model, operator, index).op_type = "Gelu"

    with pytest.raises(AnatomyError, match=rf"attention layer 0 \(encoder/encoders0\.0\) has no {part}") as caught:
        anatomy_of(edited(replace))
    assert "\n" not in str(caught.value)


def test_a_head_that_is_no_linear_map_is_refused(edited: Any) -> None:
    def bend(model: Any) -> None:
        last = next(node for node in model.graph.node if "ctc_logits" in node.output)
        last.output[0] = "straight"
        model.graph.node.append(helper.make_node("Tanh", ["straight"], ["ctc_logits"]))

    with pytest.raises(AnatomyError, match="no linear map to the vocabulary leads to the output 'ctc_logits'"):
        anatomy_of(edited(bend))


def test_taps_that_are_computed_cannot_be_checked(edited: Any) -> None:
    def compute(model: Any) -> None:
        node = only_node(model, "Conv", 1)
        model.graph.node.append(helper.make_node("Neg", [node.input[1]], ["negated"]))
        node.input[1] = "negated"

    with pytest.raises(AnatomyError, match=r"attention layer 1 .* has no FSMN memory"):
        anatomy_of(edited(compute))


def test_a_quantised_product_without_a_scale_is_refused(edited: Any) -> None:
    def unscale(model: Any) -> None:
        product = only_node(model, "MatMulInteger").output[0]
        cast = next(node for node in model.graph.node if product in node.input)
        scaled = next(node for node in model.graph.node if cast.output[0] in node.input)
        scaled.op_type = "Sub"

    with pytest.raises(AnatomyError, match=r"model_quant\.onnx: .*(is not scaled back|has no projection to query)"):
        anatomy_of(edited(unscale, "model_quant.onnx"))


def test_nodes_in_a_circle_are_refused(edited: Any) -> None:
    def bend(model: Any) -> None:
        first = only_node(model, "Softmax")
        only_node(model, "Softmax", 0).input[0] = first.output[0]

    with pytest.raises(ModelError, match="some of its nodes wait for their own result"):
        anatomy_of(edited(bend))
