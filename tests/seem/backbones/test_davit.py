"""DaViT against the vision backbone of transformers' Florence-2, which is one."""

import pytest
import torch
from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from seem.backbones.davit import DaViT, DaViTConfig
from tests.parity.seem_inputs import fill_module

RENAMED = (  # ours, transformers'
    (".proj.", ".conv."),
    ("conv1.fn.dw", "conv1"),
    ("conv2.fn.dw", "conv2"),
    ("window_attn.norm", "norm1"),
    ("channel_attn.norm", "norm1"),
    ("ffn.norm", "norm2"),
    ("ffn.fn.net.", "ffn."),
    ("attn.fn.conv", "attn.proj"),
    ("attn.fn.", "attn."),
)


def peer_key(key: str) -> str:
    for ours, theirs in RENAMED:
        key = key.replace(ours, theirs)
    return key


@pytest.mark.parametrize("kernel", [2, 3])  # d3 and d5
def test_maps_are_those_of_florence(kernel: int) -> None:
    dims, heads, depths = (8, 16, 32, 64), (1, 2, 4, 8), (1, 2, 1, 1)
    ours = DaViT(DaViTConfig(dims=dims, heads=heads, depths=depths, patch_kernel=kernel)).eval()
    fill_module(ours, lambda key: f"tiny.{key}")
    padding = (kernel - 1) // 2
    peer = Florence2VisionBackbone(
        Florence2VisionConfig(
            embed_dim=dims,
            num_heads=heads,
            num_groups=heads,
            depths=depths,
            patch_size=(7, kernel, kernel, kernel),
            patch_padding=(3, padding, padding, padding),
            window_size=7,
        )
    ).eval()
    peer.load_state_dict({peer_key(key): value for key, value in ours.state_dict().items()})

    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x, maps = pixels, ours(pixels)
        for conv, blocks, found in zip(peer.convs, peer.blocks, maps, strict=True):
            x = conv(x)
            for block in blocks:
                x = block(x)
            torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))
