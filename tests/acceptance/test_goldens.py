"""The same sound through the same weights says and shows the same as the original runtimes.

Goldens: ``tests/data/golden``, made with FunASR's own PyTorch modules, funasr_onnx and sherpa-onnx from the fixture models
(random weights, so the texts have no meaning). The tolerances are those of the fixtures' README: about ten times the largest
difference between the original runtimes themselves.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import ctc
from voxray.frontend import features
from voxray.richtext import rich_text
from voxray.types import Features

RUNS = [
    ("short", "auto.woitn"),
    ("short", "ja.withitn"),
    ("odd", "auto.woitn"),
    ("odd", "en.withitn"),
    ("odd", "nospeech.woitn"),
    ("stereo", "auto.woitn"),
]
KNOWN_TO_SHERPA = [run for run in RUNS if "nospeech" not in run[1]]  # sherpa-onnx has no such language and uses auto
FEATURES, LOGITS, ATTENTION, ACTIVATION = 1e-5, 2e-4, 5e-5, 6e-5
MILLISECOND = 1.001e-3
D = 48

every_run = pytest.mark.parametrize(("wav", "run"), RUNS, ids=[".".join(run) for run in RUNS])
FP32 = {
    "sherpa": "sensevoice-sherpa/model.onnx",
    "funasr_dynamo": "sensevoice-funasr-dynamo/model.onnx",
    "lovemefan": "sensevoice-lovemefan/sense-voice-encoder.onnx",
    "dynamo": "sensevoice-dynamo/model.onnx",
}
ROUNDED = {
    "sherpa": "sensevoice-sherpa/model.int8.onnx",
    "funasr_dynamo": "sensevoice-funasr-dynamo/model_quant.onnx",
    "lovemefan": "sensevoice-lovemefan/sense-voice-encoder-int8.onnx",
    "dynamo": "sensevoice-dynamo/model_int8.onnx",
    "model_q4": "sensevoice-variants/model_q4.onnx",
    "model_fp16": "sensevoice-variants/model_fp16.onnx",
}
SPOKEN_BY = {"funasr": "funasr_onnx_int8_text", "lovemefan": "lovemefan_int8_text"}  # what the original runtimes printed

every_layout = pytest.mark.parametrize("layout", ["funasr", *FP32])
every_rounded = pytest.mark.parametrize("layout", ["funasr", *ROUNDED])


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Open a fixture model once; those that come without tokens and normalisation get FunASR's, which are theirs."""
    kept: dict[str, Any] = {}

    def open_one(name: str) -> Any:
        if name not in kept:
            path = request.getfixturevalue("shared_fixtures") / name
            if path.parent.name == "sensevoice-variants":
                folder = tmp_path_factory.mktemp("variants")
                for file in (path, data / "sensevoice-funasr" / "tokens.json", data / "sensevoice-funasr" / "am.mvn"):
                    shutil.copyfile(file, folder / file.name)
                path = folder / path.name
            kept[name] = voxray.load_model(path)
        return kept[name]

    return open_one


