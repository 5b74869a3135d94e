"""An extension of Griffe: roles in docstrings (``:func:`explain```) become links where the site has the name, else code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?([\w.]+)`")
LITERAL = re.compile(r"``(.+?)``", re.DOTALL)


class Roles(griffe.Extension):
    """Turns what docstrings are written in into Markdown."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Mend the docstrings of the whole package once it is read."""
        public = set(pkg.exports or ())
        for one in _everything(pkg):
            if one.docstring is not None:
                one.docstring.value = markdown(one.docstring.value, {str(name) for name in public})


def markdown(text: str, public: set[str]) -> str:
    """Return a docstring with its roles as links to public names, or as code."""

    def linked(found: re.Match[str]) -> str:
        name = found[1].removeprefix("voxray.")
        root = next((part for part in name.split(".") if part in public), None)
        if root is None:
            return f"`{name}`"
        path = name[name.index(root) :]
        return f"[`{path}`][voxray.{path}]"

    return LITERAL.sub(r"`\1`", ROLE.sub(linked, text))


def _everything(one: griffe.Object) -> Any:
    """Yield an object and all in it that is its own."""
    yield one
    for member in one.members.values():
        if not member.is_alias:
            yield from _everything(member)
