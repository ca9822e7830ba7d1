"""What a file of weights is, told by the names in it: "a LoRA for FLUX".

A file of another kind or family is refused in one line, and that line should say what it is. The
families are those whose files people have; what none of the patterns knows is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "CONTEXTS",
    "CONTROLNET",
    "EMBEDDING",
    "STABLE_DIFFUSION",
    "T2I_ADAPTER",
    "describe",
    "find_family",
    "name_base",
]

STABLE_DIFFUSION = "Stable Diffusion"
EMBEDDING, CONTROLNET, T2I_ADAPTER = "a textual inversion", "a ControlNet", "a T2I-Adapter"
VAE = "a VAE"
# Channels of text that a UNet of Stable Diffusion attends to.
CONTEXTS = {
    768: f"{STABLE_DIFFUSION} 1.x",
    1024: f"{STABLE_DIFFUSION} 2.x",
    1280: f"the refiner of {STABLE_DIFFUSION} XL",
    2048: f"{STABLE_DIFFUSION} XL",
}
# In order: the first that any name fits. Names are read with "_" for ".", as kohya writes them.
FAMILIES: dict[str, str] = {
    "AnimateDiff (a motion module)": r"motion_modules_",
    "Stable Cascade": r"(^|_)prior_unet_",
    "AuraFlow": r"joint_transformer_blocks_|(^|_)double_layers_\d+_",
    "Qwen-Image": r"transformer_blocks_\d+_(img|txt)_(mlp|mod)_",
    "HunyuanVideo": r"double_blocks_(19|[2-9]\d)_|token_refiner_blocks_|individual_token_refiner_",
    "Chroma": r"distilled_guidance_layer_",
    "FLUX": r"double_blocks_\d+_|single_blocks_\d+_|single_transformer_blocks_\d+_",
    "Stable Diffusion 3": r"joint_blocks_\d+_|transformer_blocks_\d+_attn_add_[qkv]_proj",
    "Wan": r"(^|_)blocks_\d+_((self|cross)_attn_[qkvo](_img)?_|ffn_[02]_|ffn_net_)",
    "Lumina or Z-Image": r"(^|_)(layers|(context|noise)_refiner)_\d+_(attention|feed_forward)_",
    STABLE_DIFFUSION: r"(^|_)((down|up|input|output)_blocks_\d+|mid_block|middle_block)_"
    r"|(^|_)te[12]?_text_model_|text_encoder_(2_)?text_model_",
    "a language model": r"(^|_)model_layers_\d+_(self_attn|mlp)_",
    "a diffusion transformer (PixArt, LTX-Video or the like)": r"transformer_blocks_\d+_attn[12]?_",
}
# Kinds of files, by names with dots; in order.
KINDS: dict[str, str] = {
    "an IP-Adapter": r"^(image_proj|ip_adapter)\.",
    "a control-LoRA": r"^lora_controlnet$",
    "a LoRA": r"[._](lora_(down|up|mid|[AB])\b|lora\.(down|up)\.|lora_linear_layer\.)"
    r"|\.(hada_w1_a|lokr_w[12](_a)?|oft_blocks|oft_diag|w_norm|diff(_b)?)$",
    CONTROLNET: r"(^|\.)(control_model\.|zero_convs\.|controlnet_(down|mid)_block)|"
    r"^controlnet_(blocks|cond_embedding)",
    T2I_ADAPTER: r"^(adapter\.)?body\.\d+\.(in_conv|block1|resnets|body)\.",
    EMBEDDING: r"^(string_to_param\.|emb_params$|clip_[lg]$|t5xxl$)",
    "a checkpoint": r"^model\.diffusion_model\.",
    VAE: r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|down|up|mid)",
    "an adapter of GLIGEN": r"\.fuser\.|^position_net\.",
}


def find_family(names: Iterable[str]) -> str | None:
    """Name the family of models that a file is for; None if no pattern knows it."""
    flat = [name.replace(".", "_") for name in names]
    for family, pattern in FAMILIES.items():
        found = re.compile(pattern)
        if any(found.search(name) for name in flat):
            return family
    return None


def describe(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Say what a file is, and for what, as far as the names of its tensors tell.

    Args:
        shapes: Of its tensors.

    Returns:
        Such as "a LoRA for FLUX" or "a ControlNet"; None where nothing is known.
    """
    kind = next(
        (kind for kind, pattern in KINDS.items() if any(re.search(pattern, key) for key in shapes)),
        None,
    )
    family = find_family(shapes)
    if family == STABLE_DIFFUSION:
        family = CONTEXTS.get(_context(shapes), family)
    if kind == VAE:  # its names are those of a UNet's blocks, whatever it is for
        return kind
    if kind is None:
        return None if family is None else f"weights for {family}"
    return kind if family is None else f"{kind} for {family}"


def name_base(unet_config: Mapping[str, Any]) -> str:
    """Say of which family a UNet is, by the channels of text that it attends to."""
    width = unet_config["cross_attention_dim"]
    return CONTEXTS.get(width, f"of another kind (it attends to {width} channels of text)")


def _context(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Channels of text that the layers of a file read; 0 if no layer tells."""
    reads = re.compile(
        r"attn2_(processor_)?to_[kv]_(lora_)?"
        r"(lora_down_weight|lora_A_(default_)?weight|down_weight|hada_w1_b|diff|weight)$"
        r"|attn2_to_[kv]_lora_linear_layer_down_weight$"
    )
    for key, shape in shapes.items():
        if len(shape) > 1 and reads.search(key.replace(".", "_")):
            return shape[1]
    return 0
