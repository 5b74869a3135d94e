"""Sounds come in and results go out: names and patterns of files, one file after the other, folders to write to."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

import voxray

BAD_INPUT = 2  # exit code


def complain(error: Exception | str) -> None:
    """Print one line about a problem to standard error."""
    click.echo(f"voxray: {' '.join(str(error).split())}", err=True)


def sound(source: str, how: Mapping[str, Any]) -> voxray.Audio:
    """Read a sound file, or standard input for ``-``, as the options say."""
    try:
        given: Any = io.BytesIO(sys.stdin.buffer.read()) if source == "-" else source
        return voxray.load_audio(given, name="standard input" if source == "-" else None, allow_truncated=how["allow_truncated"])
    except voxray.AudioError as error:
        raise voxray.AudioError(str(error).replace("allow_truncated=True", "--allow-truncated")) from error


def expand(sources: Iterable[str]) -> list[str]:
    """Return the files that names and patterns stand for; a pattern that fits nothing stays as it is."""
    found: list[str] = []
    for source in sources:
        fitting = [] if Path(source).exists() else sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        found += fitting or [source]
    return list(dict.fromkeys(found))


def distinct_names(files: Sequence[str]) -> dict[str, str]:
    """Return a name for the results of each file: its own, with its ending and folders where others have the same."""
    forms: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: path.name,
        lambda path: "-".join(path.resolve().parts[1:]),
    )
    names = [[form(Path(file)) for file in files] for form in forms]
    unique = [dict(zip(files, column, strict=True)) for column in names if len(set(column)) == len(set(files))]
    return unique[0] if unique else dict(zip(files, names[-1], strict=True))


def each(sources: Sequence[str], work: Callable[[str, Any], Callable[[], None]]) -> int:
    """Do the work for every file and print what it returns; a bad file is named and the others go on. Returns the exit code."""
    files = expand(sources)
    failed = 0
    with progress_bars(len(files)) as (step, hidden):
        for source in files:
            try:
                with step(source) as progress:
                    tell = work(source, progress)
            except voxray.VoxrayError as error:
                tell = partial(complain, error)
                failed += 1
            with hidden():
                tell()
    if failed and len(files) > 1:
        click.echo(f"voxray: {failed} of {len(files)} files failed", err=True)
    return BAD_INPUT if failed else 0


@contextmanager
def progress_bars(files: int) -> Iterator[tuple[Any, Any]]:
    """Show the progress over files and within a long one, on a terminal only.

    Yields two context managers: one for the work on a file, which gives what to report progress to, and one that takes the bars
    away while something is printed.
    """
    if not sys.stderr.isatty():
        yield no_bars, nullcontext
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        overall = bars.add_task("files", total=files, visible=files > 1)

        @contextmanager
        def step(source: str) -> Iterator[Any]:
            task = bars.add_task(Path(source).name, total=1, visible=False)
            try:
                yield lambda done, total: bars.update(task, completed=done, total=total, visible=total > 1)
            finally:
                bars.remove_task(task)
                bars.advance(overall)

        @contextmanager
        def hidden() -> Iterator[None]:
            bars.stop()
            yield
            bars.start()

        yield step, hidden


def no_bars(_source: str) -> Any:
    """Return a context that does nothing: no terminal, no bars."""
    return nullcontext()


def prepared(folder: str) -> Path:
    """Return a folder that can be written to, made if it is not there.

    Raises:
        OutputError: when it cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise voxray.OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    if not os.access(path, os.W_OK):
        raise voxray.OutputError(f"the folder {folder} cannot be written to; choose another place")
    return path


def placed(where: str | None, endings: Sequence[str], count: int, ending: str) -> Callable[[str, str], Path] | None:
    """Return a function from a sound's name and what is shown of it to a path; None where nothing is to be written.

    Args:
        where: a file, known by its ending, or a folder.
        endings: of files.
        count: how many files there will be.
        ending: of the files in a folder.

    Raises:
        UsageError: when several files are to go into one.
        OutputError: when the folder cannot be made or written to.
    """
    if where is None:
        return None
    path = Path(where)
    if path.suffix.lower() in endings and not path.is_dir():
        if count > 1:
            raise click.UsageError(f"There is more than one result, but {where} is one file; give a folder, or ask for one thing.")
        prepared(str(path.parent))
        return lambda _name, _shown: path
    if path.suffix and not path.is_dir():
        raise click.UsageError(f"{where} is neither a folder nor a file that ends in {', '.join(endings)}.")
    folder = prepared(where)
    return lambda name, shown: folder / f"{name}-{shown}{ending}"
