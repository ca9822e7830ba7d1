"""Commands with every kind of public name, on a hub at 127.0.0.1, and again without it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save_file

from pipelines.cli import main as lavallama
from tests.grounding.llava import tiny
from tests.pipelines.tiny_segmenter import write_segmenter
from tests.weights.llava_folders import edit, tower_folder, written

CARD = {"README.md": b"a card", ".gitattributes": b"", "safety_checker/model.safetensors": b"no"}


def contents(folder: Path, inside: str = "") -> dict[str, bytes]:
    head = f"{inside}/" if inside else ""
    return {
        f"{head}{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def draw(model_folder, photo, tmp_path, loopback_hub) -> Callable[..., Any]:
    """Put repositories on the hub; the command that draws with them."""
    loopback_hub.put("CompVis/stable-diffusion-v1-4", {**contents(model_folder), **CARD})
    usual = ["--steps", "1", "--device", "cpu", "--no-overlay", "--out", str(tmp_path / "a.png")]

    def run(*arguments: str) -> list[str]:
        return ["generate", "--prompt", "a toy", "--model", "sd14", *arguments, *usual]

    return run


def repeat(hub, command: list[str], monkeypatch, capsys) -> None:
    """Run a command with the hub, offline, and with the hub gone; the last two ask it nothing."""
    assert lavallama(command) == 0, capsys.readouterr().err
    capsys.readouterr()
    hub.requests.clear()
    assert lavallama([*command, "--offline"]) == 0, capsys.readouterr().err
    assert hub.requests == []
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert lavallama(command) == 0, capsys.readouterr().err
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["gates", "vae", "lora", "controlnet", "ip-adapter", "embedding"])
def test_pictures(kind, draw, loopback_hub, monkeypatch, capsys, request, photo):
    def file(fixture: str) -> Path:
        return request.getfixturevalue(fixture)

    if kind == "gates":
        loopback_hub.put("someone/gates", {**contents(file("adapter_folder")), **CARD})
        boxes = '[{"phrase": "llama", "box": [0.1, 0.1, 0.6, 0.6]}]'
        more = ["--adapter", "someone/gates", "--boxes", boxes]
    elif kind == "vae":
        vae = contents(file("model_folder") / "vae")
        loopback_hub.put("stabilityai/sd-vae-ft-mse", {**vae, **CARD})
        more = ["--vae", "sd-vae-ft-mse"]
    elif kind == "lora":
        loopback_hub.put("x/l", {"pytorch_lora_weights.safetensors": file("lora").read_bytes()})
        more = ["--lora", "x/l=0.5"]
    elif kind == "controlnet":
        loopback_hub.put("x/canny", {**contents(file("controlnet")), **CARD})
        more = ["--controlnet", "x/canny", "--control", f"{photo}=0.5"]
    elif kind == "ip-adapter":
        found = contents(file("ip_adapter").parent, "models")
        loopback_hub.put("h94/IP-Adapter", {**found, **CARD})
        name = "h94/IP-Adapter/models/ip-adapter.safetensors"
        more = ["--ip-adapter", name, "--ip-image", str(photo)]
    else:
        loopback_hub.put("x/toy", {"learned_embeds.safetensors": file("embedding").read_bytes()})
        more = ["--embedding", "x/toy"]
    if kind != "gates":
        more += ["--adapter", "none"]
    repeat(loopback_hub, draw(*more), monkeypatch, capsys)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"_class_name": "FluxControlNetModel"}, "expected a ControlNetModel or T2IAdapter, got"),
        ({"cross_attention_dim": 2048}, "this ControlNet is for Stable Diffusion XL"),
    ],
)
def test_what_does_not_fit_is_refused_before_its_weights(
    draw, controlnet, loopback_hub, capsys, said, line
):
    files = contents(controlnet)
    files["config.json"] = json.dumps({**json.loads(files["config.json"]), **said}).encode()
    loopback_hub.put("x/canny", files)
    assert lavallama(draw("--adapter", "none", "--controlnet", "x/canny")) == 2
    assert line in capsys.readouterr().err
    asked = [path for _, path, _ in loopback_hub.requests if path.startswith("x/canny/")]
    assert {path.rpartition("/")[2] for path in asked} == {"config.json"}


def test_objects(loopback_hub, photo, tmp_path, monkeypatch, capsys):
    folder = write_segmenter(tmp_path / "seem")
    loopback_hub.put("someone/seem", {**contents(folder), **CARD})
    asked = [str(photo), "--text", "llama", "--model", "someone/seem", "--device", "cpu"]
    command = ["segment", *asked, "--out", str(tmp_path / "found")]
    repeat(loopback_hub, command, monkeypatch, capsys)


@pytest.mark.parametrize("layout", ["transformers", "original"])
def test_answers(loopback_hub, photo, tmp_path, monkeypatch, capsys, layout):
    model = tiny.llava()
    folder = written(model, tmp_path / "a", layout, tokenizer=tiny.tokenizer())
    if layout == "original":  # whose tower is elsewhere
        state = load((folder / "model.safetensors").read_bytes())
        inside = {key: t for key, t in state.items() if "vision_tower" not in key}
        save_file(inside, folder / "model.safetensors")
        edit(folder, mm_vision_config=None, mm_vision_tower="someone/tower")
        tower = tower_folder(model, tmp_path / "tower", whole=True)
        loopback_hub.put("someone/tower", {**contents(tower), **CARD})
    loopback_hub.put("someone/llava", {**contents(folder), **CARD})
    asked = [str(photo), "What is it?", "--model", "someone/llava", "--max-tokens", "2"]
    repeat(loopback_hub, ["chat", *asked, "--device", "cpu"], monkeypatch, capsys)
    # and what `models download` gets is enough
    assert lavallama(["models", "remove", "someone/llava"]) == 0
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", loopback_hub.url)
    if layout == "original":
        assert lavallama(["models", "remove", "someone/tower"]) == 0
    assert lavallama(["models", "download", "someone/llava"]) == 0
    assert lavallama(["chat", *asked, "--device", "cpu", "--offline"]) == 0
