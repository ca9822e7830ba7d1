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


def test_for_people_it_is_a_table(loopback_hub, capsys):
    assert models.main([]) == 0
    said = capsys.readouterr().out
    assert "sd14" in said
    assert "creativeml-openrail-m" in said
    assert "cache: " in said


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
