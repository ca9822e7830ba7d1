"""OpenCLIP's text encoder as single files of Stable Diffusion 2.x and XL hold it.

| OpenCLIP                                    | transformers                              |
|---------------------------------------------|-------------------------------------------|
| `token_embedding`                           | `embeddings.token_embedding`              |
| `positional_embedding`                      | `embeddings.position_embedding.weight`    |
| `transformer.resblocks.N.ln_1`, `ln_2`      | `encoder.layers.N.layer_norm1`, `2`       |
| `... .attn.in_proj_weight`, `in_proj_bias`  | `... .self_attn.{q,k,v}_proj`, in a row   |
| `... .attn.out_proj`                        | `... .self_attn.out_proj`                 |
| `... .mlp.c_fc`, `c_proj`                   | `... .mlp.fc1`, `fc2`                     |
| `ln_final`                                  | `final_layer_norm`                        |
| `text_projection` (width x projection)      | `text_projection.weight`, transposed      |

(github.com/mlfoundations/open_clip, `transformer.py`.) Stable Diffusion 2.x reads the states before
the last layer, normalised: there the last layer is left out, as diffusers' folders do; its
projection is not used either.
"""

from __future__ import annotations

import re
from typing import Any

from grounding.errors import CheckpointError
from weights.part import Part, Shapes, numbered, size_of

__all__ = ["open_clip_part"]

HEAD_WIDTH = 64  # of every OpenCLIP text tower; https://github.com/mlfoundations/open_clip
LAYER = re.compile(r"^transformer\.resblocks\.(\d+)\.(.+)$")
LAYER_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
OUTER_NAMES = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
PROJECTION = "text_projection"
IGNORED = ("logit_scale", "attn_mask")


def open_clip_part(shapes: Shapes, source: str, *, projected: bool) -> Part:
    """Account for every tensor of an OpenCLIP text encoder.

    Args:
        shapes: OpenCLIP's names -> shapes.
        source: What is read, for messages.
        projected: All layers and the projection are wanted (SDXL); else neither the projection nor
            the last layer (Stable Diffusion 2.x).

    Raises:
        CheckpointError: Parameters are missing or unknown.
    """
    width = size_of(shapes, "token_embedding.weight", 1, source)
    layers = numbered(shapes, "transformer.resblocks.")
    kept = layers if projected else layers - 1
    names: dict[str, str] = {}
    fused: dict[str, tuple[str, ...]] = {}
    turned: dict[str, str] = {}
    prefix = "text_model." if projected else ""
    for key in shapes:
        layer = LAYER.match(key)
        if key in OUTER_NAMES:
            names[key] = f"{prefix}{OUTER_NAMES[key]}"
        elif key == PROJECTION:
            if projected:
                turned[key] = f"{PROJECTION}.weight"
        elif layer is not None:
            if int(layer[1]) < kept:
                ours = _in_layer(layer[2], source, key)
                placed = [f"{prefix}encoder.layers.{layer[1]}.{name}" for name in ours]
                if len(placed) > 1:
                    fused[key] = tuple(placed)
                else:
                    names[key] = placed[0]
        elif key not in IGNORED:
            raise CheckpointError(f"{source}: unknown parameter {key}")
    config: dict[str, Any] = {
        "vocab_size": size_of(shapes, "token_embedding.weight", 0, source),
        "hidden_size": width,
        "intermediate_size": size_of(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 0, source),
        "num_hidden_layers": kept,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": size_of(shapes, "positional_embedding", 0, source),
        "hidden_act": "gelu",
        "pad_token_id": 0,
    }
    config["bos_token_id"] = config["vocab_size"] - 2
    config["eos_token_id"] = config["vocab_size"] - 1
    if projected:
        config["projection_dim"] = size_of(shapes, PROJECTION, 1, source)
    return Part(config=config, names=names, fused=fused, turned=turned)


def _in_layer(name: str, source: str, key: str) -> tuple[str, ...]:
    """What a parameter of one layer is called there: one name, or those of q, k and v."""
    kind = name.removeprefix("attn.in_proj_")
    if kind in ("weight", "bias") and kind != name:
        return tuple(f"self_attn.{one}_proj.{kind}" for one in "qkv")
    module, _, end = name.rpartition(".")
    if module not in LAYER_NAMES or end not in ("weight", "bias"):
        raise CheckpointError(f"{source}: unknown parameter {key}")
    return (f"{LAYER_NAMES[module]}.{end}",)
