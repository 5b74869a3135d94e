"""Whisper's frontend against OpenAI's own output, and against slow plain twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.audio import load_audio
from voxray.frontend import log10_mel, slaney_filters, whisper_features
from voxray.types import Audio, AudioError


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


def slaney(hertz: float) -> float:
    """Return a frequency in Slaney's mels, as he tells it: 3 mels for 200 Hz, from 1000 Hz on 27 for a factor of 6.4."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def slow_filters(mels: int) -> np.ndarray:
    """Return the bank filter by filter; each corner is found by bisection of the mel scale."""
    corners = []
    for step in range(mels + 2):
        wanted, low, high = slaney(8000) * step / (mels + 1), 0.0, 8000.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if slaney(middle) < wanted else (low, middle)
        corners.append(low)
    bank = np.zeros((mels, 201))
    for row, (left, top, right) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        for column in range(201):
            hertz = 40.0 * column
            if left < hertz < right:
                height = (hertz - left) / (top - left) if hertz <= top else (right - hertz) / (right - top)
                bank[row, column] = height * 2 / (right - left)
    return bank


def slow_log10_mel(samples: np.ndarray, mels: int) -> np.ndarray:
    """Return all 3000 rows as the definition reads, frame by frame."""
    whole = np.concatenate([samples, np.zeros(480000 - len(samples))]).astype(np.float64)
    mirrored = np.concatenate([whole[200:0:-1], whole, whole[-2:-202:-1]])
    window = np.sin(np.pi * np.arange(400) / 400) ** 2
    bank = slow_filters(mels)
    rows = []
    for frame in range(3000):
        power = np.abs(np.fft.fft(mirrored[160 * frame : 160 * frame + 400] * window)[:201]) ** 2
        rows.append(np.log10(np.maximum(bank @ power, 1e-10)))
    return np.array(rows)


# -- against OpenAI -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", "odd"])
def test_features_are_those_of_openai(name: str, data: Path) -> None:
    with np.load(data / "whisper-tiny-golden.npz", allow_pickle=False) as told:
        wanted, rest = told[f"{name}.mel"].T, told[f"{name}.mel_rest"]
    found = whisper_features(log10_mel(load_audio(data / "audio" / f"{name}.wav")).values)
    assert found.shape[1] == 80
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[: len(wanted)], wanted[: len(found)], atol=5e-5)
    np.testing.assert_allclose(found[-1], rest, atol=5e-5)
    assert found.min() == found[-1].min() == found[-1].max()


# Peaks of librosa.filters.mel(sr=16000, n_fft=400, n_mels=...), the bank that OpenAI ships: filter, bin, value.
@pytest.mark.parametrize(
    ("mels", "peaks"),
    [
        (80, [(0, 1, 0.024862595), (29, 28, 0.01848666), (79, 192, 0.0031647119)]),
        (128, [(0, 1, 0.012373987), (64, 43, 0.018091518), (127, 195, 0.0050416016)]),
    ],
)
def test_filters_are_those_of_librosa(mels: int, peaks: list[tuple[int, int, float]]) -> None:
    bank = slaney_filters(mels)
    assert bank.shape == (mels, 201)
    for row, column, value in peaks:
        assert bank[row].argmax() == column
        assert bank[row, column] == pytest.approx(value, rel=1e-5)


# -- against slow twins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mels", [80, 128])
def test_filters_are_slaneys_triangles(mels: int) -> None:
    np.testing.assert_allclose(slaney_filters(mels), slow_filters(mels), atol=1e-8)


@pytest.mark.parametrize(("count", "mels"), [(400, 80), (16123, 128), (479000, 80), (480000, 80)])
def test_energies_are_those_of_their_definition(count: int, mels: int) -> None:
    samples = noise(count)
    found = log10_mel(Audio(samples), mels)
    wanted = slow_log10_mel(samples, mels)
    rows = len(found.values)
    np.testing.assert_allclose(found.values, wanted[:rows], atol=1e-5)
    assert (wanted[rows:] == -10).all()  # what is left out is silence
    assert (found.hop, found.start) == (0.01, 0.0)


@given(st.integers(400, 40000))
@settings(max_examples=30, deadline=None)
def test_rows_end_with_one_of_silence_alone(count: int) -> None:
    values = log10_mel(Audio(noise(count))).values
    assert len(values) % 2 == 0
    assert (values[-1] == -10).all()
    assert (values[-4] > -10).any()  # and go no further than an even number of rows asks for
    assert (len(values) - 4) * 160 <= count + 200 < len(values) * 160


def test_long_sound_is_not_cut() -> None:
    samples = noise(500000)
    found = log10_mel(Audio(samples)).values
    assert found.shape == (3125, 80)
    np.testing.assert_array_equal(found[:2900], log10_mel(Audio(samples[:480000])).values[:2900])


# -- the clamp ----------------------------------------------------------------------------------------------------


def test_cells_far_under_the_loudest_are_raised() -> None:
    bank = np.array([[2.0, -1.0], [-6.5, -10.0]], np.float32)
    np.testing.assert_array_equal(whisper_features(bank), np.array([[1.5, 0.75], [-0.5, -0.5]], np.float32))


def test_a_ceiling_from_outside_holds_the_floor() -> None:
    bank = np.array([[2.0, -1.0], [-6.5, -10.0]], np.float32)
    hidden = bank.copy()
    hidden[0, 0] = -10.0
    found = whisper_features(hidden, ceiling=2.0)
    np.testing.assert_array_equal(found[[0, 1, 1], [1, 0, 1]], whisper_features(bank)[[0, 1, 1], [1, 0, 1]])
    assert whisper_features(hidden)[1, 0] == np.float32(-0.625)  # without it, the loudest cell's absence shows everywhere


# -- refusals -----------------------------------------------------------------------------------------------------


def test_another_rate_is_refused() -> None:
    with pytest.raises(AudioError, match=r"8000 Hz but Whisper's frontend works at 16000 Hz; load it with sample_rate=16000"):
        log10_mel(Audio(noise(8000), 8000))


def test_too_short_a_sound_is_refused() -> None:
    with pytest.raises(AudioError, match=r"too short: 399 samples, but at least 400"):
        log10_mel(Audio(noise(399)))


@pytest.mark.parametrize("mels", [0, 201])
def test_a_senseless_number_of_filters_is_refused(mels: int) -> None:
    with pytest.raises(ValueError, match="mels must be 1 to 200"):
        slaney_filters(mels)
