"""Write the part of ``docs/methods.md`` that the methods themselves say, so that the page and the code are one.

Usage: ``python scripts/methods_page.py`` writes it anew; with ``--check`` it only says whether the page is current.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from voxray import methods
from voxray.cli.methods import method_told, nature_of

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
CHINESE = PAGE.with_name("methods.zh.md")  # its table is translated by hand, but for what the benchmark says
KINDS = {"words": "词", "contrasts": "一词对另一词", "events": "事件", "languages": "语言", "emotions": "情感"}
ROW = re.compile(r"^(\| \[`(\w+)`\]\(#\2\) \| [^|]+ \| )[^|]+ \|$", re.MULTILINE)
BEGIN, END = "<!-- made by scripts/methods_page.py: begin -->", "<!-- made by scripts/methods_page.py: end -->"
NEEDS = {
    "split": "operators through which a score splits into shares",
    "gradients": "operators with a gradient rule",
    "anatomy": "attention and weights of an encoder that makes the text by itself",
    "attention": "attention that can be read, of an encoder or from a decoder to it",
    "passes": "nothing but the model's answers",
}


def table() -> str:
    """Return the table of all methods."""
    lines = ["| method | what it answers | kind |", "|---|---|---|"]
    for name in methods.names():
        kind = methods.method_class(name)
        lines.append(f"| [`{name}`](#{name}) | {cell(kind.answers)} | {nature_of(kind)} |")
    return "\n".join(lines)


def section(name: str) -> str:
    """Return everything about one method."""
    kind = methods.method_class(name)
    told = method_told(kind)
    facts = [
        f"### {name}",
        "",
        f"{kind.title[0].upper()}{kind.title[1:]}: {nature_of(kind)}.",
        "",
        f"- **Answers:** {kind.answers}",
        f"- **Cannot:** {kind.cannot}",
        f"- **Cost:** {kind.cost}",
        f"- **Needs:** {NEEDS[kind.needs]}.",
        f"- **Source:** {kind.source}",
    ]
    if told["options"]:
        facts += ["", "| option | default | values | what it is |", "|---|---|---|---|"]
    for one in told["options"]:
        default = shown(one["default"])
        facts.append(f"| `{one['name']}` | {default} | {cell(one['type'])} | {cell(one['help'])} |")
    return "\n".join(facts)


def shown(default: object) -> str:
    """Return a default as a reader takes it in."""
    if default is None or isinstance(default, bool):
        return {None: "none", True: "yes", False: "no"}[default]
    return str(default)


def cell(text: str) -> str:
    """Return a text that may stand in a table."""
    return text.replace("|", "\\|")


def page(text: str) -> str:
    """Return the text of the page with the generated part made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = "\n\n".join([table(), *(section(name) for name in methods.names())])
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def in_chinese(nature: str) -> str:
    """Return what a method's maps explain, in Chinese."""
    told = nature.removesuffix(", adds up")
    kinds = told.removeprefix("explains ").split(", ") if told.startswith("explains ") else []
    first = f"解释{'、'.join(KINDS[kind] for kind in kinds)}" if kinds else "视图"
    return first + ("，可加" if nature.endswith("adds up") else "")


def chinese(text: str) -> str:
    """Return the Chinese page with the kinds of its table made anew."""
    return ROW.sub(lambda row: f"{row[1]}{in_chinese(nature_of(methods.method_class(row[2])))} |", text)


def main() -> int:
    """Write the pages, or say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    texts = {path: path.read_text(encoding="utf-8") for path in (PAGE, CHINESE)}
    made = {PAGE: page(texts[PAGE]), CHINESE: chinese(texts[CHINESE])}
    if check:
        sys.stdout.write("current\n" if made == texts else "not current: run python scripts/methods_page.py\n")
        return int(made != texts)
    for path, current in made.items():
        path.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
