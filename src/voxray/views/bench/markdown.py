"""A benchmark's result as Markdown, for documentation: what was asked, gates, a table for each set, and what may be called what.

Names come from users' corpora and models, so every text is written so that no reader of Markdown takes it for markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from voxray.views.bench.results import (
    ARROWS,
    GROUPS,
    Measure,
    Method,
    Place,
    Results,
    Table,
    decimals,
    interval,
    number,
    provenance,
    unit_shown,
)
from voxray.views.page import Language, Words, check, texts

Column = TypeVar("Column")
MARKUP = re.compile(r"[\\`*{}\[\]<>#|~$&]|(?<!\w)_|_(?!\w)")
PLAIN = re.compile(r"[\w.:=,+-]+")
COVERAGE = ("clips", "asked", "heard_right", "words", "words_right", "aims", "error_rate")
WIDEST = 8
"""Columns of figures that a page of normal width can hold."""


def markdown(table: Table, *, language: Language = "en") -> str:
    """Return a result as Markdown.

    Args:
        table: as ``table.json`` holds it.
        language: of everything that is not taken from the table.

    Returns:
        Provenance, coverage and gates; if none failed, a table for each set and kind of decision, sanity, and the status of every
        method. Headings begin at level 3.

    Raises:
        OptionError: when there is no such language, or the table has another form.
    """
    check(language)
    words, results = Words(texts("bench.{}.json")[language]), Results(table)
    parts = [_provenance(table, words), _coverage(results, words), _gates(results, words)]
    if not results.failed:
        parts.append(_advice(results, words))
        parts += [_place(results, place, words) for place in results.places if results.main(place)]
        parts += [_more(results, words), _other_fills(results, words), _sane(results, words), _status(results, words)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: object) -> str:
    """Return a text in one line that means only itself."""
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(str(text).split()))


def code(name: str) -> str:
    """Return a name as code where it is as plain as names are, else as text."""
    return f"`{name}`" if PLAIN.fullmatch(name) else escaped(name)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    """Return a table whose cells are Markdown already; columns after the first are set to the right where they are numbers."""
    marks = ["---", *(["---:" if numbers else "---"] * (len(head) - 1))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, marks, *rows])


# --- What was asked ------------------------------------------------------------------------------------------------------


def _provenance(table: Table, words: Words) -> str:
    told = " · ".join(escaped(one) for one in provenance(table))
    return f"{told}." + (f"\n\n**{words.told('quick', {})}**" if table["provenance"]["quick"] else "")


def _coverage(results: Results, words: Words) -> str:
    rows = results.table["coverage"]
    if not rows:
        return ""
    columns = [name for name in COVERAGE if name in rows[0]]

    def cell(row: Table, name: str) -> str:
        value = row[name]
        return "–" if value is None else f"{100 * value:.1f} %" if name == "error_rate" else f"{value:,}"

    head = [words.told("set", {}), *(words.told(f"coverage.{name}", {}) for name in columns)]
    lines = [[_set(row["set"], words), *(cell(row, name) for name in columns)] for row in rows]
    return f"### {words.told('coverage', {})}\n\n{words.told('coverage.how', {})}\n\n{grid(head, lines)}"


def _gates(results: Results, words: Words) -> str:
    every, failed = results.table["gates"], results.failed
    unasked = sum(one["passed"] is None for one in every)
    counts = {"gates": len(every), "failed": len(failed), "unasked": unasked}
    verdict = words.told("gates.failed" if failed else "gates.unasked" if unasked else "gates.passed", counts)
    head = [words.told(key, {}) for key in ("gate", "gate.verdict", "gate.found", "gate.wanted", "gate.why")]
    told = {True: "gate.yes", False: "gate.no", None: "gate.open"}
    lines = [
        [
            escaped(one["name"]),
            f"**{words.told(told[one['passed']], {})}**",
            *(escaped(one[key]) for key in ("found", "wanted", "why")),
        ]
        for one in every
    ]
    return f"### {words.told('gates', {})}\n\n**{verdict}** {words.told('gates.how', {})}\n\n{grid(head, lines, numbers=False)}"


def _advice(results: Results, words: Words) -> str:
    """Return what to use when: for each kind of decision its explanations, cheapest first, what points best, and what is a view."""
    kinds = [kind for kind in results.kinds if any(one[1] == kind for one in results.places)]
    lines = []
    for kind in kinds:
        place = next(one for one in results.places if one[1] == kind)
        called = {row: results.status(row.name)[kind]["status"] for row in results.methods if kind in results.status(row.name)}
        costs = _named(results, place, "seconds")
        earned = sorted((row for row in called if called[row] == "explanation"), key=lambda row: costs.get(row.name, math.inf))
        lines.append(
            [
                escaped(words.told(f"kind.{kind}", {}, kind)),
                "<br>".join(f"{escaped(row.title)}{_cost(costs.get(row.name))}" for row in earned) or "–",
                _pointers(results, place),
                "<br>".join(escaped(row.title) for row in called if called[row] != "explanation") or "–",
            ]
        )
    if not lines:
        return ""
    head = [words.told(key, {}) for key in ("kind", "advice.earned", "advice.points", "advice.views")]
    return f"### {words.told('advice', {})}\n\n{words.told('advice.how', {})}\n\n{grid(head, lines, numbers=False)}"


def _named(results: Results, place: Place, name: str) -> dict[str, float]:
    """Return the means of a measure by method; empty where a place does not have it."""
    measure = next((one for one in results.measures(place) if one.key == name), None)
    return {} if measure is None else {method: figure.mean for method, figure in results.column(place, measure).items()}


def _cost(seconds: float | None) -> str:
    return "" if seconds is None else f" <small>{seconds:.2g} s</small>"


def _pointers(results: Results, place: Place) -> str:
    """Return the methods that point best at the truth of a place, and those whose interval reaches as far, each with its share."""
    measure = next((one for one in results.measures(place) if one.key == "pointing"), None)
    if measure is None:
        return "–"
    figures = {row: results.column(place, measure).get(row.name) for row in results.methods if not row.oracle}
    first = max((one.mean for one in figures.values() if one is not None), default=0.0)
    return "<br>".join(
        f"{escaped(row.title)} <small>{number(one.mean, measure, 1)} %</small>"
        for row, one in sorted(figures.items(), key=lambda pair: -pair[1].mean if pair[1] else 0.0)
        if one is not None and (one.mean if one.high is None else one.high) >= first
    )


# --- Figures -------------------------------------------------------------------------------------------------------------


def _place(results: Results, place: Place, words: Words) -> str:
    return f"### {_title(place, words)}\n\n{_figures(results, place, results.main(place), words)}"


def _title(place: Place, words: Words) -> str:
    name, kind = place
    return f"{_set(name, words)} · {escaped(words.told(f'kind.{kind}', {}, kind))}"


def _set(name: str, words: Words) -> str:
    known = f"set.{name}" in words.table
    return (
        f"{escaped(name)} {words.told(f'set.{name}', {})}"
        if known and name != "given"
        else words.told(f"set.{name}", {}, escaped(name))
    )


def _figures(results: Results, place: Place, columns: Sequence[Measure], words: Words) -> str:
    rows = results.rows(place, columns)
    cells = [_column(results, place, measure, rows) for measure in columns]
    head = [words.told("method", {}), *(_head(one, words) for one in columns)]
    return grid(head, [[_name(row, words), *(column[row.name] for column in cells)] for row in rows])


def _head(measure: Measure, words: Words) -> str:
    name = escaped(words.told(f"measure.{measure.name}", {}, measure.name.replace("_", " ")))
    unit = words.told(f"unit.{measure.unit}", {}, unit_shown(measure))
    told = f"{name} {ARROWS[measure.better]}" if measure.better in ARROWS else name
    return f"{told}<br><small>{escaped(unit)}</small>" if unit and unit.lower() != name.lower() else told


def _name(row: Method, words: Words) -> str:
    role = "oracle" if row.oracle else "baseline" if row.baseline else ""
    told = escaped(row.title) + (f" <small>{words.told(f'row.{role}', {})}</small>" if role == "baseline" else "")
    return f"*{told}*" if role else told


def _column(results: Results, place: Place, measure: Measure, rows: Sequence[Method]) -> dict[str, str]:
    """Return the cells of a column by method."""
    figures, best = results.column(place, measure), results.best(place, measure)
    digits = decimals((one.mean for one in figures.values()), measure)
    found = {}
    for row in rows:
        one = figures.get(row.name)
        if one is None:
            found[row.name] = "–"
            continue
        told, span = number(one.mean, measure, digits), interval(one, measure, digits)
        mean = f"**{told}**" if row.name in best else told
        found[row.name] = f"{mean}<br><small>{span}</small>" if span else mean
    return found


def _more(results: Results, words: Words) -> str:
    """Return the other measures of where and whether, for the first set of words."""
    place = next((one for one in results.places if one[1] == "word"), None)
    if place is None:
        return ""
    shown = {one.name for one in results.main(place)}
    wanted = [one for one in (*GROUPS["where"], *GROUPS["hiding"]) if one not in shown]
    columns = [one for one in results.measures(place) if one.name in wanted and not one.fill]
    title = words.told("more", {"name": escaped(place[0])})
    parts = [_figures(results, place, some, words) for some in _split(columns)]
    return "\n\n".join([f"### {title}", *parts]) if parts else ""


def _other_fills(results: Results, words: Words) -> str:
    """Return deletion under the other fills, set by set."""
    found = []
    for fill in results.fills[1:]:
        columns = [(place, one) for place in results.places for one in results.measures(place) if one.key == f"deletion@{fill}"]
        if columns:
            how = words.told("other.how", {"fill": words.told(f"fill.{fill}", {}, escaped(fill))})
            found.append(f"### {words.told('other', {})}\n\n{how}\n\n{_across(results, columns, words, measured=False)}")
    return "\n\n".join(found)


def _sane(results: Results, words: Words) -> str:
    """Return the measures of sanity and stability, each from the first set that has it."""
    columns = []
    for name in (*GROUPS["sane"], *GROUPS["cost"]):
        place = next((one for one in results.places if any(m.key == name for m in results.measures(one))), None)
        if place is not None and name not in ("seconds",):
            columns.append((place, next(one for one in results.measures(place) if one.key == name)))
    parts = [_across(results, some, words, measured=True) for some in _split(columns)]
    return "\n\n".join([f"### {words.told('sane', {})}", words.told("sane.how", {}), *parts]) if parts else ""


def _split(columns: Sequence[Column]) -> list[Sequence[Column]]:
    """Return columns in as few lots as a page needs, of about the same size."""
    if not columns:
        return []
    size = math.ceil(len(columns) / math.ceil(len(columns) / WIDEST))
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def _across(results: Results, columns: Sequence[tuple[Place, Measure]], words: Words, *, measured: bool) -> str:
    """Return a table whose columns are of different places; their heads name the measure and the set, or the set alone."""
    names = {row.name for place, one in columns for row in results.rows(place, [one])}
    rows = [one for one in results.methods if one.name in names]
    head = [words.told("method", {})]
    for place, one in columns:
        kind = words.told(f"kind.{place[1]}", {}, place[1])
        told = (_head(one, words), place[0]) if measured else (escaped(place[0]), kind)
        head.append(f"{told[0]}<br><small>{escaped(told[1])}</small>")
    cells = [_column(results, place, one, rows) for place, one in columns]
    return grid(head, [[_name(row, words), *(column[row.name] for column in cells)] for row in rows])


# --- Status --------------------------------------------------------------------------------------------------------------


def _status(results: Results, words: Words) -> str:
    rows = [one for one in results.methods if results.status(one.name)]
    if not rows:
        return ""
    kinds = results.kinds
    head = [words.told("method", {}), *(escaped(words.told(f"kind.{kind}", {}, kind)) for kind in kinds)]
    lines = [[_name(row, words), *(_called(results.status(row.name).get(kind), words) for kind in kinds)] for row in rows]
    reasons = grid(
        [words.told(key, {}) for key in ("method", "kind", "status.called", "status.because")],
        [
            [escaped(row.title), escaped(words.told(f"kind.{kind}", {}, kind)), _called(one, words), escaped(one["because"])]
            for row in rows
            for kind, one in results.status(row.name).items()
        ],
        numbers=False,
    )
    title, how, why = (words.told(key, {}) for key in ("status", "status.how", "status.why"))
    return f"### {title}\n\n{how}\n\n{grid(head, lines, numbers=False)}\n\n#### {why}\n\n{reasons}"


def _called(one: Table | None, words: Words) -> str:
    if one is None:
        return "–"
    told = escaped(words.told(f"status.{one['status']}", {}, one["status"]))
    return f"**{told}**" if one["status"] == "explanation" else told
