"""SenseVoice: how it is told, fed and read, and what its evidence holds."""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import voxray
from voxray.frontend import features
from voxray.graph.graph import Graph
from voxray.models import families, model_files, open_model, sensevoice
from voxray.models.sensevoice import recognise
from voxray.types import Features, ModelError, OptionError
from voxray.vad import voice_segments


@pytest.fixture(scope="module")
def sound(data: Path) -> Any:
    return voxray.load_audio(data / "audio" / "odd.wav")


def part_of(model: Any, rows: int, seed: int = 0) -> Features:
    values = np.random.default_rng(seed).standard_normal((rows, 560)).astype(np.float32)
    return Features(values, 0.06, 0.0125)


def test_every_family_keeps_the_contract() -> None:
    assert sensevoice in families()
    for family in families():
        assert callable(family.recognise)
        assert callable(family.Recogniser)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("sensevoice-funasr/model.onnx", "funasr"),
        ("sensevoice-funasr-dynamo/model.onnx", "funasr"),
        ("sensevoice-sherpa/model.onnx", "sherpa-onnx"),
        ("sensevoice-sherpa/model.int8.onnx", "sherpa-onnx"),
        ("sensevoice-lovemefan/sense-voice-encoder.onnx", "lovemefan"),
        ("sensevoice-lovemefan/sense-voice-encoder-int8.onnx", "lovemefan"),
        ("sensevoice-dynamo/model.onnx", "openvoiceos"),
        ("sensevoice-dynamo/model_int8.onnx", "openvoiceos"),
        ("sensevoice-variants/model_fp16.onnx", "funasr"),
        ("sensevoice-variants/model_q4.onnx", "funasr"),
        ("paraformer-funasr/model.onnx", None),
        ("paraformer-sherpa/model.onnx", None),
    ],
)
def test_layouts_are_told_by_what_the_graph_does(name: str, layout: str | None, shared_fixtures: Path) -> None:
    found = recognise(Graph(shared_fixtures / name))
    assert (found.name if found else None) == layout


def test_what_a_model_says_of_itself(funasr_model: Any, data: Path) -> None:
    path = data / "sensevoice-funasr" / "model.onnx"
    assert (funasr_model.layers, funasr_model.heads, len(funasr_model.vocabulary)) == (5, 4, 280)
    assert funasr_model.languages == ("auto", "zh", "en", "yue", "ja", "ko", "nospeech")
    info = funasr_model.info
    assert (info.family, info.layout, info.precision) == ("sensevoice", "funasr", "fp32")
    assert info.name == "sensevoice-funasr/model.onnx"
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def assert_described(model: Any, precision: str) -> None:
    told = model.describe()
    assert json.loads(json.dumps(told)) == told
    assert (told["layers"], told["heads"], told["width"], told["vocabulary"]) == (5, 4, 48, 280)
    assert (told["precision"], told["stream_norms"]) == (precision, [3, 5])
    assert [block["width_in"] for block in told["blocks"]] == [560, 48, 48, 48, 48]
    assert {(block["width"], block["taps"], block["feed_forward"]) for block in told["blocks"]} == {(48, 11, 96)}
    assert told["tags"]["textnorm"] == ["withitn", "woitn"]
    assert {"zh", "en", "yue", "ja", "ko", "nospeech"} <= set(told["tags"]["language"])
    assert len(told["tags"]["emotion"]) == 9
    assert "/Speech" not in told["tags"]["event"]


@pytest.mark.parametrize(("name", "precision"), [("funasr_model", "fp32"), ("funasr_int8", "int8")])
def test_describing(name: str, precision: str, request: pytest.FixtureRequest) -> None:
    assert_described(request.getfixturevalue(name), precision)


