"""Traces on disk: one zip file of arrays and JSON, without pickle.

``meta.json`` says everything but the arrays; ``samples``, ``features-I``, ``logits-I`` and ``attention-I-L`` are npy files, for
piece I and layer L; of a model with a decoder also ``placement-I`` and, with any attention, ``cross-I-L`` for every decoder layer.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from voxray.storage import whole_file
from voxray.trace import Trace
from voxray.types import (
    Alternative,
    Audio,
    DecoderEvidence,
    Features,
    FloatArray,
    ModelInfo,
    OutputError,
    Piece,
    Tag,
    Token,
    TraceError,
    Transcript,
    VoxrayError,
    Word,
    plain,
)

FORMAT = 1


def write_trace(trace: Trace, path: Path, layers: Sequence[int]) -> Path:
    """Write a trace to one file.

    Args:
        trace: what to write.
        path: where; an older file is replaced only when the new one is whole.
        layers: whose attention to store; with any, all cross-attention of a decoder is stored too.

    Returns:
        The path.

    Raises:
        OutputError: when the file cannot be written.
    """
    meta = {
        "format": FORMAT,
        "sample_rate": trace.audio.sample_rate,
        "blank": trace.blank,
        "logits_are_log_probs": trace.logits_are_log_probs,
        "layers": trace.layers,
        "heads": trace.heads,
        "decoder": trace.decoder,
        "frame_hop": trace.frame_hop,
        "frame_start": trace.frame_start,
        "stored": list(layers),
        "features": [{"hop": one.hop, "start": one.start} for one in trace.features],
        "trace": trace.provenance() | plain(trace.transcript),
    }
    try:
        with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("meta.json", json.dumps(meta))
            _write_array(archive, "samples", trace.audio.samples)
            for index, (features, evidence) in enumerate(zip(trace.features, trace.evidence, strict=True)):
                _write_array(archive, f"features-{index}", features.values)
                _write_array(archive, f"logits-{index}", evidence.logits())
                attention = evidence.attention(layers) if layers else ()
                for layer, weights in zip(layers, attention, strict=True):
                    _write_array(archive, f"attention-{index}-{layer}", weights)
                if trace.decoder is not None:
                    _write_decoder(archive, index, cast("DecoderEvidence", evidence), trace.decoder[0] if layers else 0)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    return path


def _write_decoder(archive: zipfile.ZipFile, piece: int, evidence: DecoderEvidence, layers: int) -> None:
    """Write what a decoder adds to a piece: where its tokens come from, and its cross-attention."""
    _write_array(archive, f"placement-{piece}", evidence.placement())
    attention = evidence.cross_attention(range(layers)) if layers else ()
    for layer, weights in enumerate(attention):
        _write_array(archive, f"cross-{piece}-{layer}", weights)


class _StoredEvidence:
    """Logits and attention of one piece in a trace file, read when they are asked for."""

    def __init__(self, path: Path, piece: int, stored: Sequence[int]) -> None:
        self._path, self._piece, self._stored = path, piece, stored

    def logits(self) -> FloatArray:
        """Return the logits of the piece, (N, V) float32."""
        return self._read(f"logits-{self._piece}")

    def attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the attention of layers, (L, H, N, N) float32.

        Raises:
            TraceError: when a layer was not saved.
        """
        missing = [layer for layer in layers if layer not in self._stored]
        if missing:
            raise TraceError(
                f"{self._path} holds no attention of layer {missing[0]}; save the trace with it, or load it with model=..."
            )
        return np.stack([self._read(f"attention-{self._piece}-{layer}") for layer in layers])

    def cross_attention(self, layers: Sequence[int]) -> FloatArray:
        """Return the cross-attention of decoder layers, (L, H, U, T) float32.

        Raises:
            TraceError: when attention was not saved.
        """
        if not self._stored:
            raise TraceError(f"{self._path} holds no attention; save the trace with it, or load it with model=...")
        return np.stack([self._read(f"cross-{self._piece}-{layer}") for layer in layers])

    def placement(self) -> FloatArray:
        """Return how much of each token comes from each frame, (U, T) float32."""
        return self._read(f"placement-{self._piece}")

    def cross_norms(self, layers: Sequence[int]) -> FloatArray:
        """Raise TraceError: head norms are not saved."""
        return self.head_norms(layers)

    def tensor(self, name: str, layers: Sequence[int]) -> FloatArray:  # noqa: ARG002
        """Raise TraceError: inner tensors are not saved."""
        raise TraceError(f"{self._path} holds no tensor {name!r}; load the trace with model=... to have it computed again")

    def tensors(self, name: str, layers: Sequence[int]) -> list[FloatArray]:
        """Raise TraceError: inner tensors are not saved."""
        return [self.tensor(name, layers)]

    def head_norms(self, layers: Sequence[int]) -> FloatArray:  # noqa: ARG002
        """Raise TraceError: head norms are not saved."""
        raise TraceError(f"{self._path} holds no head norms; load the trace with model=... to have them computed again")

    def _read(self, name: str) -> FloatArray:
        with _opened(self._path) as archive:
            return _read_array(archive, name)


