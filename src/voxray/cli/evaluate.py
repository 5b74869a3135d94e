"""The commands ``evaluate`` and ``compare``: a whole corpus as a resumable run with gates, and two runs against each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

import voxray
from voxray.cli.files import BAD_INPUT, complain
from voxray.cli.models import MODEL
from voxray.cli.options import DEVICE, comparing
from voxray.cli.tables import show, table
from voxray.cli.why import inquiry_of

GATE_FAILED = 1  # exit code: the work is done, and a figure is worse than allowed
MOST_TOLD = 20  # lines about clips that could not be done


@click.command()
@click.argument("manifest", type=click.Path(exists=True))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False),
    metavar="FOLDER",
    help="Where the run is kept; an unfinished one there goes on.",
)
@click.option("-m", "--model", type=MODEL, metavar="MODEL", help="A file, its folder, a hub id or a short name; default: bundled.")
@click.option(
    "-l",
    "--language",
    default="auto",
    show_default=True,
    help="Prompt of every clip; manifest: the language that its line names, or auto.",
)
@click.option("--textnorm/--no-textnorm", default=False, help="Write punctuation and numbers as digits.")
@comparing
@click.option(
    "-p",
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Clips at a time, each in a process of its own.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of each process.")
@DEVICE
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This machine, or a Ray cluster (pip install 'voxray[ray]').",
)
@click.option("--causes", is_flag=True, help="Test what caused each mistake.")
@click.option("--evidence/--no-evidence", default=False, help="Say which sound spoke for each mistake.  [default: with --causes]")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="At most so long for the tests of one mistake.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise in the tests, and of the intervals."
)
@click.option(
    "-g", "--group", "groups", multiple=True, metavar="FIELD", help="A manifest field to group by; may be given several times."
)
@click.option(
    "--fail-if",
    "gates",
    multiple=True,
    metavar="GATE",
    help="Exit with code 1 if it holds, such as 'cer > 0.08' or 'cer[language=zh] > 0.05'.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the report there in place of FOLDER/report.html.",
)
@click.option("--report-language", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@click.option("--no-report", is_flag=True, help="Write no report.")
@click.option("--restart", is_flag=True, help="Throw away what FOLDER holds of another run.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def evaluate(manifest: str, out: str, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Recognise a corpus, count its errors, and find their causes.

    \b
    voxray evaluate corpus.jsonl -o run                            error rates with intervals, a report
    voxray evaluate corpus.jsonl -o run --causes -p 4              and what caused the errors
    voxray evaluate corpus.jsonl -o run --fail-if "cer > 0.08"     a gate for releases: exit code 1

    MANIFEST is JSONL, CSV, or a manifest of NeMo, Lhotse or Hugging Face. A run that was stopped goes on where it was.
    Exit codes: 0 all is well, 1 a gate holds, 2 some lines or clips could not be done (the others were).
    """
    how["evidence"] = how["evidence"] or how["causes"]
    gates = [voxray.Gate.parse(one) for one in how["gates"]]
    with bar() as progress:
        run = voxray.evaluate(
            manifest,
            out,
            model=how["model"],
            inquiry=inquiry_of(how),
            processes=how["processes"],
            threads=how["threads"],
            device=how["device"],
            engine=how["engine"],
            groups=tuple(dict.fromkeys([*how["groups"], *(gate.field for gate in gates if gate.field)])),
            restart=how["restart"],
            progress=progress,
        )
    for problem in run.problems[:MOST_TOLD]:
        complain(problem)
    if len(run.problems) > MOST_TOLD:
        complain(f"and {len(run.problems) - MOST_TOLD} more; summary.json in {out} has them all")
    if not how["no_report"]:
        path = voxray.report_of(out, how["report"], language=how["report_language"])
    click.echo(json.dumps(run.summary, ensure_ascii=False)) if as_json else print_summary(run.summary)
    if not how["no_report"] and not as_json:
        click.echo(f"report: {path}")
    failed = [line for gate in gates for line in gate.failures(run.summary)]
    for line in failed:
        complain(line)
    return GATE_FAILED if failed else BAD_INPUT if run.problems else 0


