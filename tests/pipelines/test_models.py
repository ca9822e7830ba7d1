"""The real `huggingface_hub`, and a hub on 127.0.0.1."""

import json
import os

import pytest
import torch
from safetensors.torch import save

from grounding.errors import CheckpointError
from pipelines import models
from tests.loopback_hub import tag_of
from weights import hub
from weights.hub_cache import cached_repos, cached_size
from weights.tensor_file import TensorFile

SEEMS = {"seem_focalt_v0.pt": b"0" * 500, "seem_focalt_v1.pt": b"1" * 700, "README.md": b"card"}


@pytest.fixture
def ask(capsys):
    """What the command says, as JSON: lines, or the whole list."""

    def run(*arguments, code=0):
        assert models.main([*arguments, "--json"]) == code
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def rows(listed):
    return {row["name"]: row for row in listed[0]["models"]}


def test_the_table_says_what_is_here(loopback_hub, ask):
    loopback_hub.put("xdecoder/SEEM", SEEMS)
    loopback_hub.put("someone/lora", {"pytorch_lora_weights.safetensors": b"x" * 90})
    assert {row["here"] for row in rows(ask()).values()} == {"no"}
    assert not loopback_hub.requests
    ask("download", "seem-focalt", "someone/lora")
    table = rows(ask())
    assert (table["seem-focalt"]["here"], table["seem-focalt"]["bytes"]) == ("yes", 700)
    assert (table["seem-focalt-v0"]["here"], table["seem-focalt-v0"]["bytes"]) == ("no", 0)
    assert (table["someone/lora"]["kind"], table["someone/lora"]["bytes"]) == ("other", 90)


def test_a_part_is_a_part(loopback_hub, ask):
    repo = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    names = ["model_index.json", "tokenizer/vocab.json", "scheduler/scheduler_config.json"]
    for folder in ("unet", "vae", "text_encoder"):
        names += [f"{folder}/config.json", f"{folder}/model.safetensors"]
    loopback_hub.put(repo, {name: name.encode() for name in names})
    [got] = ask("download", "sd15")
    assert rows(ask())["sd15"]["here"] == "yes"
    os.unlink(f"{got['path']}/vae/model.safetensors")
    assert rows(ask())["sd15"]["here"] == "part"


TOWER = "openai/clip-vit-large-patch14-336"
TOWERED = {"config.json": b"{}", "pytorch_model.bin": b"sees", "preprocessor_config.json": b"{}"}


def put_llava(hub, repo, *, tower_inside=False):
    """A LLaVA in the original layout, whose names and small files are all that counts here."""
    index = {"lm_head.weight": "pytorch_model-00001-of-00001.bin"}
    if tower_inside:
        index["model.vision_tower.vision_tower.x"] = "pytorch_model-00001-of-00001.bin"
    files = {
        "config.json": json.dumps({"mm_vision_tower": TOWER}).encode(),
        "pytorch_model-00001-of-00001.bin": b"speaks",
        "pytorch_model.bin.index.json": json.dumps({"weight_map": index}).encode(),
    }
    hub.put(repo, files)


def test_what_a_chat_stands_on_comes_with_it(loopback_hub, ask):
    loopback_hub.put(TOWER, TOWERED)
    put_llava(loopback_hub, "liuhaotian/llava-v1.5-7b")
    ask("download", "llava-1.5-7b-original")
    assert "pytorch_model.bin" in loopback_hub.downloaded
    assert rows(ask())["llava-1.5-7b-original"]["here"] == "yes"
    ask("remove", TOWER)
    assert rows(ask())["llava-1.5-7b-original"]["here"] == "part"
    ask("download", "liuhaotian/llava-v1.5-7b")
    assert rows(ask())["llava-1.5-7b-original"]["here"] == "yes"


def test_a_tower_inside_is_not_downloaded_again(loopback_hub, ask):
    loopback_hub.put(TOWER, TOWERED)
    put_llava(loopback_hub, "liuhaotian/llava-v1.6-vicuna-7b", tower_inside=True)
    ask("download", "llava-next-7b-original")
    assert "pytorch_model.bin" not in loopback_hub.downloaded
    assert rows(ask())["llava-next-7b-original"]["here"] == "yes"


def test_a_lora_comes_with_its_language_model_and_tower(loopback_hub, ask):
    loopback_hub.put(TOWER, TOWERED)
    base = {"config.json": b"{}", "pytorch_model.bin": b"speaks", "tokenizer.json": b"{}"}
    loopback_hub.put("lmsys/vicuna-7b-v1.5", base)
    files = {
        "config.json": json.dumps({"mm_vision_tower": TOWER}).encode(),
        "adapter_config.json": b'{"base_model_name_or_path": "lmsys/vicuna-7b-v1.5"}',
        "adapter_model.bin": b"adapts",
        "non_lora_trainables.bin": b"projects",
    }
    loopback_hub.put("liuhaotian/llava-v1.5-7b-lora", files)
    ask("download", "llava-1.5-7b-lora")
    assert {"lmsys/vicuna-7b-v1.5", TOWER} <= set(cached_repos())
    ask("remove", "lmsys/vicuna-7b-v1.5")
    assert rows(ask())["llava-1.5-7b-lora"]["here"] == "part"


