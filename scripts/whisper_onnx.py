"""Write a Whisper model as the ONNX files that are published of it: Optimum's layouts and sherpa-onnx's.

Used by ``whisper_fixtures.py`` and ``whisper_base.py``, where ``optimum-onnx`` and ``openai-whisper`` are installed; Voxray itself
needs neither. The model comes as transformers' ``WhisperForConditionalGeneration``:

- Optimum's files are written by Optimum: plain (an encoder, a decoder for the first step and one for the others), merged (both
  decoders in one file that chooses with ``If``), and timestamped (merged, with the cross-attention of every layer as outputs).
- sherpa-onnx's files are written from OpenAI's own class with the same weights. The decoder has one fixed cache of 448 places
  that comes in and goes out, and the encoder gives the cross-attention's keys and values in place of its hidden states.
  With ``heads``, the decoder also gives the softmaxed attention of those heads, and the metadata name them.

**Source:** names and shapes of the second: k2-fsa/sherpa-onnx, ``scripts/whisper/export-onnx.py`` and
``export-onnx-with-attention.py``.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from optimum.exporters.onnx import onnx_export_from_model
from optimum.exporters.onnx.model_configs import WhisperOnnxConfig
from torch import Tensor, nn
from torch.nn import functional
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import Tokenizer

TASK = "automatic-speech-recognition-with-past"
OPSET, ATTENTION_OPSET = 17, 13  # sherpa-onnx's scripts ask for these
ATTENTION_VERSION = 2  # of the metadata, from which on sherpa-onnx expects the attention output
NAMES = (
    ("layers.", "blocks."),
    ("encoder_attn_layer_norm.", "cross_attn_ln."),
    ("self_attn_layer_norm.", "attn_ln."),
    ("final_layer_norm.", "mlp_ln."),
    ("encoder_attn.", "cross_attn."),
    ("self_attn.", "attn."),
    ("q_proj.", "query."),
    ("k_proj.", "key."),
    ("v_proj.", "value."),
    ("out_proj.", "out."),
    ("fc1.", "mlp.0."),
    ("fc2.", "mlp.2."),
    ("embed_positions.weight", "positional_embedding"),
    ("embed_tokens.", "token_embedding."),
    ("encoder.layer_norm.", "encoder.ln_post."),
    ("decoder.layer_norm.", "decoder.ln."),
)
"""transformers' names of Whisper's parts, and OpenAI's."""

Heads = Sequence[tuple[int, int]]


# --- Optimum --------------------------------------------------------------------------------------------------------------------


class TimestampedConfig(WhisperOnnxConfig):
    """Optimum's description of Whisper, with ``cross_attentions.N`` among the decoder's outputs."""

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Names of the outputs, each with its dynamic axes."""
        outputs = dict(super().outputs)
        if "logits" in outputs:
            axes = {0: "batch_size", 2: "decoder_sequence_length", 3: "encoder_sequence_length"}
            outputs |= {f"cross_attentions.{layer}": axes for layer in range(self._config.decoder_layers)}
        return outputs


def write_optimum(model: Any, folder: Path) -> None:
    """Write ``encoder_model.onnx``, ``decoder_model.onnx`` and ``decoder_with_past_model.onnx``."""
    _optimum(model, folder, no_post_process=True)


def write_merged(model: Any, folder: Path) -> None:
    """Write ``encoder_model.onnx`` and ``decoder_model_merged.onnx``."""
    _optimum(model, folder)
    _keep(folder, "encoder_model.onnx", "decoder_model_merged.onnx")


def write_timestamped(model: Any, folder: Path) -> None:
    """Write the merged layout whose decoder also gives its cross-attention, softmaxed, every layer and head."""
    config = TimestampedConfig(model.config, task="automatic-speech-recognition", use_past=False, use_past_in_inputs=False)
    first = config.with_behavior("decoder", use_past=True, use_past_in_inputs=False)
    later = config.with_behavior("decoder", use_past=True, use_past_in_inputs=True)
    parts = {
        "encoder_model": config.with_behavior("encoder"),
        "decoder_model": first,
        "decoder_with_past_model": later,
    }
    _optimum(model, folder, custom_onnx_configs=parts, model_kwargs={"output_attentions": True})
    _keep(folder, "encoder_model.onnx", "decoder_model_merged.onnx")


def _optimum(model: Any, folder: Path, **options: Any) -> None:
    """Have Optimum export a model into a folder. Its own check is left out: the caller's golden figures say more."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_export_from_model(model, folder, task=TASK, do_validation=False, **options)


def _keep(folder: Path, *names: str) -> None:
    for path in folder.glob("*.onnx*"):
        if path.name not in names:
            path.unlink()


# --- OpenAI's class -------------------------------------------------------------------------------------------------------------


