"""The report as a file: what it holds, how it is packed, and that no text of a record becomes part of the page's code."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from records import made, summary_of
from voxray.types import OptionError, OutputError
from voxray.views.page import ASSETS
from voxray.views.report import Media, ReportOptions, causes_of, pack, vorbis, write_report, wrong

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)> \" ' & \u2028 {{ 7 * 7 }} {reference}"


def sound(seconds: float, rate: int = 16000, seed: int = 0) -> Media:
    rng = np.random.default_rng(seed)
    samples = (0.3 * np.sin(np.arange(round(seconds * rate)) * 0.05) + 0.01 * rng.normal(size=round(seconds * rate))).astype(
        np.float32
    )
    frames = max(int((seconds - 0.025) / 0.01) + 1, 1)
    return Media(samples, rate, rng.normal(size=(frames, 80)).astype(np.float32), 0.01, 0.0125)


class Page(HTMLParser):
    """The elements of a page: scripts by id, and every attribute of every element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag == "script"
        if self._open:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.text += data

    def json(self, name: str) -> Any:
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get("id") == name)


def page_of(records: list[dict[str, Any]], folder: Path, summary: Any = None, **more: Any) -> Page:
    told = summary_of(records) if summary is None else summary
    path = write_report(records, told, lambda record: sound(record["duration"]), folder / "report.html", **more)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_holds_every_record_and_its_sound(tmp_path: Path) -> None:
    records = made(12, seed=5)
    page = page_of(records, tmp_path)
    order = [one["id"] for one in page.json("data")["clips"]]
    assert sorted(order) == [one["id"] for one in records]
    by_id = {one["id"]: one for one in records}
    for number, name in enumerate(order):
        assert page.json(f"record-{number}") == by_id[name]
        assert page.json(f"media-{number}")["duration"] == pytest.approx(by_id[name]["duration"], abs=1e-3)
    summary = summary_of(records)
    assert f"{100 * summary['errors']['rate']['value']:.1f}%" in page.text
    for name in ("substitutions", "deletions", "insertions", "length"):
        assert str(summary["errors"][name]) in page.text


def test_worst_clips_come_first_and_failed_ones_before_them(tmp_path: Path) -> None:
    records = made(30, seed=2)
    records[7] |= {"problem": "no such file", "errors": None, "edits": None, "mistakes": []}
    records[9]["errors"] |= {"rate": None, "length": 0, "insertions": 2}
    records[11] |= {"reference": None, "errors": None, "edits": None, "mistakes": []}
    page = page_of(records, tmp_path, {}, options=ReportOptions(clips=20))
    clips = page.json("data")["clips"]
    assert [one["id"] for one in clips[:2]] == ["clip-0007", "clip-0009"]
    rates = [one["rate"] for one in clips[2:]]
    assert (
        rates
        == sorted([one["errors"]["rate"] for one in records if one["errors"] and one["errors"]["rate"] is not None], reverse=True)[
            :18
        ]
    )
    assert "The 20 worst of 30 clips are listed here" in page.text
    assert page.json("media-0") == {"missing": "missing"}


def test_no_text_of_a_record_becomes_code(tmp_path: Path) -> None:
    (record,) = made(1)
    record |= {"id": EVIL, "reference": EVIL, "text": EVIL + "x", "audio": EVIL, "groups": {EVIL: EVIL}}
    record["edits"] = [{"kind": "substitution", "reference": EVIL, "recognised": EVIL, "start": 0.1, "end": 0.2, "mistake": 0}]
    record["mistakes"] = [{"kind": "substitution", "reference": EVIL, "recognised": EVIL, "start": 0.1, "end": 0.2, "cause": EVIL}]
    record["problem"] = None
    record["errors"]["substitutions"] = 1
    other = {**made(2)[1], "problem": EVIL}
    plain = page_of(made(2), tmp_path)
    groups = {EVIL: [{"value": EVIL, "clips": 1, "rate": {"value": None, "low": None, "high": None}}]}
    summary = summary_of(made(1)) | {
        "groups": groups,
        "run": {EVIL: EVIL},
        "tags": {EVIL: {"wanted": [EVIL], "recognised": [EVIL], "counts": [[1]]}},
    }
    page = page_of([record, other], tmp_path, summary, options=ReportOptions(title=EVIL))
    assert len(page.scripts) == len(plain.scripts)
    kinds = [attributes.get("type") for attributes, _ in page.scripts]
    assert kinds == ["application/json"] * (len(kinds) - 1) + [None]
    assert page.scripts[-1][1] == plain.scripts[-1][1]
    assert not any(tag == "img" or any(name.startswith("on") for name in attributes) for tag, attributes in page.elements)
    assert page.json("record-1")["reference"] == EVIL
    assert "49" not in page.text.split("Voxray")[0]
    assert EVIL in page.text


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    page = page_of(made(2), tmp_path)
    policy = next(
        attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)
    assert not any({"src", "srcset"} & set(attributes) or tag in {"link", "iframe"} for tag, attributes in page.elements)
    assert all(str(attributes["href"]).startswith("#") for tag, attributes in page.elements if tag == "a")
    for name in ("base.css", "report.css", "page.js", "report.js", "base.html", "report.html"):
        assert "//" not in re.sub(r"^\s*//.*|; // .*|\s// .*", "", (ASSETS / name).read_text(encoding="utf-8"), flags=re.M)


