"""The server: our own routes for sound and files, Gradio's page beside them, the guard around both."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import voxray
from voxray.app import Options
from voxray.app.decoding import decoded
from voxray.app.desk import Desk
from voxray.app.guard import LOOPBACK, OWN, App, Guard, Rules
from voxray.app.visits import Models
from voxray.app.words import ASSETS, TONGUES, words

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

LOG = logging.getLogger("voxray.app")
FIRST_PORT, PORTS = 7860, 100
UPLOADS_AT_ONCE = 8  # bodies held in memory
INTERNAL = "internal error; the server's log says more"
STATIC = {"app.js": "text/javascript", "app.css": "text/css"}


def serve(options: Options) -> None:
    """Serve until it is stopped.

    Raises:
        OptionError: when the port is taken.
        ModelError: when a model cannot be opened.
    """
    import uvicorn

    listening = bound(options)
    address = f"http://{'localhost' if options.host in LOOPBACK else options.host}:{listening.getsockname()[1]}"
    app = application(options)
    print(f"Voxray listens on {address} (stop with Ctrl+C)", flush=True)  # noqa: T201 - the one line that says where
    if options.browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2, lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


def bound(options: Options) -> socket.socket:
    """Return a socket that listens where it is asked to.

    Raises:
        OptionError: when that cannot be had.
    """
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if options.port is None else [options.port]
    problem: OSError | None = None
    for port in ports:
        try:
            return socket.create_server((options.host, port), backlog=128)
        except OSError as error:
            problem = error
    where = f"{options.host}, ports {ports[0]} to {ports[-1]}" if options.port is None else f"{options.host}:{options.port}"
    raise voxray.OptionError(
        f"the server cannot listen on {where} ({problem and problem.strerror}); choose another --port or --host"
    )


def application(options: Options, desk: Desk | None = None) -> App:
    """Return the whole application as ASGI.

    Raises:
        ModelError: when a model cannot be opened.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing leaves the machine; read when Gradio is imported
    import gradio
    from fastapi import FastAPI

    from voxray.app.page import HEAD, built, theme

    desk = desk or Desk(options, Models(options.models))
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    Routes(desk).add_to(app)
    mounted = gradio.mount_gradio_app(
        app, built(desk), "/", footer_links=[], run_history=False, show_error=False, max_file_size=1, ssr_mode=False,
        enable_monitoring=False, pwa=False, mcp_server=False, theme=theme(), head=HEAD,
    )  # fmt: skip
    hosts = frozenset(LOOPBACK) if options.host in LOOPBACK else frozenset()
    return Guard(mounted, Rules(hosts=hosts, auth=options.auth, upload_bytes=options.max_bytes))


class Routes:
    """The routes for sound that comes in, for what is on the shelf, and for the page's own script."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def add_to(self, app: Any) -> None:
        """Add the routes to an application."""
        for path, route, method in (
            ("sound", self.upload, "POST"),
            ("live", self.live, "POST"),
            ("file/{token}", self.fetch, "GET"),
            ("words.js", self.lexicon, "GET"),
            ("{name}", self.static, "GET"),
        ):
            app.router.add_route(f"{OWN}{path}", route, methods=[method])

    async def upload(self, request: Request) -> Response:
        """Take a sound in."""
        async with self._uploads:
            content = await request.body()
            name = unquote(request.headers.get("x-name", "sound"))
            owner = request.scope["voxray_owner"]
            return await _told(lambda: taken(self._desk, owner, content, name))

    async def live(self, request: Request) -> Response:
        """Take a chunk of the microphone in."""
        from voxray.app.live import heard_live

        content = await request.body()
        owner, page = request.scope["voxray_owner"], request.headers.get("x-page", "")
        asked = dict(request.query_params)
        return await _told(lambda: heard_live(self._desk, self._desk.guest(owner, page), content, asked))

    async def fetch(self, request: Request) -> Response:
        """Hand out what is on the shelf."""
        from starlette.responses import Response

        thing = self._desk.shelf.find(request.scope["voxray_owner"], request.path_params["token"])
        if thing is None:
            return _json({"error": "there is no such file, or it is gone; make it again"}, 404)
        attached = {"Content-Disposition": f'attachment; filename="{thing.name}"'} if thing.name else {}
        headers = {"Cache-Control": "no-store", **attached}
        return await _told(thing.make, lambda content: Response(content, media_type=thing.media_type, headers=headers))

    async def static(self, request: Request) -> Response:
        """Hand out the page's script and style."""
        from starlette.responses import Response

        name = request.path_params["name"]
        if name not in STATIC:
            return _json({"error": "there is no such file"}, 404)
        return Response((ASSETS / name).read_bytes(), media_type=STATIC[name])

    async def lexicon(self, _request: Request) -> Response:
        """Hand out the page's words in all languages."""
        from starlette.responses import Response

        script = f"window.voxrayWords = {json.dumps({tongue: words(tongue) for tongue in TONGUES}, ensure_ascii=False)};"
        return Response(script, media_type="text/javascript")


async def _told(work: Callable[[], Any], answer: Callable[[Any], Response] | None = None) -> Response:
    """Answer with what some work gives, or with one line about what went wrong."""
    from starlette.concurrency import run_in_threadpool

    try:
        found = await run_in_threadpool(work)
    except voxray.VoxrayError as error:
        return _json({"error": one_line(error)}, 422)
    except Exception:
        LOG.exception("a request failed")
        return _json({"error": INTERNAL}, 500)
    return _json(found, 200) if answer is None else answer(found)


def taken(desk: Desk, owner: str, content: bytes, name: str) -> dict[str, Any]:
    """Decode an upload and put its sound on the shelf, from where only its owner's page can take it.

    Raises:
        AudioError: when it is too large, too long, or no sound.
    """
    audio = decoded(content, name, desk.options)
    return {"token": desk.shelf.put(owner, lambda: audio, media_type="sound"), "name": audio.name, "seconds": audio.duration}


def one_line(error: Exception) -> str:
    """Return what a problem of the user's says, in one line."""
    return re.sub(r"\s+", " ", str(error)).strip()


def _json(told: dict[str, Any], status: int) -> Response:
    from starlette.responses import Response

    return Response(json.dumps(told, ensure_ascii=False).encode(), status, media_type="application/json")
