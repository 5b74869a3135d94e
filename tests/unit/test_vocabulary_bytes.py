"""Whisper's tokens: rows of bytes, cut from a text by merging pairs, read from every form in which they come."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.types import ModelError, OptionError
from voxray.vocabulary import ByteVocabulary, read_byte_vocabulary

SIZE = 1867  # of the fixtures' vocabulary
# Of GPT-2's pattern, by tiktoken 0.14 with the pattern of openai-whisper 20250625.
WORDS = [
    ("Hello world, it's 3 o'clock!!  And\n\n the end   ",
     ["Hello", " world", ",", " it", "'s", " 3", " o", "'", "clock", "!!", " ", " And", "\n\n", " the", " end", "   "]),
    ("I'LL can't we've", ["I", "'", "LL", " can", "'t", " we", "'ve"]),
    ("x² ①Ⅳ _a_", ["x", "²", " ①Ⅳ", " _", "a", "_"]),
    ("a\u3000b\xa0c\x1cd\t e", ["a", "\u3000", "b", "\xa0", "c", "\x1c", "d", "\t", " e"]),
    ("नमस्ते", ["नमस", "्", "त", "े"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary(data: Path) -> ByteVocabulary:
    return read_byte_vocabulary([data / "whisper-tiny-optimum"], SIZE, {})


def slow_cut(vocabulary: ByteVocabulary, word: str) -> list[int]:
    """Return the ids of one word: every merge of the list in turn, as often as it fits, from the left."""
    parts = [bytes([byte]) for byte in word.encode()]
    for left, right in sorted(vocabulary.merges, key=lambda pair: vocabulary.merges[pair]):
        at = 0
        while at + 1 < len(parts):
            if (parts[at], parts[at + 1]) == (left, right):
                parts[at : at + 2] = [left + right]
            at += 1
    return [vocabulary.contents.index(part) for part in parts]


def test_every_form_has_the_same_tokens(vocabulary: ByteVocabulary, data: Path) -> None:
    quick = read_byte_vocabulary([data / "whisper-tiny-merged" / "onnx", data / "whisper-tiny-merged"], SIZE, {})
    assert (data / "whisper-tiny-merged" / "tokenizer.json").is_file()
    assert quick == vocabulary
    told = {
        "sot": "353", "eot": "352", "transcribe": "361", "translate": "360", "sot_prev": "363", "sot_lm": "362", "no_speech": "364",
        "no_timestamps": "365", "all_language_tokens": "354,355,356,357,358,359", "all_language_codes": "en,zh,de,ko,ja,yue",
    }  # fmt: skip
    sherpa = read_byte_vocabulary([data / "whisper-tiny-sherpa"], SIZE, told)
    assert (sherpa.pieces, sherpa.contents) == (vocabulary.pieces, vocabulary.contents)
    assert sherpa.merges == {}  # there the ids tell the ranks
    for text in ("the other dog waits in the house", " 你好，今天", "안녕하세요. Katze!"):
        assert sherpa.cut(text) == vocabulary.cut(text)


def test_ids_of_tags_and_timestamps(vocabulary: ByteVocabulary) -> None:
    wanted = {"endoftext": 352, "startoftranscript": 353, "en": 354, "yue": 359, "nospeech": 364, "notimestamps": 365, "0.00": 366}
    assert {name: vocabulary.tags[name] for name in wanted} == wanted
    assert vocabulary.pieces[-1] == "<|30.00|>"  # which this folder's files leave out
    assert len(vocabulary) == SIZE


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_texts_are_parted_as_gpt2_does_it(text: str, words: list[str], vocabulary: ByteVocabulary) -> None:
    wanted = [one for word in words for one in slow_cut(vocabulary, word)]
    assert list(vocabulary.cut(text)) == wanted


@given(st.text(st.sampled_from([*"theoinsaw 'sé你好今天안ü.,!\n3"]), max_size=24))
@settings(max_examples=100, deadline=None)
def test_cut_and_spelled_again(text: str) -> None:
    vocabulary = read_byte_vocabulary([Path(__file__).parents[1] / "data" / "whisper-tiny-optimum"], SIZE, {})
    ids = vocabulary.cut(text)
    assert "".join(vocabulary.texts(ids)) == text
    assert vocabulary.spell(ids) == text.strip()


@given(st.text(st.sampled_from([*"theoinsaw"]), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_words_are_merged_in_the_order_of_the_list(word: str) -> None:
    vocabulary = read_byte_vocabulary([Path(__file__).parents[1] / "data" / "whisper-tiny-optimum"], SIZE, {})
    assert list(vocabulary.cut(word)) == slow_cut(vocabulary, word)


def test_a_character_of_several_tokens_is_told_by_the_last(vocabulary: ByteVocabulary) -> None:
    ids = vocabulary.cut("a猫b")
    assert len(ids) == 5
    assert vocabulary.texts(ids) == ["a", "", "", "猫", "b"]
    assert vocabulary.texts(ids[:3]) == ["a", "", "\ufffd"]
    assert vocabulary.text(ids[1]) == "\ufffd"
    assert vocabulary.texts([]) == []


def test_spelled_with_tags(vocabulary: ByteVocabulary) -> None:
    ids = [366, *vocabulary.cut(" the dog"), 400]
    assert vocabulary.spell(ids) == "<|0.00|> the dog<|0.68|>"


def test_a_wording_begins_with_a_space_where_words_do(vocabulary: ByteVocabulary) -> None:
    assert vocabulary.encode("the  dog ") == vocabulary.cut("the dog")
    assert vocabulary.encode("the dog", after_space=True) == vocabulary.cut(" the dog")
    with pytest.raises(OptionError, match="nothing to spell in ' '"):
        vocabulary.encode(" ")


def test_a_vocabulary_without_a_byte_cannot_spell_it() -> None:
    small = ByteVocabulary(("a", "b", "ab"), (b"a", b"b", b"ab"))
    assert small.cut("abab") == (2, 2)
    with pytest.raises(OptionError, match="this model's vocabulary cannot spell 'ac'"):
        small.cut("ac")


def test_the_real_list_ends_with_a_token_of_no_bytes(tmp_path: Path) -> None:
    lines = [f"{base64.b64encode(bytes([index])).decode()} {index}" for index in range(3)]
    (tmp_path / "base-tokens.txt").write_text("\n".join([*lines, "= 3"]), encoding="ascii")
    found = read_byte_vocabulary([tmp_path], 5, {"eot": "4"})
    assert found.contents == (b"\0", b"\1", b"\2", b"", b"")
    assert found.pieces[3:] == ("", "<|endoftext|>")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"model": {"vocab": {"\\u4f60": 0}}}'),
        ("tokenizer.json", '{"model": {"vocab": {"a": 0}, "merges": ["a"]}}'),
        ("tokenizer.json", "[" * 100000),
        ("vocab.json", '["a"]'),
        ("vocab.json", '{"a": "x"}'),
        ("x-tokens.txt", "a b c"),
        ("x-tokens.txt", "%% 0"),
        ("x-tokens.txt", "\u4f60 0"),
    ],
)
def test_damaged_lists_are_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{name} is no readable list of tokens .*; copy or download it again"):
        read_byte_vocabulary([tmp_path], 100, {})


def test_lists_of_another_model_are_refused(data: Path) -> None:
    with pytest.raises(ModelError, match=r"vocab\.json holds a token 365 but the model emits 300; use the tokens"):
        read_byte_vocabulary([data / "whisper-tiny-optimum"], 300, {})


def test_missing_lists_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no tokens: tokenizer\.json, vocab\.json or a tokens\.txt was expected"):
        read_byte_vocabulary([tmp_path, tmp_path.parent / "nowhere"], 10, {})


def test_added_tokens_and_merges_are_optional(data: Path, tmp_path: Path, vocabulary: ByteVocabulary) -> None:
    shutil.copy(data / "whisper-tiny-optimum" / "vocab.json", tmp_path)
    told = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps(told | {"<|endoftext|>": 352}), encoding="utf-8")
    found = read_byte_vocabulary([tmp_path], 354, {})
    assert found.tags == {"endoftext": 352, "353": 353}
    assert found.cut("the dog") == vocabulary.cut("the dog")  # without ranks, ids are in the order of the merges
