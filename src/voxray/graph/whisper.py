"""Finds what a Whisper is made of: the encoder's attention, the decoder's own and its cross-attention, and where keys are kept.

Names of nodes and tensors are used for nothing but labels. The rules: attention is a Softmax between two products of computed
tensors; it is the stream's own where its values are made of the tensor that its queries are made of, and cross-attention where
they come from elsewhere: from the encoder's result, or from an input that holds what was made of it. An input that an attention's
keys or values are drawn from is a store, and the output that is the same tensor as those keys or values is what to put there for
the next token. That holds for Optimum's files of old and new transformers, plain or with ``If``, and for those of sherpa-onnx.

A file with both decoders in one (the first step and the later ones, chosen by an ``If``) is opened as two graphs: each branch with
what it needs of the graph around it. Both are then graphs like any other; nothing that they compute is changed.

**Source:** Radford et al. 2022, "Robust speech recognition via large-scale weak supervision"; OpenAI ``whisper/model.py``;
transformers ``models/whisper/modeling_whisper.py``; sherpa-onnx ``scripts/whisper/export-onnx.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import (
    MASKING,
    Linear,
    Precision,
    _after_residual,
    _label,
    _linear_from,
    _linear_to,
    _multiplies_computed,
    _norm_to,
    _precision,
    _why_no_attention,
)
from voxray.graph.decoder import _above, _reads_of
from voxray.graph.graph import SHAPE_OPS, Graph
from voxray.graph.proof import REBUILD_TOLERANCE, _apply, _relative
from voxray.graph.session import Feeds, Runner
from voxray.types import AnatomyError, FloatArray, ModelError

BETWEEN = MASKING | SHAPE_OPS  # operators between scores and Softmax, and between Softmax and values
STORING = SHAPE_OPS | {"Slice", "Gather", "Concat", "ScatterND", "Split", "Expand", "Where", "Mul", "Div"}
MELS = (80, 128)
FLOATS, WHOLES, TRUTH = (1, 10), (6, 7), 9  # TensorProto: FLOAT and FLOAT16, INT32 and INT64, BOOL
ROWS, COLUMNS = "voxray_rows", "voxray_columns"
CUT = "_voxray_cut"
PROOF_ROWS = 8  # of the encoder's attention that the proof looks at
OUTPUT_TOLERANCE = 1e-5
ROW_SUM_TOLERANCE = {"fp32": 1e-4, "int8": 1e-4, "fp16": 1e-2, "int4": 1e-4}
SOFTMAX_TOLERANCE = {"fp32": 1e-5, "int8": 1e-5, "fp16": 1e-2, "int4": 1e-5}
REMEDY = "use the file as exported, before graph optimisation"


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention. Every attribute without a type of its own is the name of a tensor; B sounds, R rows, C columns.

    Attributes:
        index: 0 for the layer nearest to the input.
        label: module path where the exporter left one.
        input: (B, R, D), the stream before it.
        query: the map from the normed stream to queries.
        keys: what is multiplied with the queries, before its split into heads.
        value: (B, C, D), the values before their split into heads.
        scores: (B, H, R, C), input of the Softmax; of older exports (B H, R, C), as the next one.
        probabilities: (B, H, R, C), its output.
        context: (B, R, D), probabilities times values, heads side by side.
        projection: the linear map after the heads.
        output: (B, R, D), the stream after it.
        stores: inputs of the graph that keys, and that values are drawn from; empty where there are none.
        own: whether keys and values are made of the same stream as the queries.
    """

    index: int
    label: str
    input: str
    query: Linear
    keys: str
    value: str
    scores: str
    probabilities: str
    context: str
    projection: Linear
    output: str
    stores: tuple[str, str]
    own: bool

    @property
    def tensors(self) -> dict[str, str]:
        """The tensors of a row each, by name."""
        return {
            "input": self.input,
            "value": self.value,
            "context": self.context,
            "projection": self.projection.output,
            "output": self.output,
        }


