"""What a comparison comes to, sentence by sentence, each with the evidence that it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxray.measures.statistics import Interval
from voxray.studies.compare.comparison import ModelComparison
from voxray.studies.compare.damage import Damage, LayerDamage
from voxray.studies.compare.inside import Divergence
from voxray.studies.compare.speed import Speed

SPREAD = 2.0
"""Times the even share from which on a layer is said to be where damage arises."""
ROUGH = (0.7, 1.4)
"""Between these the layers' damage is said to add up, and to be that of the file."""
FLOAT = 0.99
"""Share of the squared distance from which on the weights are said to make it all."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence: its key among the page's texts, and what is filled in."""

    key: str
    values: dict[str, Any]


def claims_of(found: ModelComparison) -> list[Claim]:
    """Return the verdict on two models, the most important first."""
    told = list(_outside(found))
    if found.is_same:
        told = [Claim("claim.same", {})]
    if found.damage is not None and not found.is_same:
        told += _damage(found.damage)
    if found.inside is not None and not found.is_same:
        told += _inside(found.inside)
    if found.words_only and (found.start_shift is not None):
        words = sum(len(one.words) for one in found.clips)
        told.append(Claim("claim.starts", {"words": words, "seconds": f"{found.start_shift.value:.3f}"}))
    if found.moved_tokens is not None and found.token_shift is not None and not found.is_same:
        shift = {"share": _share(found.moved_tokens.value), "seconds": f"{found.token_shift.value:.4f}"}
        told.append(
            Claim("claim.shift" if found.moved_tokens.value else "claim.shift.none", shift if found.moved_tokens.value else {})
        )
    return told + (list(_speed(found.speed)) if found.speed is not None else [])


def _outside(found: ModelComparison) -> Iterator[Claim]:
    """Yield what texts, tokens and tags say."""
    if found.words_only:
        yield Claim("claim.words_only", {"why": found.words_only})
    changed, clips = len(found.changed), len(found.clips)
    edits, length = sum(one.edits for one in found.clips), sum(one.length for one in found.clips)
    if changed:
        rate = _share(edits / length) if length else "–"
        counts = {
            "changed": changed,
            "clips": clips,
            "share": _share(changed / clips),
            "edits": edits,
            "length": length,
            "rate": rate,
        }
        yield Claim("claim.texts", counts)
    else:
        yield Claim("claim.texts.none", {"clips": clips})
    if found.errors is not None and changed:
        yield Claim("claim.right", dict(found.better))
    change = found.error_change
    if change is not None:
        told = {"before": _share(change.b), "after": _share(change.a), "difference": f"{100 * change.interval.value:+.1f} %"}
        yield Claim("claim.errors", told | {"p": f"{change.p_value:.2g}"})
    if found.margin_change is not None and found.margin_shift is not None:
        flips = {"flips": sum(one.flips for one in found.tokens), "tokens": len(found.tokens)}
        moved = {"change": f"{found.margin_change.value:.2f}", "shift": f"{found.margin_shift.value:+.2f}"}
        yield Claim("claim.tokens", flips | moved)
    if found.tags:
        yield Claim("claim.tags", {"flips": sum(one.flips for one in found.tags), "tags": len(found.tags)})


def _damage(damage: Damage) -> Iterator[Claim]:
    """Yield where damage arises; nothing where there is none."""
    if damage.redone is not None and not ROUGH[0] <= damage.redone <= ROUGH[1]:
        yield Claim("claim.redone", {"share": _share(damage.redone)})
    first, second = damage.ranked[:2]
    if first.share is None or second.share is None:
        return
    told = {"layer": first.layer, "share": _share(first.share.value), "interval": _interval(first.share)}
    if first.share.value < SPREAD / len(damage.layers) and not _is_head(damage, first):
        yield Claim("claim.damage.spread", told)
    else:
        yield Claim(f"claim.damage{'.head' if _is_head(damage, first) else ''}", told)
        if second.share.value:
            head = ".head" if _is_head(damage, second) else ""
            yield Claim(f"claim.next{head}", {"layer": second.layer, "share": _share(second.share.value)})
    inner = next((one for one in (first, second) if one.parts and not _is_head(damage, one) and sum(one.parts.values())), None)
    if inner is not None:
        part = max(inner.parts, key=lambda name: inner.parts[name])
        yield Claim("claim.part", {"layer": inner.layer, "part": f"{{part.{part}}}", "share": _share(inner.parts[part])})
    if damage.from_weights is not None and damage.from_weights < FLOAT:
        yield Claim("claim.weights", {"share": _share(damage.from_weights)})
    if damage.adds_up is not None and not ROUGH[0] <= damage.adds_up <= ROUGH[1]:
        yield Claim("claim.adds", {"times": f"{damage.adds_up:.2f}"})


def _is_head(damage: Damage, one: LayerDamage) -> bool:
    return one.layer == len(damage.layers) - 1


def _inside(inside: Divergence) -> Iterator[Claim]:
    table = inside.table()
    if np.nanmax(table) > 0:
        layer, head = (int(one) for one in np.unravel_index(int(np.nanargmax(table)), table.shape))
        bits = {"bits": f"{table[layer, head]:.3g}", "mean": f"{np.nanmean(table):.3g}"}
        yield Claim("claim.attention", {"layer": layer, "head": head} | bits)
    logits = inside.logits
    if logits is not None:
        alike = min((one.cka for one in inside.layers if one.cka is not None), default=float("nan"))
        apart = max((one.relative_l2 for one in inside.layers if one.relative_l2 is not None), default=float("nan"))
        yield Claim("claim.outputs", {"distance": _share(logits.relative), "outputs": _share(apart), "cka": f"{alike:.4f}"})


def _speed(speed: Speed) -> Iterator[Claim]:
    low, middle, high = speed.ratio
    key = "as_fast" if low <= 1 <= high else "faster" if middle > 1 else "slower"
    told = {"ratio": f"{middle:.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}", "runs": speed.runs}
    yield Claim(f"claim.{key}", told)
    if speed.memory is not None:
        sizes = {"first": speed.memory[0], "second": speed.memory[1], "file_first": speed.file[0], "file_second": speed.file[1]}
        yield Claim(
            "claim.memory", {name: f"{size / 1e6:.0f}" if size >= 1e7 else f"{size / 1e6:.1f}" for name, size in sizes.items()}
        )


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value >= 0.001 or value == 0 else f"{100 * value:.2g} %"


def _interval(spread: Interval) -> str:
    """Return the ends of an interval in brackets; nothing for one clip."""
    return "" if spread.low is None or spread.high is None else f" ({100 * spread.low:.0f}–{100 * spread.high:.0f} %)"
