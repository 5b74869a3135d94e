"""Models by their id: what an address means, what lies on this machine, and a hub that does everything that a network can do.

The hub is a stand-in on this machine that speaks the protocols of Hugging Face and ModelScope; nothing here leaves it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import voxray
from hubserver import COMMIT, FUNASR, SHERPA, Fault, Handler, StandIn, bare_machine, serving
from voxray import api, cli, models
from voxray.models import hub
from voxray.types import ModelError

# --- What goes wrong ---------------------------------------------------------------------------------------------------


def status(code: int) -> Fault:
    def fault(handler: Handler, _content: bytes) -> bool:
        handler.send_error(code)
        return True

    return fault


def broken_off(after: int, times: int = 1000) -> Fault:
    """The connection ends after some bytes, the first so many times."""
    left = [times]

    def fault(handler: Handler, content: bytes) -> bool:
        left[0] -= 1
        if left[0] < 0:
            return False
        handler.answer(content, sent=after)
        return True

    return fault


def content_of(made: Callable[[bytes], bytes]) -> Fault:
    def fault(handler: Handler, content: bytes) -> bool:
        handler.answer(made(content))
        return True

    return fault


def without_ranges(handler: Handler, content: bytes) -> bool:
    del handler.headers["Range"]
    handler.answer(content)
    return True


def stalled(handler: Handler, content: bytes) -> bool:
    handler.answer(content, sent=1000)
    handler.wfile.flush()
    time.sleep(1.5)
    return True


def slow(handler: Handler, content: bytes) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for start in range(0, len(content), len(content) // 4 + 1):
        handler.wfile.write(content[start : start + len(content) // 4 + 1])
        handler.wfile.flush()
        time.sleep(0.2)
    return True


def led_to(url: str, code: int = 302) -> Fault:
    def fault(handler: Handler, _content: bytes) -> bool:
        target = handler.path if url.startswith("http://127.0.0.1") else ""
        handler.send_response(code)
        handler.send_header("Location", url + target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return fault


# --- Fixtures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[Callable[[], StandIn]]:
    """Start hubs."""
    with ExitStack() as running:
        yield lambda: running.enter_context(serving())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models and with no way out but to itself."""
    bare_machine(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def standin(machine: Path, served: Callable[[], StandIn], data: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A hub with the fixture model under two ids: as FunASR publishes it and, with invented weights, in sherpa-onnx's way."""
    one = served()
    folder = data / "sensevoice-funasr"
    whole = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    extra = {"README.md": b"# a model", "model.pt": b"x" * 1000, "examples/zh.mp3": b"sound"}
    one.files = {FUNASR: whole | extra, SHERPA: whole | extra | {"onnx/model_fp16.onnx": b"not this"}}
    monkeypatch.setenv("HF_ENDPOINT", one.url)
    monkeypatch.setenv("MODELSCOPE_DOMAIN", one.url)
    return one


def names(files: Any) -> list[str]:
    return sorted(path.name for path in files)


def refused(source: str, *messages: str) -> str:
    with pytest.raises(ModelError) as caught:
        api.find_model(source)
    told = str(caught.value)
    assert "\n" not in told
    for message in messages:
        assert message in told
    return told


# --- What an address means ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "hub_", "id_", "revision", "precision"),
    [
        ("iic/SenseVoiceSmall-onnx", "ms", FUNASR, None, None),
        ("damo/some.model-v1.2", "ms", "damo/some.model-v1.2", None, None),
        (SHERPA, "hf", SHERPA, None, None),
        ("hf:someone/thing", "hf", "someone/thing", None, None),
        ("ms:someone/thing@v1.0:int8", "ms", "someone/thing", "v1.0", "int8"),
        ("hf:someone/thing@refs/pr/1", "hf", "someone/thing", "refs/pr/1", None),
        ("sensevoice-small", "hf", SHERPA, None, None),
        ("sensevoice-small@main:int8", "hf", SHERPA, "main", "int8"),
        ("whisper-tiny.en:fp16", "hf", "onnx-community/whisper-tiny.en_timestamped", None, "fp16"),
    ],
)
def test_addresses(source: str, hub_: str, id_: str, revision: str | None, precision: str | None) -> None:
    address = hub.parse(source)
    assert address is not None
    assert (address.hub, address.id, address.revision, address.precision) == (hub_, id_, revision, precision)


@pytest.mark.parametrize(
    "source",
    ["model.onnx", "models/sensevoice", "./iic/model", "/iic/model", "../iic", "iic/../x", "hf:../x", "hf:a/..", "iic/a@../b",
     "a/b/c", "hf:sensevoice-small", "hf:a/b@", "C:\\model", "sensevoice", "hf:a/b?x=1", "iic/a\nb", "https://huggingface.co/a/b",
     ""],
)  # fmt: skip
def test_what_can_only_be_a_path(source: str) -> None:
    assert hub.parse(source) is None


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(ModelError, match="precision 'int3'; choose one of fp32, fp16, int8, int4"):
        hub.parse("iic/SenseVoiceSmall-onnx:int3")


def test_the_known_models_have_addresses() -> None:
    assert len({one.alias for one in hub.KNOWN}) == len(hub.KNOWN)
    for one in hub.KNOWN:
        by_source, by_alias = hub.parse(one.source), hub.parse(one.alias)
        assert by_source is not None
        assert by_alias is not None
        assert by_alias.family == one.family
        assert str(by_source) == str(by_alias) == one.source
        assert set(one.sizes) <= set(hub.PRECISIONS)
        assert all(size > 1e8 for size in one.sizes.values())


@pytest.mark.parametrize(
    ("name", "precision", "role"),
    [
        ("model.onnx", "fp32", "model"),
        ("model_quant.onnx", "int8", "model"),
        ("model.int8.onnx", "int8", "model"),
        ("sense-voice-encoder-int8.onnx", "int8", "sense-voice-encoder"),
        ("onnx/decoder_model_merged_q4f16.onnx", "int4", "decoder-model-merged"),
        ("base.en-encoder.onnx", "fp32", "base-en-encoder"),
        ("onnx/encoder_model_fp16.onnx", "fp16", "encoder-model"),
        ("interview.onnx", "fp32", "interview"),
    ],
)
def test_a_files_name_tells_precision_and_role(name: str, precision: str, role: str) -> None:
    assert (hub.precision_of(name), hub.role_of(name)) == (precision, role)


SIDE = ("am.mvn", "config.yaml", "tokens.json")


def test_needed_files_of_a_sensevoice() -> None:
    files = (*SIDE, "model.onnx", "model.int8.onnx", "README.md", "test_wavs/zh.wav", "model.pt", "LICENSE", ".gitattributes")
    assert hub.needed(files) == (("model.onnx",), SIDE)
    assert hub.needed(files, "int8") == (("model.int8.onnx",), SIDE)
    assert hub.needed(files, "int4") == ((), ())
    assert hub.precisions(files) == ["fp32", "int8"]


def test_needed_files_with_external_data_and_without_the_voice_detector() -> None:
    files = (
        "model.onnx",
        "model.onnx_data",
        "model.onnx.data",
        "model_int8.onnx",
        "model_int8.onnx_data",
        "vocab.txt",
        "fsmnvad-offline.onnx",
    )
    assert hub.needed(files) == (("model.onnx",), ("model.onnx.data", "model.onnx_data", "vocab.txt"))
    assert hub.needed(files, "int8") == (("model_int8.onnx",), ("model_int8.onnx_data", "vocab.txt"))


def test_needed_files_of_a_whisper() -> None:
    roles = ("encoder_model", "decoder_model", "decoder_model_merged", "decoder_with_past_model")
    files = [f"onnx/{role}{mark}.onnx" for role in roles for mark in ("", "_fp16", "_quantized", "_q4")]
    files += ["config.json", "generation_config.json", "tokenizer.json", "vocab.json", "merges.txt", "preprocessor_config.json"]
    choice = hub.needed(files, "int8")
    assert choice.models == ("onnx/decoder_model_merged_quantized.onnx", "onnx/encoder_model_quantized.onnx")
    assert choice.others == tuple(sorted(files[-6:]))
    assert hub.needed(files).models == ("onnx/decoder_model_merged.onnx", "onnx/encoder_model.onnx")
    sherpa = ["base-encoder.onnx", "base-encoder.int8.onnx", "base-decoder.onnx", "base-tokens.txt"]
    assert hub.needed(sherpa, "int8") == (("base-decoder.onnx", "base-encoder.int8.onnx"), ("base-tokens.txt",))


# --- From a hub --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [FUNASR, f"hf:{SHERPA}", "sensevoice-small"])
def test_only_the_needed_files_come(standin: StandIn, machine: Path, source: str, data: Path) -> None:
    (model,) = api.find_model(source)
    assert model.read_bytes() == (data / "sensevoice-funasr" / "model.onnx").read_bytes()
    beside = ["am.mvn", "chn_jpn_yue_eng_ko_spectok.bpe.model", "config.yaml", "model.onnx", "tokens.json"]
    assert [name for name in names(model.parent.iterdir()) if not name.startswith(".")] == beside
    assert machine / "cache" in model.parents
    assert len(standin.seen) == 6
    seen = len(standin.seen)
    assert api.find_model(source) == (model,)  # at the second time nobody is asked
    assert len(standin.seen) == seen


def test_progress_counts_bytes(standin: StandIn) -> None:
    told: list[tuple[int, int]] = []
    (model,) = api.find_model(FUNASR, progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in model.parent.glob("[!.]*"))
    assert {one for _, one in told} == {total}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == total


def test_another_precision_comes_beside_the_first(standin: StandIn) -> None:
    (fine,) = api.find_model(FUNASR)
    seen = len(standin.seen)
    (coarse,) = api.find_model(f"{FUNASR}:int8")
    assert (fine.parent, fine.name, coarse.name) == (coarse.parent, "model.onnx", "model_quant.onnx")
    assert [path for path, _ in standin.seen[seen:] if not path.endswith("files")] == ["model_quant.onnx"]
    assert voxray.load_model(f"{FUNASR}:int8").info.precision == "int8"
    assert voxray.load_model(FUNASR).info.precision == "fp32"


def test_a_precision_that_is_not_there(standin: StandIn, machine: Path) -> None:
    refused(f"{FUNASR}:int4", "ms:iic/SenseVoiceSmall-onnx is there as fp32, int8 only; choose one of these")
    assert not (machine / "cache").exists()


def test_a_repository_without_a_model(standin: StandIn) -> None:
    standin.files["iic/SenseVoiceSmall"] = {"model.pt": b"weights", "tokens.json": b"[]"}
    refused("iic/SenseVoiceSmall", "ms:iic/SenseVoiceSmall holds no .onnx file")


def test_revisions_have_their_own_folders(standin: StandIn) -> None:
    (main,) = api.find_model(f"hf:{SHERPA}")
    (pinned,) = api.find_model(f"hf:{SHERPA}@v1.0")
    assert (main.parent.name, pinned.parent.name) == ("main", "v1.0")
    assert "/revision/v1.0" in [path[-14:] for path, _ in standin.seen]
    (api.find_model(f"ms:{FUNASR}@v2"),)
    assert any(path.endswith("/repo/files") for path, _ in standin.seen)


def test_what_has_changed_on_the_hub_is_fetched_again(standin: StandIn) -> None:
    (fine,) = api.find_model(FUNASR)
    standin.files[FUNASR]["tokens.json"] = (fine.parent / "tokens.json").read_bytes().replace(b"<unk>", b"<UNK>")
    seen = len(standin.seen)
    api.find_model(f"{FUNASR}:int8")  # asks for the list again, which tells other tokens of the same size
    assert sorted(path for path, _ in standin.seen[seen + 1 :]) == ["model_quant.onnx", "tokens.json"]
    assert b"<UNK>" in (fine.parent / "tokens.json").read_bytes()


def test_a_broken_transfer_goes_on_where_it_ended(standin: StandIn) -> None:
    standin.faults["model.onnx"] = broken_off(300_000, times=2)
    (model,) = api.find_model(FUNASR)
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]
    assert [one.get("Range") for one in standin.served("model.onnx")] == [None, "bytes=300000-", "bytes=600000-"]


