"""What is found beyond the encoder: cross-attention and the integrate-and-fire block, and the proof of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxray.graph.decoder import (
    cif_weights,
    evidence_of,
    find_alphas,
    find_decoder,
    find_encoder,
    prove_decoder,
    without_decoder,
)
from voxray.graph.graph import Graph
from voxray.graph.session import Runner
from voxray.types import AnatomyError

Golden = Callable[[str], dict[str, np.ndarray]]


def cif_by_a_loop(alphas: np.ndarray, count: int) -> np.ndarray:
    """Integrate and fire as it is defined: collect frames until they make one token, split the frame that overflows."""
    weights, token, collected = np.zeros((count, len(alphas))), 0, 0.0
    for frame, left in enumerate(alphas.astype(np.float64)):
        rest = float(left)
        while rest > 0 and token < count:
            taken = min(rest, 1.0 - collected)
            weights[token, frame] += taken
            collected, rest = collected + taken, rest - taken
            if collected >= 1.0 - 1e-12:
                token, collected = token + 1, 0.0
    return weights


@pytest.fixture(scope="module")
def graph(data: Path) -> Graph:
    return Graph(data / "paraformer-funasr" / "model.onnx")


def feeds_of(golden: Golden, name: str = "odd") -> dict[str, np.ndarray]:
    values = golden(f"{name}.frontend")["paraformer_feats"]
    return {"speech": values[None], "speech_lengths": np.array([len(values)], np.int32)}


@pytest.mark.parametrize("seed", range(20))
def test_weights_are_those_of_a_plain_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    alphas = (generator.random(40) ** (seed % 4 + 1)).astype(np.float32)  # from dense to sparse firing
    count = int(alphas.astype(np.float64).sum())
    found = cif_weights(alphas, count)
    np.testing.assert_allclose(found, cif_by_a_loop(alphas, count), atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-9)
    assert (found.sum(axis=0) <= alphas + 1e-7).all()


def test_alphas_of_more_than_one_token_are_shared_out() -> None:
    np.testing.assert_allclose(cif_weights(np.array([0.5, 2.0, 0.5]), 3), [[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]])
    assert cif_weights(np.array([0.2, 0.1]), 0).shape == (0, 2)


@pytest.mark.parametrize("name", ["short", "odd"])
def test_weights_rebuild_the_token_embeddings_of_the_original(name: str, golden: Golden) -> None:
    told = golden(f"{name}.paraformer")
    weights = cif_weights(told["alphas"], int(told["token_num"]))
    rebuilt = weights[:, : len(told["encoder_out"])] @ told["encoder_out"]
    np.testing.assert_allclose(rebuilt, told["acoustic_embeds"], atol=1e-5)


@pytest.mark.parametrize(("name", "precision"), [("model.onnx", "fp32"), ("model_quant.onnx", "int8")])
def test_parts_are_found_and_proven(name: str, precision: str, data: Path, golden: Golden) -> None:
    graph = Graph(data / "paraformer-funasr" / name)
    alphas = find_alphas(graph, "token_num")
    assert alphas is not None
    encoder = find_encoder(graph, "logits")
    assert (len(encoder.blocks), encoder.precision, encoder.log_softmax) == (3, precision, True)
    assert encoder.blocks[0].label == "encoder/encoders0/encoders0.0"
    decoder = find_decoder(graph, encoder, alphas)
    assert [block.label.rsplit("/", 2)[-2] for block in decoder.blocks] == ["decoders.0", "decoders.1"]
    names = evidence_of(decoder)
    count, *values = Runner(graph).run(feeds_of(golden), ["token_num", *names])
    proof = prove_decoder(graph, encoder, decoder, dict(zip(names, values, strict=True)), int(count[0]))
    assert proof.heads == 4
    assert max(proof.rebuild_errors) < 1e-5
    assert proof.row_sum_error < 1e-6
    assert proof.embedding_error < 1e-5


def proven_parts(graph: Graph, golden: Golden) -> tuple[Any, Any, dict[str, np.ndarray], int]:
    encoder = find_encoder(graph, "logits")
    decoder = find_decoder(graph, encoder, str(find_alphas(graph, "token_num")))
    names = evidence_of(decoder)
    count, *values = Runner(graph).run(feeds_of(golden), ["token_num", *names])
    return encoder, decoder, dict(zip(names, values, strict=True)), int(count[0])


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda decoder: decoder.blocks[1].probabilities, "do not sum to 1"),
        (lambda decoder: decoder.blocks[1].value, "decoder layer 1 cannot be rebuilt"),
        (lambda decoder: decoder.alphas, "cannot be rebuilt from the alphas"),
        (lambda decoder: decoder.blocks[0].output, "decoder layer 0 cannot be rebuilt"),
    ],
)
def test_a_wrong_part_is_refused(spoil: Any, match: str, graph: Graph, golden: Golden) -> None:
    encoder, decoder, values, count = proven_parts(graph, golden)
    name = spoil(decoder)
    with pytest.raises(AnatomyError, match=match):
        prove_decoder(graph, encoder, decoder, values | {name: values[name] * np.float32(1.01)}, count)


def test_layers_out_of_order_are_refused(graph: Graph, golden: Golden) -> None:
    encoder, decoder, values, count = proven_parts(graph, golden)
    first, second = decoder.blocks
    mixed = replace(decoder, blocks=(replace(first, probabilities=second.probabilities), second))
    with pytest.raises(AnatomyError, match="decoder layer 0 cannot be rebuilt"):
        prove_decoder(graph, encoder, mixed, values, count)


def test_a_ctc_encoder_has_no_alphas_and_no_decoder(data: Path) -> None:
    graph = Graph(data / "sensevoice-funasr" / "model.onnx")
    assert find_alphas(graph, "encoder_out_lens") is None
    encoder = find_encoder(graph, "ctc_logits")
    assert len(encoder.blocks) == 5
    with pytest.raises(AnatomyError, match="no cross-attention from tokens to the encoder's frames was found"):
        find_decoder(graph, encoder, "")


def test_the_part_without_a_decoder_runs_where_the_whole_fails(graph: Graph) -> None:
    alphas = str(find_alphas(graph, "token_num"))
    probabilities = [block.probabilities for block in find_encoder(graph, "logits").blocks]
    part = without_decoder(graph, [alphas, *probabilities])
    assert len(part.nodes) < 0.6 * len(graph.nodes)
    assert list(part.outputs) == [alphas, *probabilities]
    feeds = {"speech": np.zeros((1, 1, 560), np.float32), "speech_lengths": np.array([1], np.int32)}
    found, *attention = Runner(part).run(feeds, [alphas, *probabilities])
    assert found.shape == (1, 2)
    assert found.sum() < 1
    assert all(one.shape == (1, 4, 1, 1) and np.allclose(one, 1) for one in attention)
