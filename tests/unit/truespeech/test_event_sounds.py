"""Sounds that are not speech: their levels, spectra and courses over many seeds, and that nothing moves in time."""

from __future__ import annotations

import numpy as np
import pytest

from voxray.truespeech import sounds

SEEDS = range(50)
FOUR_SECONDS = 4 * sounds.RATE


def frame_power(sound):
    return np.array([np.mean(frame.astype(float) ** 2) for frame in np.split(sound, range(320, len(sound), 320))])


def active_rms(sound):
    frames = np.split(sound.astype(float), range(320, len(sound), 320))
    loudest = max(np.mean(frame**2) for frame in frames)
    return np.sqrt(np.mean(np.concatenate([frame for frame in frames if np.mean(frame**2) >= 1e-3 * loudest]) ** 2))


def spectrum(sound):
    return np.fft.rfftfreq(len(sound), 1 / sounds.RATE), np.abs(np.fft.rfft(sound.astype(float))) ** 2


def centroid(sound):
    frequencies, power = spectrum(sound)
    return np.sum(frequencies * power) / np.sum(power)


def share(sound, low, high):
    frequencies, power = spectrum(sound)
    return power[(frequencies >= low) & (frequencies < high)].sum() / power.sum()


def modulation(sound):
    """Return the depth of the loudness's course and the rate, from 0.75 Hz up, at which it is strongest."""
    course = np.sqrt(frame_power(sound))
    strength = np.abs(np.fft.rfft(course - course.mean()))
    rates = np.fft.rfftfreq(len(course), 0.02)
    return course.std() / course.mean(), rates[3:][np.argmax(strength[3:])]


def lag(one, other):
    """Return by how many samples one sound is late against another, by their circular cross-correlation."""
    size = 2 * len(one)
    product = np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size))
    at = int(np.argmax(np.fft.irfft(product, size)))
    return at if at < len(one) else at - size


def made(name, count=FOUR_SECONDS):
    return [sounds.EVENTS[name](np.random.default_rng(seed), count) for seed in SEEDS]


@pytest.mark.parametrize("name", ["BGM", "Applause", "Laughter", "Cough"])
def test_an_event_has_its_length_its_level_and_the_bytes_of_its_seed(name):
    for seed, sound in zip(SEEDS, made(name), strict=True):
        assert sound.shape == (FOUR_SECONDS,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert active_rms(sound) == pytest.approx(1, abs=1e-3)
        assert sound.tobytes() == sounds.EVENTS[name](np.random.default_rng(seed), FOUR_SECONDS).tobytes()
        assert not np.array_equal(sound, sounds.EVENTS[name](np.random.default_rng(seed + 1000), FOUR_SECONDS))


@pytest.mark.parametrize("count", [1600, 1601, 7919, 20001])
@pytest.mark.parametrize("name", sorted(sounds.EVENTS))
def test_an_event_fits_any_length(name, count):
    for sound in made(name, count):
        assert sound.shape == (count,)
        assert np.isfinite(sound).all()
        assert active_rms(sound) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", sorted(sounds.EVENTS))
def test_an_event_too_short_is_refused(name):
    with pytest.raises(ValueError, match=r"1599 samples is too short: ask for at least 1600"):
        sounds.EVENTS[name](np.random.default_rng(0), 1599)


def test_music_is_continuous_and_applause_is_bright():
    music = [np.mean(frame_power(sound) < 1e-3 * frame_power(sound).max()) for sound in made("BGM")]
    assert max(music) < 0.1
    bright = [centroid(sound) for sound in made("Applause")]
    assert min(bright) > 1200
    assert np.median(bright) > 2 * np.median([centroid(sound) for sound in made("BGM")])


def test_applause_swells():
    ratios = [np.mean(sound[:1600] ** 2) / np.mean(sound[-32000:] ** 2) for sound in made("Applause")]
    assert np.median(ratios) < 0.5


def test_laughter_pulses_four_to_six_times_a_second():
    depths, rates = np.transpose([modulation(sound) for sound in made("Laughter")])
    assert depths.min() > 0.6
    assert np.mean((rates >= 3.25) & (rates <= 6.25)) > 0.9


def test_coughs_are_short_bursts_in_silence():
    power = [frame_power(sound) for sound in made("Cough")]
    silent = np.array([np.mean(frames < 1e-3 * frames.max()) for frames in power])
    assert silent.min() > 0.5
    assert min(modulation(sound)[0] for sound in made("Cough")) > 1.3


@pytest.mark.parametrize("name", sorted(sounds.EVENTS))
def test_an_event_varies_with_its_seed(name):
    centres = np.array([centroid(sound) for sound in made(name)])
    assert np.percentile(centres, 90) > 1.25 * np.percentile(centres, 10)


@pytest.mark.parametrize("count", [1, 2, 17, 4001, FOUR_SECONDS])
def test_noise_has_its_level(count):
    for seed in SEEDS:
        sound = sounds.noise(np.random.default_rng(seed), count)
        assert sound.shape == (count,)
        assert sound.dtype == np.float32
        assert np.sqrt(np.mean(sound.astype(float) ** 2)) == pytest.approx(1, abs=1e-3)


def test_noises_range_from_brown_to_white():
    centres = [centroid(sounds.noise(np.random.default_rng(seed), FOUR_SECONDS)) for seed in SEEDS]
    assert min(centres) < 150
    assert max(centres) == pytest.approx(4000, rel=0.02)


def test_a_room_starts_with_its_direct_path_and_dies_in_its_time():
    times, ratios = [], []
    for seed in range(200):
        response = sounds.room(np.random.default_rng(seed))
        assert response.dtype == np.float32
        assert response[0] == 1
        assert np.abs(response[1:]).max() < 1
        ratios.append(-10 * np.log10(np.sum(response[1:].astype(float) ** 2)))
        tail = response[480:].astype(float) ** 2  # 30 ms: only the diffuse tail is left
        left = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum())
        begin, end = int(np.argmax(left < -3)), int(np.argmax(left < -20))
        time = 60 * (end - begin) / sounds.RATE / (left[begin] - left[end])
        assert time == pytest.approx(len(response) / sounds.RATE, rel=0.15)
        times.append(time)
    assert 0.08 < min(times) < 0.15
    assert 0.5 < max(times) < 0.65
    assert 2.7 < min(ratios) < 5
    assert 18 < max(ratios) < 20.3


