"""Training examples on disk: features and targets of some thousand clips a file, made ahead of the training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recipe.plan import FEATURES
from recipe.tokens import Target, target
from voxray.frontend import Cmvn, fbank, stack
from voxray.models.sensevoice import PROMPTS
from voxray.truespeech.clip import Clip, Recipe
from voxray.truespeech.workers import Work, make
from voxray.types import Audio

Half = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Example:
    """A clip as the model sees it: (T, 560) normalised features, its target, its language."""

    features: Half
    target: Target
    language: str


@dataclass(frozen=True, slots=True)
class Featuriser:
    """Makes a clip an example; runs in the process that made the clip."""

    cmvn: Cmvn

    def __call__(self, clip: Clip) -> Example:
        """Return the example of a clip."""
        rows = (rows_of(clip) + self.cmvn.shift) * self.cmvn.scale
        return Example(rows.astype(np.float16), target(clip), clip.language)


def rows_of(clip: Clip) -> npt.NDArray[np.float32]:
    """Return the stacked features of a clip before normalisation, (T, 560)."""
    return stack(fbank(Audio(clip.samples)).values)


def statistics(recipe: Recipe, seed: int, count: int = 2000) -> Cmvn:
    """Return the normalisation that gives the features of a recipe's clips mean 0 and deviation 1."""
    total, square, rows = np.zeros(FEATURES), np.zeros(FEATURES), 0
    for values in make(Work(recipe, seed, rows_of), range(count)):
        total += values.sum(axis=0, dtype=np.float64)
        square += np.square(values, dtype=np.float64).sum(axis=0)
        rows += len(values)
    mean = total / rows
    deviation = np.sqrt(square / rows - mean**2)
    return Cmvn(-mean.astype(np.float32), (1 / deviation).astype(np.float32))


def fitting(example: Example) -> bool:
    """Whether the transcript can be emitted in the frames that there are."""
    return example.target.frames_needed <= len(example.features)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The shards of a run: files in a folder, each with the examples of ``clips`` clips."""

    folder: Path
    clips: int

    def path(self, number: int) -> Path:
        """Return where a shard is kept."""
        return self.folder / f"shard-{number:04d}.npz"

    def kept(self) -> list[int]:
        """Return the numbers of the shards that are there."""
        return sorted(int(path.stem[-4:]) for path in self.folder.glob("shard-????.npz"))

    def span(self, number: int) -> range:
        """Return the indices of a shard's clips."""
        return range(number * self.clips, (number + 1) * self.clips)

    def drop_before(self, number: int) -> None:
        """Remove the shards below a number."""
        for old in self.kept():
            if old < number:
                self.path(old).unlink()

    def save(self, number: int, examples: list[Example]) -> None:
        """Write a shard; its file appears whole or not at all."""
        flat = [token for example in examples for token in example.target.tokens]
        spans = [span for example in examples for span in example.target.spans]
        part = self.path(number).with_suffix(".part.npz")
        np.savez(
            part,
            features=np.concatenate([example.features for example in examples]),
            lengths=np.array([len(example.features) for example in examples]),
            tags=np.array([example.target.tags for example in examples]),
            tokens=np.array(flat, np.int64),
            spans=np.array(spans, np.int64).reshape(-1, 2),
            counts=np.array([len(example.target.tokens) for example in examples]),
            stops=np.array([example.target.stop for example in examples]),
            languages=np.array([example.language for example in examples]),
        )
        part.rename(self.path(number))

    def load(self, number: int) -> list[Example]:
        """Read a shard."""
        with np.load(self.path(number)) as file:
            values = {name: file[name] for name in file.files}
        ends, stops = np.cumsum(values["lengths"]), np.cumsum(values["counts"])
        examples = []
        for i, (end, stop) in enumerate(zip(ends, stops, strict=True)):
            first, begin = end - values["lengths"][i], stop - values["counts"][i]
            language, emotion, event = (int(one) for one in values["tags"][i])
            tokens = tuple(int(one) for one in values["tokens"][begin:stop])
            spans = tuple((int(one), int(other)) for one, other in values["spans"][begin:stop])
            goal = Target((language, emotion, event), tokens, spans, int(values["stops"][i]))
            examples.append(Example(values["features"][first:end], goal, str(values["languages"][i])))
        return examples


def produce(shelf: Shelf, work: Work[Example], numbers: list[int], wanted: Synchronized[int], processes: int) -> None:
    """Make shard after shard, none whose number is ``wanted`` or more yet, until they are all there.

    Runs in a process of its own, gives way to the training, and ends with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    for number in numbers:
        while number >= wanted.value:
            if (parent := parent_process()) and not parent.is_alive():
                return
            time.sleep(0.2)
        examples = list(make(work, shelf.span(number), processes))
        fit = [example for example in examples if fitting(example)]
        if len(fit) < len(examples):
            print(f"shard {number}: {len(examples) - len(fit)} clips left out, whose text needs more frames", flush=True)
        shelf.save(number, fit)


def batches(examples: list[Example], rows: int, rng: np.random.Generator) -> Iterator[list[Example]]:
    """Cut examples into batches of similar length with at most ``rows`` padded rows, in random order.

    Raises:
        ValueError: if there is no example.
    """
    if not examples:
        raise ValueError("no examples to cut into batches")
    order = sorted(rng.permutation(len(examples)), key=lambda index: len(examples[index].features))
    groups: list[list[Example]] = []
    for index in order:
        example = examples[index]
        if not groups or (len(groups[-1]) + 1) * (len(example.features) + PROMPTS) > rows:
            groups.append([])
        groups[-1].append(example)
    for place in rng.permutation(len(groups)):
        yield groups[place]
