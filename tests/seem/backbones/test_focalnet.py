"""The plain FocalNet against transformers' implementation of the same paper."""

import torch
from transformers.models.focalnet.configuration_focalnet import FocalNetConfig as PeerConfig
from transformers.models.focalnet.modeling_focalnet import FocalNetModel

from seem.backbones.focalnet import FocalNet, FocalNetConfig
from tests.parity.seem_inputs import fill_module

RENAMED = (  # ours, transformers'
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("patch_embed.norm", "embeddings.norm"),
    ("layers.", "encoder.stages."),
    (".blocks.", ".layers."),
    ("downsample.proj", "downsample.projection"),
    ("modulation.f.", "modulation.projection_in."),
    ("modulation.h.", "modulation.projection_context."),
    ("modulation.proj.", "modulation.projection_out."),
)


def peer_key(key: str) -> str:
    key = key.replace("modulation.focal_layers.", "modulation.kept.")
    for ours, theirs in RENAMED:
        key = key.replace(ours, theirs)
    return key.replace("modulation.kept.", "modulation.focal_layers.")


def test_the_plain_block_is_transformers_post_norm_focalnet():
    depths = (1, 2, 1, 1)
    ours = FocalNet(
        FocalNetConfig(dim=8, depths=depths, focal_levels=3, block="plain", stem_padding=2)
    ).eval()
    fill_module(ours, lambda key: f"tiny.{key}")
    peer = FocalNetModel(
        PeerConfig(
            image_size=64,
            embed_dim=8,
            depths=list(depths),
            focal_levels=[3] * 4,
            focal_windows=[3] * 4,
            use_conv_embed=True,
            use_layerscale=True,
            use_post_layernorm=True,
            normalize_modulator=True,
        ),
        add_pooling_layer=False,
    ).eval()
    state = {peer_key(key): value for key, value in ours.state_dict().items()}
    own_norms = {key for key in state if key.startswith("norm")}
    missing, unknown = peer.load_state_dict(state, strict=False)
    assert set(missing) == {"layernorm.weight", "layernorm.bias"}
    assert set(unknown) == own_norms

    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x, size = peer.embeddings(pixels)
        for number, stage in enumerate(peer.encoder.stages):
            following, x, dimensions = stage(x, size)
            wanted = ours.get_submodule(f"norm{number}")(x).unflatten(1, size)
            torch.testing.assert_close(
                ours(pixels)[number].permute(0, 2, 3, 1), wanted, rtol=1e-4, atol=1e-5
            )
            x, size = following, dimensions[-2:]
