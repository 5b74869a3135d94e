"""Listen to the evidence: what is kept, what is not, and that both make the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxray import load_audio
from voxray.frontend import fbank
from voxray.listen import MELS, _bins, _soft, carrying_cells, evidence_sound, write_sound
from voxray.types import Audio, Grid, ModelInfo, OptionError, OutputError, Relevance, Target

RATE = 16000
FINE = Grid(0.0075 + 0.01 * np.arange(199), np.arange(81.0))
FRAMES = Grid(0.0125 + 0.06 * (np.arange(34) - 0.5), np.array([0.0, 80.0]))


def relevance(scores: np.ndarray, grid: Grid) -> Relevance:
    target = Target("word", "word:0", "hello", "", 0, (0, 1), 0.2, 0.6)
    model = ModelInfo("sensevoice", "funasr", "model.onnx", "fp32")
    return Relevance(scores, grid, target, "exact", {}, "logit", 1.0, {}, False, False, model, "a", "auto", None, 1, 0.1)


def noise(seconds: float = 2.0, rate: int = RATE) -> Audio:
    return Audio(0.1 * np.random.default_rng(1).standard_normal(int(seconds * rate)), rate, "noise.wav")


def tone(hertz: float, start: float, end: float, seconds: float = 2.0) -> np.ndarray:
    """A tone that rises and falls within 10 ms."""
    clock = np.arange(int(seconds * RATE)) / RATE
    gate = np.clip(np.minimum(clock - start, end - clock) / 0.01, 0, 1)
    return 0.3 * np.sin(2 * np.pi * hertz * clock) * 0.5 * (1 - np.cos(np.pi * gate))


def level(samples: np.ndarray) -> float:
    return 10 * float(np.log10((np.asarray(samples, np.float64) ** 2).sum() + 1e-30))


def tone_level(samples: np.ndarray, hertz: float) -> float:
    """Level of one frequency in dB, seen through a window without leakage."""
    clock = np.arange(len(samples)) / RATE
    wave = np.blackman(len(samples)) * np.exp(-2j * np.pi * hertz * clock)
    return 20 * float(np.log10(np.abs(samples.astype(np.float64) @ wave) + 1e-30))


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("grid", [FINE, FRAMES], ids=["fine", "frames"])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_evidence_and_rest_are_the_whole(grid: Grid, rate: int, share: float) -> None:
    data = relevance(np.random.default_rng(0).standard_normal(grid.shape), grid)
    audio = noise(rate=rate)
    kept, rest = (evidence_sound(audio, data, keep=keep, share=share) for keep in ("evidence", "rest"))
    np.testing.assert_allclose(kept.samples + rest.samples, audio.samples, atol=1e-6)
    assert len(kept.samples) == len(audio.samples)
    assert kept.sample_rate == rest.sample_rate == rate
    assert (kept.name, rest.name) == ("noise.wav (evidence)", "noise.wav (rest)")
    assert 0.01 < (kept.samples.astype(float) ** 2).sum() / (audio.samples.astype(float) ** 2).sum() < 0.99


def test_a_second_tone_outside_the_kept_time_falls_by_more_than_40_db() -> None:
    audio = Audio(tone(800, 0.3, 0.7) + tone(800, 1.2, 1.6), RATE, "tones")
    scores = np.where((FINE.centres > 0.25) & (FINE.centres < 0.75), 1.0, -1.0) * np.ones((80, 1))
    for keep, (kept, lost) in (("evidence", ((0.3, 0.7), (1.2, 1.6))), ("rest", ((1.2, 1.6), (0.3, 0.7)))):
        made = evidence_sound(audio, relevance(scores, FINE), keep=keep, share=1.0)
        assert level(made.cut(*lost).samples) < level(audio.cut(*lost).samples) - 40
        np.testing.assert_allclose(made.cut(*kept).samples, audio.cut(*kept).samples, atol=1e-5)


def test_a_second_tone_outside_the_kept_pitch_falls_by_more_than_40_db() -> None:
    audio = Audio(tone(800, 0.3, 1.7) + tone(3000, 0.3, 1.7), RATE, "tones")
    bank = fbank(audio).values
    low, high = (int(bank[100, part].argmax()) + part.start for part in (slice(0, 45), slice(45, 80)))  # where Kaldi sees them
    for kept, lost, middle in ((800, 3000, low), (3000, 800, high)):
        scores = np.zeros(FINE.shape)
        scores[middle - 4 : middle + 5] = 1.0
        made = evidence_sound(audio, relevance(scores, FINE), share=1.0).cut(0.4, 1.6)
        whole = audio.cut(0.4, 1.6)
        assert tone_level(made.samples, lost) < tone_level(whole.samples, lost) - 40
        assert abs(tone_level(made.samples, kept) - tone_level(whole.samples, kept)) < 0.1


def test_a_map_over_time_keeps_all_pitches_of_its_frames() -> None:
    scores = np.zeros((1, 33))
    scores[0, 10:16] = 1.0  # 0.58 to 0.94 s
    audio = noise()
    made = evidence_sound(audio, relevance(scores, FRAMES), share=1.0)
    np.testing.assert_allclose(made.cut(0.6, 0.92).samples, audio.cut(0.6, 0.92).samples, atol=1e-6)
    assert not made.cut(0.0, 0.52).samples.any()
    assert not made.cut(1.01, 2.0).samples.any()


def test_a_map_of_nothing_but_evidence_keeps_the_whole_sound() -> None:
    audio = noise()
    for grid in (FINE, FRAMES):
        made = evidence_sound(audio, relevance(np.ones(grid.shape), grid), share=1.0)
        np.testing.assert_allclose(made.samples, audio.samples, atol=1e-6)


def test_a_later_piece_of_a_long_sound_stays_at_its_time() -> None:
    late = Grid(FRAMES.times + 3.0, FRAMES.mels)
    audio = noise(6.0)
    made = evidence_sound(audio, relevance(np.ones(late.shape), late), share=1.0)
    assert not made.cut(0, 2.85).samples.any()
    assert not made.cut(5.1, 6.0).samples.any()
    np.testing.assert_allclose(made.cut(3.0, 4.9).samples, audio.cut(3.0, 4.9).samples, atol=1e-6)


def test_the_largest_positive_cells_are_kept_until_they_hold_the_share() -> None:
    grid = Grid(np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.0, 40.0, 80.0]))
    data = relevance(np.array([[4.0, -9.0, 1.0], [2.0, 3.0, 0.0]]), grid)
    for share, expected in ((0.3, [4.0]), (0.4, [4.0]), (0.41, [4.0, 3.0]), (0.75, [4.0, 3.0, 2.0]), (1.0, [4.0, 3.0, 2.0, 1.0])):
        assert sorted(data.scores[carrying_cells(data, share)], reverse=True) == expected


@pytest.mark.parametrize("seed", range(5))
def test_cells_are_chosen_as_a_slow_twin_does(seed: int) -> None:
    data = relevance(np.random.default_rng(seed).standard_normal(FRAMES.shape), FRAMES)
    left = sorted((value for value in data.scores.ravel().tolist() if value > 0), reverse=True)
    wanted, held, chosen = 0.5 * sum(left), 0.0, set()
    while held < wanted:
        chosen.add(left[0])
        held += left.pop(0)
    assert set(data.scores[carrying_cells(data, 0.5)].tolist()) == chosen


def test_filters_of_ones_change_nothing_and_are_kaldis_triangles() -> None:
    weights = _bins(257, RATE)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    low, high = 1127 * np.log1p(20 / 700), 1127 * np.log1p(8000 / 700)
    centres = 700 * np.expm1((low + (np.arange(MELS) + 1) * (high - low) / (MELS + 1)) / 1127)
    for filter_, centre in enumerate(centres):
        nearest = round(centre / 31.25)
        assert weights[filter_, nearest] >= 0.5 or centre < 600  # below, several filters share a bin's width
    mel = 1127 * np.log1p(np.arange(257) * 31.25 / 700)
    step = (high - low) / (MELS + 1)
    inner = (mel > low + step) & (mel < high - step)
    twin = np.clip(1 - np.abs(mel - (low + step * (np.arange(MELS)[:, None] + 1))) / step, 0, None)
    np.testing.assert_allclose(weights[:, inner], twin[:, inner], atol=1e-9)


def test_soft_edges_keep_what_was_whole() -> None:
    weights = np.zeros((30, 1))
    weights[10:13] = 1.0
    soft = _soft(weights, 2)[:, 0]
    np.testing.assert_allclose(soft[10:13], 1.0)
    np.testing.assert_allclose(soft[6:10], [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(soft[:6], 0.0)
    np.testing.assert_allclose(soft[13:17], [0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(share: float) -> None:
    with pytest.raises(OptionError, match="share must lie above 0 and be at most 1, got"):
        evidence_sound(noise(), relevance(np.ones((1, 33)), FRAMES), share=share)


def test_what_cannot_be_heard_is_said_in_one_line() -> None:
    with pytest.raises(OptionError, match="keep 'both' is not known; choose one of evidence, rest"):
        evidence_sound(noise(), relevance(np.ones((1, 33)), FRAMES), keep="both")
    with pytest.raises(OptionError, match="nothing in the sound speaks for word:0 'hello', so there is no evidence"):
        evidence_sound(noise(), relevance(-np.ones((1, 33)), FRAMES))
    late = Grid(FRAMES.times + 3.0, FRAMES.mels)
    with pytest.raises(OptionError, match=r"the map covers 2\.98 to 4\.96 s, noise\.wav has 2\.00 s; give the map's own sound"):
        evidence_sound(noise(), relevance(np.ones((1, 33)), late))


def test_a_sound_is_written_with_16_bits_and_read_back(tmp_path: Path) -> None:
    audio = Audio(np.concatenate([noise(0.5).samples, [1.7, -1.7]]), RATE)
    path = write_sound(audio, tmp_path / "new" / "evidence.wav")
    info = soundfile.info(path)
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", RATE, 1)
    read = load_audio(path).samples
    np.testing.assert_allclose(read[:-2], audio.samples[:-2], atol=0.51 / 32768)
    np.testing.assert_allclose(read[-2:], [32767 / 32768, -1.0])
    assert [one.name for one in path.parent.iterdir()] == ["evidence.wav"]


def test_a_sound_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file" / "a.wav", tmp_path):
        with pytest.raises((OutputError, OptionError)) as caught:
            write_sound(noise(0.1), path)
        assert "\n" not in str(caught.value)
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(OutputError, match=r"a\.wav is a folder; give the name of a file that ends in \.wav"):
        write_sound(noise(0.1), tmp_path / "a.wav")
    with pytest.raises(OptionError, match=r"cannot be written as 'a\.mp3'; end its name in \.wav"):
        write_sound(noise(0.1), tmp_path / "a.mp3")
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.wav", "file"]
