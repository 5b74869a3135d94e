"""Mistakes against a right text: their places, tokens, log-odds and the scenes to ask about them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.studies.errors import NOTHING, Diagnosis, diagnose, evidence, language_of, surroundings
from voxray.types import Audio, OptionError, TraceError

CLIPS = Path(voxray.__file__).parent / "assets" / "clips"
NOISY = CLIPS / "en_noise_burst.wav"


@pytest.fixture(scope="module")
def model(bundled: Any) -> Any:
    return bundled


@pytest.fixture(scope="module")
def noisy(model: Any) -> Diagnosis:
    return diagnose(model, NOISY, "we removed my rice with cabbage")


def all_paths(log_probs: np.ndarray, ids: tuple[int, ...], blank: int) -> float:
    """The likelihood of a text by writing out every path of a short sound."""
    total = -math.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        merged = [label for label, _ in itertools.groupby(path)]
        if tuple(label for label in merged if label != blank) == ids:
            total = np.logaddexp(total, sum(log_probs[t, label] for t, label in enumerate(path)))
    return float(total)


class TestMistakes:
    def test_a_substitution_is_found_in_its_place(self, noisy: Diagnosis) -> None:
        (mistake,) = noisy.mistakes
        assert (mistake.kind, mistake.reference, mistake.recognised) == ("substitution", "my", "bicycle")
        assert (mistake.tokens, mistake.edits, mistake.piece) == ((2, 3), (2, 3), 0)
        # The burst lies over "my": the span of the mistake holds it and touches no other word's frames.
        ((_, start, end),) = next(clip for clip in voxray.demo_clips() if clip.path.name == NOISY.name).sounds
        assert mistake.start - 0.01 <= start < end <= mistake.end + 0.01  # words are timed at 10 ms
        before, after = noisy.trace.tokens[1], noisy.trace.tokens[3]
        assert before.end <= mistake.start < mistake.end <= after.start

    def test_log_odds_are_those_of_the_two_texts(self, noisy: Diagnosis, model: Any) -> None:
        from voxray import ctc

        (mistake,) = noisy.mistakes
        ids = [token.id for token in noisy.trace.tokens]
        other = [*ids[:2], model.vocabulary.ids["▁my"], *ids[3:]]
        sound = noisy.trace.log_probs[4:]
        wanted = ctc.log_likelihood(sound, ids) - ctc.log_likelihood(sound, other)
        assert mistake.rival == (model.vocabulary.ids["▁my"],)
        assert mistake.log_odds == pytest.approx(wanted, abs=1e-4)
        assert mistake.log_odds > 0

    def test_likelihood_of_texts_equals_the_sum_over_every_path(self) -> None:
        from voxray import ctc

        rng = np.random.default_rng(0)
        rows = rng.normal(size=(6, 4)).astype(np.float32)
        rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
        for ids in ((), (1,), (1, 1), (2, 3, 2)):
            assert ctc.log_likelihood(rows, ids) == pytest.approx(all_paths(rows, ids, 0), abs=1e-5)

    def test_the_rank_is_that_of_the_right_token_near_its_place(self, noisy: Diagnosis) -> None:
        (mistake,) = noisy.mistakes
        (token,) = mistake.rival or ()
        logits = noisy.trace.evidence[0].logits()[:, 1:]  # without the blank, id 0
        peak = noisy.trace.tokens[2].peak
        ranks = [int((logits[row] > logits[row, token - 1]).sum()) for row in range(peak - 3, peak + 4)]
        assert mistake.rank in ranks

    @pytest.mark.parametrize(
        ("reference", "kinds", "members"),
        [
            ("we removed rice with cabbage", ["insertion"], [(2, 3)]),
            ("we removed bicycle rice with the cabbage", ["deletion"], [(5, 5)]),
            ("we we removed bicycle rice with cabbage", ["deletion"], [(1, 1)]),
            ("we removed bicycle rice with cabbage and my", ["deletion"], [(6, 6)]),
            ("my removed bicycle rice with my", ["substitution", "substitution"], [(0, 1), (5, 6)]),
            ("WE removed, bicycle rice with cabbage!", [], []),
        ],
    )
    def test_every_kind_of_difference(self, model: Any, reference: str, kinds: list[str], members: list[Any]) -> None:
        found = diagnose(model, NOISY, reference)
        assert [one.kind for one in found.mistakes] == kinds
        assert [one.tokens for one in found.mistakes] == members
        assert all(0 <= one.start < one.end <= found.trace.audio.duration + 0.1 for one in found.mistakes)
        assert len(found.spans) == len(found.comparison.edits)

    def test_an_empty_reference_is_a_real_one(self, model: Any) -> None:
        found = diagnose(model, NOISY, "")
        (mistake,) = found.mistakes
        assert (mistake.kind, mistake.tokens, mistake.rival, mistake.rank) == ("insertion", (0, 6), (), None)
        assert found.comparison.rate is None
        assert mistake.log_odds == pytest.approx(86.9, abs=5)

    def test_words_that_cannot_be_spelled_have_no_odds(self, model: Any) -> None:
        found = diagnose(model, NOISY, "we removed zebra rice with cabbage")
        (mistake,) = found.mistakes
        assert (mistake.rival, mistake.log_odds, mistake.rank) == (None, None, None)
        assert evidence(found) == [None]
        assert math.isnan(found.scene(mistake).base.log_odds)
        with pytest.raises(OptionError, match="cannot spell 'zebra'"):
            found.aim(mistake)

    def test_more_words_than_the_sound_can_hold(self, model: Any) -> None:
        found = diagnose(model, NOISY, "we removed " + "my rice " * 40 + "with cabbage")
        assert [one.log_odds for one in found.mistakes] == [None] * len(found.mistakes)

    def test_nothing_recognised(self, model: Any) -> None:
        quiet = Audio(np.random.default_rng(0).normal(0, 1e-4, 16000).astype(np.float32))
        found = diagnose(model, quiet, "我")
        assert [one.kind for one in found.mistakes] == ["deletion"]
        assert found.mistakes[0].recognised == ""
        assert found.comparison.deletions == 1

    def test_hanzi_are_compared_by_character(self, model: Any) -> None:
        found = diagnose(model, CLIPS / "zh_happy_speech.wav", "明年奶奶使用雨衣")
        (mistake,) = found.mistakes
        assert (mistake.reference, mistake.recognised, found.comparison.rate) == ("奶奶", "爷爷", 0.25)
        assert language_of(found.trace) == "zh"

    def test_the_right_text_must_be_one(self, model: Any) -> None:
        with pytest.raises(OptionError, match="the right text must be a text, got int"):
            diagnose(model, NOISY, 7)  # type: ignore[arg-type]

    def test_a_trace_of_another_model_is_refused(self, model: Any, noisy: Diagnosis) -> None:
        other = replace(noisy.trace, model=replace(noisy.trace.model, sha256="0" * 64))
        with pytest.raises(TraceError, match="open that model"):
            diagnose(model, other, "we")

    def test_right_words(self, noisy: Diagnosis) -> None:
        assert noisy.right_words == (True, True, False, True, True, True)

    def test_surroundings(self, noisy: Diagnosis) -> None:
        told = surroundings(noisy, noisy.mistakes[0])
        assert (told["before"], told["after"]) == ("removed", "rice")
        assert told["from_start"] + told["to_end"] + (noisy.mistakes[0].end - noisy.mistakes[0].start) == pytest.approx(
            noisy.trace.audio.duration, abs=2e-3
        )


class TestEvidence:
    def test_adds_up_to_the_difference_of_the_logits(self, noisy: Diagnosis) -> None:
        (relevance,) = evidence(noisy)
        assert relevance is not None
        mistake = noisy.mistakes[0]
        row = noisy.trace.evidence[0].logits()[noisy.trace.tokens[2].peak]
        assert relevance.score == pytest.approx(float(row[noisy.trace.tokens[2].id] - row[mistake.rival[0]]), abs=1e-4)
        assert abs(relevance.residual) < 1e-4 * max(1.0, float(np.abs(relevance.scores).sum()))
        assert relevance.target.title.endswith("'bicycle' rather than 'my'")

    def test_of_a_deletion_the_contrast_is_nothing(self, model: Any) -> None:
        found = diagnose(model, NOISY, "we removed bicycle rice with the cabbage")
        (relevance,) = evidence(found)
        assert relevance is not None
        assert relevance.target.label == NOTHING
        assert abs(relevance.residual) < 1e-3 * float(np.abs(relevance.scores).sum())


class TestScene:
    def test_asked_again_nothing_changes(self, noisy: Diagnosis) -> None:
        scene = noisy.scene(noisy.mistakes[0])
        again = scene.ask()
        assert (again.right, again.text) == (scene.base.right, scene.base.text)
        assert again.log_odds == pytest.approx(scene.base.log_odds, abs=1e-4)
        assert scene.passes == 1
        assert (scene.reference, scene.recognised) == (noisy.reference, noisy.trace.text)

    def test_the_clean_sound_is_right(self, noisy: Diagnosis) -> None:
        scene = noisy.scene(noisy.mistakes[0])
        assert scene.is_right("we removed my rice with cabbage")
        assert scene.is_right("you removed my rice with")  # what goes wrong elsewhere does not count
        assert not scene.is_right("we removed rice with cabbage")
        assert not scene.is_right("we removed my my rice with cabbage")
        assert not scene.is_right("")

    def test_of_an_insertion_the_gap_must_be_empty(self, model: Any) -> None:
        found = diagnose(model, NOISY, "we removed rice with cabbage")
        scene = found.scene(found.mistakes[0])
        assert scene.is_right("we removed rice with cabbage")
        assert not scene.is_right("we removed my rice with cabbage")
        assert scene.is_right("we removed rice with the cabbage")

    def test_silence_is_no_answer(self, noisy: Diagnosis) -> None:
        standing = noisy.scene(noisy.mistakes[0]).ask(Audio(np.zeros(100, np.float32)))
        assert math.isnan(standing.log_odds)
        assert (standing.right, standing.text) == (False, "")

    def test_long_sound_is_asked_piece_by_piece(self, model: Any) -> None:
        clip = voxray.load_audio(NOISY)
        gap = np.random.default_rng(0).normal(0, 1e-4, 16000 * 2).astype(np.float32)
        long = Audio(np.concatenate([np.concatenate([clip.samples, gap]) for _ in range(9)]), 16000, "long")
        text = " ".join(["we removed my rice with cabbage"] * 9)
        found = diagnose(model, long, text)
        assert len(found.trace.pieces) > 1
        pieces = {one.piece for one in found.mistakes}
        assert len(pieces) > 1
        for mistake in found.mistakes:
            if mistake.reference == "my":
                scene = found.scene(mistake)
                assert scene.audio.duration < 31
                assert 0 <= scene.start < scene.end <= scene.audio.duration + 1e-6
                assert scene.reference.split().count("my") < 9
                assert not scene.base.right
                assert scene.ask().log_odds == pytest.approx(scene.base.log_odds, abs=1.5)
