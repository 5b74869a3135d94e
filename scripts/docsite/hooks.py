"""What MkDocs does for this site besides its plugins; ``mkdocs.yml`` names this file.

- A page whose front matter says ``source: ../FILE`` shows that file: Markdown, a section of it (``FILE#heading``), or a notebook.
- On ``gallery.md`` the blocks of Python are run, and what they draw stands below them.
- Links to files outside ``docs`` lead to the pages that show them, or become plain text.
- A page that has no Chinese says so. Headings of Chinese pages have the anchors of the English ones, so that links hold in both.
- Each language has a search of its own, and pages opened from disk have one too.
- ``<!-- from FILE, lines «FIRST» to «LAST» -->`` stands for a part of another page, without its last line.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from markdown.extensions.toc import slugify, unique
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent.parent))  # MkDocs loads this file by its path, not as a part of its package
from docsite import gallery, notebook

CACHE = Path("build") / "gallery"
GALLERY = "gallery"
NOTEBOOKS = "notebooks"
SEARCH = "search/search_index.json"
HAN = "\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef”"
BREAK = re.compile(rf"(?<=[{HAN}])\n *(?=[{HAN}“])")
FRONT = re.compile(r"\A---\n(.*?)^---\n", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
HEADING = re.compile(r"^(#{1,6}) +(.*?)$", re.MULTILINE)
PART = re.compile(r"^<!-- from (\S+), lines «(.*)» to «(.*)» -->$", re.MULTILINE)
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
TOLD = {
    "en": {"report": "Open the report on a page of its own"},
    "zh": {"report": "在单独的页面里打开报告", "untranslated": '!!! note ""\n    这一页还没有中文，以下是英文。\n\n'},
}


@event_priority(-200)  # after i18n, which would look for these files in docs
def on_files(files: Any, config: Any) -> Any:
    """Add what pages show and no file of ``docs`` holds: pictures of the gallery and of notebooks."""
    docs = Path(config.docs_dir)
    folder, names = gallery.made(docs / "gallery.md", _cache(config))
    for name in (name for block in names for name in block):
        files.append(File.generated(config, f"{GALLERY}/{name}", abs_src_path=str(folder / name)))
    for path in sorted(Path(source) for source in _sources(docs).values()):
        if path.suffix == ".ipynb":
            for name, data in notebook.page(path, NOTEBOOKS)[1].items():
                files.append(File.generated(config, f"{NOTEBOOKS}/{name}", content=data))
    return files


@event_priority(100)
def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Fill in what a page shows, mend its links, and say so where it has no Chinese."""
    docs = Path(config.docs_dir)
    language = config.plugins["i18n"].current_language
    path = docs / page.file.src_uri
    markdown, origin = _filled(markdown, page.meta.get("source"), path)
    if page.file.locale != "en":
        english = path.with_name(path.name.replace(f".{language}.", "."))
        markdown = joined(anchored(markdown, page_text(english), path.name))
    if page.file.src_uri.split(".")[0] == GALLERY:
        _, names = gallery.made(docs / "gallery.md", _cache(config))  # the Chinese page has the same blocks
        root = "" if language == "en" else "../"
        markdown = gallery.illustrated(markdown, names, GALLERY, TOLD[language]["report"], root)
    markdown = relinked(markdown, origin, docs, path)
    empty = {"navigation": page.parent is None, "toc": "\n## " not in markdown}  # columns that would hold nothing
    page.meta["hide"] = [name for name, is_so in empty.items() if is_so]
    return (TOLD[language].get("untranslated", "") if page.file.locale != language else "") + markdown


@event_priority(100)
def on_post_page(output: str, page: Any, config: Any) -> str:  # noqa: ARG001
    """Let a Chinese page take its own folder for the root of the site, which is where search looks for its index."""
    i18n = config.plugins["i18n"]
    if i18n.is_default_language_build:
        return output
    return re.sub(r'"base": "\.\.(?:/(\.\.))?"', lambda found: f'"base": "{found[1] or "."}"', output, count=1)


@event_priority(-200)  # after i18n, which joins the languages
def on_post_build(config: Any) -> None:
    """Part the index of search by language, and write it as a script too, which is what pages opened from disk can load."""
    i18n = config.plugins["i18n"]
    if i18n.building:  # one language of several
        return
    site = Path(config.site_dir)
    index = json.loads((site / SEARCH).read_text(encoding="utf-8"))
    others = [language for language in i18n.all_languages if language != i18n.default_language]
    for language in i18n.all_languages:
        folder = "" if language == i18n.default_language else f"{language}/"
        docs = [
            entry | {"location": entry["location"].removeprefix(folder)}
            for entry in index["docs"]
            if (entry["location"].startswith(folder) if folder else entry["location"].split("/")[0] not in others)
        ]
        told = {"config": index["config"] | {"lang": list(dict.fromkeys(["en", language]))}, "docs": docs}
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        path = site / folder / SEARCH
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".js").write_text(f"var __index = {text}", encoding="utf-8")


