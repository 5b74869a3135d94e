"""Words and their times: which events count, and whether the sound begins where the truth says."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from voxray.truespeech.clip import CLEAN, Recipe
from voxray.truespeech.engine import PHONEME, WORD, Event, Manner, Utterance, engine
from voxray.truespeech.lexicon import LANGUAGES, Entry, lexicon
from voxray.truespeech.spoken import RATE, Rejected, Speaker, concat, resampled, sentence
from voxray.truespeech.voices import EMOTIONS, KNOWN, manner
from voxray.truespeech.workers import Work, clips, make

SPEAKER = Speaker("en", "m3", Manner())
ENTRIES = (Entry("AB", "ab"), Entry("CD", "cd"))
HISS = 1e-3  # RMS of the floor of every clip


def word(sample, position, length):
    return Event(WORD, sample, position, length, "")


def sounds(*named):
    return tuple(Event(PHONEME, sample, 0, 0, name) for name, sample in named)


@dataclass
class Script:
    """An engine that says what it is told to say."""

    utterances: list[Utterance]
    rate: int = RATE

    def say(self, *_):
        return self.utterances.pop(0)


def told(*events, entries=ENTRIES, rate=RATE):
    """Return the words of a sentence of which the engine announces these events."""
    script = Script([Utterance(np.ones(1000, np.int16), tuple(events))], rate)
    return sentence(script, entries, SPEAKER, 0).words


def times(words):
    return [(one.start, one.end) for one in words]


FIRST = (word(0, 0, 2), *sounds(("a", 100), ("b", 200)))
END = sounds(("_:", 500), ("_", 600))


def test_a_word_lasts_from_its_first_phoneme_to_the_next_words_first():
    words = told(*FIRST, word(250, 3, 2), *sounds(("k", 300), ("d", 400)), *END)
    assert [one.text for one in words] == ["AB", "CD"]
    assert times(words) == [(100, 300), (300, 500)]


def test_a_pause_ends_the_word_before_it():
    pause = sounds(("_:", 260), ("_", 280))
    assert times(told(*FIRST, *pause, word(280, 3, 2), *sounds(("k", 300), ("d", 400)), *END)) == [(100, 260), (300, 500)]


def test_a_pause_after_the_words_event_is_not_the_word():
    late = (word(250, 3, 2), *sounds(("_", 260), ("k", 300), ("d", 400)))
    assert times(told(*FIRST, *late, *END)) == [(100, 260), (300, 500)]


def test_times_are_brought_to_16_khz():
    words = told(*FIRST, word(250, 3, 2), *sounds(("k", 301), ("d", 400)), *END, rate=2 * RATE)
    assert times(words) == [(50, 150), (150, 250)]


def test_events_inside_a_word_are_the_words():
    inside = (word(150, 1, 1), word(260, 3, 1), *sounds(("k", 300)), word(350, 4, 1), *sounds(("d", 400)))
    assert times(told(word(0, 0, 1), *sounds(("a", 100), ("b", 200)), *inside, *END)) == [(100, 300), (300, 500)]


def test_events_without_length_do_not_count():
    words = told(*FIRST, word(240, 3, 0), word(250, 3, 2), *sounds(("k", 300), ("d", 400)), *END)
    assert times(words) == [(100, 300), (300, 500)]


SECOND = (word(250, 3, 2), *sounds(("k", 300), ("d", 400)))
THREE = (*ENTRIES, Entry("E", "e"))


@pytest.mark.parametrize(
    ("events", "entries", "reason"),
    [
        ((word(0, 0, 5), *sounds(("a", 100), ("k", 300)), *END), ENTRIES, "spans two words"),
        ((*FIRST, *sounds(("k", 300)), *END), ENTRIES, "without an event"),
        ((*sounds(("a", 100)), *SECOND, *END), ENTRIES, "without an event"),
        ((*FIRST, word(450, 6, 1), *sounds(("e", 460)), *END), THREE, "without an event"),
        ((*FIRST, word(250, 3, 0), *sounds(("k", 300)), *END), ENTRIES, "without an event"),
        ((*FIRST, word(250, 4, 1), *sounds(("k", 300)), *END), ENTRIES, "without an event"),
        ((*FIRST, *FIRST, *SECOND, *END), ENTRIES, "without an event"),
        ((*FIRST, word(250, 3, 2), *END), ENTRIES, "without sound"),
        ((word(0, 0, 2), *SECOND, *END), ENTRIES, "without sound"),
        ((*FIRST, *SECOND), ENTRIES, "no end"),
        ((*FIRST, word(250, 3, 2), *sounds(("k", 300), ("_:", 300))), ENTRIES, "without length"),
        ((), ENTRIES, "without an event"),
    ],
)
def test_a_sentence_with_unclear_words_is_rejected(events, entries, reason):
    with pytest.raises(Rejected, match=reason):
        told(*events, entries=entries)


@pytest.mark.parametrize(
    ("before", "first", "exact"),
    [
        *[("n", "a", False), ("m", "'E", False), ("N", ",i", False), ("l", "@", False), ("r", "'0", False), ("n-", "u-", False)],
        *[("n", "t", True), ("t", "a", True), ("'a", "a", True), ("s", "'i", True), ("l", "w", True), ("m", "'s", True)],
    ],
)
def test_a_vowel_after_a_nasal_or_liquid_is_marked(before, first, exact):
    words = told(word(0, 0, 2), *sounds(("a", 100), (before, 200)), word(250, 3, 2), *sounds((first, 300), ("d", 400)), *END)
    assert [one.exact for one in words] == [True, exact]


def test_silence_is_rejected():
    with pytest.raises(Rejected, match="no sound"):
        sentence(Script([Utterance(np.zeros(0, np.int16), (*FIRST, *SECOND, *END))]), ENTRIES, SPEAKER, 0)
    with pytest.raises(Rejected, match="without sound"):
        concat(Script([Utterance(np.zeros(900, np.int16), ())]), ENTRIES, SPEAKER, np.random.default_rng(0))


def test_another_rate_moves_nothing():
    samples = np.zeros(22050, np.int16)
    samples[5000:5050] = 16384
    sound = resampled(samples, 22050)
    assert len(sound) == RATE
    loud = np.flatnonzero(sound > 0.25)
    assert loud[0] == pytest.approx(5000 * RATE / 22050, abs=1)
    assert loud[-1] == pytest.approx(5049 * RATE / 22050, abs=1)
    assert sound[loud].mean() == pytest.approx(0.5, abs=0.02)


def test_concat_trims_words_and_joins_them_with_silence():
    voices = []
    for length, peak in ((800, 20000), (500, 3000)):
        samples = np.full(2000, peak // 200, np.int16)  # 0.5 % of the peak: not the word
        samples[300 : 300 + length] = peak
        voices.append(Utterance(samples, ()))
    spoken = concat(Script(voices), ENTRIES, SPEAKER, np.random.default_rng(0))
    one, other = spoken.words
    assert (one.start, one.end, other.end - other.start) == (0, 800, 500)
    assert 0.04 * RATE <= other.start - one.end <= 0.20 * RATE
    assert not spoken.samples[one.end : other.start].any()
    assert (spoken.samples[one.start : one.end] == np.float32(20000 / 32768)).all()
    assert (spoken.samples[other.start : other.end] == np.float32(3000 / 32768)).all()
    assert len(spoken.samples) == other.end
    assert [one.text, other.text] == ["AB", "CD"]
    assert one.exact
    assert other.exact


def onset(clip, one, floor):
    """Return the time in ms from the stated to the heard start: the first 2.5 ms louder than hiss and a fiftieth of the loudest."""
    begin = max(floor, one.start - 800)
    part = clip.samples[begin : one.end].astype(float)
    level = np.sqrt(np.mean(part[: len(part) // 40 * 40].reshape(-1, 40) ** 2, axis=1))
    heard = np.flatnonzero(level > max(3 * HISS, 0.02 * level.max()))
    return (begin + 40 * heard[0] - one.start) * 1000 / RATE if len(heard) else np.inf


def test_concat_clips_begin_their_words_where_they_say():
    made = list(clips(replace(CLEAN, concat=1.0), 11, 128, 1))
    errors, gaps = {language: [] for language in LANGUAGES}, []
    for clip in made:
        gaps += [after.start - before.end for before, after in pairwise(clip.words)]
        floors = [0, *(one.end for one in clip.words)]
        errors[clip.language] += [onset(clip, one, floor) for one, floor in zip(clip.words, floors, strict=False)]
    assert len({clip.speaker.variant for clip in made}) > 45
    assert 0.04 * RATE <= min(gaps) < 0.05 * RATE
    assert 0.19 * RATE < max(gaps) <= 0.20 * RATE
    every = np.concatenate(list(errors.values()))
    assert len(every) > 500
    assert np.mean(np.abs(every) <= 30) >= 0.95
    assert all(np.mean(np.abs(of_one) <= 30) >= 0.88 for of_one in errors.values())  # weak h and f drown in the hiss
    assert np.percentile(every, [10, 50]) == pytest.approx(0, abs=2.5)


@dataclass
class Listening:
    """An engine that keeps what it said last."""

    last: Utterance | None = None
    rate: int = 22050

    def say(self, *what):
        self.last = engine().say(*what)
        return self.last


@dataclass(frozen=True, slots=True)
class Onsets(Work):
    """Says a sentence and measures, for each word of a class, the ms from its stated start to where its sound changes most."""

    def __call__(self, index, attempt=0):
        rng = np.random.default_rng([self.seed, index, attempt])
        language, emotion = LANGUAGES[index % len(LANGUAGES)], list(EMOTIONS)[rng.integers(len(EMOTIONS))]
        listening = Listening()
        while True:
            speaker = Speaker(language, str(rng.choice(KNOWN)), manner(emotion, rng))
            try:
                spoken = sentence(listening, lexicon(language).in_open_order(rng, 5), speaker, index)
            except Rejected:
                continue
            return changes(spoken, listening.last.events)


def changes(spoken, events):
    """Return (class, ms) of the words whose start is loud and clear: after a pause, or with a plosive or a fricative."""
    sound = np.pad(spoken.samples, 3200) / np.sqrt(np.mean(spoken.samples**2))
    sound = sound + np.random.default_rng(0).normal(0, 3e-3, len(sound))
    hissing = sosfiltfilt(butter(3, 3500, "high", fs=RATE, output="sos"), sound)
    named = [(round(event.sample * RATE / 22050), event.phoneme) for event in events if event.kind == PHONEME]
    found = []
    for one in spoken.words:
        place = next(i for i, (at, name) in enumerate(named) if at == one.start and not name.startswith("_"))
        before, first = named[place - 1][1] if place else "_", named[place][1].lstrip("',")
        if before in ("_", "_:"):
            found.append(("pause", rise(sound, one.start + 3200)))
        elif re.match(r"[pkt]|c$", first):
            found.append(("plosive", rise(sound, one.start + 3200)))
        elif re.match(r"[sSzZfX]", first) and not re.match(r"[ptkbdgqcsSzZfvTDhX]", before.lstrip("',")):
            found.append(("fricative", rise(hissing, one.start + 3200)))
    return found


def rise(sound, at):
    """Return the ms, of -60 to 60 around a sample, at which 12 ms of sound are loudest against the 12 ms before."""
    energy = np.concatenate([[0], np.cumsum(sound**2)])
    heard = at + 16 * np.arange(-60, 61)
    after, before = energy[heard + 192] - energy[heard], energy[heard] - energy[heard - 192]
    return float(np.argmax((after + 1e-3) / (before + 1e-3)) - 60)


def test_sentences_begin_their_words_where_they_say():
    found = [one for group in make(Onsets(Recipe(), 3, None), range(128), 1) for one in group]
    errors = {name: np.array([ms for one, ms in found if one == name]) for name in ("pause", "plosive", "fricative")}
    assert {name: len(of_one) > 80 for name, of_one in errors.items()} == dict.fromkeys(errors, True)
    within = {name: np.mean(np.abs(of_one) <= 30) for name, of_one in errors.items()}
    assert within["pause"] >= 0.94
    assert within["fricative"] >= 0.93
    assert within["plosive"] >= 0.94
    assert all(abs(np.median(of_one)) <= 3 for of_one in errors.values())
