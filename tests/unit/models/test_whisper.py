"""Whisper: how it is told, fed and read in every layout, and how its evidence compares with the original's."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import voxray
from twins import slow_warp
from voxray.audio import load_audio
from voxray.dictation import Manner
from voxray.graph.graph import Graph
from voxray.graph.stepping import PairedSpeaker
from voxray.graph.weights import linear_weight
from voxray.graph.whisper import find_encoder
from voxray.models import families, whisper
from voxray.models.whisper import Recogniser, recognise, sound_frames
from voxray.transcript import join
from voxray.types import AnatomyError, Audio, Features, ModelError, OptionError, TraceError
from voxray.warping import heads_by_norm

ENCODERS = {
    "optimum": "whisper-tiny-optimum/encoder_model.onnx",
    "merged": "whisper-tiny-merged/onnx/encoder_model.onnx",
    "timestamped": "whisper-tiny-timestamped/onnx/encoder_model.onnx",
    "sherpa": "whisper-tiny-sherpa/tiny-encoder.onnx",
    "sherpa attention": "whisper-tiny-sherpa/attention/tiny-encoder.onnx",
}
SOUNDS = {"short": "zh", "odd": "en"}
HEADS = ((0, 0), (1, 0), (1, 2))
TEXT = "the other dog waits in the house"


@pytest.fixture(scope="module")
def opened(data: Path) -> Callable[[str], Any]:
    """Open a layout, once."""
    kept: dict[str, Any] = {}

    def get(layout: str) -> Any:
        if layout not in kept:
            kept[layout] = voxray.load_model(data / ENCODERS[layout])
        return kept[layout]

    return get


@pytest.fixture(scope="module")
def model(opened: Callable[[str], Any]) -> Any:
    return opened("merged")


@pytest.fixture(scope="module")
def trace(model: Any, data: Path) -> Any:
    return model.trace(data / "audio" / "odd.wav")


@pytest.fixture(scope="module")
def told(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "whisper-tiny-golden.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def writable(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data / "whisper-tiny-merged", tmp_path / "whisper"))


def edited(path: Path, edit: Callable[[Any], None]) -> None:
    proto = onnx.load(path)
    edit(proto)
    onnx.save(proto, path)


def settings(folder: Path, **changes: Any) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


# -- the original ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ENCODERS)
@pytest.mark.parametrize("timestamps", [False, True])
def test_tokens_are_those_of_transformers(
    layout: str, opened: Callable[[str], Any], told: Any, data: Path, *, timestamps: bool
) -> None:
    model = opened(layout)
    model.manner = Manner(timestamps=timestamps)
    for name, language in SOUNDS.items():
        wanted = told[f"{name}.{'timed' if timestamps else 'plain'}"].tolist()
        heard = model.trace(data / "audio" / f"{name}.wav", language).evidence[0].heard()
        assert list(heard.said) == [one for one in wanted if one != model.signs.end]
    model.manner = Manner()


@pytest.mark.parametrize("layout", ENCODERS)
@pytest.mark.parametrize("name", SOUNDS)
def test_evidence_is_that_of_the_original(layout: str, name: str, opened: Callable[[str], Any], told: Any, data: Path) -> None:
    model = opened(layout)
    trace = model.trace(data / "audio" / f"{name}.wav", SOUNDS[name])
    evidence = trace.evidence[0]
    heard = evidence.heard()
    tokens = told[f"{name}.tokens"].tolist()
    assert [*heard.prompt, *heard.said, model.signs.end] == tokens  # the golden rows end with that of the end of the text
    count, frames = len(tokens) - 1, sound_frames(len(trace.features[0].values))
    np.testing.assert_allclose(evidence.logits(), told[f"{name}.logits"][:count], atol=5e-5)
    cross, scores = (told[f"{name}.{part}"][:, :, :count, :frames] for part in ("cross", "scores"))
    np.testing.assert_allclose(evidence.cross_attention([0, 1]), cross, atol=1e-6)
    np.testing.assert_allclose(evidence.cross_scores([1, 0]), scores[::-1], atol=5e-5)
    whole = told[f"{name}.encoder_attention"][:, :, :1]
    np.testing.assert_allclose(evidence.attention([0, 1])[:, :, :1], whole[..., :frames], atol=1e-6)
    np.testing.assert_allclose(evidence.tensor("output", [0])[0].shape, (frames, 16))


@pytest.mark.parametrize("layout", ENCODERS)
def test_hidden_states_are_those_of_the_original(layout: str, opened: Callable[[str], Any], told: Any, data: Path) -> None:
    model = opened(layout)
    part = model.trace(data / "audio" / "odd.wav").features[0]
    states, _ = model.encode([part.values])
    if len(states) == 1:
        np.testing.assert_allclose(states[0][0], told["odd.encoder"], atol=2e-5)
        return
    cross = model.speaker.decoder.cross  # sherpa-onnx gives keys and values made of them instead
    assert [one.shape for one in states] == [(len(cross), 1, 1500, 16)] * 2


@pytest.mark.parametrize("name", SOUNDS)
def test_the_language_is_decided_at_row_0(name: str, model: Any, told: Any, data: Path) -> None:
    trace = model.trace(data / "audio" / f"{name}.wav")
    (tag,) = trace.tags
    languages = told[f"{name}.languages"].astype(np.float64)
    shares = np.exp(languages - languages.max()) / np.exp(languages - languages.max()).sum()
    silence = tag.probabilities["nospeech"]
    for code, share in zip(("en", "zh", "de", "ko", "ja", "yue"), shares, strict=True):
        assert tag.probabilities[code] == pytest.approx(share * (1 - silence), abs=1e-5)
    assert (tag.kind, tag.label, tag.row, tag.emitted) == ("language", SOUNDS[name], 0, f"<|{SOUNDS[name]}|>")
    posteriors = np.exp(trace.log_probs[0].astype(np.float64))
    assert tag.mass == pytest.approx(posteriors[list(model.labels["language"].values())].sum(), abs=1e-6)
    assert silence == pytest.approx(posteriors[364] / tag.mass, abs=1e-6)


# -- reading --------------------------------------------------------------------------------------------------------


def test_tokens_words_and_rows(model: Any, trace: Any) -> None:
    assert trace.text == trace.rich_text == TEXT
    assert trace.raw_text == f"<|en|>{TEXT}"
    assert [word.text for word in trace.words] == TEXT.split()
    (piece,) = trace.pieces
    assert (piece.prompts, piece.rows, piece.tokens) == (3, (0, 3 + len(trace.tokens) + 1), (0, len(trace.tokens)))
    assert (piece.start, piece.end) == (0.0, pytest.approx(2.06))
    for row, token in enumerate(trace.tokens, 3):
        assert (token.rows, token.peak) == ((row, row + 1), row)
        assert token.log_prob == pytest.approx(float(trace.log_probs[row, token.id]), abs=1e-6)
        assert token.alternatives[0].log_prob >= token.log_prob - 1e-6
        assert len(token.alternatives) == 5
    assert trace.log_probs[-1].argmax() == model.signs.end  # the last row ends the text
    starts = [token.start for token in trace.tokens]
    assert starts == sorted(starts)
    assert all(token.start <= token.end <= after for token, after in zip(trace.tokens, [*starts[1:], 2.06 + 1e-6], strict=True))
    assert trace.decoder == (2, 4)
    assert (trace.layers, trace.heads, trace.blank) == (2, 4, model.signs.end)


def test_a_character_of_two_tokens_is_one_word(model: Any, trace: Any) -> None:
    heard = trace.evidence[0].heard()
    ids = model.vocabulary.cut(" the猫b")
    said = (*ids, *heard.said[len(ids) :])
    reading = model.read(whisper.Heard(heard.prompt, said, heard.logits, heard.text, heard.spans), trace.features[0])
    texts = [token.text for token in reading.tokens]
    assert texts[:5] == [" the", "", "", "猫", "b"]
    words = join([reading], 2.07).words
    assert [word.text for word in words[:3]] == ["the", "猫", "b"]
    assert words[1].tokens == (1, 4)
    assert (words[1].start, words[1].end) == (reading.tokens[1].start, reading.tokens[3].end)
    assert words[1].log_prob == min(token.log_prob for token in reading.tokens[1:4])


def test_timestamps_have_rows_but_are_no_tokens(model: Any, trace: Any, data: Path) -> None:
    model.manner = Manner(timestamps=True)
    timed = model.trace(data / "audio" / "odd.wav")
    model.manner = Manner()
    assert timed.raw_text == f"<|en|><|0.00|> {TEXT}<|2.06|>"
    assert timed.text == TEXT
    assert (timed.pieces[0].prompts, timed.pieces[0].rows) == (2, (0, 3 + len(timed.tokens) + 2))
    assert [token.id for token in timed.tokens] == [token.id for token in trace.tokens]
    assert timed.tokens[0].rows == (3, 4)  # row 2 decides the timestamp, row 3 what comes after it
    assert [(token.start, token.end) for token in timed.tokens] == [(token.start, token.end) for token in trace.tokens]
    placed = timed.evidence[0].placement()
    assert placed[2].argmax() == 0
    assert placed[2, 0] == 1
    assert placed[-2, 102] == 1  # the frame of 2.06 s, or the last one


@pytest.mark.parametrize("layout", ["merged", "sherpa"])
def test_times_are_those_of_the_recipe(layout: str, opened: Callable[[str], Any], told: Any, data: Path) -> None:
    """Follow OpenAI's timing.py on the golden scores: alignment heads, softmax, z-score, median of 7, warping."""
    found = opened(layout).trace(data / "audio" / "odd.wav", "en")
    frames = len(found.times)
    scores, cross = (told[f"odd.{part}"][..., :frames].astype(np.float64) for part in ("scores", "cross"))
    heads = HEADS if layout == "merged" else tuple(heads_by_norm(cross[:, :, 3:-1].astype(np.float32)))
    rows = []
    for layer, head in heads:
        weights = np.exp(scores[layer, head]) / np.exp(scores[layer, head]).sum(axis=1, keepdims=True)
        weights = (weights - weights.mean(axis=0)) / weights.std(axis=0)
        padded = np.pad(weights, ((0, 0), (3, 3)), mode="reflect")
        rows.append(np.array([[np.median(row[at : at + 7]) for at in range(frames)] for row in padded]))
    close = np.mean(rows, axis=0)[3:-1]
    path = slow_warp(-close)
    steps = [path[1][path[0].index(row)] for row in range(len(close))] + [frames]
    begins = []
    for row, first, stop in zip(close, steps, steps[1:], strict=False):
        places = range(first, max(stop, first + 1))
        highest = max(row[place] for place in places)
        begins.append(next(place for place in places if row[place] >= min(0.8 * highest, highest)))
    ends = [min(after, step + 10) for after, step in zip(begins[1:], steps[1:], strict=False)]
    spans = found.evidence[0].heard().spans
    assert spans.tolist() == [list(one) for one in zip(begins, ends, strict=False)]


