"""Finds what a SANM recogniser is made of: attention, memory (FSMN), norms, feed-forward and head, by structure alone.

A node's name is used for nothing but a label. The rules: an attention Softmax lies between two products of computed tensors;
the value projection leads, past the split into q, k and v, also to a depthwise convolution (the memory); attention and memory
are added. That holds for exports by TorchScript and by torch's dynamo exporter, in fp32 and dynamically quantised.

**Source:** FunASR ``funasr/models/sense_voice/model.py``, classes ``MultiHeadedAttentionSANM`` and ``EncoderLayerSANM``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from voxray.graph.graph import SHAPE_OPS, Graph
from voxray.types import AnatomyError

FUSED_OPS = frozenset(
    {"Attention", "MultiHeadAttention", "QAttention", "PackedAttention", "PackedMultiHeadAttention", "GroupQueryAttention",
     "DecoderMaskedMultiHeadAttention", "EmbedLayerNormalization"}
)  # fmt: skip
MASKING = frozenset({"Where", "Add"})
LINEAR_OPS = frozenset({"MatMul", "Gemm", "DynamicQuantizeLinear", "MatMulNBits"})
Precision = Literal["fp32", "fp16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product with a weight, and its bias.

    Attributes:
        input: tensor that enters.
        output: tensor that leaves, bias added.
        weight: name of the (K, N) weight, quantised where ``operator`` is ``MatMulInteger``.
        bias: name of the (N,) bias, or empty.
        operator: MatMul, Gemm, MatMulInteger or MatMulNBits.
        scale: name of the weight's scale (MatMulInteger).
        zero_point: name of the weight's zero point (MatMulInteger).
    """

    input: str
    output: str
    weight: str
    bias: str
    operator: str
    scale: str = ""
    zero_point: str = ""


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm: the tensors before and after, its weights and epsilon."""

    input: str
    output: str
    weight: str
    bias: str
    epsilon: float


@dataclass(frozen=True, slots=True)
class Block:
    """One encoder layer. Every attribute without a type of its own is the name of a tensor in the graph.

    Attributes:
        index: 0 for the layer nearest to the sound.
        label: module path where the exporter left one.
        input: (B, N, D_in), the residual stream before the layer.
        norm: before attention.
        qkv: projection to query, key and value.
        value: (B, N, D), the values before the split into heads.
        scores: (B, H, N, N), input of the Softmax.
        probabilities: (B, H, N, N), its output. A masked key's score is minus infinity, so its probability is 0 here already.
        context: (B, N, D), probabilities times values, heads side by side.
        projection: the linear map after the heads.
        memory: (B, N, D), FSMN memory of the values, the values themselves included.
        taps: name of the (D, 1, K) weight of the depthwise convolution.
        attended: (B, N, D), projection plus memory.
        residual: whether the stream is added to ``attended``.
        middle: (B, N, D), the stream between attention and feed-forward.
        norm2: before feed-forward.
        feed_forward: the two linear maps.
        output: (B, N, D), the stream after the layer.
    """

    index: int
    label: str
    input: str
    norm: Norm
    qkv: Linear
    value: str
    scores: str
    probabilities: str
    context: str
    projection: Linear
    memory: str
    taps: str
    attended: str
    residual: bool
    middle: str
    norm2: Norm
    feed_forward: tuple[Linear, Linear]
    output: str

    @property
    def tensors(self) -> dict[str, str]:
        """The (B, N, D) tensors of the layer by name."""
        return {
            "input": self.input,
            "value": self.value,
            "context": self.context,
            "projection": self.projection.output,
            "memory": self.memory,
            "attended": self.attended,
            "middle": self.middle,
            "output": self.output,
        }


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What was found.

    Attributes:
        blocks: encoder layers, nearest to the sound first.
        stream_norms: norms that stand in the residual stream itself: (index of the block after it, norm). The last one, before
            the head, has the index ``len(blocks)``.
        head: the linear map to the vocabulary.
        logits: the graph output that the head feeds.
        log_softmax: whether that output is already a log-softmax.
        precision: of the linear maps.
    """

    blocks: tuple[Block, ...]
    stream_norms: tuple[tuple[int, Norm], ...]
    head: Linear
    logits: str
    log_softmax: bool
    precision: Precision


