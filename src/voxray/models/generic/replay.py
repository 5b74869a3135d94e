"""Evidence of a described model about one piece of sound, and its passes backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxray.graph.plain import by_head, side_by_side
from voxray.models.family import Inside
from voxray.types import Features, FloatArray, OptionError

if TYPE_CHECKING:
    from voxray.models.generic import Recogniser


class Replay(Inside):
    """Evidence about one piece of sound: kept from the pass itself, or computed again when it is asked for."""

    _model: Recogniser

    def __init__(self, model: Recogniser, part: Features) -> None:
        self._model, self._part = model, part
        self._logits: FloatArray | None = None
        self._attention: dict[int, FloatArray] = {}

    def record(
        self, layers: Sequence[int], budget: int, tensors: Sequence[str] = (), *, gradients: bool = False
    ) -> tuple[FloatArray, int]:
        """Run the piece and keep as much of it as the budget allows: everything, or else the logits, or else nothing.

        Args:
            layers: whose attention to keep.
            budget: bytes.
            tensors: computed when they are asked for.
            gradients: computed when they are asked for.

        Returns:
            The logits (N, V) and how many bytes are kept.
        """
        del gradients
        for name in tensors:
            self._check(name)
        logits, attention = self._run(layers)
        size = logits.nbytes
        whole = size + sum(one.nbytes for one in attention.values())
        if size <= budget:
            self._logits = logits
        if whole <= budget:
            self._attention = attention
        return logits, whole if whole <= budget else size if size <= budget else 0

    def logits(self) -> FloatArray:
        """Return the output rows, (N, V) float32."""
        return self._run(())[0] if self._logits is None else self._logits

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the attention, (layers, H, N, N) float32."""
        missing = sorted(set(layers) - set(self._attention))
        found = self._attention | self._run(missing)[1] if missing else self._attention
        return np.stack([found[layer] for layer in layers])

    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Return an inner tensor of some layers, (N, D) float32 each.

        Raises:
            OptionError: when a layer has no tensor of that name.
        """
        self._check(name)
        names = [self._model.anatomy.blocks[layer].tensors[name] for layer in layers]
        return [side_by_side(one) for one in self._model.run(self._feeds, names)] if names else []

    def head_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of each head's part of the projection, (layers, H, N) float32.

        Raises:
            OptionError: when no linear map follows the heads of a layer at once.
        """
        if any(self._model.anatomy.blocks[layer].projection is None for layer in layers):
            raise OptionError("what heads add to a layer's output is not known of this model; choose mean, max or entropy")
        return super().head_norms(layers)

    @property
    def _feeds(self) -> dict[str, npt.NDArray[Any]]:
        return self._model.feeds(self._part.values)

    def _check(self, name: str) -> None:
        if name not in ("value", "context"):
            raise OptionError(f"no inner tensor of a described model is called {name!r}; choose one of value, context")

    def _run(self, layers: Sequence[int]) -> tuple[FloatArray, dict[int, FloatArray]]:
        """Run the piece; return its logits (N, V) and the attention (H, N, N) of each layer."""
        model = self._model
        names = [model.anatomy.blocks[layer].probabilities for layer in layers]
        logits, *found = model.run(self._feeds, [model.output.scores, *names])
        return model.rows_of(logits), {layer: by_head(one) for layer, one in zip(layers, found, strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class SinglePull:
    """What a backward pass gives for S seeds.

    Attributes:
        gradient: (S, T, D) float32, of each seed's score by the features.
        constants: the (S,) share of the score that comes from what the graph itself adds; empty of a full gradient.
    """

    gradient: FloatArray
    constants: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


class SingleTape:
    """Forward passes of one item each that can be run backward.

    Args:
        model: whose.
        values: features (T, D) of each item, all of one length.
        frozen: whether attention weights, norm denominators and gates are held.

    Attributes:
        logits: output rows, (B, N, V) float32.
    """

    def __init__(self, model: Recogniser, values: Sequence[FloatArray], *, frozen: bool) -> None:
        self._model, self._shape, self._frozen = model, values[0].shape, frozen
        runs = [model.gradients.record(model.feeds(one), frozen=frozen) for one in values]
        self._starts, self._caches = [start for start, _ in runs], [held for _, held in runs]
        self.logits: FloatArray = np.stack([model.rows_of(start) for start in self._starts])

    def pull(self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> SinglePull:
        """Run backward from weighted sums of logits.

        Args:
            rows: (S, n) output rows; S is free where there is one item, else the number of items.
            ids: (S, n) token ids.
            weights: (S, n); 0 where a seed has fewer than n terms.
        """
        found, ledgers = [], []
        for index, (places, tokens, factors) in enumerate(zip(rows, ids, weights, strict=True)):
            at = index if len(self._caches) > 1 else 0
            seed = np.zeros(self.logits.shape[1:], np.float32)
            np.add.at(seed, (places, tokens), factors)
            told = self._model.told
            laid = seed.T if self._model.output.layout == "vocabulary-time" else seed
            gradient, ledger = self._model.gradients.pull(
                self._caches[at], laid.reshape(self._starts[at].shape), frozen=self._frozen
            )
            turned = (
                gradient.reshape(self._shape[::-1]).T if told.input.layout == "features-time" else gradient.reshape(self._shape)
            )
            found.append(np.ascontiguousarray(turned))
            ledgers.append(ledger)
        names = ledgers[0] if ledgers else {}
        return SinglePull(np.asarray(found, np.float32), {name: np.concatenate([one[name] for one in ledgers]) for name in names})
