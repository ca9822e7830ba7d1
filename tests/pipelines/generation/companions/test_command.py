"""The same from the command line, and pictures that begin from pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grounding.errors import LavallamaError, PromptError
from grounding.prompt import GroundedPrompt, Region
from pipelines.generate import main
from pipelines.generation.companions.notes import listed, numbered
from pipelines.generation.companions.weighted import Weighted
from pipelines.generation.generator import Generator
from pipelines.generation.offload import Offload
from pipelines.generation.png import read_png

BOX = Region(phrase="llama", box=(0.1, 0.1, 0.6, 0.7))
PROMPT = GroundedPrompt(prompt="a toy")


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def pixels(pictures):
    return np.asarray(pictures[0].image).astype(int)


def test_a_picture_is_drawn_again_with_all_its_companions(
    model_folder, lora, embedding, controlnet, ip_adapter, edges, photo, tmp_path, capsys
):
    common = ["--no-overlay", "--device", "cpu"]
    first, again, other = (str(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    arguments = [
        *("--model", str(model_folder), "--prompt", "a <toy>", "--steps", "4"),
        *("--lora", f"{lora}=0.5", "--embedding", str(embedding)),
        *("--controlnet", str(controlnet), "--control", f"{edges}=0.7"),
        *("--ip-adapter", str(ip_adapter), "--ip-image", f"{photo}=0.8"),
        *("--image", str(photo), "--strength", "0.5", "--scheduler", "lcm"),
    ]
    assert main([*arguments, "--out", first, *common]) == 0
    assert main(["--from-image", first, "--out", again, *common]) == 2
    assert f"the model {str(model_folder)!r} and 4 more" in capsys.readouterr().err
    common.append("--trust")
    assert main(["--from-image", first, "--out", again, *common]) == 0
    assert "lavallama generate:" not in capsys.readouterr().err
    assert np.array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))
    made = read_png(first).provenance.settings
    assert made["strength"] == 0.5
    assert read_png(first).sampling.guidance == 1
    assert main(["--from-image", first, "--lora", f"{lora}=0.1", "--out", other, *common]) == 0
    assert "lavallama generate:" not in capsys.readouterr().err
    assert not np.array_equal(read(tmp_path / "a.png"), read(tmp_path / "c.png"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strength", "0.5"], "the document names none"),
        (["--strength", "0"], "above 0 and at most 1"),
        (["--control", "a.png"], "0 are loaded, and 1 maps given"),
        (["--ip-image", "a.png"], "only an IP-Adapter reads it"),
        (["--lora", "a.safetensors=nan"], "FILE=WEIGHT"),
        (["--lora", "nothing.safetensors"], "no such file or folder"),
        (["--ip-adapter", "nothing.bin"], "no such file or folder"),
        (["--scheduler", "lcm", "--steps", "51"], "at most 50 steps"),
        (["--tile-vae"], "tiles are for an AutoencoderKL"),
    ],
)
def test_bad_input_is_one_line(model_folder, tmp_path, capsys, arguments, said):
    command = ["--model", str(model_folder), "--prompt", "x", "--out", str(tmp_path / "x.png")]
    try:
        code = main([*command, *arguments, "--offline", "--device", "cpu"])
    except SystemExit as left:
        code = left.code
    assert code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_start_from_a_picture(generator, photo):
    settings = {"seed": 3, "steps": 10, "progress": False, "image": str(photo)}
    document = GroundedPrompt(prompt="a toy", regions=(BOX,))
    far = {s: generator(document, strength=s, **settings) for s in (0.1, 1.0)}
    with Image.open(photo) as image:
        start = np.asarray(image.convert("RGB").resize(far[0.1][0].image.size)).astype(int)
    decoded = [np.abs(pixels(far[s]) - start).mean() for s in (0.1, 1.0)]
    assert decoded[0] != decoded[1]
    weak = far[0.1][0]
    assert weak.document.provenance.settings["strength"] == 0.1
    assert "inpainted" not in weak.document.provenance.settings
    [again] = generator(weak.document, progress=False)
    assert np.array_equal(pixels([weak]), pixels([again]))
    pair = [document, document.replace(prompt="two")]
    alone = generator(pair, strength=0.5, scheduler="lcm", **{**settings, "steps": 4})
    both = generator(pair, strength=0.5, scheduler="lcm", batch=2, **{**settings, "steps": 4})
    for a, b in zip(alone, both, strict=True):
        assert np.abs(pixels([a]) - pixels([b])).max() <= 1


def test_starts_that_cannot_be(generator, photo):
    with pytest.raises(PromptError, match="names none: give its image"):
        generator.stream(PROMPT, strength=0.5)
    for strength in (0, 1.5, -1, float("nan"), "much"):
        with pytest.raises(LavallamaError, match="strength is the share"):
            generator.stream(PROMPT, strength=strength, image=str(photo))


def test_parts_are_brought_together_and_wait_together(model_folder, adapter_folder, controlnet):
    """Gates are bound to the UNet's blocks but are no part of it: they must travel along."""
    generator = Generator.from_pretrained(
        model_folder, adapter_folder, device="cpu", controlnets=[str(controlnet)]
    )
    document = GroundedPrompt(prompt="a toy", regions=(BOX,))
    settings = {"seed": 3, "steps": 2, "schedule": (1.0, 0.0, 0.0), "progress": False}
    expected = pixels(generator(document, **settings))
    moves = []

    class Told(Offload):
        def bring(self, module):
            moves.append(None if module is None else type(module).__name__)
            super().bring(module)

    base = generator.base
    net = generator.company.controlnets[0].model
    offload = Told([[base.text_encoder], [base.unet, generator.adapter, net]], generator.device)
    generator._renderer.offload = offload
    assert np.array_equal(pixels(generator(document, **settings)), expected)
    assert moves[0] == "CLIPTextModel"
    first = moves.index("UNet2DConditionModel")
    assert set(moves[first:-1]) == {"UNet2DConditionModel"}
    assert moves[-1] is None
    moves.clear()
    assert offload.here is None
    offload.bring(net)
    assert any(one is generator.adapter for one in offload.here)


def test_offload_without_a_gpu_is_said(model_folder, caplog):
    generator = Generator.from_pretrained(model_folder, device="cpu", offload=True)
    assert "offload has no effect" in caplog.text
    assert generator.offload is None


def test_names_with_weights():
    for text, name, weight in (
        ("a.safetensors", "a.safetensors", 1.0),
        ("a=0.5", "a", 0.5),
        ("x=y/a.pt", "x=y/a.pt", 1.0),
        ("x=y=-2", "x=y", -2.0),
    ):
        assert Weighted.parse(text) == Weighted(name, weight)
        assert Weighted.parse(str(Weighted(name, weight))) == Weighted(name, weight)
    for text in ("", "=1", "a=inf"):
        with pytest.raises(PromptError):
            Weighted.parse(text)


def test_lists_in_a_provenance():
    notes = numbered("lora", ["a", "b", "c"])
    assert notes == {"lora": "a", "lora 2": "b", "lora 3": "c"}
    assert listed("lora", {"x": 1, **notes}) == ("a", "b", "c")
    assert listed("lora", {}) == ()
