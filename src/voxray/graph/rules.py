"""Gradients of any graph, one item at a time: rules for what plain encoders are made of besides what SANM needs.

The rules of ``voxray.graph.gradient`` let many seeds ride on one forward pass and therefore never touch the batch axis. Exporters
of other models move it about, merge it with the heads, or drop it. Here the forward batch is one and each seed runs alone, so a
gradient always has the very shape of its tensor, and nothing about the batch need be known.

Full gradients, and exact splits (frozen): attention weights, norm denominators and gates are held as they were, a gate being what
multiplies: the sigmoid of GLU and Swish, the error function of GELU. What is left must be linear, or is refused; constants that are
added on the way are entered into the ledger, so the split can be checked.

**Source:** Griewank and Walther, "Evaluating Derivatives"; Ali et al. 2022, "XAI for Transformers"; the operators as the ONNX
standard defines them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.gradient import (
    BIAS,
    HELD_OPS,
    RULES,
    UNFUSED,
    Backward,
    Gradients,
    Part,
    Rule,
    _active,
    _active_tensors,
    _attribute,
    _layer_norm,
    _probe,
    _whole,
    _Writer,
)
from voxray.graph.graph import Graph
from voxray.graph.session import Feeds, Runner
from voxray.graph.twin import float_twin
from voxray.types import FloatArray, ModelError

GATES = frozenset({"Sigmoid", "Erf"})
BENT = frozenset({"Tanh", "Softplus", "Exp", "Log", "Reciprocal", "Pow"})
PRODUCTS = frozenset({"Mul", "Div", "MatMul", "Einsum", "Gemm"})
UNREACHED = "so gradient methods cannot explain this file; perturbation methods such as occlusion can"


class _SingleWriter(_Writer):
    """The backward graph while it is written, of gradients that have the shapes of their tensors."""

    def fitted(self, gradient: str, tensor: str, out: str) -> str:
        """Sum a gradient over the axes along which a forward tensor was broadcast to the output."""
        small, large = self.dims(tensor), self.dims(out)
        leading = len(large) - len(small)
        axes = [
            axis + leading for axis, (one, other) in enumerate(zip(small, large[leading:], strict=True)) if one == (1, 1) != other
        ]
        if axes:
            gradient = self.node("ReduceSum", gradient, self.whole_numbers(axes), keepdims=1)
        return self.node("ReduceSum", gradient, self.whole_numbers(range(leading)), keepdims=0) if leading else gradient

    def note(self, part: Part, constant: str, sign: float = 1.0) -> None:
        """Enter into the ledger what an addend carries to the score: its product with the gradient, summed."""
        if self.frozen:
            self.enter(part.name, self.value(constant), sign)

    def enter(self, gradient: str, value: str, sign: float = 1.0) -> None:
        """Enter the sum of a gradient times what was added."""
        total = self.node("ReduceSum", self.node("Mul", gradient, value), keepdims=0)
        self.ledger[BIAS].append(self.node("Reshape", total if sign > 0 else self.node("Neg", total), self.whole_numbers([1])))

    def channels(self, values: str, axes: int) -> str:
        """Return one number for each channel as it lies on the second axis, with so many axes after it."""
        return self.node("Reshape", values, self.whole_numbers([1, -1, *([1] * axes)]))

    def whole_numbers(self, values: Any) -> str:
        """Return the name of a constant row of whole numbers."""
        return self.constant(np.array([*values], np.int64))

    def shape(self, tensor: str) -> str:
        """Return the shape of a forward tensor, where possible without holding on to the tensor."""
        dims = self.dims(tensor)
        if all(first == second for first, second in dims):
            return self.whole_numbers(first for first, _ in dims)
        return self.node("Shape", self.value(tensor))

    def extent(self, tensor: str, axis: int) -> str:
        """Return the extent of one axis of a forward tensor, (1,)."""
        first, second = self.dims(tensor)[axis]
        if first == second:
            return self.whole_numbers([first])
        return self.node("Slice", self.shape(tensor), self.whole_numbers([axis]), self.whole_numbers([axis + 1]))

    def shaped(self, gradient: str, tensor: str) -> str:
        """Give a gradient the shape of a forward tensor with as many values."""
        dims = self.dims(tensor)
        free = [axis for axis, (first, second) in enumerate(dims) if first != second]
        if len(free) > 1:
            return self.node("Reshape", gradient, self.shape(tensor))
        return self.node("Reshape", gradient, self.whole_numbers(-1 if axis in free else one for axis, (one, _) in enumerate(dims)))

    def refuse(self, what: str) -> ModelError:
        """Return the error for something that no rule covers."""
        return ModelError(f"{self.graph.path.name}: {what} has no gradient rule, {UNREACHED}")

    def times(self, gradient: str, *factors: str) -> str:
        """Return a product."""
        for factor in factors:
            gradient = self.node("Mul", gradient, factor)
        return gradient


def _single(w: _Writer) -> _SingleWriter:
    if not isinstance(w, _SingleWriter):
        raise TypeError("these rules are for graphs that run one seed at a time")
    return w


def _reshape(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(_single(w).shaped(_whole(w, node, gradients), node.input[0])))


def _transpose(w: _Writer, node: Any, gradients: Gradients) -> None:
    perm = _attribute(node, "perm") or list(range(len(w.dims(node.input[0]))))[::-1]
    w.give(node.input[0], Part(w.node("Transpose", _whole(w, node, gradients), perm=np.argsort(perm).tolist())))


def _expand(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(w.fitted(_whole(w, node, gradients), node.input[0], node.output[0])))


def _matmul(w: _Writer, node: Any, gradients: Gradients) -> None:
    (left, right), out = node.input[:2], node.output[0]
    if min(len(w.dims(left)), len(w.dims(right))) < 2:
        raise _single(w).refuse("a product with a vector")
    whole = _whole(w, node, gradients)
    if left in w.active:
        w.give(left, Part(_folded(w, w.product(whole, w.value(right), transB=1), left, out)))
    if right in w.active:
        w.give(right, Part(_folded(w, w.product(w.value(left), whole, transA=1), right, out)))


def _folded(w: _Writer, gradient: str, tensor: str, out: str) -> str:
    """Sum a gradient of a product over the axes before the last two along which a tensor was broadcast."""
    small, large, one = w.dims(tensor), w.dims(out), _single(w)
    leading = len(large) - len(small)
    axes = [axis + leading for axis, ends in enumerate(small[:-2]) if ends == (1, 1) != large[axis + leading]]
    if axes:
        gradient = w.node("ReduceSum", gradient, one.whole_numbers(axes), keepdims=1)
    return w.node("ReduceSum", gradient, one.whole_numbers(range(leading)), keepdims=0) if leading > 0 else gradient


def _gemm(w: _Writer, node: Any, gradients: Gradients) -> None:
    first, second = node.input[:2]
    if second in w.active or _attribute(node, "transA", 0):
        raise _single(w).refuse("a Gemm whose weight is computed")
    whole = _whole(w, node, gradients)
    if len(node.input) > 2 and node.input[2]:
        if node.input[2] in w.active or _attribute(node, "beta", 1.0) != 1.0:
            raise _single(w).refuse("a Gemm whose bias is computed")
        w.note(Part(whole), node.input[2])
    found = w.product(whole, w.value(second), transB=1 - _attribute(node, "transB", 0))
    alpha = _attribute(node, "alpha", 1.0)
    w.give(first, Part(found if alpha == 1.0 else w.node("Mul", found, w.scalar(alpha))))


def _einsum(w: _Writer, node: Any, gradients: Gradients) -> None:
    equation = _attribute(node, "equation").decode().replace(" ", "")
    terms, _, result = equation.partition("->")
    parts = terms.split(",")
    if len(parts) != 2 or not result or "." in equation or any(len(set(one)) != len(one) for one in (*parts, result)):
        raise _single(w).refuse(f"an Einsum {equation!r}")
    whole = _whole(w, node, gradients)
    for at in (0, 1):
        own, other = parts[at], parts[1 - at]
        if node.input[at] not in w.active:
            continue
        if not set(own) <= set(other) | set(result):
            raise _single(w).refuse(f"an Einsum {equation!r}")
        found = w.node("Einsum", whole, w.value(node.input[1 - at]), equation=f"{result},{other}->{own}")
        w.give(node.input[at], Part(found))


def _reduce(w: _Writer, node: Any, gradients: Gradients) -> None:
    (source, out), one = (node.input[0], node.output[0]), _single(w)
    rank = len(w.dims(source))
    axes = _attribute(node, "axes") or (w.integers(node.input[1]) if len(node.input) > 1 and node.input[1] else list(range(rank)))
    whole = _whole(w, node, gradients)
    if not _attribute(node, "keepdims", 1):
        whole = w.node("Unsqueeze", whole, one.whole_numbers(sorted(axis % rank for axis in axes)))
    spread = w.node("Expand", whole, one.shape(source))
    if node.op_type == "ReduceMean":
        counts = [w.node("Cast", w.node("ReduceProd", one.shape(name), keepdims=0), to=1) for name in (source, out)]
        spread = w.node("Mul", spread, w.node("Div", counts[1], counts[0]))
    w.give(source, Part(spread))


def _softmax(w: _Writer, node: Any, gradients: Gradients) -> None:
    axis, one = _attribute(node, "axis", -1 if w.graph.opset >= 13 else 1), _single(w)
    if w.graph.opset < 13 and axis not in (-1, len(w.dims(node.input[0])) - 1):
        raise one.refuse("a Softmax over several axes")
    whole, result = _whole(w, node, gradients), w.value(node.output[0])
    if node.op_type == "LogSoftmax":
        if w.frozen:  # the row's normaliser is held; it moves no difference of log posteriors
            one.enter(whole, w.node("Sub", result, w.value(node.input[0])))
            w.give(node.input[0], Part(whole))
            return
        total = w.node("ReduceSum", whole, one.whole_numbers([axis]), keepdims=1)
        w.give(node.input[0], Part(w.node("Sub", whole, w.node("Mul", w.node("Exp", result), total))))
        return
    mean = w.node("ReduceSum", w.node("Mul", whole, result), one.whole_numbers([axis]), keepdims=1)
    w.give(node.input[0], Part(w.node("Mul", result, w.node("Sub", whole, mean))))


def _conv(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Transpose the convolution, then cut what padding had added; inputs that no window reached get zeros."""
    source, one = node.input[0], _single(w)
    weight = w.dims(node.input[1])
    axes = len(weight) - 2
    if node.input[1] in w.active or not w.graph.is_constant(node.input[1]):
        raise one.refuse("a Conv whose kernel is computed")
    if _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or axes not in (1, 2):
        raise one.refuse("a Conv with automatic padding or of three axes")
    strides, dilations = (_attribute(node, name, [1] * axes) for name in ("strides", "dilations"))
    before = _attribute(node, "pads", [0] * (2 * axes))[:axes]
    whole = _whole(w, node, gradients)
    if len(node.input) > 2 and node.input[2] and w.frozen:
        one.enter(whole, one.channels(w.value(node.input[2]), axes))
    kernel = w.value(node.input[1])
    options = {"strides": strides, "dilations": dilations, "group": _attribute(node, "group", 1)}
    spread = w.node("ConvTranspose", whole, kernel, **options)
    after = _attribute(node, "pads", [0] * (2 * axes))[axes:]
    longer = [max(0, stride - 1) + max(0, -pad) for stride, pad in zip(strides, after, strict=True)]
    if any(longer):
        spread = w.node("Pad", spread, one.whole_numbers([0, 0, *([0] * axes), 0, 0, *longer]))
    ends = [w.node("Add", one.extent(source, axis + 2), one.whole_numbers([pad])) for axis, pad in enumerate(before)]
    stop = ends[0] if axes == 1 else w.node("Concat", *ends, axis=0)
    w.give(source, Part(w.node("Slice", spread, one.whole_numbers(before), stop, one.whole_numbers(range(2, 2 + axes)))))


