"""What is trained, and how: the sizes and numbers of the recipe, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from voxray.truespeech.clip import Recipe

FEATURES = 560  # seven frames of 80 mel bands
PROMPT_ROWS = 16  # of the embedding, from which the four prompts are taken
KERNEL = 11  # frames that the FSMN memory filters
DRAWN = {"zh": 3, "yue": 3, "en": 4, "ja": 5, "ko": 2}  # of 17 clips: the harder a language, the more
CLIPS = Recipe(languages=tuple(language for language, share in DRAWN.items() for _ in range(share)), concat=0.3)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a SenseVoice: residual width, attention heads, feed-forward width, and its two stacks of layers."""

    width: int = 128
    heads: int = 4
    inner: int = 512
    blocks: int = 10
    tp_blocks: int = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        epochs: each brings a shard of new clips.
        clips: in a shard.
        updates: in an epoch, on clips drawn from the newest ``window`` shards.
        window: shards.
        rows: padded rows of a batch at most; 800 are about fourteen clips.
        rate: the highest learning rate, reached after ``warmup`` updates, falling as a cosine to a hundredth.
        middle: weight of the CTC at the middle norm.
        tags: weight of the cross-entropy on the four prompt rows.
        aligned: share of the epochs that a frame-wise cross-entropy on the known word times helps in, fading out.
        told: share of the clips whose language prompt names the language; the others have auto.
        punctuated: share of the clips with the prompt ``withitn``, whose transcript ends in a full stop.
        short: longest clip of the first epochs, in output frames.
    """

    epochs: int = 56
    clips: int = 4096
    updates: int = 512
    window: int = 6
    rows: int = 1600
    rate: float = 1.2e-3
    warmup: int = 400
    middle: float = 0.3
    tags: float = 1.0
    aligned: float = 0.5
    told: float = 0.4
    punctuated: float = 0.3
    short: tuple[int, ...] = (35, 45, 60)


PLANS = {"cuda": Plan(), "cpu": Plan(epochs=48, rows=800, rate=8e-4)}
"""By device: two CPU cores take two hours for batches half as large, and fewer of them."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run may use.

    Attributes:
        device: PyTorch's name of it.
        threads: CPU threads that train.
        makers: processes that make speech meanwhile.
    """

    device: str
    threads: int
    makers: int
