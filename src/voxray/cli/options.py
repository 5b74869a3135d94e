"""Options that several commands have, and options made from the fields of a dataclass."""

from __future__ import annotations

import inspect as reflection
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

import voxray
from voxray.cli.models import MODEL

Command = Callable[..., Any]
INSTRUCTIONS = ("task", "timestamps", "hotwords")  # options of some families only


DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="What the model runs on: cpu, cuda, cuda:1, directml, coreml, openvino, ...; auto: a graphics card where one can be used.",
)
THREADS = click.option("--threads", type=click.IntRange(min=1), help="Threads for the model; default: all cores.")


def opened(how: Mapping[str, Any]) -> Any:
    """Open the model that a command was given, as its options ``model``, ``threads`` and ``device`` and those of its family say.

    Raises:
        OptionError: when the model cannot recognise as it was told to.
    """
    model = voxray.load_model(how["model"], threads=how["threads"], device=how["device"])
    told = {name: how[name] for name in INSTRUCTIONS if how.get(name)}
    if told:
        model.instruct(**told)
    return model


def instructing(command: Command) -> Command:
    """Add the options that only some families of models can follow."""
    for option in (
        click.option("--hotwords", multiple=True, metavar="WORD", callback=_listed,
                     help="Words to listen for, of a SeACo Paraformer; several times, or with commas."),
        click.option("--timestamps", is_flag=True, help="Let a Whisper write when stretches of text begin and end (--style raw)."),
        click.option("--task", type=click.Choice(["transcribe", "translate"]), help="A Whisper writes the words, or English."),
    ):  # fmt: skip
        command = option(command)
    return command


def _listed(_context: click.Context, _parameter: click.Parameter, typed: tuple[str, ...]) -> tuple[str, ...]:
    """Return words that were given one by one or in a list with commas."""
    return tuple(word.strip() for one in typed for word in re.split("[,，、]", one) if word.strip())


def recognising(command: Command, *, required: bool = True) -> Command:
    """Add the options of every command that recognises sound; ``required``: whether it must be given a sound."""
    for option in (
        click.option("--allow-truncated", is_flag=True, help="Take what is there of a sound file that was cut off."),
        DEVICE,
        THREADS,
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
            "-m",
            "--model",
            type=MODEL,
            metavar="MODEL",
            help="An .onnx file, its folder, an id such as hf:owner/name, or a short name; default: the bundled model.",
        ),
        click.argument("sources", nargs=-1, required=required, type=click.Path(allow_dash=True), metavar="FILES..."),
    ):
        command = option(command)
    return command


def comparing(command: Command) -> Command:
    """Add the options of every command that compares texts."""
    for option in (
        click.option("--normalise", metavar="LIST", help="What both texts go through first, such as lower,nfkc,no-punctuation; "
                     "default: what the language asks for."),
        click.option("--unit", type=click.Choice(["character", "word", "mixed"]),
                     help="What counts as one error; default: words of English, characters of the others."),
    ):  # fmt: skip
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


def _languages(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [name for name in ("auto", "zh", "yue", "en", "ja", "ko", "nospeech") if name.startswith(typed)]
