"""Masking: cells of a sound are replaced by a named fill, and the model is asked again.

A **mask** is boolean over the finest cells, (mels, F): ``F`` filter-bank frames, one each 10 ms; True hides the cell. A masked
frame is masked in every place that the front-end copied it to. Frames that overlap a masked one still hear 7.5 ms of it through
their windows of 25 ms; words are therefore widened before they are hidden. Sound itself can be masked over time, with cross-fades
of 5 ms.

Fills: ``noise_floor`` resamples the quietest tenth of the clip itself, ``mean`` is what the model met on average in training (0
after normalisation), ``silence`` is digital silence, ``pink`` is pink noise as loud as the clip's own floor. Nothing is cut out:
that would move all that follows.

This room knows no case. It says what it needs of one (:class:`Listener`); what a sound is to a model it asks of its front-end.

**Source:** slot masks at 0: SPES (Fucci et al. 2024); fills of words: Pastor et al. 2024 (SpeechXAI).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from voxray.alignment import REACH, SHORTEST, apart
from voxray.front import Front
from voxray.types import FloatArray, Grid, IntArray, OptionError, Tag, Word

Fill = Literal["noise_floor", "mean", "silence", "pink"]
Domain = Literal["features", "waveform"]
Units = Literal["words", "equal"]
BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]

FLOOR = 0.1  # the quietest share of the frames is the clip's noise floor
FADE = 0.005  # seconds of a cross-fade; an edge without one clicks over all mel filters
LOWEST = 20.0  # Hz; below, the filter bank hears nothing and pink noise would put most of its power there
WIDEN = 0.03  # seconds that a hidden word is widened by on both sides: half a stacked frame
FILTERS = 80  # of most front-ends; a sound's own are known when it is there
MOST = 60  # segments of equal length; more need more runs than anybody waits for
CHUNK = 8  # runs between two looks at the budget
LATE = 0.2  # the last share of the samples over which the top segments must not change
TOP = 3
WATCHED = ("language", "event")  # tags that change when masked sound is no longer taken for speech


class Scored(Protocol):
    """A target that can be scored on output rows."""

    def score(self, logits: FloatArray, how: Any) -> float:
        """Return how strongly output rows (N, V) hold to the target."""


class Tagged(Protocol):
    """What was recognised, as far as its tags."""

    @property
    def tags(self) -> Sequence[Tag]:
        """The tags, with their rows."""


class Purse(Protocol):
    """What is left of the budget."""

    def affordable(self, wanted: int) -> int:
        """Return how many of the wanted passes the budget still allows."""


class Listener(Protocol):
    """A sound with a model that can be asked about other versions of it, and targets; a case is one."""

    @property
    def front(self) -> Front:
        """How the sound became what the model saw."""

    @property
    def aims(self) -> Sequence[Scored]:
        """The targets."""

    @property
    def trace(self) -> Tagged:
        """What was recognised."""

    @property
    def meter(self) -> Purse:
        """What is left of the budget."""

    @property
    def logits(self) -> FloatArray:
        """Output rows on the sound as it is, (N, V)."""

    def rows(self, batch: Sequence[FloatArray]) -> Iterator[FloatArray]:
        """Yield the output rows of other features."""

    def scored(self, rows: FloatArray, how: Any) -> Sequence[float]:
        """Return the score of every target on output rows."""

    def base(self, how: Any) -> Float64Array:
        """Return the score of every target on the sound as it is."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What takes the place of what is hidden.

    Attributes:
        fill: noise_floor, mean, silence or pink.
        domain: features, or waveform (over time alone; the features are computed again).
        seed: of the random numbers.

    Raises:
        OptionError: when there is no such fill or domain, they do not go together, or the seed is below 0.
    """

    fill: Fill = "noise_floor"
    domain: Domain = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("fill", get_args(Fill)), ("domain", get_args(Domain))):
            if getattr(self, name) not in choices:
                raise OptionError(f"there is no {name} {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        if self.domain == "waveform" and self.fill == "mean":
            raise OptionError("the fill mean exists for features alone; choose noise_floor, silence or pink for a waveform")
        if self.seed < 0:
            raise OptionError(f"seed is {self.seed}; expected a whole number of at least 0")

    def features(self, front: Front) -> FloatArray:
        """Return what the model would see if everything were hidden, (T, D) float32; the same for the same seed.

        Raises:
            OptionError: when the fill is not known of this model.
        """
        if self.fill == "mean":
            return front.average
        if self.fill == "silence":
            return front.normalised(np.full_like(front.bank, front.silence))
        if self.fill == "pink":
            return front.seen(self.samples(front))
        quiet = quietest(front.bank)
        return front.normalised(front.bank[np.random.default_rng(self.seed).choice(quiet, len(front.bank))])

    def samples(self, front: Front) -> FloatArray:
        """Return the sound that would be heard if everything were hidden, (S,) float32; the same for the same seed."""
        audio, rng = front.audio, np.random.default_rng(self.seed)
        samples, length = audio.samples, round(front.window * audio.sample_rate)
        if self.fill == "silence":
            return np.zeros_like(samples)
        middles = quietest(front.bank) * round(front.shift * audio.sample_rate) + round(front.first * audio.sample_rate)
        starts = (middles - length // 2).clip(0, len(samples) - length)
        windows_of = samples[starts[:, None] + np.arange(length)]
        if self.fill == "noise_floor":
            fade = round(FADE * audio.sample_rate)
            return _laid(windows_of[rng.choice(len(starts), 1 + len(samples) // (length - fade))], fade)[: len(samples)]
        quiet = windows_of.astype(np.float64)
        loudness = (quiet - quiet.mean(axis=1, keepdims=True)).std()
        return np.asarray(_pink(len(samples), audio.sample_rate, rng) * loudness, np.float32)


def quietest(bank: FloatArray) -> IntArray:
    """Return the quietest tenth of filter-bank frames (F, mels), at least one, in order of time: (n,) int64."""
    order = np.argsort(bank.mean(axis=1), kind="stable")
    return np.sort(order[: max(1, round(FLOOR * len(bank)))]).astype(np.int64)


class Masker:
    """Hides cells of one sound.

    Args:
        front: how the sound became what the model saw.
        filling: what takes the place of what is hidden.
    """

    def __init__(self, front: Front, filling: Filling) -> None:
        self._front, self._filling = front, filling

    def __call__(self, mask: BoolArray) -> FloatArray:
        """Return what the model sees when cells are hidden, (T, D) float32.

        Args:
            mask: (mels, F), True where hidden; where nothing is, the result is what the model saw of the sound as it is.

        Raises:
            ValueError: when the mask has another shape.
            OptionError: when a waveform shall be masked over part of the mel filters.
        """
        plain, shape = self._front.features.values, self._front.bank.T.shape
        if mask.shape != shape:
            raise ValueError(f"the mask must have the shape {shape} of the finest cells, got {mask.shape}")
        if not mask.any():
            return plain
        if self._filling.domain == "waveform":
            return self._front.seen(self._mixed(mask))
        return np.where(self._front.slots(mask.T), self._features, plain)

    @cached_property
    def _features(self) -> FloatArray:
        return self._filling.features(self._front)

    @cached_property
    def _samples(self) -> FloatArray:
        return self._filling.samples(self._front)

    def _mixed(self, mask: BoolArray) -> FloatArray:
        hidden = np.asarray(mask.all(axis=0))
        if (mask.any(axis=0) != hidden).any():
            raise OptionError("a waveform is masked over time alone; choose the domain features to mask parts of the spectrum")
        samples = self._front.audio.samples
        gain = _gain(hidden, self._front)
        return np.asarray(samples * (1 - gain) + self._samples * gain, np.float32)


def _gain(hidden: BoolArray, front: Front) -> FloatArray:
    """Return how much of the fill each sample takes, (S,): 1 in hidden cells, with a linear cross-fade around their edges.

    A frame's cell is the 10 ms around the middle of its window; the first and the last reach to the ends of the sound.
    """
    rate, count = front.audio.sample_rate, len(front.audio.samples)
    shift, fade = round(front.shift * rate), round(FADE * rate)
    first = round(front.first * rate) - shift // 2
    frames = ((np.arange(count) - first) // shift).clip(0, len(hidden) - 1)
    sums = np.concatenate([[0], np.cumsum(np.pad(hidden[frames].astype(np.int64), fade // 2, mode="edge"))])
    return np.asarray((sums[fade:] - sums[:-fade])[:count] / fade, np.float32)


def _laid(stretches: FloatArray, fade: int) -> FloatArray:
    """Return the sound laid from stretches (n, length), cross-faded at equal power."""
    count, length = stretches.shape
    ramp = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade)
    shape = np.concatenate([ramp, np.ones(length - 2 * fade), ramp[::-1]])
    result = np.zeros(count * (length - fade) + fade)
    for index, stretch in enumerate(stretches):
        at = index * (length - fade)
        result[at : at + length] += stretch * shape
    return np.asarray(result[fade:], np.float32)


def _pink(count: int, rate: int, rng: np.random.Generator) -> Float64Array:
    """Return pink noise of standard deviation 1: power falls with 1 / frequency."""
    frequencies = np.fft.rfftfreq(count, 1 / rate)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    shaped = np.where(frequencies >= LOWEST, spectrum / np.sqrt(np.maximum(frequencies, LOWEST)), 0)
    noise = np.fft.irfft(shaped, count)
    return np.asarray(noise / noise.std(), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Parts of a sound that are hidden as one; they may overlap.

    Attributes:
        spans: (S, 4) int64: first and stop mel filter, first and stop frame.
        shape: (mels, F) of the finest cells.
    """

    spans: IntArray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.spans)

    def mask(self, hidden: BoolArray) -> BoolArray:
        """Return the mask of hiding some segments: (S,) -> (mels, F)."""
        result = np.zeros(self.shape, bool)
        for low, high, first, stop in self.spans[hidden]:
            result[low:high, first:stop] = True
        return result


