"""The documentation site: complete, in two languages alike, and with no picture that the code does not make."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import voxray
from voxray import cli
from voxray.models import BUNDLED

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TRANSLATED = [path for path in PAGES if path.name.endswith(".zh.md")]
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")

sys.path.insert(0, str(ROOT / "scripts"))
from docsite import gallery, hooks, notebook, roles  # noqa: E402


def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def leaves(nav: Any) -> Iterator[tuple[str | None, str | None]]:
    """Titles and files of a navigation."""
    for entry in nav:
        if isinstance(entry, str):
            yield None, entry
            continue
        ((title, inside),) = entry.items()
        yield title, inside if isinstance(inside, str) else None
        if not isinstance(inside, str):
            yield from leaves(inside)


def status(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def expanded(command: str) -> str:
    """A command with what a shell would make of ``*``."""
    return " ".join(shlex.join(sorted(map(str, Path().glob(word)))) if "*" in word else word for word in command.split(" "))


# --- Complete ----------------------------------------------------------------------------------------------------------


def test_every_public_name_is_in_the_reference_once() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md")))
    told = Counter(re.findall(r"^::: voxray\.(\w+)$", text, re.MULTILINE))
    assert told == dict.fromkeys(voxray.__all__, 1)


def test_every_page_is_in_the_navigation_once() -> None:
    told = Counter(file for _, file in leaves(config()["nav"]) if file is not None)
    assert told == {path.relative_to(DOCS).as_posix(): 1 for path in PAGES if path not in TRANSLATED}


def test_every_title_of_the_navigation_has_its_chinese() -> None:
    (plugin,) = [one["i18n"] for one in config()["plugins"] if "i18n" in one]
    (chinese,) = [one for one in plugin["languages"] if one["locale"] == "zh"]
    assert set(chinese["nav_translations"]) == {title for title, _ in leaves(config()["nav"]) if title is not None}


def test_the_pages_that_are_read_most_are_translated() -> None:
    wanted = {"index", "tutorial", "methods", "models", "live", "app", "quality", "why", "evaluate", "proof", "tour"}
    assert wanted <= {path.name.split(".")[0] for path in TRANSLATED}


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.name)
def test_a_translation_has_the_headings_of_its_page(path: Path) -> None:
    english, chinese = (hooks.page_text(one) for one in (path.with_name(path.name.replace(".zh.", ".")), path))
    assert len(re.findall(r"^#+ .* \{ #\S+ \}$", hooks.anchored(chinese, english, path.name), re.MULTILINE)) >= 1


def test_the_chinese_table_of_methods_says_what_the_english_one_does() -> None:
    row = re.compile(r"^\| \[`(\w+)`\]\(#\1\) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
    english, chinese = (dict(row.findall((DOCS / name).read_text(encoding="utf-8"))) for name in ("methods.md", "methods.zh.md"))
    assert set(english) == set(voxray.methods.names())
    words = {"explains": "解释", "view": "视图", "adds up": "可加", "words": "词", "events": "事件"}
    for name, kind in english.items():
        assert [word for word in words if word in kind] == [word for word in words if words[word] in chinese[name]], name


def test_both_galleries_run_the_same_lines() -> None:
    english, chinese = ((DOCS / name).read_text(encoding="utf-8") for name in ("gallery.md", "gallery.zh.md"))
    assert gallery.blocks_of(english) == gallery.blocks_of(chinese)
    assert gallery.commands_of(english) == gallery.commands_of(chinese)
    assert len(gallery.blocks_of(english)) > 15


# --- Pictures ----------------------------------------------------------------------------------------------------------


def test_every_picture_is_made_by_the_code_and_shown(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {
        (path.parent / name).resolve()
        for path in [*PAGES, *ROOT.glob("README*.md")]
        for name in IMAGE.findall(path.read_text(encoding="utf-8"))
    }
    assert shown == {path.resolve() for path in (DOCS / "images").iterdir()}
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\npictures: ")[2].partition("\n\n")[0]
    monkeypatch.chdir(ROOT)
    for command in re.findall(r"^\t\$\(BIN\)/(voxray .*)$", recipe, re.MULTILINE):
        small = re.sub(r"--dpi \d+", "--dpi 30", command).replace("docs/images", str(tmp_path))
        assert status(expanded(small), monkeypatch) == 0, command
    assert "docs/images/languages.csv docs/images/languages-forced.png" in recipe  # what is made and not shown is thrown away
    made = {path.name for path in tmp_path.iterdir()} - {"languages.csv", "languages-forced.png"}
    scripts = {name: (ROOT / "scripts" / f"{name}.py").read_text(encoding="utf-8") for name in ("app_pictures", "proof_page")}
    made |= set(re.findall(r'out / "([\w-]+\.png)"', scripts["app_pictures"]))
    plots = re.search(r"^PLOTS = \((.*?)\)$", scripts["proof_page"], re.MULTILINE)
    assert plots is not None
    made |= {f"proof-{name}.png" for name in re.findall(r'"([\w-]+)"', plots[1])}
    assert made == {path.name for path in shown}
    capsys.readouterr()


def test_the_commands_of_the_gallery_draw_too(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    shutil.copytree(BUNDLED, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    commands = gallery.commands_of((DOCS / "gallery.md").read_text(encoding="utf-8"))
    assert len(commands) > 15
    for command in commands:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
        quick = f"{command} --dpi 30" if command.split()[1] in ("attention", "explain", "languages") else command
        quick += " --rounds 0 --swaps 0" if " compare-models " in command else ""
        assert status(expanded(quick), monkeypatch) == 0, command
        new = [path for path in tmp_path.rglob("*.*") if before.get(path) != path.stat().st_mtime_ns]
        assert {path.suffix for path in new} & {".png", ".html"}, command
    capsys.readouterr()


def test_what_blocks_draw_stands_at_the_end_of_their_sections() -> None:
    one = "## One\n\nText.\n\n```python\nb\n```\n\n```console\nc\n```\n\n"
    page = f"# T\n\n```python\na = 1\n```\n\n{one}## Two\n\n```python\nd\n```\n"
    found = gallery.illustrated(page, [[], ["one.png"], ["two.html"]], "at", "Open", "../")
    assert gallery.blocks_of(page) == ["a = 1\n", "b\n", "d\n"]
    assert gallery.commands_of(page) == ["c"]
    one, two = found.partition("## Two")[::2]
    assert one.endswith("c\n```\n\n![One](at/one.png){ loading=lazy }\n\n")
    assert '<iframe class="vx-report" src="../at/two.html" title="Two"' in two
    assert "[Open](at/two.html)" in two


def test_blocks_run_as_one_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = "from pathlib import Path\nname = 'a'\n"
    second = "Path(name + '.png').write_text('')\nPath('b.csv').write_text('')\n"
    assert gallery.run([first, second, "Path('b.html').write_text('')\n"]) == [[], ["a.png"], ["b.html"]]


def test_pictures_are_made_once(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nopen('a.png', 'w').close()\n```\n", encoding="utf-8")
    folder, names = gallery.made(page, tmp_path / "kept")
    assert names == [["a.png"]]
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "made.json"]
    (folder / "a.png").unlink()
    gallery.made.cache_clear()
    assert gallery.made(page, tmp_path / "kept") == (folder, names)
    assert not (folder / "a.png").exists()  # it was not run again
    page.write_text("```python\nopen('b.png', 'w').close()\n```\n", encoding="utf-8")
    gallery.made.cache_clear()
    assert gallery.made(page, tmp_path / "kept")[1] == [["b.png"]]


# --- Pages -------------------------------------------------------------------------------------------------------------


def test_a_notebook_becomes_a_page(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "\x1b[31mtwo\x1b[0m\n"]},
        {"output_type": "execute_result", "data": {"image/png": "AAEC\n", "text/plain": "<Image>"}},
        {"output_type": "execute_result", "data": {"text/html": "<b>x</b>", "text/plain": "x"}},
        {"output_type": "execute_result", "data": {"text/markdown": "| a |", "text/plain": "a"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# T\n", "text"]},
        {"cell_type": "code", "source": "print(1)", "outputs": outputs},
        {"cell_type": "code", "source": "  ", "outputs": []},
    ]
    (tmp_path / "n.zh.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    text, pictures = notebook.page(tmp_path / "n.zh.ipynb", "at")
    assert pictures == {"n.zh-1-1.png": b"\x00\x01\x02"}
    assert text == (
        "# T\ntext\n\n```python\nprint(1)\n```\n\n``` { .text .vx-given }\none\ntwo\n```\n\n"
        '![](at/n.zh-1-1.png)\n\n<div class="vx-given"><b>x</b></div>\n\n| a |\n'
    )


def test_roles_become_links_or_code() -> None:
    text = "See :func:`explain`, :class:`~voxray.types.Audio`, :meth:`voxray.Why.to_dict`, :data:`SHARES` and ``a|b``."
    found = roles.markdown(text, {"explain", "Audio", "Why"})
    assert found == (
        "See [`explain`][voxray.explain], [`Audio`][voxray.Audio], [`Why.to_dict`][voxray.Why.to_dict], `SHARES` and `a|b`."
    )


def test_links_lead_to_the_pages_that_show_a_file(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nsource: ../README.md#A part\n---\n", encoding="utf-8")
    (docs / "t.zh.md").write_text("---\nsource: ../t.zh.ipynb\n---\n", encoding="utf-8")
    (docs / "t.md").write_text("---\nsource: ../t.ipynb\n---\n", encoding="utf-8")

    def mended(text: str, origin: Path, page: str) -> str:
        return hooks.relinked(text, origin, docs, docs / page)

    assert mended("[x](../README.md#a-part)", docs, "b.md") == "[x](a.md)"
    assert mended("[`x`](../README.md#other) [y](../src/z.py)", docs, "b.md") == "`x` y"
    assert mended("[x](docs/b.md#c)", tmp_path, "a.md") == "[x](b.md#c)"
    assert mended("![p](docs/images/p.png)", tmp_path, "reference/a.md") == "![p](../images/p.png)"
    assert mended("[x](https://a.b/c) [y](#d)", docs, "b.md") == "[x](https://a.b/c) [y](#d)"
    assert mended("[zh](t.zh.ipynb)", tmp_path, "t.md") == '<a href="zh/t.html">zh</a>'
    assert mended("[en](t.ipynb)", tmp_path, "t.zh.md") == '<a href="../t.html">en</a>'
    assert mended("```\n[x](../src/z.py)\n```", docs, "b.md") == "```\n[x](../src/z.py)\n```"


def test_chinese_headings_get_english_anchors() -> None:
    english = "# A `b` c\n\n## Same\n\n```python\n# no heading\n```\n\n## Same\n"
    chinese = "# 一\n\n## 二 {#own}\n\n```python\n# 注释\n```\n\n## 三\n"
    assert hooks.anchored(chinese, english, "a.zh.md") == (
        "# 一 { #a-b-c }\n\n## 二 { #same }\n\n```python\n# 注释\n```\n\n## 三 { #same_1 }\n"
    )
    with pytest.raises(ValueError, match=r"a\.zh\.md does not have the headings of its English page"):
        hooks.anchored("# 一\n\n### 二\n", "# A\n\n## B\n", "a.zh.md")


def test_chinese_lines_are_joined_without_a_space() -> None:
    assert hooks.joined("他说，\n她听。\n\n- 一个\n  “词”\nword\n汉字\n\n```\n甲\n乙\n```\n") == (
        "他说，她听。\n\n- 一个“词”\nword\n汉字\n\n```\n甲\n乙\n```\n"
    )


def test_a_part_of_another_page_is_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# A\n<!-- made: begin -->\n| x |\n<!-- end -->\n### m\ny\n<!-- end -->\n", encoding="utf-8")
    assert hooks.part(path, "made: begin", "end") == "<!-- made: begin -->\n| x |"
    assert hooks.part(path, "### m", "end") == "### m\ny"
    (tmp_path / "b.md").write_text("# B\n\n<!-- from a.md, lines «### m» to «end» -->\n\nz\n", encoding="utf-8")
    assert hooks.page_text(tmp_path / "b.md") == "# B\n\n### m\ny\n\nz\n"
    with pytest.raises(ValueError, match=r"a\.md has no lines 'made: begin' to 'stop'"):
        hooks.part(path, "made: begin", "stop")


def test_a_section_of_a_file_is_a_page(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# T\n\n## One\n\na\n\n## Two\n\nb\n", encoding="utf-8")
    assert hooks.section(path, "One") == "# One\n\na\n\n"
    assert hooks.section(path, "Two") == "# Two\n\nb\n"
    with pytest.raises(ValueError, match="has no section 'Three'"):
        hooks.section(path, "Three")


def test_each_language_has_its_own_search(tmp_path: Path) -> None:
    docs = [{"location": where, "title": where, "text": "x"} for where in ("a.html", "zh/a.html#b", "zhu.html")]
    (tmp_path / "search").mkdir()
    (tmp_path / "zh").mkdir()
    (tmp_path / hooks.SEARCH).write_text(json.dumps({"config": {"lang": ["en", "zh"]}, "docs": docs}), encoding="utf-8")
    i18n = SimpleNamespace(building=False, all_languages=["en", "zh"], default_language="en")
    hooks.on_post_build(SimpleNamespace(plugins={"i18n": i18n}, site_dir=str(tmp_path)))
    english, chinese = (json.loads((tmp_path / at / hooks.SEARCH).read_text(encoding="utf-8")) for at in ("", "zh"))
    assert [one["location"] for one in english["docs"]] == ["a.html", "zhu.html"]
    assert [one["location"] for one in chinese["docs"]] == ["a.html#b"]
    assert (english["config"]["lang"], chinese["config"]["lang"]) == (["en"], ["en", "zh"])
    script = (tmp_path / "zh" / "search" / "search_index.js").read_text(encoding="utf-8")
    assert json.loads(script.removeprefix("var __index = ")) == chinese


@pytest.mark.parametrize(("given", "wanted"), [('"base": ".."', '"base": "."'), ('"base": "../.."', '"base": ".."')])
def test_chinese_pages_search_in_their_own_folder(given: str, wanted: str) -> None:
    def built(*, english: bool) -> str:
        plugins = {"i18n": SimpleNamespace(is_default_language_build=english)}
        return hooks.on_post_page(f'{{"a": null, {given}, "b": 1}}', None, SimpleNamespace(plugins=plugins))

    assert built(english=False) == f'{{"a": null, {wanted}, "b": 1}}'
    assert built(english=True) == f'{{"a": null, {given}, "b": 1}}'
