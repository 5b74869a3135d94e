"""Views of mixing against plain loops over tensors of the file itself: attention, rollout, norms, ALTI, value zeroing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_sanm import plain_middle, plain_norm, plain_output, plain_source, plain_values, taken_apart

from voxray import mixing
from voxray.case import Case
from voxray.masking import words_and_pauses
from voxray.methods import Found, build
from voxray.methods.alti import Method as Alti
from voxray.methods.value_zeroing import Method as ValueZeroing
from voxray.targets import resolve
from voxray.types import OptionError

VIEWS = ["attention", "rollout", "norm_rollout", "alti", "value_zeroing"]


def case_of(model: Any, clip: Path, *names: str) -> Case:
    trace = model.trace(clip)
    return Case(model, trace.piece(0), [resolve(trace, model.vocabulary, model.labels, name) for name in names])


@pytest.fixture(scope="module")
def case(funasr_model: Any, data: Path) -> Case:
    """The small fixture on two seconds of sound: five layers, the first without a residual, a norm in the stream."""
    return case_of(funasr_model, data / "audio" / "odd.wav", "token:0", "text", "emotion")


@pytest.fixture(scope="module")
def spoken(bundled: Any, clips: Path) -> Case:
    """The bundled model on a sentence of several words."""
    return case_of(bundled, clips / "en_neutral_speech.wav", "word:1", "word:2", "language")


def whole(found: Found) -> np.ndarray:
    """Prompt part and map together: all shares, (1 + T,)."""
    return np.array([found.parts["prompt"], *found.scores[0]])


def as_maps(case: Case, reached: np.ndarray) -> np.ndarray:
    """Rows (A, N) of shares as ``whole`` has them."""
    prompts = case.trace.pieces[0].prompts
    return np.concatenate([reached[:, :prompts].sum(axis=1, keepdims=True), reached[:, prompts:]], axis=1)


def starts(case: Case) -> np.ndarray:
    """The rows that targets are read at, by loops."""
    prompts, occupancy = case.trace.pieces[0].prompts, case.trace.occupancy().astype(np.float64)
    result = np.zeros((len(case.aims), len(case.logits)))
    for at, aim in enumerate(case.aims):
        if aim.target.kind == "tag":
            result[at, aim.target.rows[0]] = 1
            continue
        members = range(*aim.members)
        for token in members:
            result[at, prompts:] += occupancy[token] / occupancy[token].sum() / len(members)
    return result


def follow(case: Case, layers: list[np.ndarray]) -> np.ndarray:
    """Multiply whole matrices from the sound upwards, the first layer first, and read the targets' rows."""
    product = np.eye(len(case.logits))
    for one in layers:
        product = (one / one.sum(axis=1, keepdims=True)) @ product
    return as_maps(case, starts(case) @ product)


def parts(case: Case) -> list[tuple[np.ndarray, np.ndarray, Any]]:
    """Stream, attention and weights of each layer, read one by one."""
    return [(case.tensor("input", index), case.attention(index), case.weights(index)) for index in range(case.layers)]


def check(found: list[Found], expected: np.ndarray, tolerance: float = 2e-5) -> None:
    for one, row in zip(found, expected, strict=True):
        np.testing.assert_allclose(whole(one), row, atol=tolerance)


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_shares_over_the_frames(name: str, spoken: Case) -> None:
    method = build(name, {})
    found = method.explain(spoken)
    assert (method.adds_up, method.needs) == (False, "attention" if name == "attention" else "anatomy")
    assert len(found) == len(spoken.aims)
    for one in found:
        assert one.unit == "share"
        assert one.score == 1.0
        assert one.scores.min() >= 0
        assert one.scores.shape == spoken.frames.shape
        assert whole(one).sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(one.grid.times, spoken.frames.times)


def test_attention_is_token_attention_of_one_head(spoken: Case) -> None:
    trace = spoken.trace
    for layer, head in ((0, 0), (5, 2), (-1, 1)):
        told = trace.token_attention([layer], [head], tags=True)
        for found, aim in zip(build("attention", {"layer": layer, "head": head}).explain(spoken), spoken.aims, strict=True):
            row = aim.target.rows[0] if aim.target.kind == "tag" else len(trace.tags) + aim.members[0]
            assert aim.target.kind == "tag" or aim.members[1] == aim.members[0] + 1  # else the tokens' mean would be compared
            np.testing.assert_allclose(found.parts["prompt"], told["prompt_mass"].values[0, 0, row], atol=1e-5)
            np.testing.assert_allclose(found.scores[0] / found.scores.sum(), told.values[0, 0, row], atol=1e-5)


