"""Taught attention: which token each cell should look at, and that gates learn to."""

import torch
from diffusers import UNet2DConditionModel

from gligen.adapter import AdapterConfig, GligenAdapter
from gligen.train.attention_teacher import NO_BOX, AttentionTeacher, box_of_cell, spread_tokens

BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
MASKS = torch.ones(1, 2)


def tiny():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
    ).requires_grad_(False)
    config = AdapterConfig(phrase_dim=16, context_dim=16, position_features=True)
    adapter = GligenAdapter.for_unet(unet, config, init="residual")
    spread_tokens(adapter)
    return unet, adapter


def test_box_of_cell_is_the_last_box_that_holds_the_centre():
    overlapping = torch.cat([BOXES, torch.tensor([[[0.25, 0.25, 0.75, 0.75]]])], 1)
    found = box_of_cell(overlapping, torch.ones(1, 3), (4, 4)).view(4, 4)
    assert found.tolist() == [[0, 0, -1, -1], [0, 2, 2, -1], [-1, 2, 2, 1], [-1, -1, 1, 1]]
    assert (box_of_cell(BOXES, torch.zeros(1, 2), (4, 4)) == NO_BOX).all()


def test_gates_learn_where_to_look():
    unet, adapter = tiny()
    teacher = AttentionTeacher(adapter)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=3e-3)
    phrases, losses = torch.randn(1, 2, 16), []
    with adapter.injected(unet):
        for _ in range(40):
            with adapter.grounded(adapter.tokens(BOXES, MASKS, phrases)):
                unet(torch.randn(1, 4, 4, 4), 500, encoder_hidden_states=torch.randn(1, 5, 16))
            losses.append(teacher.loss(BOXES, MASKS, (4, 4)))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_no_cell_in_a_box_is_no_loss():
    unet, adapter = tiny()
    teacher = AttentionTeacher(adapter)
    with adapter.injected(unet), adapter.grounded(adapter.null_tokens(1, 2)):
        unet(torch.randn(1, 4, 4, 4), 500, encoder_hidden_states=torch.randn(1, 5, 16))
    assert teacher.loss(BOXES, 0 * MASKS, (4, 4)) == 0


def test_spread_tokens_keeps_a_fresh_adapter_the_identity():
    unet, adapter = tiny()
    x, context = torch.randn(1, 4, 4, 4), torch.randn(1, 5, 16)
    with torch.no_grad():
        plain = unet(x, 500, encoder_hidden_states=context).sample
        with (
            adapter.injected(unet),
            adapter.grounded(adapter.tokens(BOXES, MASKS, torch.randn(1, 2, 16))),
        ):
            gated = unet(x, 500, encoder_hidden_states=context).sample
    assert torch.equal(plain, gated)
