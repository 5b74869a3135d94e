"""Whatever is given for a model, the answer is a model or one line that says what is wrong and what to do."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import voxray
from voxray.types import AnatomyError, ModelError, VoxrayError


def refused(source: Any, message: str, kind: type[VoxrayError] = ModelError) -> None:
    """Check that a source is refused with an error of exactly one kind and in one line."""
    with pytest.raises(VoxrayError, match=message) as caught:
        voxray.load_model(source)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def edit(folder: Path, change: Callable[[Any], None]) -> Path:
    """Change the model of a folder in place."""
    model = onnx.load(folder / "model.onnx")
    change(model)
    return saved(model, folder / "model.onnx")


def test_the_folder_that_the_others_spoil_is_a_good_one(model_folder: Path) -> None:
    assert voxray.load_model(model_folder).info.layout == "funasr"
    assert voxray.load_model(str(model_folder / "model.onnx")).info.layout == "funasr"


def test_no_such_file(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", r"no such model: .*nowhere; give an \.onnx file or a folder")
    refused(str(tmp_path / "nowhere.onnx"), r"no such model: .*nowhere\.onnx; give")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to(tmp_path / "gone")
    refused(tmp_path / "model.onnx", r"no such model: .*model\.onnx")
    refused(tmp_path, r"holds no \.onnx file")


@pytest.mark.parametrize(
    "content",
    [
        b"This is a text and no model.\n" * 50,
        b'{"a": "JSON file"}',
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89",
        b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(60),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 937000000\n",
        np.random.default_rng(1).bytes(100_000),
        bytes(10_000),
    ],
    ids=["text", "json", "png", "zip", "git-lfs", "noise", "zeros"],
)
def test_not_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    message = r"model\.onnx is not (a whole|an) ONNX model.*(download it again|give the \.onnx file)"
    refused(path, message)
    refused(tmp_path, message)  # a folder with nothing but a broken model


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    refused(tmp_path / "model.onnx", r"model\.onnx is empty; an ONNX model was expected: copy or download it again")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 0.99999])
def test_a_file_that_is_cut_off(share: float, model_folder: Path) -> None:
    path = model_folder / "model.onnx"
    os.truncate(path, int(path.stat().st_size * share))
    refused(path, r"model\.onnx is not a whole ONNX model .*it may be cut off.*download it again")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("[]")
    refused(tmp_path, r"holds no \.onnx file; give the folder of an exported model or the file itself")


def test_a_device_is_no_model() -> None:
    refused("/dev/null", r"/dev/null is empty; an ONNX model was expected")


def test_missing_tokens(model_folder: Path) -> None:
    (model_folder / "tokens.json").unlink()
    refused(model_folder, r"model holds no tokens: tokens\.json, tokens\.txt or vocab\.txt was expected beside the model; copy")


@pytest.mark.parametrize("count", [0, 1, 279, 281, 25055])
def test_the_wrong_number_of_tokens(count: int, model_folder: Path) -> None:
    (model_folder / "tokens.json").write_text(json.dumps([f"t{index}" for index in range(count)]))
    refused(model_folder, rf"tokens\.json holds {count} tokens but the model emits 280; use the tokens file that belongs")


@pytest.mark.parametrize("content", [b"hello", bytes(range(256)) * 10, b"", b'{"0": "<unk>"}', b"[[" * 50_000])
def test_tokens_that_are_no_list(content: bytes, model_folder: Path) -> None:
    (model_folder / "tokens.json").write_bytes(content)
    refused(model_folder, r"tokens\.json is no readable list of tokens .*copy or download it again")


def test_tokens_without_tags(model_folder: Path) -> None:
    (model_folder / "tokens.json").write_text(json.dumps([f"t{index}" for index in range(280)]))
    refused(model_folder, "the tokens hold no language tag, so they belong to no SenseVoice; use the model's own tokens")


def test_missing_normalisation(model_folder: Path) -> None:
    (model_folder / "am.mvn").unlink()
    refused(model_folder, r"am\.mvn: no such file; the model's am\.mvn is needed")


def kaldi_text(size: int, claimed: int | None = None) -> str:
    claimed = size if claimed is None else claimed
    numbers = " ".join(["1.5"] * size)
    lines = [f"<{kind}> {claimed} {claimed}\n<LearnRateCoef> 0 [ {numbers} ]" for kind in ("AddShift", "Rescale")]
    return "\n".join(["<Nnet>", f"<Splice> {claimed} {claimed}\n[ 0 ]", *lines, "</Nnet>"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (kaldi_text(80), r"model\.onnx: its normalisation has 80 numbers, 560 were expected; use the am\.mvn that belongs"),
        (kaldi_text(400), "its normalisation has 400 numbers, 560 were expected"),
        (kaldi_text(560, claimed=561), r"am\.mvn: <AddShift> should hold 561 finite numbers, got 560"),
        (kaldi_text(560).replace("1.5", "nan", 1), r"am\.mvn: <AddShift> should hold 560 finite numbers"),
        (kaldi_text(560).replace("1.5", "one", 1), r"am\.mvn: <AddShift> holds something that is no number"),
        ("hello", r"am\.mvn: not a Kaldi normalisation file"),
        ("", r"am\.mvn: not a Kaldi normalisation file"),
        ("\u4f60\u597d", r"am\.mvn: not a Kaldi normalisation file"),
    ],
    ids=["80", "400", "claims", "nan", "word", "text", "empty", "chinese"],
)
def test_a_wrong_normalisation(content: str, message: str, model_folder: Path) -> None:
    (model_folder / "am.mvn").write_text(content, encoding="utf-8")
    refused(model_folder, message)


def test_a_normalisation_that_is_a_folder(model_folder: Path) -> None:
    (model_folder / "am.mvn").unlink()
    (model_folder / "am.mvn").mkdir()
    refused(model_folder, r"am\.mvn: cannot be read")


def test_other_names_of_inputs(model_folder: Path) -> None:
    def rename(model: Any) -> None:
        for node in model.graph.node:
            node.input[:] = ["audio" if name == "speech" else name for name in node.input]
        model.graph.input[0].name = "audio"

    edit(model_folder, rename)
    refused(model_folder, r"model\.onnx takes the inputs audio.*no recogniser that Voxray knows; expected a SenseVoice")


@pytest.mark.parametrize("name", ["paraformer-funasr", "sensevoice-lovemefan", "sensevoice-dynamo"])
def test_other_recognisers_are_told_apart(name: str, shared_fixtures: Path) -> None:
    refused(shared_fixtures / name, r"takes the inputs .*no recogniser that Voxray knows; expected a SenseVoice")


def test_an_image_classifier(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "kernel")
    head = numpy_helper.from_array(np.ones((4, 10), np.float32), "head")
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "head"], ["e"]),
        helper.make_node("Softmax", ["e"], ["classes"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])
    classes = helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "classifier", [image], [classes], [weight, head])
    path = saved(helper.make_model(graph), tmp_path / "resnet.onnx")
    refused(path, r"resnet\.onnx takes the inputs image\['batch', 3, 224, 224\]: no recogniser that Voxray knows")


def like_sensevoice(nodes: list[Any], weights: list[Any], path: Path) -> Path:
    """Save a graph with the inputs and output of a SenseVoice and something else between."""
    inputs = [helper.make_tensor_value_info("speech", TensorProto.FLOAT, ["batch", "frames", 560])]
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch"]) for name in ("speech_lengths", "language", "textnorm")
    ]
    logits = helper.make_tensor_value_info("ctc_logits", TensorProto.FLOAT, ["batch", "rows", 280])
    graph = helper.make_graph(nodes, "other", inputs, [logits], weights)
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    return saved(helper.make_model(graph, opset_imports=opsets), path)


def test_attention_fused_by_an_optimiser(model_folder: Path) -> None:
    shapes = {"w": (560, 1680), "b": (1680,), "head": (560, 280)}
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Attention", ["speech", "w", "b"], ["a"], domain="com.microsoft", num_heads=4),
        helper.make_node("Attention", ["a", "w", "b"], ["c"], domain="com.microsoft", num_heads=4),
        helper.make_node("MatMul", ["c", "head"], ["ctc_logits"]),
    ]
    path = like_sensevoice(nodes, weights, model_folder / "model.onnx")
    refused(
        path,
        r"model\.onnx: attention is fused into single nodes \(2 Attention\).*use the file as exported, before graph optim",
        AnatomyError,
    )


def test_no_attention_at_all(model_folder: Path) -> None:
    weight = numpy_helper.from_array(np.ones((560, 280), np.float32), "head")
    node = helper.make_node("MatMul", ["speech", "head"], ["ctc_logits"])
    path = like_sensevoice([node], [weight], model_folder / "model.onnx")
    refused(path, r"model\.onnx: no attention was found in its 1 nodes; a SANM encoder was expected", AnatomyError)


def test_attention_without_its_memory(model_folder: Path) -> None:
    def forget(model: Any) -> None:
        for node in model.graph.node:
            if node.op_type == "Conv":
                node.op_type = "ConvTranspose"

    edit(model_folder, forget)
    refused(model_folder, r"model\.onnx: attention layer 0 \(.*\) has no FSMN memory .*use the file as exported", AnatomyError)


def test_a_node_that_the_runtime_does_not_know(model_folder: Path) -> None:
    def rename(model: Any) -> None:
        next(node for node in model.graph.node if node.op_type == "Sin").op_type = "Sine"

    edit(model_folder, rename)
    refused(model_folder, r"model\.onnx cannot be opened by ONNX Runtime: .*Sine")


def outside(folder: Path, location: str) -> None:
    """Move the weights of a folder's model into a file once, then let the model claim that they lie elsewhere."""
    if not (folder / "weights.bin").exists():
        model = onnx.load(folder / "model.onnx")
        onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=512)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    saved(model, folder / "model.onnx")


