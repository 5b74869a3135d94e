"""From the records of clips to the table: means with intervals, differences from the baselines, and what may be called what.

Unit of every interval is the clip: a clip's questions are drawn together. A difference from a baseline is tested on the same
questions and corrected for the number of methods (Holm).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.measures.statistics import bootstrap_ratio, holm, paired_difference
from voxray.studies.bench.measures import MEASURES
from voxray.studies.bench.rows import BASELINES, ORACLE

Float64Array = npt.NDArray[np.float64]
Record = Mapping[str, Any]
Key = tuple[str, str, str, str, str]  # set, kind, method, fill, measure
ROUNDS = 1000
AGAINST = ("emission", "random")
EARNED = "deletion"  # the measure by which a map earns its name
SURE = 0.05
DESTROYED = 0.3  # rank correlation with the map of a randomised model, above which a map does not hang on what was learnt
TIES = 1e-9


class Figures:
    """Every figure of a run by what it is of: for each clip the sum over its questions, and how many there were."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Take in the records of the clips."""
        self._sums: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
        self.fills: list[str] = []
        for record in records:
            for row in record.get("rows", ()):
                self._add(record, row)

    def _add(self, record: Record, row: Mapping[str, Any]) -> None:
        if row["fill"] not in self.fills:
            self.fills.append(row["fill"])
        for measure, value in row["figures"].items():
            if value is None:
                continue
            one = self._sums[record["set"], row["kind"], row["method"], row["fill"], measure][record["id"]]
            one[0] += value
            one[1] += 1

    @property
    def keys(self) -> list[Key]:
        """What there are figures of."""
        return list(self._sums)

    def of(self, key: Key) -> dict[str, list[float]]:
        """Return sum and count of each clip; empty where there are none."""
        return self._sums.get(key, {})

    def pooled(self, kind: str, method: str, measure: str, fill: str) -> dict[str, list[float]]:
        """Return sum and count of each clip over all sets with questions of a kind."""
        found: dict[str, list[float]] = {}
        for one, of_kind, of_method, of_fill, of_measure in self.keys:
            if (of_kind, of_method, of_fill, of_measure) == (kind, method, fill, measure):
                found |= self.of((one, kind, method, fill, measure))
        return found


def table(records: Sequence[Record], methods: Sequence[Mapping[str, Any]], *, seed: int) -> dict[str, Any]:
    """Return all of the table but its provenance and gates.

    Args:
        records: of the clips that were examined.
        methods: ``name``, ``title``, ``baseline``, ``oracle`` of each row, in order.
        seed: of the bootstrap.
    """
    ordered = sorted(records, key=lambda one: str(one["id"]))
    figures = Figures(ordered)
    contrasts = contrasted(figures, [one["name"] for one in methods], seed)
    return {
        "format": 1,
        "coverage": coverage(ordered),
        "methods": list(methods),
        "measures": [
            {"name": name, "better": one.better, "unit": one.unit, "meaning": one.meaning} for name, one in MEASURES.items()
        ],
        "cells": cells(figures, [one["name"] for one in methods], seed),
        "contrasts": contrasts,
        "status": status(figures, contrasts, methods),
    }


