"""Calibration and the figures about it, against plain loops and scipy."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from voxray.measures import calibration
from voxray.measures.calibration import Calibration
from voxray.types import OptionError

SCORES = [
    calibration.expected_calibration_error,
    calibration.normalised_cross_entropy,
    calibration.roc_auc,
    calibration.brier,
]


def words(count: int, seed: int = 0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of an overconfident recogniser: it is right less often than it says."""
    generator = np.random.default_rng(seed)
    confidences = generator.beta(4, 2, size=count)
    right = generator.random(count) < confidences**2
    return (confidences if digits is None else confidences.round(digits)), right


def plain_isotonic(confidences: np.ndarray, right: np.ndarray) -> dict[float, float]:
    """For each confidence: the greatest over starts of the least over stops of the mean in between (the min-max formula)."""
    points = sorted(set(confidences.tolist()))
    groups = [[float(r) for c, r in zip(confidences, right, strict=True) if c == point] for point in points]

    def mean(first: int, last: int) -> float:
        flat = list(itertools.chain(*groups[first : last + 1]))
        return sum(flat) / len(flat)

    size = len(points)
    return {points[k]: max(min(mean(i, j) for j in range(k, size)) for i in range(k + 1)) for k in range(size)}


@pytest.mark.parametrize("digits", [None, 1, 2])
def test_the_fit_is_isotonic_regression_at_every_word(digits: int | None) -> None:
    confidences, right = words(60, seed=4, digits=digits)
    fitted = calibration.fit(confidences, right)
    assert fitted is not None
    assert fitted.words == 60
    for confidence, share in plain_isotonic(confidences, right).items():
        assert float(fitted.apply(confidence)) == pytest.approx(share, abs=1e-12)


def test_between_knots_the_line_is_straight_and_outside_flat() -> None:
    fitted = Calibration(((0.2, 0.1), (0.4, 0.5), (0.9, 0.5)), 10)
    np.testing.assert_allclose(fitted.apply([0.0, 0.2, 0.3, 0.4, 0.7, 1.0]), [0.1, 0.1, 0.3, 0.5, 0.5, 0.5], atol=1e-15)
    assert fitted.apply(np.zeros((2, 3))).shape == (2, 3)
    assert fitted.apply([]).shape == (0,)


def test_the_fit_keeps_only_the_ends_of_level_stretches() -> None:
    fitted = calibration.fit([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 1, 0, 1, 0, 1])
    assert fitted == Calibration(((0.1, 0.0), (0.2, 0.5), (0.5, 0.5), (0.6, 1.0)), 6)


def test_calibration_mends_an_overconfident_recogniser_on_words_it_has_not_seen() -> None:
    fitted = calibration.fit(*words(4000, seed=1))
    confidences, right = words(4000, seed=2)
    assert fitted is not None
    mended = fitted.apply(confidences)
    before = calibration.expected_calibration_error(confidences, right)
    after = calibration.expected_calibration_error(mended, right)
    assert before == pytest.approx(0.19, abs=0.03)
    assert after is not None
    assert after < 0.04
    nce = calibration.normalised_cross_entropy(confidences, right), calibration.normalised_cross_entropy(mended, right)
    assert nce[0] is not None
    assert nce[1] is not None
    assert nce[1] > nce[0] + 0.1
    auc = calibration.roc_auc(confidences, right), calibration.roc_auc(mended, right)
    assert auc[1] == pytest.approx(auc[0], abs=0.01)


