"""The hub is played by stand-ins: no test here uses the network."""

from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from grounding.errors import CheckpointError, OfflineError, OutputError
from weights import gligen, hub
from weights.base import load_base

SD = [
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.bin",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "v1-5-pruned.ckpt",
]


class ConnectError(Exception):
    """As of the HTTP library under the hub's client, which changes with its version."""


class Hub:
    """What the hub and its cache would do."""

    def __init__(self, folder, files=(), cached=(), failure=None):
        self.folder, self.files, self.failure = folder, list(files), failure
        self.asked, self.downloaded = 0, []
        for name in cached:
            self.put(name)

    def put(self, name):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text("x")

    def model_info(self, repo, timeout):
        assert 0 < timeout <= 10
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(
            sha="0" * 40, siblings=[SimpleNamespace(rfilename=name) for name in self.files]
        )

    def snapshot_download(
        self, repo, *, local_files_only=False, allow_patterns=(), etag_timeout=None
    ):
        if local_files_only:
            if not any(self.folder.rglob("*")):
                raise LocalEntryNotFoundError("nothing in the cache")
            return str(self.folder)
        assert etag_timeout <= 10
        self.downloaded = list(allow_patterns)
        for name in allow_patterns:
            self.put(name)
        return str(self.folder)


@pytest.fixture
def play(tmp_path, monkeypatch):
    def start(**settings):
        (tmp_path / "snapshot").mkdir()
        stand_in = Hub(tmp_path / "snapshot", **settings)
        monkeypatch.setattr(hub, "HfApi", lambda: stand_in)
        monkeypatch.setattr(hub, "snapshot_download", stand_in.snapshot_download)
        return stand_in

    return start


@pytest.mark.parametrize(
    ("half", "unet"),
    [
        (False, "unet/diffusion_pytorch_model.safetensors"),
        (True, "unet/diffusion_pytorch_model.fp16.safetensors"),
    ],
)
def test_only_what_is_needed_is_downloaded(play, half, unet):
    stand_in = play(files=SD)
    hub.fetch_base("someone/sd", half=half)
    assert sorted(stand_in.downloaded) == sorted(
        [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "unet/config.json",
            unet,
            "vae/config.json",
            "vae/diffusion_pytorch_model.bin",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
        ]
    )


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (
            ["adapter.safetensors", "config.json", "README.md", "x.safetensors"],
            ["adapter.safetensors", "config.json"],
        ),
        (SD, ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"]),
        (
            ["unet/config.json", "unet/a.bin", "image_encoder/config.json", "image_project/b.bin"],
            ["unet/config.json", "unet/a.bin", "image_encoder/config.json", "image_project/b.bin"],
        ),
        (["diffusion_pytorch_model.bin", "README.md"], ["diffusion_pytorch_model.bin"]),
        (["a.safetensors", "a.bin"], ["a.safetensors"]),
        (["a.safetensors", "b.safetensors", "c.safetensors"], []),
    ],
)
def test_the_files_of_an_adapter(files, chosen):
    assert hub.choose_adapter(files) == chosen


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (
            ["README.md", "config.json", "model.safetensors", "predictor.json", "x.pt"],
            ["config.json", "model.safetensors", "predictor.json"],
        ),
        (["README.md", "seem.pt"], ["seem.pt"]),
        (["a.pt", "b.pt"], []),
        (["config.json", "model.safetensors"], []),
    ],
)
def test_the_files_of_a_segmenter(files, chosen):
    assert hub.choose_segmenter(files) == chosen


def test_a_segmenter_s_tokenizer_comes_with_it(play):
    own = ["config.json", "model.safetensors", "predictor.json"]
    words = ["tokenizer/merges.txt", "tokenizer/vocab.json"]
    stand_in = play(files=[*own, *words, "overlay.png"])
    hub.fetch_segmenter("someone/seem")
    assert sorted(stand_in.downloaded) == sorted(own + words)


def test_short_names_stand_for_official_files(play):
    stand_in = play(files=["seem_focalt_v0.pt", "seem_focalt_v1.pt"])
    path = hub.fetch_segmenter("seem-focalt")
    assert path.name == "seem_focalt_v1.pt"
    assert stand_in.downloaded == ["seem_focalt_v1.pt"]


