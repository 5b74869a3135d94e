"""Two models of one anatomy on one graph, of which every part of every layer can be taken from either.

The host's graph, in floating point, gets its weights as inputs: a run says for each part whose weights to take. What belongs
together is found by its role in the anatomy, never by name, so a file in fp32, fp16, 8 or 4 bits can be set against any other of
its shape. Where a model rounds what enters a product to 8 bits as it runs (dynamic quantisation), its part rounds likewise here.

Weights travel with each run because a session whose weights are fixed would have to be opened anew for every part of every layer.

**Source:** ONNX operators ``DynamicQuantizeLinear`` and ``DequantizeLinear``; a product of whole numbers, scaled back, is the
product of what both stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import Anatomy, Block, Linear, Norm, find_anatomy
from voxray.graph.graph import Graph
from voxray.graph.session import Feeds, Runner, RunOptions
from voxray.graph.twin import float_twin
from voxray.graph.weights import linear_parts, norm_weights
from voxray.types import AnatomyError, FloatArray, OptionError

PARTS = ("norm", "query, key, value", "memory", "projection", "second norm", "feed-forward in", "feed-forward out")
"""Parts of a layer, in the order in which the sound goes through them."""
NORM, HEAD = "norm before it", "output head"
"""Parts outside the layers: a norm in the stream, counted with the layer after it; and the head, counted after the last layer."""
FLOAT = 1
KEPT = 1 << 30  # bytes of dequantised weights that stay in memory; those of SenseVoice-Small take 0.9 GB

Part = tuple[int, str]
"""A layer, or the number of layers for what comes after them, and a part of it."""


@dataclass(frozen=True, slots=True)
class Donor:
    """An opened model.

    Attributes:
        graph: its file.
        anatomy: what it is made of.
    """

    graph: Graph
    anatomy: Anatomy


@dataclass(frozen=True, slots=True)
class _Organ:
    """A linear map, norm or filter, as it stands in one model.

    Attributes:
        part: which it is.
        weight: what its weight is called.
        bias: what its bias is called; empty for none.
        ends: tensors that it makes.
        starts: tensors that it takes.
        read: returns weight and bias.
        linear: whether it is a linear map, which may round what enters it.
        rounds: whether it does.
    """

    part: Part
    weight: str
    bias: str
    ends: str
    starts: str
    read: Callable[[], tuple[FloatArray, FloatArray]]
    linear: bool = False
    rounds: bool = False


class Bench:
    """Two models of one anatomy, ready to be run with parts of either.

    Attributes:
        parts: all of them, from the sound to the head.
    """

    def __init__(self, host: Donor, guest: Donor, options: RunOptions | None = None) -> None:
        """Lay two models on the bench.

        Raises:
            OptionError: when their shapes differ.
            AnatomyError: when weights cannot be read, or do not stand where the anatomy says.
            ModelError: when the host's weights do not fit into memory unpacked.
        """
        self._organs = {organ.part: (organ, other) for organ, other in _paired(host, guest)}
        self.parts: tuple[Part, ...] = tuple(self._organs)
        self._weights: dict[tuple[Part, bool], tuple[FloatArray, FloatArray]] = {}
        self._room = KEPT
        self._logits = host.anatomy.logits
        graph, self._inputs = _opened_up(host, {part: any(one.rounds for one in both) for part, both in self._organs.items()})
        self._runner = Runner(graph, options)

    def run(self, feeds: Feeds, guest: Collection[Part] = (), *, rounding: bool = True) -> FloatArray:
        """Run one sound with some parts of the guest's and all others of the host's.

        Args:
            feeds: the host's inputs, of one sound.
            guest: parts to take from the guest.
            rounding: whether the guest's parts round what enters them where the guest does.

        Returns:
            Output rows (N, V) float32.
        """
        given: dict[str, npt.NDArray[Any]] = dict(feeds)
        for part, place in self._inputs.items():
            theirs = part in guest
            organ = self._organs[part][theirs]
            weight, bias = self._read(part, theirs=theirs)
            given[place.weight] = weight.T if place.turned else weight.reshape(place.shape)
            if place.bias:
                given[place.bias] = bias
            if place.rounds:
                given[place.rounds] = np.array([organ.rounds and (rounding or not theirs)], np.float32)
        (rows,) = self._runner.run(given, [self._logits])
        return np.asarray(rows[0], np.float32)

    def _read(self, part: Part, *, theirs: bool) -> tuple[FloatArray, FloatArray]:
        """Return weight and bias of a part. What was dequantised is kept while there is room; what lies in a file is mapped."""
        key = part, theirs
        if key in self._weights:
            return self._weights[key]
        found = self._organs[part][theirs].read()
        size = sum(one.nbytes for one in found if one.flags.owndata)
        if size <= self._room:
            self._room -= size
            self._weights[key] = found
        return found


def unlike(host: Donor, guest: Donor) -> str:
    """Return in a few words how the shapes of two models differ; nothing where they are alike."""
    first, second = (list(_organs(one)) for one in (host, guest))
    if len(host.anatomy.blocks) != len(guest.anatomy.blocks):
        return f"{len(host.anatomy.blocks)} and {len(guest.anatomy.blocks)} layers"
    if [one.part for one in first] != [one.part for one in second]:
        return "norms stand at different places in the stream"
    for one, other in zip(first, second, strict=True):
        shapes = [_shape(donor.graph, organ) for donor, organ in ((host, one), (guest, other))]
        if shapes[0] != shapes[1]:
            return f"layer {one.part[0]}, {one.part[1]}: {shapes[0]} and {shapes[1]} numbers"
        if bool(one.bias) != bool(other.bias):
            return f"layer {one.part[0]}, {one.part[1]}: only one of them has a bias"
    return ""


def _shape(graph: Graph, organ: _Organ) -> tuple[int, ...]:
    """Return the shape of a part; that of a linear map's bias tells it without unpacking the weight."""
    told = graph.constant(organ.bias) if organ.bias and organ.linear else organ.read()[0]
    return () if told is None else told.shape


