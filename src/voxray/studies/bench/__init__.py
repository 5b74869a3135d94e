"""The benchmark: which explanation can be trusted, on speech of which it is known where the evidence must lie.

Every method, and maps that know nothing, are asked about the same decisions of the same clips. A run is a folder that survives
kills and goes on where it was, by any number of processes; the table does not depend on them, but for the seconds.

**Source:** the protocol is the project's own; measures as in Quantus 0.6 where it has them.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from voxray.api import load_model
from voxray.manifest import Item, Manifest, read_manifest
from voxray.models import is_id
from voxray.storage import whole_file
from voxray.studies.bench.examine import Bench, Plan, examine
from voxray.studies.bench.gates import gates
from voxray.studies.bench.measures import MEASURES
from voxray.studies.bench.questions import Sample
from voxray.studies.bench.rows import BASELINES, ORACLE, rows_of
from voxray.studies.bench.sanity import last_stage
from voxray.studies.bench.table import table
from voxray.studies.folder import RunFolder, read_records
from voxray.studies.workers import Examine, Job, local
from voxray.types import OptionError, Progress, plain

__all__ = ["BenchOptions", "Benchmark", "bench"]

FORMAT = 1
TABLE, ITEMS, SETS = "table.json", "items.csv", "sets"
TEST = "test"  # the split that is scored; the other is there to choose and calibrate on
QUICK_METHODS = ("exact", "occlusion", "attention", "norm_rollout", "word_leave_one_out")
QUICK_SETS = "ACDFG"


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is run.

    Attributes:
        methods: names, each with options after a colon (``occlusion:width=0.24``); none for every method that fits the model.
        sets: names of the corpus's sets; none for all.
        clips: of a set at most so many; None for all.
        aims: of a clip's words at most so many are hidden and shown by every map, which takes most of the time; where maps point
            is measured of all words.
        subsets: masked runs of the table that all maps share.
        sane: clips on which the sanity of the methods is tested.
        seed: of the sets, where they are made, and of every draw.
    """

    methods: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    clips: int | None = None
    aims: int = 2
    subsets: int = 100
    sane: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be met."""
        least = {"clips": 1, "aims": 1, "subsets": 2, "sane": 0, "seed": 0}
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                raise OptionError(f"{name} is {given}, but at least {value} was expected")

    @classmethod
    def quick(cls, seed: int = 0) -> BenchOptions:
        """Return what shows in a few minutes whether all is well: few methods, few clips."""
        return cls(QUICK_METHODS, tuple(QUICK_SETS), clips=6, aims=1, subsets=40, sane=2, seed=seed)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A run of the benchmark.

    Attributes:
        folder: where it lies.
        table: as ``table.json`` holds it.
        problems: a line for each clip that could not be examined, or line of the corpus that could not be read.
        whole: whether every clip was examined; a budget may end a run before.
    """

    folder: Path
    table: Mapping[str, Any]
    problems: tuple[str, ...]
    whole: bool

    @property
    def sane(self) -> bool:
        """Whether every sanity gate that could be asked holds."""
        return all(gate["passed"] is not False for gate in self.table["gates"])


