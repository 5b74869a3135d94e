"""The command ``bench``: what it asks for, prints and writes, what its exit code says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import voxray
from bench_tables import METHODS, PLACES, made_table
from commands import Run, refused, runner
from voxray import cli
from voxray.cli.bench import bench

Made = Callable[..., Run]


@pytest.fixture
def asked() -> dict[str, Any]:
    """What the library was asked for."""
    return {}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: dict[str, Any]) -> Made:
    """Return the command line with a benchmark that has a made-up result."""

    def made(table: dict[str, Any] | None = None, problems: tuple[str, ...] = (), *, whole: bool = True) -> Run:
        result = made_table() if table is None else table

        def benchmark(model: Any, corpus: Any, out: Any, **more: Any) -> Any:
            asked.update(more, model=model, corpus=corpus, out=out)
            sane = all(gate["passed"] is not False for gate in result["gates"])
            return SimpleNamespace(folder=Path(out), table=result, problems=problems, whole=whole, sane=sane)

        def write(found: Any, *, language: str) -> tuple[Path, ...]:
            asked["language"] = language
            return (found.folder / "table.md", found.folder / "table.html")

        monkeypatch.setattr(voxray, "bench", benchmark, raising=False)
        monkeypatch.setattr(voxray, "write_bench", write, raising=False)
        monkeypatch.setitem(cli.cli.commands, "bench", bench)
        return runner(monkeypatch, capsys)

    return made


class TestWhatItSays:
    def test_figures_gates_status_and_paths(self, run: Made, tmp_path: Path) -> None:
        code, out, err = run()("bench", "-o", tmp_path)
        assert (code, err) == (0, "")
        table = made_table()
        heads = next(line for line in out.splitlines() if line.strip().startswith("method") and "A word" in line)
        assert heads.split() == ["method", *" ".join(map(" ".join, sorted(PLACES))).split()]
        lines = [line.split() for line in out.splitlines()]
        means = {
            (one["set"], one["kind"]): one["mean"]
            for one in table["cells"]
            if (one["method"], one["fill"], one["measure"]) == ("exact", "noise_floor", "deletion")
        }
        exact = [means[place] for place in sorted(PLACES)]
        assert ["exact", *(f"{one:.3f}" for one in exact)] in lines
        assert sum(line[:1] == ["random"] and len(line) == 1 + len(PLACES) for line in lines) == 3
        assert any(line[:6] == ["random", "map", "at", "chance", "passed", "ROC-AUC"] for line in lines)
        assert ["occlusion", *["explanation"] * 5] in lines
        assert ["attention", *["view"] * 5] in lines
        assert out.splitlines()[-2:] == [str(tmp_path / "table.md"), str(tmp_path / "table.html")]
        assert sum(line[:1] == [name] and len(line) == 7 for name in METHODS for line in lines) == 3 * len(METHODS)

    def test_a_failed_gate_hides_the_figures_and_ends_with_3(self, run: Made, tmp_path: Path) -> None:
        code, out, err = run(made_table(failed=2))("bench", "-o", tmp_path)
        assert code == 3
        assert "deletion area" not in out
        assert "explanation" not in out
        assert out.count("FAILED") == 2
        first, second = err.splitlines()
        assert first.startswith(
            "voxray: the gate 'random map at chance' failed: ROC-AUC 0.504, but 0.5 ± 0.03 was expected; the clips"
        )
        assert second.endswith("pointing and mass 1.000, 1.000, but 1, 1 was expected; truth and sound are not on one clock")

    def test_as_json(self, run: Made, tmp_path: Path) -> None:
        code, out, _ = run()("bench", "-o", tmp_path, "--json")
        assert (code, json.loads(out)) == (0, made_table())
        code, out, _ = run(made_table(failed=1))("bench", "-o", tmp_path, "--json")
        assert code == 3
        assert set(json.loads(out)) == {"format", "provenance", "coverage", "gates"}

    def test_clips_that_could_not_be_examined_end_with_2(self, run: Made, tmp_path: Path) -> None:
        code, out, err = run(problems=tuple(f"clip-{n}: no such file" for n in range(23)))("bench", "-o", tmp_path)
        assert code == 2
        assert "deletion area" in out
        assert err.splitlines()[0] == "voxray: clip-0: no such file"
        assert err.splitlines()[20] == f"voxray: and 3 more clips; results.jsonl in {tmp_path} has them all"
        assert run(made_table(failed=1), ("a: b",))("bench", "-o", tmp_path)[0] == 3

    def test_what_is_not_done_or_no_result_is_said(self, run: Made, tmp_path: Path) -> None:
        table = made_table()
        table["provenance"]["quick"] = True
        table["gates"][2]["passed"] = None
        code, out, _ = run(table, whole=False)("bench", "-o", tmp_path, "--quick")
        assert code == 0
        assert "120 clips are done, not all: the same command goes on" in out
        assert "quick run: it shows that everything works, and is no result" in out
        assert "not asked" in out

    def test_names_are_no_markup(self, run: Made, tmp_path: Path) -> None:
        told = json.dumps(made_table()).replace('"exact"', '"[red]exact[/]"').replace('"F"', '"[bold]F[/]"')
        code, out, _ = run(json.loads(told))("bench", "-o", tmp_path)
        assert code == 0
        assert "[red]exact[/]" in out
        assert "[bold]F[/] event" in out

    def test_a_table_without_figures(self, run: Made, tmp_path: Path) -> None:
        empty = made_table() | {"cells": [], "status": [], "contrasts": []}
        code, out, _ = run(empty)("bench", "-o", tmp_path)
        assert code == 0
        assert "sanity gates" in out


class TestWhatItAsksFor:
    def test_everything_by_default(self, run: Made, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert run()("bench")[0] == 0
        assert asked["options"] == voxray.BenchOptions()
        assert (asked["model"], asked["corpus"], asked["out"], asked["processes"], asked["seconds"]) == (
            None,
            None,
            "bench",
            1,
            None,
        )
        assert (asked["restart"], asked["device"], asked["language"]) == (False, "auto", "en")

    def test_quick_with_changes(self, run: Made, asked: dict[str, Any], tmp_path: Path) -> None:
        words = ("--quick", "--method", "exact", "--method", "occlusion:width=0.24", "--set", "A", "--clips", "2", "--seed", "7")
        assert run()("bench", "-o", tmp_path, *words)[0] == 0
        quick = voxray.BenchOptions.quick(7)
        assert asked["options"].methods == ("exact", "occlusion:width=0.24")
        assert (asked["options"].sets, asked["options"].clips, asked["options"].seed) == (("A",), 2, 7)
        assert (asked["options"].subsets, asked["options"].sane) == (quick.subsets, quick.sane)

    def test_a_corpus_a_model_and_a_way_to_work(self, run: Made, asked: dict[str, Any], tmp_path: Path) -> None:
        for name in ("corpus.jsonl", "mine.onnx"):
            (tmp_path / name).write_text("{}", encoding="utf-8")
        words = ("-p", "3", "--seconds", "60", "--restart", "--report-language", "zh", "-m", tmp_path / "mine.onnx", "--aims", "1")
        assert run()("bench", tmp_path / "corpus.jsonl", "-o", tmp_path / "out", *words)[0] == 0
        assert (asked["corpus"], asked["model"]) == (str(tmp_path / "corpus.jsonl"), str(tmp_path / "mine.onnx"))
        assert (asked["processes"], asked["seconds"], asked["restart"], asked["language"]) == (3, 60.0, True, "zh")
        assert asked["options"].aims == 1


class TestWhatItRefuses:
    def test_bad_options_and_places(self, run: Made, asked: dict[str, Any], tmp_path: Path) -> None:
        command = run()
        assert "'none.jsonl' does not exist" in refused(command("bench", "none.jsonl"))
        assert "Invalid value for '--clips'" in refused(command("bench", "--clips", "0"))
        assert "Invalid value for '--seconds'" in refused(command("bench", "--seconds", "0"))
        (tmp_path / "file").write_text("", encoding="utf-8")
        assert "cannot make the folder" in refused(command("bench", "-o", tmp_path / "file" / "out"))
        assert asked == {}

    def test_what_the_library_refuses_is_one_line(self, run: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        command = run()

        def refuses(*_: Any, **__: Any) -> Any:
            raise voxray.OptionError("there is no method 'exat'; did you mean 'exact'?")

        monkeypatch.setattr(voxray, "bench", refuses, raising=False)
        told = refused(command("bench", "-o", tmp_path, "--method", "exat"))
        assert told == "voxray: there is no method 'exat'; did you mean 'exact'?\n"
