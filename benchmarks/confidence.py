"""What the bundled model's confidences mean: fits the calibration on some speech and judges it on other speech.

    PYTHONPATH=training python benchmarks/confidence.py [--write]

Clips are drawn from the speech generator with noise, rooms and events, half of them in held-out voices, so that there are
mistakes to learn from. The fit sees one seed, the table another. With ``--write`` the calibration goes beside the bundled
model and the table into ``docs/confidence.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import voxray
from voxray.measures import calibration
from voxray.measures.confidence import max_probability, tsallis, word
from voxray.models import BUNDLED
from voxray.truespeech.clip import Clip, Recipe
from voxray.truespeech.voices import HELD_OUT, KNOWN
from voxray.truespeech.workers import clips
from voxray.types import Audio

ROOT = Path(__file__).parent.parent
HARD = {"snr": (-2.0, 20.0), "noisy": 0.8, "rooms": 0.5, "bands": 0.4, "silent": 0.0}
FIT, JUDGE = 11, 12  # seeds
Table = dict[str, np.ndarray]


def confidences(model: Any, drawn: Iterator[Clip]) -> Table:
    """Return the raw confidences of every recognised word and whether it is right."""
    from voxray.studies.errors import diagnose

    found: dict[str, list[float]] = {"probability": [], "tsallis": [], "right": []}
    for clip in drawn:
        diagnosis = diagnose(model, Audio(clip.samples), clip.text)
        trace = diagnosis.trace
        rows = trace.log_probs[[token.peak for token in trace.tokens]]
        both = [(float(a), float(b)) for a, b in zip(max_probability(rows), tsallis(rows), strict=True)] if len(rows) else []
        for one, right in zip(trace.words, diagnosis.right_words, strict=True):
            own = both[slice(*one.tokens)]
            found["probability"].append(word([a for a, _ in own]))
            found["tsallis"].append(word([b for _, b in own]))
            found["right"].append(float(right))
    return {name: np.array(values) for name, values in found.items()}


def figures(values: np.ndarray, right: np.ndarray) -> list[float | None]:
    """Return calibration error, cross entropy, the area under the curve of finding wrong words, and the Brier score."""
    measures = (
        calibration.expected_calibration_error,
        calibration.normalised_cross_entropy,
        calibration.roc_auc,
        calibration.brier,
    )
    return [measure(values, right) for measure in measures]


def rows_of(judged: Table, fitted: dict[str, Any]) -> list[str]:
    """Return the lines of the table."""
    lines = ["| confidence of a word | ECE | NCE | AUROC of wrong words | Brier |", "|---|---|---|---|---|"]
    for name in ("probability", "tsallis"):
        for title, values in ((name, judged[name]), (f"{name}, calibrated", fitted[name].apply(judged[name]))):
            told = " | ".join("-" if one is None else f"{one:.3f}" for one in figures(values, judged["right"]))
            lines.append(f"| {title} | {told} |")
    return lines


def reliability_rows(values: np.ndarray, right: np.ndarray) -> list[str]:
    """Return the reliability table of calibrated confidences."""
    lines = ["| calibrated confidence | words | mean of it | share right |", "|---|---|---|---|"]
    bins = (one for one in calibration.reliability(values, right, bins=10) if one.words)
    told = (f"| {one.low:.1f} to {one.high:.1f} | {one.words} | {one.confidence:.3f} | {one.right:.3f} |" for one in bins)
    return [*lines, *told]


def page(fit: Table, judged: Table, fitted: dict[str, Any], model: Any) -> str:
    """Return the documentation page."""
    calibrated = fitted["tsallis"].apply(judged["tsallis"])
    counts = [f"{len(one['right'])} {{}} ({one['right'].mean():.1%} right)" for one in (fit, judged)]
    fitted_on = (
        f"Fitted on {counts[0].format('words')}, judged on {counts[1].format('others')}:\n"
        "synthetic speech in five languages, noise at -2 to 20 dB, rooms, channels, events,\n"
        f"half of the clips in voices that the model never heard. Model {model.info.sha256[:12]}, seeds {FIT} and {JUDGE}."
    )
    return "\n".join(
        [
            "# How sure is sure?",
            "",
            "Made by `PYTHONPATH=training python benchmarks/confidence.py --write`; do not edit.",
            "",
            "A word's confidence is that of its least certain token: the posterior at its emission, or the Tsallis entropy of that",
            "row (alpha 1/3, the 50 likeliest tokens). Neither is a probability of being right. `calibration.json` beside a model",
            "turns the second into one; Voxray writes it as `calibrated`. It holds for speech like that it was fitted on.",
            "",
            fitted_on,
            "",
            *rows_of(judged, fitted),
            "",
            "ECE: expected calibration error over 10 bins, 0 is best. NCE: normalised cross entropy, 1 is best, 0 says no more",
            "than the average. AUROC: how well low confidence finds wrong words, 0.5 is chance. Brier: mean squared error,",
            "0 is best.",
            "",
            *reliability_rows(calibrated, judged["right"]),
            "",
        ]
    )


def main() -> None:
    """Fit, judge, print, and write where that is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--clips", type=int, default=1500, help="for each of the two")
    asked.add_argument("--write", action="store_true", help="write the calibration and the page")
    how = asked.parse_args()
    model = voxray.load_model()
    recipe = Recipe(variants=KNOWN + HELD_OUT * (len(KNOWN) // len(HELD_OUT)), held_out=True, **HARD)
    fit, judged = (confidences(model, clips(recipe, seed, how.clips)) for seed in (FIT, JUDGE))
    fitted = {name: calibration.fit(fit[name], fit["right"]) for name in ("probability", "tsallis")}
    text = page(fit, judged, fitted, model)
    print(text)
    if how.write:
        told = json.dumps(fitted["tsallis"].to_dict())
        (BUNDLED / "calibration.json").write_text(told + "\n", encoding="utf-8")
        (ROOT / "docs" / "confidence.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
