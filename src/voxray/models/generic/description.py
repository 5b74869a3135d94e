"""The description of a model that Voxray does not know: a small TOML or JSON file beside it, read and checked.

Everything that the file may say is a field of one of the dataclasses below; their docstrings are what ``docs/generic.md`` explains.
A wrong key, type or value is told in one line that names the key, what was expected and what to do.
"""

from __future__ import annotations

import difflib
import importlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from voxray.types import ModelError

NAMES = ("voxray.toml", "voxray.json")
LARGEST = 1 << 20  # bytes; a description has a few hundred
MOST_MELS, MOST_FFT, MOST_STACK = 512, 8192, 64
KINDS = ("waveform", "kaldi-fbank", "log-mel")

Shape = Literal["time-features", "features-time"]
Normalise = Literal["none", "mean", "mean-std", "global"]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Waveform:
    """Samples go in as they are.

    Attributes:
        scale: what each sample, -1 to 1, is multiplied by; 32768 for models that take 16-bit numbers.
        normalise: ``mean-std``: mean 0 and variance 1 over the piece of sound (wav2vec2, HuBERT); or ``none``, ``mean``.
        epsilon: added to the variance.
    """

    scale: float = 1.0
    normalise: Normalise = "none"
    epsilon: float = 1e-7


@dataclass(frozen=True, slots=True)
class Bank:
    """What every front-end with mel filters can be told.

    Attributes:
        mels: filters.
        window_length: seconds of a window.
        hop: seconds from window to window.
        window: its form: ``povey``, ``hamming``, ``hann`` or ``rectangular``.
        low: Hz, where the lowest filter begins.
        high: Hz, where the highest ends; 0 is half the sample rate, below 0 so much less than that.
        preemphasis: how much of the sample before is taken from each; 0 for none.
        normalise: ``none``; per piece of sound and filter ``mean`` (taken off) or ``mean-std`` (and divided by the standard
            deviation); ``global``: by ``mean`` and ``std``, or by the file ``cmvn``.
        epsilon: added to the standard deviation of ``mean-std``.
        unbiased: whether that deviation is of n - 1 (NeMo, Seamless) and not of n (fairseq).
        mean: of ``global``: one number, or one for each filter (or, stacked, for each feature).
        std: likewise.
        cmvn: file of ``global``: Kaldi's text of a network (``am.mvn``), WeNet's ``global_cmvn`` (JSON with mean_stat, var_stat,
            frame_num), or JSON with the lists ``mean`` and ``std``.
        stack: frames that are stacked into one.
        stride: frames from stack to stack.
        stacking: ``centred``: around every stride-th frame, the first and the last repeated beyond the ends (low frame rate of
            FunASR); ``chunks``: whole stacks from the first frame on, what is left over is dropped.
    """

    mels: int = 80
    window_length: float = 0.025
    hop: float = 0.010
    window: Literal["povey", "hamming", "hann", "rectangular"] = "povey"
    low: float = 20.0
    high: float = 0.0
    preemphasis: float = 0.97
    normalise: Normalise = "none"
    epsilon: float = 1e-5
    unbiased: bool = True
    mean: Numbers = ()
    std: Numbers = ()
    cmvn: str = ""
    stack: int = 1
    stride: int = 1
    stacking: Literal["centred", "chunks"] = "centred"


@dataclass(frozen=True, slots=True)
class KaldiFbank(Bank):
    """Kaldi's filter bank, natural logarithm, without dither.

    Attributes:
        scale: what each sample, -1 to 1, is multiplied by: 32768 for Kaldi, FunASR and WeNet, 1 for icefall and sherpa's Zipformer.
        snip_edges: whether only windows that fit are taken; icefall says false.
    """

    scale: float = 32768.0
    snip_edges: bool = True


