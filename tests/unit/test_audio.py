"""Every way in which sound may arrive, and every way in which it may be broken."""

from __future__ import annotations

import io
import struct
import tempfile
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.audio import load_audio, probe_audio
from voxray.types import Audio, AudioError, AudioInfo, OptionError

DATA = Path(__file__).parents[1] / "data"
RATE = 16000


def tone(rate: int, seconds: float = 1.0, frequency: float = 440.0) -> np.ndarray:
    """Return (S,) float32 of a sine of amplitude 0.3."""
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def coded(container: str, codec: str, samples: np.ndarray, rate: int, *, picture: bool = False) -> bytes:
    """Return a file written by FFmpeg; ``samples`` are (S,) or (S, 2) float32."""
    buffer = io.BytesIO()
    planes = np.ascontiguousarray(samples.reshape(len(samples), -1).T)
    layout = "mono" if len(planes) == 1 else "stereo"
    with av.open(buffer, "w", format=container) as out:
        if picture:
            video = out.add_stream("mpeg4", rate=5)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = out.add_stream(codec, rate=rate, layout=layout) if codec else None
        if picture:
            for _ in range(5):
                out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
            out.mux(video.encode(None))
        if track is not None:
            track.bit_rate = 12_200 if "amr" in codec else 128_000
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            out.mux(track.encode(frame))
            out.mux(track.encode(None))
    return buffer.getvalue()


def likeness(audio: Audio, frequency: float = 440.0) -> float:
    """Return how well the sound, away from its edges, correlates with the sine of that frequency in the best phase."""
    inner = audio.samples[1600:-1600].astype(np.float64)
    angle = 2 * np.pi * frequency * np.arange(len(inner)) / audio.sample_rate
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit = basis @ np.linalg.lstsq(basis, inner, rcond=None)[0]
    return float(np.corrcoef(inner, fit)[0, 1])


def refusal(source: object, **options: object) -> str:
    """Return the one line with which a sound is refused."""
    with pytest.raises(AudioError) as caught:
        load_audio(source, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


# -- what is right ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["short", "odd", "stereo"])
def test_audio_equals_the_waveform_that_funasr_is_fed(name: str) -> None:
    wanted = np.load(DATA / "golden" / f"{name}.frontend.npz")["waveform_16k"]
    audio = load_audio(DATA / "audio" / f"{name}.wav")
    assert audio.samples.dtype == np.float32
    assert audio.sample_rate == RATE
    assert audio.name == f"{name}.wav"
    np.testing.assert_allclose(audio.samples, wanted, rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([4000, 8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000]),
    length=st.integers(100, 40_000),
    channels=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_audio_in_blocks_equals_one_shot_resampling(rate: int, length: int, channels: int, seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, (length, channels)).astype(np.float32)
    one_shot = soxr.resample(sound.mean(axis=1), rate, RATE, quality="HQ")
    audio = load_audio(sound, source_rate=rate)
    assert len(audio.samples) == len(one_shot)
    np.testing.assert_allclose(audio.samples, one_shot, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("container", "subtype", "error"),
    [
        ("WAV", "PCM_U8", 1 / 128),
        ("WAV", "PCM_16", 1 / 32768),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 1e-6),
        ("WAV", "DOUBLE", 1e-6),
        ("WAVEX", "PCM_24", 1e-6),
        ("RF64", "PCM_16", 1 / 32768),
        ("AIFF", "PCM_16", 1 / 32768),
        ("FLAC", "PCM_16", 1 / 32768),
        ("FLAC", "PCM_24", 1e-6),
    ],
)
def test_audio_of_pcm_files_keeps_every_sample(container: str, subtype: str, error: float) -> None:
    sound = tone(RATE)
    audio = load_audio(wav(sound, RATE, subtype, container))
    np.testing.assert_allclose(audio.samples, sound, rtol=0, atol=error)


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_audio_of_lossy_files_of_libsndfile(container: str, subtype: str) -> None:
    audio = load_audio(wav(tone(48000, 2), 48000, subtype, container))
    assert audio.duration == pytest.approx(2, abs=0.03)
    assert likeness(audio) > 0.999


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_audio_of_telephone_wav_equals_reading_it_at_once(subtype: str) -> None:
    data = wav(tone(8000, 3), 8000, subtype)
    at_once = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    np.testing.assert_array_equal(load_audio(data, 8000).samples, at_once)


def test_audio_of_mp3_has_no_cracks_between_blocks() -> None:
    data = wav(tone(44100, 3), 44100, "MPEG_LAYER_III", "MP3")
    at_once = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    np.testing.assert_allclose(load_audio(data, 44100).samples, at_once, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(1000), b"LYRICSBEGIN" + b"la " * 300 + b"LYRICS200"])
