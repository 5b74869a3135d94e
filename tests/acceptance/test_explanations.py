"""Explanations of the bundled model lie where they must: they follow the sound, name its parts, and refuse what cannot be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, load, numpy_helper, save

import voxray
from voxray.case import Case
from voxray.methods import build
from voxray.models import BUNDLED
from voxray.targets import Aim, resolve
from voxray.types import Audio, ModelError, Relevance

CLEAN = ["en_neutral_speech", "ja_sad_speech", "ko_angry_speech", "yue_neutral_speech", "zh_happy_speech"]
NOISY = "en_noise_burst.wav"
SLACK = 0.12  # s beyond a word's measured edges
SHIFT = 10  # frames of 60 ms
FLOOR = 1e-3  # RMS of the noise floor of every clip
SWAPPED = (0, 2, 1, 3)


@pytest.fixture(scope="module")
def truth(clips: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((clips / "truth.json").read_text(encoding="utf-8"))
    return told


def words_of(trace: Any, told: dict[str, Any]) -> list[dict[str, Any]]:
    """The true word that each recognised word is (part of): Chinese and Japanese signs are words of their own here."""
    ends = np.cumsum([len(one["word"]) for one in told["words"]])
    upto = np.cumsum([len(word.text.strip()) for word in trace.words])
    assert upto[-1] == ends[-1]
    return [told["words"][int(np.searchsorted(ends, end))] for end in upto]


def peak(one: Relevance) -> float:
    return float(one.grid.centres[one.over_time.argmax()])


def inside(time: float, start: float, end: float) -> bool:
    return start - SLACK <= time <= end + SLACK


# Where the evidence lies ----------------------------------------------------------------------------------------------------------


def pointing(model: Any, method: str, clips: Path, truth: dict[str, Any]) -> tuple[float, float, float]:
    """Of all words of the clean clips: share whose peak lies in the word, share of evidence for it there, and that of the time."""
    hits, held, chance = [], [], []
    for name in CLEAN:
        trace = model.trace(clips / f"{name}.wav", layers=())
        found = voxray.explain(model, trace, [f"word:{index}" for index in range(len(trace.words))], method=method)
        for one, word in zip(found, words_of(trace, truth[f"{name}.wav"]), strict=True):
            hits.append(inside(peak(one), word["start"], word["end"]))
            within = np.array([inside(centre, word["start"], word["end"]) for centre in one.grid.centres])
            held.append(one.over_time.clip(0)[within].sum() / one.over_time.clip(0).sum())
            chance.append(within.mean())
    assert len(hits) == 42
    return float(np.mean(hits)), float(np.mean(held)), float(np.mean(chance))


def test_exact_peaks_in_the_word(bundled: Any, clips: Path, truth: dict[str, Any]) -> None:
    """Measured: 42 of 42 words; 71 % of the evidence for a word in 29 % of the time."""
    hits, held, chance = pointing(bundled, "exact", clips, truth)
    assert hits >= 0.9
    assert held >= 2 * chance


def test_exact_points_better_than_the_gradient_and_than_nothing(bundled: Any, clips: Path, truth: dict[str, Any]) -> None:
    exact, gradient, uniform = (pointing(bundled, name, clips, truth) for name in ("exact", "gradient", "uniform"))
    assert exact[0] > gradient[0] > uniform[0]
    assert exact[1] > gradient[1] > uniform[1]


def test_the_burst_of_noise_is_named_as_the_cause(bundled: Any, clips: Path, truth: dict[str, Any]) -> None:
    """'my' lies under the burst and came out as 'bicycle': the burst is what speaks most for 'bicycle'.

    Rather than 'my', most speaks against it where 'my' is still heard through the noise; exact and occlusion agree in that.
    """
    told, trace = truth[NOISY], bundled.trace(clips / NOISY, layers=())
    said, heard = told["text"].split(), trace.text.split()
    (place,) = [index for index, (one, other) in enumerate(zip(said, heard, strict=True)) if one != other]
    (burst,) = told["events"]
    assert (said[place], heard[place]) == ("my", "bicycle")
    one = voxray.explain(bundled, trace, f"word:{place}")
    assert burst["start"] <= peak(one) <= burst["end"]
    density = one.between(burst["start"], burst["end"]) / (burst["end"] - burst["start"])
    assert density > 5 * one.over_time.sum() / told["duration"]
    for method in ("exact", "occlusion"):
        rather = voxray.explain(bundled, trace, f"word:{place}", against=said[place], method=method)
        lowest = float(rather.grid.centres[rather.over_time.argmin()])
        assert burst["start"] <= lowest <= burst["end"]
        assert rather.score > 0  # 'bicycle' did win


def test_what_carries_the_tags_is_shown(bundled: Any, clips: Path, truth: dict[str, Any]) -> None:
    """Sound, prompts, position code and biases each have their share; of the language the sound's is the largest, and in speech."""
    for name in CLEAN:
        told, trace = truth[f"{name}.wav"], bundled.trace(clips / f"{name}.wav", layers=())
        for one in voxray.explain(bundled, trace, ["language", "emotion", "event", "textnorm"]):
            assert set(one.parts) == {"prompt", "position", "bias"}
            assert all(abs(value) > 1e-3 for value in one.parts.values())
            sound = float(one.scores.sum(dtype=np.float64))
            assert sound + sum(one.parts.values()) == pytest.approx(one.score, abs=1e-4 * max(1.0, abs(one.score)))
            assert one.target.label == told.get(one.target.name, "woitn")
            assert bool(one.notes) == (one.target.name == "textnorm")
            if one.target.name == "language":
                assert sound > max(abs(value) for value in one.parts.values())
                assert inside(peak(one), told["words"][0]["start"], told["words"][-1]["end"])


