"""How sure a frame of posteriors is, by how much a label won, and what nearly won.

Conventions: ``log_probs`` is (N, V) float32, log posteriors in nats (log-softmax over the V labels), one row a frame. Confidences
are shares from 0 (all labels equally likely) to 1 (one label has everything). Differences are in nats; within one frame they are
those of the logits. SenseVoice's prompt rows are rows like any other here: leave them out where frames of sound are meant.

**Source:** Laptev and Ginsburg 2022, "Fast Entropy-Based Methods of Word-Level Confidence Estimation for End-To-End Automatic
Speech Recognition" (arXiv 2212.08703), and its code in NVIDIA NeMo, ``asr_confidence_utils.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, OptionError, frozen

Pooling = Literal["min", "mean", "product"]
_POOLS: dict[str, Callable[[npt.NDArray[np.float64]], Any]] = {"min": np.min, "mean": np.mean, "product": np.prod}
_ROUNDING = 1e-3  # a log-softmax in float32 may end a little above 0
_BLOCK = 64  # rows at a time: float64 copies of 25055 labels stay within 13 MB


class Margin(NamedTuple):
    """By how much a label leads at one frame; below 0 where it does not lead.

    Attributes:
        with_blank: nats ahead of the likeliest other label, the blank among them.
        without_blank: nats ahead of the likeliest other token, the blank left out.
        rival: the likeliest other label.
        rival_token: the likeliest other token.
    """

    with_blank: float
    without_blank: float
    rival: int
    rival_token: int


class Silent(NamedTuple):
    """A token that the blank only just kept from being written: a likely deletion.

    Attributes:
        token: its id.
        first: first row.
        stop: row after the last.
        peak: the row where it is likeliest.
        log_prob: its log posterior there, nats.
    """

    token: int
    first: int
    stop: int
    peak: int
    log_prob: float


def max_probability(log_probs: npt.ArrayLike) -> FloatArray:
    """Return the probability of the likeliest label, scaled so that chance is 0: (p_max V - 1) / (V - 1).

    Args:
        log_probs: (N, V) float32, nats.

    Returns:
        (N,) float32, 0 to 1.

    Raises:
        ValueError: when the array is not (N, V) log posteriors of at least two labels.

    **Source:** Laptev and Ginsburg 2022; NeMo's ``max_prob``.
    """
    values = _posteriors(log_probs)
    labels = values.shape[1]
    return _share((np.exp(values.max(axis=1).astype(np.float64)) * labels - 1) / (labels - 1))


def entropy(log_probs: npt.ArrayLike) -> FloatArray:
    """Return one minus the share of the greatest possible entropy: 1 - H / ln V, with H = -sum p ln p.

    Args:
        log_probs: (N, V) float32, nats.

    Returns:
        (N,) float32, 0 to 1.

    Raises:
        ValueError: when the array is not (N, V) log posteriors of at least two labels.

    **Source:** Laptev and Ginsburg 2022; NeMo's ``entropy_gibbs_lin``.
    """
    values = _posteriors(log_probs)
    return _share(1 - _by_blocks(values, _shannon) / math.log(values.shape[1]))


def tsallis(log_probs: npt.ArrayLike, alpha: float = 1 / 3, best: int | None = 50) -> FloatArray:
    """Return the confidence from Tsallis entropy with exponential normalisation.

    c = (exp(A) - exp(E)) / (1 - exp(E)), with A = (1 - sum p^alpha) / (1 - alpha) and E = (1 - V^(1 - alpha)) / (1 - alpha), the
    least that A can be. It is computed as exp(A) expm1(E - A) / expm1(E), which neither cancels where V is small nor fails where
    exp(E) underflows (V = 25055: E = -1283).

    With alpha = 1/3 a tail of thousands of labels outweighs the winner: at V = 25055, a winner of 0.99 and a flat tail
    of 4e-7 each give sum p^alpha = 185 and c = 7e-121, which is of no use. So by default only the 50 likeliest labels count,
    renormalised to 1, with V = 50 in the formula: the same frame then has c = 0.58. That keeps every label that could compete. The
    values are no probabilities in either form: calibrate them (``voxray.measures.calibration``) before reading them as such.

    Args:
        log_probs: (N, V) float32, nats.
        alpha: order of the entropy, above 0 and not 1; lower looks further down the list. The paper's 1/3, which NeMo
            rounds to 0.33.
        best: how many of the likeliest labels count, at least 2; None for all, as NeMo does it.

    Returns:
        (N,) float32, 0 to 1.

    Raises:
        OptionError: when alpha or best is outside its range.
        ValueError: when the array is not (N, V) log posteriors of at least two labels.

    **Source:** Laptev and Ginsburg 2022; NeMo's ``entropy_tsallis_exp``. The restriction to the likeliest is ours.
    """
    if not 0 < alpha < math.inf or alpha == 1:
        raise OptionError(f"alpha must be above 0 and not 1, got {alpha}; 1/3 is usual")
    if best is not None and best < 2:
        raise OptionError(f"best must be at least 2 labels, got {best}; give None for all")
    values = _posteriors(log_probs)
    labels = values.shape[1] if best is None else min(best, values.shape[1])
    least = (1 - labels ** (1 - alpha)) / (1 - alpha)

    def order(rows: FloatArray) -> npt.NDArray[np.float64]:
        kept = _likeliest(rows, labels)
        return np.asarray((1 - np.exp(alpha * kept).sum(axis=1)) / (1 - alpha), np.float64)

    found = _by_blocks(values, order)
    return _share(np.exp(found) * np.expm1(least - found) / math.expm1(least))


def word(confidences: npt.ArrayLike, how: Pooling = "min") -> float:
    """Return the confidence of a word from those of its tokens, blanks and punctuation left out by the caller.

    Args:
        confidences: (K,) of its tokens, 0 to 1; at least one.
        how: ``min`` (the weakest token decides; NeMo's default), ``mean``, or ``product`` (falls with the word's length).

    Raises:
        OptionError: when there is no such way.
        ValueError: when there is no token, or the array has more than one axis.
    """
    values = frozen(confidences, np.float64, "K", "confidences")
    if how not in _POOLS:
        raise OptionError(f"there is no way {how!r} to join confidences; choose one of {', '.join(_POOLS)}")
    if not len(values):
        raise ValueError("a word's confidence needs at least one token, got none")
    return float(_POOLS[how](values))


def margin(row: npt.ArrayLike, token: int, blank: int = 0) -> Margin:
    """Return by how much a label leads its runner-up at one frame, with and without the blank among the rivals.

    Args:
        row: (V,) float32, log posteriors or logits of one frame, nats.
        token: the label whose lead is asked for, the blank too.
        blank: id of the blank.

    Returns:
        The margins in nats and who the rivals are; of equal rivals, the one with the lowest id.

    Raises:
        OptionError: when the row has no such label.
        ValueError: when the row is not one axis of at least three labels.
    """
    values = frozen(row, np.float32, "V", "row")
    if len(values) < 3:
        raise ValueError(f"a margin needs at least 3 labels (one, the blank, a rival), got {len(values)}")
    for label in (token, blank):
        _check_label(label, len(values))
    others = np.arange(len(values))
    rival, rival_token = (
        int(kept[values[kept].argmax()]) for kept in (np.delete(others, token), np.delete(others, [token, blank]))
    )
    own = float(values[token])
    return Margin(own - float(values[rival]), own - float(values[rival_token]), rival, rival_token)


def blank_dominance(log_probs: npt.ArrayLike, peak: int, *, blank: int = 0, reach: int = 2) -> FloatArray:
    """Return how far the blank is ahead of the best token around an emission: log p(blank) - log p(best token).

    Below 0 the token is written, above 0 the blank hides it. The least value says how near the token came to being deleted; how
    many values are below 0, how many frames it holds.

    Args:
        log_probs: (N, V) float32, nats, frames of sound only.
        peak: the row of the emission.
        blank: id of the blank.
        reach: rows to each side.

    Returns:
        (K,) float32, nats, for the rows ``peak - reach`` to ``peak + reach`` that exist.

    Raises:
        OptionError: when the row or the blank does not exist or reach is negative.
        ValueError: when the array is not (N, V) log posteriors of at least two labels.
    """
    values = _posteriors(log_probs)
    _check_label(blank, values.shape[1])
    if not 0 <= peak < len(values):
        raise OptionError(f"row {peak} does not exist: there are {len(values)} rows")
    if reach < 0:
        raise OptionError(f"reach must be 0 rows or more, got {reach}")
    rows = values[max(peak - reach, 0) : peak + reach + 1]
    tokens = _best_token(rows, blank)
    return np.asarray(rows[:, blank] - rows[np.arange(len(rows)), tokens], np.float32)


def silent_candidates(log_probs: npt.ArrayLike, blank: int = 0, threshold: float = -3.0) -> list[Silent]:
    """Find the tokens that the blank only just hides: where words may have been left out.

    A frame counts where the blank wins and the best other token is above the threshold. Neighbours with the same token make one
    run. A run that touches a frame which writes that same token is left out: it is the flank of that emission, and CTC would merge
    the two, so nothing is missing there.

    Args:
        log_probs: (N, V) float32, nats, frames of sound only.
        blank: id of the blank.
        threshold: nats that the token must be above; -3 is a posterior of 5 %.

    Returns:
        The runs in order of time.

    Raises:
        OptionError: when the blank does not exist.
        ValueError: when the array is not (N, V) log posteriors of at least two labels.

    **Source:** own definition; the threshold is a convention.
    """
    values = _posteriors(log_probs)
    _check_label(blank, values.shape[1])
    tokens = _best_token(values, blank)
    scores = values[np.arange(len(values)), tokens]
    written = values.argmax(axis=1) != blank
    silent = ~written & (scores > threshold)
    # One path of written and hidden tokens: its runs are what CTC would merge.
    path = np.where(written | silent, tokens, -1)
    edges = np.flatnonzero(np.diff(path)) + 1
    found = []
    for rows in np.split(np.arange(len(path)), edges):
        if len(rows) and silent[rows].all():
            peak = int(rows[scores[rows].argmax()])
            found.append(Silent(int(tokens[peak]), int(rows[0]), int(rows[-1]) + 1, peak, float(scores[peak])))
    return found


def _posteriors(log_probs: npt.ArrayLike) -> FloatArray:
    """Return log posteriors after a check that they are some: two axes, two labels, nothing above 0, no NaN."""
    values: FloatArray = frozen(log_probs, np.float32, "N V", "log_probs")
    if values.shape[1] < 2:
        raise ValueError(f"log_probs must have at least 2 labels, got the shape {values.shape}")
    top = float(values.max()) if len(values) else 0.0
    if not top <= _ROUNDING:
        raise ValueError(f"log_probs must be log posteriors, at most 0 nats, got {top:.3g}; take the log-softmax first")
    return values


def _by_blocks(values: FloatArray, measure: Callable[[FloatArray], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return one number a row, computed some rows at a time so that float64 copies of long sounds stay small."""
    blocks = [measure(values[first : first + _BLOCK]) for first in range(0, len(values), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _shannon(rows: FloatArray) -> npt.NDArray[np.float64]:
    """Return the entropy of each row in nats; a label without probability adds nothing."""
    probabilities = np.exp(rows.astype(np.float64))
    return np.asarray(-np.multiply(probabilities, rows, out=probabilities, where=probabilities > 0).sum(axis=1), np.float64)


def _likeliest(rows: FloatArray, count: int) -> npt.NDArray[np.float64]:
    """Return the log posteriors of each row's likeliest labels, renormalised where some are left out."""
    if count == rows.shape[1]:
        return np.asarray(rows, np.float64)
    kept = np.asarray(np.partition(rows, -count, axis=1)[:, -count:], np.float64)
    return np.asarray(kept - np.logaddexp.reduce(kept, axis=1, keepdims=True), np.float64)


def _best_token(values: FloatArray, blank: int) -> npt.NDArray[np.int64]:
    """Return the likeliest label of each row that is not the blank."""

    def without(rows: FloatArray) -> npt.NDArray[Any]:
        return np.asarray(np.delete(rows, blank, axis=1).argmax(axis=1), np.int64)

    found = np.asarray(_by_blocks(values, without), np.int64)
    return np.asarray(found + (found >= blank), np.int64)


def _check_label(label: int, labels: int) -> None:
    """Refuse a label that does not exist."""
    if not 0 <= label < labels:
        raise OptionError(f"label {label} does not exist: there are {labels} labels, 0 to {labels - 1}")


def _share(values: npt.NDArray[np.float64]) -> FloatArray:
    """Return confidences with the rounding beyond 0 and 1 cut off."""
    return np.asarray(np.clip(values, 0.0, 1.0), np.float32)
