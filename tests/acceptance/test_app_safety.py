"""The server of the web application under fire: malformed sounds, paths, scripts, strangers. Each gets one clear line."""

from __future__ import annotations

import base64
import http.client
import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest

import voxray
from webserver import Served, Visitor, serving

for name in ("gradio", "plotly"):
    pytest.importorskip(name, reason="the extra app is not installed: pip install 'voxray[app]'")

ASK = ("bundled", "auto", False)
LOOK = ("exact", "", "", "", "mean", "none", 0)
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("app") / "tmp", max_seconds=20, max_megabytes=2) as served:
        yield served


@pytest.fixture
def visitor(server: Served) -> Visitor:
    return Visitor(server.address)


@pytest.fixture(scope="module")
def clip() -> bytes:
    return next(one.path for one in voxray.demo_clips() if one.path.stem == "en_noise_burst").read_bytes()


def one_line(told: dict[str, str]) -> str:
    """Check that an answer is one line without internals, and return it."""
    (line,) = told.values()
    assert list(told) == ["error"]
    assert "\n" not in line
    assert not any(word in line for word in ("Traceback", "site-packages", ".py", "0x"))
    assert 10 < len(line) < 400
    return line


def flac(seconds: int, *, promised: int | None = None) -> bytes:
    """Return silence as FLAC, with another number of samples in its header where one is given."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000 * seconds, np.int16), 16000, format="FLAC")
    content = bytearray(file.getvalue())
    if promised is not None:
        told = int.from_bytes(content[18:26], "big") >> 36 << 36 | promised
        content[18:26] = told.to_bytes(8, "big")
    return bytes(content)


def zipped(count: int) -> bytes:
    """Return a zip file that grows a thousandfold."""
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound.wav", bytes(count))
    return file.getvalue()


def malformed(clip: bytes) -> dict[str, bytes]:
    """Return sounds that are none, by what they are."""
    claimed = bytearray(clip)
    claimed[4:8] = claimed[40:44] = struct.pack("<I", 500_000_000)
    path = next(one.path for one in voxray.demo_clips())
    return {
        "nothing": b"",
        "HTML named .wav": b"<!doctype html><script>alert(1)</script>" * 20,
        "500 MB claimed": bytes(claimed),
        "zip named .flac": zipped(200_000_000),
        "bomb": flac(7200),
        "bomb of unknown length": flac(7200, promised=0),
        "bomb that promises a second": flac(7200, promised=16000),
        "zeros": bytes(100_000),
        "playlist of a file": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n".encode(),
        "list of files": f"ffconcat version 1.0\nfile '{path}'\n".encode(),
        "manifest": f"<?xml version='1.0'?><MPD><BaseURL>file://{path}</BaseURL></MPD>".encode(),
        "python pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }" + b" " * 60 + b"\n\x80\x04N.",
        "one sample": clip[:44] + b"\0\0",
        "header alone": clip[:44],
        "half a header": clip[:20],
        "compressed zeros": zlib.compress(bytes(10_000_000)),
    }


def test_malformed_sounds_get_one_line_each(visitor: Visitor, server: Served, clip: bytes) -> None:
    for what, content in malformed(clip).items():
        status, told = visitor.upload(content, f"{what}.wav")
        if what in ("one sample", "header alone", "zeros"):  # a sound, if a poor one, or none: never an error of the server
            assert status in (200, 422), (what, told)
            continue
        if what == "bomb that promises a second":  # cut at its promise, as any player does, or refused
            assert status == 422 or told["seconds"] <= 20, (what, told)
            continue
        assert status == 422, (what, told)
        one_line(told)
    assert server.files() == []


def test_200_fuzzed_headers_leave_the_server_alive(visitor: Visitor, server: Served, clip: bytes) -> None:
    random = np.random.default_rng(7)
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.frombuffer(clip[44:], "<i2"), 16000, format="FLAC")
    ogg = io.BytesIO()
    soundfile.write(ogg, np.frombuffer(clip[44:], "<i2"), 16000, format="OGG")
    statuses = []
    for number in range(200):
        content = bytearray((clip, file.getvalue(), ogg.getvalue())[number % 3][: 8000 if number % 2 else None])
        for place in random.integers(0, 60 if number % 4 else len(content), random.integers(1, 12)):
            content[place] = random.integers(0, 256)
        status, told = visitor.upload(bytes(content), f"fuzz-{number}")
        assert status in (200, 422), (number, told)
        if status == 422:
            one_line(told)
        statuses.append(status)
    assert statuses.count(422) > 60
    status, told = visitor.upload(clip)
    assert status == 200
    assert visitor.call("vx-intake.upload", *ASK, token=told["token"])[0]["value"]["text"] == "we removed bicycle rice with cabbage"
    assert server.files() == []


def test_what_is_too_large_is_not_read(server: Served) -> None:
    where = urlparse(server.address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    connection.putrequest("POST", "/voxray/sound")
    connection.putheader("Content-Length", "500000000")
    connection.endheaders()
    answer = connection.getresponse()  # though not a byte was sent
    assert answer.status == 413
    assert "larger than 2 MB" in one_line(json.loads(answer.read()))
    connection.close()


def test_a_body_of_unknown_length_is_cut(server: Served) -> None:
    where = urlparse(server.address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    blocks = (bytes(500_000) for _ in range(12))
    try:
        connection.request("POST", "/voxray/sound", body=blocks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        answer = connection.getresponse()
        assert answer.status == 413
        answer.read()
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all was sent
    finally:
        connection.close()
    assert Visitor(server.address).upload(b"")[0] == 422  # alive


def test_a_sound_that_is_too_long_is_refused(visitor: Visitor) -> None:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000 * 21, np.int16), 16000, format="FLAC")
    status, told = visitor.upload(file.getvalue(), "long.flac")
    assert status == 422
    assert "longer than 20 s" in one_line(told)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "\0.wav", EVIL, "a" * 5000, "", "CON", "%2e%2e%2f"]
)
def test_names_are_text_and_never_paths(name: str, visitor: Visitor, server: Served, clip: bytes) -> None:
    from urllib.parse import quote

    status, told = visitor.upload(clip, quote(name))
    assert status == 200
    assert not set(told["name"]) & {"/", "\\", "\0"}
    assert len(told["name"]) <= 80
    shown = visitor.call("vx-intake.upload", *ASK, token=told["token"])[0]["value"]
    assert shown["name"] == told["name"]
    assert server.files() == []


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=../../etc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd",
        "/voxray/../../etc/passwd", "/voxray/%2e%2e%2f%2e%2e%2fserver.py", "/voxray/file/../../etc/passwd", "/voxray/file/x",
        "/static/../../routes.py", "/assets/%2e%2e/%2e%2e/index.html", "/gradio_api/proxy=http://localhost/", "/monitoring",
        "/gradio_api/upload_progress?upload_id=1", "/gradio_api/stream/a/b/c/playlist-file", "/docs", "/openapi.json", "/login",
        "/gradio_api/call/x/y", "/custom_component/x/client/component/y", "/gradio_api/runs", "/gradio_api/deep_link", "/svelte/x",
    ],
)  # fmt: skip
def test_no_path_of_a_request_reaches_the_file_system(path: str, visitor: Visitor) -> None:
    status, body = visitor.ask(path)
    assert status in (400, 404)
    assert b"root:" not in body
    assert len(body) < 300


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/upload", "/gradio_api/process_recording", "/gradio_api/run/predict", "/gradio_api/component_server", "/login"],
)
def test_gradios_own_doors_are_shut(path: str, visitor: Visitor) -> None:
    assert visitor.ask(path, b"{}", Content_Type="application/json")[0] == 404


def test_events_that_name_a_file_are_refused(visitor: Visitor, clip: bytes) -> None:
    _, told = visitor.upload(clip)
    visitor.call("vx-intake.upload", *ASK, token=told["token"])
    for value in (
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "http://localhost:1/x", "meta": {"_type": "gradio.FileData"}, "url": "http://localhost:1/x"},
        [{"a": {"path": "../../etc/passwd"}}],
    ):
        with pytest.raises(RuntimeError, match=r"400 .*never names a file"):
            visitor.call("vx-look.select", value, *LOOK[1:], target="word:1")


def test_events_with_wild_values_get_one_line(visitor: Visitor, clip: bytes) -> None:
    with pytest.raises(RuntimeError, match="there is no sound yet"):
        visitor.call("vx-look.select", *LOOK, target="word:1")
    _, told = visitor.upload(clip)
    visitor.call("vx-intake.upload", *ASK, token=told["token"])
    for values, data in [
        (LOOK, {"target": "word:99999"}),
        (LOOK, {"target": "../../etc/passwd"}),
        (LOOK, {"target": {"$ne": 1}}),
        (LOOK, {}),
        (("attention", "", "99", "", "mean", "none", 0), {"target": "word:1"}),
        (("attention", "", "x", "", "mean", "none", "nan"), {"target": "word:1"}),
        (("__import__('os')", *LOOK[1:]), {"target": "word:1"}),
        (("exact", EVIL, *LOOK[2:]), {"target": "word:1"}),
    ]:
        with pytest.raises(RuntimeError) as problem:
            visitor.call("vx-look.select", *values, **data)
        one_line({"error": str(problem.value)})
        assert "<" not in str(problem.value)  # markup was made text


def test_a_model_of_the_visitors_choice_is_not_opened(visitor: Visitor, clip: bytes, tmp_path: Path) -> None:
    for source in (str(tmp_path), "hf:owner/name", "../model.onnx"):
        with pytest.raises(RuntimeError, match="not in the list of choices"):
            visitor.call("vx-intake.upload", source, "auto", False, token=visitor.upload(clip)[1]["token"])


def test_strangers_see_nothing(server: Served, visitor: Visitor, clip: bytes) -> None:
    _, told = visitor.upload(clip)
    stranger = Visitor(server.address)
    with pytest.raises(RuntimeError, match="not here any more"):
        stranger.call("vx-intake.upload", *ASK, token=told["token"])
    shown = visitor.call("vx-intake.upload", *ASK, token=told["token"])[0]["value"]
    assert visitor.ask(shown["sound"])[0] == 200
    assert stranger.ask(shown["sound"])[0] == 404
    with pytest.raises(RuntimeError, match="there is no sound yet"):
        stranger.call("vx-look.select", *LOOK, target="word:1")
    thief = Visitor(server.address, page=visitor.page)  # the page's name alone opens nothing
    with pytest.raises(RuntimeError, match=r"403 .*another visitor's"):
        thief.call("vx-look.select", *LOOK, target="word:1")
    assert thief.ask(f"/gradio_api/queue/data?session_hash={visitor.page}")[0] == 403
    assert thief.ask(f"/gradio_api/heartbeat/{visitor.page}")[0] == 403
    assert visitor.ask(shown["sound"])[0] == 200


def test_a_page_that_is_closed_is_forgotten(server: Served, visitor: Visitor, clip: bytes) -> None:
    _, told = visitor.upload(clip)
    shown = visitor.call("vx-intake.upload", *ASK, token=told["token"])[0]["value"]
    where = urlparse(server.address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    cookie = "; ".join(f"{one.name}={one.value}" for one in visitor.jar)
    connection.request("GET", f"/gradio_api/heartbeat/{visitor.page}", headers={"Cookie": cookie})
    answer = connection.getresponse()
    assert answer.status == 200
    answer.close()
    connection.close()
    for _ in range(100):
        if visitor.ask(shown["sound"])[0] == 404:
            break
        time.sleep(0.2)
    assert visitor.ask(shown["sound"])[0] == 404
    with pytest.raises(RuntimeError, match="there is no sound yet"):
        visitor.call("vx-look.select", *LOOK, target="word:1")


def test_other_sites_and_other_host_names_are_refused(visitor: Visitor, clip: bytes) -> None:
    status, body = visitor.ask("/voxray/sound", clip, Origin="http://evil.example")
    assert status == 403
    assert "another site" in one_line(json.loads(body))
    assert visitor.ask("/", Host="evil.example")[0] == 421
    status, _ = visitor.ask("/voxray/sound", clip, Origin=visitor.address)
    assert status == 200


def test_answers_carry_headers_that_shut_others_out(server: Served) -> None:
    where = urlparse(server.address)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert "default-src 'self'" in str(answer.getheader("Content-Security-Policy"))
    assert "HttpOnly; SameSite=Strict" in str(answer.getheader("Set-Cookie"))
    connection.close()


def test_a_reference_with_a_script_comes_back_as_data(visitor: Visitor, clip: bytes, server: Served) -> None:
    _, told = visitor.upload(clip)
    visitor.call("vx-intake.upload", *ASK, token=told["token"])
    shown = visitor.call("vx-ask-why.click", EVIL, "en")[0]
    status, page = visitor.ask(shown["report"])
    assert status == 200
    assert b"<script>alert(1)" not in page
    assert b"<img src=x" not in page
    with pytest.raises(RuntimeError, match="more than 4000 characters"):
        visitor.call("vx-ask-why.click", "word " * 900, "en")
    assert server.files() == []


def test_a_password_keeps_everything(tmp_path: Path, clip: bytes) -> None:
    with serving(tmp_path / "tmp", auth=("me", "sécret:1")) as served:
        stranger = Visitor(served.address)
        for path in ("/", "/config", "/voxray/app.js", "/gradio_api/queue/data?session_hash=a"):
            assert stranger.ask(path)[0] == 401
        assert stranger.upload(clip)[0] == 401

        def basic(text: str) -> str:
            return "Basic " + base64.b64encode(text.encode()).decode()

        assert stranger.ask("/", Authorization=basic("me:wrong"))[0] == 401
        assert stranger.ask("/", Authorization=basic("me:sécret:1"))[0] == 200
        assert stranger.ask("/voxray/sound", clip, Authorization=basic("me:sécret:1"))[0] == 200