@pytest.fixture
def elsewhere(model_folder: Path) -> Path:
    """A good file of weights in a place where a model must not look."""
    outside(model_folder, "weights.bin")
    assert voxray.load_model(model_folder).layers == 5
    shutil.copyfile(model_folder / "weights.bin", model_folder.parent / "secret.bin")
    return model_folder.parent / "secret.bin"


def test_external_data_beside_the_model(model_folder: Path, funasr_model: Any) -> None:
    outside(model_folder, "weights.bin")
    model = voxray.load_model(model_folder)
    noise = np.random.default_rng(0).standard_normal((8, 560)).astype(np.float32)
    (found,), (wanted,) = (one.run(one.feeds([noise], "auto", textnorm=False), ["ctc_logits"]) for one in (model, funasr_model))
    assert np.array_equal(found, wanted)


def test_external_data_missing(model_folder: Path) -> None:
    outside(model_folder, "weights.bin")
    (model_folder / "weights.bin").unlink()
    refused(model_folder, r"model\.onnx keeps its weights in weights\.bin, which is missing: put that file beside the model")


def test_external_data_without_a_name(model_folder: Path) -> None:
    outside(model_folder, "")
    refused(model_folder, r"model\.onnx keeps its weights in .*missing: put that file beside the model")


def test_external_data_with_a_name_that_no_file_can_have(model_folder: Path) -> None:
    outside(model_folder, "w" * 5000)
    refused(model_folder, r"model\.onnx does not say where the weight '.*' lies; download it again")


