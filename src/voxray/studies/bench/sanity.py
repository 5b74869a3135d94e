"""Sanity of explanations: does a map depend on what the model learned, hold still under faint noise, and follow the sound?

How the benchmark calls it. A map is told over parts of the sound, (S,), as ``probes.on_parts`` makes it; what takes maps is free.

- Once a run: ``stages(model, seed=0)`` randomises the model from the top down, each time with more layers; ``last_stage`` makes the
  last one alone, which is all that the column ``randomised`` needs.
- Once a clip: ``cases = [held(stage.model, trace, aims) for stage in models]`` asks them about the very same targets, and
  ``[held(model, trace, aims, with_noise(trace.audio, SNR, seed)) for seed in range(3)]`` (``voxray.sounds``) asks the model itself
  about the sound under faint noise.
- For each method: ``part_maps(how, cases, edges)`` is (cases, targets, S); with other seeds ``part_maps(other, [case], edges)``.
- For each map: ``fall(own, maps[:, aim])`` has ``similarity`` and ``rise``; ``faithfulness.sensitivity(own, maps[:, aim])``;
  ``seed_agreement(maps)``; ``prompt_mass(found)``; of a pair of clips ``shift_error`` and ``follows``.

The target is held: a randomised model decodes something else, so it is asked about the tokens, rows and rivals of the trained one.
What is read at the rows of tokens (attention and all mixing) is read at those of the trained model.

**Source:** Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (randomisation from the top down); Hedström et al. 2024, "Sanity
Checks Revisited" (:func:`rise`, their eMPRT, with the entropy of the histogram as in Quantus 0.6). Shift, swap and prompt are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.case import Case
from voxray.measures import localisation
from voxray.measures.faithfulness import rank_agreement
from voxray.methods import Explainer, Found
from voxray.models import Explainable
from voxray.models.exchange import randomised
from voxray.studies.bench.probes import on_parts
from voxray.targets import Aim
from voxray.trace import Trace
from voxray.types import Audio, FloatArray

Float64Array = npt.NDArray[np.float64]
Placed = tuple[npt.ArrayLike, npt.ArrayLike]
"""A map over parts of a sound, and the edges of the parts."""
FRAME = 0.06  # seconds
SNR = 40.0  # dB, of speech over the faint noise
STEPS = 3  # in which the layers are randomised, after the head
BINS = (10, 200)  # of a histogram, at least and at most, as in Quantus


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A model of which some layers, from the top, are randomised.

    Attributes:
        name: which, in a few words.
        model: ready to run.
    """

    name: str
    model: Explainable


@dataclass(frozen=True, slots=True)
class Fall:
    """How like the trained model's map those of ever more randomised models are; None where a map does not vary.

    Attributes:
        signed: Spearman's correlation of the maps, stage by stage.
        absolute: the same of their absolute values, which stays higher: any model of this make reads a row from what is near it,
            and takes more of what is loud. Of a map without sign both are one.
        rise: of the histogram's entropy from the trained to the last model, as a share of the former (eMPRT).
    """

    signed: tuple[float | None, ...]
    absolute: tuple[float | None, ...]
    rise: float | None

    @property
    def similarity(self) -> float | None:
        """That of the last stage, of the map as it is told: a map with a sign says what speaks for and what against."""
        return self.signed[-1]


# --- Randomised models ---------------------------------------------------------------------------------------------------


def stages(model: Explainable, *, seed: int = 0) -> tuple[Stage, ...]:
    """Return a model with the head randomised, then with ever more layers below it, at last with all.

    Raises:
        OptionError: when the model cannot be randomised, as one with a decoder.
    """
    last = model.layers
    firsts = [round(last * (STEPS - step) / STEPS) for step in range(1, STEPS)]
    between = [Stage(f"head and layers {first} to {last - 1}", _from(model, first, seed)) for first in firsts]
    return (Stage("head", _from(model, last, seed)), *between, last_stage(model, seed=seed))


def last_stage(model: Explainable, *, seed: int = 0) -> Stage:
    """Return a model with the head and all layers randomised.

    Raises:
        OptionError: when the model cannot be randomised.
    """
    return Stage("all", _from(model, 0, seed))


def _from(model: Explainable, first: int, seed: int) -> Explainable:
    found: Explainable = randomised(model, range(first, model.layers + 1), seed=seed)
    return found


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _Held(Trace):
    """A trace of which it is held where each token is emitted.

    Attributes:
        placed: (U, T) the probability that a frame emits a token.
    """

    placed: FloatArray

    def occupancy(self, piece: int = 0) -> FloatArray:  # noqa: ARG002 - there is one
        """Return where each token is emitted, (U, T)."""
        return self.placed


