"""Live recognition for the page: chunks of the microphone come in, events go out; one recogniser a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

import voxray
from voxray.app import answers
from voxray.app.desk import Desk, Guest, png

CHUNK_SECONDS = 5.0  # most of one chunk
RATES = (8_000, 192_000)


def heard_live(desk: Desk, guest: Guest, content: bytes, asked: Mapping[str, str]) -> dict[str, Any]:
    """Take in a chunk and return what came of it.

    Args:
        desk: the server's.
        guest: who speaks.
        content: mono samples, int16, little-endian.
        asked: ``rate`` in Hz; ``do``: begin, go or end; ``model``, ``language``, ``textnorm`` for the beginning.

    Raises:
        OptionError: when a choice makes no sense, or nothing was begun.
    """
    do = asked.get("do", "go")
    if do == "begin":
        guest.visit.live = begun(desk, asked)
        return {"events": [], "heard": 0.0, "lag": 0.0}
    live = guest.visit.live
    if live is None:
        raise voxray.OptionError("the microphone was not begun on this server, or was forgotten; begin again")
    rate = int(asked["rate"]) if asked.get("rate", "").isdecimal() else 0
    if not RATES[0] <= rate <= RATES[1] or len(content) % 2 or len(content) > 2 * CHUNK_SECONDS * rate:
        raise voxray.OptionError(f"a chunk holds at most {CHUNK_SECONDS:g} s of 16-bit samples at 8 to 192 kHz")
    recogniser, monitor = live
    with desk.work:
        events = recogniser.feed(np.frombuffer(content, "<i2"), rate=rate) if len(content) else []
        if do == "end":
            events += recogniser.finish()
            guest.visit.live = None
    told = {"events": [event_of(one) for one in events], "heard": recogniser.heard, "lag": recogniser.lag}
    if do == "end" and monitor.steps:
        picture = desk.put(guest, partial(png, monitor.draw), "voxray-live.png", "image/png")
        steps = partial(_json_lines, monitor)
        told["files"] = [["file.png", picture], ["file.json", desk.put(guest, steps, "voxray-live.jsonl", "application/json")]]
    return told


def _json_lines(monitor: voxray.AttentionMonitor) -> bytes:
    return "".join(json.dumps(step.to_dict(), ensure_ascii=False) + "\n" for step in monitor.steps).encode()


def begun(desk: Desk, asked: Mapping[str, str]) -> tuple[Any, Any]:
    """Return a recogniser with what the page chose, and its monitor.

    Raises:
        OptionError: when there is no such model or language.
    """
    model = desk.models.open(asked.get("model", ""))
    options = voxray.LiveOptions(language=asked.get("language", "auto"), textnorm=asked.get("textnorm") == "true")
    monitor = voxray.AttentionMonitor(history=100)
    return voxray.LiveRecogniser(model, options, monitor=monitor), monitor


def event_of(event: voxray.LiveEvent) -> dict[str, Any]:
    """Return an event as the page shows it: text, tags, statistics, and a thumbnail of its attention."""
    told = {
        name: getattr(event, name)
        for name in ("kind", "utterance", "start", "end", "stable", "unstable", "heard", "lag", "skipped")
    }
    told["tags"] = [[tag.kind, tag.label, tag.probability] for tag in event.tags]
    step = event.step
    if step is not None:
        told["statistics"] = {name: None if math.isnan(value) else value for name, value in step.statistics.items()}
        told["thumbnail"] = None if step.thumbnail is None or not step.thumbnail.size else answers.packed(step.thumbnail)
        told["words"] = [token.strip() for token in step.tokens]
    return told
