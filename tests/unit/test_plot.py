"""Pictures of a trace: the right numbers reach the views, at the right times."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

import voxray
from voxray import AttentionView, attention_map, plot
from voxray.alignment import stretches
from voxray.studies.quality import HeadScore
from voxray.trace import Trace
from voxray.types import Grid, OptionError, OutputError, Relevance, Target

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


# --- what was explained ------------------------------------------------------------------------------------------------


def relevance_of(trace: Trace, index: int, **changes: Any) -> Relevance:
    """A made-up map of one word on the frames of a piece."""
    piece = trace.pieces[0]
    frames = len(trace.times)
    edges = piece.start + 0.0125 + 0.06 * (np.arange(frames + 1) - 0.5)
    word = trace.words[index]
    scores = np.random.default_rng(index).standard_normal((1, frames))
    made = Relevance(
        scores=scores,
        grid=Grid(edges, np.array([0.0, 80.0])),
        target=Target("word", f"word:{index}", word.text, "", 0, (0, 1), word.start, word.end),
        method="norm_rollout",
        options={"fill": "noise", "samples": 25, "temperature": 0.123456, "pairs": True, "window": None},
        unit="logit",
        score=1.25,
        parts={},
        adds_up=False,
        view=True,
        model=trace.model,
        audio=trace.audio.name,
        language=trace.language,
        seed=7,
        passes=40,
        seconds=3.21,
        notes=("Rows look alike.",),
    )
    return dataclasses.replace(made, **changes)


def emotions_of(trace: Trace) -> list[Relevance]:
    tag = next(one for one in trace.tags if one.kind == "emotion")
    targets = [Target("tag", "emotion", label, "", 0, (1, 2), tag.start, tag.end) for label in tag.probabilities]
    return [relevance_of(trace, 0, target=one, scores=relevance_of(trace, 0).scores * n) for n, one in enumerate(targets)]


def test_relevance_lies_over_the_spectrogram_of_its_sound(spoken: Trace) -> None:
    data = relevance_of(spoken, 2)
    figure = plot.relevance(data, spoken)
    grey, image = figure.axes[1].get_images()
    np.testing.assert_array_equal(np.asarray(image.get_array()), data.scores)
    assert grey.get_extent()[0] == pytest.approx(0.0075)
    assert {text.get_text() for text in figure.axes[1].texts} == {word.text for word in spoken.words}
    same = plot.relevance(data, audio=spoken.audio).axes[1]
    np.testing.assert_allclose(same.get_images()[0].get_array(), grey.get_array())
    assert not same.texts
    assert len(plot.relevance(data).axes[1].get_images()) == 1


@pytest.mark.parametrize("index", [0, 1])
def test_relevance_of_a_piece_stands_at_its_time(long: Trace, index: int) -> None:
    part = long.piece(index)
    piece = part.pieces[0]
    for trace in (part, long):  # the whole trace finds the piece by the map's time
        grey, image = plot.relevance(relevance_of(part, 0), trace).axes[1].get_images()
        assert grey.get_extent()[0] == pytest.approx(piece.start + 0.0075, abs=1e-3)
        assert grey.get_extent()[1] == pytest.approx(piece.end, abs=0.06)
        assert image.get_extent()[0] == pytest.approx(piece.start - 0.0175, abs=1e-3)


def test_the_foot_says_how_a_map_came_about(spoken: Trace) -> None:
    title, foot = (text.get_text().replace("\n", " ") for text in plot.relevance(relevance_of(spoken, 2), width=12).texts)
    assert title == f"Norm rollout of word:2 '{spoken.words[2].text}' · zh_happy_speech.wav"
    assert foot == (
        "word:2 · norm_rollout (fill noise, samples 25, temperature 0.1235, pairs yes) · score 1.25 logit · seed 7 · 40 passes, "
        f"3.2 s · {spoken.model.name} (funasr, fp32), language auto · a view, not an explanation · Rows look alike"
    )
    plain = relevance_of(spoken, 2, view=False, method="exact", options={}, seed=None, passes=1, notes=())
    against = dataclasses.replace(plain.target, against="x" * 60)
    title, foot = (text.get_text() for text in plot.relevance(dataclasses.replace(plain, target=against), width=16).texts)
    assert title == f"What speaks for word:2 '{spoken.words[2].text}' rather than '{'x' * 39}…' · zh_happy_speech.wav"
    assert foot == f"word:2 · exact · score 1.25 logit · 1 pass, 3.2 s · {spoken.model.name} (funasr, fp32), language auto"


def test_words_draws_bars_for_one_target_and_a_page_for_many(spoken: Trace) -> None:
    many = [relevance_of(spoken, index) for index in range(len(spoken.words))]
    bars = plot.words(many[2], spoken).axes[0]
    span = float(many[2].grid.times[0]), float(many[2].grid.times[-1])
    wanted = [many[2].between(one.start, one.end) for one in stretches(spoken.words, *span)]
    np.testing.assert_allclose([patch.get_width() for patch in bars.patches], wanted)
    over_time = plot.words(many, spoken).axes[1].get_images()[0].get_array()
    np.testing.assert_array_equal(np.asarray(over_time), np.array([one.over_time for one in many]))
    by_word = plot.words(many, spoken, across="words").axes[1].get_images()[0].get_array()
    np.testing.assert_allclose(np.asarray(by_word)[2], wanted)
    with pytest.raises(OptionError, match="across 'pitch' is not known; choose one of time, words"):
        plot.words(many, spoken, across="pitch")


def test_labels_marks_what_the_model_decided(spoken: Trace) -> None:
    many = emotions_of(spoken)
    tag = next(one for one in spoken.tags if one.kind == "emotion")
    names = [label.get_text() for label in plot.labels(many, spoken).axes[1].get_yticklabels()]
    assert [name for name in names if name.startswith("▸")] == [f"▸ {tag.label}"]
    other = next(label for label in tag.probabilities if label != tag.label)
    names = [label.get_text() for label in plot.labels(many, spoken, chosen=other).axes[1].get_yticklabels()]
    assert f"▸ {other}" in names


def test_labels_marks_none_where_the_model_decided_for_another(spoken: Trace) -> None:
    tag = next(one for one in spoken.tags if one.kind == "emotion")
    many = [one for one in emotions_of(spoken) if one.target.label != tag.label]
    figure = plot.labels(many, spoken)
    assert not any("▸" in label.get_text() for label in figure.axes[1].get_yticklabels())
    assert f"the model decided for {tag.label}, which is none of these" in figure.texts[1].get_text().replace("\n", " ")
    with pytest.raises(OptionError, match=f"'{tag.label}' is none of the labels that were explained"):
        plot.labels(many, spoken, chosen=tag.label)


def test_a_notebook_shows_the_picture_itself(spoken: Trace) -> None:
    figure = plot.attention(spoken)
    shown = Image.open(io.BytesIO(figure._repr_png_()))
    assert shown.size == tuple((figure.get_size_inches() * 100).astype(int))
    figure.set_dpi(50)
    assert Image.open(io.BytesIO(figure._repr_png_())).width == int(figure.get_size_inches()[0] * 50)
    dark = Image.open(io.BytesIO(plot.attention(spoken, theme="dark")._repr_png_())).convert("RGB")
    assert max(dark.getpixel((0, 0))) < 40


def test_atlas_draws_a_figure_of_every_head() -> None:
    scores = [
        HeadScore(layer, head, None, None, (3 * layer + head) / 10, None, 0.5, None, 0.1, None)
        for layer, head in [(1, 0), (0, 2), (0, 0), (1, 2), (1, 1), (0, 1)]  # in no order
    ]
    drawn = np.ma.getdata(plot.atlas(scores).axes[1].get_images()[0].get_array())
    np.testing.assert_allclose(np.asarray(drawn), [[0.0, 0.3], [0.1, 0.4], [0.2, 0.5]])
    with pytest.raises(OptionError, match="There is nothing to draw"):
        plot.atlas(scores, figure="order")  # nobody could tell it
    with pytest.raises(OptionError, match="no figure 'role' of heads; choose one of pointing, agreement"):
        plot.atlas(scores, figure="role")
    with pytest.raises(OptionError, match="give what head_atlas found"):
        plot.atlas([])


def test_lens_and_paths_take_plain_arrays() -> None:
    values = -np.arange(12.0).reshape(2, 6)[:, ::-1]
    figure = plot.lens(values, ["今", " day"], [3, 6], provenance="model")
    np.testing.assert_array_equal(np.asarray(figure.axes[1].get_images()[0].get_array()), values)
    assert figure.texts[1].get_text() == "model · box: the layer from which on the token wins"
    figure = plot.paths({"attention": [1.0, 2.0], "memory": [3.0, 2.0]}, layers=[4, 9])
    assert [patch.get_height() for patch in figure.axes[0].patches] == [0.25, 0.5, 0.75, 0.5]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["4", "9"]


def test_a_map_is_not_laid_over_another_sound(spoken: Trace, bundled: Any, clips: Path) -> None:
    other = bundled.trace(clips / "ko_angry_speech.wav")
    data = relevance_of(spoken, 0)
    for draw in (
        lambda: plot.relevance(data, other),
        lambda: plot.relevance(data, audio=other.audio),
        lambda: plot.words(data, other),
        lambda: plot.labels(emotions_of(spoken), other),
    ):
        with pytest.raises(OptionError, match=r"the map is of zh_happy_speech\.wav, the sound is ko_angry_speech\.wav of \d"):
            draw()


def test_explained_pictures_are_written_or_returned(spoken: Trace, tmp_path: Path) -> None:
    data = relevance_of(spoken, 0)
    drawings: dict[str, Any] = {
        "relevance": lambda **options: plot.relevance(data, spoken, **options),
        "words": lambda **options: plot.words(data, spoken, **options),
        "page": lambda **options: plot.words([data], spoken, **options),
        "labels": lambda **options: plot.labels(emotions_of(spoken), spoken, **options),
        "lens": lambda **options: plot.lens(np.zeros((1, 3)), ["a"], [0], **options),
        "paths": lambda **options: plot.paths({"a": [1.0]}, **options),
    }
    for name, draw in drawings.items():
        path = draw(path=tmp_path / f"{name}.png", theme="dark", dpi=60, width=5)
        assert path == tmp_path / f"{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG")
        assert draw(width=5).get_figwidth() == pytest.approx(5)
        with pytest.raises(OptionError, match="no option is called 'colour'; choose from theme, dpi, width"):
            draw(colour="red")
        (tmp_path / "file").touch()
        with pytest.raises(OutputError):
            draw(path=tmp_path / "file" / "a.png")
