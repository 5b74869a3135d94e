"""The frontend against FunASR's own output, and against slow plain twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.frontend import Cmvn, FrontendOptions, fbank, features, log_mel, read_cmvn, stack, unstack
from voxray.types import Audio, AudioError, ModelError

DATA = Path(__file__).parents[1] / "data"
MVN = DATA / "sensevoice-funasr" / "am.mvn"


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


def slow_fbank(samples: np.ndarray, mels: int = 80) -> np.ndarray:
    """Return Kaldi's filter bank as its definition reads, in float64 and frame by frame."""
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), mels + 2)
    bins = 1127 * np.log(1 + np.arange(257) * 16000 / 512 / 700)
    rows = []
    for start in range(0, len(samples) - 400 + 1, 160):
        frame = samples[start : start + 400].astype(np.float64) * 32768
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] - 0.97 * frame[0]], frame[1:] - 0.97 * frame[:-1]]) * hamming
        power = np.abs(np.fft.rfft(frame, 512)) ** 2
        row = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            up, down = (bins - low) / (centre - low), (high - bins) / (high - centre)
            row.append(np.clip(np.minimum(up, down), 0, None) @ power)
        rows.append(np.log(np.maximum(row, 1.1920929e-07)))
    return np.array(rows)


def slow_stack(values: np.ndarray, m: int, n: int) -> np.ndarray:
    """Return stacked frames after FunASR's description: pad the left, take windows, repeat the last frame where one is short."""
    count = -(-len(values) // n)
    padded = [values[0]] * ((m - 1) // 2) + list(values)
    rows = []
    for index in range(count):
        window = padded[index * n : index * n + m]
        rows.append(np.concatenate(window + [values[-1]] * (m - len(window))))
    return np.array(rows)


@pytest.fixture(scope="module")
def cmvn() -> Cmvn:
    return read_cmvn(MVN)


# -- against FunASR -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", "odd", "stereo"])
def test_frontend_equals_funasr(name: str, cmvn: Cmvn) -> None:
    golden = np.load(DATA / "golden" / f"{name}.frontend.npz")
    audio = Audio(golden["waveform_16k"])
    bank = fbank(audio)
    np.testing.assert_allclose(bank.values, golden["fbank"], rtol=0, atol=1e-5)
    assert (bank.hop, bank.start) == (0.01, 0.0125)
    fed = features(audio, cmvn)
    np.testing.assert_allclose(fed.values, golden["sensevoice_feats"], rtol=0, atol=1e-5)
    assert fed.values.dtype == np.float32
    assert fed.hop == pytest.approx(0.06)
    assert fed.start == 0.0125


def test_frontend_is_deterministic(cmvn: Cmvn) -> None:
    audio = Audio(noise(8000))
    np.testing.assert_array_equal(features(audio, cmvn).values, features(audio, cmvn).values)


# -- filter bank --------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(length=st.integers(400, 6000), seed=st.integers(0, 999), loudness=st.sampled_from([1.0, 0.1, 1e-3]))
def test_fbank_equals_its_definition(length: int, seed: int, loudness: float) -> None:
    samples = noise(length, seed) * np.float32(loudness)
    values = fbank(Audio(samples)).values
    assert values.shape == (1 + (length - 400) // 160, 80)
    np.testing.assert_allclose(values, slow_fbank(samples), rtol=0, atol=1e-3)  # the log of small float32 energies


def test_fbank_of_silence_is_the_floor() -> None:
    values = fbank(Audio(np.zeros(16000, np.float32))).values
    np.testing.assert_allclose(values, np.log(1.1920929e-07), atol=1e-5)


@pytest.mark.parametrize("hertz", [300, 1000, 3000, 6000])
def test_fbank_peaks_at_the_filter_of_a_tone(hertz: int) -> None:
    samples = (0.3 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)).astype(np.float32)
    centres = 700 * np.expm1(np.linspace(np.log1p(20 / 700), np.log1p(8000 / 700), 82)[1:-1])
    loudest = fbank(Audio(samples)).values.mean(axis=0).argmax()
    assert abs(centres[loudest] / hertz - 1) < 0.05


def test_fbank_of_a_long_sound_equals_that_of_its_parts() -> None:
    """Kaldi is fed 10 s at a time; frames across those borders must not change."""
    samples = noise(16000 * 25)
    whole = fbank(Audio(samples)).values
    assert len(whole) == 1 + (len(samples) - 400) // 160
    for border in (160_000, 320_000):
        first = border // 160 - 20
        part = fbank(Audio(samples[first * 160 : first * 160 + 8000])).values
        np.testing.assert_allclose(whole[first : first + len(part)], part, rtol=0, atol=1e-5)


def test_fbank_times_are_the_centres_of_the_windows() -> None:
    samples = np.zeros(16000, np.float32)
    samples[8000] = 1.0  # at 0.5 s
    bank = fbank(Audio(samples))
    heard = bank.values.mean(axis=1) > -10
    assert np.abs(bank.times[heard] - 0.5).max() <= 0.0126
    assert heard.sum() in (2, 3)


def test_fbank_with_other_options() -> None:
    options = FrontendOptions(mels=40, frame_length=0.032, frame_shift=0.008, sample_rate=8000)
    bank = fbank(Audio(noise(8000), 8000), options)
    assert bank.values.shape == (1 + (8000 - 256) // 64, 40)
    assert (bank.hop, bank.start) == (0.008, 0.016)


def test_log_mel_is_what_the_recogniser_sees() -> None:
    audio = Audio(noise(5000))
    np.testing.assert_array_equal(log_mel(audio).values, fbank(audio).values)


@pytest.mark.parametrize("length", [0, 1, 399])
def test_fbank_refuses_less_than_a_window(length: int) -> None:
    with pytest.raises(AudioError, match=rf"^mine: too short: {length} samples, but at least 400 \(25 ms\) are needed"):
        fbank(Audio(noise(length), name="mine"))


def test_fbank_takes_exactly_a_window(cmvn: Cmvn) -> None:
    assert features(Audio(noise(400)), cmvn).values.shape == (1, 560)


def test_fbank_refuses_another_rate() -> None:
    with pytest.raises(AudioError, match="has 8000 Hz but the frontend works at 16000 Hz; load it with sample_rate=16000"):
        fbank(Audio(noise(8000), 8000))


@pytest.mark.parametrize("wrong", [{"frame_length": 25}, {"frame_shift": 0}, {"mels": 0}, {"lfr_n": 0}])
def test_frontend_options_refuse_nonsense(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"seconds|at least 1"):
        FrontendOptions(**wrong)


# -- stacking -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 60), width=st.integers(1, 4), m=st.integers(1, 9), n=st.integers(1, 9))
def test_stack_equals_its_definition(length: int, width: int, m: int, n: int) -> None:
    values = np.arange(length * width, dtype=np.float32).reshape(length, width)
    np.testing.assert_array_equal(stack(values, m, n), slow_stack(values, m, n))


def test_stack_row_is_centred_on_every_sixth_frame() -> None:
    values = np.arange(31, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(stack(values)[:, 3], [0, 6, 12, 18, 24, 30])


@pytest.mark.parametrize("values", [np.zeros((0, 80)), np.zeros(80)])
def test_stack_refuses_what_has_no_frames(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        stack(values)


def test_stack_refuses_steps_below_one() -> None:
    with pytest.raises(ValueError, match="at least 1, got 7 and 0"):
        stack(np.zeros((3, 2), np.float32), 7, 0)


# -- normalisation ------------------------------------------------------------------------------------------------


def test_cmvn_holds_the_numbers_of_the_file(cmvn: Cmvn) -> None:
    words = MVN.read_text().split()
    shift_at, scale_at = words.index("<AddShift>") + 6, words.index("<Rescale>") + 6
    np.testing.assert_array_equal(cmvn.shift, np.array(words[shift_at : shift_at + 560], np.float64))
    np.testing.assert_array_equal(cmvn.scale, np.array(words[scale_at : scale_at + 560], np.float64))
    assert not cmvn.shift.flags.writeable
    assert (cmvn.scale > 0).all()


def test_cmvn_of_a_missing_or_strange_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file; the model's am.mvn is needed"):
        read_cmvn(tmp_path / "am.mvn")
    with pytest.raises(ModelError, match="cannot be read"):
        read_cmvn(tmp_path)
    for name, content in (
        ("text", b"hello"),
        ("bytes", bytes(range(256))),
        ("empty", b""),
        ("large", bytes(2_000_000)),
        ("half", MVN.read_bytes()[:3000]),
        ("first", MVN.read_bytes().split(b"<Rescale>")[0]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="not a Kaldi normalisation file") as caught:
            read_cmvn(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_cmvn_with_wrong_numbers(tmp_path: Path) -> None:
    def written(shift: str, scale: str, size: int = 2, size_of_scale: int = 2) -> Path:
        path = tmp_path / "am.mvn"
        path.write_text(
            f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {shift} ]\n"
            f"<Rescale> {size_of_scale} {size_of_scale}\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n"
        )
        return path

    good = read_cmvn(written("1 2", "3 4e-1"))
    np.testing.assert_allclose(good.scale, [3, 0.4])
    with pytest.raises(ModelError, match="<AddShift> should hold 2 finite numbers, got 3"):
        read_cmvn(written("1 2 3", "3 4"))
    with pytest.raises(ModelError, match="<Rescale> should hold 2 finite numbers"):
        read_cmvn(written("1 2", "3 nan"))
    with pytest.raises(ModelError, match="<Rescale> holds something that is no number"):
        read_cmvn(written("1 2", "3 four"))
    with pytest.raises(ModelError, match="2 shifts but 1 scales"):
        read_cmvn(written("1 2", "3", size_of_scale=1))


def test_features_refuse_a_normalisation_of_another_width() -> None:
    narrow = Cmvn(np.zeros(80, np.float32), np.ones(80, np.float32))
    with pytest.raises(ModelError, match="has 80 numbers but the frontend gives 560"):
        features(Audio(noise(8000)), narrow)
    with pytest.raises(ValueError, match="one length"):
        Cmvn(np.zeros(3), np.ones(4))


def test_features_undo_the_shift_and_scale() -> None:
    audio = Audio(noise(8000))
    rng = np.random.default_rng(0)
    cmvn = Cmvn(rng.normal(size=560), rng.uniform(0.1, 1, 560))
    wanted = (slow_stack(fbank(audio).values, 7, 6) + cmvn.shift) * cmvn.scale
    np.testing.assert_allclose(features(audio, cmvn).values, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("m", "n"), [(7, 6), (1, 1), (3, 1), (5, 4)])
def test_unstacking_gives_the_frames_again(m: int, n: int) -> None:
    for frames in (1, 2, 6, 7, 23, 24, 25):
        bank = np.random.default_rng(frames).normal(size=(frames, 4)).astype(np.float32)
        found = unstack(stack(bank, m, n), m, n)
        assert len(found) == n * -(-frames // n)
        held = min(frames, len(found) - n + m - (m - 1) // 2)  # the last stack may end before the sound does
        assert np.array_equal(found[:held], bank[:held])
        assert np.array_equal(found[held:], np.repeat(bank[held - 1 : held], len(found) - held, axis=0))