def test_audio_of_mp3_with_something_after_its_end(tail: bytes) -> None:
    audio = load_audio(wav(tone(44100, 3), 44100, "MPEG_LAYER_III", "MP3") + tail)
    assert audio.duration == pytest.approx(3, abs=0.01)
    assert likeness(audio) > 0.999


CODED = [
    ("ipod", "aac", 44100),
    ("mp4", "alac", 48000),
    ("adts", "aac", 48000),
    ("webm", "libopus", 48000),
    ("matroska", "ac3", 48000),
    ("amr", "libopencore_amrnb", 8000),
    ("asf", "wmav2", 44100),
    ("mov", "pcm_s16be", 22050),
    ("mpegts", "mp2", 48000),
]


@pytest.mark.parametrize(("container", "codec", "rate"), CODED)
def test_audio_of_files_for_pyav(container: str, codec: str, rate: int) -> None:
    audio = load_audio(coded(container, codec, tone(rate, 2), rate))
    assert audio.sample_rate == RATE
    assert audio.duration == pytest.approx(2, abs=0.06)
    assert likeness(audio) > (0.998 if "amr" in codec else 0.999)  # AMR is made for voices
    assert np.abs(audio.samples[1600:-1600]).max() == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("mov", "pcm_s16le")])
def test_audio_of_two_channels_through_pyav_is_their_mean(container: str, codec: str) -> None:
    sides = np.stack([tone(48000, 2), tone(48000, 2, 1000)], axis=1)
    audio = load_audio(coded(container, codec, sides, 48000))
    inner = audio.samples[3200:-3200].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) / len(inner) * 4
    hertz = np.fft.rfftfreq(len(inner), 1 / RATE)
    for frequency in (440, 1000):
        assert spectrum[np.abs(hertz - frequency).argmin()] == pytest.approx(0.15, rel=0.1)


def test_audio_of_a_video_is_its_first_audio_stream() -> None:
    film = coded("mp4", "aac", tone(44100, 1), 44100, picture=True)
    audio = load_audio(film)
    assert audio.duration == pytest.approx(1, abs=0.06)
    assert likeness(audio) > 0.999
    assert probe_audio(film).sample_rate == 44100
    longer_picture = coded("matroska", "libopus", tone(48000, 0.5), 48000, picture=True)
    assert load_audio(longer_picture).duration == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_audio_of_any_rate_keeps_a_tone(rate: int) -> None:
    audio = load_audio(wav(tone(rate), rate))
    assert len(audio.samples) == RATE
    expected = tone(RATE)[1600:-1600]
    assert np.corrcoef(audio.samples[1600:-1600], expected)[0, 1] > 0.99999


def test_audio_of_eight_channels_is_their_mean() -> None:
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, (5000, 8)).astype(np.float32)
    audio = load_audio(wav(sound, subtype="FLOAT"))
    np.testing.assert_allclose(audio.samples, sound.astype(np.float64).mean(axis=1), rtol=0, atol=1e-7)


def test_audio_asked_for_at_another_rate() -> None:
    audio = load_audio(wav(tone(RATE)), 8000)
    assert (audio.sample_rate, len(audio.samples)) == (8000, 8000)
    assert likeness(audio) > 0.999


