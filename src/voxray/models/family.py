"""What every family of recogniser does alike: pieces of a sound, transcripts, traces, and saying what it is.

A family says how a piece of sound becomes features, how they are listened to and read, and where the evidence comes from. Cutting
long sound, putting readings together and keeping evidence within a budget is done here, once.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from voxray.audio import load_audio
from voxray.frontend import DEFAULT, Cmvn, read_cmvn
from voxray.graph.anatomy import Anatomy
from voxray.graph.graph import Graph
from voxray.graph.proof import Proof
from voxray.graph.session import Runner, RunOptions
from voxray.graph.weights import linear_weight
from voxray.trace import Trace
from voxray.transcript import Reading, join
from voxray.types import (
    Audio,
    Evidence,
    Features,
    FloatArray,
    ModelError,
    ModelInfo,
    OptionError,
    Progress,
    Transcript,
    choose,
    plain,
)
from voxray.vad import voice_segments

LONGEST_PIECE = 30.0  # s; the models were trained on no more
ALTERNATIVES = 5  # listed at each token of a trace
KEEP = 384 << 20  # bytes of evidence that a trace keeps from its own pass; 30 s of SenseVoice-Small take 335 MB


class Recorder(Evidence, Protocol):
    """Evidence that can be kept from the pass that recognises its piece."""

    def record(
        self, layers: Sequence[int], budget: int, tensors: Sequence[str] = (), *, gradients: bool = False
    ) -> tuple[Any, int]:
        """Run the piece and keep as much of it as the budget allows.

        Args:
            layers: whose self-attention to keep.
            budget: bytes.
            tensors: names of inner tensors to keep, on top of that, of every layer.
            gradients: whether to keep, on top of that, what an exact explanation needs.

        Returns:
            What the family's ``read`` takes, and how many bytes of the budget are taken.
        """


class Inside(ABC):
    """Evidence about one piece of sound, as far as every family tells it alike: inner tensors of the encoder."""

    _model: Any

    @abstractmethod
    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Return an inner tensor of some layers of the encoder, (rows, D) float32 each.

        Raises:
            OptionError: when a layer has no tensor of that name.
        """

    def tensor(self, name: str, layers: Sequence[int]) -> FloatArray:
        """Return an inner tensor of the encoder, (layers, rows, D) float32.

        Raises:
            OptionError: when a layer has no tensor of that name, or the layers have different widths.
        """
        found = self.tensors(name, layers)
        widths = sorted({one.shape[-1] for one in found})
        if len(widths) != 1:
            raise OptionError(f"the tensor {name!r} of these layers has the widths {widths}; choose layers of one width")
        return found[0][None] if len(found) == 1 else np.stack(found)

    def head_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of each encoder head's part of its layer's projection, (layers, H, rows) float32.

        Raises:
            OptionError: when they cannot be told.
        """
        model = self._model
        weights = [linear_weight(model.graph, model.anatomy.blocks[layer].projection) for layer in layers]
        return head_norms(self.tensors("context", layers), weights, model.heads)

    def _inner_name(self, name: str, layer: int) -> str:
        """Return what an inner tensor of a layer is called in the graph.

        Raises:
            OptionError: when the layer has no tensor of that name.
        """
        known: Mapping[str, str] = self._model.anatomy.blocks[layer].tensors
        if name not in known:
            raise OptionError(f"no inner tensor is called {name!r}; choose one of {', '.join(known)}")
        return known[name]


class Family(ABC):
    """A recogniser, opened and proven.

    Attributes:
        family: its name.
        normalises: whether it can be asked to write numbers as digits.
        graph: the opened file.
        anatomy: what it is made of.
        proof: how well that was confirmed when the model was opened.
        blank: id of the token that stands for nothing.
    """

    family: ClassVar[str]
    normalises: ClassVar[bool] = False
    graph: Graph
    anatomy: Anatomy
    proof: Proof
    blank: int
    _runner: Runner

    @property
    @abstractmethod
    def exporter(self) -> str:
        """Who writes such files: the name of the layout."""

    @property
    @abstractmethod
    def languages(self) -> tuple[str, ...]:
        """Languages that can be asked for."""

    @property
    def frame_hop(self) -> float | None:
        """Seconds from frame to frame of the encoder, where they are not the rows of the features."""
        return None

    @property
    def cross_shape(self) -> tuple[int, int] | None:
        """Layers of cross-attention and heads in each; None without a decoder."""
        return None

    @property
    def gives(self) -> frozenset[str]:
        """What explanations can be built on; see ``voxray.methods.Needs``."""
        more = () if self.cross_shape else ("split", "gradients", "anatomy")
        return frozenset(("attention", "passes", *more))

    def instruct(self, *, task: str = "transcribe", timestamps: bool = False, hotwords: Sequence[str] = ()) -> None:
        """Say how to recognise from now on, where the family can be told.

        Args:
            task: ``transcribe``, or ``translate`` into English, which a multilingual Whisper can.
            timestamps: whether the model itself writes when each stretch of text begins and ends, as a Whisper can.
            hotwords: words to listen for, which a SeACo or contextual Paraformer can.

        Raises:
            OptionError: when this model cannot.
        """
        if task != "transcribe":
            raise OptionError(f"{self.name} cannot {task}; use a multilingual Whisper")
        if timestamps:
            raise OptionError(f"{self.name} writes no timestamps into its text; use a Whisper, or ask for the times of words")
        if hotwords:
            raise OptionError(f"{self.name} takes no hotwords; use a SeACo or contextual Paraformer")

    @abstractmethod
    def replay(self, part: Features, language: str, *, textnorm: bool) -> Recorder:
        """Return evidence about one piece that is computed from its features when it is asked for.

        Raises:
            OptionError: when the model cannot be asked so.
        """

    @abstractmethod
    def read(self, heard: Any, part: Features, alternatives: int = 0) -> Reading:
        """Turn what a pass made of one piece into tokens and tags.

        Args:
            heard: what a pass gave.
            part: the features of the piece.
            alternatives: how many of the likeliest tokens to list at each.
        """

    @abstractmethod
    def _features(self, audio: Audio) -> Features:
        """Return the features of one piece of sound, of at most ``LONGEST_PIECE``."""

    @abstractmethod
    def _listen(self, parts: Sequence[Features], language: str, *, textnorm: bool) -> list[Any]:
        """Run pieces together; return for each what ``read`` takes."""

    def _check_prompts(self, language: str, *, textnorm: bool) -> None:  # noqa: ARG002
        """Refuse what the model cannot be asked.

        Raises:
            OptionError: when it is.
        """
        if language not in self.languages:
            raise OptionError(f"language {language!r} is not known to this model; choose one of {', '.join(self.languages)}")

    @property
    def layers(self) -> int:
        """Number of attention layers, of the encoder where there is a decoder."""
        return len(self.anatomy.blocks)

    @property
    def heads(self) -> int:
        """Attention heads in each of them."""
        return self.proof.heads

    @property
    def options(self) -> RunOptions:
        """How it is run: threads and execution providers."""
        return self._runner.options

    @property
    def name(self) -> str:
        """Folder and file, as a title shows them."""
        return f"{self.graph.path.parent.name}/{self.graph.path.name}"

    @cached_property
    def info(self) -> ModelInfo:
        """Family, layout, name, precision, and the SHA-256 of the model's files with those of its external data."""
        digest = hashlib.sha256()
        for graph in self.graphs:
            for path in graph.files:
                with path.open("rb") as file:
                    while block := file.read(1 << 22):
                        digest.update(block)
        return ModelInfo(self.family, self.exporter, self.name, self.anatomy.precision, digest.hexdigest())

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph that the model is made of."""
        return (self.graph,)

    def describe(self) -> dict[str, Any]:
        """Return what the file is made of and how well that was confirmed, as JSON can hold it."""
        graph = self.graph
        blocks = [
            {
                "index": block.index,
                "label": block.label,
                "width_in": (graph.shape(block.norm.weight) or (0,))[0],
                "width": (graph.shape(block.taps) or (0,))[0],
                "taps": (graph.shape(block.taps) or (0,))[-1],
                "feed_forward": (graph.shape(block.feed_forward[0].bias) or (0,))[0],
                "residual": block.residual,
                "rebuild_error": error,
            }
            for block, error in zip(self.anatomy.blocks, self.proof.rebuild_errors, strict=True)
        ]
        info: dict[str, Any] = plain(self.info)
        return info | {
            "path": str(graph.path),
            "opset": graph.opset,
            "nodes": len(graph.nodes),
            "layers": self.layers,
            "heads": self.heads,
            "width": blocks[-1]["width"],
            "languages": list(self.languages),
            "stream_norms": [index for index, _ in self.anatomy.stream_norms],
            "device": self._runner.device,
            "logit_difference": self.proof.logit_difference,
            "blocks": blocks,
        }

    def transcribe(
        self, source: Any, language: str = "auto", *, textnorm: bool = False, progress: Progress | None = None
    ) -> Transcript:
        """Recognise one sound.

        Sound of more than 30 s is cut by voice activity into pieces of at most 30 s; times stay absolute.

        Args:
            source: a path, bytes, file object, ``Audio``, or an array at 16 kHz; ``load_audio(array, source_rate=...)`` takes one
                at another rate.
            language: a member of ``languages``.
            textnorm: whether to write punctuation and numbers as digits (inverse text normalisation), where the model can.
            progress: called after each piece.

        Raises:
            AudioError: when the sound cannot be read or is too short.
            OptionError: when the model has no such language, or no text normalisation.
        """
        self._check_prompts(language, textnorm=textnorm)
        audio = load_audio(source)
        readings, parts = [], self._parts(audio)
        for index, part in enumerate(parts):
            (heard,) = self._listen([part], language, textnorm=textnorm)
            readings.append(self.read(heard, part))
            if progress is not None:
                progress(index + 1, len(parts))
        return join(readings, audio.duration)

    def transcribe_batch(
        self, sources: Sequence[Any], language: str = "auto", *, textnorm: bool = False, batch_size: int = 8
    ) -> list[Transcript]:
        """Recognise several sounds, pieces of like length together.

        Padding changes nothing in fp32. An int8 file quantises each batch as a whole, so there its probabilities shift a
        little with the company that a piece keeps.

        Args:
            sources: as for ``transcribe``.
            language: of all of them.
            textnorm: as for ``transcribe``.
            batch_size: pieces in one pass.

        Returns:
            A transcript for each sound, in the order given.

        Raises:
            AudioError: when a sound cannot be read; its name is in the message.
            OptionError: as ``transcribe``, or when the batch size is below 1.
        """
        self._check_prompts(language, textnorm=textnorm)
        if isinstance(sources, (str, bytes)):
            raise OptionError("transcribe_batch takes a list of sounds; put the one sound into a list")
        if batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {batch_size}")
        audios = [load_audio(source) for source in sources]
        parts = [(owner, part) for owner, audio in enumerate(audios) for part in self._parts(audio)]
        order = sorted(range(len(parts)), key=lambda index: len(parts[index][1].values))
        readings: dict[int, Reading] = {}
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            heard = self._listen([parts[index][1] for index in chosen], language, textnorm=textnorm)
            readings |= {index: self.read(one, parts[index][1]) for index, one in zip(chosen, heard, strict=True)}
        return [
            join([readings[index] for index in range(len(parts)) if parts[index][0] == owner], audio.duration)
            for owner, audio in enumerate(audios)
        ]

    def trace(
        self,
        source: Any,
        language: str = "auto",
        *,
        textnorm: bool = False,
        layers: Sequence[int] | None = None,
        keep: int = KEEP,
        gradients: bool = False,
        tensors: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Trace:
        """Recognise one sound and keep what happened inside.

        Args:
            source: as for ``transcribe``.
            language: as for ``transcribe``.
            textnorm: as for ``transcribe``.
            layers: whose self-attention to keep from the pass itself; None for all. The others can be had too: they are computed
                again when they are asked for.
            keep: bytes of output and attention that this trace keeps from the pass itself; what does not fit is computed
                again, piece by piece, when it is asked for. Give less where many traces are held at once.
            gradients: whether to keep from the pass itself what exact relevance needs, where the family has it; without it the
                pass is made again when such an explanation is asked for. About 12 MB for each second of sound with
                SenseVoice-Small.
            tensors: inner tensors of every layer to keep from the pass itself, such as ``input`` and ``value``.
            progress: called after each piece.

        Raises:
            AudioError: when the sound cannot be read or is too short.
            OptionError: as ``transcribe``, or when the model has no such layer or tensor.
        """
        self._check_prompts(language, textnorm=textnorm)
        chosen = [] if layers is not None and not len(layers) else choose(layers, self.layers, "layer")
        audio = load_audio(source)
        parts = self._parts(audio)
        evidence = tuple(self.replay(part, language, textnorm=textnorm) for part in parts)
        readings = []
        for index, (part, one) in enumerate(zip(parts, evidence, strict=True)):
            heard, kept = one.record(chosen, keep, tensors, gradients=gradients)
            keep -= kept
            readings.append(self.read(heard, part, ALTERNATIVES))
            if progress is not None:
                progress(index + 1, len(parts))
        return Trace(
            audio=audio,
            features=tuple(parts),
            transcript=join(readings, audio.duration),
            model=self.info,
            language=language,
            textnorm=textnorm,
            blank=self.blank,
            layers=self.layers,
            heads=self.heads,
            evidence=evidence,
            logits_are_log_probs=self.anatomy.log_softmax,
            decoder=self.cross_shape,
            frame_hop=self.frame_hop,
        )

    def _parts(self, audio: Audio) -> list[Features]:
        """Return the features of each piece of a sound, with times absolute."""
        if audio.duration <= LONGEST_PIECE:
            return [self._features(audio)]
        parts = []
        for start, stop in voice_segments(audio, max_duration=LONGEST_PIECE):
            part = self._features(audio.cut(start, stop))
            parts.append(Features(part.values, part.hop, part.start + start))
        return parts


def padded(values: Sequence[FloatArray]) -> FloatArray:
    """Return features (T, D) of several pieces as one array, (B, T, D), zeros after the shorter ones, as FunASR pads them."""
    if len(values) == 1:
        return values[0][None]
    result = np.zeros((len(values), max(map(len, values)), values[0].shape[1]), np.float32)
    for row, one in zip(result, values, strict=True):
        row[: len(one)] = one
    return result


def head_norms(contexts: Sequence[FloatArray], weights: Sequence[FloatArray], heads: int) -> FloatArray:
    """Return the norm of each head's part of its layer's projection: contexts (rows, D), weights (D, D) -> (layers, H, rows)."""
    norms = []
    for context, weight in zip(contexts, weights, strict=True):
        split = context.reshape(len(context), heads, -1).transpose(1, 0, 2)
        norms.append(np.linalg.norm(split @ weight.reshape(heads, -1, weight.shape[1]), axis=-1))
    return np.asarray(norms, np.float32)


def read_normalisation(graph: Graph) -> Cmvn:
    """Return mean and variance normalisation of stacked features, from the metadata or from ``am.mvn`` beside the model.

    Raises:
        ModelError: when it is missing, damaged or of another width.
    """
    told, width = graph.metadata, DEFAULT.lfr_m * DEFAULT.mels
    if {"neg_mean", "inv_stddev"} <= set(told):
        try:
            cmvn = Cmvn(*(np.array(told[key].split(","), np.float32) for key in ("neg_mean", "inv_stddev")))
        except ValueError as error:
            raise ModelError(f"{graph.path}: the normalisation in its metadata is damaged; export it again") from error
    else:
        cmvn = read_cmvn(graph.path.parent / "am.mvn")
    if len(cmvn.shift) != width:
        raise ModelError(
            f"{graph.path}: its normalisation has {len(cmvn.shift)} numbers, {width} were expected; "
            "use the am.mvn that belongs to this model"
        )
    return cmvn
