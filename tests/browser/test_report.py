"""The report in a real browser: quick, quiet, usable by mouse and keyboard, in both languages, at every width."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from records import CLIPS, made, summary_of
from voxray.audio import load_audio
from voxray.frontend import log_mel
from voxray.types import Audio
from voxray.views.report import Media, write_report

COUNT = 300
SECONDS = 4.0
LIMIT_BYTES, LIMIT_SECONDS = 30e6, 3.0
EVIL = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def long_sounds() -> Callable[[Any], Media]:
    """The bundled clips, each repeated to 4 s."""
    kept: dict[str, Media] = {}

    def media(record: Any) -> Media:
        name = Path(record["audio"]).name
        if name not in kept:
            audio = load_audio(CLIPS / name)
            audio = Audio(np.resize(audio.samples, round(SECONDS * audio.sample_rate)), audio.sample_rate)
            bank = log_mel(audio)
            kept[name] = Media(audio.samples, audio.sample_rate, bank.values, bank.hop, bank.start)
        return kept[name]

    return media


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    told = made(COUNT)
    for record in told:
        record["duration"] = SECONDS
    told[8] |= {"reference": EVIL, "groups": {"speaker": EVIL, "lang": "en"}}
    told[8]["edits"][0] |= {"kind": "substitution", "reference": EVIL, "mistake": 0}
    told[8]["mistakes"] = [{**told[0], **_mistake(told[8]["edits"][0])}]
    for edit in told[8]["edits"][1:]:
        edit["mistake"] = None
    told[8]["errors"] |= {"rate": 1.0, "substitutions": 9}  # the worst of all
    return told


def _mistake(edit: dict[str, Any]) -> dict[str, Any]:
    cause = {
        "cause": "noise",
        "suspected": True,
        "evidence": EVIL,
        "tested": True,
        "intervention": EVIL,
        "named": True,
        "flips": True,
    }
    return {**edit, "log_odds": 1.0, "causes": [cause], "cause": EVIL, "evidence": None, "before": EVIL, "after": EVIL}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], long_sounds: Callable[[Any], Media]) -> Path:
    return write_report(records, summary_of(records), long_sounds, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def opened(open_file: Callable[..., Any], report: Path) -> Callable[..., Any]:
    """Open a report, that of all clips unless another is given."""
    return lambda path=report, **more: open_file(path, **more)


def shown_ids(page: Any) -> list[str]:
    return page.eval_on_selector_all("#table tbody tr:not([hidden]) a", "all => all.map(one => one.textContent)")


def until(page: Any, condition: str) -> None:
    """Wait until a condition holds; Playwright's own waiting needs ``eval``, which the page's policy forbids."""
    ended = time.perf_counter() + 10
    while not page.evaluate(condition):
        assert time.perf_counter() < ended, condition
        page.wait_for_timeout(20)


def open_clip(page: Any, name: str) -> Any:
    page.get_by_role("link", name=name, exact=True).click()
    section = page.locator("details[open]").filter(has_text=name).first
    section.locator(".diff button").first.wait_for()
    return section


def test_300_clips_are_small_and_open_quickly(report: Path, opened: Callable[..., Any]) -> None:
    assert report.stat().st_size <= LIMIT_BYTES
    begun = time.perf_counter()
    page = opened()
    until(page, "document.getElementById('found').textContent.startsWith('300 of 300')")
    assert time.perf_counter() - begun < LIMIT_SECONDS
    assert page.locator("#table tbody tr").count() == COUNT


def test_every_clip_of_4_s_has_its_sound(report: Path, opened: Callable[..., Any]) -> None:
    held = opened().evaluate(
        "[...document.querySelectorAll('[id^=media-]')].map(one => JSON.parse(one.textContent).pieces[0]).map(p => p.end - p.start)"
    )
    assert held == [SECONDS] * COUNT


def test_the_table_filters(records: list[dict[str, Any]], opened: Callable[..., Any]) -> None:
    page = opened()
    page.fill("#search", "冇 CLIP-00")
    assert shown_ids(page) == []
    page.fill("#search", "clip-000")
    assert sorted(shown_ids(page)) == [f"clip-000{n}" for n in range(10)]
    assert page.locator("#found").text_content() == "10 of 300 clips"
    page.fill("#search", "")
    page.select_option("[data-filter=cause]", "clipping")
    with_cause = [one["id"] for one in records if any(mistake.get("cause") == "clipping" for mistake in one["mistakes"])]
    assert sorted(shown_ids(page)) == with_cause
    page.select_option("[data-field=lang]", "zh")
    assert sorted(shown_ids(page)) == [one["id"] for one in records if one["id"] in with_cause and one["groups"]["lang"] == "zh"]
    page.select_option("[data-filter=cause]", "")
    page.select_option("[data-field=lang]", "")
    page.check("#wrong")
    wrong = [one["id"] for one in records if sum(one["errors"][name] for name in ("substitutions", "deletions", "insertions"))]
    assert sorted(shown_ids(page)) == wrong
    assert page.locator("details.clip:not([hidden])").count() == len(wrong)


def test_the_table_sorts(records: list[dict[str, Any]], opened: Callable[..., Any]) -> None:
    page = opened()
    rates = {one["id"]: one["errors"]["rate"] for one in records}
    head = page.locator("th[data-sort=rate]")
    head.get_by_role("button").click()
    assert [rates[one] for one in shown_ids(page)] == sorted(rates.values(), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")
    assert [rates[one] for one in shown_ids(page)] == sorted(rates.values())
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator("th[data-sort=id] button").click()
    assert shown_ids(page) == sorted(rates)
    assert page.eval_on_selector_all("details.clip .name", "all => all.map(one => one.textContent)") == sorted(rates)
    assert head.get_attribute("aria-sort") is None


def test_a_word_is_heard_and_explained(records: list[dict[str, Any]], opened: Callable[..., Any]) -> None:
    page = opened()
    record = next(
        one for one in records[10:] if one["mistakes"] and one["mistakes"][0]["cause"] and one["edits"][0]["kind"] == "hit"
    )
    section = open_clip(page, record["id"])
    section.locator("audio").evaluate("one => new Promise(ready => one.readyState ? ready() : one.onloadedmetadata = ready)")
    assert section.locator("audio").evaluate("one => one.duration") == pytest.approx(SECONDS, abs=1e-3)
    place = next(n for n, one in enumerate(record["edits"]) if one["mistake"] == 0)
    edit = record["edits"][place]
    page.evaluate("""() => { window.heard = []; const audio = document.querySelector('details[open] audio');
        audio.addEventListener('playing', () => heard.push(['start', audio.currentTime]));
        audio.addEventListener('pause', () => heard.push(['stop', audio.currentTime])); }""")
    section.locator(f".diff [data-unit='{place}']").click()
    until(page, "heard.some(one => one[0] === 'stop')")
    (_, start), (_, stop) = page.evaluate("[heard[0], heard.at(-1)]")
    assert edit["start"] - 0.2 - 0.02 <= start <= edit["end"]
    assert edit["end"] - 0.02 <= stop <= edit["end"] + 0.2 + 0.15  # a busy machine pauses a little late
    assert section.locator("audio").evaluate("one => one.paused")
    panel = section.locator(".panel")
    assert "Named because this put the words right; the placebo did not." in panel.text_content()
    assert "but so did the placebo" in panel.text_content()
    assert "Suspected, but it could not be tested." in panel.text_content()
    assert panel.locator(".trial").count() == 3
    assert panel.locator(".trial.named").count() == 1


def test_a_word_sounds_like_itself(
    records: list[dict[str, Any]], long_sounds: Callable[[Any], Media], opened: Callable[..., Any]
) -> None:
    """Browsers seek inexactly in compressed sound: what is played must hold at each moment what the clip holds there."""
    page = opened()
    section = open_clip(page, "clip-0015")
    section.locator("audio").evaluate("one => new Promise(ready => one.readyState ? ready() : one.onloadedmetadata = ready)")
    playing = """async (one) => { const context = new AudioContext({ sampleRate: 16000 }); const node = context.createAnalyser();
        node.fftSize = 4096; const source = context.createMediaElementSource(one); source.connect(node); await context.resume();
        one.currentTime = 2.4; await one.play(); await new Promise(ready => setTimeout(ready, 400));
        const values = new Float32Array(4096); const now = one.currentTime; node.getFloatTimeDomainData(values);
        one.pause(); return [now, Array.from(values)]; }"""
    now, values = section.locator("audio").evaluate(playing)
    samples = np.asarray(long_sounds(records[15]).samples, np.float64)
    window = np.asarray(values)
    sizes = np.sqrt(np.convolve(samples**2, np.ones(len(window)), "valid")) + 1e-9
    likeness = np.correlate(samples, window, "valid") / sizes / np.linalg.norm(window)
    assert likeness.max() > 0.9
    assert (int(likeness.argmax()) + len(window)) / 16000 == pytest.approx(now, abs=0.15)


def test_evidence_is_drawn_for_the_mistake_that_is_chosen(records: list[dict[str, Any]], opened: Callable[..., Any]) -> None:
    page = opened()
    record = next(one for one in records[10:] if one["mistakes"] and one["edits"][0]["kind"] == "hit")
    section = open_clip(page, record["id"])
    coloured = """one => { const copy = document.createElement('canvas'); [copy.width, copy.height] = [one.width, one.height];
        const context = copy.getContext('2d', { willReadFrequently: true }); context.drawImage(one, 0, 0);
        const { data } = context.getImageData(0, 0, one.width, one.height); let count = 0;
        for (let n = 0; n < data.length; n += 4) if (Math.abs(data[n] - data[n + 2]) > 40) count += 1; return count; }"""
    assert section.locator(".evidence i.for").count() == 2
    assert section.locator(".evidence i.against").count() == 1
    assert section.locator("canvas.spectrum").evaluate(coloured) > 100
    section.locator(".diff .hit").first.click()
    assert section.locator(".evidence").is_hidden()
    assert section.locator("canvas.spectrum").evaluate(coloured) == 0
    assert section.locator("canvas.spectrum").evaluate("one => [one.width, one.height]") == [398, 80]


def test_everything_can_be_reached_by_keyboard(records: list[dict[str, Any]], opened: Callable[..., Any]) -> None:
    page = opened()
    page.focus("#table tbody a")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.unit") == "0"
    page.keyboard.press("Enter")
    assert page.locator("details[open] .diff button").first.get_attribute("aria-pressed") == "true"
    label = page.locator("details[open] .diff button").first.get_attribute("aria-label")
    assert " s" in str(label)


def test_the_language_can_be_switched(opened: Callable[..., Any]) -> None:
    page = opened()
    section = open_clip(page, "clip-0009")
    assert page.locator("h1").text_content() == "Voxray report"
    page.get_by_role("button", name="中文").click()
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert page.locator("h1").text_content() == "Voxray 报告"
    assert page.locator("#found").text_content() == "300 个片段中的 300 个"
    assert page.get_attribute("#search", "placeholder") == "在名称与文本中搜索"
    assert "点选一个词" in section.text_content()
    assert "95% 区间" in page.locator(".tile.strong").text_content()
    page.get_by_role("button", name="English").click()
    assert page.locator("h1").text_content() == "Voxray report"
    assert "Choose a word" in section.text_content()


def test_a_script_in_a_reference_stays_text(opened: Callable[..., Any]) -> None:
    page = opened()
    page.evaluate("() => { window.asked = 0; window.alert = () => { asked += 1; }; }")
    section = open_clip(page, "clip-0008")
    for _ in range(2):
        section.locator(".diff button").first.click()
        page.get_by_role("button", name="中文").click()
    assert EVIL in section.text_content()
    assert EVIL in page.locator("#table").text_content()
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
    assert page.evaluate("asked") == 0


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(width: int, scheme: str, opened: Callable[..., Any]) -> None:
    page = opened(width=width, color_scheme=scheme)
    for name in ("clip-0008", "clip-0009", "clip-0010"):
        open_clip(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(14, 17, 22)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_on_paper_everything_is_open_and_nothing_plays(opened: Callable[..., Any], tmp_path: Path, long_sounds: Any) -> None:
    few = made(8, seed=4)
    page = opened(write_report(few, summary_of(few), long_sounds, tmp_path / "few.html"))
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.clip[open]").count() == 8
    assert page.locator(".paper").count() == sum(len(one["mistakes"]) for one in few)
    assert page.locator(".paper").first.is_visible()
    assert not any(one.is_visible() for one in page.locator("audio, .controls, .panel").all())
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.clip[open]").count() == 0
    assert len(page.pdf()) > 100_000


def test_clips_without_reference_without_sound_failed_and_long(opened: Callable[..., Any], tmp_path: Path) -> None:
    bare, lost, failed, long = made(4, seed=4)
    bare |= {"reference": None, "errors": None, "edits": None, "mistakes": [], "id": "bare"}
    lost |= {"id": "lost"}
    failed = {"id": "failed", "audio": "x.wav", "problem": "x.wav: no such file", "groups": {}}
    long |= {"id": "long", "duration": 100.0, "mistakes": [{**made(9)[2]["mistakes"][0], "start": 50.0, "end": 50.5}]}
    long["edits"][1] |= {"kind": "substitution", "reference": "a", "recognised": "b", "start": 50.0, "end": 50.5, "mistake": 0}
    noise = np.random.default_rng(0).normal(0, 0.1, 1_600_000).astype(np.float32)

    def media(record: Any) -> Media | None:
        samples = noise[: round(16000 * record["duration"])]
        return (
            None if record["id"] == "lost" else Media(samples, 16000, np.zeros((len(samples) // 160, 80), np.float32), 0.01, 0.0125)
        )

    page = opened(write_report([bare, lost, failed, long], {}, media, tmp_path / "odd.html"))
    assert "There is no reference to compare with." in open_clip(page, "bare").text_content()
    assert "The sound was not at hand when this page was written." in open_clip(page, "lost").text_content()
    section = open_clip(page, "long")
    assert "This sound is 100.0 s long. Here are 3.5 s of it, around 1 of 1 mistakes." in section.text_content()
    section.locator(".diff button").first.click()
    assert "The sound around this word is not in this page." in section.text_content()
    section.locator("[data-mistake='0']").click()
    until(page, "!document.querySelector('details[open] audio').paused")
    page.get_by_role("link", name="failed", exact=True).click()
    assert "This clip failed: x.wav: no such file" in page.locator("details[open]", has_text="no such file").text_content()


def test_one_clip_is_opened_at_once(opened: Callable[..., Any], tmp_path: Path, long_sounds: Any) -> None:
    page = opened(write_report(made(1), {}, long_sounds, tmp_path / "one.html", language="zh"))
    assert page.locator("details.clip[open] canvas.spectrum").is_visible()
    assert page.locator("#filters").count() == 0
    assert json.loads(str(page.locator("#data").text_content()))["language"] == "zh"
