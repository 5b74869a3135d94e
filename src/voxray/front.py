"""Front-ends seen from the sound: what a recogniser would see of another sound, or of this one with parts of it hidden.

A front-end turns one piece of sound into a **bank** (log mel energies, one row each 10 ms) and the bank into what the model sees.
The finest cells of an explanation are the bank's values; a front-end knows where each of them goes.

Conventions: ``F`` = rows of the bank, ``M`` = mel filters, ``T`` = rows that the model sees, ``D`` = their width.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voxray.frontend import (
    DEFAULT,
    WHISPER_RATE,
    WHISPER_SECONDS,
    WHISPER_SHIFT,
    WHISPER_WINDOW,
    Cmvn,
    fbank,
    features,
    log10_mel,
    slaney_corners,
    stack,
    whisper_features,
)
from voxray.types import Audio, Features, FloatArray, Grid, OptionError, TraceError

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
SILENCE = float(np.log(np.finfo(np.float32).eps))  # Kaldi's floor under the logarithm: what digital silence becomes
WHISPER_SILENCE = -10.0  # log10 of Whisper's floor
DECADE = float(np.log(10))  # nats
LOWEST = 20.0  # Hz; where Kaldi's filters begin


class Front(Protocol):
    """What explaining needs to know of how one piece of sound became what the model saw.

    Attributes:
        features: what the model saw, (T, D).
        shift: seconds from row to row of the bank.
        window: seconds of a row's window.
        first: centre of the bank's first row in seconds from the start of ``audio``.
        silence: value of the bank for digital silence.
        mels: filters of the bank.
    """

    features: Features
    shift: float
    window: float
    first: float
    silence: float
    mels: int

    @property
    def audio(self) -> Audio:
        """The sound that the bank was computed from."""

    @property
    def bank(self) -> FloatArray:
        """Log mel energies of the sound, (F, M) float32."""

    @property
    def loudness(self) -> Float64Array:
        """Log energy of every row of the bank, (F,) nats."""

    @property
    def cells(self) -> Grid:
        """The finest cells: each value of the bank, (M, F), on the clock of the whole sound."""

    @property
    def average(self) -> FloatArray:
        """What the model would see of what it met on average in training, (T, D).

        Raises:
            OptionError: when that is not known.
        """

    def normalised(self, bank: FloatArray) -> FloatArray:
        """Return what the model would see of other log mel energies of the same shape: (F, M) -> (T, D)."""

    def seen(self, samples: FloatArray) -> FloatArray:
        """Return what the model would see of another sound of the same length, (S,) -> (T, D)."""

    def slots(self, mask: BoolArray) -> BoolArray:
        """Return which of the features hold masked values of the bank: (F, M) -> (T, D)."""

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> Float64Array:
        """Return relevance of the features, (T, D), as that of the bank's values, (M, F): the adjoint of how they are laid out."""


def grid_of_cells(start: float, shift: float, bank: FloatArray, hertz: Float64Array | None = None) -> Grid:
    """Return the cells of a bank, whose mel edges are counted in Kaldi's 80 filters whatever filters the bank has.

    Args:
        start: centre of the first row, seconds.
        shift: seconds from row to row.
        bank: (F, M).
        hertz: (M + 1,) edges of the filters; None for filters that part the same range evenly on the same scale.
    """
    edges = start + shift * (np.arange(len(bank) + 1) - 0.5)
    count = bank.shape[1]
    mels = np.arange(count + 1.0) * (DEFAULT.mels / count) if hertz is None else _in_filters(hertz)
    return Grid(np.asarray(edges, np.float64), mels)


def _in_filters(hertz: Float64Array) -> Float64Array:
    """Return edges of filters that cover everything, in Hz, counted in Kaldi's filters: 0 to 80.

    **Source:** Kaldi ``feat/mel-computations.h``: 1127 ln(1 + f / 700), the peaks spread evenly from 20 Hz to half the rate.
    """
    low, high, mel = (1127 * np.log1p(np.asarray(one) / 700) for one in (LOWEST, DEFAULT.sample_rate / 2, hertz))
    places = (mel - low) / (high - low) * (DEFAULT.mels + 1) - 0.5
    return np.concatenate([[0.0], places[1:-1], [float(DEFAULT.mels)]])


