"""Live recognition: a model made by hand says what it hears, so that every text, time and delay is known; then the bundled one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import soxr

import voxray
from voxray.studies import live as room
from voxray.studies.live import LiveEvent, LiveOptions, LiveRecogniser, agreed, beyond
from voxray.studies.monitor import AttentionMonitor
from voxray.types import Audio, AudioError, OptionError, Token, Transcript
from voxray.vad import Endpoints, VadOptions, detected_runs, voice_segments

RATE = 16_000
BLOCK = 3_200  # samples of a token: 0.2 s
QUICK = LiveOptions(statistics=False)


def spoken(ids: list[int], pause: float = 0.0) -> np.ndarray:
    """A sound that says some tokens: each is 0.2 s of a constant."""
    return np.concatenate(
        [np.repeat(np.float32([0.1 + one / 1000 for one in ids]), BLOCK), np.zeros(round(pause * RATE), np.float32)]
    )


def token(number: int, start: float, end: float = math.nan) -> Token:
    return Token(number, f" {number}", start, start + 0.2 if math.isnan(end) else end, (0, 1), 0, -0.1)


@dataclass
class Clock:
    """Seconds that pass only when told."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Model:
    """Says which constants it hears; of one that has not lasted 0.1 s yet it says something wrong. Work takes time by the clock."""

    clock: Clock = field(default_factory=Clock)
    cost: float = 0.0
    languages: tuple[str, ...] = ("auto",)
    layers: int = 2
    cross_shape: None = None
    lengths: list[float] = field(default_factory=list)

    def transcribe(self, audio: Audio, language: str, *, textnorm: bool) -> Transcript:
        assert (language, textnorm, audio.sample_rate) == ("auto", False, RATE)
        self.clock.now += self.cost
        self.lengths.append(audio.duration)
        samples = np.round(audio.samples * 1000 - 100).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(samples)) + 1).tolist(), len(samples)]
        tokens = []
        for first, stop in itertools.pairwise(edges):
            if samples[first] < 0:
                continue
            if stop - first < 1_600:
                tokens.append(token(samples[first] + 500, first / RATE, stop / RATE))
            else:
                tokens += [token(samples[first], at / RATE) for at in range(first, stop, BLOCK)]
        text = " ".join(str(one.id) for one in tokens)
        return Transcript(text, text, text, tuple(tokens), (), (), (), audio.duration)


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> None:
    """Voice is what is loud; a little less likely where the constant is small."""

    class Loud:
        def probability(self, samples: np.ndarray) -> float:
            return float(min(np.abs(samples).max(initial=0.0) * 4 + 0.2, 1.0)) if np.abs(samples).max(initial=0.0) > 0.05 else 0.0

    monkeypatch.setattr(room, "Detector", Loud)


def heard(recogniser: LiveRecogniser, sound: Any, size: int, rate: int = RATE) -> list[LiveEvent]:
    events = []
    for first in range(0, len(sound), size):
        events += recogniser.feed(sound[first : first + size], rate)
    return events + recogniser.finish()


def finals(events: list[LiveEvent]) -> list[str]:
    return [event.text for event in events if event.kind == "final"]


def of(recogniser_options: LiveOptions = QUICK, model: Model | None = None, clock: Any = None) -> LiveRecogniser:
    return LiveRecogniser(model or Model(), recogniser_options, clock=clock)  # type: ignore[arg-type]


TALK = np.concatenate(
    [np.zeros(8_000, np.float32), spoken([1, 2, 3, 4, 5], 1.0), spoken([7, 8, 9], 0.3), spoken([10, 11], 2.0), spoken([4, 4])]
)
SAID = ["1 2 3 4 5", "7 8 9 10 11", "4 4"]


@pytest.mark.usefixtures("ears")
@pytest.mark.parametrize("size", [1, 160, 511, 1_600, 7_777, 10**6])
def test_final_texts_do_not_depend_on_the_chunks(size: int) -> None:
    events = heard(of(), TALK[:60_000] if size == 1 else TALK, size)
    assert finals(events) == (SAID[:2] if size == 1 else SAID)
    assert [event.utterance for event in events if event.kind == "final"] == list(range(len(finals(events))))