def test_numbers_that_are_none_and_broken_letters_do_no_harm(tmp_path: Path) -> None:
    (record,) = made(1)
    record["confidence"] = {"mean": float("nan"), "least": float("inf")}
    record["text"] = "lone \ud800 letter"
    record["errors"]["substitutions"] = 1
    page = page_of([record], tmp_path)
    assert page.json("record-0")["confidence"] == {"mean": None, "least": None}
    assert page.json("record-0")["text"] == "lone \ud800 letter"
    assert "lone � letter" in page.text


@pytest.mark.parametrize(
    "summary", [{}, {"clips": 3, "failed": 1, "errors": None, "causes": None, "calibration": None, "alignment": None}]
)
def test_a_summary_may_lack_anything(summary: dict[str, Any], tmp_path: Path) -> None:
    page = page_of(made(3), tmp_path, summary)
    assert "Summary" in page.text
    assert ("Failed1" in page.text.replace("\n", "").replace(" ", "")) == bool(summary)


def test_a_spectrogram_is_one_letter_a_cell() -> None:
    media = sound(0.5)
    (piece,) = pack(media, {}, 60.0)["pieces"]
    low, high = np.percentile(media.mel, (4, 99.7))
    told = [[LETTERS.index(letter) for letter in piece["mel"][80 * n : 80 * n + 80]] for n in range(len(media.mel))]
    for row, values in zip(told, media.mel, strict=True):
        for one, value in zip(row, values, strict=True):
            assert one == round(63 * min(max((float(value) - low) / (high - low), 0.0), 1.0))
    assert (piece["bins"], piece["hop"], piece["first"], piece["rate"]) == (80, 0.01, 0.0125, 16000)


def test_a_wave_form_is_lowest_and_highest_of_each_column() -> None:
    media = sound(1.0)
    (piece,) = pack(media, {}, 60.0)["pieces"]
    loudest = float(np.abs(media.samples).max())
    edges = [int(16000 * n / 1200) for n in range(1201)]
    for n in range(1200):
        part = media.samples[edges[n] : edges[n + 1]] / loudest
        low, high = (LETTERS.index(letter) / 63 * 2 - 1 for letter in piece["wave"][2 * n : 2 * n + 2])
        assert low == pytest.approx(float(part.min()), abs=1 / 62)
        assert high == pytest.approx(float(part.max()), abs=1 / 62)


@pytest.mark.parametrize(("seconds", "rate"), [(0.03, 16000), (2.5, 16000), (7.0, 8000), (70.0, 44100)])
def test_a_sound_keeps_its_length_and_its_form(seconds: float, rate: int) -> None:
    import soundfile

    samples = sound(seconds, rate).samples
    read, found = soundfile.read(io.BytesIO(vorbis(samples, rate)), dtype="float32")
    assert (len(read), found) == (len(samples), rate)
    assert np.corrcoef(read, samples)[0, 1] > 0.98
    if seconds > 1:
        assert len(vorbis(samples, rate)) < len(samples) * 2 / 4


def test_silence_has_a_picture_too() -> None:
    media = Media(np.zeros(16000, np.float32), 16000, np.full((98, 80), -15.9, np.float32), 0.01, 0.0125)
    (piece,) = pack(media, {}, 60.0)["pieces"]
    assert set(piece["mel"]) == {"A"}
    assert set(piece["wave"]) == {LETTERS[32]}


def test_of_a_long_sound_the_parts_around_mistakes_are_kept() -> None:
    media = sound(100.0)
    mistakes = [{"start": at, "end": at + 0.5} for at in (0.5, 30.0, 31.0, 60.0, 90.0, 99.8)]
    told = pack(media, {"mistakes": mistakes}, 13.0)
    assert [(one["start"], one["end"]) for one in told["pieces"]] == [(0.0, 2.5), (28.5, 33.0), (58.5, 62.0), (98.3, 100.0)]
    assert told["around"] == 5
    assert len(told["pieces"][1]["mel"]) == 80 * 450
    assert told["pieces"][1]["first"] == pytest.approx(28.5 + 0.0025)
    start = pack(media, {"mistakes": []}, 13.0)
    assert [(one["start"], one["end"]) for one in start["pieces"]] == [(0.0, 13.0)]
    assert start["around"] is None