def test_an_event_is_found_where_it_sounds(bundled: Any, clips: Path, truth: dict[str, Any]) -> None:
    name = "zh_sad_applause.wav"
    (event,) = truth[name]["events"]
    one = voxray.explain(bundled, clips / name, "event")
    assert one.target.label == event["label"] == "Applause"
    assert event["start"] <= peak(one) <= event["end"]
    outside = one.over_time.sum() - one.between(event["start"], event["end"])
    assert one.between(event["start"], event["end"]) > 3 * abs(outside)


# Where the sound goes, the map goes -----------------------------------------------------------------------------------------------


def moved(model: Any, sound: Audio, method: str, **options: Any) -> tuple[list[Any], list[Any]]:
    """Maps (K,) of every word of a clip, and of the same words with 0.6 s of noise floor before it, held to the same rivals."""
    before = (FLOOR * np.random.default_rng(0).standard_normal(SHIFT * 960)).astype(np.float32)
    traces = [model.trace(one, layers=()) for one in (sound, Audio(np.concatenate([before, sound.samples])))]
    assert traces[0].text == traces[1].text
    aims: list[list[Aim]] = [
        [resolve(trace, model.vocabulary, model.labels, f"word:{index}") for index in range(len(trace.words))] for trace in traces
    ]
    later = [
        replace(other, rows=one.rows + SHIFT, ids=one.ids, weights=one.weights) for one, other in zip(*aims, strict=True)
    ]  # the best rival may be another one in the other clip, which would be another question
    maps = [
        [found.scores.sum(axis=0) for found in build(method, options).explain(Case(model, trace.piece(0), chosen))]
        for trace, chosen in zip(traces, (aims[0], later), strict=True)
    ]
    starts = [(one.words[0].start, one.words[-1].end) for one in traces]
    assert all(abs((b - a) / 0.06 - SHIFT) <= 1.01 for a, b in zip(*starts, strict=True))
    return maps[0], maps[1]


def lag(first: Any, second: Any, shift: int) -> int:
    """By how many cells the second map lies beyond the shift, at the best match."""

    def match(by: int) -> float:
        part = second[max(by, 0) :][: len(first)]
        return float(part @ first[: len(part)] / (np.linalg.norm(part) * np.linalg.norm(first)))

    return max(range(2 * shift + 1), key=match) - shift


@pytest.mark.parametrize("name", [*CLEAN, "en_happy_bgm", "zh_sad_applause"])
def test_exact_moves_with_the_sound(name: str, bundled: Any, clips: Path) -> None:
    """Measured: every map moves by 10 frames to the frame; two maps of like peaks prefer another one (4 % of all)."""
    here, there = moved(bundled, voxray.load_audio(clips / f"{name}.wav"), "exact", cells="frame")
    assert all(abs(lag(one, other, SHIFT)) <= 1 for one, other in zip(here, there, strict=True))
    peaks = [int(other.argmax()) - int(one.argmax()) - SHIFT for one, other in zip(here, there, strict=True)]
    assert np.median(np.abs(peaks)) == 0
    assert sum(abs(one) > 1 for one in peaks) <= 2


