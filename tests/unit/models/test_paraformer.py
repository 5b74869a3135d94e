"""Paraformer: how it is told, fed and read, and how its evidence compares with the original's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import voxray
from voxray.graph.graph import Graph
from voxray.models import families, paraformer
from voxray.models.paraformer import Heard, Recogniser, recognise, spelled, token_spans
from voxray.types import AnatomyError, Features, ModelError, OptionError, TraceError

Golden = Callable[[str], dict[str, np.ndarray]]
SOUNDS = ("short", "odd", "stereo")


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    return data / "paraformer-funasr"


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return voxray.load_model(folder / "model.onnx")


@pytest.fixture(scope="module")
def model_int8(folder: Path) -> Any:
    return voxray.load_model(folder / "model_quant.onnx")


@pytest.fixture
def writable(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "paraformer"))


def edited(writable: Path, edit: Callable[[Any], None], name: str = "model.onnx") -> Path:
    path = writable / name
    proto = onnx.load(path)
    edit(proto)
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("seed", SOUNDS)
def test_tokens_and_text_are_those_of_funasr_onnx(
    seed: str, model: Any, model_int8: Any, expected: dict[str, Any], data: Path
) -> None:
    told = expected["cases"][seed]["paraformer"]
    for opened, key in ((model, "funasr_onnx"), (model_int8, "funasr_onnx_int8")):
        text, words = told[key][0]["preds"]
        found = opened.transcribe(data / "audio" / f"{seed}.wav")
        assert found.text == text
        assert [token.text.strip() for token in found.tokens] == words
        assert found.tags == ()
    logits = model.trace(data / "audio" / f"{seed}.wav").evidence[0].logits()
    assert logits.argmax(axis=1).tolist() == told["argmax_ids"]
    assert len(logits) == told["token_num"]


@pytest.mark.parametrize("name", ["short", "odd"])
def test_evidence_is_that_of_the_original(name: str, model: Any, golden: Golden, data: Path) -> None:
    told = golden(f"{name}.paraformer")
    trace = model.trace(data / "audio" / f"{name}.wav")
    evidence = trace.evidence[0]
    np.testing.assert_allclose(trace.features[0].values, golden(f"{name}.frontend")["paraformer_feats"], atol=1e-5)
    np.testing.assert_allclose(evidence.attention(range(3)), told["enc_attn"], atol=1e-5)
    np.testing.assert_allclose(evidence.cross_attention(range(2)), told["cross_attn"], atol=1e-5)
    np.testing.assert_allclose(evidence.alphas(), told["alphas"], atol=1e-5)
    np.testing.assert_allclose(evidence.logits(), told["logprobs"], atol=8e-4)
    np.testing.assert_allclose(evidence.tensor("memory", [0, 1, 2]), told["enc_fsmn"], atol=2e-4)
    rebuilt = evidence.cif()[:, : len(told["encoder_out"])] @ told["encoder_out"]
    np.testing.assert_allclose(rebuilt, told["acoustic_embeds"], atol=2e-5)


def test_a_batch_gives_each_sound_its_own(model: Any, expected: dict[str, Any], golden: Golden, data: Path) -> None:
    sounds = [data / "audio" / f"{name}.wav" for name in SOUNDS]
    alone = [model.transcribe(sound) for sound in sounds]
    together = model.transcribe_batch(sounds, batch_size=3)
    assert [one.text for one in together] == [one.text for one in alone]
    np.testing.assert_allclose(
        [token.start for one in together for token in one.tokens], [token.start for one in alone for token in one.tokens], atol=1e-4
    )
    told = golden("batch.paraformer")
    parts = [model.trace(sound).features[0] for sound in sounds]
    for at, rows in enumerate(model.logits(parts)):
        np.testing.assert_allclose(rows, told["logprobs"][at, : len(rows)], atol=2e-3)
    assert [len(rows) for rows in model.logits(parts)] == expected["paraformer_batch"]["token_num"]


def test_what_the_trace_says_of_tokens(model: Any, golden: Golden, data: Path) -> None:
    told = golden("odd.paraformer")
    trace = model.trace(data / "audio" / "odd.wav")
    rows = [token.peak for token in trace.tokens]
    assert [token.rows for token in trace.tokens] == [(row, row + 1) for row in rows]
    assert rows == [0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 13, 14, 15][: len(rows)]  # rows 5, 9 and 12 say </s>
    weights = trace.token_attention()
    assert weights.dims == ("layer", "head", "token", "frame")
    np.testing.assert_allclose(weights.values, told["cross_attn"][:, :, rows], atol=1e-5)
    assert not weights["prompt_mass"].values.any()
    assert weights.attrs["rows"] == "cross-attention of each token"
    placed = trace.occupancy()
    np.testing.assert_allclose(placed.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(placed[:-1], trace.evidence[0].cif()[rows[:-1], :35], atol=1e-6)
    own = trace.self_attention()
    np.testing.assert_allclose(own.values, told["enc_attn"], atol=1e-5)
    np.testing.assert_allclose(own["query_time"].values, 0.0125 + 0.06 * np.arange(35))
    assert own["key_label"].values[placed[3].argmax()] == trace.tokens[3].text
    assert trace.log_probs.shape == (16, 46)
    assert trace.tensor("value").sizes == {"layer": 3, "row": 35, "channel": 48}
    assert trace.times.shape == (35,)
    assert trace.decoder == (2, 4)


def test_norms_of_cross_attention_heads_are_those_of_a_plain_sum(model: Any, data: Path) -> None:
    trace = model.trace(data / "audio" / "short.wav")
    block = model.decoder.blocks[1]
    (context,) = model.run(model.feeds([trace.features[0].values]), [block.context])
    weight = np.asarray(model.graph.constant(block.projection.weight))
    wanted = [np.linalg.norm(context[0, 1, 12 * head : 12 * head + 12] @ weight[12 * head : 12 * head + 12]) for head in range(4)]
    np.testing.assert_allclose(trace.head_norms([1]).values[0, :, 0], wanted, rtol=1e-5)


def test_a_trace_survives_its_file(model: Any, data: Path, tmp_path: Path) -> None:
    trace = model.trace(data / "audio" / "odd.wav")
    path = trace.save(tmp_path / "odd.trace")
    loaded = voxray.load_trace(path)
    assert loaded.decoder == (2, 4)
    assert loaded.to_dict() == trace.to_dict()
    assert np.array_equal(loaded.token_attention().values, trace.token_attention().values)
    assert np.array_equal(loaded.self_attention().values, trace.self_attention().values)
    assert np.array_equal(loaded.occupancy(), trace.occupancy())
    with pytest.raises(TraceError, match="holds no head norms; load the trace with model="):
        loaded.head_norms()
    np.testing.assert_allclose(voxray.load_trace(path, model).head_norms().values, trace.head_norms().values, rtol=1e-5)
    bare = voxray.load_trace(trace.save(tmp_path / "bare.trace", layers=[]))
    assert np.array_equal(bare.occupancy(), trace.occupancy())
    with pytest.raises(TraceError, match="holds no attention; save the trace with it"):
        bare.token_attention()


def test_what_is_kept_does_not_change_what_is_told(model: Any, data: Path) -> None:
    whole, nothing = (model.trace(data / "audio" / "odd.wav", keep=keep) for keep in (1 << 30, 0))
    assert np.array_equal(whole.token_attention().values, nothing.token_attention().values)
    assert np.array_equal(whole.log_probs, nothing.log_probs)
    assert whole.transcript == nothing.transcript


def test_sound_without_a_token_is_empty_and_no_failure(model: Any, tmp_path: Path) -> None:
    part = Features(np.zeros((1, 560), np.float32), 0.06, 0.0125)
    (rows,) = model.logits([part])
    assert rows.shape == (0, 46)
    evidence = model.replay(part, "auto", textnorm=False)
    assert evidence.logits().shape == (0, 46)
    assert evidence.cross_attention([0, 1]).shape == (2, 4, 0, 1)
    assert evidence.cross_norms([0]).shape == (1, 4, 0)
    assert evidence.placement().shape == (0, 1)
    np.testing.assert_allclose(evidence.attention([0, 1, 2]), np.ones((3, 4, 1, 1)))
    trace = model.trace(np.zeros(500, np.float32))
    assert (trace.text, trace.tokens, trace.words) == ("", (), ())
    assert trace.token_attention().shape == (2, 4, 0, 1)
    assert voxray.load_trace(trace.save(tmp_path / "empty.trace")).token_attention().shape == (2, 4, 0, 1)


def test_long_sound_is_cut_and_numbered_through(model: Any, data: Path) -> None:
    sound = voxray.load_audio(data / "audio" / "odd.wav").samples
    gap = np.zeros(16000, np.float32)
    trace = model.trace(np.concatenate([sound, gap] * 12))
    assert len(trace.pieces) > 1
    assert trace.log_probs.shape[0] == trace.pieces[-1].rows[1]
    weights = trace.token_attention()
    assert weights.shape[2:] == (len(trace.tokens), len(trace.times))
    np.testing.assert_allclose(weights.values.sum(axis=-1), 1, atol=1e-5)
    own = trace.self_attention([0]).values
    assert own.shape[-1] == len(trace.times)
    np.testing.assert_allclose(own.sum(axis=-1), 1, atol=1e-5)
    second = trace.piece(1)
    first, stop = trace.pieces[1].tokens
    np.testing.assert_allclose(
        second.token_attention().values, weights.values[:, :, first:stop, len(trace.features[0].values) :][..., : len(second.times)]
    )
    assert all(one.start <= two.start for one, two in zip(trace.tokens, trace.tokens[1:], strict=False))


def test_spans_are_where_the_running_sum_passes() -> None:
    alphas = np.array([0.0, 0.0, 0.5, 0.5, 0.25, 0.25, 0.5, 0.45], np.float32)
    heard = Heard(np.zeros((2, 3), np.float32), alphas, np.zeros(0, np.float32))
    part = Features(np.zeros((7, 560), np.float32), 0.06, 0.0125)
    edge = 0.0125 - 0.03
    # Token 0 is collected in the frames 2 and 3, half in each: 5 % of it after a tenth of frame 2.
    np.testing.assert_allclose(token_spans(heard, part)[0], [edge + 0.06 * 2.1, edge + 0.06 * 3.9], atol=1e-9)
    np.testing.assert_allclose(token_spans(heard, part)[1], [edge + 0.06 * 4.2, edge + 0.06 * 6.9], atol=1e-9)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["今", "天", "hel@@", "lo", "th@@", "e", "好"], "今天hello the好"),
        (["hel@@", "lo", "quick", "fo@@", "x"], "hello quick fox"),
        (["a", "b", "c", "好"], "ABC好"),
        (["a", "好", "b"], "a好b"),
        (["yes", "a", "b", "day"], "yes AB day"),
        (["a@@", "b", "c"], "ab c"),
        (["1", "2", "day"], "12day"),
        (["hel@@", "好"], "hel好"),
        ([], ""),
    ],
)
def test_pieces_are_joined_as_funasr_joins_them(pieces: list[str], text: str) -> None:
    assert "".join(spelled(pieces)) == text


def test_joining_agrees_with_funasr_itself() -> None:
    postprocess = pytest.importorskip("funasr_onnx.utils.postprocess_utils").sentence_postprocess
    known = ["今", "天", "好", "hel@@", "lo", "th@@", "quick", "a", "b", "c", "yes", "1"]
    generator = np.random.default_rng(5)
    for _ in range(300):
        drawn = [known[one] for one in generator.integers(0, len(known), generator.integers(1, 9))]
        pieces: list[str] = []
        for one in reversed(drawn):  # FunASR moves or drops a joined piece that no letters follow: none are drawn
            if "@@" not in one or (pieces and pieces[0].isascii() and pieces[0] != "1"):
                pieces.insert(0, one)
        if pieces:
            assert "".join(spelled(pieces)) == postprocess(list(pieces))[0], pieces


@pytest.mark.parametrize("name", ["bicif", "seaco"])
def test_files_with_timestamps_and_hotwords_are_those_of_the_original(name: str, data: Path) -> None:
    """Exports of FunASR's BiCif and SeACo models, whose CIF is a loop; see make.py beside them."""
    folder = data / "paraformer-variants" / name
    opened = voxray.load_model(folder / "model.onnx")
    assert bool(opened.layout.hotwords) == (name == "seaco")
    assert (len(opened.decoder.blocks), opened.decoder_proof.heads) == (2, 2)  # attention to hotwords is none to sound
    with np.load(folder / "golden.npz") as told:
        trace = opened.trace(data / "audio" / "odd.wav")
        evidence = trace.evidence[0]
        np.testing.assert_allclose(evidence.alphas(), told["alphas"], atol=1e-5)
        np.testing.assert_allclose(evidence.cross_attention([0, 1]), told["cross"], atol=1e-5)
        feeds = opened.feeds([trace.features[0].values])
        peaks, memory = opened.run(feeds, [opened.layout.peaks, opened.decoder.memory])
        np.testing.assert_allclose(peaks[0], told["peaks"], atol=1e-5)
        np.testing.assert_allclose(evidence.cif()[:, :35] @ memory[0], told["embeds"], atol=1e-5)
    fires = np.flatnonzero(peaks[0] > 0.9999)
    assert [token.start for token in trace.tokens] == pytest.approx([max(0.02 * (fires[t.peak] - 1.5), 0) for t in trace.tokens])


