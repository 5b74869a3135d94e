"""The commands ``why``, ``evaluate`` and ``compare``: what they print and write, how they end, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import voxray
from commands import Run, refused, runner

CLIPS = Path(voxray.__file__).parent / "assets" / "clips"
NOISY, RIGHT = CLIPS / "en_noise_burst.wav", "we removed my rice with cabbage"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of the bundled clips, grouped by language; one reference has a wrong word."""
    lines: list[dict[str, Any]] = []
    for clip in voxray.demo_clips():
        shutil.copy(clip.path, tmp_path)
        lines.append({"id": clip.path.stem, "audio": clip.path.name, "text": clip.text, "language": clip.language})
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines), encoding="utf-8")
    return tmp_path / "corpus.jsonl"


class TestWhy:
    def test_names_the_cause_and_its_proof(self, run: Run) -> None:
        code, out, err = run("why", NOISY, "--ref", RIGHT)
        assert (code, err) == (0, "")
        assert "16.7% of 6 words wrong: 1 substitution" in out
        assert "recognised  we removed [bicycle] rice with cabbage" in out
        assert "'bicycle' rather than 'my'" in out
        assert "cause: NOISE" in out
        assert "the same elsewhere: still wrong, +1.62 to " in out

    def test_without_a_right_text_every_decision(self, run: Run) -> None:
        code, out, _ = run("why", NOISY)
        assert code == 0
        assert "word:2" in out
        assert "bicycle" in out
        assert "nearly said: 'my'" in out

    def test_as_json(self, run: Run) -> None:
        code, out, _ = run("why", NOISY, "--ref", RIGHT, "--no-causes", "--json")
        told = json.loads(out)
        assert code == 0
        assert told["id"] == "en_noise_burst"
        assert told["mistakes"][0]["causes"] == []
        told = json.loads(run("why", NOISY, "--json")[1])
        assert told["decisions"][5]["target"]["label"] == "bicycle"

    def test_nothing_wrong(self, run: Run) -> None:
        code, out, _ = run("why", CLIPS / "zh_happy_speech.wav", "--ref", "明年爷爷使用雨衣。")
        assert code == 0
        assert "0.0% of 8 characters wrong" in out
        assert "nothing is wrong" in out

    @pytest.mark.parametrize("ending", ["TextGrid", "ctm", "srt", "vtt", "csv", "html"])
    def test_writes_every_form(self, run: Run, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"why.{ending}"
        code, out, _ = run("why", NOISY, "--ref", RIGHT, "--no-causes", "-o", path)
        assert code == 0
        assert str(path) in out
        assert "bicycle" in path.read_text(encoding="utf-8")

    def test_a_picture_of_each_mistake(self, run: Run, tmp_path: Path) -> None:
        code, out, _ = run("why", NOISY, "--ref", "we my rice with cabbage", "--no-causes", "--picture", tmp_path / "p")
        assert code == 0
        pictures = sorted((tmp_path / "p").glob("*.png"))
        assert pictures
        assert all(str(path) in out for path in pictures)

    def test_the_right_text_from_a_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "right.txt").write_bytes(b"\xef\xbb\xbf" + RIGHT.encode() + b"\n")
        assert "16.7%" in run("why", NOISY, "--ref-file", tmp_path / "right.txt", "--no-causes")[1]

    def test_how_texts_are_compared_can_be_chosen(self, run: Run) -> None:
        out = run("why", NOISY, "--ref", RIGHT, "--unit", "character", "--normalise", "lower", "--no-causes")[1]
        assert "of 26 characters wrong" in out

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--ref", "a", "--ref-file", NOISY], "exclude each other"),
            (["--ref-file", NOISY], "is not in UTF-8"),
            (["-o", "x.html"], "give --ref"),
            (["--ref", RIGHT, "-o", "x.doc"], "must end in one of"),
            (["--ref", RIGHT, "--normalise", "lowr"], "lower"),
            (["--ref", RIGHT, "--language", "xx"], "xx"),
            (["--ref", RIGHT, CLIPS / "zh_happy_speech.wav"], "voxray evaluate"),
        ],
    )
    def test_what_is_refused(self, run: Run, words: list[Any], told: str, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.chdir(tmp_path)
        assert told in refused(run("why", NOISY, *words))
        assert list(tmp_path.iterdir()) == []


class TestEvaluate:
    def test_a_run_its_report_and_its_gates(self, run: Run, corpus: Path, tmp_path: Path) -> None:
        out_folder = tmp_path / "run"
        code, out, err = run("evaluate", corpus, "-o", out_folder, "-g", "language", "--fail-if", "wer[language=en] > 5%")
        assert code == 1
        assert err.strip() == "voxray: wer[language=en] > 5%: wer where language is en is 0.05556"
        assert "language=en" in out
        assert sorted(path.name for path in out_folder.iterdir()) == ["report.html", "results.jsonl", "run.json", "summary.json"]
        assert len((out_folder / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 8
        again = run("evaluate", corpus, "-o", out_folder, "-g", "language", "--json", "--fail-if", "cer > 0")
        assert again[0] == 0
        assert json.loads(again[1])["overall"]["substitutions"] == 1

    def test_a_gate_on_a_group_groups_by_it(self, run: Run, corpus: Path, tmp_path: Path) -> None:
        code, _, err = run("evaluate", corpus, "-o", tmp_path / "r", "--no-report", "--fail-if", "wer[language=en] > 0.2")
        assert (code, err) == (0, "")

    def test_bad_lines_are_told_and_the_rest_is_done(self, run: Run, corpus: Path, tmp_path: Path) -> None:
        lines = corpus.read_text(encoding="utf-8").splitlines()
        lines[2] = lines[2][:-5]
        lines[4] = lines[4].replace(".wav", ".flac")
        corpus.write_text("\n".join(lines), encoding="utf-8")
        code, out, err = run("evaluate", corpus, "-o", tmp_path / "run", "--no-report")
        assert code == 2
        assert "line 3" in err
        assert "line 5" in err
        assert err.count("\n") == 2
        assert "6 clips" in out

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--fail-if", "cr > 1"], "did you mean 'cer'"),
            (["--fail-if", "cer"], "is no gate"),
            (["-g", "speeker"], "speeker"),
        ],
    )
    def test_what_is_refused(self, run: Run, corpus: Path, tmp_path: Path, words: list[str], told: str) -> None:
        code, _, err = run("evaluate", corpus, "-o", tmp_path / "run", "--no-report", *words)
        assert code == 2
        assert told in err
        assert "Traceback" not in err

    def test_another_model_is_no_resumption(self, run: Run, corpus: Path, tmp_path: Path) -> None:
        assert run("evaluate", corpus, "-o", tmp_path / "run", "--no-report")[0] == 0
        model = Path(voxray.__file__).parent / "assets" / "model" / "model_quant.onnx"
        assert "--restart" in refused(run("evaluate", corpus, "-o", tmp_path / "run", "--no-report", "-m", model))
        assert run("evaluate", corpus, "-o", tmp_path / "run", "--no-report", "-m", model, "--restart")[0] == 0


class TestCompare:
    def test_two_runs(self, run: Run, corpus: Path, tmp_path: Path) -> None:
        for name, language in (("one", "auto"), ("two", "ko")):
            assert run("evaluate", corpus, "-o", tmp_path / name, "--no-report", "-l", language)[0] == 0
        code, out, _ = run("compare", tmp_path / "one", tmp_path / "two")
        assert code == 0
        assert "verdict:" in out
        told = json.loads(run("compare", tmp_path / "one", tmp_path / "two", "--json")[1])
        assert told["overall"]["clips"] == 8
        same = json.loads(run("compare", tmp_path / "one", tmp_path / "one", "--json")[1])
        assert (same["overall"]["difference"], same["is_worse"], same["regressed"]) == (0.0, False, [])

    def test_no_run(self, run: Run, tmp_path: Path) -> None:
        assert "run" in refused(run("compare", tmp_path, tmp_path))
