"""Described models with a decoder: a Speech2Text by its own exporter, against what PyTorch makes of a sound."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import voxray
from voxray import ctc
from voxray.models import open_model
from voxray.models.generic.speaking import Speaking
from voxray.types import Features, ModelError, OptionError

DATA = Path(__file__).parents[2] / "data"
FIXTURE = DATA / "generic-s2t"
ODD, SHORT = DATA / "audio" / "odd.wav", DATA / "audio" / "short.wav"


@pytest.fixture(scope="module")
def model() -> Speaking:
    found = open_model(FIXTURE)
    assert isinstance(found, Speaking)
    return found


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(FIXTURE / "golden.npz") as file:
        return dict(file)


def test_features_are_those_of_its_own_extractor(model: Speaking, golden: dict[str, Any]) -> None:
    assert np.abs(model.trace(ODD).features[0].values - golden["features"]).max() < 5e-4


def test_encoder_and_decoder_equal_pytorch(model: Speaking, golden: dict[str, Any]) -> None:
    states = model.encoded(golden["features"])
    assert np.abs(states[0] - golden["states"]).max() < 1e-5
    evidence = model.replay(Features(golden["features"], 0.01, 0.0), "auto", textnorm=False)
    assert evidence.said().tokens == tuple(golden["ids"][:-1])
    assert np.abs(evidence.logits() - golden["logits"]).max() < 1e-5 * np.abs(golden["logits"]).max()
    assert np.abs(evidence.attention([0, 1]) - golden["attention"]).max() < 1e-5
    assert np.abs(evidence.cross_attention([0, 1]) - golden["cross"]).max() < 1e-5
    assert golden["cross"].max() > 0.9  # else a decoder that looks everywhere alike would pass


def test_text_is_what_generate_says(model: Speaking, golden: dict[str, Any]) -> None:
    trace = model.trace(ODD)
    said = golden["ids"][1:-1].tolist()
    assert [token.id for token in trace.tokens] == said
    assert trace.text == model.vocabulary.spell(said)
    assert trace.text == model.transcribe(ODD).text
    assert [one.text for one in model.transcribe_batch([ODD, SHORT])] == [trace.text, model.transcribe(SHORT).text]
    posteriors = ctc.log_softmax(golden["logits"])
    assert [token.log_prob for token in trace.tokens] == pytest.approx(
        [posteriors[row, one] for row, one in enumerate(said)], abs=1e-3
    )
    assert [token.rows for token in trace.tokens] == [(row, row + 1) for row in range(len(said))]


def test_views(model: Speaking) -> None:
    trace = model.trace(ODD)
    assert trace.decoder == (2, 2)
    looks = trace.token_attention()
    assert looks.shape == (2, 2, len(trace.tokens), 52)
    assert np.abs(looks.values.sum(axis=-1) - 1).max() < 1e-5
    assert looks["time"].values == pytest.approx(0.02 + 0.04 * np.arange(52))
    assert trace.self_attention().shape == (2, 2, 52, 52)
    assert np.abs(trace.occupancy().sum(axis=1) - 1).max() < 1e-5
    assert trace.head_norms().shape == (2, 2, len(trace.tokens))
    starts = [token.start for token in trace.tokens]
    assert starts == sorted(starts)
    assert all(token.start <= token.end <= trace.audio.duration + 0.04 for token in trace.tokens)


def test_cross_norms_are_norms_of_what_heads_add(model: Speaking) -> None:
    evidence = model.replay(model.trace(ODD).features[0], "auto", textnorm=False)
    block = model.cross[1]
    states, tokens = model.encoded(model.trace(ODD).features[0].values), evidence.said().tokens
    _, (value, looks) = model.given(states, tokens, [block.value, block.probabilities])
    assert block.projection is not None
    weight = np.asarray(model.speaker.constant(block.projection.weight))
    value, looks = value.reshape(2, 52, -1), looks.reshape(2, len(tokens), 52)
    width = value.shape[-1]
    slow = [
        [np.linalg.norm(looks[head, row] @ value[head] @ weight[head * width : (head + 1) * width]) for row in range(len(tokens))]
        for head in range(2)
    ]
    assert evidence.cross_norms([1])[0] == pytest.approx(np.array(slow), rel=1e-4)


def test_a_trace_is_saved_and_read(model: Speaking, tmp_path: Path) -> None:
    trace = model.trace(ODD)
    back = voxray.load_trace(trace.save(tmp_path / "a.trace"))
    assert back.text == trace.text
    assert np.array_equal(back.token_attention().values, trace.token_attention().values)
    assert back.times == pytest.approx(trace.times)


def test_nothing_hidden_is_the_plain_run(model: Speaking) -> None:
    trace = model.trace(ODD)
    (rows,) = model.forced([trace.features[0]], trace, "auto", textnorm=False)
    assert np.array_equal(rows, trace.evidence[0].logits())
    silent = Features(np.zeros_like(trace.features[0].values), 0.01, 0.0125)
    (other,) = model.forced([silent], trace, "auto", textnorm=False)
    assert other.shape == rows.shape
    assert np.abs(other - rows).max() > 1e-3


def test_a_foreign_trace_is_refused(model: Speaking) -> None:
    trace = model.trace(ODD)
    foreign = voxray.load_model(DATA / "generic-bert").trace(ODD)
    with pytest.raises(OptionError, match="has other tokens than"):
        model.forced([trace.features[0]], type(trace)(**{**vars(trace), "transcript": foreign.transcript}), "auto", textnorm=False)


@pytest.mark.parametrize("method", ["occlusion", "lime", "shapley", "attention", "emission"])
def test_methods_run(model: Speaking, method: str) -> None:
    found = voxray.explain(model, model.trace(ODD), "word:1", method=method)
    assert np.isfinite(found.scores).all()
    assert found.scores.any()


def test_occlusion_is_the_default_and_a_plain_run(model: Speaking) -> None:
    trace = model.trace(ODD)
    found = voxray.explain(model, trace, "text", fill="silence", width=4.0, hop=4.0)
    assert found.method == "occlusion"
    front = model.front(trace)
    silent = front.normalised(np.full_like(front.bank, front.silence))
    (rows,) = model.forced([Features(silent, 0.01, 0.0125)], trace, "auto", textnorm=False)
    posteriors = ctc.log_softmax(rows)
    score = sum(float(posteriors[token.peak, token.id]) for token in trace.tokens)
    assert float(found.scores.sum()) == pytest.approx(found.score - score, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("method", ["gradient", "exact", "alti"])
def test_what_needs_gradients_is_refused(model: Speaking, method: str) -> None:
    with pytest.raises(OptionError, match="choose one of attention"):
        voxray.explain(model, model.trace(ODD), "word:1", method=method)


def test_names_are_not_looked_at(model: Speaking, tmp_path: Path) -> None:
    place = tmp_path / "renamed"
    shutil.copytree(FIXTURE, place)
    for file in ("encoder.onnx", "decoder.onnx"):
        graph = onnx.load(place / file)
        kept = {one.name for one in (*graph.graph.input, *graph.graph.output)} | {""}
        every = [name for node in graph.graph.node for name in (*node.input, *node.output)]
        every += [one.name for one in graph.graph.initializer]
        renamed = {name: name if name in kept else f"t{index}" for index, name in enumerate(dict.fromkeys(every))}
        for index, node in enumerate(graph.graph.node):
            node.name = f"n{index}"
            for names in (node.input, node.output):
                names[:] = [renamed[one] for one in names]
        for tensor in graph.graph.initializer:
            tensor.name = renamed[tensor.name]
        del graph.graph.value_info[:]
        onnx.save(graph, place / file)
    other = open_model(place).trace(ODD)
    assert other.token_attention().values == pytest.approx(model.trace(ODD).token_attention().values, abs=1e-5)


def test_what_it_is_made_of_is_told(model: Speaking) -> None:
    told = model.describe()
    assert (told["layers"], told["heads"]) == (2, 2)
    assert (told["decoder"]["layers"], told["decoder"]["heads"]) == (2, 2)
    assert max(one["rebuild_error"] for one in told["decoder"]["blocks"]) < 1e-5
    assert len(told["sha256"]) == 64


WRONG = [
    ('kind = "encoder-decoder"', "", r"the table \[decoder\] does not go with kind = 'ctc'; expected \[output\]"),
    ("[decoder]", "[output]\nscores = \"a\"\n[decoder]", r"the table \[output\] does not go with kind = 'encoder-decoder'"),
    ('file = "decoder.onnx"', 'file = "other.onnx"', "decoder.file is 'other.onnx'; expected a file beside"),
    ('file = "decoder.onnx"', 'file = "../decoder.onnx"', "decoder.file is '../decoder.onnx'; expected a file beside"),
    ('states = "last_hidden_state"', 'states = "states"', "decoder.states is 'states'; expected an output of encoder.onnx"),
    ('memory = "encoder_hidden_states"', 'memory = "states"', "decoder.memory is 'states'; expected an input of decoder.onnx"),
    ('tokens = "input_ids"', 'tokens = "ids"', "decoder.tokens is 'ids'; expected an input of decoder.onnx"),
    ('tokens = "input_ids"', "", "decoder.tokens is missing; expected a text"),
    ('scores = "logits"', 'scores = "probs"', "decoder.scores is 'probs'; expected an output of decoder.onnx: logits"),
    ('start = ["</s>"]', "start = []", r"decoder.start is \[\]; expected at least one"),
    ('start = ["</s>"]', 'start = "</s>"', "decoder.start is '</s>'; expected a list of texts or whole numbers"),
    ('start = ["</s>"]', 'start = ["<sos>"]', "decoder.start names '<sos>'; expected a piece"),
    ('end = "</s>"', "end = 99", "decoder.end names 99; expected a piece"),
    ("longest = 40", "longest = 0", "decoder.longest is 0; expected a number from 1"),
    ("longest = 40", 'mask = "encoder_attention_mask"', "decoder.mask is 'encoder_attention_mask'; expected an input"),
    ("hop = 0.04", "hop = 0.02", "time.hop is 0.02; expected about 0.04"),
    ('memory = "encoder_hidden_states"\ntokens = "input_ids"', 'memory = "input_ids"\ntokens = "input_ids"',
     "has an input 'encoder_hidden_states' that is not described"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[new.replace("\n", " ")[:40] for _, new, _ in WRONG])
def test_what_is_told_wrongly_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    place = tmp_path / "a"
    shutil.copytree(FIXTURE, place)
    path = place / "voxray.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ModelError, match=told) as caught:
        open_model(place)
    assert "\n" not in str(caught.value)


def test_the_encoder_is_the_file_that_is_not_the_decoder(tmp_path: Path) -> None:
    place = tmp_path / "a"
    shutil.copytree(FIXTURE, place)
    path = place / "voxray.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('model = "encoder.onnx"\n', ""), encoding="utf-8")
    found = open_model(place)
    assert found.graph.path.name == "encoder.onnx"
    assert found.cross_shape == (2, 2)


def test_a_text_without_end_is_cut(tmp_path: Path) -> None:
    place = tmp_path / "a"
    shutil.copytree(FIXTURE, place)
    path = place / "voxray.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("longest = 40", "longest = 3"), encoding="utf-8")
    assert len(open_model(place).trace(ODD).tokens) == 3


def test_nothing_said(tmp_path: Path) -> None:
    """A model whose end is what it says first: a trace without tokens, whose views are empty."""
    place = tmp_path / "a"
    shutil.copytree(FIXTURE, place)
    first = int(np.load(FIXTURE / "golden.npz")["ids"][1])
    path = place / "voxray.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('end = "</s>"', f"end = {first}"), encoding="utf-8")
    trace = open_model(place).trace(ODD)
    assert (trace.text, trace.tokens) == ("", ())
    assert trace.token_attention().shape == (2, 2, 0, 52)
