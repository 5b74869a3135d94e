"""A model whose weights were put in another order: all that it learned is gone, all that its numbers look like is kept.

Each weight, bias, filter, norm scale and norm shift of the parts that are named has its own values in a random order. A permutation
rather than normal draws, because it keeps the mean, the deviation and the range of each tensor to the last bit, so the graph gives
finite numbers, and because it needs no arithmetic, so it is the same for fp32, fp16 and whole numbers. Weights of 8 bits have a
scale for each column: there the values of each column change places, and then the columns with their scales.

What belongs to the sound and not to a layer stays: prompt rows, the position code and the normalisation of the features.

**Source:** Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (randomised parameters); that values are permuted is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import Anatomy, Linear, Norm
from voxray.graph.graph import Graph
from voxray.types import AnatomyError, ModelError

LARGEST = 3 << 29  # bytes of weights that are changed in memory; those of SenseVoice-Small take 0.9 GB
Values = npt.NDArray[Any]


def shuffled(graph: Graph, anatomy: Anatomy, layers: Collection[int], seed: int) -> Graph:
    """Return the graph with the weights of some layers in a random order; it refers to its file for all others.

    Args:
        graph: as its file has it.
        anatomy: of it.
        layers: numbers of layers, each with the norm before it; the number of layers stands for the output head and its norm.
        seed: of the order. A tensor's order does not depend on which other layers are named.

    Raises:
        AnatomyError: when weights are stored in a way that cannot be changed.
        ModelError: when they do not fit into memory.
    """
    import onnx
    from onnx import numpy_helper

    fresh: dict[str, Values] = {}
    for layer, tensors in _tensors(anatomy):
        if layer in layers:
            draws = np.random.default_rng([seed, layer])
            for one in tensors:
                fresh |= dict(_other_order(graph, one, draws))
            if sum(values.nbytes for values in fresh.values()) > LARGEST:
                raise ModelError(f"{graph.path.name}: its weights take over {LARGEST >> 20} MB; randomise fewer layers")
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for tensor in model.graph.initializer:
        if tensor.name in fresh:
            tensor.CopyFrom(numpy_helper.from_array(fresh[tensor.name], tensor.name))
    return Graph(graph.path, model)


def _tensors(anatomy: Anatomy) -> Iterator[tuple[int, list[Linear | Norm | str]]]:
    """Yield what is made of weights, by layer; what comes after the layers has their number."""
    standing = dict(anatomy.stream_norms)
    for block in anatomy.blocks:
        before: list[Linear | Norm | str] = [standing[block.index]] if block.index in standing else []
        inner, outer = block.feed_forward
        yield block.index, [*before, block.norm, block.qkv, block.taps, block.projection, block.norm2, inner, outer]
    last = len(anatomy.blocks)
    yield last, [*([standing[last]] if last in standing else []), anatomy.head]


def _other_order(graph: Graph, one: Linear | Norm | str, draws: np.random.Generator) -> Iterator[tuple[str, Values]]:
    """Yield names and new values of the tensors of a part."""
    if isinstance(one, str):
        yield _drawn(graph, one, draws)
        return
    if isinstance(one, Linear) and one.operator == "MatMulInteger":
        yield from _columns(graph, one, draws)
    elif isinstance(one, Linear) and one.operator not in ("MatMul", "Gemm"):
        raise AnatomyError(f"{graph.path.name}: packed weights ({one.operator}) cannot be randomised; use an fp32 or int8 file")
    else:
        yield _drawn(graph, one.weight, draws)
    if one.bias:
        yield _drawn(graph, one.bias, draws)


def _drawn(graph: Graph, name: str, draws: np.random.Generator) -> tuple[str, Values]:
    """Return a tensor's values in another order."""
    name, values = _stored(graph, name)
    return name, draws.permutation(values.reshape(-1)).reshape(values.shape)


def _columns(graph: Graph, linear: Linear, draws: np.random.Generator) -> Iterator[tuple[str, Values]]:
    """Yield a weight of whole numbers, each column in another order and then the columns, and their scales and zero points."""
    name, values = _stored(graph, linear.weight)
    order = draws.permutation(values.shape[1])
    yield name, draws.permuted(values, axis=0)[:, order]
    for beside in filter(None, (linear.scale, linear.zero_point)):
        name, numbers = _stored(graph, beside)
        if numbers.size == len(order):
            yield name, numbers.reshape(-1)[order].reshape(numbers.shape)


def _stored(graph: Graph, name: str) -> tuple[str, Values]:
    """Return what a weight is called where it is stored, and its values there.

    Raises:
        AnatomyError: when it is not stored as plain numbers.
    """
    name = graph.stored(name)
    values = graph.constant(name) if name else None
    if values is None:
        raise AnatomyError(f"{graph.path.name}: a weight is no plain tensor, so it cannot be randomised; use an fp32 file")
    return name, values