def test_text_and_timestamps_of_seaco_are_those_of_funasr_onnx(data: Path) -> None:
    folder = data / "paraformer-variants" / "seaco"
    told = json.loads((folder / "runtime.json").read_text(encoding="utf-8"))[0]
    found = voxray.load_model(folder / "model.onnx").transcribe(data / "audio" / "odd.wav")
    assert [token.text for token in found.tokens] == [piece.replace("@@", "") for piece in told["raw_tokens"]]
    spans = told["timestamp"]  # FunASR leaves out joined pieces at the end that no letters follow
    assert len(spans) == 14
    for token, (start, end) in zip(found.tokens, spans, strict=False):
        assert (round(1000 * token.start), round(1000 * token.end)) == pytest.approx((start, end), abs=1)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("paraformer-funasr", "model.onnx"),
        ("paraformer-funasr", "model_quant.onnx"),
        ("paraformer-variants/bicif", "model.onnx"),
        ("paraformer-variants/seaco", "model.onnx"),
    ],
)
def test_names_do_not_matter(folder: str, name: str, data: Path, tmp_path: Path) -> None:
    writable = Path(shutil.copytree(data / folder, tmp_path / "model"))
    names = {"": ""}

    def rename_in(graph: Any) -> None:
        for node in graph.node:
            node.name = f"n{len(names)}"
            node.input[:] = [names.setdefault(one, f"t{len(names)}") for one in node.input]
            node.output[:] = [names.setdefault(one, f"t{len(names)}") for one in node.output]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    rename_in(attribute.g)
        for tensor in (*graph.initializer, *graph.input, *graph.output):
            tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
        del graph.value_info[:]

    renamed = voxray.load_model(edited(writable, lambda proto: rename_in(proto.graph), name))
    original = voxray.load_model(data / folder / name)
    mine, yours = (one.trace(data / "audio" / "odd.wav") for one in (renamed, original))
    assert renamed.layout.speech not in ("speech", "x")
    assert [token.id for token in mine.tokens] == [token.id for token in yours.tokens]
    # Last bits may move with the order in which the runtime computes; dynamic quantisation rounds them to whole steps.
    tolerance = 1e-6 if name == "model.onnx" else 0.02
    for read in (lambda one: one.token_attention().values, lambda one: one.self_attention().values, lambda one: one.occupancy()):
        np.testing.assert_allclose(read(mine), read(yours), atol=tolerance, rtol=0)


