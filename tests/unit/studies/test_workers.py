"""Workers do every clip once, and one that dies costs the clip that it was at; on this machine and on a Ray cluster."""

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

import pytest

from voxray.manifest import Item
from voxray.studies.cluster import distributed
from voxray.studies.workers import Job, local
from voxray.types import AudioError, ModelError, OptionError

MODEL = {"sha256": "abc"}


def prepared(job: Job) -> tuple[dict[str, Any], Any]:
    """Stand for a model: each clip's id says what happens to it."""
    how = job.inquiry
    if how == "unopened":
        raise ModelError("the model is broken")
    if how == "dies":
        os._exit(3)

    def examine(item: Item) -> dict[str, Any]:
        what = item.id.split("-")[0]
        if what == "unreadable":
            raise AudioError(f"{item.written}: is no sound")
        if what == "fault":
            return {"x": 1 // 0}
        if what == "nan":
            return {"x": float("nan")}
        if what == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "exit":
            os._exit(7)
        if what == "meet":  # wait for another process to come here too
            (item.audio.parent / f"{os.getpid()}.met").touch()
            while len(list(item.audio.parent.glob("*.met"))) < 2:
                time.sleep(0.01)
        if what == "slow":
            time.sleep(30)
        return {"text": what, "process": os.getpid(), "reference": item.reference}

    return MODEL | {"process": os.getpid()} if how == "restless" else MODEL, examine


def items(*names: str, folder: Path = Path()) -> list[Item]:
    return [Item(name, folder / name, name + ".wav", "right", groups={"n": index}) for index, name in enumerate(names)]


def job(how: str = "") -> Job:
    return Job(None, 1, how, prepared)


def done(
    names: list[str], processes: int = 2, how: str = "", folder: Path = Path()
) -> tuple[dict[str, dict[str, Any]], list[Mapping[str, Any]]]:
    """Run the clips; return their records by id, and what was said of models."""
    told: list[Mapping[str, Any]] = []
    lines = [one for one in local(job(how), items(*names, folder=folder), processes, told.append) if one is not None]
    assert all(one.text.endswith(b"\n") and one.text.count(b"\n") == 1 for one in lines)
    assert [json.loads(one.text)["id"] for one in lines] == [one.id for one in lines]
    assert len({one.id for one in lines}) == len(lines)
    return {one.id: json.loads(one.text) for one in lines}, told


def test_every_clip_is_done_once_by_two_processes(tmp_path: Path) -> None:
    names = ["meet-1", "meet-2", *(f"ok-{number}" for number in range(30))]
    records, told = done(names, folder=tmp_path)
    assert set(records) == set(names)
    assert told == [MODEL, MODEL]
    assert os.getpid() not in {one["process"] for one in records.values()}
    assert len({one["process"] for one in records.values()}) == 2
    assert records["ok-7"] == {
        "id": "ok-7", "audio": "ok-7.wav", "offset": None, "groups": {"n": 9}, "reference": "right", "text": "ok",
        "process": records["ok-7"]["process"], "problem": None,
    }  # fmt: skip


def test_what_fails_costs_itself() -> None:
    records, told = done(["ok-1", "unreadable-1", "fault-1", "nan-1", "ok-2"], processes=1)
    assert {name: one["problem"] for name, one in records.items()} == {
        "ok-1": None,
        "unreadable-1": "unreadable-1.wav: is no sound",
        "fault-1": "ZeroDivisionError: integer division or modulo by zero; this is a fault in Voxray, please report it",
        "nan-1": "ValueError: Out of range float values are not JSON compliant; this is a fault in Voxray, please report it",
        "ok-2": None,
    }
    assert told == [MODEL]  # one worker did them all
    assert records["fault-1"]["reference"] == "right"


def test_a_worker_that_dies_is_replaced() -> None:
    records, told = done(["ok-1", "segfault-1", "ok-2", "exit-1", "ok-3", "ok-4"], processes=1)
    assert {name: one["problem"] for name, one in records.items() if one["problem"]} == {
        "segfault-1": "the process that examined it was killed by SIGSEGV; the other clips went on",
        "exit-1": "the process that examined it ended by itself with code 7; the other clips went on",
    }
    assert set(records) == {"ok-1", "segfault-1", "ok-2", "exit-1", "ok-3", "ok-4"}
    assert told == [MODEL] * 3


def test_the_last_clip_may_kill_its_worker() -> None:
    records, told = done(["ok-1", "exit-1"], processes=1)
    assert "code 7" in records["exit-1"]["problem"]
    assert told == [MODEL]  # nobody is started for nothing


def test_without_clips_the_model_is_opened_all_the_same() -> None:
    assert done([], processes=4) == ({}, [MODEL])


def test_a_model_that_cannot_be_opened_stops_the_run() -> None:
    with pytest.raises(ModelError, match="the model is broken"):
        done(["ok-1"], how="unopened")
    with pytest.raises(ModelError, match="ended by itself with code 3 before it had opened the model; use fewer processes"):
        done(["ok-1"], how="dies")


def test_check_may_stop_the_run_and_no_worker_stays() -> None:
    def check(told: Mapping[str, Any]) -> None:
        pids.append(told["process"])
        raise OptionError("another model")

    pids: list[int] = []
    with pytest.raises(OptionError, match="another model"):
        list(local(job("restless"), items("slow-1", "slow-2"), 2, check))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_writer_gets_its_turn_while_clips_take_long() -> None:
    lines = local(job(), items("slow-1"), 1, lambda _: None)
    assert next(lines) is None
    begun = time.monotonic()
    lines.close()
    assert time.monotonic() - begun < 5  # the worker was ended in the middle of its clip


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
sys.path.insert(0, {folder!r})
from test_workers import items, job
from voxray.studies.workers import local
print("begun", flush=True)
try:
    for line in local(job(), items("ok-1", "slow-1", "slow-2"), 2, lambda _: None):
        if line:
            print(line.id, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("after", ["begun", "ok-1"])
def test_ctrl_c_ends_everything_without_a_trace(after: str) -> None:
    """A terminal sends the signal to the whole group; only the parent answers."""
    code = SCRIPT.format(folder=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while process.stdout.readline() != after + "\n":
            assert process.poll() is None
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read().split()[-1] == "stopped"
        assert process.stderr.read() == ""
        assert process.wait(10) == 0
    deadline = time.monotonic() + 5
    while living(process.pid):
        assert time.monotonic() < deadline, "a process outlived its run"
        time.sleep(0.05)


def living(group: int) -> list[str]:
    """Return the processes of a group that still run."""
    told = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    return [pid for own, state, pid in rows if int(own) == group and not state.startswith("Z")]


RAY_SCRIPT = """
import json, sys
sys.path.insert(0, {folder!r})
import test_workers
from voxray.studies.cluster import distributed
from voxray.types import ModelError
names = ["ok-1", "unreadable-1", "ok-2", "exit-1", "ok-3"]
told = []
lines = [one for one in distributed(test_workers.job(), test_workers.items(*names), 2, told.append) if one]
print(json.dumps({{"lines": {{one.id: one.problem for one in lines}}, "count": len(lines), "told": told}}))
try:
    list(distributed(test_workers.job("unopened"), test_workers.items("ok-1"), 1, told.append))
except ModelError as problem:
    print(problem)
"""


def test_ray_does_the_same() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'voxray[ray]'")
    folder = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": folder, "RAY_ADDRESS": ""}
    code = RAY_SCRIPT.format(folder=folder)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.strip().splitlines()[-2:]
    found = json.loads(first)
    problems = found["lines"]
    assert (found["count"], set(problems)) == (5, {"ok-1", "unreadable-1", "ok-2", "exit-1", "ok-3"})
    assert problems["unreadable-1"] == "unreadable-1.wav: is no sound"
    assert problems["exit-1"].startswith("the Ray worker that examined it ended (")
    assert [problems[f"ok-{number}"] for number in (1, 2, 3)] == [None] * 3
    assert found["told"] in ([MODEL] * 2, [MODEL] * 3)
    assert second == "the model is broken"


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"the engine ray needs Ray; install it with: pip install 'voxray\[ray\]'"):
        next(distributed(job(), items("ok-1"), 1, lambda _: None))
