"""Whisper base with its real weights, held to what OpenAI's own code makes of two recordings.

It needs what ``scripts/whisper_base.py OUT`` and ``scripts/whisper_reference.py OUT`` wrote, and runs when it is told where:
``VOXRAY_WHISPER_BASE=OUT pytest tests/acceptance/test_whisper_base.py``.
"""

from __future__ import annotations

import json
import os
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.audio import load_audio
from voxray.dictation import Manner
from voxray.models.whisper import Recogniser

pytestmark = pytest.mark.whisper
VARIABLE = "VOXRAY_WHISPER_BASE"
RECORDINGS = ("two_cities", "beckett")
LAYOUTS = ("merged", "optimum", "timestamped", "sherpa", "sherpa-attention")
RATE = 16000
DIFFERENT = {
    "two_cities": [(["good,", "author"], ["good", "or", "for"])],
    "beckett": [(["ever"], ["never"]), (["matter,"], ["matter."])],
}
"""Words of the reference, and Voxray's in their place."""
TOLERANCE = 1e-4  # of attention, which is 0 to 1
SCORES = 1e-3  # of what goes into its softmax, which is about 10 at most


@pytest.fixture(scope="module")
def folder() -> Path:
    if VARIABLE not in os.environ:
        pytest.skip(f"set {VARIABLE} to the folder that scripts/whisper_base.py wrote")
    return Path(os.environ[VARIABLE])


@pytest.fixture(scope="module")
def model(folder: Path) -> Recogniser:
    return voxray.load_model(folder / "base-merged")


def sound(folder: Path, name: str) -> Any:
    return load_audio(folder / "recordings" / f"{name}.wav")


def reference(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    told = json.loads((folder / "reference" / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / "reference" / f"{name}.npz") as arrays:
        return told, dict(arrays)


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("name", RECORDINGS)
def test_each_window_says_the_reference_s_tokens(folder: Path, model: Recogniser, name: str, *, timestamps: bool) -> None:
    audio, (told, _) = sound(folder, name), reference(folder, name)
    model.manner = Manner(timestamps=timestamps)
    try:
        for window in told["windows"]:
            trace = model.trace(audio.cut(window["start"] / RATE, window["stop"] / RATE))
            assert list(trace.evidence[0].heard().said) == window["timed" if timestamps else "tokens"]
            languages = {name: share for name, share in trace.tags[0].probabilities.items() if name != "nospeech"}
            assert max(languages, key=languages.__getitem__) == window["language"]
            assert timestamps or trace.text == window["text"]
    finally:
        model.manner = Manner()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(folder: Path, layout: str) -> None:
    told, _ = reference(folder, "beckett")
    found = voxray.load_model(folder / f"base-{layout}").transcribe(sound(folder, "beckett"))
    assert [token.id for token in found.tokens] == told["windows"][0]["tokens"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_cross_attention_equals_the_reference_s(folder: Path, model: Recogniser, name: str) -> None:
    audio, (told, arrays) = sound(folder, name), reference(folder, name)
    for index, window in enumerate(told["windows"]):
        trace = model.trace(audio.cut(window["start"] / RATE, window["stop"] / RATE), language=window["language"])
        wanted = arrays[f"{index}.scores"][:, :, :-1]  # the row of the end of the text decides nothing
        assert trace.decoder == wanted.shape[:2]
        (evidence,) = trace.evidence
        scores, found = evidence.cross_scores(range(len(wanted))), evidence.cross_attention(range(len(wanted)))
        assert found.shape == scores.shape == (*wanted.shape[:3], found.shape[-1])
        assert np.abs(scores - wanted[..., : scores.shape[-1]]).max() < SCORES
        assert np.abs(found - softmax(wanted)[..., : found.shape[-1]]).max() < TOLERANCE


@pytest.mark.parametrize("name", RECORDINGS)
def test_probabilities_of_the_languages_equal_the_reference_s(folder: Path, model: Recogniser, name: str) -> None:
    audio, (told, _) = sound(folder, name), reference(folder, name)
    window = told["windows"][0]
    found = model.transcribe(audio.cut(window["start"] / RATE, window["stop"] / RATE))
    (tag,) = [tag for tag in found.tags if tag.kind == "language"]
    spoken = 1 - tag.probabilities["nospeech"]  # which the reference leaves out
    assert set(tag.probabilities) - {"nospeech"} == set(window["languages"])
    for language, probability in window["languages"].items():
        assert tag.probabilities[language] / spoken == pytest.approx(probability, abs=1e-3)


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_whole_recording_reads_as_the_reference_s_but_for_what_is_listed(folder: Path, model: Recogniser, name: str) -> None:
    """OpenAI's ``transcribe`` differs from its ``decode``, and so from Voxray, in two ways that change words.

    It seeks to the model's own timestamps where Voxray cuts at pauses, and it fills a short window up with a mel of 0 instead of
    that of silence.
    """
    told, _ = reference(folder, name)
    words = model.transcribe(sound(folder, name)).text.lower().split()
    wanted = told["whole"]["timed"]["text"].lower().split()
    steps = [step for step in SequenceMatcher(None, wanted, words, autojunk=False).get_opcodes() if step[0] != "equal"]
    assert [(wanted[a:b], words[c:d]) for _, a, b, c, d in steps] == DIFFERENT[name]
