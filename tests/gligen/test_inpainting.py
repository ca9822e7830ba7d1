import pytest
import torch

from gligen.inpainting import KnownLatents, latent_mask
from gligen.sampler import Condition, SamplerSettings, initial_noise, make_scheduler, sample
from grounding.errors import LavallamaError
from tests.gligen import tiny
from tests.gligen.test_modalities import config, grounding

GRID = (8, 12)


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + index) for index in range(count)]


def test_a_mask_is_open_where_a_box_touches_rows_down_columns_across():
    mask = latent_mask([(0.5, 0.0, 1.0, 0.25)], *GRID)
    expected = torch.ones(1, 1, *GRID)
    expected[..., 0:2, 6:12] = 0
    assert torch.equal(mask, expected)
    touched = latent_mask([(0.51, 0.01, 0.52, 0.02), (0.0, 0.9, 0.01, 1.0)], *GRID)
    assert (touched == 0).nonzero()[:, 2:].tolist() == [[0, 6], [7, 0]]


def test_known_latents_are_pasted_as_noisy_as_they_should_be():
    latents, mask = torch.randn(2, 4, *GRID), latent_mask([(0.0, 0.0, 0.5, 0.5)], *GRID)
    known = KnownLatents(latents=latents, mask=mask.expand(2, 1, -1, -1), generators=generators(2))
    other = torch.randn(2, 4, *GRID)
    pasted = known.pasted(other)
    assert torch.equal(pasted[..., :4, :6], other[..., :4, :6])
    assert torch.equal(pasted[..., 4:, :], latents[..., 4:, :])
    noise = (known.noised(0.25) - 0.5 * latents) / 0.75**0.5
    assert torch.allclose(noise, initial_noise(generators(2), (4, *GRID)), atol=1e-6)
    assert torch.equal(known.channels(), torch.cat((latents * known.mask, known.mask), 1))


def inpainted(variant: str, count: int, first: int = 0) -> torch.Tensor:
    """A few images with the seeds first, first + 1, ...; each has its own known latents."""
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet, config(variant))
    seeds = range(first, first + count)
    latents = initial_noise(generators(count, 100 + first), (4, *GRID))
    context = initial_noise(generators(count, 200 + first), (1, 9, tiny.WIDTH))[:, 0]
    mask = torch.cat([latent_mask([(0.1 * s, 0.1, 0.1 * s + 0.4, 0.8)], *GRID) for s in seeds])
    own = generators(count, first)
    noise = initial_noise(own, (4, *GRID))
    known = KnownLatents(latents=latents, mask=mask, generators=own)
    inputs = tuple(one[list(seeds)] for one in grounding(adapter, 3))
    with torch.no_grad(), adapter.injected(unet):
        drawn = sample(
            unet,
            make_scheduler("plms", tiny.DIFFUSION),
            noise,
            Condition(context=context, tokens=adapter.tokens(*inputs), known=known),
            Condition(context=torch.zeros_like(context)),
            settings=SamplerSettings(steps=4, guidance=3.0),
            adapter=adapter,
        )
    assert torch.equal(torch.where(mask.bool(), drawn, 0), torch.where(mask.bool(), latents, 0))
    return drawn


@pytest.mark.parametrize("variant", ["text_inpaint", "text_image_inpaint", "text"])
def test_inpainting_is_the_same_in_every_run_and_every_batch(variant):
    together = inpainted(variant, 3)
    assert torch.equal(inpainted(variant, 3), together)
    assert torch.allclose(inpainted(variant, 1, first=1)[0], together[1], atol=1e-4)


def test_what_is_missing_is_named():
    unet = tiny.unet()
    adapter = tiny.open_adapter(unet, config("text_inpaint"))
    context = torch.randn(1, 9, tiny.WIDTH)
    with adapter.injected(unet), pytest.raises(LavallamaError, match="give the condition known="):
        sample(
            unet,
            make_scheduler("ddim", tiny.DIFFUSION),
            torch.randn(1, 4, *GRID),
            Condition(context=context),
            settings=SamplerSettings(steps=2, guidance=1.0),
            adapter=adapter,
        )
    with pytest.raises(LavallamaError, match=r"need a mask \[2, 1, 8, 12\] and 2 generators"):
        KnownLatents(latents=torch.zeros(2, 4, *GRID), mask=torch.zeros(1, 1, *GRID),
                     generators=generators(2))  # fmt: skip
