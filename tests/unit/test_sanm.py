"""One SANM layer taken apart: against plain loops over rows, heads and taps, and against the layers of real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray import sanm
from voxray.case import Case
from voxray.targets import resolve
from voxray.types import LayerWeights, NormWeights


def some_layer(rows: int = 9, *, width_in: int = 12, taps: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, LayerWeights]:
    """A stream (N, D_in), attention (3, N, N), and weights of width 12; a residual where the widths agree."""
    rng, width, inner, heads = np.random.default_rng(seed), 12, 20, 3

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def norm(size: int) -> NormWeights:
        return NormWeights(1 + draw(size) / 2, draw(size), 1e-5)

    attention = rng.gamma(0.4, size=(heads, rows, rows)) + 1e-6
    weights = LayerWeights(
        norm=norm(width_in),
        value=(draw(width_in, width), draw(width)),
        projection=(draw(width, width), draw(width)),
        taps=draw(width, taps),
        residual=width_in == width,
        norm2=norm(width),
        inner=(draw(width, inner), draw(inner)),
        outer=(draw(inner, width), draw(width)),
    )
    return draw(rows, width_in), (attention / attention.sum(axis=-1, keepdims=True)).astype(np.float32), weights


def plain_norm(row: np.ndarray, norm: NormWeights) -> np.ndarray:
    row = row.astype(np.float64)
    return (row - row.mean()) / np.sqrt(row.var() + norm.epsilon) * norm.scale + norm.shift


def plain_middle(
    stream: np.ndarray, attention: np.ndarray, weights: LayerWeights, attended: np.ndarray | None = None, remembered: Any = None
) -> np.ndarray:
    """The layer before its feed-forward by loops, float64; other values may be put under the attention or the memory."""
    count, heads = len(stream), len(attention)
    values = np.stack([plain_norm(row, weights.norm) @ weights.value[0] + weights.value[1] for row in stream])
    looked = values if attended is None else attended
    kept = values if remembered is None else remembered
    width = values.shape[1] // heads
    back = (weights.taps.shape[1] - 1) // 2
    result = np.zeros((count, values.shape[1]))
    for i in range(count):
        context = np.zeros(values.shape[1])
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for j in range(count):
                context[part] += attention[head, i, j] * looked[j, part]
        result[i] = context @ weights.projection[0] + weights.projection[1] + kept[i]
        for tap in range(weights.taps.shape[1]):
            j = i + tap - back
            if 0 <= j < count:
                result[i] += weights.taps[:, tap] * kept[j]
        if weights.residual:
            result[i] += stream[i]
    return result


def plain_values(stream: np.ndarray, weights: LayerWeights) -> np.ndarray:
    return np.stack([plain_norm(row, weights.norm) @ weights.value[0] + weights.value[1] for row in stream])


def plain_output(middle: np.ndarray, weights: LayerWeights) -> np.ndarray:
    inner = np.stack([plain_norm(row, weights.norm2) @ weights.inner[0] + weights.inner[1] for row in middle])
    return middle + np.maximum(inner, 0) @ weights.outer[0] + weights.outer[1]


def plain_source(
    stream: np.ndarray, attention: np.ndarray, weights: LayerWeights, i: int, j: int, path: str = "both"
) -> np.ndarray:
    """What row i gets from row j, term by term as in the module's formula."""
    heads, width = len(attention), weights.projection[0].shape[1]
    own = (plain_norm(stream[j], weights.norm) - weights.norm.shift) @ weights.value[0]
    back, result = (weights.taps.shape[1] - 1) // 2, np.zeros(width)
    if path != "memory":
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            result += attention[head, i, j] * (own[part] @ weights.projection[0][part])
    if path != "attention":
        if 0 <= j - i + back < weights.taps.shape[1]:
            result += weights.taps[:, j - i + back] * own
        result += own * (i == j)
    return result + stream[j] * (i == j) if weights.residual else result