def openai_twin(model: Any) -> Whisper:
    """Return OpenAI's Whisper with the weights of transformers' one."""
    config = model.config
    dimensions = ModelDimensions(
        n_mels=config.num_mel_bins,
        n_audio_ctx=config.max_source_positions,
        n_audio_state=config.d_model,
        n_audio_head=config.encoder_attention_heads,
        n_audio_layer=config.encoder_layers,
        n_vocab=config.vocab_size,
        n_text_ctx=config.max_target_positions,
        n_text_state=config.d_model,
        n_text_head=config.decoder_attention_heads,
        n_text_layer=config.decoder_layers,
    )
    twin = Whisper(dimensions)
    weights = {_openai_name(name): value for name, value in model.model.state_dict().items()}
    twin.load_state_dict(weights)
    return twin.eval()


def _openai_name(name: str) -> str:
    for theirs, ours in NAMES:
        name = name.replace(theirs, ours)
    return name


# --- sherpa-onnx ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sherpa:
    """What sherpa-onnx's files are called and say.

    Attributes:
        name: prefix of the files' names, and the model's type.
        tokenizer: OpenAI's, from which the special ids in the metadata come.
        heads: (layer, head) of the attention the decoder gives; none: it gives none, and the encoder takes any length.
    """

    name: str
    tokenizer: Tokenizer
    heads: Heads = ()


def write_sherpa(twin: Whisper, folder: Path, sherpa: Sherpa) -> None:
    """Write ``NAME-encoder.onnx``, ``NAME-decoder.onnx`` and ``NAME-tokens.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes, opset = twin.dims, ATTENTION_OPSET if sherpa.heads else OPSET
    mel = torch.zeros(1, sizes.n_mels, 2 * sizes.n_audio_ctx)
    encoder, decoder = KeysAndValues(twin), CachedDecoder(twin, sherpa.heads)
    caches, crosses = ("n_layer_self_k_cache", "n_layer_self_v_cache"), ("n_layer_cross_k", "n_layer_cross_v")
    keys, values = encoder(mel)
    axes = {1: "n_audio", 2: "T"}
    path = folder / f"{sherpa.name}-encoder.onnx"
    _torch_export(
        encoder,
        (mel,),
        path,
        opset_version=opset,
        input_names=["mel"],
        output_names=list(crosses),
        dynamic_axes={"mel": {0: "n_audio", 2: "T"}, **dict.fromkeys(crosses, axes)},
    )
    _describe(path, _metadata(twin, sherpa))
    cache = torch.zeros(sizes.n_text_layer, 1, sizes.n_text_ctx, sizes.n_text_state)
    token = torch.tensor([[sherpa.tokenizer.sot]])
    attention = {"cross_attention_weights": {0: "n_audio", 2: "n_tokens", 3: "T"}} if sherpa.heads else {}
    _torch_export(
        decoder,
        (token, cache, cache.clone(), keys, values, torch.tensor([3])),
        folder / f"{sherpa.name}-decoder.onnx",
        opset_version=opset,
        input_names=[
            "tokens",
            "in_n_layer_self_k_cache",
            "in_n_layer_self_v_cache",
            "n_layer_cross_k",
            "n_layer_cross_v",
            "offset",
        ],
        output_names=["logits", *(f"out_{name}" for name in caches), *attention],
        dynamic_axes={
            "tokens": {0: "n_audio", 1: "n_tokens"},
            **{f"in_{name}": {1: "n_audio"} for name in caches},
            **dict.fromkeys(crosses, axes),
            **attention,
        },
    )
    _write_tokens(sherpa.tokenizer, folder / f"{sherpa.name}-tokens.txt")


class KeysAndValues(nn.Module):
    """The encoder and the cross-attention's keys and values of every decoder layer."""

    def __init__(self, twin: Whisper) -> None:
        super().__init__()
        self.encoder, self.blocks = twin.encoder, twin.decoder.blocks

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values, each (layers, batch, frames, width)."""
        encoder = self.encoder
        hidden = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        hidden = hidden + encoder.positional_embedding[: hidden.shape[1]]
        for block in encoder.blocks:
            hidden = hidden + _attend(block.attn, block.attn_ln(hidden))[0]
            hidden = hidden + block.mlp(block.mlp_ln(hidden))
        hidden = encoder.ln_post(hidden)
        keys = [block.cross_attn.key(hidden) for block in self.blocks]
        return torch.stack(keys), torch.stack([block.cross_attn.value(hidden) for block in self.blocks])


class CachedDecoder(nn.Module):
    """The decoder with the cache of its self-attention as input and output."""

    def __init__(self, twin: Whisper, heads: Heads) -> None:
        super().__init__()
        self.decoder, self.heads = twin.decoder, heads

    def forward(
        self, tokens: Tensor, keys: Tensor, values: Tensor, cross_keys: Tensor, cross_values: Tensor, offset: Tensor
    ) -> Any:
        """Return the logits, both caches, and the attention of the heads where there are any."""
        decoder, stop = self.decoder, offset[0] + tokens.shape[-1]
        hidden = decoder.token_embedding(tokens) + decoder.positional_embedding[offset[0] : stop]
        seen = []
        for layer, block in enumerate(decoder.blocks):
            inputs, key, value = block.attn_ln(hidden), keys[layer, :, :stop], values[layer, :, :stop]
            key[:, -tokens.shape[-1] :] = block.attn.key(inputs)
            value[:, -tokens.shape[-1] :] = block.attn.value(inputs)
            hidden = hidden + _mix(block.attn, inputs, (key, value), decoder.mask)[0]
            keys[layer, :, :stop], values[layer, :, :stop] = key, value
            cross, weights = _mix(block.cross_attn, block.cross_attn_ln(hidden), (cross_keys[layer], cross_values[layer]))
            hidden = hidden + cross
            hidden = hidden + block.mlp(block.mlp_ln(hidden))
            wanted = [head for at, head in self.heads if at == layer]
            seen += [weights[:, wanted]] if wanted else []
        hidden = decoder.ln(hidden)
        logits = torch.matmul(decoder.token_embedding.weight, hidden.permute(0, 2, 1)).permute(0, 2, 1)
        return (logits, keys, values, torch.cat(seen, dim=1)) if seen else (logits, keys, values)


def _attend(attention: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    return _mix(attention, inputs, (attention.key(inputs), attention.value(inputs)))


def _mix(attention: nn.Module, inputs: Tensor, pair: tuple[Tensor, Tensor], mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what an attention adds, (batch, rows, width), and its weights, (batch, heads, rows, columns)."""
    query, key, value = (
        part.view(*part.shape[:2], attention.n_head, -1).permute(0, 2, 1, 3) for part in (attention.query(inputs), *pair)
    )
    scale = query.shape[-1] ** -0.25
    scores = (query * scale) @ (key * scale).transpose(-1, -2)
    if mask is not None:
        scores = scores + mask[: inputs.shape[1], : inputs.shape[1]]
    weights = functional.softmax(scores, dim=-1)
    return attention.out((weights @ value).permute(0, 2, 1, 3).flatten(start_dim=2)), weights


