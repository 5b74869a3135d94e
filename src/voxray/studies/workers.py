"""Clips examined by processes of their own: each opens the model once, and one that dies costs the clip that it was at.

The parent alone writes results, so a worker needs no lock and can be killed at any moment. A worker is handed one clip at a time:
whoever is done gets the next, so long clips do not keep the others waiting.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from types import ModuleType
from typing import TYPE_CHECKING, Any

from voxray.manifest import Item
from voxray.types import ModelError, VoxrayError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

TICK = 0.5  # seconds without news after which the writer gets its turn

Examine = Callable[[Item], dict[str, Any]]
Prepare = Callable[["Job"], "tuple[dict[str, Any], Examine]"]
Check = Callable[[Mapping[str, Any]], None]
"""Called with what each worker says of its model; raises to stop the run."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker does.

    Attributes:
        model: an ``.onnx`` file, its folder, or an id as ``load_model`` takes it; None for the bundled model.
        threads: of each worker.
        inquiry: what is asked of every clip; anything that can be sent to another process.
        prepare: opens the model; returns what it is and the function that makes a clip's record.
        device: what the model runs on, as ``load_model`` takes it.
    """

    model: str | os.PathLike[str] | None
    threads: int
    inquiry: Any
    prepare: Prepare
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Line:
    """What became of a clip.

    Attributes:
        id: of the clip.
        text: its record as a line of JSON with a newline.
        problem: why it could not be examined; None where it was.
    """

    id: str
    text: bytes
    problem: str | None


Lines = Generator["Line | None", None, None]
"""Lines in the order in which they are done, and None when there was nothing for a while."""


class Worker:
    """What one process does; nothing here knows of other processes."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._examine: Examine | None = None

    def open(self) -> dict[str, Any] | VoxrayError:
        """Open the model; return what it is, or why it cannot be opened."""
        try:
            told, self._examine = self._job.prepare(self._job)
        except VoxrayError as problem:
            return problem
        return told

    def line(self, item: Item) -> Line:
        """Return the line of a clip, whatever happens to it."""
        if self._examine is None:
            raise RuntimeError("a worker must open its model first")
        try:
            return line_of(item, self._examine(item))
        except VoxrayError as problem:
            return line_of(item, {}, str(problem))
        except Exception as problem:
            first = (str(problem).splitlines() or [""])[0]
            return line_of(item, {}, f"{type(problem).__name__}: {first}; this is a fault in Voxray, please report it")


def line_of(item: Item, told: Mapping[str, Any], problem: str | None = None) -> Line:
    """Return the line of a clip.

    Args:
        item: the clip.
        told: its record, but for what the manifest says.
        problem: why there is no record.

    Raises:
        ValueError: when the record holds numbers that JSON does not, such as NaN.
    """
    known = {"id": item.id, "audio": item.written, "offset": item.offset, "groups": item.groups, "reference": item.reference}
    record = {**known, **told, "problem": problem}
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Line(item.id, text.encode("utf-8", "backslashreplace") + b"\n", problem)


def local(job: Job, items: Sequence[Item], processes: int, check: Check) -> Lines:
    """Examine clips on this machine.

    Args:
        job: what to do.
        items: the clips; with none, a model is opened for ``check`` all the same.
        processes: how many at once.
        check: called with what each worker says of its model.

    Yields:
        Lines in the order in which they are done, and None when there was nothing for a while.

    Raises:
        ModelError: when the model cannot be opened, or opening it ends the process.
        VoxrayError: what else stops a worker before its first clip.
    """
    waiting = deque(items)
    crew: list[_Hand] = []
    opened = False
    try:
        crew += [_hired(job) for _ in range(max(1, min(processes, len(waiting))))]
        while waiting or not opened or any(hand.item for hand in crew):
            told = connection.wait([hand.link for hand in crew], timeout=TICK)
            if not told:
                yield None
            for hand in [one for one in crew if one.link in told]:
                news = hand.news()
                if isinstance(news, VoxrayError):
                    raise news
                if news is None:
                    crew.remove(hand)
                    yield hand.lost()
                    crew += [_hired(job)] if waiting else []
                    continue
                if isinstance(news, Line):
                    yield news
                else:
                    check(news)
                    opened = True
                hand.give(waiting.popleft() if waiting else None)
    finally:
        for hand in crew:
            hand.end()


class _Hand:
    """A worker process as its parent sees it: at most one clip at a time, so neither side ever waits to send."""

    def __init__(self, process: SpawnProcess, link: Connection) -> None:
        self.process, self.link = process, link
        self.item: Item | None = None
        self._opened = False

    def give(self, item: Item | None) -> None:
        """Hand out a clip, or nothing."""
        self.item = item
        if item is not None:
            try:
                self.link.send(item)
            except ConnectionError:  # it died; the next news of it says so
                return

    def news(self) -> Line | Mapping[str, Any] | VoxrayError | None:
        """Return what the worker sent; None when it is dead."""
        try:
            sent: Line | Mapping[str, Any] | VoxrayError = self.link.recv()
        except (EOFError, ConnectionError):
            return None
        self._opened = True
        return sent

    def lost(self) -> Line | None:
        """Return the line of the clip that a dead worker was at.

        Raises:
            ModelError: when it did not even open the model.
        """
        self.process.join()
        how = _ending(self.process.exitcode)
        self.end()
        if not self._opened:
            raise ModelError(f"a worker process {how} before it had opened the model; use fewer processes if memory is short")
        if self.item is None:
            return None
        return line_of(self.item, {}, f"the process that examined it {how}; the other clips went on")

    def end(self) -> None:
        """Stop the process; it holds nothing that could be lost."""
        self.link.close()
        self.process.kill()
        self.process.join()
        self.process.close()


def _ending(code: int | None) -> str:
    """Return how a process ended."""
    if code is not None and code < 0:
        reason = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        return f"was killed by {reason}" + (" (out of memory?)" if reason == "SIGKILL" else "")
    return f"ended by itself with code {code}"


def _hired(job: Job) -> _Hand:
    """Start a worker."""
    context = multiprocessing.get_context("spawn")  # a fork would take the threads of this process along, but not running
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, job), daemon=True)
    resource_tracker.ensure_running()  # its own start would undo the blocking
    with apart_from_script():
        process.start()
    there.close()
    return _Hand(process, here)


@contextmanager
def apart_from_script() -> Iterator[None]:
    """Keep Ctrl-C and the user's script away from processes started meanwhile."""
    with _interrupts_kept_off(), _script_kept_out():
        yield


@contextmanager
def _interrupts_kept_off() -> Iterator[None]:
    """Keep Ctrl-C from processes started meanwhile: it is answered by their parent, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _script_kept_out() -> Iterator[None]:
    """Keep processes started meanwhile from running the user's script again.

    A spawned process imports the script that started it, which would start the work anew unless all of it stood under
    ``if __name__ == "__main__"``, and fails where the script came from standard input. Workers need nothing of it.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _serve(link: Connection, job: Job) -> None:
    """Open the model, then examine what comes until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(job)
    try:
        link.send(worker.open())
        while True:
            link.send(worker.line(link.recv()))
    except (EOFError, ConnectionError):
        return
