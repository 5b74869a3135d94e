"""Exports are read back by other programs' readers, or by strict small ones written here."""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from records import made
from voxray.exports import FORMATS, LINE_WIDTH, LONGEST_CUE, SHORTEST, csv_table, ctm, srt, text_grid, vtt, write_export
from voxray.types import OptionError, OutputError, Transcript, Word

ODD = [  # start, end, text: overlapping, without length, together, backwards, quoted, in two scripts
    *(
        (0.5, 1.5, 'he said "no"'),
        (1.2, 1.9, "一"),
        (2.0, 2.0, "二"),
        (2.0, 2.4, "三"),
        (2.4, 2.4, "<b>&amp;"),
        (3.0, 2.9, "x --> y"),
    ),
]


def spoken(words: list[tuple[float, float, str]], **more: Any) -> dict[str, Any]:
    """Return a record of words alone."""
    told = [{"start": start, "end": end, "text": text, "confidence": 0.5} for start, end, text in words]
    return {"id": "clip", "duration": 4.0, "words": told} | more


def grid_of(text: str, folder: Path) -> dict[str, list[tuple[float, float, str]]]:
    from praatio import textgrid

    path = folder / "read.TextGrid"
    path.write_text(text, encoding="utf-8")
    read = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert read.validate()
    return {name: [tuple(one) for one in read.getTier(name).entries] for name in read.tierNames}


def cues_of(text: str, point: str) -> list[tuple[float, float, str]]:
    """Read subtitles: number and times and one line, or it is wrong."""
    number = r"(\d+)\n" if point == "," else "()"
    clock = rf"(\d\d+):([0-5]\d):([0-5]\d)\{point}(\d{{3}})"
    pattern = re.compile(rf"{number}{clock} --> {clock}\n([^\n]+)\n")
    body = text.removeprefix("WEBVTT\n").removeprefix("\n")
    cues, at = [], 0
    while at < len(body):
        found = pattern.match(body, at)
        assert found, f"no cue at {body[at:]!r}"
        assert not found[1] or int(found[1]) == len(cues) + 1
        times = [int(found[n]) * 3600 + int(found[n + 1]) * 60 + int(found[n + 2]) + int(found[n + 3]) / 1000 for n in (2, 6)]
        cues.append((times[0], times[1], found[10]))
        at = found.end()
        assert at == len(body) or body[at] == "\n"
        at += 1
    return cues


def assert_tier(entries: list[tuple[float, float, str]], end: float) -> None:
    """A tier covers everything, without gap, overlap or an interval that has no length."""
    assert entries[0][0] == 0
    assert entries[-1][1] == pytest.approx(end)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(entries))
    assert all(stop > start for start, stop, _ in entries)


def test_text_grid_of_records_is_read_back(tmp_path: Path) -> None:
    for record in made(16, seed=3):
        tiers = grid_of(text_grid(record), tmp_path)
        assert list(tiers) == ["words", "reference", "errors", "causes"]
        for entries in tiers.values():
            assert_tier(entries, record["duration"])
        filled = {name: [text for _, _, text in entries if text] for name, entries in tiers.items()}
        assert filled["words"] == [word["text"] for word in record["words"]]
        assert "".join(filled["reference"]) == "".join(edit["reference"] for edit in record["edits"])
        assert filled["causes"] == [one["cause"] or "unexplained" for one in record["mistakes"]]
        assert [text.split(":")[0] for text in filled["errors"]] == [one["kind"] for one in record["edits"] if one["kind"] != "hit"]
    substituted = next(one for one in made(16, seed=3) if one["errors"]["substitutions"])
    edit = next(one for one in substituted["edits"] if one["kind"] == "substitution")
    entries = grid_of(text_grid(substituted), tmp_path)["errors"]
    assert (edit["start"], edit["end"], f"substitution: {edit['reference']} → {edit['recognised']}") in entries


def test_text_grid_mends_what_praat_refuses(tmp_path: Path) -> None:
    words = grid_of(text_grid(spoken(ODD)), tmp_path)["words"]
    assert_tier(words, 4.0)
    assert [one for one in words if one[2]] == [
        (0.5, 1.2, 'he said "no"'),
        (1.2, 1.9, "一"),
        (2.0, 2.4, "二三"),
        (2.4, 2.4 + SHORTEST, "<b>&amp;"),
        (3.0, 3.0 + SHORTEST, "x --> y"),
    ]


