"""A benchmark's result as Markdown, page and pictures: the right figures in the right places, and no text becomes code."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench_tables import CLIPS, METHODS, PLACES, made_table
from voxray.types import OptionError, OutputError
from voxray.views import canvas
from voxray.views.bench import draw_bars, draw_frontier, draw_heat, markdown, page, pictures, write
from voxray.views.bench.results import FORMAT, Measure, Results, decimals, number
from voxray.views.page import ASSETS, Picture, texts

EVIL = "<script>alert(1)</script>|`*_[x](https://evil.example)\n</table>"
LIGHT = canvas.Style(dpi=72)
STYLES = pytest.mark.parametrize("style", [LIGHT, canvas.Style("dark", dpi=72), canvas.Style(dpi=72, width=4.2)], ids=str)
NO_PICTURES: dict[str, Picture] = {}


def figure_of(table: dict[str, Any], **asked: str) -> dict[str, Any]:
    """The one cell that fits."""
    (found,) = [one for one in table["cells"] if all(one[name] == value for name, value in asked.items())]
    return found  # type: ignore[no-any-return]


def evil_table() -> dict[str, Any]:
    """A table in which every name that a user could choose is an attack."""
    told = json.dumps(made_table())
    for name in ("exact", "bundled", "truespeech", '"F"', "sensevoice", "x86_64, 2 cores"):
        told = told.replace(f'"{name.strip(chr(34))}"', json.dumps(EVIL + name))
    table: dict[str, Any] = json.loads(told)
    for one in table["methods"]:
        if EVIL in one["name"]:
            one["title"] = EVIL
    for one in table["status"]:
        one["because"] = EVIL
    for one in table["gates"]:
        one |= {"name": EVIL, "found": EVIL, "wanted": EVIL, "why": EVIL}
    table["measures"][0]["meaning"] = EVIL
    return table


class Tables(HTMLParser):
    """The tables of an HTML text: rows of cells; and every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)
        self.tables = [[[cell.strip() for cell in row] for row in table] for table in self.tables]

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data
        elif self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data


class TestResults:
    def test_the_best_mean_is_best_and_the_oracle_does_not_compete(self) -> None:
        table = made_table()
        results = Results(table)
        column = next(one for one in results.main(("A", "word")) if one.name == "insertion")
        figures = {name: one.mean for name, one in results.column(("A", "word"), column).items() if name != "oracle"}
        assert results.best(("A", "word"), column) == {max(figures, key=lambda name: figures[name])}
        assert max(results.column(("A", "word"), column).items(), key=lambda one: one[1].mean)[0] == "oracle"

    def test_what_may_be_as_good_by_chance_is_best_too(self) -> None:
        table = made_table()
        place, column = ("A", "word"), next(one for one in Results(table).main(("A", "word")) if one.name == "deletion")
        assert Results(table).best(place, column) == {"exact"}
        contrast = next(one for one in table["contrasts"] if (one["kind"], one["method"]) == ("word", "exact"))
        assert contrast["high"] < 0
        contrast |= {"high": 0.01, "better": False}
        assert Results(table).best(place, column) == {"exact", "occlusion", "emission"}
        contrast["set"] = "B"
        assert Results(table).best(place, column) == {"exact"}, "a contrast of another set says nothing here"

    def test_nothing_is_best_where_nothing_is_better(self) -> None:
        results = Results(made_table())
        named = {one.key: one for one in results.measures(("A", "word"))}
        assert results.best(("A", "word"), named["start_error"]) == frozenset()
        assert results.best(("A", "word"), named["seconds"]) == frozenset()
        assert results.best(("F", "event"), named["distance"]) == frozenset()

    def test_words_come_first_and_another_fill_is_a_column_of_its_own(self) -> None:
        table = made_table()
        table["cells"] += [{**figure_of(table, set="A", method="exact", fill="mean"), "kind": "emotion", "fill": "noise_floor"}]
        results = Results(table)
        assert results.places == (*PLACES, ("A", "emotion"))
        assert results.fills == ("noise_floor", "mean")
        assert [one.key for one in results.measures(("A", "word")) if one.name == "deletion"] == ["deletion", "deletion@mean"]
        column = next(one for one in results.measures(("A", "word")) if one.key == "deletion@mean")
        wanted = figure_of(table, set="A", kind="word", method="exact", fill="mean")["mean"]
        assert results.column(("A", "word"), column)["exact"].mean == wanted

    def test_gates_that_had_nothing_to_ask_have_not_failed(self) -> None:
        table = made_table(failed=1)
        assert [one["name"] for one in Results(table).failed] == ["random map at chance"]
        table["gates"][0]["passed"] = None
        assert Results(table).failed == []

    def test_another_form_is_refused(self) -> None:
        for other in ({}, {"format": FORMAT + 1}, [], None):
            with pytest.raises(OptionError, match=f"no table of results in form {FORMAT}; make it with 'voxray bench'"):
                Results(other)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("pointing", 0.9876, "98.8"),
            ("roc_auc", 0.9714, "0.971"),
            ("lift", 4.3049, "4.30"),
            ("passes", 1500.2, "1,500"),
            ("start_error", -66.66, "−66.7"),
            ("completeness", 3.74e-7, "4e−7"),
            ("distance", 0.0, "0.000"),
            ("distance", -0.0, "0.000"),
            ("distance", float("nan"), "–"),
        ],
    )
    def test_figures_as_text(self, name: str, value: float, text: str) -> None:
        measure = Measure(name, "", "higher", "")
        assert number(value, measure, decimals([0.0 if np.isnan(value) else value], measure)) == text


