"""The gradient rules for any graph: each against differences of what ONNX Runtime itself computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from voxray.graph.graph import Graph
from voxray.graph.rules import SINGLE, SingleGradients, Way
from voxray.graph.session import Runner
from voxray.types import ModelError

STEP = 1e-2
WIDTH = 8
DICE = np.random.default_rng(11)


def random(*shape: int) -> Any:
    return DICE.standard_normal(shape).astype(np.float32)


def whole(*values: int) -> Any:
    return np.array(values, np.int64)


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), output.split(), **attributes)


CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "erf": ([node("Erf", "x")], {}),
    "sigmoid": ([node("Sigmoid", "x")], {}),
    "tanh": ([node("Tanh", "x")], {}),
    "softplus": ([node("Softplus", "x")], {}),
    "exp": ([node("Exp", "x")], {}),
    "log": ([node("Exp", "x", "e"), node("Log", "e")], {}),
    "reciprocal": ([node("Exp", "x", "e"), node("Reciprocal", "e")], {}),
    "clip": ([node("Clip", "x low high")], {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "leaky": ([node("LeakyRelu", "x", alpha=0.2)], {}),
    "abs": ([node("Abs", "x")], {}),
    "softmax": ([node("Softmax", "x", axis=-1)], {}),
    "softmax over time": ([node("Softmax", "x", axis=1)], {}),
    "log softmax": ([node("LogSoftmax", "x", axis=-1)], {}),
    "swish": ([node("Sigmoid", "x", "s"), node("Mul", "x s")], {}),
    "glu": ([node("Split", "x", "a b", axis=2), node("Sigmoid", "b", "s"), node("Mul", "a s")], {}),
    "half of a split": ([node("Split", "x", "a b", axis=2), node("Tanh", "b")], {}),
    "gemm": ([node("Reshape", "x shape", "r"), node("Gemm", "r w c", alpha=0.5, transB=1)],
             {"shape": whole(-1, WIDTH), "w": random(5, WIDTH), "c": random(5)}),
    "weights on the left": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "w t")], {"w": random(3, WIDTH)}),
    "attention": ([node("Transpose", "x", "k", perm=[0, 2, 1]), node("MatMul", "x k", "s"), node("Softmax", "s", "p"),
                   node("MatMul", "p x")], {}),
    "shared keys": ([node("Unsqueeze", "x one", "q"), node("Transpose", "x", "k", perm=[0, 2, 1]), node("MatMul", "q k")],
                    {"one": whole(1)}),
    "batch moved": ([node("Transpose", "x", "t", perm=[1, 0, 2]), node("MatMul", "t w", "m"),
                     node("Transpose", "m", perm=[1, 2, 0])], {"w": random(WIDTH, 4)}),
    "heads on the batch": ([node("Reshape", "x split", "r"), node("Transpose", "r", "t", perm=[0, 2, 1, 3]),
                            node("Reshape", "t rank3", "h"), node("Transpose", "h", "k", perm=[0, 2, 1]), node("MatMul", "h k")],
                           {"split": whole(1, -1, 2, 4), "rank3": whole(2, -1, 4)}),
    "einsum": ([node("Reshape", "x split", "r"), node("Einsum", "r w", equation="bthd,dlh->bhtl")],
               {"split": whole(1, -1, 2, 4), "w": random(4, 3, 2)}),
    "einsum of two": ([node("Einsum", "x x2", equation="btd,bsd->bts")], {}),
    "mean over time": ([node("ReduceMean", "x", "m", axes=[1], keepdims=1), node("Sub", "x m")], {}),
    "sum without axis": ([node("ReduceSum", "x axes", "m", keepdims=0), node("Tanh", "m")], {"axes": whole(2)}),
    "sum of all": ([node("ReduceSum", "x", "m", keepdims=0), node("Mul", "x m")], {}),
    "broadcast row": ([node("Mul", "x w")], {"w": random(WIDTH)}),
    "computed row": ([node("ReduceMean", "x", "m", axes=[0, 1], keepdims=0), node("Mul", "x m")], {}),
    "conv": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("Conv", "t w c", kernel_shape=[3], pads=[1, 1])],
             {"w": random(5, WIDTH, 3), "c": random(5)}),
    "strided conv": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("Conv", "t w", kernel_shape=[4], strides=[3], pads=[2, 0])],
                     {"w": random(6, WIDTH, 4)}),
    "grouped conv": ([node("Transpose", "x", "t", perm=[0, 2, 1]),
                      node("Conv", "t w", kernel_shape=[2], group=4, strides=[2], dilations=[3])], {"w": random(8, 2, 2)}),
    "conv of two axes": ([node("Unsqueeze", "x one", "u"),
                          node("Conv", "u w", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
                         {"one": whole(1), "w": random(4, 1, 3, 3)}),
    "instance norm": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("InstanceNormalization", "t s c")],
                      {"s": random(WIDTH), "c": random(WIDTH)}),
    "batch norm": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("BatchNormalization", "t s c m v")],
                   {"s": random(WIDTH), "c": random(WIDTH), "m": random(WIDTH), "v": np.abs(random(WIDTH)) + 0.5}),
    "layer norm": ([node("LayerNormalization", "x s c", axis=-1)], {"s": random(WIDTH), "c": random(WIDTH)}),
    "pad": ([node("Pad", "x pads")], {"pads": whole(0, 2, 0, 0, 1, 3)}),
    "slice": ([node("Slice", "x start stop axis")], {"start": whole(2), "stop": whole(1 << 60), "axis": whole(1)}),
    "slice from the end": ([node("Slice", "x start stop axis")], {"start": whole(-3), "stop": whole(-1), "axis": whole(1)}),
    "slice of free length": ([node("Shape", "x", "n"), node("Gather", "n one", "t"), node("Div", "t two", "h"),
                              node("Slice", "x h t one")], {"one": whole(1), "two": whole(2)}),
    "relative shift": ([node("Shape", "x", "n"), node("Gather", "n one", "t"), node("Pad", "x pads", "p"),
                        node("Concat", "eight minus", "turned", axis=0), node("Concat", "unit turned", "target", axis=0),
                        node("Reshape", "p target", "r"), node("Slice", "r unit far one", "s"), node("Tanh", "s")],
                       {"one": whole(1), "pads": whole(0, 0, 1, 0, 0, 0), "eight": whole(9), "minus": whole(-1), "unit": whole(1),
                        "far": whole(1 << 60)}),
    "concat of free lengths": ([node("Tanh", "x", "a"), node("Concat", "a x c", axis=1)], {"c": random(1, 2, WIDTH)}),
    "gather one": ([node("Gather", "x place", axis=1)], {"place": np.array(-2)}),
    "gather one kept": ([node("Gather", "x place", axis=2)], {"place": whole(3)}),
    "expand": ([node("Slice", "x zero one one", "first"), node("Shape", "x", "n"), node("Expand", "first n")],
               {"zero": whole(0), "one": whole(1)}),
    "where": ([node("Tanh", "x", "t"), node("Less", "x zero", "c"), node("Where", "c one t")],
              {"zero": np.float32(0), "one": np.float32(1.5)}),
    "gated sum": ([node("Sigmoid", "x", "s"), node("Mul", "x s", "m"), node("Less", "x zero", "c"), node("Where", "c one m", "o"),
                   node("Add", "o s")], {"zero": np.float32(0), "one": np.float32(1.5)}),
    "squeeze": ([node("Squeeze", "x zero", "s"), node("Unsqueeze", "s two")], {"zero": whole(0), "two": whole(2)}),
}  # fmt: skip


def graph_of(place: Path, nodes: list[Any], weights: dict[str, Any], opset: int = 17) -> Graph:
    if any("x2" in one.input for one in nodes):  # two ways from the same input
        nodes = [node("Tanh", "x", "x2"), *nodes]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "t", WIDTH])]
    graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name="y")], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), place / "m.onnx")
    return Graph(place / "m.onnx")


def gradients(graph: Graph) -> tuple[SingleGradients, Runner]:
    runner = Runner(graph)
    probes = ({"x": random(1, 8, WIDTH)}, {"x": random(1, 14, WIDTH)})
    return SingleGradients(runner, Way("x", "y"), probes), runner


@pytest.mark.parametrize("name", CASES)
def test_a_rule_equals_differences(tmp_path: Path, name: str) -> None:
    made, runner = gradients(graph_of(tmp_path, *CASES[name]))
    for length in (11, 8, 17):
        x = np.random.default_rng(length).standard_normal((1, length, WIDTH)).astype(np.float32)
        start, caches = made.record({"x": x}, frozen=False)
        seed = np.random.default_rng(5).standard_normal(start.shape).astype(np.float32)
        found, ledger = made.pull(caches, seed, frozen=False)
        assert ledger == {}
        assert found.shape == x.shape
        wanted = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[place] += STEP
            down[place] -= STEP
            above, below = (runner.run({"x": one}, ["y"])[0].astype(np.float64) for one in (up, down))
            wanted[place] = ((above - below) * seed).sum() / (up[place] - down[place])
        error = np.abs(found - wanted)
        kinks = (
            0.03 if name in ("clip", "leaky", "abs", "where", "gated sum") else 0.0
        )  # of places near an edge differences tell nothing
        assert np.quantile(error, 1 - kinks) < 5e-3 * max(1.0, np.abs(wanted).max())


BENT = {"tanh", "softplus", "exp", "log", "reciprocal", "half of a split", "shared keys", "heads on the batch", "einsum of two",
        "sum without axis", "sum of all", "computed row", "relative shift", "concat of free lengths", "where"}  # fmt: skip
HELD = {"erf", "sigmoid", "softmax", "softmax over time"}


@pytest.mark.parametrize("name", sorted(set(CASES) - BENT - HELD))
def test_a_held_network_adds_up(tmp_path: Path, name: str) -> None:
    """Gradient times input and what the graph adds are the score; of log posteriors where the weights of a row sum to 0."""
    made, _ = gradients(graph_of(tmp_path, *CASES[name]))
    x = random(1, 12, WIDTH)
    start, caches = made.record({"x": x}, frozen=True)
    seed = np.random.default_rng(5).standard_normal(start.shape).astype(np.float32)
    seed -= seed.mean(axis=-1, keepdims=True)
    assert made.splits
    found, ledger = made.pull(caches, seed, frozen=True)
    carried = float((found.astype(np.float64) * x).sum()) + sum(float(one[0]) for one in ledger.values())
    assert carried == pytest.approx(float((seed.astype(np.float64) * start).sum()), abs=1e-3)


@pytest.mark.parametrize("name", sorted(BENT))
def test_what_is_no_gate_is_refused_where_all_is_held(tmp_path: Path, name: str) -> None:
    made, _ = gradients(graph_of(tmp_path, *CASES[name]))
    assert not made.splits
    with pytest.raises(ModelError, match="is neither linear nor a gate, so exact relevance cannot explain this file; gradient"):
        made.backward(frozen=True)


@pytest.mark.parametrize("name", sorted(HELD))
def test_what_is_held_carries_nothing(tmp_path: Path, name: str) -> None:
    made, _ = gradients(graph_of(tmp_path, *CASES[name]))
    with pytest.raises(ModelError, match="does not lead to its output"):
        made.backward(frozen=True)


def test_every_rule_is_tried() -> None:
    """Those that are not are tried on whole models, by the gradients of SenseVoice and of the described fixtures."""
    tried = {one.op_type for nodes, _ in CASES.values() for one in nodes}
    elsewhere = {
        "Add",
        "Relu",
        "Where",
        "Pow",
        "Sqrt",
        "Cast",
        "Identity",
        "Dropout",
        "Neg",
        "Flatten",
        "GatherElements",
        "Gelu",
        "Mul",
    }
    assert set(SINGLE) - tried - elsewhere == set()


def test_gelu_of_opset_20(tmp_path: Path) -> None:
    made, runner = gradients(graph_of(tmp_path, [node("Gelu", "x")], {}, opset=20))
    x = random(1, 9, WIDTH)
    _, caches = made.record({"x": x}, frozen=False)
    ones = np.ones_like(x)
    above, below = (runner.run({"x": x + step}, ["y"])[0] for step in (np.float32(STEP), np.float32(-STEP)))
    assert made.pull(caches, ones, frozen=False)[0] == pytest.approx((above - below) / (2 * STEP), abs=2e-3)


REFUSED = {
    "Round": ([node("Round", "x")], {}),
    "a Slice that leaves out every other place": ([node("Slice", "x zero far one two")],
                                                  {"zero": whole(0), "far": whole(1 << 60), "one": whole(1), "two": whole(2)}),
    "a Gather of several places": ([node("Gather", "x two", axis=1)], {"two": whole(1, 2)}),
    "a Pad that repeats or mirrors": ([node("Pad", "x pads", mode="reflect")], {"pads": whole(0, 1, 0, 0, 1, 0)}),
    "a Conv with automatic padding": ([node("Transpose", "x", "t", perm=[0, 2, 1]),
                                       node("Conv", "t w", kernel_shape=[3], auto_pad="SAME_UPPER")], {"w": random(2, WIDTH, 3)}),
    "a Conv whose kernel is computed": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("Slice", "t zero two two", "k"),
                                         node("Conv", "t k")], {"zero": whole(0), "two": whole(2)}),
    "an Einsum 'btd->bd'": ([node("Einsum", "x", equation="btd->bd")], {}),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_rule_is_named(tmp_path: Path, what: str) -> None:
    made, _ = gradients(graph_of(tmp_path, *REFUSED[what]))
    with pytest.raises(ModelError, match=rf"{what}.* has no gradient rule, .*occlusion can") as caught:
        made.backward(frozen=False)
    assert "\n" not in str(caught.value)
