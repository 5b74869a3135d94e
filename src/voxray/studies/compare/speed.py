"""How fast two models are and how much memory they take, each in a fresh process of its own, by turns on the same sounds.

By turns, because a machine gets slower and faster as others use it; in fresh processes, because memory once taken is not given
back, and because tensors that a trace has exposed slow a session down.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.api import load_model
from voxray.studies.workers import apart_from_script
from voxray.types import Audio, ModelError, OptionError, VoxrayError, plain

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


@dataclass(frozen=True, slots=True)
class Speed:
    """Time and memory of two models on the same sounds.

    Attributes:
        runs: of each model; those before the first count were left out.
        seconds: that each model spent on all of them.
        sound: seconds of sound in them.
        ratio: lower quartile, median and upper quartile of the first model's time over the second's, run by run: 2 says that the
            second is twice as fast.
        opening: seconds until each model was open.
        memory: the most that each process held, bytes; None where the system does not tell. It counts Python and its libraries.
        file: bytes of each model's files.
        threads: of each model; None for every core.
    """

    runs: int
    seconds: tuple[float, float]
    sound: float
    ratio: tuple[float, float, float]
    opening: tuple[float, float]
    memory: tuple[int, int] | None
    file: tuple[int, int]
    threads: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told


@dataclass(frozen=True, slots=True)
class Asked:
    """How the sounds are recognised."""

    language: str = "auto"
    textnorm: bool = False
    threads: int | None = None
    device: str = "auto"


def speed_of(
    models: Sequence[Any], audios: Sequence[Audio], asked: Asked, *, rounds: int = 3, step: Callable[[], None] | None = None
) -> Speed:
    """Time two models by turns.

    Args:
        models: both, open; each process opens its file anew.
        audios: the sounds.
        asked: how they are recognised.
        rounds: how often each sound is run, after a run that does not count.
        step: called after each round.

    Raises:
        OptionError: when there is nothing to run.
        ModelError: when a process ends before its time.
    """
    if not audios or rounds < 1:
        raise OptionError(f"timing needs a sound and a round, got {len(audios)} sounds and {rounds} rounds")
    with ExitStack() as stack:
        links = [stack.enter_context(closing(_started(model.graph.path, asked, stack))) for model in models]
        opening = [_answer(link) for link in links]
        for link in links:
            _timed(link, audios[0])
        pairs = []
        for number in range(rounds):
            for place, audio in enumerate(audios):
                order = (0, 1) if (number + place) % 2 == 0 else (1, 0)
                spent = {side: _timed(links[side], audio) for side in order}
                pairs.append((spent[0], spent[1]))
            if step is not None:
                step()
        memory = [_asked_for(link, None) for link in links]
    times = np.array(pairs, np.float64)
    low, middle, high = np.quantile(times[:, 0] / times[:, 1], (0.25, 0.5, 0.75)).tolist()
    return Speed(
        runs=len(pairs),
        seconds=(float(times[:, 0].sum()), float(times[:, 1].sum())),
        sound=rounds * sum(one.duration for one in audios),
        ratio=(low, middle, high),
        opening=(opening[0], opening[1]),
        memory=None if None in memory else (int(memory[0]), int(memory[1])),
        file=(_size(models[0]), _size(models[1])),
        threads=asked.threads,
    )


def _size(model: Any) -> int:
    """Return the bytes of a model's files; some are made of several graphs."""
    graphs = model.graphs
    return sum(path.stat().st_size for path in {path for graph in graphs for path in graph.files})


def _started(path: Path, asked: Asked, stack: ExitStack) -> Connection:
    """Start the process of a model; the stack ends it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, path, asked), daemon=True)
    resource_tracker.ensure_running()
    with apart_from_script():
        process.start()
    there.close()
    stack.callback(process.join)
    stack.callback(process.kill)
    return here


def _timed(link: Connection, audio: Audio) -> float:
    return float(_asked_for(link, audio))


def _asked_for(link: Connection, question: Audio | None) -> Any:
    with suppress(ConnectionError):  # its answer says why
        link.send(question)
    return _answer(link)


def _answer(link: Connection) -> Any:
    """Return what a process says.

    Raises:
        VoxrayError: as the process had it.
        ModelError: when it is gone.
    """
    try:
        told = link.recv()
    except (EOFError, ConnectionError):
        raise ModelError("the process that timed a model ended before its time; free some memory, or leave timing out") from None
    if isinstance(told, VoxrayError):
        raise told
    return told


def _serve(link: Connection, path: Path, asked: Asked) -> None:
    """Open a model, then time what comes; answer None with the most memory that was held."""
    try:
        began = time.perf_counter()
        model = load_model(path, threads=asked.threads, device=asked.device)
        link.send(time.perf_counter() - began)
        while True:
            audio = link.recv()
            if audio is None:
                link.send(peak_memory())
                continue
            began = time.perf_counter()
            model.transcribe(audio, asked.language, textnorm=asked.textnorm)
            link.send(time.perf_counter() - began)
    except VoxrayError as problem:
        link.send(problem)
    except (EOFError, ConnectionError):
        return


def peak_memory() -> int | None:
    """Return the most memory that this process has held, bytes; None where the system does not tell.

    **Source:** ``VmHWM`` of Linux (``proc(5)``): what ``getrusage`` tells there includes the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        if found is not None:
            return int(found[1]) << 10
    try:
        import resource
    except ImportError:  # Windows
        return None
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held << 10
