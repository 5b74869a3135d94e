"""The page about two models: the verdict, what changes, where it begins, and what it gains, in one HTML file that needs no network.

It is drawn from plain values: what :meth:`ModelComparison.to_dict` says, the sentences of the verdict by their keys, and pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from voxray.views.page import Language, Picture, Words, rendered, texts, write

MOST = 100
"""Clips, tokens and heads in a table; the JSON file has all."""
NAMED = re.compile(r"\{(part\.[^}]+)\}")


def sentence(key: str, values: Mapping[str, Any], language: Language = "en") -> str:
    """Return a sentence of the verdict.

    Args:
        key: of the text.
        values: what is filled in; ``{part.NAME}`` among them stands for the name of a part of a layer.
        language: of the sentence.
    """
    words = Words(strings()[language])
    return words.told(key, {name: _named(value, words) for name, value in values.items()})


def _named(value: Any, words: Words) -> Any:
    """Return a value with the names of parts in the language of the words."""
    return NAMED.sub(lambda found: words.told(found[1], {}), value) if isinstance(value, str) else value


def write_page(
    told: Mapping[str, Any],
    claims: Sequence[tuple[str, Mapping[str, Any]]],
    pictures: Mapping[str, Picture],
    path: Path,
    *,
    language: Language = "en",
) -> Path:
    """Write the page.

    Args:
        told: what the comparison says.
        claims: key and values of each sentence of the verdict.
        pictures: ``damage``, ``heads``, ``layers``, ``margins``, those that there are.
        path: of the page.
        language: that it opens in; it can be changed there.

    Returns:
        The path.

    Raises:
        OptionError: when there is no such language.
        OutputError: when the page cannot be written.
    """
    parts = rendered(
        "models",
        strings(),
        language,
        told=told,
        claims=[{name: sentence(key, values, name) for name in get_args(Language)} for key, values in claims],
        pictures={name: one.sources for name, one in pictures.items()},
        changed=[one for one in told["clips"] if one["changed"]],
        tokens=_fallen(told["clips"]),
        tags=[(one["name"], tag) for one in told["clips"] for tag in one["tags"] if tag["flips"]],
        words=_words(told["clips"]),
        heads=_heads(told["inside"]),
        most=MOST,
    )
    return write(parts, path)


def strings() -> dict[str, dict[str, str]]:
    """Return the texts of the page by language and key."""
    return texts("models.{}.json")


def _fallen(clips: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tokens whose margin fell most, those without a place first, with the names of their clips."""
    every = [(clip["name"], token) for clip in clips for token in clip["tokens"]]
    fallen = [one for one in every if _change(one[1]) < 0]
    return sorted(fallen, key=lambda one: _change(one[1]))[:20]


def _change(token: Mapping[str, Any]) -> float:
    before, after = token["margins"]
    return float("-inf") if after is None else float(after - before)


def _words(clips: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return how far apart the words begin that both have; None without any."""
    apart = [abs(word["starts"][1] - word["starts"][0]) for clip in clips for word in clip["words"]]
    if not apart:
        return None
    return {"words": len(apart), "start": sum(apart) / len(apart), "within": sum(one <= 0.05 + 1e-9 for one in apart) / len(apart)}


def _heads(inside: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the heads that diverge most."""
    known = [] if inside is None else [one for one in inside["intervals"] if one["divergence"] is not None]
    return sorted(known, key=lambda one: -one["divergence"]["value"])[:10]
