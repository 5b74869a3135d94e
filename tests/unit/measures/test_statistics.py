"""Intervals and tests: against plain loops, scipy, full enumeration, and their behaviour over many simulated corpora."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from voxray.measures import statistics
from voxray.measures.statistics import Interval
from voxray.types import OptionError


def corpus(clips: int, generator: np.random.Generator, rate: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Errors and lengths of clips, where speakers differ and so errors come in heaps."""
    lengths = generator.integers(5, 40, size=clips)
    return generator.binomial(lengths, generator.beta(4 * rate, 4 * (1 - rate), size=clips)), lengths


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def test_a_pooled_rate_is_resampled_a_clip_at_a_time() -> None:
    errors, lengths = corpus(17, np.random.default_rng(0))
    picks = np.random.default_rng(5).integers(0, 17, size=(200, 17))
    rates = sorted(sum(int(errors[i]) for i in row) / sum(int(lengths[i]) for i in row) for row in picks)
    found = statistics.bootstrap_ratio(errors, lengths, seed=5, rounds=200, level=0.9)
    assert found == Interval(errors.sum() / lengths.sum(), *ends(found), 0.9, 17)
    place = 0.05 * 199  # a quantile lies on the line between its neighbours
    low = rates[int(place)] + (place % 1) * (rates[int(place) + 1] - rates[int(place)])
    place = 0.95 * 199
    high = rates[int(place)] + (place % 1) * (rates[int(place) + 1] - rates[int(place)])
    np.testing.assert_allclose(ends(found), [low, high], rtol=1e-12)


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).gamma(2.0, size=80)
    expected = bootstrap((values,), np.mean, n_resamples=9999, method="percentile", random_state=np.random.default_rng(2))
    found = statistics.bootstrap_mean(values, seed=3, rounds=9999)
    assert found is not None
    assert found.value == pytest.approx(values.mean())
    np.testing.assert_allclose(ends(found), expected.confidence_interval, atol=0.02)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_a_quantile_is_resampled_as_well(quantile: float) -> None:
    values = np.random.default_rng(4).normal(size=25)
    picks = np.random.default_rng(6).integers(0, 25, size=(300, 25))
    drawn = [float(np.quantile([values[i] for i in row], quantile)) for row in picks]
    found = statistics.bootstrap_quantile(values, quantile, seed=6, rounds=300)
    assert found is not None
    assert found.value == float(np.quantile(values, quantile))
    np.testing.assert_allclose(ends(found), np.quantile(drawn, [0.025, 0.975]), rtol=1e-12)


def test_many_clips_are_drawn_in_parts_and_as_widely_as_theory_says() -> None:
    values = np.random.default_rng(7).normal(size=20000)  # 52 rounds fit at a time
    low, high = ends(statistics.bootstrap_mean(values, seed=0, rounds=400))
    expected = 2 * 1.96 * values.std() / math.sqrt(20000)
    assert high - low == pytest.approx(expected, rel=0.12)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(8)
    hits = {"rate": 0, "mean": 0, "median": 0}
    for number in range(800):
        low, high = ends(statistics.bootstrap_ratio(*corpus(100, generator), seed=number, rounds=400))
        hits["rate"] += low <= 0.1 <= high
        values = generator.exponential(size=100)
        low, high = ends(statistics.bootstrap_mean(values, seed=number, rounds=400))
        hits["mean"] += low <= 1.0 <= high
        low, high = ends(statistics.bootstrap_quantile(values, 0.5, seed=number, rounds=400))
        hits["median"] += low <= math.log(2) <= high
    shares = {name: count / 800 for name, count in hits.items()}
    # Heaped errors cost the rate two points at 100 clips; chance over 800 corpora is worth 2.7 points.
    assert all(0.90 <= share <= 0.97 for share in shares.values()), shares


