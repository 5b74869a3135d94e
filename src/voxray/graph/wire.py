"""Reads an ONNX file without its weights.

A recogniser's file is one protobuf message of up to a gigabyte, of which all but a few megabytes are weights. Parsing it whole
costs seconds and its size in memory several times over. Here the message is walked at the level of its wire format: everything
but the large tensors is parsed; a large tensor becomes *external data* that points back into the very file it came from. So a
changed graph weighs a few megabytes, and every session on it maps the same weights.

A file may come from anybody. What it claims is checked before memory is taken for it: where its weights lie, how large its other
parts are, and how large the tensors that it makes from a size alone.

**Source:** the encoding, https://protobuf.dev/programming-guides/encoding; the field numbers, onnx/onnx.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import ModelError

LARGE = 4096  # bytes; smaller tensors (shapes, scalars, norms of toy models) stay in the message
MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
GRAPH_NODE, NODE_ATTRIBUTE = 1, 5
TENSOR_RAW_DATA = 9
TENSOR_WIDENED = (6, 7)  # texts and 64-bit numbers: a byte in the file takes up to 16 in memory
ATTRIBUTE_WIDENED = (4, 8, 9)  # a text, numbers, texts
MOST_PARTS = 250_000  # of one message; the official SenseVoice has 10 214 nodes
LARGEST_LIST = 4 << 20  # bytes of a list of numbers or texts; none in a recogniser comes near
LARGEST_REST = 512 << 20  # bytes beside raw weights; an official int8 file whose weights are no raw bytes has 350 MB
LONGEST_NAME = 4096  # characters
LARGEST_CLAIM = 1 << 26  # values of a tensor that a node makes from nothing but its size
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_skeleton(path: Path) -> Any:
    """Return the ``onnx.ModelProto`` of a file with its large tensors left on disk as external data.

    Locations of external data are relative to ``path.resolve().parent``: hub caches keep links to files elsewhere.

    Raises:
        ModelError: when the file is no ONNX model, is cut off, or points to data that is missing or outside its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if path.stat().st_size == 0:
            raise ModelError(f"{path} is empty; an ONNX model was expected: copy or download it again")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            model = onnx.ModelProto.FromString(_lighten_model(data, path.resolve().name))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); give a file that you may read") from error
    except (DecodeError, _MalformedError) as error:
        raise ModelError(
            f"{path} is not a whole ONNX model ({_short(error)}); it may be cut off, too deeply nested or another kind of file: "
            "download it again"
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph; give the .onnx file of a speech recogniser")
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf hands out bytes where a text is no UTF-8
        raise ModelError(f"{path} is damaged: some of its names are no text; download it again")
    if any(len(text) > LONGEST_NAME for text in _names(model)):
        raise ModelError(f"{path} is damaged: some of its names have over {LONGEST_NAME} characters; download it again")
    _check_arity(model, path)
    for tensor in _tensors(model):
        _settle_external(tensor, path)
    _check_claims(model, path)
    return model


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


Maps = dict[str, mmap.mmap]
"""Files of weights that are mapped into memory, by their place in the model's folder."""


def read_tensor(tensor: Any, folder: Path, maps: Maps | None = None) -> npt.NDArray[Any]:
    """Return the values of an initializer, read from its file where they are external.

    Args:
        tensor: an ``onnx.TensorProto``.
        folder: where the model's file lies.
        maps: where to keep mapped files. With it, float32 weights are views of their file and take no memory of their own.

    Raises:
        ModelError: when the data is not as long as the tensor's shape says.
    """
    import onnx
    from onnx import numpy_helper

    whole = tensor
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        offset, length = _extent(tensor)
        if maps is not None and tensor.data_type == onnx.TensorProto.FLOAT and length == 4 * math.prod(tensor.dims):
            return _mapped(folder, _place(tensor)["location"], maps, offset, tuple(tensor.dims))
        with (folder / _place(tensor)["location"]).open("rb") as file:
            file.seek(offset)
            whole = onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=file.read(length))
    damaged = f"the weight {tensor.name!r} is damaged: its data does not fit the shape {list(tensor.dims)}; download it again"
    try:
        values = numpy_helper.to_array(whole)
    except (ValueError, TypeError, KeyError) as error:  # a wrong length, or a type that the standard does not know
        raise ModelError(damaged) from error
    if values.shape != tuple(tensor.dims):  # numpy takes a length of -1 for "as many as there are"
        raise ModelError(damaged)
    return values


