"""The parts of the web application that need neither a server nor a page."""

from __future__ import annotations

import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import voxray
from voxray.app import MISSING, Options, answers, figures, run
from voxray.app.decoding import decoded, shown_name
from voxray.app.desk import NO_SOUND, Desk, Look, png, view_of, written
from voxray.app.guard import PAGES, allowed, names_file
from voxray.app.live import heard_live
from voxray.app.server import bound, one_line
from voxray.app.shelf import Shelf
from voxray.app.visits import Ask, Models, Visit, Visits
from voxray.app.words import ASSETS, TONGUES, words
from voxray.cli.app import app as command


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk(Options(), Models())


@pytest.fixture
def guest(desk: Desk, clips: Path) -> Any:
    found = desk.guest("owner", "page")
    desk.recognise(found, voxray.load_audio(clips / "en_noise_burst.wav"), Ask())
    return found


def unpacked(told: dict[str, Any]) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(told["data"]), "<i2").reshape(told["shape"])
    return steps * told["scale"]


# --- Numbers on their way to the page ---------------------------------------------------------------------------------------


def test_packed_numbers_come_back_within_half_a_step() -> None:
    values = np.random.default_rng(0).normal(size=(7, 50)) * 13
    np.testing.assert_allclose(unpacked(answers.packed(values)), values, atol=np.abs(values).max() / 32767 / 2 * 1.001)
    assert unpacked(answers.packed(np.zeros((2, 3)))).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert unpacked(answers.packed([np.nan, 2.0])).tolist() == [0, 2.0]


def test_the_wave_has_the_extremes_of_every_column() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 5000).astype(np.float32)
    told = answers.wave(voxray.Audio(samples))
    assert told["shape"] == [1200, 2]
    edges = np.linspace(0, 5000, 1201).astype(int)
    slow = [(samples[a:b].min(), samples[a:b].max()) for a, b in pairwise(edges)]
    np.testing.assert_allclose(unpacked(told), slow, atol=1e-4)
    assert answers.wave(voxray.Audio(samples[:10]))["shape"] == [10, 2]


def test_a_sound_too_short_has_no_spectrogram() -> None:
    assert answers.spectrogram(voxray.Audio(np.zeros(10, np.float32))) is None
    told = answers.spectrogram(voxray.Audio(np.random.default_rng(2).normal(size=16000).astype(np.float32)))
    assert told is not None
    assert len(base64.b64decode(told["data"])) == told["frames"] * told["bands"]
    assert (told["frames"], told["bands"], told["hop"]) == (98, 80, 0.01)


def test_what_is_shown_of_relevance_is_what_the_library_found(desk: Desk, guest: Any, bundled: Any) -> None:
    told = desk.look(guest, "word:2", Look())
    found = voxray.explain(bundled, guest.visit.trace, "word:2")
    np.testing.assert_allclose(unpacked(told["cells"]), found.scores, atol=float(np.abs(found.scores).max()) / 32767)
    np.testing.assert_allclose(told["times"], found.grid.times, atol=1e-5)
    facts = dict(told["facts"])
    assert facts["score"] == pytest.approx(found.score)
    assert facts["score"] == pytest.approx(sum(value for name, value in facts.items() if name != "score"), abs=1e-4)
    assert told["span"] == [found.target.start, found.target.end]
    assert json.loads(json.dumps(told)) == told


def test_attention_of_a_word_is_the_rows_that_the_picture_shows(desk: Desk, guest: Any) -> None:
    view = voxray.AttentionView(layer=3, head=1, smooth=0.18)
    told = desk.look(guest, "word:4", Look("attention", view=view))
    trace = guest.visit.trace
    rows = voxray.attention_map(trace, view).values[slice(*trace.words[4].tokens)]
    np.testing.assert_allclose(unpacked(told["curve"]), rows.max(axis=0), atol=1e-5)
    tag = desk.look(guest, "emotion", Look("attention"))
    rows = voxray.attention_map(trace, voxray.AttentionView(tags=True)).values
    np.testing.assert_allclose(unpacked(tag["curve"]), rows[1], atol=1e-5)
    assert tag["span"] is None


