"""Sanity of explanations: held targets, and every figure against hand-made maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.case import Case
from voxray.measures import faithfulness
from voxray.methods import Found, build
from voxray.sounds import with_noise
from voxray.studies.bench import sanity
from voxray.studies.bench.probes import even_parts
from voxray.targets import resolve
from voxray.types import Grid

EDGES = np.arange(11) * 0.06


@pytest.fixture(scope="module")
def said(bundled: Any, clips: Path) -> Any:
    """A clip of the bundled model, two words of it, and the edges of its parts."""
    trace = bundled.trace(clips / "en_neutral_speech.wav", gradients=True, tensors=("input", "value"))
    aims = [resolve(trace, bundled.vocabulary, bundled.labels, f"word:{index}") for index in (0, 2)]
    return trace, aims, even_parts(Case(bundled, trace, aims).cells).edges


def test_stages_go_from_the_top_down(bundled: Any) -> None:
    made = sanity.stages(bundled)
    assert [one.name for one in made] == ["head", "head and layers 9 to 13", "head and layers 5 to 13", "all"]
    assert [one.model.info.name.partition("(")[2].split(" ")[1] for one in made] == ["14", "9,", "5,", "0,"]
    assert sanity.last_stage(bundled).model.info == made[-1].model.info


def test_held_by_the_same_model_nothing_changes(bundled: Any, said: Any) -> None:
    trace, aims, edges = said
    case, again = Case(bundled, trace, aims), sanity.held(bundled, trace, aims)
    for name in ("exact", "attention", "norm_rollout", "word_leave_one_out"):
        maps = sanity.part_maps(build(name, {}), [case, again], edges)
        assert maps.shape == (2, 2, len(edges) - 1)
        assert np.abs(maps[0] - maps[1]).max() <= 1e-4 * np.abs(maps[0]).max()


def test_another_model_is_asked_about_the_same_target(bundled: Any, said: Any) -> None:
    trace, aims, edges = said
    other = sanity.last_stage(bundled).model
    case = sanity.held(other, trace, aims)
    assert case.trace.text == trace.text
    assert other.transcribe(trace.audio).text != trace.text
    assert case.base("margin") == pytest.approx([aim.margin(other.logits(trace.features)[0]) for aim in aims], rel=1e-5)
    assert np.array_equal(case.trace.occupancy(), trace.occupancy())
    maps = sanity.part_maps(build("exact", {}), [Case(bundled, trace, aims), case], edges)
    for own, found in zip(maps[0], maps[1], strict=True):
        assert abs(sanity.fall(own, [found]).similarity or 0.0) < 0.5


def test_faint_noise_moves_a_map_a_little(bundled: Any, said: Any) -> None:
    trace, aims, edges = said
    cases = [sanity.held(bundled, trace, aims, with_noise(trace.audio, snr, 0)) for snr in (sanity.SNR, 5.0)]
    own, faint, loud = sanity.part_maps(build("exact", {}), [Case(bundled, trace, aims), *cases], edges)
    moved = [faithfulness.sensitivity(one, [two]) for one, two in zip(own, faint, strict=True)]
    moved_far = [faithfulness.sensitivity(one, [two]) for one, two in zip(own, loud, strict=True)]
    assert all(0 < (one or 0) < (two or 0) for one, two in zip(moved, moved_far, strict=True))


def test_fall_is_a_rank_correlation_stage_by_stage() -> None:
    own = np.array([0.0, 1.0, -2.0, 3.0, -4.0])
    told = sanity.fall(own, [own * 2, -own, np.abs(own), np.ones(5)])
    assert told.signed[:2] == pytest.approx((1.0, -1.0))
    assert told.absolute[:3] == pytest.approx((1.0, 1.0, 1.0))
    assert told.signed[2] == pytest.approx(-0.3)  # ranks 3 4 2 5 1 and 1 2 3 4 5: 1 - 6 * 26 / 120
    assert told.signed[3] is None
    assert told.similarity is None
    assert sanity.fall(own, [-own]).similarity == pytest.approx(-1.0)


def test_rise_counts_the_histogram() -> None:
    own = np.array([0.0] * 16 + [1.0] * 16)  # of 10 bins two are filled alike: 1 bit
    four = np.repeat([0.0, 1.0, 2.0, 3.0], 8)  # 2 bits
    assert sanity.rise(own, four) == pytest.approx(1.0)
    assert sanity.rise(four, own) == pytest.approx(-0.5)
    assert sanity.rise(own, np.ones(32)) == pytest.approx(-1.0)
    assert sanity.rise(np.ones(32), own) is None


def test_seeds_agree_by_pairs() -> None:
    rising = np.arange(6.0)
    assert sanity.seed_agreement([rising, rising + 1, -rising]) == pytest.approx((1 - 1 - 1) / 3)
    assert sanity.seed_agreement([rising]) is None
    assert sanity.seed_agreement([rising, np.ones(6)]) is None


def test_shift_error_is_in_frames() -> None:
    bump = np.array([0, 0, 1.0, 3.0, 1.0, 0, -5.0, 0, 0, 0])
    late = np.concatenate([np.zeros(10), bump])
    later = np.arange(21) * 0.06
    assert sanity.shift_error((bump, EDGES), (late, later), 0.6) == pytest.approx(0.0, abs=1e-9)
    assert sanity.shift_error((bump, EDGES), (np.roll(late, 2), later), 0.6) == pytest.approx(2.0)
    assert sanity.shift_error((np.ones(10), EDGES), (np.ones(20), later), 0.6) == pytest.approx(10.0)  # a map that knows nothing
    assert sanity.shift_error((-np.ones(10), EDGES), (late, later), 0.6) is None


def test_follows_compares_the_two_places() -> None:
    bump = np.array([0, 0, 0, 0, 0, 0, 1.0, 3.0, 1.0, 0])
    assert sanity.follows(bump, EDGES, (0.36, 0.54), (0.0, 0.18)) is True
    assert sanity.follows(bump, EDGES, (0.0, 0.18), (0.36, 0.54)) is False
    assert sanity.follows(np.ones(10), EDGES, (0.0, 0.12), (0.3, 0.6)) is None
    assert sanity.follows(-bump, EDGES, (0.0, 0.18), (0.36, 0.54)) is None


def test_prompt_mass_is_a_share_of_absolute_relevance() -> None:
    grid = Grid(EDGES, np.array([0.0, 80.0]))
    scores = np.zeros((1, 10), np.float32)
    scores[0, 2], scores[0, 5] = 2.0, -1.0
    assert sanity.prompt_mass(Found(scores, grid, 1.0, "logit", {"prompt": -1.0, "bias": 9.0}), EDGES) == pytest.approx(0.25)
    assert sanity.prompt_mass(Found(scores, grid, 1.0, "logit", {"baseline": 1.0}), EDGES) is None
    assert sanity.prompt_mass(Found(scores * 0, grid, 1.0, "logit", {"prompt": 0.0}), EDGES) is None
