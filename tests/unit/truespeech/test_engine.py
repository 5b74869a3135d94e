"""eSpeak NG in this process: events in order, the limits of a manner, unknown voices, and readings that tell words apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from voxray.truespeech.engine import PHONEME, WORD, EngineError, Manner, engine

VOICE = "en-us+m3"
TEXT = "green bananas, my apple"


@pytest.fixture(scope="module")
def said():
    engine().say("so", VOICE, Manner())  # phonemes that were read before in this process take the first event of the next utterance
    return engine().say(TEXT, VOICE, Manner())


def fundamental(sound, rate):
    """Return the frequency, between 60 and 400 Hz, at which the sound repeats itself best."""
    sound = sound.astype(float) - sound.mean()
    power = np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2
    repeats = np.fft.irfft(power)[: len(sound)]
    lags = np.arange(rate // 400, rate // 60)
    return rate / lags[np.argmax(repeats[lags])]


def test_sound_is_whole_and_not_silent(said):
    assert engine().rate == 22050
    assert said.samples.dtype == np.int16
    assert 1.0 < len(said.samples) / engine().rate < 3.0
    assert np.abs(said.samples).max() > 3000


def test_events_come_in_order_and_inside_the_sound(said):
    times = [event.sample for event in said.events]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= len(said.samples)
    assert len(times) > 15


def test_each_word_has_an_event_that_names_its_letters(said):
    words = [TEXT[event.position : event.position + event.length] for event in said.events if event.kind == WORD]
    assert words == ["green", "bananas", "my", "apple"]


def test_positions_count_characters_not_bytes():
    events = engine().say("朋友 喝 咖啡", "cmn+f1", Manner()).events
    assert {0, 3, 5} <= {event.position for event in events if event.kind == WORD} <= {0, 1, 3, 5, 6}


def test_phonemes_follow_their_word_and_pauses_follow_the_clause(said):
    names = [[]]
    for event in said.events:
        if event.kind == PHONEME:
            names[-1].append(event.phoneme)
        else:
            names.append([])
    assert [word[0].lstrip("',") for word in names[1:]] == ["g", "b", "m", "a"]
    assert any(name.startswith("_") for name in names[2])  # at the comma
    assert any(name.startswith("_") for name in names[4])  # at the end
    assert not any(name.startswith("_") for name in names[3])


def test_phonemes_lie_apart_as_speech_does(said):
    sounding = [event.sample for event in said.events if event.kind == PHONEME]
    gaps = np.array([later - earlier for earlier, later in pairwise(sounding)]) / engine().rate
    assert 0.03 < np.median(gaps) < 0.15


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in ("pitch", "range") for v in (-1, 101)] + [("rate", 79), ("rate", 451)])
def test_a_manner_beyond_the_limits_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}.*rate must be 80 to 450, pitch and range 0 to 100"):
        Manner(**{name: value})


def test_the_limits_themselves_can_be_said():
    slow, fast = (len(engine().say(TEXT, VOICE, Manner(rate, 0, 100)).samples) for rate in (80, 450))
    assert slow > 2.5 * fast


def test_pitch_is_heard():
    low, high = (engine().say("our", VOICE, Manner(120, pitch, 0)).samples for pitch in (20, 80))
    assert fundamental(high, 22050) > 1.4 * fundamental(low, 22050)


@pytest.mark.parametrize("voice", ["nosuch", "nosuch+m3", "en-us+nosuch", "en-us+", ""])
def test_an_unknown_voice_is_refused(voice):
    with pytest.raises(EngineError, match=f"has no voice '{voice.replace('+', '[+]')}'"):
        engine().say("apple", voice, Manner())


def test_a_refused_voice_changes_nothing():
    before = engine().say("apple", VOICE, Manner(), seed=1)
    with pytest.raises(EngineError, match="no voice"):
        engine().say("apple", "cmn+nosuch", Manner())
    after = engine().say("apple", VOICE, Manner(), seed=1)
    assert [event.phoneme for event in before.events] == [event.phoneme for event in after.events]
    assert len(after.samples) == pytest.approx(len(before.samples), rel=0.01)


def test_no_text_is_silence():
    said = engine().say("", VOICE, Manner())
    assert not said.samples.any()
    assert not [event for event in said.events if event.kind == WORD]


@pytest.mark.parametrize(
    ("voice", "one", "other", "same"),
    [
        ("en-us", "two", "too", True),
        ("en-us", "two", "tea", False),
        ("en-us", "pen", "ten", False),
        ("cmn", "买", "卖", False),  # tones 3 and 4
        ("cmn", "他", "她", True),
        ("yue", "水", "睡", False),
        ("ja", "はし", "はち", False),
        ("ko", "물", "불", False),
    ],
)
def test_readings_tell_words_apart(voice, one, other, same):
    assert (engine().phonemes(one, voice) == engine().phonemes(other, voice)) is same


def test_readings_hold_every_clause():
    one, other = (engine().phonemes(text, "en-us") for text in ("apple", "bread"))
    assert engine().phonemes("apple, bread.", "en-us").split() == [one, other]
