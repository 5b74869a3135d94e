"""Which figures of ``voxray quality`` tell a good model from a broken one, and whether the head atlas is stable over clips.

    python benchmarks/quality.py [--clips 30] [--write]

Clips are clean synthetic speech in sentences that the bundled model was not trained on (extra ``speech``). Broken are: the clock of
the frames by half a second against that of the tokens; the whole model by half a second against the sound; the weights of all
layers, with and without the head's (three seeds). A figure sees a defect if the interval of the difference (paired bootstrap over
clips, 95 %) lies on the side of the good model. It is recommended if, in both views, it sees a wrong clock and random layers, on
two clips of three at least, for who judges one clip has no more. With ``--write`` the tables go into ``docs/quality.md``.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import voxray
from voxray.measures.faithfulness import rank_agreement
from voxray.measures.statistics import bootstrap_mean
from voxray.models.exchange import randomised
from voxray.studies.quality import QUALITY_FIGURES, attended, looks_of, relevance_of
from voxray.trace import Trace
from voxray.truespeech.clip import CLEAN
from voxray.truespeech.workers import clips
from voxray.types import Audio, Features

PAGE = Path(__file__).parent.parent / "docs" / "quality.md"
MARKS = ("<!-- made by benchmarks/quality.py: begin -->", "<!-- end -->")
LATE = 0.5  # seconds
DRAWS, SEEDS = (83, 808), range(3)  # of clips, of weights
VIEWS = {"attention": "attention, mean of all layers and heads", "exact": "exact relevance"}
BROKEN = {"clock": "frames 0.5 s off", "whole": "all 0.5 s off", "layers": "random layers", "all": "random layers and head"}
WANTED = ("clock", "layers", "all")  # what a recommended figure has to tell, in both views
Figures = dict[str, float]
Way = tuple[str, int]
"""How a model is broken, and which of the ways to do so."""
Measured = dict[tuple[str, Way], list[Figures]]
GOOD: Way = ("good", 0)
BEST = 8  # heads
SURE = 2 / 3  # of the clips


def sounds(count: int) -> list[Audio]:
    """Return clips in which something is said: those of one draw, then those of the other."""
    recipe = replace(CLEAN, held_out=True)
    return [Audio(one.samples, name=f"clip of {seed}") for seed in DRAWS for one in clips(recipe, seed, count, 1)]


def figures_of(model: Any, trace: Trace, view: str, judged: Trace | None = None) -> Figures:
    """Return the figures of one view of a trace, held against another trace's clock or sound where one is given."""
    weights = relevance_of(trace, "exact", model) if view == "exact" else attended(trace, None)
    return looks_of(judged or trace, weights)


def off(trace: Trace, seconds: float) -> Trace:
    """Return a trace whose frames have a wrong clock."""
    return replace(trace, features=tuple(Features(one.values, one.hop, one.start + seconds) for one in trace.features))


def variants(model: Any, random: dict[str, list[Any]], audio: Audio) -> Iterator[tuple[Way, Any, Trace, Trace]]:
    """Yield what is judged of a clip: the way, the model, the trace whose maps are taken, and the trace they are held against."""
    trace = model.trace(audio, gradients=True)
    yield GOOD, model, trace, trace
    for at, seconds in enumerate((LATE, -LATE)):
        yield ("clock", at), model, trace, off(trace, seconds)
        moved = model.trace(replace(audio, samples=np.roll(audio.samples, round(seconds * audio.sample_rate))), gradients=True)
        yield ("whole", at), model, moved, replace(moved, audio=audio)
    for name, models in random.items():
        for at, one in enumerate(models):
            broken = one.trace(audio, gradients=True)
            yield (name, at), one, broken, broken


def measured(model: Any, told: Sequence[Audio]) -> Measured:
    """Return for each view and way the figures of every clip; NaN where none can be told, as of a text of one token."""
    random = {name: [randomised(model, name, seed=seed) for seed in SEEDS] for name in ("layers", "all")}
    nothing = dict.fromkeys(QUALITY_FIGURES, math.nan)
    found: Measured = defaultdict(list)
    for audio in told:
        for way, one, trace, judged in variants(model, random, audio):
            for view in VIEWS:
                found[view, way].append(figures_of(one, trace, view, judged) if len(trace.tokens) > 1 else nothing)
    return found


def _mean(values: Sequence[float]) -> float:
    known = [one for one in values if not math.isnan(one)]
    return sum(known) / len(known) if known else math.nan


def column(found: Measured, view: str, kind: str, name: str) -> list[list[float]]:
    """Return a figure of every clip for each way to break a model so."""
    return [[row[name] for row in rows] for (seen, (one, _)), rows in found.items() if seen == view and one == kind]


def gains(found: Measured, view: str, broken: Sequence[float], name: str) -> list[float]:
    """Return by how much the good model's figure is better, clip by clip; below 0 it is worse."""
    sign = 1.0 if QUALITY_FIGURES[name].better == "higher" else -1.0
    (good,) = column(found, view, GOOD[0], name)
    return [sign * (one - other) for one, other in zip(good, broken, strict=True)]


