"""The vocabulary of Voxray: frozen values that every room shares, and the errors that it raises.

Conventions: times in seconds from the start of the sound; probabilities as natural logarithms (nats) where the name says
``log``; arrays are numpy, read-only, with their shapes checked on construction. ``N`` = output rows of a model (prompt rows and
frames), ``T`` = frames of sound, ``U`` = tokens, ``V`` = vocabulary, ``L`` = layers, ``H`` = heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
TagKind = Literal["language", "emotion", "event", "textnorm"]
TAG_KINDS: tuple[TagKind, ...] = ("language", "emotion", "event", "textnorm")
Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` while long work goes on; units are whatever the work counts (pieces, files)."""


class VoxrayError(Exception):
    """Any problem that the user can mend. The text is one line: what was wrong, what was expected, what to do."""


class AudioError(VoxrayError, ValueError):
    """The sound cannot be read or holds nothing to recognise."""


class ModelError(VoxrayError, ValueError):
    """The model's files are missing, damaged, or not of a kind that Voxray knows."""


class AnatomyError(ModelError):
    """The graph runs, but what it should contain (attention, memory) cannot be found or does not add up."""


class OptionError(VoxrayError, ValueError):
    """A layer, head, language or other choice that does not exist."""


class TraceError(VoxrayError, ValueError):
    """A trace file that cannot be read, or evidence that the trace does not hold."""


class OutputError(VoxrayError, OSError):
    """A result cannot be written where it was asked for."""


def frozen(array: npt.ArrayLike, dtype: npt.DTypeLike, shape: str, name: str) -> npt.NDArray[Any]:
    """Return the array read-only in the wanted type after checking its number of axes.

    Args:
        array: any array-like.
        dtype: the wanted element type.
        shape: the wanted axes as words, for example ``"T D"``.
        name: what to call the array in the message.

    Raises:
        ValueError: when the number of axes differs.
    """
    values: npt.NDArray[Any] = np.asarray(array, dtype=dtype)
    if values.ndim != len(shape.split()):
        raise ValueError(f"{name} must have the shape ({', '.join(shape.split())}), got {values.shape}")
    values = values.view()
    values.flags.writeable = False
    return values


def choose(wanted: Sequence[int] | None, count: int, what: str) -> list[int]:
    """Return the indices asked for, all of them for None; negative ones count from the end.

    Args:
        wanted: which.
        count: how many there are.
        what: what they number, for the message.

    Raises:
        OptionError: when one does not exist, is no number, or none was chosen.
    """
    if isinstance(wanted, (int, str)):
        raise OptionError(f"{what}s are chosen by a list, got {wanted!r}; give a list such as [0]")
    if wanted is not None and not all(isinstance(one, (int, np.integer)) for one in wanted):
        raise OptionError(f"{what}s are chosen by whole numbers, got {wanted!r}; give a list such as [0]")
    indices = list(range(count)) if wanted is None else [int(one) for one in wanted]
    if not indices:
        raise OptionError(f"no {what} was chosen; give at least one, or None for all")
    wrong = [one for one in indices if not -count <= one < count]
    if wrong:
        raise OptionError(f"{what} {wrong[0]} does not exist: there are {count} {what}s" + (f", 0 to {count - 1}" if count else ""))
    return [one % count for one in indices]


