"""The front-ends that a description can ask for: from sound to what the model is fed.

Every front-end with mel filters goes two steps: sound becomes a filter bank of log energies, (F, mels), and the bank is normalised
and stacked, (T, D). What is masked or folded back is the bank; a waveform has none.

There is no dither, and nothing random.

**Source:** Kaldi through ``kaldi-native-fbank``; NeMo ``FilterbankFeatures`` (pre-emphasis of the whole sound, symmetric Hann
window in the middle of the transform, zeros beyond the ends, log of the energy plus 2^-24, mean and standard deviation of n - 1);
torchaudio ``MelSpectrogram``; Slaney's and HTK's mel scales as in ``librosa.filters.mel``; low frame rate: FunASR ``apply_lfr``.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.front import DECADE, BoolArray, Float64Array, grid_of_cells
from voxray.frontend import DEFAULT, fbank, read_cmvn, stack, unstack
from voxray.models.generic.description import Bank, Description, KaldiFbank, LogMel, Waveform
from voxray.types import Audio, AudioError, Features, FloatArray, Grid, ModelError, OptionError, TraceError

RATE = 16000  # Hz
AT_ONCE = 1000  # windows of a Fourier transform; a long sound must not be held several times
LARGEST = 1 << 20  # bytes of a file with a normalisation
KALDI_WINDOWS = {"hann": "hanning"}


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """What is taken off every column of features, and what it is divided by; (D,) each, or one number."""

    mean: Float64Array
    std: Float64Array

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return normalised features."""
        return np.asarray((values - self.mean) / self.std, np.float32)

    def undone(self, values: FloatArray) -> FloatArray:
        """Return features as they were before."""
        return np.asarray(values * self.std + self.mean, np.float32)


class SampleMaker:
    """Samples as they are: features (S, 1), one row a sample.

    Attributes:
        told: the options.
    """

    start = 0.5 / RATE
    """Centre of the first row of features, seconds from the start of the sound."""

    def __init__(self, told: Waveform) -> None:
        self.told = told

    @property
    def width(self) -> int:
        """Numbers in a row of features."""
        return 1

    def features(self, audio: Audio) -> Features:
        """Return the samples, scaled and normalised."""
        return Features(self.seen(audio.samples, audio.samples), 1 / RATE, self.start)

    def energies(self, part: Features) -> Features | None:
        """Return log mel energies of a piece's sound, but for a constant, a row each 10 ms; None of one too short."""
        samples = part.values[:, 0] / max(float(np.abs(part.values).max(initial=0.0)), 1e-9)
        if len(samples) < DEFAULT.window_samples:
            return None
        bank = fbank(Audio(samples.astype(np.float32), RATE))
        return Features(bank.values, bank.hop, part.start - self.start + bank.start)

    def front(self, part: Features, sound: Audio) -> SampleFront:
        """Return how one piece of a sound became its features."""
        return SampleFront(self, part, sound)

    def seen(self, samples: FloatArray, like: FloatArray) -> FloatArray:
        """Return samples (S,) as the model sees them, (S, 1).

        Args:
            samples: of a sound.
            like: those whose mean and deviation are taken, so that what is hidden in ``samples`` moves nothing else.
        """
        values = samples.astype(np.float64) * self.told.scale
        if self.told.normalise != "none":
            scale = like.astype(np.float64) * self.told.scale
            values -= scale.mean()
            if self.told.normalise == "mean-std":
                values /= np.sqrt(scale.var() + self.told.epsilon)
        return np.asarray(values[:, None], np.float32)


