"""How far two models of one shape come apart inside, on the same sound: every head's attention, every layer's output, the logits.

Each clip leaves sums and not means, so that clips of any length are pooled by their rows; intervals are over clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.measures.heads import jsonable, known_name
from voxray.measures.similarity import AttentionSums, LogitSums, Pooled, attention_sums, logit_sums, squared_change
from voxray.measures.statistics import Interval, bootstrap_ratio
from voxray.trace import Trace
from voxray.types import plain

Float64Array = npt.NDArray[np.float64]

AT_ONCE = 128 << 20
"""Bytes of attention of both models that are measured at a time."""
TENSORS = ("output", "context")
"""Inner tensors that a trace must keep to be measured."""
HEAD_FIGURES: dict[str, tuple[str, str, str]] = {
    "divergence": ("divergence", "rows", "bits a row, all columns"),
    "sound_divergence": ("sound_divergence", "sound_rows", "bits a row, columns of sound alone"),
    "weighted": ("weighted", "norm", "bits a row, weighted by what the head adds"),
    "moved": ("moved", "rows", "share of the rows whose largest weight moved"),
}
"""Figure of a head -> its numerator and denominator among the sums of a clip, and its unit."""


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """How far the two models come apart on one clip.

    Attributes:
        attention: of all heads.
        outputs: (L, 2) float64: squared distance of each layer's output, and its squared size in the first model.
        logits: of the output rows; None where the models have different rows (decoders that write different texts).
    """

    attention: AttentionSums
    outputs: Float64Array
    logits: LogitSums | None


def why_unlike(first: Trace, second: Trace) -> str:
    """Return in a few words why two traces of one sound cannot be compared row by row; nothing where they can."""
    sizes = [[len(part.values) for part in trace.features] for trace in (first, second)]
    return "" if sizes[0] == sizes[1] else "the models cut or frame it otherwise"


def inside_of(first: Trace, second: Trace, pooled: Sequence[Pooled]) -> Inside | None:
    """Measure how far two models come apart on one clip; None for a clip without sound that the models took up.

    Args:
        first: of the first model, with ``TENSORS`` kept.
        second: of the second model.
        pooled: one for each layer; takes the rows of the clip along.
    """
    pieces = [_piece(first, second, index, pooled) for index in range(len(first.pieces))]
    if not pieces:
        return None
    total = pieces[0]
    for one in pieces[1:]:
        logits = None if total.logits is None or one.logits is None else total.logits + one.logits
        total = Inside(total.attention + one.attention, total.outputs + one.outputs, logits)
    return total


def _piece(first: Trace, second: Trace, index: int, pooled: Sequence[Pooled]) -> Inside:
    """Measure one piece of sound."""
    a, b = first.evidence[index], second.evidence[index]
    prompts = first.pieces[index].prompts if first.decoder is None else 0  # a decoder's prompts are no rows of the encoder
    every = range(first.layers)
    outputs = []
    for x, y, gathered in zip(a.tensors("output", every), b.tensors("output", every), pooled, strict=True):
        gathered.add(x[prompts:], y[prompts:])
        outputs.append(squared_change(x[prompts:], y[prompts:]))
    rows = a.logits(), b.logits()
    logits = logit_sums(rows[0], rows[1]) if rows[0].shape == rows[1].shape else None
    norms = a.head_norms(every), b.head_norms(every)
    size = 8 * first.heads * norms[0].shape[-1] ** 2
    parts = [
        attention_sums(a.attention(layers), b.attention(layers), (norms[0][layers], norms[1][layers]), prompts)
        for layers in _chunks(first.layers, max(1, AT_ONCE // size))
    ]
    joined = AttentionSums(*(np.concatenate([getattr(one, name) for one in parts]) for name in AttentionSums.__slots__))
    return Inside(joined, np.array(outputs, np.float64), logits)


def _chunks(count: int, size: int) -> Iterator[list[int]]:
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))


@dataclass(frozen=True, slots=True)
class HeadDivergence:
    """How far one head's attention diverges, with intervals over clips; None where no row gives anything to the sound.

    Attributes:
        layer: which.
        head: which.
        divergence: Jensen-Shannon divergence of its rows, bits.
        sound_divergence: the same without the prompt columns, what is left scaled to sum to 1.
        weighted: the same as ``divergence``, each row counting by what the head adds there, on the scale of the layer's mean head.
        moved: share of rows whose largest weight stands in another column.
    """

    layer: int
    head: int
    divergence: Interval | None
    sound_divergence: Interval | None
    weighted: Interval | None
    moved: Interval | None


@dataclass(frozen=True, slots=True)
class LayerChange:
    """How far a layer's output comes apart.

    Attributes:
        layer: which.
        relative: squared distance over squared size, with its interval over clips; its root is relative L2.
        cka: linear centred kernel alignment, 1 for alike; None where nothing varies.
        divergence: of attention, mean over the heads, bits.
    """

    layer: int
    relative: Interval | None
    cka: float | None
    divergence: Interval | None

    @property
    def relative_l2(self) -> float | None:
        """Distance over size."""
        return None if self.relative is None else float(np.sqrt(self.relative.value))


@dataclass(frozen=True, eq=False)
class Divergence:
    """How far two models come apart inside, over all clips.

    Attributes:
        clips: one for each that was measured, at least one.
        pooled: of each layer's output, over the same clips.
        seed: of the intervals.
    """

    clips: tuple[Inside, ...]
    pooled: tuple[Pooled, ...]
    seed: int

    @property
    def rows(self) -> int:
        """Rows of sound that were compared."""
        return self.pooled[0].rows

    @property
    def few_rows(self) -> bool:
        """Whether CKA rests on too few rows."""
        return any(one.rows < 2 * one.width for one in self.pooled)

    @cached_property
    def layers(self) -> tuple[LayerChange, ...]:
        """Every layer."""
        outputs = np.array([one.outputs for one in self.clips])
        found = []
        for layer, gathered in enumerate(self.pooled):
            bits, rows = (self._sums(name)[:, layer].sum(axis=1) for name in ("divergence", "rows"))
            spread = bootstrap_ratio(outputs[:, layer, 0], outputs[:, layer, 1], seed=self.seed)
            found.append(LayerChange(layer, spread, gathered.cka(), bootstrap_ratio(bits, rows, seed=self.seed)))
        return tuple(found)

    @cached_property
    def heads(self) -> tuple[HeadDivergence, ...]:
        """Every head of every layer."""
        layers, heads = self.clips[0].attention.divergence.shape
        return tuple(
            HeadDivergence(layer, head, **{name: self._interval(name, layer, head) for name in HEAD_FIGURES})
            for layer in range(layers)
            for head in range(heads)
        )

    @property
    def logits(self) -> LogitSums | None:
        """Of the output rows of all clips whose rows correspond; None where no clip has such."""
        known = [one.logits for one in self.clips if one.logits is not None]
        return None if not known else sum(known[1:], known[0])

    def table(self, figure: str = "divergence") -> Float64Array:
        """Return a figure of every head, (L, H), NaN where it cannot be told.

        Raises:
            OptionError: when there is no such figure.
        """
        top, bottom, _ = HEAD_FIGURES[known_name(figure, list(HEAD_FIGURES))]
        above, below = self._sums(top).sum(axis=0), self._sums(bottom).sum(axis=0)
        below = np.broadcast_to(below if below.ndim == above.ndim else below[:, None], above.shape)
        return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        logits = self.logits
        return {
            "rows": self.rows,
            "few_rows": self.few_rows,
            "layers": [plain(one) | {"relative_l2": one.relative_l2} for one in self.layers],
            "heads": {name: jsonable(self.table(name)) for name in HEAD_FIGURES},
            "intervals": [plain(one) for one in self.heads],
            "logits": None if logits is None else plain(logits) | {"relative": logits.relative},
        }

    def _sums(self, name: str) -> Float64Array:
        """Return a sum of every clip, (clips, L, H) or (clips, L)."""
        return np.array([getattr(one.attention, name) for one in self.clips])

    def _interval(self, figure: str, layer: int, head: int) -> Interval | None:
        top, bottom, _ = HEAD_FIGURES[figure]
        above, below = self._sums(top)[:, layer, head], self._sums(bottom)[:, layer]
        return bootstrap_ratio(above, below if below.ndim == 1 else below[:, head], seed=self.seed)
