"""A stand-in for the hubs on this machine, which speaks the protocols of both, and a machine without models."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

SHERPA = "csukuangfj/sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17"
FUNASR = "iic/SenseVoiceSmall-onnx"
COMMIT = "5f0c0ffee0123456789abcdef0123456789abcde"
VARIABLES = ("VOXRAY_OFFLINE", "VOXRAY_TIMEOUT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "MODELSCOPE_OFFLINE", "HF_HUB_CACHE",
             "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "MODELSCOPE_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
             "MODELSCOPE_API_TOKEN")  # fmt: skip
Fault = Callable[["Handler", bytes], bool]


class StandIn(http.server.ThreadingHTTPServer):
    """A hub of this machine.

    Attributes:
        files: by repository, name and content.
        faults: by the end of a request's path, what happens instead; each returns whether it answered.
        seen: path and headers of every request.
        listed: changes the answer with the list of files.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.faults: dict[str, Fault] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.listed: Callable[[Any], Any] = lambda told: told

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def served(self, name: str) -> list[dict[str, str]]:
        """Headers of every request for a file."""
        return [headers for path, headers in self.seen if path.endswith(name) and "/revision/" not in path]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of these tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *told: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts, asked = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        path = unquote(parts.path)
        name = asked["FilePath"][0] if "FilePath" in asked else path
        self.server.seen.append((name, dict(self.headers)))
        content = self.content(path, asked)
        for end, fault in self.server.faults.items():
            if name.endswith(end) and fault(self, content or b""):
                return
        if content is None:
            self.send_error(404)
        else:
            self.answer(content)

    def content(self, path: str, asked: dict[str, list[str]]) -> bytes | None:
        for repository, files in self.server.files.items():
            if path.startswith(f"/api/models/{repository}/revision/"):
                return json.dumps(self.server.listed(hugging_face_list(files))).encode()
            if path == f"/api/v1/models/{repository}/repo/files":
                return json.dumps(self.server.listed(modelscope_list(files))).encode()
            if path == f"/api/v1/models/{repository}/repo":
                return files.get(asked["FilePath"][0])
            if path.startswith(f"/{repository}/resolve/{COMMIT}/"):
                return files.get(path.split(f"/{COMMIT}/", 1)[1])
        return None

    def answer(self, content: bytes, *, sent: int | None = None) -> None:
        """Send content as asked for by Range; ``sent``: how many bytes really go out."""
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][:sent])


def hugging_face_list(files: dict[str, bytes]) -> dict[str, Any]:
    def entry(name: str, content: bytes) -> dict[str, Any]:
        told: dict[str, Any] = {"rfilename": name, "size": len(content)}
        told["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if len(content) > 100_000:
            told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            told["blobId"] = "0" * 40
        return told

    return {"sha": COMMIT, "tags": ["onnx", "license:apache-2.0"], "siblings": [entry(*one) for one in files.items()]}


def modelscope_list(files: dict[str, bytes]) -> dict[str, Any]:
    blobs = [
        {
            "Name": name.split("/")[-1],
            "Path": name,
            "Type": "blob",
            "Size": len(content),
            "Sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in files.items()
    ]
    return {"Code": 200, "Data": {"Files": [{"Name": "onnx", "Path": "onnx", "Type": "tree", "Size": 0}, *blobs]}, "Success": True}


@contextmanager
def serving() -> Iterator[StandIn]:
    """Let a hub without files listen."""
    one = StandIn()
    threading.Thread(target=functools.partial(one.serve_forever, 0.02), daemon=True).start()
    try:
        yield one
    finally:
        one.shutdown()
        one.server_close()


def bare_machine(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Take all models from this machine, and every way out but to itself; the desk of the folder becomes the working folder."""
    for name in VARIABLES:
        patch.delenv(name, raising=False)
    home, desk = folder / "home", folder / "desk"
    home.mkdir()
    desk.mkdir()
    patch.setenv("HOME", str(home))
    patch.setenv("USERPROFILE", str(home))
    patch.setenv("VOXRAY_CACHE", str(folder / "cache"))
    patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port of discard: nobody listens
    patch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    patch.setenv("no_proxy", "127.0.0.1")
    patch.setenv("VOXRAY_TIMEOUT", "0.5")
    patch.chdir(desk)
