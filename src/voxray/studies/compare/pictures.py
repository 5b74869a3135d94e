"""The pictures of a comparison of two models, each by its name, and how it is drawn in a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.types import ModelInfo
from voxray.views import canvas
from voxray.views.compare import draw_damage, draw_divergence, draw_margins
from voxray.views.layers import draw_paths

if TYPE_CHECKING:
    from voxray.studies.compare.comparison import ModelComparison

Draw = Callable[[canvas.Style], Any]


def pictures_of(found: ModelComparison) -> Mapping[str, Draw]:
    """Return the ways to draw what there is: ``damage``, ``heads``, ``layers``, ``margins``."""
    about = " · ".join([f"{letter} {_named(one)}" for letter, one in zip("AB", found.models, strict=True)])
    return {**_damage(found, about), **_inside(found, about), **_margins(found, about)}


def _damage(found: ModelComparison, about: str) -> dict[str, Draw]:
    """Return the picture of where the damage arises, where layers were exchanged."""
    damage = found.damage
    if damage is None or not damage.adds_up:
        return {}
    shares = [one.share for one in damage.layers]
    columns = [np.array([getattr(one, name) for one in shares], np.float64) for name in ("value", "low", "high")]
    names = [*map(str, range(len(shares) - 1)), "head"]
    note = f"{about} · {len(damage.clips)} clips · lines: 95 % intervals over clips, dashed: even shares"
    told = {"title": "Where the damage arises", "provenance": note}
    return {"damage": lambda style: draw_damage(columns[0], (columns[1], columns[2]), names, style, **told)}


def _inside(found: ModelComparison, about: str) -> dict[str, Draw]:
    """Return the pictures of heads and layers, where they were measured and differ."""
    inside = found.inside
    if inside is None or not inside.table().any():
        return {}
    rows = f"{about} · {len(inside.clips)} clips, {inside.rows} rows · a view, not an explanation"
    heads: dict[str, Any] = {"unit": "bits a row", "title": "How far attention diverges, head by head", "provenance": rows}
    curve = {"output": [one.relative_l2 or 0.0 for one in inside.layers]}
    layers: dict[str, Any] = {"unit": "relative L2", "title": "How far the layers' outputs lie apart", "provenance": rows}
    return {
        "heads": lambda style: draw_divergence(inside.table(), style, **heads),
        "layers": lambda style: draw_paths(curve, style, **layers),
    }


def _margins(found: ModelComparison, about: str) -> dict[str, Draw]:
    """Return the picture of the tokens' margins, where both models have them."""
    known = [one.margins for one in found.tokens if one.margins[1] is not None]
    if not known:
        return {}
    first, second = np.array(known, np.float64).T
    told: dict[str, Any] = {"names": ("A", "B"), "title": f"Margins of {len(known)} tokens", "provenance": about}
    return {"margins": lambda style: draw_margins(first, second, style, **told)}


def _named(model: ModelInfo) -> str:
    return f"{model.name} ({model.layout}, {model.precision})"
