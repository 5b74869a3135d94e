"""Write the small models that the generic family is tested on, with what PyTorch itself makes of a sound.

Usage: ``python scripts/generic_fixtures.py`` where PyTorch, transformers, onnxscript and soundfile are installed. It writes
``tests/data/generic-wav2vec2`` (waveform in, TorchScript exporter), ``generic-bert`` (stacked Kaldi filter bank in, a conformer
with relative keys, a mask as an input, TorchScript exporter) and ``generic-parakeet`` (NeMo's log mel spectrogram in, axes swapped,
a FastConformer with Transformer-XL positions, log posteriors out, torch.export).

The weights are random but for queries and keys, which are made larger, and the last layer, which is fitted to random texts so that
the greedy text changes with the sound; they mean nothing. ``golden.npz`` holds, for ``tests/data/audio/odd.wav``: ``features`` by
the model's own feature extractor, ``logits``, ``attention`` (layers, heads, rows, rows), ``ids`` (the greedy path) and
``gradient``, by autograd in double precision, of ``sum(weights * logits[rows, picked])`` by the features.

``generic-s2t`` is a Speech2Text: encoder and decoder in two files. Its last layer is fitted so that it says a random text of each
sound. Its ``golden.npz`` holds ``features``, ``states`` (the encoder's result), ``ids`` (what ``generate`` says, start and end
included), ``logits`` of all but the last of them, ``attention`` of the encoder and ``cross`` of the decoder.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import (
    ParakeetCTCConfig,
    ParakeetForCTC,
    SeamlessM4TFeatureExtractor,
    Speech2TextConfig,
    Speech2TextFeatureExtractor,
    Speech2TextForConditionalGeneration,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)
from transformers.models.parakeet.feature_extraction_parakeet import ParakeetFeatureExtractor

DATA = Path(__file__).parents[1] / "tests" / "data"
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "layerdrop": 0.0,
    "attn_implementation": "eager",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
DYNAMIC = torch.export.Dim.DYNAMIC


class Waveform(torch.nn.Module):
    """wav2vec2 for the exporter: samples in, logits out."""

    inputs, output = ("input_values",), "logits"
    axes = ({0: "batch", 1: "samples"},)

    def __init__(self) -> None:
        super().__init__()
        self.core = Wav2Vec2ForCTC(
            Wav2Vec2Config(vocab_size=32, conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, **SMALL)
        )
        self.head = self.core.lm_head

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return logits (B, N, V)."""
        return self.core(samples).logits

    def features(self, sound: Any) -> tuple[torch.Tensor, ...]:
        """Return what goes in for a sound."""
        made = Wav2Vec2FeatureExtractor(do_normalize=True)(sound, sampling_rate=16000, return_tensors="pt")
        return (made["input_values"],)


class Bank(torch.nn.Module):
    """Wav2Vec2-BERT for the exporter: stacked filter bank and mask in, logits out."""

    inputs, output = ("input_features", "attention_mask"), "logits"
    axes = ({0: "batch", 1: "frames"}, {0: "batch", 1: "frames"})

    def __init__(self) -> None:
        super().__init__()
        config = Wav2Vec2BertConfig(
            vocab_size=40, feature_projection_input_dim=160, conv_depthwise_kernel_size=7, left_max_position_embeddings=16, **SMALL
        )
        self.core = Wav2Vec2BertForCTC(config)
        self.head = self.core.lm_head

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return logits (B, N, V)."""
        return self.core(features, attention_mask=mask).logits

    def features(self, sound: Any) -> tuple[torch.Tensor, ...]:
        """Return what goes in for a sound; a last row that is not full is left out."""
        made = SeamlessM4TFeatureExtractor()(sound, sampling_rate=16000, return_tensors="pt")
        kept = made["attention_mask"][0].bool()
        return made["input_features"][:, kept], made["attention_mask"][:, kept].long()


class Spectrogram(torch.nn.Module):
    """Parakeet for the exporter, entered and left as NeMo's own export is: (B, mels, F) and lengths in, log posteriors out."""

    inputs, output = ("audio_signal", "length"), "logprobs"
    axes = ({0: "batch", 2: "frames"}, {0: "batch"})

    def __init__(self) -> None:
        super().__init__()
        encoder = SMALL | {
            "conv_kernel_size": 9,
            "subsampling_conv_channels": 8,
            "num_mel_bins": 80,
            "max_position_embeddings": 512,
        }
        self.core = ParakeetForCTC(ParakeetCTCConfig(vocab_size=33, pad_token_id=32, encoder_config=encoder))
        self.core.set_attn_implementation("eager")  # else torch.export fails on its shapes, and there is no attention to hook
        self.head = self.core.ctc_head

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return log posteriors (B, N, V)."""
        mask = torch.arange(features.shape[2])[None] < lengths[:, None]
        return self.core(features.transpose(1, 2), attention_mask=mask).logits.log_softmax(-1)

    def features(self, sound: Any) -> tuple[torch.Tensor, ...]:
        """Return what goes in for a sound."""
        made = ParakeetFeatureExtractor()(sound, sampling_rate=16000, return_tensors="pt")
        count = int(made["attention_mask"].sum())
        return made["input_features"][:, :count].transpose(1, 2).contiguous(), torch.tensor([count])


@dataclass(frozen=True)
class Fixture:
    """A model, where it goes, its last layer's text, and what lies beside it."""

    name: str
    model: Any
    dynamo: bool
    blank: int
    space: int
    files: dict[str, str]