def find_anatomy(graph: Graph, logits: str) -> Anatomy:
    """Return the anatomy of a SANM encoder with a linear head.

    Args:
        graph: the opened file.
        logits: name of the graph output with a row per frame.

    Raises:
        AnatomyError: when attention is missing or fused away, or a layer lacks a part; says which.
    """
    blocks = tuple(_block(graph, index, softmax, product) for index, (softmax, product) in enumerate(_attention_nodes(graph)))
    if not blocks:
        raise AnatomyError(_why_no_attention(graph))
    source = graph.producer(graph.back(logits))
    log_softmax = source is not None and source.op_type == "LogSoftmax"
    head = _linear_to(graph, graph.back(source.input[0] if log_softmax and source else logits))
    if head is None:
        raise AnatomyError(f"{graph.path.name}: no linear map to the vocabulary leads to the output {logits!r}")
    norms = [(block.index, _norm_to(graph, block.input)) for block in blocks[1:]]
    norms.append((len(blocks), _norm_to(graph, head.input)))
    return Anatomy(
        blocks=blocks,
        stream_norms=tuple((index, norm) for index, norm in norms if norm),
        head=head,
        logits=logits,
        log_softmax=log_softmax,
        precision=_precision(graph, blocks[0].qkv),
    )


def _attention_nodes(graph: Graph) -> list[tuple[Any, Any]]:
    """Return (Softmax, product with the values) of every attention, in topological order."""
    found = []
    for node in graph.nodes:
        if node.op_type != "Softmax":
            continue
        if graph.upstream(node.input[0], MASKING, lambda one: _multiplies_computed(graph, one)) is None:
            continue
        products = graph.forward(node.output[0], MASKING, lambda user, index: user.op_type == "MatMul" and index == 0)
        found += [(node, user) for user, _ in products[:1] if not graph.is_constant(user.input[1])]
    return found


def _multiplies_computed(graph: Graph, node: Any) -> bool:
    return node.op_type == "MatMul" and not any(map(graph.is_constant, node.input))


def _block(graph: Graph, index: int, softmax: Any, product: Any) -> Block:
    label = _label(softmax, index)

    def need(part: Any, what: str) -> Any:
        if part is None:
            raise AnatomyError(
                f"{graph.path.name}: attention layer {index} ({label}) has no {what} where one was expected; "
                "the file may be optimised or of another architecture: use the file as exported"
            )
        return part

    value = graph.back(product.input[1], SHAPE_OPS)
    split = need(_maker(graph, value, "Split"), "split into query, key and value")
    qkv = need(_linear_to(graph, split.input[0]), "projection to query, key and value")
    norm = need(_norm_to(graph, qkv.input), "layer norm before attention")
    projection = need(_linear_from(graph, product.output[0]), "projection after the heads")
    memory, convolution, attended = need(_memory(graph, value, projection.output), "FSMN memory beside attention")
    middle, residual = _after_residual(graph, attended, norm.input)
    norm2 = need(_norm_from(graph, middle), "layer norm before feed-forward")
    first = need(_linear_from(graph, norm2.output), "first feed-forward map")
    relu = need(_only_user(graph, first.output, "Relu"), "ReLU in its feed-forward")
    second = need(_linear_from(graph, relu.output[0]), "second feed-forward map")
    output, _ = _after_residual(graph, second.output, middle)
    return Block(
        index=index, label=label, input=norm.input, norm=norm, qkv=qkv, value=value, scores=softmax.input[0],
        probabilities=softmax.output[0], context=projection.input, projection=projection, memory=memory,
        taps=convolution.input[1], attended=attended, residual=residual, middle=middle, norm2=norm2,
        feed_forward=(first, second), output=output,
    )  # fmt: skip