def is_seen(gained: Sequence[float]) -> bool:
    """Tell whether a defect is seen in each draw of clips by itself."""
    half = len(gained) // len(DRAWS)
    return all(_verdict(one).startswith("**") for one in (gained[:half], gained[half:]))


def together(found: Measured, view: str, kind: str, name: str) -> list[float]:
    """Return a figure of every clip, the mean over the ways to break a model so."""
    return [_mean(one) for one in zip(*column(found, view, kind, name), strict=True)]


def table(found: Measured, view: str) -> list[str]:
    """Return the lines of the table of one view: means over the clips, and over the ways to break a model so."""
    lines = [f"| {VIEWS[view]} | good | {' | '.join(BROKEN.values())} |", "|---|---|---|---|---|---|"]
    for name in QUALITY_FIGURES:
        cells = [f"{_mean(column(found, view, GOOD[0], name)[0]):.2f}"]
        for kind in BROKEN:
            each = together(found, view, kind, name)
            cells.append(f"{_mean(each):.2f} {_verdict(gains(found, view, each, name))}")
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def _verdict(gained: Sequence[float]) -> str:
    apart = bootstrap_mean([one for one in gained if not math.isnan(one)], seed=0)
    if apart is None or apart.low is None or apart.high is None:
        return "?"
    return f"**worse** ({_share(gained):.0%})" if apart.low > 0 else "*better*" if apart.high < 0 else "="


def _share(gained: Sequence[float]) -> float:
    """Return on which share of the clips a defect is seen."""
    known = [one for one in gained if not math.isnan(one)]
    return sum(one > 0 for one in known) / len(known)


def recommended(found: Measured) -> list[str]:
    """Return the figures that see a wrong clock and randomised layers in every view, on most clips."""

    def sees(name: str, view: str, kind: str) -> bool:
        gained = gains(found, view, together(found, view, kind, name), name)
        return _verdict(gained).startswith("**") and _share(gained) >= SURE

    return [name for name in QUALITY_FIGURES if all(sees(name, view, kind) for view in VIEWS for kind in WANTED)]


def always(found: Measured) -> list[str]:
    """Return the figures that see each direction and each seed by itself, in every view and each draw of clips."""
    return [
        name
        for name in QUALITY_FIGURES
        if all(
            is_seen(gains(found, view, one, name)) for view in VIEWS for kind in WANTED for one in column(found, view, kind, name)
        )
    ]


def atlas(model: Any, told: Sequence[Audio]) -> str:
    """Return in a sentence whether the heads that two halves of the clips find are the same."""
    half = len(told) // len(DRAWS)
    halves = [voxray.head_atlas(model, one) for one in (told[:half], told[half:])]
    ranked = [[(one.layer, one.head) for one in half] for half in halves]
    both = len(set(ranked[0][:BEST]) & set(ranked[1][:BEST]))
    scores = [{(one.layer, one.head): one for one in half} for half in halves]
    order = sorted(scores[0])
    pointing = [[half[place].pointing or 0.0 for place in order] for half in scores]
    roles = sum(scores[0][place].role == scores[1][place].role for place in order)
    apart = max(abs(one - other) for one, other in zip(*pointing, strict=True))
    agreement = rank_agreement(*pointing)
    best = [f"layer {layer}, head {head}" for (layer, head), *_ in ranked]
    return (
        f"The two draws find {both} of the {BEST} best heads alike of {len(order)}: first of all {best[0]} in the one and\n"
        f"{best[1]} in the other. The pointing of all heads has a rank correlation of {agreement:.2f} between the draws and\n"
        f"differs by {apart:.2f} at most; {roles} of {len(order)} heads have the same role in both."
    )


def report(model: Any, told: Sequence[Audio]) -> str:
    """Return the part of the page that is made here."""
    found = measured(model, told)
    names, sure = (", ".join(one.replace("_", " ") for one in some) for some in (recommended(found), always(found)))
    model_told = f"model {model.info.name}, sha256 {model.info.sha256[:12]}"
    made = [
        f"{len(told)} clips of clean synthetic speech in five languages, seeds {DRAWS[0]} and {DRAWS[1]}; {model_told}; means",
        "over clips, both directions and three seeds. **worse**: the defect is seen (the interval of the paired difference lies on",
        "that side), in brackets on how many of the clips; =: it is not; *better*: the broken model looks better.",
    ]
    verdict = [
        f"Recommended, for they see a wrong clock and random layers in both views on two clips of three or more: {names}.",
        f"Each direction and each seed by itself, in each draw of {len(told) // len(DRAWS)} clips, is seen by: {sure}.",
    ]
    return "\n\n".join("\n".join(part) for part in [made, *(table(found, view) for view in VIEWS), verdict, [atlas(model, told)]])


def main() -> None:
    """Measure, print, and write where that is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--clips", type=int, default=30, help="of each of the two draws")
    asked.add_argument("--write", action="store_true", help="put the tables into the page")
    how = asked.parse_args()
    text = report(voxray.load_model(), sounds(how.clips))
    print(text)
    if how.write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(MARKS[0])
        PAGE.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