@pytest.mark.parametrize("target", ["word:99", "word:-1", "word:", "word:²", "token:x", "emotion@7", "../../etc"])
def test_targets_that_are_not_there_are_refused(target: str, desk: Desk, guest: Any) -> None:
    for look in (Look("attention"), Look()):
        with pytest.raises(voxray.OptionError):
            desk.look(guest, target, look)


def test_a_long_sound_has_its_words_in_pieces(desk: Desk, clips: Path, bundled: Any) -> None:
    clip = voxray.load_audio(clips / "en_neutral_speech.wav").samples
    long = voxray.Audio(np.concatenate([np.concatenate([clip, np.zeros(8000, np.float32)]) for _ in range(11)]), 16000, "long")
    guest = desk.guest("long", "page")
    desk.recognise(guest, long, Ask())
    trace = guest.visit.trace
    assert len(trace.pieces) > 1
    last = len(trace.words) - 1
    assert answers.piece_of(trace, "word:0") == 0
    assert answers.piece_of(trace, f"word:{last}") == len(trace.pieces) - 1
    told = desk.look(guest, f"word:{last}", Look("attention"))
    assert told["times"][0] >= trace.pieces[-1].start - 0.1
    assert told["label"] == trace.words[last].text
    assert desk.look(guest, f"word:{last}", Look())["span"] == [trace.words[last].start, trace.words[last].end]
    last_tag = f"emotion@{len(trace.pieces) - 1}"
    assert {one["target"] for one in answers.tags(trace)} >= {"emotion@0", last_tag}
    assert dict(desk.look(guest, last_tag, Look())["facts"])["score"] == pytest.approx(
        voxray.explain(bundled, trace, last_tag).score
    )
    assert desk.look(guest, last_tag, Look("attention"))["times"][0] >= trace.pieces[-1].start - 0.1
    figure, sounds = desk.labels(guest, "emotion", 1, "light", lambda key: key)
    assert min(figure.data[0].x) >= trace.pieces[1].start - 0.1
    assert sounds["sounds"]
    drawn = desk.shelf.find("long", sounds["files"][0][1].rsplit("/", 1)[1])
    assert drawn is not None
    assert drawn.make().startswith(b"\x89PNG")
    picture = next(url for key, url in told["files"] if key == "file.png")
    thing = desk.shelf.find("long", picture.rsplit("/", 1)[1])
    assert thing is not None
    assert thing.make().startswith(b"\x89PNG")


def test_results_are_computed_once_and_forgotten_with_the_sound(desk: Desk, guest: Any, clips: Path) -> None:
    first = desk.relevance(guest, "word:1", Look())
    assert desk.relevance(guest, "word:1", Look()) is first
    desk.recognise(guest, voxray.load_audio(clips / "en_noise_burst.wav"), Ask())
    assert desk.relevance(guest, "word:1", Look()) is not first


def test_what_can_be_downloaded_opens(desk: Desk, guest: Any, tmp_path: Path) -> None:
    made = {key: desk.shelf.find("owner", url.rsplit("/", 1)[1]) for key, url in desk.files(guest)}
    told = json.loads(made["file.json"].make())
    assert told["text"] == guest.visit.trace.text
    (tmp_path / "a.trace").write_bytes(made["file.trace"].make())
    assert voxray.load_trace(tmp_path / "a.trace").text == told["text"]


def test_without_a_sound_nothing_can_be_asked(desk: Desk) -> None:
    nobody = desk.guest("nobody", "page")
    for ask in (lambda: desk.look(nobody, "word:0", Look()), lambda: desk.heads(nobody), lambda: desk.why(nobody, "x", "en")):
        with pytest.raises(voxray.OptionError, match=re.escape(NO_SOUND)):
            ask()


def test_languages_and_models_are_those_of_the_list(desk: Desk, guest: Any) -> None:
    with pytest.raises(voxray.OptionError, match="no language 'xx'"):
        desk.recognise(guest, guest.visit.audio, Ask(language="xx"))
    with pytest.raises(voxray.OptionError, match="no such model on this server"):
        desk.recognise(guest, guest.visit.audio, Ask(model="/etc"))