def _paired(host: Donor, guest: Donor) -> list[tuple[_Organ, _Organ]]:
    """Return the parts of two models side by side.

    Raises:
        OptionError: when their shapes differ.
    """
    apart = unlike(host, guest)
    if apart:
        raise OptionError(f"the two models have different shapes ({apart}), so their layers cannot be exchanged")
    return list(zip(_organs(host), _organs(guest), strict=True))


def _organs(donor: Donor) -> Iterator[_Organ]:
    """Yield the parts of a model from the sound to the head."""
    graph, anatomy = donor.graph, donor.anatomy
    standing = dict(anatomy.stream_norms)
    for block in anatomy.blocks:
        if block.index in standing:
            yield _norm(graph, (block.index, NORM), standing[block.index])
        yield from _layer(graph, block)
    last = len(anatomy.blocks)
    if last in standing:
        yield _norm(graph, (last, NORM), standing[last])
    yield _linear(graph, (last, HEAD), anatomy.head)


def _layer(graph: Graph, block: Block) -> Iterator[_Organ]:
    """Yield the parts of a layer, as ``PARTS`` names them."""
    parts = iter([(block.index, name) for name in PARTS])
    inner, outer = block.feed_forward
    yield _norm(graph, next(parts), block.norm)
    yield _linear(graph, next(parts), block.qkv)
    yield _Organ(next(parts), block.taps, "", block.memory, block.value, partial(_taps, graph, block.taps))
    yield _linear(graph, next(parts), block.projection)
    yield _norm(graph, next(parts), block.norm2)
    yield _linear(graph, next(parts), inner)
    yield _linear(graph, next(parts), outer)


def _norm(graph: Graph, part: Part, norm: Norm) -> _Organ:
    def read() -> tuple[FloatArray, FloatArray]:
        found = norm_weights(graph, norm)
        return found.scale, found.shift

    return _Organ(part, norm.weight, norm.bias, norm.output, norm.input, read)


def _linear(graph: Graph, part: Part, linear: Linear) -> _Organ:
    rounds = linear.operator == "MatMulInteger"
    read = partial(linear_parts, graph, linear)
    return _Organ(part, linear.weight, linear.bias, linear.output, linear.input, read, linear=True, rounds=rounds)


def _taps(graph: Graph, name: str) -> tuple[FloatArray, FloatArray]:
    return np.asarray(graph.constant(name), np.float32), np.zeros(0, np.float32)


