"""Confidence of frames, margins and hidden tokens, against plain loops in double precision and in 60 decimal digits."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from voxray.measures import confidence
from voxray.measures.confidence import Silent
from voxray.types import OptionError

MEASURES = [confidence.max_probability, confidence.entropy, confidence.tsallis]


def posteriors(rows: int, labels: int, seed: int = 0, scale: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=scale, size=(rows, labels))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def log(*rows: list[float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows)).astype(np.float32)


def plain_tsallis(row: np.ndarray, alpha: float) -> float:
    """The formula as NeMo writes it, a label at a time, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        order, labels = Decimal(alpha), Decimal(len(row))
        total = sum(((order * Decimal(float(one))).exp() for one in row if one > -math.inf), Decimal(0))
        least = ((1 - labels ** (1 - order)) / (1 - order)).exp()
        return float((((1 - total) / (1 - order)).exp() - least) / (1 - least))


def renormalised(row: np.ndarray, best: int) -> np.ndarray:
    kept = sorted(row.astype(np.float64).tolist(), reverse=True)[:best]
    return np.array(kept) - math.log(math.fsum(math.exp(one) for one in kept))


@pytest.mark.parametrize("alpha", [0.25, 1 / 3, 0.33, 0.9, 2.0])
@pytest.mark.parametrize("labels", [2, 7, 60])
def test_tsallis_is_the_formula_of_nemo(alpha: float, labels: int) -> None:
    rows = posteriors(5, labels)
    expected = [plain_tsallis(row, alpha) for row in rows]
    np.testing.assert_allclose(confidence.tsallis(rows, alpha, best=None), expected, rtol=2e-6, atol=1e-12)


def test_tsallis_over_a_whole_vocabulary_of_25055_does_not_fail_where_the_bound_underflows() -> None:
    assert math.exp((1 - 25055 ** (2 / 3)) * 1.5) == 0.0
    rows = posteriors(2, 25055, scale=20.0)
    expected = [plain_tsallis(row, 0.33) for row in rows]
    found = confidence.tsallis(rows, 0.33, best=None)
    assert min(expected) > 1e-8
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("best", [2, 5, 50])
def test_tsallis_of_the_likeliest_renormalises_them(best: int) -> None:
    rows = posteriors(4, 300, seed=1)
    expected = [plain_tsallis(renormalised(row, best), 1 / 3) for row in rows]
    np.testing.assert_allclose(confidence.tsallis(rows, best=best), expected, rtol=1e-5)


def test_the_tail_drowns_a_sure_frame_unless_only_the_likeliest_count() -> None:
    row = np.full(25055, 0.01 / 25054)
    row[7] = 0.99
    rows = np.log(row)[None].astype(np.float32)
    assert np.exp(rows[0].astype(np.float64) / 3).sum() == pytest.approx(185.46, abs=0.01)
    assert plain_tsallis(rows[0], 1 / 3) == pytest.approx(6.8e-121, rel=0.01)
    assert confidence.tsallis(rows, best=None)[0] == 0.0
    assert confidence.tsallis(rows)[0] == pytest.approx(0.5810, abs=1e-4)


def test_fewer_labels_than_the_likeliest_asked_for_are_all_labels() -> None:
    rows = posteriors(3, 20)
    np.testing.assert_array_equal(confidence.tsallis(rows, best=50), confidence.tsallis(rows, best=None))


