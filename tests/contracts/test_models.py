"""Every family of models keeps the same contract; families are found from the folder."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from voxray.graph.graph import Graph
from voxray.models import BUNDLED, families

METHODS = ("transcribe", "transcribe_batch", "trace", "replay", "describe")
PROPERTIES = ("layers", "heads", "languages", "info", "name")


def test_there_are_families() -> None:
    assert "sensevoice" in [family.__name__.rsplit(".", 1)[1] for family in families()]


@pytest.mark.parametrize("family", families(), ids=lambda family: family.__name__.rsplit(".", 1)[1])
def test_a_family_has_the_methods_of_a_recogniser(family: ModuleType) -> None:
    for name in METHODS:
        assert inspect.isfunction(getattr(family.Recogniser, name)), name
    for name in PROPERTIES:
        assert hasattr(family.Recogniser, name), name
    for name in ("language", "textnorm"):
        assert name in inspect.signature(family.Recogniser.trace).parameters


def test_exactly_one_family_knows_the_bundled_model() -> None:
    graph = Graph(BUNDLED / "model.onnx")
    assert sum(family.recognise(graph) is not None for family in families()) == 1
