"""When words and tokens are said: against brute force, hand-made odds, and the clips whose truth is known."""

from __future__ import annotations

import json
from itertools import combinations_with_replacement, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import timing
from voxray.measures.boundaries import spelled
from voxray.timing import Clock, Heard, Odds, by_odds, by_sound, heard_of, likeliest_spans, odds_of, retimed, seams_of, shares
from voxray.transcript import words_of
from voxray.types import Audio, Token

CLIPS = Path(voxray.__file__).parent / "assets" / "clips"
CLOCK = Clock(0.0125, 0.01, 0.0, 6.0)


def tokens_of(*texts: str, apart: int = 4) -> list[Token]:
    """Return tokens emitted every few rows, the first in row 2."""
    peaks = [2 + apart * at for at in range(len(texts))]
    return [
        Token(at + 1, text, 0.06 * peak - 0.0175, 0.06 * peak + 0.0425, (peak, peak + 1), peak, -0.1)
        for at, (text, peak) in enumerate(zip(texts, peaks, strict=True))
    ]


def odds_for(tokens: list[Token], rows: int, clock: Clock = CLOCK) -> Odds:
    """Return odds of tokens that are the likeliest for two rows to either side of their emission."""
    own = np.full((rows, len(tokens)), -8.0, np.float32)
    for at, token in enumerate(tokens):
        near = np.abs(np.arange(rows) - token.peak)
        own[:, at] = np.maximum(-8.0, -2.0 * np.maximum(near - 1, 0))
    return Odds(own, np.full(rows, 3, np.float32), tuple(token.peak for token in tokens), clock)


def random_case(rng: np.random.Generator) -> tuple[list[Token], Odds, np.ndarray]:
    """Return tokens of any kind, any odds, any sound."""
    texts = rng.choice([" on", "e", "，", " ", "", "的", "あ", "<|zh|>", "한", " it's"], size=int(rng.integers(1, 12))).tolist()
    rows = len(texts) + int(rng.integers(0, 30))
    peaks = sorted(rng.choice(rows, size=len(texts), replace=False).tolist())
    tokens = [
        Token(int(rng.integers(1, 30)), text, 0.06 * peak, 0.06 * peak + 0.06, (peak, peak + 1), peak, -0.5)
        for text, peak in zip(texts, peaks, strict=True)
    ]
    odds = odds_of(rng.normal(0, 6, (rows, 40)).astype(np.float32), tokens, 0, 0, CLOCK)
    return tokens, odds, rng.normal(8, 3, (6 * rows, 80)).astype(np.float32)


# Odds ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", [0, 3, 11])
def test_odds_are_against_the_best_that_is_no_blank(blank: int) -> None:
    logits = np.random.default_rng(blank).normal(0, 3, (9, 12)).astype(np.float32)
    tokens = [Token(one, "a", 0.0, 0.1, (row, row + 1), row, 0.0) for one, row in ((1, 3), (5, 6))]
    odds = odds_of(logits, tokens, blank, 2, CLOCK)
    for row in range(7):
        best = max(value for at, value in enumerate(logits[row + 2].tolist()) if at != blank)
        assert odds.blank[row] == pytest.approx(logits[row + 2, blank] - best, abs=1e-5)
        assert odds.own[row].tolist() == pytest.approx([logits[row + 2, one] - best for one in (1, 5)], abs=1e-5)
    assert odds.peaks == (1, 4)
    assert odds.own.max() <= 0
    shifted = odds_of(logits - np.float32(4), tokens, blank, 2, CLOCK)
    assert shifted.own == pytest.approx(odds.own, abs=1e-5)  # log-probabilities do as well


def test_a_token_overtakes_where_the_lines_cross() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        own = rng.uniform(-6, 0, (8, 2)).astype(np.float32)
        own[1], own[6] = (0, -9), (-9, 0)
        place = Odds(own, np.zeros(8, np.float32), (1, 6), CLOCK).crossing(0, 1)
        fine = np.linspace(1, 6, 50_001)  # in rows
        ahead = np.interp(fine, np.arange(8), own[:, 0] - own[:, 1])
        assert place == pytest.approx(6 * fine[np.flatnonzero(ahead < 0)[0]], abs=2e-3)


def test_a_token_that_comes_twice_is_parted_in_the_middle() -> None:
    own = np.zeros((10, 2), np.float32)
    assert Odds(own, np.zeros(10, np.float32), (2, 7), CLOCK).crossing(0, 1) == pytest.approx(6 * 4.5)


