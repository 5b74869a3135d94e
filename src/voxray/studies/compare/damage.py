"""Where in the network two models come apart: layers are exchanged one by one, and what that does to the output is measured.

*Put in*: the first model with one layer of the second's. *Taken out*: the second with that layer of the first's. Damage is the
squared distance of the centred logits from the first model's. Errors that rounding makes in different layers are independent of
one another, so their squared distances add up, and each layer has a share of the sum; ``Damage.adds_up`` says how well that holds
on the sound at hand. Of a file that rounds as it runs, a layer brings its rounding along.

**Source:** the exchange of layers as in activation patching (Meng et al. 2022, "Locating and Editing Factual Associations in GPT"),
with weights in the place of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from voxray.measures.similarity import centred, margins, squared_change
from voxray.measures.statistics import Interval, bootstrap_mean, bootstrap_ratio
from voxray.types import Features, FloatArray, plain

if TYPE_CHECKING:
    from voxray.trace import Trace

Float64Array = npt.NDArray[np.float64]
Part = tuple[int, str]

LOOKED_INTO = 3
"""Layers, the worst ones, of which every part is exchanged too."""


class Exchanging(Protocol):
    """What exchanges parts of two models; see ``voxray.models.exchange``."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Layer and name of every part; what comes after the layers has their number."""

    def logits(
        self, part: Features, language: str, *, textnorm: bool, guest: Collection[Part] = (), rounding: bool = True
    ) -> FloatArray:
        """Return the output rows (N, V) of one piece of sound with some parts of the second model's."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipDamage:
    """What exchanging did to one clip; arrays have an entry for each layer, the last for what comes after the layers.

    Attributes:
        name: of the sound.
        whole: squared distance of all of the second model.
        weights: squared distance of the second model's weights without its rounding of what enters them.
        put_in: (L + 1,) squared distance of the first model with one layer of the second's.
        left: (L + 1,) squared distance of the second model with one layer of the first's.
        size: squared size of the first model's centred logits.
        own: squared distance of what the two files themselves give.
        moved: (L + 1, U) change of each token's margin when the layer is put in, logits.
        parts: squared distance of single parts that were put in; filled for the worst layers.
    """

    name: str
    whole: float
    weights: float
    put_in: Float64Array
    left: Float64Array
    size: float
    own: float
    moved: Float64Array
    parts: dict[Part, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerDamage:
    """What one layer does.

    Attributes:
        layer: which; the number of layers for what comes after them.
        share: of the squared distance that all layers make one by one, with its interval over clips; None where there is none.
        distance: relative L2 of the logits when it is put in.
        cured: share of the second model's squared distance that goes when it is taken out.
        margin: mean over tokens of how far their margins move when it is put in, logits, with its interval over clips.
        parts: share of each part in what the layer's parts do one by one; empty where they were not looked into.
    """

    layer: int
    share: Interval | None
    distance: float
    cured: float | None
    margin: Interval | None
    parts: dict[str, float]


@dataclass(frozen=True, eq=False)
class Damage:
    """Where two models come apart.

    Attributes:
        clips: one for each that was looked into, at least one.
        seed: of the intervals.
        labels: what each layer is called, the last for what comes after the layers.
    """

    clips: tuple[ClipDamage, ...]
    seed: int
    labels: tuple[str, ...]

    @cached_property
    def layers(self) -> tuple[LayerDamage, ...]:
        """Every layer, from the sound to the output."""
        put_in = np.array([one.put_in for one in self.clips])
        size, whole = (sum(getattr(one, name) for one in self.clips) for name in ("size", "whole"))
        left = np.sum([one.left for one in self.clips], axis=0)
        found = []
        for layer in range(put_in.shape[1]):
            moved = [float(np.abs(one.moved[layer]).mean()) for one in self.clips if one.moved.shape[1]]
            parts = {part: sum(one.parts[part] for one in self.clips) for part in self.clips[0].parts if part[0] == layer}
            total = sum(parts.values())
            found.append(
                LayerDamage(
                    layer,
                    bootstrap_ratio(put_in[:, layer], put_in.sum(axis=1), seed=self.seed),
                    float(np.sqrt(put_in[:, layer].sum() / size)) if size else 0.0,
                    1 - float(left[layer]) / whole if whole else None,
                    bootstrap_mean(moved, seed=self.seed),
                    {name: value / total if total else 0.0 for (_, name), value in parts.items()},
                )
            )
        return tuple(found)

    @property
    def ranked(self) -> tuple[LayerDamage, ...]:
        """The layers by their share, the worst first."""
        return tuple(sorted(self.layers, key=lambda one: (-(one.share.value if one.share else 0.0), one.layer)))

    @property
    def distance(self) -> float:
        """Relative L2 of the logits of both models."""
        size = sum(one.size for one in self.clips)
        return float(np.sqrt(sum(one.whole for one in self.clips) / size)) if size else 0.0

    @property
    def adds_up(self) -> float | None:
        """What the layers do one by one, over what they do together, both squared; near 1 the shares mean what they say."""
        whole = sum(one.whole for one in self.clips)
        return float(sum(one.put_in.sum() for one in self.clips)) / whole if whole else None

    @property
    def redone(self) -> float | None:
        """Squared distance of the second model as it is redone here, over that of its own file.

        Near 1 where all of its rounding is redone; below it of fp16, which rounds whatever it computes.
        """
        own = sum(one.own for one in self.clips)
        return sum(one.whole for one in self.clips) / own if own else None

    @property
    def from_weights(self) -> float | None:
        """Squared distance that the weights alone make, over that of the whole model; the rest is rounding as it runs."""
        whole = sum(one.whole for one in self.clips)
        return sum(one.weights for one in self.clips) / whole if whole else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        layers = [plain(one) | {"label": self.labels[one.layer]} for one in self.layers]
        totals = {"distance": self.distance, "adds_up": self.adds_up, "redone": self.redone, "from_weights": self.from_weights}
        return {"clips": [one.name for one in self.clips], **totals, "layers": layers}


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A piece of sound that layers are exchanged on.

    Attributes:
        trace: of the first model, of this piece alone, without its evidence.
        own: squared distance of the two files' centred logits.
    """

    trace: Trace
    own: float


