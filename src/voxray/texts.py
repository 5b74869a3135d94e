"""Texts as a listener compares them: units with their places, normalisation, scripts and pronunciations.

A recogniser's text is compared with a reference unit by unit: characters where a language is written without spaces, words where
it has them. A :class:`Normalisation` says what is made equal first. Every unit keeps its place in the text as it was written, so
that an error can be shown there.

**Sources:** normal forms: Unicode Standard Annex 15. Traditional to simplified Hanzi: OpenCC. Korean: the Standard Pronunciation
of the National Institute of Korean Language, articles 5, 8 to 14, 17 to 20 and 23 to 25. Mandarin: pypinyin. Cantonese: ToJyutping.
Japanese: the phonetic field of Janome's dictionary (IPADIC). English: eSpeak NG.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, Literal

from voxray.types import OptionError
from voxray.vocabulary import TAG

Unit = Literal["character", "word", "mixed"]

HAN = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"
HANGUL = "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff\uffa1-\uffdc"
BOPOMOFO = "\u02ea\u02eb\u3105-\u312f\u31a0-\u31bf"
CJK = re.compile(f"[{HAN}{KANA}{HANGUL}{BOPOMOFO}]")
OTHER_LETTER = re.compile(rf"[^\W\d_{HAN}{KANA}{HANGUL}{BOPOMOFO}]")
VARIATION = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # choose another drawing of the same character
KEYCAP = "\u20e3"  # makes an emoji of a digit
APOSTROPHES = frozenset(("'", "’", "‘", "ʼ", "′", "`", "´", " \u0301"))  # the last is what NFKC makes of the one before
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

# The languages of SenseVoice, each with the script that only it needs, in the order in which they are tried on an unknown text.
SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "ja": re.compile(f"[{KANA}]"),
    "ko": re.compile(f"[{HANGUL}]"),
    "zh": re.compile(f"[{HAN}]"),
    "yue": re.compile(f"[{HAN}]"),
    "en": OTHER_LETTER,
}
CHARACTER_LANGUAGES = frozenset(("zh", "yue", "ja", "ko"))
TO_HIRAGANA = {code: code - 0x60 for code in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)}


@dataclass(frozen=True, slots=True)
class TextUnit:
    """A character or word: its normalised text, and [start, stop) of the characters in the original text that it stands for."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is made equal before two texts are compared.

    Tags such as ``<|zh|>`` and emoji are never compared, and composed and decomposed letters (é) are always one. A word keeps the
    apostrophe inside it and a number its decimal point, but not the comma between thousands; every other sign parts words, so
    ``well-known`` is two. Numbers, contractions and spellings of English stay as written: what rewrites them loses the places.

    Attributes:
        case: ``lower`` compares in lower case.
        width: ``NFKC`` makes compatibility characters plain: full-width letters, half-width kana, ligatures, ``㌔``.
        punctuation: ``drop`` leaves out signs; with ``keep`` each sign is a unit of its own.
        script: ``simplified`` compares traditional Hanzi as simplified ones; needs the extra ``languages``.
        kana: ``hiragana`` compares katakana as hiragana.
    """

    case: Literal["keep", "lower"] = "lower"
    width: Literal["keep", "NFKC"] = "NFKC"
    punctuation: Literal["keep", "drop"] = "drop"
    script: Literal["keep", "simplified"] = "keep"
    kana: Literal["keep", "hiragana"] = "keep"

    def __post_init__(self) -> None:
        known = {
            "case": ("keep", "lower"),
            "width": ("keep", "NFKC"),
            "punctuation": ("keep", "drop"),
            "script": ("keep", "simplified"),
            "kana": ("keep", "hiragana"),
        }
        for field, values in known.items():
            if getattr(self, field) not in values:
                raise OptionError(f"Normalisation.{field} is {' or '.join(map(repr, values))}, got {getattr(self, field)!r}")

    @property
    def title(self) -> str:
        """What is done, in a few plain words."""
        words = {
            "lower case": self.case == "lower",
            "no punctuation": self.punctuation == "drop",
            "NFKC": self.width == "NFKC",
            "simplified characters": self.script == "simplified",
            "hiragana": self.kana == "hiragana",
        }
        return ", ".join(word for word, done in words.items() if done) or "as written"

    @classmethod
    def parse(cls, text: str) -> Normalisation:
        """Return the normalisation that a list such as ``lower,nfkc,no-punctuation`` names; ``none`` is the text as written.

        Args:
            text: names with commas between: ``lower``, ``nfkc``, ``no-punctuation``, ``simplified``, ``hiragana``. What is not
                named is not done.

        Raises:
            OptionError: when a name is unknown.
        """
        steps: dict[str, dict[str, Any]] = {
            "lower": {"case": "lower"},
            "nfkc": {"width": "NFKC"},
            "no-punctuation": {"punctuation": "drop"},
            "simplified": {"script": "simplified"},
            "hiragana": {"kana": "hiragana"},
            "none": {},
        }
        found = cls(case="keep", width="keep", punctuation="keep")
        for name in (part.strip().lower() for part in text.split(",")):
            if name not in steps:
                raise OptionError(_no_step(name, list(steps)))
            found = replace(found, **steps[name])
        return found


def _no_step(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return f"there is no normalisation {name!r}{meant} choose from {', '.join(known)}, with commas between"


# What users of each language mean by an error rate. The script stays as it is: simplified characters are the user's to choose.
USUAL: Mapping[str, Normalisation] = dict.fromkeys(("zh", "yue", "ja", "ko", "en"), Normalisation())


def normalisation_of(language: str) -> Normalisation:
    """Return what the texts of a language usually go through before they are compared; unknown languages get the same as ours."""
    return USUAL.get(_base(language), Normalisation())


def unit_of(language: str, text: str) -> Unit:
    """Return what errors are counted in.

    Characters for zh, yue, ja and ko, words for en; mixed where a text in one of them has letters of the other kind. An unknown
    language goes by the scripts of the text alone. Digits are of either kind.

    Args:
        language: ``zh``, ``zh-CN``, ``auto`` and so on.
        text: the reference, or the reference and what was recognised.
    """
    plain = unicodedata.normalize("NFKC", TAG.sub(" ", text))
    characters, words = CJK.search(plain) is not None, OTHER_LETTER.search(plain) is not None
    if characters and words:
        return "mixed"
    if _base(language) in CHARACTER_LANGUAGES:
        return "mixed" if words else "character"
    if _base(language) == "en":
        return "mixed" if characters else "word"
    return "character" if characters else "word" if words else "mixed"


def other_unit_of(language: str) -> Unit | None:
    """Return the second unit that a language's errors are told in: words (eojeol) for ko, none for the others."""
    return "word" if _base(language) == "ko" else None


