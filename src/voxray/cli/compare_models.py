"""The command ``compare-models``: two model files on the same clips, with gates for releases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.evaluate import GATE_FAILED, MOST_TOLD
from voxray.cli.files import BAD_INPUT, complain, prepared, progress_bars
from voxray.cli.languages import given
from voxray.cli.models import MODEL
from voxray.cli.options import DEVICE, THREADS
from voxray.cli.tables import cut_short, show, table

SHOWN = 10  # clips and layers in a table


class Share(click.ParamType[float]):
    """A share such as ``2%`` or ``0.02``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share as a number from 0 to 1."""
        text = str(value).strip()
        try:
            found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            found = -1.0
        if not 0 <= found <= 1:
            self.fail(f"{text!r} is no share; write one such as 2% or 0.02.", param, ctx)
        return found


@click.command("compare-models")
@click.argument("first", type=MODEL, metavar="A")
@click.argument("second", type=MODEL, metavar="B")
@click.argument("sources", nargs=-1, type=click.Path(), metavar="CLIPS...")
@click.option("--manifest", type=click.Path(exists=True), help="A list of clips with their texts and languages.")
@click.option("--truth", type=click.Path(exists=True, dir_okay=False), metavar="JSON",
              help='Texts and languages of CLIPS: {"clip.wav": {"language": "zh", "text": "..."}}.')  # fmt: skip
@click.option("-l", "--language", default="auto", show_default=True, help="Prompt of both models.")
@click.option("--textnorm/--no-textnorm", default=False, help="Write punctuation and numbers as digits.")
@click.option("--inside/--no-inside", default=True, help="Compare attention, layers and logits.  [default: inside]")
@click.option("--swaps", type=click.IntRange(min=0), default=4, show_default=True,
              help="Clips on which layers are exchanged to find where the damage arises; 0: none.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=0), default=3, show_default=True,
              help="How often the timed clips (8 at most) are run; 0: no timing.")  # fmt: skip
@THREADS
@DEVICE
@click.option("--allow-truncated", is_flag=True, help="Take what is there of a sound file that was cut off.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the intervals and tests.")
@click.option("--most-flips", type=Share(), metavar="SHARE",
              help="Exit with code 1 if more of the texts change, such as 2%: short for --fail-if 'text_flips > 2%'.")  # fmt: skip
@click.option("--fail-if", "gates", multiple=True, metavar="GATE",
              help="Exit with code 1 if it holds, such as 'text_flips > 2%', 'error_rise > 0.5%' or 'slowdown > 1.1'.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(), metavar="PATH",
              help="Write a report: a file that ends in .html, or a folder; JSON and a table of tokens lie beside it.")  # fmt: skip
@click.option("--report-language", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def compare_models(first: str, second: str, sources: Sequence[str], out: str | None, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Compare two model files on the same clips: texts, margins, attention, where the damage arises, time and memory.

    \b
    voxray compare-models model.onnx model_quant.onnx clips/*.wav                 what 8 bits cost, and what they gain
    voxray compare-models old new --manifest corpus.jsonl -o report.html          with error rates and a report
    voxray compare-models old new --manifest corpus.jsonl --most-flips 2%         a gate for releases: exit code 1
    voxray compare-models sensevoice-small paraformer-large clips/*.wav           other families: texts, words and times

    Exit codes: 0 all is well, 1 a gate holds, 2 some clips could not be compared (the others were).
    """
    written = [*how["gates"], *([] if how["most_flips"] is None else [f"text_flips > {how['most_flips']:.6g}"])]
    gates = [voxray.ModelComparison.gate(one) for one in written]
    place = None if out is None else placed(out)
    clips, problems = given(sources, how)
    depth = voxray.ComparisonDepth(how["inside"], how["swaps"], how["rounds"], how["threads"], how["device"])
    with progress_bars(1) as (step, _), step("clips") as progress:
        found = voxray.compare_models(
            first,
            second,
            [clip for _, clip in clips],
            language=how["language"],
            textnorm=how["textnorm"],
            depth=depth,
            seed=how["seed"],
            progress=progress,
        )
    problems += found.problems
    for problem in problems[:MOST_TOLD]:
        complain(problem)
    if len(problems) > MOST_TOLD:
        complain(f"and {len(problems) - MOST_TOLD} more clips")
    paths = () if place is None else voxray.write_model_report(found, place, language=how["report_language"])
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False)) if as_json else print_comparison(found, paths)
    failed = found.failures(gates)
    for line in failed:
        complain(line)
    return GATE_FAILED if failed else BAD_INPUT if problems else 0


def placed(out: str) -> Path:
    """Return where the report goes, in a folder that can be written to.

    Raises:
        UsageError: when it is neither an HTML file nor a folder.
        OutputError: when it cannot be written there.
    """
    path = Path(out)
    if path.suffix.lower() in (".html", ".htm") and not path.is_dir():
        prepared(str(path.parent))
        return path
    if path.suffix and not path.is_dir():
        raise click.UsageError(f"{out} is neither a folder nor a file that ends in .html.")
    return prepared(out)


def print_comparison(found: Any, paths: Sequence[Path]) -> None:
    """Print the verdict, the texts that change, where the damage arises, and what was written."""
    from rich.markup import escape

    for letter, model in zip("AB", found.models, strict=True):
        click.echo(f"{letter}: {model.name} ({model.family}, {model.layout}, {model.precision})")
    click.echo()
    for line in found.verdict:
        click.echo(f"- {line}")
    click.echo()
    rows = table("texts that change", "clip", "A", "B", "nearer to the reference")
    for one in found.changed[:SHOWN]:
        better = ", ".join({"first": "A", "second": "B", "neither": "neither"}[flip.better] for flip in one.flips if flip.better)
        rows.add_row(*(escape(cut_short(text, 60)) for text in (one.name, *one.texts)), better or "-")
    if found.changed:
        show(rows)
    if found.damage is not None and found.damage.adds_up:
        show(damage_table(found.damage))
    for line in found.remarks:
        click.echo(line)
    for path in paths:
        click.echo(str(path))


def damage_table(damage: Any) -> Any:
    """Return the table of the layers that do most of the damage."""
    rows = table(
        f"where the damage arises ({len(damage.clips)} clips)", "layer", ">share [95 %]", ">distance", ">margins move by", ""
    )
    for one in damage.ranked[:SHOWN]:
        span = "" if one.share.low is None else f" [{one.share.low:.1%} to {one.share.high:.1%}]"
        name = "output head" if one.layer == len(damage.layers) - 1 else f"{one.layer} {damage.labels[one.layer]}"
        parts = sorted(one.parts.items(), key=lambda part: -part[1])[:3] if len(one.parts) > 2 else []
        told = ", ".join(f"{part} {share:.0%}" for part, share in parts)
        margin = "-" if one.margin is None else f"{one.margin.value:.3f}"
        rows.add_row(name, f"{one.share.value:.1%}{span}", f"{one.distance:.2%}", margin, told)
    return rows
