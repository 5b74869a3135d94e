"""Pictures of a trace: the right numbers reach the views, at the right times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import voxray
from voxray import AttentionView, attention_map, plot
from voxray.trace import Trace
from voxray.types import OptionError, OutputError

DRAWINGS = (plot.attention, plot.overlay, plot.heads, plot.posteriors, plot.tags)


@pytest.fixture(scope="module")
def spoken(bundled: Any, clips: Path) -> Trace:
    return bundled.trace(clips / "zh_happy_speech.wav")


@pytest.fixture(scope="module")
def long(bundled: Any, clips: Path) -> Trace:
    """Two pieces: half a minute of clips with pauses between them."""
    pause = 1e-3 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    parts = [part for path in sorted(clips.glob("*.wav")) for part in (voxray.load_audio(path).samples, pause)]
    return bundled.trace(np.concatenate(parts * 2))


def images(figure: Figure) -> list[Any]:
    return [image for axes in figure.axes for image in axes.get_images()]


def test_the_heat_map_shows_the_attention_asked_for(spoken: Trace) -> None:
    figure = plot.attention(spoken, layer=5, head=1, normalise="row_max", tags=True)
    expected = attention_map(spoken, AttentionView(layer=5, head=1, normalise="row_max", tags=True)).values
    np.testing.assert_array_equal(np.asarray(images(figure)[0].get_array()), expected)
    boxes = next(one for axes in figure.axes for one in axes.collections if isinstance(one, PolyCollection)).get_paths()
    assert len(boxes) == len(spoken.tokens)  # tags have no box
    assert [path.get_extents().x0 for path in boxes] == pytest.approx([token.start for token in spoken.tokens])


def test_fields_of_the_view_may_be_given_on_top_of_a_view(spoken: Trace) -> None:
    view = AttentionView(layer=3, head=0)
    one, other = plot.attention(spoken, view, head=2), plot.attention(spoken, AttentionView(layer=3, head=2))
    np.testing.assert_array_equal(np.asarray(images(one)[0].get_array()), np.asarray(images(other)[0].get_array()))


@pytest.mark.parametrize("index", [0, 1])
def test_the_overlay_of_a_piece_stands_at_its_time(long: Trace, index: int) -> None:
    part = long.piece(index)
    piece = part.pieces[0]
    figure = plot.overlay(part)
    wave, spectrum, curve = figure.axes[:3]
    for axes in (wave, spectrum, curve):
        assert axes.get_xlim() == pytest.approx((piece.start, piece.end), abs=1e-3)
    times = wave.collections[0].get_paths()[0].vertices[:, 0]
    assert times.min() == pytest.approx(piece.start, abs=0.02)
    assert times.max() == pytest.approx(piece.end, abs=0.02)
    left, right = spectrum.get_images()[0].get_extent()[:2]
    assert left == pytest.approx(piece.start + 0.0075, abs=1e-3)  # half a window less half a shift
    assert right == pytest.approx(piece.end, abs=0.06)


def test_the_overlay_of_one_word_shows_its_attention(spoken: Trace) -> None:
    figure = plot.overlay(spoken, word=2)
    rows = attention_map(spoken).values[slice(*spoken.words[2].tokens)]
    (steps,) = {one.get_data().values.tobytes() for one in figure.axes[2].patches}
    np.testing.assert_allclose(np.frombuffer(steps), rows.max(axis=0), rtol=1e-6)
    assert spoken.words[2].text in figure.texts[0].get_text()
    with pytest.raises(OptionError, match="word 8 does not exist: the clip has 8 words, 0 to 7"):
        plot.overlay(spoken, word=8)


def test_posteriors_are_those_of_the_trace(spoken: Trace) -> None:
    figure = plot.posteriors(spoken)
    token = spoken.tokens[3]
    curves = [np.ma.filled(np.ma.asarray(line.get_ydata(), np.float64), np.nan) for line in figure.axes[0].lines]
    long = [one for one in curves if len(one) == len(spoken.times)]
    for index in (token.id, spoken.blank):
        wanted = np.exp(spoken.log_probs[4:, index])
        assert any(np.isfinite(one[token.peak - 4]) and np.nanmax(np.abs(one - wanted)) <= 1e-6 for one in long)


def test_heads_has_a_map_for_every_layer_and_head(spoken: Trace) -> None:
    figure = plot.heads(spoken, layers=[0, 7])
    assert len(images(figure)) == 8
    weights = spoken.token_attention([0, 7]).values
    shown = np.asarray(images(figure)[3].get_array())  # column by column, each scaled by its own maximum
    np.testing.assert_allclose(shown, weights[1, 1] / weights[1, 1].max(), rtol=1e-6)


@pytest.mark.parametrize("draw", DRAWINGS, ids=lambda draw: draw.__name__)
def test_pictures_are_written_or_returned(draw: Any, spoken: Trace, tmp_path: Path) -> None:
    path = draw(spoken, path=tmp_path / "a.svg", theme="dark")
    assert path == tmp_path / "a.svg"
    assert path.read_bytes().startswith(b"<?xml")
    assert isinstance(draw(spoken), Figure)
    with pytest.raises(OptionError, match="no option is called 'colour'; choose from layer, head, aggregate"):
        draw(spoken, colour="red")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        draw(spoken, path=tmp_path / "file" / "a.png")


@pytest.mark.parametrize("draw", DRAWINGS[:-1], ids=lambda draw: draw.__name__)
def test_long_and_empty_sounds_say_what_to_do(draw: Any, long: Trace, bundled: Any) -> None:
    with pytest.raises(OptionError, match=rf"in {len(long.pieces)} pieces; draw one of them: trace\.piece\(0\) to"):
        draw(long)
    with pytest.raises(OptionError, match="holds no speech, so there is nothing to draw"):
        draw(bundled.trace(np.zeros(16000 * 31, np.float32)))


def test_from_a_file_to_a_picture_in_one_call(clips: Path, bundled: Any, tmp_path: Path) -> None:
    trace = voxray.draw_attention(clips / "ja_sad_speech.wav", tmp_path / "a.png", model=bundled, normalise="minmax", dpi=60)
    assert trace.text == next(clip.text for clip in voxray.demo_clips() if clip.path.name == "ja_sad_speech.wav")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
