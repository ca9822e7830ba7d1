"""LoRA upon the language model of a LLaVA, through peft (arXiv 2106.09685).

Every linear layer of the language model gets a low-rank update, but its head; the projector is
trained whole (arXiv 2310.03744; haotian-liu/LLaVA, llava/train/train.py, find_all_linear_names).
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from grounding.errors import LavallamaError
from grounding.llava.model import Llava
from grounding.llava.train.recipes import Lora

__all__ = ["add_lora", "lora_factors", "lora_targets"]

FACTOR = re.compile(r"\.lora_(A|B)\.default\.weight$")


def lora_targets(language_model: nn.Module) -> list[str]:
    """Return the names of the layers that get an update."""
    model: Any = language_model
    head = model.get_output_embeddings()
    return [
        name
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]


def add_lora(model: Llava, lora: Lora, *, seed: int = 0) -> None:
    """Add updates, which begin as zero; the rest of the language model is frozen.

    Args:
        model: Changed in place.
        lora: Of the updates.
        seed: Of their random halves.

    Raises:
        LavallamaError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise LavallamaError("LoRA needs peft: pip install -e '.[train]'") from None
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora_targets(model.language_model),
    )
    model.language_model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model.language_model)


def lora_factors(model: Llava) -> dict[str, Tensor]:
    """Return the updates, by our names: `language_model.<layer>.lora_A.weight`, and `lora_B`."""
    return {
        FACTOR.sub(r".lora_\1.weight", name): parameter.detach()
        for name, parameter in model.named_parameters()
        if FACTOR.search(name)
    }
