"""Stage 3: GLIGEN's gates and tokenizer, trained on a base that stays frozen.

Boxes and phrases are dropped for a tenth of the images and captions for half, as GLIGEN does
(arXiv 2301.07093, section 4 and the released trainer), but image by image; latent cells inside
boxes weigh more, and half of the heads are shown where to look (``attention_teacher``). The log
holds the early signs that the loss hides: every gate's opening, and the same batch's error with its
own boxes, with none, and with another image's.
Axes: B batch, N regions, C latent channels, h w latent cells.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gligen.adapter import GligenAdapter
from gligen.config import BOX_MODALITIES
from gligen.inpainting import latent_mask
from gligen.train.attention_teacher import AttentionTeacher
from gligen.train.diffusion import min_snr_weights, training_target
from gligen.train.examples import Batch, Draw, Examples, slot_generator

__all__ = ["GatesConfig", "GatesTask", "inside"]

Show = Callable[[Path], Mapping[str, float] | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatesConfig:
    """How gates are trained.

    Attributes:
        batch: Images of a batch.
        accumulate: Batches of a step, as the loop has it.
        seed: Of everything that chance decides.
        caption_dropout: Share of the images whose caption is emptied.
        grounding_dropout: Share of the images that get null grounding.
        mirrored: Share of the images that are mirrored.
        box_weight: Extra weight of the error inside boxes.
        attention_weight: Of the taught attention's cross-entropy beside the error; 0: not taught.
        min_snr: Gamma of min-SNR weighting; 0: all noise levels weigh alike.
        probe_every: Steps between measurements with right, no and shuffled boxes.
    """

    batch: int = 16
    accumulate: int = 1
    seed: int = 0
    caption_dropout: float = 0.5
    grounding_dropout: float = 0.1
    mirrored: float = 0.0
    box_weight: float = 1.0
    attention_weight: float = 0.02
    min_snr: float = 0.0
    probe_every: int = 100


@dataclasses.dataclass
class GatesTask:
    """Trains an adapter of any modality on examples of pictures and what is where on them.

    Attributes:
        unet: Frozen.
        adapter: What is trained; injected into ``unet`` for as long as the task lives.
        scheduler: A diffusers scheduler with the base's noise levels.
        examples: What is learnt from.
        config: How.
        show: Draws the sample grid into a file, and measures what can be measured.
        process: (number of this process, number of all).
    """

    unet: Any
    adapter: GligenAdapter
    scheduler: Any
    examples: Examples
    config: GatesConfig
    show: Show
    process: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        """Freeze the base, inject the adapter."""
        self.unet.requires_grad_(False)
        if not self.adapter.is_injected:
            self.adapter.inject(self.unet)
        self._has_boxes = self.adapter.config.modality in BOX_MODALITIES
        taught = self.config.attention_weight and self.adapter.config.modality == "text"
        self._teacher = AttentionTeacher(self.adapter) if taught else None
        self._bucket_of = {number: bucket for bucket in self.examples.buckets for number in bucket}
        self._numbers = [number for bucket in self.examples.buckets for number in bucket]
        self._gates_on = contextlib.ExitStack()

    def trained(self) -> nn.Module:
        """The adapter, and nothing else."""
        return self.adapter

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Error of the prediction over a batch; the generator is not used (see ``examples``).

        The gates stay on until the next call: backward runs checkpointed blocks again.
        """
        self._gates_on.close()
        step, part = divmod(step, self.config.accumulate)
        draws, keep, generators, timesteps = self._drawn(step, part)
        batch = self.examples.batch(draws)
        noise = torch.cat(
            [torch.randn(1, *batch.latents.shape[1:], generator=one) for one in generators]
        )
        noisy, target = training_target(self.scheduler, batch.latents, noise, timesteps)
        weight, importance = self._weights(batch, timesteps)
        device = next(self.adapter.parameters()).device
        told = tuple(tensor.to(device) for tensor in batch.grounding)
        placed = [tensor.to(device) for tensor in (noisy, timesteps, target, weight, importance)]
        context, extra = batch.context.to(device), self._extra(batch, device)
        added = {name: tensor.to(device) for name, tensor in batch.added.items()}

        def error(grounding: Sequence[Tensor], gates_on: contextlib.ExitStack) -> Tensor:
            noisy, timesteps, target, weight, importance = placed
            tokens = self.adapter.tokens(*grounding)
            gates_on.enter_context(self.adapter.grounded(tokens, extra=extra))
            predicted = self.unet(
                noisy, timesteps, encoder_hidden_states=context, added_cond_kwargs=added
            ).sample
            squares = (predicted.float() - target).square() * weight
            return (squares.mean((1, 2, 3)) / weight.mean((1, 2, 3)) * importance).mean()

        numbers = {}
        last = part + 1 == self.config.accumulate
        if last and (step + 1) % self.config.probe_every == 0:
            numbers = self._probed(told, error)
        if self._teacher is not None:
            self._teacher.forget()
        total = error(_kept(told, keep.to(device)), self._gates_on)
        if self._teacher is not None:
            boxes, masks = batch.grounding[:2]
            grid = (batch.latents.shape[2], batch.latents.shape[3])
            attention = self._teacher.loss(boxes, masks * keep[:, None], grid)
            total = total + self.config.attention_weight * attention
            numbers["attention"] = attention.item()
        return total, numbers

    def sample(self, path: Path) -> Mapping[str, float] | None:
        """Held-out requests."""
        self._gates_on.close()
        return self.show(path)

    def _drawn(
        self, step: int, part: int
    ) -> tuple[list[Draw], Tensor, list[torch.Generator], Tensor]:
        """What chance decides of a batch: examples, kept grounding [B], noise, timesteps [B]."""
        config, (process, processes) = self.config, self.process
        any_one = torch.randint(
            len(self._numbers), (1,), generator=slot_generator(config.seed, step)
        )
        bucket = self._bucket_of[self._numbers[int(any_one)]]
        first = (part * processes + process) * config.batch
        levels = self.scheduler.config["num_train_timesteps"]
        draws, keep, timesteps, generators = [], [], [], []
        for slot in range(first, first + config.batch):
            generator = slot_generator(config.seed, step, 1 + slot)
            chances = torch.rand(3, generator=generator).tolist()
            number = int(torch.randint(len(bucket), (1,), generator=generator))
            draws.append(
                Draw(
                    number=bucket[number],
                    mirrored=chances[0] < config.mirrored,
                    captioned=chances[1] >= config.caption_dropout,
                )
            )
            keep.append(float(chances[2] >= config.grounding_dropout))
            timesteps.append(torch.randint(levels, (1,), generator=generator))
            generators.append(generator)
        return draws, torch.tensor(keep), generators, torch.cat(timesteps)

    def _weights(self, batch: Batch, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Of each latent cell [B, 1, h, w], and of each image [B]."""
        weight = torch.ones_like(batch.latents[:, :1])
        if self._has_boxes:
            boxes, masks = batch.grounding[:2]
            grid = batch.latents.shape[-2:]
            weight = weight + self.config.box_weight * inside(boxes.cpu(), masks.cpu(), grid)
        return weight, min_snr_weights(self.scheduler, timesteps, self.config.min_snr)

    def _extra(self, batch: Batch, device: torch.device) -> Tensor | None:
        """What the widened first convolution reads beside the latents."""
        grid = batch.latents.shape[-2:]
        if batch.maps is not None:
            return self.adapter.extra_channels(batch.maps.to(device), *grid)
        if not self.adapter.config.inpainting:
            return None
        known = torch.cat(
            [
                latent_mask([tuple(box) for box in boxes[masks > 0].tolist()], *grid)
                for boxes, masks in zip(*(t.cpu() for t in batch.grounding[:2]), strict=True)
            ]
        )
        return torch.cat((batch.latents * known, known), dim=1).to(device)

    @torch.no_grad()
    def _probed(self, told: tuple[Tensor, ...], error: Callable[..., Tensor]) -> dict[str, float]:
        """Every gate's opening, and the error with right, no and shuffled grounding."""
        numbers = {}
        cases = {
            "with_boxes": told,
            "without_boxes": tuple(0 * tensor for tensor in told),
            "shuffled_boxes": tuple(tensor.roll(1, 0) for tensor in told),
        }
        for name, grounding in cases.items():
            with contextlib.ExitStack() as gates_on:
                numbers[name] = error(grounding, gates_on).item()
        for path, gate in self.adapter.gates.items():
            numbers[f"tanh_alpha_attn/{path}"] = gate.alpha_attn.tanh().item()
            numbers[f"tanh_alpha_dense/{path}"] = gate.alpha_dense.tanh().item()
        return numbers


def _kept(grounding: Sequence[Tensor], keep: Tensor) -> tuple[Tensor, ...]:
    """Null grounding, which is all zeros for every tokenizer, where it is not kept."""
    return tuple(
        tensor * keep.to(tensor).view(-1, *[1] * (tensor.ndim - 1)) for tensor in grounding
    )


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
