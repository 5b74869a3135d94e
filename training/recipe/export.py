"""Write a trained run as FunASR and sherpa-onnx publish their models: ``python -m recipe.export RUN OUT``.

OUT/funasr and OUT/sherpa are made, fp32 and int8. Needs FunASR, whose own model class and exporter do the writing.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from recipe import layouts
from recipe.model import Size
from recipe.tokens import vocabulary

AUTHOR = "voxray"
COMMENT = "a small SenseVoice trained on synthetic speech; the recipe is in Voxray's repository"


def export(run: Path, out: Path) -> None:
    """Load a run's weights into FunASR's class and write both layouts.

    Args:
        run: folder with ``model.pt``, or a ``checkpoint.pt`` of an unfinished run, and ``cmvn.npz``.
        out: folder to write to.

    Raises:
        SystemExit: if the run has no weights yet.
    """
    weights = next((path for path in (run / "model.pt", run / "checkpoint.pt") if path.exists()), None)
    if weights is None:
        raise SystemExit(f"{run} holds neither model.pt nor checkpoint.pt; train first: python -m recipe.train {run}")
    state = torch.load(weights, weights_only=True)
    config = layouts.config(**asdict(Size()))
    config["frontend_conf"]["dither"] = 0.0  # the same sound gives the same features
    model = layouts.build(config, len(vocabulary()))
    model.load_state_dict(state.get("model", state))
    with np.load(run / "cmvn.npz") as cmvn:
        description = layouts.Description(vocabulary(), cmvn["shift"], cmvn["scale"], config, AUTHOR, COMMENT)
    layouts.write(model.export(device="cpu"), description, out, int8=True)


def main() -> None:
    """Read the command line and say what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, help="folder to write to")
    options = parser.parse_args()
    export(options.run, options.out)
    for path in sorted(options.out.rglob("*.*")):
        print(f"{path.stat().st_size:>12,} {path}")


if __name__ == "__main__":
    main()
