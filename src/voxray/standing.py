"""May a map be called an explanation? What the committed result of the benchmark says.

A map is called an explanation of a kind of decision only where the benchmark showed that the decision leans on what its method
names more than on what chance or the emission names; else it is a view of the model. The result is that of the bundled model on
speech of which the truth is known: for another model it is the best guess there is, until the benchmark is run on that model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from voxray.types import TAG_KINDS, Target

EVIDENCE = Path(__file__).parent / "assets" / "evidence.json"
KINDS = ("word", "contrast", "event", "language", "emotion")
Status = Literal["explanation", "view"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a method's maps of a kind of decision may be called.

    Attributes:
        kind: of decision: one of :data:`KINDS`, or the tag's where the benchmark does not ask about it.
        status: explanation or view.
        because: why, in a sentence.
    """

    kind: str
    status: Status
    because: str


def kind_of(target: Target) -> str:
    """Return the kind of decision that a target is, as the benchmark asks about it."""
    if target.kind == "tag":
        return next(kind for kind in TAG_KINDS if target.name.startswith(kind))
    return "contrast" if target.against else "word"


def standing(method: str, target: Target) -> Standing:
    """Return what a method's map of a target may be called."""
    return standing_of(method, kind_of(target))


def standing_of(method: str, kind: str) -> Standing:
    """Return what a method's maps of a kind of decision may be called; a view where the benchmark says nothing."""
    told = _evidence().get((method, kind))
    if told is None:
        return Standing(kind, "view", "the benchmark has not shown that decisions lean on what it names")
    return Standing(kind, told["status"], told["because"])


def explains(method: str) -> tuple[str, ...]:
    """Return the kinds of decision that a method's maps explain."""
    return tuple(kind for kind in KINDS if standing_of(method, kind).status == "explanation")


def evidence() -> dict[str, Any]:
    """Return the committed result as it is: ``provenance``, ``status``, and the ``gates`` that held."""
    found: dict[str, Any] = json.loads(EVIDENCE.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=1)
def _evidence() -> Mapping[tuple[str, str], Mapping[str, Any]]:
    return {(one["method"], one["kind"]): one for one in evidence()["status"]}