def shortened(text: str, longest: int = 40) -> str:
    """Return a text cut to a length, with a sign that it was cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def plain(value: Any) -> Any:
    """Return a value of this module as dictionaries, lists, numbers and texts that JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Mono sound.

    Attributes:
        samples: (S,) float32, nominally within [-1, 1].
        sample_rate: Hz.
        name: where it came from, for titles and messages.
    """

    samples: FloatArray
    sample_rate: int = 16000
    name: str = "audio"

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", frozen(self.samples, np.float32, "S", "Audio.samples"))
        if self.sample_rate <= 0:
            raise ValueError(f"Audio.sample_rate must be positive, got {self.sample_rate}")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate

    def cut(self, start: float, stop: float) -> Audio:
        """Return the part between two times in seconds."""
        first, last = round(start * self.sample_rate), round(stop * self.sample_rate)
        return Audio(self.samples[max(first, 0) : max(last, 0)], self.sample_rate, self.name)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a sound file says of itself before it is decoded: duration in s (None where unknown), rate in Hz, channels."""

    duration: float | None
    sample_rate: int
    channels: int
    format: str


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the recogniser sees.

    Attributes:
        values: (T, D) float32, one row a frame.
        hop: seconds between rows.
        start: centre of row 0 in seconds from the start of the sound.
    """

    values: FloatArray
    hop: float
    start: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values, np.float32, "T D", "Features.values"))

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Centre of every row, (T,) float64 in seconds."""
        return np.asarray(self.start + self.hop * np.arange(len(self.values)), np.float64)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have been emitted: its id, text and log posterior (nats) at the emission row."""

    id: int
    text: str
    log_prob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One emitted token.

    Attributes:
        id: vocabulary id.
        text: as printed (a leading space marks a new word where the vocabulary does).
        start: seconds; when it begins to be said, finer than the frames that emit it (:mod:`voxray.timing`).
        end: seconds; when it ends.
        rows: [first, stop) rows of ``Trace.log_probs``.
        peak: the row in ``rows`` with the highest posterior: the emission.
        log_prob: log posterior (log-softmax over the vocabulary) at ``peak``, nats.
        alternatives: the most likely tokens at ``peak``, best first, blank included.
    """

    id: int
    text: str
    start: float
    end: float
    rows: tuple[int, int]
    peak: int
    log_prob: float
    alternatives: tuple[Alternative, ...] = ()

    @property
    def confidence(self) -> float:
        """Posterior probability at the emission row, 0 to 1."""
        return float(np.exp(self.log_prob))


@dataclass(frozen=True, slots=True)
class Word:
    """One word: a run of tokens.

    Attributes:
        text: without surrounding space; punctuation stays with the word before it.
        start: seconds, of its first token that is not punctuation.
        end: seconds, of its last token that is not punctuation.
        tokens: [first, stop) in ``Trace.tokens``.
        log_prob: the lowest ``Token.log_prob`` of its spoken tokens, nats.
    """

    text: str
    start: float
    end: float
    tokens: tuple[int, int]
    log_prob: float

    @property
    def confidence(self) -> float:
        """Probability of the word's least certain token, 0 to 1."""
        return float(np.exp(self.log_prob))


