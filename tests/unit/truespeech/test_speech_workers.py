"""Workers: equal seeds give equal bytes however the work is shared out, and a crash costs one clip only."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from voxray.truespeech.clip import Recipe
from voxray.truespeech.engine import EngineError
from voxray.truespeech.spoken import Rejected
from voxray.truespeech.workers import ATTEMPTS, Work, clips, make

SEED, COUNT, PLACE = 5, 40, 5


def digest(clip):
    truth = json.dumps(clip.truth(), sort_keys=True)
    return hashlib.sha256(clip.samples.tobytes() + truth.encode()).hexdigest(), drawn(clip)


def drawn(clip):
    """Return what is drawn before the engine speaks."""
    return clip.language, clip.emotion, clip.event, clip.mode, clip.text, clip.speaker


@dataclass
class Failing:
    """Digests clips, but fails at the sixth of a group, once in each way of ``ways``; a file counts how often it did."""

    ways: tuple[str, ...]
    tally: Path
    done: int = 0  # in this child

    def __call__(self, clip):
        self.done += 1
        sofar = len(self.tally.read_text())
        if self.done - 1 != PLACE or sofar == len(self.ways):
            return digest(clip)
        self.tally.write_text("x" * (sofar + 1))
        if self.ways[sofar] == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.ways[sofar] == "reject":
            raise Rejected
        raise ZeroDivisionError("by intent")


@pytest.fixture
def failing(tmp_path):
    """Return work that fails in these ways, and a count of how often it did."""
    tally = tmp_path / "tally"
    tally.write_text("")

    def work(*ways):
        return Work(Recipe(), SEED, Failing(ways, tally))

    return work, lambda: len(tally.read_text())


@pytest.fixture(scope="module")
def digests():
    return list(make(Work(Recipe(), SEED, digest), range(COUNT), 1))


def test_every_clip_is_another(digests):
    assert len(set(digests)) == len(digests) == COUNT


def test_two_processes_make_the_same_bytes(digests):
    assert [digest(clip) for clip in clips(Recipe(), SEED, COUNT, 2)] == digests


def test_a_clip_is_drawn_from_its_seed_and_index(digests):
    assert Work(Recipe(), SEED, drawn)(3) == digests[3][1]
    assert Work(Recipe(), SEED + 1, drawn)(3) != digests[3][1]
    assert Work(Recipe(), SEED, drawn)(3, 1) != digests[3][1]


@pytest.mark.parametrize("span", [range(5, 37), range(18, 30, 4)])
def test_a_span_may_begin_anywhere(digests, span):
    assert list(make(Work(Recipe(), SEED, digest), span, 1)) == digests[span.start : span.stop : span.step]


def test_a_failure_costs_its_own_clip_only(digests, failing):
    work, failures = failing
    found = list(make(work("crash", "reject"), range(COUNT), 1))
    assert failures() == 2
    assert [place for place, (one, other) in enumerate(zip(found, digests, strict=True)) if one[1] != other[1]] == [PLACE]
    assert found[PLACE][1] == Work(Recipe(), SEED, drawn)(PLACE, 2)
    # The engine's noise goes on from clip to clip of a group: those after the new draw are said a little differently.
    assert found[:PLACE] == digests[:PLACE]
    assert found[16:] == digests[16:]


def test_five_failures_end_the_work(failing):
    work, failures = failing
    with pytest.raises(RuntimeError, match=f"clip 21 of seed {SEED} crashed the engine or was rejected {ATTEMPTS} times"):
        list(make(work("crash", "reject", "crash", "crash", "reject", "crash"), range(16, 32), 1))
    assert failures() == ATTEMPTS


def test_an_error_is_told_at_once(failing):
    work, failures = failing
    with pytest.raises(RuntimeError, match=rf"clip 5 of seed {SEED} failed: ZeroDivisionError\('by intent'\)"):
        list(make(work("error", "error"), range(16), 1))
    assert failures() == 1


def test_an_unknown_voice_is_no_crash():
    with pytest.raises(EngineError, match=r"has no voice 'ja\+nosuch'"):
        Work(Recipe(languages=("ja",), variants=("nosuch",), silent=0.0), SEED, drawn)(0)


def test_work_that_is_left_early_ends_without_a_word(capfd):
    results = make(Work(Recipe(silent=1.0, eventful=0.0), SEED, drawn), range(1600), 1)
    next(results)
    time.sleep(0.7)  # meanwhile the worker sends what nobody will fetch
    results.close()
    assert multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


def test_a_dead_worker_is_told():
    results = make(Work(Recipe(silent=1.0), SEED, drawn), range(1600), 1)
    next(results)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(RuntimeError, match="a worker ended early"):
        list(results)
