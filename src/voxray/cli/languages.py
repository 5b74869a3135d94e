"""The command ``languages``: clips of several languages side by side, and what becomes of them when another one is forced."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

import voxray
from voxray.cli.files import BAD_INPUT, complain, expand, prepared, progress_bars, sound
from voxray.cli.models import MODEL
from voxray.cli.options import DEVICE, THREADS, drawing, opened
from voxray.cli.tables import room, show, table

PICTURES = ("clips", "layers", "forced")
MIDDLE, WIDE, WIDER, WIDEST = 80, 115, 145, 200  # columns of a terminal from which a table has more of its own
MEANINGS = {
    ">entropy": "entropy: of attention, as a share of the most possible; this and the next two are means over all heads",
    ">nearby": "nearby: share of the attention on sound that stays within 300 ms",
    ">prompts": "prompts: share of attention that goes to the prompts",
    "forced": "forced: which language, when forced, changes most of the text",
}
"""What columns mean that do not say it themselves."""


@click.command()
@click.argument("sources", nargs=-1, type=click.Path(allow_dash=True), metavar="FILES...")
@click.option("--manifest", type=click.Path(exists=True), help="A list of clips with their texts and languages.")
@click.option("--truth", type=click.Path(exists=True, dir_okay=False), metavar="JSON",
              help='Texts and languages of FILES: {"clip.wav": {"language": "zh", "text": "..."}}.')  # fmt: skip
@click.option("--languages", "wanted", metavar="LIST", help="Languages to force, such as zh,en; default: all that the model has.")
@click.option("--force/--no-force", default=True, help="Try what becomes of clips when languages are forced.  [default: force]")
@click.option("-m", "--model", type=MODEL, metavar="MODEL", help="A file, its folder, a hub id or a short name; default: bundled.")
@click.option("--textnorm/--no-textnorm", default=False, help="Write punctuation and numbers as digits.")
@DEVICE
@THREADS
@click.option("--allow-truncated", is_flag=True, help="Take what is there of a sound file that was cut off.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the intervals and tests.")
@click.option("-o", "--out", "folder", type=click.Path(file_okay=False), metavar="FOLDER",
              help="Write pictures and languages.csv (every layer and head of every clip) there.")  # fmt: skip
@click.option("--maps", type=click.IntRange(min=0), default=4, show_default=True, help="Clips of each language in the picture.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@drawing
def languages(sources: Sequence[str], folder: str | None, as_json: bool, **how: Any) -> int:  # noqa: FBT001
    """Put languages side by side: attention, errors and confidence.

    \b
    voxray languages clips/*.wav                              languages as the model hears them
    voxray languages --manifest corpus.jsonl -o languages     with error rates, pictures and a table of every head
    voxray languages clips/*.wav --languages en,yue           force these two only

    The language of a clip is that of the manifest, or what the model hears.
    """
    out = None if folder is None else prepared(folder)
    clips, problems = given(sources, how)
    model = opened(how)
    try:
        with progress_bars(1) as (step, _), step("passes") as progress:
            study = voxray.compare_languages(
                model,
                [clip for _, clip in clips],
                force=to_force(how["wanted"], force=how["force"]),
                textnorm=how["textnorm"],
                maps=how["maps"],
                seed=how["seed"],
                progress=progress,
                refused=lambda index, error: problems.append(named(error, clips[index][0])),
            )
    finally:
        for problem in problems:
            complain(problem)
    paths = [] if out is None else written(study, out, how)
    if as_json:
        click.echo(json.dumps(study.to_dict(), ensure_ascii=False))
    else:
        print_languages(study, paths)
    return BAD_INPUT if problems else 0


def given(sources: Sequence[str], how: Mapping[str, Any]) -> tuple[list[tuple[str, voxray.Spoken]], list[str]]:
    """Return the clips of files and manifest, each with its name, and what is wrong with lines of the manifest.

    Raises:
        UsageError: when there is no clip.
        OptionError: when the manifest or the truth cannot be read, or tells nothing about the files.
    """
    if not sources and how["manifest"] is None:
        raise click.UsageError("Missing argument 'FILES...'; give sounds or --manifest.")
    if how["truth"] is not None and not sources:
        raise click.UsageError("--truth tells about FILES; a manifest holds its texts itself.")
    files = expand(sources)
    truth = {} if how["truth"] is None else truths(Path(how["truth"]), files)
    clips = [(file, voxray.Spoken(partial(sound, file, how), *truth.get(file, (None, None)))) for file in files]
    if how["manifest"] is None:
        return clips, []
    listed = voxray.read_manifest(how["manifest"])
    clips += [(item.id, voxray.Spoken(partial(cut, item, how), item.language, item.reference)) for item in listed.items]
    return clips, [f"{how['manifest']}: {problem}" for problem in listed.problems]


def cut(item: Any, how: Mapping[str, Any]) -> voxray.Audio:
    """Return the sound of a manifest's entry."""
    whole = sound(str(item.audio), how)
    if item.offset is None:
        return whole
    return whole.cut(item.offset, whole.duration if item.duration is None else item.offset + item.duration)


def truths(path: Path, files: Sequence[str]) -> dict[str, tuple[str | None, str | None]]:
    """Return language and text of those files that a JSON file tells about, by path or by name.

    Raises:
        OptionError: when it cannot be read, or tells of none of them.
    """
    wanted = 'expected a JSON object such as {"clip.wav": {"language": "zh", "text": "..."}}'
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise voxray.OptionError(f"{path} cannot be read ({error}); {wanted}") from error
    if not isinstance(told, dict) or not all(isinstance(one, (dict, str)) for one in told.values()):
        raise voxray.OptionError(f"{path} tells no texts; {wanted}")
    found = {}
    for file in files:
        one = told.get(file, told.get(Path(file).name))
        if one is not None:
            entry = {"text": one} if isinstance(one, str) else one
            found[file] = (entry.get("language"), entry.get("text", entry.get("reference")))
    if not found:
        raise voxray.OptionError(f"{path} tells of none of these files; {wanted}")
    return found


def to_force(wanted: str | None, *, force: bool) -> bool | list[str]:
    """Return which languages to force.

    Raises:
        UsageError: when some are named and yet none is to be forced.
    """
    if wanted is None:
        return force
    if not force:
        raise click.UsageError("--languages names languages to force; leave out --no-force.")
    return [name.strip() for name in wanted.split(",") if name.strip()]


def named(error: voxray.VoxrayError, name: str) -> str:
    """Return what is wrong with a clip, with its name."""
    return str(error) if Path(name).name in str(error) else f"{name}: {error}"


def written(study: Any, out: Path, how: Mapping[str, Any]) -> list[Path]:
    """Write pictures and the table of every head; return their paths.

    Raises:
        OutputError: when one cannot be written.
    """
    kinds: list[Any] = [kind for kind in PICTURES if (kind != "forced" or study.forced) and (kind != "clips" or how["maps"])]
    style = {name: how[name] for name in ("theme", "dpi")}
    paths = []
    for kind in kinds:
        paths.append(out / f"languages-{kind}.{how['ending']}")
        voxray.plot.languages(study, kind=kind, path=paths[-1], **style)
    paths.append(out / "languages.csv")
    try:
        with paths[-1].open("w", encoding="utf-8", newline="") as stream:
            rows = study.rows()
            first = next(rows)
            writer = csv.DictWriter(stream, list(first))
            writer.writeheader()
            writer.writerow(first)
            writer.writerows(rows)
    except OSError as error:
        raise voxray.OutputError(f"{paths[-1]} cannot be written ({error.strerror}); choose another folder") from error
    return paths


# --- For people --------------------------------------------------------------------------------------------------------


def print_languages(study: Any, paths: Sequence[Path]) -> None:
    """Print languages side by side, what is known of the differences, and what was written."""
    from rich.markup import escape

    columns = columns_of(study, room())
    rows = table(f"{len(study.clips)} clips in {len(study.languages)} languages · {escape(study.model.name)}", *columns)
    for one in study.summaries:
        rows.add_row(*(escape(cell(one)) for cell in columns.values()))
    rows.caption_justify = "left"
    rows.caption = "\n".join(meaning for name, meaning in MEANINGS.items() if name in columns)
    show(rows)
    for line in (*differences(study), *study.notes, *map(str, paths)):
        click.echo(line)


def columns_of(study: Any, wide: int) -> dict[str, Callable[[Any], str]]:
    """Return the columns that have room, by their heads: each makes a cell of the summary of a language."""

    def figure(name: str, *, share: bool = False) -> Callable[[Any], str]:
        return lambda one: told(one.figures[name], wide, share=share)

    every: list[tuple[int, str, Callable[[Any], str]]] = [
        (0, "language", lambda one: str(one.language)),
        (0, ">clips", lambda one: str(one.clips)),
        (0, ">errors", figure("error_rate", share=True)),
        (0, ">confidence", figure("confidence")),
        (WIDER, ">weakest", figure("least_confidence")),
        (WIDER, ">tokens/s", figure("token_rate")),
        (WIDE, ">p(language)", figure("tag_probability")),
        (WIDE, ">entropy", figure("relative_entropy")),
        (MIDDLE, ">nearby", figure("near")),
        (MIDDLE, ">prompts", figure("prompt_mass")),
        (WIDEST, "heads", lambda one: head_counts(study, one.language)),
    ]
    every += [(0, "forced", lambda one: worst(study, one.language))] * bool(study.forced)
    return {name: cell for least, name, cell in every if wide >= least}


def told(interval: Any, wide: int, *, share: bool = False) -> str:
    """Return a figure with its interval, below it where there is little room."""
    if interval is None:
        return "-"
    factor, digits, sign = (100, 1, " %") if share else (1, 2, "")
    value = f"{factor * interval.value:.{digits}f}{sign}"
    if interval.low is None:
        return value
    return f"{value}{' ' if wide >= WIDEST else chr(10)}({factor * interval.low:.{digits}f}-{factor * interval.high:.{digits}f})"


def head_counts(study: Any, language: str) -> str:
    """Return how many heads do what."""
    counts = Counter(one.role for one in study.roles(language))
    return ", ".join(f"{count} {role}" for role, count in counts.most_common())


def worst(study: Any, language: str) -> str:
    """Return which forced language changes most of a language's texts, and how much."""
    changed = dict(zip(study.forced, study.matrix("changed")[study.languages.index(language)].tolist(), strict=True))
    there = {name: value for name, value in changed.items() if value == value and name != language}  # noqa: PLR0124 - NaN is no number
    name = max(there, key=lambda one: there[one], default=None)
    if name is None:
        return "-"
    return f"{name}: {100 * there[name]:.0f} %" if there[name] else "0 %"


def differences(study: Any) -> list[str]:
    """Return the differences between languages that chance does not explain, the surest first."""
    sure = sorted((one for one in study.contrasts if one.is_sure), key=lambda one: one.corrected)
    return [
        f"{one.figure.replace('_', ' ')}: {one.first} {one.values[0]:.3g}, {one.second} {one.values[1]:.3g} "
        f"(p = {one.corrected:.2g} after correction)"
        for one in sure
    ]
