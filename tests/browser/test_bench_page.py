"""The page of a benchmark in a real browser: sets and measures are chosen, tables sorted, languages switched, at every width."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_tables import METHODS, PLACES, made_table
from voxray.views.bench import page
from voxray.views.bench.results import Results

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "table.html"
    path.write_text(page(made_table()), encoding="utf-8")
    return path


def rows(shown: Any) -> list[str]:
    every = "all => all.filter(one => one.offsetParent).map(one => one.querySelector('th').firstChild.textContent.trim())"
    return list(shown.eval_on_selector_all(".place:not([hidden]) .figures tbody tr", every))


def heads(shown: Any) -> list[str]:
    every = "all => all.filter(one => one.offsetParent).map(one => one.querySelector('button').textContent.trim())"
    return list(shown.eval_on_selector_all(".place:not([hidden]) .figures thead th", every))


def test_one_set_is_shown_with_the_main_measures(file: Path, open_file: Open) -> None:
    shown = open_file(file)
    assert shown.locator(".place:visible h3").all_text_contents() == ["A · word lists · words"]
    assert heads(shown) == ["Method", "points inside ↑", "mass lift ↑", "ROC-AUC ↑", "distance ↓", "deletion ↓", "insertion ↑",
                            "correlation ↑", "seconds ↓"]  # fmt: skip
    assert len(rows(shown)) == len(METHODS)
    assert shown.locator(".place:visible img").count() == 4
    shown.select_option("#place", "2")
    assert shown.locator(".place:visible h3").all_text_contents() == ["C · minimal pairs · one word against another"]
    assert "distance ↓" not in heads(shown)
    shown.select_option("#group", "sane")
    assert heads(shown) == ["Method", "randomised model ↓", "sum misses ↓"]
    shown.select_option("#group", "all")
    assert len(heads(shown)) == 1 + len(Results(made_table()).measures(PLACES[2]))


def test_the_table_sorts_by_mouse_and_keyboard(file: Path, open_file: Open) -> None:
    shown = open_file(file)
    means = {
        one["method"]: one["mean"]
        for one in made_table()["cells"]
        if (one["set"], one["measure"], one["fill"]) == ("A", "deletion", "noise_floor")
    }
    titles = {one.name: one.title for one in Results(made_table()).methods}
    wanted = [titles[name] for name in sorted(means, key=lambda name: means[name])]
    head = shown.locator(".place:visible th", has_text="deletion").first
    head.get_by_role("button").click()
    assert rows(shown) == wanted
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").press("Enter")
    assert rows(shown) == wanted[::-1]
    shown.locator(".place:visible th", has_text="mass lift").get_by_role("button").click()
    assert rows(shown)[0] == "The truth itself"
    assert head.get_attribute("aria-sort") is None
    shown.select_option("#group", "sane")
    shown.locator(".place:visible th", has_text="sum misses").get_by_role("button").click()
    assert rows(shown)[0] == "Exact relevance (frozen routing)", "what was not measured comes last"
    shown.locator(".place:visible th", has_text="Method").get_by_role("button").click()
    assert rows(shown) == [titles[name] for name in METHODS]


def test_the_language_can_be_switched(file: Path, open_file: Open) -> None:
    shown = open_file(file)
    shown.get_by_role("button", name="中文").click()
    assert shown.evaluate("document.documentElement.lang") == "zh-Hans"
    assert shown.locator("h1").text_content() == "哪种解释值得信任？"
    assert shown.locator("#place option").first.text_content() == "A · 词表 · 词"
    assert heads(shown)[:2] == ["方法", "指在其内 ↑"]
    assert shown.locator(".place:visible th", has_text="ROC-AUC").get_attribute("title").endswith("0.5 为随机水平。")
    assert shown.locator(".place:visible img").first.get_attribute("alt") == "图：A · 词表 · 词: 指在其内"
    shown.get_by_role("button", name="English").click()
    about = next(one["meaning"] for one in made_table()["measures"] if one["name"] == "roc_auc")
    assert shown.locator(".place:visible th", has_text="ROC-AUC").get_attribute("title") == about


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(width: int, scheme: str, file: Path, open_file: Open) -> None:
    shown = open_file(file, width=width, color_scheme=scheme)
    shown.select_option("#group", "all")
    for details in shown.locator("details").all():
        details.evaluate("one => { one.open = true; }")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(14, 17, 22)" if scheme == "dark" else "rgb(255, 255, 255)")
    if folder := os.environ.get("VOXRAY_SCREENSHOTS"):
        shown.screenshot(path=str(Path(folder) / f"bench-{width}-{scheme}.png"), full_page=True)


def test_names_stay_text_and_a_failed_gate_leaves_no_figures(open_file: Open, tmp_path: Path) -> None:
    told = json.dumps(made_table()).replace('"exact"', json.dumps(EVIL)).replace('"F"', json.dumps(EVIL))
    table = json.loads(told)
    for one in table["methods"]:
        one["title"] = EVIL if one["name"] == EVIL else one["title"]
    (tmp_path / "evil.html").write_text(page(table, drawn={}), encoding="utf-8")
    shown = open_file(tmp_path / "evil.html")
    shown.select_option("#place", str(len(PLACES) - 1))
    assert EVIL in rows(shown)
    assert shown.locator(".place:visible h3").text_content() == f"{EVIL} · events"
    for language in ("中文", "English"):
        shown.get_by_role("button", name=language).click()
    assert shown.locator("main img").count() == 0
    assert shown.locator("main script").count() == 0
    (tmp_path / "failed.html").write_text(page(made_table(failed=2)), encoding="utf-8")
    shown = open_file(tmp_path / "failed.html")
    assert "2 of 3 gates failed" in shown.locator(".note.failed").text_content()
    assert shown.locator(".figures").count() == 0
