"""How a SANM recogniser with prompts is entered: which input is which, told by what the graph does with it.

No name is used. The sound is the input of three axes. Two rows of numbers pick rows of one table of weights, which are joined
with the sound: the language's row comes first, that of text normalisation stands last before the sound. What is left counts
frames. Where nothing but the sound and its length goes in, whoever calls puts the prompt rows before the sound himself.

Whatever the layout, the graph is brought to one form, so that everything after it knows but one: stacked and normalised features
(B, T, 560), their lengths, and the rows of the two prompts. Prompts from outside are joined to the sound in the graph
(``with_prompts``); a front-end in the graph is cut off (``without_front``) and its normalisation read.

**Source:** the layouts as in FunASR ``sense_voice/export_meta.py``, k2-fsa/sherpa-onnx ``scripts/sense-voice/export-onnx.py`` and
lovemefan/SenseVoice-python ``sensevoice/onnx/sense_voice_ort_session.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.graph.graph import SHAPE_OPS, Graph
from voxray.types import AnatomyError, FloatArray

FLOATS, WHOLES = (1, 10), (6, 7)  # ONNX's float32 and float16, int32 and int64
TYPES: dict[int, type[np.generic]] = {1: np.float32, 10: np.float16, 6: np.int32, 7: np.int64}
SPREADING = SHAPE_OPS | {"Expand", "Tile"}
RECURRENT = frozenset({"CumSum", "Loop", "Scan", "If", "LSTM", "GRU"})  # no plain encoder; Paraformer counts tokens with CumSum
PROMPTS = 4
EVENT_AND_EMOTION = (1, 2)  # rows of the table, always the same, between language and text normalisation


@dataclass(frozen=True, slots=True)
class Entrance:
    """The inputs of a graph by their part, and its output.

    Attributes:
        sound: (B, T, 560) stacked and normalised features, or (B, F, 80) log mel energies.
        lengths: (B,) frames of each item.
        language: (B,) row of the table; empty where the prompts come with the sound.
        textnorm: (B,) likewise.
        table: name of the weights that hold the prompt rows; empty where ``language`` is.
        logits: (B, T + 4, V) the output.
        width: of the features that a layer sees, 560.
        batch: items in each run; 0 where any number may be.
    """

    sound: str
    lengths: str
    language: str
    textnorm: str
    table: str
    logits: str
    width: int
    batch: int


def find_entrance(graph: Graph) -> Entrance | None:
    """Return the entrance of a graph; None where it is not such a recogniser."""
    inputs = graph.inputs
    sounds = [name for name, (kind, shape) in inputs.items() if kind in FLOATS and len(shape) == 3]
    wholes = [name for name, (kind, shape) in inputs.items() if kind in WHOLES and len(shape) == 1]
    logits = [name for name, (kind, shape) in graph.outputs.items() if kind in FLOATS and len(shape) == 3]
    if len(sounds) != 1 or len(logits) != 1 or len(wholes) not in (1, 3) or len(inputs) != 1 + len(wholes):
        return None
    if not graph.nodes:  # asked for in order, so that no walk meets a circle
        return None
    first, _, last = inputs[sounds[0]][1]
    batch, width = first if isinstance(first, int) else 0, last if isinstance(last, int) else 0
    if len(wholes) == 1:
        width = 0 if RECURRENT & set(graph.operators) else width
        return Entrance(sounds[0], wholes[0], "", "", "", logits[0], width, batch) if width else None
    picked = {name: found for name in wholes if (found := _picked(graph, name)) is not None}
    lengths = [name for name in wholes if name not in picked]
    if len(lengths) != 1 or len({table for table, _ in picked.values()}) != 1:
        return None
    order = _order(graph, {rows: name for name, (_, rows) in picked.items()})
    if len(order) != 2:
        return None
    table = next(table for table, _ in picked.values())
    return Entrance(sounds[0], lengths[0], *order, table, logits[0], (graph.shape(table) or (0, width))[-1], batch)


def _picked(graph: Graph, name: str) -> tuple[str, str] | None:
    """Return (table, rows) where a tensor picks rows of a table of weights."""
    users = graph.forward(name, SHAPE_OPS, lambda node, index: node.op_type == "Gather" and index == 1)
    tables = [(node.input[0], node.output[0]) for node, _ in users if graph.is_constant(node.input[0])]
    return tables[0] if len(tables) == 1 else None


def _order(graph: Graph, picked: dict[str, str]) -> tuple[str, ...]:
    """Return the inputs whose rows are joined with the sound, in the order of their rows: language, text normalisation."""
    rows = next(iter(picked))
    joint, found = _joint(graph, rows), None
    while joint is not None:
        found, joint = joint, _joint(graph, joint.output[0])
    if found is None:
        return ()
    return tuple(picked[name] for name in _leaves(graph, found) if name in picked)


def _joint(graph: Graph, name: str) -> Any | None:
    """Return the node that joins a tensor with others along the rows."""
    users = graph.forward(name, SPREADING, lambda node, _: node.op_type == "Concat" and _axis(node) in (1, -2))
    return users[0][0] if users else None


def _leaves(graph: Graph, joint: Any) -> Iterator[str]:
    """Yield what a join is made of, joins within it taken apart."""
    for name in joint.input:
        source = graph.back(name, SPREADING)
        node = graph.producer(source)
        if node is not None and node.op_type == "Concat" and _axis(node) in (1, -2):
            yield from _leaves(graph, node)
        else:
            yield source


def _axis(node: Any) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 0)


def with_prompts(graph: Graph, entrance: Entrance, table: FloatArray) -> tuple[Graph, Entrance]:
    """Return the graph with the prompt rows joined to the sound inside it, one item in each run, and how it is entered.

    Args:
        graph: whose sound comes with its prompt rows.
        entrance: of it.
        table: (R, 560) the prompt rows.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    kind, counts = (graph.inputs[name][0] for name in (entrance.sound, entrance.lengths))
    names = {part: f"voxray_{part}" for part in ("sound", "lengths", "language", "textnorm", "table")}
    constants = {
        names["table"]: table.astype(TYPES[kind]),
        "voxray_between": np.array(EVENT_AND_EMOTION, np.int64),
        "voxray_shape": np.array([1, PROMPTS, entrance.width], np.int64),
        "voxray_more": np.array([PROMPTS], TYPES[counts]),
    }
    nodes = [
        helper.make_node("Concat", [names["language"], "voxray_between", names["textnorm"]], ["voxray_rows"], axis=0),
        helper.make_node("Gather", [names["table"], "voxray_rows"], ["voxray_picked"], axis=0),
        helper.make_node("Reshape", ["voxray_picked", "voxray_shape"], ["voxray_prompts"]),
        helper.make_node("Concat", ["voxray_prompts", names["sound"]], [entrance.sound], axis=1),
        helper.make_node("Add", [names["lengths"], "voxray_more"], [entrance.lengths]),
    ]
    inputs = [helper.make_tensor_value_info(names["sound"], kind, [1, "voxray_frames", entrance.width])]
    inputs += [
        helper.make_tensor_value_info(names[part], whole, [1])
        for part, whole in (("lengths", counts), ("language", onnx.TensorProto.INT64), ("textnorm", onnx.TensorProto.INT64))
    ]
    _set(model.graph.input, inputs)
    _set(model.graph.node, [*nodes, *model.graph.node])
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return Graph(graph.path, model), Entrance(**names, logits=entrance.logits, width=entrance.width, batch=1)