# --- The graph -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Inputs by which a part enters the graph: names of weight, bias and rounding (empty for none), shape, whether transposed."""

    weight: str
    bias: str
    rounds: str
    shape: tuple[int, ...]
    turned: bool


def _opened_up(host: Donor, rounding: Mapping[Part, bool]) -> tuple[Graph, dict[Part, _Place]]:
    """Return the host in floating point with its weights as inputs, and what those are called."""
    import onnx

    twin = float_twin(host.graph)
    anatomy = host.anatomy if twin is host.graph else find_anatomy(twin, host.anatomy.logits)
    model = onnx.ModelProto()
    model.CopyFrom(twin.model)
    graph = Graph(twin.path, model)
    surgery = _Surgery(graph)
    for number, organ in enumerate(_organs(Donor(graph, anatomy))):
        surgery.open(organ, f"voxray_part_{number}", rounding=rounding[organ.part])
    surgery.finish()
    return Graph(twin.path, model).pruned(), surgery.places


class _Surgery:
    """Puts inputs in the place of weights.

    Attributes:
        places: of the parts that were opened.
    """

    def __init__(self, graph: Graph) -> None:
        self.places: dict[Part, _Place] = {}
        self._graph = graph
        self._added: list[Any] = []

    def open(self, organ: _Organ, stem: str, *, rounding: bool) -> None:
        """Make inputs of the weight and bias of a part.

        Raises:
            AnatomyError: when its weight is not found between what enters and what leaves it.
        """
        nodes = list(_between(self._graph, organ.ends, organ.starts))
        product = self._replace(nodes, organ.weight, f"{stem}_weight")
        if product is None:
            layer, name = organ.part
            raise AnatomyError(f"{self._graph.path.name}: the weights of layer {layer}, {name}, do not stand where they were found")
        weight, bias = organ.read()
        biased = bool(organ.bias) and self._replace(nodes, organ.bias, f"{stem}_bias") is not None
        turned = product.op_type == "Gemm" and any(one.name == "transB" and one.i for one in product.attribute)
        shape = weight.shape[::-1] if turned else weight.shape
        self._input(f"{stem}_weight", shape)
        if biased:
            self._input(f"{stem}_bias", bias.shape)
        if rounding:
            self._round(product, stem)
        place = _Place(
            f"{stem}_weight", f"{stem}_bias" if biased else "", f"{stem}_rounds" if rounding else "", weight.shape, turned
        )
        self.places[organ.part] = place

    def finish(self) -> None:
        """Write the nodes that were added."""
        model = self._graph.model
        model.graph.node.extend(self._added)

    def _replace(self, nodes: list[Any], name: str, fresh: str) -> Any | None:
        """Let the nodes take another tensor where they took one of a name; return the first that did."""
        found = None
        for node in nodes:
            for place, one in enumerate(node.input):
                if one == name:
                    node.input[place] = fresh
                    found = found or node
        return found

    def _input(self, name: str, shape: tuple[int, ...]) -> None:
        from onnx import helper

        self._graph.model.graph.input.append(helper.make_tensor_value_info(name, FLOAT, list(shape)))

    def _round(self, product: Any, stem: str) -> None:
        """Let what enters a product be rounded to 8 bits as it runs where an input says 1, and left alone where it says 0."""
        from onnx import helper

        entering, flag = product.input[0], f"{stem}_rounds"
        self._input(flag, (1,))
        parts = [f"{stem}_{name}" for name in ("whole", "scale", "zero", "rounded", "change", "chosen", "entering")]
        whole, scale, zero, rounded, change, chosen, result = parts
        self._added += [
            helper.make_node("DynamicQuantizeLinear", [entering], [whole, scale, zero]),
            helper.make_node("DequantizeLinear", [whole, scale, zero], [rounded]),
            helper.make_node("Sub", [rounded, entering], [change]),
            helper.make_node("Mul", [change, flag], [chosen]),
            helper.make_node("Add", [entering, chosen], [result]),
        ]
        product.input[0] = result


def _between(graph: Graph, end: str, start: str) -> Iterator[Any]:
    """Yield the nodes by which a tensor is made of another, nearest to the end first."""
    stack, seen = [end], {start}
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.producer(name)
        if node is not None:
            yield node
            stack += list(node.input)
