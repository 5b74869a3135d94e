"""Each cause is named on a clip where it was planted, nothing is named where nothing helps, and placebos count."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from voxray import sounds
from voxray.audio import load_audio
from voxray.studies import causes
from voxray.studies.causes import CAUSES, Cause, Suspicion, Trial, causes_of, judged, smallest_edit, works
from voxray.studies.errors import Beyond, Mistake, Scene, Standing, diagnose
from voxray.types import Audio

RATE = 16000


@dataclass(frozen=True)
class Spoken:
    """A bundled clip that is recognised right: its sound, text and words."""

    audio: Audio
    text: str
    words: dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def spoken(clips: Path, bundled: Any) -> Callable[[str], Spoken]:
    truth = json.loads((clips / "truth.json").read_text(encoding="utf-8"))

    def read(name: str) -> Spoken:
        told, audio = truth[f"{name}.wav"], load_audio(clips / f"{name}.wav")
        assert not diagnose(bundled, audio, told["text"]).mistakes
        return Spoken(audio, told["text"], {word["word"]: (word["start"], word["end"]) for word in told["words"]})

    return read


def worst(model: Any, audio: Audio, reference: str, language: str = "auto", beyond: Beyond | None = None) -> Scene:
    """The mistake that is furthest ahead."""
    found = diagnose(model, audio, reference, language=language)
    mistake = max(found.mistakes, key=lambda one: -math.inf if one.log_odds is None else one.log_odds)
    return found.scene(mistake, beyond)


def named(scene: Scene, **options: Any) -> Cause:
    """The named cause, checked for what is true of every answer."""
    found = causes_of(scene, **options)
    assert sorted(one.cause for one in found) == sorted(CAUSES)
    assert [one.named for one in found] == [True, *[False] * (len(found) - 1)]
    assert found[0].suspected
    assert found[0].tested
    assert found[0].passed
    assert not found[0].placebo_flips
    assert json.loads(json.dumps(found[0].to_dict()))["cause"] == found[0].cause
    return found[0]


# -- planted in sound


@pytest.mark.parametrize(
    ("clip", "word"), [("en_neutral_speech", "the"), ("yue_neutral_speech", "小學生"), ("zh_happy_speech", "爷爷")]
)
def test_noise_over_a_word_is_named(spoken: Any, bundled: Any, clip: str, word: str) -> None:
    one = spoken(clip)
    scene = worst(bundled, sounds.with_noise(one.audio, -3.0, 1, one.words[word]), one.text)
    found = named(scene)
    assert found.cause == "noise"
    assert found.before == pytest.approx(scene.base.log_odds, abs=1e-3)
    assert found.after is not None
    assert found.placebo is not None
    assert found.before is not None
    assert found.before - found.after > max(3.0, 0.5 * found.before)
    assert found.before - found.placebo < max(3.0, 0.5 * found.before)


@pytest.mark.parametrize(
    ("clip", "word"), [("en_neutral_speech", "horse"), ("en_neutral_speech", "near"), ("yue_neutral_speech", "小學生")]
)
def test_a_gap_inside_a_word_is_named(spoken: Any, bundled: Any, clip: str, word: str) -> None:
    one = spoken(clip)
    start, end = one.words[word]
    first = start + 0.25 * (end - start)
    samples = one.audio.samples.copy()
    samples[round(first * RATE) : round((first + 0.12) * RATE)] = 0
    found = named(worst(bundled, Audio(samples), one.text))
    assert found.cause == "dropout"
    assert found.flips
    assert "ms of constant samples" in found.evidence


@pytest.mark.parametrize(
    ("clip", "word"), [("en_neutral_speech", "stumbled"), ("zh_happy_speech", "雨衣"), ("yue_neutral_speech", "黑色")]
)
def test_a_cut_within_a_word_is_named_where_the_recording_goes_on(spoken: Any, bundled: Any, clip: str, word: str) -> None:
    one = spoken(clip)
    start, end = one.words[word]
    cut = start + 0.4 * (end - start)
    words = list(one.words)
    reference = (" " if clip.startswith("en") else "").join(words[: words.index(word) + 1])
    audio = one.audio.cut(0.0, cut)
    found = named(worst(bundled, audio, reference, beyond=Beyond(one.audio, 0.0, cut)))
    assert found.cause == "truncation"
    assert found.flips
    assert "beyond the clip's end" in found.intervention
    alone = causes_of(worst(bundled, audio, reference))
    assert next(cause for cause in alone if cause.cause == "truncation").suspected


def test_a_cut_at_the_start_is_named(spoken: Any, bundled: Any) -> None:
    one = spoken("en_neutral_speech")
    start, end = one.words["horse"]
    cut = start + 0.6 * (end - start)
    beyond = Beyond(one.audio, cut, one.audio.duration)
    scene = worst(bundled, one.audio.cut(cut, one.audio.duration), "horse stumbled near every bathroom", beyond=beyond)
    found = named(scene)
    assert found.cause == "truncation"
    assert "beyond the clip's start" in found.intervention


@pytest.mark.parametrize("clip", ["zh_happy_speech", "ko_angry_speech"])
def test_speech_that_was_sped_up_is_named(spoken: Any, bundled: Any, clip: str) -> None:
    one = spoken(clip)
    found = named(worst(bundled, sounds.stretched(one.audio, 1 / 1.8), one.text))
    assert found.cause == "fast speech"
    assert "times as long" in found.intervention


def test_a_wrong_language_prompt_is_named(spoken: Any, bundled: Any) -> None:
    one = spoken("zh_happy_speech")
    scenes = [
        found.scene(mistake)
        for tag in ("ja", "ko", "en", "yue")
        for found in [diagnose(bundled, one.audio, one.text, language=tag)]
        for mistake in found.mistakes
    ]
    assert scenes, "no forced language makes a mistake any more: choose another clip"
    found = named(scenes[0])
    assert found.cause == "language"
    assert found.flips
    assert found.intervention == f"language prompt auto in place of {scenes[0].language}"


# -- planted in the reference


def test_a_homophone_is_named(spoken: Any, bundled: Any) -> None:
    pytest.importorskip("pypinyin")
    one = spoken("zh_happy_speech")
    found = named(worst(bundled, one.audio, one.text.replace("使", "始")))
    assert (found.cause, found.after, found.flips) == ("homophone", None, True)
    assert "sound the same" in found.evidence


def test_another_script_is_named_as_a_matter_of_writing(spoken: Any, bundled: Any) -> None:
    pytest.importorskip("opencc")
    one = spoken("zh_happy_speech")
    found = named(worst(bundled, one.audio, one.text.replace("爷爷", "爺爺")))
    assert found.cause == "text normalisation"


@pytest.mark.parametrize(("right", "wrong"), [("horse", "teacher"), ("stumbled", "believed"), ("near", "guitar")])
def test_a_word_replaced_in_the_reference_is_named(spoken: Any, bundled: Any, right: str, wrong: str) -> None:
    one = spoken("en_neutral_speech")
    found = named(worst(bundled, one.audio, one.text.replace(right, wrong)))
    assert found.cause == "reference error"
    assert found.before is not None
    assert found.after is not None
    assert found.after > 0.5 * found.before


def test_with_noise_on_it_the_reference_is_not_blamed(spoken: Any, bundled: Any) -> None:
    one = spoken("en_neutral_speech")
    noisy = sounds.with_noise(one.audio, 0.0, 1, one.words["bathroom"])
    scene = worst(bundled, noisy, one.text.replace("bathroom", "kitchen"))
    blamed = next(cause for cause in causes_of(scene) if cause.cause == "reference error")
    assert not blamed.suspected
    assert "in doubt: noise" in blamed.evidence


# -- limits, and what is said of one sound twice


def test_the_answer_is_the_same_twice_and_stops_when_the_time_is_up(spoken: Any, bundled: Any) -> None:
    one = spoken("en_neutral_speech")
    scene = worst(bundled, sounds.with_noise(one.audio, -3.0, 1, one.words["the"]), one.text)
    assert causes_of(scene) == causes_of(scene)
    passes = scene.passes
    late = causes_of(scene, seconds=0.0)
    assert scene.passes == passes
    assert not any(cause.tested or cause.named for cause in late)
    assert smallest_edit(scene, seconds=0.0) is None


def test_the_smallest_edit_is_the_first_that_mends(spoken: Any, bundled: Any) -> None:
    one = spoken("en_neutral_speech")
    scene = worst(bundled, sounds.with_noise(one.audio, -3.0, 1, one.words["every"]), one.text)
    before = scene.passes
    found = smallest_edit(scene, seed=4)
    tried = causes.edits(scene)
    assert [cost for cost, _, _ in tried] == sorted(cost for cost, _, _ in tried)
    mends = [(cost, told) for cost, told, edit in tried if scene.ask(edit(scene.audio, 4)).right]
    assert found is not None
    assert (found.cost, found.edit) == (round(mends[0][0], 3), mends[0][1])
    assert found.passes == [told for _, told, _ in tried].index(found.edit) + 4
    assert found.stable in {f"{count} of 3" for count in range(4)}
    assert scene.passes - before == found.passes + len(tried)


def test_nothing_mends_a_wrong_reference(spoken: Any, bundled: Any) -> None:
    one = spoken("en_neutral_speech")
    assert smallest_edit(worst(bundled, one.audio, one.text.replace("horse", "teacher"))) is None


def test_a_rounded_model_is_held_against_its_float_sibling(bundled: Any, bundled_int8: Any, funasr_model: Any) -> None:
    sibling = causes.float_sibling(bundled_int8)
    assert sibling is not None
    assert sibling.info.precision == "fp32"
    assert sibling.info.sha256 == bundled.info.sha256


# -- the placebo logic, by a plain twin


def standing(odds: float, right: bool) -> Standing:
    return Standing(odds, right, "")


def plainly_works(base: float, after: float, right: bool) -> bool:
    return right or (not math.isnan(base - after) and base - after >= 3 and base - after >= base / 2)


def test_judging_agrees_with_a_plain_twin() -> None:
    base = 10.0
    values = [math.nan, 12.0, 9.5, 6.0, 4.0, -1.0]
    for after, placebo in itertools.product(itertools.product(values, [True, False]), repeat=2):
        trial = Trial("edit", lambda after=after: standing(*after), lambda placebo=placebo: standing(*placebo))  # type: ignore[misc]
        found = judged("cause", standing(base, False), Suspicion("seen", (trial,)))
        one, other = plainly_works(base, *after), plainly_works(base, *placebo)
        over = (base - after[0]) - (0.0 if math.isnan(placebo[0]) else base - placebo[0])
        wanted = one and not other and (math.isnan(over) or over >= 2.5)
        assert found.passed == wanted, (after, placebo)
        assert works(standing(base, False), standing(*after)) == one
        assert found.tested
        assert found.suspected
        assert not found.named


def test_trials_end_at_the_first_that_mends_and_the_best_is_told() -> None:
    asked: list[str] = []

    def trial(name: str, after: Standing, placebo: Standing) -> Trial:
        return Trial(name, lambda: asked.append(name) or after, lambda: asked.append(f"{name} placebo") or placebo)  # type: ignore[func-returns-value]

    still = standing(10.0, False)
    trials = (
        trial("nothing", standing(9.0, False), still),
        trial("fragile", standing(-2.0, True), standing(-2.0, True)),
        trial("raises", standing(1.0, False), still),
        trial("mends", standing(-1.0, True), still),
        trial("never", standing(-9.0, True), still),
    )
    found = judged("cause", standing(10.0, False), Suspicion("seen", trials))
    assert (found.intervention, found.flips, found.passed, found.after, found.placebo) == ("mends", True, True, -1.0, 10.0)
    assert asked == ["nothing", "fragile", "fragile placebo", "raises", "raises placebo", "mends", "mends placebo"]
    fragile = judged("cause", standing(10.0, False), Suspicion("seen", trials[:2]))
    assert not fragile.passed
    assert fragile.placebo_flips
    assert not judged("cause", standing(10.0, False), Suspicion("nothing seen")).tested


def test_of_several_causes_one_that_mends_is_named_and_the_narrowest_first() -> None:
    def cause(name: str, flips: bool, passed: bool = True) -> Cause:
        return Cause(name, suspected=True, evidence="", tested=True, flips=flips, passed=passed)

    found = causes._named(
        [cause("noise", False), cause("truncation", True), cause("fast speech", True), cause("language", True, False)]
    )
    assert [one.cause for one in found] == ["truncation", "noise", "fast speech", "language"]
    assert [one.named for one in found] == [True, False, False, False]
    nothing = causes._named([cause("noise", False, False)])
    assert not nothing[0].named


# -- scenes that no clip here gives, by a scene that answers from a list


class Fake:
    """A scene whose answers are written down: what the text and log-odds are depends on which samples are silent."""

    def __init__(self, kind: str, answer: Callable[[Audio], Standing], reference: str = "", recognised: str = "again") -> None:
        self.audio = Audio(0.1 * np.sin(np.arange(2 * RATE) * 0.3))
        self.start, self.end, self.words, self.passes, self.beyond = 1.0, 1.2, (), 0, None
        self.mistake: Mistake = Mistake(kind, reference, recognised, (0, 1), (0, 1), 0, (), 1.0, 1.2, 5.0, 0)  # type: ignore[arg-type]
        self._answer = answer
        self.base = standing(5.0, False)

    def ask(self, audio: Audio, **_: Any) -> Standing:
        self.passes += 1
        return self._answer(audio)


def silent(audio: Audio, start: float, end: float) -> bool:
    return not audio.cut(start + 0.01, end - 0.01).samples.any()


def test_an_insertion_that_stays_when_its_sound_is_silenced_has_no_sound() -> None:
    def guessed(audio: Audio) -> Standing:
        return Standing(5.0, False, "" if silent(audio, 1.0, 1.2) else "other")

    def heard(audio: Audio) -> Standing:
        return Standing(-5.0, True, "gone") if silent(audio, 1.0, 1.2) else Standing(5.0, False, "other")

    def deaf(_: Audio) -> Standing:
        return Standing(5.0, False, "")

    assert causes.insertion(Fake("insertion", guessed)).passed  # type: ignore[arg-type]
    assert not causes.insertion(Fake("insertion", heard)).passed  # type: ignore[arg-type]
    assert not causes.insertion(Fake("insertion", deaf)).passed  # type: ignore[arg-type]
    assert not causes.insertion(Fake("substitution", guessed)).suspected  # type: ignore[arg-type]


def test_a_placebo_goes_to_the_loudest_place_beside_the_mistake() -> None:
    fake = Fake("substitution", lambda _: standing(0.0, False))
    samples = fake.audio.samples.copy()
    samples[: round(0.4 * RATE)] *= 0.1
    samples[round(0.7 * RATE) :] *= 0.2
    fake.audio = Audio(samples)
    start, end = causes.elsewhere(fake, 0.25)  # type: ignore[arg-type]
    assert 0.39 < start < end < 0.71
    assert end - start == pytest.approx(0.25)
    fake.start, fake.end = 0.0, 2.0
    assert causes.elsewhere(fake, 0.25) == (2.0, 2.0)  # type: ignore[arg-type]


def test_clipping_is_suspected_only_where_the_mistake_is() -> None:
    def scene(first: int, last: int) -> Any:
        fake = Fake("substitution", lambda _: standing(0.0, False))
        samples = np.random.default_rng(0).standard_normal(2 * RATE) * 0.05
        samples[first:last] = np.clip(np.sin(np.arange(last - first) * 0.05), -0.4, 0.4)
        fake.audio = Audio(samples)
        return fake

    inside = causes.clipping(scene(round(1.05 * RATE), round(1.15 * RATE)))
    assert len(inside.trials) == 1
    assert inside.grave
    assert not causes.clipping(scene(0, round(0.5 * RATE))).trials


def test_a_sound_with_its_clipping_undone_is_asked_about_and_its_placebo_keeps_it() -> None:
    versions: list[Audio] = []
    fake: Any = Fake("substitution", lambda audio: versions.append(audio) or standing(-9.0, True))  # type: ignore[func-returns-value]
    wave = np.sin(np.arange(2 * RATE) * 0.05)
    fake.audio = Audio(np.clip(wave, -0.6, 0.6))
    (trial,) = causes.clipping(fake).trials
    trial.ask()
    trial.placebo()
    first, last = round((1.0 - causes.BESIDE) * RATE), round((1.2 + causes.BESIDE) * RATE)
    for version, inside in zip(versions, (True, False), strict=True):
        changed = version.samples != fake.audio.samples
        assert changed[first:last].any() == inside
        assert (changed[: first - 100].any() or changed[last + 100 :].any()) != inside


def test_the_float_model_is_asked_about_a_rounded_one(bundled: Any, bundled_int8: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    fake: Any = Fake("substitution", lambda _: standing(5.0, False))
    fake.model = bundled_int8
    fake.ask = lambda audio=None, *, model=None: asked.append((audio, model)) or standing(-4.0 if model else 5.0, bool(model))
    found = judged("quantisation", fake.base, causes.quantisation(fake))
    assert found.passed
    assert found.flips
    assert asked[0][1].info.precision == "fp32"
    assert asked[1][1] is None
    monkeypatch.setattr(causes, "float_sibling", lambda _: None)
    assert not causes.quantisation(fake).trials
    assert not causes.quantisation(SimpleNamespace(model=bundled)).trials  # type: ignore[arg-type]
