"""Whisper from its ONNX files: recognition token by token, and the evidence for it.

An encoder hears 30 s of sound, however short it is. A decoder says what it heard, each token by looking at the tokens before it
and, by cross-attention, at the sound. Its first tokens tell it what to do: ``<|startoftranscript|>``, the language, the task, and
whether to leave timestamps out. The output has one row a token: row i decides what comes after token i, so row 0 decides the
language. Rows and attention are those of one pass over all tokens at once (teacher forcing); the steps that found the tokens gave
the same.

Long sound is cut by voice activity into pieces of up to 30 s, as for every other family. OpenAI's ``transcribe`` seeks to the
last timestamp that the model wrote instead. With pieces, nothing hangs on what was said of the one before, several are heard
together, and silence, on which Whisper makes up text, is left out. A piece is said greedily: there is no sampling, and no second
try at a higher temperature.

Time: frame k of the encoder is centred ``20 k`` ms into its piece. Maps have the frames of the sound alone; what goes to the
silence that fills up the 30 s is told as the share that is missing. Tokens get their times by dynamic time warping over the heads
that are known to align: those of the generation settings or the metadata, of OpenAI's own models by their size, or else the ten
heads of the largest norms. Words then move to the edges of the sound nearby.

**Source:** Radford et al. 2022, "Robust speech recognition via large-scale weak supervision"; OpenAI ``whisper/decoding.py``,
``timing.py``, ``tokenizer.py``; alignment heads ``whisper/__init__.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.dictation import Manner, Size, Task, aligning_heads, find_signs, permitted, settings
from voxray.edges import move_tokens
from voxray.front import LogMelFront
from voxray.frontend import WHISPER_SECONDS, log10_mel, whisper_features
from voxray.graph.graph import Graph
from voxray.graph.session import Runner, RunOptions
from voxray.graph.stepping import Speaker, open_speaker
from voxray.graph.weights import linear_weight
from voxray.graph.whisper import (
    COLUMNS,
    CUT,
    ROWS,
    Attention,
    Ears,
    Encoder,
    Proof,
    branches,
    by_head,
    find_ears,
    find_encoder,
    prove_decoder,
    prove_encoder,
    with_cuts,
)
from voxray.models.family import Family, Inside, head_norms
from voxray.trace import Trace
from voxray.transcript import Reading, likeliest, words_of
from voxray.types import AnatomyError, Audio, Features, FloatArray, IntArray, ModelError, OptionError, Tag, Token, plain
from voxray.vad import VadOptions, voice_segments
from voxray.vocabulary import ByteVocabulary, read_byte_vocabulary
from voxray.warping import closeness, heads_by_norm, spans

SILENCE = "nospeech"  # the label, as SenseVoice calls it
FRAME = 0.02  # s from frame to frame of the encoder
WINDOW = 3000  # rows of features that the encoder takes
TAIL = 2  # frames at the end of the features that hold silence alone
CAPACITY = 448  # tokens, where no file says another number
SILENT, UNSURE = 0.6, -1.0  # no text where "no speech" is likelier than the one and the mean log probability is under the other
TOGETHER = 4  # pieces in one pass of the encoder, which takes 30 s of each
MARKS = frozenset({"fp16", "half", "int8", "uint8", "quant", "quantized", "q8", "int4", "q4", "q4f16", "bnb4"})
"""Of precision, in names of files."""
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5, "int4": 2e-2}
"""Of logits said step by step, relative to their spread: dynamic quantisation rounds one token and several of them differently, and
foreign keys give an error of about 1."""
GIVING = "the decoder is given the tokens of the trace, and each of its rows answers for the next one (teacher forcing)"
UNFIT = "there are no gradients through a Whisper's decoder; choose a perturbation method such as occlusion or shapley"


@dataclass(frozen=True, slots=True)
class Layout:
    """Who exported a file, and what goes into and out of its encoder.

    Attributes:
        name: ``optimum``, or ``sherpa-onnx`` where keys and values of the cross-attention come out.
        ears: inputs and outputs.
    """

    name: str
    ears: Ears


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What was made of one piece.

    Attributes:
        prompt: the tokens that it began with.
        said: the tokens after them, timestamps among them, without the end of the text.
        logits: (N, V) float32, N = prompt and said: row i decides what comes after token i.
        text: places in ``said`` that are no timestamps.
        spans: (n, 2) frames at which each token of the text begins and ends.
    """

    prompt: tuple[int, ...]
    said: tuple[int, ...]
    logits: FloatArray
    text: tuple[int, ...]
    spans: IntArray