def _torch_export(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, **options: Any) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, path, dynamo=False, **options)


def _metadata(twin: Whisper, sherpa: Sherpa) -> dict[str, object]:
    """Return what sherpa-onnx reads from the encoder's metadata."""
    tokenizer = sherpa.tokenizer
    languages = sorted(tokenizer.all_language_tokens)  # OpenAI's order is that of a set
    heads = ",".join(f"{layer}:{head}" for layer, head in sherpa.heads)
    return {
        "model_type": f"whisper-{sherpa.name}",
        "version": ATTENTION_VERSION if heads else 1,
        "maintainer": "k2-fsa",
        **vars(twin.dims),
        "sot_sequence": _joined(tokenizer.sot_sequence),
        "all_language_tokens": _joined(languages),
        "all_language_codes": _joined(tokenizer.decode([mark]).strip("<|>") for mark in languages),
        "sot": tokenizer.sot,
        "sot_index": tokenizer.sot_sequence.index(tokenizer.sot),
        "eot": tokenizer.eot,
        "blank_id": tokenizer.encode(" ")[0],
        "is_multilingual": 1,
        "no_speech": tokenizer.no_speech,
        "non_speech_tokens": _joined(tokenizer.non_speech_tokens),
        "transcribe": tokenizer.transcribe,
        "translate": tokenizer.translate,
        "sot_prev": tokenizer.sot_prev,
        "sot_lm": tokenizer.sot_lm,
        "no_timestamps": tokenizer.no_timestamps,
        **({"n_alignment_heads": len(sherpa.heads), "alignment_heads": heads} if heads else {}),
    }


def _joined(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def _describe(path: Path, metadata: dict[str, object]) -> None:
    model = onnx.load(path)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=str(value))
    onnx.save(model, path)


def _write_tokens(tokenizer: Tokenizer, path: Path) -> None:
    """Write one line a token: its bytes in base64, and its id. The special tokens are left out.

    The real vocabulary ends with a token of no bytes, which OpenAI's file writes as ``=``.
    """
    pieces = [tokenizer.encoding.decode_single_token_bytes(rank) for rank in range(tokenizer.eot)]
    lines = [f"{base64.b64encode(piece).decode() or '='} {rank}\n" for rank, piece in enumerate(pieces)]
    path.write_text("".join(lines), encoding="ascii")


# --- int8 -----------------------------------------------------------------------------------------------------------------------


def quantise(source: Path, target: Path) -> None:
    """Write a file with the matrix products in int8, quantised as they run, also inside the branches of an ``If``."""
    quantize_dynamic(
        source, target, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True}
    )
