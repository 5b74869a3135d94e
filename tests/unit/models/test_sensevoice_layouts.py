"""Files that take prompts from outside, a filter bank, or half precision: what lies beside them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import voxray
from voxray.frontend import stack
from voxray.graph.entrance import find_entrance, without_front
from voxray.graph.graph import Graph
from voxray.graph.session import Runner
from voxray.models.sensevoice import recognise
from voxray.types import AnatomyError, ModelError
from voxray.vocabulary import read_vocabulary


@pytest.fixture
def copy_of(shared_fixtures: Path, tmp_path: Path) -> Any:
    """Copy a folder of fixtures, writable."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in (shared_fixtures / name).iterdir():
            shutil.copyfile(file, folder / file.name)
        return folder

    return copy


@pytest.mark.parametrize(
    "name", ["sensevoice-lovemefan", "sensevoice-dynamo", "sensevoice-sherpa", "sensevoice-funasr", "sensevoice-funasr-dynamo"]
)
def test_a_folder_opens_with_its_finest_file(name: str, shared_fixtures: Path, data: Path, expected: dict[str, Any]) -> None:
    model = voxray.load_model(shared_fixtures / name)
    assert model.info.precision == "fp32"
    told = expected["cases"]["odd"]["sensevoice"]["en.withitn"]
    assert model.transcribe(data / "audio" / "odd.wav", "en", textnorm=True).raw_text == told["funasr_torch_text"]


def test_pieces_of_a_sentencepiece_file_are_those_of_the_list(shared_fixtures: Path, data: Path) -> None:
    found = read_vocabulary(shared_fixtures / "sensevoice-lovemefan", 280)
    assert found.pieces == tuple(json.loads((data / "sensevoice-funasr" / "tokens.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is a text", bytes(range(256)), b"\x0a\xff\xff\xff\x7f", b"\x0a\x03\x0a\x01\xff"]
)
def test_damaged_pieces_are_told(content: bytes, copy_of: Any) -> None:
    folder = copy_of("sensevoice-lovemefan")
    next(folder.glob("*.bpe.model")).write_bytes(content)
    with pytest.raises(ModelError, match=r"bpe\.model (is no readable list of tokens|holds \d+ tokens but the model emits 280)"):
        voxray.load_model(folder)


def test_prompts_from_outside_are_missing(copy_of: Any) -> None:
    folder = copy_of("sensevoice-lovemefan")
    (folder / "embedding.npy").unlink()
    with pytest.raises(ModelError, match=r"embedding\.npy: no such file; this model takes its prompts from it: copy it beside"):
        voxray.load_model(folder)


@pytest.mark.parametrize(
    "table",
    [
        np.zeros((15, 560), np.float32),
        np.zeros((16, 512), np.float32),
        np.zeros((5000, 560), np.float32),
        np.zeros((16, 560), np.int64),
        np.full((16, 560), np.nan, np.float32),
        np.zeros(560, np.float32),
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 560), }" + b" " * 40 + b"\n",
        b"no array",
        b"",
    ],
    ids=["few", "narrow", "many", "whole", "nan", "one", "claims", "text", "empty"],
)
def test_prompts_from_outside_are_no_rows(table: Any, copy_of: Any) -> None:
    folder = copy_of("sensevoice-lovemefan")
    if isinstance(table, bytes):
        (folder / "embedding.npy").write_bytes(table)
    else:
        np.save(folder / "embedding.npy", table)
    with pytest.raises(ModelError, match=r"embedding\.npy holds no prompt rows: 16 or more of 560 numbers were expected"):
        voxray.load_model(folder)


