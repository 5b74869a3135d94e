"""The sheet: letters, colours, measures and files."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from voxray.types import OptionError, OutputError
from voxray.views import canvas

ROOT = Path(__file__).parents[2]
SAMPLES = {
    "zh": "今天天气很好，我们去公园吧！“好的”……价格是￥３５０、（约）",
    "yue": "我喺度飲緊茶，佢哋唔知點解嘅嘢冇咗㗎，乜嘢啫",
    "ja": "東京タワーへ行きました。ラーメンとビールをください「お願いします」〜ヴァイオリン々",
    "ko": "안녕하세요, 고마워요. 저녁에 빠르게 뵙겠습니다 훑뷁",
    "en": "Don’t stop — “naïve café” costs €5 / £4 … 100 %",
}


@pytest.fixture
def figure() -> Figure:
    with canvas.drawing(canvas.Style()) as colours:
        return canvas.sheet((4.0, 1.0), "你好 こんにちは 안녕 hello", "provenance 出處", colours).figure


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES)
def test_every_character_of_the_five_languages_has_a_glyph(text: str) -> None:
    assert canvas.missing_glyphs(text) == set()
    assert canvas.drawable(text) == text


@pytest.mark.parametrize("file", ["src/voxray/assets/model/tokens.json", "tests/data/sensevoice-funasr/tokens.json"])
def test_every_token_of_the_vocabularies_has_its_glyphs(file: str) -> None:
    tokens = json.loads((ROOT / file).read_text(encoding="utf-8"))
    assert len(tokens) > 200
    assert canvas.missing_glyphs("".join(tokens)) == set()


def test_missing_glyphs_names_exactly_what_the_fonts_lack() -> None:
    assert canvas.missing_glyphs("好\U0001f3b5a\U0001f9e1\n") == {"\U0001f3b5", "\U0001f9e1"}


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("开心\U0001f3b5好", "开心好"),
        ("\U0001f468\u200d\U0001f469\ufe0f!", "!"),
        ("\u1200x", "□x"),
        ("a\nb\tc", "a b c"),
        ("\ufeffbom", "bom"),
        ("cost $5 and $6_x", "cost $5 and $6_x"),
    ],
)
def test_drawable_drops_emoji_and_marks_other_missing_characters(text: str, drawn: str) -> None:
    assert canvas.drawable(text) == drawn
    assert canvas.missing_glyphs(drawn) == set()


@pytest.mark.parametrize(
    ("text", "label"),
    [(" hello", "␣hello"), ("▁hello", "␣hello"), ("ing", "ing"), ("▁", "␣"), ("", "□"), ("\U0001f3b5", "□"), ("天", "天")],
)
def test_token_label_shows_the_space_that_begins_a_word(text: str, label: str) -> None:
    assert canvas.token_label(text) == label


def test_text_width_agrees_with_what_is_drawn() -> None:
    text = "今天 hello 안녕"
    with canvas.drawing(canvas.Style()):
        figure = Figure(dpi=300)
        drawn = figure.text(0, 0, text, size=9)
        inches = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width / 300
    assert canvas.text_width(text, 9) == pytest.approx(inches, rel=0.01)
    assert canvas.text_width(text, 18) == pytest.approx(2 * canvas.text_width(text, 9), rel=0.03)


@pytest.mark.parametrize("text", ["one two three four five six seven eight nine ten", "今天天气很好我们去公园" * 3, "x" * 60])
def test_wrapped_keeps_every_letter_and_the_width(text: str) -> None:
    lines = canvas.wrapped(text, 10, 1.0).split("\n")
    assert len(lines) > 2
    assert max(canvas.text_width(line, 10) for line in lines) <= 1.0
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_wrapped_breaks_words_only_where_one_is_longer_than_the_line() -> None:
    text = "one two three four five six"
    assert canvas.wrapped(text, 10, 1.0).replace("\n", " ") == text
    assert canvas.wrapped("", 10, 1.0) == ""


def test_shortened_ends_in_an_ellipsis_and_fits() -> None:
    cut = canvas.shortened("extraordinarily", 10, 0.5)
    assert cut.endswith("…")
    assert canvas.text_width(cut, 10) <= 0.5
    assert canvas.shortened("ok", 10, 0.5) == "ok"


def test_staggered_never_lets_two_labels_of_a_line_overlap() -> None:
    rng = np.random.default_rng(0)
    centres, widths = np.sort(rng.uniform(0, 10, 80)), rng.uniform(0.2, 1.0, 80)
    lines = canvas.staggered(centres.tolist(), widths.tolist(), 3)
    for line in range(3):
        chosen = [place for place, at in enumerate(lines) if at == line]
        assert len(chosen) > 3
        for left, right in itertools.pairwise(chosen):
            assert centres[left] + widths[left] / 2 <= centres[right] - widths[right] / 2
    assert -1 in lines
    assert canvas.staggered([0.0, 0.1, 5.0], [1.0, 1.0, 1.0], 2) == [0, 1, 0]


@pytest.mark.parametrize(
    ("values", "centre", "limits"),
    [
        ([0.1, 0.4], None, (0.0, 0.4)),
        ([-3.0, -1.0], None, (-3.0, 0.0)),
        ([0.0, 0.0], None, (0.0, 1.0)),
        ([0.3, 0.3], None, (0.0, 0.3)),
        ([-1.0, 4.0], 0.0, (-4.0, 4.0)),
        ([0.0, 0.0], 0.0, (-1.0, 1.0)),
        ([np.nan, 2.0], None, (0.0, 2.0)),
        ([np.nan, np.nan], 0.5, (-0.5, 1.5)),
    ],
)
def test_colour_range_holds_zero_and_is_never_empty(values: list[float], centre: float | None, limits: tuple[float, float]) -> None:
    scale = canvas.colour_range(np.array(values), centre)
    assert (scale.vmin, scale.vmax) == pytest.approx(limits)


def test_frame_clock_of_one_frame_and_of_many() -> None:
    one = xr.DataArray([1.0], dims="frame", coords={"time": ("frame", [0.03])})
    assert canvas.time_range(one) == pytest.approx((0.0, 0.06))
    assert canvas.time_range(one.assign_attrs(hop=0.02)) == pytest.approx((0.02, 0.04))
    many = xr.DataArray(np.ones(5), dims="frame", coords={"time": ("frame", 0.5 + 0.1 * np.arange(5))})
    assert canvas.time_range(many) == pytest.approx((0.45, 0.95))


def test_arranged_orders_the_axes_and_refuses_others() -> None:
    array = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("frame", "token"))
    np.testing.assert_array_equal(canvas.arranged(array, "token", "frame"), array.values.T)
    with pytest.raises(ValueError, match=r"needs the axes \(layer, frame\), got \(frame, token\)"):
        canvas.arranged(array, "layer", "frame")
    with pytest.raises(OptionError, match="no token was found"):
        canvas.arranged(array[:, :0], "token", "frame")


def _lightness(colours: np.ndarray) -> np.ndarray:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_maps_change_evenly_in_lightness_and_text_stands_out(theme: canvas.Theme) -> None:
    colours = canvas.palette(theme)
    steps = np.linspace(0, 1, 65)
    amounts = _lightness(colours.weights(steps)[:, :3])
    signs = _lightness(colours.signed(steps)[:, :3])
    paper = _lightness(np.array(to_rgb(colours.background)))
    away = -1 if theme == "light" else 1
    assert np.all(np.diff(amounts) * away > -0.01)
    assert np.all(np.diff(signs[32:]) * away > -0.5)
    assert np.all(np.diff(signs[:33]) * away < 0.5)
    assert abs(amounts[0] - paper) < 8
    assert abs(amounts[-1] - paper) > 80
    assert abs(signs[0] - signs[-1]) < 6
    for name in (colours.ink, colours.muted, colours.accent, colours.contrast, *colours.series):
        assert abs(_lightness(np.array(to_rgb(name))) - paper) > 38


def test_drawing_ignores_and_restores_the_settings_of_the_user() -> None:
    with mpl.rc_context({"font.size": 31.0, "svg.fonttype": "none", "text.parse_math": True}):
        before = dict(mpl.rcParams)
        with canvas.drawing(canvas.Style("dark")) as colours:
            assert mpl.rcParams["font.size"] == mpl.rcParamsDefault["font.size"]
            assert mpl.rcParams["svg.fonttype"] == "path"
            assert mpl.rcParams["figure.facecolor"] == colours.background
        assert dict(mpl.rcParams) == before


def test_threads_draw_one_after_the_other_and_leave_the_settings_alone() -> None:
    before = dict(mpl.rcParams)
    seen = []

    def draw(theme: canvas.Theme) -> None:
        for _ in range(20):
            with canvas.drawing(canvas.Style(theme)) as colours:
                seen.append(mpl.rcParams["figure.facecolor"] == colours.background)

    threads = [threading.Thread(target=draw, args=(theme,)) for theme in ("light", "dark")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 40
    assert dict(mpl.rcParams) == before


def test_the_views_load_no_plotting_library_before_they_draw() -> None:
    views = [f"voxray.views.{path.stem}" for path in (ROOT / "src/voxray/views").glob("[!_]*.py")]
    assert len(views) == 17
    heavy = "{'matplotlib', 'xarray', 'scipy', 'PIL'} & set(sys.modules)"
    code = f"import sys, {', '.join(views)}; print({heavy})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_png_has_the_dpi_and_size_that_were_asked_for(figure: Figure, tmp_path: Path) -> None:
    path = canvas.save_figure(figure, tmp_path / "deep" / "er" / "a.png", canvas.Style(dpi=240))
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((240, 240), abs=0.1)
        assert image.size == pytest.approx(tuple(figure.get_size_inches() * 240), abs=1)


def test_svg_holds_outlines_and_no_fonts(figure: Figure, tmp_path: Path) -> None:
    text = canvas.save_figure(figure, tmp_path / "a.SVG", canvas.Style()).read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "<text" not in text
    glyphs = set(re.findall(r'<path id="([^"]*)"', text))
    assert len(glyphs) >= len(set("你好こんにちは안녕hello") | set("provenance出處"))


def test_pdf_embeds_the_letters_as_type_3(figure: Figure, tmp_path: Path) -> None:
    data = canvas.save_figure(figure, str(tmp_path / "a.pdf"), canvas.Style()).read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/Subtype /Type3" in data
    assert b"/FontFile" not in data  # CFF outlines must not be wrapped as TrueType


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_picture_gives_the_same_bytes(figure: Figure, tmp_path: Path, ending: str) -> None:
    first, second = (canvas.save_figure(figure, tmp_path / f"{name}.{ending}", canvas.Style(dpi=50)) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{ending}", f"b.{ending}"]


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.gz", ".png"])
def test_other_endings_are_refused_in_one_line(figure: Figure, tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"end its name in \.png, \.svg, \.pdf") as caught:
        canvas.save_figure(figure, tmp_path / name, canvas.Style())
    assert "\n" not in str(caught.value)


def test_a_picture_beyond_the_pixels_of_png_is_refused_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="use at most 650 dpi"):
        canvas.save_figure(Figure(figsize=(100, 1)), tmp_path / "a.png", canvas.Style(dpi=700))


def test_a_folder_in_the_place_of_the_file_is_an_output_error(figure: Figure, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match="is a folder; give the name of a file"):
        canvas.save_figure(figure, tmp_path / "a.png", canvas.Style())


def test_a_parent_that_is_a_file_is_an_output_error(figure: Figure, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be written \(.+\); choose a folder") as caught:
        canvas.save_figure(figure, tmp_path / "file" / "a.png", canvas.Style())
    assert "\n" not in str(caught.value)


def test_an_unwritable_folder_is_an_output_error(figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:  # permissions do not stop the administrator, so the refusal is played
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match=r"a\.png cannot be written \(Permission denied\)") as caught:
        canvas.save_figure(figure, tmp_path / "a.png", canvas.Style())
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_failing_save_leaves_the_old_file_and_nothing_else(
    figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "a.png"
    old.write_bytes(b"old")

    def half(_: Figure, stream: object, **__: object) -> None:
        stream.write(b"half a picture")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OutputError, match="No space left on device"):
        canvas.save_figure(figure, old, canvas.Style())
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(
    ("choice", "message"),
    [({"theme": "blue"}, "choose light or dark"), ({"dpi": 0}, "between 20 and 2400"), ({"width": 0.5}, "between 2.5 and 100")],
)
def test_style_refuses_what_cannot_be_drawn(choice: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        canvas.Style(**choice)  # type: ignore[arg-type]
