"""What a Whisper is made of, found by structure in every layout, and proven; what cannot be read is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from voxray.graph.graph import Graph
from voxray.graph.session import Runner
from voxray.graph.stepping import PairedSpeaker, StoredSpeaker, open_speaker
from voxray.graph.whisper import (
    COLUMNS,
    CUT,
    ROWS,
    branches,
    by_head,
    find_decoder,
    find_ears,
    find_encoder,
    kept,
    output_of,
    prove_decoder,
    prove_encoder,
    with_cuts,
)
from voxray.types import AnatomyError, ModelError

ENCODERS = (
    "whisper-tiny-optimum/encoder_model.onnx",
    "whisper-tiny-merged/onnx/encoder_model.onnx",
    "whisper-tiny-timestamped/onnx/encoder_model.onnx",
    "whisper-tiny-sherpa/tiny-encoder.onnx",
    "whisper-tiny-sherpa/attention/tiny-encoder.onnx",
)
DECODERS = {
    "optimum": ("whisper-tiny-optimum/decoder_model.onnx", "whisper-tiny-optimum/decoder_with_past_model.onnx"),
    "merged": ("whisper-tiny-merged/onnx/decoder_model_merged.onnx",),
    "timestamped": ("whisper-tiny-timestamped/onnx/decoder_model_merged.onnx",),
    "sherpa": ("whisper-tiny-sherpa/tiny-decoder.onnx",),
    "sherpa attention": ("whisper-tiny-sherpa/attention/tiny-decoder.onnx",),
}
WIDTH, HEADS, LAYERS = 16, 4, 2


def graph_of(path: Path, edit: Callable[[Any], None] | None = None) -> Graph:
    graph = Graph(path)
    if edit is None:
        return graph
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    edit(model.graph)
    return Graph(path, model)


def parts(data: Path, layout: str) -> list[Graph]:
    return [part for name in DECODERS[layout] for part in branches(Graph(data / name))]


def noise() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, 80, 3000)).astype(np.float32)


def states_of(data: Path, layout: str) -> list[np.ndarray]:
    name = next(one for one in ENCODERS if one.startswith(str(Path(DECODERS[layout][0]).parent)))
    graph = Graph(data / name)
    ears = find_ears(graph)
    assert ears is not None
    return Runner(graph).run({ears.mel: noise()}, ears.states)


# -- finding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_are_known_by_structure(name: str, data: Path) -> None:
    graph = Graph(data / name)
    ears = find_ears(graph)
    assert ears is not None
    assert (ears.mels, len(ears.states)) == (80, 2 if "sherpa" in name else 1)
    found = find_encoder(graph)
    assert (len(found.blocks), found.width, found.precision) == (LAYERS, WIDTH, "fp32")
    assert all(one.own and one.stores == ("", "") for one in found.blocks)
    assert found.blocks[0].output != found.blocks[1].input  # the feed-forward lies between
    assert find_decoder(graph) is None


@pytest.mark.parametrize(
    "name",
    [*(name for names in DECODERS.values() for name in names), "sensevoice-funasr/model.onnx", "paraformer-funasr/model.onnx"],
)
def test_nothing_else_is_an_encoder(name: str, data: Path) -> None:
    assert find_ears(Graph(data / name)) is None


def test_keys_are_told_from_values_by_their_missing_bias(data: Path) -> None:
    def swap(graph: Any) -> None:
        first, second = graph.output[0], graph.output[1]
        kept_first = onnx.ValueInfoProto()
        kept_first.CopyFrom(first)
        first.CopyFrom(second)
        second.CopyFrom(kept_first)

    path = data / "whisper-tiny-sherpa" / "tiny-encoder.onnx"
    as_is, swapped = find_ears(graph_of(path)), find_ears(graph_of(path, swap))
    assert as_is is not None
    assert as_is == swapped


@pytest.mark.parametrize("layout", DECODERS)
def test_decoders_are_taken_apart(layout: str, data: Path) -> None:
    graphs = parts(data, layout)
    assert len(graphs) == (1 if "sherpa" in layout else 2)
    found = [find_decoder(graph) for graph in graphs]
    first = next(one for one in found if one is not None and one.states)
    assert (len(first.own), len(first.cross), first.width) == (LAYERS, LAYERS, WIDTH)
    assert [one.index for one in (*first.own, *first.cross)] == [0, 1, 0, 1]
    assert bool(first.position) == ("sherpa" in layout)
    assert len(first.states) == (2 if "sherpa" in layout else 1)
    for later in (one for one in found if one is not None and not one.states):
        stores = [name for one in (*later.own, *later.cross) for name in one.stores]
        assert len(set(stores)) == 4 * LAYERS
        assert all(name.startswith("past_key_values") for name in stores)
        assert [name.split(".")[1:] for name in stores] == [
            [str(layer), kind, part] for kind in ("decoder", "encoder") for layer in range(LAYERS) for part in ("key", "value")
        ]


@pytest.mark.parametrize("layout", ["optimum", "merged", "timestamped"])
def test_what_the_first_step_gives_is_what_later_ones_take(layout: str, data: Path) -> None:
    graphs = parts(data, layout)
    first, later = sorted(graphs, key=lambda graph: len(graph.inputs))
    one, other = find_decoder(first), find_decoder(later)
    assert one is not None
    assert other is not None
    for mine, yours in zip((*one.own, *one.cross), (*other.own, *other.cross), strict=True):
        for tensor, store in zip((mine.keys, mine.value), yours.stores, strict=True):
            assert output_of(first, tensor) == store.replace("past_key_values", "present")
    assert kept(later)["past_key_values.1.decoder.value"] == "present.1.decoder.value"


def test_the_store_of_sherpa_goes_in_and_comes_out(data: Path) -> None:
    graph = Graph(data / "whisper-tiny-sherpa" / "tiny-decoder.onnx")
    found = find_decoder(graph)
    assert found is not None
    stores = {"in_n_layer_self_k_cache": "out_n_layer_self_k_cache", "in_n_layer_self_v_cache": "out_n_layer_self_v_cache"}
    assert kept(graph) == stores
    assert {one.stores for one in found.own} == {tuple(stores)}
    assert {one.stores for one in found.cross} == {("n_layer_cross_k", "n_layer_cross_v")} == {found.states}


# -- branches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["merged", "timestamped"])
def test_each_branch_computes_what_the_whole_file_computes(layout: str, data: Path) -> None:
    whole = Graph(data / DECODERS[layout][0])
    random = np.random.default_rng(4)
    feeds: dict[str, np.ndarray] = {}
    for name, (kind, shape) in whole.inputs.items():
        sizes = {"batch_size": 1, "past_decoder_sequence_length": 5, "encoder_sequence_length": 1500, "decoder_sequence_length": 1}
        dims = [one if isinstance(one, int) else sizes[one] for one in shape]
        feeds[name] = random.standard_normal(dims).astype(np.float32) if kind == 1 else random.integers(0, 300, dims)
    for branch in branches(whole):
        has_past = any("past" in name for name in branch.inputs)
        chosen = feeds | {"use_cache_branch": np.array([has_past])}
        names = list(branch.outputs)
        assert names[0] == "logits"
        wanted = Runner(whole).run(chosen, names)
        found = Runner(branch).run({name: feeds[name] for name in branch.inputs}, names)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_file_without_a_choice_is_itself(data: Path) -> None:
    graph = Graph(data / DECODERS["optimum"][0])
    assert branches(graph) == (graph,)


def test_a_choice_of_less_than_the_whole_is_refused(data: Path) -> None:
    def leave_out(graph: Any) -> None:
        graph.output.append(helper.make_tensor_value_info("more", 1, [1]))
        graph.node.append(helper.make_node("Constant", [], ["more"], value_floats=[1.0]))

    with pytest.raises(ModelError, match="it chooses between graphs in a way that Voxray does not know"):
        branches(graph_of(data / DECODERS["merged"][0], leave_out))


# -- looking inside -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ENCODERS[0], ENCODERS[3]])
def test_cut_attention_is_a_corner_of_the_whole(name: str, data: Path) -> None:
    graph = Graph(data / name)
    ears, encoder = find_ears(graph), find_encoder(graph)
    assert ears is not None
    feeds = {ears.mel: noise()}
    cut = {ROWS: np.array([7]), COLUMNS: np.array([11])}
    block = encoder.blocks[1]
    names = [block.scores, block.probabilities]
    whole = Runner(graph).run(feeds, [*names, block.input])
    found = Runner(with_cuts(graph, encoder)).run(feeds | cut, [*(one + CUT for one in names), block.input + CUT])
    for one, other in zip(found[:2], whole[:2], strict=True):
        assert one.shape == (1, HEADS, 7, 11)
        np.testing.assert_allclose(one, other[:, :, :7, :11], atol=1e-6)
    np.testing.assert_allclose(found[2], whole[2][:, :7], atol=1e-6)


def test_heads_and_sounds_on_one_axis_are_parted() -> None:
    found = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert np.array_equal(by_head(found.reshape(6, 4, 5), 2), found)
    assert np.array_equal(by_head(found, 2), found)


# -- proving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_prove_themselves(name: str, data: Path) -> None:
    graph = Graph(data / name)
    ears, encoder = find_ears(graph), find_encoder(graph)
    assert ears is not None
    proof, states = prove_encoder(Runner(graph), Runner(with_cuts(graph, encoder)), ears, encoder, {ears.mel: noise()})
    assert proof.heads == HEADS
    assert max(proof.rebuild_errors) < 5e-6
    assert proof.row_sum_error < 1e-6
    assert len(states) == len(ears.states)


@pytest.mark.parametrize("layout", DECODERS)
def test_decoders_prove_themselves(layout: str, data: Path) -> None:
    speaker = open_speaker(parts(data, layout))
    assert speaker is not None
    feeds = speaker.feeds(states_of(data, layout), np.array([[353, 354, 361, 365, 7, 9]]))
    proof = prove_decoder(speaker.runner, speaker.decoder, feeds)
    assert proof.heads == HEADS
    assert len(proof.rebuild_errors) == 2 * LAYERS
    assert max(proof.rebuild_errors) < 5e-6


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        ("value", "cannot be rebuilt from its attention"),
        ("scores", "attention is not the softmax of its scores"),
        ("probabilities", "rows of attention do not sum to 1"),
    ],
)
def test_what_is_not_what_it_seems_is_refused(part: str, complaint: str, data: Path) -> None:
    speaker = open_speaker(parts(data, "optimum"))
    assert speaker is not None
    first, second = speaker.decoder.cross
    wrong = {
        "value": replace(second, value=first.value),
        "scores": replace(second, scores=first.scores),
        "probabilities": replace(second, probabilities=second.scores),
    }[part]
    feeds = speaker.feeds(states_of(data, "optimum"), np.array([[353, 354, 361, 365, 7, 9]]))
    with pytest.raises(AnatomyError, match=complaint):
        prove_decoder(speaker.runner, replace(speaker.decoder, cross=(first, wrong)), feeds)


def test_fused_attention_is_told(data: Path) -> None:
    def fuse(graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "Softmax":
                node.op_type, node.domain = "Attention", "com.microsoft"

    with pytest.raises(AnatomyError, match=r"attention is fused into single nodes \(2 Attention\)"):
        find_encoder(graph_of(data / ENCODERS[0], fuse))


def test_attention_that_is_changed_is_refused(data: Path) -> None:
    def change(graph: Any) -> None:
        softmax = [node for node in graph.node if node.op_type == "Softmax"][-1]
        name = softmax.output[0]
        softmax.output[0] = "before"
        graph.node.append(helper.make_node("Relu", ["before"], [name]))

    with pytest.raises(AnatomyError, match=r"the attention .*encoder_attn is changed before it is used"):
        find_decoder(graph_of(data / DECODERS["optimum"][0], change))


def test_a_decoder_of_nothing_but_tokens_is_refused(data: Path) -> None:
    def blind(graph: Any) -> None:
        """Let the keys and values of sound be made of the tokens' own stream."""
        inputs = {node.output[0]: node for node in graph.node}
        streams = [node.output[0] for node in graph.node if node.op_type == "LayerNormalization"]
        for node in inputs.values():
            if node.op_type == "MatMul" and node.input[0] == "encoder_hidden_states":
                layer = int(re.findall(r"layers\.(\d)", node.output[0])[0])
                node.input[0] = next(one for one in streams if f"layers.{layer}/encoder_attn_layer_norm" in one)
        graph.node.append(helper.make_node("Identity", ["encoder_hidden_states"], ["unused"]))

    with pytest.raises(AnatomyError, match="no attention from tokens to sound was found"):
        find_decoder(graph_of(data / DECODERS["optimum"][0], blind))


