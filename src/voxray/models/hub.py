"""Models by their id on a hub: where they lie on this machine, and how they get there.

An address is ``hf:owner/name``, ``ms:owner/name``, ``owner/name`` of an owner in ``KNOWN``, or a short name of ``KNOWN``; after it
``@revision`` and ``:precision`` may follow. Whatever already lies on this machine is used: Voxray's own cache, those of
huggingface_hub and modelscope, an unpacked archive in the working folder. Only what is nowhere is fetched, only the files that a
recogniser reads, and only because its id was given.

One small client of the standard library speaks both hubs' protocols: a list of files with sizes and checksums, then each file by
HTTP with Range. The hubs' own packages would add a dozen dependencies for these two requests, and neither refuses a hostile list.
Their caches are read, never written: how they are laid out is theirs to change.

**Source:** cache layouts and environment variables, huggingface_hub 2.4 ``constants.py`` and modelscope 1.40
``hub/utils/utils.py``; requests, the hubs' public HTTP interfaces.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from voxray.types import ModelError, Progress, shortened

PRECISIONS = {
    "fp32": frozenset[str](),
    "fp16": frozenset({"fp16", "half"}),
    "int8": frozenset({"int8", "uint8", "quant", "quantized", "q8"}),
    "int4": frozenset({"int4", "q4", "q4f16", "bnb4"}),
}
"""Finest first, each with the marks that exporters put into names of files; a name without a mark is fp32."""
SIDE_FILES = re.compile(
    r"(.+-)?tokens\.(json|txt)|vocab\.(json|txt)|tokenizer\.json|added_tokens\.json|merges\.txt|.+\.bpe\.model|am\.mvn|embedding\.npy"
    r"|(generation_|preprocessor_)?config\.json|config\.yaml|calibration\.json|voxray\.(json|toml)"
)
"""What recognisers read beside the model itself."""
TOKENS = re.compile(r"(.+-)?tokens\.(json|txt)|vocab\.(json|txt)|tokenizer\.json|.+\.bpe\.model")
FOLDERS = ("", "onnx/")  # of a repository, where models lie
PART = r"[A-Za-z0-9_][\w.-]*"
ADDRESS = re.compile(rf"(?:(hf|ms):)?({PART}/)?({PART})(?:@({PART}(?:/{PART})*))?(?::(\w+))?", re.ASCII)
RECORD = ".voxray.json"
LONGEST_LIST = 16 << 20  # bytes; a hub's list of files is some kilobytes
BLOCK = 1 << 20
ATTEMPTS = 5  # at one file, each of which must bring something
TIMEOUT = 30.0  # s without a byte
YES = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Known:
    """A model with a short name.

    Attributes:
        alias: the short name; empty of a model that was fetched by its id.
        family: which recogniser opens it.
        source: hub and id, ``hf:owner/name``.
        sizes: by precision, bytes of the model's files; empty where not known.
        licence: empty where not known.
        note: what tells it from others.
    """

    alias: str
    family: str
    source: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    licence: str = ""
    note: str = ""


def _megabytes(**sizes: float) -> dict[str, int]:
    return {name: round(size * 1e6) for name, size in sizes.items()}


_SHERPA = "hf:csukuangfj/sherpa-onnx"
KNOWN = (
    Known("sensevoice-small", "sensevoice", f"{_SHERPA}-sense-voice-zh-en-ja-ko-yue-2024-07-17", _megabytes(fp32=938, int8=239),
          note="exported by sherpa-onnx; needs nothing but model and tokens"),
    Known("sensevoice-small-funasr", "sensevoice", "ms:iic/SenseVoiceSmall-onnx", {"int8": 241_216_270},
          note="exported by FunASR; int8 only"),
    Known("sensevoice-small-openvoiceos", "sensevoice", "hf:OpenVoiceOS/sensevoice-small-onnx", _megabytes(fp32=941, int8=241),
          note="stacks and normalises features itself"),
    Known("sensevoice-small-lovemefan", "sensevoice", "hf:lovemefan/SenseVoice-onnx", _megabytes(fp32=937, int8=241),
          note="prompts are added by the caller"),
    Known("sensevoice-cantonese", "sensevoice", f"{_SHERPA}-sense-voice-zh-en-ja-ko-yue-2025-09-09",
          note="other weights: fine-tuned on Cantonese, writes no punctuation"),
    Known("paraformer-large", "paraformer", "ms:iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-onnx",
          note="exported by FunASR"),
    Known("paraformer-large-sherpa", "paraformer", f"{_SHERPA}-paraformer-zh-2024-03-09", _megabytes(fp32=823, int8=227),
          note="exported by sherpa-onnx"),
    Known("paraformer-large-openvoiceos", "paraformer", "hf:OpenVoiceOS/paraformer-zh-onnx"),
    *(Known(f"whisper-{size}", "whisper", f"hf:onnx-community/whisper-{size}_timestamped", note="cross-attention is an output")
      for size in ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "large-v3-turbo")),
)  # fmt: skip
"""Sizes are those of the published descriptions. Licences are not told there: the hub tells them when a model is fetched."""
OWNERS = {**{source.split("/")[0][3:]: source[:2] for source in (one.source for one in KNOWN)}, "damo": "ms"}
"""Owners whose ids need no prefix; any other ``a/b`` is taken for a path, so that a mistyped path is told to nobody."""


@dataclass(frozen=True, slots=True)
class Address:
    """What was asked for.

    Attributes:
        hub: ``hf`` (Hugging Face) or ``ms`` (ModelScope).
        owner: of the repository.
        name: of the repository.
        revision: branch, tag or commit; None for the hub's main branch.
        precision: a key of ``PRECISIONS``; None for the finest that there is.
        family: of a known model.
    """

    hub: str
    owner: str
    name: str
    revision: str | None = None
    precision: str | None = None
    family: str = ""

    @property
    def id(self) -> str:
        """Owner and name, as the hub writes them."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        return f"{self.hub}:{self.id}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class Held:
    """A folder of this machine that holds a model.

    Attributes:
        where: whose folder it is.
        folder: of the files.
        files: that lie there, relative to it, with their sizes in bytes.
        listed: names of all files that the hub has; those of ``files`` where that is not known.
        licence: as the hub tells it; empty where not known.
    """

    where: str
    folder: Path
    files: Mapping[str, int]
    listed: Collection[str]
    licence: str = ""