def test_equal_seeds_give_equal_results_and_others_do_not() -> None:
    a, b = corpus(30, np.random.default_rng(9)), corpus(30, np.random.default_rng(10))
    values = np.random.default_rng(11).normal(size=30)
    calls = [
        lambda seed: statistics.bootstrap_ratio(*a, seed=seed, rounds=200),
        lambda seed: statistics.bootstrap_mean(values, seed=seed, rounds=200),
        lambda seed: statistics.bootstrap_quantile(values, 0.3, seed=seed, rounds=200),
        lambda seed: statistics.paired_difference(*a, *b, seed=seed, rounds=200),
    ]
    for call in calls:
        assert call(1) == call(1)
        assert call(1) != call(2)


def test_errors_on_empty_references_belong_to_the_rate() -> None:
    found = statistics.bootstrap_ratio([1, 3, 0], [10, 0, 10], seed=0)
    assert found is not None
    assert found.value == 4 / 20
    assert found.n == 3


def test_rounds_that_draw_only_empty_references_are_left_out() -> None:
    errors, lengths = np.array([2, 5, 5]), np.array([10, 0, 0])
    picks = np.random.default_rng(11).integers(0, 3, size=(500, 3))
    known = [errors[row].sum() / lengths[row].sum() for row in picks if lengths[row].sum()]
    assert 300 < len(known) < 400  # (2/3)^3 of the rounds have none
    found = statistics.bootstrap_ratio(errors, lengths, seed=11, rounds=500)
    np.testing.assert_allclose(ends(found), np.quantile(known, [0.025, 0.975]), rtol=1e-12)


def test_rates_over_nothing_and_single_clips() -> None:
    assert statistics.bootstrap_ratio([], [], seed=0) is None
    assert statistics.bootstrap_ratio([2, 1], [0, 0], seed=0) is None
    assert statistics.bootstrap_mean([], seed=0) is None
    assert statistics.bootstrap_quantile([], 0.5, seed=0) is None
    assert statistics.paired_difference([], [], [], [], seed=0) is None
    assert statistics.paired_difference([1, 1], [0, 0], [1, 1], [5, 5], seed=0) is None
    assert statistics.paired_difference([1, 1], [5, 5], [1, 1], [0, 0], seed=0) is None
    assert statistics.bootstrap_ratio([1], [4], seed=0) == Interval(0.25, None, None, 0.95, 1)
    assert statistics.bootstrap_mean([3.0], seed=0) == Interval(3.0, None, None, 0.95, 1)
    assert statistics.bootstrap_quantile([3.0], 0.9, seed=0) == Interval(3.0, None, None, 0.95, 1)
    single = statistics.paired_difference([1], [4], [3], [4], seed=0)
    assert single is not None
    assert single.interval == Interval(-0.5, None, None, 0.95, 1)
    assert single.p_value == 1.0


def test_clips_that_are_all_alike_have_an_interval_without_width() -> None:
    assert ends(statistics.bootstrap_ratio([1] * 5, [10] * 5, seed=0)) == (0.1, 0.1)


def test_randomisation_comes_near_to_the_share_of_all_swaps() -> None:
    generator = np.random.default_rng(12)
    a, b = corpus(9, generator, 0.15), corpus(9, generator, 0.3)
    observed = a[0].sum() / a[1].sum() - b[0].sum() / b[1].sum()
    far = 0
    for signs in itertools.product((False, True), repeat=9):
        x = [sum(int(q if swap else p) for p, q, swap in zip(a[k], b[k], signs, strict=True)) for k in (0, 1)]
        y = [sum(int(p if swap else q) for p, q, swap in zip(a[k], b[k], signs, strict=True)) for k in (0, 1)]
        far += abs(x[0] / x[1] - y[0] / y[1]) >= abs(observed) - 1e-12
    found = statistics.paired_difference(*a, *b, seed=13, rounds=20000)
    assert found is not None
    assert (found.a, found.b) == (a[0].sum() / a[1].sum(), b[0].sum() / b[1].sum())
    assert found.interval.value == observed
    assert 0.02 < far / 512 < 0.9
    assert found.p_value == pytest.approx(far / 512, abs=0.012)


