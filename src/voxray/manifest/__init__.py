"""Reads lists of sounds: which clips there are, what is said in them, and what else is known.

Understood are JSON lines, a JSON list, CSV and TSV with a header, and what others write with these: NeMo and FunASR manifests,
Lhotse cuts, Hugging Face's ``metadata.jsonl`` or ``metadata.csv`` or the folder that holds one. The content says which it is, not
the name; what gzip packed is unpacked. A line that cannot be used becomes a :class:`Problem` with its number, and the rest goes on.

Conventions: lines count from 1; times in seconds; paths are resolved against the manifest's folder. UTF-8, with or without a byte
order mark, or UTF-16 with one.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxray.manifest.entries import content_of, entries_of, file_of, text_of
from voxray.manifest.items import FIELDS, BadLineError, Item, WordTime, item_of
from voxray.manifest.times import read_times
from voxray.types import shortened

__all__ = ["FIELDS", "Item", "Manifest", "Problem", "WordTime", "read_manifest", "read_times"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line was not used, or what it lacks."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest lists.

    Attributes:
        path: the file.
        sha256: of its content (unpacked), hexadecimal.
        items: in the order of the lines.
        problems: of lines that were left out, in their order; fields that were asked for in vain come last.
    """

    path: Path
    sha256: str
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]


def read_manifest(path: str | os.PathLike[str], fields: Sequence[str] = ()) -> Manifest:
    """Read a manifest, leaving out lines that cannot be used.

    Args:
        path: the file, or a folder with ``metadata.jsonl`` or ``metadata.csv``.
        fields: names of further fields that at least one line should have; one that none has is a problem.

    Raises:
        OptionError: when nothing can be read: no such file, no text, none of the known formats, a header without a sound.
    """
    file = file_of(Path(path))
    content = content_of(file)
    items: list[Item] = []
    problems: list[Problem] = []
    taken: dict[str, int] = {}
    for line, entry in entries_of(text_of(content, file), file):
        if isinstance(entry, str):
            problems.append(Problem(line, entry))
            continue
        try:
            items.append(item_of(entry, line, file.parent, taken))
        except BadLineError as problem:
            problems.append(Problem(line, str(problem)))
        else:
            taken[items[-1].id] = line
    if not items and not problems:
        problems.append(
            Problem(1, 'the manifest is empty; write a line for each sound, such as {"audio": "a.wav", "text": "hello"}')
        )
    absent = [Problem(items[0].line, text) for text in _absent(fields, items)] if items else []
    return Manifest(file, hashlib.sha256(content).hexdigest(), tuple(items), (*problems, *absent))


def _absent(fields: Sequence[str], items: Sequence[Item]) -> list[str]:
    """Return a text for each field asked for that no item has."""
    known = sorted({name for item in items for name in item.groups})
    texts = []
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {shortened(', '.join(known), 80) or 'none'}"
            texts.append(f"no field {name!r} here nor in any other line; {hint}")
    return texts
