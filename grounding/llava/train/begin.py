"""How a small language model begins, so that it soon finds the patches that a word is about.

Looking something up is what most answers need, and what attention learns late from random weights.
With the keys' weights begun as the queries', words attend to what is like them from the first step.
"""

from typing import Any

import torch
from torch import nn

__all__ = ["attend_to_alike"]

SHARPER = 2.5  # than transformers begins: the scale of queries and keys


@torch.no_grad()
def attend_to_alike(language_model: nn.Module) -> None:
    """Let the keys of every layer begin as its queries; both larger. As many heads of each.

    Args:
        language_model: A LLaMA of transformers, fresh; changed in place.
    """
    model: Any = language_model
    for layer in model.get_decoder().layers:
        attention = layer.self_attn
        attention.q_proj.weight.mul_(SHARPER)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