class StackedFront:
    """The front-end of SenseVoice and Paraformer: Kaldi's filter bank, seven frames stacked each six, normalised.

    Slot k of row t is frame 6 t - 3 + k of the bank, the first and the last frame being repeated beyond the ends.

    Args:
        part: what the model saw, (T, 560), times absolute.
        sound: the whole sound.
        cmvn: the model's normalisation.
    """

    shift, window, silence = DEFAULT.frame_shift, DEFAULT.frame_length, SILENCE
    first, mels = DEFAULT.frame_length / 2, DEFAULT.mels

    def __init__(self, part: Features, sound: Audio, cmvn: Cmvn) -> None:
        self.features, self._sound, self.cmvn = part, sound, cmvn

    @cached_property
    def bank(self) -> FloatArray:
        """Log mel energies before stacking and normalisation, (F, 80) float32 nats.

        Stacking repeats the last row, so the features do not tell how many there were: 6 T or up to five fewer. It is the number
        that gives the last features again.

        Raises:
            TraceError: when the sound does not give the features.
        """
        hop, last = round(self.features.hop / DEFAULT.frame_shift), self.features.values[-1]
        rows = len(self.features.values)
        start = self.features.start - DEFAULT.frame_length / 2
        values = fbank(self._sound.cut(start, start + rows * self.features.hop + DEFAULT.frame_length)).values
        for count in range(min(len(values), hop * rows), hop * (rows - 1), -1):
            if np.array_equal(self.normalised(values[:count])[-1], last):
                return values[:count]
        raise TraceError(f"{self._sound.name}: the trace's sound does not give its features; trace the sound again")

    @cached_property
    def audio(self) -> Audio:
        """The sound of this piece alone, at 16 kHz."""
        start = self.features.start - DEFAULT.frame_length / 2
        seconds = DEFAULT.frame_length + DEFAULT.frame_shift * (len(self.bank) - 1)
        return self._sound.cut(start, start + seconds)

    @property
    def loudness(self) -> Float64Array:
        """Log energy of every row of the bank, (F,) nats."""
        return np.asarray(np.logaddexp.reduce(self.bank.astype(np.float64), axis=1))

    @property
    def cells(self) -> Grid:
        """Each filter-bank value, 10 ms by one mel filter, (80, F)."""
        return grid_of_cells(self.features.start, self.shift, self.bank)

    @property
    def average(self) -> FloatArray:
        """Zeros, (T, 560): normalisation took the average of training off."""
        return np.zeros_like(self.features.values)

    def normalised(self, bank: FloatArray) -> FloatArray:
        """Return what the model would see of log mel energies: (F, 80) -> (T, 560), stacked and normalised."""
        return np.asarray((stack(bank) + self.cmvn.shift) * self.cmvn.scale, np.float32)

    def seen(self, samples: FloatArray) -> FloatArray:
        """Return what the model would see of another sound of the same length, (S,) -> (T, 560)."""
        return features(Audio(samples, self.audio.sample_rate), self.cmvn).values

    def slots(self, mask: BoolArray) -> BoolArray:
        """Return which slots hold masked values: (F, 80) -> (T, 560), every copy that stacking made."""
        return stack(mask.astype(np.float32)) > 0

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> Float64Array:
        """Return relevance of stacked features, (T, 560), as that of the filter-bank values: (80, F).

        Each filter-bank value collects from every place that it was copied to.
        """
        count, mels = len(self.bank), DEFAULT.mels
        rows = np.arange(0, count, DEFAULT.lfr_n)[:, None] + np.arange(DEFAULT.lfr_m) - (DEFAULT.lfr_m - 1) // 2
        result = np.zeros((count, mels))
        np.add.at(result, rows.clip(0, count - 1).ravel(), relevance.reshape(-1, mels).astype(np.float64))
        return np.asarray(result.T)


