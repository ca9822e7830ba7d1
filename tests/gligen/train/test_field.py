"""The field's regression: layouts as tensors, and that shapes are learnt."""

import numpy as np
import torch

from gligen.adapter import AdapterConfig, GligenAdapter
from gligen.box_field import BoxField
from gligen.gate import GatedSelfAttention
from gligen.patch_autoencoder import PatchAutoencoder
from gligen.train.field import FieldTask, FieldToLatents
from gligen.train.layouts import Layouts
from gligen.train.scenes import Record
from grounding.loop import LoopConfig, train

WIDTH = 8
EMBEDDINGS = {"fox": torch.eye(WIDTH)[0], "ice fox": torch.eye(WIDTH)[1]}
BOX = (0.0, 0.0, 0.5, 0.5)


def record(*materials):
    boxes = (BOX, (0.5, 0.5, 1.0, 1.0))[: len(materials)]
    concepts = ("fox",) * len(materials)
    return Record(
        caption="", background="beach", concepts=concepts, materials=materials, boxes=boxes
    )


def test_layouts_pad_to_the_longest():
    boxes, masks, phrases = Layouts(EMBEDDINGS)([record(None), record("ice", None)])
    assert masks.tolist() == [[1, 0], [1, 1]]
    assert torch.equal(boxes[0, 0], torch.tensor(BOX))
    assert torch.equal(phrases[1], torch.stack([EMBEDDINGS["ice fox"], EMBEDDINGS["fox"]]))
    assert phrases[0, 1].eq(0).all()


def task():
    torch.manual_seed(0)
    config = AdapterConfig(phrase_dim=WIDTH, context_dim=WIDTH, hidden_dim=16, field_dim=32)
    gate = GatedSelfAttention(query_dim=8, context_dim=8, heads=1, head_dim=8, field_dim=8)
    adapter = GligenAdapter(config, {"block": gate})
    assert isinstance(adapter.box_field, BoxField)
    autoencoder = PatchAutoencoder(latent_channels=4, block_out_channels=(8,) * 3)
    latents = np.zeros((2, 4, 4, 4), np.float16)
    latents[0, :, :2, :2], latents[1, :, :2, :2] = 1, -1
    latents[:, :, 2:, 2:] = 9  # where there is no box: none of the field's business
    return FieldTask(
        model=FieldToLatents(adapter.box_field, 4),
        adapter=adapter,
        autoencoder=autoencoder,
        layouts=Layouts(EMBEDDINGS),
        latents=latents,
        records=[record(None), record("ice")],
        held_out=[record("ice", None)] * 16,
        batch=8,
    )


def test_a_phrase_s_mean_picture_is_learnt_and_nothing_else(tmp_path):
    made = task()
    config = LoopConfig(steps=60, learning_rate=1e-2, warmup=5, ema=0, sample_every=60)
    train(made, config, tmp_path)
    loss, _ = made.loss(torch.Generator().manual_seed(0), 0)
    assert loss < 0.05
    assert (tmp_path / "samples" / "0000060.png").exists()
