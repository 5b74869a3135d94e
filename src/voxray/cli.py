"""The command line: the library's words as commands. It reads options, calls the public API and prints."""

from __future__ import annotations

import difflib
import glob
import inspect as reflection
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

import voxray

BAD_INPUT = 2  # exit code
PIPE = 240  # columns of what is no terminal
Command = Callable[..., Any]


def main() -> None:
    """Run the command line; anything that the user can mend ends as one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks Hanzi shows their codes, a pipe gets UTF-8
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    try:
        status = cli.main(prog_name="voxray", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(BAD_INPUT)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "voxray"
        complain(f"{error.format_message()} See '{command} --help'.")
        sys.exit(BAD_INPUT)
    except voxray.VoxrayError as error:
        complain(error)
        sys.exit(BAD_INPUT)
    except OSError as error:
        complain(f"the output cannot be written: {error.strerror}; choose another place")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        sys.exit(BAD_INPUT)
    sys.exit(status if isinstance(status, int) else 0)


def complain(error: Exception | str) -> None:
    """Print one line about a problem to standard error."""
    click.echo(f"voxray: {' '.join(str(error).split())}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(voxray.__version__, prog_name="voxray")
def cli() -> None:
    """X-ray glasses for speech recognition: which part of the sound caused each decision?

    \b
    voxray demo                                 the whole of it on bundled clips
    voxray transcribe clip.wav                  the text
    voxray trace clip.wav                       tokens and tags with times and probabilities
    voxray explain clip.wav -t word:2           what each piece of sound carried to a decision
    voxray attention clip.wav -o pictures       pictures of the model's attention
    voxray inspect MODEL                        what a model file is made of
    """


def _languages(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in ("auto", "zh", "yue", "en", "ja", "ko", "nospeech") if name.startswith(typed)]


def recognising(command: Command, *, required: bool = True) -> Command:
    """Add the options of every command that recognises sound; ``required``: whether it must be given a sound."""
    for option in (
        click.option("--allow-truncated", is_flag=True, help="Take what is there of a sound file that was cut off."),
        click.option("--threads", type=click.IntRange(min=1), help="Threads for the model; default: all cores."),
        click.option("--textnorm/--no-textnorm", default=False, help="Write punctuation and numbers as digits."),
        click.option(
            "-l",
            "--language",
            default="auto",
            show_default=True,
            shell_complete=_languages,
            help="auto, zh, yue, en, ja, ko or nospeech.",
        ),
        click.option(
            "-m", "--model", type=click.Path(), metavar="PATH", help="An .onnx file or its folder; default: the bundled model."
        ),
        click.argument("sources", nargs=-1, required=required, type=click.Path(allow_dash=True), metavar="FILES..."),
    ):
        command = option(command)
    return command


def drawing(command: Command) -> Command:
    """Add the options of every command that draws."""
    for option in (
        click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True),
        click.option("--dpi", type=click.IntRange(30, 2400), default=300, show_default=True),
        click.option("--format", "ending", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True),
    ):
        command = option(command)
    return command


def options_of(kind: type) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for each field of a frozen dataclass."""

    def decorate(command: Command) -> Command:
        for flag, settings in reversed(flags_of(kind)):
            command = click.option(flag, **settings)(command)
        return command

    return decorate


def flags_of(kind: type) -> list[tuple[str, dict[str, Any]]]:
    """Return the flag and settings of an option for each field of a frozen dataclass, whose docstring may describe them."""
    hints, told = get_type_hints(kind), described(kind)
    result = []
    for one in fields(kind):
        name = one.name.replace("_", "-")
        default = None if one.default is MISSING else one.default
        settings = {"default": default, "help": one.metadata.get("help") or told.get(one.name), **_option_type(hints[one.name])}
        result.append((f"--{name}/--no-{name}" if default is True else f"--{name}", settings))
    return result


def described(kind: type) -> dict[str, str]:
    """Return what the docstring of a class says about each of its attributes, without the marks of code."""
    _, _, listed = (reflection.getdoc(kind) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}


def _option_type(hint: Any) -> dict[str, Any]:
    if hint is bool:
        return {"is_flag": True, "show_default": True}
    if get_origin(hint) is Literal:
        return {"type": click.Choice(get_args(hint)), "show_default": True}
    plain = [one for one in get_args(hint) if one is not type(None)] or [hint]
    return {"type": plain[0], "show_default": hint in (int, float, str)}


@cli.command()
@recognising
@click.option("--style", type=click.Choice(["plain", "rich", "raw"]), default="plain", show_default=True,
              help="Words only, with emoji for emotion and event, or with every tag.")  # fmt: skip
