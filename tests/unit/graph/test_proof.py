"""The proof measures what it says, and a wrong anatomy does not pass it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import voxray
from voxray.frontend import features
from voxray.graph.anatomy import Anatomy, Linear, Norm, find_anatomy
from voxray.graph.graph import Graph
from voxray.graph.proof import LOGIT_TOLERANCE, REBUILD_TOLERANCE, memory, prove, quantise
from voxray.graph.session import Runner
from voxray.types import AnatomyError

OPENED = ["bundled", "bundled_int8", "funasr_model", "funasr_int8"]
LARGER = [
    ("sensevoice-sherpa/model.onnx", 1e-4),
    ("sensevoice-sherpa/model.int8.onnx", 1e-4),
    ("sensevoice-funasr-dynamo/model.onnx", 1e-4),
    ("sensevoice-funasr-dynamo/model_quant.onnx", 1e-4),
    ("sensevoice-variants/model_q4.onnx", 1e-4),
    ("sensevoice-variants/model_fp16.onnx", 2e-2),
]


def tensors_of(anatomy: Anatomy) -> list[str]:
    """Return every computed tensor that an anatomy names, weights aside."""
    names: list[str] = [anatomy.head.input]
    parts: list[Any] = [norm for _, norm in anatomy.stream_norms]
    for block in anatomy.blocks:
        values = [getattr(block, one.name) for one in fields(block) if one.name not in ("label", "taps", "feed_forward")]
        names += [value for value in values if isinstance(value, str)]
        parts += [value for value in values if isinstance(value, (Linear, Norm))] + list(block.feed_forward)
    return list(dict.fromkeys([*names, *(name for part in parts for name in (part.input, part.output))]))


def assert_probing_changes_nothing(model: Any, data: Path) -> None:
    sound = features(voxray.load_audio(data / "audio" / "odd.wav"), model.cmvn).values
    names = tensors_of(model.anatomy)
    assert len(names) > 15 * model.layers
    plain, probed = Runner(model.graph), Runner(model.graph)
    for values, language in ((sound, "auto"), (sound[:7], "en")):
        feeds = model.feeds([values], language, textnorm=False)
        (expected,) = plain.run(feeds, [model.anatomy.logits])
        logits, *tensors = probed.run(feeds, [model.anatomy.logits, *names])
        assert np.abs(logits - expected).max() <= LOGIT_TOLERANCE
        rows = len(values) + 4
        assert all(rows in tensor.shape for tensor in tensors)


def assert_proven(model: Any, tolerance: float) -> None:
    assert model.proof.logit_difference <= 1e-5
    assert len(model.proof.rebuild_errors) == model.layers == len(model.anatomy.blocks)
    assert max(model.proof.rebuild_errors) <= tolerance
    assert REBUILD_TOLERANCE[model.anatomy.precision] == tolerance


@pytest.mark.parametrize("name", OPENED)
def test_probing_changes_no_logit(name: str, request: pytest.FixtureRequest, data: Path) -> None:
    model = request.getfixturevalue(name)
    assert_probing_changes_nothing(model, data)
    assert_proven(model, 1e-4)
    assert model.heads == 4


@pytest.mark.parametrize(("name", "tolerance"), LARGER)
def test_probing_changes_no_logit_of_other_exports(
    name: str, tolerance: float, shared_fixtures: Path, data: Path, tmp_path: Path
) -> None:
    source = shared_fixtures / name
    if "variants" in name:  # they come without tokens; those of their parent are theirs
        for beside in ("tokens.json", "am.mvn"):
            (tmp_path / beside).write_bytes((data / "sensevoice-funasr" / beside).read_bytes())
        (tmp_path / "model.onnx").write_bytes(source.read_bytes())
        source = tmp_path / "model.onnx"
    model = voxray.load_model(source)
    assert_probing_changes_nothing(model, data)
    assert_proven(model, tolerance)


@pytest.fixture
def copy_of(data: Path, tmp_path: Path) -> Callable[..., Graph]:
    """Return a function that opens a changed copy of the fixture model's graph."""

    def make(change: Callable[[Any], None], name: str = "model.onnx") -> Graph:
        model = onnx.load(data / "sensevoice-funasr" / name)
        change(model)
        onnx.save(model, tmp_path / name)
        return Graph(tmp_path / name)

    return make


@pytest.fixture
def feeds(funasr_model: Any) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(5).standard_normal((12, 560)).astype(np.float32)
    made: dict[str, np.ndarray] = funasr_model.feeds([noise], "auto", textnorm=False)
    return made


def proof_of(graph: Graph, anatomy: Anatomy, feeds: Any) -> Any:
    return prove(graph, anatomy, Runner(graph), feeds)


@pytest.mark.parametrize(("model", "layer"), [("funasr_model", 1), ("funasr_int8", 3)])
@pytest.mark.parametrize("part", ["taps", "projection", "value", "probabilities"])
def test_parts_of_another_layer_do_not_add_up(
    model: str, layer: int, part: str, feeds: Any, request: pytest.FixtureRequest
) -> None:
    opened = request.getfixturevalue(model)
    anatomy = opened.anatomy
    mine, other = anatomy.blocks[layer], anatomy.blocks[2]
    wrong = replace(mine.projection, weight=other.projection.weight) if part == "projection" else getattr(other, part)
    blocks = tuple(replace(mine, **{part: wrong}) if block is mine else block for block in anatomy.blocks)
    proof_of(opened.graph, anatomy, feeds)
    with pytest.raises(AnatomyError, match=rf"layer {layer} cannot be rebuilt from its attention and memory") as caught:
        proof_of(opened.graph, replace(anatomy, blocks=blocks), feeds)
    assert "\n" not in str(caught.value)


