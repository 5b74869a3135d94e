"""Slow plain twins of what is measured of attention heads, and heads made by hand; used by several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from voxray.measures.heads import MEASURES, Heads

HOP, PROMPTS = 0.06, 4


def slow(pieces: Sequence[np.ndarray], layer: int, head: int) -> dict[str, float]:
    """Return every measure of one head with loops over rows and keys."""
    entropies, relative, prompt, own, largest = [], [], [], [], []
    apart: dict[int, float] = {}
    for piece in pieces:
        weights = piece[layer, head].astype(np.float64)
        for i in range(PROMPTS, len(weights)):
            bits = -sum(w * math.log2(w) for w in weights[i] if w > 0)
            entropies.append(bits)
            relative.append(bits / math.log2(len(weights)))
            prompt.append(sum(weights[i][:PROMPTS]))
            own.append(weights[i][i])
            largest.append(max(weights[i]))
            for j in range(PROMPTS, len(weights)):
                apart[j - i] = apart.get(j - i, 0.0) + weights[i][j]
    total = sum(apart.values())
    seen, distance = 0.0, 0
    for distance in range(max(map(len, pieces[0][0])) * 9):
        seen += sum(mass for offset, mass in apart.items() if abs(offset) == distance)
        if seen >= total / 2:
            break
    return {
        "entropy": float(np.mean(entropies)),
        "relative_entropy": float(np.mean(relative)),
        "distance": distance * HOP,
        "near": sum(mass for offset, mass in apart.items() if abs(offset) * HOP <= 0.3 + 1e-9) / total,
        "offset": sum(mass * offset * HOP for offset, mass in apart.items()) / total,
        "balance": sum(mass * np.sign(offset) for offset, mass in apart.items()) / total,
        "prompt_mass": float(np.mean(prompt)),
        "self_mass": float(np.mean(own)),
        "sharpness": float(np.mean(largest)),
    }


def heads_with(**values: float) -> Heads:
    """Return two heads of which the measures are 0.4 but those given."""
    plain = {name: np.full((1, 2), values.get(name, 0.4)) for name in MEASURES}
    return Heads(**plain, prompts=np.full((1, 2, 4), 0.1), chance={"entropy": 5.0, "distance": 0.8, "near": 0.2})
