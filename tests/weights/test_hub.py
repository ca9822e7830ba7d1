"""The real `huggingface_hub`, and a hub on 127.0.0.1."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from grounding.errors import CheckpointError, LavallamaError, OfflineError, OutputError
from tests.loopback_hub import tag_of
from weights import hub
from weights.base import load_base
from weights.choose import choose_part
from weights.hub_cache import sweep_partials
from weights.llava import read_llava

UNET = "unet/diffusion_pytorch_model"
SD = {
    name: name.encode().ljust(100 if "fp16" in name else 200)
    for name in (
        "README.md",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        f"{UNET}.safetensors",
        f"{UNET}.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "safety_checker/model.safetensors",
    )
}
NEEDED = set(SD) - {"README.md", f"{UNET}.fp16.safetensors", "safety_checker/model.safetensors"}
GATES = {"adapter.safetensors": b"gates", "config.json": b"{}", "README.md": b"a card"}


def files_in(folder):
    return {f.relative_to(folder).as_posix() for f in Path(folder).rglob("*") if f.is_file()}


def refusal(call, *arguments, kind: type[LavallamaError] = LavallamaError, **options):
    """What the one line says."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def go(loopback_hub, how, monkeypatch):
    """Take the hub away in one of many ways; returns the options of the next call."""
    if how == "offline":
        return {"offline": True}
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    elif how == "gone":
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    elif how == "hangs":
        monkeypatch.setattr(hub, "HUB_TIMEOUT", 0.2)
        loopback_hub.modes["someone/sd"] = {"hang": 1}
    elif how == "gated":
        loopback_hub.modes["someone/sd"] = {"gated": 403}
    elif how == "deleted":
        loopback_hub.modes["someone/sd"] = {"missing": True}
    else:
        loopback_hub.modes["someone/sd"] = {"status": how}
    return {}


AWAY = ["offline", "HF_HUB_OFFLINE", "gone", "hangs", "gated", "deleted", 503, 500, 429, 401]


@pytest.mark.parametrize("how", AWAY)
def test_what_was_downloaded_is_found_again(loopback_hub, how, monkeypatch):
    loopback_hub.put("someone/sd", SD)
    folder = hub.fetch_base("someone/sd")
    assert files_in(folder) == NEEDED
    assert sorted(loopback_hub.downloaded) == sorted(NEEDED)
    loopback_hub.requests.clear()
    assert hub.fetch_base("someone/sd", **go(loopback_hub, how, monkeypatch)) == folder
    if "ffline" in str(how) or "OFFLINE" in str(how):
        assert loopback_hub.requests == []
    assert not loopback_hub.downloaded


@pytest.mark.parametrize("how", ["offline", "gone", 503])
@pytest.mark.parametrize("lost", [f"{UNET}.safetensors", "vae/config.json", "tokenizer/merges.txt"])
def test_what_is_missing_of_a_half_downloaded_repository_is_named(
    loopback_hub, how, lost, monkeypatch
):
    loopback_hub.put("someone/sd", SD)
    folder = hub.fetch_base("someone/sd")
    (folder / lost).unlink()
    options = go(loopback_hub, how, monkeypatch)
    kept = hub._known_tree(hub.find_place("someone/sd", {}), folder.name)
    if lost == "tokenizer/merges.txt" and not kept:
        pytest.skip("only the kept listing of newer versions tells")
    line = refusal(hub.fetch_base, "someone/sd", kind=OfflineError, **options)
    assert lost in line
    assert "only a part" in line


def test_of_a_half_downloaded_llava_the_weights_are_missed(loopback_hub):
    names = ("config.json", "tokenizer.json", "model.safetensors")
    loopback_hub.put("someone/llava", dict.fromkeys(names, b"{}"))
    folder = hub.fetch_chat("someone/llava")
    (folder / "model.safetensors").unlink()
    line = refusal(hub.fetch_chat, "someone/llava", offline=True)
    if hub._known_tree(hub.find_place("someone/llava", {}), folder.name):
        assert "only a part of it was downloaded before: model.safetensors" in line
    else:  # older versions keep no listing
        assert "is not on this machine" in line


def test_a_missing_folder_is_named(loopback_hub):
    loopback_hub.put("someone/sd", SD)
    folder = hub.fetch_base("someone/sd")
    shutil.rmtree(folder / "text_encoder")
    assert "text_encoder/" in refusal(hub.fetch_base, "someone/sd", offline=True)


