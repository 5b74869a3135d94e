"""The front-ends that a description can ask for, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from voxray.frontend import fbank, stack
from voxray.models.generic.description import KaldiFbank, LogMel, Waveform
from voxray.models.generic.front import BankMaker, SampleMaker, Scaling, mel_filters
from voxray.types import Audio, AudioError, OptionError

RATE = 16000
SOUND = Audio((0.2 * np.random.default_rng(3).standard_normal(7777) * np.linspace(0, 1, 7777)).astype(np.float32))


def slow_mels(count: int, n_fft: int, high: float, *, htk: bool) -> Any:
    """Triangles by their definition, one frequency at a time, each of height 1."""

    def to_mel(hertz: float) -> float:
        if htk:
            return float(2595 * np.log10(1 + hertz / 700))
        return hertz * 3 / 200 if hertz < 1000 else float(15 + 27 * np.log(hertz / 1000) / np.log(6.4))

    def to_hertz(mel: float) -> float:
        if htk:
            return float(700 * (10 ** (mel / 2595) - 1))
        return mel * 200 / 3 if mel < 15 else float(1000 * 6.4 ** ((mel - 15) / 27))

    corners = [to_hertz(to_mel(high) * place / (count + 1)) for place in range(count + 2)]
    result = np.zeros((count, n_fft // 2 + 1))
    for row in range(count):
        low, middle, top = corners[row : row + 3]
        for column in range(n_fft // 2 + 1):
            hertz = column * RATE / n_fft
            if low < hertz < top:
                result[row, column] = (hertz - low) / (middle - low) if hertz <= middle else (top - hertz) / (top - middle)
    areas = np.array([2 / (corners[row + 2] - corners[row]) for row in range(count)])
    return result, areas[:, None]


@pytest.mark.parametrize("htk", [False, True])
def test_filters_equal_their_definition(htk: bool) -> None:
    wanted, areas = slow_mels(40, 512, 7600.0, htk=htk)
    scale = "htk" if htk else "slaney"
    assert np.abs(mel_filters(40, 512, (0.0, 7600.0), scale, area=False) - wanted).max() < 1e-9
    assert np.abs(mel_filters(40, 512, (0.0, 7600.0), scale, area=True) - wanted * areas).max() < 1e-9


def test_nemo_equals_its_definition() -> None:
    told = LogMel(mels=20, normalise="mean-std")
    x = SOUND.samples.astype(np.float64)
    x = np.array([x[0], *(x[at] - 0.97 * x[at - 1] for at in range(1, len(x)))])
    padded = np.concatenate([np.zeros(256), x, np.zeros(256)])
    window = np.zeros(512)
    window[56:456] = [0.5 - 0.5 * np.cos(2 * np.pi * at / 399) for at in range(400)]
    filters, areas = slow_mels(20, 512, 8000.0, htk=False)
    rows = []
    for frame in range(len(x) // 160):
        power = np.abs(np.fft.rfft(padded[160 * frame : 160 * frame + 512] * window)) ** 2
        rows.append(np.log(filters * areas @ power + 2.0**-24))
    bank = np.array(rows)
    wanted = (bank - bank.mean(axis=0)) / (bank.std(axis=0, ddof=1) + 1e-5)
    found = BankMaker(told, None).features(SOUND)
    assert np.abs(found.values - wanted).max() < 1e-4
    assert (found.hop, found.start) == (0.01, 0.0)


def test_torchaudio_equals_its_definition() -> None:
    """As GigaAM is fed: HTK's scale, periodic window, mirrored ends, a floor by clamping."""
    told = LogMel(
        mels=16, n_fft=400, periodic=True, padding="reflect", preemphasis=0.0, scale="htk", norm="none", floor=1e-9,
        floor_by="clamp", drop_last=False,
    )  # fmt: skip
    x = SOUND.samples.astype(np.float64)
    padded = np.concatenate([x[200:0:-1], x, x[-2:-202:-1]])
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * at / 400) for at in range(400)])
    filters, _ = slow_mels(16, 400, 8000.0, htk=True)
    frames = 1 + len(x) // 160
    power = [np.abs(np.fft.rfft(padded[160 * frame : 160 * frame + 400] * window)) ** 2 for frame in range(frames)]
    wanted = np.log(np.maximum(np.array(power) @ filters.T, 1e-9))
    assert np.abs(BankMaker(told, None).features(SOUND).values - wanted).max() < 1e-4


def test_decimal_magnitudes_without_padding() -> None:
    told = LogMel(mels=10, centred=False, power=1.0, log="decimal", floor=1e-5, floor_by="clamp", preemphasis=0.0, drop_last=False)
    found = BankMaker(told, None).features(SOUND)
    assert len(found.values) == 1 + (7777 - 512) // 160
    assert found.start == pytest.approx(256 / RATE)
    window = np.zeros(512)
    window[56:456] = np.hanning(400)
    filters, areas = slow_mels(10, 512, 8000.0, htk=False)
    power = np.abs(np.fft.rfft(SOUND.samples[320:832].astype(np.float64) * window))
    assert found.values[2] == pytest.approx(np.log10(np.maximum(filters * areas @ power, 1e-5)), abs=1e-4)