@pytest.mark.parametrize("name", ["gligen", "sd15"])
def test_a_generator_s_short_name_is_no_segmenter(play, name):
    play()
    with pytest.raises(CheckpointError, match="seem-focalt"):
        hub.fetch_segmenter(name, offline=True)


def test_one_file_of_a_repository(play):
    stand_in = play(files=["a.safetensors", "b.safetensors", "c.safetensors"])
    path = hub.fetch_adapter("someone/many/b.safetensors")
    assert path.name == "b.safetensors"
    assert stand_in.downloaded == ["b.safetensors"]


def test_short_names_stand_for_repositories(play):
    stand_in = play(files=["gligen_sd14_textbox_pruned_fp16.safetensors", "x.safetensors"])
    path = hub.fetch_adapter("gligen-comfyui-fp16")
    assert [path.name] == stand_in.downloaded


def test_the_tokenizer_folder_is_found(play):
    play(files=SD)
    assert hub.fetch_tokenizer("someone/sd").name == "tokenizer"


@pytest.mark.parametrize("load", [load_base, gligen.read_adapter])
def test_without_a_network_the_embedded_model_is_named(play, load):
    stand_in = play(failure=ConnectError("Name or service not known"))
    with pytest.raises(OfflineError, match="no connection to the hub: ConnectError") as caught:
        load("someone/sd")
    assert "--model embedded" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stand_in.asked == 1


@pytest.mark.parametrize("load", [load_base, gligen.read_adapter])
def test_offline_asks_nobody(play, load):
    stand_in = play(files=SD)
    with pytest.raises(OfflineError, match="offline mode is on"):
        load("someone/sd", offline=True)
    assert stand_in.asked == 0


@pytest.mark.parametrize("offline", [True, False])
def test_what_was_downloaded_before_is_used(play, offline):
    stand_in = play(cached=SD, failure=TimeoutError("timed out"))
    assert hub.fetch_base("someone/sd", offline=offline) == stand_in.folder


def test_another_file_in_the_cache_is_not_enough(play):
    play(cached=["README.md"])
    with pytest.raises(OfflineError, match="someone/sd is not on this machine"):
        hub.fetch_base("someone/sd", offline=True)


def test_no_such_repository(play):
    answer: Any = SimpleNamespace(status_code=404, headers={}, request=None)
    play(failure=RepositoryNotFoundError("404", response=answer))
    with pytest.raises(CheckpointError, match="the hub has no such model"):
        hub.fetch_base("someone/nothing")


def test_a_repository_of_something_else(play):
    play(files=["README.md", "data.csv"])
    with pytest.raises(CheckpointError, match="no model of a known layout"):
        hub.fetch_base("someone/data")


def test_a_full_disk_is_not_a_missing_network(play, monkeypatch):
    play(files=SD)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "snapshot_download", full)
    with pytest.raises(OutputError, match="No space left"):
        hub.fetch_base("someone/sd")


@pytest.mark.parametrize("source", ["nothing", "a/b c", "../x/y", "a/b/c/d.txt", "", "-a/b-"])
def test_what_is_neither_a_file_nor_a_name(play, source):
    play(files=SD)
    with pytest.raises(CheckpointError) as caught:
        hub.fetch_base(source, offline=True)
    assert "\n" not in str(caught.value)


def test_of_a_llava_one_set_of_weights_and_the_tokenizer_are_downloaded():
    whole = ["config.json", "tokenizer.model", "model-1.safetensors", "pytorch_model-1.bin"]
    others = ["README.md", "trainer_state/x.bin", "training_args.bin"]
    chosen = hub.choose_chat([*whole, *others])
    assert set(chosen) == {"config.json", "tokenizer.model", "model-1.safetensors"}
    lora = ["config.json", "adapter_config.json", "adapter_model.bin", "non_lora_trainables.bin"]
    assert set(hub.choose_chat([*lora, *others])) == set(lora)
    assert hub.choose_chat(others) == []
