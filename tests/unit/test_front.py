"""Front-ends seen from the sound: what goes where, the adjoint of it, and silence that stays silence."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from voxray.front import LogMelFront, StackedFront, grid_of_cells
from voxray.frontend import Cmvn, fbank, features, log10_mel, stack, whisper_features
from voxray.masking import Filling, Masker, quietest
from voxray.types import Audio, Features, OptionError, TraceError


def noise(count: int, seed: int = 0) -> np.ndarray:
    """A sound that is loud in its middle."""
    loudness = np.interp(np.arange(count), [0, 0.2 * count, 0.5 * count, count], [0.002, 0.002, 0.3, 0.01])
    return (np.random.default_rng(seed).standard_normal(count) * loudness).astype(np.float32)


def stacked(count: int, before: int = 0) -> StackedFront:
    """Of a piece that begins after some samples of a whole sound."""
    rng = np.random.default_rng(1)
    cmvn = Cmvn(rng.standard_normal(560).astype(np.float32) - 10, rng.random(560).astype(np.float32) + 0.1)
    sound = Audio(np.concatenate([noise(before, 5), noise(count)]))
    part = features(sound.cut(before / 16000, 1e9), cmvn)
    return StackedFront(Features(part.values, part.hop, part.start + before / 16000), sound, cmvn)


def log_mel(count: int, mels: int = 80) -> LogMelFront:
    audio = Audio(noise(count))
    bank = log10_mel(audio, mels)
    return LogMelFront(Features(whisper_features(bank.values), bank.hop, 7.0), audio)


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 12, 209])
def test_folding_is_the_adjoint_of_stacking(frames: int) -> None:
    front = stacked(240 + 160 * frames)
    assert len(front.bank) == frames
    relevance = np.random.default_rng(frames).standard_normal(front.features.values.shape)
    folded, laid = front.fold(relevance), stack(front.bank)
    assert folded.shape == (80, frames)
    assert float((laid * relevance).sum()) == pytest.approx(float((front.bank.T * folded).sum()), rel=1e-6)
    assert folded.sum() == pytest.approx(relevance.sum())


def test_folding_by_loops() -> None:
    front = stacked(19200)
    relevance = np.random.default_rng(1).standard_normal(front.features.values.shape)
    expected = np.zeros((80, len(front.bank)))
    for row in range(len(relevance)):
        for slot in range(7):
            frame = min(max(6 * row - 3 + slot, 0), len(front.bank) - 1)
            expected[:, frame] += relevance[row, 80 * slot : 80 * slot + 80]
    np.testing.assert_allclose(front.fold(relevance), expected, atol=1e-12)


def test_a_piece_of_stacked_features_is_heard_within_the_whole() -> None:
    front = stacked(19200, before=8000)
    np.testing.assert_array_equal(front.bank, fbank(front.audio).values)
    np.testing.assert_array_equal(front.normalised(front.bank), front.features.values)
    np.testing.assert_array_equal(front.seen(front.audio.samples), front.features.values)
    assert front.cells.times[0] == pytest.approx(0.5 + 0.0075)
    assert front.cells.shape == (80, len(front.bank))
    assert not front.average.any()
    np.testing.assert_allclose(front.loudness, np.log(np.exp(front.bank.astype(float)).sum(axis=1)), rtol=1e-9)


def test_other_sound_is_noticed() -> None:
    front = stacked(19200)
    with pytest.raises(TraceError, match="the trace's sound does not give its features; trace the sound again"):
        len(StackedFront(front.features, Audio(noise(19200, seed=9)), front.cmvn).bank)
    log = log_mel(19200)
    for sound in (noise(19200, seed=9), noise(9600)):
        with pytest.raises(TraceError, match="the trace's sound does not give its features; trace the sound again"):
            len(LogMelFront(log.features, Audio(sound)).bank)


@pytest.mark.parametrize(("count", "mels"), [(16000, 80), (16001, 80), (15999, 128), (400, 80)])
def test_cells_of_log_mel_lie_within_the_sound(count: int, mels: int) -> None:
    front = log_mel(count, mels)
    assert len(front.bank) == sum(160 * row < count for row in range(len(front.features.values)))
    assert len(front.bank) < len(front.features.values)  # silence follows
    assert front.cells.shape == (mels, len(front.bank))
    np.testing.assert_allclose(front.cells.centres, 7.0 + 0.01 * np.arange(len(front.bank)))
    np.testing.assert_array_equal(front.normalised(front.bank), front.features.values)
    np.testing.assert_array_equal(front.seen(front.audio.samples), front.features.values)


@pytest.mark.parametrize("frames", [40, 1498, 1499, 1500])
def test_a_piece_of_log_mel_is_heard_within_the_whole(frames: int) -> None:
    whole = Audio(noise(40 * 16000))
    own = whole.cut(1.3, 1.3 + 0.02 * frames)
    part = log10_mel(own)
    front = LogMelFront(Features(whisper_features(part.values), part.hop, 1.3), whole)
    assert front.audio.samples.tobytes() == own.samples.tobytes()
    assert len(front.bank) == 2 * frames
    assert front.cells.times[0] == pytest.approx(1.295)
    np.testing.assert_array_equal(front.seen(own.samples), front.features.values)


@pytest.mark.parametrize("mels", [80, 128])
def test_filters_of_log_mel_lie_where_kaldi_hears_the_same(mels: int) -> None:
    """A tone is loudest in a cell that reaches over Kaldi's loudest filter."""
    for hertz in (300, 700, 1500, 3000, 6000):
        audio = Audio((0.1 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)).astype(np.float32))
        bank = log10_mel(audio, mels)
        edges = LogMelFront(Features(whisper_features(bank.values), bank.hop, 0.0), audio).cells.mels
        assert (len(edges), edges[0], edges[-1]) == (mels + 1, 0.0, 80.0)
        cell, filter_ = int(bank.values[50].argmax()), int(fbank(audio).values[50].argmax())
        assert edges[cell] - 1 < filter_ + 0.5 < edges[cell + 1] + 1
    even = grid_of_cells(0.0, 0.01, np.zeros((3, 40)))
    np.testing.assert_array_equal(even.mels, 2.0 * np.arange(41))


