"""The page: tabs, controls and events. Panels of our own are drawn by ``assets/app/app.js`` from the data that the desk returns."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

import voxray
from voxray.app.answers import ATTENTION
from voxray.app.desk import Desk, Guest, Look, view_of
from voxray.app.server import INTERNAL, one_line
from voxray.app.visits import Ask
from voxray.app.words import TONGUES, words

LOG = logging.getLogger("voxray.app")
HEAD = '<link rel="stylesheet" href="/voxray/app.css"><link rel="icon" href="data:,">'
SCRIPTS = '<script src="/voxray/words.js"></script><script src="/voxray/app.js"></script>'
"""Every panel names them: Gradio loads them once, and no panel begins before they are there."""
FONTS = ("system-ui", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif")
WAITING = 64  # events in the queue
SMOOTHEST = 1.0  # s
KINDS = ("emotion", "language", "event")
MODES = ("clips", "languages", "models")
AGGREGATES = ("mean", "max", "first", "entropy", "value")
NORMALISATIONS = ("none", "minmax", "row_sum", "row_max")
READY = """() => [
  (navigator.language || 'en').toLowerCase().startsWith('zh') ? 'zh' : 'en',
  document.body.classList.contains('dark') ? 'dark' : 'light']"""
DARKEN = """() => { document.body.classList.toggle('dark');
  return document.body.classList.contains('dark') ? 'dark' : 'light'; }"""


def theme() -> Any:
    """Return the look of Gradio's own controls; its fonts are those of the system, so that nothing is fetched."""
    return gr.themes.Base(
        primary_hue="orange", neutral_hue="slate", font=list(FONTS), font_mono=["ui-monospace", "monospace"], radius_size="sm"
    )


def panel(name: str, value: Any = None, **more: Any) -> Any:
    """Return a panel that the page's script draws; it knows the panel by its name."""
    script = f"window.voxray.panel({name!r}, element, props, trigger, watch); // events: 'select', 'upload', 'submit', 'input'"
    return gr.HTML(value=value, html_template=f'<div class="vx vx-{name}"></div>', js_on_load=script, apply_default_css=False,
                   elem_id=f"vx-{name}", head=SCRIPTS, **more)  # fmt: skip


@dataclass(slots=True)
class Lexicon:
    """Which word each control shows, so that all of them can be said again in another language."""

    said: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)

    def add(self, component: Any, **keys: Any) -> Any:
        """Remember the keys of a control's words: ``label``, ``value``, ``placeholder``; choices by a function."""
        self.said.append((component, keys))
        return component

    def again(self, tongue: str, model: Any) -> list[Any]:
        """Return an update for every control, with what a model offers."""
        told = words(tongue)

        def text(key: Any) -> Any:
            return key(told, model) if callable(key) else told[key]

        return [gr.update(**{name: text(key) for name, key in keys.items()}) for _, keys in self.said]