def test_two_models_with_one_name_stay_apart(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "sensevoice-funasr"
    other.symlink_to(data / "sensevoice-funasr")
    models = Models((str(data / "sensevoice-funasr" / "model.onnx"), str(other / "model.onnx")))
    assert models.names == ("model.onnx", "model.onnx #2", "bundled", "bundled, int8")
    assert models.open("bundled") is models.open("bundled")


# --- Shelf and visits -------------------------------------------------------------------------------------------------------


def test_what_lies_on_the_shelf_is_its_owners_alone() -> None:
    shelf = Shelf()
    token = shelf.put("me", lambda: b"mine", name="a.bin")
    assert len(token) >= 43
    assert shelf.find("you", token) is None
    thing = shelf.take("me", token)
    assert thing is not None
    assert thing.make() == b"mine"
    assert shelf.take("me", token) is None


def test_the_shelf_is_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("voxray.app.shelf.time.monotonic", lambda: now[0])
    shelf = Shelf(kept=10.0, most=6, most_of_one=4)
    mine = [shelf.put("me", lambda: 0) for _ in range(5)]
    assert [shelf.find("me", token) is not None for token in mine] == [False, True, True, True, True]
    for _ in range(4):
        shelf.put("you", lambda: 0)
    assert len(shelf) == 6
    now[0] = 11.0
    shelf.put("me", lambda: 0)
    assert len(shelf) == 1


def test_visits_are_apart_by_cookie_and_by_page_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("voxray.app.visits.time.monotonic", lambda: now[0])
    visits = Visits(kept=10.0, most=2)
    first = visits.of("a", "1")
    assert visits.of("a", "1") is first
    assert visits.of("b", "1") is not first
    assert visits.of("a", "2") is not first
    assert len(visits) == 2  # the oldest has ended
    now[0] = 20.0
    assert visits.of("a", "1") is not first
    assert len(visits) == 1
    visits.of("a", "1").tokens.append("x")
    assert visits.end("a", "1") == ["x"]
    assert visits.end("a", "1") == []


def test_only_so_many_results_are_remembered() -> None:
    visit = Visit()
    made: list[int] = []
    for number in [*range(30), 29, 0]:
        visit.once(number, lambda number=number: made.append(number))
    assert made == [*range(30), 0]


# --- The door ---------------------------------------------------------------------------------------------------------------


def test_a_password_must_be_right_to_the_letter() -> None:
    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    auth = ("me", "s:é")
    assert allowed(basic("me:s:é"), auth)
    for wrong in (
        "",
        "Basic",
        "Basic !!",
        basic("me"),
        basic("me:s:e"),
        basic("Me:s:é"),
        basic("me:s:é "),
        "Bearer " + basic("me:s:é")[6:],
    ):
        assert not allowed(wrong, auth), wrong
    assert not allowed("Basic " + base64.b64encode(b"\xff:\xff").decode(), auth)


def test_files_are_found_however_deep() -> None:
    deep: Any = {"path": "/etc/passwd"}
    for _ in range(2000):
        deep = [deep]
    assert names_file(deep)
    assert names_file({"data": [{"a": {"_type": "x"}}]})
    assert not names_file({"data": ["path", "_type", 3, None, True]})


@pytest.mark.parametrize(
    ("path", "known"),
    [("/", True), ("/config", True), ("/assets/a-b.c.js", True), ("/gradio_api/queue/join", True), ("/voxray/file/abc_-", True),
     ("/gradio_api/file=x", False), ("/gradio_api/upload", False), ("/x", False), ("/assets/a%2e", False),
     ("/gradio_api/heartbeat/a/b", False)],
)  # fmt: skip
def test_only_the_pages_addresses_exist(path: str, known: bool) -> None:
    assert bool(PAGES.fullmatch(path)) is known


# --- Sounds -----------------------------------------------------------------------------------------------------------------


def test_sounds_are_decoded_as_the_library_does(clips: Path) -> None:
    content = (clips / "zh_happy_speech.wav").read_bytes()
    found = decoded(content, "x/y\\clip.wav", Options())
    np.testing.assert_array_equal(found.samples, voxray.load_audio(content).samples)
    assert (found.name, found.sample_rate) == ("clip.wav", 16000)


@pytest.mark.parametrize("promised", [None, 0])
def test_a_sound_that_unfolds_to_hours_is_refused(promised: int | None) -> None:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000 * 3600, np.int16), 16000, format="FLAC")
    content = bytearray(file.getvalue())
    if promised is not None:
        content[18:26] = (int.from_bytes(content[18:26], "big") >> 36 << 36).to_bytes(8, "big")
    with pytest.raises(voxray.AudioError, match="longer than 60 s"):
        decoded(bytes(content), "bomb.flac", Options())


