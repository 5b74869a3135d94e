"""``python -m voxray.truespeech``: what it writes, and that bad input ends in one line."""

from __future__ import annotations

import json
import sys

import pytest
import soundfile

from voxray.truespeech.__main__ import main, recipe
from voxray.truespeech.clip import Recipe, is_held_out
from voxray.truespeech.voices import HELD_OUT


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line and return its exit code, its output and its complaints."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["truespeech", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return command


def test_clips_are_written_with_their_truth(run, tmp_path):
    folder = tmp_path / "new" / "folder"
    options = ["--clips", 9, "--seed", 4, "--language", "ko", "--language", "ja", "--mode", "concat", "--processes", 1]
    code, out, err = run(folder, *options, "--clean", "--held-out-voices", "--held-out-sentences")
    assert (code, err) == (0, "")
    truths = [json.loads((folder / f"{number:06}.json").read_text(encoding="utf-8")) for number in range(9)]
    assert len(list(folder.iterdir())) == 18
    for number, truth in enumerate(truths):
        samples, rate = soundfile.read(folder / f"{number:06}.wav")
        assert (len(samples), rate) == (truth["length"], truth["rate"])
        assert truth["mode"] == "concat"
        assert truth["conditions"] == {"room": False, "band": False, "gain": 0.0}
        assert truth["speaker"]["voice"].split("+")[1] in HELD_OUT
        assert is_held_out(truth["text"])
    assert {truth["language"] for truth in truths} == {"ko", "ja"}
    sound = sum(truth["length"] for truth in truths) / 16000
    speech = sum(word["end"] - word["start"] for truth in truths for word in truth["words"]) / 16000
    assert out.startswith(f"9 clips, {sound:.1f} s of sound, {speech:.1f} s of speech, made in ")
    assert out.count("\n") == 1


def test_without_options_the_recipe_is_the_trainings():
    flags = {"clean": False, "held_out_voices": False, "held_out_sentences": False}
    assert recipe(languages=(), mode=None, **flags) == Recipe()
    assert recipe(languages=("en", "en"), mode="sentence", **flags) == Recipe(languages=("en",), concat=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing argument 'OUT'"),
        (["out", "--clips", 0], "Invalid value for '--clips'"),
        (["out", "--seed", -1], "Invalid value for '--seed'"),
        (["out", "--language", "fr"], "'fr' is not one of 'zh', 'yue', 'en', 'ja', 'ko'"),
        (["out", "--mode", "other"], "'other' is not one of 'concat', 'sentence'"),
        (["out", "--processes", 0], "Invalid value for '--processes'"),
        (["out", "--loud"], "No such option"),
        (["file"], "is a file"),
        (["file/out"], "the output cannot be written: Not a directory"),
        (["full"], "the folder full is not empty; choose a new one"),
    ],
)
def test_bad_input_ends_in_one_line(run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "000000.wav").touch()
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert err.startswith("truespeech: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
