"""The command ``live``: files, pipes and microphones made by hand, what is printed, how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voxray
from commands import Result, refused, runner
from voxray.cli import live as command
from voxray.vad import VadOptions, voice_segments

RATE = 16_000
NAMES = ("zh_happy_speech", "en_neutral_speech")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundled: Any) -> Callable[..., Result]:
    """Run the command line with a model that is open already; returns exit code, standard output, standard error."""
    monkeypatch.setattr(command, "opened", lambda _how: bundled)
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="module")
def talk(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with pauses between and behind them, as a WAV of about 7 s."""
    pause = np.zeros(round(0.9 * RATE), np.float32)
    parts = [part for name in NAMES for part in (voxray.load_audio(clips / f"{name}.wav").samples, pause)]
    path = tmp_path_factory.mktemp("live") / "talk.wav"
    soundfile.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def said(bundled: Any, talk: Path) -> list[str]:
    """The texts of its utterances, recognised offline."""
    audio = voxray.load_audio(talk)
    texts = [bundled.transcribe(audio.cut(*span)).text for span in voice_segments(audio, options=VadOptions(merge_to=0.0))]
    assert len(texts) == 2
    return texts


def piped(monkeypatch: pytest.MonkeyPatch, sound: bytes, *, terminal: bool = False) -> None:
    """Let standard input hold some bytes."""
    stream = io.BytesIO(sound)
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))


def pcm(path: Path) -> bytes:
    return soundfile.read(path, dtype="int16")[0].tobytes()


def test_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], talk: Path, said: list[str]) -> None:
    """With the model that the command opens itself."""
    run = runner(monkeypatch, capsys)
    assert run("live", "--speed", 0, talk) == (0, "".join(f"{text}\n" for text in said), "")


def test_a_file_at_its_own_speed(run: Any, talk: Path, said: list[str]) -> None:
    started = time.monotonic()
    code, out, _ = run("live", "--speed", 4, talk)
    assert (code, out.splitlines()) == (0, said)
    assert time.monotonic() - started >= voxray.load_audio(talk).duration / 4


def test_json_tells_everything(run: Any, talk: Path, said: list[str]) -> None:
    code, out, err = run("live", "--speed", 0, "--json", talk)
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["text"] for event in events if event["kind"] == "final"] == said
    partial = [event for event in events if event["kind"] == "partial"]
    assert len(partial) >= 6
    assert all(event["text"] == event["stable"] + event["unstable"] for event in partial)
    last = events[-1]
    assert last["source"] == str(talk)
    assert last["tags"]["language"]["label"] == "en"
    assert set(last["step"]["statistics"]) >= {"entropy", "focus", "coverage"}
    assert last["step"]["drift"] is None


def test_raw_sound_from_a_pipe(run: Any, monkeypatch: pytest.MonkeyPatch, talk: Path, said: list[str]) -> None:
    piped(monkeypatch, pcm(talk))
    code, out, _ = run("live", "-")
    assert (code, out.splitlines()) == (0, said)


def test_a_pipe_at_another_rate(run: Any, monkeypatch: pytest.MonkeyPatch, talk: Path, said: list[str]) -> None:
    import soxr

    twice = soxr.resample(soundfile.read(talk)[0], RATE, 32_000)
    piped(monkeypatch, np.round(np.clip(twice, -1, 1) * 32_767).astype("<i2").tobytes())
    code, out, _ = run("live", "--rate", 32_000, "-")
    assert (code, out.splitlines()) == (0, said)


