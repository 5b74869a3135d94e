"""Listen to the evidence: the sound with only those cells of time and pitch kept that carried a decision, and its complement.

The sound is cut into windows of 32 ms; each is weighted in frequency by the kept mel filters, keeps its own phase, and all are
added up again. Weights fade over 20 ms and two filters beyond the kept cells, so that nothing clicks. What is kept and what is
not add up to the sound itself.

**Source:** weighted overlap-add with the root of a Hann window at a hop of a quarter: Griffin and Lim 1984, *Signal estimation
from modified short-time Fourier transform*. Mel filters: Kaldi ``feat/mel-computations.h``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from voxray.storage import whole_file
from voxray.types import Audio, FloatArray, Grid, OptionError, OutputError, Relevance

Keep = Literal["evidence", "rest"]

WINDOW = 0.032  # s; harmonics of speech and its syllables can both be told apart
OVERLAP = 4  # windows over each sample
FADE = 0.01  # s; kept cells are widened by so much, then blurred by so much to both sides
HELD = 0.06  # s; the outermost cells stand for one frame of the model more, since stacked windows reach beyond their middle
MELS = 80
MEL_RANGE = (20.0, 8000.0)  # Hz, of Kaldi's filters at 16 kHz


def evidence_sound(audio: Audio, relevance: Relevance, *, keep: Keep = "evidence", share: float = 0.5) -> Audio:
    """Return what of a sound carried a decision, or all the rest of it.

    Args:
        audio: the whole sound that the times of the map count in, at any rate.
        relevance: the map; of one over time alone, whole stretches of time are kept.
        keep: ``evidence`` keeps the cells that speak for the target, the largest first, until they hold ``share`` of all
            that speaks for it; ``rest`` keeps everything else. The two add up to the sound.
        share: of the positive relevance, above 0 to 1.

    Returns:
        A sound of the same length and rate. Outside the map's time there is no evidence, but its outermost cells reach one frame
        of the model (60 ms) further, as the windows that they were computed from do.

    Raises:
        OptionError: for a ``keep`` or share that makes no sense, a map in which nothing speaks for the target, or one that
            lies outside the sound.
    """
    if keep not in get_args(Keep):
        raise OptionError(f"keep {keep!r} is not known; choose one of {', '.join(get_args(Keep))}")
    if not 0 < share <= 1:
        raise OptionError(f"share must lie above 0 and be at most 1, got {share:g}")
    times = relevance.grid.times
    if times[0] >= audio.duration or times[-1] <= 0:
        raise OptionError(
            f"the map covers {times[0]:.2f} to {times[-1]:.2f} s, {audio.name} has {audio.duration:.2f} s; give the map's own sound"
        )
    mask = _filters(carrying_cells(relevance, share), relevance.grid)
    reach = HELD + WINDOW + 2 * FADE
    first = max(0, int((times[0] - reach) * audio.sample_rate))
    stop = min(len(audio.samples), int((times[-1] + reach) * audio.sample_rate) + 1)
    kept = np.zeros(len(audio.samples))
    kept[first:stop] = _weighted(audio.samples[first:stop], audio.sample_rate, first, (mask, times))
    samples = kept if keep == "evidence" else audio.samples - kept
    return Audio(np.asarray(samples, np.float32), audio.sample_rate, f"{audio.name} ({keep})")


def carrying_cells(relevance: Relevance, share: float) -> npt.NDArray[np.bool_]:
    """Return which cells carry a decision, (M, K): the largest positive ones that together hold a share of all positive ones.

    Raises:
        OptionError: when no cell is positive.
    """
    scores = np.nan_to_num(relevance.scores.astype(np.float64))
    positive = np.clip(scores, 0, None).ravel()
    if not positive.any():
        raise OptionError(f"nothing in the sound speaks for {relevance.target.title}, so there is no evidence to listen to")
    order = np.argsort(-positive, kind="stable")
    held = np.cumsum(positive[order])
    count = int(np.searchsorted(held, share * held[-1] * (1 - 1e-12))) + 1
    kept = np.zeros(positive.shape, np.bool_)
    kept[order[:count]] = True
    return np.asarray((kept & (positive > 0)).reshape(scores.shape))


def write_sound(audio: Audio, path: str | os.PathLike[str]) -> Path:
    """Write a sound as WAV with 16 bits; it appears whole or not at all.

    Args:
        audio: samples beyond full scale are cut at it.
        path: ends in ``.wav``; missing folders are made.

    Returns:
        The path.

    Raises:
        OptionError: for another ending.
        OutputError: when the file cannot be written there.
    """
    import soundfile

    target = Path(path)
    if target.suffix.lower() != ".wav":
        raise OptionError(f"A sound cannot be written as {target.name!r}; end its name in .wav.")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file that ends in .wav.")
    steps = np.rint(audio.samples.astype(np.float64) * 32768).clip(-32768, 32767).astype(np.int16)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as stream:
            soundfile.write(stream, steps, audio.sample_rate, format="WAV", subtype="PCM_16")
    except (OSError, soundfile.SoundFileError) as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise OutputError(f"The sound {target} cannot be written ({reason}); choose a folder that you may write.") from None
    return target


# --- Weights -----------------------------------------------------------------------------------------------------------


def _filters(kept: npt.NDArray[np.bool_], grid: Grid) -> npt.NDArray[np.float64]:
    """Return the weight of each mel filter in each cell of time, (80, K): 1 in kept cells, fading over two filters beside."""
    band = np.searchsorted(grid.mels, np.arange(MELS) + 0.5, side="right") - 1
    inside = (band >= 0) & (band < len(kept))
    rows = np.where(inside[:, None], kept[band.clip(0, len(kept) - 1)], 0.0)
    return _soft(rows, 1)


def _soft(weights: npt.NDArray[np.float64], radius: int) -> npt.NDArray[np.float64]:
    """Widen weights along the first axis by a radius, then average over it: what was 1 stays 1, its surroundings fade."""
    if radius == 0:
        return weights
    size, pad = 2 * radius + 1, ((radius, radius), (0, 0))
    view = np.lib.stride_tricks.sliding_window_view
    wide = view(np.pad(weights, pad), size, axis=0).max(axis=-1)
    return np.asarray(view(np.pad(wide, pad, mode="edge"), size, axis=0).mean(axis=-1))


def _bins(count: int, sample_rate: int) -> npt.NDArray[np.float64]:
    """Return how each mel filter weighs on the bins of a spectrum, (80, bins).

    Kaldi's triangles are as high as 1 together at every frequency between the first and last centre; beyond these the outer
    filters are held. So a filter bank of ones changes nothing.
    """
    low, high, mel = (1127 * np.log1p(np.asarray(hertz) / 700) for hertz in (*MEL_RANGE, np.linspace(0, sample_rate / 2, count)))
    place = ((mel - low) / (high - low) * (MELS + 1) - 1).clip(0, MELS - 1)
    return np.asarray(np.clip(1 - np.abs(place - np.arange(MELS)[:, None]), 0, None))


def _weighted(
    samples: FloatArray, sample_rate: int, first: int, mask: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """Return a stretch of sound with each moment's spectrum weighted by its filters.

    Args:
        samples: (S,) of the stretch.
        sample_rate: Hz.
        first: sample of the whole sound at which the stretch begins.
        mask: weights of the filters (80, K) and the edges (K + 1,) in seconds of their cells.
    """
    weights, edges = mask
    hop = max(1, round(WINDOW * sample_rate / OVERLAP))
    window = np.sin(np.pi * (np.arange(hop * OVERLAP) + 0.5) / (hop * OVERLAP))  # squared, they sum to OVERLAP / 2
    count = -(-len(samples) // hop) + OVERLAP - 1  # windows that touch a sample
    padded = np.zeros((count + OVERLAP - 1) * hop)
    lead = (OVERLAP - 1) * hop
    padded[lead : lead + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, hop * OVERLAP)[::hop] * window
    centres = (first - lead + hop * (np.arange(count) + OVERLAP / 2)) / sample_rate
    cell = np.searchsorted(edges, centres, side="right") - 1
    inside = (centres >= edges[0] - HELD) & (centres <= edges[-1] + HELD)
    over_time = np.where(inside[:, None], weights.T[cell.clip(0, weights.shape[1] - 1)], 0.0)
    gains = _soft(over_time, max(1, round(FADE * sample_rate / hop))) @ _bins(hop * OVERLAP // 2 + 1, sample_rate)
    shaped = np.fft.irfft(np.fft.rfft(frames) * gains, hop * OVERLAP) * window * (2 / OVERLAP)
    result = np.zeros((count + OVERLAP - 1, hop))
    for part in range(OVERLAP):
        result[part : part + count] += shaped[:, part * hop : (part + 1) * hop]
    return np.asarray(result.ravel()[lead : lead + len(samples)])