def test_kaldi_is_the_bank_of_sensevoice() -> None:
    maker = BankMaker(KaldiFbank(window="hamming", stack=7, stride=6), None)
    wanted = fbank(SOUND)
    assert np.array_equal(maker.bank(SOUND), wanted.values)
    found = maker.features(SOUND)
    assert np.array_equal(found.values, stack(wanted.values))
    assert (found.hop, found.start) == (pytest.approx(0.06), 0.0125)


@pytest.mark.parametrize("snip", [True, False])
@pytest.mark.parametrize("samples", [400, 559, 560, 7777, 8000])
def test_the_number_of_frames_is_foreseen(snip: bool, samples: int) -> None:
    sound = Audio(SOUND.samples[:samples] if samples <= 7777 else np.resize(SOUND.samples, samples))
    for told in (
        KaldiFbank(snip_edges=snip),
        LogMel(centred=snip),
        LogMel(drop_last=False, centred=snip),
        LogMel(mels=64, n_fft=400),
    ):
        maker = BankMaker(told, None)
        if maker.frames(samples):
            assert len(maker.bank(sound)) == maker.frames(samples)
        else:
            with pytest.raises(AudioError, match="too short"):
                maker.bank(sound)


def test_chunks_leave_out_what_is_left_over() -> None:
    maker = BankMaker(KaldiFbank(stack=4, stride=4, stacking="chunks"), None)
    bank = maker.bank(SOUND)
    found = maker.features(SOUND)
    assert len(bank) % 4
    assert np.array_equal(found.values, bank[: len(bank) // 4 * 4].reshape(-1, 320))
    assert found.start == pytest.approx(0.0125 + 0.015)


def test_a_scale_over_stacked_features() -> None:
    mean, std = np.arange(160.0), 1 + np.arange(160.0)
    plain = BankMaker(KaldiFbank(stack=2, stride=2), None).features(SOUND).values
    found = BankMaker(KaldiFbank(stack=2, stride=2, normalise="global"), Scaling(mean, std)).features(SOUND).values
    assert found == pytest.approx((plain - mean) / std, abs=1e-5)


def test_waveforms_are_scaled_then_normalised() -> None:
    x = SOUND.samples.astype(np.float64)
    loud = SampleMaker(Waveform(scale=32768.0)).features(SOUND)
    assert loud.values[:, 0] == pytest.approx(x * 32768)
    assert (loud.hop, loud.start) == (1 / RATE, 0.5 / RATE)
    even = SampleMaker(Waveform(normalise="mean-std")).features(SOUND).values[:, 0]
    assert even == pytest.approx((x - x.mean()) / np.sqrt(x.var() + 1e-7), abs=1e-5)
    assert SampleMaker(Waveform(normalise="mean")).features(SOUND).values.mean() == pytest.approx(0, abs=1e-6)


def test_stretches_as_loud_as_told() -> None:
    maker = SampleMaker(Waveform())
    part = maker.features(SOUND)
    front = maker.front(part, SOUND)
    assert front.bank.shape == (49, 1)
    assert front.bank[3, 0] == pytest.approx(
        np.log((SOUND.samples[480:640].astype(np.float64) ** 2).mean() + 1.1920929e-7), abs=1e-5
    )
    asked = np.full_like(front.bank, front.bank[20, 0])
    asked[5] = front.silence
    laid = front.normalised(asked)[:, 0]
    assert laid.shape == SOUND.samples.shape
    assert np.array_equal(laid[:160], SOUND.samples[3200:3360])
    assert not laid[800:960].any()
    assert front.average.shape == part.values.shape


def test_the_mean_is_known_only_where_something_is_normalised() -> None:
    bare, normal = (BankMaker(KaldiFbank(normalise=one), None) for one in ("none", "mean"))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="the fill mean is unknown"):
        _ = bare.front(bare.features(SOUND), SOUND).average
    assert not normal.front(normal.features(SOUND), SOUND).average.any()
    assert np.abs(normal.features(SOUND).values.mean(axis=0)).max() < 1e-5


def test_cells_are_counted_in_the_filters_of_kaldi() -> None:
    kaldi = BankMaker(KaldiFbank(mels=40), None)
    assert kaldi.front(kaldi.features(SOUND), SOUND).cells.mels == pytest.approx(np.arange(0, 81, 2.0))
    nemo = BankMaker(LogMel(mels=64), None)
    edges = nemo.front(nemo.features(SOUND), SOUND).cells.mels
    assert edges.shape == (65,)
    assert edges[[0, -1]] == pytest.approx([0, 80])
    middle = float(np.interp(40, edges, np.arange(65)))  # Slaney's filters are finer at the top than Kaldi's
    place = 700 * (np.exp((1127 * np.log1p(20 / 700) * 0.5 + 1127 * np.log1p(8000 / 700) * 0.5) / 1127) - 1)
    own = (15 + 27 * np.log(place / 1000) / np.log(6.4)) / (15 + 27 * np.log(8) / np.log(6.4)) * 65 - 0.5
    assert middle == pytest.approx(own, abs=0.05)
