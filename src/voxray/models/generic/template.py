"""A first draft of a description, with what a graph says of its inputs and outputs filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping

from voxray.graph.graph import Graph

FLOATS = (1, 10, 11)
Signatures = Mapping[str, tuple[int, tuple[int | str, ...]]]

WAVEFORM = """[front_end]
kind = "waveform"
normalise = "none"      # "mean-std" for wav2vec2 and HuBERT
scale = 1.0             # 32768 for models that take 16-bit numbers
"""
BANK = """[front_end]
kind = "{kind}"   # or "{other}"
mels = {mels}
normalise = "none"      # "mean-std" of the piece (NeMo), or "global" with cmvn = "am.mvn", or mean = ... and std = ...
stack = {stack}               # frames that are stacked into one
stride = {stride}              # frames from stack to stack
"""


def template(graph: Graph) -> str:
    """Return a draft of ``voxray.toml`` for a graph; what it cannot tell is to be corrected by who knows the model."""
    inputs, outputs = graph.inputs, graph.outputs
    sound = next(iter(_floats(inputs)), next(iter(inputs), ""))
    shape = inputs[sound][1] if sound else ()
    scores = next(iter(_floats(outputs)), next(iter(outputs), ""))
    others = {name: one for name, one in inputs.items() if name != sound}
    lengths = next((name for name, (_, one) in others.items() if len(one) == 1 and "len" in name.lower()), "")
    mask = next((name for name, (_, one) in others.items() if len(one) == 2 and "mask" in name.lower()), "")
    constants = [name for name in others if name not in (lengths, mask)]
    swapped = len(shape) == 3 and isinstance(shape[1], int) and not isinstance(shape[2], int)
    width = shape[1] if swapped else shape[-1] if len(shape) == 3 else 1
    lines = [
        f"# {graph.path.name}: inputs {_told(inputs)}; outputs {_told(outputs)}",
        f"model = {json.dumps(graph.path.name)}",
        "",
        "[input]",
        f"sound = {json.dumps(sound)}",
        f'layout = "{"features-time" if swapped else "time-features"}"',
        *([f"lengths = {json.dumps(lengths)}      # is told the number of rows"] if lengths else []),
        *([f"mask = {json.dumps(mask)}      # is told by ones which rows are sound"] if mask else []),
        *(["", "[input.constants]"] if constants else []),
        *(f"{_key(name)} = 0      # has the shape {list(others[name][1])}" for name in constants),
        "",
        "[output]",
        f"scores = {json.dumps(scores)}",
        'layout = "time-vocabulary"',
        f"log_probs = {'true' if 'prob' in scores.lower() else 'false'}",
        "prompts = 0             # rows before those of the sound",
        "",
        "[vocabulary]",
        'file = "tokens.txt"     # or vocab.txt, tokens.json, vocab.json',
        "blank = 0               # id or piece",
        'space = "▁"             # the sign for a space in pieces, such as "|"; empty for none',
        "hidden = []             # pieces that are never written",
        "",
        "[time]",
        "hop = 0.04              # seconds from output row to output row",
        "first = 0.02            # centre of the first one, seconds",
        "",
        _front(width, swapped=swapped),
    ]
    return "\n".join(lines)


def _floats(values: Signatures) -> list[str]:
    """Return the names of what holds floating-point numbers, most axes first."""
    found = [name for name, (kind, _) in values.items() if kind in FLOATS]
    return sorted(found, key=lambda name: -len(values[name][1]))


def _told(values: Signatures) -> str:
    return ", ".join(f"{name}{list(shape)}" for name, (_, shape) in list(values.items())[:8]).replace("\n", " ")


def _key(name: str) -> str:
    """Return a name as TOML writes a key."""
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _front(width: int | str, *, swapped: bool) -> str:
    if width == 1:
        return WAVEFORM
    known = width if isinstance(width, int) else 80
    mels = next((one for one in (80, 64, 128) if known % one == 0), known)
    stack = known // mels
    kinds = ("log-mel", "kaldi-fbank") if swapped else ("kaldi-fbank", "log-mel")
    return BANK.format(kind=kinds[0], other=kinds[1], mels=mels, stack=stack, stride=6 if stack == 7 else stack)
