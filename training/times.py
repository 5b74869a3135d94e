"""Train the network that finds where words begin and end (``voxray.seams``), and write its weights.

    python training/times.py OUT [--clips 16000] [--epochs 30] [--processes 2]

Speech comes from ``voxray.truespeech``, in known voices and no held-out sentence, both modes, two clips in five with noise, one in
five in a room; eight of the known voices are kept for the dev set. The bundled model hears each clip, and what it made of the words
that it heard right is what the network learns from. So that it does not learn this one model's habits, what the model heard is
made sharper or softer at random and moved by up to 60 ms, and the sound is coloured and its quiet parts covered.

``OUT/seams.npz`` is then what ``src/voxray/assets`` holds. Made clips are kept in ``OUT/clips`` and not made again. PyTorch trains,
on a GPU where there is one; Voxray itself computes the network with NumPy.
"""

from __future__ import annotations

import argparse
import os
import pickle
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import voxray
from voxray import seams, timing
from voxray.frontend import fbank
from voxray.measures.boundaries import edge, spelled
from voxray.models.sensevoice import Recogniser
from voxray.truespeech.clip import CLEAN, Clip, Recipe
from voxray.truespeech.voices import KNOWN
from voxray.truespeech.workers import clips
from voxray.types import Audio

RATE = 16000
DEV = ("Alicia", "Marco", "f2", "m3", "klatt3", "iven2", "steph", "benjamin")
VARIED = Recipe(
    variants=tuple(voice for voice in KNOWN if voice not in DEV),
    concat=0.35,
    eventful=0.05,
    silent=0.0,
    noisy=0.4,
    rooms=0.2,
    bands=0.15,
    gain=(-15.0, 6.0),
)
QUIET = replace(CLEAN, variants=DEV, concat=0.35)
LOUD = replace(QUIET, noisy=1.0, snr=(10.0, 10.0), rooms=1.0)
RECIPES = {"train": VARIED, "dev": QUIET, "noise": LOUD}
SEED, BATCH, RATE_OF_LEARNING, DECAY = 5000, 64, 4e-3, 1e-2
WIDTH, CHANNELS, DILATIONS = 48, 32, (1, 2, 4, 8, 2)
LONGEST, STRETCH = 800, 220  # rows of a clip and of a stretch; the few that are longer are left out of training
BLUR = 1.0  # rows: standard deviation of the target


# --- Examples -------------------------------------------------------------------------------------------------------------------


@dataclass
class Example:
    """What one clip teaches.

    Attributes:
        bands: (F, 40) float16 nats, not yet set to the sound's level.
        stretches: for each seam the first row, (L, MOVING) and (STILL,) of ``seams.told``, and the true rows at which the word
            after it starts and the word before it ends (NaN where not known).
        words: index of first and last word found, true start and end in seconds (NaN where not known).
        mode: of the clip.
    """

    bands: npt.NDArray[Any]
    stretches: list[tuple[int, npt.NDArray[Any], npt.NDArray[Any], float, float]]
    words: list[tuple[int, int, float, float]]
    mode: str


def truth(clip: Clip, found: Sequence[str]) -> list[tuple[int, int, float, float]]:
    """Return the words that were heard right; a time that the engine announces late is not known, of either word that it parts."""
    result = []
    for index, first, last in spelled(found, [word.text for word in clip.words]):
        word, after = clip.words[index], clip.words[index + 1 : index + 2]
        late = any(one.start == word.end and not one.exact for one in after)
        result.append((first, last, word.start / RATE if word.exact else np.nan, np.nan if late else word.end / RATE))
    return result


