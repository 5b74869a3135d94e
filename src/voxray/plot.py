"""Pictures of a trace and of what was explained, one call each.

Every function returns the matplotlib figure, or the path when it was given one to write to. PNG, SVG or PDF is told by the
path's ending. All take ``theme`` (``light`` or ``dark``), ``dpi`` (of PNG) and ``width`` (inches) as keywords.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from voxray.attention import AttentionView, attention_map
from voxray.types import Audio, Features, IntArray, OptionError, Piece, Relevance, shortened
from voxray.types import Target as Explained
from voxray.views.canvas import Style, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voxray.trace import Trace
    from voxray.views.layers import Measure

Across = Literal["time", "words"]

Target = str | os.PathLike[str] | None

__all__ = [
    "atlas",
    "attention",
    "heads",
    "labels",
    "languages",
    "lens",
    "models",
    "overlay",
    "paths",
    "posteriors",
    "relevance",
    "tags",
    "words",
]


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


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
    rows = weights.attrs["rows"].removesuffix(" of each token")
    weights.attrs |= {
        "title": f"Attention of every layer and head · {trace.audio.name}",
        "provenance": f"{weights.attrs['model']} · rows: {rows} · a view, not an explanation",
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
    if trace.decoder is not None:
        raise OptionError(
            f"posteriors are drawn frame by frame, but {trace.model.name} gives one row a token; draw attention or heads"
        )
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


# --- What was explained ------------------------------------------------------------------------------------------------


def relevance(
    relevance: Relevance, trace: Trace | None = None, *, audio: Audio | None = None, path: Target = None, **options: Any
) -> Figure | Path:
    """Draw relevance over the log-mel spectrogram, with its sum over time and what comes from no sound.

    Args:
        relevance: one target's map.
        trace: of the same sound, for the spectrogram and the words.
        audio: the whole sound at 16 kHz, for the spectrogram where there is no trace.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OptionError: when an option does not exist, or the map is of another sound.
        AudioError: when the sound has another rate or is too short.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.relevance import draw_relevance

    style = _style(options)
    figure = draw_relevance(
        relevance,
        style,
        log_mel=_log_mel(relevance, trace, audio),
        words=() if trace is None else trace.words,
        title=f"{_asked(relevance)} · {relevance.audio}",
        provenance=_provenance([relevance]),
    )
    return _finish(figure, path, style)


def words(
    relevance: Relevance | Sequence[Relevance], trace: Trace, *, across: Across = "time", path: Target = None, **options: Any
) -> Figure | Path:
    """Draw what every word of the sound adds to a decision, or to many.

    Args:
        relevance: of one target, drawn as bars; or of many, drawn as a page with one row a target.
        trace: of the same sound.
        across: of many targets: ``time``, or ``words`` for what every word adds to every target.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OptionError: when an option does not exist, or the maps do not belong together or to the trace.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.words import draw_word_bars, draw_word_times, draw_word_words

    if across not in get_args(Across):
        raise OptionError(f"across {across!r} is not known; choose one of {', '.join(get_args(Across))}")
    style = _style(options)
    many = [relevance] if isinstance(relevance, Relevance) else list(relevance)
    for one in many:
        _check_sound(one, trace.audio)
    told = {"provenance": _provenance(many)} if many else {}
    if isinstance(relevance, Relevance):
        told["title"] = f"Word by word: {_asked(relevance, begins=False)} · {relevance.audio}"
        return _finish(draw_word_bars(relevance, trace.words, style, **told), path, style)
    draw, title = (
        (draw_word_times, "Every target's evidence over time") if across == "time"
        else (draw_word_words, "Every target's evidence from every word")
    )  # fmt: skip
    told["title"] = f"{title} · {trace.audio.name}"
    if many:
        told["provenance"] += " · box: the target's own time"
    return _finish(draw(many, trace.words, style, **told), path, style)


def labels(
    relevances: Sequence[Relevance],
    trace: Trace | None = None,
    *,
    chosen: str | None = None,
    path: Target = None,
    **options: Any,
) -> Figure | Path:
    """Draw which moments spoke for which label of a kind: labels down, seconds across.

    Args:
        relevances: one a label of one kind, such as emotion.
        trace: of the same sound, for the words and the label that the model decided for.
        chosen: that label where there is no trace; None for the one with the highest score.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OptionError: when an option does not exist, or the maps do not belong together or to the trace.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.labels import draw_labels, kind_of

    style = _style(options)
    many = list(relevances)
    told: dict[str, Any] = {"chosen": chosen}
    if many:
        kind = kind_of(many[0].target)
        told |= {"title": f"What speaks for which {kind} · {many[0].audio}", "provenance": _provenance(many)}
    if many and trace is not None:
        for one in many:
            _check_sound(one, trace.audio)
        told["words"] = trace.words
        decided = [tag.label for tag in trace.tags if tag.kind == kind and tag.start <= many[0].target.start + 1e-6 < tag.end]
        if chosen is None and decided:
            among = decided[-1] in [one.target.label for one in many]
            told["chosen"] = decided[-1] if among else ""
            told["provenance"] += "" if among else f" · the model decided for {decided[-1]}, which is none of these"
    return _finish(draw_labels(many, style, **told), path, style)


