"""Rows to tokens against a slow twin, and the numbering of several pieces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.transcript import Reading, Rows, greedy_tokens, join, largest, likeliest
from voxray.types import Features, Tag, Token
from voxray.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<unk>", "▁a", "b", "我", "▁", "<|BGM|>"))
HOP = 0.06


def plain_log_softmax(row: np.ndarray) -> list[float]:
    top = max(map(float, row))
    total = math.log(math.fsum(math.exp(float(one) - top) for one in row))
    return [float(one) - top - total for one in row]


def slow_tokens(logits: np.ndarray, prompts: int, start: float, alternatives: int) -> list[dict[str, Any]]:
    """Greedy tokens, one frame at a time."""
    labels = [max(range(len(row)), key=lambda label: row[label]) for row in logits]
    found: list[dict[str, Any]] = []
    for row in range(prompts, len(labels)):
        if labels[row] == 0:
            continue
        if row > prompts and labels[row - 1] == labels[row]:
            found[-1]["rows"] = (found[-1]["rows"][0], row + 1)
        else:
            found.append({"id": labels[row], "rows": (row, row + 1)})
    for token in found:
        first, stop = token["rows"]
        posteriors = {row: plain_log_softmax(logits[row]) for row in range(first, stop)}
        token["peak"] = max(posteriors, key=lambda row: posteriors[row][token["id"]])
        best = posteriors[token["peak"]]
        token["log_prob"] = best[token["id"]]
        token["text"] = VOCABULARY.pieces[token["id"]].replace("▁", " ")
        token["start"] = max(start + HOP * (first - prompts) - HOP / 2, 0)
        token["end"] = start + HOP * (stop - 1 - prompts) + HOP / 2
        token["alternatives"] = sorted(range(len(best)), key=lambda label: -best[label])[:alternatives]
    return found


@settings(max_examples=200, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    prompts=st.integers(0, 4),
    alternatives=st.integers(0, 8),
    start=st.sampled_from([0.0125, 31.4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_greedy_tokens_are_those_of_a_slow_twin(
    labels: list[int], prompts: int, alternatives: int, start: float, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (prompts + len(labels), 6)).astype(np.float32)
    logits[range(prompts, len(logits)), labels] += 6  # mostly, so that runs are met
    part = Features(np.zeros((len(labels), 3)), HOP, start)
    tokens = greedy_tokens(Rows(logits, prompts), part, VOCABULARY, alternatives)
    wanted = slow_tokens(logits, prompts, start, alternatives)
    assert len(tokens) == len(wanted)
    for token, told in zip(tokens, wanted, strict=True):
        assert (token.id, token.text, token.rows, token.peak) == (told["id"], told["text"], told["rows"], told["peak"])
        assert token.log_prob == pytest.approx(told["log_prob"], abs=2e-6)
        assert (token.start, token.end) == (pytest.approx(told["start"]), pytest.approx(told["end"]))
        assert [one.id for one in token.alternatives] == told["alternatives"]
        if alternatives:
            assert (token.alternatives[0].id, token.alternatives[0].log_prob) == (token.id, token.log_prob)


def test_prompt_rows_are_never_tokens() -> None:
    logits = np.zeros((6, 6), np.float32)
    logits[:4, 2] = 9  # every prompt row says b, every frame the blank
    logits[4:, 0] = 9
    assert greedy_tokens(Rows(logits, 4), Features(np.zeros((2, 3)), HOP, 0.0125), VOCABULARY) == ()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_normalisers_make_rows_sum_to_one(count: int) -> None:
    logits = np.random.default_rng(count).normal(0, 3, (9, 6)).astype(np.float32)
    chosen = [7, 2, 8, 0, 1, 3, 4, 6, 5][:count]
    found = Rows(logits, 4).normalisers(chosen)
    assert (found.shape, found.dtype) == ((count,), np.float32)
    log_probs = (logits[chosen] - found[:, None]).astype(np.float64)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=2e-6)
    for row, told in zip(chosen, log_probs, strict=True):
        np.testing.assert_allclose(told, plain_log_softmax(logits[row]), atol=2e-6)
    assert Rows(logits, 4, normalised=True).normalisers(chosen).tolist() == [0.0] * count


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 400), count=st.integers(-1, 12), ties=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_largest_is_the_head_of_a_sort(size: int, count: int, ties: bool, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)
    values = np.round(values) if ties else values
    order = sorted(range(len(values)), key=lambda place: -float(values[place]))  # stable: the first of equal ones comes first
    assert largest(values, count).tolist() == order[: max(count, 0)]


def test_likeliest_tells_tokens_and_posteriors() -> None:
    logits = np.array([0.5, 3.0, -1.0, 3.0, 2.0, 0.0], np.float32)
    posteriors = plain_log_softmax(logits)
    normaliser = float(logits[0]) - posteriors[0]
    found = likeliest(logits, normaliser, VOCABULARY, 3)
    assert [(one.id, one.text) for one in found] == [(1, " a"), (3, "我"), (4, " ")]
    assert [one.log_prob for one in found] == pytest.approx([posteriors[one] for one in (1, 3, 4)])
    assert likeliest(logits, normaliser, VOCABULARY, 0) == ()
    assert len(likeliest(logits, normaliser, VOCABULARY, 99)) == 6


def reading(texts: list[str], start: float, raw: str) -> Reading:
    """A piece of 1.2 s whose tokens stand in its rows 4, 6, 8, ..."""
    tokens = tuple(
        Token(k, text, start + k / 10, start + k / 10 + 0.06, (4 + 2 * k, 5 + 2 * k), 4 + 2 * k, -0.1 * (k + 1))
        for k, text in enumerate(texts)
    )
    tags = tuple(Tag("event", "BGM", {"BGM": 1.0}, 1.0, "<|BGM|>", row, start, start + 1.2) for row in range(4))
    return Reading(tokens, tags, raw, rows=24, prompts=4, start=start, end=start + 1.2)


def test_join_numbers_rows_tokens_and_words_through() -> None:
    readings = [
        reading([" ", "我", "好", "，"], 0.0, "<|zh|><|HAPPY|> 我好，"),
        reading([], 3.0, "<|nospeech|><|Event_UNK|>"),
        reading([" ni", "ght", "<|BGM|>", " sun"], 5.0, "<|en|><|SAD|><|BGM|> night<|BGM|> sun"),
    ]
    told = join(readings, 6.15)
    assert told.text == "我好， night sun"
    assert told.raw_text == "<|zh|><|HAPPY|> 我好，<|nospeech|><|Event_UNK|><|en|><|SAD|><|BGM|> night<|BGM|> sun"
    assert told.rich_text == "我好，😊 ❓ 🎼night sun😔"
    assert [piece.rows for piece in told.pieces] == [(0, 24), (24, 48), (48, 72)]
    assert [piece.tokens for piece in told.pieces] == [(0, 4), (4, 4), (4, 8)]
    assert [(piece.start, piece.end, piece.prompts) for piece in told.pieces] == [(0.0, 1.2, 4), (3.0, 4.2, 4), (5.0, 6.15, 4)]
    assert [token.rows for token in told.tokens] == [(4 + 2 * k, 5 + 2 * k) for k in range(4)] + [
        (52 + 2 * k, 53 + 2 * k) for k in range(4)
    ]
    assert [token.peak for token in told.tokens] == [token.rows[0] for token in told.tokens]
    assert [token.start for token in told.tokens[4:]] == pytest.approx([5.0, 5.1, 5.2, 5.3])
    assert [(word.text, word.tokens) for word in told.words] == [
        ("我", (0, 2)),
        ("好，", (2, 4)),
        ("night", (4, 6)),
        ("sun", (7, 8)),
    ]
    assert [(word.start, word.end) for word in told.words[2:]] == [
        (pytest.approx(5.0), pytest.approx(5.16)),
        (pytest.approx(5.3), pytest.approx(5.36)),
    ]
    assert [tag.row for tag in told.tags] == [0, 1, 2, 3, 24, 25, 26, 27, 48, 49, 50, 51]
    assert [tag.end for tag in told.tags[::4]] == [1.2, 4.2, 6.15]


def test_words_do_not_reach_over_pieces() -> None:
    told = join([reading([" go"], 0.0, " go"), reading(["od"], 3.0, "od")], 9.0)
    assert [(word.text, word.tokens) for word in told.words] == [("go", (0, 1)), ("od", (1, 2))]
    assert told.text == "go od"


def test_nothing_ends_after_the_sound() -> None:
    told = join([reading([" a", "b"], 0.0, " ab")], 0.13)
    assert [token.end for token in told.tokens] == [0.06, 0.13]
    assert told.words[0].end == told.pieces[0].end == told.tags[0].end == 0.13


def test_join_of_nothing() -> None:
    told = join([], 40.0)
    assert (told.text, told.rich_text, told.raw_text, told.duration) == ("", "", "", 40.0)
    assert told.tokens == told.words == told.tags == told.pieces == ()