def test_a_copy_that_computes_with_another_projection_is_caught(copy_of: Any, funasr_model: Any, feeds: Any) -> None:
    """The anatomy says one matrix, the graph uses another."""
    first, second = (block.projection.weight for block in funasr_model.anatomy.blocks[1:3])

    def swap(model: Any) -> None:
        for node in model.graph.node:
            if first in node.input:
                node.input[list(node.input).index(first)] = second

    with pytest.raises(AnatomyError, match="layer 1 cannot be rebuilt"):
        proof_of(copy_of(swap), funasr_model.anatomy, feeds)


def test_a_copy_with_other_taps_in_use_is_caught(copy_of: Any, funasr_model: Any, feeds: Any) -> None:
    taps = funasr_model.anatomy.blocks[4].taps

    def change(model: Any) -> None:
        (tensor,) = (one for one in model.graph.initializer if one.name == taps)
        values = numpy_helper.to_array(tensor).copy()
        values[7, 0, 3] += 0.05  # one tap of one of 48 channels
        model.graph.initializer.append(numpy_helper.from_array(values, "other"))
        for node in model.graph.node:
            if taps in node.input:
                node.input[list(node.input).index(taps)] = "other"

    graph = copy_of(change)
    with pytest.raises(AnatomyError, match="layer 4 cannot be rebuilt"):
        proof_of(graph, funasr_model.anatomy, feeds)
    proof_of(graph, find_anatomy(graph, "ctc_logits"), feeds)  # its own anatomy names the taps that it uses


def test_a_memory_that_does_more_than_convolve_is_caught(copy_of: Any, feeds: Any) -> None:
    """A factor after the convolution passes the search by structure; the numbers find it."""

    def weaken(model: Any) -> None:
        convolution = [node for node in model.graph.node if node.op_type == "Conv"][2]
        model.graph.initializer.append(numpy_helper.from_array(np.linspace(0.9, 1, 48, dtype=np.float32)[:, None], "gain"))
        inner, outer = "undamped", convolution.output[0]
        convolution.output[0] = inner
        model.graph.node.append(helper.make_node("Mul", [inner, "gain"], [outer]))

    graph = copy_of(weaken)
    with pytest.raises(AnatomyError, match="layer 2 cannot be rebuilt"):
        proof_of(graph, find_anatomy(graph, "ctc_logits"), feeds)


@pytest.mark.parametrize("weight", ["encoder.encoders.0.self_attn.fsmn_block.weight", "ctc.ctc_lo.bias"])
def test_numbers_that_are_not_finite_do_not_pass(weight: str, copy_of: Any, feeds: Any) -> None:
    def poison(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == weight:
                values = numpy_helper.to_array(tensor).copy()
                values.flat[5] = np.nan
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    graph = copy_of(poison)
    with pytest.raises(AnatomyError, match="changes the logits by nan"):
        proof_of(graph, find_anatomy(graph, "ctc_logits"), feeds)


def test_a_plain_runner_of_another_graph_is_caught(copy_of: Any, funasr_model: Any, feeds: Any) -> None:
    """The claim that probing changes nothing is measured, not taken for granted."""

    def shift(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "ctc.ctc_lo.bias":
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(2e-3), tensor.name))

    other = copy_of(shift)
    with pytest.raises(AnatomyError, match=r"reading inner tensors changes the logits by 2\.0e-03"):
        prove(funasr_model.graph, funasr_model.anatomy, Runner(other), feeds)


@given(st.integers(1, 2), st.integers(1, 9), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_memory_is_the_plain_sum(batch: int, rows: int, width: int, taps: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    value = draw.standard_normal((batch, rows, width)).astype(np.float32)
    weights = draw.standard_normal((width, taps)).astype(np.float32)
    before = (taps - 1) // 2
    plain = value.astype(np.float64)
    for item in range(batch):
        for row in range(rows):
            for channel in range(width):
                for tap in range(taps):
                    if 0 <= row + tap - before < rows:
                        plain[item, row, channel] += float(weights[channel, tap]) * value[item, row + tap - before, channel]
    assert memory(value, weights) == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_quantising_is_that_of_the_operator(seed: int) -> None:
    import onnxruntime

    draw = np.random.default_rng(seed)
    values = (draw.standard_normal((5, 7)) * 10.0 ** draw.uniform(-3, 3) + draw.uniform(-3, 3)).astype(np.float32)
    if seed == 0:
        values[:] = 0
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    kinds = {"q": TensorProto.UINT8, "s": TensorProto.FLOAT, "z": TensorProto.UINT8}
    graph = helper.make_graph(
        [node],
        "quantise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 7])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    quantised, scale, zero = session.run(None, {"x": values})
    found, found_scale, found_zero = quantise(values)
    assert found_zero == zero
    assert found.tolist() == quantised.tolist()
    if seed:
        assert found_scale == pytest.approx(scale, rel=1e-6)