def test_batches_are_read_as_one_by_one(model: Any, data: Path) -> None:
    sounds = [data / "audio" / f"{name}.wav" for name in ("odd", "short", "odd", "short", "odd")]
    together = model.transcribe_batch(sounds)
    for sound, found in zip(sounds, together, strict=True):
        alone = model.transcribe(sound)
        assert found.text == alone.text
        assert [token.id for token in found.tokens] == [token.id for token in alone.tokens]
        assert [token.start for token in found.tokens] == [token.start for token in alone.tokens]
        assert [token.log_prob for token in found.tokens] == pytest.approx([token.log_prob for token in alone.tokens], abs=1e-4)


def test_long_sound_is_cut_into_pieces_by_voice(model: Any, clips: Path) -> None:
    voice = np.concatenate([load_audio(path).samples for path in sorted(clips.glob("*.wav"))] * 2)
    audio = Audio(np.concatenate([np.zeros(40000, np.float32), voice]))
    assert audio.duration > 31
    found = model.trace(audio)
    assert len(found.pieces) >= 2
    for piece, part in zip(found.pieces, found.features, strict=True):
        assert 0 < piece.end - piece.start <= 30
        assert piece.start == part.start
        assert (piece.end - piece.start) / 0.02 == pytest.approx(round((piece.end - piece.start) / 0.02), abs=1e-6)
        assert 100 * (piece.end - piece.start) == pytest.approx(len(part.values) - 4, abs=1e-6)
    assert found.pieces[0].start > 1
    assert (np.diff(found.times) > 0.019).all()
    assert len(found.tags) == len(found.pieces)
    assert all(first.end <= second.start for first, second in zip(found.pieces, found.pieces[1:], strict=False))
    part = found.piece(1)
    assert part.tags[0].row == 0
    alone = model.read(part.evidence[0].heard(), part.features[0])
    assert [token.start for token in alone.tokens] == [token.start for token in part.tokens]


