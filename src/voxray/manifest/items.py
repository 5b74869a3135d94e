"""From the fields of one line to a clip: which field holds what, and what values it may have.

**Source:** field names: NeMo ``audio_filepath, text, duration, offset``; FunASR ``key, source, target, text_language, emo_target,
event_target, with_or_wo_itn``; Hugging Face ``AudioFolder``: ``file_name``; Mozilla Common Voice ``path, sentence, locale``; Lhotse
``MonoCut.to_dict``. Language tags: BCP 47 and ISO 639-3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxray.types import shortened

# What is wanted -> the fields that may hold it; of several the first is taken, the others stay further fields.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "audio": (
        "audio",
        "audio_filepath",
        "file_name",
        "audio_file",
        "audio_path",
        "filename",
        "file",
        "path",
        "wav",
        "sound",
        "source",
    ),
    "reference": ("reference", "text", "transcription", "transcript", "sentence", "ref", "target"),
    "id": ("id", "utt_id", "utterance_id", "utt", "key", "clip_id", "segment_id"),
    "language": ("language", "lang", "locale", "text_language"),
    "textnorm": ("textnorm", "with_or_wo_itn"),
    "emotion": ("emotion", "emo_target"),
    "event": ("event", "event_target"),
    "words": ("words", "word_times"),
    "offset": ("offset",),
    "duration": ("duration",),
}

# Primary subtags and names that stand for a language of the recognisers.
LANGUAGES: Mapping[str, str] = {
    "cmn": "zh", "zho": "zh", "chi": "zh", "cn": "zh", "chinese": "zh", "mandarin": "zh", "cantonese": "yue", "eng": "en",
    "english": "en", "jpn": "ja", "jp": "ja", "japanese": "ja", "kor": "ko", "kr": "ko", "korean": "ko",
}  # fmt: skip
CANTONESE = {"hk", "mo", "yue"}  # after zh: Common Voice's zh-HK is spoken Cantonese
TEXTNORM = {"withitn": True, "true": True, "1": True, "yes": True, "woitn": False, "false": False, "0": False, "no": False}
WHOLE = 1e-3  # seconds that a Lhotse cut may fall short of its recording and still be all of it


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word of the reference with its start and end in seconds of the clip; ``exact`` where both are known to a frame."""

    text: str
    start: float
    end: float
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Item:
    """One clip.

    Attributes:
        id: unique in the manifest; made from the path where the line gives none.
        audio: where the sound lies.
        written: its path as the manifest writes it.
        reference: what is said; None where the manifest does not say, and "" for nothing.
        language: such as ``zh``; None where unknown.
        textnorm: whether the reference is written with digits and punctuation; None where unknown.
        emotion: label; None where unknown.
        event: label; None where unknown.
        words: times of the reference's words; None where unknown.
        offset: seconds into the sound at which the clip begins; None where the clip is the whole sound.
        duration: seconds; of the clip where there is an offset, else only what the manifest says.
        groups: every further field as it was; language, emotion and event as they are here.
        line: where it stands.
    """

    id: str
    audio: Path
    written: str
    reference: str | None = None
    language: str | None = None
    textnorm: bool | None = None
    emotion: str | None = None
    event: str | None = None
    words: tuple[WordTime, ...] | None = None
    offset: float | None = None
    duration: float | None = None
    groups: Mapping[str, Any] = field(default_factory=dict)
    line: int = 0


class BadLineError(Exception):
    """A line cannot be used; the text says why."""


