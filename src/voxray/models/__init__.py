"""One file per family of recogniser, and the way from a path or a hub's id to an open model.

A family is a module of this folder with ``recognise(graph)``, which returns a layout or None, and a class ``Recogniser``.
``hub`` is none: it finds the files of an id on this machine or fetches them.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from voxray.types import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from voxray.front import Front
    from voxray.graph.anatomy import Anatomy
    from voxray.graph.graph import Graph
    from voxray.graph.proof import Proof
    from voxray.graph.session import RunOptions
    from voxray.trace import Trace
    from voxray.types import Evidence, Features, FloatArray, LayerWeights, ModelInfo, NormWeights, Progress, Transcript
    from voxray.vocabulary import Vocabulary


class Recogniser(Protocol):
    """What every family offers for an open model.

    Attributes:
        graph: the opened file.
        anatomy: what it is made of.
        proof: how well that was confirmed when the model was opened.
    """

    graph: Graph
    anatomy: Anatomy
    proof: Proof

    @property
    def normalises(self) -> bool:
        """Whether it can be asked to write numbers as digits."""

    @property
    def layers(self) -> int:
        """Number of attention layers."""

    @property
    def heads(self) -> int:
        """Attention heads in each layer."""

    @property
    def cross_shape(self) -> tuple[int, int] | None:
        """Layers of cross-attention and heads in each; None without a decoder."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that can be asked for."""

    @property
    def info(self) -> ModelInfo:
        """Which model it is."""

    def describe(self) -> dict[str, Any]:
        """Return what the file is made of, as JSON can hold it."""

    def instruct(self, *, task: str = "transcribe", timestamps: bool = False, hotwords: Sequence[str] = ()) -> None:
        """Say how to recognise from now on, where the family can be told: translate, write timestamps, listen for hotwords."""

    def transcribe(
        self, source: Any, language: str = "auto", *, textnorm: bool = False, progress: Progress | None = None
    ) -> Transcript:
        """Recognise one sound."""

    def transcribe_batch(
        self, sources: Sequence[Any], language: str = "auto", *, textnorm: bool = False, batch_size: int = 8
    ) -> list[Transcript]:
        """Recognise several sounds, pieces of like length together."""

    def trace(
        self,
        source: Any,
        language: str = "auto",
        *,
        textnorm: bool = False,
        layers: Sequence[int] | None = None,
        keep: int = ...,
        gradients: bool = False,
        tensors: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Trace:
        """Recognise one sound and keep what happened inside."""

    def replay(self, part: Features, language: str, *, textnorm: bool) -> Evidence:
        """Return evidence about one piece that is computed when it is asked for."""


class Pulled(Protocol):
    """What a backward pass gives for S seeds.

    Attributes:
        gradient: (S, T, D) float32, of each seed's score by the features.
        constants: by name (``prompt``, ``position``, ``bias``) the (S,) share of the score that comes from what the graph adds to
            the features; empty of a full gradient.
    """

    gradient: FloatArray
    constants: Mapping[str, npt.NDArray[np.float64]]


class Tape(Protocol):
    """A forward pass that can be run backward."""

    @property
    def logits(self) -> FloatArray:
        """Output rows, (B, N, V) float32."""

    def pull(self, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Pulled:
        """Run backward from a weighted sum of logits for each of S seeds.

        Args:
            rows: (S, n) output rows.
            ids: (S, n) token ids.
            weights: (S, n); 0 where a seed has fewer than n terms.
        """


class Explainable(Recogniser, Protocol):
    """A recogniser whose decisions can be explained.

    Attributes:
        vocabulary: its tokens.
        labels: ids of every label by kind of tag.
    """

    vocabulary: Vocabulary
    labels: dict[str, dict[str, int]]

    @property
    def gives(self) -> frozenset[str]:
        """What explanations can be built on; see ``voxray.methods.Needs``."""

    def front(self, trace: Trace) -> Front:
        """Return how the sound of a trace of one piece became what the model saw."""

    @property
    def is_float(self) -> bool:
        """Whether gradients are those of the file itself and not of its floating-point twin."""

    @property
    def batches_exactly(self) -> bool:
        """Whether a sound's output does not depend on the others of its batch."""

    def logits(self, parts: Sequence[Features], language: str = "auto", *, textnorm: bool = False) -> list[FloatArray]:
        """Run the model on features; (N, V) for each."""

    def tape(self, trace: Trace, *, frozen: bool) -> tuple[Tape, bool]:
        """Return a forward pass of a trace of one piece, and whether it had to be run."""

    def tape_of(self, values: FloatArray, language: str, *, textnorm: bool, frozen: bool) -> Tape:
        """Run features (B, T, D) forward so that they can be run backward."""

    def layer_weights(self, index: int) -> LayerWeights:
        """Return the weights of a layer."""

    def stream_norms(self) -> Mapping[int, NormWeights]:
        """Return the norms that stand in the stream, by the index of the layer after them."""

    def head(self, ids: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Return weights (D, len(ids)) and biases (len(ids),) of some tokens."""

    def knocked_out(self, part: Features, language: str, *, textnorm: bool, keep: npt.NDArray[np.bool_]) -> FloatArray:
        """Return output rows (N, V) with some rows (N,) hidden from all others in every layer."""


class Decoding(Explainable, Protocol):
    """A recogniser with a decoder, whose output has one row a token.

    Attributes:
        giving: how ``forced`` holds the decoder to tokens, for those who read what came of it.
    """

    giving: str

    def forced(self, parts: Sequence[Features], trace: Trace, language: str, *, textnorm: bool) -> list[FloatArray]:
        """Return output rows (N, V) of other features when the tokens are given that the trace of one piece has.

        Features of the trace itself give its own rows.
        """


BUNDLED = Path(__file__).parent.parent / "assets" / "model"


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that Voxray knows by a short name, or has fetched.

    Attributes:
        alias: the short name; empty where there is none.
        family: which recogniser opens it; empty where there is no alias.
        source: hub and id, such as ``hf:owner/name``.
        licence: as the hub told it; empty before the model was fetched, or where the hub is silent.
        sizes: bytes of the model's files by precision; empty where not known.
        note: what tells it from others.
        held: folders of this machine that hold it: whose they are, the path, and the model files there with their sizes in bytes.
    """

    alias: str
    family: str
    source: str
    licence: str
    sizes: dict[str, int]
    note: str
    held: tuple[tuple[str, str, dict[str, int]], ...]


def families() -> list[Any]:
    """Return the module of every family."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in sorted(names)]
    return [module for module in modules if hasattr(module, "recognise")]


def open_model(path: Path, options: RunOptions | None = None) -> Recogniser:
    """Open the recogniser in a file or folder and let it prove its anatomy.

    Of several models in a folder the one with the finest weights is taken: fp32 before int8.

    Args:
        path: an ``.onnx`` file, or a folder that holds one.
        options: threads and execution providers.

    Raises:
        ModelError: when there is no model, a damaged one, or none of a known kind.
        AnatomyError: when its attention cannot be read or does not add up.
    """
    return open_files(model_files(path), options)


def open_files(files: Sequence[Path], options: RunOptions | None = None) -> Recogniser:
    """Open the recogniser in some files; of several the one with the finest weights. What was described is no longer guessed at.

    Raises:
        ModelError: when one is damaged, or none is of a known kind.
        AnatomyError: when its attention cannot be read or does not add up.
    """
    from voxray.graph.graph import Graph

    graphs = [Graph(file) for file in files]  # a damaged file is told, never passed over for a coarser one
    known = [(_coarseness(one), family, one) for one in graphs for family in families() if family.recognise(one) is not None]
    if not known:
        raise ModelError(_unknown(graphs[0]))
    described = [one for one in known if hasattr(one[1], "read_description")]
    _, family, graph = min(described or known, key=lambda one: one[0])
    opened: Recogniser = family.Recogniser(graph, options)
    return opened


def model_files(path: Path) -> list[Path]:
    """Return the model files that a path stands for.

    Raises:
        ModelError: when there is none.
    """
    if not path.exists():
        raise ModelError(f"no such model: {path}; give an .onnx file or a folder that holds one")
    if not path.is_dir():
        return [path]
    # Hidden files are what file systems and downloads leave beside the real ones. Hubs keep converted models in onnx/.
    found = [sorted(file for file in place.glob("[!.]*.onnx") if file.is_file()) for place in (path, path / "onnx")]
    if not any(found):
        raise ModelError(f"{path} holds no .onnx file; give the folder of an exported model or the file itself")
    return found[0] or found[1]


def located(source: str | os.PathLike[str], progress: Progress | None = None) -> list[Path]:
    """Return the model files that a path, a hub's id or a short name stands for.

    What exists as a path is a path. Only an id can make Voxray fetch something, and only if its files are not on this machine.

    Args:
        source: a path, or a text such as ``sensevoice-small``, ``iic/SenseVoiceSmall-onnx``, ``hf:owner/name@revision:int8``.
        progress: called with the bytes that were fetched and all that are missing.

    Raises:
        ModelError: when there is no such model, or it cannot be fetched.
    """
    path = Path(source)
    if not isinstance(source, str) or path.exists():
        return model_files(path)
    from voxray.models import hub

    address = hub.parse(source)
    if address is None and hub.ADDRESS.fullmatch(source):
        raise ModelError(
            f"no such model: {source}; give an .onnx file or a folder that holds one, an id such as hf:owner/name or "
            "ms:owner/name, or a name that 'voxray models' lists"
        )
    if address is None:
        return model_files(path)
    if address.family and address.family not in _family_names():
        raise ModelError(f"{source} is a {address.family} model, which this version of Voxray cannot open; see 'voxray models'")
    return hub.find(address, progress)


def is_id(source: str | os.PathLike[str]) -> bool:
    """Tell whether a text names a model on a hub; what exists as a path is a path."""
    from voxray.models import hub

    return isinstance(source, str) and not Path(source).exists() and hub.parse(source) is not None


def listed_models() -> list[ListedModel]:
    """Return the models that have a short name and those that were fetched by their id, and where this machine has them."""
    from voxray.models import hub

    settings = hub.Settings.read(os.environ)
    names = {one.alias: one for one in hub.KNOWN if one.family in _family_names()}
    found = [
        _listed(one, [*hub.held(address, settings)]) for one in names.values() if (address := hub.parse(one.source)) is not None
    ]
    folders = {folder for one in found for _, folder, _ in one.held}
    others = [one for one in hub.fetched(settings) if str(one.folder) not in folders]
    return found + [_listed(hub.Known("", "", hub.address_of(one)), [one]) for one in others]


def _listed(known: Any, held: Sequence[Any]) -> ListedModel:
    models = [{name: size for name, size in sorted(one.files.items()) if name.endswith(".onnx")} for one in held]
    there = tuple((one.where, str(one.folder), files) for one, files in zip(held, models, strict=True) if files)
    licence = known.licence or next((one.licence for one in held if one.licence), "")
    return ListedModel(known.alias, known.family, known.source, licence, dict(known.sizes), known.note, there)


def _family_names() -> list[str]:
    return [family.__name__.rsplit(".", 1)[1] for family in families()]


def _coarseness(graph: Graph) -> tuple[int, str]:
    """Order files by how much their weights were rounded, then by name."""
    operators = graph.operators
    rounded = sum(operators.get(name, 0) > 0 for name in ("MatMulInteger", "MatMulNBits", "QLinearMatMul", "DequantizeLinear"))
    return (2 if "MatMulNBits" in operators else 1 if rounded else 0, graph.path.name)


def _unknown(graph: Graph) -> str:
    inputs = [f"{name[:60]}{list(shape)[:8]}" for name, (_, shape) in graph.inputs.items()]
    more = f" and {len(inputs) - 8} more" if len(inputs) > 8 else ""
    return (
        f"{graph.path} takes the inputs {', '.join(inputs[:8])[:600]}{more}: no recogniser that Voxray knows; expected a "
        "SenseVoice or another model of 'voxray models', as its exporter wrote it (of one in several files its folder or its "
        "encoder), or a description of it in voxray.toml beside it"
    )
