"""Measure a SenseVoice folder on speech whose truth is known: ``python -m recipe.evaluate MODEL --out FIGURES.json``.

Runs the ONNX files as a user of Voxray does; PyTorch is not needed. Every sentence is held out from training. The sets:
``known`` voices and ``new`` voices with nothing over them, ``noise`` at 10 dB, ``events`` in half of the clips and some
without speech, and ``mixed``: events, noise, rooms, bands and gains as in training, where a soft event can be lost in noise.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import voxray
from truespeech.clip import CLEAN, Clip, Recipe
from truespeech.lexicon import LANGUAGES, SPACED
from truespeech.voices import HELD_OUT
from truespeech.workers import clips
from voxray.types import Audio, Transcript

SEED = 11
TAGS = ("language", "emotion", "event")
FRAME, CENTRE = 0.06, 0.0125  # seconds: between output frames, and from a frame's number to the middle of its window
PROMPTS = 4
BATCH = 32


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Clips to measure on: a recipe, and how many."""

    recipe: Recipe
    count: int


def evaluation_sets(per_language: int) -> dict[str, EvaluationSet]:
    """Return the sets by name; each spoken one holds ``per_language`` clips a language on average."""
    count = per_language * len(LANGUAGES)
    clean = replace(CLEAN, held_out=True)
    recipes = {
        "known": clean,
        "new": replace(clean, variants=HELD_OUT),
        "noise": replace(clean, noisy=1.0, snr=(10.0, 10.0)),
        "events": replace(clean, eventful=0.5, silent=0.05),
        "mixed": Recipe(held_out=True, eventful=0.5),
    }
    return {name: EvaluationSet(recipe, count) for name, recipe in recipes.items()}


def distance(one: Sequence[object], other: Sequence[object]) -> int:
    """Return the Levenshtein distance of two sequences."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (left != right))
    return row[-1]


@dataclass(slots=True)
class Tally:
    """Counts of one set, clip by clip; ``drifts`` in seconds by mode and language, the others by language or tag."""

    characters: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    word_errors: Counter[str] = field(default_factory=Counter)
    clips: Counter[str] = field(default_factory=Counter)
    wrong_clips: Counter[str] = field(default_factory=Counter)
    confusion: dict[str, Counter[tuple[str, str]]] = field(default_factory=lambda: {name: Counter() for name in TAGS})
    drifts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, clip: Clip, found: Transcript) -> None:
        """Count one clip; spaces between words count as characters, and word errors only where there are spaces."""
        for name, tag in zip(TAGS, found.tags, strict=False):
            self.confusion[name][getattr(clip, name), tag.label] += 1
        if not clip.words:
            self.errors["nospeech"] += len(found.text)
            return
        language = clip.language
        self.characters[language] += len(clip.text)
        self.errors[language] += distance(clip.text, found.text)
        if language in SPACED:
            self.words[language] += len(clip.words)
            self.word_errors[language] += distance(clip.text.split(), found.text.split())
        self.clips[language] += 1
        self.wrong_clips[language] += clip.text != found.text
        if clip.text == found.text:
            self.drifts.setdefault(f"{clip.mode}/{language}", []).extend(drifts(clip, found))

    def figures(self) -> dict[str, Any]:
        """Return the rates: errors in per cent, drifts in milliseconds."""
        result: dict[str, Any] = {
            "cer": {name: 100 * self.errors[name] / total for name, total in sorted(self.characters.items())},
            "wer": {name: 100 * self.word_errors[name] / total for name, total in sorted(self.words.items())},
            "wrong_clips": {name: 100 * self.wrong_clips[name] / total for name, total in sorted(self.clips.items())},
            "clips": sum(self.clips.values()),
            "letters_where_nobody_speaks": self.errors["nospeech"],
        }
        for name, counts in self.confusion.items():
            right = sum(count for (known, found), count in counts.items() if known == found)
            table = {f"{known} as {found}": count for (known, found), count in sorted(counts.items()) if known != found}
            result[name] = {"right": 100 * right / counts.total(), "clips": counts.total(), "confused": table}
        result["drift_ms"] = {name: spread(values) for name, values in sorted(self.drifts.items())}
        result["drift_ms"]["all"] = spread([value for values in self.drifts.values() for value in values])
        return result


def drifts(clip: Clip, found: Transcript) -> list[float]:
    """Return by how many seconds the first token of each word was emitted after the word began.

    The emission is the middle of the window of the frame with the highest posterior. Words whose start the engine does
    not tell exactly are left out. The clip's text must have been found right.
    """
    tokens = iter(found.tokens)
    result = []
    for word in clip.words:
        first = next(tokens)
        said = first.text.strip()
        while len(said) < len(word.text):
            said += next(tokens).text.strip()
        if word.exact:
            result.append((first.peak - PROMPTS) * FRAME + CENTRE - word.start / 16_000)
    return result


def spread(values: list[float]) -> dict[str, float]:
    """Return the median, the tenth and the ninetieth percentile of seconds, in milliseconds, and their number."""
    low, middle, high = (1000 * np.percentile(values, share) for share in (10, 50, 90)) if values else (0.0, 0.0, 0.0)
    return {"median": float(middle), "p10": float(low), "p90": float(high), "words": len(values)}


def evaluate(model: Any, sets: dict[str, EvaluationSet]) -> dict[str, Any]:
    """Return the figures of a model on every set, its language prompt on auto."""
    result = {}
    for name, one in sets.items():
        tally = Tally()
        drawn = clips(one.recipe, SEED, one.count)
        while group := list(islice(drawn, BATCH)):
            found = model.transcribe_batch([Audio(clip.samples) for clip in group])
            for clip, transcript in zip(group, found, strict=True):
                tally.add(clip, transcript)
        result[name] = tally.figures()
    return result


def main() -> None:
    """Read the command line, measure, and print the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="folder or .onnx file")
    parser.add_argument("--per-language", type=int, default=100, help="clips a language in each set")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    model = voxray.load_model(options.model)
    sets = evaluate(model, evaluation_sets(options.per_language))
    for name, values in sets.items():
        rates = "  ".join(f"{language} {rate:.2f}" for language, rate in values["cer"].items())
        right = "  ".join(f"{tag} {values[tag]['right']:.1f}" for tag in TAGS)
        drift = values["drift_ms"]["all"]
        print(f"{name:6} CER % {rates}; right % {right}; drift ms {drift['median']:.0f} [{drift['p10']:.0f} to {drift['p90']:.0f}]")
    if options.out:
        figures = {"model": model.info.sha256, "seed": SEED, "sets": sets}
        options.out.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
