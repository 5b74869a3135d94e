"""The command line: the library's words as commands. It reads options, calls the public API and prints."""

from __future__ import annotations

import glob
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

import voxray

BAD_INPUT = 2  # exit code
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
    voxray attention clip.wav -o pictures       pictures of the model's attention
    voxray inspect MODEL                        what a model file is made of
    """


def _languages(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in ("auto", "zh", "yue", "en", "ja", "ko", "nospeech") if name.startswith(typed)]


def recognising(command: Command) -> Command:
    """Add the options of every command that recognises sound."""
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
        click.argument("sources", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="FILES..."),
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
    hints = get_type_hints(kind)

    def decorate(command: Command) -> Command:
        for one in reversed(fields(kind)):
            default = None if one.default is MISSING else one.default
            command = click.option(
                f"--{one.name}", default=default, help=one.metadata.get("help"), **_option_type(hints[one.name])
            )(command)
        return command

    return decorate


def _option_type(hint: Any) -> dict[str, Any]:
    if hint is bool:
        return {"is_flag": True}
    if get_origin(hint) is Literal:
        return {"type": click.Choice(get_args(hint)), "show_default": True}
    plain = [one for one in get_args(hint) if one is not type(None)] or [hint]
    return {"type": plain[0]}


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

    console = Console(width=None if sys.stdout.isatty() else 240, highlight=False)
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
