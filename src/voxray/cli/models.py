"""The command ``models``: which models Voxray knows by name, and where this machine has them; and the option that names a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

import voxray


class ModelSource(click.ParamType[str]):
    """A path, an id on a hub, or a short name. What is not on this machine is fetched with a bar, before any work begins."""

    name = "model"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the value as it was given, once its files are on this machine."""
        if ctx is None or not ctx.resilient_parsing:  # a shell that completes words must fetch nothing
            find(value)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Offer files; the shell knows them better than Voxray does."""
        return click.Path().shell_complete(ctx, param, incomplete)


MODEL = ModelSource()


@click.command()
@click.option("--fetch", "source", metavar="MODEL", help="Fetch a model by name or id if it is not here, and print where it is.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def models(source: str | None, as_json: bool) -> None:  # noqa: FBT001
    """List the models with a short name, their sizes, and where this machine has them.

    \b
    voxray models                                    what there is
    voxray models --fetch sensevoice-small:int8      bring one here
    voxray trace clip.wav -m sensevoice-small:int8   use one; it is fetched if need be
    voxray trace clip.wav -m hf:owner/name@revision  any other, as it was at one moment

    Nothing is fetched unless its name or id is given.
    """
    if source is not None:
        paths = [str(path) for path in find(source)]
        click.echo(json.dumps({"source": source, "files": paths}, ensure_ascii=False) if as_json else "\n".join(paths))
        return
    known = voxray.known_models()
    if as_json:
        click.echo(json.dumps({"models": [asdict(one) for one in known]}, ensure_ascii=False))
        return
    print_models(known)


def find(source: str) -> tuple[Any, ...]:
    """Return the files of a model, fetched with a bar if they are not here."""
    with bar(source) as progress:
        return voxray.find_model(source, progress=progress)


@contextmanager
def bar(name: str) -> Iterator[Any]:
    """Show how much of a model has arrived, on a terminal only; gives what to report it to."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=True)


def print_models(known: Any) -> None:
    """Print models: names and ids are too long for a table."""
    for one in known:
        click.echo(f"{one.alias:<29} {one.source}" if one.alias else one.source)
        sizes = ", ".join(f"{name} {megabytes(size)}" for name, size in one.sizes.items())
        facts = [sizes, f"licence {one.licence}" if one.licence else "", one.note]
        for line in (", ".join(fact for fact in facts if fact), *(there(*place) for place in one.held)):
            if line:
                click.echo(f"    {line}")
    click.echo("A name or id works as --model. Sizes and licences that are not told here are on the hub's page.")


def there(where: str, folder: str, files: Mapping[str, int]) -> str:
    """Return where a model is on this machine."""
    return f"here: {', '.join(f'{name} {megabytes(size)}' for name, size in files.items())}, in {where}: {folder}"


def megabytes(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / 1e6:.{int(size < 1e7)}f} MB"