SHAPES = [{}, {"width_in": 8}, {"taps": 4}, {"rows": 3, "taps": 11}, {"rows": 1}, {"taps": 1}]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_rows_get_is_the_formula(shape: dict[str, int]) -> None:
    stream, attention, weights = some_layer(**shape)
    layer = taken_apart(stream, attention, weights)
    found, count = layer.sources(0, len(stream)), len(stream)
    expected = np.array([[plain_source(stream, attention, weights, i, j) for j in range(count)] for i in range(count)])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    middle = plain_middle(stream, attention, weights)
    np.testing.assert_allclose(layer.middle, middle, atol=1e-5 * np.abs(middle).max())
    np.testing.assert_allclose(found.sum(axis=1) + layer.constants, middle, atol=1e-5 * np.abs(middle).max())
    np.testing.assert_array_equal(layer.sources(count // 2, count), found[count // 2 :])
    np.testing.assert_allclose(layer.values, plain_values(stream, weights), atol=1e-4)
    after = plain_output(middle, weights)
    np.testing.assert_allclose(sanm.feed_forward(layer.middle, weights), after, atol=1e-5 * np.abs(after).max())


@pytest.mark.parametrize("path", ["both", "attention", "memory"])
@pytest.mark.parametrize("shape", SHAPES)
def test_norms_are_those_of_plainly_built_vectors(shape: dict[str, int], path: sanm.Path) -> None:
    stream, attention, weights = some_layer(**shape)
    count = len(stream)
    vectors = [[plain_source(stream, attention, weights, i, j, path) for j in range(count)] for i in range(count)]
    expected = np.linalg.norm(vectors, axis=-1)
    found = taken_apart(stream, attention, weights).norms(path)
    np.testing.assert_allclose(found, expected, atol=3e-6 * expected.max(), rtol=1e-4)


@pytest.mark.parametrize("path", ["both", "attention", "memory"])
@pytest.mark.parametrize(("first", "stop"), [(0, 1), (2, 6), (8, 9), (0, 9)])
def test_what_is_lost_without_values_is_the_layer_run_again(path: sanm.Path, first: int, stop: int) -> None:
    stream, attention, weights = some_layer()
    zeroed = plain_values(stream, weights)
    zeroed[first:stop] = 0
    left = plain_middle(stream, attention, weights, zeroed if path != "memory" else None, zeroed if path != "attention" else None)
    layer = taken_apart(stream, attention, weights)
    np.testing.assert_allclose(layer.middle - layer.lost(first, stop, path), left, atol=1e-5 * np.abs(left).max())


@pytest.mark.parametrize(
    "damage",
    [
        {"residual": False},
        {"norm": "epsilon"},
        {"taps": "centre"},
        {"projection": "bias"},
        {"norm": "shift"},
    ],
)
def test_a_forgotten_term_is_caught(damage: dict[str, Any]) -> None:
    stream, attention, weights = some_layer(seed=3)
    stream = stream * np.float32(3e-3)  # so quiet that the epsilon of the norm weighs
    told = plain_middle(stream, attention, weights)
    forgotten = {
        "residual": lambda: replace(weights, residual=False),
        "epsilon": lambda: replace(weights, norm=replace(weights.norm, epsilon=1e-12)),
        "shift": lambda: replace(weights, norm=replace(weights.norm, shift=0 * weights.norm.shift)),
        "centre": lambda: replace(weights, taps=weights.taps - np.float32([0, 0, 1, 0, 0])),  # as if the values were not added
        "bias": lambda: replace(weights, projection=(weights.projection[0], 0 * weights.projection[1])),
    }
    ((name, what),) = damage.items()
    layer = taken_apart(stream, attention, forgotten[what if isinstance(what, str) else name]())
    found = layer.sources(0, len(stream)).sum(axis=1) + layer.constants
    assert np.abs(found - told).max() / np.abs(told).max() > 1e-4
    whole = taken_apart(stream, attention, weights)
    found = whole.sources(0, len(stream)).sum(axis=1) + whole.constants
    assert np.abs(found - told).max() / np.abs(told).max() < 1e-5


def taken_apart(stream: np.ndarray, attention: np.ndarray, weights: LayerWeights) -> sanm.Layer:
    return sanm.take_apart(stream, sanm.projected(stream, weights), attention, weights)


def case_of(model: Any, clip: Path) -> Case:
    trace = model.trace(clip)
    return Case(model, trace.piece(0), [resolve(trace, model.vocabulary, model.labels, "emotion")])


@pytest.fixture(scope="module")
def cases(bundled: Any, funasr_model: Any, clips: Path, data: Path) -> list[Case]:
    return [case_of(bundled, clips / "en_neutral_speech.wav"), case_of(funasr_model, data / "audio" / "odd.wav")]


def test_every_layer_of_a_file_is_the_sum_of_its_parts(cases: list[Case]) -> None:
    for case in cases:
        inputs = [case.tensor("input", index) for index in range(case.layers)]
        rest = ("attended", "middle", "output", "value")
        told = {name: case.trace.evidence[0].tensor(name, range(case.layers)) for name in rest}
        for index in range(case.layers):
            layer = sanm.take_apart(inputs[index], told["value"][index], case.attention(index), case.weights(index))
            sums = layer.sources(0, len(inputs[index])).sum(axis=1) + layer.constants
            scale = np.abs(told["middle"][index]).max()
            assert np.abs(sums - told["middle"][index]).max() <= 1e-4 * scale
            attended = sums - (inputs[index] if layer.weights.residual else 0)
            assert np.abs(attended - told["attended"][index]).max() <= 1e-4 * np.abs(told["attended"][index]).max()
            assert np.abs(layer.middle - told["middle"][index]).max() <= 1e-4 * scale
            values = sanm.projected(inputs[index], case.weights(index))
            assert np.abs(values - told["value"][index]).max() <= 1e-4 * np.abs(told["value"][index]).max()
            output = sanm.feed_forward(layer.middle, layer.weights)
            assert np.abs(output - told["output"][index]).max() <= 1e-4 * np.abs(told["output"][index]).max()
            norms = np.linalg.norm(layer.sources(0, len(sums)), axis=-1)
            np.testing.assert_allclose(layer.norms(), norms, atol=1e-5 * norms.max())


def test_the_stream_goes_through_the_norms_that_stand_in_it(cases: list[Case]) -> None:
    for case in cases:
        outputs = case.trace.evidence[0].tensor("output", range(case.layers))
        assert case.layers in case.stream_norms
        assert len(case.stream_norms) == 2  # in the middle and before the head
        for index in range(1, case.layers):
            norm = case.stream_norms.get(index)
            through = outputs[index - 1] if norm is None else sanm.normalised(outputs[index - 1], norm)
            np.testing.assert_allclose(case.tensor("input", index), through, atol=1e-5 * np.abs(through).max())


def test_shares_sum_to_one_and_an_empty_row_keeps_itself() -> None:
    sizes = np.array([[1, 3, 0], [0, 0, 0], [2, 2, 4]], np.float32)
    np.testing.assert_array_equal(sanm.shares(sizes), [[0.25, 0.75, 0], [0, 1, 0], [0.25, 0.25, 0.5]])


def test_rows_carried_down_are_rows_of_the_product() -> None:
    rng = np.random.default_rng(5)
    layers = [sanm.shares(rng.gamma(0.5, size=(7, 7)).astype(np.float32)) for _ in range(4)]
    rows = sanm.shares(rng.random((7, 7)).astype(np.float32))[:3]
    product = np.eye(7)
    for one in layers:  # the first layer first: each stands before what is below it
        product = one.astype(np.float64) @ product
    np.testing.assert_allclose(sanm.rolled(rows, reversed(layers)), rows @ product, atol=1e-6)
    np.testing.assert_array_equal(sanm.rolled(rows, []), rows)


def test_divergence_is_the_mean_over_all_pairs() -> None:
    maps = np.random.default_rng(6).gamma(0.5, size=(5, 8)).astype(np.float32) * 3
    maps[1, 2] = 0
    rows = maps.astype(np.float64) / maps.sum(axis=1, keepdims=True, dtype=np.float64)
    pairs = []
    for a in range(5):
        for b in range(a):
            middle, total = (rows[a] + rows[b]) / 2, 0.0
            for k in range(8):
                for one in (rows[a, k], rows[b, k]):
                    total += one * np.log2(one / middle[k]) / 2 if one > 0 else 0.0
            pairs.append(total)
    assert sanm.divergence(maps) == pytest.approx(np.mean(pairs), rel=1e-6)


def test_divergence_knows_its_ends() -> None:
    assert sanm.divergence(np.eye(4, dtype=np.float32)) == pytest.approx(1.0)  # nothing in common: 1 bit
    assert sanm.divergence(np.ones((100, 5), np.float32)) == pytest.approx(0.0, abs=1e-12)
    assert sanm.divergence(np.ones((1, 5), np.float32)) == 0
    assert sanm.divergence(np.array([[1, 0], [0, 0]], np.float32)) == 0  # an empty map cannot be compared


def test_effective_rank_counts_independent_maps() -> None:
    assert sanm.effective_rank(np.eye(6, dtype=np.float32)) == pytest.approx(6)
    assert sanm.effective_rank(np.outer([1, 2, 3], [1, 0, 4]).astype(np.float32)) == pytest.approx(1, abs=1e-5)
    assert sanm.effective_rank(np.diag([1.0, 1, 0]).astype(np.float32)) == pytest.approx(2)
    assert sanm.effective_rank(np.zeros((2, 3), np.float32)) == 0