class BankMaker:
    """A filter bank: features (T, D).

    Attributes:
        told: the options.
        scaling: of ``global``, else None.
    """

    def __init__(self, told: Bank, scaling: Scaling | None) -> None:
        self.told, self.scaling = told, scaling

    @property
    def mels(self) -> int:
        """Filters of the bank."""
        return self.told.mels

    @property
    def width(self) -> int:
        """Numbers in a row of features."""
        return self.told.mels * self.told.stack

    @property
    def bank_start(self) -> float:
        """Centre of the first window, seconds."""
        told = self.told
        if isinstance(told, LogMel):
            return 0.0 if told.centred else told.n_fft / RATE / 2
        return told.window_length / 2 if getattr(told, "snip_edges", True) else told.hop / 2

    def features(self, audio: Audio) -> Features:
        """Return what the model sees of a sound.

        Raises:
            AudioError: when it is too short.
        """
        bank = self.bank(audio)
        values = self.seen(bank, bank)
        if not len(values):
            raise self._short(audio)
        return Features(values, self.told.hop * self.told.stride, self.start)

    @property
    def start(self) -> float:
        """Centre of the first row of features, seconds from the start of the sound."""
        centre = (self.told.stack - 1) / 2 if self.told.stacking == "chunks" else 0.0
        return self.bank_start + centre * self.told.hop

    def energies(self, part: Features) -> Features | None:
        """Return Kaldi's log mel energies of a piece's sound, a row each 10 ms; None where the features tell others."""
        told = self.told
        alike = isinstance(told, KaldiFbank) and (told.mels, told.hop) == (DEFAULT.mels, DEFAULT.frame_shift)
        if not alike or told.normalise in ("mean", "mean-std") or told.stacking != "centred":
            return None
        late = self.scaling is not None and self.scaling.mean.size not in (1, told.mels)
        values = self.scaling.undone(part.values) if late and self.scaling is not None else part.values
        bank = unstack(values, told.stack, told.stride)
        return Features(bank if late or self.scaling is None else self.scaling.undone(bank), told.hop, part.start)

    def front(self, part: Features, sound: Audio) -> BankFront:
        """Return how one piece of a sound became its features."""
        return BankFront(self, part, sound)

    def bank(self, audio: Audio) -> FloatArray:
        """Return log mel energies before anything else, (F, mels) float32.

        Raises:
            AudioError: when the sound is too short.
        """
        values = self._kaldi(audio) if isinstance(self.told, KaldiFbank) else self._fourier(audio)
        if not len(values):
            raise self._short(audio)
        return values

    def seen(self, bank: FloatArray, like: FloatArray) -> FloatArray:
        """Return a bank as the model sees it, (F, mels) -> (T, D).

        Args:
            bank: log mel energies.
            like: the bank whose mean and deviation are taken, so that what is hidden in ``bank`` moves nothing else.
        """
        told = self.told
        if told.normalise in ("mean", "mean-std"):
            bank = self._own(like)(bank)
        elif self.scaling is not None and self.scaling.mean.size in (1, told.mels):
            bank = self.scaling(bank)
        values = self._stacked(bank)
        late = self.scaling is not None and self.scaling.mean.size not in (1, told.mels)
        return self.scaling(values) if late and self.scaling is not None else values

    def places(self, frames: int) -> npt.NDArray[np.int64]:
        """Return which frames of a bank of so many each row of features holds, (T, stack)."""
        size, step = self.told.stack, self.told.stride
        if self.told.stacking == "centred":
            rows = np.arange(0, frames, step)[:, None] + np.arange(size) - (size - 1) // 2
            return np.asarray(rows.clip(0, frames - 1), np.int64)
        return np.asarray(np.arange(0, frames - size + 1, step)[:, None] + np.arange(size), np.int64)

    def frames(self, samples: int) -> int:
        """Return how many frames of the bank a sound of so many samples has."""
        told, hop = self.told, round(self.told.hop * RATE)
        if isinstance(told, LogMel):
            count = samples // hop + 1 if told.centred else max(0, 1 + (samples - told.n_fft) // hop)
            return min(count, samples // hop) if told.drop_last else count
        window = round(told.window_length * RATE)
        return max(0, 1 + (samples - window) // hop) if getattr(told, "snip_edges", True) else (samples + hop // 2) // hop

    def _stacked(self, bank: FloatArray) -> FloatArray:
        if self.told.stacking == "centred":
            return stack(bank, self.told.stack, self.told.stride)
        return np.ascontiguousarray(bank[self.places(len(bank))].reshape(-1, self.width))

    def _own(self, bank: FloatArray) -> Scaling:
        mean = bank.mean(axis=0, dtype=np.float64)
        if self.told.normalise == "mean" or len(bank) < 2:
            return Scaling(mean, np.ones_like(mean))
        return Scaling(mean, bank.std(axis=0, ddof=int(self.told.unbiased), dtype=np.float64) + self.told.epsilon)

    def _short(self, audio: Audio) -> AudioError:
        return AudioError(
            f"{audio.name}: too short: {len(audio.samples)} samples give no row of features; give {self._least:.2g} s or more"
        )

    @property
    def _least(self) -> float:
        return self.told.window_length + self.told.hop * max(self.told.stack, 2)

    def _kaldi(self, audio: Audio) -> FloatArray:
        """Return Kaldi's filter bank."""
        import kaldi_native_fbank as knf

        told, settings = self.told, knf.FbankOptions()
        frames, mel = settings.frame_opts, settings.mel_opts
        frames.samp_freq, frames.dither, frames.preemph_coeff = RATE, 0.0, told.preemphasis
        frames.frame_length_ms, frames.frame_shift_ms = told.window_length * 1000, told.hop * 1000
        frames.window_type = KALDI_WINDOWS.get(told.window, told.window)
        frames.snip_edges = getattr(told, "snip_edges", True)
        mel.num_bins, mel.low_freq, mel.high_freq = told.mels, told.low, told.high
        settings.energy_floor = 0.0
        extractor = knf.OnlineFbank(settings)
        scaled = np.asarray(audio.samples * np.float32(getattr(told, "scale", 1.0)), np.float32)
        for first in range(0, len(scaled), 10 * RATE):  # the binding copies what it is given
            extractor.accept_waveform(RATE, array("f", scaled[first : first + 10 * RATE].tobytes()))
        extractor.input_finished()
        values = np.empty((extractor.num_frames_ready, told.mels), np.float32)
        for row in range(len(values)):
            values[row] = extractor.get_frame(row)
        return values

    def _fourier(self, audio: Audio) -> FloatArray:
        """Return the log mel spectrogram by the short-time Fourier transform."""
        told = self._log_mel
        samples, reach, hop = audio.samples.astype(np.float64), told.n_fft // 2, round(told.hop * RATE)
        if told.preemphasis:
            samples = np.append(samples[:1], samples[1:] - told.preemphasis * samples[:-1])
        if told.centred and (told.padding == "constant" or len(samples) > reach):
            samples = np.pad(samples, reach, mode=told.padding)
        if len(samples) < told.n_fft:
            raise self._short(audio)
        windows = np.lib.stride_tricks.sliding_window_view(samples, told.n_fft)[::hop]
        if told.drop_last:
            windows = windows[: len(audio.samples) // hop]
        values = np.empty((len(windows), told.mels), np.float32)
        for first in range(0, len(windows), AT_ONCE):
            spectrum = np.abs(np.fft.rfft(windows[first : first + AT_ONCE] * self._window)) ** told.power
            energies = spectrum @ self._filters.T
            energies = energies + told.floor if told.floor_by == "add" else np.maximum(energies, told.floor)
            values[first : first + len(energies)] = np.log(energies) if told.log == "natural" else np.log10(energies)
        return values

    @property
    def _log_mel(self) -> LogMel:
        if not isinstance(self.told, LogMel):
            raise TypeError(f"a LogMel was expected, got {type(self.told).__name__}")
        return self.told

    @cached_property
    def _window(self) -> Float64Array:
        """The window in the middle of the transform, (n_fft,)."""
        told = self._log_mel
        count = round(told.window_length * RATE)
        angles = 2 * np.pi * np.arange(count) / (count if told.periodic else count - 1)
        forms = {
            "hann": 0.5 - 0.5 * np.cos(angles),
            "povey": (0.5 - 0.5 * np.cos(angles)) ** 0.85,
            "hamming": 0.54 - 0.46 * np.cos(angles),
            "rectangular": np.ones(count),
        }
        before = (told.n_fft - count) // 2
        return np.pad(forms[told.window], (before, told.n_fft - count - before))

    @cached_property
    def _filters(self) -> Float64Array:
        told = self._log_mel
        return mel_filters(told.mels, told.n_fft, self.span, told.scale, area=told.norm == "slaney")

    @property
    def span(self) -> tuple[float, float]:
        """Hz, where the lowest filter begins and the highest ends."""
        return self.told.low, self.told.high if self.told.high > 0 else RATE / 2 + self.told.high

    @property
    def edges(self) -> Float64Array | None:
        """Hz between the filters and at both ends, (mels + 1,); None of Kaldi's own filters, on whose scale cells are counted."""
        if not isinstance(self.told, LogMel) and self.span == (20.0, RATE / 2):
            return None
        corners = mel_corners(self.told.mels, self.span, self.told.scale if isinstance(self.told, LogMel) else "htk")
        return np.asarray((corners[:-1] + corners[1:]) / 2)


class SampleFront:
    """How the samples of one piece of sound became what a model of waveforms saw.

    Its cells are stretches of 10 ms over all frequencies. They are hidden in the sound itself: with the domain ``features`` by
    stretches in their place, cut off sharply, with the domain ``waveform`` by a cross-fade.

    Args:
        maker: of the front-end.
        part: what the model saw, (S, 1), times absolute.
        sound: the whole sound.
    """

    shift, window, first, mels = 0.01, 0.025, 0.005, 1
    silence = float(np.log(np.finfo(np.float32).eps))

    def __init__(self, maker: SampleMaker, part: Features, sound: Audio) -> None:
        self.features, self._maker, self._sound = part, maker, sound

    @cached_property
    def audio(self) -> Audio:
        """The sound of this piece alone."""
        start = self.features.start - self._maker.start
        return self._sound.cut(start, start + len(self.features.values) / RATE)

    @cached_property
    def bank(self) -> FloatArray:
        """Log of the mean square of each 10 ms, (F, 1) float32 nats."""
        size = round(self.shift * RATE)
        samples = self.audio.samples.astype(np.float64) ** 2
        count = -(-len(samples) // size)
        means = np.add.reduceat(samples, np.arange(count) * size) / np.minimum(size, len(samples) - np.arange(count) * size)
        return np.asarray(np.log(means + np.finfo(np.float32).eps)[:, None], np.float32)

    @property
    def loudness(self) -> Float64Array:
        """Log energy of every stretch, (F,) nats."""
        return np.asarray(self.bank[:, 0], np.float64)

    @property
    def cells(self) -> Grid:
        """Stretches of 10 ms over all frequencies, (1, F)."""
        return grid_of_cells(self.features.start - self._maker.start + self.first, self.shift, self.bank)

    @property
    def average(self) -> FloatArray:
        """Digital silence, around which every waveform lies, (S, 1)."""
        return self.seen(np.zeros(len(self.features.values), np.float32))

    def normalised(self, bank: FloatArray) -> FloatArray:
        """Return what the model would see of stretches as loud as told, (F, 1) -> (S, 1).

        Each is the stretch of this very sound that comes nearest in loudness; digital silence where silence is told.
        """
        size, own = round(self.shift * RATE), np.argsort(self.bank[:, 0], kind="stable")
        places = np.searchsorted(self.bank[own, 0], bank[:, 0]).clip(0, len(own) - 1)
        padded = np.pad(self.audio.samples, (0, len(own) * size - len(self.audio.samples)))
        laid = np.where(bank <= self.silence, np.float32(0), padded.reshape(-1, size)[own[places]])
        return self.seen(laid.reshape(-1)[: len(self.audio.samples)])

    def seen(self, samples: FloatArray) -> FloatArray:
        """Return what the model would see of another sound of the same length, (S,) -> (S, 1)."""
        return self._maker.seen(samples, self.audio.samples)

    def slots(self, mask: BoolArray) -> BoolArray:
        """Return which samples lie in masked stretches: (F, 1) -> (S, 1)."""
        return np.repeat(mask, round(self.shift * RATE), axis=0)[: len(self.features.values)]

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> Float64Array:
        """Return relevance of the samples, (S, 1), as that of the stretches: (1, F)."""
        starts = np.arange(len(self.bank)) * round(self.shift * RATE)
        return np.asarray(np.add.reduceat(relevance[:, 0].astype(np.float64), starts)[None])


class BankFront:
    """How one piece of sound became what a model of filter banks saw.

    Mean and deviation of a piece are those of the sound as it is, whatever is hidden: else hiding one cell would change all others.

    Args:
        maker: of the front-end.
        part: what the model saw, (T, D), times absolute.
        sound: the whole sound.
    """

    def __init__(self, maker: BankMaker, part: Features, sound: Audio) -> None:
        self.features, self._maker, self._sound = part, maker, sound
        told = maker.told
        self.shift, self.window, self.first, self.mels = told.hop, told.window_length, maker.bank_start, told.mels
        self._decade = DECADE if isinstance(told, LogMel) and told.log == "decimal" else 1.0
        floor = told.floor if isinstance(told, LogMel) else float(np.finfo(np.float32).eps)
        self.silence = float(np.log(floor)) / self._decade

    @cached_property
    def audio(self) -> Audio:
        """The sound of this piece alone.

        A piece that was cut from a longer sound is as long as its features tell; up to a hop may be missing at its end.
        """
        start, count = self.features.start - self._maker.start, len(self.features.values)
        rest = self._sound.cut(start, self._sound.duration)
        if len(self._maker.places(self._maker.frames(len(rest.samples)))) == count:
            return rest
        lengths = np.arange(0, len(rest.samples), max(1, round(self.shift * RATE) // 2))
        rows = np.array([len(self._maker.places(self._maker.frames(int(one)))) for one in lengths])
        return rest.cut(0.0, float(lengths[rows == count].max(initial=0)) / RATE)

    @cached_property
    def bank(self) -> FloatArray:
        """Log mel energies before normalisation and stacking, (F, M) float32.

        Raises:
            TraceError: when the trace's sound gives another number of features.
        """
        bank = self._maker.bank(self.audio)
        if len(self._maker.places(len(bank))) != len(self.features.values):
            raise TraceError(f"{self._sound.name}: the trace's sound does not give its features; trace the sound again")
        return bank

    @property
    def loudness(self) -> Float64Array:
        """Log energy of every row of the bank, (F,) nats."""
        return np.asarray(np.logaddexp.reduce(self.bank.astype(np.float64) * self._decade, axis=1))

    @property
    def cells(self) -> Grid:
        """Each value of the bank, (M, F)."""
        return grid_of_cells(self.features.start - self._maker.start + self.first, self.shift, self.bank, self._maker.edges)

    @property
    def average(self) -> FloatArray:
        """Zeros, (T, D), where normalisation took the average off.

        Raises:
            OptionError: when nothing is normalised, so that no average is known.
        """
        if self._maker.told.normalise == "none":
            raise OptionError(
                "the fill mean is unknown of this model: its features carry no mean; choose noise_floor, silence or pink"
            )
        return np.zeros_like(self.features.values)

    def normalised(self, bank: FloatArray) -> FloatArray:
        """Return what the model would see of other log mel energies: (F, M) -> (T, D)."""
        return self._maker.seen(bank, self.bank)

    def seen(self, samples: FloatArray) -> FloatArray:
        """Return what the model would see of another sound of the same length, (S,) -> (T, D)."""
        return self.normalised(self._maker.bank(Audio(samples, RATE)))

    def slots(self, mask: BoolArray) -> BoolArray:
        """Return which features hold masked values: (F, M) -> (T, D)."""
        return np.asarray(mask[self._maker.places(len(mask))].reshape(len(self.features.values), -1))

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> Float64Array:
        """Return relevance of the features, (T, D), as that of the bank's values: (M, F); each collects from all its copies."""
        result = np.zeros(self.bank.shape)
        np.add.at(result, self._maker.places(len(self.bank)).ravel(), relevance.reshape(-1, self.mels).astype(np.float64))
        return np.asarray(result.T)


def mel_filters(mels: int, n_fft: int, span: tuple[float, float], scale: str, *, area: bool) -> Float64Array:
    """Return triangles over the frequencies of a Fourier transform, (mels, n_fft // 2 + 1).

    Args:
        mels: how many.
        n_fft: points of the transform.
        span: Hz, where the lowest begins and the highest ends.
        scale: ``slaney`` or ``htk``.
        area: whether all have the same area and not the same height.
    """
    corners = mel_corners(mels, span, scale)
    places = np.fft.rfftfreq(n_fft, 1 / RATE)
    rising = (places - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - places) / np.diff(corners)[1:, None]
    height = 2 / (corners[2:] - corners[:-2])[:, None] if area else 1.0
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None) * height, np.float64)


def mel_corners(mels: int, span: tuple[float, float], scale: str) -> Float64Array:
    """Return where mel triangles begin, peak and end, (mels + 2,) Hz: triangle k has its peak at the corner k + 1.

    Args:
        mels: how many triangles.
        span: Hz, where the lowest begins and the highest ends.
        scale: ``slaney`` or ``htk``.

    **Source:** Slaney 1998, Auditory Toolbox; O'Shaughnessy's formula of HTK, 2595 log10(1 + f / 700).
    """
    knee, step, ends = 1000.0, np.log(6.4) / 27, np.array(span, np.float64)
    if scale == "htk":
        first, last = 2595 * np.log10(1 + ends / 700)
        return np.asarray(700 * (10 ** (np.linspace(first, last, mels + 2) / 2595) - 1))
    bent = 15 + np.log(np.maximum(ends, knee) / knee) / step
    first, last = np.where(ends < knee, 3 * ends / 200, bent)
    marks = np.linspace(first, last, mels + 2)
    return np.asarray(np.where(marks < 15, 200 * marks / 3, knee * np.exp(step * (marks - 15))))


def build_front(description: Description) -> SampleMaker | BankMaker:
    """Return the front-end that a description asks for.

    Raises:
        ModelError: when its file of a normalisation is missing, damaged, or of another width.
    """
    told = description.front_end
    if isinstance(told, Waveform):
        return SampleMaker(told)
    if told.normalise != "global":
        return BankMaker(told, None)
    place = f"{description.path}: front_end." + ("cmvn" if told.cmvn else "mean")
    if told.cmvn:
        mean, std = _read_scaling(description.beside(told.cmvn), place)
    else:
        mean, std = np.array(told.mean), np.array(told.std)
    widths = {1, told.mels, told.mels * told.stack}
    for one in (mean, std):
        if one.ndim != 1 or one.size not in widths:
            expected = " or ".join(map(str, sorted(widths)))
            raise ModelError(f"{place} has {one.size} numbers; expected {expected}, the width of the features: correct it")
    size = max(mean.size, std.size)
    if not np.isfinite(mean).all() or not (np.isfinite(std) & (std > 0)).all() or {mean.size, std.size} - {1, size}:
        raise ModelError(f"{place} holds numbers that normalise nothing; expected finite means and deviations above 0: correct it")
    return BankMaker(told, Scaling(np.broadcast_to(mean, size), np.broadcast_to(std, size)))


def _read_scaling(path: Path, place: str) -> tuple[Float64Array, Float64Array]:
    """Return mean and standard deviation from a file, by what is in it.

    Raises:
        ModelError: when it cannot be read, or is of no known form.
    """
    if path.suffix not in (".json", "") and path.name != "global_cmvn":
        cmvn = read_cmvn(path)
        return -np.asarray(cmvn.shift, np.float64), 1 / np.asarray(cmvn.scale, np.float64)
    expected = "JSON with mean_stat, var_stat and frame_num, or with mean and std"
    try:
        told = json.loads(path.read_text(encoding="utf-8") if path.stat().st_size <= LARGEST else "")
        if "mean_stat" in told:
            count = float(told["frame_num"])
            mean = np.asarray(told["mean_stat"], np.float64) / count
            variance = np.asarray(told["var_stat"], np.float64) / count - mean**2
            return mean, np.sqrt(np.maximum(variance, 1e-20))  # the floor as in WeNet's cmvn.py
        return np.asarray(told["mean"], np.float64), np.asarray(told["std"], np.float64)
    except FileNotFoundError:
        raise ModelError(f"{place} names {path}, which is not there; expected {expected}: copy it beside the model") from None
    except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError) as error:
        raise ModelError(f"{place} names {path}, which cannot be read; expected {expected}: copy it again") from error