def test_heads_are_put_together_row_by_row(case: Case) -> None:
    read = starts(case)
    norms = case.trace.evidence[0].head_norms(range(case.layers)).astype(np.float64)
    expected: dict[str, Any] = {name: np.zeros_like(read) for name in ("mean", "max", "entropy", "value")}
    for layer in range(case.layers):
        heads = case.attention(layer).astype(np.float64)
        for at, row in enumerate(read):
            looks = [row @ head for head in heads]
            entropies = np.array([-sum(one * np.log(one) for one in look if one > 0) for look in looks])
            added = np.array([row @ norms[layer, head] for head in range(len(heads))])
            expected["mean"][at] += np.mean(looks, axis=0) / case.layers
            expected["max"][at] += np.max(looks, axis=0) / np.max(looks, axis=0).sum() / case.layers
            for name, importance in (("entropy", np.exp(-entropies / 0.5)), ("value", added)):
                expected[name][at] += np.average(looks, axis=0, weights=importance) / case.layers
    for name, rows in expected.items():
        check(build("attention", {"aggregate": name}).explain(case), as_maps(case, rows))


@pytest.mark.parametrize(("option", "told"), [("layer", "layer 5 does not exist"), ("head", "head 5 does not exist: there are 4")])
def test_attention_of_a_layer_that_is_not_there(option: str, told: str, case: Case) -> None:
    with pytest.raises(OptionError, match=told):
        build("attention", {option: 5}).explain(case)


def test_rollout_is_plain_loops(case: Case) -> None:
    layers = []
    for _, attention, _ in parts(case):
        count = attention.shape[1]
        mean = [[sum(float(head[i, j]) for head in attention) / len(attention) for j in range(count)] for i in range(count)]
        layers.append(0.5 * np.array(mean) + 0.5 * np.eye(count))
    check(build("rollout", {}).explain(case), follow(case, layers))


@pytest.mark.parametrize("path", ["both", "attention", "memory"])
def test_norm_rollout_is_plain_loops_over_built_vectors(path: str, case: Case) -> None:
    layers = []
    for stream, attention, weights in parts(case):
        rows = range(len(stream))
        layers.append(
            np.array([[np.linalg.norm(plain_source(stream, attention, weights, i, j, path)) for j in rows] for i in rows])
        )
    found = build("norm_rollout", {"path": path}).explain(case)
    check(found, follow(case, layers))
    kept = [np.mean(np.diag(one) / one.sum(axis=1)) for one in layers]
    told = f"a row keeps {np.mean(kept):.0%} of itself in a layer on average, {min(kept):.0%} to {max(kept):.0%}"
    assert found[0].notes[-1] == told


@pytest.mark.parametrize("bias", [True, False])
def test_alti_is_plain_loops(bias: bool, case: Case) -> None:
    layers = []
    for stream, attention, weights in parts(case):
        rows = range(len(stream))
        gets = np.array([[plain_source(stream, attention, weights, i, j) for j in rows] for i in rows])
        goal = plain_middle(stream, attention, weights) if bias else gets.sum(axis=1)
        near = np.array([[np.abs(goal[i]).sum() - np.abs(goal[i] - gets[i, j]).sum() for j in rows] for i in rows])
        layers.append(np.maximum(near, 0))
    check(build("alti", {"bias": bias}).explain(case), follow(case, layers))


def test_alti_in_chunks_is_alti_at_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = taken_apart(*parts(case)[1])
    at_once = Alti().closeness(layer)
    monkeypatch.setattr("voxray.methods.alti.CHUNK", 1)
    np.testing.assert_array_equal(Alti().closeness(layer), at_once)


def plain_turns(case: Case, index: int, groups: list[tuple[int, int]], zeroed: str, *, feed_forward: bool) -> np.ndarray:
    """Run a layer again and again, each time with the values of a group at zero, and compare what leaves it."""
    stream, attention, weights = parts(case)[index]
    norm = case.stream_norms.get(index + 1)

    def output(*values: Any) -> np.ndarray:
        middle = plain_middle(stream, attention, weights, *values)
        after = plain_output(middle, weights) if feed_forward else middle
        return after if norm is None else np.stack([plain_norm(row, norm) for row in after])

    full = output(None, None)
    result = np.zeros((len(stream), len(groups)))
    for at, (first, stop) in enumerate(groups):
        values = plain_values(stream, weights)
        values[first:stop] = 0
        left = output(values if zeroed != "memory" else None, values if zeroed != "attention" else None)
        for row in range(len(stream)):
            result[row, at] = 1 - full[row] @ left[row] / np.linalg.norm(full[row]) / np.linalg.norm(left[row])
    return result


@pytest.mark.parametrize(("zeroed", "feed_forward"), [("both", True), ("attention", True), ("memory", True), ("both", False)])
def test_value_zeroing_is_the_layer_run_again(zeroed: Any, feed_forward: bool, case: Case) -> None:
    groups = [(0, 1), (1, 4), (4, 9), (9, 30), (30, len(case.logits))]
    method = ValueZeroing(zeroed=zeroed, feed_forward=feed_forward)
    for index in (0, 2, case.layers - 1):  # without a residual; with a norm in the stream after it; before the head
        layer = taken_apart(*parts(case)[index])
        found = method.turns(layer, groups, case.stream_norms.get(index + 1))
        np.testing.assert_allclose(found, plain_turns(case, index, groups, zeroed, feed_forward=feed_forward), atol=2e-6)


