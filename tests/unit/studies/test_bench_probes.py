"""Masked runs of the benchmark: parts, orders, shares and areas, against slow twins and cases worked by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from voxray.studies.bench import probes
from voxray.types import Grid


@pytest.fixture
def cells() -> Grid:
    """Two seconds and 5 frames of 10 ms by 80 filters, from 12.5 ms on as Kaldi's windows have it."""
    return Grid(0.0075 + 0.01 * np.arange(206), np.arange(81.0))


def test_even_parts_are_sixty_milliseconds_and_the_last_is_the_rest(cells: Grid) -> None:
    parts = probes.even_parts(cells)
    assert len(parts) == 35
    np.testing.assert_allclose(np.diff(parts.edges)[:-1], 0.06)
    assert np.diff(parts.edges)[-1] == pytest.approx(0.01)
    assert parts.segments.mask(np.ones(35, bool)).all()


def test_true_parts_begin_and_end_with_the_words(cells: Grid) -> None:
    parts = probes.true_parts(cells, [(0.3, 0.62), (0.62, 0.9), (1.2, 9.0)])
    np.testing.assert_allclose(parts.edges, [0.0075, 0.2975, 0.6175, 0.8975, 1.1975, 2.0575], atol=0.0051)
    assert [int(parts.segments.mask(row).sum()) // 80 for row in np.eye(len(parts), dtype=bool)] == [29, 32, 28, 30, 86]


def test_a_map_on_parts_keeps_its_sum_and_cuts_cells_in_proportion() -> None:
    rng = np.random.default_rng(3)
    scores, times, edges = rng.normal(size=31), np.linspace(0.0, 1.86, 32), np.array([0.0, 0.1, 0.5, 1.234, 1.86])
    found = probes.on_parts(scores, times, edges)
    twin = [
        sum(
            value * max(0.0, min(stop, right) - max(start, left)) / (right - left)
            for value, left, right in zip(scores, times[:-1], times[1:], strict=True)
        )
        for start, stop in pairwise(edges)
    ]
    np.testing.assert_allclose(found, twin, atol=1e-12)
    assert found.sum() == pytest.approx(scores.sum())


@pytest.mark.parametrize("parts", [1, 2, 7, 35, 100])
def test_steps_begin_with_none_and_end_with_all(parts: int) -> None:
    steps = probes.counts(parts)
    assert steps[0] == 0
    assert steps[-1] == parts
    assert (np.diff(steps) > 0).all()
    assert {round(share * parts) for share in (0.1, 0.2, 0.5)} <= set(steps.tolist())


def test_deletion_hides_the_most_relevant_first() -> None:
    relevance = np.random.default_rng(1).normal(size=40)
    masks = probes.deletions(relevance)
    for mask, count in zip(masks, probes.counts(40), strict=True):
        assert set(np.flatnonzero(mask)) == set(sorted(range(40), key=lambda index: -relevance[index])[:count])


def test_a_mask_is_noted_once() -> None:
    ledger = probes.Ledger()
    first = ledger.add(np.array([[True, False], [False, False], [True, False]]))
    second = ledger.add(np.array([[False, False], [True, True]]))
    assert first.tolist() == [0, 1, 0]
    assert second.tolist() == [1, 2]


def test_shares_are_ratios_of_probabilities() -> None:
    scores = np.array([-3.0, -0.5, 0.0, 4.0])
    np.testing.assert_allclose(probes.shares(scores, -0.5, odds=False), np.minimum(np.exp(scores + 0.5), 1.0))
    sigmoid = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(probes.shares(scores, 4.0, odds=True), sigmoid / sigmoid[-1])
    assert probes.shares(np.array([-900.0, 900.0]), -800.0, odds=True).tolist() == [pytest.approx(np.exp(-100.0)), 1.0]


def test_an_area_by_hand() -> None:
    steps = probes.counts(10)
    assert steps.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 10]
    values = np.where(steps < 2, 1.0, 0.0)  # all is lost with the second part
    told = probes.curve(values, 10)
    assert told["area"] == pytest.approx(0.15)
    assert told["fall"] == pytest.approx((0 + 1 + 1) / 3)
    assert probes.curve(np.ones(len(steps)), 10) == {"area": pytest.approx(1.0), "fall": 0.0}


def test_a_perfect_map_explains_the_table() -> None:
    hidden = np.random.default_rng(0).random((60, 12)) < 0.3
    relevance = np.random.default_rng(1).normal(size=12)
    told = probes.table_measures(relevance, hidden, hidden @ relevance * 2.5)
    assert told["correlation"] == pytest.approx(1.0)
    assert told["infidelity"] == pytest.approx(0.0, abs=1e-12)
