"""Stable Diffusion with gates, of several sizes, random but the same wherever it is built.

Each parameter is seeded by its own name. Gates and tokenizer have the names of diffusers' gated
UNet in our adapters as well, so one rule gives both sides of a comparison the same numbers.
"""

import json
import math
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from gligen.adapter import AdapterConfig, GligenAdapter

__all__ = ["SIZES", "RandomModel", "Size"]

PROMPT_TOKENS = 77
OPEN_GATE = 0.6
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "clip_sample": False,
    "set_alpha_to_one": False,
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a model and of the picture that it draws (pixels a side)."""

    pixels: int
    steps: int
    unet: dict[str, Any]
    vae: dict[str, Any]
    text_layers: int
    text_heads: int


def _one_level(width: int) -> dict[str, Any]:
    return {
        "block_out_channels": (width,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
        "layers_per_block": 1,
        "cross_attention_dim": width,
        "attention_head_dim": width // 32,
        "norm_num_groups": 16,
    }


def _tiny_vae(width: int) -> dict[str, Any]:
    return {
        "encoder_block_out_channels": (width,) * 5,
        "decoder_block_out_channels": (width,) * 5,
        "num_encoder_blocks": (0,) * 5,
        "num_decoder_blocks": (4, 3, 2, 0, 0),
    }


# diffusers' pipeline replaces latents of any other depth than 4 by noise, so all have 4 channels.
SIZES = {
    "tiny": Size(
        pixels=64,
        steps=4,
        unet=_one_level(32),
        vae=_tiny_vae(16),
        text_layers=1,
        text_heads=1,
    ),
    "embedded": Size(  # the shape of the embedded model: 8 x 8 cells of one level
        pixels=128,
        steps=20,
        unet=_one_level(192),
        vae=_tiny_vae(48),
        text_layers=3,
        text_heads=6,
    ),
    "sd14": Size(  # Stable Diffusion 1.4
        pixels=512,
        steps=4,
        unet={
            "block_out_channels": (320, 640, 1280, 1280),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        vae={
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "scaling_factor": 0.18215,
        },
        text_layers=12,
        text_heads=12,
    ),
}


@dataclass(frozen=True)
class RandomModel:
    """The parts of a model of one size, each built where and when it is asked for."""

    size: Size
    device: torch.device
    dtype: torch.dtype

    @property
    def width(self) -> int:
        """Channels of the text encoder, of phrases and of grounding tokens."""
        return self.size.unet["cross_attention_dim"]

    def unet(self, *, gated: bool) -> UNet2DConditionModel:
        """A UNet, with diffusers' own gates in it or without."""
        kind = "gated" if gated else "default"
        cells = self.size.pixels // self._factor
        with torch.device("meta"):
            unet = UNet2DConditionModel(**self.size.unet, sample_size=cells, attention_type=kind)
        return self._filled(unet)

    def adapter(self, unet: nn.Module) -> GligenAdapter:
        """Our adapter for it, with the numbers of diffusers' gates."""
        config = AdapterConfig(phrase_dim=self.width, context_dim=self.width)
        with torch.device("meta"):
            adapter = GligenAdapter.for_unet(unet, config)
        return self._filled(adapter)

    def vae(self) -> Any:
        """The autoencoder: Stable Diffusion's, or a tiny one."""
        kind = AutoencoderTiny if "num_decoder_blocks" in self.size.vae else AutoencoderKL
        with torch.device("meta"):
            vae = kind(**self.size.vae)
        return self._filled(vae)

    def text_encoder(self, tokenizer: Any) -> CLIPTextModel:
        """A CLIP text model for the tokenizer."""
        model = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=self.width,
                intermediate_size=4 * self.width,
                projection_dim=self.width,
                num_hidden_layers=self.size.text_layers,
                num_attention_heads=self.size.text_heads,
                max_position_embeddings=PROMPT_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        return self._filled(model)

    def tokenizer(self) -> CLIPTokenizer:
        """CLIP's byte-level tokenizer without merges, so that nothing need be downloaded."""
        letters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0xAD), 0xAE)]
        letters += [chr(code) for code in range(0xAF, 0x100)]
        letters += [chr(0x100 + index) for index in range(256 - len(letters))]
        tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary))
            (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
            return CLIPTokenizer(
                vocab=str(Path(folder) / "vocab.json"),
                merges=str(Path(folder) / "merges.txt"),
                model_max_length=PROMPT_TOKENS,
            )

    @property
    def _factor(self) -> int:
        """Pixels of a latent cell, a side."""
        sizes = self.size.vae
        levels = len(sizes.get("block_out_channels") or sizes["decoder_block_out_channels"])
        return 2 ** (levels - 1)

    def _filled(self, module: Any) -> Any:
        if any(parameter.is_meta for parameter in module.parameters()):
            assert not list(module.buffers()), "buffers made on the meta device would stay empty"
            module.to_empty(device="cpu")
        for key, parameter in module.named_parameters():
            _fill(key, parameter.data)
        for parameter in module.parameters():  # module.to(dtype) makes diffusers warn
            parameter.data = parameter.data.to(self.dtype)
        return module.eval().requires_grad_(False).to(self.device)


def _fill(key: str, values: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if values.ndim == 0:
        values.fill_(OPEN_GATE)
    elif values.ndim >= 2:
        values.normal_(generator=generator).div_(math.sqrt(math.prod(values.shape[1:])))
    else:
        is_scale = key.endswith("weight")
        values.normal_(generator=generator).mul_(0.05).add_(float(is_scale))