class Choice(NamedTuple):
    """The files of a repository that a recogniser reads: models, and what lies beside them."""

    models: tuple[str, ...]
    others: tuple[str, ...]


class RemoteFile(NamedTuple):
    """A file of a repository; the checksum is ``sha256:...`` of its content, ``git:...`` of a Git blob, or empty."""

    path: str
    size: int
    checksum: str


class Listing(NamedTuple):
    """What a hub tells about a repository."""

    files: tuple[RemoteFile, ...]
    revision: str
    licence: str


# --- What was asked for ------------------------------------------------------------------------------------------------


def parse(source: str) -> Address | None:
    """Return the address that a text stands for, or None where it can only be a path.

    Raises:
        ModelError: when it names a precision that does not exist.
    """
    found = ADDRESS.fullmatch(source)
    if found is None:
        return None
    hub, owner, name, revision, precision = found.groups()
    known = {one.alias: one for one in KNOWN}.get(name)
    family = ""
    if owner is None and hub is None and known is not None:
        hub, owner, name = re.split("[:/]", known.source)
        family = known.family
    elif owner is None:
        return None
    owner = owner.rstrip("/")
    hub = hub or OWNERS.get(owner)
    if hub is None:
        return None
    if precision is not None and precision not in PRECISIONS:
        raise ModelError(f"{source} asks for the precision {precision!r}; choose one of {', '.join(PRECISIONS)}, or leave it out")
    return Address(hub, owner, name, revision, precision, family)


def precision_of(name: str) -> str:
    """Return how fine the weights of a model's file are, told by the marks in its name."""
    marks = set(re.split(r"[._/-]", name.lower()))
    return next((one for one, known in reversed(PRECISIONS.items()) if marks & known), "fp32")


def role_of(name: str) -> str:
    """Return the name of a model's file without folder, ending and marks of precision."""
    every = frozenset[str]().union(*PRECISIONS.values())
    return "-".join(part for part in re.split(r"[._-]", name.rsplit("/", 1)[-1].lower())[:-1] if part not in every)


