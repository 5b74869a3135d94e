"""Pictures of languages side by side: the right numbers in the right places, one clock, one scale, and everything readable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from voxray.types import OptionError
from voxray.views import canvas, marks
from voxray.views.languages import (
    SIGNS,
    Band,
    ClipRow,
    Table,
    draw_forced_languages,
    draw_language_clips,
    draw_language_profiles,
)

LIGHT, DARK = canvas.Style(dpi=100), canvas.Style("dark", dpi=100)
LOOKS = {
    "light": LIGHT,
    "dark": DARK,
    "3 inches": canvas.Style(dpi=100, width=3.0),
    "6 inches": canvas.Style("dark", dpi=100, width=6.0),
    "14 inches": canvas.Style(dpi=100, width=14.0),
}
LOOK = pytest.mark.parametrize("style", LOOKS.values(), ids=LOOKS)
TEXTS = {"zh": "今天天气很好，", "en": "▁the▁horse", "yue": "小學生睇見", "ja": "おばあさん", "ko": "저녁에 소나기", "fr": "$x_1$é"}
HOP = 0.06


def clip(
    language: str = "zh", tokens: int = 7, frames: int = 40, *, text: str | None = None, told: str = "1 error in 8 characters"
) -> ClipRow:
    rng = np.random.default_rng(tokens + frames)
    weights = rng.random((tokens, frames)) ** 4
    letters = list(itertools.islice(itertools.cycle(TEXTS[language]), tokens))
    spans = [(0.1 + 0.2 * index, 0.2 + 0.2 * index) for index in range(tokens)]
    times = 0.0125 + HOP * np.arange(frames)
    return ClipRow(language, TEXTS[language] if text is None else text, told, weights / weights.sum(), letters, spans, times)


def shown(figure: Figure) -> list[tuple[str, object]]:
    """Return the text and the box in pixels of everything that can be read in the picture."""
    FigureCanvasAgg(figure).draw()
    ticks = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _all_labels(axis)}
    drawn = [label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _drawn_labels(axis)]
    others = [text for text in figure.findobj(Text) if id(text) not in ticks]
    readable = [text for text in (*others, *drawn) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in readable]


def _all_labels(axis: object) -> Iterator[Text]:
    for tick in (*axis.majorTicks, *axis.minorTicks):
        yield from (tick.label1, tick.label2)


def _drawn_labels(axis: object) -> Iterator[Text]:
    for tick in axis._update_ticks():
        yield from (label for label in (tick.label1, tick.label2) if label.get_visible())


def assert_readable(figure: Figure) -> None:
    """No two texts overlap, none leaves the sheet, and each has its glyphs."""
    boxes = shown(figure)
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (wide > 0.5 and high > 0.5), f"{one!r} and {two!r} overlap by {wide:.1f} x {high:.1f} pixels"
    width, height = figure.bbox.size
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text
        assert canvas.missing_glyphs(text) == set()


def texts(figure: Figure) -> list[str]:
    return [text for text, _ in shown(figure)]


def maps(figure: Figure) -> list[Axes]:
    """Return the axes of the clips: those with a clock."""
    return [axes for axes in figure.axes if axes.get_xlim() != (0.0, 1.0)]


# --- Clips -------------------------------------------------------------------------------------------------------------


@LOOK
@pytest.mark.parametrize(
    "rows",
    [
        [clip("zh", 1, 1)],
        [clip("ko", 0, 30, text="")],
        [
            clip(language, tokens, frames)
            for language, tokens, frames in (("en", 9, 40), ("zh", 7, 44), ("ko", 20, 21), ("fr", 3, 9))
        ],
        [clip("ja", 120, 500), clip("yue", 1, 30, told="")],
    ],
    ids=["one cell", "no words", "four languages", "long and short"],
)
def test_clips_can_be_read_at_any_size(rows: list[ClipRow], style: canvas.Style) -> None:
    assert_readable(draw_language_clips(rows, style, title="并排 side by side", provenance="model · layer mean"))


@LOOK
def test_long_texts_are_cut_and_long_notes_too(style: canvas.Style) -> None:
    row = clip("zh", 5, 30, text="很长的话 and words " * 20, told="3 errors in 8 characters · confidence 0.93 · " * 4)
    figure = draw_language_clips([row], style)
    assert_readable(figure)
    assert any(text.startswith("很长的话") and text.endswith("…") for text in texts(figure))


def test_clips_share_one_clock_and_one_scale() -> None:
    rows = [clip("en", 9, 20), clip("zh", 7, 44), clip("ko", 12, 10)]
    figure = draw_language_clips(rows, LIGHT)
    axes = maps(figure)
    assert len(axes) == 3
    for one, row in zip(axes, rows, strict=True):
        assert one.get_xlim() == pytest.approx((0.0, 0.0125 + HOP * 43.5))
        (image,) = one.images
        assert image.get_extent()[:2] == pytest.approx((0.0125 - HOP / 2, 0.0125 + HOP * (len(row.times) - 0.5)))
        np.testing.assert_allclose(image.get_array(), row.weights * len(row.times), rtol=1e-6)
        assert one.get_ylim() == (len(row.labels) - 0.5, -0.5)
    assert len({one.images[0].get_clim() for one in axes}) == 1
    assert axes[0].images[0].get_clim() == pytest.approx(
        (0.0, marks.scale_of(np.concatenate([row.weights.ravel() * len(row.times) for row in rows]), "").norm.vmax)
    )
    labels = [one.get_xlabel() for one in axes]
    assert labels == ["", "", "time (s)"]
    lefts = {round(one.get_position().x0, 6) for one in axes}
    assert len(lefts) == 1


def test_even_attention_has_the_same_colour_in_long_and_short_clips() -> None:
    even = [
        ClipRow("zh", "好", "", np.full((1, frames), 1 / frames), ["好"], [(0.0, 0.1)], HOP * np.arange(frames))
        for frames in (10, 450)
    ]
    figure = draw_language_clips(even, LIGHT)
    short, long = (axes.images[0].get_array() for axes in maps(figure))
    np.testing.assert_allclose(short, 1.0, rtol=1e-6)
    np.testing.assert_allclose(long, 1.0, rtol=1e-6)
    assert any("times even attention" in text for text in texts(figure))


def test_a_clip_says_language_text_and_what_is_known() -> None:
    figure = draw_language_clips([clip("zh"), clip("ja", text="")], LIGHT, title="Title", provenance="where from")
    said = texts(figure)
    assert {"zh", TEXTS["zh"], "ja", "(no words)", "Title", "where from", "time (s)"} <= set(said)
    assert said.count("1 error in 8 characters") == 2
    colours = {text.get_text(): text.get_color() for text in figure.texts}
    series = canvas.palette("light").series
    assert (colours["zh"], colours["ja"]) == series[:2]


def test_tokens_are_named_and_their_times_boxed() -> None:
    row = clip("zh", 7, 40)
    (axes,) = maps(draw_language_clips([row], DARK))
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TEXTS["zh"])
    (_, lines) = (item for item in axes.collections if isinstance(item, PolyCollection))
    boxes = [path.get_extents().extents for path in lines.get_paths()]
    np.testing.assert_allclose(boxes, [(start, n - 0.5, end, n + 0.5) for n, (start, end) in enumerate(row.spans)])
    (frame,) = (item for item in axes.patches if isinstance(item, Rectangle))
    assert frame.get_bbox().extents == pytest.approx((0.0, -0.5, row.edges[-1], 6.5))


def test_labels_of_many_tokens_are_left_out_evenly_and_the_row_stays_low() -> None:
    figure = draw_language_clips([clip("zh", 120, 500)], LIGHT)
    (axes,) = maps(figure)
    ticks = axes.get_yticks()
    assert len(set(np.diff(ticks))) == 1
    assert 10 < len(ticks) < 30
    assert axes.bbox.height / figure.dpi == pytest.approx(2.6)


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="no clip was kept for a picture"):
        draw_language_clips([], LIGHT)
    with pytest.raises(ValueError, match=r"must be \(labels, times\) = \(2, 3\) with a span for each label"):
        ClipRow("zh", "", "", np.zeros((2, 4)), ["a", "b"], [(0, 1), (1, 2)], np.arange(3.0))
    with pytest.raises(ValueError, match="with 1 spans"):
        ClipRow("zh", "", "", np.zeros((2, 3)), ["a", "b"], [(0, 1)], np.arange(3.0))
    with pytest.raises(ValueError, match="at least one time"):
        ClipRow("zh", "", "", np.zeros((0, 0)), [], [], np.zeros(0))


# --- Layers ------------------------------------------------------------------------------------------------------------


def band(layers: int, seed: int, *, single: bool = False, low: float = 0.0) -> Band:
    values = np.random.default_rng(seed).random(layers) + low
    ends = np.full(layers, np.nan) if single else None
    return Band(values, values - 0.1 if ends is None else ends, values + 0.1 if ends is None else ends)


@LOOK
@pytest.mark.parametrize(("layers", "count"), [(1, 1), (14, 5), (70, 6)])
def test_profiles_can_be_read_at_any_size(layers: int, count: int, style: canvas.Style) -> None:
    names = list(TEXTS)[:count]
    profiles = {
        title: {name: band(layers, place, single=place % 2 == 0) for place, name in enumerate(names)}
        for title in ("entropy of a row, share of the most possible", "mass within 300 ms 近处", "mass on the prompts, share " * 4)
    }
    assert_readable(draw_language_profiles(profiles, style, title="Attention layer by layer", provenance="model"))


def test_profiles_of_many_languages_break_their_legend() -> None:
    names = [f"language {index}" for index in range(15)]
    figure = draw_language_profiles({"x": {name: band(5, index) for index, name in enumerate(names)}}, LOOKS["3 inches"])
    assert_readable(figure)
    assert {f"{SIGNS[index % len(SIGNS)][1]} {name}" for index, name in enumerate(names)} <= set(texts(figure))


def test_a_curve_has_its_values_and_a_band_only_where_there_is_an_interval() -> None:
    first, second = band(6, 1, low=0.3), band(6, 2, single=True, low=0.3)
    figure = draw_language_profiles({"one": {"zh": first, "en": second}, "two": {"zh": second, "en": first}}, LIGHT)
    one, two = figure.axes
    np.testing.assert_allclose(one.lines[0].get_ydata(), first.values)
    np.testing.assert_allclose(one.lines[1].get_ydata(), second.values)
    filled, empty = (sum(len(path.vertices) for path in item.get_paths()) for item in one.collections)
    assert filled > 10
    assert empty == 0
    corners = one.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(first.low.min())
    assert corners[:, 1].max() == pytest.approx(first.high.max())
    series = canvas.palette("light").series
    assert [line.get_color() for line in two.lines] == list(series[:2])
    assert [line.get_marker() for line in two.lines] == ["o", "s"]
    assert (one.get_xlabel(), two.get_xlabel()) == ("", "layer")


def test_amounts_are_drawn_from_zero_and_signed_ones_are_not() -> None:
    high = draw_language_profiles({"x": {"zh": band(6, 1, low=5.0)}}, LIGHT).axes[0]
    assert high.get_ylim()[0] == pytest.approx(-0.04 * high.get_ylim()[1])
    signed = draw_language_profiles({"x": {"zh": band(6, 1, low=-0.5)}}, LIGHT).axes[0]
    assert signed.get_ylim()[0] < -0.3


def test_a_layer_without_a_value_leaves_a_gap() -> None:
    values = np.array([0.5, np.nan, 0.7])
    axes = draw_language_profiles({"x": {"zh": Band(values, values, values)}}, LIGHT).axes[0]
    assert np.isnan(axes.lines[0].get_ydata()[1])
    assert_readable(draw_language_profiles({"x": {"zh": Band(values * np.nan, values * np.nan, values * np.nan)}}, LIGHT))


def test_profiles_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="no language was measured"):
        draw_language_profiles({}, LIGHT)
    with pytest.raises(OptionError, match="no language was measured"):
        draw_language_profiles({"x": {"zh": band(0, 1)}}, LIGHT)
    with pytest.raises(ValueError, match="got curves of 3, 4 layers"):
        draw_language_profiles({"x": {"zh": band(3, 1), "en": band(4, 1)}}, LIGHT)
    with pytest.raises(ValueError, match="as many ends as values, got 2, 1, 2"):
        Band(np.zeros(2), np.zeros(1), np.zeros(2))


# --- Forced languages --------------------------------------------------------------------------------------------------


def tables(rows: int, columns: int) -> list[Table]:
    rng = np.random.default_rng(rows)
    values = rng.random((rows, columns)) ** 3
    values[0, 0] = np.nan
    return [
        Table("How much of the text changes 改变", "edits a unit", values),
        Table("By how much the text without force is believed more", "nats a token", values - 0.5),
        Table("Nothing", "share", np.zeros((rows, columns))),
    ]


@LOOK
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 6), (6, 1), (2, 6)])
def test_forced_languages_can_be_read_at_any_size(rows: int, columns: int, style: canvas.Style) -> None:
    names, forced = list(TEXTS)[:rows], [*list(TEXTS)[1:columns], "nospeech"]
    figure = draw_forced_languages(
        tables(rows, columns), names, forced, style, title="When another language is forced", provenance="p"
    )
    assert_readable(figure)


def test_amounts_stand_in_their_cells_and_right_languages_are_boxed() -> None:
    values = np.array([[0.0, 0.25, np.nan], [1.0, -0.0001, 0.5]])
    figure = draw_forced_languages(
        [Table("changes", "share", np.abs(values)), Table("belief", "nats", values)], ["en", "zh"], ["zh", "en", "ko"], LIGHT
    )
    first, second = (axes for axes in figure.axes if axes.get_xlim() == (-0.5, 2.5))
    found = {tuple(round(x) for x in text.get_position()): text.get_text() for text in first.texts}
    assert found == {(0, 0): "0", (1, 0): "0.25", (2, 0): "", (0, 1): "1", (1, 1): "0", (2, 1): "0.5"}
    assert "-0" not in {text.get_text() for text in second.texts}
    assert [label.get_text() for label in first.get_yticklabels()] == ["en", "zh"]
    assert [label.get_text() for label in first.get_xticklabels()] == ["zh", "en", "ko"]
    boxes = sorted(tuple(path.get_extents().extents) for path in first.collections[-1].get_paths())
    assert boxes == [(-0.5, 0.5, 0.5, 1.5), (0.5, -0.5, 1.5, 0.5)]  # zh told zh, en told en
    low, high = second.images[0].get_clim()
    assert low == -high == pytest.approx(-1.0)
    assert to_hex(second.images[0].get_cmap()(0.5)) == to_hex(canvas.palette("light").signed(0.5))


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="no language was forced"):
        draw_forced_languages([], ["zh"], ["zh"], LIGHT)
    with pytest.raises(OptionError, match="no language was forced"):
        draw_forced_languages([Table("x", "y", np.zeros((1, 0)))], ["zh"], [], LIGHT)
    with pytest.raises(ValueError, match=r"a table must be \(1, 2\) as its names are, got \(2, 1\)"):
        draw_forced_languages([Table("x", "y", np.zeros((2, 1)))], ["zh"], ["zh", "en"], LIGHT)


# --- Files -------------------------------------------------------------------------------------------------------------


def test_pictures_are_written_alike_twice_and_leave_the_settings_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    for ending in (".png", ".svg", ".pdf"):
        files = []
        for number in range(2):
            figure = draw_language_clips([clip("zh"), clip("ko", 3, 12)], DARK, title="$not math$")
            files.append(canvas.save_figure(figure, tmp_path / f"{number}{ending}", DARK).read_bytes())
        assert files[0] == files[1]
        assert len(files[0]) > 1000
    assert dict(mpl.rcParams) == before