def test_a_transfer_that_ends_for_good_goes_on_at_the_next_call(standin: StandIn) -> None:
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(f"hf:{SHERPA}", "model.onnx broke off after 500000 of 908661 bytes", "by another way")
    standin.faults.clear()
    (model,) = api.find_model(f"hf:{SHERPA}")
    assert standin.served("model.onnx")[-1]["Range"] == "bytes=500000-"
    assert model.read_bytes() == standin.files[SHERPA]["model.onnx"]
    assert not list(model.parent.glob(".*.part"))


def test_nothing_has_its_name_before_it_is_whole(standin: StandIn, machine: Path) -> None:
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(FUNASR, "broke off")
    assert not list(machine.glob("cache/**/model.onnx"))
    assert [path.stat().st_size for path in machine.glob("cache/**/.model.onnx.*.part")] == [500_000]


def test_what_an_earlier_try_left_of_another_file_is_not_used(standin: StandIn) -> None:
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(FUNASR, "broke off")
    standin.faults.clear()
    standin.files[FUNASR]["model.onnx"] += b"newer"
    (model,) = api.find_model(FUNASR)
    assert model.read_bytes().endswith(b"newer")
    assert "Range" not in standin.served("model.onnx")[-1]
    assert not list(model.parent.glob(".*.part"))