@dataclass(frozen=True, slots=True)
class Ears:
    """What goes into a Whisper's encoder, and what comes out.

    Attributes:
        mel: input, (B, mels, 3000) float32.
        mels: how many filters it wants.
        states: outputs: hidden states (B, 1500, D), or keys and values (L, B, 1500, D) of the decoder's cross-attention.
    """

    mel: str
    mels: int
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A Whisper's encoder.

    Attributes:
        blocks: its attention, nearest to the sound first.
        precision: of its linear maps.
        width: D.
    """

    blocks: tuple[Attention, ...]
    precision: Precision
    width: int

    @property
    def log_softmax(self) -> bool:
        """Whether the model's output is normalised: never, of a Whisper."""
        return False


@dataclass(frozen=True, slots=True)
class Decoder:
    """One graph that makes rows of logits out of tokens. Attributes without a type are names of tensors.

    Attributes:
        tokens: input, (B, U) whole numbers.
        position: input that says where the tokens stand, (1,) or (U,); empty where there is none.
        states: inputs for what the encoder gives; empty where the graph is given keys and values of the step before instead.
        logits: output, (B, U, V).
        own: the attention of tokens to tokens, by layer.
        cross: the attention of tokens to sound, by layer.
        width: D.
        precision: of its linear maps.
    """

    tokens: str
    position: str
    states: tuple[str, ...]
    logits: str
    own: tuple[Attention, ...]
    cross: tuple[Attention, ...]
    width: int
    precision: Precision


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured, of the encoder or of the decoder.

    Attributes:
        heads: attention heads in every layer.
        logit_difference: largest absolute difference of the output with and without inner tensors exposed.
        rebuild_errors: for each attention, largest absolute error of what is rebuilt over the largest absolute value.
        row_sum_error: how far the sum of any row of probabilities is from 1.
    """

    heads: int
    logit_difference: float
    rebuild_errors: tuple[float, ...]
    row_sum_error: float


# --- Finding ----------------------------------------------------------------------------------------------------------------


def find_ears(graph: Graph) -> Ears | None:
    """Return what goes into and out of a graph if it is a Whisper's encoder, else None.

    Log-mel features of 80 or 128 filters go in; two convolutions over time, the second of which halves the frames, stand before
    the attention; one tensor of hidden states comes out, or keys and values of every decoder layer.
    """
    inputs = list(graph.inputs.items())
    if len(inputs) != 1 or inputs[0][1][0] not in FLOATS or len(inputs[0][1][1]) != 3:
        return None
    mel = inputs[0][0]
    convolutions = [node for node in graph.nodes if node.op_type in ("Conv", "ConvInteger")]
    if [_stride(node) for node in convolutions] != [1, 2] or "Softmax" not in graph.operators:
        return None
    weight = graph.shape(convolutions[0].input[1])
    if weight is None or len(weight) != 3 or weight[1] not in MELS:
        return None
    ranks = {name: len(shape) for name, (kind, shape) in graph.outputs.items() if kind in FLOATS}
    hidden = [name for name, rank in ranks.items() if rank == 3]
    stored = [name for name, rank in ranks.items() if rank == 4]
    if hidden:
        return Ears(mel, weight[1], (hidden[0],))
    if len(stored) != 2:
        return None
    biased = [_is_biased(graph, name) for name in stored]
    return Ears(mel, weight[1], tuple(stored[::-1] if biased == [True, False] else stored))


def find_encoder(graph: Graph) -> Encoder:
    """Return the anatomy of a Whisper's encoder.

    Raises:
        AnatomyError: when attention is missing or fused away, or a layer lacks a part; says which.
    """
    blocks = tuple(one for one in _attentions(graph) if one.own)
    if not blocks:
        raise AnatomyError(_why_no_attention(graph))
    return Encoder(blocks, _precision(graph, blocks[0].query), _width(graph, blocks[0]))


def find_decoder(graph: Graph) -> Decoder | None:
    """Return the anatomy of a decoder of tokens, or None where a graph is none.

    Raises:
        AnatomyError: when it has attention to sound that cannot be read; says what is missing.
    """
    named = graph.inputs.items()
    tokens = [name for name, (kind, shape) in named if kind in WHOLES and len(shape) == 2]
    position = [name for name, (kind, shape) in named if kind in WHOLES and len(shape) == 1]
    floats = [name for name, (kind, _) in named if kind in FLOATS]
    logits = [name for name, (kind, shape) in graph.outputs.items() if kind in FLOATS and len(shape) == 3]
    if len(tokens) != 1 or len(position) > 1 or len(logits) != 1 or not floats:
        return None
    if len(graph.inputs) != 1 + len(position) + len(floats):
        return None
    blocks = _attentions(graph)
    own, cross = (tuple(one for one in blocks if one.own is kind) for kind in (True, False))
    if not cross:
        raise AnatomyError(f"{graph.path.name}: no attention from tokens to sound was found; {REMEDY}")
    if len(own) != len(cross):
        raise AnatomyError(f"{graph.path.name}: {len(own)} layers attend to tokens but {len(cross)} to sound; {REMEDY}")
    stores = {name for one in blocks for name in one.stores if name}
    ways = {one.stores for one in cross}
    if ways == {("", "")}:  # keys and values are made of what the encoder gives
        states = [name for name in floats if name not in stores and graph.consumers(name)]
    else:  # they are given: one tensor holds the keys of all layers, another one the values; or each layer has its own
        states = list(ways.pop()) if len(ways) == 1 else []
    return Decoder(
        tokens=tokens[0],
        position=position[0] if position else "",
        states=tuple(states),
        logits=logits[0],
        own=_numbered(own),
        cross=_numbered(cross),
        width=_width(graph, cross[0]),
        precision=_precision(graph, cross[0].query),
    )


def branches(graph: Graph) -> tuple[Graph, ...]:
    """Return the graphs that a file chooses from with an ``If`` around everything; the graph itself where it does not.

    Raises:
        ModelError: when the choice is not the whole graph.
    """
    import onnx

    choices = [node for node in graph.nodes if node.op_type == "If"]
    if not choices:
        return (graph,)
    outer = {graph.back(value.name): value for value in graph.model.graph.output}  # fp16 files cast what comes out
    if len(choices) != 1 or set(choices[0].output) < set(outer):
        raise ModelError(f"{graph.path.name}: it chooses between graphs in a way that Voxray does not know; {REMEDY}")
    found = []
    for attribute in choices[0].attribute:
        if attribute.type != onnx.AttributeProto.GRAPH:
            continue
        inner = attribute.g
        made = {name for node in inner.node for name in node.output}
        outputs = []
        for value, name in zip(inner.output, choices[0].output, strict=False):
            if value.name in made and name in outer:
                outputs.append(onnx.ValueInfoProto())
                outputs[-1].CopyFrom(outer[name])
                outputs[-1].name = value.name
                kind = value.type.tensor_type.elem_type
                outputs[-1].type.tensor_type.elem_type = kind or outputs[-1].type.tensor_type.elem_type
        found.append(_standing_alone(graph, inner, outputs))
    return tuple(found)


def output_of(graph: Graph, tensor: str) -> str:
    """Return the output that is a tensor, but for its axes; empty where there is none.

    Args:
        graph: the opened file.
        tensor: ``keys`` or ``value`` of an attention.
    """
    return next((name for name in graph.outputs if name == tensor or graph.back(name, SHAPE_OPS) == tensor), "")


def kept(graph: Graph) -> dict[str, str]:
    """Return, for each input that keys or values are drawn from, the output to put there for the next token."""
    found: dict[str, str] = {}
    for name, (kind, shape) in graph.outputs.items():
        if kind in FLOATS and len(shape) == 4:
            for source in _sources(graph, name):
                if isinstance(source, str) and source != name:
                    found.setdefault(source, name)
    return found


# --- Looking inside ---------------------------------------------------------------------------------------------------------


def with_cuts(graph: Graph, encoder: Encoder) -> Graph:
    """Return the encoder's graph with cut copies of its attention: of 1500 rows and columns only those that are asked for.

    It takes two more inputs, ``ROWS`` and ``COLUMNS``, (1,) int64; the copies are called as the probabilities, with ``CUT``.
    A whole layer of 30 s takes 9 MB a head, however short the sound.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    body = model.graph
    body.input.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in (ROWS, COLUMNS))
    constants = {"voxray_first": [0, 0], "voxray_axes": [-2, -1], "voxray_row_first": [0], "voxray_row_axis": [-2]}
    body.initializer.extend(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items())
    body.node.append(helper.make_node("Concat", [ROWS, COLUMNS], ["voxray_ends"], axis=0))
    for block in encoder.blocks:
        for name in (block.scores, block.probabilities):
            body.node.append(helper.make_node("Slice", [name, "voxray_first", "voxray_ends", "voxray_axes"], [name + CUT]))
    for name in dict.fromkeys(name for block in encoder.blocks for name in (block.input, block.output)):
        body.node.append(helper.make_node("Slice", [name, "voxray_row_first", ROWS, "voxray_row_axis"], [name + CUT]))
    return Graph(graph.path, model)


