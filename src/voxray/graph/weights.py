"""Reads the weights of the parts that the anatomy names, as float32 numbers, dequantised."""

from __future__ import annotations

import numpy as np

from voxray.graph.anatomy import Block, Linear, Norm
from voxray.graph.graph import Graph
from voxray.types import AnatomyError, FloatArray, LayerWeights, NormWeights


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
    weight = graph.constant(linear.weight)
    if weight is None or linear.operator not in ("MatMul", "MatMulInteger"):
        raise AnatomyError(f"{graph.path.name}: the weight of a {linear.operator} cannot be read; use an fp32 or int8 file")
    if linear.operator == "MatMul":
        return np.asarray(weight, np.float32)
    zero = np.asarray(graph.constant(linear.zero_point) if linear.zero_point else 0, np.float32)
    return np.asarray((weight.astype(np.float32) - zero) * np.asarray(graph.constant(linear.scale), np.float32))