def test_an_english_model_is_told_no_language(writable: Path, model: Any, data: Path) -> None:
    settings(writable, is_multilingual=False)
    english = voxray.load_model(writable)
    assert english.languages == ("auto", "en")
    assert english.labels == {}
    found = english.trace(data / "audio" / "odd.wav")
    assert found.evidence[0].heard().prompt == (model.signs.start, model.signs.plain)
    assert (found.tags, found.pieces[0].prompts) == ((), 1)
    english.manner = Manner(task="translate")
    with pytest.raises(OptionError, match="cannot translate; use a multilingual Whisper"):
        english.transcribe(data / "audio" / "odd.wav")


def test_translation_is_another_prompt(model: Any, data: Path) -> None:
    model.manner = Manner(task="translate")
    heard = model.trace(data / "audio" / "odd.wav", "de").evidence[0].heard()
    model.manner = Manner()
    assert heard.prompt == (353, 356, 360, 365)


class Scripted:
    """A decoder that says what it was told to: scores of each step, for each sound."""

    def __init__(self, first: np.ndarray, steps: Sequence[np.ndarray]) -> None:
        self.first, self.steps, self.given = first, list(steps), list[list[int]]()

    def start(self, states: Any, tokens: np.ndarray) -> tuple[np.ndarray, int]:
        return np.stack([self.first, *[self.steps[0]] * (tokens.shape[1] - 1)], axis=1), 0

    def follow(self, memory: int, tokens: np.ndarray) -> tuple[np.ndarray, int]:
        self.given.append(tokens.tolist())
        return self.steps[memory + 1], memory + 1