def whole(graph: Graph, name: str, values: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """Return numbers in the type of whole numbers that an input of a graph declares."""
    return np.asarray(values, TYPES[graph.inputs[name][0]])


@dataclass(frozen=True, slots=True)
class Front:
    """The front-end that a graph holds.

    Attributes:
        graph: the part of the graph that makes features of a filter bank, and nothing else.
        features: its output, (B, T, 560).
        shift: (560,) float32 of its normalisation, ``(features + shift) * scale``.
        scale: (560,) float32.
    """

    graph: Graph
    features: str
    shift: FloatArray
    scale: FloatArray


def without_front(graph: Graph, entrance: Entrance) -> tuple[Graph, Entrance, Front]:
    """Return the graph with its front-end cut off, how it is entered now, and the front-end.

    The input of the filter bank stays, since the graph may take its number of frames from it, but none of its values is used.

    Raises:
        AnatomyError: when no normalisation stands where the front-end should end, or there are graphs within the graph.
    """
    import onnx
    from onnx import helper

    within = sorted({"If", "Loop", "Scan"} & set(graph.operators))
    if within:  # what a graph within uses of this one would be cut off unseen
        raise AnatomyError(
            f"{graph.path.name} takes a filter bank and holds {within[0]} nodes; use a file that takes stacked features"
        )
    shift, scale, node = _normalisation(graph, entrance)
    name = node.output[0]
    model, front = onnx.ModelProto(), onnx.ModelProto()
    model.CopyFrom(graph.model)
    front.CopyFrom(graph.model)
    _set(model.graph.node, [one for one in model.graph.node if name not in one.output])
    model.graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, None, entrance.width]))
    _set(front.graph.output, [onnx.ValueInfoProto(name=name)])
    cut, alone = (Graph(graph.path, one).pruned() for one in (model, front))
    return cut, replace(entrance, sound=name), Front(alone, name, shift, scale)


def _normalisation(graph: Graph, entrance: Entrance) -> tuple[FloatArray, FloatArray, Any]:
    """Return shift, scale and last node of the first normalisation on the way of the sound: an addition, then a product."""
    reached = {entrance.sound}
    added: dict[str, FloatArray] = {entrance.sound: np.zeros(0, np.float32)}
    for node in graph.nodes:
        entering = next((name for name in node.input if name in reached), "")
        if not entering or node.op_type == "Shape":
            continue
        reached.update(node.output)
        value = _vector(graph, node, entrance.width)
        if value is None:
            if graph.is_passive(node) and entering in added:
                added[node.output[0]] = added[entering]
        elif node.op_type in ("Add", "Sub"):
            added[node.output[0]] = value if node.op_type == "Add" else -value
        elif node.op_type in ("Mul", "Div") and len(added.get(entering, ())) == entrance.width:
            return added[entering], np.asarray(value if node.op_type == "Mul" else 1 / value, np.float32), node
    raise AnatomyError(
        f"{graph.path.name} takes a filter bank, but no normalisation of its {entrance.width} stacked features (a sum, then a "
        "product) was found; use the file as exported"
    )


def _vector(graph: Graph, node: Any, width: int) -> FloatArray | None:
    """Return the constant of a sum or product with a vector of the features' width."""
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    constants = [name for name in node.input if graph.is_constant(name)]
    value = graph.constant(constants[0]) if constants else None
    return np.asarray(value, np.float32).reshape(-1) if value is not None and value.size == width else None


def _set(field: Any, messages: list[Any]) -> None:
    """Put other messages into a repeated field of a model; its own may be among them."""
    copies = [type(one).FromString(one.SerializeToString()) for one in messages]  # a cleared list takes its messages along
    del field[:]
    field.extend(copies)
