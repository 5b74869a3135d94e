"""Manifests in every format give the same clips; lines that cannot be used are named by number and cost only themselves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from voxray.manifest import Item, WordTime, read_manifest
from voxray.types import OptionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three files that stand for sounds; nothing here listens to them."""
    (tmp_path / "clips").mkdir()
    for name in ("a.wav", "b.wav", "c.flac"):
        (tmp_path / "clips" / name).write_bytes(b"sound")
    return tmp_path


def written(folder: Path, lines: list[Any], name: str = "m.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines), encoding="utf-8")
    return path


def problems(path: Path, fields: tuple[str, ...] = ()) -> list[str]:
    return [str(one) for one in read_manifest(path, fields).problems]


def test_every_field_of_a_line_arrives(folder: Path) -> None:
    line = {
        "id": 7, "audio": "clips/a.wav", "text": "你好", "lang": "zh-CN", "textnorm": True, "emotion": "HAPPY", "event": "BGM",
        "words": [{"word": "你", "start": 0.1, "end": 0.2}, {"word": "好", "start": "0.25", "duration": 0.5}],
        "offset": 1.5, "duration": 2, "speaker": {"name": "f1"}, "snr": 12.5, "empty": None,
    }  # fmt: skip
    (item,) = read_manifest(written(folder, ["", line])).items
    assert item == Item(
        id="7", audio=folder / "clips/a.wav", written="clips/a.wav", reference="你好", language="zh", textnorm=True,
        emotion="HAPPY", event="BGM", words=(WordTime("你", 0.1, 0.2), WordTime("好", 0.25, 0.75)), offset=1.5, duration=2.0,
        groups={"speaker": {"name": "f1"}, "snr": 12.5, "lang": "zh-CN", "language": "zh", "textnorm": True,
                "emotion": "HAPPY", "event": "BGM"},
        line=2,
    )  # fmt: skip


# What each kind of manifest writes for the same two clips.
FORMATS = {
    "m.jsonl": '{"audio": "clips/a.wav", "text": "hi, you"}\n{"audio": "clips/b.wav", "text": "bye"}\n',
    "m.json": '[\n  {"audio": "clips/a.wav", "text": "hi, you"},\n  {"audio": "clips/b.wav", "text": "bye"}\n]\n',
    "one-line.json": '[{"audio": "clips/a.wav", "text": "hi, you"}, {"audio": "clips/b.wav", "text": "bye"}]',
    "nemo.json": '{"audio_filepath": "clips/a.wav", "text": "hi, you"}\n{"audio_filepath": "clips/b.wav", "text": "bye"}',
    "hf.jsonl": '{"file_name": "clips/a.wav", "transcription": "hi, you"}\n{"file_name": "clips/b.wav", "transcription": "bye"}',
    "hub.jsonl": '{"audio": {"path": "clips/a.wav", "bytes": null}, "text": "hi, you"}\n{"audio": "clips/b.wav", "ref": "bye"}',
    "semicolon.csv": "path;text\nclips/a.wav;hi, you\nclips/b.wav;bye\n",
    "quoted.csv": 'path,text\r\nclips/a.wav,"hi, you"\r\nclips/b.wav,bye\r\n',
    "common-voice.tsv": "client_id\tpath\tsentence\nx\tclips/a.wav\thi, you\ny\tclips/b.wav\tbye\n",
    "no-ending": 'wav,text\nclips/a.wav,"hi, you"\nclips/b.wav,bye',
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_give_the_same_clips(folder: Path, name: str) -> None:
    (folder / name).write_bytes(FORMATS[name].encode())
    manifest = read_manifest(folder / name)
    assert manifest.problems == ()
    assert [(one.id, one.reference) for one in manifest.items] == [("clips/a", "hi, you"), ("clips/b", "bye")]


def test_the_line_format_of_funasr_is_understood(folder: Path) -> None:
    line = {
        "key": "u1", "source": "clips/a.wav", "source_len": 88, "target": "早上好。", "target_len": 4, "text_language": "<|yue|>",
        "emo_target": "<|NEUTRAL|>", "event_target": "<|Speech|>", "with_or_wo_itn": "<|withitn|>",
    }  # fmt: skip
    (item,) = read_manifest(written(folder, [line])).items
    assert (item.id, item.reference, item.language, item.emotion, item.event) == ("u1", "早上好。", "yue", "NEUTRAL", "Speech")
    assert item.textnorm is True
    assert item.groups["source_len"] == 88


def cut(**changed: Any) -> dict[str, Any]:
    base = {
        "id": "cut-1", "type": "MonoCut", "start": 2.0, "duration": 1.5, "channel": 0, "custom": {"split": "dev"},
        "recording": {"id": "r", "duration": 9.0, "sources": [{"type": "file", "channels": [0], "source": "clips/c.flac"}]},
        "supervisions": [
            {"id": "s2", "start": 0.8, "duration": 0.7, "text": "world", "speaker": "m2"},
            {"id": "s1", "start": 0.0, "duration": 0.7, "text": "hello", "language": "English", "speaker": "m1",
             "alignment": {"word": [["hello", 0.1, 0.5, None]]}},
        ],
    }  # fmt: skip
    return base | changed


def test_a_lhotse_cut_is_a_part_of_its_recording(folder: Path) -> None:
    path = folder / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(cut()).encode()))
    (item,) = read_manifest(path).items
    assert (item.id, item.written, item.offset, item.duration) == ("cut-1", "clips/c.flac", 2.0, 1.5)
    assert (item.reference, item.language) == ("hello world", "en")
    assert item.words == (WordTime("hello", 0.1, 0.6),)
    assert item.groups == {"split": "dev", "speaker": "m1", "language": "en"}
    (whole,) = read_manifest(written(folder, [cut(start=0, duration=8.9995, supervisions=[])])).items
    assert (whole.offset, whole.reference, whole.words) == (None, None, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"recording": {"sources": [{"type": "url", "source": "https://example.org/a.wav"}]}},
        {"recording": {"sources": []}},
        {"recording": None, "tracks": []},
    ],
)
def test_a_lhotse_cut_without_a_file_is_a_problem(folder: Path, changed: dict[str, Any]) -> None:
    (problem,) = problems(written(folder, [cut(**changed), {"audio": "clips/a.wav"}]))
    assert problem.startswith("line 1: the Lhotse cut has no recording in a file of its own")


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_stands_for_its_metadata(folder: Path, name: str) -> None:
    text = "file_name,text\nclips/a.wav,hi\n" if name.endswith("csv") else '{"file_name": "clips/a.wav", "text": "hi"}'
    (folder / name).write_text(text)
    manifest = read_manifest(folder)
    assert manifest.path == folder / name
    assert [one.reference for one in manifest.items] == ["hi"]