@click.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False))
@click.argument("after", type=click.Path(exists=True, file_okay=False))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the test.")
@click.option("--fail-if-worse", is_flag=True, help="Exit with code 1 if the error rate rose significantly (p < 0.05).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def compare(before: str, after: str, seed: int, fail_if_worse: bool, as_json: bool) -> int:  # noqa: FBT001
    """Compare two runs of 'voxray evaluate' on the same clips: what got worse, and is it chance?"""
    found = voxray.compare_runs(before, after, seed=seed)
    click.echo(json.dumps(found.to_dict(), ensure_ascii=False)) if as_json else print_comparison(found.to_dict())
    return GATE_FAILED if fail_if_worse and found.is_worse else 0


@contextmanager
def bar() -> Iterator[Callable[[int, int], None] | None]:
    """Show clips done and the time left, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("clips"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("clips", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def share(rate: Mapping[str, Any] | None) -> str:
    """Return a rate with its interval as a table shows it."""
    if rate is None:
        return "-"
    span = "" if rate["low"] is None else f" [{rate['low']:.2%} to {rate['high']:.2%}]"
    return f"{rate['value']:.2%}{span}"


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print what a run says, for people."""
    every = summary["overall"]
    rows = table(
        f"{every['clips']} clips, {every['seconds'] / 60:.1f} minutes",
        "",
        ">clips",
        ">errors",
        ">sub",
        ">del",
        ">ins",
        "rate [95 %]",
    )
    places = [("all", every), *((f"{name}={value}", one) for name, by in summary["groups"].items() for value, one in by.items())]
    for name, one in places:
        counts = (str(one[kind]) for kind in ("errors", "substitutions", "deletions", "insertions"))
        rows.add_row(name, str(one["compared"]), *counts, share(one["error_rate"]))
    show(rows)
    for line in _remarks(every):
        click.echo(line)
    worst = table("worst clips", "clip", ">rate", "right", "recognised")
    for one in summary["worst"][:5]:
        worst.add_row(one["id"], "-" if one["rate"] is None else f"{one['rate']:.0%}", one["reference"], one["text"])
    if summary["worst"]:
        show(worst)


def _remarks(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each figure beyond the error rate."""
    rates = [f"{name.upper()} {share(figures[name])}" for name in ("cer", "wer", "mer") if figures[name] is not None]
    if len(rates) > 1:
        yield ", ".join(rates)
    if figures["causes"]:
        told = ", ".join(f"{name} {count}" for name, count in sorted(figures["causes"].items(), key=lambda one: -one[1]))
        yield f"causes of {figures['mistakes']} mistake{'s'[: figures['mistakes'] != 1]}: {told}"
    for kind, one in figures["tags"].items():
        yield f"{kind}: {one['right']} of {one['tags']} right ({share(one['accuracy'])})"
    for name in ("confidence", "calibrated"):
        if figures[name] and figures[name]["auroc"] is not None:
            one = figures[name]
            figures_of = f"calibration error {one['ece']:.3f}, finds wrong words with AUROC {one['auroc']:.3f}"
            yield f"{name} of {one['words']} words: {figures_of}"
    if figures["alignment"]:
        one = figures["alignment"]
        near = f"{one['start_within_50ms']:.0%} within 50 ms"
        yield f"starts of {one['words']} words: median error {one['start_median'] * 1000:+.0f} ms, {near}"
    timing = figures["timing"]
    if timing["rtf"] is not None:
        more = f"evidence {timing['evidence']:.1f} s, causes {timing['causes']:.1f} s"
        yield f"recognition took {timing['rtf']:.4f} s for each second of sound; {more}"


def print_comparison(told: Mapping[str, Any]) -> None:
    """Print what changed from one run to another, for people."""
    rows = table(f"{told['before']} -> {told['after']}", "", ">clips", ">before", ">after", ">change [95 %]", ">p")
    places = [("all", told["overall"]), *((f"{f}={v}", one) for f, by in told["groups"].items() for v, one in by.items())]
    for name, one in places:
        if one is not None:
            span = "" if one["low"] is None else f" [{one['low']:+.2%} to {one['high']:+.2%}]"
            cells = (f"{one['before']:.2%}", f"{one['after']:.2%}", f"{one['difference']:+.2%}{span}", f"{one['p_value']:.3f}")
            rows.add_row(name, str(one["clips"]), *cells)
    show(rows)
    for title in ("regressed", "improved"):
        changed = table(f"{len(told[title])} clips {title}", "clip", ">before", ">after", "right", "was", "is")
        for one in told[title][:10]:
            changed.add_row(
                one["id"], str(one["before"]), str(one["after"]), one["reference"], one["text_before"], one["text_after"]
            )
        if told[title]:
            show(changed)
    for title in ("newly_wrong", "newly_right"):
        if told[title]:
            click.echo(f"{title.replace('_', ' ')}: " + ", ".join(f"{unit} ({count})" for unit, count in told[title][:15]))
    for name, (before, after) in (told["causes"] or {}).items():
        click.echo(f"cause {name}: {before} -> {after}")
    for title, ids in (
        ("only in the first run", told["missing"]),
        ("only in the second run", told["extra"]),
        ("not compared", told["left_out"]),
    ):
        if ids:
            click.echo(f"{title}: {len(ids)} clips ({', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''})")
    for note in told["notes"]:
        click.echo(f"note: {note}")
    overall = told["overall"]
    if overall is not None:
        verdict = "worse" if told["is_worse"] else ("no significant change" if overall["p_value"] >= 0.05 else "better")
        part = f" on the {overall['clips']} clips that both runs compare" if told["missing"] or told["extra"] else ""
        click.echo(f"verdict: {verdict}{part}")