def test_the_other_precision_does_where_it_was_downloaded(loopback_hub, caplog):
    loopback_hub.put("someone/sd", SD)
    folder = hub.fetch_base("someone/sd", half=True)
    assert f"{UNET}.fp16.safetensors" in files_in(folder)
    caplog.set_level(logging.WARNING, logger="weights")
    assert hub.fetch_base("someone/sd", offline=True) == folder
    assert "half precision only: unet" in caplog.text


def test_a_model_of_a_part_and_one_of_all(loopback_hub):
    """One repository, two kinds of model: each has what it needs, nothing is loaded twice."""
    loopback_hub.put("someone/sd", SD)
    hub.fetch_adapter("someone/sd")
    assert sorted(loopback_hub.downloaded) == [
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    refusal(hub.fetch_base, "someone/sd", kind=OfflineError, offline=True)
    hub.fetch_base("someone/sd")
    assert sorted(loopback_hub.downloaded) == sorted(NEEDED)


def test_full_precision_that_is_here_is_not_downloaded_again_in_half(loopback_hub):
    loopback_hub.put("someone/sd", SD)
    folder = hub.fetch_base("someone/sd")
    loopback_hub.requests.clear()
    assert hub.fetch_base("someone/sd", half=True) == folder
    assert not loopback_hub.downloaded


def test_half_precision_that_is_here_does_not_stand_for_full(loopback_hub):
    loopback_hub.put("someone/sd", SD)
    hub.fetch_base("someone/sd", half=True)
    loopback_hub.requests.clear()
    hub.fetch_base("someone/sd")
    assert loopback_hub.downloaded == [f"{UNET}.safetensors"]


def test_a_disk_that_fills_up_is_not_a_missing_network(loopback_hub, monkeypatch):
    def write(*_, **__):
        raise OSError(28, "No space left on device")

    loopback_hub.put("someone/sd", SD)
    monkeypatch.setattr("huggingface_hub.file_download.http_get", write)
    line = refusal(hub.fetch_base, "someone/sd", kind=OutputError)
    assert "cannot be stored" in line
    assert "No space left" in line


def test_an_older_revision_does_until_the_newest_is_whole(loopback_hub, caplog):
    loopback_hub.put("someone/sd", SD)
    old = hub.fetch_base("someone/sd")
    loopback_hub.put("someone/sd", {**SD, "vae/config.json": b"new", "unet/config.json": b"new"})
    loopback_hub.modes["someone/sd"] = {"file404": "vae/config.json"}
    caplog.set_level(logging.WARNING, logger="weights")
    assert hub.fetch_base("someone/sd") == old
    assert "uses what was downloaded before" in caplog.text
    assert hub.fetch_base("someone/sd", offline=True) == old
    loopback_hub.modes.clear()
    assert (hub.fetch_base("someone/sd") / "vae/config.json").read_bytes() == b"new"


def test_a_single_file(loopback_hub):
    loopback_hub.put("someone/many", {f"{n}.safetensors": n.encode() for n in "abc"})
    path = hub.fetch_adapter("someone/many/b.safetensors")
    assert path.read_bytes() == b"b"
    assert loopback_hub.downloaded == ["b.safetensors"]
    assert hub.fetch_adapter("someone/many/b.safetensors", offline=True) == path
    line = refusal(hub.fetch_adapter, "someone/many/a.safetensors", offline=True)
    assert "someone/many/a.safetensors" in line
    line = refusal(hub.fetch_adapter, "someone/many/d.safetensors", kind=CheckpointError)
    assert "no d.safetensors; it has a.safetensors, b.safetensors" in line


@pytest.mark.parametrize(
    ("file", "said", "line"),
    [
        ("unet/config.json", {"class_embed_type": "projection"}, "expected the UNet of Stable"),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "the noise of"),
        ("vae/config.json", {"latents_mean": [1.0]}, "its latents are shifted"),
    ],
)
def test_what_cannot_be_drawn_with_is_refused_before_its_weights(loopback_hub, file, said, line):
    configs = {name: b"{}" for name in SD if name.endswith(".json")}
    loopback_hub.put("someone/sd", {**SD, **configs, file: json.dumps(said).encode()})
    assert line in refusal(load_base, "someone/sd", kind=CheckpointError)
    assert file in loopback_hub.downloaded
    assert not any(name.endswith((".safetensors", ".bin")) for name in loopback_hub.downloaded)


