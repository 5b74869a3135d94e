"""A forward pass that can be run backward, and the machine that makes it.

The forward pass runs in the model's own session with the caches exposed (or in that of its floating-point twin), so that a
backward session is all that is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxray.graph.anatomy import Anatomy, find_anatomy
from voxray.graph.gradient import BIAS, UNFUSED, Backward, compile_backward
from voxray.graph.session import Feeds, Runner
from voxray.graph.twin import float_twin
from voxray.graph.weights import linear_parts
from voxray.types import FloatArray

SEEDS = 8  # in one backward run; more bring nothing


@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """What a backward pass gives for S seeds.

    Attributes:
        gradient: (S, T, D) float32, of each seed's score by the features.
        constants: the (S,) shares of the score that come from what the graph itself adds, by name; empty of a full gradient.
    """

    gradient: FloatArray
    constants: Mapping[str, npt.NDArray[np.float64]]


class Gradients:
    """Forward and backward graphs of a model, each compiled when it is first needed.

    Attributes:
        twin: the graph in floating point; the model's own where that is fp32.
        lean: whether weights are left as they lie in the file: less memory, more time.
    """

    def __init__(
        self, plain: Runner, logits: str, source: str, probes: Callable[[], tuple[Feeds, Feeds]], *, lean: bool = False
    ) -> None:
        self.twin = float_twin(plain.graph)
        self._runner = plain if self.twin is plain.graph else Runner(self.twin, plain.options, entries=UNFUSED)
        self._anatomy: Anatomy = find_anatomy(self.twin, logits)
        self._logits, self._source, self._probes, self.lean = logits, source, probes, lean
        self._backwards: dict[bool, Backward] = {}
        self._head: tuple[FloatArray, FloatArray] | None = None

    def backward(self, *, frozen: bool) -> Backward:
        """Return the backward graph of a mode.

        Raises:
            ModelError: when an operator has no gradient rule.
        """
        if frozen not in self._backwards:
            self._backwards[frozen] = compile_backward(
                self.twin, self._anatomy, self._source, self._probes(), self._runner.options, frozen=frozen, lean=self.lean
            )
        return self._backwards[frozen]

    def record(self, feeds: Feeds, further: Sequence[str] = (), *, frozen: bool) -> tuple[Recording, list[npt.NDArray[np.float32]]]:
        """Run forward and keep what the backward pass needs.

        Args:
            feeds: the graph's inputs.
            further: more tensors to return from the same pass.
            frozen: the mode.

        Returns:
            The recording, and the further tensors.
        """
        backward = self.backward(frozen=frozen)
        caches = [name for name in backward.caches if name not in feeds]
        logits, *values = self._runner.run(feeds, [self._logits, *caches, *further])
        held = dict(zip(caches, values, strict=False)) | {name: feeds[name] for name in backward.caches if name in feeds}
        return Recording(self, backward, logits, held), values[len(caches) :]

    def seed(
        self, rows: int, places: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> FloatArray:
        """Return the gradient of weighted sums of logits by the head's input, (S, rows, D) float32."""
        weight, _ = self.head
        result = np.zeros((len(places), rows, weight.shape[0]), np.float32)
        for one, place, index, factor in zip(result, places, ids, weights, strict=True):
            used = factor != 0
            np.add.at(one, place[used], weight.T[index[used]] * factor[used, None].astype(np.float32))
        return result

    @property
    def head(self) -> tuple[FloatArray, FloatArray]:
        """Weight (D, V) and bias (V,) of the head."""
        if self._head is None:
            self._head = linear_parts(self.twin, self._anatomy.head)
        return self._head


class Recording:
    """A forward pass with what the backward pass needs.

    Attributes:
        logits: output rows, (B, N, V) float32.
    """

    def __init__(self, gradients: Gradients, backward: Backward, logits: FloatArray, caches: Feeds) -> None:
        self.logits = logits
        self._gradients, self._backward, self._caches = gradients, backward, caches

    def pull(self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Pulled:
        """Run backward from weighted sums of logits.

        Args:
            rows: (S, n) output rows; S is free where the forward batch is one, else the batch itself.
            ids: (S, n) token ids.
            weights: (S, n); 0 where a seed has fewer than n terms.
        """
        _, bias = self._gradients.head
        seeds = self._gradients.seed(self.logits.shape[1], rows, ids, weights)
        step = SEEDS if len(self.logits) == 1 else len(seeds)
        runs = [self._backward.run(self._caches, seeds[first : first + step]) for first in range(0, len(seeds), step)]
        constants = {name: np.concatenate([one[name] for _, one in runs]) for name in self._backward.ledger}
        if constants:
            constants[BIAS] = constants.get(BIAS, np.zeros(len(seeds))) + (bias[ids] * weights).sum(axis=1)
        return Pulled(np.concatenate([gradient for gradient, _ in runs]), constants)


class Recordings:
    """Several forward passes of one item each, of a graph that takes no more at once, as one.

    Attributes:
        logits: output rows, (B, N, V) float32.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.logits: FloatArray = np.concatenate([one.logits for one in recordings])
        self._recordings = tuple(recordings)

    def pull(self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Pulled:
        """Run backward from a weighted sum of logits for each item; arguments as of ``Recording.pull``, one seed for each."""
        places = [slice(index, index + 1) for index in range(len(self._recordings))]
        pulled = [one.pull(rows[at], ids[at], weights[at]) for one, at in zip(self._recordings, places, strict=True)]
        constants = {name: np.concatenate([one.constants[name] for one in pulled]) for name in pulled[0].constants}
        return Pulled(np.concatenate([one.gradient for one in pulled]), constants)
