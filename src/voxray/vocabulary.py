"""The tokens of a recogniser: ids, pieces, and the text that they spell.

Conventions: SentencePiece pieces, in which ``▁`` stands for a space before a word; tags are written ``<|name|>``. Whisper's tokens
are rows of bytes instead, of which a character may take several.

**Source:** of the ``.model`` files, sentencepiece ``sentencepiece_model.proto``: pieces are field 1 of the model, their text is
field 1 of a piece. Of byte pairs: Radford et al. 2019, "Language models are unsupervised multitask learners", with GPT-2's way to
cut a text into words and to write bytes as letters; OpenAI ``whisper/tokenizer.py``; transformers' ``tokenizer.json``.
"""

from __future__ import annotations

import base64
import codecs
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from voxray.types import ModelError, OptionError

TOKEN_FILES = ("tokens.json", "tokens.txt", "vocab.txt")
PIECE_FILES = "*bpe.model"
LARGEST = 64 << 20  # bytes of a file of tokens; that of SenseVoice has 0.4 MB
TAG = re.compile(r"<\|[^|]*\|>")
CONTRACTION = re.compile("'s|'t|'re|'ve|'m|'ll|'d")
WORD = re.compile(" ?L+| ?N+| ?O+|[ S]+(?![LNO])|[ S]+")  # on kinds of characters, see _kinds
TIMESTAMP_STEP = 0.02  # s
SHERPA_NAMES = {
    "sot": "startoftranscript", "eot": "endoftext", "transcribe": "transcribe", "translate": "translate", "sot_prev": "startofprev",
    "sot_lm": "startoflm", "no_speech": "nospeech", "no_timestamps": "notimestamps",
}  # fmt: skip
"""Keys of sherpa-onnx's metadata, and the tags whose ids they tell."""


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


@dataclass(frozen=True)
class ByteVocabulary(Vocabulary):
    """Tokens that are rows of bytes, cut from a text by merging pairs.

    Attributes:
        pieces: the text of each token alone; where it is a part of a character, with a replacement mark.
        contents: the bytes of each token; empty of tags.
        merges: the rank of each pair that may be merged, low first; without them the id of what a pair makes is its rank.
    """

    contents: tuple[bytes, ...] = ()
    merges: Mapping[tuple[bytes, bytes], int] = field(default_factory=dict)

    @cached_property
    def _places(self) -> dict[bytes, int]:
        """The id of each row of bytes."""
        return {content: index for index, content in reversed(list(enumerate(self.contents))) if content}

    def text(self, index: int) -> str:
        """Return the text of one token alone."""
        return self.pieces[index]

    def texts(self, indices: Sequence[int]) -> list[str]:
        """Return what each token of a row adds to the text; a token in the middle of a character adds nothing.

        Args:
            indices: tokens that are no tags. What they leave unfinished at the end becomes a replacement mark.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        last = len(indices) - 1
        return [decoder.decode(self.contents[one], final=index == last) for index, one in enumerate(indices)]

    def spell(self, indices: Iterable[int]) -> str:
        """Return the text of a row of ids, tags as they are written, without space at its ends."""
        rows = (self.contents[one] or self.pieces[one].encode() for one in indices)
        return b"".join(rows).decode("utf-8", "replace").strip()

    def encode(self, text: str, *, after_space: bool = False) -> tuple[int, ...]:
        """Return the ids that the model's own tokeniser makes of a text.

        Args:
            text: to spell; runs of space count as one.
            after_space: whether its first word begins a word of its own, as English words do.

        Raises:
            OptionError: when the vocabulary lacks a byte of it, or there is nothing to spell.
        """
        found = self.cut((" " if after_space else "") + " ".join(text.split()))
        if not found:
            raise OptionError(f"there is nothing to spell in {text!r}; give some words")
        return found

    def cut(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text as it stands.

        Raises:
            OptionError: when the vocabulary lacks a byte of it.
        """
        pieces = [piece for word in _words(text) for piece in self._merged(word.encode())]
        missing = next((piece for piece in pieces if piece not in self._places), None)
        if missing is not None:
            raise OptionError(f"this model's vocabulary cannot spell {text!r}; give a wording that it could have recognised")
        return tuple(self._places[piece] for piece in pieces)

    def _merged(self, word: bytes) -> list[bytes]:
        """Return a word in pieces: of the neighbours that may be merged those of the lowest rank, again and again."""
        parts = [word[at : at + 1] for at in range(len(word))]
        while len(parts) > 1:
            ranks = [self._rank(left, right) for left, right in itertools.pairwise(parts)]
            best = min((rank for rank in ranks if rank is not None), default=None)
            if best is None:
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts

    def _rank(self, left: bytes, right: bytes) -> int | None:
        return self.merges.get((left, right)) if self.merges else self._places.get(left + right)


def _words(text: str) -> Iterator[str]:
    """Yield the parts of a text between which nothing is merged."""
    kinds = "".join(map(_kind, text))
    at = 0
    while at < len(text):
        found = CONTRACTION.match(text, at) or WORD.match(kinds, at)
        end = found.end() if found is not None else at + 1
        yield text[at:end]
        at = end


def _kind(letter: str) -> str:
    """Return L for a letter, N for a number, a space for itself, S for another space, O for anything else."""
    if letter == " ":
        return letter
    if letter.isspace() and letter not in "\x1c\x1d\x1e\x1f":  # Python counts these as space, Unicode does not
        return "S"
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else "O"


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


