"""Clips made in processes of their own: many at once, each from a fresh engine, and a crash costs one clip only.

What the engine says depends on what it said before (its noise and flutter live in C statics that no call resets), and
it crashes on rare parameter sets. Both are met in one way: a worker starts the engine once, says nothing itself, and
forks a child for every sixteen clips. The child always finds the engine untouched, so the sixteen depend on their recipe,
seed and indices alone; and where it dies, its worker sees the stream of results end, and has the sixteen made again with
another draw of the clip that killed it. Those after it are the same words by the same voices then, in other noise.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np

from voxray.truespeech.clip import Clip, Recipe, make_clip
from voxray.truespeech.engine import engine, files
from voxray.truespeech.spoken import Rejected

Result = TypeVar("Result")
Made_co = TypeVar("Made_co", covariant=True)
ATTEMPTS = 5
GROUP = 16  # clips made by one child: a fork costs as much as two clips
AHEAD = 3  # groups asked of a worker before the first is fetched, so that none waits for us


class Job(Protocol[Made_co]):
    """What the workers do for each index. It must be picklable; the seed is named where it fails."""

    @property
    def seed(self) -> int:
        """What everything is drawn from."""

    def __call__(self, index: int, attempt: int = 0) -> Made_co:
        """Make the result of one index from the seed, the index and the attempt alone."""


@dataclass(frozen=True, slots=True)
class Work(Generic[Result]):
    """Clips of a recipe: draw the clip of ``recipe`` and ``seed``, and hand it to ``finish``.

    ``finish`` runs in the child, so that what travels between processes is its result only; it must be picklable.
    """

    recipe: Recipe
    seed: int
    finish: Callable[[Clip], Result]

    def __call__(self, index: int, attempt: int = 0) -> Result:
        """Make the result of one index; another attempt is another draw."""
        return self.finish(make_clip(engine(), self.recipe, np.random.default_rng([self.seed, index, attempt])))


def itself(clip: Clip) -> Clip:
    """Return the clip, for work that needs the clips themselves."""
    return clip


def clips(recipe: Recipe, seed: int, count: int, processes: int | None = None) -> Iterator[Clip]:
    """Make the first ``count`` clips of a recipe and seed, in order.

    Args:
        recipe: what to draw.
        seed: equal seeds give equal clips, byte for byte, whatever the number of processes. Another version of NumPy may
            round a sample otherwise, by less than a millionth; the truth stays.
        count: how many.
        processes: how many at once; all processors by default.
    """
    return make(Work(recipe, seed, itself), range(count), processes)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make(work: Job[Result], span: range, processes: int | None = None) -> Iterator[Result]:
    """Do the work of each index of ``span``, several at once, and return the results in order.

    Clips are made in groups of sixteen that begin at multiples of sixteen; a span that does not costs the whole groups.

    Raises:
        RuntimeError: if a clip crashes the engine, or is rejected, in five attempts; if its making or ``finish`` fails;
            if a worker dies.
        OptionError: if the engine is not installed.
    """
    files()  # a worker could only die of it
    context = get_context("spawn")  # a fork of this process would take its threads and its memory along
    workers = []
    groups = range(span.start // GROUP, -(-span.stop // GROUP))
    for _ in range(min(processes or processors(), len(groups))):
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, work), daemon=True)
        process.start()
        there.close()
        workers.append((process, here))
    try:
        for group, results in zip(groups, _in_order([connection for _, connection in workers], groups), strict=True):
            yield from (result for index, result in enumerate(results, group * GROUP) if index in span)
    except (EOFError, ConnectionError) as error:
        raise RuntimeError("a worker ended early: see its own message, or use fewer processes if memory ran out") from error
    finally:
        for process, connection in workers:
            connection.close()
            process.join(timeout=5)
            process.kill()


def _in_order(connections: list[Connection], groups: range) -> Iterator[list[Any]]:
    """Hand the groups out in turn and take the results back in the same turn."""
    queue: list[Connection] = []
    for place, group in enumerate(groups):
        connection = connections[place % len(connections)]
        if len(queue) == AHEAD * len(connections):
            yield _received(queue.pop(0))
        connection.send(group)
        queue.append(connection)
    for connection in queue:
        yield _received(connection)


def _received(connection: Connection) -> list[Any]:
    results = connection.recv()
    if isinstance(results, Exception):
        raise results
    return list(results)


def _serve(connection: Connection, work: Job[Any]) -> None:
    """Answer every group with its results or an error, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the other end: it closes the connection
    engine()
    while True:
        try:
            group = connection.recv()
            connection.send(_made(work, group))
        except (EOFError, ConnectionError):
            return


def _made(work: Job[Any], group: int) -> list[Any] | Exception:
    """Return the results of a group; a clip that ends the child is drawn anew, the others as they were."""
    attempts = [0] * GROUP
    while True:
        results = _in_child(work, group, attempts)
        if results and isinstance(results[-1], Exception):
            return results[-1]
        if len(results) == GROUP:
            return results
        attempts[len(results)] += 1
        if attempts[len(results)] == ATTEMPTS:
            index = group * GROUP + len(results)
            return RuntimeError(f"clip {index} of seed {work.seed} crashed the engine or was rejected {ATTEMPTS} times")


def _in_child(work: Job[Any], group: int, attempts: list[int]) -> list[Any]:
    """Return the results of a group up to the clip that ended the child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writer, "wb") as pipe:
                _write(pipe, work, group, attempts)
        finally:
            os._exit(0)  # the only way out: what follows belongs to the worker
    os.close(writer)
    results = []
    with os.fdopen(reader, "rb") as pipe:
        while True:
            try:
                results.append(pickle.load(pipe))  # noqa: S301 - from our own child
            except (EOFError, pickle.UnpicklingError):
                break
    os.waitpid(child, 0)
    return results


def _write(pipe: BinaryIO, work: Job[Any], group: int, attempts: list[int]) -> None:
    """Write the results of a group up to the first that is rejected, or that fails: then an error, for no draw mends that."""
    for index, attempt in enumerate(attempts, group * GROUP):
        try:
            data = pickle.dumps(work(index, attempt), protocol=5)
        except Rejected:
            return
        except Exception as error:
            pickle.dump(RuntimeError(f"clip {index} of seed {work.seed} failed: {error!r}"), pipe)
            return
        pipe.write(data)
        pipe.flush()