def test_value_zeroing_follows_groups_down(case: Case) -> None:
    count, prompts = len(case.logits), case.trace.pieces[0].prompts
    edges = sorted({*range(prompts + 1), *(stop for _, stop in mixing.spans(case, "words", 0)), count})
    groups = list(pairwise(edges))
    product = np.eye(len(groups))
    for index in range(case.layers):
        turned = plain_turns(case, index, groups, "both", feed_forward=True)
        together = np.array([turned[first:stop].mean(axis=0) for first, stop in groups])
        product = together / together.sum(axis=1, keepdims=True) @ product
    read = starts(case)
    landed = np.array([[row[first:stop].sum() for first, stop in groups] for row in read]) @ product
    spread = np.zeros_like(read)
    for at, (first, stop) in enumerate(groups):
        spread[:, first:stop] = landed[:, at : at + 1] / (stop - first)
    check(build("value_zeroing", {}).explain(case), as_maps(case, spread), 1e-4)


def test_value_zeroing_by_frames_has_a_group_for_each(case: Case) -> None:
    layers = [
        plain_turns(case, index, [(row, row + 1) for row in range(len(case.logits))], "both", feed_forward=False)
        for index in range(case.layers)
    ]
    found = build("value_zeroing", {"segments": "frames", "feed_forward": False}).explain(case)
    check(found, follow(case, layers), 1e-4)


def test_maps_that_forgot_the_question_are_told() -> None:
    alike = np.tile(np.arange(1, 6, dtype=np.float32), (3, 1))
    (note,) = mixing.told_apart(alike)
    assert note.startswith("uninformative: the maps of the 3 tokens differ by 0.000 bit on average, effective rank 1.0")
    (note,) = mixing.told_apart(np.eye(3, dtype=np.float32))
    assert note == "the maps of the 3 tokens differ by 1.000 bit on average, effective rank 3.0"
    assert mixing.told_apart(alike[:1]) == ()


def test_a_rival_changes_nothing_in_a_view(spoken: Case) -> None:
    trace, model = spoken.trace, spoken.model
    both = [resolve(trace, model.vocabulary, model.labels, "language", rival) for rival in (None, "zh")]
    plain, against = build("rollout", {}).explain(Case(model, trace, both))
    np.testing.assert_array_equal(plain.scores, against.scores)
    assert set(against.notes) - set(plain.notes) == {"a view of mixing is the same whatever the rival"}


def test_spans_part_the_sound(spoken: Case) -> None:
    prompts, count = spoken.trace.pieces[0].prompts, len(spoken.logits)
    for kind, window in (("words", 0.0), ("windows", 0.24), ("frames", 0.0)):
        found = mixing.spans(spoken, kind, window)
        assert found[0][0] == prompts
        assert found[-1][1] == count
        assert all(one[1] == other[0] and one[0] < one[1] for one, other in pairwise(found))
    assert {stop - first for first, stop in mixing.spans(spoken, "windows", 0.24)[:-1]} == {4}
    assert len(mixing.spans(spoken, "frames", 0.0)) == count - prompts
    edges = {first for first, _ in mixing.spans(spoken, "words", 0.0)}
    seconds = spoken.cells.times[words_and_pauses(spoken.cells, spoken.trace.words)][1:-1]
    for one in seconds:
        assert min(abs(spoken.frames.times[edge - prompts] - one) for edge in edges) <= 0.03 + 1e-9
    assert len(edges) == len(np.unique(np.round((seconds - spoken.frames.times[0]) / 0.06))) + 1


@pytest.mark.parametrize("name", ["norm_rollout", "alti", "value_zeroing"])
def test_a_rounded_file_is_told(name: str, funasr_int8: Any, data: Path) -> None:
    (one,) = build(name, {}).explain(case_of(funasr_int8, data / "audio" / "odd.wav", "emotion"))
    assert any(note.startswith("the file computes in int8") for note in one.notes)
    assert whole(one).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["attention", "rollout", "norm_rollout", "alti"])
def test_tags_of_sound_without_words(name: str, bundled: Any) -> None:
    trace = bundled.trace(1e-3 * np.random.default_rng(0).standard_normal(16000).astype(np.float32))
    aims = [resolve(trace, bundled.vocabulary, bundled.labels, kind) for kind in ("language", "event")]
    silent = Case(bundled, trace.piece(0), aims)
    assert not trace.tokens
    for one in build(name, {}).explain(silent):
        assert whole(one).sum() == pytest.approx(1, abs=1e-5)
        assert not any("tokens differ" in note for note in one.notes)


def test_sound_without_words_has_none_to_zero(bundled: Any) -> None:
    trace = bundled.trace(1e-3 * np.random.default_rng(0).standard_normal(16000).astype(np.float32))
    silent = Case(bundled, trace.piece(0), [resolve(trace, bundled.vocabulary, bundled.labels, "event")])
    with pytest.raises(OptionError, match="nothing was said here"):
        build("value_zeroing", {}).explain(silent)
    (one,) = build("value_zeroing", {"segments": "frames", "feed_forward": False}).explain(silent)
    assert whole(one).sum() == pytest.approx(1, abs=1e-5)
