"""The folder of a run: one line a clip in ``results.jsonl``, kept whole through kills, and what the run was in ``run.json``.

One process writes. It holds the lock of the results file itself, so that the lock ends with the process, however that ends. A line
goes out in one write with its newline; what a kill or a full disk leaves of a line is cut off when the folder is opened again. So a
line that is there is whole, and a clip without a line was not done.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from voxray.storage import whole_file
from voxray.types import OptionError, OutputError, shortened

RUN, RESULTS, SUMMARY, REPORT = "run.json", "results.jsonl", "summary.json", "report.html"
SYNC_EVERY = 1.0  # seconds; at most so much work is lost with the power
BLOCK = 1 << 20
SAME = ("format", "manifest.sha256", "model.", "inquiry.")  # beginnings of what must agree in run.json before a run goes on


class RunFolder:
    """A run that is being written; a context manager.

    Attributes:
        path: the folder.
        done: ids of the clips whose lines are there.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the folder, lock it, and cut off a half line.

        Raises:
            OptionError: when another process writes it, or a line of its results is damaged.
            OutputError: when it cannot be written to.
        """
        self.path, self.done = path, set[str]()
        self._clock, self._dirty, self._synced = time.monotonic, False, 0.0
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path / RESULTS, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as problem:
            raise _unwritable(path, problem) from None
        try:
            if not _locked(self._file):
                raise OptionError(f"another process is writing {path}; wait for it, or give another folder")  # noqa: TRY301
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()
        os.close(self._file)

    def begin(self, about: Mapping[str, Any], *, restart: bool = False) -> None:
        """Say what this run is, or check that it is the one that the folder holds.

        Args:
            about: what ``run.json`` shall hold.
            restart: throw away what another run left.

        Raises:
            OptionError: when the folder holds a run of another model, manifest or options.
        """
        told = self._told()
        if restart:
            os.ftruncate(self._file, 0)
            self.done = set()
            for name in (RUN, SUMMARY, REPORT):
                (self.path / name).unlink(missing_ok=True)
        elif told is None and self.done:
            raise OptionError(f"{self.path} holds results but no readable {RUN}; give another folder, or restart (--restart)")
        elif told is not None:
            self._compare(told, about)
            return
        self.write(RUN, about)

    def append(self, line: bytes) -> None:
        """Write the line of a clip, newline included.

        Raises:
            OutputError: when it does not fit; nothing of it is left then.
        """
        begins = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, "No space left on device")  # noqa: TRY301 - as the next write would say
        except OSError as problem:
            os.ftruncate(self._file, begins)
            raise _unwritable(self.path, problem) from None
        self._dirty = True
        if self._clock() - self._synced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Have the disk keep what was written."""
        if self._dirty:
            os.fsync(self._file)
        self._dirty, self._synced = False, self._clock()

    def write(self, name: str, told: Mapping[str, Any]) -> None:
        """Write a JSON file of the folder, whole or not at all.

        Raises:
            OutputError: when it cannot be written.
        """
        try:
            with whole_file(self.path / name) as stream:
                stream.write(json.dumps(told, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace") + b"\n")
        except OSError as problem:
            raise _unwritable(self.path, problem) from None

    def _read(self) -> None:
        """Learn which clips are done, and cut off what no newline ends."""
        end = 0
        for number, line in enumerate(_lines(lambda: os.read(self._file, BLOCK)), 1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            done = _id(line)
            if done is None or done in self.done:
                what = "is damaged" if done is None else f"repeats the clip {done!r}"
                raise OptionError(f"line {number} of {self.path / RESULTS} {what}; remove the line, or restart (--restart)")
            self.done.add(done)
        if os.fstat(self._file).st_size > end:
            os.ftruncate(self._file, end)

    def _told(self) -> dict[str, Any] | None:
        """Return what the run there says of itself; None where none does."""
        try:
            told = json.loads((self.path / RUN).read_bytes())
        except (OSError, ValueError):
            return None
        return told if isinstance(told, dict) else None

    def _compare(self, told: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Refuse to mix two runs."""
        old, new = (dict(_flat(one)) for one in (told, json.loads(json.dumps(about))))
        for name in sorted({*old, *new}):
            if name.startswith(SAME) and old.get(name) != new.get(name):
                was, now = (shortened(json.dumps(one.get(name), ensure_ascii=False)) for one in (old, new))
                raise OptionError(
                    f"{self.path} holds a run with {name} {was}, now it is {now}; give another folder, or restart (--restart)"
                )


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run says of itself.

    Raises:
        OptionError: when the folder holds no run.
    """
    try:
        told = json.loads((folder / RUN).read_bytes())
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict) or not (folder / RESULTS).is_file():
        raise OptionError(f"{folder} holds no run; give a folder that 'voxray evaluate' wrote")
    return told


def read_records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a run in the order in which they were done; a half line at the end is left out.

    Raises:
        OptionError: when the folder holds no run, or a line is damaged.
    """
    try:
        stream = (folder / RESULTS).open("rb")
    except OSError:
        raise OptionError(f"{folder} holds no {RESULTS}; give a folder that 'voxray evaluate' wrote") from None
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                raise OptionError(f"line {number} of {folder / RESULTS} is damaged; remove the line") from None
            yield record


def _lines(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Cut blocks into lines; the last may lack its newline."""
    rest = b""
    while block := read():
        *whole, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def _id(line: bytes) -> str | None:
    """Return which clip a line is of; None where it is no record."""
    try:
        found = json.loads(line)["id"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None


def _flat(told: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every inner value with its path, such as ``model.sha256``."""
    if isinstance(told, Mapping):
        for key in sorted(told):
            yield from _flat(told[key], f"{name}.{key}" if name else key)
    else:
        yield name, told


def _unwritable(path: Path, problem: OSError) -> OutputError:
    return OutputError(f"the run {path} cannot be written ({problem.strerror}); free some space or give another folder")


def _locked(file: int) -> bool:
    """Lock an open file for this process until it ends; tell whether nobody else holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, 1 << 40, os.SEEK_SET)  # far behind the end, so that others may still read the lines
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
