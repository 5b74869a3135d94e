"""A whole corpus: every clip of a manifest examined once, in a folder that survives kills, and a summary of it all.

The lines of a run come in the order in which clips are done; the summary does not depend on it, nor on how many processes there
were, but for the seconds spent.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from voxray.api import load_model
from voxray.audio import load_audio
from voxray.manifest import Item, Manifest, read_manifest
from voxray.models import is_id
from voxray.studies.errors import Beyond
from voxray.studies.folder import SUMMARY, RunFolder, read_records
from voxray.studies.summary import summarise
from voxray.studies.why import Clip, Inquiry, examine
from voxray.studies.workers import Check, Examine, Job, Lines, Prepare, local
from voxray.texts import normalisation_of, unit_of
from voxray.types import Audio, AudioError, OptionError, Progress, plain

Engine = Literal["local", "ray"]
FORMAT = 1  # of the folder; a run is only gone on with by a Voxray that writes the same
FROM_MANIFEST = "manifest"  # as the language of an inquiry: the prompt is what the manifest says of each clip
BEYOND = 0.1  # seconds by which a clip may be said to end after its sound


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        summary: as ``summary.json`` holds it; see :mod:`voxray.studies.summary`.
        problems: a line for each line of the manifest that was left out, and each clip that could not be examined.
    """

    folder: Path
    summary: Mapping[str, Any]
    problems: tuple[str, ...]


def evaluate(
    manifest: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    inquiry: Inquiry | None = None,
    processes: int = 1,
    threads: int = 1,
    device: str = "auto",
    engine: Engine = "local",
    groups: Sequence[str] = (),
    restart: bool = False,
    progress: Progress | None = None,
    prepare: Prepare | None = None,
) -> Run:
    """Examine every clip of a manifest; a run that was stopped goes on where it was.

    Args:
        manifest: see :func:`voxray.manifest.read_manifest`.
        out: the folder of the run: ``run.json``, ``results.jsonl``, ``summary.json``.
        model: an ``.onnx`` file, its folder, or an id as ``load_model`` takes it; None for the bundled model.
        inquiry: what is asked of every clip; None for what is wrong, without evidence and causes. With the language ``manifest``
            each clip is recognised under the language that its line names, with ``auto`` under ``auto`` where it does not.
        processes: workers; results do not depend on it.
        threads: of each worker.
        device: what the model runs on, as ``load_model`` takes it.
        engine: ``local`` for this machine; ``ray`` for a Ray cluster whose nodes see the same files.
        groups: manifest fields by whose values the summary is told too.
        restart: throw away what the folder holds of another run.
        progress: called with clips done and clips in all.
        prepare: opens the model and returns what examines a clip; None for Voxray's own.

    Raises:
        OptionError: when the manifest lists nothing that can be read, an option does not exist, or the folder holds a run of
            another model, manifest or inquiry, or is being written by another process.
        ModelError: when the model cannot be opened.
        OutputError: when the folder cannot be written to; what was done is kept.
    """
    if processes < 1 or threads < 1:
        raise OptionError(f"processes and threads must be at least 1, got {processes} and {threads}")
    listed = read_manifest(Path(manifest).absolute(), groups)
    if not listed.items:
        raise OptionError(f"{listed.path} lists no clip that can be read: {listed.problems[0]}")
    asked = inquiry or Inquiry(evidence=False, causes=False)
    placed = model if model is None or is_id(model) else Path(model).absolute()  # of an id, every worker finds the files
    job = Job(placed, threads, asked, prepare or opened, device)
    with RunFolder(Path(out)) as folder:
        _fill(folder, listed, job, _Way(engine, processes, restart, progress))
    records = read_records(folder.path)
    summary = summarise(records, groups, seed=asked.seed, causes=asked.causes) | {"manifest_problems": [*map(str, listed.problems)]}
    folder.write(SUMMARY, summary)
    failed = (f"{one['id']}: {one['problem']}" for one in summary["failed"])
    return Run(folder.path, summary, (*map(str, listed.problems), *failed))


@dataclass(frozen=True, slots=True)
class _Way:
    """How the work is done."""

    engine: Engine
    processes: int
    restart: bool
    progress: Progress | None

    def lines(self, job: Job, items: Sequence[Item], check: Check) -> Lines:
        """Return the lines of the clips as they are done."""
        if self.engine == "local":
            return local(job, items, self.processes, check)
        if self.engine == "ray":
            from voxray.studies.cluster import distributed

            return distributed(job, items, self.processes, check)
        raise OptionError(f"there is no engine {self.engine!r}; choose local or ray")


