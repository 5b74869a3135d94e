"""The commands ``transcribe`` and ``trace``: what was said, and how the model came to each token."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import click

import voxray
from voxray.cli.files import distinct_names, each, expand, prepared, sound
from voxray.cli.options import instructing, opened, recognising
from voxray.cli.tables import printed, show, table


@click.command()
@recognising
@instructing
@click.option("--style", type=click.Choice(["plain", "rich", "raw"]), default="plain", show_default=True,
              help="Words only, with emoji for emotion and event, or with every tag.")  # fmt: skip
@click.option("--words", is_flag=True, help="One word a line: start, end [s], confidence, word.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file.")
def transcribe(sources: Sequence[str], style: str, words: bool, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Print the text of sound files."""
    if words and as_json:
        raise click.UsageError("--words and --json exclude each other; the JSON holds the words.")
    model = opened(how)
    several = len(expand(sources)) > 1

    def one(source: str, progress: Any) -> Callable[[], None]:
        result = model.transcribe(sound(source, how), how["language"], textnorm=how["textnorm"], progress=progress)
        name = f"{source}\t" if several else ""
        if as_json:
            lines = [json.dumps({"audio": source} | result.to_dict(), ensure_ascii=False)]
        elif words:
            lines = [f"{name}{w.start:.3f}\t{w.end:.3f}\t{w.confidence:.3f}\t{w.text}" for w in result.words]
        else:
            lines = [name + {"plain": result.text, "rich": result.rich_text, "raw": result.raw_text}[style]]
        return lambda: click.echo("".join(f"{line}\n" for line in lines), nl=False)

    return each(sources, one)


@click.command()
@recognising
@instructing
@click.option("--save", "folder", type=click.Path(), metavar="FOLDER", help="Keep each trace as NAME.trace.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file.")
def trace(sources: Sequence[str], folder: str | None, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Show tokens and tags in detail.

    Times, probabilities and what else was likely at each emission.
    """
    out = None if folder is None else prepared(folder)
    names = distinct_names(expand(sources))
    model = opened(how)

    def one(source: str, progress: Any) -> Callable[[], None]:
        found = model.trace(sound(source, how), how["language"], textnorm=how["textnorm"], progress=progress)
        if out is not None:
            found.save(out / f"{names[source]}.trace")
        if as_json:
            return lambda: click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return lambda: print_trace(found)

    return each(sources, one)


def print_trace(trace: voxray.Trace) -> None:
    """Print one trace for people."""
    title = trace.rich_text if len(trace.rich_text) <= 60 else f"{trace.rich_text[:59]}…"
    tags = table(f"{trace.audio.name} · {title or '(no words)'}", ">from s", ">to s", "tag", "label", ">p", "others", ">mass")
    tags.caption, tags.caption_justify = "p: among the labels of its kind; mass: what the row gives to all of them", "left"
    for tag in trace.tags:
        others = "  ".join(f"{name} {p:.3f}" for name, p in list(tag.probabilities.items())[1:4])
        span = (f"{tag.start:.2f}", f"{tag.end:.2f}")
        tags.add_row(*span, tag.kind, tag.label, f"{tag.probability:.3f}", others, f"{tag.mass:.3f}")
    tokens = table("", ">#", "token", ">start s", ">end s", ">p", "instead")
    for index, token in enumerate(trace.tokens):
        instead = [one for one in token.alternatives if one.id != token.id][:3]
        named = "  ".join(f"{printed(one, trace)} {math.exp(one.log_prob):.3f}" for one in instead)
        tokens.add_row(
            str(index),
            printed(token, trace),
            f"{token.start:.3f}",
            f"{token.end:.3f}",
            f"{token.confidence:.3f}",
            named,
        )
    show(tags, tokens)
