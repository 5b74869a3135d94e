"""What caused a mistake, by experiment: an edit that takes one suspected cause away, and a placebo of the same size elsewhere.

Each cause has a detector, which says whether there is anything to suspect and on what evidence; trials, which take the cause away
and ask the model again; and for each trial a placebo. A cause **works** if the right words are recognised, or if the log-odds of
the mistake fall by at least 3 nats and by half of what the mistake was ahead. It **passes** only if a trial of it works, that
trial's placebo does not, and the trial gains over its placebo at least 1 nat and a quarter of what the mistake was ahead: a mistake
on a knife's edge is mended by anything. What no cause explains stays unexplained.

Of several causes that pass, one that brings the right words back is named before one that only raises them, and of equals the one
with the narrowest intervention, in the order of :data:`CAUSES`: to slow a whole clip mends much that was no matter of tempo. What
judges texts, such as a homophone, has no log-odds to gain; it counts as bringing the right words back.

**Source:** the tests are our own; attributing an error to the component whose exchange mends it goes back to Chase 1997, *Blame
assignment for errors made by large vocabulary speech recognizers*. The thresholds were tuned on clips of another seed than
``docs/causes.md`` reports.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray import sounds
from voxray.edits import compare
from voxray.models import model_files, open_model
from voxray.studies.errors import Beyond, Scene, Standing, language_of
from voxray.texts import Normalisation, same_sound, units
from voxray.types import Audio, ModelError, OptionError, plain

if TYPE_CHECKING:
    from pathlib import Path

    from voxray.models import Explainable

Span = tuple[float, float]
LEAST_GAIN = 3.0  # nats; twenty times the odds
LEAST_EFFECT = 1.0  # nats that an intervention must gain over its placebo, even where it brings the right words back
LEAST_OVER = 0.25  # of what the mistake was ahead, to be gained over the placebo
LEAST_SHARE = 0.5  # of what the mistake was ahead
NOISY = 11.0  # dB of local SNR of the noisiest stretch: one in ten clean places has less, nineteen in twenty planted bursts
GRAVE = 4.0  # dB: one in fifty clean places has less, three in four planted bursts
MURKY = 15.0  # dB of the whole clip, below which nobody may blame the reference either
NEAR_EDGE = 0.35  # s; a mistake nearer to the clip's edge can come from the cut
CUT = -25.0  # dB of the edge re the loud frames; a clip that ends in a pause has less
OVERLAP = 0.05  # s by which the words beside a mistake may reach into its span
BESIDE = 0.08  # s around a mistake in which a gap or clipping counts as its own: CTC emits late
GATES = (1.0, 1.5, 0.5, 2.5, 4.0)  # strengths of the noise gate
SLOWER = (1.8, 1.5, 1.25)  # factors of length
TEMPO_AROUND = 0.15  # s around a mistake whose tempo is changed with it
EXTENSIONS = (0.1, 0.2, 0.3, 0.5)  # s of sound beyond an edge
QUIET_PAD = 0.3  # s, where there is no sound beyond
FAST = {"en": 2.8, "zh": 4.3, "yue": 5.8, "ja": 6.5, "ko": 6.3}  # units of the reference in a second of speech
HASTE = 1.6  # times as many: so fast that nobody may blame the reference
FASTEST = {"character": 6.0, "word": 3.0, "mixed": 4.5}  # of other languages
UNHEARD = 0.9  # probability of the language below which another is tried
UNHEARABLE = "noise that nobody hears"
FAINT = 70.0  # dB under the speech: a change of the sound that nobody hears
FIRM = 12.0  # nats that recognised words must be ahead to speak against the reference
SHORTEST_PLACEBO = 0.1  # s; shorter spans hold no placebo
MILD = 6.0  # dB of the gain that leaves firm words as they are


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause, tested on one mistake.

    Attributes:
        cause: its name.
        suspected: whether its detector found anything.
        evidence: what the detector found, in one line.
        tested: whether the intervention was tried.
        intervention: what was done that worked best; empty if nothing was.
        before: log-odds of the mistake on the sound as it is, nats; None where they cannot be told.
        after: after the intervention.
        placebo: after the placebo; None also where the intervention did not work, so that nothing was to be compared.
        flips: whether the intervention brought the right words back.
        placebo_flips: whether the placebo did.
        named: whether this is the cause; at most one of a mistake.
        stays: whether it is told by what does not change: the mistake stays under the intervention and goes with the placebo.
        passed: whether the intervention worked and the placebo did not; another cause may have been named all the same.
    """

    cause: str
    suspected: bool
    evidence: str
    tested: bool = False
    intervention: str = ""
    before: float | None = None
    after: float | None = None
    placebo: float | None = None
    control: str = ""
    flips: bool = False
    placebo_flips: bool = False
    named: bool = False
    passed: bool = False
    stays: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told


