"""Train the bundled model: ``python -m recipe.train RUN`` in the folder ``training``.

Stops at any time and goes on where it was when started again. Writes into RUN: ``cmvn.npz``, shards of examples,
``checkpoint.pt`` after every epoch, ``log.csv``, and ``model.pt`` at the end.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipe.evaluate import TAGS, distance
from recipe.model import AUTO, LANGUAGE_ROWS, WITH_ITN, WITHOUT_ITN, SenseVoice
from recipe.shards import CLIPS, Example, Featuriser, batches, fitting, load, produce, shard_path, statistics
from recipe.tokens import BLANK, PROMPTS, tag, vocabulary
from truespeech.clip import CLEAN, Recipe
from truespeech.workers import Work, make
from voxray.frontend import Cmvn

TRAIN_SEED, CHECK_SEED, STATISTICS_SEED = 1, 2, 3
CHECKED = 320  # clips that every epoch is checked on
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        epochs: each draws ``draws`` times a shard's clips from the newest ``window`` shards, of which one is new.
        rows: padded rows of a batch at most; about sixteen clips.
        rate: the highest learning rate, reached after ``warmup`` updates, falling as a cosine to nothing.
        middle: weight of the CTC at the middle norm.
        tags: weight of the cross-entropy on the four prompt rows.
        aligned: share of the epochs that a frame-wise cross-entropy on the known word times helps in, fading out.
        told: share of the clips whose language prompt names the language; the others have auto.
        punctuated: share of the clips with the prompt ``withitn``, whose transcript ends in a full stop.
        short: longest clip of the first epochs, in output frames.
    """

    epochs: int = 40
    draws: float = 2.0
    window: int = 6
    rows: int = 800
    rate: float = 8e-4
    warmup: int = 400
    middle: float = 0.3
    tags: float = 0.5
    aligned: float = 0.5
    told: float = 0.4
    punctuated: float = 0.3
    short: tuple[int, ...] = (35, 45, 60)
    threads: int = 2
    makers: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tensors of some examples.

    Attributes:
        features: (B, T, 560) float32, lengths (B,).
        language, textnorm: (B,) prompt rows.
        tags: (B, 4) ids of the four prompt rows.
        tokens: all transcripts one after the other; counts (B,).
        aligned: (B, T) token by frame, from the word times; padding is ignored.
    """

    features: Tensor
    lengths: Tensor
    language: Tensor
    textnorm: Tensor
    tags: Tensor
    tokens: Tensor
    counts: Tensor
    aligned: Tensor


def collate(examples: list[Example], plan: Plan, rng: np.random.Generator) -> Batch:
    """Pad examples and draw their prompts."""
    lengths = np.array([len(example.features) for example in examples])
    features = np.zeros((len(examples), lengths.max(), 560), np.float32)
    aligned = np.full(features.shape[:2], IGNORED)
    language, textnorm, tags, counts = [], [], [], []
    tokens: list[int] = []
    for i, example in enumerate(examples):
        features[i, : lengths[i]] = example.features
        aligned[i, : lengths[i]] = BLANK
        for token, (start, end) in zip(example.target.tokens, example.target.spans, strict=True):
            aligned[i, min(start, lengths[i] - 1) : min(end + 1, lengths[i])] = token
        language.append(LANGUAGE_ROWS[example.language] if rng.random() < plan.told else AUTO)
        punctuated = rng.random() < plan.punctuated
        textnorm.append(WITH_ITN if punctuated else WITHOUT_ITN)
        tags.append((*example.target.tags, tag("withitn" if punctuated else "woitn")))
        text = example.target.tokens + ((example.target.stop,) if punctuated and example.target.stop else ())
        tokens += text
        counts.append(len(text))
    return Batch(*(torch.as_tensor(one) for one in (features, lengths, language, textnorm, tags, tokens, counts, aligned)))


def losses(model: SenseVoice, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of a batch by name, each a mean per token, row or frame."""
    with torch.autocast("cpu", torch.bfloat16):
        middle, last = model(batch.features, batch.lengths, batch.language, batch.textnorm)
    result = {}
    for name, logits in (("ctc", last), ("middle", middle)):
        scores = functional.log_softmax(logits[:, PROMPTS:].float(), dim=-1)
        result[name] = _ctc(scores, batch)
        result[f"aligned_{name}"] = functional.nll_loss(scores.flatten(0, 1), batch.aligned.flatten(), ignore_index=IGNORED)
    result["tags"] = functional.cross_entropy(last[:, :PROMPTS].float().flatten(0, 1), batch.tags.flatten())
    return result


