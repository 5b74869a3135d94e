"""Paraformer from its ONNX file: recognition in one pass, and the evidence for it.

A SANM encoder hears the sound; each of its frames gets a weight (its alpha), and whenever the running sum of the weights passes a
whole number a token fires: its embedding is the weighted mean of the frames since the last one (continuous integrate-and-fire,
CIF). A decoder refines all tokens at once, looking back at the frames by cross-attention. So the output has one row a token.

Time: frame k of sound is the stack of the fbank windows 6k-3 to 6k+3, centre ``60 k + 12.5`` ms, as with SenseVoice. A token
spans the time in which 5 % to 95 % of it is collected: all of it would reach into the pauses, whose alphas are small but not 0.
Files with timestamp outputs fire a second time on frames of 20 ms; there a token lasts from its own firing to the next one,
30 ms earlier than they come out, as FunASR prints it.

Text: rows that say ``<blank>`` or ``</s>`` are no tokens, and of the rest the last ``predictor_bias`` (``config.yaml``) are cut off
where no row was left out, as funasr_onnx does. sherpa-onnx stops at the first ``</s>`` instead; trained models put it last.

**Source:** Gao et al. 2022, "Paraformer"; FunASR ``funasr/models/paraformer``, ``bicif_paraformer`` and ``seaco_paraformer``
(``export_meta.py`` of each); ``runtime/python/onnxruntime/funasr_onnx/paraformer_bin.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.audio import load_audio
from voxray.front import StackedFront
from voxray.frontend import DEFAULT, Cmvn, features
from voxray.graph.anatomy import Anatomy
from voxray.graph.decoder import (
    Decoder,
    DecoderProof,
    cif_weights,
    evidence_of,
    find_alphas,
    find_decoder,
    find_encoder,
    prove_decoder,
    without_decoder,
)
from voxray.graph.graph import Graph
from voxray.graph.placing import one_place, places, with_places
from voxray.graph.proof import Proof, prove
from voxray.graph.session import Runner, RunOptions
from voxray.graph.weights import linear_weight
from voxray.models.family import Family, Inside, head_norms, padded, read_normalisation
from voxray.trace import Trace
from voxray.transcript import Reading, likeliest
from voxray.types import (
    AnatomyError,
    Audio,
    Features,
    FloatArray,
    ModelError,
    OptionError,
    Token,
)
from voxray.vocabulary import Vocabulary, read_vocabulary

WINDOW_CENTRE = 0.0125  # s; the middle of the first 25 ms window
EDGE = 0.05  # share of a token that may be collected before its start and after its end
BLANK, START, END = 0, 1, 2  # ids, where the vocabulary does not name them
FIRED = 1 - 1e-4  # from where on an upsampled frame has fired; FunASR timestamp_utils.py
SHIFT = -1.5  # upsampled frames between a firing and the time that is printed for it; likewise
LONGEST_TOKEN = 30  # upsampled frames; likewise
EMBEDDERS = ("model_eb.onnx", "model_eb_quant.onnx")
HOTWORD_LENGTH = 10  # pieces
GIVING = (
    "as many tokens fire as in the whole sound, each from its own stretch: the frame weights there are scaled to the sum that they "
    "had, a hundredth of the original ones mixed in for sound with next to no weight of its own"
)
CLIPS = Path(__file__).parent.parent / "assets" / "clips"


@dataclass(frozen=True, slots=True)
class Layout:
    """The graph's inputs and outputs.

    Attributes:
        name: who exports so: ``funasr``, or ``sherpa-onnx`` where the metadata carry the normalisation.
        speech: (B, T, 560) float32, stacked and normalised features.
        lengths: (B,) whole numbers.
        hotwords: (B, W, D) float32, embedded hotwords (SeACo and contextual models); else empty.
        logits: (B, U, V) float32.
        count: (B,) tokens of each item.
        alphas: the inner tensor of frame weights.
        peaks: (B, 3 T) float32, where tokens fire on upsampled frames; else empty.
    """

    name: str
    speech: str
    lengths: str
    hotwords: str
    logits: str
    count: str
    alphas: str
    peaks: str


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What one pass made of one piece.

    Attributes:
        logits: (U, V) float32.
        alphas: (T,) or, with the tail frame, (T + 1,) float32.
        peaks: where tokens fire on upsampled frames; empty where the file does not tell.
    """

    logits: FloatArray
    alphas: FloatArray
    peaks: FloatArray


