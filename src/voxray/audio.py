"""Any sound becomes :class:`~voxray.types.Audio`: mono, float32, at one rate.

WAV, FLAC, Ogg and the other formats of libsndfile are read with soundfile; everything else (MP3, M4A, MP4, WebM, AMR,
AAC, WMA and the first audio stream of a video) with PyAV. What a file is, its content says, never its name. Sound is
decoded block by block, mixed down and resampled on the way, so that memory grows with the mono result at the wanted
rate and not with the file's own rate and channels.

Conventions: full scale is 1; integers are divided by their full scale; floating-point sound beyond [-1, 1] is kept as
it is, neither clipped nor scaled. The channels are averaged before resampling, which is what ``librosa.load`` does and
what FunASR is fed with.
"""

from __future__ import annotations

import io
import os
import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Union, cast

import numpy as np
import numpy.typing as npt

from voxray.types import Audio, AudioError, AudioInfo, FloatArray, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO]
"""Where a sound file may come from: a path, its bytes, or a file opened in binary mode (read from its beginning)."""

# Rows decoded at a time: half a second at 16 kHz. Damage inside a block costs the whole block, so blocks stay small.
BLOCK = 8192
# Rates outside are damage or abuse: one megabyte at a claimed 1 Hz would become 32 GB at 16 kHz.
RATES = (1_000, 768_000)
# An array of (channels, samples) by mistake would show as thousands of channels.
MOST_CHANNELS = 64
# Lossy encoders pad their ends, so their files may hold slightly less than the header says.
LOSSY_SLACK = 0.1  # seconds
# libsndfile's number of frames where the header does not say it (SF_COUNT_MAX).
UNKNOWN_FRAMES = 2**63 - 1
# Containers whose stated duration is written by the encoder; elsewhere FFmpeg guesses it from the bit rate, which may
# be far off.
STATED_DURATION = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac")


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, all that are left by default."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte and return its position."""

    def tell(self) -> int:
        """Return the position in bytes."""


class _Nameless:
    """A file without its name: both libraries would otherwise let the ending of the name decide what the file is."""

    def __init__(self, file: _Readable) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class _DamageError(Exception):
    """The decoder cannot go on."""


@dataclass(frozen=True)
class _Sound:
    """An opened sound.

    Attributes:
        info: what is known before decoding.
        promised: frames (samples of each channel) that the header promises; None where it promises nothing.
        slack: frames that may be missing without the sound being cut off.
        blocks: (S, C) float32 pieces in order of time; raise ``_DamageError`` where decoding fails.
    """

    info: AudioInfo
    promised: int | None
    slack: int
    blocks: Iterator[FloatArray]


def load_audio(
    source: Source | npt.NDArray[Any] | Audio,
    sample_rate: int = 16000,
    *,
    source_rate: int | None = None,
    name: str | None = None,
    allow_truncated: bool = False,
) -> Audio:
    """Return any sound as mono at one rate.

    Args:
        source: a path, the bytes of a file, a file object in binary mode, an ``Audio`` (returned as it is when its rate
            fits and it holds finite samples), or an array: (S,) or (S, C) of uint8, int16, int32, float32 or float64, integers
            at their full scale.
        sample_rate: wanted rate in Hz.
        source_rate: rate of an array in Hz, 16000 unless told; files and ``Audio`` say their own.
        name: for titles and messages; the file's name unless told.
        allow_truncated: take what can be decoded of a file that ends before its header says or is damaged on the way.
            The rest of the block in which the damage lies (at most 8192 samples) is lost with it.

    Returns:
        The mean of the channels, resampled with soxr's HQ recipe. Streaming through soxr gives the same samples, bit
        for bit, as its one-shot call.

    Raises:
        AudioError: when there is no such file, it is no sound, holds no audio stream or no samples, ends before its
            header says, is damaged, has an implausible rate, or holds values that are not finite.
        OptionError: when a rate is not positive, or ``source_rate`` is given for something that knows its rate.

    **Source:** soxr HQ after the channel mean: ``librosa.load(path, sr=16000)``, with which funasr_onnx reads its
    files.
    """
    for option, rate in (("sample_rate", sample_rate), ("source_rate", source_rate)):
        if rate is not None and rate <= 0:
            raise OptionError(f"{option} must be a positive number of Hz, got {rate}")
    if source_rate is not None and not isinstance(source, np.ndarray):
        raise OptionError("source_rate is for arrays only: files and Audio know their own rate; leave it out")
    if isinstance(source, Audio):
        if (source.sample_rate, source.name) == (sample_rate, name or source.name) and _is_sound(source.samples):
            return source
        label, sound = name or source.name, _array_sound(source.samples, source.sample_rate)
        return Audio(_render(sound, label, sample_rate), sample_rate, label)
    if isinstance(source, np.ndarray):
        label, sound = name or "audio", _array_sound(source, source_rate or 16000)
        return Audio(_render(sound, label, sample_rate), sample_rate, label)
    with _opened(source) as (stream, label), _decoding(stream, label) as sound:
        samples = _render(sound, label, sample_rate, allow_truncated=allow_truncated)
    return Audio(samples, sample_rate, name or Path(label).name)


