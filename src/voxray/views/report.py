"""The report: one HTML file that shows a run, clip by clip, and needs nothing but a browser.

It holds the summary, a table of clips, and for each clip its sound, its spectrogram with the words and the evidence, the
differences from the reference, and the causes of its mistakes. Summary and table are plain HTML; the sections are drawn by the
page's own script when they are opened. The page loads nothing, and its content security policy lets nothing else run.

Sounds are Ogg Vorbis at their own rate. Spectrograms are log mel energies in 64 steps, one letter of base64 each, which the page
looks up without decoding. The worst clips come first, and keep their sound if not all sounds fit in.

**What is read.** Records as ``docs/records.md`` describes them. Of the summary whatever is there: ``clips``, ``failed``,
``errors`` (counts, with ``rate`` an interval), ``causes``, ``groups``, ``calibration``, ``tags``, ``alignment``, ``run``.
"""

from __future__ import annotations

import base64
import heapq
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxray.types import FloatArray, OptionError, frozen
from voxray.views.overlay import TICKS, mel_bin
from voxray.views.page import Language, check, rendered, texts, write

Record = Mapping[str, Any]

LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
"""The alphabet of base64: a number from 0 to 63 is one letter."""
DARKEST, BRIGHTEST = 4.0, 99.7
"""Percentiles of the log energies that the spectrogram spans; the same as in the overlay picture."""
COLUMNS = 1200
"""The wave form is drawn as the lowest and highest sample of at most so many stretches."""
AROUND = 1.5
"""Seconds of sound kept on each side of a mistake of a long sound: enough to hear the sentence."""
VORBIS = 0.8
"""Compression of the sounds, 0 to 1: about 40 kbit/s at 16 kHz, which leaves noise and clipping to be heard."""
BLOCK = 1 << 15
"""Samples encoded at a time: libsndfile keeps what it is given on the stack, and falls over large sounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """The sound of a clip and its spectrogram, as the caller has them.

    Attributes:
        samples: (S,) float32, nominally within [-1, 1].
        sample_rate: Hz.
        mel: (F, 80) float32 log mel energies of the same sound, nats.
        hop: seconds between their rows.
        start: centre of their row 0, seconds.
    """

    samples: FloatArray
    sample_rate: int
    mel: FloatArray
    hop: float
    start: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", frozen(self.samples, np.float32, "S", "Media.samples"))
        object.__setattr__(self, "mel", frozen(self.mel, np.float32, "F M", "Media.mel"))


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """How much a report holds.

    Attributes:
        title: of the page; empty for the general one.
        clips: how many clips are listed, the worst first.
        seconds: the longest sound that is kept whole; of longer ones as much around their mistakes.
        megabytes: the most that all sounds and spectrograms may take.

    Raises:
        OptionError: when one of them is not above 0, or the megabytes below 0.
    """

    title: str = ""
    clips: int = 1000
    seconds: float = 60.0
    megabytes: float = 24.0

    def __post_init__(self) -> None:
        if self.clips < 1 or not self.seconds > 0 or not self.megabytes >= 0:
            raise OptionError(f"a report needs at least 1 clip, seconds above 0 and megabytes of at least 0, got {self}")


def write_report(
    records: Iterable[Record],
    summary: Mapping[str, Any],
    media: Callable[[Record], Media | None],
    path: str | Path,
    *,
    language: Language = "en",
    options: ReportOptions | None = None,
) -> Path:
    """Write the report of a run as one HTML file.

    Args:
        records: of the clips.
        summary: of the run; may be empty.
        media: gives the sound of a record, or None where it is not at hand.
        path: the file.
        language: that the page opens in; it can be changed there.
        options: how much the page holds; None for the defaults.

    Returns:
        The path.

    Raises:
        OptionError: when there is no such language.
        OutputError: when the file cannot be written.
    """
    check(language)  # before any sound is read
    options = options or ReportOptions()
    total, shown = _worst(records, options.clips)
    packed = _packed(shown, media, options)
    parts = rendered(
        "report",
        texts("{}.json"),
        language,
        data={"ticks": _ticks(), "clips": [_entry(one) for one in shown]},
        options=options,
        summary=summary,
        total=total,
        records=shown,
        media=packed,
        embedded=sum("pieces" in one for one in packed),
        left=any(one.get("missing") == "left" for one in packed),
        fields=_fields(shown),
        causes=sorted({name for one in shown for name in causes_of(one)}),
        wrong=wrong,
        causes_of=causes_of,
    )
    return write(parts, Path(path))


# --- The clips -----------------------------------------------------------------------------------------------------------


def wrong(record: Record) -> int | None:
    """Return how many errors a clip has; None where it was compared with nothing."""
    errors = record.get("errors")
    return None if not errors else errors["substitutions"] + errors["deletions"] + errors["insertions"]


def causes_of(record: Record) -> list[str]:
    """Return the causes of a clip's mistakes, each once, in order of time; ``unexplained`` for a mistake without one."""
    return [*dict.fromkeys(one.get("cause") or "unexplained" for one in record.get("mistakes") or ())]