def guarded(desk: Desk, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return an event's function that gives ``work`` the guest, the event's data, and the values of the controls.

    What goes wrong is told in one line, without internals.
    """

    def event(request: gr.Request, told: gr.EventData, *given: Any) -> Any:
        try:
            guest = desk.guest(*_asking(request))
            return work(guest, told._data if isinstance(told._data, dict) else {}, *given)  # noqa: SLF001 - Gradio's own way
        except voxray.VoxrayError as error:
            raise gr.Error(html.escape(one_line(error)), duration=12, print_exception=False) from None
        except Exception:
            LOG.exception("an event failed")
            raise gr.Error(INTERNAL, duration=12, print_exception=False) from None

    return event


def _asking(request: gr.Request) -> tuple[str, str]:
    """Return the cookie and the page of a request, as the guard and the page's script told them."""
    scope: dict[str, Any] = getattr(request.request, "scope", {})
    return scope.get("voxray_owner", ""), request.session_hash or ""


def built(desk: Desk) -> Any:
    """Return the page."""
    with gr.Blocks(title="Voxray", analytics_enabled=False, fill_width=True, delete_cache=(600, 600)) as blocks:
        page = Page(desk)
        page.lay_out()
        page.wire(blocks)
    blocks.queue(default_concurrency_limit=4, max_size=WAITING, api_open=False)
    return blocks


Choices = Callable[[dict[str, str], Any], list[tuple[str, Any]]]
"""Pairs of word and value, from the words of a language and a model."""


def _methods(told: dict[str, str], model: Any) -> list[tuple[str, Any]]:
    """Return the ways to explain a model with what each is, its default first."""
    kinds = [voxray.methods.method_class(name) for name in voxray.methods.names()]
    fitting = [kind for kind in kinds if kind.needs in model.gives or kind.name == ATTENTION]
    first = voxray.methods.default(model)
    proven = {kind.name: "word" in voxray.explains(kind.name) for kind in fitting}
    ordered = sorted(fitting, key=lambda kind: (kind.name != first, not proven[kind.name], kind.name))
    nature = {kind.name: "explains" if proven[kind.name] else "view" for kind in fitting}
    sums = {True: f", {told['adds']}", False: ""}
    return [(f"{one.name} · {told[nature[one.name]]}{sums[one.adds_up]}", one.name) for one in ordered]


def _choices(names: Sequence[str], ending: str = "choice") -> Choices:
    return lambda told, _model: [(told[f"{one}.{ending}"], one) for one in names]


def _layers(told: dict[str, str], model: Any) -> list[tuple[str, Any]]:
    return [(told["layer.all"], ""), *((str(one), str(one)) for one in range((model.cross_shape or (model.layers,))[0]))]


def _heads(told: dict[str, str], model: Any) -> list[tuple[str, Any]]:
    return [(told["head.all"], ""), *((str(one), str(one)) for one in range((model.cross_shape or (0, model.heads))[1]))]


def _modes(told: dict[str, str], _model: Any) -> list[tuple[str, Any]]:
    return [(told[f"mode.{one}"], one) for one in MODES]


class Page:
    """The controls of the page and what happens when they are used."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lexicon = Lexicon()
        self._model = desk.models.open(desk.models.names[0])

    # --- Layout ---------------------------------------------------------------------------------------------------------

    def _dropdown(self, label: str, choices: Any, value: Any, **more: Any) -> Any:
        """Return a dropdown; its choices are texts, or a function of the words that gives pairs of word and value."""
        told = words(TONGUES[0])
        shown = choices(told, self._model) if callable(choices) else list(choices)
        keys = {"label": label} | ({"choices": choices} if callable(choices) else {})
        return self._lexicon.add(
            gr.Dropdown(shown, value=value, label=told[label], interactive=True, min_width=130, **more), **keys
        )

    def _button(self, key: str, **more: Any) -> Any:
        return self._lexicon.add(gr.Button(words(TONGUES[0])[key], **more), value=key)

    def _tab(self, key: str) -> Any:
        return self._lexicon.add(gr.Tab(words(TONGUES[0])[key], id=key), label=key)

    def lay_out(self) -> None:
        """Make every control."""
        with gr.Row(elem_id="vx-top", equal_height=True):
            self.title = panel("title", {})
            self.tongue = gr.Radio([("English", "en"), ("中文", "zh")], value="en", show_label=False, container=False,
                                   min_width=224,
                                   elem_id="vx-tongue", scale=0)  # fmt: skip
            self.dark = self._button("dark", size="sm", min_width=90, scale=0, elem_id="vx-dark")
        self.theme = gr.Textbox("light", visible="hidden", elem_id="vx-theme")
        with gr.Tabs(elem_id="vx-tabs"):
            with self._tab("tab.listen"):
                self._lay_listen()
            with self._tab("tab.attention") as self.attention_tab:
                self._lay_attention()
            with self._tab("tab.tags") as self.tags_tab:
                self._lay_tags()
            with self._tab("tab.why"):
                self._lay_why()
            with self._tab("tab.compare"):
                self._lay_compare()
            with self._tab("tab.live"):
                self._lay_live()

    def _lay_listen(self) -> None:
        told, limits = words(TONGUES[0]), self._desk.options
        examples = [[clip.path.stem, clip.text] for clip in voxray.demo_clips()]
        offer = {"examples": examples, "seconds": limits.max_seconds, "bytes": limits.max_bytes}
        with gr.Row(elem_classes="vx-columns"):
            with gr.Column(scale=1, min_width=280):
                self.intake = panel("intake", offer)
                self.model = self._dropdown("model", self._desk.models.names, self._desk.models.names[0])
                self.language = self._dropdown("language", self._model.languages, self._model.languages[0])
                self.textnorm = self._lexicon.add(gr.Checkbox(label=told["textnorm"], container=False), label="textnorm")
            with gr.Column(scale=3, min_width=340):
                self.look = panel("look", None, overlay=None)
                with gr.Row(elem_id="vx-how"):
                    self.method = self._dropdown("method", _methods, voxray.methods.default(self._model))
                    self.against = self._lexicon.add(
                        gr.Textbox(label=told["against"], placeholder=told["against.none"], max_lines=1, min_width=130,
                                   max_length=200),
                        label="against", placeholder="against.none",
                    )  # fmt: skip
                with gr.Row(visible=False) as self.view_row:
                    self.view = self._view_controls()
                self.decision = panel("decision", None)
                self.firmly = self._button("firmly", size="sm", visible=False)

    def _view_controls(self) -> list[Any]:
        """Return layer, head, aggregation, normalisation and smoothing, in the order of ``_view``."""
        chosen = [
            self._dropdown("layer", _layers, ""),
            self._dropdown("head", _heads, ""),
            self._dropdown("aggregate", _choices(AGGREGATES), "mean"),
            self._dropdown("normalise", _choices(NORMALISATIONS), "none"),
        ]
        smooth = gr.Slider(0, SMOOTHEST, value=0, step=0.06, label=words(TONGUES[0])["smooth"], min_width=150)
        return [*chosen, self._lexicon.add(smooth, label="smooth")]

    def _lay_attention(self) -> None:
        self.attention_hint = panel("hint", {"key": "hint.attention"})
        with gr.Row():
            self.heat_view = self._view_controls()
            self.with_tags = self._lexicon.add(gr.Checkbox(label=words(TONGUES[0])["with.tags"], min_width=130), label="with.tags")
            self.piece = self._dropdown("piece", [("1", 0)], 0, visible=False)
        self.heat = gr.Plot(show_label=False, elem_id="vx-heat")
        self.heat_files = panel("files", None)
        self.heads = panel("heads", None)

    def _lay_tags(self) -> None:
        self.bars = panel("bars", None)
        kinds, told = _choices(KINDS, "kind"), words(TONGUES[0])
        self.kind = self._lexicon.add(gr.Radio(kinds(told, self._model), value=KINDS[0], label=told["kind"]),
                                      label="kind", choices=kinds)  # fmt: skip
        self.tag_piece = self._dropdown("piece", [("1", 0)], 0, visible=False)
        self.labels = gr.Plot(show_label=False, elem_id="vx-labels")
        self.label_sounds = panel("sounds", None)

    def _lay_why(self) -> None:
        told = words(TONGUES[0])
        self.reference = self._lexicon.add(
            gr.Textbox(label=told["reference"], placeholder=told["reference.hint"], lines=2, max_length=5000,
                       elem_id="vx-reference"),
            label="reference", placeholder="reference.hint",
        )  # fmt: skip
        self.ask_why = self._button("why.ask", variant="primary", elem_id="vx-ask-why")
        self.why = panel("why", None)

    def _lay_compare(self) -> None:
        told, limits = words(TONGUES[0]), self._desk.options
        self.mode = self._lexicon.add(
            gr.Radio(_modes(told, self._model), value=MODES[0], label=told["mode"]), label="mode", choices=_modes
        )
        examples = [[clip.path.stem, clip.text] for clip in voxray.demo_clips()]
        offer = {"examples": examples, "seconds": limits.max_seconds, "bytes": limits.max_bytes, "second": True}
        self.second = panel("second", offer)
        names = self._desk.models.names
        self.other_language = self._dropdown("language.other", self._model.languages, self._model.languages[-1], visible=False)
        self.other_model = self._dropdown("model.other", names, names[-1], visible=False)
        self.ask_compare = self._button("compare.ask", variant="primary", elem_id="vx-ask-compare", visible=False)
        self.compared = panel("compare", None)

    def _lay_live(self) -> None:
        self.live = panel("live", {"models": list(self._desk.models.names), "languages": list(self._model.languages)})

    # --- Events ---------------------------------------------------------------------------------------------------------

    def _on(self, trigger: Any, work: Callable[..., Any], inputs: Sequence[Any], outputs: Any, **more: Any) -> Any:
        """Let something happen; ``work`` gets the guest, the event's data, and the inputs.

        Of a control that is moved while its last move is still worked on, only the last place counts. What a panel sends, with data
        of its own, is done each time: Gradio forgets the data of an event that has to wait.
        """
        told = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "always_last"} | more
        return trigger(guarded(self._desk, work), list(inputs), outputs, **told)

    def _sent(self, trigger: Any, work: Callable[..., Any], inputs: Sequence[Any], outputs: Any) -> Any:
        """Let something happen when a panel sends an event with data."""
        return self._on(trigger, work, inputs, outputs, trigger_mode="multiple")

    def wire(self, blocks: Any) -> None:
        """Say what happens when controls are used."""
        self._wire_page(blocks)
        self._wire_listen()
        self._wire_look()
        self._wire_attention()
        self._wire_tags()
        self._wire_rest()

    def _wire_page(self, blocks: Any) -> None:
        spoken = [component for component, _ in self._lexicon.said]
        figures = [self.heat, self.labels]
        begun = self._on(blocks.load, self._begun, [self.tongue, self.theme], [self.tongue, self.theme, *spoken], js=READY)
        begun.then(None, self.tongue, None, js="(tongue) => window.voxray.speak(tongue)", api_visibility="private")
        self._on(self.tongue.input, self._said_again, [self.tongue, self.model], spoken)
        self.tongue.input(None, self.tongue, None, js="(tongue) => window.voxray.speak(tongue)", api_visibility="private")
        again = [self.tongue, self.theme, *self._heat_inputs, self.kind, self.tag_piece]
        self._on(self.tongue.input, self._redrawn, again, figures)
        turned = self._on(self.dark.click, lambda _guest, _data, theme: theme, [self.theme], self.theme, js=DARKEN)
        self._on(turned.then, self._redrawn, again, figures)

        def leave(request: gr.Request) -> None:
            self._desk.leave(*_asking(request))

        blocks.unload(leave)

    def _begun(self, _guest: Guest, _data: Any, tongue: str, theme: str) -> list[Any]:
        """Return the page in the browser's language and theme."""
        return [tongue, theme, *self._lexicon.again(tongue, self._model)]

    def _said_again(self, _guest: Guest, _data: Any, tongue: str, model: str) -> list[Any]:
        return self._lexicon.again(tongue, self._desk.models.open(model))

    @property
    def _heat_inputs(self) -> list[Any]:
        return [*self.heat_view, self.with_tags, self.piece]

    def _redrawn(self, guest: Guest, _data: Any, tongue: str, theme: str, *given: Any) -> list[Any]:
        """Return the figures in another language or theme, those that were drawn before."""
        if guest.visit.trace is None:
            return [gr.skip(), gr.skip()]
        figure = self._tagged(guest, None, tongue, theme, *given[-2:])[1]
        return [self._heat_map(guest, tongue, theme, *given[:-2]), figure]

    def _wire_listen(self) -> None:
        asked = [self.model, self.language, self.textnorm]
        shown = [self.look, self.decision, self.firmly, self.heat, self.heat_files, self.heads, self.bars, self.labels,
                 self.label_sounds, self.why, self.compared, self.piece, self.tag_piece]  # fmt: skip
        self._sent(self.intake.upload, self._uploaded, asked, shown)
        self._sent(self.intake.select, self._example, asked, shown)
        for control in (self.language, self.textnorm):
            self._on(control.input, self._again, asked, shown)
        controls = [self.language, self.other_language, self.method, self.view_row, *self.view[:2], *self.heat_view[:2]]
        fitted = self._on(self.model.input, self._fitted, [self.model, self.language, self.tongue], controls)
        self._on(fitted.success, self._again, asked, shown)

    def _uploaded(self, guest: Guest, data: dict[str, Any], *asked: Any) -> list[Any]:
        return self._recognised(guest, self._claimed(guest, data), asked)

    def _claimed(self, guest: Guest, data: dict[str, Any]) -> voxray.Audio:
        """Return the sound that the visitor has just sent.

        Raises:
            OptionError: when it is not there, or another's.
        """
        thing = self._desk.shelf.take(guest.owner, str(data.get("token", "")))
        if thing is None or thing.media_type != "sound":
            raise voxray.OptionError("that sound is not here any more; send it again")
        audio: voxray.Audio = thing.make()
        return audio

    def _example(self, guest: Guest, data: dict[str, Any], *asked: Any) -> list[Any]:
        return self._recognised(guest, self._bundled(data), asked)

    @staticmethod
    def _bundled(data: dict[str, Any]) -> voxray.Audio:
        clips = {clip.path.stem: clip for clip in voxray.demo_clips()}
        name = str(data.get("example", ""))
        if name not in clips:
            raise voxray.OptionError("there is no such example; choose one that is shown")
        return voxray.load_audio(clips[name].path)

    def _again(self, guest: Guest, _data: Any, *asked: Any) -> list[Any]:
        """Recognise the present sound with other options; without a sound there is nothing to do."""
        return [gr.skip()] * 13 if guest.visit.audio is None else self._recognised(guest, guest.visit.audio, asked)

    def _recognised(self, guest: Guest, audio: voxray.Audio, asked: Sequence[Any]) -> list[Any]:
        found = self._desk.recognise(guest, audio, Ask(str(asked[0]), str(asked[1]), bool(asked[2])))
        pieces = len(guest.visit.trace.pieces)
        piece = gr.update(choices=[(str(one + 1), one) for one in range(max(pieces, 1))], value=0, visible=pieces > 1)
        return [gr.update(value=found, overlay=None), None, gr.update(visible=False), *[None] * 8, piece, piece]

    def _fitted(self, _guest: Guest, _data: Any, model: str, language: str, tongue: str) -> list[Any]:
        """Return what the controls offer for another model."""
        opened, told = self._desk.models.open(model), words(tongue)
        languages = list(opened.languages)
        chosen = language if language in languages else languages[0]
        method = gr.update(choices=_methods(told, opened), value=voxray.methods.default(opened))
        places = [gr.update(choices=choices(told, opened), value="") for choices in (_layers, _heads)]
        offered = [gr.update(choices=languages, value=chosen), gr.update(choices=languages, value=languages[-1])]
        return [*offered, method, gr.update(visible=False), *places, *places]

    # --- The sound behind a decision ------------------------------------------------------------------------------------

    def _wire_look(self) -> None:
        how = [self.method, self.against, *self.view]
        chosen = self._sent(self.look.select, self._chosen, how, self.look)
        self._sent(chosen.success, self._decided, [], [self.decision, self.firmly])
        self._on(
            self.method.input, lambda _guest, _data, method: gr.update(visible=method == "attention"), [self.method], self.view_row
        )
        for control in (self.method, *self.view):
            self._on(control.input, self._looked, how, self.look)
        self._on(self.against.submit, self._looked, how, self.look)
        self._on(self.firmly.click, lambda guest, _data: self._decision(guest, firmly=True), [], self.decision)

    def _chosen(self, guest: Guest, data: dict[str, Any], *how: Any) -> Any:
        return self._shown(guest, str(data.get("target", ""))[:60], how)

    def _looked(self, guest: Guest, _data: Any, *how: Any) -> Any:
        """Show the chosen decision another way; where none was chosen there is nothing to do."""
        return self._shown(guest, guest.visit.target, how) if guest.visit.target else gr.skip()

    def _shown(self, guest: Guest, target: str, how: Sequence[Any]) -> Any:
        look = Look(str(how[0]), str(how[1] or "").strip(), _view(how[2:]))
        return gr.update(overlay=self._desk.look(guest, target, look))

    def _decided(self, guest: Guest, _data: Any) -> list[Any]:
        if guest.visit.trace.decoder is not None:  # nothing of a decoder's decisions is computed frame by frame
            return [None, gr.update(visible=False)]
        return [self._decision(guest, firmly=False), gr.update(visible=True)]

    def _decision(self, guest: Guest, *, firmly: bool) -> Any:
        return self._desk.decision(guest, guest.visit.target, firmly=firmly) if guest.visit.target else None

    # --- Attention and tags ---------------------------------------------------------------------------------------------

    def _wire_attention(self) -> None:
        given = [self.tongue, self.theme, *self._heat_inputs]
        shown = [self.heat, self.heat_files, self.attention_hint]
        opened = self._on(self.attention_tab.select, self._attended, given, shown)
        self._on(opened.then, self._headed, [], self.heads)
        for control in self._heat_inputs:
            self._on(control.input, self._attended, given, shown)
        picked = self._sent(self.heads.select, self._picked, [], self.heat_view[:2])
        self._on(picked.then, self._attended, given, shown)

    @staticmethod
    def _picked(_guest: Guest, data: dict[str, Any]) -> list[str]:
        """Return the layer and head that were chosen in the grid, as the dropdowns hold them."""
        return [str(data.get("layer", "")), str(data.get("head", ""))]

    def _attended(self, guest: Guest, _data: Any, tongue: str, theme: str, *given: Any) -> list[Any]:
        if guest.visit.trace is None:
            return [None, None, {"key": "hint.nothing"}]
        view = _view(given[:5], tags=bool(given[5]))
        files = self._desk.attention_files(guest, view, number=int(given[6] or 0))
        return [self._heat_map(guest, tongue, theme, *given), files, {"key": "hint.attention"}]

    def _heat_map(self, guest: Guest, tongue: str, theme: str, *given: Any) -> Any:
        view = _view(given[:5], tags=bool(given[5]))
        return self._desk.heat_map(guest, view, int(given[6] or 0), theme, words(tongue).__getitem__)

    def _headed(self, guest: Guest, _data: Any) -> Any:
        decoding = guest.visit.trace is None or guest.visit.trace.decoder is not None
        return None if decoding else self._desk.heads(guest)

    def _wire_tags(self) -> None:
        given = [self.tongue, self.theme, self.kind, self.tag_piece]
        shown = [self.bars, self.labels, self.label_sounds]
        self._on(self.tags_tab.select, self._tagged, given, shown)
        for control in (self.kind, self.tag_piece):
            self._on(control.input, self._tagged, given, shown)

    def _tagged(self, guest: Guest, _data: Any, tongue: str, theme: str, kind: str, number: int) -> list[Any]:
        if guest.visit.trace is None:
            return [None, None, None]
        if not any(tag.kind == kind for tag in guest.visit.trace.tags):  # a model without tags, such as Paraformer
            return [{"tags": [], "kind": kind}, None, None]
        figure, told = self._desk.labels(guest, kind, int(number or 0), theme, words(tongue).__getitem__)
        return [told, figure, told]

    # --- Why, compare ---------------------------------------------------------------------------------------------------

    def _wire_rest(self) -> None:
        for trigger in (self.ask_why.click, self.reference.submit):
            self._on(trigger, lambda guest, _data, reference, tongue: self._desk.why(guest, reference or "", tongue),
                     [self.reference, self.tongue], self.why)  # fmt: skip
        controls = [self.second, self.other_language, self.other_model, self.ask_compare]
        self._on(self.mode.input, lambda _guest, _data, mode: [gr.update(visible=mode == one) for one in MODES]
                 + [gr.update(visible=mode != MODES[0])], [self.mode], controls)  # fmt: skip
        self._sent(self.second.upload, lambda guest, data: self._beside(guest, self._claimed(guest, data)), [], self.compared)
        self._sent(self.second.select, lambda guest, data: self._beside(guest, self._bundled(data)), [], self.compared)
        given = [self.mode, self.other_language, self.other_model]
        self._on(self.ask_compare.click, self._compared, given, self.compared)

    def _beside(self, guest: Guest, audio: voxray.Audio) -> Any:
        _, trace = self._desk.present(guest)
        return self._desk.compare(guest, (audio, guest.visit.ask), (trace.audio.name, audio.name))

    def _compared(self, guest: Guest, _data: Any, mode: str, language: str, model: str) -> Any:
        _, trace = self._desk.present(guest)
        ask = guest.visit.ask
        if mode == "languages":
            other = Ask(ask.model, language, ask.textnorm)
            told = self._desk.compare(guest, (trace.audio, other), (ask.language, language))
            return told | {"forced": self._desk.forced(guest, language)}
        told = self._desk.compare(guest, (trace.audio, Ask(model, ask.language, ask.textnorm)), (ask.model, model))
        return told | self._desk.two_models(guest, model)


def _view(given: Sequence[Any], *, tags: bool = False) -> voxray.AttentionView:
    """Return the view that the controls of :meth:`Page._view_controls` ask for."""
    names = ("layer", "head", "aggregate", "normalise", "smooth")
    return view_of(dict(zip(names, given, strict=True)) | {"tags": tags})
