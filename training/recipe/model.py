"""SenseVoice-Small's architecture in plain PyTorch, with FunASR's names, so that its weights load into FunASR's class.

Two things differ in form, not in value. Attention is plain products, since PyTorch's fused attention is slow on a CPU for
rows this few; and there is no dropout, since every clip is seen a few times only.

**Source:** FunASR's ``funasr/models/sense_voice/model.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipe.plan import FEATURES, KERNEL, PROMPT_ROWS, Size


class Memory(nn.Module):
    """The FSMN memory: a symmetric depthwise filter of the values, and the values themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(KERNEL)
        self.fsmn_block = nn.Module()
        self.fsmn_block.weight = nn.Parameter(torch.empty(width, 1, KERNEL).uniform_(-bound, bound))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Filter (B, T, D) values whose padding ``mask`` (B, T, 1) zeroes."""
        values = values * mask
        channels = values.transpose(1, 2)
        taps = self.fsmn_block.weight.to(values.dtype)
        filtered = functional.conv1d(channels, taps, padding=KERNEL // 2, groups=channels.shape[1])
        return (filtered.transpose(1, 2) + values) * mask


class Attention(Memory):
    """SANM: multi-head self-attention plus the FSMN memory of the values.

    It inherits the memory, since FunASR keeps the filter as ``self_attn.fsmn_block``.
    """

    def __init__(self, width_in: int, size: Size) -> None:
        super().__init__(size.width)
        self.heads = size.heads
        self.linear_q_k_v = nn.Linear(width_in, 3 * size.width)
        self.linear_out = nn.Linear(size.width, size.width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Mix (B, T, D_in) rows; ``mask`` (B, T, 1) is 1 on real rows."""
        batch, count, _ = rows.shape
        query, key, value = self.linear_q_k_v(rows).chunk(3, dim=-1)
        q, k, v = (part.view(batch, count, self.heads, -1).transpose(1, 2) for part in (query, key, value))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)  # the fused kernel is slower on rows this few
        weights = scores.masked_fill(mask.transpose(1, 2)[:, None] == 0, -math.inf).softmax(dim=-1)
        mixed = (weights.to(v.dtype) @ v).transpose(1, 2).reshape(batch, count, -1)
        return self.linear_out(mixed) + super().forward(value, mask)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size.width, size.inner)
        self.w_2 = nn.Linear(size.inner, size.width)

    def forward(self, rows: Tensor) -> Tensor:
        """Transform (B, T, D) rows."""
        return self.w_2(functional.relu(self.w_1(rows)))


class Layer(nn.Module):
    """One pre-norm SANM layer; the first of all changes the width, so it has no residual around its attention."""

    def __init__(self, width_in: int, size: Size) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width_in), nn.LayerNorm(size.width)
        self.self_attn = Attention(width_in, size)
        self.feed_forward = FeedForward(size)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Transform (B, T, D_in) rows into (B, T, D)."""
        mixed = self.self_attn(self.norm1(rows), mask)
        if mixed.shape == rows.shape:
            mixed = mixed + rows
        return mixed + self.feed_forward(self.norm2(mixed))


class Encoder(nn.Module):
    """The two stacks of layers, the norm between them and the norm after them."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.scale = math.sqrt(size.width)
        self.encoders0 = nn.ModuleList([Layer(FEATURES, size)])
        self.encoders = nn.ModuleList([Layer(size.width, size) for _ in range(size.blocks - 1)])
        self.tp_encoders = nn.ModuleList([Layer(size.width, size) for _ in range(size.tp_blocks)])
        self.after_norm, self.tp_norm = nn.LayerNorm(size.width), nn.LayerNorm(size.width)

    def forward(self, rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows after the middle norm and after the last one, each (B, T, D)."""
        rows = rows * self.scale + positions(rows.shape[1], rows.device)
        for layer in (*self.encoders0, *self.encoders):
            rows = layer(rows, mask)
        middle = rows = self.after_norm(rows)
        for layer in self.tp_encoders:
            rows = layer(rows, mask)
        return middle, self.tp_norm(rows)


class SenseVoice(nn.Module):
    """The recogniser: prompts, encoder, CTC head."""

    def __init__(self, vocabulary: int, size: Size) -> None:
        super().__init__()
        self.embed = nn.Embedding(PROMPT_ROWS, FEATURES)
        self.encoder = Encoder(size)
        self.ctc = nn.Module()
        self.ctc.ctc_lo = nn.Linear(size.width, vocabulary)

    def forward(self, features: Tensor, lengths: Tensor, language: Tensor, textnorm: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the middle and of the last rows, each (B, 4 + T, V).

        Args:
            features: (B, T, 560) normalised features, padded with zeros.
            lengths: (B,) real rows.
            language: (B,) prompt rows, 0 for auto.
            textnorm: (B,) prompt rows, 14 or 15.
        """
        fixed = torch.tensor([1, 2], device=features.device).expand(len(features), 2)
        prompts = self.embed(torch.cat([language[:, None], fixed, textnorm[:, None]], dim=1))
        rows = torch.cat([prompts, features], dim=1)
        places = torch.arange(rows.shape[1], device=features.device)
        mask = (places[None] < lengths.to(rows.device)[:, None] + prompts.shape[1]).to(rows.dtype)[:, :, None]
        middle, last = self.encoder(rows, mask)
        return self.ctc.ctc_lo(middle), self.ctc.ctc_lo(last)


def positions(count: int, device: torch.device | None = None) -> Tensor:
    """Return the sinusoidal positions 1 to ``count``, (count, 560): sines in the first half, cosines in the second."""
    steps = torch.arange(FEATURES // 2, device=device) * (-math.log(10_000.0) / (FEATURES / 2 - 1))
    angles = torch.arange(1, count + 1, device=device)[:, None] * torch.exp(steps)[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
