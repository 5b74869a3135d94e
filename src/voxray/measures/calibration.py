"""Turn raw confidences into probabilities of being right, and say how good confidences are.

Conventions: ``confidences`` is (n,) of words, 0 to 1; ``right`` is (n,) booleans, whether each word is the reference's. What cannot
be known from the words at hand (no words; nothing wrong, so nothing to find) is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import OptionError, frozen

Float64Array = npt.NDArray[np.float64]
_ROUNDING = 1e-6  # exp of a float32 log posterior may end a little above 1
_SUREST = 1e-6  # a word called certain but wrong costs 20 bits, not infinitely many


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising line from raw confidence to the probability of being right.

    Attributes:
        knots: (raw confidence, probability) pairs, both rising; between them the line is straight, outside it is flat.
        words: how many words it was fitted on.
    """

    knots: tuple[tuple[float, float], ...]
    words: int

    def __post_init__(self) -> None:
        """Check the knots, since they may come from a file.

        Raises:
            OptionError: when they are no rising line of probabilities.
        """
        try:
            knots = frozen(self.knots, np.float64, "K two", "Calibration.knots")
        except (TypeError, ValueError) as problem:
            raise OptionError(f"a calibration's knots must be pairs of numbers, got {self.knots!r}") from problem
        if not len(knots) or knots.shape[1] != 2 or not np.isfinite(knots).all():
            raise OptionError(f"a calibration's knots must be pairs of numbers, at least one, got {self.knots!r}")
        steps = np.diff(knots, axis=0)
        if (steps[:, 0] <= 0).any() or (steps[:, 1] < 0).any() or knots[0, 1] < 0 or knots[-1, 1] > 1:
            raise OptionError(f"a calibration must rise from 0 to 1 at the most, got the knots {self.knots!r}")
        if isinstance(self.words, bool) or not isinstance(self.words, int) or self.words < 1:
            raise OptionError(f"a calibration's words must be a whole number above 0, got {self.words!r}")
        object.__setattr__(self, "knots", tuple((float(raw), float(share)) for raw, share in knots))

    def apply(self, confidences: npt.ArrayLike) -> Float64Array:
        """Return the probability of being right for raw confidences of any shape, as float64 of the same shape."""
        raw, share = zip(*self.knots, strict=True)
        return np.asarray(np.interp(np.asarray(confidences, np.float64), raw, share), np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; ``from_dict`` gives the same calibration back, bit for bit."""
        return {"knots": [list(knot) for knot in self.knots], "words": self.words}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return the calibration that ``to_dict`` wrote.

        Raises:
            OptionError: when something is missing or is no rising line of probabilities.
        """
        missing = [name for name in ("knots", "words") if name not in values]
        if missing:
            raise OptionError(f"a calibration needs 'knots' and 'words', {missing[0]!r} is missing; fit it again")
        return cls(values["knots"], values["words"])


@dataclass(frozen=True, slots=True)
class Bin:
    """Words of about the same confidence.

    Attributes:
        low: least confidence, included.
        high: greatest confidence, included in the last bin only.
        words: how many.
        confidence: their mean confidence; None without words.
        right: the share of them that is right; None without words.
    """

    low: float
    high: float
    words: int
    confidence: float | None
    right: float | None


def fit(confidences: npt.ArrayLike, right: npt.ArrayLike) -> Calibration | None:
    """Fit the rising line that is nearest to what was right, by isotonic regression; equal confidences count as one point.

    The line has exact zeros and ones where the words at hand leave no doubt (the lowest all wrong, the highest all right): on few
    words that says too much, so judge a calibration on words it was not fitted on. All right or all wrong gives a flat line at
    1 or 0; constant confidences a flat line at the share that is right.

    Args:
        confidences: (n,) raw, any finite numbers.
        right: (n,) booleans.

    Returns:
        The calibration; None for fewer than 2 words.

    Raises:
        ValueError: when the shapes differ, a confidence is not finite or ``right`` holds anything but 0 and 1.

    **Source:** Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates";
    pooling of adjacent violators as in ``scipy.optimize.isotonic_regression``.
    """
    from scipy.optimize import isotonic_regression

    values, truth = _words(confidences, right)
    if len(values) < 2:
        return None
    raw, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=truth) / counts
    found = isotonic_regression(shares, weights=counts.astype(np.float64))
    # A block of equal values needs its two ends only.
    ends = np.unique(np.concatenate([found.blocks[:-1], found.blocks[1:] - 1]))
    levels = np.clip(np.maximum.accumulate(found.x), 0.0, 1.0)
    return Calibration(tuple(zip(raw[ends].tolist(), levels[ends].tolist(), strict=True)), len(values))


