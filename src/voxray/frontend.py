"""From sound to what the recogniser sees: Kaldi filter bank, stacked frames, mean and variance normalisation.

The filter bank is Kaldi's own, through ``kaldi-native-fbank``, with the options that FunASR uses; only its dither
(random noise of one 16-bit step, on by default in FunASR) is 0 here, because an explanation must be the same every time
it is asked for.

Conventions: times in seconds from the start of the sound; ``T0`` = filter-bank frames, one each 10 ms, ``T`` = stacked
    frames, one
each 60 ms; log energies are natural logarithms of the 16-bit scale (samples times 32768).

Whisper has a front-end of its own (``log10_mel``, ``whisper_features``): frames that are centred on multiples of 10 ms, another mel
scale, decimal logarithms of the scale from -1 to 1, and always 30 s, which silence fills up.

**Source:** FunASR ``funasr/frontends/wav_frontend.py`` and
``runtime/python/onnxruntime/funasr_onnx/utils/frontend.py``; OpenAI ``whisper/audio.py``; Slaney's mel scale and the area of his
filters, as ``librosa.filters.mel`` computes them.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import Audio, AudioError, Features, FloatArray, ModelError, frozen

# Kaldi computes on 16-bit numbers; its floor under the logarithm makes the scale matter.
WAVEFORM_SCALE = 32768
# Samples handed to Kaldi at a time (10 s): it copies what it is given, and a long sound must not be held several times.
CHUNK = 160_000
WHISPER_RATE = 16000  # Hz; with the next two, OpenAI whisper/audio.py
WHISPER_WINDOW, WHISPER_SHIFT = 400, 160  # samples
WHISPER_SECONDS = 30.0
WHISPER_FLOOR = 1e-10  # energy
WHISPER_RANGE = 8.0  # decades under the loudest cell that are kept
# An am.mvn has 11 kB; whoever gives a model by mistake shall not wait for a gigabyte to be read.
LARGEST_CMVN = 1 << 20


@dataclass(frozen=True)
class FrontendOptions:
    """How sound is cut into frames; the defaults are those of SenseVoice and Paraformer. There is no dither.

    Attributes:
        mels: filters of the bank.
        frame_length: seconds in a window.
        frame_shift: seconds from window to window.
        window: ``hamming``, ``povey``, ``hanning``, ``rectangular`` or another of Kaldi's.
        lfr_m: filter-bank frames stacked into one.
        lfr_n: filter-bank frames from stack to stack.
        sample_rate: Hz.

    Raises:
        ValueError: when a number makes no sense (a frame of over a second is a length in milliseconds by mistake).

    **Source:** ``config.yaml`` of iic/SenseVoiceSmall, ``frontend_conf``.
    """

    mels: int = 80
    frame_length: float = 0.025
    frame_shift: float = 0.010
    window: str = "hamming"
    lfr_m: int = 7
    lfr_n: int = 6
    sample_rate: int = 16000

    def __post_init__(self) -> None:
        if not (0 < self.frame_shift <= 1 and 0 < self.frame_length <= 1):
            raise ValueError(f"frames are given in seconds, at most 1, got {self.frame_length} and {self.frame_shift}")
        if min(self.mels, self.lfr_m, self.lfr_n, self.sample_rate) < 1:
            raise ValueError(f"mels, lfr_m, lfr_n and sample_rate must be at least 1, got {self}")

    @property
    def window_samples(self) -> int:
        """Samples in one window."""
        return round(self.frame_length * self.sample_rate)


DEFAULT = FrontendOptions()


@dataclass(frozen=True)
class Cmvn:
    """Mean and variance normalisation, ``(features + shift) * scale``.

    The arithmetic is done in the type of the two vectors. FunASR does it in float64, sherpa-onnx in float32; the
    features then differ in their last bit, which an int8 model can make another token of.

    Attributes:
        shift: (D,) float32 or float64, minus the mean, nats.
        scale: (D,) of the same type, one over the standard deviation, 1 / nats.
    """

    shift: npt.NDArray[np.floating[Any]]
    scale: npt.NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        dtype = np.result_type(self.shift, self.scale, np.float32)
        object.__setattr__(self, "shift", frozen(self.shift, dtype, "D", "Cmvn.shift"))
        object.__setattr__(self, "scale", frozen(self.scale, dtype, "D", "Cmvn.scale"))
        if self.shift.shape != self.scale.shape:
            raise ValueError(f"Cmvn.shift and Cmvn.scale must have one length, got {self.shift.shape} and {self.scale.shape}")


def fbank(audio: Audio, options: FrontendOptions = DEFAULT) -> Features:
    """Return the log energies of Kaldi's mel filter bank.

    Returns:
        (T0, mels) float32, nats: T0 = 1 + (S - window) // shift whole windows; row 0 is centred at half a window.

    Raises:
        AudioError: when the sound has another sample rate or is shorter than one window.

    **Source:** Kaldi ``feat/feature-fbank.cc``: remove the frame's mean, pre-emphasis 0.97, window, 512-point power
    spectrum, HTK mel triangles from 20 Hz to half the sample rate, natural logarithm of at least 1.19e-7.
    """
    if audio.sample_rate != options.sample_rate:
        raise AudioError(
            f"{audio.name}: the sound has {audio.sample_rate} Hz but the frontend works at {options.sample_rate} Hz; "
            f"load it with sample_rate={options.sample_rate}"
        )
    if len(audio.samples) < options.window_samples:
        raise AudioError(
            f"{audio.name}: too short: {len(audio.samples)} samples, but at least {options.window_samples} "
            f"({options.frame_length * 1000:g} ms) are needed; give a longer sound"
        )
    extractor = _extractor(options)
    for first in range(0, len(audio.samples), CHUNK):
        scaled = audio.samples[first : first + CHUNK] * np.float32(WAVEFORM_SCALE)
        # Of all Python sequences that Kaldi's binding takes, this one is read fastest, twice as fast as a list.
        extractor.accept_waveform(options.sample_rate, array("f", scaled.tobytes()))
    values = np.empty((extractor.num_frames_ready, options.mels), np.float32)
    for row in range(len(values)):
        values[row] = extractor.get_frame(row)
    return Features(values, options.frame_shift, options.frame_length / 2)


def log_mel(audio: Audio, options: FrontendOptions = DEFAULT) -> Features:
    """Return the spectrogram for pictures: the very filter bank that the recogniser is fed, (T0, mels) float32, nats.

    Raises:
        AudioError: as ``fbank``.
    """
    return fbank(audio, options)


def stack(values: FloatArray, m: int = DEFAULT.lfr_m, n: int = DEFAULT.lfr_n) -> FloatArray:
    """Stack m neighbouring frames into one, every n frames (low frame rate).

    Row i holds the frames n i - (m - 1) // 2 ... of the input, one after the other; beyond the ends the first and the
    last frame are repeated. With an odd m, row i is therefore centred on frame n i.

    Args:
        values: (T0, D) float32.
        m: frames in a stack.
        n: frames from stack to stack.

    Returns:
        (ceil(T0 / n), m D) float32.

    Raises:
        ValueError: when there is no frame, or m or n is less than 1.

    **Source:** FunASR ``wav_frontend.py``, ``apply_lfr``.
    """
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values must have the shape (T, D) with at least one frame, got {values.shape}")
    if min(m, n) < 1:
        raise ValueError(f"m and n must be at least 1, got {m} and {n}")
    rows = np.arange(0, len(values), n)[:, None] + np.arange(m) - (m - 1) // 2
    stacked: FloatArray = values[rows.clip(0, len(values) - 1)].reshape(len(rows), -1)
    return stacked


def unstack(values: FloatArray, m: int = DEFAULT.lfr_m, n: int = DEFAULT.lfr_n) -> FloatArray:
    """Return the frames that ``stack`` laid side by side, each from the stack in whose middle it lies.

    Past the end of the last stack its last frame is repeated.

    Args:
        values: (T, m D) float32.
        m: frames in a stack.
        n: frames from stack to stack.

    Returns:
        (n T, D) float32: as many frames as so many stacks are made of at most.
    """
    stacks = values.reshape(len(values), m, -1)
    frames = np.arange(n * len(values))
    owners = np.minimum((frames + n // 2) // n, len(values) - 1)
    found: FloatArray = stacks[owners, np.clip(frames - n * owners + (m - 1) // 2, 0, m - 1)]
    return found


def features(audio: Audio, cmvn: Cmvn, options: FrontendOptions = DEFAULT) -> Features:
    """Return what SenseVoice and Paraformer are fed.

    Returns:
        (T, lfr_m mels) float32, normalised; hop 0.06 s and start 0.0125 s with the default options: the centre of the
        middle window.

    Raises:
        AudioError: as ``fbank``.
        ModelError: when the normalisation is for features of another width.
    """
    width = options.lfr_m * options.mels
    if len(cmvn.shift) != width:
        raise ModelError(
            f"the normalisation has {len(cmvn.shift)} numbers but the frontend gives {width}; take the model's own am.mvn"
        )
    bank = fbank(audio, options)
    stacked = stack(bank.values, options.lfr_m, options.lfr_n)
    normalised = ((stacked + cmvn.shift) * cmvn.scale).astype(np.float32)
    return Features(normalised, options.lfr_n * bank.hop, bank.start)


def log10_mel(audio: Audio, mels: int = 80) -> Features:
    """Return the decimal logarithm of Whisper's mel energies, before its clamp.

    Rows cover the sound and end with silence: the last row's window holds none of the sound, so that what fills up the 30 s is a
    repetition of that row. Their count is even, because the encoder makes one frame of two.

    Args:
        audio: at 16 kHz. What is shorter than 30 s is filled up with silence, which tells in the windows at its end.
        mels: filters of the bank, 80 or (large-v3 and turbo) 128.

    Returns:
        (F, mels) float32, log10 of at least 1e-10; hop 10 ms, row 0 centred at 0 s. At most 3000 rows of 30 s.

    Raises:
        AudioError: when the sound has another sample rate or is shorter than one window.

    **Source:** OpenAI ``whisper/audio.py``, ``log_mel_spectrogram``: periodic Hann window, edges reflected, last frame left out.
    """
    if audio.sample_rate != WHISPER_RATE:
        raise AudioError(
            f"{audio.name}: the sound has {audio.sample_rate} Hz but Whisper's frontend works at {WHISPER_RATE} Hz; "
            f"load it with sample_rate={WHISPER_RATE}"
        )
    count = len(audio.samples)
    if count < WHISPER_WINDOW:
        raise AudioError(
            f"{audio.name}: too short: {count} samples, but at least {WHISPER_WINDOW} (25 ms) are needed; give a longer sound"
        )
    whole = max(count, round(WHISPER_SECONDS * WHISPER_RATE))
    reach = WHISPER_WINDOW // 2
    padded = np.pad(np.pad(audio.samples.astype(np.float64), (0, whole - count)), reach, mode="reflect")
    touched = -(-(count + reach) // WHISPER_SHIFT)  # rows whose windows hold any of the sound
    rows = min(2 * (touched // 2 + 1), whole // WHISPER_SHIFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WHISPER_WINDOW) / WHISPER_WINDOW)
    filters = slaney_filters(mels).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WHISPER_WINDOW)[::WHISPER_SHIFT]
    values = np.empty((rows, mels), np.float32)
    for first in range(0, rows, CHUNK // WHISPER_SHIFT):
        spectrum = np.fft.rfft(frames[first : min(first + CHUNK // WHISPER_SHIFT, rows)] * window)
        energies = (spectrum.real**2 + spectrum.imag**2) @ filters.T
        values[first : first + len(energies)] = np.log10(np.maximum(energies, WHISPER_FLOOR))
    return Features(values, WHISPER_SHIFT / WHISPER_RATE, 0.0)


def whisper_features(bank: FloatArray, ceiling: float | None = None) -> FloatArray:
    """Return what Whisper is fed: no cell more than 8 decades under the loudest one, and scaled.

    Args:
        bank: (F, mels) float32, the values of ``log10_mel``.
        ceiling: log10 energy of the loudest cell; None for that of the bank. To mask a part of a sound, give that of the whole:
            otherwise hiding its loudest cell would change all others.

    Returns:
        (F, mels) float32.

    **Source:** OpenAI ``whisper/audio.py``, ``log_mel_spectrogram``.
    """
    highest = np.float32(bank.max() if ceiling is None else ceiling)
    clamped = np.maximum(bank, highest - np.float32(WHISPER_RANGE))
    return np.asarray((clamped + np.float32(4)) / np.float32(4), np.float32)


def slaney_filters(mels: int) -> FloatArray:
    """Return the triangles of Whisper's mel bank from 0 to 8000 Hz, each of the same area, (mels, 201) float32.

    Raises:
        ValueError: when there are so many filters that some would be empty.

    **Source:** Slaney 1998, Auditory Toolbox: linear up to 1000 Hz (66.7 Hz a mel), then 27 mels for a factor of 6.4.
    """
    if not 1 <= mels <= WHISPER_WINDOW // 2:
        raise ValueError(f"mels must be 1 to {WHISPER_WINDOW // 2}, got {mels}")
    corners = slaney_corners(mels)
    places = np.fft.rfftfreq(WHISPER_WINDOW, 1 / WHISPER_RATE)
    rising = (places - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - places) / np.diff(corners)[1:, None]
    area = 2 / (corners[2:] - corners[:-2])[:, None]
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None) * area, np.float32)


def slaney_corners(mels: int) -> npt.NDArray[np.float64]:
    """Return where Whisper's mel triangles begin, peak and end, (mels + 2,) Hz: triangle k has its peak at the corner k + 1."""
    linear, knee, step = 200 / 3, 1000.0, np.log(6.4) / 27
    scale = np.linspace(0, knee / linear + np.log(WHISPER_RATE / 2 / knee) / step, mels + 2)
    bent = knee * np.exp(step * (scale - knee / linear))
    return np.asarray(np.where(scale < knee / linear, linear * scale, bent))


