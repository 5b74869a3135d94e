"""What is asked of a clip, and the rows of the table, on the bundled model and clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.case import Case
from voxray.manifest import WordTime
from voxray.studies.bench.questions import Heard, Sample, drawn, questions
from voxray.studies.bench.rows import BASELINES, rows_of, truth
from voxray.types import OptionError

CLIP = "en_neutral_speech.wav"
Ask = Callable[..., Heard]


@pytest.fixture(scope="module")
def ask(bundled: Any, clips: Path) -> Ask:
    """Make a recognised clip of the bundled ones, with other aims or another text."""
    truths = json.loads((clips / "truth.json").read_text(encoding="utf-8"))
    traces = {name: bundled.trace(clips / name) for name in (CLIP, "en_happy_bgm.wav", "en_noise_burst.wav")}

    def heard(name: str = CLIP, clean: str | None = None, **groups: Any) -> Heard:
        words = tuple(WordTime(one["word"], one["start"], one["end"]) for one in truths[name]["words"])
        sample = Sample(name, clips / name, name, truths[name]["text"], words=words, groups=groups)
        return Heard(sample, traces[name], traces[clean] if clean else None)

    return heard


def test_every_word_that_was_heard_is_asked_about_and_the_emotion(bundled: Any, ask: Ask) -> None:
    found = questions(bundled, ask())
    assert [one.aim.target.label for one in found] == ["the", "horse", "stumbled", "near", "every", "bathroom", "NEUTRAL"]
    assert [one.kind for one in found] == ["word"] * 6 + ["emotion"]
    assert found[1].span == (0.6290625, 0.987875)
    assert found[-1].span is None
    trace = ask().trace
    assert all(one.aim.margin(trace.evidence[0].logits()) > 0 for one in found)


def test_a_word_that_came_out_wrong_is_not_asked_about(bundled: Any, ask: Ask) -> None:
    clip = ask("en_noise_burst.wav")
    right = [one.text for one in clip.item.words or () if one.text in clip.trace.text.split()]
    assert [one.aim.target.label for one in questions(bundled, clip) if one.kind == "word"] == right
    assert len(right) < len(clip.item.words or ())


def test_of_two_texts_the_evidence_is_for_the_one_that_was_heard(bundled: Any, ask: Ask) -> None:
    other = "the kitchen stumbled near every bathroom"
    clip = ask(aims=[{"kind": "contrast", "word": 1, "against": other, "span": [0.629, 0.988]}])
    [found] = questions(bundled, clip)
    assert (found.kind, found.aim.target.against) == ("contrast", "kitchen")
    assert found.aim.score(clip.trace.evidence[0].logits()) > 0
    words = clip.trace.words[1]
    peaks = [token.peak for token in clip.trace.tokens[slice(*words.tokens)]]
    assert found.aim.rows.min() >= min(peaks) - 3  # both texts are alike elsewhere
    assert found.aim.rows.max() <= max(peaks) + 3


@pytest.mark.parametrize(
    "against",
    ["the horse stumbled near every bathroom", "a horse stumbled by every bathroom", "the hxqz stumbled near every bathroom", ""],
)
def test_texts_that_differ_elsewhere_or_not_at_all_are_not_asked_about(bundled: Any, ask: Ask, against: str) -> None:
    assert questions(bundled, ask(aims=[{"kind": "contrast", "word": 1, "against": against, "span": [0.6, 0.9]}])) == []


def test_only_a_plant_that_changed_the_word_counts(bundled: Any, ask: Ask) -> None:
    aim = {"kind": "planted", "word": 3, "span": [1.0, 1.2]}
    assert questions(bundled, ask(clean=CLIP, aims=[aim])) == []
    assert questions(bundled, ask(aims=[aim])) == []


def test_an_event_that_the_clean_sound_has_too_was_not_planted(bundled: Any, ask: Ask) -> None:
    aim = {"kind": "event", "label": "BGM", "span": [0.0, 2.5]}
    [found] = questions(bundled, ask("en_happy_bgm.wav", clean=CLIP, aims=[aim]))
    assert (found.aim.target.label, found.aim.target.against) == ("BGM", "Speech")
    assert questions(bundled, ask("en_happy_bgm.wav", clean="en_happy_bgm.wav", aims=[aim])) == []


def test_a_language_is_asked_about_where_it_was_heard(bundled: Any, ask: Ask) -> None:
    aim = {"kind": "language", "label": "en", "against": "zh", "span": [0.5, 2.0]}
    [found] = questions(bundled, ask(aims=[aim]))
    assert (found.aim.target.label, found.aim.target.against) == ("en", "zh")
    assert questions(bundled, ask(aims=[aim | {"label": "ja"}])) == []


@pytest.mark.parametrize(
    ("aims", "told"),
    [
        ([{"kind": "cause", "span": [0, 1]}], "kind 'cause'"),
        ([{"kind": "word", "word": 9, "span": [0, 1]}], "word 9, but the clip has 6 words"),
        ([{"kind": "event", "label": "BGM", "span": [1, 1]}], "span of an aim"),
        ([{"kind": "event", "label": "BGM"}], "span of an aim"),
        ("word", "aims must be a list"),
    ],
)
def test_a_wrong_aim_is_refused_in_a_line(bundled: Any, ask: Ask, aims: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        questions(bundled, ask(aims=aims))


def test_words_are_drawn_and_all_else_is_kept(bundled: Any, ask: Ask) -> None:
    found = questions(bundled, ask())
    chosen = drawn(found, 2, seed=4)
    assert len(chosen) == 3
    assert chosen[-1] == 6
    assert chosen == drawn(found, 2, seed=4)
    assert len({tuple(drawn(found, 2, seed=seed)) for seed in range(12)}) > 3


def test_rows_begin_with_the_baselines_and_end_with_the_truth(bundled: Any) -> None:
    names = [row.name for row in rows_of([], bundled)]
    assert names[:4] == list(BASELINES)
    assert names[-1] == "oracle"
    assert {"exact", "occlusion", "attention", f"attention:layer={bundled.layers - 1}", "shapley"} <= set(names)
    assert len(names) == len(set(names))
    few = rows_of(["occlusion:width=0.24,fill=mean"], bundled)
    assert few[4].options == {"width": 0.24, "fill": "mean"}
    assert few[4].title == "Occlusion (width 0.24, fill mean)"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("oclusion", "did you mean occlusion"),
        ("occlusion:widht=0.2", "options of occlusion: width"),
        ("occlusion:width=wide", "where a number was expected"),
        ("occlusion:fill=foam", "choose one of"),
    ],
)
def test_a_row_that_is_not_there_is_refused(bundled: Any, name: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        rows_of([name], bundled)


def test_only_what_fits_a_decoder_is_a_row_of_it(data: Path) -> None:
    import voxray

    model = voxray.load_model(data / "paraformer-funasr" / "model.onnx")
    names = {row.method for row in rows_of([], model)}
    assert {"occlusion", "attention"} <= names
    assert not {"exact", "norm_rollout", "gradient"} & names


def test_the_truth_has_all_its_mass_where_the_cause_is(bundled: Any, ask: Ask) -> None:
    clip = ask()
    asked = questions(bundled, clip)
    case = Case(bundled, clip.trace, [one.aim for one in asked])
    for question, found in zip(asked, truth(case, [one.span for one in asked]), strict=True):
        scores, times = found.scores[0], found.grid.times
        if question.span is None:
            assert not scores.any()
            continue
        inside = (times[:-1] >= question.span[0] - 1e-9) & (times[1:] <= question.span[1] + 1e-9)
        assert (scores > 0).tolist() == inside.tolist()
        assert abs(found.grid.centres[int(np.argmax(scores))] - sum(question.span) / 2) < 0.011
