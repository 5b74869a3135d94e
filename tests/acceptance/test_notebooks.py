"""The tutorial notebooks: both run from top to bottom offline, show what the library computes, and are those of the repository."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import voxray
from hubserver import FUNASR, bare_machine, serving
from voxray.models import BUNDLED
from voxray.views import canvas

MISSING = [name for name in ("nbformat", "nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
if MISSING:
    pytest.skip(f"the notebooks are not run: {', '.join(MISSING)} is not installed (extra notebooks)", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "notebooks.py"
NAMES = {"en": "tour.ipynb", "zh": "tour.zh.ipynb"}
LANGUAGES = tuple(NAMES)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
BY_MACHINE = ("compare_models",)  # whose figures differ from processor to processor: int8 rounds as it runs


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_maker", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def source(maker: ModuleType) -> str:
    return str(maker.SOURCE.read_text(encoding="utf-8"))


def read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, 4)


@pytest.fixture(scope="session")
def committed() -> dict[str, Any]:
    return {language: read(ROOT / "examples" / name) for language, name in NAMES.items()}


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both notebooks, run now on a kernel of this Python; the script refuses errors, warnings and paths of this machine."""
    folder = tmp_path_factory.mktemp("notebooks")
    done = subprocess.run([sys.executable, str(SCRIPT), "--out", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return {language: read(folder / name) for language, name in NAMES.items()}


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> str:
    """Everything that a cell wrote, as text."""
    return "".join(one.get("text", "") + one.get("data", {}).get("text/markdown", "") for one in cell.outputs)


def pictures(cell: Any) -> list[bytes]:
    return [base64.b64decode(one.data["image/png"]) for one in cell.outputs if "image/png" in one.get("data", {})]


def output(notebook: Any, call: str) -> str:
    """What the first cell with a call wrote."""
    return next(shown(cell) for cell in code(notebook) if call in cell.source)


def rows(told: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in told.splitlines() if line.startswith("| ")]
    return [[one.strip() for one in line.strip("|").split("|")] for line in lines[2:]]


# --- The files ---------------------------------------------------------------------------------------------------------


def test_the_notebooks_are_made_of_their_source(maker: ModuleType, source: str, committed: dict[str, Any]) -> None:
    import nbformat

    for language in LANGUAGES:
        nbformat.validate(committed[language])
        assert maker.plain(committed[language]) == maker.plain(maker.built(language, source)), "run scripts/notebooks.py"


def test_the_check_says_which_notebook_is_stale(maker: ModuleType, tmp_path: Path, committed: dict[str, Any]) -> None:
    import nbformat

    def check(folder: Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--check", "--out", str(folder)], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    assert check(ROOT / "examples") == (0, "")
    changed = nbformat.from_dict(committed["zh"])
    changed.cells[4].source += " "
    for language, name in NAMES.items():
        nbformat.write(changed if language == "zh" else committed[language], tmp_path / name)
    assert check(tmp_path) == (1, "not current, run scripts/notebooks.py: tour.zh.ipynb\n")


def test_both_languages_have_one_structure_and_one_code(maker: ModuleType, source: str) -> None:
    def parts(text: str) -> tuple[str, list[str]]:
        tree = ast.parse(text)
        said = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        values = [str(node.value) for node in said]
        for node in said:
            node.value = ""
        return ast.dump(tree), values

    english, chinese = (maker.built(language, source).cells for language in LANGUAGES)
    assert [cell.cell_type for cell in english] == [cell.cell_type for cell in chinese]
    heads = [[re.findall(r"^#+ \d*", cell.source, re.MULTILINE) for cell in cells] for cells in (english, chinese)]
    assert heads[0] == heads[1]
    assert sum(map(len, heads[0])) == 16  # the title and 15 steps
    for one, other in zip(english, chinese, strict=True):
        if one.cell_type == "code":
            (tree, strings), (tree_zh, strings_zh) = parts(one.source), parts(other.source)
            assert tree == tree_zh
            assert all(a == b or CHINESE.search(b) for a, b in zip(strings, strings_zh, strict=True))
        else:
            assert CHINESE.search(other.source)
            links = [re.findall(r"\]\(\.\./([^)]+)\)", cell.source) for cell in (one, other)]
            assert [link.replace(".zh.md", ".md") for link in links[1]] == links[0]
    assert not any(CHINESE.search(cell.source.replace("[中文]", "")) for cell in english)
    assert "«" not in "".join(cell.source for cell in (*english, *chinese))


def test_every_step_says_what_is_seen_and_what_is_not(maker: ModuleType, source: str) -> None:
    for language, (seen, unseen) in {"en": ("**You see**", "**It does not show**"), "zh": ("**看到的**", "**看不出的**")}.items():
        text = "\n".join(cell.source for cell in maker.built(language, source).cells if cell.cell_type == "markdown")
        steps = re.split(r"^## ", text, flags=re.MULTILINE)[2:-1]  # but the title, the installation and what comes next
        assert len(steps) == 13
        assert [step.splitlines()[0] for step in steps if seen not in step or unseen not in step] == []


def test_links_lead_somewhere(maker: ModuleType, source: str) -> None:
    for language in LANGUAGES:
        for cell in maker.built(language, source).cells:
            for link in re.findall(r"\]\(([^)#]+)\)", cell.source) if cell.cell_type == "markdown" else ():
                assert (ROOT / "examples" / link).is_file(), link


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_committed_outputs_are_whole_small_and_name_no_place(
    language: str, maker: ModuleType, committed: dict[str, Any]
) -> None:
    notebook = committed[language]
    assert maker.faults(notebook, ROOT) == []
    assert (ROOT / "examples" / NAMES[language]).stat().st_size < 3_000_000
    for cell in code(notebook):
        assert cell.execution_count is not None
        assert "execution" not in cell.metadata
        assert not re.search(r"(?<![\w.])/(?:tmp|work|home|root|Users|usr|opt)/", shown(cell))
    drawn = [one for cell in code(notebook) for one in pictures(cell)]
    assert len(drawn) == 11


def test_faults_are_found(maker: ModuleType) -> None:
    from nbformat import v4

    outputs = [
        v4.new_output("stream", name="stderr", text="UserWarning: x"),
        v4.new_output("error", ename="ValueError", evalue="no", traceback=[]),
        v4.new_output("stream", name="stdout", text=f"saved {ROOT / 'a.png'}"),
        v4.new_output("display_data", data={"text/html": f"<a href='{Path.home()}/b'>", "image/png": "x"}),
        v4.new_output("stream", name="stdout", text="fine"),
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("1", outputs=outputs)])
    found = maker.faults(notebook, ROOT / "elsewhere")
    assert [re.sub(r"^\S+ ", "", line).split(":")[0] for line in found][:2] == ["warns or fails", "warns or fails"]
    assert {line.rsplit(" ", 1)[1] for line in found[2:]} >= {str(ROOT), str(Path.home())}
    assert [one.text for one in maker.joined([outputs[4], outputs[4], outputs[0]])] == ["finefine", "UserWarning: x"]


def alike(told: str, before: str) -> bool:
    """Whether two printed figures are the same but for the rounding of another processor."""
    digits = len(before.partition(".")[2])
    return abs(float(told) - float(before)) <= max(1.01 * 10**-digits, 0.02 * abs(float(before)))


# --- What they show ----------------------------------------------------------------------------------------------------


def test_a_fresh_run_shows_what_is_committed(fresh: dict[str, Any], committed: dict[str, Any]) -> None:
    for language in LANGUAGES:
        for new, old in zip(code(fresh[language]), code(committed[language]), strict=True):
            assert [one.output_type for one in new.outputs] == [one.output_type for one in old.outputs], old.id
            if any(call in old.source for call in BY_MACHINE):
                continue
            assert NUMBER.sub("#", shown(new)) == NUMBER.sub("#", shown(old)), f"{old.id}: run scripts/notebooks.py"
            pairs = zip(NUMBER.findall(shown(new)), NUMBER.findall(shown(old)), strict=True)
            assert [pair for pair in pairs if not alike(*pair)] == [], f"{old.id}: run scripts/notebooks.py"


def test_pictures_are_drawn_and_hold_every_letter(fresh: dict[str, Any], bundled: Any) -> None:
    from PIL import Image

    for cell in code(fresh["zh"]):
        for one in pictures(cell):
            with Image.open(io.BytesIO(one)) as image:
                assert 500 < image.width < 1400, cell.id
                assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 50, cell.id
    for clip in voxray.demo_clips():
        trace = bundled.trace(clip.path)
        said = trace.text + clip.text + "".join(canvas.token_label(token.text) for token in trace.tokens)
        assert canvas.missing_glyphs(said) == set()
        assert canvas.UNKNOWN not in said


def test_texts_words_tags_and_shapes_are_those_of_the_model(fresh: dict[str, Any], bundled: Any, clips: Path) -> None:
    trace = bundled.trace(clips / "zh_happy_speech.wav")
    for language in LANGUAGES:
        told = output(fresh[language], "trace = model.trace")
        assert told.count("明年爷爷使用雨衣") == 3
        assert [row[0] for row in rows(told)] == [one.text for one in trace.words]
        figures = np.array([row[1:] for row in rows(told)], np.float64)
        expected = np.array([(one.start, one.end, one.confidence) for one in trace.words])
        np.testing.assert_allclose(figures, expected, rtol=0, atol=0.0051)
        assert [row[:2] for row in rows(output(fresh[language], "trace.tags"))] == [[tag.kind, tag.label] for tag in trace.tags]
        weights = trace.token_attention()
        told = output(fresh[language], "trace.token_attention")
        assert str(weights.shape) in told
        assert f"{float(weights.prompt_mass.mean()):.3f}" in told


def test_the_sums_are_those_of_exact_relevance(fresh: dict[str, Any], bundled: Any, clips: Path) -> None:
    trace = bundled.trace(clips / "en_noise_burst.wav")
    logits = trace.evidence[0].logits()
    word = voxray.explain(bundled, trace, "word:2")
    row, best = trace.tokens[2].peak, trace.tokens[2].id
    others = np.delete(logits[row], best)
    spoken = np.delete(logits[row], [best, trace.blank])
    assert word.score == pytest.approx(logits[row, best] - (others.max() + spoken.max()) / 2, abs=1e-3)  # as docs/methods.md says
    told = output(fresh["en"], '"word:2"')
    for value in (word.score, word.between(1.03, 1.16), float(word.scores.sum()), *word.parts.values()):
        assert f"{value:+.2f}" in told
    clapped = bundled.trace(clips / "zh_sad_applause.wav")
    scores = clapped.evidence[0].logits()[2]
    labels = bundled.labels["event"]
    assert f"{scores[labels['Applause']] - scores[labels['Speech']]:+.2f}" in output(fresh["en"], 'against="Speech"')


def test_the_mistake_has_its_cause(fresh: dict[str, Any]) -> None:
    told = output(fresh["en"], "voxray.why(")
    assert "substitution: 'bicycle' rather than 'my'" in told
    assert "cause: noise" in told
    assert [row for row in rows(told) if row[0] != "hit"] == [["substitution", "my", "bicycle"]]
    assert "原因: noise" in output(fresh["zh"], "voxray.why(")


def test_the_times_are_those_of_the_words(fresh: dict[str, Any], bundled: Any, clips: Path) -> None:
    truth = voxray.read_times(clips / "truth.json")["ko_angry_speech"]
    trace = bundled.trace(clips / "ko_angry_speech.wav")
    assert [word.text for word in trace.words] == [text for text, _, _ in truth]
    off = np.array([(word.start - start, word.end - end) for word, (_, start, end) in zip(trace.words, truth, strict=True)])
    found = {row[1]: row[2:] for row in rows(output(fresh["en"], "voxray.read_times")) if row[0] == "ko_angry_speech"}
    for edge, one in zip(("start", "end"), off.T, strict=True):
        assert float(found[edge][0]) == pytest.approx(1000 * np.abs(one).mean(), abs=0.51)
        assert float(found[edge][1]) == pytest.approx(1000 * np.median(one), abs=0.51)


def test_the_live_texts_are_those_of_the_clips_and_hiss_alarms(fresh: dict[str, Any], bundled: Any) -> None:
    final = [row[2] for row in rows(output(fresh["en"], "LiveRecogniser")) if row[1] == "final"]
    assert final == [bundled.transcribe(clip.path).text for clip in voxray.demo_clips()[2:6]]
    steps = rows(output(fresh["en"], "Profile.learn"))
    assert [bool(row[5]) for row in steps][:3] == [False] * 3
    assert steps[-1][5] == "ALARM"
    assert all("snr" in row[4] for row in steps if row[5])


def test_the_corpus_is_counted_and_gated(fresh: dict[str, Any], bundled: Any) -> None:
    compared = [voxray.compare(clip.text, bundled.transcribe(clip.path).text) for clip in voxray.demo_clips()]
    rate = sum(one.substitutions + one.deletions + one.insertions for one in compared) / sum(one.length for one in compared)
    told = output(fresh["en"], "def told")
    assert f"{100 * rate:.1f} %" in told
    assert "{'noise': 1}" in told
    assert [row[1] for row in rows(told)] == ["passed", "FAILED", "passed"]
    assert "where language is en is 0.05556" in rows(told)[1][2]  # 1 of 18 words


def test_pointing_is_counted_right(fresh: dict[str, Any], bundled: Any, clips: Path) -> None:
    hits = total = 0
    for name, words in voxray.read_times(clips / "truth.json").items():
        trace = bundled.trace(clips / f"{name}.wav")
        pairs = list(zip(trace.words, words, strict=False)) if len(trace.words) == len(words) else []
        for index, (word, (text, start, end)) in enumerate(pairs):
            if word.text == text:
                found = voxray.explain(bundled, trace, f"word:{index}")
                best = int(np.argmax(found.scores.sum(axis=0)))
                hits += start <= (found.grid.times[best] + found.grid.times[best + 1]) / 2 <= end
                total += 1
    earned = {row[0]: row[2] for row in rows(output(fresh["en"], "def pointing"))}
    assert earned == {name: ", ".join(voxray.explains(name)) or "nothing, a view" for name in earned}
    counted = {row[0]: row[1] for row in rows(output(fresh["en"], "def pointing"))}
    assert counted["exact"] == f"{hits} / {total}"
    share = {name: int(value.split(" / ")[0]) / total for name, value in counted.items()}
    assert share["exact"] > share["attention"] > share["rollout"] + 0.2  # what the text says
    assert share["rollout"] <= share["random"] + 0.2
    assert share["emission"] >= share["attention"]


# --- By hub id ---------------------------------------------------------------------------------------------------------


def test_the_first_steps_work_with_a_model_by_its_id(
    maker: ModuleType, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    steps = [cell.source for cell in code(maker.built("en", source))[:6]]
    assert "MODEL = None" in steps[0]
    steps[0] = steps[0].replace("MODEL = None", f"MODEL = {FUNASR!r}")
    bare_machine(tmp_path, monkeypatch)
    with serving() as hub:
        hub.files = {FUNASR: {path.name: path.read_bytes() for path in sorted(BUNDLED.iterdir())}}
        monkeypatch.setenv("MODELSCOPE_DOMAIN", hub.url)
        found: dict[str, Any] = {}
        exec(compile("\n".join(steps), "tour", "exec"), found)
        asked = len(hub.seen)
    assert asked > 0
    assert hub.served("model_quant.onnx") == []  # the finest alone is fetched
    assert found["model"].info.sha256 == voxray.load_model(BUNDLED / "model.onnx").info.sha256
    assert found["trace"].text == "明年爷爷使用雨衣"
    with Image.open("voxray-tour/attention.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    exec(compile("\n".join(steps), "tour", "exec"), {})  # the hub is gone, the model is at hand
    assert capsys.readouterr().out.count("明年爷爷使用雨衣") == 6