@dataclass(frozen=True, slots=True)
class LogMel(Bank):
    """A mel spectrogram by the short-time Fourier transform, as NeMo, torchaudio and librosa make it.

    Attributes:
        n_fft: points of the transform.
        window: likewise.
        periodic: whether the window is the periodic one (PyTorch's default) and not the symmetric one (NeMo).
        centred: whether window k is centred at k hops, with padding at both ends.
        padding: what pads: ``constant`` zeros or ``reflect``.
        low: likewise.
        power: of the magnitudes: 2 or 1.
        scale: ``slaney`` (librosa, NeMo) or ``htk`` (torchaudio).
        norm: ``slaney`` (filters of one area) or ``none``.
        floor: the number under the logarithm.
        floor_by: whether it is what is added (``add``) or the least that remains (``clamp``).
        log: ``natural`` or ``decimal``.
        drop_last: whether the frame after the last whole hop is left out, as NeMo does.
    """

    n_fft: int = 512
    window: Literal["povey", "hamming", "hann", "rectangular"] = "hann"
    periodic: bool = False
    centred: bool = True
    padding: Literal["constant", "reflect"] = "constant"
    low: float = 0.0
    power: float = 2.0
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney", "none"] = "slaney"
    floor: float = 2.0**-24
    floor_by: Literal["add", "clamp"] = "add"
    log: Literal["natural", "decimal"] = "natural"
    drop_last: bool = True


FrontEnd = Waveform | KaldiFbank | LogMel
FRONTS: dict[str, type[Any]] = dict(zip(KINDS, (Waveform, KaldiFbank, LogMel), strict=True))


@dataclass(frozen=True, slots=True)
class Input:
    """What goes in.

    Attributes:
        sound: name of the input that takes features or samples.
        layout: its axes after the batch.
        lengths: name of the input that is told how many rows (or samples) there are; none where empty.
        mask: name of the input that is told by ones which rows (or samples) are sound; none where empty.
        constants: values of all other inputs: numbers or lists of them.
    """

    sound: str
    layout: Shape = "time-features"
    lengths: str = ""
    mask: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """What comes out.

    Attributes:
        scores: name of the output with a row of scores for each frame.
        layout: its axes after the batch.
        log_probs: whether they are log posteriors already and no raw logits.
        prompts: rows before those of the sound.
    """

    scores: str
    layout: Literal["time-vocabulary", "vocabulary-time"] = "time-vocabulary"
    log_probs: bool = False
    prompts: int = 0


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder that writes token by token, in a file of its own; each step is given all tokens so far.

    Attributes:
        file: name of its file.
        states: name of the encoder's output that it reads.
        memory: name of its input that takes them.
        tokens: name of its input that takes the tokens so far.
        scores: name of its output with a row of scores for each token so far: what comes next.
        start: the tokens that a text begins with, pieces or ids.
        end: the token that ends it, a piece or an id.
        mask: name of its input that is told by ones which frames are sound; none where empty.
        longest: how many tokens a piece of sound may have.
        constants: values of all other inputs.
    """

    file: str
    states: str
    memory: str
    tokens: str
    scores: str
    start: tuple[str | int, ...]
    end: str | int
    mask: str = ""
    longest: int = 200
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Words:
    """The vocabulary.

    Attributes:
        file: lines ``piece id`` or one piece a line, or JSON: a list of pieces or ``{piece: id}``.
        blank: the CTC blank: its piece, or its id; a decoder has none.
        space: the sign that stands for a space in pieces, such as ``▁`` or ``|``; empty where there is none.
        hidden: pieces that are never written, such as ``<s>``.
    """

    file: str
    blank: str | int = ""
    space: str = "▁"
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clock:
    """When the output rows are.

    Attributes:
        hop: seconds from row to row.
        first: centre of the first row of sound, seconds from the start of the sound; half a hop where it is not told.
    """

    hop: float
    first: float | None = None

    @property
    def start(self) -> float:
        """Centre of the first row of sound, seconds."""
        return self.hop / 2 if self.first is None else self.first


@dataclass(frozen=True, slots=True)
class Description:
    """All that a description file says.

    Attributes:
        path: of the file.
        kind: ``ctc`` or ``encoder-decoder``.
        model: name of the model's file, where its folder holds several; empty for any.
        input: what goes in.
        output: what comes out of a CTC model; None with a decoder.
        decoder: what says it; None of a CTC model.
        vocabulary: the tokens.
        time: when the output rows are.
        front_end: how sound becomes what goes in.
    """

    path: Path
    kind: str
    model: str
    input: Input
    output: Output | None
    decoder: Decoder | None
    vocabulary: Words
    time: Clock
    front_end: FrontEnd

    def beside(self, name: str) -> Path:
        """Return the path of a file that the description names."""
        return self.path.parent / name


TEXTS, TABLES = ("kind", "model"), ("input", "output", "decoder", "vocabulary", "time", "front_end")
NEEDED = {"ctc": "output", "encoder-decoder": "decoder"}
Section = TypeVar("Section")


def find_description(folder: Path) -> Path | None:
    """Return the description file of a folder; None where there is none.

    Raises:
        ModelError: when there are two.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise ModelError(f"{folder} holds both {NAMES[0]} and {NAMES[1]}; keep one of them")
    return found[0] if found else None


