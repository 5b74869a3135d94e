"""What heads look at: every measure against loops over rows, and attention made by hand whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from plain_heads import HOP, PROMPTS, heads_with, slow
from voxray.measures.heads import MEASURES, Heads, heads_of, sums_of
from voxray.types import OptionError


def random_attention(frames: int, seed: int, *, layers: int = 2, heads: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weights = rng.random((layers, heads, frames + PROMPTS, frames + PROMPTS)) ** 6
    weights[0, 0, :, 2] = 0  # zeros count as nothing, not as NaN
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("lengths", [(1,), (2,), (17,), (9, 23), (12, 1, 6)])
def test_every_measure_is_that_of_loops_over_rows(lengths: tuple[int, ...]) -> None:
    pieces = [random_attention(frames, seed) for seed, frames in enumerate(lengths)]
    heads = heads_of([sums_of(piece, PROMPTS) for piece in pieces], HOP)
    for layer, head in np.ndindex(2, 3):
        expected = slow(pieces, layer, head)
        assert set(expected) == set(MEASURES)
        for name, value in expected.items():
            assert getattr(heads, name)[layer, head] == pytest.approx(value, abs=2e-6), name
    prompts = np.concatenate([piece[:, :, PROMPTS:, :PROMPTS] for piece in pieces], axis=2).mean(axis=2)
    np.testing.assert_allclose(heads.prompts, prompts, atol=1e-6)


def one_head(weights: np.ndarray) -> Heads:
    return heads_of([sums_of(weights[None, None].astype(np.float32), PROMPTS)], HOP)


def diagonal(frames: int, by: int) -> np.ndarray:
    """Rows that look at the one row some frames ahead; at the ends at the last one there is."""
    weights = np.zeros((frames + PROMPTS, frames + PROMPTS))
    for i in range(frames):
        weights[PROMPTS + i, PROMPTS + min(max(i + by, 0), frames - 1)] = 1
    return weights


def values_of(heads: Heads) -> dict[str, float]:
    return {name: float(getattr(heads, name)[0, 0]) for name in MEASURES}


def test_attention_to_itself_is_local_and_sharp() -> None:
    heads = one_head(diagonal(40, 0))
    wanted = {"near": 1.0, "self_mass": 1.0, "sharpness": 1.0}
    assert values_of(heads) == pytest.approx(dict.fromkeys(MEASURES, 0.0) | wanted)
    assert heads.roles == [["local"]]


def test_attention_spread_evenly_is_global_and_equals_chance() -> None:
    frames = 40
    rows = frames + PROMPTS
    heads = one_head(np.full((rows, rows), 1 / rows))
    found = values_of(heads)
    assert found["entropy"] == pytest.approx(math.log2(rows), abs=1e-5)
    assert found["relative_entropy"] == pytest.approx(1.0, abs=1e-6)
    assert found["near"] == pytest.approx(sum(frames - abs(step) for step in range(-5, 6)) / frames**2, abs=1e-6)
    assert found["prompt_mass"] == pytest.approx(PROMPTS / rows, abs=1e-6)
    assert found["sharpness"] == found["self_mass"] == pytest.approx(1 / rows, abs=1e-7)
    assert (found["offset"], found["balance"]) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert heads.chance == pytest.approx({name: found[name] for name in ("entropy", "distance", "near")}, abs=1e-5)
    assert 0.25 < found["distance"] / (frames * HOP) < 0.33  # of two random moments the median distance is 1 - sqrt(1/2) of all
    assert heads.roles == [["global"]]


@pytest.mark.parametrize(("by", "role"), [(3, "look-ahead"), (-3, "look-back"), (9, "look-ahead"), (-9, "look-back")])
def test_attention_to_one_side_has_its_sign(by: int, role: str) -> None:
    frames = 40
    heads = one_head(diagonal(frames, by))
    found = values_of(heads)
    offsets = [min(max(i + by, 0), frames - 1) - i for i in range(frames)]
    assert found["offset"] == pytest.approx(HOP * np.mean(offsets))
    assert np.sign(found["offset"]) == np.sign(by)
    assert found["balance"] == pytest.approx(np.sign(by) * (frames - 1) / frames)
    assert found["distance"] == pytest.approx(HOP * abs(by))
    assert found["near"] == pytest.approx(np.mean(np.abs(offsets) <= 5))
    assert heads.roles == [[role]]


def test_attention_to_prompts_alone_has_no_place_in_the_sound() -> None:
    weights = np.zeros((24, 24))
    weights[:, 2] = 1
    heads = one_head(weights)
    assert values_of(heads)["prompt_mass"] == 1
    np.testing.assert_allclose(heads.prompts[0, 0], [0, 0, 1, 0])
    for name in ("distance", "near", "offset", "balance"):
        assert np.isnan(getattr(heads, name)[0, 0]), name
        assert heads.to_dict()[name] == [[None]]
        assert math.isnan(heads.mean(name))
    assert heads.roles == [["prompt"]]


def test_a_head_without_a_value_does_not_count_in_its_layer() -> None:
    both = np.stack([diagonal(20, 2), diagonal(20, 2)])
    both[1] = 0
    both[1, :, 0] = 1
    heads = heads_of([sums_of(both[None].astype(np.float32), PROMPTS)], HOP)
    assert heads.profile("distance").tolist() == pytest.approx([0.12])
    assert heads.profile("prompt_mass").tolist() == pytest.approx([0.5])
    with pytest.raises(OptionError, match="'size' is not known here; choose one of entropy, relative_entropy"):
        heads.profile("size")


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ({"prompt_mass": 0.5, "balance": 0.9}, "prompt"),
        ({"prompt_mass": 0.49, "balance": 0.5, "near": 0.9}, "look-ahead"),
        ({"balance": -0.5, "near": 0.9}, "look-back"),
        ({"near": 0.61, "relative_entropy": 0.9}, "local"),
        ({"near": 0.59, "relative_entropy": 0.8}, "global"),
        ({"near": 0.59, "relative_entropy": 0.79}, "mixed"),
        ({"near": math.nan, "balance": math.nan}, "mixed"),
    ],
)
def test_roles_follow_their_bounds_in_order(values: dict[str, float], role: str) -> None:
    assert heads_with(**values).roles == [[role, role]]


def test_attention_without_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no row of sound"):
        sums_of(np.ones((1, 1, 4, 4), np.float32), 4)
    with pytest.raises(OptionError, match="holds no speech"):
        heads_of([], HOP)