def _worst(records: Iterable[Record], count: int) -> tuple[int, list[Record]]:
    """Return how many records there are, and the worst of them: failed ones first, then by error rate and count of errors."""
    total = 0

    def counted() -> Iterable[Record]:
        nonlocal total
        for total, record in enumerate(records, 1):  # noqa: B007 the last one is the count
            yield record

    def badness(record: Record) -> tuple[float, ...]:
        count = wrong(record) or 0
        rate = (record.get("errors") or {}).get("rate")
        # An empty reference has no rate; whatever was recognised then is wrong.
        return (not record.get("problem"), -(rate if rate is not None else math.inf if count else 0.0), -count)

    shown = heapq.nsmallest(count, counted(), key=badness)  # as stable as a sort
    return total, shown


def _entry(record: Record) -> dict[str, Any]:
    """Return what the table sorts and filters a clip by."""
    return {
        "id": str(record["id"]),
        "rate": (record.get("errors") or {}).get("rate"),
        "wrong": wrong(record),
        "duration": record.get("duration"),
        "confidence": (record.get("confidence") or {}).get("mean"),
        "causes": causes_of(record),
        "failed": bool(record.get("problem")),
        "groups": {name: str(value) for name, value in (record.get("groups") or {}).items()},
    }


def _fields(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the groups that it makes sense to filter by, and their values: at least 2 and at most 60."""
    values: dict[str, set[str]] = {}
    for record in records:
        for name, value in (record.get("groups") or {}).items():
            values.setdefault(name, set()).add(str(value))
    return {name: sorted(found) for name, found in values.items() if 2 <= len(found) <= 60}


# --- Sounds and spectrograms ---------------------------------------------------------------------------------------------


def _packed(records: Sequence[Record], media: Callable[[Record], Media | None], options: ReportOptions) -> list[dict[str, Any]]:
    """Return the sound of each record as the page wants it, or why there is none; sounds beyond the limit are left out."""
    room = options.megabytes * 1e6
    packed: list[dict[str, Any]] = []
    for record in records:
        if record.get("problem") or room <= 0:
            packed.append({"missing": "missing" if record.get("problem") else "left"})
            continue
        sound = media(record)
        if sound is None or not len(sound.samples) or not len(sound.mel):
            packed.append({"missing": "missing"})
            continue
        told = pack(sound, record, options.seconds)
        room -= sum(len(piece[name]) for piece in told["pieces"] for name in ("sound", "mel", "wave"))
        packed.append(told if room >= 0 else {"missing": "left"})
    return packed


def pack(media: Media, record: Record, longest: float) -> dict[str, Any]:
    """Return a clip's sound and spectrogram as texts, whole or around its mistakes.

    Args:
        media: the sound.
        record: with its mistakes.
        longest: seconds that are kept.

    Returns:
        ``pieces`` in order of time, each with ``start`` and ``end`` in seconds, ``sound`` (a data URI), ``wave`` (lowest and
        highest sample of each column by turns), ``mel`` (``bins`` letters a frame, lowest frequency first) and ``first`` and
        ``hop`` of its frames; ``duration`` of the whole sound; ``around``, how many mistakes the pieces hold, for excerpts.
    """
    duration = len(media.samples) / media.sample_rate
    stretches, around = _stretches(record, duration, longest)
    low, high = np.percentile(media.mel, (DARKEST, BRIGHTEST))
    energy = np.clip((np.nan_to_num(media.mel) - low) / (high - low if high > low else 1.0), 0, 1)
    loudest = float(np.abs(media.samples).max()) or 1.0
    pieces = []
    for start, end in stretches:
        samples = media.samples[round(start * media.sample_rate) : round(end * media.sample_rate)]
        centres = media.start + media.hop * np.arange(len(energy))
        inside = np.flatnonzero((centres >= start) & (centres < end))
        pieces.append(
            {
                "start": round(start, 4),
                "end": round(end, 4),
                "sound": f"data:audio/ogg;base64,{base64.b64encode(vorbis(samples, media.sample_rate)).decode()}",
                "rate": media.sample_rate,
                "wave": _letters(_envelope(samples / loudest)),
                "mel": _letters(energy[inside]),
                "bins": energy.shape[1],
                "first": round(float(centres[inside[0]]) if len(inside) else start, 5),
                "hop": media.hop,
            }
        )
    return {"pieces": pieces, "duration": round(duration, 3), "around": around}


def _stretches(record: Record, duration: float, longest: float) -> tuple[list[tuple[float, float]], int | None]:
    """Return what is kept of a sound in seconds, and around how many mistakes that is; None where it is all or has none."""
    if duration <= longest:
        return [(0.0, duration)], None
    kept: list[tuple[float, float]] = []
    room, held = longest, 0
    for mistake in sorted(record.get("mistakes") or (), key=lambda one: float(one["start"])):
        start, end = max(mistake["start"] - AROUND, 0.0), min(mistake["end"] + AROUND, duration)
        joined = bool(kept) and start <= kept[-1][1]
        added = end - (kept[-1][1] if joined else start)
        if added > room or end <= start:
            continue
        room, held = room - max(added, 0.0), held + 1
        if joined:
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return (kept, held) if kept else ([(0.0, longest)], None)


def vorbis(samples: FloatArray, sample_rate: int) -> bytes:
    """Return a sound, (S,) float32, as an Ogg Vorbis file."""
    import soundfile

    stream = io.BytesIO()
    options = {"format": "OGG", "subtype": "VORBIS", "compression_level": VORBIS}
    with soundfile.SoundFile(stream, "w", sample_rate, 1, **options) as file:
        for first in range(0, len(samples), BLOCK):
            file.write(np.clip(samples[first : first + BLOCK], -1, 1))
    return stream.getvalue()


def _envelope(samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return lowest and highest sample of each column by turns, (2 C,) between 0 and 1 with silence at one half."""
    if not len(samples):
        return np.zeros(0)
    edges = np.linspace(0, len(samples), min(COLUMNS, len(samples)) + 1).astype(np.int64)[:-1]
    both = np.stack([np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)], axis=1)
    return np.asarray((np.clip(np.nan_to_num(both), -1, 1).ravel() + 1) / 2, np.float64)


def _letters(values: npt.NDArray[Any]) -> str:
    """Return numbers between 0 and 1 in 64 steps, a letter each, the last axis fastest."""
    return bytes(LETTERS[np.rint(values * 63).astype(np.uint8).ravel()]).decode("ascii")


# --- The page ------------------------------------------------------------------------------------------------------------


def _ticks() -> list[tuple[float, str]]:
    """Return where frequencies lie in a spectrogram, from 0 at its foot to 1, and what they are called in kHz."""
    places = (mel_bin(np.array(TICKS), 80) + 0.5) / 80
    return [(round(float(place), 4), f"{hertz / 1000:g}") for place, hertz in zip(places, TICKS, strict=True)]
