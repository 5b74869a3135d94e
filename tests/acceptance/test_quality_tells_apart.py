"""``voxray quality`` tells the bundled model from broken ones, by every figure that its page recommends, over the bundled clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.models.exchange import randomised
from voxray.studies.quality import QUALITY_FIGURES, Quality, looks_of, quality, relevance_of
from voxray.types import Features

RECOMMENDED = [name for name, looks in QUALITY_FIGURES.items() if looks.recommended]
CLOCKS = {"late": 0.5, "early": -0.5}
WORST = {"pointing": 0.3, "energy_at_peak": 0.6}
"""What no broken model comes up to, on average over the clips, and the whole one exceeds."""


@pytest.fixture(scope="module")
def traces(bundled: Any, clips: Path) -> list[Any]:
    found = [bundled.trace(path, gradients=True) for path in sorted(clips.glob("*.wav"))]
    return [one for one in found if len(one.tokens) > 1]


@pytest.fixture(scope="module")
def good(traces: list[Any]) -> list[Quality]:
    return [quality(one) for one in traces]


@pytest.fixture(scope="module", params=[0, 1], ids=["seed 0", "seed 1"])
def random_layers(request: pytest.FixtureRequest, bundled: Any) -> Any:
    return randomised(bundled, "layers", seed=request.param)


def off(trace: Any, seconds: float) -> Any:
    """A trace whose frames tell the time wrong; its tokens do not."""
    return replace(trace, features=tuple(Features(one.values, one.hop, one.start + seconds) for one in trace.features))


def mean(told: list[Quality], name: str) -> float:
    """The figure over the clips of which it can be told."""
    values = [one.figures[name] for one in told]
    return float(np.mean([one for one in values if one is not None]))


def gain(name: str, good: float, bad: float) -> float:
    return good - bad if QUALITY_FIGURES[name].better == "higher" else bad - good


def test_what_is_recommended() -> None:
    assert set(WORST) == set(RECOMMENDED)


@pytest.mark.parametrize("how", CLOCKS)
def test_attention_with_a_wrong_clock(traces: list[Any], good: list[Quality], how: str) -> None:
    bad = [quality(off(one, CLOCKS[how])) for one in traces]
    for name in RECOMMENDED:
        assert mean(bad, name) < WORST[name] < mean(good, name), name
        better = sum(gain(name, one.figures[name] or 0.0, two.figures[name] or 0.0) > 0 for one, two in zip(good, bad, strict=True))
        assert better >= len(traces) - 1, name


def test_attention_of_random_layers(traces: list[Any], good: list[Quality], random_layers: Any) -> None:
    bad = [quality(random_layers.trace(one.audio)) for one in traces]
    assert sum(one.tokens > 0 for one in bad) >= 3  # it says something, if nothing that was said
    for name in RECOMMENDED:
        assert mean(bad, name) < WORST[name] < mean(good, name), name


def relevances(model: Any, traces: list[Any]) -> list[tuple[Any, np.ndarray]]:
    return [(one, relevance_of(one, "exact", model)) for one in traces if one.tokens]


def figure(told: list[tuple[Any, np.ndarray]], name: str, seconds: float = 0.0) -> float:
    """The figure of relevance over the clips, with the clock of the frames off by some seconds."""
    return float(np.nanmean([looks_of(off(one, seconds), weights)[name] for one, weights in told]))


def test_relevance_with_a_wrong_clock_and_of_random_layers(bundled: Any, traces: list[Any], random_layers: Any) -> None:
    own = relevances(bundled, traces)
    random = relevances(random_layers, [random_layers.trace(one.audio, gradients=True) for one in traces])
    for name in RECOMMENDED:
        good = figure(own, name)
        for seconds in CLOCKS.values():
            assert gain(name, good, figure(own, name, seconds)) > 0.05, name
        assert gain(name, good, figure(random, name)) > 0.03, name