def _mapped(folder: Path, location: str, maps: Maps, offset: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return float32 values as a read-only view of their file, which is mapped once."""
    if location not in maps:
        with (folder / location).open("rb") as file:
            maps[location] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(maps[location], np.float32, math.prod(shape), offset).reshape(shape)


def _graphs(model: Any) -> Iterator[Any]:
    """Yield a model's graph, its functions, and every graph within a node of them."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs]


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor of a model, wherever it stands."""
    for graph in _graphs(model):
        if graph.DESCRIPTOR.name == "GraphProto":
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                for sparse in (
                    *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()),
                    *attribute.sparse_tensors,
                ):
                    yield from (sparse.values, sparse.indices)


SIZED_BY = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Range": 1, "Pad": 1, "Resize": 3}
"""Operators whose result is as large as one of their inputs says, and the place of that input."""


def _check_claims(model: Any, path: Path) -> None:
    """Refuse nodes that make a tensor of gigabytes out of a constant that says how large it is to be."""
    for graph in _graphs(model):
        known = {node.output[0]: node.attribute for node in graph.node if node.op_type == "Constant" and node.output}
        stored = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
        for node in graph.node:
            place = SIZED_BY.get(node.op_type)
            if place is None or place >= len(node.input):
                continue
            name = node.input[place]
            claimed = math.prod(abs(one) for one in _sizes(stored.get(name), known.get(name, ())) if one)
            if claimed > LARGEST_CLAIM:
                raise ModelError(
                    f"{path} is damaged: its node {node.name!r} ({node.op_type}) makes a tensor of {float(claimed):.0e} values, at "
                    f"most {LARGEST_CLAIM:.0e} are expected; download it again"
                )


def _sizes(tensor: Any, attributes: Any) -> list[int]:
    """Return the whole numbers of a small constant: a weight, or what a Constant node holds."""
    import onnx

    for attribute in attributes:
        if attribute.name in ("value_ints", "value_int"):
            return list(attribute.ints) or [attribute.i]
        tensor = attribute.t if attribute.name == "value" else tensor
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type != onnx.TensorProto.INT64:
        return []
    if math.prod(tensor.dims) > 16:  # no shape has more axes
        return []
    if tensor.raw_data:
        return [int(one) for one in np.frombuffer(tensor.raw_data[: len(tensor.raw_data) // 8 * 8], np.int64)]
    return list(tensor.int64_data)


def _texts(model: Any) -> Iterator[Any]:
    """Yield every text in a model that Voxray looks at."""
    yield from _names(model)
    for tensor in model.graph.initializer:
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)


def _names(model: Any) -> Iterator[Any]:
    """Yield every name in a model that Voxray looks at."""
    graph = model.graph
    for node in graph.node:
        yield from (node.name, node.op_type, *node.input, *node.output)
    for one in (*graph.input, *graph.output, *graph.initializer):
        yield one.name
    for value in (*graph.input, *graph.output):
        yield from (axis.dim_param for axis in value.type.tensor_type.shape.dim)


def _check_arity(model: Any, path: Path) -> None:
    """Refuse nodes that lack an input or output which their operator must have, so that nobody else has to count them."""
    from onnx import defs

    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    for node in model.graph.node:
        known = node.domain in ("", "ai.onnx") and defs.has(node.op_type, opset)
        least = defs.get_schema(node.op_type, opset) if known else None
        inputs, outputs = (least.min_input, least.min_output) if least is not None else (0, 1)
        if len(node.input) < inputs or len(node.output) < outputs:
            raise ModelError(
                f"{path} is damaged: its node {node.name!r} ({node.op_type}) has {len(node.input)} inputs and "
                f"{len(node.output)} outputs, at least {inputs} and {outputs} were expected; download it again"
            )


class _MalformedError(Exception):
    """The bytes do not follow the wire format."""


def _fields(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (number, wire type, start of the field, start of its payload, stop) for each field of a message."""
    at, count = start, 0
    while at < stop:
        count += 1
        if count > MOST_PARTS:
            raise _MalformedError(f"it has over {MOST_PARTS} parts")
        key, body = _varint(data, at, stop)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            payload, end = body, _varint(data, body, stop)[1]
        elif kind == BYTES:
            length, payload = _varint(data, body, stop)
            end = payload + length
        elif kind in (FIXED64, FIXED32):
            payload, end = body, body + (8 if kind == FIXED64 else 4)
        else:
            raise _MalformedError(f"unknown wire type {kind} at byte {at}")
        if end > stop or number == 0:
            raise _MalformedError(f"the part at byte {at} claims to end at byte {end} of {stop}")
        yield number, kind, at, payload, end
        at = end


def _varint(data: mmap.mmap, at: int, stop: int) -> tuple[int, int]:
    """Return the number at a position and the position after it."""
    value = shift = 0
    while at < stop and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    raise _MalformedError(f"a number does not end at byte {at}")


def _lighten_model(data: mmap.mmap, location: str) -> bytes:
    """Return the model message with its large tensors replaced by references into the file."""
    parts = []
    for number, kind, start, payload, stop in _fields(data, 0, len(data)):
        if number == MODEL_GRAPH and kind == BYTES:
            graph = _lighten_graph(data, payload, stop, location)
            parts += [_key(MODEL_GRAPH, len(graph)), graph]
        else:
            _affordable(stop - start)
            parts.append(data[start:stop])
    return b"".join(parts)


def _lighten_graph(data: mmap.mmap, start: int, stop: int, location: str) -> bytes:
    parts, kept = [], 0
    for number, _, field, payload, end in _fields(data, start, stop):
        if number == GRAPH_INITIALIZER and end - payload > LARGE:
            tensor = _lighten_tensor(data, payload, end, location)
            parts += [_key(GRAPH_INITIALIZER, len(tensor)), tensor]
            kept += len(tensor)
            continue
        if number == GRAPH_NODE and end - payload > LARGEST_LIST:
            _check_node(data, payload, end)
        kept = _affordable(kept + end - field)
        parts.append(data[field:end])
    return b"".join(parts)


def _affordable(size: int) -> int:
    """Return the size of what is not left on disk if memory may be taken for it."""
    if size > LARGEST_REST:
        raise _MalformedError(f"it has over {LARGEST_REST >> 20} MB that are no raw weights")
    return size


def _check_node(data: mmap.mmap, start: int, stop: int) -> None:
    """Refuse a large node of which a list grows in memory."""
    for number, _, _, payload, end in _fields(data, start, stop):
        if number == NODE_ATTRIBUTE and end - payload > LARGEST_LIST:
            _check_lists(data, payload, end, ATTRIBUTE_WIDENED)


def _check_lists(data: mmap.mmap, start: int, stop: int, widened: tuple[int, ...]) -> None:
    for number, _, _, payload, end in _fields(data, start, stop):
        if number in widened and end - payload > LARGEST_LIST:
            raise _MalformedError(f"a list in it takes {end - payload >> 20} MB")


def _lighten_tensor(data: mmap.mmap, start: int, stop: int, location: str) -> bytes:
    """Return the tensor message with its raw data, if large, replaced by where it lies in the file."""
    import onnx

    parts, reference, kept = [], b"", 0
    for number, _, field, payload, end in _fields(data, start, stop):
        if number == TENSOR_RAW_DATA and end - payload > LARGE // 2:
            place = {"location": location, "offset": str(payload), "length": str(end - payload)}
            entries = [onnx.StringStringEntryProto(key=key, value=value) for key, value in place.items()]
            reference = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL, external_data=entries).SerializeToString()
        else:
            if number in TENSOR_WIDENED and end - payload > LARGEST_LIST:
                raise _MalformedError(f"a list in it takes {end - payload >> 20} MB")
            kept = _affordable(kept + end - field)
            parts.append(data[field:end])
    return b"".join([*parts, reference])