def test_a_server_without_ranges(standin: StandIn) -> None:
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(FUNASR, "broke off")
    standin.faults["model.onnx"] = without_ranges
    (model,) = api.find_model(FUNASR)
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]


def test_a_server_that_begins_elsewhere_than_asked(standin: StandIn) -> None:
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(FUNASR, "broke off")

    def from_the_start(handler: Handler, content: bytes) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        return True

    standin.faults["model.onnx"] = from_the_start
    (model,) = api.find_model(FUNASR)
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]


def test_a_server_that_takes_no_beginning(standin: StandIn) -> None:
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(FUNASR, "broke off")

    def no_ranges(handler: Handler, _content: bytes) -> bool:
        if "Range" in handler.headers:
            handler.send_error(416)
        return "Range" in handler.headers

    standin.faults["model.onnx"] = no_ranges
    (model,) = api.find_model(FUNASR)
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]


def test_no_checksum_no_going_on(standin: StandIn) -> None:
    def bare(told: Any) -> Any:
        for one in told["Data"]["Files"]:
            one.pop("Sha256", None)
        return told

    standin.listed = bare
    standin.faults["model.onnx"] = broken_off(100_000)
    refused(FUNASR, "broke off")
    standin.faults.clear()
    (model,) = api.find_model(FUNASR)
    assert "Range" not in standin.served("model.onnx")[-1]
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]


