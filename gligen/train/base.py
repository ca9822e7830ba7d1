"""Stage 2: the frozen "Stable Diffusion" of the sticker world, trained on captions alone.

v-prediction (Salimans & Ho, arXiv 2202.00512) on Stable Diffusion's noise schedule; captions are
dropped for a tenth of the images (classifier-free guidance, arXiv 2207.12598).
Axes: B batch, C latent channels, h w latent cells, T tokens, D channels of the text encoder.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from gligen.patch_autoencoder import PatchAutoencoder
from gligen.sampler import Condition, SamplerSettings, initial_noise, make_scheduler, sample
from gligen.train.autoencoder import save_grid, to_images
from gligen.train.words import PhraseNamer, tokenized

NAMING_WEIGHT = 0.02
SAMPLE_STEPS = 20
SAMPLE_GUIDANCE = 4.0
SAMPLE_CAPTIONS = (
    "a llama in a meadow",
    "a gold llama on a beach",
    "a volcano at night",
    "an ice fox in a desert",
    "a lava castle on a white background",
    "a stone whale on a pink background",
    "a penguin and a wood star on a beach",
    "a pizza left of a grass rocket at night",
)


def build_unet(
    *, latent_channels: int = 32, width: int = 192, cells: int = 8
) -> UNet2DConditionModel:
    """An untrained UNet of one resolution: a small grid of cells needs no halving for attention."""
    return UNet2DConditionModel(
        sample_size=cells,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=(width,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=width // 32,  # diffusers' name for the number of heads
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """The diffusion process: Stable Diffusion's betas, predicting v."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


class TextToLatents(nn.Module):
    """What stage 2 trains together: UNet, text encoder, and the probes that keep phrases apart."""

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, namer: PhraseNamer
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.namer = unet, text_encoder, namer


@dataclasses.dataclass
class BaseTask:
    """Trains UNet and text encoder on latents and captions.

    Attributes:
        latents: float16 [N, C, h, w].
        captions: N captions.
        caption_dropout: Share of the images whose caption is emptied.
    """

    model: TextToLatents
    tokenizer: CLIPTokenizer
    autoencoder: PatchAutoencoder
    scheduler: DDIMScheduler
    latents: np.ndarray
    captions: list[str]
    batch: int = 32
    caption_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Tokenize every caption once."""
        self._ids = tokenized(self.tokenizer, self.captions)
        self._empty = tokenized(self.tokenizer, [""])

    def trained(self) -> nn.Module:
        """UNet, text encoder and probes."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of v over a random batch, and a little of the probes' loss."""
        which = torch.randint(len(self.latents), (self.batch,), generator=generator)
        device = next(self.model.parameters()).device
        clean = torch.from_numpy(self.latents[which.numpy()]).float()
        drop = torch.rand(self.batch, generator=generator) < self.caption_dropout
        ids = torch.where(drop[:, None], self._empty, self._ids[which]).to(device)
        context = self.model.text_encoder(input_ids=ids).last_hidden_state
        noisy, timesteps, target = (
            tensor.to(device) for tensor in noised(clean, self.scheduler, generator)
        )
        predicted = self.model.unet(noisy, timesteps, encoder_hidden_states=context).sample
        error = (predicted - target).square().mean()
        naming = self.model.namer.loss(self.model.text_encoder, generator, 32)
        return error + NAMING_WEIGHT * naming, {"mse": error.item(), "naming": naming.item()}

    def sample(self, path: Path) -> None:
        """Eight captions, two seeds each."""
        texts = [*SAMPLE_CAPTIONS] * 2
        device = next(self.model.parameters()).device
        with torch.no_grad():
            ids, empty = tokenized(self.tokenizer, texts).to(device), self._empty.to(device)
            context = self.model.text_encoder(input_ids=ids).last_hidden_state
            nothing = self.model.text_encoder(input_ids=empty).last_hidden_state
        latents = sample(
            self.model.unet,
            make_scheduler("dpm++", self.scheduler.config),
            seeded_noise(len(texts), self.latents.shape[1:]).to(device),
            Condition(context=context),
            Condition(context=nothing.expand_as(context)),
            settings=SamplerSettings(steps=SAMPLE_STEPS, guidance=SAMPLE_GUIDANCE),
        )
        save_grid(decoded(self.autoencoder, latents), path)


def noised(
    clean: Tensor, scheduler: DDIMScheduler, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise latents to random timesteps.

    Returns:
        noisy latents [B, C, h, w], timesteps int64 [B], and the v that the model should predict.
    """
    noise = torch.randn(clean.shape, generator=generator)
    total = scheduler.config["num_train_timesteps"]
    timesteps = torch.randint(total, (len(clean),), generator=generator)
    noisy = scheduler.add_noise(clean, noise, timesteps)  # pyright: ignore[reportArgumentType]
    return noisy, timesteps, scheduler.get_velocity(clean, noise, timesteps)  # pyright: ignore[reportArgumentType]


def seeded_noise(count: int, shape: tuple[int, ...]) -> Tensor:
    """Initial noise for a grid of samples: image i has seed i."""
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    channels, height, width = shape
    return initial_noise(generators, (channels, height, width))


@torch.no_grad()
def decoded(autoencoder: PatchAutoencoder, latents: Tensor) -> np.ndarray:
    """Latents of the diffusion model -> uint8 images [B, H, W, 3]."""
    raw = latents.to(autoencoder.device) / autoencoder.config["scaling_factor"]
    return to_images(autoencoder.decode(raw, return_dict=False)[0])
