"""Described models: three by their own exporters, a SenseVoice told as plain CTC, and everything that can be told wrongly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import voxray
from voxray import ctc
from voxray.graph.graph import Graph
from voxray.models import open_model
from voxray.models.generic import Recogniser
from voxray.models.generic.description import _toml
from voxray.models.generic.template import template
from voxray.types import AudioError, Features, ModelError, OptionError, TraceError

DATA = Path(__file__).parents[2] / "data"
ODD, SHORT = DATA / "audio" / "odd.wav", DATA / "audio" / "short.wav"
NAMES = ("wav2vec2", "bert", "parakeet")
FEATURES = {"wav2vec2": 1e-6, "bert": 5e-4, "parakeet": 5e-5}  # of float32 front-ends of other makes
SENSEVOICE = """
[input]
sound = "speech"
lengths = "speech_lengths"
constants = {language = 0, textnorm = 15}
[output]
scores = "ctc_logits"
prompts = 4
[vocabulary]
file = "tokens.json"
blank = "<unk>"
[time]
hop = 0.06
first = 0.0125
[front_end]
kind = "kaldi-fbank"
window = "hamming"
normalise = "global"
cmvn = "am.mvn"
stack = 7
stride = 6
"""


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Recogniser:
    return opened(DATA / f"generic-{name}")


@pytest.fixture(scope="module")
def golden(name: str) -> dict[str, Any]:
    with np.load(DATA / f"generic-{name}" / "golden.npz") as file:
        return {key: laid(name, file[key]) if key in ("features", "gradient") else file[key] for key in file}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the smallest fixture, to be spoilt."""
    for file in ("model.onnx", "vocab.json", "voxray.toml"):
        shutil.copy(DATA / "generic-wav2vec2" / file, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def sensevoice(tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    place = tmp_path_factory.mktemp("told")
    for file in ("model.onnx", "tokens.json", "am.mvn"):
        shutil.copy(DATA / "sensevoice-funasr" / file, place)
    (place / "voxray.toml").write_text(SENSEVOICE, encoding="utf-8")
    return opened(place)


def opened(path: Path) -> Recogniser:
    model = open_model(path)
    assert isinstance(model, Recogniser)
    return model


def laid(name: str, values: Any) -> Any:
    """Features as Voxray lays them, (T, D), of what went into the model."""
    return values[:, None] if values.ndim == 1 else values.T if name == "parakeet" else values


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "voxray.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# What PyTorch made of it --------------------------------------------------------------------------------------------------------


def test_features_are_those_of_its_own_extractor(name: str, model: Recogniser, golden: dict[str, Any]) -> None:
    (part,) = model.trace(ODD).features
    assert part.values.shape == golden["features"].shape
    assert np.abs(part.values - golden["features"]).max() < FEATURES[name]


def test_logits_and_attention_equal_pytorch(model: Recogniser, golden: dict[str, Any]) -> None:
    part = Features(np.ascontiguousarray(golden["features"]), 0.01, 0.0)
    evidence = model.replay(part, "auto", textnorm=False)
    assert np.abs(evidence.logits() - golden["logits"]).max() < 3e-5 * np.abs(golden["logits"]).max()
    looks = evidence.attention([0, 1])
    assert looks.shape == golden["attention"].shape
    assert np.abs(looks - golden["attention"]).max() < 1e-5
    assert np.abs(looks.sum(axis=-1) - 1).max() < 1e-5
    assert golden["attention"].max() > 3 / looks.shape[-1]  # else a model that looks everywhere alike would pass


def test_gradient_equals_autograd(model: Recogniser, golden: dict[str, Any]) -> None:
    values = np.ascontiguousarray(golden["features"])
    seeds = [golden[key][None] for key in ("rows", "picked", "weights")]
    tape = model.tape_of(values[None], "auto", textnorm=False, frozen=False)
    found = tape.pull(*seeds).gradient
    assert found.shape == (1, *values.shape)
    assert np.abs(found[0] - golden["gradient"]).max() < 1e-5 * np.abs(golden["gradient"]).max()


def test_gradients_of_several_items_are_those_of_each(model: Recogniser, golden: dict[str, Any]) -> None:
    values = np.ascontiguousarray(golden["features"])
    both = np.stack([values, values * 0.9])
    seeds = [np.stack([golden[key]] * 2) for key in ("rows", "picked", "weights")]
    together = model.tape_of(both, "auto", textnorm=False, frozen=False)
    alone = model.tape_of(both[1:], "auto", textnorm=False, frozen=False)
    assert together.logits.shape[0] == 2
    assert np.array_equal(together.pull(*seeds).gradient[1], alone.pull(*(one[:1] for one in seeds)).gradient[0])


def test_text_is_the_greedy_path(name: str, model: Recogniser, golden: dict[str, Any]) -> None:
    trace = model.trace(ODD)
    runs = ctc.runs(golden["ids"], model.blank)
    hidden = {model.vocabulary.ids[one] for one in model.told.vocabulary.hidden}
    shown = [run for run in runs if run.id not in hidden]
    assert [token.id for token in trace.tokens] == [run.id for run in shown]
    assert [token.rows for token in trace.tokens] == [(run.first, run.stop) for run in shown]
    edges = [edge for token in trace.tokens for edge in (token.start, token.end)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < edges[-1] <= trace.audio.duration
    assert trace.text == model.vocabulary.spell(run.id for run in shown)
    assert trace.text == model.transcribe(ODD).text
    assert "▁" not in trace.text
    assert "|" not in trace.text
    assert len(trace.words) == len(trace.text.split())


def test_log_probs_are_log_probs(model: Recogniser, golden: dict[str, Any]) -> None:
    wanted = golden["logits"] - np.logaddexp.reduce(golden["logits"].astype(np.float64), axis=1, keepdims=True)
    found = model.trace(ODD).log_probs
    assert np.abs(np.exp(found).sum(axis=1) - 1).max() < 1e-5
    assert np.abs(found - wanted).max() < 5e-4


def test_views_have_the_clock_of_the_output(model: Recogniser, golden: dict[str, Any]) -> None:
    trace = model.trace(ODD)
    rows, told = len(golden["ids"]), model.told.time
    assert trace.times == pytest.approx(told.start + told.hop * np.arange(rows))
    looks = trace.self_attention()
    assert looks.shape == (2, 2, rows, rows)
    assert looks["query_time"].values == pytest.approx(trace.times)
    tokens = trace.token_attention()
    assert tokens.shape == (2, 2, len(trace.tokens), rows)
    assert np.abs(tokens.values.sum(axis=-1) - 1).max() < 1e-5
    assert trace.occupancy().shape == (len(trace.tokens), rows)
    assert trace.head_norms().shape == (2, 2, len(trace.tokens))


def test_head_norms_are_norms_of_what_heads_add(model: Recogniser) -> None:
    evidence = model.trace(ODD).evidence[0]
    value, looks = evidence.tensor("value", [0])[0], evidence.attention([0])[0]
    context = evidence.tensor("context", [0])[0]
    width = value.shape[1] // model.heads
    for head in range(model.heads):
        part = slice(head * width, (head + 1) * width)
        assert np.abs(looks[head] @ value[:, part] - context[:, part]).max() < 1e-4 * np.abs(context).max()
    block = model.anatomy.blocks[0]
    assert block.projection is not None
    weight = np.asarray(model.graph.constant(block.projection.weight))
    weight = weight.T if block.projection.operator == "Gemm" else weight
    slow = [
        [np.linalg.norm(row[h * width : (h + 1) * width] @ weight[h * width : (h + 1) * width]) for row in context]
        for h in range(2)
    ]
    assert evidence.head_norms([0])[0] == pytest.approx(np.array(slow), rel=1e-4)


def test_a_trace_is_saved_and_read(model: Recogniser, tmp_path: Path) -> None:
    trace = model.trace(ODD)
    back = voxray.load_trace(trace.save(tmp_path / "a.trace"))
    assert back.times == pytest.approx(trace.times)
    assert back.text == trace.text
    assert np.array_equal(back.token_attention().values, trace.token_attention().values)


def test_names_are_not_looked_at(name: str, model: Recogniser, tmp_path: Path) -> None:
    place = tmp_path / "renamed"
    shutil.copytree(DATA / f"generic-{name}", place)
    graph = onnx.load(place / "model.onnx")
    kept = {one.name for one in (*graph.graph.input, *graph.graph.output)} | {""}
    every = [name for node in graph.graph.node for name in (*node.input, *node.output)] + [
        one.name for one in graph.graph.initializer
    ]
    renamed = {name: name if name in kept else f"t{index}" for index, name in enumerate(dict.fromkeys(every))}
    for index, node in enumerate(graph.graph.node):
        node.name = f"n{index}"
        del node.metadata_props[:]
        for names in (node.input, node.output):
            names[:] = [renamed[one] for one in names]
    for tensor in graph.graph.initializer:
        tensor.name = renamed[tensor.name]
    del graph.graph.value_info[:]
    onnx.save(graph, place / "model.onnx")
    other = opened(place)
    assert (other.layers, other.heads) == (model.layers, model.heads)
    mine, its = (one.trace(SHORT) for one in (model, other))
    assert mine.self_attention().values == pytest.approx(its.self_attention().values, abs=1e-6)


# Explanations -------------------------------------------------------------------------------------------------------------------


def test_nothing_hidden_changes_nothing(model: Recogniser) -> None:
    trace = model.trace(ODD)
    front = model.front(trace)
    again = front.normalised(front.bank)
    if front.mels > 1:
        assert np.array_equal(again, trace.features[0].values)
    assert np.array_equal(front.seen(front.audio.samples), trace.features[0].values)
    assert front.cells.shape == front.bank.T.shape
    assert front.cells.centres[0] == pytest.approx(front.first)


def test_folding_is_the_adjoint_of_laying_out(model: Recogniser) -> None:
    trace, dice = model.trace(ODD), np.random.default_rng(0)
    front = model.front(trace)
    mask = dice.random(front.bank.shape) < 0.1
    relevance = dice.standard_normal(trace.features[0].values.shape)
    slots = front.slots(mask)
    assert slots.shape == relevance.shape
    if model.told.front_end.__class__.__name__ == "Waveform":
        assert np.array_equal(slots[:, 0], mask[np.arange(len(slots)) // 160, 0])
    assert (front.fold(relevance).T * mask).sum() == pytest.approx((relevance * slots).sum())


def test_hiding_one_cell_moves_no_other(model: Recogniser) -> None:
    trace = model.trace(ODD)
    front = model.front(trace)
    hidden = np.zeros(front.bank.shape, bool)
    hidden[50:60] = True
    slots = front.slots(hidden)
    changed = front.normalised(np.where(hidden, np.float32(front.silence), front.bank))
    if front.mels > 1:
        assert np.array_equal(changed[~slots], trace.features[0].values[~slots])
        assert (changed != trace.features[0].values).sum() > 0.9 * slots.sum()  # some cells were silent before
    else:  # loud stretches are laid from stretches as loud, those hidden are silent
        assert np.ptp(changed[slots]) == 0


def test_occlusion_equals_a_plain_run(model: Recogniser) -> None:
    trace = model.trace(ODD)
    found = voxray.explain(model, trace, "text", method="occlusion", width=0.5, hop=0.5, fill="silence", domain="waveform")
    assert found.unit == "nats"
    front, samples = model.front(trace), trace.audio.samples.copy()
    gain = np.zeros(len(samples))
    edge = round((found.grid.times[0] + 0.5) * 16000)
    gain[:edge] = 1
    ramp = np.convolve(np.pad(gain, 40, mode="edge"), np.ones(80) / 80, mode="valid")[: len(samples)]
    part = Features(front.seen((samples * (1 - ramp)).astype(np.float32)), trace.features[0].hop, trace.features[0].start)
    posteriors = ctc.log_softmax(model.logits([part])[0])
    score = ctc.log_likelihood(posteriors, [token.id for token in trace.tokens], model.blank)
    drop = found.score - score
    assert found.between(found.grid.times[0], found.grid.times[0] + 0.4) == pytest.approx(0.8 * drop, rel=0.05, abs=0.05)


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients", "occlusion", "lime", "attention"])
def test_methods_run(model: Recogniser, method: str) -> None:
    found = voxray.explain(model, model.trace(ODD), "word:1", method=method)
    assert np.isfinite(found.scores).all()
    assert np.abs(found.scores).sum() > 0
    if method == "integrated_gradients":
        assert abs(found.residual) < 0.02 * abs(found.score - found.parts["baseline"]) + 1e-3


def test_what_it_gives(model: Recogniser) -> None:
    assert model.gives == {"attention", "gradients", "passes", "split"}


@pytest.mark.parametrize("target", ["word:1", "text", "token:2"])
def test_exact_relevance_adds_up(model: Recogniser, target: str) -> None:
    found = voxray.explain(model, model.trace(ODD), target, method="exact")
    assert abs(found.residual) < 1e-5 * max(np.abs(found.scores).sum(), 1.0)
    assert set(found.parts) == {"bias"}
    assert np.abs(found.scores).sum() > 0.1 * abs(found.score)


def test_exact_relevance_is_the_change_of_the_held_network(model: Recogniser) -> None:
    """With all routing held the network is affine: along the features' own direction its slope is what cells carry together."""
    trace = model.trace(ODD)
    values = trace.features[0].values
    seeds = [np.array([[3, 3]]), np.array([[1, 2]]), np.array([[1.0, -1.0]])]
    tape = model.tape_of(values[None], "auto", textnorm=False, frozen=True)
    pulled = tape.pull(*seeds)
    margin = float(tape.logits[0, 3, 1]) - float(tape.logits[0, 3, 2])
    carried = float((pulled.gradient[0].astype(np.float64) * values).sum())
    assert carried + float(pulled.constants["bias"][0]) == pytest.approx(margin, abs=2e-4 * float(np.abs(tape.logits).max()))
    full = model.tape_of(values[None], "auto", textnorm=False, frozen=False).pull(*seeds)
    assert full.constants == {}
    assert np.abs(full.gradient - pulled.gradient).max() > 0.1 * np.abs(full.gradient).max()


def test_emission_stands_at_the_row_that_emits(model: Recogniser) -> None:
    trace = model.trace(ODD)
    found = voxray.explain(model, trace, "token:3", method="emission")
    middle = float(found.grid.centres[found.over_time.argmax()])
    assert middle == pytest.approx(trace.times[trace.tokens[3].peak], abs=0.0051)


@pytest.mark.parametrize("method", ["alti", "knockout", "norm_rollout"])
def test_what_needs_an_architecture_is_refused(model: Recogniser, method: str) -> None:
    with pytest.raises(OptionError, match=r"occlusion") as caught:
        voxray.explain(model, model.trace(SHORT) if model.trace(SHORT).tokens else model.trace(ODD), "text", method=method)
    assert "\n" not in str(caught.value)


def test_tags_and_prompts_are_refused(model: Recogniser) -> None:
    with pytest.raises(OptionError, match="told no language, got 'zh'"):
        model.transcribe(ODD, "zh")
    with pytest.raises(OptionError, match="normalises no text"):
        model.transcribe(ODD, textnorm=True)
    with pytest.raises(OptionError, match="decides no emotion"):
        voxray.explain(model, model.trace(ODD), "emotion", method="occlusion")


def test_too_short_a_sound_is_told(model: Recogniser) -> None:
    with pytest.raises(AudioError, match="too short"):
        model.transcribe(np.zeros(150, np.float32))


def test_long_sound_is_cut_and_stays_on_the_clock(name: str, model: Recogniser) -> None:
    sound = voxray.load_audio(ODD).samples
    long = np.concatenate([sound, np.zeros(16000, np.float32)] * 11)
    trace = model.trace(long)
    assert trace.audio.duration > 30
    assert len(trace.pieces) > 1
    assert (np.diff(trace.times) > 0).all()
    for index, piece in enumerate(trace.pieces):
        one = trace.piece(index)
        front = model.front(one)
        assert one.times[0] - piece.start == pytest.approx(model.told.time.start, abs=1e-6)
        assert len(front.normalised(front.bank)) == len(one.features[0].values)
    spoken = next(index for index, piece in enumerate(trace.pieces) if index and piece.tokens[0] < piece.tokens[1])
    found = voxray.explain(model, trace, f"text@{spoken}", method="occlusion", width=4.0, hop=4.0)
    assert found.scores.any()
    assert found.grid.times[0] == pytest.approx(trace.pieces[spoken].start, abs=0.05)
    assert found.grid.times[0] > 2


# A SenseVoice told as plain CTC ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sound", ["odd", "short", "stereo"])
def test_a_described_sensevoice_is_the_sensevoice(sensevoice: Recogniser, sound: str) -> None:
    own = open_model(DATA / "sensevoice-funasr" / "model.onnx")
    mine, its = (one.trace(DATA / "audio" / f"{sound}.wav") for one in (sensevoice, own))
    assert mine.model.family == "generic"
    assert its.model.family == "sensevoice"
    assert mine.text == its.text
    assert mine.tokens == its.tokens
    assert mine.words == its.words
    assert mine.times == pytest.approx(its.times)
    assert np.array_equal(mine.log_probs, its.log_probs)
    assert np.array_equal(mine.self_attention().values, its.self_attention().values)
    assert np.array_equal(mine.token_attention().values, its.token_attention().values)
    assert mine.tags == ()


@pytest.mark.parametrize(("method", "tolerance"), [("gradient", 1e-5), ("exact", 1e-5), ("occlusion", 1e-5)])
def test_explanations_of_a_described_sensevoice(sensevoice: Recogniser, method: str, tolerance: float) -> None:
    own: Any = open_model(DATA / "sensevoice-funasr" / "model.onnx")
    mine, its = (voxray.explain(one, ODD, "word:1", method=method) for one in (sensevoice, own))
    assert mine.grid.times == pytest.approx(its.grid.times)
    assert np.abs(mine.scores - its.scores).max() < tolerance * np.abs(its.scores).max()
    if method == "exact":
        assert sum(mine.parts.values()) == pytest.approx(sum(its.parts.values()), abs=1e-4)


# How it is found ------------------------------------------------------------------------------------------------------


def test_json_says_what_toml_says(folder: Path) -> None:
    path = folder / "voxray.toml"
    told = _toml().loads(path.read_text(encoding="utf-8"))
    before = opened(folder).told
    path.unlink()
    (folder / "voxray.json").write_text(json.dumps(told), encoding="utf-8")
    after = opened(folder).told
    assert (after.input, after.output, after.vocabulary, after.time, after.front_end) == (
        before.input, before.output, before.vocabulary, before.time, before.front_end,
    )  # fmt: skip


def test_a_folder_of_several_models(folder: Path) -> None:
    shutil.copy(DATA / "generic-bert" / "model.onnx", folder / "other.onnx")
    change(folder, "[input]", 'model = "model.onnx"\n[input]')
    assert opened(folder).graph.path.name == "model.onnx"


def test_the_description_of_a_file_in_onnx(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert opened(folder).layers == 2


def test_without_a_description_the_way_is_told(folder: Path) -> None:
    (folder / "voxray.toml").unlink()
    with pytest.raises(ModelError, match=r"no recogniser that Voxray knows.*voxray\.toml"):
        open_model(folder)


def test_two_descriptions_are_refused(folder: Path) -> None:
    (folder / "voxray.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="holds both"):
        open_model(folder)


def test_a_template_opens_once_it_is_filled_in(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    shutil.copytree(DATA / f"generic-{name}", place)
    told = opened(place).told
    (place / told.path.name).unlink()
    draft = _toml().loads(template(Graph(place / "model.onnx")))
    assert draft["input"] == {
        key: value for key, value in (("sound", told.input.sound), ("layout", told.input.layout), ("lengths", told.input.lengths),
        ("mask", told.input.mask)) if value
    }  # fmt: skip
    assert draft["output"]["log_probs"] == told.output.log_probs
    draft["vocabulary"] |= {"file": told.vocabulary.file, "blank": told.vocabulary.blank, "space": told.vocabulary.space}
    draft["time"] = {"hop": told.time.hop, "first": told.time.start}
    draft["front_end"]["normalise"] = "mean-std"
    (place / "voxray.json").write_text(json.dumps(draft), encoding="utf-8")
    assert opened(place).told.front_end.__class__ == told.front_end.__class__


# What can be told wrongly ---------------------------------------------------------------------------------------------

WRONG = [
    ("[input]", "[inputs]", r"inputs is not known \(did you mean input\?\)"),
    ("[output]", "[time2]", "time2 is not known"),
    ("[input]", "kind = \"transducer\"\n[input]", "kind is 'transducer'; expected ctc or encoder-decoder"),
    ("[input]", "model = 3\n[input]", "model is 3; expected a text"),
    ('sound = "input_values"', 'sound = "speech"', "input.sound is 'speech'; expected an input of model.onnx: input_values"),
    ('sound = "input_values"', "sound = 5", "input.sound is 5; expected a text"),
    ('sound = "input_values"', "", "input.sound is missing; expected a text"),
    ('sound = "input_values"', 'sound = "input_values"\nsond = 1', r"input.sond is not known \(did you mean sound\?\)"),
    ('sound = "input_values"', 'sound = "input_values"\nlengths = "n"', "input.lengths is 'n'; expected an input"),
    ('sound = "input_values"', 'sound = "input_values"\nmask = "input_values"', "expected another input"),
    ('sound = "input_values"', 'sound = "input_values"\nlayout = "tf"', "input.layout is 'tf'; expected time-features or"),
    ('sound = "input_values"', 'sound = "input_values"\nconstants = {a = 1}', "input.constants.a is 'a'; expected an input"),
    ('scores = "logits"', 'scores = "probs"', "output.scores is 'probs'; expected an output of model.onnx: logits"),
    ('scores = "logits"', 'scores = "logits"\nlog_probs = true', "output.log_probs is True; expected false"),
    ('scores = "logits"', 'scores = "logits"\nlog_probs = 1', "output.log_probs is 1; expected true or false"),
    ('scores = "logits"', 'scores = "logits"\nprompts = -1', "output.prompts is -1; expected a number from 0"),
    ('scores = "logits"', 'scores = "logits"\nlayout = "vocabulary-time"', "vocab.json with 32 tokens, but the model emits 49"),
    ('file = "vocab.json"', 'file = "tokens.txt"', "vocabulary.file names .*tokens.txt, which is not there"),
    ('file = "vocab.json"', 'file = "../vocab.json"', "vocabulary.file is '../vocab.json'; expected a file beside the description"),
    ('file = "vocab.json"', 'file = "/vocab.json"', "vocabulary.file is '/vocab.json'; expected a file beside the description"),
    ('blank = "<pad>"', 'blank = "<blk>"', "vocabulary.blank is '<blk>'; expected a piece of vocab.json or an id from 0 to 31"),
    ('blank = "<pad>"', "blank = 32", "vocabulary.blank is 32"),
    ('blank = "<pad>"', "blank = 1.5", "vocabulary.blank is 1.5; expected a text or a whole number"),
    ('space = "|"', 'space = "#"', "vocabulary.space is '#', which no piece"),
    ('hidden = ["<s>"', 'hidden = ["<z>"', "vocabulary.hidden names '<z>'"),
    ('hidden = ["<s>", "</s>", "<unk>"]', 'hidden = "<s>"', "vocabulary.hidden is '<s>'; expected a list of texts"),
    ("hop = 0.02 ", "hop = 0.04 ", "time.hop is 0.04; expected about 0.0204, since 1 s give 49 rows"),
    ("hop = 0.02 ", "hop = 20 ", "time.hop is 20.0; expected a number from 0.001 to 1"),
    ("hop = 0.02 ", "hop = nan ", "time.hop is nan; expected a number"),
    ("first = 0.0125", "first = 12.5", "time.first is 12.5; expected a number from -1 to 1"),
    ('kind = "waveform"', 'kind = "mfcc"', "front_end.kind is 'mfcc'; expected waveform, kaldi-fbank or log-mel"),
    ('kind = "waveform"', "", "front_end.kind is None"),
    ('kind = "waveform"', 'kind = "kaldi-fbank"', "an input of batch, time and features"),
    ('kind = "waveform"', 'kind = "waveform"\nmels = 80', "front_end.mels is not known"),
    ('normalise = "mean-std"', 'normalise = "global"', "front_end.normalise is 'global'; expected none, mean or mean-std"),
    ('normalise = "mean-std"', 'normalise = "cmvn"', "front_end.normalise is 'cmvn'; expected none, mean, mean-std or global"),
    ('normalise = "mean-std"', "scale = 0", "front_end.scale is 0.0; expected a number from 1e-06"),
    ("[time]", "[time", "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[new.replace("\n", " ")[:40] for _, new, _ in WRONG])
def test_what_is_told_wrongly_is_named(folder: Path, old: str, new: str, told: str) -> None:
    change(folder, old, new)
    with pytest.raises(ModelError, match=told) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)
    assert "voxray.toml" in str(caught.value)


BANK = [
    ({"mels": 40}, "front_end is '80 numbers a row'; expected 160"),
    ({"stack": 100}, "front_end.stack is 100; expected a number from 1 to 64"),
    ({"normalise": "global"}, "expected with it either cmvn, a file, or mean and std"),
    ({"mean": 1.0, "std": 1.0}, "front_end.normalise is 'mean-std'; expected 'global'"),
    ({"normalise": "global", "mean": [1.0], "std": [-1.0]}, "every std above 0"),
    ({"normalise": "global", "mean": [1.0, 2.0], "std": [1.0, 1.0]}, "has 2 numbers; expected 1 or 80 or 160"),
    ({"normalise": "global", "cmvn": "none.mvn"}, "no such file"),
    ({"normalise": "global", "cmvn": "none.json"}, "names .*none.json, which is not there"),
    ({"normalise": "global", "cmvn": "voxray.json"}, "names .*voxray.json, which cannot be read"),
    ({"window": "kaiser"}, "front_end.window is 'kaiser'; expected povey, hamming, hann or rectangular"),
    ({"mean": "much"}, "front_end.mean is 'much'; expected a number or a list of numbers"),
    ({"kind": "log-mel", "n_fft": 256}, "front_end.n_fft is 256; expected at least the 400 samples"),
]


@pytest.mark.parametrize(("front", "told"), BANK, ids=[str(list(one)) for one, _ in BANK])
def test_what_is_told_wrongly_of_a_bank(tmp_path: Path, front: dict[str, Any], told: str) -> None:
    for file in ("model.onnx", "vocab.txt"):
        shutil.copy(DATA / "generic-bert" / file, tmp_path)
    whole = _toml().loads((DATA / "generic-bert" / "voxray.toml").read_text(encoding="utf-8"))
    whole["front_end"] |= front
    (tmp_path / "voxray.json").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(ModelError, match=told) as caught:
        open_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_input_that_is_not_described(tmp_path: Path) -> None:
    for file in ("model.onnx", "vocab.txt", "voxray.toml"):
        shutil.copy(DATA / "generic-bert" / file, tmp_path)
    change(tmp_path, 'mask = "attention_mask"', "")
    with pytest.raises(ModelError, match=r"an input 'attention_mask' that is not described; give it in input\.constants"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('"a"', "expected a number, or a list"),
        ("[1, 2]", r"numbers of the shape \['batch_size'\]"),
        ("[[1, 2], [3]]", "rows of one length"),
    ],
)
def test_constants_of_wrong_shapes(sensevoice: Recogniser, tmp_path: Path, value: str, told: str) -> None:
    place = tmp_path / "a"
    shutil.copytree(sensevoice.graph.path.parent, place)
    change(place, "language = 0", f"language = {value}")
    if value == "[1, 2]":  # two languages for one sound: the file takes any batch, so it is the run that fails
        told = r"with these inputs|numbers of the shape"
    with pytest.raises(ModelError, match=told):
        open_model(place)


# Graphs made by hand --------------------------------------------------------------------------------------------------


def made(place: Path, nodes: list[Any], weights: dict[str, Any], *, front: str = "stack = 1") -> Path:
    """A model that takes (B, T, 80) and gives (B, T, 4)."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "t", 80])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", "t", 4])]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place / "model.onnx")
    (place / "tokens.txt").write_text("<blk> 0\na 1\n▁b 2\n▁ 3\n", encoding="utf-8")
    (place / "voxray.toml").write_text(
        f'[input]\nsound = "x"\n[output]\nscores = "y"\n[vocabulary]\nfile = "tokens.txt"\nblank = 0\n[time]\nhop = 0.01\n'
        f'[front_end]\nkind = "kaldi-fbank"\n{front}\n', encoding="utf-8",
    )  # fmt: skip
    return place


def weights() -> dict[str, Any]:
    return {"w": np.random.default_rng(4).standard_normal((80, 4)).astype(np.float32)}


def test_a_model_without_attention_works_but_for_its_views(tmp_path: Path) -> None:
    model = opened(made(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], weights()))
    assert (model.layers, model.heads) == (0, 0)
    trace = model.trace(ODD)
    assert np.abs(trace.evidence[0].logits() - trace.features[0].values @ weights()["w"]).max() < 1e-3
    assert trace.times[1] - trace.times[0] == pytest.approx(0.01)
    with pytest.raises(OptionError, match=r"model\.onnx has no attention"):
        trace.self_attention()
    with pytest.raises(OptionError, match=r"model\.onnx has no attention"):
        trace.token_attention()
    with pytest.raises(OptionError, match=r"the method attention needs attention, which .*model\.onnx does not give"):
        voxray.explain(model, trace, "token:0", method="attention")
    found = voxray.explain(model, trace, "token:0", method="gradient")
    assert found.scores.any()
    back = voxray.load_trace(trace.save(tmp_path / "a.trace"))
    assert back.text == trace.text
    assert model.describe()["layers"] == 0


def test_gradient_of_a_linear_model_is_its_weight(tmp_path: Path) -> None:
    model = opened(made(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], weights()))
    values = model.trace(SHORT).features[0].values
    tape = model.tape_of(values[None], "auto", textnorm=False, frozen=False)
    found = tape.pull(np.array([[3, 3]]), np.array([[1, 2]]), np.array([[1.0, -1.0]])).gradient[0]
    wanted = np.zeros_like(values)
    wanted[3] = weights()["w"][:, 1] - weights()["w"][:, 2]
    assert np.abs(found - wanted).max() < 1e-6


def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Round", ["x"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    model = opened(made(tmp_path, nodes, weights()))
    assert model.gives == {"gradients", "passes"}
    with pytest.raises(ModelError, match=r"the operator Round has no gradient rule, .* occlusion can"):
        voxray.explain(model, ODD, "token:0", method="gradient")
    assert voxray.explain(model, ODD, "token:0", method="occlusion", score="margin").scores.any()


def test_attention_on_another_clock_is_left_out(tmp_path: Path) -> None:
    """Attention over every other row, put back by repetition."""
    nodes = [
        helper.make_node("Slice", ["x", "zero", "far", "one", "two"], ["half"]),
        helper.make_node("Transpose", ["half"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["half", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["looks"]),
        helper.make_node("MatMul", ["looks", "half"], ["mixed"]),
        helper.make_node("ReduceMean", ["mixed"], ["mean"], axes=[1]),
        helper.make_node("Add", ["x", "mean"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["y"]),
    ]
    ends = {"zero": [0], "far": [1 << 40], "one": [1], "two": [2]}
    model = opened(made(tmp_path, nodes, weights() | {key: np.array(value, np.int64) for key, value in ends.items()}))
    assert model.layers == 0
    assert model.describe()["left_out"] == {"attention whose rows are not those of the output": 1}


def test_what_is_no_attention_is_left_out(tmp_path: Path) -> None:
    """A product with a computed tensor whose rows do not sum to 1."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["looks"]),
        helper.make_node("Add", ["looks", "half"], ["more"]),
        helper.make_node("MatMul", ["more", "x"], ["mixed"]),
        helper.make_node("MatMul", ["mixed", "w"], ["y"]),
    ]
    model = opened(made(tmp_path, nodes, weights() | {"half": np.float32(0.5)}))
    assert model.layers == 0
    assert model.describe()["left_out"] == {"attention whose rows do not sum to 1": 1}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.txt", "<blk>\na\n▁b\n▁\n"),
        ("b.txt", "▁b 2\n<blk> 0\r\n▁ 3\na 1\n"),
        ("c.json", '["<blk>", "a", "▁b", "▁"]'),
        ("d.json", '{"a": 1, "<blk>": 0, "▁": 3, "▁b": 2}'),
    ],
)
def test_every_form_of_a_vocabulary(tmp_path: Path, file: str, text: str) -> None:
    place = made(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], weights())
    (place / file).write_text(text, encoding="utf-8", newline="")
    change(place, "tokens.txt", file)
    assert opened(place).vocabulary.pieces == ("<blk>", "a", "▁b", "▁")


@pytest.mark.parametrize("text", ["{}", '{"a": 0, "b": 0, "c": 1, "d": 2}', "[1, 2, 3, 4]", '"abcd"'])
def test_a_damaged_vocabulary_is_told(tmp_path: Path, text: str) -> None:
    place = made(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])], weights())
    (place / "a.json").write_text(text, encoding="utf-8")
    change(place, "tokens.txt", "a.json")
    with pytest.raises(ModelError, match=r"a\.json"):
        open_model(place)


def test_global_normalisation_in_each_form(tmp_path: Path) -> None:
    dice = np.random.default_rng(2)
    mean, std = dice.standard_normal(80), 1 + dice.random(80)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    wenet = {"mean_stat": (mean * 100).tolist(), "var_stat": ((std**2 + mean**2) * 100).tolist(), "frame_num": 100}
    forms = {
        "inline": f"mean = {mean.tolist()}\nstd = {std.tolist()}",
        "wenet": 'cmvn = "global_cmvn"',
        "plain": 'cmvn = "a.json"',
    }
    (tmp_path / "none").mkdir()
    bare = opened(made(tmp_path / "none", nodes, weights())).trace(SHORT).features[0].values
    for form, lines in forms.items():
        place = tmp_path / form
        place.mkdir()
        (place / "global_cmvn").write_text(json.dumps(wenet), encoding="utf-8")
        (place / "a.json").write_text(json.dumps({"mean": mean.tolist(), "std": std.tolist()}), encoding="utf-8")
        made(place, nodes, weights(), front=f'normalise = "global"\n{lines}')
        found = opened(place).trace(SHORT).features[0].values
        assert np.abs(found - (bare - mean) / std).max() < 1e-4, form


@pytest.mark.filterwarnings("ignore")  # of the quantiser
def test_rounded_weights_are_explained_on_their_twin(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    place = tmp_path / "int8"
    shutil.copytree(DATA / "generic-bert", place)
    options = {"op_types_to_quantize": ["MatMul"], "weight_type": QuantType.QUInt8}
    quantize_dynamic(place / "model.onnx", place / "rounded.onnx", **options)
    assert opened(place).graph.path.name == "model.onnx"  # the finer one
    (place / "model.onnx").unlink()
    model = opened(place)
    assert model.anatomy.precision == "int8"
    assert model.layers == 2
    assert not model.is_float
    found = voxray.explain(model, ODD, "word:1", method="exact")
    assert abs(found.residual) < 1e-4 * np.abs(found.scores).sum()
    assert "int8 file's floating-point twin" in found.notes[-1]


def test_evidence_within_a_budget(model: Recogniser) -> None:
    trace = model.trace(ODD, keep=0)
    assert np.array_equal(trace.log_probs, model.trace(ODD).log_probs)
    with pytest.raises(OptionError, match="choose one of value, context"):
        trace.tensor("memory")
    with pytest.raises((OptionError, TraceError), match="layer 7 does not exist"):
        trace.self_attention([7])
