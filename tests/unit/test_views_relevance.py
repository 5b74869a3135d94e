"""Pictures of relevance: the right numbers at the right times, colours centred on zero, and everything readable."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from voxray.alignment import stretches
from voxray.types import Features, Grid, ModelInfo, OptionError, Relevance, Target, Word
from voxray.views import canvas, marks
from voxray.views.labels import draw_labels
from voxray.views.layers import draw_lens, draw_paths
from voxray.views.relevance import draw_relevance, parts
from voxray.views.words import amounts, draw_word_bars, draw_word_times, draw_word_words, named

LIGHT, DARK = canvas.Style(dpi=100), canvas.Style("dark", dpi=100)
LOOKS = {
    "light": LIGHT,
    "dark": DARK,
    "3 inches": canvas.Style(dpi=100, width=3.0),
    "6 inches": canvas.Style("dark", dpi=100, width=6.0),
    "12 inches": canvas.Style(dpi=100, width=12.0),
}
TEXTS = ("今天", "天气很好", "hello", "こんに", "저녁", "extraordinarily", "媽媽", "$x_1$")
MODEL = ModelInfo("sensevoice", "funasr", "model.onnx", "fp32")
SECONDS = 2.4


def grid_of(kind: str) -> Grid:
    if kind == "fine":  # each filter-bank value: 10 ms by one filter
        return Grid(0.0075 + 0.01 * np.arange(239), np.arange(81.0))
    if kind == "coarse":
        return Grid(np.linspace(0.0075, 2.3875, 13), np.linspace(0, 80, 6))
    if kind == "frames":  # SenseVoice's frames: the first begins before the sound
        return Grid(0.0125 + 0.06 * (np.arange(41) - 0.5), np.array([0.0, 80.0]))
    return Grid(np.array([0.0, 0.3, 0.9, 1.0, 1.7, SECONDS]), np.array([0.0, 80.0]))  # stretches


def relevance(kind: str = "fine", seed: int = 0, *, signed: bool = True, **changes: object) -> Relevance:
    grid = grid_of(kind)
    scores = np.random.default_rng(seed).standard_normal(grid.shape)
    scores = scores if signed else np.abs(scores)
    given = {"prompt": -0.6, "position": 0.9, "bias": 2.25}
    made = Relevance(
        scores=scores,
        grid=grid,
        target=Target("word", "word:2", TEXTS[2], "", 0, (5, 7), 0.8, 1.1),
        method="exact",
        options={},
        unit="logit",
        score=float(scores.astype(np.float32).sum(dtype=np.float64) + sum(given.values()) + 1e-5),
        parts=given,
        adds_up=True,
        view=False,
        model=MODEL,
        audio="录音.wav",
        language="auto",
        seed=None,
        passes=3,
        seconds=1.2,
    )
    return dataclasses.replace(made, **changes)


def speech() -> Features:
    return Features(np.random.default_rng(3).standard_normal((238, 80)), 0.01, 0.0125)


def words_of(count: int, seconds: float = SECONDS) -> list[Word]:
    step = seconds / max(count, 1)
    texts = itertools.islice(itertools.cycle(TEXTS), count)
    gap = min(0.04, 0.4 * step)  # so short that words meet in it
    return [Word(text, n * step, (n + 1) * step - gap, (n, n + 1), -0.1) for n, text in enumerate(texts)]


def page(count: int, kind: str = "frames") -> list[Relevance]:
    made = []
    for n, word in enumerate(words_of(count)):
        target = Target("word", f"word:{n}", word.text, "", 0, (n, n + 1), word.start, word.end)
        made.append(relevance(kind, n, target=target))
    return made


def emotions(kind: str = "frames") -> list[Relevance]:
    names = ("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED", "EMO_UNKNOWN")
    tags = [Target("tag", "emotion", name, "", 0, (1, 2), 0.0, SECONDS) for name in names]
    return [relevance(kind, n, target=tag, score=float((n * 3) % 8)) for n, tag in enumerate(tags)]


def lens_of(tokens: int, layers: int) -> tuple[np.ndarray, list[str], list[int | None]]:
    values = -np.abs(np.random.default_rng(tokens).standard_normal((tokens, layers))).cumsum(axis=1)[:, ::-1]
    commits = [None if n % 3 == 2 else (n * 5) % layers for n in range(tokens)]
    return values, list(itertools.islice(itertools.cycle([" " + text for text in TEXTS]), tokens)), commits


# --- what can be read --------------------------------------------------------------------------------------------------


def shown(figure: Figure) -> list[tuple[str, object]]:
    """Return the text and the box in pixels of everything that can be read in the picture."""
    FigureCanvasAgg(figure).draw()
    axes_of = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = {id(label) for axis in axes_of for label in _labels(axis, (*axis.majorTicks, *axis.minorTicks))}
    drawn = [label for axis in axes_of for label in _labels(axis, axis._update_ticks()) if label.get_visible()]
    others = [text for text in figure.findobj(Text) if id(text) not in ticks]
    readable = [text for text in (*others, *drawn) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in readable]


def _labels(axis: object, ticks: object) -> Iterator[Text]:
    for tick in ticks:
        yield from (tick.label1, tick.label2)


def assert_readable(figure: Figure) -> None:
    """No two texts overlap, none leaves the sheet, and each has its glyphs."""
    boxes = shown(figure)
    assert boxes
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (wide > 0.5 and high > 0.5), f"{one!r} and {two!r} overlap by {wide:.1f} x {high:.1f} pixels"
    width, height = figure.bbox.size
    for text, box in boxes:
        assert min(box.x0, box.y0) >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text
        assert canvas.missing_glyphs(text) == set()


VIEWS: dict[str, Callable[[canvas.Style], Figure]] = {
    "relevance": lambda style: draw_relevance(
        relevance(), style, log_mel=speech(), words=words_of(7), title="为什么", provenance="exact"
    ),
    "coarse": lambda style: draw_relevance(relevance("coarse"), style, log_mel=speech(), words=words_of(7), title="为什么"),
    "frames": lambda style: draw_relevance(relevance("frames", signed=False, parts={}, adds_up=False, unit="share"), style),
    "stretches": lambda style: draw_relevance(relevance("stretches", scores=1e-6 * np.ones((1, 5))), style, words=words_of(40)),
    "bars": lambda style: draw_word_bars(relevance(), words_of(7), style, title="为什么", provenance="exact"),
    "many bars": lambda style: draw_word_bars(relevance("frames"), words_of(60), style, title="为什么"),
    "times": lambda style: draw_word_times(page(7), words_of(7), style, title="所有词", provenance="exact"),
    "many times": lambda style: draw_word_times(page(90), words_of(90), style, title="所有词"),
    "words": lambda style: draw_word_words(page(7, "fine"), words_of(7), style, title="所有词", provenance="exact"),
    "many words": lambda style: draw_word_words(page(40), words_of(40), style),
    "labels": lambda style: draw_labels(emotions(), style, words=words_of(7), title="情感", provenance="exact"),
    "lens": lambda style: draw_lens(*lens_of(8, 8), style, title="何时", provenance="lens"),
    "deep lens": lambda style: draw_lens(*lens_of(120, 70), style),
    "ranks": lambda style: draw_lens(np.ceil(np.exp(-lens_of(8, 70)[0])), *lens_of(8, 70)[1:], style, measure="rank"),
    "shares": lambda style: draw_paths({"attention 注意力": np.ones(8), "memory": 2 * np.ones(8)}, style, title="路径"),
    "curves": lambda style: draw_paths({name: np.cos(np.arange(70)) for name in TEXTS}, style, unit="logit"),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_picture_can_be_read_at_every_size(view: str, look: str) -> None:
    style = LOOKS[look]
    figure = VIEWS[view](style)
    assert style.width is None or figure.get_figwidth() == pytest.approx(style.width)
    assert figure.get_facecolor() == mpl.colors.to_rgba(canvas.palette(style.theme).background)
    assert_readable(figure)


@pytest.mark.parametrize("view", VIEWS)
def test_every_picture_is_written_in_every_format(view: str, tmp_path: Path) -> None:
    style = canvas.Style("dark", dpi=60, width=6.0)
    for ending in ("png", "svg", "pdf"):
        path = canvas.save_figure(VIEWS[view](style), tmp_path / f"a.{ending}", style)
        assert path.stat().st_size > 1000


@pytest.mark.parametrize("view", VIEWS)
def test_no_picture_changes_the_settings_of_matplotlib(view: str) -> None:
    with mpl.rc_context({"axes.grid": True, "image.cmap": "jet", "image.origin": "lower", "font.family": ["serif"]}):
        before = dict(mpl.rcParams)
        figure = VIEWS[view](LIGHT)
        assert dict(mpl.rcParams) == before
        assert {family for text in figure.findobj(Text) if text.get_text() for family in text.get_fontfamily()} == set(
            canvas.FAMILIES
        )


def tick_texts(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def boxes(axes: Axes) -> np.ndarray:
    (_, lines) = (item for item in axes.collections if isinstance(item, PolyCollection))
    return np.array([path.get_extents().extents for path in lines.get_paths()])


# --- colours -----------------------------------------------------------------------------------------------------------


def test_a_scale_of_signed_amounts_is_centred_and_of_one_sign_begins_at_zero() -> None:
    signed, sequential = marks.scale_of([-3.0, 1.0, 2.0], "nats"), marks.scale_of([0.5, 2.0], "share")
    assert (signed.norm.vmin, signed.norm.vmax, signed.signed, signed.beyond) == (-3.0, 3.0, True, False)
    assert (sequential.norm.vmin, sequential.norm.vmax, sequential.signed) == (0.0, 2.0, False)
    colours = canvas.palette("light")
    assert signed.colour_map(colours) == colours.signed
    assert sequential.colour_map(colours) == colours.weights


def test_a_few_cells_that_tower_over_the_rest_lie_beyond_the_scale() -> None:
    values = np.ones(1000)
    values[7] = -50.0
    scale = marks.scale_of(values, "logit")
    assert (scale.norm.vmin, scale.norm.vmax, scale.beyond) == (-1.0, 1.0, True)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_scale_of_nothing_has_some_length(value: float) -> None:
    scale = marks.scale_of(np.full((3, 4), value), "logit")
    assert (scale.norm.vmin, scale.norm.vmax) == (0.0, 1.0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("signed", [True, False])
def test_a_tint_over_the_colour_of_zero_is_the_plain_colour_thinned(theme: canvas.Theme, signed: bool) -> None:
    colours = canvas.palette(theme)
    plain = colours.signed if signed else colours.weights
    laid = marks.tint(plain, signed=signed)(np.linspace(0, 1, 511))
    solid = plain(np.linspace(0, 1, 511))[:, :3]
    ground = solid[255 if signed else 0]
    over = laid[:, 3:] * laid[:, :3] + (1 - laid[:, 3:]) * ground
    np.testing.assert_allclose(over, ground + marks.COVER * (solid - ground), atol=1e-6)
    assert laid[255 if signed else 0, 3] == pytest.approx(0, abs=1e-6)  # nothing hides the speech where nothing speaks
    assert laid[:, 3].max() <= marks.COVER + 1e-9


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12345.6, "12346"), (-2.5e7, "-2.5e7"), (3.14159, "3.14"), (-0.00012, "-1.2e-4"), (0.0012, "0.0012")],
)
def test_amounts_are_short(value: float, text: str) -> None:
    assert marks.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (-15.6, "-16"), (3.14, "3.1"), (-0.0123, "-0.012"), (0.009, "0"), (float("nan"), ""), (0.0, "0")],
)
def test_amounts_in_cells_have_two_digits(value: float, text: str) -> None:
    assert marks.short_cell(value, 10.0) == text


def test_fine_cells_are_summed_into_frames_and_others_left_alone() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 20))
    times, summed = marks.pooled(0.0075 + 0.01 * np.arange(21), rows)
    np.testing.assert_allclose(times, [0.0075, 0.0375, 0.0975, 0.1575, 0.2075])
    np.testing.assert_allclose(summed, [[row[:3].sum(), row[3:9].sum(), row[9:15].sum(), row[15:].sum()] for row in rows])
    np.testing.assert_allclose(times[1:-1], -0.0225 + 0.06 * np.arange(1, 4))
    assert marks.per_cell(times, "logit") == "logit per 60 ms"
    for kind in ("frames", "stretches"):
        grid = grid_of(kind)
        kept, same = marks.pooled(grid.times, np.ones((2, grid.shape[1])))
        np.testing.assert_array_equal(kept, grid.times)
        np.testing.assert_array_equal(same, 1.0)


# --- relevance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fine", "coarse", "frames", "stretches"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cells_lie_at_their_times_and_pitches_in_centred_colours(kind: str, theme: canvas.Theme) -> None:
    data = relevance(kind)
    figure = draw_relevance(data, canvas.Style(theme), log_mel=speech())
    spectrum = figure.axes[1]
    grey, image = spectrum.images
    np.testing.assert_array_equal(np.asarray(image.get_array()), data.scores)
    assert grey.get_extent() == pytest.approx((0.0075, 2.3875, 0, 80))
    low, high = image.get_clim()
    assert low == -high == pytest.approx(-np.abs(data.scores).max())
    left, right, bottom, top = image.get_extent()
    assert (left, right) == pytest.approx((data.grid.times[0], data.grid.times[-1]))
    assert (bottom, top) == (0, 80)
    assert spectrum.get_ylim() == (0, 80)
    assert spectrum.get_xlim() == pytest.approx((0.0, max(data.grid.times[-1], 2.3875)))


def test_cells_of_unequal_length_are_drawn_at_their_own_edges() -> None:
    data = relevance("stretches", scores=np.array([[1.0, -2.0, 3.0, -4.0, 5.0]]))
    figure = draw_relevance(data, canvas.Style(dpi=100))
    axes = figure.axes[1]
    FigureCanvasAgg(figure).draw()
    pixels = np.asarray(figure.canvas.buffer_rgba()).astype(int)
    row = pixels.shape[0] - int(axes.bbox.y0 + 0.5 * axes.bbox.height)
    for centre, value in zip(data.grid.centres, data.scores[0], strict=True):
        column = int(axes.transData.transform((centre, 0))[0])
        if 0.8 <= centre <= 1.1:
            continue  # the box of the target
        red, _, blue, _ = pixels[row, column]
        assert (red > blue) == (value > 0), (centre, value)


def test_a_map_without_negative_cells_is_drawn_from_zero() -> None:
    image = draw_relevance(relevance("frames", signed=False), LIGHT).axes[1].images[0]
    data = relevance("frames", signed=False)
    assert image.get_clim() == pytest.approx((0.0, float(data.scores.max())))


def test_the_curve_is_the_sum_over_mel() -> None:
    data = relevance()
    curve = draw_relevance(data, LIGHT).axes[2]
    steps = sum(np.nan_to_num(one.get_data().values) for one in curve.patches if one.get_fill())
    np.testing.assert_allclose(steps, data.scores.sum(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(curve.patches[0].get_data().edges, data.grid.times)
    assert curve.get_ylabel() == "logit\nper 10 ms"
    assert draw_relevance(relevance("stretches"), LIGHT).axes[2].get_ylabel() == "logit\nper stretch"


def test_the_target_is_boxed_and_its_word_stands_out() -> None:
    words = [Word("前", 0.2, 0.4, (0, 1), -0.1), Word("hello", 0.8, 1.1, (1, 2), -0.1), Word("后", 1.5, 1.9, (2, 3), -0.1)]
    axes = draw_relevance(relevance(), LIGHT, words=[*words, Word("far", 9.0, 9.5, (3, 4), -0.1)]).axes[1]
    np.testing.assert_allclose(boxes(axes), [[0.8, 0, 1.1, 80]])
    colours = canvas.palette("light")
    assert {text.get_text(): text.get_color() for text in axes.texts} == {
        "前": colours.muted,
        "hello": colours.ink,
        "后": colours.muted,
    }


def test_a_tag_has_no_box() -> None:
    tag = Target("tag", "emotion", "HAPPY", "", 0, (1, 2), 0.0, SECONDS)
    assert not draw_relevance(relevance(target=tag), LIGHT).axes[1].collections


def test_parts_sum_to_the_score() -> None:
    data = relevance()
    listed = {bar.name: bar.value for bar in parts(data)}
    assert list(listed) == ["sound", "bias", "position", "prompt", "residual", "score"]
    total = sum(value for name, value in listed.items() if name != "score")
    assert total == pytest.approx(listed["score"], abs=1e-6)
    assert listed["residual"] == pytest.approx(1e-5, abs=1e-7)
    bars = draw_relevance(data, LIGHT).axes[3]
    assert tick_texts(bars) == list(listed)
    np.testing.assert_allclose([patch.get_width() for patch in bars.patches], list(listed.values()))
    assert parts(relevance(parts={}, adds_up=False)) == []


def test_the_key_names_both_ends_and_the_unit() -> None:
    data = relevance("frames", scores=np.linspace(-2, 4, 40)[None])
    texts = [text.get_text() for text in draw_relevance(data, LIGHT).axes[0].texts]
    assert texts == ["against  -4", "4  for · logit per 60 ms"]
    assert "mel filter" in draw_relevance(relevance(), LIGHT).axes[0].texts[1].get_text()


# --- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_stretches_leave_no_rest_and_no_gap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moments = np.sort(rng.uniform(0, 5, 12))
    words = [Word(str(n), a, b + (0.1 if n == 2 else 0), (n, n + 1), 0.0) for n, (a, b) in enumerate(moments.reshape(6, 2))]
    cut = stretches(words, 0.3, 4.5)
    assert (cut[0].start, cut[-1].end) == (0.3, 4.5)
    assert all(one.end == two.start for one, two in itertools.pairwise(cut))
    assert all(one.end > one.start for one in cut)
    data = relevance("stretches", grid=Grid(np.array([0.3, 1.0, 2.0, 2.5, 3.3, 4.5]), np.array([0.0, 80.0])))
    assert amounts([data], cut).sum() == pytest.approx(float(data.scores.sum()), rel=1e-5)


def test_a_pause_is_named_by_its_length() -> None:
    assert [named(part) for part in stretches([Word("a", 0.5, 0.6, (0, 1), 0.0)], 0.0, 1.0)] == [
        "pause 0.47 s",
        "a",
        "pause 0.37 s",
    ]


def test_word_bars_and_parts_sum_to_the_score() -> None:
    data, words = relevance(), words_of(7)
    figure = draw_word_bars(data, words, LIGHT)
    bars, rest = figure.axes
    widths = np.array([patch.get_width() for patch in (*bars.patches, *rest.patches)])
    np.testing.assert_allclose(widths[:7], [data.between(one.start, one.end) for one in stretches(words, 0.0075, 2.3875)])
    assert widths[-1] == pytest.approx(data.score)
    assert widths[:-1].sum() == pytest.approx(data.score, abs=1e-4)
    assert tick_texts(bars) == ["今天", "天气很好", "▸ hello", "こんに", "저녁", "extraordinarily", "媽媽"]
    assert bars.get_xlim() == rest.get_xlim()  # one scale for both lists
    colours = [patch.get_facecolor()[:3] for patch in bars.patches]
    warm, cold = (mpl.colors.to_rgb(one) for one in (canvas.palette("light").accent, canvas.palette("light").contrast))
    assert colours == [warm if width > 0 else cold for width in widths[:7]]


def test_the_page_of_all_words_has_one_scale_and_boxes_each_own_time() -> None:
    many = page(7)
    axes = draw_word_times(many, words_of(7), LIGHT).axes[1]
    (image,) = axes.images
    values = np.array([one.over_time for one in many])
    np.testing.assert_array_equal(np.asarray(image.get_array()), values.astype(np.float64))
    assert image.get_clim() == pytest.approx((-np.abs(values).max(), np.abs(values).max()))
    assert tick_texts(axes) == list(TEXTS[:7])
    np.testing.assert_allclose(boxes(axes), [[one.target.start, n - 0.5, one.target.end, n + 0.5] for n, one in enumerate(many)])
    assert axes.get_ylim() == (6.5, -0.5)


def test_words_by_words_sums_each_words_time() -> None:
    many, words = page(7, "fine"), words_of(7)
    axes = draw_word_words(many, words, LIGHT).axes[1]
    (image,) = axes.images
    values = np.asarray(image.get_array())
    assert values.shape == (7, 7)
    cut = stretches(words, 0.0075, 2.3875)
    assert values[3, 5] == pytest.approx(many[3].between(cut[5].start, cut[5].end))
    np.testing.assert_allclose(values.sum(axis=1), [one.scores.sum() for one in many], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(boxes(axes), [[n - 0.5, n - 0.5, n + 0.5, n + 0.5] for n in range(7)])
    written = [text.get_text() for text in axes.texts]
    assert written == [marks.short_cell(value, np.abs(values).max()) for value in values.ravel()]


def test_amounts_are_left_out_where_cells_are_too_small() -> None:
    assert list(draw_word_words(page(7), words_of(7), LOOKS["3 inches"]).axes[1].texts) == []


@pytest.mark.parametrize("draw", [draw_word_times, draw_word_words])
def test_maps_that_do_not_belong_together_are_refused(draw: Callable[..., Figure]) -> None:
    with pytest.raises(OptionError, match=r"There is nothing to draw: no target was explained; give at least one\."):
        draw([], words_of(3), LIGHT)
    with pytest.raises(OptionError, match="different cells; explain all targets with one method and the same options"):
        draw([relevance("fine"), relevance("frames")], words_of(3), LIGHT)
    with pytest.raises(OptionError, match="The maps are in logit and share; explain all targets with one method"):
        draw([relevance(), relevance(unit="share")], words_of(3), LIGHT)


# --- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_labels_are_ordered_by_score_in_centred_colours(theme: canvas.Theme) -> None:
    many = emotions()
    figure = draw_labels(many, canvas.Style(theme), words=words_of(3))
    axes = figure.axes[1]
    order = sorted(range(8), key=lambda n: -many[n].score)
    (image,) = axes.images
    values = np.array([many[n].over_time for n in order], np.float64)
    np.testing.assert_array_equal(np.asarray(image.get_array()), values)
    assert image.get_clim() == pytest.approx((-np.abs(values).max(), np.abs(values).max()))
    assert tick_texts(axes) == ["▸ " + many[order[0]].target.label, *(many[n].target.label for n in order[1:])]
    np.testing.assert_allclose(boxes(axes), [[0.0, -0.5, 2.3825, 0.5]])
    assert {f"{many[n].score:g}" for n in order} <= {text.get_text() for text in axes.texts}


def test_the_label_that_was_decided_for_is_marked_wherever_it_stands() -> None:
    axes = draw_labels(emotions(), LIGHT, chosen="ANGRY").axes[1]
    row = tick_texts(axes).index("▸ ANGRY")
    assert row > 0
    np.testing.assert_allclose(boxes(axes)[0][[1, 3]], [row - 0.5, row + 0.5])


def test_labels_that_do_not_belong_together_are_refused() -> None:
    many = emotions()
    with pytest.raises(OptionError, match="'BORED' is none of the labels that were explained: DISGUSTED, ANGRY"):
        draw_labels(many, LIGHT, chosen="BORED")
    with pytest.raises(OptionError, match=r"needs the labels of one kind of tag, such as emotion, got emotion, word:2\."):
        draw_labels([many[0], relevance("frames")], LIGHT)
    with pytest.raises(OptionError, match="The label 'HAPPY' was explained more than once"):
        draw_labels([many[0], many[0]], LIGHT)
    with pytest.raises(OptionError, match="no target was explained"):
        draw_labels([], LIGHT)


# --- layers ------------------------------------------------------------------------------------------------------------


def test_the_lens_shows_every_layer_and_boxes_the_commitment() -> None:
    values, labels, commits = lens_of(8, 8)
    axes = draw_lens(values, labels, commits, LIGHT, layers=range(10, 18)).axes[1]
    (image,) = axes.images
    np.testing.assert_array_equal(np.asarray(image.get_array()), values)
    assert image.get_clim() == pytest.approx((max(values.min(), -12), 0))
    assert tick_texts(axes) == [canvas.token_label(label) for label in labels]
    assert [text.get_text() for text in axes.get_xticklabels()] == [str(n) for n in range(10, 18)]
    expected = [[at - 0.5, n - 0.5, at + 0.5, n + 0.5] for n, at in enumerate(commits) if at is not None]
    np.testing.assert_allclose(boxes(axes), expected)
    reach = -max(values.min(), -12)
    assert [text.get_text() for text in axes.texts] == [marks.short_cell(value, reach) for value in values.ravel()]
    never = draw_lens(values, labels, [8] * 8, LIGHT).axes[1]
    assert [len(item.get_paths()) for item in never.collections] == [0, 0]


def test_the_key_of_the_lens_says_that_some_values_lie_below_it() -> None:
    for lowest, text in ((-30.0, "≤ -12"), (-9.0, "-9")):
        key = draw_lens(np.array([[lowest, -1.0]]), ["a"], [1], LIGHT).axes[0]
        assert [one.get_text() for one in key.texts] == [text, "0 · log-probability (nats)"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_rank_one_is_the_strongest_colour(theme: canvas.Theme) -> None:
    ranks = np.array([[5000, 70, 1], [3, 2, 1]])
    image = draw_lens(ranks, ["a", "b"], [2, 2], canvas.Style(theme), measure="rank").axes[1].images[0]
    assert image.get_clim() == (1, 5000)
    colours = image.cmap(image.norm(ranks))
    top = canvas.palette(theme).weights(1.0)
    np.testing.assert_allclose(colours[:, 2], [top, top], atol=1e-6)
    np.testing.assert_allclose(colours[0, 0], canvas.palette(theme).weights(0.0), atol=1e-6)


def test_a_lens_of_wrong_values_is_refused() -> None:
    with pytest.raises(OptionError, match=r"The measure 'odds' does not exist; choose one of log_prob, rank\."):
        draw_lens(np.zeros((1, 1)), ["a"], [0], LIGHT, measure="odds")
    with pytest.raises(OptionError, match="There is nothing to draw: no token"):
        draw_lens(np.zeros((0, 3)), [], [], LIGHT)
    with pytest.raises(ValueError, match=r"values \(2, 3\) need as many labels, commits and layers, got 1, 2, 3"):
        draw_lens(np.zeros((2, 3)), ["a"], [0, 0], LIGHT)
    with pytest.raises(ValueError, match="ranks count from 1, got 0; add 1"):
        draw_lens(np.zeros((1, 3)), ["a"], [0], LIGHT, measure="rank")


def test_shares_are_stacked_to_one_and_others_drawn_as_curves() -> None:
    attention, memory = np.array([1.0, 3.0, 0.0]), np.array([1.0, 1.0, 0.0])
    axes = draw_paths({"attention": attention, "memory": memory}, LIGHT).axes[0]
    heights = np.array([patch.get_height() for patch in axes.patches]).reshape(2, 3)
    np.testing.assert_allclose(heights, [[0.5, 0.75, 0], [0.5, 0.25, 0]])  # a layer that carries nothing stays empty
    assert axes.get_ylim() == (0, 1)
    figure = draw_paths({"attention": attention, "memory": -memory}, LIGHT, unit="logit")
    curves = [line.get_ydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    np.testing.assert_array_equal(curves, [attention, -memory])
    assert figure.axes[0].get_ylabel() == "logit"
    named = {text.get_text(): text.get_color() for text in figure.texts}
    assert (named["■ attention"], named["■ memory"]) == canvas.palette("light").series[:2]


def test_paths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="There is nothing to draw: no path"):
        draw_paths({}, LIGHT)
    with pytest.raises(OptionError, match="Shares cannot be negative"):
        draw_paths({"a": [-1.0]}, LIGHT)
    with pytest.raises(ValueError, match=r"one amount a layer, got \{'a': 1, 'b': 2\}"):
        draw_paths({"a": [1.0], "b": [1.0, 2.0]}, LIGHT)
