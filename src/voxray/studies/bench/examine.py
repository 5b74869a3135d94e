"""One clip of the benchmark: what every method says of its decisions, held against the truth and against the model.

Of most clips everything is measured that costs no more than masked runs. Of the clips chosen for it the sanity of the methods is
tested too, which explains everything again several times. Of a clip that was made of another (moved, or two words swapped) only how
the maps follow is measured.

Where a map lies, and what is hidden first, is told by the cells that speak for the decision, added up over mel; what a random set
of parts carries, by all cells with their signs. Both choices were made on the split ``dev``.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.audio import load_audio
from voxray.case import Case, Meter
from voxray.edits import compare
from voxray.masking import Fill
from voxray.measures import faithfulness, localisation
from voxray.methods import Explainer, Found
from voxray.sounds import with_noise
from voxray.studies.bench import probes, sanity
from voxray.studies.bench.questions import Heard, Question, Sample, drawn, questions
from voxray.studies.bench.rows import ORACLE, Row, truth
from voxray.trace import Trace
from voxray.types import Audio, OptionError

if TYPE_CHECKING:
    from voxray.models import Explainable

Float64Array = npt.NDArray[np.float64]
DISTURBED = 1  # sounds with faint noise in the test of sensitivity
Figures = dict[str, "float | None"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured of every clip; the same for a whole run.

    Attributes:
        rows: ways to explain.
        aims: of a clip's words at most so many are hidden and shown by every map; where maps point is measured of all.
        subsets: masked runs of the shared table.
        fills: what takes the place of what is hidden; the first for every measure, the others for deletion alone.
        seed: of every draw.
    """

    rows: tuple[Row, ...]
    aims: int = 2
    subsets: int = 100
    fills: tuple[Fill, ...] = ("noise_floor", "mean")
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What examines clips: the model, one that knows nothing, and the plan.

    Attributes:
        model: whose decisions are explained.
        blank: the same with random weights; None where such a model cannot be made.
        plan: what is measured.
    """

    model: Explainable
    blank: Explainable | None
    plan: Plan


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """What one row says of one question: relevance over time, and what it took.

    Attributes:
        scores: (K,) the sum over mel: what each moment adds.
        positive: (K,) the sum of the cells that speak for the decision alone: where the evidence for it lies.
        times: (K + 1,) edges of the cells, seconds.
        found: the whole of it.
        passes, seconds: spent beyond the trace, the share of this question.
    """

    scores: Float64Array
    positive: Float64Array
    times: Float64Array
    found: Found
    passes: float
    seconds: float


def heard(model: Explainable, sample: Sample) -> Heard:
    """Recognise a clip, keeping what every method needs.

    Raises:
        OptionError: when it is more than one piece of sound, or none.
    """
    trace = full_trace(model, load_audio(sample.audio))
    if len(trace.pieces) != 1:
        raise OptionError(f"it has {len(trace.pieces)} pieces of sound, but the benchmark takes clips of one; cut it at its pauses")
    return Heard(sample, trace, None if sample.clean is None else model.trace(sample.clean))


def full_trace(model: Explainable, audio: Audio) -> Trace:
    """Return the trace of a sound with all that methods read of it."""
    return model.trace(
        audio,
        layers=None if model.cross_shape is None else (0,),
        gradients="split" in model.gives,
        tensors=("input", "value") if "anatomy" in model.gives else (),
    )


def maps_of(model: Explainable, trace: Trace, asked: Sequence[Question], row: Row) -> list[Map]:
    """Return what a row says of some questions about a clip."""
    case = Case(model, trace.piece(0), [one.aim for one in asked], Meter())
    if row.method == ORACLE:
        return [_map(one, 0.0, 0.0) for one in truth(case, [one.span for one in asked])]
    return explained(case, _drawing(row, trace).build())


def _drawing(row: Row, trace: Trace) -> Row:
    """Return the row; random maps are drawn anew for each clip, so that their figures are independent."""
    if row.method != "random" or row.options:
        return row
    return replace(row, options={"seed": zlib.crc32(trace.audio.samples.tobytes())})


def explained(case: Case, method: Explainer) -> list[Map]:
    """Return the map of every target of a case."""
    found = method.explain(case)
    return [_map(one, case.meter.spent / len(found), case.meter.elapsed / len(found)) for one in found]


def _map(found: Found, passes: float, seconds: float) -> Map:
    cells = found.scores.astype(np.float64)
    return Map(cells.sum(axis=0), np.maximum(cells, 0.0).sum(axis=0), np.asarray(found.grid.times), found, passes, seconds)


def examine(bench: Bench, sample: Sample) -> dict[str, Any]:
    """Return the record of a clip: what was heard, and a row of figures for each question and way to explain.

    Raises:
        OptionError: when the corpus says something that cannot be asked.
        AudioError: when a sound cannot be read.
    """
    began = time.perf_counter()
    clip = heard(bench.model, sample)
    moved = sample.groups.get("moved")
    asked = questions(bench.model, clip)
    if moved is not None:
        asked, rows = [], _followed(bench, clip, moved)
    else:
        rows = _measured(bench, clip, asked) if asked else []
    words = clip.words
    counts = compare(sample.reference or "", clip.trace.text, unit="character").counts
    return {
        "set": sample.groups.get("set", "given"),
        "heard": clip.trace.text,
        "letters": counts.length,
        "wrong_letters": counts.errors,
        "words": len(words),
        "words_right": sum(one is not None for one in words),
        "aims": len({(row["kind"], row["target"], row["against"]) for row in rows}),
        "rows": rows,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _measured(bench: Bench, clip: Heard, asked: Sequence[Question]) -> list[dict[str, Any]]:
    """Return the rows of figures of a clip."""
    model, plan = bench.model, bench.plan
    maps = {row.name: maps_of(model, clip.trace, asked, row) for row in plan.rows}
    found = {(at, name): _seen(one[at], question) for at, question in enumerate(asked) for name, one in maps.items()}
    probed = drawn(asked, plan.aims, seed=zlib.crc32(clip.item.id.encode()))
    case = Case(model, clip.trace.piece(0), [asked[at].aim for at in probed], Meter())
    chosen = {name: [one[at] for at in probed] for name, one in maps.items()}
    parts = probes.even_parts(case.cells)
    further: list[dict[str, Any]] = []
    for fill in plan.fills:
        first = fill == plan.fills[0]
        for (index, name), figures in _leaned_on(case, parts, chosen, fill, plan if first else None).items():
            if first:
                found[probed[index], name] |= figures
            else:
                further.append(_line(asked[probed[index]], name, fill, figures))
    for (index, name), area in _by_words(case, clip, chosen, plan).items():
        found[probed[index], name]["deletion_words"] = area
    if clip.item.sanity:
        for (index, name), figures in _sane(bench, case, chosen, parts).items():
            found[probed[index], name] |= figures
    return [*(_line(asked[at], name, plan.fills[0], figures) for (at, name), figures in found.items()), *further]


def _line(question: Question, method: str, fill: str, figures: Figures) -> dict[str, Any]:
    target = question.aim.target
    told = {"kind": question.kind, "target": target.label, "against": target.against, "method": method, "fill": fill}
    return {**told, "figures": figures}


def _seen(one: Map, question: Question) -> Figures:
    """Return what can be said of a map without asking the model: where it points, and what it is like."""
    parts, _ = _placed(one)
    figures: Figures = {
        "complexity": faithfulness.complexity(parts),
        "sparseness": faithfulness.sparseness(parts),
        "passes": one.passes,
        "seconds": one.seconds,
    }
    if one.found.unit != "share" and one.found.parts:
        total = one.found.scores.sum(dtype=np.float64) + sum(one.found.parts.values())
        figures["completeness"] = faithfulness.completeness([total], one.found.score)
    if question.span is None:
        return figures
    told = localisation.evaluate(one.positive, one.times, question.span)
    edges = _edges(one)
    figures |= {
        "pointing": float(told.pointing),
        "top_three": float(told.top_three),
        "top_segment": float(localisation.top_window(one.positive, one.times, question.span)),
        "mass": told.mass,
        "lift": told.lift,
        "roc_auc": told.roc_auc,
        "distance": told.distance,
        "start_error": None if edges is None else 1e3 * (edges[0] - question.span[0]),
        "end_error": None if edges is None else 1e3 * (edges[1] - question.span[1]),
    }
    return {name: None if value is None or not np.isfinite(value) else value for name, value in figures.items()}


def _edges(one: Map) -> tuple[float, float] | None:
    """Return when 10 % and when 90 % of the positive relevance lie behind; None of a map without any."""
    run = np.concatenate([[0.0], np.cumsum(one.positive)])
    if run[-1] <= 0:
        return None
    first, last = np.interp([0.1 * run[-1], 0.9 * run[-1]], run, one.times)
    return float(first), float(last)


def _leaned_on(
    case: Case, parts: probes.Parts, maps: Mapping[str, Sequence[Map]], fill: Fill, plan: Plan | None
) -> dict[tuple[int, str], Figures]:
    """Return what the model says when what each map names is hidden; with a plan also insertion and the shared table."""
    ledger = probes.Ledger()
    base = ledger.add(np.zeros((1, len(parts)), bool))
    hidden = None if plan is None else faithfulness.subsets(len(parts), plan.subsets, seed=plan.seed)
    table = None if hidden is None else ledger.add(hidden)
    each = {(index, name): one for name, all_ in maps.items() for index, one in enumerate(all_)}
    masks = {key: probes.deletions(probes.on_parts(one.positive, one.times, parts.edges)) for key, one in each.items()}
    gone = {key: ledger.add(one) for key, one in masks.items()}
    back = {} if plan is None else {key: ledger.add(~one) for key, one in masks.items()}
    ledger.run(case, parts, fill, 0 if plan is None else plan.seed)
    found: dict[tuple[int, str], Figures] = {}
    for (index, name), places in gone.items():
        odds = bool(case.aims[index].target.against) or case.aims[index].target.kind == "tag"
        start = float(ledger.scores(base, index)[0])
        told = probes.curve(probes.shares(ledger.scores(places, index), start, odds=odds), len(parts))
        found[index, name] = {"deletion": told["area"], "comprehensiveness": told["fall"]}
        if hidden is None or table is None:
            continue
        told = probes.curve(probes.shares(ledger.scores(back[index, name], index), start, odds=odds), len(parts))
        found[index, name] |= {"insertion": told["area"], "sufficiency": told["fall"]}
        drops = start - ledger.scores(table, index)
        own = each[index, name]
        found[index, name] |= probes.table_measures(probes.on_parts(own.scores, own.times, parts.edges), hidden, drops)
    return found


def _by_words(case: Case, clip: Heard, maps: Mapping[str, Sequence[Map]], plan: Plan) -> dict[tuple[int, str], float]:
    """Return, of words, the deletion area where whole words and pauses are hidden, by their true times, one after the other."""
    asked = [index for index, aim in enumerate(case.aims) if aim.target.kind == "word" and not aim.target.against]
    if not asked:
        return {}
    parts = probes.true_parts(case.cells, [(word.start, word.end) for word in clip.item.words or ()])
    ledger, gone = probes.Ledger(), {}
    base = ledger.add(np.zeros((1, len(parts)), bool))
    steps = np.arange(len(parts) + 1)
    for name, all_ in maps.items():
        for index in asked:
            relevance = probes.on_parts(all_[index].positive, all_[index].times, parts.edges)
            gone[index, name] = ledger.add(np.argsort(faithfulness.order(relevance))[None] < steps[:, None])
    ledger.run(case, parts, plan.fills[0], plan.seed)
    start = {index: float(ledger.scores(base, index)[0]) for index in asked}
    return {
        (index, name): faithfulness.area(steps / len(parts), probes.shares(ledger.scores(places, index), start[index], odds=False))
        for (index, name), places in gone.items()
    }


def _sane(bench: Bench, case: Case, maps: Mapping[str, Sequence[Map]], parts: probes.Parts) -> dict[tuple[int, str], Figures]:
    """Return how maps fare when the model is randomised, the sound faintly disturbed, or other random numbers are drawn."""
    trace = case.trace
    noisy = [with_noise(trace.audio, sanity.SNR, seed=bench.plan.seed + step) for step in range(DISTURBED)]
    disturbed = [sanity.held(bench.model, trace, case.aims, audio) for audio in noisy]
    blank = [] if bench.blank is None else [sanity.held(bench.blank, trace, case.aims)]
    found: dict[tuple[int, str], Figures] = {}
    for row in bench.plan.rows:
        if row.method == ORACLE:
            continue
        again = sanity.part_maps(row.build(), [*blank, *disturbed], parts.edges)
        other = row.with_seed(bench.plan.seed + 1)
        reseeded = None if other is None else sanity.part_maps(other, [case], parts.edges)[0]
        for index, one in enumerate(maps[row.name]):
            own = probes.on_parts(one.scores, one.times, parts.edges)
            found[index, row.name] = {
                "randomised": sanity.fall(own, again[:1, index]).similarity if blank else None,
                "sensitivity": faithfulness.sensitivity(own, again[len(blank) :, index]),
                "seed_agreement": 1.0 if reseeded is None else sanity.seed_agreement([own, reseeded[index]]),
                "prompt_mass": sanity.prompt_mass(one.found, parts.edges),
            }
    return found


def _followed(bench: Bench, clip: Heard, moved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how maps follow when silence is put before the sound, or when two words change places."""
    asked = [one for one in questions(bench.model, clip) if one.kind == "word"]
    if moved.get("kind") == "swap":
        return _swapped(bench, clip, [one for one in asked if one.word in moved["words"]], moved["words"])
    if clip.item.pair is None:
        raise OptionError("a clip that was moved names no pair; give the id of the clip that it was made of")
    own = heard(bench.model, clip.item.pair)
    before = {one.word: one for one in questions(bench.model, own) if one.kind == "word"}
    both = [one for one in asked if one.word in before]
    both = [both[at] for at in drawn(both, bench.plan.aims, seed=zlib.crc32(clip.item.id.encode()))]
    rows = []
    for row in bench.plan.rows if both else ():
        first = maps_of(bench.model, own.trace, [before[one.word] for one in both], row)
        second = maps_of(bench.model, clip.trace, both, row)
        for question, old, new in zip(both, first, second, strict=True):
            figures: Figures = {"shift_error": sanity.shift_error(_placed(old), _placed(new), float(moved["seconds"]))}
            rows.append(_line(question, row.name, bench.plan.fills[0], figures))
    return rows


def _swapped(bench: Bench, clip: Heard, asked: Sequence[Question], places: Sequence[int]) -> list[dict[str, Any]]:
    """Return whether the maps of two words that changed places lie where the words are now."""
    words, rows = clip.item.words or (), []
    for row in bench.plan.rows if asked else ():
        for question, one in zip(asked, maps_of(bench.model, clip.trace, asked, row), strict=True):
            other = next(place for place in places if place != question.word)
            now = question.span or (0.0, 0.0)
            there = sanity.follows(*_placed(one), now, (words[other].start, words[other].end))
            figures: Figures = {"swap": None if there is None else float(there)}
            rows.append(_line(question, row.name, bench.plan.fills[0], figures))
    return rows


def _placed(one: Map) -> tuple[Float64Array, Float64Array]:
    """Return a map over parts of 60 ms, and their edges."""
    first, last = one.times[0], one.times[-1]
    edges = np.append(np.arange(first, last - 1e-9, probes.PART), last)
    return probes.on_parts(one.scores, one.times, edges), edges