@pytest.fixture
def model(layout: str, opened: Any, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("funasr_model") if layout == "funasr" else opened(FP32[layout])


@pytest.fixture
def rounded(layout: str, opened: Any, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("funasr_int8") if layout == "funasr" else opened(ROUNDED[layout])


@pytest.fixture
def trace_of(data: Path, expected: dict[str, Any]) -> Any:
    """Trace a run of the goldens with a model."""

    def make(model: Any, wav: str, run: str) -> Any:
        told = expected["cases"][wav]["sensevoice"][run]
        sound = data / expected["cases"][wav]["wav"]
        return model.trace(sound, language=told["language"], textnorm=told["textnorm"] == "withitn")

    return make


def difference(found: Any, expected: Any) -> float:
    """Return the largest absolute difference of two arrays of one shape."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


def tokens_look_at(trace: Any, told: dict[str, np.ndarray]) -> np.ndarray:
    """Return what each token looks at, from FunASR's own attention and logits: rows weighted by occupancy, frames of sound only."""
    occupancy = ctc.occupancy(ctc.log_softmax(told["logits"])[4:], [token.id for token in trace.tokens], blank=0).astype(np.float64)
    rows = np.einsum("ut,lhtk->lhuk", occupancy / occupancy.sum(axis=1, keepdims=True), told["attn"][:, :, 4:, 4:])
    return rows / rows.sum(axis=-1, keepdims=True)


def greedy(trace: Any) -> list[int]:
    return trace.evidence[0].logits().argmax(axis=1).tolist()


@pytest.mark.parametrize("wav", ["short", "odd", "stereo"])
def test_features_are_those_of_funasr(wav: str, funasr_model: Any, data: Path, expected: dict[str, Any], golden: Any) -> None:
    audio = voxray.load_audio(data / expected["cases"][wav]["wav"])
    told = golden(f"{wav}.frontend")
    assert difference(audio.samples, told["waveform_16k"]) <= 1e-6
    found = features(audio, funasr_model.cmvn)
    assert difference(found.values, told["sensevoice_feats"]) <= FEATURES
    assert (found.hop, found.start) == pytest.approx((0.06, 0.0125))


@every_layout
@every_run
def test_logits_ids_and_texts_are_those_of_funasr(
    layout: str, model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any], golden: Any
) -> None:
    trace, told = trace_of(model, wav, run), expected["cases"][wav]["sensevoice"][run]
    arrays = golden(f"{wav}.{run}.sensevoice")
    logits = trace.evidence[0].logits()
    if layout == "dynamo":  # its output is normalised already
        assert difference(logits, ctc.log_softmax(arrays["onnx_logits"])) <= LOGITS
    else:
        assert difference(logits, arrays["onnx_logits"]) <= LOGITS
        assert difference(logits, arrays["logits"]) <= LOGITS
    assert difference(trace.log_probs, ctc.log_softmax(arrays["logits"])) <= LOGITS
    assert greedy(trace) == told["argmax_ids"]
    assert [one.id for one in ctc.runs(greedy(trace))] == told["collapsed_ids"]
    assert trace.raw_text == told["funasr_onnx_text"] == told["funasr_torch_text"] == told["lovemefan_text"]
    assert trace.rich_text == told["rich_postprocess"]
    assert rich_text(told["funasr_torch_text"]) == told["rich_postprocess"]


@every_layout
@every_run
def test_tags_are_read_by_row(model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any]) -> None:
    """Rows 0 to 3 are the tags even where a row emits a blank or an ordinary piece, unlike in sherpa-onnx."""
    trace = trace_of(model, wav, run)
    emitted = [tag.emitted.replace("<blk>", "<unk>") for tag in trace.tags]  # one of the token files calls the blank so
    assert emitted == expected["cases"][wav]["sensevoice"][run]["prompt_frame_tokens"]
    assert [(tag.kind, tag.row) for tag in trace.tags] == [
        ("language", 0), ("emotion", 1), ("event", 2), ("textnorm", 3),
    ]  # fmt: skip
    for tag in trace.tags:
        row = np.exp(trace.log_probs[tag.row].astype(np.float64))
        label = model.vocabulary.tags[tag.label]
        rivals = [model.vocabulary.tags[name] for name in tag.probabilities]
        assert row[label] == row[rivals].max()
        assert tag.mass == pytest.approx(row[rivals].sum(), rel=1e-4)
        assert tag.probability == pytest.approx(row[label] / row[rivals].sum(), rel=1e-4)
        assert sum(tag.probabilities.values()) == pytest.approx(1)


