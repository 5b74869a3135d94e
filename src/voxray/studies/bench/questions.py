"""What is asked of one clip whose truth is known: decisions, and for each the stretch of sound that must have caused it.

Six kinds. ``word``: a word that was recognised right lies where it was said. ``contrast``: of two texts that differ in one word,
the evidence for the right one lies at that word. ``planted``: something was planted that made a word come out wrong; the evidence
for the wrong text rather than the right one lies at the plant. ``event``, ``language``: a label came about by what was planted, or
is that of the longer part. ``emotion``: nobody knows which stretch caused it, so its maps are held against the model alone.

A question counts only where the model decided as it asks: a word that came out wrong has no place, and a plant that changed nothing
caused nothing. That is why most functions here may answer with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.manifest import Item
from voxray.studies.errors import heard_words
from voxray.targets import Aim, contrast, resolve, stretch, stretch_target
from voxray.trace import Trace
from voxray.types import OptionError

if TYPE_CHECKING:
    from voxray.models import Explainable

KINDS = ("word", "contrast", "planted", "event", "language", "emotion")
NO_EMOTION = "EMO_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Sample(Item):
    """A clip of the benchmark.

    Attributes:
        clean: the same sound without what was planted.
        pair: the clip that this one was made of, moved or swapped.
        sanity: whether the sanity of the methods is tested on it, which takes many times as long.
    """

    clean: Path | None = None
    pair: Sample | None = None
    sanity: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A decision and its true cause.

    Attributes:
        kind: one of :data:`KINDS`.
        word: index into the true words; None for a label or a whole text.
        aim: the decision, ready to be scored.
        span: where its cause lies, seconds; None where nobody knows.
    """

    kind: str
    word: int | None
    aim: Aim
    span: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip that was recognised.

    Attributes:
        item: its line of the corpus, a ``Sample``.
        trace: of its sound, one piece.
        clean: of the same sound without what was planted; None where nothing was.
    """

    item: Sample
    trace: Trace
    clean: Trace | None = None

    @property
    def words(self) -> list[tuple[int, int] | None]:
        """Tokens of each true word that was recognised right."""
        return heard_words(self.trace, [word.text for word in self.item.words or ()])


def questions(model: Explainable, heard: Heard) -> list[Question]:
    """Return what can be asked of a clip: what its line asks, or every word that was recognised right and the emotion.

    Args:
        model: that recognised it.
        heard: the clip.

    Raises:
        OptionError: when the corpus asks for a kind that there is not, or for a word that the clip does not have.
    """
    told = heard.item.groups.get("aims")
    if told is None:
        words = [one for index in range(len(heard.item.words or ())) if (one := _word(model, heard, index))]
        return [*words, *_emotion(model, heard)]
    if not isinstance(told, list) or not all(isinstance(one, Mapping) for one in told):
        raise OptionError("aims must be a list of objects, each with kind and span; see the documentation of the sets")
    return [one for aim in told if (one := _question(model, heard, aim))]


def drawn(asked: Sequence[Question], most: int, *, seed: int) -> list[int]:
    """Return the places of some questions, in order: at most so many about words, and all others."""
    words = [at for at, one in enumerate(asked) if one.kind == "word"]
    kept = np.random.default_rng(seed).permutation(words)[:most]
    return [at for at, one in enumerate(asked) if one.kind != "word" or at in kept]


def _question(model: Explainable, heard: Heard, told: Mapping[str, Any]) -> Question | None:
    kind, word = told.get("kind"), told.get("word")
    if kind not in KINDS[:-1]:
        raise OptionError(f"an aim has the kind {kind!r}; choose one of {', '.join(KINDS[:-1])}")
    if word is not None and not (isinstance(word, int) and 0 <= word < len(heard.item.words or ())):
        raise OptionError(f"an aim asks about word {word!r}, but the clip has {len(heard.item.words or ())} words, counted from 0")
    if kind == "word":
        return _word(model, heard, int(word or 0))
    span = told.get("span")
    if not isinstance(span, list) or len(span) != 2 or not 0 <= span[0] < span[1]:
        raise OptionError(f"the span of an aim is {span!r}; expected start and end in seconds")
    aim = {"contrast": _contrast, "planted": _planted, "event": _event, "language": _language}[kind](model, heard, told)
    return None if aim is None else Question(kind, word, aim, (float(span[0]), float(span[1])))


def _word(model: Explainable, heard: Heard, index: int) -> Question | None:
    members, words = heard.words[index], heard.item.words or ()
    if members is None or words[index].end <= words[index].start:
        return None
    word = words[index]
    return Question("word", index, stretch(heard.trace, model.vocabulary, members, word.text), (word.start, word.end))


def _contrast(model: Explainable, heard: Heard, told: Mapping[str, Any]) -> Aim | None:
    """Return the aim "this word rather than the pair's", scored as the two whole texts."""
    members, other = heard.words[int(told["word"])], str(told.get("against", ""))
    own = heard.item.words or ()
    rival = _differing([word.text for word in own], other, int(told["word"]))
    if members is None or rival is None:
        return None
    after_space = heard.trace.tokens[members[0]].text.startswith(" ")
    try:
        spelled = model.vocabulary.encode(rival, after_space=after_space)
    except OptionError:  # the model could never have said it
        return None
    return _against(heard.trace, members, rival, spelled)


def _planted(model: Explainable, heard: Heard, told: Mapping[str, Any]) -> Aim | None:  # noqa: ARG001 - all are called alike
    """Return the aim "what was heard rather than what is right", where the plant alone made the word wrong."""
    clean, index = heard.clean, told.get("word")
    if clean is None or index is None or not heard.trace.tokens:
        return None
    right = heard_words(clean, [word.text for word in heard.item.words or ()])
    if right[index] is None or heard.words[index] is not None:
        return None
    return _against(heard.trace, (0, len(heard.trace.tokens)), clean.text, tuple(token.id for token in clean.tokens))


def _event(model: Explainable, heard: Heard, told: Mapping[str, Any]) -> Aim | None:
    label = str(told.get("label"))
    if heard.clean is None or _label(heard.trace, "event") != label or _label(heard.clean, "event") == label:
        return None
    return resolve(heard.trace, model.vocabulary, model.labels, f"event:{label}", _label(heard.clean, "event"))


def _language(model: Explainable, heard: Heard, told: Mapping[str, Any]) -> Aim | None:
    label, against = str(told.get("label")), told.get("against")
    if _label(heard.trace, "language") != label:
        return None
    return resolve(heard.trace, model.vocabulary, model.labels, f"language:{label}", against)


def _emotion(model: Explainable, heard: Heard) -> list[Question]:
    """Return the question why this emotion was decided; none where the model decides no emotion, or heard none."""
    if _label(heard.trace, "emotion") in (None, NO_EMOTION):
        return []
    return [Question("emotion", None, resolve(heard.trace, model.vocabulary, model.labels, "emotion"), None)]


def _label(trace: Trace, kind: str) -> str | None:
    return next((tag.label for tag in trace.tags if tag.kind == kind), None)


def _against(trace: Trace, members: tuple[int, int], label: str, rival: tuple[int, ...]) -> Aim | None:
    target = stretch_target(trace, members, trace.text, label)
    try:
        return contrast(trace, target, members, rival)
    except OptionError:  # the two texts are one to the model, or the sound is too short for the other
        return None


def _differing(own: list[str], other: str, index: int) -> str | None:
    """Return what stands in another text in the place of a word, all else being equal; None where more differs."""
    joined = " ".join(own) if " " in other else "".join(own)
    gap = " " if " " in other else ""
    before, after = gap.join(own[:index]), gap.join(own[index + 1 :])
    if joined == other or not (other.startswith(before) and other.endswith(after)):
        return None
    return other[len(before) : len(other) - len(after)].strip() or None
