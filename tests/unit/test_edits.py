from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from voxray.edits import Comparison, Counts, Edit, align, compare, total
from voxray.texts import Normalisation, TextUnit
from voxray.types import OptionError

PAIRS: list[dict[str, Any]] = json.loads((Path(__file__).parent.parent / "data" / "edits.json").read_text(encoding="utf-8"))
KINDS = ("hit", "substitution", "deletion", "insertion")


def split(edits: Sequence[Edit]) -> tuple[int, int, int, int]:
    """Hits, substitutions, deletions, insertions."""
    kinds = [edit.kind for edit in edits]
    return tuple(kinds.count(kind) for kind in KINDS)  # type: ignore[return-value, arg-type]


def letters(edits: Sequence[Edit]) -> int:
    """Characters that the substitutions change."""
    return sum(Levenshtein.distance(edit.reference, edit.recognised) for edit in edits if edit.kind == "substitution")


def all_alignments(reference: Sequence[str], recognised: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Every way to set two rows against one another, as pairs with empty sides for deletions and insertions."""
    if not reference and not recognised:
        return [[]]
    found = []
    if reference:
        found += [[(reference[0], ""), *rest] for rest in all_alignments(reference[1:], recognised)]
    if recognised:
        found += [[("", recognised[0]), *rest] for rest in all_alignments(reference, recognised[1:])]
    if reference and recognised:
        found += [[(reference[0], recognised[0]), *rest] for rest in all_alignments(reference[1:], recognised[1:])]
    return found


def cost(pairs: Sequence[tuple[str, str]]) -> tuple[int, int, int]:
    """Edits, changed characters of substitutions, substitutions."""
    changed = [(one, other) for one, other in pairs if one and other and one != other]
    return sum(one != other for one, other in pairs), sum(Levenshtein.distance(*pair) for pair in changed), len(changed)


# --- the alignment ---

UNITS = ("a", "b", "ab", "abc", "xyz")


def test_the_alignment_is_the_best_of_all() -> None:
    chance = random.Random(5)
    for _ in range(300):
        reference = chance.choices(UNITS, k=chance.randrange(6))
        recognised = chance.choices(UNITS, k=chance.randrange(6))
        edits = align(reference, recognised)
        found = len(edits) - split(edits)[0], letters(edits), split(edits)[1]
        assert found == min(cost(pairs) for pairs in all_alignments(reference, recognised)), (reference, recognised)


@given(st.lists(st.sampled_from(UNITS), max_size=25), st.lists(st.sampled_from(UNITS), max_size=25))
def test_an_alignment_spells_both_rows_and_is_as_short_and_symmetric_as_a_distance(one: list[str], other: list[str]) -> None:
    edits = align(one, other)
    assert [edit.reference for edit in edits if edit.reference_place is not None] == one
    assert [edit.recognised for edit in edits if edit.recognised_place is not None] == other
    assert [edit.reference_place for edit in edits if edit.reference_place is not None] == list(range(len(one)))
    assert [edit.recognised_place for edit in edits if edit.recognised_place is not None] == list(range(len(other)))
    for edit in edits:
        assert (edit.kind == "hit") == (edit.reference == edit.recognised)
        assert (edit.kind == "insertion") == (edit.reference_place is None)
        assert (edit.kind == "deletion") == (edit.recognised_place is None)
    hits, substitutions, deletions, insertions = split(edits)
    assert substitutions + deletions + insertions == Levenshtein.distance(one, other)
    assert split(align(other, one)) == (hits, substitutions, insertions, deletions)


@given(st.lists(st.text(max_size=4), max_size=20))
def test_a_row_against_itself_is_all_hits(row: list[str]) -> None:
    assert split(align(row, row)) == (len(row), 0, 0, 0)


def test_a_wrong_word_is_set_against_the_one_that_it_resembles() -> None:
    assert align(["new", "york", "city"], ["york's", "city"]) == (
        Edit("deletion", "new", "", 0, None),
        Edit("substitution", "york", "york's", 1, 0),
        Edit("hit", "city", "city", 2, 1),
    )
    assert align(["a", "word", "x"], ["words", "x"])[:2] == (
        Edit("deletion", "a", "", 0, None),
        Edit("substitution", "word", "words", 1, 0),
    )
    assert align(["word", "a", "x"], ["words", "x"])[:2] == (
        Edit("substitution", "word", "words", 0, 0),
        Edit("deletion", "a", "", 1, None),
    )


def test_equally_good_alignments_are_settled_alike_every_time() -> None:
    assert [edit.kind for edit in align("我们去", "你去")] == ["substitution", "deletion", "hit"]
    assert [edit.kind for edit in align("今天天气", "今天气")] == ["hit", "hit", "deletion", "hit"]
    assert [edit.kind for edit in align("ab", "bc")] == ["deletion", "hit", "insertion"]  # one hit rather than two substitutions


def test_long_rows_are_exact_and_quick() -> None:
    import time
    import tracemalloc

    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(1, 8))) for _ in range(500)]
    reference, recognised = chance.choices(words, k=2000), chance.choices(words, k=2000)
    started = time.perf_counter()
    edits = align(reference, recognised)
    assert time.perf_counter() - started < 3  # 0.2 s on two slow cores
    assert len(edits) - split(edits)[0] == Levenshtein.distance(reference, recognised)
    tracemalloc.start()
    align(reference[::-1], recognised)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # a full table of costs would take 32 MB


# --- counts as jiwer counts them ---

SENTENCES = [
    "the quick brown fox jumps over the lazy dog", "it was the best of times it was the worst of times",
    "could you please turn the lights off in the living room", "i scream you scream we all scream for ice cream",
    "she sells sea shells by the sea shore", "we will meet at nine o'clock tomorrow morning",
]  # fmt: skip


def spoiled(words: list[str], chance: random.Random) -> list[str]:
    """Words as a bad recogniser would give them."""
    pool = [word for sentence in SENTENCES for word in sentence.split()]
    kept = [chance.choice(pool) if chance.random() < 0.2 else word for word in words if chance.random() > 0.15]
    for _ in range(chance.randrange(3)):
        kept.insert(chance.randrange(len(kept) + 1), chance.choice(pool))
    return kept


def all_splits(reference: Sequence[str], recognised: Sequence[str]) -> set[tuple[int, int, int, int]]:
    """The (H, S, D, I) of every alignment with the fewest edits, by a plain table of sets."""
    table: dict[tuple[int, int], tuple[int, set[tuple[int, int, int, int]]]] = {(0, 0): (0, {(0, 0, 0, 0)})}
    for i in range(len(reference) + 1):
        for j in range(len(recognised) + 1):
            steps = []
            if i:
                steps.append((i - 1, j, 1, (0, 0, 1, 0)))
            if j:
                steps.append((i, j - 1, 1, (0, 0, 0, 1)))
            if i and j:
                same = reference[i - 1] == recognised[j - 1]
                steps.append((i - 1, j - 1, int(not same), (1, 0, 0, 0) if same else (0, 1, 0, 0)))
            if steps:
                least = min(table[a, b][0] + price for a, b, price, _ in steps)
                counts = {
                    tuple(x + y for x, y in zip(old, step, strict=True))
                    for a, b, price, step in steps
                    if table[a, b][0] + price == least
                    for old in table[a, b][1]
                }
                table[i, j] = least, counts  # type: ignore[assignment]
    return table[len(reference), len(recognised)][1]


def of_jiwer(output: Any) -> tuple[int, int, int, int]:
    return output.hits, output.substitutions, output.deletions, output.insertions


@pytest.mark.parametrize("seed", range(3))
def test_words_count_as_in_jiwer(seed: int) -> None:
    chance, unique = random.Random(seed), 0
    for _ in range(150):
        words = chance.choice(SENTENCES).split()[: chance.randrange(1, 12)]
        heard = spoiled(words, chance)
        ours = compare(" ".join(words), " ".join(heard), "en")
        theirs = jiwer.process_words(" ".join(words), " ".join(heard))
        assert ours.errors == theirs.substitutions + theirs.deletions + theirs.insertions
        assert ours.rate == pytest.approx(theirs.wer, abs=1e-12)
        splits = all_splits(words, heard)
        assert split(ours.edits) in splits
        if len(splits) == 1:
            unique += 1
            assert split(ours.edits) == of_jiwer(theirs)
    assert unique > 75  # most pairs leave no choice


def test_characters_count_as_in_jiwer() -> None:
    chance, unique = random.Random(11), 0
    for _ in range(200):
        text = "".join(chance.choices("我你他今天气很好去来", k=chance.randrange(1, 12)))
        heard = "".join(one if chance.random() > 0.2 else chance.choice(["", "们", "天好"]) for one in text)
        ours, theirs = compare(text, heard, "zh"), jiwer.process_characters(text, heard)
        assert ours.errors == theirs.substitutions + theirs.deletions + theirs.insertions
        assert ours.rate == pytest.approx(theirs.cer, abs=1e-12)
        if len(all_splits(text, heard)) == 1:
            unique += 1
            assert split(ours.edits) == of_jiwer(theirs)
    assert unique > 100


@pytest.mark.parametrize(
    ("reference", "recognised"),
    [
        ("this is a test", "this is a test"),
        ("this is a test", "this is the test"),
        ("this is a test", "this is test"),
        ("this is test", "this is a test"),
        ("this is a test", ""),
        ("", "this is a test"),
        ("", ""),
        ("short one here", "shoe order one"),
        ("one", "two three four"),
        ("a b c d e f", "a x c e f g"),
        ("yes yes yes", "yes"),
        ("i can't do it", "i cant do it"),
    ],
)
def test_english_cases_count_as_in_jiwer(reference: str, recognised: str) -> None:
    ours, theirs = compare(reference, recognised, "en"), jiwer.process_words(reference, recognised)
    assert ours.errors == theirs.substitutions + theirs.deletions + theirs.insertions
    assert of_jiwer(theirs) in all_splits(reference.split(), recognised.split())
    if len(all_splits(reference.split(), recognised.split())) == 1:
        assert split(ours.edits) == of_jiwer(theirs)


# --- whole texts ---


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['language']}-{pair['why'][:40]}")
def test_pairs_worked_out_by_hand(pair: dict[str, Any]) -> None:
    chosen = Normalisation.parse(pair["normalisation"]) if "normalisation" in pair else None
    found = compare(pair["reference"], pair["recognised"], pair["language"], unit=pair.get("asked"), normalisation=chosen)
    counts = (found.hits, found.substitutions, found.deletions, found.insertions)
    assert (found.unit, *counts) == (pair["unit"], *(pair[f"{kind}s"] for kind in KINDS))
    assert found.length == len(found.reference_units) == pair["hits"] + pair["substitutions"] + pair["deletions"]
    assert found.rate == (found.errors / found.length if found.length else None)


def test_the_pairs_cover_every_language_and_kind() -> None:
    assert len(PAIRS) >= 40
    assert {pair["language"] for pair in PAIRS} == {"zh", "yue", "ja", "ko", "en", "auto"}
    assert {pair["unit"] for pair in PAIRS} == {"character", "word", "mixed"}
    assert sum(len(pair["reference"]) == 1 for pair in PAIRS) >= 6
    assert sum(pair["reference"] == "" for pair in PAIRS) >= 5


def test_a_comparison_keeps_the_places_in_both_texts() -> None:
    found = compare("你好，Ｗｏｒｌｄ。", "<|zh|>你 号 world", "zh")
    assert found.reference_units == (TextUnit("你", 0, 1), TextUnit("好", 1, 2), TextUnit("world", 3, 8))
    assert found.recognised_units == (TextUnit("你", 6, 7), TextUnit("号", 8, 9), TextUnit("world", 10, 15))
    assert found.edits == (
        Edit("hit", "你", "你", 0, 0),
        Edit("substitution", "好", "号", 1, 1),
        Edit("hit", "world", "world", 2, 2),
    )
    assert found.normalisation.title == "lower case, no punctuation, NFKC"
    assert found.counts == Counts(2, 1, 0, 0)
    assert found.rate == pytest.approx(1 / 3)


def test_an_empty_reference_has_no_rate() -> None:
    found = compare("", "嗯嗯", "zh")
    assert (found.errors, found.length, found.rate) == (2, 0, None)
    assert compare("", "", "zh").rate is None
    assert compare("嗯", "啊啊啊", "zh").rate == 3.0


def test_a_corpus_is_counted_over_all_its_units() -> None:
    clips: list[Comparison | Counts] = [compare("你好", "你号", "zh"), compare("", "嗯", "zh"), Counts(6, 0, 1, 0)]
    assert total(clips) == Counts(hits=7, substitutions=1, deletions=1, insertions=1)
    assert total(clips).rate == pytest.approx(3 / 9)
    assert total([]) == Counts(0, 0, 0, 0)
    assert total([]).rate is None


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(OptionError, match="a unit is 'character', 'word' or 'mixed', got 'phone'"):
        compare("a", "b", unit="phone")  # type: ignore[arg-type]
