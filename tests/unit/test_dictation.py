"""What a Whisper may say, against OpenAI's rules written out plainly; and the settings that come with it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.dictation import ALIGNING, Manner, Signs, aligning_heads, find_signs, permitted
from voxray.dictation import settings as read_settings
from voxray.types import ModelError, OptionError
from voxray.vocabulary import ByteVocabulary, read_byte_vocabulary

# A small Whisper's ids: 0..9 text, 10 end, 11 start, 12 no timestamps, 13.. timestamps.
SIGNS = Signs(
    start=11,
    end=10,
    silence=-1,
    plain=12,
    tasks={},
    languages={},
    never=np.array([3, 11]),
    not_first=np.array([0, 10]),
)
STAMPS, SIZE = 13, 80
TINY = (4, 4, 384, 80, True)


def slow_permitted(scores: list[float], said: list[int], *, timestamps: bool) -> list[float]:
    """Return the scores after OpenAI's SuppressBlank, SuppressTokens and ApplyTimestampRules, rule by rule."""
    result = list(scores)

    def forbid(ids: Any) -> None:
        for one in ids:
            result[one] = -math.inf

    if not said:
        forbid([0, 10])
    forbid([3, 11])
    if not timestamps:
        return result
    forbid([12])
    ends_with_stamp = bool(said) and said[-1] >= STAMPS
    before_is_stamp = len(said) < 2 or said[-2] >= STAMPS
    if ends_with_stamp and before_is_stamp:
        forbid(range(STAMPS, SIZE))
    elif ends_with_stamp:
        forbid(range(10))
    stamps = [one for one in said if one >= STAMPS]
    if stamps:
        forbid(range(STAMPS, stamps[-1] + (0 if ends_with_stamp and not before_is_stamp else 1)))
    if not said:
        forbid(range(STAMPS))
        forbid(range(STAMPS + 51, SIZE))
    total = sum(math.exp(one) for one in result[STAMPS:])
    if total > 0 and math.log(total) > max(result[:STAMPS]):
        forbid(range(STAMPS))
    return result


@given(
    st.lists(st.sampled_from([1, 2, 5, 13, 14, 20, 40, 79]), max_size=5),
    st.booleans(),
    st.integers(0, 10**6),
    st.sampled_from([-4.0, 0.0, 3.0]),
)
@settings(max_examples=200, deadline=None)
def test_what_may_come_next_is_what_openai_permits(said: list[int], timestamps: bool, seed: int, lift: float) -> None:
    scores = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    scores[STAMPS:] += np.float32(lift)
    before = scores.copy()
    found = permitted(scores, said, SIGNS, timestamps=timestamps)
    assert np.array_equal(scores, before)
    np.testing.assert_array_equal(found, np.array(slow_permitted(scores.tolist(), said, timestamps=timestamps), np.float32))


def test_a_stamp_must_come_where_all_together_outweigh_the_text() -> None:
    scores = np.zeros(SIZE, np.float32)
    assert permitted(scores, [13, 1], SIGNS, timestamps=True)[1] == -np.inf  # 66 stamps, none of them likelier than the text
    scores[1] = 5
    assert permitted(scores, [13, 1], SIGNS, timestamps=True).argmax() == 1


def test_another_task_is_refused() -> None:
    with pytest.raises(OptionError, match="a Whisper's task is transcribe or translate, got 'sing'"):
        Manner(task="sing")  # type: ignore[arg-type]


# -- the settings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vocabulary(data: Path) -> ByteVocabulary:
    return read_byte_vocabulary([data / "whisper-tiny-optimum"], 1867, {})


def test_signs_of_a_multilingual_whisper(vocabulary: ByteVocabulary) -> None:
    found = find_signs(vocabulary, {}, {"suppress_tokens": [5, 9999], "begin_suppress_tokens": [7]})
    assert (found.start, found.end, found.silence, found.plain) == (353, 352, 364, 365)
    assert list(found.languages.items()) == [("en", 354), ("zh", 355), ("de", 356), ("ko", 357), ("ja", 358), ("yue", 359)]
    assert found.tasks == {"transcribe": 361, "translate": 360}
    assert found.never.tolist() == [5, 353, 360, 361, 362, 363, 364]
    assert found.not_first.tolist() == [7]


