"""Compiles vector-Jacobian products into a second ONNX graph, so that gradients need nothing but ONNX Runtime.

The forward graph is the model's own with some inner tensors exposed (the caches); the backward graph takes these caches and a
seed, the gradient of some score by the rows that enter the head, and gives the gradient of that score by the features. It
refers to the same weights in the same file. Two modes:

- **full**: the true gradient.
- **frozen**: attention weights, norm denominators and ReLU gates are held as they were. The network is then an affine map of
  its features, so gradient times features, summed, plus what the graph itself adds on the way (prompts, position code, biases:
  the ledger) is the score, exactly.

Shapes: ``S`` seeds ride on the batch axis. With a forward batch of one, every seed broadcasts against it; otherwise there must be
one seed for each item. The rules therefore never reduce over axis 0 and never take it from a forward tensor.

**Source:** Griewank and Walther, "Evaluating Derivatives" (reverse mode); the frozen mode is Ali et al. 2022, "XAI for
Transformers: Better Explanations through Conservative Propagation".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import Anatomy
from voxray.graph.graph import Graph
from voxray.graph.session import Feeds, Runner, RunOptions, open_session
from voxray.types import FloatArray, ModelError

OPSET = 17  # of the backward graph: the last in which the axes of reductions are attributes of all but ReduceSum
MICROSOFT = "com.microsoft"
LOGICAL_OPS = frozenset({"Shape", "Size", "Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Not"})
HELD_OPS = frozenset({"Softmax", "Sqrt"})
UNFUSED = {"session.disable_quant_qdq": "1"}  # else a dequantised weight and its product become a quantised product again
UNPACKED = {"session.disable_prepacking": "1"}
FLOAT, LAST = 1, np.iinfo(np.int64).max
PROMPT, POSITION, BIAS = "prompt", "position", "bias"

Dims = tuple[tuple[int, int], ...]
"""Extent of each axis in the two probes: equal where it is fixed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A gradient, of the whole tensor or of a stretch of its last axis.

    Attributes:
        name: of the tensor in the backward graph.
        start: first place on the last axis.
        size: places; 0 for the whole axis.
    """

    name: str
    start: int = 0
    size: int = 0


class Backward:
    """The backward graph of a model, compiled and ready to run.

    Attributes:
        caches: the forward tensors that it needs.
        ledger: names of what the graph itself adds, in the order of the outputs after the gradient.
    """

    def __init__(self, writer: _Writer, gradient: str, options: RunOptions, *, lean: bool) -> None:
        self.caches = tuple(writer.caches)
        self.ledger = tuple(sorted(writer.ledger))
        self._model = writer.model([gradient, *(writer.total(name) for name in self.ledger)])
        self._graph, self._options, self._lean = writer.graph, options, lean

    @cached_property
    def _session(self) -> Any:
        settings = UNFUSED | (UNPACKED if self._lean else {})
        return open_session(self._graph, self._model, self._options, settings)

    def run(self, caches: Feeds, seed: FloatArray) -> tuple[FloatArray, dict[str, npt.NDArray[np.float64]]]:
        """Return the gradient (S, T, D) of each seed, and each entry of the ledger (S,).

        Args:
            caches: the forward tensors by name.
            seed: (S, N, width of the head's input).
        """
        feeds = {name: caches[name] for name in self.caches} | {_Writer.SEED: seed}
        gradient, *sums = self._session.run(None, feeds)
        return gradient, {name: np.asarray(one, np.float64).reshape(-1) for name, one in zip(self.ledger, sums, strict=True)}


def compile_backward(
    graph: Graph,
    anatomy: Anatomy,
    source: str,
    probes: tuple[Feeds, Feeds],
    options: RunOptions,
    *,
    frozen: bool,
    lean: bool = False,
) -> Backward:
    """Compile the backward graph of a model.

    Args:
        graph: the opened file, in floating point throughout.
        anatomy: its parts.
        source: the input by which the gradient is taken, (B, T, D).
        probes: two short inputs of different length, and where the graph allows it of different batch, at least two of each, to
            learn what is fixed about each tensor.
        options: threads and execution providers.
        frozen: whether attention weights, norm denominators and gates are held.
        lean: whether weights stay as they lie in the file, which takes less memory and more time.

    Raises:
        ModelError: when an operator on the way has no rule, or a shape is one that the rules do not cover; it is named.
    """
    nodes = _active(graph, source, anatomy.head.input, HELD_OPS if frozen else frozenset())
    writer = _Writer(graph, _probe(graph, nodes, probes, options), _active_tensors(nodes, source), frozen=frozen)
    before = _ancestors(graph, anatomy.blocks[0].input)
    writer.give(anatomy.head.input, Part(_Writer.SEED))
    for node in reversed(nodes):
        gradients = [writer.take(name) for name in node.output]
        if all(one is None for one in gradients):
            continue
        rule = RULES.get(node.op_type)
        if rule is None:
            raise ModelError(
                f"{graph.path.name}: the operator {node.op_type} has no gradient rule, so exact and gradient methods cannot "
                "explain this file; perturbation methods such as occlusion can"
            )
        writer.place = BIAS if node.output[0] not in before else PROMPT if node.op_type == "Concat" else POSITION
        rule(writer, node, gradients)
    found = writer.take(source)
    if found is None:
        raise ModelError(f"{graph.path.name}: the features {source!r} do not lead to its head; use the file as exported")
    return Backward(writer, writer.whole(found, source), options, lean=lean)


def _active(graph: Graph, source: str, sink: str, held: frozenset[str]) -> list[Any]:
    """Return the nodes on the way from source to sink that carry a gradient, in topological order; what is held carries none."""
    reached, found = {source}, []
    for node in graph.nodes:
        if not reached.intersection(node.input) or node.op_type in LOGICAL_OPS | held:
            continue
        if node.op_type == "Cast" and _attribute(node, "to") not in (1, 10, 11):
            continue
        reached.update(node.output)
        found.append(node)
    wanted, kept = {sink}, []
    for node in reversed(found):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _ancestors(graph: Graph, name: str) -> set[str]:
    """Return a tensor and everything that it is computed from."""
    seen, stack = set(), [name]
    while stack:
        tensor = stack.pop()
        node = graph.producer(tensor)
        if tensor not in seen and tensor:
            seen.add(tensor)
            stack += list(node.input) if node is not None else []
    return seen


def _active_tensors(nodes: list[Any], source: str) -> set[str]:
    return {source, *(name for node in nodes for name in node.output)}


def _probe(graph: Graph, nodes: list[Any], probes: tuple[Feeds, Feeds], options: RunOptions) -> dict[str, list[npt.NDArray[Any]]]:
    """Return, for each tensor at an active node, what it is in both probes."""
    names = {name for node in nodes for name in (*node.input, *node.output) if name and not graph.is_constant(name)}
    inner = sorted(names - set(graph.inputs))
    # For two short runs, packing the weights or moving them to another device would cost more than it gains.
    runner = Runner(graph, RunOptions(options.threads), entries=UNPACKED)
    runs = [dict(zip(inner, runner.run(feeds, inner) if inner else [], strict=True)) | dict(feeds) for feeds in probes]
    return {name: [np.asarray(run[name]) for run in runs] for name in names}


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node as a plain value."""
    from onnx import helper

    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


class _Writer:
    """The backward graph while it is written."""

    SEED = "voxray_seed"

    def __init__(self, graph: Graph, probed: Mapping[str, list[npt.NDArray[Any]]], active: set[str], *, frozen: bool) -> None:
        self.graph, self.frozen, self.active = graph, frozen, active
        self.place = BIAS
        self.caches: dict[str, int] = {}
        self.ledger: dict[str, list[str]] = defaultdict(list)
        self._probed = probed
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._imported: set[str] = set()
        self._gradients: dict[str, list[Part]] = defaultdict(list)

    # What flows ------------------------------------------------------------------------------------------------------------

    def give(self, tensor: str, part: Part) -> None:
        """Add to the gradient of a forward tensor; constants and held tensors have none."""
        if tensor in self.active:
            self._gradients[tensor].append(part)

    def take(self, tensor: str) -> Part | None:
        """Return the whole gradient of a forward tensor, None where there is none."""
        parts = sorted(self._gradients.pop(tensor, []), key=lambda part: part.start)
        if len(parts) <= 1:
            return parts[0] if parts else None
        width = self.dims(tensor)[-1][0]
        if all(part.size for part in parts) and sum(part.size for part in parts) == width:
            starts = np.cumsum([0, *(part.size for part in parts[:-1])]).tolist()
            if [part.start for part in parts] == starts:
                return Part(self.node("Concat", *(part.name for part in parts), axis=-1))
        names = [self.whole(part, tensor) for part in parts]
        total = names[0]
        for name in names[1:]:
            total = self.node("Add", total, name)
        return Part(total)

    def whole(self, part: Part, tensor: str) -> str:
        """Return a gradient of a whole forward tensor, zeros where it has none."""
        dims = self.dims(tensor)
        if not part.size or part.size == dims[-1][0]:
            return part.name
        pads = np.zeros(2 * len(dims), np.int64)
        pads[len(dims) - 1], pads[-1] = part.start, dims[-1][0] - part.start - part.size
        return self.node("Pad", part.name, self.constant(pads))

    def note(self, part: Part, constant: str, sign: float = 1.0) -> None:
        """Enter into the ledger what a constant addend carries to the score: its product with the gradient, summed.

        A full gradient has no ledger: its products do not sum to the score.
        """
        if not self.frozen:
            return
        value = self.value(constant)
        if part.size and self.dims(constant)[-1][0] > 1:
            value = self.stretch(value, part, len(self.dims(constant)) - 1)
        if len(self.dims(constant)) == 1 and self.dims(constant) != ((1, 1),):
            total = self.node("MatMul", self.node("ReduceSum", part.name, self.constant(np.array([1])), keepdims=0), value)
        else:
            total = self.node("ReduceSum", self.node("Mul", part.name, value), self.constant(np.array([1, 2])), keepdims=0)
        self.ledger[self.place].append(total if sign > 0 else self.node("Neg", total))

    def total(self, name: str) -> str:
        """Return the sum of an entry of the ledger, (S,)."""
        return self.node("Sum", *self.ledger[name])

    # Forward tensors -------------------------------------------------------------------------------------------------------

    def dims(self, tensor: str) -> Dims:
        """Return the extent of each axis of a forward tensor in both probes."""
        if tensor in self._probed:
            first, second = (one.shape for one in self._probed[tensor])
            return tuple(zip(first, second, strict=True))
        shape = self.graph.shape(tensor)
        if shape is None:
            known = self.graph.constant(tensor)
            shape = () if known is None else known.shape
        return tuple((extent, extent) for extent in shape)

    def integers(self, tensor: str) -> list[int]:
        """Return a small tensor of whole numbers that is the same in both probes."""
        if tensor in self._probed:
            first, second = self._probed[tensor]
            if not np.array_equal(first, second):
                raise ModelError(f"{self.graph.path.name}: {tensor!r} depends on the length of the sound, a fixed one was expected")
            return [int(one) for one in first.ravel()]
        known = self.graph.constant(tensor)
        return [] if known is None else [int(one) for one in known.ravel()]

    def value(self, tensor: str) -> str:
        """Return a forward tensor for use in the backward graph: a weight by reference, anything computed as a cache."""
        if not self.graph.is_constant(tensor):
            self.caches.setdefault(tensor, self._kind(tensor))
            return tensor
        self._import(tensor)
        return tensor

    def _kind(self, tensor: str) -> int:
        from onnx import helper

        return int(helper.np_dtype_to_tensor_dtype(self._probed[tensor][0].dtype))

    def _import(self, tensor: str) -> None:
        if tensor in self._imported:
            return
        self._imported.add(tensor)
        node = self.graph.producer(tensor)
        if node is None:
            self._weights[tensor] = self.graph.initializer(tensor)
            return
        for name in node.input:
            if name:
                self._import(name)
        self._nodes.append(node)

    # Writing ---------------------------------------------------------------------------------------------------------------

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        from onnx import helper

        name = f"voxray_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, value: npt.ArrayLike) -> str:
        """Return the name of a constant."""
        from onnx import numpy_helper

        array = np.asarray(value)
        name = f"voxray_c{len(self._weights)}"
        self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def scalar(self, value: float) -> str:
        """Return the name of a float32 constant."""
        return self.constant(np.float32(value))

    def product(self, left: str, right: str, **attributes: int) -> str:
        """Return a product of matrices, either transposed by ``transA`` or ``transB``."""
        return self.node("FusedMatMul", left, right, domain=MICROSOFT, **attributes)

    def stretch(self, name: str, part: Part, axis: int) -> str:
        """Return a stretch of one axis of a tensor."""
        ends = [self.constant(np.array([one])) for one in (part.start, part.start + part.size, axis)]
        return self.node("Slice", name, *ends)

    def fitted(self, gradient: str, tensor: str, out: str) -> str:
        """Sum a gradient over the axes along which a forward tensor was broadcast to the output."""
        small, large = self.dims(tensor), self.dims(out)
        if len(small) < len(large):
            raise ModelError(f"{self.graph.path.name}: {tensor!r} has fewer axes than its partner; no gradient rule covers that")
        axes = [axis for axis, (one, other) in enumerate(zip(small, large, strict=True)) if one == (1, 1) != other]
        if not axes:
            return gradient
        if 0 in axes:
            raise ModelError(f"{self.graph.path.name}: {tensor!r} is shared by a whole batch; no rule covers that")
        return self.node("ReduceSum", gradient, self.constant(np.array(axes)), keepdims=1)

    def mean(self, name: str) -> str:
        """Return the mean over the last axis, kept as an axis of 1."""
        return self.node("ReduceMean", name, axes=[-1], keepdims=1)

    def model(self, outputs: list[str]) -> bytes:
        """Return the graph, serialised."""
        import onnx
        from onnx import helper

        caches = [(name, kind) for name, kind in self.caches.items()]
        inputs = [onnx.ValueInfoProto(name=name) for name, _ in caches]
        for value, (_, kind) in zip(inputs, caches, strict=True):
            value.type.tensor_type.elem_type = kind
        seed = onnx.ValueInfoProto(name=self.SEED)
        seed.type.tensor_type.elem_type = FLOAT
        graph = onnx.GraphProto(
            name="backward",
            node=self._nodes,
            input=[*inputs, seed],
            output=[onnx.ValueInfoProto(name=name) for name in outputs],
            initializer=list(self._weights.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return bytes(onnx.ModelProto(ir_version=8, graph=graph, opset_import=opsets).SerializeToString())


# Rules: each takes the writer, a forward node and the gradients of its outputs, and gives gradients to its inputs ----------------

Gradients = list[Part | None]
Rule = Callable[[_Writer, Any, Gradients], None]


def _whole(w: _Writer, node: Any, gradients: Gradients) -> str:
    """Return the gradient of a node's first output, all of it."""
    part = gradients[0]
    if part is None:
        raise ModelError(f"{w.graph.path.name}: the first output of a {node.op_type} carries no gradient, but another does")
    return w.whole(part, node.output[0])


def _pass(w: _Writer, node: Any, gradients: Gradients) -> None:
    if gradients[0] is not None:
        w.give(node.input[0], gradients[0])


def _matmul(w: _Writer, node: Any, gradients: Gradients) -> None:
    left, right = node.input[:2]
    part = gradients[0] or Part("")
    if right not in w.active:
        weight = w.value(right)
        if part.size:
            weight = w.stretch(weight, part, len(w.dims(right)) - 1)
        w.give(left, Part(w.product(part.name, weight, transB=1)))
        return
    whole = _whole(w, node, gradients)
    if left in w.active:
        w.give(left, Part(w.product(whole, w.value(right), transB=1)))
    w.give(right, Part(w.product(w.value(left), whole, transA=1)))


def _add(w: _Writer, node: Any, gradients: Gradients) -> None:
    _sum(w, node, gradients, (1.0, 1.0))


def _sub(w: _Writer, node: Any, gradients: Gradients) -> None:
    _sum(w, node, gradients, (1.0, -1.0))


def _sum(w: _Writer, node: Any, gradients: Gradients, signs: tuple[float, float]) -> None:
    part = gradients[0] or Part("")
    alone = sum(name in w.active for name in node.input) == 1
    if not alone:
        part = Part(_whole(w, node, gradients))
    for name, sign in zip(node.input, signs, strict=True):
        if name not in w.active:
            w.note(part, name, sign)
            continue
        fitted = part if part.size else Part(w.fitted(part.name, name, node.output[0]))
        w.give(name, fitted if sign > 0 else Part(w.node("Neg", fitted.name), fitted.start, fitted.size))


def _mul(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole = _whole(w, node, gradients)
    for name, other in (node.input, reversed(node.input)):
        if name in w.active:
            w.give(name, Part(w.fitted(w.node("Mul", whole, w.value(other)), name, node.output[0])))


def _div(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole, (above, below) = _whole(w, node, gradients), node.input
    shared = w.node("Div", whole, w.value(below))
    if above in w.active:
        w.give(above, Part(w.fitted(shared, above, node.output[0])))
    if below in w.active:
        product = w.node("Neg", w.node("Mul", shared, w.value(node.output[0])))
        w.give(below, Part(w.fitted(product, below, node.output[0])))


def _pow(w: _Writer, node: Any, gradients: Gradients) -> None:
    power = w.graph.constant(node.input[1])
    if power is None or power.size != 1:
        raise ModelError(f"{w.graph.path.name}: a Pow whose exponent is computed has no gradient rule")
    base, exponent = w.value(node.input[0]), float(power.ravel()[0])
    slope = base if exponent == 2.0 else w.node("Pow", base, w.scalar(exponent - 1.0))
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), w.node("Mul", slope, w.scalar(exponent)))))


def _sqrt(w: _Writer, node: Any, gradients: Gradients) -> None:
    twice = w.node("Mul", w.value(node.output[0]), w.scalar(2.0))
    w.give(node.input[0], Part(w.node("Div", _whole(w, node, gradients), twice)))


def _reduce(w: _Writer, node: Any, gradients: Gradients) -> None:
    dims = w.dims(node.input[0])
    axes = _attribute(node, "axes") or (w.integers(node.input[1]) if len(node.input) > 1 else [])
    extent = dims[-1]
    if [axis % len(dims) for axis in axes] != [len(dims) - 1] or not _attribute(node, "keepdims", 1) or extent[0] != extent[1]:
        raise ModelError(f"{w.graph.path.name}: a {node.op_type} over other axes than the last has no gradient rule")
    share = 1.0 / extent[0] if node.op_type == "ReduceMean" else 1.0
    spread = w.constant(np.full(extent[0], share, np.float32))  # its length gives the gradient its shape
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), spread)))


