"""The bundled clips and what is known of them."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxray.trace import Trace

CLIPS = Path(__file__).parent / "assets" / "clips"


@dataclass(frozen=True, slots=True)
class DemoClip:
    """A bundled clip of synthetic speech and its truth.

    Attributes:
        path: the sound file.
        text: what is said.
        language: of the speech.
        emotion: label of the prosody.
        event: label of what is mixed in; ``Speech`` for nothing.
        words: (word, start in seconds), the start being that of the word's first sound.
        sounds: (label, start, end) of what lies over the speech, in seconds: the event, or a burst of ``noise``.
        heard: what the bundled model makes of it: ``text``, but where the noise spoils a word.
    """

    path: Path
    text: str
    language: str
    emotion: str
    event: str
    words: tuple[tuple[str, float], ...]
    sounds: tuple[tuple[str, float, float], ...] = ()
    heard: str = ""

    def targets(self, trace: Trace) -> list[str]:
        """Return what is worth explaining of the clip: a word, and the tags that its sound gave it.

        The word is the one that the noise lies over, or else the longest.

        Args:
            trace: of the clip, with words.
        """
        noise = [(start + end) / 2 for label, start, end in self.sounds if label == "noise"]
        spans = [abs((word.start + word.end) / 2 - noise[0]) if noise else -len(word.text) for word in trace.words]
        marked = {"emotion": self.emotion != "NEUTRAL", "event": self.event != "Speech"}
        return [f"word:{spans.index(min(spans))}", *(kind for kind, told in marked.items() if told)]


@dataclass(frozen=True, slots=True)
class WordStart:
    """Where a word was found and where it is known to start, both in seconds."""

    clip: str
    word: str
    known: float
    found: float

    @property
    def error(self) -> float:
        """Seconds by which it was found too late."""
        return self.found - self.known


def demo_clips() -> list[DemoClip]:
    """Return the bundled clips with their truth."""
    told = json.loads((CLIPS / "truth.json").read_text(encoding="utf-8"))
    return [
        DemoClip(
            path=CLIPS / name,
            text=one["text"],
            language=one["language"],
            emotion=one["emotion"],
            event=one["event"],
            words=tuple((word["word"], word["start"]) for word in one["words"]),
            sounds=tuple((sound["label"], sound["start"], sound["end"]) for sound in one["events"]),
            heard=one.get("heard", one["text"]),
        )
        for name, one in told.items()
    ]


def word_start_errors(trace: Trace, clip: DemoClip) -> list[WordStart]:
    """Compare the starts of the words that were recognised right with the known ones.

    A word's start is that of the token that holds its first character; words that came out wrong are left out.

    Args:
        trace: of the clip.
        clip: its truth.
    """
    letters = [(letter, token.start) for token in trace.tokens for letter in token.text if not letter.isspace()]
    known = [(letter, index) for index, (word, _) in enumerate(clip.words) for letter in word]
    matcher = difflib.SequenceMatcher(None, [one for one, _ in known], [one for one, _ in letters], autojunk=False)
    place = {block.a + step: block.b + step for block in matcher.get_matching_blocks() for step in range(block.size)}
    result, at = [], 0
    for word, start in clip.words:
        if all(at + step in place for step in range(len(word))):
            result.append(WordStart(clip.path.stem, word, start, letters[place[at]][1]))
        at += len(word)
    return result
