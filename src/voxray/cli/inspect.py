"""The command ``inspect``: what a model file is made of."""

from __future__ import annotations

import json
from typing import Any

import click

import voxray
from voxray.cli.models import MODEL
from voxray.cli.options import DEVICE
from voxray.cli.tables import show, table


@click.command()
@click.argument("model", required=False, type=MODEL)
@DEVICE
@click.option("--describe", is_flag=True, help="Print the draft of a voxray.toml, by which Voxray opens a model it does not know.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def inspect(model: str | None, device: str, describe: bool, as_json: bool) -> None:  # noqa: FBT001
    """Show what a model file is made of.

    Without MODEL: the bundled one. Opening a model proves it: the differences that were measured are shown.
    """
    if describe:
        if model is None:
            raise click.UsageError("--describe needs the model that shall be described.")
        click.echo(voxray.draft_description(model), nl=False)
        return
    told = voxray.load_model(model, device=device).describe()
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        print_anatomy(told)


def print_anatomy(told: dict[str, Any]) -> None:
    """Print what a model is made of."""
    facts = table(f"{told['name']}", "", "")
    facts.show_header = False
    for name in (
        "family",
        "layout",
        "precision",
        "opset",
        "vocabulary",
        "layers",
        "heads",
        "width",
        "languages",
        "sha256",
        "device",
    ):
        if name in told:
            value = told[name]
            facts.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    for reason, count in told.get("left_out", {}).items():
        facts.add_row("left out", f"{count} x {reason}")
    facts.add_row("logits, probed against plain", f"{told['logit_difference']:.1e} largest difference")
    decoder = told.get("decoder", {}).get("blocks", [])
    show(facts, layers_of(told["blocks"]), *([layers_of(decoder, "decoder: cross-attention")] if decoder else []))


def layers_of(blocks: list[dict[str, Any]], title: str = "") -> Any:
    """Return a table of layers: of SANM with all their parts, of others what is known of them."""
    known = {"width_in": "in", "width": "out", "taps": "taps", "feed_forward": "ffn"}
    columns = [name for name in known if all(name in one for one in blocks)]
    residual = ["residual"] if columns else []
    layers = table(title, ">#", "module", *(f">{known[name]}" for name in columns), *residual, ">rebuilt to")
    for one in blocks:
        stream = ["yes" if one["residual"] else "no"] if residual else []
        layers.add_row(
            str(one["index"]), one["label"], *(str(one[name]) for name in columns), *stream, f"{one['rebuild_error']:.1e}"
        )
    return layers
