"""The command ``why``: what is wrong against the right text, the sound behind it and its cause; or how each decision came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.files import distinct_names, each, expand, placed, sound
from voxray.cli.options import comparing, opened, recognising
from voxray.cli.tables import number, room, seconds_at, show, table

ENDINGS = (".TextGrid", ".ctm", ".srt", ".vtt", ".csv", ".html")


@click.command()
@recognising
@click.option("-r", "--ref", "reference", metavar="TEXT", help="The right text; without it: how each decision came about.")
@click.option("--ref-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="A file with the right text.")
@comparing
@click.option("--causes/--no-causes", default=True, help="Test what caused each mistake.  [default: causes]")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="At most so long for the tests of one mistake.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise in the tests.")
@click.option("-o", "--out", metavar="PATH", type=click.Path(),
              help=f"Write the result: a file that ends in {', '.join(ENDINGS)}.")  # fmt: skip
@click.option(
    "--picture",
    metavar="PATH",
    type=click.Path(),
    help="A picture of the sound behind each mistake: .png, .svg, .pdf, or a folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file.")
def why(sources: Sequence[str], reference: str | None, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Say why a recognition went wrong.

    \b
    voxray why clip.wav --ref "the right text"     every mistake: its sound, its cause, the smallest change that mends it
    voxray why clip.wav                            without the right text: how firm each word and tag is
    voxray why clip.wav --ref TEXT -o why.html     the same as a page

    A cause is named only where taking it away puts the mistake right, or nearly so, and the same change elsewhere does not.
    """
    right = right_text(reference, how["ref_file"])
    if right is None and (how["out"] or how["picture"]):
        raise click.UsageError("Without a right text there is nothing to write; give --ref.")
    if right is not None and len(expand(sources)) > 1:
        raise click.UsageError("One right text belongs to one sound; for many sounds use 'voxray evaluate'.")
    if how["out"] and Path(how["out"]).suffix not in ENDINGS:
        raise click.UsageError(f"{how['out']} must end in one of {', '.join(ENDINGS)}.")
    pictures = placed(how["picture"], (".png", ".svg", ".pdf"), 1, ".png")
    model: Any = opened(how)
    names = distinct_names(expand(sources))

    def one(source: str, _progress: Any) -> Callable[[], None]:
        if right is None:
            decided = voxray.decisions(
                model, sound(source, how), language=how["language"], textnorm=how["textnorm"], seed=how["seed"]
            )
            told: dict[str, Any] = {"audio": source} | decided.to_dict()
            return lambda: click.echo(json.dumps(told, ensure_ascii=False)) if as_json else print_decisions(decided)
        found = voxray.why(model, sound(source, how), right, inquiry_of(how))
        record = {"id": names[source], "audio": source, "groups": {}} | found.to_dict()
        paths = written(record, found, how["out"])
        if pictures is not None:
            paths += draw(found, pictures, names[source])
        return lambda: click.echo(json.dumps(record, ensure_ascii=False)) if as_json else print_why(record, paths)

    return each(sources, one)


def right_text(given: str | None, path: str | None) -> str | None:
    """Return the right text of the options; None where there is none.

    Raises:
        UsageError: when two are given, or the file is not in UTF-8.
    """
    if given is not None and path is not None:
        raise click.UsageError("--ref and --ref-file exclude each other.")
    if path is None:
        return given
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not in UTF-8 (byte {error.start}); save it as UTF-8.") from error


def inquiry_of(how: Mapping[str, Any]) -> voxray.Inquiry:
    """Return what is asked by the options of a command."""
    normalisation = how["normalise"]
    return voxray.Inquiry(
        language=how["language"],
        textnorm=how["textnorm"],
        unit=how["unit"],
        normalisation=None if normalisation is None else voxray.Normalisation.parse(normalisation),
        causes=how["causes"],
        evidence=how.get("evidence", True),
        seconds=how["seconds"],
        seed=how["seed"],
    )


def written(record: Mapping[str, Any], found: voxray.Why, out: str | None) -> list[Path]:
    """Write the result to a file, in the form of its ending."""
    if out is None:
        return []
    if Path(out).suffix == ".html":
        return [voxray.write_report([record], {record["id"]: found.trace.audio}, out)]
    return voxray.write_export(record, out)


def draw(found: voxray.Why, place: Callable[[str, str], Path], name: str) -> list[Path]:
    """Draw the sound behind each mistake; several are numbered."""
    shown = [one.relevance for one in found.findings if one.relevance is not None]
    paths = []
    for index, relevance in enumerate(shown):
        path = place(name, f"mistake-{index}")
        if len(shown) > 1 and path == place(name, "mistake-0") and index:
            path = path.with_stem(f"{path.stem}-{index}")
        voxray.plot.relevance(relevance, found.trace, path=path)
        paths.append(path)
    return paths


