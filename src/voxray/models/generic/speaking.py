"""A described model whose decoder writes token by token.

Its encoder is found and proven like any other; in its decoder, attention whose columns are the encoder's frames is cross-attention.
A piece is said greedily, each step being given all tokens so far: nothing is kept from step to step, which takes longer and asks
nothing of how keys are kept.

The output has one row a token: row i decides what comes after token i of the start and the text. Tokens get their times by dynamic
time warping over the ten cross-attention heads of the largest norms. How much of a token comes from each frame is the mean of
these heads.

**Source:** the way to times: OpenAI ``whisper/timing.py``; heads by their norm: arXiv 2509.09987.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.graph.graph import Graph
from voxray.graph.plain import PlainBlock, by_head, find_blocks, prove_cross, side_by_side
from voxray.graph.session import Runner
from voxray.graph.weights import linear_weight
from voxray.models.family import head_norms
from voxray.models.generic import FLOATS, NOISE, TYPES, Recogniser, listed
from voxray.models.generic.description import Decoder
from voxray.models.generic.replay import Replay
from voxray.models.generic.vocabulary import read_tokens, token_id
from voxray.trace import Trace
from voxray.transcript import Reading, likeliest
from voxray.types import Features, FloatArray, IntArray, ModelError, OptionError, Token
from voxray.warping import closeness, firsts, heads_by_norm, warp

GIVING = "the decoder is given the tokens of the trace, and each of its rows answers for the next one (teacher forcing)"
TRIED = 7  # random tokens after the start, on which a decoder is proven
TINY = 1e-30  # least attention whose logarithm is taken


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What was made of one piece.

    Attributes:
        tokens: the start and the text, without the end.
        logits: (N, V) float32, one row a token: what comes next.
        looks: (N, T) float32, how much of what comes next comes from each frame; rows sum to 1.
        steps: (U + 1,) frames at which each token of the text begins, and at which the last one ends.
    """

    tokens: tuple[int, ...]
    logits: FloatArray
    looks: FloatArray
    steps: IntArray


