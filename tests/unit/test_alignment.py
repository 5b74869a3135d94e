"""Tokens to words: one case for each way of writing, and what must hold for any row of tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.alignment import Stretch, group_words, stretches
from voxray.types import Token, Word


def tokens_of(texts: list[str]) -> list[Token]:
    """Tokens of one row each; token k lies at k to k + 0.5 s and is less likely than the one before."""
    return [
        Token(id=k, text=text, start=float(k), end=k + 0.5, rows=(k, k + 1), peak=k, log_prob=-float(k))
        for k, text in enumerate(texts)
    ]


def pieces_of(text: str) -> list[str]:
    """Pieces written with bars between them, ``▁it|'s``; the bars of tags part nothing."""
    kept = text.replace("<|", "\0").replace("|>", "\1")
    return [piece.replace("\0", "<|").replace("\1", "|>").replace("▁", " ") for piece in kept.split("|")]


def words_of(text: str) -> list[Word]:
    return list(group_words(tokens_of(pieces_of(text))))


SPELLINGS = {
    "zh": ("▁|白|色|哥|哥", ["白", "色", "哥", "哥"]),
    "zh with punctuation": ("你|好|，|世|界|。", ["你", "好，", "世", "界。"]),
    "yue": ("▁|我|水|打|開|嘅", ["我", "水", "打", "開", "嘅"]),
    "ja": ("き|ょ|う|、|カ|メ|ラ|々|。", ["き", "ょ", "う、", "カ", "メ", "ラ", "々。"]),
    "ja in half-width kana": ("ｱ|ｲ", ["ｱ", "ｲ"]),
    "rare hanzi": ("𠮷|野|﨑", ["𠮷", "野", "﨑"]),
    "ko": ("▁|고|마|워|▁|저|녁|▁언|제", ["고마워", "저녁", "언제"]),
    "en": ("▁night|▁hot|▁sun", ["night", "hot", "sun"]),
    "en in pieces": ("▁good|by|e|▁mor|ning", ["goodbye", "morning"]),
    "en without a first space": ("good|bye|▁you", ["goodbye", "you"]),
    "en with punctuation": ("▁well|,|▁yes|.|▁no|?|!", ["well,", "yes.", "no?!"]),
    "apostrophe joined": ("▁it|'s|▁don|'|t|▁I|’m", ["it's", "don't", "I’m"]),
    "apostrophe after a space": ("▁it|▁'s", ["it", "'s"]),
    "digits": ("▁3|.|1|4|▁2|0|%", ["3.14", "20%"]),
    "digits among hanzi": ("我|有|1|2|个", ["我", "有", "12", "个"]),
    "mixed": ("我|▁love|北|京", ["我", "love", "北", "京"]),
    "mixed, lone spaces": ("我|▁|love|▁|北|京", ["我", "love", "北", "京"]),
    "mixed without spaces": ("我|lo|ve|北", ["我", "love", "北"]),
    "both worlds' punctuation": ("▁hi|，|there|。|▁ok|,|好|!", ["hi，", "there。", "ok,", "好!"]),
    "tag before": ("<|en|>|▁night|▁hot", ["night", "hot"]),
    "tag inside": ("▁ni|<|BGM|>|ght|<|zh|>|好", ["ni", "ght", "好"]),
    "tag between word and punctuation": ("▁night|<|BGM|>|,|▁hot", ["night", "hot"]),
    "sign before a number": ("▁costs|▁$|5|▁now", ["costs", "$5", "now"]),
    "quote before a word": ("▁said|▁“|yes|”", ["said", "“yes”"]),
    "punctuation after a space": ("▁well|▁-|▁yes|▁…", ["well -", "yes …"]),
    "punctuation after a lone space": ("好|▁|，|世", ["好 ，", "世"]),
    "punctuation after two lone spaces": ("好|▁|▁|，|世", ["好  ，", "世"]),
    "punctuation before any word": ("，|。|▁|?|▁so", ["so"]),
    "only punctuation": ("，|▁|.", []),
    "only spaces": ("▁|▁", []),
    "only tags": ("<|en|>|<|HAPPY|>", []),
    "trailing space": ("▁so|▁", ["so"]),
}


