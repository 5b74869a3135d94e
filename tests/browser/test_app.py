"""The web application in a real browser: every tab, upload, clicks, choices, languages, downloads, widths; a silent console.

Chromium is Playwright's own where it is installed, or else the one on the path. Where ``VOXRAY_SCREENSHOTS`` names a folder,
pictures of every tab at every width are kept there.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from webserver import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
pytest.importorskip("gradio", reason="the extra app is not installed: pip install 'voxray[app]'")
pytest.importorskip("plotly", reason="the extra app is not installed: pip install 'voxray[app]'")

TABS = ("listen", "attention", "tags", "why", "compare", "live")
WORDS = {
    tongue: json.loads((Path(voxray.__file__).parent / "assets" / "app" / f"{tongue}.json").read_text(encoding="utf-8"))
    for tongue in ("en", "zh")
}
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a microphone that hears the bundled clips, one after the other."""
    pause = np.zeros(16000, np.float32)
    said = [voxray.load_audio(clip.path).samples for clip in voxray.demo_clips()[:3]]
    heard = voxray.Audio(np.concatenate([part for one in said for part in (one, pause)]))
    microphone = voxray.write_sound(heard, tmp_path_factory.mktemp("microphone") / "heard.wav")
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        names = ("chromium", "chromium-browser", "google-chrome")
        found = None if own.is_file() else next(filter(None, map(shutil.which, names)), None)
        if not own.is_file() and found is None:
            pytest.skip("there is no Chromium: playwright install chromium")
        media = [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}",
        ]
        opened = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *media]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("app") / "tmp") as served:
        yield served.address
        assert served.files() == []