@dataclass(frozen=True, slots=True)
class Trial:
    """One intervention with its placebo: what is done, the two questions to the model, and what the placebo is."""

    intervention: str
    ask: Callable[[], Standing]
    placebo: Callable[[], Standing]
    control: str = "the same elsewhere"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a detector found.

    Attributes:
        evidence: one line.
        trials: that would prove it, in the order in which they are made; none where there is nothing to suspect.
        grave: whether the sound is so poor that nobody may blame the reference.
    """

    evidence: str
    trials: tuple[Trial, ...] = ()
    grave: bool = False


# -- judging -------------------------------------------------------------------------------------------------------------------


def gain(before: Standing, after: Standing) -> float:
    """Return by how many nats the right words gained; NaN where it cannot be told."""
    return before.log_odds - after.log_odds


def works(before: Standing, after: Standing) -> bool:
    """Tell whether an edit brought the right words back or clearly raised them."""
    risen = gain(before, after)
    return after.right or (math.isfinite(risen) and risen >= max(LEAST_GAIN, LEAST_SHARE * before.log_odds))


def judged(name: str, base: Standing, suspicion: Suspicion, enough: Callable[[], bool] = lambda: False) -> Cause:
    """Run the trials of a suspicion and return the cause as the best of them leaves it.

    The trials end at the first that brings the right words back while its placebo does not.

    Args:
        name: of the cause.
        base: how the mistake stands on the sound as it is.
        suspicion: with its trials.
        enough: whether to stop for lack of time, asked before each trial.
    """
    best = Cause(name, bool(suspicion.trials), suspicion.evidence, before=_number(base.log_odds))
    best_key: tuple[float, ...] = ()
    for trial in suspicion.trials:
        if enough():
            break
        after = trial.ask()
        placebo = trial.placebo() if works(base, after) else Standing(math.nan, right=False, text="")
        passed = works(base, after) and not works(base, placebo) and _clear_of(base, after, placebo)
        key = (float(passed), float(after.right and passed), _finite(gain(base, after)))
        if key > best_key:
            best_key = key
            best = replace(
                best, tested=True, intervention=trial.intervention, after=_number(after.log_odds), flips=after.right,
                placebo=_number(placebo.log_odds), placebo_flips=placebo.right, passed=passed, control=trial.control,
            )  # fmt: skip
        if after.right and passed:
            break
    return best


def _clear_of(base: Standing, after: Standing, placebo: Standing) -> bool:
    """Tell whether an intervention gained enough over its placebo; a mistake on a knife's edge is mended by anything."""
    risen = gain(base, after) - (gain(base, placebo) if math.isfinite(placebo.log_odds) else 0.0)
    return not risen < max(LEAST_EFFECT, LEAST_OVER * base.log_odds)  # of what cannot be told nothing is asked


