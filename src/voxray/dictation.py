"""What a Whisper is told, and what it may say: its tokens that are no text, and the settings that come with it.

**Source:** OpenAI ``whisper/decoding.py``, ``tokenizer.py`` and, for the alignment heads, ``__init__.py``; transformers'
``generation_config.json``; the metadata of sherpa-onnx ``scripts/whisper/export-onnx.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from voxray import ctc
from voxray.types import FloatArray, IntArray, ModelError, OptionError
from voxray.vocabulary import ByteVocabulary

Task = Literal["transcribe", "translate"]
Heads = tuple[tuple[int, int], ...]

FIRST_STAMP = 50  # at most 1 s: how late the first timestamp may be
ENGLISH = 51864  # size of OpenAI's English vocabulary
LANGUAGE = re.compile(r"[a-z]{2,3}")
NO_SPEECH = ("nospeech", "nocaptions")  # the second in early files
LARGEST_SETTINGS = 16 << 20  # bytes
SYMBOLS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))", "[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
NOTES = "♩♪♫♬♭♮♯"

Size = tuple[int, int, int, int, bool]
"""Layers of the encoder and of the decoder, width, mel filters, whether multilingual."""
ALIGNING: dict[Size, str] = {
    (4, 4, 384, 80, False): "1:0 2:0 2:5 3:0 3:1 3:2 3:3 3:4",
    (4, 4, 384, 80, True): "2:2 3:0 3:2 3:3 3:4 3:5",
    (6, 6, 512, 80, False): "3:3 4:7 5:1 5:5 5:7",
    (6, 6, 512, 80, True): "3:1 4:2 4:3 4:7 5:1 5:2 5:4 5:6",
    (12, 12, 768, 80, False): "6:6 7:0 7:3 7:8 8:2 8:5 8:7 9:0 9:4 9:8 9:10 10:0 10:1 10:2 10:3 10:6 10:11 11:2 11:4",
    (12, 12, 768, 80, True): "5:3 5:9 8:0 8:4 8:7 8:8 9:0 9:7 9:9 10:5",
    (24, 24, 1024, 80, False): "11:4 14:1 14:12 14:14 15:4 16:0 16:4 16:9 17:12 17:14 18:7 18:10 18:15 20:0 20:3 20:9 20:14 21:12",
    (24, 24, 1024, 80, True): "13:15 15:4 15:15 16:1 20:0 23:4",
    (32, 32, 1280, 128, True): "7:0 10:17 12:18 13:12 16:1 17:14 19:11 21:4 24:1 25:6",
    (32, 4, 1280, 128, True): "2:4 2:11 3:3 3:6 3:11 3:14",
    (12, 4, 768, 80, False): "3:2",
    (24, 2, 1024, 80, False): "1:11",
    (32, 2, 1280, 80, True): "1:12",
    (32, 2, 1280, 128, True): "1:3",
}
"""Heads of OpenAI's models and of Distil-Whisper that align. Large v1 and v2 have one size and different heads, so none here."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to say what was heard.

    Attributes:
        timestamps: whether the model writes when each stretch of text begins and ends.
        task: ``transcribe``, or ``translate`` into English.
    """

    timestamps: bool = False
    task: Task = "transcribe"

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise OptionError(f"a Whisper's task is {' or '.join(get_args(Task))}, got {self.task!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """Ids of the tokens that are no text.

    Attributes:
        start: of the transcript.
        end: of the text.
        silence: "no speech".
        plain: "no timestamps"; the first timestamp comes after it.
        tasks: of each task that the model can be told.
        languages: of each language; empty of a model that is told none.
        never: tokens that are not said.
        not_first: tokens that no text begins with.
    """

    start: int
    end: int
    silence: int
    plain: int
    tasks: Mapping[str, int]
    languages: Mapping[str, int]
    never: IntArray
    not_first: IntArray


def permitted(scores: FloatArray, said: Sequence[int], signs: Signs, *, timestamps: bool) -> FloatArray:
    """Return the scores of the next token, minus infinity for those that may not come.

    Timestamps come in pairs, end and beginning, and never go back; the text begins with one of at most 1 s; and where all of them
    together are likelier than any other token, one of them must come.

    Args:
        scores: (V,) logits.
        said: the tokens after the prompt.
        signs: of the model.
        timestamps: whether the model writes them.

    **Source:** OpenAI ``whisper/decoding.py``: ``SuppressBlank``, ``SuppressTokens``, ``ApplyTimestampRules``.
    """
    result = np.array(scores, np.float32)
    result[signs.never] = -np.inf
    if not said:
        result[signs.not_first] = -np.inf
    if not timestamps:
        return result
    stamps = signs.plain + 1
    result[signs.plain] = -np.inf
    last = len(said) >= 1 and said[-1] >= stamps
    if last and (len(said) < 2 or said[-2] >= stamps):
        result[stamps:] = -np.inf
    elif last:
        result[: signs.end] = -np.inf
    before = [one for one in said if one >= stamps]
    if before:
        repeats = last and not (len(said) < 2 or said[-2] >= stamps)
        result[stamps : before[-1] + (0 if repeats else 1)] = -np.inf
    if not said:
        result[:stamps] = -np.inf
        result[stamps + FIRST_STAMP + 1 :] = -np.inf
    later = result[stamps:]
    if np.isfinite(later).any() and ctc.log_normaliser(later[None])[0] > result[:stamps].max():
        result[:stamps] = -np.inf
    return result


def settings(folders: Sequence[Path], name: str) -> dict[str, Any]:
    """Return the settings of a JSON file beside the model; none where there is no such file.

    Raises:
        ModelError: when it cannot be read.
    """
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= LARGEST_SETTINGS else None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}); copy or download it again") from error
    if not isinstance(told, dict):
        raise ModelError(f"{path} is no list of settings; copy or download it again")
    return told


def find_signs(vocabulary: ByteVocabulary, told: Mapping[str, str], generation: Mapping[str, Any]) -> Signs:
    """Return the tokens that are no text, and those that are not said.

    Raises:
        ModelError: when the tokens are no Whisper's, or the settings name tokens that make no sense.
    """
    tags = vocabulary.tags
    missing = [name for name in ("startoftranscript", "endoftext", "notimestamps") if name not in tags]
    if missing:
        raise ModelError(f"the tokens hold no <|{missing[0]}|>, so they belong to no Whisper; use the model's own tokens")
    languages = {name: index for index, name in sorted((index, name) for name, index in tags.items()) if LANGUAGE.fullmatch(name)}
    multilingual = _is_multilingual(told, generation, len(vocabulary))
    quiet = ("startoftranscript", "transcribe", "translate", "startofprev", "startoflm", *NO_SPEECH)
    try:
        never, first = _unsaid(vocabulary, told, generation)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the settings forbid tokens by what is no number ({error}); download them again") from error
    every = {*never, *(tags[name] for name in quiet if name in tags)}
    return Signs(
        start=tags["startoftranscript"],
        end=tags["endoftext"],
        silence=next((tags[name] for name in NO_SPEECH if name in tags), -1),
        plain=tags["notimestamps"],
        tasks={name: tags[name] for name in get_args(Task) if name in tags} if multilingual else {},
        languages=languages if multilingual else {},
        never=_within(every, len(vocabulary)),
        not_first=_within(first, len(vocabulary)),
    )


def _unsaid(vocabulary: ByteVocabulary, told: Mapping[str, str], generation: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Return the tokens that are never said, and those that no text begins with: as stated, or else as OpenAI has them."""
    stated, begin = generation.get("suppress_tokens"), generation.get("begin_suppress_tokens")
    if "non_speech_tokens" in told:
        stated = [one for one in told["non_speech_tokens"].split(",") if one]
    never = _non_speech(vocabulary) if stated is None else [int(one) for one in stated]
    first = [*vocabulary.cut(" "), vocabulary.tags["endoftext"]] if begin is None else [int(one) for one in begin]
    return never, first


