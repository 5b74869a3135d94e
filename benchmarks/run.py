"""Time Voxray against the plain session and against sherpa-onnx on the full-size graph; measure a long file.

    python benchmarks/run.py [FOLDER] [--repeats 15] [--threads 2] [--minutes 20]

FOLDER holds what ``full_size.py`` makes (random weights, the topology of SenseVoice-Small); it is made if it is not there. Each
ratio stands beside the limit that the project sets itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import voxray
from bare import SAMPLE_RATE, FloatArray, speech_like
from plain_runtime import alternate, sherpa, table

# (what, against what, for how many seconds of sound) -> largest ratio
LIMITS = {
    ("trace", "session", 10): 1.10,
    ("trace", "session", 30): 1.15,
    ("transcribe", "sherpa-onnx", 10): 0.95,
    ("transcribe", "sherpa-onnx", 30): 0.95,
    ("trace", "sherpa-onnx", 10): 1.0,
    ("trace", "sherpa-onnx", 30): 1.0,
}


def recognisers(folder: Path, threads: int) -> Callable[[int], dict[str, Callable[[], object]]]:
    """Open everything once; return what makes the calls for a sound of so many seconds."""
    plain = voxray.load_model(folder / "sherpa" / "model.onnx", threads=threads)
    tracer = voxray.load_model(folder / "sherpa" / "model.onnx", threads=threads)
    other = sherpa(folder / "sherpa", threads)

    def calls(seconds: int) -> dict[str, Callable[[], object]]:
        sound = speech_like(seconds)
        values = tracer.trace(sound).features[0].values
        inputs = plain.feeds([values], "auto", textnorm=False)
        return {
            "session": lambda: plain.run(inputs, ["logits"]),
            "sherpa-onnx": lambda: other(sound),
            "transcribe": lambda: plain.transcribe(sound),
            "trace": lambda: tracer.trace(sound),
        }

    return calls


def verdicts(taken: Mapping[str, FloatArray], seconds: int) -> list[str]:
    """Return a line for each limit: the median ratio of the rounds, its quartiles, and whether it holds."""
    lines = []
    for (what, against, length), limit in LIMITS.items():
        if length == seconds:
            low, middle, high = np.quantile(taken[what] / taken[against], [0.25, 0.5, 0.75])
            held = "holds" if middle <= limit else "FAILS"
            lines.append(f"{what} / {against}, {seconds} s: {middle:.3f} [{low:.3f}-{high:.3f}], limit {limit:.2f}: {held}")
    return lines


def long_file(model: Path, minutes: float, threads: int) -> dict[str, float]:
    """Trace a long sound in this process; return seconds of sound, seconds taken, and memory in MB before and at the peak."""
    speech = speech_like(12.0, seed=1)
    pause = 1e-3 * np.random.default_rng(2).standard_normal(SAMPLE_RATE).astype(np.float32)
    sound = np.resize(np.concatenate([speech, pause]), round(minutes * 60 * SAMPLE_RATE))
    opened = voxray.load_model(model, threads=threads)
    opened.trace(speech)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of opening the model
    before = memory_of("VmRSS")
    started = time.perf_counter()
    trace = opened.trace(sound)
    taken = time.perf_counter() - started
    rows = trace.pieces[len(trace.pieces) // 2]
    again = trace.piece(len(trace.pieces) // 2).token_attention([0, 35, 69])
    return {
        "sound": len(sound) / SAMPLE_RATE,
        "taken": taken,
        "before": before,
        "peak": memory_of("VmHWM"),
        "pieces": len(trace.pieces),
        "rows": rows.rows[1] - rows.rows[0],
        "tokens": again.sizes["token"],
    }


def memory_of(what: str) -> float:
    """Return the memory of this process in MB, ``VmRSS`` now or ``VmHWM`` at its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(tempfile.gettempdir()) / "voxray-full-size")
    parser.add_argument("--repeats", type=int, default=15, help="rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of each runtime")
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the long file; 0 for none")
    parser.add_argument("--only-long", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_long:
        print(json.dumps(long_file(options.folder / "sherpa" / "model.onnx", options.minutes, options.threads)))
        return
    if not (options.folder / "sherpa" / "model.onnx").exists():
        subprocess.run([sys.executable, str(Path(__file__).parent / "full_size.py"), str(options.folder)], check=True)
    calls = recognisers(options.folder, options.threads)
    for seconds in (10, 30):
        taken = alternate(calls(seconds), options.repeats)
        print(f"\n{seconds} s of sound, {options.threads} threads, {options.repeats} rounds")
        print(table(taken, "session"))
        print("\n".join(verdicts(taken, seconds)), flush=True)
    if options.minutes:
        command = [sys.executable, __file__, str(options.folder), "--only-long", "--minutes", str(options.minutes)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"\ntrace of {found['sound'] / 60:.0f} min in {found['pieces']:.0f} pieces: {found['taken']:.0f} s, real-time factor "
            f"{found['taken'] / found['sound']:.3f}; peak memory {found['peak'] - found['before']:.0f} MB above the "
            f"{found['before']:.0f} MB of the opened model (limit 1000 MB)"
        )


if __name__ == "__main__":
    main()
