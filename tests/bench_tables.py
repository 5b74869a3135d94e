"""A made-up result of a benchmark that hangs together: every mean, interval and contrast comes from the same made-up clips."""

from __future__ import annotations

from typing import Any

import numpy as np

CLIPS = 20
METHODS = {  # how often it points right, and the area that is left when what it names is hidden
    "random": (0.2, 0.5),
    "uniform": (0.0, 0.5),
    "energy": (0.22, 0.47),
    "emission": (0.95, 0.2),
    "attention": (0.66, 0.31),
    "exact": (0.99, 0.14),
    "input_x_gradient": (0.9, 0.22),
    "occlusion": (0.978, 0.141),
    "rollout": (0.26, 0.48),
    "oracle": (1.0, 0.12),
}
TITLES = {"exact": "exact relevance (frozen routing)", "attention": "raw attention", "oracle": "the truth itself"}
BASELINES = ("random", "uniform", "energy", "emission")
MEASURES = {
    "pointing": ("higher", "share", "The largest cell lies within the true stretch."),
    "top_segment": ("higher", "share", "The largest segment overlaps the true stretch by half."),
    "lift": ("higher", "times", "The share within over the stretch's share of the sound; 1 is chance."),
    "roc_auc": ("higher", "share", "Chance that a moment within has more relevance than one outside."),
    "distance": ("lower", "s", "From the centre of the relevance to the middle of the true stretch."),
    "start_error": ("none", "ms", "Where 10 % of the relevance has come, less the true start."),
    "deletion": ("lower", "area", "Probability that is left, most relevant first."),
    "insertion": ("higher", "area", "Probability that is back, most relevant first."),
    "correlation": ("higher", "r", "Of what a map says with what is lost."),
    "randomised": ("lower", "rho", "Rank correlation with the map of a random model."),
    "completeness": ("lower", "share", "What the sum of the map misses of the score."),
    "passes": ("lower", "passes", "Passes beyond the trace."),
    "seconds": ("lower", "s", "Time beyond the trace."),
}
PLACES = (("A", "word"), ("B", "word"), ("C", "contrast"), ("D", "planted"), ("E", "language"), ("F", "event"))


def made_table(seed: int = 0, *, failed: int = 0) -> dict[str, Any]:
    """Return a table; of its gates the given number failed."""
    generator = np.random.default_rng(seed)
    clips = {
        (place, method, fill, measure): _clips(generator, method, measure, fill)
        for place in PLACES
        for method in METHODS
        for fill in ("noise_floor", "mean")
        for measure in MEASURES
        if fill == "noise_floor" or measure == "deletion"
        if measure != "completeness" or method == "exact"
        if measure != "distance" or place[1] == "word"
    }
    gates = [
        ("random map at chance", "ROC-AUC 0.504", "0.5 ± 0.03", "the clips give the place away"),
        ("oracle points", "pointing and mass 1.000, 1.000", "1, 1", "truth and sound are not on one clock"),
        ("exact map adds up", "2.1e-07 of the score missing", "at most 1% missing", "the exact split lost a path"),
    ]
    return {
        "format": 1,
        "provenance": _provenance(),
        "coverage": [
            {"set": name, "clips": CLIPS, "asked": 18, "words": 120, "words_right": 113, "aims": 76, "error_rate": 0.042}
            for name, _ in PLACES
        ],
        "methods": [
            {"name": one, "title": TITLES.get(one, one.replace("_", " ")), "baseline": one in BASELINES, "oracle": one == "oracle"}
            for one in METHODS
        ],
        "measures": [{"name": name, "better": b, "unit": unit, "meaning": told} for name, (b, unit, told) in MEASURES.items()],
        "cells": [_cell(key, values) for key, values in clips.items()],
        "contrasts": _contrasts(clips),
        "gates": [
            {"name": name, "passed": number >= failed, "found": found, "wanted": wanted, "why": why}
            for number, (name, found, wanted, why) in enumerate(gates)
        ],
        "status": [
            {"method": one, "kind": kind, "status": _status(one), "because": f"deletion area {area:.3f} against 0.200 of emission"}
            for kind in dict.fromkeys(kind for _, kind in PLACES)
            for one, (_, area) in METHODS.items()
            if one not in BASELINES and one != "oracle"
        ],
    }


def _provenance() -> dict[str, Any]:
    versions = {"voxray": "0.1.0", "numpy": "2.4.0", "onnxruntime": "1.32.0", "python": "3.12.4", "machine": "x86_64, 2 cores"}
    model = {"name": "bundled", "family": "sensevoice", "precision": "fp32", "sha256": "8a" * 32}
    corpus = {"name": "truespeech", "sha256": "c4" * 32, "clips": CLIPS * len(PLACES)}
    return versions | {"made": "2026-11-23 10:00 UTC", "seed": 0, "quick": False, "model": model, "corpus": corpus}


def _clips(generator: np.random.Generator, method: str, measure: str, fill: str) -> np.ndarray[Any, Any]:
    """Return a figure for each clip."""
    hits, area = METHODS[method]
    noise = generator.normal(0, 0.01, CLIPS)
    centre = {
        "lift": 1 + 4 * hits,
        "roc_auc": 0.5 + hits / 2.2,
        "distance": 1.2 - hits,
        "start_error": -200 * (1 - hits),
        "deletion": area + 0.02 * (fill == "mean"),
        "insertion": 1 - area,
        "correlation": hits / 1.5,
        "randomised": 0.8 * (method == "emission"),
        "completeness": 2e-7,
        "passes": 1 + 40 * hits,
        "seconds": 0.01 + 0.3 * hits**3,
    }.get(measure)
    if centre is None:
        return (generator.random(CLIPS) < hits).astype(float)
    return centre + noise * abs(centre)


def _cell(key: tuple[Any, ...], values: np.ndarray[Any, Any]) -> dict[str, Any]:
    (name, kind), method, fill, measure = key
    mean, reach = float(values.mean()), 1.96 * float(values.std()) / CLIPS**0.5
    told = {"set": name, "kind": kind, "method": method, "fill": fill, "measure": measure}
    low, high = mean - reach, mean + reach
    if MEASURES[measure][1] == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return told | {"mean": mean, "low": low, "high": high, "clips": CLIPS, "items": 76}


def _contrasts(clips: dict[tuple[Any, ...], np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
    """Return deletion against the emission, over the sets of a kind."""
    found = []
    for kind in dict.fromkeys(kind for _, kind in PLACES):
        for method in METHODS:
            if method == "emission":
                continue
            apart = np.concatenate(
                [
                    clips[place, method, "noise_floor", "deletion"] - clips[place, "emission", "noise_floor", "deletion"]
                    for place in PLACES
                    if place[1] == kind
                ]
            )
            middle, reach = float(apart.mean()), 1.96 * float(apart.std()) / len(apart) ** 0.5
            sure = abs(middle) > reach
            names = {"kind": kind, "fill": "noise_floor", "measure": "deletion", "method": method, "baseline": "emission"}
            told = {"difference": middle, "low": middle - reach, "high": middle + reach}
            found.append(names | told | {"p": 0.001 if sure else 0.4, "holm": 0.01 if sure else 1.0, "better": sure and middle < 0})
    return found


def _status(method: str) -> str:
    return "explanation" if METHODS[method][1] < METHODS["emission"][1] - 0.01 else "view"