def test_prompts_from_outside_are_joined_inside(shared_fixtures: Path, funasr_model: Any) -> None:
    """Its own file is fed as its maker feeds it: rows of the table before the sound, both counted."""
    folder = shared_fixtures / "sensevoice-lovemefan"
    graph, table = Graph(folder / "sense-voice-encoder.onnx"), np.load(folder / "embedding.npy")
    values = np.random.default_rng(3).standard_normal((9, 560)).astype(np.float32)
    rows = np.concatenate([table[[3, 1, 2, 14]], values])[None]
    sound, lengths = graph.inputs
    (wanted,) = Runner(graph).run({sound: rows, lengths: np.array([13])}, list(graph.outputs))
    model = voxray.load_model(folder)
    feeds = model.feeds([values], "zh", textnorm=True)
    (found,) = model.run(feeds, [model.layout.logits])
    assert np.abs(found - wanted).max() <= 1e-5
    assert [feeds[name].dtype for name in (model.layout.lengths, model.layout.language)] == [np.int64, np.int64]
    assert feeds[model.layout.lengths].tolist() == [9]
    assert (model.batches_exactly, model.layout.batch) == (True, 1)
    other = funasr_model.run(funasr_model.feeds([values], "zh", textnorm=True), [funasr_model.layout.logits])[0]
    assert np.abs(found - other).max() <= 2e-4


def test_a_front_end_in_the_graph_is_read_and_cut_off(shared_fixtures: Path, funasr_model: Any) -> None:
    """The whole file on a filter bank says what the rest of it says on our features; what the bank holds then counts no more."""
    path = shared_fixtures / "sensevoice-dynamo" / "model.onnx"
    model = voxray.load_model(path)
    assert np.abs(model.cmvn.shift - funasr_model.cmvn.shift).max() <= 1e-5
    assert np.abs(model.cmvn.scale / funasr_model.cmvn.scale - 1).max() <= 1e-6
    bank = np.random.default_rng(5).normal(8, 4, (40, 80)).astype(np.float32)
    whole = {"features": bank[None], "features_lens": np.array([40]), "language": np.array([4]), "textnorm": np.array([15])}
    (wanted,) = Runner(Graph(path)).run(whole, ["logprobs"])
    values = (stack(bank) + model.cmvn.shift) * model.cmvn.scale
    feeds = model.feeds([values], "en", textnorm=False)
    assert feeds["features"].shape == (1, 42, 80)
    for filled in (0.0, 7.0, np.nan):
        (found,) = model.run(feeds | {"features": np.full((1, 42, 80), filled, np.float32)}, [model.layout.logits])
        assert found.shape == wanted.shape == (1, 11, 280)
        assert np.abs(found - wanted).max() <= 1e-4


def test_a_front_end_of_another_kind_is_refused(copy_of: Any) -> None:
    """Here it begins half a stack later, as sherpa-onnx once did it."""
    folder = copy_of("sensevoice-dynamo")
    (folder / "model_int8.onnx").unlink()
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    node = next(node for node in model.graph.node if node.output[0] == "sub_4")
    constant = next(one for one in model.graph.initializer if one.name == node.input[1])
    assert numpy_helper.to_array(constant) == 3
    model.graph.initializer.append(numpy_helper.from_array(np.array(0), "later"))
    node.input[1] = "later"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        AnatomyError, match=r"model\.onnx: the front-end in this graph stacks or normalises otherwise than SenseVoice"
    ):
        voxray.load_model(folder)


def test_a_front_end_without_normalisation_is_refused(shared_fixtures: Path) -> None:
    graph = Graph(shared_fixtures / "sensevoice-dynamo" / "model.onnx")
    for tensor in graph.model.graph.initializer:
        if tensor.name == "scale":
            tensor.dims[:] = [560, 1]
    for node in graph.nodes:
        if "scale" in node.input:
            node.op_type = "Max"
    entrance = find_entrance(graph)
    assert entrance is not None
    with pytest.raises(AnatomyError, match=r"takes a filter bank, but no normalisation of its 560 stacked features .* was found"):
        without_front(graph, entrance)