def test_playlists_open_nothing(clips: Path) -> None:
    for text in (
        f"#EXTM3U\n#EXTINF:9,\nfile://{clips / 'zh_happy_speech.wav'}\n",
        f"ffconcat version 1.0\nfile {clips / 'zh_happy_speech.wav'}\n",
    ):
        with pytest.raises(voxray.AudioError, match="not a sound file"):
            decoded(text.encode(), "list.wav", Options())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\clip.wav", "clip.wav"),
        ("a\nb\u202e.wav", "ab.wav"),
        ("", "sound"),
        ("x" * 200, "x" * 80),
    ],
)
def test_names_are_one_line_and_no_path(given: str, shown: str) -> None:
    assert shown_name(given) == shown


def test_limits_are_told() -> None:
    with pytest.raises(voxray.AudioError, match=r"larger than 0\.001 MB"):
        decoded(bytes(2000), "a.wav", Options(max_megabytes=0.001))
    with pytest.raises(voxray.OptionError, match="above 0"):
        Options(max_seconds=0)


# --- Words, views, figures --------------------------------------------------------------------------------------------------


def test_every_language_has_the_same_words_with_the_same_places() -> None:
    english, others = words("en"), [words(tongue) for tongue in TONGUES[1:]]
    for told in others:
        assert set(told) == set(english)
        for key, text in english.items():
            assert set(re.findall(r"\{(\w+)\}", told[key])) == set(re.findall(r"\{(\w+)\}", text)), key


def test_every_word_that_the_page_says_is_there() -> None:
    script = (ASSETS / "app.js").read_text(encoding="utf-8")
    said = set(re.findall(r"say\('([\w.]+)'", script)) | set(re.findall(r"line\('([\w.]+)'", script))
    home = Path(str(answers.__file__)).parent
    said |= set(re.findall(r'"(file\.\w+)"', (home / "desk.py").read_text(encoding="utf-8")))
    said |= set(re.findall(r'told\["([\w.]+)"\]', (home / "page.py").read_text(encoding="utf-8")))
    assert said - set(words("en")) == set()


def test_choices_make_a_view() -> None:
    given = {"layer": "3", "head": "", "aggregate": "max", "normalise": "row_sum", "smooth": 0.12, "tags": True}
    assert view_of(given) == voxray.AttentionView(3, None, "max", "row_sum", 0.12, tags=True)
    for wrong in ({"layer": "x"}, {"smooth": "a"}, {"aggregate": "none"}, {"smooth": float("nan")}):
        with pytest.raises(voxray.OptionError):
            view_of({**given, **wrong})


def test_a_heat_map_holds_the_librarys_numbers(bundled: Any, clips: Path) -> None:
    pytest.importorskip("plotly", reason="the extra app is not installed")
    scores = voxray.attention_map(bundled.trace(clips / "zh_happy_speech.wav"))
    figure = figures.heat_map(scores, "dark", lambda key: key)
    told = figure.data[0]
    np.testing.assert_allclose(np.array(told.z), scores.values, atol=1e-6)
    assert len(set(told.y)) == scores.sizes["token"]  # 爷 stands twice and must not fall together
    assert [one.strip("\u200b") for one in told.y] == [label.strip() for label in scores["label"].values.tolist()]
    assert figures._rows(["<b>", "&", "a", "a", " "]) == ["&lt;b&gt;", "&amp;", "a", "a\u200b", "␣"]


def test_files_are_made_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundled: Any, clips: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert written(lambda path: path.write_bytes(b"abc"), "x.bin") == b"abc"
    trace = bundled.trace(clips / "zh_happy_speech.wav")
    assert png(lambda **how: voxray.plot.attention(trace, **how)).startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_told() -> None:
    with bound(Options(port=None)) as taken, pytest.raises(voxray.OptionError, match=r"cannot listen on 127\.0\.0\.1:.* --port"):
        bound(Options(port=taken.getsockname()[1]))