@pytest.mark.usefixtures("ears")
def test_bytes_may_end_within_a_sample() -> None:
    pcm = np.round(TALK * 32768).astype("<i2").tobytes()
    assert finals(heard(of(), pcm, 777)) == SAID
    assert finals(heard(of(), bytearray(pcm), 5_001)) == SAID


@pytest.mark.usefixtures("ears")
@pytest.mark.parametrize("kind", ["int16", "int32", "float64", "stereo"])
def test_arrays_of_any_kind(kind: str) -> None:
    scales = {"int16": 2**15, "int32": 2**31}
    sound = (
        np.stack([TALK * 2, TALK * 0], axis=1) if kind == "stereo" else (TALK.astype(np.float64) * scales.get(kind, 1)).astype(kind)
    )
    assert finals(heard(of(), sound, 1_600)) == SAID


@pytest.mark.usefixtures("ears")
def test_what_is_stable_stays_and_grows() -> None:
    events = heard(of(), TALK, 1_600)
    partial = [event for event in events if event.kind == "partial"]
    assert len(partial) >= 6
    for before, after in itertools.pairwise(partial):
        if before.utterance == after.utterance:
            assert after.stable.startswith(before.stable)
            assert after.heard >= before.heard + 0.5 - 1e-9  # every half second
    for number, text in enumerate(SAID):
        shown = [event for event in partial if event.utterance == number]
        assert all(text.startswith(event.stable) for event in shown)
        assert all(event.text == event.stable + event.unstable for event in shown)
    # One recognition alone settles nothing; the second time that it is heard a token does.
    assert partial[0].stable == ""
    assert partial[0].unstable == "1 2"
    assert partial[1].stable == "1 2"
    assert partial[1].unstable.startswith(" 3 4")
    assert partial[0].start == pytest.approx(0.5 - 0.2, abs=0.04)
    assert [round(one.start, 2) for one in partial[1].tokens[:4]] == [0.5, 0.7, 0.9, 1.1]


@pytest.mark.usefixtures("ears")
def test_a_guess_at_the_edge_is_not_stable() -> None:
    """The model says 500 more of a token that has only begun."""
    shown = [event for event in heard(of(replace(QUICK, interval=0.25)), TALK, 800) if event.kind == "partial"]
    assert any("50" in event.unstable for event in shown)
    assert not any("50" in event.stable for event in shown)


def test_agreement_is_by_token_and_time() -> None:
    first = [token(1, 0.0), token(2, 0.5), token(3, 1.0)]
    assert agreed(first, first) == 3
    assert agreed(first, [token(1, 0.1), token(2, 0.75), token(4, 1.0)]) == 2
    assert agreed(first, [token(1, 0.0), token(2, 0.81), token(3, 1.0)]) == 1  # the same word, but another time
    assert agreed([], first) == agreed(first, []) == 0


def test_what_comes_after_the_stable_tokens() -> None:
    stable = [token(1, 0.0), token(2, 0.5)]
    after = [token(3, 1.0), token(2, 1.4)]
    assert beyond([], after) == after
    assert beyond(stable, [token(1, 0.0), token(2, 0.55), *after]) == after
    assert beyond(stable, [token(1, 0.0), token(9, 0.5), *after]) == after  # changed its mind: what begins later counts
    assert beyond([token(2, 0.5)], [token(2, 0.3), token(2, 0.55), *after]) == after  # of two the nearer


@pytest.mark.usefixtures("ears")
def test_long_speech_is_cut_at_the_quietest_place_and_loses_nothing() -> None:
    ids = [20 + one % 50 for one in range(300)]  # a minute without a pause
    ids[60] = 0  # the least likely to be speech
    model = Model()
    events = heard(of(LiveOptions(statistics=False, longest=20.0, window=6.0), model), spoken(ids), 1_600)
    ends = [event for event in events if event.kind == "final"]
    assert len(ends) >= 3
    assert all(event.end - event.start <= 20.0 for event in ends)
    assert ends[0].end == pytest.approx(60 * 0.2, abs=0.2)
    assert [after.start for after in ends[1:]] == [before.end for before in ends[:-1]]
    words = [word for event in ends for word in event.text.split() if int(word) < 500]
    kept = [word for place, word in enumerate(words) if not place or word != words[place - 1]]  # cut in two, a token is heard twice
    assert kept == [str(one) for one in ids]


