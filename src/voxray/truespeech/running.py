"""How the commands of this package end: what the user can mend is one line and exit code 2."""

from __future__ import annotations

import sys

import click

from voxray.types import OptionError

BAD_INPUT, FAILED, STOPPED = 2, 1, 130  # exit codes


def run(command: click.Command, name: str) -> None:
    """Run a command; anything that the user can mend ends as one line and exit code 2, a crashed engine as one and 1.

    Args:
        command: with its arguments from the command line.
        name: as the user called it.
    """
    try:
        command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        _end("stopped", STOPPED)
    except click.ClickException as error:
        _end(error.format_message(), BAD_INPUT)
    except OptionError as error:
        _end(str(error), BAD_INPUT)
    except OSError as error:
        _end(f"the output cannot be written: {error.strerror}; choose another place", BAD_INPUT)
    except RuntimeError as error:
        _end(str(error), FAILED)


def _end(message: str, code: int) -> None:
    click.echo(f"truespeech: {' '.join(message.split())}", err=True)
    sys.exit(code)
