"""Measure live recognition: processor time, word latency, likeness to recognition of the whole file, memory, and drift alarms.

    PYTHONPATH=training python benchmarks/live.py [--minutes 5] [--speed 1] [--clean 30] [--model PATH] [--seed 0]

Speech is said by eSpeak NG (``voxray.truespeech``) in five languages, clip after clip with pauses of 0.6 to 1 s, so that every
word's end is known. It is fed in chunks of 100 ms at ``--speed`` times real speed (0: as fast as possible; then there is no clock,
and a word's latency counts the sound that had come in and the time of that one recognition).

- Processor: ``process_time`` of feeding, by the length of the sound; the model runs on one thread.
- Latency: from the end of a word to the first event whose stable text holds it as the final text has it; of words whose every
  letter the final text has.
- Likeness: edits between the final texts and offline recognition (``model.transcribe`` of the file) by the length of the latter,
  letters only.
- Memory: resident size each second of the run; its slope after the first minute.
- Drift: a profile is learnt from other clips; then white noise 5 dB below the speech sets in at minute 3. Apart from it,
  ``--clean`` minutes without noise, whose alarms are false. Both as fast as possible.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein

import voxray
from bare import FloatArray
from voxray.sounds import with_noise
from voxray.studies.drift import Profile
from voxray.studies.live import LiveEvent, LiveRecogniser
from voxray.studies.monitor import AttentionMonitor
from voxray.truespeech.clip import CLEAN
from voxray.truespeech.workers import clips
from voxray.types import Audio

RATE, CHUNK = 16_000, 1_600
PAUSES = (0.6, 1.0)  # s
NOISE_AT, NOISE = 180.0, 5.0  # s, dB
LIMITS = {"processor": 0.25, "latency": 1.2, "likeness": 0.97, "slope": 1.0, "alarm": 20.0}


@dataclass(frozen=True, slots=True)
class Speech:
    """Sound, and the text and end of every word in seconds."""

    audio: Audio
    words: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, and when it came, in seconds since the first sample."""

    event: LiveEvent
    at: float


@dataclass(frozen=True, slots=True)
class Session:
    """A run: its events, processor seconds, and resident memory in MB by seconds since the start."""

    heard: tuple[Heard, ...]
    processor: float
    memory: tuple[tuple[float, float], ...]

    @property
    def finals(self) -> list[LiveEvent]:
        """The final texts."""
        return [one.event for one in self.heard if one.event.kind == "final"]


def speech(seconds: float, seed: int) -> Speech:
    """Return speech of at least some seconds."""
    pauses = np.random.default_rng(seed)
    parts: list[FloatArray] = []
    words: list[tuple[str, float]] = []
    at = 0
    for clip in clips(CLEAN, seed, round(seconds / 3) + 20):
        pause = np.zeros(round(float(pauses.uniform(*PAUSES)) * RATE), np.float32)
        words += [(word.text, (at + word.end) / RATE) for word in clip.words]
        parts += [clip.samples, pause]
        at += len(clip.samples) + len(pause)
        if at >= seconds * RATE:
            break
    return Speech(Audio(np.concatenate(parts), RATE, "speech"), tuple(words))


def run(model: object, audio: Audio, speed: float, monitor: AttentionMonitor | None = None) -> Session:
    """Feed a sound in chunks of 100 ms."""
    live = LiveRecogniser(model, monitor=monitor, clock=time.monotonic if speed else None)  # type: ignore[arg-type]
    heard: list[Heard] = []
    memory: list[tuple[float, float]] = []
    started, used = time.monotonic(), time.process_time()
    for first in range(0, len(audio.samples), CHUNK):
        chunk = audio.samples[first : first + CHUNK]
        if speed and (early := started + (first + len(chunk)) / RATE / speed - time.monotonic()) > 0:
            time.sleep(early)
        for event in live.feed(chunk):
            now = (time.monotonic() - started) * speed if speed else event.heard + event.seconds
            heard.append(Heard(without_bulk(event), now))
        if first // CHUNK % 10 == 0:
            memory.append(((first + CHUNK) / RATE, resident()))
    heard += [Heard(without_bulk(event), event.heard + event.seconds) for event in live.finish()]
    return Session(tuple(heard), time.process_time() - used, tuple(memory))


def without_bulk(event: LiveEvent) -> LiveEvent:
    """Return an event with what is measured later, so that keeping all of them is not taken for a leak of the recogniser."""
    final = event.kind == "final" and event.step is not None
    step = replace(event.step, thumbnail=np.zeros((0, 0), np.float32)) if final and event.step is not None else None
    return replace(event, trace=None, tokens=(), tags=(), step=step)


def resident() -> float:
    """Return the memory that this process holds, MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


def show(title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Print what was measured, with the limit that the project sets itself."""
    print(f"{title}\n")
    for name, value, limit in rows:
        print(f"  {name:32} {value}" + (f"   ({limit})" if limit else ""))
    print()


def with_late_noise(audio: Audio, seed: int) -> Audio:
    """Return the sound with white noise from minute 3 on, 5 dB below its speech."""
    noisy = with_noise(audio, NOISE, seed).samples
    first = round(NOISE_AT * RATE)
    return Audio(np.concatenate([audio.samples[:first], noisy[first:]]), RATE, "noisy")


