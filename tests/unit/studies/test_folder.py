"""The folder of a run keeps whole lines only, one writer at a time, and never two runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from voxray.studies.folder import RunFolder, read_records, read_run
from voxray.types import OptionError, OutputError

ABOUT: dict[str, Any] = {
    "format": 1, "started": "then", "manifest": {"path": "m.jsonl", "sha256": "a1"},
    "model": {"sha256": "b2"}, "inquiry": {"seed": 0},
}  # fmt: skip


def line(name: str, **more: Any) -> bytes:
    return json.dumps({"id": name} | more).encode() + b"\n"


def begun(path: Path, *names: str) -> RunFolder:
    folder = RunFolder(path)
    folder.begin(ABOUT)
    for name in names:
        folder.append(line(name))
    return folder


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    with begun(tmp_path / "a" / "run", "x", "y") as folder:
        assert folder.done == set()  # what was done before, not what this process wrote
    with RunFolder(tmp_path / "a" / "run") as again:
        again.begin(ABOUT | {"started": "later"})
        assert again.done == {"x", "y"}
        again.append(line("z"))
    assert [one["id"] for one in read_records(tmp_path / "a" / "run")] == ["x", "y", "z"]
    assert read_run(tmp_path / "a" / "run")["started"] == "then"


@pytest.mark.parametrize("half", [line("z", text="hello")[:cut] for cut in (1, 5, 12, 26)] + [line("z")[:-1]])
def test_a_half_line_at_the_end_is_cut_off(tmp_path: Path, half: bytes) -> None:
    begun(tmp_path, "x", "y").__exit__()
    results = tmp_path / "results.jsonl"
    whole = results.read_bytes()
    results.write_bytes(whole + half)
    assert [one["id"] for one in read_records(tmp_path)] == ["x", "y"]
    with RunFolder(tmp_path) as folder:
        assert folder.done == {"x", "y"}
        assert results.read_bytes() == whole


def test_lines_longer_than_a_block_are_read(tmp_path: Path) -> None:
    long = "他" * 1_000_000
    with begun(tmp_path) as folder:
        folder.append(json.dumps({"id": "long", "text": long}, ensure_ascii=False).encode() + b"\n")
        folder.append(line("short"))
    with RunFolder(tmp_path) as folder:
        assert folder.done == {"long", "short"}
    assert next(read_records(tmp_path))["text"] == long


@pytest.mark.parametrize(("damaged", "what"), [(b"{\n", "is damaged"), (b"\0\0\n", "is damaged"), (b'{"id": 3}\n', "is damaged"),
                                               (b"[]\n", "is damaged"), (line("x"), "repeats the clip 'x'")])  # fmt: skip
def test_damage_within_is_told_with_its_line(tmp_path: Path, damaged: bytes, what: str) -> None:
    begun(tmp_path, "x").__exit__()
    with (tmp_path / "results.jsonl").open("ab") as results:
        results.write(damaged + line("y"))
    with pytest.raises(OptionError, match=f"line 2 of .*results.jsonl {what}; remove the line, or restart"):
        RunFolder(tmp_path)


def test_a_damaged_line_does_not_pass_as_a_record(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_bytes(line("x") + b"{\n" + line("y"))
    with pytest.raises(OptionError, match=r"line 2 of .*results\.jsonl is damaged"):
        list(read_records(tmp_path))


# --- One writer, one run -----------------------------------------------------------------------------------------------


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with begun(tmp_path, "x"):
        with pytest.raises(OptionError, match=r"another process is writing .*; wait for it, or give another folder"):
            RunFolder(tmp_path)
        assert [one["id"] for one in read_records(tmp_path)] == ["x"]  # reading is free
    RunFolder(tmp_path).__exit__()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from voxray.studies.folder import RunFolder
folder = RunFolder(Path({str(tmp_path)!r}))
print("locked", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(OptionError, match="another process is writing"):
            RunFolder(tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    RunFolder(tmp_path).__exit__()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "holds a run with format 1, now it is 2; give another folder, or restart"),
        ({"manifest": {"path": "m.jsonl", "sha256": "a2"}}, 'a run with manifest.sha256 "a1", now it is "a2"'),
        ({"model": {"sha256": "b3"}}, 'a run with model.sha256 "b2", now it is "b3"'),
        ({"model": {"sha256": "b2", "name": "m"}}, 'a run with model.name null, now it is "m"'),
        ({"inquiry": {"seed": 1}}, "a run with inquiry.seed 0, now it is 1"),
    ],
)
def test_another_run_is_not_mixed_in(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    begun(tmp_path, "x").__exit__()
    with RunFolder(tmp_path) as folder, pytest.raises(OptionError, match=message):
        folder.begin(ABOUT | changed)
    assert len(list(read_records(tmp_path))) == 1
    (tmp_path / "summary.json").write_text("{}")
    with RunFolder(tmp_path) as folder:
        folder.begin(ABOUT | changed, restart=True)
        folder.append(line("y"))
    assert [one["id"] for one in read_records(tmp_path)] == ["y"]
    assert read_run(tmp_path) == ABOUT | changed
    assert not (tmp_path / "summary.json").exists()


def test_a_moved_manifest_is_the_same_one(tmp_path: Path) -> None:
    begun(tmp_path, "x").__exit__()
    with RunFolder(tmp_path) as folder:
        folder.begin(ABOUT | {"manifest": {"path": "elsewhere/m.jsonl", "sha256": "a1"}})


def test_results_of_an_unknown_run_are_not_touched(tmp_path: Path) -> None:
    begun(tmp_path, "x").__exit__()
    (tmp_path / "run.json").unlink()
    with RunFolder(tmp_path) as folder, pytest.raises(OptionError, match=r"holds results but no readable run\.json"):
        folder.begin(ABOUT)
    with pytest.raises(OptionError, match="holds no run; give a folder that 'voxray evaluate' wrote"):
        read_run(tmp_path)
    with pytest.raises(OptionError, match=r"holds no results.jsonl; give a folder"):
        next(read_records(tmp_path / "nowhere"))


# --- The disk ----------------------------------------------------------------------------------------------------------


def test_a_line_goes_out_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def watched(file: int, data: bytes) -> int:
        written.append(data)
        return write(file, data)

    monkeypatch.setattr(os, "write", watched)
    begun(tmp_path, "x", "y").__exit__()
    assert written == [line("x"), line("y")]


def test_the_disk_keeps_lines_at_least_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    folder = begun(tmp_path)
    now = 100.0
    folder._clock = lambda: now
    folder.sync()
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(now))
    for number in range(40):
        now = 100 + number / 8
        folder.append(line(str(number)))
    assert synced == [101.0, 102.0, 103.0, 104.0]
    now = 105.0
    folder.sync()
    folder.sync()  # nothing new: the disk is left alone
    assert synced == [101.0, 102.0, 103.0, 104.0, 105.0]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """A limit on the size of files lets the first bytes of a line through and no more, as a full disk does."""
    code = f"""
import resource, signal
from pathlib import Path
from voxray.studies.folder import RunFolder
from voxray.types import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = RunFolder(Path({str(tmp_path)!r}))
folder.begin({ABOUT!r})
folder.append(b'{{"id": "x"}}\\n')
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    folder.append(b'{{"id": "yyyyyyyyyyyyyyyyyyyy"}}\\n')
except OutputError as problem:
    print(problem)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout == f"the run {tmp_path} cannot be written (No space left on device); free some space or give another folder\n"
    )
    assert (tmp_path / "results.jsonl").read_bytes() == b'{"id": "x"}\n'


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"the run .*file cannot be written \(File exists\)"):
        RunFolder(tmp_path / "file")