@pytest.mark.parametrize(("name", "precision"), [("model_q4.onnx", "int4"), ("model_fp16.onnx", "fp16")])
def test_other_precisions_open_and_say_what_they_said_elsewhere(
    name: str, precision: str, shared_fixtures: Path, model_folder: Path, data: Path, expected: dict[str, Any]
) -> None:
    shutil.copyfile(shared_fixtures / "sensevoice-variants" / name, model_folder / name)
    model = voxray.load_model(model_folder / name)
    assert_described(model, precision)
    told = expected["cases"]["odd"]["sensevoice"]["auto.woitn"]["argmax_ids_int8"][name[:-5]]
    trace = model.trace(data / "audio" / "odd.wav")
    ids = trace.log_probs.argmax(axis=1)
    assert np.count_nonzero(ids != told) <= 1
    assert trace.tensor("memory").dtype == np.float32


def test_feeds_are_padded_with_zeros(funasr_model: Any) -> None:
    parts = [part_of(funasr_model, rows, rows).values for rows in (3, 5)]
    feeds = funasr_model.feeds(parts, "ko", textnorm=True)
    assert feeds["speech"].shape == (2, 5, 560)
    assert np.array_equal(feeds["speech"][0, :3], parts[0])
    assert not feeds["speech"][0, 3:].any()
    assert feeds["speech_lengths"].tolist() == [3, 5]
    assert feeds["language"].tolist() == [12, 12]
    assert feeds["textnorm"].tolist() == [14, 14]
    assert funasr_model.feeds(parts, "auto", textnorm=False)["textnorm"].tolist() == [15, 15]
    assert {array.dtype for name, array in feeds.items() if name != "speech"} == {np.dtype(np.int32)}


def test_rows_of_a_batch_are_those_of_one_by_one(funasr_model: Any) -> None:
    parts = [part_of(funasr_model, rows, rows) for rows in (1, 12, 7)]
    together = funasr_model.logits(parts, "en")
    for part, rows in zip(parts, together, strict=True):
        (alone,) = funasr_model.logits([part], "en")
        assert rows.shape == alone.shape == (len(part.values) + 4, 280)
        assert np.abs(rows - alone).max() <= 1e-4