def probe_audio(source: Source) -> AudioInfo:
    """Return what a sound file says of itself, without decoding it.

    The duration counts what is really there for WAV; it is None where the file does not state it (an MP3 without a
    length tag, raw AAC or AMR, WMA, a WebM straight from a recorder).

    Raises:
        AudioError: when the file cannot be read or is no sound.
    """
    with _opened(source) as (stream, label), _decoding(stream, label) as sound:
        return sound.info


# -- from a source to a stream -----------------------------------------------------------------------------------------


@contextmanager
def _opened(source: Source) -> Iterator[tuple[_Readable, str]]:
    """Give a readable, seekable, non-empty stream and its name for messages."""
    if isinstance(source, (str, os.PathLike)):
        with _open_path(os.fspath(source)) as file:
            yield _not_empty(_seekable(file, str(source)), str(source)), str(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield _not_empty(io.BytesIO(source), "audio"), "audio"
    elif hasattr(source, "read"):
        label = getattr(source, "name", None)
        label = label if isinstance(label, str) else "audio"
        yield _not_empty(_seekable(source, label), label), label
    else:
        raise AudioError(f"a {type(source).__name__} is no sound; give a path, bytes, a binary file, a numpy array or an Audio")


def _open_path(path: str) -> BinaryIO:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path) and not Path(path).exists():
        raise AudioError(f"{path}: addresses are not fetched; download the file and give its path")
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that no file can have
        raise AudioError(f"{path}: is a folder; give the path of one sound file")
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{path}: cannot be opened ({reason}); check the path and its permissions") from error


def _seekable(file: BinaryIO, label: str) -> _Readable:
    """Return a binary file as it is, and the bytes of a pipe from memory, since headers are read back and forth."""
    can_seek = getattr(file, "seekable", lambda: True)
    if can_seek():
        if isinstance(file.read(0), bytes):
            return file
    else:
        content = file.read()
        if isinstance(content, bytes):
            return io.BytesIO(content)
    raise AudioError(f"{label}: the file is open in text mode; open it in binary mode ('rb')")


def _not_empty(stream: _Readable, label: str) -> _Readable:
    stream.seek(0, io.SEEK_END)
    if stream.tell() == 0:
        raise AudioError(f"{label}: the file is empty (0 bytes); record or copy it again")
    stream.seek(0)
    return stream


# -- from a stream to blocks -------------------------------------------------------------------------------------------


@contextmanager
def _decoding(stream: _Readable, label: str) -> Iterator[_Sound]:
    """Open the stream with soundfile or, where that does not know the format or reads it badly, with PyAV."""
    import soundfile

    try:
        file = soundfile.SoundFile(_Nameless(stream))
    except soundfile.SoundFileError:
        file = None
    # soundfile seeks after each block, upon which libsndfile's MP3 decoder loses bits that frames share and crackles;
    # at the end of a FLAC of unknown length (from a pipe) libsndfile fails. FFmpeg gives the same samples without that.
    if file is not None and (file.format == "MP3" or file.frames == UNKNOWN_FRAMES):
        file.close()
        file = None
    if file is not None:
        with file:
            yield _soundfile_sound(file, stream)
    else:
        tagged = _mp3_states_length(stream)
        stream.seek(0)
        with _av_container(stream, label) as container:
            kind = container.format.name
            yield _av_sound(container, label, stated=kind in STATED_DURATION or (kind == "mp3" and tagged))