@pytest.mark.parametrize(
    ("sound", "terminal", "line"),
    [
        (b"", False, "standard input ended without a sample"),
        (b"\n", False, "standard input ended without a sample"),
        (b"RIFF....WAVE", False, "standard input holds a sound file, raw 16-bit sound was expected"),
        (b"", True, "standard input is a terminal; pipe raw 16-bit mono sound into it"),
    ],
)
def test_pipes_without_sound(run: Any, monkeypatch: pytest.MonkeyPatch, sound: bytes, terminal: bool, line: str) -> None:
    piped(monkeypatch, sound, terminal=terminal)
    assert line in refused(run("live", "-"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("missing.wav",), "missing.wav: no such file"),
        (("--interval", 0, "x.wav"), "interval must be 0.1 to 60 seconds, got 0.0"),
        (("--longest", 99, "x.wav"), "longest must be 4 to 30 seconds"),
        (("--language", "xx", "x.wav"), "language 'xx' is not known"),
        (("--monitor", "port", "x.wav"), "port is no port; give --monitor 9400"),
        (("--monitor", "70000", "x.wav"), "70000 is no port"),
        (("--profile", "missing.json", "x.wav"), "missing.json: no profile can be read"),
        (("--picture", "x.txt", "x.wav"), "x.txt must end in .png"),
        (("--speed", -1, "x.wav"), "--speed"),
    ],
)
def test_bad_options(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, talk: Path, words: Any, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    if "xx" in words:
        words = [talk if one == "x.wav" else one for one in words]
    assert line in refused(run("live", *words))


def test_too_little_to_learn(run: Any, talk: Path, said: list[str], tmp_path: Path) -> None:
    code, out, err = run("live", "--speed", 0, "--learn", tmp_path / "good.json", talk)
    assert (code, out.splitlines()) == (2, said)
    assert "a profile needs at least 20 utterances, got 2" in err
    assert list(tmp_path.iterdir()) == []


def test_a_profile_is_learnt_and_drift_told(run: Any, talk: Path, said: list[str], tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    copies = []
    for number in range(11):
        copies.append(tmp_path / f"good{number:02}.wav")
        copies[-1].write_bytes(talk.read_bytes())
    code, out, err = run("live", "--speed", 0, "--learn", good, *copies)
    assert (code, out.splitlines()) == (0, said * 11)
    assert err == f"voxray: {good} was learnt from 22 utterances\n"
    noisy = tmp_path / "noisy.wav"
    sound = np.tile(soundfile.read(talk)[0], 3)
    soundfile.write(noisy, sound + np.random.default_rng(0).normal(0, 0.02, len(sound)), RATE)
    picture = tmp_path / "steps.png"
    code, _, err = run("live", "--speed", 0, "--profile", good, "--picture", picture, noisy)
    assert code == 0
    assert err.startswith("voxray: drift: ")
    assert "snr" in err
    assert picture.stat().st_size > 10_000
    code, _, err = run("live", "--speed", 0, "--profile", good, *copies[:3])
    assert (code, err) == (0, "")


def test_metrics_while_it_listens(run: Any, monkeypatch: pytest.MonkeyPatch, talk: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[str] = []
    show = command.lines

    def look(name: str, event: Any) -> None:
        show(name, event)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            seen.append(answer.read().decode())

    monkeypatch.setattr(command, "lines", look)
    code, _, err = run("live", "--speed", 0, "--json", "--monitor", port, talk)
    assert code == 0
    assert err == f"voxray: metrics: http://127.0.0.1:{port}/metrics\n"
    assert 'voxray_steps_total{kind="settled"} 2.0' in seen[-1]
    assert "voxray_live_lag_seconds 0.0" in seen[-1]


def test_the_first_interrupt_ends_with_the_final_text(talk: Path, said: list[str]) -> None:
    """A pipe that stays open: half a second after the last word nothing has ended, then comes Ctrl-C."""
    spoken = pcm(talk)[: -2 * round(0.75 * RATE)]
    process = subprocess.Popen(
        [sys.executable, "-m", "voxray", "live", "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(spoken)
        process.stdin.flush()
        events: list[dict[str, Any]] = []
        while not events or events[-1]["heard"] < len(spoken) / 2 / RATE - 0.7:
            events.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    finally:
        process.kill()
    events += [json.loads(line) for line in rest.decode().splitlines()]
    assert process.returncode == 0, err
    assert b"Traceback" not in err
    assert events[-1]["kind"] == "final"
    texts = [event["text"] for event in events if event["kind"] == "final"]
    assert len(texts) == 2
    assert texts[0] == said[0]


def test_no_microphone_library(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install 'voxray[live]'" in refused(run("live"))


class Speaker:
    """A ``sounddevice`` whose microphone says a file; at the end somebody presses Ctrl-C."""

    class PortAudioError(Exception):
        pass

    def __init__(self, sound: bytes, *, broken: bool = False, overflow: bool = False) -> None:
        self._sound, self._broken, self._overflow = sound, broken, overflow
        self.asked: dict[str, Any] = {}

    def RawInputStream(self, **asked: Any) -> Any:  # noqa: N802
        self.asked = asked
        if self._broken:
            raise self.PortAudioError("Error querying device -1\nmore")
        return self

    def __enter__(self) -> None:
        size = 2 * self.asked["blocksize"]
        for first in range(0, len(self._sound), size):
            self.asked["callback"](self._sound[first : first + size], size // 2, None, self._overflow and first == size)
        import threading

        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    def __exit__(self, *_: object) -> None:
        pass


def test_the_microphone(run: Any, monkeypatch: pytest.MonkeyPatch, talk: Path, said: list[str]) -> None:
    speaker = Speaker(pcm(talk))
    monkeypatch.setitem(sys.modules, "sounddevice", speaker)
    code, out, _ = run("live", "--microphone", "2")
    assert (code, out.splitlines()) == (0, said)
    assert (speaker.asked["device"], speaker.asked["samplerate"], speaker.asked["dtype"]) == (2, RATE, "int16")


def test_lost_sound_is_told(run: Any, monkeypatch: pytest.MonkeyPatch, talk: Path) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Speaker(pcm(talk), overflow=True))
    code, _, err = run("live")
    assert code == 0
    assert "some sound of the microphone was lost" in err


def test_a_microphone_that_is_not_there(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Speaker(b"", broken=True))
    assert "the microphone cannot be used (Error querying device -1); choose another" in refused(run("live"))


def test_on_a_terminal_the_partial_text_is_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(command.shutil, "get_terminal_size", lambda: os.terminal_size((11, 24)))
    screen = command.Screen()
    screen("x", voxray.LiveEvent("partial", 0, 0.0, 1.0, stable="he", unstable=" sa"))
    screen("x", voxray.LiveEvent("partial", 0, 0.0, 2.0, stable="今天天气很好", unstable="吗"))
    screen("x", voxray.LiveEvent("final", 0, 0.0, 2.0, stable="今天天气很好吗"))
    screen("x", voxray.LiveEvent("final", 1, 2.0, 3.0))
    clear, dim, plain = "\r\x1b[K", "\x1b[2m", "\x1b[0m"
    shown = [f"{clear}he{dim} sa{plain}", f"{clear}天气很好{dim}吗{plain}", f"{clear}今天天气很好吗\n", clear]
    assert capsys.readouterr().out in ("".join(shown), "".join(shown).replace(dim, "").replace(plain, ""))


@pytest.mark.parametrize(
    ("text", "room", "shown"), [("abc", 9, "abc"), ("abcdef", 3, "def"), ("你好吗", 5, "好吗"), ("abc", 0, "")]
)
def test_the_end_of_a_text_that_fits(text: str, room: int, shown: str) -> None:
    assert command.ending(text, room) == shown
    assert command.columns("ab你ô") == 5
