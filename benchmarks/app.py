"""How quick the web application is, and whether it keeps many visitors apart: start-up, redraw, click to picture, 16 at once.

    PYTHONPATH=tests python benchmarks/app.py [--seconds 120] [--clients 16] [--json figures.json]

Times are those of the visitor: from the request to the whole answer, over HTTP on this machine; of the first page, and of a click
until its picture stands, also in a browser where Playwright and Chromium are installed. The clip of redraw and click is 10 s long.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import voxray
from webserver import Visitor, serving

ASK = ("bundled", "auto", False)
LIMITS = {"start": 6.0, "redraw": 0.3, "view": 0.5, "exact": 3.0}
TRIES = 12


def ten_seconds() -> bytes:
    """Return the bundled clips, one after the other, as a WAV of 10 s."""
    import soundfile

    samples = np.concatenate([voxray.load_audio(clip.path).samples for clip in voxray.demo_clips()])[:160_000]
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def timed(work: Any) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile; the largest of a few."""
    return float(np.percentile(values, 100 * share, method="higher")) if values else float("nan")


def looked(visitor: Visitor, method: str, target: str, layer: str = "", head: str = "", smooth: float = 0.0) -> Any:
    """Ask for the sound behind a decision, as a click does."""
    return visitor.call("vx-look.select", method, "", layer, head, "mean", "none", smooth, target=target)


def alone(address: str) -> dict[str, list[float]]:
    """Return seconds of redraw and click of one visitor."""
    visitor = Visitor(address)
    _, told = visitor.upload(ten_seconds(), "ten.wav")
    shown = visitor.call("vx-intake.upload", *ASK, token=told["token"])[0]["value"]
    words = len(shown["words"])
    found: dict[str, list[float]] = {"exact": [timed(lambda: looked(visitor, "exact", "word:0"))]}
    found["exact"] += [
        timed(lambda number=number: looked(visitor, "exact", f"word:{number}")) for number in range(1, min(words, TRIES))
    ]
    looked(visitor, "attention", "word:0")
    found["view"] = [
        timed(lambda number=number: looked(visitor, "attention", f"word:{number}")) for number in range(min(words, TRIES))
    ]
    found["redraw"] = [
        timed(lambda number=number: looked(visitor, "attention", "word:3", str(number % 14), str(number % 4), 0.06 * (number % 5)))
        for number in range(TRIES)
    ]
    return found


def in_a_browser(address: str) -> dict[str, list[float]]:
    """Return seconds in Chromium: first page, click to picture of an exact map and of a view; nothing where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        first = timed(lambda: (page.goto(address), page.locator(".vx-intake .vx-drop").wait_for()))
        page.locator(".vx-intake input[type=file]").set_input_files(
            {"name": "ten.wav", "mimeType": "audio/wav", "buffer": ten_seconds()}
        )
        page.locator(".vx-look .vx-word").first.wait_for()

        def click(number: int) -> None:
            word = page.locator(f'.vx-look [data-target="word:{number}"]')
            before = page.locator(".vx-facts").text_content() if number else ""
            word.click()
            page.wait_for_function(
                "before => { const one = document.querySelector('.vx-facts'); return one && one.textContent !== before; }",
                arg=before,
                polling=10,
            )

        exact = [timed(lambda number=number: click(number)) for number in range(TRIES)]
        page.get_by_label("Method", exact=True).click()
        page.get_by_role("option", name="attention · a view", exact=True).click()
        page.locator(".vx-facts em", has_text="a view").wait_for()
        view = [timed(lambda number=number: click(number)) for number in range(1, TRIES)]
        browser.close()
    return {"browser first page": [first], "browser exact": exact, "browser view": view}


class Crowd:
    """Visitors at once, each with sounds of their own, who check that every answer is theirs."""

    def __init__(self, address: str, clients: int, seconds: float) -> None:
        self._address, self._clients, self._ends = address, clients, time.perf_counter() + seconds
        model = voxray.load_model()
        self._known = [(clip.path.stem, clip.path.read_bytes(), model.trace(clip.path).text) for clip in voxray.demo_clips()]
        self.times: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.mixed: list[str] = []
        self._lock = threading.Lock()

    def run(self) -> None:
        """Let them come and go."""
        threads = [threading.Thread(target=self._one, args=(number,)) for number in range(self._clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, number: int) -> None:
        visitor = Visitor(self._address)
        turn = number
        while time.perf_counter() < self._ends:
            try:
                self._visit(visitor, number, turn)
            except Exception as error:
                with self._lock:
                    self.errors.append(f"{type(error).__name__}: {error}")
            turn += 1

    def _visit(self, visitor: Visitor, number: int, turn: int) -> None:
        """Send a sound, look at two of its decisions, listen to it; compare everything with what is known."""
        name, content, text = self._known[turn % len(self._known)]
        mine = f"{number}-{turn}-{name}"
        begun = time.perf_counter()
        status, told = visitor.upload(content, mine)
        self._note("upload", begun, problem="" if status == 200 else str(told))
        begun = time.perf_counter()
        shown = visitor.call("vx-intake.upload", *ASK, token=told["token"])[0]["value"]
        self._note("recognise", begun, mixed=(shown["name"], shown["text"]) != (mine, text), what=mine)
        for method in ("exact", "attention"):
            word = turn % len(shown["words"])
            begun = time.perf_counter()
            map_ = looked(visitor, method, f"word:{word}")[0]["props"]["overlay"]
            self._note(method, begun, mixed=map_["label"] != shown["words"][word]["text"].strip(), what=mine)
        begun = time.perf_counter()
        status, sound = visitor.ask(shown["sound"])
        same = np.array_equal(np.frombuffer(sound[44:], "<i2"), np.frombuffer(content[44:], "<i2"))
        self._note("listen", begun, mixed=not same, what=mine, problem="" if status == 200 else str(status))

    def _note(self, kind: str, begun: float, *, mixed: bool = False, what: str = "", problem: str = "") -> None:
        with self._lock:
            self.times[kind].append(time.perf_counter() - begun)
            if mixed:
                self.mixed.append(f"{kind} of {what}")
            if problem:
                self.errors.append(f"{kind}: {problem}")


def main() -> int:
    """Measure and print; returns 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with serving(Path(folder) / "tmp") as served:
            figures: dict[str, list[float]] = {"start": [time.perf_counter() - begun]}
            figures |= alone(served.address) | in_a_browser(served.address)
            for name, values in figures.items():
                limit = f", at most {LIMITS[name]:g} s wanted" if name in LIMITS else ""
                first = f", first {values[0]:.3f}" if len(values) > 1 else ""
                print(
                    f"{name}: median {statistics.median(values):.3f} s, p95 {percentile(values, 0.95):.3f} s, "
                    f"n {len(values)}{first}{limit}"
                )
            crowd = Crowd(served.address, options.clients, options.seconds)
            crowd.run()
            left = served.files()
    print(
        f"\n{options.clients} clients for {options.seconds:g} s: {len(crowd.errors)} errors, {len(crowd.mixed)} mixed-up answers, "
        f"{len(left)} files left"
    )
    for kind, values in crowd.times.items():
        print(f"{kind}: {len(values)} times, median {statistics.median(values):.3f} s, p95 {percentile(values, 0.95):.3f} s")
    for line in (crowd.errors + crowd.mixed + left)[:10]:
        print("  ", line)
    if options.json:
        told = {"alone": figures, "crowd": crowd.times, "errors": crowd.errors, "mixed": crowd.mixed}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 1 if crowd.errors or crowd.mixed or left else 0


if __name__ == "__main__":
    sys.exit(main())