def _softmax(w: _Writer, node: Any, gradients: Gradients) -> None:
    if _attribute(node, "axis", -1) not in (-1, len(w.dims(node.input[0])) - 1):
        raise ModelError(f"{w.graph.path.name}: a Softmax over another axis than the last has no gradient rule")
    whole, probabilities = _whole(w, node, gradients), w.value(node.output[0])
    mean = w.node("ReduceSum", w.node("Mul", whole, probabilities), w.constant(np.array([-1])), keepdims=1)
    w.give(node.input[0], Part(w.node("Mul", probabilities, w.node("Sub", whole, mean))))


def _where(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole, condition, zero = _whole(w, node, gradients), w.value(node.input[0]), w.scalar(0.0)
    for name, chosen in ((node.input[1], (whole, zero)), (node.input[2], (zero, whole))):
        if name in w.active:
            w.give(name, Part(w.fitted(w.node("Where", condition, *chosen), name, node.output[0])))


def _relu(w: _Writer, node: Any, gradients: Gradients) -> None:
    # 0 or 1, since no output is below 0 and none that counts is below 1e-30; a comparison and a Where take ten times as long.
    gate = w.node("HardSigmoid", w.value(node.output[0]), alpha=1e30, beta=0.0)
    w.give(node.input[0], Part(w.node("Mul", _whole(w, node, gradients), gate)))


def _conv(w: _Writer, node: Any, gradients: Gradients) -> None:
    weight = w.graph.constant(node.input[1])
    plain = all(set(_attribute(node, name, [1])) == {1} for name in ("strides", "dilations"))
    depthwise = weight is not None and weight.ndim == 3 and weight.shape[1] == 1 == weight.shape[0] / _attribute(node, "group", 1)
    if weight is None or not plain or not depthwise:
        raise ModelError(f"{w.graph.path.name}: a Conv that is not depthwise over time with stride 1 has no gradient rule")
    whole, taps = _whole(w, node, gradients), weight.shape[2]
    if len(node.input) > 2 and node.input[2]:
        w.note(Part(w.node("Transpose", whole, perm=[0, 2, 1])), node.input[2])
    flipped = w.constant(np.ascontiguousarray(weight[:, :, ::-1], np.float32))
    pads = [taps - 1 - pad for pad in _attribute(node, "pads", [0, 0])]
    if min(pads) < 0:
        raise ModelError(f"{w.graph.path.name}: a Conv that is padded by more than its kernel has no gradient rule")
    w.give(node.input[0], Part(w.node("Conv", whole, flipped, group=weight.shape[0], pads=pads)))


def _pad(w: _Writer, node: Any, gradients: Gradients) -> None:
    pads = _attribute(node, "pads") or w.integers(node.input[1])
    rank = len(pads) // 2
    padded = [axis for axis in range(rank) if pads[axis] or pads[axis + rank]]
    if 0 in padded or min(pads) < 0:
        raise ModelError(f"{w.graph.path.name}: a Pad of the batch, or one that cuts, has no gradient rule")
    starts, ends = [pads[axis] for axis in padded], [-pads[axis + rank] or LAST for axis in padded]
    cut = [w.constant(np.array(one, np.int64)) for one in (starts, ends, padded)]
    w.give(node.input[0], Part(w.node("Slice", _whole(w, node, gradients), *cut) if padded else _whole(w, node, gradients)))


def _slice(w: _Writer, node: Any, gradients: Gradients) -> None:
    dims = w.dims(node.input[0])
    starts, ends, axes = (w.integers(name) for name in node.input[1:4])
    pads = np.zeros((2, len(dims)), np.int64)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        (first, second), fixed = dims[axis], dims[axis][0] == dims[axis][1]
        steps = set(w.integers(node.input[4])) if len(node.input) > 4 else {1}
        if start < 0 or axis == 0 or steps != {1} or not (fixed or end > max(first, second)):
            raise ModelError(f"{w.graph.path.name}: a Slice whose ends depend on the sound has no gradient rule")
        pads[0, axis], pads[1, axis] = start, max(0, first - end) if fixed else 0
    w.give(node.input[0], Part(w.node("Pad", _whole(w, node, gradients), w.constant(pads.ravel()))))


def _concat(w: _Writer, node: Any, gradients: Gradients) -> None:
    whole, axis = _whole(w, node, gradients), _attribute(node, "axis")
    axis %= len(w.dims(node.output[0]))
    start = 0
    for index, name in enumerate(node.input):
        first, second = w.dims(name)[axis]
        last = index == len(node.input) - 1
        if axis == 0 or (first != second and not last):
            raise ModelError(f"{w.graph.path.name}: a Concat of the batch, or after a part of free length, has no gradient rule")
        ends = [w.constant(np.array([one])) for one in (start, LAST if last else start + first, axis)]
        piece = w.node("Slice", whole, *ends)
        if name in w.active:
            w.give(name, Part(piece))
        else:
            w.note(Part(piece), name)
        start += first


def _split(w: _Writer, node: Any, gradients: Gradients) -> None:
    rank = len(w.dims(node.input[0]))
    if _attribute(node, "axis", 0) % rank != rank - 1:
        raise ModelError(f"{w.graph.path.name}: a Split of another axis than the last has no gradient rule")
    start = 0
    for name, part in zip(node.output, gradients, strict=True):
        size = w.dims(name)[-1][0]
        if part is not None:
            w.give(node.input[0], Part(w.whole(part, name), start, size))
        start += size


def _transpose(w: _Writer, node: Any, gradients: Gradients) -> None:
    perm = _attribute(node, "perm") or list(range(len(w.dims(node.input[0]))))[::-1]
    if perm[0] != 0:
        raise ModelError(f"{w.graph.path.name}: a Transpose that moves the batch has no gradient rule")
    w.give(node.input[0], Part(w.node("Transpose", _whole(w, node, gradients), perm=np.argsort(perm).tolist())))


def _reshape(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Give the gradient the shape of the input: 0 copies an extent of the gradient, one -1 takes what is left."""
    before, after = w.dims(node.input[0]), w.dims(node.output[0])
    target = []
    for axis, (first, second) in enumerate(before):
        same = axis < len(after) and after[axis] == (first, second)
        target.append(0 if axis == 0 or (first != second and same) else first if first == second else -1)
    if target.count(-1) > 1 or before[0] != after[0]:
        raise ModelError(f"{w.graph.path.name}: a {node.op_type} that mixes the batch or two free lengths has no gradient rule")
    w.give(node.input[0], Part(w.node("Reshape", _whole(w, node, gradients), w.constant(np.array(target)))))


def _gather_elements(w: _Writer, node: Any, gradients: Gradients) -> None:
    """Add every place's gradient to where it was taken from, as exporters stack frames."""
    whole, axis = _whole(w, node, gradients), _attribute(node, "axis", 0)
    rank = len(w.dims(node.input[0]))
    if axis % rank == 0:
        raise ModelError(f"{w.graph.path.name}: a GatherElements over the batch has no gradient rule")
    zeros, places = w.node("Mul", w.value(node.input[0]), w.scalar(0.0)), w.value(node.input[1])
    ends = [w.constant(np.array([one])) for one in (0, 1, rank)]
    batch = w.node("Slice", w.node("Shape", whole), *ends[:2])
    grown = []
    for name in (zeros, places):
        rest = w.node("Slice", w.node("Shape", name), ends[1], ends[2])
        grown.append(w.node("Expand", name, w.node("Concat", batch, rest, axis=0)))
    w.give(node.input[0], Part(w.node("ScatterElements", *grown, whole, axis=axis, reduction="add")))


def _neg(w: _Writer, node: Any, gradients: Gradients) -> None:
    w.give(node.input[0], Part(w.node("Neg", _whole(w, node, gradients))))


def _layer_norm(w: _Writer, node: Any, gradients: Gradients) -> None:
    """The statistics are computed again from the input: the operator's own outputs for them are optional."""
    whole, rows = _whole(w, node, gradients), w.value(node.input[0])
    if len(node.input) > 2 and node.input[2]:
        w.note(Part(whole), node.input[2])
    centred = w.node("Sub", rows, w.mean(rows))
    variance = w.node("Add", w.mean(w.node("Mul", centred, centred)), w.scalar(_attribute(node, "epsilon", 1e-5)))
    root = w.node("Sqrt", variance)
    scaled = w.node("Div", w.node("Mul", whole, w.value(node.input[1])), root)
    result = w.node("Sub", scaled, w.mean(scaled))
    if not w.frozen:
        normal = w.node("Div", centred, root)
        result = w.node("Sub", result, w.node("Mul", normal, w.mean(w.node("Mul", scaled, normal))))
    w.give(node.input[0], Part(result))


RULES: dict[str, Rule] = {
    "MatMul": _matmul, "Add": _add, "Sub": _sub, "Mul": _mul, "Div": _div, "Pow": _pow, "Sqrt": _sqrt,
    "ReduceMean": _reduce, "ReduceSum": _reduce, "Softmax": _softmax, "Where": _where, "Relu": _relu, "Conv": _conv, "Pad": _pad,
    "Slice": _slice, "Concat": _concat, "Split": _split, "Transpose": _transpose, "Reshape": _reshape, "Squeeze": _reshape,
    "Unsqueeze": _reshape, "Flatten": _reshape, "Identity": _pass, "Cast": _pass, "Dropout": _pass, "Neg": _neg,
    "LayerNormalization": _layer_norm, "GatherElements": _gather_elements,
}  # fmt: skip