def _pad(w: _Writer, node: Any, gradients: Gradients) -> None:
    source, one = node.input[0], _single(w)
    if _attribute(node, "mode", b"constant") != b"constant":
        raise one.refuse("a Pad that repeats or mirrors")
    pads = _attribute(node, "pads")
    if pads is None and (len(node.input) > 3 and node.input[3]):
        raise one.refuse("a Pad of chosen axes")
    rank = len(w.dims(source))
    if pads is None and not _is_known(w, node.input[1]):
        starts = w.node("Slice", w.value(node.input[1]), one.whole_numbers([0]), one.whole_numbers([rank]))
    else:
        known = pads if pads is not None else w.integers(node.input[1])
        if min(known) < 0:
            raise one.refuse("a Pad that cuts")
        starts = one.whole_numbers(known[:rank])
    stops = w.node("Add", starts, one.shape(source))
    w.give(source, Part(w.node("Slice", _whole(w, node, gradients), starts, stops, one.whole_numbers(range(rank)))))


def _is_known(w: _Writer, name: str) -> bool:
    """Tell whether whole numbers are the same in both probes."""
    try:
        w.integers(name)
    except ModelError:
        return False
    return True


def _slice(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Put zeros where nothing was taken: before the start, and after what was taken up to the extent of the input."""
    (source, out), one = (node.input[0], node.output[0]), _single(w)
    rank = len(w.dims(source))
    axes = w.integers(node.input[3]) if len(node.input) > 3 and node.input[3] else list(range(len(w.dims(node.input[1]))))
    if len(node.input) > 4 and node.input[4] and set(w.integers(node.input[4])) != {1}:
        raise one.refuse("a Slice that leaves out every other place")
    zero, befores, afters = one.whole_numbers([0]), ["zero"] * rank, ["zero"] * rank
    count = len(axes) if _is_known(w, node.input[1]) else w.dims(node.input[1])[0][0]
    if count != len(axes):
        raise one.refuse("a Slice whose axes do not fit its starts")
    for place, axis in enumerate(axes):
        extent = one.extent(source, axis % rank)
        befores[axis % rank] = _start(one, node.input[1], place, extent)
        taken = w.node("Add", befores[axis % rank], one.extent(out, axis % rank))
        afters[axis % rank] = w.node("Sub", extent, taken)
    pads = w.node("Concat", *(zero if name == "zero" else name for name in (*befores, *afters)), axis=0)
    w.give(source, Part(w.node("Pad", _whole(w, node, gradients), pads)))


def _start(w: _SingleWriter, starts: str, place: int, extent: str) -> str:
    """Return where a Slice starts on one axis, counted from the front: (1,)."""
    nothing = w.whole_numbers([0])
    if _is_known(w, starts):
        told = w.integers(starts)[place]
        fixed = w.whole_numbers([told])
        return fixed if told >= 0 else w.node("Max", w.node("Add", extent, fixed), nothing)
    every = w.node("Cast", w.value(starts), to=7)
    at = w.node("Slice", every, w.whole_numbers([place]), w.whole_numbers([place + 1]))
    front = w.node("Where", w.node("Less", at, nothing), w.node("Add", at, extent), at)
    return w.node("Max", w.node("Min", front, extent), nothing)


def _concat(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole, axis, one = _whole(w, node, gradients), _attribute(node, "axis"), _single(w)
    axis %= len(w.dims(node.output[0]))
    start = one.whole_numbers([0])
    for name in node.input:
        stop = w.node("Add", start, one.extent(name, axis))
        if name in w.active:
            w.give(name, Part(w.node("Slice", whole, start, stop, one.whole_numbers([axis]))))
        elif w.frozen:
            w.note(Part(w.node("Slice", whole, start, stop, one.whole_numbers([axis]))), name)
        start = stop


def _split(w: _Writer, node: Any, gradients: Gradients) -> None:
    rank = len(w.dims(node.input[0]))
    axis = _attribute(node, "axis", 0) % rank
    parts = []
    for name, part in zip(node.output, gradients, strict=True):
        parts.append(w.node("Mul", w.value(name), w.scalar(0.0)) if part is None else w.whole(part, name))
    w.give(node.input[0], Part(w.node("Concat", *parts, axis=axis)))


def _gather(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Give one fixed place back what was taken from it."""
    source, one = node.input[0], _single(w)
    rank, places = len(w.dims(source)), w.dims(node.input[1])
    axis = _attribute(node, "axis", 0) % rank
    if math.prod(first for first, _ in places) != 1 or not _is_known(w, node.input[1]):
        raise one.refuse("a Gather of several places")
    (at,) = w.integers(node.input[1])
    whole = _whole(w, node, gradients)
    if not places:
        whole = w.node("Unsqueeze", whole, one.whole_numbers([axis]))
    extent = one.extent(source, axis)
    before = one.whole_numbers([at]) if at >= 0 else w.node("Add", extent, one.whole_numbers([at]))
    after = w.node("Sub", w.node("Sub", extent, one.whole_numbers([1])), before)
    zeros = [one.whole_numbers([0])] * rank
    ends = [before if place == axis else zero for place, zero in enumerate(zeros)]
    ends += [after if place == axis else zero for place, zero in enumerate(zeros)]
    w.give(source, Part(w.node("Pad", whole, w.node("Concat", *ends, axis=0))))


def _instance_norm(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Each channel is normed over all axes after the second."""
    source, one = node.input[0], _single(w)
    rank = len(w.dims(source))
    axes = list(range(2, rank))
    whole, rows = _whole(w, node, gradients), w.value(source)

    def mean(name: str) -> str:
        return w.node("ReduceMean", name, axes=axes, keepdims=1)

    centred = w.node("Sub", rows, mean(rows))
    variance = w.node("Add", mean(w.node("Mul", centred, centred)), w.scalar(_attribute(node, "epsilon", 1e-5)))
    root = w.node("Sqrt", variance)
    scale, shift = (one.channels(w.value(name), len(axes)) for name in node.input[1:3])
    scaled, normal = w.node("Div", w.node("Mul", whole, scale), root), w.node("Div", centred, root)
    result = w.node("Sub", scaled, mean(scaled))
    if w.frozen:
        one.enter(whole, shift)
    else:
        result = w.node("Sub", result, w.node("Mul", normal, mean(w.node("Mul", scaled, normal))))
    w.give(source, Part(result))


def _batch_norm(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Each channel is scaled by what was learned."""
    scale, shift, mean, variance = (w.graph.constant(name) for name in node.input[1:5])
    if scale is None or shift is None or mean is None or variance is None or _attribute(node, "training_mode", 0):
        raise _single(w).refuse("a BatchNormalization whose statistics are computed")
    one, whole, axes = _single(w), _whole(w, node, gradients), len(w.dims(node.input[0])) - 2
    factor = scale / np.sqrt(variance + _attribute(node, "epsilon", 1e-5))
    if w.frozen:
        one.enter(whole, one.channels(w.constant((shift - mean * factor).astype(np.float32)), axes))
    w.give(node.input[0], Part(w.node("Mul", whole, one.channels(w.constant(factor.astype(np.float32)), axes))))


def _norm(w: _Writer, node: Any, gradients: Gradients) -> None:
    if _attribute(node, "axis", -1) % len(w.dims(node.input[0])) != len(w.dims(node.input[0])) - 1:
        raise _single(w).refuse("a LayerNormalization over several axes")
    _layer_norm(w, node, gradients)


def _erf(w: _Writer, node: Any, gradients: Gradients) -> None:
    x = w.value(node.input[0])
    bell = w.node("Exp", w.node("Neg", w.node("Mul", x, x)))
    w.give(node.input[0], Part(_single(w).times(_whole(w, node, gradients), bell, w.scalar(2 / math.sqrt(math.pi)))))


def _gelu(w: _Writer, node: Any, gradients: Gradients) -> None:
    if _attribute(node, "approximate", b"none") != b"none":
        raise _single(w).refuse("a Gelu by an approximation")
    x = w.value(node.input[0])
    gate = w.node("Mul", w.node("Add", w.node("Erf", w.node("Mul", x, w.scalar(math.sqrt(0.5)))), w.scalar(1.0)), w.scalar(0.5))
    if not w.frozen:
        bell = w.node("Exp", w.node("Mul", w.node("Mul", x, x), w.scalar(-0.5)))
        gate = w.node("Add", gate, w.node("Mul", w.node("Mul", x, bell), w.scalar(1 / math.sqrt(2 * math.pi))))
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), gate)))


