"""All stages on a miniature recipe, from nothing to a model that the generator draws with."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from gligen.train.recipes import RECIPES
from grounding.loop import LoopConfig
from grounding.prompt import GroundedPrompt
from grounding.region import Reference, Region
from grounding.stickers.judge import StickerJudge
from pipelines.generation.generator import Generator
from pipelines.train import main
from pipelines.training.workshop import Workshop

TWO_STEPS = LoopConfig(steps=2, learning_rate=1e-3, warmup=1, save_every=2, sample_every=2)
MINIATURE = dataclasses.replace(
    RECIPES["small"],
    scenes=32,
    latent_channels=8,
    decoder_width=8,
    width=32,
    words=2,
    decoder=TWO_STEPS,
    base=TWO_STEPS,
    field=TWO_STEPS,
    gates=TWO_STEPS,
    vision=TWO_STEPS,
    judge=TWO_STEPS,
    decoder_batch=2,
    base_batch=2,
    field_batch=2,
    gates_batch=2,
    vision_batch=4,
    judge_batch=4,
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    workshop = Workshop(MINIATURE, tmp_path_factory.mktemp("runs"))
    workshop.train_decoder()
    workshop.train_base()
    before = {k: v.clone() for k, v in workshop.text_to_latents().state_dict().items()}
    workshop.train_field()
    workshop.train_gates()
    after = workshop.text_to_latents().state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before), "the base is frozen in stage 3"
    workshop.train_vision()
    workshop.train_judge()
    return workshop


def test_every_stage_leaves_a_checkpoint_a_log_and_samples(workshop):
    for stage in ("decoder", "base", "field", "gates", "vision", "judge"):
        folder = workshop.folder / stage
        assert (folder / "checkpoint.pt").exists()
        assert json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["step"] == 2
        assert (folder / "samples" / "0000002.png").exists()


def test_the_gates_start_from_the_trained_field(workshop):
    adapter = workshop.adapter(workshop.text_to_latents())
    fresh = adapter.box_field.out.weight.clone()
    trained = workshop.field_to_latents(adapter).box_field
    assert trained is adapter.box_field
    assert not torch.equal(fresh, trained.out.weight)


def test_the_exported_model_draws(workshop, tmp_path):
    workshop.export(tmp_path)
    generator = Generator.from_pretrained(tmp_path / "base", tmp_path / "gligen", offline=True)
    document = GroundedPrompt(
        prompt="a lava llama", regions=(Region(phrase="lava llama", box=(0.1, 0.1, 0.9, 0.9)),)
    )
    [drawn] = generator(document, steps=2, progress=False)
    assert drawn.image.size == (128, 128)
    Image.new("RGB", (40, 60), "red").save(tmp_path / "red.png")
    shown = Region(box=(0.1, 0.1, 0.9, 0.9), reference=Reference(image=str(tmp_path / "red.png")))
    [other] = generator(document.replace(regions=(shown,)), steps=2, progress=False)
    assert other.image.tobytes() != drawn.image.tobytes()
    assert StickerJudge.from_pretrained(tmp_path / "judge").concepts[0] == "llama"


@pytest.mark.parametrize(
    "arguments",
    [["base", "--recipe", "tiny"], ["base", "--scenes", "3"], ["decoder", "--steps", "0"]],
)
def test_wrong_arguments_are_one_line(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_export_without_a_checkpoint_says_which_stage_is_missing(tmp_path, capsys):
    recipe = dataclasses.replace(MINIATURE, scenes=16)
    with pytest.raises(ValueError, match="stage 'decoder' has no checkpoint"):
        Workshop(recipe, tmp_path).export(tmp_path / "out")
