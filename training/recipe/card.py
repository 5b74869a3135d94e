"""Write the model card and the learning curve: ``python -m recipe.card --figures FP32.json INT8.json --log LOG.csv``."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from recipe.evaluate import TAGS
from truespeech.lexicon import LANGUAGES, lexicon
from truespeech.voices import HELD_OUT, KNOWN

NAMES = {"zh": "Mandarin", "yue": "Cantonese", "en": "English", "ja": "Japanese", "ko": "Korean"}
SETS = {
    "known": "known voices",
    "new": "held-out voices",
    "noise": "known voices, noise at 10 dB",
    "events": "known voices, an event in half of the clips",
    "mixed": "the same with noise, rooms, bands, gains as in training",
}
FILES = {"fp32": "model.onnx", "int8": "model_quant.onnx"}
HEAD = """---
license: apache-2.0
language: [zh, yue, en, ja, ko]
pipeline_tag: automatic-speech-recognition
---

# The bundled SenseVoice

A small speech recogniser with the architecture of SenseVoice-Small, trained from nothing for Voxray, so that Voxray runs
offline at once and its explanations can be checked against speech whose every word time is known. It is a test subject.
It is of no use for real speech: **it has heard nothing but eSpeak NG, and knows only the words of its lexicon.**
"""
DATA = """
## Model

{parameters} parameters: ten SANM layers, the middle norm and four more (SenseVoice-Small has 50 and 20), width 128, four
heads, feed-forward width 512, FSMN memory over eleven frames, low frame rate 7/6 on 80 mel bands, four prompt rows. {tokens}
tokens: English words as whole pieces, characters for Chinese and Japanese, syllables for Korean, and the official tags.
`model.onnx` is fp32 ({fp32:.1f} MB), `model_quant.onnx` is int8 ({int8:.1f} MB); the folder is in FunASR's layout.

## Data

Speech made by eSpeak NG 1.52 while the training ran ([`training/truespeech`](../../../../training/truespeech)): {words}
words; {grammar:.0%} of the sentences follow simple patterns, the others are words in open order; {known} voice variants
({new} more are held out); neutral, happy, sad and angry by rate, pitch, range, loudness and vocal effort; music, applause,
laughter and coughs in {eventful:.0%} of the clips; noise, rooms, narrow bands and gains. One sentence in ten, chosen by its
letters, is never trained on. The language prompt was on auto in 60 % of the clips, `withitn` was asked for in 30 %; it adds
a full stop and nothing else.
"""
LIMITS = """
## Limits

- Synthetic speech only, one engine, {vocabulary} words a language. Figures say nothing about people.
- Words outside the lexicon come out as words of the lexicon, or as nothing.
- Emotions are rules of prosody, not feelings; a real voice will be labelled at random.
- A file that mixes languages gets one language.
- Word starts by the model's emissions are late or early by what the table says; see also Voxray's own alignment.

## Licence

