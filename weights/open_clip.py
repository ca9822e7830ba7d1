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
the last of OpenCLIP-H's 24 layers, normalised: layer 23 is left out there, as diffusers does, and
so is the projection. Files made of diffusers' folders never had them. `text_projection.weight` is a
linear layer's, not transposed, as ComfyUI reads it.
"""

from __future__ import annotations

import re
from typing import Any

from grounding.errors import CheckpointError
from weights.part import Part, Shapes, numbered, size_of

__all__ = ["open_clip_part"]

UNREAD_LAYER = 23  # of OpenCLIP-H, which Stable Diffusion 2.x reads before its last layer
LAYERS = {1024: (23, 24), 1280: (32,)}  # width -> layers, of OpenCLIP-H and OpenCLIP-bigG
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
PROJECTION, LINEAR = "text_projection", "text_projection.weight"
IGNORED = ("logit_scale", "attn_mask")


def open_clip_part(shapes: Shapes, source: str, *, projected: bool) -> Part:
    """Account for every tensor of an OpenCLIP text encoder.

    Args:
        shapes: OpenCLIP's names -> shapes.
        source: What is read, for messages.
        projected: All layers and the projection are wanted (SDXL); else neither the projection nor
            layer 23 (Stable Diffusion 2.x).

    Raises:
        CheckpointError: Parameters are missing or unknown.
    """
    layers = _count_layers(shapes, source)
    kept = UNREAD_LAYER if layers == UNREAD_LAYER + 1 and not projected else layers
    names: dict[str, str] = {}
    fused: dict[str, tuple[str, ...]] = {}
    turned: dict[str, str] = {}
    prefix = "text_model." if projected else ""
    for key in shapes:
        layer = LAYER.match(key)
        if key in OUTER_NAMES:
            names[key] = f"{prefix}{OUTER_NAMES[key]}"
        elif key in (PROJECTION, LINEAR):
            if projected:
                (turned if key == PROJECTION else names)[key] = LINEAR
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
    config = _config(shapes, kept, source)
    if projected:
        config["projection_dim"] = _projected(shapes, source)
    return Part(config=config, names=names, fused=fused, turned=turned)


def _count_layers(shapes: Shapes, source: str) -> int:
    width, layers = _width(shapes, source), numbered(shapes, "transformer.resblocks.")
    if layers not in LAYERS.get(width, (layers,)):
        wanted = " or ".join(str(number) for number in LAYERS[width])
        raise CheckpointError(
            f"{source}: its OpenCLIP of width {width} has {layers} layers, expected {wanted}"
        )
    return layers


def _width(shapes: Shapes, source: str) -> int:
    return size_of(shapes, "token_embedding.weight", 1, source)


def _config(shapes: Shapes, layers: int, source: str) -> dict[str, Any]:
    vocabulary, width = size_of(shapes, "token_embedding.weight", 0, source), _width(shapes, source)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": size_of(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 0, source),
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": size_of(shapes, "positional_embedding", 0, source),
        "hidden_act": "gelu",
        "pad_token_id": 0,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }


def _projected(shapes: Shapes, source: str) -> int:
    """Channels of the projection."""
    if LINEAR in shapes and PROJECTION in shapes:
        raise CheckpointError(f"{source}: {PROJECTION} and {LINEAR} are the same: keep one")
    if LINEAR in shapes:
        return size_of(shapes, LINEAR, 0, source)
    return size_of(shapes, PROJECTION, 1, source)


def _in_layer(name: str, source: str, key: str) -> tuple[str, ...]:
    """What a parameter of one layer is called there: one name, or those of q, k and v."""
    kind = name.removeprefix("attn.in_proj_")
    if kind in ("weight", "bias") and kind != name:
        return tuple(f"self_attn.{one}_proj.{kind}" for one in "qkv")
    module, _, end = name.rpartition(".")
    if module not in LAYER_NAMES or end not in ("weight", "bias"):
        raise CheckpointError(f"{source}: unknown parameter {key}")
    return (f"{LAYER_NAMES[module]}.{end}",)
