"""Masks against plain loops, fills against what they promise, segments against counting."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from voxray.front import StackedFront
from voxray.frontend import Cmvn, features
from voxray.masking import (
    Filling,
    Masker,
    Segments,
    Settling,
    bands,
    coarse_to_fine,
    equal,
    nearest,
    of_width,
    quietest,
    spacing,
    tiles,
    windows,
    words,
    words_and_pauses,
)
from voxray.types import Audio, Grid, OptionError, Word

FILLS = ["noise_floor", "mean", "silence", "pink"]
EVERYWHERE = [(fill, "features") for fill in FILLS] + [(fill, "waveform") for fill in FILLS if fill != "mean"]


@pytest.fixture(scope="module")
def heard() -> StackedFront:
    rng = np.random.default_rng(3)
    samples = rng.standard_normal(19200).astype(np.float32)
    loudness = np.interp(np.arange(19200), [0, 4000, 9000, 14000, 19200], [0.002, 0.002, 0.3, 0.1, 0.01])
    cmvn = Cmvn(rng.standard_normal(560).astype(np.float32) - 10, rng.random(560).astype(np.float32) + 0.1)
    audio = Audio((samples * loudness).astype(np.float32))
    return StackedFront(features(audio, cmvn), audio, cmvn)


def over_time(heard: StackedFront, first: int, stop: int) -> np.ndarray:
    mask = np.zeros(heard.bank.T.shape, bool)
    mask[:, first:stop] = True
    return mask


@pytest.mark.parametrize(("fill", "domain"), EVERYWHERE)
def test_masking_nothing_gives_the_very_same_features(heard: StackedFront, fill: str, domain: str) -> None:
    found = Masker(heard, Filling(fill, domain))(np.zeros(heard.bank.T.shape, bool))
    assert found.tobytes() == heard.features.values.tobytes()


@pytest.mark.parametrize("fill", FILLS)
def test_every_copy_of_a_masked_frame_is_masked_and_nothing_else(heard: StackedFront, fill: str) -> None:
    mask = np.random.default_rng(0).random(heard.bank.T.shape) < 0.3
    filling = Filling(fill, seed=5)
    found, filled, plain = Masker(heard, filling)(mask), filling.features(heard), heard.features.values
    count = len(heard.bank)
    for row in range(len(plain)):
        for slot in range(7):
            frame = min(max(6 * row - 3 + slot, 0), count - 1)
            for mel in range(80):
                source = filled if mask[mel, frame] else plain
                assert found[row, 80 * slot + mel] == source[row, 80 * slot + mel]


@pytest.mark.parametrize(("fill", "domain"), EVERYWHERE)
def test_a_fill_is_the_same_for_the_same_seed_alone(heard: StackedFront, fill: str, domain: str) -> None:
    mask = over_time(heard, 20, 60)
    first, again, other = (Masker(heard, Filling(fill, domain, seed))(mask) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert (first.tobytes() == other.tobytes()) == (fill in ("mean", "silence"))
    assert not np.array_equal(first, heard.features.values)


def test_noise_floor_is_made_of_the_clips_own_quietest_frames(heard: StackedFront) -> None:
    loudness = [sum(row) / 80 for row in heard.bank.astype(float).tolist()]
    tenth = sorted(range(len(loudness)), key=lambda frame: loudness[frame])[: round(len(loudness) / 10)]
    assert quietest(heard.bank).tolist() == sorted(tenth)
    filled = Filling().features(heard)
    middle = filled[:, 3 * 80 : 4 * 80]  # the slot of frame 6 t
    own = ((heard.bank[tenth] + heard.cmvn.shift[240:320]) * heard.cmvn.scale[240:320]).astype(np.float32)
    chosen = [np.flatnonzero((own == row).all(axis=1)) for row in middle]
    assert all(len(one) for one in chosen)
    assert len({int(one[0]) for one in chosen}) > 3


def test_mean_is_zero_and_silence_is_digital_silence(heard: StackedFront) -> None:
    assert not Filling("mean").features(heard).any()
    np.testing.assert_allclose(Filling("silence").features(heard), heard.seen(np.zeros_like(heard.audio.samples)), rtol=1e-6)
    everything = np.ones(heard.bank.T.shape, bool)
    np.testing.assert_array_equal(
        Masker(heard, Filling("silence", "waveform"))(everything), heard.seen(np.zeros_like(heard.audio.samples))
    )


def test_pink_noise_is_as_loud_as_the_floor_and_loses_3_db_an_octave(heard: StackedFront) -> None:
    noise = Filling("pink", "waveform").samples(heard)
    quiet = [heard.audio.samples[160 * frame : 160 * frame + 400] for frame in quietest(heard.bank)]
    level = np.sqrt(np.mean([np.var(one) for one in quiet]))
    assert np.std(noise) == pytest.approx(level, rel=1e-3)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / 16000)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (500, 1000, 2000)]
    assert max(octaves) / min(octaves) < 1.25
    assert power[hertz < 20].sum() < 1e-6 * power.sum()


def test_resampled_floor_is_as_loud_as_the_floor(heard: StackedFront) -> None:
    noise = Filling("noise_floor", "waveform").samples(heard)
    starts = 160 * quietest(heard.bank)
    quiet = np.mean([np.mean(heard.audio.samples[start : start + 400].astype(float) ** 2) for start in starts])
    assert np.mean(noise.astype(float) ** 2) == pytest.approx(quiet, rel=0.15)
    assert len(noise) == len(heard.audio.samples)
    own = [start for start in starts if np.array_equal(noise[:240], heard.audio.samples[start + 80 : start + 320])]
    assert len(own) == 1  # up to its cross-fade with the next, the first stretch is a piece of the clip itself


def test_a_waveform_is_replaced_with_cross_fades_and_left_alone_elsewhere(heard: StackedFront) -> None:
    spy: list[np.ndarray] = []

    class Spied(StackedFront):
        def seen(self, samples: np.ndarray) -> np.ndarray:
            spy.append(samples)
            return super().seen(samples)

    filling = Filling("pink", "waveform", seed=2)
    sound = Spied(heard.features, heard.audio, heard.cmvn)
    found = Masker(sound, filling)(over_time(heard, 30, 50))
    start, stop, fill = 160 * 30 + 120, 160 * 50 + 120, filling.samples(heard)
    (mixed,) = spy
    np.testing.assert_array_equal(mixed[: start - 40], heard.audio.samples[: start - 40])
    np.testing.assert_array_equal(mixed[stop + 40 :], heard.audio.samples[stop + 40 :])
    np.testing.assert_array_equal(mixed[start + 40 : stop - 40], fill[start + 40 : stop - 40])
    for at in range(-40, 40):
        share = (at + 40) / 80
        wanted = (1 - share) * heard.audio.samples[start + at] + share * fill[start + at]
        assert mixed[start + at] == pytest.approx(wanted, abs=1e-6)
    bank = found[:, 240:320]  # frames 6 t; windows of frames 27 and earlier end before the fade
    np.testing.assert_array_equal(bank[:5], heard.features.values[:5, 240:320])
    np.testing.assert_array_equal(bank[9:], heard.features.values[9:, 240:320])
    assert (bank[5:8] != heard.features.values[5:8, 240:320]).any(axis=1).all()


def test_masks_and_fills_that_make_no_sense_are_refused(heard: StackedFront) -> None:
    part = np.zeros(heard.bank.T.shape, bool)
    part[:40] = True
    with pytest.raises(OptionError, match="masked over time alone"):
        Masker(heard, Filling("pink", "waveform"))(part)
    with pytest.raises(OptionError, match="mean exists for features alone"):
        Filling("mean", "waveform")
    with pytest.raises(OptionError, match="no fill 'white'; choose one of noise_floor"):
        Filling("white")
    with pytest.raises(OptionError, match="no domain 'time'"):
        Filling("pink", "time")
    with pytest.raises(OptionError, match="seed is -1"):
        Filling(seed=-1)
    with pytest.raises(ValueError, match="the mask must have the shape"):
        Masker(heard, Filling())(part.T)


@pytest.mark.parametrize(("edges", "count"), [([0, 3, 10, 11], 1), ([0, 11], 7), ([0, 5, 11], 80)])
def test_tiles_hold_every_cell_once(edges: list[int], count: int) -> None:
    mels = bands(count)
    found = tiles(np.array(edges), mels)
    assert len(found) == (len(edges) - 1) * count
    total = sum(found.mask(one).astype(int) for one in np.eye(len(found), dtype=bool))
    assert (total == 1).all()
    assert found.mask(np.ones(len(found), bool)).shape == (80, 11)
    order = found.spans.reshape(count, len(edges) - 1, 4)
    assert (order[:, 0, 2] == 0).all()
    assert (np.diff(order[:, 0, 0]) > 0).all()


@pytest.mark.parametrize(("frames", "width", "hop"), [(306, 12, 6), (12, 12, 6), (5, 12, 6), (13, 12, 6), (40, 7, 7), (41, 9, 2)])
def test_windows_cover_the_sound_without_a_needless_one(frames: int, width: int, hop: int) -> None:
    found = windows(frames, width, hop, bands(2))
    half = [span for span in found.spans.tolist() if span[0] == 0]
    assert [span[2] for span in half] == [hop * index for index in range(len(half))]
    assert all(span[3] == min(span[2] + width, frames) and span[:2] == [0, 40] for span in half)
    assert half[-1][3] == frames
    assert len(half) == 1 or half[-2][3] < frames
    assert len(found) == 2 * len(half)


def test_segments_of_a_number_or_a_width() -> None:
    assert equal(10, 4).tolist() == [0, 2, 5, 8, 10]
    assert equal(3, 8).tolist() == [0, 1, 2, 3]
    sound = {frames: Grid(3.2 + 0.01 * np.arange(frames + 1), np.arange(81.0)) for frames in (5, 306, 3000)}
    assert len(of_width(sound[306], 0.12)) - 1 == 26  # 3.06 s / 0.12 s = 25.5
    assert len(of_width(sound[3000], 0.12)) - 1 == 60
    assert of_width(sound[5], 1.0).tolist() == [0, 5]
    assert {spacing(cells) for cells in sound.values()} == {0.01}
    assert bands(2, 128).tolist() == [0, 64, 128]
    with pytest.raises(OptionError, match=r"mels is 81; expected 1 .* to 80"):
        bands(81)


def word(start: float, end: float) -> Word:
    return Word("a", start, end, (0, 1), 0.0)


def test_words_reach_half_way_to_their_neighbours_and_leave_long_pauses() -> None:
    cells = Grid(0.0075 + 0.01 * np.arange(201), np.arange(81.0))
    said = [word(0.2075, 0.2675), word(0.3075, 0.4075), word(1.0075, 1.1075)]
    assert words(cells, said).tolist() == [[17, 28], [28, 43], [97, 113]]
    assert words_and_pauses(cells, said).tolist() == [0, 17, 28, 43, 97, 113, 200]
    assert words(cells, [word(0.0, 2.0075)]).tolist() == [[0, 200]]
    for one in (words, words_and_pauses):
        with pytest.raises(OptionError, match="nothing was said"):
            one(cells, [])


def test_words_that_meet_share_one_edge_wherever_it_falls() -> None:
    cells = Grid(0.0075 + 0.01 * np.arange(400), np.arange(81.0))
    rng = np.random.default_rng(4)
    for _ in range(50):
        lengths, gaps = rng.choice([0.06, 0.12, 0.18], 7), rng.choice([0.0, 0.01, 0.035, 0.055], 7)
        starts = np.cumsum(lengths + gaps) - lengths + 0.0125
        found = words(cells, [word(start, start + length) for start, length in zip(starts, lengths, strict=True)])
        assert all(one[1] == two[0] for one, two in pairwise(found.tolist()))


def test_words_within_one_moment_have_some_frames_each() -> None:
    cells = Grid(0.01 * np.arange(101) - 0.005, np.arange(81.0))
    said = [word(0.0, 0.0), word(0.0, 0.3), word(0.5, 0.5), word(0.5, 0.5), word(0.5, 0.6), word(1.0, 1.0), word(1.0, 1.0)]
    found = words(cells, said).tolist()
    assert found == [[0, 6], [6, 33], [48, 54], [54, 60], [60, 66], [88, 94], [94, 100]]
    assert len(words_and_pauses(cells, said)) - 1 == len(said) + 2
    crowded = words(cells, [word(0.4, 0.4)] * 40).tolist()  # more words than there is room for
    assert all(stop - first >= 2 for first, stop in crowded)
    assert crowded == sorted(crowded)
    assert crowded[-1][1] <= 100


def test_nearest_edge_against_a_search() -> None:
    cells = Grid(0.1275 + 0.01 * np.arange(31), np.arange(81.0))
    asked = np.random.default_rng(0).random(100) * 0.6
    wanted = [min(range(31), key=lambda edge: abs(cells.times[edge] - one)) for one in asked]
    assert nearest(cells, asked).tolist() == wanted


def test_segments_hide_what_is_asked_and_overlap() -> None:
    found = Segments(np.array([[0, 80, 0, 4], [0, 80, 2, 6], [40, 80, 7, 9]]), (80, 10))
    assert not found.mask(np.zeros(3, bool)).any()
    assert found.mask(np.array([True, True, False])).sum() == 80 * 6
    assert found.mask(np.array([False, False, True])).sum() == 40 * 2


@pytest.mark.parametrize("count", [1, 2, 7, 16, 50])
def test_coarse_to_fine_is_spread_from_the_start(count: int) -> None:
    order = coarse_to_fine(count)
    assert sorted(order) == list(range(count))
    assert sorted(order[: (count + 1) // 2]) == list(range(0, count, 2))


def test_settling_needs_the_same_top_for_the_last_fifth() -> None:
    settling = Settling(least=3)
    steady = np.array([[5.0], [4.0], [3.0], [1.0]])
    said = [settling.settled(count, steady) for count in range(1, 21)]
    assert said.index(True) == 9  # of 10 samples the last fifth holds 8, 9 and 10
    changed = np.array([[5.0], [4.0], [1.0], [3.0]])
    assert not settling.settled(21, changed)
    assert not settling.settled(22, changed)
    late = [settling.settled(count, changed) for count in range(23, 40)]
    assert 23 + late.index(True) == 26  # the last fifth of 25 reaches back to 20, before the change