# -- stepping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", DECODERS)
def test_steps_give_what_all_tokens_at_once_give(layout: str, data: Path) -> None:
    speaker = open_speaker(parts(data, layout))
    assert isinstance(speaker, StoredSpeaker if "sherpa" in layout else PairedSpeaker)
    assert speaker.capacity == (96 if "sherpa" in layout else None)
    states = states_of(data, layout)
    twice = [np.concatenate([one, one], axis=0 if one.ndim == 3 else 1) for one in states]
    tokens = np.array([[353, 354, 361, 365, 7, 9, 300, 12], [353, 355, 361, 365, 80, 81, 82, 83]])
    wanted, _ = speaker.start(twice, tokens)
    logits, memory = speaker.start(twice, tokens[:, :4])
    np.testing.assert_allclose(logits, wanted[:, :4], atol=2e-5)
    for at in range(4, 8):
        step, memory = speaker.follow(memory, tokens[:, at])
        np.testing.assert_allclose(step, wanted[:, at], atol=2e-5)
    assert np.array_equal(memory.said, tokens)


def test_without_a_graph_for_later_tokens_all_are_run_again(data: Path) -> None:
    quick = open_speaker(parts(data, "optimum"))
    slow = open_speaker([Graph(data / DECODERS["optimum"][0])])
    assert quick is not None
    assert slow is not None
    assert len(slow.graphs) == 1
    states, tokens = states_of(data, "optimum"), np.array([[353, 354, 361, 365]])
    first, second = quick.start(states, tokens)[1], slow.start(states, tokens)[1]
    for token in (7, 9, 300):
        one, first = quick.follow(first, np.array([token]))
        other, second = slow.follow(second, np.array([token]))
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_no_decoder_without_a_first_step(data: Path) -> None:
    assert open_speaker([Graph(data / DECODERS["optimum"][1])]) is None
    assert open_speaker([Graph(data / ENCODERS[0])]) is None


def test_files_of_different_exports_are_refused(data: Path) -> None:
    def shorten(graph: Any) -> None:
        """Leave out what the first step gives of the last layer's values."""
        del graph.output[-1]

    first = graph_of(data / DECODERS["optimum"][0], shorten)
    with pytest.raises(AnatomyError, match=r"the keys that it takes are not those that decoder_model\.onnx gives"):
        open_speaker([first, Graph(data / DECODERS["optimum"][1])])


def test_a_store_that_does_not_come_out_is_refused(data: Path) -> None:
    def swallow(graph: Any) -> None:
        del graph.output[-1]

    graph = graph_of(data / DECODERS["sherpa"][0], swallow)
    with pytest.raises(AnatomyError, match=r"it takes keys \('in_n_layer_self_v_cache'\) but gives none back"):
        open_speaker([graph])