def test_the_paired_interval_keeps_the_two_results_of_a_clip_together() -> None:
    """A constant gain on clips of very different difficulty: each rate is uncertain, the difference is not."""
    generator = np.random.default_rng(14)
    lengths = np.full(60, 20)
    worse = generator.integers(2, 18, size=60)
    better = worse - 1
    alone = ends(statistics.bootstrap_ratio(worse, lengths, seed=0))
    found = statistics.paired_difference(better, lengths, worse, lengths, seed=0)
    assert found is not None
    assert alone[1] - alone[0] > 0.1
    np.testing.assert_allclose(ends(found.interval), [-0.05, -0.05], atol=1e-12)
    assert found.p_value == pytest.approx(1 / 1001)


def test_equal_systems_differ_by_nothing() -> None:
    a = corpus(40, np.random.default_rng(15))
    found = statistics.paired_difference(*a, *a, seed=0)
    assert found is not None
    assert found.interval == Interval(0.0, 0.0, 0.0, 0.95, 40)
    assert found.p_value == 1.0


def test_changing_places_changes_the_sign_only() -> None:
    a, b = corpus(40, np.random.default_rng(16)), corpus(40, np.random.default_rng(17))
    one, other = statistics.paired_difference(*a, *b, seed=3), statistics.paired_difference(*b, *a, seed=3)
    assert one is not None
    assert other is not None
    assert one.interval.value == -other.interval.value
    np.testing.assert_allclose(ends(one.interval), [-end for end in reversed(ends(other.interval))], atol=1e-12)
    assert one.p_value == other.p_value


def test_equal_differences_count_as_equal_whatever_the_order_of_their_sums() -> None:
    """In tenths all 16 ways to swap are as far as the difference found; in binary half of them fall short by a last digit."""
    a, b = np.array([7, 7, 6, 2]) / 10, np.array([7, 2, 1, 7]) / 10
    found = statistics.paired_difference(a, np.ones(4), b, np.ones(4), seed=0)
    assert found is not None
    assert found.p_value == 1.0


def test_swaps_that_leave_one_side_without_words_are_left_out() -> None:
    found = statistics.paired_difference([0, 1], [0, 10], [4, 1], [10, 0], seed=1, rounds=1000)
    assert found is not None
    # Of four equally likely swaps two put both empty references on one side; the other two are the difference found.
    assert (found.a, found.b) == (0.1, 0.5)
    assert found.p_value == 1.0


def test_p_values_are_uniform_where_the_systems_are_alike() -> None:
    from scipy.stats import kstest

    generator = np.random.default_rng(18)
    p_values = []
    for number in range(300):
        a, b = generator.gamma(2.0, size=40), generator.gamma(2.0, size=40)
        found = statistics.paired_difference(a, np.full(40, 10), b, np.full(40, 10), seed=number, rounds=400)
        assert found is not None
        p_values.append(found.p_value)
    assert kstest(p_values, "uniform").pvalue > 0.05
    assert 0.02 <= float(np.mean(np.array(p_values) <= 0.05)) <= 0.08


def test_a_real_difference_is_found() -> None:
    generator = np.random.default_rng(19)
    found = statistics.paired_difference(*corpus(200, generator, 0.05), *corpus(200, generator, 0.15), seed=0)
    assert found is not None
    assert found.p_value == pytest.approx(1 / 1001)
    assert ends(found.interval)[1] < 0


def test_holm_multiplies_by_how_many_are_left() -> None:
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.6, 0.9]), [1.0, 1.0])
    np.testing.assert_allclose(statistics.holm([0.02]), [0.02])
    assert statistics.holm([]).shape == (0,)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