def _soundfile_sound(file: Any, stream: _Readable) -> _Sound:
    promised = int(file.frames)
    info = AudioInfo(promised / file.samplerate, int(file.samplerate), int(file.channels), file.format.lower())
    if file.format in ("WAV", "WAVEX"):
        at = stream.tell()  # libsndfile goes on from where it left the stream
        promised = _wav_promise(stream, promised)
        stream.seek(at)
    return _Sound(info, promised, 0, _soundfile_blocks(file))


def _soundfile_blocks(file: Any) -> Iterator[FloatArray]:
    import soundfile

    try:
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            yield block
    except soundfile.SoundFileError as error:
        raise _DamageError(str(error).strip() or "the decoder gives no reason") from error


def _wav_promise(stream: _Readable, frames: int) -> int:
    """Return the frames that the data chunk of a WAV file claims.

    libsndfile silently counts those that are there instead.

    A claim within 256 bytes of 2 GiB or 4 GiB is what programs write that cannot go back to mend the header (to a
    pipe): it promises nothing, and the frames that are there are returned.

    **Source:** RIFF chunks: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0" (1991).
    """
    stream.seek(0, io.SEEK_END)
    size = stream.tell()
    stream.seek(0)
    order = ">" if stream.read(4) == b"RIFX" else "<"
    stream.seek(12)
    while len(header := stream.read(8)) == 8:
        tag, claim = struct.unpack(f"{order}4sI", header)
        there = size - stream.tell()
        if tag == b"data":
            endless = claim >= 2**32 - 256 or abs(claim - 2**31) <= 256
            return frames if endless or claim <= there or there == 0 else frames * claim // there
        stream.seek(claim + claim % 2, io.SEEK_CUR)
    return frames


def _mp3_states_length(stream: _Readable) -> bool:
    """Tell whether the first frame of an MP3 is a length tag.

    Without one the length is guessed from the first bit rate, which can be far off.

    **Source:** the Xing/Info tag lies in the first frame, after an ID3v2 tag whose size is four times seven bits
    (id3.org, ID3v2.4.0).
    """
    stream.seek(0)
    head = stream.read(10)
    skip = 0
    if head[:3] == b"ID3" and len(head) == 10:
        skip = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    stream.seek(skip)
    frame = stream.read(4096)
    return b"Xing" in frame or b"Info" in frame


def _av_container(stream: _Readable, label: str) -> Any:
    import av

    try:
        # Playlists name other files and addresses; no protocol is allowed, so nothing but the given stream is ever
        # read.
        return av.open(_Nameless(stream), options={"protocol_whitelist": "none"})
    except av.FFmpegError as error:
        raise AudioError(
            f"{label}: not a sound file that can be read ({error.strerror}); expected WAV, FLAC, Ogg, MP3, M4A, MP4, "
            "WebM, AMR or a video with sound; check that the file is whole, or convert it to WAV"
        ) from error


def _av_sound(container: Any, label: str, *, stated: bool) -> _Sound:
    if not container.streams.audio:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise AudioError(f"{label}: has no audio stream (it holds: {found}); give a file with sound")
    track = container.streams.audio[0]
    if track.codec_context is None:
        raise AudioError(f"{label}: the sound is coded in a way that the installed FFmpeg does not know; convert it to WAV")
    rate, channels = track.codec_context.sample_rate, track.codec_context.channels
    duration = _av_duration(container, track) if stated else None
    promised = None if duration is None else round(duration * rate)
    info = AudioInfo(duration, rate, channels, container.format.name.split(",")[0])
    return _Sound(info, promised, round(LOSSY_SLACK * rate), _av_blocks(container, track, rate))


def _av_duration(container: Any, track: Any) -> float | None:
    """Return the stated seconds of the audio stream; those of the container only where nothing else is in it."""
    if track.duration is not None:
        return float(track.duration * track.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1e6)  # AV_TIME_BASE: microseconds
    return None


def _av_blocks(container: Any, track: Any, rate: int) -> Iterator[FloatArray]:
    import av

    try:
        for frame in container.decode(track):
            if frame.sample_rate != rate:
                raise _DamageError(f"the sample rate changes from {rate} to {frame.sample_rate} Hz")
            values = frame.to_ndarray()
            yield _scaled(values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels))
    except av.FFmpegError as error:
        raise _DamageError(error.strerror) from error


def _is_sound(samples: FloatArray) -> bool:
    return len(samples) > 0 and bool(np.isfinite(samples).all())