@dataclass(frozen=True, slots=True)
class Tag:
    """What the model decided about a whole piece of sound, read at one prompt row.

    Attributes:
        kind: language, emotion, event or textnorm.
        label: the likeliest label of that kind, such as ``zh`` or ``HAPPY``.
        probabilities: every label of the kind with its probability among them; they sum to 1.
        mass: probability that the row gives to all labels of the kind together; low mass means that the row says something else.
        emitted: the token that wins the row over the whole vocabulary, as written in the vocabulary.
        row: the row of ``Trace.log_probs``.
        start: seconds, start of the piece of sound.
        end: seconds, end of the piece of sound.
    """

    kind: TagKind
    label: str
    probabilities: Mapping[str, float]
    mass: float
    emitted: str
    row: int
    start: float
    end: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", dict(self.probabilities))

    @property
    def probability(self) -> float:
        """Probability of ``label`` among the labels of its kind."""
        return self.probabilities[self.label]


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of sound that went through the model in one pass.

    Attributes:
        start: seconds.
        end: seconds.
        rows: [first, stop) rows of ``Trace.log_probs`` (prompt rows first).
        tokens: [first, stop) in ``Trace.tokens``.
        prompts: how many of its rows are prompt rows, without a time.
        raw_text: what its rows say, with every tag.
    """

    start: float
    end: float
    rows: tuple[int, int]
    tokens: tuple[int, int]
    prompts: int
    raw_text: str


@dataclass(frozen=True, slots=True, repr=False)
class Transcript:
    """What was recognised.

    Attributes:
        text: words only.
        rich_text: with emoji for emotion and event, as FunASR's post-processing writes it.
        raw_text: with every tag as the model wrote it.
        tokens: in order of time.
        words: in order of time.
        tags: in order of time, language, emotion, event and textnorm for each piece.
        pieces: the stretches of sound that were recognised.
        duration: of the whole sound, seconds.
    """

    text: str
    rich_text: str
    raw_text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    tags: tuple[Tag, ...]
    pieces: tuple[Piece, ...]
    duration: float

    def __repr__(self) -> str:
        return f"Transcript({shortened(self.text)!r}, {len(self.tokens)} tokens, {len(self.words)} words, {self.duration:.2f} s)"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it, with the confidence of tokens and words."""
        result: dict[str, Any] = plain(self)
        named: dict[str, tuple[Token | Word, ...]] = {"tokens": self.tokens, "words": self.words}
        for name, values in named.items():
            for told, value in zip(result[name], values, strict=True):
                told["confidence"] = value.confidence
        return result


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model it was.

    Attributes:
        family: for example ``sensevoice``.
        layout: who exported it, for example ``funasr`` or ``sherpa-onnx``.
        name: the name of its file or folder.
        precision: ``fp32``, ``int8`` and so on.
        sha256: of the model file, hexadecimal.
    """

    family: str
    layout: str
    name: str
    precision: str
    sha256: str = ""


class Evidence(Protocol):
    """Where a trace finds the tensors of one piece: kept from the pass itself, or had again from the model or a file."""

    def logits(self) -> FloatArray:
        """Return the raw output rows, (N, V) float32."""

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the attention probabilities, (layers, H, N, N) float32."""

    def tensor(self, name: str, layers: Sequence[int]) -> FloatArray:
        """Return an inner tensor such as ``memory``, (layers, N, D) float32."""

    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Return an inner tensor of some layers, (N, D) float32 each, of any width."""

    def head_norms(self, layers: Sequence[int]) -> FloatArray:
        """Return the norm of what each head adds to each row of its layer's output, (layers, H, N) float32."""