@pytest.mark.parametrize(
    ("source", "name"), [(FUNASR, "model.onnx"), (f"hf:{SHERPA}", "model.onnx"), (f"hf:{SHERPA}", "tokens.json")]
)
def test_a_wrong_checksum(standin: StandIn, machine: Path, source: str, name: str) -> None:
    standin.faults[name] = content_of(lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    refused(source, f"{name} arrived damaged", "try again")
    assert not list(machine.glob(f"cache/**/*{name}*"))
    standin.faults.clear()
    assert api.find_model(source)[0].is_file()


def test_more_than_was_told(standin: StandIn, machine: Path) -> None:
    standin.faults["model.onnx"] = content_of(lambda content: content + b"x" * 5_000_000)
    refused(FUNASR, "more of 'model.onnx' than the 908661 bytes that it told")
    assert all(path.stat().st_size <= 908_661 for path in machine.glob("cache/**/.model.onnx*"))


@pytest.mark.parametrize("source", [FUNASR, f"hf:{SHERPA}"])
@pytest.mark.parametrize(
    ("code", "message"),
    [(404, "no such model, revision or file"), (403, "guards it (status 403)"), (401, "guards it (status 401)"),
     (429, "asked too often"), (500, "answers with status 500"), (503, "try again later")],
)  # fmt: skip
def test_refusals(standin: StandIn, source: str, code: int, message: str) -> None:
    standin.faults["/main" if source.startswith("hf") else "/files"] = status(code)
    told = refused(source, message, "by another way and give their folder", standin.url)
    if code in (401, 403):
        assert ("HF_TOKEN" if source.startswith("hf") else "MODELSCOPE_API_TOKEN") in told


def test_a_refused_file_is_named_for_the_way_by_hand(standin: StandIn) -> None:
    standin.faults["model.onnx"] = status(403)
    refused(f"hf:{SHERPA}", "or get am.mvn, chn_jpn_yue_eng_ko_spectok.bpe.model, config.yaml, model.onnx, tokens.json from "
            f"{standin.url}/{SHERPA}/tree/main")  # fmt: skip


def test_no_such_model(standin: StandIn) -> None:
    refused("hf:nobody/nothing", "hf:nobody/nothing cannot be fetched: Hugging Face has no such model")
    refused("ms:nobody/nothing", "ms:nobody/nothing cannot be fetched: ModelScope has no such model")
    standin.listed = lambda told: {"Code": 10010205001, "Message": "record not found", "Success": False}
    refused(FUNASR, "ModelScope has no such model")


def test_no_network(machine: Path) -> None:
    started = time.monotonic()
    refused(FUNASR, "ms:iic/SenseVoiceSmall-onnx cannot be fetched (", "/models/iic/SenseVoiceSmall-onnx/files by another way")
    assert time.monotonic() - started < 3


def test_no_such_host(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://no-such-host.invalid")
    monkeypatch.setenv("no_proxy", "*")
    refused("sensevoice-small", "cannot be fetched (", f"https://no-such-host.invalid/{SHERPA}/tree/main")


def test_a_stalled_transfer_ends(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXRAY_TIMEOUT", "0.2")
    standin.faults["model.onnx"] = stalled
    started = time.monotonic()
    refused(FUNASR, "no answer in time")
    assert time.monotonic() - started < 4


def test_a_slow_transfer_arrives(standin: StandIn) -> None:
    standin.faults["model.onnx"] = slow
    told: list[int] = []
    (model,) = api.find_model(FUNASR, progress=lambda done, _total: told.append(done))
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]
    assert len(told) >= 8


@pytest.mark.parametrize(
    "answer",
    [b"<html>please log in</html>", b"[]", b'{"siblings": 3}', b"{}", b"null", b"[" * 100_000, b'{"sha": "x", "siblings": [7]}'],
)
@pytest.mark.parametrize("source", [FUNASR, f"hf:{SHERPA}"])
def test_an_answer_that_is_no_list(standin: StandIn, source: str, answer: bytes) -> None:
    standin.faults["/main" if source.startswith("hf") else "/files"] = content_of(lambda _: answer)
    refused(source, "sends no list of files", "HF_ENDPOINT" if source.startswith("hf") else "MODELSCOPE_DOMAIN")


def test_an_endless_list(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "LONGEST_LIST", 1 << 20)
    standin.faults["/files"] = content_of(lambda _: b" " * (3 << 20))
    refused(FUNASR, "a list of files of more than 1 MB, which is refused")


# --- Redirects and tokens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_tokens_stay_with_the_hub(
    standin: StandIn, served: Callable[[], StandIn], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = served()
    store.files = standin.files
    standin.faults["model.onnx"] = led_to(store.url, code)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (model,) = api.find_model(f"hf:{SHERPA}")
    assert model.read_bytes() == standin.files[SHERPA]["model.onnx"]
    assert {headers["Authorization"] for _, headers in standin.seen} == {"Bearer hf_secret"}
    assert len(store.seen) == 1
    assert not any("secret" in value for _, headers in store.seen for value in headers.values())


def test_a_redirect_within_the_hub_keeps_the_token_and_the_range(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms_secret")
    standin.faults["model.onnx"] = broken_off(500_000, times=1)
    moved = [False]

    def once(handler: Handler, content: bytes) -> bool:
        if "Range" in handler.headers and not moved[0]:
            moved[0] = True
            return led_to(standin.url)(handler, content)
        return False

    standin.faults["el.onnx"] = once
    (model,) = api.find_model(FUNASR)
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]
    last = standin.served("model.onnx")[-1]
    assert (last["Authorization"], last["Range"]) == ("Bearer ms_secret", "bytes=500000-")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_anything_but_the_web(standin: StandIn, target: str) -> None:
    standin.faults["model.onnx"] = led_to(target)
    refused(FUNASR, "cannot be fetched")


def test_redirects_from_a_safe_to_an_unsafe_address(machine: Path) -> None:
    import io
    import urllib.request

    request = urllib.request.Request("https://hub.invalid/x")
    with pytest.raises(hub._BrokenError, match="not safe"):
        hub._Redirects().redirect_request(request, io.BytesIO(), 302, "", {}, "http://hub.invalid/x")


def test_redirects_without_end(standin: StandIn) -> None:
    standin.faults["model.onnx"] = led_to(standin.url)
    refused(FUNASR, "cannot be fetched")


# --- Hostile lists -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil.onnx", "/etc/evil.onnx", "a/../../evil", "onnx/../../evil.onnx", "..\\evil.onnx", "C:evil.onnx", "a//b", "",
             "./model.onnx", "tokens.json\n", "\x1b[2J.onnx", "nul\0.onnx", None, 7]
)  # fmt: skip
@pytest.mark.parametrize("source", [FUNASR, f"hf:{SHERPA}"])
def test_names_that_lead_out_of_the_folder(standin: StandIn, machine: Path, source: str, name: Any) -> None:
    def hostile(told: Any) -> Any:
        files = told["siblings"] if "siblings" in told else told["Data"]["Files"]
        files.append({**files[-1], "rfilename": name, "Path": name})
        return told

    standin.listed = hostile
    told = refused(source, "which is refused; do not trust this source")
    assert told.isprintable()
    assert not (machine / "cache").exists()
    assert len(standin.seen) == 1


