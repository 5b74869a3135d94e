"""A case: one piece of sound, the model that heard it, the targets to explain, and the means to ask "what if".

Methods see nothing of a model but this. Every pass through the model is counted and paid from the case's budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.frontend import DEFAULT, fbank, features, stack
from voxray.targets import Aim, ScoreName, scores
from voxray.trace import Trace
from voxray.types import Audio, Features, FloatArray, Grid, LayerWeights, NormWeights, OptionError, Progress, TraceError

if TYPE_CHECKING:
    from voxray.models import Explainable, Tape

BATCH_BYTES = 256 << 20  # output rows of one batch
Seeds = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]


@dataclass(slots=True)
class Meter:
    """What has been spent, and what may be.

    Attributes:
        passes: budget in forward passes; None for no limit.
        seconds: budget in seconds; None for no limit.
        progress: called as ``progress(done, planned)`` after each batch.
        spent: passes so far.
        planned: passes that the method means to take, for the progress.
    """

    passes: int | None = None
    seconds: float | None = None
    progress: Progress | None = None
    spent: int = 0
    planned: int = 0
    begun: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begun

    def pay(self, passes: int) -> None:
        """Count passes."""
        self.spent += passes
        if self.progress is not None:
            self.progress(self.spent, max(self.planned, self.spent))

    def affordable(self, wanted: int) -> int:
        """Return how many of the wanted passes the budget still allows."""
        left = wanted if self.passes is None else max(0, min(wanted, self.passes - self.spent))
        return 0 if self.seconds is not None and self.elapsed >= self.seconds else left


class Case:
    """One piece of sound and its targets.

    Attributes:
        model: the recogniser.
        trace: of this piece alone.
        aims: the targets, ready to be scored; all of this piece.
        meter: what is spent.
        twin_agreement: share of the rows that the file and its floating-point twin decide alike, once gradients were taken on it.
    """

    def __init__(self, model: Explainable, trace: Trace, aims: Sequence[Aim], meter: Meter | None = None) -> None:
        self.model, self.trace, self.aims, self.meter = model, trace, tuple(aims), meter or Meter()
        self.twin_agreement: float | None = None

    @property
    def features(self) -> Features:
        """What the model saw: (T, 560) normalised stacked features."""
        return self.trace.features[0]

    @cached_property
    def logits(self) -> FloatArray:
        """The model's output rows on the sound as it is, (N, V) float32."""
        return self.trace.evidence[0].logits()

    @cached_property
    def bank(self) -> FloatArray:
        """Log mel energies before stacking and normalisation, (F, 80) float32 nats, one row each 10 ms.

        Stacking repeats the last row, so the features do not tell how many there were: 6 T or up to five fewer. It is the number
        that gives the last features again.

        Raises:
            TraceError: when the trace's sound does not give its features.
        """
        hop, last = round(self.features.hop / DEFAULT.frame_shift), self.features.values[-1]
        rows = len(self.features.values)
        start = self.features.start - DEFAULT.frame_length / 2
        values = fbank(self.trace.audio.cut(start, start + rows * self.features.hop + DEFAULT.frame_length)).values
        for count in range(min(len(values), hop * rows), hop * (rows - 1), -1):
            if np.array_equal(self.normalised(values[:count])[-1], last):
                return values[:count]
        raise TraceError(f"{self.trace.audio.name}: the trace's sound does not give its features; trace the sound again")

    @cached_property
    def audio(self) -> Audio:
        """The sound of this piece alone, at 16 kHz: what its filter bank was computed from."""
        start, sound = self.features.start - DEFAULT.frame_length / 2, self.trace.audio
        seconds = DEFAULT.frame_length + DEFAULT.frame_shift * (len(self.bank) - 1)
        return sound.cut(start, start + seconds)

    @property
    def frames(self) -> Grid:
        """The model's frames as cells: 60 ms each, one cell over mel, (1, T)."""
        hop, start = self.features.hop, self.features.start
        edges = start + hop * (np.arange(len(self.features.values) + 1) - 0.5)
        return Grid(np.asarray(edges, np.float64), np.array([0.0, DEFAULT.mels]))

    @property
    def cells(self) -> Grid:
        """The finest cells: each filter-bank value, 10 ms by one mel filter, (80, F)."""
        edges = self.features.start + DEFAULT.frame_shift * (np.arange(len(self.bank) + 1) - 0.5)
        return Grid(np.asarray(edges, np.float64), np.arange(DEFAULT.mels + 1.0))

    def normalised(self, bank: FloatArray) -> FloatArray:
        """Return what the model would see of log mel energies: (F, 80) -> (T, 560), stacked and normalised."""
        cmvn = self.model.cmvn
        return np.asarray((stack(bank) + cmvn.shift) * cmvn.scale, np.float32)

    def seen(self, samples: FloatArray) -> FloatArray:
        """Return what the model would see of another sound of the same length, (S,) -> (T, 560)."""
        return features(Audio(samples, self.audio.sample_rate), self.model.cmvn).values

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return relevance of stacked features, (T, 560), as that of the filter-bank values: (80, F).

        The adjoint of stacking: each filter-bank value collects from every place that it was copied to.
        """
        count, mels = len(self.bank), DEFAULT.mels
        rows = np.arange(0, count, DEFAULT.lfr_n)[:, None] + np.arange(DEFAULT.lfr_m) - (DEFAULT.lfr_m - 1) // 2
        result = np.zeros((count, mels))
        np.add.at(result, rows.clip(0, count - 1).ravel(), relevance.reshape(-1, mels).astype(np.float64))
        return np.asarray(result.T)

    def rows(self, batch: Sequence[FloatArray]) -> Iterator[FloatArray]:
        """Yield the output rows (N, V) of other features, in order; each costs a pass.

        They run together where that changes nothing: an int8 file would quantise them together, so there they run one by one.

        Args:
            batch: features of the piece's own shape, (T, 560) each.
        """
        size = max(1, BATCH_BYTES // (4 * self.logits.size)) if self.model.batches_exactly else 1
        for first in range(0, len(batch), size):
            parts = [Features(one, self.features.hop, self.features.start) for one in batch[first : first + size]]
            found = self.model.logits(parts, self.trace.language, textnorm=self.trace.textnorm)
            self.meter.pay(len(parts))
            yield from found

    def scored(self, rows: FloatArray, how: ScoreName = "forced") -> list[float]:
        """Return the score of every target on output rows (N, V)."""
        return scores(self.aims, rows, how)

    def base(self, how: ScoreName = "forced") -> npt.NDArray[np.float64]:
        """Return the score of every target on the sound as it is, (targets,)."""
        return np.array(self.scored(self.logits, how))

    def affordable(self, wanted: int, least: int = 1) -> int:
        """Return how many passes the budget allows of those wanted, and plan them.

        Raises:
            OptionError: when fewer than ``least`` are left.
        """
        allowed = self.meter.affordable(wanted)
        if allowed < least:
            raise OptionError(f"the budget allows {allowed} passes, the method needs {least} or more; give more passes or seconds")
        self.meter.planned = self.meter.spent + allowed
        return allowed

    def seeds(self, index: int | None = None, copies: int = 1) -> Seeds:
        """Return rows, ids and weights of every target's margin, (targets, n), padded with weights of 0.

        Args:
            index: of the only target that is wanted.
            copies: how often, (copies, n), for as many sounds.
        """
        if index is not None:
            rows, ids, weights = self.seeds()
            place = [index] * copies
            return rows[place], ids[place], weights[place]
        longest = max(len(aim.rows) for aim in self.aims)
        parts = [[np.pad(one, (0, longest - len(one))) for one in (aim.rows, aim.ids, aim.weights)] for aim in self.aims]
        rows, ids, weights = (np.stack(column) for column in zip(*parts, strict=True))
        return rows, ids, weights

    def tape(self, values: FloatArray | None = None, *, frozen: bool) -> Tape:
        """Run the graph forward so that it can be run backward.

        Args:
            values: (B, T, 560) other features; None for the sound as it is.
            frozen: whether attention weights, norm denominators and gates are held.

        Raises:
            ModelError: when the graph holds an operator without a gradient rule; perturbation methods still work.
        """
        if values is None or (not self.model.is_float and self.twin_agreement is None):
            found, fresh = self.model.tape(self.trace, frozen=frozen)
            self.meter.pay(int(fresh))
            if not self.model.is_float:
                self.twin_agreement = float((found.logits[0].argmax(axis=1) == self.logits.argmax(axis=1)).mean())
            if values is None:
                return found
        self.meter.pay(len(values))
        return self.model.tape_of(values, self.trace.language, textnorm=self.trace.textnorm, frozen=frozen)

    def attention(self, layer: int) -> FloatArray:
        """Return the attention probabilities of a layer, (H, N, N) float32."""
        return np.asarray(self.trace.evidence[0].attention([layer])[0])

    def tensor(self, name: str, layer: int) -> FloatArray:
        """Return an inner tensor of a layer, (N, D): input, value, context, projection, memory, attended, middle, output."""
        return np.asarray(self.trace.evidence[0].tensor(name, [layer])[0])

    def weights(self, layer: int) -> LayerWeights:
        """Return the weights of a layer."""
        return self.model.layer_weights(layer)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.trace.layers

    @property
    def stream_norms(self) -> Mapping[int, NormWeights]:
        """Norms that stand in the stream itself, by the index of the layer after them: of the last one, ``layers``."""
        return self.model.stream_norms()

    def head(self, ids: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Return the weights (D, len(ids)) and biases (len(ids),) of some tokens in the linear head."""
        return self.model.head(ids)

    def knocked_out(self, keep: npt.NDArray[np.bool_]) -> Iterator[FloatArray]:
        """Yield output rows (N, V) with rows of the piece hidden from all others in every layer.

        Args:
            keep: (B, N) whether a row may be looked at; each costs a pass.
        """
        for one in keep:
            self.meter.pay(1)
            yield self.model.knocked_out(self.features, self.trace.language, textnorm=self.trace.textnorm, keep=one)