def test_a_front_end_with_graphs_within_is_refused(shared_fixtures: Path) -> None:
    graph = Graph(shared_fixtures / "sensevoice-dynamo" / "model.onnx")
    branch = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["scale"], ["s"])], "b", [], [])
    graph.model.graph.node.append(onnx.helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))
    changed = Graph(graph.path, graph.model)
    entrance = find_entrance(changed)
    assert entrance is not None
    with pytest.raises(AnatomyError, match=r"model\.onnx takes a filter bank and holds If nodes; use a file that takes stacked"):
        without_front(changed, entrance)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"languages": {"zh": 3}}, r"config\.json has languages but no lang_auto; export it again"),
        ({"languages": {"auto": "zero"}}, r"config\.json says lang_auto 'zero', a whole number was expected"),
        ({"languages": 7}, r"config\.json is no readable configuration"),
        ({"blank_token_id": 280}, r"config\.json says blank_id 280, but it has 280 tokens"),
    ],
)
def test_damaged_settings_are_told(told: dict[str, Any], message: str, copy_of: Any) -> None:
    folder = copy_of("sensevoice-dynamo")
    (folder / "config.json").write_text(json.dumps({"model_type": "sensevoice"} | told))
    with pytest.raises(ModelError, match=message):
        voxray.load_model(folder)


def test_settings_beside_a_model_are_used(copy_of: Any) -> None:
    folder = copy_of("sensevoice-dynamo")
    told = json.loads((folder / "config.json").read_text())
    told["languages"] = {"auto": 0, "klingon": 12}
    told["textnorm"] = {"withitn": 3, "woitn": 4}
    (folder / "config.json").write_text(json.dumps(told))
    model = voxray.load_model(folder)
    assert model.languages == ("auto", "klingon")
    feeds = model.feeds([np.zeros((2, 560), np.float32)], "klingon", textnorm=True)
    assert [feeds[name].tolist() for name in (model.layout.language, model.layout.textnorm)] == [[12], [3]]


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[1]", '{"model_type": "whisper", "languages": 1}'])
def test_settings_of_others_and_damaged_ones(content: str, copy_of: Any) -> None:
    folder = copy_of("sensevoice-dynamo")
    (folder / "config.json").write_text(content)
    if content.startswith(("{}", "[1", '{"m')):
        assert voxray.load_model(folder).languages[0] == "auto"
    else:
        with pytest.raises(ModelError, match=r"config\.json is no readable configuration"):
            voxray.load_model(folder)


def test_half_precision_from_end_to_end(shared_fixtures: Path, model_folder: Path, data: Path, funasr_model: Any) -> None:
    """Inputs and outputs of 16 bits too: fed and read as the file declares them."""
    model = onnx.load(shared_fixtures / "sensevoice-variants" / "model_fp16.onnx")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    last = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    assert last.op_type == "Cast"
    last.attribute[0].i = onnx.TensorProto.FLOAT16
    (model_folder / "model.onnx").write_bytes(model.SerializeToString())
    opened = voxray.load_model(model_folder)
    assert opened.info.precision == "fp16"
    assert opened.graph.inputs["speech"][0] == onnx.TensorProto.FLOAT16
    traces = [one.trace(data / "audio" / "short.wav") for one in (opened, funasr_model)]
    assert traces[0].raw_text == traces[1].raw_text
    assert traces[0].log_probs.dtype == np.float32
    assert np.abs(traces[0].log_probs - traces[1].log_probs).max() <= 0.1
    found = voxray.explain(opened, traces[0], target="emotion", method="exact")
    assert abs(found.residual) <= 1e-4
    cut = voxray.explain(opened, traces[0], target="emotion", method="knockout")
    assert np.abs(cut.scores).max() > 0


def test_who_takes_another_number_of_items_is_not_known(shared_fixtures: Path) -> None:
    graph = Graph(shared_fixtures / "sensevoice-sherpa" / "model.onnx")
    assert recognise(graph) is not None
    graph.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert recognise(Graph(graph.path, graph.model)) is None