Apache-2.0, as the code that made it. eSpeak NG (GPL-3.0) made the speech; none of its code or data is in the weights' files.
"""


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def results(figures: dict[str, dict[str, Any]]) -> str:
    """Return the section of figures; ``figures`` by precision as ``recipe.evaluate`` wrote them."""
    parts = ["\n## Figures\n\nHeld-out sentences throughout; language prompt on auto; measured by `make model-card`.\n"]
    first = next(iter(figures.values()))["sets"]
    rows = [
        [f"{told}, {precision}", *(f"{one['sets'][name]['cer'][language]:.2f}" for language in LANGUAGES)]
        for name, told in SETS.items()
        for precision, one in figures.items()
    ]
    parts.append(f"\nCharacter error rate, %, {first['known']['clips']} clips a set:\n")
    parts.append(table(["set", *(NAMES[language] for language in LANGUAGES)], rows))
    rows = [
        [f"{told}, {precision}", *(f"{one['sets'][name][tag]['right']:.1f}" for tag in TAGS)]
        for name, told in SETS.items()
        for precision, one in figures.items()
    ]
    parts.append("\nTags that are right, %:\n")
    parts.append(table(["set", *TAGS], rows))
    mixed = first["mixed"]
    parts.append("\nWhat is taken for what (mixed set, fp32):\n")
    for tag in TAGS:
        worst = sorted(mixed[tag]["confused"].items(), key=lambda item: -item[1])[:6]
        parts.append(f"- {tag}: " + ("; ".join(f"{name} {count}" for name, count in worst) or "nothing"))
    drift = first["known"]["drift_ms"]
    rows = [
        [name, *(f"{values[part]:+.0f}" for part in ("p10", "median", "p90")), str(values["words"])]
        for name, values in drift.items()
    ]
    parts.append("\nEmission against the true start of the word, ms (known voices, clips without error, fp32):\n")
    parts.append(table(["mode and language", "10 %", "median", "90 %", "words"], rows))
    return "\n".join(parts)


def recipe(log: list[dict[str, str]]) -> str:
    """Return the section on the training, from its log."""
    last = log[-1]
    return (
        "\n## Training\n\n"
        f"`python -m recipe.train RUN`: {last['update']} updates of about 16 clips in {float(last['minutes']):.0f} minutes on two "
        "CPU cores (AdamW, highest rate 8e-4, cosine, bfloat16 autocast, no dropout; CTC, CTC at the middle norm 0.3, "
        "cross-entropy on the prompt rows 0.5, and over the first half a fading frame-wise cross-entropy on the known word times). "
        "The log is [`training/log.csv`](../../../../training/log.csv):\n\n"
        "![Error rates and losses against updates](../../../../training/curve.png)\n"
    )


def curve(log: list[dict[str, str]], path: Path) -> None:
    """Draw token error rates, tag errors and losses against updates."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    updates = [int(row["update"]) for row in log]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    panels = (
        ("token error rate, %", {f"ter_{language}": language for language in LANGUAGES}, 100.0),
        ("wrong tags, %", {name: name for name in TAGS}, 100.0),
        ("loss", {"ctc": "CTC, nats a token", "tags": "tags, nats a row", "aligned_ctc": "aligned, nats a frame"}, 1.0),
    )
    for axis, (title, columns, scale) in zip(axes, panels, strict=True):
        for column, name in columns.items():
            axis.plot(updates, [max(scale * float(row[column]), 1e-2) for row in log], label=name)
        axis.set(title=title, xlabel="updates", yscale="log")
        axis.grid(visible=True, alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read the command line and write the card and the curve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="folder that the card describes and is written to")
    parser.add_argument("--figures", type=Path, nargs=2, required=True, help="what recipe.evaluate wrote of fp32 and int8")
    parser.add_argument("--log", type=Path, required=True, help="the run's log.csv; the curve is drawn beside it")
    options = parser.parse_args()
    from recipe.tokens import vocabulary
    from truespeech.clip import Recipe

    figures = {name: json.loads(path.read_text("utf-8")) for name, path in zip(FILES, options.figures, strict=True)}
    with options.log.open(encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    sizes = {name: (options.model / file).stat().st_size / 1e6 for name, file in FILES.items()}
    counts = [len(lexicon(language).words) for language in LANGUAGES]
    words = ", ".join(f"{count} {NAMES[language]}" for count, language in zip(counts, LANGUAGES, strict=True))
    data = DATA.format(
        parameters=f"{parameters(options.model / 'model.onnx'):,}",
        tokens=f"{len(vocabulary()):,}",
        words=words,
        known=len(KNOWN),
        new=len(HELD_OUT),
        grammar=Recipe().grammar,
        eventful=Recipe().eventful,
        **sizes,
    )
    limits = LIMITS.format(vocabulary=f"{min(counts)} to {max(counts)}")
    (options.model / "README.md").write_text(HEAD + data + recipe(log) + results(figures) + limits, encoding="utf-8")
    curve(log, options.log.with_name("curve.png"))


def parameters(path: Path) -> int:
    """Return how many trained numbers a model file holds: the weights of its layers, prompts and head."""
    import onnx

    return sum(int(_size(tensor.dims)) for tensor in onnx.load(path).graph.initializer if len(tensor.dims) > 0)


def _size(dims: Any) -> int:
    size = 1
    for dim in dims:
        size *= dim
    return size


if __name__ == "__main__":
    main()