def needed(names: Collection[str], precision: str | None = None) -> Choice:
    """Return the files of a repository that a recogniser reads; without models where it holds none of that precision.

    A model of several files (encoder and decoder) has one of each role, as fine as was asked, or the finest where that role has
    no other. Voice detectors are left out, and the plain decoders of Whisper where there is a merged one.
    """
    every = [name for name in names if re.fullmatch(r"(onnx/)?[^./][^/]*\.onnx", name)]
    folder = next((one for one in FOLDERS if any(name.rpartition("/")[0] == one.rstrip("/") for name in every)), "")
    roles: dict[str, dict[str, str]] = {}
    for name in sorted(every):
        if name.rpartition("/")[0] == folder.rstrip("/") and "vad" not in name.lower():
            roles.setdefault(role_of(name), {}).setdefault(precision_of(name), name)
    if "decoder-model-merged" in roles:
        roles = {role: found for role, found in roles.items() if role not in ("decoder-model", "decoder-with-past-model")}
    if precision is not None and not any(precision in found for found in roles.values()):
        return Choice((), ())
    order = [precision, *PRECISIONS] if precision else list(PRECISIONS)
    models = [next(found[one] for one in order if one in found) for found in roles.values()]
    data = [name for name in names for model in models if name != model and re.match(rf"{re.escape(model)}[._]", name)]
    beside = [name for name in names if name.removeprefix(folder) and SIDE_FILES.fullmatch(name.removeprefix(folder))]
    if folder:
        beside += [name for name in names if SIDE_FILES.fullmatch(name)]
    return Choice(tuple(models), tuple(sorted({*data, *beside})))


def precisions(names: Collection[str]) -> list[str]:
    """Return the precisions in which a repository holds its model."""
    return [one for one in PRECISIONS if needed(names, one).models]


