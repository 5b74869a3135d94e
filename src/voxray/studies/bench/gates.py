"""Sanity gates: what must hold before any table is worth printing. Where one fails, the benchmark and not a method is broken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voxray.measures import faithfulness, localisation
from voxray.measures.statistics import bootstrap_ratio, paired_difference
from voxray.studies.bench.rows import ORACLE
from voxray.studies.bench.table import Figures

CHANCE, CHANCE_SLACK = 0.5, 0.03
MANY = 40  # clips that can tell chance to within the slack
COMPLETE = 0.01  # of the score that an exact map may miss
LIKE = 0.8  # rank correlation of the methods under two fills
LISTS = "A"  # the set where no word follows from another


@dataclass(frozen=True, slots=True)
class SanityGate:
    """One condition.

    Attributes:
        name: what is asked.
        passed: whether it holds; None where the run has nothing to ask.
        found: what was found.
        wanted: what must be found.
        why: what is broken otherwise.
    """

    name: str
    passed: bool | None
    found: str
    wanted: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def gates(records: Sequence[Mapping[str, Any]], *, seed: int) -> list[SanityGate]:
    """Return every gate for the records of a run.

    Args:
        records: of the clips.
        seed: of resampling.
    """
    figures = Figures(sorted(records, key=lambda one: str(one["id"])))
    return [
        identities(),
        chance(figures, seed),
        oracle_points(figures),
        oracle_deletes(figures, seed),
        complete(figures),
        fills(figures),
    ]


def identities() -> SanityGate:
    """Return whether the measures give the truth itself the best and a constant map the chance value."""
    edges, span = np.arange(0.0, 2.01, 0.01), (0.6, 1.1)
    true = localisation.overlap(edges, span)
    best, flat = localisation.evaluate(true, edges, span), localisation.evaluate(np.ones(200), edges, span)
    hidden = faithfulness.subsets(20, 50, seed=1)
    said = np.linspace(0, 1, 20)
    ideal = faithfulness.correlation(said, hidden, hidden @ said), faithfulness.infidelity(said, hidden, hidden @ said)
    exact = [best.mass, best.roc_auc, flat.roc_auc, flat.lift, *(math.nan if one is None else one for one in ideal)]
    right = best.pointing and not flat.pointing and np.allclose(exact, [1.0, 1.0, 0.5, 1.0, 1.0, 0.0], atol=1e-9)
    found = f"truth: mass {best.mass:.2f}, ROC-AUC {best.roc_auc:.2f}; constant: ROC-AUC {flat.roc_auc:.2f}, lift {flat.lift:.2f}"
    return SanityGate("identities", bool(right), found, "1, 1; 0.5, 1", "the measures are wrong")


def chance(figures: Figures, seed: int) -> SanityGate:
    """Return whether random maps find words no better than chance; with few words, as far as these can tell."""
    wanted, why = f"{CHANCE} ± {CHANCE_SLACK}", "the clips or the grid give the place away"
    told = np.array(list(figures.pooled("word", "random", "roc_auc", _first(figures)).values())).reshape(-1, 2)
    found = bootstrap_ratio(told[:, 0], told[:, 1], seed=seed)
    if found is None or found.low is None or found.high is None:
        return SanityGate("random map at chance", None, "too few words", wanted, why)
    passed = abs(found.value - CHANCE) <= CHANCE_SLACK or (len(told) < MANY and found.low <= CHANCE <= found.high)
    told_so = f"ROC-AUC {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    return SanityGate("random map at chance", passed, told_so, wanted, why)


def oracle_points(figures: Figures) -> SanityGate:
    """Return whether the truth points at itself."""
    found = [_mean(figures, ORACLE, measure) for measure in ("pointing", "mass")]
    told = ", ".join("none" if one is None else f"{one:.3f}" for one in found)
    passed = None if None in found else all(one is not None and one > 0.999 for one in found)
    return SanityGate("oracle points", passed, f"pointing and mass {told}", "1, 1", "truth and sound are not on one clock")


def oracle_deletes(figures: Figures, seed: int) -> SanityGate:
    """Return whether no method beats the truth at hiding whole words in lists, where a word hangs on itself alone."""
    wanted, why = "no method surely lower", "the masking is broken, or words hang on their neighbours"
    name = "oracle has the best deletion of words on set A"
    fill = _first(figures)
    held = figures.of((LISTS, "word", ORACLE, fill, "deletion_words"))
    if len(held) < 2:
        return SanityGate(name, None, "too few clips of set A", wanted, why)
    mine, better = np.array(list(held.values())), []
    for key in figures.keys:
        own = figures.of(key)
        if key == (LISTS, "word", key[2], fill, "deletion_words") and key[2] != ORACLE and list(own) == list(held):
            other = np.array(list(own.values()))
            told = paired_difference(other[:, 0], other[:, 1], mine[:, 0], mine[:, 1], seed=seed)
            if told is not None and told.interval.high is not None and told.interval.high < -1e-6:
                better.append(f"{key[2]} {told.a:.4f}")
    value = mine[:, 0].sum() / mine[:, 1].sum()
    found = f"oracle {value:.4f}; " + (f"lower: {', '.join(better)}" if better else "none lower")
    return SanityGate(name, not better, found, wanted, why)


def complete(figures: Figures) -> SanityGate:
    """Return whether the exact map sums to the score."""
    wanted, why = f"at most {COMPLETE:.0%} missing", "the exact split lost a path of the network"
    value = _mean(figures, "exact", "completeness")
    if value is None:
        return SanityGate("exact map adds up", None, "the method exact was not run", wanted, why)
    return SanityGate("exact map adds up", value <= COMPLETE, f"{value:.2e} of the score missing", wanted, why)


def fills(figures: Figures) -> SanityGate:
    """Return whether methods rank alike by deletion whatever takes the place of what is hidden."""
    wanted, why = f"rank correlation at least {LIKE}", "the order of the methods is that of a fill's side effects"
    if len(figures.fills) < 2:
        return SanityGate("stable to the fill", None, "one fill", wanted, why)
    methods = sorted({key[2] for key in figures.keys})
    means = [[_mean(figures, method, "deletion", fill) for method in methods] for fill in figures.fills[:2]]
    both = [(one, other) for one, other in zip(*means, strict=True) if one is not None and other is not None]
    if len(both) < 3:
        return SanityGate("stable to the fill", None, "too few methods", wanted, why)
    first, second = (np.argsort(np.argsort(column)) for column in np.array(both).T)
    value = float(np.corrcoef(first, second)[0, 1])
    return SanityGate("stable to the fill", value >= LIKE, f"rank correlation {value:.2f} of {len(both)} methods", wanted, why)


def _mean(figures: Figures, method: str, measure: str, fill: str | None = None) -> float | None:
    """Return the mean over all questions about words."""
    told = np.array(list(figures.pooled("word", method, measure, fill or _first(figures)).values())).reshape(-1, 2)
    return float(told[:, 0].sum() / told[:, 1].sum()) if told[:, 1].sum() else None


def _first(figures: Figures) -> str:
    """Return the fill under which every measure was taken."""
    return figures.fills[0] if figures.fills else ""