def held(model: Explainable, trace: Trace, aims: Sequence[Aim], audio: Audio | None = None) -> Case:
    """Return what another model, or another sound, says about the very same targets.

    Args:
        model: that is asked.
        trace: of one piece, whose tokens, words and rows are held.
        aims: targets of it.
        audio: another sound of the same length; None for the trace's own.
    """
    fresh = model.trace(
        trace.audio if audio is None else audio,
        trace.language,
        textnorm=trace.textnorm,
        layers=None if model.cross_shape is None else (0,),
        gradients="split" in model.gives,
        tensors=("input", "value") if "anatomy" in model.gives else (),
    )
    values: dict[str, Any] = {one.name: getattr(fresh, one.name) for one in fields(Trace)}
    return Case(model, _Held(**values | {"transcript": trace.transcript}, placed=trace.occupancy()), aims)


def part_maps(how: Explainer, cases: Sequence[Case], edges: Float64Array) -> Float64Array:
    """Return the maps of the same targets in several cases over parts of the sound, (cases, targets, S).

    Args:
        how: the method.
        cases: all with the same targets.
        edges: (S + 1,) of the parts, seconds.

    Raises:
        OptionError: when the method cannot explain them.
    """
    return np.array([[_on_parts(one, edges) for one in how.explain(case)] for case in cases])


def _on_parts(found: Found, edges: Float64Array) -> Float64Array:
    return on_parts(found.scores.sum(axis=0, dtype=np.float64), found.grid.times, edges)


def fall(own: npt.ArrayLike, cascaded: npt.ArrayLike) -> Fall:
    """Return how like a map (S,) those of randomised models are, (stages, S)."""
    one, others = np.asarray(own, np.float64), np.asarray(cascaded, np.float64)
    return Fall(
        tuple(rank_agreement(one, other) for other in others),
        tuple(rank_agreement(np.abs(one), np.abs(other)) for other in others),
        rise(one, others[-1]),
    )


def rise(own: npt.ArrayLike, other: npt.ArrayLike) -> float | None:
    """Return by how much the histogram of a map is more complex when the model is randomised, as a share of what it was.

    Both have as many bins as Freedman and Diaconis give the trained model's map, 10 to 200. Above 0 is wanted: a map
    of a model that knows nothing should be less simple. None where the trained model's map is constant.
    """
    first, second = (np.asarray(values, np.float64) for values in (own, other))
    width = 2 * float(np.subtract(*np.percentile(first, [75, 25]))) / np.cbrt(first.size)
    bins = int(np.clip(np.ptp(first) / width if width > 0 else 0, *BINS))
    before = _histogram_entropy(first, bins)
    return (_histogram_entropy(second, bins) - before) / before if before > 0 else None


def _histogram_entropy(values: Float64Array, bins: int) -> float:
    if values.max() == values.min():
        return 0.0
    counts = np.histogram(values, bins)[0]
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


# --- Seeds, shift, swap, prompts ------------------------------------------------------------------------------------------


def seed_agreement(maps: npt.ArrayLike) -> float | None:
    """Return the mean of Spearman's correlation over all pairs of maps (n, S); None where no pair can be compared."""
    found = [rank_agreement(one, other) for one, other in combinations(np.asarray(maps, np.float64), 2)]
    known = [one for one in found if one is not None]
    return float(np.mean(known)) if known else None


def shift_error(own: Placed, moved: Placed, seconds: float) -> float | None:
    """Return how far a map's largest part is from where it should be once silence is put before the sound, in frames of 60 ms.

    The largest part and not the centre: faint relevance of either sign lies over the whole sound, and over the silence too.

    Args:
        own: map of the sound (S,) and edges of its parts (S + 1,) in seconds.
        moved: the same of the sound with silence before it.
        seconds: of silence.

    Returns:
        None where a map has no relevance above 0.
    """
    first, second = _peak(*own), _peak(*moved)
    return None if first is None or second is None else abs(second - first - seconds) / FRAME


def _peak(values: npt.ArrayLike, edges: npt.ArrayLike) -> float | None:
    scores, borders = np.asarray(values, np.float64), np.asarray(edges, np.float64)
    at = int(scores.argmax())
    return float(borders[at] + borders[at + 1]) / 2 if scores[at] > 0 else None


def follows(moved: npt.ArrayLike, edges: npt.ArrayLike, now: tuple[float, float], before: tuple[float, float]) -> bool | None:
    """Tell whether the map of a word that changed places with another lies where the word now is and not where it was.

    Args:
        moved: (S,) map of the word in the sound with the words swapped.
        edges: (S + 1,) of its parts, seconds.
        now: where the word is in that sound, seconds.
        before: where the other word is in it: the place that this one had.

    Returns:
        Whether a second of the one place has more relevance than one of the other; None where neither has any.
    """
    there, gone = (float(localisation.lift(moved, edges, span)) for span in (now, before))
    return None if np.isnan(there) or there == gone else there > gone


def prompt_mass(found: Found, edges: Float64Array) -> float | None:
    """Return which share of a map's absolute relevance is on the prompts; None of a method that does not tell."""
    if "prompt" not in found.parts:
        return None
    told = abs(found.parts["prompt"])
    sound = float(np.abs(_on_parts(found, edges)).sum())
    return told / (told + sound) if told + sound > 0 else None