def test_autoencoders_have_names_too(loopback_hub, ask):
    files = {"config.json": b"{}", "diffusion_pytorch_model.safetensors": b"vae"}
    loopback_hub.put("stabilityai/sd-vae-ft-mse", {**files, "README.md": b"card"})
    [got] = ask("download", "sd-vae-ft-mse")
    assert sorted(os.listdir(got["path"])) == sorted(files)
    row = rows(ask())["sd-vae-ft-mse"]
    assert (row["kind"], row["here"]) == ("vae", "yes")


def test_for_people_it_is_a_table(loopback_hub, capsys):
    assert models.main([]) == 0
    said = capsys.readouterr().out
    assert "sd14" in said
    assert "creativeml-openrail-m" in said
    assert "\ncache: " in said
    assert "lavallama segment PICTURE --model NAME\n  name " in said
    assert "what else is in the cache" not in said


def test_a_narrow_terminal_is_not_overrun(loopback_hub, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for columns, where in (("100", False), ("200", True)):
        monkeypatch.setenv("COLUMNS", columns)
        assert models.main([]) == 0
        said = capsys.readouterr().out
        assert ("CompVis/stable-diffusion-v1-4" in said) == where
        assert max(map(len, said.split("\ncache:")[0].splitlines())) < int(columns)


def test_what_is_broken_is_found_removed_and_had_again(loopback_hub, ask, capsys):
    loopback_hub.put("someone/gates", {"a.safetensors": save({"a": torch.ones(40)})})
    [got] = ask("download", "someone/gates")
    [checked] = ask("check", "someone/gates")
    assert (checked["hashed"], checked["broken"]) == (1, {})
    path = hub.fetch_adapter("someone/gates", offline=True) / "a.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(CheckpointError, match="`lavallama models check someone/gates --repair`"):
        TensorFile(path)
    [checked] = ask("check", "someone/gates", code=2)
    assert checked["broken"] == {
        str(path): f"has {len(whole) - 8} bytes, its header says {len(whole)}"
    }
    path.write_bytes(whole[:-4] + b"\0\0\0\1")
    [checked] = ask("check", "someone/gates", "--repair")
    assert checked["broken"] == {str(path): "its hash is not the hub's"}
    assert not path.exists()
    [again] = ask("download", "someone/gates")
    assert again == got
    assert path.read_bytes() == whole
    assert models.main(["check", "someone/gates"]) == 0
    assert "nothing is broken (1 files have the hub's hashes)" in capsys.readouterr().out


def test_small_files_have_git_s_hashes(loopback_hub, ask):
    own = {"adapter.safetensors": save({"a": torch.ones(4)}), "config.json": b'{"a": 1}\n'}
    loopback_hub.put("someone/gates", own)
    ask("download", "someone/gates")
    assert ask("check", "someone/gates")[0]["hashed"] == 2
    folder = hub.fetch_adapter("someone/gates", offline=True)
    assert (folder / "config.json").resolve().name == tag_of("config.json", own["config.json"])
    (folder / "config.json").write_text('{"a": 2}\n')
    assert list(ask("check", "someone/gates", code=2)[0]["broken"]) == [str(folder / "config.json")]


def test_what_links_to_nothing_is_broken(loopback_hub, ask):
    loopback_hub.put("xdecoder/SEEM", SEEMS)
    [got] = ask("download", "seem-focalt")
    ask("download", "seem-focalt-v0")
    os.unlink(os.path.realpath(got["path"]))
    [checked] = ask("check", "xdecoder/SEEM", "--repair")
    assert list(checked["broken"].values()) == ["what it links to is gone"]
    ask("download", "seem-focalt")
    assert ask("check", "xdecoder/SEEM")[0]["broken"] == {}


def test_one_file_or_all_can_be_removed(loopback_hub, ask):
    loopback_hub.put("xdecoder/SEEM", SEEMS)
    ask("download", "seem-focalt", "seem-focalt-v0")
    assert ask("remove", "seem-focalt") == [{"model": "seem-focalt", "freed": 700}]
    assert cached_size("xdecoder/SEEM") >= 500
    assert rows(ask())["seem-focalt-v0"]["here"] == "yes"
    assert rows(ask())["seem-focalt"]["here"] == "no"
    ask("remove", "xdecoder/SEEM")
    assert cached_repos() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download"], "download takes at least one model"),
        (["list", "sd14"], "list takes no model"),
        (["check", "sd14"], "nothing of it is in the cache"),
        (["remove", "someone/nothing"], "nothing of it is in the cache"),
        (["remove", "nothing"], "expected a path, a hub id"),
        (["remove", "sd14", "--repair"], "--repair is for check"),
        (["check", "sd14", "--half"], "--half is for download"),
        (["download", "someone/nothing"], "the hub has no such model"),
    ],
)
def test_what_cannot_be_done_is_one_line(loopback_hub, capsys, arguments, said):
    assert models.main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("lavallama models: error: ")
    assert said in line
    assert line.count("\n") == 1


def test_nothing_is_removed_if_one_of_the_names_is_wrong(loopback_hub, ask):
    loopback_hub.put("xdecoder/SEEM", SEEMS)
    ask("download", "seem-focalt")
    assert models.main(["remove", "seem-focalt", "sd14"]) == 2
    assert rows(ask())["seem-focalt"]["here"] == "yes"
