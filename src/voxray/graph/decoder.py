"""Finds what stands between an encoder and its text: cross-attention and the integrate-and-fire block, by structure alone.

Names of nodes and tensors are used for nothing but labels. The rules: attention whose queries and values come from the same
tensor is the encoder's own; where the values come from the encoder's result and the queries from elsewhere, it is
cross-attention. The count of tokens is the rounded sum of one weight for each frame (the alphas), and the tensor that enters the
first decoder layer is built from them: token u collects frames until the running sum of the alphas passes u + 1.

**Source:** Dong and Xu 2020, "CIF: Continuous Integrate-and-Fire"; FunASR ``funasr/models/paraformer/cif_predictor.py``
(``CifPredictorV2Export``, ``cif_v1_export``) and ``decoder.py`` (``ParaformerDecoderSANMExport``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import (
    MASKING,
    Anatomy,
    Linear,
    _after_residual,
    _attention_nodes,
    _block,
    _label,
    _linear_from,
    _linear_to,
    _multiplies_computed,
    _norm_to,
    _precision,
    _why_no_attention,
)
from voxray.graph.graph import SHAPE_OPS, Graph
from voxray.graph.proof import REBUILD_TOLERANCE, _apply, _relative
from voxray.graph.session import Feeds
from voxray.types import AnatomyError

ROUNDING = frozenset({"Floor", "Round", "Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"})
REMEDY = "use the file as exported, before graph optimisation"
ROW_SUM_TOLERANCE = 1e-4
EMBEDDING_TOLERANCE = 1e-4  # relative; the graph integrates in single precision
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CrossBlock:
    """One layer's attention from tokens to frames. Every attribute without a type of its own is the name of a tensor.

    Attributes:
        index: 0 for the layer nearest to the token embeddings.
        label: module path where the exporter left one.
        input: (B, U, D), the decoder's stream before the attention.
        query: the map from the normed stream to queries.
        source: the map from the encoder's result to keys and values.
        value: (B, T, D), the values before the split into heads.
        probabilities: (B, H, U, T), output of the Softmax.
        context: (B, U, D), probabilities times values, heads side by side.
        projection: the linear map after the heads.
        output: (B, U, D), the stream after the attention.
    """

    index: int
    label: str
    input: str
    query: Linear
    source: Linear
    value: str
    probabilities: str
    context: str
    projection: Linear
    output: str


@dataclass(frozen=True, slots=True)
class Decoder:
    """What was found beyond the encoder. Attributes without a type are names of tensors.

    Attributes:
        blocks: layers with cross-attention, nearest to the token embeddings first.
        memory: (B, T, D), the encoder's result.
        alphas: (B, T + 1), how much of a token each frame holds, the tail frame last; without a tail (B, T).
        embeddings: (B, U, D), the token embeddings that integrate-and-fire makes of ``memory``.
    """

    blocks: tuple[CrossBlock, ...]
    memory: str
    alphas: str
    embeddings: str


@dataclass(frozen=True, slots=True)
class DecoderProof:
    """What was measured.

    Attributes:
        heads: cross-attention heads in every layer.
        rebuild_errors: for each layer, largest absolute error of the rebuilt output over the largest absolute output.
        row_sum_error: how far the sum of any row of cross-attention is from 1.
        embedding_error: relative error of the token embeddings rebuilt from the alphas and the encoder's result.
    """

    heads: int
    rebuild_errors: tuple[float, ...]
    row_sum_error: float
    embedding_error: float


def find_alphas(graph: Graph, count: str) -> str | None:
    """Return the tensor of frame weights whose rounded sum is the count of tokens, or None where the count is made otherwise.

    The weights come from a sigmoid; the rounded sum of a mask is a length.

    Args:
        graph: the opened file.
        count: the graph output (B,) that says how many tokens there are.
    """
    node = graph.producer(count)
    rounded = False
    while node is not None and node.op_type in ROUNDING:
        rounded |= node.op_type in ("Floor", "Round") or _to_integer(node)
        node = graph.producer(node.input[0])
    if node is None or node.op_type != "ReduceSum" or not rounded:
        return None
    alphas = graph.back(node.input[0])
    return alphas if any(above.op_type == "Sigmoid" for above in _above(graph, alphas)) else None


def find_encoder(graph: Graph, logits: str) -> Anatomy:
    """Return the anatomy of the SANM encoder of a model that has a decoder too; its head is the map to the vocabulary.

    Args:
        graph: the opened file.
        logits: name of the graph output with a row for each token.

    Raises:
        AnatomyError: when self-attention is missing or fused away, or a layer lacks a part; says which.
    """
    own = [one for one in _attention_nodes(graph) if _is_own(graph, *one)]
    blocks = tuple(_block(graph, index, softmax, product) for index, (softmax, product) in enumerate(own))
    if not blocks:
        raise AnatomyError(_why_no_attention(graph))
    head = next(_linear_maps(graph, logits), None)
    if head is None:
        raise AnatomyError(f"{graph.path.name}: no linear map to the vocabulary leads to the output {logits!r}")
    norms = [(block.index, _norm_to(graph, block.input)) for block in blocks[1:]]
    source = graph.producer(graph.back(logits))
    return Anatomy(
        blocks=blocks,
        stream_norms=tuple((index, norm) for index, norm in norms if norm),
        head=head,
        logits=logits,
        log_softmax=source is not None and source.op_type == "LogSoftmax",
        precision=_precision(graph, blocks[0].qkv),
    )


def find_decoder(graph: Graph, encoder: Anatomy, alphas: str) -> Decoder:
    """Return the decoder that reads an encoder's result.

    Args:
        graph: the opened file.
        encoder: what ``find_encoder`` found.
        alphas: what ``find_alphas`` found.

    Raises:
        AnatomyError: when no cross-attention to the encoder is found, or a layer lacks a part.
    """
    last = graph.back(encoder.blocks[-1].output)
    pairs, found = _attention_nodes(graph), list[CrossBlock]()
    _check_none_lost(graph, {id(softmax) for softmax, _ in pairs}, last)
    for softmax, product in pairs:
        source = _source(graph, product.input[1])
        if source is None or _is_own(graph, softmax, product) or not _reads(graph, source.input, last):
            continue  # a decoder may also attend to hotwords
        found.append(_cross_block(graph, len(found), softmax, product))
    if not found:
        raise AnatomyError(f"{graph.path.name}: no cross-attention from tokens to the encoder's frames was found; {REMEDY}")
    embeddings = _entering(graph, found[0].input)
    if embeddings is None:
        raise AnatomyError(f"{graph.path.name}: the token embeddings that enter the decoder were not found; {REMEDY}")
    return Decoder(tuple(found), found[0].source.input, alphas, embeddings)


def prove_decoder(graph: Graph, encoder: Anatomy, decoder: Decoder, values: Feeds, count: int) -> DecoderProof:
    """Return the measured errors of a decoder's anatomy on one sound.

    Args:
        graph: the opened file, for its weights.
        encoder: for the precision.
        decoder: what was found.
        values: the tensors that ``evidence_of`` names, by name, of one item.
        count: how many tokens the graph says there are.

    Raises:
        AnatomyError: when an error is above its tolerance, or the layers have different numbers of heads.
    """
    heads = {values[block.probabilities].shape[1] for block in decoder.blocks}
    weights = cif_weights(values[decoder.alphas][0], count)
    memory = values[decoder.memory][0].astype(np.float64)
    rebuilt = weights[:, : len(memory)] @ memory  # the tail frame is a row of zeros
    sums = [np.abs(values[block.probabilities].sum(axis=-1, dtype=np.float64) - 1).max() for block in decoder.blocks]
    proof = DecoderProof(
        heads=max(heads),
        rebuild_errors=tuple(_rebuild_error(graph, block, values) for block in decoder.blocks),
        row_sum_error=float(max(sums)),
        embedding_error=_relative(rebuilt.astype(np.float32), values[decoder.embeddings][0]),
    )
    if len(heads) > 1:
        raise AnatomyError(f"{graph.path.name}: cross-attention layers have different numbers of heads: {sorted(heads)}")
    worst = int(np.argmax(proof.rebuild_errors))
    limit = REBUILD_TOLERANCE[encoder.precision]
    limits = (
        (proof.row_sum_error, ROW_SUM_TOLERANCE, "rows of cross-attention do not sum to 1"),
        (
            proof.rebuild_errors[worst],
            limit,
            f"decoder layer {worst} cannot be rebuilt from its attention",
        ),
        (proof.embedding_error, EMBEDDING_TOLERANCE, "the token embeddings cannot be rebuilt from the alphas"),
    )
    for error, most, what in limits:
        if not error <= most:
            raise AnatomyError(f"{graph.path.name}: {what} (error {error:.1e}, at most {most:.0e} is allowed); {REMEDY}")
    return proof


def evidence_of(decoder: Decoder) -> list[str]:
    """Return the tensors that ``prove_decoder`` wants."""
    names = [decoder.alphas, decoder.memory, decoder.embeddings]
    for block in decoder.blocks:
        names += [block.input, block.value, block.probabilities, block.context, block.projection.output, block.output]
    return list(dict.fromkeys(names))


def cif_weights(alphas: npt.NDArray[np.floating[Any]], count: int) -> Float64Array:
    """Return how much of each token comes from each frame: (T,) and U -> (U, T) float64, rows that sum to 1.

    Token u takes of frame t what the stretch of the running sum that this frame adds has in common with [u, u + 1].

    Args:
        alphas: frame weights, 0 or more, a tail frame included where the graph adds one.
        count: how many tokens there are.

    **Source:** Dong and Xu 2020 in closed form; FunASR ``cif_v1_export`` sums in double precision likewise.
    """
    after = np.cumsum(alphas.astype(np.float64))
    before = np.concatenate([[0.0], after[:-1]])
    first = np.arange(count, dtype=np.float64)[:, None]
    return np.asarray(np.clip(np.minimum(after, first + 1) - np.maximum(before, first), 0.0, None))


def without_decoder(graph: Graph, tensors: list[str]) -> Graph:
    """Return the part of a graph that some tensors need, which then are its outputs.

    A decoder without a token fails in many exports; the encoder before it runs on any sound.

    Args:
        graph: the opened file.
        tensors: names of inner tensors.
    """
    import onnx

    needed = {id(node) for node in _above(graph, *tensors)}
    wanted = dict.fromkeys(tensors)
    nodes = [node for node in graph.nodes if id(node) in needed]
    used = {name for node in nodes for name in _reads_of(node)}
    whole = graph.model.graph
    part = onnx.GraphProto(
        name=whole.name,
        node=nodes,
        input=[one for one in whole.input if one.name in used],
        initializer=[one for one in whole.initializer if one.name in used],
        output=[onnx.ValueInfoProto(name=name) for name in wanted],
    )
    head = graph.model
    model = onnx.ModelProto(graph=part, ir_version=head.ir_version, opset_import=head.opset_import, functions=head.functions)
    return Graph(graph.path, model)


def _rebuild_error(graph: Graph, block: CrossBlock, values: Feeds) -> float:
    """Return the larger relative error: of attention times values, and of stream plus projection."""
    probabilities, value = values[block.probabilities], values[block.value]
    batch, rows, width = value.shape
    heads = probabilities.shape[1]
    split = value.reshape(batch, rows, heads, width // heads).transpose(0, 2, 1, 3)
    context = (probabilities @ split).transpose(0, 2, 1, 3).reshape(batch, -1, width)
    output = values[block.input] + _apply(graph, block.projection, values)
    errors = (_relative(context, values[block.context]), _relative(output, values[block.output]))
    return max(errors) if np.isfinite(errors).all() else float("inf")


def _cross_block(graph: Graph, index: int, softmax: Any, product: Any) -> CrossBlock:
    query = _source(graph, _queries(graph, softmax))
    source = _source(graph, product.input[1])
    projection = _linear_from(graph, product.output[0])
    norm = _norm_to(graph, query.input) if query is not None else None
    if query is None or source is None or projection is None or norm is None:
        parts = {"map to queries": query, "map to keys and values": source, "projection": projection, "layer norm": norm}
        missing = next(name for name, part in parts.items() if part is None)
        raise AnatomyError(f"{graph.path.name}: cross-attention layer {index} has no {missing} where one was expected; {REMEDY}")
    return CrossBlock(
        index=index,
        label=_label(softmax, index),
        input=norm.input,
        query=query,
        source=source,
        value=graph.back(product.input[1], SHAPE_OPS),
        probabilities=softmax.output[0],
        context=projection.input,
        projection=projection,
        output=_after_residual(graph, projection.output, norm.input)[0],
    )


def _check_none_lost(graph: Graph, known: set[int], last: str) -> None:
    """Refuse a graph in which attention to the encoder's result does not lead straight to a product with values."""
    for node in graph.nodes:
        if node.op_type != "Softmax" or id(node) in known:
            continue
        product = _scores_of(graph, node)
        keys = _source(graph, product.input[1]) if product is not None else None
        if keys is not None and _reads(graph, keys.input, last):
            raise AnatomyError(f"{graph.path.name}: the attention {_label(node, 0)} is changed before it is used; {REMEDY}")