class Pieces(Vocabulary):
    """The tokens of a Paraformer: ``@@`` at its end joins a piece of a word to the next one; all else is written sign by sign."""

    def encode(self, text: str, *, after_space: bool = False) -> tuple[int, ...]:  # noqa: ARG002
        """Return the ids of the fewest pieces that spell a text; words that are not there as written are tried in small letters.

        Args:
            text: to spell.
            after_space: changes nothing: no piece holds a space.

        Raises:
            OptionError: when no row of pieces spells it.
        """
        found: list[int] = []
        for spells, letters in groupby("".join(f" {part} " for part in text.split()), _is_letter):
            run = "".join(letters)
            signs = tuple(self.ids.get(one, -1) for one in run if not one.isspace())
            parts = (self._word(run) or self._word(run.lower())) if spells else signs
            if (spells and not parts) or -1 in parts:
                raise OptionError(f"this model's vocabulary cannot spell {text!r}; give a wording that it could have recognised")
            found += parts
        if not found:
            raise OptionError(f"there is nothing to spell in {text!r}; give some words")
        return tuple(found)

    def _word(self, word: str) -> tuple[int, ...]:
        """Return the ids of the fewest pieces that spell a word; none where there are none."""
        best: list[tuple[int, ...] | None] = [()]
        for end in range(1, len(word) + 1):
            joined = "@@" if end < len(word) else ""
            pieces = [(best[start], self.ids.get(word[start:end] + joined)) for start in range(end)]
            ways = [(*before, piece) for before, piece in pieces if before is not None and piece is not None]
            best.append(min(ways, key=len, default=None))
        return best[-1] or ()


def recognise(graph: Graph) -> Layout | None:
    """Return the layout of a graph if it is a Paraformer: told by type and shape of what goes in and out, and by its CIF.

    Their names are not looked at: features and lengths go in, rows of tokens and their count come out, and the count is the
    rounded sum of one weight a frame.
    """
    speech = [
        name for name, (kind, shape) in graph.inputs.items() if _is_float(kind) and shape[2:] == (DEFAULT.lfr_m * DEFAULT.mels,)
    ]
    others = [name for name, (kind, shape) in graph.inputs.items() if _is_float(kind) and len(shape) == 3 and name not in speech]
    lengths = [name for name, (kind, shape) in graph.inputs.items() if not _is_float(kind) and len(shape) == 1]
    logits = [name for name, (kind, shape) in graph.outputs.items() if _is_float(kind) and len(shape) == 3]
    fine = [name for name, (kind, shape) in graph.outputs.items() if _is_float(kind) and len(shape) == 2]
    if (len(speech), len(lengths), len(logits)) != (1, 1, 1) or len(others) > 1:
        return None
    if len(speech) + len(lengths) + len(others) != len(graph.inputs):
        return None
    counts = {name: find_alphas(graph, name) for name, (_, shape) in graph.outputs.items() if len(shape) == 1}
    found = [(name, alphas) for name, alphas in counts.items() if alphas is not None]
    if len(found) != 1:
        return None
    return Layout(
        name="sherpa-onnx" if "neg_mean" in graph.metadata else "funasr",
        speech=speech[0],
        lengths=lengths[0],
        hotwords=others[0] if others else "",
        logits=logits[0],
        count=found[0][0],
        alphas=found[0][1],
        peaks=fine[1] if len(fine) == 2 else "",  # FunASR writes the upsampled weights before their peaks
    )


def _is_float(kind: int) -> bool:
    return kind in (1, 10, 11)  # TensorProto.FLOAT, FLOAT16, DOUBLE


