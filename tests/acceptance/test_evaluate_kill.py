"""A run that is killed again and again ends as one that was left alone: every clip once, every line whole, the same summary.

The kills are real (SIGKILL), at random moments, now of the whole process group and now of the parent alone. The suite does a few of
them; more by hand:

    VOXRAY_KILLS=20 VOXRAY_KILL_CLIPS=200 python -m pytest -s tests/acceptance/test_evaluate_kill.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voxray.demo import demo_clips
from voxray.studies.folder import read_records

KILLS = int(os.environ.get("VOXRAY_KILLS", "4"))
CLIPS = int(os.environ.get("VOXRAY_KILL_CLIPS", "120"))
SEED = int(os.environ.get("VOXRAY_KILL_SEED", "0"))
STARTING = 1.5  # seconds in which a run starts its workers and opens the model

RUN = """
import sys
from voxray.studies.corpus import evaluate
if __name__ == "__main__":
    evaluate(sys.argv[1], sys.argv[2], processes=2, groups=["language"])
"""


def written_manifest(folder: Path, count: int) -> Path:
    """Write a manifest of the bundled clips over and over, every other time only their beginning."""
    lines = []
    for number in range(count):
        clip = demo_clips()[number % len(demo_clips())]
        line: dict[str, Any] = {
            "id": f"{number:04}",
            "audio": str(clip.path),
            "text": clip.text,
            "language": clip.language,
            "emotion": clip.emotion,
        }
        if number // len(demo_clips()) % 2:
            line |= {"offset": 0.0, "duration": round(clip.words[-1][1], 3)}
        lines.append(json.dumps(line, ensure_ascii=False))
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def begun(manifest: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(manifest), str(out)], start_new_session=True)


def finish(manifest: Path, out: Path) -> None:
    with begun(manifest, out) as process:
        assert process.wait() == 0


def ids(out: Path) -> list[str]:
    """Return the ids of all whole lines, each of which must be a record."""
    return [one["id"] for one in read_records(out)] if (out / "results.jsonl").exists() else []


def kill(process: subprocess.Popen[bytes], out: Path, lines: int, rng: np.random.Generator) -> bool:
    """Kill a run at a random moment of its start, or after so many more lines; tell whether it was still running."""
    there = len(ids(out))
    until = time.monotonic() + (rng.uniform(0, STARTING) if lines == 0 else 60)
    while len(ids(out)) < there + max(lines, 1) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.04))
    running = process.poll() is None
    if running:
        (os.killpg if rng.integers(2) else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    return running


def living(groups: set[int]) -> list[str]:
    """Return the processes of some groups that still run."""
    told = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    return [pid for group, state, pid in rows if int(group) in groups and not state.startswith("Z")]


def without(told: Any, name: str) -> Any:
    """Return JSON without what a field holds, wherever it stands."""
    if isinstance(told, Mapping):
        return {key: without(one, name) for key, one in told.items() if key != name}
    return [without(one, name) for one in told] if isinstance(told, list) else told


def summary(out: Path) -> Any:
    return without(json.loads((out / "summary.json").read_text(encoding="utf-8")), "timing")


def test_kills_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    manifest = written_manifest(tmp_path, CLIPS)
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    finish(manifest, alone)
    groups, kills, moments = set[int](), 0, list[int]()
    while kills < KILLS:
        before = ids(killed)
        room = (CLIPS - len(before) - 1) / (KILLS - kills)  # so that clips are left for the kills to come
        process = begun(manifest, killed)
        groups.add(process.pid)
        kills += kill(process, killed, int(rng.uniform(0, room)) if rng.random() < 0.8 else 0, rng)
        after = ids(killed)
        assert after[: len(before)] == before
        assert len(set(after)) == len(after)
        assert len(after) < CLIPS or kills == KILLS, "the run was done before all kills were"
        moments.append(len(after))
    deadline = time.monotonic() + 10
    while living(groups):
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.05)
    assert not (killed / "summary.json").exists() or moments[-1] == CLIPS
    finish(manifest, killed)
    print(f"\n{kills} kills on {CLIPS} clips, lines after each: {moments}")  # noqa: T201 - asked for with -s
    text = (killed / "results.jsonl").read_bytes()
    assert text.endswith(b"\n")
    assert text.count(b"\n") == CLIPS
    assert sorted(ids(killed)) == [f"{number:04}" for number in range(CLIPS)]
    records = [{one["id"]: without(one, "seconds") for one in read_records(out)} for out in (alone, killed)]
    assert records[0] == records[1]
    assert summary(alone) == summary(killed)
    assert summary(alone)["overall"]["compared"] == CLIPS
