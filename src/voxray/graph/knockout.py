"""A model in which some rows can be hidden from all others, in every layer, by two more inputs.

Attention to a hidden row is cut and the rest renormalised; a row that looked at nothing else gets nothing. The memory's filter
sees zeros there. What a row keeps of itself through the residual, and through the memory's own copy of the values, stays.

**Source:** Mohebbi et al. 2023, "Quantifying Context Mixing in Transformers", for the idea of cutting the values of a span.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from voxray.graph.anatomy import Anatomy, Block
from voxray.graph.graph import Graph
from voxray.types import AnatomyError

KEYS, FRAMES = "voxray_keep_keys", "voxray_keep_frames"
"""Inputs: (1, 1, 1, N) float32 and (1, 1, N) float32, 1 where a row may be looked at, 0 where not."""
FLOAT, LEAST = 1, 1e-30


def with_knockout(graph: Graph, anatomy: Anatomy) -> Graph:
    """Return the graph with the two inputs.

    Raises:
        AnatomyError: when the way to a layer's memory is not as expected.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    axes, least = "voxray_last_axis", "voxray_least"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1]), axes))
    model.graph.initializer.append(numpy_helper.from_array(np.array(LEAST, np.float32), least))
    for name, axes_before in ((KEYS, 3), (FRAMES, 2)):
        model.graph.input.append(helper.make_tensor_value_info(name, FLOAT, [*[1] * axes_before, "voxray_rows"]))
    renamed, added = {}, []
    for block in anatomy.blocks:
        stem, source = f"voxray_cut_{block.index}", _entrance(graph, block)
        added += [
            helper.make_node("Mul", [block.probabilities, KEYS], [f"{stem}_kept"]),
            helper.make_node("ReduceSum", [f"{stem}_kept", axes], [f"{stem}_sum"], keepdims=1),
            helper.make_node("Max", [f"{stem}_sum", least], [f"{stem}_total"]),
            helper.make_node("Div", [f"{stem}_kept", f"{stem}_total"], [f"{stem}_weights"]),
            helper.make_node("Mul", [source.input[0], FRAMES], [f"{stem}_values"]),
        ]
        renamed[block.probabilities] = f"{stem}_weights"
        _node(model, source).input[0] = f"{stem}_values"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in renamed:
                node.input[place] = renamed[name]
    model.graph.node.extend(added)
    _sort(graph, model)
    return Graph(graph.path, model)


def _entrance(graph: Graph, block: Block) -> Any:
    """Return the node by which the values, (B, D, N), enter the memory's convolution: the padding, or the convolution itself."""
    (convolution,) = [node for node, index in graph.consumers(block.taps) if index == 1 and node.op_type == "Conv"] or [None]
    if convolution is None:
        raise AnatomyError(f"{graph.path.name}: the filter of layer {block.index} enters no convolution; use the file as exported")
    above = graph.producer(convolution.input[0])
    return above if above is not None and above.op_type == "Pad" else convolution


def _node(model: Any, like: Any) -> Any:
    return next(node for node in model.graph.node if list(node.output) == list(like.output))


def _sort(graph: Graph, model: Any) -> None:
    """Put the nodes into topological order, which ONNX asks for."""
    ordered = [type(node).FromString(node.SerializeToString()) for node in Graph(graph.path, model).nodes]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