def recognise(graph: Graph) -> Layout | None:
    """Return the layout of a graph if it is a Whisper's encoder: told by type and shape of what goes in and out, and by structure.

    Its decoder lies in a file beside it and is found when the model is opened.
    """
    ears = find_ears(graph)
    return None if ears is None else Layout("optimum" if len(ears.states) == 1 else "sherpa-onnx", ears)


class Recogniser(Family):
    """A Whisper, opened and proven.

    Attributes:
        anatomy: what its encoder is made of.
        speaker: its decoder.
        proof: how well the encoder was confirmed when the model was opened.
        decoder_proof: how well the decoder was.
        memory_error: how far logits of one step are from those of all tokens at once, relative to their spread.
        vocabulary: its tokens.
        signs: those that are no text.
        manner: how to say what was heard; may be set.
        aligning: heads that place tokens; None: the ten of the largest norms, found anew for each piece.
        longest: how many tokens a piece may have.
    """

    family, giving = "whisper", GIVING
    anatomy: Encoder  # type: ignore[assignment]
    proof: Proof  # type: ignore[assignment]

    def __init__(self, graph: Graph, options: RunOptions | None = None) -> None:
        layout = recognise(graph)
        if layout is None:
            raise ModelError(f"{graph.path} is no encoder of a Whisper: its inputs are {', '.join(graph.inputs)}")
        self.graph, self.layout, self.manner = graph, layout, Manner()
        self.anatomy = find_encoder(graph)
        self.speaker: Speaker = _find_speaker(graph, self.anatomy.width, options)
        place = graph.path.parent
        folders = [place, place.parent] if place.name == "onnx" else [place]
        generation, config = (settings(folders, name) for name in ("generation_config.json", "config.json"))
        self.vocabulary: ByteVocabulary = read_byte_vocabulary(folders, self._vocabulary_size(config), graph.metadata)
        self.signs = find_signs(self.vocabulary, graph.metadata, generation)
        self.blank = self.signs.end
        self.aligning = aligning_heads(graph.metadata, generation, self._size)
        told = graph.metadata.get("n_text_ctx") or config.get("max_target_positions") or CAPACITY
        self.longest = int(self.speaker.capacity or told) // 2
        cut = with_cuts(graph, self.anatomy)
        self._runner = Runner(cut, options, [one.probabilities + CUT for one in self.anatomy.blocks])
        self.proof, self.decoder_proof, self.memory_error = self._prove()
        if any(head >= self.decoder_proof.heads for _, head in self.aligning or ()):
            raise ModelError(
                f"{graph.path}: the settings name alignment heads beyond the decoder's {self.decoder_proof.heads} heads; "
                "use the settings of this model"
            )

    def __repr__(self) -> str:
        languages = f"{len(self.signs.languages)} languages" if self.signs.languages else "English"
        return (
            f"Whisper({self.name!r}, {self.layout.name}, {self.anatomy.precision}, {self.layers} layers x {self.heads} heads, "
            f"decoder {self.cross_shape[0]} x {self.cross_shape[1]}, {languages})"
        )

    @property
    def name(self) -> str:
        """Folder and file, as a title shows them; hubs keep the files of every model in a folder of one name."""
        place = self.graph.path.parent
        return f"{(place.parent if place.name == 'onnx' else place).name}/{self.graph.path.name}"

    @property
    def exporter(self) -> str:
        """The name of the layout."""
        return self.layout.name

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that can be asked for; ``auto`` takes the one that is likeliest at row 0."""
        return ("auto", *(self.signs.languages or {"en": 0}))

    @property
    def frame_hop(self) -> float:
        """Seconds from frame to frame of the encoder."""
        return FRAME

    @property
    def cross_shape(self) -> tuple[int, int]:
        """Layers of cross-attention, and heads in each."""
        return len(self.speaker.decoder.cross), self.decoder_proof.heads

    @property
    def labels(self) -> dict[str, dict[str, int]]:
        """Ids of every language, and of "no speech", which is decided with them."""
        silence = {SILENCE: self.signs.silence} if self.signs.silence >= 0 else {}
        return {"language": {**self.signs.languages, **silence}} if self.signs.languages else {}

    @property
    def is_float(self) -> bool:
        """Whether the file computes in floating point."""
        return {self.anatomy.precision, self.speaker.decoder.precision} <= {"fp32", "fp16"}

    @property
    def batches_exactly(self) -> bool:
        """Whether a sound's output does not depend on the others of its batch: dynamic quantisation takes them as one."""
        return "int8" not in (self.anatomy.precision, self.speaker.decoder.precision)

    def describe(self) -> dict[str, Any]:
        """Return what the files are made of and how well that was confirmed, as JSON can hold it."""
        info: dict[str, Any] = plain(self.info)
        decoder, width = self.speaker.decoder, self.anatomy.width
        count = len(decoder.own)
        return info | {
            "path": str(self.graph.path),
            "opset": self.graph.opset,
            "nodes": len(self.graph.nodes),
            "vocabulary": len(self.vocabulary),
            "layers": self.layers,
            "heads": self.heads,
            "width": width,
            "mels": self.layout.ears.mels,
            "languages": list(self.languages),
            "tags": {kind: sorted(found) for kind, found in self.labels.items()},
            "stream_norms": [],
            "device": self._runner.device,
            "logit_difference": max(self.proof.logit_difference, self.decoder_proof.logit_difference),
            "blocks": _told_blocks(self.anatomy.blocks, self.proof.rebuild_errors, width),
            "decoder": {
                "files": sorted({str(one.path) for one in self.speaker.graphs}),
                "precision": decoder.precision,
                "layers": self.cross_shape[0],
                "heads": self.cross_shape[1],
                "row_sum_error": self.decoder_proof.row_sum_error,
                "memory_error": self.memory_error,
                "timestamps": self.signs.plain >= 0,
                "aligning": None if self.aligning is None else [list(one) for one in self.aligning],
                "longest": self.longest,
                "blocks": _told_blocks(decoder.cross, self.decoder_proof.rebuild_errors[count:], width),
                "own_blocks": _told_blocks(decoder.own, self.decoder_proof.rebuild_errors[:count], width),
            },
        }

    def replay(self, part: Features, language: str, *, textnorm: bool) -> Replay:
        """Return evidence about one piece that is computed from its features when it is asked for."""
        self._check_prompts(language, textnorm=textnorm)
        return Replay(self, part, language)

    def front(self, trace: Trace) -> LogMelFront:
        """Return how the sound of a trace of one piece became what the model saw."""
        return LogMelFront(trace.features[0], trace.audio)

    def tape(self, trace: Trace, *, frozen: bool) -> Any:  # noqa: ARG002
        """Refuse: gradients through a decoder are not made.

        Raises:
            OptionError: always.
        """
        raise OptionError(UNFIT)

    def logits(self, parts: Sequence[Features], language: str = "auto", *, textnorm: bool = False) -> list[FloatArray]:
        """Run the model on features; (N, V) float32 for each, one row a token, prompt rows first."""
        self._check_prompts(language, textnorm=textnorm)
        return [one.logits for one in self._listen(parts, language, textnorm=textnorm)]

    def forced(
        self, parts: Sequence[Features], trace: Trace, language: str = "auto", *, textnorm: bool = False
    ) -> list[FloatArray]:
        """Return output rows (N, V) of other features when the tokens are given that the trace of one piece has.

        The silence after the sound stays that of the trace: its level hangs on the loudest sound, which a mask may have hidden.

        Args:
            parts: features of the shape of the trace's own.
            trace: of one piece.
            language: of the trace.
            textnorm: of the trace.

        Raises:
            OptionError: when the trace says something that this model, as it is set, does not say.
        """
        self._check_prompts(language, textnorm=textnorm)
        evidence = trace.evidence[0]
        own = evidence if isinstance(evidence, Replay) else Replay(self, trace.features[0], language)
        heard = own.heard()
        before = len(heard.prompt) - 1
        if [(heard.said[at], before + at) for at in heard.text] != [(token.id, token.peak) for token in trace.tokens]:
            raise OptionError(
                f"the trace of {trace.audio.name} has other tokens than {self.name} says in its manner ({self.manner}); trace the "
                "sound again with this model"
            )
        floor = float(trace.features[0].values.min())
        tokens, found = heard.prompt + heard.said, []
        for first in range(0, len(parts), TOGETHER):
            states = self.encode([part.values for part in parts[first : first + TOGETHER]], floor=floor)[0]
            found += [self.given(_pick(states, at), tokens)[0] for at in range(len(parts[first : first + TOGETHER]))]
        return found

    def read(self, heard: Heard, part: Features, alternatives: int = 0) -> Reading:
        """Turn what was said of one piece into tokens and tags.

        Attention tells the tokens' times to a tenth of a second; the words are then moved to the edges that the sound has there.

        Args:
            heard: what was made of the piece.
            part: the features of the piece.
            alternatives: how many of the likeliest tokens to list at each.
        """
        before = len(heard.prompt) - 1
        ids, rows = [heard.said[at] for at in heard.text], [before + at for at in heard.text]
        norms = ctc.log_normaliser(heard.logits[rows]) if rows else np.zeros(0, np.float32)
        times = part.start + FRAME * heard.spans
        tokens = [
            Token(
                id=one,
                text=text,
                start=float(times[at, 0]),
                end=float(times[at, 1]),
                rows=(row, row + 1),
                peak=row,
                log_prob=float(heard.logits[row, one] - norms[at]),
                alternatives=likeliest(heard.logits[row], float(norms[at]), self.vocabulary, alternatives),
            )
            for at, (one, row, text) in enumerate(zip(ids, rows, self.vocabulary.texts(ids), strict=True))
        ]
        frames = sound_frames(len(part.values))
        bank, end = 4 * part.values[: 2 * frames] - 4, part.start + FRAME * frames
        tokens = move_tokens(tokens, words_of(tokens), bank, part.hop, part.start)
        languages = {index: f"<|{name}|>" for name, index in self.signs.languages.items()}
        return Reading(
            tokens=tuple(tokens),
            tags=self._tags(heard.logits[0], (part.start, end), spoken=bool(rows)),
            raw_text="".join(languages.get(one, "") for one in heard.prompt) + self.vocabulary.spell(heard.said),
            rows=len(heard.logits),
            prompts=before,
            start=part.start,
            end=end,
            signs=False,
        )

    def _tags(self, logits: FloatArray, span: tuple[float, float], *, spoken: bool) -> tuple[Tag, ...]:
        """Return the language, which row 0 (V,) decides; nothing of a model that is told none.

        Whisper speaks although it holds "no speech" for likelier; where it does, the label is the likeliest language.
        """
        labels = self.labels.get("language", {})
        if not labels:
            return ()
        shares = np.exp((logits - ctc.log_normaliser(logits[None])[0])[list(labels.values())].astype(np.float64))
        mass = float(shares.sum())
        ranked = sorted(zip(labels, (shares / mass).tolist(), strict=True), key=lambda pair: -pair[1])
        emitted = self.vocabulary.pieces[int(logits.argmax())]
        label = next(name for name, _ in ranked if not spoken or name != SILENCE)
        return (Tag("language", label, dict(ranked), min(mass, 1.0), emitted, 0, *span),)

    # --- Hearing ------------------------------------------------------------------------------------------------------------

    def encode(
        self, values: Sequence[FloatArray], names: Sequence[str] = (), *, floor: float | None = None
    ) -> tuple[list[npt.NDArray[Any]], list[FloatArray]]:
        """Run the encoder on features (F, mels) of some pieces.

        Args:
            values: at most 3000 rows each; silence fills up the rest.
            names: inner tensors to return too; cut attention has the frames of the longest piece.
            floor: of the silence; None for the least value of each piece.

        Returns:
            What the decoder is given of all pieces, and the tensors.
        """
        whole = np.empty((len(values), values[0].shape[1], WINDOW), np.float32)
        for row, one in zip(whole, values, strict=True):
            row[:, : len(one)], row[:, len(one) :] = one.T, one.min() if floor is None else floor
        frames = np.array([sound_frames(max(map(len, values)))], np.int64)
        ears = self.layout.ears
        found = self._runner.run({ears.mel: whole, ROWS: frames, COLUMNS: frames}, [*ears.states, *names])
        count = len(ears.states)
        return found[:count], [np.asarray(one, np.float32) for one in found[count:]]

    def hear(self, states: Sequence[npt.NDArray[Any]], parts: Sequence[Features], language: str) -> list[Heard]:
        """Say what was heard of some pieces.

        Args:
            states: what ``encode`` gave of them.
            parts: their features.
            language: of all of them, or ``auto``.
        """
        prompts = self._prompts(states, len(parts), language)
        said = self._said(states, prompts)
        return [
            self._placed(_pick(states, at), tuple(prompts[at].tolist()), one, sound_frames(len(part.values)))
            for at, (one, part) in enumerate(zip(said, parts, strict=True))
        ]

    def given(
        self, states: Sequence[npt.NDArray[Any]], tokens: Sequence[int], names: Sequence[str] = ()
    ) -> tuple[FloatArray, dict[str, npt.NDArray[Any]]]:
        """Return the decoder's rows (N, V) when one piece's tokens are given, and inner tensors by name.

        Args:
            states: of one piece.
            tokens: from the start on.
            names: of inner tensors.
        """
        feeds = self.speaker.feeds(states, np.array([tokens], np.int64))
        wanted = list(dict.fromkeys(names))
        logits, *found = self.speaker.runner.run(feeds, [self.speaker.decoder.logits, *wanted])
        return np.asarray(logits[0], np.float32), dict(zip(wanted, found, strict=True))

    def _features(self, audio: Audio) -> Features:
        bank = log10_mel(audio, self.layout.ears.mels)
        return Features(whisper_features(bank.values), bank.hop, bank.start)

    def _parts(self, audio: Audio) -> list[Features]:
        """Return the features of each piece of a sound, with times absolute.

        Pieces before the end of the sound are whole frames long, so that their length can be told from their features.
        """
        if audio.duration <= WHISPER_SECONDS:
            return [self._features(audio)]
        parts = []
        for start, stop in voice_segments(audio, max_duration=WHISPER_SECONDS, options=VadOptions(merge_to=WHISPER_SECONDS)):
            end = start + FRAME * max(int((stop - start) / FRAME + 1e-6), 1)
            rest = audio.duration - end < 2 * TAIL * FRAME and audio.duration - start <= WHISPER_SECONDS
            part = self._features(audio.cut(start, audio.duration if rest else end))
            parts.append(Features(part.values, part.hop, part.start + start))
        return parts

    def _listen(self, parts: Sequence[Features], language: str, *, textnorm: bool) -> list[Heard]:  # noqa: ARG002
        found = []
        for first in range(0, len(parts), TOGETHER):
            some = parts[first : first + TOGETHER]
            states, _ = self.encode([part.values for part in some])
            found += self.hear(states, some, language)
        return found

    def instruct(self, *, task: str = "transcribe", timestamps: bool = False, hotwords: Sequence[str] = ()) -> None:
        """Say how to recognise from now on: translate, write timestamps; no hotwords.

        Raises:
            OptionError: when this Whisper cannot.
        """
        super().instruct(hotwords=hotwords)
        if task not in self.signs.tasks:
            super().instruct(task=task)
        self.manner = Manner(timestamps, cast(Task, task))

    def _check_prompts(self, language: str, *, textnorm: bool) -> None:
        super()._check_prompts(language, textnorm=textnorm)
        if textnorm:
            raise OptionError("a Whisper always writes numbers and punctuation as it has learnt; leave textnorm off")
        if self.manner.task not in self.signs.tasks and self.manner.task != "transcribe":
            raise OptionError(f"{self.name} cannot {self.manner.task}; use a multilingual Whisper")

    def _prompts(self, states: Sequence[npt.NDArray[Any]], count: int, language: str) -> IntArray:
        """Return the first tokens of each piece, (B, n)."""
        signs = self.signs
        rows = np.full((count, 1), signs.start, np.int64)
        if signs.languages:
            ids = np.array(list(signs.languages.values()))
            if language == "auto":
                logits, _ = self.speaker.start(states, rows)
                chosen = ids[logits[:, 0, ids].argmax(axis=1)]
            else:
                chosen = np.full(count, signs.languages[language])
            rows = np.concatenate([rows, chosen[:, None], np.full((count, 1), signs.tasks[self.manner.task])], axis=1)
        return rows if self.manner.timestamps else np.concatenate([rows, np.full((count, 1), signs.plain)], axis=1)

    def _said(self, states: Sequence[npt.NDArray[Any]], prompts: IntArray) -> list[tuple[int, ...]]:
        """Return what follows the first tokens (B, n), the likeliest token at each step; nothing where nobody speaks."""
        logits, memory = self.speaker.start(states, prompts)
        silence = ctc.log_softmax(logits[:, 0])[:, self.signs.silence]
        scores = logits[:, -1]
        said: list[list[int]] = [[] for _ in prompts]
        sums, over = np.zeros(len(prompts)), np.zeros(len(prompts), bool)
        for step in range(self.longest):
            chosen = np.full(len(prompts), self.signs.end, np.int64)
            for at in np.flatnonzero(~over):
                allowed = permitted(scores[at], said[at], self.signs, timestamps=self.manner.timestamps)
                chosen[at] = int(allowed.argmax())
                sums[at] += float(allowed[chosen[at]] - ctc.log_normaliser(allowed[None])[0])
                if chosen[at] == self.signs.end:
                    over[at] = True
                else:
                    said[at].append(int(chosen[at]))
            if over.all() or step + 1 == self.longest:
                break
            scores, memory = self.speaker.follow(memory, chosen)
        means = sums / (np.array([len(one) for one in said]) + 1)
        quiet = (np.exp(silence) > SILENT) & (means < UNSURE) & (self.signs.silence >= 0)
        return [() if hush else tuple(one) for one, hush in zip(said, quiet, strict=True)]

    def _placed(self, states: Sequence[npt.NDArray[Any]], prompt: tuple[int, ...], said: tuple[int, ...], frames: int) -> Heard:
        """Return what was said of one piece with its rows, and the frames at which its tokens begin."""
        text = tuple(at for at, one in enumerate(said) if one < self.signs.end)
        if not text:
            return Heard(prompt, said, self.given(states, prompt + said)[0], (), np.zeros((0, 2), np.int64))
        quiet = prompt if not self.manner.timestamps else (*prompt, self.signs.plain)
        tokens = (*quiet, *(said[at] for at in text), self.signs.end)
        cross = self.speaker.decoder.cross
        layers = range(len(cross)) if self.aligning is None else sorted({layer for layer, _ in self.aligning})
        names = [cross[layer].scores for layer in layers]
        names += [cross[layer].probabilities for layer in layers] if self.aligning is None else []
        logits, found = self.given(states, tokens, names)
        rows = slice(len(quiet) - 1, -1)
        heads = self.aligning
        if heads is None:
            weights = np.stack([by_head(found[one.probabilities], 1)[0, :, rows, :frames] for one in cross])
            heads = tuple(heads_by_norm(weights))
        scores = np.stack([by_head(found[cross[layer].scores], 1)[0, head, :, :frames] for layer, head in heads])
        placed = spans(closeness(scores)[rows])
        if tokens[:-1] != prompt + said:  # the timestamps were left out to place the text
            logits = self.given(states, prompt + said)[0]
        return Heard(prompt, said, logits[: len(prompt) + len(said)], text, placed)

    # --- Opening ------------------------------------------------------------------------------------------------------------

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The encoder's graph and the decoder's, one of each file."""
        files = {one.path: one for one in (self.graph, *self.speaker.graphs)}
        return tuple(files[path] for path in sorted(files))

    @property
    def _size(self) -> Size:
        multilingual = bool(self.signs.languages)
        return (self.layers, len(self.speaker.decoder.cross), self.anatomy.width, self.layout.ears.mels, multilingual)

    def _vocabulary_size(self, config: Mapping[str, Any]) -> int:
        told = self.speaker.graph.outputs[self.speaker.decoder.logits][1][-1]
        size = told if isinstance(told, int) else self.graph.metadata.get("n_vocab") or config.get("vocab_size")
        if size is None:
            raise ModelError(f"{self.speaker.graph.path}: the size of its vocabulary is told nowhere; put config.json beside it")
        return int(size)

    def _prove(self) -> tuple[Proof, Proof, float]:
        """Return how well encoder and decoder were confirmed, and the error of kept keys.

        Raises:
            AnatomyError: when one of them is not what was found.
        """
        noise = np.random.default_rng(0).standard_normal((1, self.layout.ears.mels, WINDOW)).astype(np.float32) * np.float32(0.5)
        cut = Runner(self._runner.graph, self._runner.options)
        plain_runner = Runner(self.graph, self._runner.options)
        proof, states = prove_encoder(plain_runner, cut, self.layout.ears, self.anatomy, {self.layout.ears.mel: noise})
        speaker, signs = self.speaker, self.signs
        begin = [signs.start, *list(signs.languages.values())[:1], *list(signs.tasks.values())[:1], signs.plain]
        tokens = np.array([[*begin, *np.random.default_rng(1).integers(0, signs.end, 4)]], np.int64)
        feeds = speaker.feeds(states, tokens)
        decoder_proof = prove_decoder(speaker.runner, speaker.decoder, feeds)
        expected, _ = speaker.start(states, tokens)
        _, memory = speaker.start(states, tokens[:, :-2])
        _, memory = speaker.follow(memory, tokens[:, -2])
        found, _ = speaker.follow(memory, tokens[:, -1])
        error = float((found - expected[:, -1]).std() / expected[:, -1].std())
        limit = TOLERANCE[speaker.decoder.precision]
        if not error <= limit:
            raise AnatomyError(
                f"{speaker.graph.path.name}: with kept keys the decoder says something else than without (relative error "
                f"{error:.1e}, at most {limit:.0e} is allowed); use decoder files of one export"
            )
        return proof, decoder_proof, error


class Replay(Inside):
    """Evidence about one piece of sound: kept from the pass itself, or computed again when it is asked for."""

    _model: Recogniser

    def __init__(self, model: Recogniser, part: Features, language: str) -> None:
        self._model, self._part, self._language = model, part, language
        self._frames = sound_frames(len(part.values))
        self._heard: Heard | None = None
        self._states: list[npt.NDArray[Any]] | None = None
        self._kept: dict[str, FloatArray] = {}

    def record(
        self,
        layers: Sequence[int],
        budget: int,
        tensors: Sequence[str] = (),
        *,
        gradients: bool = False,  # noqa: ARG002
    ) -> tuple[Heard, int]:
        """Run the piece and keep as much of it as the budget allows: everything, or else the output, or else nothing.

        Args:
            layers: whose self-attention to keep; all cross-attention is kept with it.
            budget: bytes.
            tensors: names of inner tensors to keep, on top of that, of every layer of the encoder.
            gradients: changes nothing: there are none.

        Returns:
            What was heard, and how many bytes are kept.

        Raises:
            OptionError: when the encoder has no tensor of a name.
        """
        model, blocks = self._model, self._model.anatomy.blocks
        room = 4 * len(layers) * model.heads * self._frames**2
        names = [blocks[layer].probabilities + CUT for layer in layers] if room <= budget else []
        inner = [self._inner_name(name, layer) for name in tensors for layer in range(len(blocks))]
        states, found = model.encode([self._part.values], [*names, *inner])
        (heard,) = model.hear(states, [self._part], self._language)
        attention = {name: by_head(one, 1)[0] for name, one in zip(names, found, strict=False)}
        crossed = self._crossed(states, heard) if names else {}
        size = heard.logits.nbytes + sum(one.nbytes for one in states)
        whole = size + sum(one.nbytes for one in (*attention.values(), *crossed.values()))
        if size <= budget:
            self._heard, self._states = heard, states
        if whole <= budget:
            self._kept = attention | crossed
        self._kept |= {name: one[0, : self._frames] for name, one in zip(inner, found[len(names) :], strict=True)}
        return heard, whole if whole <= budget else size if size <= budget else 0

    def heard(self) -> Heard:
        """Return what was heard."""
        return self._model.hear(self._encoded(), [self._part], self._language)[0] if self._heard is None else self._heard

    def logits(self) -> FloatArray:
        """Return the output rows, (N, V) float32: row i decides what comes after token i, prompt tokens first."""
        return self.heard().logits

    def placement(self) -> FloatArray:
        """Return how much of each row comes from each frame of sound, (N, T) float32, as far as time warping tells.

        The row of a token has equal shares of the frames between its beginning and its end; the row of a timestamp the frame that
        it names; the row that ends the text the frames after it; rows of the prompt have equal shares of all.
        """
        heard, frames = self.heard(), self._frames
        before, signs = len(heard.prompt) - 1, self._model.signs
        shares = np.tile([0, frames], (len(heard.logits), 1))
        for at, one in enumerate(heard.said):
            if one > signs.plain:
                place = min(one - signs.plain - 1, frames - 1)
                shares[before + at] = place, place + 1
        last = heard.spans[-1, 1] if len(heard.spans) else 0
        shares[before + len(heard.said)] = min(last, frames - 1), frames
        for (begin, end), place in zip(heard.spans, heard.text, strict=True):
            shares[before + place] = begin, max(end, begin + 1)
        clock = np.arange(frames)
        inside = (clock >= shares[:, :1]) & (clock < shares[:, 1:])
        return np.asarray(inside / inside.sum(axis=1, keepdims=True), np.float32)

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the encoder's attention among the frames of sound, (layers, H, T, T) float32.

        What is missing to 1 in a row goes to the silence that fills up the 30 s.
        """
        names = [self._model.anatomy.blocks[layer].probabilities + CUT for layer in layers]
        found = self._inner(names)
        return np.stack([found[name] for name in names])

    def cross_attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the decoder's attention from every row to the frames of sound, (layers, H, N, T) float32.

        What is missing to 1 in a row goes to the silence that fills up the 30 s.
        """
        found = self._decoded([self._model.speaker.decoder.cross[layer].probabilities for layer in layers])
        return np.stack([one[..., : self._frames] for one in found])

    def cross_scores(self, layers: Sequence[int]) -> FloatArray:
        """Return what goes into the softmax of ``cross_attention``, (layers, H, N, T) float32."""
        found = self._decoded([self._model.speaker.decoder.cross[layer].scores for layer in layers])
        return np.stack([one[..., : self._frames] for one in found])

    def own_attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the decoder's attention from every row to the rows up to it, (layers, H, N, N) float32."""
        return np.stack(self._decoded([self._model.speaker.decoder.own[layer].probabilities for layer in layers]))

    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Return an inner tensor of some layers of the encoder, (T, D) float32 each.

        Raises:
            OptionError: when a layer has no tensor of that name.
        """
        names = [self._inner_name(name, layer) for layer in layers]
        found = self._inner(names)
        return [found[one][: self._frames] for one in names]

    def cross_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of each cross-attention head's part of its layer's projection, (layers, H, N) float32."""
        speaker = self._model.speaker
        blocks = [speaker.decoder.cross[layer] for layer in layers]
        heard = self.heard()
        _, found = self._model.given(self._encoded(), heard.prompt + heard.said, [block.context for block in blocks])
        weights = [linear_weight(speaker.graph, block.projection) for block in blocks]
        contexts = [np.asarray(found[block.context][0], np.float32) for block in blocks]
        return head_norms(contexts, weights, self._model.cross_shape[1])

    def _encoded(self) -> list[npt.NDArray[Any]]:
        return self._model.encode([self._part.values])[0] if self._states is None else self._states

    def _inner(self, names: Sequence[str]) -> Mapping[str, FloatArray]:
        """Return inner tensors of the encoder by name."""
        missing = [name for name in dict.fromkeys(names) if name not in self._kept]
        if not missing:
            return self._kept
        _, found = self._model.encode([self._part.values], missing)
        return self._kept | {
            name: by_head(one, 1)[0] if name.endswith(CUT) else one[0] for name, one in zip(missing, found, strict=True)
        }

    def _decoded(self, names: Sequence[str]) -> list[FloatArray]:
        """Return scores or probabilities of the decoder, (H, N, columns) each."""
        missing = [name for name in names if name not in self._kept]
        found: dict[str, Any] = dict(self._kept)
        if missing:
            heard = self.heard()
            _, more = self._model.given(self._encoded(), heard.prompt + heard.said, missing)
            found |= {name: by_head(one, 1)[0] for name, one in more.items()}
        return [found[name] for name in names]

    def _crossed(self, states: Sequence[npt.NDArray[Any]], heard: Heard) -> dict[str, FloatArray]:
        """Return the cross-attention of every layer by name, (H, N, T)."""
        names = [one.probabilities for one in self._model.speaker.decoder.cross]
        _, found = self._model.given(states, heard.prompt + heard.said, names)
        return {name: by_head(one, 1)[0][..., : self._frames].copy() for name, one in found.items()}