def units(text: str, unit: Unit, normalisation: Normalisation | None = None) -> tuple[TextUnit, ...]:
    """Return the units of a text, in order.

    A character that the normal form expands, such as the ligature ``ﬁ``, gives several units with the same place.

    Args:
        text: as written or recognised; tags and emoji give no unit.
        unit: ``character``; ``word`` for runs of letters and digits; ``mixed`` for Han, kana and Hangul characters and the words
            of other scripts.
        normalisation: None for the usual one.

    Raises:
        OptionError: when there is no such unit, or simplified characters are asked for without the extra ``languages``.
    """
    if unit not in ("character", "word", "mixed"):
        raise OptionError(f"a unit is 'character', 'word' or 'mixed', got {unit!r}")
    chosen = normalisation or Normalisation()
    found: list[TextUnit] = []
    word: list[_Atom] = []
    for atom in (*_atoms(text, chosen), _END):
        joins = atom.kind == "word" and (unit == "word" or (unit == "mixed" and not CJK.match(atom.text)))
        if joins:
            word.append(atom)
            continue
        if word:
            found.append(TextUnit("".join(one.text for one in word), word[0].start, word[-1].stop))
            word = []
        if atom.kind == "word" or (atom.kind == "sign" and chosen.punctuation == "keep"):
            found.append(TextUnit(atom.text, atom.start, atom.stop))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Atom:
    """A normalised character with its marks, where it stood, and whether it is of a word, a sign, nothing, or parts words."""

    text: str
    start: int
    stop: int
    kind: Literal["word", "sign", "gap", "silent"]


