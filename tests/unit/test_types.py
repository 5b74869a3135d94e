"""The vocabulary: frozen, checked at the door, and plain when asked."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

from voxray import types
from voxray.types import (
    Alternative,
    AnatomyError,
    Audio,
    AudioError,
    AudioInfo,
    Features,
    Grid,
    LayerWeights,
    ModelError,
    ModelInfo,
    NormWeights,
    OptionError,
    OutputError,
    Piece,
    Relevance,
    Tag,
    Target,
    Token,
    TraceError,
    Transcript,
    VoxrayError,
    Word,
    frozen,
    plain,
)

TOKEN = Token(7, " hi", 0.1, 0.2, (5, 6), 5, -0.25, (Alternative(7, " hi", -0.25), Alternative(0, "", -2.0)))
WORD = Word("hi", 0.1, 0.2, (0, 1), -0.25)
TAG = Tag("language", "en", {"en": 0.75, "zh": 0.25}, 0.9, "<|en|>", 0, 0.0, 1.0)
PIECE = Piece(0.0, 1.0, (0, 21), (0, 1), 4, "<|en|> a")
MODEL = ModelInfo("sensevoice", "funasr", "a/b.onnx", "fp32", "00")
TARGET = Target("word", "word:0", "hi", "", 0, (4, 5), 0.0, 0.1)
GRID = Grid(np.array([0.0, 1.0, 2.0]), np.array([0.0, 80.0]))
SQUARE = np.eye(2, dtype=np.float32)
NORM = NormWeights(SQUARE[0], SQUARE[1], 1e-5)
VALUES: list[Any] = [
    Audio(np.zeros(4), 8000, "zero"),
    AudioInfo(1.0, 8000, 1, "wav"),
    Features(np.zeros((2, 3)), 0.06, 0.0125),
    Alternative(1, "a", -1.0),
    TOKEN,
    WORD,
    TAG,
    PIECE,
    Transcript("hi", "hi", "<|en|> hi", (TOKEN,), (WORD,), (TAG,), (PIECE,), 1.0),
    MODEL,
    TARGET,
    GRID,
    NORM,
    LayerWeights(NORM, (SQUARE, SQUARE[0]), (SQUARE, SQUARE[0]), SQUARE, True, NORM, (SQUARE, SQUARE[0]), (SQUARE, SQUARE[0])),
    Relevance(
        np.ones((1, 2)),
        GRID,
        TARGET,
        "exact",
        {"cells": "fine"},
        "logit",
        3.5,
        {"bias": 1.0},
        True,
        False,
        MODEL,
        "a",
        "auto",
        None,
        2,
        0.1,
    ),
]


def test_all_values_are_here() -> None:
    found = {one for one in vars(types).values() if isinstance(one, type) and dataclasses.is_dataclass(one)}
    assert {type(one) for one in VALUES} == found


@pytest.mark.parametrize("value", VALUES, ids=lambda one: type(one).__name__)
def test_values_are_frozen_and_plain(value: Any) -> None:
    for one in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, one.name, None)
    with pytest.raises((TypeError, AttributeError)):
        value.another = 1  # slots
    told = plain(value)
    assert list(told) == [one.name for one in dataclasses.fields(value)]
    assert json.loads(json.dumps(told)) == told


def test_arrays_are_read_only_and_their_source_stays_writable() -> None:
    samples, values = np.zeros(4, np.float32), np.zeros((2, 3), np.float32)
    audio, features = Audio(samples), Features(values, 0.06, 0.0125)
    for array in (audio.samples, features.values):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    samples[0] = values[0, 0] = 1
    assert audio.samples.dtype == features.values.dtype == np.float32


def test_frozen_converts_and_checks() -> None:
    found = frozen([[1, 2], [3, 4]], np.float32, "T D", "it")
    assert (found.dtype, found.shape, found.flags.writeable) == (np.float32, (2, 2), False)
    with pytest.raises(ValueError, match=r"^it must have the shape \(T, D\), got \(3,\)$"):
        frozen([1, 2, 3], np.float32, "T D", "it")


def test_shapes_are_checked_by_name() -> None:
    with pytest.raises(ValueError, match=r"^Audio\.samples must have the shape \(S\), got \(2, 4\)$"):
        Audio(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"^Features\.values must have the shape \(T, D\), got \(4,\)$"):
        Features(np.zeros(4), 0.06, 0.0)


@pytest.mark.parametrize("rate", [0, -16000])
def test_a_rate_must_be_positive(rate: int) -> None:
    with pytest.raises(ValueError, match=rf"^Audio\.sample_rate must be positive, got {rate}$"):
        Audio(np.zeros(4), rate)


@pytest.mark.parametrize(
    ("start", "stop", "first", "last"),
    [
        (0.0, 1.0, 0, 10),
        (0.25, 0.7, 2, 7),  # halves round to even, as Python rounds
        (-3.0, 0.4, 0, 4),
        (0.5, 99.0, 5, 10),
        (0.8, 0.2, 0, 0),
        (-2.0, -0.5, 0, 0),
        (1.0, 2.0, 0, 0),
    ],
)
def test_audio_cut(start: float, stop: float, first: int, last: int) -> None:
    audio = Audio(np.arange(10), 10, "count")
    part = audio.cut(start, stop)
    assert part.samples.tolist() == list(range(first, last))
    assert (part.sample_rate, part.name) == (10, "count")
    assert part.duration == pytest.approx((last - first) / 10)


def test_feature_times_are_centres() -> None:
    np.testing.assert_allclose(Features(np.zeros((3, 2)), 0.06, 5.0125).times, [5.0125, 5.0725, 5.1325], rtol=0, atol=1e-12)
    assert Features(np.zeros((0, 2)), 0.06, 0.0).times.shape == (0,)


def test_probabilities() -> None:
    assert TOKEN.confidence == WORD.confidence == pytest.approx(math.exp(-0.25))
    assert TAG.probability == 0.75


def test_tag_probabilities_are_the_tag_s_own() -> None:
    given = {"en": 0.6, "zh": 0.4}
    tag = Tag("language", "en", given, 1.0, "<|en|>", 0, 0.0, 1.0)
    given["en"] = 0.0
    assert tag.probability == 0.6


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_survive_pickling_and_copying(value: Any) -> None:
    for again in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
        assert json.dumps(plain(again)) == json.dumps(plain(value))


@pytest.mark.parametrize("kind", [Audio, Features])
def test_values_with_arrays_compare_by_identity(kind: type) -> None:
    one, other = (next(value for value in VALUES if type(value) is kind) for _ in range(2))
    assert one == other
    assert len({one, copy.deepcopy(one)}) == 2


def test_plain_of_everything_else() -> None:
    told = plain({"a": (1, [np.float32(0.5), np.int64(2)]), "b": np.arange(4).reshape(2, 2), "c": None, "d": TAG.probabilities})
    assert told == {"a": [1, [0.5, 2]], "b": [[0, 1], [2, 3]], "c": None, "d": {"en": 0.75, "zh": 0.25}}
    assert type(told["a"][1][0]) is float
    assert plain(Token) is Token  # a class is no value


def test_transcript_as_dictionary_has_confidences() -> None:
    told = json.loads(json.dumps(VALUES[8].to_dict()))
    assert told["tokens"][0]["confidence"] == told["words"][0]["confidence"] == pytest.approx(math.exp(-0.25))
    assert told["tokens"][0]["alternatives"][1] == {"id": 0, "text": "", "log_prob": -2.0}
    assert told["tags"][0]["probabilities"] == {"en": 0.75, "zh": 0.25}
    assert told["pieces"] == [{"start": 0.0, "end": 1.0, "rows": [0, 21], "tokens": [0, 1], "prompts": 4, "raw_text": "<|en|> a"}]


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (AudioError, ValueError),
        (ModelError, ValueError),
        (AnatomyError, ModelError),
        (OptionError, ValueError),
        (TraceError, ValueError),
        (OutputError, OSError),
    ],
)
def test_errors_have_one_root(error: type[Exception], parent: type[Exception]) -> None:
    assert issubclass(error, VoxrayError)
    assert issubclass(error, parent)


def test_relevance_sums_up() -> None:
    found = next(one for one in VALUES if isinstance(one, Relevance))
    assert found.residual == pytest.approx(3.5 - 2.0 - 1.0)
    np.testing.assert_array_equal(found.over_time, [1.0, 1.0])
    assert found.between(0.5, 1.25) == pytest.approx(0.75)
    assert found.between(-3.0, 9.0) == pytest.approx(2.0)
    assert found.to_dict()["residual"] == pytest.approx(0.5)


def test_a_grid_has_rising_edges() -> None:
    with pytest.raises(ValueError, match=r"^Grid\.times must be at least two rising edges"):
        Grid(np.array([0.0, 0.0]), np.array([0.0, 80.0]))
    with pytest.raises(ValueError, match=r"^Relevance\.scores must have the shape \(1, 2\) of its grid, got \(2, 2\)$"):
        dataclasses.replace(VALUES[-1], scores=np.ones((2, 2)))
