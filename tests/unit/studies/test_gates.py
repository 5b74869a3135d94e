"""Gates read what people write, and never pass a figure that is not there."""

from __future__ import annotations

from typing import Any

import pytest

from voxray.studies.gates import COMPARISONS, FIGURES, Gate, check, fields_of
from voxray.studies.summary import summarise
from voxray.types import OptionError

HINT = "; error_rate counts every clip in the unit of its language"


def run() -> dict[str, Any]:
    """Return the summary of two clips in Chinese with 1 error in 4 and 3 in 4, and one in English without any."""
    clips = [("a", "zh", 1, "character"), ("b", "zh", 3, "character"), ("c", "en", 0, "word")]
    records = [
        {
            "id": name, "duration": 1.0, "groups": {"language": language, "room": "a = b"}, "problem": None,
            "seconds": {"recognition": 0.1}, "mistakes": [{"cause": None}] * errors,
            "tags": [{"kind": "language", "label": "zh", "wanted": language}],
            "words": [{"confidence": 0.25 * place, "calibrated": None, "right": place > errors} for place in (1, 2, 3, 4)],
            "errors": {"unit": unit, "hits": 4 - errors, "substitutions": errors, "deletions": 0, "insertions": 0, "length": 4},
            "alignment": {"words": 4, "errors": [-0.01, -0.01, -0.03, 0.2]},
        }
        for name, language, errors, unit in clips
    ]  # fmt: skip
    return summarise(records, ("language", "room"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cer > 0.08", ["cer > 0.08: cer is 0.5"]),
        ("cer > 0.5", []),
        ("cer >= 50%", ["cer >= 50%: cer is 0.5"]),
        ("CER>5e-1", []),
        ("  wer  !=  .0 ", []),
        ("wer == 0", ["wer == 0: wer is 0"]),
        ("error_rate > +0.33", ["error_rate > +0.33: error_rate is 0.3333"]),
        ("substitutions >= 4", ["substitutions >= 4: substitutions is 4"]),
        ("unexplained > 0.3", ["unexplained > 0.3: unexplained is 1"]),
        ("language_accuracy < 0.9", ["language_accuracy < 0.9: language_accuracy is 0.6667"]),
        ("start_median < -5e-3", ["start_median < -5e-3: start_median is -0.01"]),
        ("rtf > 1", []),
        ("problems > 0", []),
        ("cer[language=zh] > 0.4", ["cer[language=zh] > 0.4: cer where language is zh is 0.5"]),
        ("cer[language = zh] > 0.6", []),
        ("wer[ language=en ] < 1", ["wer[ language=en ] < 1: wer where language is en is 0"]),
        ("error_rate[room=a = b] > 0", ["error_rate[room=a = b] > 0: error_rate where room is a = b is 0.3333"]),
        ("error_rate[language=*] >= 0", [
            "error_rate[language=*] >= 0: error_rate where language is en is 0",
            "error_rate[language=*] >= 0: error_rate where language is zh is 0.5",
        ]),
    ],
)  # fmt: skip
def test_gates_compare(text: str, told: list[str]) -> None:
    assert Gate.parse(text).failures(run()) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mer > 0.1", "mer > 0.1: this run has no mer, so it cannot pass" + HINT),
        ("wer[language=zh] > 0.1", "wer[language=zh] > 0.1: this run has no wer where language is zh, so it cannot pass" + HINT),
        ("cer[language=fr] > 0.1", "cer[language=fr] > 0.1: this run has no cer where language is fr, so it cannot pass" + HINT),
        ("emotion_accuracy < 0.1", "emotion_accuracy < 0.1: this run has no emotion_accuracy, so it cannot pass"),
    ],
)
def test_what_was_not_measured_does_not_pass(text: str, told: str) -> None:
    assert Gate.parse(text).failures(run()) == [told]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_found_in_a_summary(name: str) -> None:
    """A wrong path in the table would look like a figure that was not measured."""
    summary = run()
    summary["overall"]["tags"] |= dict.fromkeys(("emotion", "event"), summary["overall"]["tags"]["language"])
    summary["overall"]["mer"] = summary["overall"]["cer"]
    both = [Gate.parse(f"{name} {compare} 1e9").failures(summary) for compare in ("<", ">=")]
    assert (len(both[0]), both[1]) == (1, [])
    assert "cannot pass" not in both[0][0]


@pytest.mark.parametrize(
    ("compare", "fails"), [(">", [3.0]), (">=", [2.0, 3.0]), ("<", [1.0]), ("<=", [1.0, 2.0]), ("==", [2.0]), ("!=", [1.0, 3.0])]
)
def test_comparisons(compare: str, fails: list[float]) -> None:
    values = [value for value in (1.0, 2.0, 3.0) if Gate.parse(f"clips {compare} 2").failures({"overall": {"clips": value}})]
    assert values == fails
    assert len(COMPARISONS) == 6


@pytest.mark.parametrize("text", ["", "cer", "cer > ", "cer > x", "cer => 0.1", "cer > 0.1; rtf > 1", "cer[zh] > 0.1", "0.1 < cer",
                                  "cer > 0.1.2", "cer > --1", "__import__('os') > 1", "cer[language=zh > 1"])  # fmt: skip
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"is no gate; write a figure, a comparison and a number, such as 'cer > 0\.08'"):
        Gate.parse(text)


def test_an_unknown_figure_is_named_with_the_nearest() -> None:
    with pytest.raises(
        OptionError, match=r"there is no figure 'eror_rate'; did you mean 'error_rate'\? there are: auroc, brier, cer, "
    ):
        Gate.parse("eror_rate > 0.1")
    with pytest.raises(OptionError, match="there is no figure 'qqq'; there are: auroc"):
        Gate.parse("qqq > 0.1")


def test_a_field_that_was_not_grouped_by_is_named() -> None:
    with pytest.raises(OptionError, match=r"the run is not grouped by 'age' \(groups: language, room\); group by it \(--group\)"):
        Gate.parse("cer[age=3] > 1").failures(run())


def test_several_gates_are_checked_in_turn() -> None:
    gates = [
        Gate.parse(one) for one in ("cer > 0.1", "rtf > 1", "cer[language=zh] > 0.1", "wer[language=en] > 1", "wer[room=x] > 1")
    ]
    assert [line.split(":")[0] for line in check(run(), gates)] == ["cer > 0.1", "cer[language=zh] > 0.1", "wer[room=x] > 1"]
    assert fields_of(gates) == ("language", "room")
