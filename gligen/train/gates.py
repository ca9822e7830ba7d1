"""Stage 3: GLIGEN's gates and tokenizer, trained on a base that stays frozen.

Boxes and phrases are dropped for a tenth of the images and captions for half, as GLIGEN does
(arXiv 2301.07093, section 4 and the released trainer); latent cells inside boxes weigh more, and
half of the heads are shown where to look (``attention_teacher``). The log holds the early signs
that the loss hides: every gate's opening, and the same batch's error with its own boxes, with none,
and with another image's.
Axes: B batch, N regions, D channels of a phrase embedding.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image, ImageDraw
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from gligen.adapter import GligenAdapter
from gligen.patch_autoencoder import PatchAutoencoder
from gligen.sampler import Condition, SamplerSettings, make_scheduler, sample
from gligen.train.attention_teacher import AttentionTeacher, box_of_cell
from gligen.train.autoencoder import save_grid
from gligen.train.base import SAMPLE_STEPS, decoded, noised, seeded_noise
from gligen.train.layouts import Layouts
from gligen.train.scenes import Record
from gligen.train.words import tokenized

SAMPLE_GUIDANCE = 3.0
ATTENTION_WEIGHT = 0.02  # of the taught attention's cross-entropy beside the error of v
PROBE_EVERY = 100  # steps between measurements with right, no and shuffled boxes


@dataclasses.dataclass
class GatesTask:
    """Trains an adapter on latents, captions and boxes.

    Attributes:
        unet: Frozen.
        text_encoder: Frozen.
        adapter: What is trained; injected into ``unet`` for as long as the task lives.
        layouts: The phrases of all records, encoded by ``text_encoder``.
        latents: float16 [N, C, h, w].
        records: N records; their boxes and phrases are the grounding.
        held_out: Records whose layouts and pairs the training never sees, for the sample grids.
        caption_dropout: Share of the images whose caption is emptied.
        grounding_dropout: Share of the images that get null grounding.
        box_weight: Extra weight of the error inside boxes.
    """

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    autoencoder: PatchAutoencoder
    scheduler: DDIMScheduler
    adapter: GligenAdapter
    layouts: Layouts
    latents: np.ndarray
    records: list[Record]
    held_out: list[Record]
    batch: int = 32
    caption_dropout: float = 0.5
    grounding_dropout: float = 0.1
    box_weight: float = 1.0

    def __post_init__(self) -> None:
        """Freeze the base, inject the adapter, tokenize every caption once."""
        self.unet.requires_grad_(False)
        self.text_encoder.requires_grad_(False)
        self.adapter.inject(self.unet)
        self._teacher = AttentionTeacher(self.adapter)
        self._ids = tokenized(self.tokenizer, [r.caption for r in self.records])
        self._empty = tokenized(self.tokenizer, [""])

    def trained(self) -> nn.Module:
        """The adapter, and nothing else."""
        return self.adapter

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of v, weighted inside boxes, over a random batch."""
        device = self.unet.device
        which = torch.randint(len(self.latents), (self.batch,), generator=generator)
        clean = torch.from_numpy(self.latents[which.numpy()]).float()
        boxes, masks, phrases = self.layouts([self.records[i] for i in which.tolist()])
        keep = torch.rand(self.batch, 1, generator=generator) >= self.grounding_dropout
        drop = torch.rand(self.batch, generator=generator) < self.caption_dropout
        ids = torch.where(drop[:, None], self._empty, self._ids[which])
        with torch.no_grad():
            context = self.text_encoder(input_ids=ids.to(device)).last_hidden_state
        targets = box_of_cell(boxes, masks * keep, (clean.shape[2], clean.shape[3])).to(device)
        weight = 1 + self.box_weight * inside(boxes, masks, clean.shape[-2:])
        noisy, timesteps, target, weight, boxes, masks, phrases, keep = (
            tensor.to(device)
            for tensor in (
                *noised(clean, self.scheduler, generator),
                weight,
                boxes,
                masks,
                phrases,
                keep.float(),
            )
        )

        def error(kept: Tensor, order: Tensor | None = None) -> Tensor:
            given = (boxes, masks * kept, phrases)
            given = given if order is None else tuple(t[order] for t in given)
            with self.adapter.grounded(self.adapter.tokens(*given)):
                predicted = self.unet(noisy, timesteps, encoder_hidden_states=context).sample
            return ((predicted - target).square() * weight).mean() / weight.mean()

        numbers = {}
        if (step + 1) % PROBE_EVERY == 0:
            with torch.no_grad():
                everything = torch.ones_like(masks)
                numbers = {
                    "with_boxes": error(everything).item(),
                    "without_boxes": error(0 * everything).item(),
                    "shuffled_boxes": error(everything, torch.arange(self.batch).roll(1)).item(),
                }
            for path, gate in self.adapter.gates.items():
                numbers[f"tanh_alpha_attn/{path}"] = gate.alpha_attn.detach().tanh().item()
                numbers[f"tanh_alpha_dense/{path}"] = gate.alpha_dense.detach().tanh().item()
        main = error(keep)
        attention = self._teacher.loss(targets)
        return main + ATTENTION_WEIGHT * attention, {"attention": attention.item(), **numbers}

    def sample(self, path: Path) -> None:
        """Sixteen held-out requests, boxes drawn."""
        records = self.held_out[:16]
        device = self.unet.device
        boxes, masks, phrases = (tensor.to(device) for tensor in self.layouts(records))
        with torch.no_grad():
            ids = tokenized(self.tokenizer, [r.caption for r in records]).to(device)
            context = self.text_encoder(input_ids=ids).last_hidden_state
            nothing = self.text_encoder(input_ids=self._empty.to(device)).last_hidden_state
            tokens = self.adapter.tokens(boxes, masks, phrases)
        latents = sample(
            self.unet,
            make_scheduler("dpm++", self.scheduler.config),
            seeded_noise(len(records), self.latents.shape[1:]).to(device),
            Condition(context=context, tokens=tokens),
            Condition(context=nothing.expand_as(context)),
            settings=SamplerSettings(
                steps=SAMPLE_STEPS, guidance=SAMPLE_GUIDANCE, schedule=(1.0, 0.0, 0.0)
            ),
            adapter=self.adapter,
        )
        images = decoded(self.autoencoder, latents)
        save_grid(np.stack([_outlined(i, r) for i, r in zip(images, records, strict=True)]), path)


def inside(boxes: Tensor, masks: Tensor, grid: Sequence[int]) -> Tensor:
    """Which latent cells a box touches, float32 [B, 1, h, w].

    Args:
        boxes: [B, N, 4] normalised xyxy.
        masks: [B, N], 1 where the box exists.
        grid: (h, w).
    """
    height, width = grid
    left, top = torch.arange(width) / width, torch.arange(height) / height
    x0, y0, x1, y1 = boxes[..., None].unbind(2)
    across = (x1 > left) & (x0 < left + 1 / width)
    down = (y1 > top) & (y0 < top + 1 / height)
    touched = down[..., :, None] & across[..., None, :] & masks.bool()[..., None, None]
    return touched.any(1, keepdim=True).float()


def _outlined(image: np.ndarray, record: Record) -> np.ndarray:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for x0, y0, x1, y1 in record.boxes:
        corners = [x0 * picture.width, y0 * picture.height]
        corners += [x1 * picture.width - 1, y1 * picture.height - 1]
        draw.rectangle(corners, outline=(255, 0, 80))
    return np.asarray(picture)
