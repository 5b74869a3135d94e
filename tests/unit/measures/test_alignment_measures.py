"""Alignment judged by the map alone: every measure against loops over tokens and frames, and maps whose answers are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy
from scipy.stats import kendalltau

from voxray.measures import alignment

TIMES = np.array([0.0125 + 0.06 * k for k in range(9)])
SPEECH = np.array([0, 1, 1, 1, 0, 0, 1, 1, 0], bool)
EMISSIONS = np.array([0.1, 0.2, 0.3, 0.45])


def random_maps(seed: int = 0) -> np.ndarray:
    """(2, 3, 4, 9) with some zeros; one row without any weight."""
    weights = np.random.default_rng(seed).random((2, 3, 4, 9)) ** 5
    weights[weights < 0.01] = 0
    weights[0, 1, 2] = 0
    return weights


def rows_of(weights: np.ndarray) -> list[np.ndarray]:
    return [row / row.sum() for row in weights if row.sum() > 0]


def loops(weights: np.ndarray) -> dict[str, float]:
    """Every measure of one map, told plainly."""
    rows = rows_of(weights)
    where = [index for index, row in enumerate(weights) if row.sum() > 0]
    count = len(TIMES)
    places = {index: float(row @ TIMES) for index, row in zip(where, rows, strict=True)}
    steps = [places[b] >= places[a] for a, b in itertools.pairwise(range(len(weights))) if a in places and b in places]
    pairs = [np.sign(places[b] - places[a]) for a, b in itertools.combinations(where, 2)]
    drawn = sum(rows)
    widths = []
    for row in rows:
        spans = [
            stop - first for first in range(count) for stop in range(first + 1, count + 1) if row[first:stop].sum() >= 0.8 - 1e-9
        ]
        widths.append(min(spans) * 0.06)
    radii = (np.arange(200_000) + 0.5) / 200_000
    apart = [abs((index + 0.5) / len(weights) - (np.arange(count) + 0.5) / count) for index in where]
    diagonal = [sum(w * (radii >= d).mean() for w, d in zip(row, gap, strict=True)) for row, gap in zip(rows, apart, strict=True)]
    bits = [float(scipy_entropy(row, base=2)) for row in rows]
    return {
        "entropy": float(np.mean(bits)),
        "concentration": 1 - float(np.mean(bits)) / math.log2(count),
        "focus_rate": float(np.mean([row.max() for row in rows])),
        "width": float(np.mean(widths)),
        "monotonicity": float(np.mean(steps)),
        "order": float(np.mean(pairs)),
        "diagonality": float(np.mean(diagonal)),
        "coverage": float(np.mean([drawn[t] > 0.5 * np.mean(drawn) for t in range(count) if SPEECH[t]])),
        "silence_leakage": float(np.mean([sum(row[t] for t in range(count) if not SPEECH[t]) for row in rows])),
        "speech_preference": float(np.mean([row[SPEECH].sum() for row in rows])) - SPEECH.mean(),
        "emission_distance": float(np.mean([abs(places[u] - EMISSIONS[u]) for u in where])),
    }


def measured(weights: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "entropy": alignment.entropy(weights),
        "concentration": alignment.concentration(weights),
        "focus_rate": alignment.focus_rate(weights),
        "width": alignment.width(weights, 0.06),
        "monotonicity": alignment.monotonicity(weights),
        "order": alignment.order(weights),
        "diagonality": alignment.diagonality(weights),
        "coverage": alignment.coverage(weights, SPEECH),
        "silence_leakage": alignment.silence_leakage(weights, SPEECH),
        "speech_preference": alignment.speech_preference(weights, SPEECH),
        "emission_distance": alignment.emission_distance(weights, TIMES, EMISSIONS),
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_measure_is_that_of_loops(seed: int) -> None:
    weights = random_maps(seed)
    found = measured(weights)
    for place in np.ndindex(2, 3):
        for name, value in loops(weights[place]).items():
            assert found[name].shape == (2, 3)
            assert found[name][place] == pytest.approx(value, abs=1e-5), (name, place)


def test_order_is_kendalls_tau() -> None:
    weights = np.random.default_rng(5).random((7, 30))
    places = alignment.centres(weights, np.arange(30))
    assert alignment.order(weights) == pytest.approx(kendalltau(np.arange(7), places).statistic)


def test_scale_does_not_matter() -> None:
    weights = random_maps()
    for name, value in measured(weights * 7.5).items():
        np.testing.assert_allclose(value, measured(weights)[name], atol=1e-12, err_msg=name)


def test_a_sharp_diagonal() -> None:
    found = {
        "entropy": alignment.entropy(np.eye(9)),
        "concentration": alignment.concentration(np.eye(9)),
        "focus_rate": alignment.focus_rate(np.eye(9)),
        "width": alignment.width(np.eye(9), 0.06),
        "monotonicity": alignment.monotonicity(np.eye(9)),
        "order": alignment.order(np.eye(9)),
        "diagonality": alignment.diagonality(np.eye(9)),
        "coverage": alignment.coverage(np.eye(9), SPEECH),
        "silence_leakage": alignment.silence_leakage(np.eye(9), SPEECH),
        "speech_preference": alignment.speech_preference(np.eye(9), SPEECH),
    }
    expected = {"entropy": 0, "concentration": 1, "focus_rate": 1, "width": 0.06, "monotonicity": 1, "order": 1, "diagonality": 1}
    assert found == pytest.approx(expected | {"coverage": 1, "silence_leakage": 4 / 9, "speech_preference": 0})
    assert float(alignment.monotonicity(np.eye(9)[::-1])) == 0
    assert float(alignment.order(np.eye(9)[::-1])) == -1
    assert float(alignment.emission_distance(np.eye(9), TIMES, TIMES + 0.03)) == pytest.approx(0.03)


def test_evenly_spread_weight() -> None:
    even = np.ones((200, 300))
    assert float(alignment.entropy(even)) == pytest.approx(math.log2(300))
    assert float(alignment.concentration(even)) == pytest.approx(0, abs=1e-12)
    assert float(alignment.diagonality(even)) == pytest.approx(2 / 3, abs=1e-4)
    assert float(alignment.speech_preference(even, np.arange(300) < 100)) == pytest.approx(0, abs=1e-12)
    assert float(alignment.width(even, 0.01)) == pytest.approx(2.4)


def test_diagonality_of_a_square_is_the_papers_integral() -> None:
    """Shim et al.: the mean over r of the mean mass within r N of the diagonal."""
    weights = np.random.default_rng(2).random((6, 6))
    weights /= weights.sum(axis=1, keepdims=True)
    apart = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    radii = (np.arange(60_000) + 0.5) / 60_000
    integral = np.mean([(weights * (apart <= r * 6)).sum() / 6 for r in radii[::20]])
    assert float(alignment.diagonality(weights)) == pytest.approx(integral, abs=1e-3)


def test_what_cannot_be_told_is_nan() -> None:
    nothing, one = np.zeros((0, 9)), np.ones((1, 9))
    for function in (alignment.entropy, alignment.focus_rate, alignment.monotonicity, alignment.order, alignment.diagonality):
        assert np.isnan(function(nothing))
        assert np.isnan(function(np.zeros((3, 9))))
    assert np.isnan(alignment.monotonicity(one))
    assert np.isnan(alignment.order(one))
    assert np.isnan(alignment.concentration(np.ones((2, 1))))
    assert np.isnan(alignment.coverage(one, np.zeros(9, bool)))
    assert np.isnan(alignment.coverage(nothing, SPEECH))
    assert np.isnan(alignment.width(nothing, 0.06))
    assert math.isnan(alignment.token_rate(3, 0.0))


def test_rates() -> None:
    assert alignment.token_rate(9, 2.0) == 4.5
    assert [alignment.is_plausible(rate) for rate in (0.9, 1.0, 12.0, 12.1, math.nan)] == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: alignment.entropy([1.0, 2.0]), r"shape \(\.\.\., U, T\) with .*, got \(2,\)"),
        (lambda: alignment.entropy(np.zeros((2, 0))), r"at least one frame, got \(2, 0\)"),
        (lambda: alignment.entropy([[1.0, -2.0]]), "weights must be finite and 0 or more"),
        (lambda: alignment.entropy([[1.0, math.inf]]), "weights must be finite and 0 or more"),
        (
            lambda: alignment.coverage(np.ones((2, 9)), np.ones(8, bool)),
            r"speech must have the shape \(9,\), one a frame, got \(8,\)",
        ),
    ],
)
def test_wrong_arrays_are_refused(call: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()  # type: ignore[operator]
