"""The result of a benchmark as it is shown: what stands where, what is best, and how a figure is written.

It is read from the plain values of ``table.json``; a place is a set of clips and a kind of decision, such as set A, words. What
stands in for hidden sound is the fill: the first one holds for every measure, others for a few of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from voxray.types import OptionError

Table = Mapping[str, Any]
Place = tuple[str, str]
"""A set and a kind of decision."""

FORMAT = 1
KINDS = ("word", "contrast", "planted", "language", "event", "emotion")
"""Kinds of decision in the order in which they are shown; others come after them."""
FIRST_FILL = "noise_floor"
GROUPS: dict[str, tuple[str, ...]] = {
    "where": ("pointing", "top_segment", "top_three", "mass", "lift", "roc_auc", "distance", "start_error", "end_error"),
    "hiding": ("deletion", "insertion", "deletion_words", "comprehensiveness", "sufficiency", "correlation", "infidelity"),
    "sane": ("randomised", "sensitivity", "seed_agreement", "shift_error", "swap", "prompt_mass", "completeness"),
    "cost": ("seconds", "passes", "complexity", "sparseness"),
}
"""Measures that belong together."""
MAIN = {"word": ("pointing", "lift", "roc_auc", "distance", "deletion", "insertion", "correlation", "seconds")}
MAIN_ELSEWHERE = ("pointing", "top_segment", "lift", "roc_auc", "deletion", "insertion", "correlation", "seconds")
ARROWS = {"higher": "↑", "lower": "↓"}
PERCENT = {"pointing", "top_segment", "top_three", "mass", "swap", "prompt_mass"}
"""Shares that are written as percentages: how often, or how much of all."""
UNSAID = {"share", "area", "r", "rho"}
"""Units of pure numbers, which the measure's own name implies."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over clips with its 95 % interval, None where there is none."""

    mean: float
    low: float | None
    high: float | None
    clips: int


@dataclass(frozen=True, slots=True)
class Method:
    """A row: a way to explain, a baseline that knows nothing of the decision, or the oracle: the truth itself."""

    name: str
    title: str
    baseline: bool
    oracle: bool


@dataclass(frozen=True, slots=True)
class Measure:
    """A column.

    Attributes:
        name: of the measure.
        fill: what took the place of hidden sound, where it is not the first fill; else empty.
        better: ``higher``, ``lower`` or ``none``.
        unit: of the figure; empty for none.
    """

    name: str
    fill: str
    better: str
    unit: str

    @property
    def percent(self) -> bool:
        """Whether it is written as a percentage."""
        return self.name in PERCENT

    @property
    def key(self) -> str:
        """The name, with the fill where it is not the first."""
        return f"{self.name}@{self.fill}" if self.fill else self.name


