"""The command line, run in this process: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import voxray
from commands import Run, refused, runner
from voxray import cli
from voxray.cli.attention import KINDS
from voxray.cli.files import distinct_names

CLIPS = Path(voxray.__file__).parent / "assets" / "clips"
MODEL = Path(voxray.__file__).parent / "assets" / "model"
ENGLISH, CHINESE = CLIPS / "en_neutral_speech.wav", CLIPS / "zh_happy_speech.wav"
KNOWN = {clip.path: clip for clip in voxray.demo_clips()}
SAID, CHINESE_SAID = KNOWN[ENGLISH].text, KNOWN[CHINESE].text


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_transcribe_prints_the_text(run: Run) -> None:
    assert run("transcribe", ENGLISH) == (0, f"{SAID}\n", "")


def test_transcribe_names_files_when_there_are_several(run: Run) -> None:
    code, out, _ = run("transcribe", ENGLISH, CHINESE, "--style", "raw")
    assert code == 0
    assert out.splitlines() == [
        f"{ENGLISH}\t<|en|><|NEUTRAL|><|Speech|><|woitn|> {SAID}",
        f"{CHINESE}\t<|zh|><|HAPPY|><|Speech|><|woitn|>{CHINESE_SAID}",
    ]


def test_transcribe_expands_patterns(run: Run) -> None:
    code, out, _ = run("transcribe", CLIPS / "en_*.wav")
    assert code == 0
    assert [Path(line.split("\t")[0]).name for line in out.splitlines()] == [
        "en_happy_bgm.wav",
        "en_neutral_speech.wav",
        "en_noise_burst.wav",
    ]


def test_transcribe_words_have_times(run: Run) -> None:
    _, out, _ = run("transcribe", ENGLISH, "--words")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[3] for row in rows] == SAID.split()
    starts = [float(row[0]) for row in rows]
    assert starts == sorted(starts)
    assert all(float(row[0]) < float(row[1]) <= len(SPEECH) / 16000 + 0.01 and 0.5 < float(row[2]) <= 1 for row in rows)


def test_transcribe_json_is_one_object_a_line(run: Run) -> None:
    _, out, _ = run("transcribe", ENGLISH, CHINESE, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["text"] for one in told] == [SAID, CHINESE_SAID]
    tags = {tag["kind"]: tag for tag in told[1]["tags"]}
    assert (tags["language"]["label"], tags["emotion"]["label"]) == ("zh", "HAPPY")
    assert sum(tags["emotion"]["probabilities"].values()) == pytest.approx(1.0)


def test_a_bad_file_does_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    code, out, err = run("transcribe", ENGLISH, empty, CHINESE)
    assert code == 2
    assert [line.split("\t")[1] for line in out.splitlines()] == [SAID, CHINESE_SAID]
    assert err.splitlines()[0].startswith(f"voxray: {empty}")
    assert err.splitlines()[1:] == ["voxray: 1 of 3 files failed"]


def test_trace_shows_tags_tokens_and_alternatives(run: Run) -> None:
    code, out, _ = run("trace", CHINESE)
    assert code == 0
    assert "HAPPY" in out
    assert out.count(CHINESE_SAID[0]) >= 2  # in the title and as a token
    assert "(blank)" in run("trace", ENGLISH)[1]


def test_trace_saves(run: Run, tmp_path: Path) -> None:
    code, _, _ = run("trace", ENGLISH, "--save", tmp_path / "traces")
    assert code == 0
    trace = voxray.load_trace(tmp_path / "traces" / "en_neutral_speech.trace")
    assert trace.text == SAID
    frames = 1 + (len(SPEECH) - 400) // 160  # of 25 ms, each 10 ms; six of them are an output frame
    assert trace.token_attention([13]).shape == (1, 4, len(SAID.split()), -(-frames // 6))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_attention_draws(run: Run, tmp_path: Path, ending: str) -> None:
    code, out, err = run("attention", CHINESE, "-o", tmp_path, "--format", ending, "--dpi", 60, "--layer", 5, "--head", 0)
    path = tmp_path / f"zh_happy_speech-heatmap.{ending}"
    assert (code, out, err) == (0, f"{path}\n", "")
    assert path.stat().st_size > 2000


def test_attention_draws_every_kind(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("attention", ENGLISH, "-o", tmp_path, "--dpi", 40, "--kind", "all", "--theme", "dark", "--word", 2)
    assert code == 0
    written = [Path(line) for line in out.splitlines()]
    assert [path.name for path in written] == [f"en_neutral_speech-{kind}.png" for kind in KINDS]
    assert all(path.stat().st_size > 2000 for path in written)


def test_inspect_prints_the_anatomy(run: Run) -> None:
    code, out, _ = run("inspect", MODEL / "model_quant.onnx")
    assert code == 0
    assert "int8" in out
    assert "encoder/tp_encoders.3" in out


def test_inspect_json(run: Run) -> None:
    _, out, _ = run("inspect", "--json")
    told = json.loads(out)
    assert (told["layers"], told["heads"], told["vocabulary"], told["width"]) == (14, 4, 1929, 128)
    assert [block["residual"] for block in told["blocks"]] == [False] + [True] * 13
    assert told["stream_norms"] == [10, 14]
    assert max(block["rebuild_error"] for block in told["blocks"]) <= 1e-4
    assert told["logit_difference"] <= 1e-5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_VOXRAY_COMPLETE" in out


def test_demo_recognises_every_clip(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("demo", "-o", tmp_path, "--dpi", 40)
    assert code == 0
    written = {path.name for path in tmp_path.glob("*.png")}
    for clip in KNOWN.values():
        own = {name for name in written if name.startswith(clip.path.stem)}
        labels = [kind for kind, label in (("emotion", clip.emotion), ("event", clip.event)) if label not in ("NEUTRAL", "Speech")]
        assert {f"{clip.path.stem}-{kind}.png" for kind in KINDS} <= own
        assert {f"{clip.path.stem}-{kind}-exact-labels.png" for kind in labels} <= own
        assert len([name for name in own if "-word-" in name]) == 1
        assert len(own) == len(KINDS) + 1 + len(labels)
    assert f"{len(written)} pictures are in {tmp_path}; begin with" in out
    assert out.count(" yes ") == 7
    spoilt = KNOWN[CLIPS / "en_noise_burst.wav"]
    ((_, start, end),) = spoilt.sounds
    word = next(word for word, begin in spoilt.words if begin == start)
    assert f"no: {spoilt.text}" in out
    heard = [index for index, one in enumerate(spoilt.heard.split()) if one not in spoilt.text.split()]
    assert out.splitlines()[-1].endswith(f"en_noise_burst-word-{heard[0]}-exact-map.png")
    assert f"en_noise_burst: noise lies over “{word}”, {start:.2f} to {end:.2f} s" in out


def wav(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


SPEECH = soundfile.read(ENGLISH, dtype="float32")[0]


def broken_sounds(folder: Path) -> dict[str, tuple[Path, str]]:
    """Sounds that must be refused, with a part of the line that says why."""
    files = {}
    (folder / "text.wav").write_text("this is not sound\n" * 50)
    files["text"] = (folder / "text.wav", "sound")
    (folder / "empty.wav").touch()
    files["empty"] = (folder / "empty.wav", "empty")
    whole = ENGLISH.read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    files["truncated"] = (folder / "cut.wav", f"only {len(SPEECH) / 32000:.2f} s of the {len(SPEECH) / 16000:.2f} s")
    (folder / "lies.wav").write_bytes(whole[:40] + struct.pack("<I", 3_000_000_000) + whole[44:4000])
    files["a header that lies"] = (folder / "lies.wav", "of the 93750.00 s")
    files["no samples"] = (wav(folder / "none.wav", SPEECH[:0]), "no samples")
    files["too short"] = (wav(folder / "short.wav", SPEECH[:100]), "100 samples")
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        damaged = SPEECH.copy()
        damaged[8000] = value
        files[name] = (wav(folder / f"{name}.wav", damaged, subtype="FLOAT"), "0.5")
    files["folder"] = (folder, "folder")
    files["missing"] = (folder / "nowhere.wav", "no such file")
    return files


BROKEN = ("text", "empty", "truncated", "a header that lies", "no samples", "too short", "nan", "inf", "folder", "missing")


@pytest.mark.parametrize("what", BROKEN)
def test_broken_sound_is_one_line(run: Run, tmp_path: Path, what: str) -> None:
    path, reason = broken_sounds(tmp_path)[what]
    assert reason in refused(run("transcribe", path))


def test_truncated_sound_can_be_taken_as_it_is(run: Run, tmp_path: Path) -> None:
    path, _ = broken_sounds(tmp_path)["truncated"]
    code, out, err = run("transcribe", path, "--allow-truncated")
    assert (code, err) == (0, "")
    assert out.startswith(" ".join(SAID.split()[:2]))


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [(16000, 8, "PCM_16"), (16000, 1, "DOUBLE"), (16000, 2, "PCM_24"), (192000, 1, "FLOAT"), (4000, 1, "PCM_16")],
)
def test_odd_sound_is_recognised(run: Run, tmp_path: Path, rate: int, channels: int, subtype: str) -> None:
    import soxr

    samples = np.repeat(soxr.resample(SPEECH, 16000, rate)[:, None], channels, axis=1)
    code, out, err = run("transcribe", wav(tmp_path / "odd.wav", samples, rate, subtype))
    assert (code, err) == (0, "")
    # At 4 kHz everything above 2 kHz is lost, and words with it; the others lose nothing.
    assert out == f"{SAID}\n" or (rate == 4000 and out.strip())


def test_silence_is_no_text(run: Run, tmp_path: Path) -> None:
    code, out, err = run("transcribe", wav(tmp_path / "silence.wav", np.zeros(32000, np.float32)))
    assert (code, err) == (0, "")
    assert len(out.split()) <= 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--layer", "14"), "layer 14 does not exist: there are 14 layers, 0 to 13"),
        (("--layer", "2", "--head", "4"), "head 4 does not exist: there are 4 heads, 0 to 3"),
        (("--kind", "overlay", "--word", "9"), "word 9 does not exist"),
        (("--smooth", "-1"), "smooth must be 0 or a width in seconds"),
        (("--language", "fr"), "language 'fr' is not known to this model; choose one of auto, zh"),
    ],
)
def test_wrong_choices_are_one_line(run: Run, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    code, out, err = run("attention", ENGLISH, "-o", tmp_path, *words)
    assert (code, out) == (2, "")
    assert reason in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot make the folder" in refused(run("attention", ENGLISH, "-o", tmp_path / "file" / "pictures"))
    assert "cannot make the folder" in refused(run("trace", ENGLISH, "--save", tmp_path / "file"))


def test_wrong_model_is_one_line(run: Run, tmp_path: Path) -> None:
    assert "no such model" in refused(run("transcribe", ENGLISH, "--model", tmp_path / "none.onnx"))
    assert "no .onnx file" in refused(run("inspect", tmp_path))


@pytest.mark.parametrize("words", [("transcribe",), ("draw",), ("attention", "x.wav", "--aggregate", "median"), ("trace", "--no")])
def test_wrong_usage_is_one_line(run: Run, words: tuple[str, ...]) -> None:
    assert "--help" in refused(run(*words))


def test_nothing_asked_shows_the_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 2
    assert "voxray transcribe clip.wav" in out


def test_results_of_files_with_one_name_do_not_meet(run: Run, tmp_path: Path) -> None:
    for folder, clip in (("a", ENGLISH), ("b", CHINESE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "clip.wav").write_bytes(clip.read_bytes())
    code, _, _ = run("trace", tmp_path / "a" / "clip.wav", tmp_path / "b" / "clip.wav", "--save", tmp_path / "out")
    assert code == 0
    texts = {voxray.load_trace(path).text for path in (tmp_path / "out").iterdir()}
    assert texts == {SAID, CHINESE_SAID}
    assert list(distinct_names(["x/a.wav", "x/a.mp3"]).values()) == ["a.wav", "a.mp3"]
    assert list(distinct_names(["x/a.wav", "x/b.wav"]).values()) == ["a", "b"]


def piped(*words: object, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "voxray", *map(str, words)],
        input=stdin,
        capture_output=True,
        env=os.environ | variables,
        check=False,
    )


def test_a_pipe_gets_utf8_whatever_the_locale() -> None:
    result = piped("trace", CHINESE, PYTHONIOENCODING="cp1252")
    assert result.returncode == 0
    assert CHINESE_SAID in result.stdout.decode("utf-8")


def test_standard_input_is_read() -> None:
    result = piped("transcribe", "-", stdin=CHINESE.read_bytes())
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, f"{CHINESE_SAID}\n", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "voxray", "transcribe", str(CHINESE)], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert result.returncode == 2
    assert result.stderr.decode().count("\n") == 1


def test_lines_on_a_terminal_are_whole(tmp_path: Path) -> None:
    """On a terminal the progress bar is gone whenever a result is printed."""
    pytest.importorskip("pty")
    (tmp_path / "run.py").write_text(
        f"import sys\nsys.argv = ['voxray', 'transcribe', {str(ENGLISH)!r}, {str(CHINESE)!r}]\n"
        "from voxray.cli import main\nmain()\n"
    )
    spawn = f"import pty; pty.spawn([{sys.executable!r}, {str(tmp_path / 'run.py')!r}])"
    terminal = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    result = subprocess.run([sys.executable, "-c", spawn], capture_output=True, check=True, env=terminal)
    screen = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", result.stdout).decode()
    lines = [line.rsplit("\r", 1)[-1] for line in screen.replace("\r\n", "\n").split("\n")]
    assert f"{ENGLISH}\t{SAID}" in lines
    assert f"{CHINESE}\t{CHINESE_SAID}" in lines


def test_help_keeps_its_lines(run: Run) -> None:
    _, out, _ = run("--help")
    assert "\n  voxray transcribe clip.wav                  the text\n" in out


def test_help_lists_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert {"transcribe", "trace", "explain", "attention", "inspect", "demo", "completion"} <= set(cli.cli.commands)
    assert all(name in out for name in cli.cli.commands)
