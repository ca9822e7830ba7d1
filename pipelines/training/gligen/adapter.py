"""The adapter before its first step: another's, or a fresh one."""

import argparse
from typing import Any

import torch

from gligen.adapter import AdapterConfig, GligenAdapter
from gligen.train.attention_teacher import spread_tokens
from grounding.errors import CheckpointError
from pipelines.generation.layout import notice
from pipelines.generation.text import TextReader
from weights.base import BaseModel
from weights.gligen import load_adapter
from weights.image_encoder import ImageEncoder

__all__ = ["starting_adapter"]


def starting_adapter(
    options: argparse.Namespace, base: BaseModel, images: ImageEncoder | None
) -> GligenAdapter:
    """Open or make the adapter that the options ask for, in float32 where the base is.

    Args:
        options: Of `lavallama train gligen`.
        base: What it is for.
        images: Of reference pictures, if it reads some.

    Raises:
        CheckpointError: The adapter to go on from is of another kind, or not for this base.
    """
    if options.init is None:
        return _fresh(options, base, images)
    adapter = load_adapter(options.init, base.unet, offline=options.offline, dtype=torch.float32)
    config = adapter.config
    for name in ("modality", "inpainting"):
        asked, is_so = getattr(options, name), getattr(config, name)
        if asked != is_so:
            raise CheckpointError(f"{options.init}: {name} is {is_so}, and {asked} is asked for")
    return adapter


def _fresh(
    options: argparse.Namespace, base: BaseModel, images: ImageEncoder | None
) -> GligenAdapter:
    phrase = TextReader.of(base).phrase("a", notice(strict=False))
    sizes: dict[str, Any] = {} if images is None else {"image_dim": images.projection.shape[0]}
    config = AdapterConfig(
        modality=options.modality,
        inpainting=options.inpainting,
        phrase_dim=phrase.shape[-1],
        context_dim=base.unet.config["cross_attention_dim"],
        position_features=options.places,
        field_dim=options.field,
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        adapter = GligenAdapter.for_unet(base.unet, config, init=options.init_style)
        if options.modality == "text":
            spread_tokens(adapter)
    return adapter.to(device=base.unet.device, dtype=torch.float32)
