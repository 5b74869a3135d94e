"""A Paraformer whose tokens keep their places, by three more inputs.

Hidden sound gets smaller frame weights: fewer tokens fire, and all that come after a gap slide into it. So the rows of hidden sound
would answer for other tokens than those of the sound as it is. Here the frames are divided into groups (one for each token: the
stretch that it was collected from), and the weights of each group are scaled to a given sum. As many tokens fire as before, each
from its own stretch; within it the sound decides.

**Source:** scaling to the count of tokens that is wanted: Dong and Xu 2020, "CIF", as in training; token by token: ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from voxray.graph.decoder import Float64Array, cif_weights
from voxray.graph.graph import Graph
from voxray.types import FloatArray

SHARES, LEAST, SUMS = "voxray_shares", "voxray_least", "voxray_sums"
"""Inputs, float64: (B, G, T) how each frame's weight is divided among the groups; (B, 1, T) what is added to the weights before
they are scaled; (B, G, 1) what the weights of each group shall sum to."""
DOUBLE = 11
MIXED = 0.01  # share of the original weights that is mixed in: it decides where the hidden sound has next to no weight of its own
NOTHING = 1e-9  # gives frames without weight to the token that is being collected there


def with_places(graph: Graph, alphas: str) -> Graph:
    """Return the graph with the three inputs; whatever reads the frame weights reads the scaled ones.

    Args:
        graph: the opened file.
        alphas: the inner tensor of frame weights, (B, T) float32.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    maker = next(node for node in model.graph.node if alphas in node.output)
    raw = f"{alphas}_voxray_raw"
    maker.output[list(maker.output).index(alphas)] = raw  # what reads the weights, inner graphs too, needs no change
    shapes = {"voxray_row": [0, 1, -1], "voxray_flat": [0, -1]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(shape), name) for name, shape in shapes.items())
    for name, axes in ((SHARES, ["voxray_groups", "voxray_frames"]), (LEAST, [1, "voxray_frames"]), (SUMS, ["voxray_groups", 1])):
        model.graph.input.append(helper.make_tensor_value_info(name, DOUBLE, ["voxray_batch", *axes]))
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Cast", [raw], "double", {"to": DOUBLE}),
        ("Reshape", ["voxray_double", "voxray_row"], "weights", {}),
        ("Add", ["voxray_weights", LEAST], "mixed", {}),
        ("Transpose", ["voxray_mixed"], "column", {"perm": [0, 2, 1]}),
        ("MatMul", [SHARES, "voxray_column"], "found", {}),
        ("Div", [SUMS, "voxray_found"], "factors", {}),
        ("Transpose", ["voxray_factors"], "across", {"perm": [0, 2, 1]}),
        ("MatMul", ["voxray_across", SHARES], "scale", {}),
        ("Mul", ["voxray_mixed", "voxray_scale"], "scaled", {}),
        ("Reshape", ["voxray_scaled", "voxray_flat"], "placed", {}),
    ]
    added = [helper.make_node(kind, names, [f"voxray_{name}"], **settings) for kind, names, name, settings in steps]
    added.append(helper.make_node("Cast", ["voxray_placed"], [alphas], to=TensorProto.FLOAT))
    _insert_after(model, maker, added)
    return Graph(graph.path, model)


def places(alphas: FloatArray, count: int) -> dict[str, Float64Array]:
    """Return the three inputs that keep every token where it is, for one item; on the sound itself they change nothing.

    Args:
        alphas: (T,) frame weights of the sound as it is, a tail frame included.
        count: how many tokens there are.
    """
    weights = alphas.astype(np.float64)
    tokens = cif_weights(weights + NOTHING, count)
    rest = (weights + NOTHING - tokens.sum(axis=0)).clip(0)
    groups = np.vstack([tokens, rest]) if rest.any() else tokens
    shares = groups / groups.sum(axis=0)
    return {SHARES: shares, LEAST: (MIXED * (weights + NOTHING))[None], SUMS: (shares @ weights)[:, None]}


def one_place(alphas: FloatArray, frames: int) -> dict[str, Float64Array]:
    """Return the three inputs that keep the number of tokens on sound of another length, for one item.

    Args:
        alphas: (T,) frame weights of the sound as it was.
        frames: of the other sound, a tail frame included.
    """
    total = float(alphas.sum(dtype=np.float64))
    return {
        SHARES: np.ones((1, frames)),
        LEAST: np.full((1, frames), MIXED * total / frames),
        SUMS: np.full((1, 1), total),
    }


def _insert_after(model: Any, maker: Any, added: list[Any]) -> None:
    """Put nodes right behind another one, which keeps the file's order: inner graphs too read only what was made before."""
    at = next(place for place, node in enumerate(model.graph.node) if list(node.output) == list(maker.output)) + 1
    kept = [type(node).FromString(node.SerializeToString()) for node in model.graph.node[at:]]
    del model.graph.node[at:]
    model.graph.node.extend([*added, *kept])
