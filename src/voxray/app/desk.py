"""The desk: what a visitor asks is done here, with the library, and comes back as data for the page.

Nothing in it knows of Gradio. Every function takes the visitor and what was chosen, and raises ``VoxrayError`` with one line where
that makes no sense.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import voxray
from voxray.app import Options, answers, figures
from voxray.app.shelf import Shelf
from voxray.app.visits import Ask, Models, Visit, Visits

Payload = answers.Payload
BUDGET = 60.0  # s for one explanation
WHY_SECONDS = 60.0  # s for the tests of all mistakes together
MOST_TESTED = 40  # mistakes; where there are more, the two texts hardly belong together
KEPT = 64 << 20  # bytes of attention that a visit holds in memory; more is computed again when it is asked for
PIECE, FRAME = 30.0, 0.06  # s; the longest piece of sound, and a frame
LONGEST_REFERENCE = 4000  # characters
DPI = 150
THEMES = ("light", "dark")
NO_SOUND = "there is no sound yet; drop a clip, record one, or choose an example"


@dataclass(frozen=True, slots=True)
class Guest:
    """Who asks: the cookie of the browser, the name of the page, and what the server knows of both."""

    owner: str
    page: str
    visit: Visit


@dataclass(frozen=True, slots=True)
class Look:
    """How the sound behind a decision is to be shown.

    Attributes:
        method: of explaining, or ``attention`` for a view of it.
        against: rival of the target; empty for the likeliest others.
        view: which attention, where that is the method.
    """

    method: str = "exact"
    against: str = ""
    view: voxray.AttentionView = field(default_factory=voxray.AttentionView)


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that the visitors of one server share, and the work that is done for them."""

    options: Options
    models: Models
    shelf: Shelf = field(default_factory=Shelf)
    visits: Visits = field(default_factory=Visits)
    work: Any = field(default_factory=lambda: threading.BoundedSemaphore(2))  # heavy work at once; the others wait

    def guest(self, owner: str, page: str) -> Guest:
        """Return who asks."""
        if not owner or not page:
            raise voxray.OptionError("the page cannot tell who you are; allow cookies and reload it")
        return Guest(owner, page, self.visits.of(owner, page))

    def leave(self, owner: str, page: str) -> None:
        """Forget a page that was closed."""
        self.shelf.withdraw(self.visits.end(owner, page))

    # --- Sounds and files -----------------------------------------------------------------------------------------------

    def put(self, guest: Guest, make: Callable[[], Any], name: str, media_type: str) -> str:
        """Put something that belongs to the present sound on the shelf and return its address."""
        token = self.shelf.put(guest.owner, make, name=name, media_type=media_type)
        guest.visit.tokens.append(token)
        return f"/voxray/file/{token}"

    def sound(self, guest: Guest, audio: voxray.Audio, name: str = "") -> str:
        """Return the address of a sound."""
        return self.put(guest, lambda: written(partial(voxray.write_sound, audio), "sound.wav"), name, "audio/wav")

    # --- Recognition ----------------------------------------------------------------------------------------------------

    def recognise(self, guest: Guest, audio: voxray.Audio, ask: Ask) -> Payload:
        """Recognise a sound and make it the present one."""
        model = self.models.open(ask.model)
        if ask.language not in model.languages:
            raise voxray.OptionError(
                f"{ask.model} has no language {ask.language[:20]!r}; choose one of {', '.join(model.languages)}"
            )
        with self.work:
            trace = model.trace(audio, ask.language, textnorm=ask.textnorm, layers=None if _weight(model, audio) <= KEPT else ())
        self.shelf.withdraw(guest.visit.begin(audio, ask, trace))
        return answers.heard(trace, self.sound(guest, audio)) | {"files": self.files(guest)}

    def present(self, guest: Guest) -> tuple[Any, voxray.Trace]:
        """Return the model and the trace of the present sound.

        Raises:
            OptionError: when there is none yet.
        """
        if guest.visit.trace is None:
            raise voxray.OptionError(NO_SOUND)
        return self.models.open(guest.visit.ask.model), guest.visit.trace

    def files(self, guest: Guest) -> list[list[str]]:
        """Return what can be downloaded of the present recognition: the key of each name, and its address."""
        _, trace = self.present(guest)
        told = json.dumps(trace.to_dict(), ensure_ascii=False, indent=1).encode
        found: list[tuple[str, str, str, Callable[[], Any]]] = [
            ("file.json", "voxray-recognition.json", "application/json", told),
            ("file.trace", "voxray.trace", "application/octet-stream", lambda: written(trace.save, "clip.trace")),
        ]
        return [[key, self.put(guest, make, name, kind)] for key, name, kind, make in found]

    # --- The sound behind a decision ------------------------------------------------------------------------------------

    def look(self, guest: Guest, target: str, look: Look) -> Payload:
        """Return the sound behind a decision, and make that decision the chosen one."""
        _, trace = self.present(guest)
        guest.visit.target = target
        if look.method == answers.ATTENTION:
            view = replace(look.view, tags=not target.startswith(("word:", "token:")))
            return answers.attention_of(trace, target, view) | {"files": self.attention_files(guest, view, target)}
        found = self.relevance(guest, target, look)
        files: list[list[str]] = [
            ["file.png", self.put(guest, partial(png, partial(voxray.plot.relevance, found, trace)), "voxray-relevance.png",
                                  "image/png")],
            ["file.json", self.put(guest, lambda: json.dumps(found.to_dict(), ensure_ascii=False).encode(), "voxray-relevance.json",
                                   "application/json")],
        ]  # fmt: skip
        sounds = {}
        if (found.scores > 0).any():
            for keep in ("evidence", "rest"):
                audio = partial(voxray.evidence_sound, trace.audio, found, keep=cast("Any", keep))
                make = partial(_sound_file, audio)
                sounds[keep] = self.put(guest, make, f"voxray-{keep}.wav", "audio/wav")
        return answers.relevance_of(found) | {"files": files, "sounds": sounds}

    def relevance(self, guest: Guest, target: str, look: Look) -> voxray.Relevance:
        """Return the relevance of a decision of the present sound; what was asked before is not computed again."""
        model, trace = self.present(guest)

        def make() -> voxray.Relevance:
            with self.work:
                return voxray.explain(model, trace, target, method=look.method, against=look.against or None, seconds=BUDGET)

        return guest.visit.once(("relevance", target, look.method, look.against), make)

    def decision(self, guest: Guest, target: str, *, firmly: bool) -> Payload:
        """Return how a decision came about; ``firmly`` asks a second method and noisy versions of the sound, too."""
        model, trace = self.present(guest)
        asked: dict[str, Any] = {} if firmly else {"second_method": None, "versions": 0}

        def make() -> voxray.Decision:
            with self.work:
                return voxray.decisions(model, trace, [target], **asked).decisions[0]

        return answers.decision_of(guest.visit.once(("decision", target, firmly), make)) | {"target": target, "firmly": firmly}

    # --- Attention ------------------------------------------------------------------------------------------------------

    def piece(self, guest: Guest, number: int) -> voxray.Trace:
        """Return one piece of the present sound."""
        return self.present(guest)[1].piece(number)

    def heat_map(self, guest: Guest, view: voxray.AttentionView, number: int, theme: str, say: figures.Words) -> Any:
        """Return the heat map of attention as a figure."""
        return figures.heat_map(voxray.attention_map(self.piece(guest, number), view), theme, say)

    def attention_files(self, guest: Guest, view: voxray.AttentionView, target: str = "", number: int = 0) -> list[list[str]]:
        """Return the pictures of attention that can be downloaded."""
        _, trace = self.present(guest)
        number = answers.piece_of(trace, target) if target else number
        part = trace.piece(number)
        first = sum(1 for word in trace.words if word.tokens[0] < trace.pieces[number].tokens[0])
        word = int(target.removeprefix("word:")) - first if target.startswith("word:") else None
        draw = partial(voxray.plot.overlay, part, view, word=word) if target else partial(voxray.plot.attention, part, view)
        found = [["file.png", self.put(guest, lambda: png(draw), "voxray-attention.png", "image/png")]]
        if not target:
            every = partial(voxray.plot.heads, part)
            found.append(["file.heads", self.put(guest, lambda: png(every), "voxray-heads.png", "image/png")])
        return found

    def heads(self, guest: Guest) -> Payload:
        """Return what every head of the present sound looks at."""
        model, trace = self.present(guest)

        def make() -> voxray.LanguageStudy:
            with self.work:
                return voxray.compare_languages(model, [voxray.Spoken(trace.audio)], force=False)

        part = trace.piece(0)
        pictures = [
            self.put(guest, partial(png, partial(voxray.plot.heads, part, theme=theme)), "", "image/png") for theme in THEMES
        ]
        return answers.heads_of(guest.visit.once("heads", make)) | {"pictures": pictures}

    # --- Tags -----------------------------------------------------------------------------------------------------------

    def labels(self, guest: Guest, kind: str, number: int, theme: str, say: figures.Words) -> tuple[Any, Payload]:
        """Return the figure of which moments of a piece spoke for which label of a kind, and the sound behind each."""
        model, trace = self.present(guest)
        asked = answers.labels_asked(trace, kind, number)

        def make() -> list[voxray.Relevance]:
            with self.work:
                return voxray.explain(model, trace, asked)

        found = guest.visit.once(("labels", kind, number), make)
        sounds = [
            [one.target.label, self.put(guest, partial(_sound_file, partial(voxray.evidence_sound, trace.audio, one)),
                                        "voxray-evidence.wav", "audio/wav")]
            for one in found
            if (one.scores > 0).any()
        ]  # fmt: skip
        make_png = partial(png, partial(voxray.plot.labels, found, trace.piece(number)))
        files = [["file.png", self.put(guest, make_png, "voxray-labels.png", "image/png")]]
        return figures.label_map(found, theme, say), {"tags": answers.tags(trace), "kind": kind, "sounds": sounds, "files": files}

    # --- Why ------------------------------------------------------------------------------------------------------------

    def why(self, guest: Guest, reference: str, tongue: str) -> Payload:
        """Return what is wrong against the right text, with the report."""
        model, trace = self.present(guest)
        if len(reference) > LONGEST_REFERENCE:
            raise voxray.OptionError(f"the right text has more than {LONGEST_REFERENCE} characters; give that of this clip alone")

        def make() -> voxray.Why:
            with self.work:
                wrong = len(voxray.diagnose(model, trace, reference).mistakes)
                inquiry = voxray.Inquiry(
                    language=trace.language,
                    textnorm=trace.textnorm,
                    causes=wrong <= MOST_TESTED,
                    seconds=WHY_SECONDS / max(wrong, 1),
                )
                return voxray.why(model, trace, reference, inquiry)

        found = guest.visit.once(("why", reference), make)
        record = {"id": trace.audio.name, "audio": trace.audio.name, "groups": {}} | found.to_dict()

        def report() -> bytes:
            sounds = {record["id"]: trace.audio}
            return written(lambda path: voxray.write_report([record], sounds, path, language=cast("Any", tongue)), "report.html")

        page = self.put(guest, report, "", "text/html; charset=utf-8")
        told = partial(json.dumps, record, ensure_ascii=False, indent=1)
        files = [
            ["file.json", self.put(guest, lambda: told().encode(), "voxray-why.json", "application/json")],
            ["file.report", self.put(guest, report, "voxray-report.html", "text/html; charset=utf-8")],
        ]
        return answers.why_of(record, page) | {"files": files}

    # --- Compare --------------------------------------------------------------------------------------------------------

    def compare(self, guest: Guest, other: tuple[voxray.Audio, Ask], names: tuple[str, str]) -> Payload:
        """Return the present recognition beside another one.

        Args:
            guest: who asks.
            other: the sound and how to recognise it.
            names: what to call the two sides.
        """
        _, trace = self.present(guest)
        audio, ask = other
        model = self.models.open(ask.model)
        if ask.language not in model.languages:
            raise voxray.OptionError(
                f"{ask.model} has no language {ask.language[:20]!r}; choose one of {', '.join(model.languages)}"
            )
        with self.work:
            second = model.trace(audio, ask.language, textnorm=ask.textnorm)
        sides = [answers.side_of(name, one, self.sound(guest, one.audio)) for name, one in zip(names, (trace, second), strict=True)]
        study = self._study(guest, (trace, second), other)
        pictures = [self.put(guest, partial(png, partial(voxray.plot.languages, study, kind="clips", theme=theme)), "", "image/png")
                    for theme in THEMES] if study is not None else []  # fmt: skip
        return {"sides": sides, "difference": answers.difference_of(trace.text, second.text), "pictures": pictures}

    def _study(self, guest: Guest, traces: tuple[voxray.Trace, voxray.Trace], other: tuple[voxray.Audio, Ask]) -> Any:
        """Return the study whose picture puts two clips of one model on one scale of time and colour; None where it has none."""
        if other[1].model != guest.visit.ask.model or traces[0].audio is other[0] or traces[0].decoder is not None:
            return None
        model, _ = self.present(guest)
        with self.work:
            return voxray.compare_languages(model, [voxray.Spoken(one.audio) for one in traces], force=False)

    def two_models(self, guest: Guest, name: str) -> Payload:
        """Return what the library says of the model in use and another one on the present sound; layers are exchanged, too."""
        model, trace = self.present(guest)
        other = self.models.open(name)
        depth = voxray.ComparisonDepth(swaps=1, rounds=0)
        with self.work:
            found = voxray.compare_models(
                model, other, [trace.audio], language=trace.language, textnorm=trace.textnorm, depth=depth
            )
        told = partial(json.dumps, found.to_dict(), ensure_ascii=False, indent=1)
        files = [["file.json", self.put(guest, lambda: told().encode(), "voxray-models.json", "application/json")]]
        return {"verdict": [*found.verdict, *found.remarks], "files": files}

    def forced(self, guest: Guest, language: str) -> Payload:
        """Return what becomes of the present sound when the model is told a language: the library's study of it."""
        model, trace = self.present(guest)
        with self.work:
            study = voxray.compare_languages(model, [voxray.Spoken(trace.audio)], force=[language])
        told: Payload = study.clips[0].forced[0].to_dict()
        return told