def sharpen(model: Any) -> None:
    """Make queries and keys larger: fresh from its dice, a model attends to all rows nearly alike."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "linear_q.weight", "linear_k.weight", "distance_embedding.weight")):
                weight.mul_(20)


def fit(fixture: Fixture, sounds: list[Any]) -> None:
    """Fit the last layer by ridge regression to random texts, each token one to three rows long, blanks between them."""
    model, dice = fixture.model, np.random.default_rng(5)
    hidden: list[torch.Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    with torch.no_grad():
        for sound in sounds:
            model(*model.features(sound))
    hook.remove()
    swapped = hidden[0].dim() == 3 and hidden[0].shape[1] == model.head.weight.shape[1] and isinstance(model.head, torch.nn.Conv1d)
    rows = np.concatenate([(one.transpose(1, 2) if swapped else one)[0].numpy() for one in hidden]).astype(np.float64)
    size = model.head.weight.shape[0]
    wanted = np.full((len(rows), size), -4.0)
    at = 0
    while at < len(rows):
        chance = dice.random()
        token = fixture.blank if chance < 0.4 else fixture.space if chance < 0.5 else int(dice.integers(0, size))
        stop = at + int(dice.integers(1, 4))
        wanted[at:stop, token] = 6.0
        at = stop
    full = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    solved = np.linalg.solve(full.T @ full + 1e-3 * np.eye(full.shape[1]), full.T @ wanted)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(solved[:-1].T.reshape(model.head.weight.shape)))
        model.head.bias.copy_(torch.from_numpy(solved[-1]))


def export(fixture: Fixture, folder: Path, example: tuple[torch.Tensor, ...]) -> None:
    """Export by one of PyTorch's two exporters."""
    model, names = fixture.model, {"input_names": list(fixture.model.inputs), "output_names": [fixture.model.output]}
    if fixture.dynamo:
        shapes = tuple(dict.fromkeys(axes, DYNAMIC) for axes in model.axes)
        program = torch.onnx.export(model, example, dynamic_shapes=shapes, opset_version=18, dynamo=True, **names)
        for node in program.model.graph:
            node.metadata_props.clear()  # names of folders and lines of source, which nobody reads
        program.save(folder / "model.onnx", external_data=False)
        return
    axes = dict(zip(model.inputs, model.axes, strict=True)) | {model.output: {0: "batch", 1: "rows"}}
    torch.onnx.export(model, example, folder / "model.onnx", dynamic_axes=axes, opset_version=17, dynamo=False, **names)


def golden(fixture: Fixture, sound: Any) -> dict[str, Any]:
    """Return what PyTorch makes of a sound."""
    model = fixture.model
    inputs = model.features(sound)
    looks: list[torch.Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, outputs: looks.append(outputs[1][0]))
        for name, module in model.named_modules()
        if name.endswith(("attention", "self_attn"))
    ]
    with torch.no_grad():
        logits = model(*inputs)[0].numpy()
    for hook in hooks:
        hook.remove()
    dice = np.random.default_rng(9)
    rows, picked = dice.integers(0, len(logits), 6), dice.integers(0, logits.shape[1], 6)
    weights = dice.standard_normal(6)
    weights -= weights.mean()
    exact = model.double()
    source = inputs[0].double().requires_grad_()
    chosen = exact(source, *inputs[1:])[0][torch.from_numpy(rows), torch.from_numpy(picked)]
    (torch.from_numpy(weights) * chosen).sum().backward()
    model.float()
    return {
        "features": inputs[0][0].numpy(),
        "logits": logits,
        "attention": torch.stack(looks).numpy(),
        "ids": logits.argmax(axis=1),
        "rows": rows,
        "picked": picked,
        "weights": weights,
        "gradient": source.grad[0].numpy().astype(np.float32),
    }