def read_description(path: Path) -> Description:
    """Read a description.

    Raises:
        ModelError: when it cannot be read, or a key is unknown, missing, or of another type or value than expected.
    """
    told = _told(path)
    _check_tables(path, told)
    front = dict(told["front_end"])
    kind = front.pop("kind", None)
    if kind not in FRONTS:
        raise _wrong(path, "front_end.kind", kind, _one_of(KINDS))
    result = Description(
        path=path,
        kind=told.get("kind", "ctc"),
        model=told.get("model", ""),
        input=_section(path, "input", told["input"], Input),
        output=_section(path, "output", told["output"], Output) if "output" in told else None,
        decoder=_section(path, "decoder", told["decoder"], Decoder) if "decoder" in told else None,
        vocabulary=_section(path, "vocabulary", told["vocabulary"], Words),
        time=_section(path, "time", told["time"], Clock),
        front_end=_section(path, "front_end", front, FRONTS[kind]),
    )
    _check_values(result)
    return result


def _check_tables(path: Path, told: dict[str, Any]) -> None:
    """Refuse what stands at the top of a description if it should not, and tell what is missing there."""
    _check_keys(path, "", told, dict.fromkeys((*TEXTS, *TABLES)))
    for name, value in told.items():
        if not isinstance(value, str if name in TEXTS else dict):
            raise _wrong(path, name, value, "a text" if name in TEXTS else f"a table, [{name}]")
    kind = told.get("kind", "ctc")
    if kind not in NEEDED:
        raise _wrong(path, "kind", kind, _one_of(list(NEEDED)))
    (other,) = set(NEEDED.values()) - {NEEDED[kind]}
    if other in told:
        raise ModelError(f"{path}: the table [{other}] does not go with kind = {kind!r}; expected [{NEEDED[kind]}] in its place")
    missing = [name for name in TABLES if name not in told and name != other]
    if missing:
        raise ModelError(f"{path}: the table [{missing[0]}] is missing; add it as docs/generic.md shows")


def _told(path: Path) -> dict[str, Any]:
    """Return what a description says, as it stands there."""
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= LARGEST else ""
        told = _toml().loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # TOML's and JSON's errors are ValueErrors
        raise ModelError(f"{path} cannot be read ({' '.join(str(error).split())}); write it as docs/generic.md shows") from error
    if not isinstance(told, dict):
        raise ModelError(f"{path} holds a {type(told).__name__}; a table with {', '.join(TABLES)} was expected")
    return told


def _toml() -> Any:
    """Return the module that reads TOML: Python's own from 3.11 on."""
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModelError("reading voxray.toml needs Python 3.11 or the package tomli; install tomli, or write voxray.json instead")


def _section(path: Path, name: str, told: dict[str, Any], kind: type[Section]) -> Section:
    """Return a table as a dataclass, each key checked against the type of its field."""
    wanted = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    _check_keys(path, name, told, wanted)
    missing = [key for key, one in wanted.items() if key not in told and one.default is MISSING and one.default_factory is MISSING]
    if missing:
        raise ModelError(f"{path}: {name}.{missing[0]} is missing; expected {_expected(hints[missing[0]])}: add it to [{name}]")
    return kind(**{key: _typed(path, f"{name}.{key}", value, hints[key]) for key, value in told.items()})


def _check_keys(path: Path, name: str, told: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in told:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            place = f"{name}.{key}" if name else key
            raise ModelError(f"{path}: {place} is not known{meant}; expected {_one_of(list(known))}: remove or correct it")


def _typed(path: Path, place: str, value: Any, hint: Any) -> Any:
    """Return a value as the type of its field.

    Raises:
        ModelError: when it is of another one.
    """
    origin, members = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for one in members:
            if _fits(value, one):
                return _typed(path, place, value, one)
    elif _fits(value, hint):
        if hint == Numbers:
            return tuple(float(one) for one in value) if isinstance(value, list) else (float(value),)
        return float(value) if hint is float else tuple(value) if origin is tuple else value
    raise _wrong(path, place, value, _expected(hint))


def _fits(value: Any, hint: Any) -> bool:
    origin, members = get_origin(hint), get_args(hint)
    if hint == Numbers:
        return _fits(value, float) or (isinstance(value, list) and bool(value) and all(_fits(one, float) for one in value))
    if origin is tuple:
        return isinstance(value, list) and all(_fits(one, members[0]) for one in value)
    if origin is Literal or origin in (typing.Union, types.UnionType):
        return value in members if origin is Literal else any(_fits(value, one) for one in members)
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) < 1e30  # no NaN and no infinity
    return isinstance(value, dict if origin is not None else hint)


