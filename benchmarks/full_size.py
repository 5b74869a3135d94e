"""Make a SenseVoice-Small of the official size with random weights, in FunASR's and in sherpa-onnx's layout.

    python benchmarks/full_size.py OUT [--seed 0] [--int8]

Time and memory do not depend on what the weights say, so a random model of the right shape measures both without
anybody's licence or a download. What does depend on the weights is how much there is to decode: the output layer is
therefore sharpened and its blank raised until about a quarter of the frames emit, as in speech.

OUT/funasr and OUT/sherpa are written by ``recipe.layouts`` in the folder ``training``, which must be on PYTHONPATH;
``--int8`` adds the quantised files.

Needs the ``bench`` extra: PyTorch, and FunASR 1.4.16, which can be imported without torchaudio.

**Source:** the shapes are FunASR's ``config.yaml`` of iic/SenseVoiceSmall.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bare import PROMPT_ROWS, FloatArray, fbank, feeds, speech_like, stack
from recipe import layouts

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


def vocabulary() -> tuple[str, ...]:
    """Return 25,055 different pieces: the official tags at their ids, made-up pieces everywhere else."""
    tags = [f"<|{LANGUAGES.get(i, f'language_{i}')}|>" for i in range(FIRST_LANGUAGE, NO_SPEECH)]
    tags += [f"<|{name}|>" for name in ("nospeech", *AFTER_NO_SPEECH.split())]
    tags += [f"<|SPECIAL_TOKEN_{i}|>" for i in range(1, VOCABULARY - FIRST_LANGUAGE - len(tags) + 1)]
    pieces = FIRST_PIECES.split()
    syllables = [consonant + vowel for consonant in "bdfghjklmnprstvwz" for vowel in "aeiou"]
    pieces += [f"▁{one}{two}" for one in syllables for two in syllables]
    pieces += [chr(0x4E00 + i) for i in range(FIRST_LANGUAGE - len(pieces))]  # the block of Chinese characters
    return (*pieces, *tags)


def statistics(seed: int) -> tuple[FloatArray, FloatArray]:
    """Return minus the mean and one over the deviation of a minute of stacked features, (560,) float32 each."""
    rows = stack(fbank(speech_like(60.0, seed)))
    return -rows.mean(axis=0), 1.0 / rows.std(axis=0)


def build(config: dict[str, Any], seed: int) -> Any:
    """Return FunASR's SenseVoiceSmall with random weights, having checked that its size is official."""
    import torch

    torch.manual_seed(seed)
    model = layouts.build(config, VOCABULARY)
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


def make(out: Path, seed: int, *, int8: bool) -> float:
    """Make both folders under ``out``; return the share of frames that emit on the sound used for calibration."""
    shift, scale = statistics(seed)
    config = layouts.config(width=512, heads=4, inner=2048, blocks=50, tp_blocks=20)
    comment = "SenseVoice-Small by size only: its weights are random"
    description = layouts.Description(vocabulary(), shift, scale, config, "random weights", comment)
    model = build(config, seed).export(device="cpu")
    emitting = calibrate(model, (stack(fbank(speech_like(30.0, seed))) + shift) * scale)
    layouts.write(model, description, out, int8=int8)
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
