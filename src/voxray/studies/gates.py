"""Gates: conditions such as ``cer > 0.08`` under which a run counts as failed, for release pipelines.

A gate is a figure, a comparison and a number; ``cer[language=zh] > 5%`` asks one group, ``cer[speaker=*] > 0.2`` every group of a
field. A figure that the run does not have fails its gate: what was not measured is not known to be good.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxray.types import OptionError

# Name -> where the figure stands among the figures of a summary.
FIGURES: Mapping[str, tuple[str, ...]] = {
    **{name: (name, "value") for name in ("error_rate", "cer", "wer", "mer")},
    **{name: (name,) for name in ("clips", "compared", "problems", "seconds", "errors", "length", "mistakes", "unexplained")},
    **{name: (name,) for name in ("hits", "substitutions", "deletions", "insertions")},
    **{f"{kind}_accuracy": ("tags", kind, "accuracy", "value") for kind in ("language", "emotion", "event")},
    **{name: ("confidence", name) for name in ("ece", "nce", "brier", "auroc")},
    "confidence": ("confidence", "mean"),
    "start_within_50ms": ("alignment", "start_within_50ms"),
    "start_median": ("alignment", "start_median"),
    "rtf": ("timing", "rtf"),
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
ANY = "*"
SHAPE = re.compile(
    r"\s*(?P<name>\w+)\s*(\[\s*(?P<field>[^=\]]+?)\s*=\s*(?P<value>[^\]]*?)\s*\])?"
    r"\s*(?P<compare>>=|<=|==|!=|>|<)\s*(?P<limit>[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*(?P<percent>%?)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition under which a run fails.

    Attributes:
        text: as it was written.
        name: of the figure, one of :data:`FIGURES`.
        compare: how it is compared with the limit.
        limit: the number.
        field: of the group that is asked; empty for the whole run.
        value: of the group; ``*`` for each.
        keys: where the figure stands among those of a summary; empty for where :data:`FIGURES` says.
    """

    text: str
    name: str
    compare: str
    limit: float
    field: str = ""
    value: str = ""
    keys: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, figures: Mapping[str, tuple[str, ...]] = FIGURES) -> Gate:
        """Read a gate.

        Args:
            text: a figure, a comparison and a number.
            figures: that can be asked: name -> where each stands.

        Raises:
            OptionError: when it is none, or there is no such figure.
        """
        found = SHAPE.fullmatch(text)
        if found is None:
            raise OptionError(f"{text!r} is no gate; write a figure, a comparison and a number, such as 'cer > 0.08'")
        name = found["name"].lower()
        if name not in figures:
            near = difflib.get_close_matches(name, figures, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise OptionError(f"there is no figure {found['name']!r}; {hint}there are: {', '.join(sorted(figures))}")
        limit = float(found["limit"]) / (100 if found["percent"] else 1)
        return cls(text.strip(), name, found["compare"], limit, found["field"] or "", found["value"] or "", figures[name])

    def failures(self, summary: Mapping[str, Any]) -> list[str]:
        """Return a line for each place where the condition holds or the figure is not there.

        Args:
            summary: see :mod:`voxray.studies.summary`.

        Raises:
            OptionError: when the run was not grouped by the gate's field.
        """
        lines = []
        for where, figures in self._places(summary):
            found: Any = figures
            for key in self.keys or FIGURES[self.name]:
                found = found.get(key) if isinstance(found, Mapping) else None
            if found is None:
                lines.append(f"{self.text}: this run has no {self.name}{where}, so it cannot pass{_instead(self.name)}")
            elif COMPARISONS[self.compare](found, self.limit):
                lines.append(f"{self.text}: {self.name}{where} is {found:.4g}")
        return lines

    def _places(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the figures that are asked, with words for where they are from."""
        if not self.field:
            yield "", summary["overall"]
            return
        if self.field not in summary["groups"]:
            there = ", ".join(summary["groups"]) or "none"
            raise OptionError(f"{self.text}: the run is not grouped by {self.field!r} (groups: {there}); group by it (--group)")
        values = summary["groups"][self.field]
        for value in values if self.value == ANY else [self.value]:
            yield f" where {self.field} is {value}", values.get(value, {})


def _instead(name: str) -> str:
    return "; error_rate counts every clip in the unit of its language" if name in ("cer", "wer", "mer") else ""


def check(summary: Mapping[str, Any], gates: Sequence[Gate]) -> list[str]:
    """Return a line for each gate that a run fails; none for a run that passes.

    Args:
        summary: see :mod:`voxray.studies.summary`.
        gates: the conditions.

    Raises:
        OptionError: when the run was not grouped by a gate's field.
    """
    return [line for gate in gates for line in gate.failures(summary)]


def fields_of(gates: Sequence[Gate]) -> tuple[str, ...]:
    """Return the fields that a run must be grouped by for its gates, each once."""
    return tuple(dict.fromkeys(gate.field for gate in gates if gate.field))