def test_calibration_goes_through_json_unchanged() -> None:
    fitted = calibration.fit(*words(200))
    assert fitted is not None
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"words": 3}, "'knots' is missing"),
        ({"knots": [[0, 1]]}, "'words' is missing"),
        ({"knots": [], "words": 3}, "must be pairs of numbers"),
        ({"knots": [[0, 0, 1]], "words": 3}, "must be pairs of numbers, at least one"),
        ({"knots": [[0], [0, 1]], "words": 3}, "must be pairs of numbers"),
        ({"knots": "line", "words": 3}, "must be pairs of numbers"),
        ({"knots": [[0, math.nan]], "words": 3}, "must be pairs of numbers"),
        ({"knots": [[0, 0.5], [0, 0.6]], "words": 3}, "must rise from 0 to 1"),
        ({"knots": [[0, 0.5], [1, 0.4]], "words": 3}, "must rise from 0 to 1"),
        ({"knots": [[0, 0.5], [1, 1.1]], "words": 3}, "must rise from 0 to 1"),
        ({"knots": [[0, -0.1]], "words": 3}, "must rise from 0 to 1"),
        ({"knots": [[0, 0.5]], "words": 0}, "whole number above 0, got 0"),
        ({"knots": [[0, 0.5]], "words": "many"}, "whole number above 0, got 'many'"),
    ],
)
def test_a_damaged_calibration_is_refused(values: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Calibration.from_dict(values)


@pytest.mark.parametrize(("right", "share"), [([1, 1, 1], 1.0), ([0, 0, 0], 0.0)])
def test_all_right_or_all_wrong_is_a_flat_line(right: list[int], share: float) -> None:
    fitted = calibration.fit([0.2, 0.5, 0.9], right)
    assert fitted == Calibration(((0.2, share), (0.9, share)), 3)


def test_constant_confidences_give_the_share_that_is_right() -> None:
    assert calibration.fit([0.7] * 4, [1, 0, 1, 1]) == Calibration(((0.7, 0.75),), 4)


def test_too_few_words_give_no_calibration() -> None:
    assert calibration.fit([], []) is None
    assert calibration.fit([0.5], [1]) is None
    assert calibration.fit([0.5, 0.6], [0, 1]) == Calibration(((0.5, 0.0), (0.6, 1.0)), 2)


def test_the_table_of_reliability_counts_every_word_once() -> None:
    confidences = [0.0, 0.05, 0.1, 0.3, 0.35, 0.7, 0.99, 1.0]
    right = [0, 1, 0, 0, 1, 1, 1, 1]
    table = calibration.reliability(confidences, right, bins=10)
    assert [one.words for one in table] == [2, 1, 0, 2, 0, 0, 0, 1, 0, 2]
    assert (table[0].confidence, table[0].right) == (0.025, 0.5)
    assert table[9].confidence == pytest.approx(0.995)
    assert (table[2].confidence, table[2].right) == (None, None)
    assert (table[0].low, table[9].high) == (0.0, 1.0)


def test_each_confidence_lies_in_the_bin_that_holds_it_by_its_edges() -> None:
    grid = np.arange(101) / 100
    for bins in (7, 10, 100):
        table = calibration.reliability(grid, np.ones(101), bins)
        expected = [sum(one.low <= c < one.high or c == one.high == 1.0 for c in grid) for one in table]
        assert [one.words for one in table] == expected
        assert sum(expected) == 101


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_calibration_error_is_a_sum_over_bins(bins: int) -> None:
    confidences, right = words(300, seed=5)
    expected = 0.0
    for number in range(bins):
        inside = [(c, r) for c, r in zip(confidences, right, strict=True) if min(int(c * bins), bins - 1) == number]
        expected += abs(sum(float(r) for _, r in inside) - sum(c for c, _ in inside)) / 300
    assert calibration.expected_calibration_error(confidences, right, bins) == pytest.approx(expected, abs=1e-12)


def test_cross_entropy_is_the_formula_of_nist() -> None:
    confidences, right = words(50, seed=6)
    q = right.sum() / 50
    greatest = -right.sum() * math.log2(q) - (50 - right.sum()) * math.log2(1 - q)
    told = sum(math.log2(c) if r else math.log2(1 - c) for c, r in zip(confidences, right, strict=True))
    expected = (greatest + told) / greatest
    assert calibration.normalised_cross_entropy(confidences, right) == pytest.approx(expected, abs=1e-12)


def test_cross_entropy_is_0_for_the_prior_1_for_certainty_and_below_0_for_a_sure_error() -> None:
    right = [1, 1, 1, 0]
    assert calibration.normalised_cross_entropy([0.75] * 4, right) == pytest.approx(0.0, abs=1e-12)
    assert calibration.normalised_cross_entropy(right, right) == pytest.approx(1.0, abs=1e-5)
    greatest = -3 * math.log2(0.75) - math.log2(0.25)
    assert calibration.normalised_cross_entropy([1, 1, 1, 1], right) == pytest.approx(1 + math.log2(1e-6) / greatest, abs=1e-5)


@pytest.mark.parametrize("digits", [None, 1])
def test_area_counts_pairs_of_wrong_and_right_words(digits: int | None) -> None:
    from scipy.stats import mannwhitneyu

    confidences, right = words(80, seed=7, digits=digits)
    pairs = [(w, r) for w in confidences[~right] for r in confidences[right]]
    expected = sum(1.0 if w < r else 0.5 if w == r else 0.0 for w, r in pairs) / len(pairs)
    assert calibration.roc_auc(confidences, right) == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx(mannwhitneyu(confidences[right], confidences[~right]).statistic / len(pairs), abs=1e-12)


def test_area_of_a_perfect_a_reversed_and_a_constant_confidence() -> None:
    assert calibration.roc_auc([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 1.0
    assert calibration.roc_auc([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]) == 0.0
    assert calibration.roc_auc([0.4] * 4, [1, 0, 0, 1]) == 0.5
    assert calibration.roc_auc([-7.5, 3.0], [0, 1]) == 1.0


def test_brier_is_the_mean_square() -> None:
    assert calibration.brier([1.0, 0.5, 0.0], [1, 1, 1]) == pytest.approx((0 + 0.25 + 1) / 3)


def test_without_doubt_nothing_is_known_of_finding_errors() -> None:
    for right in ([1, 1], [0, 0]):
        assert calibration.roc_auc([0.5, 0.6], right) is None
        assert calibration.normalised_cross_entropy([0.5, 0.6], right) is None
    assert calibration.expected_calibration_error([0.5, 0.6], [1, 1]) == pytest.approx(0.45)
    assert calibration.brier([0.5, 0.6], [1, 1]) == pytest.approx((0.25 + 0.16) / 2)


@pytest.mark.parametrize("score", SCORES)
def test_no_words_have_no_score(score) -> None:
    assert score([], []) is None


def test_one_word_has_a_distance_but_no_order() -> None:
    assert calibration.brier([0.5], [1]) == 0.25
    assert calibration.expected_calibration_error([0.5], [1]) == 0.5
    assert calibration.roc_auc([0.5], [1]) is None
    assert calibration.normalised_cross_entropy([0.5], [1]) is None
    assert sum(one.words for one in calibration.reliability([0.5], [1])) == 1


@pytest.mark.parametrize("score", [*SCORES, calibration.fit, calibration.reliability])
def test_words_that_do_not_fit_together_are_refused(score) -> None:
    with pytest.raises(ValueError, match="equal length, got 2 and 1"):
        score([0.1, 0.2], [1])
    with pytest.raises(ValueError, match=r"confidences must have the shape \(n\), got \(1, 2\)"):
        score([[0.1, 0.2]], [1, 0])
    with pytest.raises(ValueError, match="confidences must be finite"):
        score([0.1, math.nan], [1, 0])
    with pytest.raises(ValueError, match="right must hold True or False"):
        score([0.1, 0.2], [1, 0.5])


@pytest.mark.parametrize(
    "score",
    [
        calibration.expected_calibration_error,
        calibration.normalised_cross_entropy,
        calibration.brier,
        calibration.reliability,
    ],
)
def test_what_is_no_probability_is_refused_but_rounding_is_not(score) -> None:
    with pytest.raises(ValueError, match=r"confidences must be from 0 to 1, got 1.5"):
        score([0.1, 1.5], [1, 0])
    with pytest.raises(ValueError, match=r"confidences must be from 0 to 1, got -0.5"):
        score([-0.5, 0.5], [1, 0])
    assert score([1 + 1e-7, 0.5], [1, 0]) == score([1.0, 0.5], [1, 0])


def test_a_table_without_bins_is_refused() -> None:
    with pytest.raises(OptionError, match="at least 1 bin, got 0"):
        calibration.reliability([0.5], [1], 0)
    with pytest.raises(OptionError, match="at least 1 bin, got 0"):
        calibration.expected_calibration_error([0.5], [1], 0)