def tiles(edges: IntArray, bands: IntArray) -> Segments:
    """Return every tile between edges in time (frames) and in mel, none overlapping; ordered to be reshaped to (M, K)."""
    spans = [(*band, *span) for band in pairwise(bands) for span in pairwise(edges)]
    return Segments(np.array(spans, np.int64), (int(bands[-1]), int(edges[-1])))


def windows(frames: int, width: int, hop: int, bands: IntArray) -> Segments:
    """Return windows over time, by each band of mel filters: ordered by band, then time.

    Args:
        frames: of the sound.
        width: of a window, in frames; the last is cut off by the end of the sound.
        hop: frames from window to window.
        bands: edges in mel filters.
    """
    starts = [start for start in range(0, frames, hop) if not start or start + width - hop < frames]
    spans = [(*band, start, min(start + width, frames)) for band in pairwise(bands) for start in starts]
    return Segments(np.array(spans, np.int64), (int(bands[-1]), frames))


def bands(count: int, filters: int = FILTERS) -> IntArray:
    """Return the edges of bands of like width over the mel filters, (count + 1,).

    Raises:
        OptionError: when there are not so many filters.
    """
    if not 1 <= count <= filters:
        raise OptionError(f"mels is {count}; expected 1 (over time alone) to {filters} bands")
    return np.asarray(np.linspace(0, filters, count + 1).round(), np.int64)


