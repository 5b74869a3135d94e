"""The command line: ``python -m recipe train RUN`` and what follows it."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from recipe.plan import PLANS

FOLDER = click.Path(file_okay=False, path_type=Path)
MODEL = click.Path(exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def main() -> None:
    """Run the command line; anything that the user can mend ends as one line and exit code 2."""
    try:
        commands.main(prog_name="python -m recipe", standalone_mode=False)
    except click.exceptions.Abort:
        _end("stopped; the same command goes on from the last whole epoch", 130)
    except click.ClickException as error:
        _end(error.format_message(), 2)
    except (OSError, ValueError) as error:
        _end(str(error), 2)
    except ModuleNotFoundError as error:
        _end(f"{error.name} is needed; install it with: pip install -e '.[train]'", 2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def commands() -> None:
    """Make the bundled model: train it, write it, compare it, measure it."""


@commands.command()
@click.argument("run", type=FOLDER)
@click.option("--epochs", type=click.IntRange(min=1), help="Default: what the plan of this machine's device says.")
def train(run: Path, epochs: int | None) -> None:
    """Train in the folder RUN, or go on with what was begun there."""
    from recipe import train as training

    machine = training.here()
    click.echo(f"training on {machine.device}, {machine.threads} thread(s), {machine.makers} process(es) making speech")
    plan = PLANS[machine.device]
    training.train(run, replace(plan, epochs=epochs or plan.epochs), machine)


@commands.command()
@click.argument("run", type=FOLDER)
@click.argument("out", type=FOLDER)
def export(run: Path, out: Path) -> None:
    """Write the weights of RUN to OUT/funasr and OUT/sherpa, fp32 and int8."""
    from recipe.export import export as write

    click.echo(f"epoch {write(run, out)}")
    for path in sorted(out.rglob("*.*")):
        click.echo(f"{path.stat().st_size:>12,} {path}")


@commands.command()
@click.argument("exported", type=FOLDER)
@click.option("--clips", "count", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--out", type=FILE, help="Where to keep the texts.")
def agree(exported: Path, count: int, out: Path | None) -> None:
    """Compare Voxray with funasr_onnx and sherpa-onnx on what export wrote."""
    from recipe.agreement import compare

    found = compare(exported, count)
    for name, different in found["different"].items():
        click.echo(f"{name}: {different} of {count} texts differ from Voxray's")
    _write(out, found)


@commands.command()
@click.argument("models", type=MODEL, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the sounds and truth.json.")
def clips(models: tuple[Path, ...], out: Path) -> None:
    """Draw the bundled clips, on which all MODELS must agree."""
    import voxray
    from recipe.demo_clips import draw

    for line in draw([voxray.load_model(path) for path in models], out):
        click.echo(line)


@commands.command()
@click.argument("models", type=MODEL, nargs=-1, required=True)
@click.option("--per-language", type=click.IntRange(min=1), default=100, show_default=True, help="Clips a language in each set.")
@click.option("--out", type=FILE, help="Where to write the figures as JSON.")
def evaluate(models: tuple[Path, ...], per_language: int, out: Path | None) -> None:
    """Measure MODELS on speech whose truth is known; the figures are named by precision."""
    import voxray
    from recipe.evaluate import SEED, summary
    from recipe.evaluate import evaluate as measure

    opened = {model.info.precision: model for model in (voxray.load_model(path) for path in models)}
    sets = measure(opened, per_language)
    for line in summary(sets):
        click.echo(line)
    shas = {name: model.info.sha256 for name, model in opened.items()}
    _write(out, {"seed": SEED, "models": {name: {"sha256": shas[name], "sets": found} for name, found in sets.items()}})


@commands.command()
@click.argument("model", type=FOLDER)
@click.option("--figures", type=FILE, required=True, help="What evaluate wrote of the folder's two models.")
@click.option("--log", type=FILE, required=True, help="The run's log.csv; the curve is drawn beside it.")
def card(model: Path, figures: Path, log: Path) -> None:
    """Write the README.md of the folder MODEL, and the learning curve."""
    from recipe.card import curve, text

    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measured = json.loads(figures.read_text(encoding="utf-8"))
    (model / "README.md").write_text(text(model, measured["models"], rows), encoding="utf-8")
    curve(rows, log.with_name("curve.png"))


def _write(path: Path | None, values: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _end(message: str, code: int) -> None:
    click.echo(f"recipe: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