class TestMarkdown:
    def test_tables_are_well_formed_and_hold_the_figures(self) -> None:
        table = made_table()
        told = markdown(table)
        for block in re.findall(r"(?:^\|.*\n)+", told, re.M):
            lines = block.splitlines()
            assert len({line.count("|") for line in lines}) == 1, lines[0]
            assert lines[0].count("|") <= 10, "a page is not wide enough"
            assert re.fullmatch(r"\|( -+:? \|)+", lines[1])
        found = Tables(MarkdownIt("commonmark", {"html": True}).enable("table").render(told)).tables
        head, *rows = next(one for one in found if one[0][1].startswith("points inside"))
        assert head == ["Method", "points inside ↑%", "mass lift ↑×", "ROC-AUC ↑", "distance ↓s", "deletion ↓", "insertion ↑",
                        "correlation ↑", "seconds ↓s"]  # fmt: skip
        assert len(rows) == len(METHODS)
        row = next(one for one in rows if one[0].startswith("Exact"))
        cell = figure_of(table, set="A", kind="word", method="exact", measure="deletion", fill="noise_floor")
        assert row[5] == f"{cell['mean']:.3f}{cell['low']:.3f}–{cell['high']:.3f}"
        point = figure_of(table, set="A", kind="word", method="exact", measure="pointing", fill="noise_floor")
        assert row[1].startswith(f"{100 * point['mean']:.1f}")

    def test_only_the_best_are_bold(self) -> None:
        told = markdown(made_table())
        section = told.split("### A word lists · words")[1].split("###")[0]
        bold = [
            line.split(" |")[0].strip("| ") for line in section.splitlines() if line.split(" |")[5:] and "**" in line.split(" |")[5]
        ]
        assert bold == ["Exact relevance (frozen routing)"]

    def test_provenance_coverage_gates_and_status_are_told(self) -> None:
        told = markdown(made_table())
        assert told.startswith(
            "Voxray 0.1.0 · bundled (sensevoice, fp32, 8a8a8a8a8a8a) · truespeech (120 clips, c4c4c4c4c4c4) · seed 0"
        )
        assert f"| A word lists | {CLIPS} | 18 | 120 | 113 | 76 | 4.2 % |" in told
        assert "**All gates passed.**" in told
        assert "| random map at chance | **passed** | ROC-AUC 0.504 | 0.5 ± 0.03 | the clips give the place away |" in told
        assert (
            "| Exact relevance (frozen routing) | words | **explanation** | deletion area 0.140 against 0.200 of emission |" in told
        )
        assert "| Raw attention | view | view | view | view | view |" in told
        assert "quick" not in told

    def test_what_to_use_when_follows_from_the_figures(self) -> None:
        table = made_table()
        part = markdown(table).split("### What to use when")[1].split("###")[0]
        row = next(line for line in part.splitlines() if line.startswith("| words"))
        _, _kind, earned, points, views, _ = (cell.strip() for cell in row.split("|"))
        costs = {
            name: figure_of(table, set="A", kind="word", method=name, measure="seconds", fill="noise_floor")["mean"]
            for name in ("exact", "occlusion")
        }
        assert costs["occlusion"] < costs["exact"]
        assert earned.startswith(f"Occlusion <small>{costs['occlusion']:.2g} s</small><br>Exact relevance")
        shares = {
            name: figure_of(table, set="A", kind="word", method=name, measure="pointing", fill="noise_floor")
            for name in METHODS
            if name != "oracle"
        }
        most = max(one["mean"] for one in shares.values())
        assert points.count("<br>") + 1 == sum(one["high"] >= most for one in shares.values()) > 1
        assert points.startswith("Exact relevance (frozen routing) <small>100.0 %</small><br>Occlusion <small>100.0 %</small>")
        assert views == "Raw attention<br>Input x gradient<br>Rollout"
        for one in table["status"]:
            one["status"] = "view"
        assert "| words | – |" in markdown(table)

    def test_another_fill_has_its_table(self) -> None:
        table = made_table()
        part = markdown(table).split("### Under another fill")[1].split("###")[0]
        assert "replaced by the training mean" in part
        cell = figure_of(table, set="C", kind="contrast", method="exact", fill="mean")
        row = next(line for line in part.splitlines() if line.startswith("| Exact"))
        assert f"{cell['mean']:.3f}" in row.split("|")[4]

    def test_no_figure_is_shown_where_a_gate_failed(self) -> None:
        told = markdown(made_table(failed=2))
        assert "**2 of 3 gates failed, so no figures are shown: they could not be trusted.**" in told
        assert told.count("**failed**") == 2
        assert "points inside" not in told
        assert "explanation" not in told

    def test_gates_that_were_not_asked_and_quick_runs_are_told(self) -> None:
        table = made_table()
        table["gates"][1]["passed"] = None
        table["provenance"]["quick"] = True
        told = markdown(table)
        assert "Of 3 gates 1 had nothing to ask in this run; the others passed." in told
        assert "**not asked**" in told
        assert "**A quick run over few clips: it shows that everything works, and is no result.**" in told

    def test_names_are_no_markup(self) -> None:
        told = markdown(evil_table())
        shown = Tables(MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(told))
        assert {tag for tag, _ in shown.elements} <= {
            *("p", "h3", "h4", "table", "thead", "tbody", "tr", "th", "td", "strong", "em", "br", "small")
        }
        flat = " ".join(EVIL.split())
        assert any(cell.startswith(flat) for table in shown.tables for row in table for cell in row)
        assert all(len({len(row) for row in table}) == 1 for table in shown.tables)

    def test_it_speaks_chinese(self) -> None:
        told = markdown(made_table(), language="zh")
        assert "### A 词表 · 词" in told
        assert "| **解释** |" in told
        with pytest.raises(OptionError, match=r"no language 'fr'; choose en or zh"):
            markdown(made_table(), language="fr")  # type: ignore[arg-type]


