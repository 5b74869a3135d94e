"""Two models on one graph: all of either gives that model's output, and every part is the one that was asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import voxray
from planted import planted
from voxray.graph.transplant import HEAD, NORM, PARTS, Bench, Donor, unlike
from voxray.models.exchange import Exchange, why_not
from voxray.types import AnatomyError, OptionError

FP32, INT8 = "sensevoice-funasr/model.onnx", "sensevoice-funasr/model_quant.onnx"
# Every file of one set of weights, with the largest relative distance of the logits between the file and the bench, where 1 is the
# distance between the file and the fp32 one. A change of 1e-6 in the sound can flip a rounding of a file that rounds as it runs,
# and move its logits as far as 0.3 of that; that the 4-bit file asks for products in 8 bits, and that the fp16 file rounds
# everything, is not redone.
FILES = {
    INT8: 0.4,
    "sensevoice-funasr-dynamo/model_quant.onnx": 0.4,
    "sensevoice-sherpa/model.int8.onnx": 0.4,
    "sensevoice-lovemefan/sense-voice-encoder-int8.onnx": 0.4,
    "sensevoice-variants/model_q4.onnx": 0.2,
    "sensevoice-variants/model_fp16.onnx": 0.8,
}
SAME = [
    "sensevoice-funasr-dynamo/model.onnx",
    "sensevoice-sherpa/model.onnx",
    "sensevoice-lovemefan/sense-voice-encoder.onnx",
    "sensevoice-dynamo/model.onnx",
]


def donor(model: Any) -> Donor:
    return Donor(model.graph, model.anatomy)


def centred(logits: np.ndarray) -> np.ndarray:
    return logits.astype(np.float64) - logits.mean(axis=1, keepdims=True)


def opened(file: Path, tmp_path: Path) -> Any:
    if (file.parent / "am.mvn").is_file() or file.parent.name in ("sensevoice-dynamo", "sensevoice-sherpa"):
        return voxray.load_model(file)
    shutil.copytree(file.parents[1] / "sensevoice-funasr", tmp_path / "with", ignore=shutil.ignore_patterns("*.onnx"))
    shutil.copy(file, tmp_path / "with")
    return voxray.load_model(tmp_path / "with" / file.name)


@pytest.fixture(scope="module")
def sound(data: Path, funasr_model: Any) -> Any:
    return funasr_model.trace(data / "audio" / "odd.wav", layers=()).features[0]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(centred(one) - centred(other)))


@pytest.mark.parametrize("name", [*FILES, *SAME])
def test_all_of_either_is_that_model(name: str, shared_fixtures: Path, sound: Any, tmp_path: Path) -> None:
    first, second = voxray.load_model(shared_fixtures / FP32), opened(shared_fixtures / name, tmp_path)
    assert why_not(first, second) == why_not(second, first) == ""
    own = {model: model.logits([sound])[0] for model in (first, second)}
    for host, guest in ((first, second), (second, first)):
        bench = Exchange(host, guest)
        for model, parts in ((host, ()), (guest, bench.parts)):
            found = bench.logits(sound, "auto", textnorm=False, guest=parts)
            if model is first or name in SAME:
                rest = 0.02 if "fp16" in name else 1e-4  # its prompts' rows are rounded too, and belong to no part
                assert np.abs(centred(found) - centred(own[model])).max() <= rest, model.name
            else:
                assert apart(found, own[model]) <= FILES[name] * apart(own[first], own[second]), model.name


def test_rounding_as_it_runs_is_redone_exactly(funasr_model: Any, funasr_int8: Any, data: Path) -> None:
    """On a sound of a third of a second no rounding stands on an edge, so the int8 file is had to the last digits."""
    sound = funasr_model.trace(data / "audio" / "short.wav", layers=()).features[0]
    bench = Exchange(funasr_model, funasr_int8)
    found = bench.logits(sound, "auto", textnorm=False, guest=bench.parts)
    assert np.abs(found - funasr_int8.logits([sound])[0]).max() <= 1e-4
    assert np.abs(found - funasr_model.logits([sound])[0]).max() > 0.3


def test_parts_come_in_the_order_of_the_sound(funasr_model: Any, funasr_int8: Any) -> None:
    parts = Exchange(funasr_model, funasr_int8).parts
    assert [name for layer, name in parts if layer == 1] == list(PARTS)
    assert [(layer, name) for layer, name in parts if name in (NORM, HEAD)] == [(3, NORM), (5, NORM), (5, HEAD)]
    assert [layer for layer, _ in parts] == sorted(layer for layer, _ in parts)
    assert len(parts) == 5 * len(PARTS) + 3


@pytest.mark.parametrize("layer", range(5))
@pytest.mark.parametrize("base", ["model.onnx", "model_quant.onnx"])
def test_only_the_parts_that_differ_do_anything(base: str, layer: int, data: Path, sound: Any, tmp_path: Path) -> None:
    """A model against itself with one layer in 4 bits: of all parts, only that layer's four products change the output."""
    source = data / "sensevoice-funasr" / base
    host, guest = voxray.load_model(source), voxray.load_model(planted(source, tmp_path / "planted", layer))
    bench = Exchange(host, guest)
    own = bench.logits(sound, "auto", textnorm=False)
    moved = {part for part in bench.parts if (bench.logits(sound, "auto", textnorm=False, guest=[part]) != own).any()}
    assert moved == {(layer, name) for name in ("query, key, value", "projection", "feed-forward in", "feed-forward out")}


