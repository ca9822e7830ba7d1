"""Every modality in a UNet: in and out without a trace, and what the extra channels do."""

import pytest
import torch

from gligen.adapter import GligenAdapter
from gligen.config import MODALITIES, AdapterConfig, MapConfig
from gligen.sampler import Condition, SamplerSettings, make_scheduler, sample
from grounding.errors import CheckpointError, LavallamaError
from grounding.joints import JOINTS
from tests.gligen import tiny

WIDTH, CLASSES = tiny.WIDTH, 5
SIZES = {
    "hed": {"hidden_channels": 0, "extra_channels": 1},
    "normal": {"read_channels": 3},
    "sem": {"channels": CLASSES, "read_channels": CLASSES},
}
VARIANTS = [*MODALITIES, "text_inpaint", "text_image_inpaint"]


def config(variant: str) -> AdapterConfig:
    modality = variant.removesuffix("_inpaint")
    sizes = None
    if modality not in ("text", "text_image", "keypoint"):
        sizes = MapConfig(dims=(4, 8), depths=(1, 1), tokens=4, **SIZES.get(modality, {}))
    return AdapterConfig(
        modality=modality,  # pyright: ignore[reportArgumentType]
        inpainting=variant != modality,
        max_boxes=30,
        max_persons=2,
        phrase_dim=WIDTH,
        image_dim=WIDTH,
        context_dim=WIDTH,
        hidden_dim=48,
        map=sizes,
    )


def grounding(adapter: GligenAdapter, batch: int = 2) -> tuple[torch.Tensor, ...]:
    """Something to ground on: what the tokenizer takes."""
    torch.manual_seed(4)
    sizes = adapter.config
    if sizes.map is not None:
        return torch.rand(batch, sizes.map.channels, 20, 28), torch.ones(batch)
    if sizes.modality == "keypoint":
        count = sizes.max_persons * len(JOINTS)
        return torch.rand(batch, count, 2), (torch.rand(batch, count) < 0.7).float()
    boxes, masks, phrases = tiny.layout(batch)
    if sizes.modality == "text":
        return boxes, masks, phrases
    return boxes, masks, phrases, torch.randn_like(phrases), masks, masks * (boxes[..., 0] < 0.6)


def extra(adapter: GligenAdapter, latents: torch.Tensor) -> torch.Tensor | None:
    """Channels beside the latents, if the adapter reads any."""
    batch, channels, height, width = latents.shape
    if adapter.config.map is not None:
        return adapter.extra_channels(grounding(adapter, batch)[0], height, width)
    if not adapter.config.inpainting:
        return None
    return torch.cat((torch.randn(batch, channels, height, width), torch.ones_like(latents[:, :1])), 1)  # noqa: E501  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fresh_adapter_changes_no_bit_and_leaves_no_trace(family, variant):
    unet, arguments = tiny.unet(family), tiny.inputs(family)
    expected, keys = unet(**arguments).sample, list(unet.state_dict())
    own = {path: set(vars(module)) for path, module in unet.named_modules()}
    adapter = GligenAdapter.for_unet(unet, config(variant))
    tokens = adapter.tokens(*grounding(adapter))
    assert tokens.shape == (2, adapter.config.token_count, WIDTH)
    channels = extra(adapter, arguments["sample"])
    with torch.no_grad(), adapter.injected(unet), adapter.grounded(tokens, extra=channels):
        assert torch.equal(unet(**arguments).sample, expected)
    tiny.randomise(adapter)
    with torch.no_grad(), adapter.injected(unet):
        with adapter.grounded(tokens, extra=channels):
            assert not torch.allclose(unet(**arguments).sample, expected, atol=1e-2)
        assert torch.equal(unet(**arguments).sample, expected)
    assert torch.equal(unet(**arguments).sample, expected)
    assert list(unet.state_dict()) == keys
    assert {path: set(vars(module)) for path, module in unet.named_modules()} == own


@pytest.mark.parametrize("variant", VARIANTS)
def test_null_tokens_are_those_of_nothing_and_not_of_something(variant):
    adapter = tiny.open_adapter(tiny.unet(), config(variant))
    null = adapter.null_tokens(2)
    assert null.shape == (2, adapter.config.token_count, WIDTH)
    assert torch.equal(null[0], null[1])
    tokens = adapter.tokens(*grounding(adapter))
    assert not torch.allclose(tokens, null, atol=1e-2)


