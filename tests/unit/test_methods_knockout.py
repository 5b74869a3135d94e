"""Knock-out against the whole encoder run again in plain numpy, rows hidden from attention and memory in every layer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_sanm import plain_norm, plain_output

from voxray.case import Case, Meter
from voxray.graph.weights import linear_parts
from voxray.methods import build
from voxray.mixing import spans
from voxray.targets import resolve
from voxray.types import OptionError

NAMES = ("token:0", "text", "emotion")


def plain_encoder(case: Case, keep: np.ndarray) -> np.ndarray:
    """Run the whole encoder, float64, from the rows that enter its first layer: output rows (N, V)."""
    model, heads, count = case.model, case.trace.heads, len(case.logits)
    stream = case.tensor("input", 0).astype(np.float64)
    for index in range(case.layers):
        weights, block = case.weights(index), model.anatomy.blocks[index]
        if index in case.stream_norms:
            stream = np.stack([plain_norm(row, case.stream_norms[index]) for row in stream])
        matrix, bias = linear_parts(model.graph, block.qkv)
        query, key, value = np.split(np.stack([plain_norm(row, weights.norm) for row in stream]) @ matrix + bias, 3, axis=1)
        width, taps = value.shape[1] // heads, weights.taps
        context = np.zeros_like(value)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for row in range(count):
                weight = np.exp(query[row, part] @ key[:, part].T / np.sqrt(width)) * keep
                context[row, part] = weight @ value[:, part] / weight.sum()
        memory = value.copy()
        for row in range(count):
            for tap in range(taps.shape[1]):
                other = row + tap - (taps.shape[1] - 1) // 2
                if 0 <= other < count and keep[other]:
                    memory[row] += taps[:, tap] * value[other]
        middle = context @ weights.projection[0] + weights.projection[1] + memory
        stream = plain_output(middle + stream if weights.residual else middle, weights)
    matrix, bias = case.head(range(case.logits.shape[1]))
    return np.stack([plain_norm(row, case.stream_norms[case.layers]) for row in stream]) @ matrix + bias


class PlainCase(Case):
    """A case whose rows are hidden by the plain encoder; the model itself answers everything else."""

    def knocked_out(self, keep: np.ndarray) -> Iterator[np.ndarray]:
        for one in keep:
            self.meter.pay(1)
            yield plain_encoder(self, one)


@pytest.fixture(scope="module")
def opened(funasr_model: Any, data: Path) -> tuple[Any, Any, list[Any]]:
    trace = funasr_model.trace(data / "audio" / "odd.wav")
    aims = [resolve(trace, funasr_model.vocabulary, funasr_model.labels, name) for name in NAMES]
    return funasr_model, trace.piece(0), aims


@pytest.fixture
def case(opened: tuple[Any, Any, list[Any]]) -> Case:
    return Case(*opened)


@pytest.fixture
def plain_case(opened: tuple[Any, Any, list[Any]]) -> PlainCase:
    return PlainCase(*opened)


def hidden(case: Case, first: int, stop: int) -> np.ndarray:
    keep = np.ones(len(case.logits), np.bool_)
    keep[first:stop] = False
    return keep


def test_the_plain_encoder_is_the_model(case: Case) -> None:
    rows = plain_encoder(case, hidden(case, 0, 0))
    np.testing.assert_allclose(rows, case.logits, atol=1e-4 * np.abs(case.logits).max())


def test_hiding_nothing_changes_nothing(case: Case) -> None:
    (rows,) = case.knocked_out(hidden(case, 0, 0)[None])
    np.testing.assert_allclose(rows, case.logits, atol=2e-5 * np.abs(case.logits).max())
    assert case.meter.spent == 1


@pytest.mark.parametrize(("first", "stop"), [(4, 39), (10, 14), (20, 21), (0, 4)])
def test_hidden_rows_are_the_plain_encoder_run_again(first: int, stop: int, case: Case) -> None:
    keep = hidden(case, first, stop)  # the first one leaves nothing but the prompts to be seen
    (rows,) = case.knocked_out(keep[None])
    expected = plain_encoder(case, keep)
    np.testing.assert_allclose(rows, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(rows - case.logits).max() > 1e-2 * np.abs(case.logits).max()


@pytest.mark.parametrize("score", ["forced", "log_odds", "margin"])
def test_the_map_is_the_drop_of_each_window(score: Any, plain_case: PlainCase) -> None:
    found = build("knockout", {"segments": "windows", "window": 0.48, "score": score}).explain(plain_case)
    groups = spans(plain_case, "windows", 0.48)
    assert plain_case.meter.spent == len(groups)
    for at, (first, stop) in enumerate(groups):
        rows = plain_encoder(plain_case, hidden(plain_case, first, stop))
        for one, aim in zip(found, plain_case.aims, strict=True):
            assert one.scores[0, at] == pytest.approx(aim.score(plain_case.logits, score) - aim.score(rows, score), abs=1e-4)
            assert one.grid.times[at] == plain_case.frames.times[first - 4]
            assert one.score == pytest.approx(aim.score(plain_case.logits, score))
            assert one.unit == ("logit" if score == "margin" else "nats")
    assert found[0].grid.times[-1] == plain_case.frames.times[-1]


def test_words_and_pauses_are_hidden_one_by_one(plain_case: PlainCase) -> None:
    (one, *_) = build("knockout", {}).explain(plain_case)
    groups = spans(plain_case, "words", 0.0)
    assert one.scores.shape == (1, len(groups))
    assert one.notes == (f"{len(groups)} runs with rows hidden",)
    first, stop = groups[1]
    aim, rows = plain_case.aims[0], plain_encoder(plain_case, hidden(plain_case, first, stop))
    assert one.scores[0, 1] == pytest.approx(aim.score(plain_case.logits) - aim.score(rows), abs=1e-4)


def test_a_small_budget_hides_neighbours_together(opened: tuple[Any, Any, list[Any]]) -> None:
    case = PlainCase(*opened, Meter(passes=3))
    (one, *_) = build("knockout", {"segments": "windows", "window": 0.24}).explain(case)
    wanted = spans(case, "windows", 0.24)
    assert case.meter.spent == 3
    assert one.scores.shape == (1, 3)
    assert one.notes[1] == f"the budget allows 3 segments of {len(wanted)}, so neighbours are hidden together"
    joined = np.array_split(np.arange(len(wanted)), 3)
    first, stop = wanted[joined[1][0]][0], wanted[joined[1][-1]][1]
    rows = plain_encoder(case, hidden(case, first, stop))
    assert one.scores[0, 1] == pytest.approx(case.aims[0].score(case.logits) - case.aims[0].score(rows), abs=1e-4)


def test_time_that_runs_out_is_told(opened: tuple[Any, Any, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    case = PlainCase(*opened, Meter(seconds=1e6))
    monkeypatch.setattr(Meter, "elapsed", property(lambda meter: 1e7 if meter.spent >= 2 else 0.0))
    (one, *_) = build("knockout", {"segments": "windows"}).explain(case)
    count = one.scores.shape[1]
    assert one.notes[1] == f"the time ran out after 2 of {count} segments; the others are shown as 0"
    assert np.count_nonzero(one.scores) == 2


def test_no_budget_is_refused(opened: tuple[Any, Any, list[Any]]) -> None:
    with pytest.raises(OptionError, match="the budget allows 0 passes"):
        build("knockout", {}).explain(PlainCase(*opened, Meter(passes=0)))


@pytest.mark.parametrize("window", [0.0, -1.0, float("inf"), float("nan")])
def test_a_window_that_makes_no_sense_is_refused(window: float) -> None:
    with pytest.raises(OptionError, match=r"knockout: window is .*; expected a width in seconds above 0"):
        build("knockout", {"window": window})
