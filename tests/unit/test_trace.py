"""Traces: token attention and head norms against plain loops, pieces of a long sound, and the file."""

from __future__ import annotations

import errno
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import trace as trace_module
from voxray.attention import AttentionView, attention_map
from voxray.graph.weights import linear_weight
from voxray.richtext import rich_text
from voxray.trace import Trace
from voxray.types import Audio, OptionError, OutputError, Piece, TraceError

LAYERS, HEADS, PROMPTS = 14, 4, 4


@pytest.fixture(scope="module")
def spoken(bundled: Any, clips: Path) -> Trace:
    trace: Trace = bundled.trace(clips / "en_neutral_speech.wav")
    assert len(trace.words) >= 5
    return trace


@pytest.fixture(scope="module")
def long_sound(clips: Path) -> Audio:
    """More than 70 s: the bundled clips one after another with a second of very quiet noise after each."""
    rng = np.random.default_rng(0)
    parts: list[np.ndarray] = []
    paths = sorted(clips.glob("*.wav"))
    while sum(map(len, parts)) < 70 * 16000:
        path = paths[len(parts) // 2 % len(paths)]
        parts += [voxray.load_audio(path).samples, rng.normal(0, 1e-4, 16000).astype(np.float32)]
    return Audio(np.concatenate(parts), name="long")


@pytest.fixture(scope="module")
def long(bundled: Any, long_sound: Audio) -> Trace:
    trace: Trace = bundled.trace(long_sound)
    assert len(trace.pieces) >= 3
    return trace


@pytest.fixture(scope="module")
def empties(bundled: Any) -> dict[str, Trace]:
    """Sounds in which nothing is said; the long one has no piece at all, since no voice is found in it."""
    noise = np.random.default_rng(1).normal(0, 1e-3, 16000)
    sounds = {"silence": np.zeros(16000), "noise": noise, "no pieces": np.zeros(40 * 16000)}
    found = {name: bundled.trace(Audio(samples, name=name)) for name, samples in sounds.items()}
    assert {name: len(one.pieces) for name, one in found.items()} == {"silence": 1, "noise": 1, "no pieces": 0}
    return found


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


# --- against slow twins ------------------------------------------------------------------------------------------------------


def slow_occupancy(log_probs: np.ndarray, ids: list[int]) -> list[list[float]]:
    """Forward-backward in plain probabilities, one state at a time: for short sound only."""
    labels = [0]
    for one in ids:
        labels += [one, 0]
    probs = [[math.exp(float(row[label])) for label in labels] for row in log_probs]
    frames, states = len(probs), len(labels)

    def sources(state: int) -> list[int]:
        skip = state > 1 and labels[state] != 0 and labels[state] != labels[state - 2]
        return [state - step for step in ((0, 1, 2) if skip else (0, 1)) if state - step >= 0]

    forward = [[probs[0][state] if state < 2 else 0.0 for state in range(states)]]
    for frame in range(1, frames):
        forward.append([probs[frame][s] * sum(forward[-1][one] for one in sources(s)) for s in range(states)])
    backward = [[1.0 if state >= states - 2 else 0.0 for state in range(states)]]
    for frame in range(frames - 2, -1, -1):
        later = [0.0] * states
        for state in range(states):
            for one in sources(state):
                later[one] += probs[frame + 1][state] * backward[0][state]
        backward.insert(0, later)
    total = sum(forward[-1][-2:])
    return [[forward[t][2 * u + 1] * backward[t][2 * u + 1] / total for t in range(frames)] for u in range(len(ids))]


def test_token_attention_is_that_of_plain_loops(spoken: Trace) -> None:
    layers = [0, 7, 13]
    found = spoken.token_attention(layers)
    raw = spoken.self_attention(layers).values.tolist()
    occupancy = slow_occupancy(spoken.log_probs[PROMPTS:], [token.id for token in spoken.tokens])
    rows, frames = len(spoken.log_probs), len(spoken.times)
    for layer, head, token in np.ndindex(len(layers), HEADS, len(spoken.tokens)):
        share = [one / sum(occupancy[token]) for one in occupancy[token]]
        row = [sum(share[t] * raw[layer][head][PROMPTS + t][key] for t in range(frames)) for key in range(rows)]
        sound = sum(row[PROMPTS:])
        expected = [one / sound if sound else 0.0 for one in row[PROMPTS:]]  # a head may look at the prompts alone
        np.testing.assert_allclose(found.values[layer, head, token], expected, atol=2e-6)
        mass = float(found["prompt_mass"].values[layer, head, token])
        assert mass == pytest.approx(sum(row[:PROMPTS]), abs=2e-6)
        assert mass + sound == pytest.approx(1, abs=5e-6)
    np.testing.assert_allclose(spoken.occupancy(), occupancy, atol=2e-5)


def test_head_norms_are_those_of_plain_loops(spoken: Trace, bundled: Any) -> None:
    layer = 9
    context = spoken.tensor("context", [layer]).values[0].astype(np.float64)
    weight = linear_weight(bundled.graph, bundled.anatomy.blocks[layer].projection).astype(np.float64)
    width = context.shape[1] // HEADS
    found = spoken.evidence[0].head_norms([layer])
    assert found.shape == (1, HEADS, len(context))
    for head in range(HEADS):
        part = range(head * width, (head + 1) * width)
        for row in (0, 3, 4, 20, len(context) - 1):
            added = [sum(context[row, at] * weight[at, out] for at in part) for out in range(weight.shape[1])]
            assert float(found[0, head, row]) == pytest.approx(math.sqrt(sum(one * one for one in added)), rel=1e-4)


def test_head_norms_are_averaged_by_occupancy(spoken: Trace, bundled: Any) -> None:
    layers = [2, 9]
    raw = spoken.evidence[0].head_norms(layers)
    for place, layer in enumerate(layers):  # the same by whole matrices in float64, every head and row
        context = spoken.tensor("context", [layer]).values[0].astype(np.float64)
        weight = linear_weight(bundled.graph, bundled.anatomy.blocks[layer].projection).astype(np.float64)
        width = context.shape[1] // HEADS
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            np.testing.assert_allclose(raw[place, head], np.linalg.norm(context[:, part] @ weight[part], axis=1), rtol=1e-4)
    found = spoken.head_norms(layers, tags=True)
    assert found.dims == ("layer", "head", "token")
    assert found["layer"].values.tolist() == layers
    occupancy = spoken.occupancy()
    for place, head, token in np.ndindex(len(layers), HEADS, len(spoken.tokens)):
        share = occupancy[token] / occupancy[token].sum()
        wanted = sum(float(s) * float(n) for s, n in zip(share, raw[place, head, PROMPTS:], strict=True))
        assert float(found[place, head, PROMPTS + token]) == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_array_equal(found.values[..., :PROMPTS], raw[..., :PROMPTS])
    np.testing.assert_array_equal(found.values[..., PROMPTS:], spoken.head_norms(layers).values)


def test_occupancy_agrees_with_the_emissions(spoken: Trace) -> None:
    occupancy = spoken.occupancy()
    assert occupancy.shape == (len(spoken.tokens), len(spoken.times))
    assert occupancy.sum(axis=0).max() <= 1 + 1e-5
    for token, row in zip(spoken.tokens, occupancy, strict=True):
        # A frame's posterior bounds how much a likely text can lack; these words are said clearly.
        assert token.rows[0] - 1 <= row.argmax() + PROMPTS <= token.rows[1]


# --- shapes, coordinates, choices --------------------------------------------------------------------------------------------


def test_self_attention_has_its_axes(spoken: Trace) -> None:
    found = spoken.self_attention()
    rows, frames = len(spoken.log_probs), len(spoken.times)
    assert rows == frames + PROMPTS
    assert found.dims == ("layer", "head", "query", "key")
    assert found.shape == (LAYERS, HEADS, rows, rows)
    assert found.dtype == np.float32
    assert found.values.min() >= 0
    np.testing.assert_allclose(found.values.sum(axis=-1), 1, atol=2e-5)
    for side in ("query", "key"):
        times, labels = found[f"{side}_time"], found[f"{side}_label"].values.tolist()
        assert times.dims == (side,)
        assert np.all(np.isnan(times.values[:PROMPTS]))
        np.testing.assert_allclose(times.values[PROMPTS:], 0.0125 + 0.06 * np.arange(frames), atol=1e-9)
        assert labels[:PROMPTS] == ["<language>", "<emotion>", "<event>", "<textnorm>"]
        assert {row: label for row, label in enumerate(labels) if label and row >= PROMPTS} == {
            token.peak: token.text for token in spoken.tokens
        }
    assert found.attrs == {
        "unit": "attention probability",
        "audio": "en_neutral_speech.wav",
        "model": "model/model.onnx (funasr, fp32)",
        "language": "auto",
        "textnorm": "off",
    }


def test_token_attention_has_its_axes(spoken: Trace) -> None:
    found = spoken.token_attention()
    assert found.dims == ("layer", "head", "token", "frame")
    assert found.shape == (LAYERS, HEADS, len(spoken.tokens), len(spoken.times))
    sums, mass = found.values.sum(axis=-1), found["prompt_mass"].values
    np.testing.assert_allclose(sums[sums > 0], 1, atol=2e-5)
    np.testing.assert_allclose(mass[sums == 0], 1, atol=2e-5)  # a head may look at the prompts alone
    assert (sums > 0).mean() > 0.9
    for name, wanted in {
        "layer": list(range(LAYERS)),
        "head": list(range(HEADS)),
        "label": [token.text for token in spoken.tokens],
        "kind": ["token"] * len(spoken.tokens),
        "start": [token.start for token in spoken.tokens],
        "end": [token.end for token in spoken.tokens],
        "confidence": [token.confidence for token in spoken.tokens],
        "time": spoken.times.tolist(),
    }.items():
        assert found[name].values.tolist() == wanted, name
    assert found["prompt_mass"].dims == ("layer", "head", "token")
    assert found.attrs["rows"] == "CTC occupancy of each token"


def test_tags_get_the_rows_of_their_prompts(spoken: Trace) -> None:
    found, plain, raw = spoken.token_attention([5], tags=True), spoken.token_attention([5]), spoken.self_attention([5])
    assert found["kind"].values.tolist() == ["tag"] * 4 + ["token"] * len(spoken.tokens)
    assert found["label"].values.tolist()[:4] == ["language: en", "emotion: NEUTRAL", "event: Speech", "textnorm: woitn"]
    assert found["confidence"].values.tolist()[:4] == [tag.probability for tag in spoken.tags]
    np.testing.assert_allclose(found.values[:, :, 4:], plain.values, atol=1e-7)
    rows = raw.values[:, :, :PROMPTS, PROMPTS:]
    np.testing.assert_allclose(found.values[:, :, :4], rows / rows.sum(axis=-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(found["prompt_mass"].values[:, :, :4], raw.values[:, :, :4, :4].sum(axis=-1), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "heads", "chosen"),
    [
        ([5, 0], [3, 1], ([5, 0], [3, 1])),
        ([-1, -14], [-4], ([13, 0], [0])),
        ([2, 2], None, ([2, 2], [0, 1, 2, 3])),
        (None, [2], (list(range(LAYERS)), [2])),
        (range(12, 14), np.array([1]), ([12, 13], [1])),
    ],
)
def test_layers_and_heads_are_chosen(
    spoken: Trace, layers: Sequence[int] | None, heads: Sequence[int] | None, chosen: tuple[list[int], list[int]]
) -> None:
    for every, some in (
        (spoken.self_attention(), spoken.self_attention(layers, heads)),
        (spoken.token_attention(), spoken.token_attention(layers, heads)),
    ):
        assert (some["layer"].values.tolist(), some["head"].values.tolist()) == chosen
        np.testing.assert_allclose(some.values, every.values[np.ix_(*chosen)], atol=1e-7)
    np.testing.assert_array_equal(spoken.head_norms(layers).values, spoken.head_norms().values[chosen[0]])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layers": [0, 14]}, "layer 14 does not exist: there are 14 layers, 0 to 13"),
        ({"layers": [-15]}, "layer -15 does not exist: there are 14 layers, 0 to 13"),
        ({"layers": []}, "no layer was chosen; give at least one, or None for all"),
        ({"heads": [4]}, "head 4 does not exist: there are 4 heads, 0 to 3"),
        ({"heads": [-5]}, "head -5 does not exist: there are 4 heads, 0 to 3"),
        ({"heads": []}, "no head was chosen; give at least one, or None for all"),
    ],
)
def test_what_is_not_there_cannot_be_chosen(spoken: Trace, choice: dict[str, list[int]], message: str) -> None:
    for take in (spoken.self_attention, spoken.token_attention):
        with pytest.raises(OptionError) as refused:
            take(**choice)
        assert one_line(refused.value) == message
    if "layers" in choice:
        for call in (spoken.head_norms, lambda layers: spoken.tensor("memory", layers)):
            with pytest.raises(OptionError) as refused:
                call(choice["layers"])
            assert str(refused.value) == message