def _expected(hint: Any) -> str:
    """Return a type in plain words."""
    if get_origin(hint) is Literal:
        return _one_of(get_args(hint))
    if get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_expected(one) for one in get_args(hint) if one is not type(None))
    if hint == Numbers:
        return "a number or a list of numbers"
    if get_origin(hint) is tuple:
        return "a list of texts" if get_args(hint)[0] is str else "a list of texts or whole numbers"
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(hint, "a table")


def _one_of(choices: Sequence[Any]) -> str:
    return " or ".join(filter(None, (", ".join(map(str, choices[:-1])), str(choices[-1]))))


def _wrong(path: Path, place: str, value: Any, expected: str) -> ModelError:
    told = repr(value)
    return ModelError(f"{path}: {place} is {told[:60]}; expected {expected}: correct it")


def _check_values(told: Description) -> None:
    """Refuse numbers that make no sense, and options that contradict one another."""
    path, front, kind = told.path, told.front_end, next(name for name, one in FRONTS.items() if type(told.front_end) is one)
    names = {
        "vocabulary.file": told.vocabulary.file,
        "front_end.cmvn": getattr(front, "cmvn", ""),
        "decoder.file": told.decoder.file if told.decoder is not None else "",
    }
    for place, name in names.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise _wrong(path, place, name, "a file beside the description, or in a folder there")
    if told.output is not None:
        _within(path, "output.prompts", told.output.prompts, 0, 1000)
        if told.vocabulary.blank == "":
            raise ModelError(f"{path}: vocabulary.blank is missing; expected a text or a whole number: add it to [vocabulary]")
    if told.decoder is not None:
        _within(path, "decoder.longest", told.decoder.longest, 1, 10_000)
        if not told.decoder.start:
            raise _wrong(path, "decoder.start", [], "at least one piece or id")
    _within(path, "time.hop", told.time.hop, 1e-3, 1.0)
    _within(path, "time.first", told.time.start, -1.0, 1.0)
    _within(path, "front_end.epsilon", front.epsilon, 0.0, 1.0)
    if isinstance(front, Waveform):
        _within(path, "front_end.scale", front.scale, 1e-6, 1e6)
        if front.normalise == "global":
            raise _wrong(path, "front_end.normalise", "global", "none, mean or mean-std of a waveform")
        return
    _within(path, "front_end.mels", front.mels, 1, MOST_MELS)
    _within(path, "front_end.window_length", front.window_length, 1e-3, 0.5)
    _within(path, "front_end.hop", front.hop, 1e-3, 0.5)
    _within(path, "front_end.preemphasis", front.preemphasis, 0.0, 1.0)
    _within(path, "front_end.stack", front.stack, 1, MOST_STACK)
    _within(path, "front_end.stride", front.stride, 1, MOST_STACK)
    if isinstance(front, LogMel):
        _within(path, "front_end.n_fft", front.n_fft, 16, MOST_FFT)
        _within(path, "front_end.floor", front.floor, 1e-30, 1.0)
        if front.window_length * 16000 > front.n_fft:
            raise _wrong(path, "front_end.n_fft", front.n_fft, f"at least the {front.window_length * 16000:g} samples of a window")
    if isinstance(front, KaldiFbank):
        _within(path, "front_end.scale", front.scale, 1e-6, 1e6)
    _check_global(path, front, kind)


def _check_global(path: Path, front: Bank, kind: str) -> None:
    told = bool(front.mean or front.std)
    if front.normalise == "global" and told == bool(front.cmvn):
        raise _wrong(path, "front_end.normalise", "global", "with it either cmvn, a file, or mean and std")
    if front.normalise != "global" and (told or front.cmvn):
        raise _wrong(path, "front_end.normalise", front.normalise, "'global' where mean, std or cmvn is given")
    if told and not (front.mean and front.std and all(one > 0 for one in front.std)):
        raise ModelError(f"{path}: front_end.mean and front_end.std of {kind} belong together, every std above 0; give both")


def _within(path: Path, place: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise _wrong(path, place, value, f"a number from {least:g} to {most:g}")
