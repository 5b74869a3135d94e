"""Two models on the same clips: what changes, how far they come apart inside, where in the network that begins, and what it gains.

Files of one model in different precision, two versions of one shape, or models of different families: of the latter only what means
the same in both is compared, texts, words and times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from voxray.api import load_model
from voxray.audio import load_audio
from voxray.measures.similarity import Pooled
from voxray.models.exchange import Exchange, why_not
from voxray.studies.compare.clips import Pair, pair_of
from voxray.studies.compare.comparison import GATES, ModelComparison
from voxray.studies.compare.damage import Damage, Subject, damage_of, subject_of
from voxray.studies.compare.inside import TENSORS, Divergence, Inside, inside_of, why_unlike
from voxray.studies.compare.speed import Asked, Speed, speed_of
from voxray.studies.languages import Spoken
from voxray.trace import Trace
from voxray.types import Audio, OptionError, Progress, VoxrayError

__all__ = ["GATES", "ComparisonDepth", "ModelComparison", "Spoken", "compare_models"]

TIMED = 8
"""Clips that are timed, spread over the list."""
AFTER = "after the layers"
KEEP = 768 << 20
"""Bytes of attention that each model keeps of a clip; Whisper base has 432 MB of it."""


@dataclass(frozen=True, slots=True)
class ComparisonDepth:
    """How much is looked into.

    Attributes:
        inside: whether attention, layer outputs and logits are compared where the shapes agree.
        swaps: on how many clips, spread over the list, layers are exchanged; 0 for none.
        rounds: how often each timed clip is run; 0 for no timing.
        threads: for one operator; None takes every core.
        device: where the models run, as ``load_model`` takes it; layers are exchanged on the CPU.

    Raises:
        OptionError: when one is below its least.
    """

    inside: bool = True
    swaps: int = 4
    rounds: int = 3
    threads: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.swaps < 0 or self.rounds < 0:
            raise OptionError(f"swaps and rounds must be 0 or more, got {self.swaps} and {self.rounds}")


def compare_models(
    first: Any,
    second: Any,
    sounds: Sequence[Any],
    *,
    language: str = "auto",
    textnorm: bool = False,
    depth: ComparisonDepth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelComparison:
    """Compare two models on the same clips.

    Args:
        first: an open model, or what ``load_model`` takes.
        second: likewise.
        sounds: each a path, bytes, file object, array or ``Audio``, or a ``Spoken``, which may tell language and reference.
        language: prompt of both models.
        textnorm: prompt of both models.
        depth: how much is looked into; None for everything.
        seed: of intervals and tests.
        progress: called with steps done and steps in all.

    Returns:
        What was found. A clip that a model cannot take is a line of its ``problems``; the others go on.

    Raises:
        OptionError: when there is no clip, none can be compared, or a model has no such language.
        ModelError: when a model cannot be opened.
    """
    if isinstance(sounds, (str, bytes)):
        raise OptionError("compare_models takes a list of sounds; put the one sound into a list")
    if not sounds:
        raise OptionError("there are no clips to compare two models on; give at least one, better twenty")
    chosen = depth or ComparisonDepth()
    models = _opened(first, chosen), _opened(second, chosen)
    for model in models:
        if language not in model.languages:
            raise OptionError(
                f"{model.name} has no language {language!r}; choose one of {', '.join(model.languages)} for both models"
            )
    work = _Work(models, Asked(language, textnorm, chosen.threads, chosen.device), chosen, seed)
    return work.done([_spoken(one) for one in sounds], progress)


def _opened(source: Any, depth: ComparisonDepth) -> Any:
    """Return an open model."""
    path = source is None or isinstance(source, (str, os.PathLike))
    return load_model(source, threads=depth.threads, device=depth.device) if path else source


def _spoken(sound: Any) -> Spoken:
    return sound if isinstance(sound, Spoken) else Spoken(sound)


def why_words_only(first: Any, second: Any) -> str:
    """Return in a few words why two models can only be compared by texts, words and times; nothing where they share more."""
    if first.family != second.family:
        return f"{first.family} and {second.family}"
    for what, sizes in {
        "layers": (first.layers, second.layers),
        "heads": (first.heads, second.heads),
        "layers of cross-attention": (first.cross_shape, second.cross_shape),
    }.items():
        if sizes[0] != sizes[1]:
            return f"{sizes[0]} and {sizes[1]} {what}"
    return "" if _tokens_of(first) == _tokens_of(second) else "different vocabularies"


def _tokens_of(model: Any) -> list[str]:
    """Return the text of every token; of the blank, which exporters call otherwise, none."""
    return ["" if index == model.blank else piece for index, piece in enumerate(model.vocabulary.pieces)]


class _Work:
    """The work on two models, in the order of its steps."""

    def __init__(self, models: tuple[Any, Any], asked: Asked, depth: ComparisonDepth, seed: int) -> None:
        self._models, self._asked, self._depth, self._seed = models, asked, depth, seed
        self._words_only = why_words_only(*models)
        self._inside = depth.inside and not self._words_only and _keeps_tensors(models[0])
        self._pooled = tuple(Pooled() for _ in range(models[0].layers if self._inside else 0))
        self._measured: list[Inside] = []
        self._problems: list[str] = []
        self._remarks: list[str] = []
        if depth.inside and not self._words_only and not self._inside:
            self._remarks.append(f"The inside was not compared: a {models[0].family} model does not give its layers' tensors.")

    def done(self, sounds: Sequence[Spoken], progress: Progress | None) -> ModelComparison:
        """Do everything."""
        swapped = self._swapped(len(sounds))
        timed = _spread(len(sounds), TIMED) if self._depth.rounds else []
        layers = self._models[0].layers + 2 if swapped else 0  # what comes after them, and the parts of the worst
        step = _counter(len(sounds) + len(swapped) * layers + (self._depth.rounds if timed else 0), progress)
        pairs: list[Pair] = []
        kept: list[Subject] = []
        audios: list[Audio] = []
        for index, sound in enumerate(sounds):
            traces = self._heard(sound, f"clip {index + 1}")
            if traces is not None:
                pairs.append(pair_of(*traces, sound.language, sound.reference, tokens=not self._words_only))
                subject = subject_of(*traces) if index in swapped else None
                kept += [] if subject is None else [subject]
                audios += [traces[0].audio] * (index in timed)
            step()
        if not pairs:
            raise OptionError(f"none of the clips could be compared: {self._problems[0]}")
        damage = self._damage(kept, step)
        speed = self._speed(audios, step)
        inside = Divergence(tuple(self._measured), self._pooled, self._seed) if self._measured else None
        return ModelComparison(
            models=(self._models[0].info, self._models[1].info),
            clips=tuple(pairs),
            words_only=self._words_only,
            inside=inside,
            damage=damage,
            speed=speed,
            problems=tuple(self._problems),
            remarks=tuple(self._remarks),
            seed=self._seed,
        )

    def _swapped(self, clips: int) -> list[int]:
        """Return on which clips layers are exchanged."""
        if not self._depth.swaps or not self._inside:
            return []
        reason = why_not(*self._models)
        if reason:
            self._remarks.append(f"Layers were not exchanged: {reason}.")
        return [] if reason else _spread(clips, self._depth.swaps)

    def _heard(self, sound: Spoken, name: str) -> tuple[Trace, Trace] | None:
        """Return what both models make of a clip, and look inside; None where one of them cannot take it."""
        try:
            audio = load_audio(sound.sound() if callable(sound.sound) else sound.sound)
            name = audio.name
            first, second = self._trace(self._models[0], audio), self._trace(self._models[1], audio)
        except VoxrayError as problem:
            self._problems.append(str(problem) if name in str(problem) else f"{name}: {problem}")
            return None
        if self._inside:
            self._look_inside(first, second)
        return first, second

    def _trace(self, model: Any, audio: Audio) -> Trace:
        kept: dict[str, Any] = {"tensors": TENSORS, "keep": KEEP} if self._inside else {"layers": ()}
        found: Trace = model.trace(audio, self._asked.language, textnorm=self._asked.textnorm, **kept)
        return found

    def _look_inside(self, first: Trace, second: Trace) -> None:
        unlike = why_unlike(first, second)
        if unlike:
            self._remarks.append(f"{first.audio.name} was compared by its text alone: {unlike}.")
            return
        found = inside_of(first, second, self._pooled)
        self._measured += [] if found is None else [found]

    def _damage(self, subjects: Sequence[Subject], step: Callable[[], None]) -> Damage | None:
        """Exchange layers."""
        if not subjects:
            return None
        exchange = Exchange(*self._models, threads=self._depth.threads)
        labels = [*(block.label for block in self._models[0].anatomy.blocks), AFTER]
        return damage_of(exchange, subjects, labels, self._seed, step)

    def _speed(self, audios: Sequence[Audio], step: Callable[[], None]) -> Speed | None:
        """Time both models."""
        if not audios:
            return None
        return speed_of(self._models, audios, self._asked, rounds=self._depth.rounds, step=step)


def _keeps_tensors(model: Any) -> bool:
    """Tell whether a model gives what is compared inside."""
    blocks: Sequence[Any] = getattr(getattr(model, "anatomy", None), "blocks", ())
    return bool(blocks) and set(TENSORS) <= set(getattr(blocks[0], "tensors", ()))


def _spread(count: int, wanted: int) -> list[int]:
    """Return at most so many indices, spread evenly over a list."""
    chosen = min(count, wanted)
    return [place * count // chosen for place in range(chosen)]


def _counter(total: int, progress: Progress | None) -> Callable[[], None]:
    """Return what is called after each step."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return step