class LogMelFront:
    """Whisper's front-end: decimal logarithms of mel energies, clamped 8 decades under the loudest cell of the sound as it is.

    Only rows that are centred within the sound are cells. The rows after them are silence that fills up the 30 s; they stay.

    Args:
        part: what the model saw, (T, M), one row each 10 ms, times absolute; of sound over 30 s the features of one piece, which is
            cut at whole frames of 20 ms.
        sound: the whole sound.
    """

    shift, window = WHISPER_SHIFT / WHISPER_RATE, WHISPER_WINDOW / WHISPER_RATE
    first, silence = 0.0, WHISPER_SILENCE

    def __init__(self, part: Features, sound: Audio) -> None:
        self.features, self._sound, self.mels = part, sound, part.values.shape[1]

    @property
    def audio(self) -> Audio:
        """The sound of this piece alone, at 16 kHz."""
        return self._heard[0]

    @cached_property
    def _heard(self) -> tuple[Audio, FloatArray]:
        """The sound of this piece, and its bank with the silence after it, (T, M).

        Raises:
            TraceError: when the sound does not give the features.
        """
        for audio in self._pieces():
            found = log10_mel(audio, self.mels).values
            if found.shape == self.features.values.shape and np.allclose(whisper_features(found), self.features.values, atol=1e-4):
                return audio, found
        raise TraceError(f"{self._sound.name}: the trace's sound does not give its features; trace the sound again")

    def _pieces(self) -> Iterator[Audio]:
        """Yield the sounds that may have given as many rows: two to four of them are silence, or fewer of whole 30 s."""
        if self._sound.duration <= WHISPER_SECONDS:
            yield self._sound
            return
        start, rows = self.features.start, len(self.features.values)
        for silent in (4, 2, 0):
            yield self._sound.cut(start, min(start + self.shift * (rows - silent), self._sound.duration))

    @property
    def bank(self) -> FloatArray:
        """Log mel energies of the rows within the sound, (F, M) float32, decimal logarithms."""
        audio, bank = self._heard
        return bank[: -(-len(audio.samples) // WHISPER_SHIFT)]

    @property
    def loudness(self) -> Float64Array:
        """Log energy of every row of the bank, (F,) nats."""
        return np.asarray(np.logaddexp.reduce(self.bank.astype(np.float64) * DECADE, axis=1))

    @property
    def cells(self) -> Grid:
        """Each value within the sound, 10 ms by one mel filter, (M, F)."""
        corners = slaney_corners(self.mels)
        return grid_of_cells(self.features.start, self.shift, self.bank, (corners[:-1] + corners[1:]) / 2)

    @property
    def average(self) -> FloatArray:
        """Refuse: the file does not tell.

        Raises:
            OptionError: always.
        """
        raise OptionError("the fill mean is unknown of this model: its features carry no mean; choose noise_floor, silence or pink")

    def normalised(self, bank: FloatArray) -> FloatArray:
        """Return what the model would see of log mel energies: (F, M) -> (T, M), the silence after them as it was."""
        return self._clamped(np.concatenate([bank, self._heard[1][len(bank) :]]))

    def seen(self, samples: FloatArray) -> FloatArray:
        """Return what the model would see of another sound of the same length, (S,) -> (T, M)."""
        found = log10_mel(Audio(samples, self.audio.sample_rate), self.mels).values
        return self._clamped(found[: len(self.features.values)])

    def slots(self, mask: BoolArray) -> BoolArray:
        """Return which features hold masked values: (F, M) -> (T, M)."""
        return np.pad(mask, ((0, len(self.features.values) - len(mask)), (0, 0)))

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> Float64Array:
        """Return relevance of the features, (T, M), as that of the cells: (M, F)."""
        return np.asarray(relevance[: len(self.bank)].T, np.float64)

    def _clamped(self, bank: FloatArray) -> FloatArray:
        return whisper_features(bank, float(self._heard[1].max()))