class DecoderEvidence(Evidence, Protocol):
    """Evidence of a model whose decoder makes each token from frames: its ``logits`` have one row a token, not a frame."""

    def cross_attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the decoder's attention from tokens to frames, (layers, H, U, T) float32.

        Rows sum to 1, or to less where the decoder also looks at padding that is no sound.
        """

    def placement(self) -> FloatArray:
        """Return how much of each token comes from each frame of sound, (U, T) float32; rows sum to 1."""


TargetKind = Literal["token", "word", "tag", "text"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is explained: one decision in one piece of sound.

    Attributes:
        kind: token, word, tag or text.
        name: as it can be asked for again, such as ``word:3`` or ``emotion``.
        label: what was decided: the token's or word's text, the tag's label, the text.
        against: the rival that it is explained against; empty for the likeliest others.
        piece: index of the piece of sound.
        rows: [first, stop) rows of that piece that carry the decision.
        start: seconds.
        end: seconds.
    """

    kind: TargetKind
    name: str
    label: str
    against: str
    piece: int
    rows: tuple[int, int]
    start: float
    end: float

    @property
    def title(self) -> str:
        """The target in a few words."""
        return f"{self.name} {self.label!r}" + (f" rather than {self.against!r}" if self.against else "")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Cells of time by mel that relevance is spread over.

    Attributes:
        times: (K + 1,) float64 edges in seconds, rising.
        mels: (M + 1,) float64 edges in mel filters, 0 to 80, rising; two edges for a map over time alone.
    """

    times: npt.NDArray[np.float64]
    mels: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("times", "mels"):
            edges = frozen(getattr(self, name), np.float64, "K", f"Grid.{name}")
            if len(edges) < 2 or not (np.diff(edges) > 0).all():
                raise ValueError(f"Grid.{name} must be at least two rising edges, got {edges}")
            object.__setattr__(self, name, edges)

    @property
    def shape(self) -> tuple[int, int]:
        """(M, K): cells over mel and over time."""
        return len(self.mels) - 1, len(self.times) - 1

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Middle of every cell in time, (K,) float64 in seconds."""
        return np.asarray((self.times[1:] + self.times[:-1]) / 2, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """How much each cell of sound contributed to a decision.

    Attributes:
        scores: (M, K) float32, in ``unit``; above 0 speaks for the target.
        grid: the cells.
        target: what is explained.
        method: its name.
        options: the method's options.
        unit: ``logit``, ``nats`` or ``share``.
        score: the target's score on this sound, in ``unit``.
        parts: what does not come from a cell, by name: ``prompt``, ``position``, ``bias``, ``baseline`` and the like, in
            ``unit``. Of methods that add up, cells and parts sum to ``score`` up to ``residual``.
        adds_up: whether the method claims that sum.
        view: whether this is a view of the model and no explanation: whether the benchmark has not shown that such decisions lean
            on what such maps name (:mod:`voxray.standing`).
        model: which model.
        audio: name of the sound.
        language: the language prompt.
        seed: of the random numbers; None where none are drawn.
        passes: forward passes spent, a backward pass counted as one.
        seconds: spent.
        notes: what the reader must know, one sentence each.
        because: why it is called a view or an explanation.
        unreached: from and to, seconds, where the budget ended before anything was tried: the 0 there says nothing.
    """

    scores: FloatArray
    grid: Grid
    target: Target
    method: str
    options: Mapping[str, Any]
    unit: str
    score: float
    parts: Mapping[str, float]
    adds_up: bool
    view: bool
    model: ModelInfo
    audio: str
    language: str
    seed: int | None
    passes: int
    seconds: float
    notes: tuple[str, ...] = ()
    because: str = ""
    unreached: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", frozen(self.scores, np.float32, "M K", "Relevance.scores"))
        object.__setattr__(self, "options", dict(self.options))
        object.__setattr__(self, "parts", {name: float(value) for name, value in self.parts.items()})
        if self.scores.shape != self.grid.shape:
            raise ValueError(f"Relevance.scores must have the shape {self.grid.shape} of its grid, got {self.scores.shape}")

    @property
    def over_time(self) -> FloatArray:
        """Relevance of each stretch of time, (K,) float32: the sum over mel."""
        return np.asarray(self.scores.sum(axis=0, dtype=np.float64), np.float32)

    @property
    def residual(self) -> float:
        """The score minus the sum of all cells and parts; it means something only of methods that add up."""
        return float(self.score - self.scores.sum(dtype=np.float64) - sum(self.parts.values()))

    def between(self, start: float, end: float) -> float:
        """Return the relevance between two times in seconds; cells that are cut count in proportion."""
        inside = np.minimum(self.grid.times[1:], end) - np.maximum(self.grid.times[:-1], start)
        share = np.clip(inside, 0.0, None) / np.diff(self.grid.times)
        return float(self.over_time.astype(np.float64) @ share)

    def reaches(self, start: float, end: float) -> bool:
        """Tell whether something was tried between two times, but for the 10 ms by which cells may differ from words."""
        missed = sum(max(0.0, min(last, end) - max(first, start)) for first, last in self.unreached)
        return missed <= 0.0 or missed < end - start - 0.02

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        result: dict[str, Any] = plain(self)
        return result | {"residual": self.residual if self.adds_up else None}


@dataclass(frozen=True, slots=True, eq=False)
class NormWeights:
    """A layer norm: scale (D,), shift (D,), epsilon."""

    scale: FloatArray
    shift: FloatArray
    epsilon: float


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """The weights of one SANM layer, rows times matrix: ``y = x @ w + b``. float32, dequantised.

    Attributes:
        norm: before attention, of width D_in.
        value: (D_in, D) and its bias (D,): from normalised rows to values, heads side by side.
        projection: (D, D) and its bias (D,): from the heads to the stream.
        taps: (D, K): the memory's filter; the values themselves are added to what it gives.
        residual: whether the stream is added to what attention and memory give.
        norm2: before the feed-forward.
        inner: (D, F) and its bias.
        outer: (F, D) and its bias.
    """

    norm: NormWeights
    value: tuple[FloatArray, FloatArray]
    projection: tuple[FloatArray, FloatArray]
    taps: FloatArray
    residual: bool
    norm2: NormWeights
    inner: tuple[FloatArray, FloatArray]
    outer: tuple[FloatArray, FloatArray]