_END = _Atom("", 0, 0, "gap")


def _atoms(text: str, normalisation: Normalisation) -> list[_Atom]:
    """Return the normalised characters that count, each with its place in the text."""
    bare = TAG.sub(lambda tag: " " * len(tag[0]), text)
    atoms = [
        _Atom(piece, start, stop, _kind(piece))
        for cluster, start, stop in _clusters(bare, normalisation)
        for piece in _with_marks(VARIATION.sub("", cluster))
    ]
    atoms = [atom for atom in atoms if atom.kind != "silent"]
    atoms = [atom for place in range(len(atoms)) if (atom := _in_its_place(atoms, place)).kind != "silent"]
    texts = [atom.text for atom in atoms]
    if normalisation.script == "simplified":
        texts = _simplified(texts)
    if normalisation.kana == "hiragana":
        texts = [one.translate(TO_HIRAGANA) for one in texts]
    return [replace(atom, text=one) for atom, one in zip(atoms, texts, strict=True)]


def _clusters(text: str, normalisation: Normalisation) -> Iterator[tuple[str, int, int]]:
    """Yield the shortest stretches of a text that can be brought to normal form alone, normalised, each with its place."""
    form: Literal["NFKC", "NFC"] = "NFKC" if normalisation.width == "NFKC" else "NFC"
    built, start = "", 0
    for place, character in enumerate(text):
        alone = unicodedata.normalize(form, character)
        joined = unicodedata.normalize(form, built + alone)
        if built and joined == built + alone and not unicodedata.category(alone[0]).startswith("M"):
            yield _cased(built, form, normalisation), start, place
            joined, start = alone, place
        built = joined
    if built:
        yield _cased(built, form, normalisation), start, len(text)


def _cased(text: str, form: Literal["NFKC", "NFC"], normalisation: Normalisation) -> str:
    return unicodedata.normalize(form, text.lower()) if normalisation.case == "lower" else text


def _with_marks(text: str) -> list[str]:
    """Return the characters of a text, each with the combining marks after it."""
    pieces: list[str] = []
    for character in text:
        if pieces and unicodedata.category(character).startswith("M"):
            pieces[-1] += character
        else:
            pieces.append(character)
    return pieces


def _kind(text: str) -> Literal["word", "sign", "gap", "silent"]:
    """Return what a character is before its neighbours are looked at."""
    category = unicodedata.category(text[0])
    if text.endswith(KEYCAP):
        return "gap"
    if text in APOSTROPHES or category[0] == "P" or category in ("Sm", "Sc"):
        return "sign"
    if category[0] in "LN":
        return "word"
    return "silent" if category == "Cf" or category[0] == "M" else "gap"


def _in_its_place(atoms: Sequence[_Atom], place: int) -> _Atom:
    """Return a sign as a part of the word or number that it stands in, and anything else as it is."""
    atom = atoms[place]
    if atom.kind != "sign" or not 0 < place < len(atoms) - 1:
        return atom
    before, after = atoms[place - 1].text, atoms[place + 1].text
    if atom.text in APOSTROPHES and (OTHER_LETTER.match(before) or before.isdecimal()) and OTHER_LETTER.match(after):
        return replace(atom, text="'", kind="word")
    if atom.text == "." and before.isdecimal() and after.isdecimal():
        return replace(atom, kind="word")
    group = [one.text.isdecimal() for one in atoms[place + 1 : place + 5]]
    if atom.text == "," and before.isdecimal() and group[:3] == [True] * 3 and group[3:] != [True]:
        return replace(atom, kind="silent")
    return atom


def _simplified(texts: Sequence[str]) -> list[str]:
    """Return texts with simplified characters. OpenCC sees them as one text, for it knows phrases; it never changes a length."""
    whole = _converter().convert("".join(texts))
    ends = [0]
    for one in texts:
        ends.append(ends[-1] + len(one))
    return [whole[start:stop] for start, stop in pairwise(ends)]


@cache
def _converter() -> Any:
    return _library("opencc").OpenCC("t2s")


