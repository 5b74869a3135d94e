"""Pictures of a trace, one call each.

Every function returns the matplotlib figure, or the path when it was given one to write to. PNG, SVG or PDF is told by the
path's ending. All take ``theme`` (``light`` or ``dark``), ``dpi`` (of PNG) and ``width`` (inches) as keywords.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.attention import AttentionView, attention_map
from voxray.types import OptionError
from voxray.views.canvas import Style, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voxray.trace import Trace

Target = str | os.PathLike[str] | None


def attention(trace: Trace, view: AttentionView | None = None, *, path: Target = None, **options: Any) -> Figure | Path:
    """Draw a heat map: tokens down, seconds across.

    Args:
        trace: of one piece of sound; take ``trace.piece(i)`` of a long one.
        view: which attention; fields of ``AttentionView`` may be given as keywords instead.
        path: where to write the picture.
        **options: fields of ``AttentionView`` and of the style.

    Raises:
        OptionError: when a layer, head or option does not exist.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.heatmap import draw_heatmap

    view, style = _split(view, options)
    scores = attention_map(_one_piece(trace), view)
    rows = zip(scores["kind"].values, scores["start"].values.tolist(), scores["end"].values.tolist(), strict=True)
    spans = [(start, end) if kind == "token" else None for kind, start, end in rows]  # a tag has no stretch of its own
    return _finish(draw_heatmap(scores, style, spans=spans), path, style)


def overlay(
    trace: Trace, view: AttentionView | None = None, *, word: int | None = None, path: Target = None, **options: Any
) -> Figure | Path:
    """Draw attention over the log-mel spectrogram, with the waveform and the words.

    Args:
        trace: of one piece of sound.
        view: which attention.
        word: whose attention; None for the largest of all tokens at each frame.
        path: where to write the picture.
        **options: fields of ``AttentionView`` and of the style.

    Raises:
        OptionError: when the word, a layer, head or option does not exist.
        OutputError: when the picture cannot be written.
    """
    from voxray.frontend import log_mel
    from voxray.views.overlay import draw_overlay

    view, style = _split(view, options)
    trace = _one_piece(trace)
    scores = attention_map(trace, replace(view, tags=False))
    if word is not None:
        if not 0 <= word < len(trace.words):
            raise OptionError(f"word {word} does not exist: the clip has {len(trace.words)} words, 0 to {len(trace.words) - 1}")
        scores, what = scores.isel(token=slice(*trace.words[word].tokens)), f"the word {trace.words[word].text}"
    else:
        spoken = [index for one in trace.words for index in range(*one.tokens)]
        scores, what = scores.isel(token=spoken), "all words" if spoken else "no words"
    weights = scores.max("token") if scores.sizes["token"] else scores.sum("token")  # no word, no weight
    weights.attrs = scores.attrs
    piece = trace.pieces[0]
    audio = trace.audio.cut(piece.start, piece.end)
    mel = log_mel(audio)
    figure = draw_overlay(
        audio,
        replace(mel, start=mel.start + piece.start),
        weights,
        trace.words,
        style,
        title=f"Attention of {what} · {trace.audio.name}",
        provenance=scores.attrs["provenance"],
        start=piece.start,
    )
    return _finish(figure, path, style)


def heads(trace: Trace, *, layers: list[int] | None = None, path: Target = None, **options: Any) -> Figure | Path:
    """Draw the attention of every head: one row a layer, one column a head.

    Args:
        trace: of one piece of sound.
        layers: which; None for all.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OptionError: when a layer or option does not exist.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.heads import draw_heads

    _, style = _split(None, options)
    weights = _one_piece(trace).token_attention(layers)
    weights.attrs |= {
        "title": f"Attention of every layer and head · {trace.audio.name}",
        "provenance": f"{weights.attrs['model']} · rows: CTC occupancy · a view, not an explanation",
    }
    return _finish(draw_heads(weights, style), path, style)


def posteriors(trace: Trace, *, path: Target = None, **options: Any) -> Figure | Path:
    """Draw the posterior of every emitted token and of blank, frame by frame, with the emissions.

    Args:
        trace: of one piece of sound.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OutputError: when the picture cannot be written.
    """
    import xarray as xr

    from voxray.views.posteriors import draw_posteriors

    _, style = _split(None, options)
    trace = _one_piece(trace)
    emitted = {token.id: token.text for token in trace.tokens} | {trace.blank: "blank"}
    rows = trace.log_probs[trace.pieces[0].prompts :]
    probabilities = xr.DataArray(
        np.exp(rows[:, list(emitted)]),
        dims=("frame", "token"),
        coords={
            "time": ("frame", trace.times),
            "label": ("token", list(emitted.values())),
            "id": ("token", list(emitted)),
        },
        attrs={
            "title": f"Posteriors and emissions · {trace.audio.name}",
            "provenance": f"{trace.model.name} ({trace.model.layout}, {trace.model.precision}) · softmax over the whole vocabulary",
            "blank": trace.blank,
        },
    )
    return _finish(draw_posteriors(probabilities, trace.tokens, style), path, style)


def tags(trace: Trace, *, path: Target = None, **options: Any) -> Figure | Path:
    """Draw the probabilities of every language, emotion, event and text norm.

    Args:
        trace: of a sound of any length; several pieces are drawn over time.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OutputError: when the picture cannot be written.
    """
    from voxray.views.tags import draw_tags

    _, style = _split(None, options)
    title = f"What the model decided about {trace.audio.name}"
    provenance = f"{trace.model.name} ({trace.model.layout}, {trace.model.precision}) · softmax over the labels of each kind"
    return _finish(draw_tags(trace.tags, style, title=title, provenance=provenance), path, style)


def _split(view: AttentionView | None, options: dict[str, Any]) -> tuple[AttentionView, Style]:
    """Sort keywords into those of the view and those of the style."""
    of_view, of_style = AttentionView.__dataclass_fields__, Style.__dataclass_fields__
    wrong = [name for name in options if name not in of_view and name not in of_style]
    if wrong:
        raise OptionError(f"no option is called {wrong[0]!r}; choose from {', '.join([*of_view, *of_style])}")
    chosen = {name: value for name, value in options.items() if name in of_view}
    style = {name: value for name, value in options.items() if name in of_style}
    return replace(view or AttentionView(), **chosen), Style(**style)


def _one_piece(trace: Trace) -> Trace:
    if not trace.pieces:
        raise OptionError(f"{trace.audio.name} holds no speech, so there is nothing to draw")
    if len(trace.pieces) > 1:
        raise OptionError(
            f"the sound was recognised in {len(trace.pieces)} pieces; draw one of them: trace.piece(0) to "
            f"trace.piece({len(trace.pieces) - 1})"
        )
    return trace


def _finish(figure: Figure, path: Target, style: Style) -> Figure | Path:
    return figure if path is None else save_figure(figure, Path(path), style)
