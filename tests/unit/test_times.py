"""True times of words: every form that is understood, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxray.exports import write_export
from voxray.manifest import read_times
from voxray.types import OptionError

WORDS = (("the", 0.5, 0.6), ('a "b"', 0.7, 1.25))
RECORD = {"id": "clip", "duration": 2.0, "words": [{"text": text, "start": a, "end": b} for text, a, b in WORDS]}


def near(found: tuple[tuple[str, float, float], ...]) -> list[tuple[str, float, float]]:
    return [(text, round(start, 4), round(end, 4)) for text, start, end in found]


def test_what_is_exported_is_read_again(tmp_path: Path) -> None:
    for form in ("textgrid", "ctm"):
        write_export([RECORD], tmp_path / form, form)
    grids = sorted((tmp_path / "textgrid").rglob("*.TextGrid")) or [tmp_path / "textgrid"]
    assert near(read_times(grids[0])[""]) == list(WORDS)


@pytest.mark.parametrize(
    "told",
    [
        [{"word": text, "start": a, "end": b} for text, a, b in WORDS],
        {"words": [{"text": text, "start": a, "end": b} for text, a, b in WORDS]},
    ],
)
def test_json_of_one_sound(told: object, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    assert read_times(path) == {"": WORDS}


def test_json_of_several_sounds(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    entry = [{"word": text, "start": a, "end": b} for text, a, b in WORDS]
    path.write_text(json.dumps({"a.wav": {"words": entry, "text": "x"}, "sub/b.flac": entry}), encoding="utf-8")
    assert read_times(path) == {"a": WORDS, "b": WORDS}


def test_ctm(tmp_path: Path) -> None:
    path = tmp_path / "all.ctm"
    path.write_text(";; made by hand\nclip 1 0.50 0.10 the 0.99\nclip 1 0.70 0.55 b\nother 1 0.00 0.25 好\n\n", encoding="utf-8")
    found = read_times(path)
    assert near(found["clip"]) == [("the", 0.5, 0.6), ("b", 0.7, 1.25)]
    assert found["other"] == (("好", 0.0, 0.25),)


def test_textgrid_by_the_tier_of_words(tmp_path: Path) -> None:
    path = tmp_path / "clip.TextGrid"

    def tier(number: int, name: str, text: str) -> str:
        lines = [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            *("        xmin = 0", "        xmax = 1", "        intervals: size = 2", "        intervals [1]:"),
            *("            xmin = 0", "            xmax = 0.25", '            text = ""', "        intervals [2]:"),
            *("            xmin = 0.25", "            xmax = 1", f'            text = "{text}"'),
        ]
        return "\n".join(lines) + "\n"

    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\ntiers? <exists>\nsize = 2\nitem []:\n'
    path.write_bytes((head + tier(1, "phones", "ð") + tier(2, "Words", 'say ""the""')).encode("utf-16"))
    assert read_times(path) == {"": (('say "the"', 0.25, 1.0),)}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", "[1, 2]", r"each word is \{word, start, end\}, got 1"),
        ("a.json", "{", "holds no words with times as JSON"),
        ("a.json", "[]", "holds no words with times; give JSON"),
        ("a.ctm", "clip 1 0.5 the", "line 1 has 4 fields"),
        ("a.ctm", "clip 1 now 0.5 the", "could not convert"),
        ("a.TextGrid", 'File type = "ooTextFile"', "no interval tier"),
    ],
)
def test_what_is_none(name: str, text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=told):
        read_times(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read: No such file"):
        read_times(tmp_path / "none.json")
    (tmp_path / "sound.ctm").write_bytes(b"\x80\x81RIFF")
    with pytest.raises(OptionError, match="is no text"):
        read_times(tmp_path / "sound.ctm")