def test_a_part_is_put_in_whole(data: Path, sound: Any, tmp_path: Path) -> None:
    """Putting in one layer gives what the model with that layer in its own file gives."""
    source = data / "sensevoice-funasr" / "model.onnx"
    host = voxray.load_model(source)
    other = voxray.load_model(planted(source, tmp_path / "both", 1))
    far = planted(tmp_path / "both" / "model.onnx", tmp_path / "second", 3)
    bench = Exchange(host, voxray.load_model(far))  # layers 1 and 3 differ
    found = bench.logits(sound, "auto", textnorm=False, guest=[part for part in bench.parts if part[0] == 1])
    assert found == pytest.approx(other.logits([sound])[0], abs=1e-4)


def test_norms_filters_and_biases_are_exchanged_too(data: Path, sound: Any, tmp_path: Path, model_folder: Path) -> None:
    """What is no product: each weight of layer 2 that is shifted is found again as the part that it belongs to."""
    host = voxray.load_model(data / "sensevoice-funasr" / "model.onnx")
    block, (_, norm) = host.anatomy.blocks[2], host.anatomy.stream_norms[0]
    names = {"norm": block.norm.bias, "memory": block.taps, "second norm": block.norm2.weight, "query, key, value": block.qkv.bias}
    for name, tensor in {**names, NORM: norm.weight}.items():
        model = onnx.load(data / "sensevoice-funasr" / "model.onnx")
        (weight,) = [one for one in model.graph.initializer if one.name == tensor]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.25), tensor))
        onnx.save(model, model_folder / "model.onnx")
        guest = voxray.load_model(model_folder)
        bench = Exchange(host, guest)
        own = bench.logits(sound, "auto", textnorm=False)
        moved = [part for part in bench.parts if (bench.logits(sound, "auto", textnorm=False, guest=[part]) != own).any()]
        assert moved == [(3, NORM) if name == NORM else (2, name)]
        whole = bench.logits(sound, "auto", textnorm=False, guest=bench.parts)
        assert whole == pytest.approx(guest.logits([sound])[0], abs=1e-4)


def test_rounding_can_be_left_out(funasr_model: Any, funasr_int8: Any, sound: Any) -> None:
    """The int8 file's weights without its rounding are those of its floating-point twin."""
    bench = Exchange(funasr_model, funasr_int8)
    found = bench.logits(sound, "auto", textnorm=False, guest=bench.parts, rounding=False)
    twin = funasr_int8.gradients.record(funasr_int8.feeds([sound.values], "auto", textnorm=False), frozen=False)[0].logits[0]
    assert found == pytest.approx(twin, abs=2e-4)
    assert np.abs(found - funasr_int8.logits([sound])[0]).max() > 0.05


def test_weights_are_read_again_where_they_would_take_too_much_memory(
    funasr_model: Any, funasr_int8: Any, sound: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Exchange(funasr_model, funasr_int8)
    monkeypatch.setattr("voxray.graph.transplant.KEPT", 1000)
    lean = Exchange(funasr_model, funasr_int8)
    for parts in ((), kept.parts):
        found = [one.logits(sound, "auto", textnorm=False, guest=parts) for one in (kept, lean)]
        assert (found[0] == found[1]).all()


def test_other_shapes_are_refused(funasr_model: Any, bundled: Any, data: Path) -> None:
    assert unlike(donor(funasr_model), donor(bundled)) == "5 and 14 layers"
    with pytest.raises(OptionError, match=r"different shapes \(5 and 14 layers\), so their layers cannot be exchanged"):
        Bench(donor(funasr_model), donor(bundled))
    paraformer = voxray.load_model(data / "paraformer-funasr" / "model.onnx")
    assert why_not(paraformer, funasr_model) == why_not(funasr_model, paraformer) == "paraformer has a decoder"


def test_weights_that_stand_elsewhere_are_refused(funasr_model: Any, funasr_int8: Any) -> None:
    from dataclasses import replace

    anatomy = funasr_model.anatomy
    wrong = replace(anatomy, head=replace(anatomy.head, input=anatomy.blocks[0].qkv.input, output=anatomy.blocks[0].qkv.output))
    with pytest.raises(AnatomyError, match="layer 5, output head, do not stand where they were found"):
        Bench(Donor(funasr_model.graph, wrong), donor(funasr_int8))
