"""Words moved to the edges of the sound: planted edges, a slow plain twin, and what must hold whatever the sound."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.edges import FAINT, FALL, RISE, changes, edge_near, move_tokens, settle
from voxray.transcript import words_of
from voxray.types import Token

HOP, MELS = 0.01, 8


def sound(*loud: tuple[float, float], seconds: float = 3.0) -> np.ndarray:
    """Return a bank that is quiet but for some stretches in seconds."""
    bank = np.full((round(seconds / HOP), MELS), -5.0, np.float32)
    for start, end in loud:
        bank[round(start / HOP) : round(end / HOP)] = -1.0
    return bank


def token(text: str, start: float, end: float) -> Token:
    return Token(7, text, start, end, (0, 1), 0, -0.5)


def test_changes_count_what_gets_louder_and_softer_apart() -> None:
    bank = sound((1.0, 2.0))
    bank[:, 0] = -5.0  # one band of eight stays as it is
    up, down = changes(bank, HOP)
    slow_up, slow_down = [], []
    for row in range(len(bank)):
        steps = [step for by in (1, 2, 3) for step in (bank[min(row + by, len(bank) - 1)] - bank[max(row - by, 0)]).tolist()]
        slow_up.append(sum(max(step, 0.0) for step in steps) / MELS / 3)
        slow_down.append(sum(max(-step, 0.0) for step in steps) / MELS / 3)
    assert up == pytest.approx(slow_up)
    assert down == pytest.approx(slow_down)
    assert up.max() == pytest.approx(4.0 * 7 / 8)
    assert set(np.flatnonzero(up)) == set(range(97, 103))
    assert set(np.flatnonzero(down)) == set(range(197, 203))


def test_what_lies_eight_decades_under_the_loudest_is_silence() -> None:
    bank = sound((1.0, 2.0))
    bank[:50] = -40.0
    up, _ = changes(bank, HOP)
    assert up[:60].max() == pytest.approx(-5.0 + 9.0)  # from -9, not from -40


def test_the_likeliest_edge_is_that_of_the_plain_formula() -> None:
    rng = np.random.default_rng(5)
    change = rng.random(300)
    for time, limit in ((1.0, 9.0), (1.5, 1.6), (0.02, 9.0), (2.95, 9.0)):
        best, score = 0, -math.inf
        for row in range(len(change)):
            if max(round((time - RISE.before) / HOP), 0) <= row <= round(min(time + RISE.after, limit) / HOP):
                own = math.log(change[row] + FAINT) - ((row * HOP - time - RISE.likely) / RISE.spread) ** 2 / 2
                best, score = (row, own) if own > score else (best, score)
        assert edge_near(change, HOP, time, limit, RISE) == pytest.approx(best * HOP)


def test_words_go_to_the_edges_nearby() -> None:
    bank = sound((0.5, 1.0), (1.2, 1.9))
    (first, second) = settle([(0.40, 0.98), (1.06, 1.84)], bank, HOP)
    assert first == pytest.approx((0.5, 1.0), abs=0.025)
    assert second == pytest.approx((1.2, 1.9), abs=0.025)


def test_without_an_edge_a_word_moves_by_what_is_likely() -> None:
    ((start, end),) = settle([(1.0, 2.0)], sound(), HOP)
    assert start == pytest.approx(1.0 + RISE.likely, abs=HOP)
    assert end == pytest.approx(2.0 + FALL.likely, abs=HOP)


def test_an_edge_too_far_away_is_not_taken() -> None:
    ((start, _),) = settle([(1.0, 1.4)], sound((1.6, 2.5)), HOP)
    assert start <= 1.0 + RISE.after


times = st.lists(st.floats(0.0, 2.8), min_size=2, max_size=12).map(sorted)


@settings(max_examples=60, deadline=None)
@given(times, st.integers(0, 9))
def test_words_stay_in_order_and_inside_the_sound(edges: list[float], seed: int) -> None:
    bank = np.random.default_rng(seed).normal(-4.0, 2.0, (290, MELS)).astype(np.float32)
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    found = settle(spans, bank, HOP)
    assert len(found) == len(spans)
    flat = [time for span in found for time in span]
    assert flat == sorted(flat)
    assert flat[0] >= 0.0
    assert flat[-1] <= len(bank) * HOP + 1e-9


def test_tokens_keep_their_share_of_a_word_and_a_full_stop_follows_it() -> None:
    tokens = [token(" o", 10.40, 10.60), token("ther", 10.60, 10.98), token(".", 10.98, 11.06), token(" dog", 11.06, 11.84)]
    words = words_of(tokens)
    assert [word.text for word in words] == ["other.", "dog"]
    moved = move_tokens(tokens, words, sound((0.5, 1.0), (1.2, 1.9)), HOP, 10.0)
    ((start, end), (after, _)) = settle([(0.40, 0.98), (1.06, 1.84)], sound((0.5, 1.0), (1.2, 1.9)), HOP)
    border = start + (0.60 - 0.40) / (0.98 - 0.40) * (end - start)
    assert [one.start for one in moved] == pytest.approx([10 + start, 10 + border, 10 + end, 10 + after])
    assert [one.end for one in moved[:2]] == pytest.approx([10 + border, 10 + end])
    assert moved[2].end == pytest.approx(10 + max(end, 1.06))
    assert [replace(one, start=0.0, end=0.0) for one in moved] == [replace(one, start=0.0, end=0.0) for one in tokens]
    again = words_of(moved)
    assert (again[0].start, again[0].end) == pytest.approx((10 + start, 10 + end))


def test_no_word_no_change() -> None:
    assert settle([], sound(), HOP) == []
    assert move_tokens([], [], sound(), HOP, 0.0) == []