def read_trace(path: Path) -> Trace:
    """Read a trace that ``write_trace`` wrote.

    Args:
        path: the file; logits and attention are read from it when they are asked for.

    Raises:
        TraceError: when the file is missing, damaged, or not a trace.
    """
    with _opened(path) as archive:
        meta = json.loads(archive.read("meta.json"))
        if meta["format"] != FORMAT:
            raise TraceError(f"{path} has the trace format {meta['format']}, {FORMAT} was expected; update Voxray")
        told = meta["trace"]
        parts = [_read_array(archive, f"features-{index}") for index in range(len(meta["features"]))]
        return Trace(
            audio=Audio(_read_array(archive, "samples"), meta["sample_rate"], told["audio"]),
            features=tuple(Features(part, **place) for part, place in zip(parts, meta["features"], strict=True)),
            transcript=_transcript(told),
            model=ModelInfo(**told["model"]),
            language=told["language"],
            textnorm=told["textnorm"],
            blank=meta["blank"],
            layers=meta["layers"],
            heads=meta["heads"],
            evidence=tuple(_StoredEvidence(path, index, meta["stored"]) for index in range(len(parts))),
            logits_are_log_probs=meta["logits_are_log_probs"],
            decoder=(int(meta["decoder"][0]), int(meta["decoder"][1])) if meta.get("decoder") else None,
            frame_hop=meta.get("frame_hop"),
            frame_start=meta.get("frame_start", 0.0),
        )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a trace file for reading and tell in one line what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except VoxrayError:
        raise
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}; give a file that Trace.save wrote") from error
    except Exception as error:  # a damaged or foreign file fails anywhere: in its zip, its JSON, its arrays
        raise TraceError(f"{path} is no whole trace ({error}); give a file that Trace.save wrote") from error


def _write_array(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.save(file, array, allow_pickle=False)


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False))


def _transcript(told: dict[str, Any]) -> Transcript:
    """Return the transcript of a trace's JSON."""
    tokens = [
        Token(**{**one, "rows": tuple(one["rows"]), "alternatives": tuple(Alternative(**a) for a in one["alternatives"])})
        for one in told["tokens"]
    ]
    return Transcript(
        text=told["text"],
        rich_text=told["rich_text"],
        raw_text=told["raw_text"],
        tokens=tuple(tokens),
        words=tuple(Word(**{**one, "tokens": tuple(one["tokens"])}) for one in told["words"]),
        tags=tuple(Tag(**one) for one in told["tags"]),
        pieces=tuple(Piece(**{**one, "rows": tuple(one["rows"]), "tokens": tuple(one["tokens"])}) for one in told["pieces"]),
        duration=told["duration"],
    )
