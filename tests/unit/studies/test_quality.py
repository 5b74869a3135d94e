"""How good an alignment is: of the bundled model, of a broken one, and of heads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.studies.quality import QUALITY_FIGURES, by_chance, checked_words, head_atlas, looks_of, quality
from voxray.types import OptionError

CLIPS = Path(voxray.__file__).parent / "assets" / "clips"
CLIP = CLIPS / "en_neutral_speech.wav"
TRUTH = voxray.read_times(CLIPS / "truth.json")


@pytest.fixture(scope="module")
def trace(bundled: Any) -> Any:
    return bundled.trace(CLIP)


def better(name: str, one: float | None, other: float | None) -> bool:
    assert one is not None
    assert other is not None
    return one > other if QUALITY_FIGURES[name].better == "higher" else one < other


def test_relevance_beats_chance_in_every_recommended_figure(bundled: Any, trace: Any) -> None:
    found = quality(trace, method="exact", model=bundled)
    assert found.view == "relevance by exact"
    assert found.tokens == len(trace.tokens)
    for name, looks in QUALITY_FIGURES.items():
        if looks.recommended:
            assert better(name, found.figures[name], found.chance[name]), name
    assert found.figures["order"] == pytest.approx(1.0)


@pytest.mark.parametrize("shift", [8, -8])
def test_a_map_moved_in_time_is_worse_in_every_recommended_figure(bundled: Any, trace: Any, shift: int) -> None:
    """Half a second too late or too early; the order, for one, does not see it."""
    from voxray.studies.quality import relevance_of

    weights = relevance_of(trace, "exact", bundled)
    moved = np.roll(weights, shift, axis=1)
    if shift > 0:
        moved[:, :shift] = 0
    else:
        moved[:, shift:] = 0
    moved += 1e-9  # a row may have been moved out of the sound
    good, bad = looks_of(trace, weights), looks_of(trace, moved)
    assert bad["order"] == pytest.approx(good["order"], abs=0.35)
    for name, looks in QUALITY_FIGURES.items():
        if looks.recommended:
            assert better(name, good[name], bad[name]), name


def test_the_truth_as_a_map(trace: Any) -> None:
    """A map with all of its weight at the emission: nothing is nearer, and nothing narrower."""
    places = [token.peak - trace.pieces[0].prompts for token in trace.tokens]
    weights = np.zeros((len(places), len(trace.times)))
    weights[np.arange(len(places)), places] = 1.0
    found = looks_of(trace, weights)
    assert (found["agreement"], found["pointing"], found["order"], found["monotonicity"]) == (0.0, 1.0, 1.0, 1.0)
    assert (found["concentration"], found["focus_rate"]) == (1.0, 1.0)


def test_chance_is_what_random_maps_have(trace: Any) -> None:
    maps = np.random.default_rng(0).random((300, len(trace.tokens), len(trace.times)))
    drawn = [looks_of(trace, one) for one in maps]
    chance = by_chance(trace)
    for name in ("pointing", "energy_at_peak", "speech_preference", "silence_leakage", "diagonality", "order"):
        assert np.mean([one[name] for one in drawn]) == pytest.approx(chance[name], abs=0.03), name


def test_times_of_words_are_compared_by_letters(bundled: Any, trace: Any) -> None:
    words = TRUTH[CLIP.stem]
    found = quality(trace, words=words)
    assert found.boundaries is not None
    assert (found.boundaries.units, found.spoken) == (6, 6)
    errors = [abs(word.start - true[1]) for word, true in zip(trace.words, words, strict=True)]
    assert found.boundaries.start.mean == pytest.approx(np.mean(errors))
    hits = sum(abs(word.start - a) <= 0.05 for word, (_, a, _) in zip(trace.words, words, strict=True))
    hits += sum(abs(word.end - b) <= 0.05 for word, (_, _, b) in zip(trace.words, words, strict=True))
    assert found.recall == pytest.approx(hits / 12)
    late = [(text, start - 0.4, end - 0.4) for text, start, end in words]
    moved = quality(trace, words=[(text, max(0.0, a), max(0.0, b)) for text, a, b in late])
    assert moved.boundaries is not None
    assert moved.boundaries.start.bias > found.boundaries.start.bias + 0.3


def test_words_that_came_out_wrong_are_missed(bundled: Any) -> None:
    noisy = CLIPS / "en_noise_burst.wav"
    found = quality(bundled.trace(noisy), words=TRUTH[noisy.stem])
    assert found.boundaries is not None
    assert (found.boundaries.units, found.spoken) == (5, 6)
    assert json.loads(json.dumps(found.to_dict()))["boundaries"]["units"] == 5


def test_heads_are_ranked_by_where_they_point(bundled: Any, trace: Any) -> None:
    atlas = head_atlas(bundled, [CLIP, CLIPS / "zh_happy_speech.wav"])
    assert len(atlas) == bundled.layers * bundled.heads
    assert [one.pointing for one in atlas] == sorted((one.pointing for one in atlas), reverse=True)
    best = atlas[0]
    told = [bundled.trace(path) for path in (CLIP, CLIPS / "zh_happy_speech.wav")]
    shares = []
    for one in told:
        weights = one.token_attention([best.layer], [best.head]).values[0, 0]
        peaks = one.times[weights.argmax(axis=1)]
        shares.append(np.mean([t.start - 0.06 <= at <= t.end + 0.06 for t, at in zip(one.tokens, peaks, strict=True)]))
    assert best.pointing == pytest.approx(np.mean(shares))
    assert best.spread == pytest.approx(np.std(shares, ddof=1))
    alone = head_atlas(bundled, [CLIP])
    assert {one.spread for one in alone} == {None}
    assert {one.stable for one in alone} == {None}


def test_what_cannot_be_judged(bundled: Any, trace: Any) -> None:
    with pytest.raises(OptionError, match="give the model that made the trace"):
        quality(trace, method="exact")
    with pytest.raises(OptionError, match="layer 99 does not exist"):
        quality(trace, voxray.AttentionView(layer=99))
    with pytest.raises(OptionError, match="ends at 900 s, after the sound"):
        checked_words([("one", 0.0, 900.0)], 3.0)
    with pytest.raises(OptionError, match="give start and end in seconds"):
        quality(trace, words=[("one", 0.5, 0.2)])
    with pytest.raises(OptionError, match="none of the clips has a word"):
        head_atlas(bundled, [np.zeros(16000, np.float32)])


def test_a_trace_without_words(bundled: Any) -> None:
    found = quality(bundled.trace(np.zeros(16000, np.float32)))
    assert found.tokens == 0
    assert set(found.figures.values()) == {None}


def test_long_sound_counts_every_piece_by_its_tokens(trace: Any) -> None:
    twice = replace(trace)
    one = quality(twice)
    assert one.figures == quality(trace).figures