def print_why(record: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Print what was wrong in one sound and why, for people."""
    from rich.text import Text

    errors = record["errors"]
    rate = "nothing was to be said; -" if errors["rate"] is None else f"{errors['rate']:.1%}"
    kinds = {name: errors[name] for name in ("substitutions", "deletions", "insertions") if errors[name]}
    counts = ", ".join(f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in kinds.items())
    unit = {"character": "characters", "word": "words", "mixed": "characters and words"}[errors["unit"]]
    show(Text(f"{record['audio']} · {rate} of {errors['length']} {unit} wrong" + (f": {counts}" if counts else ""), "bold"))
    show(Text(f"compared by {errors['normalisation']}", "dim"))
    show(*differences(record))
    for index, mistake in enumerate(record["mistakes"]):
        show(Text(""), *_mistake_told(index, mistake))
    if not record["mistakes"]:
        show(Text("nothing is wrong"))
    for path in paths:
        click.echo(str(path))


def differences(record: Mapping[str, Any]) -> list[Any]:
    """Return the right and the recognised text, what differs being marked by colour and by brackets."""
    from rich.text import Text

    gap = "" if record["errors"]["unit"] == "character" else " "
    lines = {"reference": Text("right       "), "recognised": Text("recognised  ")}
    style = {"reference": "green", "recognised": "red"}
    for edit in record["edits"]:
        for side, line in lines.items():
            if edit[side]:
                wrong = edit["kind"] != "hit"
                line.append(f"[{edit[side]}]" if wrong else edit[side], style[side] if wrong else "")
                line.append(gap)
    return list(lines.values())


def _mistake_told(index: int, mistake: Mapping[str, Any]) -> list[Any]:
    """Return the lines about one mistake."""
    from rich.text import Text

    wrong, right = (f"'{mistake[side]}'" if mistake[side] else "nothing" for side in ("recognised", "reference"))
    lines = [Text(f"{index + 1}. {wrong} rather than {right}", "bold")]
    at = f"at {seconds_at(mistake['start'])}-{seconds_at(mistake['end'])} s"
    odds = mistake["log_odds"]
    held = "the right words cannot be spelled by this model" if odds is None else f"the model prefers it by {odds:+.1f} nats"
    rank = "" if not mistake["rank"] else f", {mistake['rank']} tokens are likelier than the right one"
    lines.append(Text(f"   {at}; {held}{rank}; SNR over it {mistake['snr']:.0f} dB"))
    if mistake["evidence"]:
        spans = sorted(mistake["evidence"]["spans"], key=lambda one: -abs(one["score"]))[:3]
        told = ", ".join(f"{one['start']:.2f}-{one['end']:.2f} s ({one['score']:+.1f})" for one in spans)
        lines.append(Text(f"   decided by the sound at {told}; above 0 for what was recognised"))
    named = [one for one in mistake["causes"] if one["named"]]
    tested = [one for one in mistake["causes"] if one["tested"] and not one["named"]]
    for one in named:
        lines.append(Text(f"   cause: {one['cause'].upper()} - {one['evidence']}", "yellow"))
        lines.append(Text(f"      {proof(one)}"))
    if not named:
        looked = ", ".join(one["cause"] for one in tested)
        late = any(one["evidence"].endswith("the time was up") for one in mistake["causes"])
        told = "not tested" if not mistake["causes"] else "unexplained, the time was up" if late else "unexplained"
        lines.append(Text(f"   cause: {told}" + (f"; tested without success: {looked}" if looked else "")))
    smallest = mistake["smallest_edit"]
    if smallest:
        lines.append(Text(f"   smallest change that mends it: {smallest['edit']} ({smallest['stable']})"))
    return lines


def proof(cause: Mapping[str, Any]) -> str:
    """Return in words what the experiment on a cause showed."""
    if cause["stays"]:
        return f"{cause['intervention']}: the words stay; {cause['control']}: they go"
    return f"{cause['intervention']}: {_effect(cause, 'after')}; {cause['control']}: {_effect(cause, 'placebo')}"


def _effect(cause: Mapping[str, Any], which: str) -> str:
    """Return what a change of the sound did to the mistake: whether it put it right, and what it did to the log-odds."""
    mended = "puts it right" if cause["flips" if which == "after" else "placebo_flips"] else "still wrong"
    if cause["before"] is None or cause[which] is None:
        return mended
    return f"{mended}, {number(cause['before'])} to {number(cause[which])} nats"


def print_decisions(decided: Any) -> None:
    """Print how firm each decision is, for people."""
    wide = room() >= 110
    columns = ["decision", "label", ">at s", ">p", ">margin", "instead", ">layer", "sound for it s"]
    columns += [">prompt", ">agree"] if wide else []
    rows = table(f"{decided.trace.audio.name} · {decided.trace.text or '(no words)'}", *columns, "firm")
    for one in decided.decisions:
        rival = one.rivals[0] if one.rivals else None
        spans = " ".join(f"{part.start:.2f}-{part.end:.2f}" for part in one.segments[: 2 if wide else 1])
        agree = "-" if one.agreement is None else f"{one.agreement:.2f}"
        more = [number(one.parts.get("prompt", 0.0)), agree] if wide else []
        firm = "-" if one.stable is None else ("yes" if one.stable else f"no ({one.held}/{one.versions})")
        rows.add_row(
            one.target.name, one.target.label, seconds_at(one.time), f"{one.probability:.3f}", number(one.margin),
            rival.text or "(blank)" if rival else "-", f"{one.layer + 1}/{one.layers}", spans, *more, firm,
        )  # fmt: skip
    rows.caption, rows.caption_justify = (
        "layer: from which on it stands; agree: of two methods on the sound; firm: it stands when noise at 30 dB is added",
        "left",
    )
    show(rows)
    for missed in decided.missed:
        click.echo(f"nearly said: '{missed.text}' at {missed.start:.2f}-{missed.end:.2f} s (log posterior {missed.log_prob:.1f})")
