"""The monitor: figures against the measures they come from, bounded memory, pictures that open, drift that is told and not told."""

from __future__ import annotations

import itertools
import json
import math
import sys
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray.measures import alignment
from voxray.measures.drift import ks, psi
from voxray.measures.statistics import holm
from voxray.sounds import local_snr
from voxray.studies.drift import DriftOptions, DriftWatch, Profile
from voxray.studies.live import LiveEvent
from voxray.studies.metrics import Metrics
from voxray.studies.monitor import AttentionMonitor, JsonLines
from voxray.studies.steps import STATISTICS, Step, chosen_layers, step_of_weights, steps_of, thumbnail
from voxray.types import OptionError, OutputError

QUICK = DriftOptions(windows=(4,), alpha=0.05, rounds=1_000)


WHOLE = '{"format": "voxray-profile-1", "figures": {"snr": [1, 2]}, "labels": {}, "count": 1, "model": "", "name": ""}'


@pytest.fixture(scope="module")
def trace(bundled: Any, clips: Path) -> Any:
    return bundled.trace(clips / "zh_happy_speech.wav")


def step(rng: np.random.Generator, shift: float = 0.0, event: str = "Speech", model: str = "m") -> Step:
    """A step whose figures are drawn, some moved."""
    figures = {name: float(rng.normal()) for name in STATISTICS} | {"confidence": float(rng.normal()) + shift}
    figures["prompt_mass"] = math.nan
    return Step(0, "drawn", "text", ("text",), 0.0, 1.0, {"event": event, "language": "zh"}, figures, np.zeros((1, 1)), model=model)


def steps(count: int, seed: int = 0, **how: Any) -> list[Step]:
    rng = np.random.default_rng(seed)
    return [step(rng, **how) for _ in range(count)]


# --- Figures ---------------------------------------------------------------------------------------------------------------


def test_the_figures_of_a_trace_are_those_of_its_measures(trace: Any) -> None:
    (found,) = steps_of(trace, speech=[(0.5, 1.5)])
    weights = trace.token_attention(chosen_layers(trace.layers))
    together = weights.values.mean(axis=(0, 1), dtype=np.float64)
    speech = (trace.times >= 0.5) & (trace.times < 1.5)
    told = [token.confidence for token in trace.tokens]
    leads = [token.log_prob - max(one.log_prob for one in token.alternatives if one.id != token.id) for token in trace.tokens]
    rows = trace.log_probs[4:]
    expected = {
        "entropy": alignment.entropy(weights.values).mean(),
        "focus": weights.values.max(axis=-1).mean(),
        "prompt_mass": weights["prompt_mass"].values.mean(),
        "coverage": alignment.coverage(together, speech),
        "silence_leakage": 1 - together[:, speech].sum() / together.sum(),
        "monotonicity": alignment.monotonicity(together),
        "agreement": np.mean(
            [abs(row @ trace.times / row.sum() - trace.times[t.peak - 4]) for row, t in zip(together, trace.tokens, strict=True)]
        ),
        "confidence": np.mean(told),
        "least_confidence": min(told),
        "margin": np.quantile(leads, 0.1),
        "blank_ratio": np.mean(rows.argmax(axis=1) == 0),
        "tokens_per_second": len(trace.tokens) / (trace.pieces[0].end - trace.pieces[0].start),
        "snr": local_snr(trace.audio, trace.pieces[0].start, trace.pieces[0].end),
        "duration": trace.pieces[0].end - trace.pieces[0].start,
    }
    assert list(found.statistics) == list(STATISTICS)
    for name, value in expected.items():
        assert found.statistics[name] == pytest.approx(float(value), rel=1e-4), name
    assert found.text == trace.text
    assert found.tokens == tuple(token.text for token in trace.tokens)
    assert found.tags["language"] == "zh"
    assert found.model == trace.model.sha256
    np.testing.assert_allclose(found.thumbnail, together, rtol=1e-5)


def test_speech_is_found_where_it_is_not_told(trace: Any) -> None:
    (found,) = steps_of(trace)
    assert 0 < found.statistics["coverage"] <= 1
    assert 0 < found.statistics["silence_leakage"] < 1


def test_a_trace_without_words(bundled: Any) -> None:
    (found,) = steps_of(bundled.trace(np.zeros(16_000, np.float32)))
    assert found.tokens == ()
    assert found.thumbnail.shape[0] == 0
    assert math.isnan(found.statistics["entropy"])
    assert math.isnan(found.statistics["confidence"])
    assert found.statistics["tokens_per_second"] == 0
    assert found.to_dict()["statistics"]["entropy"] is None
    assert json.loads(json.dumps(found.to_dict()))["drift"] is None