HEAD_FIGURES = {
    "pointing": ("share", "Head by head: share of the tokens at which it looks most"),
    "agreement": ("s", "Head by head: how far from where the token was emitted it looks"),
    "order": ("tau", "Head by head: whether later tokens look at later sound"),
    "prompts": ("share", "Head by head: what goes to the prompt rows"),
    "leakage": ("share", "Head by head: what goes where nobody speaks"),
}
LANGUAGE_KINDS = ("clips", "layers", "forced")
LANGUAGE_PROFILES = {
    "entropy of a row, share of the most possible": "relative_entropy",
    "mass within 300 ms, share of the mass on sound": "near",
    "mass on the prompts, share": "prompt_mass",
}
LANGUAGE_TABLES = (
    ("How much of the text changes", "edits a unit", "changed"),
    ("By how much the text without force is believed more", "nats a token", "support"),
    ("Clips of which the model then says the forced language", "share of clips", "follows"),
)


def languages(
    study: Any, *, kind: Literal["clips", "layers", "forced"] = "clips", path: Target = None, **options: Any
) -> Figure | Path:
    """Draw languages side by side.

    Args:
        study: what ``compare_languages`` found.
        kind: ``clips``: a row of attention for each clip, all on one time scale and one colour scale; ``layers``: entropy, nearness
            and prompt mass from layer to layer, a line with its interval for each language; ``forced``: what happens when the
            model is told another language.
        path: where to write the picture.
        **options: of the style.

    Raises:
        OptionError: when there is no such kind or option.
        OutputError: when the picture cannot be written.
    """
    from voxray.views import languages as views

    if kind not in LANGUAGE_KINDS:
        raise OptionError(f"there is no picture {kind!r} of languages; choose one of {', '.join(LANGUAGE_KINDS)}")
    style = _style(options)
    model = f"{study.model.name} ({study.model.layout}, {study.model.precision})"
    if kind == "clips":
        rows = [
            views.ClipRow(one.language, one.text, one.verdict, one.map.weights, one.map.labels, one.map.spans, one.map.times)
            for one in study.clips
            if one.map is not None
        ]
        told = f"{model} · language auto · mean of all layers and heads · rows: CTC occupancy · a view, not an explanation"
        title = "Languages side by side: attention from tokens to sound"
        figure = views.draw_language_clips(rows, style, title=title, provenance=told)
    elif kind == "layers":
        profiles = {
            title: {name: views.Band(*study.band(measure, name)) for name in study.languages}
            for title, measure in LANGUAGE_PROFILES.items()
        }
        told = (
            f"{model} · language auto · mean of heads, then of clips; band: 95 % interval over clips · a view, not an explanation"
        )
        figure = views.draw_language_profiles(profiles, style, title="Attention layer by layer", provenance=told)
    else:
        tables = [views.Table(title, unit, study.matrix(name)) for title, unit, name in LANGUAGE_TABLES]
        told = f"{model} · down: language of the clips, across: what the model is told, box: the right one"
        names = (study.languages, study.forced)
        figure = views.draw_forced_languages(tables, *names, style, title="When another language is forced", provenance=told)
    return _finish(figure, path, style)