def test_a_room_keeps_the_start_of_a_sound():
    click = np.zeros(8000, np.float32)
    click[3000:3200] = sounds.hiss(np.random.default_rng(1), 200)
    for seed in SEEDS:
        wet = np.convolve(click, sounds.room(np.random.default_rng(seed)))[: len(click)]
        assert not wet[:3000].any()
        assert lag(wet, click) == 0


@pytest.mark.parametrize("name", sorted(sounds.EVENTS))
def test_a_band_limit_and_a_tilt_move_nothing(name):
    sound = sounds.EVENTS[name](np.random.default_rng(5), 20001)
    for seed in SEEDS:
        limited = sounds.band_limit(np.random.default_rng(seed), sound)
        assert limited.shape == sound.shape
        assert limited.dtype == np.float32
        assert lag(limited, sound) == 0
    for slope in (-3, -1, 2, 3):
        assert lag(sounds.tilt(sound, slope), sound) == 0


def test_band_limits_take_what_they_should():
    white = sounds.hiss(np.random.default_rng(0), sounds.RATE)
    limited = [sounds.band_limit(np.random.default_rng(seed), white) for seed in range(500)]
    above = np.array([share(sound, 5000, 8000) for sound in limited])
    below = np.array([share(sound, 0, 200) for sound in limited])
    telephone = (above < 0.01) & (below < 0.001)
    narrow = (above < 0.01) & (below > 0.02)
    assert telephone.mean() == pytest.approx(1 / 5, abs=0.06)
    assert narrow.mean() == pytest.approx(1 / 5, abs=0.06)
    assert np.mean(above > 0.2) > 0.3


def test_a_tilt_slopes_by_its_decibels_and_keeps_the_level():
    white = sounds.hiss(np.random.default_rng(0), FOUR_SECONDS)
    for slope in (-3.0, -1.5, 0.0, 3.0):
        tilted = sounds.tilt(white, slope)
        assert np.std(tilted) == pytest.approx(np.std(white), rel=1e-3)
        one, three = (share(tilted, low, 1.2 * low) / share(white, low, 1.2 * low) for low in (500, 4000))
        assert 10 * np.log10(three / one) == pytest.approx(3 * slope, abs=0.2)


def test_silence_stays_silence():
    for count in (0, 1, 500):
        nothing = np.zeros(count, np.float32)
        assert np.array_equal(sounds.tilt(nothing, 3), nothing)
        assert np.array_equal(sounds.band_limit(np.random.default_rng(0), nothing), nothing)


def test_the_floor_is_60_decibels_down():
    floor = sounds.hiss(np.random.default_rng(0), FOUR_SECONDS)
    assert floor.dtype == np.float32
    assert 20 * np.log10(np.std(floor)) == pytest.approx(-60, abs=0.1)
