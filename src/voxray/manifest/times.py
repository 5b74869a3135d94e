"""True times of words from a file: JSON, Praat TextGrid or CTM.

Every form gives words by the name of their sound without its ending; a file about one sound that does not name it gives them under
the empty name. Times are seconds.

- JSON: a list of ``{"word": ..., "start": ..., "end": ...}``, an object with such a list in ``words``, or an object of those by
  file name, as ``voxray.truespeech`` and the bundled ``truth.json`` write them.
- TextGrid, long form: the tier called ``words`` (any case), or else the first interval tier; empty intervals are pauses.
- CTM: ``name channel start duration word [confidence]``, a line a word; lines that begin with ``;;`` are comments.

**Source:** Praat manual, "TextGrid file formats"; NIST SCTK, "CTM file format".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxray.types import OptionError

Timed = tuple[str, float, float]
LARGEST = 64 << 20  # bytes
FIELDS = "{word, start, end}"


def read_times(path: str | Path) -> dict[str, tuple[Timed, ...]]:
    """Return the true words of each sound: text, start and end in seconds.

    Raises:
        OptionError: when the file cannot be read, or holds no words with times.
    """
    place = Path(path)
    try:
        if place.stat().st_size > LARGEST:
            raise OptionError(f"{place} is larger than {LARGEST >> 20} MB: no list of words; give the file with the true times")
        text = _decoded(place.read_bytes())
    except OSError as error:
        raise OptionError(f"{place} cannot be read: {error.strerror}; give a file with the true times") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{place} is no text; give JSON, a TextGrid or a CTM with the true times") from error
    try:
        if place.suffix.lower() == ".textgrid" or text.lstrip().startswith('File type = "ooTextFile"'):
            found = {"": _textgrid(text)}
        elif text.lstrip()[:1] in ("{", "["):
            found = _json(json.loads(text))
        else:
            found = _ctm(text)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OptionError(f"{place} holds no words with times as JSON, TextGrid or CTM have them: {error}") from error
    if not any(found.values()):
        raise OptionError(f"{place} holds no words with times; give JSON, a TextGrid or a CTM")
    return found


def _decoded(raw: bytes) -> str:
    """Return a file's text; Praat writes UTF-16 where a sign asks for it."""
    return raw.decode("utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else raw.decode("utf-8-sig")


def _json(told: Any) -> dict[str, tuple[Timed, ...]]:
    if isinstance(told, list):
        return {"": _words(told)}
    if not isinstance(told, Mapping):
        raise TypeError(f"a list of {FIELDS} was expected")
    if isinstance(told.get("words"), list):
        return {"": _words(told["words"])}
    return {Path(name).stem: _words(one["words"] if isinstance(one, Mapping) else one) for name, one in told.items()}


def _words(entries: Any) -> tuple[Timed, ...]:
    found = []
    for one in entries:
        if not isinstance(one, Mapping) or not {"start", "end"} <= set(one) or not {"word", "text"} & set(one):
            raise TypeError(f"each word is {FIELDS}, got {str(one)[:60]}")
        found.append((str(one.get("word", one.get("text"))), float(one["start"]), float(one["end"])))
    return tuple(found)


def _ctm(text: str) -> dict[str, tuple[Timed, ...]]:
    found: dict[str, list[Timed]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts or line.startswith(";;"):
            continue
        if len(parts) < 5:
            raise ValueError(f"line {number} has {len(parts)} fields, 'name channel start duration word' were expected")
        start, length = float(parts[2]), float(parts[3])
        found.setdefault(Path(parts[0]).stem, []).append((parts[4], start, start + length))
    return {name: tuple(words) for name, words in found.items()}


def _textgrid(text: str) -> tuple[Timed, ...]:
    tiers = re.split(r"^\s*item \[\d+\]:\s*$", text, flags=re.MULTILINE)[1:]
    named = [(re.search(r'name = "([^"]*)"', tier), tier) for tier in tiers if 'class = "IntervalTier"' in tier]
    if not named:
        raise ValueError("no interval tier in the long form; save it from Praat as text")
    chosen = next((tier for name, tier in named if name and name[1].casefold() == "words"), named[0][1])
    found = re.findall(r'xmin = ([\d.eE+-]+)\s*xmax = ([\d.eE+-]+)\s*text = "((?:[^"]|"")*)"', chosen)
    return tuple((said.replace('""', '"').strip(), float(start), float(end)) for start, end, said in found if said.strip())
