"""The same sound through the same weights says and shows the same as the original runtimes.

Goldens: ``tests/data/golden``, made with FunASR's own PyTorch modules, funasr_onnx and sherpa-onnx from the fixture models
(random weights, so the texts have no meaning). The tolerances are those of the fixtures' README: about ten times the largest
difference between the original runtimes themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxray
from voxray import ctc
from voxray.frontend import features
from voxray.richtext import rich_text

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
SHERPA_LATER, FUNASR_EARLIER = 0.0175, 0.0125  # s; where the other tools put the start of the same frame
MILLISECOND = 1.001e-3
D = 48

every_run = pytest.mark.parametrize(("wav", "run"), RUNS, ids=[".".join(run) for run in RUNS])
every_layout = pytest.mark.parametrize("layout", ["funasr", "sherpa"])


@pytest.fixture(scope="module")
def sherpa_model(shared_fixtures: Path) -> Any:
    return voxray.load_model(shared_fixtures / "sensevoice-sherpa" / "model.onnx")


@pytest.fixture(scope="module")
def sherpa_int8(shared_fixtures: Path) -> Any:
    return voxray.load_model(shared_fixtures / "sensevoice-sherpa" / "model.int8.onnx")


@pytest.fixture
def model(layout: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{layout}_model")


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
    model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any], golden: Any
) -> None:
    trace, told = trace_of(model, wav, run), expected["cases"][wav]["sensevoice"][run]
    arrays = golden(f"{wav}.{run}.sensevoice")
    logits = trace.evidence[0].logits()
    assert difference(logits, arrays["onnx_logits"]) <= LOGITS
    assert difference(logits, arrays["logits"]) <= LOGITS
    assert difference(trace.log_probs, ctc.log_softmax(arrays["logits"])) <= LOGITS
    assert greedy(trace) == told["argmax_ids"]
    assert [one.id for one in ctc.runs(greedy(trace))] == told["collapsed_ids"]
    assert trace.raw_text == told["funasr_onnx_text"] == told["funasr_torch_text"]
    assert trace.rich_text == told["rich_postprocess"]
    assert rich_text(told["funasr_torch_text"]) == told["rich_postprocess"]


@every_run
def test_tags_are_read_by_row(funasr_model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any]) -> None:
    """Rows 0 to 3 are the tags even where a row emits a blank or an ordinary piece, unlike in sherpa-onnx."""
    trace = trace_of(funasr_model, wav, run)
    assert [tag.emitted for tag in trace.tags] == expected["cases"][wav]["sensevoice"][run]["prompt_frame_tokens"]
    assert [(tag.kind, tag.row) for tag in trace.tags] == [
        ("language", 0), ("emotion", 1), ("event", 2), ("textnorm", 3),
    ]  # fmt: skip
    for tag in trace.tags:
        row = np.exp(trace.log_probs[tag.row].astype(np.float64))
        label = funasr_model.vocabulary.tags[tag.label]
        rivals = [funasr_model.vocabulary.tags[name] for name in tag.probabilities]
        assert row[label] == row[rivals].max()
        assert tag.mass == pytest.approx(row[rivals].sum(), rel=1e-4)
        assert tag.probability == pytest.approx(row[label] / row[rivals].sum(), rel=1e-4)
        assert sum(tag.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("layout", ["funasr", "sherpa"])
@every_run
def test_int8_says_what_the_same_file_said_elsewhere(
    layout: str, wav: str, run: str, request: pytest.FixtureRequest, trace_of: Any, expected: dict[str, Any], golden: Any
) -> None:
    """Dynamic quantisation may round the other way on another processor, so one frame may differ."""
    trace = trace_of(request.getfixturevalue(f"{layout}_int8"), wav, run)
    told = expected["cases"][wav]["sensevoice"][run]
    ids = greedy(trace)
    different = np.count_nonzero(np.array(ids) != told["argmax_ids_int8"][layout])
    assert different <= 1
    if layout == "funasr":
        logits = golden(f"{wav}.{run}.sensevoice")["int8_logits_funasr"]
        assert np.median(np.abs(trace.evidence[0].logits() - logits)) <= 0.02
        if not different:
            assert trace.raw_text == told["funasr_onnx_int8_text"]


@every_layout
@every_run
def test_attention_and_memory_are_those_of_funasr(model: Any, wav: str, run: str, trace_of: Any, golden: Any) -> None:
    trace, told = trace_of(model, wav, run), golden(f"{wav}.{run}.sensevoice")
    attention = trace.self_attention()
    assert difference(attention, told["attn"]) <= ATTENTION
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
    token of its own. Its times are those of the frame number, 17.5 ms after the start of the frame's cell; ours begin at 0.
    """
    told = expected["cases"][wav]["sensevoice"][run]
    sherpa, trace = told["sherpa_onnx"]["fp32"], trace_of(model, wav, run)
    lost = 4 - len(ctc.runs(told["argmax_ids"][:4]))
    assert (lost == 0) == (run in ("ja.withitn", "en.withitn"))
    tokens = trace.tokens[lost:]
    assert [token.text for token in tokens] == sherpa["tokens"]
    assert "".join(token.text for token in tokens).strip() == sherpa["text"]
    assert [token.start for token in tokens] == pytest.approx(
        [max(start - SHERPA_LATER, 0) for start in sherpa["timestamps"]], abs=1e-5
    )


