"""From a file to its entries: line numbers, and the fields found there or what is wrong with the line.

The content says which format it is: a JSON list begins with ``[``, JSON lines with ``{``, anything else is a table with a header.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from voxray.manifest.items import FIELDS
from voxray.types import OptionError, shortened

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.tsv")  # of a Hugging Face folder

Entry = tuple[int, "dict[str, Any] | str"]
"""Line number, and the fields found there or what is wrong with the line."""


def file_of(path: Path) -> Path:
    """Return the manifest that a path stands for.

    Raises:
        OptionError: when a folder holds none.
    """
    if not path.is_dir():
        return path
    for name in METADATA:
        if (path / name).is_file():
            return path / name
    raise OptionError(f"{path} holds none of {', '.join(METADATA)}; give the manifest itself")


def content_of(file: Path) -> bytes:
    """Return the bytes of a file, unpacked where gzip packed them.

    Raises:
        OptionError: when it cannot be read.
    """
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        raise OptionError(f"no such manifest: {file}; give a JSON, CSV or TSV file") from None
    except (OSError, EOFError, zlib.error) as problem:
        reason = getattr(problem, "strerror", None) or "damaged gzip"
        raise OptionError(f"the manifest {file} cannot be read ({reason}); give a JSON, CSV or TSV file") from None


def text_of(content: bytes, file: Path) -> str:
    """Decode a manifest; bytes that are no UTF-8 become lone surrogates, so that only their own lines are lost.

    Raises:
        OptionError: when it is no text, or damaged UTF-16.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as problem:
            raise OptionError(f"{file} begins as UTF-16 but is damaged at byte {problem.start}; save it as UTF-8") from None
    if b"\0" in content:
        raise OptionError(f"{file} is no text (it holds zero bytes); give a JSON, CSV or TSV file in UTF-8")
    return content.decode("utf-8-sig", "surrogateescape")


def entries_of(text: str, file: Path) -> Iterator[Entry]:
    """Read the entries in whichever format they are written.

    Args:
        text: the whole manifest.
        file: its path, for its ending and for messages.

    Raises:
        OptionError: when it is none of the formats.
    """
    begins = text.lstrip()[:1]
    suffix = (file.with_suffix("") if file.suffix == ".gz" else file).suffix.lower()
    if not begins:
        return iter(())
    if begins == "[":
        return _from_list(text)
    return _from_lines(text, file) if begins == "{" or suffix in (".jsonl", ".ndjson", ".json") else _from_table(text, file)


# --- JSON --------------------------------------------------------------------------------------------------------------


def _json(raw: str, start: int = 0) -> tuple[Any, int]:
    """Parse one JSON value and return it with the place after it; NaN, which pandas writes for what is missing, becomes None.

    Raises:
        ValueError: with ``msg`` and ``pos`` where it is no JSON.
    """
    try:
        return json.JSONDecoder(parse_constant=lambda _: None).raw_decode(raw, start)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise json.JSONDecodeError("Too long a number or too deep a nesting", raw, start) from None


def _whole(raw: str) -> Any:
    """Parse a text that is one JSON value.

    Raises:
        ValueError: as above, or for more than one value.
    """
    value, end = _json(raw)
    if end < len(raw):
        raise json.JSONDecodeError("More than one value", raw, end)
    return value


def _object(value: Any) -> dict[str, Any] | str:
    kind = type(value).__name__
    return value if isinstance(value, dict) else f'{kind} where an object was expected, such as {{"audio": "a.wav"}}'


def _from_lines(text: str, file: Path) -> Iterator[Entry]:
    """Read JSON lines; not one valid line means that the file is something else, such as one object over many lines."""
    parsed, first = False, ""
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            value = _whole(raw.strip())
        except json.JSONDecodeError as problem:
            first = first or f"line {line}: {problem.msg} at column {problem.colno}"
            yield line, undecodable(raw) or f"no valid JSON ({problem.msg} at column {problem.colno}); mend or remove the line"
        else:
            parsed = True
            yield line, undecodable(raw) or _object(value)
    if not parsed:
        raise OptionError(f"{file} is neither JSON lines nor a JSON list ({first}); write one object on each line")


