"""What checkpoints hold that no model here reads: every kind by its name, nothing else.

A parameter that is neither read nor of one of these kinds is an error wherever files are read.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable

__all__ = ["IGNORED", "LEFT_OUT", "log_left_out", "why_left_out"]

logger = logging.getLogger(__name__)

LEFT_OUT: dict[str, re.Pattern[str]] = {
    "averages of training": re.compile(r"^(model_ema|ema|ema_model)\."),
    "the trainer's state": re.compile(r"^(opt|optimizer|scheduler)\."),
    # The schedule of a family stands in `weights.ldm`; latent-diffusion keeps its own as buffers.
    "the noise schedule": re.compile(
        r"^diffusion\.|"
        r"^(betas|alphas_cumprod|alphas_cumprod_prev|sqrt_alphas_cumprod|"
        r"sqrt_one_minus_alphas_cumprod|log_one_minus_alphas_cumprod|sqrt_recip_alphas_cumprod|"
        r"sqrt_recipm1_alphas_cumprod|posterior_variance|posterior_log_variance_clipped|"
        r"posterior_mean_coef1|posterior_mean_coef2|logvar|lvlb_weights|denoiser\.sigmas)$"
    ),
    "the autoencoder's loss and averages": re.compile(
        r"^((first_stage_model|autoencoder|vae)\.(loss|model_ema)|loss)\."
    ),
    "words of textual inversion": re.compile(r"^embedding_manager\."),
    "positions, which are counted": re.compile(r"(^|\.)position_ids$"),
    # Which compare texts with pictures; a UNet reads the states before them.
    "the projection and temperature of the first text encoder": re.compile(
        r"^(cond_stage_model|text_encoder|conditioner\.embedders\.0)\."
        r"((model|transformer)\.)*(text_projection(\.weight)?|logit_scale)$"
    ),
}
"""Kind -> names of its parameters, as they stand in a file."""

IGNORED = re.compile("|".join(f"(?:{names.pattern})" for names in LEFT_OUT.values()))
"""All kinds at once, for who asks only whether a parameter is left out."""


def why_left_out(key: str) -> str | None:
    """Name the kind of what is left out; None for what must be read."""
    return next((kind for kind, names in LEFT_OUT.items() if names.search(key)), None)


def log_left_out(source: object, keys: Iterable[str]) -> None:
    """Say in the log how much of which kind was left out of a file."""
    kinds = Counter(kind for key in keys if (kind := why_left_out(key)))
    if kinds:
        told = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
        logger.info("%s: left out: %s", source, told)
