"""Small random models that the tests of this folder share."""

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from gligen.adapter import AdapterConfig, GligenAdapter

WIDTH, REGIONS = 32, 30
SD1: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 4,
}
SD2 = {**SD1, "attention_head_dim": (2, 4), "use_linear_projection": True, "upcast_attention": True}
SDXL = {
    **SD1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 16 + 6 * 8,
}
INPAINTING = {**SD1, "in_channels": 9}
FAMILIES = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL, "sd1_inpainting": INPAINTING}
CONFIG = AdapterConfig(phrase_dim=WIDTH, context_dim=WIDTH, hidden_dim=48)
DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def unet(family: str = "sd1", seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**{**FAMILIES[family], **changes}).eval().requires_grad_(False)


def open_adapter(model: nn.Module, config: AdapterConfig = CONFIG, seed: int = 1) -> GligenAdapter:
    """An adapter whose parameters are all random, the gates half open."""
    torch.manual_seed(seed)
    adapter = GligenAdapter.for_unet(model, config)
    randomise(adapter)
    return adapter


def randomise(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim < 2 else parameter.shape[1] ** -0.5)
        if parameter.ndim == 0:
            nn.init.constant_(parameter, 0.6)


def inputs(
    family: str = "sd1", batch: int = 2, size: tuple[int, int] = (8, 12), words: int = 9
) -> dict[str, Any]:
    """What the UNet is called with; 8 x 12 latent cells and 9 words unless told otherwise."""
    torch.manual_seed(2)
    arguments: dict[str, Any] = {
        "sample": torch.randn(batch, FAMILIES[family].get("in_channels", 4), *size),
        "timestep": torch.randint(0, 1000, (batch,)),
        "encoder_hidden_states": torch.randn(batch, words, WIDTH),
    }
    if family == "sdxl":
        embeds, ids = torch.randn(batch, 16), torch.rand(batch, 6)
        arguments["added_cond_kwargs"] = {"text_embeds": embeds, "time_ids": ids}
    return arguments


def layout(batch: int = 2, seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, masks and phrases; image i has 2 + i regions."""
    torch.manual_seed(seed)
    boxes = torch.rand(batch, REGIONS, 4)
    boxes[..., 2:] = boxes[..., :2] + 0.1 + 0.3 * boxes[..., 2:]
    masks = (torch.arange(REGIONS) < torch.arange(2, 2 + batch)[:, None]).float()
    return boxes, masks, torch.randn(batch, REGIONS, WIDTH)