@pytest.mark.usefixtures("ears")
def test_the_window_moves_on_but_the_text_is_whole() -> None:
    ids = [20 + one % 50 for one in range(90)]  # 18 s
    model = Model()
    options = LiveOptions(statistics=False, longest=20.0, window=5.0)
    events = heard(of(options, model), spoken(ids), 1_600)
    partial = [event for event in events if event.kind == "partial"]
    assert max(model.lengths[: len(partial)]) <= 6.1  # the last is the whole utterance
    expected = " ".join(map(str, ids))
    assert len(partial[-1].stable.split()) >= 80
    assert expected.startswith(partial[-1].stable)
    assert finals(events) == [expected]


@pytest.mark.usefixtures("ears")
def test_memory_is_one_utterance_whatever_the_time() -> None:
    recogniser = of()
    sound = np.concatenate(
        [spoken([1, 2, 3], 0.7), np.zeros(5 * RATE, np.float32), spoken([20 + one % 7 for one in range(200)], 1.0)]
    )
    most = 0
    for _ in range(8):  # six and a half minutes
        for first in range(0, len(sound), 1_600):
            recogniser.feed(sound[first : first + 1_600])
            most = max(most, len(recogniser._ears._sound), len(recogniser._ears._probabilities) * 512)
    assert recogniser.heard == pytest.approx(8 * len(sound) / RATE)
    assert most <= 22 * RATE
    recogniser = of()
    recogniser.feed(np.tile(sound, 3))  # all at once
    assert len(recogniser._ears._sound) <= 22 * RATE


@pytest.mark.usefixtures("ears")
def test_falling_behind_leaves_out_partial_texts_but_no_final_one() -> None:
    clock = Clock()
    model = Model(clock, cost=0.8)  # more than half a second for each half second of sound
    recogniser = of(model=model, clock=clock)
    events: list[LiveEvent] = []
    due = 0.0
    for first in range(0, len(TALK), 1_600):
        due += 0.1
        clock.now = max(clock.now, due)  # the chunk is there once it has sounded
        events += recogniser.feed(TALK[first : first + 1_600])
    events += recogniser.finish()
    kinds = [event.kind for event in events]
    assert finals(events) == SAID
    assert "behind" in kinds
    assert kinds.index("behind") < kinds.index("caught up")
    assert events[-1].skipped > 0
    behind = events[kinds.index("behind")]
    assert behind.lag > 1.0
    assert behind.text == ""
    assert max(event.lag for event in events) < 4.0
    between = kinds[kinds.index("behind") : kinds.index("caught up")]
    assert "partial" not in between


@pytest.mark.usefixtures("ears")
def test_in_time_nothing_is_left_out() -> None:
    clock = Clock()
    recogniser = of(model=Model(clock, cost=0.05), clock=clock)
    events: list[LiveEvent] = []
    for first in range(0, len(TALK), 1_600):
        clock.now = max(clock.now, (first + 1_600) / RATE)
        events += recogniser.feed(TALK[first : first + 1_600])
    assert {event.kind for event in events} == {"partial", "final"}
    assert max(event.lag for event in events) == pytest.approx(0.05)
    assert events[-1].skipped == 0


def test_a_source_that_pauses_or_hurries_is_nobodys_delay() -> None:
    clock = Clock(100.0)
    delay = room._Delay(clock)
    delay.arrived(0.1, 0.0)
    assert delay.lag(0.1) == pytest.approx(0, abs=1e-9)
    delay.rest()
    clock.now += 60  # nothing for a minute
    delay.arrived(0.1, 0.1)
    assert delay.lag(0.2) == pytest.approx(0, abs=1e-9)
    clock.now += 2.5  # work
    assert delay.lag(0.2) == pytest.approx(2.5)
    delay.rest()
    delay.arrived(0.1, 0.2)  # it was waiting
    assert delay.lag(0.3) == pytest.approx(2.4)
    delay.rest()
    delay.arrived(30.0, 0.3)  # much at once, as from a fast pipe
    assert delay.lag(30.3) == pytest.approx(0, abs=1e-9)
    assert room._Delay(None).lag(5.0) == 0


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("size", [333, 4_800])
def test_other_rates_are_resampled_as_in_one_go(rate: int, size: int) -> None:
    sound = np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    intake = room._Intake()
    parts = [intake.take(sound[first : first + size], rate) for first in range(0, len(sound), size)]
    np.testing.assert_array_equal(np.concatenate([*parts, intake.rest()]), soxr.resample(sound, rate, RATE, quality="HQ"))