class Results:
    """A table of results, ready to be asked.

    Attributes:
        table: what was given.
        methods: rows, in order.
        places: sets and kinds, in order.

    Raises:
        OptionError: when the table has another form.
    """

    def __init__(self, table: Table) -> None:
        if not isinstance(table, Mapping) or table.get("format") != FORMAT:
            raise OptionError(f"this is no table of results in form {FORMAT}; make it with 'voxray bench' of this version")
        self.table = table
        self.methods = tuple(
            Method(one["name"], one["title"][:1].upper() + one["title"][1:], one["baseline"], one["oracle"])
            for one in table["methods"]
        )
        cells = [one for one in table["cells"] if one["mean"] is not None]
        self.places: tuple[Place, ...] = tuple(sorted({(one["set"], one["kind"]) for one in cells}, key=_order))
        self._cells = {
            (one["set"], one["kind"], one["method"], one["measure"], self._other(one["fill"])): Figure(
                one["mean"], one["low"], one["high"], one["clips"]
            )
            for one in cells
        }

    @cached_property
    def fills(self) -> tuple[str, ...]:
        """What took the place of hidden sound, the first one first."""
        known = dict.fromkeys(one["fill"] for one in self.table["cells"] if one["fill"])
        return tuple(sorted(known, key=lambda one: one != FIRST_FILL))

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The gates that failed; with any of them no figure may be shown. One that had nothing to ask has not failed."""
        return [one for one in self.table["gates"] if one["passed"] is False]

    def _other(self, fill: str | None) -> str:
        return "" if not fill or fill == self.fills[0] else fill

    def measures(self, place: Place) -> list[Measure]:
        """Return the measures that a place has, group by group."""
        there = {(measure, fill) for name, kind, _, measure, fill in self._cells if (name, kind) == place}
        told = {one["name"]: one for one in self.table["measures"]}
        order = [name for group in GROUPS.values() for name in group]
        names = [*(name for name in order if name in told), *(name for name in told if name not in order)]
        fills = ("", *self.fills[1:])
        return [
            Measure(name, fill, told[name]["better"], told[name]["unit"] or "")
            for name in names
            for fill in fills
            if (name, fill) in there
        ]

    def main(self, place: Place) -> list[Measure]:
        """Return the few measures of a place that say most."""
        known = {one.key: one for one in self.measures(place)}
        return [known[name] for name in MAIN.get(place[1], MAIN_ELSEWHERE) if name in known]

    def column(self, place: Place, measure: Measure) -> dict[str, Figure]:
        """Return the figures of a measure by method, in the order of the rows."""
        found = {one.name: self._cells.get((*place, one.name, measure.name, measure.fill)) for one in self.methods}
        return {name: figure for name, figure in found.items() if figure is not None}

    def rows(self, place: Place, measures: Iterable[Measure]) -> list[Method]:
        """Return the methods that have a figure in one of some columns."""
        there = {name for measure in measures for name in self.column(place, measure)}
        return [one for one in self.methods if one.name in there]

    def best(self, place: Place, measure: Measure) -> frozenset[str]:
        """Return the methods that are best, the oracle aside; none in sanity and cost, where doing nothing is best.

        They are those with the best mean, and where its difference from a baseline was tested and may be chance, all that are as
        good as this baseline.
        """
        oracles = {one.name for one in self.methods if one.oracle}
        figures = {name: one.mean for name, one in self.column(place, measure).items() if name not in oracles}
        if not figures or measure.better not in ARROWS or measure.name in (*GROUPS["sane"], *GROUPS["cost"]):
            return frozenset()
        sign = 1 if measure.better == "lower" else -1
        first = min(sign * mean for mean in figures.values())
        leaders = {name for name, mean in figures.items() if sign * mean == first}
        level = {one for pair in self._draws(place, measure) if pair & leaders for one in pair if one in figures} | leaders
        last = max(sign * figures[name] for name in level)
        return frozenset(name for name, mean in figures.items() if sign * mean <= last)

    def _draws(self, place: Place, measure: Measure) -> list[frozenset[str]]:
        """Return the pairs of methods whose difference was tested, over all sets of this kind or on this one, and may be chance."""
        return [
            frozenset((one["method"], one["baseline"]))
            for one in self.table["contrasts"]
            if (one.get("set", place[0]), one["kind"], one["measure"]) == (*place, measure.name)
            and self._other(one["fill"]) == measure.fill
            and one["low"] <= 0 <= one["high"]
        ]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of decision that a status is given for."""
        return tuple(sorted({one["kind"] for one in self.table["status"]}, key=lambda kind: _order(("", kind))))

    def status(self, method: str) -> dict[str, Mapping[str, str]]:
        """Return what a method's maps are called by kind of decision, and why."""
        told = {one["kind"]: one for one in self.table["status"] if one["method"] == method}
        return {kind: told[kind] for kind in self.kinds if kind in told}


def _order(place: Place) -> tuple[int, str, str]:
    """Return what places are sorted by: kinds in their order, then sets by their names."""
    name, kind = place
    return KINDS.index(kind) if kind in KINDS else len(KINDS), kind, name


# --- Figures as text -----------------------------------------------------------------------------------------------------


def decimals(values: Iterable[float], measure: Measure) -> int:
    """Return how many decimals all figures of a column are written with."""
    if measure.percent:
        return 1
    most = max((abs(one) for one in values), default=0.0)
    return 3 if most < 2 else 2 if most < 20 else 1 if most < 200 else 0


def number(value: float, measure: Measure, digits: int) -> str:
    """Return a figure as text; percentages without their sign, and what would be rounded away as a power of ten."""
    if not math.isfinite(value):
        return "–"
    scaled = 100 * value if measure.percent else value
    tiny = scaled != 0 and abs(scaled) < 0.5 * 10.0**-digits
    told = f"{scaled:.0e}".replace("e-0", "e-") if tiny and digits == 3 else f"{scaled + 0.0:,.{digits}f}"
    return told.replace("-", "−")


def interval(figure: Figure, measure: Measure, digits: int) -> str:
    """Return the interval of a figure as text; empty where it has none."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = (number(one, measure, digits) for one in (figure.low, figure.high))
    return f"{low}…{high}" if "−" in low + high else f"{low}–{high}"


def unit_shown(measure: Measure) -> str:
    """Return the unit as a column's head names it."""
    return "%" if measure.percent else "" if measure.unit in UNSAID else measure.unit


def provenance(table: Table) -> Sequence[str]:
    """Return where a result comes from, in a few parts: software, model, corpus, seed, time and machine."""
    told = table["provenance"]
    model, corpus = told["model"], told["corpus"]
    return (
        f"Voxray {told['voxray']}",
        f"{model['name']} ({model['family']}, {model['precision']}, {model['sha256'][:12]})",
        f"{corpus['name']} ({corpus['clips']} clips, {corpus['sha256'][:12]})",
        f"seed {told['seed']}",
        str(told["made"]),
        f"{told['machine']}, Python {told['python']}, NumPy {told['numpy']}, ONNX Runtime {told['onnxruntime']}",
    )