def bench(
    model: str | os.PathLike[str] | None,
    corpus: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    options: BenchOptions | None = None,
    processes: int = 1,
    seconds: float | None = None,
    device: str = "auto",
    restart: bool = False,
    progress: Progress | None = None,
) -> Benchmark:
    """Run the benchmark, or go on with one that was stopped.

    Args:
        model: an ``.onnx`` file, its folder, or an id as ``load_model`` takes it; None for the bundled model.
        corpus: a manifest with ``text`` and ``words`` (times in seconds), or its folder; None to make the sets of
            :mod:`voxray.truespeech.sets` in the run's folder, which needs the extra ``speech``.
        out: the folder of the run: ``results.jsonl``, ``items.csv``, ``table.json``.
        options: what is run; None for everything.
        processes: workers, one thread each; figures do not depend on it, but for the seconds.
        seconds: after which no further clip is begun; the table is then made of those that are done.
        device: what the model runs on, as ``load_model`` takes it.
        restart: throw away what the folder holds of another run.
        progress: called with clips done and clips in all.

    Raises:
        OptionError: when there is no such method, option or set, the corpus cannot be read, or the folder holds another run.
        ModelError: when the model cannot be opened.
        OutputError: when the folder cannot be written to; what was done is kept.
    """
    asked, place = options or BenchOptions(), Path(out)
    if processes < 1 or (seconds is not None and not seconds > 0):
        raise OptionError(f"processes must be at least 1 and seconds above 0, got {processes} and {seconds}")
    listed = read_manifest(_corpus(corpus, place, asked, processes).absolute())
    samples = chosen(listed, asked)
    if not samples:
        raise OptionError(
            f"{listed.path} has no clip to ask about: clips need text and words, and the split {TEST} where they have one"
        )
    source = model if model is None or is_id(model) else Path(model).absolute()
    job = Job(source, 1, asked, opened, device)
    way = _Way(processes, None if seconds is None else time.monotonic() + seconds, restart, progress)
    return _made(place, listed, _filled(place, listed, samples, job, way), asked, len(samples))


@dataclass(frozen=True, slots=True)
class _Way:
    """How the work is done; ``until`` is of the monotonic clock."""

    processes: int
    until: float | None
    restart: bool
    progress: Progress | None


def _filled(place: Path, listed: Manifest, samples: Sequence[Sample], job: Job, way: _Way) -> dict[str, Any]:
    """Examine what is not done yet and write its lines; return what the workers say of the model and the methods."""
    began: dict[str, Any] = {}
    with RunFolder(place) as folder:

        def check(told: Mapping[str, Any]) -> None:
            if not began:
                folder.begin(_about(listed, job, told, len(samples)), restart=way.restart)
                began.update(told)

        done = set() if way.restart else folder.done
        waiting = [one for one in samples if one.id not in done]
        count = len(samples) - len(waiting)
        with closing(local(job, waiting, way.processes, check)) as lines:
            for line in lines:
                if line is not None:
                    folder.append(line.text)
                    count += 1
                    if way.progress is not None:
                        way.progress(count, len(samples))
                if began and way.until is not None and time.monotonic() > way.until:
                    break
    return began


def chosen(listed: Manifest, options: BenchOptions) -> list[Sample]:
    """Return the clips of a corpus that are asked about.

    Those of a set are in the order of the manifest, and the sets take turns by their sizes, so that a budget that ends a run
    leaves the same share of each.

    Raises:
        OptionError: when the corpus has no such set, or a clip names a pair or a clean sound that is not there.
    """
    by_id = {item.id: item for item in listed.items}
    known = {str(item.groups.get("set", "given")) for item in listed.items}
    missing = sorted(set(options.sets) - known)
    if missing:
        raise OptionError(f"the corpus has no set {', '.join(missing)}; it has {', '.join(sorted(known))}")
    taken: dict[str, int] = {}
    found = []
    for item in listed.items:
        name = str(item.groups.get("set", "given"))
        fits = item.words and item.reference is not None and item.groups.get("split", TEST) == TEST
        if not fits or (options.sets and name not in options.sets) or taken.get(name, 0) == options.clips:
            continue
        taken[name] = taken.get(name, 0) + 1
        found.append(_sample(item, listed.path.parent, by_id, sane="aims" not in item.groups and taken[name] <= options.sane))
    first = next((one.groups.get("set") for one in found if one.sanity), None)
    found = [replace(one, sanity=one.sanity and one.groups.get("set") == first) for one in found]
    gone: dict[str, int] = {}
    turns = []
    for at, one in enumerate(found):
        name = str(one.groups.get("set", "given"))
        turns.append((gone.get(name, 0) / taken[name], at))
        gone[name] = gone.get(name, 0) + 1
    return [found[at] for _, at in sorted(turns)]


