"""What visitors left and can fetch: sounds that came in, files that can be had; each under a random name, for its owner alone."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEPT = 3600.0  # s; then what nobody fetched is dropped
MOST = 4000  # things on the shelf, of all visitors together
MOST_OF_ONE = 400


@dataclass(frozen=True, slots=True)
class Thing:
    """Something on the shelf.

    Attributes:
        owner: who may have it.
        name: of the file, for a download; empty where it is shown in the page.
        media_type: as in HTTP.
        make: returns what it is, called each time that it is fetched.
        since: seconds of a clock that only runs forward.
    """

    owner: str
    name: str
    media_type: str
    make: Callable[[], Any]
    since: float


class Shelf:
    """A place for things with random names, shared by all threads of one server."""

    def __init__(self, *, kept: float = KEPT, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._kept, self._most, self._most_of_one = kept, most, most_of_one
        self._things: OrderedDict[str, Thing] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, owner: str, make: Callable[[], Any], *, name: str = "", media_type: str = "application/octet-stream") -> str:
        """Put something on the shelf and return its name; what is too old or too much leaves it."""
        token = secrets.token_urlsafe(32)
        now = time.monotonic()
        with self._lock:
            self._things[token] = Thing(owner, name, media_type, make, now)
            old = [key for key, thing in self._things.items() if now - thing.since > self._kept]
            own = [key for key, thing in self._things.items() if thing.owner == owner]
            for key in {*old, *own[: max(len(own) - self._most_of_one, 0)]}:
                self._things.pop(key, None)
            while len(self._things) > self._most:
                self._things.popitem(last=False)
        return token

    def find(self, owner: str, token: str) -> Thing | None:
        """Return what has that name if it belongs to the owner; else None, whether it exists or not."""
        with self._lock:
            thing = self._things.get(token)
        return thing if thing is not None and secrets.compare_digest(thing.owner, owner) else None

    def take(self, owner: str, token: str) -> Thing | None:
        """Return what has that name and take it off the shelf."""
        thing = self.find(owner, token)
        if thing is not None:
            with self._lock:
                self._things.pop(token, None)
        return thing

    def withdraw(self, tokens: list[str]) -> None:
        """Take things off the shelf."""
        with self._lock:
            for token in tokens:
                self._things.pop(token, None)

    def clear(self, owner: str) -> None:
        """Take everything of an owner off the shelf."""
        with self._lock:
            for token in [key for key, thing in self._things.items() if thing.owner == owner]:
                del self._things[token]

    def __len__(self) -> int:
        return len(self._things)
