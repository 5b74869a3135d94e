"""The counts behind the model card."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from recipe.evaluate import Tally, distance, drifts, spread
from voxray.truespeech.clip import Clip
from voxray.truespeech.spoken import Word
from voxray.types import Token, Transcript


def clip(language: str, text: str, *words: Word) -> Clip:
    return Clip(np.zeros(16_000, np.float32), language, "SAD", "Speech", text, words, (), None, "concat", {})


def heard(text: str, *tokens: tuple[str, int], tags: tuple[str, ...] = ("zh", "SAD", "Speech")) -> Transcript:
    emitted = [Token(1, text, 0.0, 0.1, (row, row + 1), row, -0.1) for text, row in tokens]
    values: Any = SimpleNamespace(text=text, tokens=emitted, tags=[SimpleNamespace(label=label) for label in tags])
    return cast(Transcript, values)


@pytest.mark.parametrize(("one", "other", "edits"), [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("流れ", "流", 1)])
def test_distance(one: str, other: str, edits: int) -> None:
    assert distance(one, other) == distance(other, one) == edits


def test_distance_of_words() -> None:
    assert distance(["the", "cat", "sat"], ["the", "dog", "sat", "down"]) == 2


def test_drift_is_from_the_start_of_the_word_to_the_middle_of_the_emitting_window() -> None:
    said = clip("zh", "苹果好", Word("苹果", 4_000, 9_000), Word("好", 9_600, 12_000))
    found = heard("苹果好", ("苹", 10), ("果", 12), ("好", 15))
    assert drifts(said, found) == pytest.approx([6 * 0.06 + 0.0125 - 0.25, 11 * 0.06 + 0.0125 - 0.6])


def test_drift_leaves_out_words_whose_start_is_not_exact() -> None:
    said = clip("en", "one apple", Word("one", 1_600, 4_000), Word("apple", 4_000, 9_000, exact=False))
    assert len(drifts(said, heard("one apple", (" one", 6), (" apple", 9)))) == 1


def test_tally() -> None:
    tally = Tally()
    tally.add(clip("zh", "苹果好", Word("苹果", 0, 1), Word("好", 1, 2)), heard("苹好", ("苹", 4), ("好", 5)))
    tally.add(clip("zh", "好", Word("好", 0, 1)), heard("好", ("好", 4), tags=("yue", "SAD", "Speech")))
    tally.add(clip("en", "a cat", Word("a", 0, 1), Word("cat", 1, 2)), heard("a dog", tags=("en", "HAPPY", "BGM")))
    found = tally.figures()
    assert found["cer"] == {"en": 60.0, "zh": 25.0}
    assert found["wer"] == {"en": 50.0}
    assert found["wrong_clips"] == {"en": 100.0, "zh": 50.0}
    assert found["language"] == {"right": pytest.approx(200 / 3), "clips": 3, "confused": {"zh as yue": 1}}
    assert found["emotion"]["confused"] == {"SAD as HAPPY": 1}
    assert found["event"]["confused"] == {"Speech as BGM": 1}
    assert found["drift_ms"]["all"] == {"median": 12.5 - 0.0, "p10": 12.5, "p90": 12.5, "words": 1}


def test_letters_heard_in_silence_are_counted_apart() -> None:
    tally = Tally()
    silent = Clip(np.zeros(9, np.float32), "nospeech", "EMO_UNKNOWN", "Event_UNK", "", (), (), None, "none", {})
    tally.add(silent, heard("啊啊", tags=("nospeech", "EMO_UNKNOWN", "Event_UNK")))
    found = tally.figures()
    assert found["letters_where_nobody_speaks"] == 2
    assert found["cer"] == {}


def test_spread_in_milliseconds() -> None:
    assert spread([0.0, 0.1, 0.2]) == {"median": 100.0, "p10": pytest.approx(20.0), "p90": pytest.approx(180.0), "words": 3}