def models(
    comparison: Any, *, kind: Literal["damage", "heads", "layers", "margins"] = "damage", path: Target = None, **options: Any
) -> Figure | Path:
    """Draw how two models differ.

    Args:
        comparison: what ``compare_models`` found.
        kind: ``damage``: in which layer the difference arises; ``heads``: how far the attention of each head diverges; ``layers``:
            how far the layers' outputs lie apart; ``margins``: the margin of every token under both.
        path: where to write the picture.
        **options: of the style.

    Raises:
        OptionError: when there is no such kind or option, or the comparison measured nothing for it.
        OutputError: when the picture cannot be written.
    """
    style = _style(options)
    return _finish(comparison.picture(kind, style), path, style)


def atlas(
    scores: Sequence[Any],
    *,
    figure: Literal["pointing", "agreement", "order", "prompts", "leakage"] = "pointing",
    path: Target = None,
    **options: Any,
) -> Figure | Path:
    """Draw what every head is worth as an alignment: layers across, heads down.

    Args:
        scores: what ``head_atlas`` found.
        figure: which of a head's figures.
        path: where to write the picture.
        **options: of the style.

    Raises:
        OptionError: when there is no such figure or option, or no head was scored.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.compare import draw_divergence

    if figure not in HEAD_FIGURES:
        raise OptionError(f"there is no figure {figure!r} of heads; choose one of {', '.join(HEAD_FIGURES)}")
    if not scores:
        raise OptionError("there is no head to draw; give what head_atlas found")
    style = _style(options)
    shape = [max(getattr(one, axis) for one in scores) + 1 for axis in ("layer", "head")]
    table = np.full(shape, np.nan)
    for one in scores:
        value = getattr(one, figure)
        table[one.layer, one.head] = np.nan if value is None else value
    unit, title = HEAD_FIGURES[figure]
    told = {"title": title, "provenance": "mean over clips · a view, not an explanation"}
    return _finish(draw_divergence(table, style, unit=unit, **told), path, style)


def lens(
    values: npt.ArrayLike,
    labels: Sequence[str],
    commits: Sequence[int | None] | IntArray,
    *,
    measure: Measure = "log_prob",
    layers: Sequence[int] | None = None,
    title: str = "Where each token was decided",
    provenance: str = "",
    path: Target = None,
    **options: Any,
) -> Figure | Path:
    """Draw what the output head reads in every layer: tokens down, layers across.

    Args:
        values: (tokens, layers) log-probability in nats, or rank from 1, of each token at its own row.
        labels: the tokens' texts.
        commits: index of the layer from which on each token wins until the end; None, or the number of layers, for never.
        measure: ``log_prob`` or ``rank``.
        layers: their numbers; None counts from 0.
        title: what is shown.
        provenance: model, sound and so on, for the foot of the picture.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OptionError: when there is nothing to draw or an option does not exist.
        ValueError: when the lengths do not fit.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.layers import draw_lens

    style = _style(options)
    told = {"title": title, "provenance": f"{provenance} · box: the layer from which on the token wins".removeprefix(" · ")}
    return _finish(draw_lens(values, labels, commits, style, measure=measure, layers=layers, **told), path, style)


def paths(
    paths: Mapping[str, npt.ArrayLike],
    *,
    unit: str = "share",
    layers: Sequence[int] | None = None,
    title: str = "By which path the evidence came",
    provenance: str = "",
    path: Target = None,
    **options: Any,
) -> Figure | Path:
    """Draw how much each path carried in every layer, such as attention against memory.

    Args:
        paths: (layers,) amounts by the path's name.
        unit: of the amounts; ``share`` stacks them and scales each layer to 1, any other draws a curve each.
        layers: their numbers; None counts from 0.
        title: what is shown.
        provenance: model, sound and so on, for the foot of the picture.
        path: where to write the picture.
        **options: fields of the style.

    Raises:
        OptionError: when there is nothing to draw, a share is negative, or an option does not exist.
        ValueError: when the paths have different lengths.
        OutputError: when the picture cannot be written.
    """
    from voxray.views.layers import draw_paths

    style = _style(options)
    figure = draw_paths(paths, style, unit=unit, layers=layers, title=title, provenance=provenance)
    return _finish(figure, path, style)