def _key(number: int, length: int) -> bytes:
    """Return the head of a length-delimited field."""
    head = bytearray([number << 3 | BYTES])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _place(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _extent(tensor: Any) -> tuple[int, int]:
    """Return (offset, length) in bytes of external data; where no length is told, the shape tells it.

    Raises:
        ValueError: when they are no numbers of bytes.
    """
    import onnx

    place = _place(tensor)
    offset = int(place.get("offset", "0"))
    width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize if "length" not in place else 0
    length = int(place["length"]) if "length" in place else math.prod(tensor.dims) * width
    if min(offset, length) < 0:
        raise ValueError(f"offset {offset} and length {length}")
    return offset, length


def _settle_external(tensor: Any, path: Path) -> None:
    """Refuse external data that is missing, too short, or outside the model's folder; make its location relative to it."""
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    folder, location = path.resolve().parent, _place(tensor).get("location", "")
    # Where the model is a link into a hub's cache, a link beside it leads to the data.
    try:
        places = [place / location for place in (folder, path.parent) if (place / location).exists()]
        need = sum(_extent(tensor))
    except (OSError, ValueError, KeyError) as error:  # a name that no file can have, or what is no number
        raise ModelError(f"{path} does not say where the weight {tensor.name!r} lies; download it again") from error
    target = places[0] if places else folder / location
    if Path(location).is_absolute() or not target.resolve().is_relative_to(folder):
        raise ModelError(
            f"{path} keeps weights in {location!r}, outside its own folder; such files are refused: "
            "put the data file beside the model"
        )
    if not target.is_file():
        raise ModelError(f"{path} keeps its weights in {target.name}, which is missing: put that file beside the model")
    if target.stat().st_size < need:
        raise ModelError(f"{target} holds {target.stat().st_size} bytes, {need} were expected: download it again")
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = str(target.resolve().relative_to(folder))