def subject_of(first: Trace, second: Trace) -> Subject | None:
    """Return the first piece of a sound that has a token, else its first; None where there is none that both models frame alike."""
    said = [index for index, piece in enumerate(first.pieces) if piece.tokens[1] > piece.tokens[0]]
    if not first.pieces or len(first.pieces) != len(second.pieces):
        return None
    index = said[0] if said else 0
    rows = first.evidence[index].logits(), second.evidence[index].logits()
    if rows[0].shape != rows[1].shape:
        return None
    return Subject(replace(first.piece(index), evidence=()), squared_change(centred(rows[0]), centred(rows[1]))[0])


def damage_of(
    exchange: Exchanging, subjects: Sequence[Subject], labels: Sequence[str], seed: int, step: Callable[[], None] | None = None
) -> Damage:
    """Exchange layers on some pieces of sound.

    Args:
        exchange: the two models.
        subjects: the pieces, at least one.
        labels: what each layer is called.
        seed: of the intervals.
        step: called after each layer of each piece, and once more for the parts of the worst.
    """
    found = [_exchanged(exchange, one, len(labels), step) for one in subjects]
    worst = [one.layer for one in Damage(tuple(found), seed, tuple(labels)).ranked[:LOOKED_INTO]]
    for clip, one in zip(found, subjects, strict=True):
        _look_into(exchange, one.trace, worst, clip)
        if step is not None:
            step()
    return Damage(tuple(found), seed, tuple(labels))


def _exchanged(exchange: Exchanging, subject: Subject, layers: int, step: Callable[[], None] | None) -> ClipDamage:
    """Exchange the layers on one piece of sound, one by one, both ways."""
    trace = subject.trace

    def run(guest: Collection[Part], *, rounding: bool = True) -> FloatArray:
        return exchange.logits(trace.features[0], trace.language, textnorm=trace.textnorm, guest=guest, rounding=rounding)

    every = set(exchange.parts)
    rows, ids = [token.peak for token in trace.tokens], [token.id for token in trace.tokens]
    base = run(())
    own, leads = centred(base), margins(base, rows, ids)

    def apart(logits: FloatArray) -> float:
        return squared_change(own, centred(logits))[0]

    put_in, left, moved = np.zeros(layers), np.zeros(layers), np.zeros((layers, len(ids)))
    for layer in range(layers):
        parts = {part for part in every if part[0] == layer}
        logits = run(parts)
        put_in[layer], moved[layer] = apart(logits), margins(logits, rows, ids) - leads
        left[layer] = apart(run(every - parts))
        if step is not None:
            step()
    size = float(np.square(own).sum())
    whole, weights = apart(run(every)), apart(run(every, rounding=False))
    return ClipDamage(trace.audio.name, whole, weights, put_in, left, size, subject.own, moved)


def _look_into(exchange: Exchanging, trace: Trace, layers: Collection[int], clip: ClipDamage) -> None:
    """Put in the parts of some layers one by one."""
    own = centred(exchange.logits(trace.features[0], trace.language, textnorm=trace.textnorm))
    for part in exchange.parts:
        if part[0] in layers:
            logits = exchange.logits(trace.features[0], trace.language, textnorm=trace.textnorm, guest=[part])
            clip.parts[part] = squared_change(own, centred(logits))[0]
