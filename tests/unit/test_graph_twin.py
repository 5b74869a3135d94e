"""Twins in floating point: their weights against slow unpacking, their outputs against the plain encoder and ONNX Runtime's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_graph_gradient import Plain, feeds_of

from voxray.graph import twin
from voxray.graph.graph import Graph
from voxray.graph.session import Runner
from voxray.graph.twin import float_twin
from voxray.graph.weights import unpack
from voxray.types import ModelError


def logits_of(graph: Graph, feeds: dict[str, Any]) -> Any:
    return Runner(graph, entries={"session.disable_quant_qdq": "1"}).run(feeds, [next(iter(graph.outputs))])[0]


def test_a_file_in_floating_point_is_its_own_twin(data: Path) -> None:
    graph = Graph(data / "sensevoice-funasr" / "model.onnx")
    assert float_twin(graph) is graph


def test_the_twin_of_an_int8_file_is_the_plain_encoder_with_its_weights(data: Path) -> None:
    """The plain encoder reads the dequantised weights by another way, ``voxray.graph.weights``."""
    path = data / "sensevoice-funasr" / "model_quant.onnx"
    graph = Graph(path)
    made = float_twin(graph)
    assert not {"DynamicQuantizeLinear", "MatMulInteger"} & set(made.operators)
    assert made.operators["DequantizeLinear"] == graph.operators["MatMulInteger"] > 20
    feeds = feeds_of(graph, 1, 17)
    expected = Plain(path).rows(feeds["speech"][0])
    np.testing.assert_allclose(logits_of(made, feeds)[0], expected, atol=2e-4)
    assert np.abs(logits_of(graph, feeds)[0] - expected).max() > 0.01  # the file itself rounds its activations too
    assert np.abs(Plain(data / "sensevoice-funasr" / "model.onnx").rows(feeds["speech"][0]) - expected).max() > 0.01


@pytest.mark.parametrize("layout", ["sensevoice-sherpa/model.int8.onnx", "sensevoice-funasr-dynamo/model_quant.onnx"])
def test_twins_of_other_int8_files_are_near_them(layout: str, shared_fixtures: Path) -> None:
    graph = Graph(shared_fixtures / layout)
    feeds = feeds_of(graph, 1, 17)
    own, other = logits_of(graph, feeds), logits_of(float_twin(graph), feeds)
    assert 1e-3 < np.median(np.abs(own - other)) <= 0.05 * np.abs(own).std()


def test_the_twin_of_an_fp16_file_has_its_very_weights(shared_fixtures: Path) -> None:
    graph = Graph(shared_fixtures / "sensevoice-variants" / "model_fp16.onnx")
    made = float_twin(graph)
    kinds = {tensor.data_type for tensor in made.model.graph.initializer if not tensor.external_data}
    assert TensorProto.FLOAT16 not in kinds
    name = "encoder.encoders0.0.self_attn.linear_out.bias"
    np.testing.assert_array_equal(np.asarray(made.constant(name)), np.asarray(graph.constant(name), np.float32))
    feeds = feeds_of(graph, 1, 17)
    found = logits_of(made, feeds)
    assert found.dtype == np.float32
    assert 1e-5 < np.abs(found - logits_of(graph, feeds)).max() <= 0.1  # the README's tolerance of half precision
    assert np.abs(found - logits_of(Graph(shared_fixtures / "sensevoice-funasr" / "model.onnx"), feeds)).max() <= 0.1


def packed(tmp_path: Path, rng: np.random.Generator, inner: int, columns: int, *, zeros: bool, bits: int = 4) -> Graph:
    """A graph of one product with weights in blocks of 16, of 4 bits two numbers in a byte."""
    blocks = -(-inner // 16)
    arrays = {
        "w": rng.integers(0, 256, (columns, blocks, 2 * bits)).astype(np.uint8),
        "s": rng.uniform(0.5, 1.5, columns * blocks).astype(np.float32),
        **({"z": rng.integers(0, 256, columns * -(-blocks * bits // 8)).astype(np.uint8)} if zeros else {}),
    }
    told = {"K": inner, "N": columns, "bits": bits, "block_size": 16}
    product = helper.make_node("MatMulNBits", ["x", *arrays], ["y"], domain="com.microsoft", **told)
    graph = helper.make_graph(
        [product], "packed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", columns])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return Graph(tmp_path / "packed.onnx", helper.make_model(graph, opset_imports=opsets, ir_version=8))


def unpacked_slowly(graph: Graph, inner: int, columns: int) -> Any:
    """Number by number."""
    weights, scales = np.asarray(graph.constant("w")), np.asarray(graph.constant("s")).reshape(columns, -1)
    zeros = graph.constant("z")
    result = np.zeros((inner, columns))
    for column in range(columns):
        for row in range(inner):
            block, place = divmod(row, 16)
            byte = int(weights[column, block, place // 2])
            number = byte >> 4 if place % 2 else byte & 15
            zero = 8
            if zeros is not None:
                half = int(np.asarray(zeros).reshape(columns, -1)[column, block // 2])
                zero = half >> 4 if block % 2 else half & 15
            result[row, column] = (number - zero) * scales[column, block]
    return result


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("inner", "columns"), [(48, 7), (32, 5), (40, 3)])
def test_weights_of_4_bits_are_unpacked_number_by_number(inner: int, columns: int, zeros: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(inner)
    graph = packed(tmp_path, rng, inner, columns, zeros=zeros)
    found = unpack(graph, graph.nodes[0])
    np.testing.assert_allclose(found, unpacked_slowly(graph, inner, columns), rtol=1e-6)
    rows = rng.standard_normal((3, inner)).astype(np.float32)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": rows})
    np.testing.assert_allclose(rows @ found, expected, rtol=1e-4, atol=1e-3)
    made = float_twin(graph)
    assert set(made.operators) == {"MatMul"}
    np.testing.assert_allclose(Runner(made).run({"x": rows}, ["y"])[0], expected, rtol=1e-4, atol=1e-3)


def test_the_twin_of_a_4_bit_file_is_near_it(shared_fixtures: Path) -> None:
    """The file asks for activations of 8 bits (accuracy level 4); the twin does not round them."""
    graph = Graph(shared_fixtures / "sensevoice-variants" / "model_q4.onnx")
    feeds = feeds_of(graph, 1, 17)
    own, found = logits_of(graph, feeds), logits_of(float_twin(graph), feeds)
    whole = logits_of(Graph(shared_fixtures / "sensevoice-funasr" / "model.onnx"), feeds)
    assert 0 < np.median(np.abs(found - own)) <= 0.2 * np.median(np.abs(found - whole))


@pytest.mark.parametrize("zeros", [False, True])
def test_weights_of_8_bits_are_unpacked_as_the_runtime_does_it(zeros: bool, tmp_path: Path) -> None:
    graph = packed(tmp_path, np.random.default_rng(0), 40, 3, zeros=zeros, bits=8)
    session = onnxruntime.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": np.eye(40, dtype=np.float32)})
    found = unpack(graph, graph.nodes[0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    weights, scales = np.asarray(graph.constant("w")).astype(int), np.asarray(graph.constant("s"))
    zero = int(np.asarray(graph.constant("z"))[4]) if zeros else 128  # of column 1, block 1: there are three blocks in each
    assert found[16 + 5, 1] == pytest.approx((weights[1, 1, 5] - zero) * scales[4])


def test_weights_of_2_bits_in_blocks_are_refused(tmp_path: Path) -> None:
    graph = packed(tmp_path, np.random.default_rng(0), 32, 2, zeros=False, bits=2)
    with pytest.raises(
        ModelError, match=r"^packed.onnx: weights of 2 bits are packed in it, 4 or 8 were expected; use the fp32 file$"
    ):
        float_twin(graph)


def test_weights_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "LARGEST", 1 << 10)
    graph = packed(tmp_path, np.random.default_rng(0), 48, 7, zeros=False)
    with pytest.raises(ModelError, match=r"^packed.onnx: its packed weights take over 0 MB unpacked; use the fp32 file$"):
        float_twin(graph)


def test_products_of_integers_that_were_not_quantised_dynamically_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="product")], "integers",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["B", 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["B", 2])],
        [numpy_helper.from_array(np.ones((4, 2), np.int8), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match=r"^integers.onnx: the product 'product' is not quantised dynamically; use the fp32 file$"):
        float_twin(Graph(tmp_path / "integers.onnx", model))


def test_a_twin_leaves_the_file_as_it_was(data: Path) -> None:
    graph = Graph(data / "sensevoice-funasr" / "model_quant.onnx")
    before = graph.model.SerializeToString()
    made = float_twin(graph)
    assert graph.model.SerializeToString() == before
    assert made.path == graph.path
    assert "DynamicQuantizeLinear" not in {one.op_type for one in made.model.graph.node}  # nothing is left that nobody needs
