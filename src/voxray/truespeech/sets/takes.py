"""Takes: sounds of known words, and what can be made of one by moving its samples.

A take is 16-bit, hiss included, from the moment it is made; pairs, plants and moves copy its samples. So "the same sound
elsewhere" means equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from voxray.truespeech import sounds
from voxray.truespeech.clip import LEVEL, Range, is_held_out, rms
from voxray.truespeech.engine import Engine, Manner
from voxray.truespeech.lexicon import LANGUAGES, SPACED, Entry, lexicon
from voxray.truespeech.spoken import GAP, RATE, TRIM, Rejected, Sound, Speaker, Spoken, Word, concat, sentence
from voxray.truespeech.voices import EMOTIONS, manner

RATES = (120, 175, 260)  # words a minute
VOICES = {"dev": ("f2", "m3", "Alex", "Andrea"), "test": ("Michael", "f4", "m6", "linda")}
"""By split: voices that the bundled model was trained on, and voices that it never heard."""
WORDS = (4, 9)  # of a list
PATTERNS = (1, 3)  # of a fluent text
SECONDS: Range = (3.0, 8.0)  # of a take, the hiss around it included
AROUND: Range = (0.1, 0.5)  # seconds of hiss before and after the speech
UNLIKE = 0.6  # of two words' phonemes, the share that differs at least
MAIN_SHARE: Range = (0.6, 0.8)  # of a splice, the part of the longer language
LEAD_IN = 0.6  # seconds
TRIES = 400
PEAK = 32767

Pcm = npt.NDArray[np.int16]
Span = tuple[int, int]
Entries = tuple[Entry, ...]
Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Take:
    """A sound and the words in it.

    Attributes:
        samples: (N,) int16, 16 kHz.
        words: in order, in samples.
        text: the transcript.
        speaker: who says it; of a splice, in the longer language.
        mode: ``concat`` or ``sentence``.
    """

    samples: Pcm
    words: tuple[Word, ...]
    text: str
    speaker: Speaker
    mode: str = "concat"

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE

    def span(self, place: int) -> Span:
        """Return where a word is."""
        return self.words[place].start, self.words[place].end


def cast(number: int, split: str, rng: Generator) -> Speaker:
    """Return who speaks in the clip of a number: in sixty, every language meets every rate in every voice once."""
    drawn, voices = manner("NEUTRAL", rng), VOICES[split]
    paced = Manner(RATES[number % len(RATES)], drawn.pitch, drawn.range)
    return Speaker(LANGUAGES[number % len(LANGUAGES)], voices[number % len(voices)], paced)


# --- What is said -------------------------------------------------------------------------------------------------------


def listed(engine: Engine, speaker: Speaker, rng: Generator, seconds: Range = SECONDS) -> Take:
    """Say words in random order, each alone, and join them with gaps.

    Raises:
        Rejected: if no list of a fitting length is found.
    """

    def said() -> Take:
        entries = _held_out(speaker, lambda: _words(speaker.language, rng))
        return _take(concat(engine, entries, speaker, rng), entries, speaker, rng)

    return _fitting(said, seconds)


def fluent(engine: Engine, speaker: Speaker, rng: Generator, seconds: Range = SECONDS) -> Take:
    """Say one to three simple sentences in one breath.

    Raises:
        Rejected: if no sentence of a fitting length has a known time for every word.
    """

    def said() -> Take:
        entries = _held_out(speaker, lambda: _sentences(speaker.language, rng))
        spoken = sentence(engine, entries, speaker, int(rng.integers(2**31)))
        heard = replace(spoken, words=tuple(_heard(word, spoken.samples) for word in spoken.words))
        return replace(_take(heard, entries, speaker, rng), mode="sentence")

    return _fitting(said, seconds)


def pair(engine: Engine, speaker: Speaker, rng: Generator) -> tuple[Take, Take, int]:
    """Return two lists of words that differ in one word, and its place; all other samples are the same.

    Raises:
        Rejected: if no pair of a fitting length is found.
    """
    words = lexicon(speaker.language)
    for _ in range(TRIES):
        entries = _held_out(speaker, lambda: _words(speaker.language, rng))
        place = int(rng.integers(len(entries)))
        other = unlike(engine, entries[place], speaker, rng)
        if other is None or other in entries:
            continue
        text = words.written((*entries[:place], other, *entries[place + 1 :]))
        if not is_held_out(text):
            continue
        both = _take(concat(engine, (*entries, other), speaker, rng), entries, speaker, rng)
        first, last = both.words[-2:]
        one = replace(both, samples=np.delete(both.samples, slice(first.end, last.end)), words=both.words[:-1])
        two = replace(_exchanged(one, place, other.written, both.samples[last.start : last.end]), text=text)
        if all(SECONDS[0] <= take.seconds <= SECONDS[1] for take in (one, two)):
            return one, two, place
    raise Rejected(f"no pair of words in {speaker.language} by {speaker.variant}")


def splice(engine: Engine, speaker: Speaker, rng: Generator) -> tuple[Take, str, Span]:
    """Say words of two languages, one of them English, by one voice.

    Returns:
        The take, the language of the shorter part, and where the longer part is.

    Raises:
        Rejected: if no splice of a fitting length is found.
    """
    others = tuple(one for one in LANGUAGES if one != "en") if speaker.language == "en" else ("en",)
    guest = replace(speaker, language=str(rng.choice(others)))
    for _ in range(TRIES):
        parts = [(speaker, _words(speaker.language, rng)), (guest, _words(guest.language, rng)[: int(rng.integers(1, 4))])]
        if rng.random() < 0.5:
            parts.reverse()
        text = " ".join(lexicon(one.language).written(entries) for one, entries in parts)
        joined = _joined([concat(engine, entries, one, rng) for one, entries in parts], rng)
        take = _take(joined, (), speaker, rng)
        take = replace(take, text=text)
        first = len(parts[0][1])
        main = take.words[:first] if parts[0][0] is speaker else take.words[first:]
        span = main[0].start, main[-1].end
        share = (span[1] - span[0]) / (take.words[-1].end - take.words[0].start)
        if MAIN_SHARE[0] <= share <= MAIN_SHARE[1] and SECONDS[0] <= take.seconds <= SECONDS[1]:
            return take, guest.language, span
    raise Rejected(f"no splice of {speaker.language} and {guest.language} by {speaker.variant}")


def unlike(engine: Engine, entry: Entry, speaker: Speaker, rng: Generator) -> Entry | None:
    """Return a word of the same category that neither sounds nor, where words are not spaced, looks like it; None for none."""
    from rapidfuzz.distance import Levenshtein

    words = lexicon(speaker.language)
    own = [name for name, entries in words.categories.items() if entry in entries]
    category = words.categories[str(rng.choice(own))]
    spelled = set() if speaker.language in SPACED else set(entry.written)
    candidates = [one for one in category if one != entry and not spelled & set(one.written)]
    known = engine.phonemes(entry.read, speaker.voice)
    found = None
    for place in rng.permutation(len(candidates)):
        read = engine.phonemes(candidates[place].read, speaker.voice)
        if Levenshtein.normalized_distance(known, read) >= UNLIKE:
            found = candidates[place]
            break
    engine.say("a", speaker.voice, speaker.manner)  # or what was read would take the first event of the next sentence
    return found


# --- What is moved ------------------------------------------------------------------------------------------------------


def shifted(take: Take, rng: Generator) -> Take:
    """Return the take after a lead-in of hiss."""
    before = pcm(sounds.hiss(rng, round(LEAD_IN * RATE)))
    moved = tuple(word.moved(len(before)) for word in take.words)
    return replace(take, samples=np.concatenate([before, take.samples]), words=moved)


def swapped(take: Take, one: int, other: int) -> Take:
    """Return a list with two words exchanged, in the sound and in the text; ``one`` is the earlier."""
    (start, end), (begin, stop) = take.span(one), take.span(other)
    sound = take.samples
    parts = [sound[:start], sound[begin:stop], sound[end:begin], sound[start:end], sound[stop:]]
    longer = (stop - begin) - (end - start)
    words = list(take.words)
    words[one + 1 : other] = [word.moved(longer) for word in words[one + 1 : other]]
    words[one] = replace(take.words[other], start=start, end=start + stop - begin)
    words[other] = replace(take.words[one], start=begin + longer, end=stop)
    return replace(take, samples=np.concatenate(parts), words=tuple(words), text=_text(words, take.speaker.language))


def _exchanged(take: Take, place: int, text: str, sound: Pcm) -> Take:
    """Return the take with another sound in the place of a word; what follows moves by the difference in length."""
    start, end = take.span(place)
    longer = len(sound) - (end - start)
    words = list(take.words)
    words[place] = replace(words[place], text=text, end=end + longer)
    words[place + 1 :] = [word.moved(longer) for word in words[place + 1 :]]
    samples = np.concatenate([take.samples[:start], sound, take.samples[end:]])
    return replace(take, samples=samples, words=tuple(words), text=_text(words, take.speaker.language))


# --- Parts --------------------------------------------------------------------------------------------------------------


def pcm(sound: Sound) -> Pcm:
    """Return a sound of -1 to 1 as 16-bit samples."""
    samples: Pcm = np.round(np.clip(sound, -1.0, 1.0) * PEAK).astype(np.int16)
    return samples


def level(rng: Generator) -> float:
    """Draw the RMS of a neutral voice, full scale 1."""
    return float(LEVEL * 10 ** (rng.uniform(*EMOTIONS["NEUTRAL"].level) / 20))


def _take(spoken: Spoken, entries: Entries, speaker: Speaker, rng: Generator) -> Take:
    """Bring speech to its level, with hiss under it and around it."""
    speech = spoken.samples * np.float32(level(rng) / rms(spoken.samples))
    lead, tail = (round(rng.uniform(*AROUND) * RATE) for _ in range(2))
    sound = np.pad(speech, (lead, tail))
    words = tuple(word.moved(lead) for word in spoken.words)
    return Take(pcm(sound + sounds.hiss(rng, len(sound))), words, lexicon(speaker.language).written(entries), speaker)


def _heard(word: Word, sound: Sound) -> Word:
    """Return a word of a sentence without the silence at its ends, by the rule of words that are said alone.

    The engine announces a plosive at its burst, so that the closure before it would count to the word before.
    """
    loud = np.abs(sound[word.start : word.end])
    within = np.flatnonzero(loud > TRIM * loud.max(initial=0.0))
    if not len(within):
        raise Rejected("a word without sound")
    return replace(word, start=word.start + int(within[0]), end=word.start + int(within[-1]) + 1)


def _joined(parts: list[Spoken], rng: Generator) -> Spoken:
    """Join two lists, each at the same level, with a gap."""
    one, other = (replace(part, samples=part.samples / np.float32(rms(part.samples))) for part in parts)
    gap = round(rng.uniform(*GAP) * RATE)
    words = (*one.words, *(word.moved(len(one.samples) + gap) for word in other.words))
    return Spoken(np.concatenate([one.samples, np.zeros(gap, np.float32), other.samples]), words)


def _text(words: list[Word], language: str) -> str:
    return (" " if language in SPACED else "").join(word.text for word in words)


def _words(language: str, rng: Generator) -> Entries:
    return lexicon(language).in_open_order(rng, int(rng.integers(WORDS[0], WORDS[1] + 1)))


def _sentences(language: str, rng: Generator) -> Entries:
    count = int(rng.integers(PATTERNS[0], PATTERNS[1] + 1))
    return tuple(entry for _ in range(count) for entry in lexicon(language).in_pattern(rng))


def _held_out(speaker: Speaker, draw: Callable[[], Entries]) -> Entries:
    """Draw until the text is one that the bundled model was not trained on."""
    while True:
        entries = draw()
        if is_held_out(lexicon(speaker.language).written(entries)):
            return entries


def _fitting(said: Callable[[], Take], seconds: Range) -> Take:
    """Say until the length fits and every word has its time."""
    problem = "the length never fits"
    for _ in range(TRIES):
        try:
            take = said()
        except Rejected as rejected:
            problem = str(rejected)
            continue
        if seconds[0] <= take.seconds <= seconds[1]:
            return take
    raise Rejected(problem)
