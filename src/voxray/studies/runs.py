"""Two runs over the same clips: what got worse, what better, and whether chance could have made the difference.

Clips are joined by id. Both runs must hold the same reference for a clip and count in the same unit; then the units of the
reference stand at the same places in both, and each can be said to be newly wrong or newly right. A difference is after minus
before, so above 0 is worse.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxray.measures.statistics import holm, paired_difference
from voxray.studies.folder import SUMMARY, read_records, read_run
from voxray.studies.summary import UNEXPLAINED, Facts, errors_of, facts_of
from voxray.types import OptionError, plain, shortened

SURE = 0.05  # p-value below which a rise counts as one
MOST_TOLD = 5  # ids in a message


@dataclass(frozen=True, slots=True)
class Change:
    """An error rate in two runs.

    Attributes:
        clips: how many it rests on.
        before: rate.
        after: rate.
        difference: after minus before.
        low: lower end of its interval; None for a single clip.
        high: upper end; None likewise.
        level: of the interval.
        p_value: two-sided, of the hypothesis that the runs are alike; of groups, corrected by Holm for how many are looked at.
    """

    clips: int
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    level: float
    p_value: float


@dataclass(frozen=True, slots=True)
class ClipChange:
    """A clip with other errors than before: how many of each, reference units, and the texts."""

    id: str
    before: int
    after: int
    length: int
    reference: str
    text_before: str
    text_after: str


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What changed from one run to another.

    Attributes:
        before: folder of the first run.
        after: folder of the second run.
        overall: over all clips that both compare with a reference; None where their references are all empty.
        groups: field -> value -> change.
        regressed: clips with more errors, worst first.
        improved: clips with fewer errors, most improved first.
        newly_wrong: (unit of the reference, how often), most often first: right before and wrong now.
        newly_right: the same the other way round.
        causes: cause -> mistakes before and after; None where a run did not test causes.
        missing: ids that only the first run has.
        extra: ids that only the second run has.
        left_out: ids that both have, but one of them could not examine, or without reference.
        notes: what else differs between the runs, one sentence each.
    """

    before: str
    after: str
    overall: Change | None
    groups: Mapping[str, Mapping[str, Change]]
    regressed: tuple[ClipChange, ...]
    improved: tuple[ClipChange, ...]
    newly_wrong: tuple[tuple[str, int], ...]
    newly_right: tuple[tuple[str, int], ...]
    causes: Mapping[str, tuple[int, int]] | None
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """Whether the error rate rose by more than chance would explain (p < 0.05)."""
        return self.overall is not None and self.overall.difference > 0 and self.overall.p_value < SURE

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told | {"is_worse": self.is_worse}


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip in one run.

    Attributes:
        facts: what the summary takes of it.
        reference: the right text.
        counted: unit and normalisation.
        units: of the reference, each with whether it is right.
    """

    facts: Facts
    reference: str | None
    counted: tuple[str, str]
    units: tuple[tuple[str, bool], ...]


def compare_runs(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> RunComparison:
    """Compare two runs over the same clips.

    Args:
        before: folder of the first run.
        after: folder of the second run.
        groups: manifest fields by whose values the change is told too; None for those by which the second run was grouped.
        seed: of intervals and tests.

    Raises:
        OptionError: when a folder holds no run, the runs share no clip, or they differ in a clip's reference or in how it was
            counted.
    """
    folders = Path(before), Path(after)
    told = [read_run(folder) for folder in folders]
    fields = _grouped(folders[1]) if groups is None else groups
    old, new = ({one["id"]: _clip(one, fields) for one in read_records(folder)} for folder in folders)
    shared = sorted(old.keys() & new.keys())
    if not shared:
        raise OptionError(f"{before} and {after} share no clip id; compare two runs over the same manifest")
    pairs = {name: (old[name], new[name]) for name in shared if old[name].facts.counts and new[name].facts.counts}
    _refuse_unlike(pairs)
    facts = [(a.facts, b.facts) for a, b in pairs.values()]
    regressed, improved = _clips_changed(facts)
    newly_wrong, newly_right = _units_changed(list(pairs.values()))
    return RunComparison(
        before=str(before),
        after=str(after),
        overall=_change(facts, seed),
        groups={field: _by_value(facts, field, seed) for field in fields},
        regressed=regressed,
        improved=improved,
        newly_wrong=newly_wrong,
        newly_right=newly_right,
        causes=_causes(facts) if all(one.get("inquiry", {}).get("causes") for one in told) else None,
        missing=tuple(sorted(old.keys() - new.keys())),
        extra=tuple(sorted(new.keys() - old.keys())),
        left_out=tuple(name for name in shared if name not in pairs),
        notes=tuple(_notes(*told)),
    )


def _grouped(folder: Path) -> Sequence[str]:
    """Return the fields by which a run was grouped; none where it has no summary."""
    try:
        return list(json.loads((folder / SUMMARY).read_bytes())["groups"])
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _clip(record: Mapping[str, Any], fields: Sequence[str]) -> _Clip:
    errors = record.get("errors") or {}
    edits = record.get("edits") or ()
    return _Clip(
        facts_of(record, fields),
        record.get("reference"),
        (str(errors.get("unit")), str(errors.get("normalisation"))),
        tuple((edit["reference"], edit["kind"] == "hit") for edit in edits if edit["kind"] != "insertion"),
    )


def _refuse_unlike(pairs: Mapping[str, tuple[_Clip, _Clip]]) -> None:
    """Refuse runs whose errors cannot be compared."""
    unlike = [name for name, (a, b) in pairs.items() if a.reference != b.reference]
    if unlike:
        first, second = (shortened(repr(one.reference)) for one in pairs[unlike[0]])
        ids = ", ".join(unlike[:MOST_TOLD]) + (", …" if len(unlike) > MOST_TOLD else "")
        raise OptionError(
            f"the references of {len(unlike)} clips differ ({ids}; {first} and {second}); evaluate both with one manifest"
        )
    unlike = [name for name, (a, b) in pairs.items() if a.counted != b.counted]
    if unlike:
        first, second = (" with ".join(one.counted) for one in pairs[unlike[0]])
        raise OptionError(
            f"{len(unlike)} clips were counted otherwise ({unlike[0]}: by {first}, then {second}); evaluate both alike"
        )


def _change(facts: Sequence[tuple[Facts, Facts]], seed: int) -> Change | None:
    """Return the change of the pooled error rate; None without reference units."""
    after, before = ([(one.errors, one.own[-1]) for one in side] for side in ([b for _, b in facts], [a for a, _ in facts]))
    columns = [np.array([pair[place] for pair in side], np.float64) for side in (after, before) for place in (0, 1)]
    found = paired_difference(*columns, seed=seed) if facts else None
    if found is None:
        return None
    spread = found.interval
    return Change(len(facts), found.b, found.a, spread.value, spread.low, spread.high, spread.level, found.p_value)


def _by_value(facts: Sequence[tuple[Facts, Facts]], field: str, seed: int) -> dict[str, Change]:
    """Return the change in each group of a field; a clip belongs where the second run has it."""
    values = sorted({b.groups[field] for _, b in facts})
    found = {value: _change([pair for pair in facts if pair[1].groups[field] == value], seed) for value in values}
    known = {value: one for value, one in found.items() if one is not None}
    corrected = holm([one.p_value for one in known.values()]).tolist()
    return {
        value: Change(one.clips, one.before, one.after, one.difference, one.low, one.high, one.level, p_value)
        for (value, one), p_value in zip(known.items(), corrected, strict=True)
    }


def _clips_changed(facts: Sequence[tuple[Facts, Facts]]) -> tuple[tuple[ClipChange, ...], tuple[ClipChange, ...]]:
    """Return the clips with more and with fewer errors, those that changed most first."""
    changes = [
        ClipChange(a.id, errors_of(a.own), errors_of(b.own), a.own[-1], a.texts[0], a.texts[1], b.texts[1]) for a, b in facts
    ]
    changes.sort(key=lambda one: (-abs(one.after - one.before), -abs(one.after - one.before) / max(one.length, 1), one.id))
    return tuple(one for one in changes if one.after > one.before), tuple(one for one in changes if one.after < one.before)


def _units_changed(pairs: Sequence[tuple[_Clip, _Clip]]) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """Return the reference units that became wrong and those that became right, most often first."""
    wrong, right = Counter[str](), Counter[str]()
    for before, after in pairs:
        for (unit, was), (_, now) in zip(before.units, after.units, strict=True):
            wrong[unit] += was and not now
            right[unit] += now and not was
    first, second = (
        tuple(sorted(((unit, count) for unit, count in counts.items() if count), key=lambda one: (-one[1], one[0])))
        for counts in (wrong, right)
    )
    return first, second


def _causes(facts: Sequence[tuple[Facts, Facts]]) -> dict[str, tuple[int, int]]:
    """Return how many mistakes each cause has before and after."""
    old, new = (Counter(cause or UNEXPLAINED for pair in facts for cause in pair[side].causes) for side in (0, 1))
    return {cause: (old[cause], new[cause]) for cause in sorted({*old, *new})}


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what else differs between the runs."""
    notes: list[str] = []
    for part, names in (("model", ("name", "precision", "sha256")), ("inquiry", ("language", "textnorm"))):
        for name in names:
            was, now = (one.get(part, {}).get(name) for one in (old, new))
            if was != now and not (name == "sha256" and notes):
                notes.append(f"{part} {name}: {shortened(str(was))} before, {shortened(str(now))} after")
    return notes
