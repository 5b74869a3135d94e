"""The bundled clips and their truth, and the errors of word starts on a made-up trace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import soundfile

from voxray.demo import CLIPS, DemoClip, WordStart, demo_clips, word_start_errors
from voxray.models.sensevoice import EMOTIONS, EVENTS, LANGUAGES
from voxray.trace import Trace
from voxray.types import Token


def test_truth_covers_the_clips() -> None:
    clips = demo_clips()
    assert sorted(clip.path for clip in clips) == sorted(CLIPS.glob("*.wav"))
    assert {clip.language for clip in clips} == {"zh", "yue", "en", "ja", "ko"}


@pytest.mark.parametrize("clip", demo_clips(), ids=lambda clip: clip.path.stem)
def test_truth_fits_the_clip(clip: DemoClip) -> None:
    info = soundfile.info(clip.path)
    assert (info.samplerate, info.channels) == (16000, 1)
    assert clip.path.stem.split("_")[0] == clip.language
    assert clip.language in LANGUAGES
    assert clip.emotion in EMOTIONS
    assert clip.event in EVENTS
    starts = [start for _, start in clip.words]
    assert starts == sorted(set(starts))
    assert starts[0] >= 0
    assert starts[-1] < info.frames / 16000
    assert "".join(word for word, _ in clip.words) == clip.text.replace(" ", "")


@pytest.mark.parametrize("clip", demo_clips(), ids=lambda clip: clip.path.stem)
def test_what_is_worth_explaining_is_what_is_special(clip: DemoClip, bundled: Any) -> None:
    trace = bundled.trace(clip.path, layers=())
    word, *tags = clip.targets(trace)
    usual = {"emotion": (clip.emotion, "NEUTRAL"), "event": (clip.event, "Speech")}
    assert tags == [kind for kind, (label, plain) in usual.items() if label != plain]
    chosen, noises = int(word.removeprefix("word:")), [begin for label, begin, _ in clip.sounds if label == "noise"]
    if noises:
        assert clip.words[chosen][1] == noises[0]
    else:
        assert len(trace.words[chosen].text) == max(len(one.text) for one in trace.words)


def made_up(tokens: list[tuple[str, float]]) -> Trace:
    """What ``word_start_errors`` looks at: tokens with texts and starts."""
    return cast(Trace, SimpleNamespace(tokens=[Token(1, text, start, start + 0.1, (4, 5), 4, -0.1) for text, start in tokens]))


def truth(*words: tuple[str, float]) -> DemoClip:
    return DemoClip(Path("made_up.wav"), "", "en", "NEUTRAL", "Speech", words)


CASES: dict[str, tuple[Any, Any, Any]] = {
    "whole words": ([(" good", 0.5), (" day", 1.0)], [("good", 0.4), ("day", 1.2)], [("good", 0.4, 0.5), ("day", 1.2, 1.0)]),
    "pieces": ([(" go", 0.5), ("od", 0.7), (" day", 1.0)], [("good", 0.4), ("day", 1.2)], [("good", 0.4, 0.5), ("day", 1.2, 1.0)]),
    "lone spaces have no letters": ([(" ", 0.1), ("苹", 0.5), ("果", 0.6)], [("苹果", 0.45)], [("苹果", 0.45, 0.5)]),
    "a wrong word is left out": ([(" good", 0.5), (" hay", 1.0)], [("good", 0.4), ("day", 1.2)], [("good", 0.4, 0.5)]),
    "a missing word": ([(" day", 1.0)], [("good", 0.4), ("day", 1.2)], [("day", 1.2, 1.0)]),
    "an extra word": ([(" good", 0.5), (" old", 0.8), (" day", 1.0)], [("good", 0.4), ("day", 1.2)],
                      [("good", 0.4, 0.5), ("day", 1.2, 1.0)]),
    "two words in one token": ([("goodday", 0.5)], [("good", 0.4), ("day", 1.2)], [("good", 0.4, 0.5), ("day", 1.2, 0.5)]),
    "nothing recognised": ([], [("good", 0.4)], []),
    "nothing known": ([(" good", 0.5)], [], []),
}  # fmt: skip


@pytest.mark.parametrize(("tokens", "words", "wanted"), CASES.values(), ids=CASES)
def test_word_start_errors(tokens: list[tuple[str, float]], words: list[tuple[str, float]], wanted: list[Any]) -> None:
    found = word_start_errors(made_up(tokens), truth(*words))
    assert found == [WordStart("made_up", word, known, place) for word, known, place in wanted]
    assert [one.error for one in found] == [pytest.approx(place - known) for _, known, place in wanted]
