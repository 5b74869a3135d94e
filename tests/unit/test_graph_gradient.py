"""Compiled gradients against PyTorch on FunASR's own class, finite differences of a plain double-precision encoder, and sums.

Scale of a score: its size, or 1 logit where it is smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from voxray.graph.anatomy import find_anatomy
from voxray.graph.gradient import compile_backward
from voxray.graph.graph import Graph
from voxray.graph.session import Runner, RunOptions
from voxray.graph.tape import SEEDS, Gradients
from voxray.graph.weights import layer_weights, linear_parts, norm_weights
from voxray.types import ModelError, NormWeights

BUNDLED_WITH_THE_TESTS = ("sensevoice-funasr/model.onnx", "sensevoice-funasr/model_quant.onnx")
BESIDE = (
    "sensevoice-funasr-dynamo/model.onnx",
    "sensevoice-funasr-dynamo/model_quant.onnx",
    "sensevoice-sherpa/model.onnx",
    "sensevoice-sherpa/model.int8.onnx",
    "sensevoice-lovemefan/sense-voice-encoder.onnx",
    "sensevoice-lovemefan/sense-voice-encoder-int8.onnx",
    "sensevoice-dynamo/model.onnx",
    "sensevoice-dynamo/model_int8.onnx",
    "sensevoice-variants/model_fp16.onnx",
    "sensevoice-variants/model_q4.onnx",
)
FBANK = "sensevoice-dynamo"  # takes 80 filters a frame, six frames a row, and stacks and normalises in the graph
SINGLE = "sensevoice-lovemefan"  # takes one sound at a time
AUTO, WITHOUT_ITN, INT32 = 0, 15, TensorProto.INT32
EXACT = 1e-4  # of the score's scale
AUTOGRAD = 5e-5  # relative L2 error
WIDTH = 6  # of the rows of the made-up graphs


# A model in its own files ---------------------------------------------------------------------------------------------------------


def feeds_of(graph: Graph, batch: int, rows: int) -> dict[str, Any]:
    """Inputs of noise for any layout."""
    found: dict[str, Any] = {}
    for name, (kind, shape) in graph.inputs.items():
        whole = np.int32 if kind == INT32 else np.int64
        if len(shape) == 3:
            found[name] = np.random.default_rng(rows).standard_normal((batch, rows, shape[2])).astype(np.float32)
        elif "len" in name:
            found[name] = np.full(batch, rows, whole)
        else:
            found[name] = np.full(batch, AUTO if name == "language" else WITHOUT_ITN, whole)
    return found


def gradients_of(path: Path, *, lean: bool = False) -> tuple[Gradients, str]:
    """The gradients of a file, and its input of sound."""
    graph = Graph(path)
    source = next(name for name, (_, shape) in graph.inputs.items() if len(shape) == 3)
    first, second = ((2, 40), (3, 66)) if FBANK in str(path) else ((1, 7), (1, 11)) if SINGLE in str(path) else ((2, 7), (3, 11))
    made = Gradients(
        Runner(graph), next(iter(graph.outputs)), source, lambda: (feeds_of(graph, *first), feeds_of(graph, *second)), lean=lean
    )
    return made, source


def seeds_of(rows: int, count: int) -> tuple[Any, Any, Any]:
    """Margins as targets have them: a tag, a token against two rivals, a text; weights sum to 0 at every row."""
    rng = np.random.default_rng(count)
    places = np.repeat(np.sort(rng.integers(0, rows, (count, 3)), axis=1), 3, axis=1)
    weights = np.tile([1.0, -0.5, -0.5], (count, 3))
    weights[0, 3:] = 0.0  # the first has fewer terms than the others
    return places, rng.integers(0, 280, places.shape), weights


@pytest.fixture(scope="module")
def fixture_gradients(data: Path) -> tuple[Gradients, str]:
    return gradients_of(data / "sensevoice-funasr" / "model.onnx")


def check_sums(path: Path) -> None:
    gradients, source = gradients_of(path)
    feeds = feeds_of(gradients.twin, 1, 120 if FBANK in str(path) else 20)
    recording, _ = gradients.record(feeds, frozen=True)
    places, ids, weights = seeds_of(recording.logits.shape[1], 5)
    score = (recording.logits[0][places, ids].astype(np.float64) * weights).sum(axis=1)
    pulled = recording.pull(places, ids, weights)
    sound = (pulled.gradient.astype(np.float64) * feeds[source]).sum(axis=(1, 2))
    own = {"bias", "position"} if SINGLE in str(path) else {"bias", "position", "prompt"}  # there the caller adds the prompts
    assert set(pulled.constants) == own
    total = sound + sum(pulled.constants.values())
    assert np.abs(total - score).max() <= EXACT * np.maximum(np.abs(score), 1.0).max()
    assert (np.abs(total - score) <= EXACT * np.maximum(np.abs(score), 1.0)).all()
    assert np.abs(sound).min() > 10 * EXACT  # the sound does carry something
    assert np.abs(sum(pulled.constants.values())).min() > 10 * EXACT


@pytest.mark.parametrize("name", BUNDLED_WITH_THE_TESTS)
def test_all_parts_sum_to_the_score(name: str, data: Path) -> None:
    check_sums(data / name)


@pytest.mark.parametrize("name", BESIDE)
def test_all_parts_sum_to_the_score_in_every_layout(name: str, shared_fixtures: Path) -> None:
    check_sums(shared_fixtures / name)


def test_every_layout_has_the_same_gradients(shared_fixtures: Path, fixture_gradients: tuple[Gradients, str]) -> None:
    """The files hold the same weights; an exporter cannot change what a sound carried."""
    places, ids, weights = seeds_of(24, 5)
    found: dict[str, Any] = {}
    for name, (gradients, source) in {
        "funasr": fixture_gradients,
        "sherpa": gradients_of(shared_fixtures / "sensevoice-sherpa" / "model.onnx"),
        "dynamo": gradients_of(shared_fixtures / "sensevoice-funasr-dynamo" / "model.onnx"),
    }.items():
        feeds = feeds_of(gradients.twin, 1, 20)
        for frozen in (True, False):
            found[name, frozen] = gradients.record(feeds, frozen=frozen)[0].pull(places, ids, weights).gradient
            apart = np.linalg.norm(found[name, frozen] - found["funasr", frozen])
            assert apart <= AUTOGRAD * np.linalg.norm(found["funasr", frozen])
            assert source in feeds


# PyTorch and finite differences ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def autograd(data: Path) -> dict[str, Any]:
    """Gradients of FunASR's class by PyTorch in double precision: ``scripts/make_gradient_goldens.py``."""
    with np.load(data / "gradients" / "funasr.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def golden_feeds(autograd: dict[str, Any], case: str) -> dict[str, Any]:
    features = autograd[f"{case}.features"]
    prompts = {name: np.full(len(features), autograd[f"{case}.{name}"], np.int32) for name in ("language", "textnorm")}
    return {"speech": features, "speech_lengths": autograd[f"{case}.lengths"].astype(np.int32)} | prompts


@pytest.mark.parametrize("mode", ["full", "frozen"])
@pytest.mark.parametrize("case", ["short", "odd", "batch"])
def test_gradients_are_those_of_pytorch_on_funasrs_own_class(
    case: str, mode: str, autograd: dict[str, Any], fixture_gradients: tuple[Gradients, str]
) -> None:
    recording, _ = fixture_gradients[0].record(golden_feeds(autograd, case), frozen=mode == "frozen")
    found = recording.pull(*(autograd[f"{case}.{name}"] for name in ("rows", "ids", "weights")))
    expected = autograd[f"{case}.{mode}"]
    other = autograd[f"{case}.{'full' if mode == 'frozen' else 'frozen'}"]
    assert found.gradient.shape == expected.shape
    for mine, theirs, wrong in zip(found.gradient, expected, other, strict=True):
        assert np.linalg.norm(mine - theirs) <= AUTOGRAD * np.linalg.norm(theirs)
        assert np.linalg.norm(mine - wrong) > 0.1 * np.linalg.norm(theirs)  # the other mode is another gradient


def test_a_full_gradient_has_no_constants(fixture_gradients: tuple[Gradients, str]) -> None:
    """They say nothing there: gradient times sound and they do not sum to the score."""
    gradients, _ = fixture_gradients
    recording, _ = gradients.record(feeds_of(gradients.twin, 1, 9), frozen=False)
    assert recording.pull(*seeds_of(13, 2)).constants == {}


def test_padding_has_no_gradient(autograd: dict[str, Any], fixture_gradients: tuple[Gradients, str]) -> None:
    for frozen in (True, False):
        recording, _ = fixture_gradients[0].record(golden_feeds(autograd, "batch"), frozen=frozen)
        found = recording.pull(*(autograd[f"batch.{name}"] for name in ("rows", "ids", "weights"))).gradient
        for gradient, length in zip(found, autograd["batch.lengths"], strict=True):
            assert np.abs(gradient[:length]).max() > 0
            assert not gradient[length:].any()


class Plain:
    """The encoder in plain numpy, double precision, from features to output rows; it can hold the routing of another sound."""

    def __init__(self, path: Path) -> None:
        graph = Graph(path)
        anatomy = find_anatomy(graph, "ctc_logits")
        self.embedding = np.asarray(graph.constant("embed.weight"), np.float64)
        self.layers = [(layer_weights(graph, block), linear_parts(graph, block.qkv)) for block in anatomy.blocks]
        self.norms = {index: norm_weights(graph, norm) for index, norm in anatomy.stream_norms}
        self.head = linear_parts(graph, anatomy.head)
        self.routing: list[Any] = []

    def rows(self, features: Any, held: Sequence[Any] | None = None) -> Any:
        """Return (T + 4, V). Attention weights, roots and gates are computed and kept in ``routing``, or taken from ``held``."""
        self.routing, self._held = [], None if held is None else iter(held)
        stream = np.concatenate([self.embedding[[AUTO, 1, 2, WITHOUT_ITN]], np.asarray(features, np.float64)])
        rates = np.exp(-np.arange(280) * np.log(10_000) / 279)
        angles = np.arange(1, len(stream) + 1)[:, None] * rates
        stream = stream * np.sqrt(48) + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        for index, (weights, (matrix, bias)) in enumerate(self.layers):
            stream = self._norm(stream, self.norms[index]) if index in self.norms else stream
            query, key, value = np.split(self._norm(stream, weights.norm) @ matrix + bias, 3, axis=1)
            mixed = self._attend(query, key, value) @ weights.projection[0] + weights.projection[1]
            reach = (weights.taps.shape[1] - 1) // 2
            padded = np.pad(value, ((reach, reach), (0, 0)))
            memory = value + sum(padded[tap : tap + len(value)] * weights.taps[:, tap] for tap in range(weights.taps.shape[1]))
            middle = mixed + memory + (stream if weights.residual else 0.0)
            inner = self._norm(middle, weights.norm2) @ weights.inner[0] + weights.inner[1]
            stream = middle + inner * self._hold(lambda inner=inner: inner > 0) @ weights.outer[0] + weights.outer[1]
        return self._norm(stream, self.norms[len(self.layers)]) @ self.head[0] + self.head[1]

    def _hold(self, compute: Callable[[], Any]) -> Any:
        self.routing.append(compute() if self._held is None else next(self._held))
        return self.routing[-1]

    def _norm(self, rows: Any, norm: NormWeights) -> Any:
        centred = rows - rows.mean(axis=1, keepdims=True)
        root = self._hold(lambda: np.sqrt((centred**2).mean(axis=1, keepdims=True) + norm.epsilon))
        return centred / root * norm.scale + norm.shift

    def _attend(self, query: Any, key: Any, value: Any) -> Any:
        def weigh() -> Any:
            scores = np.stack([one @ other.T for one, other in zip(split(query), split(key), strict=True)]) / np.sqrt(12)
            powers = np.exp(scores - scores.max(axis=2, keepdims=True))
            return powers / powers.sum(axis=2, keepdims=True)

        return np.concatenate([one @ other for one, other in zip(self._hold(weigh), split(value), strict=True)], axis=1)


def split(rows: Any) -> list[Any]:
    return np.split(rows, 4, axis=1)


@pytest.mark.parametrize("frozen", [True, False])
def test_finite_differences_agree(
    frozen: bool, autograd: dict[str, Any], data: Path, fixture_gradients: tuple[Gradients, str]
) -> None:
    """In double precision, by the plain encoder: with a step of 1e-6 what is left out is about 1e-10 of the slope."""
    plain, features = Plain(data / "sensevoice-funasr" / "model.onnx"), autograd["odd.features"][0]
    rows, ids, weights = (autograd[f"odd.{name}"] for name in ("rows", "ids", "weights"))
    recording, _ = fixture_gradients[0].record(golden_feeds(autograd, "odd"), frozen=frozen)
    np.testing.assert_allclose(plain.rows(features), recording.logits[0], atol=2e-4)
    held = list(plain.routing) if frozen else None
    gradient = recording.pull(rows, ids, weights).gradient.astype(np.float64)

    def scores(values: Any) -> Any:
        return (plain.rows(values, held)[rows, ids] * weights).sum(axis=1)

    rng = np.random.default_rng(8)
    for _ in range(3):
        way, step = rng.standard_normal(features.shape), 1e-6
        slopes = (scores(features + step * way) - scores(features - step * way)) / (2 * step)
        error = np.abs((gradient * way).sum(axis=(1, 2)) - slopes)
        assert (error <= 1e-4 * np.linalg.norm(gradient.reshape(3, -1), axis=1)).all()


def test_frozen_routing_is_an_affine_map(autograd: dict[str, Any], data: Path, fixture_gradients: tuple[Gradients, str]) -> None:
    """With the routing held, any other sound's score is that of the constants plus gradient times sound."""
    plain, features = Plain(data / "sensevoice-funasr" / "model.onnx"), autograd["odd.features"][0]
    seeds = [autograd[f"odd.{name}"] for name in ("rows", "ids", "weights")]
    recording, _ = fixture_gradients[0].record(golden_feeds(autograd, "odd"), frozen=True)
    plain.rows(features)
    held, pulled = list(plain.routing), recording.pull(*seeds)
    other = np.random.default_rng(2).standard_normal(features.shape)
    expected = (plain.rows(other, held)[seeds[0], seeds[1]] * seeds[2]).sum(axis=1)
    silent = (plain.rows(np.zeros_like(other), held)[seeds[0], seeds[1]] * seeds[2]).sum(axis=1)
    constants = sum(pulled.constants.values())
    np.testing.assert_allclose(constants, silent, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(constants + (pulled.gradient * other).sum(axis=(1, 2)), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - silent).min() > 1e-2


# How it is run --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [True, False])
def test_several_seeds_at_once_are_single_seeds(frozen: bool, fixture_gradients: tuple[Gradients, str]) -> None:
    gradients, _ = fixture_gradients
    recording, _ = gradients.record(feeds_of(gradients.twin, 1, 14), frozen=frozen)
    seeds = seeds_of(18, SEEDS + 3)  # more than one run takes
    together = recording.pull(*seeds)
    for index in range(SEEDS + 3):
        alone = recording.pull(*(one[index : index + 1] for one in seeds))
        np.testing.assert_allclose(together.gradient[index], alone.gradient[0], rtol=0, atol=1e-6 * np.abs(alone.gradient).max())
        for name, value in alone.constants.items():
            assert together.constants[name][index] == pytest.approx(value[0], abs=1e-5)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_batch_of_sounds_is_single_sounds(frozen: bool, fixture_gradients: tuple[Gradients, str]) -> None:
    gradients, source = fixture_gradients
    feeds = feeds_of(gradients.twin, 3, 14)
    seeds = seeds_of(18, 3)
    together = gradients.record(feeds, frozen=frozen)[0]
    found = together.pull(*seeds)
    for item in range(3):
        alone, _ = gradients.record({name: one[item : item + 1] for name, one in feeds.items()}, frozen=frozen)
        expected = alone.pull(*(one[item : item + 1] for one in seeds))
        assert np.linalg.norm(found.gradient[item] - expected.gradient[0]) <= 1e-5 * np.linalg.norm(expected.gradient)
        for name, value in expected.constants.items():
            assert found.constants[name][item] == pytest.approx(value[0], abs=1e-4)
        np.testing.assert_allclose(together.logits[item], alone.logits[0], atol=5e-5)
    assert found.gradient.shape == feeds[source].shape


def test_a_seed_counts_once_for_each_of_its_terms(fixture_gradients: tuple[Gradients, str]) -> None:
    """The gradient is linear in the weights, and terms at the same place add up."""
    gradients, _ = fixture_gradients
    recording, _ = gradients.record(feeds_of(gradients.twin, 1, 9), frozen=True)
    place, ids = np.array([[6, 6]]), np.array([[31, 31]])
    twice = recording.pull(place, ids, np.array([[1.0, 1.0]])).gradient
    once = recording.pull(place[:, :1], ids[:, :1], np.array([[1.0]])).gradient
    none = recording.pull(place, ids, np.array([[1.0, -1.0]])).gradient
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5, atol=1e-6 * np.abs(once).max())
    assert np.abs(none).max() == 0


def test_recording_changes_no_logit(data: Path, fixture_gradients: tuple[Gradients, str]) -> None:
    gradients, _ = fixture_gradients
    feeds = feeds_of(gradients.twin, 1, 25)
    (plain,) = Runner(Graph(data / "sensevoice-funasr" / "model.onnx")).run(feeds, ["ctc_logits"])
    for frozen in (True, False):
        block = find_anatomy(gradients.twin, "ctc_logits").blocks[1]
        recording, (attention,) = gradients.record(feeds, [block.probabilities], frozen=frozen)
        np.testing.assert_allclose(recording.logits, plain, atol=5e-5)
        np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)