def test_reading_rows(funasr_model: Any) -> None:
    """Tags by row, tokens by frame, times of the cells; checked on rows written by hand."""
    logits = np.zeros((4 + 5, 280), np.float32)
    tags = funasr_model.vocabulary.tags
    for row, index in enumerate([tags["zh"], 0, tags["BGM"], tags["withitn"], 0, 14, 14, 0, 91]):
        logits[row, index] = 8
    logits[1, tags["SAD"]] = 4  # the row emits a blank, SAD is its likeliest emotion
    logits[6, 14] = 10
    reading = funasr_model.read(logits, part_of(funasr_model, 5), alternatives=2)
    assert [tag.label for tag in reading.tags] == ["zh", "SAD", "BGM", "withitn"]
    assert reading.tags[1].emitted == "<unk>"
    rest = np.exp(4) + 8
    assert reading.tags[1].probability == pytest.approx(np.exp(4) / rest, rel=1e-5)
    assert reading.tags[1].mass == pytest.approx(rest / (np.exp(8) + np.exp(4) + 278), rel=1e-5)
    assert [(token.text, token.rows, token.peak) for token in reading.tokens] == [(" is", (5, 7), 6), ("，", (8, 9), 8)]
    edges = [edge for token in reading.tokens for edge in (token.start, token.end)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < edges[1]
    assert reading.tokens[1].end == pytest.approx(0.2825)  # what is not heard ends with the frame that emits it
    assert reading.tokens[0].log_prob == pytest.approx(10 - np.log(np.exp(10) + 279), abs=1e-5)
    assert reading.tokens[0].alternatives[0].id == 14
    assert len(reading.tokens[0].alternatives) == 2
    assert reading.raw_text == "<|zh|><|BGM|><|withitn|> is，"
    assert (reading.rows, reading.prompts, reading.start) == (9, 4, 0.0)


def test_transcribing_says_what_a_trace_says(funasr_model: Any, sound: Any) -> None:
    steps: list[tuple[int, int]] = []
    transcript = funasr_model.transcribe(sound, "en", textnorm=True, progress=lambda done, total: steps.append((done, total)))
    trace = funasr_model.trace(sound, "en", textnorm=True)
    assert (transcript.text, transcript.raw_text) == (trace.text, trace.raw_text)
    assert [(one.id, one.start, one.end, one.rows) for one in transcript.tokens] == [
        (one.id, one.start, one.end, one.rows) for one in trace.tokens
    ]
    assert steps == [(1, 1)]
    assert (trace.language, trace.textnorm, trace.model) == ("en", True, funasr_model.info)


def test_evidence_computed_again_is_the_evidence_kept(funasr_model: Any, sound: Any) -> None:
    kept, again = funasr_model.trace(sound), funasr_model.trace(sound, keep=0)
    assert np.abs(kept.log_probs - again.log_probs).max() <= 1e-5
    for layers in (None, [3], [4, 0], [2, 2]):
        first, second = kept.self_attention(layers), again.self_attention(layers)
        assert first.shape == second.shape == (5 if layers is None else len(layers), 4, 39, 39)
        assert np.abs(first.values - second.values).max() <= 1e-6
        assert list(first.layer) == list(second.layer)


def test_chosen_layers_come_from_the_pass_and_the_others_on_request(
    funasr_model: Any, sound: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = funasr_model.trace(sound).self_attention().values
    trace = funasr_model.trace(sound, layers=[-1, 1])
    runs: list[list[str]] = []
    run = funasr_model.run
    monkeypatch.setattr(funasr_model, "run", lambda feeds, names: runs.append(names) or run(feeds, names))
    np.testing.assert_array_equal(trace.self_attention([1, 4]).values, whole[[1, 4]])
    assert runs == []
    np.testing.assert_array_equal(trace.self_attention([4, 0, 1]).values, whole[[4, 0, 1]])
    assert [names[1:] for names in runs] == [[funasr_model.anatomy.blocks[0].probabilities]]
    with pytest.raises(OptionError, match="layer 5 does not exist: there are 5 layers, 0 to 4"):
        funasr_model.trace(sound, layers=[5])


def test_the_parts_of_a_layer_add_up(funasr_model: Any, sound: Any) -> None:
    trace = funasr_model.trace(sound)
    get = {name: trace.tensor(name, layers=[1, 2, 3, 4]).values for name in funasr_model.anatomy.blocks[1].tensors}
    assert np.abs(get["projection"] + get["memory"] - get["attended"]).max() <= 1e-5
    assert np.abs(get["input"] + get["attended"] - get["middle"]).max() <= 1e-5
    assert np.abs(get["output"][0] - get["input"][1]).max() == 0  # layer 2 takes what layer 1 gives
    weights = trace.self_attention(layers=[1]).values[0]
    heads = get["value"][0].reshape(39, 4, 12).transpose(1, 0, 2)
    assert np.abs((weights @ heads).transpose(1, 0, 2).reshape(39, 48) - get["context"][0]).max() <= 1e-5


def test_tensors_of_different_widths_do_not_mix(funasr_model: Any, sound: Any) -> None:
    trace = funasr_model.trace(sound)
    assert trace.tensor("input", layers=[0]).shape == (1, 39, 560)
    assert trace.tensor("input", layers=[1, 1]).shape == (2, 39, 48)
    with pytest.raises(OptionError, match=r"'input' of these layers has the widths \[48, 560\]; choose layers of one"):
        trace.tensor("input")
    with pytest.raises(OptionError, match="no inner tensor is called 'soul'; choose one of input, value, context"):
        trace.tensor("soul")


@pytest.mark.parametrize(
    ("layers", "heads", "message"),
    [
        ([5], None, "layer 5 does not exist: there are 5 layers, 0 to 4"),
        ([-6], None, "layer -1 does not exist|layer -6 does not exist"),
        (None, [4], "head 4 does not exist: there are 4 heads, 0 to 3"),
        ([0], [0, 99], "head 99 does not exist"),
    ],
)
def test_layers_and_heads_that_do_not_exist(layers: Any, heads: Any, message: str, funasr_model: Any, sound: Any) -> None:
    trace = funasr_model.trace(sound)
    for call in (trace.self_attention, trace.token_attention):
        with pytest.raises(OptionError, match=message) as caught:
            call(layers, heads)
        assert "\n" not in str(caught.value)


def test_an_unknown_language_is_refused_with_the_known_ones(funasr_model: Any, sound: Any) -> None:
    calls = [funasr_model.trace, funasr_model.transcribe, lambda one, language: funasr_model.transcribe_batch([one], language)]
    for call in calls:
        with pytest.raises(OptionError, match=r"'tlh' is not known .* auto, zh, en, yue, ja, ko, nospeech") as caught:
            call(sound, "tlh")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_holds_at_least_one(funasr_model: Any, sound: Any, size: int) -> None:
    with pytest.raises(OptionError, match=f"batch_size must be at least 1, got {size}"):
        funasr_model.transcribe_batch([sound], batch_size=size)


def test_an_empty_batch_gives_nothing(funasr_model: Any) -> None:
    assert funasr_model.transcribe_batch([]) == []


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_must_be_positive(threads: int) -> None:
    with pytest.raises(OptionError, match="threads must be at least 1"):
        voxray.load_model(threads=threads)


def test_an_unknown_provider_is_refused(data: Path) -> None:
    with pytest.raises(OptionError, match=r"'NoSuchProvider' is not installed; this onnxruntime has: ") as caught:
        voxray.load_model(data / "sensevoice-funasr", providers=["NoSuchProvider"])
    assert "\n" not in str(caught.value)


def test_one_thread_gives_the_same(data: Path, funasr_model: Any, sound: Any) -> None:
    part = features(sound, funasr_model.cmvn)
    alone = voxray.load_model(data / "sensevoice-funasr" / "model.onnx", threads=1)
    assert np.abs(alone.logits([part])[0] - funasr_model.logits([part])[0]).max() <= 1e-5


def test_of_a_folder_the_finest_model_is_taken(data: Path, model_folder: Path) -> None:
    assert open_model(data / "sensevoice-funasr").info.precision == "fp32"
    shutil.copyfile(data / "sensevoice-funasr" / "model_quant.onnx", model_folder / "a.onnx")
    assert open_model(model_folder).graph.path.name == "model.onnx"
    (model_folder / "model.onnx").unlink()
    assert open_model(model_folder).info.precision == "int8"


def test_hidden_files_and_folders_are_no_models(model_folder: Path) -> None:
    (model_folder / "._model.onnx").write_bytes(b"left by a file system")
    (model_folder / "folder.onnx").mkdir()
    assert [file.name for file in model_files(model_folder)] == ["model.onnx"]


def test_a_damaged_file_is_told_and_not_passed_over(model_folder: Path, data: Path) -> None:
    shutil.copyfile(data / "sensevoice-funasr" / "model_quant.onnx", model_folder / "model_quant.onnx")
    (model_folder / "model.onnx").write_bytes(b"half a download")
    with pytest.raises(ModelError, match=r"model\.onnx is not a whole ONNX model"):
        open_model(model_folder)
    assert open_model(model_folder / "model_quant.onnx").info.precision == "int8"


def with_metadata(folder: Path, **entries: str) -> Path:
    model = onnx.load(folder / "model.onnx")
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_languages_and_normalisation_may_come_with_the_file(model_folder: Path) -> None:
    (model_folder / "am.mvn").unlink()
    shift, scale = (",".join(str(number) for number in np.linspace(*ends, 560)) for ends in ((-9, -8), (0.1, 0.2)))
    path = with_metadata(model_folder, lang_auto="0", lang_en="4", neg_mean=shift, inv_stddev=scale)
    model = voxray.load_model(path)
    assert model.languages == ("auto", "en")
    assert model.feeds([np.zeros((1, 560), np.float32)], "en", textnorm=False)["language"].tolist() == [4]
    assert model.cmvn.shift[[0, -1]].tolist() == [-9, -8]
    assert model.cmvn.scale[[0, -1]].tolist() == pytest.approx([0.1, 0.2])


def test_threads_may_share_a_model(funasr_model: Any, sound: Any) -> None:
    model = open_model(funasr_model.graph.path)
    expected = funasr_model.trace(sound)

    def work(index: int) -> Any:
        if index % 3 == 0:
            return model.trace(sound).tensor("memory", [index % 5]).values, expected.tensor("memory", [index % 5]).values
        layer = index % 5
        return model.trace(sound).self_attention([layer]).values, expected.self_attention([layer]).values

    with ThreadPoolExecutor(4) as pool:
        for found, wanted in pool.map(work, range(24)):
            np.testing.assert_array_equal(found, wanted)


def test_int8_batches_shift_a_little(bundled_int8: Any, clips: Path) -> None:
    paths = sorted(path for path in clips.glob("*.wav") if path.name != "en_noise_burst.wav")  # its word is on the edge
    alone = [bundled_int8.transcribe(path) for path in paths]
    together = bundled_int8.transcribe_batch(paths, batch_size=8)
    assert [one.text for one in together] == [one.text for one in alone]
    for one, other in zip(alone, together, strict=True):
        shifts = [a.log_prob - b.log_prob for a, b in zip(one.tokens, other.tokens, strict=True)]
        assert np.abs(shifts).max() <= 0.3


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"lang_auto": "0", "lang_en": "four"}, r"model\.onnx: its metadata says lang_en 'four', a whole number was expected"),
        ({"lang_en": "4"}, "its metadata has languages but no lang_auto; export it again"),
        ({"blank_id": "no"}, "its metadata says blank_id 'no', a whole number was expected"),
        ({"blank_id": "280"}, "its metadata says blank_id 280, but it has 280 tokens"),
        ({"with_itn": "on"}, "its metadata says with_itn 'on', a whole number was expected"),
        ({"neg_mean": "a,b", "inv_stddev": "1,2"}, "the normalisation in its metadata is damaged; export it again"),
        ({"neg_mean": "1,2,3", "inv_stddev": "1,2"}, "the normalisation in its metadata is damaged; export it again"),
        ({"neg_mean": "1,2", "inv_stddev": "1,2"}, "its normalisation has 2 numbers, 560 were expected"),
    ],
)
def test_damaged_metadata_is_told_in_one_line(entries: dict[str, str], message: str, model_folder: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        voxray.load_model(with_metadata(model_folder, **entries))
    assert "\n" not in str(caught.value)


def test_a_long_sound_is_cut_and_its_times_stay_absolute(bundled: Any, clips: Path) -> None:
    """Every piece is recognised as if it were alone, and what it says is told at its place in the whole."""
    clip = voxray.load_audio(clips / "en_neutral_speech.wav").samples
    period = np.zeros(4 * 16000, np.float32)
    period[: len(clip)] = clip
    audio = voxray.Audio(np.tile(period, 10))
    spans = voice_segments(audio, max_duration=30.0)
    trace = bundled.trace(audio)
    assert len(trace.pieces) == len(spans) >= 2
    assert len(trace.tags) == 4 * len(spans)
    assert trace.pieces[0].rows[0] == trace.pieces[0].tokens[0] == 0
    for index, (piece, (start, stop)) in enumerate(zip(trace.pieces, spans, strict=True)):
        alone = bundled.trace(audio.cut(start, stop))
        tokens = trace.tokens[slice(*piece.tokens)]
        assert piece.start == pytest.approx(start)
        assert piece.end - piece.start <= 30.1
        assert [token.id for token in tokens] == [token.id for token in alone.tokens]
        assert [token.start for token in tokens] == pytest.approx([token.start + start for token in alone.tokens], abs=0.02)
        assert [token.peak for token in tokens] == [token.peak + piece.rows[0] for token in alone.tokens]
        assert [tag.label for tag in trace.tags[4 * index : 4 * index + 4]] == [tag.label for tag in alone.tags]
        assert np.abs(trace.log_probs[slice(*piece.rows)] - alone.log_probs).max() <= 1e-4
    assert trace.log_probs.shape == (trace.pieces[-1].rows[1], len(bundled.vocabulary))
    assert trace.pieces[-1].tokens[1] == len(trace.tokens)
    assert np.abs(bundled.trace(audio, keep=0).log_probs - trace.log_probs).max() <= 1e-4
    assert bundled.transcribe(audio).text == trace.text