@pytest.mark.parametrize(
    ("told", "generation"), [({"is_multilingual": "0"}, {}), ({}, {"is_multilingual": False, "lang_to_id": {"<|en|>": 354}})]
)
def test_an_english_whisper_is_told_no_language(told: Any, generation: Any, vocabulary: ByteVocabulary) -> None:
    found = find_signs(vocabulary, told, generation)
    assert (found.languages, found.tasks) == ({}, {})


def test_without_settings_nothing_is_said_that_openai_does_not_say(vocabulary: ByteVocabulary) -> None:
    found = find_signs(vocabulary, {}, {})
    texts = {vocabulary.text(one) for one in found.never.tolist() if one < 352}
    assert texts >= {"(", "[", "*", "#", "<", "|", "~", "@"}  # alone; "♪" and "「" begin with the bytes below
    assert {vocabulary.contents[one] for one in found.never.tolist()} >= {"♪".encode()[:1], b" "}  # " -" begins with the space
    assert not texts & {"a", ".", ",", "!", "?", "%"}
    assert found.not_first.tolist() == sorted([*vocabulary.cut(" "), 352])
    stated = find_signs(vocabulary, {"non_speech_tokens": "1,2"}, {"suppress_tokens": [3]})
    assert stated.never.tolist()[:3] == [1, 2, 353]


def test_tokens_of_another_model_are_told() -> None:
    with pytest.raises(ModelError, match=r"the tokens hold no <\|startoftranscript\|>, so they belong to no Whisper"):
        find_signs(ByteVocabulary(("a",), (b"a",)), {}, {})


@pytest.mark.parametrize("generation", [{"suppress_tokens": ["x"]}, {"begin_suppress_tokens": 3}, {"suppress_tokens": [None]}])
def test_forbidden_tokens_that_are_no_numbers_are_refused(generation: Any, vocabulary: ByteVocabulary) -> None:
    with pytest.raises(ModelError, match=r"the settings forbid tokens by what is no number .*; download them again"):
        find_signs(vocabulary, {}, generation)


def test_alignment_heads_come_from_where_they_are_told() -> None:
    tiny = ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5))
    assert aligning_heads({}, {}, TINY) == tiny
    assert aligning_heads({}, {"alignment_heads": [[1, 5], [2, 0]]}, TINY) == ((1, 5), (2, 0))
    assert aligning_heads({"alignment_heads": "0:3,1:2"}, {"alignment_heads": [[1, 5]]}, TINY) == ((0, 3), (1, 2))
    assert aligning_heads({}, {}, (2, 2, 16, 80, True)) is None
    assert aligning_heads({}, {}, (32, 32, 1280, 80, True)) is None  # large v1 and v2 cannot be told apart


def test_the_table_names_heads_that_there_are() -> None:
    heads = {384: 6, 512: 8, 768: 12, 1024: 16, 1280: 20}
    for size in ALIGNING:
        found = aligning_heads({}, {}, size)
        assert found is not None
        assert all(layer < size[1] and head < heads[size[2]] for layer, head in found)
        assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("told", "generation", "complaint"),
    [
        ({"alignment_heads": "1-2"}, {}, "are no pairs of numbers"),
        ({}, {"alignment_heads": [3]}, "are no pairs of numbers"),
        ({}, {"alignment_heads": [["a", 1]]}, "are no pairs of numbers"),
        ({}, {"alignment_heads": [[4, 1]]}, "beyond the decoder's 4 layers"),
        ({}, {"alignment_heads": [[-1, 1]]}, "beyond the decoder's 4 layers"),
    ],
)
def test_senseless_alignment_heads_are_refused(told: Any, generation: Any, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        aligning_heads(told, generation, TINY)


@pytest.mark.parametrize("content", ["{", "[1]", "\ud800", "[" * 100000])
def test_settings_that_cannot_be_read_are_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError, match=r"config\.json (cannot be read|is no list of settings).*copy or download it again"):
        read_settings([tmp_path], "config.json")


def test_settings_are_those_of_the_first_folder(tmp_path: Path) -> None:
    inner = tmp_path / "onnx"
    inner.mkdir()
    (tmp_path / "config.json").write_text('{"a": 1}', encoding="utf-8")
    assert read_settings([inner, tmp_path], "config.json") == {"a": 1}
    (inner / "config.json").write_text('{"a": 2}', encoding="utf-8")
    assert read_settings([inner, tmp_path], "config.json") == {"a": 2}
    assert read_settings([inner, tmp_path], "generation_config.json") == {}
