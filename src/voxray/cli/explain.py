"""The command ``explain``: what each piece of sound carried to a decision, as tables, JSON, pictures and sound."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

import voxray
from voxray.cli.answers import Answer, Question, answer_told, answered, asked, clearer, suited
from voxray.cli.files import distinct_names, each, expand, placed, sound
from voxray.cli.ledger import print_answer
from voxray.cli.methods import Explaining, print_methods
from voxray.cli.options import drawing, instructing, opened, recognising
from voxray.cli.tables import cut_short, spoken

PICTURES = ("map", "words", "times", "matrix", "labels", "paths", "lens")
PAGES = ("times", "matrix", "lens")  # one picture for all targets
LABELS = 12  # of a kind in one picture; a Whisper knows a hundred languages
PICTURE_ENDINGS = (".png", ".svg", ".pdf")
Place = Callable[[str], Path]
TARGETS = ("word:", "token:", "text", "language", "emotion", "event", "textnorm")


def _methods(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in voxray.methods.names() if name.startswith(typed)]


def _targets(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in TARGETS if name.startswith(typed)]


@click.command(cls=Explaining)
@partial(recognising, required=False)
@instructing
@click.option("-t", "--target", "targets", multiple=True, metavar="TARGET", shell_complete=_targets,
              help="token:5, word:3, word:hello, text, language, emotion, event or emotion:SAD; of a long sound emotion@1 is that "
                   "of its second piece. May be given several times; default: every word and tag.")  # fmt: skip
@click.option("--against", metavar="RIVAL", help="Why not this word, text or label? Default: the likeliest others.")
@click.option("--method", metavar="NAME", shell_complete=_methods,
              help="See --list; --method NAME --help shows its options.  [default: exact; of a model that gives no gradients, such "
                   "as one with a decoder: occlusion]")  # fmt: skip
@click.option("--budget", "passes", type=click.IntRange(min=1), metavar="PASSES", help="At most so many passes a piece of sound.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="At most so long a piece of sound.")
@click.option(
    "-o",
    "--out",
    metavar="PATH",
    type=click.Path(),
    help="A picture (.png, .svg, .pdf), or a folder for pictures; with --kind default: .",
)
@click.option("-k", "--kind", "kinds", type=click.Choice([*PICTURES, "all"]), multiple=True,
              help="Which pictures, one or several: map over the spectrogram, words as bars, all targets over times, matrix of "
                   "targets by words, labels of a tag over time, paths (attention or memory) by layer, lens.  [default: map; "
                   "without --target: times]")  # fmt: skip
@click.option("--listen", metavar="PATH", type=click.Path(), help="Write the evidence as sound: a .wav file, or a folder.")
@click.option("--keep", type=click.Choice(["evidence", "rest"]), default="evidence", show_default=True,
              help="Listen to the evidence, or to all that is not.")  # fmt: skip
@click.option("--share", type=float, default=0.5, show_default=True, help="How much of what speaks for the target is evidence.")
@click.option("--lens", is_flag=True, help="In which layer was it decided? A second table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file, with relevance over time.")
@click.option("--every-cell", is_flag=True, help="In the JSON: the relevance of every cell of time by mel, too.")
@click.option("--list", "listing", is_flag=True, help="Show every method and end.")
@drawing
def explain(sources: Sequence[str], as_json: bool, listing: bool, **how: Any) -> int:  # noqa: FBT001
    """Say what each piece of sound carried to a decision.

    \b
    voxray explain clip.wav                             every word and tag in one table
    voxray explain clip.wav -t word:2 -o why.png        one word: what spoke for it, and a picture
    voxray explain clip.wav -t emotion --against SAD    why this emotion and not that one
    voxray explain clip.wav -t word:2 --method occlusion --width 0.2
    """
    if listing:
        print_methods(as_json=as_json)
        return 0
    if how["every_cell"] and not as_json:
        raise click.UsageError("--every-cell is about the JSON; give --json, too.")
    if not sources:
        raise click.UsageError("Missing argument 'FILES...'.")
    question = asked(how)
    names = distinct_names(expand(sources))
    kinds = pictures_of(how["kinds"], question)
    out = how["out"] or ("." if how["kinds"] else None)
    pictures = placed(out, PICTURE_ENDINGS, len(names) * count_pictures(kinds, question), f".{how['ending']}")
    sounds = placed(how["listen"], (".wav",), len(names) * (len(question.targets) or 2), ".wav")
    style = {name: how[name] for name in ("theme", "dpi")}
    model = opened(how)
    question = suited(question, model)
    if "all" in how["kinds"]:
        kinds = tuple(kind for kind in kinds if kind != "paths" or "anatomy" in model.gives)

    def one(source: str, progress: Any) -> Callable[[], None]:
        try:
            answer = answered(model, sound(source, how), question, how, progress)
            paths: list[Path] = []
            if pictures is not None:
                for kind in kinds:
                    paths += draw_answer(model, answer, kind, partial(pictures, names[source]), style)
            if sounds is not None:
                paths += write_sounds(answer, partial(sounds, names[source]), how["keep"], how["share"])
        except (voxray.OptionError, voxray.ModelError) as error:
            raise clearer(error, question, source if len(names) > 1 else "") from error
        if as_json:
            return lambda: click.echo(json.dumps(answer_told(source, answer, every_cell=how["every_cell"]), ensure_ascii=False))
        return lambda: print_answer(answer, paths, model)

    return each(sources, one)


def pictures_of(kinds: Sequence[str], question: Question) -> tuple[str, ...]:
    """Return the kinds of pictures that are wanted."""
    if "all" in kinds:
        return tuple(kind for kind in PICTURES if kind != "lens" or question.lens)
    return tuple(dict.fromkeys(kinds)) or (("map",) if question.targets else ("times",)) + ("lens",) * question.lens


def count_pictures(kinds: Sequence[str], question: Question) -> int:
    """Return how many pictures of a sound there will be; several where it cannot be known yet."""
    tags = [name for name in question.targets if re.match("language|emotion|event|textnorm", name)]
    several = {"labels": len(tags) if question.targets else 2}
    return sum(1 if kind in PAGES else several.get(kind, len(question.targets) or 2) for kind in kinds)


def draw_answer(model: Any, answer: Answer, kind: str, place: Place, style: Mapping[str, Any]) -> Iterator[Path]:
    """Write the pictures of one kind and yield their paths; ``place`` says where, given what is shown."""
    trace, relevances = answer.trace, answer.relevances
    if kind == "lens":
        yield draw_lenses(model, answer, place("lens"), style)
    elif kind == "paths":
        yield from draw_paths(answer, place, style)
    elif kind in PAGES:
        for path, some in pages(relevances, kind, place).items():
            voxray.plot.words(some, trace, across="time" if kind == "times" else "words", path=path, **style)
            yield path
    for one in relevances if kind not in (*PAGES, "paths") else ():
        if kind == "labels" and one.target.kind != "tag":
            continue
        path = place(f"{file_part(one)}-{kind}")
        if kind == "map":
            voxray.plot.relevance(one, trace, path=path, **style)
        elif kind == "words":
            voxray.plot.words(one, trace, path=path, **style)
        else:
            voxray.plot.labels(of_every_label(model, answer, one), trace, path=path, **style)
        yield path


def pages(relevances: Sequence[voxray.Relevance], kind: str, place: Place) -> dict[Path, list[voxray.Relevance]]:
    """Return the targets of each page by its path: one page a piece of sound, for each has cells of its own; a file is numbered."""
    pieces = sorted({one.target.piece for one in relevances})
    ends = [f"-{piece:03d}" for piece in pieces] if len(pieces) > 1 else [""]
    paths = [place(f"{relevances[0].method}-{kind}{end}") for end in ends]
    if len(set(paths)) < len(paths):
        paths = [path.with_stem(f"{path.stem}{end}") for path, end in zip(paths, ends, strict=True)]
    return {path: [one for one in relevances if one.target.piece == piece] for path, piece in zip(paths, pieces, strict=True)}


def write_sounds(answer: Answer, place: Place, keep: Literal["evidence", "rest"], share: float) -> list[Path]:
    """Write the evidence of every target, or all the rest, as sound; ``place`` says where, given what is heard."""
    paths = []
    for one in answer.relevances:
        part = voxray.evidence_sound(answer.trace.audio, one, keep=keep, share=share)
        paths.append(voxray.write_sound(part, place(f"{file_part(one)}-{keep}")))
    return paths


def of_every_label(model: Any, answer: Answer, relevance: voxray.Relevance) -> list[voxray.Relevance]:
    """Explain every label of a tag's kind, or the likeliest of very many, as one of them was explained, within the same budget."""
    kind, mark, piece = re.match(r"(\w+)(?::[^@]*)?(@?)(\d*)", relevance.target.name).groups()  # type: ignore[union-attr]
    tag = [one for one in answer.trace.tags if one.kind == kind][relevance.target.piece]
    likeliest = sorted(tag.probabilities, key=lambda label: (label != relevance.target.label, -tag.probabilities[label]))
    shown = [label for label in model.labels[kind] if label in likeliest[:LABELS]]
    targets = [f"{kind}:{label}{mark}{piece}" for label in shown]
    asked_for = answer.question
    found: list[voxray.Relevance] = voxray.explain(
        model,
        answer.trace,
        targets,
        method=relevance.method,
        passes=asked_for.passes,
        seconds=asked_for.seconds,
        **relevance.options,
    )
    return found


