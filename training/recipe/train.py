"""Training: batches, losses, and a run that can be stopped and goes on where it was."""

from __future__ import annotations

import csv
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipe.evaluate import KINDS, distance
from recipe.model import SenseVoice
from recipe.plan import CLIPS, FEATURES, Machine, Plan, Size
from recipe.shards import Example, Featuriser, Shelf, batches, fitting, produce, statistics
from recipe.tokens import tag, vocabulary
from voxray.frontend import Cmvn
from voxray.models.sensevoice import BLANK, LANGUAGES, PROMPTS, WITH_ITN, WITHOUT_ITN
from voxray.truespeech.clip import CLEAN
from voxray.truespeech.workers import Work, make, processors

TRAIN_SEED, CHECK_SEED, STATISTICS_SEED = 1, 2, 3
CHECKED = 320  # clips that every epoch is checked on
IGNORED = -100
CHECKPOINT, LOG, CMVN = "checkpoint.pt", "log.csv", "cmvn.npz"


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded tensors of some examples.

    Attributes:
        features: (B, T, 560) float32, lengths (B,) int64.
        language, textnorm: (B,) int64 prompt rows.
        tags: (B, 4) int64 ids of the four prompt rows.
        tokens: (sum of counts,) int64, all transcripts one after the other; counts (B,) int64.
        aligned: (B, T) int64 token by frame, from the word times; padding is ignored.
    """

    features: Tensor
    lengths: Tensor
    language: Tensor
    textnorm: Tensor
    tags: Tensor
    tokens: Tensor
    counts: Tensor
    aligned: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; lengths and counts stay on the CPU, where ``ctc_loss`` reads them."""
        moved = ("features", "language", "textnorm", "tags", "tokens", "aligned")
        return replace(self, **{name: getattr(self, name).to(device) for name in moved})


def collate(examples: list[Example], plan: Plan, rng: np.random.Generator) -> Batch:
    """Pad examples and draw their prompts."""
    lengths = np.array([len(example.features) for example in examples])
    features = np.zeros((len(examples), lengths.max(), FEATURES), np.float32)
    aligned = np.full(features.shape[:2], IGNORED)
    language, textnorm, tags, counts = [], [], [], []
    tokens: list[int] = []
    for i, example in enumerate(examples):
        features[i, : lengths[i]] = example.features
        aligned[i, : lengths[i]] = BLANK
        for token, (start, end) in zip(example.target.tokens, example.target.spans, strict=True):
            aligned[i, min(start, lengths[i] - 1) : min(end + 1, lengths[i])] = token
        language.append(LANGUAGES[example.language if rng.random() < plan.told else "auto"])
        punctuated = rng.random() < plan.punctuated
        textnorm.append(WITH_ITN if punctuated else WITHOUT_ITN)
        tags.append((*example.target.tags, tag("withitn" if punctuated else "woitn")))
        text = example.target.tokens + ((example.target.stop,) if punctuated and example.target.stop else ())
        tokens += text
        counts.append(len(text))
    said = np.array(tokens, np.int64)
    return Batch(*(torch.as_tensor(one) for one in (features, lengths, language, textnorm, tags, said, counts, aligned)))