def read_byte_vocabulary(folders: Sequence[Path], size: int, told: Mapping[str, str]) -> ByteVocabulary:
    """Read the tokens of a Whisper that lie beside it.

    Timestamps that the files leave out are put after the tag ``<|notimestamps|>``, where every Whisper has them.

    Args:
        folders: where to look, the best first, for ``tokenizer.json``; ``vocab.json`` with ``merges.txt`` and
            ``added_tokens.json``; or ``tokens.txt`` (or ``...-tokens.txt``) with bytes in base64.
        size: how many tokens the model's output has.
        told: the model's metadata, which tell the ids of the tags where the tokens are of the last kind.

    Raises:
        ModelError: when no such file is there, it cannot be read, or it holds more tokens than the model emits.
    """
    for folder in folders:
        path = next((folder / name for name in ("tokenizer.json", "vocab.json") if (folder / name).is_file()), None)
        path = path or next(iter(sorted(one for one in folder.glob("*tokens.txt") if one.is_file())), None)
        if path is not None:
            return _byte_vocabulary(path, size, told)
    raise ModelError(
        f"{folders[0]} holds no tokens: tokenizer.json, vocab.json or a tokens.txt was expected beside the model; "
        "copy it from where the model came from"
    )


def _byte_vocabulary(path: Path, size: int, told: Mapping[str, str]) -> ByteVocabulary:
    try:
        contents, tags, merges = _found(path, told)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is no readable list of tokens ({error!r:.200}); copy or download it again") from error
    highest = max((*contents, *tags), default=-1)
    if highest >= size:
        raise ModelError(f"{path} holds a token {highest} but the model emits {size}; use the tokens that belong to this model")
    first = next((index + 1 for index, name in tags.items() if name == "<|notimestamps|>"), size)
    stamps = {index: f"<|{(index - first) * TIMESTAMP_STEP:.2f}|>" for index in range(first, size)}
    names = {index: f"<|{index}|>" for index in range(size) if index not in contents} | stamps | tags
    pieces = tuple(names[one] if one in names else contents[one].decode("utf-8", "replace") for one in range(size))
    return ByteVocabulary(pieces, tuple(b"" if one in names else contents[one] for one in range(size)), merges)


Found = tuple[dict[int, bytes], dict[int, str], dict[tuple[bytes, bytes], int]]
"""Bytes of tokens by id, tags by id, ranks of pairs."""


def _found(path: Path, told: Mapping[str, str]) -> Found:
    """Return what a file of tokens says, of whatever kind it is."""
    if path.suffix == ".txt":
        return _base64_lines(_content(path).decode("ascii")), _told_tags(told), {}
    return _tokenizer_file(json.loads(_content(path))) if path.name == "tokenizer.json" else _vocabulary_files(path)


def _tokenizer_file(told: Any) -> Found:
    """Return what a ``tokenizer.json`` says."""
    model = told["model"]
    tags = {int(one["id"]): str(one["content"]) for one in told.get("added_tokens", ())}
    pairs = [one.split(" ") if isinstance(one, str) else one for one in model.get("merges", ())]
    return *_parted(model["vocab"], tags), _ranks(pairs)


def _vocabulary_files(path: Path) -> Found:
    """Return what ``vocab.json`` and the files beside it say."""
    added, merges = path.with_name("added_tokens.json"), path.with_name("merges.txt")
    tags = {int(index): str(name) for name, index in json.loads(_content(added)).items()} if added.is_file() else {}
    lines = _content(merges).decode("utf-8").split("\n") if merges.is_file() else []
    pairs = [line.split(" ") for line in lines if line.count(" ") == 1 and not line.startswith("#version")]
    return *_parted(json.loads(_content(path)), tags), _ranks(pairs)


def _parted(vocabulary: Mapping[str, int], tags: dict[int, str]) -> tuple[dict[int, bytes], dict[int, str]]:
    """Return the bytes of tokens, and the tags with those that stand among the tokens."""
    letters = _letters()
    among = {int(index): name for name, index in vocabulary.items() if TAG.fullmatch(name)}
    contents = {int(index): _bytes(name, letters) for name, index in vocabulary.items() if int(index) not in among}
    return contents, among | tags


def _ranks(pairs: Iterable[Sequence[str]]) -> dict[tuple[bytes, bytes], int]:
    letters = _letters()
    return {(_bytes(left, letters), _bytes(right, letters)): rank for rank, (left, right) in enumerate(pairs)}


def _bytes(text: str, letters: Mapping[str, int]) -> bytes:
    """Return the bytes that letters stand for."""
    return bytes(letters[one] for one in text)


def _letters() -> dict[str, int]:
    """Return the byte that each letter stands for: itself where it can be printed, else one of those from 256 on, in order."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _base64_lines(text: str) -> dict[int, bytes]:
    """Return the bytes of lines ``base64 id``; a lone ``=`` stands for none."""
    parts = [line.split() for line in text.split("\n") if line.strip()]
    return {int(index): b"" if code == "=" else base64.b64decode(code, validate=True) for code, index in parts}


def _told_tags(told: Mapping[str, str]) -> dict[int, str]:
    """Return the tags whose ids sherpa-onnx's metadata tell."""
    tags = {int(told[key]): f"<|{name}|>" for key, name in SHERPA_NAMES.items() if key in told}
    languages = zip(told.get("all_language_tokens", "").split(","), told.get("all_language_codes", "").split(","), strict=True)
    return {int(index): f"<|{code}|>" for index, code in languages if index} | tags


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
