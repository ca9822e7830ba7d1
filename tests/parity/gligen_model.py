"""The models and inputs of GLIGEN's golden numbers: all of them functions of their names."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from gligen.adapter import GligenAdapter
from gligen.config import AdapterConfig
from gligen.sampler import Condition, SamplerSettings, make_scheduler, sample
from grounding.joints import JOINTS
from tests.parity.fill import fill, noise, unit
from weights.keymap import SD1, official_adapter_key, rename, unet_table

BOXES, CONTEXT, PROMPT = 30, 768, 77
PRESENT = (3, 7)  # boxes of the first and of the second image
TIMESTEPS = (981, 321)
STEPS, GUIDANCE = 10, 3.0
KEPT_TOKENS, KEPT_NULL_TOKENS, KEPT_CELLS = 8, 4, 4
MAP_SIDE, CLASS_SIDE, FULL_SIDE, CLASSES = 64, 8, 512, 152
LATENT_SIDE = 64  # of the models that read a map
HIDDEN_JOINT = 5  # of the second image
MINI_SD14 = {  # Stable Diffusion 1.4 with a tenth of its channels
    "block_out_channels": (32, 64, 128, 128),
    "attention_head_dim": 8,
    "cross_attention_dim": CONTEXT,
}
SD14_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
VARIANTS = {
    "text": AdapterConfig(),
    "text_inpaint": AdapterConfig(inpainting=True),
    "text_image": AdapterConfig(modality="text_image"),
    "text_image_inpaint": AdapterConfig(modality="text_image", inpainting=True),
    "keypoint": AdapterConfig(modality="keypoint"),
    "hed": AdapterConfig(modality="hed"),
    "canny": AdapterConfig(modality="canny"),
    "depth": AdapterConfig(modality="depth"),
    "normal": AdapterConfig(modality="normal"),
    "sem": AdapterConfig(modality="sem"),
}


def official_unet_key(key: str) -> str:
    """The official name of a parameter of a plain diffusers UNet."""
    names = {ours: official for official, ours in unet_table(SD1).items()}
    official = rename(key, names, "mini SD 1.4")
    assert official is not None
    return official


@dataclass
class GoldenModel:
    """One variant of GLIGEN, and what its golden numbers were computed from."""

    tag: str
    variant: str

    @property
    def config(self) -> AdapterConfig:
        """The variant's sizes: the official ones."""
        return VARIANTS[self.variant]

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """Stable Diffusion 1.4's UNet with few channels, the adapter injected."""
        unet = UNet2DConditionModel(**MINI_SD14).requires_grad_(False).eval()
        fill(unet, official_unet_key)
        self.adapter.inject(unet)
        if self.adapter._first is not None:
            self.adapter._first.swaps = False  # the numbers are of the widened convolution
        return unet

    @cached_property
    def adapter(self) -> GligenAdapter:
        """All gates and the tokenizer, filled by their official names."""
        with torch.device("meta"):
            shapes = UNet2DConditionModel(**MINI_SD14)
        adapter = GligenAdapter.for_unet(shapes, self.config).requires_grad_(False)
        fill(adapter, official_adapter_key)
        return adapter

    def grounding(self, batch: int) -> tuple[Tensor, ...]:
        """What the tokenizer is called with."""
        if self.config.map is not None:
            return self.maps(batch), torch.ones(batch)
        if self.config.modality == "keypoint":
            return self._poses(batch)
        return self._layouts(batch)

    def _layouts(self, batch: int) -> tuple[Tensor, ...]:
        name = f"{self.tag}:{self.config.modality}:"
        x, y, width, height = unit(name + "boxes", (batch, BOXES, 4)).unbind(-1)
        x, y = 0.6 * x, 0.6 * y
        boxes = torch.stack((x, y, x + 0.05 + 0.35 * width, y + 0.05 + 0.35 * height), dim=-1)
        masks = torch.zeros(batch, BOXES)
        for image, count in zip(masks, PRESENT, strict=False):
            image[:count] = 1
        boxes, present = boxes * masks[..., None], masks[..., None]
        phrases = noise(name + "text_embeddings", (batch, BOXES, CONTEXT)) * present
        if self.config.modality == "text":
            return boxes, masks, phrases
        images = noise(name + "image_embeddings", (batch, BOXES, CONTEXT)) * present
        said, shown = masks.clone(), masks.clone()
        said[:, 1] = shown[:, 0] = 0
        return boxes, masks, phrases, images, said, shown

    def _poses(self, batch: int) -> tuple[Tensor, Tensor]:
        count = self.config.token_count
        masks = torch.zeros(batch, count)
        for image, persons in zip(masks, (1, 2), strict=False):
            image[: persons * len(JOINTS)] = 1
        masks[1:, HIDDEN_JOINT] = 0
        points = unit(f"{self.tag}:keypoint:points", (batch, count, 2))
        return points * masks[..., None], masks

    def maps(self, batch: int) -> Tensor:
        """The map of each image, [batch, 3 or 152, 512, 512]."""
        name, full = self.variant, (FULL_SIDE, FULL_SIDE)
        tag = f"{self.tag}:{name}:{name}"
        if name == "sem":
            labels = (CLASSES * unit(tag, (batch, 1, CLASS_SIDE, CLASS_SIDE))).floor()
            labels = F.interpolate(labels, full)[:, 0].long()
            return F.one_hot(labels, CLASSES).movedim(-1, 1).float()
        small = unit(tag, (batch, 3, MAP_SIDE, MAP_SIDE))
        maps = F.interpolate(small, full, mode="bilinear", align_corners=False)
        if name != "normal":
            maps = maps[:, :1].expand(-1, 3, -1, -1)
        return 2 * maps - 1 if name in ("depth", "normal") else maps

    def noised(self, shape: tuple[int, ...]) -> Tensor:
        """The latents that the UNet sees, and that sampling starts from."""
        side = (LATENT_SIDE, LATENT_SIDE) if self.config.map is not None else shape[2:]
        return noise(f"{self.tag}:x", (shape[0], 4, *side))

    def extra(self, latents: Tensor) -> Tensor | None:
        """What the UNet reads beside latents."""
        if self.config.map is not None:
            maps = self.maps(len(latents))
            return self.adapter.extra_channels(maps, *latents.shape[-2:])
        if not self.config.inpainting:
            return None
        mask = torch.ones(len(latents), 1, *latents.shape[-2:])
        mask[0, :, 4:12, 6:20] = 0
        mask[1:, :, 2:8, 3:9] = 0
        return torch.cat((noise(f"{self.tag}:z0", latents.shape) * mask, mask), dim=1)

    def context(self, name: str, batch: int) -> Tensor:
        """An encoded prompt, [batch, 77, 768]; named "context" or "uncond"."""
        return noise(f"{self.tag}:{name}", (batch, PROMPT, CONTEXT))

    def predict(self, shape: tuple[int, ...], tokens: Tensor, scale: float) -> Tensor:
        """One evaluation of the grounded UNet; of large latents every fourth cell."""
        timesteps = torch.tensor(TIMESTEPS[: shape[0]])
        latents, context, unet = self.noised(shape), self.context("context", shape[0]), self.unet
        with self.adapter.grounded(tokens, scale, extra=self.extra(latents)):
            predicted = unet(latents, timesteps, context).sample
        return self._kept(predicted)

    def _kept(self, cells: Tensor) -> Tensor:
        large = cells.shape[-1] == LATENT_SIDE
        return cells[:, :, ::KEPT_CELLS, ::KEPT_CELLS] if large else cells

    def sampled(self, shape: tuple[int, ...], name: str, schedule: list[float]) -> Tensor:
        """Latents after a whole run of the sampler."""
        on, linear, off = schedule
        tokens = self.adapter.tokens(*self.grounding(shape[0]))
        return sample(
            self.unet,
            make_scheduler(name, SD14_DIFFUSION),
            self.noised(shape),
            Condition(context=self.context("context", shape[0]), tokens=tokens),
            Condition(context=self.context("uncond", shape[0])),
            settings=SamplerSettings(steps=STEPS, guidance=GUIDANCE, schedule=(on, linear, off)),
            adapter=self.adapter,
        )

    @torch.no_grad()
    def compute(self, part: str, shape: tuple[int, ...]) -> Tensor:
        """Our version of an array of the file: "tokens", "eps_scale0.3", ..."""
        batch = shape[0]
        if part == "null_tokens":
            return self.adapter.null_tokens(batch)[:, :KEPT_NULL_TOKENS]
        if part == "eps_null":
            return self.predict(shape, self.adapter.null_tokens(batch), 1.0)
        if part == "downsampled":
            extra = self.extra(self.noised(shape))
            assert extra is not None
            return self._kept(extra)
        tokens = self.adapter.tokens(*self.grounding(batch))
        if part == "tokens":
            return tokens[:, :KEPT_TOKENS]
        return self.predict(shape, tokens, float(part.removeprefix("eps_scale")))
