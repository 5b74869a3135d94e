"""Does the model agree with a map: linear models, for which the right map is known, and plain twins."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.measures import faithfulness

RELEVANCE = np.array([0.5, 3.0, -1.0, 2.0, 0.0])


def linear(hidden: np.ndarray) -> np.ndarray:
    """The score of a model that adds up its parts."""
    return (~hidden * RELEVANCE).sum(axis=-1)


def test_parts_go_from_the_most_relevant_on() -> None:
    assert faithfulness.order(RELEVANCE).tolist() == [1, 3, 0, 4, 2]
    assert faithfulness.deletions(RELEVANCE, 5).sum(axis=1).tolist() == [0, 1, 2, 3, 4, 5]
    assert faithfulness.deletions(RELEVANCE, 5)[2].tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(faithfulness.insertions(RELEVANCE, 5), ~faithfulness.deletions(RELEVANCE, 5))


def test_areas() -> None:
    assert faithfulness.area([0, 0.5, 1], [1, 0, 0]) == pytest.approx(0.25)
    assert faithfulness.area(np.linspace(0, 1, 21), np.linspace(1, 0, 21)) == pytest.approx(0.5)
    steps = faithfulness.deletions(RELEVANCE, 5)
    best = faithfulness.area(np.linspace(0, 1, 6), linear(steps))
    others = [
        faithfulness.area(np.linspace(0, 1, 6), linear(faithfulness.deletions(row, 5)))
        for row in np.random.default_rng(0).random((50, 5))
    ]
    assert best <= min(others)
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        faithfulness.area([0, 0.5], [1, 0])


def test_top_parts_and_what_they_are_worth() -> None:
    assert faithfulness.top_parts(RELEVANCE, 0.4).tolist() == [False, True, False, True, False]
    assert faithfulness.top_parts(RELEVANCE, 0.01).sum() == 1
    base = float(RELEVANCE.sum())
    tops = [faithfulness.top_parts(RELEVANCE, share) for share in faithfulness.SHARES]
    assert faithfulness.comprehensiveness(base, [float(linear(top)) for top in tops]) == pytest.approx(np.mean([3, 3, 5]))
    assert faithfulness.sufficiency(base, [float(linear(~top)) for top in tops]) == pytest.approx(base - np.mean([3, 3, 5]))
    with pytest.raises(ValueError, match="share must be above 0"):
        faithfulness.top_parts(RELEVANCE, 0)


def test_one_table_serves_every_map() -> None:
    hidden = faithfulness.subsets(5, 100, 0.4, seed=1)
    assert (hidden.sum(axis=1) == 2).all()
    np.testing.assert_array_equal(hidden, faithfulness.subsets(5, 100, 0.4, seed=1))
    assert len({tuple(row) for row in hidden.tolist()}) == 10  # all pairs of five come up
    drops = RELEVANCE.sum() - linear(hidden)
    assert faithfulness.correlation(RELEVANCE, hidden, drops) == pytest.approx(1.0)
    assert faithfulness.correlation(-7 * RELEVANCE, hidden, drops) == pytest.approx(-1.0)
    assert faithfulness.correlation(np.ones(5), hidden, drops) is None  # two parts always, so it says the same of all
    assert faithfulness.infidelity(RELEVANCE, hidden, drops) == pytest.approx(0.0, abs=1e-12)
    assert faithfulness.infidelity(100 * RELEVANCE, hidden, drops) == pytest.approx(0.0, abs=1e-12)
    assert faithfulness.infidelity(np.zeros(5), hidden, drops) == 1.0
    assert faithfulness.infidelity(RELEVANCE, hidden, np.zeros(100)) is None


def test_against_plain_twins() -> None:
    rng = np.random.default_rng(5)
    relevance, hidden = rng.normal(size=9), faithfulness.subsets(9, 40, 0.2, seed=2)
    drops = rng.normal(size=40)
    said = np.array([sum(value for value, gone in zip(relevance, row, strict=True) if gone) for row in hidden])
    mean, other = said.mean(), drops.mean()
    pearson = ((said - mean) * (drops - other)).sum() / np.sqrt(((said - mean) ** 2).sum() * ((drops - other) ** 2).sum())
    assert faithfulness.correlation(relevance, hidden, drops) == pytest.approx(pearson)
    losses = [((beta * said - drops) ** 2).sum() / (drops**2).sum() for beta in np.linspace(-3, 3, 60001)]
    assert faithfulness.infidelity(relevance, hidden, drops) == pytest.approx(min(losses), abs=1e-6)


def test_completeness() -> None:
    assert faithfulness.completeness(RELEVANCE, 4.5) == pytest.approx(0.0)
    assert faithfulness.completeness(RELEVANCE, 5.0) == pytest.approx(0.1)
    assert faithfulness.completeness(RELEVANCE, 0.0) is None


def test_complexity_and_sparseness() -> None:
    assert faithfulness.complexity([0, 0, 9, 0]) == pytest.approx(0.0)
    assert faithfulness.complexity([1, -1, 1, 1]) == pytest.approx(1.0)
    assert faithfulness.complexity([0, 0]) is None
    assert faithfulness.sparseness([2, 2, -2, 2]) == pytest.approx(0.0)
    assert faithfulness.sparseness([0, 0, 0, 5]) == pytest.approx(0.75)  # 1 - 1 / n of n parts
    shares = np.abs(RELEVANCE) / np.abs(RELEVANCE).sum()
    pairs = np.abs(shares[:, None] - shares[None]).sum() / (2 * len(shares) ** 2 * shares.mean())
    assert faithfulness.sparseness(RELEVANCE) == pytest.approx(pairs)


def test_sensitivity() -> None:
    plain = np.array([[3.0, 4.0]])
    assert faithfulness.sensitivity(plain, np.stack([plain, plain + np.array([0.0, 1.0]), plain * 2])) == pytest.approx(1.0)
    assert faithfulness.sensitivity(plain, plain[None]) == 0.0
    assert faithfulness.sensitivity(np.zeros(3), np.ones((1, 3))) is None


def test_rank_agreement_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 5, 30).astype(float), rng.integers(0, 5, 30).astype(float)
    assert faithfulness.rank_agreement(one, two) == pytest.approx(float(spearmanr(one, two).statistic))
    assert faithfulness.rank_agreement(one, np.exp(one)) == pytest.approx(1.0)
    assert faithfulness.rank_agreement(one, np.ones(30)) is None
    with pytest.raises(ValueError, match="must have one grid, got 30 and 29 cells"):
        faithfulness.rank_agreement(one, two[1:])


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"hidden must be \(3, 5\)"):
        faithfulness.correlation(RELEVANCE, np.zeros((3, 4), bool), np.zeros(3))
    with pytest.raises(ValueError, match="relevance must be one row of finite numbers"):
        faithfulness.order([1, np.nan])