def with_timestamps(proto: Any) -> None:
    """Add what a BiCif export tells: weights on frames of 20 ms that make the same number of tokens, and where they fire."""
    alphas = "/predictor/Add_output_0"
    constants = {"zero": [0], "one": [1], "minus": [-1], "last": [2], "rows": [0, -1], "thrice": [1, 1, 3]}
    for name, value in constants.items():
        proto.graph.initializer.append(helper.make_tensor(f"us_{name}", 7, [len(value)], value))
    proto.graph.initializer.append(helper.make_tensor("us_axis", 7, [], [1]))
    proto.graph.initializer.append(helper.make_tensor("us_more", 1, [], [0.002]))
    nodes = [
        ("Slice", [alphas, "us_zero", "us_minus", "us_one"], "us_sound"),
        ("ReduceSum", ["us_sound", "us_one"], "us_sum"),
        ("Cast", ["token_num"], "us_count"),
        ("Unsqueeze", ["us_count", "us_one"], "us_counts"),
        ("Add", ["us_counts", "us_more"], "us_wanted"),
        ("Div", ["us_wanted", "us_sum"], "us_scale"),
        ("Mul", ["us_sound", "us_scale"], "us_scaled"),
        ("Unsqueeze", ["us_scaled", "us_last"], "us_column"),
        ("Tile", ["us_column", "us_thrice"], "us_three"),
        ("Reshape", ["us_three", "us_rows"], "us_flat"),
        ("Div", ["us_flat", "us_three_of"], "us_alphas"),
        ("CumSum", ["us_alphas", "us_axis"], "us_running"),
        ("Floor", ["us_running"], "us_whole"),
        ("Sub", ["us_running", "us_alphas"], "us_before"),
        ("Floor", ["us_before"], "us_earlier"),
        ("Sub", ["us_whole", "us_earlier"], "us_fired"),
        ("Sub", ["us_running", "us_whole"], "us_rest"),
        ("Add", ["us_rest", "us_fired"], "us_cif_peak"),
    ]
    proto.graph.initializer.append(helper.make_tensor("us_three_of", 1, [], [3.0]))
    for operator, inputs, output in nodes:
        settings = {"to": 1} if operator == "Cast" else {}
        proto.graph.node.append(helper.make_node(operator, inputs, [output], **settings))
    for name in ("us_alphas", "us_cif_peak"):
        proto.graph.output.append(helper.make_tensor_value_info(name, 1, ["batch_size", "alphas_length"]))


