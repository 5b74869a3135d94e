"""Make the models of this folder: tiny Paraformers with random weights, exported by FunASR's own code, and what the original says.

Run as ``python make.py`` where funasr 1.4.16 and torch 2.13 are installed, then as ``python make.py runtime`` where funasr_onnx
0.4.3 is. ``bicif`` tells timestamps, ``seaco`` does too and takes hotwords.
Each folder gets ``golden.npz``: of the original PyTorch modules, on the features of ``odd.wav``, ``alphas`` (T + 1), ``embeds``
(U, D), ``peaks`` (3 T) on upsampled frames, and ``cross`` (layers, heads, U, T). ``seaco/runtime.json`` is what funasr_onnx returns
for ``odd.wav`` without dither and without hotwords.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
WIDTH, VOCABULARY = 16, 46
BLOCK = {
    "attention_heads": 2,
    "linear_units": 24,
    "dropout_rate": 0.1,
    "positional_dropout_rate": 0.1,
    "kernel_size": 11,
    "sanm_shfit": 0,
}
DECODER = BLOCK | {"num_blocks": 2, "self_attention_dropout_rate": 0.1, "src_attention_dropout_rate": 0.1}
OPTIONS: dict[str, Any] = {
    "encoder": "SANMEncoder",
    "encoder_conf": BLOCK
    | {"output_size": WIDTH, "num_blocks": 2, "attention_dropout_rate": 0.1, "input_layer": "pe"}
    | {"pos_enc_class": "SinusoidalPositionEncoder", "normalize_before": True, "selfattention_layer_type": "sanm"},
    "decoder": "ParaformerSANMDecoder",
    "decoder_conf": DECODER | {"att_layer_num": 2},
    "predictor": "CifPredictorV3",
    "predictor_conf": {"idim": WIDTH, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45, "upsample_times": 3}
    | {"smooth_factor2": 0.25, "noise_threshold2": 0.01, "use_cif1_cnn": False, "upsample_type": "cnn_blstm"},
    "seaco_decoder": "ParaformerSANMDecoder",
    "seaco_decoder_conf": DECODER | {"num_blocks": 6, "use_output_layer": False, "wo_input_layer": True},
    "inner_dim": WIDTH,
    "bias_encoder_type": "lstm",
    "NO_BIAS": 37,
    "input_size": 560,
    "vocab_size": VOCABULARY,
    "predictor_bias": 1,
    "ctc_weight": 0.0,
    "max_seq_len": 512,
    "device": "cpu",
    "type": "onnx",
}


def original(model: Any, speech: Any, lengths: Any) -> dict[str, np.ndarray]:
    """Return what the original modules make of features."""
    import torch

    attention: list[Any] = []
    hooks = [
        layer.src_attn.dropout.register_forward_pre_hook(lambda _, given: attention.append(given[0]))
        for layer in model.decoder.decoders
    ]
    hidden, sizes = model.encode(speech, lengths)[:2]
    mask = torch.ones(1, 1, hidden.shape[1])
    embeds, _, alphas, _, _ = model.predictor(hidden, None, mask, ignore_id=-1)
    count = torch.floor(alphas.sum(-1)).int()
    model.decoder(hidden, sizes, embeds, count)
    peaks = model.predictor.get_upsample_timestamp(hidden, mask, count)[3]
    for hook in hooks:
        hook.remove()
    found = {"alphas": alphas[0], "embeds": embeds[0], "peaks": peaks[0], "cross": torch.cat(attention)}
    return {name: one.detach().numpy().astype(np.float32) for name, one in found.items()}


def export(module: Any, folder: Path) -> None:
    """Write a module as FunASR's exporter does."""
    import torch

    given = module.export_dummy_inputs()
    if not isinstance(given, tuple):
        given = (given.clamp(max=VOCABULARY - 1),)
    elif len(given) == 3:
        given = (*given[:2], torch.randn(2, 1, WIDTH))
    names = {"input_names": module.export_input_names(), "output_names": module.export_output_names()}
    path = folder / f"{module.export_name}.onnx"
    torch.onnx.export(module, given, str(path), opset_version=14, dynamic_axes=module.export_dynamic_axes(), dynamo=False, **names)


def make(name: str, family: str) -> None:
    """Write one model with what lies beside it."""
    import torch
    from funasr.register import tables

    torch.manual_seed(11)
    importlib.import_module(f"funasr.models.{family}.model")
    kind = {"bicif": "BiCifParaformer", "seaco": "SeacoParaformer"}[name]
    model = tables.model_classes[kind](**OPTIONS)
    model.eval()
    with torch.no_grad():
        for weight in model.decoder.output_layer.parameters():
            weight.mul_(6)  # or one token would win everywhere
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    speech = torch.from_numpy(np.load(HERE.parent / "golden" / "odd.frontend.npz")["paraformer_feats"])[None]
    lengths = torch.tensor([speech.shape[1]], dtype=torch.int32)
    with torch.no_grad():
        golden = original(model, speech, lengths)
        parts = model.export(**OPTIONS)
        for part in parts if isinstance(parts, tuple) else (parts,):
            part.eval()
            export(part, folder)
    np.savez_compressed(folder / "golden.npz", **golden)
    for beside in ("am.mvn", "tokens.json", "config.yaml"):
        shutil.copyfile(HERE.parent / "paraformer-funasr" / beside, folder / beside)


def ask_runtime() -> None:
    """Write down what funasr_onnx makes of the recording."""
    from funasr_onnx import SeacoParaformer

    model = SeacoParaformer(str(HERE / "seaco"))
    model.frontend.opts.frame_opts.dither = 0
    said = model([str(HERE.parent / "audio" / "odd.wav")], "")
    (HERE / "seaco" / "runtime.json").write_text(json.dumps(said, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["runtime"]:
        ask_runtime()
        sys.exit()
    for module in ("bicif_paraformer.cif_predictor", "paraformer.decoder", "sanm.encoder"):
        importlib.import_module(f"funasr.models.{module}")
    make("bicif", "bicif_paraformer")
    make("seaco", "seaco_paraformer")