def item_of(entry: Mapping[str, Any], line: int, folder: Path, taken: Mapping[str, int]) -> Item:
    """Make a clip of the fields of one line.

    Args:
        entry: field -> value.
        line: its number.
        folder: of the manifest.
        taken: ids that were used, and in which line.

    Raises:
        BadLineError: when there is no sound, the id was used, or a field holds what it cannot.
    """
    entry = _cut(entry) if isinstance(entry.get("recording"), dict) or "tracks" in entry else entry
    used = {wanted: next((name for name in names if entry.get(name) is not None), "") for wanted, names in FIELDS.items()}
    value = {wanted: entry.get(name) for wanted, name in used.items()}
    written = _path(value["audio"], entry)
    language, emotion, event = (_label(value[name], name) for name in ("language", "emotion", "event"))
    tags = {"language": _language(language), "emotion": emotion, "event": event}
    words, offset = _words(value["words"]), _seconds(value["offset"], "offset")
    plain = {used[name] for name in ("audio", "reference", "id", "offset", "duration", *(["words"] if words else []))}
    further = {name: one for name, one in entry.items() if name not in plain and one is not None}
    item = Item(
        id=_id(value["id"], _made_id(written, offset, folder), taken),
        audio=_existing(folder, written),
        written=written,
        reference=_reference(value["reference"], used["reference"]),
        textnorm=_textnorm(value["textnorm"]),
        words=words,
        offset=offset,
        duration=_seconds(value["duration"], "duration"),
        groups=further | {name: label for name, label in tags.items() if label},
        line=line,
        **tags,
    )
    try:
        json.dumps([item.id, written, item.reference, item.groups], ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadLineError("it holds half a character (a lone surrogate, \\ud800 to \\udfff); mend the text") from None
    return item


def _cut(cut: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Lhotse cut as a plain line would have them."""
    recording = cut.get("recording")
    sources = recording.get("sources") if isinstance(recording, dict) else None
    source = sources[0] if isinstance(sources, list) and sources else None
    if not isinstance(recording, dict) or not isinstance(source, dict) or source.get("type", "file") != "file":
        raise BadLineError("the Lhotse cut has no recording in a file of its own; save its sound and cut that")
    start, duration, whole = (
        _seconds(one, "a time of the cut") for one in (cut.get("start"), cut.get("duration"), recording.get("duration"))
    )
    is_all = not start and (duration is None or whole is None or whole - duration < WHOLE)
    said = [one for one in cut.get("supervisions") or () if isinstance(one, dict)]
    said.sort(key=lambda one: _seconds(one.get("start"), "start of a supervision") or 0.0)
    first = said[0] if said else {}
    fields = {**(first.get("custom") or {}), **(cut.get("custom") or {})}
    fields |= {name: first[name] for name in ("speaker", "gender", "language") if first.get(name) is not None}
    fields |= {"id": cut.get("id"), "audio": source.get("source"), "duration": duration, "offset": None if is_all else start or 0.0}
    texts = [one["text"] for one in said if one.get("text") is not None]
    if texts:
        fields["text"] = " ".join(texts) if all(isinstance(one, str) for one in texts) else texts
    words = [word for one in said for word in (one.get("alignment") or {}).get("word", ())]
    if words:
        fields["words"] = [dict(zip(("symbol", "start", "duration"), one, strict=False)) for one in map(_listed, words)]
    return fields


def _listed(word: Any) -> list[Any]:
    """Return a word of a Lhotse alignment as a list, as newer versions write it."""
    return [word.get(name) for name in ("symbol", "start", "duration")] if isinstance(word, dict) else list(word)


# --- Values ------------------------------------------------------------------------------------------------------------


def _told(value: Any) -> str:
    """Return a value with its kind, for a message."""
    text = shortened(json.dumps(value, ensure_ascii=False)).encode("utf-8", "backslashreplace").decode()
    return f"{text} ({type(value).__name__})"


def _path(value: Any, entry: Mapping[str, Any]) -> str:
    """Return the path of the sound as it is written."""
    path = value.get("path") if isinstance(value, dict) else value  # Hugging Face writes {"path": ..., "bytes": ...}
    if path is None:
        told = shortened(", ".join(entry), 80) or "none"
        raise BadLineError(f"no field names the sound (fields: {told}); call it audio, path or file_name")
    if not isinstance(path, str) or not path.strip():
        raise BadLineError(f"the sound is {_told(path)}, but a path was expected")
    return path


def _existing(folder: Path, written: str) -> Path:
    """Return where the sound lies; a name that no file can have is not there either."""
    path = folder / written
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        raise BadLineError(f"there is no sound {shortened(written, 120)!r} in {folder}; mend the path or remove the line")
    return path


def _reference(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise BadLineError(f"the reference (field {name}) is {_told(value)}, but text was expected; put it in quotes")


def _seconds(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadLineError(f"{name} is {_told(value)}, but seconds were expected")
    if seconds < 0:
        raise BadLineError(f"{name} is {seconds:g} s, but 0 or more was expected; mend the line")
    return seconds


def _words(value: Any) -> tuple[WordTime, ...] | None:
    """Return the times of words; a field of another shape (a count, a list of texts) is none and stays a further field."""
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) and "start" in one for one in value):
        return None
    return tuple(_word(one) for one in value)


def _word(told: Mapping[str, Any]) -> WordTime:
    text = next((told[name] for name in ("word", "text", "symbol") if isinstance(told.get(name), str)), None)
    start, end, length = (_seconds(told.get(name), f"{name} of a word") for name in ("start", "end", "duration"))
    if end is None and start is not None and length is not None:
        end = start + length
    if text is None or start is None or end is None or end < start:
        raise BadLineError(f"the times of a word are {_told(told)}, but word, start and end were expected")
    return WordTime(text, start, end, told.get("exact") is not False)


def _label(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadLineError(f"{name} is {_told(value)}, but text was expected")
    return (value or "").strip().removeprefix("<|").removesuffix("|>") or None


def _language(label: str | None) -> str | None:
    """Return the language of a tag or name: ``zh-CN`` and ``Mandarin`` are ``zh``."""
    if label is None:
        return None
    primary, *rest = label.casefold().replace("_", "-").split("-")
    language = LANGUAGES.get(primary, primary)
    return "yue" if language == "zh" and CANTONESE & set(rest) else language


def _textnorm(value: Any) -> bool | None:
    if value is None:
        return None
    told = str(value).strip().removeprefix("<|").removesuffix("|>").casefold()
    if told not in TEXTNORM:
        raise BadLineError(f"textnorm is {_told(value)}, but true or false was expected")
    return TEXTNORM[told]


def _made_id(written: str, offset: float | None, folder: Path) -> str:
    """Return an id made from the path, and from where in the sound the clip begins."""
    path = Path(written)
    if path.is_absolute():
        path = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return (path.parent / path.stem).as_posix() + (f"@{offset:g}" if offset is not None else "")


def _id(value: Any, made: str, taken: Mapping[str, int]) -> str:
    """Return the id of a line, or the made one with a number where that was used."""
    if value is None:
        unique, count = made, 2
        while unique in taken:
            unique, count = f"{made}#{count}", count + 1
        return unique
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise BadLineError(f"the id is {_told(value)}, but text or a whole number was expected")
    if str(value) in taken:
        raise BadLineError(f"the id {str(value)!r} is that of line {taken[str(value)]}; give each line its own")
    return str(value)
