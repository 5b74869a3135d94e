"""Any other model of speech, described by its user in ``voxray.toml`` or ``voxray.json`` beside it.

Here: encoders with a CTC head. Those with a decoder that writes token by token are in ``speaking``.

What a file is told to be is checked when it is opened: names, types and shapes of its inputs and outputs, its tokens, and on a
second of noise that it runs, how many rows it gives, and whether they are log posteriors. Then its attention is sought by structure
and proven. What such a graph has not (memory, tags, several languages) is not there; what explanations by architecture need (ALTI,
knockout, the lens) is refused in one line, and views, perturbation, gradients and exact relevance work.

One piece of sound goes through the model at a time: whether padding would change its neighbours' results is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.frontend import DEFAULT
from voxray.graph.graph import Graph
from voxray.graph.plain import PlainAnatomy, plain_anatomy, prove_plain
from voxray.graph.proof import Proof
from voxray.graph.rules import SingleGradients, Way
from voxray.graph.session import Runner, RunOptions
from voxray.models.family import Family
from voxray.models.generic.description import Description, Output, find_description, read_description
from voxray.models.generic.front import RATE, BankFront, SampleFront, build_front
from voxray.models.generic.replay import Replay, SingleTape
from voxray.models.generic.vocabulary import read_tokens
from voxray.timing import Clock, odds_of, retimed
from voxray.trace import Trace
from voxray.transcript import Reading, Rows, greedy_tokens, words_of
from voxray.types import Audio, AudioError, Features, FloatArray, ModelError, OptionError, Progress, Token, plain
from voxray.vocabulary import Vocabulary

FLOATS = (1, 10, 11)  # ONNX: float32, float16, float64
TYPES: dict[int, type[np.generic]] = {1: np.float32, 10: np.float32, 11: np.float64, 6: np.int32, 7: np.int64, 9: np.bool_}
NOISE = (1.0, 1.7)  # seconds of the two sounds that a file is tried on
CLOCK_TOLERANCE = 0.1  # of the hop that the rows of a second of noise tell
SUM_TOLERANCE = 1e-3  # of the logarithm of the sum of a row's posteriors
LEAST_AGREEMENT = 0.98  # of the rows of a rounded file and of its floating-point twin
WORKS = "views, exact, gradient, input_x_gradient, smoothgrad, integrated_gradients and perturbation methods such as occlusion work"


def recognise(graph: Graph) -> Description | None:
    """Return the description that lies beside a file; None where there is none, or it is of another file of the folder.

    Raises:
        ModelError: when it cannot be read.
    """
    folder = graph.path.parent
    path = find_description(folder) or (find_description(folder.parent) if folder.name == "onnx" else None)
    if path is None:
        return None
    told = read_description(path)
    other = told.decoder is not None and told.decoder.file == graph.path.name
    return told if told.model in ("", graph.path.name) and not other else None


class Recogniser(Family):
    """A described model, opened and proven.

    Attributes:
        told: what its description says.
        vocabulary: its tokens.
        labels: empty; nothing is known of tags.
    """

    family = "generic"
    languages = ("auto",)
    batches_exactly = True  # each item runs alone
    anatomy: PlainAnatomy  # type: ignore[assignment]

    def __new__(cls, graph: Graph, options: RunOptions | None = None) -> Recogniser:  # noqa: ARG004
        """Return a recogniser of the described kind, still to be opened."""
        told = recognise(graph)
        if cls is Recogniser and told is not None and told.decoder is not None:
            from voxray.models.generic.speaking import Speaking

            return super().__new__(Speaking)
        return super().__new__(cls)

    def __init__(self, graph: Graph, options: RunOptions | None = None) -> None:
        told = recognise(graph)
        if told is None:
            raise ModelError(f"{graph.path} has no description beside it; write one as docs/generic.md shows")
        self.graph, self.told = graph, told
        self.labels: dict[str, dict[str, int]] = {}
        self._maker = build_front(told)
        self._runner = Runner(graph, options)
        self.vocabulary: Vocabulary
        self.proof: Proof
        self._check_inputs()
        self._open()

    def _open(self) -> None:
        """Check what comes out, read the tokens, and prove the anatomy."""
        self._outputs(self.output.scores, "output.scores")
        noise = self.noise(NOISE[0])
        logits = self._try(noise)
        self.vocabulary, self.blank, self._hidden = read_tokens(self.told, logits.shape[1])
        self._check_rows(logits)
        self._prove(self.output.scores, self.feeds(noise.values), len(logits))
        self.anatomy = replace(self.anatomy, log_softmax=self.output.log_probs)

    def _prove(self, scores: str, feeds: Mapping[str, Any], rows: int) -> None:
        """Find and prove the attention among the rows of an output."""
        found = plain_anatomy(self.graph, scores)
        self.anatomy, self.proof = prove_plain(found, self._runner, feeds, rows)
        self._runner = Runner(self.graph, self._runner.options, [block.probabilities for block in self.anatomy.blocks])

    @property
    def output(self) -> Output:
        """What comes out of it.

        Raises:
            TypeError: of a model with a decoder.
        """
        if self.told.output is None:
            raise TypeError("a model with a decoder has no output of CTC")
        return self.told.output

    def __repr__(self) -> str:
        return f"Described({self.name!r}, {self.anatomy.precision}, {self.layers} layers x {self.heads} heads)"

    @property
    def gives(self) -> frozenset[str]:
        """What explanations can be built on: ``split`` where exact relevance can pass every operator.

        Gradients are always offered: an operator that has no rule is named when they are asked for.
        """
        more = [*(["attention"] if self.layers else []), *(["split"] if self._splits else [])]
        return frozenset({"gradients", "passes", *more})

    @cached_property
    def _splits(self) -> bool:
        try:
            return self.gradients.splits
        except ModelError:  # weights that have no floating-point twin
            return False

    @property
    def exporter(self) -> str:
        """That it was described, and for which front-end."""
        kinds = {"Waveform": "waveform", "KaldiFbank": "kaldi-fbank", "LogMel": "log-mel"}
        return f"described ({kinds[type(self.told.front_end).__name__]})"

    def describe(self) -> dict[str, Any]:
        """Return what the file is made of and how well that was confirmed, as JSON can hold it."""
        graph, info = self.graph, plain(self.info)
        blocks = [
            {"index": block.index, "label": block.label, "rebuild_error": error}
            for block, error in zip(self.anatomy.blocks, self.proof.rebuild_errors, strict=True)
        ]
        result: dict[str, Any] = info | {
            "path": str(graph.path),
            "description": str(self.told.path),
            "opset": graph.opset,
            "nodes": len(graph.nodes),
            "vocabulary": len(self.vocabulary),
            "layers": self.layers,
            "heads": self.heads,
            "languages": list(self.languages),
            "tags": {},
            "left_out": self.anatomy.left_out,
            "logit_difference": self.proof.logit_difference,
            "device": self._runner.device,
            "blocks": blocks,
        }
        return result

    def trace(
        self,
        source: Any,
        language: str = "auto",
        *,
        textnorm: bool = False,
        layers: Sequence[int] | None = None,
        keep: int = -1,
        gradients: bool = False,
        tensors: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Trace:
        """Recognise one sound and keep what happened inside; see ``Family.trace``."""
        options: dict[str, Any] = {} if keep < 0 else {"keep": keep}
        chosen = () if layers is None and not self.layers else layers
        trace = super().trace(
            source, language, textnorm=textnorm, layers=chosen, gradients=gradients, tensors=tensors, progress=progress, **options
        )
        return replace(trace, frame_start=self.told.time.start - self._maker.start)

    @property
    def frame_hop(self) -> float:
        """Seconds from output row to output row."""
        return self.told.time.hop

    def replay(self, part: Features, language: str, *, textnorm: bool) -> Replay:
        """Return evidence about one piece that is computed from its features when it is asked for."""
        self._check_prompts(language, textnorm=textnorm)
        return Replay(self, part)

    def logits(self, parts: Sequence[Features], language: str = "auto", *, textnorm: bool = False) -> list[FloatArray]:
        """Run the model on features, one piece after the other; (N, V) float32 for each."""
        return self._listen(parts, language, textnorm=textnorm)

    def read(self, heard: Any, part: Features, alternatives: int = 0) -> Reading:
        """Turn the output rows of one piece into tokens.

        Args:
            heard: (N, V) float32, as ``logits`` returns them.
            part: the features of the piece.
            alternatives: how many of the likeliest tokens to list at each emission.
        """
        told, prompts = self.told, self.output.prompts
        start = part.start - self._maker.start
        rows = Rows(heard, prompts, self.blank, normalised=self.output.log_probs)
        clock = Features(np.zeros((max(len(heard) - prompts, 0), 1), np.float32), told.time.hop, start + told.time.start)
        tokens = [one for one in greedy_tokens(rows, clock, self.vocabulary, alternatives) if one.id not in self._hidden]
        emitted = [run.id for run in ctc.runs(heard.argmax(axis=1), self.blank)] if len(heard) else []
        return Reading(
            tokens=self._timed(tokens, heard, part, clock),
            tags=(),
            raw_text=self.vocabulary.spell(emitted),
            rows=len(heard),
            prompts=prompts,
            start=max(start, 0.0),
            end=start + part.hop * len(part.values),
        )

    def _timed(self, tokens: Sequence[Token], heard: FloatArray, part: Features, rows: Features) -> tuple[Token, ...]:
        """Return tokens with the times at which they are said; ``rows`` has the clock of the output."""
        bank = self._maker.energies(part)
        start, hop = (rows.start, DEFAULT.frame_shift) if bank is None else (bank.start, bank.hop)
        clock = Clock(start, hop, (rows.start - start) / hop, rows.hop / hop)
        odds = odds_of(heard, tokens, self.blank, self.output.prompts, clock)
        return retimed(tokens, words_of(tokens), odds, None if bank is None else bank.values)

    def feeds(self, values: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """Return the graph's inputs for the features (T, D) of one piece."""
        told, inputs = self.told.input, self.graph.inputs
        kind, shape = inputs[told.sound]
        laid = values.T if told.layout == "features-time" else values
        if values.shape[1] == 1 and len(shape) < 3:  # samples without an axis of channels
            laid = values[:, 0]
        result = {told.sound: np.ascontiguousarray(laid, TYPES[kind]).reshape((1,) * (len(shape) - laid.ndim) + laid.shape)}
        if told.lengths:
            kind, shape = inputs[told.lengths]
            result[told.lengths] = np.full((1,) * len(shape), len(values), TYPES[kind])
        if told.mask:
            kind, _ = inputs[told.mask]
            result[told.mask] = np.ones((1, len(values)), TYPES[kind])
        return result | {
            name: self.constant(self.graph, f"input.constants.{name}", value) for name, value in told.constants.items()
        }

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Run the graph for any of its tensors; see ``voxray.graph.session.Runner.run``."""
        return self._runner.run(feeds, outputs)

    def rows_of(self, scores: npt.NDArray[Any]) -> FloatArray:
        """Return the output for one piece as rows (N, V), however it lies."""
        rows = scores.reshape(scores.shape[-2:])
        return np.ascontiguousarray(rows.T if self.output.layout == "vocabulary-time" else rows, np.float32)

    def front(self, trace: Trace) -> BankFront | SampleFront:
        """Return how the sound of a trace of one piece became what the model saw."""
        return self._maker.front(trace.features[0], trace.audio)

    # Gradients -------------------------------------------------------------------------------------------------------------

    @cached_property
    def gradients(self) -> SingleGradients:
        """Forward and backward graphs, compiled when they are first needed.

        Raises:
            ModelError: when an operator has no gradient rule.
        """
        first, second = (self.feeds(self.noise(seconds).values) for seconds in NOISE)
        return SingleGradients(self._runner, Way(self.told.input.sound, self.output.scores), (first, second))

    @property
    def is_float(self) -> bool:
        """Whether gradients are those of the file itself and not of its floating-point twin."""
        return self.anatomy.precision == "fp32"

    def tape(self, trace: Trace, *, frozen: bool) -> tuple[SingleTape, bool]:
        """Return a forward pass of a trace of one piece that can be run backward, and that it had to be run.

        Raises:
            ModelError: when an operator has no gradient rule, or the file's weights are rounded so much that their floating-point
                twin decides otherwise.
        """
        tape = self.tape_of(trace.features[0].values[None], trace.language, textnorm=trace.textnorm, frozen=frozen)
        if not self.is_float:
            self._check_twin(trace.evidence[0].logits(), tape.logits[0])
        return tape, True

    def tape_of(self, values: FloatArray, language: str, *, textnorm: bool, frozen: bool) -> SingleTape:
        """Run features (B, T, D) forward, one after the other, so that they can be run backward."""
        self._check_prompts(language, textnorm=textnorm)
        return SingleTape(self, list(values), frozen=frozen)

    def layer_weights(self, index: int) -> NoReturn:  # noqa: ARG002
        """Refuse: what a layer's weights do is told by an architecture.

        Raises:
            OptionError: always.
        """
        self._refuse("what follows the weights of layers")

    def stream_norms(self) -> NoReturn:
        """Refuse, as ``layer_weights``."""
        self._refuse("what follows the weights of layers")

    def head(self, ids: Sequence[int]) -> NoReturn:  # noqa: ARG002
        """Refuse, as ``layer_weights``."""
        self._refuse("the lens")

    def knocked_out(self, part: Features, language: str, *, textnorm: bool, keep: npt.NDArray[np.bool_]) -> NoReturn:  # noqa: ARG002
        """Refuse, as ``layer_weights``."""
        self._refuse("knockout")

    def _refuse(self, what: str) -> NoReturn:
        raise OptionError(f"{what} needs an architecture that Voxray knows, and {self.name} is one that was described; {WORKS}")

    def _check_twin(self, own: FloatArray, twin: FloatArray) -> None:
        agreed = float((own.argmax(axis=1) == twin.argmax(axis=1)).mean())
        if agreed * len(own) < min(LEAST_AGREEMENT * len(own), len(own) - 1):
            raise ModelError(
                f"{self.graph.path.name} is {self.anatomy.precision}: its floating-point twin, on which gradients are taken, "
                f"decides only {agreed:.1%} of the rows alike (at least {LEAST_AGREEMENT:.0%} is wanted); explain the fp32 "
                "file, or use a perturbation method such as occlusion"
            )

    # What Family asks for --------------------------------------------------------------------------------------------------

    def _features(self, audio: Audio) -> Features:
        return self._maker.features(audio)

    def _listen(self, parts: Sequence[Features], language: str, *, textnorm: bool) -> list[FloatArray]:
        self._check_prompts(language, textnorm=textnorm)
        found = []
        for part in parts:
            try:
                (scores,) = self.run(self.feeds(part.values), [self.output.scores])
            except ModelError as error:
                seconds = part.hop * len(part.values)
                if seconds < NOISE[0]:
                    raise AudioError(
                        f"{seconds:.2f} s of sound are too short for {self.name} ({error}); give a longer sound"
                    ) from error
                raise
            found.append(self.rows_of(scores))
        return found

    def _check_prompts(self, language: str, *, textnorm: bool) -> None:
        if language not in self.languages:
            raise OptionError(f"a described model is told no language, got {language!r}; leave it at auto")
        if textnorm:
            raise OptionError("a described model normalises no text; leave textnorm off")

    # Checks at the door ----------------------------------------------------------------------------------------------------

    def wrong(self, key: str, value: object, expected: str) -> ModelError:
        """Return the error for something that was told wrongly."""
        return ModelError(f"{self.told.path}: {key} is {value!r}; expected {expected}: correct it")

    def _outputs(self, name: str, key: str) -> None:
        """Check the name of an output."""
        outputs = self.graph.outputs
        if name not in outputs:
            raise self.wrong(key, name, f"an output of {self.graph.path.name}: {listed(outputs)}")
        if outputs[name][0] not in FLOATS:
            raise self.wrong(key, name, "an output of floating-point numbers")

    def _check_inputs(self) -> None:
        told, inputs, file = self.told.input, self.graph.inputs, self.graph.path.name
        named = {"sound": told.sound, "lengths": told.lengths, "mask": told.mask} | {
            f"constants.{one}": one for one in told.constants
        }
        for key, name in named.items():
            if name and name not in inputs:
                raise self.wrong(f"input.{key}", name, f"an input of {file}: {listed(inputs)}")
            if name and inputs[name][0] not in TYPES:
                raise self.wrong(f"input.{key}", name, "an input of numbers")
            if name and list(named.values()).count(name) > 1:
                raise self.wrong(f"input.{key}", name, "another input than those that are named already")
        left = [name for name in inputs if name not in named.values()]
        if left:
            raise ModelError(f"{self.told.path}: {file} has an input {left[0]!r} that is not described; give it in input.constants")
        self._check_sound(*inputs[told.sound])
        if told.mask and len(inputs[told.mask][1]) != 2:
            raise self.wrong("input.mask", told.mask, f"an input of 2 axes, it has {len(inputs[told.mask][1])}")
        if told.lengths and len(inputs[told.lengths][1]) > 1:
            raise self.wrong("input.lengths", told.lengths, f"an input of 1 axis, it has {len(inputs[told.lengths][1])}")
        for name, value in told.constants.items():
            self.constant(self.graph, f"input.constants.{name}", value)

    def _check_sound(self, kind: int, shape: tuple[int | str, ...]) -> None:
        told, width = self.told.input, self._maker.width
        if kind not in FLOATS:
            raise self.wrong("input.sound", told.sound, "an input of floating-point numbers")
        if len(shape) not in ((1, 2, 3) if width == 1 else (2, 3)):
            raise self.wrong("input.sound", told.sound, f"an input of batch, time and features, it has the shape {list(shape)}")
        flat = width == 1 and len(shape) < 3
        time, features = (shape[-1], 1) if flat else (shape[-2:] if told.layout == "time-features" else shape[:-3:-1])
        if width > 1 and len(shape) < 3 and not isinstance(features, int):
            raise self.wrong("input.sound", told.sound, f"an input of batch, time and features, it has the shape {list(shape)}")
        if isinstance(features, int) and features != width:
            raise self.wrong(
                "front_end",
                f"{width} numbers a row",
                f"{features}, since {told.sound} has the shape {list(shape)}, or another input.layout",
            )
        if isinstance(time, int):
            raise self.wrong("input.sound", told.sound, f"an input of any length, it takes exactly {time} rows")

    def constant(self, graph: Graph, key: str, value: Any) -> npt.NDArray[Any]:
        """Return a constant of the description as a graph wants it.

        Raises:
            ModelError: when it is no number, or of another shape.
        """
        kind, shape = graph.inputs[key.split(".", 2)[2]]
        try:
            array = np.asarray(value)
        except ValueError:  # rows of several lengths
            array = np.asarray("")
        if array.dtype.kind not in "ifb":
            raise self.wrong(key, value, "a number, or a list of numbers in rows of one length")
        array = array.astype(TYPES[kind])
        if array.ndim == 0:
            return np.full(tuple(one if isinstance(one, int) else 1 for one in shape), array)
        array = array if array.ndim == len(shape) else array[None]
        ends = zip(shape, array.shape, strict=False)
        if array.ndim != len(shape) or any(isinstance(one, int) and one != extent for one, extent in ends):
            raise self.wrong(key, value, f"numbers of the shape {list(shape)}")
        return array

    def noise(self, seconds: float) -> Features:
        """Return the features of so many seconds of noise, always the same."""
        samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)
        return self._maker.features(Audio(samples, name="noise"))

    def _try(self, noise: Features) -> FloatArray:
        """Return the rows (N, V) of a second of noise.

        Raises:
            ModelError: when the graph fails on it, or gives something else than rows.
        """
        name = self.output.scores
        try:
            (scores,) = self._runner.run(self.feeds(noise.values), [name])
        except ModelError as error:
            raise ModelError(f"{self.told.path}: with these inputs {error}; correct [input] or [front_end]") from error
        if scores.ndim not in (2, 3) or (scores.ndim == 3 and len(scores) != 1) or 0 in scores.shape:
            raise self.wrong("output.scores", name, f"one row of scores for each frame, it gives the shape {list(scores.shape)}")
        return self.rows_of(scores)

    def _check_rows(self, logits: FloatArray) -> None:
        """Refuse rows that are not as described: numbers, log posteriors, a row each hop."""
        if not np.isfinite(logits.max(axis=1)).all():
            raise self.wrong("output.scores", self.output.scores, "numbers, but a second of noise gives none")
        sums = float(np.abs(ctc.log_normaliser(logits)).max())
        if self.output.log_probs and not sums <= SUM_TOLERANCE:
            raise self.wrong(
                "output.log_probs",
                self.output.log_probs,
                f"false, since the posteriors of a row sum to exp({sums:.2g}) and not to 1",
            )
        self.check_clock(len(logits) - self.output.prompts)

    def check_clock(self, rows: int) -> None:
        """Refuse a hop that does not fit the rows that a second of noise gives."""
        hop = self.told.time.hop
        if rows < 1:
            raise self.wrong("time.hop", hop, "rows besides the prompts, but a second of noise gives none")
        if abs(NOISE[0] / rows - hop) > max(CLOCK_TOLERANCE * hop, 3 * NOISE[0] / rows / rows):
            raise self.wrong("time.hop", hop, f"about {NOISE[0] / rows:.3g}, since {NOISE[0]:g} s give {rows} rows")


def listed(names: Mapping[str, Any]) -> str:
    """Return some names for a message."""
    return ", ".join(list(names)[:8])
