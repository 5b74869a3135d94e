"""The command ``live``: what is said while it is said, from a microphone, a file at its own speed, or a pipe of raw sound."""

from __future__ import annotations

import json
import queue
import shutil
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import voxray
from voxray.cli.files import expand, sound
from voxray.cli.options import opened, recognising

RATE = 16_000
CHUNK = 0.1  # s of sound at a time
WAITING = 600.0  # s of sound that may wait to be recognised before its source has to wait too
PATIENCE = 0.2  # s between looks at whether to stop
PICTURES, FILMS = (".png", ".svg", ".pdf"), (".gif", ".mp4")

Chunks = Iterator[Any]
"""Bytes of 16-bit sound or arrays, and None when there was nothing for a while."""


@click.command()
@partial(recognising, required=False)
@click.option("--interval", type=float, default=0.5, show_default=True, help="Seconds of sound between partial texts.")
@click.option("--silence", type=float, default=0.5, show_default=True, help="Seconds of pause that end an utterance.")
@click.option("--longest", type=float, default=20.0, show_default=True, help="Seconds that an utterance lasts at most.")
@click.option("--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Of files; 0 for as fast as possible.")
@click.option("--rate", type=click.IntRange(min=1), default=RATE, show_default=True, help="Of raw sound from standard input, Hz.")
@click.option("--microphone", "input_device", metavar="NAME", help="Which microphone: its number or a part of its name.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for everything that happens.")
@click.option("--profile", type=click.Path(dir_okay=False), metavar="FILE", help="Tell when attention drifts from this profile.")
@click.option(
    "--learn", type=click.Path(dir_okay=False), metavar="FILE", help="Write a profile of what was heard: good sound only."
)
@click.option(
    "--monitor", "address", metavar="[HOST:]PORT", help="Serve metrics for Prometheus, on this machine unless HOST is given."
)
@click.option(
    "--picture", type=click.Path(dir_okay=False), metavar="FILE", help="At the end draw the last ten steps: PNG, GIF or MP4."
)
def live(sources: Sequence[str], as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Recognise sound while it comes in.

    \b
    voxray live                                      the microphone
    voxray live talk.wav                             a file at its own speed
    voxray live --speed 0 --learn good.json *.wav    a profile of good sound
    voxray live --profile good.json --monitor 9400   watch for drift, with metrics
    ffmpeg -i URL -f s16le -ar 16000 -ac 1 - | voxray live -

    On a terminal the text that may still change is dim. Elsewhere each utterance is one line. Ctrl-C ends with the final text.
    """
    session = prepared(as_json, how)
    names = expand(sources) or ["microphone"]
    with stopping() as stop:
        for name in names:
            if not stop.is_set():
                listen(session, name, how, stop)
    session.close(how)
    return 0


@dataclass
class Session:
    """What lasts from source to source."""

    model: Any
    options: voxray.LiveOptions
    monitor: voxray.AttentionMonitor
    show: Callable[[str, voxray.LiveEvent], None]
    metrics: Any = None
    settled: list[Any] = field(default_factory=list)
    alarmed: bool = False

    def tell(self, name: str, event: voxray.LiveEvent) -> None:
        """Show an event, and say what should not be missed."""
        if self.metrics is not None:
            self.metrics.live(event)
        self.show(name, event)
        if event.kind == "behind":
            notice(f"{event.lag:.1f} s behind: partial texts are left out until it has caught up")
        if event.kind == "caught up":
            notice(f"caught up; {event.skipped} partial texts were left out so far")
        drift = event.step.drift if event.step is not None else None
        if drift is not None and drift.alarm != self.alarmed:
            self.alarmed = drift.alarm
            notice(f"drift: {drift}" if drift.alarm else "drift is over")

    def close(self, how: dict[str, Any]) -> None:
        """Write what was asked for at the end."""
        if how["learn"] is not None:
            profile = voxray.Profile.of(self.settled, name=self.model.name)
            notice(f"{profile.save(how['learn'])} was learnt from {profile.count} utterances")
        if how["picture"] is not None:
            draw = self.monitor.animate if Path(how["picture"]).suffix.lower() in FILMS else self.monitor.draw
            draw(how["picture"])


def prepared(as_json: bool, how: dict[str, Any]) -> Session:  # noqa: FBT001
    """Return a session, after everything that can be wrong with the options was told."""
    names = ("language", "textnorm", "interval", "silence", "longest")
    options = voxray.LiveOptions(**{name: how[name] for name in names}, window=min(10.0, how["longest"]))
    if how["picture"] is not None and Path(how["picture"]).suffix.lower() not in (*PICTURES, *FILMS):
        raise click.UsageError(f"{how['picture']} must end in {', '.join((*PICTURES, *FILMS))}.")
    where = None if how["address"] is None else place(how["address"])
    profile = None if how["profile"] is None else voxray.Profile.load(how["profile"])
    model = opened({**how, "threads": how["threads"] or 1})  # more threads wait for each other on so little work
    monitor = voxray.AttentionMonitor(profile=profile)
    session = Session(model, options, monitor, lines if as_json else Screen())
    if how["learn"] is not None:
        empty = np.zeros((0, 0), np.float32)
        monitor.subscribe(lambda step: session.settled.append(replace(step, thumbnail=empty)) if step.settled else None)
    if where is not None:
        session.metrics = voxray.Metrics()
        monitor.subscribe(session.metrics)
        session.metrics.serve(where[1], where[0])
        notice(f"metrics: http://{where[0]}:{where[1]}/metrics")
    return session


def place(address: str) -> tuple[str, int]:
    """Return host and port of an address."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise click.UsageError(f"{address} is no port; give --monitor 9400 or --monitor HOST:9400.")
    return host.strip("[]") or "127.0.0.1", int(port)


def listen(session: Session, name: str, how: dict[str, Any], stop: threading.Event) -> None:
    """Recognise one source to its end, or until it is to stop."""
    chunks, rate, clock = source(name, how, stop)
    recogniser = voxray.LiveRecogniser(session.model, session.options, monitor=session.monitor, clock=clock)
    try:
        for chunk in chunks:
            if stop.is_set():
                break
            for event in recogniser.feed(chunk, rate) if chunk is not None else ():
                session.tell(name, event)
    finally:
        for event in recogniser.finish():
            session.tell(name, event)


# --- Sources -----------------------------------------------------------------------------------------------------------


def source(name: str, how: dict[str, Any], stop: threading.Event) -> tuple[Chunks, int, Callable[[], float] | None]:
    """Return the chunks of a source, their rate in Hz, and the clock by which they come."""
    if name == "-":
        return piped(sys.stdin.buffer, stop), how["rate"], time.monotonic
    if name == "microphone" and not Path(name).exists():
        return microphone(how["input_device"], stop), RATE, time.monotonic
    speed = how["speed"]
    return played(sound(name, how), speed, stop), RATE, (lambda: time.monotonic() * speed) if speed else None


def played(audio: voxray.Audio, speed: float, stop: threading.Event) -> Chunks:
    """Yield a sound as it would be heard, each chunk when it has ended."""
    started, size = time.monotonic(), round(CHUNK * audio.sample_rate)
    for first in range(0, len(audio.samples), size):
        chunk = audio.samples[first : first + size]
        if speed:
            stop.wait(max(started + (first + len(chunk)) / audio.sample_rate / speed - time.monotonic(), 0.0))
        yield chunk


def piped(stream: Any, stop: threading.Event) -> Chunks:
    """Yield raw 16-bit sound from a pipe; it is read by a thread of its own, so that its writer never waits for recognition.

    Raises:
        AudioError: when it is a terminal, holds a sound file, or nothing.
    """
    if stream.isatty():
        raise voxray.AudioError("standard input is a terminal; pipe raw 16-bit mono sound into it, or name a file")
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=round(WAITING / CHUNK))
    threading.Thread(target=_read, args=(stream, waiting), daemon=True).start()
    whole = 0
    for chunk in _taken(waiting, stop):
        if not whole and chunk is not None and chunk[:4] in (b"RIFF", b"fLaC", b"OggS"):
            raise voxray.AudioError(
                "standard input holds a sound file, raw 16-bit sound was expected; give the file's name instead"
            )
        whole += len(chunk or b"")
        yield chunk
    if whole < 2 and not stop.is_set():
        raise voxray.AudioError("standard input ended without a sample; check the command that writes into the pipe")


