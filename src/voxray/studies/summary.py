"""What the records of a run say together: figures of the whole and of each group, and the worst clips.

Figures are plain JSON:

    clips, compared, problems          how many; with a reference; that could not be examined
    seconds                            of sound
    error_rate                         errors over reference units of all clips, each in the unit of its language
    cer, wer, mer                      the same over clips counted in characters, words, or both; Korean counts in both cer and wer
    hits, substitutions, deletions, insertions, errors, length
    mistakes                           runs of errors
    causes                             cause -> mistakes, ``unexplained`` among them; null where no causes were tested
    unexplained                        share of the mistakes; 0 without mistakes, null where no causes were tested
    tags                               kind -> clips, right, accuracy, confusion {wanted: {recognised: tags}}
    confidence, calibrated             of words: words, right, mean, ece, nce, brier, auroc, bins; null where unknown
    alignment                          words, start_within_50ms (share), start_median (seconds)
    timing                             seconds of recognition, evidence, causes; rtf = recognition over sound

A rate is ``{"value", "low", "high", "level", "n"}`` with an interval over resampled clips, or null where there is nothing to count.
All but ``timing`` is the same in every run of the same clips, whatever the order of the records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxray.measures import calibration
from voxray.measures.statistics import bootstrap_ratio, wilson
from voxray.types import plain

COUNTS = ("hits", "substitutions", "deletions", "insertions", "length")
RATES = {"cer": "character", "wer": "word", "mer": "mixed"}
TIMES = ("recognition", "evidence", "causes")
NONE = "(none)"  # the group of clips that lack the field
UNEXPLAINED = "unexplained"
WORST = 50
NEAR = 0.05  # seconds; a word that starts within counts as well placed

Word = tuple[float, "float | None", bool]
"""Confidence of a word, its calibrated confidence, and whether the word is right."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the summary needs of a record.

    Attributes:
        id: of the clip.
        groups: values of the fields that are grouped by.
        seconds: of sound.
        problem: why it could not be examined.
        counts: unit -> counts in the order of :data:`COUNTS`; the clip's own unit first. Empty without a reference.
        causes: of each mistake; None for an unexplained one.
        tags: (kind, wanted, recognised).
        words: confidence, and whether right.
        starts: errors of word starts, seconds.
        times: seconds spent, in the order of :data:`TIMES`.
        texts: reference and recognised text.
    """

    id: str
    groups: Mapping[str, str]
    seconds: float
    problem: str | None
    counts: Mapping[str, Sequence[int]]
    causes: tuple[str | None, ...]
    tags: tuple[tuple[str, str, str], ...]
    words: tuple[Word, ...]
    starts: tuple[float, ...]
    times: tuple[float, ...]
    texts: tuple[str, str]

    @property
    def own(self) -> Sequence[int]:
        """Counts in the clip's own unit."""
        return next(iter(self.counts.values()))

    @property
    def errors(self) -> int:
        """Errors in the clip's own unit."""
        return errors_of(self.own)


def errors_of(counts: Sequence[int]) -> int:
    """Return substitutions, deletions and insertions together."""
    return sum(counts[1:4])


def facts_of(record: Mapping[str, Any], groups: Sequence[str] = ()) -> Facts:
    """Take what is needed out of a record.

    Args:
        record: of one clip.
        groups: fields to group by.
    """
    errors = record.get("errors")
    told = [one for one in (errors, errors and errors.get("other")) if one]
    placed = record.get("alignment") or {}
    spent = record.get("seconds") or {}
    return Facts(
        id=record["id"],
        groups={name: _group(record.get("groups", {}).get(name)) for name in groups},
        seconds=float(record.get("duration") or 0.0),
        problem=record.get("problem"),
        counts={one["unit"]: tuple(int(one[name]) for name in COUNTS) for one in told},
        causes=tuple(one.get("cause") for one in record.get("mistakes") or ()),
        tags=tuple((one["kind"], one["wanted"], one["label"]) for one in record.get("tags") or () if one.get("wanted")),
        words=tuple(
            (one["confidence"], one.get("calibrated"), one["right"])
            for one in record.get("words") or ()
            if one.get("right") is not None
        ),
        starts=tuple(placed.get("errors", ())),
        times=tuple(float(spent.get(name) or 0.0) for name in TIMES),
        texts=(record.get("reference") or "", record.get("text") or ""),
    )


def summarise(
    records: Iterable[Mapping[str, Any]], groups: Sequence[str] = (), *, seed: int = 0, causes: bool = True
) -> dict[str, Any]:
    """Return what records say together.

    Args:
        records: in any order.
        groups: fields by whose values the figures are told too.
        seed: of the intervals.
        causes: whether causes were tested.

    Returns:
        ``overall`` and ``groups`` {field: {value: ...}} as figures, ``worst`` clips first, ``failed`` clips with their problems.
    """
    facts = sorted((facts_of(record, groups) for record in records), key=lambda one: one.id)
    parts: dict[str, dict[str, list[Facts]]] = {}
    for name in groups:
        values = sorted({one.groups[name] for one in facts})
        parts[name] = {value: [one for one in facts if one.groups[name] == value] for value in values}
    return {
        "overall": figures(facts, seed=seed, causes=causes),
        "groups": {
            name: {value: figures(part, seed=seed, causes=causes) for value, part in by_value.items()}
            for name, by_value in parts.items()
        },
        "worst": worst(facts),
        "failed": [{"id": one.id, "problem": one.problem} for one in facts if one.problem is not None],
    }


