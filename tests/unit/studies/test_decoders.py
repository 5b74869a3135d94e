"""Error studies of a recogniser with a decoder: a Paraformer of random weights, so only the arithmetic has a meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.models import open_model
from voxray.studies.errors import diagnose, evidence
from voxray.studies.why import Inquiry, why


@pytest.fixture(scope="module")
def model(data: Path) -> Any:
    return open_model(data / "paraformer-funasr")


@pytest.fixture(scope="module")
def clip(data: Path) -> Path:
    return data / "audio" / "odd.wav"


@pytest.fixture(scope="module")
def trace(model: Any, clip: Path) -> Any:
    return model.trace(clip)


def wrong(trace: Any, index: int, text: str) -> str:
    """Return the text with one word exchanged, so that the recogniser was wrong there."""
    words = [word.text for word in trace.words]
    assert words[index] != text
    return "".join([*words[:index], text, *words[index + 1 :]])


def test_a_mistake_is_told_at_the_token_where_the_texts_part(model: Any, trace: Any) -> None:
    reference = wrong(trace, 2, "好")
    found = diagnose(model, trace, reference)
    (mistake,) = found.mistakes
    token = trace.tokens[trace.words[2].tokens[0]]
    row = trace.evidence[0].logits()[token.peak]
    right = model.vocabulary.ids["好"]
    assert (mistake.kind, mistake.recognised, mistake.reference) == ("substitution", trace.words[2].text, "好")
    assert mistake.log_odds == pytest.approx(float(row[token.id] - row[right]), abs=1e-5)
    assert mistake.rank == int((row > row[right]).sum())
    assert token.start - 0.2 - 1e-9 <= mistake.start <= token.start
    assert token.end <= mistake.end <= token.end + 0.2 + 1e-9
    assert found.right_words == tuple(index != 2 for index in range(len(trace.words)))


def test_a_missing_word_parts_the_texts_at_the_next_one(model: Any, trace: Any) -> None:
    words = [word.text for word in trace.words]
    found = diagnose(model, trace, "".join([*words[:3], "好", *words[3:]]))
    (mistake,) = found.mistakes
    following = trace.tokens[trace.words[3].tokens[0]]
    row = trace.evidence[0].logits()[following.peak]
    assert mistake.kind == "deletion"
    assert mistake.log_odds == pytest.approx(float(row[following.id] - row[model.vocabulary.ids["好"]]), abs=1e-5)


def test_on_other_sound_the_decoder_is_given_the_same_tokens(model: Any, trace: Any) -> None:
    found = diagnose(model, trace, wrong(trace, 2, "好"))
    scene = found.scene(found.mistakes[0])
    assert scene.ask().log_odds == pytest.approx(scene.base.log_odds, abs=1e-4)
    noise = np.random.default_rng(0).normal(0, 0.02, len(trace.audio.samples))
    audio = voxray.Audio((trace.audio.samples + noise).astype(np.float32))
    standing = scene.ask(audio)
    (rows,) = model.forced(model.trace(audio).features, trace, "auto", textnorm=False)
    token = trace.tokens[trace.words[2].tokens[0]]
    wanted = rows[token.peak, token.id] - rows[token.peak, model.vocabulary.ids["好"]]
    assert standing.text == model.transcribe(audio).text
    assert standing.log_odds == pytest.approx(float(wanted), abs=1e-4)
    assert abs(standing.log_odds - scene.base.log_odds) > 1e-3


def test_the_evidence_is_that_of_occlusion(model: Any, trace: Any) -> None:
    found = diagnose(model, trace, wrong(trace, 2, "好"))
    (relevance,) = evidence(found)
    assert relevance is not None
    assert relevance.method == "occlusion"
    assert relevance.score == pytest.approx(found.mistakes[0].log_odds or 0.0, abs=1e-4)


def test_causes_are_tested_and_none_is_asked_for_what_the_model_does_not_know(model: Any, trace: Any) -> None:
    told = why(model, trace, wrong(trace, 2, "5"), Inquiry(seconds=2.0))
    causes = {one.cause: one for one in told.findings[0].causes}
    assert causes["language"].evidence == "this model decides no language"
    assert not causes["language"].suspected
    assert causes["text normalisation"].evidence == "digits on one side"
    assert not causes["text normalisation"].tested
    json.dumps(told.to_dict())


def test_a_corpus_is_evaluated(model: Any, trace: Any, clip: Path, data: Path, tmp_path: Path) -> None:
    lines = [
        {"audio": str(clip), "text": wrong(trace, 2, "好"), "language": "zh"},
        {"audio": str(data / "audio" / "short.wav"), "text": "好"},
    ]
    manifest = tmp_path / "corpus.jsonl"
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    run = voxray.evaluate(manifest, tmp_path / "run", model=data / "paraformer-funasr")
    records = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert run.problems == ()
    assert sorted(record["errors"]["substitutions"] for record in records) == [0, 1]
    assert [record["model"]["family"] for record in records] == ["paraformer"] * 2


def test_languages_cannot_be_compared_where_none_is_decided(model: Any, clip: Path) -> None:
    with pytest.raises(voxray.OptionError, match="decides no language"):
        voxray.compare_languages(model, [clip])