def by_head(found: npt.NDArray[Any], batch: int) -> FloatArray:
    """Return scores or probabilities as (B, H, R, C) float32; older exports lay heads and sounds on one axis."""
    whole = found if found.ndim == 4 else found.reshape(batch, -1, *found.shape[1:])
    return np.asarray(whole, np.float32)


# --- Proving ----------------------------------------------------------------------------------------------------------------


def prove_encoder(plain: Runner, cut: Runner, ears: Ears, encoder: Encoder, feeds: Feeds) -> tuple[Proof, list[npt.NDArray[Any]]]:
    """Return the measured errors of the encoder's anatomy on one sound, and its states.

    Args:
        plain: of the file as it is.
        cut: of ``with_cuts``.
        ears: inputs and outputs.
        encoder: what was found.
        feeds: of one sound, for ``plain``.

    Raises:
        AnatomyError: when an error is above its tolerance, or the layers have different numbers of heads.
    """
    frames = next(iter(feeds.values())).shape[-1] // 2
    names = [
        name
        for one in encoder.blocks
        for name in (one.scores + CUT, one.probabilities + CUT, one.input + CUT, one.output + CUT, one.value, one.context,
                     one.projection.output)
    ]  # fmt: skip
    names = list(dict.fromkeys(names))
    # Each session is gone before the next one opens: a large model is never in memory twice.
    expected = Runner(plain.graph, plain.options).run(feeds, ears.states)
    sizes = {ROWS: np.array([PROOF_ROWS], np.int64), COLUMNS: np.array([frames], np.int64)}
    results = Runner(cut.graph, cut.options).run({**feeds, **sizes}, [*ears.states, *names])
    states, tensors = results[: len(expected)], results[len(expected) :]
    values = dict(zip(names, tensors, strict=True))
    for one in encoder.blocks:
        for name in (one.scores, one.probabilities, one.input, one.output):
            values[name] = values[name + CUT]
    return _proof(plain.graph, encoder.blocks, values, _difference(expected, states), encoder.precision), expected


