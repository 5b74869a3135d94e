"""What the HTML pages share: texts in two languages, numbers, and the rules by which a page loads nothing and runs only its own.

A page keeps its template, style sheet, script and texts in one folder. Each text stands in the page as an element that names its
key and values, so that the page's script can put another language in its place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

Language = Literal["en", "zh"]
ASSETS = Path(__file__).parent.parent / "assets" / "report"


def environment(words: Words, script: str) -> Environment:
    """Return Jinja with what the templates use: texts, numbers, the page's own files.

    Args:
        words: the page's texts.
        script: the page's own script, which its policy lets run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {"t": words.text, "ta": words.attribute, "own": own, "safe_json": safe_json, "policy": lambda: policy(script)}
    made.filters |= {"percent": percent, "number": number}
    return made


@dataclass(frozen=True, slots=True)
class Words:
    """Texts of one language, written so that the page can put those of another in their place."""

    table: Mapping[str, str]

    def told(self, key: str, values: Mapping[str, Any], otherwise: str | None = None) -> str:
        """Return a text with its values filled in.

        Raises:
            KeyError: when there is no such text, and nothing to take otherwise.
        """
        text = self.table.get(key, otherwise)
        if text is None:
            raise KeyError(key)
        return re.sub(r"\{(\w+)\}", lambda found: str(values.get(found[1], found[0])), text)

    def text(self, key: str, otherwise: str | None = None, **values: Any) -> Markup:
        """Return a text as an element; one without a translation, such as the name of a new cause, as it is."""
        from markupsafe import Markup

        told = self.told(key, values, otherwise)
        if key not in self.table:
            return Markup("<span>{}</span>").format(told)
        filled = Markup(' data-values="{}"').format(json.dumps(values)) if values else Markup("")
        return Markup('<span data-t="{}"{}>{}</span>').format(key, filled, told)

    def attribute(self, name: str, key: str) -> Markup:
        """Return an attribute with a text without values."""
        from markupsafe import Markup

        return Markup('{}="{}" data-t-{}="{}"').format(name, self.table[key], name, key)


def own(name: str) -> Markup:
    """Return a style sheet or script of the page, which is ours and is written as it is."""
    from markupsafe import Markup

    return Markup((ASSETS / name).read_text(encoding="utf-8"))  # noqa: S704 it comes with the package


def policy(script: str) -> str:
    """Return the content security policy: the page's own script by its hash, its own sounds and pictures, nothing else."""
    digest = hashlib.sha256(own(script).encode("utf-8")).digest()
    allowed = (
        f"script-src 'sha256-{base64.b64encode(digest).decode()}'; style-src 'unsafe-inline'; media-src data: blob:; img-src data:"
    )
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def safe_json(value: Any) -> Markup:
    """Return JSON that no HTML parser can take for anything else; numbers that are none become null."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(_finite(value), separators=(",", ":"))


def version() -> str:
    """Return the version of Voxray; empty where it was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("voxray")
    except PackageNotFoundError:  # run from a folder
        return ""


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a page shows it."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}%"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number as a page shows it."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
