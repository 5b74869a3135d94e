"""Decodes uploads in a process of their own, so that no file, however made, can harm the server.

The process gets the bytes on standard input and writes mono samples of 16 kHz to standard output. Before it looks at them it gives
up the right to open anything (files, sockets: playlists name both), to write files, and to take more than some memory and some
seconds. It is killed when it takes longer, and what it writes beyond the limit is never read.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
import unicodedata
from typing import IO

import numpy as np
import numpy.typing as npt

import voxray
from voxray.app import Options

RATE = 16000
MEMORY = 3 << 30  # bytes of address space, libraries included
SECONDS = 30  # of processor time
WAIT = 60.0  # s of the clock, on a busy machine
AT_ONCE = threading.BoundedSemaphore(2)  # decoders; the others wait
LONGEST_NAME = 80
UNSAFE = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def shown_name(name: str) -> str:
    """Return the last part of a file's name as one line of text, cut to a length; it is shown, and never used as a path."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join(letter for letter in last if unicodedata.category(letter) not in UNSAFE).strip()
    return plain[:LONGEST_NAME] or "sound"


def decoded(content: bytes, name: str, options: Options) -> voxray.Audio:
    """Return the sound of a file's bytes, mono at 16 kHz.

    Raises:
        AudioError: when it is too large, too long, or no sound.
    """
    label = shown_name(name)
    if len(content) > options.max_bytes:
        raise voxray.AudioError(f"{label}: the file is larger than {options.max_megabytes:g} MB; send a shorter sound")
    if not content:
        raise voxray.AudioError(f"{label}: the file is empty (0 bytes); record or copy it again")
    most = int(options.max_seconds * RATE)
    with AT_ONCE:
        code, samples, told = _decoder(content, most)
    if len(samples) > most:
        raise voxray.AudioError(f"{label}: the sound is longer than {options.max_seconds:g} s; send a part of it")
    if code != 0:
        raise voxray.AudioError(f"{label}: {told or 'cannot be decoded; record or copy it again'}")
    return voxray.Audio(np.array(samples), RATE, label)


def _decoder(content: bytes, most: int) -> tuple[int, npt.NDArray[np.float32], str]:
    """Run the process; return its exit code, at most one sample more than allowed, and what it said of the sound."""
    command = [sys.executable, "-m", "voxray.app.decoding", str(most)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:  # noqa: S603
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        late = threading.Timer(WAIT, child.kill)
        late.start()
        feeder = threading.Thread(target=_feed, args=(child.stdin, content), daemon=True)
        feeder.start()
        try:
            raw = child.stdout.read(4 * (most + 1))
            told = child.stderr.read(4000) if len(raw) <= 4 * most else b""
        finally:
            late.cancel()
            if child.poll() is None and len(raw) > 4 * most:
                child.kill()
        code = child.wait()
        feeder.join()
    line = next((one for one in told.decode("utf-8", "replace").split("\n") if one.startswith("sound: ")), "")
    return code, np.frombuffer(raw[: len(raw) // 4 * 4], np.float32), line.removeprefix("sound: ")


def _feed(pipe: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError), pipe as stream:  # a decoder that has seen enough takes no more
        stream.write(content)


# --- In the process -------------------------------------------------------------------------------------------------------


def _confined() -> None:
    """Give up every right that decoding bytes does not need; everything that is needed has been loaded before."""
    try:
        import resource
    except ImportError:  # not on Windows: there the time limit of the parent remains
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))  # no descriptor is free any more


def _warm() -> None:
    """Load every library that decoding may need, by decoding something."""
    import av
    import soundfile

    tone = io.BytesIO()
    soundfile.write(tone, np.zeros(800, np.float32), 8000, format="WAV")
    voxray.load_audio(tone.getvalue())
    with av.open(io.BytesIO(tone.getvalue())) as container:
        next(container.decode(audio=0))


def main() -> int:
    """Decode standard input; returns the exit code."""
    most = int(sys.argv[1])
    content = sys.stdin.buffer.read()
    _warm()
    _confined()
    try:
        info = voxray.probe_audio(content)
        if info.duration is not None and info.duration > most / RATE:
            sys.stdout.buffer.write(bytes(4 * (most + 1)))  # too long, says the header; the parent says so
            return 0
        samples = voxray.load_audio(content, RATE, name="sound").samples
    except voxray.VoxrayError as error:
        line = " ".join(str(error).split()).replace("allow_truncated=True", "the command line's --allow-truncated")
        sys.stderr.write("sound: " + line.removeprefix("audio: ").removeprefix("sound: ") + "\n")
        return 2
    except MemoryError:
        sys.stdout.buffer.write(bytes(4 * (most + 1)))
        return 0
    sys.stdout.buffer.write(samples[: most + 1].astype("<f4").tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
