"""A LLaVA put together from a vision tower and a language model, with a fresh projector.

That is where stage 1 begins (arXiv 2304.08485, section 4.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM

from grounding.errors import CheckpointError
from grounding.llava.config import LlavaConfig
from grounding.llava.model import Llava
from grounding.llava.pictures import Aspect
from grounding.llava.projector import build_projector
from weights.foreign_code import NO_CODE, reason_of
from weights.llava import local_folder
from weights.llava_config import vision_config

__all__ = ["assemble_llava"]


def assemble_llava(
    language: str | Path,
    vision_tower: str | Path,
    *,
    projector: str,
    aspect: Aspect,
    template: str | None = None,
    seed: int = 0,
    offline: bool = False,
) -> Llava:
    """Put a LLaVA together, on the CPU, in float32.

    Args:
        language: A causal language model of transformers: a folder or hub id.
        vision_tower: A CLIP, or its tower: a folder or hub id.
        projector: `linear`, `mlpNx_gelu` or `identity`.
        aspect: What is done with pictures that are not square.
        template: How it will be spoken to.
        seed: Of the projector.
        offline: Never use the network.

    Raises:
        CheckpointError: One of the two cannot be opened.
        OfflineError: Something must be downloaded and cannot be.
    """
    text: Any = _opened(AutoModelForCausalLM, local_folder(language, offline=offline))
    whole: Any = _opened(AutoModel, local_folder(vision_tower, offline=offline))
    tower = getattr(whole, "vision_model", whole) if _is_clip(whole) else whole
    vision = vision_config(tower.config.to_dict(), str(vision_tower))
    config = LlavaConfig(
        vision=vision, text=text.config, projector=projector, aspect=aspect, template=template
    )
    own = AutoModel.from_config(vision)
    try:
        own.load_state_dict(_plain(tower.state_dict()) if _is_bare(own) else tower.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{vision_tower}: no vision tower: {reason}") from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        joint = build_projector(projector, vision.hidden_size, text.config.hidden_size)
    return Llava(config, own, joint, text)


def _is_clip(model: Any) -> bool:
    """Whether it reads words too."""
    return hasattr(model, "text_model")


def _is_bare(model: Any) -> bool:
    return not any(key.startswith("vision_model.") for key in model.state_dict())


def _plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix("vision_model."): tensor for key, tensor in state.items()}


def _opened(kind: Any, folder: Path) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32, **NO_CODE)
    except Exception as error:  # transformers has no common kind
        raise CheckpointError(f"{folder}: cannot be opened: {reason_of(error)}") from None