@pytest.mark.parametrize(
    ("written_as", "language"),
    [
        ("zh", "zh"), ("zh-CN", "zh"), ("cmn_hans_cn", "zh"), ("Mandarin", "zh"), ("zh-HK", "yue"), ("yue-Hant-HK", "yue"),
        ("Cantonese", "yue"), ("en_US", "en"), ("English", "en"), ("jpn", "ja"), ("ko-KR", "ko"), ("pt-BR", "pt"), ("auto", "auto"),
    ],
)  # fmt: skip
def test_languages_are_told_by_their_code(folder: Path, written_as: str, language: str) -> None:
    (item,) = read_manifest(written(folder, [{"audio": "clips/a.wav", "locale": written_as}])).items
    assert (item.language, item.groups["language"], item.groups["locale"]) == (language, language, written_as)


GOOD = {"audio": "clips/b.wav", "text": "hi"}
BAD_LINES: dict[str, tuple[Any, str]] = {
    "no such sound": ({"audio": "clips/x.wav"}, "there is no sound 'clips/x.wav' in "),
    "a folder": ({"audio": "clips"}, "there is no sound 'clips' in "),
    "an impossible name": ({"audio": "a\0b" + "x" * 5000}, "there is no sound 'a"),
    "broken": ('{"audio": "clips/a.wav", "text": "x}', "no valid JSON (Unterminated string starting at at column 34)"),
    "two values": ('{"audio": "clips/a.wav"} {}', "no valid JSON (More than one value at column 25)"),
    "a number of too many digits": ('{"audio": "clips/a.wav", "n": ' + "1" * 5000 + "}", "no valid JSON (Too long a number"),
    "nested too deep": ("[" * 100_000, "no valid JSON (Too long a number or too deep a nesting"),
    "a list": ("[1]", "list where an object was expected"),
    "no audio": ({"text": "hi", "sentance": 1}, "no field names the sound (fields: text, sentance); call it audio, path"),
    "audio is a number": ({"audio": 3}, "the sound is 3 (int), but a path was expected"),
    "reference is a number": ({"audio": "clips/a.wav", "text": 42}, "the reference (field text) is 42 (int), but text was"),
    "reference is a list": ({"audio": "clips/a.wav", "sentence": ["a"]}, 'the reference (field sentence) is ["a"] (list)'),
    "negative offset": ({"audio": "clips/a.wav", "offset": -0.5}, "offset is -0.5 s, but 0 or more was expected"),
    "offset is a word": ({"audio": "clips/a.wav", "offset": "soon"}, 'offset is "soon" (str), but seconds were expected'),
    "textnorm is a word": ({"audio": "clips/a.wav", "textnorm": "maybe"}, 'textnorm is "maybe" (str), but true or false'),
    "language is a number": ({"audio": "clips/a.wav", "lang": 3}, "language is 3 (int), but text was expected"),
    "a word without an end": ({"audio": "clips/a.wav", "words": [{"word": "a", "start": 1}]}, "the times of a word are {"),
    "a word that ends early": ({"audio": "clips/a.wav", "words": [{"word": "a", "start": 1, "end": 0.5}]}, "the times of a word"),
    "id is a list": ({"audio": "clips/a.wav", "id": []}, "the id is [] (list), but text or a whole number was expected"),
    "half a character": ('{"audio": "clips/a.wav", "text": "\\ud800"}', "it holds half a character"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_named_and_the_rest_goes_on(folder: Path, kind: str) -> None:
    bad, message = BAD_LINES[kind]
    manifest = read_manifest(written(folder, [GOOD | {"id": index} for index in range(6)] + [bad, GOOD | {"id": "last"}]))
    assert [str(one)[: len(message) + 8] for one in manifest.problems] == [f"line 7: {message}"]
    assert [one.id for one in manifest.items] == [*"012345", "last"]
    assert all("\n" not in str(one) and len(str(one)) < 400 for one in manifest.problems)


def test_infinite_numbers_count_as_missing(folder: Path) -> None:
    """Pandas writes NaN where a cell was empty."""
    (item,) = read_manifest(written(folder, ['{"audio": "clips/a.wav", "text": NaN, "duration": Infinity, "age": NaN}'])).items
    assert (item.reference, item.duration, item.groups) == (None, None, {})


def test_a_second_use_of_an_id_is_a_problem(folder: Path) -> None:
    lines = [
        {"utt_id": "x", "audio": "clips/a.wav"},
        {"utt_id": "y", "audio": "clips/a.wav"},
        {"utt_id": "x", "audio": "clips/b.wav"},
    ]
    path = written(folder, lines)
    assert problems(path) == ["line 3: the id 'x' is that of line 1; give each line its own"]
    assert [one.id for one in read_manifest(path).items] == ["x", "y"]


def test_made_ids_are_unique_and_short(folder: Path) -> None:
    lines: list[Any] = [
        {"audio": "clips/a.wav"}, {"audio": str(folder / "clips/a.wav")}, {"audio": "clips/a.wav", "offset": 1.25},
        {"audio": "clips/a.wav", "offset": 0}, {"audio": "clips/a.wav"},
    ]  # fmt: skip
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    assert [one.id for one in read_manifest(written(folder, lines)).items] == [
        "clips/a", "clips/a#2", "clips/a@1.25", "clips/a@0", "clips/a#3",
    ]  # fmt: skip
    assert [one.id for one in read_manifest(written(elsewhere, [lines[1]])).items] == ["a"]


def test_an_empty_reference_is_real(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text("path,text,speaker\nclips/a.wav,,\nclips/b.wav,hi,f1\n")
    first, second = read_manifest(path).items
    assert (first.reference, dict(first.groups)) == ("", {})
    assert (second.reference, dict(second.groups)) == ("hi", {"speaker": "f1"})


def test_fields_asked_for_in_vain_are_named(folder: Path) -> None:
    path = written(folder, [GOOD | {"speaker": "f1"}, GOOD | {"room": 1}])
    assert problems(path, ("speaker", "room")) == []
    assert problems(path, ("speeker",)) == ["line 1: no field 'speeker' here nor in any other line; did you mean 'speaker'?"]
    assert problems(path, ("age",)) == ["line 1: no field 'age' here nor in any other line; there are: room, speaker"]
    assert len(read_manifest(path, ("age",)).items) == 2


# --- Encodings ---------------------------------------------------------------------------------------------------------


def test_a_line_in_another_encoding_costs_itself(folder: Path) -> None:
    path = folder / "m.jsonl"
    good = json.dumps(GOOD | {"text": "你好"}, ensure_ascii=False).encode()
    path.write_bytes(good + b"\n" + '{"audio": "clips/a.wav", "text": "你好"}'.encode("gbk") + b"\n" + good)
    assert problems(path) == ["line 2: byte 35 (0xC4) is not UTF-8; save the manifest as UTF-8"]
    assert [one.reference for one in read_manifest(path).items] == ["你好", "你好"]


def test_a_table_or_list_in_another_encoding_names_the_byte(folder: Path) -> None:
    table = folder / "m.csv"
    table.write_bytes("path,text\nclips/b.wav,好\n".encode() + b'clips/a.wav,"a\n\xb5 b"\nclips/a.wav,c\n')
    assert problems(table) == ["line 3: byte 1 of the line 1 further down (0xB5) is not UTF-8; save the manifest as UTF-8"]
    assert [one.reference for one in read_manifest(table).items] == ["好", "c"]
    several = folder / "m.json"
    several.write_bytes(b'[\n{"audio": "clips/a.wav",\n "text": "\xff"},\n{"audio": "clips/b.wav"}]')
    assert problems(several) == ["line 2: byte 11 of the line 1 further down (0xFF) is not UTF-8; save the manifest as UTF-8"]
    assert [one.id for one in read_manifest(several).items] == ["clips/b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["m.jsonl", "m.csv"])
def test_byte_order_marks_are_read(folder: Path, encoding: str, name: str) -> None:
    text = "path,text\nclips/a.wav,你好\n" if name.endswith("csv") else '{"audio": "clips/a.wav", "text": "你好"}\n'
    (folder / name).write_bytes(text.encode(encoding))
    assert [one.reference for one in read_manifest(folder / name).items] == ["你好"]


# --- Damaged structure -------------------------------------------------------------------------------------------------


def test_a_list_goes_on_after_a_damaged_object(folder: Path) -> None:
    text = json.dumps([GOOD | {"id": index, "more": {"deep": [1]}} for index in range(4)], indent=2)
    lines = text.split("\n")
    (broken,) = (number for number, line in enumerate(lines, 1) if '"id": 1,' in line)
    lines[broken - 1] = '    "id": 1;'
    path = folder / "m.json"
    path.write_text("\n".join(lines))
    assert problems(path) == [
        f"line {broken}: no valid JSON (Expecting ',' delimiter at column 12); mend the object of line {broken - 3}"
    ]
    assert [one.id for one in read_manifest(path).items] == ["0", "2", "3"]


def test_a_list_that_was_cut_off_says_so(folder: Path) -> None:
    path = folder / "m.json"
    path.write_text('[\n{"audio": "clips/a.wav"},\n{"audio": "clips/b.wav"}\n')
    assert problems(path) == ["line 3: the list does not end with ]; the file may be cut off after this line"]
    assert len(read_manifest(path).items) == 2
    path.write_text('[\n{"audio": "clips/a.wav"}\n{"audio": "clips/b.wav"}\n]')
    assert problems(path) == ["line 3: no valid JSON (Expecting ',' delimiter at column 1); mend the object of line 2"]


def test_a_row_of_another_width_costs_itself(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text('path,text\nclips/a.wav,hi, you\nclips/a.wav,"open\nclips/b.wav,"x"\n\nclips/c.flac,"two\nlines"\n')
    found = read_manifest(path)
    assert [one.line for one in found.problems] == [2, 3]
    assert str(found.problems[0]) == "line 2: 3 columns where the header has 2; put cells that hold ',' in quotes"
    assert [(one.id, one.reference, one.line) for one in found.items] == [("clips/b", "x", 4), ("clips/c", "two\nlines", 6)]


def test_quotes_are_letters_in_tsv(folder: Path) -> None:
    path = folder / "m.tsv"
    path.write_text('path\tsentence\nclips/a.wav\t"Hello\nclips/b.wav\tshe said "no"\n')
    assert [one.reference for one in read_manifest(path).items] == ['"Hello', 'she said "no"']


def test_an_empty_manifest_is_a_problem(folder: Path) -> None:
    for name, text in (("m.jsonl", "\n \n"), ("m.csv", "path,text\n"), ("m.json", "[]")):
        (folder / name).write_text(text)
        assert problems(folder / name)[0].startswith("line 1: the manifest is empty; write a line for each sound")


def test_what_cannot_be_read_at_all_is_one_line(folder: Path) -> None:
    (folder / "m.parquet").write_bytes(b"PAR1\0\0\0")
    (folder / "m.gz").write_bytes(b"\x1f\x8bnothing")
    (folder / "m.utf16").write_bytes("path,text".encode("utf-16")[:-1])
    (folder / "m.csv").write_text("clips/a.wav,hello\n")
    (folder / "m.json").write_text(json.dumps({"a.wav": {"text": "hi"}}, indent=1))
    expected = {
        "missing.jsonl": "no such manifest: .*missing.jsonl; give a JSON, CSV or TSV file",
        "clips": "clips holds none of metadata.jsonl, metadata.csv",
        "m.parquet": "is no text .it holds zero bytes.; give",
        "m.gz": "cannot be read .damaged gzip.",
        "m.utf16": "begins as UTF-16 but is damaged at byte 18",
        "m.csv": "names no column of sounds .'clips/a.wav, hello'.; call one audio, path or file_name",
        "m.json": "neither JSON lines nor a JSON list .line 1: Expecting property name .* at column 2.; write one object",
    }
    for name, message in expected.items():
        with pytest.raises(OptionError, match=message) as caught:
            read_manifest(folder / name)
        assert "\n" not in str(caught.value)