@pytest.mark.parametrize("size", [-1, 1.5, "12", None, True, [1]])
def test_sizes_that_are_none(standin: StandIn, size: Any) -> None:
    def hostile(told: Any) -> Any:
        told["Data"]["Files"][1]["Size"] = size
        return told

    standin.listed = hostile
    refused(FUNASR, "a list with the size", "do not trust this source")


def test_sizes_that_no_disk_holds(standin: StandIn, machine: Path) -> None:
    def hostile(told: Any) -> Any:
        next(one for one in told["siblings"] if one["rfilename"] == "model.onnx")["lfs"]["size"] = 10**18
        return told

    standin.listed = hostile
    refused(f"hf:{SHERPA}", "1000000000.0 GB are to be fetched but", "VOXRAY_CACHE")
    assert len(standin.seen) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_in_the_cache_is_not_followed(standin: StandIn, machine: Path) -> None:
    victim = machine / "victim"
    victim.write_bytes(b"precious")
    folder = machine / "cache" / "models" / "ms--iic--SenseVoiceSmall-onnx" / "master"
    folder.mkdir(parents=True)
    checksum = hashlib.sha256(standin.files[FUNASR]["model.onnx"]).hexdigest()
    (folder / f".model.onnx.{('sha256' + checksum)[:24]}.part").symlink_to(victim)
    (folder / "tokens.json").symlink_to(victim)
    (model,) = api.find_model(FUNASR)
    assert victim.read_bytes() == b"precious"
    assert not (model.parent / "tokens.json").is_symlink()
    assert model.read_bytes() == standin.files[FUNASR]["model.onnx"]


