"""The lens: its last layer is the model itself, a middle layer is a plain twin, and commit layers of made-up trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_sanm import plain_norm

from voxray.case import Case
from voxray.lens import Lens, lens, settled
from voxray.targets import resolve
from voxray.types import OptionError, Target

NAMES = ("text", "token:1", "emotion")


def case_of(model: Any, clip: Path, *asked: tuple[str, str | None]) -> Case:
    trace = model.trace(clip)
    return Case(model, trace.piece(0), [resolve(trace, model.vocabulary, model.labels, *one) for one in asked])


@pytest.fixture(scope="module")
def case(funasr_model: Any, data: Path) -> Case:
    return case_of(funasr_model, data / "audio" / "odd.wav", *((name, None) for name in NAMES))


def posteriors(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=-1, keepdims=True))


def test_the_last_layer_is_the_model(case: Case) -> None:
    for one, aim in zip(lens(case), case.aims, strict=True):
        assert one.target is aim.target
        assert one.difference < 1e-4
        own = posteriors(case.logits[one.rows])
        np.testing.assert_allclose(one.log_probs[-1], np.take_along_axis(own, one.ids, axis=1), atol=1e-4)
        np.testing.assert_array_equal(one.best[-1], case.logits[one.rows].argmax(axis=1))
        np.testing.assert_allclose(one.divergences[-1], 0, atol=1e-6)
        assert one.log_probs.shape == (case.layers, *one.ids.shape)


def test_the_last_layer_is_the_bundled_model(bundled: Any, clips: Path) -> None:
    spoken = case_of(bundled, clips / "zh_happy_speech.wav", ("text", None), ("language", None))
    text, language = lens(spoken)
    assert max(text.difference, language.difference) < 1e-3
    tokens = spoken.trace.tokens
    np.testing.assert_array_equal(text.rows, [token.peak for token in tokens])
    np.testing.assert_array_equal(text.ids[:, 0], [token.id for token in tokens])
    assert (text.ranks[-1, :, 0] == 0).all()  # a greedy text
    assert (text.commits < spoken.layers).all()
    np.testing.assert_allclose(text.log_probs[-1, :, 0], [token.log_prob for token in tokens], atol=1e-3)


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_layer_before_is_a_plain_twin(layer: int, case: Case) -> None:
    weight, bias = case.head(range(case.logits.shape[1]))
    stream = case.tensor("output", layer)
    last = posteriors(case.logits)
    for one in lens(case):
        for at, row in enumerate(one.rows):
            state = stream[row]
            for place in sorted(case.stream_norms):  # after layer 2 and after the last, in this fixture
                if place > layer:
                    state = plain_norm(state, case.stream_norms[place])
            told = posteriors((state @ weight + bias)[None])[0]
            np.testing.assert_allclose(one.log_probs[layer, at], told[one.ids[at]], atol=1e-4)
            assert one.best[layer, at] == told.argmax()
            order = np.argsort(-told, kind="stable").tolist()
            assert one.ranks[layer, at].tolist() == [order.index(token) for token in one.ids[at]]
            divergence = sum(np.exp(last[row, v]) * (last[row, v] - told[v]) for v in range(len(told)))
            assert one.divergences[layer, at] == pytest.approx(divergence, abs=1e-4)
            np.testing.assert_allclose(one.log_odds[layer, at], told[one.ids[at, 0]] - told[one.ids[at, 1:]], atol=1e-4)


def test_rivals_are_the_likeliest_others(case: Case) -> None:
    text, token, emotion = lens(case, rivals=3)
    for at, row in enumerate(text.rows):
        order = [one for one in np.argsort(-case.logits[row], kind="stable").tolist() if one != text.ids[at, 0]]
        assert text.ids[at, 1:].tolist() == order[:3]
    assert token.ids.tolist() == text.ids[1:2].tolist()
    labels = case.model.labels["emotion"]
    assert sorted(emotion.ids[0].tolist()) == sorted(labels.values())
    assert emotion.ids[0, 0] == labels[case.aims[2].target.label]


def test_a_given_rival_comes_first(case: Case) -> None:
    model, trace = case.model, case.trace
    token = trace.tokens[1]
    rival = next(one for one in reversed(token.alternatives) if one.id not in (trace.blank, token.id) and one.text.strip())
    aim = resolve(trace, model.vocabulary, model.labels, "token:1", rival.text)
    assert aim.others[0] == (*aim.text[:1], rival.id, *aim.text[2:])
    (one,) = lens(Case(model, trace, [aim]), rivals=2)
    assert one.ids[0, :2].tolist() == [token.id, rival.id]


def made_up(log_probs: np.ndarray, best: list[list[int]]) -> Lens:
    layers, rows, count = log_probs.shape
    ids = np.tile(np.arange(count), (rows, 1))
    target = Target("token", "token:0", "a", "", 0, (4, 5), 0.0, 0.1)
    zeros = np.zeros((layers, rows))
    return Lens(target, np.arange(rows), ids, log_probs, np.zeros_like(ids)[None].repeat(layers, 0), np.array(best), zeros, 0.0)


def test_when_a_made_up_target_commits_and_is_overtaken() -> None:
    log_probs = np.log(
        [
            # own, first rival, second rival, at each of 2 rows
            [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]],
            [[0.2, 0.7, 0.1], [0.2, 0.7, 0.1]],
            [[0.5, 0.3, 0.2], [0.5, 0.4, 0.1]],
            [[0.6, 0.3, 0.1], [0.4, 0.5, 0.1]],
        ]
    )
    one = made_up(log_probs, [[0, 1], [1, 1], [0, 0], [0, 1]])
    assert one.commits.tolist() == [2, 4]  # on top for good from layer 2; never
    assert one.overtakes.tolist() == [[2, 0], [3, 1]]  # at row 1 the first rival goes ahead again in layer 3
    assert np.sign(one.log_odds[-1]).tolist() == [[1, 1], [-1, 1]]


def test_settled_is_the_first_layer_of_the_last_run() -> None:
    held = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]], np.bool_)
    assert settled(held).tolist() == [2, 3, 1, 0]


def test_a_lens_without_rivals_is_refused(case: Case) -> None:
    with pytest.raises(OptionError, match="at least 1 rival, got 0"):
        lens(case, rivals=0)


def test_the_lens_of_an_int8_file_says_how_far_it_is_off(funasr_int8: Any, data: Path) -> None:
    quantised = case_of(funasr_int8, data / "audio" / "odd.wav", ("emotion", None))
    (one,) = lens(quantised)
    assert 1e-4 < one.difference < 1.0
