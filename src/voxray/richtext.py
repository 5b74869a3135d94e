"""Writes a raw transcript with emoji in place of emotion and event tags.

**Source:** the behaviour of ``rich_transcription_postprocess`` in FunASR ``funasr/utils/postprocess_utils.py``.
"""

from __future__ import annotations

import re
from collections import Counter

from voxray.vocabulary import TAG, strip_tags

EMOTIONS = {
    "HAPPY": "😊", "SAD": "😔", "ANGRY": "😡", "NEUTRAL": "", "FEARFUL": "😰", "DISGUSTED": "🤢", "SURPRISED": "😮",
}  # fmt: skip
EVENTS = {
    "BGM": "🎼", "Speech": "", "Applause": "👏", "Laughter": "😀", "Cry": "😭", "Sneeze": "🤧", "Breath": "", "Cough": "🤧",
}  # fmt: skip
LANGUAGE = re.compile(r"<\|(?:zh|en|yue|ja|ko|nospeech)\|>")
EMOTION_SIGNS = frozenset(filter(None, EMOTIONS.values()))
EVENT_SIGNS = frozenset(filter(None, EVENTS.values()))


def rich_text(raw: str) -> str:
    """Return a transcript with emoji.

    Each stretch between language tags gets the signs of its events before it and the sign of its most frequent emotion after
    it. A sign that only repeats the stretch before is left out.

    Args:
        raw: text with tags as the model wrote them.
    """
    marked = raw.replace("<|nospeech|><|Event_UNK|>", "❓")
    parts = [_stretch(part).strip(" ") for part in LANGUAGE.split(marked)]
    text, event = "", ""
    for part in filter(None, [parts[0], *parts[1:]]):
        joined = part
        if text and _event(part) and _event(part) == event:
            joined = part[1:]
        if text and _emotion(joined) and _emotion(joined) == _emotion(text):
            text = text[:-1]
        event = _event(part)
        text += joined.strip()
    return text.replace("The.", " ").strip()


def _stretch(part: str) -> str:
    """Return one stretch with its signs."""
    counts = Counter(tag[2:-2] for tag in TAG.findall(part))
    emotion = "NEUTRAL"
    for label in EMOTIONS:
        if counts[label] > counts[emotion]:
            emotion = label
    signs = "".join(sign for label, sign in EVENTS.items() if counts[label])
    text = signs + strip_tags(part) + EMOTIONS[emotion]
    for sign in EMOTION_SIGNS | EVENT_SIGNS:
        text = text.replace(" " + sign, sign).replace(sign + " ", sign)
    return text.strip()


def _event(text: str) -> str:
    return text[:1] if text[:1] in EVENT_SIGNS else ""


def _emotion(text: str) -> str:
    return text[-1:] if text[-1:] in EMOTION_SIGNS else ""
