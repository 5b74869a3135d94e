"""The command ``explain``, run in this process: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import soundfile
from click.shell_completion import ShellComplete
from onnx import helper

import voxray
from voxray import cli, masking, methods
from voxray.cli.answers import Answer, Question, clearer, peak_of, short, span_of, tidy
from voxray.cli.explain import explain, of_every_label
from voxray.cli.ledger import bars, notes_told
from voxray.cli.options import described, flags_of
from voxray.cli.tables import number
from voxray.types import Grid, ModelInfo, Relevance, Target

CLIPS = Path(voxray.__file__).parent / "assets" / "clips"
CHINESE, NOISY = CLIPS / "zh_happy_speech.wav", CLIPS / "en_noise_burst.wav"
HEARD = {clip.path: clip.heard for clip in voxray.demo_clips()}
TAGS = ["language", "emotion", "event"]
ROOT = Path(__file__).parents[2]

Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command ``explain``; returns exit code, standard output, standard error."""

    def command(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["voxray", "explain", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return command


def rows(text: str) -> list[list[str]]:
    """The cells of every line of a table."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]


def numbers(line: list[str]) -> list[float]:
    return [float(cell) for cell in line if re.fullmatch(r"[+-]\d+\.\d\d", cell)]


def relevance(scores: list[float], edges: list[float], **changes: Any) -> Relevance:
    target = Target("word", "word:0", "a", "", 0, (4, 5), 0.4, 0.5)
    told: dict[str, Any] = {
        "scores": np.array([scores], np.float32), "grid": Grid(np.array(edges), np.array([0.0, 80.0])), "target": target,
        "method": "exact", "options": {}, "unit": "logit", "score": 1.0, "parts": {}, "adds_up": False, "view": False,
        "model": ModelInfo("sensevoice", "funasr", "m", "fp32"), "audio": "a.wav", "language": "auto", "seed": None, "passes": 1,
        "seconds": 0.1,
    }  # fmt: skip
    return Relevance(**(told | changes))


# --- What is printed ---------------------------------------------------------------------------------------------------


def test_one_target_is_a_ledger_that_adds_up(run: Run, bundled: Any) -> None:
    code, out, err = run(NOISY, "-t", "word:2")
    assert (code, err) == (0, "")
    (why,) = voxray.explain(bundled, NOISY, ["word:2"])
    lines = rows(out)
    assert lines[0] == [f"{NOISY.name} · word:2 'bicycle'"]
    table = [line for line in lines if numbers(line) and not line[0].startswith("residual")]
    spoken = [line for line in table if re.fullmatch(r"\d+\.\d\d", line[0])]
    parts = {line[0]: numbers(line)[0] for line in table if line not in spoken}
    assert [line[2] for line in spoken if line[2] not in ("(pause)", "▸")] == [
        word for word in HEARD[NOISY].split() if word != "bicycle"
    ]
    assert [line[3] for line in spoken if line[2] == "▸"] == ["bicycle"]
    assert sum(numbers(line)[0] for line in spoken) == pytest.approx(parts["all sound"], abs=0.06)
    assert parts["all sound"] == pytest.approx(float(why.scores.sum()), abs=0.011)
    assert parts["score"] == pytest.approx(why.score, abs=0.011)
    assert parts["score"] == pytest.approx(parts["all sound"] + sum(parts[name] for name in why.parts), abs=0.03)
    residual = next(float(line[1]) for line in lines if line[0] == "residual")
    assert abs(residual) <= 1e-4
    peak = next(line[2] for line in lines if line[0] == "score")
    assert peak == f"peak {why.grid.centres[why.over_time.argmax()]:.2f} s"
    assert lines[-1][0].startswith("exact (cells fine): 1 pass, ")


def test_without_a_target_every_word_and_tag_is_a_line_that_adds_up(run: Run) -> None:
    code, out, err = run(CHINESE)
    assert (code, err) == (0, "")
    lines = [line for line in rows(out) if len(numbers(line)) >= 6]
    said = HEARD[CHINESE]
    assert [line[0] for line in lines[: len(said)]] == [f"word:{index} {sign}" for index, sign in enumerate(said)]
    assert [line[0].split()[0] for line in lines[len(said) :]] == TAGS
    for line in lines:
        score, *shares = numbers(line)
        assert sum(shares) == pytest.approx(score, abs=0.05)
    assert "for 11 targets together" in out


def test_a_rival_is_named_and_changes_the_score(run: Run, bundled: Any) -> None:
    code, out, _ = run(NOISY, "-t", "emotion", "--against", "HAPPY")
    assert code == 0
    assert "emotion 'NEUTRAL' rather than 'HAPPY'" in out
    score = next(numbers(line)[0] for line in rows(out) if line[0] == "score")
    (tag,) = [tag for tag in bundled.trace(NOISY).tags if tag.kind == "emotion"]
    odds = np.log(tag.probabilities["NEUTRAL"] / tag.probabilities["HAPPY"])
    assert score == pytest.approx(odds, abs=0.02)


def test_a_word_is_found_by_its_text(run: Run) -> None:
    tables = [run(NOISY, "-t", name)[1].splitlines()[:-1] for name in ("word:2", "word:bicycle", 'word:"bicycle"')]
    assert tables[0] == tables[1] == tables[2]


def test_a_view_says_so_and_has_no_sign(run: Run) -> None:
    code, out, _ = run(NOISY, "-t", "word:2", "--method", "attention")
    assert code == 0
    assert "note: attention is a view, not an explanation of the decision" in out
    shares = [float(line[-2 if "│" in line[-1] else -1]) for line in rows(out) if re.fullmatch(r"-?\d+\.\d\d", line[0])]
    whole, prompt = (next(float(line[1]) for line in rows(out) if line[0] == name) for name in ("all sound", "prompt"))
    assert sum(shares) == pytest.approx(whole, abs=0.006)
    assert whole + prompt == pytest.approx(1, abs=0.002)


def test_notes_say_whom_they_concern() -> None:
    def noted(name: str, *notes: str, piece: int = 0) -> Relevance:
        return relevance([1.0], [0.0, 0.1], target=Target("tag", name, "a", "", piece, (0, 1), 0.0, 0.1), notes=notes)

    assert notes_told([noted("emotion", "a", "b")]) == ["note: a", "note: b"]
    two = [noted("emotion", "b", "a"), noted("event", "a", "c")]
    assert notes_told(two) == ["note: a", "note on emotion: b", "note on event: c"]
    assert notes_told([*two, noted("text", "a", "c")]) == ["note: a", "note on emotion: b", "note on event, text: c"]
    (shared, counted) = notes_told([*two, noted("language", "a"), noted("text", "a", "c")])
    assert shared == "note: a"
    assert counted == "note: 2 more, of single targets, are told where these are asked for alone, and by --json"
    assert notes_told([noted("emotion@0", "a"), noted("emotion@1", "b", piece=1)]) == ["note: a", "note: b"]  # each of its piece


def test_the_text_norm_says_that_it_copies_its_prompt(run: Run) -> None:
    assert "note: the text-norm row copies its prompt: nothing in the sound decides it" in run(NOISY, "-t", "textnorm")[1]


def test_a_told_language_is_left_out(run: Run) -> None:
    code, out, _ = run(NOISY, "-l", "en")
    assert code == 0
    assert "emotion NEUTRAL" in out
    assert "language " not in out


def test_the_lens_says_where_it_was_decided(run: Run, bundled: Any) -> None:
    code, out, _ = run(NOISY, "-t", "word:2", "--lens")
    assert code == 0
    (lens,) = voxray.layer_lens(bundled, NOISY, ["word:2"])
    line = next(line for line in rows(out) if line[0] == "bicycle")
    shown = [0, 3, 5, 8, 10, 13]
    assert [int(cell) for cell in line[1:7]] == [int(lens.ranks[layer, 0, 0]) + 1 for layer in shown]
    assert int(line[7]) == lens.commits[0]
    assert float(line[-1]) == pytest.approx(float(lens.log_odds[-1, 0, 0]), abs=0.011)


def test_json_holds_relevance_over_time_and_of_every_word(run: Run, bundled: Any) -> None:
    code, out, _ = run(NOISY, CHINESE, "-t", "word:2", "-t", "event", "--json", "--lens")
    assert code == 0
    told = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert [one["text"] for one in told] == [HEARD[NOISY], HEARD[CHINESE]]
    word, event = told[0]["relevances"]
    why = voxray.explain(bundled, NOISY, "word:2")
    np.testing.assert_allclose(word["over_time"], why.over_time, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(word["grid"]["times"], why.grid.times, atol=1e-6)
    assert all(value == short(value) for value in word["over_time"])
    assert (word["method"], word["unit"], word["target"]["label"]) == ("exact", "logit", "bicycle")
    place = voxray.standing_of("exact", "word")
    assert (word["view"], word["because"]) == (place.status == "view", place.because)
    for one in (word, event):
        assert "scores" not in one
        cells = np.sum(one["over_time"])
        assert sum(part["relevance"] for part in one["stretches"]) == pytest.approx(cells, abs=1e-3)
        assert cells + sum(one["parts"].values()) + one["residual"] == pytest.approx(one["score"], abs=1e-4)
    assert word["peak"] == pytest.approx(why.grid.centres[why.over_time.argmax()])
    assert [lens["layers"] for lens in told[0]["lenses"]] == [bundled.layers] * 2


def test_json_holds_every_cell_where_that_is_asked_for(run: Run) -> None:
    texts = [run(NOISY, "-t", "word:2", "-t", "event", "--json", *more)[1] for more in ((), ("--every-cell",))]
    assert len(texts[0]) < len(texts[1]) / 20
    for short_one, whole in zip(*(json.loads(text)["relevances"] for text in texts), strict=True):
        assert set(whole) == {*short_one, "scores"}
        cells = np.array(whole["scores"])
        assert cells.shape == (len(whole["grid"]["mels"]) - 1, len(whole["grid"]["times"]) - 1)
        np.testing.assert_allclose(cells.sum(axis=0), short_one["over_time"], rtol=2e-3, atol=2e-4)


def test_short_numbers_have_six_digits() -> None:
    assert [short(value) for value in (1234.56789, -0.000123456789, 0.0, 3.0)] == [1234.57, -0.000123457, 0.0, 3.0]
    assert np.isnan(short(float("nan")))


def test_what_is_no_number_is_null_in_json() -> None:
    assert tidy({"a": [float("nan"), 0.1234567891234], "b": (float("inf"), True, "x")}) == {
        "a": [None, 0.123456789],
        "b": [None, True, "x"],
    }


@pytest.mark.parametrize("width", [60, 100, 160])
def test_tables_fit_a_terminal(width: int) -> None:
    pytest.importorskip("pty")
    words = ["voxray", "explain", str(NOISY), "-t", "word:2", "--lens"]
    code = f"import sys; sys.argv = {words}; from voxray.cli import main; main()"
    spawn = f"import pty; pty.spawn([{sys.executable!r}, '-c', {code!r}])"
    terminal = os.environ | {"TERM": "xterm", "COLUMNS": str(width), "PYTHONUTF8": "1"}
    result = subprocess.run([sys.executable, "-c", spawn], capture_output=True, check=True, env=terminal)
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.stdout.decode()).replace("\r\n", "\n")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in screen.split("\n")]
    assert max(map(len, lines)) <= width
    bars = [line for line in lines if re.match(r" *\d\.\d\d .*│", line)]
    assert len(bars) == 8  # six words and two pauses, none of them broken into two lines
    assert any("█" in line and "▸" in line for line in bars)
    assert ("to s" in screen) == (width >= 80)


# --- Parts of the tables -----------------------------------------------------------------------------------------------


def test_stretches_are_those_that_are_hidden(bundled: Any) -> None:
    """Words and pauses of the table are those of the methods that hide words, to half a cell."""
    trace = bundled.trace(NOISY, layers=[])
    (why,) = voxray.explain(bundled, trace, ["word:2"], method="uniform")
    edges = why.grid.times[masking.words_and_pauses(why.grid, trace.words)]
    found = voxray.stretches(trace.words, *span_of(why))
    assert [part.text for part in found if part.text] == HEARD[NOISY].split()
    assert [found[0].start, *(part.end for part in found)] == pytest.approx(edges.tolist(), abs=0.0051)


def test_the_peak_is_where_most_speaks_for_it_in_a_second() -> None:
    assert peak_of(relevance([1.0, 3.0, -9.0], [0.0, 0.1, 1.1, 1.2])) == pytest.approx(0.05)  # 10 a second, not 3
    assert peak_of(relevance([-1.0, 0.0], [0.0, 0.1, 0.2])) is None
    assert peak_of(relevance([float("nan"), 0.5], [0.0, 0.1, 0.2])) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.005, "nats", "+1.00"), (-0.001, "logit", "+0.00"), (0.25, "share", "0.250"), (float("nan"), "nats", "-"), (None, "", "-")],
)
def test_numbers(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_bars_are_as_long_as_their_numbers() -> None:
    draw = bars([-2.0, 4.0, float("nan")], 21)
    assert [str(draw(value)) for value in (4.0, -2.0, 1.0, 0.0, float("nan"))] == [
        " " * 10 + "│" + "█" * 10,
        " " * 5 + "█" * 5 + "│",
        " " * 10 + "│██▌",
        " " * 10 + "│",
        " " * 10 + "│",
    ]


# --- Methods and their options -----------------------------------------------------------------------------------------


def test_every_method_is_listed(run: Run) -> None:
    code, out, err = run("--list")
    assert (code, err) == (0, "")
    named = {line[0]: line[1] for line in rows(out) if line[0] in methods.names()}
    assert list(named) == methods.names()
    for name, told in named.items():
        assert told.startswith("explains " if voxray.explains(name) else "view")
        assert ("adds up" in told) == methods.method_class(name).adds_up


def test_the_list_is_machine_readable(run: Run) -> None:
    told = {one["name"]: one for one in json.loads(run("--list", "--json")[1])}
    assert sorted(told) == methods.names()
    assert told["lime"]["needs"] == "passes"
    options = {one["name"]: one for one in told["lime"]["options"]}
    assert (options["samples"]["default"], options["samples"]["type"]) == (500, "whole number")
    assert options["fill"]["type"] == "noise_floor | mean | silence | pink"


@pytest.mark.parametrize("name", methods.names())
def test_every_option_of_a_method_is_described_and_is_no_option_of_the_command(name: str) -> None:
    context = click.Context(explain, info_name="explain")
    own = {flag for one in click.Command.get_params(explain, context) for flag in one.opts}
    kind = methods.method_class(name)
    told = described(kind)
    for one, (flag, settings) in zip(fields(kind), flags_of(kind), strict=True):
        assert told.get(one.name), f"{name}.{one.name} is not described in the docstring"
        assert flag.split("/")[0] == f"--{one.name.replace('_', '-')}"
        assert flag.split("/")[0] not in own
        assert settings["default"] == one.default
        assert one.name in {option.name for option in [click.Option([flag], **settings)]}


def test_options_reach_the_method(run: Run) -> None:
    words = ("--method", "lime", "--samples", 40, "--no-stop-early", "--fill", "mean", "--units", "words", "--seed", 3)
    code, out, _ = run(NOISY, "-t", "word:2", *words, "--json")
    assert code == 0
    (told,) = json.loads(out)["relevances"]
    assert told["options"] == {
        "units": "words", "segment": 0.12, "samples": 40, "kernel": 0.25, "ridge": 1.0, "stop_early": False, "score": "forced",
        "fill": "mean", "domain": "features", "seed": 3,
    }  # fmt: skip
    assert (told["passes"], told["seed"]) == (40, 3)


def test_a_budget_ends_a_method_and_is_said(run: Run) -> None:
    code, out, _ = run(NOISY, "-t", "word:2", "--method", "occlusion", "--budget", 10)
    assert code == 0
    assert "occlusion (width 0.12, hop 0.06" in out
    assert "): 10 passes, " in out
    assert "the budget ended after 10 of 43 windows" in out


def test_words_that_a_budget_left_unheard_are_named(run: Run, bundled: Any) -> None:
    """Their cells are 0 because they were never hidden, which says nothing about them."""
    said = HEARD[NOISY].split()
    _, out, _ = run(NOISY, "-t", "word:2", "--method", "word_leave_one_out", "--budget", 3)
    trace = bundled.trace(NOISY, layers=())
    why, fine = (voxray.explain(bundled, trace, "word:2", method=name, passes=3) for name in ("word_leave_one_out", "occlusion"))
    told = re.search(r"ended after 3 of 6 words; never hidden, so their 0 says nothing: (.*)", out).group(1).split()  # type: ignore[union-attr]
    assert np.count_nonzero(why.scores) == 3
    assert len(told) == 3
    spans = masking.words(fine.grid, trace.words)
    for word, (first, stop) in zip(said, spans, strict=True):
        middle = why.grid.times[0] + 0.01 * (first + stop) / 2
        cell = int(np.searchsorted(why.grid.times, middle)) - 1
        assert (why.scores[0, cell] == 0) == (word in told), word
    assert "never hidden" not in run(NOISY, "-t", "word:2", "--method", "word_leave_one_out")[1]


def test_words_that_no_window_reached_are_named(run: Run, bundled: Any) -> None:
    said = HEARD[NOISY].split()
    trace = bundled.trace(NOISY, layers=())
    for budget in (1, 3, 40):
        (why,) = voxray.explain(bundled, trace, ["word:2"], method="occlusion", passes=budget)
        spans = masking.words(why.grid, trace.words)
        unheard = [word for word, (first, stop) in zip(said, spans, strict=True) if not why.scores[0, first:stop].any()]
        _, out, _ = run(NOISY, "-t", "word:2", "--method", "occlusion", "--budget", budget)
        told = re.search(r"were never hidden(?:, and no part of these words, so their 0 says nothing: (.*))?", out)
        assert told is not None
        assert (told.group(1) or "").split() == unheard
        assert bool(unheard) == (budget < 40)


def test_help_shows_the_options_of_the_method(run: Run) -> None:
    code, out, _ = run("--method", "shapley", "--help")
    assert code == 0
    assert "Options of the method shapley:" in out
    assert "--stop-early / --no-stop-early" in out
    assert "--cells" not in out
    assert "--cells" in run("--help")[1]


@pytest.mark.parametrize(
    ("args", "typed", "offered"),
    [
        (["explain", "--method"], "lim", ["lime"]),
        (["explain", "--target"], "e", ["emotion", "event"]),
        (["explain", "--method", "lime"], "--sam", ["--samples"]),
        (["explain", "--method", "lime", "--fill"], "n", ["noise_floor"]),
        (["explain", "--method", "nosuch"], "--bud", ["--budget"]),
        (["explain", "--language"], "z", ["zh"]),
    ],
)
def test_completion(args: list[str], typed: str, offered: list[str]) -> None:
    completer = ShellComplete(cli.cli, {}, "voxray", "_VOXRAY_COMPLETE")
    assert [one.value for one in completer.get_completions(args, typed)] == offered


# --- Pictures and sound ------------------------------------------------------------------------------------------------


def test_one_picture_goes_into_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "why.svg"
    code, out, _ = run(NOISY, "-t", "word:2", "-o", path)
    assert code == 0
    assert out.splitlines()[-1] == str(path)
    assert path.read_text(encoding="utf-8").startswith("<?xml")
    assert [one.name for one in path.parent.iterdir()] == ["why.svg"]


def test_pictures_of_every_kind_go_into_a_folder(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(NOISY, "-t", "word:2", "-t", "emotion", "-o", tmp_path, "-k", "all", "--lens", "--dpi", 40)
    assert code == 0
    names = ["word-2-exact-map", "emotion-exact-map", "word-2-exact-words", "emotion-exact-words", "exact-times",
             "exact-matrix", "emotion-exact-labels", "word-2-paths", "emotion-paths", "lens"]  # fmt: skip
    written = [Path(line) for line in out.splitlines()[-len(names) :]]
    assert [path.name for path in written] == [f"en_noise_burst-{name}.png" for name in names]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert all(path.stat().st_size > 2000 for path in written)


def test_paths_are_norms_of_what_attention_and_memory_add(
    run: Run, bundled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(voxray.plot, "paths", lambda paths, **told: drawn.append((paths, told)))
    code, _, _ = run(NOISY, "-t", "word:2", "-t", "event", "-k", "paths", "-o", tmp_path)
    assert code == 0
    trace = bundled.trace(NOISY)
    attended = np.asarray(trace.tensor("attended").values)
    (token,) = trace.tokens[slice(*trace.words[2].tokens)]
    places = [list(range(*token.rows)), [tag.row for tag in trace.tags if tag.kind == "event"]]
    for (paths, told), rows in zip(drawn, places, strict=True):
        for name, tensor in (("attention", "projection"), ("memory", "memory")):
            norms = np.sqrt((np.asarray(trace.tensor(tensor).values)[:, rows] ** 2).sum(axis=2)).mean(axis=1)
            np.testing.assert_allclose(paths[name], norms, rtol=1e-3)
        assert "a view, not an explanation" in told["provenance"]
    parts = [np.asarray(trace.tensor(name).values) for name in ("projection", "memory")]
    np.testing.assert_allclose(sum(parts), attended, atol=1e-4)  # the two are all that the layer adds before its feed-forward


def test_without_a_target_the_picture_is_a_page_of_all(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(CHINESE, "-o", tmp_path, "--dpi", 40, "--method", "emission")
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["zh_happy_speech-emission-times.png"]
    assert out.splitlines()[-1] == str(tmp_path / "zh_happy_speech-emission-times.png")


def test_a_kind_of_picture_goes_here_unless_told_otherwise(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(NOISY, "-t", "word:2", "-k", "words", "--format", "pdf", "--method", "emission")
    assert (code, out.splitlines()[-1]) == (0, "en_noise_burst-word-2-emission-words.pdf")
    assert (tmp_path / "en_noise_burst-word-2-emission-words.pdf").read_bytes().startswith(b"%PDF")


def test_evidence_and_rest_are_the_sound(run: Run, tmp_path: Path) -> None:
    for keep in ("evidence", "rest"):
        code, out, _ = run(NOISY, "-t", "word:2", "--listen", tmp_path / f"{keep}.wav", "--keep", keep)
        assert (code, out.splitlines()[-1]) == (0, str(tmp_path / f"{keep}.wav"))
    sound, evidence, rest = (soundfile.read(path)[0] for path in (NOISY, tmp_path / "evidence.wav", tmp_path / "rest.wav"))
    np.testing.assert_allclose(evidence + rest, sound, atol=1.1 / 32768)
    assert 0.001 < np.sum(evidence**2) / np.sum(sound**2) < 0.9
    code, _, _ = run(NOISY, "-t", "word:2", "-t", "event", "--listen", tmp_path / "folder")
    assert code == 0
    names = ["en_noise_burst-event-exact-evidence.wav", "en_noise_burst-word-2-exact-evidence.wav"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == names


def test_a_long_sound_has_a_page_for_each_piece(run: Run, tmp_path: Path) -> None:
    parts = [soundfile.read(NOISY, dtype="float32")[0], np.zeros(16000, np.float32)] * 10
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), 16000)
    code, out, _ = run(tmp_path / "long.wav", "--method", "emission", "-o", tmp_path / "pages", "--dpi", 40)
    assert code == 0
    pieces = len({line[0].split()[0] for line in rows(out) if line[0].startswith("emotion@")})
    assert pieces >= 2
    names = [f"long-emission-times-{piece:03d}.png" for piece in range(pieces)]
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == names
    assert run(tmp_path / "long.wav", "--method", "emission", "-o", tmp_path / "page.png", "--dpi", 40)[0] == 0
    assert sorted(path.name for path in tmp_path.glob("page-*.png")) == [f"page-{piece:03d}.png" for piece in range(pieces)]
    assert f"say which: emotion@0 to emotion@{pieces - 1}" in run(tmp_path / "long.wav", "-t", "emotion")[2]


# --- Bad input ---------------------------------------------------------------------------------------------------------

BAD = [
    ("-t word:2 -k labels", "--kind labels needs a tag, such as --target emotion."),
    ("-t emotion --against SAD -k labels", "--kind labels shows every label against the others; leave out --against."),
    ("-t emotion@9", "en_noise_burst.wav has one piece of sound; ask for emotion"),
    ("-t wrd:2", "there is no target 'wrd:2' (did you mean word?)"),
    ("-t word:77", "word 77 is not there: en_noise_burst.wav has 6 words, counted from 0"),
    ("-t token:-1", "no token reads '-1'; there are: we removed"),
    ("-t word:bicycles", "no word reads 'bicycles' (did you mean bicycle?); there are: we removed bicycle rice with cabbage"),
    ("-t word:Cabage", "no word reads 'Cabage' (did you mean cabbage?); there are: we removed"),
    ("-t word:zzz", "no word reads 'zzz'; there are: we removed bicycle rice with cabbage"),
    ("-t emotion:HAPY", "the emotion 'HAPY' is none of this model's (did you mean HAPPY?); choose one of HAPPY"),
    ("-t emotion:sad", "the emotion 'sad' is none of this model's (did you mean SAD?); choose one of HAPPY"),
    ("-t event:applauze@0", "the event 'applauze' is none of this model's (did you mean Applause?); choose one of Speech"),
    ("-t emotion:ZZZ", "the emotion 'ZZZ' is none of this model's; choose one of HAPPY"),
    ("-t word:2 --every-cell", "--every-cell is about the JSON; give --json, too."),
    ("-t text@4", "en_noise_burst.wav has one piece of sound; ask for text"),
    ("-t word:2 --against bicycle", "'bicycle' cannot compete with 'bicycle': it is the same"),
    ("-t word:2 --against zzqz", "vocabulary cannot spell 'zzqz'"),
    ("-t emotion --against en", "'en' cannot compete with the emotion 'NEUTRAL'; choose one of HAPPY"),
    ("--against rice", "--against needs a --target"),
    ("-t language -l en", "the language was told and not heard; recognise with language auto"),
    ("--method limee", "there is no method 'limee' (did you mean lime?); choose one of alti, attention"),
    ("--method lime --sampels 3", "no option --sampels (did you mean --samples?); the method lime has --units, --segment"),
    ("--samples 3", "no option --samples; it is one of the methods lime, rise, smoothgrad; the method exact has --cells."),
    ("--method uniform --foo", "the method uniform has no options of its own."),
    ("--method lime --fill nois", "'nois' is not one of 'noise_floor', 'mean', 'silence', 'pink'"),
    ("--method lime --samples many", "'many' is not a valid integer"),
    ("--method lime --samples 1", "samples is 1; a regression needs at least 2"),
    ("--method integrated_gradients --most 9", "most is 9, but 64 steps are taken at least; give as many or more"),
    ("--method occlusion --hop 3", "expected 0.01 s <= hop <= width"),
    ("--budget 0", "Invalid value for '--budget': 0 is not in the range x>=1"),
    ("--seconds 0", "Invalid value for '--seconds': 0.0 is not in the range x>0"),
    ("-t word:2 --method lime --budget 1", "the budget allows 1 passes, the method needs 2 or more"),
    ("--share 0", "share must lie above 0 and be at most 1, got 0"),
    ("-t word:1 -t word:2 -o one.png", "one.png is one file; give a folder"),
    ("-t word:2 -o why.gif", "why.gif is neither a folder nor a file that ends in .png, .svg, .pdf"),
    ("-t word:2 --listen why.mp3", "why.mp3 is neither a folder nor a file that ends in .wav"),
    ("--listen why.wav", "why.wav is one file; give a folder"),
]


@pytest.mark.parametrize(("words", "reason"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(NOISY, *words.split())
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert reason in err
    assert list(tmp_path.iterdir()) == []


def test_no_sound_is_one_line(run: Run) -> None:
    assert run() == (2, "", "voxray: Missing argument 'FILES...'. See 'voxray explain --help'.\n")


def test_a_bad_file_or_target_does_not_stop_the_others(run: Run, tmp_path: Path) -> None:
    code, out, err = run(NOISY, tmp_path / "none.wav", CHINESE, "-t", "word:7")
    assert code == 2
    assert "zh_happy_speech.wav · word:7 " in out
    assert err.splitlines()[0] == "voxray: word 7 is not there: en_noise_burst.wav has 6 words, counted from 0"
    assert "none.wav: no such file" in err.splitlines()[1]
    assert err.splitlines()[2] == "voxray: 2 of 3 files failed"
    _, _, err = run(NOISY, CHINESE, "-t", "word:rice")
    assert err.splitlines()[0].startswith(f"voxray: {CHINESE}: no word reads 'rice'; there are: ")


def test_a_model_without_a_gradient_rule_offers_what_works(run: Run, model_folder: Path) -> None:
    """A maximum of one thing is that thing, but it has no rule."""
    model = onnx.load(model_folder / "model.onnx")
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "speech":
                node.input[place] = "speech_as_it_is"
    model.graph.node.insert(0, helper.make_node("Max", ["speech"], ["speech_as_it_is"]))
    (model_folder / "model.onnx").write_bytes(model.SerializeToString())
    words = (ROOT / "tests" / "data" / "audio" / "odd.wav", "-m", model_folder, "-t", "emotion")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "the operator Max has no gradient rule" in err
    assert "occlusion" in err
    code, out, err = run(*words, "--method", "occlusion", "--budget", 4)
    assert (code, err) == (0, "")
    assert "4 passes" in out


def test_other_gaps_of_the_rules_offer_occlusion_too() -> None:
    question = Question((), None, "exact", {}, None, None, lens=False)
    told = str(clearer(voxray.ModelError("m.onnx: a Gemm has no gradient rule"), question, ""))
    assert told == "m.onnx: a Gemm has no gradient rule; a method that only asks the model still works, such as --method occlusion"
    assert str(clearer(voxray.OptionError("no such"), question, "x/a.wav")) == "x/a.wav: no such"
    assert str(clearer(voxray.OptionError("a.wav has none"), question, "x/a.wav")) == "a.wav has none"


# --- The page that says all of it --------------------------------------------------------------------------------------


def test_the_page_of_methods_is_current() -> None:
    script = ROOT / "scripts" / "methods_page.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "current\n")


def test_a_page_that_is_not_current_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (tmp_path / "docs").mkdir()
    script = folder / "methods_page.py"
    script.write_text((ROOT / "scripts" / "methods_page.py").read_text(encoding="utf-8"), encoding="utf-8")
    shutil.copyfile(ROOT / "docs" / "methods.zh.md", tmp_path / "docs" / "methods.zh.md")
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    page = tmp_path / "docs" / "methods.md"
    page.write_text(text.replace("| `samples` | 500 |", "| `samples` | 400 |"), encoding="utf-8")
    checked = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (1, "not current: run python scripts/methods_page.py\n")
    subprocess.run([sys.executable, str(script)], check=True)
    assert page.read_text(encoding="utf-8") == text


def test_what_the_page_shows_works(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.wav").write_bytes(CHINESE.read_bytes())
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "methods.md", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"clip.wav", "why.png", "evidence.wav"}
    commands = [line.split("#")[0].split()[2:] for line in text.splitlines() if line.startswith("    voxray explain ")]
    assert len(commands) == 9
    for command in commands:
        assert run(*command)[0] == 0, command


def test_figures_of_the_readme_are_those_of_the_picture(bundled: Any) -> None:
    why = voxray.explain(bundled, NOISY, "word:2")
    ((_, start, end),) = next(clip for clip in voxray.demo_clips() if clip.path == NOISY).sounds
    sound, noise, rice = float(why.scores.sum()), why.between(start, end), why.between(end, 1.42)
    for name in ("README.md", "README.zh-CN.md"):
        told = (ROOT / name).read_text(encoding="utf-8")
        for value in (sound, noise, rice, sound - noise - rice, why.score):
            assert f"{value:+.1f}" in told
        assert f"{start:.2f}" in told
        assert f"{end:.2f}" in told


# Models with a decoder ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def decoder(data: Path) -> list[str]:
    return [str(data / "audio" / "odd.wav"), "--model", str(data / "paraformer-funasr" / "model.onnx")]


def test_a_model_with_a_decoder_is_explained_by_occlusion(run: Run, decoder: list[str]) -> None:
    code, out, _ = run(*decoder)
    assert code == 0
    assert "· occlusion" in out
    assert len(re.findall(r"^ word:\d+ ", out, re.MULTILINE)) == 13
    assert "note: as many tokens fire as in the whole sound, each from its own stretch" in out
    code, out, _ = run(*decoder, "-t", "word:1", "--against", "好", "--method", "shapley", "--pairs", "2", "--json")
    told = json.loads(out)["relevances"][0]
    assert (code, told["method"], told["target"]["label"], told["target"]["against"]) == (0, "shapley", "c", "好")
    assert abs(told["residual"]) <= 1e-5


def test_pictures_and_sound_of_a_model_with_a_decoder(run: Run, decoder: list[str], tmp_path: Path) -> None:
    code, out, _ = run(*decoder, "-t", "word:1", "-k", "all", "-o", tmp_path / "why", "--listen", tmp_path / "why.wav")
    assert code == 0
    kinds = {path.stem.rpartition("-")[2] for path in (tmp_path / "why").iterdir()}
    assert kinds == {"map", "words", "times", "matrix"}
    assert voxray.load_audio(tmp_path / "why.wav").duration == pytest.approx(voxray.load_audio(decoder[0]).duration, abs=1e-3)
    code, out, _ = run(*decoder, "-t", "word:1", "--method", "attention", "-o", tmp_path / "look.png")
    assert code == 0
    assert "attention is a view, not an explanation" in out
    assert (tmp_path / "look.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--method", "exact"],
            "the method exact needs operators through which a score splits, which paraformer-funasr/model.onnx does not give;",
        ),
        (["--cells", "frame"], "the method occlusion has no option 'cells' (did you mean mels?); it has width, hop,"),
        (["-t", "emotion"], "this model decides no emotion; ask for a word, a token or the text"),
        (
            ["-t", "word:1", "--lens"],
            "the lens reads an encoder that makes the text by itself, unlike that of paraformer",
        ),
        (
            ["-k", "paths"],
            "paths are drawn of an encoder that makes the text by itself, unlike that of paraformer",
        ),
    ],
)
def test_what_a_model_with_a_decoder_does_not_give_is_one_line(run: Run, decoder: list[str], words: list[str], told: str) -> None:
    code, _, error = run(*decoder, *words)
    assert code != 0
    assert error.startswith(f"voxray: {told}")
    assert error.count("\n") == 1


def test_of_very_many_labels_the_likeliest_are_shown(bundled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxray.cli.explain.LABELS", 3)
    trace = bundled.trace(CHINESE)
    odds = next(tag for tag in trace.tags if tag.kind == "emotion").probabilities
    least = min(odds, key=lambda label: odds[label])
    asked = voxray.explain(bundled, trace, f"emotion:{least}", method="uniform")
    question = Question((f"emotion:{least}",), None, "uniform", {}, None, None, lens=False)
    found = of_every_label(bundled, Answer(question, trace, [asked], []), asked)
    assert {one.target.label for one in found} == {least, *sorted(odds, key=lambda label: -odds[label])[:2]}