def test_lean_gives_the_same(data: Path, fixture_gradients: tuple[Gradients, str]) -> None:
    lean, _ = gradients_of(data / "sensevoice-funasr" / "model.onnx", lean=True)
    assert lean.lean
    feeds, seeds = feeds_of(lean.twin, 1, 30), seeds_of(34, 3)
    for frozen in (True, False):
        found, expected = (one.record(feeds, frozen=frozen)[0].pull(*seeds) for one in (lean, fixture_gradients[0]))
        assert np.linalg.norm(found.gradient - expected.gradient) <= 1e-5 * np.linalg.norm(expected.gradient)
        for name, value in expected.constants.items():
            np.testing.assert_allclose(found.constants[name], value, rtol=1e-5, atol=1e-5)


# One operator at a time -----------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(6)
WEIGHT = RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32)
ROW = RNG.standard_normal(WIDTH).astype(np.float32)
KERNEL = RNG.standard_normal((WIDTH, 1, 3)).astype(np.float32)


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), output.split(), **attributes)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


def toy(tmp_path: Path, nodes: Sequence[Any], opset: int = 17, **constants: Any) -> Graph:
    """A graph from ``x`` (B, T, 6) to ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return Graph(tmp_path / "toy.onnx", model)


def sounds(*extents: tuple[int, int]) -> list[dict[str, Any]]:
    """Rows for a toy; positive, so that powers and roots of them are there, and away from where a gate opens."""
    return [{"x": np.random.default_rng(len(extents)).uniform(0.6, 1.4, (*one, WIDTH)).astype(np.float32)} for one in extents]


def compiled(graph: Graph, *, frozen: bool) -> Any:
    anatomy = SimpleNamespace(head=SimpleNamespace(input="y"), blocks=[SimpleNamespace(input="x")])
    first, second = sounds((2, 7), (3, 11))
    return compile_backward(graph, anatomy, "x", (first, second), RunOptions(), frozen=frozen)  # type: ignore[arg-type]


def slope_error(graph: Graph) -> float:
    """Largest relative error of the compiled gradient along a random way, against central differences in single precision.

    A step of 3e-3 at values near 1 leaves out about 1e-5 of the slope, a norm of rows with a deviation of 0.25 about 1e-4; single
    precision adds another 1e-4.
    """
    (feeds,) = sounds((1, 9))
    backward, rng = compiled(graph, frozen=False), np.random.default_rng(3)
    caches = [name for name in backward.caches if name != "x"]
    runner = Runner(graph)
    out, *values = runner.run(feeds, ["y", *caches])
    seed = rng.standard_normal((2, *out.shape[1:])).astype(np.float32)
    gradient, _ = backward.run(dict(zip(caches, values, strict=True)) | feeds, seed)
    way = rng.standard_normal(feeds["x"].shape).astype(np.float32)
    ends = [runner.run({"x": feeds["x"] + step * way}, ["y"])[0].astype(np.float64) for step in (0.003, -0.003)]
    slopes = (seed * (ends[0] - ends[1])).sum(axis=(1, 2)) / 0.006
    return float((np.abs((gradient * way).sum(axis=(1, 2)) - slopes) / np.linalg.norm(gradient.reshape(2, -1), axis=1)).max())


RULES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "MatMul": ([node("MatMul", "x w")], {"w": WEIGHT}),
    "MatMul of two": ([node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t", "a"), node("MatMul", "a x")], {}),
    "Add": ([node("Mul", "x x", "a"), node("Add", "a x", "b"), node("Add", "b c")], {"c": ROW}),
    "Sub": ([node("Mul", "x x", "a"), node("Sub", "x a", "b"), node("Sub", "c b")], {"c": ROW.reshape(1, 1, WIDTH)}),
    "Mul": ([node("Mul", "x c", "a"), node("Mul", "a x")], {"c": ROW}),
    "Div": ([node("Div", "x c", "a"), node("Mul", "x x", "b"), node("Div", "a b")], {"c": ROW}),
    "Mul of a column": ([node("ReduceMean", "x", "m", axes=[-1]), node("Mul", "x m")], {}),
    "Div by a column": ([node("ReduceSum", "x axes", "m"), node("Div", "x m")], {"axes": integers(-1)}),
    "Pow": ([node("Pow", "x three", "a"), node("Pow", "a two")], {"two": np.float32(2), "three": np.float32(1.5)}),
    "Sqrt": ([node("Sqrt", "x")], {}),
    "Softmax": ([node("Softmax", "x", axis=-1)], {}),
    "Where": (
        [node("Greater", "x one", "c"), node("Mul", "x x", "a"), node("Where", "c a x")],
        {"one": np.float32(10)},  # never, so that no step crosses it
    ),
    "Relu": ([node("Sub", "x c", "a"), node("Relu", "a")], {"c": np.array([0, 3, 0, 3, 0, 0], np.float32)}),
    "Conv": (
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Conv", "t k", "c", group=WIDTH, pads=[1, 1]),
         node("Transpose", "c", perm=[0, 2, 1])],
        {"k": KERNEL},
    ),
    "Pad": (
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Pad", "t pads", "p"), node("Conv", "p k c", "q", group=WIDTH),
         node("Transpose", "q", perm=[0, 2, 1])],
        {"pads": integers(0, 0, 2, 0, 0, 0), "k": KERNEL, "c": ROW},
    ),
    "Slice": ([node("Slice", "x one four last", "a"), node("Slice", "a one end time")],
              {"one": integers(1), "four": integers(4), "last": integers(2), "end": integers(2**62), "time": integers(1)}),
    "Concat": ([node("Mul", "x x", "a"), node("Concat", "a x", "b", axis=-1), node("MatMul", "b w")],
               {"w": np.concatenate([WEIGHT, -WEIGHT[::-1]])}),
    "Split": (
        [node("Split", "x sizes", "a b c", axis=-1), node("Mul", "a c", "d"), node("Concat", "d b", axis=-1)],
        {"sizes": integers(2, 2, 2)},
    ),
    "Split of which a part is left": ([node("Split", "x sizes", "a b", axis=-1), node("Mul", "b b")], {"sizes": integers(2, 4)}),
    "Reshape": (
        [node("Reshape", "x heads", "a"), node("Transpose", "a", "b", perm=[0, 2, 1, 3]), node("Mul", "b b", "c"),
         node("Transpose", "c", "d", perm=[0, 2, 1, 3]), node("Reshape", "d rows")],
        {"heads": integers(0, -1, 2, 3), "rows": integers(0, -1, WIDTH)},
    ),
    "Unsqueeze": (
        [node("Unsqueeze", "x one", "a"), node("Mul", "a a", "b"), node("Squeeze", "b one")], {"one": integers(1)},
    ),
    "Neg": ([node("Neg", "x", "a"), node("Mul", "a x")], {}),
    "Identity": ([node("Identity", "x", "a"), node("Mul", "a x")], {}),
    "Cast": ([node("Cast", "x", "a", to=TensorProto.FLOAT), node("Mul", "a x")], {}),
    "LayerNormalization": ([node("LayerNormalization", "x s b", axis=-1, epsilon=1e-5)], {"s": ROW, "b": -ROW}),
    "GatherElements": (
        [node("Shape", "x", "shape"), node("Expand", "zero shape", "a"), node("GatherElements", "x a", "b", axis=1),
         node("Mul", "b x")],
        {"zero": integers(0).reshape(1, 1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_rule_against_finite_differences(name: str, tmp_path: Path) -> None:
    nodes, constants = RULES[name]
    assert slope_error(toy(tmp_path, nodes, **constants)) <= 1e-3


def test_layer_norm_in_one_node_is_layer_norm_in_seven(tmp_path: Path) -> None:
    steps = [
        node("ReduceMean", "x", "mean", axes=[-1]), node("Sub", "x mean", "centred"), node("Pow", "centred two", "squares"),
        node("ReduceMean", "squares", "variance", axes=[-1]), node("Add", "variance epsilon", "above"),
        node("Sqrt", "above", "root"), node("Div", "centred root", "normal"), node("Mul", "normal s", "scaled"),
        node("Add", "scaled b"),
    ]  # fmt: skip
    seven = toy(tmp_path, steps, s=ROW, b=-ROW, two=np.float32(2), epsilon=np.float32(1e-5))
    one = toy(tmp_path, [node("LayerNormalization", "x s b", axis=-1, epsilon=1e-5)], s=ROW, b=-ROW)
    (feeds,) = sounds((1, 9))
    seed = np.random.default_rng(1).standard_normal((2, 9, WIDTH)).astype(np.float32)
    for frozen in (True, False):
        found = []
        for graph in (seven, one):
            backward = compiled(graph, frozen=frozen)
            caches = [name for name in backward.caches if name != "x"]
            values = Runner(graph).run(feeds, caches) if caches else []
            found.append(backward.run(dict(zip(caches, values, strict=True)) | feeds, seed))
        np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
        for _, ledger in found if frozen else []:
            np.testing.assert_allclose(ledger["bias"], (seed * -ROW).sum(axis=(1, 2)), rtol=1e-4)


AFFINE: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Add": ([node("Add", "x c")], {"c": ROW}),
    "Sub": ([node("Sub", "c x")], {"c": ROW}),
    "Add of a number": ([node("Add", "x c")], {"c": np.float32(0.7)}),
    "Add of a cell": ([node("Add", "c x")], {"c": np.full((1, 1, 1), 0.7, np.float32)}),
    "Add before a Split": (
        [node("Add", "x c", "a"), node("Split", "a sizes", "b d", axis=-1), node("Neg", "d")], {"sizes": integers(2, 4), "c": ROW},
    ),
    "Conv": (
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Conv", "t k c", "d", group=WIDTH, pads=[1, 1]),
         node("Transpose", "d", perm=[0, 2, 1])],
        {"k": KERNEL, "c": ROW},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AFFINE)
def test_the_ledger_is_what_comes_without_input(name: str, tmp_path: Path) -> None:
    nodes, constants = AFFINE[name]
    graph = toy(tmp_path, nodes, **constants)
    (feeds,) = sounds((1, 9))
    backward = compiled(graph, frozen=True)
    caches = [name for name in backward.caches if name != "x"]
    (silent,) = Runner(graph).run({"x": 0 * feeds["x"]}, ["y"])
    values = Runner(graph).run(feeds, caches) if caches else []
    seed = np.random.default_rng(1).standard_normal((2, *silent.shape[1:])).astype(np.float32)
    _, ledger = backward.run(dict(zip(caches, values, strict=True)) | feeds, seed)
    assert list(ledger) == ["bias"]
    np.testing.assert_allclose(ledger["bias"], (seed * silent).sum(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    assert np.abs(ledger["bias"]).min() > 1e-2


REFUSED: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "Tanh": (
        r"^toy.onnx: the operator Tanh has no gradient rule, .* cannot explain this file; perturbation methods .*occlusion can$",
        [node("Tanh", "x")], {},
    ),
    "Erf": ("the operator Erf has no gradient rule", [node("Erf", "x", "a"), node("Mul", "a x")], {}),
    "no way": ("the features 'x' do not lead to its head", [node("Shape", "x", "a"), node("Cast", "a", to=1)], {}),
    "time": ("a ReduceMean over other axes than the last", [node("ReduceMean", "x", axes=[1])], {}),
    "softmax": ("a Softmax over another axis than the last", [node("Softmax", "x", axis=1)], {}),
    "power": ("a Pow whose exponent is computed", [node("Pow", "x x")], {}),
    "dense": (
        "a Conv that is not depthwise",
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Conv", "t k")], {"k": np.ones((WIDTH, WIDTH, 3), np.float32)},
    ),
    "batch": ("a Transpose that moves the batch", [node("Transpose", "x", perm=[1, 0, 2])], {}),
    "split": (
        "a Split of another axis than the last",
        [node("Unsqueeze", "x two", "a"), node("Split", "a one", axis=2)], {"two": integers(2), "one": integers(1)},
    ),
    "pad": ("a Pad of the batch, or one that cuts", [node("Pad", "x pads")], {"pads": integers(0, -1, 0, 0, 0, 0)}),
    "slice": (
        "a Slice whose ends depend on the sound",
        [node("Slice", "x zero three time")], {"zero": integers(0), "three": integers(3), "time": integers(1)},
    ),
    "reshape": (
        "a Reshape that mixes the batch or two free lengths", [node("Reshape", "x flat")], {"flat": integers(-1, WIDTH)},
    ),
    "concat": ("a Concat of the batch", [node("Concat", "x x", axis=0)], {}),
    "gather": (
        "a GatherElements over the batch",
        [node("Shape", "x", "shape"), node("Expand", "zero shape", "a"), node("GatherElements", "x a", axis=0)],
        {"zero": integers(0).reshape(1, 1, 1)},
    ),
    "gemm": (
        "the operator Gemm has no gradient rule",
        [node("Reshape", "x flat", "a"), node("Gemm", "a w")], {"flat": integers(-1, WIDTH), "w": WEIGHT},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    message, nodes, constants = REFUSED[name]
    with pytest.raises(ModelError, match=message) as caught:
        compiled(toy(tmp_path, nodes, **constants), frozen=False)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("toy.onnx: ")