def losses(model: SenseVoice, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of a batch by name, each a mean per token, row or frame."""
    with torch.autocast(batch.features.device.type, torch.bfloat16):
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


def rate_at(update: int, plan: Plan) -> float:
    """Return the learning rate of an update: a straight rise, then a cosine down to a hundredth."""
    if update < plan.warmup:
        return plan.rate * (update + 1) / plan.warmup
    share = (update - plan.warmup) / max(1, plan.epochs * plan.updates - plan.warmup)
    return plan.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, share))) / 2)


class Training:
    """A run: its folder, plan, model, optimiser, log and clock."""

    def __init__(self, folder: Path, plan: Plan, device: torch.device) -> None:
        torch.manual_seed(0)
        self.folder, self.plan, self.device = folder, plan, device
        self.model = SenseVoice(len(vocabulary()), Size()).to(device)
        decay, plain = ([p for p in self.model.parameters() if (p.dim() > 1) is deep] for deep in (True, False))
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98), fused=device.type == "cuda")
        self.epoch, self.update, self.seconds = 0, 0, 0.0
        self.log: list[dict[str, float]] = []
        if (folder / CHECKPOINT).exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, map_location=self.device, weights_only=True)
        plan = {**state["plan"], "epochs": self.plan.epochs}  # a longer plan may go on, its rate following the new length
        if plan != _plain(self.plan) or tuple(state["vocabulary"]) != vocabulary():
            raise ValueError(f"{self.folder} was begun with another plan or other words; train in a new folder")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.update, self.seconds, self.log = (state[name] for name in ("epoch", "update", "seconds", "log"))

    def save(self) -> None:
        """Write checkpoint and log; the old ones stay until the new ones are whole."""
        state = {name: getattr(self, name) for name in ("epoch", "update", "seconds", "log")}
        state |= {"plan": _plain(self.plan), "vocabulary": list(vocabulary())}
        state |= {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        with _whole(self.folder / CHECKPOINT) as part:
            torch.save(state, part)
        with _whole(self.folder / LOG) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in self.log for name in row)))
            writer.writeheader()
            writer.writerows({name: f"{value:.5g}" for name, value in row.items()} for row in self.log)

    def run_epoch(self, examples: list[Example]) -> dict[str, float]:
        """Train one epoch on the window's examples and return its mean losses."""
        rng = np.random.default_rng([TRAIN_SEED, self.epoch])
        begun, done = time.perf_counter(), 0
        if self.epoch < len(self.plan.short):
            examples = [example for example in examples if len(example.features) <= self.plan.short[self.epoch]]
        weights = self._weights()
        sums = torch.zeros(len(weights), device=self.device)
        while done < self.plan.updates:
            for group in islice(batches(examples, self.plan.rows, rng), self.plan.updates - done):
                sums += self._step(collate(group, self.plan, rng).to(self.device), weights)
                done += 1
                if done % 100 == 0:
                    shown = " ".join(f"{name} {value / done:.3f}" for name, value in zip(weights, sums.tolist(), strict=True))
                    print(f"epoch {self.epoch} update {done}: {shown} ({(time.perf_counter() - begun) / done:.3f} s)", flush=True)
        self.epoch += 1
        return {name: value / done for name, value in zip(weights, sums.tolist(), strict=True)}

    def _weights(self) -> dict[str, float]:
        """Return the weight of each loss in this epoch."""
        plan = self.plan
        helped = max(0.0, 1.0 - self.epoch / max(1.0, plan.aligned * plan.epochs))
        return {"ctc": 1.0, "aligned_ctc": helped, "middle": plan.middle, "aligned_middle": plan.middle * helped, "tags": plan.tags}

    def _step(self, batch: Batch, weights: dict[str, float]) -> Tensor:
        """Update the weights once and return the losses, in the order of ``weights``, still on the device."""
        for options in self.optimiser.param_groups:
            options["lr"] = rate_at(self.update, self.plan)
        parts = losses(self.model, batch)
        self.optimiser.zero_grad()
        torch.stack([weight * parts[name] for name, weight in weights.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.update += 1
        return torch.stack([parts[name].detach() for name in weights])

    @torch.no_grad()
    def check(self, examples: list[Example]) -> dict[str, float]:
        """Return the token error rate by language and the share of wrong tags on examples, prompts on auto."""
        plan = replace(self.plan, told=0.0, punctuated=0.0)
        rng = np.random.default_rng(0)
        errors: Counter[str] = Counter()
        totals: Counter[str] = Counter()
        for group in batches(examples, 2000, rng):
            batch = collate(group, plan, rng).to(self.device)
            _, logits = self.model(batch.features, batch.lengths, batch.language, batch.textnorm)
            for example, best in zip(group, logits.argmax(dim=-1).cpu(), strict=True):
                said = torch.unique_consecutive(best[PROMPTS : PROMPTS + len(example.features)])
                if known := list(example.target.tokens):
                    errors[f"ter_{example.language}"] += distance([int(token) for token in said if token != BLANK], known)
                    totals[f"ter_{example.language}"] += len(known)
                for kind, label, found in zip(KINDS, example.target.tags, best, strict=False):
                    errors[f"wrong_{kind}"] += int(found) != label
                    totals[f"wrong_{kind}"] += 1
        return {name: errors[name] / total for name, total in sorted(totals.items())}


def here() -> Machine:
    """Return what this machine offers: a GPU if there is one, and the processors that this process may use.

    On a CPU, one processor makes speech and the others train; more than four bring nothing to batches this small.
    """
    cores = processors()
    if torch.cuda.is_available():
        return Machine("cuda", threads=1, makers=max(1, cores - 1))
    return Machine("cpu", threads=max(1, min(4, cores - 1)), makers=1)


def normalisation(folder: Path) -> Cmvn:
    """Return the run's normalisation, measured once."""
    path = folder / CMVN
    if not path.exists():
        cmvn = statistics(CLIPS, STATISTICS_SEED)
        with _whole(path) as part, part.open("wb") as file:
            np.savez(file, shift=cmvn.shift, scale=cmvn.scale)
    with np.load(path) as file:
        return Cmvn(file["shift"], file["scale"])


def train(folder: Path, plan: Plan, machine: Machine) -> None:
    """Train, or go on with, the run in a folder: ``checkpoint.pt``, ``log.csv``, ``cmvn.npz`` and shards of examples.

    A stopped run loses what it did since its last whole epoch.
    """
    begun = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(machine.threads)
    featuriser = Featuriser(normalisation(folder))
    held_out = Work(replace(CLEAN, held_out=True), CHECK_SEED, featuriser)
    check = [example for example in make(held_out, range(CHECKED)) if fitting(example)]
    training = Training(folder, plan, torch.device(machine.device))
    shelf = Shelf(folder, plan.clips)
    with _maker(training, shelf, Work(CLIPS, TRAIN_SEED, featuriser), machine.makers) as maker:
        window: dict[int, list[Example]] = {}
        while training.epoch < plan.epochs:
            _slide(window, _needed(training), shelf, maker)
            means = training.run_epoch([example for examples in window.values() for example in examples])
            found = training.check(check)
            maker.wanted.value = training.epoch + 2
            training.seconds, begun = training.seconds + time.perf_counter() - begun, time.perf_counter()
            row = {"epoch": training.epoch, "update": training.update, "minutes": training.seconds / 60, **means, **found}
            training.log.append(row)
            training.save()
            print(" ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    shelf.drop_before(plan.epochs)


@dataclass(frozen=True, slots=True)
class _Maker:
    """The process that makes shards, and the number of shards that it shall have made."""

    process: Any
    wanted: Any


@contextmanager
def _maker(training: Training, shelf: Shelf, work: Work[Example], processes: int) -> Iterator[_Maker]:
    """Let another process make the shards that are still needed and missing."""
    context = get_context("spawn")
    wanted = context.Value("i", training.epoch + 2)
    missing = sorted(set(range(_needed(training).start, training.plan.epochs)) - set(shelf.kept()))
    process = context.Process(target=produce, args=(shelf, work, missing, wanted, processes))
    process.start()
    try:
        yield _Maker(process, wanted)
    finally:
        process.terminate()
        process.join()


def _needed(training: Training) -> range:
    """Return the numbers of the shards that the next epoch draws from."""
    return range(max(0, training.epoch + 1 - training.plan.window), training.epoch + 1)


def _slide(window: dict[int, list[Example]], numbers: range, shelf: Shelf, maker: _Maker) -> None:
    """Let the window hold these shards: read the new ones, once they are there, and drop the old ones with their files."""
    for number in numbers:
        while number not in window and not shelf.path(number).exists():
            if not maker.process.is_alive():
                raise ValueError(f"the process that makes speech has ended before shard {number}; start again")
            time.sleep(0.2)
        if number not in window:
            window[number] = shelf.load(number)
    for old in [number for number in window if number < numbers.start]:
        del window[old]
    shelf.drop_before(numbers.start)


def _plain(plan: Plan) -> dict[str, Any]:
    """Return a plan as a checkpoint holds it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(plan).items()}


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a path to write to that takes the place of ``path`` once it is written."""
    part = path.with_suffix(".part")
    yield part
    part.replace(path)
