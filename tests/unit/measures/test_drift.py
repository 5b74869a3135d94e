"""Drift: every distance against scipy or plain loops, what chance alone gives against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from voxray.measures import drift
from voxray.types import OptionError


def samples(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference, recent = rng.normal(size=rng.integers(1, 60)), rng.normal(0.7, 1.3, size=rng.integers(1, 25))
    return (reference.round(), recent.round()) if ties else (reference, recent)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_ks_is_scipys(seed: int, ties: bool) -> None:
    reference, recent = samples(seed, ties)
    assert drift.ks(reference, recent) == pytest.approx(ks_2samp(reference, recent, method="asymp").statistic, abs=1e-12)


def slow_psi(reference: np.ndarray, recent: np.ndarray, bins: int) -> float:
    """The index with a loop over bins and figures."""
    edges = sorted(set(np.quantile(reference, [one / bins for one in range(1, bins)]).tolist()))
    total = 0.0
    for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True):
        p, q = (max(sum(low < one <= high for one in sample) / len(sample), 1e-4) for sample in (reference, recent))
        total += (q - p) * math.log(q / p)
    return total


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_psi_is_that_of_loops(seed: int, ties: bool) -> None:
    reference, recent = samples(seed, ties)
    assert drift.psi(reference, recent) == pytest.approx(slow_psi(reference, recent, 10), abs=1e-12)
    assert drift.psi(reference, recent, bins=4) == pytest.approx(slow_psi(reference, recent, 4), abs=1e-12)


def test_psi_by_hand() -> None:
    assert drift.psi([1, 2, 3, 4], [1, 2, 3, 4], bins=2) == 0
    expected = (0.75 - 0.5) * math.log(0.75 / 0.5) + (0.25 - 0.5) * math.log(0.25 / 0.5)
    assert drift.psi([1, 2, 3, 4], [1, 1, 2, 4], bins=2) == pytest.approx(expected)
    assert drift.psi_of_shares([0.5, 0.5], [0.0, 1.0]) == pytest.approx((1e-4 - 0.5) * math.log(1e-4 / 0.5) + 0.5 * math.log(2))


def test_edges_that_fall_together_are_one() -> None:
    np.testing.assert_allclose(drift.quantile_edges([0, 0, 0, 0, 0, 0, 0, 5]), [0.0, 1.5])
    np.testing.assert_allclose(drift.bin_shares([[0, 0, 0, 9], [1, 2, 3, 4]], [0.0, 1.5]), [[0.75, 0, 0.25], [0, 0.25, 0.75]])


@pytest.mark.parametrize("seed", range(6))
def test_jensen_shannon_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.integers(0, 5, 6) + 0.0, rng.integers(0, 5, (3, 6)) + 0.0
    p[0], q[:, 1] = 3, 2  # nowhere all 0
    expected = [jensenshannon(p, one, base=2) ** 2 for one in q]
    np.testing.assert_allclose(drift.jensen_shannon(p, q), expected, atol=1e-12)
    assert drift.jensen_shannon([1, 0], [0, 7]) == pytest.approx(1.0)
    assert drift.jensen_shannon([2, 1], [4, 2]) == pytest.approx(0.0)


def test_the_mean_index_without_drift_is_that_of_theory() -> None:
    """(B - 1) (1/n + 1/m): what makes fixed limits of 0.1 and 0.25 meaningless for few figures."""
    reference = np.random.default_rng(0).normal(size=2000)
    by_chance = drift.psi_by_chance(reference, 500, seed=1, rounds=2000)
    assert by_chance.mean() == pytest.approx(9 * (1 / 500 + 1 / 2000), rel=0.08)
    assert (np.diff(by_chance) >= 0).all()


@pytest.mark.parametrize("draw", ["ks", "psi"])
def test_false_alarms_are_as_rare_as_promised(draw: str) -> None:
    """Fresh references and fresh windows from one distribution: p below 0.05 about one time in twenty."""
    rng = np.random.default_rng(3)
    by_chance = {"ks": drift.ks_by_chance, "psi": drift.psi_by_chance}[draw]
    distance = {"ks": drift.ks, "psi": drift.psi}[draw]
    hits = 0
    for trial in range(300):
        reference, recent = rng.gamma(2.0, size=120), rng.gamma(2.0, size=12)
        hits += drift.p_value(distance(reference, recent), by_chance(reference, 12, seed=trial, rounds=200)) < 0.05
    assert 0.01 <= hits / 300 <= 0.10  # 0.05 give or take three standard errors, and the bootstrap's own roughness


def test_a_shift_is_found() -> None:
    rng = np.random.default_rng(4)
    reference, recent = rng.normal(size=200), rng.normal(3.0, size=10)
    by_ks, by_psi = (draw(reference, 10, seed=0, rounds=500) for draw in (drift.ks_by_chance, drift.psi_by_chance))
    assert drift.p_value(drift.ks(reference, recent), by_ks) < 0.01
    assert drift.p_value(drift.psi(reference, recent), by_psi) < 0.01


def test_categories_by_chance() -> None:
    by_chance = drift.jensen_shannon_by_chance([90, 10], 10, seed=0, rounds=500)
    found = float(drift.jensen_shannon([90, 10], [2, 8]))
    assert drift.p_value(found, by_chance) < 0.01
    assert drift.p_value(float(drift.jensen_shannon([90, 10], [9, 1])), by_chance) > 0.5
    np.testing.assert_array_equal(drift.counts_of({"b": 2}, ["a", "b"]), [0, 2])


def test_p_values_count_ties_and_never_reach_zero() -> None:
    assert drift.p_value(3.0, [1.0, 2.0, 3.0, 3.0]) == 3 / 5
    assert drift.p_value(9.0, [1.0, 2.0, 3.0, 3.0]) == 1 / 5
    assert drift.p_value(0.0, [1.0, 2.0, 3.0, 3.0]) == 1.0


def test_the_seed_alone_decides() -> None:
    first, second, other = (drift.ks_by_chance(np.arange(50.0), 5, seed=seed, rounds=50) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_many_rounds_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_CELLS", 100)
    assert drift.ks_by_chance(np.arange(40.0), 5, seed=1, rounds=33).shape == (33,)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: drift.ks([], [1.0]), ValueError, "reference must be at least one figure"),
        (lambda: drift.ks([1.0], [math.nan]), ValueError, "recent must be at least one figure, all of them finite"),
        (lambda: drift.psi([1.0, 2.0], [1.0], bins=1), OptionError, "bins must be at least 2, got 1"),
        (lambda: drift.jensen_shannon([0, 0], [1, 0]), ValueError, "expected must be amounts of 0 or more, not all 0"),
        (lambda: drift.jensen_shannon([1, 0], [-1, 2]), ValueError, "found must be amounts"),
        (lambda: drift.ks_by_chance([1.0], 0, seed=0), OptionError, "1000 rounds of 0 figures"),
        (lambda: drift.jensen_shannon_by_chance([0, 0], 3, seed=0), ValueError, "nothing to draw from"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()  # type: ignore[operator]


def test_drawings_of_drawings_are_those_of_a_plain_loop() -> None:
    """A figure's count in the second drawing has the variance of both: n (1 - 1/m) of each and the pairs that share a place."""
    generator = np.random.default_rng(0)
    drawn = drift._redrawn(20, (40_000, 15), np.random.default_rng(1))
    plain = np.array([generator.integers(20, size=20)[generator.integers(20, size=15)] for _ in range(40_000)])
    for found in (drawn, plain):
        counts = (found == 3).sum(axis=1)
        assert counts.mean() == pytest.approx(15 / 20, rel=0.03)
        assert counts.var() == pytest.approx(15 / 20 * 19 / 20 * (1 + 14 / 20), rel=0.06)