def _number(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


# -- where else, and what of the sound -----------------------------------------------------------------------------------------


def elsewhere(scene: Scene, length: float) -> Span:
    """Return a span of about a length that lies beside the mistake, where the sound is loudest; shorter where there is no room.

    A placebo goes there. A sound without 0.1 s beside the mistake gives an empty span at its end.
    """
    free = [(0.0, scene.start - BESIDE), (scene.end + BESIDE, scene.audio.duration)]
    length = min(length, max(0.0, *(end - start for start, end in free)))
    if length < SHORTEST_PLACEBO:
        return scene.audio.duration, scene.audio.duration
    starts = np.concatenate([np.arange(start, end - length + 1e-9, 0.02) for start, end in free if end - start >= length - 1e-9])
    best = max(starts.tolist(), key=lambda start: sounds.level(scene.audio, start, start + length))
    return best, best + length


def _around(scene: Scene, more: float = BESIDE) -> Span:
    return max(0.0, scene.start - more), min(scene.audio.duration, scene.end + more)


def _near(scene: Scene, spans: Sequence[Span]) -> list[Span]:
    """Return the spans that touch the mistake."""
    first, last = _around(scene)
    return [(start, end) for start, end in spans if start < last and end > first]


def _said(span: Span) -> str:
    return f"{span[0]:.2f}-{span[1]:.2f} s"


# -- causes in the sound -------------------------------------------------------------------------------------------------------


def noise(scene: Scene) -> Suspicion:
    """Suspect noise where the noisiest stretch around the mistake stands little out of the noise inside it."""
    found = [sounds.noisy_span(scene.audio, *where) for where in (_scope(scene), _around(scene))]
    spans = {span: sounds.local_snr(scene.audio, *span) for span in found if span is not None}
    pieces = np.arange(0.0, scene.audio.duration, 0.3).tolist()
    clip = float(np.median([sounds.local_snr(scene.audio, start, start + 0.3) for start in pieces]))
    murky = clip < MURKY
    if not spans:
        return Suspicion(f"no loud noise, clip {clip:.0f} dB", grave=murky)
    worst = min(spans, key=spans.__getitem__)
    evidence = f"local SNR {spans[worst]:.0f} dB over {_said(worst)}, clip {clip:.0f} dB"
    trials = [_gate(scene, span, strength) for span, snr in spans.items() if snr < NOISY for strength in GATES]
    return Suspicion(evidence, tuple(trials), grave=murky or spans[worst] < GRAVE)


def _scope(scene: Scene) -> Span:
    """Return the sound that a mistake's words can lie in: from the word before it to the word after it.

    Where words were lost, their place is known no better than that.
    """
    before = max((word[0] for word in scene.words if word[1] <= scene.start + OVERLAP), default=0.0)
    after = min((word[1] for word in scene.words if word[0] >= scene.end - OVERLAP), default=scene.audio.duration)
    return max(0.0, before - BESIDE), after


def _gate(scene: Scene, span: Span, strength: float) -> Trial:
    other = elsewhere(scene, span[1] - span[0])
    return Trial(
        f"noise gate of strength {strength:g} over {_said(span)}",
        lambda: scene.ask(sounds.gated(scene.audio, *span, strength)),
        lambda: scene.ask(sounds.gated(scene.audio, *other, strength)),
    )


def clipping(scene: Scene) -> Suspicion:
    """Suspect clipping where samples of the mistake's sound stand at a flat top."""
    spans = sounds.clipped_spans(scene.audio)
    near = _near(scene, spans)
    evidence = f"{len(near)} clipped peaks here, {len(spans)} in the clip"
    if not near:
        return Suspicion(evidence)
    mended = sounds.declipped(scene.audio)
    inside = _around(scene)
    return Suspicion(evidence, (
        Trial(
            f"clipped peaks drawn anew over {_said(inside)}",
            lambda: scene.ask(_patched(scene.audio, mended, *inside)),
            lambda: scene.ask(_patched(mended, scene.audio, *inside)),
            "all the others drawn anew",
        ),
    ), grave=True)  # fmt: skip


def _patched(audio: Audio, other: Audio, start: float, end: float) -> Audio:
    """Return a sound with a span of another of the same length."""
    first, last = (round(one * audio.sample_rate) for one in (start, end))
    samples = audio.samples.copy()
    samples[first:last] = other.samples[first:last]
    return Audio(samples, audio.sample_rate, audio.name)


def dropout(scene: Scene) -> Suspicion:
    """Suspect lost samples where the sound around the mistake stands still, or a single sample does not fit its neighbours."""
    first, last = _scope(scene)
    torn = [(start, end) for start, end in sounds.gaps(scene.audio) if start < last and end > first]
    if torn:
        length = sum(end - start for start, end in torn)
        evidence = f"{len(torn)} gaps around it, {1000 * length:.0f} ms of constant samples"
        return Suspicion(evidence, tuple(_mend(scene, torn, how) for how in list(MENDING)[:3]), grave=True)
    single = _near(scene, sounds.clicks(scene.audio))
    if not single:
        return Suspicion("no gap and no lost sample here")
    return Suspicion(f"{len(single)} samples here do not fit their neighbours", (_mend(scene, single, REDRAWN),))


def _mend(scene: Scene, spans: Sequence[Span], how: str) -> Trial:
    length = sum(end - start for start, end in spans)
    start, _ = elsewhere(scene, max(length, SHORTEST_PLACEBO))
    told = ", ".join(f"{1000 * (end - start):.3g} ms at {start:.2f} s" for start, end in spans[:3])
    return Trial(
        f"lost sound {how}: {told}",
        lambda: scene.ask(_mended(scene.audio, spans, how)),
        lambda: scene.ask(_mended(scene.audio, [(start, start + length)], how)),
    )


def _mended(audio: Audio, spans: Sequence[Span], how: str) -> Audio:
    for start, end in sorted(spans, reverse=True):  # from the end, for some ways move what follows
        audio = MENDING[how](audio, start, end)
    return audio


def _closed(audio: Audio, start: float, end: float) -> Audio:
    first, last = (round(one * audio.sample_rate) for one in (start, end))
    return Audio(np.delete(audio.samples, slice(first, last)), audio.sample_rate, audio.name)


def _hissing(audio: Audio, start: float, end: float) -> Audio:
    """Return a sound with noise in place of a span, 20 dB under the louder of its neighbours."""
    first, last = (round(one * audio.sample_rate) for one in (start, end))
    height = max(sounds.level(audio, start - 0.03, start), sounds.level(audio, end, end + 0.03)) - 20
    samples = audio.samples.copy()
    samples[first:last] = np.random.default_rng(0).standard_normal(last - first) * 10 ** (height / 20)
    return Audio(samples, audio.sample_rate, audio.name)


REDRAWN = "drawn anew"
MENDING: dict[str, Callable[[Audio, float, float], Audio]] = {
    "filled from both sides": sounds.bridged,
    "closed": _closed,
    "filled with noise": _hissing,
    REDRAWN: sounds.bridged,
}


def truncation(scene: Scene) -> Suspicion:
    """Suspect a cut where the mistake lies at an edge of the clip, and somebody speaks right there or there is sound beyond."""
    levels, beyond = sounds.edge_levels(scene.audio), _beyond(scene)
    distances = scene.start, scene.audio.duration - scene.end
    near = [side for side in (0, 1) if distances[side] < NEAR_EDGE]
    spoken = [side for side in near if levels[side] > CUT]
    shown = min((0, 1), key=lambda side: distances[side])
    evidence = f"{distances[shown]:.2f} s from the clip's {SIDES[shown]}, which has {levels[shown]:.0f} dB re the speech"
    trials = [trial for side in (near if beyond else spoken) for trial in _extensions(scene, side, beyond)]
    return Suspicion(evidence, tuple(trials), grave=bool(spoken))


SIDES = ("start", "end")


def _beyond(scene: Scene) -> Beyond | None:
    """Return the longer recording around a scene's sound: that of the manifest, or the clip that a piece was cut from."""
    trace = scene.diagnosis.trace
    if len(trace.pieces) == 1:
        return scene.beyond
    piece = trace.pieces[scene.mistake.piece]
    return Beyond(trace.audio, piece.start, piece.end)


def _extensions(scene: Scene, side: int, beyond: Beyond | None) -> Iterator[Trial]:
    """Yield trials that give back the sound beyond one edge; the placebo does so at the other edge."""
    if beyond is None:
        pads = [(QUIET_PAD, 0.0), (0.0, QUIET_PAD)]
        yield Trial(
            f"{QUIET_PAD:g} s of the clip's own quiet at its {SIDES[side]}",
            lambda: scene.ask(sounds.padded(scene.audio, *pads[side])),
            lambda: scene.ask(sounds.padded(scene.audio, *pads[1 - side])),
            "the same at the other edge",
        )
        return
    for seconds in EXTENSIONS:
        yield Trial(
            f"{seconds:g} s of the recording beyond the clip's {SIDES[side]}",
            lambda seconds=seconds: _extended(scene, beyond, side, seconds),  # type: ignore[misc]
            lambda seconds=seconds: _extended(scene, beyond, 1 - side, seconds),  # type: ignore[misc]
            "the same at the other edge",
        )


def _extended(scene: Scene, beyond: Beyond, side: int, seconds: float) -> Standing:
    """Ask about the sound with more of the recording on one side; quiet stands in where the recording ends."""
    start, end = (beyond.start - seconds, beyond.end) if side == 0 else (beyond.start, beyond.end + seconds)
    missing = max(0.0, -start), max(0.0, end - beyond.audio.duration)
    standing = scene.ask(sounds.padded(beyond.audio.cut(start, end), *missing))
    return replace(standing, right=standing.right or _right_but_longer(scene, standing.text, side))


def _right_but_longer(scene: Scene, text: str, side: int) -> bool:
    """Tell whether a text is right once words beyond the clip, which its reference does not have, are left out."""
    if not scene.mistake.reference:  # then leaving out words would be the whole mending
        return False
    places = [at for at in range(1, len(text)) if " " not in text or text[at - (side == 0)] == " "]
    return any(scene.is_right(text[at:] if side == 0 else text[:at]) for at in places)


def fast_speech(scene: Scene) -> Suspicion:
    """Suspect the tempo where the reference has many units for each second of speech."""
    comparison = scene.diagnosis.comparison
    seconds = max(0.1, sounds.HOP * float(sounds.activity(scene.audio).sum()))
    rate = len(units(scene.reference, comparison.unit, comparison.normalisation)) / seconds
    limit = FAST.get(language_of(scene.diagnosis.trace), FASTEST[comparison.unit])
    evidence = f"{rate:.1f} {comparison.unit}s in a second of speech, usual up to {limit:g}"
    trials = tuple(trial for factor in SLOWER for trial in _slower(scene, factor)) if rate > limit else ()
    return Suspicion(evidence, trials, grave=rate > HASTE * limit)


def _slower(scene: Scene, factor: float) -> tuple[Trial, Trial]:
    """Return two trials: the mistake's sound alone slower, against another stretch; and all of it, against all of it faster."""
    span = _around(scene, TEMPO_AROUND)
    other = elsewhere(scene, span[1] - span[0])
    return (
        Trial(
            f"{_said(span)} {factor:g} times as long, at its own pitch",
            lambda: scene.ask(sounds.stretched(scene.audio, factor, *span)),
            lambda: scene.ask(sounds.stretched(scene.audio, factor, *other)),
        ),
        Trial(
            f"the clip {factor:g} times as long, at its own pitch",
            lambda: scene.ask(sounds.stretched(scene.audio, factor)),
            lambda: scene.ask(sounds.stretched(scene.audio, 1 / factor)),
            "as much faster",
        ),
    )


# -- causes beside the sound ---------------------------------------------------------------------------------------------------


def language(scene: Scene) -> Suspicion:
    """Suspect the language prompt where the model by itself hears another language, or is not sure of it."""
    heard = _heard(scene)
    if not heard:
        return Suspicion("this model decides no language")
    best = max(heard, key=heard.__getitem__)
    evidence = f"prompt {scene.language}, heard {best} ({heard[best]:.2f})"
    known = [one for one in scene.model.languages if one not in ("auto", "nospeech", scene.language)]
    wanted: list[str] = []
    if scene.language == "auto" and heard[best] < UNHEARD:
        wanted = [one for one in sorted(heard, key=heard.__getitem__, reverse=True) if one in known and one != best][:1]
    elif scene.language not in ("auto", best):
        wanted = ["auto", *([best] if best in known else [])]
    return Suspicion(evidence, tuple(_prompted(scene, one) for one in wanted))


def _prompted(scene: Scene, tag: str) -> Trial:
    """Return a trial of another language; the placebo changes the other prompt, for any third language takes the wrong one away."""
    said = f"language prompt {tag} in place of {scene.language}"
    if not scene.model.normalises:  # there is no other prompt
        return Trial(said, lambda: scene.ask(language=tag), lambda: scene.ask(_faintly(scene)), UNHEARABLE)
    other = not scene.textnorm
    return Trial(said, lambda: scene.ask(language=tag), lambda: scene.ask(textnorm=other), "the other prompt changed")


def _faintly(scene: Scene) -> Audio:
    return sounds.with_noise(scene.audio, FAINT, 0)


def _heard(scene: Scene) -> dict[str, float]:
    """Return the probability of each language as the model hears it without a prompt; none where it decides no language."""
    trace = scene.diagnosis.trace
    if trace.language != "auto":
        scene.passes += 1
        trace = scene.model.trace(scene.audio, "auto", textnorm=scene.textnorm, layers=())
        tags = [tag for tag in trace.tags if tag.kind == "language"]
    else:
        piece = trace.pieces[scene.mistake.piece]
        tags = [tag for tag in trace.tags if tag.kind == "language" and tag.start == piece.start]
    return dict(tags[0].probabilities) if tags else {}


def text_normalisation(scene: Scene) -> Suspicion:
    """Suspect the way of writing: digits, signs, scripts, kana; the other prompt is tried, and looser ways to compare."""
    wrong, right = _in_context(scene)
    pairs = ((scene.mistake.recognised, scene.mistake.reference), (wrong, right))
    digits = any(letter.isdigit() for letter in scene.mistake.recognised + scene.mistake.reference)
    equal = any(_equal_loosely(*pair) for pair in pairs)
    evidence = (
        "equal once scripts and kana are made one" if equal else "digits on one side" if digits else "no other way to write it"
    )
    trials = []
    if digits and scene.model.normalises:
        trials.append(
            Trial(
                f"prompt {'without' if scene.textnorm else 'with'} text normalisation",
                lambda: scene.ask(textnorm=not scene.textnorm),
                lambda: scene.ask(_faintly(scene)),
                UNHEARABLE,
            )
        )
    if equal:
        trials.append(_judgement(scene, "both texts in simplified characters and hiragana", _equal_loosely))
    return Suspicion(evidence, tuple(trials))


def _equal_loosely(one: str, other: str) -> bool:
    try:
        found = compare(other, one, unit="character", normalisation=Normalisation(script="simplified", kana="hiragana"))
    except OptionError:  # without the extra for scripts only kana can be made one
        found = compare(other, one, unit="character", normalisation=Normalisation(kana="hiragana"))
    return found.length > 0 and not found.errors


def homophone(scene: Scene) -> Suspicion:
    """Suspect a homophone where the recognised and the right words sound alike: then no edit of the sound can tell them apart."""
    if not scene.mistake.reference or not scene.mistake.recognised:
        return Suspicion("one side is empty")
    try:
        alike = _sound_alike(scene)
    except OptionError as error:
        return Suspicion(f"not tested: {error}")
    told = f"{scene.mistake.recognised!r} and {scene.mistake.reference!r}"
    if not alike:
        return Suspicion(f"{told} sound different")
    tongue = language_of(scene.diagnosis.trace)
    trial = _judgement(scene, "the two wordings read aloud", lambda one, other: same_sound(one, other, tongue))
    return Suspicion(f"{told} sound the same", (trial,))


def _sound_alike(scene: Scene) -> bool:
    """Tell whether the words sound the same alone or where they stand: a character may be read by its neighbours."""
    pairs = ((scene.mistake.recognised, scene.mistake.reference), _in_context(scene))
    return any(same_sound(*pair, language_of(scene.diagnosis.trace)) for pair in pairs)


def _in_context(scene: Scene) -> tuple[str, str]:
    """Return the reference with the mistake in place of its right words, and the reference."""
    comparison, text = scene.diagnosis.comparison, scene.diagnosis.reference
    places = [edit.reference_place for edit in comparison.edits[slice(*scene.mistake.edits)] if edit.reference_place is not None]
    if not places:
        return scene.mistake.recognised, scene.mistake.reference
    start, stop = comparison.reference_units[places[0]].start, comparison.reference_units[places[-1]].stop
    return text[:start] + scene.mistake.recognised + text[stop:], text


def _judgement(scene: Scene, told: str, equal: Callable[[str, str], bool]) -> Trial:
    """Return a trial that compares texts: it mends the mistake if the two are equal; another word of the reference must not be.

    The model is not asked, so there are no log-odds.
    """
    texts = scene.mistake.reference, scene.mistake.recognised
    others = [one.text for one in scene.diagnosis.comparison.reference_units if not any(one.text in text for text in texts)]
    return Trial(
        told,
        lambda: Standing(math.nan, right=True, text=scene.mistake.reference),
        lambda: Standing(math.nan, right=any(equal(scene.mistake.recognised, one) for one in others), text=scene.base.text),
        "another word of the reference",
    )


def quantisation(scene: Scene) -> Suspicion:
    """Suspect rounding where the model is a rounded one and its floating-point file lies beside it."""
    precision = scene.model.info.precision
    if precision == "fp32":
        return Suspicion("the model is not rounded")
    sibling = float_sibling(scene.model)
    if sibling is None:
        return Suspicion(f"{precision} model, but no fp32 file beside it")
    return Suspicion(f"{precision} model, {sibling.info.name} beside it", (
        Trial(
            f"the fp32 model {sibling.info.name}",
            lambda: scene.ask(model=sibling),
            lambda: scene.ask(sounds.with_noise(scene.audio, FAINT, 0)),
            UNHEARABLE,
        ),
    ))  # fmt: skip


def float_sibling(model: Explainable) -> Explainable | None:
    """Return the floating-point model in the folder of a rounded one, with the same tokens; None where there is none."""
    from pathlib import Path

    return _sibling(Path(str(model.describe()["path"])), model.vocabulary.pieces)


@lru_cache(maxsize=2)  # opening takes as long as all other tests of a mistake
def _sibling(path: Path, pieces: Sequence[str]) -> Explainable | None:
    for file in model_files(path.parent):
        if file == path:
            continue
        try:
            found: Any = open_model(file)
        except ModelError:
            continue
        if found.info.precision == "fp32" and found.vocabulary.pieces == pieces:
            sibling: Explainable = found
            return sibling
    return None


# -- causes that are told by what does not change --------------------------------------------------------------------------------


def insertion(scene: Scene) -> Cause:
    """Test whether an inserted word comes from its sound: it does not if it stays when that sound is silenced.

    The placebo silences the loudest stretch beside it, of the same length: there the text must change.
    """
    name = "insertion without sound"
    if scene.mistake.kind != "insertion":
        return Cause(name, suspected=False, evidence="nothing was inserted")
    height = sounds.level(scene.audio, scene.start, scene.end) - sounds.speech_level(scene.audio)
    span, other = (scene.start, scene.end), elsewhere(scene, scene.end - scene.start)
    after, placebo = (scene.ask(sounds.muted(scene.audio, *one)) for one in (span, other))
    listens = other[1] > other[0] and placebo.text != scene.base.text
    passed = not works(scene.base, after) and listens
    return Cause(
        name, suspected=True, evidence=f"its sound has {height:.0f} dB re the speech", tested=True, passed=passed,
        stays=True, intervention=f"silencing {_said(span)}", control=f"silencing {_said(other)}",
        before=_number(scene.base.log_odds), after=_number(after.log_odds), placebo=_number(placebo.log_odds),
        flips=after.right, placebo_flips=placebo.right,
    )  # fmt: skip


def reference_error(scene: Scene, doubts: Sequence[str], seed: int = 0) -> Cause:
    """Test whether the recognised words are firm while the right ones have nothing in the sound: then the reference may be wrong.

    Firm: at least 12 nats ahead, and still ahead by half after each of a set of mild edits. As a placebo the mistake's sound is
    silenced: then the text must change, or the recognised words were not heard but guessed.

    Args:
        scene: the mistake.
        doubts: what is gravely wrong with the sound, even if it could not be proven to matter; with any, nothing is said.
        seed: of the noise among the mild edits.
    """
    name, odds = "reference error", scene.base.log_odds
    ahead = f"recognised words {odds:.1f} nats ahead"
    evidence = ahead if math.isfinite(odds) else "the right words cannot be spelled by this model"
    if doubts or not scene.mistake.recognised or not odds >= FIRM:
        why = f"; the sound is in doubt: {', '.join(doubts)}" if doubts else ""
        return Cause(name, suspected=False, evidence=evidence + why, before=_number(odds))
    kept = [scene.ask(edit(scene.audio, seed + number)) for number, edit in enumerate(MILD_EDITS)]
    firm = all(not one.right and one.log_odds > LEAST_SHARE * odds for one in kept)
    silent = scene.ask(sounds.muted(scene.audio, *_around(scene)))
    heard = silent.text != scene.base.text
    least = min(kept, key=lambda one: _finite(one.log_odds))
    return Cause(
        name, suspected=True, evidence=evidence, tested=True, passed=firm and heard,
        stays=True, intervention=f"{len(kept)} mild edits of the sound", control=f"silencing {_said(_around(scene))}",
        before=_number(odds), after=_number(least.log_odds), placebo=_number(silent.log_odds),
        flips=any(one.right for one in kept), placebo_flips=silent.right,
    )  # fmt: skip


Edit = Callable[[Audio, int], Audio]
"""An edit that takes a seed, whether or not chance is in it."""


def _fixed(edit: Callable[..., Audio], *values: float) -> Edit:
    return lambda audio, _: edit(audio, *values)


def _noisy(snr: float) -> Edit:
    return lambda audio, seed: sounds.with_noise(audio, snr, seed)


MILD_EDITS: tuple[Edit, ...] = (
    *(_fixed(sounds.louder, decibels) for decibels in (-MILD, MILD)),
    *(_noisy(snr) for snr in (60.0, 40.0, 30.0)),
    *(_fixed(sounds.stretched, factor) for factor in (0.9, 1.1)),
)


# -- all of them ---------------------------------------------------------------------------------------------------------------

DETECTORS: dict[str, Callable[[Scene], Suspicion]] = {
    "language": language,
    "dropout": dropout,
    "clipping": clipping,
    "noise": noise,
    "truncation": truncation,
    "fast speech": fast_speech,
    "quantisation": quantisation,
    "text normalisation": text_normalisation,
    "homophone": homophone,
}
CAUSES = (*DETECTORS, "insertion without sound", "reference error")
"""Every cause in the order in which they are tested and, of several that pass, named: the narrowest intervention first.

A prompt leaves the sound alone; then come a few samples, a stretch, an edge, the tempo of all; then what is not in the sound."""


def causes_of(scene: Scene, *, seed: int = 0, seconds: float | None = None) -> tuple[Cause, ...]:
    """Return every cause as tested on one mistake, the named one first, the others in order.

    Args:
        scene: the mistake and its sound.
        seed: of the noise among the edits.
        seconds: stop testing after so long; causes that were not reached are told as not tested.
    """
    begun = time.perf_counter()

    def late() -> bool:
        return seconds is not None and time.perf_counter() - begun >= seconds

    found: list[Cause] = []
    doubts: list[str] = []
    for name, detector in DETECTORS.items():
        suspicion = Suspicion("not tested: the time was up") if late() else detector(scene)
        found.append(judged(name, scene.base, suspicion, late))
        doubts += [name] if suspicion.grave or found[-1].passed else []
    if not late():
        found += [insertion(scene), reference_error(scene, doubts, seed)]
    return _named(found)


def _named(found: Sequence[Cause]) -> tuple[Cause, ...]:
    """Return the causes with the best of those that passed named and put first."""
    passed = [one for one in found if one.passed]
    if not passed:
        return tuple(found)
    best = max(passed, key=lambda one: one.flips)  # the first of equals
    return (replace(best, named=True), *(one for one in found if one is not best))


# -- the smallest edit that mends ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Smallest:
    """The cheapest edit that puts a mistake right.

    Attributes:
        edit: what was done.
        cost: from 0 (nothing) to 1 (much); the order of the edits is what matters.
        stable: how often it did so on the sound with faint noise of three seeds, such as ``2 of 3``.
        passes: spent on finding it.
    """

    edit: str
    cost: float
    stable: str
    passes: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        told: dict[str, Any] = plain(self)
        return told


def edits(scene: Scene) -> list[tuple[float, str, Edit]]:
    """Return edits of a scene's sound, cheap ones first: cost, what is done, and the edit itself, which takes a seed."""
    wide = _around(scene)
    before = [word for word in scene.words if word[1] <= scene.start + OVERLAP][-1:]
    after = [word for word in scene.words if word[0] >= scene.end - OVERLAP][:1]
    pads = {"start": (QUIET_PAD, 0.0), "end": (0.0, QUIET_PAD)}
    found = [
        *((0.05 + abs(one) / 60, f"{one:+d} dB", _fixed(sounds.louder, one)) for one in (-6, 6, -12, 12)),
        *((0.2, f"{QUIET_PAD:g} s of quiet at the {side}", _fixed(sounds.padded, *pad)) for side, pad in pads.items()),
        *((1 - snr / 50, f"noise at {snr} dB", _noisy(snr)) for snr in (40, 30, 20)),
        *(
            (0.3 + 0.1 * one, f"noise gate of strength {one:g} over {_said(wide)}", _fixed(sounds.gated, *wide, one))
            for one in (0.5, 1.0, 2.0)
        ),
        *(
            (0.35 + 0.4 * abs(math.log(one)), f"{one:g} times as long", _fixed(sounds.stretched, one))
            for one in (0.9, 1.1, 0.8, 1.25, 1.5)
        ),
        *(
            (0.6, f"without {low}-{high} Hz", _fixed(sounds.band_stopped, low, high))
            for low, high in ((0, 200), (4000, 8000), (2000, 4000))
        ),
        *((0.7, f"{text!r} silenced", _fixed(sounds.muted, start, end)) for start, end, text in (*before, *after)),
    ]
    return sorted(found, key=lambda one: one[0])


def smallest_edit(scene: Scene, *, seed: int = 0, seconds: float | None = None) -> Smallest | None:
    """Return the cheapest edit that brings the right words back; None where none of those tried does, or the time is up.

    Args:
        scene: the mistake and its sound.
        seed: of the noise.
        seconds: stop searching after so long.
    """
    begun, passes = time.perf_counter(), scene.passes
    for cost, told, edit in edits(scene):
        if seconds is not None and time.perf_counter() - begun >= seconds:
            return None
        if not scene.ask(edit(scene.audio, seed)).right:
            continue
        again = [sounds.with_noise(scene.audio, FAINT - 10, seed + one) for one in (1, 2, 3)]
        held = sum(scene.ask(edit(audio, seed + one)).right for one, audio in enumerate(again, 1))
        return Smallest(told, round(cost, 3), f"{held} of 3", scene.passes - passes)
    return None