def fixtures() -> list[Fixture]:
    """Return the fixtures."""
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    pieces = ["<blk>", "<unk>", *(f"▁{one}" for one in LETTERS[:11]), *LETTERS[:26], "▁the"]
    nemo = ["<unk>", "▁", *LETTERS, "▁a", "▁i", "▁o", "<blk>"]
    torch.manual_seed(303)
    return [
        Fixture(
            "generic-wav2vec2",
            Waveform().eval(),
            dynamo=False,
            blank=0,
            space=4,
            files={"vocab.json": json.dumps({piece: index for index, piece in enumerate(letters)}), "voxray.toml": WAV2VEC2},
        ),
        Fixture(
            "generic-bert",
            Bank().eval(),
            dynamo=False,
            blank=0,
            space=39,
            files={"vocab.txt": "\n".join(pieces), "voxray.toml": BERT},
        ),
        Fixture(
            "generic-parakeet",
            Spectrogram().eval(),
            dynamo=True,
            blank=32,
            space=1,
            files={
                "tokens.txt": "".join(f"{piece} {index}\n" for index, piece in enumerate(nemo)),
                "voxray.json": json.dumps(PARAKEET, indent=2),
            },
        ),
    ]


WAV2VEC2 = """# A wav2vec2 for CTC, as transformers exports it.
[input]
sound = "input_values"

[output]
scores = "logits"

[vocabulary]
file = "vocab.json"
blank = "<pad>"
space = "|"
hidden = ["<s>", "</s>", "<unk>"]

[time]
hop = 0.02       # the strides of its convolutions multiplied: 320 samples
first = 0.0125   # the middle of the first 400 samples

[front_end]
kind = "waveform"
normalise = "mean-std"
"""

BERT = """# A Wav2Vec2-BERT for CTC, as transformers exports it.
[input]
sound = "input_features"
mask = "attention_mask"

[output]
scores = "logits"

[vocabulary]
file = "vocab.txt"
blank = "<blk>"
hidden = ["<unk>"]

[time]
hop = 0.02
first = 0.0175

[front_end]
kind = "kaldi-fbank"
normalise = "mean-std"
epsilon = 0.0
stack = 2
stride = 2
stacking = "chunks"
"""

PARAKEET = {
    "input": {"sound": "audio_signal", "layout": "features-time", "lengths": "length"},
    "output": {"scores": "logprobs", "log_probs": True},
    "vocabulary": {"file": "tokens.txt", "blank": "<blk>", "hidden": ["<unk>"]},
    "time": {"hop": 0.08, "first": 0.0},
    "front_end": {"kind": "log-mel", "normalise": "mean-std"},
}


S2T = """# A Speech2Text of fairseq, as transformers exports it: encoder and decoder.
kind = "encoder-decoder"
model = "encoder.onnx"

[input]
sound = "input_features"
mask = "attention_mask"

[decoder]
file = "decoder.onnx"
states = "last_hidden_state"
memory = "encoder_hidden_states"
tokens = "input_ids"
scores = "logits"
start = ["</s>"]
end = "</s>"
longest = 40

[vocabulary]
file = "vocab.json"
hidden = ["<s>", "<pad>", "<unk>"]

[time]
hop = 0.04

[front_end]
kind = "kaldi-fbank"
normalise = "mean-std"
unbiased = false
epsilon = 0.0
"""
START = END = 2


class Encoder(torch.nn.Module):
    """The encoder of a Speech2Text for the exporter."""

    def __init__(self, core: Any) -> None:
        super().__init__()
        self.core = core

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the encoder's result (B, T, D)."""
        return self.core.model.encoder(features, attention_mask=mask).last_hidden_state


class Decoder(torch.nn.Module):
    """The decoder of a Speech2Text for the exporter, without kept keys."""

    def __init__(self, core: Any) -> None:
        super().__init__()
        self.core = core

    def forward(self, tokens: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return logits (B, U, V)."""
        return self.core.lm_head(self.hidden(tokens, states))

    def hidden(self, tokens: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return what enters the last layer (B, U, D)."""
        return self.core.model.decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False).last_hidden_state