@every_rounded
@every_run
def test_rounded_files_say_what_they_said_elsewhere(
    layout: str, rounded: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any], golden: Any
) -> None:
    """Dynamic quantisation may round the other way on another processor, so one frame may differ."""
    trace, told = trace_of(rounded, wav, run), expected["cases"][wav]["sensevoice"][run]
    ids = greedy(trace)
    different = np.count_nonzero(np.array(ids) != told["argmax_ids_int8"][layout])
    assert different <= 1
    if layout == "funasr":
        logits = golden(f"{wav}.{run}.sensevoice")["int8_logits_funasr"]
        assert np.median(np.abs(trace.evidence[0].logits() - logits)) <= 0.02
    if layout in SPOKEN_BY and not different:
        assert trace.raw_text == told[SPOKEN_BY[layout]]


@every_rounded
def test_rounded_files_show_near_what_the_whole_one_shows(layout: str, rounded: Any, trace_of: Any, golden: Any) -> None:
    """Nobody noted the attention of these files; it sums to 1 and is as near to fp32 as their logits are (README, tolerances)."""
    trace, told = trace_of(rounded, "odd", "auto.woitn"), golden("odd.auto.woitn.sensevoice")
    attention = trace.self_attention()
    nearer = {"model_fp16": (0.02, 0.1), "model_q4": (1.0, 20.0)}.get(layout, (0.6, 6.0))
    assert difference(attention, told["attn"]) <= nearer[0]
    assert np.abs(attention.sum("key") - 1).max() <= (2e-3 if layout == "model_fp16" else 1e-5)
    assert difference(trace.log_probs, ctc.log_softmax(told["logits"])) <= nearer[1]
    assert trace.tensor("memory").dtype == np.float32
    assert trace.token_attention().shape == (5, 4, len(trace.tokens), 35)


@every_layout
@every_run
def test_attention_and_memory_are_those_of_funasr(model: Any, wav: str, run: str, trace_of: Any, golden: Any) -> None:
    trace, told = trace_of(model, wav, run), golden(f"{wav}.{run}.sensevoice")
    attention = trace.self_attention()
    assert difference(attention, told["attn"]) <= ATTENTION
    if trace.tokens:  # one run says nothing but tags
        assert difference(trace.token_attention(), tokens_look_at(trace, told)) <= 2 * ATTENTION
    assert np.abs(attention.sum("key") - 1).max() <= 1e-5
    assert difference(trace.tensor("memory"), told["fsmn"]) <= ACTIVATION
    if "attn_out" in told:
        assert difference(trace.tensor("projection"), told["attn_out"]) <= ACTIVATION
        assert difference(trace.tensor("attended"), told["attn_out"] + told["fsmn"]) <= ACTIVATION
        assert difference(trace.tensor("output"), told["layer_out"]) <= 2 * ACTIVATION
    if "qkv" in told:
        assert difference(trace.tensor("value"), told["qkv"][..., 2 * D :]) <= ACTIVATION


@pytest.mark.parametrize("run", [run for run in RUNS if run != ("short", "ja.withitn")], ids=".".join)
def test_forced_alignment_is_that_of_funasr(run: tuple[str, str], golden: Any) -> None:
    """FunASR aligns the collapsed greedy ids of the frames of sound; a second time with blanks made certain."""
    told = golden(".".join([*run, "sensevoice"]))
    log_probs = ctc.log_softmax(told["logits"][4:])
    ids = told["ctc_align_ids"].tolist()
    assert ctc.forced_alignment(log_probs, ids).tolist() == told["ctc_align_path"].tolist()
    log_probs[log_probs.argmax(axis=1) == 0, 0] = 0
    assert ctc.forced_alignment(log_probs, ids).tolist() == told["ctc_align_path_blank0"].tolist()


