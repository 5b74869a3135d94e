"""The model card and the learning curve, from what was measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from recipe.evaluate import KINDS
from recipe.plan import DRAWN, Plan, Size
from recipe.tokens import vocabulary
from voxray.truespeech.clip import Recipe
from voxray.truespeech.lexicon import LANGUAGES, lexicon
from voxray.truespeech.voices import HELD_OUT, KNOWN

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

{parameters} parameters: {size.blocks} SANM layers, the middle norm and {size.tp_blocks} more (SenseVoice-Small has 50 and 20),
width {size.width}, {size.heads} heads, feed-forward width {size.inner}, FSMN memory over eleven frames, low frame rate 7/6 on 80
mel bands, four prompt rows. {tokens} tokens: English words as whole pieces, characters for Chinese and Japanese, syllables for
Korean, and the official tags.
`model.onnx` is fp32 ({fp32:.1f} MB), `model_quant.onnx` is int8 ({int8:.1f} MB); the folder is in FunASR's layout.

## Data

Speech made by eSpeak NG 1.52 while the training ran ([`voxray.truespeech`](../../../../training/README.md)): {words}
words, drawn as {drawn}; {grammar:.0%} of the sentences follow simple patterns, the others are words in open order; {known} voice
variants ({new} more are held out); neutral, happy, sad and angry by rate, pitch, range, loudness and vocal effort; music, applause,
laughter and coughs in {eventful:.0%} of the clips; noise, rooms, narrow bands and gains. One sentence in ten, chosen by its
letters, is never trained on. The language prompt named the language in {plan.told:.0%} of the clips and was auto in the others;
`withitn` was asked for in {plan.punctuated:.0%}, and adds a full stop and nothing else.
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


def text(model: Path, figures: dict[str, dict[str, Any]], log: list[dict[str, str]]) -> str:
    """Return the card of a folder.

    Args:
        model: folder with ``model.onnx`` and ``model_quant.onnx``.
        figures: by precision, as ``recipe.evaluate`` measured them.
        log: the rows of the run's log.
    """
    counts = {language: len(lexicon(language).words) for language in LANGUAGES}
    data = DATA.format(
        size=Size(),
        plan=Plan(),
        parameters=f"{parameters(model / 'model.onnx'):,}",
        tokens=f"{len(vocabulary()):,}",
        words=", ".join(f"{count} {NAMES[language]}" for language, count in counts.items()),
        drawn=" : ".join(str(DRAWN[language]) for language in counts),
        known=len(KNOWN),
        new=len(HELD_OUT),
        grammar=Recipe().grammar,
        eventful=Recipe().eventful,
        **{name: (model / file).stat().st_size / 1e6 for name, file in FILES.items()},
    )
    limits = LIMITS.format(vocabulary=f"{min(counts.values())} to {max(counts.values())}")
    return HEAD + data + training_section(log) + results(figures) + limits


def results(figures: dict[str, dict[str, Any]]) -> str:
    """Return the section of figures."""
    first = next(iter(figures.values()))["sets"]
    named = [(f"{told}, {precision}", one["sets"][name]) for name, told in SETS.items() for precision, one in figures.items()]
    rates = [[name, *(f"{values['cer'][language]:.2f}" for language in LANGUAGES)] for name, values in named]
    right = [[name, *(f"{values[kind]['right']:.1f}" for kind in KINDS)] for name, values in named]
    confused = [
        f"- {kind}: " + ("; ".join(f"{name} {count}" for name, count in _most(first["mixed"][kind]["confused"])) or "nothing")
        for kind in KINDS
    ]
    late = [
        [name, *(f"{values[part]:+.0f}" for part in ("p10", "median", "p90")), str(values["words"])]
        for name, values in first["known"]["drift_ms"].items()
    ]
    return "\n".join(
        [
            "\n## Figures\n",
            "Held-out sentences throughout; language prompt on auto; measured by `make model-card`.\n",
            f"Character error rate, %, {first['known']['clips']} clips a set:\n",
            table(["set", *(NAMES[language] for language in LANGUAGES)], rates),
            "Tags that are right, %:\n",
            table(["set", *KINDS], right),
            f"What is taken for what ({SETS['mixed']}; {first['mixed']['language']['clips']} clips, fp32):\n",
            *confused,
            "\nEmission against the true start of the word, ms (known voices, clips without error, fp32):\n",
            table(["mode and language", "10 %", "median", "90 %", "words"], late),
        ]
    )


def _most(confused: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(confused.items(), key=lambda item: -item[1])[:6]


def training_section(log: list[dict[str, str]]) -> str:
    """Return the section on the training."""
    plan, last = Plan(), log[-1]
    return (
        "\n## Training\n\n"
        f"`make train`: {last['update']} updates of about 28 clips in {float(last['minutes']):.0f} minutes on one GPU (NVIDIA "
        "H100) with 16 processor cores, which two trial runs shared for the first six minutes. "
        f"AdamW, highest rate {plan.rate:g}, cosine, bfloat16 autocast, no dropout. CTC, CTC at the middle norm ({plan.middle:g}), "
        f"cross-entropy on the prompt rows ({plan.tags:g}), and over the first {plan.aligned:.0%} a fading frame-wise "
        "cross-entropy on the known word times. The log is [`training/log.csv`](../../../../training/log.csv):\n\n"
        "![Error rates and losses against updates](../../../../training/curve.png)\n"
    )


def curve(log: list[dict[str, str]], path: Path) -> None:
    """Draw token error rates, tag errors and losses against updates."""
    from matplotlib.figure import Figure

    updates = [int(row["update"]) for row in log]
    figure = Figure(figsize=(13, 4), layout="constrained")
    panels = (
        ("token error rate, %", {f"ter_{language}": language for language in LANGUAGES}, 100.0),
        ("wrong tags, %", {f"wrong_{kind}": kind for kind in KINDS}, 100.0),
        ("loss", {"ctc": "CTC, nats a token", "tags": "tags, nats a row", "aligned_ctc": "aligned, nats a frame"}, 1.0),
    )
    for axis, (title, columns, scale) in zip(figure.subplots(1, 3), panels, strict=True):
        for column, name in columns.items():
            axis.plot(updates, [max(scale * float(row[column]), 1e-2) for row in log], label=name)
        axis.set(title=title, xlabel="updates", yscale="log")
        axis.grid(visible=True, alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)


def parameters(path: Path) -> int:
    """Return how many trained numbers a model file holds: the weights of its layers, prompts and head."""
    import onnx

    return sum(math.prod(tensor.dims) for tensor in onnx.load(path).graph.initializer if tensor.dims)
