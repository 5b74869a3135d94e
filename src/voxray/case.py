"""A case: one piece of sound, the model that heard it, the targets to explain, and the means to ask "what if".

Methods see nothing of a model but this. Every pass through the model is counted and paid from the case's budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from voxray.front import Front
from voxray.frontend import DEFAULT
from voxray.targets import Aim, ScoreName, scores
from voxray.trace import Trace
from voxray.types import DecoderEvidence, Features, FloatArray, Grid, LayerWeights, NormWeights, OptionError, Progress

if TYPE_CHECKING:
    from voxray.models import Decoding, Explainable, Tape

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
        given: how a decoder was held to the trace's tokens, once it was.
    """

    def __init__(self, model: Explainable, trace: Trace, aims: Sequence[Aim], meter: Meter | None = None) -> None:
        self.model, self.trace, self.aims, self.meter = model, trace, tuple(aims), meter or Meter()
        self.twin_agreement: float | None = None
        self.given = ""

    @property
    def features(self) -> Features:
        """What the model saw, (T, D): normalised stacked features, or log mel energies."""
        return self.trace.features[0]

    @cached_property
    def logits(self) -> FloatArray:
        """The model's output rows on the sound as it is, (N, V) float32."""
        return self.trace.evidence[0].logits()

    @cached_property
    def front(self) -> Front:
        """How the sound of this piece became what the model saw."""
        return self.model.front(self.trace)

    @property
    def bank(self) -> FloatArray:
        """Log mel energies of the sound, (F, mels) float32, one row each 10 ms."""
        return self.front.bank

    @property
    def cells(self) -> Grid:
        """The finest cells: each value of the bank, 10 ms by one mel filter, (mels, F)."""
        return self.front.cells

    @cached_property
    def frames(self) -> Grid:
        """The frames that attention looks at as cells, 60 ms each of stacked features, one cell over mel: (1, T)."""
        times = self.trace.times
        edges = times[0] + (self.trace.frame_hop or self.features.hop) * (np.arange(len(times) + 1) - 0.5)
        return Grid(np.asarray(edges, np.float64), np.array([0.0, DEFAULT.mels]))

    @cached_property
    def moments(self) -> npt.NDArray[np.float64]:
        """When each token of the piece was said, (U,) seconds: its CTC emission, or the mean of the frames that make it."""
        trace = self.trace
        if trace.decoder is None:
            return trace.times[[token.peak - trace.pieces[0].prompts for token in trace.tokens]]
        placed = trace.occupancy().astype(np.float64)
        held, middles = placed.sum(axis=1), [(token.start + token.end) / 2 for token in trace.tokens]
        return np.where(held > 0, placed @ trace.times / np.maximum(held, np.finfo(float).tiny), middles)

    def fold(self, relevance: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return relevance of the features, (T, D), as that of the finest cells: (mels, F)."""
        return self.front.fold(relevance)

    def rows(self, batch: Sequence[FloatArray]) -> Iterator[FloatArray]:
        """Yield the output rows (N, V) of other features, in order; each costs a pass.

        A decoder is given the tokens of the trace, so that its rows go on to answer for the same ones. Sounds run together where
        that changes nothing: an int8 file would quantise them together, so there they run one by one.

        Args:
            batch: features of the piece's own shape, (T, D) each.
        """
        size = max(1, BATCH_BYTES // max(4 * self.logits.size, 1)) if self.model.batches_exactly else 1
        for first in range(0, len(batch), size):
            parts = [Features(one, self.features.hop, self.features.start) for one in batch[first : first + size]]
            found = self._answers(parts)
            self.meter.pay(len(parts))
            yield from found

    def _answers(self, parts: Sequence[Features]) -> list[FloatArray]:
        trace = self.trace
        if trace.decoder is None:
            return self.model.logits(parts, trace.language, textnorm=trace.textnorm)
        decoder = cast("Decoding", self.model)
        self.given = decoder.giving
        return decoder.forced(parts, trace, trace.language, textnorm=trace.textnorm)

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
            OptionError: when the model gives no gradients.
            ModelError: when the graph holds an operator without a gradient rule; perturbation methods still work.
        """
        if "gradients" not in self.model.gives:
            raise OptionError(f"{self.model.info.name} gives no gradients; take a method that only asks it, such as occlusion")
        if values is None or (not self.model.is_float and self.twin_agreement is None):
            found, fresh = self.model.tape(self.trace, frozen=frozen)
            self.meter.pay(int(fresh))
            if not self.model.is_float:
                self.twin_agreement = float((found.logits[0].argmax(axis=1) == self.logits.argmax(axis=1)).mean())
            if values is None:
                return found
        self.meter.pay(len(values))
        return self.model.tape_of(values, self.trace.language, textnorm=self.trace.textnorm, frozen=frozen)

    def looks(self, layer: int) -> FloatArray:
        """Return where the output's rows look in a layer: (H, N, columns), rows sum to 1.

        That is attention, to prompt rows and then to frames; or a decoder's cross-attention, first to the silence that fills up its
        window and then to frames.
        """
        if self.trace.decoder is None:
            return self.attention(layer)
        (sound,) = cast("DecoderEvidence", self.trace.evidence[0]).cross_attention([layer])
        return np.concatenate([np.clip(1 - sound.sum(axis=-1, keepdims=True), 0, 1), sound], axis=-1)

    def head_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of what each head of ``looks`` adds to its layer's output at each row, (layers, H, N).

        Raises:
            OptionError: when a decoder does not tell them.
        """
        evidence = self.trace.evidence[0]
        told = evidence.head_norms if self.trace.decoder is None else getattr(evidence, "cross_norms", None)
        if told is None:
            raise OptionError(f"{self.model.info.family} tells no norms of its cross-attention heads; choose mean, max or entropy")
        return np.asarray(told(layers))

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