def heard_by(sound: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and mask for a Speech2Text."""
    made = Speech2TextFeatureExtractor()(sound, sampling_rate=16000, return_tensors="pt")
    return made["input_features"], made["attention_mask"].long()


def speak(folder: Path, sounds: list[Any]) -> None:
    """Write the Speech2Text."""
    torch.manual_seed(404)
    sizes = {"d_model": 32, "vocab_size": 40, "max_source_positions": 800, "max_target_positions": 64, "conv_channels": 16}
    ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": END, "decoder_start_token_id": START}
    halves = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in (
        ("layers", 2), ("attention_heads", 2), ("ffn_dim", 64), ("layerdrop", 0.0))}  # fmt: skip
    core = Speech2TextForConditionalGeneration(Speech2TextConfig(**sizes, **ends, **halves)).eval()
    core.set_attn_implementation("eager")
    sharpen(core)
    encoder, decoder = Encoder(core).eval(), Decoder(core).eval()
    dice, rows, wanted = np.random.default_rng(8), [], []
    with torch.no_grad():
        for sound in sounds:
            text = [START, *dice.integers(4, 40, 9).tolist(), END]
            hidden = decoder.hidden(torch.tensor([text[:-1]]), encoder(*heard_by(sound)))
            rows.append(hidden[0].numpy().astype(np.float64))
            wanted += text[1:]
        matrix, goal = np.concatenate(rows), np.full((len(wanted), 40), -2.0)
        goal[np.arange(len(wanted)), wanted] = 8.0
        solved = np.linalg.solve(matrix.T @ matrix + 1e-3 * np.eye(32), matrix.T @ goal)
        core.lm_head.weight = torch.nn.Parameter(torch.from_numpy(solved.T.astype(np.float32)))
    features, mask = heard_by(sounds[0])
    states = encoder(features, mask)
    axes = {"input_features": {0: "b", 1: "t"}, "attention_mask": {0: "b", 1: "t"}, "last_hidden_state": {0: "b", 1: "n"}}
    names = {"input_names": ["input_features", "attention_mask"], "output_names": ["last_hidden_state"], "dynamic_axes": axes}
    torch.onnx.export(encoder, (features, mask), folder / "encoder.onnx", opset_version=17, dynamo=False, **names)
    axes = {"input_ids": {0: "b", 1: "u"}, "encoder_hidden_states": {0: "b", 1: "n"}, "logits": {0: "b", 1: "u"}}
    names = {"input_names": ["input_ids", "encoder_hidden_states"], "output_names": ["logits"], "dynamic_axes": axes}
    example = (torch.tensor([[START, 5, 6]]), states)
    torch.onnx.export(decoder, example, folder / "decoder.onnx", opset_version=17, dynamo=False, **names)
    ids = core.generate(features, attention_mask=mask, max_new_tokens=40, num_beams=1, do_sample=False)
    with torch.no_grad():
        out = core(features, attention_mask=mask, decoder_input_ids=ids[:, :-1], output_attentions=True, use_cache=False)
    np.savez_compressed(
        folder / "golden.npz",
        features=features[0].numpy(),
        states=states[0].detach().numpy(),
        ids=ids[0].numpy(),
        logits=out.logits[0].numpy(),
        attention=torch.cat(out.encoder_attentions).numpy(),
        cross=torch.cat(out.cross_attentions).numpy(),
    )
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁{one}" for one in LETTERS[:13]), *LETTERS[:23]]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}), encoding="utf-8")
    (folder / "voxray.toml").write_text(S2T, encoding="utf-8")


def main() -> None:
    """Write every fixture."""
    warnings.simplefilter("ignore")
    sounds = [soundfile.read(DATA / "audio" / f"{name}.wav", dtype="float32")[0] for name in ("odd", "short")]
    for fixture in fixtures():
        folder = DATA / fixture.name
        folder.mkdir(exist_ok=True)
        sharpen(fixture.model)
        fit(fixture, sounds)
        export(fixture, folder, fixture.model.features(sounds[0]))
        np.savez_compressed(folder / "golden.npz", **golden(fixture, sounds[0]))
        for name, text in fixture.files.items():
            (folder / name).write_text(text, encoding="utf-8")
    folder = DATA / "generic-s2t"
    folder.mkdir(exist_ok=True)
    speak(folder, sounds)


if __name__ == "__main__":
    main()