def _fill(folder: RunFolder, listed: Manifest, job: Job, way: _Way) -> None:
    """Examine what is not done yet and write its lines."""
    began: Mapping[str, Any] | None = None

    def check(told: Mapping[str, Any]) -> None:
        nonlocal began
        if began is None:
            folder.begin(_about(listed, job, told), restart=way.restart)
            began = told
        elif began != told:
            raise OptionError("the model file changed while the run went on; leave it alone, and restart (--restart)")

    done = set() if way.restart else folder.done
    waiting = [item for item in listed.items if item.id not in done]
    count, total = len(listed.items) - len(waiting), len(listed.items)
    with closing(way.lines(job, waiting, check)) as lines:
        for line in lines:
            if line is None:
                folder.sync()
                continue
            folder.append(line.text)
            count += 1
            if way.progress is not None:
                way.progress(count, total)


def _about(listed: Manifest, job: Job, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``run.json`` says."""
    packages = ("voxray", "numpy", "onnxruntime")
    return {
        "format": FORMAT,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "manifest": {
            "path": str(listed.path),
            "sha256": listed.sha256,
            "clips": len(listed.items),
            "problems": [str(one) for one in listed.problems],
        },
        "model": dict(model),
        "model_path": None if job.model is None else str(job.model),
        "inquiry": plain(job.inquiry),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


# --- In the workers ----------------------------------------------------------------------------------------------------


def opened(job: Job) -> tuple[dict[str, Any], Examine]:
    """Open the model of a job.

    Args:
        job: its inquiry is an :class:`Inquiry`.

    Returns:
        What the model is, and the function that makes a clip's record.

    Raises:
        ModelError: when it cannot be opened.
        OptionError: when it does not know the language asked for.
    """
    model: Any = load_model(job.model, threads=job.threads, device=job.device)
    known = ("auto", FROM_MANIFEST, *model.languages)
    if job.inquiry.language not in known:
        raise OptionError(f"the model has no language {job.inquiry.language!r}; choose one of {', '.join(dict.fromkeys(known))}")
    labels = {kind: {label.casefold(): label for label in ids} for kind, ids in model.labels.items()}
    sounds = _Sounds()

    def examined(item: Item) -> dict[str, Any]:
        return examine(model, _clip(item, job.inquiry, sounds, labels), _counted(item, job.inquiry))

    return plain(model.info), examined


class _Sounds:
    """Finds the sound of a clip; keeps the last recording, since the parts of one stand together in a manifest."""

    def __init__(self) -> None:
        self._last: tuple[Path, Audio] | None = None

    def __call__(self, item: Item) -> tuple[Path | Audio, Beyond | None]:
        """Return the sound of a clip, and the recording around it where it is a part of one.

        Raises:
            AudioError: when it cannot be read, or the clip lies outside it.
        """
        if item.offset is None:
            return item.audio, None
        if self._last is None or self._last[0] != item.audio:
            self._last = item.audio, load_audio(item.audio)
        whole = self._last[1]
        end = whole.duration if item.duration is None else item.offset + item.duration
        if item.offset >= whole.duration or end > whole.duration + BEYOND:
            span = f"{item.offset:g} to {end:g} s"
            raise AudioError(f"the clip is said to lie at {span}, but {item.written} has {whole.duration:g} s; mend its line")
        end = min(end, whole.duration)
        return whole.cut(item.offset, end), Beyond(whole, item.offset, end)


def _prompt(item: Item, inquiry: Inquiry) -> str:
    return (item.language or "auto") if inquiry.language == FROM_MANIFEST else inquiry.language


def _clip(item: Item, inquiry: Inquiry, sounds: _Sounds, labels: Mapping[str, Mapping[str, str]]) -> Clip:
    """Return a clip as the examination takes it, with labels as the model writes them."""
    sound, beyond = sounds(item)
    wanted = {"language": item.language, "emotion": item.emotion, "event": item.event}
    return Clip(
        sound,
        item.reference,
        _prompt(item, inquiry),
        beyond,
        {kind: labels.get(kind, {}).get(label.casefold(), label) for kind, label in wanted.items() if label},
        [(word.text, word.start, word.end) for word in item.words or ()],
    )


def _counted(item: Item, inquiry: Inquiry) -> Inquiry:
    """Return the inquiry with unit and normalisation set by the reference, never by what was recognised.

    Two runs of a corpus then count in the same units, also where one of them takes a clip for another language.
    """
    prompt = _prompt(item, inquiry)
    language = item.language or prompt
    return replace(
        inquiry,
        language=prompt,
        unit=inquiry.unit or unit_of(language, item.reference or ""),
        normalisation=inquiry.normalisation or normalisation_of(language),
    )
