"""Time the evaluation of a corpus: what a second process brings, and what counting errors costs beside recognising alone.

    PYTHONPATH=training python benchmarks/evaluate.py [--clips 100] [--copies 12] [--rounds 5] [--model PATH]

Clips are said by eSpeak NG (``voxray.truespeech``) in five languages, with noise, rooms and events, and evaluated without causes.

- Throughput: the same manifest (every clip ``--copies`` times) is evaluated by one and by two processes, in turn, and clips a
  second are counted once every worker is at work; the whole call, with opening the model in each process, is told beside it.
- Overhead: in one process and with one thread, each round goes through all clips twice, in a new order each time: plain
  ``model.transcribe``, and all that a run does for a clip (recognise, align, count, write the line).

Ratios are taken within a round, so that a busy machine slows both sides; their medians stand beside the limits that the project
sets itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import voxray
from bare import FloatArray
from plain_runtime import alternate, table
from voxray.manifest import Item, read_manifest
from voxray.studies.corpus import evaluate, opened
from voxray.studies.folder import RunFolder
from voxray.studies.why import Inquiry
from voxray.studies.workers import Job, Worker
from voxray.truespeech.clip import Clip, Recipe
from voxray.truespeech.workers import clips

RATE = 16_000
ALONE = Inquiry(evidence=False, causes=False)
LEAST_GAIN = 1.7  # times the throughput, of two processes
MOST_COST = 1.3  # times plain recognition


@dataclass(frozen=True, slots=True)
class Timed:
    """One evaluation: clips a second once all workers are at work, and seconds of the whole call."""

    throughput: float
    whole: float


def line_of(number: int, clip: Clip) -> dict[str, object]:
    """Return what a manifest says of a clip, its path left out."""
    words = [{"word": word.text, "start": word.start / RATE, "end": word.end / RATE} for word in clip.words]
    labels = {"language": clip.language, "emotion": clip.emotion, "event": clip.event}
    return {"id": f"{number:06}", "text": clip.text, "words": words, **labels}


def corpus(folder: Path, count: int, copies: int) -> Path:
    """Write clips and a manifest that names each of them several times."""
    lines = []
    for number, clip in enumerate(clips(Recipe(silent=0.0), 5, count)):
        clip.write(folder / f"{number:04}.wav")
        lines.append(line_of(number, clip) | {"audio": f"{number:04}.wav"})
    every = [line | {"id": f"{line['id']}-{copy}"} for copy in range(copies) for line in lines]
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in every), encoding="utf-8")
    return path


def timed(manifest: Path, model: Path | None, processes: int) -> Timed:
    """Evaluate a manifest once."""
    moments = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as out:
        evaluate(
            manifest,
            out,
            model=model,
            inquiry=ALONE,
            processes=processes,
            progress=lambda *_: moments.append(time.perf_counter()),
        )
    whole = time.perf_counter() - moments[0]
    settled = moments[1 + len(moments) // 10 :]  # by then every worker has opened its model
    return Timed((len(settled) - 1) / (settled[-1] - settled[0]), whole)


def throughput(manifest: Path, model: Path | None, rounds: int) -> list[tuple[Timed, Timed]]:
    """Evaluate by one and by two processes in turn; the first to go changes each round."""
    found = []
    for number in range(rounds):
        order = (1, 2) if number % 2 else (2, 1)
        taken = {processes: timed(manifest, model, processes) for processes in order}
        found.append((taken[1], taken[2]))
    return found


def passes(items: Sequence[Item], model: Path | None, folder: RunFolder) -> dict[str, Callable[[], object]]:
    """Return the two passes over all clips."""
    plain = voxray.load_model(model, threads=1)
    worker = Worker(Job(model, 1, ALONE, opened))
    told = worker.open()
    if isinstance(told, Exception):
        raise told

    def recognise() -> None:
        for item in items:
            plain.transcribe(item.audio)

    def examine() -> None:
        for item in items:
            folder.append(worker.line(item).text)

    return {"transcribe": recognise, "evaluate": examine}


def verdict(what: str, ratios: FloatArray, limit: float, *, at_most: bool) -> str:
    """Return a line: median and quartiles of a ratio, its limit, and whether it holds."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    held = middle <= limit if at_most else middle >= limit
    word = "at most" if at_most else "at least"
    return f"{what}: {middle:.2f} [{low:.2f}-{high:.2f}], {word} {limit:g}: {'holds' if held else 'FAILS'}"


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=100, help="different clips")
    parser.add_argument("--copies", type=int, default=12, help="of each clip, for the throughput")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="an .onnx file or its folder; default: the bundled model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        manifest = corpus(Path(name), options.clips, options.copies)
        items = read_manifest(manifest).items
        with RunFolder(Path(name) / "run") as folder:
            taken = alternate(passes(items[: options.clips], options.model, folder), options.rounds)
        print(f"{options.clips} clips, one process, one thread, {options.rounds} rounds")
        print(table(taken, "transcribe"))
        print(verdict("evaluate / transcribe", taken["evaluate"] / taken["transcribe"], MOST_COST, at_most=True))
        found = throughput(manifest, options.model, options.rounds)
        print(f"\n{len(items)} clips, {options.rounds} rounds")
        for processes, runs in zip((1, 2), zip(*found, strict=True), strict=True):
            rate, whole = (float(np.median(values)) for values in zip(*((one.throughput, one.whole) for one in runs), strict=True))
            print(f"{processes} process{'es' * (processes > 1)}: {rate:.1f} clips a second, whole call {whole:.1f} s")
        gains = np.array([b.throughput / a.throughput for a, b in found])
        print(verdict("throughput, 2 / 1 processes", gains, LEAST_GAIN, at_most=False))


if __name__ == "__main__":
    main()
