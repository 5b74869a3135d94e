"""Compare a device with the CPU: the same texts, how far posteriors, attention and relevance lie apart, and how long each takes.

    python benchmarks/devices.py DEVICE [MODEL...] [--clips DIR] [--speed]

DEVICE is what ``voxray.load_model(device=...)`` takes; the ONNX Runtime installed must be built for it. Without MODEL the bundled
one is compared, fp32 and int8; without a folder of clips the bundled ones are heard. Exits with 1 where a difference is larger than
``LIMITS``, those within which results count as the same. ``--speed`` also times both on the clips, joined and repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import voxray

BUNDLED = Path(voxray.__file__).parent / "assets"
# Two probabilities, and twice a share of the largest score; fp32. Relevance holds ReLU gates: one that stands at zero opens with
# the last bit, so that the CPU itself moves by 3e-3 where the sound changes by 3e-7 of itself. TF32 moves it by 3e-2.
LIMITS = {"posterior": 1e-2, "attention": 5e-3, "relevance": 1e-2, "occlusion": 1e-3}
LEAST = 1e-3  # logits or nats; where no score is as large, the model does not care and shares of it are noise
LENGTHS = (10, 30)  # seconds of sound
BATCH = 16
ROUNDS, PATIENCE = 5, 4.0  # calls, and seconds after which no further one begins


def apart(one: Any, two: Any, clip: Path) -> dict[str, float]:
    """Return how far two models lie apart on a clip: words that differ, and the largest difference of each kind."""
    first, second = one.trace(clip), two.trace(clip)
    found = {"text": float(first.text != second.text)}
    if first.log_probs.shape == second.log_probs.shape:
        found["posterior"] = float(np.abs(np.exp(first.log_probs) - np.exp(second.log_probs)).max())
        layers = [0, one.layers // 2, one.layers - 1]
        looks = [trace.evidence[0].attention(layers) for trace in (first, second)]
        found["attention"] = float(np.abs(looks[0] - looks[1]).max())
    if first.words and not found["text"]:
        methods = {"occlusion": "occlusion"} | ({"relevance": "exact"} if first.decoder is None else {})
        for name, method in methods.items():
            maps = [voxray.explain(*pair, "word:0", method=method).scores for pair in ((one, first), (two, second))]
            found[name] = float(np.abs(maps[0] - maps[1]).max() / max(np.abs(maps[0]).max(), LEAST))
    return found


def compare(model: Path, device: str, clips: Sequence[Path]) -> bool:
    """Print the differences over all clips; return whether they are small enough."""
    one, two = voxray.load_model(model, device="cpu"), voxray.load_model(model, device=device)
    found = [apart(one, two, clip) for clip in clips]
    worst = {name: max(part.get(name, 0.0) for part in found) for name in LIMITS}
    texts = int(sum(part["text"] for part in found))
    told = two.describe()
    parts = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    print(
        f"{told['name']} ({told['precision']}) on {told['device']}: {texts} of {len(clips)} texts differ; largest: {parts}",
        flush=True,
    )
    return texts == 0 and all(worst[name] <= limit for name, limit in LIMITS.items())


def race(model: Path, device: str, clips: Sequence[Path]) -> None:
    """Print how long the CPU and the device take for each kind of work on sounds of each length."""
    joined = np.concatenate([voxray.load_audio(clip).samples for clip in clips])
    for name in ("cpu", device):
        opened = voxray.load_model(model, device=name)
        for seconds in LENGTHS:
            sound = np.resize(joined, seconds * 16_000)
            calls = work(opened, sound) | (reasons(opened, sound) if seconds == LENGTHS[0] else {})
            parts = ", ".join(f"{what} {timed(call) * 1e3:.1f} ms" for what, call in calls.items())
            print(f"  {seconds} s of sound on {name}: {parts}", flush=True)


def work(model: Any, sound: Any) -> dict[str, Callable[[], object]]:
    """Return the calls that recognise a sound."""
    return {
        "transcribe": lambda: model.transcribe(sound),
        f"{BATCH} at once": lambda: model.transcribe_batch([sound] * BATCH, batch_size=BATCH),
        "trace": lambda: model.trace(sound),
    }


def reasons(model: Any, sound: Any) -> dict[str, Callable[[], object]]:
    """Return the calls that explain the first word of a sound; none where no word is heard."""
    trace = model.trace(sound)
    methods = ["occlusion"] + ["exact"] * (trace.decoder is None) if trace.words else []
    return {name: lambda name=name: voxray.explain(model, trace, "word:0", method=name) for name in methods}


def timed(call: Callable[[], object]) -> float:
    """Return the median seconds that a call takes; the first one, which may open a session, does not count."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) <= ROUNDS and sum(taken[1:]) < PATIENCE):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[1:]))


def main() -> None:
    """Read the command line and print a line for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("device")
    parser.add_argument("models", type=Path, nargs="*", default=sorted((BUNDLED / "model").glob("*.onnx")))
    parser.add_argument("--clips", type=Path, default=BUNDLED / "clips")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    clips = sorted(options.clips.glob("*.wav"))
    held = []
    for model in options.models:
        held.append(compare(model, options.device, clips))
        if options.speed:
            race(model, options.device, clips)
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
