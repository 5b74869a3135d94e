"""Does the model agree with a map: what happens to a score when the parts that a map names are hidden, or alone are kept.

Conventions: a sound is cut into S parts; ``relevance`` is (S,) what a map says each part carried, ``base`` the score of the sound
as it is. A **table** of masked runs is ``hidden`` (R, S) bool with the scores (R,) found; it knows nothing of any map, so one table
serves every map of the same sound. Scores that are probabilities are used as shares of the base; all others as differences.

Lower is better of deletion, infidelity, sensitivity and sufficiency; higher of insertion, comprehensiveness and correlation.

**Source:** names and definitions as in Quantus 0.6: Pixel-Flipping (Bach et al. 2015), Faithfulness Correlation (Bhatt et al.
2020), Infidelity and Max-Sensitivity (Yeh et al. 2019), Completeness (Sundararajan et al. 2017), Complexity (Bhatt et al. 2020),
Sparseness (Chalasani et al. 2020). Deletion and insertion as areas: Petsiuk et al. 2018; comprehensiveness and sufficiency: DeYoung
et al. 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
SHARES = (0.1, 0.2, 0.5)  # of the parts that are hidden or kept, DeYoung et al. 2020


def order(relevance: npt.ArrayLike) -> IntArray:
    """Return the parts from the most to the least relevant, (S,); of equals the earlier one first."""
    return np.argsort(-_vector(relevance, "relevance"), kind="stable").astype(np.int64)


def deletions(relevance: npt.ArrayLike, steps: int) -> BoolArray:
    """Return which parts are hidden while the most relevant go first, (steps + 1, S): none at first, all at last."""
    ranks = np.argsort(order(relevance))
    counts = np.round(np.linspace(0, len(ranks), steps + 1)).astype(int)
    return np.asarray(ranks[None] < counts[:, None])


def insertions(relevance: npt.ArrayLike, steps: int) -> BoolArray:
    """Return which parts are hidden while the most relevant come back first, (steps + 1, S): all at first, none at last."""
    return ~deletions(relevance, steps)


def area(shares_hidden: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Return the area under a curve of values at shares of the sound from 0 to 1, by trapezoids.

    Args:
        shares_hidden: (R,) rising from 0 to 1.
        values: (R,), for deletion and insertion the probability as a share of the unmasked sound's.

    Raises:
        ValueError: when the shares do not rise from 0 to 1.
    """
    x, y = _vector(shares_hidden, "shares"), _vector(values, "values")
    if len(x) != len(y) or len(x) < 2 or x[0] != 0 or x[-1] != 1 or (np.diff(x) < 0).any():
        raise ValueError("an area needs values at shares that rise from 0 to 1")
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def top_parts(relevance: npt.ArrayLike, share: float) -> BoolArray:
    """Return the most relevant parts, at least one, (S,) bool.

    Raises:
        ValueError: when the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    ranks = np.argsort(order(relevance))
    return np.asarray(ranks < max(1, round(share * len(ranks))))


def comprehensiveness(base: float, without_top: Sequence[float]) -> float:
    """Return by how much the score falls on average when the most relevant parts are hidden, at each of :data:`SHARES`."""
    return float(np.mean(base - _vector(without_top, "scores")))


def sufficiency(base: float, only_top: Sequence[float]) -> float:
    """Return by how much the score falls on average when only the most relevant parts are kept, at each of :data:`SHARES`."""
    return float(np.mean(base - _vector(only_top, "scores")))


def subsets(parts: int, runs: int, share: float = 0.2, *, seed: int) -> BoolArray:
    """Return random sets of parts to hide, (runs, parts) bool, each of ``share`` of them and at least one.

    Raises:
        ValueError: when there are no parts.
    """
    if parts < 1:
        raise ValueError("there are no parts to hide")
    count = min(parts, max(1, round(share * parts)))
    draws = np.random.default_rng(seed).random((runs, parts))
    return np.asarray(np.argsort(np.argsort(draws, axis=1), axis=1) < count)


def correlation(relevance: npt.ArrayLike, hidden: BoolArray, drops: npt.ArrayLike) -> float | None:
    """Return Pearson's correlation of what a map says is lost with what was lost; None where either does not vary.

    Args:
        relevance: (S,).
        hidden: (R, S).
        drops: (R,) score of the sound as it is minus that with parts hidden.
    """
    said, found = _said(relevance, hidden, drops)
    if said.std() < 1e-12 * max(1.0, np.abs(said).max()) or found.std() < 1e-12 * max(1.0, np.abs(found).max()):
        return None
    return float(np.corrcoef(said, found)[0, 1])


def infidelity(relevance: npt.ArrayLike, hidden: BoolArray, drops: npt.ArrayLike) -> float | None:
    """Return the mean squared difference of what a map says is lost and what was lost, as a share of the mean square of the latter.

    The map is first scaled by the factor that suits it best, as Yeh et al. do, so that units do not matter: 0 is perfect, 1 what a
    map of zeros has. None where nothing was lost at all.
    """
    said, found = _said(relevance, hidden, drops)
    scale, size = float(said @ said), float(found @ found)
    if size <= 0:
        return None
    best = float(said @ found) / scale if scale > 0 else 0.0
    return float(((best * said - found) ** 2).sum() / size)


def completeness(relevance: npt.ArrayLike, change: float) -> float | None:
    """Return how much of a change a map misses, as a share of it; None where there was no change to explain.

    Args:
        relevance: of any shape.
        change: score of the sound as it is minus that of the map's own baseline.
    """
    if change == 0:
        return None
    return float(abs(np.asarray(relevance, np.float64).sum() - change) / abs(change))


def complexity(relevance: npt.ArrayLike) -> float | None:
    """Return the entropy of the shares of absolute relevance over log S: 0 of a single part, 1 of all alike; None of zeros."""
    shares = _shares(relevance)
    if shares is None:
        return None
    if len(shares) == 1:
        return 0.0
    return float(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum() / np.log(len(shares)))


def sparseness(relevance: npt.ArrayLike) -> float | None:
    """Return the Gini index of absolute relevance: 0 where all parts are alike, near 1 for a single one; None of a map of zeros."""
    shares = _shares(relevance)
    if shares is None:
        return None
    ranked, count = np.sort(shares), len(shares)
    return float(1 - 2 * (ranked * (count - np.arange(1, count + 1) + 0.5)).sum() / count)


def sensitivity(plain: npt.ArrayLike, disturbed: npt.ArrayLike) -> float | None:
    """Return the largest change of a map under faint disturbances, as a share of its norm; None of a map of zeros.

    Args:
        plain: (...) the map.
        disturbed: (n, ...) maps of the disturbed sound.
    """
    one, others = np.asarray(plain, np.float64), np.asarray(disturbed, np.float64)
    size = float(np.linalg.norm(one))
    return float(max(np.linalg.norm(other - one) for other in others) / size) if size > 0 and len(others) else None


def rank_agreement(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """Return Spearman's correlation of two maps of one grid; None where one of them does not vary."""
    from scipy.stats import rankdata

    one, other = (rankdata(_vector(np.ravel(np.asarray(values, np.float64)), "map")) for values in (first, second))
    if len(one) != len(other):
        raise ValueError(f"two maps to be compared must have one grid, got {len(one)} and {len(other)} cells")
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _said(relevance: npt.ArrayLike, hidden: BoolArray, drops: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    values, found = _vector(relevance, "relevance"), _vector(drops, "drops")
    if hidden.shape != (len(found), len(values)):
        raise ValueError(f"hidden must be ({len(found)}, {len(values)}): runs by parts, got {hidden.shape}")
    return hidden @ values, found


def _shares(relevance: npt.ArrayLike) -> Float64Array | None:
    sizes = np.abs(np.ravel(np.asarray(relevance, np.float64)))
    return sizes / sizes.sum() if sizes.sum() > 0 else None


def _vector(values: npt.ArrayLike, name: str) -> Float64Array:
    """Return values as (n,) float64.

    Raises:
        ValueError: when they have another shape, or are not finite.
    """
    result = np.asarray(values, np.float64)
    if result.ndim != 1 or not len(result) or not np.isfinite(result).all():
        raise ValueError(f"{name} must be one row of finite numbers, got shape {result.shape}")
    return result
