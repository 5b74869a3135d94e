"""Runs a decoder of tokens: one token after another with the keys of those before it kept, or all tokens at once.

The states that an encoder gives go in as they came out. Two ways to keep keys are known: those of Optimum, where a graph for the
first tokens gives keys and values that a second graph takes and adds to, and that of sherpa-onnx, where one graph has a store of
fixed length that goes in and comes out. Without a second graph every token costs a pass over all before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voxray.graph.graph import Graph
from voxray.graph.session import Runner, RunOptions
from voxray.graph.whisper import Decoder, find_decoder, kept, output_of
from voxray.types import AnatomyError, FloatArray, IntArray

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept from token to token.

    Attributes:
        feeds: inputs of the graph that takes the next token.
        said: (B, n) tokens so far.
    """

    feeds: dict[str, npt.NDArray[Any]]
    said: IntArray


class Speaker(Protocol):
    """A decoder, ready to run.

    Attributes:
        graph: the one that takes any number of tokens.
        decoder: what it is made of.
        runner: of that graph.
    """

    graph: Graph
    decoder: Decoder
    runner: Runner

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph that is run."""

    @property
    def capacity(self) -> int | None:
        """How many tokens there is room for; None where the graph does not tell."""

    def start(self, states: Arrays, tokens: IntArray) -> tuple[FloatArray, Memory]:
        """Give the first tokens (B, U); return their logits (B, U, V) and what is kept."""

    def follow(self, memory: Memory, tokens: IntArray) -> tuple[FloatArray, Memory]:
        """Give one more token (B,); return its logits (B, V) and what is kept."""

    def feeds(self, states: Arrays, tokens: IntArray) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs for tokens (B, U) from the start on."""


def open_speaker(graphs: Sequence[Graph], options: RunOptions | None = None) -> Speaker | None:
    """Return the decoder that some graphs make up, or None where there is none that can begin.

    Args:
        graphs: of decoders, each standing alone (see ``branches``).
        options: threads and execution providers.

    Raises:
        AnatomyError: when a decoder's attention cannot be read, or the keys of one graph do not fit the other.
    """
    found = [(graph, decoder) for graph in graphs if (decoder := find_decoder(graph)) is not None]
    first = next(((graph, one) for graph, one in found if one.states), None)
    if first is None:
        return None
    stores = {name for one in first[1].own for name in one.stores if name}
    if stores:
        return StoredSpeaker(*first, options)
    later = next(((graph, one) for graph, one in found if not one.states), None)
    return PairedSpeaker(*first, later, options)


class PairedSpeaker:
    """A graph for the first tokens, and one for each later token."""

    def __init__(
        self, graph: Graph, decoder: Decoder, later: tuple[Graph, Decoder] | None, options: RunOptions | None = None
    ) -> None:
        self.graph, self.decoder, self._later = graph, decoder, later
        self.runner = Runner(graph, options, _looked_at(decoder))
        self._ways = _ways(graph, decoder, *later) if later is not None else {}
        self._kept = kept(later[0]) if later is not None else {}
        self._next = Runner(later[0], options) if later is not None else None

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph that is run."""
        return (self.graph,) if self._later is None else (self.graph, self._later[0])

    @property
    def capacity(self) -> int | None:
        """Not told by the graph."""
        return None

    def feeds(self, states: Arrays, tokens: IntArray) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs for tokens (B, U) from the start on."""
        found = dict(zip(self.decoder.states, states, strict=True))
        return found | _token_feeds(self.graph, self.decoder, tokens, 0)

    def start(self, states: Arrays, tokens: IntArray) -> tuple[FloatArray, Memory]:
        """Give the first tokens (B, U); return their logits (B, U, V) and what is kept."""
        feeds = self.feeds(states, tokens)
        logits, *stored = self.runner.run(feeds, [self.decoder.logits, *self._ways.values()])
        states_again = {name: feeds[name] for name in self.decoder.states}
        lasting = dict(zip(self._ways, stored, strict=True)) if self._ways else states_again
        return np.asarray(logits, np.float32), Memory(lasting, tokens)

    def follow(self, memory: Memory, tokens: IntArray) -> tuple[FloatArray, Memory]:
        """Give one more token (B,); return its logits (B, V) and what is kept."""
        said = np.concatenate([memory.said, tokens[:, None]], axis=1)
        if self._later is None or self._next is None:
            feeds = memory.feeds | _token_feeds(self.graph, self.decoder, said, 0)
            (logits,) = self.runner.run(feeds, [self.decoder.logits])
            return np.asarray(logits[:, -1], np.float32), replace(memory, said=said)
        graph, decoder = self._later
        own = [name for one in decoder.own for name in one.stores]
        feeds = memory.feeds | _token_feeds(graph, decoder, tokens[:, None], memory.said.shape[1])
        logits, *stored = self._next.run(feeds, [decoder.logits, *(self._kept[name] for name in own)])
        return np.asarray(logits[:, -1], np.float32), Memory(memory.feeds | dict(zip(own, stored, strict=True)), said)