def example(model: Recogniser, clip: Clip, rng: np.random.Generator | None) -> Example | None:
    """Return what a clip teaches; what the model heard of it is changed at random where a generator is given."""
    trace = model.trace(Audio(clip.samples), layers=())
    known = truth(clip, [word.text for word in trace.words])
    bank = fbank(Audio(clip.samples)).values
    if not known or len(bank) > LONGEST:
        return None
    clock = timing.Clock(0.0125, 0.01, 0.0, 6.0)
    odds = timing.odds_of(trace.evidence[0].logits(), trace.tokens, trace.blank, 4, clock)
    words = [timing.heard_of(trace.tokens, word) for word in trace.words]
    found = timing.seams_of(words, odds if rng is None else changed(odds, rng), len(bank))
    starts, ends = np.full((2, len(found)), np.nan)
    for first, last, start, end in known:
        starts[first], ends[last + 1] = (start - 0.0125) / 0.01, (end - 0.0125) / 0.01
    stretches = []
    for seam, start, end in zip(found, starts, ends, strict=True):
        moving, still = seams.told(seam)
        stretches.append((seam.first, moving.astype(np.float16), still.astype(np.float16), start, end))
    return Example(bank.reshape(len(bank), seams.BANDS, -1).mean(axis=2).astype(np.float16), stretches, known, clip.mode)


def changed(odds: timing.Odds, rng: np.random.Generator) -> timing.Odds:
    """Return odds as another model might have them: sharper or softer, and often earlier or later, by up to 15 or 60 ms."""
    scale, draw = rng.uniform(0.6, 1.5), rng.random()
    shift = rng.uniform(-1.5, 1.5) if draw < 0.5 else rng.uniform(-6.0, 6.0) if draw < 0.8 else 0.0
    clock = replace(odds.clock, first=odds.clock.first + shift)
    return replace(odds, own=odds.own * scale, blank=odds.blank * scale + rng.normal(), clock=clock)


def make(name: str, seed: int, count: int, path: Path) -> Path:
    """Write the examples of some clips."""
    if not path.exists():
        model: Any = voxray.load_model(threads=1)
        rng = np.random.default_rng(seed)
        found = [example(model, clip, rng if name == "train" else None) for clip in clips(RECIPES[name], seed, count, processes=1)]
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps([one for one in found if one], protocol=5))
        part.rename(path)
    return path