def _ctc(scores: Tensor, batch: Batch) -> Tensor:
    total = functional.ctc_loss(
        scores.transpose(0, 1), batch.tokens, batch.lengths, batch.counts, blank=BLANK, reduction="sum", zero_infinity=True
    )
    return total / max(1, int(batch.counts.sum()))


def rate_at(update: int, total: int, plan: Plan) -> float:
    """Return the learning rate of an update: a straight rise, then a cosine down to a hundredth."""
    if update < plan.warmup:
        return plan.rate * (update + 1) / plan.warmup
    share = (update - plan.warmup) / max(1, total - plan.warmup)
    return plan.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, share))) / 2)


class Training:
    """A run: its folder, model, optimiser and clock."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(plan.threads)
        self.folder, self.plan = folder, plan
        self.model = SenseVoice(len(vocabulary()))
        decay, plain = ([p for p in self.model.parameters() if (p.dim() > 1) is deep] for deep in (True, False))
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
        self.epoch, self.update, self.seconds = 0, 0, 0.0
        self.per_epoch = round(plan.draws * CLIPS / 16)
        if self._checkpoint.exists():
            self._resume()

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.update, self.seconds = state["epoch"], state["update"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        state = {name: getattr(self, name) for name in ("epoch", "update", "seconds")}
        state |= {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        part = self._checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.rename(self._checkpoint)

    def run_epoch(self, examples: list[Example]) -> dict[str, float]:
        """Train one epoch on the window's examples and return its mean losses."""
        rng = np.random.default_rng([TRAIN_SEED, self.epoch])
        begun, done = time.perf_counter(), 0
        if self.epoch < len(self.plan.short):
            examples = [example for example in examples if len(example.features) <= self.plan.short[self.epoch]]
        weights = self._weights()
        sums = dict.fromkeys(weights, 0.0)
        self.model.train()
        while done < self.per_epoch:
            for group in islice(batches(examples, self.plan.rows, rng), self.per_epoch - done):
                parts = self._step(collate(group, self.plan, rng), weights)
                sums = {name: sums[name] + part for name, part in parts.items()}
                done += 1
                if done % 100 == 0:
                    shown = " ".join(f"{name} {value / done:.3f}" for name, value in sums.items())
                    print(f"epoch {self.epoch} update {done}: {shown} ({(time.perf_counter() - begun) / done:.3f} s)", flush=True)
        self.epoch += 1
        self.seconds += time.perf_counter() - begun
        return {name: value / done for name, value in sums.items()}

    def _weights(self) -> dict[str, float]:
        """Return the weight of each loss in this epoch."""
        plan = self.plan
        helped = max(0.0, 1.0 - self.epoch / max(1.0, plan.aligned * plan.epochs))
        return {"ctc": 1.0, "aligned_ctc": helped, "middle": plan.middle, "aligned_middle": plan.middle * helped, "tags": plan.tags}

    def _step(self, batch: Batch, weights: dict[str, float]) -> dict[str, float]:
        """Update the weights once and return the losses."""
        for options in self.optimiser.param_groups:
            options["lr"] = rate_at(self.update, self.plan.epochs * self.per_epoch, self.plan)
        parts = losses(self.model, batch)
        self.optimiser.zero_grad()
        torch.stack([weight * parts[name] for name, weight in weights.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.update += 1
        return {name: float(part.detach()) for name, part in parts.items()}

    @torch.no_grad()
    def check(self, examples: list[Example]) -> dict[str, float]:
        """Return the token error rate by language and the share of wrong tags on examples, prompts on auto."""
        self.model.eval()
        plan = Plan(told=0.0, punctuated=0.0)
        rng = np.random.default_rng(0)
        errors: Counter[str] = Counter()
        totals: Counter[str] = Counter()
        for group in batches(examples, 2000, rng):
            batch = collate(group, plan, rng)
            _, logits = self.model(batch.features, batch.lengths, batch.language, batch.textnorm)
            for example, best in zip(group, logits.argmax(dim=-1), strict=True):
                said = torch.unique_consecutive(best[PROMPTS : PROMPTS + len(example.features)])
                if known := list(example.target.tokens):
                    errors[f"ter_{example.language}"] += distance([int(token) for token in said if token != BLANK], known)
                    totals[f"ter_{example.language}"] += len(known)
                for name, label, found in zip(TAGS, example.target.tags, best, strict=False):
                    errors[name] += int(found) != label
                    totals[name] += 1
        return {name: errors[name] / total for name, total in sorted(totals.items())}


def normalisation(folder: Path) -> Cmvn:
    """Return the run's normalisation, measured once."""
    path = folder / "cmvn.npz"
    if not path.exists():
        cmvn = statistics(Recipe(), STATISTICS_SEED)
        np.savez(path, shift=cmvn.shift, scale=cmvn.scale)
    with np.load(path) as file:
        return Cmvn(file["shift"], file["scale"])


def log(folder: Path, values: dict[str, Any]) -> None:
    """Append a line to the run's log."""
    path = folder / "log.csv"
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(values))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.5g}" if isinstance(value, float) else value for name, value in values.items()})


