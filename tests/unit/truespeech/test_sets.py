"""The benchmark's sets: every span is measured in the sound, and what shall be the same sound is so to the last bit."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from voxray.manifest import read_manifest
from voxray.truespeech.clip import is_held_out
from voxray.truespeech.engine import Manner, engine
from voxray.truespeech.lexicon import LANGUAGES, SPACED, lexicon
from voxray.truespeech.sets import About, make_sets
from voxray.truespeech.sets.__main__ import main
from voxray.truespeech.sets.plants import BURST, cause, event
from voxray.truespeech.sets.takes import RATES, VOICES, Take, cast, swapped, unlike
from voxray.truespeech.sets.takes import _heard as heard_word
from voxray.truespeech.spoken import RATE, Rejected, Speaker, Word
from voxray.truespeech.voices import HELD_OUT, KNOWN
from voxray.types import OptionError

HISS = 32.767  # RMS of the floor, 60 dB under full scale
SEED, CLIPS, DEV = 3, 6, 2
SPEAKER = Speaker("en", "m3", Manner())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets") / "all"
    assert make_sets(place, seed=SEED, clips=CLIPS, dev=DEV, processes=1) == place / "manifest.jsonl"
    return place


@pytest.fixture(scope="module")
def lines(folder):
    return {line["id"]: line for line in map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())}


@pytest.fixture(scope="module")
def of(lines):
    """Return the lines of a set."""
    return lambda name: [line for line in lines.values() if line["set"] == name]


@pytest.fixture(scope="module")
def heard(folder):
    """Return the samples of a file of the folder."""

    def read(name):
        samples, rate = soundfile.read(folder / name, dtype="int16")
        assert rate == RATE
        return samples

    return read


def at(span):
    """Return a span in seconds as a slice of samples; every time is a whole sample."""
    edges = [seconds * RATE for seconds in span]
    assert edges == pytest.approx([round(edge) for edge in edges], abs=1e-6)
    return slice(*map(round, edges))


def word_at(word):
    return at((word["start"], word["end"]))


def rms(samples):
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


def outside(line, samples, margin=0):
    """Return the samples farther than a margin from every word."""
    quiet = np.ones(len(samples), bool)
    for word in line["words"]:
        span = word_at(word)
        quiet[max(0, span.start - margin) : span.stop + margin] = False
    return samples[quiet]


def without(samples, span):
    return np.delete(samples, span)


def test_numbers_are_those_asked_for(of, lines):
    assert {name: len(of(name)) for name in "ABCDEFG"} == {**dict.fromkeys("ABCEFG", CLIPS), "D": 2 * CLIPS}
    for name in "ABCDEFG":
        splits = [line["split"] for line in of(name)]
        assert splits == ["dev"] * (len(splits) * DEV // CLIPS) + ["test"] * (len(splits) * (CLIPS - DEV) // CLIPS)
        assert [line["id"] for line in of(name)] == [f"{name}-{number:04}" for number in range(1, len(splits) + 1)]
    assert list(lines) == sorted(lines)


def test_test_clips_are_held_out(lines):
    for line in lines.values():
        assert line["voice"].split("+")[1] in {"dev": KNOWN, "test": HELD_OUT}[line["split"]]
        assert line["set"] in "EG" or is_held_out(line["text"])
    assert set(VOICES["dev"]) < set(KNOWN)
    assert set(VOICES["test"]) < set(HELD_OUT)


def test_sixty_clips_balance_language_rate_and_voice():
    cycle = [cast(number, "test", np.random.default_rng(number)) for number in range(60)]
    drawn = Counter((one.language, one.manner.rate, one.variant) for one in cycle)
    assert len(drawn) == 60 == len(LANGUAGES) * len(RATES) * len(VOICES["test"])


def test_the_manifest_reads_without_problems(folder, lines):
    manifest = read_manifest(folder / "manifest.jsonl", ["set", "split", "aims"])
    assert manifest.problems == ()
    for item, line in zip(manifest.items, lines.values(), strict=True):
        assert (item.id, item.reference, item.language) == (line["id"], line["text"], line["language"])
        assert [word.text for word in item.words] == [word["word"] for word in line["words"]]
        assert item.groups["set"] == line["set"]
        assert item.groups.get("aims") == line.get("aims")


def test_words_lie_in_order_and_make_the_text(lines, heard):
    for line in lines.values():
        samples = heard(line["audio"])
        edges = [edge for word in line["words"] for edge in (word["start"], word["end"])]
        assert edges == sorted(edges)
        assert 0.1 - 1e-4 < edges[0] < edges[-1] < len(samples) / RATE - 0.1 + 1e-4
        assert 3.0 <= len(samples) / RATE <= 8.0 + 0.6
        joined = (" " if line["language"] in SPACED else "").join(word["word"] for word in line["words"])
        assert joined.replace(" ", "") == line["text"].replace(" ", "")
        assert line["set"] == "E" or joined == line["text"]


def test_there_is_hiss_between_words_and_speech_within(lines, heard):
    alone = [line for line in lines.values() if line["mode"] == "concat"]
    assert {line["set"] for line in alone} == set("ACDEG")
    for line in alone:
        samples = heard(line.get("clean", line["audio"]))
        assert rms(outside(line, samples)) == pytest.approx(HISS, rel=0.04)
        for word in line["words"]:
            said = samples[word_at(word)]
            assert rms(said) > 20 * HISS
            assert all(rms(end) > 1.2 * HISS for end in (said[:160], said[-160:]))  # it begins and ends at its edges
            assert word["exact"] is True
        assert all(early["end"] <= late["start"] - 0.04 + 1e-9 for early, late in pairwise(line["words"]))


def test_fluent_speech_lies_in_its_words(lines, heard):
    fluent = [line for line in lines.values() if line["mode"] == "sentence"]
    assert {line["set"] for line in fluent} == set("BDF")
    for line in fluent:
        samples = heard(line.get("clean", line["audio"]))
        assert rms(outside(line, samples, margin=RATE // 20)) < 1.5 * HISS
        assert all(rms(samples[word_at(word)]) > 5 * HISS for word in line["words"])


def test_a_word_of_a_sentence_ends_where_its_sound_ends():
    sound = np.array([5, 0, 0.05, 0.5, -10, 3, 0.2, 0.01, 0, 8], np.float32)
    assert heard_word(Word("a", 1, 9), sound) == Word("a", 3, 7)
    assert heard_word(Word("a", 4, 5), sound) == Word("a", 4, 5)
    with pytest.raises(Rejected, match="a word without sound"):
        heard_word(Word("a", 8, 9), sound)


def test_pairs_differ_in_one_word_alone(of, lines, heard):
    lengths = set()
    for line in of("C"):
        other = lines[line["pair"]]
        assert other["pair"] == line["id"]
        (aim,) = line["aims"]
        place = aim["word"]
        assert (aim["kind"], aim["against"], aim["label"]) == ("contrast", other["text"], None)
        assert other["aims"][0]["word"] == place
        span, rival = at(aim["span"]), at(other["aims"][0]["span"])
        assert span == word_at(line["words"][place])
        mine, theirs = heard(line["audio"]), heard(other["audio"])
        assert np.array_equal(mine[: span.start], theirs[: rival.start])
        assert np.array_equal(mine[span.stop :], theirs[rival.stop :])
        count = min(span.stop - span.start, rival.stop - rival.start)
        assert rms(mine[span][:count] - theirs[rival][:count].astype(float)) > 0.5 * rms(mine[span])
        texts = [[word["word"] for word in one["words"]] for one in (line, other)]
        assert [one != two for one, two in zip(*texts, strict=True)] == [index == place for index in range(len(texts[0]))]
        assert lexicon(line["language"]).written(()) == ""
        lengths.add(span.stop - span.start)
    assert len(lengths) > CLIPS // 2


def test_an_exchanged_word_sounds_and_looks_unlike():
    said = engine()
    for language in LANGUAGES:
        speaker = Speaker(language, "m3", Manner())
        words = lexicon(language)
        found = 0
        for seed in range(12):
            rng = np.random.default_rng(seed)
            entry = words.words[rng.integers(len(words.words))]
            other = unlike(said, entry, speaker, rng)
            if other is None:
                continue
            found += 1
            assert said.phonemes(entry.read, speaker.voice) != said.phonemes(other.read, speaker.voice)
            assert language in SPACED or not set(entry.written) & set(other.written)
            assert any(entry in entries and other in entries for entries in words.categories.values())
        assert found >= 5


def test_causes_lie_inside_one_word_and_nowhere_else(of, heard):
    assert Counter(line["plant"]["kind"] for line in of("D")) == {"burst": 6, "gap": 3, "word": 3}
    for line in of("D"):
        (aim,) = line["aims"]
        assert (aim["kind"], aim["against"]) == ("planted", line["text"])
        word, span = word_at(line["words"][aim["word"]]), at(aim["span"])
        assert word.start <= span.start < span.stop <= word.stop
        sound, clean = heard(line["audio"]), heard(line["clean"])
        assert np.array_equal(without(sound, span), without(clean, span))
        core = slice(span.start + 80, span.stop - 80)
        plant = sound[core] - clean[core].astype(float)
        if line["plant"]["kind"] == "gap":
            assert rms(sound[core]) == pytest.approx(HISS, rel=0.1)
            assert span.stop - span.start >= round(BURST * RATE)
        else:
            told = rms(clean[word]) * 10 ** (line["plant"]["level"] / 20)
            assert rms(plant) == pytest.approx(told, rel=0.1 if line["plant"]["kind"] == "burst" else 0.5)
        if line["plant"]["kind"] == "burst":
            assert span.stop - span.start == round(BURST * RATE)


def test_splices_hold_two_languages_and_tell_the_longer(of):
    for line in of("E"):
        (aim,) = line["aims"]
        assert aim["kind"] == "language"
        assert aim["label"] == line["language"] != aim["against"]
        assert "en" in (aim["label"], aim["against"])
        inside = [aim["span"][0] <= word["start"] and word["end"] <= aim["span"][1] for word in line["words"]]
        for word, own in zip(line["words"], inside, strict=True):
            assert word["word"] in {one.written for one in lexicon(aim["label"] if own else aim["against"]).words}
        main = [word for word, own in zip(line["words"], inside, strict=True) if own]
        assert aim["span"] == [main[0]["start"], main[-1]["end"]]
        whole = line["words"][-1]["end"] - line["words"][0]["start"]
        assert 0.6 <= (aim["span"][1] - aim["span"][0]) / whole <= 0.8


def test_events_lie_in_their_span_and_nowhere_else(of, heard):
    assert {line["plant"]["beside"] for line in of("F")} == {True, False}
    for line in of("F"):
        (aim,) = line["aims"]
        assert (aim["kind"], aim["label"], aim["against"]) == ("event", line["plant"]["kind"], "Speech")
        span = at(aim["span"])
        sound, clean = heard(line["audio"]), heard(line["clean"])
        assert 0.2 * RATE < span.stop - span.start <= 1.5 * RATE
        assert 4.0 <= len(sound) / RATE <= 7.1
        assert np.array_equal(without(sound, span), without(clean, span))
        plant = sound[span] - clean[span].astype(float)
        assert np.abs(plant[:80]).max() > 0
        speech = clean[word_at(line["words"][0]).start : word_at(line["words"][-1]).stop]
        assert 0.2 < rms(plant) / rms(speech) / 10 ** (line["plant"]["level"] / 20) < 1.2  # a cough has pauses
        apart = all(span.stop <= word_at(word).start or span.start >= word_at(word).stop for word in line["words"])
        assert apart or not line["plant"]["beside"]


def test_moved_clips_have_exactly_the_samples_that_they_say(of, lines, heard):
    assert Counter(line["moved"]["kind"] for line in of("G")) == {"shift": CLIPS // 2, "swap": CLIPS // 2}
    for line in of("G"):
        first = lines[line["pair"]]
        before, after = heard(first["audio"]), heard(line["audio"])
        if line["moved"]["kind"] == "shift":
            lead = round(line["moved"]["seconds"] * RATE)
            assert np.array_equal(after[lead:], before)
            assert rms(after[:lead]) == pytest.approx(HISS, rel=0.05)
            assert line["text"] == first["text"]
            for word, own in zip(line["words"], first["words"], strict=True):
                assert word_at(word) == slice(word_at(own).start + lead, word_at(own).stop + lead)
            continue
        one, other = line["moved"]["words"]
        order = list(range(len(first["words"])))
        order[one], order[other] = other, one
        assert [word["word"] for word in line["words"]] == [first["words"][index]["word"] for index in order]
        for word, index in zip(line["words"], order, strict=True):
            assert np.array_equal(after[word_at(word)], before[word_at(first["words"][index])])
        assert np.array_equal(outside(line, after), outside(first, before))
        assert len(after) == len(before)
        assert line["text"] != first["text"]


def test_equal_seeds_give_equal_bytes_however_they_are_made(folder, tmp_path):
    manifest = make_sets(tmp_path / "some", seed=SEED, names="BGA", clips=CLIPS, dev=DEV, processes=2)
    sounds = sorted(path.relative_to(manifest.parent) for path in manifest.parent.rglob("*.wav"))
    assert len(sounds) == 3 * CLIPS
    assert all((folder / path).read_bytes() == (manifest.parent / path).read_bytes() for path in sounds)
    whole = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert manifest.read_text(encoding="utf-8").splitlines() == [line for line in whole if json.loads(line)["set"] in "ABG"]


def test_what_was_made_is_found_again_and_others_are_refused(folder):
    made = (folder / "manifest.jsonl").stat().st_mtime_ns
    assert make_sets(folder, seed=SEED, clips=CLIPS, dev=DEV) == folder / "manifest.jsonl"
    assert (folder / "manifest.jsonl").stat().st_mtime_ns == made
    with pytest.raises(OptionError, match=rf"holds other sets \(seed {SEED}, names ABCDEFG, clips {CLIPS}, dev {DEV}, format 1\)"):
        make_sets(folder, seed=SEED + 1, clips=CLIPS, dev=DEV)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"names": "AX"}, "there is no set X; choose some of A, B, C, D, E, F, G"),
        ({"names": ""}, "there is no set to make"),
        ({"names": "G"}, "set G moves the clips of set A; choose A as well"),
        ({"seed": -1}, "the seed is -1"),
        ({"clips": 5}, "5 clips, 2 of them dev, cannot be made; give even numbers"),
        ({"clips": 0, "dev": 0}, "0 clips"),
        ({"dev": 8}, "6 clips, 8 of them dev"),
        ({"dev": 1}, "6 clips, 1 of them dev"),
        ({"clips": 4002}, "at most 4000 clips"),
    ],
)
def test_numbers_that_cannot_be_met_are_refused(tmp_path, numbers, message):
    with pytest.raises(OptionError, match=message):
        make_sets(tmp_path / "sets", **({"seed": SEED, "clips": CLIPS, "dev": DEV} | numbers))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(OptionError, match="mine is a file; name a new folder"):
        make_sets(tmp_path / "mine")
    with pytest.raises(OptionError, match="is not empty and holds no sets"):
        make_sets(tmp_path)
    (tmp_path / "sets.json").write_text("[]")
    with pytest.raises(OptionError, match=r"holds other sets \(nothing known\)"):
        make_sets(tmp_path)
    assert (tmp_path / "mine").read_text() == "a file"


def test_sets_that_fail_half_way_leave_nothing(tmp_path):
    told = []

    def stop(done, count):
        told.append((done, count))
        raise RuntimeError("by intent")

    with pytest.raises(RuntimeError, match="by intent"):
        make_sets(tmp_path / "sets", names="B", clips=2, dev=0, processes=1, progress=stop)
    assert told == [(1, len(About(0, "B", 2, 0).plan()))]
    assert list(tmp_path.iterdir()) == []


def test_without_the_engine_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(OptionError, match=r"eSpeak NG, which is not installed; pip install 'voxray\[speech\]'"):
        make_sets(tmp_path / "sets")
    assert list(tmp_path.iterdir()) == []


def test_swapping_moves_what_lies_between():
    words = (Word("a", 2, 4), Word("b", 6, 7), Word("c", 8, 12))
    found = swapped(Take(np.arange(14, dtype=np.int16), words, "a b c", SPEAKER), 0, 2)
    assert found.samples.tolist() == [0, 1, 8, 9, 10, 11, 4, 5, 6, 7, 2, 3, 12, 13]
    assert found.words == (Word("c", 2, 6), Word("b", 8, 9), Word("a", 10, 12))
    assert found.text == "c b a"


def test_a_cause_needs_a_word_that_is_longer():
    short = Take(np.ones(RATE, np.int16), (Word("my", 0, round(BURST * RATE)),), "my", SPEAKER)
    with pytest.raises(Rejected, match="no word is long enough"):
        cause(engine(), short, "burst", np.random.default_rng(0))


def test_an_event_beside_has_room_of_its_own():
    rng = np.random.default_rng(1)
    take = Take(np.full(4 * RATE, 1000, np.int16), (Word("my", 100, 4 * RATE - 100),), "my", SPEAKER)
    places = set()
    for _ in range(12):
        planted = event(take, "Applause", rng, beside=True)
        word, (start, end) = planted.clean.words[0], planted.span
        assert np.array_equal(planted.clean.samples[word.start - 100 : word.end + 100], take.samples)
        assert end + RATE // 10 <= word.start - 100 or start >= word.end + 100 + RATE // 10
        places.add(start < word.start)
    assert places == {True, False}


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line and return its exit code, its output and its complaints."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["sets", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return command


def test_the_command_tells_what_it_found(run, folder):
    code, out, err = run(folder, "--seed", SEED, "--clips", CLIPS, "--dev", DEV)
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder / 'manifest.jsonl'}: {8 * CLIPS} clips, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing argument 'OUT'"),
        (["out", "--clips", 7], "7 clips, 20 of them dev, cannot be made"),
        (["out", "--set", "X"], "'X' is not one of 'A', 'B'"),
        (["out", "--set", "G"], "choose A as well"),
        (["file"], "file is a file; name a new folder"),
        (["file/out"], "the output cannot be written: "),
    ],
)
def test_bad_input_ends_in_one_line(run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, out, err = run(*options)
    assert (code, out) == (2, "")
    assert err.startswith("truespeech: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