class Recogniser(Family):
    """A Paraformer model, opened and proven.

    Attributes:
        anatomy: what its encoder is made of.
        decoder: its cross-attention and its CIF.
        proof: how well the encoder was confirmed when the model was opened.
        decoder_proof: how well the decoder was.
        vocabulary: its tokens.
        cmvn: mean and variance normalisation of its features.
        bias: how many tokens at the end are cut off (``predictor_bias``).
        blank: id of the piece that stands for nothing.
    """

    family, giving = "paraformer", GIVING

    def __init__(self, graph: Graph, options: RunOptions | None = None) -> None:
        layout = recognise(graph)
        if layout is None:
            raise ModelError(f"{graph.path} is no Paraformer: its inputs are {', '.join(graph.inputs)}")
        self.graph, self.layout = graph, layout
        self.anatomy: Anatomy = find_encoder(graph, layout.logits)
        self.decoder: Decoder = find_decoder(graph, self.anatomy, layout.alphas)
        self.vocabulary = Pieces(read_vocabulary(graph.path.parent, _vocabulary_size(graph, self.anatomy, layout)).pieces)
        self.cmvn: Cmvn = read_normalisation(graph)
        self.bias = _predictor_bias(graph.path.parent / "config.yaml")
        ids = self.vocabulary.ids
        self.blank, self._silent = ids.get("<blank>", BLANK), {ids.get("<blank>", BLANK), ids.get("</s>", END)}
        self._unwritten = {ids.get("<s>", START), *(ids[one] for one in ("<unk>", "<OOV>") if one in ids)}
        together = [one.probabilities for one in self.anatomy.blocks] + [one.probabilities for one in self.decoder.blocks]
        self._runner = Runner(graph, options, together)
        self._hotwords: tuple[str, ...] = ()
        self._embedded = self._embed(())
        # Each session is gone before the next one opens: a large model is never in memory twice.
        feeds, self.decoder_proof = self._prove_decoder()
        self.proof: Proof = prove(graph, self.anatomy, self._runner, feeds)

    def __repr__(self) -> str:
        return (
            f"Paraformer({self.name!r}, {self.layout.name}, {self.anatomy.precision}, {self.layers} layers x {self.heads} heads, "
            f"decoder {self.cross_shape[0]} x {self.cross_shape[1]})"
        )

    @property
    def exporter(self) -> str:
        """Who writes such files."""
        return self.layout.name

    @property
    def languages(self) -> tuple[str, ...]:
        """A Paraformer is told no language."""
        return ("auto",)

    @property
    def cross_shape(self) -> tuple[int, int]:
        """Layers of cross-attention, and heads in each."""
        return len(self.decoder.blocks), self.decoder_proof.heads

    @property
    def labels(self) -> dict[str, dict[str, int]]:
        """A Paraformer decides no tags."""
        return {}

    @property
    def batches_exactly(self) -> bool:
        """Whether a sound's output does not depend on the others of its batch: dynamic quantisation takes them as one."""
        return self.anatomy.precision != "int8"

    @property
    def hotwords(self) -> tuple[str, ...]:
        """Words that the model is told to listen for; they can be set on models that come with their embedding model.

        Raises:
            OptionError: when the model takes no hotwords, or the model that embeds them is not beside it.
        """
        return self._hotwords

    @hotwords.setter
    def hotwords(self, words: Sequence[str]) -> None:
        """Embed other hotwords, to be listened for from now on."""
        chosen = (words,) if isinstance(words, str) else tuple(words)
        if chosen and not self.layout.hotwords:
            raise OptionError(f"{self.name} takes no hotwords; use a SeACo or contextual Paraformer")
        self._embedded, self._hotwords = self._embed(chosen), chosen

    def instruct(self, *, task: str = "transcribe", timestamps: bool = False, hotwords: Sequence[str] = ()) -> None:
        """Say which hotwords to listen for from now on; it neither translates nor writes timestamps.

        Raises:
            OptionError: when this Paraformer takes no hotwords, or something else is asked for.
        """
        super().instruct(task=task, timestamps=timestamps)
        self.hotwords = tuple(hotwords)

    def describe(self) -> dict[str, Any]:
        """Return what the file is made of and how well that was confirmed, as JSON can hold it."""
        cross = [
            {"index": block.index, "label": block.label, "rebuild_error": error}
            for block, error in zip(self.decoder.blocks, self.decoder_proof.rebuild_errors, strict=True)
        ]
        return super().describe() | {
            "vocabulary": len(self.vocabulary),
            "tags": {},
            "decoder": {
                "layers": self.cross_shape[0],
                "heads": self.cross_shape[1],
                "row_sum_error": self.decoder_proof.row_sum_error,
                "embedding_error": self.decoder_proof.embedding_error,
                "timestamps": bool(self.layout.peaks),
                "hotwords": bool(self.layout.hotwords),
                "blocks": cross,
            },
        }

    def replay(self, part: Features, language: str, *, textnorm: bool) -> Replay:
        """Return evidence about one piece that is computed from its features when it is asked for."""
        self._check_prompts(language, textnorm=textnorm)
        return Replay(self, part)

    def logits(self, parts: Sequence[Features], language: str = "auto", *, textnorm: bool = False) -> list[FloatArray]:
        """Run the model on features, padded to the longest; (U, V) float32 for each, one row a token."""
        self._check_prompts(language, textnorm=textnorm)
        return [one.logits for one in self._listen(parts, language, textnorm=textnorm)]

    def front(self, trace: Trace) -> StackedFront:
        """Return how the sound of a trace of one piece became what the model saw."""
        return StackedFront(trace.features[0], trace.audio, self.cmvn)

    def forced(
        self, parts: Sequence[Features], trace: Trace, language: str = "auto", *, textnorm: bool = False
    ) -> list[FloatArray]:
        """Run other features while as many tokens fire as on a trace's own, each from its own stretch of sound.

        Features of another length have no such stretches: there the weights of all frames together are scaled.

        Args:
            parts: other versions of the sound.
            trace: of one piece.
            language: as for ``transcribe``.
            textnorm: as for ``transcribe``.

        Returns:
            (U, V) float32 for each; of the trace's own features its own rows.

        Raises:
            ModelError: when another number of tokens fires even so.
        """
        self._check_prompts(language, textnorm=textnorm)
        own, lengths = trace.features[0], {len(part.values) for part in parts}
        if len(lengths) != 1:
            return [one for part in parts for one in self.forced([part], trace, language, textnorm=textnorm)]
        evidence = trace.evidence[0] if isinstance(trace.evidence[0], Replay) else Replay(self, own)
        count, alphas = len(evidence.logits()), evidence.alphas()
        if not count:
            return [evidence.logits()] * len(parts)
        longer = max(lengths) - len(own.values)
        held = one_place(alphas, len(alphas) + longer) if longer else places(alphas, count)
        feeds = self.feeds([part.values for part in parts]) | {name: np.stack([one] * len(parts)) for name, one in held.items()}
        logits, counts = self._placed.run(feeds, [self.layout.logits, self.layout.count])
        if any(int(one) != count for one in counts):
            raise ModelError(
                f"{self.name}: {counts.min():.0f} to {counts.max():.0f} tokens fire where {count} were asked for, so this sound "
                "cannot be explained; cut it elsewhere"
            )
        return [one[:count] for one in logits]

    @cached_property
    def _placed(self) -> Runner:
        return Runner(with_places(self.graph, self.layout.alphas), self._runner.options)

    def read(self, heard: Heard, part: Features, alternatives: int = 0) -> Reading:
        """Turn the output of one piece into tokens.

        Args:
            heard: what the pass gave.
            part: the features of the piece.
            alternatives: how many of the likeliest tokens to list at each.
        """
        count = len(heard.logits)
        ids = heard.logits.argmax(axis=1)
        spoken = [row for row in range(count) if int(ids[row]) not in self._silent][: max(count - self.bias, 0)]
        rows = [row for row in spoken if int(ids[row]) not in self._unwritten]
        texts = spelled([self.vocabulary.pieces[int(ids[row])] for row in rows])
        norms = np.zeros(count) if self.anatomy.log_softmax or not count else ctc.log_normaliser(heard.logits)
        start = max(part.start - WINDOW_CENTRE, 0.0)
        spans = token_spans(heard, part)
        tokens = [
            Token(
                id=int(ids[row]),
                text=text,
                start=max(float(spans[row, 0]), 0.0),
                end=float(spans[row, 1]),
                rows=(row, row + 1),
                peak=row,
                log_prob=float(heard.logits[row, ids[row]] - norms[row]),
                alternatives=likeliest(heard.logits[row], float(norms[row]), self.vocabulary, alternatives),
            )
            for row, text in zip(rows, texts, strict=True)
        ]
        return Reading(
            tokens=tuple(tokens),
            tags=(),
            raw_text="".join(texts),
            rows=count,
            prompts=0,
            start=start,
            end=start + part.hop * len(part.values),
        )

    def feeds(self, values: Sequence[FloatArray]) -> dict[str, npt.NDArray[Any]]:
        """Return the graph's inputs for features (T, 560) of each piece, padded with zeros to the longest as FunASR does it."""
        lengths = np.array([len(one) for one in values])
        kind = np.int64 if self.graph.inputs[self.layout.lengths][0] == 7 else np.int32  # TensorProto.INT64
        result: dict[str, npt.NDArray[Any]] = {self.layout.speech: padded(values), self.layout.lengths: lengths.astype(kind)}
        if self.layout.hotwords:
            result[self.layout.hotwords] = np.repeat(self._embedded[None], len(values), axis=0)
        return result

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Run the graph for any of its tensors; see ``voxray.graph.session.Runner.run``."""
        return self._runner.run(feeds, outputs)

    def run_encoder(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Run the graph without its decoder, for the alphas and for tensors of the encoder."""
        needed = (self.layout.speech, self.layout.lengths)
        runner = Runner(self._encoder, self._runner.options)  # seldom needed: not worth a session that stays open
        return runner.run({name: feeds[name] for name in needed}, outputs)

    @cached_property
    def _encoder(self) -> Graph:
        blocks = self.anatomy.blocks
        inner = [name for block in blocks for name in (block.probabilities, *block.tensors.values())]
        return without_decoder(self.graph, [self.layout.alphas, *inner])

    def _features(self, audio: Audio) -> Features:
        return features(audio, self.cmvn)

    def _listen(self, parts: Sequence[Features], language: str, *, textnorm: bool) -> list[Heard]:
        """Run the model on pieces together; those of a batch that fails, one by one."""
        feeds = self.feeds([part.values for part in parts])
        layout = self.layout
        outputs = [layout.logits, layout.count, layout.alphas, *([layout.peaks] if layout.peaks else [])]
        try:
            logits, counts, alphas, *peaks = self.run(feeds, outputs)
        except ModelError:
            if len(parts) == 1:
                return [self.silent(feeds)]
            return [one for part in parts for one in self._listen([part], language, textnorm=textnorm)]
        return [
            self.heard(logits[at], int(counts[at]), alphas[at], [one[at] for one in peaks], len(part.values))
            for at, part in enumerate(parts)
        ]

    def heard(self, logits: FloatArray, count: int, alphas: FloatArray, peaks: Sequence[FloatArray], frames: int) -> Heard:
        """Return what one item of a batch gave, its padding cut off."""
        fine = peaks[0][: frames * (len(peaks[0]) // max(len(alphas) - 1, 1))] if peaks else np.zeros(0, np.float32)
        return Heard(logits[:count], alphas[: frames + 1].astype(np.float32), fine)

    def silent(self, feeds: Mapping[str, Any]) -> Heard:
        """Return what a piece without a token gave; most exports cannot run their decoder on nothing.

        Raises:
            ModelError: when the model fails for another reason than having no token.
        """
        (alphas,) = self.run_encoder(feeds, [self.layout.alphas])
        if np.floor(alphas[0].sum()) > 0:
            self.run(feeds, [self.layout.logits])  # says again what is wrong
        return Heard(np.zeros((0, len(self.vocabulary)), np.float32), alphas[0].astype(np.float32), np.zeros(0, np.float32))

    def _check_prompts(self, language: str, *, textnorm: bool) -> None:
        if language not in self.languages:
            raise OptionError(f"a Paraformer is told no language, got {language!r}; leave it at auto")
        if textnorm:
            raise OptionError("a Paraformer normalises no text; leave textnorm off")

    def _prove_decoder(self) -> tuple[dict[str, npt.NDArray[Any]], DecoderProof]:
        """Return a short input on which tokens fire, and the proof on it: noise, or speech where the model hears none in noise.

        Raises:
            AnatomyError: when the decoder cannot be proven.
        """
        names = evidence_of(self.decoder)
        runner = Runner(self.graph, self._runner.options)
        for make in (self._noise, self._speech):
            feeds = self.feeds([make()])
            try:
                count, *tensors = runner.run(feeds, [self.layout.count, *names])
            except ModelError:  # without a token most decoders fail
                self.silent(feeds)
                continue
            values = dict(zip(names, tensors, strict=True))
            if values[self.decoder.alphas][0].sum() >= 1.5:  # away from where rounding decides
                return feeds, prove_decoder(self.graph, self.anatomy, self.decoder, values, int(count[0]))
        raise AnatomyError(
            f"{self.graph.path.name}: no token fires on speech, so its decoder cannot be proven; check that am.mvn belongs to it"
        )

    def _noise(self) -> FloatArray:
        return np.asarray(np.random.default_rng(0).standard_normal((24, self.cmvn.shift.size)), np.float32)

    def _speech(self) -> FloatArray:
        return features(load_audio(sorted(CLIPS.glob("zh_*.wav"))[0]), self.cmvn).values

    def _embed(self, words: Sequence[str]) -> FloatArray:
        """Return the embeddings of hotwords, (words + 1, D) float32; the last stands for no hotword, as in FunASR.

        Raises:
            OptionError: when the model takes hotwords but the model that embeds them is not beside it.
        """
        if not self.layout.hotwords:
            return np.zeros((0, 0), np.float32)
        folder = self.graph.path.parent
        path = next((folder / name for name in EMBEDDERS if (folder / name).is_file()), None)
        if path is None:
            raise ModelError(
                f"{self.graph.path} takes hotwords, whose embeddings (even that of none) come from {EMBEDDERS[0]}; "
                "put that file beside the model, or use a Paraformer without hotwords"
            )
        unknown = self.vocabulary.ids.get("<unk>", len(self.vocabulary) - 1)
        pieces = [[self.vocabulary.ids.get(letter, unknown) for letter in word][:HOTWORD_LENGTH] for word in words]
        rows = [*filter(None, pieces), [self.vocabulary.ids.get("<s>", START)]]
        padded = np.array([row + [0] * (HOTWORD_LENGTH - len(row)) for row in rows], np.int32)
        graph = Graph(path)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ModelError(f"{path} takes {', '.join(graph.inputs)}; one input of hotwords and one output was expected")
        (found,) = Runner(graph, self._runner.options).run({next(iter(graph.inputs)): padded}, list(graph.outputs))
        return np.asarray([found[len(row) - 1, at] for at, row in enumerate(rows)], np.float32)


class Replay(Inside):
    """Evidence about one piece of sound: kept from the pass itself, or computed again when it is asked for."""

    _model: Recogniser

    def __init__(self, model: Recogniser, part: Features) -> None:
        self._model, self._part = model, part
        self._feeds = model.feeds([part.values])
        self._heard: Heard | None = None
        self._kept: dict[str, FloatArray] = {}

    def record(
        self, layers: Sequence[int], budget: int, tensors: Sequence[str] = (), *, gradients: bool = False
    ) -> tuple[Heard, int]:
        """Run the piece and keep as much of it as the budget allows: everything, or else the output, or else nothing.

        Args:
            layers: whose self-attention to keep; all cross-attention is kept with it.
            budget: bytes.
            tensors: inner tensors of every encoder layer, to be kept where the budget allows.
            gradients: changes nothing; there are none.

        Returns:
            What was heard, and how many bytes are kept.
        """
        del gradients
        model, frames = self._model, len(self._part.values)
        inner = [self._inner_name(name, layer) for name in tensors for layer in range(model.layers)]
        names = [model.anatomy.blocks[layer].probabilities for layer in layers]
        names += [block.probabilities for block in model.decoder.blocks] if layers else []
        room = 4 * len(layers) * model.heads * frames**2
        heard, found = self._run([*names, *inner] if room <= budget else [])
        size = heard.logits.nbytes + heard.alphas.nbytes
        whole = size + sum(one.nbytes for one in found.values())
        if size <= budget:
            self._heard = heard
        if whole <= budget:
            self._kept = found
        return heard, whole if whole <= budget else size if size <= budget else 0

    def logits(self) -> FloatArray:
        """Return the output rows, (U, V) float32, one a token."""
        return self._said.logits

    def alphas(self) -> FloatArray:
        """Return the frame weights, (T,) float32, or (T + 1,) with the tail frame."""
        return self._said.alphas

    def cif(self) -> npt.NDArray[np.float64]:
        """Return how much of each token comes from each frame, (U, T + 1) float64 with the tail frame; rows sum to 1."""
        return cif_weights(self.alphas(), len(self.logits()))

    def placement(self) -> FloatArray:
        """Return how much of what each token takes from the sound comes from each frame, (U, T) float32; rows sum to 1.

        The tail frame holds no sound and is left out; it is part of the last token only.
        """
        weights = self.cif()[:, : len(self._part.values)]
        sums = weights.sum(axis=1, keepdims=True)
        return np.asarray(np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0), np.float32)

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the encoder's attention, (layers, H, T, T) float32."""
        return self._stacked([self._model.anatomy.blocks[layer].probabilities for layer in layers])

    def cross_attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the decoder's attention from tokens to frames, (layers, H, U, T) float32."""
        if not len(self.logits()):
            return np.zeros((len(layers), self._model.cross_shape[1], 0, len(self._part.values)), np.float32)
        return self._stacked([self._model.decoder.blocks[layer].probabilities for layer in layers])

    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Return an inner tensor of some layers of the encoder, (T, D) float32 each.

        Raises:
            OptionError: when a layer has no tensor of that name.
        """
        names = [self._inner_name(name, layer) for layer in layers]
        found = self._inner(names)
        return [found[one] for one in names]

    def cross_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of each cross-attention head's part of its layer's projection, (layers, H, U) float32."""
        heads = self._model.cross_shape[1]
        if not len(self.logits()):
            return np.zeros((len(layers), heads, 0), np.float32)
        blocks = [self._model.decoder.blocks[layer] for layer in layers]
        found = self._inner([block.context for block in blocks])
        weights = [linear_weight(self._model.graph, block.projection) for block in blocks]
        return head_norms([found[block.context] for block in blocks], weights, heads)

    @property
    def _said(self) -> Heard:
        return self._run([])[0] if self._heard is None else self._heard

    def _stacked(self, names: Sequence[str]) -> FloatArray:
        found = self._inner(names)
        return np.stack([found[name] for name in names])

    def _inner(self, names: Sequence[str]) -> Mapping[str, FloatArray]:
        """Return inner tensors of the piece by name."""
        missing = [name for name in dict.fromkeys(names) if name not in self._kept]
        return self._kept | self._run(missing)[1] if missing else self._kept

    def _run(self, names: Sequence[str]) -> tuple[Heard, dict[str, FloatArray]]:
        """Run the piece; return what was heard and the tensors asked for by name, without those of a decoder that had no token."""
        model, layout = self._model, self._model.layout
        fine = [layout.peaks] if layout.peaks else []
        try:
            logits, count, alphas, *rest = model.run(self._feeds, [layout.logits, layout.count, layout.alphas, *fine, *names])
        except ModelError:
            heard = model.silent(self._feeds)
            own = [name for name in names if name not in {block.probabilities for block in model.decoder.blocks}]
            rest = model.run_encoder(self._feeds, own) if own else []
            return heard, {name: np.asarray(one[0], np.float32) for name, one in zip(own, rest, strict=True)}
        peaks, found = [one[0] for one in rest[: len(fine)]], rest[len(fine) :]
        heard = model.heard(logits[0], int(count[0]), alphas[0], peaks, len(self._part.values))
        return heard, {name: np.asarray(one[0], np.float32) for name, one in zip(names, found, strict=True)}


def token_spans(heard: Heard, part: Features) -> npt.NDArray[np.float64]:
    """Return start and end of each token in seconds, (U, 2) float64.

    Args:
        heard: what the pass gave.
        part: the features of the piece, for the clock.

    **Source:** of firings on upsampled frames: FunASR ``timestamp_utils.py``, ``time_stamp_lfr6_onnx``; its clock counts from the
    start of the first window.
    """
    count, frames = len(heard.logits), len(part.values)
    fires = np.flatnonzero(heard.peaks > FIRED)
    if count and len(fires) == count:
        step = part.hop * frames / len(heard.peaks)
        places = np.append(fires + SHIFT, len(heard.peaks))
        ends = np.minimum(places[1:], places[:-1] + LONGEST_TOKEN)
        ends[-1] = min(ends[-1], len(heard.peaks))
        return np.asarray(part.start - WINDOW_CENTRE + step * np.stack([places[:-1], ends], axis=1), np.float64)
    sums = np.concatenate([[0.0], np.cumsum(heard.alphas[:frames].astype(np.float64))])
    wanted = np.arange(count)[:, None] + np.array([EDGE, 1 - EDGE])
    return np.asarray(part.start - part.hop / 2 + part.hop * np.interp(wanted, sums, np.arange(frames + 1)), np.float64)


def spelled(pieces: Sequence[str]) -> list[str]:
    """Return the text of each piece so that, joined, they read as FunASR writes them.

    ``@@`` at its end joins a piece to the next one; words of letters are parted by a space from one another, and from nothing
    else; letters that stand alone one after another are written as one abbreviation in capitals.

    **Source:** the behaviour of ``sentence_postprocess`` in FunASR ``funasr_onnx/utils/postprocess_utils.py``, but for a ``@@``
    piece that no letters follow, which stays where it stands.
    """
    words = list(_words(pieces))
    plain_texts = [piece.replace("@@", "") for piece in pieces]
    spells = [_is_word(pieces[word[0]]) for word in words]
    letters = [len(word) == 1 and re.fullmatch("[A-Za-z]", plain_texts[word[0]]) is not None for word in words]
    texts = list(plain_texts)
    for index, word in enumerate(words):
        before = index > 0 and spells[index - 1]
        joined = letters[index] and index > 0 and letters[index - 1]
        if joined or (letters[index] and index + 1 < len(words) and letters[index + 1]):
            texts[word[0]] = texts[word[0]].upper()
        if spells[index] and before and not joined:
            texts[word[0]] = f" {texts[word[0]]}"
    return texts


def _words(pieces: Sequence[str]) -> Iterator[list[int]]:
    """Yield the places of the pieces of each word."""
    word: list[int] = []
    for index, piece in enumerate(pieces):
        if word and not _is_word(piece):
            yield word
            word = []
        word.append(index)
        if "@@" not in piece:
            yield word
            word = []
    if word:
        yield word


def _is_word(piece: str) -> bool:
    """Tell whether a piece is written with letters, as a word or a part of one: neither Hanzi nor digits."""
    return "@@" in piece or all(map(_is_letter, piece))


def _is_letter(sign: str) -> bool:
    return (sign.isalpha() and not "一" <= sign <= "鿿") or sign == "'"


def _vocabulary_size(graph: Graph, anatomy: Anatomy, layout: Layout) -> int:
    told = graph.outputs[layout.logits][1][-1]
    if isinstance(told, int):
        return told
    bias = graph.shape(anatomy.head.bias)
    if bias is None or len(bias) != 1:
        raise ModelError(f"{graph.path}: the size of its vocabulary cannot be told from its head; use the file as exported")
    return bias[0]


def _predictor_bias(path: Path) -> int:
    """Return how many tokens at the end are cut off, as ``config.yaml`` beside the model says; 0 where it does not.

    Raises:
        ModelError: when the file cannot be read.
    """
    if not path.is_file():
        return 0
    try:
        found = re.search(r"^\s*predictor_bias:\s*(\d+)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); copy or download it again") from error
    return int(found[1]) if found else 0
