"""Opened models with other layers: two that exchange theirs, and one whose own are randomised.

The first finds where in the network two models come apart, the second whether an explanation depends on what was learned. No family
of its own: it works on any recogniser whose encoder is a stack of SANM layers with a head for every frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Literal

from voxray.graph.anatomy import Anatomy
from voxray.graph.graph import Graph
from voxray.graph.session import RunOptions
from voxray.graph.shuffle import shuffled
from voxray.graph.transplant import HEAD, NORM, PARTS, Bench, Donor, Part, unlike
from voxray.types import Features, FloatArray, OptionError

__all__ = ["HEAD", "NORM", "PARTS", "Exchange", "Part", "Randomised", "randomised", "why_not"]
Randomised = Literal["head", "layers", "all"]


class Exchange:
    """Two models of one shape, of which every part can be taken from either.

    Attributes:
        parts: (layer, name) of all of them, from the sound to the output head; what comes after the layers has their number.
    """

    def __init__(self, host: Any, guest: Any, *, threads: int | None = None) -> None:
        """Lay two models side by side.

        Args:
            host: whose graph is used, in floating point.
            guest: whose parts can be put in.
            threads: for one operator; None takes every core.

        Raises:
            OptionError: when their shapes differ.
            ModelError: when their weights cannot be read or do not fit into memory.
        """
        self._host = host
        self._bench = Bench(Donor(host.graph, host.anatomy), Donor(guest.graph, guest.anatomy), RunOptions(threads))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, from the sound to the head."""
        return self._bench.parts

    def logits(
        self, part: Features, language: str, *, textnorm: bool, guest: Collection[Part] = (), rounding: bool = True
    ) -> FloatArray:
        """Return the output rows of one piece of sound with some parts of the guest's and all others of the host's.

        Args:
            part: the features of the piece, as the host takes them.
            language: its prompt.
            textnorm: its prompt.
            guest: parts to take from the guest.
            rounding: whether they round what enters them to 8 bits where the guest does so as it runs.

        Returns:
            (N, V) float32.
        """
        return self._bench.run(self._host.feeds([part.values], language, textnorm=textnorm), guest, rounding=rounding)


def why_not(host: Any, guest: Any) -> str:
    """Return in a few words why two models cannot exchange their layers; nothing where they can."""
    for model in (host, guest):
        if model.cross_shape is not None or not isinstance(getattr(model, "anatomy", None), Anatomy):
            return f"{model.family} has a decoder"
    if host.heads != guest.heads:
        return f"{host.heads} and {guest.heads} heads"
    return unlike(Donor(host.graph, host.anatomy), Donor(guest.graph, guest.anatomy))


def randomised(model: Any, parts: Randomised | Sequence[int], *, seed: int) -> Any:
    """Return the same recogniser with randomised weights, in memory: it decides by chance, and no file is written.

    The values of each weight, bias, norm and filter of the parts change places (:mod:`voxray.graph.shuffle`), which keeps mean and
    standard deviation; all other weights are those of the file.

    Args:
        model: an open model, of which nothing is changed.
        parts: ``head`` for the output head and the norm before it, ``layers`` for all layers, ``all`` for both, or numbers of
            layers, of which the number of layers stands for the head.
        seed: of the order.

    Returns:
        A recogniser of the same family, with a name and a SHA-256 of its own.

    Raises:
        OptionError: when the model has a decoder or is no stack of SANM layers, or there are no such parts.
        AnatomyError: when its weights are packed.
        ModelError: when they do not fit into memory.
    """
    if model.cross_shape is not None or not isinstance(getattr(model, "anatomy", None), Anatomy):
        raise OptionError(f"{model.info.name} has no stack of SANM layers with a head, so it cannot be randomised")
    if seed < 0:
        raise OptionError(f"seed is {seed}; expected a whole number of at least 0")
    chosen = _chosen(parts, model.layers)
    graph = shuffled(Graph(model.graph.path), model.anatomy, chosen, seed)
    found = type(model)(graph, model.options)
    which = parts if isinstance(parts, str) else "layers " + ", ".join(map(str, chosen))
    told = f"{which} randomised with seed {seed}"
    digest = hashlib.sha256(f"{model.info.sha256} {chosen} {seed}".encode()).hexdigest()
    found.info = replace(model.info, name=f"{model.info.name} ({told})", sha256=digest)
    return found


def _chosen(parts: Randomised | Sequence[int], layers: int) -> list[int]:
    """Return the numbers of layers that parts stand for, in order.

    Raises:
        OptionError: when there are no such parts.
    """
    named = {"head": [layers], "layers": [*range(layers)], "all": [*range(layers + 1)]}
    if isinstance(parts, str):
        if parts not in named:
            raise OptionError(f"there is no part {parts!r} to randomise; choose head, layers, all or numbers of layers")
        return named[parts]
    wrong = [one for one in parts if not 0 <= one <= layers]
    if wrong or not len(parts):
        had = f"layer {wrong[0]} does not exist" if wrong else "no layer is named"
        raise OptionError(f"{had}; give numbers from 0 to {layers - 1}, or {layers} for the output head")
    return sorted(set(parts))
