"""Walking a graph: what is constant, what is passed through, what follows what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voxray.graph.graph import SHAPE_OPS, Graph
from voxray.types import ModelError

FLOAT = TensorProto.FLOAT


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """x -> Relu -> Cast -> Mul by a half -> Transpose -> Add of a weight -> y, written backwards."""
    nodes = [
        helper.make_node("Add", ["t", "w"], ["y"]),
        helper.make_node("Transpose", ["h"], ["t"]),
        helper.make_node("Mul", ["half", "c"], ["h"]),
        helper.make_node("Constant", [], ["half0"], value=numpy_helper.from_array(np.array(0.5, np.float32))),
        helper.make_node("Identity", ["half0"], ["half"]),
        helper.make_node("Cast", ["r"], ["c"], to=FLOAT),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Constant", [], ["floats"], value_floats=[1.0, 2.0]),
        helper.make_node("Constant", [], ["int"], value_int=7),
    ]
    web = helper.make_graph(
        nodes,
        "web",
        [helper.make_tensor_value_info("x", FLOAT, ["rows", 2]), helper.make_tensor_value_info("w", FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", FLOAT, [2, None])],
        [numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")],
    )
    model = helper.make_model(web, opset_imports=[helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)])
    helper.set_model_props(model, {"who": "test"})
    onnx.save(model, tmp_path / "web.onnx")
    return Graph(tmp_path / "web.onnx")


def test_what_a_graph_says_of_itself(graph: Graph) -> None:
    assert graph.inputs == {"x": (FLOAT, ("rows", 2))}  # w is a weight, though it is listed as an input
    assert graph.outputs == {"y": (FLOAT, (2, "?"))}
    assert graph.metadata == {"who": "test"}
    assert graph.opset == 14
    assert graph.operators == {"Add": 1, "Transpose": 1, "Mul": 1, "Constant": 3, "Identity": 1, "Cast": 1, "Relu": 1}


def test_nodes_come_in_topological_order(graph: Graph) -> None:
    seen = {"x", "w"}
    for node in graph.nodes:
        assert set(node.input) <= seen
        seen |= set(node.output)
    assert len(graph.nodes) == 9


def test_the_fixtures_come_in_topological_order_too(shared_fixtures: Path) -> None:
    graph = Graph(shared_fixtures / "sensevoice-variants" / "model_fp16.onnx")  # not sorted by its converter
    seen = {"", *graph.inputs, *(one.name for one in graph.model.graph.initializer)}
    for node in graph.nodes:
        assert set(node.input) <= seen
        seen |= set(node.output)


def test_constants_are_seen_through_copies(graph: Graph) -> None:
    assert graph.is_constant("half")
    assert graph.is_constant("w")
    assert not graph.is_constant("c")
    assert graph.constant("half") == np.float32(0.5)
    assert graph.constant("floats").tolist() == [1, 2]
    assert graph.constant("int") == 7
    assert graph.constant("r") is None
    assert graph.constant("x") is None
    assert graph.shape("w") == (2, 2)
    assert graph.shape("x") is None


def test_walking_up_passes_copies_casts_and_scalar_factors(graph: Graph) -> None:
    assert graph.back("h") == "r"
    assert graph.back("t") == "t"
    assert graph.back("t", SHAPE_OPS) == "r"
    assert graph.back("x") == "x"
    found = graph.upstream("t", SHAPE_OPS, lambda node: node.op_type == "Relu")
    assert found is not None
    assert found.output[0] == "r"
    assert graph.upstream("t", frozenset(), lambda node: node.op_type == "Relu") is None


def test_walking_down_returns_the_first_wanted_on_every_branch(graph: Graph) -> None:
    ((node, entering),) = graph.forward("x", frozenset({"Relu"}) | SHAPE_OPS, lambda user, index: user.op_type == "Add")
    assert (node.output[0], entering) == ("y", "t")
    assert graph.forward("x", frozenset(), lambda user, index: user.op_type == "Add") == []


def test_a_node_that_lacks_an_input_is_refused(tmp_path: Path, graph: Graph) -> None:
    model = graph.model
    del model.graph.node[0].input[1]
    (tmp_path / "short.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"short\.onnx is damaged: its node '' \(Add\) has 1 inputs"):
        Graph(tmp_path / "short.onnx")


def test_names_that_are_no_text_are_refused(tmp_path: Path, graph: Graph) -> None:
    content = graph.model.SerializeToString().replace(b"Transpose", b"Trans\xffose")
    (tmp_path / "bytes.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"bytes\.onnx is (damaged: some of its names are no text|not a whole ONNX model)"):
        Graph(tmp_path / "bytes.onnx")
