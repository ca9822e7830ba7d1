"""What an adapter's parameters are called and how their shapes hang together, by modality.

Shapes are symbolic: C channels of a block, D token width, P phrase width, ...; a number stands for
itself and a sum for a sum. The first tensor binds a symbol, all others must agree
(`weights.adapter_check`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gligen.config import MODALITIES, Modality
from grounding.joints import JOINTS

__all__ = [
    "BOX_FIELD_SHAPES",
    "FIELD_FEATURE_SHAPES",
    "FIRST_CONV_SHAPES",
    "POSITION_FEATURE_SHAPES",
    "downsampler_shapes",
    "possible_modalities",
    "tokenizer_shapes",
]

Shapes = dict[str, tuple[str, ...]]

POSITION_FEATURE_SHAPES: Shapes = {
    "position.weight": ("C", "E"),
    "position.bias": ("C",),
}
"""lavallama's extension of a gate: features of the visual tokens' own position (E values)."""

FIELD_FEATURE_SHAPES: Shapes = {
    "field.weight": ("C", "D"),
    "field.bias": ("C",),
}
"""lavallama's extension of a gate: features of the box field."""

BOX_FIELD_SHAPES: Shapes = {
    "layers.0.weight": ("G", "E"),
    "layers.0.bias": ("G",),
    "layers.1.weight": ("G", "G"),
    "layers.1.bias": ("G",),
    "layers.2.weight": ("G", "G"),
    "layers.2.bias": ("G",),
    "phrase.weight": ("G+G+G+G+G+G", "P"),
    "phrase.bias": ("G+G+G+G+G+G",),
    "out.weight": ("D", "G"),
    "out.bias": ("D",),
}
"""lavallama's extension of an adapter: the box field, G its hidden width."""

FIRST_CONV_SHAPES: Shapes = {"weight": ("Q", "W", "3", "3"), "bias": ("Q",)}
"""The widened first convolution: W channels in, Q out."""

LATENT_CHANNELS = (4, 16)  # of the autoencoders there are
DOWNSAMPLED = 8  # extra channels of every published downsampler
TRUNK = "convnext_tiny_backbone"


def possible_modalities(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Modality, ...]:
    """Tell an adapter's modality by its canonical names; canny and depth have the same."""
    if "position_net.null_text_feature" in shapes:
        return ("text_image",)
    if "position_net.null_person_feature" in shapes:
        return ("keypoint",)
    if "position_net.in_conv.weight" in shapes:
        return ("sem",)
    if "position_net.pos_embedding" not in shapes:
        return ("text",)
    first = shapes.get("downsample_net.layers.0.weight", ())
    if len(first) == 4:
        return ("normal",) if first[1] == 3 else ("canny", "depth")
    read = (*shapes.get("conv_in.weight", ()), 0, 0)[1]
    return ("canny", "depth") if read - DOWNSAMPLED in LATENT_CHANNELS else ("hed",)


def tokenizer_shapes(modality: Modality, depths: Sequence[int] = ()) -> Shapes:
    """List what `position_net` holds.

    Args:
        modality: of the adapter.
        depths: blocks of the ConvNeXt's stages, for maps.
    """
    assert modality in MODALITIES
    if modality == "text":
        nulls: Shapes = {"null_positive_feature": ("P",), "null_position_feature": ("E",)}
        return nulls | _mlp("linears", "P+E")
    if modality == "text_image":
        nulls = {
            "null_text_feature": ("P",),
            "null_image_feature": ("V",),
            "null_position_feature": ("E",),
        }
        return nulls | _mlp("linears_text", "P+E") | _mlp("linears_image", "V+E")
    if modality == "keypoint":
        learned: Shapes = {
            "person_embeddings": ("K", "D"),
            "keypoint_embeddings": (str(len(JOINTS)), "D"),
            "null_person_feature": ("D",),
            "null_xy_feature": ("X",),
        }
        return learned | _mlp("linears", "D+X")
    return _map_shapes(modality, depths)


def _map_shapes(modality: Modality, depths: Sequence[int]) -> Shapes:
    last = f"B{len(depths) - 1}"
    shapes: Shapes = {"pos_embedding": ("1", "T", last), "null_feature": (last,)}
    if modality == "sem":
        shapes |= {"in_conv.weight": ("3", "M", "3", "3"), "in_conv.bias": ("3",)}
    for stage, depth in enumerate(depths):
        here, dim = f"{TRUNK}.downsample_layers.{stage}", f"B{stage}"
        conv, norm, before, side = (0, 1, "3", "4") if stage == 0 else (1, 0, f"B{stage - 1}", "2")
        shapes[f"{here}.{conv}.weight"] = (dim, before, side, side)
        shapes[f"{here}.{conv}.bias"] = (dim,)
        normed = dim if stage == 0 else before
        shapes |= {f"{here}.{norm}.{part}": (normed,) for part in ("weight", "bias")}
        for block in range(depth):
            shapes |= _block_shapes(f"{TRUNK}.stages.{stage}.{block}", dim)
    return shapes | _mlp("linears", last)


def _block_shapes(here: str, dim: str) -> Shapes:
    wide = "+".join([dim] * 4)
    return {
        f"{here}.gamma": (dim,),
        f"{here}.dwconv.weight": (dim, "1", "7", "7"),
        f"{here}.dwconv.bias": (dim,),
        f"{here}.norm.weight": (dim,),
        f"{here}.norm.bias": (dim,),
        f"{here}.pwconv1.weight": (wide, dim),
        f"{here}.pwconv1.bias": (wide,),
        f"{here}.pwconv2.weight": (dim, wide),
        f"{here}.pwconv2.bias": (dim,),
    }


def _mlp(name: str, width: str) -> Shapes:
    """List `gligen.tokenizers.mlp.token_mlp`: H its hidden width."""
    return {
        f"{name}.0.weight": ("H", width),
        f"{name}.0.bias": ("H",),
        f"{name}.2.weight": ("H", "H"),
        f"{name}.2.bias": ("H",),
        f"{name}.4.weight": ("D", "H"),
        f"{name}.4.bias": ("D",),
    }


def downsampler_shapes(modality: Modality) -> Shapes:
    """List what `downsample_net` holds: R channels read, U hidden, X extra; nothing for most."""
    if modality not in ("canny", "depth", "normal", "sem"):
        return {}
    read = {"normal": "3", "sem": "M"}.get(modality, "1")
    return {
        "layers.0.weight": ("U", read, "4", "4"),
        "layers.0.bias": ("U",),
        "layers.2.weight": ("X", "U", "4", "4"),
        "layers.2.bias": ("X",),
    }