def test_audio_may_be_short_or_silent() -> None:
    assert load_audio(wav(tone(RATE)[:100])).samples.shape == (100,)
    assert not load_audio(wav(np.zeros(RATE))).samples.any()


def test_audio_beyond_full_scale_is_kept() -> None:
    sound = np.array([0.0, 1.5, -3.0, 0.5], np.float32)
    np.testing.assert_array_equal(load_audio(wav(sound, subtype="FLOAT")).samples, sound)
    np.testing.assert_array_equal(load_audio(sound).samples, sound)


# -- where it comes from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_type", [str, Path])
def test_audio_from_a_path_with_chinese_and_spaces(tmp_path: Path, as_type: type) -> None:
    folder = tmp_path / "我的 录音"
    folder.mkdir()
    path = folder / "早上 好 (1).wav"
    path.write_bytes(wav(tone(RATE)))
    audio = load_audio(as_type(path))
    assert audio.name == "早上 好 (1).wav"
    assert likeness(audio) > 0.999
    path = path.with_suffix(".m4a")
    path.write_bytes(coded("ipod", "aac", tone(RATE), RATE))
    assert likeness(load_audio(as_type(path))) > 0.999


@pytest.mark.parametrize(
    ("content", "ending"),
    [("wav", ".mp3"), ("wav", ".raw"), ("wav", ""), ("m4a", ".wav"), ("mp3", ".txt"), ("webm", ".flac")],
)
def test_audio_is_told_by_content_not_by_ending(tmp_path: Path, content: str, ending: str) -> None:
    files = {
        "wav": lambda: wav(tone(48000), 48000),
        "mp3": lambda: wav(tone(48000), 48000, "MPEG_LAYER_III", "MP3"),
        "m4a": lambda: coded("ipod", "aac", tone(48000), 48000),
        "webm": lambda: coded("webm", "libopus", tone(48000), 48000),
    }
    path = tmp_path / f"sound{ending}"
    path.write_bytes(files[content]())
    assert likeness(load_audio(path)) > 0.999


@pytest.mark.parametrize("content", ["wav", "webm"])
def test_audio_from_bytes_and_file_objects_is_the_same(tmp_path: Path, content: str) -> None:
    data = wav(tone(44100), 44100) if content == "wav" else coded("webm", "libopus", tone(48000), 48000)
    path = tmp_path / "clip.bin"
    path.write_bytes(data)
    wanted = load_audio(path).samples

    class Pipe(io.RawIOBase):
        """A file that cannot go back."""

        def __init__(self) -> None:
            self.rest = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return False

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            return self.rest.readinto(buffer)

    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), Pipe()):
        np.testing.assert_array_equal(load_audio(source).samples, wanted)
    with path.open("rb") as file:
        file.read(100)
        audio = load_audio(file)
        assert audio.name == "clip.bin"
        np.testing.assert_array_equal(audio.samples, wanted)
        assert not file.closed
    with tempfile.SpooledTemporaryFile(max_size=1000) as spooled:
        spooled.write(data)
        np.testing.assert_array_equal(load_audio(spooled).samples, wanted)


@pytest.mark.parametrize(
    ("dtype", "values", "wanted"),
    [
        (np.uint8, [0, 64, 128, 255], [-1, -0.5, 0, 127 / 128]),
        (np.int16, [-32768, -16384, 0, 32767], [-1, -0.5, 0, 32767 / 32768]),
        (np.int32, [-(2**31), -(2**30), 0, 2**30], [-1, -0.5, 0, 0.5]),
        (np.float32, [-1, -0.5, 0, 0.25], [-1, -0.5, 0, 0.25]),
        (np.float64, [-1, -0.5, 0, 0.25], [-1, -0.5, 0, 0.25]),
        (np.dtype(">i2"), [-32768, -16384, 0, 16384], [-1, -0.5, 0, 0.5]),
        (np.dtype(">f8"), [-1, -0.5, 0, 0.25], [-1, -0.5, 0, 0.25]),
    ],
)
def test_audio_from_arrays_of_every_type(dtype: np.dtype, values: list, wanted: list) -> None:
    mono = load_audio(np.array(values, dtype), name="mine")
    assert (mono.name, mono.sample_rate) == ("mine", RATE)
    np.testing.assert_array_equal(mono.samples, np.array(wanted, np.float32))
    both = np.array([values, values[::-1]], dtype).T
    np.testing.assert_allclose(load_audio(both).samples, (np.array(wanted) + wanted[::-1]) / 2, atol=1e-7)