def test_words_by_the_odds_alone() -> None:
    """Neighbours meet between their emissions; a long pause leaves 150 ms to either side."""
    tokens = tokens_of(" one", " two", " three")
    words = [heard_of(tokens, word) for word in words_of(tokens)]
    spans = by_odds(words, odds_for(tokens, 14))
    assert spans == [(9.0, pytest.approx(24)), (pytest.approx(24), pytest.approx(48)), (pytest.approx(48), 63.0)]
    far = tokens_of(" one", " two", apart=20)
    first, second = by_odds([heard_of(far, word) for word in words_of(far)], odds_for(far, 30))
    assert (first[1], second[0]) == (12 + timing.BEYOND, 132 - timing.BEYOND)


# Choosing -----------------------------------------------------------------------------------------------------------------------


def brute(judged: list[tuple[int, np.ndarray]], rows: int, least: int) -> float:
    """Return the best sum over every allowed choice, by trying all of them."""
    words, best = len(judged) - 1, -np.inf
    for path in combinations_with_replacement(range(rows), 2 * words):
        total = 0.0
        for at in range(words):
            start, end = path[2 * at : 2 * at + 2]
            (one, ours), (other, theirs) = judged[at], judged[at + 1]
            if end - start < least or not 0 <= start - one < ours.shape[1] or not 0 <= end - other < theirs.shape[1]:
                total = -np.inf
                break
            total += ours[0, start - one] + theirs[1, end - other]
        best = max(best, total)
    return best


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("least", [1, 3])
def test_the_choice_is_the_best_of_all(words: int, least: int) -> None:
    rng = np.random.default_rng(10 * words + least)
    for _ in range(20):
        rows = 12
        judged = []
        for at in range(words + 1):
            first = int(rng.integers(0, 4)) + 3 * at
            judged.append((first, rng.normal(0, 3, (2, int(rng.integers(1, rows - first + 1))))))
        wanted, spans = brute(judged, rows, least), likeliest_spans(judged, rows, least)
        if wanted == -np.inf:
            assert spans is None
            continue
        assert spans is not None
        places = [int(place) for span in spans for place in span]
        assert places == sorted(places)
        assert all(end - start >= least for start, end in spans)
        found = sum(judged[at][1][0, int(s) - judged[at][0]] + judged[at + 1][1][1, int(e) - judged[at + 1][0]]
                    for at, (s, e) in enumerate(spans))  # fmt: skip
        assert found == pytest.approx(wanted)


def test_a_sound_without_room_is_told() -> None:
    judged = [(0, np.zeros((2, 2))), (0, np.zeros((2, 2)))]
    assert likeliest_spans(judged, 2, 3) is None


# Seams --------------------------------------------------------------------------------------------------------------------------


def test_seams_of_two_words() -> None:
    tokens = tokens_of(" st", "op", "，", " 去", apart=3)
    words = [heard_of(tokens, word) for word in words_of(tokens)]
    assert [word.units for word in words] == [((0, 1), (1, 2)), ((3, 4),)]
    odds = odds_for(tokens, 40)
    before, between, after = seams_of(words, odds, 240)
    assert before.before is None
    assert after.after is None
    assert before.after is not None
    assert between.before is not None
    assert between.after is not None
    assert (between.first, len(between.blank)) == (0, 6 * 11 + 51)
    assert (before.first, len(before.blank)) == (0, 63)
    assert (between.before.edge, between.after.edge, before.after.edge) == ("POTS", "", "STOP")
    assert (between.before.letters, between.before.tokens, between.before.lasted) == (4, 2, 18)
    assert (between.before.wide, between.after.wide) == (False, True)
    assert (between.before.emitted, between.after.emitted) == (30, 66)
    for place in (0, 30, 33, 60):
        row = place / 6
        low, high = int(row), min(int(row) + 1, 39)
        line = [odds.own[low, at] + (row - low) * (odds.own[high, at] - odds.own[low, at]) for at in (0, 1)]
        assert between.before.near[place] == pytest.approx(line[1], abs=1e-5)
    assert between.blank == pytest.approx(np.full(117, 3))


def test_scripts_that_tell_how_they_sound() -> None:
    assert timing._latin("Élan") == "ELAN"
    assert timing._latin("한국") == "HANGUG"
    assert timing._latin("ッち") == "TUTI"
    assert timing._latin("木，я1") == ""


