"""One clip's result in the forms that other programs read: Praat TextGrid, CTM, SRT, WebVTT, CSV.

Every form is made from a record, the dictionary of one line of ``results.jsonl``, or from ``Transcript.to_dict()``, which
has the words and nothing to compare them with. Times are seconds from the start of the sound; texts are written as UTF-8
without a byte order mark.

What the forms cannot hold is changed as little as possible, always in the same way:

- TextGrid has no empty and no overlapping intervals. A word is cut where the next one begins; one without length gets 1 ms;
  words that begin together share an interval.
- CTM parts its fields at spaces: a space within a word or a clip's id becomes ``_``.
- SRT knows no escapes: ``-->`` within a text becomes ``->``.
- CSV is opened by spreadsheets, which run a text that begins with ``=``, ``+``, ``-`` or ``@`` as a formula: such a text gets
  an apostrophe before it. Numbers are left alone.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from voxray.storage import whole_file
from voxray.types import OptionError, OutputError

Record = Mapping[str, Any]
Format = Literal["textgrid", "ctm", "srt", "vtt", "csv"]

SHORTEST = 0.001
"""Seconds: the shortest interval or cue, ten times what six decimals can tell apart and what SRT can write."""
LINE_WIDTH = 42
"""Columns in a subtitle, a CJK character counting two. **Source:** Netflix, *Timed Text Style Guide*, English: 42."""
LONGEST_CUE = 7.0
"""Seconds. **Source:** Netflix, *Timed Text Style Guide*, general requirements: at most 7 seconds a subtitle event."""
SHORTEST_CUE = 5 / 6
"""Seconds that a subtitle stays at least, where the next one leaves room. **Source:** the same: at least 5/6 second."""
PAUSE = 0.6
"""Seconds of silence at which a subtitle ends: longer than the pauses within a phrase."""
SENTENCE_END = tuple(".!?。！？…")
FORMULA = tuple("=+-@\t\r＝＋－＠")
"""What makes a spreadsheet take a text for a formula. **Source:** OWASP, *CSV Injection*; the wide forms for East Asian ones."""
COLUMNS = (
    *("id", "audio", "language", "kind", "reference", "recognised", "start", "end", "confidence"),
    *("mistake", "log_odds", "rank", "snr", "cause", "suspected", "intervention", "before", "after", "placebo"),
)


@dataclass(frozen=True, slots=True)
class Cue:
    """A text from one time to another, in seconds."""

    start: float
    end: float
    text: str


def text_grid(record: Record) -> str:
    """Return a clip as a Praat TextGrid in the long form.

    The tiers are ``words``; where there was a reference also ``reference``, ``errors`` such as ``substitution: 他 → 她``, and
    ``causes``, with ``unexplained`` for a mistake without one. Gaps are filled with empty intervals.

    **Source:** Praat manual, *TextGrid file formats*: quotes are doubled, intervals of a tier touch and are never empty.
    """
    tiers = {"words": _words(record)}
    if record.get("edits") is not None:
        tiers |= _error_tiers(record)
    end = max([SHORTEST, record.get("duration") or 0.0, *(cue.end for cues in tiers.values() for cue in cues)])
    end = max([end, *(cue.start + SHORTEST for cues in tiers.values() for cue in cues)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_decimal(end)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, cues) in enumerate(tiers.items(), 1):
        intervals = _filled(_apart(cues), end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {_decimal(end)}", f"        intervals: size = {len(intervals)}"]
        for count, cue in enumerate(intervals, 1):
            text = _flat(cue.text).replace('"', '""')
            lines += [f"        intervals [{count}]:", f"            xmin = {_decimal(cue.start)}"]
            lines += [f"            xmax = {_decimal(cue.end)}", f'            text = "{text}"']
    return "\n".join(lines) + "\n"


def ctm(record: Record) -> str:
    """Return a clip's words as CTM lines: clip, channel 1, start, duration, word, confidence where it is known.

    **Source:** NIST SCTK, *ctm* file format.
    """
    name = _unspaced(str(record.get("id") or "clip")).lstrip(";") or "clip"  # two semicolons begin a comment
    lines = []
    for word in sorted(record.get("words") or (), key=lambda one: float(one["start"])):
        if text := _unspaced(word["text"]):
            length = max(word["end"] - word["start"], 0.0)
            confidence = "" if word.get("confidence") is None else f" {word['confidence']:.4f}"
            lines.append(f"{name} 1 {word['start']:.3f} {length:.3f} {text}{confidence}\n")
    return "".join(lines)


def srt(record: Record) -> str:
    """Return a clip's words as SubRip subtitles, one line each."""
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_flat(cue.text).replace('-->', '->')}\n"
        for number, cue in enumerate(_subtitles(_words(record)), 1)
    ]
    return "\n".join(blocks)


