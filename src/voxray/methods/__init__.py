"""Ways to explain: one file each, found by the listing of this folder.

A method is a module with a frozen dataclass ``Method``; its fields are its options, with their defaults, and become flags of the
command line. Its class attributes say what it is:

- ``name``: the module's name; ``title``: in a few words.
- ``answers``, ``cannot``, ``cost``, ``source``: one sentence or two each, for the documentation.
- ``needs``: ``gradients`` (operators with a gradient rule), ``anatomy`` (attention and weights of an encoder that makes the text by
  itself), ``attention``, or ``passes`` (nothing). What a model gives is ``model.gives``.
- ``adds_up``: whether cells and parts sum to the score.

Whether its maps may be called explanations no method says of itself: see :mod:`voxray.standing`.

``explain(case)`` returns one :class:`Found` for each target of the case. Methods never import one another.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

from voxray.case import Case
from voxray.types import FloatArray, Grid, ModelInfo, OptionError

Needs = Literal["split", "gradients", "anatomy", "attention", "passes"]
TOLD: dict[Needs, str] = {
    "split": "operators through which a score splits",
    "gradients": "gradients",
    "anatomy": "an encoder that makes the text by itself",
    "attention": "attention",
    "passes": "nothing but answers",
}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a method found about one target.

    Attributes:
        scores: (M, K) relevance of the cells of ``grid``.
        grid: the cells.
        score: the target's score, in ``unit``.
        unit: logit, nats or share.
        parts: contributions that come from no cell, by name.
        notes: what the reader must know.
        unreached: from and to, seconds, where the budget ended before anything was tried: the 0 there says nothing.
    """

    scores: FloatArray
    grid: Grid
    score: float
    unit: str
    parts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unreached: tuple[tuple[float, float], ...] = ()


class Explainer(Protocol):
    """What every method offers."""

    name: ClassVar[str]
    title: ClassVar[str]
    answers: ClassVar[str]
    cannot: ClassVar[str]
    cost: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[Needs]
    adds_up: ClassVar[bool]

    def explain(self, case: Case) -> Sequence[Found]:
        """Explain every target of a case."""


class Giving(Protocol):
    """A model, as far as methods choose by it."""

    @property
    def gives(self) -> frozenset[str]:
        """What explanations can be built on."""

    @property
    def cross_shape(self) -> tuple[int, int] | None:
        """Layers and heads of a decoder's cross-attention; None without a decoder."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""


def names() -> list[str]:
    """Return the name of every method."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def method_class(name: str) -> Any:
    """Return the class of a method.

    Raises:
        OptionError: when there is none of that name.
    """
    if not isinstance(name, str) or name not in names():
        raise OptionError(f"there is no method {name!r}{_meant(str(name), names())}; choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").Method


def default(model: Giving) -> str:
    """Return the method that a model is explained by where none is asked for: ``exact``, or ``occlusion`` where it cannot be."""
    return "exact" if "split" in model.gives else "occlusion"


def check_fits(name: str, model: Giving) -> None:
    """Refuse a method that needs what a model does not give.

    Raises:
        OptionError: when there is no such method, or it is so; says which methods work.
    """
    needs = method_class(name).needs
    if needs not in model.gives:
        fitting = ", ".join(one for one in names() if method_class(one).needs in model.gives)
        raise OptionError(f"the method {name} needs {TOLD[needs]}, which {model.info.name} does not give; choose one of {fitting}")


def kept_layers(needs: Needs, model: Giving) -> Sequence[int] | None:
    """Return whose attention a trace should keep from its own pass; None for all. With any layer comes all cross-attention."""
    if needs not in ("anatomy", "attention"):
        return ()
    return None if model.cross_shape is None else (0,)


def build(name: str, options: Mapping[str, Any]) -> Explainer:
    """Return a method with its options set.

    Raises:
        OptionError: when there is no such method, it has no such option, or a value makes no sense.
    """
    made = method_class(name)
    known = {one.name: hint for one, hint in zip(fields(made), _hints(made), strict=True)}
    for option, value in options.items():
        if option not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise OptionError(f"the method {name} has no option {option!r}{_meant(option, list(known))}; {have}")
        _check(name, option, value, known[option])
    result: Explainer = made(**{option: _cast(value, known[option]) for option, value in options.items()})
    return result


def options_of(name: str) -> dict[str, tuple[Any, Any]]:
    """Return (type, default) of each option of a method."""
    made = method_class(name)
    return {one.name: (hint, one.default) for one, hint in zip(fields(made), _hints(made), strict=True)}


def _hints(made: Any) -> list[Any]:
    told = typing.get_type_hints(made)
    return [told[one.name] for one in fields(made)]


def _check(method: str, option: str, value: Any, hint: Any) -> None:
    wrong = f"{method}: {option} is {value!r}"
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise OptionError(f"{wrong}{_meant(str(value), list(choices))}; choose one of {', '.join(map(str, choices))}")
        return
    kinds = [one for one in (typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)) if isinstance(one, type)]
    accepted = tuple({*kinds, int} if float in kinds else kinds)
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in kinds):
        raise OptionError(f"{wrong}; expected {' or '.join('nothing' if one is type(None) else one.__name__ for one in kinds)}")


def _cast(value: Any, hint: Any) -> Any:
    return float(value) if hint is float else value


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
