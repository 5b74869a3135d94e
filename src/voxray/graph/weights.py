"""Reads the weights of the parts that the anatomy names, as float32 numbers, dequantised.

**Source:** ``MatMulNBits`` as in onnxruntime ``docs/ContribOperators.md``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import Anatomy, Block, Linear, Norm
from voxray.graph.graph import Graph
from voxray.types import AnatomyError, FloatArray, LayerWeights, ModelError, NormWeights

SURPLUS = 1 << 25  # numbers beside the linear maps; the official SenseVoice has 1 million


def layer_weights(graph: Graph, block: Block) -> LayerWeights:
    """Return the weights of a layer.

    Raises:
        AnatomyError: when they are stored in a way that cannot be read.
    """
    width = (graph.shape(block.taps) or (0,))[0]
    qkv, bias = linear_parts(graph, block.qkv)
    taps = np.asarray(graph.constant(block.taps), np.float32).reshape(width, -1)
    projection, offset = linear_parts(graph, block.projection)
    inner, outer = (linear_parts(graph, one) for one in block.feed_forward)
    return LayerWeights(
        norm=norm_weights(graph, block.norm),
        value=(_at_hand(qkv[:, -width:]), bias[-width:]),  # query, key and value lie side by side
        projection=(_at_hand(projection), offset),
        taps=taps,
        residual=block.residual,
        norm2=norm_weights(graph, block.norm2),
        inner=inner,
        outer=outer,
    )


def _at_hand(matrix: FloatArray) -> FloatArray:
    """Return a matrix that lies in one block at an even address, a copy where the model's file has it otherwise.

    A file mapped into memory holds numbers at any byte; each product with such a matrix copies it anew.
    """
    return np.require(matrix, requirements=["ALIGNED", "C_CONTIGUOUS"])


def norm_weights(graph: Graph, norm: Norm) -> NormWeights:
    """Return scale, shift and epsilon of a layer norm."""
    scale = np.asarray(graph.constant(norm.weight), np.float32)
    shift = np.asarray(graph.constant(norm.bias), np.float32) if norm.bias else np.zeros_like(scale)
    return NormWeights(scale, shift, norm.epsilon)


def check_surplus(graph: Graph, anatomy: Anatomy) -> None:
    """Refuse a file that claims far more weights than its parts have, before memory is taken for them.

    Raises:
        ModelError: when it does.
    """
    linears = [anatomy.head]
    for block in anatomy.blocks:
        linears += [block.qkv, block.projection, *block.feed_forward]
    known = sum(math.prod(graph.shape(one.weight) or (0,)) for one in linears)
    claimed = sum(math.prod(tensor.dims) for tensor in graph.model.graph.initializer)
    if claimed > known + SURPLUS:
        raise ModelError(
            f"{graph.path} claims {claimed:.1e} weights, but its layers have {known:.1e} of them; such files are refused: take it "
            "from where it is published"
        )


def linear_parts(graph: Graph, linear: Linear) -> tuple[FloatArray, FloatArray]:
    """Return the weight (K, N) and bias (N,) of a linear map.

    Raises:
        AnatomyError: when the weight is stored in a way that cannot be read.
    """
    weight = linear_weight(graph, linear)
    bias = np.asarray(graph.constant(linear.bias), np.float32).reshape(-1) if linear.bias else np.zeros(weight.shape[1], np.float32)
    return weight, bias


def linear_weight(graph: Graph, linear: Linear) -> FloatArray:
    """Return the (K, N) float32 weight of a linear map, dequantised where it is stored as integers.

    Raises:
        AnatomyError: when the weight is stored in another way.
    """
    node = next((node for node, index in graph.consumers(linear.weight) if index == 1 and node.op_type == linear.operator), None)
    if linear.operator == "MatMulNBits" and node is not None:
        return unpack(graph, node)
    weight = graph.constant(linear.weight)
    if weight is None or linear.operator not in ("MatMul", "Gemm", "MatMulInteger"):
        raise AnatomyError(f"{graph.path.name}: the weight of a {linear.operator} cannot be read; use an fp32 or int8 file")
    if linear.operator == "Gemm" and node is not None and any(one.name == "transB" and one.i for one in node.attribute):
        weight = weight.T
    if linear.operator != "MatMulInteger":
        return np.asarray(weight, np.float32)
    zero = np.asarray(graph.constant(linear.zero_point) if linear.zero_point else 0, np.float32)
    return np.asarray((weight.astype(np.float32) - zero) * np.asarray(graph.constant(linear.scale), np.float32))


def unpack(graph: Graph, node: Any) -> FloatArray:
    """Return the (K, N) float32 weight of a ``MatMulNBits``: N rows of blocks; of 4 bits two in a byte, low half first.

    Raises:
        AnatomyError: when it is of other bits than 4 or 8, or its parts do not fit together.
    """
    told = {one.name: one.i for one in node.attribute}
    columns, inner, block, bits = (told.get(name, 4) for name in ("N", "K", "block_size", "bits"))
    if bits not in (4, 8):
        raise AnatomyError(f"{graph.path.name}: weights of {bits} bits are packed in it, 4 or 8 were expected; use the fp32 file")
    try:
        numbers = _numbers(graph, node.input[1], bits).reshape(columns, -1, block).astype(np.float32)
        blocks = numbers.shape[1]
        scales = np.asarray(graph.constant(node.input[2]), np.float32).reshape(columns, blocks, 1)
        zero = np.full((columns, blocks, 1), 1 << bits - 1, np.float32)
        if len(node.input) > 3 and node.input[3]:
            zero = _zeros(graph, node.input[3], bits).reshape(columns, -1)[:, :blocks, None]
        values = ((numbers - zero) * scales).reshape(columns, -1)[:, :inner]
    except ValueError as error:
        raise AnatomyError(
            f"{graph.path.name}: the packed weight {node.input[1]!r} is damaged ({error}); use the fp32 file"
        ) from error
    return np.ascontiguousarray(values.T)


def _zeros(graph: Graph, name: str, bits: int) -> FloatArray:
    """Return the zero points of packed weights: packed themselves, or numbers of the scales' type."""
    stored = np.asarray(graph.constant(name))
    return np.asarray(stored if stored.dtype.kind == "f" else _numbers(graph, name, bits), np.float32)


def _numbers(graph: Graph, name: str, bits: int) -> npt.NDArray[np.uint8]:
    """Return the whole numbers in a packed tensor, in a row."""
    stored = np.asarray(graph.constant(name)).reshape(-1).view(np.uint8)
    return stored if bits == 8 else np.stack([stored & 15, stored >> 4], axis=-1).reshape(-1)