@pytest.mark.parametrize(("wav", "run"), RUNS, ids=[".".join(run) for run in RUNS])
def test_spans_are_those_of_funasr_12_ms_later(
    funasr_model: Any, wav: str, run: str, trace_of: Any, expected: dict[str, Any]
) -> None:
    """FunASR counts from the start of the first window, we from its centre.

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
        assert spans[0] == pytest.approx((tokens[0].start - FUNASR_EARLIER, tokens[2].end - FUNASR_EARLIER), abs=MILLISECOND)
        tokens, spans = tokens[3:], spans[1:]
    assert len(tokens) == len(spans)
    for token, (start, end) in zip(tokens, spans, strict=True):
        assert token.start == pytest.approx(start + FUNASR_EARLIER if start > 0 else 0, abs=MILLISECOND)
        assert token.end == pytest.approx(min(end + FUNASR_EARLIER, trace.audio.duration), abs=MILLISECOND)


@every_layout
def test_a_padded_batch_is_that_of_funasr(model: Any, data: Path, expected: dict[str, Any], golden: Any) -> None:
    """Three sounds of different lengths with three languages in one pass; rows beyond a length mean nothing."""
    told, texts = golden("batch.sensevoice"), expected["sensevoice_batch"]
    values = [golden(f"{wav}.frontend")["sensevoice_feats"] for wav in texts["order"]]
    feeds = model.feeds(values, "auto", textnorm=False)
    feeds[model.layout.language] = told["language"]
    feeds[model.layout.textnorm] = told["textnorm"]
    names = [block.probabilities for block in model.anatomy.blocks]
    logits, *attention = model.run(feeds, [model.layout.logits, *names])
    for item, rows in enumerate(told["encoder_out_lens"]):
        assert difference(logits[item, :rows], told["logits"][item, :rows]) <= LOGITS
        ids = logits[item, :rows].argmax(axis=1)
        assert ids.tolist() == texts["argmax_ids"][item]
        if model.layout.name == "funasr":  # what funasr_onnx itself printed
            assert model.vocabulary.spell(one.id for one in ctc.runs(ids)) == texts["funasr_onnx_texts"][item]
        for layer, weights in enumerate(attention):
            assert difference(weights[item, :, :rows], told["attn"][layer, item, :, :rows]) <= ATTENTION
            assert not weights[item, :, :rows, rows:].any()  # nobody looks at padding