def made(folder: Path, count: int, processes: int) -> dict[str, list[Example]]:
    """Return the examples of every set, made by several processes."""
    folder.mkdir(parents=True, exist_ok=True)
    share = -(-count // processes)
    jobs = [("dev", 77, 600), ("noise", 78, 300), *(("train", SEED + at, share) for at in range(processes))]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        waiting = [(name, pool.submit(make, name, seed, size, folder / f"{name}-{seed}-{size}.pkl")) for name, seed, size in jobs]
        result: dict[str, list[Example]] = {name: [] for name in RECIPES}
        for name, one in waiting:
            result[name] += pickle.loads(one.result().read_bytes())
    return result


# --- The network ----------------------------------------------------------------------------------------------------------------


class Learner(nn.Module):
    """The network of ``voxray.seams`` as PyTorch trains it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(seams.BANDS, WIDTH, 3, padding=1)
        self.deepen = nn.ModuleList([nn.Conv1d(WIDTH, WIDTH, 3, padding=one, dilation=one) for one in DILATIONS[:-1]])
        self.leave = nn.Conv1d(WIDTH, CHANNELS, 1)
        self.look = nn.Conv1d(seams.MOVING, CHANNELS, 5, padding=2, bias=False)
        self.know = nn.Linear(seams.STILL, CHANNELS, bias=False)
        self.look_on = nn.Conv1d(CHANNELS, CHANNELS, 5, padding=2 * DILATIONS[-1], dilation=DILATIONS[-1])
        self.say = nn.Conv1d(CHANNELS, 2, 1)

    def forward(self, view: Tensor, stretch: Stretches) -> Tensor:
        """Return scores (Q, 2, L), far below 0 outside the stretches."""
        values = torch.relu(self.enter(view))
        for layer in self.deepen:
            values = values + torch.relu(layer(values))
        heard = self.leave(values)[stretch.clip]
        inside = stretch.inside[:, None]
        rows = stretch.first[:, None] + torch.arange(inside.shape[2], device=view.device)
        heard = heard.gather(2, rows.clamp(max=heard.shape[2] - 1)[:, None].expand(-1, CHANNELS, -1))
        values = torch.relu(heard + self.look(stretch.moving * inside) + self.know(stretch.still)[..., None]) * inside
        return self.say(torch.relu(values + self.look_on(values))).masked_fill(~inside.bool(), -1e4)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights as ``voxray.seams`` stores them."""
        result = {"dilations": np.array(DILATIONS), "know": self.know.weight.detach().cpu().numpy().T}
        for name, value in self.state_dict().items():
            if not name.startswith("know"):
                array = value.cpu().numpy()
                result[name] = array.transpose(2, 1, 0) if array.ndim == 3 else array
        result["look.bias"] = np.zeros(CHANNELS)
        return {name: value if name == "dilations" else value.astype(np.float16) for name, value in result.items()}


@dataclass
class Stretches:
    """Seams of a batch: clip (Q,), first row (Q,), moving (Q, MOVING, L), still (Q, STILL), inside (Q, L), true rows (Q, 2)."""

    clip: Tensor
    first: Tensor
    moving: Tensor
    still: Tensor
    inside: Tensor
    true: Tensor


class Store:
    """Every example on the device, padded."""

    def __init__(self, examples: Sequence[Example], device: torch.device) -> None:
        longest = max(len(one.bands) for one in examples)
        bands = np.full((len(examples), seams.BANDS, longest), -30, np.float16)
        rows = []
        for at, one in enumerate(examples):
            bands[at, :, : len(one.bands)] = one.bands.T
            rows += [(at, *stretch) for stretch in one.stretches if len(stretch[1]) <= STRETCH and not np.isnan(stretch[3:]).all()]
        moving = np.zeros((len(rows), seams.MOVING, STRETCH), np.float16)
        for at, row in enumerate(rows):
            moving[at, :, : len(row[2])] = row[2].T
        levels = [np.percentile(one.bands.astype(np.float32).max(axis=1), seams.LOUD) for one in examples]

        def there(values: object, kind: type = np.float32) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(np.asarray(values, kind))).to(device)

        owners = np.array([row[0] for row in rows])
        self.bands, self.moving = there(bands, np.float16), there(moving, np.float16)
        self.level, self.rows = there(levels), there([len(one.bands) for one in examples], np.int64)
        self.clip, self.first = there(owners, np.int64), there([row[1] for row in rows], np.int64)
        self.length, self.still = there([len(row[2]) for row in rows], np.int64), there([row[3] for row in rows])
        self.true = there([(row[4] - row[1], row[5] - row[1]) for row in rows])
        self.begin = np.searchsorted(owners, np.arange(len(examples) + 1)).tolist()
        self.count, self.device = len(examples), device

    def batch(self, chosen: Sequence[int], *, coloured: bool) -> tuple[Tensor, Stretches]:
        """Return the views and seams of some clips."""
        index = torch.tensor(chosen, device=self.device)
        longest = int(self.rows[index].max())
        bands, level = self.bands[index, :, :longest].float(), self.level[index][:, None, None]
        if coloured:
            bands = self._coloured(bands, level)
        inside = torch.arange(longest, device=self.device) < self.rows[index][:, None]
        view = ((bands - level + seams.OFFSET) / seams.SCALE).clamp(-seams.REACH, seams.REACH) * inside[:, None]
        members = [range(self.begin[one], self.begin[one + 1]) for one in chosen]
        own = torch.tensor([at for at, member in enumerate(members) for _ in member], device=self.device)
        rows = torch.tensor([row for member in members for row in member], device=self.device)
        length = int(self.length[rows].max())
        within = (torch.arange(length, device=self.device) < self.length[rows][:, None]).float()
        moving = self.moving[rows, :, :length].float()
        return view, Stretches(own, self.first[rows], moving, self.still[rows], within, self.true[rows])

    def _coloured(self, bands: Tensor, level: Tensor) -> Tensor:
        """Return bands with a random colour of the room and microphone, the quiet parts of some covered by noise."""
        count = len(bands)
        knots = torch.randn(count, 1, 5, device=self.device)
        colour = nn.functional.interpolate(knots, seams.BANDS, mode="linear", align_corners=True)[:, 0, :, None]
        depth = 2 + 8 * torch.rand(count, 1, 1, device=self.device)
        covered = torch.rand(count, 1, 1, device=self.device) < 0.3
        rough = torch.where(covered, level - depth + 0.5 * torch.randn_like(bands), torch.full_like(bands, -99.0))
        return torch.maximum(bands + colour, rough)