def sound_frames(rows: int) -> int:
    """Return how many of the encoder's frames hold sound, of features with that many rows; the last rows are silence."""
    return WINDOW // 2 if rows >= WINDOW else max(rows // 2 - TAIL, 1)


def _pick(states: Sequence[npt.NDArray[Any]], index: int) -> list[npt.NDArray[Any]]:
    """Return the states of one of several sounds: hidden states (B, T, D), or keys and values (L, B, T, D)."""
    return [one[index : index + 1] if one.ndim == 3 else one[:, index : index + 1] for one in states]


def _told_blocks(blocks: Sequence[Attention], errors: Sequence[float], width: int) -> list[dict[str, Any]]:
    return [
        {
            "index": one.index,
            "label": one.label,
            "width_in": width,
            "width": width,
            "residual": one.output != one.projection.output,
            "rebuild_error": error,
        }
        for one, error in zip(blocks, errors, strict=True)
    ]


# --- Files beside the encoder -----------------------------------------------------------------------------------------------


def _find_speaker(graph: Graph, width: int, options: RunOptions | None) -> Speaker:
    """Return the decoder that lies beside an encoder, of the encoder's precision or else the finest.

    Raises:
        ModelError: when there is none, or it belongs to another encoder.
        AnatomyError: when its attention cannot be read.
    """
    for paths in _decoder_files(graph.path):
        speaker = open_speaker([part for path in paths for part in branches(Graph(path))], options)
        if speaker is None:
            continue
        if width and speaker.decoder.width != width:
            raise ModelError(
                f"{speaker.graph.path.name} has the width {speaker.decoder.width} but the encoder {graph.path.name} {width}; "
                "put encoder and decoder of one model into a folder"
            )
        return speaker
    wanted = _renamed(graph.path.name) or "decoder_model_merged.onnx"
    raise ModelError(
        f"{graph.path} is the encoder of a Whisper, but its decoder is not beside it; put the decoder file (such as {wanted}) "
        "into the same folder"
    )


