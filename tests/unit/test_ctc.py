"""CTC against brute force over every path, against plain twins, and against FunASR's own aligner."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxray import ctc

Paths = dict[tuple[int, ...], list[tuple[int, ...]]]


@cache
def paths_of(frames: int, labels: int, blank: int) -> Paths:
    """Every path of some length, by the tokens that it collapses to."""
    found: Paths = {}
    for path in itertools.product(range(labels), repeat=frames):
        ids = tuple(label for label, _ in itertools.groupby(path) if label != blank)
        found.setdefault(ids, []).append(path)
    return found


def score(log_probs: np.ndarray, path: tuple[int, ...]) -> float:
    return math.fsum(float(log_probs[frame, label]) for frame, label in enumerate(path))


def emitters(path: tuple[int, ...], blank: int) -> list[list[int]]:
    """The frames that emit the first, second, ... token of a path."""
    groups = itertools.groupby(range(len(path)), key=lambda frame: path[frame])
    return [list(frames) for label, frames in groups if label != blank]


def plain_log_softmax(row: np.ndarray) -> list[float]:
    top = max(map(float, row))
    total = math.log(math.fsum(math.exp(float(one) - top) for one in row))
    return [float(one) - top - total for one in row]


@st.composite
def posteriors(draw: st.DrawFn, most_frames: int = 6) -> tuple[np.ndarray, int]:
    """Log-probabilities of up to 6 frames over up to 4 labels, and the id of the blank."""
    shape = draw(st.tuples(st.integers(1, most_frames), st.integers(2, 4)))
    logits = draw(hnp.arrays(np.float32, shape, elements=st.floats(-9, 9, width=32)))
    return ctc.log_softmax(logits), draw(st.sampled_from([0, shape[1] - 1]))


@st.composite
def posteriors_and_tokens(draw: st.DrawFn) -> tuple[np.ndarray, int, tuple[int, ...]]:
    log_probs, blank = draw(posteriors())
    others = [label for label in range(log_probs.shape[1]) if label != blank]
    return log_probs, blank, tuple(draw(st.lists(st.sampled_from(others), max_size=3)))


@settings(max_examples=150, deadline=None)
@given(case=posteriors_and_tokens())
def test_sums_and_best_paths_agree_with_brute_force(case: tuple[np.ndarray, int, tuple[int, ...]]) -> None:
    log_probs, blank, ids = case
    frames, labels = log_probs.shape
    paths = paths_of(frames, labels, blank).get(ids, [])
    if not paths:
        for function in (ctc.log_likelihood, ctc.forced_alignment, ctc.occupancy):
            with pytest.raises(ValueError, match=rf"^{frames} frames cannot emit {len(ids)} tokens"):
                function(log_probs, ids, blank)
        return
    scores = [score(log_probs, path) for path in paths]
    likelihood = math.fsum(map(math.exp, scores))
    assert ctc.log_likelihood(log_probs, ids, blank) == pytest.approx(math.log(likelihood), abs=1e-9)
    best = tuple(ctc.forced_alignment(log_probs, ids, blank).tolist())
    assert best in paths
    assert score(log_probs, best) == pytest.approx(max(scores), abs=1e-9)
    expected = np.zeros((len(ids), frames))
    for path, value in zip(paths, scores, strict=True):
        for token, emitting in enumerate(emitters(path, blank)):
            expected[token, emitting] += math.exp(value) / likelihood
    occupancy = ctc.occupancy(log_probs, ids, blank)
    assert occupancy.shape == (len(ids), frames)
    assert occupancy.dtype == np.float32
    np.testing.assert_allclose(occupancy, expected, atol=2e-6)
    assert np.all(occupancy.sum(axis=0) <= 1 + 1e-5)


@settings(max_examples=150, deadline=None)
@given(case=posteriors(most_frames=6))
def test_every_text_together_has_probability_one(case: tuple[np.ndarray, int]) -> None:
    log_probs, blank = case
    texts = paths_of(*log_probs.shape, blank)
    assume(len(texts) < 300)
    assert math.fsum(math.exp(ctc.log_likelihood(log_probs, ids, blank)) for ids in texts) == pytest.approx(1, abs=1e-4)


@settings(max_examples=200, deadline=None)
@given(
    path=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    lead=st.floats(0.001, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_greedy_tokens_align_to_the_greedy_path(path: list[int], lead: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (len(path), 6)).astype(np.float32)
    logits[range(len(path)), path] = logits.max(axis=1) + lead
    ids = [run.id for run in ctc.runs(logits.argmax(axis=1))]
    np.testing.assert_array_equal(ctc.forced_alignment(ctc.log_softmax(logits), ids), path)


def test_repeated_tokens_need_a_blank_between_them() -> None:
    log_probs = ctc.log_softmax(np.array([[0, 5, 0], [0, 5, 1], [1, 5, 0]], np.float32))
    assert ctc.forced_alignment(log_probs, [1, 1]).tolist() == [1, 0, 1]
    np.testing.assert_allclose(ctc.occupancy(log_probs, [1, 1]), [[1, 0, 0], [0, 0, 1]], atol=1e-6)
    with pytest.raises(ValueError, match="3 frames cannot emit 3 tokens with 2 repeats"):
        ctc.forced_alignment(log_probs, [1, 1, 1])


def test_an_empty_text_is_all_blank() -> None:
    log_probs = ctc.log_softmax(np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32))
    assert ctc.forced_alignment(log_probs, []).tolist() == [0] * 7
    assert ctc.log_likelihood(log_probs, []) == pytest.approx(float(log_probs[:, 0].sum(dtype=np.float64)))
    assert ctc.occupancy(log_probs, []).shape == (0, 7)


def test_no_frames_emit_nothing() -> None:
    assert ctc.runs([]) == []
    with pytest.raises(ValueError, match="0 frames cannot emit 1 tokens"):
        ctc.occupancy(np.zeros((0, 3), np.float32), [1])


def test_labels_that_cannot_be_take_no_part() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[0.5, 0.5, 0.0], [0.3, 0.0, 0.7], [0.2, 0.3, 0.5]], np.float32))
    # Paths of (1, 2): 1 2 2, 1 2 0, 1 0 2, 0 1 2 (impossible) and 1 1 2 (impossible).
    weights = {(1, 2, 2): 0.5 * 0.7 * 0.5, (1, 2, 0): 0.5 * 0.7 * 0.2, (1, 0, 2): 0.5 * 0.3 * 0.5}
    total = sum(weights.values())
    second = [0, (weights[1, 2, 2] + weights[1, 2, 0]) / total, (weights[1, 2, 2] + weights[1, 0, 2]) / total]
    np.testing.assert_allclose(ctc.occupancy(log_probs, [1, 2]), [[1, 0, 0], second], atol=1e-6)
    assert ctc.log_likelihood(log_probs, [1, 2]) == pytest.approx(math.log(total), abs=1e-6)
    with pytest.raises(ValueError, match="no path through these 3 frames emits the 3 tokens"):
        ctc.occupancy(log_probs, [2, 1, 2])


def slow_log_likelihood(log_probs: np.ndarray, ids: list[int]) -> float:
    """Forward sums, one state at a time."""

    def add(values: list[float]) -> float:
        top = max(values)
        return top if top == -math.inf else top + math.log(math.fsum(math.exp(one - top) for one in values))

    labels = [0, *itertools.chain.from_iterable((one, 0) for one in ids)]
    rows = log_probs[:, labels].astype(np.float64).tolist()
    state = [rows[0][0], rows[0][1]] + [-math.inf] * (len(labels) - 2)
    for row in rows[1:]:
        state = [
            row[at] + add(state[max(at - (2 if at > 1 and labels[at] not in (0, labels[at - 2]) else 1), 0) : at + 1])
            for at in range(len(labels))
        ]
    return add(state[-2:])


def test_long_sound_does_not_underflow() -> None:
    rng = np.random.default_rng(1)
    frames, labels, ids = 2000, 30, np.random.default_rng(2).integers(1, 30, 40).tolist()
    log_probs = ctc.log_softmax(rng.normal(0, 4, (frames, labels)).astype(np.float32))
    likelihood = ctc.log_likelihood(log_probs, ids)
    assert likelihood < -5000  # far below what a float64 probability can hold
    assert likelihood == pytest.approx(slow_log_likelihood(log_probs, ids), rel=1e-10)
    occupancy = ctc.occupancy(log_probs, ids)
    assert np.all(np.isfinite(occupancy))
    assert occupancy.sum(axis=0).max() <= 1 + 1e-4
    assert occupancy.sum(axis=1).min() >= 1 - 1e-4  # each token takes a frame at least, on any path
    path = ctc.forced_alignment(log_probs, ids)
    assert [run.id for run in ctc.runs(path)] == ids
    assert score(log_probs, tuple(path)) <= likelihood


@pytest.mark.parametrize(
    "case", ["short.auto.woitn", "odd.auto.woitn", "odd.en.withitn", "odd.nospeech.woitn", "stereo.auto.woitn"]
)
def test_alignment_is_that_of_funasr(golden: Callable[[str], dict[str, np.ndarray]], case: str) -> None:
    told = golden(f"{case}.sensevoice")
    log_probs = ctc.log_softmax(told["logits"][4:])
    path = ctc.forced_alignment(log_probs, told["ctc_align_ids"].tolist())
    np.testing.assert_array_equal(path, told["ctc_align_path"])
    assert [run.id for run in ctc.runs(path)] == told["ctc_align_ids"].tolist()


@settings(deadline=None)
@given(path=st.lists(st.integers(0, 3), max_size=30), blank=st.integers(0, 3))
def test_runs_are_the_groups_of_equal_labels(path: list[int], blank: int) -> None:
    expected = []
    for label, places in itertools.groupby(range(len(path)), key=lambda place: path[place]):
        frames = list(places)
        if label != blank:
            expected.append(ctc.Run(label, frames[0], frames[-1] + 1))
    assert ctc.runs(path, blank) == expected


@settings(deadline=None)
@given(
    logits=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 20), st.integers(1, 4)),
        elements=st.one_of(st.floats(-30, 30, width=32), st.sampled_from([-1e4, 1e4, -(2.0**99), 2.0**99])),
    )
)
def test_log_softmax_is_that_of_plain_sums(logits: np.ndarray) -> None:
    found = ctc.log_softmax(logits)
    assert found.dtype == np.float32
    assert found.shape == logits.shape
    for row, told in zip(logits, found, strict=True):
        np.testing.assert_allclose(told, plain_log_softmax(row), rtol=2e-6, atol=4e-6 * max(1, float(np.abs(row).max())))


def test_log_softmax_of_many_rows_and_impossible_labels() -> None:
    logits = np.random.default_rng(3).normal(0, 5, (1003, 7)).astype(np.float32)  # no whole number of blocks
    np.testing.assert_allclose(np.exp(ctc.log_softmax(logits).astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(ctc.log_softmax([[0, -np.inf], [1e30, 1e30]])[0], [0, -np.inf])
    np.testing.assert_allclose(ctc.log_softmax([[2.5, 2.5, 2.5]]), -math.log(3), rtol=1e-6)


def test_a_long_text_is_aligned_token_by_token() -> None:
    """More states than eight bits count: NumPy 2 refuses what NumPy 1 widened."""
    tokens = [1 + index % 4 for index in range(200)]
    log_probs = np.full((600, 5), -9.0, np.float32)
    for index, token in enumerate(tokens):
        log_probs[3 * index : 3 * index + 3, [0, token, 0]] = [[-0.1, -8.0, -0.1], [-8.0, -0.1, -8.0], [-0.1, -8.0, -0.1]]
    path = ctc.forced_alignment(log_probs, tokens)
    assert path[1::3].tolist() == tokens
    assert not path[0::3].any()
    assert not path[2::3].any()