def _array_sound(array: npt.NDArray[Any], rate: int) -> _Sound:
    """Check an array and give it as blocks of (S, C)."""
    if array.ndim not in (1, 2):
        raise AudioError(
            f"an array of sound must be (samples,) or (samples, channels), got {array.shape}; take one sound at a time"
        )
    columns = array[:, None] if array.ndim == 1 else array
    if columns.shape[1] > MOST_CHANNELS:
        raise AudioError(f"an array of sound must be (samples, channels), got {array.shape}; transpose it")
    if columns.shape[1] == 0:
        raise AudioError(f"the array holds no channels: its shape is {array.shape}; give (samples,) or (samples, channels)")
    blocks = (_scaled(columns[first : first + BLOCK]) for first in range(0, len(columns), BLOCK))
    return _Sound(AudioInfo(len(columns) / rate, rate, columns.shape[1], "array"), None, 0, blocks)


def _scaled(values: npt.NDArray[Any]) -> FloatArray:
    """Return samples of any supported type as float32 with full scale 1."""
    kind = values.dtype.newbyteorder("=")
    if kind == np.uint8:
        return np.asarray((values.astype(np.float32) - 128) / 128, np.float32)
    if kind in (np.int16, np.int32):
        return np.asarray(values.astype(np.float32) / np.float32(2.0 ** (8 * kind.itemsize - 1)), np.float32)
    if kind in (np.float32, np.float64):
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite and is refused with its time
            return values.astype(np.float32)
    raise AudioError(
        f"samples of type {values.dtype} are not known; expected uint8, int16, int32, float32 or float64: convert them"
    )


# -- from blocks to samples --------------------------------------------------------------------------------------------


def _render(sound: _Sound, label: str, sample_rate: int, *, allow_truncated: bool = False) -> FloatArray:
    """Return the whole sound as (S,) float32 at the wanted rate."""
    rate = sound.info.sample_rate
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"{label}: a sample rate of {rate} Hz is implausible; expected {RATES[0]} to {RATES[1]} Hz: mend the header"
        )
    samples = _resampled(_mono_blocks(sound, label, allow_truncated=allow_truncated), rate, sample_rate)
    if not len(samples):
        raise AudioError(f"{label}: holds no samples that can be decoded; record or copy it again")
    return samples


def _mono_blocks(sound: _Sound, label: str, *, allow_truncated: bool) -> Iterator[FloatArray]:
    """Give the channel means as (S,) float32 blocks; check that every value is finite and that nothing is missing."""
    rate, heard, reason = sound.info.sample_rate, 0, ""
    try:
        for block in sound.blocks:
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                second = (heard + int(np.argmin(finite))) / rate
                raise AudioError(f"{label}: a sample at {second:.3f} s is not finite (NaN or infinite); repair the sound")
            heard += len(block)
            yield block.mean(axis=1, dtype=np.float32)
    except _DamageError as damage:
        reason = f" ({damage})"
    # What follows the promised end (tags, zeros) may be unreadable: MP3 files often carry such a tail.
    complete = not reason if sound.promised is None else heard + sound.slack >= sound.promised
    if not complete and not allow_truncated:
        whole = "" if sound.promised is None else f" of the {sound.promised / rate:.2f} s that its header promises"
        raise AudioError(
            f"{label}: damaged or cut off: only {heard / rate:.2f} s{whole} can be read{reason}; "
            "copy or record it again, or take what is there with allow_truncated=True"
        )


def _resampled(blocks: Iterable[FloatArray], rate: int, sample_rate: int) -> FloatArray:
    """Join blocks into (S,) float32 while resampling them.

    The samples grow in one byte buffer that is never copied at the end: a list of blocks would need twice the memory to
    be joined, and a header's word for the length is not trusted with an allocation.
    """
    process, finish = _resampler(rate, sample_rate)
    kept = bytearray()
    for block in blocks:
        kept += process(block).tobytes()
    kept += finish().tobytes()
    return np.frombuffer(kept, np.float32)


def _resampler(rate: int, sample_rate: int) -> tuple[Callable[[FloatArray], FloatArray], Callable[[], FloatArray]]:
    """Return what to do with each block, and what to do at the end."""
    silence = np.zeros(0, np.float32)
    if rate == sample_rate:
        return (lambda block: block), (lambda: silence)
    import soxr

    stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    return (
        lambda block: cast("FloatArray", stream.resample_chunk(block)),
        lambda: cast("FloatArray", stream.resample_chunk(silence, last=True)),
    )