def _asked(relevance: Relevance, *, begins: bool = True) -> str:
    """Return what a map shows: what speaks for its target, or by which view it was looked at."""
    lead = f"{relevance.method.replace('_', ' ')} of" if relevance.view else "what speaks for"
    return f"{lead[0].upper() + lead[1:] if begins else lead} {_named(relevance.target)}"


def _named(target: Explained) -> str:
    """Return a target in a few words, however long its text is."""
    mark = "" if target.kind == "tag" else "'"
    label, rival = (f"{mark}{shortened(text)}{mark}" if text else "" for text in (target.label, target.against))
    name = target.name.removesuffix(f":{label}")  # a tag may be asked for by its label
    return f"{name} {label}" + (f" rather than {rival}" if rival else "")


def _provenance(relevances: Sequence[Relevance]) -> str:
    """Return how maps came about, in one line: everything that is needed to have them again, and what they cost."""
    first = relevances[0]
    chosen = [f"{name} {_value(value)}" for name, value in first.options.items() if value is not None and name != "seed"]
    passes = max(one.passes for one in relevances)
    targets = (
        [first.target.name, f"score {first.score:.4g} {first.unit}"] if len(relevances) == 1 else [f"{len(relevances)} targets"]
    )
    said = [
        targets[0],
        f"{first.method} ({', '.join(chosen)})" if chosen else first.method,
        *targets[1:],
        f"seed {first.seed}" if first.seed is not None else "",
        f"{passes} {'pass' if passes == 1 else 'passes'}, {max(one.seconds for one in relevances):.2g} s",
        f"{first.model.name} ({first.model.layout}, {first.model.precision}), language {first.language}",
        "a view, not an explanation" if first.view else "",
        *dict.fromkeys(note.rstrip(".") for one in relevances for note in one.notes),
    ]
    return " · ".join(one for one in said if one)


def _value(value: Any) -> str:
    """Return an option as a reader takes it in."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _log_mel(relevance: Relevance, trace: Trace | None, audio: Audio | None) -> Features | None:
    """Return the log-mel spectrogram of the stretch that a map covers, on the whole sound's clock; None without a sound."""
    from voxray.frontend import log_mel

    sound = audio if trace is None else trace.audio
    if sound is None:
        return None
    _check_sound(relevance, sound)
    times = relevance.grid.times
    start, end = max(float(times[0]) - 0.01, 0.0), float(times[-1]) + 0.02  # half a window more than the cells, so none is bare
    if trace is not None:
        piece = max(trace.pieces, key=lambda one: _common(one, (start, end)))
        start, end = piece.start, piece.end
    found = log_mel(sound.cut(start, end))
    return replace(found, start=found.start + start)


def _common(piece: Piece, span: tuple[float, float]) -> float:
    """Return how many seconds a piece and a span have in common."""
    return min(piece.end, span[1]) - max(piece.start, span[0])


def _check_sound(relevance: Relevance, sound: Audio) -> None:
    """Refuse to lay a map over another sound.

    Raises:
        OptionError: when the map is of another sound.
    """
    if relevance.audio != sound.name or relevance.grid.times[0] >= sound.duration:
        raise OptionError(
            f"the map is of {relevance.audio}, the sound is {sound.name} of {sound.duration:.2f} s; give the same sound"
        )


def _style(options: Mapping[str, Any]) -> Style:
    """Return the style that keywords ask for.

    Raises:
        OptionError: when there is no such option.
    """
    known = Style.__dataclass_fields__
    wrong = [name for name in options if name not in known]
    if wrong:
        raise OptionError(f"no option is called {wrong[0]!r}; choose from {', '.join(known)}")
    return Style(**options)


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
