"""Does a map point at the right place: hand-made cases, chance, and plain twins."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.measures import localisation

EDGES = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
SPAN = (0.2, 0.4)


def test_the_truth_itself_gives_the_best_of_everything() -> None:
    found = localisation.evaluate([0, 0, 1, 1, 0], EDGES, SPAN)
    assert (found.pointing, found.top_three, found.mass, found.lift, found.roc_auc) == (True, True, 1.0, 2.5, 1.0)
    assert found.distance == pytest.approx(0.0, abs=1e-12)


def test_a_constant_map_is_chance() -> None:
    found = localisation.evaluate(np.full(5, 0.3), EDGES, SPAN)
    assert (found.pointing, found.mass, found.roc_auc) == (False, pytest.approx(0.4), 0.5)
    assert found.lift == pytest.approx(1.0)
    assert found.distance == pytest.approx(0.05)


def test_by_hand() -> None:
    """Largest at 0.05 s; 3 of 8 positive parts inside; of the six pairs of cells inside and outside two are won."""
    scores = [4.0, 1.0, 3.0, -2.0, 0.0]
    found = localisation.evaluate(scores, EDGES, SPAN)
    assert not found.pointing
    assert found.mass == pytest.approx(3 / 8)
    assert found.lift == pytest.approx(3 / 8 / 0.4)
    assert found.roc_auc == pytest.approx(2 / 6)
    assert found.distance == pytest.approx(abs((4 * 0.05 + 0.15 + 3 * 0.25) / 8 - 0.3))


def test_slack_reaches_over_the_edge() -> None:
    scores = [0, 2.0, 1, 1, 0]  # the largest cell's middle lies 50 ms before the span
    assert localisation.pointing(scores, EDGES, SPAN)
    assert not localisation.pointing(scores, EDGES, SPAN, slack=0.049)


def test_only_what_speaks_for_it_points() -> None:
    assert np.isnan(localisation.mass([-1, -1, -5, -5, -1], EDGES, SPAN))
    assert np.isnan(localisation.distance(np.zeros(5), EDGES, SPAN))


def test_cells_count_by_the_share_that_lies_inside() -> None:
    np.testing.assert_allclose(localisation.overlap(EDGES, (0.05, 0.22)), [0.5, 1, 0.2, 0, 0], atol=1e-12)
    assert localisation.mass(np.ones(5), EDGES, (0.05, 0.22)) == pytest.approx(1.7 / 5)


def plain_auc(row: np.ndarray, edges: np.ndarray, span: tuple[float, float]) -> float:
    """By drawing every pair of moments of a millisecond."""
    moments = np.arange(edges[0] + 5e-4, edges[-1], 1e-3)
    values = row[np.searchsorted(edges, moments) - 1]
    inside = (moments > span[0]) & (moments < span[1])
    pairs = values[inside][:, None] - values[~inside][None]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_roc_auc_equals_all_pairs_of_moments() -> None:
    rng = np.random.default_rng(3)
    edges = np.concatenate([[0], np.cumsum(rng.integers(20, 90, 12) / 1000)])
    maps = rng.integers(-3, 4, (6, 12)).astype(float)  # with ties
    found = localisation.roc_auc(maps, edges, (0.13, 0.31))
    np.testing.assert_allclose(found, [plain_auc(row, edges, (0.13, 0.31)) for row in maps], atol=1e-9)
    assert np.isnan(localisation.roc_auc(maps[0], edges, (0.0, edges[-1])))


def test_random_maps_are_chance() -> None:
    maps = np.random.default_rng(0).random((4000, 50))
    edges = np.linspace(0, 3, 51)
    assert localisation.roc_auc(maps, edges, (1.0, 1.5)).mean() == pytest.approx(0.5, abs=0.01)
    assert localisation.lift(maps, edges, (1.0, 1.5)).mean() == pytest.approx(1.0, abs=0.02)
    # Half a second and the slack on both sides: the middles of 0.62 / 0.06 cells.
    assert localisation.pointing(maps, edges, (1.0, 1.5)).mean() == pytest.approx(10 / 50, abs=0.02)


def test_the_top_three_segments() -> None:
    edges = np.linspace(0, 1.2, 121)
    scores = np.zeros(120)
    scores[[5, 50, 70, 100]] = [4, 3, 2, 1]
    assert localisation.top_hit(scores, edges, (0.64, 0.72))  # the third, in the segment from 0.60 to 0.72
    assert not localisation.top_hit(scores, edges, (0.72, 0.8))
    assert localisation.top_hit(scores, edges, (0.45, 0.6))
    assert not localisation.top_hit(scores, edges, (0.97, 1.05))  # the fourth
    assert localisation.top_hit(scores, edges, (0.97, 1.05), count=4)
    assert not localisation.top_hit(np.zeros(120), edges, (0.1, 0.3))


@pytest.mark.parametrize(
    ("scores", "edges", "span", "told"),
    [
        ([1, 2], EDGES, SPAN, r"scores must be \(\.\.\., 5\) for 6 edges in seconds, got \(2,\)"),
        ([1, 2], [0, 2, 1], SPAN, "edges must rise"),
        ([1] * 5, EDGES, (0.6, 0.7), r"the span \(0.6, 0.7\) s holds nothing"),
        ([1, np.nan, 1, 1, 1], EDGES, SPAN, "scores must be finite"),
    ],
)
def test_what_does_not_fit(scores: list[float], edges: list[float], span: tuple[float, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        localisation.mass(scores, edges, span)


def test_the_best_window_is_found_at_any_ten_milliseconds() -> None:
    edges = np.arange(0.0, 2.001, 0.01)
    scores = np.zeros(200)
    scores[95:107] = 1.0  # 0.95 to 1.07 s
    assert localisation.top_window(scores, edges, (0.95, 1.07))
    assert localisation.top_window(scores, edges, (1.01, 1.4))  # the half of the window
    assert not localisation.top_window(scores, edges, (1.02, 1.4))
    scores[30] = 11.0  # one high cell is less than twelve of 1
    assert localisation.top_window(scores, edges, (0.9, 1.1))
    scores[31] = 2.0
    assert not localisation.top_window(scores, edges, (0.9, 1.1))
    assert not localisation.top_window(np.ones(200), edges, (0.0, 2.0))
    assert not localisation.top_window(-scores, edges, (0.0, 0.25))
    several = np.stack([scores, np.roll(scores, 65)])
    assert localisation.top_window(several, edges, (0.9, 1.1)).tolist() == [False, True]
