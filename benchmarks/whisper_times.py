"""When do words begin? Voxray's Whisper, OpenAI's own code and faster-whisper, on speech whose word times are known.

    PYTHONPATH=training python benchmarks/whisper_times.py OUT [--clips 60] [--write]

``OUT`` is what ``scripts/whisper_base.py OUT`` wrote; it and ``openai-whisper`` and ``faster-whisper`` must be installed. All hear
the same sounds with the same weights, greedily, and are told that it is English. Sentences are drawn from the speech generator,
clean, in voices that are held out, half of them fluent and half of words said alone and joined with gaps; sentences of one kind
are put behind one another into sounds of up to half a minute. A word counts where every system recognised it and its true start is
known to a frame. The interval of a difference is that of a paired bootstrap over sentences.
With ``--write`` the table goes into ``docs/whisper.md``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import voxray
from voxray.edits import align
from voxray.truespeech.clip import CLEAN, Clip
from voxray.truespeech.spoken import Word
from voxray.truespeech.voices import HELD_OUT
from voxray.truespeech.workers import clips
from voxray.types import Audio

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "whisper.md"
MARK = "<!-- benchmark -->"
RECIPE = replace(CLEAN, languages=("en",), variants=HELD_OUT, emotional=0.0, concat=0.5)
SEED, DRAWS = 41, 2000
RATE = 16000
LONGEST, GAP = 28 * RATE, RATE // 2  # samples: of a sound, and between its sentences
FLOOR = 1e-3  # of the noise between sentences: -60 dB, as under them
KINDS = {"sentence": "Fluent", "concat": "Words with gaps"}
GREEDY = {"language": "en", "temperature": 0.0, "word_timestamps": True}

Said = list[tuple[str, float]]
"""Words, and the seconds at which they begin."""
System = Callable[[np.ndarray], Said]


# --- Sounds ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Talk:
    """Sentences of one kind behind one another.

    Attributes:
        mode: ``sentence`` or ``concat``.
        samples: (N,) float32 at 16 kHz.
        words: of all sentences, with their times in the sound.
        sentences: the number of the sentence that each word belongs to.
    """

    mode: str
    samples: np.ndarray
    words: tuple[Word, ...]
    sentences: tuple[int, ...]


def talks(drawn: Sequence[Clip]) -> list[Talk]:
    """Put clips behind one another, each kind by itself, as many as a sound may be long."""
    found = []
    for mode in KINDS:
        rows: list[list[Clip]] = [[]]
        for clip in drawn:
            if clip.mode == mode:
                if sum(len(one.samples) + GAP for one in rows[-1]) + len(clip.samples) > LONGEST:
                    rows.append([])
                rows[-1].append(clip)
        found += [_talk(mode, row) for row in rows if row]
    return found


def _talk(mode: str, row: Sequence[Clip]) -> Talk:
    rng = np.random.default_rng(SEED)
    parts, words, sentences, at = [], [], [], 0
    for number, clip in enumerate(row):
        words += [word.moved(at) for word in clip.words]
        sentences += [number] * len(clip.words)
        parts += [clip.samples, FLOOR * rng.standard_normal(GAP).astype(np.float32)]
        at += len(clip.samples) + GAP
    return Talk(mode, np.concatenate(parts[:-1]), tuple(words), tuple(sentences))


# --- Systems --------------------------------------------------------------------------------------------------------------------


def voxray_system(folder: Path, *, by_norm: bool) -> System:
    """Return Voxray, with the heads that OpenAI names, or those of the largest norms, found anew for each sound."""
    model = voxray.load_model(folder)
    if by_norm:
        model.aligning = None

    def hear(samples: np.ndarray) -> Said:
        return [(word.text, word.start) for word in model.transcribe(Audio(samples), language="en").words]

    return hear


def openai_system() -> System:
    """Return OpenAI's own code."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from whisper_reference import openai_base

    model = openai_base()

    def hear(samples: np.ndarray) -> Said:
        told = model.transcribe(samples, fp16=False, condition_on_previous_text=False, **GREEDY)
        return [(word["word"], float(word["start"])) for segment in told["segments"] for word in segment["words"]]

    return hear


def faster_system(folder: Path) -> System:
    """Return faster-whisper, in 32-bit floats."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="float32")

    def hear(samples: np.ndarray) -> Said:
        segments, _ = model.transcribe(samples, beam_size=1, condition_on_previous_text=False, **GREEDY)
        return [(word.word, float(word.start)) for segment in segments for word in segment.words]

    return hear


# --- Scores ---------------------------------------------------------------------------------------------------------------------


def plain(word: str) -> str:
    """Return a word as it is compared: small letters, no punctuation."""
    return re.sub(r"[^\w']", "", word.lower())


def starts(talk: Talk, said: Said) -> dict[int, float]:
    """Return when the system hears each word begin that it recognised, by the word's place in the sound, in seconds."""
    reference = [plain(word.text) for word in talk.words]
    recognised = [(plain(text), start) for text, start in said if plain(text)]
    edits = align(reference, [text for text, _ in recognised])
    pairs = [(edit.reference_place, edit.recognised_place) for edit in edits if edit.kind == "hit"]
    return {mine: recognised[theirs][1] for mine, theirs in pairs if mine is not None and theirs is not None}