def _sigmoid(w: _Writer, node: Any, gradients: Gradients) -> None:
    y = w.value(node.output[0])
    w.give(node.input[0], Part(_single(w).times(_whole(w, node, gradients), y, w.node("Sub", w.scalar(1.0), y))))


def _tanh(w: _Writer, node: Any, gradients: Gradients) -> None:
    y = w.value(node.output[0])
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), w.node("Sub", w.scalar(1.0), w.node("Mul", y, y)))))


def _softplus(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), w.node("Sigmoid", w.value(node.input[0])))))


def _leaky_relu(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole, below = _whole(w, node, gradients), w.scalar(_attribute(node, "alpha", 0.01))
    steep = w.node("Where", w.node("Less", w.value(node.input[0]), w.scalar(0.0)), below, w.scalar(1.0))
    w.give(node.input[0], Part(w.node("Mul", whole, steep)))


def _exp(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), w.value(node.output[0]))))


def _log(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(w.node("Div", _whole(w, node, gradients), w.value(node.input[0]))))


def _abs(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), w.node("Sign", w.value(node.input[0])))))


def _reciprocal(w: _Writer, node: Any, gradients: Gradients) -> None:
    y = w.value(node.output[0])
    w.give(node.input[0], Part(w.node("Neg", _single(w).times(_whole(w, node, gradients), y, y))))