def reliability(confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> tuple[Bin, ...]:
    """Return the table behind a reliability diagram: equal bins of confidence with what they promise and what they keep.

    Args:
        confidences: (n,), 0 to 1.
        right: (n,) booleans.
        bins: how many, of equal width.

    Returns:
        One entry for each bin, empty ones too, lowest first.

    Raises:
        OptionError: when there is no bin.
        ValueError: when the shapes differ or a value is out of range.
    """
    if bins < 1:
        raise OptionError(f"a reliability table needs at least 1 bin, got {bins}")
    values, truth = _probabilities(confidences, right)
    edges = np.arange(bins + 1) / bins  # exactly the numbers 0.1, 0.2, ..., which linspace misses
    place = np.minimum(np.searchsorted(edges, values, side="right") - 1, bins - 1)
    words = np.bincount(place, minlength=bins)
    promised, kept = (np.bincount(place, weights=one, minlength=bins) for one in (values, truth))
    return tuple(
        Bin(float(low), float(high), int(n), float(told) / int(n) if n else None, float(true) / int(n) if n else None)
        for low, high, n, told, true in zip(edges[:-1], edges[1:], words, promised, kept, strict=True)
    )


def expected_calibration_error(confidences: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> float | None:
    """Return how far confidence is from the share that is right, on average over words: sum_b n_b / n |right_b - confidence_b|.

    Args:
        confidences: (n,), 0 to 1.
        right: (n,) booleans.
        bins: of equal width; the value depends on them.

    Returns:
        0 (perfect) to 1; None without words.

    Raises:
        OptionError: when there is no bin.
        ValueError: when the shapes differ or a value is out of range.

    **Source:** Guo et al. 2017, "On Calibration of Modern Neural Networks"; bins closed below, where theirs are
    closed above.
    """
    table = reliability(confidences, right, bins)
    words = sum(one.words for one in table)
    gaps = (one.words * abs(one.right - one.confidence) for one in table if one.right is not None and one.confidence is not None)
    return sum(gaps) / words if words else None


def normalised_cross_entropy(confidences: npt.ArrayLike, right: npt.ArrayLike) -> float | None:
    """Return how many of the bits of doubt about the words the confidences take away.

    NCE = (H_max + sum_right log2 c + sum_wrong log2(1 - c)) / H_max, with H_max = -n log2 q - (N - n) log2(1 - q), q = n / N, of N
    words with n right.

    Args:
        confidences: (N,), 0 to 1; 1e-6 is the nearest that they count to 0 and 1, so that one word called certain costs at
            most 20 bits (our choice; the formula has no limit).
        right: (N,) booleans.

    Returns:
        At most 1 (knows every error); 0 is as good as giving every word the share q, below 0 is worse than that. None where all
        or no words are right, since there is then no doubt to take away.

    Raises:
        ValueError: when the shapes differ or a value is out of range.

    **Source:** Siu, Gish and Richardson 1997, "Improved estimation, evaluation and applications of confidence measures for speech
    recognition"; used by NIST's sclite as NCE.
    """
    values, truth = _probabilities(confidences, right)
    words, good = len(truth), float(truth.sum())
    if good in (0, words):
        return None
    share = good / words
    greatest = -good * np.log2(share) - (words - good) * np.log2(1 - share)
    kept = np.clip(values, _SUREST, 1 - _SUREST)
    return float((greatest + np.log2(np.where(truth == 1, kept, 1 - kept)).sum()) / greatest)


def roc_auc(confidences: npt.ArrayLike, right: npt.ArrayLike) -> float | None:
    """Return how well low confidence finds wrong words: the area under the curve of the receiver's operating characteristic.

    It is the probability that a wrong word, drawn at random, has a lower confidence than a right one; ties count half. It asks
    for the order only, so calibration leaves it as it is (but for the ties that flat stretches make).

    Args:
        confidences: (n,), any finite numbers.
        right: (n,) booleans.

    Returns:
        1 finds every error first, 0.5 is chance (and what constant confidences get); None where all or no words are right.

    Raises:
        ValueError: when the shapes differ, a confidence is not finite or ``right`` holds anything but 0 and 1.

    **Source:** Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC) curve";
    by the rank sum of Mann and Whitney 1947.
    """
    values, truth = _words(confidences, right)
    good = int(truth.sum())
    wrong = len(truth) - good
    if not good or not wrong:
        return None
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[truth == 1].sum() - good * (good + 1) / 2) / (good * wrong))


def brier(confidences: npt.ArrayLike, right: npt.ArrayLike) -> float | None:
    """Return the mean squared difference of confidence and what was right.

    Args:
        confidences: (n,), 0 to 1.
        right: (n,) booleans.

    Returns:
        0 (perfect) to 1; None without words.

    Raises:
        ValueError: when the shapes differ or a value is out of range.

    **Source:** Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    values, truth = _probabilities(confidences, right)
    return float(np.mean((values - truth) ** 2)) if len(values) else None


def _words(confidences: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return confidences and 0 or 1 for each word after checking both."""
    values = frozen(confidences, np.float64, "n", "confidences")
    truth = frozen(right, np.float64, "n", "right")
    if len(values) != len(truth):
        raise ValueError(f"confidences and right must be of equal length, got {len(values)} and {len(truth)}")
    if not np.isfinite(values).all():
        raise ValueError("confidences must be finite numbers, got one that is not; leave such words out")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("right must hold True or False for each word, got something else")
    return values, truth


def _probabilities(confidences: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return the same where confidences must be from 0 to 1, with rounding beyond that cut off."""
    values, truth = _words(confidences, right)
    outside = values[(values < -_ROUNDING) | (values > 1 + _ROUNDING)]
    if len(outside):
        raise ValueError(f"confidences must be from 0 to 1, got {outside[0]}")
    return np.clip(values, 0.0, 1.0), truth
