"""The door of the server: what comes in is checked here before Gradio or any route sees it.

Only the addresses that the page needs exist; Gradio's own for files, uploads, proxies and recordings do not. A request from another
site, for another host name (a name that was pointed at this machine), without the password, or with too large a body is refused.
"""

from __future__ import annotations

import asyncio
import base64
import http.cookies
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "voxray"
OWN = "/voxray/"
PAGES = re.compile(
    r"/(?:|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static)/[\w./-]+|voxray/[\w./-]+"
    r"|gradio_api/(?:queue/(?:join|data)|heartbeat/\w+|startup-events|theme\.css|cancel|reset|info))/?"
)
LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
PAGES_KNOWN, LONGEST_PAGE = 10_000, 100
EVENT_BYTES = 1_000_000  # of an event of the page: a reference text and a few choices
POLICY = (
    b"default-src 'self'",
    b"script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio makes functions of the panels' scripts
    b"style-src 'self' 'unsafe-inline'",
    b"img-src 'self' data: blob:",
    b"media-src 'self' blob: data:",
    b"font-src 'self' data:",
    b"connect-src 'self' blob: data:",
    b"worker-src 'self' blob:",
    b"frame-ancestors 'self'",
    b"object-src 'none'",
    b"base-uri 'self'",
    b"form-action 'self'",
)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"; ".join(POLICY)),
)
WRONG_PASSWORD_WAIT = 1.0  # s


@dataclass(frozen=True, slots=True)
class Rules:
    """What is let in.

    Attributes:
        hosts: host names that may be asked for; empty for any.
        auth: user and password; None for nobody's.
        upload_bytes: largest body of an upload.
    """

    hosts: frozenset[str] = frozenset()
    auth: tuple[str, str] | None = field(default=None, repr=False)
    upload_bytes: int = 25_000_000


class _RefusedError(Exception):
    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Guard:
    """An ASGI application around another one; it refuses what breaks the rules with one line of text."""

    def __init__(self, app: App, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._pages: OrderedDict[str, str] = OrderedDict()  # whose they are

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        begun, late = False, False

        async def sent(message: Message) -> None:
            nonlocal begun
            if late:
                return  # what the application makes of a body that was cut off is nobody's answer
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", []), *HEADERS, *fresh]}
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        owner, fresh = _owner(headers)
        scope["voxray_owner"] = owner
        try:
            await self._check(scope, headers)
            body = await self._checked_body(scope, headers, receive)

            async def received() -> Message:
                nonlocal late
                try:
                    return await body()
                except _RefusedError:
                    late = True
                    raise

            await self._app(scope, received, sent)
        except _RefusedError as refused:
            late = False
            if not begun:
                fresh = []
                await _answer(sent, refused.status, str(refused))

    async def _check(self, scope: Message, headers: dict[str, str]) -> None:
        """Check all but the body.

        Raises:
            _RefusedError: when it must not be let in.
        """
        host = headers.get("host", "")
        if self._rules.hosts and re.sub(r":\d+$", "", host).lower() not in self._rules.hosts:
            raise _RefusedError(421, "this server does not answer for that host name; use the address that it printed")
        if self._rules.auth is not None and not allowed(headers.get("authorization", ""), self._rules.auth):
            if "authorization" in headers:
                await asyncio.sleep(WRONG_PASSWORD_WAIT)
            raise _RefusedError(401, "user and password are needed")
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD", "POST") or not PAGES.fullmatch(path) or ".." in path:
            raise _RefusedError(404, "there is no such page")
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [None])
        named = re.fullmatch(r"/gradio_api/heartbeat/(\w+)/?", path)
        for page in (*asked, named and named[1]):
            self._claim(scope, page)
        origin = headers.get("origin")
        if scope["method"] == "POST" and origin is not None and re.sub(r"^https?://", "", origin) != host:
            raise _RefusedError(403, "the request comes from another site; open the page itself")

    async def _checked_body(self, scope: Message, headers: dict[str, str], receive: Receive) -> Receive:
        """Return where the body is read from, with its size limited; the body of an event is looked at first.

        Raises:
            _RefusedError: when it is too large, or names a file.
        """
        if scope["method"] != "POST":
            return receive
        upload = scope["path"].startswith(OWN)
        most = self._rules.upload_bytes if upload else EVENT_BYTES
        too_large = f"the request is larger than {most / 1e6:g} MB; send less"
        told = headers.get("content-length", "0")
        if not told.isdigit() or int(told) > most:
            raise _RefusedError(413, too_large)
        if upload:
            return _limited(receive, most, too_large)
        body = b""
        more = True
        limited = _limited(receive, most, too_large)
        while more:
            message = await limited()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
        told = parsed(body)
        if names_file(told):
            raise _RefusedError(400, "a request of the page never names a file")
        self._claim(scope, told.get("session_hash") if isinstance(told, dict) else None)
        return _replayed(body, receive)

    def _claim(self, scope: Message, page: object) -> None:
        """Let a page belong to the first who names it: what is sent to it is nobody else's.

        Raises:
            _RefusedError: when it is another's.
        """
        if page is None:
            return
        owner = self._pages.setdefault(str(page)[:LONGEST_PAGE], scope["voxray_owner"])
        while len(self._pages) > PAGES_KNOWN:
            self._pages.popitem(last=False)
        if not secrets.compare_digest(owner, scope["voxray_owner"]):
            raise _RefusedError(403, "that page is another visitor's; reload yours")


def allowed(header: str, auth: tuple[str, str]) -> bool:
    """Return whether an Authorization header holds the user and password; takes the same time wherever they differ."""
    kind, _, value = header.partition(" ")
    try:
        user, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return False
    same = [secrets.compare_digest(a.encode(), b.encode()) for a, b in zip((user, password), auth, strict=True)]
    return kind.lower() == "basic" and all(same)


def parsed(body: bytes) -> Any:
    """Return what JSON holds; None where it is none, which Gradio refuses."""
    try:
        return json.loads(body or b"null")
    except (ValueError, RecursionError):
        return None


def names_file(told: Any) -> bool:
    """Return whether an event holds anything that Gradio would take for a file: our page has no such component."""
    waiting = [told]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if {"path", "_type"} & one.keys():
                return True
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False


def _owner(headers: dict[str, str]) -> tuple[str, list[tuple[bytes, bytes]]]:
    """Return who asks, by a cookie that only this server reads, and the header that sets it where it is new."""
    jar = http.cookies.SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except http.cookies.CookieError:
        jar.clear()
    known = jar[COOKIE].value if COOKIE in jar else ""
    if re.fullmatch(r"[\w-]{43}", known):
        return known, []
    made = secrets.token_urlsafe(32)
    return made, [(b"set-cookie", f"{COOKIE}={made}; HttpOnly; SameSite=Strict; Path=/".encode())]


def _limited(receive: Receive, most: int, too_large: str) -> Receive:
    count = 0

    async def one() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > most:
            raise _RefusedError(413, too_large)
        return message

    return one


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def one() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return one


async def _answer(send: Send, status: int, line: str) -> None:
    ask = [(b"www-authenticate", b'Basic realm="Voxray", charset="UTF-8"')] if status == 401 else []
    body = json.dumps({"error": line}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *ask]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