def test_timestamp_outputs_give_the_times(writable: Path, model: Any, data: Path) -> None:
    timed = voxray.load_model(edited(writable, with_timestamps))
    assert timed.layout.peaks == "us_cif_peak"
    assert timed.describe()["decoder"]["timestamps"]
    trace, bare = (one.trace(data / "audio" / "odd.wav") for one in (timed, model))
    assert trace.text == bare.text
    alphas = bare.evidence[0].alphas()[:35].astype(np.float64)
    fine = np.repeat(alphas * 16.002 / alphas.sum(), 3) / 3
    fires, collected = [], 0.0
    for place, one in enumerate(fine):
        collected += one
        if collected >= 1:
            fires.append(place)
            collected -= 1
    assert len(fires) == 16
    ends = [*fires[1:], len(fine) + 1.5]
    for token in trace.tokens:
        first, stop = fires[token.peak], min(ends[token.peak], fires[token.peak] + 30)
        assert token.start == pytest.approx(max(0.02 * (first - 1.5), 0), abs=1e-6)
        assert token.end == pytest.approx(min(0.02 * (stop - 1.5), trace.audio.duration), abs=1e-6)
    assert trace.tokens[0].start != bare.tokens[0].start
    (one, two, three) = timed.transcribe_batch([data / "audio" / f"{name}.wav" for name in SOUNDS])
    assert [round(token.start, 4) for token in two.tokens] == [round(token.start, 4) for token in trace.tokens]
    assert len(one.tokens) == 1
    assert len(three.tokens) == 14


