"""Clips: every truth that is written is measured in the sound."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from voxray.truespeech import sounds
from voxray.truespeech.clip import CLEAN, LEVEL, Recipe, is_held_out, make_clip, rms
from voxray.truespeech.engine import PHONEME, WORD, Event, Utterance, engine
from voxray.truespeech.lexicon import LANGUAGES, lexicon
from voxray.truespeech.spoken import RATE, Rejected
from voxray.truespeech.voices import EMOTIONS, HELD_OUT, KNOWN
from voxray.truespeech.workers import Work, make

HISS = 1e-3  # RMS of the floor of every clip
ALONE = replace(CLEAN, concat=1.0)
ASIDE = ("Laughter", "Cough")


EACH = 32  # clips of a recipe
RECIPES = {
    "alone": ALONE,
    "usual": Recipe(),
    "eventful": replace(ALONE, eventful=1.0),
    "noisy": replace(ALONE, noisy=1.0, snr=(5.0, 25.0)),
    "roomy": replace(ALONE, rooms=1.0),
    "narrow": replace(ALONE, bands=1.0),
    "quiet": replace(ALONE, gain=(-12.0, -6.0)),
    "silent": replace(Recipe(), silent=1.0, eventful=0.5),
}


@dataclass(frozen=True, slots=True)
class Variants(Work):
    """Makes the clips of every recipe from the same draws, so that what a recipe adds lies over the same speech."""

    def __call__(self, index, attempt=0):
        recipe = list(RECIPES.values())[index // EACH]
        return make_clip(engine(), recipe, np.random.default_rng([self.seed, index % EACH, attempt]))


@pytest.fixture(scope="module")
def made():
    every = list(make(Variants(Recipe(), 21, None), range(EACH * len(RECIPES)), 1))
    return {name: every[EACH * place : EACH * (place + 1)] for place, name in enumerate(RECIPES)}


@pytest.fixture(scope="module")
def alone(made):
    return made["alone"]


@pytest.fixture(scope="module")
def usual(made):
    return made["usual"]


@pytest.fixture(scope="module")
def eventful(made):
    return made["eventful"]


def outside_speech(clip, margin=320):
    """Return which samples are farther than a margin from every word."""
    quiet = np.ones(len(clip.samples), bool)
    for word in clip.words:
        quiet[max(0, word.start - margin) : word.end + margin] = False
    return quiet


def test_truth_is_written_as_it_is(usual, tmp_path):
    for number, clip in enumerate(usual[:16]):
        clip.write(tmp_path / f"{number}.wav")
        samples, rate = soundfile.read(tmp_path / f"{number}.wav", dtype="float32")
        assert rate == RATE
        assert np.abs(samples - clip.samples).max() <= 1 / 32768
        text = (tmp_path / f"{number}.json").read_text(encoding="utf-8")
        truth = json.loads(text)
        assert truth == clip.truth()
        assert clip.text in text  # letters, not their codes
        assert truth["length"] == len(samples)
        assert truth["rate"] == rate
        assert [word["text"] for word in truth["words"]] == [word.text for word in clip.words]


def test_words_lie_in_order_inside_the_sound(usual):
    for clip in usual:
        edges = [edge for word in clip.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert all(word.end - word.start >= 0.02 * RATE for word in clip.words)
        assert not edges or (edges[0] >= 0.1 * RATE - 1 and edges[-1] <= len(clip.samples) - 0.1 * RATE + 1)


def test_the_transcript_is_made_of_the_words(usual):
    for clip in usual:
        joined = (" " if clip.language in ("en", "ko") else "").join(word.text for word in clip.words)
        assert joined == clip.text
        if clip.language != "nospeech":
            assert {word.text for word in clip.words} <= {entry.written for entry in lexicon(clip.language).words}


def test_samples_are_finite_and_seldom_clipped(usual):
    for clip in usual:
        assert clip.samples.dtype == np.float32
        assert np.isfinite(clip.samples).all()
        assert np.abs(clip.samples).max() <= 1.0
        assert 0.3 * RATE < len(clip.samples) < 15 * RATE
    assert np.mean([np.mean(np.abs(clip.samples) >= 1.0) for clip in usual]) < 0.003


def test_labels_are_of_the_recipe(usual):
    spoken = [clip for clip in usual if clip.words]
    assert {clip.language for clip in spoken} == set(LANGUAGES)
    assert {clip.emotion for clip in spoken} == set(EMOTIONS)
    assert {"Speech"} < {clip.event for clip in usual} <= {"Speech", "Event_UNK", *sounds.EVENTS}
    assert {clip.mode for clip in spoken} == {"concat", "sentence"}
    assert {clip.speaker.variant for clip in spoken} <= set(KNOWN)
    assert not set(KNOWN) & set(HELD_OUT)
    assert all(word.exact for clip in spoken if clip.mode == "concat" for word in clip.words)


def test_clean_speech_has_the_level_of_its_emotion(alone):
    for clip in alone:
        speech = clip.samples[clip.words[0].start : clip.words[-1].end]
        low, high = EMOTIONS[clip.emotion].level
        level = 20 * np.log10(np.sqrt(rms(speech) ** 2 - HISS**2) / LEVEL)
        assert low - 0.2 < level < high + 0.2  # clipping takes a little from the loudest
        assert clip.conditions == {"room": False, "band": False, "gain": 0.0}


def test_no_words_means_no_sound_but_hiss(alone):
    for clip in alone:
        quiet = outside_speech(clip)
        assert quiet.sum() > 0.1 * RATE
        assert rms(clip.samples[quiet]) == pytest.approx(HISS, rel=0.15)


def test_noise_has_the_stated_distance_to_the_speech(alone, made):
    noisy = made["noisy"]
    stated = [clip.conditions["snr"] for clip in noisy]
    assert min(stated) < 9
    assert max(stated) > 21
    for clip, clean in zip(noisy, alone, strict=True):
        assert clip.words == clean.words
        whole = (np.abs(clip.samples) < 1.0) & (np.abs(clean.samples) < 1.0)
        noise = np.mean((clip.samples - clean.samples)[whole].astype(float) ** 2) - 2 * HISS**2
        speech = rms(clean.samples[clean.words[0].start : clean.words[-1].end]) ** 2 - HISS**2
        assert 10 * np.log10(speech / noise) == pytest.approx(clip.conditions["snr"], abs=0.5)


def test_rooms_do_not_move_onsets(alone, made):
    for clip, clean in zip(made["roomy"], alone, strict=True):
        assert clip.conditions["room"] is True
        assert clip.words == clean.words
        start, end = clean.words[0].start, clean.words[0].end
        before, first = slice(0, start - 160), slice(start - 160, end)
        assert rms(clip.samples[before]) < 2 * HISS  # nothing is heard early
        likeness = correlate(clip.samples[first], clean.samples[first])
        assert np.argmax(likeness) == end - start + 160 - 1  # alike most without a shift
        assert rms(clip.samples - clean.samples) > 2 * HISS  # and there is a room


def test_narrow_bands_do_not_move_onsets(alone, made):
    for clip, clean in zip(made["narrow"], alone, strict=True):
        assert clip.words == clean.words
        likeness = correlate(clip.samples, clean.samples)
        assert np.argmax(np.abs(likeness)) == len(clean.samples) - 1


def test_gain_is_applied_as_stated(alone, made):
    for clip, clean in zip(made["quiet"], alone, strict=True):
        assert -12 <= clip.conditions["gain"] <= -6
        kept = np.abs(clean.samples) < 0.99  # the louder clip may be clipped
        factor = np.dot(clip.samples[kept], clean.samples[kept]) / np.dot(clean.samples[kept], clean.samples[kept])
        assert 20 * np.log10(factor) == pytest.approx(clip.conditions["gain"], abs=0.1)


def test_event_spans_hold_the_event(eventful):
    assert set(Counter(clip.event for clip in eventful)) == set(sounds.EVENTS)
    held = []
    for clip in eventful:
        (span,) = clip.events
        assert span.label == clip.event
        assert 0 <= span.start < span.end <= len(clip.samples)
        inside = np.zeros(len(clip.samples), bool)
        inside[span.start : span.end] = True
        quiet = outside_speech(clip)
        assert rms(clip.samples[inside & quiet]) > 1.5 * HISS or (inside & quiet).sum() < 0.05 * RATE or clip.event in ASIDE
        held.append(rms(clip.samples[inside]) > 3 * HISS)
        if (~inside & quiet).sum() > 0.05 * RATE:
            assert rms(clip.samples[~inside & quiet]) == pytest.approx(HISS, rel=0.2)
    assert all(held)


def test_events_aside_do_not_overlap_words(eventful):
    aside = 0
    for clip in eventful:
        (span,) = clip.events
        apart = span.end <= clip.words[0].start or span.start >= clip.words[-1].end
        if apart:
            aside += 1
            assert clip.event in ASIDE
            assert rms(clip.samples[span.start : span.end]) > 5 * HISS
    events = sum(clip.event in ASIDE for clip in eventful)
    assert aside / events == pytest.approx(0.7, abs=4 * np.sqrt(0.7 * 0.3 / events))


def test_clips_without_speech_say_so(made):
    for clip in made["silent"]:
        assert (clip.language, clip.emotion, clip.mode) == ("nospeech", "EMO_UNKNOWN", "none")
        assert (clip.text, clip.words, clip.speaker) == ("", (), None)
        assert 0.6 * RATE - 1 <= len(clip.samples) <= 4.0 * RATE + 1
        if clip.events:
            (span,) = clip.events
            assert span.label == clip.event
            assert 0 <= span.start < span.end <= len(clip.samples)
        else:
            assert clip.event == "Event_UNK"
        assert clip.truth()["speaker"] is None


@pytest.mark.parametrize("held_out", [False, True])
def test_no_sentence_is_on_both_sides_of_the_split(held_out):
    recipe = replace(ALONE, held_out=held_out)
    drawn = [make_clip(Talker(), recipe, np.random.default_rng(seed)).text for seed in range(60)]
    assert {is_held_out(text) for text in drawn} == {held_out}


@dataclass
class Talker:
    """An engine that hums for a fifth of a second at each word and forgets the events of words where it is told to."""

    forgetful: bool = False
    calls: int = 0
    rate: int = RATE

    def say(self, text, _voice, _manner, _seed):
        self.calls += 1
        words, events, at = text.split(" "), [], 0
        for place, word in enumerate(words):
            if not self.forgetful:
                events.append(Event(WORD, 3200 * place, at, len(word), ""))
            events.append(Event(PHONEME, 3200 * place, 0, 0, "s"))
            at += len(word) + 1
        events.append(Event(PHONEME, 3200 * len(words), 0, 0, "_:"))
        hum = 8000 * np.sin(np.arange(3200 * len(words)) / 20)
        return Utterance(hum.astype(np.int16), tuple(events))


def test_after_forty_sentences_without_times_the_clip_is_rejected():
    talker = Talker(forgetful=True)
    with pytest.raises(Rejected, match="no sentence with known word times in ja by m3"):
        make_clip(talker, replace(ALONE, concat=0.0, languages=("ja",), variants=("m3",)), np.random.default_rng(0))
    assert talker.calls == 40


def test_shares_are_those_of_the_recipe():
    recipe = replace(CLEAN, silent=0.1, concat=0.4, emotional=0.6, noisy=0.5, words=(2, 7), grammar=0.0)
    drawn = [make_clip(Talker(), recipe, np.random.default_rng([1, seed])) for seed in range(500)]
    spoken = [clip for clip in drawn if clip.words]

    def check(found, total, share):
        assert found / total == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / total))

    check(len(spoken), 500, 0.9)
    check(sum(clip.mode == "concat" for clip in spoken), len(spoken), 0.4)
    check(sum("snr" in clip.conditions for clip in drawn), 500, 0.5)
    for language in LANGUAGES:
        check(sum(clip.language == language for clip in spoken), len(spoken), 1 / 5)
    for emotion in EMOTIONS:
        check(sum(clip.emotion == emotion for clip in spoken), len(spoken), 0.4 if emotion == "NEUTRAL" else 0.2)
    for count in range(2, 8):
        check(sum(len(clip.words) == count for clip in spoken), len(spoken), 1 / 6)
    assert all(before.end <= after.start for clip in spoken for before, after in pairwise(clip.words))