def vtt(record: Record) -> str:
    """Return a clip's words as WebVTT subtitles, one line each.

    **Source:** W3C, *WebVTT*: ``&``, ``<`` and ``>`` of a cue's text are escaped.
    """
    blocks = ["WEBVTT\n"]
    for cue in _subtitles(_words(record)):
        text = _flat(cue.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)


def csv_table(record: Record) -> str:
    """Return a clip as CSV with a line of names and a line for each edit, or for each word where there was no reference."""
    return _csv([record])


FORMATS: dict[Format, Callable[[Record], str]] = {
    "textgrid": text_grid,
    "ctm": ctm,
    "srt": srt,
    "vtt": vtt,
    "csv": csv_table,
}
ENDINGS: dict[Format, str] = {"textgrid": ".TextGrid", "ctm": ".ctm", "srt": ".srt", "vtt": ".vtt", "csv": ".csv"}


def write_export(records: Record | Iterable[Record], path: str | Path, form: Format | None = None) -> list[Path]:
    """Write one clip, or several, in one of the forms.

    Args:
        records: one record or several.
        path: the file. Several records in a form that holds one clip a file (TextGrid, SRT, VTT) need a folder, which is made
            where it is missing; the files are named by the records' ids.
        form: None to take it from the file's ending.

    Returns:
        The files written.

    Raises:
        OptionError: when the form is not known, or several clips should go into a file that can hold one.
        OutputError: when a file cannot be written.
    """
    path = Path(path)
    form = _form_of(path, form)
    several = [records] if isinstance(records, Mapping) else list(records)
    if form == "csv":
        return [_write(path, _csv(several))]
    if form == "ctm":  # sorted by name, as SCTK wants it
        return [_write(path, "".join(ctm(one) for one in sorted(several, key=lambda one: str(one.get("id")))))]
    if len(several) == 1 and not path.is_dir():
        return [_write(path, FORMATS[form](several[0]))]
    if path.suffix.lower() == ENDINGS[form].lower() or path.is_file():
        raise OptionError(f"{path}: a {form} file holds one clip, got {len(several)}; give a folder and the form {form!r}")
    names = _file_names([str(one.get("id") or "clip") for one in several])
    return [_write(path / f"{name}{ENDINGS[form]}", FORMATS[form](one)) for name, one in zip(names, several, strict=True)]


def _form_of(path: Path, form: Format | None) -> Format:
    """Return the form that was asked for, or that the ending means."""
    if form is not None and form in FORMATS:
        return form
    by_ending = {ending.lower(): name for name, ending in ENDINGS.items()}
    if form is None and path.suffix.lower() in by_ending:
        return by_ending[path.suffix.lower()]
    wrong = f"{form!r} is no form" if form is not None else f"{path}: the ending does not say which form is wanted"
    raise OptionError(f"{wrong}; choose {', '.join(FORMATS)}")


def _file_names(ids: Sequence[str]) -> list[str]:
    """Return a name for each id that every file system takes, no two of them alike even where case does not count."""
    names: list[str] = []
    taken: set[str] = set()
    for one in ids:
        plain = re.sub(r"[^\w.-]+", "_", one).strip(".")[:100] or "clip"
        number, name = 1, plain
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            stream.write(text.encode("utf-8", "replace"))  # a lone surrogate, which JSON may bring along, becomes "?"
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return path


def _words(record: Record) -> list[Cue]:
    return [Cue(one["start"], one["end"], one["text"]) for one in record.get("words") or ()]


def _error_tiers(record: Record) -> dict[str, list[Cue]]:
    """Return the tiers of a record that was compared with a reference; an edit without a time is in none of them."""
    timed = [one for one in record["edits"] if one.get("start") is not None and one.get("end") is not None]
    wrong = [one for one in timed if one["kind"] != "hit"]
    mistakes = [one for one in record.get("mistakes") or () if one.get("start") is not None and one.get("end") is not None]
    return {
        "reference": [Cue(one["start"], one["end"], one["reference"]) for one in timed if one.get("reference")],
        "errors": [Cue(one["start"], one["end"], _told(one)) for one in wrong],
        "causes": [Cue(one["start"], one["end"], one.get("cause") or "unexplained") for one in mistakes],
    }


def _told(edit: Mapping[str, Any]) -> str:
    """Return an edit in words, such as ``substitution: 他 → 她``."""
    return f"{edit['kind']}: {' → '.join(one for one in (edit.get('reference'), edit.get('recognised')) if one)}"