def scripted(model: Any, silence: Sequence[float], sayings: Sequence[Sequence[int]], sure: float) -> Scripted:
    size = len(model.vocabulary)
    first = np.zeros((len(sayings), size), np.float32)
    first[:, model.signs.silence] = [np.log(one / (1 - one) * (size - 1)) for one in silence]
    length = max(map(len, sayings)) + 1
    steps = np.zeros((length, len(sayings), size), np.float32)
    for at, saying in enumerate(sayings):
        for step in range(length):
            steps[step, at, saying[step] if step < len(saying) else model.signs.end] = sure
    return Scripted(first, list(steps))


def test_each_sound_of_a_batch_ends_by_itself(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = scripted(model, [0.1, 0.1, 0.1], [[70, 71, 72], [68], [73, 73]], 20.0)
    monkeypatch.setattr(model, "speaker", speaker)
    found = model._said([], np.full((3, 4), 353))
    assert found == [(70, 71, 72), (68,), (73, 73)]
    assert speaker.given == [[70, 68, 73], [71, 352, 73], [72, 352, 352]]


@pytest.mark.parametrize(
    ("silence", "sure", "said"),
    [(0.7, 20.0, (70, 71)), (0.5, 5.0, (70, 71)), (0.7, 5.0, ()), (0.61, 5.0, ()), (0.59, 5.0, (70, 71))],
)
def test_nothing_is_said_where_it_is_silent_and_the_text_unsure(
    silence: float, sure: float, said: tuple[int, ...], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 1867 tokens one of score 5 has a log probability of -2.6, one of 20 of almost 0.
    monkeypatch.setattr(model, "speaker", scripted(model, [silence], [[70, 71]], sure))
    assert model._said([], np.full((1, 4), 353)) == [said]


def test_a_text_without_end_is_cut_off(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.longest == 48  # half of the fixture's 96 positions
    speaker = scripted(model, [0.1], [[70] * 60], 20.0)
    monkeypatch.setattr(model, "speaker", speaker)
    assert model._said([], np.full((1, 4), 353)) == [(70,) * 48]
    assert len(speaker.given) == 47


# -- evidence -------------------------------------------------------------------------------------------------------


def test_token_attention_is_of_the_sound_alone(trace: Any, told: Any) -> None:
    found = trace.token_attention(tags=True)
    assert found.shape == (2, 4, len(trace.tokens) + 1, 103)
    assert found["label"].values[0] == "language: en"
    np.testing.assert_allclose(found.sum("frame"), 1, atol=1e-5)
    rows = [0, *range(3, 3 + len(trace.tokens))]
    cross = told["odd.cross"][:, :, rows, :103].astype(np.float64)
    np.testing.assert_allclose(found["prompt_mass"], 1 - cross.sum(axis=-1), atol=1e-5)
    np.testing.assert_allclose(found, cross / cross.sum(axis=-1, keepdims=True), atol=1e-5)
    assert found["time"].values.tolist() == pytest.approx([0.02 * frame for frame in range(103)])


def test_self_attention_tells_what_goes_to_the_silence(trace: Any, told: Any) -> None:
    found = trace.self_attention()
    assert found.shape == (2, 4, 103, 103)
    first = told["odd.encoder_attention"][:, :, 0, :103].astype(np.float64)
    np.testing.assert_allclose(found["padding_mass"][:, :, 0], 1 - first.sum(axis=-1), atol=1e-5)
    np.testing.assert_allclose(found[:, :, 0], first / first.sum(axis=-1, keepdims=True), atol=1e-6)
    labels = [label for label in found["query_label"].values if label]
    assert set(labels) <= {token.text for token in trace.tokens}


def test_placement_shares_the_frames_among_tokens(trace: Any) -> None:
    placed = trace.evidence[0].placement()
    assert placed.shape == (len(trace.log_probs), 103)
    np.testing.assert_allclose(placed.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(placed[:3], 1 / 103, atol=1e-7)
    spans = trace.evidence[0].heard().spans.tolist()
    for token, row, (first, stop) in zip(trace.tokens, trace.occupancy(), spans, strict=True):
        assert np.flatnonzero(row).tolist() == list(range(first, max(stop, first + 1)))
        assert first * 0.02 - 0.11 < token.start < first * 0.02 + 0.36  # as far as the edge of the sound may lie away


def test_the_decoder_looks_back_alone(trace: Any) -> None:
    own = trace.evidence[0].own_attention([0, 1])
    count = len(trace.log_probs)
    assert own.shape == (2, 4, count, count)
    np.testing.assert_allclose(own.sum(axis=-1), 1, atol=1e-5)
    assert np.triu(own, 1).max() == 0


def test_head_norms_are_those_of_their_parts(model: Any, trace: Any) -> None:
    blocks, evidence = model.anatomy.blocks, trace.evidence[0]
    contexts = evidence.tensor("context", [0, 1])
    for layer, block in enumerate(blocks):
        weight = linear_weight(model.graph, block.projection)
        for head in range(4):
            part = contexts[layer][:, 4 * head : 4 * head + 4] @ weight[4 * head : 4 * head + 4]
            np.testing.assert_allclose(evidence.head_norms([layer])[0, head], np.linalg.norm(part, axis=1), rtol=1e-5)
    bias = np.asarray(model.graph.constant(blocks[1].projection.bias))
    rebuilt = contexts[1] @ linear_weight(model.graph, blocks[1].projection) + bias
    np.testing.assert_allclose(evidence.tensor("projection", [1])[0], rebuilt, atol=1e-5)
    cross = evidence.cross_norms([0, 1])
    assert cross.shape == (2, 4, len(trace.log_probs))
    assert (cross > 0).all()
    assert trace.head_norms(tags=True).shape == (2, 4, len(trace.tokens) + 1)
    with pytest.raises(OptionError, match="no inner tensor is called 'memory'; choose one of input, value, context"):
        evidence.tensor("memory", [0])


def test_what_is_not_kept_is_computed_again(model: Any, trace: Any, data: Path) -> None:
    bare = model.trace(data / "audio" / "odd.wav", keep=0)
    assert bare.text == trace.text
    for read in (
        lambda one: one.evidence[0].logits(),
        lambda one: one.evidence[0].attention([1, 0]),
        lambda one: one.evidence[0].cross_attention([1]),
        lambda one: one.evidence[0].placement(),
    ):
        np.testing.assert_allclose(read(bare), read(trace), atol=1e-5)
    wanted = trace.evidence[0].tensor("value", [1])
    kept = model.trace(data / "audio" / "odd.wav", tensors=["value"])
    np.testing.assert_allclose(kept.evidence[0].tensor("value", [1]), wanted, atol=1e-6)
    with pytest.raises(OptionError, match="no inner tensor is called 'memory'"):
        model.trace(data / "audio" / "odd.wav", tensors=["memory"])


def test_a_trace_is_saved_and_loaded(trace: Any, model: Any, tmp_path: Path) -> None:
    loaded = voxray.load_trace(trace.save(tmp_path / "odd.trace"))
    assert loaded.transcript == trace.transcript
    assert (loaded.decoder, loaded.frame_hop) == ((2, 4), 0.02)
    np.testing.assert_array_equal(loaded.token_attention(), trace.token_attention())
    np.testing.assert_array_equal(loaded.self_attention([1]), trace.self_attention([1]))
    np.testing.assert_array_equal(loaded.log_probs, trace.log_probs)
    np.testing.assert_array_equal(loaded.occupancy(), trace.occupancy())
    np.testing.assert_array_equal(loaded.times, trace.times)
    with pytest.raises(TraceError, match="holds no head norms; load the trace with model="):
        loaded.head_norms()
    again = voxray.load_trace(tmp_path / "odd.trace", model=model)
    np.testing.assert_allclose(again.head_norms(), trace.head_norms(), atol=1e-5)


# -- teacher forcing ------------------------------------------------------------------------------------------------


def test_given_its_own_features_the_rows_are_its_own(model: Any, trace: Any, tmp_path: Path) -> None:
    rows = model.forced([trace.features[0]] * 6, trace)
    assert len(rows) == 6
    for one in rows:
        np.testing.assert_allclose(one, trace.evidence[0].logits(), atol=2e-5)
    loaded = voxray.load_trace(trace.save(tmp_path / "odd.trace"))
    np.testing.assert_allclose(model.forced([trace.features[0]], loaded)[0], rows[0], atol=2e-5)


def test_other_features_answer_for_the_same_tokens(model: Any, trace: Any) -> None:
    part = trace.features[0]
    hidden = part.values.copy()
    hidden[60:90] = hidden.min()
    louder = part.values.copy()
    louder[: louder.shape[0] - 1] += 0.5
    found = model.forced([Features(hidden, part.hop, part.start), Features(louder, part.hop, part.start)], trace)
    whole = np.full((1, 80, 3000), part.values.min(), np.float32)  # the silence is that of the trace, not of the part
    for one, values in zip(found, (hidden, louder), strict=True):
        whole[0, :, : len(values)] = values.T
        states = model._runner.run({model.layout.ears.mel: whole, whisper.ROWS: np.array([1]), whisper.COLUMNS: np.array([1])},
                                   model.layout.ears.states)  # fmt: skip
        heard = trace.evidence[0].heard()
        np.testing.assert_allclose(one, model.given(states, heard.prompt + heard.said)[0], atol=2e-5)
        assert np.abs(one - trace.evidence[0].logits()).max() > 0.01


def test_a_trace_of_other_tokens_is_refused(model: Any, trace: Any, data: Path) -> None:
    other = model.trace(data / "audio" / "short.wav")
    with pytest.raises(OptionError, match=r"the trace of odd\.wav has other tokens than .* says in its manner"):
        model.forced([trace.features[0]], replace(trace, evidence=other.evidence))


def test_gradients_are_refused(model: Any, trace: Any) -> None:
    with pytest.raises(OptionError, match="no gradients through a Whisper's decoder; choose a perturbation method"):
        model.tape(trace, frozen=True)


# -- asking ---------------------------------------------------------------------------------------------------------


def test_languages_are_those_of_the_tokens(model: Any, data: Path) -> None:
    assert model.languages == ("auto", "en", "zh", "de", "ko", "ja", "yue")
    assert model.labels == {"language": {"en": 354, "zh": 355, "de": 356, "ko": 357, "ja": 358, "yue": 359, "nospeech": 364}}
    with pytest.raises(OptionError, match="language 'fr' is not known to this model; choose one of auto, en, zh"):
        model.transcribe(data / "audio" / "odd.wav", "fr")
    with pytest.raises(OptionError, match="a Whisper always writes numbers and punctuation as it has learnt"):
        model.transcribe(data / "audio" / "odd.wav", textnorm=True)


@pytest.mark.parametrize("layout", ENCODERS)
def test_it_says_what_it_is_made_of(layout: str, opened: Callable[[str], Any]) -> None:
    model = opened(layout)
    found = json.loads(json.dumps(model.describe()))
    assert (found["family"], found["precision"], found["layers"], found["heads"]) == ("whisper", "fp32", 2, 4)
    assert found["layout"] == ("sherpa-onnx" if "sherpa" in layout else "optimum")
    assert (found["vocabulary"], found["width"], found["mels"]) == (1867, 16, 80)
    decoder = found["decoder"]
    assert (decoder["layers"], decoder["heads"], decoder["longest"]) == (2, 4, 48)
    assert decoder["aligning"] == (None if layout == "sherpa" else [list(one) for one in HEADS])
    assert decoder["memory_error"] < 1e-5
    assert len(decoder["files"]) == (2 if layout == "optimum" else 1)
    assert max(one["rebuild_error"] for one in (*found["blocks"], *decoder["blocks"], *decoder["own_blocks"])) < 5e-6
    assert f"{model!r}".startswith(f"Whisper('{model.name}', ")
    assert "onnx/" not in model.name


# -- opening --------------------------------------------------------------------------------------------------------


def test_only_the_encoder_is_recognised(data: Path) -> None:
    for family in families():
        for path in sorted(data.glob("whisper-tiny-*/**/*.onnx")):
            assert (family.recognise(Graph(path)) is not None) == (family is whisper and "encoder" in path.name)
    assert recognise(Graph(data / "sensevoice-funasr" / "model.onnx")) is None


@pytest.mark.parametrize("folder", ["whisper-tiny-optimum", "whisper-tiny-merged", "whisper-tiny-sherpa"])
def test_a_folder_is_enough(folder: str, data: Path) -> None:
    assert voxray.load_model(data / folder).transcribe(data / "audio" / "odd.wav").text == TEXT


def names_changed(path: Path) -> None:
    """Give every node and tensor another name."""
    names, numbers = {"": ""}, itertools.count()

    def rename_in(graph: Any) -> None:
        for node in graph.node:
            node.name = f"n{next(numbers)}"
            node.input[:] = [names.setdefault(one, f"t{len(names)}") for one in node.input]
            node.output[:] = [names.setdefault(one, f"t{len(names)}") for one in node.output]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    rename_in(attribute.g)
        for tensor in (*graph.initializer, *graph.input, *graph.output):
            tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
        del graph.value_info[:]

    edited(path, lambda proto: rename_in(proto.graph))


@pytest.mark.parametrize("layout", ENCODERS)
def test_names_do_not_matter(layout: str, opened: Callable[[str], Any], data: Path, tmp_path: Path) -> None:
    folder = Path(ENCODERS[layout]).parts[0]
    shutil.copytree(data / folder, tmp_path / folder)
    place = (tmp_path / ENCODERS[layout]).parent
    for path in place.glob("*.onnx"):
        names_changed(path)
    renamed, original = voxray.load_model(tmp_path / ENCODERS[layout]), opened(layout)
    assert re.fullmatch(r"t\d+", renamed.layout.ears.mel)
    mine, yours = (one.trace(data / "audio" / "odd.wav") for one in (renamed, original))
    assert [token.id for token in mine.tokens] == [token.id for token in yours.tokens]
    assert [token.start for token in mine.tokens] == [token.start for token in yours.tokens]
    for read in (lambda one: one.token_attention().values, lambda one: one.self_attention().values, lambda one: one.log_probs):
        np.testing.assert_allclose(read(mine), read(yours), atol=2e-5, rtol=0)


@pytest.mark.parametrize("layout", ["optimum", "merged", "sherpa"])
def test_int8_files_are_read_alike(layout: str, opened: Callable[[str], Any], data: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = Path(ENCODERS[layout]).parts[0]
    shutil.copytree(data / folder, tmp_path / folder)
    place = (tmp_path / ENCODERS[layout]).parent
    for path in sorted(place.glob("*.onnx")):
        target = path.with_name(f"{path.stem}{'.int8' if layout == 'sherpa' else '_quantized'}.onnx")
        quantize_dynamic(path, target, ["MatMul"], weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True})
    both = voxray.load_model(tmp_path / folder)
    assert both.anatomy.precision == "fp32"  # the finest is taken
    name = Path(ENCODERS[layout]).name.replace(".onnx", ".int8.onnx" if layout == "sherpa" else "_quantized.onnx")
    found = voxray.load_model(place / name)
    assert (found.anatomy.precision, found.is_float, found.batches_exactly) == ("int8", False, False)
    assert all(re.search("int8|quantized", graph.path.name) for graph in found.speaker.graphs)  # and its own decoder with it
    assert max(*found.proof.rebuild_errors, *found.decoder_proof.rebuild_errors) < 1e-4
    mine, yours = (one.trace(data / "audio" / "odd.wav", "en") for one in (found, opened(layout)))
    rows = [one.evidence[0].logits() for one in (mine, yours)]
    least = min(map(len, rows))
    assert np.abs(rows[0][:4] - rows[1][:4]).max() < 1.0
    assert least > 4
    whole = [one.token_attention().values[:, :, :1] for one in (mine, yours)]
    assert np.abs(whole[0] - whole[1]).max() < 0.05


def test_a_decoder_may_be_rounded_alone(data: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    shutil.copytree(data / "whisper-tiny-merged", tmp_path / "mixed")
    path = tmp_path / "mixed" / "onnx" / "decoder_model_merged.onnx"
    quantize_dynamic(path, path.with_name("decoder_model_merged_int8.onnx"), ["MatMul"], extra_options={"EnableSubgraph": True})
    path.unlink()
    found = voxray.load_model(tmp_path / "mixed")
    assert (found.anatomy.precision, found.describe()["decoder"]["precision"]) == ("fp32", "int8")
    assert (found.is_float, found.batches_exactly) == (False, False)
    assert max(found.decoder_proof.rebuild_errors) < 1e-4


@pytest.mark.parametrize(
    ("keep", "wanted"),
    [
        (["encoder_model.onnx"], r"encoder_model\.onnx is the encoder of a Whisper, but its decoder is not beside it"),
        (["encoder_model.onnx", "decoder_with_past_model.onnx"], r"put the decoder file \(such as decoder_model\.onnx\)"),
    ],
)
def test_a_missing_decoder_is_told(keep: list[str], wanted: str, data: Path, tmp_path: Path) -> None:
    for name in keep:
        shutil.copy(data / "whisper-tiny-optimum" / name, tmp_path)
    with pytest.raises(ModelError, match=wanted):
        voxray.load_model(tmp_path / "encoder_model.onnx")


def test_the_first_step_alone_is_enough(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "whisper-tiny-optimum", tmp_path / "one")
    (tmp_path / "one" / "decoder_with_past_model.onnx").unlink()
    assert voxray.load_model(tmp_path / "one").transcribe(data / "audio" / "odd.wav").text == TEXT


def test_renamed_files_are_told_apart_by_structure(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "whisper-tiny-optimum", tmp_path / "one")
    for name, other in (("encoder_model", "a"), ("decoder_model", "b"), ("decoder_with_past_model", "c")):
        (tmp_path / "one" / f"{name}.onnx").rename(tmp_path / "one" / f"{other}.onnx")
    assert voxray.load_model(tmp_path / "one").transcribe(data / "audio" / "odd.wav").text == TEXT


def test_a_decoder_of_another_width_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "find_encoder", lambda graph: replace(find_encoder(graph), width=512))
    with pytest.raises(ModelError, match=r"decoder_model\.onnx has the width 16 but the encoder encoder_model\.onnx 512"):
        Recogniser(Graph(data / ENCODERS["optimum"]))


def test_keys_that_are_kept_wrongly_are_refused(writable: Path) -> None:
    def mistake(proto: Any) -> None:
        """Let the later steps read values where they should read keys."""
        choice = next(node for node in proto.graph.node if node.op_type == "If")
        changed = 0
        for attribute in choice.attribute:
            for node in attribute.g.node:
                if node.op_type == "Concat" and node.input[0] == "past_key_values.0.decoder.key":
                    node.input[0] = "past_key_values.0.decoder.value"
                    changed += 1
        assert changed == 1

    edited(writable / "onnx" / "decoder_model_merged.onnx", mistake)
    with pytest.raises(AnatomyError, match=r"the keys that it takes are not those that decoder_model_merged\.onnx gives"):
        voxray.load_model(writable)


def test_kept_keys_must_change_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lifted(self: Any, memory: Any, tokens: np.ndarray) -> tuple[np.ndarray, Any]:
        logits, after = follow(self, memory, tokens)
        return logits * np.float32(1.001), after

    follow = PairedSpeaker.follow
    monkeypatch.setattr(PairedSpeaker, "follow", lifted)
    with pytest.raises(
        AnatomyError, match=r"with kept keys the decoder says something else than without \(relative error 1\.0e-03"
    ):
        voxray.load_model(data / ENCODERS["optimum"])


def test_missing_tokens_are_told(writable: Path) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        (writable / name).unlink()
    with pytest.raises(ModelError, match=r"onnx holds no tokens: tokenizer\.json, vocab\.json or a tokens\.txt was expected"):
        voxray.load_model(writable)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"alignment_heads": [[9, 0]]}, "the settings name alignment heads beyond the decoder's 2 layers"),
        ({"suppress_tokens": "all"}, "the settings forbid tokens by what is no number"),
    ],
)
def test_senseless_settings_are_refused(changes: dict[str, Any], complaint: str, writable: Path) -> None:
    settings(writable, **changes)
    with pytest.raises(ModelError, match=complaint):
        voxray.load_model(writable)


def test_a_head_that_is_not_there_is_refused(writable: Path) -> None:
    settings(writable, alignment_heads=[[1, 7]])
    with pytest.raises(ModelError, match="the settings name alignment heads beyond the decoder's 4 heads"):
        voxray.load_model(writable)