def _read(stream: Any, waiting: queue.Queue[bytes | None]) -> None:
    """Put what comes out of a pipe into a queue, and None at its end."""
    while chunk := stream.read1(round(CHUNK * RATE * 2)):
        waiting.put(chunk)
    waiting.put(None)


def _taken(waiting: queue.Queue[bytes | None], stop: threading.Event) -> Iterator[bytes | None]:
    """Yield what comes into a queue until None does, and None when there is nothing for a while."""
    while not stop.is_set():
        try:
            chunk = waiting.get(timeout=PATIENCE)
        except queue.Empty:
            yield None
            continue
        if chunk is None:
            return
        yield chunk


def microphone(device: str | None, stop: threading.Event) -> Chunks:
    """Yield what a microphone hears.

    Raises:
        OptionError: when ``sounddevice`` or PortAudio is not installed, or there is no such microphone.
    """
    try:
        import sounddevice
    except ImportError:
        raise voxray.OptionError("the microphone needs sounddevice; install it with: pip install 'voxray[live]'") from None
    except OSError as error:
        raise voxray.OptionError(
            "the microphone needs PortAudio, which is not here; install libportaudio2, or pipe sound into 'voxray live -'"
        ) from error
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=round(WAITING / CHUNK))
    lost = threading.Event()

    def heard(sound: Any, _frames: int, _times: Any, status: Any) -> None:
        if status or waiting.full():
            lost.set()
        else:
            waiting.put_nowait(bytes(sound))

    wanted = int(device) if device is not None and device.isdecimal() else device
    options: dict[str, Any] = {"samplerate": RATE, "channels": 1, "dtype": "int16", "blocksize": round(CHUNK * RATE)}
    try:
        with sounddevice.RawInputStream(device=wanted, callback=heard, **options):
            for chunk in _taken(waiting, stop):
                if lost.is_set():
                    lost.clear()
                    notice("some sound of the microphone was lost: this machine was too busy")
                yield chunk
    except (sounddevice.PortAudioError, ValueError) as error:
        raise voxray.OptionError(
            f"the microphone cannot be used ({str(error).splitlines()[0]}); choose another with --microphone"
        ) from error