def _maker(graph: Graph, name: str, operator: str) -> Any | None:
    node = graph.producer(name)
    return node if node is not None and node.op_type == operator else None


def _only_user(graph: Graph, name: str, operator: str) -> Any | None:
    users = graph.forward(name, frozenset(), lambda node, _: node.op_type == operator)
    return users[0][0] if users else None


def _linear_from(graph: Graph, name: str) -> Linear | None:
    """Return the first linear map that a tensor enters, past reshapes."""

    def is_map(node: Any, index: int) -> bool:
        if node.op_type == "DynamicQuantizeLinear":
            return True
        return node.op_type in LINEAR_OPS and index == 0 and graph.is_constant(node.input[1])

    for node, entering in graph.forward(name, SHAPE_OPS, is_map):
        if node.op_type != "DynamicQuantizeLinear":
            return _linear(graph, node, entering)
        for user, index in graph.consumers(node.output[0]):
            if user.op_type == "MatMulInteger" and index == 0:
                return _linear(graph, user, entering)
    return None


def _linear_to(graph: Graph, name: str) -> Linear | None:
    """Return the linear map whose result, bias added, is a tensor."""
    node = graph.producer(graph.back(name))
    if node is not None and node.op_type == "Add":
        node = graph.producer(graph.back(graph.computed_input(node)))
    if node is not None and node.op_type == "Mul":  # int32 sums times (scale of the input x scale of the weight)
        candidates = [graph.producer(graph.back(name)) for name in node.input]
        node = next((one for one in candidates if one is not None and one.op_type == "MatMulInteger"), None)
    if node is None:
        return None
    if node.op_type == "MatMulInteger":
        source = graph.producer(node.input[0])
        return None if source is None else _linear(graph, node, source.input[0])
    if node.op_type not in LINEAR_OPS or not graph.is_constant(node.input[1]):
        return None
    return _linear(graph, node, node.input[0])


def _linear(graph: Graph, node: Any, entering: str) -> Linear:
    """Describe a product with a weight, following it down to where its bias is added."""
    result, scale, zero_point = node.output[0], "", ""
    if node.op_type == "MatMulInteger":
        zero_point = node.input[3] if len(node.input) > 3 else ""
        rescales = graph.forward(result, frozenset(), lambda user, _: user.op_type == "Mul")
        factors = [graph.producer(name) for user, _ in rescales[:1] for name in user.input if graph.back(name) != result]
        scale = next((name for one in factors if one is not None for name in one.input if graph.is_constant(name)), "")
        if not scale:
            raise AnatomyError(
                f"{graph.path.name}: the quantised product with {node.input[1]!r} is not scaled back as dynamic "
                "quantisation does it, so it cannot be checked; use the file as exported"
            )
        result = rescales[0][0].output[0]
    if node.op_type == "Gemm":
        bias = node.input[2] if len(node.input) > 2 else ""
        return Linear(entering, result, node.input[1], bias, node.op_type)
    for user, _ in graph.consumers(result):
        biases = [name for name in user.input if graph.is_constant(name)]
        if user.op_type == "Add" and biases:
            return Linear(entering, user.output[0], node.input[1], biases[0], node.op_type, scale, zero_point)
    return Linear(entering, result, node.input[1], "", node.op_type, scale, zero_point)


