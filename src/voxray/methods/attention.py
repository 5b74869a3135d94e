"""Raw attention: where the rows that a target is read at look in one layer, or in all of them on average.

Of a model with a decoder it is the cross-attention, from tokens to frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.mixing import before_sound, found, target_rows, token_rows, told_apart
from voxray.types import FloatArray, OptionError

TEMPERATURE = 0.5  # nats; how sharply entropy weighting prefers focused heads


@dataclass(frozen=True, slots=True)
class Method:
    """Raw attention.

    Attributes:
        layer: 0 is nearest to the sound, -1 is the last; None is the mean of all.
        head: one head; None puts all of them together by ``aggregate``.
        aggregate: ``mean``; ``max`` of each weight, rows scaled to sum to 1 again; ``entropy``: heads weighted by
            exp(-entropy / 0.5 nat) of the target's row; ``value``: by the norm of what they add to their layer's output there.
    """

    layer: int | None = None
    head: int | None = None
    aggregate: Literal["mean", "max", "entropy", "value"] = "mean"

    name: ClassVar[str] = "attention"
    title: ClassVar[str] = "raw attention"
    answers: ClassVar[str] = (
        "Where the rows that a target is read at look, in one layer or in all of them on average; of a decoder: at which frames."
    )
    cannot: ClassVar[str] = (
        "Say what was used: it leaves out the values, the memory beside the attention and every layer below. A word that gets no "
        "attention may have come through the memory."
    )
    cost: ClassVar[str] = "Nothing beyond the trace; one pass for aggregate=value."
    source: ClassVar[str] = "Vaswani et al. 2017; weighting by entropy: arXiv 2606.14647; by value norm: Kobayashi et al. 2020."
    needs: ClassVar[Needs] = "attention"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Return where each target looks."""
        depth, width = case.trace.decoder or (case.layers, case.trace.heads)
        layers = range(depth) if self.layer is None else [_index("layer", self.layer, depth)]
        heads = slice(None)
        if self.head is not None:
            head = _index("head", self.head, width)
            heads = slice(head, head + 1)
        tokens = token_rows(case)
        targets = target_rows(case, tokens)
        rows = np.concatenate([targets, tokens])
        importance = None
        if self.aggregate == "value" and self.head is None:
            case.meter.pay(1)
            importance = case.head_norms(list(layers)) @ rows.T
        each = [
            self._together(rows @ case.looks(layer)[heads], None if importance is None else importance[at])
            for at, layer in enumerate(layers)
        ]
        reached = np.asarray(sum(each) / len(each), np.float32)
        return found(case, reached[: len(targets)], told_apart(reached[len(targets) :, before_sound(case) :]))

    def _together(self, looks: FloatArray, importance: FloatArray | None) -> FloatArray:
        """Put heads together: (H, A, N) -> (A, N), rows that sum to 1."""
        if len(looks) == 1 or self.aggregate == "mean":
            return np.asarray(looks.mean(axis=0), np.float32)
        if self.aggregate == "max":
            most = looks.max(axis=0)
            return np.asarray(most / most.sum(axis=1, keepdims=True), np.float32)
        if importance is None:
            entropy = -(looks * np.log(np.maximum(looks, np.finfo(np.float32).tiny))).sum(axis=-1)
            importance = np.exp((entropy.min(axis=0) - entropy) / TEMPERATURE)
        shares = importance / np.maximum(importance.sum(axis=0), np.finfo(np.float32).tiny)
        return np.asarray(np.einsum("han,ha->an", looks, shares), np.float32)


def _index(what: str, wanted: int, count: int) -> int:
    if not -count <= wanted < count:
        raise OptionError(f"{what} {wanted} does not exist: there are {count} {what}s, 0 to {count - 1}")
    return wanted % count