def test_when_gates_are_off_maps_leave_the_plain_model_and_inpainting_does_not():
    unet, arguments = tiny.unet(), tiny.inputs()
    expected = unet(**arguments).sample
    for variant, is_plain in (("canny", True), ("text_inpaint", False)):
        adapter = tiny.open_adapter(unet, config(variant))
        tokens = adapter.tokens(*grounding(adapter)).detach()
        channels = extra(adapter, arguments["sample"])
        with torch.no_grad(), adapter.injected(unet):
            with adapter.grounded(tokens, scale=0.0, extra=channels):
                assert torch.equal(unet(**arguments).sample, expected) == is_plain
            with adapter.grounded(tokens, scale=0.3, extra=channels):
                assert not torch.allclose(unet(**arguments).sample, expected, atol=1e-3)


def test_the_extra_channels_are_convolved_once_for_a_run(monkeypatch):
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet, config("depth"))
    tokens = adapter.tokens(*grounding(adapter)).detach()
    channels = extra(adapter, arguments["sample"])
    calls = []
    with torch.no_grad(), adapter.injected(unet):
        first = adapter._first
        assert first is not None
        convolved = first._of_extra
        monkeypatch.setattr(first, "_of_extra", lambda *a: calls.append(1) or convolved(*a))
        with adapter.grounded(tokens, extra=channels):
            same = [unet(**arguments).sample for _ in range(3)]
    assert len(calls) == 1
    assert torch.equal(same[0], same[2])


def test_both_kinds_of_a_region_and_only_their_masks_matter():
    adapter = tiny.open_adapter(tiny.unet(), config("text_image"))
    boxes, masks, phrases, images, said, shown = grounding(adapter)
    tokens = adapter.tokens(boxes, masks, phrases, images, said, shown)
    nonsense = torch.where(shown[..., None].bool(), images, torch.nan)
    assert torch.equal(adapter.tokens(boxes, masks, phrases, nonsense, said, shown), tokens)
    silent = adapter.tokens(boxes, masks, phrases, images, torch.zeros_like(said), shown)
    count = adapter.config.max_boxes
    assert torch.equal(silent[:, count:], tokens[:, count:])
    assert not torch.allclose(silent[:, :count], tokens[:, :count], atol=1e-3)


def test_text_and_image_cost_one_guided_call_a_step():
    unet, batch = tiny.unet(), 2
    adapter = tiny.open_adapter(unet, config("text_image"))
    sizes = []
    unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    context = torch.randn(batch, 9, WIDTH)
    with torch.no_grad(), adapter.injected(unet):
        sample(
            unet,
            make_scheduler("ddim", tiny.DIFFUSION),
            torch.randn(batch, 4, 8, 12),
            Condition(context=context, tokens=adapter.tokens(*grounding(adapter))),
            Condition(context=-context),
            settings=SamplerSettings(steps=5, guidance=3.0),
            adapter=adapter,
        )
    assert sizes == [2 * batch] * 5


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_maps_fit_any_size_of_latents(size):
    adapter = tiny.open_adapter(tiny.unet(), config("sem"))
    maps = grounding(adapter)[0]
    assert adapter.extra_channels(maps, *size).shape == (2, 8, *size)


def test_misuse_is_named():
    unet, arguments = tiny.unet(), tiny.inputs()
    adapter = tiny.open_adapter(unet, config("canny"))
    tokens = adapter.tokens(*grounding(adapter)).detach()
    with (
        torch.no_grad(),
        adapter.injected(unet),
        adapter.grounded(tokens, extra=torch.zeros(1, 8, 8, 12)),
        pytest.raises(LavallamaError, match=r"must be \[2, 8, 8, 12\]"),
    ):
        unet(**arguments)
    with pytest.raises(LavallamaError, match="'text' reads no maps"):
        tiny.open_adapter(unet).extra_channels(torch.zeros(1, 3, 8, 8), 8, 8)
    with pytest.raises(CheckpointError, match="gates|channels wide|first convolution"):
        adapter.inject(tiny.unet(block_out_channels=(64, 64)))
    with pytest.raises(LavallamaError, match="modality must be one of text, .*; got 'smell'"):
        AdapterConfig(modality="smell")  # pyright: ignore[reportArgumentType]
    with pytest.raises(LavallamaError, match="'hed' cannot"):
        AdapterConfig(modality="hed", inpainting=True)
    with pytest.raises(LavallamaError, match="reads no map"):
        AdapterConfig(modality="keypoint", map=MapConfig())
