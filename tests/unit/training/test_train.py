"""A run of training, cut short and gone on with. Needs PyTorch, as ``make test-training`` installs it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is for training only: make test-training")

from recipe import train as training  # noqa: E402
from recipe.plan import Machine, Plan  # noqa: E402
from recipe.shards import Shelf  # noqa: E402

PLAN = Plan(epochs=3, clips=32, updates=4, window=2, warmup=4, short=(60,))
MACHINE = Machine("cpu", threads=1, makers=1)


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few clips to normalise by and to check on."""
    monkeypatch.setattr(training, "CHECKED", 16)
    measured = training.statistics
    monkeypatch.setattr(training, "statistics", lambda recipe, seed: measured(recipe, seed, 32))


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / training.CHECKPOINT, weights_only=True)["model"]
    return state


def stop_after_an_epoch(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = training.Training.save

    def saved(self: training.Training) -> None:
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "save", saved)
        with pytest.raises(KeyboardInterrupt):
            training.train(run, PLAN, MACHINE)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    training.train(whole, PLAN, MACHINE)
    stop_after_an_epoch(stopped, monkeypatch)
    assert not torch.equal(weights(stopped)["ctc.ctc_lo.weight"], weights(whole)["ctc.ctc_lo.weight"])
    training.train(stopped, PLAN, replace(MACHINE, makers=2))
    with (whole / training.LOG).open(encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    assert [(row["epoch"], row["update"]) for row in log] == [("1", "4"), ("2", "8"), ("3", "12")]
    assert float(log[-1]["ctc"]) < float(log[0]["ctc"])
    assert Shelf(whole, PLAN.clips).kept() == []
    for name, values in weights(whole).items():
        assert torch.equal(values, weights(stopped)[name]), name


def test_a_longer_plan_goes_on(tmp_path: Path) -> None:
    training.train(tmp_path, replace(PLAN, epochs=1), MACHINE)
    first = weights(tmp_path)
    training.train(tmp_path, replace(PLAN, epochs=2), MACHINE)
    state = torch.load(tmp_path / training.CHECKPOINT, weights_only=True)
    assert (state["epoch"], state["update"], len(state["log"])) == (2, 8, 2)
    assert any(not torch.equal(values, first[name]) for name, values in state["model"].items())


def test_another_plan_is_refused(tmp_path: Path) -> None:
    training.train(tmp_path, replace(PLAN, epochs=1), MACHINE)
    with pytest.raises(ValueError, match="begun with another plan"):
        training.train(tmp_path, replace(PLAN, epochs=2, rate=1e-3), MACHINE)
