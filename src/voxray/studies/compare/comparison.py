"""Two models on the same clips, and what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from voxray.edits import Counts, total
from voxray.measures.statistics import Difference, Interval, bootstrap_mean, bootstrap_ratio, paired_difference
from voxray.studies.compare.clips import Pair, TagShift, TokenShift
from voxray.studies.compare.damage import Damage
from voxray.studies.compare.inside import Divergence
from voxray.studies.compare.speed import Speed
from voxray.studies.gates import Gate
from voxray.types import ModelInfo, OptionError, plain
from voxray.views.canvas import Style
from voxray.views.compare_page import sentence

GATES: Mapping[str, tuple[str, ...]] = {
    name: (name,)
    for name in (
        "clips", "problems", "text_flips", "edit_rate", "token_flips", "tag_flips", "margin_shift", "margin_change",
        "error_rate_first", "error_rate_second", "error_rise", "start_shift", "token_shift", "divergence", "logit_distance",
        "least_cka", "slowdown", "memory_ratio", "file_ratio",
    )
}  # fmt: skip
"""Figures that a gate may ask; see :attr:`ModelComparison.figures`."""


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Two models on the same clips.

    Attributes:
        models: which they were, the first and the second.
        clips: one for each sound that both could recognise, in the order given.
        words_only: why nothing but texts, words and times is compared, in a few words; empty where the inside is too.
        inside: how far they come apart inside; None where the shapes differ, or nothing could be measured.
        damage: where they come apart; None where layers cannot be exchanged, or were not.
        speed: time and memory; None where they were not measured.
        problems: a line for each sound that could not be compared.
        remarks: what else a reader must know, one sentence each.
        seed: of the intervals and tests.
    """

    models: tuple[ModelInfo, ModelInfo]
    clips: tuple[Pair, ...]
    words_only: str
    inside: Divergence | None
    damage: Damage | None
    speed: Speed | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    seed: int

    @staticmethod
    def gate(text: str) -> Gate:
        """Read a condition under which the comparison fails, such as ``text_flips > 2%``.

        Raises:
            OptionError: when it is none, or there is no such figure.
        """
        found = Gate.parse(text, GATES)
        if found.field:
            raise OptionError(f"{text}: models are compared over all clips together; leave out the group in brackets")
        return found

    def failures(self, gates: Sequence[Gate]) -> list[str]:
        """Return a line for each gate whose condition holds, or whose figure was not measured."""
        told = {"overall": self.figures, "groups": {}}
        return [line for gate in gates for line in gate.failures(told)]

    @cached_property
    def verdict(self) -> tuple[str, ...]:
        """What it comes to, one sentence each, the most important first; A is the first model, B the second."""
        from voxray.studies.compare.verdict import claims_of  # which reads comparisons itself

        return tuple(sentence(one.key, one.values) for one in claims_of(self))

    # --- Counts and means ----------------------------------------------------------------------------------------------

    @property
    def changed(self) -> tuple[Pair, ...]:
        """Clips whose text differs."""
        return tuple(one for one in self.clips if one.changed)

    @property
    def tokens(self) -> tuple[TokenShift, ...]:
        """Every token of the first model's texts."""
        return tuple(token for one in self.clips for token in one.tokens)

    @property
    def tags(self) -> tuple[TagShift, ...]:
        """Every tag."""
        return tuple(tag for one in self.clips for tag in one.tags)

    @property
    def is_same(self) -> bool:
        """Whether no difference at all was found."""
        if any(one.changed or one.texts[0] != one.texts[1] for one in self.clips) or any(tag.flips for tag in self.tags):
            return False
        if any(one.change != 0 or one.shift != 0 for one in self.tokens):
            return False
        logits = None if self.inside is None else self.inside.logits
        return self.inside is not None and not self.inside.table().any() and (logits is None or logits.distance == 0)

    @cached_property
    def errors(self) -> tuple[Counts, Counts] | None:
        """Of both against the references; None without any."""
        known = [one.errors for one in self.clips if one.errors is not None]
        return (total(a for a, _ in known), total(b for _, b in known)) if known else None

    @cached_property
    def error_change(self) -> Difference | None:
        """Error rate of the second (``a``) and of the first (``b``), their difference and whether chance could make it."""
        known = [one.errors for one in self.clips if one.errors is not None]
        columns = [[side[place] for side in known] for place in (1, 0)]
        counts = [np.array([[one.errors, one.length] for one in column], np.float64).reshape(-1, 2) for column in columns]
        return paired_difference(*counts[0].T, *counts[1].T, seed=self.seed) if known else None

    @property
    def better(self) -> Mapping[str, int]:
        """How many changes of the text bring it nearer to the reference (``second``), away from it (``first``), or neither."""
        found = Counter(flip.better for one in self.clips for flip in one.flips if flip.better is not None)
        return {name: found[name] for name in ("second", "first", "neither")}

    @cached_property
    def text_flips(self) -> Interval | None:
        """Share of clips whose text differs."""
        return bootstrap_mean([float(one.changed) for one in self.clips], seed=self.seed)

    @cached_property
    def edit_rate(self) -> Interval | None:
        """Edits between the texts for each unit of the first's."""
        return self._pooled(lambda one: (one.edits, one.length))

    @cached_property
    def token_flips(self) -> Interval | None:
        """Share of tokens that the second model would not emit where they stand."""
        return self._pooled(lambda one: (sum(token.flips for token in one.tokens), len(one.tokens)))

    @cached_property
    def margin_shift(self) -> Interval | None:
        """Mean change of the tokens' margins, logits."""
        return self._margins(lambda change: change)

    @cached_property
    def margin_change(self) -> Interval | None:
        """Mean size of the change of the tokens' margins, logits."""
        return self._margins(abs)

    @cached_property
    def token_shift(self) -> Interval | None:
        """Mean distance in time of the tokens' emissions, s."""
        return self._mean_over_tokens(lambda token: None if token.shift is None else abs(token.shift))

    @cached_property
    def moved_tokens(self) -> Interval | None:
        """Share of tokens that the second model emits at another row."""
        return self._mean_over_tokens(lambda token: None if token.shift is None else float(abs(token.shift) > 1e-9))

    @cached_property
    def start_shift(self) -> Interval | None:
        """Mean distance of the starts of words that both have, s."""
        return self._pooled(lambda one: (sum(abs(word.starts[1] - word.starts[0]) for word in one.words), len(one.words)))

    @cached_property
    def tag_flips(self) -> Interval | None:
        """Share of tags that differ."""
        return self._pooled(lambda one: (sum(tag.flips for tag in one.tags), len(one.tags)))

    @property
    def figures(self) -> dict[str, float | int | None]:
        """What a gate may ask, None where it was not measured.

        ``clips``, ``problems``; ``text_flips`` share of clips; ``edit_rate`` edits a unit; ``token_flips``, ``tag_flips`` shares;
        ``margin_shift`` mean change and ``margin_change`` its mean size, logits; ``error_rate_first``, ``error_rate_second``, and
        ``error_rise``, their difference; ``start_shift`` of words and ``token_shift``, s; ``divergence`` of attention, bits;
        ``logit_distance`` relative L2; ``least_cka``; ``slowdown`` time of the second over the first, ``memory_ratio`` and
        ``file_ratio`` likewise.
        """
        intervals = (
            "text_flips",
            "edit_rate",
            "token_flips",
            "tag_flips",
            "margin_shift",
            "margin_change",
            "start_shift",
            "token_shift",
        )
        told: dict[str, float | int | None] = {"clips": len(self.clips), "problems": len(self.problems)}
        told |= {name: None if (found := getattr(self, name)) is None else found.value for name in intervals}
        change, inside, speed = self.error_change, self.inside, self.speed
        logits = None if inside is None else inside.logits
        alike = [] if inside is None else [one.cka for one in inside.layers if one.cka is not None]
        return told | {
            "error_rate_first": None if change is None else change.b,
            "error_rate_second": None if change is None else change.a,
            "error_rise": None if change is None else change.interval.value,
            "divergence": None if inside is None else float(np.nanmean(inside.table())),
            "logit_distance": None if logits is None else logits.relative,
            "least_cka": min(alike, default=None),
            "slowdown": None if speed is None else 1 / speed.ratio[1],
            "memory_ratio": None if speed is None or speed.memory is None else speed.memory[1] / speed.memory[0],
            "file_ratio": None if speed is None else speed.file[1] / speed.file[0],
        }

    # --- For pictures and files ----------------------------------------------------------------------------------------

    def picture(self, kind: str, style: Style) -> Any:
        """Draw one side of the comparison; ``voxray.plot.models`` is the short way here.

        Raises:
            OptionError: when there is no such picture, or nothing was measured for it.
        """
        from voxray.studies.compare.pictures import pictures_of  # which reads comparisons itself

        there = pictures_of(self)
        if kind not in there:
            raise OptionError(f"this comparison has no picture {kind!r}; it has {', '.join(there) or 'none'}")
        return there[kind](style)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each token of the first model's texts: where it stands and its margins under both models."""
        for index, clip in enumerate(self.clips):
            for token in clip.tokens:
                yield {
                    "clip": index, "name": clip.name, "token": token.text, "id": token.id, "start": round(token.start, 4),
                    "row_first": token.rows[0], "row_second": token.rows[1],
                    "margin_first": token.margins[0], "margin_second": token.margins[1],
                    "change": token.change, "shift": token.shift, "flips": token.flips,
                }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        names = ("text_flips", "edit_rate", "token_flips", "tag_flips", "margin_shift", "margin_change", "token_shift",
        "moved_tokens",
                 "start_shift", "error_change")  # fmt: skip
        return {
            "models": [plain(one) for one in self.models],
            "words_only": self.words_only or None,
            "verdict": list(self.verdict),
            "figures": self.figures,
            "intervals": {name: plain(getattr(self, name)) for name in names},
            "better": dict(self.better) if self.errors is not None else None,
            "inside": None if self.inside is None else self.inside.to_dict(),
            "damage": None if self.damage is None else self.damage.to_dict(),
            "speed": None if self.speed is None else self.speed.to_dict(),
            "clips": [one.to_dict() for one in self.clips],
            "problems": list(self.problems),
            "remarks": list(self.remarks),
            "seed": self.seed,
        }

    def _margins(self, amount: Callable[[float], float]) -> Interval | None:
        return self._mean_over_tokens(lambda token: None if token.change is None else amount(token.change))

    def _mean_over_tokens(self, amount: Callable[[TokenShift], float | None]) -> Interval | None:
        """Return the mean of a figure over all tokens that have it, with its interval over clips."""

        def pooled(one: Pair) -> tuple[float, int]:
            known = [value for value in map(amount, one.tokens) if value is not None]
            return sum(known), len(known)

        return self._pooled(pooled)

    def _pooled(self, amount: Callable[[Pair], tuple[float, int]]) -> Interval | None:
        """Return a pooled rate with its interval over clips; None over nothing."""
        pairs = [amount(one) for one in self.clips]
        return bootstrap_ratio([top for top, _ in pairs], [bottom for _, bottom in pairs], seed=self.seed) if pairs else None
