"""A Paraformer that is held to its tokens: nothing hidden is the plain run, and whatever is hidden, tokens stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.graph.placing import LEAST, MIXED, SHARES, SUMS, one_place, places, with_places
from voxray.graph.session import Runner
from voxray.types import Features, ModelError, OptionError

MODELS = {
    "fp32": "paraformer-funasr/model.onnx",
    "int8": "paraformer-funasr/model_quant.onnx",
    "loop": "paraformer-variants/bicif/model.onnx",  # integrates and fires frame by frame, in an inner graph
    "hotwords": "paraformer-variants/seaco/model.onnx",
}
SOUNDS = ("short", "odd", "stereo")
Golden = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def models(data: Path) -> dict[str, Any]:
    return {kind: voxray.load_model(data / path) for kind, path in MODELS.items()}


@pytest.fixture(scope="module")
def model(models: dict[str, Any]) -> Any:
    return models["fp32"]


def hidden(part: Features, first: int, stop: int) -> Features:
    """The features with some rows at the average of training."""
    values = part.values.copy()
    values[first:stop] = 0
    return replace(part, values=values)


def fired(alphas: np.ndarray) -> list[dict[int, float]]:
    """How much of which frame each token holds, by walking over the frames; the last is what fires no more."""
    tokens: list[dict[int, float]] = [{}]
    room = 1.0
    for frame, weight in enumerate(alphas.astype(np.float64).tolist()):
        left = weight
        while left >= room:
            tokens[-1][frame] = room
            left, room = left - room, 1.0
            tokens.append({})
        tokens[-1][frame] = left
        room -= left
    return tokens


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sound", SOUNDS)
def test_nothing_hidden_is_the_plain_run_bit_for_bit(kind: str, sound: str, models: dict[str, Any], data: Path) -> None:
    opened = models[kind]
    trace = opened.trace(data / "audio" / f"{sound}.wav")
    plain = trace.evidence[0].logits()
    (found,) = opened.forced(trace.features, trace)
    assert found.tobytes() == plain.tobytes()
    assert found.shape == plain.shape
    assert opened.forced([], trace) == []


@pytest.mark.parametrize("name", ["short", "odd"])
def test_nothing_hidden_is_the_golden(name: str, model: Any, golden: Golden, data: Path) -> None:
    told = golden(f"{name}.paraformer")
    trace = model.trace(data / "audio" / f"{name}.wav")
    np.testing.assert_allclose(model.forced(trace.features, trace)[0], told["logprobs"], atol=8e-4)
    feeds = model.feeds([trace.features[0].values])
    feeds |= {key: one[None] for key, one in places(told["alphas"], int(told["token_num"])).items()}
    runner = Runner(with_places(model.graph, model.layout.alphas))
    (alphas,) = runner.run(feeds, [model.layout.alphas])
    np.testing.assert_allclose(alphas[0], told["alphas"], atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_as_many_tokens_fire_whatever_is_hidden(kind: str, models: dict[str, Any], data: Path) -> None:
    opened = models[kind]
    trace = opened.trace(data / "audio" / "odd.wav")
    part, plain = trace.features[0], trace.evidence[0].logits()
    spans = [(0, 35), (0, 5), (30, 35), (12, 13), (3, 33)]
    found = opened.forced([hidden(part, *span) for span in spans], trace)
    counts = [len(rows) for rows in opened.logits([hidden(part, *span) for span in spans])]
    assert [len(rows) for rows in found] == [len(plain)] * len(spans)
    assert set(counts) != {len(plain)}, "left to itself the model fires otherwise"
    assert all(np.isfinite(rows).all() and not np.array_equal(rows, plain) for rows in found)


def test_tokens_take_from_their_own_stretch(model: Any, data: Path) -> None:
    """By loops: each stretch sums to what it did, its frames as the hidden sound weighs them; embeddings are weighted means."""
    trace = model.trace(data / "audio" / "odd.wav")
    evidence, part = trace.evidence[0], hidden(trace.features[0], 8, 15)
    plain, feeds = evidence.alphas(), model.feeds([part.values])
    raw, memory = (one[0] for one in model.run(feeds, [model.layout.alphas, model.decoder.memory]))
    expected = np.zeros(len(plain))
    for stretch in fired(plain):
        shares = {frame: taken / float(plain[frame]) for frame, taken in stretch.items()}
        weights = {frame: share * (float(raw[frame]) + MIXED * float(plain[frame])) for frame, share in shares.items()}
        for frame, weight in weights.items():
            expected[frame] += weight * sum(stretch.values()) / sum(weights.values())
    runner = Runner(with_places(model.graph, model.layout.alphas))
    feeds |= {name: one[None] for name, one in places(plain, len(evidence.logits())).items()}
    alphas, embeddings, logits = runner.run(feeds, [model.layout.alphas, model.decoder.embeddings, model.layout.logits])
    np.testing.assert_allclose(alphas[0], expected, atol=1e-6)
    assert np.abs(alphas[0] - plain).max() > 0.02
    assert np.abs(expected - raw * plain.sum() / raw.sum()).max() > 0.1  # which one factor for the whole sound would give
    rows = [sum(share * memory[frame] for frame, share in token.items() if frame < 35) for token in fired(alphas[0])[:-1]]
    np.testing.assert_allclose(embeddings[0], rows, atol=1e-4)
    np.testing.assert_array_equal(model.forced([part], trace)[0], logits[0])


def test_tokens_after_a_gap_stay_where_they_are(model: Any, data: Path) -> None:
    """One factor for the whole sound would move them into the gap and beyond."""
    trace = model.trace(data / "audio" / "odd.wav")
    evidence, part = trace.evidence[0], hidden(trace.features[0], 3, 12)
    plain, count = evidence.alphas(), len(evidence.logits())

    def middles(weights: np.ndarray) -> np.ndarray:
        return np.array([sum(frame * share for frame, share in token.items()) for token in fired(weights)[:count]])

    def run(held: dict[str, np.ndarray]) -> np.ndarray:
        runner = Runner(with_places(model.graph, model.layout.alphas))
        (found,) = runner.run(model.feeds([part.values]) | {name: one[None] for name, one in held.items()}, [model.layout.alphas])
        return middles(found[0])

    own, together = run(places(plain, count)), run(one_place(plain, len(plain)))
    outside = np.abs(middles(plain) - 7.5) > 6  # frames from the middle of the gap
    assert np.abs(own - middles(plain))[outside].max() < 0.5
    assert np.abs(together - middles(plain))[outside].max() > 1.5
    assert np.abs(own - middles(plain)).max() < np.abs(together - middles(plain)).max()


def test_weights_of_nothing_are_those_of_the_sound_as_it_was() -> None:
    alphas = np.array([0.2, 0.9, 0.0, 0.7, 0.6, 0.45], np.float32)
    held = places(alphas, 2)
    assert held[SHARES].shape == (3, 6)  # two tokens and what fires no more
    np.testing.assert_allclose(held[SHARES].sum(axis=0), 1)
    np.testing.assert_allclose(held[SHARES][0], [1, 8 / 9, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(held[SHARES][1], [0, 1 / 9, 1, 1, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(held[SUMS][:, 0], [1, 1, 0.85], atol=1e-6)
    for raw in (np.zeros(6), 1e-9 * alphas):
        mixed = raw + held[LEAST][0]
        found = (held[SUMS] / (held[SHARES] @ mixed)[:, None] * held[SHARES] * mixed).sum(axis=0)
        np.testing.assert_allclose(found, alphas, atol=1e-6)


def test_sound_of_another_length_keeps_the_number_of_tokens(model: Any, data: Path) -> None:
    trace = model.trace(data / "audio" / "odd.wav")
    part, count = trace.features[0], len(trace.evidence[0].logits())
    shorter, longer = replace(part, values=part.values[:25]), replace(part, values=np.concatenate([part.values, part.values[:9]]))
    found = model.forced([shorter, part, longer], trace)
    assert [len(rows) for rows in found] == [count] * 3
    np.testing.assert_array_equal(found[1], trace.evidence[0].logits())


def test_sound_without_a_token_stays_so(data: Path, model: Any) -> None:
    trace = model.trace(data / "audio" / "short.wav")
    tiny = trace.features[0].values[:1]
    silent = replace(trace, features=(replace(trace.features[0], values=tiny),), evidence=(object(),))  # type: ignore[arg-type]
    (rows,) = model.forced(silent.features, silent)
    assert rows.shape == (0, 46)


def test_what_cannot_be_held_is_one_line(model: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = model.trace(data / "audio" / "odd.wav")
    with pytest.raises(OptionError, match="told no language, got 'zh'"):
        model.forced(trace.features, trace, "zh")
    fresh = voxray.load_model(model.graph.path)

    def too_little(alphas: np.ndarray, count: int) -> dict[str, np.ndarray]:
        held = places(alphas, count)
        return held | {SUMS: 0.9 * held[SUMS]}

    monkeypatch.setattr("voxray.models.paraformer.places", too_little)
    with pytest.raises(ModelError, match="14 to 14 tokens fire where 16 were asked for, so this sound cannot be explained; cut"):
        fresh.forced(trace.features, trace)


def test_a_wording_is_spelled_in_pieces(model: Any) -> None:
    pieces = model.vocabulary.pieces

    def spelled(text: str) -> list[str]:
        return [pieces[one] for one in model.vocabulary.encode(text)]

    assert spelled("Hello 天 气") == ["hel@@", "lo", "天", "气"]
    assert spelled("今天the fox") == ["今", "天", "th@@", "e", "fo@@", "x"]
    assert spelled("a b c") == ["a", "b", "c"]
    assert spelled("day") == ["day"]
    for wrong in ("☃", "helo", "天☃", "hel"):
        with pytest.raises(OptionError, match=f"this model's vocabulary cannot spell '{wrong}'; give a wording that it could have"):
            model.vocabulary.encode(wrong)
    with pytest.raises(OptionError, match="there is nothing to spell in ' '; give some words"):
        model.vocabulary.encode(" ")