def test_a_change_of_rate_keeps_what_was_heard() -> None:
    sound = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    intake = room._Intake()
    parts = [intake.take(sound, 48_000), intake.take(sound, 16_000), intake.rest()]
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([soxr.resample(sound, 48_000, RATE, quality="HQ"), sound]))


@pytest.mark.parametrize(
    "options", [VadOptions(), VadOptions(min_silence=0.1), VadOptions(min_silence=0.0, min_speech=0.0), VadOptions(on=0.6, off=0.6)]
)
@pytest.mark.parametrize("seed", range(15))
def test_endpoints_are_those_of_the_whole_sound(seed: int, options: VadOptions) -> None:
    """Stretches found one by one are those that ``detected_runs`` finds in the whole."""
    rng = np.random.default_rng(seed)
    probabilities = np.clip(np.repeat(rng.random(60), rng.integers(1, 30, 60)) + rng.normal(0, 0.1, 1)[0], 0, 1).astype(np.float32)
    endpoints = Endpoints(options)
    found = [run for one in probabilities.tolist() if (run := endpoints.add(one)) is not None]
    assert [*found, *filter(None, [endpoints.end()])] == detected_runs(probabilities, options)


def test_endpoints_say_what_is_open() -> None:
    endpoints = Endpoints()
    assert (endpoints.begun, endpoints.open) == (None, None)
    for _ in range(3):
        endpoints.add(0.9)
    assert (endpoints.begun, endpoints.open) == (0, None)  # it may still be dropped
    for _ in range(8):
        endpoints.add(0.9)
    assert endpoints.open == 0
    endpoints.cut(2)
    assert endpoints.open == 2
    assert endpoints.end() == (2, 11)
    assert endpoints.begun is None


def test_the_events_as_json() -> None:
    event = LiveEvent("final", 3, 1.0, 2.5, stable="hi", tokens=(token(1, 1.2),), heard=2.6, lag=0.1, skipped=2, seconds=0.02)
    told = event.to_dict()
    assert told["text"] == "hi"
    assert (told["kind"], told["utterance"], told["start"], told["end"], told["skipped"]) == ("final", 3, 1.0, 2.5, 2)
    assert told["tokens"] == [{"text": " 1", "start": 1.2, "end": 1.4, "confidence": pytest.approx(math.exp(-0.1))}]
    assert (told["step"], told["tags"]) == (None, {})


@pytest.mark.usefixtures("ears")
def test_the_end() -> None:
    recogniser = of()
    recogniser.feed(spoken([1, 2, 3]))
    assert finals(recogniser.finish()) == ["1 2 3"]
    assert recogniser.finish() == []
    with pytest.raises(OptionError, match="finished; begin a new one"):
        recogniser.feed(TALK)
    assert of().finish() == []


@pytest.mark.parametrize(
    ("chunk", "rate", "match"),
    [
        ("text", RATE, r"a chunk must be \(S,\) or \(S, C\) of int16, int32, float32, float64, or bytes of int16, got str"),
        (np.zeros((2, 2, 2)), RATE, r"got float64 \(2, 2, 2\)"),
        (np.zeros(5, np.complex64), RATE, r"got complex64 \(5,\)"),
        (np.array([0.0, np.nan]), RATE, "samples that are not finite"),
        (np.zeros(5), 0, "rate must be 1000 to 768000 Hz, got 0"),
    ],
)
def test_what_is_no_sound_is_refused(chunk: Any, rate: int, match: str) -> None:
    with pytest.raises(AudioError, match=match):
        of().feed(chunk, rate)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"interval": 0}, r"interval must be 0\.1 to 60 seconds, got 0"),
        ({"longest": 31}, "longest must be 4 to 30 seconds, got 31"),
        ({"window": 25}, "window must be 3 to 20 seconds, got 25"),
        ({"silence": math.nan}, "silence must be"),
        ({"behind": -1}, "behind must be"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, float], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        LiveOptions(**options)  # type: ignore[arg-type]


