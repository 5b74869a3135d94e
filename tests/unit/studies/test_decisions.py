"""Decision traces: each figure against the rows, the relevance and the lens that it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.measures.calibration import Calibration
from voxray.studies.decisions import DecisionTrace, agreement, calibration_of, decisions, top_segments
from voxray.types import Grid, ModelError, OptionError, Relevance


@pytest.fixture(scope="module")
def noisy(bundled: Any, clips: Any) -> DecisionTrace:
    return decisions(bundled, clips / "en_noise_burst.wav")


def one_of(told: DecisionTrace, name: str) -> Any:
    return next(one for one in told.decisions if one.target.name == name)


def test_every_word_and_every_tag_that_the_sound_decides(noisy: DecisionTrace) -> None:
    names = [one.target.name for one in noisy.decisions]
    assert names == ["language", "emotion", "event", *(f"word:{index}" for index in range(6))]


def test_a_word_says_what_its_rows_say(noisy: DecisionTrace) -> None:
    trace, one = noisy.trace, one_of(noisy, "word:2")
    (token,) = trace.tokens[2:3]
    row = trace.log_probs[token.peak]
    order = np.argsort(-row)
    assert one.target.label == "bicycle"
    assert one.time == pytest.approx(trace.times[token.peak - 4])
    assert one.log_prob == pytest.approx(float(row[token.id]), abs=1e-5)
    assert one.probability == pytest.approx(np.exp(one.log_prob))
    best, second = [int(other) for other in order if other != token.id][:2]
    assert one.margin == pytest.approx(float(row[token.id] - row[best]), abs=1e-4)
    spoken = best if best != trace.blank else second
    assert one.margin_spoken == pytest.approx(float(row[token.id] - row[spoken]), abs=1e-4)
    assert one.blank == pytest.approx(float(row[trace.blank] - row[1:].max()), abs=1e-4)
    assert [rival.text for rival in one.rivals] == [other.text.strip() for other in token.alternatives if other.id != token.id]


def test_sound_prompt_position_and_bias_are_those_of_the_exact_relevance(noisy: DecisionTrace, bundled: Any) -> None:
    relevance = voxray.explain(bundled, noisy.trace, "word:2")
    one = one_of(noisy, "word:2")
    assert one.parts == pytest.approx(dict(relevance.parts), abs=1e-3)
    for segment in one.segments:
        assert segment.score == pytest.approx(relevance.between(segment.start, segment.end), abs=1e-2)
    assert [segment.score for segment in one.segments] == sorted((s.score for s in one.segments), reverse=True)


def test_the_layer_is_that_of_the_lens(noisy: DecisionTrace, bundled: Any) -> None:
    (lens,) = voxray.layer_lens(bundled, noisy.trace, "word:2")
    one = one_of(noisy, "word:2")
    assert (one.layer, one.layers) == (int(lens.commits.max()), bundled.layers)


def test_a_tag_is_held_against_the_labels_of_its_kind(noisy: DecisionTrace) -> None:
    one = one_of(noisy, "event")
    tag = next(tag for tag in noisy.trace.tags if tag.kind == "event")
    assert one.probability == pytest.approx(tag.probability, abs=1e-6)
    assert (one.time, one.blank, one.calibrated) == (None, None, None)
    assert np.exp([one.log_prob, *(rival.log_prob for rival in one.rivals)]).sum() == pytest.approx(1.0, abs=1e-4)
    assert one.margin == pytest.approx(one.log_prob - one.rivals[0].log_prob)


def test_what_was_nearly_said_is_told(noisy: DecisionTrace) -> None:
    # The burst lies over "my", which the blank hides just before the word that is written in its stead.
    assert [missed.text for missed in noisy.missed] == ["my"]
    assert -3 < noisy.missed[0].log_prob < 0
    assert noisy.missed[0].start < 1.1572


def test_a_shaky_decision_is_told_from_a_firm_one(noisy: DecisionTrace) -> None:
    assert one_of(noisy, "event").stable is False  # a burst of noise taken for a cough
    assert one_of(noisy, "event").held < noisy.decisions[0].versions == 3
    assert one_of(noisy, "word:5").stable is True
    assert one_of(noisy, "word:2").tsallis < one_of(noisy, "word:5").tsallis


def test_everything_is_json(noisy: DecisionTrace) -> None:
    told = json.loads(json.dumps(noisy.to_dict()))
    assert told["decisions"][5]["target"]["name"] == "word:2"
    assert told["decisions"][5]["stable"] is True or told["decisions"][5]["stable"] is False
    assert told["second_method"] == "occlusion"


def test_cheap_traces_leave_out_what_costs_passes(bundled: Any, clips: Any) -> None:
    told = decisions(bundled, clips / "zh_happy_speech.wav", ["word:1", "token:0"], second_method=None, versions=0)
    assert [one.target.name for one in told.decisions] == ["word:1", "token:0"]
    assert {(one.agreement, one.explained, one.stable, one.versions) for one in told.decisions} == {(None, None, None, 0)}


def test_a_told_language_is_no_decision(bundled: Any, clips: Any) -> None:
    told = decisions(bundled, clips / "zh_happy_speech.wav", language="zh", second_method=None, versions=0)
    assert "language" not in [one.target.name for one in told.decisions]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"versions": -1}, "must be 0 or more, got -1"),
        ({"target": []}, "holds nothing that was decided"),
        ({"target": ["word:99"]}, "word 99 is not there"),
        ({"second_method": "oclusion"}, "oclusion"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], message: str, bundled: Any, clips: Any) -> None:
    with pytest.raises(OptionError, match=message):
        decisions(bundled, clips / "zh_happy_speech.wav", **options)


def with_frames(relevance: Relevance, values: list[float]) -> Relevance:
    edges = np.arange(len(values) + 1) * 0.06
    return replace(relevance, scores=np.array([values], np.float32), grid=Grid(edges, np.array([0.0, 80.0])))


def test_agreement_of_made_maps(noisy: DecisionTrace, bundled: Any) -> None:
    relevance = voxray.explain(bundled, noisy.trace, "word:2")
    edges = np.arange(9) * 0.06
    one = with_frames(relevance, [0, 0, 5, 0, 0, 0, 1, 0])
    assert agreement(one, one, edges) == pytest.approx(1.0)
    assert agreement(one, with_frames(relevance, [0, 0, -5, 0, 0, 0, -1, 0]), edges) == pytest.approx(-1.0)
    assert agreement(one, with_frames(relevance, [2.0] * 8), edges) == pytest.approx(0.0)
    assert agreement(one, with_frames(relevance, [0, 0, 0, 5, 0, 0, 1, 0]), edges) == pytest.approx(1 / 3)  # a frame beside


def test_segments_of_a_made_map(noisy: DecisionTrace, bundled: Any) -> None:
    made = with_frames(voxray.explain(bundled, noisy.trace, "word:2"), [0, 4, 6, 0, -9, 1, 0, 5])
    found = top_segments(made, np.arange(9) * 0.06, 2)
    assert [(round(s.start, 2), round(s.end, 2), round(s.score, 3)) for s in found] == [(0.06, 0.18, 10.0), (0.42, 0.48, 5.0)]
    assert top_segments(with_frames(voxray.explain(bundled, noisy.trace, "word:2"), [-1.0] * 8), np.arange(9) * 0.06) == ()


def test_calibration_beside_the_model(bundled: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = calibration_of(bundled)
    assert found is not None
    assert found.words > 10_000
    assert found.apply(0.0) < 0.3
    assert found.apply(0.9) > 0.95

    class Elsewhere:
        class graph:  # noqa: N801
            path = tmp_path / "model.onnx"

    assert calibration_of(Elsewhere) is None  # type: ignore[arg-type]
    (tmp_path / "calibration.json").write_text('{"knots": 3}')
    with pytest.raises(ModelError, match="is no calibration"):
        calibration_of(Elsewhere)  # type: ignore[arg-type]
    (tmp_path / "calibration.json").write_text('{"knots": [[0, 0], [1, 1]], "words": 5}')
    assert calibration_of(Elsewhere) == Calibration(((0.0, 0.0), (1.0, 1.0)), 5)  # type: ignore[arg-type]
