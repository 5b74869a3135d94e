"""Why: one clip's findings, and the record that everything else reads."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.studies.why import Clip, Inquiry, examine, why
from voxray.types import OptionError

RIGHT = "we removed my rice with cabbage"
FIELDS = {
    "duration", "language", "textnorm", "model", "text", "rich_text", "reference", "tags", "words", "errors", "edits", "mistakes",
    "confidence", "alignment", "notes", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def noisy(bundled: Any, clips: Any) -> Any:
    return why(bundled, clips / "en_noise_burst.wav", RIGHT)


def test_noise_is_proved_to_be_the_cause(noisy: Any) -> None:
    (finding,) = noisy.findings
    assert (finding.mistake.reference, finding.mistake.recognised, finding.cause) == ("my", "bicycle", "noise")
    named = finding.causes[0]
    assert named.named
    assert named.passed
    assert not named.placebo_flips
    assert named.after < 0 < named.before
    assert finding.smallest is not None


def test_the_record_of_a_sound(noisy: Any) -> None:
    told = json.loads(json.dumps(noisy.to_dict()))
    assert set(told) == FIELDS - {"alignment"}
    assert told["errors"] == {
        "unit": "word", "normalisation": noisy.comparison.normalisation.title, "hits": 5, "substitutions": 1, "deletions": 0,
        "insertions": 0, "length": 6, "rate": pytest.approx(1 / 6, abs=1e-6), "other": None,
    }  # fmt: skip
    assert [edit["mistake"] for edit in told["edits"]] == [None, None, 0, None, None, None]
    assert [word["right"] for word in told["words"]] == [True, True, False, True, True, True]
    (mistake,) = told["mistakes"]
    assert mistake["cause"] == "noise"
    assert mistake["log_odds"] == pytest.approx(1.62, abs=0.01)
    assert (mistake["before"], mistake["after"]) == ("removed", "rice")


def test_the_evidence_holds_half_of_the_relevance(noisy: Any) -> None:
    (mistake,) = noisy.to_dict()["mistakes"]
    relevance = noisy.findings[0].relevance
    spans = mistake["evidence"]["spans"]
    assert spans == sorted(spans, key=lambda one: one["start"])
    total = np.abs(
        [relevance.between(t, t + 0.06) for t in np.arange(relevance.grid.times[0], relevance.grid.times[-1], 0.06)]
    ).sum()
    assert 0.35 * total < sum(abs(one["score"]) for one in spans) < 0.75 * total
    for one in spans:
        assert one["score"] == pytest.approx(relevance.between(one["start"], one["end"]), abs=0.3)


def test_the_confidence_of_a_word_is_that_of_its_least_certain_spoken_token(noisy: Any) -> None:
    from voxray.measures.confidence import tsallis

    trace = noisy.trace
    told = [word["tsallis"] for word in noisy.to_dict()["words"]]
    every = tsallis(trace.log_probs[[token.peak for token in trace.tokens]])
    assert told == pytest.approx([every[slice(*word.tokens)].min() for word in trace.words], abs=1e-4)


def test_korean_is_counted_by_character_and_by_word(bundled: Any, clips: Any) -> None:
    told = why(bundled, clips / "ko_angry_speech.wav", "저녁에 소나기는 정말 시원해요", causes=False, evidence=False).to_dict()
    assert (told["errors"]["unit"], told["errors"]["substitutions"], told["errors"]["length"]) == ("character", 1, 13)
    assert (told["errors"]["other"]["unit"], told["errors"]["other"]["substitutions"]) == ("word", 1)
    assert told["errors"]["other"]["length"] == 4
    assert told["mistakes"][0]["evidence"] is None
    assert told["mistakes"][0]["causes"] == []


def test_a_clip_of_a_corpus(bundled: Any, clips: Any) -> None:
    known = next(one for one in voxray.demo_clips() if one.path.name == "zh_happy_speech.wav")
    words = [(text, start, start + 0.3) for text, start in known.words]
    clip = Clip(known.path, known.text, wanted={"language": "zh", "emotion": "SAD"}, words=words)
    told = examine(bundled, clip, Inquiry(evidence=False, causes=False))
    assert set(told) == FIELDS
    assert told["errors"]["rate"] == 0.0
    assert {tag["kind"]: (tag["wanted"], tag["label"]) for tag in told["tags"]}["emotion"] == ("SAD", "HAPPY")
    assert told["alignment"]["words"] == len(known.words) == 4
    starts = [trace_word.start for trace_word in bundled.trace(known.path).words][::2]  # each word is of two Hanzi
    assert told["alignment"]["errors"] == pytest.approx([a - b for a, (_, b) in zip(starts, known.words, strict=True)], abs=1e-3)


def test_a_clip_without_a_right_text(bundled: Any, clips: Any) -> None:
    told = examine(bundled, Clip(clips / "zh_happy_speech.wav"), Inquiry())
    assert set(told) == FIELDS
    assert (told["reference"], told["errors"], told["edits"], told["mistakes"]) == (None, None, None, [])
    assert {word["right"] for word in told["words"]} == {None}


def test_an_empty_text_is_no_missing_one(bundled: Any, clips: Any) -> None:
    told = examine(bundled, Clip(clips / "zh_happy_speech.wav", ""), Inquiry(evidence=False, causes=False))
    assert told["errors"]["rate"] is None
    assert told["errors"]["insertions"] == 8


def test_the_prompt_of_a_clip_comes_before_that_of_the_inquiry(bundled: Any, clips: Any) -> None:
    clip = Clip(clips / "zh_happy_speech.wav", "明年爷爷使用雨衣", language="zh")
    assert examine(bundled, clip, Inquiry(language="en", evidence=False, causes=False))["language"] == "zh"


def test_gradients_that_cannot_be_taken_leave_a_note(bundled_int8: Any, clips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from voxray.studies import why as module
    from voxray.types import ModelError

    def refused(_diagnosis: Any) -> Any:
        raise ModelError("decides only 97 % of the rows alike")

    monkeypatch.setattr(module, "evidence", refused)
    told = why(bundled_int8, clips / "en_noise_burst.wav", RIGHT, causes=False).to_dict()
    assert told["notes"] == ["decides only 97 % of the rows alike"]
    assert [one["evidence"] for one in told["mistakes"]] == [None] * len(told["mistakes"])


def test_unknown_options_are_named(bundled: Any, clips: Any) -> None:
    with pytest.raises(OptionError, match="why has no option 'cause'; it has language"):
        why(bundled, clips / "zh_happy_speech.wav", "我", cause=True)
