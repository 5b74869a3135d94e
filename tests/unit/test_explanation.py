"""The one call that explains: what it gives back, what it spends, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import methods
from voxray.case import Case
from voxray.targets import names, resolve
from voxray.types import OptionError, TraceError

CLIP = "ko_angry_speech.wav"


@pytest.fixture(scope="module")
def trace(bundled: Any, clips: Path) -> Any:
    return bundled.trace(clips / CLIP)


@pytest.fixture(scope="module")
def exact(bundled: Any, trace: Any) -> list[Any]:
    return voxray.explain(bundled, trace, names(trace))


def test_a_relevance_says_where_it_comes_from(exact: list[Any], bundled: Any, trace: Any) -> None:
    assert [one.target.name for one in exact] == names(trace)
    for one in exact:
        assert (one.method, one.unit, one.adds_up) == ("exact", "logit", True)
        assert one.options == {"cells": "fine"}
        assert (one.model.sha256, one.audio, one.language, one.seed) == (bundled.info.sha256, CLIP, "auto", None)
        assert one.scores.shape == one.grid.shape == (80, len(one.grid.centres))
        assert set(one.parts) == {"prompt", "position", "bias"}
        told = json.loads(json.dumps(one.to_dict()))
        assert told["residual"] == pytest.approx(one.residual)
        assert told["target"]["name"] == one.target.name


def test_every_part_together_is_the_score(exact: list[Any], trace: Any) -> None:
    for one in exact:
        assert abs(one.residual) <= 1e-4 * max(1.0, abs(one.score))
        assert one.over_time.sum(dtype=np.float64) == pytest.approx(one.scores.sum(dtype=np.float64), abs=1e-4)
    words = [one.score for one in exact if one.target.kind == "word"]
    (text,) = [one for one in exact if one.target.kind == "text"]
    assert sum(words) == pytest.approx(text.score, abs=1e-3)
    summed = np.sum([one.scores for one in exact if one.target.kind == "word"], axis=0, dtype=np.float64)
    np.testing.assert_allclose(summed, text.scores, atol=1e-3 * np.abs(text.scores).max())


@pytest.mark.parametrize(
    ("target", "against"), [("word:1", "정말"), ("text", "저녁에 정말"), ("emotion", "SAD"), ("language", "ja")]
)
def test_contrasts_add_up_too(target: str, against: str, bundled: Any, trace: Any) -> None:
    one = voxray.explain(bundled, trace, target, against=against)
    assert one.target.against == against
    assert abs(one.residual) <= 1e-4 * max(1.0, abs(one.score))
    aim = resolve(trace, bundled.vocabulary, bundled.labels, target, against)
    assert one.score == pytest.approx(aim.margin(trace.evidence[0].logits()), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "sound"),
    [("funasr_model", "odd"), ("funasr_model", "short"), ("funasr_int8", "odd"), ("bundled_int8", "en_neutral_speech")],
)
def test_sums_of_other_models(name: str, sound: str, data: Path, clips: Path, request: pytest.FixtureRequest) -> None:
    """An int8 file is explained on its floating-point twin, whose own score is told."""
    model = request.getfixturevalue(name)
    trace = model.trace((clips if name.startswith("bundled") else data / "audio") / f"{sound}.wav", layers=())
    for one in voxray.explain(model, trace, names(trace)):
        assert abs(one.residual) <= 1e-4 * max(1.0, abs(one.score))
        assert np.abs(one.scores).max() > 1e-3


@pytest.mark.parametrize("file", ["model.onnx", "model.int8.onnx"])
def test_sums_of_the_sherpa_layout(file: str, shared_fixtures: Path, data: Path) -> None:
    model = voxray.load_model(shared_fixtures / "sensevoice-sherpa" / file)
    trace = model.trace(data / "audio" / "stereo.wav", layers=())
    for one in voxray.explain(model, trace, [*names(trace)[:6], "text"]):
        assert abs(one.residual) <= 1e-4 * max(1.0, abs(one.score))


@pytest.mark.parametrize("method", ["exact", "gradient", "occlusion"])
def test_several_targets_together_are_single_targets(method: str, bundled: Any, trace: Any) -> None:
    wanted = ["word:0", "token:3", "emotion"]
    for one, name in zip(voxray.explain(bundled, trace, wanted, method=method), wanted, strict=True):
        alone = voxray.explain(bundled, trace, name, method=method)
        np.testing.assert_allclose(one.scores, alone.scores, rtol=0, atol=1e-5 * np.abs(alone.scores).max())
        assert one.score == pytest.approx(alone.score, abs=1e-5)
        assert one.parts == pytest.approx(dict(alone.parts), abs=1e-4)
        assert one.target == alone.target


def test_a_sound_is_explained_as_its_trace_is(bundled: Any, clips: Path, exact: list[Any]) -> None:
    one = voxray.explain(bundled, clips / CLIP, "word:1")
    (other,) = [found for found in exact if found.target.name == "word:1"]
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5 * np.abs(other.scores).max())
    assert one.passes == 1  # backward; the pass that recognised it is the forward one
    assert other.passes == len(exact) + 1  # of a trace that kept nothing, forward again, and backward once for each target


def test_a_trace_from_a_file_is_explained(bundled: Any, trace: Any, tmp_path: Path, exact: list[Any]) -> None:
    trace.save(tmp_path / "clip.voxray")
    read = voxray.load_trace(tmp_path / "clip.voxray")
    one = voxray.explain(bundled, read, "word:1")
    (other,) = [found for found in exact if found.target.name == "word:1"]
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-3 * np.abs(other.scores).max())


def test_a_long_sound_is_explained_piece_by_piece(bundled: Any, clips: Path) -> None:
    clip = voxray.load_audio(clips / CLIP).samples
    pause = 1e-3 * np.random.default_rng(0).standard_normal(16000 * 31).astype(np.float32)
    trace = bundled.trace(voxray.Audio(np.concatenate([clip, pause, clip])), layers=())
    last = f"word:{len(trace.words) - 1}"
    found = voxray.explain(bundled, trace, [last, "word:0", "emotion@1", "text@0"])
    assert [one.target.name for one in found] == [last, "word:0", "emotion@1", "text@0"]
    assert [one.target.piece for one in found] == [1, 0, 1, 0]
    for one in found:
        assert abs(one.residual) <= 1e-4 * max(1.0, abs(one.score))
        assert one.grid.times[0] <= one.target.start + 0.01
        assert one.target.end <= one.grid.times[-1] + 0.1
        peak = one.grid.centres[one.over_time.argmax()]
        assert (peak > 30) == (one.target.piece == 1)


def test_the_text_norm_row_is_said_to_copy_its_prompt(exact: list[Any]) -> None:
    notes = {one.target.name: one.notes for one in exact}
    assert notes["textnorm"] == ("the text-norm row copies its prompt: nothing in the sound decides it",)
    assert notes["emotion"] == ()


def test_progress_ends_at_what_was_planned(bundled: Any, trace: Any) -> None:
    told: list[tuple[int, int]] = []
    one = voxray.explain(bundled, trace, "word:1", method="occlusion", progress=lambda *both: told.append(both))
    assert told[-1] == (one.passes, one.passes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "exakt"}, r"^there is no method 'exakt' \(did you mean exact\?\); choose one of alti, attention"),
        ({"method": "zzz"}, r"^there is no method 'zzz'; choose one of"),
        ({"cell": "fine"}, r"^the method exact has no option 'cell' \(did you mean cells\?\); it has cells$"),
        ({"method": "uniform", "steps": 3}, r"^the method uniform has no option 'steps'; it has none$"),
        ({"method": "integrated_gradients", "steps": "many"}, r"^integrated_gradients: steps is 'many'; expected int$"),
        ({"method": "integrated_gradients", "steps": True}, r"^integrated_gradients: steps is True; expected int$"),
        ({"passes": 0}, r"^a budget of 0 passes allows nothing; give at least 1$"),
        ({"seconds": 0.0}, r"^a budget of 0.0 s allows nothing; give more$"),
        ({"seconds": float("nan")}, r"^a budget of nan s allows nothing; give more$"),
        ({"target": []}, r"^no target was given; give at least one, such as word:0$"),
        ({"target": "emotoin"}, r"^there is no target 'emotoin' \(did you mean emotion\?\)"),
        ({"target": "emotion", "against": "GLAD"}, r"^'GLAD' cannot compete with the emotion 'ANGRY'"),
        ({"target": "word:1", "against": "☃"}, r"^this model's vocabulary cannot spell '☃'"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], message: str, bundled: Any, trace: Any) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        voxray.explain(bundled, trace, **{"target": "word:0"} | options)
    assert "\n" not in str(caught.value)


def test_a_trace_of_another_model_is_refused(funasr_model: Any, trace: Any) -> None:
    with pytest.raises(TraceError, match=r"^the trace was made with .*, not with sensevoice-funasr/model.onnx; open that model$"):
        voxray.explain(funasr_model, trace, "text")


def test_a_language_that_was_told_is_refused(bundled: Any, clips: Path) -> None:
    with pytest.raises(OptionError, match=r"^the language prompt was 'ko', so the language was told and not heard"):
        voxray.explain(bundled, clips / CLIP, "language", language="ko")
    assert voxray.explain(bundled, clips / CLIP, "emotion", language="ko").language == "ko"


def test_every_method_is_listed_with_what_it_is() -> None:
    listed = methods.names()
    assert {"exact", "gradient", "integrated_gradients", "smoothgrad", "occlusion", "shapley", "random", "emission"} <= set(listed)
    for name in listed:
        made = methods.method_class(name)
        assert made.name == name
        assert made.needs in methods.TOLD
        for sentence in (made.answers, made.cannot, made.cost, made.source):
            assert sentence.endswith((".", "?")), name
            assert "\n" not in sentence
        assert all(default is not None or "None" in str(hint) for hint, default in methods.options_of(name).values())


def test_a_case_for_each_method_gives_a_map_of_its_grid(bundled: Any, trace: Any) -> None:
    aims = [resolve(trace, bundled.vocabulary, bundled.labels, one) for one in ("word:1", "emotion")]
    for name in ("exact", "gradient", "input_x_gradient", "attention", "rollout", "norm_rollout", "emission", "uniform"):
        found = methods.build(name, {}).explain(Case(bundled, trace.piece(0), aims))
        assert [one.scores.shape for one in found] == [one.grid.shape for one in found], name
        assert all(np.isfinite(one.scores).all() for one in found), name
