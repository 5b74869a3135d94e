"""What was found, as tables for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.answers import Answer, is_own, peak_of, span_of
from voxray.cli.tables import cut_short, drawable, number, room, seconds_at, show, spoken, table

FEW = 3  # targets that are told one by one
MISSED = "not reached"  # in place of a number where the budget ended before


def print_answer(answer: Answer, paths: Sequence[Path], model: Any) -> None:
    """Print what was found for people: few targets one by one, many in one table."""
    relevances = answer.relevances
    first = relevances[0]
    if len(relevances) <= FEW:
        for one in relevances:
            print_ledger(one, answer.trace)
    else:
        print_overview(relevances, answer.trace)
    for lens in answer.lenses:
        print_lens(lens, answer.trace, model)
    for note in notes_told(relevances):
        click.echo(note)
    if first.view:
        click.echo(f"note: {first.method} is a view, not an explanation of the decision")
    chosen = ", ".join(f"{name} {value}" for name, value in first.options.items() if value is not None)
    together = f" for {len(relevances)} targets together" if len(relevances) > 1 else ""
    pieces: dict[int, voxray.Relevance] = {one.target.piece: one for one in relevances}
    passes, spent = sum(one.passes for one in pieces.values()), sum(one.seconds for one in pieces.values())
    click.echo(f"{first.method}{f' ({chosen})' if chosen else ''}: {passes} pass{'es' * (passes != 1)}, {spent:.2f} s{together}")
    click.echo("".join(f"{path}\n" for path in paths), nl=False)


def notes_told(relevances: Sequence[voxray.Relevance]) -> list[str]:
    """Return what the reader must know; what not every target of a piece has names its targets, or is counted if they are many."""
    notes = dict.fromkeys(note for one in relevances for note in one.notes)
    held = {note: [one.target for one in relevances if note in one.notes] for note in notes}
    pieces = [one.target.piece for one in relevances]
    own = {note: targets for note, targets in held.items() if len(targets) < sum(map(pieces.count, {one.piece for one in targets}))}
    shared = [f"note: {note}" for note in held if note not in own]
    if own and len(relevances) > FEW:
        return [*shared, f"note: {len(own)} more, of single targets, are told where these are asked for alone, and by --json"]
    return [*shared, *(f"note on {', '.join(one.name for one in targets)}: {note}" for note, targets in own.items())]


def print_ledger(relevance: voxray.Relevance, trace: voxray.Trace) -> None:
    """Print one target: what each word and pause adds, what comes from no sound, and the score."""
    from rich.cells import cell_len

    unit, target = relevance.unit, relevance.target
    rival = f" rather than {cut_short(target.against, 30)!r}" if target.against else ""
    title = f"{relevance.audio} · {target.name} {cut_short(target.label, 30)!r}{rival}"
    times = [">from s", ">to s"] if room() >= 80 else [">from s"]
    mark, axis = ("▸", "│") if drawable() else (">", "|")
    result = table(title, *times, "", "sound", f">{unit}", f"against {axis} for")
    cut = voxray.stretches(trace.words, *span_of(relevance))
    texts = [cut_short(part.text, max(9, room() // 4)) or "(pause)" for part in cut]
    values = [relevance.between(part.start, part.end) for part in cut]
    bar = bars(values, room() - 9 * len(times) - 22 - max(9, *(cell_len(text) for text in texts)))
    for part, text, value in zip(cut, texts, values, strict=True):
        own = is_own(part, relevance)
        style = "bold" if own else "" if part.text else "dim"
        when = [f"{max(moment, 0.0):.2f}" for moment in (part.start, part.end)[: len(times)]]
        told = (number(value, unit), bar(value)) if relevance.reaches(part.start, part.end) else (MISSED, "")
        result.add_row(*when, mark if own else "", text, *told, style=style)
    result.add_section()
    blank = ("",) * (len(times) + 1)
    if relevance.parts or relevance.adds_up:
        for name, value in {"all sound": float(relevance.scores.sum(dtype=float)), **relevance.parts}.items():
            result.add_row(*blank, name, number(value, unit))
    if relevance.adds_up:
        result.add_row(*blank, "residual", f"{relevance.residual:+.1e}", style="dim")
    sums = "" if relevance.parts or relevance.adds_up else ", no sum"
    result.add_row(*blank, "score", number(relevance.score, unit), f"peak {seconds_at(peak_of(relevance))} s{sums}", style="bold")
    show(result)


def bars(values: Sequence[float], width: int) -> Callable[[float], Any]:
    """Return a function that draws a number as a signed bar on the scale of some numbers, in at most so many columns."""
    from rich.text import Text

    half = max(4, min(24, (width - 1) // 2))
    most = max((abs(one) for one in values if math.isfinite(one)), default=0.0) or 1.0
    whole, right_half, left_half, axis = ("█", "▌", "▐", "│") if drawable() else ("#", "", "", "|")

    def draw(value: float) -> Any:
        steps = round(2 * half * abs(value) / most) if math.isfinite(value) else 0
        line = whole * (steps // 2)
        left = (left_half * (steps % 2) + line).rjust(half) if value < 0 else " " * half
        right = line + right_half * (steps % 2) if value > 0 else ""
        return Text.assemble((left, "deep_sky_blue3"), axis, (right, "orange3"))

    return draw


def print_overview(relevances: Sequence[voxray.Relevance], trace: voxray.Trace) -> None:
    """Print many targets, one a line: the score, and what of it came from its own word, other words, pauses and no sound."""
    first = relevances[0]
    parts = list(dict.fromkeys(name for one in relevances for name in one.parts))
    columns = ["other words", "pauses", *parts] if room() >= 100 else ["others", *(["no sound"] if parts else [])]
    title = f"{trace.audio.name} · {cut_short(trace.text, 50)} · {first.method} [{first.unit}]"
    ends = [">peak s"] if room() >= 70 else []
    result = table(title, "target", ">score", ">own word", *(f">{name}" for name in columns), *ends)
    for one in relevances:
        kept, tried = {"own": 0.0, "other words": 0.0, "pauses": 0.0}, True
        for part in voxray.stretches(trace.words, *span_of(one)):
            kept["own" if is_own(part, one) else "other words" if part.text else "pauses"] += one.between(part.start, part.end)
            tried = tried and (not is_own(part, one) or one.reaches(part.start, part.end))
        kept |= {"others": kept["other words"] + kept["pauses"], "no sound": sum(one.parts.values()), **one.parts}
        own = "-" if one.target.kind not in ("word", "token") else number(kept["own"], one.unit) if tried else MISSED
        values = (number(kept.get(name, 0.0), one.unit) for name in columns)
        name = f"{one.target.name} {cut_short(one.target.label, 16)}"
        result.add_row(name, number(one.score, one.unit), own, *values, *[seconds_at(peak_of(one))] * len(ends))
    if first.adds_up:
        worst = max(abs(one.residual) for one in relevances)
        result.caption, result.caption_justify = f"each line sums to its score, to {worst:.0e}", "left"
    show(result)


def print_lens(lens: voxray.Lens, trace: voxray.Trace, model: Any) -> None:
    """Print in which layer each token of a target was decided, and its nearest rival."""
    count = len(lens.log_probs)
    wide = room() >= 80
    steps = 5 if wide else 2
    shown = sorted({round(place * (count - 1) / steps) for place in range(steps + 1)})
    title = f"{trace.audio.name} · {lens.target.name} · rank after layers {shown[0]} to {shown[-1]}; 1 is on top"
    result = table(title, "token", *(f">{index}" for index in shown), ">decided", "rival", *([">passed"] * wide), ">ahead")
    for row, ids in enumerate(lens.ids):
        settled, passed = int(lens.commits[row]), int(lens.overtakes[row, 0])
        result.add_row(
            spoken(model, trace, int(ids[0])),
            *(str(int(lens.ranks[layer, row, 0]) + 1) for layer in shown),
            str(settled) if settled < count else "never",
            spoken(model, trace, int(ids[1])),
            *([str(passed)] * wide),
            number(float(lens.log_odds[-1, row, 0])),
        )
    told = ["decided: the layer from which it stays on top", "ahead: of its nearest rival at the end, in nats"]
    result.caption = "; ".join([told[0], *(["passed: from which the two keep their order"] * wide), told[1]])
    result.caption_justify = "left"
    show(result)
