"""Finds the self-attention of any transformer encoder by structure, and proves what it found.

The rule: a Softmax over the last axis whose result, at most masked or dropped out on the way, enters a product with a computed
tensor is attention. How the scores come about is not looked at, so attention with relative positions is found like any other. Heads
may be an axis of their own or lie side by side on the batch axis.

Shown is what multiplies the values. Attention whose rows are not those of the output (encoders that work at several frame rates,
streaming models with a memory of the past) cannot be put on their clock and is left out, and counted.

**Source:** Vaswani et al. 2017; with relative positions: Dai et al. 2019 (Transformer-XL), Shaw et al. 2018.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import FUSED_OPS, MASKING, Linear, Precision, _label, _linear_from
from voxray.graph.graph import SHAPE_OPS, Graph
from voxray.graph.proof import LOGIT_TOLERANCE, Proof
from voxray.graph.session import Feeds, Runner
from voxray.types import AnatomyError, FloatArray

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "int8": 1e-4, "int4": 1e-4}  # of sums of rows, and relative of what attention gives
SELECTING = frozenset({"Slice", "Split", "Gather"})


@dataclass(frozen=True, slots=True)
class PlainBlock:
    """One layer's self-attention. Every attribute without a type of its own is the name of a tensor in the graph.

    Attributes:
        index: 0 for the layer nearest to the sound.
        label: module path where the exporter left one.
        probabilities: what multiplies the values, (B, H, N, N), (H, B, N, N) or (B H, N, N).
        value: the values, split into heads likewise.
        mixed: their product.
        projection: the linear map after the heads; None where none follows at once.
    """

    index: int
    label: str
    probabilities: str
    value: str
    mixed: str
    projection: Linear | None

    @property
    def tensors(self) -> dict[str, str]:
        """The inner tensors of the layer that can be had by name: (N, D), heads side by side."""
        return {"value": self.value, "context": self.mixed}


@dataclass(frozen=True, slots=True)
class PlainAnatomy:
    """What was found.

    Attributes:
        blocks: layers with self-attention on the clock of the output, nearest to the sound first.
        left_out: why others are not among them, each with how many.
        logits: the graph output with a row for each frame.
        log_softmax: whether it is a log-softmax.
        scores: what that log-softmax is taken of; else the output itself.
        precision: of the weights.
    """

    blocks: tuple[PlainBlock, ...]
    left_out: dict[str, int]
    logits: str
    log_softmax: bool
    scores: str
    precision: Precision


def find_blocks(graph: Graph) -> tuple[PlainBlock, ...]:
    """Return every attention of a graph, in the order of its nodes, whatever it attends to."""
    found, seen = list[PlainBlock](), set[str]()
    for node in graph.nodes:
        if node.op_type != "Softmax" or not _is_over_last(graph, node):
            continue
        through = MASKING | SHAPE_OPS | SELECTING
        users = graph.forward(node.output[0], through, lambda user, index: user.op_type == "MatMul" and index == 0)
        products = [user for user, _ in users if not graph.is_constant(user.input[1])]
        if not products or products[0].output[0] in seen:
            continue
        product = products[0]
        seen.add(product.output[0])
        projection = _linear_from(graph, product.output[0])
        found.append(
            PlainBlock(len(found), _label(node, len(found)), product.input[0], product.input[1], product.output[0], projection)
        )
    return tuple(found)


def _is_over_last(graph: Graph, node: Any) -> bool:
    axis = next((one.i for one in node.attribute if one.name == "axis"), -1 if graph.opset >= 13 else 1)
    return axis in (-1, 2, 3)  # of rank 3 or 4; the proof looks at the sums of the rows


def plain_anatomy(graph: Graph, logits: str) -> PlainAnatomy:
    """Return what can be told of a graph without running it; its blocks are those that may be self-attention.

    Args:
        graph: the opened file.
        logits: name of the output with a row for each frame.
    """
    source = graph.producer(graph.back(logits, SHAPE_OPS))
    log_softmax = source is not None and source.op_type == "LogSoftmax"
    return PlainAnatomy(
        blocks=find_blocks(graph),
        left_out=_fused(graph),
        logits=logits,
        log_softmax=log_softmax,
        scores=source.input[0] if log_softmax and source is not None else logits,
        precision=_precision(graph),
    )


def prove_plain(anatomy: PlainAnatomy, plain: Runner, feeds: Feeds, rows: int) -> tuple[PlainAnatomy, Proof]:
    """Return the anatomy with the attention that was proven, and what was measured on a short input.

    Args:
        anatomy: what was found without running it.
        plain: a runner of the graph that exposes nothing.
        feeds: a short input, one item.
        rows: output rows that it gives.

    Raises:
        AnatomyError: when reading inner tensors changes the output.
    """
    values, difference = _read(plain, anatomy.logits, anatomy.blocks, feeds)
    wanted = (rows, rows)
    heads = Counter(filter(None, (_heads(values[one.probabilities].shape, wanted) for one in anatomy.blocks))).most_common(1)
    count = heads[0][0] if heads else 0
    reasons = [_reason(block, values, (wanted, count), anatomy.precision) for block in anatomy.blocks]
    kept = [block for block, (reason, _) in zip(anatomy.blocks, reasons, strict=True) if not reason]
    found = replace(
        anatomy,
        blocks=tuple(replace(block, index=index) for index, block in enumerate(kept)),
        left_out=anatomy.left_out | Counter(reason for reason, _ in reasons if reason),
    )
    return found, Proof(count, difference, tuple(error for reason, error in reasons if not reason))


def prove_cross(
    plain: Runner, scores: str, blocks: tuple[PlainBlock, ...], feeds: Feeds, wanted: tuple[int, int]
) -> tuple[tuple[PlainBlock, ...], int, tuple[float, ...]]:
    """Return the attention of a decoder that leads from tokens to frames, its heads, and how well each layer was rebuilt.

    Args:
        plain: a runner of the decoder that exposes nothing.
        scores: its output.
        blocks: every attention in it.
        feeds: of one item.
        wanted: (tokens, frames) of it, which differ.

    Raises:
        AnatomyError: when reading inner tensors changes the output.
    """
    precision = _precision(plain.graph)
    values, _ = _read(plain, scores, blocks, feeds)
    heads = Counter(filter(None, (_heads(values[one.probabilities].shape, wanted) for one in blocks))).most_common(1)
    count = heads[0][0] if heads else 0
    reasons = [_reason(block, values, (wanted, count), precision) for block in blocks]
    kept = [(block, error) for block, (reason, error) in zip(blocks, reasons, strict=True) if not reason]
    return tuple(replace(block, index=at) for at, (block, _) in enumerate(kept)), count, tuple(error for _, error in kept)


def _read(plain: Runner, scores: str, blocks: tuple[PlainBlock, ...], feeds: Feeds) -> tuple[dict[str, FloatArray], float]:
    """Return the tensors of attention by name, and how much reading them changes the output.

    Raises:
        AnatomyError: when that is too much.
    """
    names = list(dict.fromkeys(name for block in blocks for name in (block.probabilities, block.value, block.mixed)))
    found, *tensors = Runner(plain.graph, plain.options).run(feeds, [scores, *names])
    (expected,) = plain.run(feeds, [scores])
    difference = float(np.abs(found.astype(np.float32) - expected.astype(np.float32)).max())
    if not difference <= LOGIT_TOLERANCE:
        raise AnatomyError(
            f"{plain.graph.path.name}: reading inner tensors changes the output by {difference:.1e} (at most {LOGIT_TOLERANCE:.0e} "
            "is allowed), so what is read would not be what happened; use the file as exported"
        )
    return {name: np.asarray(one, np.float32) for name, one in zip(names, tensors, strict=True)}, difference


def _heads(shape: tuple[int, ...], wanted: tuple[int, int]) -> int:
    """Return how many heads attention of one item has; 0 where it does not lead from the rows to the columns that are wanted."""
    if len(shape) not in (3, 4) or shape[-2:] != wanted or (len(shape) == 4 and 1 not in shape[:2]):
        return 0
    return int(np.prod(shape[:-2]))


def _reason(block: PlainBlock, values: Feeds, wanted: tuple[tuple[int, int], int], precision: Precision) -> tuple[str, float]:
    """Return why a layer is not shown, empty where it is, and the relative error of attention times values."""
    looks, value, mixed = (values[name] for name in (block.probabilities, block.value, block.mixed))
    heads = _heads(looks.shape, wanted[0])
    if heads != wanted[1] or not heads:
        return (
            f"attention of {heads} heads, not {wanted[1]}" if heads else "attention whose rows are not those of the output"
        ), 0.0
    sums = float(np.abs(looks.sum(axis=-1, dtype=np.float64) - 1).max())
    if not sums <= TOLERANCE[precision] or looks.min() < 0:
        return "attention whose rows do not sum to 1", 0.0
    error = float(np.abs(np.matmul(looks.astype(np.float64), value) - mixed).max()) / (float(np.abs(mixed).max()) or 1.0)
    return ("" if error <= TOLERANCE[precision] else "attention that does not give what follows it"), error


def by_head(looks: npt.NDArray[Any]) -> FloatArray:
    """Return attention of one item with heads first, however they lay: (H, N, N) float32."""
    return np.asarray(looks, np.float32).reshape(-1, *looks.shape[-2:])


def side_by_side(values: npt.NDArray[Any]) -> FloatArray:
    """Return values of one item split into heads, (..., N, d), as rows with the heads side by side, (N, H d) float32."""
    split = by_head(values)
    return np.ascontiguousarray(split.transpose(1, 0, 2).reshape(split.shape[1], -1))


def _fused(graph: Graph) -> dict[str, int]:
    """Return how often attention is fused into single nodes, whose weights cannot be read."""
    return {f"attention fused into {name}": count for name, count in graph.operators.items() if name in FUSED_OPS}


def _precision(graph: Graph) -> Precision:
    """Return how finely the weights of the linear maps are stored, by what their products are."""
    import onnx

    operators = graph.operators
    if operators.get("MatMulNBits"):
        return "int4"
    if any(operators.get(name) for name in ("MatMulInteger", "ConvInteger", "QLinearMatMul", "DequantizeLinear")):
        return "int8"
    halves = [one for one in graph.model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT16 and len(one.dims) > 1]
    return "fp16" if halves else "fp32"
