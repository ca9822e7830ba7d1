"""Names of SEEM's parameters: official on one side, ours on the other; and what shapes say.

| official                                            | ours                          |
|-----------------------------------------------------|-------------------------------|
| `backbone.*`                                        | the same                      |
| `sem_seg_head.pixel_decoder.*`                      | `pixel_decoder.*`             |
| `sem_seg_head.predictor.lang_encoder.lang_encoder.*`| `text_encoder.*`              |
| `sem_seg_head.predictor.lang_encoder.lang_proj`     | `text_encoder.projection`     |
| `sem_seg_head.predictor.lang_encoder.logit_scale`   | `text_encoder.logit_scale`    |
| `sem_seg_head.predictor.mask_sptial_embed.*`        | `decoder.spatial_projection.*`|
| `sem_seg_head.predictor.*`                          | `decoder.*`                   |

Only ours: `refiner.*`.

A model is recognised by its keys and shapes alone: files of different models have had the same
name. What shapes cannot say (heads of plain attention, windows) is as in every published model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from grounding.errors import CheckpointError
from seem.backbones import (
    BackboneConfig,
    DaViTConfig,
    FocalNetConfig,
    NanoDetConfig,
    SamViTConfig,
)
from seem.backbones.nanodet import BINS, SIDES
from seem.backbones.sam_vit import PATCH
from seem.config import SeemConfig

__all__ = [
    "LOSS_BUFFER",
    "MORPHOLOGY_BUFFER",
    "SEEM_ONLY",
    "infer_config",
    "is_ignored",
    "official_key",
    "our_key",
    "prefix_of",
]

Shapes = Mapping[str, tuple[int, ...]]

PREDICTOR = "sem_seg_head.predictor."
RENAMED = (  # official prefix, ours; the first that fits counts
    (f"{PREDICTOR}lang_encoder.lang_encoder.", "text_encoder."),
    (f"{PREDICTOR}lang_encoder.lang_proj", "text_encoder.projection"),
    (f"{PREDICTOR}lang_encoder.logit_scale", "text_encoder.logit_scale"),
    (f"{PREDICTOR}mask_sptial_embed.", "decoder.spatial_projection."),
    (PREDICTOR, "decoder."),
    ("sem_seg_head.pixel_decoder.", "pixel_decoder."),
    ("backbone.", "backbone."),
)
ANCHOR = f"{PREDICTOR}class_embed"
"""A key that every SEEM and X-Decoder checkpoint has."""

MORPHOLOGY_BUFFER = "dilation_kernel"
LOSS_BUFFER = "criterion.empty_weight"
XDECODER_ONLY = (  # captions, boxes: parts of X-Decoder that SEEM has given up
    f"{PREDICTOR}caping_embed",
    f"{PREDICTOR}pos_embed_caping.",
    f"{PREDICTOR}self_attn_mask",
    f"{PREDICTOR}bbox_embed.",
)
SEEM_ONLY = (
    "decoder.spatial_projection.",
    "decoder.spatial_embed.",
    "decoder.spatial_featured.",
    "decoder.pn_indicator.",
)
"""Ours: prefixes of what X-Decoder lacks, the parameters of spatial prompts and memories."""

HEAD_DIM = 64  # channels of an attention head in every published SEEM
DAVIT_HEAD_DIM = 32  # DaViT, arXiv 2204.03645, appendix A
DEFORMABLE_SAMPLES = 3 * 4  # levels * points of a head (Mask2Former, MSDeformAttn)


def our_key(official: str) -> str | None:
    """Our name of an official key; None if it belongs to no part of SEEM."""
    for theirs, ours in RENAMED:
        if official.startswith(theirs):
            return ours + official[len(theirs) :]
    return None


def official_key(ours: str) -> str:
    """The official name of one of our keys.

    Raises:
        CheckpointError: The key belongs to no part of SEEM.
    """
    if ours in ("text_encoder.projection", "text_encoder.logit_scale"):
        return {mine: theirs for theirs, mine in RENAMED}[ours]
    for theirs, mine in RENAMED:
        if ours.startswith(mine):
            return theirs + ours[len(mine) :]
    raise CheckpointError(
        f"{ours}: no parameter of SEEM: expected backbone.*, pixel_decoder.*, text_encoder.* or "
        "decoder.*"
    )


def is_ignored(official: str) -> bool:
    """Is it known, and deliberately left out: buffers, and what only X-Decoder has?"""
    return official in (MORPHOLOGY_BUFFER, LOSS_BUFFER) or official.startswith(XDECODER_ONLY)


def prefix_of(keys: Iterable[str], source: str) -> str:
    """What stands before the official names in a file: nothing, `model.`, `module.` ...

    Raises:
        CheckpointError: It is no SEEM checkpoint, or holds several.
    """
    found = sorted(key[: -len(ANCHOR)] for key in keys if key.endswith(ANCHOR))
    if len(found) != 1:
        what = "none" if not found else ", ".join(f"{prefix}{ANCHOR}" for prefix in found)
        raise CheckpointError(
            f"{source}: not a SEEM checkpoint: expected one key {ANCHOR}, found {what}"
        )
    return found[0]


def infer_config(shapes: Shapes, source: str) -> SeemConfig:
    """Read a model's sizes from the shapes of its parameters.

    The grouping ("v1") is not among them: demo, v0 and v1 share their parameters.

    Args:
        shapes: Our key -> shape.
        source: What is being read, for messages.

    Raises:
        CheckpointError: Parameters that tell a size are missing, or have impossible shapes.
    """
    try:
        return _config(shapes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        what = error.args[0] if error.args else type(error).__name__
        raise CheckpointError(
            f"{source}: cannot tell which SEEM this is ({what}): it is incomplete, or no SEEM"
        ) from error


def _config(shapes: Shapes) -> SeemConfig:
    deformable = "pixel_decoder.transformer.level_embed" in shapes
    dim = shapes["decoder.class_embed"][1]
    width = shapes["text_encoder.token_embedding.weight"][1]
    layer = "pixel_decoder.transformer.encoder.layers.0."
    heads = dim // HEAD_DIM
    if deformable:
        heads = shapes[f"{layer}self_attn.attention_weights.weight"][0] // DEFORMABLE_SAMPLES
    memories = shapes.get("decoder.spatial_featured.weight")
    return SeemConfig(
        backbone=_backbone(shapes),
        pixel_decoder="deformable" if deformable else "fpn",
        dim=dim,
        heads=max(1, heads),
        layers=_count(shapes, r"decoder\.transformer_ffn_layers\.(\d+)\."),
        feed_forward=shapes["decoder.transformer_ffn_layers.0.linear1.weight"][0],
        queries=shapes["decoder.query_feat.weight"][0],
        memories=memories[0] if memories else SeemConfig.memories,
        encoder_layers=_count(shapes, r"pixel_decoder\.transformer\.encoder\.layers\.(\d+)\."),
        encoder_feed_forward=shapes[f"{layer}linear1.weight"][0],
        text_width=width,
        text_layers=_count(shapes, r"text_encoder\.resblocks\.(\d+)\."),
        text_heads=max(1, width // HEAD_DIM),
        text_context=shapes["text_encoder.positional_embedding"][0],
        vocabulary=shapes["text_encoder.token_embedding.weight"][0],
    )


def _backbone(shapes: Shapes) -> BackboneConfig:
    if "backbone.convs.0.proj.weight" in shapes:
        return _davit(shapes)
    if "backbone.pos_embed" in shapes:
        return _sam_vit(shapes)
    if "backbone.stem.weight" in shapes:
        return _nanodet(shapes)
    return _focalnet(shapes)


def _focalnet(shapes: Shapes) -> FocalNetConfig:
    block = "backbone.layers.0.blocks.0."
    dim = shapes["backbone.patch_embed.proj.weight"][0]
    depthwise = f"{block}dw1.weight" in shapes
    depths = [_count(shapes, rf"backbone\.layers\.{i}\.blocks\.(\d+)\.") for i in range(4)]
    return FocalNetConfig(
        dim=dim,
        depths=(depths[0], depths[1], depths[2], depths[3]),
        focal_levels=shapes[f"{block}modulation.f.weight"][0] - 2 * dim - 1,
        focal_window=shapes[f"{block}modulation.focal_layers.0.0.weight"][2],
        mlp_ratio=shapes[f"{block}mlp.fc1.weight"][0] // dim,
        block="depthwise" if depthwise else "plain",
        stem_padding=3 if depthwise else 2,  # as in Focal-T and Focal-L
    )


def _davit(shapes: Shapes) -> DaViTConfig:
    dims = [shapes[f"backbone.convs.{i}.proj.weight"][0] for i in range(4)]
    heads = [max(1, dim // DAVIT_HEAD_DIM) for dim in dims]
    depths = [_count(shapes, rf"backbone\.blocks\.{i}\.(\d+)\.") for i in range(4)]
    hidden = shapes["backbone.blocks.0.0.spatial_block.ffn.fn.net.fc1.weight"][0]
    return DaViTConfig(
        dims=(dims[0], dims[1], dims[2], dims[3]),
        heads=(heads[0], heads[1], heads[2], heads[3]),
        depths=(depths[0], depths[1], depths[2], depths[3]),
        patch_kernel=shapes["backbone.convs.1.proj.weight"][2],
        mlp_ratio=hidden // dims[0],
    )


def _sam_vit(shapes: Shapes) -> SamViTConfig:
    _, side, _, dim = shapes["backbone.pos_embed"]
    depth = _count(shapes, r"backbone\.blocks\.(\d+)\.")
    tables = [shapes[f"backbone.blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
    reaches = [(length + 1) // 2 for length, _ in tables]
    maps = [shapes[f"pixel_decoder.{name}.weight"][1] for name in _SAM_INPUTS]
    return SamViTConfig(
        dim=dim,
        depth=depth,
        heads=dim // tables[0][1],
        global_blocks=tuple(i for i, reach in enumerate(reaches) if reach == side),
        window=min(reaches),
        image_size=side * PATCH,
        channels=(maps[0], maps[1], maps[2], maps[3]),
    )


def _nanodet(shapes: Shapes) -> NanoDetConfig:
    blocks = [_count(shapes, rf"backbone\.stages\.{i}\.blocks\.(\d+)\.") for i in range(4)]
    answers, neck = shapes["backbone.heads.0.1.weight"][:2]
    return NanoDetConfig(
        stem=shapes["backbone.stem.weight"][0],
        blocks=(blocks[0], blocks[1], blocks[2], blocks[3]),
        neck=neck,
        classes=answers - SIDES * BINS,
    )


_SAM_INPUTS = ("adapter_1", "input_proj.2.0", "input_proj.1.0", "input_proj.0.0")
"""What in the pixel decoder reads res2, res3, res4 and res5."""


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbered parts there are, from 0 on without gaps."""
    numbers = {int(match[1]) for key in shapes if (match := re.match(pattern, key))}
    if not numbers or max(numbers) + 1 != len(numbers):
        name = pattern.replace("\\", "").replace("(d+).", "*")
        raise ValueError(f"{name} has the numbers {sorted(numbers)[-3:]}")
    return len(numbers)