def prove_decoder(runner: Runner, decoder: Decoder, feeds: Feeds) -> Proof:
    """Return the measured errors of a decoder's anatomy on a few tokens of one sound.

    Args:
        runner: of its graph.
        decoder: what was found; it must be one that is given the encoder's states.
        feeds: all its inputs.

    Raises:
        AnatomyError: as ``prove_encoder``.
    """
    blocks = (*decoder.own, *decoder.cross)
    names = [
        name
        for one in blocks
        for name in (one.scores, one.probabilities, one.input, one.output, one.value, one.context, one.projection.output)
    ]
    names = list(dict.fromkeys(names))
    expected = Runner(runner.graph, runner.options).run(feeds, [decoder.logits])
    logits, *tensors = Runner(runner.graph, runner.options).run(feeds, [decoder.logits, *names])
    values = dict(zip(names, tensors, strict=True))
    return _proof(runner.graph, blocks, values, _difference(expected, [logits]), decoder.precision)


def _difference(one: Sequence[npt.NDArray[Any]], other: Sequence[npt.NDArray[Any]]) -> float:
    """Return the largest absolute difference of two lists of arrays."""
    return max(float(np.abs(a.astype(np.float32) - b.astype(np.float32)).max()) for a, b in zip(one, other, strict=True))


