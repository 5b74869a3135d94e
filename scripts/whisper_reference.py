"""Write what OpenAI's own code makes of Whisper base on two recordings, for ``tests/acceptance/test_whisper_base.py``.

Usage: ``python scripts/whisper_reference.py OUT``, where what ``whisper_base.py`` needs is installed, and ``moonshine-voice``,
which carries the recordings. Everything is greedy: temperature 0, no beam, no second try. For each recording, in ``OUT/reference``
(the recordings themselves are put into ``OUT/recordings``):

- ``NAME.json``: ``whole``: the text, tokens and word times of ``whisper.transcribe``, with timestamps and without; ``windows``: of
  each window of 30 s its ``start`` and ``stop`` in samples, and what ``whisper.decode`` says of it: ``language``, ``languages``
  (probabilities), ``tokens``, ``text``, ``mean``, ``silence``, and ``timed``, the tokens with timestamps; ``transformers``: the
  tokens by transformers' ``generate``.
- ``NAME.npz``: for window N, ``N.tokens`` (U,) int64: [sot, language, transcribe, notimestamps, text..., eot]; ``N.scores``
  (layers, heads, U, 1500) float32: the cross-attention before the softmax when these tokens are given; ``N.logits`` (U, V).
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import whisper
from whisper.audio import N_SAMPLES, SAMPLE_RATE, log_mel_spectrogram, pad_or_trim
from whisper.decoding import DecodingOptions
from whisper.model import Whisper, disable_sdpa
from whisper.tokenizer import get_tokenizer
from whisper_base import LANGUAGES, load_base
from whisper_onnx import openai_twin

RECORDINGS = ("two_cities", "beckett")
LEAST = 0.5  # s: a shorter rest is no window
PLAIN = {"temperature": 0.0, "fp16": False}
WHOLE = {
    **PLAIN,
    "condition_on_previous_text": False,
    "compression_ratio_threshold": None,
    "logprob_threshold": None,
    "no_speech_threshold": None,
}


def openai_base() -> Whisper:
    """Return Whisper base as OpenAI's class, with the heads that OpenAI names for its word times."""
    model = openai_twin(load_base())
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS["base"])  # noqa: SLF001 - load_model reads it by the model's name
    return model


def recording(name: str) -> Path:
    """Return where a recording lies."""
    return Path(str(importlib.resources.files("moonshine_voice"))) / "assets" / f"{name}.wav"


def samples_of(path: Path) -> Any:
    """Return a recording at 16 kHz, (N,) float32, resampled as Voxray does."""
    samples, rate = soundfile.read(path, dtype="float32")
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)


def whole(model: Whisper, samples: Any) -> dict[str, Any]:
    """Return what ``transcribe`` says of a recording."""
    timed = model.transcribe(samples, word_timestamps=True, **WHOLE)
    plain = model.transcribe(samples, without_timestamps=True, **WHOLE)
    words = [word for segment in timed["segments"] for word in segment["words"]]
    return {
        "timed": {"text": timed["text"], "language": timed["language"], "words": words},
        "plain": {"text": plain["text"], "language": plain["language"]},
    }


def window(model: Whisper, theirs: Any, samples: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is said of one window, and its arrays."""
    mel = log_mel_spectrogram(pad_or_trim(samples))
    plain = whisper.decode(model, mel, DecodingOptions(without_timestamps=True, **PLAIN))
    timed = whisper.decode(model, mel, DecodingOptions(**PLAIN))
    _, languages = model.detect_language(mel)
    tokenizer = get_tokenizer(multilingual=True, num_languages=LANGUAGES, language=plain.language, task="transcribe")
    said = theirs.generate(mel[None], language=plain.language, task="transcribe", return_timestamps=False)
    tokens = torch.tensor([[*tokenizer.sot_sequence_including_notimestamps, *plain.tokens, tokenizer.eot]])
    scores: list[torch.Tensor] = []
    hooks = [block.cross_attn.register_forward_hook(lambda _, __, out: scores.append(out[-1])) for block in model.decoder.blocks]
    with torch.no_grad(), disable_sdpa():
        logits = model(mel[None], tokens)
    for hook in hooks:
        hook.remove()
    told = {
        "language": plain.language,
        "languages": languages,
        "tokens": plain.tokens,
        "text": plain.text,
        "mean": plain.avg_logprob,
        "silence": plain.no_speech_prob,
        "timed": timed.tokens,
        "transformers": [int(token) for token in (said["sequences"] if isinstance(said, dict) else said)[0]],
    }
    return told, {"tokens": tokens[0].numpy(), "scores": torch.cat(scores).numpy(), "logits": logits[0].numpy()}


def main() -> None:
    """Write both recordings' figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    folders = {name: out / name for name in ("recordings", "reference")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    model, theirs = openai_base(), load_base()
    for name in RECORDINGS:
        shutil.copy(recording(name), folders["recordings"])
        samples = samples_of(recording(name))
        told: dict[str, Any] = {"whole": whole(model, samples), "windows": []}
        arrays: dict[str, Any] = {}
        for start in range(0, len(samples) - int(LEAST * SAMPLE_RATE), N_SAMPLES):
            stop = min(start + N_SAMPLES, len(samples))
            said, found = window(model, theirs, samples[start:stop])
            arrays |= {f"{len(told['windows'])}.{key}": value for key, value in found.items()}
            told["windows"].append({"start": start, "stop": stop, **said})
        (folders["reference"] / f"{name}.json").write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        np.savez_compressed(folders["reference"] / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
