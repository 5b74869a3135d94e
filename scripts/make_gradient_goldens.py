"""Write the gradients of FunASR's own SenseVoice class, by PyTorch, that Voxray's compiled gradients are held to.

Usage: ``python scripts/make_gradient_goldens.py``, where PyTorch, FunASR and Voxray are installed (``make test-training`` does
so). It reads the fixture model and the sounds' features in ``tests/data`` and writes ``tests/data/gradients/funasr.npz``.

The fixture's weights, found by their place in the ONNX graph, are put into FunASR's modules, whose logits are first held to
the fixture's own golden logits. Gradients are then taken in double precision, so that what differs is Voxray's rounding alone:

- ``full``: PyTorch's autograd, nothing changed.
- ``frozen``: the same, with ``detach`` at the results of ``softmax`` and at the root of the variance plus epsilon in every layer
  norm. PyTorch's gradient of ReLU is already that of a gate that is held.

What is in the file: for each case ``NAME.features`` (B, T, 560), ``NAME.rows``, ``NAME.ids`` and ``NAME.weights`` (S, n), the
seeds; ``NAME.full`` and ``NAME.frozen`` (S, T, 560), the gradients of each seed's weighted sum of logits; ``NAME.lengths`` (B,),
``NAME.language`` and ``NAME.textnorm``. In a batch of several, seed s is of item s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from funasr.models.sense_voice.model import SenseVoiceSmall

from voxray.graph.anatomy import Block, Norm, find_anatomy
from voxray.graph.graph import Graph
from voxray.graph.weights import linear_parts

DATA = Path(__file__).parents[1] / "tests" / "data"
FIXTURE = DATA / "sensevoice-funasr"
TOLERANCE = 2e-4  # of logits, between FunASR's modules and the fixture's README
LANGUAGE, TEXTNORM = 0, 15  # rows of the prompt embedding: auto, woitn
VOCABULARY = 280


def build() -> Any:
    """Return FunASR's model with the fixture's weights, in double precision."""
    config = yaml.safe_load((FIXTURE / "config.yaml").read_text(encoding="utf-8"))
    model = SenseVoiceSmall(
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        input_size=560,
        vocab_size=VOCABULARY,
        **config["model_conf"],
    )
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights().items()})
    return model.double().eval()


def weights() -> dict[str, Any]:
    """Return the fixture's weights by the names of FunASR's modules."""
    graph = Graph(FIXTURE / "model.onnx")
    anatomy = find_anatomy(graph, "ctc_logits")
    found: dict[str, Any] = {"embed.weight": graph.constant("embed.weight")}
    for block in anatomy.blocks:
        found |= of_block(graph, block)
    for (_, norm), name in zip(anatomy.stream_norms, ("encoder.after_norm", "encoder.tp_norm"), strict=True):
        found |= of_norm(graph, norm, name)
    return found | of_linear(graph, anatomy.head, "ctc.ctc_lo")


def of_block(graph: Graph, block: Block) -> dict[str, Any]:
    """Return the weights of a layer."""
    stem = block.label.replace("/", ".")
    found = {f"{stem}.self_attn.fsmn_block.weight": graph.constant(block.taps)}
    for name, linear in (
        ("self_attn.linear_q_k_v", block.qkv),
        ("self_attn.linear_out", block.projection),
        ("feed_forward.w_1", block.feed_forward[0]),
        ("feed_forward.w_2", block.feed_forward[1]),
    ):
        found |= of_linear(graph, linear, f"{stem}.{name}")
    return found | of_norm(graph, block.norm, f"{stem}.norm1") | of_norm(graph, block.norm2, f"{stem}.norm2")


def of_linear(graph: Graph, linear: Any, name: str) -> dict[str, Any]:
    """Return weight and bias of a linear map as PyTorch holds them."""
    weight, bias = linear_parts(graph, linear)
    return {f"{name}.weight": weight.T, f"{name}.bias": bias}


def of_norm(graph: Graph, norm: Norm, name: str) -> dict[str, Any]:
    """Return scale and shift of a norm."""
    return {f"{name}.weight": graph.constant(norm.weight), f"{name}.bias": graph.constant(norm.bias)}


def logits_of(model: Any, features: Any, lengths: Any) -> Any:
    """Return (B, T + 4, V): FunASR's modules put together as its ``inference`` does it."""
    batch = len(features)
    prompts = model.embed(torch.tensor([[LANGUAGE, 1, 2, TEXTNORM]])).repeat(batch, 1, 1)
    rows, _ = model.encoder(torch.cat([prompts, features], dim=1), lengths + 4)
    return model.ctc.ctc_lo(rows)