def figures(facts: Sequence[Facts], *, seed: int = 0, causes: bool = True) -> dict[str, Any]:
    """Return the figures of some clips; see the head of this module.

    Args:
        facts: of the clips, in an order that does not depend on the run.
        seed: of the intervals.
        causes: whether causes were tested.
    """
    compared = [one for one in facts if one.counts]
    summed = [sum(one.own[place] for one in compared) for place in range(len(COUNTS))]
    named = Counter(cause or UNEXPLAINED for one in compared for cause in one.causes)
    mistakes = named.total()
    words = [word for one in compared for word in one.words]
    return {
        "clips": len(facts),
        "compared": len(compared),
        "problems": sum(one.problem is not None for one in facts),
        "seconds": round(sum(one.seconds for one in facts), 3),
        "error_rate": _rate([one.own for one in compared], seed),
        **{name: _rate([one.counts[unit] for one in compared if unit in one.counts], seed) for name, unit in RATES.items()},
        **dict(zip(COUNTS, summed, strict=True)),
        "errors": errors_of(summed),
        "mistakes": mistakes,
        "causes": dict(sorted(named.items())) if causes else None,
        "unexplained": named[UNEXPLAINED] / max(mistakes, 1) if causes else None,
        "tags": _tags([tag for one in facts for tag in one.tags]),
        "confidence": _trust([(raw, right) for raw, _, right in words]),
        "calibrated": _trust([(told, right) for _, told, right in words if told is not None]),
        "alignment": _alignment([error for one in facts for error in one.starts]),
        "timing": _timing(facts),
    }


def worst(facts: Sequence[Facts], most: int = WORST) -> list[dict[str, Any]]:
    """Return the clips with most errors for their length, the worst first.

    Args:
        facts: of the clips.
        most: how many at most.
    """
    wrong = [one for one in facts if one.counts and one.errors]
    wrong.sort(key=lambda one: (-one.errors / max(one.own[-1], 1), -one.errors, one.id))
    return [
        {
            "id": one.id,
            "rate": one.errors / one.own[-1] if one.own[-1] else None,
            "errors": one.errors,
            "length": one.own[-1],
            "reference": one.texts[0],
            "text": one.texts[1],
        }
        for one in wrong[:most]
    ]


# --- Parts of a record -------------------------------------------------------------------------------------------------


def _group(value: Any) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


# --- Parts of the figures ----------------------------------------------------------------------------------------------


def _rate(counts: Sequence[Sequence[int]], seed: int) -> dict[str, Any] | None:
    """Return a pooled error rate with its interval over clips."""
    if not counts:
        return None
    interval: dict[str, Any] | None = plain(
        bootstrap_ratio([errors_of(one) for one in counts], [one[-1] for one in counts], seed=seed)
    )
    return interval


def _tags(tags: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """Return accuracy and confusion of each kind of tag that the manifest knows."""
    result = {}
    for kind in sorted({kind for kind, _, _ in tags}):
        pairs = Counter((wanted, label) for one, wanted, label in tags if one == kind)
        right = sum(count for (wanted, label), count in pairs.items() if wanted == label)
        confusion: dict[str, dict[str, int]] = {}
        for (wanted, label), count in sorted(pairs.items()):
            confusion.setdefault(wanted, {})[label] = count
        accuracy = plain(wilson(right, pairs.total()))
        result[kind] = {"tags": pairs.total(), "right": right, "accuracy": accuracy, "confusion": confusion}
    return result


def _trust(words: Sequence[tuple[float, bool]]) -> dict[str, Any] | None:
    """Return how far the confidence of words can be trusted."""
    if not words:
        return None
    confidences, right = np.array([one for one, _ in words], np.float64), np.array([one for _, one in words])
    return {
        "words": len(words),
        "right": int(right.sum()),
        "mean": float(confidences.mean()),
        "ece": calibration.expected_calibration_error(confidences, right),
        "nce": calibration.normalised_cross_entropy(confidences, right),
        "brier": calibration.brier(confidences, right),
        "auroc": calibration.roc_auc(confidences, right),
        "bins": plain(calibration.reliability(confidences, right)),
    }


def _alignment(errors: Sequence[float]) -> dict[str, Any] | None:
    """Return how well words are placed, all clips' words together."""
    if not errors:
        return None
    return {
        "words": len(errors),
        "start_within_50ms": float((np.abs(errors) <= NEAR).mean()),
        "start_median": float(np.median(errors)),
    }


def _timing(facts: Sequence[Facts]) -> dict[str, float | None]:
    """Return seconds spent, and those of recognition for each second of sound."""
    spent = {name: sum(one.times[index] for one in facts) for index, name in enumerate(TIMES)}
    sound = sum(one.seconds for one in facts)
    return {**{name: round(value, 3) for name, value in spent.items()}, "rtf": spent["recognition"] / sound if sound else None}