@click.option("--words", is_flag=True, help="One word a line: start, end [s], confidence, word.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file.")
def transcribe(sources: Sequence[str], style: str, words: bool, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Print the text of sound files."""
    if words and as_json:
        raise click.UsageError("--words and --json exclude each other; the JSON holds the words.")
    model = voxray.load_model(how["model"], threads=how["threads"])
    several = len(expand(sources)) > 1

    def one(source: str, progress: Any) -> Callable[[], None]:
        result = model.transcribe(sound(source, how), how["language"], textnorm=how["textnorm"], progress=progress)
        name = f"{source}\t" if several else ""
        if as_json:
            lines = [json.dumps({"audio": source} | result.to_dict(), ensure_ascii=False)]
        elif words:
            lines = [f"{name}{w.start:.3f}\t{w.end:.3f}\t{w.confidence:.3f}\t{w.text}" for w in result.words]
        else:
            lines = [name + {"plain": result.text, "rich": result.rich_text, "raw": result.raw_text}[style]]
        return lambda: click.echo("".join(f"{line}\n" for line in lines), nl=False)

    return each(sources, one)


@cli.command()
@recognising
@click.option("--save", "folder", type=click.Path(), metavar="FOLDER", help="Keep each trace as NAME.trace.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file.")
def trace(sources: Sequence[str], folder: str | None, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Show tokens and tags in detail.

    Times, probabilities and what else was likely at each emission.
    """
    out = None if folder is None else prepared(folder)
    names = distinct_names(expand(sources))
    model = voxray.load_model(how["model"], threads=how["threads"])

    def one(source: str, progress: Any) -> Callable[[], None]:
        found = model.trace(sound(source, how), how["language"], textnorm=how["textnorm"], progress=progress)
        if out is not None:
            found.save(out / f"{names[source]}.trace")
        if as_json:
            return lambda: click.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return lambda: print_trace(found)

    return each(sources, one)


KINDS = ("heatmap", "overlay", "heads", "posteriors", "tags")


@cli.command()
@recognising
@options_of(voxray.AttentionView)
@click.option("-k", "--kind", "kinds", type=click.Choice([*KINDS, "all"]), multiple=True, default=("heatmap",),
              show_default=True, help="Which pictures; may be given several times.")  # fmt: skip
@click.option("--word", type=int, help="Overlay: the attention of this word (0 is the first); default: all words.")
@click.option("-o", "--out", "folder", type=click.Path(), default=".", show_default=True, help="Folder for the pictures.")
@drawing
def attention(sources: Sequence[str], kinds: Sequence[str], word: int | None, folder: str, **how: Any) -> int:
    """Draw the model's attention.

    Writes NAME-KIND.png for each file; a long sound gives one picture for each piece.

    Attention shows where the model could look. It is a view, not an explanation.
    """
    out = prepared(folder)
    names = distinct_names(expand(sources))
    model = voxray.load_model(how["model"], threads=how["threads"])
    view = voxray.AttentionView(**{one.name: how[one.name] for one in fields(voxray.AttentionView)})
    style = {"theme": how["theme"], "dpi": how["dpi"]}
    wanted = KINDS if "all" in kinds else tuple(dict.fromkeys(kinds))
    layers = None if view.layer is None or "heads" in wanted else [view.layer]
    if view.head is not None and not -model.heads <= view.head < model.heads:
        raise voxray.OptionError(f"head {view.head} does not exist: there are {model.heads} heads, 0 to {model.heads - 1}")

    def one(source: str, progress: Any) -> Callable[[], None]:
        found = model.trace(sound(source, how), how["language"], textnorm=how["textnorm"], layers=layers, progress=progress)
        parts = [found.piece(index) for index in range(len(found.pieces))]
        paths = []
        for kind in wanted:
            # Tags belong to pieces, and one picture shows them all over time; everything else is drawn piece by piece.
            for index, part in enumerate([found] if kind == "tags" else parts):
                number = f"-{index:03d}" if len(parts) > 1 and kind != "tags" else ""
                paths.append(out / f"{names[source]}{number}-{kind}.{how['ending']}")
                draw(part, kind, paths[-1], view, word, style)
        return lambda: click.echo("".join(f"{path}\n" for path in paths), nl=False)

    return each(sources, one)


def draw(trace: voxray.Trace, kind: str, path: Path, view: Any, word: int | None, style: dict[str, Any]) -> None:
    """Write one picture of a trace."""
    if kind == "heatmap":
        voxray.plot.attention(trace, view, path=path, **style)
    elif kind == "overlay":
        voxray.plot.overlay(trace, view, word=word, path=path, **style)
    else:
        getattr(voxray.plot, kind)(trace, path=path, **style)


PICTURES = ("map", "words", "times", "matrix", "labels", "lens")
PAGES = ("times", "matrix", "lens")  # one picture for all targets
PICTURE_ENDINGS = (".png", ".svg", ".pdf")
KEPT_WHOLE = 60.0  # seconds; of longer sound only the pieces that are asked about are run again for their gradients
Place = Callable[[str], Path]
TARGETS = ("word:", "token:", "text", "language", "emotion", "event", "textnorm")


class Explaining(click.Command):
    """A command that has the options of the method that is asked for, too."""

    def method_of(self, args: Sequence[str]) -> str:
        """Return the last value of ``--method`` among words of the command line, or its default."""
        given = [after for before, after in pairwise(args) if before == "--method"]
        given += [word.partition("=")[2] for word in args if word.startswith("--method=")]
        return given[-1] if given else "exact"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line.

        Raises:
            OptionError: when there is no such method.
            UsageError: when neither the command nor the method has such an option.
        """
        method = ctx.meta[__name__] = self.method_of(args)
        if not ctx.resilient_parsing:
            voxray.methods.method_class(method)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(self.missing(ctx, error.option_name), ctx) from error

    def missing(self, ctx: click.Context, flag: str) -> str:
        """Return what to say about an option that is not there: what is meant, or whose it is, and what the method has."""
        own = [one for one, _ in self.of_method(ctx)]
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        others = [method for method in voxray.methods.names() if name in voxray.methods.options_of(method)]
        known = [one for parameter in self.get_params(ctx) for one in parameter.opts if one.startswith("--")]
        close = difflib.get_close_matches(flag, known, 1)
        meant = f"; it is one of the methods {', '.join(others)}" if others else f" (did you mean {close[0]}?)" if close else ""
        has = f"has {', '.join(own)}" if own else "has no options of its own"
        return f"There is no option {flag}{meant}; the method {ctx.meta[__name__]} {has}."

    def of_method(self, ctx: click.Context) -> list[tuple[str, dict[str, Any]]]:
        """Return flags and settings of the method's own options."""
        method = ctx.meta.get(__name__, "exact")
        return flags_of(voxray.methods.method_class(method)) if method in voxray.methods.names() else []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command and of the method."""
        *own, last = super().get_params(ctx)
        return [*own, *(click.Option([flag], **settings) for flag, settings in self.of_method(ctx)), last]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, the method's options by themselves."""
        own = super().get_params(ctx)
        of_method = self.get_params(ctx)[len(own) - 1 : -1]
        for title, some in (("Options", own), (f"Options of the method {ctx.meta.get(__name__, 'exact')}", of_method)):
            rows = [row for one in some if isinstance(one, click.Option) and (row := one.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _methods(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in voxray.methods.names() if name.startswith(typed)]


def _targets(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in TARGETS if name.startswith(typed)]


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained, and how.

    Attributes:
        targets: as they were asked for; none for every word and tag.
        against: a rival of each target; None for the likeliest others.
        method: its name.
        options: of the method.
        passes: the most passes for each piece of sound.
        seconds: the most seconds for each piece of sound.
        lens: whether to look at every layer.
    """

    targets: tuple[str, ...]
    against: str | None
    method: str
    options: Mapping[str, Any]
    passes: int | None
    seconds: float | None
    lens: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one sound gave: what was asked, its trace, the relevance of each target, and its lens where that was asked for."""

    question: Question
    trace: voxray.Trace
    relevances: Sequence[voxray.Relevance]
    lenses: Sequence[voxray.Lens]


@cli.command(cls=Explaining)
@partial(recognising, required=False)
@click.option("-t", "--target", "targets", multiple=True, metavar="TARGET", shell_complete=_targets,
              help="token:5, word:3, word:hello, text, language, emotion, event or emotion:SAD; of a long sound emotion@1 is that "
                   "of its second piece. May be given several times; default: every word and tag.")  # fmt: skip
@click.option("--against", metavar="RIVAL", help="Why not this word, text or label? Default: the likeliest others.")
@click.option("--method", default="exact", show_default=True, metavar="NAME", shell_complete=_methods,
              help="See --list; --method NAME --help shows its options.")  # fmt: skip
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
                   "targets by words, labels of a tag over time, lens.  [default: map; without --target: times]")  # fmt: skip
@click.option("--listen", metavar="PATH", type=click.Path(), help="Write the evidence as sound: a .wav file, or a folder.")
@click.option("--keep", type=click.Choice(["evidence", "rest"]), default="evidence", show_default=True,
              help="Listen to the evidence, or to all that is not.")  # fmt: skip
@click.option("--share", type=float, default=0.5, show_default=True, help="How much of what speaks for the target is evidence.")
@click.option("--lens", is_flag=True, help="In which layer was it decided? A second table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file, with every cell.")
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
    if not sources:
        raise click.UsageError("Missing argument 'FILES...'.")
    question = asked(how)
    names = distinct_names(expand(sources))
    kinds = pictures_of(how["kinds"], question)
    out = how["out"] or ("." if how["kinds"] else None)
    pictures = placed(out, PICTURE_ENDINGS, len(names) * count_pictures(kinds, question), f".{how['ending']}")
    sounds = placed(how["listen"], (".wav",), len(names) * (len(question.targets) or 2), ".wav")
    style = {name: how[name] for name in ("theme", "dpi")}
    model = voxray.load_model(how["model"], threads=how["threads"])

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
            return lambda: click.echo(json.dumps(answer_told(source, answer), ensure_ascii=False))
        return lambda: print_answer(answer, paths, model)

    return each(sources, one)


def asked(how: Mapping[str, Any]) -> Question:
    """Return the question that options ask.

    Raises:
        OptionError: when a value of the method's options makes no sense.
        UsageError: when a rival is given without a target.
    """
    if how["against"] is not None and not how["targets"]:
        raise click.UsageError("--against needs a --target that it is to be held against, such as --target word:2.")
    if "labels" in how["kinds"]:
        if how["against"] is not None:
            raise click.UsageError("--kind labels shows every label against the others; leave out --against.")
        if how["targets"] and not any(re.match("language|emotion|event|textnorm", name) for name in how["targets"]):
            raise click.UsageError("--kind labels needs a tag, such as --target emotion.")
    method = how["method"]
    options = {name: how[name] for name in voxray.methods.options_of(method)}
    voxray.methods.build(method, options)
    if not 0 < how["share"] <= 1:
        raise voxray.OptionError(f"share must lie above 0 and be at most 1, got {how['share']:g}")
    targets = tuple(dict.fromkeys(how["targets"]))
    lens = how["lens"] or "lens" in how["kinds"]
    return Question(targets, how["against"], method, options, how["passes"], how["seconds"], lens)


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


def placed(where: str | None, endings: Sequence[str], count: int, ending: str) -> Callable[[str, str], Path] | None:
    """Return a function from a sound's name and what is shown of it to a path; None where nothing is to be written.

    Args:
        where: a file, known by its ending, or a folder.
        endings: of files.
        count: how many files there will be.
        ending: of the files in a folder.

    Raises:
        UsageError: when several files are to go into one.
        OutputError: when the folder cannot be made or written to.
    """
    if where is None:
        return None
    path = Path(where)
    if path.suffix.lower() in endings and not path.is_dir():
        if count > 1:
            raise click.UsageError(f"There is more than one result, but {where} is one file; give a folder, or ask for one thing.")
        prepared(str(path.parent))
        return lambda _name, _shown: path
    if path.suffix and not path.is_dir():
        raise click.UsageError(f"{where} is neither a folder nor a file that ends in {', '.join(endings)}.")
    folder = prepared(where)
    return lambda name, shown: folder / f"{name}-{shown}{ending}"


def answered(model: Any, heard: voxray.Audio, question: Question, how: Mapping[str, Any], progress: Any) -> Answer:
    """Explain what was asked about one sound.

    Raises:
        OptionError: when there is no such target, or the sound holds no speech.
    """
    trace = model.trace(
        heard,
        how["language"],
        textnorm=how["textnorm"],
        layers=None if voxray.methods.method_class(question.method).needs == "anatomy" else (),
        gradients=question.method == "exact" and heard.duration <= KEPT_WHOLE,
        progress=progress,
    )
    targets = question.targets or every_target(trace)
    if not targets:
        raise voxray.OptionError(f"{trace.audio.name} holds no speech, so there is nothing to explain")
    relevances = voxray.explain(
        model,
        trace,
        targets,
        against=question.against,
        method=question.method,
        passes=question.passes,
        seconds=question.seconds,
        progress=progress,
        **question.options,
    )
    lenses = voxray.layer_lens(model, trace, targets, against=question.against) if question.lens else []
    return Answer(question, trace, relevances, lenses)


def every_target(trace: voxray.Trace) -> list[str]:
    """Return every word and every tag that the sound decides: a language that was told, and the text norm, are not."""
    kinds = ("language", "emotion", "event") if trace.language == "auto" else ("emotion", "event")
    pieces = [f"@{index}" for index in range(len(trace.pieces))] if len(trace.pieces) > 1 else [""] * len(trace.pieces)
    return [f"word:{index}" for index in range(len(trace.words))] + [f"{kind}{piece}" for piece in pieces for kind in kinds]


def clearer(error: voxray.VoxrayError, question: Question, source: str) -> voxray.VoxrayError:
    """Return an error that says which of several sounds it is about, and which method helps where gradients do not."""
    text = str(error)
    if isinstance(error, voxray.ModelError) and voxray.methods.method_class(question.method).needs == "gradients":
        text += "" if "occlusion" in text else "; a method that only asks the model still works, such as --method occlusion"
    return type(error)(text if not source or Path(source).name in text else f"{source}: {text}")


def draw_answer(model: Any, answer: Answer, kind: str, place: Place, style: Mapping[str, Any]) -> Iterator[Path]:
    """Write the pictures of one kind and yield their paths; ``place`` says where, given what is shown."""
    trace, relevances = answer.trace, answer.relevances
    if kind == "lens":
        yield draw_lenses(model, answer, place("lens"), style)
    elif kind in PAGES:
        for path, some in pages(relevances, kind, place).items():
            voxray.plot.words(some, trace, across="time" if kind == "times" else "words", path=path, **style)
            yield path
    for one in relevances if kind not in PAGES else ():
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
    """Explain every label of a tag's kind as one of them was explained, within the same budget."""
    kind, mark, piece = re.match(r"(\w+)(?::[^@]*)?(@?)(\d*)", relevance.target.name).groups()  # type: ignore[union-attr]
    targets = [f"{kind}:{label}{mark}{piece}" for label in model.labels[kind]]
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


def file_part(relevance: voxray.Relevance) -> str:
    """Return what is shown of a relevance as a part of a file's name."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', relevance.target.name)}-{relevance.method}"


def answer_told(source: str, answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON can hold it, with the relevance of every word and pause."""
    told = []
    for one in answer.relevances:
        cut = voxray.stretches(answer.trace.words, *span_of(one))
        shares = [
            {"text": part.text, "start": part.start, "end": part.end, "relevance": one.between(part.start, part.end)}
            for part in cut
        ]
        told.append(one.to_dict() | {"peak": peak_of(one), "stretches": shares})
    lenses = [
        {"target": one.target.title, "layers": len(one.log_probs), "decided_at": one.commits.tolist(), "ids": one.ids.tolist(),
         "log_probs": one.log_probs.tolist(), "ranks": one.ranks.tolist()}
        for one in answer.lenses
    ]  # fmt: skip
    result: dict[str, Any] = tidy({"audio": source, "text": answer.trace.text, "relevances": told, "lenses": lenses})
    return result


def tidy(value: Any) -> Any:
    """Return a value with its numbers as short as float32 is exact, and null for what is no number."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: tidy(one) for key, one in value.items()}
    return [tidy(one) for one in value] if isinstance(value, (list, tuple)) else value


@cli.command()
@click.argument("model", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def inspect(model: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Show what a model file is made of.

    Without MODEL: the bundled one. Opening a model proves it: the differences that were measured are shown.
    """
    opened = voxray.load_model(model)
    told = opened.describe()
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        print_anatomy(told)


@cli.command()
@click.option("-o", "--out", "folder", type=click.Path(), default="voxray-demo", show_default=True)
@drawing
def demo(folder: str, ending: str, **style: Any) -> None:
    """Recognise bundled clips and draw them.

    The bundled model does it; text, tags and word starts are compared with what is known of the clips.
    """
    out = prepared(folder)
    clips = voxray.demo_clips()
    model = voxray.load_model()
    rows, errors = [], []
    for clip in clips:
        found = model.trace(clip.path)
        rows.append((clip, found))
        errors += voxray.word_start_errors(found, clip)
        for kind in KINDS:
            draw(found, kind, out / f"{clip.path.stem}-{kind}.{ending}", voxray.AttentionView(tags=True), None, style)
    print_demo(rows, errors)
    click.echo(f"\n{len(rows) * len(KINDS)} pictures are in {out}; begin with {out / f'{clips[0].path.stem}-overlay.{ending}'}")


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell completion script.

    For bash: eval "$(voxray completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(kind(cli, {}, "voxray", "_VOXRAY_COMPLETE").source())


def sound(source: str, how: Mapping[str, Any]) -> voxray.Audio:
    """Read a sound file, or standard input for ``-``, as the options say."""
    try:
        given: Any = io.BytesIO(sys.stdin.buffer.read()) if source == "-" else source
        return voxray.load_audio(given, name="standard input" if source == "-" else None, allow_truncated=how["allow_truncated"])
    except voxray.AudioError as error:
        raise voxray.AudioError(str(error).replace("allow_truncated=True", "--allow-truncated")) from error


def expand(sources: Iterable[str]) -> list[str]:
    """Return the files that names and patterns stand for; a pattern that fits nothing stays as it is."""
    found: list[str] = []
    for source in sources:
        fitting = [] if Path(source).exists() else sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        found += fitting or [source]
    return list(dict.fromkeys(found))


def distinct_names(files: Sequence[str]) -> dict[str, str]:
    """Return a name for the results of each file: its own, with its ending and folders where others have the same."""
    forms: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: path.name,
        lambda path: "-".join(path.resolve().parts[1:]),
    )
    names = [[form(Path(file)) for file in files] for form in forms]
    unique = [dict(zip(files, column, strict=True)) for column in names if len(set(column)) == len(set(files))]
    return unique[0] if unique else dict(zip(files, names[-1], strict=True))


def each(sources: Sequence[str], work: Callable[[str, Any], Callable[[], None]]) -> int:
    """Do the work for every file and print what it returns; a bad file is named and the others go on. Returns the exit code."""
    files = expand(sources)
    failed = 0
    with progress_bars(len(files)) as (step, hidden):
        for source in files:
            try:
                with step(source) as progress:
                    tell = work(source, progress)
            except voxray.VoxrayError as error:
                tell = partial(complain, error)
                failed += 1
            with hidden():
                tell()
    if failed and len(files) > 1:
        click.echo(f"voxray: {failed} of {len(files)} files failed", err=True)
    return BAD_INPUT if failed else 0


@contextmanager
def progress_bars(files: int) -> Iterator[tuple[Any, Any]]:
    """Show the progress over files and within a long one, on a terminal only.

    Yields two context managers: one for the work on a file, which gives what to report progress to, and one that takes the bars
    away while something is printed.
    """
    if not sys.stderr.isatty():
        yield no_bars, nullcontext
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        overall = bars.add_task("files", total=files, visible=files > 1)

        @contextmanager
        def step(source: str) -> Iterator[Any]:
            task = bars.add_task(Path(source).name, total=1, visible=False)
            try:
                yield lambda done, total: bars.update(task, completed=done, total=total, visible=total > 1)
            finally:
                bars.remove_task(task)
                bars.advance(overall)

        @contextmanager
        def hidden() -> Iterator[None]:
            bars.stop()
            yield
            bars.start()

        yield step, hidden


def no_bars(_source: str) -> Any:
    """Return a context that does nothing: no terminal, no bars."""
    return nullcontext()


def prepared(folder: str) -> Path:
    """Return a folder that can be written to, made if it is not there.

    Raises:
        OutputError: when it cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise voxray.OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    if not os.access(path, os.W_OK):
        raise voxray.OutputError(f"the folder {folder} cannot be written to; choose another place")
    return path


def table(title: str, *columns: str) -> Any:
    """Return an empty table; columns that begin with ``>`` are set to the right."""
    from rich import box
    from rich.table import Table

    result = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        result.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return result


def show(*tables: Any) -> None:
    """Print tables; a pipe gets lines of any length."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPE, highlight=False)
    for one in tables:
        console.print(one)


def print_trace(trace: voxray.Trace) -> None:
    """Print one trace for people."""
    title = trace.rich_text if len(trace.rich_text) <= 60 else f"{trace.rich_text[:59]}…"
    tags = table(f"{trace.audio.name} · {title or '(no words)'}", ">from s", ">to s", "tag", "label", ">p", "others", ">mass")
    tags.caption, tags.caption_justify = "p: among the labels of its kind; mass: what the row gives to all of them", "left"
    for tag in trace.tags:
        others = "  ".join(f"{name} {p:.3f}" for name, p in list(tag.probabilities.items())[1:4])
        span = (f"{tag.start:.2f}", f"{tag.end:.2f}")
        tags.add_row(*span, tag.kind, tag.label, f"{tag.probability:.3f}", others, f"{tag.mass:.3f}")
    tokens = table("", ">#", "token", ">start s", ">end s", ">p", "instead")
    for index, token in enumerate(trace.tokens):
        instead = [one for one in token.alternatives if one.id != token.id][:3]
        named = "  ".join(f"{printed(one, trace)} {math.exp(one.log_prob):.3f}" for one in instead)
        tokens.add_row(
            str(index),
            printed(token, trace),
            f"{token.start:.3f}",
            f"{token.end:.3f}",
            f"{token.confidence:.3f}",
            named,
        )
    show(tags, tokens)


def printed(token: Any, trace: voxray.Trace) -> str:
    """Return a token's text so that it can be seen."""
    return "(blank)" if token.id == trace.blank else token.text.strip() or "␣"


def span_of(relevance: voxray.Relevance) -> tuple[float, float]:
    """Return start and end of a map in seconds."""
    first, last = relevance.grid.times[[0, -1]].tolist()
    return first, last


def is_own(part: voxray.Stretch, relevance: voxray.Relevance) -> bool:
    """Tell whether a stretch is the word that the target is, or is part of."""
    target = relevance.target
    return target.kind in ("word", "token") and bool(part.text) and part.start <= (target.start + target.end) / 2 < part.end


def peak_of(relevance: voxray.Relevance) -> float | None:
    """Return the middle of the cell with the most relevance for its length, in seconds; None where nothing speaks for it."""
    edges = relevance.grid.times
    rates = [value / width if value > 0 else 0.0 for value, width in zip(relevance.over_time, edges[1:] - edges[:-1], strict=True)]
    top = max(rates)
    return float(relevance.grid.centres[rates.index(top)]) if top > 0 else None


def number(value: float | None, unit: str = "") -> str:
    """Return a signed number as a table shows it; shares have no sign."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if unit == "share" else f"{round(value, 2) + 0.0:+.2f}"


def seconds_at(value: float | None) -> str:
    """Return a moment as a table shows it."""
    return "-" if value is None else f"{value:.2f}"


def cut_short(text: str, longest: int) -> str:
    """Return a text cut to a length."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def print_answer(answer: Answer, paths: Sequence[Path], model: Any) -> None:
    """Print what was found for people: few targets one by one, many in one table."""
    relevances = answer.relevances
    first = relevances[0]
    if len(relevances) <= 3:
        for one in relevances:
            print_ledger(one, answer.trace)
    else:
        print_overview(relevances, answer.trace)
    for lens in answer.lenses:
        print_lens(lens, answer.trace, model)
    for note in dict.fromkeys(note for one in relevances for note in one.notes):
        click.echo(f"note: {note}")
    if first.view:
        click.echo(f"note: {first.method} is a view, not an explanation of the decision")
    chosen = ", ".join(f"{name} {value}" for name, value in first.options.items() if value is not None)
    together = f" for {len(relevances)} targets together" if len(relevances) > 1 else ""
    pieces: dict[int, voxray.Relevance] = {one.target.piece: one for one in relevances}
    passes, spent = sum(one.passes for one in pieces.values()), sum(one.seconds for one in pieces.values())
    click.echo(f"{first.method}{f' ({chosen})' if chosen else ''}: {passes} pass{'es' * (passes != 1)}, {spent:.2f} s{together}")
    click.echo("".join(f"{path}\n" for path in paths), nl=False)


def room() -> int:
    """Return how many columns a table may take; a pipe has enough for all of them."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else PIPE


def drawable() -> bool:
    """Tell whether the output can show signs for drawing; terminals with an older encoding cannot."""
    from rich.console import Console

    return not Console().options.ascii_only


def print_ledger(relevance: voxray.Relevance, trace: voxray.Trace) -> None:
    """Print one target: what each word and pause adds, what comes from no sound, and the score."""
    from rich.cells import cell_len

    unit, target = relevance.unit, relevance.target
    rival = f" rather than {cut_short(target.against, 30)!r}" if target.against else ""
    title = f"{relevance.audio} · {target.name} {cut_short(target.label, 30)!r}{rival}"
    times = [">from s", ">to s"] if room() >= 80 else [">from s"]
    mark, axis = ("▸", "│") if drawable() else (">", "|")
    result = table(title, *times, "", "sound", f">{unit}", f"against {axis} for")
    cut = voxray.stretches(trace.words, *span_of(relevance))
    texts = [cut_short(part.text, max(9, room() // 4)) or "(pause)" for part in cut]
    values = [relevance.between(part.start, part.end) for part in cut]
    bar = bars(values, room() - 9 * len(times) - 22 - max(9, *(cell_len(text) for text in texts)))
    for part, text, value in zip(cut, texts, values, strict=True):
        own = is_own(part, relevance)
        style = "bold" if own else "" if part.text else "dim"
        when = [f"{moment:.2f}" for moment in (part.start, part.end)[: len(times)]]
        result.add_row(*when, mark if own else "", text, number(value, unit), bar(value), style=style)
    result.add_section()
    blank = ("",) * (len(times) + 1)
    if relevance.parts or relevance.adds_up:
        for name, value in {"all sound": float(relevance.scores.sum(dtype=float)), **relevance.parts}.items():
            result.add_row(*blank, name, number(value, unit))
    if relevance.adds_up:
        result.add_row(*blank, "residual", f"{relevance.residual:+.1e}", style="dim")
    sums = "" if relevance.parts or relevance.adds_up else ", no sum"
    result.add_row(*blank, "score", number(relevance.score, unit), f"peak {seconds_at(peak_of(relevance))} s{sums}", style="bold")
    show(result)


def bars(values: Sequence[float], width: int) -> Callable[[float], Any]:
    """Return a function that draws a number as a signed bar on the scale of some numbers, in at most so many columns."""
    from rich.text import Text

    half = max(4, min(24, (width - 1) // 2))
    most = max((abs(one) for one in values if math.isfinite(one)), default=0.0) or 1.0
    whole, right_half, left_half, axis = ("█", "▌", "▐", "│") if drawable() else ("#", "", "", "|")

    def draw(value: float) -> Any:
        steps = round(2 * half * abs(value) / most) if math.isfinite(value) else 0
        line = whole * (steps // 2)
        left = (left_half * (steps % 2) + line).rjust(half) if value < 0 else " " * half
        right = line + right_half * (steps % 2) if value > 0 else ""
        return Text.assemble((left, "deep_sky_blue3"), axis, (right, "orange3"))

    return draw


def print_overview(relevances: Sequence[voxray.Relevance], trace: voxray.Trace) -> None:
    """Print many targets, one a line: the score, and what of it came from its own word, other words, pauses and no sound."""
    first = relevances[0]
    parts = list(dict.fromkeys(name for one in relevances for name in one.parts))
    columns = ["other words", "pauses", *parts] if room() >= 100 else ["others", *(["no sound"] if parts else [])]
    title = f"{trace.audio.name} · {cut_short(trace.text, 50)} · {first.method} [{first.unit}]"
    ends = [">peak s"] if room() >= 70 else []
    result = table(title, "target", ">score", ">own word", *(f">{name}" for name in columns), *ends)
    for one in relevances:
        kept = {"own": 0.0, "other words": 0.0, "pauses": 0.0}
        for part in voxray.stretches(trace.words, *span_of(one)):
            kept["own" if is_own(part, one) else "other words" if part.text else "pauses"] += one.between(part.start, part.end)
        kept |= {"others": kept["other words"] + kept["pauses"], "no sound": sum(one.parts.values()), **one.parts}
        own = number(kept["own"], one.unit) if one.target.kind in ("word", "token") else "-"
        values = (number(kept.get(name, 0.0), one.unit) for name in columns)
        name = f"{one.target.name} {cut_short(one.target.label, 16)}"
        result.add_row(name, number(one.score, one.unit), own, *values, *[seconds_at(peak_of(one))] * len(ends))
    if first.adds_up:
        worst = max(abs(one.residual) for one in relevances)
        result.caption, result.caption_justify = f"each line sums to its score, to {worst:.0e}", "left"
    show(result)


def print_lens(lens: voxray.Lens, trace: voxray.Trace, model: Any) -> None:
    """Print in which layer each token of a target was decided, and its nearest rival."""
    count = len(lens.log_probs)
    wide = room() >= 80
    steps = 5 if wide else 2
    shown = sorted({round(place * (count - 1) / steps) for place in range(steps + 1)})
    title = f"{trace.audio.name} · {lens.target.name} · rank after layers {shown[0]} to {shown[-1]}; 1 is on top"
    result = table(title, "token", *(f">{index}" for index in shown), ">decided", "rival", *([">passed"] * wide), ">ahead")
    for row, ids in enumerate(lens.ids):
        settled, passed = int(lens.commits[row]), int(lens.overtakes[row, 0])
        result.add_row(
            spoken(model, trace, int(ids[0])),
            *(str(int(lens.ranks[layer, row, 0]) + 1) for layer in shown),
            str(settled) if settled < count else "never",
            spoken(model, trace, int(ids[1])),
            *([str(passed)] * wide),
            number(float(lens.log_odds[-1, row, 0])),
        )
    told = ["decided: the layer from which it stays on top", "ahead: of its nearest rival at the end, in nats"]
    result.caption = "; ".join([told[0], *(["passed: from which the two keep their order"] * wide), told[1]])
    result.caption_justify = "left"
    show(result)


def spoken(model: Any, trace: voxray.Trace, index: int) -> str:
    """Return the text of a token id so that it can be seen."""
    return "(blank)" if index == trace.blank else model.vocabulary.text(index).strip().strip("<|>") or "␣"


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


def print_methods(*, as_json: bool) -> None:
    """Print every method: what it answers, whether it is a view, and what it costs."""
    kinds = [voxray.methods.method_class(name) for name in voxray.methods.names()]
    if as_json:
        click.echo(json.dumps([method_told(kind) for kind in kinds], ensure_ascii=False))
        return
    wide = room() >= 100
    result = table("Methods", "method", *(["kind"] * wide), "what it answers", *(["what it costs"] * wide))
    for kind in kinds:
        nature = nature_of(kind)
        first = [kind.name, nature] if wide else [f"{kind.name}\n({nature})"]
        result.add_row(*first, kind.answers, *([kind.cost] * wide))
    show(result)
    click.echo("voxray explain --method NAME --help shows the options of a method; docs/methods.md says all of it")


def nature_of(kind: Any) -> str:
    """Return whether a method explains, adds up, or is a view."""
    return "view" if kind.view else "adds up" if kind.adds_up else "explanation"


def method_told(kind: Any) -> dict[str, Any]:
    """Return what a method is and which options it has, as JSON can hold it."""
    words = {name: getattr(kind, name) for name in
             ("name", "title", "answers", "cannot", "cost", "source", "needs", "view", "adds_up")}  # fmt: skip
    told = described(kind)
    options = [
        {"name": name, "default": default, "type": type_told(hint), "help": told.get(name, "")}
        for name, (hint, default) in voxray.methods.options_of(kind.name).items()
    ]
    return words | {"options": options}


def type_told(hint: Any) -> str:
    """Return the type of an option as a reader takes it in."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    plain = [one.__name__ for one in get_args(hint) if one is not type(None)] or [hint.__name__]
    return {"bool": "yes or no", "int": "whole number", "float": "number", "str": "text"}[plain[0]]


def print_anatomy(told: dict[str, Any]) -> None:
    """Print what a model is made of."""
    facts = table(f"{told['name']}", "", "")
    facts.show_header = False
    for name in (
        "family",
        "layout",
        "precision",
        "opset",
        "vocabulary",
        "layers",
        "heads",
        "width",
        "languages",
        "sha256",
    ):
        value = told[name]
        facts.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    facts.add_row("logits, probed against plain", f"{told['logit_difference']:.1e} largest difference")
    layers = table("", ">#", "module", ">in", ">out", ">taps", ">ffn", "residual", ">rebuilt to")
    for one in told["blocks"]:
        layers.add_row(
            str(one["index"]), one["label"], str(one["width_in"]), str(one["width"]), str(one["taps"]),
            str(one["feed_forward"]), "yes" if one["residual"] else "no", f"{one['rebuild_error']:.1e}",
        )  # fmt: skip
    show(facts, layers)


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
        f"p10 {spread[0]:+.0f} ms, p90 {spread[-1]:+.0f} ms (CTC emits late and in spikes)"
    )
