"""The pictures: what is drawn where, and that it can be read. No pixels are compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from voxray.types import TAG_KINDS, Audio, Features, OptionError, Tag, Token, Word
from voxray.views import canvas
from voxray.views.heads import draw_heads
from voxray.views.heatmap import draw_heatmap
from voxray.views.overlay import draw_overlay, mel_bin
from voxray.views.posteriors import draw_posteriors
from voxray.views.tags import draw_tags, percent, ranked

LIGHT, DARK = canvas.Style(dpi=100), canvas.Style("dark", dpi=100)
NARROW, WIDE = canvas.Style(dpi=100, width=3.5), canvas.Style("dark", dpi=100, width=20)
LOOKS = {"light": LIGHT, "dark": DARK, "narrow": NARROW, "wide": WIDE}
TEXTS = (*"今天天气很好，", " hello", "▁wor", "ld", "こん", "に", " 저녁", "打開", "媽媽", "$x_1$", " extraordinarily")
START, HOP = 0.03, 0.06


def texts_of(count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(TEXTS), count))


def clock(frames: int) -> np.ndarray:
    return START + HOP * np.arange(frames)


def scores(tokens: int, frames: int, **attrs: object) -> xr.DataArray:
    rng = np.random.default_rng(tokens + frames)
    values = rng.random((tokens, frames)) ** 3
    coords = {"label": ("token", texts_of(tokens)), "time": ("frame", clock(frames))}
    said = {"title": "Attention 注意力", "provenance": "SenseVoice · layer 3 · head 1", "unit": "attention weight"}
    return xr.DataArray(values, dims=("token", "frame"), coords=coords, attrs={**said, **attrs})


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


def tick_texts(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_the_check_for_overlaps_sees_one() -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    with pytest.raises(AssertionError, match="'one' and 'two' overlap"):
        assert_readable(figure)


# --- heat map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (1, 45), (5, 45), (8, 1), (120, 500)])
def test_heatmap_can_be_read_at_any_size(tokens: int, frames: int, style: canvas.Style) -> None:
    data = scores(tokens, frames).assign_coords(confidence=("token", np.linspace(0, 1, tokens)))
    assert_readable(draw_heatmap(data, style))


def test_heatmap_puts_every_frame_at_its_time_and_every_token_in_its_row() -> None:
    data = scores(5, 45)
    figure = draw_heatmap(data.transpose("frame", "token"), LIGHT)
    axes = figure.axes[0]
    image = axes.images[0]
    left, right, bottom, top = image.get_extent()
    edges = np.linspace(left, right, 46)
    np.testing.assert_allclose((edges[:-1] + edges[1:]) / 2, clock(45))
    assert axes.get_xlim() == pytest.approx((0.0, 45 * HOP))
    assert (bottom, top) == (4.5, -0.5)
    np.testing.assert_allclose(image.get_array(), data.values)
    assert list(axes.get_yticks()) == [0, 1, 2, 3, 4]
    assert tick_texts(axes) == list("今天天气很")


def test_heatmap_begins_with_the_sound() -> None:
    data = scores(2, 10).assign_coords(time=("frame", 0.0125 + HOP * np.arange(10)))  # as SenseVoice's frames lie
    axes = draw_heatmap(data, LIGHT).axes[0]
    assert axes.get_xlim() == pytest.approx((0.0, 0.5825))
    assert axes.images[0].get_extent()[:2] == pytest.approx((-0.0175, 0.5825))


def test_heatmap_says_title_provenance_and_unit() -> None:
    figure = draw_heatmap(scores(5, 45), LIGHT)
    assert [text.get_text() for text in figure.texts] == ["Attention 注意力", "SenseVoice · layer 3 · head 1"]
    assert figure.axes[1].get_ylabel() == "attention weight"
    assert figure.axes[0].get_xlabel() == "time (s)"


def test_heatmap_names_all_of_120_tokens_in_order_and_grows() -> None:
    small, large = draw_heatmap(scores(5, 45), LIGHT), draw_heatmap(scores(120, 45), LIGHT)
    assert tick_texts(large.axes[0]) == [canvas.token_label(text) for text in texts_of(120)]
    assert large.get_figheight() > 4 * small.get_figheight()
    assert {"␣hello", "␣wor", "$x_1$"} <= set(tick_texts(large.axes[0]))


def test_heatmap_leaves_out_labels_only_where_rows_are_too_thin() -> None:
    figure = draw_heatmap(scores(600, 10), LIGHT)
    assert tick_texts(figure.axes[0]) == [canvas.token_label(text) for text in texts_of(600)[::3]]
    assert figure.get_figheight() < 42
    assert_readable(figure)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_heatmap_of_signed_scores_is_centred(theme: canvas.Theme) -> None:
    data = scores(4, 9, cmap_centre=0) - 0.3
    data.attrs = scores(4, 9, cmap_centre=0).attrs
    image = draw_heatmap(data, canvas.Style(theme)).axes[0].images[0]
    low, high = image.get_clim()
    assert low == -high == pytest.approx(-np.abs(data.values).max())
    assert image.get_cmap() == canvas.palette(theme).signed


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0, np.nan])
@pytest.mark.parametrize("attrs", [{}, {"cmap_centre": 0}])
def test_heatmap_of_a_constant_draws_without_warning(value: float, attrs: dict[str, object]) -> None:
    data = scores(3, 7, **attrs)
    data[:] = value
    assert_readable(draw_heatmap(data, LIGHT))


def test_heatmap_outlines_spans_and_words() -> None:
    spans = [(0.06 * row, 0.06 * row + 0.12) for row in range(4)]
    words = [Word("今天", 0.0, 0.18, (0, 2), -0.1), Word("天气", 0.12, 0.3, (2, 4), -0.1)]
    axes = draw_heatmap(scores(4, 9), LIGHT, spans=spans, words=words).axes[0]
    (_, lines) = (item for item in axes.collections if isinstance(item, PolyCollection))
    boxes = [path.get_extents().extents for path in lines.get_paths()]
    expected = [(start, row - 0.5, end, row + 0.5) for row, (start, end) in enumerate(spans)]
    expected += [(0.0, -0.5, 0.18, 1.5), (0.12, 1.5, 0.3, 3.5)]
    np.testing.assert_allclose(boxes, expected)
    assert axes.get_xlim() == pytest.approx((0, 0.54))


def test_heatmap_shows_confidence_only_where_it_is_given() -> None:
    data = scores(3, 9)
    assert len(draw_heatmap(data, LIGHT).axes) == 2
    figure = draw_heatmap(data.assign_coords(confidence=("token", [0.2, 0.5, 1.0])), LIGHT)
    segments = figure.axes[1].collections[1].get_segments()
    np.testing.assert_allclose([segment[1][0] for segment in segments], [0.2, 0.5, 1.0])


def test_heatmap_breaks_long_titles_units_and_provenance_and_shortens_long_tokens() -> None:
    long = {
        "title": "很长的标题 " * 20,
        "provenance": "layer 3 · " * 40,
        "unit": "log posterior lost when the cell is masked (nats) " * 2,
    }
    data = scores(3, 9, **long).assign_coords(label=("token", ["x" * 80, "好" * 50, "ok"]))
    for style in (LIGHT, NARROW):
        figure = draw_heatmap(data, style)
        assert_readable(figure)
        assert figure.axes[1].get_ylabel().replace("\n", " ") == long["unit"].strip()
        assert tick_texts(figure.axes[0])[0].endswith("…")


# --- overlay -----------------------------------------------------------------------------------------------------------


def overlay(words: list[Word], style: canvas.Style, *, seconds: float = 2.4, scale: float = 1.0) -> Figure:
    rng = np.random.default_rng(5)
    audio = Audio(rng.standard_normal(int(seconds * 16000)).astype(np.float32) * 0.1)
    rows = int(seconds * 100) - 2
    log_mel = Features(rng.standard_normal((rows, 80)), 0.01, 0.0125)
    frames = -(-rows // 6)
    weights = xr.DataArray(
        scale * np.exp(-0.5 * ((clock(frames) - 1.0) / 0.1) ** 2),
        dims="frame",
        coords={"time": ("frame", clock(frames))},
        attrs={"unit": "attention"},
    )
    return draw_overlay(audio, log_mel, weights, words, style, title="“小时” in the sound", provenance="layer 12")


def words_of(count: int, seconds: float) -> list[Word]:
    step = seconds / count
    return [Word(t.strip(" ▁"), n * step, (n + 0.8) * step, (n, n + 1), -0.1) for n, t in enumerate(texts_of(count))]


@pytest.mark.parametrize("style", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize(("count", "seconds"), [(0, 0.3), (1, 0.5), (5, 2.4), (120, 30.0)])
def test_overlay_can_be_read_at_any_size(count: int, seconds: float, style: canvas.Style) -> None:
    assert_readable(overlay(words_of(count, seconds) if count else [], style, seconds=seconds))


def test_overlay_has_three_panels_on_one_clock() -> None:
    figure = overlay(words_of(5, 2.4), LIGHT)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert axes.get_xlim() == pytest.approx((0.0, 2.4))
        lines = sorted({round(line.get_xdata()[0], 6) for line in axes.lines if line.get_linestyle() == "--"})
        assert lines == [round(x, 6) for n in range(5) for x in (n * 0.48, (n + 0.8) * 0.48)]
    assert [text.get_text() for text in figure.axes[0].texts] == list("今天天气很")
    assert [text.get_text() for text in figure.texts] == ["“小时” in the sound", "layer 12"]


def test_overlay_leaves_out_word_texts_only_where_they_have_no_room() -> None:
    roomy, tight = overlay(words_of(18, 9.0), WIDE, seconds=9.0), overlay(words_of(60, 9.0), NARROW, seconds=9.0)
    assert len(roomy.axes[0].texts) == 18
    assert 5 < len(tight.axes[0].texts) < 60


def test_overlay_glows_where_the_weight_is_and_leaves_the_speech_visible() -> None:
    figure = overlay([], LIGHT)
    speech, glow = figure.axes[1].images
    alpha = glow.get_array()[..., 3]
    assert speech.get_extent() == glow.get_extent() == pytest.approx((0.0075, 2.3875, -0.5, 79.5))
    times = 0.0125 + 0.01 * np.arange(238)
    frame = np.minimum((times / HOP).astype(int), 39)
    curve = np.exp(-0.5 * ((clock(40) - 1.0) / 0.1) ** 2)
    np.testing.assert_allclose(alpha, np.broadcast_to((curve / curve.max())[frame], alpha.shape), atol=1e-9)
    brightness = glow.get_array()[:, 100, :3].mean(axis=1)
    plain = speech.get_array()[:, 100, :3].mean(axis=1)
    assert np.corrcoef(brightness, plain)[0, 1] > 0.9


def test_overlay_colours_weights_below_zero_the_other_way() -> None:
    warm, cold = (overlay([], LIGHT, scale=sign).axes[1].images[1].get_array()[:, 100] for sign in (1, -1))
    np.testing.assert_allclose(warm[:, 3], cold[:, 3])
    assert np.all(warm[:, 0] > warm[:, 2])
    assert np.all(cold[:, 2] > cold[:, 0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_overlay_of_nothing_draws_without_warning(scale: float) -> None:
    assert_readable(overlay([], DARK, scale=scale))


def test_overlay_refuses_an_empty_sound() -> None:
    weights = xr.DataArray([1.0], dims="frame", coords={"time": ("frame", [0.03])})
    with pytest.raises(OptionError, match="the sound is empty"):
        draw_overlay(Audio(np.zeros(0)), Features(np.zeros((0, 80)), 0.01, 0.0), weights, [], LIGHT, title="", provenance="")


def test_mel_bin_is_the_inverse_of_the_centres_of_kaldi() -> None:
    low, high = 1127 * np.log1p(20 / 700), 1127 * np.log1p(8000 / 700)
    centres = 700 * np.expm1((low + (np.arange(80) + 1) * (high - low) / 81) / 1127)
    np.testing.assert_allclose(mel_bin(centres, 80), np.arange(80), atol=1e-9)


# --- heads -------------------------------------------------------------------------------------------------------------


def head_maps(layers: int, heads: int, tokens: int = 8, frames: int = 45) -> xr.DataArray:
    rng = np.random.default_rng(layers)
    attrs = {"title": "Where every head looks", "provenance": "SenseVoice"}
    coords = {"time": ("frame", clock(frames))}
    values = rng.random((layers, heads, tokens, frames)) ** 4 / 7
    return xr.DataArray(values, dims=("layer", "head", "token", "frame"), coords=coords, attrs=attrs)


@pytest.mark.parametrize("style", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize(("layers", "heads", "frames"), [(1, 1, 45), (14, 4, 200), (70, 4, 45), (3, 8, 100)])
def test_heads_can_be_read_at_any_size(layers: int, heads: int, frames: int, style: canvas.Style) -> None:
    figure = draw_heads(head_maps(layers, heads, frames=frames), style)
    assert len(figure.axes) == heads
    assert sum(len(axes.images) for axes in figure.axes) == layers * heads
    assert_readable(figure)


def test_heads_scale_every_map_by_its_own_maximum_and_say_so() -> None:
    data = head_maps(3, 2)
    figure = draw_heads(data, LIGHT)
    for head, layer in itertools.product(range(2), range(3)):
        image = figure.axes[head].images[layer]
        values = data.values[layer, head]
        np.testing.assert_allclose(image.get_array(), values / values.max())
        assert image.get_clim() == (0, 1)
        left, right, bottom, top = image.get_extent()
        assert (left, right) == pytest.approx((0, 45 * HOP))
        assert layer < top < bottom <= layer + 1
        assert figure.axes[head].texts[layer].get_text().strip() == f"{values.max():.2g}"
    assert "each map is scaled by its own maximum" in figure.texts[1].get_text()


def test_heads_are_named_by_their_numbers_and_only_the_bottom_has_a_clock() -> None:
    data = head_maps(6, 4).assign_coords(layer=range(6), head=range(4)).sel(layer=[2, 5], head=[1, 3])
    figure = draw_heads(data, LIGHT)
    assert tick_texts(figure.axes[0]) == ["L2", "L5"]
    assert [axes.get_title() for axes in figure.axes] == ["H1", "H3"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["time (s)", ""]


def test_heads_keep_the_clocks_of_neighbours_apart() -> None:
    figure = draw_heads(head_maps(2, 3, frames=200), LIGHT)
    FigureCanvasAgg(figure).draw()
    ends = [max(float(label.get_text()) for label in _drawn_labels(axes.xaxis)) for axes in figure.axes]
    assert ends[2] == 200 * HOP
    assert ends[0] == ends[1] < ends[2]


def test_heads_of_zeros_draw_without_warning() -> None:
    assert_readable(draw_heads(head_maps(2, 2) * 0, DARK))


# --- posteriors --------------------------------------------------------------------------------------------------------


def posteriors(count: int, frames: int) -> tuple[xr.DataArray, list[Token]]:
    texts = texts_of(count)
    ids = {text: place + 1 for place, text in enumerate(dict.fromkeys(texts))}
    values = np.full((frames, len(ids) + 1), 0.001)
    tokens = []
    for place, text in enumerate(texts):
        row = int((place + 0.5) * frames / count)
        values[row, ids[text]] = 0.4 + 0.5 * (place % 2)
        tokens.append(Token(ids[text], text, HOP * (row - 1), HOP * (row + 1), (row, row + 1), row, -0.1))
    values[:, 0] = 1 - values[:, 1:].sum(axis=1)
    coords = {"time": ("frame", clock(frames)), "id": ("token", range(len(ids) + 1)), "label": ("token", ["<blank>", *ids])}
    attrs = {"title": "When", "provenance": "CTC"}
    return xr.DataArray(values, dims=("frame", "token"), coords=coords, attrs=attrs), tokens


@pytest.mark.parametrize("style", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize(("count", "frames"), [(1, 1), (5, 45), (30, 60), (120, 500)])
def test_posteriors_can_be_read_at_any_size(count: int, frames: int, style: canvas.Style) -> None:
    figure = draw_posteriors(*posteriors(count, frames), style)
    assert_readable(figure)
    assert figure.axes[0].get_xlim() == pytest.approx((0, frames * HOP))
    assert figure.axes[0].get_ylim() == (0, 1)


def test_posteriors_mark_each_emission_at_its_peak_under_its_text() -> None:
    data, tokens = posteriors(5, 45)
    axes = draw_posteriors(data, tokens, LIGHT).axes[0]
    marks = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(marks, [(START + HOP * t.peak, data.values[t.peak, t.id]) for t in tokens])
    labels = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert labels.keys() == {" blank", "今", "天", "气", "很"}
    assert labels["很"] == pytest.approx(START + HOP * tokens[4].peak)
    blank = axes.lines[0]
    np.testing.assert_allclose(blank.get_ydata(), data.values[:, 0])
    assert blank.get_color() == canvas.palette("light").muted


def test_posteriors_keep_every_label_of_120_tokens_where_there_is_room() -> None:
    figure = draw_posteriors(*posteriors(120, 500), WIDE)
    assert len(figure.axes[0].texts) == 121
    assert 20 < len(draw_posteriors(*posteriors(120, 500), NARROW).axes[0].texts) < 121


def test_posteriors_need_a_column_for_every_token() -> None:
    data, tokens = posteriors(5, 45)
    with pytest.raises(ValueError, match=r"missing are the ids \[4\]"):
        draw_posteriors(data[:, :4], tokens, LIGHT)


def test_posteriors_without_any_token_show_the_blank() -> None:
    data, _ = posteriors(1, 9)
    figure = draw_posteriors(data[:, :1], [], DARK)
    assert len(figure.axes[0].lines) == 1
    assert_readable(figure)


# --- tags --------------------------------------------------------------------------------------------------------------

LABELS = {
    "language": ("zh", "en", "yue", "ja", "ko", "nospeech"),
    "emotion": ("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED", "OTHER", "EMO_UNKNOWN"),
    "event": ("Speech", "BGM", "Laughter", "Applause", "Cry", "Sneeze", "Breath", "Cough", "Sing", "Speech_Noise", "Event_UNK"),
    "textnorm": ("withitn", "woitn"),
}


def tags_of(pieces: int, mass: float = 0.97) -> list[Tag]:
    made = []
    for piece in range(pieces):
        for kind in TAG_KINDS:
            raw = np.array([1.0 / (1 + (place + piece) % len(LABELS[kind])) ** 3 for place in range(len(LABELS[kind]))])
            table = dict(zip(LABELS[kind], (raw / raw.sum()).tolist(), strict=True))
            best = max(table, key=table.__getitem__)
            emitted = f"<|{best}|>" if mass > 0.5 else "今天"
            made.append(Tag(kind, best, table, mass, emitted, 0, piece * 5.0, piece * 5.0 + 4.5))
    return made


@pytest.mark.parametrize("style", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("pieces", [1, 2, 7, 60])
def test_tags_can_be_read_at_any_size(pieces: int, style: canvas.Style) -> None:
    assert_readable(draw_tags(tags_of(pieces), style, provenance="SenseVoice · 录音.wav"))


def test_tags_of_one_piece_are_bars_best_first_with_the_rest_summed() -> None:
    figure = draw_tags(tags_of(1), LIGHT)
    assert len(figure.axes) == 4
    event = figure.axes[2]
    table = tags_of(1)[2].probabilities
    order = sorted(table, key=lambda name: -table[name])
    assert tick_texts(event) == [*order[:8], "others"]
    bars = [patch.get_width() for patch in event.patches][1::2]
    np.testing.assert_allclose(bars, [*(table[name] for name in order[:8]), sum(table[name] for name in order[8:])])
    assert sum(bars) == pytest.approx(1)
    winners = [patch for patch in event.patches if patch.get_facecolor() == mpl.colors.to_rgba(canvas.palette("light").accent)]
    assert [patch.get_width() for patch in winners] == [table["Speech"]]


def test_tags_note_mass_and_emission_and_warn_of_a_low_mass() -> None:
    colours = canvas.palette("light")
    for mass, note, colour in (
        (0.97, "emitted <|zh|> · mass 97 %", colours.muted),
        (0.21, "emitted 今天 · mass 21 %", colours.accent),
    ):
        texts = {text.get_text(): text.get_color() for text in draw_tags(tags_of(1, mass), LIGHT).axes[0].texts}
        assert texts[note] == colour


def test_tags_of_several_pieces_are_maps_on_one_clock() -> None:
    figure = draw_tags(tags_of(7), LIGHT)
    maps = figure.axes[:4]
    assert [tick_texts(axes)[-2:] for axes in maps] == [["mass", "emitted"]] * 4
    for axes, kind in zip(maps, TAG_KINDS, strict=True):
        group = [tag for tag in tags_of(7) if tag.kind == kind]
        table = ranked(group)
        assert axes.get_xlim() == pytest.approx((0, 34.5))
        assert tick_texts(axes)[:-2] == list(table)
        cells = [item for item in axes.collections if isinstance(item, PolyCollection)]
        assert len(cells) == len(table) + 1
        colours = canvas.palette("light").weights(np.array(table[group[0].label]))
        np.testing.assert_allclose(cells[list(table).index(group[0].label)].get_facecolors(), colours)


def test_ranked_keeps_a_label_that_won_once() -> None:
    table = ranked([tag for tag in tags_of(11) if tag.kind == "event"])
    np.testing.assert_allclose(np.sum(list(table.values()), axis=0), 1)
    assert list(table)[-1] == "others"
    assert len(table) == 9


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (0.0004, "< 0.1 %"), (0.004, "0.4 %"), (0.0996, "10 %"), (0.5, "50 %"), (0.993, "99.3 %"), (0.9999, "100 %")],
)
def test_percent_is_short(value: float, text: str) -> None:
    assert percent(value) == text


def test_no_tags_is_an_error_in_one_line() -> None:
    with pytest.raises(OptionError, match="There is nothing to draw: the model gave no tags"):
        draw_tags([], LIGHT)


# --- all ---------------------------------------------------------------------------------------------------------------

VIEWS: dict[str, Callable[[canvas.Style], Figure]] = {
    "heatmap": lambda style: draw_heatmap(scores(5, 20), style),
    "overlay": lambda style: overlay(words_of(5, 2.4), style),
    "heads": lambda style: draw_heads(head_maps(3, 2), style),
    "posteriors": lambda style: draw_posteriors(*posteriors(5, 45), style),
    "tags": lambda style: draw_tags(tags_of(1), style),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_every_view_is_written_in_every_format_at_the_asked_width(view: str, ending: str, tmp_path: Path) -> None:
    style = canvas.Style("dark", dpi=60, width=6.0)
    figure = VIEWS[view](style)
    assert figure.get_figwidth() == pytest.approx(6.0)
    assert figure.get_facecolor() == mpl.colors.to_rgba(canvas.palette("dark").background)
    assert canvas.save_figure(figure, tmp_path / f"a.{ending}", style).stat().st_size > 1000


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_changes_the_settings_of_matplotlib(view: str) -> None:
    with mpl.rc_context({"axes.grid": True, "image.cmap": "jet", "font.family": ["serif"], "axes.titlesize": 40.0}):
        before = dict(mpl.rcParams)
        figure = VIEWS[view](LIGHT)
        assert dict(mpl.rcParams) == before
        assert_readable(figure)
        families = {family for text in figure.findobj(Text) if text.get_text() for family in text.get_fontfamily()}
        assert families == set(canvas.FAMILIES)
        words = [text for text in figure.findobj(Text) if any(map(str.isalpha, text.get_text()))]
        assert len(words) > 4
        assert not any(text.get_parse_math() for text in words)  # a dollar in a transcript is a dollar


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_heatmap(scores(5, 20)[:0], LIGHT),
        lambda: draw_heads(head_maps(2, 2)[:, :0], LIGHT),
        lambda: draw_posteriors(posteriors(5, 20)[0][:0], [], LIGHT),
    ],
    ids=["heatmap", "heads", "posteriors"],
)
def test_nothing_to_draw_is_an_error_in_one_line(draw: Callable[[], Figure]) -> None:
    with pytest.raises(OptionError, match=r"There is nothing to draw: no (token|head|frame) was found") as caught:
        draw()
    assert "\n" not in str(caught.value)


def test_heatmap_leaves_a_few_sinks_beyond_its_colours() -> None:
    quiet = scores(30, 100)
    (image,) = (one for axes in draw_heatmap(quiet, LIGHT).axes for one in axes.get_images())
    assert image.norm.vmax == pytest.approx(float(quiet.max()))
    loud = quiet.copy()
    loud[3, 7] = 40.0
    figure = draw_heatmap(loud, LIGHT)
    (image,) = (one for axes in figure.axes for one in axes.get_images())
    assert image.norm.vmax == pytest.approx(np.quantile(loud.values, 0.995))
    assert np.asarray(image.get_array())[3, 7] == 40.0  # what is drawn is what was measured
    assert image.colorbar.extend == "max"