def with_hotwords(proto: Any) -> None:
    """Add a hotword input that moves the token embeddings before the head, as a contextual model's bias decoder does."""
    head = next(node for node in proto.graph.node if node.name == "/decoder/output_layer/MatMul")
    proto.graph.input.append(helper.make_tensor_value_info("bias_embed", 1, ["batch_size", "num_hotwords", 48]))
    mean = helper.make_node("ReduceMean", ["bias_embed"], ["hw_mean"], axes=[1], keepdims=1)
    moved = helper.make_node("Add", [head.input[0], "hw_mean"], ["hw_moved"])
    proto.graph.node.extend([mean, moved])
    head.input[0] = "hw_moved"


def write_embedder(path: Path) -> np.ndarray:
    """Write a model that embeds hotwords: the sum of its pieces so far, (pieces, words, 48) as FunASR's LSTM gives it."""
    table = np.random.default_rng(3).standard_normal((46, 48)).astype(np.float32)
    table[0] = 0
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "hotword"], ["each"]),
            helper.make_node("Transpose", ["each"], ["turned"], perm=[1, 0, 2]),
            helper.make_node("CumSum", ["turned", "axis"], ["hw_embed"]),
        ],
        "embedder",
        [helper.make_tensor_value_info("hotword", 6, ["num_hotwords", 10])],
        [helper.make_tensor_value_info("hw_embed", 1, [10, "num_hotwords", 48])],
        [onnx.numpy_helper.from_array(table, "table"), helper.make_tensor("axis", 7, [], [0])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    return table


def test_hotwords_need_their_embedding_model(writable: Path) -> None:
    path = edited(writable, with_hotwords)
    assert recognise(Graph(path)).hotwords == "bias_embed"
    with pytest.raises(ModelError, match=r"takes hotwords, whose embeddings .* come from model_eb\.onnx; put that file beside"):
        voxray.load_model(path)


def test_hotwords_are_embedded_with_the_one_that_means_none(writable: Path, data: Path) -> None:
    table = write_embedder(writable / "model_eb.onnx")
    path = edited(writable, with_hotwords)
    opened = Recogniser(Graph(path))
    assert opened.hotwords == ()
    values = opened.trace(data / "audio" / "odd.wav").features[0].values
    given = opened.feeds([values, values])["bias_embed"]
    np.testing.assert_allclose(given, np.broadcast_to(table[1], (2, 1, 48)))
    before = opened.logits([Features(values, 0.06, 0.0125)])[0]
    opened.hotwords = ["今天", "气"]
    ids = opened.vocabulary.ids
    wanted = np.stack([table[ids["今"]] + table[ids["天"]], table[ids["气"]], table[1]])
    np.testing.assert_allclose(opened.feeds([values])["bias_embed"][0], wanted, rtol=1e-6)
    assert np.abs(opened.logits([Features(values, 0.06, 0.0125)])[0] - before).max() > 0.01
    opened.hotwords = []
    np.testing.assert_array_equal(opened.logits([Features(values, 0.06, 0.0125)])[0], before)


def test_a_plain_model_takes_no_hotwords(model: Any) -> None:
    with pytest.raises(OptionError, match="takes no hotwords; use a SeACo or contextual Paraformer"):
        model.hotwords = ["今天"]


def test_prompts_are_refused(model: Any) -> None:
    silence = np.zeros(16000, np.float32)
    with pytest.raises(OptionError, match="told no language, got 'zh'; leave it at auto"):
        model.transcribe(silence, "zh")
    with pytest.raises(OptionError, match="normalises no text; leave textnorm off"):
        model.trace(silence, textnorm=True)
    with pytest.raises(OptionError, match="no inner tensor is called 'nothing'"):
        model.trace(silence, tensors=["nothing"])
    with pytest.raises(OptionError, match="layer 3 does not exist"):
        model.trace(silence, layers=[3])


def test_a_model_says_what_it_is(model: Any, model_int8: Any) -> None:
    assert paraformer in families()
    assert repr(model) == "Paraformer('paraformer-funasr/model.onnx', funasr, fp32, 3 layers x 4 heads, decoder 2 x 4)"
    told = model.describe()
    assert json.loads(json.dumps(told)) == told
    assert (told["family"], told["layout"], told["vocabulary"], told["layers"], told["heads"]) == ("paraformer", "funasr", 46, 3, 4)
    assert (told["decoder"]["layers"], told["decoder"]["heads"], told["decoder"]["timestamps"]) == (2, 4, False)
    assert [block["width_in"] for block in told["blocks"]] == [560, 48, 48]
    assert max(block["rebuild_error"] for block in told["blocks"] + told["decoder"]["blocks"]) < 1e-6
    assert model_int8.info.precision == "int8"
    assert model.languages == ("auto",)
    assert model.bias == 1


def test_other_models_are_no_paraformer(data: Path, model: Any) -> None:
    graph = Graph(data / "sensevoice-funasr" / "model.onnx")
    assert recognise(graph) is None
    with pytest.raises(ModelError, match="is no Paraformer: its inputs are speech, speech_lengths, language, textnorm"):
        Recogniser(graph)


def test_the_sherpa_export_is_read_from_its_metadata(
    shared_fixtures: Path, model: Any, expected: dict[str, Any], data: Path
) -> None:
    opened = voxray.load_model(shared_fixtures / "paraformer-sherpa" / "model.onnx")
    assert (opened.layout.name, opened.bias) == ("sherpa-onnx", 0)
    sound = data / "audio" / "stereo.wav"
    told = expected["cases"]["stereo"]["paraformer"]["sherpa_onnx"]["fp32"]["tokens"]
    assert [token.text.strip() for token in opened.transcribe(sound).tokens] == told
    np.testing.assert_allclose(opened.cmvn.shift, model.cmvn.shift, atol=1e-5)


def test_a_damaged_config_is_told(writable: Path) -> None:
    (writable / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"config\.yaml cannot be read"):
        voxray.load_model(writable / "model.onnx")


@pytest.mark.parametrize("kind", ["attention", "overlay", "heads"])
def test_pictures_are_drawn(kind: str, model: Any, data: Path, tmp_path: Path) -> None:
    trace = model.trace(data / "audio" / "odd.wav")
    path = getattr(voxray.plot, kind)(trace, path=tmp_path / f"{kind}.png", dpi=60)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("aggregate", ["mean", "max", "first", "entropy", "value"])
def test_every_way_to_put_heads_together(aggregate: Any, model: Any, data: Path) -> None:
    trace = model.trace(data / "audio" / "odd.wav")
    found = voxray.attention_map(trace, voxray.AttentionView(layer=-1, aggregate=aggregate, smooth=0.2))
    assert found.shape == (13, 35)
    assert "rows: cross-attention" in found.attrs["provenance"]
    assert "smoothed over 0.18 s" in found.attrs["provenance"]


def test_a_model_that_hears_nothing_in_noise_is_proven_on_speech(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recogniser, "_noise", lambda _: np.zeros((1, 560), np.float32))
    opened = Recogniser(Graph(folder / "model.onnx"))
    assert max(opened.decoder_proof.rebuild_errors) < 1e-6
    assert opened.decoder_proof.embedding_error < 1e-5


def test_a_model_that_hears_nothing_is_refused(writable: Path) -> None:
    def deafen(proto: Any) -> None:
        bias = next(one for one in proto.graph.initializer if one.name == "predictor.cif_output.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.array([-30.0], np.float32), bias.name))

    with pytest.raises(AnatomyError, match="no token fires on speech, so its decoder cannot be proven"):
        voxray.load_model(edited(writable, deafen))


def test_a_decoder_that_is_not_what_it_seems_is_refused(writable: Path) -> None:
    def tamper(proto: Any) -> None:
        """Square the attention after its Softmax, so that what is used is not what is found."""
        node = next(one for one in proto.graph.node if one.name == "/decoder/decoders/decoders.1/src_attn/Softmax")
        twice = helper.make_node("Mul", ["raw", "raw"], [node.output[0]])
        node.output[0] = "raw"
        proto.graph.node.append(twice)

    with pytest.raises(AnatomyError, match=r"attention decoder/decoders/decoders\.1/src_attn is changed before it is used"):
        voxray.load_model(edited(writable, tamper))
