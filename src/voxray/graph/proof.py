"""A model proves its anatomy before anything is read out of it.

Two claims are tested on a short input: exposing inner tensors changes no result, and every SANM layer is the sum of the parts
that were found for it: attention times values through the projection, plus the memory.

**Source:** the layer as in FunASR ``MultiHeadedAttentionSANM.forward``; quantisation as in the ONNX operators
``DynamicQuantizeLinear`` and ``MatMulInteger``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import Anatomy, Block, Linear
from voxray.graph.graph import Graph
from voxray.graph.session import CPU, Feeds, Runner
from voxray.types import AnatomyError, FloatArray

LOGIT_TOLERANCE = 1e-5
DEVICE_TOLERANCE = 1e-3  # on anything but the CPU: what is read changes which operators are fused, and so the last bits
REBUILD_TOLERANCE = {"fp32": 1e-4, "int8": 1e-4, "fp16": 2e-2, "int4": 1e-4}


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured.

    Attributes:
        heads: attention heads in every layer.
        logit_difference: largest absolute difference of the logits with and without inner tensors exposed.
        rebuild_errors: for each layer, largest absolute error of the rebuilt output over the largest absolute output.
    """

    heads: int
    logit_difference: float
    rebuild_errors: tuple[float, ...]


def prove(graph: Graph, anatomy: Anatomy, plain: Runner, feeds: Feeds) -> Proof:
    """Return the measured errors of a model's anatomy.

    Args:
        graph: the opened file.
        anatomy: what was found in it.
        plain: a runner of the same graph that exposes nothing.
        feeds: a short input, one item.

    Raises:
        AnatomyError: when an error is above its tolerance, or the layers have different numbers of heads.
    """
    names = [name for block in anatomy.blocks for name in _parts(block)]
    # The probed session is gone before the plain one opens: a large model is never in memory twice.
    logits, *tensors = Runner(graph, plain.options).run(feeds, [anatomy.logits, *names])
    values = dict(zip(names, tensors, strict=True))
    (expected,) = plain.run(feeds, [anatomy.logits])
    heads = {values[block.probabilities].shape[1] for block in anatomy.blocks}
    proof = Proof(
        heads=max(heads),
        logit_difference=float(np.abs(logits - expected).max()),
        rebuild_errors=tuple(rebuild_error(graph, block, values) for block in anatomy.blocks),
    )
    worst = int(np.argmax(proof.rebuild_errors))
    if len(heads) > 1:
        raise AnatomyError(f"{graph.path.name}: layers have different numbers of heads: {sorted(heads)}")
    allowed = LOGIT_TOLERANCE if plain.options.providers == (CPU,) else DEVICE_TOLERANCE
    if not proof.logit_difference <= allowed:
        raise AnatomyError(
            f"{graph.path.name}: reading inner tensors changes the logits by {proof.logit_difference:.1e} "
            f"(at most {allowed:.0e} is allowed), so what is read would not be what happened"
        )
    if not proof.rebuild_errors[worst] <= REBUILD_TOLERANCE[anatomy.precision]:
        raise AnatomyError(
            f"{graph.path.name}: layer {worst} cannot be rebuilt from its attention and memory (relative error "
            f"{proof.rebuild_errors[worst]:.1e}, at most {REBUILD_TOLERANCE[anatomy.precision]:.0e} is allowed)"
        )
    return proof


def rebuild_error(graph: Graph, block: Block, values: Feeds) -> float:
    """Return the relative error of a layer rebuilt from its parts.

    Args:
        graph: the opened file, for its weights.
        block: the layer.
        values: its tensors by name.

    Returns:
        The larger of two errors: of attention times values, and of projection plus memory. Infinite where either is not finite.
    """
    probabilities, value = values[block.probabilities], values[block.value]
    batch, rows, width = value.shape
    heads = probabilities.shape[1]
    split = value.reshape(batch, rows, heads, width // heads).transpose(0, 2, 1, 3)
    context = (probabilities @ split).transpose(0, 2, 1, 3).reshape(batch, rows, width)
    projected = _apply(graph, block.projection, values)
    taps = graph.constant(block.taps)
    attended = projected + memory(value, np.asarray(taps, np.float32).reshape(width, -1))
    errors = (_relative(context, values[block.context]), _relative(attended, values[block.attended]))
    return max(errors) if np.isfinite(errors).all() else float("inf")


def memory(value: FloatArray, taps: FloatArray) -> FloatArray:
    """Return the FSMN memory of values: a depthwise convolution over time, plus the values themselves.

    Args:
        value: (B, N, D).
        taps: (D, K); zeros before and after, the larger half after where K is even.
    """
    before = (taps.shape[1] - 1) // 2
    padded = np.pad(value, ((0, 0), (before, taps.shape[1] - 1 - before), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps.shape[1], axis=1)
    return np.asarray(np.einsum("bndk,dk->bnd", windows, taps, dtype=np.float32) + value, np.float32)


def _parts(block: Block) -> tuple[str, ...]:
    return block.probabilities, block.value, block.context, block.projection.output, block.attended


def _apply(graph: Graph, linear: Linear, values: Feeds) -> npt.NDArray[np.float32]:
    """Compute a linear map from its weights; maps of other operators are taken as the graph computed them."""
    if linear.operator not in ("MatMul", "MatMulInteger"):
        return values[linear.output]
    weight = np.asarray(graph.constant(linear.weight))
    inputs = values[linear.input].astype(np.float32)
    if linear.operator == "MatMulInteger":
        quantised, scale, zero = quantise(inputs)
        offset = np.asarray(graph.constant(linear.zero_point) if linear.zero_point else 0).astype(np.float64)
        total = (quantised - zero) @ (weight.astype(np.float64) - offset)
        product = np.asarray(total * scale * np.asarray(graph.constant(linear.scale), np.float64), np.float32)
    else:
        product = np.asarray(inputs @ weight.astype(np.float32), np.float32)
    bias = graph.constant(linear.bias) if linear.bias else 0.0
    return np.asarray(product + np.asarray(bias, np.float32), np.float32)


def quantise(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], np.float32, float]:
    """Return (numbers 0..255, scale, zero point) as the operator DynamicQuantizeLinear does it for a whole tensor."""
    high, low = np.float32(max(values.max(), 0)), np.float32(min(values.min(), 0))
    scale = np.float32((high - low) / np.float32(255)) or np.float32(1)
    zero = float(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.float64), scale, zero


def _relative(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    scale = float(np.abs(expected).max())
    return float(np.abs(found - expected.astype(np.float32)).max()) / (scale or 1.0)
