"""Clips examined on a Ray cluster: the same workers as on one machine, as actors; the driver alone writes results.

Every node must see the sounds and the model under the same paths, and have Voxray installed. Without a cluster (``RAY_ADDRESS``, or
one that was started on this machine) Ray starts one here for the time of the run.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from voxray.manifest import Item
from voxray.studies.workers import TICK, Check, Job, Line, Lines, Worker, line_of
from voxray.types import ModelError, OptionError, VoxrayError


def distributed(job: Job, items: Sequence[Item], processes: int, check: Check) -> Lines:
    """Examine clips on a Ray cluster.

    Args:
        job: what to do; its threads are the processors that a worker reserves.
        items: the clips; with none, a model is opened for ``check`` all the same.
        processes: how many workers.
        check: called with what each worker says of its model.

    Yields:
        Lines in the order in which they are done, and None when there was nothing for a while.

    Raises:
        OptionError: when Ray is not installed.
        ModelError: when the model cannot be opened, or opening it ends the process.
    """
    try:
        import ray
    except ImportError:
        raise OptionError("the engine ray needs Ray; install it with: pip install 'voxray[ray]'") from None
    own = not ray.is_initialized()
    if own:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    hire = ray.remote(num_cpus=job.threads)(Worker).remote
    crew = _Crew(ray, lambda: hire(job), deque(items), check)
    try:
        yield from crew.work(max(1, min(processes, len(items))))
    finally:
        crew.end()
        if own:
            ray.shutdown()


class _Crew:
    """Actors, and what each was asked last: to open its model, or to examine a clip."""

    def __init__(self, ray: Any, hire: Callable[[], Any], waiting: deque[Item], check: Check) -> None:
        self._ray, self._hire, self._waiting, self._check = ray, hire, waiting, check
        self._asked: dict[Any, tuple[Any, Item | None]] = {}
        self._opened = False

    def work(self, count: int) -> Lines:
        """Yield the lines of all clips."""
        for _ in range(count):
            self._start()
        while self._waiting or not self._opened or any(item for _, item in self._asked.values()):
            ready, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=TICK)
            if not ready:
                yield None
            for answer in ready:
                yield self._news(answer)

    def end(self) -> None:
        """Stop the actors; they hold nothing that could be lost."""
        for actor, _ in self._asked.values():
            self._ray.kill(actor)

    def _start(self) -> None:
        actor = self._hire()
        self._asked[actor.open.remote()] = actor, None

    def _news(self, answer: Any) -> Line | None:
        """Take an answer, and hand its actor the next clip."""
        actor, item = self._asked.pop(answer)
        try:
            news: Line | Mapping[str, Any] | VoxrayError = self._ray.get(answer)
        except self._ray.exceptions.RayError as problem:
            return self._lost(item, type(problem).__name__)
        if isinstance(news, VoxrayError):
            raise news
        if not isinstance(news, Line):
            self._check(news)
            self._opened = True
        if self._waiting:
            following = self._waiting.popleft()
            self._asked[actor.line.remote(following)] = actor, following
        else:
            self._ray.kill(actor)
        return news if isinstance(news, Line) else None

    def _lost(self, item: Item | None, how: str) -> Line:
        """Return the line of the clip that a dead actor was at, and start another actor.

        Raises:
            ModelError: when it did not even open the model.
        """
        if item is None:
            raise ModelError(f"a Ray worker ended before it had opened the model ({how}); is Voxray installed on every node?")
        if self._waiting:
            self._start()
        return line_of(item, {}, f"the Ray worker that examined it ended ({how}); the other clips went on")
