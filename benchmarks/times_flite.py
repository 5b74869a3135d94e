"""When do words begin and end in speech of another kind? The rules of ``benchmarks/times.py`` on a synthesiser made of recordings.

    python benchmarks/times_flite.py [--flite flite] [--sentences 100] [--write]

Flite (Debian package ``flite``) speaks with the voices of four people: ``slt``, ``rms`` and ``awb`` are statistical models of their
recordings, ``kal16`` is cut out of them. Neither the bundled model nor the network of seams ever heard any of it, and the model
understands little; so the words that it gets right stand among wrong ones. Flite tells where each phone ends. A sentence counts if
its words have as many phones as they have alone. Flite counts the closure of a plosive to the plosive, the truth of the training
data to the word before; starts at a plosive and the ends before them are therefore left out.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

import voxray
from times import OTHER, RATE, RULES, WINNER, Errors, row, said_of, write
from voxray.measures.boundaries import spelled
from voxray.truespeech.lexicon import lexicon
from voxray.types import Audio, FloatArray

VOICES = ("slt", "rms", "awb", "kal16")
PLOSIVES = ("p", "t", "k", "b", "d", "g", "ch", "jh")
MARK = "<!-- flite -->"
SEED, MOST = 3, 0.75
Truth = list[tuple[str, float, float, str]]
"""Words, their start and end in seconds, and their first phone."""


@cache
def phones(program: str, word: str) -> int:
    """Return how many phones a word has alone."""
    told = subprocess.run([program, "-voice", "slt", "-t", word, "-o", "none", "-ps"], capture_output=True, text=True, check=True)
    return sum(phone != "pau" for phone in told.stdout.split())


def say(program: str, voice: str, words: list[str]) -> tuple[FloatArray, Truth] | None:
    """Return a sentence's sound at 16 kHz and its truth; None where its phones cannot be told apart by words."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = [program, "-voice", voice, "-t", " ".join(words), "-o", str(path), "-psdur"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        samples, rate = soundfile.read(path, dtype="float32")
    ends = [(name, float(end)) for name, _, end in (one.partition(":") for one in told)]
    spoken = [at for at, (name, _) in enumerate(ends) if name != "pau"]
    counts = [phones(program, word) for word in words]
    if len(spoken) != sum(counts):
        return None
    truth, at = [], 0
    for word, count in zip(words, counts, strict=True):
        first, last = spoken[at], spoken[at + count - 1]
        truth.append((word, ends[first - 1][1] if first else 0.0, ends[last][1], ends[first][0]))
        at += count
    return (samples if rate == RATE else soxr.resample(samples, rate, RATE)), truth


def sentences(program: str, count: int) -> Iterator[tuple[FloatArray, Truth]]:
    """Yield sentences in every voice."""
    rng, words = np.random.default_rng(SEED), lexicon("en")
    for voice in VOICES:
        for _ in range(count):
            drawn = words.in_open_order(rng, int(rng.integers(3, 7))) if rng.random() < 0.6 else words.in_pattern(rng)
            said = say(program, voice, [entry.written for entry in drawn])
            if said is not None:
                hiss = 1e-4 * rng.standard_normal(len(said[0])).astype(np.float32)
                yield said[0] + hiss, said[1]


def errors(truth: Truth, found: list[str], spans: list[tuple[float, float]]) -> Errors:
    """Return the errors of spans; what a plosive moves is left out."""
    starts, ends, right = [], [], spelled(found, [word for word, *_ in truth])
    for index, first, last in right:
        if truth[index][3] not in PLOSIVES:
            starts.append(spans[first][0] - truth[index][1])
        if not any(phone in PLOSIVES for *_, phone in truth[index + 1 : index + 2]):
            ends.append(spans[last][1] - truth[index][2])
    return Errors("sentence", "en", np.array(starts), np.array(ends), len(truth), len(right))


def main() -> None:
    """Measure and print, and write where it is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--flite", default="flite")
    asked.add_argument("--sentences", type=int, default=100)
    asked.add_argument("--write", action="store_true")
    how, model = asked.parse_args(), voxray.load_model(threads=1)
    names = (OTHER, "odds alone", WINNER)
    result: dict[str, list[Errors]] = {name: [] for name in names}
    for samples, truth in sentences(how.flite, how.sentences):
        trace = model.trace(Audio(samples), language="en", layers=())
        said, found = said_of(trace), [word.text for word in trace.words]
        for name in names:
            result[name].append(errors(truth, found, RULES[name](said) if found else []))
    lines = []
    for title, least in (("every sentence", 0.0), ("sentences of which three words in four are right", MOST)):
        kept = {name: [one for one in every if one.right >= least * one.words] for name, every in result.items()}
        counts = [sum(getattr(one, what) for one in kept[WINNER]) for what in ("words", "right")]
        lines += ["", f"Flite, {title}: {len(kept[WINNER])} sentences, {counts[0]} words, {counts[1]} recognised right.", ""]
        lines += ["| rule | start: mean | median | bias | in 20 / 50 / 100 | end: mean | median | bias | in 20 / 50 / 100 | F1 |"]
        lines += ["|---" * 10 + "|", *(row(name, every) for name, every in kept.items())]
    text = "\n".join(lines).strip() + f"\n\nSeed {SEED}.\n"
    print(text)
    if how.write:
        write(text, MARK)


if __name__ == "__main__":
    main()
