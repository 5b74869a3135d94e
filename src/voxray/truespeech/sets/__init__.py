"""The benchmark's sets A to G: speech of which it is known where the evidence for each decision must lie.

| set | what | what is asked | truth |
| --- | --- | --- | --- |
| A | words in random order, said alone | every word | where it is |
| B | fluent sentences | every word | where it is |
| C | two lists that differ in one word | why this word and not the other | where it is; all else is the same sound |
| D | a burst, a gap or another word planted on one word | why the wrong text | where the plant is |
| E | words of two languages | why the language of the longer part | where that part is |
| F | laughter, a cough, music or applause planted beside or over speech | why that event | where the event is |
| G | lists of A after a lead-in, or with two words swapped | every word | moved as the samples are |

Everything is drawn from the seed. C, D and F have causal truth: with other samples at the named place alone, the
decision is another one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxray.truespeech.engine import engine
from voxray.truespeech.sets.clips import MAKERS, Clip
from voxray.truespeech.sets.takes import cast
from voxray.truespeech.spoken import RATE
from voxray.truespeech.workers import GROUP, make
from voxray.types import OptionError, Progress

NAMES = "ABCDEFG"
LARGER = {"D": 2}  # times the clips of the others: about half of its plants change what is heard, and only they count
TOGETHER = {"C": 2}  # clips that one place of the plan makes
MANIFEST, ABOUT = "manifest.jsonl", "sets.json"
FORMAT = 1  # to be raised whenever equal seeds give other bytes
MOST = 4000


@dataclass(frozen=True, slots=True)
class About:
    """What a folder of sets is made from; equal values give equal bytes.

    Attributes:
        seed: what everything is drawn from.
        names: of the sets, in order.
        clips: of a set.
        dev: how many of them are in the split ``dev``; the others are ``test``.
        format: version of what equal values give.
    """

    seed: int
    names: str
    clips: int
    dev: int
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Refuse sets that are not there, and numbers that cannot be met."""
        unknown = sorted(set(self.names) - set(NAMES))
        if unknown or not self.names:
            raise OptionError(f"there is no set {', '.join(unknown) or 'to make'}; choose some of {', '.join(NAMES)}")
        if "G" in self.names and "A" not in self.names:
            raise OptionError("set G moves the clips of set A; choose A as well")
        if self.seed < 0:
            raise OptionError(f"the seed is {self.seed}, but 0 or more was expected")
        if not 0 <= self.dev <= self.clips <= MOST or self.clips < 2 or self.clips % 2 or self.dev % 2:
            told = f"{self.clips} clips, {self.dev} of them dev"
            raise OptionError(f"{told}, cannot be made; give even numbers, at least 2 and at most {MOST} clips")

    def places(self, name: str, clips: int) -> int:
        """Return how many places of the plan so many clips of a set take."""
        return clips * LARGER.get(name, 1) // TOGETHER.get(name, 1)

    def plan(self) -> tuple[tuple[str, int] | None, ...]:
        """Return set and place for each index that workers are given.

        Each set begins with a group of its own, which a fresh engine says: so it does not depend on the sets before it.
        """
        found: list[tuple[str, int] | None] = []
        for name in self.names.replace("G", ""):
            found += [(name, place) for place in range(self.places(name, self.clips))]
            found += [None] * (-len(found) % GROUP)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Job:
    """What workers do for each place of the plan: make its clips, write their sounds, and return their lines."""

    about: About
    folder: Path

    @property
    def seed(self) -> int:
        """What everything is drawn from."""
        return self.about.seed

    def __call__(self, index: int, attempt: int = 0) -> list[dict[str, Any]]:
        """Make one place; another attempt is another draw."""
        plan = self.about.plan()
        at = plan[index] if index < len(plan) else None
        if at is None:
            return []
        name, place = at
        split = "dev" if place < self.about.places(name, self.about.dev) else "test"
        rng = np.random.default_rng([self.seed, ord(name), place, attempt])
        made = MAKERS[name](engine(), cast(place, split, rng), place, rng)
        kept = [clip for clip in made if clip.name in self.about.names]
        for clip in kept:
            _write(clip, self.folder)
        return [clip.line(split) for clip in kept]


def make_sets(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    names: Sequence[str] = NAMES,
    clips: int = 60,
    dev: int = 20,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write sets to a new folder, or find there what was made before from the same numbers.

    Args:
        folder: appears whole or not at all.
        seed: equal seeds give equal bytes, whatever the number of processes and whichever other sets are made.
        names: of the sets.
        clips: of a set, an even number; set D has twice as many.
        dev: how many of them, an even number, are spoken by voices that the bundled model knows, for choosing and calibrating;
            the others, in voices that it never heard, are ``test``.
        processes: how many make speech at once; all processors by default.
        progress: told after each place of the plan how many are made, and of how many.

    Returns:
        The manifest: one JSON line a clip.

    Raises:
        OptionError: if the numbers cannot be met, the folder holds something else, or eSpeak NG is not installed.
        RuntimeError: if a clip cannot be made.
    """
    about = About(seed, "".join(sorted(set(names))), clips, dev)
    place = Path(folder)
    if _is_made(place, about):
        return place / MANIFEST
    place.parent.mkdir(parents=True, exist_ok=True)
    parts = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        _fill(parts, about, processes, progress)
        parts.chmod(0o755)  # mkdtemp's is the owner's alone
        if place.exists():
            place.rmdir()  # empty, or it would have been refused; not every system replaces it
        parts.replace(place)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return place / MANIFEST


def _is_made(folder: Path, about: About) -> bool:
    """Return whether a folder holds these sets.

    Raises:
        OptionError: if it holds anything else.
    """
    if not folder.is_dir():
        if folder.exists():
            raise OptionError(f"{folder} is a file; name a new folder for the sets")
        return False
    if not any(folder.iterdir()):
        return False
    try:
        held = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise OptionError(f"{folder} is not empty and holds no sets; name a new folder for them") from None
    if held != asdict(about):
        told = ", ".join(f"{name} {value}" for name, value in held.items()) if isinstance(held, dict) else "nothing known"
        raise OptionError(f"{folder} holds other sets ({told}); name a new folder, or ask for the same")
    return True


def _fill(folder: Path, about: About, processes: int | None, progress: Progress | None) -> None:
    """Write sounds, manifest and numbers."""
    for name in about.names:
        (folder / name).mkdir()
    count, lines = len(about.plan()), []
    for done, made in enumerate(make(Job(about, folder), range(count), processes), 1):
        lines += made
        if progress:
            progress(done, count)
    lines.sort(key=lambda line: line["id"])
    told = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / MANIFEST).write_text(told, encoding="utf-8")
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=1) + "\n", encoding="utf-8")


def _write(clip: Clip, folder: Path) -> None:
    """Write a clip's sound, and beside it the clean one where something is planted."""
    import soundfile

    path = folder / clip.name / f"{clip.number:04}.wav"
    soundfile.write(path, clip.take.samples if clip.planted is None else clip.planted, RATE, subtype="PCM_16")
    if clip.planted is not None:
        soundfile.write(path.with_name(f"{path.stem}-clean.wav"), clip.take.samples, RATE, subtype="PCM_16")