def _proof(graph: Graph, blocks: Sequence[Attention], values: Feeds, difference: float, precision: Precision) -> Proof:
    """Return the measured errors, none of which is above its tolerance."""
    batch = values[blocks[0].input].shape[0]
    weights = [by_head(values[one.probabilities], batch) for one in blocks]
    heads = {one.shape[1] for one in weights}
    if len(heads) > 1:
        raise AnatomyError(f"{graph.path.name}: attention layers have different numbers of heads: {sorted(heads)}")
    proof = Proof(
        heads=max(heads),
        logit_difference=difference,
        rebuild_errors=tuple(_rebuild_error(graph, one, values) for one in blocks),
        row_sum_error=float(max(np.abs(one.sum(axis=-1, dtype=np.float64) - 1).max() for one in weights)),
    )
    softmax = max(_softmax_error(values[one.scores], values[one.probabilities]) for one in blocks)
    worst = int(np.argmax(proof.rebuild_errors))
    limits = (
        (proof.logit_difference, OUTPUT_TOLERANCE, "reading inner tensors changes the output"),
        (proof.row_sum_error, ROW_SUM_TOLERANCE[precision], "rows of attention do not sum to 1"),
        (softmax, SOFTMAX_TOLERANCE[precision], "attention is not the softmax of its scores"),
        (proof.rebuild_errors[worst], REBUILD_TOLERANCE[precision], f"{blocks[worst].label} cannot be rebuilt from its attention"),
    )
    for error, most, what in limits:
        if not error <= most:
            raise AnatomyError(f"{graph.path.name}: {what} (error {error:.1e}, at most {most:.0e} is allowed); {REMEDY}")
    return proof