def test_text_grid_goes_on_to_the_last_word(tmp_path: Path) -> None:
    words = grid_of(text_grid(spoken([(3.9, 4.2, "late"), (5.0, 5.0, "later")])), tmp_path)["words"]
    assert_tier(words, 5.0 + SHORTEST)
    assert words[-1] == (5.0, 5.0 + SHORTEST, "later")


def test_edits_without_a_time_are_left_out_of_a_text_grid(tmp_path: Path) -> None:
    edit = {"kind": "deletion", "reference": "他", "recognised": "", "start": None, "end": None, "mistake": None}
    tiers = grid_of(text_grid(spoken([], edits=[edit], mistakes=[])), tmp_path)
    assert tiers == {name: [(0.0, 4.0, "")] for name in ("words", "reference", "errors", "causes")}


def test_ctm_has_six_fields_in_order_of_time() -> None:
    record = made(1)[0]
    fields = [line.split(" ") for line in ctm(record).splitlines()]
    assert [(one[0], one[1], one[4]) for one in fields] == [("clip-0000", "1", word["text"]) for word in record["words"]]
    for (_, _, start, length, _, confidence), word in zip(fields, record["words"], strict=True):
        assert float(start) == pytest.approx(word["start"], abs=6e-4)
        assert float(length) == pytest.approx(word["end"] - word["start"], abs=6e-4)
        assert float(confidence) == pytest.approx(word["confidence"], abs=6e-5)


def test_ctm_has_no_space_within_a_field() -> None:
    record = spoken([(1.0, 0.9, "a\u3000b c\n"), (0.5, 0.6, "一"), (2.0, 2.1, " ")], id=";; my clip")
    record["words"][1]["confidence"] = None
    assert ctm(record) == "_my_clip 1 0.500 0.100 一\n_my_clip 1 1.000 0.000 a_b_c 0.5000\n"


@pytest.mark.parametrize(("form", "point"), [(srt, ","), (vtt, ".")])
def test_subtitles_are_short_ordered_and_whole(form: Any, point: str) -> None:
    chinese = "今天天气很好，我们去公园散步。你觉得怎么样？好的没问题我们明天早上八点钟在学校门口见面吧不要迟到"
    words = [(0.2 * n, 0.2 * n + 0.1, letter) for n, letter in enumerate(chinese)]
    words += [(20 + 0.3 * n, 20.25 + 0.3 * n, f"word{n}") for n in range(20)] + [(40.0, 40.1, "late"), (3661.0004, 3661.5, "later")]
    cues = cues_of(form(spoken(words, duration=3700.0)), point)
    assert "".join(text for _, _, text in cues).replace(" ", "") == "".join(text for _, _, text in words)
    assert [text for _, _, text in cues][:2] == ["今天天气很好，我们去公园散步。", "你觉得怎么样？"]
    assert " ".join(text for _, _, text in cues if text.startswith("word")) == " ".join(f"word{n}" for n in range(20))
    assert all(start < stop <= start + LONGEST_CUE for start, stop, _ in cues)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(cues))
    assert max(len(text.encode("gbk")) for _, _, text in cues) <= LINE_WIDTH  # in GBK a Chinese character has two bytes
    assert cues[-2:] == [(40.0, pytest.approx(40.833), "late"), (3661.0, pytest.approx(3661.834), "later")]


def test_subtitles_of_odd_words() -> None:
    assert "".join(text for _, _, text in cues_of(srt(spoken(ODD)), ",")) == 'he said "no"一二三<b>&amp; x -> y'
    told = cues_of(vtt(spoken(ODD)), ".")
    assert "".join(text for _, _, text in told) == 'he said "no"一二三&lt;b&gt;&amp;amp; x --&gt; y'
    assert all(start < stop for start, stop, _ in told)


def test_korean_words_keep_their_spaces() -> None:
    assert cues_of(srt(spoken([(0.0, 0.4, "저녁에"), (0.5, 0.9, "소나기가"), (1.0, 1.2, "OK")])), ",")[0][2] == "저녁에 소나기가 OK"


def test_csv_has_a_row_for_each_edit() -> None:
    record = next(one for one in made(40, seed=1) if any(mistake["cause"] for mistake in one["mistakes"]))
    rows = list(csv.DictReader(io.StringIO(csv_table(record))))
    assert [(one["kind"], one["reference"], one["recognised"]) for one in rows] == [
        (one["kind"], one["reference"], one["recognised"]) for one in record["edits"]
    ]
    for row, edit in zip(rows, record["edits"], strict=True):
        assert float(row["start"]) == edit["start"]
        assert row["id"] == record["id"]
        assert (row["mistake"] == "") == (edit["mistake"] is None)
        if edit["mistake"] is not None:
            mistake = record["mistakes"][edit["mistake"]]
            assert row["cause"] == (mistake["cause"] or "unexplained")
            assert row["suspected"].split("; ") == [one["cause"] for one in mistake["causes"]]
            assert float(row["log_odds"]) == mistake["log_odds"]
            assert row["after"] == ("-1.4" if mistake["cause"] else "")