def test_what_is_no_llava_is_refused_before_its_weights(loopback_hub):
    other = {"model_type": "qwen2_vl", "vision_config": {}}
    files = {"config.json": json.dumps(other).encode(), "model.safetensors": b"gigabytes"}
    loopback_hub.put("someone/vl", {**files, "tokenizer.json": b"{}"})
    assert "expected a LLaVA" in refusal(read_llava, "someone/vl", kind=CheckpointError)
    assert sorted(loopback_hub.downloaded) == ["config.json", "tokenizer.json"]


def test_a_choice_of_files_is_named_before_a_download(loopback_hub):
    loopback_hub.put("someone/many", {"a.safetensors": b"a" * 30000, "b.safetensors": b"b"})
    line = refusal(hub.fetch_adapter, "someone/many", kind=CheckpointError)
    assert "a.safetensors (30 kB), b.safetensors (0.001 kB)" in line
    assert "name one, as someone/many/a.safetensors" in line
    assert not loopback_hub.downloaded


def test_a_choice_of_files_in_folders_is_named_too(loopback_hub):
    names = ("image_encoder/model", "plain", "plus")
    files = {f"models/{name}.safetensors": name.encode() for name in names}
    loopback_hub.put("someone/adapters", {**files, "README.md": b"a card"})
    line = refusal(hub.fetch_adapter, "someone/adapters", kind=CheckpointError)
    assert "models/plain.safetensors (0.005 kB), models/plus.safetensors" in line
    assert "name one, as someone/adapters/models/plain.safetensors" in line


def test_a_folder_in_a_repository(loopback_hub):
    encoder = {"config.json": b"{}", "model.safetensors": b"w", "pytorch_model.bin": b"w"}
    files = {f"models/image_encoder/{name}": data for name, data in encoder.items()}
    loopback_hub.put("h94/IP-Adapter", {**files, "models/ip-adapter_sd15.bin": b"x"})
    name = "h94/IP-Adapter/models/image_encoder"
    folder = hub.fetch_files(name, choose_part)
    assert files_in(folder) == {"config.json", "model.safetensors"}
    assert hub.fetch_files(name, choose_part, offline=True) == folder
    loopback_hub.clear()
    assert hub.fetch_files(name, choose_part) == folder


@pytest.mark.parametrize("name", ["someone/sd@old", "{url}/someone/sd/tree/old"])
def test_a_revision(loopback_hub, name):
    name = name.format(url=loopback_hub.url)
    commit = loopback_hub.put("someone/sd", {**SD, "vae/config.json": b"old"}, "old")
    loopback_hub.put("someone/sd", SD)
    folder = hub.fetch_base(name)
    assert (folder / "vae/config.json").read_bytes() == b"old"
    assert folder.name == commit
    assert hub.fetch_base(name, offline=True) == folder
    assert hub.fetch_base(f"someone/sd@{commit}", offline=True) == folder
    refusal(hub.fetch_base, "someone/sd", kind=OfflineError, offline=True)
    assert "no revision 'new'" in refusal(hub.fetch_base, "someone/sd@new", kind=CheckpointError)


def test_a_url_of_a_file(loopback_hub):
    loopback_hub.put("someone/many", {"x/b.safetensors": b"b"})
    url = f"{loopback_hub.url}/someone/many/resolve/main/x/b.safetensors?download=true"
    assert hub.fetch_adapter(url).read_bytes() == b"b"


def test_short_names_stand_for_files_and_repositories(loopback_hub):
    loopback_hub.put("xdecoder/SEEM", {"seem_focalt_v0.pt": b"0", "seem_focalt_v1.pt": b"1"})
    loopback_hub.put("CompVis/stable-diffusion-v1-4", SD, "fp16")
    assert hub.fetch_segmenter("seem-focalt").read_bytes() == b"1"
    assert files_in(hub.fetch_base("sd14@fp16")) == NEEDED


@pytest.mark.parametrize("name", ["gligen", "sd15"])
def test_a_generator_s_short_name_is_no_segmenter(loopback_hub, name):
    assert "seem-focalt" in refusal(hub.fetch_segmenter, name, offline=True)


