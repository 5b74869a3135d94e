"""Compare a device with the CPU: the same texts, and how far posteriors, attention and relevance lie apart.

    python benchmarks/devices.py DEVICE [MODEL...] [--clips DIR]

DEVICE is what ``voxray.load_model(device=...)`` takes; the ONNX Runtime installed must be built for it. Without MODEL the bundled
one is compared, fp32 and int8; without a folder of clips the bundled ones are heard. Exits with 1 where a difference is larger than
``LIMITS``, those within which results count as the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import voxray

BUNDLED = Path(voxray.__file__).parent / "assets"
LIMITS = {"posterior": 1e-2, "attention": 5e-3, "relevance": 1e-3}  # probability, probability, of the largest score; fp32


def apart(one: Any, two: Any, clip: Path) -> dict[str, float]:
    """Return how far two models lie apart on a clip: words that differ, and the largest difference of each kind."""
    first, second = one.trace(clip), two.trace(clip)
    found = {"text": float(first.text != second.text)}
    if first.log_probs.shape == second.log_probs.shape:
        found["posterior"] = float(np.abs(np.exp(first.log_probs) - np.exp(second.log_probs)).max())
        layers = [0, one.layers // 2, one.layers - 1]
        looks = [trace.evidence[0].attention(layers) for trace in (first, second)]
        found["attention"] = float(np.abs(looks[0] - looks[1]).max())
    if first.decoder is None and first.words and not found["text"]:
        maps = [voxray.explain(model, trace, "word:0").scores for model, trace in ((one, first), (two, second))]
        found["relevance"] = float(np.abs(maps[0] - maps[1]).max() / np.abs(maps[0]).max())
    return found


def compare(model: Path, device: str, clips: Sequence[Path]) -> bool:
    """Print the differences over all clips; return whether they are small enough."""
    one, two = voxray.load_model(model, device="cpu"), voxray.load_model(model, device=device)
    found = [apart(one, two, clip) for clip in clips]
    worst = {name: max(part.get(name, 0.0) for part in found) for name in LIMITS}
    texts = int(sum(part["text"] for part in found))
    told = two.describe()
    parts = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    print(f"{told['name']} ({told['precision']}) on {told['device']}: {texts} of {len(clips)} texts differ; largest: {parts}")
    return texts == 0 and all(worst[name] <= limit for name, limit in LIMITS.items())


def main() -> None:
    """Read the command line and print a line for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("device")
    parser.add_argument("models", type=Path, nargs="*", default=sorted((BUNDLED / "model").glob("*.onnx")))
    parser.add_argument("--clips", type=Path, default=BUNDLED / "clips")
    options = parser.parse_args()
    clips = sorted(options.clips.glob("*.wav"))
    held = [compare(model, options.device, clips) for model in options.models]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