def _library(name: str, extra: str = "languages") -> Any:
    """Import an optional library, or say in one line how to install it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise OptionError(f"{name} is not installed and this needs it; install it with: pip install 'voxray[{extra}]'") from error


def _base(language: str) -> str:
    """Return the language without its region: ``zh-CN`` is ``zh``."""
    return re.split("[-_]", language.strip().lower())[0]


def pronunciation(text: str, language: str = "auto") -> tuple[str, ...]:
    """Return how a text sounds, one entry a sound.

    What a language does not read, such as Latin words among Hanzi, stays as written in lower case. A text that its language cannot
    write goes by its script: ``see`` in a Chinese clip is English.

    * zh: pinyin syllables with the dictionary's tone, 5 for the neutral one, without sandhi (``hang2``).
    * yue: Jyutping syllables with tone.
    * ja: morae in hiragana as spoken: the particle は is ``わ``, a long vowel is ``ー``.
    * ko: syllables of Hangul as spoken; words do not run into one another.
    * en: phonemes in IPA, American, without stress, each word as it is said alone.

    Args:
        text: tags and signs make no sound.
        language: ``auto`` goes by the script.

    Raises:
        OptionError: when the extra ``languages`` (zh, yue, ja) or ``speech`` (en) is not installed.
    """
    plain = _plain(text)
    return _said(plain, _spoken(language, plain))


def same_sound(one: str, other: str, language: str = "auto", *, near: bool = False) -> bool:
    """Return whether two texts are homophones; texts without any sound never are.

    Args:
        one: a text.
        other: another.
        language: ``auto`` goes by the script.
        near: whether zh and yue may differ in tones, ja in the length of vowels, and ko in vowels that most speakers no longer tell
            apart (ㅐ and ㅔ; ㅒ and ㅖ; ㅙ, ㅚ and ㅞ). There is no such wider sense for en.

    Raises:
        OptionError: as :func:`pronunciation`.
    """
    texts = _plain(one), _plain(other)
    spoken = _spoken(language, " ".join(texts))
    sounds = [_said(text, spoken) for text in texts]
    if near:
        sounds = [_loosely(one, spoken) for one in sounds]
    return bool(sounds[0]) and sounds[0] == sounds[1]


def _plain(text: str) -> str:
    """Return a text as the dictionaries know it: no tags, no compatibility characters, lower case, one apostrophe."""
    plain = TAG.sub(" ", text)
    for sign in APOSTROPHES:
        plain = plain.replace(sign, "'")
    return unicodedata.normalize("NFKC", plain).lower()


def _spoken(language: str, text: str) -> str:
    """Return the language that a text is read in, ``auto`` for a text without letters in no known language."""
    own = _base(language)
    if own in SCRIPTS and SCRIPTS[own].search(text):
        return own
    if own == "ja" and SCRIPTS["zh"].search(text):  # a Japanese word may be all kanji
        return own
    found = next((name for name, letters in SCRIPTS.items() if letters.search(text)), None)
    return found or (own if own in SCRIPTS else "auto")


def _said(text: str, language: str) -> tuple[str, ...]:
    readers: Mapping[str, Callable[[str], Sequence[str]]] = {
        "zh": _pinyin,
        "yue": _jyutping,
        "ja": _morae,
        "ko": _korean,
        "en": _phonemes,
    }
    return tuple(readers.get(language, WORD.findall)(text))


def _pinyin(text: str) -> list[str]:
    library = _library("pypinyin")
    # Its dictionary of phrases, which tells 银行 from 行走, is in simplified characters.
    simple = _converter().convert(text)
    return library.lazy_pinyin(simple, style=library.Style.TONE3, neutral_tone_with_five=True, errors=WORD.findall)  # type: ignore[no-any-return]


def _jyutping(text: str) -> list[str]:
    read = _library("ToJyutping").get_jyutping_list(text)
    return WORD.findall("".join(f" {sound} " if sound else character for character, sound in read))


def _morae(text: str) -> list[str]:
    found: list[str] = []
    for token in _tokenizer().tokenize(text):
        spoken = (token.surface if token.phonetic == "*" else token.phonetic).translate(TO_HIRAGANA)
        spoken = spoken.translate(str.maketrans("ぢづを", "じずお"))
        kana = re.fullmatch("[ぁ-ゖー]+", spoken)
        found += re.findall("[ぁ-ゖー][ゃゅょぁぃぅぇぉゎ]*", spoken) if kana else WORD.findall(spoken)
    return found


@cache
def _tokenizer() -> Any:
    return _library("janome.tokenizer").Tokenizer()


def _phonemes(text: str) -> list[str]:
    """Return the phonemes of English words. Each is read alone, for within a sentence ``to`` loses the vowel it shares with two."""
    read = _espeak()
    return [sound for word in WORD.findall(text) for sound in read(word)]


@cache
def _espeak() -> Callable[[str], list[str]]:
    """Return a reader of English words. The library holds one state a process, so it is opened once and used under a lock."""
    import ctypes
    from threading import Lock

    loader = _library("espeakng_loader", "speech")
    library, lock = ctypes.CDLL(loader.get_library_path()), Lock()
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    if library.espeak_ng_GetSampleRate() <= 0:  # a second start would undo what another user of the library has set
        retrieval, do_not_exit = 1, 0x8000
        if library.espeak_Initialize(retrieval, 0, loader.get_data_path().encode(), do_not_exit) <= 0:
            raise OptionError("eSpeak NG did not start; reinstall it with: pip install --force-reinstall espeakng-loader")
    utf8, ipa, separator = 1, 2, ord("_") << 8

    def read(word: str) -> list[str]:
        written = ctypes.create_string_buffer(word.encode())
        rest = ctypes.c_void_p(ctypes.addressof(written))
        said = []
        with lock:
            library.espeak_SetVoiceByName(b"en-us")
            while rest.value:
                said.append(library.espeak_TextToPhonemes(ctypes.byref(rest), utf8, separator | ipa).decode())
        return [sound for sound in re.split("[_ ]", re.sub("[ˈˌ]", "", " ".join(said))) if sound]

    return read


def _loosely(sounds: Sequence[str], language: str) -> tuple[str, ...]:
    """Return sounds without what near homophones may differ in."""
    if language in ("zh", "yue"):
        return tuple(sound.rstrip("123456") for sound in sounds)
    if language == "ja":
        return tuple(sound for sound in sounds if sound != "ー")
    if language == "ko":
        merged = str.maketrans("ㅐㅒㅙㅚ", "ㅔㅖㅞㅞ")
        jamo = (_jamo(sound) if _is_syllable(sound) else None for sound in sounds)
        return tuple(
            sound if parts is None else _syllable(parts[0], parts[1].translate(merged), parts[2])
            for sound, parts in zip(sounds, jamo, strict=True)
        )
    return tuple(sounds)


ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
CODAS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
PAIRS = {
    "ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ",
    "ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ", "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip
CLOSED = {
    **dict.fromkeys("ㄱㄲㅋㄳㄺ", "ㄱ"), **dict.fromkeys("ㄷㅅㅆㅈㅊㅌㅎ", "ㄷ"), **dict.fromkeys("ㅂㅍㅄㄿ", "ㅂ"),
    **dict.fromkeys("ㄴㄵㄶ", "ㄴ"), **dict.fromkeys("ㄹㄼㄽㄾㅀ", "ㄹ"), **dict.fromkeys("ㅁㄻ", "ㅁ"), "ㅇ": "ㅇ", "": "",
}  # fmt: skip
TENSE = dict(zip("ㄱㄷㅂㅅㅈ", "ㄲㄸㅃㅆㅉ", strict=True))
BREATHED = {
    **dict.fromkeys("ㄱㄲㅋ", "ㅋ"), **dict.fromkeys("ㄷㅌㅅㅆ", "ㅌ"), **dict.fromkeys("ㅂㅍ", "ㅍ"),
    **dict.fromkeys("ㅈㅊ", "ㅊ"),
}  # fmt: skip
NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}


def _korean(text: str) -> list[str]:
    """Return the syllables of Korean words as they are spoken; the words do not run into one another."""
    found: list[str] = []
    for word in WORD.findall(unicodedata.normalize("NFC", text)):
        for part in re.findall("[가-힣]+|[^가-힣]+", word):
            found += _spoken_word(part) if _is_syllable(part[0]) else [part]
    return found


def _spoken_word(word: str) -> list[str]:
    """Return the syllables of a word of Hangul as they are spoken."""
    syllables = [_jamo(one) for one in word]
    onset, spoken = syllables[0][0], []
    for (written, vowel, coda), after in zip(syllables, [*syllables[1:], None], strict=True):
        closed, following = (CLOSED[coda], "") if after is None else _meeting(coda, after[0], after[1])
        spoken.append(_syllable(onset, _vowel(written, onset, vowel), closed))
        onset = following
    return spoken


def _vowel(written: str, onset: str, vowel: str) -> str:
    """Return a vowel as spoken after its consonant (article 5): 희 is 히, 져 is 저."""
    if vowel == "ㅢ" and written != "ㅇ":
        return "ㅣ"
    return "ㅓ" if vowel == "ㅕ" and onset in "ㅈㅉㅊ" else vowel


def _meeting(coda: str, onset: str, vowel: str) -> tuple[str, str]:
    """Return the end of a syllable and the beginning of the next one as they are spoken together."""
    kept, last = tuple(PAIRS[coda]) if coda in PAIRS else ("", coda)
    fronts = vowel in "ㅣㅕ"  # the vowels that make ㅈ of ㄷ (article 17)
    if onset == "ㅇ" and last == "ㅎ":  # it falls silent (article 12), and what stood before it moves on
        return "", kept or onset
    if onset == "ㅇ" and last not in ("", "ㅇ"):
        return kept, _carried(last, fronts=fronts, cluster=bool(kept))
    if onset == "ㅎ" and last in BREATHED:
        hard = {"ㄷ": "ㅊ", "ㅈ": "ㅊ"}.get(last, BREATHED[last]) if fronts else BREATHED[last]
        return kept, hard
    if last == "ㅎ" and onset in "ㄱㄷㅈㅅ":
        return kept, "ㅆ" if onset == "ㅅ" else BREATHED[onset]
    if coda == "ㅎ" and onset == "ㄴ":
        return "ㄴ", "ㄴ"
    closed = "ㄹ" if coda == "ㄺ" and onset == "ㄱ" else CLOSED[coda]  # article 11: 맑게 is 말께
    # Articles 23 to 25. ㄻ hardens what follows in verbs (젊다), not in its two nouns (삶, 앎), which are rarer.
    hardens = coda == "ㄻ" or last not in ("", *"ㄴㄹㅁㅇㅎ") or closed in NASAL
    return _blended(closed, TENSE.get(onset, onset) if hardens else onset)


def _carried(last: str, *, fronts: bool, cluster: bool) -> str:
    """Return the consonant that moves on to a syllable without one (articles 13, 14, 17)."""
    if fronts and last in "ㄷㅌ":
        return "ㅈ" if last == "ㄷ" else "ㅊ"
    return TENSE[last] if cluster and last == "ㅅ" else last


def _blended(closed: str, onset: str) -> tuple[str, str]:
    """Return two consonants made nasal or liquid by one another (articles 18, 19, 20)."""
    if onset == "ㄹ" and closed in ("ㄱ", "ㄷ", "ㅂ", "ㅁ", "ㅇ"):
        return NASAL.get(closed, closed), "ㄴ"
    if onset in "ㄴㅁ" and closed in NASAL:
        return NASAL[closed], onset
    if {closed, onset} == {"ㄴ", "ㄹ"}:
        return "ㄹ", "ㄹ"
    return closed, onset


def _is_syllable(text: str) -> bool:
    return "가" <= text <= "힣"


def _jamo(syllable: str) -> tuple[str, str, str]:
    """Return the onset, vowel and coda of a syllable of Hangul. **Source:** the Unicode Standard, section 3.12."""
    onset, rest = divmod(ord(syllable) - 0xAC00, 21 * 28)
    return ONSETS[onset], VOWELS[rest // 28], CODAS[rest % 28]


def _syllable(onset: str, vowel: str, coda: str) -> str:
    return chr(0xAC00 + (ONSETS.index(onset) * 21 + VOWELS.index(vowel)) * 28 + CODAS.index(coda))