def _scores_of(graph: Graph, softmax: Any) -> Any | None:
    """Return the product of queries and keys that enters a Softmax."""
    return graph.upstream(softmax.input[0], MASKING, lambda one: _multiplies_computed(graph, one))


def _queries(graph: Graph, softmax: Any) -> str:
    """Return the queries whose product with the keys enters a Softmax."""
    product = _scores_of(graph, softmax)
    return str(product.input[0]) if product is not None else ""


def _source(graph: Graph, name: str) -> Linear | None:
    """Return the linear map that made queries, keys or values, past the split into heads and into parts."""
    name = graph.back(name, SHAPE_OPS)
    node = graph.producer(name)
    if node is not None and node.op_type in ("Split", "Slice"):
        name = graph.back(node.input[0], SHAPE_OPS)
    return _linear_to(graph, name)


def _is_own(graph: Graph, softmax: Any, product: Any) -> bool:
    """Tell whether attention's queries and values come from the same tensor."""
    query, source = _source(graph, _queries(graph, softmax)), _source(graph, product.input[1])
    return query is not None and source is not None and graph.back(query.input) == graph.back(source.input)


def _reads(graph: Graph, name: str, result: str) -> bool:
    """Tell whether a tensor is the encoder's result, or that after its last norm."""
    norm = _norm_to(graph, name)
    return graph.back(name) == result or (norm is not None and graph.back(norm.input) == result)


