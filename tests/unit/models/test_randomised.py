"""Randomised models: what changes is the order of the weights that were named, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.graph.graph import Graph
from voxray.graph.shuffle import shuffled
from voxray.graph.weights import linear_parts, norm_weights
from voxray.models.exchange import randomised
from voxray.types import AnatomyError, OptionError


def parts_of(model: Any, layer: int) -> dict[str, np.ndarray]:
    """Every weight of a layer, or of what comes after them, as real numbers."""
    graph, anatomy = model.graph, model.anatomy
    if layer == model.layers:
        linears, norms = {"head": anatomy.head}, dict(anatomy.stream_norms)
        norms = {"last norm": norms[layer]} if layer in norms else {}
        found = {}
    else:
        block = anatomy.blocks[layer]
        linears = {"qkv": block.qkv, "projection": block.projection, "in": block.feed_forward[0], "out": block.feed_forward[1]}
        norms = {"norm": block.norm, "norm2": block.norm2}
        found = {"taps": np.asarray(graph.constant(block.taps), np.float32)}
    for name, one in linears.items():
        found[name], found[f"{name} bias"] = linear_parts(graph, one)
    for name, one in norms.items():
        told = norm_weights(graph, one)
        found[name], found[f"{name} shift"] = told.scale, told.shift
    return found


@pytest.mark.parametrize("name", ["bundled", "bundled_int8"])
def test_numbers_stay_and_places_change(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    other = randomised(model, "all", seed=3)
    compared = 0
    for layer in range(model.layers + 1):
        before, after = parts_of(model, layer), parts_of(other, layer)
        for part, values in before.items():
            assert np.array_equal(np.sort(values, axis=None), np.sort(after[part], axis=None)), (layer, part)
            assert after[part].mean(dtype=np.float64) == pytest.approx(values.mean(dtype=np.float64), rel=1e-9, abs=1e-12)
            assert after[part].std(dtype=np.float64) == pytest.approx(values.std(dtype=np.float64), rel=1e-9)
            compared += 1
            if values.size > 1000 and not part.endswith(("bias", "shift")):
                assert abs(np.corrcoef(values.ravel(), after[part].ravel())[0, 1]) < 0.1, (layer, part)
    assert compared == 13 * model.layers + 4


@pytest.mark.parametrize(
    ("parts", "changed"),
    [("head", {14}), ("layers", set(range(14))), ("all", set(range(15))), ([2, 5], {2, 5}), ([14, 13], {13, 14})],
)
def test_what_was_not_named_is_bit_equal(parts: Any, changed: set[int], bundled: Any) -> None:
    other = randomised(bundled, parts, seed=0)
    assert bundled.layers == 14
    for layer in range(15):
        same = [np.array_equal(one, parts_of(other, layer)[part]) for part, one in parts_of(bundled, layer).items()]
        assert all(same) if layer not in changed else not any(same[:2]), layer


def test_the_seed_decides(bundled: Any, clips: Path) -> None:
    first, again, second = (randomised(bundled, "all", seed=seed) for seed in (0, 0, 1))
    clip = clips / "en_neutral_speech.wav"
    rows = [one.trace(clip).log_probs for one in (bundled, first, again, second)]
    assert all(np.isfinite(one).all() for one in rows)
    assert np.array_equal(rows[1], rows[2])
    assert (rows[0].argmax(axis=1) == rows[1].argmax(axis=1)).mean() < 0.05
    assert (rows[1].argmax(axis=1) == rows[3].argmax(axis=1)).mean() < 0.5
    assert len({one.info.sha256 for one in (bundled, first, second)}) == 3
    assert first.info == again.info
    assert first.info.name == f"{bundled.info.name} (all randomised with seed 0)"
    assert (first.layers, first.heads, first.vocabulary) == (14, 4, bundled.vocabulary)


def test_one_layer_has_the_same_order_whatever_else_is_named(bundled: Any) -> None:
    alone, among = randomised(bundled, [7], seed=5), randomised(bundled, "all", seed=5)
    for part, values in parts_of(alone, 7).items():
        assert np.array_equal(values, parts_of(among, 7)[part]), part


def test_no_file_is_left(bundled: Any) -> None:
    folder = bundled.graph.path.parent
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    randomised(bundled, "head", seed=0)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "name",
    ["sensevoice-dynamo/model_int8.onnx", "sensevoice-lovemefan/sense-voice-encoder.onnx", "sensevoice-sherpa/model.int8.onnx"],
)
def test_every_layout(name: str, shared_fixtures: Path, data: Path) -> None:
    model = voxray.load_model(shared_fixtures / name)
    other = randomised(model, "all", seed=1)
    own, found = (one.trace(data / "audio" / "odd.wav").log_probs for one in (model, other))
    assert np.isfinite(found).all()
    assert np.abs(own - found).mean() > 1.0


def test_what_cannot_be_randomised_is_said(bundled: Any, data: Path) -> None:
    with pytest.raises(OptionError, match=r"paraformer.* has no stack of SANM layers with a head, so it cannot be randomised"):
        randomised(voxray.load_model(data / "paraformer-funasr" / "model.onnx"), "all", seed=0)
    with pytest.raises(OptionError, match="there is no part 'tail' to randomise; choose head, layers, all or numbers of layers"):
        randomised(bundled, "tail", seed=0)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="layer 15 does not exist; give numbers from 0 to 13, or 14 for the output head"):
        randomised(bundled, [3, 15], seed=0)
    with pytest.raises(OptionError, match="no layer is named"):
        randomised(bundled, [], seed=0)
    with pytest.raises(OptionError, match="seed is -1; expected a whole number of at least 0"):
        randomised(bundled, "all", seed=-1)


def test_packed_weights_are_refused(shared_fixtures: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_fixtures / "sensevoice-funasr", tmp_path / "q4", ignore=shutil.ignore_patterns("*.onnx"))
    shutil.copy(shared_fixtures / "sensevoice-variants" / "model_q4.onnx", tmp_path / "q4")
    with pytest.raises(AnatomyError, match=r"packed weights \(MatMulNBits\) cannot be randomised; use an fp32 or int8 file"):
        randomised(voxray.load_model(tmp_path / "q4"), "all", seed=0)


def test_a_graph_without_named_layers_is_as_it_was(bundled: Any) -> None:
    same = shuffled(Graph(bundled.graph.path), bundled.anatomy, (), 0)
    assert same.model.SerializeToString() == Graph(bundled.graph.path).model.SerializeToString()
