"""The gates' training: what it is told about boxes, and what its steps depend on."""

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from gligen.train.examples import Batch
from gligen.train.gates import GatesConfig, GatesTask, inside
from tests.gligen.tiny import DIFFUSION, WIDTH, open_adapter, unet


def test_inside_marks_the_cells_that_a_box_touches():
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0]]])
    marked = inside(boxes, torch.tensor([[1.0, 0.0]]), (4, 4))
    expected = torch.zeros(4, 4)
    expected[2:, 1] = 1
    assert torch.equal(marked[0, 0], expected)


def test_inside_joins_boxes_and_ignores_absent_ones():
    boxes = torch.tensor([[[0.0, 0.0, 0.3, 0.3], [0.7, 0.7, 1.0, 1.0]]])
    both = inside(boxes, torch.ones(1, 2), (2, 2))
    assert both[0, 0].tolist() == [[1, 0], [0, 1]]
    assert inside(boxes, torch.zeros(1, 2), (2, 2)).sum() == 0


class Random:
    """Twelve examples of two sizes; each is what its number says, whatever is read beside it."""

    buckets = [range(8), range(8, 12)]

    def batch(self, draws):
        ones = [self.one(draw) for draw in draws]
        latents, context, *grounding = (torch.cat(column) for column in zip(*ones, strict=True))
        return Batch(latents=latents, context=context, grounding=tuple(grounding))

    def one(self, draw):
        chance = torch.Generator().manual_seed(2 * draw.number + draw.mirrored)
        side = 8 if draw.number < 8 else 12
        boxes = torch.rand(1, 3, 4, generator=chance) / 2 + torch.tensor([0, 0, 0.5, 0.5])
        return (
            torch.randn(1, 4, side, 8, generator=chance),
            draw.captioned * torch.randn(1, 5, WIDTH, generator=chance),
            boxes,
            (torch.rand(1, 3, generator=chance) < 0.7).float(),
            torch.randn(1, 3, WIDTH, generator=chance),
        )


def task(process=(0, 1), **changes):
    model = unet()
    config = GatesConfig(**{"batch": 4, "min_snr": 5.0, "mirrored": 0.5, **changes})
    return GatesTask(
        unet=model,
        adapter=open_adapter(model),
        scheduler=DDIMScheduler(**DIFFUSION, prediction_type="v_prediction"),
        examples=Random(),
        config=config,
        show=lambda path: {"path": path},
        process=process,
    )


def gradients(one, *batches):
    """The mean gradient of some batches."""
    for step in batches:
        (one.loss(torch.Generator(), step)[0] / len(batches)).backward()
    return {name: p.grad for name, p in one.trained().named_parameters() if p.grad is not None}


def test_a_step_does_not_depend_on_how_it_is_split():
    whole = gradients(task(), 3)
    accumulated = gradients(task(batch=2, accumulate=2), 6, 7)
    first, second = (gradients(task((i, 2), batch=2), 3) for i in range(2))
    apart = {name: (first[name] + second[name]) / 2 for name in first}
    for other in (accumulated, apart):
        assert other.keys() == whole.keys()
        assert all(torch.allclose(other[k], whole[k], atol=1e-5) for k in whole)


def test_nothing_but_the_adapter_learns_and_chance_is_the_steps_own():
    one = task()
    before = {name: p.clone() for name, p in one.unet.named_parameters()}
    loss = one.loss(torch.Generator().manual_seed(1), 5)[0]
    assert torch.equal(one.loss(torch.Generator().manual_seed(2), 5)[0], loss)
    assert not torch.equal(one.loss(torch.Generator().manual_seed(1), 6)[0], loss)
    assert not any(p.requires_grad for p in one.unet.parameters())
    assert all(torch.equal(before[n], p) for n, p in one.unet.named_parameters())


def test_checkpointed_blocks_give_the_same_gradients():
    plain, saving = task(), task()
    saving.unet.enable_gradient_checkpointing()
    ours, theirs = gradients(plain, 0), gradients(saving, 0)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    assert saving.loss(torch.Generator(), 1)[0] == plain.loss(torch.Generator(), 1)[0]


def test_dropped_grounding_is_null_grounding():
    one = task(grounding_dropout=1.0, box_weight=0.0)
    loss, numbers = one.loss(torch.Generator(), 0)
    assert numbers["attention"] == 0
    loss.backward()
    net = one.adapter.position_net
    assert net.null_position_feature.grad.abs().sum() > 0
    probed = task(probe_every=1, box_weight=0.0, grounding_dropout=1.0).loss(torch.Generator(), 0)[
        1
    ]
    assert probed["without_boxes"] == loss.item()
    assert probed["with_boxes"] != probed["without_boxes"] != probed["shuffled_boxes"]
    assert probed["tanh_alpha_attn/mid_block.attentions.0.transformer_blocks.0"] > 0
