"""How alike two models are inside: every figure against a slow twin and against cases worked out by hand."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from voxray.measures.similarity import (
    AttentionSums,
    LogitSums,
    Pooled,
    attention_sums,
    centred,
    jensen_shannon,
    logit_sums,
    margins,
    posteriors,
    squared_change,
    without_prompts,
)

RNG = np.random.default_rng(7)


def rows(*shape: int) -> np.ndarray:
    weights = RNG.random(shape) ** 3
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def slow_divergence(a: np.ndarray, b: np.ndarray) -> float:
    """Half of KL(a, m) and half of KL(b, m), term by term, in bits."""
    total = 0.0
    for x, y in zip(a.astype(float).tolist(), b.astype(float).tolist(), strict=True):
        for one in (x, y):
            if one > 0:
                total += one * math.log2(one / ((x + y) / 2)) / 2
    return total


class TestJensenShannon:
    def test_by_hand(self) -> None:
        assert jensen_shannon([1.0, 0.0], [0.0, 1.0]) == 1.0
        assert jensen_shannon([0.5, 0.5], [0.5, 0.5]) == 0.0
        # m = (3/4, 1/4): half of log2(4/3), and half of (log2(2/3) + log2(2)) / 2.
        wanted = (math.log2(4 / 3) + (math.log2(2 / 3) + math.log2(2)) / 2) / 2
        assert jensen_shannon([1.0, 0.0], [0.5, 0.5]) == pytest.approx(wanted, abs=1e-15)

    def test_against_a_slow_twin(self) -> None:
        a, b = rows(3, 4, 17), rows(3, 4, 17)
        found = jensen_shannon(a, b)
        assert found.shape == (3, 4)
        for place in np.ndindex(3, 4):
            assert found[place] == pytest.approx(slow_divergence(a[place], b[place]), abs=1e-12)

    def test_is_symmetric_and_at_most_one(self) -> None:
        a, b = rows(50, 8), rows(50, 8)
        assert jensen_shannon(a, b) == pytest.approx(jensen_shannon(b, a), abs=1e-15)
        assert (jensen_shannon(a, b) <= 1).all()
        assert (jensen_shannon(a, a) == 0).all()

    def test_small_differences_are_not_lost_in_rounding(self) -> None:
        a = np.full(1000, 1e-3)
        b = a + 1e-9 * np.tile([1, -1], 500)
        assert jensen_shannon(a, b) == pytest.approx(
            1000 * 1e-18 / (8 * 1e-3 * math.log(2)), rel=1e-3
        )  # second order in the change

    def test_refuses_other_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
            jensen_shannon([0.5, 0.5], [0.2, 0.3, 0.5])


def test_the_prompts_can_be_left_out() -> None:
    sound, mass = without_prompts(np.array([[0.5, 0.1, 0.4], [1.0, 0.0, 0.0]], np.float32), 1)
    assert sound == pytest.approx(np.array([[0.2, 0.8], [0.0, 0.0]]), abs=1e-7)
    assert mass == pytest.approx(np.array([0.5, 0.0]), abs=1e-7)


class TestAttentionSums:
    PROMPTS, LAYERS, HEADS, N = 2, 3, 4, 9

    def sums(self) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], AttentionSums]:
        a, b = (rows(self.LAYERS, self.HEADS, self.N, self.N) for _ in range(2))
        norms = RNG.random((self.LAYERS, self.HEADS, self.N)), RNG.random((self.LAYERS, self.HEADS, self.N))
        return a, b, norms, attention_sums(a, b, norms, self.PROMPTS)

    def test_against_a_slow_twin(self) -> None:
        a, b, norms, found = self.sums()
        for layer, head in np.ndindex(self.LAYERS, self.HEADS):
            bits = sound = weighted = 0.0
            moved = 0
            for row in range(self.PROMPTS, self.N):
                x, y = a[layer, head, row], b[layer, head, row]
                one = slow_divergence(x, y)
                bits += one
                sound += slow_divergence(x[2:] / x[2:].sum(), y[2:] / y[2:].sum())
                weighted += one * (norms[0][layer, head, row] + norms[1][layer, head, row]) / 2
                moved += x.argmax() != y.argmax()
            assert found.rows[layer, head] == found.sound_rows[layer, head] == self.N - self.PROMPTS
            assert found.divergence[layer, head] == pytest.approx(bits, abs=1e-10)
            assert found.sound_divergence[layer, head] == pytest.approx(sound, abs=1e-6)
            assert found.weighted[layer, head] == pytest.approx(weighted, abs=1e-10)
            assert found.moved[layer, head] == moved
        mean = (norms[0] + norms[1])[:, :, self.PROMPTS :].sum(axis=-1).mean(axis=-1) / 2
        assert found.norm == pytest.approx(mean, abs=1e-10)

    def test_a_row_that_looks_at_prompts_alone_has_no_divergence_over_the_sound(self) -> None:
        a = np.array([[[[1, 0, 0], [1, 0, 0], [0, 1, 0]]]], np.float32)
        b = np.array([[[[1, 0, 0], [0, 1, 0], [0, 0, 1]]]], np.float32)
        found = attention_sums(a, b, (np.ones((1, 1, 3)), np.ones((1, 1, 3))), 1)
        assert found.rows.item() == 2
        assert found.sound_rows.item() == 1
        assert found.divergence.item() == 2.0
        assert found.sound_divergence.item() == 1.0
        assert found.moved.item() == 2

    def test_heads_of_equal_norm_are_weighted_alike(self) -> None:
        a, b = rows(1, 2, 5, 5), rows(1, 2, 5, 5)
        found = attention_sums(a, b, (np.full((1, 2, 5), 3.0), np.full((1, 2, 5), 3.0)), 0)
        assert found.weighted / found.norm[:, None] == pytest.approx(found.divergence / found.rows, abs=1e-12)

    def test_pieces_add_up(self) -> None:
        *_, found = self.sums()
        both = found + found
        for one in fields(found):
            assert getattr(both, one.name) == pytest.approx(2 * getattr(found, one.name))


class TestPooled:
    def test_cka_against_the_gram_matrices(self) -> None:
        """The other form of linear CKA: by the products of rows with rows instead of columns with columns."""
        x, y = RNG.normal(size=(60, 5)) + 3, RNG.normal(size=(60, 8))
        y[:, :3] += x[:, :3]
        pooled = Pooled()
        for part in (slice(0, 20), slice(20, 60)):
            pooled.add(x[part].astype(np.float32), y[part].astype(np.float32))
        one, other = (z - z.mean(axis=0) for z in (x, y))
        k, m = one @ one.T, other @ other.T
        assert pooled.cka() == pytest.approx((k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum()), abs=1e-6)
        assert (pooled.rows, pooled.width) == (60, 5)

    def test_is_one_up_to_rotation_scale_and_shift(self) -> None:
        x = RNG.normal(size=(40, 6))
        turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
        pooled = Pooled()
        pooled.add(x, 2.5 * x @ turn + 7)
        assert pooled.cka() == pytest.approx(1.0, abs=1e-9)

    def test_by_hand(self) -> None:
        """x = (1, -1, 0, 0), y = (1, 1, -1, -1): x.y = 0, so nothing is shared; with itself all is."""
        x, y = np.array([[1.0], [-1], [0], [0]]), np.array([[1.0], [1], [-1], [-1]])
        none, whole = Pooled(), Pooled()
        none.add(x, y)
        whole.add(x, x)
        assert (none.cka(), whole.cka()) == (0.0, 1.0)

    def test_has_no_value_where_nothing_varies(self) -> None:
        pooled = Pooled()
        assert pooled.cka() is None
        pooled.add(np.ones((5, 3), np.float32), RNG.normal(size=(5, 3)).astype(np.float32))
        assert pooled.cka() is None

    def test_refuses_other_rows(self) -> None:
        with pytest.raises(ValueError, match="got 2 and 3"):
            Pooled().add(np.zeros((2, 4), np.float32), np.zeros((3, 4), np.float32))


def test_squared_change_by_hand() -> None:
    assert squared_change(np.array([[3.0, 4.0]]), np.array([[3.0, 7.0]])) == (9.0, 25.0)


class TestLogits:
    def test_against_a_slow_twin(self) -> None:
        a, b = (RNG.normal(size=(6, 11)).astype(np.float32) for _ in range(2))
        found = logit_sums(a, b)
        distance = size = bits = 0.0
        for x, y in zip(a.astype(float), b.astype(float), strict=True):
            p, q = (np.exp(z) / np.exp(z).sum() for z in (x, y))
            distance += ((y - y.mean() - x + x.mean()) ** 2).sum()
            size += ((x - x.mean()) ** 2).sum()
            bits += slow_divergence(p, q)
        assert (found.rows, found.moved) == (6, int((a.argmax(axis=1) != b.argmax(axis=1)).sum()))
        assert (found.distance, found.size, found.divergence) == pytest.approx((distance, size, bits), abs=1e-9)
        assert found.relative == pytest.approx(math.sqrt(distance / size))

    def test_what_a_row_has_in_common_does_not_count(self) -> None:
        a = RNG.normal(size=(4, 9)).astype(np.float64)
        found = logit_sums(a, a + 5)
        assert found.distance == pytest.approx(0, abs=1e-20)
        assert found.divergence == pytest.approx(0, abs=1e-12)

    def test_equal_rows_give_exactly_nothing(self) -> None:
        a = RNG.normal(size=(4, 9)).astype(np.float32)
        assert logit_sums(a, a) == LogitSums(4, 0.0, logit_sums(a, a).size, 0.0, 0, 0.0)

    def test_no_rows(self) -> None:
        empty = np.zeros((0, 9), np.float32)
        assert logit_sums(empty, empty) == LogitSums(0, 0.0, 0.0, 0.0, 0, 0.0)
        assert logit_sums(empty, empty).relative == 0.0

    def test_sums_add_up_and_the_largest_stays(self) -> None:
        a, b = LogitSums(2, 1.0, 4.0, 0.5, 1, 3.0), LogitSums(3, 2.0, 5.0, 0.25, 0, 2.0)
        assert a + b == LogitSums(5, 3.0, 9.0, 0.75, 1, 3.0)

    def test_refuses_other_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
            logit_sums(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))

    def test_centred_rows_and_posteriors(self) -> None:
        assert centred(np.array([[1.0, 3.0]], np.float32)).tolist() == [[-1.0, 1.0]]
        assert posteriors(np.array([[0.0, math.log(3)]])) == pytest.approx(np.array([[0.25, 0.75]]))


class TestMargins:
    def test_by_hand(self) -> None:
        logits = np.array([[5.0, 2.0, 1.0], [0.0, 4.0, 7.0]], np.float32)
        assert margins(logits, [0, 1, 1], [0, 1, 2]).tolist() == [3.0, -3.0, 3.0]
        assert logits[1].tolist() == [0.0, 4.0, 7.0], "the input is left alone"

    def test_of_nothing(self) -> None:
        assert margins(np.zeros((0, 5), np.float32), [], []).shape == (0,)