def _norm_to(graph: Graph, name: str) -> Norm | None:
    """Return the layer norm whose result is a tensor: one node, or its nine parts."""
    name = graph.back(name)
    node = graph.producer(name)
    if node is None:
        return None
    if node.op_type == "LayerNormalization":
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        bias = node.input[2] if len(node.input) > 2 else ""
        return Norm(graph.back(node.input[0]), name, node.input[1], bias, epsilon)
    scaled = _maker(graph, graph.computed_input(node), "Mul") if node.op_type == "Add" else None
    divided = _maker(graph, graph.computed_input(scaled), "Div") if scaled is not None else None
    centred = _maker(graph, divided.input[0], "Sub") if divided is not None else None
    root = _maker(graph, divided.input[1], "Sqrt") if divided is not None else None
    variance = _maker(graph, root.input[0], "Add") if root is not None else None
    if scaled is None or centred is None or variance is None:
        return None
    weight, bias, small = (next(filter(graph.is_constant, one.input), "") for one in (scaled, node, variance))
    epsilon = graph.constant(small)
    if not weight or not bias or epsilon is None or epsilon.size != 1:
        return None
    return Norm(graph.back(centred.input[0]), name, weight, bias, float(epsilon))


def _norm_from(graph: Graph, name: str) -> Norm | None:
    """Return the layer norm that a tensor enters."""
    starts = graph.forward(name, frozenset(), lambda node, _: node.op_type in ("LayerNormalization", "Sub"))
    for node, _ in starts:
        if node.op_type == "LayerNormalization":
            return _norm_to(graph, node.output[0])
        ends = graph.forward(
            node.output[0],
            frozenset({"Div", "Mul"}),
            lambda user, _: user.op_type == "Add" and _has_constant(graph, user),
        )
        for user, _ in ends:
            norm = _norm_to(graph, user.output[0])
            if norm is not None:
                return norm
    return None


def _has_constant(graph: Graph, node: Any) -> bool:
    return any(graph.is_constant(name) for name in node.input)


def _memory(graph: Graph, value: str, projected: str) -> tuple[str, Any, str] | None:
    """Return (memory, depthwise convolution, attended) where the values' convolution is added to the projection."""

    def is_depthwise(node: Any, index: int) -> bool:
        group = next((one.i for one in node.attribute if one.name == "group"), 1)
        return node.op_type == "Conv" and index == 0 and group > 1 and graph.is_constant(node.input[1])

    convolutions = graph.forward(value, SHAPE_OPS | {"Mul", "Pad"}, is_depthwise)
    for convolution, _ in convolutions[:1]:
        for node, entering in graph.forward(
            convolution.output[0],
            SHAPE_OPS | {"Mul", "Add"},
            lambda user, _: user.op_type == "Add" and projected in user.input,
        ):
            return entering, convolution, node.output[0]
    return None


def _after_residual(graph: Graph, update: str, stream: str) -> tuple[str, bool]:
    """Return the stream after an update is added to it; without such an addition the update is the stream."""
    sums = graph.forward(update, frozenset(), lambda node, _: node.op_type == "Add" and not _has_constant(graph, node))
    for node, entering in sums:
        other = next((name for name in node.input if name != entering), entering)
        if graph.back(other) == graph.back(stream):
            return node.output[0], True
    return update, False


def _precision(graph: Graph, linear: Linear) -> Precision:
    if linear.operator == "MatMulInteger":
        return "int8"
    if linear.operator == "MatMulNBits":
        return "int4"
    import onnx

    kinds = {tensor.name: tensor.data_type for tensor in graph.model.graph.initializer}
    return "fp16" if kinds.get(linear.weight) == onnx.TensorProto.FLOAT16 else "fp32"


def _label(softmax: Any, index: int) -> str:
    """Return the module path that the exporter left in a node's name or metadata, else a number."""
    parts = [part for part in softmax.name.split("/") if part][:-1]
    if parts:
        return "/".join(part for part in parts if part != "self_attn")
    return f"layer {index}"


def _why_no_attention(graph: Graph) -> str:
    fused = {name: count for name, count in graph.operators.items() if name in FUSED_OPS}
    if fused:
        found = ", ".join(f"{count} {name}" for name, count in fused.items())
        return (
            f"{graph.path.name}: attention is fused into single nodes ({found}), so its weights cannot be read; "
            "use the file as exported, before graph optimisation"
        )
    return f"{graph.path.name}: no attention was found in its {len(graph.nodes)} nodes; a SANM encoder was expected"
