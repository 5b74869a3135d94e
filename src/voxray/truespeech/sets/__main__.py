"""The command line: ``python -m voxray.truespeech.sets OUT`` writes the benchmark's sets."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from voxray.truespeech.running import run
from voxray.truespeech.sets import MOST, NAMES, make_sets


def main() -> None:
    """Run the command line."""
    run(command, "python -m voxray.truespeech.sets")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds give equal bytes.")
@click.option("--clips", type=click.IntRange(2, MOST), default=60, show_default=True, help="Of a set; D has twice as many.")
@click.option("--dev", type=click.IntRange(0, MOST), default=20, show_default=True, help="How many of them are for calibration.")
@click.option("--set", "names", type=click.Choice(list(NAMES)), multiple=True, help="May be given again; default: all.")
@click.option("--processes", type=click.IntRange(min=1), help="Default: one for each processor.")
def command(out: Path, seed: int, clips: int, dev: int, names: tuple[str, ...], processes: int | None) -> None:
    """Write the benchmark's sets to the new folder OUT: manifest.jsonl, and the sounds of each set in a folder of its name."""
    begun = time.perf_counter()
    with click.progressbar(length=1, file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:

        def progress(done: int, count: int) -> None:
            shown.length = count
            shown.update(done - shown.pos)

        manifest = make_sets(out, seed=seed, names=names or NAMES, clips=clips, dev=dev, processes=processes, progress=progress)
    lines = manifest.read_text(encoding="utf-8").count("\n")
    click.echo(f"{manifest}: {lines} clips, {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
