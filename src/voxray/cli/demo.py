"""The command ``demo``: everything on the bundled clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.answers import Answer, Question
from voxray.cli.attention import KINDS, draw
from voxray.cli.explain import draw_answer
from voxray.cli.files import prepared
from voxray.cli.options import drawing
from voxray.cli.tables import show, table


@click.command()
@click.option("-o", "--out", "folder", type=click.Path(), default="voxray-demo", show_default=True)
@drawing
def demo(folder: str, ending: str, **style: Any) -> None:
    """Recognise bundled clips, draw them, and explain a word and the special tags of each.

    The bundled model does it; text, tags and word starts are compared with what is known of the clips.
    """
    out = prepared(folder)
    clips = voxray.demo_clips()
    model = voxray.load_model()
    rows, errors, pictures = [], [], list[Path]()
    for clip in clips:
        found = model.trace(clip.path, gradients=True)
        rows.append((clip, found))
        errors += voxray.word_start_errors(found, clip)
        for kind in KINDS:
            pictures.append(out / f"{clip.path.stem}-{kind}.{ending}")
            draw(found, kind, pictures[-1], voxray.AttentionView(tags=True), None, style)
        pictures += draw_evidence(model, clip, found, out, ending, style)
    print_demo(rows, errors)
    click.echo(f"\n{len(pictures)} pictures are in {out}; begin with {pictures[KINDS.index('overlay')]}")
    for clip in clips:
        if clip.heard != clip.text:
            why = next(path for path in pictures if path.name.startswith(f"{clip.path.stem}-word-"))
            click.echo(f"what made the model hear a wrong word under the noise: {why}")


def draw_evidence(
    model: Any, clip: voxray.DemoClip, trace: voxray.Trace, out: Path, ending: str, style: Mapping[str, Any]
) -> list[Path]:
    """Draw what each piece of sound carried to a word of a clip, and to every label of the tags that are special about it."""
    word, *tags = clip.targets(trace)
    paths = list[Path]()
    for kind, targets in (("map", [word]), ("labels", tags)):
        if targets:
            question = Question(tuple(targets), None, "exact", {}, None, None, lens=False)
            answer = Answer(question, trace, voxray.explain(model, trace, targets), [])
            paths += draw_answer(model, answer, kind, lambda shown: out / f"{clip.path.stem}-{shown}.{ending}", style)
    return paths


def print_demo(rows: Sequence[tuple[Any, voxray.Trace]], errors: Sequence[Any]) -> None:
    """Print what was recognised beside what is known."""
    import statistics

    result = table("Bundled clips", "clip", "recognised", "right?", "language", "emotion", "event")
    times = table("Word starts", "clip", "word", ">known s", ">found s", ">error ms")
    for clip, trace in rows:
        same = trace.text.replace(" ", "") == clip.text.replace(" ", "")
        tags = {tag.kind: tag for tag in trace.tags}
        marks = [f"{tags[kind].label} {tags[kind].probability:.2f}" for kind in ("language", "emotion", "event")]
        result.add_row(clip.path.stem, trace.text, "yes" if same else f"no: {clip.text}", *marks)
    for error in errors:
        times.add_row(error.clip, error.word, f"{error.known:.3f}", f"{error.found:.3f}", f"{1000 * error.error:+.0f}")
    show(result, times)
    for clip, _ in rows:
        for label, start, end in clip.sounds:
            under = " ".join(f"“{word}”" for word, begin in clip.words if start <= begin < end)
            click.echo(f"{clip.path.stem}: {label} lies over {under or 'the speech'}, {start:.2f} to {end:.2f} s")
    late = [1000 * error.error for error in errors]
    spread = statistics.quantiles(late, n=10)
    click.echo(
        f"word starts against the known ones, {len(late)} words: median {statistics.median(late):+.0f} ms, "
        f"p10 {spread[0]:+.0f} ms, p90 {spread[-1]:+.0f} ms"
    )