@every_layout
@pytest.mark.parametrize(("wav", "run"), KNOWN_TO_SHERPA, ids=[".".join(run) for run in KNOWN_TO_SHERPA])
def test_text_tokens_and_starts_are_those_of_sherpa(
    model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any]
) -> None:
    """sherpa-onnx drops the first four collapsed tokens, whatever they are: tags, or tokens where a prompt row is blank.

    Where the four rows collapse to four tokens its list is ours; else it lacks one of our tokens for each row that emits no
    token of its own. Its times are those of the first frame that emits a token; ours (``voxray.timing``) are other ones.
    """
    told = expected["cases"][wav]["sensevoice"][run]
    sherpa, trace = told["sherpa_onnx"]["fp32"], trace_of(model, wav, run)
    lost = 4 - len(ctc.runs(told["argmax_ids"][:4]))
    assert (lost == 0) == (run in ("ja.withitn", "en.withitn"))
    tokens = trace.tokens[lost:]
    assert [token.text for token in tokens] == sherpa["tokens"]
    assert "".join(token.text for token in tokens).strip() == sherpa["text"]
    assert [0.06 * (token.rows[0] - 4) for token in tokens] == pytest.approx(sherpa["timestamps"], abs=1e-5)


@pytest.mark.parametrize(("wav", "run"), RUNS, ids=[".".join(run) for run in RUNS])
def test_frames_are_those_of_funasr(funasr_model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any]) -> None:
    """FunASR's times are those of the frames that emit a token, less 30 ms; ours (``voxray.timing``) are other ones.

    It shares sherpa-onnx's way with the first four collapsed tokens, and joins neighbouring pieces without a word mark into
    one word (``lylyly``). It cuts its times down to whole milliseconds and lets them run past the end of the sound.
    """
    told = expected["cases"][wav]["sensevoice"][run]
    stamps = told["funasr_torch_output_timestamp"]
    spans = [(start / 1000, end / 1000) for start, end in stamps.get("timestamp", [])]
    trace = trace_of(funasr_model, wav, run)
    tokens = trace.tokens[4 - len(ctc.runs(told["argmax_ids"][:4])) :]
    if run == "nospeech.woitn":
        # Its first word is three tokens of ours: 'ly' of three runs.
        assert stamps["words"][0] == "lylyly"
        assert [token.text for token in tokens[:3]] == ["ly"] * 3
        assert spans[0] == pytest.approx(framed(tokens[0].rows[0], tokens[2].rows[1]), abs=MILLISECOND)
        tokens, spans = tokens[3:], spans[1:]
    assert len(tokens) == len(spans)
    for token, (start, end) in zip(tokens, spans, strict=True):
        assert (start, end) == pytest.approx(framed(*token.rows), abs=MILLISECOND)


def framed(first: int, stop: int) -> tuple[float, float]:
    """Return when FunASR says that output rows [first, stop) begin and end."""
    return max(0.06 * (first - 4) - 0.03, 0.0), 0.06 * (stop - 4) - 0.03


@pytest.mark.parametrize("layout", ["funasr", *(name for name in FP32 if name != "lovemefan")])  # it takes one at a time
def test_a_padded_batch_is_that_of_funasr(layout: str, model: Any, data: Path, expected: dict[str, Any], golden: Any) -> None:
    """Three sounds of different lengths with three languages in one pass; rows beyond a length mean nothing."""
    told, texts = golden("batch.sensevoice"), expected["sensevoice_batch"]
    values = [golden(f"{wav}.frontend")["sensevoice_feats"] for wav in texts["order"]]
    feeds = model.feeds(values, "auto", textnorm=False)
    for name, prompt in ((model.layout.language, "language"), (model.layout.textnorm, "textnorm")):
        feeds[name] = told[prompt].astype(feeds[name].dtype)
    names = [block.probabilities for block in model.anatomy.blocks]
    logits, *attention = model.run(feeds, [model.layout.logits, *names])
    if layout == "dynamo":
        told = told | {"logits": np.stack([ctc.log_softmax(one) for one in told["logits"]])}
    for item, rows in enumerate(told["encoder_out_lens"]):
        assert difference(logits[item, :rows], told["logits"][item, :rows]) <= LOGITS
        ids = logits[item, :rows].argmax(axis=1)
        assert ids.tolist() == texts["argmax_ids"][item]
        if layout == "funasr":  # what funasr_onnx itself printed
            assert model.vocabulary.spell(one.id for one in ctc.runs(ids)) == texts["funasr_onnx_texts"][item]
        for layer, weights in enumerate(attention):
            assert difference(weights[item, :, :rows], told["attn"][layer, item, :, :rows]) <= ATTENTION
            assert not weights[item, :, :rows, rows:].any()  # nobody looks at padding