def test_entropy_and_probability_are_their_formulas() -> None:
    rows = posteriors(70, 11, seed=2)  # more rows than one block holds
    exact = rows.astype(np.float64)
    linear = [1 + math.fsum(math.exp(one) * one for one in row) / math.log(11) for row in exact]
    scaled = [(math.exp(max(row)) * 11 - 1) / 10 for row in exact]
    np.testing.assert_allclose(confidence.entropy(rows), linear, atol=1e-6)
    np.testing.assert_allclose(confidence.max_probability(rows), scaled, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_confidence_is_1_for_certainty_and_0_for_none(measure) -> None:
    rows = log([1, 0, 0, 0], [0.25] * 4)
    np.testing.assert_allclose(measure(rows), [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_confidence_falls_as_a_rival_rises_and_keeps_its_type(measure) -> None:
    found = measure(log(*([1 - share, share * 0.8, share * 0.2] for share in (0.0, 0.05, 0.2, 0.4))))
    assert (np.diff(found) < -0.01).all()
    assert found.dtype == np.float32


@pytest.mark.parametrize("measure", MEASURES)
def test_no_rows_have_no_confidences_and_rounding_above_0_stays_within_1(measure) -> None:
    assert measure(np.empty((0, 5), np.float32)).shape == (0,)
    assert measure(np.array([[1e-6, -50.0, -50.0]], np.float32))[0] <= 1.0


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_no_log_posterior_is_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"log_probs must have the shape \(N, V\), got \(3,\)"):
        measure(np.zeros(3))
    with pytest.raises(ValueError, match=r"at least 2 labels, got the shape \(3, 1\)"):
        measure(np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"at most 0 nats, got 0.9; take the log-softmax first"):
        measure(np.array([[0.9, 0.1]]))
    with pytest.raises(ValueError, match="at most 0 nats, got nan"):
        measure(np.array([[np.nan, -0.1]]))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.inf, math.nan])
def test_an_order_without_an_entropy_is_refused(alpha: float) -> None:
    with pytest.raises(OptionError, match="alpha must be above 0 and not 1"):
        confidence.tsallis(posteriors(1, 4), alpha)


def test_one_label_alone_cannot_compete() -> None:
    with pytest.raises(OptionError, match="best must be at least 2 labels, got 1"):
        confidence.tsallis(posteriors(1, 4), best=1)


