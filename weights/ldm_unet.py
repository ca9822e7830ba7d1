"""The UNet in a single file of Stable Diffusion: latent-diffusion's `UNetModel`."""

from __future__ import annotations

from typing import Any

from grounding.errors import CheckpointError
from weights.keymap import UNetLayout, is_adapter_key, rename_all, unet_table
from weights.part import Part, Shapes, numbered, size_of

__all__ = ["check_channels", "unet_part"]

SD1_HEADS = 8  # latent-diffusion, v1-inference.yaml: num_heads
HEAD_CHANNELS = 64  # Stable Diffusion 2.x and XL: num_head_channels
TIME_CHANNELS = 256  # SDXL: channels of each number that the UNet is told of the picture
GROUPS = 32  # GroupNorm(32, ...) everywhere in latent-diffusion


def unet_part(shapes: Shapes, source: str, *, cells: int) -> Part:
    """Account for every tensor of the UNet but GLIGEN's gates, and read its sizes.

    Args:
        shapes: Names inside the UNet -> shapes.
        source: What is read, for messages.
        cells: Latent cells of one side of the pictures it was trained on; no shape tells them.

    Raises:
        CheckpointError: Parameters are missing or unknown, or it is no UNet of a known kind.
    """
    gated = any(is_adapter_key(key) for key in shapes)
    shapes = {key: shape for key, shape in shapes.items() if not is_adapter_key(key)}
    channels = size_of(shapes, "input_blocks.0.0.weight", 1, source)
    latent = size_of(shapes, "out.2.weight", 0, source)
    check_channels(channels, latent, gated, source)
    downs = sorted(int(key.split(".")[1]) for key in shapes if key.endswith(".0.op.weight"))
    step = downs[0] if downs else 3
    levels, layers = len(downs) + 1, step - 1
    first = [1 + level * step for level in range(levels)]
    widths = [size_of(shapes, f"input_blocks.{i}.0.out_layers.3.weight", 0, source) for i in first]
    attended = tuple(f"input_blocks.{i}.1.norm.weight" in shapes for i in first)
    context = {shapes[key][1] for key in shapes if key.endswith(".attn2.to_k.weight")}
    if len(context) != 1:
        raise CheckpointError(f"{source}: its UNet has no cross-attention of one width")
    linear = any(k.endswith(".1.proj_in.weight") and len(v) == 2 for k, v in shapes.items())
    depths = [numbered(shapes, f"input_blocks.{i}.1.transformer_blocks.") or 1 for i in first]
    config: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": latent,
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": [f"{'CrossAttn' if a else ''}DownBlock2D" for a in attended],
        "up_block_types": [f"{'CrossAttn' if a else ''}UpBlock2D" for a in reversed(attended)],
        "transformer_layers_per_block": depths if len(set(depths)) > 1 else depths[0],
        "cross_attention_dim": context.pop(),
        # diffusers' misnomer: the number of heads
        "attention_head_dim": [max(1, w // HEAD_CHANNELS) for w in widths] if linear else SD1_HEADS,
        "use_linear_projection": linear,
        "norm_num_groups": GROUPS,
        "sample_size": cells,
    }
    if "label_emb.0.0.weight" in shapes:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": TIME_CHANNELS,
            "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
        }
    table = unet_table(UNetLayout(attended=attended, layers=layers))
    return Part(config=config, names=rename_all(shapes, table, source))


def check_channels(channels: int, latent: int, gated: bool, source: str) -> None:
    """Check that a UNet reads latents, or latents, a mask and a masked picture (inpainting).

    Raises:
        CheckpointError: It reads something else, or was widened by an adapter.
    """
    if channels == latent:
        return
    if gated:
        raise CheckpointError(
            f"{source}: its UNet takes {channels} channels because GLIGEN's gates in it inpaint or "
            "read maps: give it with --adapter, over a base of its own"
        )
    if channels != 2 * latent + 1:
        raise CheckpointError(
            f"{source}: its UNet takes {channels} channels, expected {latent}, or "
            f"{2 * latent + 1} for inpainting: other uses are not supported as a base"
        )
