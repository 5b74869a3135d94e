"""Voxray against the original runtimes on the same files.

funasr_onnx reads the folder ``funasr`` and sherpa-onnx the folder ``sherpa`` that the export wrote, each unchanged; both
must say what Voxray says of the same clips, letter by letter. Their texts are kept as the golden answers of a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import voxray
from voxray.truespeech.clip import Clip, Recipe
from voxray.truespeech.spoken import RATE, Sound
from voxray.truespeech.workers import clips
from voxray.types import Audio

SEED = 31
RECIPE = Recipe(held_out=True, silent=0.0)

Say = Callable[[Sound], str]


def funasr(folder: Path, *, int8: bool) -> Say:
    """Return funasr_onnx's recogniser: a sound's text with every tag."""
    from funasr_onnx import SenseVoiceSmall

    model = SenseVoiceSmall(str(folder), quantize=int8, batch_size=1)

    def say(samples: Sound) -> str:
        return str(model(samples, language="auto", textnorm="woitn")[0])

    return say


def sherpa(folder: Path, *, int8: bool) -> Say:
    """Return sherpa-onnx's recogniser: a sound's text without tags."""
    import sherpa_onnx

    recogniser = sherpa_onnx.OfflineRecognizer.from_sense_voice(
        model=str(folder / ("model.int8.onnx" if int8 else "model.onnx")),
        tokens=str(folder / "tokens.txt"),
        language="auto",
        use_itn=False,
    )

    def say(samples: Sound) -> str:
        stream = recogniser.create_stream()
        stream.accept_waveform(RATE, samples)
        recogniser.decode_stream(stream)
        return str(stream.result.text)

    return say


def sounds(drawn: Iterable[Clip]) -> list[Sound]:
    """Return the sounds of clips as a 16-bit file would hold them, so that every runtime hears the same."""
    return [np.round(clip.samples * 32767).astype(np.int16).astype(np.float32) / np.float32(32768) for clip in drawn]


def compare(export: Path, count: int) -> dict[str, Any]:
    """Return every runtime's text of every clip, and how many differ from Voxray's."""
    heard = sounds(clips(RECIPE, SEED, count))
    result: dict[str, Any] = {"seed": SEED, "clips": count, "texts": {}, "different": {}}
    for int8 in (False, True):
        for name, make, file in (("funasr", funasr, "model_quant"), ("sherpa", sherpa, "model.int8")):
            folder = export / name
            ours = voxray.load_model(folder / (f"{file}.onnx" if int8 else "model.onnx"))
            theirs = make(folder, int8=int8)
            said = [theirs(sound).strip() for sound in heard]
            found = [ours.transcribe(Audio(sound)) for sound in heard]
            known = [one.raw_text if name == "funasr" else one.text for one in found]
            key = f"{name}-{'int8' if int8 else 'fp32'}"
            result["texts"][key] = said
            result["different"][key] = sum(one != other.strip() for one, other in zip(said, known, strict=True))
    return result