def test_thirty_seconds_of_log_mel_are_cells_to_the_end() -> None:
    front = log_mel(480000)
    assert len(front.bank) == len(front.features.values) == 3000


@pytest.mark.parametrize("fill", ["noise_floor", "silence", "pink"])
def test_hiding_a_loud_part_of_log_mel_leaves_the_rest(fill: str) -> None:
    """The clamp stays where the whole sound put it, or every other cell would change; the silence at the end stays, too."""
    front = log_mel(19200)
    mask = np.zeros((80, len(front.bank)), bool)
    mask[:, 30:90] = True
    found, plain = Masker(front, Filling(fill))(mask), front.features.values  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[~front.slots(mask.T)], plain[~front.slots(mask.T)])
    assert front.bank.max() == front.bank[30:90].max()
    assert found[30:90].max() < plain.max() - 0.25
    everything = Masker(front, Filling(fill))(np.ones_like(mask))  # type: ignore[arg-type]
    np.testing.assert_array_equal(everything[len(front.bank) :], plain[len(front.bank) :])
    assert (everything >= (front.bank.max() - 8 + 4) / 4 - 1e-6).all()


def test_fills_of_log_mel() -> None:
    front = log_mel(19200)
    filled = Filling("noise_floor").features(front)[: len(front.bank)]
    own = whisper_features(front.bank)[quietest(front.bank)]
    assert all((own == row).all(axis=1).any() for row in filled)
    silent = Filling("silence").features(front)[: len(front.bank)]
    np.testing.assert_allclose(silent, (front.bank.max() - 8 + 4) / 4)
    with pytest.raises(OptionError, match=r"the fill mean is unknown of this model: .* choose noise_floor, silence or pink"):
        Filling("mean").features(front)


def test_a_waveform_under_log_mel_is_replaced_around_the_middles_of_its_frames() -> None:
    spy: list[np.ndarray] = []

    class Spied(LogMelFront):
        def seen(self, samples: np.ndarray) -> np.ndarray:
            spy.append(samples)
            return super().seen(samples)

    plain = log_mel(19200)
    front = Spied(plain.features, plain.audio)
    mask = np.zeros((80, len(front.bank)), bool)
    mask[:, 50:60] = True
    Masker(front, Filling("silence", "waveform"))(mask)
    hidden = np.flatnonzero(spy[0] == 0)
    assert (hidden[0], hidden[-1]) == (160 * 50 - 80 + 40, 160 * 60 - 80 - 40)  # frame k is centred on sample 160 k; 5 ms of fading
    np.testing.assert_array_equal(spy[0][: 160 * 50 - 120], front.audio.samples[: 160 * 50 - 120])


def test_log_mel_folds_by_leaving_out_the_silence() -> None:
    front = log_mel(16000)
    relevance = np.random.default_rng(2).standard_normal(front.features.values.shape)
    np.testing.assert_array_equal(front.fold(relevance), relevance[: len(front.bank)].T)
    sums = np.log((10.0 ** front.bank.astype(float)).sum(axis=1))
    np.testing.assert_allclose(front.loudness, sums, rtol=1e-6)
    assert all(low < high for low, high in pairwise(front.cells.times))
