"""What the HTML pages share: texts in two languages, numbers, and the rules by which a page loads nothing and runs only its own.

Every page extends ``base.html`` and is called by a name: ``NAME.html`` fills the blocks, ``NAME.css`` and ``NAME.js``, where there
are such, follow ``base.css`` and ``page.js``. Each text stands in the page as an element that names its key and values, so that the
script can put another language in its place.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

from voxray.storage import whole_file
from voxray.types import OptionError, OutputError
from voxray.views.canvas import Style, Theme, save_figure

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure

Language = Literal["en", "zh"]
DPI = 150
"""Of the pictures in a page."""
ASSETS = Path(__file__).parent.parent / "assets" / "report"


def rendered(
    name: str, strings: Mapping[str, Mapping[str, str]], language: Language, *, data: Mapping[str, Any] | None = None, **values: Any
) -> Iterator[str]:
    """Return the parts of a page in order.

    Args:
        name: of the page.
        strings: its texts by language and key.
        language: that it opens in; it can be changed there.
        data: what its script reads besides the texts.
        **values: what its template shows.

    Raises:
        OptionError: when there is no such language.
    """
    check(language)
    return _environment(name, Words(strings[language])).get_template(f"{name}.html").generate(
        values,
        language=language,
        data={"language": language, "strings": strings, **(data or {})},
        now=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=version(),
    )  # fmt: skip


def check(language: str) -> None:
    """Refuse a language that the pages do not speak.

    Raises:
        OptionError: when it is none of theirs.
    """
    if language not in get_args(Language):
        raise OptionError(f"the page knows no language {language!r}; choose {' or '.join(get_args(Language))}")


def write(parts: Iterable[str | bytes], path: Path) -> Path:
    """Write a page or what belongs to it, whole or not at all, and return its path.

    Raises:
        OutputError: when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as stream:
            for part in parts:
                # JSON may bring lone surrogates along
                stream.write(part if isinstance(part, bytes) else part.encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return path


@lru_cache(maxsize=8)
def texts(pattern: str) -> dict[str, dict[str, str]]:
    """Return the texts of a page by language and key; ``pattern`` is the name of their files with ``{}`` for the language."""
    return {name: json.loads((ASSETS / pattern.format(name)).read_text(encoding="utf-8")) for name in get_args(Language)}


def _environment(name: str, words: Words) -> Environment:
    """Return Jinja with what the templates use: texts, numbers, the page's own files."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = _own("page.js", f"{name}.js")
    made.globals |= {"t": words.text, "ta": words.attribute, "safe_json": safe_json}
    made.globals |= {"style": _own("base.css", f"{name}.css"), "script": script, "policy": _policy(script)}
    made.filters |= {"percent": percent, "number": number}
    return made


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as PNG, for light and for dark screens."""

    light: bytes
    dark: bytes

    @classmethod
    def drawn(cls, draw: Callable[[Style], Figure]) -> Picture:
        """Return the picture that a function draws, in both themes.

        Args:
            draw: gives the figure in a style.
        """
        with TemporaryDirectory() as folder:
            looks = [Style(theme, DPI) for theme in get_args(Theme)]
            return cls(*(save_figure(draw(one), Path(folder) / f"{one.theme}.png", one).read_bytes() for one in looks))

    @property
    def sources(self) -> tuple[str, str]:
        """Both as data URIs."""
        light, dark = (f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in (self.light, self.dark))
        return light, dark


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


def _own(*names: str) -> Markup:
    """Return those files of the pages that there are, one after the other; they are ours and are written as they are."""
    from markupsafe import Markup

    files = (ASSETS / name for name in names)
    return Markup("\n".join(one.read_text(encoding="utf-8") for one in files if one.is_file()))  # noqa: S704 they come with the package


def _policy(script: Markup) -> str:
    """Return the content security policy: the page's own script by its hash, its own sounds and pictures, nothing else."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
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