# --- Showing -----------------------------------------------------------------------------------------------------------


def lines(name: str, event: voxray.LiveEvent) -> None:
    """Print an event as one line of JSON, at once."""
    click.echo(json.dumps({"source": name} | event.to_dict(), ensure_ascii=False))
    sys.stdout.flush()


class Screen:
    """Prints final texts as lines; on a terminal the partial text stands below them and is written over."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()

    def __call__(self, _name: str, event: voxray.LiveEvent) -> None:
        """Show an event."""
        if self._terminal and event.kind in ("partial", "final"):
            click.echo("\r\x1b[K", nl=False)
        if event.kind == "final" and event.text:
            click.echo(event.text)
        if event.kind == "partial" and self._terminal:
            room = shutil.get_terminal_size().columns - 1
            unstable = ending(event.unstable, room)
            click.echo(ending(event.stable, room - columns(unstable)) + click.style(unstable, dim=True), nl=False)
        sys.stdout.flush()


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a letter of Chinese, Japanese or Korean."""
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def ending(text: str, room: int) -> str:
    """Return as much of the end of a text as there is room for."""
    first = len(text)
    while first and columns(text[first - 1 :]) <= room:
        first -= 1
    return text[first:]


def notice(text: str) -> None:
    """Print a line to standard error; on a terminal over the partial text, which comes again."""
    click.echo(("\r\x1b[K" if sys.stdout.isatty() and sys.stderr.isatty() else "") + f"voxray: {text}", err=True)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Give an event that is set by the first Ctrl-C or a request to end; a second Ctrl-C interrupts at once."""
    stop = threading.Event()

    def ask(number: int, _frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    main = threading.current_thread() is threading.main_thread()
    kept = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield stop
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