def letters(text: str) -> str:
    """Return a text without spaces."""
    return "".join(text.split())


def likeness(found: str, reference: str) -> float:
    """Return 1 less the edits by the length of the reference, letters only."""
    return 1 - Levenshtein.distance(letters(found), letters(reference)) / len(letters(reference))


def latencies(session: Session, words: tuple[tuple[str, float], ...]) -> Iterator[float]:
    """Yield, for each word that the final texts have, the seconds from its end to the first stable text with it."""
    for number, group in itertools.groupby(session.heard, key=lambda one: one.event.utterance):
        events = [one for one in group if one.event.kind in ("partial", "final")]
        final = next((one.event for one in events if one.event.kind == "final"), None)
        if final is None:
            continue
        assert final.utterance == number
        said = [(letters(text), end) for text, end in words if final.start < end <= final.end + 0.2]
        text = letters(final.stable)
        kept = Levenshtein.opcodes("".join(one for one, _ in said), text)
        place = {op.src_start + k: op.dest_start + k for op in kept if op.tag == "equal" for k in range(op.src_end - op.src_start)}
        begin = 0
        for word, end in said:
            span, begin = range(begin, begin + len(word)), begin + len(word)
            if all(one in place for one in span):
                stop = place[span[-1]] + 1
                yield next(one.at for one in events if letters(one.event.stable)[:stop] == text[:stop]) - end


def slope(memory: tuple[tuple[float, float], ...]) -> float:
    """Return MB a minute after the first minute."""
    later = np.array([one for one in memory if one[0] >= 60])
    return float(np.polyfit(later[:, 0] / 60, later[:, 1], 1)[0]) if len(later) > 10 else float("nan")


def recognition(model: object, options: argparse.Namespace) -> None:
    """Measure everything but drift."""
    said = speech(60 * options.minutes, options.seed)
    session = run(model, said.audio, options.speed)
    text = " ".join(event.stable for event in session.finals)
    late = np.array(list(latencies(session, said.words)))
    truth = " ".join(word for word, _ in said.words)
    plain = model.transcribe(said.audio).text  # type: ignore[attr-defined]
    partial = [one.event.seconds for one in session.heard if one.event.kind == "partial"]
    rows = [
        ("sound", f"{said.audio.duration:.0f} s, {len(session.finals)} utterances, {len(partial)} partial texts", ""),
        ("processor, share of one core", f"{session.processor / said.audio.duration:.3f}", f"at most {LIMITS['processor']}"),
        ("a partial text, mean", f"{1000 * np.mean(partial):.0f} ms", ""),
        ("partial texts left out", f"{session.heard[-1].event.skipped}", ""),
        ("latency of a word, median", f"{np.median(late):.2f} s", f"at most {LIMITS['latency']} s"),
        ("  90 % of the words within", f"{np.quantile(late, 0.9):.2f} s, of {len(late)} of {len(said.words)} words", ""),
        ("like offline", f"{likeness(text, plain):.4f}", f"at least {LIMITS['likeness']}"),
        ("like the truth", f"{likeness(text, truth):.4f}", ""),
        ("memory", f"{session.memory[-1][1]:.0f} MB, {slope(session.memory):+.2f} MB a minute", f"below {LIMITS['slope']}"),
    ]
    show(f"Live, {options.speed:g} times real speed", rows)


def alarms(model: object, audio: Audio, profile: Profile) -> list[tuple[float, tuple[str, ...]]]:
    """Return when alarms began, and what had moved."""
    monitor = AttentionMonitor(profile=profile)
    session = run(model, audio, 0, monitor)
    found, before = [], False
    for one in session.heard:
        drift = one.event.step.drift if one.event.step else None
        if drift is not None:
            if drift.alarm and not before:
                found.append((one.at, drift.features))
            before = drift.alarm
    return found


def drift(model: object, options: argparse.Namespace) -> None:
    """Measure how soon noise raises an alarm, and how often nothing does."""
    learnt = AttentionMonitor(history=10_000)
    run(model, speech(900, options.seed + 1).audio, 0, learnt)
    profile = learnt.learn()
    rows = [("profile", f"{profile.count} utterances", "")]
    for seed in range(options.seed + 10, options.seed + 10 + options.noises):
        found = alarms(model, with_late_noise(speech(300, seed).audio, seed), profile)
        late = [(at - NOISE_AT, features) for at, features in found if at > NOISE_AT]
        told = f"{late[0][0]:.1f} s: {', '.join(late[0][1])} moved" if late else "no alarm"
        early = f"; {len(found) - len(late)} alarms before" if len(found) > len(late) else ""
        rows.append(("noise from minute 3", told + early, f"within {LIMITS['alarm']:g} s"))
    if options.clean:
        found = alarms(model, speech(60 * options.clean, options.seed + 2).audio, profile)
        rows.append((f"alarms in {options.clean:g} clean minutes", f"{len(found)}", "0"))
    show("Drift", rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--clean", type=float, default=30.0)
    parser.add_argument("--noises", type=int, default=5)
    parser.add_argument("--model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = voxray.load_model(options.model, threads=1)
    if options.minutes:
        recognition(model, options)
    drift(model, options)


if __name__ == "__main__":
    main()