def test_csv_runs_no_formula() -> None:
    words = ["=1+1", "+1", "-1", "@a", "\t=1", "＝1", "a=1", 'say "hi", he', "two\nlines"]
    table = csv_table(spoken([(0.5 * n, 0.5 * n + 0.1, word) for n, word in enumerate(words)], id="=cmd"))
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [one["recognised"] for one in rows] == [f"'{word}" for word in words[:6]] + words[6:]
    assert {one["id"] for one in rows} == {"'=cmd"}


def test_negative_numbers_are_no_formulas() -> None:
    record = made(1)[0]
    record["edits"] = [{"kind": "insertion", "reference": "", "recognised": "a", "start": 0.1, "end": 0.2, "mistake": 0}]
    record["mistakes"] = [{"log_odds": -2.5, "snr": -3.0, "cause": None, "causes": []}]
    row = next(csv.DictReader(io.StringIO(csv_table(record))))
    assert (row["log_odds"], row["snr"], row["cause"]) == ("-2.5", "-3", "unexplained")


def test_an_empty_transcript_is_empty_in_every_form(tmp_path: Path) -> None:
    empty = Transcript("", "", "", (), (), (), (), 2.5).to_dict()
    assert grid_of(text_grid(empty), tmp_path) == {"words": [(0.0, 2.5, "")]}
    assert (ctm(empty), srt(empty), vtt(empty)) == ("", "", "WEBVTT\n")
    assert csv_table(empty).count("\n") == 1
    failed = {"id": "lost", "problem": "no such file", "mistakes": None, "edits": None}
    assert grid_of(text_grid(failed), tmp_path) == {"words": [(0.0, SHORTEST, "")]}


def test_a_transcript_has_its_words(tmp_path: Path) -> None:
    words = (Word("hello", 0.1, 0.4, (0, 1), -0.1), Word("world", 0.5, 0.9, (1, 2), -0.2))
    told = Transcript("hello world", "", "", (), words, (), (), 1.0).to_dict()
    assert [one[2] for one in grid_of(text_grid(told), tmp_path)["words"]] == ["", "hello", "", "world", ""]
    assert ctm(told).splitlines()[1] == "clip 1 0.500 0.400 world 0.8187"
    assert cues_of(srt(told), ",") == [(0.1, pytest.approx(0.933), "hello world")]


@pytest.mark.parametrize("form", list(FORMATS))
def test_write_export_takes_the_form_from_the_ending(form: Any, tmp_path: Path) -> None:
    record = made(1)[0]
    path = tmp_path / "new" / f"clip.{form.upper()}"
    assert write_export(record, path) == [path]
    assert path.read_bytes().decode("utf-8") == FORMATS[form](record)


def test_several_clips_go_together_or_into_a_folder(tmp_path: Path) -> None:
    records = made(3)
    for record, name in zip(records, ("b/c", "B_c", "a"), strict=True):
        record["id"] = name
    (table,) = write_export(records, tmp_path / "all.csv")
    text = table.read_bytes().decode("utf-8")
    assert len(list(csv.reader(io.StringIO(text)))) == 1 + sum(len(one["edits"]) for one in records)
    (timed,) = write_export(iter(records), tmp_path / "all.ctm")
    assert [*dict.fromkeys(line.split()[0] for line in timed.read_text(encoding="utf-8").splitlines())] == ["B_c", "a", "b/c"]
    files = write_export(records, tmp_path / "grids", "textgrid")
    assert [one.name for one in files] == ["b_c.TextGrid", "B_c-2.TextGrid", "a.TextGrid"]
    assert files[2].read_text(encoding="utf-8") == text_grid(records[2])


def test_write_export_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"'doc' is no form; choose textgrid, ctm, srt, vtt, csv"):
        write_export(made(1), tmp_path / "a.srt", "doc")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="ending does not say which form"):
        write_export(made(1), tmp_path / "a.doc")
    with pytest.raises(OptionError, match="a srt file holds one clip, got 2; give a folder"):
        write_export(made(2), tmp_path / "a.srt")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be written \(.+\); choose another place"):
        write_export(made(1), tmp_path / "file" / "a.srt")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file"]
