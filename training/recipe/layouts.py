"""SenseVoice files as FunASR and sherpa-onnx publish them, from a FunASR model of any size.

A FunASR folder holds ``model.onnx``, ``am.mvn``, ``tokens.json``, ``config.yaml`` and the SentencePiece model that
funasr_onnx decodes with; a sherpa-onnx folder holds ``model.onnx`` with metadata, and ``tokens.txt``. Both graphs carry
the same weights. Quantised, they are called ``model_quant.onnx`` and ``model.int8.onnx``, each made with its own
project's settings. The sherpa graph is FunASR's under other names: its opset is 14, where the published file has 13.

**Source:** the exporter is ``funasr.utils.export_utils``; the metadata are those of sherpa-onnx's
``scripts/sense-voice/export-onnx.py``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from recipe.plan import FEATURES
from voxray.models.sensevoice import LANGUAGES, WITH_ITN, WITHOUT_ITN

SHERPA_NAMES = {"speech": "x", "speech_lengths": "x_length", "textnorm": "text_norm", "ctc_logits": "logits"}

PIECES = "chn_jpn_yue_eng_ko_spectok.bpe.model"  # the name that funasr_onnx asks for

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Description:
    """What the files say beside the weights.

    Attributes:
        tokens: every token, its id its place.
        shift, scale: (560,) normalisation of the features, ``(features + shift) * scale``.
        config: what ``config.yaml`` holds.
        author, comment: for sherpa-onnx's metadata.
    """

    tokens: tuple[str, ...]
    shift: FloatArray
    scale: FloatArray
    config: dict[str, Any]
    author: str
    comment: str


def config(width: int, heads: int, inner: int, blocks: int, tp_blocks: int) -> dict[str, Any]:
    """Return FunASR's ``config.yaml`` of a SenseVoice of some size; the published one is 512, 4, 2048, 50, 20."""
    encoder = {
        "output_size": width,
        "attention_heads": heads,
        "linear_units": inner,
        "num_blocks": blocks,
        "tp_blocks": tp_blocks,
        "dropout_rate": 0.1,
        "positional_dropout_rate": 0.1,
        "attention_dropout_rate": 0.1,
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "normalize_before": True,
        "kernel_size": 11,
        "sanm_shfit": 0,
        "selfattention_layer_type": "sanm",
    }
    frontend = {"fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10, "lfr_m": 7, "lfr_n": 6}
    return {
        "encoder": "SenseVoiceEncoderSmall",
        "encoder_conf": encoder,
        "model": "SenseVoiceSmall",
        "model_conf": {"length_normalized_loss": True, "sos": 1, "eos": 2, "ignore_id": -1},
        "tokenizer": "SentencepiecesTokenizer",
        "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
        "frontend": "WavFrontend",
        "frontend_conf": {**frontend, "cmvn_file": None},
    }


def build(config: dict[str, Any], vocabulary: int) -> Any:
    """Return FunASR's own model of a config, with PyTorch's default random weights."""
    from funasr.models.sense_voice.model import SenseVoiceSmall

    return SenseVoiceSmall(
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        input_size=FEATURES,
        vocab_size=vocabulary,
        **config["model_conf"],
    ).eval()


def write(exported: Any, description: Description, out: Path, *, int8: bool) -> None:
    """Write both layouts, ``out/funasr`` and ``out/sherpa``.

    Args:
        exported: what the FunASR model's ``export()`` returns.
        description: what the files say beside the weights.
        out: folder.
        int8: whether to write the quantised files too.
    """
    funasr, sherpa = out / "funasr", out / "sherpa"
    for folder in (funasr, sherpa):
        folder.mkdir(parents=True, exist_ok=True)
    _write_onnx(exported, funasr, int8=int8)
    _write_texts(funasr, description)
    _write_sherpa(funasr / "model.onnx", sherpa, description)
    if int8:
        _quantise_sherpa(sherpa)


def _write_onnx(exported: Any, folder: Path, *, int8: bool) -> None:
    """Write ``model.onnx``, and ``model_quant.onnx`` where int8 is wanted, with FunASR's exporter.

    FunASR leaves the choice of PyTorch's exporter to its default, which has changed since the published files were
    made; those came from the TorchScript one, which is asked for here.
    """
    import torch
    from funasr.utils.export_utils import _onnx

    with mock.patch("torch.onnx.export", functools.partial(torch.onnx.export, dynamo=False)):
        _onnx(exported, quantize=int8, opset_version=14, export_dir=str(folder))


def _write_texts(folder: Path, description: Description) -> None:
    import yaml

    def numbers(values: FloatArray) -> str:
        return " ".join(f"{value:.6f}" for value in values)

    lines = ["<Nnet>", f"<Splice> {FEATURES} {FEATURES}", "[ 0 ]"]
    lines += [f"<AddShift> {FEATURES} {FEATURES}", f"<LearnRateCoef> 0 [ {numbers(description.shift)} ]"]
    lines += [f"<Rescale> {FEATURES} {FEATURES}", f"<LearnRateCoef> 0 [ {numbers(description.scale)} ]", "</Nnet>"]
    (folder / "am.mvn").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokens.json").write_text(json.dumps(description.tokens, ensure_ascii=False, indent=0), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(description.config, sort_keys=False), encoding="utf-8")
    (folder / PIECES).write_bytes(_sentencepiece(description.tokens))


def _sentencepiece(tokens: tuple[str, ...]) -> bytes:
    """Return a SentencePiece model with these pieces in this order; longer pieces are preferred in encoding."""
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2  # its classes are made at run time
    kinds = proto.ModelProto.SentencePiece
    model = proto.ModelProto()
    model.trainer_spec.model_type = proto.TrainerSpec.UNIGRAM
    model.trainer_spec.vocab_size = len(tokens)
    model.normalizer_spec.name = "identity"
    for token in tokens:
        kind = kinds.USER_DEFINED if token.startswith("<|") else kinds.CONTROL if token in ("<s>", "</s>") else kinds.NORMAL
        model.pieces.add(piece=token, score=float(len(token)), type=kinds.UNKNOWN if token == "<unk>" else kind)
    return bytes(model.SerializeToString())


def _metadata(description: Description) -> dict[str, str]:
    fields = {
        "lfr_window_size": 7,
        "lfr_window_shift": 6,
        "normalize_samples": 0,
        "neg_mean": ",".join(f"{value:.6f}" for value in description.shift),
        "inv_stddev": ",".join(f"{value:.6f}" for value in description.scale),
        "model_type": "sense_voice_ctc",
        "version": 2,
        "model_author": description.author,
        "maintainer": "voxray",
        "vocab_size": len(description.tokens),
        "comment": description.comment,
        **{f"lang_{name}": row for name, row in LANGUAGES.items()},
        "with_itn": WITH_ITN,
        "without_itn": WITHOUT_ITN,
    }
    return {key: str(value) for key, value in fields.items()}


def _write_sherpa(source: Path, folder: Path, description: Description) -> None:
    import onnx

    model = onnx.load(source)
    graph = model.graph
    lengths = next(i for i, output in enumerate(graph.output) if output.name == "encoder_out_lens")
    del graph.output[lengths]
    for value in [*graph.input, *graph.output]:
        value.name = SHERPA_NAMES.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [SHERPA_NAMES.get(name, name) for name in node.input]
        node.output[:] = [SHERPA_NAMES.get(name, name) for name in node.output]
    onnx.helper.set_model_props(model, _metadata(description))
    onnx.save(model, folder / "model.onnx")
    lines = [f"{piece} {i}\n" for i, piece in enumerate(description.tokens)]
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")


def _quantise_sherpa(folder: Path) -> None:
    """Quantise with sherpa-onnx's settings: one scale a weight matrix."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        model_input=folder / "model.onnx",
        model_output=folder / "model.int8.onnx",
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QUInt8,
    )