@pytest.mark.parametrize("name", ["en_neutral_speech", "ko_angry_speech", "zh_happy_speech"])
def test_occlusion_moves_with_the_sound(name: str, bundled: Any, clips: Path) -> None:
    here, there = moved(bundled, voxray.load_audio(clips / f"{name}.wav"), "occlusion")
    assert all(abs(lag(one, other, 6 * SHIFT)) <= 6 for one, other in zip(here, there, strict=True))
    peaks = [int(other.argmax()) - int(one.argmax()) - 6 * SHIFT for one, other in zip(here, there, strict=True)]
    assert np.median(np.abs(peaks)) <= 6
    assert sum(abs(one) > 6 for one in peaks) <= 1


Spoken = tuple[Audio, list[tuple[float, float]]]


@pytest.fixture(scope="module")
def swaps() -> list[tuple[tuple[Spoken, Spoken], list[str]]]:
    """Sentences of four words said one by one, as they are and with the two in the middle swapped; where each word lies, in s."""
    pytest.importorskip("espeakng_loader", reason="the engine of the synthetic speech is for development only")
    from voxray.truespeech.clip import LEVEL, rms
    from voxray.truespeech.engine import Manner, engine
    from voxray.truespeech.lexicon import lexicon
    from voxray.truespeech.spoken import RATE, Speaker, concat

    def joined(words: list[Any]) -> Spoken:
        gap, edge = np.zeros(round(0.12 * RATE), np.float32), np.zeros(round(0.3 * RATE), np.float32)
        edges = np.cumsum([len(edge), *(len(one) for word in words for one in (word, gap))])
        sound = np.concatenate([edge, *(one for word in words for one in (word, gap)), edge])
        noise = FLOOR * np.random.default_rng(0).standard_normal(len(sound))
        return Audio((sound + noise).astype(np.float32)), [(a / RATE, b / RATE) for a, b in list(pairwise(edges))[::2]]

    made, rng = [], np.random.default_rng(7)
    for _ in range(6):
        entries = lexicon("en").in_open_order(rng, 4)
        speaker = Speaker("en", "m3", Manner())
        words = [concat(engine(), (entry,), speaker, np.random.default_rng(1)).samples for entry in entries]
        words = [word * LEVEL / rms(word) for word in words]
        made.append(((joined(words), joined([words[index] for index in SWAPPED])), [entry.written for entry in entries]))
    return made


@pytest.mark.parametrize("method", ["exact", "occlusion"])
def test_two_words_that_are_swapped_swap_their_maps(method: str, bundled: Any, swaps: list[Any]) -> None:
    """The evidence of every word for every word, as a table, is that of the other sentence with its rows and columns swapped."""
    alike, hits = [], []
    for both, said in swaps if method == "exact" else swaps[:2]:
        tables = []
        for (sound, spans), order in zip(both, (range(4), SWAPPED), strict=True):
            trace = bundled.trace(sound, layers=())
            assert trace.text.split() == [said[index] for index in order]
            found = voxray.explain(bundled, trace, [f"word:{index}" for index in range(4)], method=method)
            hits += [inside(peak(one), *span) for one, span in zip(found, spans, strict=True)]
            tables.append(np.array([[one.between(start - 0.06, end + 0.06) for start, end in spans] for one in found]))
        back = tables[1][np.ix_(SWAPPED, SWAPPED)]
        alike.append(float(np.corrcoef(tables[0].ravel(), back.ravel())[0, 1]))
    assert min(alike) >= 0.85
    assert np.mean(hits) >= 0.9


# What cannot be done --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str, Callable[[Any], None]], Any]:
    """Open a changed copy of a file of the bundled model."""

    def make(name: str, change: Callable[[Any], None]) -> Any:
        for beside in ("tokens.json", "am.mvn"):
            (tmp_path / beside).write_bytes((BUNDLED / beside).read_bytes())
        model = load(BUNDLED / name)
        change(model)
        save(model, tmp_path / name)
        return voxray.load_model(tmp_path / name)

    return make