def train(folder: Path, plan: Plan) -> None:
    """Train, or go on with, the run in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    featuriser = Featuriser(normalisation(folder))
    held_out = Work(replace(CLEAN, held_out=True), CHECK_SEED, featuriser)
    check = [one for one in make(held_out, range(CHECKED)) if fitting(one)]
    training = Training(folder, plan)
    context = get_context("spawn")
    wanted = context.Value("i", training.epoch + 2)
    made = [int(path.stem[-4:]) for path in folder.glob("shard-????.npz")]
    numbers = range(max(made) + 1 if made else 0, plan.epochs)
    maker = context.Process(
        target=_make_shards, args=(folder, Work(Recipe(), TRAIN_SEED, featuriser), numbers, wanted, plan.makers)
    )
    maker.start()
    window: dict[int, list[Example]] = {}
    try:
        while training.epoch < plan.epochs:
            _slide(window, range(max(0, training.epoch + 1 - plan.window), training.epoch + 1), folder, maker)
            means = training.run_epoch([example for examples in window.values() for example in examples])
            training.save()
            wanted.value = training.epoch + 2
            found = training.check(check)
            values = {"epoch": training.epoch, "update": training.update, "minutes": training.seconds / 60, **means, **found}
            log(folder, values)
            print(" ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)
        torch.save(training.model.state_dict(), folder / "model.pt")
    finally:
        maker.terminate()


def _slide(window: dict[int, list[Example]], numbers: range, folder: Path, maker: Any) -> None:
    """Let the window hold these shards: read the new ones, once they are there, and drop the old ones with their files."""
    for number in numbers:
        if number not in window:
            window[number] = load(_awaited(shard_path(folder, number), maker))
    for old in [number for number in window if number not in numbers]:
        del window[old]
        shard_path(folder, old).unlink(missing_ok=True)


def _make_shards(folder: Path, work: Work[Example], numbers: range, wanted: Any, processes: int) -> None:
    os.nice(5)  # the training goes first
    produce(folder, work, numbers, wanted, processes)


def _awaited(path: Path, maker: Any) -> Path:
    while not path.exists():
        if not maker.is_alive():
            raise SystemExit(f"{path.name} is missing and its maker has ended; start again")
        time.sleep(0.2)
    return path


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    defaults = asdict(Plan())
    for name in ("epochs", "threads", "makers"):
        parser.add_argument(f"--{name}", type=int, default=defaults[name])
    options = vars(parser.parse_args())
    train(options.pop("run"), Plan(**options))


if __name__ == "__main__":
    main()
