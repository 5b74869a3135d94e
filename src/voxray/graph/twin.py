"""The floating-point twin of a file whose weights are stored in fewer bits.

A gradient through rounding is zero, so a quantised file is explained on a twin with the same weights, dequantised, and
activations that are not rounded. How far the two agree on the sound at hand is measured and reported by whoever uses it.

- Dynamic int8: ``DynamicQuantizeLinear``, ``MatMulInteger``, ``Cast``, ``Mul`` becomes a ``MatMul`` with the dequantised weight.
- 4 or 8 bits in blocks: ``MatMulNBits`` becomes a ``MatMul``.
- fp16: weights and casts become fp32.

**Source:** the ONNX operators' definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from voxray.graph.graph import Graph
from voxray.graph.weights import unpack
from voxray.types import ModelError

FLOAT, FLOAT16 = 1, 10
LARGEST = 3 << 29  # bytes of weights that are unpacked in memory


def float_twin(graph: Graph) -> Graph:
    """Return the twin of a graph, in fp32 throughout; a graph that is fp32 already is its own twin.

    Raises:
        ModelError: when packed weights would not fit into memory, or a quantised product has an unknown form.
    """
    import onnx

    kinds = {tensor.data_type for tensor in graph.model.graph.initializer}
    operators = graph.operators
    if FLOAT16 not in kinds and not {"MatMulInteger", "MatMulNBits"} & set(operators):
        return graph
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    changed = Graph(graph.path, model)
    if "MatMulInteger" in operators:
        _replace(model, dict(_dequantised(changed)))
    if "MatMulNBits" in operators:
        _replace(model, dict(_unpacked(changed)))
    if FLOAT16 in kinds:
        _widen(model)
    _prune(Graph(graph.path, model))
    return Graph(graph.path, model)


def _replace(model: Any, replaced: dict[str, list[Any]]) -> None:
    """Put nodes in the place of those that made the tensors they are listed under."""
    nodes = []
    for node in model.graph.node:
        made = next((replaced[name] for name in node.output if name in replaced), None)
        nodes += [node] if made is None else made
    _set_nodes(model, nodes)


def _dequantised(graph: Graph) -> Iterator[tuple[str, list[Any]]]:
    """Yield (output, nodes that make it in floating point) for every dynamically quantised product."""
    from onnx import helper

    for node in graph.nodes:
        if node.op_type != "MatMulInteger":
            continue
        source = graph.producer(node.input[0])
        casts = graph.consumers(node.output[0])
        rescales = graph.consumers(casts[0][0].output[0]) if casts and casts[0][0].op_type == "Cast" else []
        if source is None or source.op_type != "DynamicQuantizeLinear" or not rescales or rescales[0][0].op_type != "Mul":
            raise ModelError(f"{graph.path.name}: the product {node.name!r} is not quantised dynamically; use the fp32 file")
        rescale = rescales[0][0]
        factors = graph.producer(next(name for name in rescale.input if name != casts[0][0].output[0]))
        scale = next(name for name in (factors.input if factors else ()) if graph.is_constant(name))
        weight, output = f"{node.input[1]}_float_{node.output[0]}", rescale.output[0]
        inputs = [node.input[1], scale, *([node.input[3]] if len(node.input) > 3 else [])]
        yield (
            output,
            [
                helper.make_node("DequantizeLinear", inputs, [weight], axis=1),
                helper.make_node("MatMul", [source.input[0], weight], [output]),
            ],
        )


def _unpacked(graph: Graph) -> Iterator[tuple[str, list[Any]]]:
    """Yield (output, nodes) for every product with packed weights; the weights join the model."""
    from onnx import helper, numpy_helper

    total = 0
    for node in graph.nodes:
        if node.op_type != "MatMulNBits":
            continue
        values = unpack(graph, node)
        total += values.nbytes
        if total > LARGEST:
            raise ModelError(f"{graph.path.name}: its packed weights take over {LARGEST >> 20} MB unpacked; use the fp32 file")
        weight = f"{node.input[1]}_float"
        if not any(tensor.name == weight for tensor in graph.model.graph.initializer):
            graph.model.graph.initializer.append(numpy_helper.from_array(values, weight))
        yield node.output[0], [helper.make_node("MatMul", [node.input[0], weight], [node.output[0]])]


def _widen(model: Any) -> None:
    """Make fp16 weights, constants and casts fp32."""
    from onnx import numpy_helper

    def widened(tensor: Any) -> None:
        if tensor.data_type == FLOAT16:
            wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
            tensor.CopyFrom(wide)

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT16 and tensor.external_data:
            casts.append(_cast_of(tensor))
        else:
            widened(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT16:
                attribute.i = FLOAT
            if node.op_type in ("Constant", "ConstantOfShape") and attribute.name == "value":
                widened(attribute.t)
    _set_nodes(model, [*casts, *model.graph.node])
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == FLOAT16:
            value.type.tensor_type.elem_type = FLOAT
    del model.graph.value_info[:]


def _cast_of(tensor: Any) -> Any:
    """Rename a weight that stays in its file and return the node that makes its old name in fp32."""
    from onnx import helper

    name = tensor.name
    tensor.name = f"{name}_half"
    return helper.make_node("Cast", [tensor.name], [name], to=FLOAT)


def _prune(graph: Graph) -> None:
    """Drop nodes that no output needs any more."""
    model, needed, kept = graph.model, set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    _set_nodes(model, kept[::-1])


def _set_nodes(model: Any, nodes: list[Any]) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]  # a cleared list takes its nodes along
    del model.graph.node[:]
    model.graph.node.extend(copies)
