"""When do words begin and end? Voxray against what other runtimes make of the same output, on speech whose word times are known.

    python benchmarks/times.py [--clips 600] [--noisy 300] [--write]

Speech comes from ``voxray.truespeech``: held-out voices, held-out sentences, five languages, half of it fluent (``sentence``) and
half words said alone and joined with gaps (``concat``), clean; and, apart, with noise at 10 dB in a room. Every rule is given the
same output rows of the same model. A word counts where it was recognised letter for letter; a time that the speech engine announces
late (a vowel after a nasal or liquid) does not count, neither as the start of that word nor as the end of the one before. Intervals
are those of a bootstrap over clips. Nothing here was tuned on these voices or sentences. Seeded; about ten minutes on two cores.
With ``--write`` the tables go into ``docs/times.md``.

**Source** of the other rules: FunASR ``funasr/models/sense_voice/model.py``, ``output_timestamp``; k2-fsa/sherpa-onnx
``csrc/offline-recognizer-sense-voice-impl.h``.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import voxray
from voxray import edges, timing
from voxray.frontend import fbank
from voxray.measures.boundaries import spelled
from voxray.measures.statistics import bootstrap_ratio
from voxray.models import BUNDLED
from voxray.seams import network, view_of
from voxray.trace import Trace
from voxray.truespeech.clip import CLEAN, Clip
from voxray.truespeech.lexicon import LANGUAGES
from voxray.truespeech.voices import HELD_OUT
from voxray.truespeech.workers import clips
from voxray.types import Audio, FloatArray

PAGE = Path(__file__).parent.parent / "docs" / "times.md"
MARK = "<!-- benchmark -->"
RECIPE = replace(CLEAN, variants=HELD_OUT, concat=0.5, held_out=True)
NOISY = replace(RECIPE, noisy=1.0, snr=(10.0, 10.0), rooms=1.0)
SEED, NOISY_SEED = 801, 802
RATE, FRAME, PROMPTS = 16000, 0.06, 4
NEAR = (0.02, 0.05, 0.1)  # s
MODES = {"sentence": "Fluent sentences", "concat": "Words with gaps"}
Spans = list[tuple[float, float]]


# --- The rules ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a model made of a clip.

    Attributes:
        trace: of the clip.
        heard: the words, as ``voxray.timing`` sees them.
        odds: of the tokens.
        bank: (F, 80) log mel energies.
    """

    trace: Trace
    heard: tuple[timing.Heard, ...]
    odds: timing.Odds
    bank: FloatArray

    def frames(self, word: timing.Heard) -> tuple[int, int]:
        """Return the first frame that emits a word, and that after the last."""
        tokens = self.trace.tokens
        return tokens[word.first].rows[0] - PROMPTS, tokens[word.last].rows[1] - PROMPTS

    def seconds(self, places: Iterable[tuple[float, float]]) -> Spans:
        """Return places in the bank as seconds."""
        clock = self.odds.clock
        return [(clock.seconds(start), clock.seconds(end)) for start, end in places]


def said_of(trace: Trace) -> Said:
    """Return what the rules need of a trace."""
    clock = timing.Clock(0.0125, 0.01, 0.0, 6.0)
    odds = timing.odds_of(trace.evidence[0].logits(), trace.tokens, trace.blank, PROMPTS, clock)
    heard = tuple(timing.heard_of(trace.tokens, word) for word in trace.words)
    return Said(trace, heard, odds, fbank(trace.audio).values)


def funasr(said: Said) -> Spans:
    """Return spans as FunASR prints them: the frames that emit a word's tokens, 30 ms to either side of 60 k."""
    return [(max(FRAME * a - 0.03, 0.0), FRAME * b - 0.03) for a, b in map(said.frames, said.heard)]


def sherpa(said: Said) -> Spans:
    """Return spans by sherpa-onnx's starts, 60 k of the first frame; it gives no ends: a word lasts until the next, or the end."""
    starts = [FRAME * said.frames(word)[0] for word in said.heard]
    return list(zip(starts, [*starts[1:], said.trace.audio.duration], strict=True))


def before(said: Said) -> Spans:
    """Return spans as Voxray gave them before: the same frames, counted from the middle of their window."""
    return [(start + 0.0125, end + 0.0125) for start, end in funasr(said)]