# --- What is already here ----------------------------------------------------------------------------------------------


def lay(folder: Path, data: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in files or ("model.onnx", "tokens.json", "am.mvn"):
        shutil.copyfile(data / "sensevoice-funasr" / name, folder / name)
    return folder


MODELSCOPE_LAYOUTS = [
    "models/iic--SenseVoice.Small-onnx/snapshots/master", "models/iic--SenseVoice.Small-onnx/snapshots/v2",
    "models/iic/SenseVoice___Small-onnx", "models/iic/SenseVoice.Small-onnx", "hub/models/iic/SenseVoice.Small-onnx",
    "hub/models/iic/SenseVoice___Small-onnx", "hub/iic/SenseVoice.Small-onnx", "iic/SenseVoice.Small-onnx",
]  # fmt: skip


@pytest.mark.parametrize("layout", MODELSCOPE_LAYOUTS)
@pytest.mark.parametrize("variable", [None, "MODELSCOPE_CACHE"])
def test_modelscopes_cache(machine: Path, data: Path, monkeypatch: pytest.MonkeyPatch, layout: str, variable: str | None) -> None:
    root = machine / "home" / ".cache" / "modelscope"
    if variable is not None:
        root = machine / "elsewhere"
        monkeypatch.setenv(variable, str(root))
    folder = lay(root / layout, data)
    assert api.find_model("iic/SenseVoice.Small-onnx") == (folder / "model.onnx",)
    if "v2" in layout:
        assert api.find_model("iic/SenseVoice.Small-onnx@v2") == (folder / "model.onnx",)
    if "snapshots" not in layout:
        refused("iic/SenseVoice.Small-onnx@v2", "cannot be fetched")  # such a folder does not tell its revision
    refused("iic/SenseVoice.Small-onnx:int8", "cannot be fetched")


def hugging_face_cache(root: Path, data: Path, commit: str = COMMIT) -> Path:
    repository = root / f"models--{SHERPA.replace('/', '--')}"
    (repository / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in ("model.onnx", "tokens.json", "am.mvn"):
        blob = repository / "blobs" / f"{commit[:4]}-{name.replace('.', '')}"
        shutil.copyfile(data / "sensevoice-funasr" / name, blob)
        (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


@pytest.mark.parametrize(
    ("variable", "place"),
    [(None, "home/.cache/huggingface/hub"), ("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"),
     ("XDG_CACHE_HOME", "huggingface/hub")],
)  # fmt: skip
def test_hugging_faces_cache(machine: Path, data: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, place: str) -> None:
    root = machine
    if variable is not None:
        root = machine / "elsewhere"
        monkeypatch.setenv(variable, str(root))
    old = hugging_face_cache(root / place, data)
    assert api.find_model("sensevoice-small") == (old / "model.onnx",)
    assert voxray.load_model("sensevoice-small").info.layout == "funasr"
    new = hugging_face_cache(root / place, data, "ab" * 20)
    os.utime(new, (2e9, 2e9))
    assert api.find_model("sensevoice-small")[0].parent == new  # the newest, as long as nothing says which is main
    (old.parent.parent / "refs").mkdir()
    (old.parent.parent / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    assert api.find_model("sensevoice-small")[0].parent == old
    assert api.find_model(f"sensevoice-small@{'ab' * 20}")[0].parent == new
    assert api.find_model("sensevoice-small@ababababa")[0].parent == new
    assert api.find_model("sensevoice-small@main")[0].parent == old
    refused("sensevoice-small@v3", "cannot be fetched")


def test_a_cache_that_is_not_whole_is_no_cache(standin: StandIn, machine: Path, data: Path) -> None:
    snapshot = hugging_face_cache(machine / "home/.cache/huggingface/hub", data)
    (snapshot / "tokens.json").resolve().unlink()
    (model,) = api.find_model("sensevoice-small")
    assert machine / "cache" in model.parents


def test_an_unpacked_archive_in_the_working_folder(machine: Path, data: Path) -> None:
    folder = lay(machine / "desk" / SHERPA.split("/")[1], data)
    assert api.find_model("sensevoice-small") == (folder / "model.onnx",)
    assert api.find_model(f"hf:{SHERPA}") == (folder / "model.onnx",)


def test_a_path_is_a_path(standin: StandIn, machine: Path, data: Path) -> None:
    folder = lay(machine / "desk" / FUNASR, data)
    assert [path.resolve() for path in api.find_model(FUNASR)] == [folder / "model.onnx"]
    with pytest.raises(ModelError, match="no such model"):
        api.find_model(Path("iic/another"))
    assert standin.seen == []


def test_a_mistyped_path_is_told_to_nobody(standin: StandIn) -> None:
    refused("exports/secret-project", "no such model: exports/secret-project; give an .onnx file", "hf:owner/name")
    refused("sensevoice-smal", "no such model: sensevoice-smal", "'voxray models'")
    refused("exports/model.onnx", "no such model")
    refused("a/b/c/model.onnx", "no such model")
    assert standin.seen == []


def test_a_spoilt_record_is_no_record(standin: StandIn) -> None:
    (model,) = api.find_model(FUNASR)
    (model.parent / hub.RECORD).write_text('{"files": [["../x", 1, ""]], "revision": "x", "licence": ""}', encoding="utf-8")
    assert api.find_model(FUNASR) == (model,)
    assert len(standin.served("model.onnx")) == 1  # the record came again, the files were whole
    model.write_bytes(b"cut")
    assert api.find_model(FUNASR)[0].read_bytes() == standin.files[FUNASR]["model.onnx"]


def test_the_cache_cannot_be_written(standin: StandIn, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "file").write_bytes(b"")
    monkeypatch.setenv("VOXRAY_CACHE", str(machine / "file"))
    refused(FUNASR, "cannot be written", "set VOXRAY_CACHE")


# --- What the environment says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "source", "quiet"),
    [
        ("VOXRAY_OFFLINE", "1", FUNASR, True),
        ("VOXRAY_OFFLINE", "yes", "sensevoice-small", True),
        ("HF_HUB_OFFLINE", "1", "sensevoice-small", True),
        ("TRANSFORMERS_OFFLINE", "ON", "sensevoice-small", True),
        ("HF_HUB_OFFLINE", "1", FUNASR, False),
        ("MODELSCOPE_OFFLINE", "True", FUNASR, True),
        ("MODELSCOPE_OFFLINE", "1", "sensevoice-small", False),
        ("VOXRAY_OFFLINE", "0", FUNASR, False),
    ],
)
def test_offline(standin: StandIn, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, source: str, quiet: bool) -> None:
    monkeypatch.setenv(variable, value)
    if quiet:
        refused(source, f"is not on this machine and {variable} is set: unset it, or get the model", "by another way")
        assert standin.seen == []
        monkeypatch.delenv(variable)
        (model,) = api.find_model(source)
        monkeypatch.setenv(variable, value)
        assert api.find_model(source) == (model,)
    else:
        assert api.find_model(source)[0].is_file()


def test_settings() -> None:
    plain = hub.Settings.read({})
    assert plain.endpoints == {"hf": "https://huggingface.co", "ms": "https://www.modelscope.cn"}
    assert plain.timeout == hub.TIMEOUT
    mirrored = hub.Settings.read({"HF_ENDPOINT": "https://hf-mirror.com/", "MODELSCOPE_DOMAIN": "www.modelscope.ai"})
    assert mirrored.endpoints == {"hf": "https://hf-mirror.com", "ms": "https://www.modelscope.ai"}
    for wrong in ({"HF_ENDPOINT": "file:///etc"}, {"HF_ENDPOINT": "hf-mirror.com"}, {"MODELSCOPE_DOMAIN": "ftp://x"}):
        with pytest.raises(ModelError, match="is no address of a hub"):
            hub.Settings.read(wrong)
    for wrong in ("soon", "0", "-1", "nan"):
        with pytest.raises(ModelError, match="VOXRAY_TIMEOUT"):
            hub.Settings.read({"VOXRAY_TIMEOUT": wrong})


@pytest.mark.parametrize(
    ("platform", "environ", "place"),
    [
        ("linux", {}, ".cache/voxray"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/voxray"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "Library/Caches/voxray"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/voxray/cache"),
        ("win32", {}, "AppData/Local/voxray/cache"),
        ("linux", {"VOXRAY_CACHE": "~/v"}, "v"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], place: str
) -> None:
    monkeypatch.setattr(hub.sys, "platform", platform)
    assert hub.Settings.read(environ).cache == machine / "home" / place


# --- Everything together -----------------------------------------------------------------------------------------------


def test_several_at_once_fetch_once(standin: StandIn) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(api.find_model(FUNASR))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(standin.served("model.onnx")) == 1


def test_a_fetched_model_says_what_the_original_says(standin: StandIn, data: Path, funasr_model: Any) -> None:
    model = voxray.load_model("sensevoice-small")
    clip = data / "audio" / "short.wav"
    assert model.info.sha256 == funasr_model.info.sha256
    assert model.trace(clip).raw_text == funasr_model.trace(clip).raw_text


def test_models_in_a_subfolder(standin: StandIn, data: Path) -> None:
    files = standin.files[FUNASR]
    standin.files["iic/nested"] = {f"onnx/{name}": files[name] for name in ("model.onnx", "tokens.json", "am.mvn")}
    (model,) = api.find_model("iic/nested")
    assert model.parent.name == "onnx"
    assert voxray.load_model(model.parent.parent).info.sha256 == voxray.load_model("iic/nested").info.sha256


def test_external_data_comes_along(standin: StandIn, model_folder: Path, data: Path) -> None:
    import onnx

    whole = onnx.load(model_folder / "model.onnx")
    onnx.save(whole, str(model_folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    standin.files["iic/external"] = {path.name: path.read_bytes() for path in model_folder.iterdir()}
    assert voxray.load_model("iic/external").trace(data / "audio" / "short.wav").raw_text == "<|ko|><|Speech|>an<|Speech|>个"


def test_known_models_tell_what_is_here(standin: StandIn, machine: Path, data: Path) -> None:
    def here() -> dict[str, list[tuple[str, list[str]]]]:
        return {one.source: [(where, sorted(files)) for where, _, files in one.held] for one in api.known_models()}

    assert not any(here().values())
    families = {one.family for one in api.known_models()}
    assert families == {one.family for one in hub.KNOWN} & {one.__name__.rsplit(".", 1)[1] for one in models.families()}
    api.find_model("sensevoice-small:int8")
    standin.files["someone/thing"] = standin.files[FUNASR]
    api.find_model("hf:someone/thing@v1")
    lay(machine / "desk" / SHERPA.split("/")[1], data)
    found = here()
    assert found[f"hf:{SHERPA}"] == [("Voxray's cache", ["model_quant.onnx"]), ("the working folder", ["model.onnx"])]
    assert found["hf:someone/thing@v1"] == [("Voxray's cache", ["model.onnx"])]
    licences = {one.source: one.licence for one in api.known_models()}
    assert licences[f"hf:{SHERPA}"] == licences["hf:someone/thing@v1"] == "apache-2.0"
    assert licences[f"ms:{FUNASR}"] == ""


def test_a_family_that_is_not_there(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_family_names", lambda: ["sensevoice"])
    refused("whisper-base", "whisper-base is a whisper model, which this version of Voxray cannot open")
    assert {one.family for one in api.known_models()} == {"sensevoice"}
    assert standin.seen == []


def test_what_is_an_id(machine: Path, data: Path) -> None:
    assert models.is_id(FUNASR)
    assert models.is_id("sensevoice-small:int8")
    assert not models.is_id(Path(FUNASR))
    assert not models.is_id("exports/model")
    lay(machine / "desk" / FUNASR, data)
    assert not models.is_id(FUNASR)


def test_the_hub_is_no_family() -> None:
    assert hub not in models.families()


def test_importing_voxray_brings_no_network_code() -> None:
    import subprocess

    code = "import voxray, sys; voxray.load_model; print([one for one in ('urllib.request', 'http.client') if one in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# --- From what a reader has to a heat map, with one command ------------------------------------------------------------


def drawn(monkeypatch: pytest.MonkeyPatch, model: str, clip: Path, out: Path) -> None:
    """Run the command that draws attention, and check that it drew."""
    words = ["voxray", "attention", str(clip), "--model", model, "--dpi", "60", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    picture = out / f"{clip.stem}-heatmap.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 5_000


@pytest.mark.parametrize(
    "source", [FUNASR, f"ms:{FUNASR}@master:int8", f"hf:{SHERPA}", "sensevoice-small", "sensevoice-small-funasr:int8"]
)
def test_who_has_only_an_id(standin: StandIn, machine: Path, monkeypatch: pytest.MonkeyPatch, data: Path, source: str) -> None:
    drawn(monkeypatch, source, data / "audio" / "short.wav", machine / "pictures")


@pytest.mark.parametrize("source", ["model", "model/model.onnx"])
def test_who_has_only_a_folder_or_a_file(
    machine: Path, monkeypatch: pytest.MonkeyPatch, data: Path, source: str, model_folder: Path
) -> None:
    drawn(monkeypatch, str(model_folder.parent / source), data / "audio" / "short.wav", machine / "pictures")


@pytest.mark.parametrize("source", ["sensevoice-small", "sensevoice-small:int8", SHERPA.split("/")[1]])
def test_who_has_only_an_unpacked_archive(
    machine: Path, monkeypatch: pytest.MonkeyPatch, data: Path, source: str, shared_fixtures: Path
) -> None:
    shutil.copytree(shared_fixtures / "sensevoice-sherpa", machine / "desk" / SHERPA.split("/")[1])
    drawn(monkeypatch, source, data / "audio" / "short.wav", machine / "pictures")


def test_a_command_tells_what_is_wrong_in_one_line(
    machine: Path, monkeypatch: pytest.MonkeyPatch, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["voxray", "trace", str(data / "audio" / "short.wav"), "-m", "sensevoice-small"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out, told.err.count("\n")) == (2, "", 1)
    assert told.err.startswith(f"voxray: hf:{SHERPA} cannot be fetched (")
