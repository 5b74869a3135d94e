"""The command ``attention``: pictures of where the model could look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.files import distinct_names, each, expand, prepared, sound
from voxray.cli.options import drawing, instructing, opened, options_of, recognising

KINDS = ("heatmap", "overlay", "heads", "posteriors", "tags")


@click.command()
@recognising
@instructing
@options_of(voxray.AttentionView)
@click.option("-k", "--kind", "kinds", type=click.Choice([*KINDS, "all"]), multiple=True, default=("heatmap",),
              show_default=True, help="Which pictures; may be given several times.")  # fmt: skip
@click.option("--word", type=int, help="Overlay: the attention of this word (0 is the first); default: all words.")
@click.option("-o", "--out", "folder", type=click.Path(), default=".", show_default=True, help="Folder for the pictures.")
@drawing
def attention(sources: Sequence[str], kinds: Sequence[str], word: int | None, folder: str, **how: Any) -> int:
    """Draw the model's attention.

    Writes NAME-KIND.png for each file; a long sound gives one picture for each piece.

    Attention shows where the model could look. It is a view, not an explanation.
    """
    out = prepared(folder)
    names = distinct_names(expand(sources))
    model = opened(how)
    view = voxray.AttentionView(**{one.name: how[one.name] for one in fields(voxray.AttentionView)})
    style = {"theme": how["theme"], "dpi": how["dpi"]}
    wanted = KINDS if "all" in kinds else tuple(dict.fromkeys(kinds))
    layers = None if view.layer is None or "heads" in wanted else [view.layer]
    if view.head is not None and not -model.heads <= view.head < model.heads:
        raise voxray.OptionError(f"head {view.head} does not exist: there are {model.heads} heads, 0 to {model.heads - 1}")

    def one(source: str, progress: Any) -> Callable[[], None]:
        found = model.trace(sound(source, how), how["language"], textnorm=how["textnorm"], layers=layers, progress=progress)
        parts = [found.piece(index) for index in range(len(found.pieces))]
        paths = []
        for kind in wanted:
            # Tags belong to pieces, and one picture shows them all over time; everything else is drawn piece by piece.
            for index, part in enumerate([found] if kind == "tags" else parts):
                number = f"-{index:03d}" if len(parts) > 1 and kind != "tags" else ""
                paths.append(out / f"{names[source]}{number}-{kind}.{how['ending']}")
                draw(part, kind, paths[-1], view, word, style)
        return lambda: click.echo("".join(f"{path}\n" for path in paths), nl=False)

    return each(sources, one)


def draw(trace: voxray.Trace, kind: str, path: Path, view: Any, word: int | None, style: dict[str, Any]) -> None:
    """Write one picture of a trace."""
    if kind == "heatmap":
        voxray.plot.attention(trace, view, path=path, **style)
    elif kind == "overlay":
        voxray.plot.overlay(trace, view, word=word, path=path, **style)
    else:
        getattr(voxray.plot, kind)(trace, path=path, **style)