# Tokens -------------------------------------------------------------------------------------------------------------------------


def test_tokens_part_the_time_of_their_word() -> None:
    tokens = tokens_of(" a", "b", "c")
    odds = odds_for(tokens, 14)
    word = Heard("abc", ((0, 1), (1, 2), (2, 3)))
    found = shares(word, (6.0, 70.0), odds)
    assert found == {0: (6.0, pytest.approx(24)), 1: (pytest.approx(24), pytest.approx(48)), 2: (pytest.approx(48), 70.0)}
    assert shares(word, (6.0, 30.0), odds)[2] == (29.0, 30.0)  # one place each at least
    assert shares(word, (6.0, 6.3), odds)[0] == pytest.approx((6.0, 6.1))
    bytes_of_one = Heard("語", ((0, 3),))
    assert list(shares(bytes_of_one, (0.0, 30.0), odds).values()) == [(0, 10), (10, 20), (20, 30)]


@pytest.mark.parametrize("seed", range(60))
def test_times_are_in_order_whatever_was_heard(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, odds, bank = random_case(rng)
    for sound in (bank, None):
        found = retimed(tokens, words_of(tokens), odds, sound)
        assert [(one.id, one.text, one.rows, one.peak) for one in found] == [(t.id, t.text, t.rows, t.peak) for t in tokens]
        edges = [edge for token in found for edge in (token.start, token.end)]
        assert edges == sorted(edges)
        assert edges[0] >= 0
        assert np.isfinite(edges).all()
        words = words_of(found)
        assert [word.text for word in words] == [word.text for word in words_of(tokens)]
        assert all(word.end > word.start for word in words)
        assert all(one.end <= other.start for one, other in pairwise(words))
        if sound is not None and words:
            assert words[-1].end <= 0.0125 + 0.01 * len(sound)


def test_nothing_said() -> None:
    odds = Odds(np.zeros((4, 0), np.float32), np.zeros(4, np.float32), (), CLOCK)
    assert retimed([], [], odds, np.zeros((24, 80), np.float32)) == ()
    only = tokens_of("，")
    assert retimed(only, words_of(only), odds_for(only, 5), np.zeros((30, 80), np.float32)) == tuple(only)


def test_a_full_stop_lies_behind_its_word() -> None:
    tokens = tokens_of(" yes", ".", " no")
    found = retimed(tokens, words_of(tokens), odds_for(tokens, 14), None)
    assert found[0].end <= found[1].start <= found[1].end <= found[2].start


def test_rows_finer_than_the_bank() -> None:
    """A model of 10 ms with a word in every row leaves each word a place."""
    tokens = tokens_of("一", "二", "三", "四", apart=1)
    odds = odds_for(tokens, 8, Clock(0.0125, 0.01, 0.0, 1.0))
    spans = by_sound([heard_of(tokens, word) for word in words_of(tokens)], odds, np.zeros((8, 80), np.float32))
    assert spans is not None
    assert all(end - start >= 1 for start, end in spans)


# The bundled model --------------------------------------------------------------------------------------------------------------


def test_words_of_the_clips_are_where_they_are(bundled: Any) -> None:
    """Every start and end of the demo clips' words that were heard right, several with applause, music or noise over them."""
    errors = []
    for name, told in json.loads((CLIPS / "truth.json").read_text(encoding="utf-8")).items():
        true = [(word["word"], word["start"], word["end"]) for word in told["words"]]
        trace = bundled.trace(CLIPS / Path(name).with_suffix(".wav").name)
        for index, first, last in spelled([word.text for word in trace.words], [one[0] for one in true]):
            errors += [trace.words[first].start - true[index][1], trace.words[last].end - true[index][2]]
    sizes = np.abs(errors)
    assert len(sizes) >= 60
    assert np.median(sizes) <= 0.01
    assert sizes.mean() <= 0.02
    assert (sizes <= 0.05).mean() >= 0.9


def test_silence_before_moves_the_times_along(bundled: Any) -> None:
    sound = voxray.load_audio(CLIPS / "ko_angry_speech.wav")
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(16 * 960).astype(np.float32)
    later = Audio(np.concatenate([hiss, sound.samples]), name="later")
    one, other = bundled.trace(sound).words, bundled.trace(later).words
    assert [word.text for word in one] == [word.text for word in other]
    moved = [b.start - a.start for a, b in zip(one, other, strict=True)]
    assert np.median(moved) == pytest.approx(0.96, abs=0.011)
