"""The vocabulary of the bundled model, and the targets made of clips."""

from __future__ import annotations

import numpy as np
import pytest

from recipe.tokens import BLANK, STOP, TAGS, Target, pieces_of, tag, target, vocabulary
from voxray.truespeech.clip import Clip
from voxray.truespeech.lexicon import LANGUAGES, lexicon
from voxray.truespeech.spoken import Word

IDS = {token: index for index, token in enumerate(vocabulary())}


def clip(language: str, *words: tuple[str, float, float], seconds: float = 3.0) -> Clip:
    spoken = tuple(Word(text, round(start * 16_000), round(end * 16_000)) for text, start, end in words)
    text = (" " if language in ("en", "ko") else "").join(word.text for word in spoken)
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Clip(samples, language, "HAPPY", "BGM", text, spoken, (), None, "concat", {})


def test_every_token_is_there_once() -> None:
    assert len(IDS) == len(vocabulary())
    assert vocabulary()[:3] == ("<unk>", "<s>", "</s>")
    assert vocabulary()[-len(TAGS) :] == TAGS
    assert {"<|zh|>", "<|nospeech|>", "<|EMO_UNKNOWN|>", "<|Event_UNK|>", "<|withitn|>", "<|woitn|>"} <= set(TAGS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_can_be_written_and_read_back(language: str) -> None:
    for entry in lexicon(language).words:
        pieces = pieces_of(entry.written, language)
        assert all(piece in IDS for piece in pieces)
        assert "".join(pieces).replace("▁", "") == entry.written
        assert pieces[0].startswith("▁") == (language in ("en", "ko"))


def test_english_words_are_whole_and_others_are_characters() -> None:
    assert pieces_of("yesterday", "en") == ("▁yesterday",)
    assert pieces_of("学校に", "ja") == ("学", "校", "に")
    assert pieces_of("친구가", "ko") == ("▁친", "구", "가")


def test_target_of_a_clip() -> None:
    words = [entry.written for entry in lexicon("ko").words if len(entry.written) == 3][:2]
    found = target(clip("ko", (words[0], 0.30, 0.66), (words[1], 0.90, 1.26)))
    assert found.tags == (tag("ko"), tag("HAPPY"), tag("BGM"))
    assert [vocabulary()[token] for token in found.tokens] == [*pieces_of(words[0], "ko"), *pieces_of(words[1], "ko")]
    assert found.spans == ((5, 6), (7, 8), (9, 10), (15, 16), (17, 18), (19, 20))
    assert vocabulary()[found.stop] == STOP["ko"] == "."


def test_a_word_shorter_than_its_tokens_still_has_a_frame_for_each() -> None:
    word = next(entry.written for entry in lexicon("zh").words if len(entry.written) == 3)
    spans = target(clip("zh", (word, 0.30, 0.36))).spans
    assert len(spans) == 3
    assert all(start <= end for start, end in spans)


def test_silence_has_tags_but_no_text() -> None:
    silent = Clip(np.zeros(16_000, np.float32), "nospeech", "EMO_UNKNOWN", "Event_UNK", "", (), (), None, "none", {})
    found = target(silent)
    assert (found.tokens, found.stop, found.frames_needed) == ((), BLANK, 0)
    assert found.tags == (tag("nospeech"), tag("EMO_UNKNOWN"), tag("Event_UNK"))


def test_equal_neighbours_need_a_blank_between_them() -> None:
    assert Target((1, 2, 3), (7, 7, 8, 7, 7), ((0, 0),) * 5, 0).frames_needed == 7
    assert Target((1, 2, 3), (7, 8), ((0, 0),) * 2, 9).frames_needed == 3