def equal(frames: int, count: int) -> IntArray:
    """Return the edges of ``count`` segments of like length, at most one for each frame."""
    return np.asarray(np.linspace(0, frames, min(count, frames) + 1).round(), np.int64)


def of_width(cells: Grid, width: float) -> IntArray:
    """Return the edges of segments of about a width in seconds; wider ones where there would be more than ``MOST``."""
    frames = cells.shape[1]
    return equal(frames, min(MOST, max(1, round(frames * spacing(cells) / width))))


def spacing(cells: Grid) -> float:
    """Return the seconds from cell to cell; their edges are sums, so it is rounded to what it was before."""
    return round(float(cells.times[-1] - cells.times[0]) / cells.shape[1], 9)


def words(cells: Grid, said: Sequence[Word]) -> IntArray:
    """Return the frames of each word, (W, 2): first and stop.

    Each word is taken to reach half-way to its neighbours, but no more than ``REACH`` beyond its times. Spans do not overlap, and
    none is shorter than ``SHORTEST``.

    Args:
        cells: the finest cells.
        said: the words of this piece of sound.

    Raises:
        OptionError: when nothing was said.
    """
    if not said:
        raise OptionError(
            "nothing was said here, so there are no words to hide; choose segments of equal length, or another method"
        )
    starts, ends = np.array([word.start for word in said]), np.array([word.end for word in said])
    halves = (starts[1:] - ends[:-1]).clip(0) / 2
    first = starts - np.minimum(np.concatenate([[REACH], halves]), REACH)
    stop = ends + np.minimum(np.concatenate([halves, [REACH]]), REACH)
    first[1:] = np.where(halves <= REACH, stop[:-1], first[1:])  # where two words meet they meet in one edge
    spans = [(int(one), int(other)) for one, other in zip(nearest(cells, first), nearest(cells, stop), strict=True)]
    frames = cells.shape[1]
    least = max(1, min(round(SHORTEST / spacing(cells)), frames // len(said)))
    return np.array(apart(spans, frames, least), np.int64)


def nearest(cells: Grid, seconds: Float64Array) -> IntArray:
    """Return the nearest edge of cells, counted in cells, for each time in seconds."""
    return np.asarray(np.round((seconds - cells.times[0]) / spacing(cells)).clip(0, len(cells.times) - 1), np.int64)


def words_and_pauses(cells: Grid, said: Sequence[Word]) -> IntArray:
    """Return the edges in frames that part a sound into its words and the longer pauses between and around them.

    Raises:
        OptionError: when nothing was said.
    """
    return np.asarray(np.unique(np.concatenate([[0], words(cells, said).ravel(), [cells.shape[1]]])), np.int64)


def grid_of(cells: Grid, edges: IntArray, mels: IntArray | None = None) -> Grid:
    """Return the grid of edges counted in the finest cells; over time alone unless mel edges are given."""
    return Grid(cells.times[edges], cells.mels[[0, -1]] if mels is None else cells.mels[mels])


class Runs:
    """Runs of masked sound: their scores, and a tally of what the masking did beside.

    Args:
        case: whose sound and targets; every pass is paid from its budget.
        segments: what can be hidden.
        filling: what takes its place.
        how: which score.

    Attributes:
        segments: what can be hidden.
        base: score of every target on the sound as it is, (A,).
        unit: of the scores.
        count: runs so far.
    """

    def __init__(self, case: Listener, segments: Segments, filling: Filling, how: str) -> None:
        self._case, self._how, self.segments = case, how, segments
        self._masker = Masker(case.front, filling)
        self._watched = [tag.row for tag in case.trace.tags if tag.kind in WATCHED]
        self._heard = case.logits[self._watched].argmax(axis=1)
        self.base: Float64Array = case.base(how)
        self.unit = "logit" if how == "margin" else "nats"
        self.count = self._strange = 0

    def each(self, hidden: BoolArray, size: int = CHUNK) -> Iterator[Float64Array]:
        """Yield scores (n, A) of a chunk of runs after the other, until all are done or the budget is.

        Args:
            hidden: (runs, S), True where a segment is hidden.
            size: runs in a chunk. The first chunk is run however late it is: ask what is affordable before.
        """
        for first in range(0, len(hidden), size):
            part = hidden[first : first + size]
            left = self._case.meter.affordable(len(part))
            if first and not left:
                return
            masked = [self._masker(self.segments.mask(one)) for one in part[: left or None]]
            yield np.array([self._scores(rows) for rows in self._case.rows(masked)])

    def all(self, hidden: BoolArray) -> Float64Array:
        """Return the scores (n, A) of as many runs as the budget allows, in order."""
        return np.concatenate(list(self.each(hidden)))

    def _scores(self, rows: FloatArray) -> list[float]:
        self.count += 1
        self._strange += bool((rows[self._watched].argmax(axis=1) != self._heard).any())
        return list(self._case.scored(rows, self._how))

    @property
    def note(self) -> str:
        """How often the masked sound was something else to the model, for the notes."""
        told = f"{self.count} runs of masked sound"
        if not self._watched:
            return told
        share = self._strange / max(self.count, 1)
        return f"{told}; in {share:.0%} of them the language or event row said something else"


@dataclass(slots=True)
class _Seen:
    samples: int
    top: tuple[frozenset[int], ...]


class Settling:
    """Says when the three segments that speak most for each target have stayed the same over the last fifth of the samples.

    Args:
        least: how many looks must lie in that last fifth, lest few samples settle by chance.
    """

    def __init__(self, least: int = 5) -> None:
        self._least, self._history = least, list[_Seen]()

    def settled(self, samples: int, estimates: Float64Array) -> bool:
        """Take in the estimates (S, A) after so many samples and say whether the top has settled."""
        top = tuple(frozenset(np.argsort(-one, kind="stable")[:TOP].tolist()) for one in estimates.T)
        self._history.append(_Seen(samples, top))
        late = [one.top for one in self._history if one.samples >= (1 - LATE) * samples]
        return len(late) >= self._least and len(set(late)) == 1


def coarse_to_fine(count: int) -> list[int]:
    """Return 0 to count - 1 so that every beginning of the row is spread over the whole of it."""
    return sorted(range(count), key=lambda index: -(index & -index) if index else -count)


def sample(
    runs: Runs, hidden: BoolArray, fit: Callable[[Float64Array], Float64Array], *, stop_early: bool
) -> tuple[Float64Array, str]:
    """Run random masks until all are done, the budget is, or the top segments have settled.

    Args:
        runs: to ask.
        hidden: (n, S), True where a segment is hidden.
        fit: from the scores so far, (m, A) for the first m masks, to the relevance of the segments, (S, A).
        stop_early: whether to look if the top has settled.

    Returns:
        The scores (m, A), and how many there are and why, for the notes.
    """
    settling, scores = Settling(), np.zeros((0, len(runs.base)))
    for part in runs.each(hidden):
        scores = np.concatenate([scores, part])
        if stop_early and len(scores) < len(hidden) and settling.settled(len(scores), fit(scores)):
            return (
                scores,
                f"{len(scores)} of {len(hidden)} samples, where the top three of {len(runs.segments)} segments had settled",
            )
    ended = ", where the budget ended" if len(scores) < len(hidden) else ""
    return scores, f"{len(scores)} of {len(hidden)} samples of {len(runs.segments)} segments{ended}"


def random_bits(shape: tuple[int, int], kept: float, seed: int) -> BoolArray:
    """Return random masks (n, S), each segment hidden with the probability 1 - kept; another stream than that of the fill."""
    return np.random.default_rng([seed, 1]).random(shape) >= kept
