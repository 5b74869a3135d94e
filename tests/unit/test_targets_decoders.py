"""Targets of models with a decoder: margins and scores by hand at each token's own row, rivals where two wordings part."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.case import Case
from voxray.targets import Aim, TokenAim, contrast, names, resolve, scores
from voxray.types import OptionError, Target

MODELS = {"paraformer": "paraformer-funasr/model.onnx", "whisper": "whisper-tiny-optimum/encoder_model.onnx"}


@pytest.fixture(scope="module")
def opened(data: Path) -> dict[str, tuple[Any, Any]]:
    models = {name: voxray.load_model(data / path) for name, path in MODELS.items()}
    return {name: (model, model.trace(data / "audio" / "odd.wav")) for name, model in models.items()}


@pytest.fixture(params=MODELS)
def heard(request: pytest.FixtureRequest, opened: dict[str, tuple[Any, Any]]) -> tuple[Any, Any]:
    return opened[request.param]


def aim(heard: tuple[Any, Any], name: str, against: str | None = None) -> Aim:
    model, trace = heard
    return resolve(trace, model.vocabulary, model.labels, name, against)


def log_probs(trace: Any) -> np.ndarray:
    rows = trace.evidence[0].logits().astype(np.float64)
    return (
        rows - np.log(np.exp(rows - rows.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) - rows.max(axis=1, keepdims=True)
    )


def test_tokens_words_and_text_are_sums_over_their_own_rows(heard: tuple[Any, Any]) -> None:
    _, trace = heard
    logits, posteriors = trace.evidence[0].logits(), log_probs(trace)
    spans = [(f"token:{at}", (at, at + 1)) for at in range(len(trace.tokens))]
    spans += [(f"word:{at}", word.tokens) for at, word in enumerate(trace.words)] + [("text", (0, len(trace.tokens)))]
    for name, (first, stop) in spans:
        found, tokens = aim(heard, name), trace.tokens[first:stop]
        rows = [logits[token.peak].astype(np.float64) for token in tokens]
        margins = [row[token.id] - np.delete(row, token.id).max() for row, token in zip(rows, tokens, strict=True)]
        own = [posteriors[token.peak, token.id] for token in tokens]
        assert found.score(logits, "margin") == pytest.approx(sum(margins), abs=1e-4)
        assert found.score(logits, "forced") == pytest.approx(sum(own), abs=1e-4)
        odds = sum(one - math.log(-math.expm1(one)) for one in own)
        assert found.score(logits, "log_odds") == pytest.approx(odds, abs=1e-3)
        assert found.score(logits, "forced") == pytest.approx(sum(token.log_prob for token in tokens), abs=1e-4)
        assert not found.others


def test_log_odds_stay_finite_where_nothing_else_is_left(heard: tuple[Any, Any]) -> None:
    _, trace = heard
    found, logits = aim(heard, "token:1"), trace.evidence[0].logits().copy()
    token = trace.tokens[1]
    logits[token.peak, token.id] += 1000
    others = np.delete(logits[token.peak], token.id).astype(np.float64)
    expected = float(logits[token.peak, token.id]) - float(np.logaddexp.reduce(others))
    assert found.score(logits, "log_odds") == pytest.approx(expected, rel=1e-6)
    assert found.score(logits, "forced") == 0.0
    assert logits[token.peak, token.id] > 900, "rows that are scored are not changed"


def test_weights_sum_to_nothing(heard: tuple[Any, Any]) -> None:
    _, trace = heard
    logits = trace.evidence[0].logits()
    for name in names(trace):
        found = aim(heard, name)
        assert np.abs(np.bincount(found.rows, found.weights)).max() <= 1e-12
        assert found.margin(logits) == pytest.approx(found.margin(log_probs(trace).astype(np.float32)), abs=1e-3)


def test_scores_of_several_targets_are_single_scores(heard: tuple[Any, Any]) -> None:
    _, trace = heard
    logits = trace.evidence[0].logits()
    aims = [aim(heard, name) for name in names(trace)]
    for how in ("margin", "forced", "log_odds"):
        assert scores(aims, logits, how) == [one.score(logits, how) for one in aims]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "target", "against", "own", "rival"),
    [
        ("paraformer", "word:1", "好", 1, "好"),
        ("paraformer", "word:2", "hello", 2, "hel@@"),  # a longer wording parts at its first piece
        ("paraformer", "text", "是c的", 2, "的"),  # the two go the same way for two tokens
        ("paraformer", "word:0", "是是", 1, "是"),  # where the own wording ends, what follows it stands for it
    ],
)
def test_a_rival_is_the_difference_of_two_logits_where_wordings_part(
    name: str, target: str, against: str, own: int, rival: str, opened: dict[str, tuple[Any, Any]]
) -> None:
    model, trace = opened[name]
    found, logits = aim(opened[name], target, against), trace.evidence[0].logits()
    token = trace.tokens[own]
    expected = float(logits[token.peak, token.id]) - float(logits[token.peak, model.vocabulary.ids[rival]])
    for how in ("margin", "forced", "log_odds"):
        assert found.score(logits, how) == pytest.approx(expected, abs=1e-5)  # type: ignore[arg-type]
    assert isinstance(found, TokenAim)
    assert found.target.against == against


def test_a_rival_in_bytes_parts_at_the_first_other_token(opened: dict[str, tuple[Any, Any]]) -> None:
    model, trace = opened["whisper"]
    word = trace.words[1]
    ids = [token.id for token in trace.tokens[slice(*word.tokens)]]
    rival = model.vocabulary.encode("house", after_space=True)
    at = next(index for index, (one, other) in enumerate(zip(ids, rival, strict=False)) if one != other)
    token, logits = trace.tokens[word.tokens[0] + at], trace.evidence[0].logits()
    expected = float(logits[token.peak, ids[at]]) - float(logits[token.peak, rival[at]])
    assert aim(opened["whisper"], "word:1", "house").score(logits) == pytest.approx(expected, abs=1e-5)


def test_language_is_decided_at_row_0(opened: dict[str, tuple[Any, Any]]) -> None:
    model, trace = opened["whisper"]
    posteriors, ids = log_probs(trace)[0], model.labels["language"]
    found, logits = aim(opened["whisper"], "language"), trace.evidence[0].logits()
    label = trace.tags[0].label
    others = [posteriors[index] for name, index in ids.items() if name != label]
    assert (found.target.label, found.target.rows) == (label, (0, 1))
    assert found.score(logits) == pytest.approx(posteriors[ids[label]] - np.logaddexp.reduce(others), abs=1e-4)
    rival = next(name for name in ids if name != label)
    difference = posteriors[ids[label]] - posteriors[ids[rival]]
    assert aim(opened["whisper"], "language", rival).score(logits, "margin") == pytest.approx(difference, abs=1e-4)


def test_a_language_that_was_told_is_refused(opened: dict[str, tuple[Any, Any]], data: Path) -> None:
    model, _ = opened["whisper"]
    trace = model.trace(data / "audio" / "odd.wav", "de")
    with pytest.raises(OptionError, match=r"^the language prompt was 'de', so the language was told and not heard"):
        resolve(trace, model.vocabulary, model.labels, "language")


def test_contrasts_of_gaps_are_told_apart_too(heard: tuple[Any, Any]) -> None:
    """Another token before the third one: from there on the rival text is one token late."""
    _, trace = heard
    logits, other = trace.evidence[0].logits(), (trace.tokens[2].id + 1) % 40
    found = contrast(trace, Target("word", "word:2", "(nothing)", "x", 0, (0, 1), 0.0, 0.1), (2, 2), (other,))
    row = logits[trace.tokens[2].peak]
    assert found.score(logits) == pytest.approx(float(row[trace.tokens[2].id]) - float(row[other]), abs=1e-5)
    assert found.others == ((*found.text[:2], other, *found.text[2:]),)


@pytest.mark.parametrize(
    ("name", "target", "against", "message"),
    [
        ("paraformer", "emotion", None, "^this model decides no emotion; ask for a word, a token or the text$"),
        ("whisper", "event", None, "^this model decides no event; ask for language, a word, a token or the text$"),
        ("paraformer", "word:1", "c", "^'c' cannot compete with 'c': it is the same$"),
        (
            "paraformer",
            "word:12",
            "为的",
            "^'为的' cannot compete with '为': the one text is the beginning of the other, and",
        ),
        ("paraformer", "word:1", "☃", "^this model's vocabulary cannot spell '☃'; give a wording that it could have recognised$"),
        ("paraformer", "word:1", " ", "^the rival is empty; give another token, wording or label, or none$"),
        ("whisper", "language", "tlh", "^'tlh' cannot compete with the language 'en'; choose one of "),
        ("whisper", "language:klingon", None, "^the language 'klingon' is none of this model's"),
        ("paraformer", "word:99", None, "^word 99 is not there: odd.wav has 13 words, counted from 0$"),
    ],
)
def test_what_cannot_compete_is_one_line(
    name: str, target: str, against: str | None, message: str, opened: dict[str, tuple[Any, Any]]
) -> None:
    with pytest.raises(OptionError, match=message) as told:
        aim(opened[name], target, against)
    assert "\n" not in str(told.value)


def test_sound_without_words_has_nothing_to_explain(opened: dict[str, tuple[Any, Any]]) -> None:
    model, heard = opened["paraformer"]
    piece = replace(heard.pieces[0], tokens=(0, 0))
    trace = replace(heard, transcript=replace(heard.transcript, tokens=(), words=(), pieces=(piece,)))
    with pytest.raises(OptionError, match=r"^nothing was said in odd.wav, so it has no text; there is nothing to explain$"):
        resolve(trace, model.vocabulary, model.labels, "text")


# Views ----------------------------------------------------------------------------------------------------------------------------


def test_attention_is_the_mean_of_cross_attention_and_tells_what_goes_to_silence(heard: tuple[Any, Any]) -> None:
    model, trace = heard
    cross = trace.evidence[0].cross_attention(range(trace.decoder[0])).mean(axis=(0, 1))
    word = trace.words[1]
    rows = [token.peak for token in trace.tokens[slice(*word.tokens)]]
    (found,) = voxray.explain(model, trace, ["word:1"], method="attention")
    np.testing.assert_allclose(found.scores[0], cross[rows].mean(axis=0), atol=1e-5)
    assert found.parts["silence"] == pytest.approx(1 - cross[rows].mean(axis=0).sum(), abs=1e-4)
    assert (found.parts["silence"] > 0.1) == (trace.model.family == "whisper")
    one = voxray.explain(model, trace, "token:2", method="attention", layer=1, head=0)
    np.testing.assert_allclose(one.scores[0], trace.evidence[0].cross_attention([1])[0, 0, trace.tokens[2].peak], atol=1e-5)
    with pytest.raises(OptionError, match=r"^layer 2 does not exist: there are 2 layers, 0 to 1$"):
        voxray.explain(model, trace, "token:2", method="attention", layer=2)


@pytest.mark.parametrize("aggregate", ["max", "entropy", "value"])
def test_heads_of_cross_attention_are_put_together(aggregate: str, heard: tuple[Any, Any]) -> None:
    model, trace = heard
    row, depth = trace.tokens[2].peak, trace.decoder[0]
    cross = trace.evidence[0].cross_attention(range(depth))[:, :, row].astype(np.float64)
    whole = np.concatenate([np.clip(1 - cross.sum(axis=-1, keepdims=True), 0, 1), cross], axis=-1)
    if aggregate == "max":
        expected = whole.max(axis=1) / whole.max(axis=1).sum(axis=-1, keepdims=True)
    else:
        entropy = -(whole * np.log(np.maximum(whole, 1e-38))).sum(axis=-1)
        weights = np.exp(-entropy / 0.5) if aggregate == "entropy" else trace.evidence[0].cross_norms(range(depth))[:, :, row]
        expected = (whole * (weights / weights.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)
    found = voxray.explain(model, trace, "token:2", method="attention", aggregate=aggregate)
    np.testing.assert_allclose(found.scores[0], expected.mean(axis=0)[1:], atol=2e-5)
    assert found.passes == int(aggregate == "value")


def test_emission_is_a_bell_where_the_decoder_takes_a_token_from(heard: tuple[Any, Any]) -> None:
    model, trace = heard
    case = Case(model, trace.piece(0), [])
    placed = trace.evidence[0].placement()
    expected = [float(placed[token.peak].astype(np.float64) @ trace.times) for token in trace.tokens]
    np.testing.assert_allclose(case.moments, expected, atol=1e-6)
    found = voxray.explain(model, trace, "token:3", method="emission")
    bell = np.exp(-0.5 * ((found.grid.centres - expected[3]) / 0.12) ** 2)
    np.testing.assert_allclose(found.scores[0], bell / bell.sum(), atol=1e-6)


def test_a_token_that_comes_from_no_frame_stands_in_its_middle(opened: dict[str, tuple[Any, Any]], monkeypatch: Any) -> None:
    model, trace = opened["paraformer"]
    case = Case(model, trace.piece(0), [])
    nothing = np.zeros_like(trace.occupancy())
    monkeypatch.setattr(type(trace), "occupancy", lambda self, piece=0: nothing)
    np.testing.assert_allclose(case.moments, [(token.start + token.end) / 2 for token in trace.tokens])