def test_audio_of_an_audio() -> None:
    audio = Audio(tone(8000), 8000, "call")
    assert load_audio(audio, 8000) is audio
    resampled = load_audio(audio)
    assert (resampled.sample_rate, resampled.name) == (RATE, "call")
    assert likeness(resampled) > 0.999


def test_audio_does_not_share_memory_with_the_array_it_came_from() -> None:
    sound = tone(RATE)
    audio = load_audio(sound)
    sound[:] = 0
    assert np.abs(audio.samples).max() > 0.2
    assert not audio.samples.flags.writeable


# -- what a file says of itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (lambda: wav(np.zeros((24000, 2)), 48000), AudioInfo(0.5, 48000, 2, "wav")),
        (lambda: wav(np.zeros(4000), 8000, "PCM_16", "FLAC"), AudioInfo(0.5, 8000, 1, "flac")),
        (lambda: wav(tone(44100), 44100, "MPEG_LAYER_III", "MP3"), AudioInfo(1.0, 44100, 1, "mp3")),
        (lambda: coded("mp4", "alac", tone(48000), 48000), AudioInfo(1.0, 48000, 1, "mov")),
    ],
)
def test_probe_tells_duration_rate_and_channels(data: object, wanted: AudioInfo) -> None:
    assert probe_audio(data()) == wanted  # type: ignore[operator]


def test_probe_does_not_decode() -> None:
    broken = wav(np.full(1000, np.nan, np.float32), subtype="FLOAT")
    assert probe_audio(broken).duration == 1000 / RATE
    assert "not finite" in refusal(broken)


def test_probe_does_not_believe_a_guessed_duration() -> None:
    assert probe_audio(untagged_mp3()).duration is None
    assert load_audio(untagged_mp3()).duration == pytest.approx(10, abs=0.1)


def untagged_mp3() -> bytes:
    """Return 10 s of MP3 whose length tag is cut away: quiet, then loud, so that the first bit rate says little."""
    noise = np.random.default_rng(0).standard_normal(5 * 48000).astype(np.float32) * 0.3
    data = wav(np.concatenate([np.zeros_like(noise), noise]), 48000, "MPEG_LAYER_III", "MP3")
    return data[data.find(data[:2], 2) :]


# -- what is refused ----------------------------------------------------------------------------------------------


def test_audio_refuses_what_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.wav")
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; give the path of one sound file"
    assert "cannot be opened" in refusal("a\0b.wav")
    assert "cannot be opened" in refusal("x" * 5000)


def test_audio_refuses_what_it_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(wav(tone(RATE)))

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    assert "cannot be opened (Permission denied)" in refusal(path)


@pytest.mark.parametrize("address", ["http://example.org/a.wav", "https://example.org/a.mp3", "rtsp://camera/1"])
def test_audio_does_not_fetch_addresses(address: str) -> None:
    assert "not fetched" in refusal(address)


