"""Tokens: read from every form in which they come, and spelled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxray.types import ModelError
from voxray.vocabulary import Vocabulary, read_vocabulary, strip_tags

PIECES = ("<unk>", "▁hello", "world", "<|zh|>", "▁", "<|withitn|>", "的")


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(PIECES)


def test_pieces_ids_and_tags(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) == 7
    assert vocabulary.ids["world"] == 2
    assert vocabulary.tags == {"zh": 3, "withitn": 5}
    assert [vocabulary.text(index) for index in (1, 2, 4)] == [" hello", "world", " "]
    assert vocabulary.spell([1, 2, 6, 1]) == "helloworld的 hello"
    assert vocabulary.spell([]) == ""


def test_a_piece_that_comes_twice_has_its_first_id() -> None:
    assert Vocabulary(("a", "b", "a")).ids == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("text", "bare"),
    [("<|zh|><|HAPPY|>你好<|BGM|>", "你好"), ("a < b |> c", "a < b |> c"), ("<||>x", "x"), ("", "")],
)
def test_tags_are_stripped(text: str, bare: str) -> None:
    assert strip_tags(text) == bare


def test_the_fixture_has_the_ids_that_its_makers_say(data: Path) -> None:
    vocabulary = read_vocabulary(data / "sensevoice-funasr", 280)
    assert vocabulary.pieces[:3] == ("<unk>", "<s>", "</s>")
    wanted = {"zh": 112, "en": 113, "yue": 116, "ja": 120, "ko": 124, "nospeech": 217, "Speech": 218, "/Speech": 219,
              "HAPPY": 226, "EMO_UNKNOWN": 234, "withitn": 241, "woitn": 242, "Event_UNK": 244}  # fmt: skip
    assert {name: vocabulary.tags[name] for name in wanted} == wanted
    assert len(vocabulary.tags) == 168


def test_the_lists_of_both_exporters_are_one(data: Path, shared_fixtures: Path) -> None:
    numbered = read_vocabulary(shared_fixtures / "sensevoice-sherpa", 280)
    assert numbered == read_vocabulary(data / "sensevoice-funasr", 280)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", ["tokens.txt", "vocab.txt"])
def test_numbered_lines(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "<unk> 0\r\n▁a 2\n\n的 1\n 4\nb c 3\n")
    assert read_vocabulary(tmp_path, 5).pieces == ("<unk>", "的", "▁a", "b c", " ")


def test_pieces_may_hold_signs_that_python_takes_for_line_breaks(tmp_path: Path) -> None:
    pieces = ["<unk>", "a\u2028b", "\x85", "c\x0bd"]
    write(tmp_path, "tokens.txt", "".join(f"{piece} {index}\n" for index, piece in enumerate(pieces)))
    assert len(read_vocabulary(tmp_path, 4)) == 4
    assert read_vocabulary(tmp_path, 4).pieces[1] == "a\u2028b"


def test_of_several_files_the_fitting_one_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "tokens.json", json.dumps(["a", "b"]))
    write(tmp_path, "tokens.txt", "x 0\ny 1\nz 2\n")
    assert read_vocabulary(tmp_path, 2).pieces == ("a", "b")
    assert read_vocabulary(tmp_path, 3).pieces == ("x", "y", "z")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokens.json", '["a", "b", "c"]', r"tokens\.json holds 3 tokens but the model emits 2; use the tokens file that"),
        ("tokens.txt", "a 0\n", r"tokens\.txt holds 1 tokens but the model emits 2"),
        ("tokens.json", "", r"tokens\.json is no readable list of tokens"),
        ("tokens.json", "hello", r"tokens\.json is no readable list of tokens .*; copy or download it again"),
        ("tokens.json", '{"a": 0}', "a JSON list of texts was expected"),
        ("tokens.json", "[1, 2]", "a JSON list of texts was expected"),
        ("tokens.json", "[" * 100_000, r"tokens\.json is no readable list of tokens"),
        ("tokens.json", bytes(range(256)), r"tokens\.json is no readable list of tokens"),
        ("tokens.txt", b"\x89PNG\r\n\x1a\n\0\0", r"tokens\.txt is no readable list of tokens"),
        ("tokens.txt", "one\ntwo\n", r"tokens\.txt is no readable list of tokens"),
        ("tokens.txt", "a 0\nb 2\n", "2 lines should have the ids 0 to 1, each once"),
        ("tokens.txt", "a 0\nb 0\n", "2 lines should have the ids 0 to 1, each once"),
        ("other.txt", "a 0\nb 1\n", r"holds no tokens: tokens\.json, tokens\.txt or vocab\.txt was expected beside the model"),
    ],
)
def test_unusable_lists_are_refused_in_one_line(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, name, content)
    with pytest.raises(ModelError, match=message) as caught:
        read_vocabulary(tmp_path, 2)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
