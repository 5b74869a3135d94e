"""The command ``quality``: how good an alignment is, with and without the true times, and what each head is worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.files import each, sound
from voxray.cli.options import opened, options_of, recognising
from voxray.cli.tables import show, table

SHOWN = 12  # heads of the atlas that are printed; JSON has all


@click.command()
@recognising
@options_of(voxray.AttentionView)
@click.option("--method", metavar="NAME", help="Judge the maps of this way to explain in place of attention, such as exact.")
@click.option("--times", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="The true words: JSON, TextGrid or CTM; of JSON and CTM those of each file's name.")  # fmt: skip
@click.option("--heads", is_flag=True, help="Say what each head is worth, over all FILES.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file, and one of the heads.")
def quality(sources: Sequence[str], as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Judge how good an alignment is.

    \b
    voxray quality clip.wav                               attention: its order, its focus, how far from the emissions
    voxray quality clip.wav --layer 5 --head 0            one head
    voxray quality clip.wav --method exact                relevance instead of attention
    voxray quality clip.wav --times clip.TextGrid         the times of words against the true ones
    voxray quality clips/*.wav --heads                    which heads align, look nearby, or sit on the prompts

    Figures without true times cannot prove a map right: a ramp from corner to corner has good ones whatever was said.
    """
    model = opened(how)
    view = voxray.AttentionView(**{one.name: how[one.name] for one in fields(voxray.AttentionView)})
    known = voxray.read_times(how["times"]) if how["times"] else {}
    if known and "" not in known and not any(Path(source).stem in known for source in sources):
        raise voxray.OptionError(
            f"{how['times']} has no words of {Path(sources[0]).stem}; it has {', '.join(list(known)[:5])}; name the sounds alike"
        )

    def one(source: str, progress: Any) -> Callable[[], None]:
        heard = model.trace(sound(source, how), how["language"], textnorm=how["textnorm"], progress=progress)
        words = known.get(Path(source).stem, known.get("", ()))
        found = voxray.quality(heard, view, words=words, method=how["method"], model=model)
        if as_json:
            return lambda: click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return lambda: print_quality(found)

    status = each(sources, one)
    if how["heads"]:
        atlas = voxray.head_atlas(model, [sound(source, how) for source in sources], language=how["language"])
        if as_json:
            click.echo(json.dumps({"heads": [asdict(head) for head in atlas]}, ensure_ascii=False))
        else:
            print_heads(atlas)
    return status


def print_quality(found: Any) -> None:
    """Print the figures of one sound."""
    figures = table(f"{found.audio}: {found.view}", "", ">", ">by chance", "", "asks")
    for name, looks in voxray.QUALITY_FIGURES.items():
        mark = "" if looks.recommended else " *"
        figures.add_row(name + mark, _number(found.figures[name]), _number(found.chance[name]), looks.better, looks.asks)
    figures.caption = "* a wrong map can have as good a figure; by chance: a map without knowledge"
    figures.caption_justify = "left"
    parts = [figures]
    if found.spoken:
        edges = table("Words against the true times", "", ">mean", ">median", ">bias", ">20 ms", ">50 ms", ">100 ms", ">200 ms")
        for name in ("start", "end") if found.boundaries else ():
            edge = getattr(found.boundaries, name)
            edges.add_row(name, *(f"{1000 * value:.0f} ms" for value in (edge.mean, edge.median)), f"{1000 * edge.bias:+.0f} ms",
                          *(f"{share:.0%}" for share in edge.within))  # fmt: skip
        count = found.boundaries.units if found.boundaries else 0
        edges.caption, edges.caption_justify = f"{count} of {found.spoken} words came out right and are compared", "left"
        parts.append(edges)
    show(*parts)


def print_heads(atlas: Sequence[Any]) -> None:
    """Print the heads that point best."""
    columns = (">layer", ">head", "role", ">pointing", ">spread", ">agreement", ">order", ">prompts", ">silence")
    heads = table("Heads as alignments, best first", *columns)
    for one in atlas[:SHOWN]:
        role = (one.role or "") + ("" if one.stable or one.stable is None else " (not stable)")
        heads.add_row(str(one.layer), str(one.head), role, _number(one.pointing), _number(one.spread), _number(one.agreement),
                      _number(one.order), _number(one.prompts), _number(one.leakage))  # fmt: skip
    if len(atlas) > SHOWN:
        heads.caption, heads.caption_justify = f"{SHOWN} of {len(atlas)} heads; --json has all", "left"
    show(heads)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
