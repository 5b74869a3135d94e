"""Are the times right: by hand, and by trying every pairing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from voxray.measures import boundaries

TRUE = np.array([[0.0, 0.4], [0.5, 0.9], [1.0, 1.6], [2.0, 2.1]])


def test_the_truth_has_no_errors() -> None:
    found = boundaries.evaluate(TRUE, TRUE)
    assert found is not None
    assert (found.units, found.shift, found.overlap) == (4, 0.0, 1.0)
    assert found.start == boundaries.Edge(0.0, 0.0, 0.0, (1.0, 1.0, 1.0, 1.0))


def test_by_hand() -> None:
    moved = TRUE + np.array([[0.02, 0.02], [-0.06, 0.0], [0.1, -0.1], [0.3, 0.3]])
    found = boundaries.evaluate(moved, TRUE)
    assert found is not None
    assert found.start.mean == pytest.approx(0.12)
    assert found.start.median == pytest.approx(0.08)
    assert found.start.bias == pytest.approx(0.06)
    assert found.start.within == (0.25, 0.25, 0.75, 0.75)
    assert found.end.within == (0.5, 0.5, 0.75, 0.75)
    assert found.shift == pytest.approx((0.02 + 0.02 + 0.06 + 0 + 0.1 + 0.1 + 0.3 + 0.3) / 8)
    assert found.overlap == pytest.approx(np.mean([0.38 / 0.42, 0.4 / 0.46, 0.4 / 0.6, 0.0]))


def test_of_no_units_nothing_is_told() -> None:
    assert boundaries.evaluate(np.zeros((0, 2)), np.zeros((0, 2))) is None
    assert boundaries.f1([], []) is None


def brute(found: list[boundaries.Timed], true: list[boundaries.Timed]) -> tuple[int, float]:
    """Most words in common, and least seconds between their starts, over every pairing."""
    best = (0, 0.0)
    for count in range(1, min(len(found), len(true)) + 1):
        for rows in itertools.combinations(range(len(found)), count):
            for columns in itertools.combinations(range(len(true)), count):
                if all(found[a][0] == true[b][0] for a, b in zip(rows, columns, strict=True)):
                    apart = sum(abs(found[a][1] - true[b][1]) for a, b in zip(rows, columns, strict=True))
                    best = max(best, (count, -apart))
    return best


def test_words_are_paired_in_order_and_near_one_another() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        sides = []
        for count in rng.integers(0, 6, 2):
            starts = np.sort(rng.uniform(0, 3, count))
            sides.append([(str(rng.choice(list("ab"))), float(start), float(start) + 0.1) for start in starts])
        one, other = boundaries.pair(*sides)
        most, near = brute(*sides)
        assert len(one) == len(other) == most
        assert np.abs(one[:, 0] - other[:, 0]).sum() == pytest.approx(-near)


def test_f1_counts_starts_and_ends_of_paired_words() -> None:
    true = [("one", 0.0, 0.4), ("two", 0.5, 0.9)]
    found = [("One", 0.04, 0.5), ("three", 0.6, 0.7), ("two", 0.5, 0.93)]
    assert boundaries.f1(true, true) == 1.0
    assert boundaries.f1(found, true) == pytest.approx(2 * 3 / 10)
    assert boundaries.f1(found, true, 0.1) == pytest.approx(2 * 4 / 10)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (np.zeros((2, 3)), r"found must be \(n, 2\)"),
        ([[0.5, 0.2]] * 4, "found holds a unit that ends before it starts"),
        ([[0.1, 0.2]], "found has 1 units and true has 4"),
    ],
)
def test_what_does_not_fit(found: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        boundaries.evaluate(found, TRUE)


def test_words_that_were_cut_otherwise_are_found_by_their_letters() -> None:
    assert boundaries.spelled(["我", "爱", "北", "京", "。"], ["我爱", "北京"]) == [(0, 0, 1), (1, 2, 3)]
    assert boundaries.spelled(["The", "cat,", "sat"], ["the", "cat", "sat"]) == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert boundaries.spelled(["다시", "해요"], ["다시해요"]) == [(0, 0, 1)]


def test_words_that_are_wrong_or_run_together_are_not() -> None:
    assert boundaries.spelled(["the", "cart", "sat"], ["the", "cat", "sat"]) == [(0, 0, 0), (2, 2, 2)]
    assert boundaries.spelled(["다시해요"], ["다시", "해요"]) == []
    assert boundaries.spelled(["the", "sat"], ["the", "cat", "sat"]) == [(0, 0, 0), (2, 1, 1)]
    assert boundaries.spelled([], ["a"]) == []
    assert boundaries.spelled(["a"], ["…"]) == []


def test_every_word_that_is_found_has_its_letters() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        found, true = (
            ["".join(rng.choice(list("abc"), int(rng.integers(1, 4)))) for _ in range(int(rng.integers(0, 7)))] for _ in "ab"
        )
        told = boundaries.spelled(found, true)
        assert [index for index, *_ in told] == sorted({index for index, *_ in told})
        for index, first, last in told:
            assert "".join(found[first : last + 1]) == true[index]
        assert boundaries.spelled(true, true) == [(at, at, at) for at in range(len(true))]
