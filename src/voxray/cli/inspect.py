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
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def inspect(model: str | None, device: str, as_json: bool) -> None:  # noqa: FBT001
    """Show what a model file is made of.

    Without MODEL: the bundled one. Opening a model proves it: the differences that were measured are shown.
    """
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
        value = told[name]
        facts.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    facts.add_row("logits, probed against plain", f"{told['logit_difference']:.1e} largest difference")
    layers = table("", ">#", "module", ">in", ">out", ">taps", ">ffn", "residual", ">rebuilt to")
    for one in told["blocks"]:
        layers.add_row(
            str(one["index"]), one["label"], str(one["width_in"]), str(one["width"]), str(one["taps"]),
            str(one["feed_forward"]), "yes" if one["residual"] else "no", f"{one['rebuild_error']:.1e}",
        )  # fmt: skip
    show(facts, layers)