def with_outlier(model: Any) -> None:
    """Give the rows that enter the head one huge feature that counts for nothing: dynamic quantisation rounds the others away."""
    from voxray.graph.anatomy import find_anatomy
    from voxray.graph.graph import Graph

    anatomy = find_anatomy(Graph(BUNDLED / "model_quant.onnx", model), "ctc_logits")
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    head, (_, norm) = anatomy.head, anatomy.stream_norms[-1]
    shift, weight = (numpy_helper.to_array(stored[name]).copy() for name in (norm.bias, head.weight))
    shift[0] += 2000.0
    weight[0] = numpy_helper.to_array(stored[head.zero_point])
    for name, value in ((norm.bias, shift), (head.weight, weight)):
        stored[name].CopyFrom(numpy_helper.from_array(value, name))


def test_a_file_that_is_rounded_too_much_is_refused(copied: Any, clips: Path) -> None:
    """Its twin does not round activations, and so decides otherwise. What the file itself says can still be explained."""
    model, clip = copied("model_quant.onnx", with_outlier), clips / "ko_angry_speech.wav"
    for method in ("exact", "gradient"):
        with pytest.raises(
            ModelError,
            match=r"^model_quant.onnx is int8: its floating-point .* decides only \d\d?\.\d% of the rows alike \(at least 98% "
            r"is wanted\); explain the fp32 file, or use a perturbation method such as occlusion$",
        ) as caught:
            voxray.explain(model, clip, "emotion", method=method)
        assert "\n" not in str(caught.value)
    one = voxray.explain(model, clip, "emotion", method="occlusion")
    assert np.abs(one.scores).max() > 0


def test_the_bundled_int8_file_is_explained_like_the_fp32_one(bundled: Any, bundled_int8: Any, clips: Path) -> None:
    """Each clip is explained by its own floating-point twin, which decides every row alike or all but one."""
    for name in CLEAN:
        trace = bundled.trace(clips / f"{name}.wav", layers=())
        rounded = bundled_int8.trace(clips / f"{name}.wav", layers=())
        assert trace.text == rounded.text
        for target in ("word:0", "emotion"):
            one, other = (voxray.explain(model, heard, target) for model, heard in ((bundled, trace), (bundled_int8, rounded)))
            assert np.corrcoef(one.over_time, other.over_time)[0, 1] >= 0.9


def with_operator(operator: str, gain: float) -> Callable[[Any], None]:
    """Bend the features a little by an operator without a gradient rule, before anything else sees them."""

    def change(model: Any) -> None:
        for node in model.graph.node:
            if node.op_type != "Shape":
                node.input[:] = ["bent" if name == "speech" else name for name in node.input]
        numbers = [numpy_helper.from_array(np.float32(value), name) for name, value in (("less", 0.01), ("more", 100 * gain))]
        model.graph.initializer.extend(numbers)
        steps = [("Mul", ["speech", "less"], "small"), (operator, ["small"], "bend"), ("Mul", ["bend", "more"], "bent")]
        made = [helper.make_node(kind, inputs, [output], name=output) for kind, inputs, output in steps]
        nodes = [*made, *model.graph.node]
        copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)

    return change


@pytest.mark.parametrize(("operator", "gain"), [("Tanh", 1.0), ("Erf", float(np.sqrt(np.pi) / 2))])
def test_an_operator_without_a_rule_is_named_and_perturbation_still_works(
    operator: str, gain: float, copied: Any, bundled: Any, clips: Path
) -> None:
    model, clip = copied("model.onnx", with_operator(operator, gain)), clips / "ko_angry_speech.wav"
    trace = model.trace(clip, layers=())
    assert trace.text == bundled.transcribe(clip).text
    for method in ("exact", "gradient", "input_x_gradient", "integrated_gradients", "smoothgrad"):
        with pytest.raises(
            ModelError,
            match=rf"^model.onnx: the operator {operator} has no gradient rule, so exact and gradient methods cannot explain this "
            r"file; perturbation methods such as occlusion can$",
        ):
            voxray.explain(model, trace, "word:1", method=method)
    found, expected = (voxray.explain(one, clip, "word:1", method="occlusion") for one in (model, bundled))
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.05 * np.abs(expected.scores).max())
    assert found.score == pytest.approx(expected.score, abs=0.05 * max(1.0, abs(expected.score)))
