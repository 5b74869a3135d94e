"""The bundled model against fresh speech, against the original runtimes' answers, and against its own card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipe.agreement import RECIPE, SEED, sounds
from recipe.evaluate import KINDS, evaluate, evaluation_sets
from recipe.tokens import vocabulary
from voxray.models import BUNDLED
from voxray.truespeech.clip import Clip
from voxray.truespeech.lexicon import LANGUAGES
from voxray.truespeech.workers import clips
from voxray.types import Audio

ROOT = Path(__file__).parents[2]
GOLDEN: dict[str, Any] = json.loads((ROOT / "tests/data/bundled-golden.json").read_text("utf-8"))
FIGURES: dict[str, Any] = json.loads((ROOT / "training/figures.json").read_text("utf-8"))["models"]


@pytest.fixture(scope="module")
def fifty() -> list[Clip]:
    assert (GOLDEN["seed"], GOLDEN["clips"]) == (SEED, 50)
    return list(clips(RECIPE, SEED, 50))


@pytest.mark.parametrize(("model", "precision"), [("bundled", "fp32"), ("bundled_int8", "int8")])
def test_the_original_runtimes_say_the_same(model: str, precision: str, fifty: list[Clip], request: pytest.FixtureRequest) -> None:
    """funasr_onnx with the tags, sherpa-onnx without. The int8 files of the layouts differ, and FunASR's is the bundled one."""
    opened = request.getfixturevalue(model)
    found = [opened.transcribe(Audio(sound)) for sound in sounds(fifty)]
    assert [one.raw_text.strip() for one in found] == GOLDEN["texts"][f"funasr-{precision}"]
    if precision == "fp32":
        assert [one.text for one in found] == GOLDEN["texts"]["sherpa-fp32"]


def test_fresh_held_out_speech(bundled: Any) -> None:
    """A sixth of what the model card rests on, so the limits are wider than the card's figures."""
    sets = {name: recipe for name, recipe in evaluation_sets().items() if name in ("known", "events")}
    found = evaluate({"fp32": bundled}, 16, sets)["fp32"]
    for language in LANGUAGES:
        assert found["known"]["cer"][language] <= 8.0
    assert found["known"]["language"]["right"] >= 97.0
    assert found["events"]["event"]["right"] >= 95.0
    assert abs(found["known"]["drift_ms"]["all"]["median"]) <= 200.0


def test_tokens_are_the_recipes() -> None:
    assert tuple(json.loads((BUNDLED / "tokens.json").read_text("utf-8"))) == vocabulary()


@pytest.mark.parametrize(("model", "precision"), [("bundled", "fp32"), ("bundled_int8", "int8")])
def test_the_card_is_about_these_weights(model: str, precision: str, request: pytest.FixtureRequest) -> None:
    assert FIGURES[precision]["sha256"] == request.getfixturevalue(model).info.sha256
    card = (BUNDLED / "README.md").read_text("utf-8")
    for name, values in FIGURES[precision]["sets"].items():
        assert set(values["cer"]) == set(LANGUAGES), name
        assert " | ".join(f"{values['cer'][language]:.2f}" for language in LANGUAGES) in card
        assert " | ".join(f"{values[kind]['right']:.1f}" for kind in KINDS) in card


def test_the_files_are_small_enough_for_a_wheel() -> None:
    assert (BUNDLED / "model.onnx").stat().st_size <= 14e6
    assert (BUNDLED / "model_quant.onnx").stat().st_size <= 5e6


def test_golden_sounds_are_sixteen_bit(fifty: list[Clip]) -> None:
    for clip, sound in zip(fifty, sounds(fifty), strict=True):
        assert np.abs(sound - clip.samples).max() <= 1.6 / 32768