def _from_list(text: str) -> Iterator[Entry]:
    """Read a JSON list; after a damaged object go on with the next that begins a line as the first did."""
    at = _next(text, text.index("[") + 1)
    indent = text[text.rfind("\n", 0, at) + 1 : at]
    begins = re.compile(rf"\n{re.escape(indent if indent.isspace() else '')}\{{")
    line, counted = 1, 0
    while at < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = _json(text, at)
            after = _next(text, end, separators="")
            if text[after : after + 1] not in (",", "]", ""):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, after)  # noqa: TRY301 - both are one failure
        except json.JSONDecodeError as problem:
            yield problem.lineno, f"no valid JSON ({problem.msg} at column {problem.colno}); mend the object of line {line}"
            following = begins.search(text, at)
            if following is None:
                return
            at = following.end() - 1
        else:
            yield line, undecodable(text[at:end]) or _object(value)
            at = _next(text, end)
    if at >= len(text):
        yield line, "the list does not end with ]; the file may be cut off after this line"


def _next(text: str, at: int, separators: str = ",") -> int:
    """Return the first place from ``at`` that is neither space nor a separator."""
    while at < len(text) and (text[at].isspace() or text[at] in separators):
        at += 1
    return at


# --- Tables ------------------------------------------------------------------------------------------------------------


def _from_table(text: str, file: Path) -> Iterator[Entry]:
    """Read CSV or TSV; an empty cell counts as missing, but as a reference it is the empty text."""
    lines = [line + "\n" for line in text.split("\n")]
    first = next(line for line in lines if line.strip())
    delimiter = max("\t,;|", key=first.count)
    header: list[str] = []
    at = 0
    while at < len(lines):
        line, (row, stop) = at + 1, _row(lines, at, delimiter)
        at += 1
        if isinstance(row, str):
            yield line, row
        elif not any(cell.strip() for cell in row):
            continue
        elif not header:
            header, at = _header(row, file), stop
        elif len(row) != len(header):  # an open quote may have swallowed the lines below: go on with the next one
            yield line, f"{len(row)} columns where the header has {len(header)}; put cells that hold {delimiter!r} in quotes"
        else:
            cells = zip(header, row, strict=True)
            filled = {name: cell for name, cell in cells if cell or name in FIELDS["reference"]}
            yield line, undecodable("".join(lines[line - 1 : stop])) or filled
            at = stop


def _row(lines: Sequence[str], at: int, delimiter: str) -> tuple[list[str] | str, int]:
    """Return the row that begins at a line, or what is wrong with it, and the first line after it."""
    # TSV knows no quotes: a sentence in Common Voice may begin with one that nothing closes.
    following = (lines[line] for line in range(at, len(lines)))
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(following, delimiter=delimiter, quoting=quoting, strict=True)
    try:
        return next(reader), at + reader.line_num
    except csv.Error as problem:
        return f"no valid row ({problem}); mend or remove the line", at + 1


def _header(row: Sequence[str], file: Path) -> list[str]:
    """Return the names of the columns."""
    names = [name.strip() for name in row]
    if not set(names) & set(FIELDS["audio"]):
        told = shortened(", ".join(names), 80)
        raise OptionError(f"the first line of {file} names no column of sounds ({told!r}); call one audio, path or file_name")
    return names


def undecodable(raw: str) -> str | None:
    """Return which byte of a stretch of the file is not UTF-8; None where all are.

    Args:
        raw: decoded with ``surrogateescape``.
    """
    found = re.search("[\udc80-\udcff]", raw)
    if found is None:
        return None
    before = raw[: found.start()]
    place = len(before.rpartition("\n")[2].encode("utf-8", "surrogateescape")) + 1
    down = before.count("\n")
    where = f"byte {place}" + (f" of the line {down} further down" if down else "")
    return f"{where} (0x{ord(found[0]) - 0xDC00:02X}) is not UTF-8; save the manifest as UTF-8"
