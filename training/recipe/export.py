"""A trained run, written as FunASR and sherpa-onnx publish their models; FunASR's own class and exporter do the writing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from recipe import layouts
from recipe.plan import Size
from recipe.tokens import vocabulary
from recipe.train import CHECKPOINT, CMVN

AUTHOR = "voxray"
COMMENT = "a small SenseVoice trained on synthetic speech; the recipe is in Voxray's repository"


def export(run: Path, out: Path) -> int:
    """Load a run's weights into FunASR's class and write ``out/funasr`` and ``out/sherpa``.

    Args:
        run: folder of a run, finished or not.
        out: folder to write to.

    Returns:
        The epochs that the weights have seen.

    Raises:
        ValueError: if the run has no weights yet.
    """
    if not (run / CHECKPOINT).exists():
        raise ValueError(f"{run} holds no {CHECKPOINT}; train first: python -m recipe train {run}")
    state = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    config = layouts.config(**asdict(Size()))
    config["frontend_conf"]["dither"] = 0.0  # the same sound gives the same features
    model = layouts.build(config, len(vocabulary()))
    model.load_state_dict(state["model"])
    with np.load(run / CMVN) as cmvn:
        description = layouts.Description(vocabulary(), cmvn["shift"], cmvn["scale"], config, AUTHOR, COMMENT)
    layouts.write(model.export(device="cpu"), description, out, int8=True)
    return int(state["epoch"])
