"""SAM's transformer against transformers' own, the pyramid against its definition."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.sam.configuration_sam import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from grounding.errors import LavallamaError
from seem.backbones import sam_vit
from seem.backbones.sam_vit import SamViT, SamViTConfig, SimplePyramid
from tests.parity.seem_inputs import fill_module

CONFIG = SamViTConfig(
    dim=16, depth=3, heads=2, global_blocks=(1,), window=5, image_size=128, channels=(4, 8, 16, 32)
)
RENAMED = (  # ours, transformers'
    ("blocks.", "layers."),
    ("patch_embed.proj", "patch_embed.projection"),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
)


def peer_key(key: str) -> str:
    for ours, theirs in RENAMED:
        key = key.replace(ours, theirs)
    return key


def filled(module: torch.nn.Module) -> torch.nn.Module:
    fill_module(module, lambda key: f"tiny.{key}")
    return module.eval().requires_grad_(False)


def normalised(x: Tensor, neck: SimplePyramid, key: str) -> Tensor:
    """Zero mean and unit deviation over a whole image, then scale and shift of each channel."""
    weight, bias = neck.get_parameter(f"{key}.weight"), neck.get_parameter(f"{key}.bias")
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    variance = x.var(dim=(1, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize("at_once", [512, 10])
def test_the_transformer_is_transformers_own(at_once, monkeypatch):
    monkeypatch.setattr(sam_vit, "QUERIES_AT_ONCE", at_once)
    ours = filled(SamViT(CONFIG))
    peer = SamVisionEncoder(
        SamVisionConfig(
            hidden_size=CONFIG.dim,
            num_hidden_layers=CONFIG.depth,
            num_attention_heads=CONFIG.heads,
            global_attn_indexes=list(CONFIG.global_blocks),
            window_size=CONFIG.window,
            image_size=CONFIG.image_size,
            mlp_dim=4 * CONFIG.dim,
        )
    ).eval()
    state = {peer_key(k): v for k, v in ours.state_dict().items() if not k.startswith("neck.")}
    missing, unknown = peer.load_state_dict(state, strict=False)
    assert all(key.startswith("neck.") for key in missing)
    assert unknown == []

    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    theirs = peer.patch_embed(pixels) + peer.pos_embed
    for layer in peer.layers:
        theirs = layer(theirs)
    wanted = ours.neck(theirs.permute(0, 3, 1, 2))
    for found, expected in zip(ours(pixels), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_pyramid_is_its_definition():
    neck = filled(SimplePyramid(16, (4, 8, 16, 32)))
    x = torch.randn(2, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    w = dict(neck.named_parameters())
    y = F.conv_transpose2d(x, w["down_4.0.weight"], w["down_4.0.bias"], stride=2)
    y = F.gelu(normalised(y, neck, "down_4.1"))
    y = F.conv_transpose2d(y, w["down_4.3.weight"], w["down_4.3.bias"], stride=2)
    y = F.conv2d(normalised(y, neck, "down_4.4"), w["down_4.5.weight"], w["down_4.5.bias"])
    res2 = F.gelu(normalised(y, neck, "down_4.6"))
    y = F.conv_transpose2d(x, w["down_8.0.weight"], w["down_8.0.bias"], stride=2)
    y = F.conv2d(normalised(y, neck, "down_8.1"), w["down_8.2.weight"], w["down_8.2.bias"])
    res3 = F.gelu(normalised(y, neck, "down_8.3"))
    y = F.conv2d(x, w["down_16.0.weight"], w["down_16.0.bias"])
    res4 = F.gelu(normalised(y, neck, "down_16.1"))
    y = F.conv2d(x, w["down_32.0.weight"], w["down_32.0.bias"], stride=2)
    y = F.conv2d(normalised(y, neck, "down_32.1"), w["down_32.2.weight"], w["down_32.2.bias"])
    res5 = F.gelu(normalised(y, neck, "down_32.3"))
    for found, wanted in zip(neck(x), (res2, res3, res4, res5), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_larger_picture_is_refused_with_the_cure():
    with pytest.raises(LavallamaError, match="make the longer side 128 or less"):
        SamViT(CONFIG)(torch.zeros(1, 3, 128, 256))