def _within(ids: Iterable[int], size: int) -> IntArray:
    """Return ids in order, without those that there are not."""
    return np.array(sorted({one for one in ids if 0 <= one < size}), np.int64)


def _is_multilingual(told: Mapping[str, str], generation: Mapping[str, Any], size: int) -> bool:
    """Tell whether a model is told its language; files of English models list languages too."""
    if "is_multilingual" in told:
        return told["is_multilingual"] not in ("0", "")
    if "is_multilingual" in generation:
        return bool(generation["is_multilingual"])
    return bool(generation.get("lang_to_id")) or size != ENGLISH


def _non_speech(vocabulary: ByteVocabulary) -> list[int]:
    """Return tokens that write what nobody says: brackets, notes, dashes of a dialogue.

    **Source:** OpenAI ``whisper/tokenizer.py``, ``non_speech_tokens``.
    """
    found = {vocabulary.cut(" -")[0], vocabulary.cut(" '")[0]}
    for symbol in [*SYMBOLS, *NOTES]:
        for ids in (vocabulary.cut(symbol), vocabulary.cut(f" {symbol}")):
            if len(ids) == 1 or symbol in NOTES:
                found.add(ids[0])
    return sorted(found)


def aligning_heads(told: Mapping[str, str], generation: Mapping[str, Any], size: Size) -> Heads | None:
    """Return the heads that place tokens, or None where none are known.

    Raises:
        ModelError: when the settings name heads that the model does not have.
    """
    stated = generation.get("alignment_heads")
    if told.get("alignment_heads"):
        stated = [one.split(":") for one in told["alignment_heads"].split(",")]
    elif stated is None and size in ALIGNING:
        stated = [one.split(":") for one in ALIGNING[size].split()]
    if not stated:
        return None
    try:
        heads = tuple((int(layer), int(head)) for layer, head in stated)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the alignment heads in the settings are no pairs of numbers ({error}); download them again") from error
    if not all(0 <= layer < size[1] and head >= 0 for layer, head in heads):
        raise ModelError(f"the settings name alignment heads beyond the decoder's {size[1]} layers; use those of this model")
    return heads
