"""The tokens of a recogniser: ids, pieces, and the text that they spell.

Conventions: SentencePiece pieces, in which ``▁`` stands for a space before a word; tags are written ``<|name|>``.

**Source:** of the ``.model`` files, sentencepiece ``sentencepiece_model.proto``: pieces are field 1 of the model, their text is
field 1 of a piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from voxray.types import ModelError, OptionError

TOKEN_FILES = ("tokens.json", "tokens.txt", "vocab.txt")
PIECE_FILES = "*bpe.model"
LARGEST = 64 << 20  # bytes of a file of tokens; that of SenseVoice has 0.4 MB
TAG = re.compile(r"<\|[^|]*\|>")


@dataclass(frozen=True)
class Vocabulary:
    """Every piece that a model can emit, in the order of its ids."""

    pieces: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each piece."""
        return {piece: index for index, piece in reversed(list(enumerate(self.pieces)))}

    @cached_property
    def tags(self) -> dict[str, int]:
        """The id of each tag, by its name without brackets."""
        return {piece[2:-2]: index for piece, index in self.ids.items() if TAG.fullmatch(piece)}

    def text(self, index: int) -> str:
        """Return one piece with a space in place of the mark."""
        return self.pieces[index].replace("▁", " ")

    def encode(self, text: str, *, after_space: bool = False) -> tuple[int, ...]:
        """Return the ids of the fewest pieces that spell a text.

        The model's own tokeniser may cut a text otherwise where several ways are as short.

        Args:
            text: to spell.
            after_space: whether its first word begins a word of its own, as English words do.

        Raises:
            OptionError: when no row of pieces spells it.
        """
        wanted = ("▁" if after_space else "") + "▁".join(text.split())
        longest = max(map(len, self.ids), default=0)
        best: list[tuple[int, ...] | None] = [()]
        for end in range(1, len(wanted) + 1):
            found: tuple[int, ...] | None = None
            for start in range(max(0, end - longest), end):
                before, piece = best[start], self.ids.get(wanted[start:end])
                if before is not None and piece is not None and (found is None or len(before) + 1 < len(found)):
                    found = (*before, piece)
            best.append(found)
        spelled = best[-1]
        if not spelled:
            raise OptionError(f"this model's vocabulary cannot spell {text!r}; give a wording that it could have recognised")
        return spelled

    def spell(self, indices: Iterable[int]) -> str:
        """Return the text of a row of ids, without space at its ends."""
        return "".join(self.text(index) for index in indices).strip()


def strip_tags(text: str) -> str:
    """Return a text without its tags."""
    return TAG.sub("", text)


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """Read the tokens that lie beside a model.

    Args:
        folder: where to look for ``tokens.json`` (a list), ``tokens.txt`` or ``vocab.txt`` (lines ``piece id``), or a SentencePiece
            model that is called ``...bpe.model``.
        size: how many tokens the model's output has.

    Raises:
        ModelError: when no such file is there, it cannot be read, or it holds another number of tokens.
    """
    present = [folder / name for name in TOKEN_FILES if (folder / name).is_file()]
    present += sorted(file for file in folder.glob(PIECE_FILES) if file.is_file())
    if not present:
        raise ModelError(
            f"{folder} holds no tokens: {', '.join(TOKEN_FILES[:-1])} or {TOKEN_FILES[-1]} was expected beside the model; "
            "copy it from where the model came from"
        )
    read = [(path, _read_tokens(path)) for path in present]
    fitting = next((pieces for _, pieces in read if len(pieces) == size), None)
    if fitting is None:
        path, pieces = read[0]
        raise ModelError(
            f"{path} holds {len(pieces)} tokens but the model emits {size}; use the tokens file that belongs to this model"
        )
    return Vocabulary(fitting)


def _read_tokens(path: Path) -> tuple[str, ...]:
    try:
        content = _content(path)
        if path.suffix == ".model":
            return tuple(str(text, "utf-8") for piece in _texts(content) for text in _texts(piece))
        text = content.decode("utf-8").replace("\r\n", "\n")
        return _checked_list(json.loads(text)) if path.suffix == ".json" else _numbered_lines(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no readable list of tokens ({error}); copy or download it again") from error


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size >> 20} MB, at most {LARGEST >> 20} were expected")
    return path.read_bytes()


def _numbered_lines(text: str) -> tuple[str, ...]:
    """Return the pieces of lines ``piece id``; a line with nothing but an id stands for the piece that is a space."""
    # Only a line feed ends a line here: pieces may hold signs that Python counts as line breaks too.
    lines = [line.rsplit(maxsplit=1) for line in text.split("\n") if line.strip()]
    pieces = {int(parts[-1]): parts[0] if len(parts) == 2 else " " for parts in lines}
    if sorted(pieces) != list(range(len(lines))):
        raise ValueError(f"{len(lines)} lines should have the ids 0 to {len(lines) - 1}, each once")
    return tuple(pieces[index] for index in range(len(lines)))


def _texts(message: bytes) -> Iterator[bytes]:
    """Yield every text or message in field 1 of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _number(message, at)
            continue
        size, start = _number(message, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(message) + 1), at)
        at = start + size
        if at > len(message):
            raise ValueError("it is no SentencePiece model, or cut off")
        if key == 1 << 3 | 2:
            yield message[start:at]


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Return the number of seven bits a byte at a place of a message, and the place after it."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("it is no SentencePiece model, or cut off")


def _checked_list(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("a JSON list of texts was expected")
    return tuple(value)