def _sample(item: Item, folder: Path, by_id: Mapping[str, Item], *, sane: bool) -> Sample:
    values = {one.name: getattr(item, one.name) for one in fields(Item)}
    clean, pair = item.groups.get("clean"), item.groups.get("pair")
    if clean is not None and not (folder / str(clean)).is_file():
        raise OptionError(f"the clip {item.id} names the clean sound {clean!r}, which is not in {folder}")
    if "moved" not in item.groups:
        return Sample(**values, clean=None if clean is None else folder / str(clean), sanity=sane)
    if str(pair) not in by_id:
        raise OptionError(f"the clip {item.id} was made of {pair!r}, which the corpus does not have")
    return Sample(**values, pair=_sample(by_id[str(pair)], folder, {}, sane=False))


def _corpus(given: str | os.PathLike[str] | None, place: Path, options: BenchOptions, processes: int) -> Path:
    """Return the manifest; without a corpus that of the sets, which are made."""
    if given is not None:
        path = Path(given)
        return path / "manifest.jsonl" if (path / "manifest.jsonl").is_file() else path
    from voxray.truespeech.sets import make_sets

    return make_sets(place / SETS, seed=options.seed, processes=processes)


def opened(job: Job) -> tuple[dict[str, Any], Examine]:
    """Open the model of a job in a worker; return what it is and what examines a clip.

    Args:
        job: its inquiry is :class:`BenchOptions`.

    Raises:
        ModelError: when the model cannot be opened.
        OptionError: when a method does not exist or does not fit it.
    """
    model: Any = load_model(job.model, threads=job.threads, device=job.device)
    options: BenchOptions = job.inquiry
    plan = Plan(rows_of(options.methods, model), options.aims, options.subsets, seed=options.seed)
    told = {
        "model": plain(model.info),
        "methods": [
            {"name": row.name, "title": row.title, "baseline": row.method in BASELINES, "oracle": row.method == ORACLE}
            for row in plan.rows
        ],
    }
    tools = Bench(model, last_stage(model, seed=options.seed).model if options.sane and "anatomy" in model.gives else None, plan)
    return told, lambda item: examine(tools, item) if isinstance(item, Sample) else {}


def _about(listed: Manifest, job: Job, told: Mapping[str, Any], clips: int) -> dict[str, Any]:
    """Return what ``run.json`` says."""
    return {
        "format": FORMAT,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "manifest": {"path": str(listed.path), "sha256": listed.sha256, "clips": clips},
        "model": dict(told["model"]),
        "inquiry": plain(job.inquiry),
    }


def _made(place: Path, listed: Manifest, told: Mapping[str, Any], options: BenchOptions, clips: int) -> Benchmark:
    """Write the table of what was done, and return it."""
    records = [one for one in read_records(place) if one.get("problem") is None]
    failed = [f"{one['id']}: {one['problem']}" for one in read_records(place) if one.get("problem") is not None]
    corpus = {"name": listed.path.parent.name, "sha256": listed.sha256, "clips": len(records)}
    result = table(records, told["methods"], seed=options.seed) | {
        "provenance": _provenance(options) | {"model": told["model"], "corpus": corpus},
        "gates": [one.to_dict() for one in gates(records, seed=options.seed)],
    }
    with RunFolder(place) as folder:
        folder.write(TABLE, result)
    with whole_file(place / ITEMS) as stream:
        stream.write(items(records).encode())
    return Benchmark(place, result, (*map(str, listed.problems), *failed), len(records) + len(failed) >= clips)


def _provenance(options: BenchOptions) -> dict[str, Any]:
    return {
        **{name: version(name) for name in ("voxray", "numpy", "onnxruntime")},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, one thread",
        "made": datetime.now(timezone.utc).date().isoformat(),
        "seed": options.seed,
        "quick": options == BenchOptions.quick(options.seed),
        "options": plain(options),
    }


def items(records: Sequence[Mapping[str, Any]]) -> str:
    """Return every single figure as CSV: a line for each clip, question, method and fill."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["set", "clip", "kind", "target", "against", "method", "fill", *MEASURES])
    for record in sorted(records, key=lambda one: str(one["id"])):
        writer.writerows(_lines(record))
    return stream.getvalue()


def _lines(record: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in record.get("rows", ()):
        values = (row["figures"].get(name) for name in MEASURES)
        told = ["" if value is None else f"{value:.6g}" for value in values]
        yield [record["set"], record["id"], *(row[name] for name in ("kind", "target", "against", "method", "fill")), *told]
