"""Whether what a recogniser meets is still what it met on a good corpus: a profile of that corpus, and a watch that compares.

Conventions: one figure a settled recognition (an utterance). A watch looks at windows of two lengths: a few utterances show at once
when everything has changed, many show what has changed a little. A window moves on by a third of its length. Each figure is
compared by its population stability index and by Kolmogorov and Smirnov's D, each tag (language, emotion, event) by the divergence
of its labels; each against what chance gives where nothing has drifted, drawn from the profile itself. P-values are corrected for
the number of figures (Holm); a window that still holds one below its share of ``alpha`` is suspicious, and only ``in_a_row``
suspicious windows of one length, one after another, are an alarm.

An utterance that is unlike the profile is no error by itself: drift says that the model works in a place where nobody has measured
it. A profile belongs to one model, and to sound that is cut into utterances in the same way.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.measures import drift
from voxray.measures.statistics import holm
from voxray.storage import whole_file
from voxray.studies.steps import STATISTICS, Step, steps_of
from voxray.types import OptionError, OutputError, plain

if TYPE_CHECKING:
    from voxray.trace import Trace

FORMAT = "voxray-profile-1"
KEPT = 1000  # figures of each name: 10 kB, quantiles of what was learnt where there was more
LEAST = 20  # utterances that a profile needs
LARGEST = 16 << 20  # bytes of a profile's file
CATEGORIES = ("language", "emotion", "event")


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """How a watch looks for drift.

    Attributes:
        windows: utterances that are compared at a time, one number for each length of window.
        alpha: risk that some window is suspicious by chance, all figures and lengths together.
        in_a_row: suspicious windows one after another that make an alarm.
        rounds: samples drawn to learn what chance gives.
        seed: of those samples.

    Raises:
        OptionError: when a number makes no sense.
    """

    windows: tuple[int, ...] = (3, 20)
    alpha: float = 0.004
    in_a_row: int = 2
    rounds: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.windows or min(*self.windows, self.in_a_row) < 1:
            raise OptionError(f"windows and in_a_row must be at least 1, got {self.windows} and {self.in_a_row}")
        if not 0 < self.alpha < 1:
            raise OptionError(f"alpha must be above 0 and below 1, got {self.alpha}; 0.004 is usual")
        least = math.ceil(2 * len(self.windows) * (len(STATISTICS) + len(CATEGORIES)) / self.alpha)
        if self.rounds < least:
            raise OptionError(f"rounds must be at least {least}, to tell what is as rare as alpha, got {self.rounds}")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a recogniser was like on a good corpus.

    Attributes:
        figures: by the names of ``STATISTICS``, sorted, at most 1000 of each; those that could not be told are left out.
        labels: by kind of tag, how often each label was decided.
        count: utterances.
        model: SHA-256 of the model's files; empty where it is not known.
        name: of the model.
    """

    figures: Mapping[str, tuple[float, ...]]
    labels: Mapping[str, Mapping[str, int]]
    count: int
    model: str = ""
    name: str = ""

    @classmethod
    def learn(cls, traces: Iterable[Trace]) -> Profile:
        """Learn from traces of good sound; each piece of a trace is an utterance. None is kept.

        Raises:
            OptionError: when they hold fewer than 20 utterances, or come from several models.
        """
        name = ""

        def steps() -> Iterable[Step]:
            nonlocal name
            for trace in traces:
                name = trace.model.name
                yield from steps_of(trace)

        return cls.of(list(steps()), name=name)

    @classmethod
    def of(cls, steps: Iterable[Step], *, name: str = "") -> Profile:
        """Learn from the settled steps of a monitor.

        Args:
            steps: of good sound.
            name: of the model.

        Raises:
            OptionError: when there are fewer than 20, or they come from several models.
        """
        settled = [step for step in steps if step.settled]
        models = sorted({step.model for step in settled})
        if len(settled) < LEAST:
            raise OptionError(f"a profile needs at least {LEAST} utterances, got {len(settled)}; give more good sound")
        if len(models) > 1:
            raise OptionError(f"a profile belongs to one model, but these utterances come from {len(models)}; learn one of each")
        told = {one: [step.statistics[one] for step in settled if not math.isnan(step.statistics[one])] for one in STATISTICS}
        kinds = {kind: Counter(step.tags[kind] for step in settled if kind in step.tags) for kind in CATEGORIES}
        return cls(
            figures={one: _kept(values) for one, values in told.items() if len(values) >= LEAST},
            labels={kind: dict(sorted(counts.items())) for kind, counts in kinds.items() if counts.total() >= LEAST},
            count=len(settled),
            model=models[0],
            name=name,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the profile as JSON; an older file is replaced only when the new one is whole.

        Raises:
            OutputError: when it cannot be written.
        """
        target = Path(path)
        try:
            with whole_file(target) as stream:
                stream.write(json.dumps({"format": FORMAT, **plain(self)}, ensure_ascii=False).encode())
        except OSError as error:
            raise OutputError(f"the profile {target} cannot be written ({error.strerror}); choose another place") from error
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile.

        Raises:
            OptionError: when the file is missing or holds no profile.
        """
        try:
            if Path(path).stat().st_size > LARGEST:
                raise OptionError(f"{path} holds no profile: it has more than {LARGEST >> 20} MB; learn one with --learn")
            told = json.loads(Path(path).read_text(encoding="utf-8"))
            return _read(told)
        except OSError as error:
            raise OptionError(f"{path}: no profile can be read ({error.strerror}); give one that was learnt") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if isinstance(error, OptionError):
                raise
            raise OptionError(f"{path} holds no profile that can be used; learn it again with --learn or Profile.learn") from error


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one figure has moved.

    Attributes:
        psi: population stability index, nats; NaN of tags.
        distance: D of Kolmogorov and Smirnov; of tags the divergence of Jensen and Shannon in bits; 0 to 1.
        p: how often chance goes as far.
        adjusted: the same, corrected for all figures of the window.
    """

    psi: float
    distance: float
    p: float
    adjusted: float


@dataclass(frozen=True, slots=True)
class Drift:
    """What one window showed.

    Attributes:
        alarm: whether enough windows in a row were suspicious.
        features: what has moved in this window, the surest first; empty where nothing has.
        shifts: by figure or kind of tag.
        streak: suspicious windows in a row, this one among them.
        window: utterances that were compared.
    """

    alarm: bool
    features: tuple[str, ...]
    shifts: Mapping[str, Shift]
    streak: int
    window: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        shifts = {name: {key: _jsonable(value) for key, value in plain(one).items()} for name, one in self.shifts.items()}
        return {
            "alarm": self.alarm,
            "features": list(self.features),
            "streak": self.streak,
            "window": self.window,
            "shifts": shifts,
        }

    def __str__(self) -> str:
        moved = ", ".join(self.features) or "nothing"
        return f"{moved} moved in the last {self.window} utterances; {self.streak} suspicious windows in a row"


@dataclass(slots=True)
class DriftWatch:
    """Compares the utterances of late with a profile.

    Attributes:
        profile: what they should be like.
        options: how to look.
    """

    profile: Profile
    options: DriftOptions = field(default_factory=DriftOptions)
    _recent: deque[Step] = field(init=False)
    _count: int = field(init=False, default=0)
    _latest: dict[int, Drift] = field(init=False, default_factory=dict)
    _chance: dict[tuple[str, str, int], Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._recent = deque(maxlen=max(self.options.windows))
        for (name, known), count in itertools.product(self.profile.figures.items(), self.options.windows):
            self._by_chance("psi", name, count, partial(drift.psi_by_chance, known))  # now, so that no utterance has to wait for it
            self._by_chance("ks", name, count, partial(drift.ks_by_chance, known))

    def add(self, step: Step) -> Drift | None:
        """Take one settled step in; return what the windows show, the most suspicious of them; None before the first is full.

        Raises:
            OptionError: when the step comes from another model than the profile.
        """
        if step.model != self.profile.model:
            raise OptionError(
                f"the profile was learnt with another model ({self.profile.name or 'unnamed'}); learn one with this model"
            )
        self._recent.append(step)
        self._count += 1
        for window in self.options.windows:
            if self._count >= window and (self._count - window) % max(window // 3, 1) == 0:
                self._latest[window] = self._judge(window)
        return max(self._latest.values(), key=lambda one: (one.alarm, one.streak), default=None)

    def _judge(self, window: int) -> Drift:
        """Compare the last so many utterances."""
        recent = list(self._recent)[-window:]
        found = {name: self._figure(name, recent) for name in self.profile.figures}
        found |= {kind: self._tag(kind, recent) for kind in self.profile.labels}
        known = {name: one for name, one in found.items() if one is not None}
        adjusted = holm([one[2] for one in known.values()]).tolist() if known else []
        shifts = {name: Shift(*one, corrected) for (name, one), corrected in zip(known.items(), adjusted, strict=True)}
        risk = self.options.alpha / len(self.options.windows)
        moved = sorted((name for name, one in shifts.items() if one.adjusted < risk), key=lambda name: shifts[name].p)
        before = self._latest[window].streak if window in self._latest else 0
        streak = before + 1 if moved else 0
        return Drift(streak >= self.options.in_a_row, tuple(moved), shifts, streak, window)

    def _figure(self, name: str, steps: Sequence[Step]) -> tuple[float, float, float] | None:
        """Return index, distance and p-value of a figure; None where less than half of the window has it."""
        recent = [_rounded(one.statistics[name]) for one in steps if not math.isnan(one.statistics[name])]
        if 2 * len(recent) < len(steps):
            return None
        known = np.array(self.profile.figures[name])
        index, distance = drift.psi(known, recent), drift.ks(known, recent)
        chances = (
            drift.p_value(index, self._by_chance("psi", name, len(recent), partial(drift.psi_by_chance, known))),
            drift.p_value(distance, self._by_chance("ks", name, len(recent), partial(drift.ks_by_chance, known))),
        )
        return index, distance, min(1.0, 2 * min(chances))  # two looks at one figure

    def _tag(self, kind: str, steps: Sequence[Step]) -> tuple[float, float, float] | None:
        """Return no index, the divergence and p-value of a kind of tag; None where less than half of the window has it."""
        recent = Counter(one.tags[kind] for one in steps if kind in one.tags)
        if 2 * recent.total() < len(steps):
            return None
        # A label that the profile never met may still be rare and no drift: all of them together count as met once.
        names = sorted(self.profile.labels[kind])
        known = np.append(drift.counts_of(self.profile.labels[kind], names), 1)
        counts = drift.counts_of(recent, names)
        distance = float(drift.jensen_shannon(known, np.append(counts, recent.total() - counts.sum())))
        by_chance = self._by_chance("js", kind, recent.total(), partial(drift.jensen_shannon_by_chance, known))
        return math.nan, distance, drift.p_value(distance, by_chance)

    def _by_chance(self, how: str, name: str, count: int, draw: Callable[..., Any]) -> Any:
        """Return what chance gives for so many figures; drawn once."""
        key = (how, name, count)
        if key not in self._chance:
            self._chance[key] = draw(count, seed=self.options.seed, rounds=self.options.rounds)
        return self._chance[key]


def _kept(values: list[float]) -> tuple[float, ...]:
    """Return the figures sorted, or their quantiles where there are many, to six digits."""
    kept = sorted(values) if len(values) <= KEPT else np.quantile(values, (np.arange(KEPT) + 0.5) / KEPT).tolist()
    return tuple(_rounded(one) for one in kept)


def _rounded(value: float) -> float:
    """Return a figure to six digits, as a profile keeps it: what is the same must compare as the same."""
    return float(f"{value:.6g}")


def _read(told: Any) -> Profile:
    """Return the profile that a file tells.

    Raises:
        ValueError: when it tells none.
    """
    if told["format"] != FORMAT:
        raise ValueError("another format")
    figures = {name: tuple(float(one) for one in values) for name, values in told["figures"].items() if name in STATISTICS}
    labels = {kind: {str(k): int(v) for k, v in counts.items()} for kind, counts in told["labels"].items() if kind in CATEGORIES}
    sound = all(len(one) >= 2 and all(map(math.isfinite, one)) for one in figures.values())
    if not figures or not sound or any(min(one.values(), default=0) < 1 for one in labels.values()):
        raise ValueError("no figures")
    return Profile(figures, labels, int(told["count"]), str(told["model"]), str(told["name"]))


def _jsonable(value: float) -> float | None:
    return None if math.isnan(value) else value