def test_a_word_takes_the_least_the_mean_or_the_product() -> None:
    tokens = [0.5, 0.9, 0.8]
    assert confidence.word(tokens) == 0.5
    assert confidence.word(tokens, "mean") == pytest.approx(2.2 / 3)
    assert confidence.word(tokens, "product") == pytest.approx(0.36)
    with pytest.raises(OptionError, match="no way 'median' to join confidences; choose one of min, mean, product"):
        confidence.word(tokens, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs at least one token"):
        confidence.word([])
    with pytest.raises(ValueError, match=r"must have the shape \(K\)"):
        confidence.word([tokens])


def plain_margins(row: np.ndarray, token: int, blank: int) -> tuple[float, float]:
    with_blank = [float(value) for label, value in enumerate(row) if label != token]
    without = [float(value) for label, value in enumerate(row) if label not in (token, blank)]
    return float(row[token]) - max(with_blank), float(row[token]) - max(without)


@pytest.mark.parametrize("blank", [0, 4, 8])
def test_margins_are_those_of_a_search_through_all_labels(blank: int) -> None:
    for row in posteriors(20, 9, seed=blank):
        for token in range(9):
            found = confidence.margin(row, token, blank)
            assert (found.with_blank, found.without_blank) == plain_margins(row, token, blank)
            assert found.with_blank == float(row[token]) - float(row[found.rival])
            assert found.without_blank == float(row[token]) - float(row[found.rival_token])
            assert found.rival != token
            assert found.rival_token not in (token, blank)


def test_margins_are_the_same_in_logits_and_name_the_first_of_equal_rivals() -> None:
    logits = np.array([4.0, 7.0, 2.0, 2.0], np.float32)
    expected = (3.0, 5.0, 0, 2)
    assert confidence.margin(logits, 1) == expected
    assert confidence.margin(logits - np.float32(7.5), 1) == expected
    assert confidence.margin(logits, 2) == (-5.0, -5.0, 1, 1)
    assert confidence.margin(logits, 0) == (-3.0, -3.0, 1, 1)


def test_margins_refuse_what_does_not_exist() -> None:
    row = np.zeros(4)
    with pytest.raises(OptionError, match="label 4 does not exist: there are 4 labels, 0 to 3"):
        confidence.margin(row, 4)
    with pytest.raises(OptionError, match="label -1 does not exist"):
        confidence.margin(row, 1, -1)
    with pytest.raises(ValueError, match="needs at least 3 labels"):
        confidence.margin(row[:2], 1)


@pytest.mark.parametrize(("peak", "first", "stop"), [(0, 0, 3), (1, 0, 4), (5, 3, 8), (9, 7, 10)])
def test_blank_dominance_is_the_lead_of_the_blank_at_each_row_around(peak: int, first: int, stop: int) -> None:
    rows = posteriors(10, 6, seed=3)
    for blank in (0, 2, 5):
        expected = [row[blank] - max(value for label, value in enumerate(row) if label != blank) for row in rows[first:stop]]
        found = confidence.blank_dominance(rows, peak, blank=blank)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_blank_dominance_reaches_as_far_as_asked_and_no_further() -> None:
    rows = posteriors(10, 6)
    whole = confidence.blank_dominance(rows, 5, reach=9)
    assert whole.shape == (10,)
    np.testing.assert_array_equal(confidence.blank_dominance(rows, 5, reach=0), whole[5:6])
    with pytest.raises(OptionError, match="row 10 does not exist: there are 10 rows"):
        confidence.blank_dominance(rows, 10)
    with pytest.raises(OptionError, match="reach must be 0 rows or more, got -1"):
        confidence.blank_dominance(rows, 5, reach=-1)
    with pytest.raises(OptionError, match="label 6 does not exist"):
        confidence.blank_dominance(rows, 5, blank=6)


def test_hidden_tokens_are_joined_in_runs_with_their_best_row() -> None:
    rows = log(
        [0.98, 0.01, 0.01],  # blank, nothing near
        [0.80, 0.15, 0.05],  # 1 hidden
        [0.70, 0.28, 0.02],  # 1 hidden, likeliest
        [0.60, 0.10, 0.30],  # 2 hidden
        [0.98, 0.01, 0.01],
        [0.10, 0.85, 0.05],  # 1 written
        [0.70, 0.28, 0.02],  # 1 hidden, but the flank of what is written
        [0.70, 0.02, 0.28],  # 2 hidden
    )
    found = confidence.silent_candidates(rows)
    assert [one[:4] for one in found] == [(1, 1, 3, 2), (2, 3, 4, 3), (2, 7, 8, 7)]
    np.testing.assert_allclose([one.log_prob for one in found], np.log([0.28, 0.30, 0.28]), rtol=1e-6)
    assert isinstance(found[0], Silent)


def plain_silent(rows: np.ndarray, blank: int, threshold: float) -> list[tuple[int, int, int]]:
    """A frame at a time; a run dies when it touches the same token written."""
    found: list[list] = []
    previous = None
    for frame, row in enumerate(rows):
        token = max((label for label in range(len(row)) if label != blank), key=lambda label: row[label])
        written = int(row.argmax()) != blank
        if not written and row[token] <= threshold:
            previous = None
            continue
        if previous == token:
            found[-1][2] = frame + 1
            found[-1][3] |= written
        else:
            found.append([token, frame, frame + 1, written])
        previous = token
    return [(token, first, stop) for token, first, stop, written in found if not written]


@pytest.mark.parametrize("blank", [0, 2, 3])
def test_hidden_tokens_are_those_of_a_walk_through_the_frames(blank: int) -> None:
    logits = np.random.default_rng(blank).normal(size=(400, 4))
    logits[:, blank] += 1.5
    rows = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    found = confidence.silent_candidates(rows, blank, -1.5)
    expected = plain_silent(rows, blank, -1.5)
    assert len(expected) > 20
    assert [(one.token, one.first, one.stop) for one in found] == expected


def test_the_threshold_is_what_a_hidden_token_must_be_above() -> None:
    rows = np.array([[-0.1, -3.0], [-0.1, -2.99]], np.float32)
    assert [one.first for one in confidence.silent_candidates(rows)] == [1]
    assert confidence.silent_candidates(rows, threshold=-2.0) == []
    assert confidence.silent_candidates(np.empty((0, 4), np.float32)) == []
    with pytest.raises(OptionError, match="label 9 does not exist"):
        confidence.silent_candidates(rows, 9)