def draw_lenses(model: Any, answer: Answer, path: Path, style: Mapping[str, Any]) -> Path:
    """Draw in which layer the tokens of every target were decided."""
    rows = [(lens, row) for lens in answer.lenses for row in range(len(lens.ids))]
    labels = [spoken(model, answer.trace, int(lens.ids[row, 0])) for lens, row in rows]
    info = answer.trace.model
    voxray.plot.lens(
        [lens.log_probs[:, row, 0] for lens, row in rows],
        labels,
        [int(lens.commits[row]) for lens, row in rows],
        title=f"Where each token was decided · {answer.trace.audio.name}",
        provenance=f"{info.name} ({info.layout}, {info.precision}), language {answer.trace.language}",
        path=path,
        **style,
    )
    return path


def draw_paths(answer: Answer, place: Place, style: Mapping[str, Any]) -> Iterator[Path]:
    """Draw, for every target, how much attention and memory add in each layer at its rows; yield the paths of the pictures."""
    trace, norms = answer.trace, {}
    if trace.decoder is not None:
        raise voxray.OptionError(
            f"paths are drawn of an encoder that makes the text by itself, unlike that of {trace.model.name}; draw a map or words"
        )
    for target in (one.target for one in answer.relevances):
        if target.piece not in norms:
            part = trace.piece(target.piece)
            tensors = {"attention": part.tensor("projection"), "memory": part.tensor("memory")}
            norms[target.piece] = {name: (values**2).sum("channel") ** 0.5 for name, values in tensors.items()}
        first, stop = target.rows
        info, path = trace.model, place(f"{plain_name(target.name)}-paths")
        rows = f"rows {first} to {stop - 1}" if stop - first > 1 else f"row {first}"
        voxray.plot.paths(
            {name: sizes[:, first:stop].mean("row").values for name, sizes in norms[target.piece].items()},
            title=f"Attention or memory at {target.name} {cut_short(target.label, 30)!r} · {trace.audio.name}",
            provenance=f"norm of what each adds to the stream at {rows}, as a share of both · {info.name} ({info.layout}, "
            f"{info.precision}), language {trace.language} · a view, not an explanation",
            path=path,
            **style,
        )
        yield path


def plain_name(target: str) -> str:
    """Return the name of a target as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", target)


def file_part(relevance: voxray.Relevance) -> str:
    """Return what is shown of a relevance as a part of a file's name."""
    return f"{plain_name(relevance.target.name)}-{relevance.method}"