# --- This machine ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        cache: Voxray's own folder.
        working: the working folder.
        hugging_face: huggingface_hub's cache.
        modelscope: roots of modelscope's cache.
        endpoints: address of each hub.
        offline: by hub, the variable that forbids to use it.
        tokens: by hub, what proves who asks.
        timeout: s to wait for a byte.
    """

    cache: Path
    working: Path
    hugging_face: Path
    modelscope: Path
    endpoints: Mapping[str, str]
    offline: Mapping[str, str]
    tokens: Mapping[str, str]
    timeout: float

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Return what the variables of an environment say.

        Raises:
            ModelError: when one makes no sense.
        """
        user = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        domain = environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
        endpoints = {
            "hf": environ.get("HF_ENDPOINT") or "https://huggingface.co",
            "ms": domain if "://" in domain else f"https://{domain}",
        }
        for endpoint in endpoints.values():
            if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc:
                raise ModelError(f"{endpoint!r} is no address of a hub; set HF_ENDPOINT to one such as https://huggingface.co")
        quiet = {
            "hf": ("VOXRAY_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
            "ms": ("VOXRAY_OFFLINE", "MODELSCOPE_OFFLINE"),
        }
        said = {hub: next((name for name in names if environ.get(name, "").lower() in YES), "") for hub, names in quiet.items()}
        hub_cache = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
        tokens = {
            "hf": environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN", ""),
            "ms": environ.get("MODELSCOPE_API_TOKEN", ""),
        }
        seconds = environ.get("VOXRAY_TIMEOUT") or str(TIMEOUT)
        if not re.fullmatch(r"\d{1,6}(\.\d+)?", seconds) or float(seconds) == 0:
            raise ModelError(f"VOXRAY_TIMEOUT is {seconds!r}; expected seconds, such as 30")
        return cls(
            cache=_own_cache(environ),
            working=Path.cwd(),
            hugging_face=Path(hub_cache or Path(environ.get("HF_HOME") or user / "huggingface") / "hub").expanduser(),
            modelscope=Path(environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope").expanduser(),
            endpoints={hub: endpoint.rstrip("/") for hub, endpoint in endpoints.items()},
            offline=said,
            tokens=tokens,
            timeout=float(seconds),
        )


def _own_cache(environ: Mapping[str, str]) -> Path:
    if environ.get("VOXRAY_CACHE"):
        return Path(environ["VOXRAY_CACHE"]).expanduser()
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "voxray" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "voxray"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxray"


def held(address: Address, settings: Settings) -> list[Held]:
    """Return the folders of this machine that hold a model, Voxray's own first."""
    own = _own_folder(address, settings)
    places: list[tuple[str, Iterable[Path]]] = [
        ("Hugging Face's cache", _hugging_face_folders(address, settings) if address.hub == "hf" else ()),
        ("ModelScope's cache", _modelscope_folders(address, settings) if address.hub == "ms" else ()),
        # An archive carries the name of its repository and no revision.
        ("the working folder", () if address.revision else [settings.working / address.name]),
    ]
    found = [_recorded(own)] + [_foreign(where, folder) for where, folders in places for folder in folders]
    return [one for one in found if one is not None]


def fetched(settings: Settings) -> list[Held]:
    """Return everything that Voxray itself has fetched."""
    records = sorted(settings.cache.glob(f"models/*/*/{RECORD}")) if settings.cache.is_dir() else []
    return [one for one in map(_recorded, (path.parent for path in records)) if one is not None]


def address_of(one: Held) -> str:
    """Return the address from which a folder of Voxray's cache was fetched."""
    hub, owner, name = one.folder.parent.name.split("--", 2)
    return f"{hub}:{owner}/{name}@{one.folder.name.replace('--', '/')}"


def _own_folder(address: Address, settings: Settings) -> Path:
    revision = (address.revision or MAIN[address.hub]).replace("/", "--")
    return settings.cache / "models" / f"{address.hub}--{address.owner}--{address.name}" / revision


def _recorded(folder: Path) -> Held | None:
    """Return a folder that Voxray wrote; only whole and checked files have their final names there."""
    listing = _read_record(folder)
    if listing is None:
        return None
    present = {one.path: one.size for one in listing.files if _size(folder / one.path) == one.size}
    return Held("Voxray's cache", folder, present, {one.path for one in listing.files}, listing.licence)


def _foreign(where: str, folder: Path) -> Held | None:
    """Return a folder of someone else if it holds a model with its tokens."""
    if not folder.is_dir():
        return None
    paths = [path for pattern in ("*", "onnx/*") for path in folder.glob(pattern) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    choice = needed(files)
    whole = choice.models and any(TOKENS.fullmatch(name.rsplit("/", 1)[-1]) for name in choice.others)
    return Held(where, folder, files, files.keys()) if whole else None


def _hugging_face_folders(address: Address, settings: Settings) -> Iterator[Path]:
    """Yield ``models--owner--name/snapshots/commit`` of the wanted revision; without one, of main and then the newest."""
    root = settings.hugging_face / f"models--{address.owner}--{address.name}"
    snapshots = sorted((path for path in root.glob("snapshots/*") if path.is_dir()), key=lambda path: -path.stat().st_mtime)
    reference = root / "refs" / (address.revision or MAIN["hf"])
    if reference.is_file():
        yield from (path for path in snapshots if path.name == reference.read_text(encoding="utf-8", errors="replace").strip())
    if address.revision is None:
        yield from snapshots
    elif len(address.revision) >= 7:  # a commit, perhaps cut short
        yield from (path for path in snapshots if path.name.startswith(address.revision))


def _modelscope_folders(address: Address, settings: Settings) -> Iterator[Path]:
    """Yield the folders of every layout that modelscope has had, newest first; only the newest knows revisions."""
    root = settings.modelscope
    snapshots = root / "models" / f"{address.owner}--{address.name}" / "snapshots"
    yield snapshots / (address.revision or MAIN["ms"]).replace("/", "--")
    if address.revision is None:
        yield from sorted((path for path in snapshots.glob("*") if path.is_dir()), key=lambda path: -path.stat().st_mtime)
        names = dict.fromkeys((address.name.replace(".", "___"), address.name))
        for layout, name in product(("models", "hub/models", "hub", ""), names):
            yield root / layout / address.owner / name


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _read_record(folder: Path) -> Listing | None:
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = tuple(RemoteFile(*one) for one in told["files"])
        return Listing(_checked(files), told["revision"], told["licence"])
    except (OSError, ValueError, TypeError, KeyError, _HostileError):
        return None  # not there, or spoilt: then it is fetched as if nothing were there


# --- The hubs ----------------------------------------------------------------------------------------------------------

MAIN = {"hf": "main", "ms": "master"}
NAMES = {"hf": "Hugging Face", "ms": "ModelScope"}


class _HostileError(Exception):
    """A list of files that no honest hub would send."""


class _StatusError(Exception):
    """The hub refused."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class _BrokenError(Exception):
    """The connection failed."""


def _list_url(address: Address, endpoint: str) -> str:
    revision = quote(address.revision or MAIN[address.hub], safe="")
    if address.hub == "hf":
        return f"{endpoint}/api/models/{address.id}/revision/{revision}?blobs=true"
    return f"{endpoint}/api/v1/models/{address.id}/repo/files?Revision={revision}&Recursive=True"


def _file_url(address: Address, endpoint: str, revision: str, path: str) -> str:
    if address.hub == "hf":
        return f"{endpoint}/{address.id}/resolve/{quote(revision, safe='')}/{quote(path)}"
    return f"{endpoint}/api/v1/models/{address.id}/repo?Revision={quote(revision, safe='')}&FilePath={quote(path, safe='')}"


def _page(address: Address, endpoint: str) -> str:
    """Return the address of the page on which a person finds the files."""
    if address.hub == "hf":
        return f"{endpoint}/{address.id}/tree/{address.revision or MAIN['hf']}"
    return f"{endpoint}/models/{address.id}/files"


def _listing(address: Address, told: Any) -> Listing:
    """Return the list of files that a hub's answer holds.

    Raises:
        _HostileError: when a name leads out of the folder, or a size is none.
        KeyError, TypeError, AttributeError: when the answer is something else.
    """
    if address.hub == "hf":
        tags = [tag.removeprefix("license:") for tag in told.get("tags", []) if tag.startswith("license:")]
        files = tuple(_hugging_face_file(one) for one in told["siblings"])
        return Listing(_checked(files), str(told["sha"]), shortened(tags[0]) if tags else "")
    blobs = [one for one in told["Data"]["Files"] if one["Type"] == "blob"]
    files = tuple(RemoteFile(one["Path"], one["Size"], f"sha256:{one['Sha256']}" if one.get("Sha256") else "") for one in blobs)
    return Listing(_checked(files), address.revision or MAIN["ms"], "")


def _hugging_face_file(told: Mapping[str, Any]) -> RemoteFile:
    """Return a file; large ones have a SHA-256, small ones the id of their Git blob."""
    large = told.get("lfs")
    checksum = f"sha256:{large['sha256']}" if large else f"git:{told['blobId']}" if told.get("blobId") else ""
    return RemoteFile(told["rfilename"], large["size"] if large else told["size"], checksum)


def _checked(files: tuple[RemoteFile, ...]) -> tuple[RemoteFile, ...]:
    """Return files whose names stay in their folder and whose sizes are sizes.

    Raises:
        _HostileError: otherwise.
    """
    for path, size, checksum in files:
        if not isinstance(path, str) or not isinstance(checksum, str):
            raise _HostileError("a list with a file that has no name")
        if re.search(r'[\x00-\x1f\x7f\\:"<>|*?]', path) or any(part in ("", ".", "..") for part in path.split("/")):
            raise _HostileError(f"a list with the name {shortened(path)!r}")
        if type(size) is not int or size < 0:
            raise _HostileError(f"a list with the size {shortened(repr(size))} for {shortened(path)!r}")
    return files


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a hub to where its files lie; who asks is told to the hub alone."""

    def redirect_request(self, req: Any, fp: Any, *told: Any) -> Any:
        newurl = told[-1]
        there, here = urlsplit(newurl), urlsplit(req.full_url)
        if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
            fp.close()
            raise _BrokenError(f"it leads to an address with {there.scheme}, which is not safe")
        kept = {name: value for name, value in req.header_items() if name != "Authorization"}
        if (there.scheme, there.netloc) == (here.scheme, here.netloc) and req.has_header("Authorization"):
            kept["Authorization"] = req.get_header("Authorization")
        return urllib.request.Request(newurl, headers=kept)  # noqa: S310 - the scheme was looked at

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302  # Python 3.10 does not know it


@dataclass(frozen=True, slots=True)
class _Client:
    """Asks one hub."""

    token: str
    timeout: float

    @contextmanager
    def get(self, url: str, offset: int = 0) -> Iterator[Any]:
        """Open what lies at an address, from a byte on.

        Raises:
            _StatusError: when the hub refuses.
            _BrokenError: when it cannot be reached.
        """
        headers = {"User-Agent": "voxray"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - endpoints are http or https
        try:
            response = urllib.request.build_opener(_Redirects).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            raise _StatusError(error.code) from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from error
        with response:
            yield response


def _reason(error: BaseException) -> str:
    """Return in a few words why a connection failed."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    return shortened(" ".join(str(getattr(inner, "strerror", None) or inner or type(inner).__name__).split()), 80)


def _blocks(response: Any) -> Iterator[bytes]:
    """Yield what arrives.

    Raises:
        _BrokenError: when nothing more does.
    """
    while True:
        try:
            block = response.read1(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from error
        if not block:
            return
        yield block


# --- From there to here ------------------------------------------------------------------------------------------------


def find(address: Address, progress: Progress | None = None, settings: Settings | None = None) -> list[Path]:
    """Return the model files of an address, fetched if they are not on this machine.

    Args:
        address: what was asked for.
        progress: called with the bytes that are here and those that are wanted.
        settings: what the environment says; None reads it.

    Raises:
        ModelError: when they are nowhere, cannot be fetched, or there are none of that precision.
    """
    settings = settings or Settings.read(os.environ)
    return _at_hand(address, settings) or _fetch(address, settings, progress)


def _at_hand(address: Address, settings: Settings) -> list[Path]:
    for one in held(address, settings):
        choice = needed(one.listed, address.precision)
        if choice.models and all(name in one.files for name in (*choice.models, *choice.others)):
            return [one.folder / name for name in choice.models]
    return []


def _fetch(address: Address, settings: Settings, progress: Progress | None) -> list[Path]:
    endpoint = settings.endpoints[address.hub]
    if settings.offline[address.hub]:
        raise ModelError(
            f"{address} is not on this machine and {settings.offline[address.hub]} is set: unset it, {_by_hand(address, endpoint)}"
        )
    client = _Client(settings.tokens[address.hub], settings.timeout)
    folder = _own_folder(address, settings)
    with _explained(address, _by_hand(address, endpoint)):
        listing = _ask(client, address, endpoint)
    files = _wanted(address, listing)
    with _explained(address, _by_hand(address, endpoint, files)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                _note(folder, listing)
                _transfer(client, folder, files, lambda path: _file_url(address, endpoint, listing.revision, path), progress)
        except OSError as error:
            raise ModelError(f"{folder} cannot be written ({error.strerror}); set VOXRAY_CACHE to a folder that can") from error
    return [folder / one.path for one in files if one.path.endswith(".onnx")]


def _by_hand(address: Address, endpoint: str, files: Iterable[RemoteFile] = ()) -> str:
    """Return how to do without this machine's network."""
    names = ", ".join(one.path for one in files) or "the model and what lies beside it"
    return f"or get {names} from {_page(address, endpoint)} by another way and give their folder"


@contextmanager
def _explained(address: Address, by_hand: str) -> Iterator[None]:
    """Turn what can go wrong with a hub into one line for the user."""
    try:
        yield
    except _HostileError as error:
        raise ModelError(f"{address}: the hub sends {error}, which is refused; do not trust this source") from error
    except _StatusError as error:
        raise ModelError(f"{address} cannot be fetched: {_refusal(address, error.status)}, {by_hand}") from error
    except _BrokenError as error:
        raise ModelError(f"{address} cannot be fetched ({error}): try again, {by_hand}") from error


def _ask(client: _Client, address: Address, endpoint: str) -> Listing:
    """Return what the hub tells about a repository.

    Raises:
        _HostileError: when its list is too long, or one that no honest hub would send.
        _BrokenError: when it is no list.
    """
    received = bytearray()
    with client.get(_list_url(address, endpoint)) as response:
        for block in _blocks(response):
            received += block
            if len(received) > LONGEST_LIST:
                raise _HostileError(f"a list of files of more than {LONGEST_LIST >> 20} MB")
    try:
        told = json.loads(received)
        if address.hub == "ms" and told.get("Code", 200) != 200:
            raise _StatusError(404)  # ModelScope says so in the answer, with the status of success
        return _listing(address, told)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        variable = {"hf": "HF_ENDPOINT", "ms": "MODELSCOPE_DOMAIN"}[address.hub]
        raise _BrokenError(f"{endpoint} sends no list of files; is {variable} right, does a network ask you to log in?") from error


def _wanted(address: Address, listing: Listing) -> list[RemoteFile]:
    """Return the files to fetch.

    Raises:
        ModelError: when there is no model, or none of the wanted precision.
    """
    names = [one.path for one in listing.files]
    choice = needed(names, address.precision)
    if not choice.models:
        there = precisions(names)
        what = (
            f"is there as {', '.join(there)} only; choose one of these" if there else "holds no .onnx file; choose its ONNX export"
        )
        raise ModelError(f"{address} {what}")
    return [one for one in listing.files if one.path in {*choice.models, *choice.others}]


def _refusal(address: Address, status: int) -> str:
    """Return what a status means, and what to do."""
    hub, variable = NAMES[address.hub], {"hf": "HF_TOKEN", "ms": "MODELSCOPE_API_TOKEN"}[address.hub]
    if status in (401, 403):
        return f"{hub} has no such model or guards it (status {status}): check the id, accept its terms there and set {variable}"
    if status == 404:
        return f"{hub} has no such model, revision or file (status 404): check the id"
    if status == 429:
        return f"{hub} is asked too often (status 429): wait some minutes"
    return f"{hub} answers with status {status}: try again later"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes in a folder; the system lets go of the lock when a process ends."""
    with (folder / ".lock").open("w") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                except OSError:
                    time.sleep(0.5)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _note(folder: Path, listing: Listing) -> None:
    """Write down what the hub told; files that have changed there since are removed here."""
    before = _read_record(folder)
    for one in before.files if before else ():
        if one not in listing.files:
            (folder / one.path).unlink(missing_ok=True)
    waiting = folder / f"{RECORD}.part"
    waiting.write_text(json.dumps(listing._asdict()), encoding="utf-8")
    waiting.replace(folder / RECORD)


def _transfer(
    client: _Client, folder: Path, files: Iterable[RemoteFile], url: Callable[[str], str], progress: Progress | None
) -> None:
    """Bring files into a folder, where each appears when it is whole."""
    missing = [one for one in files if _size(folder / one.path) != one.size]
    total, free = sum(one.size for one in missing), shutil.disk_usage(folder).free
    if total > free:
        raise ModelError(
            f"{total / 1e9:.1f} GB are to be fetched but {folder} has room for {free / 1e9:.1f}; set VOXRAY_CACHE to another disk"
        )
    done = 0
    for one in missing:
        target = folder / one.path
        target.parent.mkdir(exist_ok=True)
        here = done

        def step(size: int, here: int = here) -> None:
            if progress is not None:
                progress(here + size, total)

        part = _part(target, one)
        _download(client, url(one.path), one, part, step)
        _verify(part, one)
        part.replace(target)
        done += one.size


def _part(target: Path, file: RemoteFile) -> Path:
    """Return where a file grows. Only one whose content is known by its checksum goes on with what an earlier try left."""
    part = target.with_name(f".{target.name}.{re.sub('[^0-9a-zA-Z]', '', file.checksum)[:24]}.part")
    growing = [one for one in target.parent.iterdir() if one.name.startswith(f".{target.name}.") and one.suffix == ".part"]
    for one in growing:
        if one != part or not file.checksum or one.is_symlink():
            one.unlink()
    return part


def _download(client: _Client, url: str, file: RemoteFile, part: Path, step: Callable[[int], None]) -> None:
    """Bring one file, going on where an earlier try ended, as long as each try brings something.

    Raises:
        _StatusError: when the hub refuses.
        _BrokenError: when the transfer broke off.
    """
    part.touch()
    for attempt in range(ATTEMPTS):
        before = part.stat().st_size
        if before == file.size:
            return
        try:
            _append(client, url, file, part, step)
            problem = _BrokenError(f"{file.path} broke off after {part.stat().st_size} of {file.size} bytes")
        except _BrokenError as error:
            problem = error
        except _StatusError as error:
            if error.status != 416 or not before:
                raise
            part.write_bytes(b"")  # what was there is not the beginning of this file
            continue
        if part.stat().st_size == file.size:
            return
        if part.stat().st_size <= before or attempt == ATTEMPTS - 1:
            raise problem


def _append(client: _Client, url: str, file: RemoteFile, part: Path, step: Callable[[int], None]) -> None:
    offset = part.stat().st_size
    with client.get(url, offset) as response:
        goes_on = response.status == 206 and str(response.headers.get("Content-Range", "")).startswith(f"bytes {offset}-")
        here = offset if goes_on else 0  # a server may know no ranges and send the whole
        with part.open("ab" if goes_on else "wb") as stream:
            for block in _blocks(response):
                here += len(block)
                if here > file.size:
                    raise _HostileError(f"more of {file.path!r} than the {file.size} bytes that it told")
                stream.write(block)
                step(here)


def _verify(part: Path, file: RemoteFile) -> None:
    """Check what arrived against what the hub told about it.

    Raises:
        ModelError: when it is something else; it is removed.
    """
    kind, _, wanted = file.checksum.partition(":")
    if not kind:
        return
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with part.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != wanted.lower():
        part.unlink()
        raise ModelError(f"{file.path} arrived damaged: its checksum is not the one that the hub tells; it was removed, try again")
