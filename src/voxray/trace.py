"""A trace: all that one recognition left behind, with lazy access to the model's inner tensors.

Attention is a view of what the model did, not an explanation of it. Rows and columns are the model's own: four prompt rows
(language, emotion, event, text normalisation) and then one row for each 60 ms of sound. Of a model with a decoder the output has
one row a token instead, the encoder's rows are the frames of sound, and its decoder's cross-attention leads from one to the other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from voxray import ctc
from voxray.richtext import rich_text
from voxray.types import (
    TAG_KINDS,
    Audio,
    DecoderEvidence,
    Evidence,
    Features,
    FloatArray,
    ModelInfo,
    OptionError,
    Piece,
    Tag,
    Token,
    TraceError,
    Transcript,
    Word,
    choose,
    plain,
    shortened,
)
from voxray.vocabulary import strip_tags

if TYPE_CHECKING:
    import xarray as xr

WHOLE = 1e-4  # that a row of attention may lack to 1 by rounding
LARGEST_ARRAY = 2 << 30  # bytes; a larger labelled array is refused with the way to a smaller one


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """What one recognition left.

    Attributes:
        audio: the sound, mono.
        features: what the model saw of each piece, times absolute.
        transcript: what it recognised.
        model: which model it was.
        language: the language prompt.
        textnorm: whether inverse text normalisation was asked for.
        blank: id of the CTC blank.
        layers: attention layers of the model.
        heads: attention heads in each layer.
        evidence: where logits and inner tensors come from, for each piece.
        logits_are_log_probs: whether the model's own output is normalised already.
        decoder: layers and heads of the decoder's cross-attention; None for a CTC model, which has no decoder. With one,
            ``evidence`` is ``DecoderEvidence``.
        frame_hop: seconds from frame to frame of the encoder, the first of which is centred where the features' first row is; None
            where features and encoder have one clock.
        frame_start: seconds from the centre of the features' first row to that of the encoder's first frame.
    """

    audio: Audio
    features: tuple[Features, ...]
    transcript: Transcript
    model: ModelInfo
    language: str
    textnorm: bool
    blank: int
    layers: int
    heads: int
    evidence: tuple[Evidence, ...]
    logits_are_log_probs: bool = False
    decoder: tuple[int, int] | None = None
    frame_hop: float | None = None
    frame_start: float = 0.0

    def __repr__(self) -> str:
        count = f"{len(self.tokens)} tokens, {len(self.words)} words, pieces: {len(self.pieces)}"
        return (
            f"Trace({self.audio.name!r}, {self.audio.duration:.2f} s, {shortened(self.text)!r}, {count}, model {self.model.name!r})"
        )

    @property
    def text(self) -> str:
        """The words."""
        return self.transcript.text

    @property
    def rich_text(self) -> str:
        """The words with emoji for emotion and event."""
        return self.transcript.rich_text

    @property
    def raw_text(self) -> str:
        """The words with every tag."""
        return self.transcript.raw_text

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Emitted tokens in order of time."""
        return self.transcript.tokens

    @property
    def words(self) -> tuple[Word, ...]:
        """Words in order of time."""
        return self.transcript.words

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Language, emotion, event and text norm of each piece."""
        return self.transcript.tags

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The stretches of sound that went through the model."""
        return self.transcript.pieces

    @property
    def log_probs(self) -> FloatArray:
        """Log posteriors of every row, (N, V) float32, nats: each piece's prompt rows and then its frames, or its tokens.

        Raises:
            TraceError: when they would take more than 2 GiB; ``piece(i).log_probs`` gives them a piece at a time.
        """
        if not self.pieces:
            return np.zeros((0, 0), np.float32)
        first = self._log_probs(0)
        rows = self.pieces[-1].rows[1]
        _check_size(rows * first.shape[1] * 4, "trace.piece(i).log_probs")
        return np.concatenate([first, *(self._log_probs(index) for index in range(1, len(self.pieces)))])

    def piece(self, index: int) -> Trace:
        """Return the trace of one piece of a long sound; its times stay those of the whole.

        Args:
            index: 0 to ``len(pieces) - 1``; negative ones count from the end.

        Raises:
            OptionError: when there is no such piece.
        """
        (index,) = choose([index], len(self.pieces), "piece")
        if len(self.pieces) == 1:
            return self
        piece, whole = self.pieces[index], self.transcript
        offset, (first, stop) = piece.rows[0], piece.tokens
        words = [word for word in whole.words if first <= word.tokens[0] < stop]
        text = strip_tags("".join(token.text for token in whole.tokens[first:stop])).strip()
        transcript = replace(
            whole,
            text=text,
            rich_text=rich_text(piece.raw_text) if self.decoder is None else text,
            raw_text=piece.raw_text,
            tokens=tuple(_shifted(token, -offset) for token in whole.tokens[first:stop]),
            words=tuple(replace(w, tokens=(w.tokens[0] - first, w.tokens[1] - first)) for w in words),
            tags=tuple(replace(t, row=t.row - offset) for t in whole.tags if offset <= t.row < piece.rows[1]),
            pieces=(replace(piece, rows=(0, piece.rows[1] - offset), tokens=(0, stop - first)),),
        )
        part = slice(index, index + 1)
        return replace(self, features=self.features[part], transcript=transcript, evidence=self.evidence[part])

    def self_attention(self, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None) -> xr.DataArray:
        """Return attention probabilities from every row to every row.

        Args:
            layers: which of the encoder; None for all.
            heads: which; None for all.

        Returns:
            (layer, head, query, key) float32; each row sums to 1. Coordinates of query and key: ``query_time`` (centre of the
            frame in seconds, NaN for prompt rows) and ``query_label`` (prompt name or the token emitted there). Rows of
            different pieces of a long sound do not see each other: their weights are 0. What an encoder that fills up its window
            gives to the silence is the coordinate ``padding_mass`` (layer, head, query); the rest is scaled to sum to 1.

        Raises:
            OptionError: when a layer or head does not exist.
            TraceError: when the array would take more than 2 GiB.
        """
        import xarray as xr

        layers, heads = self._choose(layers, heads)
        spans = self._encoder_rows()
        rows = spans[-1].stop if spans else 0
        _check_size(len(layers) * len(heads) * rows * rows * 4, "fewer layers or trace.piece(i).self_attention()")
        weights = np.zeros((len(layers), len(heads), rows, rows), np.float32)
        mass = np.zeros(weights.shape[:3], np.float32)
        for index, span in enumerate(spans):
            found = self.evidence[index].attention(layers)[:, heads]
            weights[:, :, span, span], mass[:, :, span] = (found, 0) if self.decoder is None else _of_sound(found)
        times, labels = self._row_coordinates()
        return xr.DataArray(
            weights,
            dims=("layer", "head", "query", "key"),
            coords={
                "layer": list(layers),
                "head": list(heads),
                "query_time": ("query", times),
                "query_label": ("query", labels),
                "key_time": ("key", times),
                "key_label": ("key", labels),
                **({} if self.decoder is None else {"padding_mass": (("layer", "head", "query"), mass)}),
            },
            name="self_attention",
            attrs=self._attributes("attention probability"),
        )

    def token_attention(
        self, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None, *, tags: bool = False
    ) -> xr.DataArray:
        """Return attention from every token to every frame of sound.

        With a decoder this is its cross-attention. A CTC encoder has no decoder whose attention points from tokens to frames: the
        row of a token is the mean of the encoder's rows weighted by the token's CTC occupancy (the posterior probability that a
        frame emits this very token, given the text). The columns are the frames of sound. What goes elsewhere (to the prompt rows,
        or to the silence that fills up a decoder's window) is reported as ``prompt_mass``; the rest is renormalised, so every row
        sums to 1 (or is 0 where everything goes there).

        Args:
            layers: which, of the decoder where there is one; None for all.
            heads: which; None for all.
            tags: whether to put the rows of the tags before the tokens.

        Returns:
            (layer, head, token, frame) float32 with coordinates ``label``, ``start``, ``end`` [s] and ``kind`` of each token,
            ``time`` [s] of each frame (its centre), and ``prompt_mass`` (layer, head, token).

        Raises:
            OptionError: when a layer or head does not exist.
            TraceError: when the array would take more than 2 GiB.

        **Source:** Graves et al. 2006 for the occupancy.
        """
        import xarray as xr

        layers, heads = self._choose(layers, heads) if self.decoder is None else self._choose_cross(layers, heads)
        targets = [self._targets(index, with_tags=tags) for index in range(len(self.pieces))]
        frames = [self._frames(index) for index in range(len(self.pieces))]
        shape = (len(layers), len(heads), sum(map(len, targets)), sum(frames))
        _check_size(int(np.prod(shape, dtype=np.int64)) * 4, "fewer layers or trace.piece(i).token_attention()")
        weights, mass = np.zeros(shape, np.float32), np.zeros(shape[:3], np.float32)
        row = column = 0
        for index in range(len(self.pieces)):
            rows, columns = slice(row, row + len(targets[index])), slice(column, column + frames[index])
            weights[:, :, rows, columns], mass[:, :, rows] = self._mix(index, layers, heads, with_tags=tags)
            row, column = rows.stop, columns.stop
        every = [target for part in targets for target in part]
        result: xr.DataArray = xr.DataArray(
            weights,
            dims=("layer", "head", "token", "frame"),
            coords={
                "layer": list(layers),
                "head": list(heads),
                "label": ("token", [target.label for target in every]),
                "kind": ("token", [target.kind for target in every]),
                "start": ("token", [target.start for target in every]),
                "end": ("token", [target.end for target in every]),
                "confidence": ("token", [target.confidence for target in every]),
                "time": ("frame", self.times),
                "prompt_mass": (("layer", "head", "token"), mass),
            },
            name="token_attention",
            attrs=self._attributes("attention weight")
            | {"rows": f"{'CTC occupancy' if self.decoder is None else 'cross-attention'} of each token"},
        ).set_xindex("time")
        return result

    def occupancy(self, piece: int = 0) -> FloatArray:
        """Return the probability that a frame emits a token, given the text, (U, T) float32, for one piece.

        With a decoder: how much of each token comes from each frame, rows that sum to 1.

        Raises:
            OptionError: when there is no such piece.
        """
        (piece,) = choose([piece], len(self.pieces), "piece")
        if self.decoder is not None:
            return self._decoding(piece).placement()[self._token_rows(piece)]
        first, stop = self.pieces[piece].tokens
        ids = [token.id for token in self.tokens[first:stop]]
        columns = [self.blank, *sorted(set(ids))]  # of a large vocabulary only these matter
        scores = self.evidence[piece].logits()[self.pieces[piece].prompts :, columns]
        scores = scores - scores.max(axis=1, keepdims=True)  # what all paths share at a frame changes nothing
        return ctc.occupancy(scores, [columns.index(one) for one in ids], blank=0)

    def head_norms(self, layers: Sequence[int] | None = None, *, tags: bool = False) -> xr.DataArray:
        """Return how much each head adds to the output of its layer at each token.

        That is the Euclidean norm of the head's values, mixed by its attention and passed through its part of the output
        projection, averaged over the token's frames by CTC occupancy; with a decoder, of its cross-attention at the token itself.

        Args:
            layers: which, of the decoder where there is one; None for all.
            tags: whether to put the rows of the tags before the tokens.

        Returns:
            (layer, head, token) float32.

        Raises:
            OptionError: when a layer does not exist.
            TraceError: when the trace was loaded from a file without its model, or the decoder does not give them.

        **Source:** Kobayashi et al. 2020, "Attention is not only a weight".
        """
        import xarray as xr

        layers, heads = self._choose(layers, None) if self.decoder is None else self._choose_cross(layers, None)
        parts = []
        for index, piece in enumerate(self.pieces):
            if self.decoder is not None:
                parts.append(self._cross_norms(index, layers, with_tags=tags))
                continue
            norms = self.evidence[index].head_norms(layers)
            mixed = norms[..., piece.prompts :] @ self._token_weights(index).T
            parts.append(np.concatenate([norms[..., : piece.prompts], mixed], axis=-1) if tags else mixed)
        targets = [target for index in range(len(self.pieces)) for target in self._targets(index, with_tags=tags)]
        return xr.DataArray(
            np.concatenate(parts, axis=-1) if parts else np.zeros((len(layers), len(heads), 0), np.float32),
            dims=("layer", "head", "token"),
            coords={"layer": layers, "head": heads, "label": ("token", [target.label for target in targets])},
            name="head_norms",
            attrs=self._attributes("norm of the head's output"),
        )

    def tensor(self, name: str, layers: Sequence[int] | None = None) -> xr.DataArray:
        """Return an inner tensor of the encoder.

        Args:
            name: ``value``, ``context``, ``projection``, ``memory``, ``attended``, ``input`` or ``output`` of a layer.
            layers: which; None for all. They must have the same width.

        Returns:
            (layer, row, channel) float32.

        Raises:
            OptionError: when a layer or name does not exist.
            TraceError: when the trace was loaded from a file without its model.
        """
        import xarray as xr

        layers, _ = self._choose(layers, None)
        parts = [evidence.tensor(name, layers) for evidence in self.evidence]
        times, labels = self._row_coordinates()
        return xr.DataArray(
            np.concatenate(parts, axis=1) if parts else np.zeros((len(layers), 0, 0), np.float32),
            dims=("layer", "row", "channel"),
            coords={"layer": list(layers), "row_time": ("row", times), "row_label": ("row", labels)},
            name=name,
            attrs=self._attributes("activation"),
        )

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Centre of every frame of sound in seconds, (T,), the pieces one after another."""
        return np.concatenate([self._clock(index) for index in range(len(self.features))]) if self.features else np.zeros(0)

    def to_dict(self) -> dict[str, Any]:
        """Return text, tokens, words, tags and provenance as JSON can hold them."""
        return self.provenance() | self.transcript.to_dict()

    def provenance(self) -> dict[str, Any]:
        """Return which sound, model and options it was, as JSON can hold them."""
        model = plain(self.model)
        return {"audio": self.audio.name, "model": model, "language": self.language, "textnorm": self.textnorm}

    def save(self, path: str | os.PathLike[str], layers: Sequence[int] | None = None) -> Path:
        """Write the trace to one file, without pickle: sound, features, logits, attention, text and provenance.

        Args:
            path: any name; the ending ``.trace`` is usual. An older file of that name is replaced only when the new one is whole.
            layers: whose attention to store; None for all, an empty sequence for none.

        Returns:
            The path.

        Raises:
            OptionError: when a layer does not exist.
            OutputError: when the file cannot be written.
        """
        from voxray.tracefile import write_trace

        chosen = choose(layers, self.layers, "layer") if self.layers and (layers is None or len(layers)) else []
        return write_trace(self, Path(path), list(dict.fromkeys(chosen)))

    def _choose(self, layers: Sequence[int] | None, heads: Sequence[int] | None) -> tuple[list[int], list[int]]:
        if not self.layers:
            raise OptionError(f"{self.model.name} has no attention on the clock of its output, so there is none to look at")
        return choose(layers, self.layers, "layer"), choose(heads, self.heads, "head")

    def _choose_cross(self, layers: Sequence[int] | None, heads: Sequence[int] | None) -> tuple[list[int], list[int]]:
        count = self.decoder or (0, 0)
        return choose(layers, count[0], "decoder layer"), choose(heads, count[1], "head")

    def _decoding(self, piece: int) -> DecoderEvidence:
        return cast("DecoderEvidence", self.evidence[piece])

    def _token_rows(self, piece: int, *, with_tags: bool = False) -> list[int]:
        """Return the output row of each token of a piece, of its tags before them, counted from the piece's first."""
        span = self.pieces[piece]
        tags = self._piece_tags(piece) if with_tags else []
        return [row - span.rows[0] for row in [*(tag.row for tag in tags), *(t.peak for t in self.tokens[slice(*span.tokens)])]]

    def _piece_tags(self, piece: int) -> list[Tag]:
        span = self.pieces[piece]
        return [tag for tag in self.tags if span.rows[0] <= tag.row < span.rows[1]]

    def _cross_norms(self, piece: int, layers: Sequence[int], *, with_tags: bool) -> FloatArray:
        """Return the norm of what each cross-attention head adds to each token, (L, H, U).

        Raises:
            TraceError: when the model's evidence does not hold it.
        """
        measured = getattr(self._decoding(piece), "cross_norms", None)
        if measured is None:
            raise TraceError(f"{self.model.family} gives no norms of its cross-attention heads; aggregate by mean, max or entropy")
        return np.asarray(measured(layers))[..., self._token_rows(piece, with_tags=with_tags)]

    def _frames(self, piece: int) -> int:
        """Return how many frames of sound a piece has where attention looks at them."""
        if self.decoder is not None:
            return int(self._decoding(piece).placement().shape[1])
        span = self.pieces[piece]
        return len(self.features[piece].values) if self.frame_hop is None else span.rows[1] - span.rows[0] - span.prompts

    def _clock(self, piece: int) -> npt.NDArray[np.float64]:
        """Return the centre of every frame of a piece in seconds; an encoder may have made several rows of features into one."""
        part, count = self.features[piece], self._frames(piece)
        if self.frame_hop is not None:
            return np.asarray(part.start + self.frame_start + self.frame_hop * np.arange(count), np.float64)
        if count == len(part.values):
            return part.times
        hop = part.hop * len(part.values) / count
        return np.asarray(part.start - part.hop / 2 + hop * (np.arange(count) + 0.5), np.float64)

    def _encoder_rows(self) -> list[slice]:
        """Return the rows that the encoder gave each piece, numbered through: prompts and frames, or frames alone."""
        if self.decoder is None:
            return [slice(*piece.rows) for piece in self.pieces]
        stops = np.cumsum([self._frames(index) for index in range(len(self.pieces))]).tolist()
        return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    def _log_probs(self, piece: int) -> FloatArray:
        logits = self.evidence[piece].logits()
        return logits if self.logits_are_log_probs else ctc.log_softmax(logits)

    def _mix(self, piece: int, layers: Sequence[int], heads: Sequence[int], *, with_tags: bool) -> tuple[FloatArray, FloatArray]:
        """Return, for each target of a piece, its weights over frames (L, H, U, T) and its prompt mass (L, H, U)."""
        if self.decoder is not None:
            every = self._decoding(piece).cross_attention(layers)[:, heads]
            return _of_sound(every[:, :, self._token_rows(piece, with_tags=with_tags)])
        prompts = self.pieces[piece].prompts
        attention = self.evidence[piece].attention(layers)[:, heads]
        mixed = self._token_weights(piece) @ attention[:, :, prompts:]
        every = np.concatenate([attention[:, :, :prompts], mixed], axis=2) if with_tags else mixed
        sound = every[..., prompts:]
        total = sound.sum(axis=-1, keepdims=True)
        return np.divide(sound, total, out=np.zeros_like(sound), where=total > 0), every[..., :prompts].sum(axis=-1)

    def _token_weights(self, piece: int) -> FloatArray:
        """Return how the rows of sound are averaged into tokens: occupancy scaled so that each token's weights sum to 1."""
        weights = self.occupancy(piece)
        return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny))

    def _targets(self, piece: int, *, with_tags: bool) -> list[_Target]:
        span = self.pieces[piece]
        tags = self._piece_tags(piece) if with_tags else []
        tokens = self.tokens[span.tokens[0] : span.tokens[1]]
        return [_Target(f"{tag.kind}: {tag.label}", "tag", tag.start, tag.end, tag.probability) for tag in tags] + [
            _Target(token.text, "token", token.start, token.end, token.confidence) for token in tokens
        ]

    def _row_coordinates(self) -> tuple[npt.NDArray[np.float64], list[str]]:
        """Return the centre in seconds (NaN for prompts) and a label for every row of the encoder."""
        times, labels = [], []
        for index, (piece, rows) in enumerate(zip(self.pieces, self._encoder_rows(), strict=True)):
            clock, prompts = self._clock(index), piece.prompts if self.decoder is None else 0
            times += [np.full(prompts, np.nan), clock]
            labels += [*(f"<{kind}>" for kind in TAG_KINDS), *(["<prompt>"] * prompts)][:prompts] + [""] * len(clock)
            tokens = self.tokens[slice(*piece.tokens)]
            places = [token.peak for token in tokens]
            if self.decoder is not None and tokens:  # a token stands at the frame that most of it comes from
                places = (rows.start + self.occupancy(index).argmax(axis=1)).tolist()
            for place, token in zip(places, tokens, strict=True):
                labels[place] = token.text
        return np.concatenate(times) if times else np.zeros(0), labels

    def _attributes(self, unit: str) -> dict[str, str]:
        return {
            "unit": unit,
            "audio": self.audio.name,
            "model": f"{self.model.name} ({self.model.layout}, {self.model.precision})",
            "language": self.language,
            "textnorm": "on" if self.textnorm else "off",
        }


@dataclass(frozen=True, slots=True)
class _Target:
    """A row of token attention."""

    label: str
    kind: str
    start: float
    end: float
    confidence: float


def _of_sound(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return attention scaled so that rows sum to 1, (..., T), and what was missing to it, (...): it went to no sound."""
    total = weights.sum(axis=-1, keepdims=True)
    missing = np.clip(1 - total[..., 0], 0, 1)
    if (missing < WHOLE).all():
        return weights, np.zeros_like(missing)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0), np.asarray(missing, np.float32)


def _shifted(token: Token, by: int) -> Token:
    return replace(token, rows=(token.rows[0] + by, token.rows[1] + by), peak=token.peak + by)


def _check_size(size: int, instead: str) -> None:
    if size > LARGEST_ARRAY:
        raise TraceError(f"that array would take {size / 2**30:.1f} GiB, more than {LARGEST_ARRAY / 2**30:.0f}; use {instead}")
