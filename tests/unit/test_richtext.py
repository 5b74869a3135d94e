"""Emoji text against what FunASR's post-processing wrote, and rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from voxray.richtext import rich_text


def test_golden_texts(expected: dict[str, Any]) -> None:
    told = [run for case in expected["cases"].values() for run in case["sensevoice"].values()]
    assert len(told) == 6
    assert [rich_text(run["funasr_torch_text"]) for run in told] == [run["rich_postprocess"] for run in told]


# Every right-hand side was confirmed by FunASR 1.4.16 (rich_transcription_postprocess).
CASES = {
    "nothing": ("", ""),
    "only tags": ("<|en|><|NEUTRAL|><|Speech|><|woitn|>", ""),
    "emotion after, event before": ("<|en|><|HAPPY|><|BGM|><|withitn|>Hello there.", "🎼Hello there.😊"),
    "sneeze and cough look alike": ("<|en|><|NEUTRAL|><|Cough|><|woitn|>a<|Sneeze|>", "🤧🤧a"),
    "events stand in reverse order of FunASR's list": ("<|zh|><|BGM|><|Applause|><|Cry|>好", "😭👏🎼好"),
    "an event counts once": ("<|zh|><|BGM|>好<|BGM|>", "🎼好"),
    "silent events": ("<|zh|><|Breath|><|Speech|><|Sing|><|GBG|><|Speech_Noise|>好", "好"),
    "most frequent emotion": ("<|zh|><|SAD|>一<|HAPPY|>二<|HAPPY|>", "一二😊"),
    "first of FunASR's list wins a tie": ("<|zh|><|SAD|><|HAPPY|>好", "好😊"),
    "neutral wins a tie": ("<|zh|><|SAD|><|NEUTRAL|>好", "好"),
    "no speech and no event": ("<|nospeech|><|Event_UNK|>", "❓"),
    "no speech between words": ("<|zh|>好<|nospeech|><|Event_UNK|>", "好❓"),
    "no speech otherwise parts stretches": ("<|nospeech|><|EMO_UNKNOWN|><|BGM|><|woitn|>", "🎼"),
    "spaces beside signs go": ("<|en|><|HAPPY|><|BGM|><|woitn|> hi ", "🎼hi😊"),
    "one space beside a sign goes, not two": ("<|en|><|BGM|>  hi", "🎼 hi"),
    "stretches are joined without a space": ("<|en|>one<|en|>two", "onetwo"),
    "same emotion stands once, at the end": ("<|zh|><|SAD|>一<|zh|><|SAD|>二", "一二😔"),
    "other emotions both stand": ("<|zh|><|SAD|>一<|zh|><|ANGRY|>二", "一😔二😡"),
    "same event stands once, at the start": ("<|zh|><|BGM|>一<|zh|><|BGM|>二", "🎼一二"),
    "a dropped event is written again": ("<|zh|><|BGM|>一<|zh|><|BGM|>二<|zh|><|BGM|>三", "🎼一二🎼三"),
    "a stretch that was only its event": ("<|zh|><|BGM|>一<|zh|><|BGM|><|zh|><|BGM|>三", "🎼一三"),
    "an event before the first language is not remembered": ("<|BGM|>一<|zh|><|BGM|>二", "🎼一🎼二"),
    "noise word": ("<|en|><|NEUTRAL|><|Speech|><|woitn|>The.", ""),
    "noise word inside": ("<|en|>a The. b", "a   b"),
    "noise word under an emotion": ("<|en|><|HAPPY|>The.", "😊"),
    "unknown tags stay": ("<|en|><|OTHER|><|Speech|>a<|/Speech|>", "<|OTHER|>a<|/Speech|>"),
    "languages without a tag of their own stay": ("<|de|>ja", "<|de|>ja"),
    "brackets are text": ("<|en|>a < | > b <|", "a < | > b <|"),
    "signs in the text itself": ("<|en|>a 😊 b<|en|>c<|HAPPY|>", "a😊bc😊"),
    "a sign that only FunASR's set knows": ("<|en|>a 😷 b", "a😷b"),
    "text that ends in the sign of the next": ("<|en|>a 😊<|en|>c<|HAPPY|>", "ac😊"),
    "only the language": ("<|yue|><|ja|><|ko|>", ""),
}


@pytest.mark.parametrize(("raw", "wanted"), CASES.values(), ids=CASES)
def test_rules(raw: str, wanted: str) -> None:
    assert rich_text(raw) == wanted


@pytest.mark.parametrize(
    ("label", "sign"),
    [("HAPPY", "😊"), ("SAD", "😔"), ("ANGRY", "😡"), ("NEUTRAL", ""), ("FEARFUL", "😰"), ("DISGUSTED", "🤢"), ("SURPRISED", "😮")],
)
def test_every_emotion(label: str, sign: str) -> None:
    assert rich_text(f"<|en|><|{label}|><|Speech|><|woitn|>yes") == f"yes{sign}"


@pytest.mark.parametrize(
    ("label", "sign"),
    [("BGM", "🎼"), ("Applause", "👏"), ("Laughter", "😀"), ("Cry", "😭"), ("Sneeze", "🤧"), ("Cough", "🤧"), ("Speech", "")],
)
def test_every_event(label: str, sign: str) -> None:
    assert rich_text(f"<|en|><|NEUTRAL|><|{label}|><|woitn|>yes") == f"{sign}yes"