def _filled(text: str, source: str | None, path: Path) -> tuple[str, Path]:
    """Return all that a page says, and the folder that its links are relative to."""
    folder = path.parent
    if source is not None:
        name, _, heading = source.partition("#")
        origin = Path(os.path.normpath(folder / name))
        text = notebook.page(origin, NOTEBOOKS)[0] if origin.suffix == ".ipynb" else section(origin, heading)
        folder = origin.parent
    return PART.sub(lambda found: part(folder / found[1], found[2], found[3]), text), folder


def part(path: Path, first: str, last: str) -> str:
    """Return the lines of a file from one to before another; both are told without the marks of a comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [line.removeprefix("<!-- ").removesuffix(" -->") for line in lines]
    if first not in bare or last not in bare[bare.index(first) + 1 :]:
        raise ValueError(f"{path.name} has no lines {first!r} to {last!r}")
    begin = bare.index(first)
    return "\n".join(lines[begin : bare.index(last, begin + 1)])


def page_text(path: Path) -> str:
    """Return all that the page of a file says."""
    text = path.read_text(encoding="utf-8")
    front = FRONT.match(text)
    told = yaml.safe_load(front[1]) if front else {}
    return _filled(FRONT.sub("", text), told.get("source"), path)[0]


def joined(text: str) -> str:
    """Return a Chinese page without line breaks between its characters, which browsers would show as spaces."""
    return "".join(part if index % 2 else BREAK.sub("", part) for index, part in enumerate(FENCE.split(text)))


def anchored(text: str, english: str, name: str) -> str:
    """Return a translated page whose headings have the anchors of the English page.

    Args:
        text: the page.
        english: the English page.
        name: of the page, for the error.

    Raises:
        ValueError: when the two pages are not made alike, heading by heading.
    """
    taken: set[str] = set()
    wanted = [(mark, unique(slugify(words, "-"), taken)) for mark, words in _headings(english)]
    if [mark for mark, _ in wanted] != [mark for mark, _ in _headings(text)]:
        raise ValueError(f"{name} does not have the headings of its English page, one for one")
    queue = iter(wanted)
    parts = FENCE.split(text)
    return "".join(
        part if index % 2 else HEADING.sub(lambda found: f"{found[1]} {_bare(found[2])} {{ #{next(queue)[1]} }}", part)
        for index, part in enumerate(parts)
    )


def _headings(text: str) -> list[tuple[str, str]]:
    """Return the headings of a page: their marks and words, without the marks of code and links."""
    plain = "".join(FENCE.split(text)[::2])
    return [(mark, LINK.sub(r"\2", _bare(words)).replace("`", "")) for mark, words in HEADING.findall(plain)]


def _bare(heading: str) -> str:
    """Return the words of a heading without an anchor of its own."""
    return re.sub(r" *\{ *#[^}]*\}$", "", heading)


def section(path: Path, heading: str) -> str:
    """Return a Markdown file, or one of its sections with its heading made the page's own."""
    text = path.read_text(encoding="utf-8")
    if not heading:
        return text
    found = re.search(rf"^## ({re.escape(heading)}\n.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{path.name} has no section {heading!r}")
    return f"# {found[1]}"


def relinked(text: str, origin: Path, docs: Path, page: Path) -> str:
    """Return a page with links that hold on the site.

    Args:
        text: what the page says.
        origin: folder that its links are relative to.
        docs: folder of the site's pages.
        page: the page's own file in ``docs``.
    """
    shown = {_named(source): name for name, source in _sources(docs).items()}

    def mended(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if not path or ":" in path or path.startswith("/"):
            return found[0]
        place = os.path.normpath(origin / path)
        if (name := shown.get((place, anchor), shown.get((place, "")))) is not None:
            return _link_to(name, words, docs, page)
        if Path(place).is_relative_to(docs):
            return f"{mark}[{words}]({os.path.relpath(place, page.parent)}{hash_}{anchor})"
        return words

    parts = FENCE.split(text)
    return "".join(part if index % 2 else LINK.sub(mended, part) for index, part in enumerate(parts))


def _link_to(name: str, words: str, docs: Path, page: Path) -> str:
    """Return a link to a page that shows a file from elsewhere; to the same page in another language as HTML, past MkDocs."""
    plain, own = (one.replace(".zh.", ".") for one in (name, page.name))
    if plain == own and name != page.name:
        other = Path(plain).with_suffix(".html").name
        return f'<a href="{f"zh/{other}" if ".zh." in name else f"../{other}"}">{words}</a>'
    return f"[{words}]({os.path.relpath(docs / plain, page.parent)})"


def _named(source: str) -> tuple[str, str]:
    """Return a source as links name it: its path, and the anchor of its section."""
    path, _, heading = source.partition("#")
    return path, re.sub(r"\s+", "-", heading.lower())


def _sources(docs: Path) -> dict[str, str]:
    """Return the pages that show a file from elsewhere, with the path of that file and the heading of its section after ``#``."""
    found = {}
    for path in sorted(docs.glob("*.md")):
        front = FRONT.match(path.read_text(encoding="utf-8"))
        told = yaml.safe_load(front[1]) if front else {}
        if "source" in told:
            found[path.name] = os.path.normpath(docs / told["source"])
    return found


def _cache(config: Any) -> Path:
    """Return where pictures are kept from one build to the next."""
    return Path(config.config_file_path).parent / CACHE
