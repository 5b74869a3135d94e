"""The report of a run or of one sound: brings records, sounds and spectrograms together for the page that shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from voxray.audio import load_audio
from voxray.frontend import DEFAULT, fbank
from voxray.studies.folder import REPORT, SUMMARY, read_records, read_run
from voxray.studies.summary import UNEXPLAINED, summarise
from voxray.types import Audio, AudioError, OptionError
from voxray.views import report
from voxray.views.page import Language
from voxray.views.report import Media

Record = Mapping[str, Any]


def report_of(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None, *, language: Language = "en") -> Path:
    """Write the report of a run of ``evaluate`` as one HTML file that needs no network.

    Args:
        folder: of the run. The sounds are read again from where its manifest lies; of one that is gone the page says so.
        path: of the page; None for ``report.html`` in the folder.
        language: of the page at first; it can be switched there.

    Returns:
        The path.

    Raises:
        OptionError: when the folder holds no finished run.
        OutputError: when the page cannot be written.
    """
    run = Path(folder)
    about = read_run(run)
    file = run / SUMMARY
    if not file.is_file():
        raise OptionError(f"{run} holds no finished run; let 'voxray evaluate' end first")
    summary = json.loads(file.read_text(encoding="utf-8"))
    home = Path(about["manifest"]["path"]).parent
    last: dict[Path, Audio] = {}

    def media(record: Record) -> Media | None:
        try:
            sound = home / record["audio"]
            if sound not in last:  # the parts of one recording stand together
                last.clear()
                last[sound] = load_audio(sound)
            start = record.get("offset")
            return media_of(last[sound] if start is None else last[sound].cut(start, start + record["duration"]))
        except (AudioError, KeyError):
            return None

    return report.write_report(read_records(run), shown(summary, about), media, Path(path or run / REPORT), language=language)


def write_report(
    records: Iterable[Record], sounds: Mapping[str, Audio], path: str | os.PathLike[str], *, language: Language = "en"
) -> Path:
    """Write the report of some records.

    Args:
        records: as :meth:`voxray.Why.to_dict` gives them, each with an ``id``.
        sounds: the sound of each id.
        path: of the page.
        language: of the page at first.

    Returns:
        The path.

    Raises:
        OutputError: when the page cannot be written.
    """
    kept = list(records)
    causes = any(mistake["causes"] for record in kept for mistake in record["mistakes"])

    def media(record: Record) -> Media | None:
        return media_of(sounds[record["id"]]) if record["id"] in sounds else None

    return report.write_report(kept, shown(summarise(kept, causes=causes)), media, Path(path), language=language)


def media_of(audio: Audio) -> Media:
    """Return a sound and its log mel energies, as the front-end computes them."""
    found = fbank(audio)
    return Media(audio.samples, audio.sample_rate, found.values, DEFAULT.frame_shift, found.start)


def shown(summary: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a summary in the form that the page takes.

    Args:
        summary: see :mod:`voxray.studies.summary`.
        about: what ``run.json`` says, where there is a run.
    """
    every = summary["overall"]
    told: dict[str, Any] = {
        "clips": every["clips"],
        "failed": len(summary["failed"]),
        "groups": {name: [_group(value, one) for value, one in by.items()] for name, by in summary["groups"].items()},
        "calibration": every["calibrated"] or every["confidence"],
        "tags": {kind: _confusion(one["confusion"]) for kind, one in every["tags"].items()},
        "alignment": every["alignment"],
    }
    if every["error_rate"] is not None:
        counts = {name: every[name] for name in ("hits", "substitutions", "deletions", "insertions", "length")}
        told["errors"] = counts | {"rate": every["error_rate"]}
    if every["causes"] is not None:
        named = {name: count for name, count in every["causes"].items() if name != UNEXPLAINED}
        told["causes"] = {"named": named, "unexplained": every["causes"].get(UNEXPLAINED, 0), "mistakes": every["mistakes"]}
    if about is not None:
        model, versions = about["model"], about["versions"]
        told["run"] = {
            "model": f"{model['name']} ({model['layout']}, {model['precision']}, {model['sha256'][:12]})",
            "manifest": Path(about["manifest"]["path"]).name,
            "started": about["started"],
            "versions": ", ".join(f"{name} {one}" for name, one in versions.items()),
        }
    return told


def _group(value: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": value, "clips": figures["clips"], "rate": figures["error_rate"] or {"value": None, "low": None, "high": None}}


def _confusion(pairs: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return counts of recognised labels for wanted ones as a table."""
    columns = sorted({label for row in pairs.values() for label in row} | set(pairs))
    return {
        "wanted": list(pairs),
        "recognised": columns,
        "counts": [[row.get(one, 0) for one in columns] for row in pairs.values()],
    }
