"""The command ``bench``: which explanation can be trusted, on speech of which it is known where the evidence must lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.evaluate import MOST_TOLD, bar
from voxray.cli.files import BAD_INPUT, complain, prepared
from voxray.cli.models import MODEL
from voxray.cli.options import DEVICE
from voxray.cli.tables import show, table

UNSOUND = 3  # exit code: a sanity gate failed, so the benchmark says nothing
SHOWN = (("pointing", 100.0, ".1f"), ("deletion", 1.0, ".3f"), ("seconds", 1.0, ".3f"))
"""Measures that a terminal shows, what they are multiplied by, and how they are written."""
TITLES = {"pointing": "points inside, %", "deletion": "deletion area, lower is better", "seconds": "seconds for one decision"}


@click.command()
@click.argument("corpus", required=False, type=click.Path(exists=True))
@click.option("-m", "--model", type=MODEL, metavar="MODEL", help="A file, its folder, a hub id or a short name; default: bundled.")
@click.option("-o", "--out", default="bench", show_default=True, type=click.Path(file_okay=False), metavar="FOLDER",
              help="Where the run is kept; an unfinished one there goes on.")  # fmt: skip
@click.option("--quick", is_flag=True, help="A few methods on a few clips: shows in minutes that all is well, and is no result.")
@click.option("--method", "methods", multiple=True, metavar="NAME",
              help="Only this one, such as exact or occlusion:width=0.24; may be given several times.")  # fmt: skip
@click.option("--set", "sets", multiple=True, metavar="NAME", help="Only this set of the corpus; may be given several times.")
@click.option("--clips", type=click.IntRange(min=1), help="Of a set at most so many.")
@click.option("--aims", type=click.IntRange(min=1), help="Of a clip's words at most so many are hidden and shown.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the sets and of every draw.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="BUDGET",
              help="After so long no further clip is begun; the same command goes on later.")  # fmt: skip
@click.option("-p", "--processes", type=click.IntRange(min=1), default=1, show_default=True,
              help="Clips at a time, each in a process of its own.")  # fmt: skip
@DEVICE
@click.option("--restart", is_flag=True, help="Throw away what FOLDER holds of another run.")
@click.option("--report-language", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the table as one JSON object.")
def bench(corpus: str | None, out: str, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Measure which explanations can be trusted, on speech of which it is known where the evidence lies.

    \b
    voxray bench --quick                          in minutes: does everything work?
    voxray bench -o result -p 4                   every method on every set that Voxray makes
    voxray bench corpus.jsonl -m my-model         a model and a corpus of your own: text, and words with their times
    voxray bench --method exact --method lime --set A --clips 20

    CORPUS is a manifest with words and their times, or its folder; without it the sets are made (pip install 'voxray[speech]').
    A run that was stopped goes on where it was. FOLDER gets table.json, table.md, table.html, pictures, and every single figure.
    Exit codes: 0 all is well, 2 some clips could not be examined (the others were), 3 a sanity gate failed: no table is shown.
    """
    options = chosen(how)
    prepared(out)
    with bar() as progress:
        found = voxray.bench(
            how["model"],
            corpus,
            out,
            options=options,
            processes=how["processes"],
            seconds=how["seconds"],
            device=how["device"],
            restart=how["restart"],
            progress=progress,
        )
    for problem in found.problems[:MOST_TOLD]:
        complain(problem)
    if len(found.problems) > MOST_TOLD:
        complain(f"and {len(found.problems) - MOST_TOLD} more clips; results.jsonl in {out} has them all")
    paths = voxray.write_bench(found, language=how["report_language"])
    if as_json:
        click.echo(json.dumps(told(found), ensure_ascii=False))
    else:
        print_bench(found, paths)
    for gate in found.table["gates"]:
        if gate["passed"] is False:
            complain(f"the gate {gate['name']!r} failed: {gate['found']}, but {gate['wanted']} was expected; {gate['why']}")
    return BAD_INPUT if found.problems and found.sane else 0 if found.sane else UNSOUND


def chosen(how: Mapping[str, Any]) -> Any:
    """Return what is run: the quick choice or everything, with what was asked for in its place."""
    plain = voxray.BenchOptions.quick(how["seed"]) if how["quick"] else voxray.BenchOptions(seed=how["seed"])
    asked = {name: how[name] for name in ("methods", "sets", "clips", "aims") if how[name]}
    return replace(plain, **asked)


def told(found: Any) -> dict[str, Any]:
    """Return what is printed as JSON: the table; without its figures where a gate failed."""
    every = dict(found.table)
    return every if found.sane else {name: every[name] for name in ("format", "provenance", "coverage", "gates")}


def print_bench(found: Any, paths: Sequence[Path]) -> None:
    """Print the figures if the gates allow it, the gates, what may be called an explanation, and what was written."""
    from rich.markup import escape

    result = found.table
    if found.sane:
        show(*(one for one in (figures(result, *looks) for looks in SHOWN) if one.rows))
    gates = table("sanity gates", "gate", "", "found", "wanted")
    for one in result["gates"]:
        verdict = {True: "passed", False: "FAILED", None: "not asked"}[one["passed"]]
        gates.add_row(escape(one["name"]), verdict, escape(one["found"]), escape(one["wanted"]))
    show(gates)
    if found.sane and result["status"]:
        show(statuses(result))
    if not found.whole:
        click.echo(f"{result['provenance']['corpus']['clips']} clips are done, not all: the same command goes on")
    if result["provenance"]["quick"]:
        click.echo("quick run: it shows that everything works, and is no result")
    for path in paths:
        click.echo(str(path))


def figures(result: Mapping[str, Any], measure: str, scale: float, form: str) -> Any:
    """Return a table of one measure: methods down, sets and kinds of decision across."""
    from rich.markup import escape

    first = next((one["fill"] for one in result["cells"]), "")
    cells = [one for one in result["cells"] if one["measure"] == measure and one["fill"] == first]
    places = sorted({(one["set"], one["kind"]) for one in cells}, key=lambda place: (place[1] != "word", place))
    means = {(one["set"], one["kind"], one["method"]): one["mean"] for one in cells}
    rows = table(TITLES[measure], "method", *(f">{escape(' '.join(place))}" for place in places))
    for one in result["methods"]:
        values = [means.get((*place, one["name"])) for place in places]
        if any(value is not None for value in values):
            texts = ("-" if value is None else f"{scale * value:{form}}" for value in values)
            rows.add_row(escape(one["name"]), *texts, style="dim" if one["baseline"] or one["oracle"] else "")
    return rows


def statuses(result: Mapping[str, Any]) -> Any:
    """Return the table of what each method's maps may be called, by kind of decision."""
    from rich.markup import escape

    kinds = list(dict.fromkeys(one["kind"] for one in result["status"]))
    known = {(one["method"], one["kind"]): one["status"] for one in result["status"]}
    rows = table("what a map may be called", "method", *map(escape, kinds))
    for method in dict.fromkeys(one["method"] for one in result["status"]):
        rows.add_row(escape(method), *(escape(known.get((method, kind), "-")) for kind in kinds))
    return rows
