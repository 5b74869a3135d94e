"""The network of seams against a twin written with loops, and what it is told."""

from __future__ import annotations

import numpy as np
import pytest

from voxray import seams
from voxray.seams import Layer, Seam, Side

LARGEST_ASSET = 100_000  # bytes


def slow_layer(layer: Layer, values: np.ndarray) -> np.ndarray:
    """Return a convolution by its definition."""
    taps, width, channels = layer.weight.shape
    result = np.zeros((len(values), channels))
    for row in range(len(values)):
        for channel in range(channels):
            total = float(layer.bias[channel])
            for tap in range(taps):
                at = row + (tap - taps // 2) * layer.dilation
                if 0 <= at < len(values):
                    total += sum(float(values[at, k]) * float(layer.weight[tap, k, channel]) for k in range(width))
            result[row, channel] = total
    return result


def side(rng: np.random.Generator, rows: int, edge: str) -> Side:
    """Return a word beside a seam."""
    near = -rng.exponential(3, rows).astype(np.float32)
    return Side(near, np.maximum(near, -2), float(rng.integers(40)), 12.0, 5, 2, wide=not edge, edge=edge)


@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (3, 1), (3, 8), (5, 2)])
def test_a_layer_is_its_definition(taps: int, dilation: int) -> None:
    rng = np.random.default_rng(taps)
    layer = Layer(rng.normal(size=(taps, 4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32), dilation)
    for rows in (1, 5, 23):
        values = rng.normal(size=(rows, 4)).astype(np.float32)
        assert layer(values) == pytest.approx(slow_layer(layer, values), abs=1e-4)


def test_the_network_is_its_layers() -> None:
    """Heard and judged step by step, with the weights that are shipped."""
    net, rng = seams.network(), np.random.default_rng(0)
    view = rng.uniform(-2, 2, (20, seams.BANDS)).astype(np.float32)
    heard = np.maximum(slow_layer(net.enter, view), 0)
    for layer in net.deepen:
        heard = heard + np.maximum(slow_layer(layer, heard), 0)
    heard = slow_layer(net.leave, heard)
    assert net.hear(view) == pytest.approx(heard, abs=1e-3)
    seam = Seam(3, rng.normal(size=15).astype(np.float32), side(rng, 15, "TS"), side(rng, 15, ""))
    moving, still = seams.told(seam)
    values = np.maximum(heard[3:18] + slow_layer(net.look, moving) + still @ net.know, 0)
    scores = slow_layer(net.say, np.maximum(values + slow_layer(net.look_on, values), 0)).T
    wanted = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert net.judge(net.hear(view), seam) == pytest.approx(wanted, abs=1e-3)
    assert np.exp(net.judge(net.hear(view), seam)).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_the_asset_is_small() -> None:
    assert seams.WEIGHTS.stat().st_size < LARGEST_ASSET
    net = seams.network()
    assert [layer.dilation for layer in (*net.deepen, net.look_on)] == [1, 2, 4, 8, 2]
    assert (net.look.weight.shape[1], net.know.shape[0]) == (seams.MOVING, seams.STILL)


def test_the_view_does_not_know_how_loud_it_is() -> None:
    bank = np.random.default_rng(0).normal(10, 3, (50, 80)).astype(np.float32)
    view = seams.view_of(bank)
    assert view.shape == (50, 40)
    assert np.abs(view).max() <= 2
    assert seams.view_of(bank + np.float32(3)) == pytest.approx(view, abs=1e-5)
    bands = (bank[:, 0::2] + bank[:, 1::2]) / 2
    level = np.percentile(bands.max(axis=1), 95)
    assert view == pytest.approx(np.clip((bands - level + 6) / 3, -2, 2), abs=1e-4)


def test_what_is_told_of_a_seam() -> None:
    near = np.array([0, -6, -12], np.float32)
    before = Side(near, near / 2, 10.0, 30.0, 3, 4, wide=False, edge="TS")
    after = Side(near[::-1], near[::-1] / 2, 20.0, 0.0, 1, 1, wide=True, edge="")
    moving, still = seams.told(Seam(8, np.array([0, 6, 24], np.float32), before, after))
    assert (moving.shape, still.shape) == ((3, seams.MOVING), (seams.STILL,))
    assert moving[:, 0] == pytest.approx([2, 0, -2])  # 12 nats ahead, level, 12 behind
    assert moving[:, 1] == pytest.approx([0, -1, -2])
    assert moving[:, 5] == pytest.approx([0, 1, 2])
    assert moving[:, 6] == pytest.approx([-0.1, -0.05, 0])
    assert moving[:, 7] == pytest.approx([-0.6, -0.55, -0.5])
    assert moving[:, 8] == pytest.approx(np.exp(near))
    once = 5 + 2 * len(seams.KINDS)
    assert still[0] == pytest.approx(0.5)
    assert still[1:6] == pytest.approx([np.log(4), 1.5, 1, 0, 0])
    assert still[6 : 6 + 12].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]  # T is a stop, S a hiss
    assert still[1 + once : 6 + once] == pytest.approx([np.log(2), 0, 0.25, 1, 0])
    assert not still[6 + once :].any()


def test_before_the_first_word_there_is_none() -> None:
    rng = np.random.default_rng(0)
    moving, still = seams.told(Seam(0, np.zeros(5, np.float32), None, side(rng, 5, "A")))
    assert not moving[:, [1, 3, 8]].any()
    assert still[0] == 0
    assert still[1:6].tolist() == [0, 0, 0, 0, 1]
