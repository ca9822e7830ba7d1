"""The autoencoder in a single file of Stable Diffusion: latent-diffusion's `AutoencoderKL`.

Its names may also be diffusers', all of them or those of its attention alone, as converters write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from weights.keymap import rename_all
from weights.part import Part, Shapes, numbered, size_of

__all__ = ["vae_part", "vae_table"]

GROUPS = 32  # GroupNorm(32, ...) everywhere in latent-diffusion
CELL = 8  # pixels of one side of a latent cell
VAE_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
VAE_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
LDM_ATTENTION = {theirs: name for name, theirs in VAE_ATTENTION.items()}
ATTENTION = re.compile(
    r"^(?P<head>(?:en|de)coder\.mid\.attn_1)\.(?P<name>group_norm|to_[qkv]|to_out\.0)\."
)


def vae_table(levels: int, layers: int) -> dict[str, str | None]:
    """List the modules of latent-diffusion's autoencoder -> those of diffusers' AutoencoderKL.

    Args:
        levels: Resolutions.
        layers: Residual layers in a level of the encoder; the decoder has one more.
    """
    table: dict[str, str | None] = {
        "quant_conv": "quant_conv",
        "post_quant_conv": "post_quant_conv",
    }

    def insert(here: str, there: str, names: Mapping[str, str]) -> None:
        table.update({f"{here}.{a}": f"{there}.{b}" for a, b in names.items()})

    for side in ("encoder", "decoder"):
        table[f"{side}.conv_in"] = f"{side}.conv_in"
        table[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        table[f"{side}.conv_out"] = f"{side}.conv_out"
        middle = f"{side}.mid_block"
        insert(f"{side}.mid.block_1", f"{middle}.resnets.0", VAE_RESNET)
        insert(f"{side}.mid.attn_1", f"{middle}.attentions.0", VAE_ATTENTION)
        insert(f"{side}.mid.block_2", f"{middle}.resnets.1", VAE_RESNET)
    for level in range(levels):
        down, here = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        for place in range(layers):
            insert(f"{here}.block.{place}", f"{down}.resnets.{place}", VAE_RESNET)
        table[f"{here}.downsample.conv"] = f"{down}.downsamplers.0.conv"
        # latent-diffusion counts the decoder's levels from the largest picture, diffusers from the
        # smallest.
        up, here = f"decoder.up_blocks.{levels - 1 - level}", f"decoder.up.{level}"
        for place in range(layers + 1):
            insert(f"{here}.block.{place}", f"{up}.resnets.{place}", VAE_RESNET)
        table[f"{here}.upsample.conv"] = f"{up}.upsamplers.0.conv"
    return table


def vae_part(shapes: Shapes, source: str, *, scaling: float, cells: int) -> Part:
    """Account for every tensor of the autoencoder.

    Args:
        shapes: Names inside the autoencoder -> shapes.
        source: What is read, for messages.
        scaling: What latents are multiplied with for the UNet; no shape tells it.
        cells: Latent cells of one side of the pictures it was trained on.

    Raises:
        CheckpointError: Parameters are missing or unknown.
    """
    ours = any(key.startswith("encoder.down_blocks.") for key in shapes)
    down, blocks = ("down_blocks", "resnets") if ours else ("down", "block")
    levels = numbered(shapes, f"encoder.{down}.")
    layers = numbered(shapes, f"encoder.{down}.0.{blocks}.")
    widths = [
        size_of(shapes, f"encoder.{down}.{level}.{blocks}.0.conv1.weight", 0, source)
        for level in range(levels)
    ]
    config = {
        "in_channels": size_of(shapes, "encoder.conv_in.weight", 1, source),
        "out_channels": size_of(shapes, "decoder.conv_out.weight", 0, source),
        "latent_channels": size_of(shapes, "post_quant_conv.weight", 0, source),
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers,
        "norm_num_groups": GROUPS,
        "scaling_factor": scaling,
        "sample_size": CELL * cells,
    }
    if ours:
        names = {key: key for key in shapes}
    else:
        table = vae_table(levels, layers)
        modern = {key: _in_attention(key) for key in shapes}
        renamed = rename_all(modern.values(), table, source)
        names = {key: renamed[name] for key, name in modern.items()}
    return Part(config=config, names=names)


def _in_attention(key: str) -> str:
    """latent-diffusion's name of what converters call as diffusers does."""
    match = ATTENTION.match(key)
    if match is None:
        return key
    return f"{match['head']}.{LDM_ATTENTION[match['name']]}.{key[match.end() :]}"
