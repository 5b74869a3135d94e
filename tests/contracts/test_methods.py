"""What every method keeps to, whatever the family: a map of its grid or one line that names what works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import methods
from voxray.case import Case
from voxray.masking import Filling
from voxray.targets import names, resolve
from voxray.types import Features, Grid, OptionError

MODELS = {
    "sensevoice": "sensevoice-funasr/model.onnx",
    "paraformer": "paraformer-funasr/model.onnx",
    "paraformer int8": "paraformer-funasr/model_quant.onnx",
    "paraformer in a loop": "paraformer-variants/bicif/model.onnx",
    "whisper": "whisper-tiny-optimum/encoder_model.onnx",
}
DECODERS = [name for name in MODELS if name != "sensevoice"]
FEW: dict[str, dict[str, Any]] = {
    "lime": {"samples": 6},
    "rise": {"samples": 6},
    "shapley": {"pairs": 2},
    "smoothgrad": {"samples": 2},
    "integrated_gradients": {"steps": 4, "most": 4},
}
WORKS = ["attention", "emission", "energy", "lime", "occlusion", "random", "rise", "shapley", "uniform", "word_leave_one_out"]


@pytest.fixture(scope="module")
def opened(data: Path) -> dict[str, tuple[Any, Any, Any]]:
    """Each model, a trace and a case of a word, a token, the text and, where it is decided, the language."""
    found = {}
    for name, path in MODELS.items():
        model = voxray.load_model(data / path)
        trace = model.trace(data / "audio" / "odd.wav")
        asked = ["word:1", "token:2", "text", *(["language"] if any(tag.kind == "language" for tag in trace.tags) else [])]
        aims = [resolve(trace, model.vocabulary, model.labels, one) for one in asked]
        found[name] = (model, trace, Case(model, trace.piece(0), aims))
    return found


@pytest.mark.parametrize("method", methods.names())
@pytest.mark.parametrize("name", MODELS)
def test_a_method_gives_a_map_or_says_what_does(name: str, method: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    model, trace, case = opened[name]
    asked = [aim.target.name for aim in case.aims]
    if name != "sensevoice" and method not in WORKS:
        with pytest.raises(OptionError, match=f"^the method {method} needs .*, which .* does not give; choose one of") as told:
            voxray.explain(model, trace, asked, method=method)
        assert str(told.value).endswith(", ".join(WORKS))
        assert "\n" not in str(told.value)
        return
    found = voxray.explain(model, trace, asked, method=method, **FEW.get(method, {}))
    assert [one.target.name for one in found] == asked
    for one in found:
        assert one.scores.shape == one.grid.shape
        assert np.isfinite(one.scores).all()
        assert one.grid.times[0] <= 0.02
        assert one.grid.times[-1] == pytest.approx(trace.audio.duration, abs=0.1)
        assert one.unit in ("logit", "nats", "share")
        json.dumps(one.to_dict())
        if method in ("attention", "emission", "energy", "random", "uniform"):
            assert float(one.scores.sum()) + sum(one.parts.values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_hidden_is_the_plain_run(name: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    case = opened[name][2]
    (rows,) = case.rows([case.features.values])
    scale = float(np.abs(case.logits).max())
    np.testing.assert_allclose(rows, case.logits, atol=1e-6 * scale)
    assert rows.argmax(axis=1).tolist() == case.logits.argmax(axis=1).tolist()
    for how in ("margin", "forced", "log_odds"):
        np.testing.assert_allclose(case.scored(rows, how), case.base(how), rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["margin", "forced", "log_odds"])
@pytest.mark.parametrize("name", DECODERS)
def test_shapley_is_efficient(name: str, how: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    model, trace, case = opened[name]
    asked = [aim.target.name for aim in case.aims]
    for one in voxray.explain(model, trace, asked, method="shapley", units="equal", segments=4, score=how):
        assert abs(one.residual) <= 1e-5 * max(1.0, abs(one.score), abs(one.parts["baseline"]))
        assert one.score == pytest.approx(case.base(how)[asked.index(one.target.name)])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DECODERS)
def test_occlusion_is_one_run_after_the_other(name: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    """By hand: windows of 0.24 s put to the noise floor, the drop of each spread over its frames."""
    model, trace, case = opened[name]
    filled, frames, part = Filling(seed=3).features(case.front), len(case.bank), case.features
    expected = np.zeros((len(case.aims), frames))
    for first in range(0, frames, 24):
        hidden = slice(first, min(first + 24, frames))
        mask = np.zeros((frames, case.front.mels), bool)
        mask[hidden] = True
        masked = Features(np.where(case.front.slots(mask), filled, part.values), part.hop, part.start)
        (rows,) = model.forced([masked], trace.piece(0), "auto", textnorm=False)
        drop = case.base() - [aim.score(rows) for aim in case.aims]
        expected[:, hidden] = drop[:, None] / (hidden.stop - hidden.start)
    asked = [aim.target.name for aim in case.aims]
    found = voxray.explain(model, trace, asked, method="occlusion", width=0.24, hop=0.24, seed=3)
    for one, row in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.scores[0], row, atol=1e-3 * np.abs(row).max() + 1e-6)
        assert np.abs(row).max() > 0
    assert found[0].passes == -(-frames // 24)
    assert model.giving in found[0].notes


@pytest.mark.parametrize("name", MODELS)
def test_the_default_is_what_the_model_can_be_explained_by(name: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    model, trace, _ = opened[name]
    found = voxray.explain(model, trace, "word:1")
    assert found.method == methods.default(model) == ("exact" if name == "sensevoice" else "occlusion")


@pytest.mark.parametrize("name", MODELS)
def test_every_name_of_a_target_can_be_asked(name: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    model, trace, _ = opened[name]
    for one in names(trace):
        aim = resolve(trace, model.vocabulary, model.labels, one)
        assert np.isfinite(aim.score(trace.evidence[0].logits()))
        assert isinstance(aim.target.label, str)
    assert ("emotion" in names(trace)) == (name == "sensevoice")


@pytest.mark.parametrize("name", DECODERS)
def test_the_lens_is_refused_in_one_line(name: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    model, trace, case = opened[name]
    with pytest.raises(OptionError, match=r"^the lens reads an encoder that makes the text by itself, unlike that of .*; ask for"):
        voxray.layer_lens(model, trace, "word:1")
    with pytest.raises(OptionError, match=r"gives no gradients; take a method that only asks it, such as occlusion$"):
        case.tape(frozen=True)
    with pytest.raises(OptionError, match=r"^decision traces need gradients and layers, which .* does not give; explain words"):
        voxray.decisions(model, trace)


@pytest.mark.parametrize("name", MODELS)
def test_cells_and_frames_cover_the_sound(name: str, opened: dict[str, tuple[Any, Any, Any]]) -> None:
    _, trace, case = opened[name]
    cells, frames = case.cells, case.frames
    assert isinstance(cells, Grid)
    assert cells.shape == case.bank.T.shape
    assert frames.shape == (1, len(trace.times))
    np.testing.assert_allclose(frames.centres, trace.times)
    assert cells.times[-1] == pytest.approx(trace.audio.duration, abs=0.03)


@pytest.mark.parametrize("name", ["paraformer", "whisper"])
def test_a_long_sound_is_explained_piece_by_piece_also_from_a_file(
    name: str, opened: dict[str, tuple[Any, Any, Any]], clips: Path, tmp_path: Path
) -> None:
    model, clip = opened[name][0], voxray.load_audio(clips / "en_neutral_speech.wav").samples
    pause = 1e-3 * np.random.default_rng(0).standard_normal(16000 * 31).astype(np.float32)
    trace = model.trace(voxray.Audio(np.concatenate([clip, pause, clip]), name="long"))
    assert len(trace.pieces) == 2
    last = f"word:{len(trace.words) - 1}"
    early, late = voxray.explain(model, trace, ["word:0", last], width=0.48, hop=0.48, method="occlusion")
    assert early.target.piece == 0
    assert late.target.piece == 1
    assert early.grid.times[-1] < 4
    assert 30 < late.grid.times[0] <= late.target.start
    loaded = voxray.load_trace(trace.save(tmp_path / "long.trace"))
    again = voxray.explain(model, loaded, last, width=0.48, hop=0.48, method="occlusion")
    np.testing.assert_array_equal(again.scores, late.scores)
    heard = voxray.evidence_sound(trace.audio, late)
    assert not heard.samples[: 16000 * 30].any()
    assert heard.samples[16000 * 34 :].any()
