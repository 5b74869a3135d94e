"""The words of the page in its languages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

ASSETS = Path(__file__).parent.parent / "assets" / "app"
TONGUES = ("en", "zh")


@cache
def words(tongue: str) -> dict[str, str]:
    """Return the words of a language by their keys; of an unknown one the English."""
    told: dict[str, str] = json.loads((ASSETS / f"{tongue if tongue in TONGUES else TONGUES[0]}.json").read_text(encoding="utf-8"))
    return told
