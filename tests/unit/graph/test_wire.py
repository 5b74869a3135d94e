"""The file reader gives exactly what protobuf gives, without reading the weights, and stops at nonsense."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from voxray.graph.wire import LARGE, _key, _varint, read_skeleton, read_tensor
from voxray.models import BUNDLED
from voxray.types import ModelError

DTYPES = [np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_]
in_one_folder = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same_weights(path: Path) -> int:
    """Compare every initializer with what the onnx package reads; return how many were left on disk."""
    skeleton, whole = read_skeleton(path), onnx.load(path)
    assert [one.name for one in skeleton.graph.initializer] == [one.name for one in whole.graph.initializer]
    for light, heavy in zip(skeleton.graph.initializer, whole.graph.initializer, strict=True):
        found, wanted = read_tensor(light, path.resolve().parent), numpy_helper.to_array(heavy)
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()
    return sum(one.data_location == TensorProto.EXTERNAL for one in skeleton.graph.initializer)


def small_model(initializers: list[Any], **fields: Any) -> Any:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [result], initializers)
    return helper.make_model(graph, **fields)


def saved(model: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("name", ["model.onnx", "model_quant.onnx"])
def test_every_weight_of_the_fixtures_is_read_exactly(data: Path, name: str) -> None:
    assert same_weights(data / "sensevoice-funasr" / name) >= 10


@pytest.mark.parametrize("name", ["model.onnx", "model_quant.onnx"])
def test_every_weight_of_the_bundled_model_is_read_exactly(name: str) -> None:
    assert same_weights(BUNDLED / name) >= 50


def test_every_weight_of_the_larger_fixtures_is_read_exactly(shared_fixtures: Path) -> None:
    files = sorted(shared_fixtures.glob("*/*.onnx"))
    assert len(files) == 15
    for path in files:
        same_weights(path)


def test_the_bundled_skeleton_is_light_and_quick() -> None:
    path = BUNDLED / "model.onnx"
    read_skeleton(path)  # the first call imports onnx
    begin = time.perf_counter()
    skeleton = read_skeleton(path)
    seconds = time.perf_counter() - begin
    assert seconds < 0.2
    assert skeleton.ByteSize() < path.stat().st_size / 10


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_those_of_protobuf(number: int) -> None:
    encoded = _VarintBytes(number)
    assert _varint(encoded + b"\xff", 0, len(encoded) + 1) == (number, len(encoded))  # type: ignore[arg-type]


@given(st.integers(1, 15), st.integers(0, 2**40))
def test_heads_of_fields_are_those_of_protobuf(number: int, length: int) -> None:
    assert _key(number, length) == _VarintBytes(number << 3 | 2) + _VarintBytes(length)


@in_one_folder
@given(
    weights=st.lists(
        st.sampled_from(DTYPES).flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(max_dims=3, max_side=40))),
        max_size=4,
    ),
    typed=st.lists(st.floats(width=32, allow_nan=False), max_size=8),
    metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    producer=st.text(max_size=300),
)
def test_any_model_is_read_as_protobuf_reads_it(
    weights: list[np.ndarray], typed: list[float], metadata: dict[str, str], producer: str, tmp_path: Path
) -> None:
    tensors = [numpy_helper.from_array(one, f"w{index}") for index, one in enumerate(weights)]
    tensors.append(helper.make_tensor("typed", TensorProto.FLOAT, [len(typed)], typed))
    tensors.append(numpy_helper.from_array(np.arange(LARGE, dtype=np.float32), "large"))
    model = small_model(tensors, producer_name=producer)
    helper.set_model_props(model, metadata)
    path = saved(model, tmp_path)
    assert same_weights(path) >= 1
    skeleton = read_skeleton(path)
    del skeleton.graph.initializer[:]
    del model.graph.initializer[:]
    assert skeleton.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@in_one_folder
@given(noise=st.binary(min_size=1, max_size=400))
def test_random_bytes_are_refused_in_one_line(noise: bytes, tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(noise)
    with pytest.raises(ModelError, match=r"noise\.onnx is not") as caught:
        read_skeleton(path)
    assert "\n" not in str(caught.value)


@in_one_folder
@given(at=st.integers(0, 10**6), value=st.integers(0, 255))
def test_one_wrong_byte_is_survived_or_refused(at: int, value: int, data: Path, tmp_path: Path) -> None:
    content = bytearray((data / "sensevoice-funasr" / "model.onnx").read_bytes())
    content[at % len(content)] = value
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    try:
        skeleton = read_skeleton(path)
        for tensor in skeleton.graph.initializer:
            read_tensor(tensor, tmp_path)
    except ModelError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message


@pytest.mark.parametrize(
    "claim",
    [
        b"\x3a" + _VarintBytes(2**31 - 1),  # a graph of 2 GB
        b"\x3a\x08\x2a" + _VarintBytes(2**31 - 1),  # a weight of 2 GB in a small graph
        b"\x3a" + b"\xff" * 9 + b"\x01",  # the largest number there is
        b"\x3a" + b"\xff" * 12,  # a number that does not end
        b"\x08\x07" + b"\x12" + _VarintBytes(2**31 - 1) + b"x",
    ],
)
def test_huge_claims_are_refused_at_once(claim: bytes, tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    path.write_bytes(claim)
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(ModelError, match=r"huge\.onnx is not a whole ONNX model"):
        read_skeleton(path)
    seconds, (_, most) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1
    assert most < 50e6


@pytest.mark.parametrize("dims", [[2**40], [2**33, 2**33], [-1], [3]])
def test_a_shape_that_its_data_does_not_fill_is_refused(dims: list[int], tmp_path: Path) -> None:
    for content in (b"\0" * 16, b"\0" * 4 * LARGE):  # left in the message; left on disk
        tensor = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, raw_data=content)
        (light,) = read_skeleton(saved(small_model([tensor]), tmp_path)).graph.initializer
        with pytest.raises(ModelError, match=r"weight 'w' is damaged.*download it again"):
            read_tensor(light, tmp_path)


def external(location: str, folder: Path, **place: str) -> Path:
    """Save a model whose only weight lies elsewhere."""
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **place}.items():
        tensor.external_data.add(key=key, value=value)
    return saved(small_model([tensor]), folder)


@pytest.mark.parametrize("place", [{}, {"length": "16"}, {"offset": "8", "length": "16"}, {"offset": "8"}])
def test_external_data_is_read_where_it_lies(place: dict[str, str], tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(numbers.tobytes())
    (light,) = read_skeleton(external("weights.bin", tmp_path, **place)).graph.initializer
    first = int(place.get("offset", "0")) // 4
    assert read_tensor(light, tmp_path).tolist() == numbers[first : first + 4].tolist()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"offset": "16"}, "holds 24 bytes, 32 were expected"),
        ({"length": "4000000000"}, "holds 24 bytes, 4000000000 were expected"),
        ({"offset": "-8"}, "does not say where the weight 'w' lies"),
        ({"offset": "much"}, "does not say where the weight 'w' lies"),
        ({"length": "-1"}, "does not say where the weight 'w' lies"),
    ],
)
def test_a_wrong_place_of_external_data_is_refused(place: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(24))
    with pytest.raises(ModelError, match=message):
        read_skeleton(external("weights.bin", tmp_path, **place))