# --- Files made in memory ---------------------------------------------------------------------------------------------------


def written(write: Callable[[Path], Any], name: str) -> bytes:
    """Return what a function of the library writes to a file; the file is gone afterwards."""
    with TemporaryDirectory(prefix="voxray-") as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def png(draw: Callable[..., Any]) -> bytes:
    """Return a picture of the library as PNG."""
    return written(lambda path: draw(path=path, dpi=DPI), "picture.png")


def _weight(model: Any, audio: voxray.Audio) -> float:
    """Return about how many bytes the attention of a whole sound takes."""
    rows = min(audio.duration, PIECE) / FRAME
    return float(model.layers * model.heads * rows**2 * 4 * max(audio.duration / PIECE, 1))


def _sound_file(make: Callable[[], voxray.Audio]) -> bytes:
    return written(lambda path: voxray.write_sound(make(), path), "sound.wav")


def view_of(choices: Mapping[str, Any]) -> voxray.AttentionView:
    """Return the view that the controls of the page ask for.

    Raises:
        OptionError: when a choice makes no sense.
    """
    try:
        layer, head = (None if choices[name] in ("", None) else int(choices[name]) for name in ("layer", "head"))
        smooth = float(choices["smooth"] or 0)
    except (TypeError, ValueError) as error:
        raise voxray.OptionError("layer and head are numbers from the lists, smoothing is in seconds") from error
    return voxray.AttentionView(layer, head, choices["aggregate"], choices["normalise"], smooth, bool(choices.get("tags")))