def test_tensors(spoken: Trace) -> None:
    rows = len(spoken.log_probs)
    attended, memory, projection = (spoken.tensor(name, [3, -1]) for name in ("attended", "memory", "projection"))
    assert memory.dims == ("layer", "row", "channel")
    assert memory.shape == (2, rows, 128)
    assert memory["layer"].values.tolist() == [3, 13]
    assert memory["row_label"].values.tolist() == spoken.self_attention([0])["query_label"].values.tolist()
    np.testing.assert_allclose(attended.values, memory.values + projection.values, atol=1e-5)
    value, weights = spoken.tensor("value", [3]).values[0], spoken.self_attention([3]).values[0]
    parts = np.concatenate([weights[head] @ value[:, head * 32 : head * 32 + 32] for head in range(HEADS)], axis=1)
    np.testing.assert_allclose(spoken.tensor("context", [3]).values[0], parts, atol=1e-4)
    with pytest.raises(OptionError, match="no inner tensor is called 'query'; choose one of input, value"):
        spoken.tensor("query")


def test_log_probs_sum_to_one_and_explain_the_tokens(spoken: Trace) -> None:
    log_probs = spoken.log_probs
    assert log_probs.dtype == np.float32
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    for token in spoken.tokens:
        assert all(int(log_probs[row].argmax()) == token.id for row in range(*token.rows))
        assert token.log_prob == pytest.approx(float(log_probs[token.peak, token.id]), abs=1e-6)
        assert token.peak == token.rows[0] + int(log_probs[slice(*token.rows), token.id].argmax())