def coverage(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return, for each set, how much of it was recognised right and could be asked about."""
    found = []
    for name in sorted({one["set"] for one in records if "rows" in one}):
        own = [one for one in records if "rows" in one and one["set"] == name]
        letters = sum(one["letters"] for one in own)
        found.append(
            {
                "set": name,
                "clips": len(own),
                "asked": sum(one["aims"] > 0 for one in own),
                "words": sum(one["words"] for one in own),
                "words_right": sum(one["words_right"] for one in own),
                "aims": sum(one["aims"] for one in own),
                "error_rate": sum(one["wrong_letters"] for one in own) / letters if letters else None,
            }
        )
    return found


def cells(figures: Figures, methods: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return every mean with its interval, in the order of sets, kinds, methods, fills and measures."""
    places = [list(methods), figures.fills, list(MEASURES)]
    found = []
    for key in sorted(figures.keys, key=lambda one: (one[0], one[1], *(p.index(v) for p, v in zip(places, one[2:], strict=True)))):
        own = np.array(list(figures.of(key).values()))
        told = bootstrap_ratio(own[:, 0], own[:, 1], seed=seed, rounds=ROUNDS)
        if told is not None:
            name = dict(zip(("set", "kind", "method", "fill", "measure"), key, strict=True))
            interval = {"mean": told.value, "low": told.low, "high": told.high}
            found.append(name | interval | {"clips": len(own), "items": int(own[:, 1].sum())})
    return found


def contrasted(figures: Figures, methods: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return how far each method is from the baselines, over all sets with questions of a kind."""
    found = []
    for kind in sorted({key[1] for key in figures.keys}):
        for fill in figures.fills:
            for measure in (name for name, one in MEASURES.items() if one.compared):
                for baseline in AGAINST:
                    found += _against(figures, [one for one in methods if one != baseline], (kind, fill, measure, baseline), seed)
    return found


def _against(figures: Figures, methods: Sequence[str], what: tuple[str, str, str, str], seed: int) -> list[dict[str, Any]]:
    kind, fill, measure, baseline = what
    held, found = figures.pooled(kind, baseline, measure, fill), list[dict[str, Any]]()
    for method in methods:
        own = figures.pooled(kind, method, measure, fill)
        both = [clip for clip in own if clip in held]
        if len(both) < 2:
            continue
        one, other = (np.array([side[clip] for clip in both]) for side in (own, held))
        told = paired_difference(one[:, 0], one[:, 1], other[:, 0], other[:, 1], seed=seed, rounds=ROUNDS)
        if told is not None and told.interval.low is not None:
            interval = {"difference": told.interval.value, "low": told.interval.low, "high": told.interval.high, "p": told.p_value}
            found.append(dict(zip(("kind", "fill", "measure", "baseline"), what, strict=True)) | {"method": method} | interval)
    corrected = holm([row["p"] for row in found]) if found else np.zeros(0)
    higher = MEASURES[measure].better == "higher"
    for row, p in zip(found, corrected, strict=True):
        ahead = row["low"] > TIES if higher else row["high"] < -TIES
        row.update(holm=float(p), better=bool(ahead and p < SURE))
    return found


def status(figures: Figures, contrasts: Sequence[Mapping[str, Any]], methods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each method and kind of decision, whether its maps may be called explanations.

    They may where hiding what a map names costs the decision more than hiding what the emission or chance names: a smaller deletion
    area than both, in an interval without 0 and after correction under the first fill, and smaller under the others too. And only
    where a map of a model with random weights is another one.
    """
    found = []
    for kind in sorted({one["kind"] for one in contrasts}):
        for method in (one["name"] for one in methods if one["name"] not in BASELINES and one["name"] != ORACLE):
            own = [one for one in contrasts if (one["kind"], one["method"], one["measure"]) == (kind, method, EARNED)]
            if own:
                found.append({"method": method, "kind": kind} | _verdict(own, figures, method))
    return found


def _verdict(own: Sequence[Mapping[str, Any]], figures: Figures, method: str) -> dict[str, str]:
    first = figures.fills[0]
    lost = [one for one in own if not (one["better"] if one["fill"] == first else one["difference"] < 0)]
    if lost:
        return {"status": "view", "because": f"deletion area not surely below that of {lost[0]['baseline']}: {_told(lost[0])}"}
    told = np.array(list(figures.pooled("word", method, "randomised", first).values())).reshape(-1, 2)
    left = told[:, 0].sum() / told[:, 1].sum() if told[:, 1].sum() else 0.0
    if left >= DESTROYED:
        because = f"a model with random weights gives much the same map: rank correlation {left:.2f}, {DESTROYED} at most"
        return {"status": "view", "because": because}
    least = max((one for one in own if one["fill"] == first), key=lambda one: one["high"])
    return {"status": "explanation", "because": f"deletion area surely below that of emission and chance; {_told(least)}"}


def _told(one: Mapping[str, Any]) -> str:
    low, high = one["low"], one["high"]
    return f"{one['difference']:+.3f} ({low:+.3f} to {high:+.3f}) against {one['baseline']}, fill {one['fill']}"
