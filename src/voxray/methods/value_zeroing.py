"""Value zeroing: how far each row of a layer's output turns when the values of other rows are taken away, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from voxray.case import Case
from voxray.methods import Found, Needs
from voxray.mixing import layers_down, rolled, rounding, spans
from voxray.sanm import Layer, feed_forward, normalised, shares
from voxray.types import FloatArray, NormWeights


@dataclass(frozen=True, slots=True)
class Method:
    """Value zeroing.

    Attributes:
        zeroed: whose values: those that ``attention`` reads, those that the ``memory`` reads, or ``both``.
        segments: what is zeroed at once: ``words`` with the pauses between them, or single ``frames``, which costs a few times
            more. Prompt rows always go one by one.
        feed_forward: whether outputs are compared after the feed-forward (as published) or before it, which is nearly free.
    """

    zeroed: Literal["both", "attention", "memory"] = "both"
    segments: Literal["words", "frames"] = "words"
    feed_forward: bool = True

    name: ClassVar[str] = "value_zeroing"
    title: ClassVar[str] = "value zeroing"
    answers: ClassVar[str] = (
        "How much a target's rows depend on the values of each word in every layer, followed down to the sound."
    )
    cannot: ClassVar[str] = (
        "Say for or against, or what the model would have said: each layer is changed by itself, and what its output loses is "
        "carried down as shares. Zero is no value that the model ever meets."
    )
    cost: ClassVar[str] = "Two passes that read the layers and two thirds of one for each segment; without feed_forward a tenth."
    source: ClassVar[str] = "Mohebbi et al. 2023, arXiv 2301.12971; on speech: arXiv 2310.09925. The memory path is ours."
    needs: ClassVar[Needs] = "anatomy"
    adds_up: ClassVar[bool] = False

    def explain(self, case: Case) -> list[Found]:
        """Return what each target's rows depend on."""
        prompts = case.trace.pieces[0].prompts
        groups = [*pairwise(range(prompts + 1)), *spans(case, self.segments, 0.0)]
        firsts, sizes = [first for first, _ in groups], np.array([[stop - first] for first, stop in groups], np.float32)

        def mixing() -> Iterator[FloatArray]:
            norms = case.stream_norms
            for index, layer in zip(reversed(range(case.layers)), layers_down(case), strict=True):
                turned = self.turns(layer, groups, norms.get(index + 1))
                yield shares(np.asarray(np.add.reduceat(turned, firsts, axis=0) / sizes, np.float32))

        return rolled(case, mixing(), groups, notes=rounding(case))

    def turns(self, layer: Layer, groups: Sequence[tuple[int, int]], norm: NormWeights | None) -> FloatArray:
        """Return how far each row of the output turns without the values of each group, (N, S), as a cosine distance.

        Args:
            layer: taken apart; it is not run again, for what its rows lose is known.
            groups: rows [first, stop).
            norm: what stands in the stream after the layer.
        """

        def output(middle: FloatArray) -> FloatArray:
            after = feed_forward(middle, layer.weights) if self.feed_forward else middle
            return after if norm is None else normalised(after, norm)

        middle = layer.middle
        whole = output(middle)
        left = (output(middle - layer.lost(*group, self.zeroed)) for group in groups)
        return np.stack([_distance(whole, one) for one in left], axis=1)


def _distance(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return 1 minus the cosine of each pair of rows; 1 where a row is nothing."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    alike = np.divide(np.einsum("nd,nd->n", one, other), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return np.asarray(np.clip(1 - alike, 0.0, 2.0), np.float32)