def read_cmvn(path: str | Path) -> Cmvn:
    """Read a normalisation from Kaldi's text form of a network (FunASR's ``am.mvn``).

    Raises:
        ModelError: when the file is missing or unreadable, is not of that form, or holds another count of numbers than
            it says.

    **Source:** FunASR ``wav_frontend.py``, ``load_cmvn``: the vector after ``<AddShift>`` is added, that after
    ``<Rescale>`` multiplied.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="ascii") if size <= LARGEST_CMVN else ""
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; the model's am.mvn is needed to normalise the features") from None
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); give the model's am.mvn") from error
    shift, scale = _vector(text, "AddShift", path), _vector(text, "Rescale", path)
    if len(shift) != len(scale):
        raise ModelError(f"{path}: {len(shift)} shifts but {len(scale)} scales; the file is damaged, take the model's own am.mvn")
    return Cmvn(shift, scale)


def _vector(text: str, layer: str, path: Path) -> npt.NDArray[np.float64]:
    """Return the numbers of one layer of the network, (D,) float64 as FunASR reads them."""
    found = re.search(rf"<{layer}>\s+(\d+)\s+\d+\s+<LearnRateCoef>\s+\S+\s+\[([^\]]*)\]", text)
    if found is None:
        raise ModelError(f"{path}: not a Kaldi normalisation file (no <{layer}> vector); expected the model's am.mvn")
    try:
        values = np.array(found[2].split(), dtype=np.float64)
    except ValueError as error:
        raise ModelError(f"{path}: <{layer}> holds something that is no number; take the model's own am.mvn") from error
    if len(values) != int(found[1]) or not np.isfinite(values).all():
        raise ModelError(f"{path}: <{layer}> should hold {found[1]} finite numbers, got {len(values)}; take the model's own am.mvn")
    return values


def _extractor(options: FrontendOptions) -> Any:
    import kaldi_native_fbank as knf

    settings = knf.FbankOptions()
    settings.frame_opts.samp_freq = options.sample_rate
    settings.frame_opts.dither = 0.0
    settings.frame_opts.window_type = options.window
    settings.frame_opts.frame_length_ms = options.frame_length * 1000
    settings.frame_opts.frame_shift_ms = options.frame_shift * 1000
    settings.frame_opts.snip_edges = True
    settings.mel_opts.num_bins = options.mels
    settings.energy_floor = 0.0
    return knf.OnlineFbank(settings)
