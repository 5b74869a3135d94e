"""Explains decisions: puts targets, a method and a model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, overload

from voxray.case import Case, Meter
from voxray.lens import RIVALS, Lens, lens
from voxray.methods import Explainer, Found, Needs, build, check_fits, default, kept_layers
from voxray.standing import standing
from voxray.targets import Aim, resolve
from voxray.trace import Trace
from voxray.types import OptionError, Progress, Relevance, TraceError

if TYPE_CHECKING:
    from voxray.models import Explainable

COPIES = "the text-norm row copies its prompt: nothing in the sound decides it"


@overload
def explain(model: Explainable, source: Any, target: str = "text", **options: Any) -> Relevance: ...
@overload
def explain(model: Explainable, source: Any, target: Sequence[str], **options: Any) -> list[Relevance]: ...
def explain(
    model: Explainable,
    source: Any,
    target: str | Sequence[str] = "text",
    *,
    against: str | None = None,
    method: str | None = None,
    language: str = "auto",
    textnorm: bool = False,
    passes: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Relevance | list[Relevance]:
    """Say which part of the sound caused a decision.

    Args:
        model: an open model.
        source: a trace of it, or a sound: a path, bytes, file object, array or ``Audio``.
        target: ``token:5``, ``word:3``, ``word:"hello"``, ``text``, ``language``, ``emotion``, ``event``, ``textnorm``, or a label
            such as ``emotion:SAD``; or several of them, which are explained together. Of the tags those that the model decides.
        against: a rival: another token, wording or label. None for the likeliest others.
        method: see ``voxray explain --list``; None for ``exact``, or for ``occlusion`` where the model gives no gradients, as those
            with a decoder.
        language: prompt for a sound; a trace has its own.
        textnorm: prompt for a sound; a trace has its own.
        passes: budget in forward passes; None for what the method takes.
        seconds: budget in seconds.
        progress: called as ``progress(done, planned)`` in passes.
        **options: of the method.

    Returns:
        Relevance, or a list of it where several targets are asked for.

    Raises:
        OptionError: when there is no such target, method or option, the rival cannot compete, the method needs what such a model
            does not give, or the budget is too small.
        ModelError: when the file has an operator without a gradient rule and the method needs gradients.
        TraceError: when the trace was made by another model.
        AudioError: when the sound cannot be read.
    """
    if against is not None and not isinstance(against, str):
        raise OptionError(f"a rival is a text, got {against!r}; give another token, wording or label")
    method = default(model) if method is None else method
    how = build(method, options)
    check_fits(method, model)
    if not isinstance(passes, (int, type(None))):
        raise OptionError(f"a budget of passes is a whole number, got {passes!r}")
    if passes is not None and passes < 1:
        raise OptionError(f"a budget of {passes} passes allows nothing; give at least 1")
    if seconds is not None and not seconds > 0:
        raise OptionError(f"a budget of {seconds} s allows nothing; give more")
    trace = live_trace(model, source, method=how, language=language, textnorm=textnorm)
    wanted = _names(target)
    found: dict[int, Relevance] = {}
    for places, case in _cases(model, trace, wanted, against):
        case.meter = Meter(passes, seconds, progress)
        found |= dict(zip(places, relevances(how, case), strict=True))
    ordered = [found[place] for place in range(len(wanted))]
    return ordered[0] if isinstance(target, str) else ordered


def layer_lens(
    model: Explainable,
    source: Any,
    target: str | Sequence[str] = "text",
    *,
    against: str | None = None,
    language: str = "auto",
    textnorm: bool = False,
    rivals: int = RIVALS,
) -> list[Lens]:
    """Say in which layer decisions came about: what the head would have said after each layer.

    Args:
        model: an open model.
        source: a trace of it, or a sound.
        target: one or several, as for :func:`explain`.
        against: a rival to follow beside the likeliest ones.
        language: prompt for a sound.
        textnorm: prompt for a sound.
        rivals: how many rivals to follow.

    Returns:
        One :class:`Lens` for each target.

    Raises:
        OptionError: as :func:`explain`, when ``rivals`` is below 1, or the model has a decoder.
        AnatomyError: when the weights of the head cannot be read.
        TraceError: when the trace was made by another model.
    """
    if "anatomy" not in model.gives:
        name = model.info.name
        raise OptionError(
            f"the lens reads an encoder that makes the text by itself, unlike that of {name}; ask for attention instead"
        )
    trace = live_trace(model, source, language=language, textnorm=textnorm)
    wanted = _names(target)
    found: dict[int, Lens] = {}
    for places, case in _cases(model, trace, wanted, against):
        found |= dict(zip(places, lens(case, rivals), strict=True))
    return [found[place] for place in range(len(wanted))]


def _names(target: object) -> list[str]:
    """Return the names of targets, one or several.

    Raises:
        OptionError: when they are no texts.
    """
    names: list[Any] = [target] if isinstance(target, str) or not isinstance(target, Sequence) else list(target)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise OptionError(f"a target is a text such as word:0 or emotion, got {wrong[0]!r}")
    return names


def _cases(model: Explainable, trace: Trace, wanted: Sequence[str], against: str | None) -> Iterator[tuple[list[int], Case]]:
    """Yield, for each piece of sound, the places of its targets and its case.

    Raises:
        OptionError: when there is no target, or one cannot be found.
    """
    if not wanted:
        raise OptionError("no target was given; give at least one, such as word:0")
    aims = [resolve(trace, model.vocabulary, model.labels, name, against) for name in wanted]
    for piece in sorted({aim.target.piece for aim in aims}):
        places = [place for place, aim in enumerate(aims) if aim.target.piece == piece]
        yield places, Case(model, trace.piece(piece), [aims[place] for place in places])


def live_trace(model: Explainable, source: Any, *, language: str, textnorm: bool, method: Explainer | None = None) -> Trace:
    """Return a trace with access to every inner tensor of the model.

    One that is made now keeps what the method needs from its own pass, so that no second one is made.

    Raises:
        TraceError: when the trace was made by another model.
    """
    if not isinstance(source, Trace):
        exact = method is not None and method.name == "exact"
        needs: Needs = "passes" if method is None else method.needs
        return model.trace(
            source,
            language,
            textnorm=textnorm,
            layers=kept_layers(needs, model),
            gradients=exact,
            tensors=("input", "value") if needs == "anatomy" else (),
        )
    if source.model.sha256 != model.info.sha256:
        raise TraceError(f"the trace was made with {source.model.name}, not with {model.info.name}; open that model")
    parts = source.features
    if parts and type(source.evidence[0]) is not type(fresh := model.replay(parts[0], source.language, textnorm=source.textnorm)):
        rest = [model.replay(part, source.language, textnorm=source.textnorm) for part in parts[1:]]
        return replace(source, evidence=(fresh, *rest))
    return source


def relevances(method: Explainer, case: Case) -> list[Relevance]:
    """Explain every target of a case by a method."""
    return [_relevance(method, case, aim, found) for aim, found in zip(case.aims, method.explain(case), strict=True)]


def _relevance(method: Explainer, case: Case, aim: Aim, found: Found) -> Relevance:
    options = asdict(method)  # type: ignore[call-overload]
    notes = found.notes + ((COPIES,) if aim.target.name.startswith("textnorm") else ())
    if case.given:
        notes += (case.given,)
    if case.twin_agreement is not None:
        kind, share = case.model.info.precision, f"{case.twin_agreement:.1%}"
        notes += (f"gradients are those of this {kind} file's floating-point twin, which decides {share} of the rows alike",)
    place = standing(method.name, aim.target)
    return Relevance(
        scores=found.scores,
        grid=found.grid,
        target=aim.target,
        method=method.name,
        options=options,
        unit=found.unit,
        score=found.score,
        parts=found.parts,
        adds_up=method.adds_up,
        view=place.status == "view",
        because=place.because,
        unreached=found.unreached,
        model=case.model.info,
        audio=case.trace.audio.name,
        language=case.trace.language,
        seed=options.get("seed"),
        passes=case.meter.spent,
        seconds=case.meter.elapsed,
        notes=notes,
    )