@every_layout
def test_several_sounds_at_once_give_the_rows_of_one_by_one(model: Any, golden: Any) -> None:
    """However many a file takes in a run."""
    waves = ("short", "odd", "stereo")
    parts = [Features(golden(f"{wav}.frontend")["sensevoice_feats"], 0.06, 0.0125) for wav in waves]
    for wav, rows in zip(waves, model.logits(parts), strict=True):
        told = ctc.log_softmax(golden(f"{wav}.auto.woitn.sensevoice")["logits"])
        assert difference(ctc.log_softmax(rows), told) <= LOGITS


TARGETS = ("token:2", "emotion", "text")


@every_layout
def test_exact_relevance_is_the_same_of_every_layout(layout: str, model: Any, funasr_model: Any, trace_of: Any) -> None:
    """The same weights decide for the same reasons, and cells, prompts, positions and biases sum to the score."""
    trace, other = (trace_of(one, "odd", "auto.woitn") for one in (model, funasr_model))
    for target in TARGETS:
        found, wanted = (voxray.explain(*pair, target=target, method="exact") for pair in ((model, trace), (funasr_model, other)))
        assert abs(found.residual) <= 1e-4
        assert found.score == pytest.approx(wanted.score, abs=1e-3)
        assert found.scores.shape == wanted.scores.shape == (80, 205)
        assert difference(found.scores, wanted.scores) <= 1e-4
        assert set(found.parts) == {"prompt", "position", "bias"}
        assert found.parts == pytest.approx(wanted.parts, abs=1e-3)
        assert np.abs(found.scores).max() > 0.01


@every_rounded
def test_exact_relevance_of_rounded_files_sums_to_their_twins_score(layout: str, rounded: Any, trace_of: Any) -> None:
    trace = trace_of(rounded, "odd", "auto.woitn")
    agreed = float((rounded.tape(trace, frozen=True)[0].logits[0].argmax(axis=1) == trace.log_probs.argmax(axis=1)).mean())
    assert agreed >= 0.97
    for target in TARGETS:
        found = voxray.explain(rounded, trace, target=target, method="exact")
        assert abs(found.residual) <= 1e-4
        assert any("twin" in note for note in found.notes)
        assert np.abs(found.scores).max() > 0.01


@every_layout
@pytest.mark.parametrize(
    ("method", "options", "near"),
    [
        ("gradient", {}, 1e-4),
        ("integrated_gradients", {"steps": 8, "most": 8}, 2e-3),
        ("norm_rollout", {}, 1e-4),
        ("value_zeroing", {}, 1e-4),
        ("knockout", {}, 2e-3),
        ("occlusion", {}, 2e-3),
    ],
)
def test_other_methods_say_the_same_of_every_layout(
    method: str, options: dict[str, Any], near: float, model: Any, funasr_model: Any, trace_of: Any
) -> None:
    found, wanted = (
        voxray.explain(one, trace_of(one, "short", "auto.woitn"), target="text", method=method, **options)
        for one in (model, funasr_model)
    )
    assert np.abs(found.scores).max() > 0
    assert difference(found.scores, wanted.scores) <= near * np.abs(wanted.scores).max() + 1e-5


@every_layout
def test_every_file_proves_what_was_found_in_it(layout: str, model: Any) -> None:
    told = model.describe()
    assert (told["layers"], told["heads"], told["width"], told["vocabulary"]) == (5, 4, 48, 280)
    assert [block["width_in"] for block in told["blocks"]] == [560, 48, 48, 48, 48]
    assert model.proof.logit_difference <= 1e-5
    assert max(model.proof.rebuild_errors) <= 1e-5
    assert told["layout"] == {"funasr_dynamo": "funasr", "sherpa": "sherpa-onnx", "dynamo": "openvoiceos"}.get(layout, layout)
