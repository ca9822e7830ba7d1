"""A LLaVA made ready for transformers' own classes and processors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from grounding.clip_pixels import CLIP_MEAN, CLIP_STD
from grounding.errors import CheckpointError
from grounding.llava.config import LlavaConfig
from weights import llava_config
from weights.llava_keys import transformers_key
from weights.llava_projector import unfold_projector

__all__ = ["HEAD", "TABLES", "for_transformers"]

HEAD = "language_model.lm_head.weight"
TABLES = ("language_model.model.embed_tokens.weight", HEAD)
"""Parameters with a row for each word."""

IMAGE_TOKEN = "<image>"
ALIGNED = 64  # rows are filled up to a multiple, as in llava-hf's files
BICUBIC = 3  # PIL.Image.Resampling


def for_transformers(
    state: Mapping[str, Tensor], config: LlavaConfig, tokenizer: Any
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]], Any]:
    """Return tensors, JSON files and the tokenizer of the transformers layout.

    New rows of the tables of words are the mean of the others: never the likeliest word.

    Args:
        state: By our names, without a tied head.
        config: Of the model.
        tokenizer: Of the language model; None: there is none.

    Raises:
        CheckpointError: The layout cannot express the model.
    """
    for key in state:
        transformers_key(key)
    rows = int(config.text.vocab_size)
    token = config.image_token
    if token is None:
        token = rows if tokenizer is None else len(tokenizer)
        if token >= rows:  # and a place for padding
            rows = -(-(token + 2) // ALIGNED) * ALIGNED
    if tokenizer is not None:
        tokenizer = _with_image(tokenizer, token)
    width, dtype = int(config.text.hidden_size), state[TABLES[0]].dtype
    whole = unfold_projector(state, config.projector, width, dtype)
    ready = {
        transformers_key(key): _grown(tensor, rows) if key in TABLES else tensor
        for key, tensor in whole.items()
    }
    return ready, _documents(config, token, rows), tokenizer


def _with_image(tokenizer: Any, token: int) -> Any:
    """The tokenizer with a token for pictures."""
    tokenizer = copy.deepcopy(tokenizer)
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    found = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if found != token:
        raise CheckpointError(
            f"the tokenizer's {IMAGE_TOKEN} has the id {found}, the model's is {token}: they do "
            "not belong together"
        )
    return tokenizer


def _grown(table: Tensor, rows: int) -> Tensor:
    """A table of words with more rows."""
    more = rows - len(table)
    if more <= 0:
        return table
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(more, -1)])


def _documents(config: LlavaConfig, token: int, rows: int) -> dict[str, dict[str, Any]]:
    """The JSON files, by name."""
    anyres = config.aspect == "anyres"
    kind = "LlavaNext" if anyres else "Llava"
    side = {"height": config.side, "width": config.side}
    pictures: dict[str, Any] = {
        "image_processor_type": f"{kind}ImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": config.side},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "do_convert_rgb": True,
        "do_pad": config.aspect != "square",
    }
    if anyres:
        pictures["image_grid_pinpoints"] = [[h, w] for w, h in config.pinpoints]
    processor = {
        "processor_class": f"{kind}Processor",
        "image_token": IMAGE_TOKEN,
        "patch_size": config.patch,
        "num_additional_image_tokens": 1,  # CLIP's class token
        "vision_feature_select_strategy": "default" if config.feature == "patch" else "full",
    }
    return {
        "config.json": llava_config.transformers_config(config, token, rows),
        "preprocessor_config.json": pictures,
        "processor_config.json": processor,
    }
