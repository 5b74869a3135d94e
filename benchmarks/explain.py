"""Time explanations against the plain session on the full-size graph, and measure their memory.

    python benchmarks/explain.py [FOLDER] [--repeats 7] [--threads 2]

FOLDER holds what ``full_size.py`` makes (random weights, the topology of SenseVoice-Small); it is made if it is not there. Ten
seconds of sound; each call has a model of its own where sessions would otherwise be exchanged. Each ratio stands beside the limit
that the project sets itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import voxray
from bare import FloatArray, speech_like
from plain_runtime import alternate
from run import memory_of

SECONDS = 10
WORDS = 12
# what -> largest ratio to one plain run
LIMITS = {
    "exact, with its own trace": 2.3,
    "exact, one more target of the trace": 1.15,
    "every word from every word (12)": 16.0,
    "norm_rollout, all tokens, own trace": 1.5,
    "occlusion of 40 segments": 42.0,
}


def calls(folder: Path, threads: int) -> dict[str, Callable[[], object]]:
    """Open everything once; return what to time. The random model's own text stands for words."""
    path, sound = folder / "sherpa" / "model.onnx", speech_like(SECONDS)
    plain, owner, tracer, mixer = (voxray.load_model(path, threads=threads) for _ in range(4))
    feeds = plain.feeds([plain.trace(sound).features[0].values], "auto", textnorm=False)
    trace = tracer.trace(sound, gradients=True)
    tokens = [f"token:{index}" for index in range(len(trace.tokens))]
    targets = [tokens[index % len(tokens)] for index in range(WORDS)]
    hop = trace.audio.duration / 40 + 1e-3  # forty windows, the last one not quite full
    return {
        "session": lambda: plain.run(feeds, ["logits"]),
        "exact, with its own trace": lambda: voxray.explain(owner, sound, tokens[0]),
        "exact, one more target of the trace": lambda: voxray.explain(tracer, trace, tokens[0]),
        "every word from every word (12)": lambda: voxray.explain(owner, sound, targets),
        "norm_rollout, all tokens, own trace": lambda: voxray.explain(mixer, sound, tokens, method="norm_rollout"),
        "occlusion of 40 segments": lambda: voxray.explain(plain, trace, tokens[0], method="occlusion", width=hop, hop=hop),
    }


def verdict(what: str, taken: Mapping[str, FloatArray]) -> str:
    """Return a line: the median ratio of the rounds, its quartiles, and whether the limit holds."""
    low, middle, high = np.quantile(taken[what] / taken["session"], [0.25, 0.5, 0.75])
    held = "holds" if middle <= LIMITS[what] else "FAILS"
    return f"{what} / session: {middle:.2f} [{low:.2f}-{high:.2f}], limit {LIMITS[what]:g}: {held}"


def peak(model: Path, threads: int, *, how: str) -> dict[str, float]:
    """Return memory of this process in MB at its peak, and what is private at the end: ``plain`` runs, ``exact`` or ``lean``."""
    sound = speech_like(SECONDS)
    opened: Any = voxray.load_model(model, threads=threads)
    feeds = opened.feeds([opened.trace(sound).features[0].values], "auto", textnorm=False)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of opening the model
    if how == "plain":
        opened.run(feeds, ["logits"])
    else:
        opened.lean = how == "lean"
        voxray.explain(opened, sound, "token:0")
    return {"peak": memory_of("VmHWM"), "private": memory_of("RssAnon")}


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(tempfile.gettempdir()) / "voxray-full-size")
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of each runtime")
    parser.add_argument("--only-memory", choices=["plain", "exact", "lean"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = options.folder / "sherpa" / "model.onnx"
    if options.only_memory:
        print(json.dumps(peak(model, options.threads, how=options.only_memory)))
        return
    if not model.exists():
        subprocess.run([sys.executable, str(Path(__file__).parent / "full_size.py"), str(options.folder)], check=True)
    peaks = {}
    for how in ("plain", "exact", "lean"):
        command = [sys.executable, __file__, str(options.folder), "--only-memory", how, "--threads", str(options.threads)]
        peaks[how] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    plain = peaks.pop("plain")
    print(f"memory of plain runs: at its peak {plain['peak']:.0f} MB, private {plain['private']:.0f} MB")
    for how, found in peaks.items():
        more = {name: found[name] - plain[name] for name in plain}
        print(f"{how}: at its peak {more['peak']:.0f} MB more (limit 1500 MB), private {more['private']:.0f} MB more")
    timed = calls(options.folder, options.threads)
    print(f"\n{SECONDS} s of sound, {options.threads} threads, {options.repeats} rounds, each call by turns with a plain run")
    plainly = timed.pop("session")
    for what, call in timed.items():
        print(verdict(what, alternate({"session": plainly, what: call}, options.repeats)))


if __name__ == "__main__":
    main()
