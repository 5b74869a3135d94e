"""Cases: cells and frames, passes that are counted, and questions asked of other sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.case import Case, Meter
from voxray.frontend import DEFAULT
from voxray.targets import resolve
from voxray.types import Features, OptionError

TARGETS = ("word:1", "text", "emotion")


@pytest.fixture(scope="module")
def heard(bundled: Any, clips: Path) -> tuple[Any, Any, list[Any]]:
    trace = bundled.trace(clips / "ko_angry_speech.wav", layers=())
    return bundled, trace.piece(0), [resolve(trace, bundled.vocabulary, bundled.labels, one) for one in TARGETS]


@pytest.fixture
def case(heard: tuple[Any, Any, list[Any]]) -> Case:
    return Case(*heard)


def others(case: Case, count: int) -> list[np.ndarray]:
    rng, values = np.random.default_rng(0), case.features.values
    return [values + 0.1 * rng.standard_normal(values.shape).astype(np.float32) for _ in range(count)]


def test_what_the_model_saw_comes_from_the_filter_bank(case: Case) -> None:
    assert case.bank.shape[1] == DEFAULT.mels
    np.testing.assert_array_equal(case.front.normalised(case.bank), case.features.values)
    np.testing.assert_array_equal(case.front.seen(case.front.audio.samples), case.features.values)
    np.testing.assert_array_equal(case.logits, case.trace.evidence[0].logits())


def test_cells_and_frames_lie_over_the_sound(case: Case) -> None:
    assert case.cells.shape == (80, len(case.bank))
    assert case.frames.shape == (1, len(case.features.values))
    np.testing.assert_allclose(case.cells.centres, 0.0125 + 0.01 * np.arange(len(case.bank)))
    np.testing.assert_allclose(case.frames.centres, 0.0125 + 0.06 * np.arange(len(case.features.values)))
    assert abs(case.cells.times[-1] - case.front.audio.duration) <= 0.02


def test_a_piece_in_the_middle_has_the_times_of_the_whole(bundled: Any, clips: Path) -> None:
    """Of a long sound, the case is of one piece: its samples, and its times as in the whole."""
    clip = voxray.load_audio(clips / "ko_angry_speech.wav").samples
    pause = 1e-3 * np.random.default_rng(0).standard_normal(16000 * 31).astype(np.float32)
    trace = bundled.trace(voxray.Audio(np.concatenate([clip, pause, clip])), layers=())
    assert len(trace.pieces) == 2
    name = f"word:{len(trace.words) - 1}"
    aim = resolve(trace, bundled.vocabulary, bundled.labels, name)
    case = Case(bundled, trace.piece(1), [aim])
    np.testing.assert_allclose(case.front.normalised(case.bank), case.features.values, atol=1e-5)
    assert case.cells.times[0] <= aim.target.start < aim.target.end <= case.cells.times[-1]
    assert case.cells.times[0] > 30.0


def test_questions_are_runs_one_by_one(heard: tuple[Any, Any, list[Any]], case: Case) -> None:
    batch = others(case, 3)
    for how in ("margin", "forced", "log_odds"):
        found = np.array([case.scored(rows, how) for rows in case.rows(batch)])  # type: ignore[arg-type]
        assert found.shape == (3, 3)
        for values, row in zip(batch, found, strict=True):
            (logits,) = case.model.logits([Features(values, case.features.hop, case.features.start)])
            np.testing.assert_allclose(row, [aim.score(logits, how) for aim in case.aims], atol=1e-4)  # type: ignore[arg-type]
    assert case.meter.spent == 9
    (same,) = case.rows([case.features.values])
    np.testing.assert_allclose(case.scored(same), case.base(), atol=1e-5)


def test_an_int8_file_is_asked_one_by_one(bundled_int8: Any, clips: Path) -> None:
    trace = bundled_int8.trace(clips / "ko_angry_speech.wav", layers=())
    case = Case(bundled_int8, trace.piece(0), [resolve(trace, bundled_int8.vocabulary, bundled_int8.labels, "text")])
    first, second = others(case, 2)
    together = list(case.rows([first, second]))
    for values, rows in zip((first, second), together, strict=True):
        np.testing.assert_array_equal(rows, next(case.rows([values])))
    assert case.meter.spent == 4


def test_seeds_are_margins_padded_with_nothing(case: Case) -> None:
    rows, ids, weights = case.seeds()
    assert rows.shape == ids.shape == weights.shape
    for aim, places, tokens, factors in zip(case.aims, rows, ids, weights, strict=True):
        assert (factors[len(aim.weights) :] == 0).all()
        margin = float(case.logits[places, tokens].astype(np.float64) @ factors)
        assert margin == pytest.approx(aim.margin(case.logits), abs=1e-9)
    assert case.base("margin") == pytest.approx([aim.margin(case.logits) for aim in case.aims])


def test_a_tape_is_paid_once(heard: tuple[Any, Any, list[Any]]) -> None:
    model, trace, aims = heard
    trace = model.trace(trace.audio, layers=(), gradients=True).piece(0)
    case = Case(model, trace, aims)
    case.tape(frozen=True)
    assert case.meter.spent == 0  # the trace kept its own
    case.tape(frozen=False)
    assert case.meter.spent == 1
    case.tape(frozen=False)
    assert case.meter.spent == 1
    tape = case.tape(np.stack(others(case, 2)), frozen=False)
    assert case.meter.spent == 3
    assert tape.logits.shape == (2, *case.logits.shape)


def test_weights_and_head_are_the_models(case: Case) -> None:
    weight, bias = case.head([3, 9])
    hidden = case.tensor("output", case.layers - 1).astype(np.float64)
    norm = case.stream_norms[case.layers]
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + norm.epsilon) * norm.scale + norm.shift
    np.testing.assert_allclose(normal @ weight + bias, case.logits[:, [3, 9]], atol=1e-3)
    attention = case.attention(0)
    assert attention.shape[1:] == (len(case.logits),) * 2
    np.testing.assert_allclose(attention.sum(axis=2), 1, atol=1e-5)


def test_the_meter() -> None:
    told: list[tuple[int, int]] = []
    meter = Meter(passes=10, progress=lambda done, planned: told.append((done, planned)), planned=8)
    meter.pay(3)
    meter.pay(6)
    assert meter.spent == 9
    assert told == [(3, 8), (9, 9)]
    assert meter.affordable(5) == 1
    assert Meter().affordable(5) == 5
    assert Meter(seconds=0.0).affordable(5) == 0
    assert Meter(seconds=60.0).affordable(5) == 5


def test_a_budget_that_is_too_small_is_told(heard: tuple[Any, Any, list[Any]]) -> None:
    case = Case(*heard, Meter(passes=4))
    assert case.affordable(9) == 4
    assert case.meter.planned == 4
    with pytest.raises(OptionError, match=r"^the budget allows 4 passes, the method needs 5 or more; give more passes or seconds$"):
        case.affordable(9, least=5)