def test_a_mistake_longer_than_the_limit_still_leaves_the_beginning() -> None:
    told = pack(sound(100.0), {"mistakes": [{"start": 10.0, "end": 60.0}]}, 13.0)
    assert [(one["start"], one["end"]) for one in told["pieces"]] == [(0.0, 13.0)]


def test_sounds_beyond_the_limit_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    records = made(12, seed=5)
    page = page_of(records, tmp_path, options=ReportOptions(megabytes=0.3))
    kept = [page.json(f"media-{number}") for number in range(12)]
    held = [number for number, one in enumerate(kept) if "pieces" in one]
    assert held == list(range(len(held)))
    assert 2 <= len(held) < 12
    assert all(one == {"missing": "left"} for one in kept[len(held) :])
    assert f"The sounds of the {len(held)} worst clips are in this page, of 12" in page.text
    assert (tmp_path / "report.html").stat().st_size < 0.3e6 + 0.3e6


def test_a_sound_that_is_not_at_hand_is_said_to_be_missing(tmp_path: Path) -> None:
    path = write_report(made(1), {}, lambda record: None, tmp_path / "new" / "report.html")
    assert Page(path.read_text(encoding="utf-8")).json("media-0") == {"missing": "missing"}


def test_the_page_can_be_in_chinese(tmp_path: Path) -> None:
    page = page_of(made(4), tmp_path, language="zh")
    assert ("html", {"lang": "zh-Hans"}) in page.elements
    assert "错误率" in page.text
    assert "Error rate" not in page.text
    strings = page.json("data")["strings"]
    for _, attributes in page.elements:
        if key := attributes.get("data-t"):
            assert key in strings["en"]


def test_both_languages_say_the_same_things() -> None:
    tables = {name: json.loads((ASSETS / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh")}
    assert set(tables["en"]) == set(tables["zh"])
    for key, text in tables["en"].items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", tables["zh"][key])), key
        assert text.strip()
        assert tables["zh"][key].strip()


def test_every_text_is_used_and_every_text_that_is_used_exists() -> None:
    table = json.loads((ASSETS / "en.json").read_text(encoding="utf-8"))
    code = "".join((ASSETS / name).read_text(encoding="utf-8") for name in ("base.html", "report.html", "report.js"))
    used = set(re.findall(r"\bta?\((?:\"[a-z-]+\", )?\"([\w.]+)\"[,)]", code))
    used |= set(re.findall(r"[?:] \"((?:facts|cause|media)\.[\w.]+)\"", code))
    assert len(used) > 60
    assert used - set(table) == {"aria-label"} & used
    families = set(re.findall(r"[\"`]([a-z]+(?:\.[a-z]+)*\.)(?:\$|\" ~)", code))
    assert families == {"cause.", "counts.", "edit.of.", "errors.unit.", "legend.", "media.", "tag."}
    assert [key for key in table if f'"{key}"' not in code and not key.startswith(tuple(families))] == []


def test_counts_of_a_record() -> None:
    assert wrong({"errors": {"substitutions": 1, "deletions": 2, "insertions": 4}}) == 7
    assert wrong({"errors": None}) is None
    assert causes_of({"mistakes": [{"cause": None}, {"cause": "noise"}, {"cause": None}]}) == ["unexplained", "noise"]
    assert causes_of({}) == []


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no language 'fr'; choose en or zh"):
        write_report([], {}, lambda record: None, tmp_path / "a.html", language="fr")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="at least 1 clip, seconds above 0"):
        ReportOptions(clips=0)
    with pytest.raises(OptionError, match="at least 1 clip, seconds above 0"):
        ReportOptions(seconds=0.0)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be written \(.+\); choose another place"):
        write_report([], {}, lambda record: None, tmp_path / "file" / "a.html")
    with pytest.raises(ValueError, match=r"Media.mel must have the shape \(F, M\)"):
        Media(np.zeros(9, np.float32), 16000, np.zeros(80, np.float32), 0.01, 0.0)
    with pytest.raises(RuntimeError, match="halfway"):
        write_report(made(1), {}, _fails, tmp_path / "b.html")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file"]


def _fails(record: Any) -> Media:
    raise RuntimeError("halfway")


def test_every_cause_that_can_be_named_has_a_name_in_both_languages() -> None:
    from voxray.studies.causes import CAUSES

    for language in ("en", "zh"):
        table = json.loads((ASSETS / f"{language}.json").read_text(encoding="utf-8"))
        assert [name for name in CAUSES if f"cause.{name}" not in table] == []
