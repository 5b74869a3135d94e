"""The command line: ``python -m voxray.truespeech OUT`` writes clips as WAV, each with its truth beside it as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from voxray.truespeech.clip import CLEAN, Clip, Recipe
from voxray.truespeech.lexicon import LANGUAGES
from voxray.truespeech.running import run
from voxray.truespeech.spoken import RATE
from voxray.truespeech.voices import HELD_OUT
from voxray.truespeech.workers import clips

MOST = 1_000_000  # six digits name a clip


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the number of clips, and the seconds of sound and of speech in them."""

    clips: int
    sound: float
    speech: float


def main() -> None:
    """Run the command line."""
    run(command, "python -m voxray.truespeech")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--clips", "count", type=click.IntRange(1, MOST), default=1000, show_default=True, help="How many clips.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds give equal bytes.")
@click.option("--language", "languages", type=click.Choice(LANGUAGES), multiple=True, help="May be given again; default: all.")
@click.option("--mode", type=click.Choice(["concat", "sentence"]), help="Words said alone, or together; default: both.")
@click.option("--clean", is_flag=True, help="Speech alone: no events, noise, rooms, bands or gain.")
@click.option("--held-out-voices", is_flag=True, help="Only voices that the bundled model was not trained on.")
@click.option("--held-out-sentences", is_flag=True, help="Only sentences that the bundled model was not trained on.")
@click.option("--processes", type=click.IntRange(min=1), help="Default: one for each processor.")
def command(out: Path, count: int, seed: int, processes: int | None, **choices: Any) -> None:
    """Write clips of synthetic speech to the new folder OUT: 000000.wav, 000000.json and so on.

    Times in the truth are samples at 16 kHz.
    """
    begun = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise click.UsageError(f"the folder {out} is not empty; choose a new one, so that no clips are mixed up")
    made = clips(recipe(**choices), seed, count, processes)
    with click.progressbar(made, length=count, file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:
        written = write(shown, out)
    taken = time.perf_counter() - begun
    click.echo(f"{written.clips} clips, {written.sound:.1f} s of sound, {written.speech:.1f} s of speech, made in {taken:.1f} s")


def recipe(*, languages: tuple[str, ...], mode: str | None, **flags: bool) -> Recipe:
    """Return the recipe that the options describe.

    Args:
        languages: tags; all languages for none.
        mode: ``concat``, ``sentence`` or None for both.
        flags: ``clean``, ``held_out_voices``, ``held_out_sentences``.
    """
    changes: dict[str, Any] = {}
    if languages:
        changes["languages"] = tuple(dict.fromkeys(languages))
    if mode:
        changes["concat"] = float(mode == "concat")
    if flags["held_out_voices"]:
        changes["variants"] = HELD_OUT
    return replace(CLEAN if flags["clean"] else Recipe(), held_out=flags["held_out_sentences"], **changes)


def write(made: Iterable[Clip], folder: Path) -> Written:
    """Write clips under their numbers, six digits, from 0."""
    count, sound, speech = 0, 0, 0
    for clip in made:
        clip.write(folder / f"{count:06}.wav")
        count += 1
        sound += len(clip.samples)
        speech += sum(word.end - word.start for word in clip.words)
    return Written(count, sound / RATE, speech / RATE)


if __name__ == "__main__":
    main()