def test_a_model_without_attention(trace: Any) -> None:
    (found,) = steps_of(replace(trace, layers=0))
    (whole,) = steps_of(trace)
    unknown = {name for name, value in found.statistics.items() if math.isnan(value)}
    assert unknown == {"entropy", "focus", "prompt_mass", "coverage", "silence_leakage", "monotonicity", "agreement"}
    assert found.thumbnail.shape[0] == 0
    assert found.statistics["confidence"] == whole.statistics["confidence"]


def test_layers_are_spread_evenly() -> None:
    assert chosen_layers(3) == [0, 1, 2]
    assert chosen_layers(70) == [0, 10, 20, 30, 39, 49, 59, 69]


@pytest.mark.parametrize("shape", [(2, 3, 5, 40), (3, 5, 40), (5, 40)])
def test_attention_alone(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).random(shape) ** 4
    found = step_of_weights(weights * 3, ["a", "b", "c", "d", " e"], confidences=[0.9, 0.8, 0.7, 0.6, 1.0], hop=0.05)
    assert (found.text, found.tokens) == ("abcd e", ("a", "b", "c", "d", " e"))
    rows = weights / weights.sum(axis=-1, keepdims=True)
    assert found.statistics["focus"] == pytest.approx(rows.max(axis=-1).mean())
    assert found.statistics["entropy"] == pytest.approx(float(alignment.entropy(weights).mean()))
    assert found.statistics["monotonicity"] == pytest.approx(float(alignment.monotonicity(rows.reshape(-1, 5, 40).mean(axis=0))))
    assert found.statistics["confidence"] == pytest.approx(0.8)
    assert found.statistics["least_confidence"] == 0.6
    assert found.statistics["tokens_per_second"] == pytest.approx(5 / 2.0)
    unknown = {name for name, value in found.statistics.items() if math.isnan(value)}
    assert unknown == {"prompt_mass", "coverage", "silence_leakage", "agreement", "margin", "blank_ratio", "snr"}


def test_attention_alone_without_time_or_tokens() -> None:
    found = step_of_weights(np.ones((3, 4)), "three words here")
    assert (found.text, found.tokens, found.end) == ("three words here", (), 0.0)
    assert math.isnan(found.statistics["tokens_per_second"])
    assert math.isnan(found.statistics["duration"])
    nothing = step_of_weights(np.zeros((2, 2, 0, 4)))
    assert math.isnan(nothing.statistics["focus"])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: step_of_weights([1.0]), r"shape \(L, H, U, T\), \(H, U, T\) or \(U, T\), got \(1,\)"),
        (lambda: step_of_weights([[1.0, -1.0]]), "finite and 0 or more"),
        (lambda: step_of_weights([[1.0]], confidences=[0.5, 0.5]), r"confidences must be 1 probabilities, one a token, got \(2,\)"),
        (lambda: step_of_weights([[1.0]], confidences=[1.5]), "confidences must be 1 probabilities"),
        (lambda: step_of_weights([[1.0]], hop=0), "hop must be seconds above 0, got 0"),
        (lambda: AttentionMonitor(history=0), "history must be at least 1 step, got 0"),
        (lambda: AttentionMonitor().series("length"), "no figure is called 'length'; choose one of entropy"),
        (lambda: AttentionMonitor().draw(), "no recognition was taken in yet"),
        (lambda: AttentionMonitor().draw(last=0), "last must be at least 1"),
        (lambda: AttentionMonitor().draw(colour="red"), "no option is called 'colour'; choose from theme, dpi, width"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        call()


def test_thumbnails_are_means_of_neighbours() -> None:
    weights = np.random.default_rng(0).random((64, 192))
    small = thumbnail(weights)
    assert small.shape == (32, 96)
    np.testing.assert_allclose(small, weights.reshape(32, 2, 96, 2).mean(axis=(1, 3)), rtol=1e-6)
    assert thumbnail(np.ones((40, 100))).shape == (32, 96)
    np.testing.assert_allclose(thumbnail(np.ones((40, 100))), 1)
    assert thumbnail(np.ones((3, 7))).shape == (3, 7)


# --- The monitor -----------------------------------------------------------------------------------------------------------


def test_the_last_steps_are_kept() -> None:
    monitor = AttentionMonitor(history=3)
    seen: list[Step] = []
    monitor.subscribe(seen.append)
    for size in range(1, 6):
        (kept,) = monitor.update(np.ones((1, size)), str(size), settled=size % 2 == 0)
        assert kept.text == str(size)
    assert [one.index for one in monitor.steps] == [2, 3, 4]
    assert [one.text for one in seen] == ["1", "2", "3", "4", "5"]
    assert [one.settled for one in seen] == [False, True, False, True, False]
    np.testing.assert_allclose(monitor.series("focus"), [1 / 3, 1 / 4, 1 / 5])
    assert "3 of at most 3 steps" in repr(monitor)


def test_a_trace_gives_a_step_for_each_piece(trace: Any) -> None:
    monitor = AttentionMonitor()
    (first,) = monitor.update(trace, offset=10.0)
    assert (first.start, first.end) == pytest.approx((trace.pieces[0].start + 10, trace.pieces[0].end + 10))
    (second,) = monitor.update(trace)
    assert (first.index, second.index) == (0, 1)
    assert first.statistics == second.statistics


def test_many_threads() -> None:
    monitor = AttentionMonitor(history=50)
    seen: list[int] = []
    monitor.subscribe(lambda one: seen.append(one.index))
    threads = [threading.Thread(target=lambda: [monitor.update(np.ones((2, 3))) for _ in range(50)]) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(seen) == list(range(200))
    assert len(monitor.steps) == 50


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_text('{"old": 1}\n', encoding="utf-8")
    monitor = AttentionMonitor()
    monitor.subscribe(JsonLines(path))
    monitor.update(np.ones((2, 4)), ["你", "好"])
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]  # written at once
    assert told[0] == {"old": 1}
    assert told[1]["text"] == "你好"
    assert told[1]["statistics"]["focus"] == 0.25
    assert told[1]["statistics"]["snr"] is None
    with pytest.raises(OutputError, match="cannot be written to"):
        JsonLines(tmp_path)


@pytest.mark.parametrize("width", [None, 2.5])
def test_one_step_alone_can_be_drawn(trace: Any, width: float | None) -> None:
    monitor = AttentionMonitor()
    monitor.update(trace)
    figure = monitor.draw(width=width)
    boxes = [axes.get_position() for axes in figure.axes]  # type: ignore[union-attr]
    assert len(boxes) == 6
    assert all(box.width > 0 and box.x0 >= 0 and box.x1 <= 1 for box in boxes)
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes[1:]))  # the curves, from left to right