@pytest.mark.parametrize(("pieces", "wanted"), SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(pieces: str, wanted: list[str]) -> None:
    assert [word.text for word in words_of(pieces)] == wanted


def test_no_tokens_spell_no_words() -> None:
    assert group_words([]) == ()


def test_times_and_certainty_come_from_spoken_tokens() -> None:
    first, second = words_of("▁|ni|ght|,|▁-|▁ho|t")
    assert first == Word("night, -", start=1.0, end=2.5, tokens=(0, 5), log_prob=-2.0)
    assert second == Word("hot", start=5.0, end=6.5, tokens=(5, 7), log_prob=-6.0)


def test_an_opening_sign_is_part_of_the_word_but_not_of_its_times() -> None:
    _, word = words_of("▁costs|▁$|5")
    assert word == Word("$5", start=2.0, end=2.5, tokens=(1, 3), log_prob=-2.0)


PIECES = [
    " ",
    " a",
    "b",
    "ni",
    " it",
    "'s",
    "'",
    "我",
    "京",
    "か",
    "ラ",
    "한",
    " 한",
    "1",
    "2",
    ",",
    ".",
    "，",
    "。",
    " -",
    " $",
    "!",
]
TAGS = ["<|en|>", "<|BGM|>", "<|/Speech|>"]
PUNCTUATION = [",", ".", "，", "。", " -", " $", "!"]


@settings(max_examples=500, deadline=None)
@given(texts=st.lists(st.sampled_from(PIECES + TAGS), max_size=14))
def test_every_token_has_its_place(texts: list[str]) -> None:
    tokens = tokens_of(texts)
    words = group_words(tokens)
    owners: list[list[int]] = [[] for _ in tokens]
    for index, word in enumerate(words):
        first, stop = word.tokens
        assert 0 <= first < stop <= len(tokens)
        spoken = [k for k in range(first, stop) if texts[k].strip() and texts[k] not in PUNCTUATION]
        assert (word.start, word.end) == (tokens[spoken[0]].start, tokens[spoken[-1]].end)
        assert word.log_prob == min(tokens[k].log_prob for k in spoken)
        assert word.text == "".join(texts[first:stop]).strip()
        for k in range(first, stop):
            owners[k].append(index)
    assert [word.tokens for word in words] == sorted(word.tokens for word in words)
    for k, text in enumerate(texts):
        if text in TAGS:
            assert owners[k] == []
        elif text.strip() and text not in PUNCTUATION:
            assert len(owners[k]) == 1
        elif text in PUNCTUATION and not owners[k]:  # nothing was said since the start or the last tag
            since = texts[max((j + 1 for j in range(k) if texts[j] in TAGS), default=0) : k]
            assert all(one == " " or one in PUNCTUATION for one in since)
        else:
            assert len(owners[k]) <= 1


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.sampled_from(PIECES), max_size=14))
def test_a_spoken_token_with_a_space_or_of_a_spaceless_script_begins_a_word(texts: list[str]) -> None:
    begins = {
        next(k for k in range(*word.tokens) if texts[k].strip() and texts[k] not in PUNCTUATION)
        for word in group_words(tokens_of(texts))
    }
    spoken = [k for k, text in enumerate(texts) if text.strip() and text not in PUNCTUATION]
    assert {k for k in spoken if texts[k].startswith(" ") or texts[k] in ("我", "京", "か", "ラ")} <= begins
    assert {k for k in spoken if k and texts[k - 1] in ("我", "京", "か", "ラ", "，", "。")} <= begins


def test_words_at_one_moment_share_the_time_around_it() -> None:
    said = [Word(text, start, end, (0, 1), 0.0) for text, start, end in
            [("a", 0.0, 0.0), ("b", 0.0, 0.4), ("c", 0.4, 0.4), ("d", 0.4, 0.9), ("e", 1.0, 1.0)]]  # fmt: skip
    found = stretches(said, 0.0, 1.0)
    assert [one.text for one in found] == ["a", "b", "c", "d", "", "e"]
    edges = [0.0, 0.06, 0.4, 0.46, 0.93, 0.94, 1.0]
    np.testing.assert_allclose([(one.start, one.end) for one in found], list(pairwise(edges)), atol=1e-9)
    crowded = stretches(said, 0.0, 0.2)
    assert [round(one.end - one.start, 9) for one in crowded] == [0.06, 0.14]
    together = [Word("x", 0.1, 0.1, (0, 1), 0.0)] * 4
    assert [one.text for one in stretches(together, 0.0, 0.12)] == ["x"] * 4


def test_stretches_of_a_span_leave_no_rest() -> None:
    said = [Word("a", 0.3, 0.5, (0, 1), 0.0), Word("b", 0.6, 0.8, (1, 2), 0.0), Word("later", 5.0, 5.2, (2, 3), 0.0)]
    found = stretches(said, 0.0, 1.5)
    assert [part.text for part in found] == ["", "a", "", "b", ""]
    assert [0.0, *(part.end for part in found)] == pytest.approx([0.0, 0.27, 0.53, 0.57, 0.83, 1.5])
    assert stretches([], 0.0, 2.0) == [Stretch("", 0.0, 2.0)]
