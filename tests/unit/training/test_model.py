"""The trained model in plain PyTorch against FunASR's own class, and both layouts written from it.

These need PyTorch and FunASR, which nothing else does: ``make test-training`` installs them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is for training only: make test-training")
pytest.importorskip("funasr", reason="FunASR is for training only: make test-training")

import voxray  # noqa: E402
from recipe import layouts  # noqa: E402
from recipe.model import Memory, SenseVoice, positions  # noqa: E402
from recipe.plan import Plan, Size  # noqa: E402
from recipe.shards import Example  # noqa: E402
from recipe.tokens import Target, tag  # noqa: E402
from recipe.train import IGNORED, collate, losses, rate_at  # noqa: E402
from voxray.types import Audio  # noqa: E402

TINY = Size(width=32, heads=4, inner=64, blocks=3, tp_blocks=2)
VOCABULARY = 50


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """Our model and FunASR's with the same random weights."""
    torch.manual_seed(3)
    ours = SenseVoice(VOCABULARY, TINY).eval()
    theirs = layouts.build(layouts.config(width=32, heads=4, inner=64, blocks=3, tp_blocks=2), VOCABULARY)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.export(device="cpu")


def inputs(*lengths: int) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(len(lengths), max(lengths), 560, generator=generator)
    for row, length in zip(features, lengths, strict=True):
        row[length:] = 0
    sizes = torch.tensor(lengths, dtype=torch.int32)
    return features, sizes, torch.tensor([0, 7][: len(lengths)]), torch.tensor([15, 14][: len(lengths)])


@torch.no_grad()
def test_logits_are_funasrs(pair: tuple[Any, Any]) -> None:
    given = inputs(23, 17)
    (_, ours), (theirs, lengths) = pair[0](*given), pair[1](*given)
    assert lengths.tolist() == [27, 21]
    for mine, his, length in zip(ours, theirs, lengths, strict=True):
        assert float((mine[:length] - his[:length]).abs().max()) <= 2e-5


@torch.no_grad()
def test_padding_changes_no_real_row(pair: tuple[Any, Any]) -> None:
    features, lengths, language, textnorm = inputs(23, 17)
    _, together = pair[0](features, lengths, language, textnorm)
    _, alone = pair[0](features[1:, :17], lengths[1:], language[1:], textnorm[1:])
    assert float((together[1, :21] - alone[0]).abs().max()) <= 1e-5


def test_memory_is_a_depthwise_convolution() -> None:
    memory = Memory(8)
    values = torch.randn(2, 19, 8)
    mask = torch.ones(2, 19, 1)
    mask[1, 14:] = 0
    masked = values * mask
    filtered = torch.nn.functional.conv1d(masked.transpose(1, 2), memory.fsmn_block.weight, padding=5, groups=8)
    assert torch.allclose(memory(values, mask), (filtered.transpose(1, 2) + masked) * mask, atol=1e-6)


def test_positions_start_at_one() -> None:
    found = positions(3).numpy()
    rates = np.exp(-np.arange(280) * np.log(10_000) / 279)
    for row in range(3):
        np.testing.assert_allclose(found[row], np.concatenate([np.sin((row + 1) * rates), np.cos((row + 1) * rates)]), atol=1e-6)


def examples() -> list[Example]:
    rng = np.random.default_rng(0)
    goals = [Target((1, 2, 3), (10, 11), ((2, 3), (4, 8)), 12), Target((4, 5, 6), (), (), 0)]
    return [
        Example(rng.standard_normal((rows, 560)).astype(np.float16), goal, language)
        for rows, goal, language in zip((7, 5), goals, ("ja", "nospeech"), strict=True)
    ]


def test_collate_pads_prompts_and_aligns() -> None:
    batch = collate(examples(), Plan(told=1.0, punctuated=1.0), np.random.default_rng(0))
    assert batch.features.shape == (2, 7, 560)
    assert batch.lengths.tolist() == [7, 5]
    assert batch.language.tolist() == [11, 13]
    assert batch.textnorm.tolist() == [14, 14]
    assert batch.tags.tolist() == [[1, 2, 3, tag("withitn")], [4, 5, 6, tag("withitn")]]
    assert batch.tokens.tolist() == [10, 11, 12]
    assert batch.counts.tolist() == [3, 0]
    assert batch.aligned.tolist() == [[0, 0, 10, 10, 11, 11, 11], [0, 0, 0, 0, 0, IGNORED, IGNORED]]
    plain = collate(examples(), Plan(told=0.0, punctuated=0.0), np.random.default_rng(0))
    assert (plain.language.tolist(), plain.textnorm.tolist(), plain.tokens.tolist()) == ([0, 0], [15, 15], [10, 11])


def test_losses_fall_when_the_model_learns_a_batch() -> None:
    torch.manual_seed(0)
    model = SenseVoice(2000, TINY)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = collate(examples(), Plan(told=1.0, punctuated=0.0), np.random.default_rng(0))
    totals = []
    for _ in range(40):
        parts = losses(model, batch)
        assert set(parts) == {"ctc", "middle", "aligned_ctc", "aligned_middle", "tags"}
        total = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.2 * totals[0]


def test_rate_rises_then_falls() -> None:
    plan = Plan(epochs=20, updates=500)
    assert rate_at(0, plan) == pytest.approx(plan.rate / plan.warmup)
    assert rate_at(plan.warmup, plan) == pytest.approx(plan.rate)
    assert rate_at((10_000 + plan.warmup) // 2, plan) == pytest.approx(0.505 * plan.rate)
    assert rate_at(10_000, plan) == pytest.approx(0.01 * plan.rate)


@pytest.fixture(scope="module")
def written(pair: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("layouts")
    tokens = ("<unk>", "<s>", "</s>", "▁good", "▁day", *"天地人", *(f"<|{name}|>" for name in ("zh", "en", "yue", "ja", "ko")))
    tokens += tuple(f"<|{name}|>" for name in ("nospeech", "HAPPY", "NEUTRAL", "Speech", "BGM", "withitn", "woitn"))
    tokens += tuple(f"x{i}" for i in range(VOCABULARY - len(tokens)))
    config = layouts.config(width=32, heads=4, inner=64, blocks=3, tp_blocks=2)
    shift, scale = np.linspace(-9, -8, 560, dtype=np.float32), np.full(560, 0.3, np.float32)
    layouts.write(pair[1], layouts.Description(tokens, shift, scale, config, "me", "a test"), out, int8=True)
    return out


@pytest.mark.filterwarnings("ignore")
def test_both_layouts_open_and_agree(written: Path) -> None:
    sound = Audio(np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1)
    rows = [voxray.load_model(written / name).trace(sound).log_probs for name in ("funasr/model.onnx", "sherpa/model.onnx")]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    for name in ("funasr/model_quant.onnx", "sherpa/model.int8.onnx"):
        assert voxray.load_model(written / name).info.precision == "int8"


def test_texts_beside_the_weights(written: Path) -> None:
    import sentencepiece

    tokens = json.loads((written / "funasr/tokens.json").read_text("utf-8"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(written / "funasr" / layouts.PIECES))
    assert [pieces.id_to_piece(i) for i in range(VOCABULARY)] == tokens
    assert pieces.decode([8, 3, 4]).replace("<|zh|>", "").strip() == "good day"
    lines = (written / "sherpa/tokens.txt").read_text("utf-8").splitlines()
    assert lines == [f"{token} {i}" for i, token in enumerate(tokens)]
