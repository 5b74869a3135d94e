"""The web application in a process of its own, and a visitor without a browser; used by the tests of the application."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START = "import json, sys; from voxray.app import Options, run; run(Options(browser=False, **json.loads(sys.argv[1])))"


@dataclass(frozen=True)
class Served:
    """A server that runs: its address, its process, and the folder of its temporary files."""

    address: str
    child: subprocess.Popen[str]
    temporary: Path

    def files(self, patience: float = 10.0) -> list[str]:
        """Return every file that the server has left in its temporary folder, once it had time to end what it was making."""
        ends = time.monotonic() + patience
        while True:
            found = sorted(str(one.relative_to(self.temporary)) for one in self.temporary.rglob("*") if one.is_file())
            if not found or time.monotonic() > ends:
                return found
            time.sleep(0.1)


@contextmanager
def serving(temporary: Path, **options: Any) -> Iterator[Served]:
    """Serve the application; that anything of its own code failed without being told in one line is an error at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
    temporary.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "TMPDIR": str(temporary),
        "GRADIO_TEMP_DIR": str(temporary / "gradio"),
        "MPLCONFIGDIR": str(temporary.parent / "mpl"),
    }
    said = (temporary.parent / "server.log").open("w+", encoding="utf-8")
    command = [sys.executable, "-c", START, json.dumps({"port": port, **options})]
    child = subprocess.Popen(command, stdout=said, stderr=said, text=True, env=env)
    address = f"http://localhost:{port}"
    try:
        for _ in range(600):
            assert child.poll() is None, (temporary.parent / "server.log").read_text(encoding="utf-8")
            try:
                with urllib.request.urlopen(address, timeout=30):
                    break
            except urllib.error.HTTPError:
                break  # it answers: a password is wanted
            except OSError:
                time.sleep(0.1)
        yield Served(address, child, temporary)
    finally:
        child.terminate()
        child.wait(timeout=20)
        said.close()
    log = (temporary.parent / "server.log").read_text(encoding="utf-8")
    assert not re.search(r'File ".*voxray|failed$|could not be made$', log, re.MULTILINE), log


@dataclass
class Visitor:
    """Someone with a cookie jar who speaks HTTP with the server, as the page's script does."""

    address: str
    page: str = field(default_factory=lambda: secrets.token_hex(6))
    jar: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self.functions = self._functions()

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.address}{path}", data=body, headers=named)
        try:
            with self._opener.open(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _functions(self) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
        """Return what the page's events call: for each panel or control, the numbers of the functions by their event."""
        status, body = self.ask("/config")
        if status != 200:
            return {}
        told = json.loads(body)
        names = {one["id"]: one["props"].get("elem_id") or one["props"].get("label") or "" for one in told["components"]}
        found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for one in told["dependencies"]:
            for target, event in one["targets"]:
                found.setdefault(f"{names.get(target, '')}.{event}", []).append((one["id"], one))
        return found

    def upload(self, content: bytes, name: str = "clip.wav") -> tuple[int, dict[str, Any]]:
        """Send a sound; return the status and what was answered."""
        status, body = self.ask("/voxray/sound", content, X_Name=name)
        return status, json.loads(body)

    def call(self, event: str, *values: Any, nth: int = 0, **data: Any) -> list[Any]:
        """Let an event happen as the page does; return what goes to the page, or raise with the error that it shows."""
        number, _ = self.functions[event][nth]
        join = {"data": list(values), "event_data": data or None, "fn_index": number, "session_hash": self.page, "trigger_id": None}
        status, body = self.ask("/gradio_api/queue/join", json.dumps(join).encode(), Content_Type="application/json")
        if status != 200:
            raise RuntimeError(f"{status} {body.decode()}")
        wanted = json.loads(body)["event_id"]
        request = urllib.request.Request(f"{self.address}/gradio_api/queue/data?session_hash={self.page}")
        with self._opener.open(request, timeout=120) as answer:
            for line in answer:
                if not line.startswith(b"data:"):
                    continue
                told = json.loads(line[5:])
                if told.get("event_id") == wanted and told["msg"] == "process_completed":
                    if not told["success"]:
                        raise RuntimeError(told["output"].get("error"))
                    return list(told["output"]["data"])
        raise RuntimeError("the server ended the stream")
