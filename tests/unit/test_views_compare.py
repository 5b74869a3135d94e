"""Pictures of two models side by side: the right numbers in the right places, in both themes and for models of any depth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from voxray.types import OptionError
from voxray.views import canvas
from voxray.views.compare import draw_damage, draw_divergence, draw_margins
from voxray.views.compare_page import Picture, sentence, strings

LIGHT = canvas.Style(dpi=100)
STYLES = pytest.mark.parametrize(
    "style", [LIGHT, canvas.Style("dark", dpi=100), canvas.Style(dpi=100, width=3.5)], ids=["light", "dark", "narrow"]
)


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def outside(figure: Figure) -> list[str]:
    """Texts that stand over the edge of the sheet."""
    box, renderer = figure.bbox, FigureCanvasAgg(figure).get_renderer()
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    found = []
    for text in figure.findobj(lambda one: hasattr(one, "get_text") and one.get_visible() and one.get_text().strip()):
        if id(text) in hidden:  # matplotlib keeps ticks beyond the ends and does not draw them
            continue
        extent = text.get_window_extent(renderer)
        if extent.x0 < box.x0 - 1 or extent.x1 > box.x1 + 1 or extent.y0 < box.y0 - 1 or extent.y1 > box.y1 + 1:
            found.append(text.get_text())
    return found


class TestDivergence:
    @STYLES
    @pytest.mark.parametrize("layers", [1, 5, 14, 70])
    def test_layers_run_across_and_heads_down(self, layers: int, style: canvas.Style) -> None:
        values = np.random.default_rng(1).random((layers, 4)) * 0.01
        figure = drawn(draw_divergence(values, style, unit="bits a row", title="How far", provenance="A · B"))
        axes = figure.axes[-1]
        image = axes.images[0] if axes.images else axes.collections[0]
        assert np.asarray(image.get_array()).reshape(4, layers) == pytest.approx(values.T)
        assert axes.get_xlabel() == "layer"
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["head 0", "head 1", "head 2", "head 3"]
        assert axes.get_xticklabels()[-1].get_text() == str(layers - 1)
        assert outside(figure) == []

    def test_the_largest_is_boxed(self) -> None:
        values = np.zeros((6, 3))
        values[4, 1] = 1.0
        axes = drawn(draw_divergence(values, LIGHT)).axes[-1]
        boxes = [path.get_extents() for one in axes.collections if isinstance(one, PolyCollection) for path in one.get_paths()]
        assert {(box.x0, box.x1, box.y0, box.y1) for box in boxes} == {(3.5, 4.5, 0.5, 1.5)}

    def test_what_cannot_be_told_stays_empty(self) -> None:
        values = np.full((3, 2), np.nan)
        values[0, 0] = 0.5
        texts = {text.get_text() for text in drawn(draw_divergence(values, LIGHT)).axes[-1].texts}
        assert texts == {"", "0.5"}

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(OptionError, match="no head was measured"):
            draw_divergence(np.full((3, 2), np.nan), LIGHT)


class TestDamage:
    SHARES = np.array([0.1, 0.6, 0.2, 0.1])
    ENDS = np.array([0.05, 0.5, np.nan, 0.1]), np.array([0.15, 0.7, np.nan, 0.1])

    @STYLES
    def test_bars_intervals_and_the_even_share(self, style: canvas.Style) -> None:
        figure = drawn(draw_damage(self.SHARES, self.ENDS, ["0", "1", "2", "head"], style, title="Where", provenance="A · B"))
        (axes,) = figure.axes
        assert [bar.get_height() for bar in axes.patches] == pytest.approx([10, 60, 20, 10])
        colours = canvas.palette(style.theme)
        assert [bar.get_facecolor() == to_rgba(colours.accent) for bar in axes.patches] == [False, True, False, False]
        (lines,) = [one for one in axes.collections if isinstance(one, LineCollection)]
        assert [segment.tolist() for segment in lines.get_segments()] == [[[0, 5], [0, 15]], [[1, 50], [1, 70]], [[3, 10], [3, 10]]]
        assert axes.lines[0].get_ydata()[0] == 25  # type: ignore[index]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2", "head"]
        assert outside(figure) == []

    def test_seventy_layers_have_room(self) -> None:
        names = [*map(str, range(70)), "head"]
        figure = drawn(draw_damage(np.full(71, 1 / 71), (np.full(71, np.nan), np.full(71, np.nan)), names, LIGHT))
        labels = [tick.get_window_extent() for tick in figure.axes[0].get_xticklabels()]
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(labels))
        assert figure.axes[0].get_xticklabels()[-1].get_text() == "head"

    def test_refuses_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="4 shares need as many ends and names, got 4, 4 and 1"):
            draw_damage(self.SHARES, self.ENDS, ["0"], LIGHT)
        with pytest.raises(OptionError, match="no layer was exchanged"):
            draw_damage([], ([], []), [], LIGHT)


class TestMargins:
    @STYLES
    def test_tokens_that_flip_stand_out(self, style: canvas.Style) -> None:
        figure = drawn(draw_margins([5.0, 2.0, 1.0, -1.0], [4.5, -0.5, 1.5, -2.0], style, names=("A", "B"), title="Margins"))
        (axes,) = figure.axes
        plain, flipped = [one for one in axes.collections if isinstance(one, PathCollection)]
        assert np.asarray(plain.get_offsets()).tolist() == [[5.0, 4.5], [1.0, 1.5], [-1.0, -2.0]]
        assert np.asarray(flipped.get_offsets()).tolist() == [[2.0, -0.5]]
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.get_xlabel() == "margin under A (logits)"
        assert outside(figure) == []

    def test_refuses_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="got 2 and 1"):
            draw_margins([1.0, 2.0], [1.0], LIGHT)
        with pytest.raises(OptionError, match="no token was found"):
            draw_margins([], [], LIGHT)


class TestPage:
    def test_sentences_name_parts_in_their_language(self) -> None:
        values = {"layer": 3, "part": "{part.memory}", "share": "40 %"}
        assert sentence("claim.part", values) == "In layer 3 the largest part, 40 %, comes from its memory."
        assert sentence("claim.part", values, "zh") == "在第 3 层中，最大的一份（40 %）来自其记忆。"

    def test_every_part_of_a_layer_has_a_name(self) -> None:
        from voxray.graph.transplant import HEAD, NORM, PARTS

        for table in strings().values():
            assert all(table[f"part.{name}"] for name in (*PARTS, NORM, HEAD))

    def test_pictures_are_in_the_page(self) -> None:
        assert Picture(b"\x89PNG", b"x").sources == ("data:image/png;base64,iVBORw==", "data:image/png;base64,eA==")
