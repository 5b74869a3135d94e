"""Views of attention: every way to put heads together and to scale against plain loops, then on the bundled model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxray.attention import (
    Aggregate,
    AttentionView,
    Normalise,
    attention_map,
    combine_heads,
    normalise,
    smooth,
    weighted_heads,
)
from voxray.trace import Trace
from voxray.types import OptionError, TraceError

FOCUSED, BLURRED = 1, 2


def some_weights(seed: int = 0) -> np.ndarray:
    """Rows that sum to 1 of 2 layers, 3 heads, 4 tokens, 9 frames; head 1 is focused, head 2 looks everywhere alike."""
    weights = np.random.default_rng(seed).gamma(0.5, size=(2, 3, 4, 9))
    weights[:, FOCUSED] = 1e-3
    weights[:, FOCUSED, range(4), range(4)] = 1
    weights[:, BLURRED] = 1
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def plain_combination(weights: np.ndarray, aggregate: str, importance: np.ndarray | None = None) -> np.ndarray:
    layers, heads, tokens, frames = weights.shape
    result = np.zeros((layers, tokens, frames))
    for layer in range(layers):
        for token in range(tokens):
            rows = [[float(one) for one in weights[layer, head, token]] for head in range(heads)]
            if aggregate == "first":
                row = rows[0]
            elif aggregate == "max":
                tops = [max(row[frame] for row in rows) for frame in range(frames)]
                row = [top / sum(tops) for top in tops]
            else:
                if aggregate == "entropy":
                    entropies = [-sum(one * math.log(one) for one in row if one > 0) for row in rows]
                    shares = [math.exp(-entropy / 0.5) for entropy in entropies]
                else:
                    shares = [1.0] * heads if importance is None else [float(importance[layer, h, token]) for h in range(heads)]
                row = [sum(s * r[frame] for s, r in zip(shares, rows, strict=True)) / sum(shares) for frame in range(frames)]
            result[layer, token] = row
    return result


@pytest.mark.parametrize("aggregate", ["mean", "max", "first", "entropy"])
def test_heads_together_are_plain_loops(aggregate: Aggregate) -> None:
    weights = some_weights()
    found = combine_heads(weights, aggregate)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_combination(weights, aggregate), atol=2e-6)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)


def test_weighted_heads_are_plain_loops() -> None:
    weights = some_weights(1)
    importance = np.random.default_rng(2).gamma(1, size=(2, 3, 4)).astype(np.float32)
    found = weighted_heads(weights, importance)
    np.testing.assert_allclose(found, plain_combination(weights, "value", importance), atol=2e-6)
    np.testing.assert_array_equal(weighted_heads(weights, np.zeros((2, 3, 4), np.float32)), 0)


def test_entropy_prefers_the_focused_head() -> None:
    weights = some_weights()[:, [FOCUSED, BLURRED]]
    found, focused, blurred = combine_heads(weights, "entropy"), weights[:, 0], weights[:, 1]
    assert np.all(np.abs(found - focused).sum(axis=-1) < 0.05 * np.abs(found - blurred).sum(axis=-1))
    alike = np.stack([weights[:, 1], weights[:, 1]], axis=1)
    np.testing.assert_allclose(combine_heads(alike, "entropy"), weights[:, 1], atol=1e-6)


def test_entropy_of_rows_with_zeros_is_finite() -> None:
    weights = np.zeros((1, 2, 1, 4), np.float32)
    weights[0, 0, 0, 2] = 1  # entropy 0, against log 4
    weights[0, 1, 0] = 0.25
    share = 1 / (1 + 4**-2)
    np.testing.assert_allclose(combine_heads(weights, "entropy")[0, 0, 2], share + (1 - share) / 4, rtol=1e-5)


@settings(max_examples=150, deadline=None)
@given(
    weights=hnp.arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(0, 12)), elements=st.floats(0, 1, width=32)),
    frames=st.integers(0, 30),
)
def test_smooth_is_a_naive_window(weights: np.ndarray, frames: int) -> None:
    reach = frames // 2  # an even width is made odd: 2 looks at one frame to either side, as 3 does
    expected = np.zeros(weights.shape)
    for token, frame in np.ndindex(weights.shape):
        window = [weights[token, at] for at in range(frame - reach, frame + reach + 1) if 0 <= at < weights.shape[1]]
        expected[token, frame] = math.fsum(window) / len(window)
    found = smooth(weights, frames)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_smooth_keeps_what_is_even_and_centres_what_is_not() -> None:
    impulse = np.zeros((1, 9), np.float32)
    impulse[0, 4] = 1
    for frames in (2, 3):
        np.testing.assert_allclose(smooth(impulse, frames), [[0, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(smooth(np.full((2, 9), 0.25, np.float32), 5), 0.25, atol=1e-7)
    np.testing.assert_allclose(smooth(impulse, 10**300), 1 / 9, rtol=1e-6)  # wider than anything


MAPS = {
    "constant": np.full((2, 3), 0.5, np.float32),
    "zero": np.zeros((2, 3), np.float32),
    "one row of zeros": np.array([[0, 0, 0], [1, 2, 1]], np.float32),
    "no tokens": np.zeros((0, 3), np.float32),
    "no frames": np.zeros((2, 0), np.float32),
    "nothing": np.zeros((0, 0), np.float32),
}


@pytest.mark.parametrize("how", get_args(Normalise))
@pytest.mark.parametrize("name", MAPS)
def test_normalising_odd_maps_is_quiet(name: str, how: Normalise) -> None:
    found = normalise(MAPS[name], how)  # warnings are errors here
    assert found.shape == MAPS[name].shape
    assert found.dtype == np.float32
    assert np.all(np.isfinite(found))
    assert how == "none" or (found.min(initial=0) >= 0 and found.max(initial=0) <= 1)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("none", [[1, 3, 4], [0, 2, 2]]),
        ("minmax", [[0.25, 0.75, 1], [0, 0.5, 0.5]]),
        ("row_sum", [[0.125, 0.375, 0.5], [0, 0.5, 0.5]]),
        ("row_max", [[0.25, 0.75, 1], [0, 1, 1]]),
    ],
)
def test_normalise(how: Normalise, wanted: list[list[float]]) -> None:
    weights = np.array([[1, 3, 4], [0, 2, 2]], np.float32)
    np.testing.assert_allclose(normalise(weights, how), wanted, rtol=1e-6)
    assert weights.tolist() == [[1, 3, 4], [0, 2, 2]]  # as they were


def test_minmax_of_a_constant_and_of_a_shifted_map() -> None:
    np.testing.assert_array_equal(normalise(MAPS["constant"], "minmax"), 0)
    np.testing.assert_array_equal(normalise(MAPS["one row of zeros"], "row_sum"), [[0, 0, 0], [0.25, 0.5, 0.25]])
    np.testing.assert_allclose(normalise(np.array([[5, 7, 6]], np.float32), "minmax"), [[0, 1, 0.5]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregate": "median"}, "aggregate 'median' is not known; choose one of mean, max, first, entropy, value"),
        ({"normalise": "softmax"}, "normalise 'softmax' is not known; choose one of none, minmax, row_sum, row_max"),
        ({"smooth": -0.1}, "smooth must be 0 or a width in seconds, got -0.1"),
        ({"smooth": math.inf}, "smooth must be 0 or a width in seconds, got inf"),
        ({"smooth": math.nan}, "smooth must be 0 or a width in seconds, got nan"),
    ],
)
def test_views_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as refused:
        AttentionView(**options)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "mean of all layers, mean of heads"),
        ({"layer": -1, "head": 0}, "layer -1, head 0"),
        ({"layer": 0, "head": 2, "aggregate": "max"}, "layer 0, head 2"),  # one head is nothing to put together
        ({"aggregate": "max"}, "mean of all layers, max of heads"),
        ({"aggregate": "first"}, "mean of all layers, first head"),
        ({"aggregate": "entropy", "smooth": 0.25}, "mean of all layers, heads by entropy, smoothed over 0.25 s"),
        ({"aggregate": "value", "normalise": "row_max"}, "mean of all layers, heads by value norm, row_max"),
    ],
)
def test_a_view_says_what_it_shows(options: dict[str, Any], told: str) -> None:
    assert str(AttentionView(**options)) == told


@pytest.fixture(scope="module")
def spoken(bundled: Any, clips: Path) -> Trace:
    trace: Trace = bundled.trace(clips / "en_happy_bgm.wav")
    assert len(trace.tokens) >= 4
    return trace


@pytest.mark.parametrize("aggregate", get_args(Aggregate))
@pytest.mark.parametrize("layer", [None, 0, -1])
def test_map_is_the_mean_over_layers_of_heads_together(spoken: Trace, layer: int | None, aggregate: Aggregate) -> None:
    found = attention_map(spoken, AttentionView(layer=layer, aggregate=aggregate))
    layers = None if layer is None else [layer]
    weights, norms = spoken.token_attention(layers).values, spoken.head_norms(layers).values
    expected = plain_combination(weights, aggregate, norms if aggregate == "value" else None).mean(axis=0)
    assert found.dims == ("token", "frame")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.values, expected, atol=3e-6)
    np.testing.assert_allclose(found.values.sum(axis=-1), 1, atol=1e-4)


def test_map_of_one_head(spoken: Trace) -> None:
    weights = spoken.token_attention()
    for layer, head in ((3, 1), (-2, -1)):
        found = attention_map(spoken, AttentionView(layer=layer, head=head, aggregate="max"))
        np.testing.assert_array_equal(found.values, weights.values[layer, head])
        np.testing.assert_array_equal(found["prompt_mass"].values, weights["prompt_mass"].values[layer, head])


def test_map_has_its_coordinates_and_provenance(spoken: Trace) -> None:
    found = attention_map(spoken, AttentionView(layer=2, aggregate="entropy", smooth=0.3, normalise="minmax", tags=True))
    assert found["label"].values.tolist() == [f"{tag.kind}: {tag.label}" for tag in spoken.tags] + [
        token.text for token in spoken.tokens
    ]
    assert found["kind"].values.tolist() == ["tag"] * 4 + ["token"] * len(spoken.tokens)
    np.testing.assert_array_equal(found["time"].values, spoken.times)
    assert found["prompt_mass"].dims == ("token",)
    assert "layer" not in found.coords
    assert found.attrs["title"] == "Attention of en_happy_bgm.wav"
    assert found.attrs["provenance"] == (
        "layer 2, heads by entropy, smoothed over 0.3 s, minmax · model/model.onnx (funasr, fp32) · rows: CTC occupancy · "
        "a view, not an explanation"
    )
    assert found.attrs["unit"] == "attention, scaled to 0..1"
    assert attention_map(spoken).attrs["unit"] == "attention weight"
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)


def test_map_is_smoothed_and_then_scaled(spoken: Trace) -> None:
    plain = attention_map(spoken, AttentionView(layer=1)).values
    found = attention_map(spoken, AttentionView(layer=1, smooth=0.3, normalise="row_max")).values  # 5 frames of 60 ms
    np.testing.assert_array_equal(found, normalise(smooth(plain, 5), "row_max"))
    np.testing.assert_allclose(found.max(axis=-1), 1)
    wide = attention_map(spoken, AttentionView(layer=1, smooth=1e300)).values
    np.testing.assert_allclose(wide, 1 / plain.shape[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (AttentionView(layer=14), "layer 14 does not exist: there are 14 layers, 0 to 13"),
        (AttentionView(layer=-15), "layer -15 does not exist"),
        (AttentionView(head=4), "head 4 does not exist: there are 4 heads, 0 to 3"),
    ],
)
def test_map_of_what_is_not_there(spoken: Trace, view: AttentionView, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        attention_map(spoken, view)


def test_value_needs_the_model(spoken: Trace, tmp_path: Path) -> None:
    import voxray

    loaded = voxray.load_trace(spoken.save(tmp_path / "a.trace"))
    np.testing.assert_array_equal(attention_map(loaded).values, attention_map(spoken).values)
    with pytest.raises(TraceError, match=r"holds no head norms; load the trace with model=\.\.\."):
        attention_map(loaded, AttentionView(aggregate="value"))