class TestPage:
    def test_every_figure_is_there_and_can_be_sorted_by(self) -> None:
        table = made_table()
        shown = Tables(page(table, drawn=NO_PICTURES))
        values = [attributes["data-value"] for tag, attributes in shown.elements if "data-value" in attributes]
        assert sorted(map(float, filter(None, values))) == sorted(one["mean"] for one in table["cells"])
        assert sum("data-place" in attributes for _, attributes in shown.elements) == len(PLACES)
        heads = [attributes for tag, attributes in shown.elements if attributes.get("data-group")]
        assert {one["data-better"] for one in heads} == {"higher", "lower", "none"}
        about = {one["name"]: one["meaning"] for one in table["measures"]}
        assert {one["title"] for one in heads} == set(about.values())

    def test_gates_and_status_stand_on_top(self) -> None:
        told = page(made_table(), drawn=NO_PICTURES)
        places = [told.index(f'id="{name}"') for name in ("gates", "status", "results", "measures", "coverage", "provenance")]
        assert places == sorted(places)
        assert '<span data-t="tile.gates">gates passed</span></span><b>3 / 3</b>' in told
        assert told.count('class="earned"') == 2 * len({kind for _, kind in PLACES})
        assert 'title="deletion area 0.140 against 0.200 of emission"' in told

    def test_no_figure_is_shown_where_a_gate_failed(self) -> None:
        shown = page(made_table(failed=1))
        assert "1 of 3 gates failed, so no figures are shown" in shown
        assert "data-value=" not in shown
        assert "<img" not in shown
        assert 'class="earned"' not in shown
        assert "<b>2 / 3</b>" in shown

    def test_it_loads_nothing_and_runs_only_its_own_script(self) -> None:
        shown = Tables(page(made_table(), drawn={"A-word-pointing": Picture(b"\x89PNG", b"x")}))
        policy = next(attributes["content"] for _, attributes in shown.elements if attributes.get("http-equiv"))
        digest = base64.b64encode(hashlib.sha256(shown.scripts[-1].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in str(policy)
        assert "default-src 'none'" in str(policy)
        sources = [
            attributes[name] for _, attributes in shown.elements for name in ("src", "srcset", "href") if attributes.get(name)
        ]
        assert sources == ["data:image/png;base64,eA==", "data:image/png;base64,iVBORw=="]
        assert not any(tag in {"link", "iframe", "object"} for tag, _ in shown.elements)
        for name in ("bench.css", "bench.html", "base.css", "base.html"):
            assert "//" not in (ASSETS / name).read_text(encoding="utf-8")

    def test_names_are_no_markup(self) -> None:
        plain, evil = (Tables(page(one, drawn=NO_PICTURES)) for one in (made_table(), evil_table()))
        assert len(evil.scripts) == len(plain.scripts) == 2
        assert evil.scripts[-1] == plain.scripts[-1]
        assert [tag for tag, _ in evil.elements if tag != "span"] == [tag for tag, _ in plain.elements if tag != "span"]
        assert not any(name.startswith("on") for _, attributes in evil.elements for name in attributes)
        assert json.loads(evil.scripts[0])["strings"]["en"]["about.pointing"] == EVIL
        flat = [cell.strip() for table in evil.tables for row in table for cell in row]
        assert any(cell.startswith("<script>alert(1)</script>|`*_[x]") for cell in flat)

    def test_both_languages_have_every_text_of_the_page(self) -> None:
        shown = Tables(page(made_table(), language="zh", drawn={"word-ranks": Picture(b"", b"")}))
        assert ("html", {"lang": "zh-Hans"}) in shown.elements
        strings = json.loads(shown.scripts[0])["strings"]
        assert set(strings["en"]) <= set(strings["zh"])
        asked = {value for _, one in shown.elements for name, value in one.items() if name.startswith("data-t")}
        assert len(asked) > 60
        assert asked <= set(strings["zh"])
        for key in ("place.0", "about.pointing", "measure.deletion", "kind.event", "whole.A"):
            assert strings["zh"][key] != strings["en"][key]
        assert strings["zh"]["alt.0.ranks"] == "图：A · 词表 · 词: 各指标的名次"

    def test_the_files_of_texts_fit_together(self) -> None:
        tables = texts("bench.{}.json")
        assert {key for key in tables["zh"] if not key.startswith("about.")} == set(tables["en"])
        for key, text in tables["en"].items():
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", tables["zh"][key])), key
            assert text.strip()
            assert tables["zh"][key].strip()

    def test_every_measure_of_the_benchmark_has_a_name_and_a_meaning_in_both_languages(self) -> None:
        from voxray.studies.bench.measures import MEASURES
        from voxray.views.bench.results import GROUPS

        tables = texts("bench.{}.json")
        assert {name for group in GROUPS.values() for name in group} == set(MEASURES)
        for name in MEASURES:
            assert f"measure.{name}" in tables["en"]
            assert f"about.{name}" in tables["zh"]

    def test_a_table_may_lack_almost_everything(self) -> None:
        table = made_table() | {"cells": [], "contrasts": [], "status": [], "coverage": [], "gates": []}
        assert "All gates passed." in page(table)
        assert "### Sanity gates" in markdown(table)
        assert list(pictures(table)) == []


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def outside(figure: Figure) -> list[str]:
    """Texts that stand over the edge of the sheet."""
    renderer, box = FigureCanvasAgg(figure).get_renderer(), figure.bbox
    texts_of = [one for one in figure.findobj(lambda one: hasattr(one, "get_text")) if one.get_visible() and one.get_text().strip()]
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    boxes = [(one.get_text(), one.get_window_extent(renderer)) for one in texts_of if id(one) not in hidden]
    return [text for text, one in boxes if one.x0 < box.x0 - 1 or one.x1 > box.x1 + 1 or one.y0 < box.y0 - 1 or one.y1 > box.y1 + 1]


class TestPictures:
    @STYLES
    def test_bars_show_means_and_intervals_best_on_top(self, style: canvas.Style) -> None:
        table = made_table()
        figure = drawn(draw_bars(table, "A", "word", "deletion", style))
        (axes,) = figure.axes
        names = [label.get_text() for label in axes.get_yticklabels()]
        cells = {name: figure_of(table, set="A", method=name, measure="deletion", fill="noise_floor") for name in METHODS}
        order = sorted(cells, key=lambda name: cells[name]["mean"])
        assert order[0] == "oracle"
        titles = {one.name: one.title for one in Results(table).methods}
        assert names == [titles[name] for name in order]
        dots = [one for one in axes.collections if isinstance(one, PathCollection)]
        assert [np.asarray(one.get_offsets())[0].tolist() for one in dots] == [
            [pytest.approx(cells[name]["mean"]), row] for row, name in enumerate(order)
        ]
        lines = [one.get_segments()[0][:, 0] for one in axes.collections if isinstance(one, LineCollection)]
        assert [tuple(one) for one in lines] == [pytest.approx((cells[name]["low"], cells[name]["high"])) for name in order]
        colours = canvas.palette(style.theme)
        shades = {name: tuple(dot.get_facecolor()[0]) for name, dot in zip(order, dots, strict=True)}  # type: ignore[index, arg-type]
        assert {name for name, shade in shades.items() if shade == to_rgba(colours.contrast)} == {
            "random",
            "uniform",
            "energy",
            "emission",
        }
        assert outside(figure) == []

    def test_the_line_of_chance(self) -> None:
        table = made_table()
        assert draw_bars(table, "A", "word", "roc_auc", LIGHT).axes[0].lines[0].get_xdata() == [0.5, 0.5]
        random = figure_of(table, set="A", kind="word", method="random", measure="pointing", fill="noise_floor")["mean"]
        assert draw_bars(table, "A", "word", "pointing", LIGHT).axes[0].lines[0].get_xdata() == pytest.approx([100 * random] * 2)
        assert len(draw_bars(table, "A", "word", "start_error", LIGHT).axes[0].lines) == 0

    @STYLES
    def test_the_frontier_names_points_that_do_not_overlap(self, style: canvas.Style) -> None:
        table = made_table()
        for one in range(12):  # a crowd
            name = f"method {one}"
            table["methods"].append({"name": name, "title": name, "baseline": False, "oracle": False})
            for measure, value in (("deletion", 0.2 + 0.002 * one), ("seconds", 0.1 + 0.01 * one)):
                cell = figure_of(table, set="A", kind="word", method="exact", measure=measure, fill="noise_floor")
                table["cells"].append(cell | {"method": name, "mean": value, "low": value, "high": value})
        figure = drawn(draw_frontier(table, "A", style))
        (axes,) = figure.axes
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]  # without the line to the point
        assert len(boxes) >= len(METHODS) + 8
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[n + 1 :])
        points = {tuple(np.asarray(one.get_offsets())[0]) for one in axes.collections if isinstance(one, PathCollection)}
        cell = [
            figure_of(table, set="A", kind="word", method="exact", measure=m, fill="noise_floor")["mean"]
            for m in ("seconds", "deletion")
        ]
        assert tuple(cell) in points
        assert len(points) == len(METHODS) - 1 + 12, "the oracle costs nothing and is left out"
        assert outside(figure) == []

    def test_the_frontier_is_what_nothing_cheaper_beats(self) -> None:
        table = made_table()
        (axes,) = draw_frontier(table, "A", LIGHT).axes
        (line,) = axes.lines
        costs, areas = (
            {
                one["method"]: one["mean"]
                for one in table["cells"]
                if (one["set"], one["measure"], one["fill"]) == ("A", name, "noise_floor")
            }
            for name in ("seconds", "deletion")
        )
        wanted = {
            name
            for name in METHODS
            if name != "oracle"
            and not any(costs[other] <= costs[name] and areas[other] < areas[name] for other in METHODS if other != "oracle")
        }
        assert set(np.asarray(line.get_xdata())[:-1]) == {costs[name] for name in wanted}
        assert "exact" in wanted

    @STYLES
    def test_heat_shows_ranks(self, style: canvas.Style) -> None:
        table = made_table()
        figure = drawn(draw_heat(table, "word", style))
        axes = figure.axes[-1]
        values = np.asarray((axes.images or axes.collections)[0].get_array()).reshape(len(METHODS) - 1, -1)
        heads = [label.get_text() for label in axes.get_xticklabels()]
        assert heads[0] == "points inside ↑"
        assert "sum misses ↓" not in heads, "one method alone has no rank"
        deletion = values[:, heads.index("deletion ↓")]
        assert sorted(deletion) == list(range(1, len(METHODS)))
        rows = [label.get_text() for label in axes.get_yticklabels()]
        assert deletion[rows.index("Exact relevance (frozen routing)")] == 1
        assert values[0].mean() <= values[-1].mean()
        assert outside(figure) == []

    def test_ties_share_their_mean_rank(self) -> None:
        table = made_table()
        for cell in table["cells"]:
            if cell["measure"] == "pointing" and cell["set"] == "A":
                cell["mean"] = 1.0 if cell["method"] in ("exact", "occlusion") else 0.0
        axes = drawn(draw_heat(table, "word", LIGHT)).axes[-1]
        values = np.asarray((axes.images or axes.collections)[0].get_array()).reshape(len(METHODS) - 1, -1)
        assert sorted(values[:, 0]) == [1.5, 1.5] + [6.0] * 7

    def test_no_glyph_is_missing(self) -> None:
        for name, draw in pictures(evil_table()):
            for text in drawn(draw(LIGHT)).findobj(lambda one: hasattr(one, "get_text")):
                assert not canvas.missing_glyphs(text.get_text()), (name, text.get_text())

    def test_every_place_has_its_pictures(self) -> None:
        names = [name for name, _ in pictures(made_table())]
        assert names[:3] == ["A-word-pointing", "A-word-deletion", "A-word-frontier"]
        assert len(names) == 3 * len(PLACES) + len({kind for _, kind in PLACES})
        assert names[-1] == "event-ranks"

    def test_nothing_to_draw(self) -> None:
        table = made_table()
        with pytest.raises(OptionError, match="'swap' was not measured of set A, 'word'"):
            draw_bars(table, "A", "word", "swap", LIGHT)
        with pytest.raises(OptionError, match="'deletion' was not measured of set Z"):
            draw_frontier(table, "Z", LIGHT)
        with pytest.raises(OptionError, match="no decision of kind 'emotion' was measured"):
            draw_heat(table, "emotion", LIGHT)


