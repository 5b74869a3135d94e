"""Damage planted in one layer of a model: what ``compare_models`` must find again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from voxray.graph.anatomy import Linear, find_anatomy
from voxray.graph.graph import Graph

BESIDE = ("*.mvn", "tokens.*", "*.bpe.model", "config.yaml")


def planted(source: Path, folder: Path, layer: int, *, bits: int = 4, logits: str = "ctc_logits") -> Path:
    """Write a copy of a model in which the products of one layer have weights of so few bits; all else is as it was.

    The weights keep their type (fp32, or 8 bits with scale and zero point); they only take fewer values: each column has 2^bits - 1
    levels, evenly spread to both sides of 0 as far as its largest weight.
    """
    folder.mkdir(parents=True)
    for pattern in BESIDE:
        for file in source.parent.glob(pattern):
            shutil.copy(file, folder)
    block = find_anatomy(Graph(source), logits).blocks[layer]
    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for linear in (block.qkv, block.projection, *block.feed_forward):
        tensor = weights[linear.weight]
        stored = numpy_helper.to_array(tensor)
        scale, zero = _grid(linear, weights)
        values = (stored.astype(np.float32) - zero) * scale
        step = np.abs(values).max(axis=0) / (2 ** (bits - 1) - 1)
        coarse = np.rint(values / np.where(step > 0, step, 1)) * step
        whole = coarse if stored.dtype.kind == "f" else np.clip(np.rint(coarse / scale) + zero, *_range(stored.dtype))
        tensor.CopyFrom(numpy_helper.from_array(whole.astype(stored.dtype), tensor.name))
    onnx.save(model, folder / source.name)
    return folder / source.name


def _grid(linear: Linear, weights: dict[str, onnx.TensorProto]) -> tuple[np.ndarray, np.ndarray]:
    if not linear.scale:
        return np.ones(1, np.float32), np.zeros(1, np.float32)
    scale = numpy_helper.to_array(weights[linear.scale])
    return scale, numpy_helper.to_array(weights[linear.zero_point]).astype(np.float32) if linear.zero_point else np.zeros(1)


def _range(kind: np.dtype) -> tuple[int, int]:
    told = np.iinfo(kind)
    return int(told.min), int(told.max)
