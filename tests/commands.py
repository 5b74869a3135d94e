"""The command line run in this process; used by the tests of every command."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from voxray import cli

Result = tuple[int, str, str]
"""Exit code, standard output, standard error."""
Run = Callable[..., Result]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the command line with some words."""

    def command(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["voxray", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return command


def refused(result: Result) -> str:
    """Check that a command ended with exit code 2 and one line, and return the line."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err