def _entering(graph: Graph, stream: str) -> str | None:
    """Return the tensor that enters the decoder's first layer: of the addends of the stream, the one that the other is made of."""
    node = graph.producer(graph.back(stream))
    if node is None or node.op_type != "Add" or len(node.input) != 2:
        return None
    for one, other in (tuple(node.input), tuple(node.input)[::-1]):
        maker = graph.producer(graph.back(one))
        if maker is not None and any(maker is above for above in _above(graph, other)):
            return graph.back(one)
    return None


def _linear_maps(graph: Graph, name: str) -> Iterator[Linear]:
    """Yield the linear maps above a tensor, nearest first."""
    for node in _above(graph, name):
        if node.op_type in ("MatMul", "Gemm", "MatMulInteger", "MatMulNBits"):
            found = _linear_from(graph, node.input[0]) if node.op_type != "MatMulInteger" else _linear_above(graph, node)
            if found is not None:
                yield found


def _linear_above(graph: Graph, node: Any) -> Linear | None:
    """Return the linear map of a quantised product."""
    source = graph.producer(node.input[0])
    return None if source is None else _linear_from(graph, source.input[0])


def _above(graph: Graph, *names: str) -> Iterator[Any]:
    """Yield every node that some tensors depend on, nearest first, each once."""
    waiting, seen = deque(names), set()
    while waiting:
        node = graph.producer(waiting.popleft())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting.extend(_reads_of(node))


def _reads_of(node: Any) -> list[str]:
    """Return the tensors that a node reads, those that its inner graphs take from outside among them."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            names += [name for one in inner.node for name in _reads_of(one)]
    return names


def _to_integer(node: Any) -> bool:
    import onnx

    whole = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    return node.op_type == "Cast" and any(one.name == "to" and one.i in whole for one in node.attribute)
