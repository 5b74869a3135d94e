"""Measure recognisers on speech whose truth is known.

Runs the ONNX files as a user of Voxray does; PyTorch is not needed. Every sentence is held out from training. The sets:
``known`` voices and ``new`` voices with nothing over them, ``noise`` at 10 dB, ``events`` in half of the clips and some
without speech, and ``mixed``: events, noise, rooms, bands and gains as in training, where a soft event can be lost in noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from recipe.tokens import FRAME
from voxray.models.sensevoice import PROMPTS, WINDOW_CENTRE
from voxray.truespeech.clip import CLEAN, Clip, Recipe
from voxray.truespeech.lexicon import LANGUAGES, SPACED
from voxray.truespeech.spoken import RATE
from voxray.truespeech.voices import HELD_OUT
from voxray.truespeech.workers import clips
from voxray.types import Audio, Transcript

SEED = 11
KINDS = ("language", "emotion", "event")
BATCH = 32


def evaluation_sets() -> dict[str, Recipe]:
    """Return what is measured on, by name."""
    clean = replace(CLEAN, held_out=True)
    return {
        "known": clean,
        "new": replace(clean, variants=HELD_OUT),
        "noise": replace(clean, noisy=1.0, snr=(10.0, 10.0)),
        "events": replace(clean, eventful=0.5, silent=0.05),
        "mixed": Recipe(held_out=True, eventful=0.5),
    }


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
    confusion: dict[str, Counter[tuple[str, str]]] = field(default_factory=lambda: {name: Counter() for name in KINDS})
    drifts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, clip: Clip, found: Transcript) -> None:
        """Count one clip; spaces between words count as characters, and word errors only where there are spaces."""
        for name, tag in zip(KINDS, found.tags, strict=False):
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
        drifts = {name: values for name, values in sorted(self.drifts.items()) if values}
        if drifts:
            drifts["all"] = [value for values in drifts.values() for value in values]
        result["drift_ms"] = {name: spread(values) for name, values in drifts.items()}
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
            result.append((first.peak - PROMPTS) * FRAME + WINDOW_CENTRE - word.start / RATE)
    return result


def spread(seconds: list[float]) -> dict[str, float]:
    """Return the median, the tenth and the ninetieth percentile of seconds, in milliseconds, and their number."""
    low, middle, high = (1000 * float(np.percentile(seconds, share)) for share in (10, 50, 90))
    return {"median": middle, "p10": low, "p90": high, "words": len(seconds)}


def evaluate(models: Mapping[str, Any], per_language: int, sets: Mapping[str, Recipe] | None = None) -> dict[str, dict[str, Any]]:
    """Return the figures of each model on every set, the language prompt on auto.

    Args:
        models: by name.
        per_language: clips a language in each set, on average.
        sets: by name; all of them by default.
    """
    result: dict[str, dict[str, Any]] = {name: {} for name in models}
    for name, recipe in (sets or evaluation_sets()).items():
        tallies = {model: Tally() for model in models}
        drawn = clips(recipe, SEED, per_language * len(LANGUAGES))
        while group := list(islice(drawn, BATCH)):
            for model, tally in tallies.items():
                found = models[model].transcribe_batch([Audio(clip.samples) for clip in group])
                for clip, transcript in zip(group, found, strict=True):
                    tally.add(clip, transcript)
        for model, tally in tallies.items():
            result[model][name] = tally.figures()
    return result


def summary(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each model and set of what :func:`evaluate` returns."""
    lines = []
    for model, sets in figures.items():
        for name, values in sets.items():
            rates = "  ".join(f"{language} {rate:.2f}" for language, rate in values["cer"].items())
            right = "  ".join(f"{kind} {values[kind]['right']:.1f}" for kind in KINDS)
            drift = values["drift_ms"].get("all")
            late = f"{drift['median']:.0f} [{drift['p10']:.0f} to {drift['p90']:.0f}]" if drift else "none, no clip is right"
            lines.append(f"{model} {name:6} CER % {rates}; right % {right}; drift ms {late}")
    return lines