def _softmax_error(scores: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> float:
    shifted = scores.astype(np.float32)
    exponents = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return float(np.abs(exponents / exponents.sum(axis=-1, keepdims=True) - probabilities.astype(np.float32)).max())


def _rebuild_error(graph: Graph, block: Attention, values: Feeds) -> float:
    """Return the larger relative error: of attention times values, and of stream plus projection."""
    value = values[block.value]
    batch, columns, width = value.shape
    probabilities = by_head(values[block.probabilities], batch)
    heads, rows = probabilities.shape[1:3]
    split = value.reshape(batch, columns, heads, width // heads).transpose(0, 2, 1, 3)
    context = (probabilities @ split.astype(np.float32)).transpose(0, 2, 1, 3).reshape(batch, rows, width)
    projected = _apply(graph, block.projection, values)[:, :rows]
    found = (_relative(context, values[block.context][:, :rows]), _relative(values[block.input] + projected, values[block.output]))
    return max(found) if np.isfinite(found).all() else float("inf")


# --- Structure --------------------------------------------------------------------------------------------------------------


def _attentions(graph: Graph) -> list[Attention]:
    """Return every attention of a graph, in topological order.

    Raises:
        AnatomyError: when one lacks a part, or its probabilities are changed before they are used.
    """
    found: list[Attention] = []
    for node in graph.nodes:
        if node.op_type != "Softmax":
            continue
        scores = graph.upstream(node.input[0], BETWEEN, lambda one: _multiplies_computed(graph, one))
        if scores is None:
            continue
        products = graph.forward(node.output[0], BETWEEN, lambda user, index: user.op_type == "MatMul" and index == 0)
        if not products:
            name = _label(node, len(found))
            raise AnatomyError(f"{graph.path.name}: the attention {name} is changed before it is used; {REMEDY}")
        found.append(_attention(graph, node, scores, products[0][0], len(found)))
    return found


def _attention(graph: Graph, softmax: Any, scores: Any, product: Any, index: int) -> Attention:
    label = _label(softmax, index)
    query = next((one for one in _sources(graph, scores.input[0]) if isinstance(one, Linear)), None)
    keys, value = _unscaled(graph, scores.input[1]), _unscaled(graph, product.input[1])
    projection = _linear_from(graph, product.output[0])
    norm = _norm_to(graph, query.input) if query is not None else None
    if query is None or projection is None or norm is None:
        parts = {"map to queries": query, "projection after the heads": projection, "layer norm before it": norm}
        missing = next(name for name, part in parts.items() if part is None)
        raise AnatomyError(f"{graph.path.name}: the attention {label} has no {missing} where one was expected; {REMEDY}")
    sources = [list(_sources(graph, name)) for name in (keys, value)]
    stream = graph.back(query.input)
    own = any(isinstance(one, Linear) and graph.back(one.input) == stream for one in sources[1])
    stores = [next((one for one in found if isinstance(one, str)), "") for found in sources]
    return Attention(
        index=index, label=label, input=norm.input, query=query, keys=keys, value=value, scores=softmax.input[0],
        probabilities=softmax.output[0], context=projection.input, projection=projection,
        output=_after_residual(graph, projection.output, norm.input)[0], stores=(stores[0], stores[1]), own=own,
    )  # fmt: skip


def _sources(graph: Graph, name: str) -> Iterator[Linear | str]:
    """Yield what keys, values or queries are made of: linear maps, and inputs of the graph, past what only lays them out."""
    waiting, seen = [name], {name}
    while waiting:
        tensor = waiting.pop()
        linear = _linear_to(graph, tensor)
        node = graph.producer(tensor)
        if linear is not None:
            yield linear
        elif node is None:
            if tensor in graph.inputs:
                yield tensor
        elif node.op_type in STORING or graph.is_passive(node):
            new = [one for one in _carried(node) if one and one not in seen]
            seen.update(new)
            waiting += new


def _carried(node: Any) -> list[str]:
    """Return the inputs of a node whose values it hands on, without those that say where to."""
    if node.op_type == "ScatterND":
        return [node.input[0], node.input[2]]
    if node.op_type in ("Concat", "Mul", "Div"):
        return list(node.input)
    return list(node.input[1:]) if node.op_type == "Where" else [node.input[0]]


def _unscaled(graph: Graph, name: str) -> str:
    """Follow keys or values up to where they are not yet split into heads and scaled."""
    while True:
        name = graph.back(name, SHAPE_OPS)
        node = graph.producer(name)
        if node is None or node.op_type not in ("Mul", "Div") or _linear_to(graph, name) is not None:
            return name
        above = next((one for one in node.input if any(True for _ in _sources(graph, one))), "")
        if not above:
            return name
        name = above


def _numbered(blocks: Sequence[Attention]) -> tuple[Attention, ...]:
    return tuple(replace(one, index=index) for index, one in enumerate(blocks))


def _standing_alone(graph: Graph, inner: Any, outputs: Sequence[Any]) -> Graph:
    """Return a graph within a node as a graph of its own, with what it needs of the one around it."""
    import onnx

    whole = graph.model
    inside = {name for node in inner.node for name in node.output}
    wanted = {name for node in inner.node for name in _reads_of(node)} - inside
    around = {id(node) for node in _above(graph, *wanted)}
    nodes = [node for node in graph.nodes if id(node) in around]
    used = wanted | {name for node in nodes for name in _reads_of(node)}
    alone = onnx.GraphProto(
        name=inner.name,
        node=[*nodes, *inner.node],
        input=[one for one in whole.graph.input if one.name in used],
        initializer=[*(one for one in whole.graph.initializer if one.name in used), *inner.initializer],
        output=outputs,
    )
    names: set[str] = set()
    for node in alone.node:  # of one graph they must differ
        node.name = "" if node.name in names else node.name
        names.add(node.name)
    model = onnx.ModelProto(
        graph=alone, ir_version=whole.ir_version, opset_import=whole.opset_import, functions=whole.functions,
        metadata_props=whole.metadata_props,
    )  # fmt: skip
    return Graph(graph.path, model)


def _width(graph: Graph, block: Attention) -> int:
    """Return the width of the stream before an attention."""
    norm = _norm_to(graph, block.query.input)
    weight = graph.constant(norm.weight) if norm is not None else None
    return 0 if weight is None else weight.size


def _stride(node: Any) -> int:
    return next((one.ints[0] for one in node.attribute if one.name == "strides" and one.ints), 1)


def _is_biased(graph: Graph, name: str) -> bool:
    """Tell whether the linear maps that a stack of tensors is made of have a bias; a Whisper's values have one, its keys none."""
    return any(one.bias for one in _sources(graph, name) if isinstance(one, Linear))
