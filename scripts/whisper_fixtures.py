"""Write the small Whisper models of ``tests/data/whisper-tiny-*`` and what the original PyTorch modules make of two sounds.

Usage: ``python scripts/whisper_fixtures.py``, where PyTorch, ``optimum-onnx`` and ``openai-whisper`` are installed. The weights
are drawn from a seeded generator and then fitted to say one made-up text for each of two sounds, so that texts vary and end; the
structure is Whisper's: byte-level BPE, the special tokens in their order, 1,501 timestamps, 80 mels, 3,000 frames, 1,500
positions. Only the longest text is shorter, 96 tokens, since a mask of 448 x 448 would be most of sherpa-onnx's decoder.

``tests/data/whisper-tiny-golden.npz``, for each sound NAME (U rows: teacher-forced, [sot, language,
transcribe, notimestamps, text..., eot]):

- ``NAME.mel`` (80, F) float32: log-mel of OpenAI's front-end, the frames of the sound; ``NAME.mel_rest``: what every later frame
  of a mel is, up to 3,000.
- ``NAME.encoder`` (1500, D), the encoder's output; ``NAME.encoder_rows`` (n,) and ``NAME.encoder_attention``
  (layers, H, n, 1500): those rows of its attention.
- ``NAME.tokens`` (U,) int64; ``NAME.logits`` (U, V); ``NAME.cross`` (layers, H, U, T) the softmaxed cross-attention and
  ``NAME.scores`` the same before the softmax, the T frames of the sound; ``NAME.cross_rest`` (layers, H, U): what is left for
  the frames after it.
- ``NAME.plain``, ``NAME.timed``: greedy ids by transformers' ``generate``, after [sot, language, transcribe, ...] with the
  timestamps off and on, the language given; ``NAME.languages`` (n,): logits of the languages at the first row.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tiktoken
import torch
import whisper
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Bpe
from torch.nn import functional
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from whisper.audio import log_mel_spectrogram, pad_or_trim
from whisper.model import Whisper, disable_sdpa
from whisper.tokenizer import Tokenizer
from whisper_onnx import Sherpa, openai_twin, write_merged, write_optimum, write_sherpa, write_timestamped

DATA = Path(__file__).parents[1] / "tests" / "data"
SOUNDS = {"short": ("zh", "你好", 0.3), "odd": ("en", " the other dog waits in the house", 2.06)}
"""Language, text and length in seconds that the model is fitted to say."""
SEED = 303
LANGUAGES = ("en", "zh", "de", "ko", "ja", "yue")
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
TIMESTAMPS = tuple(f"<|{index * 0.02:.2f}|>" for index in range(1501))
MERGES = 96
IGNORED = -100
CORPUS = (
    "the quick brown fox jumps over the lazy dog and the other one waits there",
    "she said that they were in the house with her brother and his friend",
    "你好，今天天气很好。你们好，我们去哪里？你好，今天我们去这里。",
    "こんにちは。今日はいい天気です。これはです。",
    "안녕하세요. 오늘은 날씨가 좋습니다. 안녕하세요.",
    "die Katze und der Hund sind in dem Haus, und das ist gut so",
)
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # GPT-2's, as Whisper has it
HEADS = ((0, 0), (1, 0), (1, 2))  # named as alignment heads
WIDTH, COUNT, LAYERS, LENGTH = 16, 4, 2, 96
ROWS = (0, 40, 1499)
UPDATES, RATE = 300, 3e-3  # of the fit
STFT_SPILL = 2  # frames of padding that the sound's last samples still reach


# --- tokens ---------------------------------------------------------------------------------------------------------------------


def learn() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-level vocabulary in GPT-2's order of bytes, and the merges that follow it."""
    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(CORPUS, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    vocabulary: dict[str, int] = {letter: rank for rank, letter in enumerate(byte_letters().values())}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    return vocabulary, merges


def byte_letters() -> dict[int, str]:
    """Return GPT-2's letter of each byte, in its order: what can be printed first."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def specials(first: int) -> dict[str, int]:
    """Return the special tokens without the timestamps, in Whisper's order."""
    names = ("endoftext", "startoftranscript", *LANGUAGES, *TASKS)
    return {f"<|{name}|>": first + index for index, name in enumerate(names)}


def openai_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """Return OpenAI's tokenizer over the small vocabulary."""
    letters = {letter: byte for byte, letter in byte_letters().items()}
    marks = specials(len(vocabulary))
    marks |= {text: len(vocabulary) + len(marks) + index for index, text in enumerate(TIMESTAMPS)}
    encoding = tiktoken.Encoding(
        name="whisper-tiny-random",
        pat_str=PATTERN,
        mergeable_ranks={bytes(letters[letter] for letter in text): rank for text, rank in vocabulary.items()},
        special_tokens=marks,
    )
    return Tokenizer(encoding=encoding, num_languages=len(LANGUAGES), language="en", task="transcribe")


def write_tokenizer(folder: Path, *, fast: bool) -> None:
    """Write transformers' tokenizer files: as now, with ``tokenizer.json``, or as older repositories have them.

    The older ones know no timestamps: those are the ids from the end of the vocabulary on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = learn()
    marks = specials(len(vocabulary))
    times = {text: len(vocabulary) + len(marks) + index for index, text in enumerate(TIMESTAMPS)} if fast else {}
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "vocab.json", vocabulary)
    write_json(folder / "added_tokens.json", marks | times)
    if fast:
        bpe = Bpe(models.BPE(vocab=vocabulary, merges=merges))
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        bpe.add_special_tokens(list(marks))
        bpe.add_tokens([AddedToken(text, normalized=True) for text in times])
        write_json(folder / "tokenizer.json", json.loads(bpe.to_str()))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON on one line, since the timestamps alone are 1,501 entries."""
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


# --- the model ------------------------------------------------------------------------------------------------------------------


def build(tokenizer: Tokenizer) -> Any:
    """Return transformers' Whisper with drawn weights and the generation settings of a published one."""
    torch.manual_seed(SEED)
    size = len(tokenizer.encoding.token_byte_values()) + len(tokenizer.encoding.special_tokens_set)
    config = WhisperConfig(
        vocab_size=size,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=COUNT,
        decoder_attention_heads=COUNT,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_target_positions=LENGTH,
        bos_token_id=tokenizer.eot,
        eos_token_id=tokenizer.eot,
        pad_token_id=tokenizer.eot,
        decoder_start_token_id=tokenizer.sot,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        attn_implementation="eager",
    )
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        draw(model)
    fit(model, tokenizer)
    model.generation_config = generation(tokenizer)
    return model


def draw(model: Any) -> None:
    """Draw every weight but the encoder's positions, which are Whisper's sinusoids."""
    for name, value in model.named_parameters():
        if name.endswith("layer_norm.weight"):
            value.copy_(1 + 0.1 * torch.randn_like(value))
        elif name.endswith("bias"):
            value.copy_(0.1 * torch.randn_like(value))
        elif "encoder.embed_positions" not in name:
            value.copy_(torch.randn_like(value) / math.sqrt(value[0].numel()))


def fit(model: Any, tokenizer: Tokenizer) -> None:
    """Fit the decoder to say the texts, with timestamps and without; where it looks in the sound stays as it was drawn."""
    torch.manual_seed(SEED)
    fixed = ("encoder_attn.q_proj", "encoder_attn.k_proj", "embed_positions")
    free = [value for name, value in model.model.decoder.named_parameters() if not any(part in name for part in fixed)]
    steps = torch.optim.Adam(free, lr=RATE)
    with torch.no_grad():
        hidden = model.model.encoder(torch.stack([log_mel(sound)[0] for sound in SOUNDS])).last_hidden_state
    hidden = hidden.repeat_interleave(2, dim=0)
    texts = [sequence(tokenizer, sound, timestamps=timed) for sound in SOUNDS for timed in (False, True)]
    inputs = torch.nn.utils.rnn.pad_sequence([text[:-1] for text in texts], batch_first=True, padding_value=tokenizer.eot)
    wanted = torch.nn.utils.rnn.pad_sequence([text[1:] for text in texts], batch_first=True, padding_value=IGNORED)
    for _ in range(UPDATES):
        logits = model(encoder_outputs=(hidden,), decoder_input_ids=inputs).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
        steps.zero_grad()
        loss.backward()
        steps.step()


def sequence(tokenizer: Tokenizer, sound: str, *, timestamps: bool) -> torch.Tensor:
    """Return the tokens that a sound is fitted to, from the start to the end of the transcript."""
    language, text, seconds = SOUNDS[sound]
    words = tokenizer.encode(text)
    if timestamps:
        words = [tokenizer.timestamp_begin, *words, tokenizer.timestamp_begin + round(seconds / 0.02)]
    else:
        words = [tokenizer.no_timestamps, *words]
    return torch.tensor([tokenizer.sot, tokenizer.to_language_token(language), tokenizer.transcribe, *words, tokenizer.eot])


def log_mel(sound: str) -> tuple[torch.Tensor, int]:
    """Return the log-mel of a sound in a window of 30 s, (80, 3000), and how many of its frames hold the sound."""
    samples, rate = soundfile.read(DATA / "audio" / f"{sound}.wav", dtype="float32")
    assert rate == whisper.audio.SAMPLE_RATE
    return log_mel_spectrogram(pad_or_trim(torch.from_numpy(samples))), len(samples) // whisper.audio.HOP_LENGTH + STFT_SPILL


def generation(tokenizer: Tokenizer) -> GenerationConfig:
    """Return the settings that a published Whisper carries."""
    marks = tokenizer.special_tokens
    quiet = (tokenizer.sot, tokenizer.translate, tokenizer.transcribe, tokenizer.sot_lm, tokenizer.sot_prev, tokenizer.no_speech)
    return GenerationConfig(
        alignment_heads=[list(head) for head in HEADS],
        begin_suppress_tokens=[tokenizer.encode(" ")[0], tokenizer.eot],
        bos_token_id=tokenizer.eot,
        decoder_start_token_id=tokenizer.sot,
        eos_token_id=tokenizer.eot,
        is_multilingual=True,
        lang_to_id={f"<|{name}|>": marks[f"<|{name}|>"] for name in LANGUAGES},
        max_initial_timestamp_index=50,
        max_length=LENGTH,
        no_timestamps_token_id=tokenizer.no_timestamps,
        pad_token_id=tokenizer.eot,
        prev_sot_token_id=tokenizer.sot_prev,
        return_timestamps=False,
        suppress_tokens=sorted({*tokenizer.non_speech_tokens, *quiet}),
        task_to_id={"translate": tokenizer.translate, "transcribe": tokenizer.transcribe},
    )


# --- what the modules make of a sound -------------------------------------------------------------------------------------------


def golden(model: Any, twin: Whisper, tokenizer: Tokenizer, sound: str) -> dict[str, Any]:
    """Return the arrays of one sound, as the module's text describes them."""
    mel, frames = log_mel(sound)
    rest = mel[:, frames:]
    assert torch.equal(rest, rest[:, :1].expand_as(rest))
    language = SOUNDS[sound][0]
    ids = {name: greedy(model, mel, language, timestamps=timed) for name, timed in (("plain", False), ("timed", True))}
    tokens = sequence(tokenizer, sound, timestamps=False)[None]
    with torch.no_grad(), disable_sdpa():
        outputs = model(mel[None], decoder_input_ids=tokens, output_attentions=True, use_cache=False)
        logits, scores = hooked(twin, mel, tokens)
    assert torch.allclose(outputs.logits[0], logits, atol=1e-4), "transformers and OpenAI's class differ"
    cross = torch.cat(outputs.cross_attentions)
    stop = (frames + 1) // 2
    attention = torch.cat(outputs.encoder_attentions)[:, :, list(ROWS)]
    arrays = {
        "mel": mel[:, :frames],
        "mel_rest": rest[:, 0],
        "encoder": outputs.encoder_last_hidden_state[0],
        "encoder_rows": torch.tensor(ROWS),
        "encoder_attention": attention,
        "tokens": tokens[0],
        "logits": logits,
        "scores": scores[..., :stop],
        "cross": cross[..., :stop],
        "cross_rest": cross[..., stop:].sum(-1),
        "languages": logits[0, [tokenizer.special_tokens[f"<|{name}|>"] for name in LANGUAGES]],
    }
    found = {name: value.numpy() for name, value in arrays.items()} | {name: np.array(value) for name, value in ids.items()}
    return {f"{sound}.{name}": value for name, value in found.items()}


def hooked(twin: Whisper, mel: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return OpenAI's logits (U, V), and the scores of its cross-attention before the softmax, (layers, H, U, 1500)."""
    scores: list[torch.Tensor] = []
    hooks = [block.cross_attn.register_forward_hook(lambda _, __, out: scores.append(out[-1])) for block in twin.decoder.blocks]
    logits = twin(mel[None], tokens)
    for hook in hooks:
        hook.remove()
    return logits[0], torch.cat(scores)


def greedy(model: Any, mel: torch.Tensor, language: str, *, timestamps: bool) -> list[int]:
    """Return the ids that transformers' ``generate`` says."""
    found = model.generate(mel[None], language=language, task="transcribe", return_timestamps=timestamps, max_new_tokens=60)
    ids = found["sequences"] if isinstance(found, dict) else found
    return [int(value) for value in ids[0]]


def write_models(model: Any, twin: Whisper, tokenizer: Tokenizer) -> None:
    """Write the model in every layout, each in a folder of its own."""
    for layout, write in (("optimum", write_optimum), ("merged/onnx", write_merged), ("timestamped/onnx", write_timestamped)):
        place = DATA / f"whisper-tiny-{layout}"
        home = place.parent if place.name == "onnx" else place
        shutil.rmtree(home, ignore_errors=True)
        write(model, place)
        for path in [*home.rglob("*.json"), *home.rglob("*.txt")]:
            path.unlink()  # Optimum's own copies
        write_tokenizer(home, fast=layout.startswith("merged"))
        model.config.save_pretrained(home)
        model.generation_config.save_pretrained(home)
        WhisperFeatureExtractor().save_pretrained(home)
    home = DATA / "whisper-tiny-sherpa"
    shutil.rmtree(home, ignore_errors=True)
    write_sherpa(twin, home, Sherpa("tiny", tokenizer))
    write_sherpa(twin, home / "attention", Sherpa("tiny", tokenizer, HEADS))


def main() -> None:
    """Write the folders and the golden figures."""
    tokenizer = openai_tokenizer(learn()[0])
    model = build(tokenizer)
    twin = openai_twin(model)
    arrays: dict[str, Any] = {}
    for sound in SOUNDS:
        arrays |= golden(model, twin, tokenizer, sound)
    np.savez_compressed(DATA / "whisper-tiny-golden.npz", **arrays)
    write_models(model, twin, tokenizer)


if __name__ == "__main__":
    main()
