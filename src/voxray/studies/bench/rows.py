"""The rows of the table: every way to explain that fits the model, with options or without, and the truth itself beside them."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from voxray.case import Case
from voxray.methods import Explainer, Found, build, check_fits, method_class, names, options_of
from voxray.types import Grid, OptionError

if TYPE_CHECKING:
    from voxray.models import Explainable

EDGE = 1e-9  # seconds
ORACLE = "oracle"
BASELINES = ("random", "uniform", "energy", "emission")
"""Maps that know nothing of the decision, or only when it was emitted; what does not beat them adds nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A way to explain, as a row of the table.

    Attributes:
        name: as it was asked for, such as ``exact`` or ``occlusion:width=0.24``.
        method: its name; ``oracle`` for the truth.
        options: those that differ from the defaults.
    """

    name: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        if self.method == ORACLE:
            return "the truth itself"
        told = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{method_class(self.method).title}{f' ({told})' if told else ''}"

    def with_seed(self, seed: int) -> Explainer | None:
        """Return the method with another seed; None where it draws no random numbers."""
        if "seed" not in options_of(self.method):
            return None
        return build(self.method, self.options | {"seed": seed})

    def build(self) -> Explainer:
        """Return the method."""
        return build(self.method, self.options)


def rows_of(asked: Sequence[str], model: Explainable) -> tuple[Row, ...]:
    """Return the rows of a table: baselines first, then methods, the oracle last.

    Args:
        asked: names of methods, each with options after a colon; none for every method that fits the model, and attention of its
            last layer. The baselines and the oracle are always there.
        model: whose decisions are explained.

    Raises:
        OptionError: when there is no such method or option, or it does not fit the model.
    """
    wanted = [parsed(one) for one in asked] or [Row(one, one) for one in names() if method_class(one).needs in model.gives]
    for row in wanted:
        check_fits(row.method, model)
        row.build()
    if not asked and "attention" in model.gives:
        layers = model.cross_shape[0] if model.cross_shape else model.layers
        last = layers - 1
        wanted.append(Row(f"attention:layer={last}", "attention", {"layer": last}))
    first = [Row(one, one) for one in BASELINES]
    rest = sorted((row for row in wanted if row.name not in BASELINES), key=lambda row: row.name)
    return (*first, *rest, Row(ORACLE, ORACLE))


def parsed(text: str) -> Row:
    """Return the row that a name such as ``occlusion:width=0.24,fill=mean`` asks for.

    Raises:
        OptionError: when an option is written otherwise or does not exist.
    """
    method, _, told = text.strip().partition(":")
    known = options_of(method)
    options: dict[str, Any] = {}
    for part in filter(None, told.split(",")):
        name, equals, value = (one.strip() for one in part.partition("="))
        if not equals or name not in known:
            have = ", ".join(known) or "none"
            raise OptionError(f"{text!r} has the option {part!r}; write name=value, options of {method}: {have}")
        options[name] = _value(value, known[name][0], text)
    return Row(f"{method}:{told}" if told else method, method, options)


def _value(text: str, hint: Any, whole: str) -> Any:
    """Return an option's value as its type has it."""
    kinds = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if typing.get_origin(hint) is Literal or str in kinds:
        return text
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    try:
        return int(text) if int in kinds else float(text)
    except ValueError:
        raise OptionError(f"{whole!r} gives {text!r} where a number was expected") from None


def truth(case: Case, spans: Sequence[tuple[float, float] | None]) -> list[Found]:
    """Return the map that a seer would draw of each target: highest in the middle of its cause, 0 outside of it.

    Args:
        case: whose targets.
        spans: of each target's cause, seconds; None where none is known: then the map is 0 everywhere.
    """
    grid = Grid(case.cells.times, case.cells.mels[[0, -1]])
    found = []
    for span in spans:
        scores = np.zeros(grid.shape, np.float32)
        if span is not None:
            middle, half = (span[0] + span[1]) / 2, (span[1] - span[0]) / 2
            inside = (grid.times[:-1] >= span[0] - EDGE) & (grid.times[1:] <= span[1] + EDGE)  # a cell that is cut would leak
            scores[0] = np.where(inside, np.maximum(1.0 - np.abs(grid.centres - middle) / (half + 0.01), 1e-3), 0.0)
        found.append(Found(scores, grid, 1.0, "share"))
    return found
