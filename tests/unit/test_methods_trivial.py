"""The trivial maps that every explanation must beat, against plain sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import voxray
from voxray import methods
from voxray.case import Case
from voxray.targets import resolve
from voxray.types import Audio, OptionError

NAMES = ["random", "uniform", "energy", "emission"]


@pytest.fixture(scope="module")
def case(clips: Path) -> Case:
    model = voxray.load_model()
    trace = model.trace(clips / "en_neutral_speech.wav").piece(0)
    return Case(model, trace, [resolve(trace, model.vocabulary, model.labels, one) for one in ("word:1", "text", "emotion")])


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_one_at_no_cost(case: Case, name: str) -> None:
    made = methods.build(name, {})
    found = made.explain(case)
    assert not made.adds_up
    assert len(found) == 3
    for one in found:
        assert one.scores.shape == one.grid.shape == (1, len(case.bank))
        assert one.scores.min() >= 0
        assert float(one.scores.sum(dtype=float)) == pytest.approx(1.0, abs=1e-5)
        assert (one.score, one.unit) == (1.0, "share")
        np.testing.assert_array_equal(one.grid.times, case.cells.times)
    assert case.meter.spent == 0


def test_random_is_drawn_by_its_seed_for_each_target(case: Case) -> None:
    one, again, other = (methods.build("random", {"seed": seed}).explain(case) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0].scores, again[0].scores)
    assert not np.array_equal(one[0].scores, other[0].scores)
    assert not np.array_equal(one[0].scores, one[1].scores)
    spread = np.corrcoef(one[0].scores[0], np.arange(len(case.bank)))[0, 1]
    assert abs(spread) < 0.25


def test_uniform_prefers_no_moment(case: Case) -> None:
    (one, *_) = methods.build("uniform", {}).explain(case)
    assert np.ptp(one.scores) == 0


def test_energy_is_log_energy_above_the_quietest(case: Case) -> None:
    (one, *_) = methods.build("energy", {}).explain(case)
    energies = [math.log(sum(math.exp(value) for value in row)) for row in case.bank.tolist()]
    above = [energy - min(energies) for energy in energies]
    np.testing.assert_allclose(one.scores[0], np.array(above) / sum(above), atol=1e-7)
    assert one.scores.min() == 0


def test_energy_of_silence_is_uniform(case: Case) -> None:
    silent = Case(case.model, case.model.trace(Audio(np.zeros(16000, np.float32))).piece(0), case.aims[-1:])
    (one,) = methods.build("energy", {}).explain(silent)
    np.testing.assert_allclose(one.scores, 1 / len(silent.bank), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.12, 0.05])
def test_emission_is_a_bell_at_each_token(case: Case, sigma: float) -> None:
    word, text, tag = methods.build("emission", {"sigma": sigma}).explain(case)
    for found, tokens in ((word, case.trace.tokens[slice(*case.trace.words[1].tokens)]), (text, case.trace.tokens)):
        wanted = np.zeros(len(case.bank))
        for token in tokens:
            emitted = 0.0125 + 0.06 * (token.peak - 4)
            assert token.start < emitted < token.end
            bell = [math.exp(-(((0.0125 + 0.01 * frame) - emitted) ** 2) / (2 * sigma**2)) for frame in range(len(case.bank))]
            wanted += np.array(bell) / sum(bell) / len(tokens)
        np.testing.assert_allclose(found.scores[0], wanted, atol=1e-7)
        assert found.notes == ()
    assert np.ptp(tag.scores) == 0
    assert "emitted at no moment" in tag.notes[0]


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match=r"sigma is 0.0 s; expected a number above 0"):
        methods.build("emission", {"sigma": 0.0})
    with pytest.raises(OptionError, match="seed is -3"):
        methods.build("random", {"seed": -3})
    with pytest.raises(OptionError, match="uniform has no option 'seed'; it has none"):
        methods.build("uniform", {"seed": 1})


def test_no_name_is_missing_from_the_listing() -> None:
    found: Callable[[], list[str]] = methods.names
    assert set(NAMES) <= set(found())
