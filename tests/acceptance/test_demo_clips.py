"""The bundled model and the bundled clips: real speech (synthesised) with a known truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxray.models import BUNDLED

TRUTH: dict[str, Any] = json.loads((BUNDLED.parent / "clips" / "truth.json").read_text(encoding="utf-8"))
NOISY = "en_noise_burst.wav"  # a burst of noise lies over one word, which the model then gets wrong
every_clip = pytest.mark.parametrize("name", sorted(TRUTH))
both_precisions = pytest.mark.parametrize("model", ["bundled", "bundled_int8"])


@pytest.fixture
def opened(model: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(model)


def test_every_clip_has_its_truth(clips: Path) -> None:
    assert sorted(path.name for path in clips.glob("*.wav")) == sorted(TRUTH)
    assert len(TRUTH) == 8


@both_precisions
@every_clip
def test_text_and_tags(opened: Any, name: str, clips: Path) -> None:
    truth, trace = TRUTH[name], opened.trace(clips / name)
    assert trace.text == truth.get("heard", truth["text"])
    assert (trace.text != truth["text"]) == (name == NOISY)
    assert [(tag.kind, tag.label) for tag in trace.tags] == [
        ("language", truth["language"]),
        ("emotion", truth["emotion"]),
        ("event", truth.get("heard_event", truth["event"])),
        ("textnorm", "woitn"),
    ]
    assert [tag.emitted for tag in trace.tags] == [f"<|{tag.label}|>" for tag in trace.tags]
    assert trace.raw_text.startswith("".join(tag.emitted for tag in trace.tags))
    assert trace.audio.duration == pytest.approx(truth["duration"], abs=1e-3)


def test_the_noise_lies_over_the_word_that_comes_out_wrong(clips: Path) -> None:
    truth = TRUTH[NOISY]
    pairs = zip(truth["words"], truth["text"].split(), truth["heard"].split(), strict=True)
    (word,) = [word for word, said, heard in pairs if said != heard]
    (burst,) = truth["events"]
    assert (burst["label"], burst["start"], burst["end"]) == ("noise", word["start"], word["end"])
    samples, rate = soundfile.read(clips / NOISY)
    noisy = {}
    for one in truth["words"]:
        spectrum = np.abs(np.fft.rfft(samples[round(one["start"] * rate) : round(one["end"] * rate)])) ** 2
        noisy[one["word"]] = np.median(spectrum) / spectrum.mean()  # white noise lies in every bin, speech in few
    assert max(noisy, key=lambda one: noisy[one]) == word["word"]


@both_precisions
@every_clip
def test_naming_the_language_changes_no_word(opened: Any, name: str, clips: Path) -> None:
    transcript = opened.transcribe(clips / name, TRUTH[name]["language"])
    assert transcript.text == TRUTH[name].get("heard", TRUTH[name]["text"])
    assert transcript.tags[0].label == TRUTH[name]["language"]


@every_clip
def test_words_begin_where_they_are_spoken(bundled: Any, name: str, clips: Path) -> None:
    """A CTC model may emit a word late (0.32 s at worst here), though most words begin within a tenth of a second."""
    trace, truth = bundled.trace(clips / name), TRUTH[name]["words"]
    assert trace.words
    spoken = np.array([word["start"] for word in truth])
    assert abs(trace.words[0].start - spoken[0]) <= 0.25
    if TRUTH[name]["language"] in ("en", "ko"):  # words are written apart there
        assert len(trace.words) == len(truth)
        late = np.abs([word.start for word in trace.words] - spoken)
        assert late.max() <= 0.35
        assert late.mean() <= 0.15


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_say_what_single_sounds_say(bundled: Any, clips: Path, batch_size: int) -> None:
    names = sorted(TRUTH)
    together = bundled.transcribe_batch([clips / name for name in names], batch_size=batch_size)
    assert len(together) == len(names)
    for name, found in zip(names, together, strict=True):
        alone = bundled.transcribe(clips / name)
        assert (found.text, found.rich_text, found.raw_text) == (alone.text, alone.rich_text, alone.raw_text)
        assert [(one.id, one.start, one.end, one.rows) for one in found.tokens] == [
            (one.id, one.start, one.end, one.rows) for one in alone.tokens
        ]
        assert [one.log_prob for one in found.tokens] == pytest.approx([one.log_prob for one in alone.tokens], abs=1e-4)
        assert [(tag.label, tag.row) for tag in found.tags] == [(tag.label, tag.row) for tag in alone.tags]
        assert [tag.mass for tag in found.tags] == pytest.approx([tag.mass for tag in alone.tags], abs=1e-4)
        assert found.duration == alone.duration


def test_rows_of_a_padded_batch_are_those_of_single_sounds(bundled: Any, clips: Path) -> None:
    parts = [bundled.trace(clips / name, keep=0).features[0] for name in sorted(TRUTH)]
    assert len({len(part.values) for part in parts}) > 4
    for part, rows in zip(parts, bundled.logits(parts), strict=True):
        (alone,) = bundled.logits([part])
        together, single = (one - np.logaddexp.reduce(one, axis=1, keepdims=True) for one in (rows, alone))
        assert np.abs(together - single).max() <= 1e-4