def sounding(said: Said) -> Spans:
    """Return these spans moved to the nearest edges of the sound, as Voxray moves Whisper's."""
    spans = [(max(start - 0.0125, 0.0), end - 0.0125) for start, end in before(said)]
    settled = edges.settle(spans, said.bank / np.float32(np.log(10)), 0.01)
    return [(start + 0.0125, end + 0.0125) for start, end in settled]


def overtaking(said: Said) -> Spans:
    """Return spans by the odds alone: words meet where the next one's token overtakes."""
    return said.seconds(timing.by_odds(said.heard, said.odds))


def apart(said: Said) -> Spans:
    """Return the likeliest moment of each edge by itself, by odds and sound."""
    net = network()
    sound = net.hear(view_of(said.bank))
    judged = [(one.first, net.judge(sound, one)) for one in timing.seams_of(said.heard, said.odds, len(said.bank))]
    starts = [first + int(scores[0].argmax()) for first, scores in judged[:-1]]
    ends = [first + int(scores[1].argmax()) for first, scores in judged[1:]]
    return said.seconds(zip(starts, ends, strict=True))


def winner(said: Said) -> Spans:
    """Return the times of ``Trace.words``."""
    return [(word.start, word.end) for word in said.trace.words]


RULES: dict[str, Callable[[Said], Spans]] = {
    "FunASR's rule": funasr,
    "sherpa-onnx's rule": sherpa,
    "Voxray before": before,
    "… moved to edges of the sound, as for Whisper": sounding,
    "odds alone": overtaking,
    "odds and sound, each edge by itself": apart,
    "**Voxray: odds and sound, all together**": winner,
}
OTHER, WINNER = next(iter(RULES)), list(RULES)[-1]