@pytest.fixture
def opened(browser: Any, server: str) -> Iterator[Callable[..., Any]]:
    """Open the page; whatever it says on the console, asks of another server, or pops up is an error at the end."""
    trouble: list[str] = []
    contexts = []

    def open_page(width: int = 1000, wait: bool = True, **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **{"locale": "en-US", **more})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(45_000)
        page.on(
            "console",
            lambda one: (
                trouble.append(f"{one.type}: {one.text} {one.location.get('url', '')}")
                if one.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda one: None if one.url.startswith((server, "data:", "blob:")) else trouble.append(one.url))
        page.goto(server)
        page.locator(".vx-intake .vx-drop").wait_for()
        tongue = "zh" if str(more.get("locale", "en")).startswith("zh") else "en"
        page.get_by_text(WORDS[tongue]["textnorm"]).wait_for()  # the page has its words
        return page

    yield open_page
    for context in contexts:
        context.close()
    unexpected = [one for one in trouble if "422" not in one]  # a refused sound is answered so, and the browser notes it
    assert unexpected == []


def example(page: Any, name: str = "en_noise_burst") -> None:
    if not page.locator(f".vx-intake [data-example={name}]").is_visible():
        page.locator(".vx-intake summary").click()
    page.locator(f".vx-intake [data-example={name}]").click()
    page.locator(".vx-look .vx-word").first.wait_for()


def tab(page: Any, name: str, tongue: str = "en") -> None:
    """Open a tab; where the window is narrow it lies in a menu."""
    title = WORDS[tongue][f"tab.{name}"]
    shown = page.get_by_role("tab", name=title, exact=True)
    if shown.count() and shown.first.is_visible():
        shown.first.click()
        return
    page.locator("#vx-tabs .overflow-menu > button").click()
    page.locator("#vx-tabs .overflow-dropdown button", has_text=title).click()


def choose(page: Any, label: str, option: str, nth: int = 0) -> None:
    """Choose from one of Gradio's dropdowns."""
    page.get_by_label(label, exact=True).nth(nth).click()
    page.get_by_role("option", name=option, exact=True).last.click()
    page.get_by_role("option").first.wait_for(state="hidden")  # the list fades out


def fetched(page: Any, locator: Any) -> bytes:
    with page.expect_download() as waiting:
        locator.click()
    path = waiting.value.path()
    return Path(path).read_bytes()


def heat_of(page: Any) -> list[list[float]]:
    found: list[list[float]] = page.evaluate(
        "document.querySelector('#vx-heat .js-plotly-plot').data[0].z.map(row => Array.from(row))"
    )
    return found


def test_an_example_is_recognised_with_words_tokens_tags_and_confidence(opened: Callable[..., Any], bundled: Any) -> None:
    page = opened()
    example(page)
    clip = next(one for one in voxray.demo_clips() if one.path.stem == "en_noise_burst")
    trace = bundled.trace(clip.path)
    assert page.locator(".vx-look .vx-text").text_content() == trace.text
    assert page.locator(".vx-look .vx-word span").all_text_contents() == [word.text for word in trace.words]
    assert page.locator(".vx-look .vx-word small").all_text_contents() == [f"{word.confidence:.2f}" for word in trace.words]
    assert page.locator(".vx-look .vx-token").count() == len(trace.tokens)
    assert page.locator(".vx-look .vx-tag").count() == 4
    page.wait_for_function("document.querySelector('.vx-look audio').duration > 0")
    assert page.evaluate("document.querySelector('.vx-look audio').duration") == pytest.approx(trace.audio.duration, abs=1e-3)


def test_a_file_is_uploaded(opened: Callable[..., Any], bundled: Any, clips: Path) -> None:
    page = opened()
    page.locator(".vx-intake input[type=file]").set_input_files(clips / "zh_happy_speech.wav")
    page.locator(".vx-look .vx-word").first.wait_for()
    assert page.locator(".vx-look .vx-text").text_content() == bundled.trace(clips / "zh_happy_speech.wav").text


def test_a_bad_file_and_a_script_as_its_name_are_told_as_text(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator(".vx-intake input[type=file]").set_input_files(
        {"name": f"{EVIL.replace('/', '')}.wav", "mimeType": "audio/wav", "buffer": b"<html>no sound</html>"}
    )
    told = page.locator(".vx-intake .vx-problem")
    told.wait_for()
    assert "not a sound file that can be read" in str(told.text_content())
    assert "<img src=x onerror=alert(1)>" in str(told.text_content())
    assert page.locator(".vx-intake img").count() == 0
    example(page)  # the page goes on


def test_the_microphone_is_recorded(opened: Callable[..., Any]) -> None:
    page = opened(permissions=["microphone"])
    page.locator(".vx-intake .vx-record").click()
    page.locator(".vx-intake .vx-record.on").wait_for()
    page.wait_for_timeout(4500)
    page.locator(".vx-intake .vx-record.on").click()
    page.locator(".vx-look audio").wait_for()
    assert page.locator(".vx-look .vx-word").count() >= 2
    assert "microphone" in str(page.locator(".vx-look .vx-sub").first.text_content())


def test_a_word_is_heard_explained_and_its_decision_shown(opened: Callable[..., Any], bundled: Any, clips: Path) -> None:
    page = opened()
    example(page)
    page.evaluate("""() => { window.heard = []; const audio = document.querySelector('.vx-look audio');
        audio.addEventListener('play', () => heard.push(['start', audio.currentTime]));
        audio.addEventListener('pause', () => heard.push(['stop', audio.currentTime])); }""")
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-facts").wait_for()
    trace = bundled.trace(clips / "en_noise_burst.wav")
    found = voxray.explain(bundled, trace, "word:2")
    told = dict(
        zip(page.locator(".vx-facts dt").all_text_contents(), page.locator(".vx-facts dd").all_text_contents(), strict=True)
    )
    assert told["score"] == f"+{found.score:.2f}"
    assert told["sound"] == f"+{found.scores.sum():.2f}"
    page.wait_for_function("heard.some(one => one[0] === 'stop')")
    (_, start), *_, (_, stop) = page.evaluate("heard")
    word = trace.words[2]
    assert start == pytest.approx(word.start - 0.05, abs=0.05)
    assert word.end <= stop <= word.end + 0.35  # a busy machine pauses a little late
    page.locator(".vx-decision dl").wait_for()
    decided = voxray.decisions(bundled, trace, ["word:2"], second_method=None, versions=0).decisions[0]
    assert f"{decided.probability:.1%}".replace("%", " %") in page.locator(".vx-decision dd").all_text_contents()
    assert page.locator(".vx-decision .vx-shares li").count() == 1 + len(decided.rivals[:6])
    page.get_by_role("button", name=WORDS["en"]["firmly"]).click()
    page.get_by_text(re.compile("of 3 versions with noise")).wait_for()


def test_a_token_and_a_tag_can_be_chosen(opened: Callable[..., Any]) -> None:
    page = opened()
    example(page, "zh_happy_speech")
    page.locator('.vx-look [data-target="token:1"]').click()
    page.locator(".vx-facts strong", has_text="年").wait_for()
    page.locator('.vx-look [data-target="emotion"]').click()
    page.locator(".vx-facts strong", has_text="HAPPY").wait_for()
    assert page.locator('.vx-look [aria-pressed="true"]').get_attribute("data-target") == "emotion"
    page.locator(".vx-decision", has_text="emotion").wait_for()


def test_the_map_has_colours_where_there_is_relevance(opened: Callable[..., Any]) -> None:
    page = opened()
    example(page)
    coloured = """() => { const one = document.querySelector('.vx-canvas');
        const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height); let count = 0;
        for (let n = 0; n < data.length; n += 4) if (Math.abs(data[n] - data[n + 2]) > 40) count += 1; return count; }"""
    page.wait_for_function("document.querySelector('.vx-canvas').width > 300")
    before = page.evaluate(coloured)
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-facts").wait_for()
    page.wait_for_function(f"({coloured})() > {before} + 500")


def test_method_layer_and_head_redraw_the_same_recognition(opened: Callable[..., Any], bundled: Any, clips: Path) -> None:
    page = opened()
    example(page)
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-facts").wait_for()
    sound = page.evaluate("document.querySelector('.vx-look audio').src")
    choose(page, WORDS["en"]["method"], "attention · a view")
    page.locator(".vx-facts em", has_text="a view").wait_for()
    choose(page, WORDS["en"]["layer"], "5")
    page.locator(".vx-facts .vx-sub", has_text="layer 5").wait_for()
    choose(page, WORDS["en"]["head"], "2")
    page.locator(".vx-facts .vx-sub", has_text="head 2").wait_for()
    choose(page, WORDS["en"]["normalise"], WORDS["en"]["row_max.choice"])
    page.locator(".vx-facts .vx-sub", has_text="row_max").wait_for()
    assert page.evaluate("document.querySelector('.vx-look audio').src") == sound  # nothing was recognised again
    view = voxray.AttentionView(5, 2, normalise="row_max")
    known = voxray.attention_map(bundled.trace(clips / "en_noise_burst.wav"), view)
    assert known.sizes["token"] == 6
    choose(page, WORDS["en"]["method"], "occlusion · explanation")
    page.locator(".vx-facts .vx-sub", has_text="occlusion").wait_for()


def test_why_not_another_word(opened: Callable[..., Any], bundled: Any, clips: Path) -> None:
    page = opened()
    example(page)
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-facts").wait_for()
    page.get_by_label(WORDS["en"]["against"]).fill("my")
    page.get_by_label(WORDS["en"]["against"]).press("Enter")
    page.locator(".vx-facts p", has_text="rather than my").wait_for()
    found = voxray.explain(bundled, bundled.trace(clips / "en_noise_burst.wav"), "word:2", against="my")
    assert page.locator(".vx-facts dd").first.text_content() == f"{found.score:+.2f}"
    page.get_by_label(WORDS["en"]["against"]).fill(EVIL)
    page.get_by_label(WORDS["en"]["against"]).press("Enter")
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert page.locator(".toast-body img").count() == 0


def test_attention_is_drawn_and_redrawn(opened: Callable[..., Any], bundled: Any, clips: Path) -> None:
    page = opened()
    example(page)
    tab(page, "attention")
    page.locator("#vx-heat .main-svg").first.wait_for()
    trace = bundled.trace(clips / "en_noise_burst.wav")
    np.testing.assert_allclose(heat_of(page), voxray.attention_map(trace).values, atol=2e-6)
    page.locator(".vx-heads table").wait_for()
    roles = voxray.compare_languages(bundled, [voxray.Spoken(trace.audio)], force=False).clips[0].heads.roles
    shown = page.locator(".vx-heads td button").all_text_contents()
    assert shown == [WORDS["en"][f"role.{role}"] for row in roles for role in row]
    before = page.evaluate("JSON.stringify(document.querySelector('#vx-heat .js-plotly-plot').data[0].z)")
    page.locator('.vx-heads [data-layer="9"][data-head="3"]').click()
    page.wait_for_function(f"JSON.stringify(document.querySelector('#vx-heat .js-plotly-plot').data[0].z) !== {json.dumps(before)}")
    np.testing.assert_allclose(heat_of(page), voxray.attention_map(trace, voxray.AttentionView(9, 3)).values, atol=2e-6)
    picture = fetched(page, page.locator(".vx-files a").first)
    assert picture.startswith(b"\x89PNG")


def test_hovering_over_the_heat_map_says_token_seconds_and_weight(opened: Callable[..., Any]) -> None:
    page = opened()
    example(page)
    tab(page, "attention")
    page.locator("#vx-heat .main-svg").first.wait_for()
    box = page.locator("#vx-heat .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    page.locator("#vx-heat .hovertext").wait_for()
    assert re.search(r"\d\.\d\d s.*weight \d\.\d{4}", str(page.locator("#vx-heat .hovertext").text_content()))


def test_tags_show_probabilities_the_label_map_and_the_sound_behind_each(
    opened: Callable[..., Any], bundled: Any, clips: Path
) -> None:
    page = opened()
    example(page, "zh_happy_speech")
    tab(page, "tags")
    page.locator("#vx-labels .main-svg").first.wait_for()
    assert page.locator(".vx-bars section").count() == 4
    trace = bundled.trace(clips / "zh_happy_speech.wav")
    rows = page.evaluate("document.querySelector('#vx-labels .js-plotly-plot').data[0].z.map(row => Array.from(row))")
    known = voxray.explain(bundled, trace, "emotion:HAPPY")
    np.testing.assert_allclose(rows[0], known.over_time, atol=2e-5)
    page.get_by_label("event", exact=True).click()
    page.wait_for_function("document.querySelector('#vx-labels .js-plotly-plot').data[0].y[0] === 'Speech'")
    assert page.locator(".vx-sounds button").count() > 2


def test_a_reference_with_an_error_is_diagnosed(opened: Callable[..., Any]) -> None:
    page = opened()
    example(page)
    tab(page, "why")
    page.locator("#vx-reference textarea").fill("we removed my rice with cabbage")
    page.locator("#vx-ask-why").click()
    page.locator(".vx-why iframe").wait_for()
    told = str(page.locator(".vx-why").text_content())
    assert "16.7 % of 6 wrong: 1 replaced" in told
    assert "‘bicycle’ rather than ‘my’" in told
    assert "cause: noise" in told
    frame = page.frame_locator(".vx-why iframe")
    frame.locator(".diff button").first.wait_for()
    assert frame.locator(".panel").text_content()
    record = json.loads(fetched(page, page.locator(".vx-why a", has_text="JSON")))
    assert record["mistakes"][0]["cause"] == "noise"
    report = fetched(page, page.locator(".vx-why a", has_text="Report"))
    assert b"Voxray report" in report


def test_a_script_in_a_reference_stays_text(opened: Callable[..., Any]) -> None:
    page = opened()
    example(page)
    tab(page, "why")
    page.locator("#vx-reference textarea").fill(EVIL)
    page.locator("#vx-ask-why").click()
    page.locator(".vx-why iframe").wait_for(timeout=60_000)
    assert page.locator(".vx-why img, .vx-why script").count() == 0
    page.frame_locator(".vx-why iframe").locator(".diff").first.wait_for()


def test_two_sounds_two_languages_and_two_models_stand_side_by_side(
    opened: Callable[..., Any], bundled_int8: Any, clips: Path
) -> None:
    page = opened()
    example(page)
    tab(page, "compare")
    page.locator(".vx-second summary").click()
    page.locator(".vx-second [data-example=zh_happy_speech]").click()
    page.locator(".vx-compare section").nth(1).wait_for()
    assert page.locator(".vx-compare section .vx-text").nth(1).text_content() == "明年爷爷使用雨衣"
    page.wait_for_function("[...document.querySelectorAll('.vx-compare img')].some(one => one.naturalWidth > 300)")
    page.get_by_label(WORDS["en"]["mode.languages"]).click()
    choose(page, WORDS["en"]["language.other"], "zh")
    page.locator("#vx-ask-compare").click()
    page.get_by_text(re.compile("Told zh, the model says that it hears")).wait_for()
    page.get_by_label(WORDS["en"]["mode.models"]).click()
    page.locator("#vx-ask-compare").click()
    page.locator(".vx-compare h3", has_text="bundled, int8").wait_for()
    known = bundled_int8.trace(clips / "en_noise_burst.wav").text
    assert page.locator(".vx-compare section .vx-text").nth(1).text_content() == known
    assert page.locator(".vx-verdict li").count() >= 3


def test_options_recognise_again(opened: Callable[..., Any], bundled_int8: Any, clips: Path) -> None:
    page = opened()
    example(page, "zh_sad_applause")
    choose(page, WORDS["en"]["model"], "bundled, int8")
    page.locator(".vx-look .vx-sub", has_text="model_quant").wait_for()
    assert page.locator(".vx-look .vx-text").text_content() == bundled_int8.trace(clips / "zh_sad_applause.wav").text
    choose(page, WORDS["en"]["language"], "zh")
    page.wait_for_function("document.querySelector('.vx-look')")


def test_the_microphone_is_heard_live(opened: Callable[..., Any]) -> None:
    page = opened(permissions=["microphone"])
    tab(page, "live")
    page.locator(".vx-live .vx-record").click()
    page.locator(".vx-live .vx-final", has_text="bathroom").first.wait_for(timeout=60_000)
    assert page.locator(".vx-live .vx-stats dd").count() > 8
    assert page.locator(".vx-live .vx-thumbs canvas").count() > 1
    page.locator(".vx-live .vx-record.on").click()
    assert fetched(page, page.locator(".vx-live a", has_text="PNG")).startswith(b"\x89PNG")
    assert page.locator(".vx-live .vx-problem[role=alert]").count() == 0


def test_downloads_open(opened: Callable[..., Any], bundled: Any, tmp_path: Path) -> None:
    page = opened()
    example(page)
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-facts").wait_for()
    told = json.loads(fetched(page, page.locator(".vx-look > .vx-links a", has_text="JSON")))
    assert told["text"] == page.locator(".vx-look .vx-text").text_content()
    path = tmp_path / "clip.trace"
    path.write_bytes(fetched(page, page.locator(".vx-look > .vx-links a", has_text="Trace")))
    assert voxray.load_trace(path, bundled).text == told["text"]
    picture = fetched(page, page.locator(".vx-facts a", has_text="PNG"))
    assert picture.startswith(b"\x89PNG")
    relevance = json.loads(fetched(page, page.locator(".vx-facts a", has_text="JSON")))
    assert relevance["target"]["name"] == "word:2"


def test_the_evidence_can_be_heard(opened: Callable[..., Any], server: str) -> None:
    page = opened()
    example(page)
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-facts").wait_for()
    button = page.get_by_role("button", name=WORDS["en"]["evidence"])
    with page.expect_response(re.compile("/voxray/file/")) as answer:
        button.click()
    assert answer.value.status == 200
    with wave.open(io.BytesIO(page.request.get(f"{server}{button.get_attribute('data-sound')}").body())) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(2.608, abs=0.01)


def test_the_page_speaks_the_browsers_language_and_can_be_switched(opened: Callable[..., Any]) -> None:
    page = opened(locale="zh-CN")
    example(page)
    assert page.get_by_role("tab", name=WORDS["zh"]["tab.attention"], exact=True).is_visible()
    assert WORDS["zh"]["choose.word"] in str(page.locator(".vx-look").text_content())
    page.get_by_label("English").click()
    page.get_by_role("tab", name=WORDS["en"]["tab.attention"], exact=True).wait_for()
    assert WORDS["en"]["choose.word"] in str(page.locator(".vx-look").text_content())
    assert page.evaluate("document.documentElement.lang") == "en"
    tab(page, "attention")
    page.locator("#vx-heat .gtitle", has_text=WORDS["en"]["heatmap"]).wait_for()
    page.get_by_label("中文").click()
    page.locator("#vx-heat .gtitle", has_text=WORDS["zh"]["heatmap"]).wait_for()


def test_everything_can_be_reached_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator(".vx-intake [data-example=en_noise_burst]").focus()
    page.keyboard.press("Enter")
    page.locator(".vx-look .vx-word").first.wait_for()
    page.locator('.vx-look [data-target="word:0"]').focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.target") == "word:1"
    page.keyboard.press("Enter")
    page.locator(".vx-facts").wait_for()
    assert page.evaluate("document.activeElement.dataset.target") == "word:1"  # drawing anew does not lose the place
    page.locator(".vx-intake input[type=file]").focus()
    assert page.evaluate("document.activeElement.type") == "file"


def test_two_visitors_do_not_see_each_other(opened: Callable[..., Any], server: str) -> None:
    first, second = opened(), opened()
    example(first, "zh_happy_speech")
    assert second.locator(".vx-look .vx-word").count() == 0
    address = first.locator(".vx-look > .vx-links a").first.get_attribute("href")
    assert first.request.get(f"{server}{address}").status == 200
    assert second.request.get(f"{server}{address}").status == 404


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(width: int, scheme: str, opened: Callable[..., Any]) -> None:
    tongue = "zh" if scheme == "dark" else "en"
    page = opened(width=width, color_scheme=scheme, locale="zh-CN" if tongue == "zh" else "en-US")
    folder = os.environ.get("VOXRAY_SCREENSHOTS")
    example(page)
    page.locator('.vx-look [data-target="word:2"]').click()
    page.locator(".vx-decision dl").wait_for()
    for name in TABS:
        if name != "listen":
            tab(page, name, tongue)
        if name == "attention":
            page.locator("#vx-heat .main-svg").first.wait_for()
            page.locator(".vx-heads table").wait_for()
        elif name == "tags":
            page.locator("#vx-labels .main-svg").first.wait_for()
        elif name == "why":
            page.locator("#vx-reference textarea").fill("we removed my rice with cabbage")
            page.locator("#vx-ask-why").click()
            page.frame_locator(".vx-why iframe").locator(".diff button").first.wait_for()
        elif name == "compare":
            page.locator(".vx-second summary").click()
            page.locator(".vx-second [data-example=zh_happy_speech]").click()
            page.wait_for_function("[...document.querySelectorAll('.vx-compare img')].some(one => one.naturalWidth > 300)")
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"app-{name}-{width}-{scheme}.png", full_page=True)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(one) for one in re.findall(r"\d+", background)[:3])
    assert (lightness < 150) == (scheme == "dark")
