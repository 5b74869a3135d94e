"""The command line: the library's words as commands. It reads options, calls the public API and prints.

A command is a module of this folder that ends in ``COMMANDS`` below; what several commands share is in ``options`` (of commands),
``files`` (in and out), ``tables`` (for people), ``methods`` (ways to explain) and ``answers`` (what was asked and found).
"""

from __future__ import annotations

import io
import os
import sys

import click

import voxray
from voxray.cli import (
    app,
    attention,
    bench,
    compare_models,
    completion,
    demo,
    evaluate,
    explain,
    inspect,
    languages,
    live,
    models,
    quality,
    recognise,
    why,
)
from voxray.cli.files import BAD_INPUT, complain

COMMANDS = (
    recognise.transcribe,
    recognise.trace,
    explain.explain,
    why.why,
    evaluate.evaluate,
    evaluate.compare,
    compare_models.compare_models,
    languages.languages,
    live.live,
    attention.attention,
    quality.quality,
    bench.bench,
    app.app,
    inspect.inspect,
    models.models,
    demo.demo,
    completion.completion,
)


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


@click.group(commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(voxray.__version__, prog_name="voxray")
def cli() -> None:
    """X-ray glasses for speech recognition: which part of the sound caused each decision?

    \b
    voxray demo                                 the whole of it on bundled clips
    voxray transcribe clip.wav                  the text
    voxray trace clip.wav                       tokens and tags with times and probabilities
    voxray explain clip.wav -t word:2           what each piece of sound carried to a decision
    voxray why clip.wav --ref "the right text"  every mistake, its sound and its cause
    voxray evaluate corpus.jsonl -o run         a whole corpus: error rates, causes, report, gates
    voxray compare run1 run2                    what got worse from one run to the next
    voxray compare-models A B *.wav             two model files: what changes, where, and what it gains
    voxray languages *.wav                      languages side by side
    voxray live                                 what is said while it is said
    voxray app                                  all of it on a web page
    voxray attention clip.wav -o pictures       pictures of the model's attention
    voxray quality clip.wav                     how good the alignment is, head by head
    voxray bench                                which explanation can be trusted, on speech whose truth is known
    voxray inspect MODEL                        what a model file is made of
    voxray models                               models by name, and which are here
    """
