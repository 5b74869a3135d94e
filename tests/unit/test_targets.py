"""Targets: margins by hand, forced scores and log-odds against every path, and what cannot be asked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray import ctc
from voxray.targets import RIVALS, Aim, names, resolve
from voxray.trace import Trace
from voxray.transcript import join
from voxray.types import TAG_KINDS, Audio, Features, OptionError, Target
from voxray.vocabulary import Vocabulary

PROMPTS, FRAMES, BLANK = 4, 6, 0
KINDS = ("margin", "forced", "log_odds")


class Rows:
    """Evidence that is nothing but output rows."""

    def __init__(self, logits: np.ndarray) -> None:
        self._logits = logits

    def logits(self) -> np.ndarray:
        return self._logits


def made_up(model: Any, *said: Sequence[str], seed: int = 0, language: str = "auto") -> Trace:
    """A trace of pieces of six frames each; up to six pieces of the vocabulary name the winners, '' is a blank."""
    rng, ids = np.random.default_rng(seed), model.vocabulary.ids
    values, readings, evidence = [], [], []
    for place, pieces in enumerate(said):
        logits = rng.standard_normal((PROMPTS + FRAMES, len(ids))).astype(np.float32)
        for row, kind in enumerate(TAG_KINDS):
            logits[row, list(model.labels[kind].values())] += 3
        for frame, piece in enumerate([*pieces, *[""] * FRAMES][:FRAMES]):
            logits[PROMPTS + frame, ids[piece] if piece else BLANK] += 7
        values.append(Features(rng.standard_normal((FRAMES, 560)).astype(np.float32), 0.06, 0.0125 + 1.0 * place))
        readings.append(model.read(logits, values[-1]))
        evidence.append(Rows(logits))
    audio = Audio(np.zeros(16000 * len(said), np.float32), name="made-up.wav")
    return Trace(
        audio=audio, features=tuple(values), transcript=join(readings, audio.duration), model=model.info, language=language,
        textnorm=False, blank=BLANK, layers=model.layers, heads=model.heads, evidence=tuple(evidence), logits_are_log_probs=False,
    )  # fmt: skip


@pytest.fixture
def model(funasr_model: Any) -> Any:
    return funasr_model


@pytest.fixture
def pieces(model: Any) -> list[str]:
    """Pieces that begin a word, and pieces that do not."""
    plain = [one for one in model.vocabulary.pieces if one.isascii() and one.isalpha()]
    return [*[one for one in model.vocabulary.pieces if one.startswith("▁") and len(one) > 2][:3], *plain[:3]]


@pytest.fixture
def trace(model: Any, pieces: list[str]) -> Trace:
    """Two words, of two pieces and of one, and a blank at the end."""
    return made_up(model, [pieces[0], pieces[3], "", pieces[1], pieces[1], ""])


def aim(model: Any, trace: Trace, name: str, against: str | None = None) -> Aim:
    return resolve(trace, model.vocabulary, model.labels, name, against)


# Margins --------------------------------------------------------------------------------------------------------------------------


def margin_by_hand(row: np.ndarray, token: int) -> float:
    """The logit, minus half the best other and half the best other that is no blank; of log posteriors it is the same."""
    others = [value for index, value in enumerate(row) if index != token]
    spoken = [value for index, value in enumerate(row) if index not in (token, BLANK)]
    return float(row[token]) - 0.5 * float(max(others)) - 0.5 * float(max(spoken))


def test_the_margin_of_a_token_and_of_a_word_and_of_the_text(model: Any, trace: Trace) -> None:
    assert [len(word.text.split()) for word in trace.words] == [1, 1]
    log_probs = trace.log_probs.astype(np.float64)
    tokens = [margin_by_hand(log_probs[token.peak], token.id) for token in trace.tokens]
    assert len(tokens) == 3
    logits = trace.evidence[0].logits()
    for index, expected in enumerate(tokens):
        assert aim(model, trace, f"token:{index}").margin(logits) == pytest.approx(expected, abs=1e-5)
        assert expected > 0  # it did win
    for index, word in enumerate(trace.words):
        found = aim(model, trace, f"word:{index}")
        assert found.margin(logits) == pytest.approx(sum(tokens[slice(*word.tokens)]), abs=1e-5)
        assert found.target.label == word.text
        assert (found.target.start, found.target.end) == (word.start, word.end)
    assert aim(model, trace, "text").margin(logits) == pytest.approx(sum(tokens), abs=1e-5)


@pytest.mark.parametrize("name", ["token:0", "word:0", "text", *TAG_KINDS, "emotion:SAD"])
def test_weights_sum_to_nothing_at_every_row(name: str, model: Any, trace: Trace) -> None:
    found = aim(model, trace, name)
    sums = np.bincount(found.rows, found.weights)
    assert np.abs(sums).max() <= 1e-12
    logits = trace.evidence[0].logits()
    assert found.margin(logits) == pytest.approx(found.margin(ctc.log_softmax(logits)), abs=1e-5)
    assert found.score(logits, "margin") == found.margin(logits)


@pytest.mark.parametrize("kind", TAG_KINDS)
def test_the_margin_of_a_tag_is_against_the_others_by_their_probability(kind: str, model: Any, trace: Trace) -> None:
    labels, tag = model.labels[kind], next(one for one in trace.tags if one.kind == kind)
    row = trace.log_probs[tag.row].astype(np.float64)
    for label in (tag.label, list(labels)[-1]):
        others = [one for one in labels if one != label]
        odds = np.exp([row[labels[one]] for one in others])
        expected = row[labels[label]] - (odds / odds.sum()) @ [row[labels[one]] for one in others]
        found = aim(model, trace, f"{kind}:{label}")
        assert found.margin(trace.evidence[0].logits()) == pytest.approx(expected, abs=1e-4)
        assert found.target.label == label
        log_odds = row[labels[label]] - np.log(odds.sum())
        for how in ("forced", "log_odds"):
            assert found.score(trace.evidence[0].logits(), how) == pytest.approx(log_odds, abs=1e-5)  # type: ignore[arg-type]


def test_a_tag_against_another_label_is_their_difference(model: Any, trace: Trace) -> None:
    labels, tag = model.labels["emotion"], trace.tags[1]
    rival = next(one for one in labels if one != tag.label)
    found = aim(model, trace, "emotion", rival)
    expected = float(trace.log_probs[1, labels[tag.label]] - trace.log_probs[1, labels[rival]])
    for how in KINDS:
        assert found.score(trace.evidence[0].logits(), how) == pytest.approx(expected, abs=1e-5)  # type: ignore[arg-type]
    assert found.target.title == f"emotion {tag.label!r} rather than {rival!r}"


# Scores by every path -------------------------------------------------------------------------------------------------------------


def every_path(posteriors: np.ndarray, symbols: Sequence[int], text: Sequence[int]) -> list[tuple[float, tuple[int, ...]]]:
    """(log probability, path) of every path over some symbols that collapses to a text."""
    found = []
    for path in itertools.product(symbols, repeat=len(posteriors)):
        collapsed = tuple(one for one, _ in itertools.groupby(path) if one != BLANK)
        if collapsed == tuple(text):
            found.append((float(sum(posteriors[frame, one] for frame, one in enumerate(path))), path))
    return found


def likelihood(posteriors: np.ndarray, text: Sequence[int]) -> float:
    return float(np.logaddexp.reduce([one for one, _ in every_path(posteriors, sorted({BLANK, *text}), text)]))


def tiny(seed: int) -> np.ndarray:
    """Output rows of one prompt and five frames over six tokens."""
    return 2 * np.random.default_rng(seed).standard_normal((6, 6)).astype(np.float32)


def tiny_aim(
    kind: Any, text: tuple[int, ...], members: tuple[int, int], others: tuple[tuple[int, ...], ...], against: str = ""
) -> Aim:
    target = Target(kind, "x", "x", against, 0, (0, 1), 0.0, 1.0)
    none = np.zeros(0, np.int64)
    return Aim(target, none, none, np.zeros(0), text, members, others, (), prompts=1, blank=BLANK)


def posteriors_of(logits: np.ndarray) -> np.ndarray:
    sound = logits[1:].astype(np.float64)
    return sound - np.log(np.exp(sound).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("text", [(1,), (1, 2), (2, 2), (3, 1, 3)], ids=str)
def test_the_forced_score_is_each_tokens_best_frame_on_the_likeliest_path(text: tuple[int, ...], seed: int) -> None:
    logits = tiny(seed)
    posteriors = posteriors_of(logits)
    _, path = max(every_path(posteriors, sorted({BLANK, *text}), text))
    runs = [list(frames) for one, frames in itertools.groupby(range(5), key=lambda frame: path[frame]) if one != BLANK]
    best = [max(posteriors[frame, token] for frame in frames) for frames, token in zip(runs, text, strict=True)]
    for first, stop in itertools.combinations(range(len(text) + 1), 2):
        found = tiny_aim("word", text, (first, stop), ()).score(logits)
        assert found == pytest.approx(sum(best[first:stop]), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_text_and_log_odds_are_sums_over_every_path(seed: int) -> None:
    logits = tiny(seed)
    posteriors = posteriors_of(logits)
    text, others = (1, 2), ((2,), (3, 2), (4, 2))
    own = likelihood(posteriors, text)
    assert tiny_aim("text", text, (0, 2), others).score(logits) == pytest.approx(own, abs=1e-5)
    odds = own - float(np.logaddexp.reduce([likelihood(posteriors, one) for one in others]))
    assert tiny_aim("word", text, (0, 1), others).score(logits, "log_odds") == pytest.approx(odds, abs=1e-5)
    ratio = own - likelihood(posteriors, (5, 2))
    for how in ("forced", "log_odds"):
        against = tiny_aim("word", text, (0, 1), ((5, 2),), "rival")
        assert against.score(logits, how) == pytest.approx(ratio, abs=1e-5)  # type: ignore[arg-type]


def test_scores_are_the_same_of_logits_and_of_log_posteriors(model: Any, trace: Trace) -> None:
    logits = trace.evidence[0].logits()
    for name, how in itertools.product(("word:0", "token:2", "text", "emotion"), KINDS):
        found = aim(model, trace, name)
        assert found.score(logits, how) == pytest.approx(found.score(ctc.log_softmax(logits), how), abs=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [1, -1])
def test_targets_may_share_what_is_computed_of_the_same_rows(order: int, model: Any, trace: Trace) -> None:
    logits = trace.evidence[0].logits()
    logits = logits + np.random.default_rng(3).standard_normal(logits.shape).astype(np.float32)
    shared: dict[str, Any] = {}
    for name, how in list(itertools.product(names(trace), KINDS))[::order]:
        found = aim(model, trace, name)
        assert found.score(logits, how, shared) == found.score(logits, how)  # type: ignore[arg-type]
    assert shared


def test_competing_texts_lack_the_word_or_have_a_likely_piece_in_its_place(model: Any, trace: Trace) -> None:
    found, log_probs = aim(model, trace, "word:0"), trace.log_probs
    ids = tuple(token.id for token in trace.tokens)
    assert found.text == ids
    assert found.members == (0, 2)
    assert found.others[0] == ids[2:]
    assert len(found.others) == 1 + 2 * RIVALS
    first = {one[0] for one in found.others[1 : 1 + RIVALS]}
    row = {index: value for index, value in enumerate(log_probs[trace.tokens[0].peak]) if index not in (ids[0], BLANK)}
    assert first == set(sorted(row, key=lambda index: -row[index])[:RIVALS])
    assert all(one[1:] == ids[1:] for one in found.others[1 : 1 + RIVALS])


# Against another wording ----------------------------------------------------------------------------------------------------------


def test_a_token_against_a_token_is_their_difference_at_its_row(model: Any, trace: Trace, pieces: list[str]) -> None:
    rival = pieces[2].replace("▁", "")
    found = aim(model, trace, "word:1", rival)
    token, other = trace.tokens[2], model.vocabulary.ids[pieces[2]]
    expected = float(trace.log_probs[token.peak, token.id] - trace.log_probs[token.peak, other])
    assert found.margin(trace.evidence[0].logits()) == pytest.approx(expected, abs=1e-5)
    assert found.others == ((*found.text[:2], other),)
    assert found.target.against == rival


def test_a_wording_against_another_is_the_gradient_of_their_likelihood_ratio(model: Any, trace: Trace, pieces: list[str]) -> None:
    """By central differences of the sums over every path, with respect to each logit of the tokens that take part."""
    found = aim(model, trace, "word:0", pieces[2].replace("▁", ""))
    (other,), logits = found.others, trace.evidence[0].logits().astype(np.float64)

    def ratio(rows: np.ndarray) -> float:
        sound = rows[PROMPTS:]
        posteriors = sound - np.log(np.exp(sound).sum(axis=1, keepdims=True))
        return likelihood(posteriors, found.text) - likelihood(posteriors, other)

    weights = np.zeros(logits.shape)
    np.add.at(weights, (found.rows, found.ids), found.weights)
    for row, column in itertools.product(range(PROMPTS, PROMPTS + FRAMES), sorted({BLANK, *found.text, *other})):
        step = np.zeros(logits.shape)
        step[row, column] = 1e-4
        slope = (ratio(logits + step) - ratio(logits - step)) / 2e-4
        assert weights[row, column] == pytest.approx(slope, abs=1e-4)
    assert np.abs(weights).max() > 0.1
    assert found.score(trace.evidence[0].logits()) == pytest.approx(ratio(logits), abs=1e-4)
    assert np.abs(np.bincount(found.rows, found.weights)).max() <= 1e-12


# Which target is meant ------------------------------------------------------------------------------------------------------------


def test_every_name_resolves_to_itself(model: Any, trace: Trace) -> None:
    listed = names(trace)
    assert listed == [*TAG_KINDS, "word:0", "word:1", "token:0", "token:1", "token:2", "text"]
    for name in listed:
        found = aim(model, trace, name).target
        assert found.name == name
        assert found.piece == 0
    word = trace.words[1]
    for quoted in (f"word:{word.text}", f'word:"{word.text}"', f"word:“{word.text}”", " word:1 "):
        assert aim(model, trace, quoted).target.name == "word:1"


def test_of_several_pieces_each_has_its_own(model: Any, pieces: list[str]) -> None:
    trace = made_up(model, [pieces[0], "", pieces[1]], [pieces[2], pieces[3]])
    assert len(trace.pieces) == 2
    assert names(trace) == [
        *[f"{kind}@0" for kind in TAG_KINDS], *[f"{kind}@1" for kind in TAG_KINDS],
        "word:0", "word:1", "word:2", "token:0", "token:1", "token:2", "token:3", "text@0", "text@1",
    ]  # fmt: skip
    second = aim(model, trace, "text@1")
    assert second.target.piece == 1
    assert second.target.label == pieces[2].replace("▁", "") + pieces[3]
    assert second.text == tuple(model.vocabulary.ids[one] for one in pieces[2:4])
    word = aim(model, trace, "word:2")
    assert (word.target.piece, word.members) == (1, (0, 2))
    assert 1.0 <= word.target.start < word.target.end  # absolute
    assert (word.target.start, word.target.end) == (trace.words[2].start, trace.words[2].end)
    logits = trace.evidence[1].logits()
    assert word.margin(logits) == pytest.approx(second.margin(logits))
    row = trace.piece(1).log_probs[1]
    assert aim(model, trace, "emotion@1").target.label == max(
        model.labels["emotion"], key=lambda one: row[model.labels["emotion"][one]]
    )
    assert aim(model, trace, "emotion:SAD@1").target.label == "SAD"
    with pytest.raises(OptionError, match=r"^made-up.wav has 2 pieces of sound; say which: emotion@0 to emotion@1$"):
        aim(model, trace, "emotion")
    with pytest.raises(OptionError, match=r"^made-up.wav has 2 pieces of sound and no piece '7'; say which: text@0 to text@1$"):
        aim(model, trace, "text@7")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("words:1", r"^there is no target 'words:1' \(did you mean word\?\); give one such as token:5, word:3,"),
        ("emotoin", r"^there is no target 'emotoin' \(did you mean emotion\?\)"),
        ("", r"^there is no target ''; give one such as"),
        ("word", r"^there is no target 'word' \(did you mean word\?\)"),
        ("word:9", r"^word 9 is not there: made-up.wav has 2 words, counted from 0$"),
        ("token:3", r"^token 3 is not there: made-up.wav has 3 tokens, counted from 0$"),
        ("word:-1", r"^no word reads '-1'; there are: "),
        ('word:"zzz"', r"^no word reads 'zzz'; there are: "),
        ("emotion:SADD", r"^the emotion 'SADD' is none of this model's \(did you mean SAD\?\); choose one of .*SAD, "),
        ("text@3", r"^made-up.wav has one piece of sound; ask for text$"),
    ],
)  # fmt: skip
def test_what_is_not_there(name: str, message: str, model: Any, trace: Trace) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        aim(model, trace, name)
    assert "\n" not in str(caught.value)


def test_a_word_that_comes_twice_must_be_counted(model: Any, pieces: list[str]) -> None:
    trace = made_up(model, [pieces[0], "", pieces[0], "", pieces[1]])
    text = trace.words[0].text
    with pytest.raises(OptionError, match=rf"^2 words read '{text}'; choose one of word:0, word:1$"):
        aim(model, trace, f"word:{text}")


def test_rivals_that_cannot_compete(model: Any, trace: Trace) -> None:
    same = trace.words[1].text
    with pytest.raises(OptionError, match=rf"^'{same}' cannot compete with '{same}': it is the same$"):
        aim(model, trace, "word:1", same)
    with pytest.raises(OptionError, match=r"^this model's vocabulary cannot spell '☃☃'; give a wording"):
        aim(model, trace, "word:1", "☃☃")
    with pytest.raises(OptionError, match=r"^'GLOOMY' cannot compete with the emotion 'SAD'; choose one of HAPPY, "):
        aim(model, trace, "emotion:SAD", "GLOOMY")
    with pytest.raises(OptionError, match=r"^'SAD' cannot compete with the emotion 'SAD'"):
        aim(model, trace, "emotion:SAD", "SAD")
    long = " ".join([same] * 4)
    with pytest.raises(OptionError, match=rf"^'{long}' cannot compete with '{same}': 6 frames cannot emit 6 tokens with "):
        aim(model, trace, "word:1", long)


def test_a_language_that_was_told_was_not_heard(model: Any, pieces: list[str]) -> None:
    trace = made_up(model, [pieces[0]], language="en")
    with pytest.raises(
        OptionError, match=r"^the language prompt was 'en', so the language was told and not heard; recognise with language auto$"
    ):
        aim(model, trace, "language")
    assert aim(model, trace, "emotion").target.kind == "tag"


def test_sound_without_words_has_tags_alone(model: Any) -> None:
    trace = made_up(model, ["", "", "", "", "", ""])
    assert names(trace) == list(TAG_KINDS)
    with pytest.raises(OptionError, match=r"^word 0 is not there: made-up.wav has no words$"):
        aim(model, trace, "word:0")
    with pytest.raises(OptionError, match=r"^nothing was said in made-up.wav, so it has no text; ask for a tag"):
        aim(model, trace, "text")
    assert aim(model, trace, "event").target.label in model.labels["event"]


def test_sound_without_speech_has_nothing(model: Any, trace: Trace) -> None:
    none = replace(trace, features=(), evidence=(), transcript=join([], 1.0))
    for name in ("text", "emotion"):
        with pytest.raises(OptionError, match=r"^made-up.wav holds no speech, so there is nothing to explain$"):
            aim(model, none, name)


# Spelling -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after_space", "expected"),
    [
        ("abc", False, ("ab", "c")),  # two pieces, not three
        ("abc", True, ("▁abc",)),
        ("a b", False, ("a", "▁b")),
        ("  a   b ", True, ("▁", "a", "▁b")),
        ("ac", False, ("a", "c")),
    ],
)
def test_encode_takes_the_fewest_pieces(text: str, after_space: bool, expected: tuple[str, ...]) -> None:
    vocabulary = Vocabulary(("<unk>", "a", "b", "c", "ab", "▁", "▁b", "▁abc"))
    found = vocabulary.encode(text, after_space=after_space)
    assert tuple(vocabulary.pieces[one] for one in found) == expected


@pytest.mark.parametrize("text", ["d", "", " ", "abd"])
def test_encode_refuses_what_it_cannot_spell(text: str) -> None:
    with pytest.raises(OptionError, match=r"^this model's vocabulary cannot spell '.*'; give a wording"):
        Vocabulary(("<unk>", "a", "b", "ab")).encode(text)


def test_encode_spells_what_was_recognised(bundled: Any, clips: Path) -> None:
    for name in ("en_neutral_speech.wav", "ko_angry_speech.wav", "zh_happy_speech.wav"):
        trace = bundled.trace(clips / name, layers=())
        spaced = trace.tokens[0].text.startswith(" ")
        assert bundled.vocabulary.encode(trace.text, after_space=spaced) == tuple(token.id for token in trace.tokens)
