"""Make a SenseVoice-Small of the official size with random weights, in FunASR's and in sherpa-onnx's layout.

    python benchmarks/full_size.py OUT [--seed 0] [--int8]

Time and memory do not depend on what the weights say, so a random model of the right shape measures both without
anybody's licence or a download. What does depend on the weights is how much there is to decode: the output layer is
therefore sharpened and its blank raised until about a quarter of the frames emit, as in speech.

OUT/funasr holds ``model.onnx``, ``am.mvn``, ``tokens.json`` and ``config.yaml``; OUT/sherpa holds ``model.onnx`` with
the metadata that sherpa-onnx reads, and ``tokens.txt``. Both graphs carry the same weights. ``--int8`` adds
``model_quant.onnx`` and ``model.int8.onnx``, quantised with each project's own settings. The sherpa graph is FunASR's
under other names: its opset is 14, where the published file has 13.

Needs the ``bench`` extra: PyTorch, and FunASR 1.4.16, which can be imported without torchaudio.

**Source:** the shapes are FunASR's ``config.yaml`` of iic/SenseVoiceSmall; the exporter is
``funasr.utils.export_utils``; the metadata are those of sherpa-onnx's ``scripts/sense-voice/export-onnx.py``.
"""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path
from typing import Any
from unittest import mock

from bare import PROMPT_ROWS, FloatArray, fbank, feeds, speech_like, stack

ENCODER = {
    "output_size": 512,
    "attention_heads": 4,
    "linear_units": 2048,
    "num_blocks": 50,
    "tp_blocks": 20,
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
CONFIG = {
    "encoder": "SenseVoiceEncoderSmall",
    "encoder_conf": ENCODER,
    "model": "SenseVoiceSmall",
    "model_conf": {"length_normalized_loss": True, "sos": 1, "eos": 2, "ignore_id": -1},
    "tokenizer": "SentencepiecesTokenizer",
    "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
    "frontend": "WavFrontend",
    "frontend_conf": {
        "fs": 16000,
        "window": "hamming",
        "n_mels": 80,
        "frame_length": 25,
        "frame_shift": 10,
        "lfr_m": 7,
        "lfr_n": 6,
        "cmvn_file": None,
    },
}
WIDTH = 560  # seven frames of 80 mel energies
VOCABULARY = 25_055
TENSORS, PARAMETERS = 917, 233_999_167  # of the published weights: the proof that the size is right
EMITTING = 0.25  # share of frames with a token; speech at 60 ms a frame has about this many
SPREAD = 10.0  # standard deviation of a frame's logits; the best token then holds most of the mass, as if trained

FIRST_PIECES = "<unk> <s> </s> ▁the s ▁to ▁and ▁of ▁a ' ▁in"
FIRST_LANGUAGE, NO_SPEECH = 24_884, 24_992
LANGUAGES = {24_884: "zh", 24_885: "en", 24_888: "yue", 24_892: "ja", 24_896: "ko"}
AFTER_NO_SPEECH = (
    "Speech /Speech BGM /BGM Laughter /Laughter Applause /Applause HAPPY SAD ANGRY NEUTRAL FEARFUL DISGUSTED SURPRISED "
    "OTHER EMO_UNKNOWN Cry Sneeze Breath Cough Sing Speech_Noise withitn woitn GBG Event_UNK"
)
SHERPA_NAMES = {
    "speech": "x",
    "speech_lengths": "x_length",
    "textnorm": "text_norm",
    "ctc_logits": "logits",
}


def vocabulary() -> list[str]:
    """Return 25,055 different pieces: the official tags at their ids, made-up pieces everywhere else."""
    tags = [f"<|{LANGUAGES.get(i, f'language_{i}')}|>" for i in range(FIRST_LANGUAGE, NO_SPEECH)]
    tags += [f"<|{name}|>" for name in ("nospeech", *AFTER_NO_SPEECH.split())]
    tags += [f"<|SPECIAL_TOKEN_{i}|>" for i in range(1, VOCABULARY - FIRST_LANGUAGE - len(tags) + 1)]
    pieces = FIRST_PIECES.split()
    syllables = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]
    pieces += [f"▁{one}{two}" for one in syllables for two in syllables]
    pieces += [chr(0x4E00 + i) for i in range(FIRST_LANGUAGE - len(pieces))]  # the block of Chinese characters
    return pieces + tags


def statistics(seed: int) -> tuple[FloatArray, FloatArray]:
    """Return minus the mean and one over the deviation of a minute of stacked features, (560,) float32 each."""
    rows = stack(fbank(speech_like(60.0, seed)))
    return -rows.mean(axis=0), 1.0 / rows.std(axis=0)


def build(seed: int) -> Any:
    """Return FunASR's SenseVoiceSmall with PyTorch's default random weights, having checked that its size is official."""
    import torch
    from funasr.models.sense_voice.model import SenseVoiceSmall

    torch.manual_seed(seed)
    model = SenseVoiceSmall(
        encoder=CONFIG["encoder"],
        encoder_conf=ENCODER,
        input_size=WIDTH,
        vocab_size=VOCABULARY,
        **CONFIG["model_conf"],
    ).eval()
    sizes = [parameter.numel() for parameter in model.parameters()]
    if (len(sizes), sum(sizes)) != (TENSORS, PARAMETERS):
        found = f"{len(sizes)} tensors with {sum(sizes)} parameters"
        raise SystemExit(f"{found}, not {TENSORS} with {PARAMETERS}: install the FunASR that the bench extra names")
    return model