@contextmanager
def frozen_routing() -> Iterator[None]:
    """Hold attention weights and norm denominators."""
    softmax = torch.softmax

    def held_softmax(*given: Any, **options: Any) -> Any:
        return softmax(*given, **options).detach()

    def held_norm(rows: Any, _shape: Any, scale: Any, shift: Any, epsilon: float) -> Any:
        centred = rows - rows.mean(-1, keepdim=True)
        root = torch.sqrt((centred**2).mean(-1, keepdim=True) + epsilon).detach()
        return centred / root * scale + shift

    with mock.patch.object(torch, "softmax", held_softmax), mock.patch.object(torch.nn.functional, "layer_norm", held_norm):
        yield


def gradients(model: Any, case: dict[str, Any]) -> Any:
    """Return the gradient of each seed's weighted sum of logits by the features, (S, T, 560) float32."""
    found = []
    for seed in range(len(case["rows"])):
        features = torch.from_numpy(case["features"]).double().requires_grad_()
        logits = logits_of(model, features, torch.from_numpy(case["lengths"]))
        item = seed if len(features) > 1 else 0
        rows, ids, factors = (torch.from_numpy(case[name][seed]) for name in ("rows", "ids", "weights"))
        (gradient,) = torch.autograd.grad((logits[item, rows, ids] * factors).sum(), features)
        found.append(gradient[item].numpy())
    return np.stack(found).astype(np.float32)


def seeds(length: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return three seeds: a tag against another label, a token against two rivals, and a sum of many logits of many rows."""
    width = 24
    rows, ids, factors = (np.zeros((3, width), kind) for kind in (np.int64, np.int64, np.float64))
    rows[0, :2], ids[0, :2], factors[0, :2] = 1, (226, 227), (1.0, -1.0)
    rows[1, :3], ids[1, :3], factors[1, :3] = length + 1, (40, 0, 77), (1.0, -0.5, -0.5)
    rows[2], ids[2] = rng.integers(0, length + 4, width), rng.integers(0, VOCABULARY, width)
    factors[2] = rng.standard_normal(width)
    return {"rows": rows, "ids": ids, "weights": factors}


def main() -> None:
    """Write the file."""
    model = build()
    golden = DATA / "golden"
    heard = {name: np.load(golden / f"{name}.frontend.npz")["sensevoice_feats"] for name in ("short", "odd")}
    for name, features in heard.items():
        with torch.no_grad():
            (logits,) = logits_of(model, torch.from_numpy(features).double()[None], torch.tensor([len(features)]))
        error = np.abs(logits.numpy() - np.load(golden / f"{name}.auto.woitn.sensevoice.npz")["logits"]).max()
        sys.stdout.write(f"{name}: logits differ from FunASR's golden ones by {error:.1e}\n")
        if error > TOLERANCE:
            raise SystemExit(f"{name}: the weights are not where they should be: {error:.1e}")
    rng = np.random.default_rng(4)
    pair = np.zeros((3, 9, 560), np.float32)
    lengths = np.array([9, 5, 7])
    for item, (source, length) in enumerate(zip((heard["odd"][12:], heard["short"], heard["odd"][20:]), lengths, strict=True)):
        pair[item, :length] = source[:length]
    cases = {
        "short": {"features": heard["short"][None], "lengths": np.array([len(heard["short"])]), **seeds(5, rng)},
        "odd": {"features": heard["odd"][None, :12], "lengths": np.array([12]), **seeds(12, rng)},
        "batch": {"features": pair, "lengths": lengths, **seeds(5, rng)},
    }
    written: dict[str, Any] = {}
    for name, case in cases.items():
        case |= {"language": np.array(LANGUAGE), "textnorm": np.array(TEXTNORM), "full": gradients(model, case)}
        with frozen_routing():
            case["frozen"] = gradients(model, case)
        apart = np.linalg.norm(case["full"] - case["frozen"]) / np.linalg.norm(case["full"])
        sys.stdout.write(f"{name}: full and frozen gradients differ by {apart:.1%}\n")
        written |= {f"{name}.{key}": value for key, value in case.items()}
    (DATA / "gradients").mkdir(exist_ok=True)
    np.savez_compressed(DATA / "gradients" / "funasr.npz", **written)


if __name__ == "__main__":
    main()
