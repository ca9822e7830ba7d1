"""The projector: from the vision tower's patches to the language model's words.

`linear` (LLaVA, arXiv 2304.08485, equation 1), `mlpNx_gelu` (N linear layers with GELU between;
LLaVA-1.5 has two, arXiv 2310.03744, section 3.2), or `identity`.
"""

import re

from torch import nn

from grounding.errors import CheckpointError

__all__ = ["build_projector", "projector_depth"]

MLP = re.compile(r"mlp([1-9]\d?)x_gelu")


def projector_depth(kind: str) -> int:
    """Return the number of linear layers; 0 for `identity`.

    Raises:
        CheckpointError: No projector of that name is known.
    """
    if kind in ("identity", "linear"):
        return int(kind == "linear")
    match = MLP.fullmatch(kind)
    if match is None:
        raise CheckpointError(
            f"expected a projector 'linear', 'mlpNx_gelu' or 'identity', got {kind!r}"
        )
    return int(match[1])


def build_projector(kind: str, vision_dim: int, text_dim: int) -> nn.Module:
    """Build a projector; its parameters have the original's names.

    Args:
        kind: Its name.
        vision_dim: Channels of a patch.
        text_dim: Channels of a word.

    Raises:
        CheckpointError: No projector of that name, or `identity` between different widths.
    """
    depth = projector_depth(kind)
    if depth == 0:
        if vision_dim != text_dim:
            raise CheckpointError(
                f"the projector 'identity' needs equal widths, got {vision_dim} and {text_dim}"
            )
        return nn.Identity()
    first = nn.Linear(vision_dim, text_dim)
    if kind == "linear":
        return first
    layers: list[nn.Module] = [first]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(text_dim, text_dim)]
    return nn.Sequential(*layers)
