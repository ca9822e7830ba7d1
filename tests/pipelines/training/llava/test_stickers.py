"""The embedded LLaVA's stages, two steps each: from the embedded SEEM to a model that answers."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from grounding.errors import CheckpointError
from grounding.llava.conversation import Conversation
from grounding.llava.decoding import Decoding
from grounding.llava.train.recipes import STICKERS
from grounding.stickers import PRESETS, render
from pipelines.training.llava.options import STAGES as OPTIONS
from pipelines.training.llava.stickers import STAGES, StickerLlava
from seem.train.scenes import owners
from weights.llava import read_llava
from weights.llava_chat import load_chat

SCENES = 6
SHORT = {
    stage: dataclasses.replace(getattr(STICKERS, stage), steps=2, warmup=1, log_every=1)
    for stage in STAGES
}
RECIPE = dataclasses.replace(
    STICKERS, scenes=SCENES, shown=2, hidden=32, feed_forward=48, layers=2, heads=2,
    tower_batch=2, align_batch=2, batch=2, questions=3, **SHORT,
)  # fmt: skip


def workshop(folder) -> StickerLlava:
    """With pictures that are rendered here and now."""
    made = StickerLlava(RECIPE, folder, folder / "scenes", Accelerator(cpu=True))
    pictures = [render(PRESETS[RECIPE.preset].scene(seed)) for seed in range(SCENES)]
    made.__dict__["rendered"] = SimpleNamespace(
        images=np.stack([p.image for p in pictures]),
        ids=np.stack([owners(p.masks) for p in pictures]),
    )
    return made


def test_all_stages_and_the_model_that_comes_of_them(tmp_path):
    made = workshop(tmp_path / "runs")
    for stage in STAGES[:-1]:
        made.run(stage)
    words = torch.load(tmp_path / "runs" / "words" / "checkpoint.pt", weights_only=True)["average"]
    name = "model.layers.1.mlp.up_proj.weight"
    learnt = made.model().language_model.state_dict()[name]
    assert torch.equal(learnt, words[f"language.{name}"])  # stage 1 is of the projector alone
    made.run(STAGES[-1])
    made.export(tmp_path / "llava")
    files = read_llava(tmp_path / "llava")
    assert {tensor.dtype for tensor in files.state.values()} == {torch.float16}
    trained = torch.load(tmp_path / "runs" / "stage2" / "checkpoint.pt", weights_only=True)
    own = trained["average"]["before.0.weight"].half()
    assert torch.equal(files.state["projector.0.weight"], own)
    tower = torch.load(tmp_path / "runs" / "tower" / "checkpoint.pt", weights_only=True)["average"]
    name = "encoder.stages.2.layers.0.mlp.fc1.weight"
    assert torch.equal(files.state[f"vision_tower.{name}"], tower[f"tower.{name}"].half())
    chat = load_chat(tmp_path / "llava", dtype=torch.float32)
    assert chat.template.name == RECIPE.template
    picture = Image.fromarray(made.rendered.images[0])
    answer = chat.answer(Conversation.of("What is it?", [picture]), Decoding(max_tokens=5))
    assert isinstance(answer, str)


def test_stages_build_on_each_other(tmp_path):
    with pytest.raises(CheckpointError, match="train the stage 'words' first"):
        workshop(tmp_path).run("align")
    with pytest.raises(CheckpointError, match="train the stage 'tower' first"):
        workshop(tmp_path).export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_knows_the_stages():
    assert OPTIONS == STAGES
