"""Renderer: jobs of one kind to pictures, together.

Axes: B pictures drawn together, C latent channels, h x w latent cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gligen.adapter import GligenAdapter
from gligen.sampler import Condition, Start, initial_noise, make_scheduler, sample
from pipelines.generation.companions.company import Company
from pipelines.generation.defaults import GENERATION_KEY
from pipelines.generation.frame import Frame
from pipelines.generation.grounder import Grounder
from pipelines.generation.offload import Offload
from pipelines.generation.request import Grounded, Grounding, Job
from pipelines.generation.text import Words
from pipelines.original import picture_condition
from weights.base import BaseModel

__all__ = ["Renderer"]


@dataclass(kw_only=True)
class Renderer:
    """Draws with one model.

    Attributes:
        base: the model.
        frame: its sizes.
        grounder: its adapter and how that is told of regions, if it has one.
        company: what runs beside the gates.
        device: where it is drawn.
        offload: what else is on the device meanwhile; None: everything.
    """

    base: BaseModel
    frame: Frame
    grounder: Grounder | None
    company: Company
    device: torch.device
    offload: Offload | None = None

    @property
    def adapter(self) -> GligenAdapter | None:
        """The gates in the UNet."""
        return None if self.grounder is None else self.grounder.adapter

    def __call__(
        self, jobs: Sequence[Job], on_step: Callable[[int, int, Tensor], None]
    ) -> list[Image.Image]:
        """Draw pictures whose requests are alike, each from its own generator.

        A generator is on the CPU: a seed means the same noise on every device.

        Args:
            jobs: B of them.
            on_step: called after each evaluation of the UNet with (done, total, latents).
        """
        if self.offload is not None:
            self.offload.bring(self.base.unet)
        requests = [job.request for job in jobs]
        solver = requests[0].solver
        generators = [torch.Generator("cpu").manual_seed(job.seed) for job in jobs]
        noise = initial_noise(generators, self.frame.latent_shape(requests[0].size))
        layouts = [one.grounding.to(self.device) for one in requests if one.grounding is not None]
        originals = [request.original for request in requests if request.original is not None]
        beginnings = [one.beginning for one in requests if one.beginning is not None]
        grounded = Grounded()
        if self.grounder is not None and layouts:
            grounded = self.grounder.grounded(layouts)
        latents = sample(
            self.base.unet,
            make_scheduler(solver.scheduler, self._process),
            Start(
                noise=noise.to(self.device),
                picture=torch.cat(beginnings) if beginnings else None,
                generators=generators,
            ),
            Condition(
                **vars(Words.together([request.positive for request in requests])),
                **vars(grounded),
                extra=self._extra(layouts, noise),
                companions=self.company.at_work([request.cues for request in requests]),
                **picture_condition(originals, generators),
            ),
            Condition(**vars(Words.together([request.negative for request in requests]))),
            settings=solver.settings,
            adapter=self.adapter,
            on_step=on_step,
        )
        if self.offload is not None:
            self.offload.bring(None)  # decoding large pictures needs the room
        drawn = [self._decode(one) for one in latents.split(1)]
        if not originals:
            return drawn
        return [old.composed(new) for old, new in zip(originals, drawn, strict=True)]

    @property
    def _process(self) -> dict[str, Any]:
        """The diffusion process, as diffusers' schedulers describe it."""
        config = self.base.scheduler_config
        return {key: value for key, value in config.items() if key != GENERATION_KEY}

    @torch.no_grad()
    def _extra(self, layouts: list[Grounding], noise: Tensor) -> Tensor | None:
        maps = [layout.maps for layout in layouts if layout.maps is not None]
        if self.adapter is None or not maps:
            return None
        return self.adapter.extra_channels(torch.cat(maps), *noise.shape[-2:])

    @torch.no_grad()
    def _decode(self, latents: Tensor) -> Image.Image:
        """Latents [1, C, h, w] to a picture; one at a time, so neighbours change no bit."""
        vae: Any = self.base.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        latents = latents / vae.config.scaling_factor + shift
        latents = latents.to(next(vae.parameters()).dtype)  # of SDXL not the UNet's in float16
        pixels = vae.decode(latents, return_dict=False)[0]
        pixels = pixels.float().add(1).mul(127.5).round().clamp(0, 255)
        return Image.fromarray(pixels[0].permute(1, 2, 0).byte().cpu().numpy(), "RGB")
