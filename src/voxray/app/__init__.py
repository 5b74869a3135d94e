"""The web application: drop a clip or speak, see what was recognised, and which sound caused it.

Gradio draws the page and carries its events. Sound, pictures and files go by routes of our own, so that no path from a request
ever reaches the file system: sound is decoded from the bytes of the request, and what can be downloaded is made in memory when it
is asked for, under a random name that only the visitor who made it can use. Everything that is shown is asked of the library; the
page draws it and computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxray import OptionError

__all__ = ["Options", "run"]

MISSING = "the web application needs the extra 'app'; install it with: pip install 'voxray[app]'"


@dataclass(frozen=True, slots=True)
class Options:
    """How the application is served.

    Attributes:
        host: address to listen on.
        port: number; None takes the first free one from 7860.
        models: what ``load_model`` takes, as whoever starts the server lists it; visitors choose among these and the bundled ones.
        auth: user and password that every visitor must give; None for nobody's.
        browser: whether to open the page in a browser.
        max_seconds: longest sound that is taken, in seconds.
        max_megabytes: largest file that is taken.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    models: tuple[str, ...] = ()
    auth: tuple[str, str] | None = None
    browser: bool = True
    max_seconds: float = 60.0
    max_megabytes: float = 25.0

    def __post_init__(self) -> None:
        if self.max_seconds <= 0 or self.max_megabytes <= 0:
            raise OptionError("the limits of seconds and megabytes must be above 0")

    @property
    def max_bytes(self) -> int:
        """Largest file that is taken, in bytes."""
        return int(self.max_megabytes * 1_000_000)


def run(options: Options) -> None:
    """Serve the application until it is stopped.

    Raises:
        OptionError: when the extra is not installed, or the port is taken.
        ModelError: when a model cannot be opened.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("gradio", "plotly", "uvicorn")):
        raise OptionError(MISSING)
    from voxray.app.server import serve

    serve(options)