def _renamed(name: str) -> str:
    """Return what the decoder of an encoder's file would be called; empty where the name does not tell."""
    return name.replace("encoder", "decoder") if "encoder" in name else ""


def _decoder_files(encoder: Path) -> Iterator[list[Path]]:
    """Yield the files that may make up the decoder of an encoder, those of one precision together, the best first."""
    role, marks = _role(encoder.name)
    others = [path for path in sorted(encoder.parent.glob("[!.]*.onnx")) if path.name != encoder.name and path.is_file()]
    fitting = [path for path in others if _role(_renamed(encoder.name))[0] == _role(path.name)[0]] if "encoder" in role else others
    kinds = {path: _role(path.name)[1] for path in fitting}
    for kind in sorted(set(kinds.values()), key=lambda one: (one != marks, len(one), one)):
        same = [path for path in fitting if kinds[path] == kind]
        merged = [path for path in same if "merged" in path.name]
        yield merged or same


def _role(name: str) -> tuple[str, tuple[str, ...]]:
    """Return what a file is, told by its name without what tells its precision and its step, and the marks of its precision."""
    parts = re.split(r"[._-]", name.lower())[:-1]
    steps = ("merged", "with", "past")
    role = "-".join(part for part in parts if part not in MARKS and part not in steps)
    return role, tuple(part for part in parts if part in MARKS)
