"""Detectors find what was planted and nothing in clean speech; edits put right what they say and leave the rest alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxray import sounds
from voxray.audio import load_audio
from voxray.types import Audio, OptionError

RATE = 16000
WORD = (1.64, 2.1)  # "bathroom" of the happy clip; of the neutral one 2.114 to 2.688


@pytest.fixture(scope="module")
def speech(clips: Path) -> Audio:
    return load_audio(clips / "en_neutral_speech.wav")


@pytest.fixture(scope="module")
def mandarin(clips: Path) -> Audio:
    return load_audio(clips / "zh_happy_speech.wav")


def tone(hertz: float = 200.0, seconds: float = 1.0, height: float = 0.3) -> Audio:
    return Audio(height * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE))


def harmonic(seconds: float = 1.0, pitch: float = 120.0) -> Audio:
    """A buzz with a falling spectrum: predictable like a vowel."""
    times = np.arange(round(seconds * RATE)) / RATE
    return Audio(sum(0.3 / k * np.sin(2 * np.pi * pitch * k * times + k) for k in range(1, 20)))


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def pitch_of(audio: Audio) -> float:
    """Frequency of the highest peak of the spectrum, by a parabola through its neighbours."""
    spectrum = np.log(np.abs(np.fft.rfft(audio.samples * np.hanning(len(audio.samples)))) + 1e-12)
    at = int(spectrum[1:-1].argmax()) + 1
    left, middle, right = spectrum[at - 1 : at + 2]
    return (at + 0.5 * (left - right) / (left - 2 * middle + right)) * RATE / len(audio.samples)


def steepest(audio: Audio, at: float) -> float:
    """Largest step between two samples within 15 ms of a time, over the largest elsewhere within 100 ms."""
    steps = np.abs(np.diff(audio.samples.astype(np.float64), 2))
    place = round(at * RATE)
    inside = steps[max(0, place - 240) : place + 240].max()
    around = np.concatenate([steps[max(0, place - 1600) : max(0, place - 240)], steps[place + 240 : place + 1600]])
    return float(inside / around.max())


# -- detectors


def test_levels_of_a_tone_and_of_silence() -> None:
    assert sounds.levels(tone(height=0.5)) == pytest.approx(20 * np.log10(0.5) - 3.01, abs=0.02)
    assert sounds.level(tone(height=0.5)) == pytest.approx(-9.03, abs=0.01)
    assert sounds.level(Audio(np.zeros(1000))) == -120.0
    assert sounds.level(tone(), 2.0, 3.0) == -120.0  # past the end there is nothing
    assert len(sounds.levels(Audio(np.zeros(10)))) == 1


def test_noise_floor_finds_the_level_of_white_and_of_coloured_noise() -> None:
    white = 0.05 * np.random.default_rng(0).standard_normal(RATE)
    coloured = np.convolve(white, [0.5, 0.5], "same")
    for noise in (white, coloured):
        assert sounds.noise_floor(Audio(noise)) == pytest.approx(20 * np.log10(rms(noise)), abs=0.7)
        assert sounds.noise_floor(Audio(noise), 0.3, 0.42) == pytest.approx(20 * np.log10(rms(noise)), abs=2.0)


@pytest.mark.parametrize("snr", [0.0, 5.0, 10.0])
def test_noise_floor_hears_noise_under_a_word(speech: Audio, snr: float) -> None:
    start, end = 2.114, 2.688
    noisy = sounds.with_noise(speech, snr, 3, (start, end))
    planted = sounds.level(speech, start, end) - snr
    assert sounds.noise_floor(noisy, start, end) == pytest.approx(planted, abs=2.5)


def test_local_snr_tells_a_burst_on_one_word_from_clean_speech(speech: Audio, mandarin: Audio) -> None:
    clean, burst = [], []
    for audio, words in (
        (speech, [(0.502, 0.629), (0.629, 0.988), (0.988, 1.504), (1.504, 1.799), (2.114, 2.688)]),
        (mandarin, [(0.176, 0.676), (0.676, 0.981), (0.992, 1.561), (1.561, 1.946)]),
    ):
        for seed, (start, end) in enumerate(words):
            clean.append(sounds.local_snr(audio, start, end))
            burst.append(sounds.local_snr(sounds.with_noise(audio, 0.0, seed, (start, end)), start, end))
    assert min(clean) > 10
    assert max(burst) < 3
    assert sounds.local_snr(Audio(np.zeros(RATE))) == -20.0


def test_local_snr_of_a_span_shorter_than_a_spectrum_and_beyond_the_edges(speech: Audio) -> None:
    for span in ((1.0, 1.01), (1.0, 1.0), (-1.0, 0.02), (3.07, 9.0), (5.0, 6.0)):
        assert -20.0 <= sounds.local_snr(speech, *span) <= 60.0
    assert -20.0 <= sounds.local_snr(Audio(np.full(5, 0.1))) <= 60.0


def test_clipping_is_found_where_it_is(speech: Audio) -> None:
    assert sounds.clipped_spans(speech) == []
    height = 0.4 * float(np.abs(speech.samples).max())
    clipped = Audio(np.clip(speech.samples, -height, height))
    flat = np.abs(clipped.samples) >= 0.999 * height
    found = sounds.clipped_spans(clipped)
    marked = np.zeros(len(flat), bool)
    for start, end in found:
        marked[round(start * RATE) : round(end * RATE)] = True
    assert (marked & ~flat).sum() == 0
    assert marked.sum() > 0.6 * flat.sum()  # runs of one or two samples may be chance and stay unmarked
    assert found == sorted(found)
    assert sounds.clipped_spans(Audio(np.zeros(100))) == []


def test_gaps_are_found_in_speech_and_not_in_digital_silence_around_it(speech: Audio) -> None:
    assert sounds.gaps(speech) == []
    samples = speech.samples.copy()
    samples[round(1.2 * RATE) : round(1.3 * RATE)] = 0
    ((start, end),) = sounds.gaps(Audio(samples))
    assert (start, end) == pytest.approx((1.2, 1.3), abs=0.001)
    fade = np.sin(np.linspace(0, np.pi, 8000)) * tone(seconds=0.5).samples
    words = np.concatenate([np.zeros(3000), fade, np.zeros(800), fade, np.zeros(3000)])
    assert sounds.gaps(Audio(words)) == []


def test_a_click_is_found_to_the_sample(speech: Audio) -> None:
    samples = speech.samples.copy()
    at = round(1.2 * RATE) + int(np.abs(samples[round(1.2 * RATE) : round(1.25 * RATE)]).argmax())
    samples[at] = 0.0
    assert abs(round(sounds.clicks(Audio(samples))[0][0] * RATE) - at) <= 1
    assert sounds.clicks(tone()) == []
    assert sounds.clicks(Audio(np.zeros(4))) == []


def test_edges_tell_a_cut_from_silence(speech: Audio) -> None:
    start, end = sounds.edge_levels(speech)
    assert start < -25
    assert end < -25
    start, end = sounds.edge_levels(speech.cut(0.0, 2.3))
    assert start < -25
    assert end > -15
    start, _ = sounds.edge_levels(speech.cut(0.75, 3.0))
    assert start > -15


def test_activity_marks_the_words(speech: Audio) -> None:
    active = sounds.activity(speech)
    times = 0.0125 + 0.01 * np.arange(len(active))
    inside = (times > 0.51) & (times < 2.68)
    assert active[inside].mean() > 0.8
    assert active[~((times > 0.47) & (times < 2.75))].mean() < 0.02
    assert not sounds.activity(Audio(np.zeros(RATE))).any()


# -- edits that do nothing, and what lies outside a span


@pytest.mark.parametrize(
    "edit",
    [
        lambda audio: sounds.louder(audio, 0),
        lambda audio: sounds.gated(audio, 1.0, 1.5, 0.0),
        lambda audio: sounds.muted(audio, 1.0, 1.0),
        lambda audio: sounds.bridged(audio, 1.0, 1.0),
        lambda audio: sounds.padded(audio, 0, 0),
        lambda audio: sounds.trimmed(audio, 0, 0),
        lambda audio: sounds.stretched(audio, 1.0),
        lambda audio: sounds.stretched(audio, 1.0, 1.0, 1.5),
        lambda audio: sounds.stretched(audio, 1.5, 1.2, 1.2),
        sounds.declipped,
    ],
)
def test_an_edit_of_nothing_returns_the_same_samples(speech: Audio, edit: Callable[[Audio], Audio]) -> None:
    assert np.array_equal(edit(speech).samples, speech.samples)


@pytest.mark.parametrize(
    "edit",
    [
        lambda audio: sounds.gated(audio, *WORD),
        lambda audio: sounds.muted(audio, *WORD),
        lambda audio: sounds.bridged(audio, *WORD),
        lambda audio: sounds.with_noise(audio, 0.0, 1, WORD),
    ],
)
def test_an_edit_of_a_span_leaves_every_other_sample(speech: Audio, edit: Callable[[Audio], Audio]) -> None:
    edited = edit(speech)
    first, last = (round(one * RATE) for one in WORD)
    assert len(edited.samples) == len(speech.samples)
    assert np.array_equal(edited.samples[:first], speech.samples[:first])
    assert np.array_equal(edited.samples[last:], speech.samples[last:])
    assert not np.allclose(edited.samples[first:last], speech.samples[first:last])


# -- each edit


def test_louder_is_exact(speech: Audio) -> None:
    assert sounds.level(sounds.louder(speech, 6.0)) - sounds.level(speech) == pytest.approx(6.0, abs=1e-4)


@pytest.mark.parametrize(("snr", "least"), [(-5.0, 4.0), (0.0, 3.0), (5.0, 1.5)])
def test_the_gate_raises_the_snr_of_a_known_mixture(speech: Audio, snr: float, least: float) -> None:
    span = (2.114, 2.688)
    noisy = sounds.with_noise(speech, snr, 5, span)
    clean = speech.cut(*span).samples
    before, after = (rms(clean) / rms(one.cut(*span).samples - clean) for one in (noisy, sounds.gated(noisy, *span)))
    assert 20 * np.log10(before) == pytest.approx(snr, abs=0.6)
    assert 20 * np.log10(after / before) > least


def test_the_gate_takes_little_from_clean_speech(speech: Audio) -> None:
    span = (2.114, 2.688)
    gated = sounds.gated(speech, *span)
    assert rms(gated.samples - speech.samples) < 0.1 * rms(speech.cut(*span).samples)
    with pytest.raises(OptionError, match="strength must be 0 or more"):
        sounds.gated(speech, 0, 1, -1.0)


def test_muting_is_silent_inside_and_does_not_click() -> None:
    quiet = sounds.muted(tone(), 0.3, 0.6)
    assert rms(quiet.cut(0.306, 0.594).samples) == 0
    assert max(steepest(quiet, at) for at in (0.3, 0.6)) < 6  # a hard cut: about 70
    cut = tone().samples.copy()
    cut[4813:9600] = 0
    assert steepest(Audio(cut), 4813 / RATE) > 10


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_declipping_comes_nearer_to_what_was_clipped(speech: Audio, mandarin: Audio, share: float) -> None:
    for original in (speech, mandarin):
        height = share * float(np.abs(original.samples).max())
        clipped = Audio(np.clip(original.samples, -height, height))
        mended = sounds.declipped(clipped)
        touched = mended.samples != clipped.samples
        assert touched.sum() > 20
        assert not touched[np.abs(clipped.samples) < 0.999 * height].any()
        assert rms(mended.samples - original.samples) < 0.7 * rms(clipped.samples - original.samples)


def test_a_lost_sample_comes_back(speech: Audio) -> None:
    samples = speech.samples.copy()
    at = round(1.2 * RATE) + int(np.abs(samples[round(1.2 * RATE) : round(1.25 * RATE)]).argmax())
    samples[at] = 0.0
    mended = sounds.bridged(Audio(samples), at / RATE, (at + 1) / RATE)
    assert abs(mended.samples[at] - speech.samples[at]) < 0.05 * abs(speech.samples[at])


def test_prediction_fills_a_short_gap_and_mirrors_fill_a_long_one() -> None:
    buzz = harmonic()
    for seconds, most in ((0.002, 0.15), (0.1, 1.5)):
        samples = buzz.samples.copy()
        first, last = round(0.5 * RATE), round((0.5 + seconds) * RATE)
        samples[first:last] = 0
        mended = sounds.bridged(Audio(samples), first / RATE, last / RATE)
        whole = buzz.samples[first:last]
        assert rms(mended.samples[first:last] - whole) < most * rms(whole)
        assert rms(mended.samples[first:last]) == pytest.approx(rms(whole), rel=0.35)
        assert max(steepest(mended, at / RATE) for at in (first, last)) < 2.0


def test_a_gap_at_the_edge_is_filled_from_its_one_neighbour() -> None:
    samples = tone().samples.copy()
    samples[:1600] = 0
    mended = sounds.bridged(Audio(samples), 0.0, 0.1)
    assert rms(mended.samples[:1600]) == pytest.approx(rms(samples[1600:]), rel=0.1)
    assert np.array_equal(sounds.bridged(Audio(samples), 0.0, 1.0).samples, samples)  # nothing to fill from


def test_padding_carries_on_the_quiet_of_the_clip(speech: Audio) -> None:
    noisy = sounds.with_noise(speech, 20.0, 2)
    longer = sounds.padded(noisy, 0.3, 0.2)
    assert len(longer.samples) == len(noisy.samples) + round(0.5 * RATE)
    assert np.array_equal(longer.samples[4800:-3200], noisy.samples)
    quiet = float(np.quantile(sounds.levels(noisy), 0.05))
    assert sounds.level(longer, 0.0, 0.3) == pytest.approx(quiet, abs=2.0)
    assert sounds.level(longer, longer.duration - 0.2, longer.duration) == pytest.approx(quiet, abs=2.0)
    silent = Audio(np.concatenate([np.zeros(8000), tone().samples]))
    assert rms(sounds.padded(silent, 0.1, 0.0).samples[:1600]) == 0
    with pytest.raises(OptionError, match="padding must be 0 s or more"):
        sounds.padded(speech, -0.1, 0)


def test_trimming_takes_both_ends(speech: Audio) -> None:
    assert np.array_equal(sounds.trimmed(speech, 0.5, 0.25).samples, speech.samples[8000:-4000])
    with pytest.raises(OptionError, match="cannot be cut"):
        sounds.trimmed(speech, 2.0, 2.0)


@pytest.mark.parametrize("factor", [1 / 1.8, 0.8, 1.25, 1.8, 2.5, 5.0])
def test_stretching_changes_the_length_and_not_the_pitch(factor: float) -> None:
    slow = sounds.stretched(tone(220.0, 2.0), factor)
    assert len(slow.samples) == round(2 * RATE * factor)
    assert pitch_of(slow) == pytest.approx(220.0, rel=0.01)
    assert rms(slow.samples) == pytest.approx(rms(tone().samples), rel=0.1)


def test_stretching_a_span_moves_what_follows_and_nothing_else(speech: Audio) -> None:
    start, end, factor = 0.988, 1.504, 1.6
    slow = sounds.stretched(speech, factor, start, end)
    first, last, more = round(start * RATE), round(end * RATE), round((end - start) * RATE * factor)
    assert len(slow.samples) == len(speech.samples) - (last - first) + more
    assert np.array_equal(slow.samples[: first - 80], speech.samples[: first - 80])
    assert np.array_equal(slow.samples[first + more + 80 :], speech.samples[last + 80 :])
    assert max(steepest(slow, at) for at in (start, start + (end - start) * factor)) < 3


def test_stretching_there_and_back_keeps_the_course_of_the_level(speech: Audio) -> None:
    back = sounds.stretched(sounds.stretched(speech, 1.5), 1 / 1.5)
    one, other = (10 ** (sounds.levels(audio)[:280] / 20) for audio in (speech, back))
    assert np.corrcoef(one, other)[0, 1] > 0.9


def test_stretching_refuses_what_atempo_cannot(speech: Audio) -> None:
    with pytest.raises(OptionError, match="stretched by a factor within"):
        sounds.stretched(speech, 0.0)


def test_noise_has_the_level_asked_for_and_is_drawn_from_the_seed(speech: Audio) -> None:
    span = (2.114, 2.688)
    one, same, other = (sounds.with_noise(speech, 6.0, seed, span) for seed in (1, 1, 2))
    assert np.array_equal(one.samples, same.samples)
    assert not np.array_equal(one.samples, other.samples)
    noise = Audio(one.samples - speech.samples)
    assert sounds.level(speech, *span) - sounds.level(noise, *span) == pytest.approx(6.0, abs=0.5)
    everywhere = Audio(sounds.with_noise(speech, 6.0, 1).samples - speech.samples)
    active = 10 * np.log10(np.mean(10 ** (sounds.levels(speech)[sounds.activity(speech)] / 10)))
    assert active - sounds.level(everywhere) == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize(("low", "high"), [(1000.0, 2000.0), (0.0, 2000.0), (1000.0, 8000.0)])
def test_a_stopped_band_is_gone_and_the_rest_is_not(low: float, high: float) -> None:
    for hertz, inside in ((1400.0, True), (300.0, low == 0), (5000.0, high == 8000)):
        sound = tone(hertz)
        kept = rms(sounds.band_stopped(sound, low, high).samples[2000:-2000]) / rms(sound.samples)
        assert kept < 0.1 if inside else kept == pytest.approx(1.0, abs=0.02)


def test_stopping_refuses_bands_that_do_not_exist(speech: Audio) -> None:
    assert rms(sounds.band_stopped(speech, 0, 8000).samples) == 0
    for low, high in itertools.product([2000.0], [1000.0, 9000.0]):
        with pytest.raises(OptionError, match="a band to stop"):
            sounds.band_stopped(speech, low, high)
    assert len(sounds.band_stopped(Audio(np.full(4, 0.1)), 1000, 2000).samples) == 4
