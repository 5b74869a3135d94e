"""Dynamic time warping and the choice of heads against slow plain twins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twins import slow_warp
from voxray.warping import closeness, firsts, heads_by_norm, median_filter, spans, warp


def paths(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Return every path from the first cell to the last."""
    if (rows, columns) == (1, 1):
        return [[(0, 0)]]
    before = [(rows - 1, columns - 1), (rows - 1, columns), (rows, columns - 1)]
    return [[*path, (rows - 1, columns - 1)] for r, c in before if r and c for path in paths(r, c)]


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_no_path_is_cheaper(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).standard_normal((rows, columns))
    found = list(zip(*(one.tolist() for one in warp(cost)), strict=True))
    every = paths(rows, columns)
    assert found in every
    assert sum(cost[cell] for cell in found) == pytest.approx(min(sum(cost[cell] for cell in path) for path in every), abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1), (9, 9), (12, 90)])
def test_the_path_is_that_of_the_plain_loop(rows: int, columns: int, *, ties: bool) -> None:
    cost = np.random.default_rng(rows * columns).standard_normal((rows, columns))
    cost = np.round(cost) if ties else cost
    wanted = slow_warp(cost)
    assert tuple(one.tolist() for one in warp(cost)) == wanted
    assert firsts(*warp(cost)).tolist() == [wanted[1][wanted[0].index(row)] for row in range(rows)]


def test_a_diagonal_is_followed() -> None:
    cost = 1 - 2 * np.eye(4)
    rows, columns = warp(cost)
    assert rows.tolist() == columns.tolist() == [0, 1, 2, 3]


def test_nothing_cannot_be_warped() -> None:
    with pytest.raises(ValueError, match=r"at least one row and one column, got \(0, 3\)"):
        warp(np.zeros((0, 3)))


@pytest.mark.parametrize("length", [1, 3, 4, 30])
def test_the_median_of_a_reflected_window(length: int) -> None:
    values = np.random.default_rng(length).standard_normal((2, length))
    found = median_filter(values, 7)
    if length <= 3:  # too short to be reflected
        assert np.array_equal(found, values)
        return
    for row, column in itertools.product(range(2), range(length)):
        places = [abs(column + step) for step in range(-3, 4)]
        window = [values[row, place if place < length else 2 * length - 2 - place] for place in places]
        assert found[row, column] == sorted(window)[3]


def test_closeness_follows_its_recipe() -> None:
    scores = np.random.default_rng(5).standard_normal((3, 6, 40)).astype(np.float32) * 3
    heads = []
    for one in scores.astype(np.float64):
        weights = np.array([np.exp(row) / np.exp(row).sum() for row in one])
        columns = [(column - column.mean()) / column.std() for column in weights.T]
        heads.append(median_filter(np.array(columns).T, 7))
    np.testing.assert_allclose(closeness(scores), sum(heads) / 3, atol=1e-9)


def test_one_token_is_as_close_to_every_frame() -> None:
    assert np.array_equal(closeness(np.ones((2, 1, 9), np.float32)), np.zeros((1, 9)))


def test_heads_that_move_are_chosen_over_those_that_stand_or_spread() -> None:
    weights = np.full((2, 3, 4, 8), 1 / 8, np.float32)
    weights[0, 2] = np.eye(4, 8)  # moves
    weights[1, 0] = np.eye(8)[[1] * 4]  # stands: its rows are as sharp, its columns are not
    assert heads_by_norm(weights, keep=1) == [(0, 2)]
    assert heads_by_norm(weights, keep=2) == [(0, 2), (1, 0)]
    assert len(heads_by_norm(weights)) == 6  # of fewer than ten, all


def test_the_norms_are_those_of_rows_and_columns() -> None:
    weights = np.random.default_rng(2).dirichlet(np.full(9, 0.2), (3, 4, 5)).astype(np.float32)
    norms = {
        (layer, head): sum(np.linalg.norm(row) for row in weights[layer, head])
        + sum(np.linalg.norm(column) for column in weights[layer, head].T)
        for layer, head in itertools.product(range(3), range(4))
    }
    assert heads_by_norm(weights, keep=5) == sorted(sorted(norms, key=lambda one: -norms[one])[:5])


def test_a_token_begins_where_it_is_heard() -> None:
    close = np.zeros((4, 40))
    close[0, 5:9] = [1, 3, 4, 2]  # the path gives it all frames from 0
    close[1, 9:12] = 2
    close[2, 14:18] = [0.5, 1, 2, 2]
    close[3, 36:] = 1  # the end of the text
    rows, columns = warp(-close)
    steps = firsts(rows, columns).tolist()
    assert steps[0] == 0
    found = spans(close)
    assert found[:, 0].tolist() == [7, 9, 16]  # 3 is less than four fifths of 4
    assert found[0, 1] == 9  # where the next one begins
    assert found[1, 1] == min(16, steps[2] + 10)
    assert found[2, 1] == min(36, steps[3] + 10)


def test_a_pause_belongs_to_no_token() -> None:
    close = np.zeros((3, 60))
    close[0, 2:6], close[1, 50:55], close[2, 58:] = 2, 2, 2
    close[:, 6:50] = -1
    close[0, 6:28] = close[1, 28:50] = -0.5  # the path leaves the first token in the middle of the pause, after 28 frames
    assert firsts(*warp(-close)).tolist() == [0, 28, 54]
    assert spans(close).tolist() == [[2, 38], [50, 58]]


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_spans_are_in_order(tokens: int, frames: int, seed: int) -> None:
    close = np.random.default_rng(seed).standard_normal((tokens + 1, frames))
    found = spans(close)
    assert found.shape == (tokens, 2)
    assert (found[:, 0] <= found[:, 1]).all()
    assert (found[:-1, 1] <= found[1:, 0]).all()
    assert found.min() >= 0
    assert found.max() <= frames