def test_values_of_a_trace_are_read_only(spoken: Trace) -> None:
    for array in (spoken.audio.samples, spoken.features[0].values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        spoken.language = "zh"  # type: ignore[misc]


def test_what_is_returned_can_be_changed_without_harm(spoken: Trace) -> None:
    before = {"self": spoken.self_attention([1]), "token": spoken.token_attention([1], tags=True)}
    kept, log_probs = {name: one.values.copy() for name, one in before.items()}, spoken.log_probs.copy()
    spoken.log_probs[:] = 0
    for one in before.values():
        one.values[:] = 0
    np.testing.assert_array_equal(spoken.self_attention([1]).values, kept["self"])
    np.testing.assert_array_equal(spoken.token_attention([1], tags=True).values, kept["token"])
    np.testing.assert_array_equal(spoken.log_probs, log_probs)


def test_as_dictionary(spoken: Trace) -> None:
    told = json.loads(json.dumps(spoken.to_dict()))
    assert told["text"] == spoken.text
    assert (told["audio"], told["language"], told["textnorm"]) == ("en_neutral_speech.wav", "auto", False)
    assert told["model"]["sha256"] == spoken.model.sha256
    assert len(told["model"]["sha256"]) == 64
    assert [one["confidence"] for one in told["tokens"]] == [token.confidence for token in spoken.tokens]
    assert [one["confidence"] for one in told["words"]] == [word.confidence for word in spoken.words]
    assert [len(one["alternatives"]) for one in told["tokens"]] == [5] * len(spoken.tokens)
    assert [one["kind"] for one in told["tags"]] == ["language", "emotion", "event", "textnorm"]


# --- pieces of a long sound --------------------------------------------------------------------------------------------------


def test_pieces_lie_in_order_within_the_sound(long: Trace) -> None:
    assert long.pieces[0].rows[0] == long.pieces[0].tokens[0] == 0
    assert long.pieces[-1].tokens[1] == len(long.tokens)
    assert long.pieces[-1].rows[1] == len(long.log_probs)
    for before, after in zip(long.pieces, long.pieces[1:], strict=False):
        assert before.end <= after.start + 1e-9
        assert (before.rows[1], before.tokens[1]) == (after.rows[0], after.tokens[0])
    for piece, features in zip(long.pieces, long.features, strict=True):
        assert 0 <= piece.start < piece.end <= long.audio.duration
        assert piece.end - piece.start <= 30 + 0.06
        assert piece.rows[1] - piece.rows[0] == len(features.values) + PROMPTS
        assert features.start == pytest.approx(piece.start + 0.0125)
        for token in long.tokens[slice(*piece.tokens)]:
            assert piece.rows[0] + PROMPTS <= token.rows[0] <= token.peak < token.rows[1] <= piece.rows[1]
            assert piece.start - 0.03 <= token.start < token.end <= piece.end + 0.03
            emitted = features.start + 0.06 * (token.peak - piece.rows[0] - PROMPTS)
            assert token.start - 0.4 < emitted < token.end + 0.4
    assert [tag.row for tag in long.tags] == [piece.rows[0] + row for piece in long.pieces for row in range(PROMPTS)]
    assert np.all(np.diff(long.times) > 0)


def test_a_piece_is_found_where_it_was_said(long: Trace, long_sound: Audio, bundled: Any) -> None:
    """Sound that is cut by hand at a piece's edges is recognised as that piece, with times from the cut."""
    piece = long.pieces[1]
    alone = bundled.trace(long_sound.cut(piece.start, piece.start + piece.end - piece.start))
    theirs = long.tokens[slice(*piece.tokens)]
    assert [token.text for token in alone.tokens][:10] == [token.text for token in theirs][:10]
    for mine, token in zip(alone.tokens[:10], theirs[:10], strict=True):
        assert mine.end + piece.start == pytest.approx(token.end, abs=1e-6)  # a start is never before the sound's own


def test_a_piece_is_numbered_from_its_own_first_row(long: Trace) -> None:
    for index, span in enumerate(long.pieces):
        part = long.piece(index)
        offset, (first, stop) = span.rows[0], span.tokens
        assert part.pieces == (Piece(span.start, span.end, (0, span.rows[1] - offset), (0, stop - first), PROMPTS, span.raw_text),)
        assert part.audio is long.audio
        for mine, token in zip(part.tokens, long.tokens[first:stop], strict=True):
            assert mine.rows == (token.rows[0] - offset, token.rows[1] - offset)
            assert replace(mine, rows=token.rows, peak=mine.peak + offset) == token  # times and all else are the same
        assert [tag.row for tag in part.tags] == [0, 1, 2, 3]
        assert [word.text for word in part.words] == [word.text for word in long.words if first <= word.tokens[0] < stop]
        for word in part.words:
            assert "".join(token.text for token in part.tokens[slice(*word.tokens)]).strip() == word.text
        np.testing.assert_array_equal(part.log_probs, long.log_probs[slice(*span.rows)])
        np.testing.assert_array_equal(part.times, long.features[index].times)
        np.testing.assert_array_equal(part.occupancy(), long.occupancy(index))
    assert [word for index in range(len(long.pieces)) for word in long.piece(index).text.split()] == long.text.split()


def test_pieces_do_not_see_each_other(long: Trace) -> None:
    layers, heads = [0, 13], [1]
    whole, tokens = long.self_attention(layers, heads), long.token_attention(layers, heads, tags=True)
    norms, memory = long.head_norms(layers), long.tensor("memory", layers)
    rest, column, row = whole.values.copy(), 0, 0
    outside = tokens.values.copy()
    for index, span in enumerate(long.pieces):
        part, rows = long.piece(index), slice(*span.rows)
        mine = part.self_attention(layers, heads)
        np.testing.assert_array_equal(whole.values[:, :, rows, rows], mine.values)
        np.testing.assert_array_equal(whole["query_time"].values[rows], mine["query_time"].values)
        assert whole["query_label"].values[rows].tolist() == mine["query_label"].values.tolist()
        rest[:, :, rows, rows] = 0
        mine = part.token_attention(layers, heads, tags=True)
        place = np.s_[:, :, row : row + mine.shape[2], column : column + mine.shape[3]]
        np.testing.assert_array_equal(tokens.values[place], mine.values)
        np.testing.assert_array_equal(tokens["prompt_mass"].values[place[:3]], mine["prompt_mass"].values)
        assert tokens["label"].values[place[2]].tolist() == mine["label"].values.tolist()
        outside[place] = 0
        np.testing.assert_array_equal(norms.values[..., slice(*span.tokens)], part.head_norms(layers).values)
        np.testing.assert_array_equal(memory.values[:, rows], part.tensor("memory", layers).values)
        row, column = row + mine.shape[2], column + mine.shape[3]
    assert (row, column) == tokens.shape[2:]
    assert not rest.any()
    assert not outside.any()
    np.testing.assert_allclose(whole.values.sum(axis=-1), 1, atol=2e-5)
    np.testing.assert_allclose(tokens.values.sum(axis=-1), 1, atol=2e-5)
    np.testing.assert_array_equal(tokens["time"].values, long.times)


def test_a_piece_has_its_own_texts(long: Trace) -> None:
    parts = [long.piece(index) for index in range(len(long.pieces))]
    assert "".join(part.raw_text for part in parts) == long.raw_text
    assert " ".join(part.text for part in parts) == long.text
    for part in parts:
        assert part.raw_text.startswith("".join(tag.emitted for tag in part.tags))
        assert part.rich_text == rich_text(part.raw_text)


@pytest.mark.parametrize("index", [-99, 99])
def test_a_piece_that_is_not_there(long: Trace, index: int) -> None:
    message = f"piece {index} does not exist: there are {len(long.pieces)} pieces, 0 to {len(long.pieces) - 1}"
    for take in (long.piece, long.occupancy):
        with pytest.raises(OptionError) as refused:
            take(index)
        assert one_line(refused.value) == message


def test_a_piece_of_a_piece_is_itself(long: Trace) -> None:
    part = long.piece(2)
    again = part.piece(0)
    assert again.transcript == part.transcript
    np.testing.assert_array_equal(again.token_attention([4]).values, part.token_attention([4]).values)


# --- what is kept and what is computed again ---------------------------------------------------------------------------------


def test_nothing_kept_is_everything_kept(spoken: Trace, bundled: Any, clips: Path) -> None:
    again = bundled.trace(clips / "en_neutral_speech.wav", keep=0)
    assert again.transcript == spoken.transcript
    assert again.to_dict() == spoken.to_dict()
    np.testing.assert_array_equal(again.log_probs, spoken.log_probs)
    for layers in (None, [9, 2, 9]):
        np.testing.assert_array_equal(again.self_attention(layers).values, spoken.self_attention(layers).values)
        np.testing.assert_array_equal(again.token_attention(layers).values, spoken.token_attention(layers).values)
    np.testing.assert_array_equal(again.head_norms([2]).values, spoken.head_norms([2]).values)


def test_some_pieces_kept_is_everything_kept(long: Trace, bundled: Any, long_sound: Audio) -> None:
    short = long_sound.cut(0, 34)
    kept, rows = bundled.trace(short), 0
    assert len(kept.pieces) >= 2
    rows = kept.pieces[0].rows[1]
    size = 4 * rows * (LAYERS * HEADS * rows + kept.log_probs.shape[1])
    some = bundled.trace(short, keep=size)  # room for the first piece only
    assert some.transcript == kept.transcript
    np.testing.assert_array_equal(some.log_probs, kept.log_probs)
    np.testing.assert_array_equal(some.token_attention([0, 13]).values, kept.token_attention([0, 13]).values)
    assert kept.tokens[:5] == long.tokens[:5]


# --- the file ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "stored"), [(None, list(range(LAYERS))), ([3, -1, 3], [3, 13]), ([], []), (np.array([5]), [5])])
def test_saved_and_loaded(spoken: Trace, tmp_path: Path, layers: Sequence[int] | None, stored: list[int]) -> None:
    path = spoken.save(tmp_path / "a.trace", layers)
    loaded = voxray.load_trace(path)
    assert path == tmp_path / "a.trace"
    assert loaded.transcript == spoken.transcript
    assert (loaded.model, loaded.language, loaded.textnorm, loaded.blank) == (spoken.model, "auto", False, 0)
    assert loaded.to_dict() == spoken.to_dict()
    assert (loaded.audio.name, loaded.audio.sample_rate) == (spoken.audio.name, 16000)
    np.testing.assert_array_equal(loaded.audio.samples, spoken.audio.samples)
    np.testing.assert_array_equal(loaded.features[0].values, spoken.features[0].values)
    assert not loaded.audio.samples.flags.writeable
    np.testing.assert_array_equal(loaded.times, spoken.times)
    np.testing.assert_array_equal(loaded.log_probs, spoken.log_probs)
    np.testing.assert_array_equal(loaded.occupancy(), spoken.occupancy())
    if stored:
        np.testing.assert_array_equal(loaded.self_attention(stored[::-1]).values, spoken.self_attention(stored[::-1]).values)
        found, wanted = loaded.token_attention(stored, [1], tags=True), spoken.token_attention(stored, [1], tags=True)
        assert found.identical(wanted)
    for missing in {0, 13} - set(stored):
        with pytest.raises(TraceError) as refused:
            loaded.token_attention([missing])
        assert f"a.trace holds no attention of layer {missing}; save the trace with it" in one_line(refused.value)
    for call in (loaded.head_norms, lambda: loaded.tensor("memory")):
        with pytest.raises(TraceError, match=r"load(ed)? .*with model=\.\.\."):
            call()
    with pytest.raises(OptionError, match="layer 14 does not exist"):
        loaded.self_attention([14])


def test_loaded_with_its_model_everything_is_there(spoken: Trace, bundled: Any, tmp_path: Path) -> None:
    loaded = voxray.load_trace(spoken.save(tmp_path / "a.trace", []), model=bundled)
    np.testing.assert_array_equal(loaded.log_probs, spoken.log_probs)
    np.testing.assert_array_equal(loaded.self_attention([4]).values, spoken.self_attention([4]).values)
    np.testing.assert_array_equal(loaded.head_norms([4]).values, spoken.head_norms([4]).values)
    np.testing.assert_array_equal(loaded.tensor("memory", [4]).values, spoken.tensor("memory", [4]).values)


def test_loaded_with_another_model_is_refused(spoken: Trace, funasr_model: Any, tmp_path: Path) -> None:
    path = spoken.save(tmp_path / "a.trace", [])
    with pytest.raises(TraceError) as refused:
        voxray.load_trace(path, model=funasr_model)
    wanted = f"was made with model/model.onnx, not with {funasr_model.info.name}; open that model"
    assert wanted in one_line(refused.value)


def test_pieces_are_saved_and_loaded(long: Trace, tmp_path: Path) -> None:
    loaded = voxray.load_trace(long.save(tmp_path / "a.trace", [13]))
    assert loaded.transcript == long.transcript
    np.testing.assert_array_equal(loaded.times, long.times)
    np.testing.assert_array_equal(loaded.log_probs, long.log_probs)
    assert loaded.token_attention([13]).identical(long.token_attention([13]))
    part = voxray.load_trace(loaded.piece(1).save(tmp_path / "b.trace", [13]))
    assert part.transcript == long.piece(1).transcript
    np.testing.assert_array_equal(part.token_attention([-1]).values, long.piece(1).token_attention([-1]).values)


def test_the_file_holds_no_pickle(spoken: Trace, tmp_path: Path) -> None:
    path = spoken.save(tmp_path / "a.trace", [0, 1])
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert sorted(names) == sorted(
            ["meta.json", "samples.npy", "features-0.npy", "logits-0.npy", "attention-0-0.npy", "attention-0-1.npy"]
        )
        json.loads(archive.read("meta.json"))
        for name in names:
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    assert np.lib.format.read_array(file, allow_pickle=False).dtype == np.float32


def test_pickle_in_a_file_is_never_opened(spoken: Trace, tmp_path: Path) -> None:
    path = tmp_path / "evil.trace"
    with zipfile.ZipFile(spoken.save(tmp_path / "a.trace", [])) as good, zipfile.ZipFile(path, "w") as evil:
        for name in good.namelist():
            if name != "samples.npy":
                evil.writestr(name, good.read(name))
        with evil.open("samples.npy", "w") as file:
            np.lib.format.write_array(file, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(TraceError, match=r"no whole trace .*allow_pickle=False"):
        voxray.load_trace(path)


def test_a_trace_may_be_saved_over_its_own_file(spoken: Trace, tmp_path: Path) -> None:
    path = spoken.save(tmp_path / "a.trace", [2, 5])
    loaded = voxray.load_trace(path)
    loaded.save(path, [5])
    np.testing.assert_array_equal(loaded.self_attention([5]).values, spoken.self_attention([5]).values)
    with pytest.raises(TraceError, match="no whole trace"):  # gone, and never another layer's in its place
        loaded.self_attention([2])
    assert [one.name for one in tmp_path.iterdir()] == ["a.trace"]


def test_a_name_that_is_no_utf8_is_saved_too(spoken: Trace, tmp_path: Path) -> None:
    name = b"\xff.wav".decode("utf-8", "surrogateescape")
    odd = replace(spoken, audio=replace(spoken.audio, name=name))
    assert voxray.load_trace(odd.save(tmp_path / "a.trace", [])).audio.name == name


# --- files that cannot be read or written ------------------------------------------------------------------------------------


def read_all(path: Path) -> None:
    trace = voxray.load_trace(path)
    trace.log_probs.sum()
    trace.self_attention([0]).sum()


def test_a_truncated_file_is_refused(spoken: Trace, tmp_path: Path) -> None:
    data = spoken.save(tmp_path / "a.trace", [0]).read_bytes()
    path = tmp_path / "cut.trace"
    for size in [0, 1, 21, 22, *np.linspace(30, len(data) - 1, 25).astype(int)]:
        path.write_bytes(data[:size])
        with pytest.raises(TraceError, match=r"cut\.trace is no whole trace .*give a file that Trace\.save wrote") as refused:
            voxray.load_trace(path)
        one_line(refused.value)


def test_a_damaged_file_is_refused_or_whole(spoken: Trace, tmp_path: Path) -> None:
    """Some bytes of a zip file mean nothing (times, flags); any other damage is told in one line, at once or when it is met."""
    data = bytearray(spoken.save(tmp_path / "a.trace", [0]).read_bytes())
    path, refusals = tmp_path / "bad.trace", 0
    rng = np.random.default_rng(0)
    ends = [*range(60), *range(len(data) - 420, len(data), 3)]  # headers and the table of contents
    for place in [*ends, *rng.integers(0, len(data), 60).tolist()]:
        damaged = bytearray(data)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_all(path)
        except TraceError as error:
            one_line(error)
            refusals += 1
    assert refusals > 100


def write_text(path: Path) -> None:
    path.write_text("no trace", encoding="utf-8")


def write_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, samples=np.zeros(4))


def write_future(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", json.dumps({"format": 99}))


def write_list(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", "[" * 100000)


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, r"cannot read .*x\.trace: No such file or directory; give a file that Trace\.save wrote"),
        (make_folder, r"cannot read .*x\.trace: Is a directory; give a file"),
        (Path.touch, r"x\.trace is no whole trace .*give a file that Trace\.save wrote"),
        (write_text, r"x\.trace is no whole trace .*File is not a zip file"),
        (write_numpy, r"x\.trace is no whole trace .*meta\.json"),
        (write_list, r"x\.trace is no whole trace"),
        (write_future, r"x\.trace has the trace format 99, 1 was expected; update Voxray"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "x.trace"
    make(path)
    with pytest.raises(TraceError, match=message) as refused:
        voxray.load_trace(path)
    one_line(refused.value)


@pytest.mark.parametrize("change", ["format", "trace", "features", "sample_rate", "layers", "heads", "blank"])
def test_a_file_without_a_part_is_refused(spoken: Trace, tmp_path: Path, change: str) -> None:
    path = tmp_path / "less.trace"
    with zipfile.ZipFile(spoken.save(tmp_path / "a.trace", [])) as good, zipfile.ZipFile(path, "w") as less:
        for name in good.namelist():
            if name != "meta.json":
                less.writestr(name, good.read(name))
        meta = json.loads(good.read("meta.json"))
        del meta[change]
        less.writestr("meta.json", json.dumps(meta))
    with pytest.raises(TraceError, match=rf"no whole trace \('{change}'\)") as refused:
        voxray.load_trace(path)
    one_line(refused.value)


@pytest.mark.parametrize("where", ["missing/a.trace", "file/a.trace", "folder"])
def test_a_place_that_cannot_be_written(spoken: Trace, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("text", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=rf"cannot write .*{where}: .*; choose another place") as refused:
        spoken.save(tmp_path / where, [])
    one_line(refused.value)
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["file", "folder"]


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_save_keeps_the_old_file(spoken: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spoken.save(tmp_path / "a.trace", [1])
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", refuse)
        with pytest.raises(OutputError, match=r"cannot write .*a\.trace: No space left on device; choose another place"):
            spoken.save(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(OutputError, match="No space left on device"):
            spoken.save(path)
    without = voxray.load_trace(shutil.copy(path, tmp_path / "b.trace"))
    with pytest.raises(TraceError, match="holds no attention of layer 0"):  # what to write cannot be had
        without.save(path)
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.trace", "b.trace"]


def test_an_interrupted_save_leaves_nothing_behind(spoken: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        spoken.save(tmp_path / "a.trace", [])
    assert list(tmp_path.iterdir()) == []


# --- sizes -------------------------------------------------------------------------------------------------------------------


def test_arrays_that_are_too_large_are_refused(spoken: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "LARGEST_ARRAY", 4 * len(spoken.tokens) * len(spoken.times))
    assert spoken.token_attention([0], [0]).shape == (1, 1, len(spoken.tokens), len(spoken.times))  # just fits
    for take, advice in (
        (lambda: spoken.token_attention([0], [0, 1]), r"use fewer layers or trace\.piece\(i\)\.token_attention\(\)"),
        (spoken.self_attention, r"use fewer layers or trace\.piece\(i\)\.self_attention\(\)"),
        (lambda: spoken.log_probs, r"use trace\.piece\(i\)\.log_probs"),
    ):
        with pytest.raises(TraceError, match=rf"that array would take .* GiB, more than .*; {advice}") as refused:
            take()
        one_line(refused.value)


def test_an_array_that_is_too_large_is_never_begun(spoken: Trace) -> None:
    class Untouched:
        layers, heads = LAYERS, HEADS

    hour = Piece(0.0, 3600.0, (0, 60000), (0, 0), PROMPTS, "")
    huge = replace(spoken, transcript=replace(spoken.transcript, pieces=(hour,)), evidence=(Untouched(),))
    with pytest.raises(TraceError, match=r"that array would take 751\.0 GiB, more than 2"):
        huge.self_attention()


# --- nothing said ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["silence", "noise", "no pieces"])
def test_nothing_said_is_no_trouble(empties: dict[str, Trace], name: str, tmp_path: Path, bundled: Any) -> None:
    trace = empties[name]
    assert (trace.text, trace.words) == ("", ())
    count, tokens = len(trace.pieces), len(trace.tokens)
    rows = trace.pieces[0].rows[1] if count else 0
    frames = rows - PROMPTS * count
    loaded = voxray.load_trace(trace.save(tmp_path / "a.trace"))
    assert loaded.transcript == trace.transcript
    for one in (trace, loaded, voxray.load_trace(tmp_path / "a.trace", model=bundled)):
        assert one.times.shape == (frames,)
        assert one.log_probs.shape == ((rows, len(bundled.vocabulary)) if count else (0, 0))
        assert one.self_attention().shape == (LAYERS, HEADS, rows, rows)
        assert one.token_attention().shape == (LAYERS, HEADS, tokens, frames)
        assert one.token_attention([0], tags=True).shape == (1, HEADS, tokens + PROMPTS * count, frames)
        json.dumps(one.to_dict(), allow_nan=False)
        for aggregate in ("mean", "max", "first", "entropy"):
            for scale in ("none", "minmax", "row_sum", "row_max"):
                view = AttentionView(aggregate=aggregate, normalise=scale, smooth=0.2)  # type: ignore[arg-type]
                assert attention_map(one, view).shape == (tokens, frames)
    assert trace.head_norms([0, 1]).shape == (2, HEADS, tokens)
    assert trace.head_norms(tags=True).shape == (LAYERS, HEADS, tokens + PROMPTS * count)
    assert trace.tensor("memory", [0]).shape == ((1, rows, 128) if count else (1, 0, 0))
    assert attention_map(trace, AttentionView(aggregate="value", tags=True)).shape == (tokens + PROMPTS * count, frames)
    assert len(trace.tags) == PROMPTS * count


def test_silence_has_no_tokens(empties: dict[str, Trace]) -> None:
    assert empties["silence"].tokens == empties["no pieces"].tokens == ()
    assert empties["silence"].occupancy().shape == (0, 17)
    assert empties["no pieces"].rich_text == empties["no pieces"].raw_text == ""
    with pytest.raises(OptionError, match=r"^piece 0 does not exist: there are 0 pieces$"):
        empties["no pieces"].piece(0)