def test_the_tokenizer_folder_is_found(loopback_hub):
    loopback_hub.put("someone/sd", SD)
    assert hub.fetch_tokenizer("someone/sd").name == "tokenizer"


def test_a_segmenter_s_tokenizer_comes_with_it(loopback_hub):
    own = ["config.json", "model.safetensors", "predictor.json"]
    words = ["tokenizer/merges.txt", "tokenizer/vocab.json"]
    loopback_hub.put("someone/seem", dict.fromkeys([*own, *words, "overlay.png"], b"x"))
    assert files_in(hub.fetch_segmenter("someone/seem")) == {*own, *words}


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ({"gated": 401}, "is gated: accept its licence at {url}/someone/sd, then log in"),
        ({"gated": 403}, "is gated: accept its licence at {url}/someone/sd, then log in"),
        ({"missing": True}, "the hub has no such model (or a private one: log in"),
        ({"closed": True}, "the hub has closed this repository"),
        ({"file404": "vae/config.json"}, "the hub lists a file of it that it does not give"),
        ({"status": 503}, "the hub answered 503"),
        ({"status": 401}, "the hub answered 401; is your token still valid?"),
        ({"status": 407}, "the hub answered 407"),
    ],
)
def test_the_true_reason_is_said(loopback_hub, mode, said):
    loopback_hub.put("someone/sd", SD)
    loopback_hub.modes["someone/sd"] = mode
    assert said.format(url=loopback_hub.url) in refusal(hub.fetch_base, "someone/sd")


