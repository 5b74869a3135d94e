"""The least that recognising with SenseVoice costs: one sound, one front end, one session run, one arg-max.

Everything that a wrapper round the same file adds (objects, evidence, times) can be measured against this. It uses
nothing of Voxray on purpose: a yardstick must not bend with what it measures.

Conventions: sound is (S,) float32 in [-1, 1] at 16 kHz; features are (T, 560) float32, one row each 60 ms; N = T + 4
output rows, the four prompt rows first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
SAMPLE_RATE = 16_000
STACK, STRIDE = 7, 6  # frames joined, frames stepped over: the low frame rate of SenseVoice
BLANK = 0
PROMPT_ROWS = 4
AUTO, WITHOUT_ITN = 0, 15  # embedding rows of the prompts


def speech_like(seconds: float, seed: int = 0) -> FloatArray:
    """Make a sound with the outline of speech: a wandering voice through two moving resonances, in syllables.

    Args:
        seconds: length of the sound, s.
        seed: of the random walk; the same seed gives the same sound.

    Returns:
        (S,) float32 in [-1, 1] at 16 kHz.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    knots = np.arange(0.0, seconds + 0.12, 0.12)  # a new target every 120 ms: the length of a short syllable

    def wander(low: float, high: float) -> npt.NDArray[np.float64]:
        return np.interp(time, knots, rng.uniform(low, high, len(knots)))

    pitch, first, second = wander(90, 220), wander(250, 900), wander(900, 2600)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = np.zeros_like(time)
    for harmonic in range(1, 31):
        hertz = harmonic * pitch
        gain = np.exp(-(((hertz - first) / 150) ** 2)) + 0.5 * np.exp(-(((hertz - second) / 250) ** 2)) + 0.02
        voice += gain * np.sin(harmonic * phase)
    loudness = np.clip(wander(-0.3, 1.0), 0.0, None)  # below zero: a pause
    sound = loudness * (voice + 0.3 * rng.standard_normal(len(time))) + 1e-3 * rng.standard_normal(len(time))
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def fbank(sound: FloatArray) -> FloatArray:
    """Return Kaldi's log-mel energies (F, 80) float32 in nats, with FunASR's settings and no dither.

    **Source:** ``WavFrontend`` of FunASR: samples at 16-bit scale, Hamming window, 25 ms every 10 ms, 80 mel filters.
    """
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hamming"
    options.mel_opts.num_bins = 80
    options.energy_floor = 0.0
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(SAMPLE_RATE, (sound * 32768.0).tolist())
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def stack(frames: FloatArray) -> FloatArray:
    """Join seven fbank frames (F, 80) every six into rows (ceil(F / 6), 560) float32, repeating the edge frames."""
    rows = -(-len(frames) // STRIDE)
    first = np.arange(rows)[:, None] * STRIDE - STACK // 2
    return frames[np.clip(first + np.arange(STACK), 0, len(frames) - 1)].reshape(rows, -1)


def read_cmvn(path: Path) -> tuple[FloatArray, FloatArray]:
    """Read FunASR's ``am.mvn``: what to add and then what to multiply by, each (560,) float32."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    after = {line[0]: lines[i + 1] for i, line in enumerate(lines[:-1]) if line}
    add, multiply = (np.array(after[tag][3:-1], dtype=np.float32) for tag in ("<AddShift>", "<Rescale>"))
    return add, multiply


def feeds(features: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of FunASR's file for features (T, 560): automatic language, no text normalisation."""
    single = {"speech_lengths": len(features), "language": AUTO, "textnorm": WITHOUT_ITN}
    return {"speech": features[None], **{name: np.array([value], np.int32) for name, value in single.items()}}


def best_path(logits: FloatArray) -> list[int]:
    """Return the token ids of the best path through logits (N, V): repeats joined, blanks and prompt rows gone."""
    ids = logits[PROMPT_ROWS:].argmax(axis=-1)
    changed = np.append(True, ids[1:] != ids[:-1])
    return [int(i) for i in ids[changed & (ids != BLANK)]]


@dataclass(frozen=True)
class Bare:
    """A folder in FunASR's layout, opened with onnxruntime; calling it turns a sound into text."""

    session: Any
    add: FloatArray
    multiply: FloatArray
    pieces: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path, threads: int = 2) -> Bare:
        """Open ``model.onnx``, ``am.mvn`` and ``tokens.json`` of the folder."""
        add, multiply = read_cmvn(folder / "am.mvn")
        pieces = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
        return cls(open_session(str(folder / "model.onnx"), threads), add, multiply, tuple(pieces))

    def features(self, sound: FloatArray) -> FloatArray:
        """Return the normalised features (T, 560) float32 of a sound (S,)."""
        return (stack(fbank(sound)) + self.add) * self.multiply

    def __call__(self, sound: FloatArray) -> str:
        """Return the text of a sound (S,)."""
        (logits,) = self.session.run(["ctc_logits"], feeds(self.features(sound)))
        return "".join(self.pieces[i] for i in best_path(logits[0])).replace("▁", " ").strip()


def open_session(model: str | bytes, threads: int = 2) -> Any:
    """Open a model from a path or from its bytes on the CPU with the given number of threads and no other option."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