def test_an_unknown_language() -> None:
    with pytest.raises(OptionError, match="language 'xx' is not known to this model; choose one of auto"):
        of(LiveOptions(language="xx"))


@pytest.fixture(scope="module")
def talk(clips: Any) -> np.ndarray:
    """Real speech: three clips with pauses."""
    parts = [
        voxray.load_audio(clips / f"{name}.wav").samples for name in ("zh_happy_speech", "en_neutral_speech", "ko_angry_speech")
    ]
    pause = np.zeros(round(0.9 * RATE), np.float32)
    return np.concatenate([part for one in parts for part in (pause, one)])


def test_real_speech_gives_the_text_of_its_utterances(bundled: Any, talk: np.ndarray) -> None:
    """The final texts are those of the pieces that voice activity finds in the whole file, bit for bit."""
    monitor = AttentionMonitor()
    recogniser = LiveRecogniser(bundled, monitor=monitor, clock=None)
    events = heard(recogniser, talk, 1_600)
    ends = [event for event in events if event.kind == "final"]
    spans = voice_segments(Audio(talk), max_duration=20.0, options=VadOptions(merge_to=0.0))
    np.testing.assert_allclose([(event.start, event.end) for event in ends], spans)
    assert [event.text for event in ends] == [bundled.transcribe(Audio(talk).cut(*span)).text for span in spans]
    assert len(ends) >= 3
    for event in ends:
        assert event.step is not None
        assert event.trace is not None
        assert event.step.text == event.text
        assert event.step.settled
        assert 0 < event.step.statistics["coverage"] <= 1
        assert (event.step.start, event.offset) == pytest.approx((event.start, event.start), abs=0.02)
        assert {tag.kind for tag in event.tags} == {"language", "emotion", "event", "textnorm"}
        assert event.start <= event.tokens[0].start < event.tokens[-1].end <= event.end + 0.06
        assert event.tokens[0].start - event.offset == pytest.approx(event.trace.tokens[0].start)
    assert len(monitor.steps) == sum(event.kind in ("partial", "final") for event in events)
    assert [step.settled for step in monitor.steps].count(True) == len(ends)
    assert all(event.to_dict()["step"]["statistics"]["focus"] > 0 for event in ends)


def test_words_settle_soon_after_they_were_said(bundled: Any, talk: np.ndarray) -> None:
    events = heard(LiveRecogniser(bundled, clock=None), talk, 1_600)
    late = []
    for number in {event.utterance for event in events}:
        shown = [event for event in events if event.utterance == number]
        final = shown[-1]
        for place, one in enumerate(final.tokens):
            text = "".join(each.text for each in final.tokens[: place + 1]).strip()
            late.append(next(event.heard for event in shown if event.stable.startswith(text)) - one.end)
    assert np.median(late) <= 1.2


def test_the_same_twice(bundled: Any, talk: np.ndarray) -> None:
    first, second = (heard(LiveRecogniser(bundled, clock=None), talk, 2_000) for _ in range(2))
    told = [[{k: v for k, v in event.to_dict().items() if k != "seconds"} for event in events] for events in (first, second)]
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["paraformer-funasr", "whisper-tiny-optimum", "generic-wav2vec2"])
def test_every_family_can_be_listened_with(data: Any, talk: np.ndarray, name: str) -> None:
    model = voxray.load_model(data / name, threads=1)
    language = "auto" if "auto" in model.languages else model.languages[0]
    sound = talk[: 5 * RATE]
    events = heard(LiveRecogniser(model, LiveOptions(language=language), clock=None), sound, 4_000)
    ends = [event for event in events if event.kind == "final"]
    spans = voice_segments(Audio(sound), max_duration=20.0, options=VadOptions(merge_to=0.0))
    assert [event.text for event in ends] == [model.transcribe(Audio(sound).cut(*span), language).text for span in spans]
    assert any(event.kind == "partial" for event in events)
    assert all(event.step is not None and 0 < event.step.statistics["focus"] <= 1 for event in ends)