class StoredSpeaker:
    """One graph, whose store of keys and values goes in and comes out."""

    def __init__(self, graph: Graph, decoder: Decoder, options: RunOptions | None = None) -> None:
        self.graph, self.decoder = graph, decoder
        self.runner = Runner(graph, options, _looked_at(decoder))
        self._stores = list(dict.fromkeys(name for one in decoder.own for name in one.stores))
        self._kept = kept(graph)
        if missing := [name for name in self._stores if name not in self._kept]:
            raise AnatomyError(f"{graph.path.name}: it takes keys ({missing[0]!r}) but gives none back; export it again")

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph that is run."""
        return (self.graph,)

    @property
    def capacity(self) -> int | None:
        """How many tokens the store has room for."""
        size = self.graph.inputs[self._stores[0]][1][2]
        return size if isinstance(size, int) else None

    def feeds(self, states: Arrays, tokens: IntArray) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs for tokens (B, U) from the start on: with empty stores."""
        found = dict(zip(self.decoder.states, states, strict=True))
        for name in self._stores:
            layers, _, size, width = self.graph.inputs[name][1]
            room = size if isinstance(size, int) else tokens.shape[1]
            count = layers if isinstance(layers, int) else len(self.decoder.own)
            wide = width if isinstance(width, int) else self.decoder.width
            found[name] = np.zeros((count, len(tokens), room, wide), np.float32)
        return found | _token_feeds(self.graph, self.decoder, tokens, 0)

    def start(self, states: Arrays, tokens: IntArray) -> tuple[FloatArray, Memory]:
        """Give the first tokens (B, U); return their logits (B, U, V) and what is kept."""
        return self._run(self.feeds(states, tokens), tokens)

    def follow(self, memory: Memory, tokens: IntArray) -> tuple[FloatArray, Memory]:
        """Give one more token (B,); return its logits (B, V) and what is kept."""
        said = np.concatenate([memory.said, tokens[:, None]], axis=1)
        feeds = memory.feeds | _token_feeds(self.graph, self.decoder, tokens[:, None], memory.said.shape[1])
        logits, after = self._run(feeds, said)
        return logits[:, -1], after

    def _run(self, feeds: dict[str, npt.NDArray[Any]], said: IntArray) -> tuple[FloatArray, Memory]:
        logits, *stored = self.runner.run(feeds, [self.decoder.logits, *(self._kept[name] for name in self._stores)])
        lasting = {name: feeds[name] for name in self.decoder.states} | dict(zip(self._stores, stored, strict=True))
        return np.asarray(logits, np.float32), Memory(lasting, said)


def _looked_at(decoder: Decoder) -> list[str]:
    """Return the tensors of a decoder that are exposed together."""
    scores = [one.scores for one in decoder.cross]
    return [*scores, *(one.probabilities for one in (*decoder.own, *decoder.cross))]


def _ways(first: Graph, decoder: Decoder, later: Graph, follower: Decoder) -> dict[str, str]:
    """Return, for each store of the graph of later tokens, the output of the first graph that fills it.

    Raises:
        AnatomyError: when they do not fit.
    """
    found: dict[str, str] = {}
    for mine, yours in ((decoder.own, follower.own), (decoder.cross, follower.cross)):
        for one, other in zip(mine, yours, strict=False):
            found |= {store: output_of(first, tensor) for store, tensor in zip(other.stores, (one.keys, one.value), strict=True)}
    wanted = set(later.inputs) - {follower.tokens, follower.position}
    if set(found) != wanted or not all(found.values()) or not set(kept(later)) >= _grown(follower):
        raise AnatomyError(
            f"{later.path.name}: the keys that it takes are not those that {first.path.name} gives; use files of one export"
        )
    return found


def _grown(decoder: Decoder) -> set[str]:
    return {name for one in decoder.own for name in one.stores}


def _token_feeds(graph: Graph, decoder: Decoder, tokens: IntArray, position: int) -> dict[str, npt.NDArray[Any]]:
    """Return tokens (B, U) and where they stand, in the types that the graph declares."""
    kinds = {name: np.int32 if graph.inputs[name][0] == 6 else np.int64 for name in (decoder.tokens, decoder.position) if name}
    found: dict[str, npt.NDArray[Any]] = {decoder.tokens: tokens.astype(kinds[decoder.tokens])}
    if decoder.position:
        (size,) = graph.inputs[decoder.position][1]
        count = size if isinstance(size, int) else tokens.shape[1]
        found[decoder.position] = np.arange(position, position + count).astype(kinds[decoder.position])
    return found
