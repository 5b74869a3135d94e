"""The model card says what was measured, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipe.card import curve, parameters, results, table, training_section
from voxray.models import BUNDLED

LOG = [
    {"update": str(512 * epoch), "minutes": str(2.04 * epoch), "ctc": "1.5", "tags": "0.2", "aligned_ctc": "2", **{
        f"ter_{language}": str(1 / epoch) for language in ("zh", "yue", "en", "ja", "ko")
    }, **{f"wrong_{kind}": "0.05" for kind in ("language", "emotion", "event")}}
    for epoch in (1, 2, 3)
]  # fmt: skip


def measured(rate: float) -> dict[str, Any]:
    kind = {"right": 100 - rate, "clips": 200, "confused": {"HAPPY as ANGRY": 2, "SAD as NEUTRAL": 7}}
    one = {
        "cer": {language: rate + place for place, language in enumerate(("zh", "yue", "en", "ja", "ko"))},
        "clips": 190,
        "drift_ms": {"concat/zh": {"median": 60.4, "p10": -12.0, "p90": 151.0, "words": 33}},
        **dict.fromkeys(("language", "emotion", "event"), kind),
    }
    return {"sets": dict.fromkeys(("known", "new", "noise", "events", "mixed"), one)}


def test_figures_stand_in_their_tables() -> None:
    text = results({"fp32": measured(1.25), "int8": measured(3.5)})
    lines = text.splitlines()
    assert lines.count("| known voices, fp32 | 1.25 | 2.25 | 3.25 | 4.25 | 5.25 |") == 1
    assert lines.count("| held-out voices, int8 | 3.50 | 4.50 | 5.50 | 6.50 | 7.50 |") == 1
    assert lines.count("| known voices, int8 | 96.5 | 96.5 | 96.5 |") == 1
    assert "- emotion: SAD as NEUTRAL 7; HAPPY as ANGRY 2" in lines
    assert "| concat/zh | -12 | +60 | +151 | 33 |" in lines
    assert "190 clips a set" in text


def test_the_training_is_told_from_its_log() -> None:
    text = training_section(LOG)
    assert "1536 updates" in text
    assert "in 6 minutes on one GPU" in text


def test_a_table_needs_a_row_for_each_line() -> None:
    assert table(["a", "b"], [["c", "1"]]) == "| a | b |\n| --- | ---: |\n| c | 1 |\n"


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    curve(LOG, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_parameters_are_those_of_the_architecture() -> None:
    """Counted by hand: first layer, thirteen others, two norms, 16 prompts of 560, the head."""
    first = 2 * 560 + (560 + 1) * 384 + 128 * 129 + 128 * 11 + 2 * 128 + 129 * 512 + 513 * 128
    other = 2 * 128 + (128 + 1) * 384 + 128 * 129 + 128 * 11 + 2 * 128 + 129 * 512 + 513 * 128
    assert parameters(BUNDLED / "model.onnx") == first + 13 * other + 4 * 128 + 16 * 560 + 129 * 1929