def test_audio_refuses_what_is_no_sound(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("This is no sound at all.\n" * 100)
    assert "not a sound file" in refusal(text)
    renamed = tmp_path / "notes.mp3"
    renamed.write_bytes(np.random.default_rng(1).bytes(100_000))
    assert "not a sound file" in refusal(renamed)
    (tmp_path / "empty.wav").touch()
    assert "empty (0 bytes)" in refusal(tmp_path / "empty.wav")
    assert "empty (0 bytes)" in refusal(b"")
    assert "not a sound file" in refusal(wav(tone(RATE))[:30])
    assert "a list is no sound" in refusal([0.0, 0.1])
    assert "text mode" in refusal(io.StringIO("text"))


def test_audio_refuses_pictures_without_sound() -> None:
    assert "no audio stream (it holds: video)" in refusal(coded("mp4", "", tone(RATE), RATE, picture=True))


def test_audio_reads_no_other_file_than_the_one_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private.wav").write_bytes(wav(tone(RATE)))
    monkeypatch.chdir(tmp_path)
    playlist = b"ffconcat version 1.0\nfile private.wav\n"
    with av.open(io.BytesIO(playlist)) as followed:  # FFmpeg left alone would follow it
        assert followed.streams.audio
    assert "not a sound file" in refusal(playlist)


def test_audio_refuses_files_without_samples() -> None:
    assert "no samples" in refusal(wav(np.zeros(0)))
    assert "no samples" in refusal(wav(tone(RATE))[:44])
    assert "no samples" in refusal(np.zeros(0, np.float32))
    assert "no samples" in refusal(np.zeros(1, np.float32), source_rate=192000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_audio_refuses_values_that_are_not_finite_and_says_when(value: float, subtype: str) -> None:
    sound = np.zeros((4 * RATE, 2))
    sound[2 * RATE + RATE // 2, 1] = value
    assert "2.500 s is not finite" in refusal(wav(sound, subtype=subtype))
    assert "2.500 s is not finite" in refusal(sound)
    opposed = np.full((10, 2), np.inf) * [1, -1]
    assert "0.000 s is not finite" in refusal(opposed)
    assert "0.000 s is not finite" in refusal(np.array([1e300]))


def test_audio_refuses_arrays_that_are_no_sound() -> None:
    assert "transpose" in refusal(np.zeros((2, 16000), np.float32))
    assert "(samples,) or (samples, channels)" in refusal(np.zeros((2, 2, 2), np.float32))
    assert "no channels" in refusal(np.zeros((5, 0), np.float32))
    assert "int64" in refusal(np.zeros(5, np.int64))
    assert "complex64" in refusal(np.zeros(5, np.complex64))


def test_audio_refuses_rates_that_make_no_sense() -> None:
    header = bytearray(wav(tone(RATE)))
    header[24:28] = struct.pack("<I", 1)
    assert "1 Hz is implausible" in refusal(bytes(header))
    assert "999 Hz is implausible" in refusal(tone(RATE), source_rate=999)
    with pytest.raises(OptionError, match="sample_rate must be a positive number of Hz, got 0"):
        load_audio(tone(RATE), 0)
    with pytest.raises(OptionError, match="source_rate must be a positive number of Hz, got -1"):
        load_audio(tone(RATE), source_rate=-1)
    with pytest.raises(OptionError, match="source_rate is for arrays only"):
        load_audio(wav(tone(RATE)), source_rate=8000)


# -- files that end too soon --------------------------------------------------------------------------------------


def with_claim(claim: int, samples: np.ndarray | None = None) -> bytes:
    """Return a WAV of 1 s whose data chunk claims another size."""
    data = bytearray(wav(tone(RATE) if samples is None else samples))
    data[40:44] = struct.pack("<I", claim)
    return bytes(data)


def test_audio_of_a_wav_that_claims_more_than_it_holds() -> None:
    claims_much = with_claim(3_000_000_000)
    tracemalloc.start()
    message = refusal(claims_much)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "only 1.00 s of the 93750.00 s that its header promises" in message
    assert "allow_truncated=True" in message
    assert peak < 2_000_000
    audio = load_audio(claims_much, allow_truncated=True)
    np.testing.assert_allclose(audio.samples, tone(RATE), rtol=0, atol=1 / 32768)
    assert probe_audio(claims_much).duration == 1


def test_audio_of_a_wav_cut_off_by_a_single_sample() -> None:
    data = wav(tone(RATE))[:-2]
    assert "of the 1.00 s that its header promises" in refusal(data)
    assert len(load_audio(data, allow_truncated=True).samples) == RATE - 1


def test_audio_of_a_wav_with_other_chunks_before_and_after() -> None:
    data = wav(tone(RATE))
    extra = b"LIST" + struct.pack("<I", 5) + b"odd..." + b"junk" + struct.pack("<I", 2) + b".."
    framed = data[:36] + extra + data[36:] + extra
    framed = framed[:4] + struct.pack("<I", len(framed) - 8) + framed[8:]
    assert len(load_audio(framed).samples) == RATE
    assert "only 0.99 s of the 1.00 s" in refusal(framed[: -len(extra) - 400])


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x80000000])
def test_audio_of_a_wav_written_to_a_pipe(claim: int) -> None:
    assert len(load_audio(with_claim(claim)).samples) == RATE


def test_audio_of_a_flac_written_to_a_pipe() -> None:
    data = with_flac_total(0)
    assert len(load_audio(data).samples) == 3 * RATE
    assert probe_audio(data).duration is None


def test_audio_of_a_flac_that_claims_fifty_days() -> None:
    tracemalloc.start()
    message = refusal(with_flac_total(2**36 - 1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "allow_truncated=True" in message
    assert peak < 4_000_000


def with_flac_total(total: int) -> bytes:
    """Return 3 s of FLAC that states another number of samples (the last 36 bits of the 8 bytes from byte 18)."""
    data = bytearray(wav(tone(RATE, 3), RATE, "PCM_16", "FLAC"))
    packed = int.from_bytes(data[18:26], "big")
    data[18:26] = (packed >> 36 << 36 | total).to_bytes(8, "big")
    return bytes(data)


CUT = [
    ("flac", lambda: wav(tone(48000, 4), 48000, "PCM_16", "FLAC")),
    ("mp3", lambda: wav(tone(48000, 4), 48000, "MPEG_LAYER_III", "MP3")),
    ("amr", lambda: coded("amr", "libopencore_amrnb", tone(8000, 4), 8000)),
    ("webm", lambda: coded("webm", "libopus", tone(48000, 4), 48000)),
]


@pytest.mark.parametrize(("kind", "make"), CUT, ids=[kind for kind, _ in CUT])
def test_audio_of_a_file_cut_in_half(kind: str, make: object) -> None:
    data = make()  # type: ignore[operator]
    assert load_audio(data).duration == pytest.approx(4, abs=0.06)
    half = data[: len(data) // 2 + 7]
    message = refusal(half)
    assert "allow_truncated=True" in message
    assert "damaged or cut off: only" in message
    audio = load_audio(half, allow_truncated=True)
    assert 1.3 < audio.duration < 2.7
    assert likeness(audio) > (0.998 if kind == "amr" else 0.999)


def test_audio_of_an_mp4_without_its_index_is_refused() -> None:
    data = coded("mp4", "aac", tone(48000, 4), 48000)
    assert "not a sound file" in refusal(data[: len(data) // 2], allow_truncated=True)


# -- cost ---------------------------------------------------------------------------------------------------------


def test_audio_never_holds_a_file_at_its_own_rate(tmp_path: Path) -> None:
    path = tmp_path / "studio.wav"
    block = np.random.default_rng(0).integers(-9000, 9000, (192_000, 8)).astype(np.int16)
    with soundfile.SoundFile(path, "w", 192_000, 8, "PCM_16") as file:
        for _ in range(10):
            file.write(block)
    assert path.stat().st_size > 30_000_000
    tracemalloc.start()
    audio = load_audio(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert audio.samples.nbytes == 10 * RATE * 4
    assert peak < 4_000_000  # 61 MB as float32 at the file's own rate
