"""SenseVoice-Small from its ONNX file: recognition, tags and the evidence for both.

Four prompt rows (language, emotion, event, text normalisation) stand before the frames of sound. Their outputs are tags and are
read **by row**: a blank among them shifts nothing. Everything after them is CTC.

Four layouts are known, told by what the graph does with its inputs (``voxray.graph.entrance``); opened, all take the same
normalised features of 560 numbers, by which explanations are told too:

- FunASR and sherpa-onnx: as it is;
- lovemefan: its caller joins the prompts to the sound; the rows of ``embedding.npy`` are joined inside the graph instead;
- OpenVoiceOS: a filter bank goes in; stacking and normalisation are cut off the graph, after both were shown to be Voxray's own,
  and the normalisation is read from its weights.

Time: frame k of sound is the stack of the fbank windows 6k-3 to 6k+3; its centre lies at ``60 k + 12.5`` ms. A token is timed by
``voxray.timing``, at 10 ms, from what these frames say and the sound. FunASR prints the span of the frames that emit it, each from
``60 k - 30`` to ``60 k + 30`` ms; sherpa-onnx prints starts only, ``60 k`` ms.

**Source:** FunASR ``funasr/models/sense_voice/model.py`` and ``export_meta.py``; k2-fsa/sherpa-onnx
``scripts/sense-voice/export-onnx.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.front import StackedFront
from voxray.frontend import DEFAULT, Cmvn, features, stack, unstack
from voxray.graph.anatomy import Anatomy, find_anatomy
from voxray.graph.entrance import Entrance, Front, find_entrance, whole, with_prompts, without_front
from voxray.graph.graph import Graph
from voxray.graph.knockout import FRAMES, KEYS, with_knockout
from voxray.graph.proof import Proof, prove
from voxray.graph.session import Runner, RunOptions
from voxray.graph.tape import Gradients, Recording, Recordings
from voxray.graph.weights import check_surplus, layer_weights, linear_parts, norm_weights
from voxray.models.family import Family, Inside, padded, read_normalisation
from voxray.timing import Clock, odds_of, retimed
from voxray.trace import Trace
from voxray.transcript import Reading, Rows, greedy_tokens, words_of
from voxray.types import (
    TAG_KINDS,
    AnatomyError,
    Audio,
    Features,
    FloatArray,
    LayerWeights,
    ModelError,
    NormWeights,
    Tag,
    TagKind,
)
from voxray.vocabulary import Vocabulary, read_vocabulary

PROMPTS = 4
BLANK = 0
LEAST_AGREEMENT = 0.98  # of the rows of a rounded file and of its floating-point twin
LANGUAGES = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12, "nospeech": 13}  # rows of the prompt embedding
WITH_ITN, WITHOUT_ITN = 14, 15
LARGEST_TABLE, LARGEST_CONFIG = 4096, 1 << 20  # prompt rows; bytes
FRONT_TOLERANCE = 1e-5  # of the largest feature
WINDOW_CENTRE = 0.0125  # s; the middle of the first 25 ms window
EMOTIONS = ("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED", "OTHER", "EMO_UNKNOWN")
EVENTS = (
    "Speech",
    "BGM",
    "Laughter",
    "Applause",
    "Cry",
    "Sneeze",
    "Breath",
    "Cough",
    "Sing",
    "Speech_Noise",
    "GBG",
    "Event_UNK",
)
TEXTNORMS = ("withitn", "woitn")
LANGUAGE_TAG = re.compile(r"[a-z]{2,3}|nospeech")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a graph is entered and left. Whatever its file asks for, the graph is brought to these inputs when it is opened.

    Attributes:
        name: who exports so: ``funasr``, ``sherpa-onnx``, ``lovemefan`` (prompt rows from outside), ``openvoiceos`` (filter bank
            in, front-end in the graph).
        speech: (B, T, 560), stacked and normalised features.
        lengths: (B,) whole numbers.
        language: (B,) row of the prompt embedding.
        textnorm: (B,) likewise.
        logits: (B, T + 4, V).
        batch: items in each run; 0 where any number may be.
        bank: (B, 6 T, 80) the filter bank of a file that holds its own front-end: only its shape is used; else empty.
    """

    name: str
    speech: str
    lengths: str
    language: str
    textnorm: str
    logits: str
    batch: int = 0
    bank: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A graph brought to the inputs that this family feeds, and the normalisation of its features."""

    graph: Graph
    layout: Layout
    cmvn: Cmvn


def recognise(graph: Graph) -> Layout | None:
    """Return the layout of a graph if it is a SenseVoice, told by its inputs and by what it does with them, not by names."""
    entrance = find_entrance(graph)
    if entrance is None or entrance.width != DEFAULT.lfr_m * DEFAULT.mels or entrance.batch not in (0, 1):
        return None
    bank = graph.inputs[entrance.sound][1][-1] == DEFAULT.mels
    if not entrance.language:
        return _layout("lovemefan", entrance) if entrance.width == graph.inputs[entrance.sound][1][-1] else None
    told = "neg_mean" in graph.metadata or len(graph.outputs) == 1
    return _layout("openvoiceos" if bank else "sherpa-onnx" if told else "funasr", entrance)


def _layout(name: str, entrance: Entrance, bank: str = "") -> Layout:
    names = (entrance.sound, entrance.lengths, entrance.language, entrance.textnorm, entrance.logits)
    return Layout(name, *names, batch=entrance.batch, bank=bank)


def prepare(graph: Graph) -> Opened:
    """Bring a graph to stacked, normalised features and two prompts.

    Raises:
        ModelError: when it is no SenseVoice, or a file that belongs to it is missing or damaged.
        AnatomyError: when a front-end in the graph does otherwise than Voxray's.
    """
    layout, entrance = recognise(graph), find_entrance(graph)
    if layout is None or entrance is None:
        raise ModelError(f"{graph.path} is no SenseVoice: its inputs are {', '.join(graph.inputs)}")
    if layout.name == "lovemefan":
        table = _read_table(graph.path.parent / "embedding.npy", entrance.width)
        changed, entrance = with_prompts(graph, entrance, table)
        return Opened(changed, _layout(layout.name, entrance), read_normalisation(graph))
    if layout.name == "openvoiceos":
        changed, cut, front = without_front(graph, entrance)
        cmvn = Cmvn(front.shift, front.scale)
        _check_front(front, entrance, cmvn)
        return Opened(changed, _layout(layout.name, cut, entrance.sound), cmvn)
    return Opened(graph, layout, read_normalisation(graph))


def _read_table(path: Path, width: int) -> FloatArray:
    """Return the prompt rows that lie beside a model which is given them with the sound, (R, 560) float32.

    Raises:
        ModelError: when the file is missing, or holds something else.
    """
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a claim takes no memory
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; this model takes its prompts from it: copy it beside the model") from None
    except (OSError, ValueError, EOFError):
        table = None
    fits = isinstance(table, np.ndarray) and table.dtype.kind == "f" and table.shape[1:] == (width,)
    if not fits or not WITHOUT_ITN < len(table) <= LARGEST_TABLE or not np.isfinite(table).all():
        raise ModelError(
            f"{path} holds no prompt rows: {WITHOUT_ITN + 1} or more of {width} numbers were expected; download it again"
        )
    return np.array(table, np.float32)


def _check_front(front: Front, entrance: Entrance, cmvn: Cmvn) -> None:
    """Refuse a front-end in the graph that makes other features of a filter bank than Voxray does.

    Raises:
        AnatomyError: when it does.
    """
    bank = np.random.default_rng(0).normal(8.0, 4.0, (67, DEFAULT.mels)).astype(np.float32)  # no whole number of stacks
    numbers = {entrance.lengths: [len(bank)], entrance.language: [0], entrance.textnorm: [0]}
    feeds = {entrance.sound: bank[None]} | {name: whole(front.graph, name, one) for name, one in numbers.items()}
    (found,) = Runner(front.graph).run(feeds, [front.features])  # on the CPU: what is checked is the file
    wanted = (stack(bank) + cmvn.shift) * cmvn.scale
    if found[0].shape != wanted.shape or not np.abs(found[0] - wanted).max() <= FRONT_TOLERANCE * np.abs(wanted).max():
        raise AnatomyError(
            f"{front.graph.path.name}: the front-end in this graph stacks or normalises otherwise than SenseVoice's; "
            "use a file that takes stacked features"
        )


class Recogniser(Family):
    """A SenseVoice model, opened and proven.

    Attributes:
        anatomy: what its graph is made of.
        proof: how well that was confirmed when the model was opened.
        vocabulary: its tokens.
        cmvn: mean and variance normalisation of its features.
        labels: ids of every label by kind of tag.
        blank: id of the CTC blank.
        lean: whether gradients take less memory and more time; set before the first.
    """

    family, normalises = "sensevoice", True

    def __init__(self, graph: Graph, options: RunOptions | None = None) -> None:
        opened = prepare(graph)
        graph, layout = opened.graph, opened.layout
        self.graph, self.layout, self.cmvn = graph, layout, opened.cmvn
        self.anatomy: Anatomy = find_anatomy(graph, layout.logits)
        check_surplus(graph, self.anatomy)
        size = _vocabulary_size(graph, self.anatomy)
        self.vocabulary: Vocabulary = read_vocabulary(graph.path.parent, size)
        self.labels: dict[str, dict[str, int]] = {kind: _labels(self.vocabulary, kind) for kind in TAG_KINDS}
        told = _settings(graph)
        self._languages = _languages(told)
        self._textnorms = {True: _number(told, "with_itn", WITH_ITN), False: _number(told, "without_itn", WITHOUT_ITN)}
        self.lean = False
        self.blank = _number(told, "blank_id", BLANK)
        if not 0 <= self.blank < size:
            raise ModelError(f"{told.place} says blank_id {self.blank}, but it has {size} tokens; export it again")
        self._weights: dict[int, LayerWeights] = {}
        self._runner = Runner(graph, options, together=[block.probabilities for block in self.anatomy.blocks])
        noise = np.random.default_rng(0).standard_normal((12, self.cmvn.shift.size)).astype(np.float32)
        feeds = self.feeds([noise], "auto", textnorm=False)
        self.proof: Proof = prove(graph, self.anatomy, self._runner, feeds)
        rows = self.run(feeds, [layout.logits])[0].shape[1]
        if rows != len(noise) + PROMPTS:
            raise AnatomyError(f"{graph.path.name}: {len(noise)} frames give {rows} rows, {len(noise) + PROMPTS} were expected")

    def __repr__(self) -> str:
        return f"SenseVoice({self.name!r}, {self.layout.name}, {self.anatomy.precision}, {self.layers} layers x {self.heads} heads)"

    @property
    def exporter(self) -> str:
        """Who writes such files."""
        return self.layout.name

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that can be asked for."""
        return tuple(self._languages)

    def describe(self) -> dict[str, Any]:
        """Return what the file is made of and how well that was confirmed, as JSON can hold it."""
        tags = {kind: list(labels) for kind, labels in self.labels.items()}
        return super().describe() | {"vocabulary": len(self.vocabulary), "tags": tags}

    def replay(self, part: Features, language: str, *, textnorm: bool) -> Replay:
        """Return evidence about one piece that is computed from its features when it is asked for."""
        return Replay(self, part, language, textnorm=textnorm)

    def _features(self, audio: Audio) -> Features:
        return features(audio, self.cmvn)

    def _listen(self, parts: Sequence[Features], language: str, *, textnorm: bool) -> list[FloatArray]:
        return self.logits(parts, language, textnorm=textnorm)

    def logits(self, parts: Sequence[Features], language: str = "auto", *, textnorm: bool = False) -> list[FloatArray]:
        """Run the model on features, padded to the longest.

        Args:
            parts: pieces of sound.
            language: of all of them.
            textnorm: of all of them.

        Returns:
            For each piece (T + 4, V) float32, the model's output rows.

        Raises:
            OptionError: when the model has no such language.
        """
        found: list[FloatArray] = []
        size = self.layout.batch or max(1, len(parts))
        for first in range(0, len(parts), size):
            feeds = self.feeds([part.values for part in parts[first : first + size]], language, textnorm=textnorm)
            (rows,) = self._runner.run(feeds, [self.layout.logits])
            found.extend(np.asarray(rows, np.float32))
        return [one[: len(part.values) + PROMPTS] for one, part in zip(found, parts, strict=True)]

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> list[Any]:
        """Run the graph for any of its tensors; see ``voxray.graph.session.Runner.run``."""
        return self._runner.run(feeds, outputs)

    def feeds(self, values: Sequence[FloatArray], language: str, *, textnorm: bool) -> dict[str, npt.NDArray[Any]]:
        """Return the graph's inputs for features, padded to the longest.

        Args:
            values: (T, D) float32 for each piece.
            language: of all of them.
            textnorm: of all of them.

        Raises:
            OptionError: when the model has no such language.
        """
        self._check_prompts(language, textnorm=textnorm)
        lengths = np.array([len(one) for one in values], np.int32)
        joined = padded(values)
        layout, steps = self.layout, DEFAULT.lfr_n if self.layout.bank else 1
        numbers = {
            layout.lengths: lengths * steps,
            layout.language: np.full(len(values), self._languages[language]),
            layout.textnorm: np.full(len(values), self._textnorms[bool(textnorm)]),
        }
        feeds = {layout.speech: joined} | {name: whole(self.graph, name, one) for name, one in numbers.items()}
        if layout.bank:  # the graph counts its frames; zeros that nobody reads take no memory
            feeds[layout.bank] = np.zeros((len(values), steps * joined.shape[1], DEFAULT.mels), np.float32)
        return feeds

    @property
    def batches_exactly(self) -> bool:
        """Whether a sound's output does not depend on the others of its batch: dynamic quantisation takes them as one."""
        return self.anatomy.precision != "int8" or self.layout.batch == 1

    def front(self, trace: Trace) -> StackedFront:
        """Return how the sound of a trace of one piece became what the model saw."""
        return StackedFront(trace.features[0], trace.audio, self.cmvn)

    def layer_weights(self, index: int) -> LayerWeights:
        """Return the weights of a layer.

        Of an fp32 file they are kept: views of it, but for the two square matrices that the mixing multiplies with, 2 MB a layer
        of SenseVoice-Small, which a lean model copies each time. Of other files they are dequantised each time.

        Raises:
            AnatomyError: when they are stored in a way that cannot be read.
        """
        if index in self._weights:
            return self._weights[index]
        found = layer_weights(self.graph, self.anatomy.blocks[index])
        if self.anatomy.precision == "fp32" and not self.lean:
            self._weights[index] = found
        return found

    def stream_norms(self) -> dict[int, NormWeights]:
        """Return the norms that stand in the stream itself, by the index of the layer after them."""
        return {index: norm_weights(self.graph, norm) for index, norm in self.anatomy.stream_norms}

    @cached_property
    def gradients(self) -> Gradients:
        """Forward and backward graphs, compiled when they are first needed."""
        return Gradients(self._runner, self.layout.logits, self.layout.speech, self._probes, lean=self.lean)

    def tape(self, trace: Trace, *, frozen: bool) -> tuple[Recording, bool]:
        """Return a forward pass of a trace of one piece that can be run backward, and whether it had to be run.

        Raises:
            ModelError: when an operator has no gradient rule, or the file's weights are rounded so much that their floating-point
                twin decides otherwise.
        """
        evidence = trace.evidence[0]
        replay = (
            evidence if isinstance(evidence, Replay) else self.replay(trace.features[0], trace.language, textnorm=trace.textnorm)
        )
        recording, fresh = replay.tape(frozen=frozen)
        if fresh and not self.is_float:
            self._check_twin(trace.evidence[0].logits(), recording.logits[0])
        return recording, fresh

    def tape_of(self, values: FloatArray, language: str, *, textnorm: bool, frozen: bool) -> Recording | Recordings:
        """Run features (B, T, D) forward so that they can be run backward."""
        size = self.layout.batch or len(values)
        batches = [list(values[first : first + size]) for first in range(0, len(values), size)]
        runs = [self.gradients.record(self.feeds(one, language, textnorm=textnorm), frozen=frozen)[0] for one in batches]
        return runs[0] if len(runs) == 1 else Recordings(runs)

    @property
    def is_float(self) -> bool:
        """Whether gradients are those of the file itself and not of its floating-point twin."""
        return self.gradients.twin is self.graph

    def _probes(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
        """Return two short inputs of different batch and length."""
        noise = np.random.default_rng(0)
        width = self.cmvn.shift.size
        sizes = ((1, 7), (1, 11)) if self.layout.batch else ((2, 7), (3, 11))
        made = [[noise.standard_normal((rows, width)).astype(np.float32)] * items for items, rows in sizes]
        first, second = (self.feeds(values, "auto", textnorm=False) for values in made)
        return first, second

    def _check_twin(self, own: FloatArray, twin: FloatArray) -> None:
        differ = int((own.argmax(axis=1) != twin.argmax(axis=1)).sum())
        agreed = 1.0 - differ / len(own)
        if differ > max(1, (1.0 - LEAST_AGREEMENT) * len(own)):  # a single row may always be on the edge
            raise ModelError(
                f"{self.graph.path.name} is {self.anatomy.precision}: its floating-point twin, on which gradients are taken, "
                f"decides only {agreed:.1%} of the rows alike (at least {LEAST_AGREEMENT:.0%} is wanted); explain the fp32 file, "
                "or use a perturbation method such as occlusion"
            )

    def knocked_out(self, part: Features, language: str, *, textnorm: bool, keep: npt.NDArray[np.bool_]) -> FloatArray:
        """Return output rows (N, V) with some rows hidden from all others in every layer.

        Args:
            part: the features of a piece.
            language: its prompt.
            textnorm: its prompt.
            keep: (N,) whether a row, prompt rows first, may be looked at.
        """
        kept = keep.astype(np.float32)
        feeds = self.feeds([part.values], language, textnorm=textnorm) | {KEYS: kept[None, None, None], FRAMES: kept[None, None]}
        (rows,) = self._knocked.run(feeds, [self.layout.logits])
        return np.asarray(rows[0], np.float32)

    @cached_property
    def _knocked(self) -> Runner:
        graph, anatomy = self.graph, self.anatomy
        if anatomy.precision == "fp16":  # the two inputs are fp32
            graph = self.gradients.twin
            anatomy = find_anatomy(graph, self.layout.logits)
        return Runner(with_knockout(graph, anatomy), self._runner.options)

    def head(self, ids: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Return the weights (D, len(ids)) and biases (len(ids),) of some tokens in the linear head."""
        weight, bias = self._head
        return weight[:, list(ids)], bias[list(ids)]

    @cached_property
    def _head(self) -> tuple[FloatArray, FloatArray]:
        return linear_parts(self.graph, self.anatomy.head)

    def read(self, logits: FloatArray, part: Features, alternatives: int = 0) -> Reading:
        """Turn the output rows of one piece into tokens and tags.

        Args:
            logits: (T + 4, V) float32, as ``logits`` returns them.
            part: the features of the piece.
            alternatives: how many of the likeliest tokens to list at each emission.
        """
        rows = Rows(logits, PROMPTS, self.blank, normalised=self.anatomy.log_softmax)
        tokens = greedy_tokens(rows, part, self.vocabulary, alternatives)
        bank = unstack(np.asarray(part.values / self.cmvn.scale - self.cmvn.shift, np.float32))
        odds = odds_of(logits, tokens, self.blank, PROMPTS, Clock(part.start, part.hop / DEFAULT.lfr_n, 0.0, DEFAULT.lfr_n))
        tokens = retimed(tokens, words_of(tokens), odds, bank)
        start = max(part.start - WINDOW_CENTRE, 0.0)
        end = start + part.hop * len(part.values)
        prompts = range(PROMPTS)
        log_probs = logits[:PROMPTS] - rows.normalisers(prompts)[:, None]
        tags = [self._tag(kind, row, log_probs[row], (start, end)) for row, kind in zip(prompts, TAG_KINDS, strict=True)]
        return Reading(
            tokens=tokens,
            tags=tuple(tags),
            raw_text=self.vocabulary.spell(run.id for run in ctc.runs(logits.argmax(axis=1), self.blank)),
            rows=len(logits),
            prompts=PROMPTS,
            start=start,
            end=end,
        )

    def _tag(self, kind: TagKind, row: int, log_probs: FloatArray, span: tuple[float, float]) -> Tag:
        """Read the tag of a kind at a prompt row (V,) of a piece of sound."""
        labels = self.labels[kind]
        probabilities = np.exp(np.array([log_probs[index] for index in labels.values()], np.float64))
        mass = float(probabilities.sum())
        ranked = sorted(zip(labels, (probabilities / mass).tolist(), strict=True), key=lambda pair: -pair[1])
        return Tag(
            kind=kind,
            label=ranked[0][0],
            probabilities=dict(ranked),
            mass=min(mass, 1.0),
            emitted=self.vocabulary.pieces[int(log_probs.argmax())],
            row=row,
            start=span[0],
            end=span[1],
        )


class Replay(Inside):
    """Evidence about one piece of sound: kept from the pass itself, or computed again when it is asked for."""

    _model: Recogniser

    def __init__(self, model: Recogniser, part: Features, language: str, *, textnorm: bool) -> None:
        self._model = model
        self._feeds = model.feeds([part.values], language, textnorm=textnorm)
        self._rows = len(part.values) + PROMPTS
        self._logits: FloatArray | None = None
        self._attention: dict[int, FloatArray] = {}
        self._tapes: dict[bool, Recording] = {}
        self._tensors: dict[tuple[str, int], FloatArray] = {}

    def tape(self, *, frozen: bool) -> tuple[Recording, bool]:
        """Return a forward pass that can be run backward, and whether it had to be run."""
        fresh = frozen not in self._tapes
        if fresh:
            self._tapes = {frozen: self._model.gradients.record(self._feeds, frozen=frozen)[0]}  # one is large enough
        return self._tapes[frozen], fresh

    def record(
        self, layers: Sequence[int], budget: int, tensors: Sequence[str] = (), *, gradients: bool = False
    ) -> tuple[FloatArray, int]:
        """Run the piece and keep as much of it as the budget allows: everything, or else the logits, or else nothing.

        Args:
            layers: whose attention to keep.
            budget: bytes.
            tensors: names of inner tensors to keep, on top of that, of every layer.
            gradients: whether to keep, on top of that, what an exact explanation needs.

        Returns:
            The logits (N, V) and how many bytes are kept.
        """
        size = 4 * self._rows * len(self._model.vocabulary)
        whole = size + 4 * len(layers) * self._model.heads * self._rows**2
        logits, attention = self._run(layers if whole <= budget else (), tensors, gradients=gradients and self._model.is_float)
        if size <= budget:
            self._logits, self._attention = logits, attention
        return logits, whole if whole <= budget else size if size <= budget else 0

    def logits(self) -> FloatArray:
        """Return the output rows, (N, V) float32."""
        return self._run(())[0] if self._logits is None else self._logits

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the attention, (layers, H, N, N) float32."""
        missing = sorted(set(layers) - set(self._attention))
        found = self._attention | self._run(missing)[1] if missing else self._attention
        return found[layers[0]][None] if len(layers) == 1 else np.stack([found[layer] for layer in layers])

    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Return an inner tensor of some layers, (N, D) float32 each.

        Raises:
            OptionError: when a layer has no tensor of that name.
        """
        names = [self._inner_name(name, layer) for layer in layers]
        kept = [self._tensors.get((name, layer)) for layer in layers]
        found = [one for one in kept if one is not None]
        if len(found) < len(kept):
            found = [np.asarray(one[0], np.float32) for one in self._model.run(self._feeds, names)]
        return found

    def _run(
        self, layers: Sequence[int], tensors: Sequence[str] = (), *, gradients: bool = False
    ) -> tuple[FloatArray, dict[int, FloatArray]]:
        """Run the piece; return its logits (N, V) and the attention (H, N, N) of each layer, and keep what else is asked for."""
        names = [self._model.anatomy.blocks[layer].probabilities for layer in layers]
        inner = {(name, layer): self._inner_name(name, layer) for name in tensors for layer in range(self._model.layers)}
        if gradients:
            recording, found = self._model.gradients.record(self._feeds, [*names, *inner.values()], frozen=True)
            self._tapes, logits = {True: recording}, recording.logits
        else:
            logits, *found = self._model.run(self._feeds, [self._model.layout.logits, *names, *inner.values()])
        self._tensors |= {key: np.asarray(one[0], np.float32) for key, one in zip(inner, found[len(names) :], strict=True)}
        return logits[0], {layer: np.asarray(one[0], np.float32) for layer, one in zip(layers, found, strict=False)}


def _vocabulary_size(graph: Graph, anatomy: Anatomy) -> int:
    bias, weight = graph.shape(anatomy.head.bias), graph.shape(anatomy.head.weight)
    if bias is not None and len(bias) == 1:  # weights of 4 bits are packed, their bias is not
        return bias[0]
    if weight is None or len(weight) != 2:
        raise ModelError(f"{graph.path}: the size of its vocabulary cannot be told from its head; use the file as exported")
    return weight[1]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a file says of its prompts, by the keys of sherpa-onnx, and where it says so."""

    told: dict[str, str]
    place: str


def _settings(graph: Graph) -> Settings:
    """Return the settings in a file's metadata, or else in the ``config.json`` beside it.

    Raises:
        ModelError: when the ``config.json`` of a SenseVoice cannot be read.
    """
    path = graph.path.parent / "config.json"
    if graph.metadata or not path.is_file() or path.stat().st_size > LARGEST_CONFIG:
        return Settings(graph.metadata, f"{graph.path}: its metadata")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict) or told.get("model_type") != "sensevoice":  # many tools keep a file of this name
            return Settings({}, str(path))
        languages = {f"lang_{name}": str(row) for name, row in dict(told.get("languages") or {}).items()}
        norms = dict(told.get("textnorm") or {})
        rows = {"with_itn": norms.get("withitn"), "without_itn": norms.get("woitn"), "blank_id": told.get("blank_token_id")}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is no readable configuration ({error}); copy or download it again") from error
    return Settings(languages | {name: str(row) for name, row in rows.items() if row is not None}, str(path))


def _languages(settings: Settings) -> dict[str, int]:
    """Return the prompt row of each language, from the settings where they tell it."""
    named = [key for key in settings.told if key.startswith("lang_")]
    rows = {key[5:]: _number(settings, key, 0) for key in named}
    if rows and "auto" not in rows:
        raise ModelError(f"{settings.place} has languages but no lang_auto; export it again")
    return rows or dict(LANGUAGES)


def _number(settings: Settings, key: str, default: int) -> int:
    """Return a whole number of the settings, or the default where it is not there."""
    text = settings.told.get(key, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise ModelError(f"{settings.place} says {key} {text[:40]!r}, a whole number was expected; export it again") from error


def _labels(vocabulary: Vocabulary, kind: TagKind) -> dict[str, int]:
    """Return the id of each label of a kind.

    Raises:
        ModelError: when the vocabulary has none.
    """
    if kind == "language":
        found = {name: index for name, index in vocabulary.tags.items() if LANGUAGE_TAG.fullmatch(name)}
    else:
        names = {"emotion": EMOTIONS, "event": EVENTS, "textnorm": TEXTNORMS}[kind]
        found = {name: vocabulary.tags[name] for name in names if name in vocabulary.tags}
    if not found:
        raise ModelError(f"the tokens hold no {kind} tag, so they belong to no SenseVoice; use the model's own tokens file")
    return found
