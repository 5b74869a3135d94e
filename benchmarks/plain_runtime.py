"""Time the bare runtime: the model file alone, the file with its attention exposed, sherpa-onnx, and the least Python.

    python benchmarks/plain_runtime.py FOLDER [--seconds 10 30] [--repeats 15] [--threads 2]

FOLDER is what ``full_size.py`` made. Everything runs in turn, in a new order each round, so that a busy machine slows all of
them alike; ratios are taken within a round, and the quartiles tell how far to trust them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bare import SAMPLE_RATE, Bare, FloatArray, feeds, open_session, speech_like

Calls = Mapping[str, Callable[[], object]]
PAUSE = 0.03  # s; threads of one runtime spin for a while after its run and would steal from the next


def alternate(calls: Calls, repeats: int, seed: int = 0) -> dict[str, FloatArray]:
    """Time each call once a round, in a shuffled order; return the seconds (repeats,) of each. The first round is dropped."""
    rng = np.random.default_rng(seed)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name in rng.permutation(list(calls)):
            time.sleep(PAUSE)
            started = time.perf_counter()
            calls[name]()
            taken[name].append(time.perf_counter() - started)
    return {name: np.array(values[1:]) for name, values in taken.items()}


def table(taken: Mapping[str, FloatArray], reference: str) -> str:
    """Return one line a call: best and median time, and the ratio to the reference in the same round with its quartiles."""
    lines = [f"{'':34} {'best':>9} {'median':>9}   ratio to {reference}"]
    for name, seconds in taken.items():
        low, middle, high = np.quantile(seconds / taken[reference], [0.25, 0.5, 0.75])
        times = f"{seconds.min() * 1e3:6.1f} ms {np.median(seconds) * 1e3:6.1f} ms"
        lines.append(f"{name:34} {times}   {middle:.3f} [{low:.3f}-{high:.3f}]")
    return "\n".join(lines)


def expose(model: bytes, op: str = "Softmax") -> tuple[bytes, list[str]]:
    """Make the result of every node of one kind an output; return the new model's bytes and the names, in graph order.

    Nothing is parsed into a new model: a protobuf message is the sum of its pieces, so a second, tiny message with further
    outputs is put behind the first. **Source:** the protobuf encoding, "Last One Wins" (repeated fields are joined).
    """
    import onnx

    names = [node.output[0] for node in onnx.load_from_string(model).graph.node if node.op_type == op]
    more = onnx.ModelProto()
    for name in names:
        more.graph.output.add(name=name)
    return model + more.SerializeToString(), names


def sherpa(folder: Path, threads: int) -> Callable[[FloatArray], str]:
    """Open sherpa-onnx's own recogniser; calling it turns a sound (S,) into text."""
    import sherpa_onnx

    recogniser = sherpa_onnx.OfflineRecognizer.from_sense_voice(
        model=str(folder / "model.onnx"),
        tokens=str(folder / "tokens.txt"),
        num_threads=threads,
        language="auto",
        use_itn=False,
    )

    def recognise(sound: FloatArray) -> str:
        stream = recogniser.create_stream()
        stream.accept_waveform(SAMPLE_RATE, sound)
        recogniser.decode_stream(stream)
        return str(stream.result.text)

    return recognise


def runtimes(folder: Path, threads: int) -> Callable[[float], Calls]:
    """Open every runtime once; return what makes the calls for a sound of so many seconds."""
    bare = Bare.open(folder / "funasr", threads)
    model, names = expose((folder / "funasr" / "model.onnx").read_bytes())
    exposed = open_session(model, threads)
    other = sherpa(folder / "sherpa", threads)

    def calls(seconds: float) -> dict[str, Callable[[], Any]]:
        sound = speech_like(seconds)
        inputs = feeds(bare.features(sound))
        return {
            "session, logits": lambda: bare.session.run(["ctc_logits"], inputs),
            f"exposed, logits and {len(names)} maps": lambda: exposed.run(["ctc_logits", *names], inputs),
            "exposed, logits only": lambda: exposed.run(["ctc_logits"], inputs),
            "sherpa-onnx, sound to text": lambda: other(sound),
            "bare Python, sound to text": lambda: bare(sound),
        }

    return calls


def main() -> None:
    """Read the command line and print a table for each length."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="what full_size.py made")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 30.0], help="lengths of the sounds")
    parser.add_argument("--repeats", type=int, default=15, help="rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of each runtime")
    options = parser.parse_args()
    calls = runtimes(options.folder, options.threads)
    for seconds in options.seconds:
        taken = alternate(calls(seconds), options.repeats)
        print(f"\n{seconds:g} s of sound, {options.threads} threads, {options.repeats} rounds")
        print(table(taken, "sherpa-onnx, sound to text"), flush=True)


if __name__ == "__main__":
    main()