# --- Errors ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """Errors of one rule in one clip.

    Attributes:
        mode, language: of the clip.
        starts, ends: seconds, of the words recognised right whose times are known.
        words: how many words the clip has; right: how many were recognised right.
    """

    mode: str
    language: str
    starts: np.ndarray
    ends: np.ndarray
    words: int
    right: int


def errors(clip: Clip, found: Sequence[str], spans: Spans) -> Errors:
    """Return the errors of spans of the words that were found."""
    starts, ends, right = [], [], spelled(found, [word.text for word in clip.words])
    for index, first, last in right:
        word = clip.words[index]
        if word.exact:
            starts.append(spans[first][0] - word.start / RATE)
        if all(one.exact or one.start != word.end for one in clip.words[index + 1 : index + 2]):
            ends.append(spans[last][1] - word.end / RATE)
    return Errors(clip.mode, clip.language, np.array(starts), np.array(ends), len(clip.words), len(right))


def measured(drawn: Sequence[Clip], model: voxray.Recogniser, rules: Sequence[str]) -> dict[str, list[Errors]]:
    """Return the errors of some rules in every clip."""
    result: dict[str, list[Errors]] = {name: [] for name in rules}
    for clip in drawn:
        trace = model.trace(Audio(clip.samples), layers=())
        said, found = said_of(trace), [word.text for word in trace.words]
        for name in rules:
            result[name].append(errors(clip, found, RULES[name](said) if found else []))
    return result


# --- The page -------------------------------------------------------------------------------------------------------------------


def mean_of(parts: Sequence[np.ndarray]) -> str:
    """Return the mean of sizes in ms and its interval, clips drawn again."""
    found = bootstrap_ratio([float(np.abs(one).sum()) for one in parts], [len(one) for one in parts], seed=SEED)
    return "–" if found is None else f"{1000 * found.value:.1f} [{1000 * found.low:.1f}–{1000 * found.high:.1f}]"


def row(name: str, found: Sequence[Errors]) -> str:
    """Return a row of a table: both kinds of edge."""
    cells = []
    for parts in ([one.starts for one in found], [one.ends for one in found]):
        every = np.concatenate(parts)
        shares = " / ".join(f"{100 * float((np.abs(every) <= limit + 1e-9).mean()):.1f}" for limit in NEAR)
        cells += [mean_of(parts), f"{1000 * np.median(np.abs(every)):.0f}", f"{1000 * np.median(every):+.0f}", shares]
    hits = sum(int((np.abs(np.concatenate([one.starts, one.ends])) <= 0.05 + 1e-9).sum()) for one in found)
    known, right = sum(len(one.starts) + len(one.ends) for one in found), sum(one.right for one in found)
    recall = hits / known * right / sum(one.words for one in found)
    score = 2 * (hits / known) * recall / max(hits / known + recall, 1e-9)
    return f"| {name} | " + " | ".join(cells) + f" | {score:.3f} |"


def table(found: dict[str, list[Errors]], keep: Callable[[Errors], bool]) -> list[str]:
    """Return a table of the clips that are kept."""
    head = "| rule | start: mean | median | bias | in 20 / 50 / 100 | end: mean | median | bias | in 20 / 50 / 100 | F1 |"
    return [head, "|---" * 10 + "|", *(row(name, [one for one in every if keep(one)]) for name, every in found.items())]


def section(clean: dict[str, list[Errors]], noisy: dict[str, list[Errors]]) -> str:
    """Return the part of the page that this benchmark writes."""
    lines = []
    for mode, title in MODES.items():
        chosen = [one for one in clean[WINNER] if one.mode == mode]
        words, right = sum(one.words for one in chosen), sum(one.right for one in chosen)
        lines += ["", f"### {title}", "", f"{len(chosen)} clips, {words} words, {right} of them recognised right."]
        lines += ["", *table(clean, lambda one, mode=mode: one.mode == mode)]
    for mode, title in MODES.items():
        chosen = [one for one in noisy[WINNER] if one.mode == mode]
        words, right = sum(one.words for one in chosen), sum(one.right for one in chosen)
        lines += [
            "",
            f"### {title}, noise at 10 dB in a room",
            "",
            f"{len(chosen)} clips, {words} words, {right} recognised right.",
        ]
        lines += ["", *table(noisy, lambda one, mode=mode: one.mode == mode)]
    lines += ["", "### By language", "", "Mean errors of starts and ends in ms, and the share within 50 ms, clean.", ""]
    lines += [
        "| language | " + " | ".join(f"{mode}: {what}" for mode in MODES for what in ("FunASR", "Voxray")) + " |",
        "|---" * 5 + "|",
    ]
    for language in LANGUAGES:
        cells = [
            brief([one for one in clean[name] if (one.mode, one.language) == (mode, language)])
            for mode in MODES
            for name in (OTHER, WINNER)
        ]
        lines.append(f"| {language} | " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def brief(found: Sequence[Errors]) -> str:
    """Return mean and share of both kinds of edge in a few words."""
    every = [np.abs(np.concatenate(parts)) for parts in ([one.starts for one in found], [one.ends for one in found])]
    return " / ".join(f"{1000 * sizes.mean():.0f} ({100 * (sizes <= 0.05 + 1e-9).mean():.0f} %)" for sizes in every)


def write(text: str, mark: str = MARK) -> None:
    """Put tables between two marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    start, end = (place.end() if not at else place.start() for at, place in enumerate(re.finditer(mark, page)))
    PAGE.write_text(page[:start] + "\n" + text + page[end:], encoding="utf-8")


def main() -> None:
    """Measure and print, and write where it is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--clips", type=int, default=600)
    asked.add_argument("--noisy", type=int, default=300)
    asked.add_argument("--write", action="store_true")
    how = asked.parse_args()
    begun, model = time.perf_counter(), voxray.load_model(threads=1)
    drawn = list(clips(RECIPE, SEED, how.clips))
    clean = measured(drawn, model, list(RULES))
    rounded = measured(drawn, voxray.load_model(BUNDLED / "model_quant.onnx", threads=1), [WINNER])
    clean["the same, int8 weights"] = rounded[WINNER]
    noisy = measured(list(clips(NOISY, NOISY_SEED, how.noisy)), model, [OTHER, "odds alone", WINNER])
    versions = ", ".join(f"{name} {version(name)}" for name in ("voxray", "numpy", "onnxruntime"))
    text = section(clean, noisy)
    text += f"\nSeeds {SEED} and {NOISY_SEED}; model {model.info.sha256[:12]}; {versions}, Python {platform.python_version()}.\n"
    print(text)
    print(f"{time.perf_counter() - begun:.0f} s")
    if how.write:
        write(text)


if __name__ == "__main__":
    main()