@pytest.mark.parametrize("location", ["../secret.bin", "x/../../secret.bin", "./../secret.bin"])
def test_external_data_above_the_folder(location: str, model_folder: Path, elsewhere: Path) -> None:
    (model_folder / "x").mkdir()
    outside(model_folder, location)
    refused(model_folder, r"keeps weights in '.*secret\.bin', outside its own folder; such files are refused: put the data")


def test_external_data_at_an_absolute_path(model_folder: Path, elsewhere: Path) -> None:
    outside(model_folder, str(elsewhere))
    refused(model_folder, r"keeps weights in '/.*secret\.bin', outside its own folder")
    outside(model_folder, str(model_folder / "weights.bin"))
    refused(model_folder, r"keeps weights in '/.*weights\.bin', outside its own folder")


def test_external_data_behind_a_link_out_of_the_folder(model_folder: Path, elsewhere: Path) -> None:
    outside(model_folder, "linked.bin")
    (model_folder / "linked.bin").symlink_to(elsewhere)
    refused(model_folder, r"keeps weights in 'linked\.bin', outside its own folder")
    outside(model_folder, "sub/secret.bin")
    (model_folder / "sub").symlink_to(elsewhere.parent)
    refused(model_folder, r"keeps weights in 'sub/secret\.bin', outside its own folder")