def test_who_is_logged_in_is_not_told_to(loopback_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    loopback_hub.put("someone/sd", SD)
    loopback_hub.modes["someone/sd"] = {"gated": 403}
    line = refusal(hub.fetch_base, "someone/sd", kind=CheckpointError)
    assert "you are logged in, but have not been let in" in line
    assert f"accept its licence at {loopback_hub.url}/someone/sd" in line
    assert "hf auth login" not in line


@pytest.mark.parametrize("how", ["offline", "HF_HUB_OFFLINE", "gone", "hangs"])
def test_what_is_not_here_and_cannot_be_had(loopback_hub, how, monkeypatch):
    loopback_hub.put("someone/sd", SD)
    options = go(loopback_hub, how, monkeypatch)
    line = refusal(hub.fetch_base, "someone/sd", kind=OfflineError, **options)
    assert "use 'embedded', the model that ships with lavallama" in line
    reason = {"offline": "offline mode is on", "HF_HUB_OFFLINE": "HF_HUB_OFFLINE is set"}
    assert reason.get(how, "no connection to the hub") in line
    line = refusal(hub.fetch_files, "someone/sd", choose_part, kind=OfflineError, **options)
    assert "embedded" not in line


def test_a_repository_of_something_else(loopback_hub):
    loopback_hub.put("someone/data", {"README.md": b"", "data.csv": b""})
    assert "no model of a known layout" in refusal(hub.fetch_base, "someone/data")


def test_what_a_repository_lacks_is_said_before_a_download(loopback_hub):
    loopback_hub.put("someone/sd", {f: d for f, d in SD.items() if not f.startswith("vae/")})
    line = refusal(hub.fetch_base, "someone/sd", kind=CheckpointError)
    assert "has no vae/config.json" in line
    assert not loopback_hub.downloaded


def test_room_is_looked_for_before_a_download(loopback_hub):
    loopback_hub.put("someone/sd", SD)
    loopback_hub.modes["someone/sd"] = {"size": {f"{UNET}.safetensors": 10**18}}
    line = refusal(hub.fetch_base, "someone/sd", kind=OutputError)
    assert "needs 1e+09 GB" in line
    assert "free" in line
    assert "HF_HOME" in line
    assert not loopback_hub.downloaded


def test_what_another_revision_has_needs_no_room(loopback_hub, monkeypatch, caplog):
    loopback_hub.put("someone/sd", SD)
    hub.fetch_base("someone/sd")
    loopback_hub.put("someone/sd", {**SD, "unet/config.json": b"new"})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    loopback_hub.requests.clear()
    assert (hub.fetch_base("someone/sd") / "unet/config.json").read_bytes() == b"new"
    assert loopback_hub.downloaded == ["unet/config.json"]
    loopback_hub.put("someone/sd", {**SD, "unet/config.json": b"newer"})
    assert (hub.fetch_base("someone/sd") / "unet/config.json").read_bytes() == b"new"
    assert "needs 0.005 kB" in caplog.text
    assert "uses what was downloaded before" in caplog.text


def test_a_cache_that_cannot_be_made(loopback_hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    loopback_hub.put("someone/sd", SD)
    line = refusal(hub.fetch_base, "someone/sd", kind=OutputError)
    assert f"{cache}: the folder for downloads cannot be made (Not a directory)" in line
    assert "HF_HOME" in line


def test_readers_that_are_not_installed_are_named_before_a_download(loopback_hub, monkeypatch):
    files = {"config.json": b"{}", "tokenizer.model": b"x", "pytorch_model.bin": b"w"}
    loopback_hub.put("someone/llava", files)
    monkeypatch.setattr(hub, "_importable", lambda name: name != "google.protobuf")
    line = refusal(hub.fetch_chat, "someone/llava")
    assert line.endswith("pip install protobuf")
    assert not loopback_hub.downloaded
    loopback_hub.put("someone/llava", {**files, "tokenizer.json": b"{}"})
    assert files_in(hub.fetch_chat("someone/llava")) == {*files, "tokenizer.json"}


def test_a_dropped_connection_is_taken_up_again(loopback_hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    data = bytes(range(256)) * 4096
    loopback_hub.put("someone/one", {"a.safetensors": data})
    loopback_hub.modes["someone/one"] = {"cut": 1 << 19}
    try:
        folder = hub.fetch_adapter("someone/one")
    except OfflineError:  # before huggingface_hub 1.0 the next run takes it up
        folder = hub.fetch_adapter("someone/one")
    assert (folder / "a.safetensors").read_bytes() == data
    ranges = [asked for method, _, asked in loopback_hub.requests if method == "GET" and asked]
    assert ranges
    assert not ranges[0].startswith("bytes=0-")


@pytest.mark.parametrize(
    "source",
    ["nothing", "a/b c", "../x/y", "a/b/../c", "a/b/c.txt", "", "-a/b-", "https://example.com/a/b"],
)
def test_what_is_neither_a_file_nor_a_name(loopback_hub, source):
    assert "expected a path, a hub id" in refusal(hub.fetch_base, source, offline=True)


FETCH = "import sys; from weights.hub import fetch_adapter; print(fetch_adapter(sys.argv[1]))"


def start(loopback_hub, tmp_path, monkeypatch):
    """A process of its own that downloads one slow file."""
    for name, value in (
        ("HF_ENDPOINT", loopback_hub.url),
        ("HF_HOME", str(tmp_path / "home")),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ):
        monkeypatch.setenv(name, value)
    data = bytes(4 << 20)
    loopback_hub.put("someone/one", {"a.safetensors": data})
    loopback_hub.modes["someone/one"] = {"rate": 400_000}
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, "someone/one"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    blobs = tmp_path / "home/hub/models--someone--one/blobs"
    deadline = time.monotonic() + 60
    while "a.safetensors" not in loopback_hub.downloaded:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    return process, blobs / tag_of("a.safetensors", data)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGINT for one process")
def test_ctrl_c_ends_a_download(loopback_hub, tmp_path, monkeypatch):
    process, blob = start(loopback_hub, tmp_path, monkeypatch)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert b"KeyboardInterrupt" in said
    assert not blob.exists()  # it did not wait for the rest


def test_what_a_killed_download_left_is_taken_up_or_removed(loopback_hub, tmp_path, monkeypatch):
    process, blob = start(loopback_hub, tmp_path, monkeypatch)
    [left] = blob.parent.glob("*.incomplete")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home/hub"))
    os.utime(left, (0, 0))
    assert sweep_partials("someone/one") == 0  # it is locked
    process.kill()
    process.communicate()
    os.utime(left)
    assert sweep_partials("someone/one") == 0  # it was written to lately
    assert left.exists()
    os.utime(left, (0, 0))
    loopback_hub.modes.clear()
    hub.fetch_adapter("someone/one")
    assert not list(blob.parent.glob("*.incomplete"))
    assert blob.stat().st_size == 4 << 20
