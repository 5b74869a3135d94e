"""The columns of the table: what each figure is, which way is better, and by which maps are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Measure:
    """A column.

    Attributes:
        better: ``higher``, ``lower``, or ``none`` for what describes a map and does not judge it.
        unit: of the figure.
        meaning: in a sentence.
        compared: whether methods are tested against the baselines by it.
    """

    better: Literal["higher", "lower", "none"]
    unit: str
    meaning: str
    compared: bool = False


MEASURES: Mapping[str, Measure] = {
    "pointing": Measure(
        "higher", "share", "The largest cell lies within the true stretch, 60 ms of slack on either side.", compared=True
    ),
    "top_segment": Measure(
        "higher", "share", "The 120 ms with the most relevance overlap the true stretch by half.", compared=True
    ),
    "top_three": Measure("higher", "share", "One of the three largest segments of 120 ms does."),
    "mass": Measure("higher", "share", "Share of the positive relevance within the true stretch.", compared=True),
    "lift": Measure("higher", "times", "That share over the stretch's share of the sound; 1 is chance."),
    "roc_auc": Measure(
        "higher", "share", "Chance that a moment within has more relevance than one outside; 0.5 is chance.", compared=True
    ),
    "distance": Measure("lower", "s", "From the centre of the positive relevance to the middle of the true stretch."),
    "start_error": Measure("none", "ms", "Where 10 % of the relevance has come, less the true start; above 0 is late."),
    "end_error": Measure("none", "ms", "Where 90 % of the relevance has come, less the true end; above 0 is late."),
    "deletion": Measure(
        "lower",
        "area",
        "Probability that is left, over the share of the sound hidden, parts of 60 ms, most relevant first.",
        compared=True,
    ),
    "insertion": Measure(
        "higher", "area", "Probability that is back, over the share of the sound shown, most relevant first.", compared=True
    ),
    "deletion_words": Measure("lower", "area", "As deletion, by whole words and pauses."),
    "comprehensiveness": Measure("higher", "share", "Mean fall of the probability without the top 10, 20 and 50 %."),
    "sufficiency": Measure("lower", "share", "Mean fall of the probability with the top 10, 20 and 50 % alone."),
    "correlation": Measure(
        "higher", "r", "Of what a map says that random sets of parts carry with what is lost when they are hidden.", compared=True
    ),
    "infidelity": Measure("lower", "share", "Squared error of the same, the map scaled to fit best; 1 is a map of zeros."),
    "sensitivity": Measure("lower", "share", "Largest change of the map under noise at 40 dB, as a share of its norm."),
    "seed_agreement": Measure("higher", "rho", "Rank correlation of the map with that of another seed; 1 without random numbers."),
    "randomised": Measure("lower", "rho", "Rank correlation with the map of the same model with random weights; near 0 is right."),
    "shift_error": Measure(
        "lower", "frames", "How far its largest part is from moving along when 0.6 s were put before the sound."
    ),
    "swap": Measure("higher", "share", "Of two words that were swapped, the map still points at the right one."),
    "prompt_mass": Measure("none", "share", "Relevance that sits on the prompts and no sound."),
    "completeness": Measure("lower", "share", "What the sum of the map misses of the score; of methods that add up."),
    "complexity": Measure("none", "share", "Entropy of the map: 0 at one part, 1 at all alike."),
    "sparseness": Measure("none", "share", "Gini index of the map: 0 at all alike."),
    "passes": Measure("lower", "passes", "Passes through the model beyond the trace, for one decision of several that share them."),
    "seconds": Measure("lower", "s", "Time beyond the trace, for one decision of several that share it, one thread."),
}