def test_pictures_and_films(tmp_path: Path, trace: Any) -> None:
    import av
    from PIL import Image

    monitor = AttentionMonitor()
    rng = np.random.default_rng(0)
    monitor.update(trace)
    monitor.update(rng.random((9, 60)), "attention alone", hop=0.1)
    monitor.update(np.zeros((0, 9)))
    figure = monitor.draw(dpi=60)
    maps = [axes for axes in figure.axes if axes.images]  # type: ignore[union-attr]
    assert len(maps) == 2
    assert len({image.norm.vmax for axes in maps for image in axes.images}) == 1  # one scale
    np.testing.assert_allclose(maps[0].images[0].get_array(), monitor.steps[0].thumbnail)
    assert any("no tokens" in text.get_text() for axes in figure.axes for text in axes.texts)  # type: ignore[union-attr]
    assert monitor.draw(tmp_path / "a.png", dpi=60, theme="dark", last=2) == tmp_path / "a.png"
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 200
    with Image.open(monitor.animate(tmp_path / "a.gif", dpi=50)) as film:
        assert film.n_frames == 3  # type: ignore[attr-defined]
        size = film.size
    with av.open(str(monitor.animate(tmp_path / "a.mp4", dpi=50))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 21  # 0.7 s each at 10 a second
    assert frames[0].shape[1::-1] == size
    assert np.abs(frames[0].astype(int) - frames[20]).mean() > 1
    with pytest.raises(OptionError, match=r"cannot be written as 'a\.avi'; end its name in \.gif or \.mp4"):
        monitor.animate(tmp_path / "a.avi")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        monitor.animate(tmp_path / "file" / "a.gif")


# --- Drift -----------------------------------------------------------------------------------------------------------------


def test_a_profile_is_saved_whole(tmp_path: Path) -> None:
    profile = Profile.of(steps(30), name="folder/model.onnx")
    assert profile.count == 30
    assert "prompt_mass" not in profile.figures  # it could not be told
    assert profile.labels == {"event": {"Speech": 30}, "language": {"zh": 30}}
    assert list(profile.figures["snr"]) == sorted(profile.figures["snr"])
    assert Profile.load(profile.save(tmp_path / "profile.json")) == profile


def test_many_figures_are_kept_as_quantiles() -> None:
    values = sorted(one.statistics["snr"] for one in steps(5_000))
    kept = Profile.of(steps(5_000)).figures["snr"]
    assert len(kept) == 1_000
    np.testing.assert_allclose(kept, np.quantile(values, (np.arange(1_000) + 0.5) / 1_000), atol=1e-4)
    assert len(json.dumps(kept)) < 12_000  # about 10 kB a figure


def test_partial_steps_are_not_learnt(trace: Any) -> None:
    with pytest.raises(OptionError, match="at least 20 utterances, got 5"):
        Profile.of([replace(one, settled=index < 5) for index, one in enumerate(steps(40))])
    with pytest.raises(OptionError, match="belongs to one model, but these utterances come from 2"):
        Profile.of([*steps(20), *steps(20, model="other")])
    learnt = Profile.learn([trace] * 20)
    assert (learnt.count, learnt.model, learnt.name) == (20, trace.model.sha256, trace.model.name)
    assert learnt.figures["focus"][0] == pytest.approx(steps_of(trace)[0].statistics["focus"], rel=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "voxray-profile-1"}',
        '{"format": "other", "figures": {"snr": [1, 2]}, "labels": {}}',
        "\udcff",
        WHOLE.replace("[1, 2]", '["a"]'),
        WHOLE.replace("[1, 2]", "[1e999, 1]"),
        WHOLE.replace("[1, 2]", "[1]"),
        WHOLE.replace("{}", '{"event": {"a": 0}}'),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(OptionError, match="holds no profile that can be used"):
        Profile.load(path)
    path.write_text(WHOLE, encoding="utf-8")
    assert Profile.load(path).figures == {"snr": (1.0, 2.0)}
    with pytest.raises(OptionError, match="no profile can be read"):
        Profile.load(tmp_path / "missing.json")
    with pytest.raises(OutputError, match="cannot be written"):
        Profile.of(steps(20)).save(tmp_path / "missing" / "profile.json")


def test_the_shifts_are_those_of_the_measures() -> None:
    profile = Profile.of(steps(200))
    watch = DriftWatch(profile, QUICK)
    recent = steps(4, seed=9)
    found = [watch.add(one) for one in recent]
    assert found[:3] == [None] * 3
    drift = found[3]
    assert drift is not None
    for name in ("snr", "confidence"):
        values = [one.statistics[name] for one in recent]
        assert drift.shifts[name].distance == pytest.approx(ks(profile.figures[name], values))
        assert drift.shifts[name].psi == pytest.approx(psi(profile.figures[name], values))
    assert math.isnan(drift.shifts["event"].psi)
    corrected = holm([one.p for one in drift.shifts.values()])
    np.testing.assert_allclose([one.adjusted for one in drift.shifts.values()], corrected)
    assert json.loads(json.dumps(drift.to_dict()))["shifts"]["event"]["psi"] is None
    assert set(drift.shifts) == {*STATISTICS, "event", "language"} - {"prompt_mass"}


def test_two_windows_in_a_row_are_an_alarm() -> None:
    monitor = AttentionMonitor(profile=Profile.of(steps(300)), drift=replace(QUICK, windows=(6,)))
    for one in steps(20, seed=1):
        monitor._keep(one)
    assert not any(one.drift is not None and one.drift.alarm for one in monitor.steps)
    told = [monitor._keep(one).drift for one in steps(16, seed=2, shift=-8.0)]
    suspicious = [bool(one.features) for one in told if one is not None]
    alarms = [one.alarm for one in told if one is not None]
    first = alarms.index(True)
    assert (suspicious[first - 2], suspicious[first]) == (True, True)  # the window moves on every other step
    assert not any(alarms[: suspicious.index(True) + 1])
    assert told[-1] is not None
    assert told[-1].features[0] == "confidence"
    assert "confidence moved in the last 6 utterances" in str(told[-1])
    back = [monitor._keep(one).drift for one in steps(16, seed=3)]
    assert back[-1] is not None
    assert not back[-1].alarm


def test_long_windows_see_what_short_ones_do_not() -> None:
    both = DriftOptions(windows=(3, 40), alpha=0.05, rounds=1_500)
    watch = DriftWatch(Profile.of(steps(400)), both)
    told = [watch.add(one) for one in steps(120, seed=4, shift=0.9)]
    alarmed = [one for one in told if one is not None and one.alarm]
    assert alarmed
    long = [one for one in alarmed if one.window == 40]
    assert long
    assert long[0].features == ("confidence",)
    short = DriftWatch(Profile.of(steps(400)), replace(both, windows=(3,)))
    judged = [short.add(one) for one in steps(120, seed=4, shift=0.9)]
    assert sum(one is not None and one.alarm for one in judged) < len(long)


def test_a_label_that_was_never_met() -> None:
    """Once is chance; always is drift."""
    watch = DriftWatch(Profile.of(steps(300)), QUICK)
    mixed = [*steps(3, seed=5), *steps(1, seed=6, event="BGM")]
    told = [watch.add(one) for one in mixed][-1]
    assert told is not None
    assert "event" not in told.features
    told = [watch.add(one) for one in steps(4, seed=7, event="BGM")][-1]
    assert told is not None
    assert "event" in told.features
    assert told.shifts["event"].distance > 0.9


def test_partial_steps_are_not_judged_and_models_not_mixed() -> None:
    monitor = AttentionMonitor(profile=Profile.of(steps(100)), drift=QUICK)
    for one in steps(8):
        assert monitor._keep(replace(one, settled=False)).drift is None
    with pytest.raises(OptionError, match="learnt with another model"):
        monitor._keep(steps(1, model="other")[0])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"windows": ()}, "windows and in_a_row must be at least 1"),
        ({"windows": (0,)}, "windows and in_a_row must be at least 1"),
        ({"in_a_row": 0}, "windows and in_a_row must be at least 1"),
        ({"alpha": 1.5}, "alpha must be above 0 and below 1"),
        ({"rounds": 100}, "rounds must be at least 17000, to tell what is as rare as alpha, got 100"),
    ],
)
def test_drift_options_that_make_no_sense(options: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        DriftOptions(**options)


# --- Metrics ---------------------------------------------------------------------------------------------------------------


def test_metrics_as_prometheus_reads_them() -> None:
    metrics = Metrics()
    monitor = AttentionMonitor(profile=Profile.of(steps(100)), drift=QUICK)
    monitor.subscribe(metrics)
    for one in [*steps(8, seed=1), *steps(8, seed=2, shift=-9.0)]:
        monitor._keep(one)
    monitor._keep(replace(steps(1)[0], settled=False))
    metrics.live(LiveEvent("partial", 0, 0.0, 1.0, heard=12.5, lag=0.25, skipped=3, seconds=0.02))
    metrics.live(LiveEvent("behind", 0, 0.0, 1.0, heard=12.5, lag=1.25, skipped=3))
    lines = dict(line.rsplit(" ", 1) for line in metrics.text().splitlines() if not line.startswith("#"))
    last = monitor.steps[-2]
    assert float(lines["voxray_entropy_bits"]) == pytest.approx(last.statistics["entropy"])
    assert float(lines["voxray_confidence_ratio"]) == pytest.approx(last.statistics["confidence"])
    assert float(lines['voxray_steps_total{kind="settled"}']) == 16
    assert float(lines['voxray_steps_total{kind="partial"}']) == 1
    assert float(lines['voxray_tags_total{kind="event",label="Speech"}']) == 16
    assert float(lines["voxray_drift_alarm"]) == 1
    assert float(lines["voxray_drift_alarms_total"]) == 1
    assert float(lines['voxray_drift_distance{figure="confidence"}']) > 0.9
    assert 'voxray_drift_psi{figure="event"}' not in lines
    assert float(lines["voxray_live_lag_seconds"]) == 1.25
    assert float(lines["voxray_live_heard_seconds"]) == 12.5
    assert float(lines['voxray_live_recognition_seconds_count{kind="partial"}']) == 1


def test_metrics_have_registries_of_their_own_and_are_served_here_only() -> None:
    first, second = Metrics(), Metrics()
    server, thread = first.serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            assert b"voxray_drift_alarm 0.0" in answer.read()
        with pytest.raises(OptionError, match=r"cannot be served on 127\.0\.0\.1:.*choose another port"):
            second.serve(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_metrics_without_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(OptionError, match=r"pip install 'voxray\[monitor\]'"):
        Metrics()


def test_noise_on_real_speech_is_drift(bundled: Any, clips: Path) -> None:
    """The whole way: sounds, traces, profile, alarm."""
    from voxray.sounds import with_noise

    sounds = [voxray.load_audio(path) for path in sorted(clips.glob("*speech.wav"))]
    parts = [one.cut(start, start + 1.2) for one in sounds for start in (0.0, 0.2, 0.4, 0.6)]
    profile = Profile.learn(bundled.trace(one) for one in parts)
    monitor = AttentionMonitor(profile=profile, drift=QUICK)
    for seed, one in enumerate(parts[:6]):
        monitor.update(bundled.trace(with_noise(one, 0.0, seed)))
    last = monitor.steps[-1].drift
    assert last is not None
    assert last.alarm
    assert "snr" in last.features
