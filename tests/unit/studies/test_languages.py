"""Languages side by side: every statistic against a slow twin, attention made by hand, and the bundled clips."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import voxray
from plain_heads import heads_with, slow
from voxray import ctc
from voxray.edits import compare
from voxray.measures.confidence import tsallis
from voxray.measures.heads import MEASURES, ROLES, heads_of, sums_of
from voxray.measures.statistics import bootstrap_mean, bootstrap_ratio, holm
from voxray.studies import languages as rooms
from voxray.studies.languages import (
    FIGURES,
    Forced,
    Heard,
    LanguageStudy,
    Spoken,
    compare_languages,
    measured,
)
from voxray.types import Audio, AudioError, ModelInfo, OptionError

HOP, PROMPTS = 0.06, 4
INFO = ModelInfo("sensevoice", "funasr", "model", "fp32")


# --- Real traces -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(clips: Any) -> Any:
    return clips / "zh_happy_speech.wav"


def test_a_trace_is_measured_as_its_own_attention_says(bundled: Any, clip: Any) -> None:
    trace = bundled.trace(clip)
    heads, weights = measured(trace)
    attention = trace.self_attention().values
    for layer, head in ((0, 0), (3, 1), (13, 3)):
        for name, value in slow([attention], layer, head).items():
            assert getattr(heads, name)[layer, head] == pytest.approx(value, abs=3e-5), (name, layer, head)
    np.testing.assert_allclose(weights, voxray.attention_map(trace).values, atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_layers_are_taken_a_few_at_a_time_and_give_the_same(bundled: Any, clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = bundled.trace(clip)
    whole, weights = measured(trace)
    asked: list[int] = []

    class Watched:
        def __init__(self, evidence: Any) -> None:
            self.evidence = evidence
            self.logits = evidence.logits

        def attention(self, layers: Sequence[int]) -> np.ndarray:
            asked.append(len(layers))
            return self.evidence.attention(layers)

    rows = trace.pieces[0].rows[1]
    monkeypatch.setattr(rooms, "AT_ONCE", 3 * 4 * trace.heads * rows * rows + 100)
    parts, again = measured(replace(trace, evidence=(Watched(trace.evidence[0]),)))
    assert asked == [3, 3, 3, 3, 2]
    np.testing.assert_allclose(again, weights, atol=1e-7)
    for name in MEASURES:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@pytest.fixture(scope="module")
def long_sound(clips: Any) -> Audio:
    """More than 30 s, so that it goes through the model in pieces."""
    parts = [voxray.load_audio(clips / name).samples for name in ("zh_happy_speech.wav", "zh_sad_applause.wav")]
    pause = np.zeros(12_000, np.float32)
    return Audio(np.concatenate([part for _ in range(5) for part in (parts[0], pause, parts[1], pause)]), 16_000, "long")


def test_a_long_sound_is_measured_over_all_its_pieces(bundled: Any, long_sound: Audio) -> None:
    trace = bundled.trace(long_sound)
    assert len(trace.pieces) > 1
    heads, weights = measured(trace)
    pieces = [trace.piece(index).self_attention(layers=[5]).values for index in range(len(trace.pieces))]
    expected = heads_of([sums_of(piece, PROMPTS) for piece in pieces], HOP)
    for name in MEASURES:
        np.testing.assert_allclose(getattr(heads, name)[5], getattr(expected, name)[0], atol=1e-6)
    first = voxray.attention_map(trace.piece(0))
    np.testing.assert_allclose(weights, first.values, atol=1e-6)
    study = compare_languages(bundled, [Spoken(long_sound, "zh")], force=["en"])
    (heard,) = study.clips
    assert heard.map is not None
    assert heard.map.labels == tuple(first["label"].values)
    assert heard.text == trace.text
    assert heard.tsallis == pytest.approx(np.mean([slow_tsallis(trace, index) for index in range(len(trace.tokens))]), abs=1e-5)
    before, after = (slow_belief(trace, one) for one in (trace, bundled.trace(long_sound, "en")))
    assert heard.forced[0].support == pytest.approx((after - before) / len(trace.tokens), abs=1e-4)


def slow_tsallis(trace: Any, index: int) -> float:
    return float(tsallis(trace.log_probs[[trace.tokens[index].peak]])[0])


def slow_belief(text: Any, trace: Any) -> float:
    total = 0.0
    for index, piece in enumerate(text.pieces):
        rows = trace.piece(index).log_probs[piece.prompts :]
        total += ctc.log_likelihood(rows, [token.id for token in text.tokens[slice(*piece.tokens)]], trace.blank)
    return total


# --- The bundled clips -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken() -> list[Spoken]:
    return [Spoken(one.path, one.language, one.text) for one in voxray.demo_clips()]


@pytest.fixture(scope="module")
def study(bundled: Any, spoken: list[Spoken]) -> LanguageStudy:
    return compare_languages(bundled, spoken, maps=2)


def test_the_bundled_clips_are_heard_in_their_languages(study: LanguageStudy) -> None:
    known = voxray.demo_clips()
    assert set(study.languages) == {"zh", "yue", "en", "ja", "ko"}
    assert [one.text.replace(" ", "") for one in study.clips] == [one.heard.replace(" ", "") for one in known]
    for heard, clip in zip(study.clips, known, strict=True):
        assert heard.language == heard.tag == clip.language
        assert heard.told
        assert heard.runner_up[0] != heard.tag
        assert heard.tag_probability is not None
        assert heard.tag_probability > 0.9 > heard.runner_up[1]
        assert heard.error_rate == compare(clip.text, clip.heard, clip.language).rate
        assert heard.confidence is not None
        assert heard.least_confidence is not None
        assert 0.5 < heard.least_confidence <= heard.confidence <= 1
        assert heard.heads.entropy.shape == (14, 4)
        assert 1 < heard.token_rate < 12
    assert all(one.verdict.startswith(("0 errors in", "1 error in")) for one in study.clips)
    wrong = {one.name for one in study.clips if one.error_rate}
    assert wrong == {"en_noise_burst.wav"}


def test_figures_of_a_clip_are_those_of_its_trace(bundled: Any, study: LanguageStudy, clip: Any) -> None:
    trace = bundled.trace(clip)
    heard = next(one for one in study.clips if one.name == clip.name)
    assert heard.confidence == pytest.approx(np.mean([word.confidence for word in trace.words]))
    assert heard.least_confidence == pytest.approx(min(word.confidence for word in trace.words))
    assert heard.tsallis == pytest.approx(np.mean([slow_tsallis(trace, index) for index in range(len(trace.tokens))]), abs=1e-5)
    assert heard.token_rate == pytest.approx(len(trace.tokens) / trace.audio.duration)
    tag = trace.tags[0]
    assert (heard.tag, heard.tag_probability) == (tag.label, pytest.approx(tag.probability))
    assert heard.runner_up == pytest.approx(list(tag.probabilities.items())[1])
    for forced in heard.forced:
        again = bundled.trace(clip, forced.language)
        change = compare(trace.text, again.text, "zh")
        assert (forced.text, forced.changed) == (again.text, change.rate)
        assert forced.support == pytest.approx(
            (slow_belief(trace, again) - slow_belief(trace, trace)) / len(trace.tokens), abs=1e-4
        )
        p = again.tags[0].probabilities["zh"]
        rest = sum(value for name, value in again.tags[0].probabilities.items() if name != "zh")
        assert forced.log_odds == pytest.approx(math.log(p) - math.log(rest), abs=1e-3)
        assert forced.follows == (again.tags[0].label == forced.language)


def test_forcing_the_right_language_hardly_changes_anything(study: LanguageStudy) -> None:
    changed, follows = study.matrix("changed"), study.matrix("follows")
    assert study.forced == ("zh", "en", "yue", "ja", "ko", "nospeech")
    assert changed.shape == follows.shape == (5, 6)
    right = [(row, study.forced.index(name)) for row, name in enumerate(study.languages)]
    for cell in right:
        assert changed[cell] <= 0.1
        assert follows[cell] == 1
        assert study.matrix("support")[cell] > -0.5
        assert study.matrix("log_odds")[cell] > 2
    others = [cell for cell in np.ndindex(5, 6) if cell not in right]
    assert np.mean([follows[cell] for cell in others]) < 0.5  # the sound outweighs the prompt
    assert sum(changed[cell] for cell in others) > sum(changed[cell] for cell in right)


def test_the_matrix_pools_clips(study: LanguageStudy) -> None:
    english = study.of("en")
    assert len(english) == 3
    place, row = study.forced.index("ko"), study.languages.index("en")
    edits = [clip.forced[place].changes for clip in english]
    assert study.matrix("changed")[row, place] == pytest.approx(sum(a for a, _ in edits) / sum(b for _, b in edits))
    errors = [clip.forced[place].errors for clip in english]
    assert study.matrix("error_rate")[row, place] == pytest.approx(sum(a for a, _ in errors) / sum(b for _, b in errors))
    support = [clip.forced[place].support for clip in english]
    assert study.matrix("support")[row, place] == pytest.approx(np.mean(support))


def test_one_clip_has_a_value_and_no_interval(study: LanguageStudy) -> None:
    by_name = {one.language: one for one in study.summaries}
    for language, one in by_name.items():
        assert set(one.figures) == {*FIGURES, *MEASURES}
        for name, interval in one.figures.items():
            assert interval is not None, name
            assert (interval.low is None) == (interval.high is None) == (one.clips == 1), (language, name)
            assert interval.n == one.clips
    english = study.of("en")
    values = [clip.heads.mean("near") for clip in english]
    assert by_name["en"].figures["near"] == bootstrap_mean(values, seed=0)
    errors = [(clip.comparison.errors, clip.comparison.length) for clip in english if clip.comparison]
    assert by_name["en"].figures["error_rate"] == bootstrap_ratio([a for a, _ in errors], [b for _, b in errors], seed=0)
    assert (by_name["en"].unit, by_name["ja"].unit) == ("word", "character")


def test_profiles_are_means_over_heads_and_clips(study: LanguageStudy) -> None:
    clips = study.of("zh")
    found = study.profile("prompt_mass", "zh")
    expected = np.mean([clip.heads.prompt_mass.mean(axis=1) for clip in clips], axis=0)
    assert [one.value for one in found if one] == pytest.approx(expected.tolist())
    values, low, high = study.band("prompt_mass", "zh")
    np.testing.assert_allclose(values, expected)
    assert (low <= values).all()
    assert (values <= high).all()
    assert np.isnan(study.band("prompt_mass", "ja")[1]).all()
    with pytest.raises(OptionError, match="'fr' is not known here; choose one of"):
        study.profile("near", "fr")


def test_notes_say_what_so_few_clips_cannot_tell(study: LanguageStudy) -> None:
    notes = " ".join(study.notes)
    assert "One clip alone has no interval: ja, ko, yue." in notes
    assert "Intervals from fewer than 5 clips are too short: en, zh." in notes
    assert "of 14 tests the smallest p-value that could come out is 0.1, before correction" in notes
    assert "Error rates in characters and in words do not compare." in notes
    assert not any(one.is_sure for one in study.contrasts)


def test_maps_are_kept_of_the_first_clips_of_each_language(study: LanguageStudy) -> None:
    kept = {language: [one.map is not None for one in study.of(language)] for language in study.languages}
    assert kept == {"en": [True, True, False], "ja": [True], "ko": [True], "yue": [True], "zh": [True, True]}
    for one in study.clips:
        if one.map is not None:
            assert one.map.weights.shape == (len(one.map.labels), len(one.map.times))
            assert "".join(one.map.labels).strip() == one.text


def test_the_long_table_has_every_head(study: LanguageStudy) -> None:
    rows = list(study.rows())
    assert len(rows) == 8 * 14 * 4 * (len(MEASURES) + 4)
    keys = ("clip", "layer", "head", "measure")
    table = {tuple(row[name] for name in keys): row for row in rows}
    assert len(table) == len(rows)
    heads = study.clips[6].heads
    row = table[6, 9, 2, "near"]
    assert row["value"] == float(heads.near[9, 2])
    assert (row["name"], row["language"], row["role"]) == (study.clips[6].name, "zh", heads.roles[9][2])
    prompts = [table[6, 9, 2, f"prompt_mass_{index}"]["value"] for index in range(4)]
    assert sum(prompts) == pytest.approx(table[6, 9, 2, "prompt_mass"]["value"])


def test_everything_is_json_and_the_same_twice(bundled: Any, study: LanguageStudy, spoken: list[Spoken]) -> None:
    def told(one: LanguageStudy) -> dict[str, Any]:
        result = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        for clip in result["clips"]:
            assert clip.pop("seconds") > 0
        return result

    first = told(study)
    assert first == told(compare_languages(bundled, spoken, maps=0))
    assert first["forced"]["rows"] == list(study.languages)
    assert len(first["profiles"]["en"]["near"]["value"]) == 14
    assert first["profiles"]["ja"]["near"]["low"] == [None] * 14
    assert first["clips"][0]["errors"] == {"unit": "word", "errors": 0, "length": 6, "rate": 0.0}


# --- What is asked for -------------------------------------------------------------------------------------------------


def test_clips_may_be_unknown_and_languages_unforced(bundled: Any, clip: Any) -> None:
    study = compare_languages(bundled, [Spoken(clip)], force=False)
    (heard,) = study.clips
    assert (heard.language, heard.told, heard.comparison, heard.error_rate, heard.forced) == ("zh", False, None, None, ())
    assert study.summaries[0].figures["error_rate"] is None
    assert study.summaries[0].unit == ""
    assert study.matrix().shape == (1, 0)
    assert "The language of 1 of 1 clips is what the model itself heard." in study.notes
    assert study.contrasts == ()
    assert heard.verdict == f"confidence {heard.confidence:.2f}"


def test_a_language_that_the_model_lacks_has_no_tag(bundled: Any, clip: Any) -> None:
    (heard,) = compare_languages(bundled, [Spoken(clip, "nan")], force=["zh"]).clips
    assert (heard.language, heard.tag, heard.tag_probability) == ("nan", "zh", None)
    assert heard.forced[0].log_odds is None


def test_an_empty_reference_counts_every_character_as_put_in(bundled: Any, clip: Any) -> None:
    study = compare_languages(bundled, [Spoken(clip, "zh", "")], force=["zh"])
    assert study.clips[0].comparison is not None
    assert study.clips[0].comparison.insertions == len(study.clips[0].text)
    assert study.clips[0].error_rate is None
    assert study.summaries[0].figures["error_rate"] is None
    assert np.isnan(study.matrix("error_rate")[0, 0])


def test_sounds_are_opened_when_it_is_their_turn_and_bad_ones_are_told(bundled: Any, clip: Any) -> None:
    opened: list[str] = []

    def later(name: str) -> Any:
        opened.append(name)
        return voxray.load_audio(clip)

    bad = Spoken("no-such-file.wav", "zh")
    told: list[tuple[int, str]] = []
    steps: list[tuple[int, int]] = []
    clips = [Spoken(lambda: later("first"), "zh"), bad, Spoken(lambda: later("last"), "zh")]
    study = compare_languages(
        bundled,
        clips,
        force=["en", "en"],
        progress=lambda done, total: steps.append((done, total)),
        refused=lambda index, error: told.append((index, str(error))),
    )
    assert opened == ["first", "last"]
    assert len(study.clips) == 2
    assert [(index, "no-such-file.wav" in text) for index, text in told] == [(1, True)]
    assert steps == [(1, 6), (2, 6), (4, 6), (5, 6), (6, 6)]
    with pytest.raises(AudioError, match="no-such-file"):
        compare_languages(bundled, clips)
    with pytest.raises(OptionError, match="none of the clips could be used"):
        compare_languages(bundled, [bad], refused=lambda index, error: None)


def test_wrong_choices_are_refused(bundled: Any, clip: Any) -> None:
    with pytest.raises(OptionError, match="there are no clips to compare; give at least one, better five"):
        compare_languages(bundled, [])
    with pytest.raises(OptionError, match="cannot be told the language 'fr'; choose from zh, en, yue, ja, ko, nospeech"):
        compare_languages(bundled, [Spoken(clip)], force=["zh", "fr"])
    with pytest.raises(OptionError, match=r"given as a list, got 'zh'; give a list such as \[\"zh\"\]"):
        compare_languages(bundled, [Spoken(clip)], force="zh")


def test_silence_has_attention_but_no_words(bundled: Any) -> None:
    quiet = Audio(1e-4 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32), 16_000, "quiet")
    study = compare_languages(bundled, [Spoken(quiet, "zh", "")], force=["en"])
    (heard,) = study.clips
    assert heard.text == ""
    assert (heard.confidence, heard.least_confidence, heard.tsallis, heard.token_rate) == (None, None, None, 0.0)
    assert heard.forced[0].support is None
    assert heard.map is not None
    assert heard.map.weights.shape == (0, len(heard.map.times))
    assert study.summaries[0].figures["confidence"] is None
    assert heard.verdict == ""
    json.dumps(study.to_dict(), allow_nan=False)


# --- Differences -------------------------------------------------------------------------------------------------------


def heard(
    language: str, near: float, *, reference: str = "a b", text: str = "a b", role: str = "mixed", seconds: float = 2.0
) -> Heard:
    values = {"local": {"near": 1.0}, "prompt": {"near": near, "prompt_mass": 1.0}, "mixed": {"near": near}}[role]
    return Heard(
        name=language,
        duration=seconds,
        language=language,
        told=True,
        text=text,
        reference=reference,
        comparison=compare(reference, text, language),
        confidence=0.9,
        least_confidence=0.8,
        tsallis=0.7,
        tag=language,
        runner_up=("ko", 0.0),
        tag_probability=1.0,
        token_rate=3.0,
        heads=heads_with(**values),
        forced=(Forced("en", text, (0, 2), None, -near, "en", None),),
        map=None,
        seconds=0.1,
    )


def characters(language: str, values: Sequence[float]) -> list[Heard]:
    return [heard(language, float(value), reference="好", text="好") for value in values]


def study_of(*clips: Heard) -> LanguageStudy:
    return LanguageStudy(INFO, clips, ("en",), 3)


def slow_permutation(first: Sequence[float], second: Sequence[float]) -> float:
    every = [*first, *second]
    seen = abs(np.mean(first) - np.mean(second))
    far = [
        abs(np.mean([every[i] for i in chosen]) - np.mean([one for i, one in enumerate(every) if i not in chosen])) >= seen - 1e-9
        for chosen in itertools.combinations(range(len(every)), len(first))
    ]
    return sum(far) / len(far)


def contrast(study: LanguageStudy, figure: str) -> Any:
    return next(one for one in study.contrasts if one.figure == figure)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 5), (6, 4)])
def test_the_permutation_test_tries_every_split(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(sizes))
    first, second = rng.random(sizes[0]) * 0.5, rng.random(sizes[1]) * 0.5 + 0.2
    study = study_of(*(heard("en", value) for value in first), *characters("zh", second))
    found = contrast(study, "near")
    assert found.p_value == pytest.approx(slow_permutation(first, second))
    assert found.values == pytest.approx((first.mean(), second.mean()))
    assert found.least == pytest.approx((2 if sizes[0] == sizes[1] else 1) / math.comb(sum(sizes), sizes[0]))
    assert found.p_value >= found.least
    assert contrast(study, "confidence").p_value == 1.0  # all alike


def test_many_clips_are_dealt_at_random_and_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(12) * 0.1 + 0.2, rng.random(14) * 0.1 + 0.4
    study = study_of(*characters("ja", first), *characters("zh", second))
    found = contrast(study, "near")
    assert found.p_value == found.least == pytest.approx(1e-4)
    assert found.corrected == pytest.approx(1e-4 * len([one for one in study.contrasts if one.p_value is not None]))
    assert found.is_sure
    assert [one.figure for one in study.contrasts if one.is_sure] == ["near"]
    tested = [one for one in study.contrasts if one.p_value is not None]
    np.testing.assert_allclose([one.corrected for one in tested], holm([one.p_value for one in tested]))
    blind = study_of(*characters("ja", [*first[:6], *second[:7]]), *characters("zh", [*first[6:], *second[7:]]))
    assert contrast(blind, "near").p_value > 0.1
    assert contrast(blind, "near") == contrast(study_of(*blind.clips), "near")


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(60):
        values = rng.random(10)
        one = study_of(*characters("ja", values[:5]), *characters("zh", values[5:]))
        p_value = contrast(one, "near").p_value
        alarms += p_value <= 0.05
    assert alarms <= 8  # 3 are expected; more than 8 come by chance once in 300 times


def test_error_rates_are_pooled_and_words_are_not_tested_against_characters() -> None:
    english = [heard("en", 0.3, reference="a b", text="a c"), heard("en", 0.4, reference="a b c d", text="a b c d")]
    chinese = [heard("zh", 0.3, reference="好的", text="好的"), heard("zh", 0.4, reference="好的", text="好吗")]
    study = study_of(*english, *chinese)
    found = contrast(study, "error_rate")
    assert found.values == pytest.approx((1 / 6, 1 / 4))
    assert (found.p_value, found.problem) == (None, "characters against words")
    assert study.summaries[0].figures["error_rate"].value == pytest.approx(1 / 6)
    cantonese = [replace(one, language="yue") for one in chinese]
    assert contrast(study_of(*chinese, *cantonese), "error_rate").p_value == 1.0


def test_a_language_with_one_clip_is_not_tested() -> None:
    study = study_of(heard("en", 0.3), heard("en", 0.4), heard("ja", 0.9, reference="好", text="好"))
    assert {(one.p_value, one.problem) for one in study.contrasts if one.figure != "error_rate"} == {(None, "one clip of ja")}
    assert study.notes[2] == "No difference between languages was tested: that takes two clips or more of each."


def test_clips_of_unlike_length_are_told() -> None:
    study = study_of(heard("en", 0.3), heard("zh", 0.3, seconds=3.5))
    assert "Clips of zh are 1.8 times as long as those of en: entropy, distance and nearness depend on that." in study.notes
    assert not any("as long as" in note for note in study_of(heard("en", 0.3), heard("zh", 0.3, seconds=2.9)).notes)


def test_roles_are_counted_over_clips() -> None:
    clips = [heard("en", 0.3, role=role) for role in ("local", "local", "local", "local", "prompt")]
    study = study_of(*clips, heard("zh", 0.3))
    roles = study.roles("en")
    assert [(one.layer, one.head, one.role, one.share, one.clips, one.stable) for one in roles] == [
        (0, 0, "local", 0.8, 5, True),
        (0, 1, "local", 0.8, 5, True),
    ]
    assert study.roles()[0].stable is False  # 4 of 6
    assert study.roles("zh")[0].stable is None  # one clip cannot tell
    tie = study_of(heard("en", 0.3, role="mixed"), heard("en", 0.3, role="prompt"))
    assert tie.roles()[0].role == ROLES[0] == "prompt"


def test_support_and_follows_come_from_the_clips() -> None:
    study = study_of(heard("en", 0.2), heard("en", 0.4), heard("zh", 0.5, reference="好", text="好"))
    np.testing.assert_allclose(study.matrix("support"), [[-0.3], [-0.5]])
    np.testing.assert_allclose(study.matrix("follows"), [[1.0], [1.0]])
    assert np.isnan(study.matrix("log_odds")).all()
    assert np.isnan(study.matrix("error_rate")).all()
    with pytest.raises(OptionError, match="'size' is not known here; choose one of changed, error_rate"):
        study.matrix("size")
