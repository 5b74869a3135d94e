"""Views of attention: which layer, which head, how heads are put together, how the result is scaled.

All functions are pure; arrays have the axes (head, token, frame) or (token, frame). A view of attention shows where the model
could look, not what decided: see the documentation for how often that is the right place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, OptionError

if TYPE_CHECKING:
    import xarray as xr

    from voxray.trace import Trace

Aggregate = Literal["mean", "max", "first", "entropy", "value"]
Normalise = Literal["none", "minmax", "row_sum", "row_max"]
TEMPERATURE = 0.5  # nats; how sharply entropy weighting prefers focused heads


@dataclass(frozen=True, slots=True)
class AttentionView:
    """Which attention to look at, and how.

    Attributes:
        layer: 0 is nearest to the sound, -1 is the last; None is the mean of all.
        head: one head; None puts all of them together by ``aggregate``.
        aggregate: ``mean``; ``max`` of each weight, rows scaled to sum to 1 again; ``first`` head; ``entropy``: heads weighted by
            exp(-entropy / 0.5 nat) of each row, so focused heads count more; ``value``: heads weighted by the norm of what they
            add to the layer's output.
        normalise: ``none``; ``minmax`` maps the whole picture to 0..1; ``row_sum`` makes each row sum to 1; ``row_max`` makes each
            row's largest weight 1.
        smooth: width in seconds of a moving average over time, taken to the nearest odd number of frames; 0 for none.
        tags: whether the four tags get rows too.
    """

    layer: int | None = field(default=None, metadata={"help": "one layer, 0 next to the sound, -1 the last; default: mean of all"})
    head: int | None = field(default=None, metadata={"help": "one head; default: all of them, see aggregate"})
    aggregate: Aggregate = field(default="mean", metadata={"help": "how heads are put together"})
    normalise: Normalise = field(default="none", metadata={"help": "how weights are scaled"})
    smooth: float = field(default=0.0, metadata={"help": "width of a moving average over time, in seconds"})
    tags: bool = field(default=False, metadata={"help": "show the four tags as rows too"})

    def __post_init__(self) -> None:
        for name, kind in (("aggregate", Aggregate), ("normalise", Normalise)):
            if getattr(self, name) not in get_args(kind):
                raise OptionError(f"{name} {getattr(self, name)!r} is not known; choose one of {', '.join(get_args(kind))}")
        if not 0 <= self.smooth < np.inf:
            raise OptionError(f"smooth must be 0 or a width in seconds, got {self.smooth}")

    def __str__(self) -> str:
        layer = "mean of all layers" if self.layer is None else f"layer {self.layer}"
        how = {"first": "first head", "entropy": "heads by entropy", "value": "heads by value norm"}
        heads = how.get(self.aggregate, f"{self.aggregate} of heads") if self.head is None else f"head {self.head}"
        smooth = f"smoothed over {self.smooth:g} s" if self.smooth else ""
        scale = "" if self.normalise == "none" else self.normalise
        return ", ".join(filter(None, (layer, heads, smooth, scale)))


def attention_map(trace: Trace, view: AttentionView | None = None) -> xr.DataArray:
    """Return one picture's worth of attention from tokens to frames of sound.

    Args:
        trace: of one piece of sound; take ``trace.piece(i)`` of a long one.
        view: what to look at.

    Returns:
        (token, frame) float32 with the coordinates of ``Trace.token_attention`` and, as attributes, a title, the provenance and
        the unit of the weights.

    Raises:
        OptionError: when the layer or head does not exist.
        TraceError: when ``aggregate`` is ``value`` and the trace was loaded without its model.
    """
    view = view or AttentionView()
    layers = None if view.layer is None else [view.layer]
    heads = [view.head] if view.head is not None else [0] if view.aggregate == "first" else None
    weights = trace.token_attention(layers, heads, tags=view.tags)
    together: xr.DataArray = weights.isel(layer=0, head=0, drop=True).astype(np.float32)
    if view.head is None and view.aggregate == "value":
        norms = trace.head_norms(layers, tags=view.tags).values
        merged = weighted_heads(weights.values, norms)
    elif view.head is None:
        merged = combine_heads(weights.values, view.aggregate)
    else:
        merged = weights.values[:, 0]
    hop = _hop(trace, weights["time"].values)
    reach = int(min(view.smooth / hop + 0.5, merged.shape[-1] * 2)) // 2
    done = replace(view, smooth=(2 * reach + 1) * hop if reach else 0.0)  # what the picture says is what was done
    scores = normalise(smooth(merged.mean(axis=0), 2 * reach), view.normalise)
    rows = weights.attrs["rows"].removesuffix(" of each token")
    unit = "attention weight" if view.normalise in ("none", "row_sum") else "attention, scaled to 0..1"
    together = together.copy(data=scores)
    together.attrs |= {
        "title": f"Attention of {trace.audio.name}",
        "provenance": f"{done} · {weights.attrs['model']} · rows: {rows} · a view, not an explanation",
        "unit": unit,
    }
    together.coords["prompt_mass"] = ("token", weights["prompt_mass"].values.mean(axis=(0, 1)))
    return together


def _hop(trace: Trace, times: npt.NDArray[np.float64]) -> float:
    """Return the seconds between columns."""
    if trace.frame_hop is not None:
        return trace.frame_hop
    if trace.decoder is not None and len(times) > 1:  # a decoder's frames may be wider than those of the features
        return float(times[1] - times[0])
    return trace.features[0].hop if trace.features else 1.0


def combine_heads(weights: FloatArray, aggregate: Aggregate) -> FloatArray:
    """Put heads together.

    Args:
        weights: (L, H, U, T), rows that sum to 1.
        aggregate: any but ``value``.

    Returns:
        (L, U, T) float32, rows that sum to 1.

    **Source:** weighting heads by entropy: LEAF-X (arXiv 2606.14647); the temperature of 0.5 nat is our choice.
    """
    if aggregate == "first":
        return weights[:, 0]
    if aggregate == "max":
        return normalise(weights.max(axis=1), "row_sum")
    if aggregate == "entropy":
        entropy = -(weights * np.log(np.maximum(weights, np.finfo(np.float32).tiny))).sum(axis=-1)
        return weighted_heads(weights, np.exp((entropy.min(axis=1, keepdims=True) - entropy) / TEMPERATURE))
    return np.asarray(weights.mean(axis=1), np.float32)


def weighted_heads(weights: FloatArray, importance: FloatArray) -> FloatArray:
    """Return the mean of heads weighted per row: (L, H, U, T) and (L, H, U) -> (L, U, T) float32."""
    shares = importance / np.maximum(importance.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(np.einsum("lhut,lhu->lut", weights, shares), np.float32)


def smooth(weights: FloatArray, frames: int) -> FloatArray:
    """Average over time with a window, which is cut at the ends.

    Args:
        weights: (U, T).
        frames: width; even widths are made odd so that nothing shifts. 0 and 1 change nothing.
    """
    count = weights.shape[-1]
    reach = min(frames // 2, count)
    if reach < 1:
        return weights
    sums = np.concatenate([np.zeros_like(weights[..., :1], np.float64), weights.cumsum(axis=-1, dtype=np.float64)], axis=-1)
    first = np.maximum(np.arange(count) - reach, 0)
    stop = np.minimum(np.arange(count) + reach + 1, count)
    return np.asarray((sums[..., stop] - sums[..., first]) / (stop - first), np.float32)


def normalise(weights: FloatArray, how: Normalise) -> FloatArray:
    """Scale weights; a constant picture, or a row of zeros, becomes 0 and never divides by it.

    Args:
        weights: (..., T).
        how: see ``AttentionView``.
    """
    if how == "none":
        return weights
    if how == "minmax":
        low, high = (float(one) for one in (weights.min(), weights.max())) if weights.size else (0.0, 0.0)
        return np.asarray((weights - low) / (high - low), np.float32) if high > low else np.zeros_like(weights)
    scale = weights.sum(axis=-1, keepdims=True) if how == "row_sum" else weights.max(axis=-1, keepdims=True, initial=0.0)
    return np.asarray(np.divide(weights, scale, out=np.zeros_like(weights), where=scale > 0), np.float32)