def test_external_data_too_short(model_folder: Path) -> None:
    outside(model_folder, "weights.bin")
    size = (model_folder / "weights.bin").stat().st_size
    os.truncate(model_folder / "weights.bin", size - 100)
    refused(model_folder, rf"weights\.bin holds {size - 100} bytes, \d+ were expected: download it again")


def test_a_weight_that_does_not_fill_its_shape(model_folder: Path) -> None:
    def stretch(model: Any) -> None:
        tensor = next(one for one in model.graph.initializer if one.name.endswith("self_attn.fsmn_block.weight"))
        tensor.dims[0] = 2**40

    edit(model_folder, stretch)
    begin = time.perf_counter()
    refused(model_folder, r"(fsmn_block\.weight|cannot be opened by ONNX Runtime)")
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("head", [b"\x3a", b"\x3a\x0a\x2a", b"\x08\x07\x12"])
def test_huge_claims(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    path.write_bytes(head + b"\xff\xff\xff\xff\x07")  # 2 GB follow, says the file
    begin = time.perf_counter()
    refused(path, r"huge\.onnx is not a whole ONNX model")
    assert time.perf_counter() - begin < 1


@pytest.fixture
def hub_cache(tmp_path: Path) -> Callable[[dict[str, Path]], Path]:
    """Return a function that lays files out as the Hugging Face cache does: links to blobs named by their hash."""

    def lay(files: dict[str, Path]) -> Path:
        snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for index, (name, source) in enumerate(files.items()):
            blob = blobs / f"{index:040x}"
            shutil.copyfile(source, blob)
            (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
        return snapshot

    return lay


def test_a_hub_cache_opens(hub_cache: Any, data: Path, funasr_model: Any) -> None:
    folder = data / "sensevoice-funasr"
    snapshot = hub_cache({name: folder / name for name in ("model.onnx", "tokens.json", "am.mvn")})
    for source in (snapshot, snapshot / "model.onnx"):
        model = voxray.load_model(source)
        assert model.info.sha256 == funasr_model.info.sha256
        assert model.name == "c0ffee/model.onnx"
        trace = model.trace(data / "audio" / "short.wav")
        assert trace.raw_text == "<|ko|><|Speech|>an<|Speech|>个"


def test_a_hub_cache_with_external_data_opens(hub_cache: Any, data: Path, model_folder: Path) -> None:
    outside(model_folder, "weights.bin")
    snapshot = hub_cache({path.name: path for path in sorted(model_folder.iterdir())})
    trace = voxray.load_model(snapshot).trace(data / "audio" / "short.wav")
    assert trace.raw_text == "<|ko|><|Speech|>an<|Speech|>个"
    assert trace.tensor("memory").shape == (5, 9, 48)


def test_a_hub_cache_that_is_not_whole(hub_cache: Any, data: Path, model_folder: Path) -> None:
    outside(model_folder, "weights.bin")
    files = {path.name: path for path in sorted(model_folder.iterdir()) if path.name != "weights.bin"}
    snapshot = hub_cache(files)
    refused(snapshot, r"snapshots/c0ffee/model\.onnx keeps its weights in weights\.bin, which is missing")
    (snapshot / "am.mvn").resolve().unlink()
    shutil.copyfile(data / "sensevoice-funasr" / "model.onnx", (snapshot / "model.onnx").resolve())
    refused(snapshot, r"am\.mvn: no such file")