def test_problems_are_told_in_one_line() -> None:
    assert one_line(ValueError("a\n  b\t c ")) == "a b c"


# --- Live, and the command line -----------------------------------------------------------------------------------------------


def test_the_microphone_is_recognised_in_chunks(desk: Desk, clips: Path) -> None:
    guest = desk.guest("speaker", "live-1")
    with pytest.raises(voxray.OptionError, match="was not begun"):
        heard_live(desk, guest, b"", {"rate": "16000"})
    assert heard_live(desk, guest, b"", {"do": "begin", "model": "bundled"})["events"] == []
    samples = np.concatenate([voxray.load_audio(clips / "en_neutral_speech.wav").samples, np.zeros(16000, np.float32)])
    chunks = (samples * 32767).astype("<i2")
    events = []
    for first in range(0, len(chunks), 8000):
        events += heard_live(desk, guest, chunks[first : first + 8000].tobytes(), {"rate": "16000"})["events"]
    told = heard_live(desk, guest, b"", {"do": "end", "rate": "16000"})
    finals = [one for one in [*events, *told["events"]] if one["kind"] == "final"]
    assert [one["stable"] for one in finals] == ["the horse stumbled near every bathroom"]
    assert finals[0]["statistics"]["entropy"] > 0
    assert unpacked(finals[0]["thumbnail"]).max() > 0
    assert json.loads(json.dumps(told)) == told
    made = {key: desk.shelf.find("speaker", url.rsplit("/", 1)[1]) for key, url in told["files"]}
    assert made["file.png"].make().startswith(b"\x89PNG")
    lines = made["file.json"].make().decode().splitlines()
    assert json.loads(lines[-1])["text"] == "the horse stumbled near every bathroom"
    with pytest.raises(voxray.OptionError, match="was not begun"):
        heard_live(desk, guest, b"", {"rate": "16000"})


@pytest.mark.parametrize(
    ("content", "asked"), [(b"1", {"rate": "16000"}), (b"12", {"rate": "7"}), (b"12", {}), (bytes(400_000), {"rate": "16000"})]
)
def test_chunks_that_make_no_sense_are_refused(content: bytes, asked: dict[str, str], desk: Desk) -> None:
    guest = desk.guest("speaker", "live-2")
    heard_live(desk, guest, b"", {"do": "begin", "model": "bundled"})
    with pytest.raises(voxray.OptionError, match="at most 5 s of 16-bit samples"):
        heard_live(desk, guest, content, asked)


def test_two_models_are_compared_by_the_library(desk: Desk, guest: Any) -> None:
    told = desk.two_models(guest, "bundled, int8")
    assert told["verdict"][0] == "B changes none of the 1 texts."
    thing = desk.shelf.find("owner", told["files"][0][1].rsplit("/", 1)[1])
    assert thing is not None
    assert json.loads(thing.make())["clips"]


def test_without_the_extra_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(voxray.OptionError, match=re.escape(MISSING)):
        run(Options())


def test_the_command_line_makes_options(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    asked: list[Options] = []
    monkeypatch.setattr("voxray.app.run", asked.append)
    call = CliRunner().invoke
    sources = [str(data / folder / "model.onnx") for folder in ("sensevoice-funasr", "paraformer-funasr")]
    chosen = [word for source in sources for word in ("-m", source)]
    limits = ["--max-seconds", "9", "--max-megabytes", "2"]
    assert call(command, ["--port", "7999", *chosen, "--auth", "me:a:b", "--no-browser", *limits]).exit_code == 0
    wanted = Options(port=7999, models=tuple(sources), auth=("me", "a:b"), browser=False, max_seconds=9.0, max_megabytes=2.0)
    assert asked == [wanted]
    assert "everyone who reaches this address can use the page" in call(command, ["--host", "0.0.0.0"]).output
    for wrong in ("me", ":x", "me:"):
        result = call(command, ["--auth", wrong])
        assert result.exit_code == 2
        assert "a user and a password with a colon" in result.output
    assert len(asked) == 2
