"""The lexicons: enough words, none that sound alike, patterns that can be filled, and a split by the sentences' letters."""

from __future__ import annotations

import zlib
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from voxray.truespeech import lexicon as module
from voxray.truespeech.clip import is_held_out
from voxray.truespeech.engine import engine
from voxray.truespeech.lexicon import LANGUAGES, Entry, lexicon
from voxray.truespeech.voices import ENGINE_LANGUAGE

every_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a lexicon from text, past the cache."""

    def from_text(text):
        (tmp_path / "xx.txt").write_text(text, encoding="utf-8")
        monkeypatch.setattr(module, "FOLDER", tmp_path)
        return lexicon.__wrapped__("xx")

    return from_text


def test_languages_are_those_of_sensevoice():
    assert set(LANGUAGES) == {"zh", "yue", "en", "ja", "ko"} == set(ENGINE_LANGUAGE)
    assert {path.stem for path in module.FOLDER.glob("*.txt")} == set(LANGUAGES)
    assert [lexicon(language).language for language in LANGUAGES] == list(LANGUAGES)


@every_language
def test_words_are_many_and_each_is_written_in_one_way(language):
    words = lexicon(language).words
    assert len(words) >= 400
    assert len({word.written for word in words}) == len({word.read for word in words}) == len(words)
    assert all(word.written and word.read and not set(" /#[]") & set(word.written + word.read) for word in words)


@every_language
def test_no_two_words_sound_alike(language):
    spoken = Counter(engine().phonemes(word.read, ENGINE_LANGUAGE[language]) for word in lexicon(language).words)
    assert [reading for reading, count in spoken.items() if count > 1] == []
    assert "" not in spoken
    assert not any("(" in reading for reading in spoken)  # the engine's mark where it goes over to another language


@every_language
def test_sentences_of_a_pattern_take_a_word_of_each_category(language):
    words, rng = lexicon(language), np.random.default_rng(0)
    assert len(words.patterns) >= 20
    assert {name for pattern in words.patterns for name in pattern} == set(words.categories)
    for _ in range(200):
        drawn = words.in_pattern(rng)
        fits = [p for p in words.patterns if len(p) == len(drawn)]
        assert any(all(word in words.categories[name] for word, name in zip(drawn, p, strict=True)) for p in fits)


@every_language
def test_open_order_draws_every_word_equally_often(language):
    words, rng = lexicon(language), np.random.default_rng(0)
    drawn = [words.in_open_order(rng, 20) for _ in range(len(words.words))]
    assert all(one != other for sentence in drawn for one, other in pairwise(sentence))
    times = Counter(word for sentence in drawn for word in sentence)
    counts = np.array([times[word] for word in words.words])
    assert counts.sum() == 20 * len(words.words)
    spread = np.sum((counts - 20) ** 2 / 20)  # chi square
    assert abs(spread - len(counts)) < 5 * np.sqrt(2 * len(counts))


@pytest.mark.parametrize(("language", "written"), [("en", "a b"), ("ko", "a b"), ("zh", "ab"), ("yue", "ab"), ("ja", "ab")])
def test_transcripts_have_the_spaces_of_their_language(language, written):
    assert lexicon(language).written((Entry("a", "x"), Entry("b", "y"))) == written


@every_language
def test_one_sentence_in_ten_is_held_out(language):
    words, rng = lexicon(language), np.random.default_rng(0)
    texts = {words.written(words.in_open_order(rng, 4)) for _ in range(2000)}
    held = [text for text in texts if is_held_out(text)]
    assert all(zlib.crc32(text.encode()) % 10 == 0 for text in held)
    assert len(held) / len(texts) == pytest.approx(0.1, abs=4 * np.sqrt(0.1 * 0.9 / 2000))


def test_a_file_holds_words_readings_and_patterns(read):
    words = read("# Words.\n[food]\napple 学校/がっこう # eaten\n[act]\nsing\n[food]\nbread\n[sentences]\nfood act\nact\n")
    assert words.categories == {
        "food": (Entry("apple", "apple"), Entry("学校", "がっこう"), Entry("bread", "bread")),
        "act": (Entry("sing", "sing"),),
    }
    assert words.patterns == (("food", "act"), ("act",))
    assert [word.written for word in words.words] == ["apple", "学校", "bread", "sing"]


def test_a_pattern_of_unknown_categories_is_refused(read):
    with pytest.raises(ValueError, match=r"lexicon/xx.txt: unknown categories \['drink', 'go'\]"):
        read("[food]\napple\n[sentences]\nfood drink\ngo\n")


def test_a_word_with_two_readings_is_refused(read):
    with pytest.raises(ValueError, match=r"words with two readings \['市'\]"):
        read("[place]\n市/し\n[time]\n市/いち\n[sentences]\nplace\n")
