"""A benchmark's result as one HTML file that needs no network: gates and status on top, then sortable tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxray.views.bench.pictures import pictures
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
    unit_shown,
)
from voxray.views.page import Language, Picture, Words, rendered, texts

Strings = dict[str, dict[str, str]]
COVERAGE = ("clips", "asked", "heard_right", "words", "words_right", "aims", "error_rate")


def page(table: Table, *, language: Language = "en", drawn: Mapping[str, Picture] | None = None) -> str:
    """Return a result as a page.

    Args:
        table: as ``table.json`` holds it.
        language: that the page opens in; it can be changed there.
        drawn: the pictures by their names, which take longer than all the rest; None to draw them.

    Returns:
        The whole file. Where a gate failed it shows the gates and no figures.

    Raises:
        OptionError: when there is no such language, or the table has another form.
    """
    results = Results(table)
    strings = _strings(results)
    if drawn is None:
        drawn = {} if results.failed else {name: Picture.drawn(draw) for name, draw in pictures(table)}
    sources = {name: picture.sources for name, picture in drawn.items()}
    shown = () if results.failed else results.places
    measures = {measure.name: measure for place in shown for measure in results.measures(place)}
    parts = rendered(
        "bench",
        strings,
        language,
        told=table["provenance"],
        gates=table["gates"],
        failed=results.failed,
        unasked=sum(one["passed"] is None for one in table["gates"]),
        coverage=table["coverage"],
        asked=[name for name in COVERAGE if table["coverage"] and name in table["coverage"][0]],
        methods=results.methods,
        status=[(row, results.status(row.name)) for row in results.methods if results.status(row.name) and not results.failed],
        kinds=results.kinds,
        explained=_explained(results),
        places=[_place(results, index, place, sources) for index, place in enumerate(shown)],
        measures=list(measures.values()),
        groups=[*GROUPS],
    )
    return "".join(parts).encode("utf-8", "xmlcharrefreplace").decode("utf-8")  # JSON may bring lone surrogates along


def _explained(results: Results) -> int:
    """Return of how many methods the maps of words are called explanations."""
    return sum(one["kind"] == "word" and one["status"] == "explanation" for one in results.table["status"])


def _strings(results: Results) -> Strings:
    """Return the texts of the page, with those of this table: what its measures mean, and names that the page does not know."""
    made = {name: dict(table) for name, table in texts("bench.{}.json").items()}
    made["en"] |= {f"about.{one['name']}": one["meaning"] for one in results.table["measures"]}
    own = {f"measure.{one['name']}": one["name"].replace("_", " ") for one in results.table["measures"]}
    own |= {f"about.{one['name']}": one["meaning"] for one in results.table["measures"]}
    own |= {f"unit.{one['unit']}": one["unit"] for one in results.table["measures"] if one["unit"]}
    own |= {f"kind.{kind}": kind for kind in (*results.kinds, *(kind for _, kind in results.places))}
    own |= {f"set.{one['set']}": one["set"] for one in results.table["coverage"]}
    own |= {f"fill.{fill}": fill for fill in results.fills}
    own |= {f"status.{one['status']}": one["status"] for one in results.table["status"]}
    for table in made.values():
        for key, text in own.items():
            table.setdefault(key, text)
        words = Words(table)
        for index, place in enumerate(results.places):
            table[f"place.{index}"] = _title(place, words)
            for name in ("pointing", "deletion", "frontier", "ranks"):
                told = words.told(f"measure.{name}" if f"measure.{name}" in table else f"picture.{name}", {})
                table[f"alt.{index}.{name}"] = words.told("pictures.alt", {"name": f"{table[f'place.{index}']}: {told}"})
        for one in results.table["coverage"]:
            table[f"whole.{one['set']}"] = _whole(one["set"], words)
    return made


def _title(place: Place, words: Words) -> str:
    name, kind = place
    return f"{_whole(name, words)} · {words.told(f'kind.{kind}', {}, kind)}"


def _whole(name: str, words: Words) -> str:
    """Return the name of a set and what it is."""
    told = words.told(f"set.{name}", {}, name)
    return told if name in (told, "given") else f"{name} · {told}"


def _place(results: Results, index: int, place: Place, drawn: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return what the page shows of a set and a kind of decision."""
    columns, main = results.measures(place), {one.key for one in results.main(place)}
    rows = results.rows(place, columns)
    cells = [_column(results, place, one, rows) for one in columns]
    start = f"{place[0]}-{place[1]}-"
    own = [(name.removeprefix(start), one) for name, one in drawn.items() if name.startswith(start)]
    first = next(one for one in results.places if one[1] == place[1]) == place  # ranks are those of a kind's first set
    ranks = f"{place[1]}-ranks"
    return {
        "index": index,
        "columns": [_head(one, main) for one in columns],
        "rows": [(row, [column[n] for column in cells]) for n, row in enumerate(rows)],
        "pictures": own + ([("ranks", drawn[ranks])] if first and ranks in drawn else []),
    }


def _head(measure: Measure, main: set[str]) -> dict[str, Any]:
    group = next((name for name, members in GROUPS.items() if measure.name in members), "cost")
    return {
        "name": measure.name,
        "fill": measure.fill,
        "group": group,
        "main": measure.key in main,
        "arrow": ARROWS.get(measure.better, ""),
        "better": measure.better,
        "unit": unit_shown(measure),
    }


def _column(results: Results, place: Place, measure: Measure, rows: Sequence[Method]) -> list[dict[str, Any] | None]:
    """Return the cells of a column, row by row; None where nothing was measured."""
    figures, best = results.column(place, measure), results.best(place, measure)
    digits = decimals((one.mean for one in figures.values()), measure)
    return [
        None
        if one is None
        else {
            "value": one.mean,
            "text": number(one.mean, measure, digits),
            "span": interval(one, measure, digits),
            "best": name in best,
            "clips": one.clips,
        }
        for name, one in ((row.name, figures.get(row.name)) for row in rows)
    ]
