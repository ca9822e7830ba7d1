"""Rendered scenes as examples of gates, and held-out ones as their sample grid."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import CLIPTokenizer

from gligen.adapter import GligenAdapter
from gligen.patch_autoencoder import PatchAutoencoder
from gligen.sampler import Condition, SamplerSettings, make_scheduler, sample
from gligen.train.autoencoder import save_grid
from gligen.train.base import SAMPLE_STEPS, TextToLatents, decoded, seeded_noise
from gligen.train.examples import Batch, Draw
from gligen.train.layouts import Layouts
from gligen.train.scenes import Record
from gligen.train.words import tokenized

__all__ = ["SceneExamples", "SceneSamples"]

SAMPLE_GUIDANCE = 3.0
SHOWN = 16


@dataclasses.dataclass
class SceneExamples:
    """Latents, captions and boxes of scenes, all of one size.

    Attributes:
        model: Its text encoder reads the captions.
        latents: float16 [N, C, h, w].
        records: N records; their boxes and phrases are the grounding.
        layouts: The phrases of all records, encoded.
    """

    model: TextToLatents
    tokenizer: CLIPTokenizer
    latents: np.ndarray
    records: list[Record]
    layouts: Layouts

    def __post_init__(self) -> None:
        """Tokenize every caption once."""
        self.buckets = [range(len(self.records))]
        self._ids = tokenized(self.tokenizer, [r.caption for r in self.records])
        self._empty = tokenized(self.tokenizer, [""])

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """Read some scenes; they are not mirrored."""
        which = [draw.number for draw in draws]
        captioned = torch.tensor([draw.captioned for draw in draws])
        ids = torch.where(captioned[:, None], self._ids[which], self._empty)
        return Batch(
            latents=torch.from_numpy(self.latents[which]).float(),
            context=encoded_captions(self.model, ids),
            grounding=self.layouts([self.records[i] for i in which]),
        )


@dataclasses.dataclass
class SceneSamples:
    """Draws held-out scenes, boxes outlined.

    Attributes:
        model: The frozen base.
        adapter: Injected into it.
        autoencoder: Its own.
        scheduler: With the base's noise levels.
        records: Scenes that training never sees.
        layouts: Their phrases, encoded.
    """

    model: TextToLatents
    tokenizer: CLIPTokenizer
    adapter: GligenAdapter
    autoencoder: PatchAutoencoder
    scheduler: DDIMScheduler
    records: list[Record]
    layouts: Layouts

    @torch.no_grad()
    def __call__(self, path: Path) -> None:
        """Draw sixteen of them into a file."""
        records = self.records[:SHOWN]
        unet = self.model.unet
        boxes, masks, phrases = (t.to(unet.device) for t in self.layouts(records))
        captions = tokenized(self.tokenizer, [r.caption for r in records])
        context = encoded_captions(self.model, captions)
        nothing = encoded_captions(self.model, tokenized(self.tokenizer, [""]))
        shape = (unet.config["in_channels"], *[unet.config["sample_size"]] * 2)
        latents = sample(
            unet,
            make_scheduler("dpm++", self.scheduler.config),
            seeded_noise(len(records), shape).to(unet.device),
            Condition(context=context, tokens=self.adapter.tokens(boxes, masks, phrases)),
            Condition(context=nothing.expand_as(context)),
            settings=SamplerSettings(
                steps=SAMPLE_STEPS, guidance=SAMPLE_GUIDANCE, schedule=(1.0, 0.0, 0.0)
            ),
            adapter=self.adapter,
        )
        images = decoded(self.autoencoder, latents)
        save_grid(np.stack([_outlined(i, r) for i, r in zip(images, records, strict=True)]), path)


@torch.no_grad()
def encoded_captions(model: TextToLatents, ids: Tensor) -> Tensor:
    """What the UNet attends to, [B, T, D]."""
    return model.text_encoder(input_ids=ids.to(model.unet.device)).last_hidden_state


def _outlined(image: np.ndarray, record: Record) -> np.ndarray:
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for x0, y0, x1, y1 in record.boxes:
        corners = [x0 * picture.width, y0 * picture.height]
        corners += [x1 * picture.width - 1, y1 * picture.height - 1]
        draw.rectangle(corners, outline=(255, 0, 80))
    return np.asarray(picture)
