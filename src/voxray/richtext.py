"""Writes a raw transcript with emoji in place of emotion and event tags.

**Source:** the behaviour of ``rich_transcription_postprocess`` in FunASR ``funasr/utils/postprocess_utils.py``.
"""

from __future__ import annotations

import re
from collections import Counter

EMOTIONS = {
    "HAPPY": "😊", "SAD": "😔", "ANGRY": "😡", "NEUTRAL": "", "FEARFUL": "😰", "DISGUSTED": "🤢", "SURPRISED": "😮",
}  # fmt: skip
EVENTS = {
    "BGM": "🎼", "Speech": "", "Applause": "👏", "Laughter": "😀", "Cry": "😭", "Sneeze": "🤧", "Breath": "", "Cough": "🤧",
}  # fmt: skip
SILENT = ("EMO_UNKNOWN", "Sing", "Speech_Noise", "withitn", "woitn", "GBG", "Event_UNK")
LANGUAGE = re.compile(r"<\|(?:zh|en|yue|ja|ko|nospeech)\|>")
KNOWN = re.compile(rf"<\|({'|'.join([*EMOTIONS, *EVENTS, *SILENT])})\|>")
EMOTION_SIGNS = frozenset(filter(None, EMOTIONS.values()))
EVENT_SIGNS = frozenset(filter(None, EVENTS.values())) | {"😷"}  # never written, but FunASR takes it for a sign where it stands


def rich_text(raw: str) -> str:
    """Return a transcript with emoji.

    Each stretch between language tags gets the signs of its events before it and the sign of its most frequent emotion after
    it. An event's sign that the stretch before begins with is left out, and an emotion's sign that comes twice in a row stands
    only after the second stretch. Tags that FunASR has no sign for, such as ``<|OTHER|>``, stay as they are.

    Args:
        raw: text with tags as the model wrote them.
    """
    text, *others = (_stretch(part) for part in LANGUAGE.split(raw.replace("<|nospeech|><|Event_UNK|>", "❓")))
    event = ""  # what comes before the first language tag never counts as an event, and a sign left out is not repeated either
    for part in others:
        shown = part[1:] if event and _event(part) == event else part
        if not shown:
            continue
        event = _event(shown)
        if _emotion(shown) and _emotion(shown) == _emotion(text):
            text = text[:-1]
        text += shown.strip()
    return text.replace("The.", " ").strip()


def _stretch(part: str) -> str:
    """Return one stretch with its signs."""
    counts = Counter(KNOWN.findall(part))
    emotion = "NEUTRAL"
    for label in EMOTIONS:
        if counts[label] > counts[emotion]:
            emotion = label
    signs = "".join(sign for label, sign in reversed(EVENTS.items()) if counts[label])
    text = signs + KNOWN.sub("", part) + EMOTIONS[emotion]
    for sign in EMOTION_SIGNS | EVENT_SIGNS:
        text = text.replace(" " + sign, sign).replace(sign + " ", sign)
    return text.strip()


def _event(text: str) -> str:
    return text[:1] if text[:1] in EVENT_SIGNS else ""


def _emotion(text: str) -> str:
    return text[-1:] if text[-1:] in EMOTION_SIGNS else ""
