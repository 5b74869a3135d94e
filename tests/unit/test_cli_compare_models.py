"""The command ``compare-models``: what it prints and writes, how its gates end it, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Run, refused, runner

QUICK = ("--rounds", "0", "--swaps", "1")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


@pytest.fixture
def files(data: Path) -> tuple[Path, Path]:
    """The fixture model in fp32 and in int8."""
    return data / "sensevoice-funasr" / "model.onnx", data / "sensevoice-funasr" / "model_quant.onnx"


@pytest.fixture
def clip(data: Path) -> Path:
    return data / "audio" / "odd.wav"


class TestWhatItSays:
    def test_for_people(self, run: Run, files: tuple[Path, Path], data: Path) -> None:
        code, out, err = run(
            "compare-models", *files, *(data / "audio" / name for name in ("short.wav", "odd.wav", "stereo.wav")), *QUICK
        )
        assert (code, err) == (0, "")
        assert "A: sensevoice-funasr/model.onnx (sensevoice, funasr, fp32)" in out
        assert "- B changes 1 of 3 texts (33.3 %); edits: 1 in 18 units (5.6 %)." in out
        assert "- The largest share of the damage arises in layer 0: " in out
        assert "where the damage arises (1 clips)" in out
        assert "0 encoder/encoders0.0" in out
        assert "texts that change" in out

    def test_a_model_against_itself(self, run: Run, files: tuple[Path, Path], clip: Path) -> None:
        code, out, _ = run("compare-models", files[0], files[0], clip, *QUICK)
        assert code == 0
        assert out.splitlines()[3:] == ["- A and B did exactly the same on every clip: texts, margins, attention and logits.", ""]

    def test_with_timing(self, run: Run, files: tuple[Path, Path], clip: Path) -> None:
        code, out, _ = run("compare-models", *files, clip, "--no-inside", "--rounds", "1", "--threads", "1")
        assert code == 0
        assert " as fast as A" in out
        assert "the files have 0.5 and 0.9 MB." in out
        assert "damage" not in out

    def test_as_json(self, run: Run, files: tuple[Path, Path], clip: Path) -> None:
        code, out, _ = run("compare-models", *files, clip, *QUICK, "--json")
        told = json.loads(out)
        assert code == 0
        assert told["models"][0]["precision"] == "fp32"
        assert told["figures"]["clips"] == 1
        assert told["damage"]["layers"][0]["share"]["value"] > 0.3
        assert told["speed"] is None

    def test_two_families(self, run: Run, files: tuple[Path, Path], clip: Path, data: Path) -> None:
        code, out, _ = run("compare-models", files[0], data / "paraformer-funasr", clip, *QUICK)
        assert code == 0
        assert "- A and B differ in kind (sensevoice and paraformer), so only what means the same in both is compared" in out


class TestWhatItWrites:
    @pytest.mark.parametrize("place", ["out", "out/page.html"])
    def test_a_report(self, place: str, run: Run, files: tuple[Path, Path], clip: Path, tmp_path: Path) -> None:
        code, out, _ = run("compare-models", *files, clip, *QUICK, "-o", tmp_path / place, "--report-language", "zh")
        stem = "page" if place.endswith("html") else "report"
        names = [f"{stem}.html", f"{stem}.json", f"{stem}-tokens.csv"]
        assert code == 0
        assert out.splitlines()[-3:] == [str(tmp_path / "out" / name) for name in names]
        assert 'lang="zh-Hans"' in (tmp_path / "out" / names[0]).read_text(encoding="utf-8")

    def test_errors_come_with_a_manifest(self, run: Run, files: tuple[Path, Path], clip: Path, tmp_path: Path) -> None:
        line = {"id": "one", "audio": str(clip), "text": "天气", "language": "zh"}
        (tmp_path / "corpus.jsonl").write_text(json.dumps(line), encoding="utf-8")
        code, out, _ = run("compare-models", *files, "--manifest", tmp_path / "corpus.jsonl", *QUICK)
        assert code == 0
        assert "- Error rate: " in out
        (tmp_path / "truth.json").write_text(json.dumps({"odd.wav": "天气"}), encoding="utf-8")
        assert "- Error rate: " in run("compare-models", *files, clip, "--truth", tmp_path / "truth.json", *QUICK)[1]


class TestGates:
    def test_the_exit_code_tells(self, run: Run, files: tuple[Path, Path], data: Path) -> None:
        clips = [data / "audio" / name for name in ("short.wav", "odd.wav")]
        code, _, err = run("compare-models", *files, *clips, *QUICK, "--most-flips", "40%")
        assert (code, err) == (1, "voxray: text_flips > 0.4: text_flips is 0.5\n")
        assert run("compare-models", *files, *clips, *QUICK, "--most-flips", "0.5")[0] == 0
        code, _, err = run(
            "compare-models", *files, *clips, *QUICK, "--fail-if", "logit_distance > 1%", "--fail-if", "slowdown > 2"
        )
        assert code == 1
        first, second = err.splitlines()
        assert first.startswith("voxray: logit_distance > 1%: logit_distance is 0.0")
        assert second == "voxray: slowdown > 2: this run has no slowdown, so it cannot pass"

    def test_bad_gates_are_refused_before_any_work(self, run: Run, files: tuple[Path, Path], clip: Path) -> None:
        assert "'flips > 2' is no gate" not in refused(run("compare-models", *files, clip, "--fail-if", "text_flip > 2"))
        assert "did you mean 'text_flips'?" in refused(run("compare-models", *files, clip, "--fail-if", "text_flip > 2"))
        assert "'many' is no share; write one such as 2% or 0.02." in refused(
            run("compare-models", *files, clip, "--most-flips", "many")
        )
        assert "'200%' is no share" in refused(run("compare-models", *files, clip, "--most-flips", "200%"))


class TestWhatItRefuses:
    def test_models_and_clips(self, run: Run, files: tuple[Path, Path], clip: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.onnx").write_bytes(b"nothing")
        (tmp_path / "bad.wav").write_bytes(b"RIFFnothing")
        assert "no such model" in refused(run("compare-models", files[0], tmp_path / "none.onnx", clip))
        assert "bad.onnx" in refused(run("compare-models", files[0], tmp_path / "bad.onnx", clip))
        assert "give sounds or --manifest" in refused(run("compare-models", *files))
        assert "Missing argument 'B'" in refused(run("compare-models", files[0]))
        assert "none of the clips could be compared" in refused(run("compare-models", *files, tmp_path / "bad.wav"))
        assert "has no language 'xx'; choose one of auto, zh" in refused(run("compare-models", *files, clip, "-l", "xx"))

    def test_a_bad_clip_among_good_ones(self, run: Run, files: tuple[Path, Path], clip: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.wav").write_bytes(b"RIFFnothing")
        code, out, err = run("compare-models", *files, tmp_path / "bad.wav", clip, *QUICK)
        assert code == 2
        assert err.count("\n") == 1
        assert "bad.wav" in err
        assert "none of the 1 texts" in out

    def test_places(self, run: Run, files: tuple[Path, Path], clip: Path, tmp_path: Path) -> None:
        assert "neither a folder nor a file that ends in .html" in refused(
            run("compare-models", *files, clip, "-o", tmp_path / "report.pdf")
        )
        (tmp_path / "file").write_text("x", encoding="utf-8")
        assert "cannot make the folder" in refused(run("compare-models", *files, clip, "-o", tmp_path / "file" / "report.html"))