def _clip(w: _Writer, node: Any, gradients: Gradients) -> None:
    """What was clipped carries nothing: there the result differs from the input, and is a constant."""
    whole, zero, result = _whole(w, node, gradients), w.scalar(0.0), w.value(node.output[0])
    same = w.node("Equal", w.value(node.input[0]), result)
    if w.frozen:
        _single(w).enter(w.node("Where", same, zero, whole), result)
    w.give(node.input[0], Part(w.node("Where", same, whole, zero)))


def _where(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole, condition, zero = _whole(w, node, gradients), w.value(node.input[0]), w.scalar(0.0)
    for name, chosen in ((node.input[1], (whole, zero)), (node.input[2], (zero, whole))):
        carried = w.node("Where", condition, *chosen)
        if name in w.active:
            w.give(name, Part(w.fitted(carried, name, node.output[0])))
        elif w.frozen and not _is_nothing(w, name):
            w.note(Part(carried), name)


def _is_nothing(w: _Writer, name: str) -> bool:
    """Tell whether a tensor is a constant of zeros, or of infinities that nobody adds up."""
    value = w.graph.constant(name)
    return value is not None and (not value.any() or not np.isfinite(value).all())


SINGLE: dict[str, Rule] = RULES | {
    "Reshape": _reshape, "Squeeze": _reshape, "Unsqueeze": _reshape, "Flatten": _reshape, "Transpose": _transpose,
    "Expand": _expand, "MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "ReduceMean": _reduce, "ReduceSum": _reduce,
    "Softmax": _softmax, "LogSoftmax": _softmax, "Conv": _conv, "Pad": _pad, "Slice": _slice, "Concat": _concat, "Split": _split,
    "Gather": _gather, "InstanceNormalization": _instance_norm, "BatchNormalization": _batch_norm, "LayerNormalization": _norm,
    "Erf": _erf, "Gelu": _gelu, "Sigmoid": _sigmoid, "Tanh": _tanh, "Softplus": _softplus, "LeakyRelu": _leaky_relu, "Exp": _exp,
    "Log": _log, "Abs": _abs, "Reciprocal": _reciprocal, "Clip": _clip, "Where": _where,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """The way that gradients go: from the output ``sink`` to the input ``source``."""

    source: str
    sink: str


def compile_single(graph: Graph, way: Way, probes: tuple[Feeds, Feeds], runner: Runner, *, frozen: bool) -> Backward:
    """Compile the backward graph of any model, for one item and one seed at a time.

    Args:
        graph: the opened file, in floating point throughout.
        way: where gradients start and end.
        probes: two inputs of one item and of different length.
        runner: of the graph, for its options.
        frozen: whether attention weights, norm denominators and gates are held.

    Raises:
        ModelError: when an operator on the way has no rule; it is named.
    """
    nodes = _active(graph, way.source, way.sink, HELD_OPS | GATES if frozen else frozenset())
    probed = _probe(graph, nodes, probes, runner.options)
    writer = _SingleWriter(graph, probed, _active_tensors(nodes, way.source), frozen=frozen)
    writer.give(way.sink, Part(_Writer.SEED))
    for node in reversed(nodes):
        gradients = [writer.take(name) for name in node.output]
        if all(one is None for one in gradients):
            continue
        rule = SINGLE.get(node.op_type)
        if rule is None:
            raise writer.refuse(f"the operator {node.op_type}")
        if frozen:
            _check_linear(writer, node)
        rule(writer, node, gradients)
    found = writer.take(way.source)
    if found is None:
        raise ModelError(f"{graph.path.name}: its input {way.source!r} does not lead to its output; describe the right ones")
    return Backward(writer, writer.whole(found, way.source), runner.options, lean=False)


def _check_linear(w: _SingleWriter, node: Any) -> None:
    """Refuse what an exact split cannot pass.

    Raises:
        ModelError: at an operator that is neither linear nor held.
    """
    what = _bent(node, w.active)
    if what:
        raise ModelError(
            f"{w.graph.path.name}: {what} is neither linear nor a gate, so exact relevance cannot explain this file; gradient, "
            "integrated_gradients and perturbation methods such as occlusion can"
        )


def _bent(node: Any, active: set[str]) -> str:
    """Return what about a node is neither linear nor held; empty where nothing is."""
    if node.op_type in PRODUCTS and sum(name in active for name in node.input) > 1:
        return f"a {node.op_type} of two computed tensors"
    return f"the operator {node.op_type}" if node.op_type in BENT else ""


class SingleGradients:
    """Forward and backward graphs of any model, one item and one seed at a time; each compiled when it is first needed.

    Attributes:
        twin: the graph in floating point; the model's own where that is fp32.
    """

    def __init__(self, plain: Runner, way: Way, probes: tuple[Feeds, Feeds]) -> None:
        self.twin = float_twin(plain.graph)
        self._runner = plain if self.twin is plain.graph else Runner(self.twin, plain.options, entries=UNFUSED)
        self._way, self._probes = way, probes
        self._backwards: dict[bool, Backward] = {}

    @cached_property
    def splits(self) -> bool:
        """Whether what is left when routing is held is linear as far as operators tell, without compiling anything."""
        nodes = _active(self.twin, self._way.source, self._way.sink, HELD_OPS | GATES)
        active = _active_tensors(nodes, self._way.source)
        return bool(nodes) and all(node.op_type in SINGLE and not _bent(node, active) for node in nodes)

    def backward(self, *, frozen: bool) -> Backward:
        """Return the backward graph of a mode.

        Raises:
            ModelError: when an operator has no rule.
        """
        if frozen not in self._backwards:
            self._backwards[frozen] = compile_single(self.twin, self._way, self._probes, self._runner, frozen=frozen)
        return self._backwards[frozen]

    def record(self, feeds: Feeds, *, frozen: bool) -> tuple[FloatArray, Mapping[str, npt.NDArray[Any]]]:
        """Run forward; return what gradients start from, and all that running backward needs."""
        wanted = self.backward(frozen=frozen).caches
        caches = [name for name in wanted if name not in feeds]
        start, *values = self._runner.run(feeds, [self._way.sink, *caches])
        held = dict(zip(caches, values, strict=True)) | {name: feeds[name] for name in wanted if name in feeds}
        return start, held

    def pull(
        self, caches: Mapping[str, npt.NDArray[Any]], seed: FloatArray, *, frozen: bool
    ) -> tuple[FloatArray, dict[str, npt.NDArray[np.float64]]]:
        """Return the gradient of a weighted sum of the sink's values, in the shape of the source, and the ledger.

        Args:
            caches: what ``record`` gave.
            seed: the weights, in the shape of the sink.
            frozen: the mode of ``record``.
        """
        return self.backward(frozen=frozen).run(caches, seed)