class Speaking(Recogniser):
    """A described model with a decoder, opened and proven.

    Attributes:
        speaker: its decoder's graph.
        cross: its layers of cross-attention.
        start: the tokens that a text begins with.
        end: the token that ends it.
    """

    giving = GIVING

    def _open(self) -> None:
        told = self.decoder
        self._outputs(told.states, "decoder.states")
        path = self.told.beside(told.file)
        if not path.is_file():
            raise self.wrong("decoder.file", told.file, "a file beside the description")
        self.speaker = Graph(path)
        self._check_speaker()
        self._voice = Runner(self.speaker, self._runner.options)
        noise = self.noise(NOISE[0])
        states = self.encoded(noise.values)
        self.check_clock(states.shape[1])
        size = self._size(states)
        self.vocabulary, _, self._hidden = read_tokens(self.told, size)
        place = f"{self.told.path}: decoder"
        self.start = tuple(token_id(self.vocabulary, f"{place}.start", one) for one in told.start)
        self.blank = self.end = token_id(self.vocabulary, f"{place}.end", told.end)
        self._prove(told.states, self.feeds(noise.values), states.shape[1])
        tokens = [*self.start, *np.random.default_rng(0).integers(0, size, TRIED).tolist()]
        feeds = self.voiced(states, tokens)
        self.cross, self._cross_heads, self.cross_errors = prove_cross(
            self._voice, told.scores, find_blocks(self.speaker), feeds, (len(tokens), states.shape[1])
        )
        self._voice = Runner(self.speaker, self._runner.options, [block.probabilities for block in self.cross])

    @property
    def decoder(self) -> Decoder:
        """What its description says of the decoder.

        Raises:
            TypeError: of a CTC model.
        """
        if self.told.decoder is None:
            raise TypeError("a CTC model has no decoder")
        return self.told.decoder

    @property
    def cross_shape(self) -> tuple[int, int]:
        """Layers of cross-attention and heads in each."""
        return len(self.cross), self._cross_heads

    @property
    def gives(self) -> frozenset[str]:
        """What explanations can be built on: there are no gradients through a decoder's choices."""
        return frozenset({"passes", *(["attention"] if self.cross else [])})

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph that the model is made of."""
        return self.graph, self.speaker

    def describe(self) -> dict[str, Any]:
        """Return what the files are made of and how well that was confirmed, as JSON can hold it."""
        layers, heads = self.cross_shape
        blocks = [
            {"index": block.index, "label": block.label, "rebuild_error": error}
            for block, error in zip(self.cross, self.cross_errors, strict=True)
        ]
        told = {"path": str(self.speaker.path), "layers": layers, "heads": heads, "blocks": blocks}
        return super().describe() | {"decoder": told}

    def replay(self, part: Features, language: str, *, textnorm: bool) -> SpokenReplay:
        """Return evidence about one piece that is computed from its features when it is asked for."""
        self._check_prompts(language, textnorm=textnorm)
        return SpokenReplay(self, part)

    def logits(self, parts: Sequence[Features], language: str = "auto", *, textnorm: bool = False) -> list[FloatArray]:
        """Run the model on features; (N, V) float32 for each, one row a token."""
        return [one.logits for one in self._listen(parts, language, textnorm=textnorm)]

    def forced(
        self, parts: Sequence[Features], trace: Trace, language: str = "auto", *, textnorm: bool = False
    ) -> list[FloatArray]:
        """Return output rows (N, V) of other features when the tokens are given that the trace of one piece has.

        Args:
            parts: features of the shape of the trace's own.
            trace: of one piece.
            language: of the trace.
            textnorm: of the trace.

        Raises:
            OptionError: when the trace says something that this model does not say.
        """
        self._check_prompts(language, textnorm=textnorm)
        own = self.spoken(trace.features[0])
        if [token.id for token in trace.tokens] != [one for one in own.tokens[len(self.start) :] if one not in self._hidden]:
            raise OptionError(
                f"the trace of {trace.audio.name} has other tokens than {self.name} says; trace the sound again with this model"
            )
        return [self.given(self.encoded(part.values), own.tokens)[0] for part in parts]

    def read(self, heard: Any, part: Features, alternatives: int = 0) -> Reading:
        """Turn what was said of one piece into tokens.

        Args:
            heard: what was made of the piece, as ``spoken`` returns it.
            part: the features of the piece.
            alternatives: how many of the likeliest tokens to list at each.
        """
        before, start = len(self.start) - 1, part.start - self._maker.start
        norms = ctc.log_normaliser(heard.logits)
        clock = start + self.told.time.start + self.told.time.hop * (heard.steps - 0.5)
        tokens = []
        for at, one in enumerate(heard.tokens[len(self.start) :]):
            row = before + at
            if one in self._hidden:
                continue
            tokens.append(
                Token(
                    id=one,
                    text=self.vocabulary.text(one),
                    start=max(float(clock[at]), 0.0),
                    end=float(clock[at + 1]),
                    rows=(row, row + 1),
                    peak=row,
                    log_prob=float(heard.logits[row, one] - norms[row]),
                    alternatives=likeliest(heard.logits[row], float(norms[row]), self.vocabulary, alternatives),
                )
            )
        return Reading(
            tokens=tuple(tokens),
            tags=(),
            raw_text=self.vocabulary.spell(heard.tokens[len(self.start) :]),
            rows=len(heard.logits),
            prompts=before,
            start=max(start, 0.0),
            end=start + part.hop * len(part.values),
        )

    def spoken(self, part: Features) -> Said:
        """Say what a piece of sound says, the likeliest token at each step."""
        states, said = self.encoded(part.values), list[int]()
        for _ in range(self.decoder.longest):
            rows, _ = self.given(states, (*self.start, *said))
            chosen = int(rows[-1].argmax())
            if chosen == self.end:
                break
            said.append(chosen)
        tokens = (*self.start, *said)
        logits, cross = self.given(states, tokens, [block.probabilities for block in self.cross])
        frames = states.shape[1]
        if not cross:
            even = np.full((len(tokens), frames), 1 / frames, np.float32)
            return Said(tokens, logits, even, np.linspace(0, frames, len(said) + 1).round().astype(np.int64))
        weights = np.stack([by_head(one) for one in cross])
        chosen_heads = heads_by_norm(weights)
        best = np.stack([weights[layer, head] for layer, head in chosen_heads])
        rows_of_text = best[:, len(self.start) - 1 :]
        steps = firsts(*warp(-closeness(np.log(np.maximum(rows_of_text, TINY)))))
        return Said(tokens, logits, best.mean(axis=0), steps)

    def encoded(self, values: FloatArray) -> npt.NDArray[Any]:
        """Return the encoder's result for features (T, D) of one piece, (1, frames, width)."""
        (states,) = self.run(self.feeds(values), [self.decoder.states])
        if states.ndim != 3 or len(states) != 1:
            raise self.wrong(
                "decoder.states", self.decoder.states, f"one row for each frame, it gives the shape {list(states.shape)}"
            )
        return states

    def given(
        self, states: npt.NDArray[Any], tokens: Sequence[int], names: Sequence[str] = ()
    ) -> tuple[FloatArray, list[npt.NDArray[Any]]]:
        """Return the decoder's rows (N, V) when tokens are given, and inner tensors."""
        scores, *found = self._voice.run(self.voiced(states, tokens), [self.decoder.scores, *names])
        return np.asarray(scores[0], np.float32), found

    def voiced(self, states: npt.NDArray[Any], tokens: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """Return the decoder's inputs."""
        told, inputs = self.decoder, self.speaker.inputs
        result: dict[str, npt.NDArray[Any]] = {
            told.memory: states.astype(TYPES[inputs[told.memory][0]]),
            told.tokens: np.array([tokens], TYPES[inputs[told.tokens][0]]),
        }
        if told.mask:
            result[told.mask] = np.ones((1, states.shape[1]), TYPES[inputs[told.mask][0]])
        more = {name: self.constant(self.speaker, f"decoder.constants.{name}", value) for name, value in told.constants.items()}
        return result | more

    def tape(self, trace: Trace, *, frozen: bool) -> NoReturn:  # noqa: ARG002
        """Refuse: gradients through a decoder are not made.

        Raises:
            OptionError: always.
        """
        raise OptionError("there are no gradients through a decoder; choose a perturbation method such as occlusion or shapley")

    def _listen(self, parts: Sequence[Features], language: str, *, textnorm: bool) -> list[Any]:
        self._check_prompts(language, textnorm=textnorm)
        return [self.spoken(part) for part in parts]

    def _size(self, states: npt.NDArray[Any]) -> int:
        """Return how many tokens the decoder's output has."""
        first = [one if isinstance(one, int) else 0 for one in self.decoder.start]
        try:
            (scores,) = self._voice.run(self.voiced(states, first), [self.decoder.scores])
        except ModelError as error:
            raise ModelError(f"{self.told.path}: with these inputs {error}; correct [decoder]") from error
        if scores.ndim != 3 or scores.shape[:2] != (1, len(first)):
            told = f"one row of scores for each token, it gives the shape {list(scores.shape)}"
            raise self.wrong("decoder.scores", self.decoder.scores, told)
        return int(scores.shape[2])

    def _check_speaker(self) -> None:
        """Refuse names of inputs and outputs that the decoder has not."""
        told, inputs, outputs = self.decoder, self.speaker.inputs, self.speaker.outputs
        named = {"memory": told.memory, "tokens": told.tokens, "mask": told.mask} | {
            f"constants.{one}": one for one in told.constants
        }
        for key, name in named.items():
            if name and (name not in inputs or inputs[name][0] not in TYPES):
                raise self.wrong(f"decoder.{key}", name, f"an input of {told.file}: {listed(inputs)}")
        left = [name for name in inputs if name not in named.values()]
        if left:
            raise ModelError(
                f"{self.told.path}: {told.file} has an input {left[0]!r} that is not described; give it in decoder.constants, or a "
                "decoder without kept keys"
            )
        if told.scores not in outputs or outputs[told.scores][0] not in FLOATS:
            raise self.wrong("decoder.scores", told.scores, f"an output of {told.file}: {listed(outputs)}")


class SpokenReplay(Replay):
    """Evidence about one piece of sound: kept from the pass itself, or computed again when it is asked for."""

    _model: Speaking

    def __init__(self, model: Speaking, part: Features) -> None:
        super().__init__(model, part)
        self._said: Said | None = None

    def record(
        self, layers: Sequence[int], budget: int, tensors: Sequence[str] = (), *, gradients: bool = False
    ) -> tuple[Any, int]:
        """Say the piece and keep what was said if the budget allows; attention is computed when it is asked for."""
        del layers, gradients
        for name in tensors:
            self._check(name)
        said = self._model.spoken(self._part)
        size = said.logits.nbytes + said.looks.nbytes
        if size <= budget:
            self._said = said
        return said, size if size <= budget else 0

    def said(self) -> Said:
        """Return what was said."""
        return self._model.spoken(self._part) if self._said is None else self._said

    def logits(self) -> FloatArray:
        """Return the output rows, (N, V) float32, one a token."""
        return self.said().logits

    def placement(self) -> FloatArray:
        """Return how much of what each row decides comes from each frame, (N, T) float32; rows sum to 1."""
        return self.said().looks

    def cross_attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the decoder's attention from tokens to frames, (layers, H, N, T) float32."""
        blocks = [self._model.cross[layer] for layer in layers]
        return np.stack([by_head(one) for one in self._spoken([block.probabilities for block in blocks])])

    def cross_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of each cross-attention head's part of its layer's projection, (layers, H, N) float32.

        Raises:
            OptionError: when no linear map follows the heads of a layer at once.
        """
        blocks = [self._model.cross[layer] for layer in layers]
        maps = [block.projection for block in blocks if block.projection is not None]
        if len(maps) < len(blocks):
            raise OptionError("what heads add to a layer's output is not known of this model; choose mean, max or entropy")
        contexts = [side_by_side(one) for one in self._spoken([block.mixed for block in blocks])]
        return head_norms(contexts, [linear_weight(self._model.speaker, one) for one in maps], self._model.cross_shape[1])

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the encoder's attention, (layers, H, T, T) float32."""
        blocks: list[PlainBlock] = [self._model.anatomy.blocks[layer] for layer in layers]
        return np.stack([by_head(one) for one in self._model.run(self._feeds, [block.probabilities for block in blocks])])

    def _spoken(self, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Return inner tensors of the decoder when it is given what was said."""
        return self._model.given(self._model.encoded(self._part.values), self.said().tokens, names)[1]
