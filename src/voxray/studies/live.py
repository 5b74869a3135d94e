"""Recognises sound while it comes in: partial texts that settle, one final text an utterance, statistics of each step.

    live = voxray.LiveRecogniser(voxray.load_model(threads=1))
    for chunk in chunks:
        for event in live.feed(chunk, rate=48000):
            print(event.kind, event.stable, event.unstable)
    for event in live.finish():
        print(event.kind, event.text)

How it works. Voice activity cuts the sound into utterances: speech with pauses shorter than ``silence``. While one lasts, its last
``window`` seconds are recognised anew every ``interval``; what two recognitions in a row agree on, token by token and at the same
time, is stable and stays. When it has ended, the whole utterance is recognised once more: that is its final text, which may put
right what was stable. An utterance that becomes longer than ``longest`` is cut where speech is least likely.

Clocks. Times are seconds of sound since the first sample. ``lag`` is how far recognition is behind the clock on the wall; a source
that falls silent (no chunks) counts as nobody's delay. Past ``behind`` seconds partial texts are left out until it has caught up;
final texts never are. Memory holds one utterance of sound, whatever the time.

**Source:** stability by agreement of two hypotheses: Liu, Spanakis and Niehues 2020, "Low-latency sequence-to-sequence speech
recognition and translation by partial hypothesis selection" (LocalAgreement-2), as whisper_streaming does it with a buffer that is
cut behind what is stable (Macháček, Dabre and Bojar 2023, "Turning Whisper into real-time transcription system").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from voxray.studies.monitor import AttentionMonitor
from voxray.studies.steps import Step, chosen_layers, steps_of
from voxray.types import Audio, AudioError, FloatArray, OptionError, Tag, Token, plain
from voxray.vad import CHUNK, CHUNK_SECONDS, RATE, Detector, Endpoints, Run, VadOptions, detected_runs
from voxray.vocabulary import strip_tags

if TYPE_CHECKING:
    from voxray.models import Recogniser
    from voxray.trace import Trace

EventKind = Literal["partial", "final", "behind", "caught up"]
SAME_TIME = 0.3
"""Seconds that a token may move from one recognition to the next and still be the same."""
CONTEXT = (4.0, 1.5)
"""Seconds before the end of what is stable between which the window is cut: what is left is context for what follows."""
KEEP = 128 << 20
"""Bytes of attention that a trace keeps from its own pass; what does not fit is computed again."""
BLOCK = RATE // 2
"""Samples taken in at a time."""
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
SCALES = {"int16": 2.0**15, "int32": 2.0**31, "float32": 1.0, "float64": 1.0}

Chunk = bytes | bytearray | memoryview | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to listen.

    Attributes:
        language: a member of the model's languages.
        textnorm: whether to write punctuation and numbers as digits, where the model can.
        interval: seconds of sound between partial texts.
        silence: seconds of pause that end an utterance.
        longest: seconds that an utterance lasts at most.
        window: seconds that are recognised again for a partial text, about.
        behind: seconds behind the clock from which partial texts are left out.
        statistics: whether to measure attention at each step.

    Raises:
        OptionError: when a number makes no sense.
    """

    language: str = "auto"
    textnorm: bool = False
    interval: float = 0.5
    silence: float = 0.5
    longest: float = 20.0
    window: float = 10.0
    behind: float = 1.0
    statistics: bool = True

    def __post_init__(self) -> None:
        bounds = {"interval": (0.1, 60.0), "silence": (0.1, 5.0), "longest": (4.0, 30.0), "behind": (0.1, 3600.0)}
        for name, (low, high) in {**bounds, "window": (3.0, self.longest)}.items():
            if not low <= getattr(self, name) <= high:
                raise OptionError(f"{name} must be {low:g} to {high:g} seconds, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class LiveEvent:
    """Something that live recognition has to tell.

    Attributes:
        kind: ``partial``, ``final``; ``behind`` and ``caught up`` when partial texts begin and cease to be left out.
        utterance: 0, 1, 2, ...
        start: of the utterance, seconds.
        end: of what was recognised, seconds.
        stable: text that stays until the final text; of a final event all of it.
        unstable: text that may still change.
        tokens: with times since the first sample; of a partial text those that are stable and those that are not.
        tags: language, emotion, event, textnorm.
        heard: seconds of sound taken in.
        lag: seconds behind the clock.
        skipped: partial texts left out since the start.
        seconds: spent on this recognition.
        offset: seconds from the first sample to where the recognised sound begins; times in ``trace`` count from there.
        step: statistics and drift; None where they are not measured.
        trace: of this recognition; None where statistics are not measured. It holds sound and attention: do not keep many.
    """

    kind: EventKind
    utterance: int
    start: float
    end: float
    stable: str = ""
    unstable: str = ""
    tokens: tuple[Token, ...] = ()
    tags: tuple[Tag, ...] = ()
    heard: float = 0.0
    lag: float = 0.0
    skipped: int = 0
    seconds: float = 0.0
    offset: float = 0.0
    step: Step | None = None
    trace: Trace | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """All of the text."""
        return self.stable + self.unstable

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the trace as JSON can hold it."""
        named = ("kind", "utterance", "start", "end", "text", "stable", "unstable", "heard", "lag", "skipped", "seconds")
        tags = {tag.kind: {"label": tag.label, "probability": tag.probability} for tag in self.tags}
        tokens = [{"text": one.text, "start": one.start, "end": one.end, "confidence": one.confidence} for one in self.tokens]
        told = None if self.step is None else self.step.to_dict()
        kept = None if told is None else {name: told[name] for name in ("statistics", "drift")}
        found: dict[str, Any] = plain({name: getattr(self, name) for name in named})
        return found | {"tags": tags, "tokens": tokens, "step": kept}


class LiveRecogniser:
    """Takes chunks of sound in and tells what is said.

    One of them listens to one source. ``feed`` and ``finish`` take turns where several threads call them.

    Attributes:
        model: the open recogniser. One thread is enough for it, and spares the machine.
        options: how to listen.
        monitor: where every step is taken in.
    """

    def __init__(
        self,
        model: Recogniser,
        options: LiveOptions | None = None,
        *,
        monitor: AttentionMonitor | None = None,
        clock: Callable[[], float] | None = time.monotonic,
    ) -> None:
        """Begin to listen.

        Args:
            model: the open recogniser.
            options: how to listen.
            monitor: where every step is taken in; by default one of its own.
            clock: seconds of the clock on the wall; None where sound does not come in real time, so that nothing is ever late.

        Raises:
            OptionError: when the model has no such language.
        """
        self.model, self.options = model, options or LiveOptions()
        if self.options.language not in model.languages:
            known = ", ".join(model.languages)
            raise OptionError(f"language {self.options.language!r} is not known to this model; choose one of {known}")
        self.monitor = monitor or AttentionMonitor()
        self._intake, self._delay = _Intake(), _Delay(clock)
        self._ears, self._draft = _Ears(VadOptions(min_silence=self.options.silence)), _Draft()
        self._utterance, self._skipped, self._due = 0, 0, 0.0
        self._done = 0  # chunks up to which everything has its final text
        self._late = self._finished = False
        self._lock = threading.Lock()
        if self.options.statistics:  # so that the first words need not wait for what is loaded when it is first used
            noise = np.random.default_rng(0).normal(0.0, 0.01, RATE)
            steps_of(self._traced(Audio(noise.astype(np.float32))), speech=())

    @property
    def heard(self) -> float:
        """Seconds of sound taken in."""
        return self._ears.samples / RATE

    @property
    def lag(self) -> float:
        """Seconds behind the clock."""
        return self._delay.lag(self.heard)

    def feed(self, chunk: Chunk, rate: int = RATE) -> list[LiveEvent]:
        """Take a chunk of sound in.

        Args:
            chunk: of any length: (S,) or (S, C) float32, float64, int16 or int32, integers at their full scale; or bytes of mono
                int16, least byte first, which may end within a sample.
            rate: Hz; another one than before begins a new stream of the same sound.

        Returns:
            What there is to tell: final texts of the utterances that ended, then at most one partial text.

        Raises:
            AudioError: when the chunk is no sound or the rate is implausible.
            OptionError: when the sound has been finished.
        """
        with self._lock:
            if self._finished:
                raise OptionError("this live recognition is finished; begin a new one")
            samples = self._intake.take(chunk, rate)
            self._delay.arrived(len(samples) / RATE, self.heard)
            events = self._listen(samples)
            events += self._punctuality()
            if self._ears.open is not None and self.heard >= self._due:
                self._due = self.heard + self.options.interval
                if self._late:
                    self._skipped += 1
                else:
                    events.append(self._partial(self._ears.open))
            self._delay.rest()
            return events

    def finish(self) -> list[LiveEvent]:
        """End the sound and return what is left to tell; a second call returns nothing."""
        with self._lock:
            if self._finished:
                return []
            self._finished = True
            events = self._listen(self._intake.rest())
            return events + [self._final(run) for run in self._ears.end()]

    def _listen(self, samples: FloatArray) -> list[LiveEvent]:
        """Take samples in, a little at a time so that no more than an utterance is ever held; return the final texts."""
        events: list[LiveEvent] = []
        for first in range(0, len(samples), BLOCK):
            events += [self._final(run) for run in self._ears.take(samples[first : first + BLOCK])]
            if (cut := self._ears.cut(self.options.longest)) is not None:
                events.append(self._final(cut))
            self._ears.forget(self._beginning(self._ears.needed))
        return events

    def _punctuality(self) -> list[LiveEvent]:
        """Return the news if recognition has fallen behind or caught up."""
        late = self.lag > (self.options.behind / 2 if self._late else self.options.behind)
        changed, self._late = late != self._late, late
        return [self._event("behind" if late else "caught up", self.heard, self.heard)] if changed else []

    def _beginning(self, first: int) -> int:
        """Return the chunk at which the sound of an utterance begins: a little before its speech, after the one before."""
        return max(first - self._ears.pad, self._done)

    def _final(self, run: Run) -> LiveEvent:
        """Recognise a whole utterance."""
        first, stop = self._beginning(run[0]), run[1]
        event = self._recognised("final", (first * CHUNK, min(stop * CHUNK, self._ears.samples)))
        self._done = stop
        self._draft.start_after(stop * CHUNK_SECONDS)
        self._utterance += 1
        return event

    def _partial(self, first: int) -> LiveEvent:
        """Recognise the window of an utterance that goes on."""
        begin = max(self._beginning(first) * CHUNK, self._draft.window)
        if self._ears.samples - begin > self.options.window * RATE:
            begin = self._draft.window = self._narrowed(begin)
        event = self._recognised("partial", (begin, self._ears.samples))
        return replace(event, start=self._beginning(first) * CHUNK_SECONDS)

    def _narrowed(self, begin: int) -> int:
        """Return where a window that has become too long begins now: at a quiet place a little before the end of what is stable."""
        stable = self._draft.stable
        settled = stable[-1].end if stable else self.heard - self.options.window / 2 + CONTEXT[1]
        earliest, latest = max(begin / RATE + 1.0, settled - CONTEXT[0]), settled - CONTEXT[1]
        return self._ears.quietest(earliest, latest) * CHUNK if latest > earliest else begin

    def _recognised(self, kind: Literal["partial", "final"], span: tuple[int, int]) -> LiveEvent:
        """Recognise a span of samples."""
        started, offset = time.perf_counter(), span[0] / RATE
        audio = Audio(self._ears.sound(*span), RATE, f"utterance {self._utterance}")
        trace, step = None, None
        if self.options.statistics:
            trace = self._traced(audio)
            speech = self._ears.speech(*span)
            steps = self.monitor.update(trace, speech=speech, offset=offset, settled=kind == "final")
            step = steps[-1] if steps else None
        options = self.options
        found = trace.transcript if trace else self.model.transcribe(audio, options.language, textnorm=options.textnorm)
        tokens = [replace(one, start=one.start + offset, end=one.end + offset) for one in found.tokens]
        stable, unstable = (tokens, []) if kind == "final" else self._draft.advance(tokens)
        spelled = (found.text, "") if kind == "final" else _spelled(stable, unstable)
        return replace(
            self._event(kind, offset, span[1] / RATE),
            stable=spelled[0],
            unstable=spelled[1],
            tokens=(*stable, *unstable),
            tags=tuple(replace(one, start=one.start + offset, end=one.end + offset) for one in found.tags),
            seconds=time.perf_counter() - started,
            offset=offset,
            step=step,
            trace=trace,
        )

    def _traced(self, audio: Audio) -> Trace:
        """Recognise a sound and keep the attention that is measured, and no more."""
        layers = chosen_layers(self.model.layers) if self.model.cross_shape is None else [0]  # all cross-attention is kept with it
        return self.model.trace(audio, self.options.language, textnorm=self.options.textnorm, layers=layers, keep=KEEP)

    def _event(self, kind: EventKind, start: float, end: float) -> LiveEvent:
        """Return an event without words."""
        return LiveEvent(kind, self._utterance, start, end, heard=self.heard, lag=self.lag, skipped=self._skipped)


def agreed(before: Sequence[Token], now: Sequence[Token]) -> int:
    """Return how many tokens at the beginning of two hypotheses are the same, at about the same time."""
    count = 0
    for one, other in zip(before, now, strict=False):
        if one.id != other.id or abs(one.start - other.start) > SAME_TIME:
            break
        count += 1
    return count


def beyond(stable: Sequence[Token], hypothesis: Sequence[Token]) -> list[Token]:
    """Return the tokens of a hypothesis that come after those that are stable.

    Where the last stable token is found again, they are those after it; else those that begin after it ended.
    """
    if not stable:
        return list(hypothesis)
    last = stable[-1]
    places = [place for place, one in enumerate(hypothesis) if one.id == last.id and abs(one.start - last.start) <= SAME_TIME]
    if places:
        nearest = min(places, key=lambda place: abs(hypothesis[place].start - last.start))
        return list(hypothesis[nearest + 1 :])
    return [one for one in hypothesis if one.start >= last.end]


def _spelled(stable: Sequence[Token], unstable: Sequence[Token]) -> tuple[str, str]:
    """Return the texts of both, that of the second with the space between them."""
    first = strip_tags("".join(one.text for one in stable)).lstrip()
    second = strip_tags("".join(one.text for one in unstable))
    return first, second if first else second.lstrip()


class _Draft:
    """The partial text of the utterance that goes on.

    Attributes:
        stable: the tokens that stay.
        window: sample from which it is recognised anew.
    """

    def __init__(self) -> None:
        self.stable: list[Token] = []
        self.window = 0
        self._last: list[Token] = []

    def advance(self, hypothesis: Sequence[Token]) -> tuple[list[Token], list[Token]]:
        """Take a hypothesis in; return the stable tokens and the others."""
        rest = beyond(self.stable, hypothesis)
        count = agreed(self._last, rest)
        self.stable = [*self.stable, *rest[:count]]
        self._last = rest[count:]
        return self.stable, self._last

    def start_after(self, seconds: float) -> None:
        """Forget what was said up to a time; what was said later belongs to the next utterance."""
        self.stable = [one for one in self.stable if one.start >= seconds]
        self._last = [one for one in self._last if one.start >= seconds]


class _Intake:
    """Makes mono sound at 16 kHz of chunks of any kind."""

    def __init__(self) -> None:
        self._rate = RATE
        self._resampler: Any = None
        self._odd = b""

    def take(self, chunk: Chunk, rate: int) -> FloatArray:
        """Return the samples of a chunk, as far as the resampler gives them yet.

        Raises:
            AudioError: when the chunk is no sound or the rate is implausible.
        """
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError(f"the sound's rate must be {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {rate}")
        before = self.rest() if rate != self._rate else np.zeros(0, np.float32)
        self._rate = rate
        samples = self._samples(chunk)
        if rate == RATE:
            return np.concatenate([before, samples])
        if self._resampler is None:
            import soxr

            self._resampler = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
        return np.concatenate([before, self._resampler.resample_chunk(samples)])

    def rest(self) -> FloatArray:
        """Return what the resampler still holds."""
        held, self._resampler, self._odd = self._resampler, None, b""
        return np.zeros(0, np.float32) if held is None else np.asarray(held.resample_chunk(np.zeros(0, np.float32), last=True))

    def _samples(self, chunk: Chunk) -> FloatArray:
        """Return a chunk as mono float32."""
        if isinstance(chunk, (bytes, bytearray, memoryview)):
            every = self._odd + bytes(chunk)
            self._odd = every[len(every) // 2 * 2 :]
            chunk = np.frombuffer(every[: len(every) // 2 * 2], "<i2")
        if not isinstance(chunk, np.ndarray) or chunk.ndim not in (1, 2) or chunk.dtype.name not in SCALES:
            told = f"{chunk.dtype} {chunk.shape}" if isinstance(chunk, np.ndarray) else type(chunk).__name__
            raise AudioError(f"a chunk must be (S,) or (S, C) of {', '.join(SCALES)}, or bytes of int16, got {told}")
        values = np.asarray(chunk, np.float32) / np.float32(SCALES[chunk.dtype.name])
        mono = values if values.ndim == 1 else values.mean(axis=1) if values.shape[1] else np.zeros(0, np.float32)
        if not np.isfinite(mono).all():
            raise AudioError("a chunk holds samples that are not finite; check the source")
        return np.asarray(mono, np.float32)


class _Delay:
    """How far recognition is behind the clock.

    Sound that comes in real time ends, when a chunk of it arrives, at that very moment. What arrives later was waiting for us,
    unless we were idle for longer than the chunk lasts: then it was we who waited, for a source that paused.
    """

    def __init__(self, clock: Callable[[], float] | None) -> None:
        self._clock = clock
        self._zero: float | None = None  # the clock when the first sample sounded
        self._resting = 0.0

    def arrived(self, seconds: float, heard: float) -> None:
        """Take note of a chunk that is about to be taken in, after so much sound."""
        if self._clock is None:
            return
        now = self._clock()
        latest = now - heard - seconds  # sound that comes early was recorded before
        waited = max(now - self._resting - seconds, 0.0)
        self._zero = latest if self._zero is None else min(self._zero + waited, latest)

    def lag(self, heard: float) -> float:
        """Return the seconds behind, after so much sound."""
        return 0.0 if self._clock is None or self._zero is None else max(self._clock() - self._zero - heard, 0.0)

    def rest(self) -> None:
        """Take note that from now on we are idle."""
        self._resting = 0.0 if self._clock is None else self._clock()


class _Ears:
    """The sound of the utterance that goes on, and what voice activity makes of it.

    Chunks of 512 samples are numbered through from the first, samples too; what lies before ``forget`` is gone.

    Attributes:
        pad: chunks that are kept on both sides of speech.
    """

    def __init__(self, options: VadOptions) -> None:
        self._options = options
        self._detector, self._endpoints = Detector(), Endpoints(options)
        self.pad = round(options.pad / CHUNK_SECONDS)
        self._sound = np.zeros(0, np.float32)
        self._probabilities: list[float] = []
        self._first = 0  # chunk that is held

    @property
    def samples(self) -> int:
        """Samples taken in."""
        return self._first * CHUNK + len(self._sound)

    @property
    def open(self) -> int | None:
        """First chunk of the speech that goes on."""
        return self._endpoints.open

    @property
    def needed(self) -> int:
        """First chunk of speech that goes on, if only for a moment, or that may begin next."""
        return self._judged if self._endpoints.begun is None else self._endpoints.begun

    @property
    def _judged(self) -> int:
        return self._first + len(self._probabilities)

    def take(self, samples: FloatArray) -> list[Run]:
        """Take samples in; return the stretches of speech that have ended, with what is kept after them."""
        self._sound = np.concatenate([self._sound, samples])
        ended = []
        while (self._judged + 1) * CHUNK <= self.samples:
            run = self._judge()
            if run is not None:
                ended.append((run[0], min(run[1] + self.pad, self._judged)))
        return ended

    def end(self) -> list[Run]:
        """End the sound; return the stretches of speech that end with it."""
        runs = [self._judge()] if self._judged * CHUNK < self.samples else []
        runs.append(self._endpoints.end())
        return [(run[0], min(run[1] + self.pad, self._judged)) for run in runs if run is not None]

    def cut(self, longest: float) -> Run | None:
        """Cut a stretch that has become too long where speech is least likely, and return its first part.

        As in ``voxray.vad`` the cut lies in the later half, and no less than a quarter goes on: no scrap is left alone.
        """
        most = int(longest / CHUNK_SECONDS) - 2 * self.pad
        if self.open is None or self._judged - self.open < most:
            return None
        first = self.open
        at = first + (most + 1) // 2
        at += int(np.argmin(self._probabilities[at - self._first : first + most - most // 4 + 1 - self._first]))
        self._endpoints.cut(at)
        return first, at

    def quietest(self, earliest: float, latest: float) -> int:
        """Return the chunk between two times in seconds where speech is least likely."""
        first, stop = (int(seconds / CHUNK_SECONDS) - self._first for seconds in (earliest, latest))
        return self._first + first + int(np.argmin(self._probabilities[first : stop + 1]))

    def speech(self, start: int, stop: int) -> list[tuple[float, float]]:
        """Return where somebody speaks between two samples, in seconds from the first of them."""
        first = start // CHUNK
        known = np.array(self._probabilities[first - self._first : -(-stop // CHUNK) - self._first], np.float32)
        return [(one * CHUNK_SECONDS, other * CHUNK_SECONDS) for one, other in detected_runs(known, self._options)]

    def sound(self, start: int, stop: int) -> FloatArray:
        """Return the sound between two samples."""
        return np.array(self._sound[start - self._first * CHUNK : stop - self._first * CHUNK])

    def forget(self, chunk: int) -> None:
        """Let go of what lies before a chunk."""
        count = max(chunk - self._first, 0)
        self._sound, self._first = self._sound[count * CHUNK :], self._first + count
        del self._probabilities[:count]

    def _judge(self) -> Run | None:
        """Ask the detector about the next chunk."""
        at = len(self._probabilities) * CHUNK
        self._probabilities.append(self._detector.probability(self._sound[at : at + CHUNK]))
        return self._endpoints.add(self._probabilities[-1])
