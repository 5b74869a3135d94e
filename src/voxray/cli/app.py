"""The command ``app``: the web application."""

from __future__ import annotations

import click

from voxray.cli.models import MODEL


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on; 0.0.0.0 for every one of this machine.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; default: the first free one from 7860.")
@click.option("-m", "--model", "models", multiple=True, type=MODEL, metavar="MODEL",
              help="A model that visitors may choose besides the bundled ones; may be given several times; the first one is chosen "
                   "at first.")  # fmt: skip
@click.option("--auth", metavar="USER:PASSWORD", help="Ask every visitor for these.")
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.  [default: browser]")
@click.option(
    "--max-seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="Longest sound taken."
)
@click.option(
    "--max-megabytes", type=click.FloatRange(min=0, min_open=True), default=25.0, show_default=True, help="Largest file taken."
)
def app(models: tuple[str, ...], auth: str | None, **how: object) -> int:
    """Open the web application.

    \b
    voxray app                                     on this machine, with the bundled model
    voxray app --model path/to/SenseVoiceSmall     with a model of your own
    voxray app --host 0.0.0.0 --auth me:secret     for others, too

    Drop a clip or speak; click a word to see and hear the sound behind it. Nothing leaves the machine.
    """
    from voxray.app import Options, run

    user, parted, password = (auth or "").partition(":")
    if auth is not None and not (user and parted and password):
        raise click.UsageError("--auth takes a user and a password with a colon between them, such as me:secret.")
    if str(how["host"]) not in ("127.0.0.1", "localhost", "::1") and auth is None:
        click.echo("voxray: everyone who reaches this address can use the page; --auth asks for a password", err=True)
    run(Options(models=models, auth=(user, password) if auth else None, **how))  # type: ignore[arg-type]
    return 0