def loss_of(scores: Tensor, stretch: Stretches) -> Tensor:
    """Return the cross-entropy of scores (Q, 2, L) with the true rows, blurred a little."""
    rows = torch.arange(scores.shape[2], device=scores.device)
    known = ~torch.isnan(stretch.true)
    near = torch.exp(-0.5 * ((rows - stretch.true.nan_to_num(0)[..., None]) / BLUR) ** 2) * stretch.inside[:, None]
    near = near / (near.sum(dim=2, keepdim=True) + 1e-9)
    each = -(near * torch.log_softmax(scores, dim=2)).sum(dim=2)
    return (each * known).sum() / known.sum()


# --- Training -------------------------------------------------------------------------------------------------------------------


def batches(count: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Yield batches of clips in a new order."""
    order = rng.permutation(count)
    size = min(BATCH, count)
    for first in range(0, count - size + 1, size):
        yield sorted(order[first : first + size].tolist())


def train(store: Store, epochs: int) -> Iterator[tuple[int, float, Learner]]:
    """Yield epoch, mean loss and the learner after each."""
    torch.manual_seed(SEED)
    rng, learner = np.random.default_rng(SEED), Learner().to(store.device)
    steps = epochs * len(list(batches(store.count, np.random.default_rng(0))))
    optimiser = torch.optim.AdamW(learner.parameters(), RATE_OF_LEARNING, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE_OF_LEARNING, steps + 1, pct_start=0.1)
    for epoch in range(epochs):
        losses = []
        for chosen in batches(store.count, rng):
            view, stretch = store.batch(chosen, coloured=True)
            loss = loss_of(learner(view, stretch), stretch)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
        yield epoch, float(torch.stack(losses).mean()), learner


def figures(learner: Learner, examples: Sequence[Example]) -> str:
    """Return the errors of starts and ends as Voxray itself finds them with these weights."""
    net = seams.built(learner.arrays())
    errors: dict[tuple[str, str], list[float]] = {}
    for one in examples:
        bands = one.bands.astype(np.float32)
        sound = net.hear(seams.view_of(bands))
        judged = [(first, net.scored(sound, first, moving, still)) for first, moving, still, *_ in one.stretches]
        spans = timing.likeliest_spans(judged, len(bands), timing.SHORTEST) or []
        for first, last, start, end in one.words if spans else ():
            errors.setdefault((one.mode, "starts"), []).append(0.0125 + 0.01 * spans[first][0] - start)
            errors.setdefault((one.mode, "ends"), []).append(0.0125 + 0.01 * spans[last][1] - end)
    told = []
    for (mode, what), values in sorted(errors.items()):
        known = [value for value in values if not np.isnan(value)]
        found = edge(known)
        told.append(f"{mode} {what}: {1000 * found.mean:.1f} ms, {1000 * found.bias:+.1f}, {100 * found.within[1]:.1f} % in 50 ms")
    return "; ".join(told)


def main() -> None:
    """Make the speech, train, and write the weights."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("out", type=Path)
    asked.add_argument("--clips", type=int, default=16000)
    asked.add_argument("--epochs", type=int, default=30)
    asked.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    how = asked.parse_args()
    begun = time.perf_counter()
    sets = made(how.out / "clips", how.clips, how.processes)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = Store(sets["train"], device)
    print(f"{store.count} clips, {len(store.clip)} seams, {time.perf_counter() - begun:.0f} s", flush=True)
    for epoch, loss, learner in train(store, how.epochs):
        if epoch % 10 == 9 or epoch == how.epochs - 1:
            print(f"epoch {epoch}, loss {loss:.4f}, {time.perf_counter() - begun:.0f} s", flush=True)
            for name in ("dev", "noise"):
                print(f"  {name}: {figures(learner, sets[name])}", flush=True)
            weights: dict[str, Any] = learner.arrays()
            np.savez_compressed(how.out / "seams.npz", **weights)


if __name__ == "__main__":
    main()