def test_holm_rejects_what_stepping_down_rejects(level: float) -> None:
    for seed in range(20):
        values = (np.random.default_rng(seed).random(12) ** 3).round(3)
        rejected = set()
        for step, place in enumerate(sorted(range(12), key=lambda i, values=values: values[i])):
            if values[place] > level / (12 - step):
                break
            rejected.add(place)
        corrected = statistics.holm(values)
        assert {int(i) for i in np.flatnonzero(corrected <= level + 1e-12)} == rejected


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_intervals_of_shares_are_those_of_scipy(level: float) -> None:
    from scipy.stats import binomtest

    for trials in (1, 2, 7, 100, 3000):
        for hits in {0, 1, trials // 2, trials - 1, trials}:
            test = binomtest(hits, trials)
            for ours, theirs in ((statistics.wilson, "wilson"), (statistics.clopper_pearson, "exact")):
                found = ours(hits, trials, level=level)
                expected = test.proportion_ci(level, theirs)
                assert found is not None
                assert (found.value, found.level, found.n) == (hits / trials, level, trials)
                np.testing.assert_allclose(ends(found), (expected.low, expected.high), rtol=1e-9, atol=1e-12)


def test_clopper_pearson_is_never_below_its_level_and_wilson_close_to_it() -> None:
    from scipy.stats import binom

    shares = np.linspace(0.02, 0.98, 49)
    covered = {}
    for interval in (statistics.wilson, statistics.clopper_pearson):
        bounds = [ends(interval(hits, 30)) for hits in range(31)]
        covered[interval.__name__] = [
            sum(float(binom.pmf(hits, 30, share)) for hits, (low, high) in enumerate(bounds) if low <= share <= high)
            for share in shares
        ]
    assert min(covered["clopper_pearson"]) >= 0.95
    assert float(np.mean(covered["wilson"])) == pytest.approx(0.95, abs=0.01)


def test_shares_at_the_edges_stay_within_0_and_1() -> None:
    for interval in (statistics.wilson, statistics.clopper_pearson):
        assert ends(interval(0, 20))[0] == 0.0
        assert ends(interval(20, 20))[1] == 1.0
        assert interval(0, 0) is None
        with pytest.raises(OptionError, match="0 <= hits <= trials, got 3 of 2"):
            interval(3, 2)
        with pytest.raises(OptionError, match="0 <= hits <= trials, got -1 of 2"):
            interval(-1, 2)
        with pytest.raises(OptionError, match="level must be above 0 and below 1, got 95"):
            interval(1, 2, level=95)


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(ValueError, match=r"numerators must have the shape \(n\), got \(1, 2\)"):
        statistics.bootstrap_ratio([[1, 2]], [1, 2], seed=0)
    with pytest.raises(ValueError, match="equal length, got 2 and 1"):
        statistics.bootstrap_ratio([1, 2], [1], seed=0)
    with pytest.raises(ValueError, match="numerators must be finite"):
        statistics.bootstrap_ratio([1, math.nan], [1, 2], seed=0)
    with pytest.raises(ValueError, match="denominators must be 0 or more"):
        statistics.bootstrap_ratio([1, 2], [1, -2], seed=0)
    with pytest.raises(ValueError, match="values must be finite"):
        statistics.bootstrap_mean([math.inf], seed=0)
    with pytest.raises(ValueError, match=r"values must have the shape \(n\)"):
        statistics.bootstrap_quantile(3.0, 0.5, seed=0)
    with pytest.raises(ValueError, match="the same clips twice, got 2 and 1"):
        statistics.paired_difference([1, 2], [3, 4], [1], [3], seed=0)
    with pytest.raises(ValueError, match="p_values must be from 0 to 1"):
        statistics.holm([0.5, 1.5])


def test_options_outside_their_range_are_refused() -> None:
    with pytest.raises(OptionError, match="rounds must be at least 1, got 0"):
        statistics.bootstrap_ratio([1], [1], seed=0, rounds=0)
    with pytest.raises(OptionError, match="level must be above 0 and below 1, got 1"):
        statistics.bootstrap_mean([1], seed=0, level=1)
    with pytest.raises(OptionError, match=r"a quantile must be from 0 to 1, got 50"):
        statistics.bootstrap_quantile([1], 50, seed=0)
    with pytest.raises(OptionError, match="rounds must be at least 1, got 0"):
        statistics.paired_difference([1], [1], [1], [1], seed=0, rounds=0)