def _apart(cues: Sequence[Cue]) -> list[Cue]:
    """Return cues in order of time that neither overlap nor are shorter than ``SHORTEST``.

    A cue ends where the next one begins at the latest; cues that begin together become one.
    """
    merged: list[Cue] = []
    for cue in sorted(cues, key=lambda one: one.start):
        start = max(cue.start, 0.0)
        if merged and start - merged[-1].start < SHORTEST:
            last = merged[-1]
            merged[-1] = Cue(last.start, max(last.end, cue.end), _sentence([last.text, cue.text]))
        else:
            merged.append(Cue(start, max(cue.end, start + SHORTEST), cue.text))
    limits = [*(cue.start for cue in merged[1:]), float("inf")]
    return [Cue(cue.start, min(cue.end, limit), cue.text) for cue, limit in zip(merged, limits, strict=False)]


def _filled(cues: Sequence[Cue], end: float) -> list[Cue]:
    """Return the cues with empty ones between them, so that they cover everything from 0 to ``end``."""
    covered: list[Cue] = []
    at = 0.0
    for cue in cues:
        if _decimal(cue.start) != _decimal(at):
            covered.append(Cue(at, cue.start, ""))
        covered.append(cue)
        at = cue.end
    return covered if covered and _decimal(at) == _decimal(end) else [*covered, Cue(at, end, "")]


def _subtitles(words: Sequence[Cue]) -> list[Cue]:
    """Return lines of a length that can be read: cut at pauses, at the ends of sentences, and where a line is full."""
    lines: list[list[Cue]] = []
    for word in (one for one in _apart(words) if one.text.strip()):
        line = lines[-1] if lines else []
        pause = bool(line) and word.start - line[-1].end >= PAUSE
        full = bool(line) and _width(_sentence([*(one.text for one in line), word.text])) > LINE_WIDTH
        long = bool(line) and word.end - line[0].start > LONGEST_CUE
        if not line or pause or full or long or line[-1].text.endswith(SENTENCE_END):
            lines.append([word])
        else:
            line.append(word)
    cues = [Cue(line[0].start, line[-1].end, _sentence([one.text for one in line])) for line in lines]
    limits = [*(cue.start for cue in cues[1:]), float("inf")]
    return [
        Cue(cue.start, max(cue.end, min(cue.start + SHORTEST_CUE, limit)), cue.text)
        for cue, limit in zip(cues, limits, strict=False)
    ]


def _sentence(words: Sequence[str]) -> str:
    """Return words as one text: a space between them, none beside a script that is written without."""
    text = ""
    for word in (one.strip() for one in words):
        gap = " " if text and word and not (_unspaced_script(text[-1]) or _unspaced_script(word[0])) else ""
        text += gap + word
    return text


def _unspaced_script(letter: str) -> bool:
    """Whether a letter is of a script written without spaces, or a wide sign that brings its own room; Hangul is not."""
    return unicodedata.east_asian_width(letter) in "WF" and not unicodedata.name(letter, "").startswith("HANGUL")


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _clock(seconds: float, point: str) -> str:
    """Return hours, minutes, seconds and thousandths."""
    thousandths = max(round(seconds * 1000), 0)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _csv(records: Sequence[Record]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for record in records:
        always = {name: record.get(name) for name in ("id", "audio", "language")}
        writer.writerows([_cell((always | row).get(name)) for name in COLUMNS] for row in _rows(record))
    return stream.getvalue()


def _rows(record: Record) -> list[dict[str, Any]]:
    """Return the cells of a record's edits, or of its words where it was compared with nothing."""
    if record.get("edits") is None:
        return [_word_row(one) for one in record.get("words") or ()]
    return [_edit_row(one, record.get("mistakes") or ()) for one in record["edits"]]


def _edit_row(edit: Mapping[str, Any], mistakes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the cells of an edit and of the mistake that it is part of."""
    row = dict(edit)
    if edit.get("mistake") is None:
        return row
    mistake = mistakes[edit["mistake"]]
    causes = mistake.get("causes") or ()
    named: Mapping[str, Any] = next((one for one in causes if one["cause"] == mistake.get("cause")), {})
    row |= {name: mistake.get(name) for name in ("log_odds", "rank", "snr")}
    row |= {name: named.get(name) for name in ("intervention", "before", "after", "placebo")}
    row["cause"] = mistake.get("cause") or "unexplained"
    row["suspected"] = "; ".join(one["cause"] for one in causes if one.get("suspected"))
    return row


def _word_row(word: Mapping[str, Any]) -> dict[str, Any]:
    return {"recognised": word["text"], "start": word["start"], "end": word["end"], "confidence": word.get("confidence")}


def _cell(value: Any) -> Any:
    """Return what is written for a value: a text that a spreadsheet would run gets an apostrophe before it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _decimal(value: float) -> str:
    """Return a number with six decimals at most."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _flat(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def _unspaced(text: str) -> str:
    return "_".join(text.split())