class TestFiles:
    def test_all_is_written_and_names_are_no_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("voxray.views.bench.files.Picture.drawn", lambda draw: Picture(b"light", b"dark"))
        table = json.loads(json.dumps(made_table()).replace('"F"', '"../F"'))
        told = write(table, tmp_path / "run")
        assert [one.name for one in told] == ["table.md", "table.html"]
        assert told[0].read_text(encoding="utf-8") == markdown(table)
        assert html.unescape(told[1].read_text(encoding="utf-8")).count("data:image/png;base64,bGlnaHQ=") == 3 * 6 + 5
        plots = sorted(path.name for path in (tmp_path / "run" / "plots").iterdir())
        assert "A-word-pointing.png" in plots
        assert "_F-event-pointing-dark.png" in plots
        assert {path.name for path in tmp_path.iterdir()} == {"run"}

    def test_failed_gates_leave_no_pictures(self, tmp_path: Path) -> None:
        write(made_table(failed=1), tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["table.html", "table.md"]

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(OutputError, match=r"table.md: cannot be written \(.+\); choose another place"):
            write(made_table(failed=1), tmp_path / "file")
        with pytest.raises(OptionError, match="no language 'fr'"):
            write(made_table(), tmp_path, language="fr")  # type: ignore[arg-type]
