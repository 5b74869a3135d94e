"""Perturbation methods against one-by-one runs, all orders, all subsets and functions whose answer is known."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import methods
from voxray.case import Case, Meter
from voxray.frontend import stack
from voxray.masking import Filling, words
from voxray.targets import resolve
from voxray.types import Audio, Features, Grid, OptionError, Tag, Word

NAMES = ["occlusion", "word_leave_one_out", "lime", "rise", "shapley"]
TARGETS = ("word:1", "language", "text")
SEGMENTS = 5
FRAMES = 12  # of a segment of the made-up sound


@dataclass(frozen=True)
class Worth:
    """A made-up target: a function of which of five segments are heard."""

    of: Callable[[tuple[int, ...]], float]

    def score(self, rows: np.ndarray, how: str) -> float:
        return float(self.of(heard(rows)))


def heard(rows: np.ndarray) -> tuple[int, ...]:
    """Whether the middle frame of each segment is there (features are never 0 unless they are hidden)."""
    middles = [FRAMES * one + FRAMES // 2 for one in range(SEGMENTS)]
    return tuple(int(rows[(one + 3) // 6, 80 * ((one + 3) % 6)] != 0) for one in middles)


@dataclass
class Toy:
    """What methods see of a case and its front-end, with a made-up model whose output rows are its features."""

    aims: Sequence[Worth]
    meter: Meter = field(default_factory=Meter)
    pause: float = 0.0
    bank: np.ndarray = field(
        default_factory=lambda: 1 + np.random.default_rng(1).random((SEGMENTS * FRAMES, 80)).astype(np.float32)
    )

    affordable = Case.affordable

    def __post_init__(self) -> None:
        stacked = 1 + np.random.default_rng(2).random((SEGMENTS * FRAMES // 6, 560)).astype(np.float32)
        self.features = Features(stacked, 0.06, 0.0125)
        self.cells = Grid(0.0075 + 0.01 * np.arange(SEGMENTS * FRAMES + 1), np.arange(81.0))
        self.audio = Audio(np.ones(160 * SEGMENTS * FRAMES + 240, np.float32))
        said = [Word("a", 0.0075 + 0.12 * one, 0.1275 + 0.12 * one, (one, one + 1), 0.0) for one in range(SEGMENTS)]
        language = Tag("language", "en", {"en": 1.0}, 1.0, "<|en|>", 0, 0.0, 0.6)
        self.trace = SimpleNamespace(tags=(language,), words=tuple(said))
        self.logits = self.features.values
        self.front, self.mels, self.average = self, 80, np.zeros_like(stacked)

    def slots(self, mask: np.ndarray) -> np.ndarray:
        return stack(mask.astype(np.float32)) > 0

    def rows(self, batch: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for one in batch:
            time.sleep(self.pause)
            self.meter.pay(1)
            yield one

    def scored(self, rows: np.ndarray, how: str) -> list[float]:
        return [aim.score(rows, how) for aim in self.aims]

    def base(self, how: str) -> np.ndarray:
        return np.array(self.scored(self.logits, how))


def additive(*parts: float) -> Worth:
    return Worth(lambda bits: 3.0 + float(np.dot(bits, parts)))


def made_up(seed: int) -> dict[tuple[int, ...], float]:
    rng = np.random.default_rng(seed)
    return {bits: float(rng.normal()) for bits in itertools.product((0, 1), repeat=SEGMENTS)}


def run(name: str, case: Any, **options: Any) -> Any:
    return methods.build(name, options).explain(case)


def of_all_orders(worth: Callable[[tuple[int, ...]], float]) -> np.ndarray:
    """Shapley values by adding segments in every order."""
    total = np.zeros(SEGMENTS)
    orders = list(itertools.permutations(range(SEGMENTS)))
    for order in orders:
        bits = [0] * SEGMENTS
        before = worth(tuple(bits))
        for one in order:
            bits[one] = 1
            total[one] += worth(tuple(bits)) - before
            before = worth(tuple(bits))
    return total / len(orders)


@pytest.fixture(scope="module")
def model() -> Any:
    return voxray.load_model()


@pytest.fixture(scope="module")
def ask(model: Any, clips: Path) -> Callable[..., Case]:
    trace = model.trace(clips / "en_neutral_speech.wav").piece(0)

    def case(*targets: str, meter: Meter | None = None) -> Case:
        return Case(model, trace, [resolve(trace, model.vocabulary, model.labels, one) for one in targets or TARGETS], meter)

    return case


def plainly(case: Case, hidden: set[int], filled: np.ndarray, how: str = "forced") -> np.ndarray:
    """Scores of one run with some frames hidden, the mask made by loops."""
    values = case.features.values.copy()
    for row in range(len(values)):
        for slot in range(7):
            if min(max(6 * row - 3 + slot, 0), len(case.bank) - 1) in hidden:
                values[row, 80 * slot : 80 * slot + 80] = filled[row, 80 * slot : 80 * slot + 80]
    parts = [Features(values, 0.06, case.features.start)]
    (rows,) = case.model.logits(parts, case.trace.language, textnorm=case.trace.textnorm)
    return np.array([aim.score(rows, how) for aim in case.aims])


# Occlusion and words against one run after the other


@pytest.mark.parametrize(("fill", "how"), [("noise_floor", "forced"), ("mean", "margin")])
def test_occlusion_is_one_run_after_the_other(ask: Callable[..., Case], fill: str, how: str) -> None:
    case = ask()
    found = run("occlusion", case, width=0.4, hop=0.2, fill=fill, score=how, seed=3)
    filled, frames, base = Filling(fill, seed=3).features(case.front), len(case.bank), case.base(how)
    starts = [start for start in range(0, frames, 20) if start == 0 or start + 20 < frames]
    drops = {start: base - plainly(case, set(range(start, start + 40)), filled, how) for start in starts}
    for at, one in enumerate(found):
        wanted = []
        for frame in range(frames):
            over = [(drops[start][at], min(start + 40, frames) - start) for start in starts if start <= frame < start + 40]
            wanted.append(sum(drop / size for drop, size in over) / len(over))
        np.testing.assert_allclose(one.scores[0], wanted, atol=2e-4 * (1 + abs(max(wanted))))
        assert one.score == pytest.approx(base[at])
        assert one.unit == ("logit" if how == "margin" else "nats")
    assert case.meter.spent == len(starts)
    np.testing.assert_array_equal(found[0].grid.times, case.cells.times)
    assert found[0].grid.mels.tolist() == [0, 80]


def test_occlusion_of_tiles_hides_bands_of_the_spectrum(ask: Callable[..., Case]) -> None:
    case = ask("word:1")
    (found,) = run("occlusion", case, width=0.5, hop=0.5, mels=2, fill="mean")
    assert found.grid.mels.tolist() == [0, 40, 80]
    assert found.scores.shape == (2, len(case.bank))
    values = case.features.values.reshape(-1, 7, 80).copy()
    for row, slot in itertools.product(range(len(values)), range(7)):
        if 50 <= min(max(6 * row - 3 + slot, 0), len(case.bank) - 1) < 100:
            values[row, slot, 40:] = 0
    (rows,) = case.model.logits([Features(values.reshape(-1, 560), 0.06, 0.0)], case.trace.language)
    drop = case.base()[0] - case.aims[0].score(rows)
    np.testing.assert_allclose(found.scores[1, 50:100], drop / 50, atol=1e-4)
    assert case.meter.spent == 2 * -(-len(case.bank) // 50)


def test_the_evidence_for_a_word_lies_in_the_word(ask: Callable[..., Case]) -> None:
    case = ask("word:1", "word:4")
    first, other = run("word_leave_one_out", case)
    for found, index in ((first, 1), (other, 4)):
        word = case.trace.words[index]
        best = int(found.scores[0].argmax())
        assert found.grid.times[best] < (word.start + word.end) / 2 < found.grid.times[best + 1]


def test_leaving_out_words_is_one_run_after_the_other(ask: Callable[..., Case]) -> None:
    case = ask()
    found = run("word_leave_one_out", case, fill="pink", seed=4)
    filled, base, spans = Filling("pink", seed=4).features(case.front), case.base(), words(case.cells, case.trace.words)
    assert case.meter.spent == len(spans) == len(case.trace.words)
    for first, stop in spans.tolist():
        drops = base - plainly(case, set(range(max(first - 3, 0), stop + 3)), filled)
        for one, drop in zip(found, drops, strict=True):
            at = np.flatnonzero(np.isclose(one.grid.times, case.cells.times[first]))[0]
            assert one.grid.times[at + 1] == pytest.approx(case.cells.times[stop])
            assert one.scores[0, at] == pytest.approx(drop, abs=2e-4 * (1 + abs(drop)))
    held = sum(stop - first for first, stop in spans.tolist()) / len(case.bank)
    assert held < 1  # there are pauses, and they have nothing
    assert np.count_nonzero(found[0].scores) <= len(spans)
    assert any("30 ms more on both sides" in note for note in found[0].notes)


def test_a_waveform_is_hidden_by_replacing_its_samples(ask: Callable[..., Case]) -> None:
    case = ask("word:1")
    (found,) = run("occlusion", case, width=4.0, hop=4.0, domain="waveform", fill="silence")
    silent = case.front.seen(np.zeros_like(case.front.audio.samples))
    (rows,) = case.model.logits([Features(silent, 0.06, 0.0)], case.trace.language)
    assert case.meter.spent == 1
    assert float(found.scores.sum()) == pytest.approx(case.base()[0] - case.aims[0].score(rows), rel=1e-4)


# Shapley


@pytest.mark.parametrize("units", ["words", "equal"])
def test_shapley_of_five_segments_equals_all_orders(units: str) -> None:
    tables = [made_up(seed) for seed in range(3)]
    case = Toy([Worth(table.__getitem__) for table in tables])
    found = run("shapley", case, units=units, segments=SEGMENTS, fill="mean")
    assert case.meter.spent == 31
    for one, table in zip(found, tables, strict=True):
        np.testing.assert_allclose(one.scores[0], of_all_orders(table.__getitem__), atol=1e-6)
        assert one.parts["baseline"] == pytest.approx(table[0, 0, 0, 0, 0])
        assert one.score == pytest.approx(table[1, 1, 1, 1, 1])
        assert "exact: all 32 subsets" in one.notes[1]


def test_shapley_on_the_model_equals_all_orders(ask: Callable[..., Case]) -> None:
    case = ask()
    found = run("shapley", case, units="equal", segments=SEGMENTS)
    filled = Filling().features(case.front)
    edges = np.linspace(0, len(case.bank), SEGMENTS + 1).round().astype(int)
    parts = [set(range(first, stop)) for first, stop in itertools.pairwise(edges.tolist())]
    table = {}
    for bits in itertools.product((0, 1), repeat=SEGMENTS):
        table[bits] = plainly(case, set().union(*(part for part, bit in zip(parts, bits, strict=True) if not bit)), filled)
    for at, one in enumerate(found):
        wanted = of_all_orders(lambda bits, at=at: float(table[bits][at]))
        np.testing.assert_allclose(one.scores[0], wanted, atol=1e-3)
        assert abs(one.score - one.scores.sum(dtype=float) - one.parts["baseline"]) <= 1e-5


@pytest.mark.parametrize("how", ["forced", "log_odds", "margin"])
def test_sampled_shapley_is_efficient(ask: Callable[..., Case], how: str) -> None:
    case = ask()
    found = run("shapley", case, pairs=3, score=how)
    count = found[0].scores.shape[1]
    assert case.meter.spent == 1 + 2 * 3 * (count - 1)
    for one in found:
        assert abs(one.score - one.scores.sum(dtype=float) - one.parts["baseline"]) <= 1e-5
        assert f"3 of 3 pairs of orders of {count} segments" in one.notes[1]


def test_sampled_shapley_comes_near_the_exact_one_within_its_error() -> None:
    table = made_up(9)
    case = Toy([Worth(table.__getitem__)], Meter(seconds=1000))  # a limit of time: it is drawn, not computed of all subsets
    (found,) = run("shapley", case, pairs=400, fill="mean", stop_early=False)
    error = float(found.notes[1].split("at most ")[1].split()[0])
    assert 0 < error < 0.1
    np.testing.assert_allclose(found.scores[0], of_all_orders(table.__getitem__), atol=4 * error)
    assert case.meter.spent == 1 + 400 * 8


def test_one_pair_of_orders_is_exact_where_only_pairs_of_segments_interact() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(SEGMENTS, SEGMENTS))
    worth = Worth(lambda bits: float(np.array(bits) @ pairs @ np.array(bits)))
    (found,) = run("shapley", Toy([worth], Meter(seconds=1000)), pairs=1, fill="mean")
    np.testing.assert_allclose(found.scores[0], of_all_orders(worth.of), atol=1e-6)


@pytest.mark.parametrize("seconds", [None, 1000])
def test_shapley_of_one_segment_is_what_hiding_it_takes(seconds: float | None) -> None:
    case = Toy([additive(1, 2, 3, 4, 5)], Meter(seconds=seconds))
    (found,) = run("shapley", case, units="equal", segments=1, fill="mean")
    assert found.scores.tolist() == [[15.0]]
    assert found.parts == {"baseline": 3.0}
    assert case.meter.spent == 1


# LIME and RISE


def test_lime_recovers_a_linear_function() -> None:
    parts = (1.0, -2.0, 0.0, 4.0, 0.5)
    (found,) = run("lime", Toy([additive(*parts)]), ridge=1e-9, samples=60, fill="mean", segment=0.12)
    np.testing.assert_allclose(found.scores[0], parts, atol=1e-6)
    assert "weighted R² 1.00" in found.notes
    (shrunk,) = run("lime", Toy([additive(*parts)]), samples=60, fill="mean")
    assert np.abs(shrunk.scores[0]).sum() < np.abs(found.scores[0]).sum()
    assert shrunk.scores[0].argmax() == 3


def test_lime_is_weighted_ridge_regression_with_a_free_intercept() -> None:
    table, asked = made_up(4), []

    def worth(bits: tuple[int, ...]) -> float:
        asked.append(bits)
        return table[bits]

    (found,) = run("lime", Toy([Worth(worth)]), samples=40, fill="mean", ridge=0.7, kernel=0.3, stop_early=False)
    samples = np.array(asked, float)  # the first is the sound as it is
    assert len(samples) == 41
    assert samples[0].tolist() == [1] * 5
    cosines = [row.sum() / (np.sqrt(row.sum()) * np.sqrt(5)) if row.any() else 0.0 for row in samples]
    weights = np.array([np.exp(-((1 - one) ** 2) / 0.3**2) for one in cosines])
    design = np.column_stack([np.ones(41), samples])
    penalty = np.diag([0.0] + [0.7] * 5)
    values = np.array([table[tuple(int(bit) for bit in row)] for row in samples])
    solution = np.linalg.inv(design.T @ np.diag(weights) @ design + penalty) @ design.T @ np.diag(weights) @ values
    np.testing.assert_allclose(found.scores[0], solution[1:], atol=1e-6)
    left = (weights * (values - design @ solution) ** 2).sum()
    whole = (weights * (values - np.average(values, weights=weights)) ** 2).sum()
    assert f"weighted R² {1 - left / whole:.2f}" in found.notes[2]


def test_lime_says_where_nothing_is_linear() -> None:
    parity = Worth(lambda bits: float(sum(bits) % 2))
    (found,) = run("lime", Toy([parity]), samples=200, fill="mean", stop_early=False)
    assert "not linear" in found.notes[2]


def test_rise_recovers_an_additive_function_within_its_standard_error() -> None:
    parts = np.array([1.0, -2.0, 0.0, 4.0, 0.5])
    (found,) = run("rise", Toy([additive(*parts)]), samples=1500, fill="mean", stop_early=False)
    error = float(found.notes[2].split("standard error at most ")[1].split()[0])
    assert error == pytest.approx(2 * np.sqrt((parts**2).sum() / 4 / 1500), rel=0.15)
    assert np.abs(found.scores[0] - parts).max() < 3 * error


def test_rise_is_a_difference_of_means() -> None:
    table, asked = made_up(5), []

    def worth(bits: tuple[int, ...]) -> float:
        asked.append(bits)
        return table[bits]

    (found,) = run("rise", Toy([Worth(worth)]), samples=50, kept=0.7, fill="mean", stop_early=False)
    runs = asked[1:]
    assert len(runs) == 50
    assert 0.55 < np.mean(runs) < 0.85
    for one in range(SEGMENTS):
        there = [table[bits] for bits in runs if bits[one]]
        gone = [table[bits] for bits in runs if not bits[one]]
        assert found.scores[0, one] == pytest.approx(sum(there) / len(there) - sum(gone) / len(gone), abs=1e-6)


def test_rise_gives_an_empty_map_to_a_score_that_does_not_move() -> None:
    (found,) = run("rise", Toy([Worth(lambda _: -7.0)]), samples=20, fill="mean")
    assert not found.scores.any()


def test_rise_over_time_and_mel(ask: Callable[..., Case]) -> None:
    (found,) = run("rise", ask("word:1"), samples=10, mels=4, cell=0.5)
    assert found.scores.shape == found.grid.shape == (4, 6)
    assert np.isfinite(found.scores).all()


# Budgets, early stops, seeds, sharing


@pytest.mark.parametrize("name", NAMES)
def test_nothing_can_be_had_for_nothing(ask: Callable[..., Case], name: str) -> None:
    with pytest.raises(OptionError, match=r"the budget allows 0 passes, .* needs .*\d+.*; give more"):
        run(name, ask(meter=Meter(passes=0)))


@pytest.mark.parametrize("name", ["occlusion", "word_leave_one_out", "lime", "rise"])
def test_a_budget_in_passes_is_kept_to_the_pass(ask: Callable[..., Case], name: str) -> None:
    said: list[tuple[int, int]] = []
    case = ask(meter=Meter(passes=5, progress=lambda done, planned: said.append((done, planned))))
    found = run(name, case)
    assert case.meter.spent == 5
    assert any("budget ended" in note for note in found[0].notes)
    assert said[-1] == (5, 5)


def test_a_small_budget_of_occlusion_is_spread_over_the_sound(ask: Callable[..., Case]) -> None:
    case = ask("text", meter=Meter(passes=7))
    (found,) = run("occlusion", case)
    moved = np.flatnonzero(found.scores[0]) // 12
    assert len(set(moved.tolist())) >= 5
    assert moved.max() - moved.min() > 0.6 * len(case.bank) / 12
    assert "of the cells were never hidden" in found.notes[1]


def test_shapley_spends_whole_pairs_of_orders(ask: Callable[..., Case]) -> None:
    case = ask(meter=Meter(passes=100))
    found = run("shapley", case, units="equal", segments=12)
    assert case.meter.spent == 1 + 4 * 22
    assert "4 of 20 pairs of orders of 12 segments, where the budget ended" in found[0].notes[1]
    with pytest.raises(OptionError, match=r"allows 22 passes, .* 23"):
        run("shapley", ask(meter=Meter(passes=22)), units="equal", segments=12)


@pytest.mark.parametrize(
    ("name", "options"), [("lime", {}), ("rise", {}), ("shapley", {"pairs": 100}), ("occlusion", {"width": 0.02, "hop": 0.01})]
)
def test_a_budget_in_seconds_ends_the_sampling(name: str, options: dict[str, Any]) -> None:
    case = Toy([additive(1, 1, 1, 1, 1)], Meter(seconds=0.1), pause=0.004)
    (found,) = run(name, case, fill="mean", **options)
    assert 8 <= case.meter.spent < 59
    assert any("budget ended" in note for note in found.notes)
    assert case.meter.elapsed < 1.0


@pytest.mark.parametrize(("name", "units"), [("lime", 500), ("rise", 500), ("shapley", 60 * 8 + 1)])
def test_it_ends_when_the_top_three_have_settled(name: str, units: int) -> None:
    options = {"pairs": 60} if name == "shapley" else {}
    worth = additive(9, 0.1, 6, -3, 4)
    case = Toy([worth], Meter(seconds=1000))
    (found,) = run(name, case, fill="mean", **options)
    assert case.meter.spent < 0.5 * units
    assert "the top three" in found.notes[1]
    assert set(np.argsort(-found.scores[0])[:3].tolist()) == {0, 2, 4}
    whole = Toy([worth], Meter(seconds=1000))
    run(name, whole, fill="mean", stop_early=False, **options)
    assert whole.meter.spent == units


@pytest.mark.parametrize("name", NAMES)
def test_results_repeat_and_seeds_are_options(ask: Callable[..., Case], name: str) -> None:
    small = {"lime": {"samples": 20}, "rise": {"samples": 20}, "shapley": {"pairs": 1, "units": "equal"}}.get(name, {})
    one, again, other = (run(name, ask("word:1"), seed=seed, **small)[0].scores for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    options = methods.options_of(name)
    assert {"seed", "fill", "domain", "score"} <= set(options)
    assert options["seed"] == (int, 0)
    assert options["fill"][1] == "noise_floor"
    assert [one.name for one in fields(methods.method_class(name))] == list(options)


@pytest.mark.parametrize("name", NAMES)
def test_all_targets_share_the_same_passes(ask: Callable[..., Case], name: str) -> None:
    small = {"lime": {"samples": 12}, "rise": {"samples": 12}, "shapley": {"pairs": 1, "units": "equal"}}.get(name, {})
    together = ask()
    found = run(name, together, **small)
    for target, one in zip(TARGETS, found, strict=True):
        alone = ask(target)
        (single,) = run(name, alone, **small)
        np.testing.assert_allclose(one.scores, single.scores, atol=1e-4)
        assert alone.meter.spent == together.meter.spent


def test_it_is_told_how_often_masked_sound_became_something_else() -> None:
    case = Toy([additive(1, 1, 1, 1, 1)])
    case.features.values.flags.writeable = True
    case.features.values[0, 480] = 9.0  # row 0 says 480: slot 6, frame 3, which only the first word's segment holds
    (found,) = run("word_leave_one_out", case, fill="mean")
    assert found.notes[0].startswith("5 runs of masked sound; in 20% of them")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("occlusion", {"hop": 0.2}, "expected 0.01 s <= hop <= width"),
        ("occlusion", {"hop": 0.0}, "expected 0.01 s <= hop <= width"),
        ("occlusion", {"mels": 0}, "mels is 0; expected 1"),
        ("occlusion", {"mels": 2, "domain": "waveform"}, "masked over time alone"),
        ("rise", {"mels": 2, "domain": "waveform"}, "masked over time alone"),
        ("rise", {"kept": 1.0}, "kept is 1.0"),
        ("rise", {"samples": 1}, "samples is 1"),
        ("rise", {"cell": 0.0}, "cell is 0.0"),
        ("lime", {"samples": 0}, "samples is 0"),
        ("lime", {"ridge": 0.0}, "ridge is 0.0"),
        ("lime", {"segment": -1.0}, "segment is -1.0"),
        ("shapley", {"pairs": 0}, "pairs is 0"),
        ("shapley", {"segments": 0}, "segments is 0"),
        ("word_leave_one_out", {"seed": -1}, "seed is -1"),
        ("word_leave_one_out", {"fill": "mean", "domain": "waveform"}, "mean exists for features alone"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        methods.build(name, options)


@pytest.mark.parametrize(("name", "options"), [("word_leave_one_out", {}), ("shapley", {}), ("lime", {"units": "words"})])
def test_without_words_there_are_no_words_to_hide(name: str, options: dict[str, Any]) -> None:
    case = Toy([additive(1, 1, 1, 1, 1)])
    case.trace.words = ()
    with pytest.raises(OptionError, match="nothing was said here"):
        run(name, case, **options)