def errors(heard: Sequence[Talk], said: Mapping[str, Sequence[Said]]) -> list[tuple[str, np.ndarray]]:
    """Return for each sentence its kind and the errors (systems, words) in seconds of the words that every system recognised."""
    result = []
    for index, talk in enumerate(heard):
        found = [starts(talk, one[index]) for one in said.values()]
        shared = [at for at, word in enumerate(talk.words) if word.exact and all(at in one for one in found)]
        for number in sorted({talk.sentences[at] for at in shared}):
            own = [at for at in shared if talk.sentences[at] == number]
            truth = np.array([talk.words[at].start / RATE for at in own])
            result.append((talk.mode, np.array([[one[at] for at in own] for one in found]) - truth))
    return result


def figures(values: np.ndarray) -> list[float]:
    """Return median and mean of the absolute error in ms, its median with the sign, and the shares within 50 and 100 ms."""
    size = np.abs(values)
    return [
        1000 * float(np.median(size)),
        1000 * float(size.mean()),
        1000 * float(np.median(values)),
        100 * float((size <= 0.05).mean()),
        100 * float((size <= 0.1).mean()),
    ]


def interval(pairs: Sequence[np.ndarray], measure: Callable[[np.ndarray], float]) -> tuple[float, float, float]:
    """Return the difference of a measure of the absolute error, first system less second, in ms, and where 95 % of it lies.

    Args:
        pairs: for each sentence, (2, words) errors in seconds.
        measure: of (words,) seconds.
    """
    rng = np.random.default_rng(SEED)
    sizes = [np.abs(pair) for pair in pairs]

    def difference(chosen: Sequence[int]) -> float:
        first, second = np.concatenate([sizes[at] for at in chosen], axis=1)
        return 1000 * (measure(first) - measure(second))

    draws = [difference(rng.integers(len(sizes), size=len(sizes))) for _ in range(DRAWS)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return difference(range(len(sizes))), float(low), float(high)


# --- The page -------------------------------------------------------------------------------------------------------------------


def table(names: Sequence[str], found: np.ndarray) -> list[str]:
    """Return one table: a row a system."""
    lines = ["| system | median | mean | bias | within 50 ms | within 100 ms |", "|---|---|---|---|---|---|"]
    for name, values in zip(names, found, strict=True):
        median, mean, bias, half, whole = figures(values)
        lines.append(f"| {name} | {median:.0f} ms | {mean:.0f} ms | {bias:+.0f} ms | {half:.0f} % | {whole:.0f} % |")
    return lines


def section(heard: Sequence[Talk], said: Mapping[str, Sequence[Said]]) -> str:
    """Return the part of the page that this benchmark writes."""
    names, found = list(said), errors(heard, said)
    words = [word for talk in heard for word in talk.words]
    sentences, exact = sum(max(talk.sentences) + 1 for talk in heard), sum(word.exact for word in words)
    lines = [
        f"{sentences} sentences in {len(heard)} sounds, {len(words)} words, {exact} of them with a start known to a frame.",
        f"Recognised right: {', '.join(f'{name} {_share(heard, said[name]):.0%}' for name in names)}.",
        "",
    ]
    for title, modes in (("All", tuple(KINDS)), *((title, (mode,)) for mode, title in KINDS.items())):
        some = [values for mode, values in found if mode in modes]
        joined = np.concatenate(some, axis=1)
        lines += [f"{title}, {joined.shape[1]} words that every system recognised:", "", *table(names, joined), ""]
    base = names.index("openai-whisper")
    for at, name in enumerate(names):
        if at != base:
            pairs = [values[[at, base]] for _, values in found]
            told = [f"{label} {_told(interval(pairs, measure))}" for label, measure in (("mean", np.mean), ("median", np.median))]
            lines.append(f"- {name} less openai-whisper, of the absolute error: {', '.join(told)}.")
    return "\n".join([*lines, ""])


def _share(heard: Sequence[Talk], said: Sequence[Said]) -> float:
    return sum(len(starts(talk, one)) for talk, one in zip(heard, said, strict=True)) / sum(len(talk.words) for talk in heard)


def _told(difference: tuple[float, float, float]) -> str:
    return f"{difference[0]:+.1f} ms ({difference[1]:+.1f} to {difference[2]:+.1f})"


def write(text: str) -> None:
    """Put the benchmark's part into the page, between its marks."""
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    PAGE.write_text(f"{before}{MARK}\n\n{text}\n{MARK}{after}", encoding="utf-8")


def main() -> None:
    """Hear, score, print, and write where that is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("out", type=Path)
    asked.add_argument("--clips", type=int, default=60)
    asked.add_argument("--write", action="store_true")
    how = asked.parse_args()
    heard = talks(list(clips(RECIPE, SEED, how.clips)))
    systems = {
        "Voxray, heads that OpenAI names": lambda: voxray_system(how.out / "base-merged", by_norm=False),
        "Voxray, heads by their norms": lambda: voxray_system(how.out / "base-merged", by_norm=True),
        "openai-whisper": openai_system,
        "faster-whisper": lambda: faster_system(how.out / "base-ct2"),
    }
    said: dict[str, list[Said]] = {}
    for name, start in systems.items():
        hear = start()
        said[name] = [hear(talk.samples) for talk in heard]
        print(name, "done", flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("openai-whisper", "faster-whisper", "ctranslate2", "torch"))
    text = section(heard, said) + f"\nSeed {SEED}; {versions}.\n"
    print(text)
    if how.write:
        write(text)


if __name__ == "__main__":
    main()