def calibrate(model: Any, features: FloatArray) -> float:
    """Sharpen the output layer and raise its blank, in place, until a quarter of the frames emit; return the share.

    Args:
        model: what ``SenseVoiceSmall.export()`` gives, so that calling it is what the file will compute.
        features: (T, 560) float32, normalised.
    """
    import torch

    head = model.ctc.ctc_lo
    inputs = [torch.from_numpy(value) for value in feeds(features).values()]
    with torch.no_grad():
        logits, _ = model(*inputs)
        scale = SPREAD / logits[0].std(dim=-1).mean()
        head.weight *= scale
        head.bias *= scale
        logits = scale * logits[0, PROMPT_ROWS:]
        margin = logits[:, 1:].max(dim=-1).values - logits[:, 0]
        head.bias[0] += margin.quantile(1.0 - EMITTING)
        logits, _ = model(*inputs)
    return float((logits[0, PROMPT_ROWS:].argmax(dim=-1) != 0).float().mean())


def export(model: Any, folder: Path, *, int8: bool) -> None:
    """Write ``model.onnx``, and ``model_quant.onnx`` where int8 is wanted, with FunASR's exporter.

    FunASR leaves the choice of PyTorch's exporter to its default, which has changed since the published files were
    made; those came from the TorchScript one, which is asked for here.
    """
    import torch
    from funasr.utils.export_utils import _onnx

    with mock.patch("torch.onnx.export", functools.partial(torch.onnx.export, dynamo=False)):
        _onnx(model, quantize=int8, opset_version=14, export_dir=str(folder))


def write_funasr(folder: Path, add: FloatArray, multiply: FloatArray) -> None:
    """Write ``am.mvn``, ``tokens.json`` and ``config.yaml``, each as FunASR reads it."""
    import yaml

    def numbers(values: FloatArray) -> str:
        return " ".join(f"{value:.6f}" for value in values)

    lines = ["<Nnet>", f"<Splice> {WIDTH} {WIDTH}", "[ 0 ]"]
    lines += [f"<AddShift> {WIDTH} {WIDTH}", f"<LearnRateCoef> 0 [ {numbers(add)} ]"]
    lines += [f"<Rescale> {WIDTH} {WIDTH}", f"<LearnRateCoef> 0 [ {numbers(multiply)} ]", "</Nnet>"]
    (folder / "am.mvn").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokens.json").write_text(json.dumps(vocabulary(), ensure_ascii=False, indent=0), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")


def sherpa_metadata(add: FloatArray, multiply: FloatArray) -> dict[str, str]:
    """Return the metadata that sherpa-onnx reads from a SenseVoice file: front end, normalisation, prompt ids."""
    prompts = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12, "nospeech": 13}
    fields = {
        "lfr_window_size": 7,
        "lfr_window_shift": 6,
        "normalize_samples": 0,
        "neg_mean": ",".join(f"{value:.6f}" for value in add),
        "inv_stddev": ",".join(f"{value:.6f}" for value in multiply),
        "model_type": "sense_voice_ctc",
        "version": 2,
        "model_author": "random weights",
        "maintainer": "voxray",
        "vocab_size": VOCABULARY,
        "comment": "SenseVoice-Small by size only: its weights are random",
        **{f"lang_{name}": row for name, row in prompts.items()},
        "with_itn": 14,
        "without_itn": 15,
    }
    return {key: str(value) for key, value in fields.items()}


def write_sherpa(source: Path, folder: Path, metadata: dict[str, str]) -> None:
    """Write FunASR's graph under sherpa-onnx's names with its metadata, and ``tokens.txt``."""
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
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, folder / "model.onnx")
    lines = [f"{piece} {i}\n" for i, piece in enumerate(vocabulary())]
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")


def quantise_sherpa(folder: Path) -> None:
    """Write ``model.int8.onnx`` beside ``model.onnx`` with sherpa-onnx's settings: one scale a weight matrix."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        model_input=folder / "model.onnx",
        model_output=folder / "model.int8.onnx",
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QUInt8,
    )


def make(out: Path, seed: int, *, int8: bool) -> float:
    """Make both folders under ``out``; return the share of frames that emit on the sound used for calibration."""
    funasr, sherpa = out / "funasr", out / "sherpa"
    for folder in (funasr, sherpa):
        folder.mkdir(parents=True, exist_ok=True)
    add, multiply = statistics(seed)
    model = build(seed).export(device="cpu")
    emitting = calibrate(model, (stack(fbank(speech_like(30.0, seed))) + add) * multiply)
    export(model, funasr, int8=int8)
    write_funasr(funasr, add, multiply)
    write_sherpa(funasr / "model.onnx", sherpa, sherpa_metadata(add, multiply))
    if int8:
        quantise_sherpa(sherpa)
    return emitting


def main() -> None:
    """Read the command line and say what was written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the sound used for calibration")
    parser.add_argument("--int8", action="store_true", help="write the quantised files too")
    options = parser.parse_args()
    emitting = make(options.out, options.seed, int8=options.int8)
    print(f"{TENSORS} tensors, {PARAMETERS} parameters; {emitting:.0%} of the frames emit")
    for path in sorted(options.out.rglob("*.*")):
        print(f"{path.stat().st_size:>12,} {path}")


if __name__ == "__main__":
    main()
