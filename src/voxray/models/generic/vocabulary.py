"""The tokens of a described model, from whatever file it comes with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from voxray.models.generic.description import Description
from voxray.types import ModelError
from voxray.vocabulary import LARGEST, Vocabulary

MARK = "▁"  # what stands for a space inside Voxray


def read_tokens(told: Description, size: int) -> tuple[Vocabulary, int, frozenset[int]]:
    """Read the tokens that a description names.

    Args:
        told: the description.
        size: how many tokens the model's output has.

    Returns:
        The vocabulary with spaces marked as Voxray marks them, the id of the blank (of CTC), and the ids that are never written.

    Raises:
        ModelError: when the file is missing or damaged, holds another number of tokens, or a piece that is named is not there.
    """
    words = told.vocabulary
    path, place = told.beside(words.file), f"{told.path}: vocabulary"
    try:
        pieces = _pieces(path)
    except FileNotFoundError:
        raise ModelError(
            f"{place}.file names {path}, which is not there; copy the model's tokens there or correct the name"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{place}.file names {path}, which is no readable list of tokens ({error}); copy it again") from error
    if len(pieces) != size:
        raise ModelError(
            f"{place}.file names {path} with {len(pieces)} tokens, but the model emits {size}; give the one that fits it"
        )
    ids = {piece: index for index, piece in reversed(list(enumerate(pieces)))}
    blank = words.blank if isinstance(words.blank, int) else ids.get(words.blank, -1)
    if told.output is not None and not 0 <= blank < size:
        raise ModelError(
            f"{place}.blank is {words.blank!r}; expected a piece of {path.name} or an id from 0 to {size - 1}: correct it"
        )
    lost = [one for one in words.hidden if one not in ids]
    if lost:
        raise ModelError(f"{place}.hidden names {lost[0]!r}; expected pieces of {path.name}: correct it")
    if words.space not in ("", MARK) and not any(words.space in piece for piece in pieces):
        raise ModelError(
            f"{place}.space is {words.space!r}, which no piece of {path.name} holds; give the sign that stands for a space"
        )
    marked = [piece.replace(words.space, MARK) if words.space else piece for piece in pieces]
    return Vocabulary(tuple(marked)), blank, frozenset(ids[one] for one in words.hidden)


def token_id(vocabulary: Vocabulary, place: str, piece: str | int) -> int:
    """Return the id of a token that a description names.

    Raises:
        ModelError: when there is none.
    """
    index = piece if isinstance(piece, int) else vocabulary.ids.get(piece, -1)
    if not 0 <= index < len(vocabulary):
        raise ModelError(
            f"{place} names {piece!r}; expected a piece of the vocabulary or an id below {len(vocabulary)}: correct it"
        )
    return index


def _pieces(path: Path) -> list[str]:
    """Return the pieces in the order of their ids.

    Raises:
        ValueError: when the file is of no known form.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size >> 20} MB, at most {LARGEST >> 20} were expected")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return _from_json(json.loads(text))
    # Only a line feed ends a line: pieces may hold signs that Python counts as line breaks too.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    parts = [line.rsplit(maxsplit=1) for line in lines]
    numbered = all(one and one[-1].isdecimal() for one in parts)
    if numbered and sorted(int(one[-1]) for one in parts) == list(range(len(lines))):
        pieces = {int(one[-1]): one[0] if len(one) == 2 else " " for one in parts}
        return [pieces[index] for index in range(len(lines))]
    return lines


def _from_json(value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    if not isinstance(value, dict) or sorted(map(str, value.values())) != sorted(map(str, range(len(value)))):
        raise ValueError("a list of pieces was expected, or pieces with the ids from 0 on, each once")
    return sorted(value, key=lambda piece: int(value[piece]))
