"""An ONNX graph as a web of nodes that can be walked both ways, by structure and not by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.wire import Maps, read_skeleton, read_tensor
from voxray.types import ModelError

SHAPE_OPS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
PASSIVE_OPS = frozenset({"Identity", "Cast", "Dropout"})


class Graph:
    """A model file opened for reading.

    Attributes:
        path: the file.
        folder: where its weights lie, links resolved.
        model: its ``onnx.ModelProto``; large tensors are references into the file.
        nodes: in topological order.
    """

    def __init__(self, path: Path, model: Any = None) -> None:
        """Open a file; ``model`` takes the place of what it says where a changed graph refers to the same weights."""
        self.path = path
        self.folder = path.resolve().parent
        self.model = read_skeleton(path) if model is None else model
        self._nodes = tuple(self.model.graph.node)  # protobuf makes a new object for every look, and `id` must stay
        self._producer = {name: node for node in self._nodes for name in node.output if name}
        self._consumers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
        for node in self._nodes:
            for index, name in enumerate(node.input):
                self._consumers[name].append((node, index))
        self._initializers = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._maps: Maps = {}

    @cached_property
    def nodes(self) -> tuple[Any, ...]:
        """Nodes in topological order (files need not be sorted).

        Raises:
            ModelError: when the nodes form a circle, so that no order exists and no walk would end.
        """
        ordered = tuple(self._sorted())
        if len(ordered) < len(self._nodes):
            raise ModelError(f"{self.path} is damaged: some of its nodes wait for their own result; download it again")
        return ordered

    @cached_property
    def operators(self) -> dict[str, int]:
        """How often each operator occurs."""
        counts: dict[str, int] = defaultdict(int)
        for node in self._nodes:
            counts[node.op_type] += 1
        return dict(counts)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The model's file, then those that hold its external data."""
        import onnx

        external = (one for one in self.model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL)
        places = {entry.value for tensor in external for entry in tensor.external_data if entry.key == "location"}
        own = self.path.resolve()
        return (own, *sorted({(self.folder / place).resolve() for place in places} - {own}))

    @property
    def inputs(self) -> dict[str, tuple[int, tuple[int | str, ...]]]:
        """Element type and shape of each input that has to be fed."""
        return {value.name: _signature(value) for value in self.model.graph.input if value.name not in self._initializers}

    @property
    def outputs(self) -> dict[str, tuple[int, tuple[int | str, ...]]]:
        """Element type and shape of each output."""
        return {value.name: _signature(value) for value in self.model.graph.output}

    @property
    def metadata(self) -> dict[str, str]:
        """The file's ``metadata_props``."""
        return {entry.key: entry.value for entry in self.model.metadata_props}

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return max((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), default=0)

    def producer(self, name: str) -> Any | None:
        """Return the node that makes a tensor, or None for inputs and weights."""
        return self._producer.get(name)

    def consumers(self, name: str) -> list[tuple[Any, int]]:
        """Return (node, input index) for every use of a tensor."""
        return self._consumers.get(name, [])

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a weight without reading it."""
        node = self.producer(name)
        if node is not None and node.op_type == "DequantizeLinear":
            return self.shape(node.input[0])
        tensor = self._initializers.get(name)
        return None if tensor is None else tuple(tensor.dims)

    def initializer(self, name: str) -> Any:
        """Return a weight as it stands in the file, an ``onnx.TensorProto``."""
        return self._initializers[name]

    def stored(self, name: str) -> str:
        """Return what a weight is called in the file, seen through casts and copies; empty where it is none."""
        name = self._origin(name)
        return name if name in self._initializers else ""

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Return the values of a weight or a constant, seen through casts and copies; None where it is computed."""
        name = self._origin(name)
        if name in self._initializers:
            return read_tensor(self._initializers[name], self.folder, self._maps)
        node = self.producer(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            return _constant_value(node, self.folder)
        if node.op_type == "DequantizeLinear":
            return _dequantised(*(self.constant(one) for one in node.input))
        return None

    def is_constant(self, name: str) -> bool:
        """Tell whether a tensor is a weight or constant, without reading it."""
        name = self._origin(name, frozenset({*PASSIVE_OPS, "DequantizeLinear"}))
        node = self.producer(name)
        return name in self._initializers or (node is not None and node.op_type == "Constant")

    def _origin(self, name: str, through: frozenset[str] = PASSIVE_OPS) -> str:
        """Follow a tensor up through the first inputs of the operators given; a row of any length, and a circle ends too."""
        seen: set[str] = set()
        node = self.producer(name)
        while node is not None and node.op_type in through and node.input and name not in seen:
            seen.add(name)
            name = node.input[0]
            node = self.producer(name)
        return name

    def is_passive(self, node: Any) -> bool:
        """Tell whether a node hands on its first or only computed input: copies, casts, products with a scalar constant."""
        if node.op_type in PASSIVE_OPS:
            return True
        if node.op_type not in ("Mul", "Div"):
            return False
        return any(self._is_scalar(name) for name in node.input)

    def _is_scalar(self, name: str) -> bool:
        if not self.is_constant(name):
            return False
        shape = self.shape(name)
        if shape is not None:
            return int(np.prod(shape, dtype=np.int64)) == 1
        value = self.constant(name)
        return value is not None and value.size == 1

    def computed_input(self, node: Any) -> str:
        """Return the first input of a node that is no constant."""
        return next((name for name in node.input if name and not self.is_constant(name)), "")

    def back(self, name: str, through: frozenset[str] = frozenset()) -> str:
        """Follow a tensor up through passive nodes and the operators given; return the first tensor made otherwise."""
        node = self.producer(name)
        while node is not None and (self.is_passive(node) or node.op_type in through):
            above = self.computed_input(node)
            if not above:
                return name
            name, node = above, self.producer(above)
        return name

    def upstream(self, name: str, through: frozenset[str], wanted: Callable[[Any], bool]) -> Any | None:
        """Follow a tensor up every branch through the operators given; return the first wanted node, or None."""
        stack = [name]
        while stack:
            node = self.producer(stack.pop())
            if node is None:
                continue
            if wanted(node):
                return node
            if node.op_type in through or self.is_passive(node):
                stack += list(node.input)
        return None

    def forward(self, name: str, through: frozenset[str], wanted: Callable[[Any, int], bool]) -> list[tuple[Any, str]]:
        """Follow a tensor down; return (node, tensor that enters it) for the first wanted nodes on every branch."""
        found, stack, seen = [], [name], set()
        while stack:
            tensor = stack.pop()
            for node, index in self.consumers(tensor):
                if wanted(node, index):
                    found.append((node, tensor))
                elif (node.op_type in through or self.is_passive(node)) and node.output[0] not in seen:
                    seen.add(node.output[0])
                    stack.append(node.output[0])
        return found

    def pruned(self) -> Graph:
        """Return the graph without what no output needs, its nodes in topological order; a graph that has no graphs within."""
        import onnx

        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(kept[::-1])
        model.graph.initializer.extend(one for one in self.model.graph.initializer if one.name in needed)
        return Graph(self.path, model)

    def _sorted(self) -> Iterator[Any]:
        waiting = {id(node): sum(name in self._producer for name in set(node.input)) for node in self._nodes}
        ready = [node for node in reversed(self._nodes) if waiting[id(node)] == 0]
        while ready:
            node = ready.pop()
            yield node
            users = {id(user): user for name in node.output for user, _ in self.consumers(name)}
            for user in users.values():
                waiting[id(user)] -= sum(name in user.input for name in node.output if name)
                if waiting[id(user)] == 0:
                    ready.append(user)


def _signature(value: Any) -> tuple[int, tuple[int | str, ...]]:
    kind = value.type.tensor_type
    return kind.elem_type, tuple(axis.dim_value or axis.dim_param or "?" for axis in kind.shape.dim)


def _dequantised(
    numbers: npt.NDArray[Any] | None, scale: npt.NDArray[Any] | None, zero: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any] | None:
    """Return the real numbers that whole ones stand for; scale and zero point are of the whole tensor or of its last axis."""
    if numbers is None or scale is None:
        return None
    return np.asarray((numbers.astype(np.float32) - (0 if zero is None else zero.astype(np.float32))) * scale, np.float32)


def _constant_value(node: Any, folder: Path) -> npt.NDArray[Any] | None:
    """Return the value of a Constant node, in any of the forms that the standard allows."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return read_tensor(attribute.t, folder)
        if attribute.name in ("value_float", "value_int"):
            return np.asarray(attribute.f if attribute.name == "value_float" else attribute.i)
        if attribute.name in ("value_floats", "value_ints"):
            return np.asarray(attribute.floats if attribute.name == "value_floats" else attribute.ints)
    return None
