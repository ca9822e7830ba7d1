"""Ours against the official code's numbers: `python -m tests.parity.gligen FILE.npz [--tag TAG]`.

Prints one line for each array of the file: its relative error (norm of the difference over norm of
the reference), and whether that is below 1e-4. Exits with 0 if all that can be compared are.
"""

import argparse
import re
import sys
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from gligen.adapter import AdapterConfig, GligenAdapter
from gligen.fourier import fourier_embed
from gligen.sampler import Condition, SamplerSettings, make_scheduler, sample
from tests.parity.fill import fill, noise, unit
from weights.keymap import SD1, official_adapter_key, rename, unet_table

TOLERANCE = 1e-4
BOXES, CONTEXT, PROMPT = 30, 768, 77
PRESENT = (3, 7)  # boxes of the first and of the second image
TIMESTEPS = (981, 321)
STEPS, GUIDANCE = 10, 3.0
KEPT_TOKENS, KEPT_NULL_TOKENS = 8, 4
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
SAMPLE = re.compile(r"sample/(plms|ddim)_([\d.]+)_([\d.]+)_([\d.]+)")
SCALED = re.compile(r"text/eps_scale([\d.]+)")


class NotCoveredError(Exception):
    """An array of something that lavallama does not compute yet."""


def official_unet_key(key: str) -> str:
    """The official name of a parameter of a plain diffusers UNet."""
    names = {ours: official for official, ours in unet_table(SD1).items()}
    official = rename(key, names, "mini SD 1.4")
    assert official is not None
    return official


@dataclass
class GoldenModel:
    """The model and the inputs that a golden file was computed from, all made of names."""

    tag: str

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """Stable Diffusion 1.4's UNet with few channels, the adapter injected."""
        unet = UNet2DConditionModel(**MINI_SD14).requires_grad_(False).eval()
        fill(unet, official_unet_key)
        self.adapter.inject(unet)
        return unet

    @cached_property
    def adapter(self) -> GligenAdapter:
        """All gates and the tokenizer, filled by their official names."""
        with torch.device("meta"):
            shapes = UNet2DConditionModel(**MINI_SD14)
        config = AdapterConfig(max_boxes=BOXES, phrase_dim=CONTEXT, context_dim=CONTEXT)
        adapter = GligenAdapter.for_unet(shapes, config).requires_grad_(False)
        fill(adapter, official_adapter_key)
        return adapter

    def tokens(self, batch: int) -> Tensor:
        """Grounding tokens of the file's layouts, [batch, 30, 768]."""
        name = f"{self.tag}:text:"
        x, y, width, height = unit(name + "boxes", (batch, BOXES, 4)).unbind(-1)
        x, y = 0.6 * x, 0.6 * y
        boxes = torch.stack((x, y, x + 0.05 + 0.35 * width, y + 0.05 + 0.35 * height), dim=-1)
        masks = torch.zeros(batch, BOXES)
        for image, count in zip(masks, PRESENT, strict=False):
            image[:count] = 1
        phrases = noise(name + "text_embeddings", (batch, BOXES, CONTEXT))
        return self.adapter.tokens(boxes * masks[..., None], masks, phrases * masks[..., None])

    def noised(self, shape: tuple[int, ...]) -> Tensor:
        """The latents that the UNet sees, and that sampling starts from."""
        return noise(f"{self.tag}:x", shape)

    def context(self, name: str, batch: int) -> Tensor:
        """An encoded prompt, [batch, 77, 768]; named "context" or "uncond"."""
        return noise(f"{self.tag}:{name}", (batch, PROMPT, CONTEXT))

    def predict(self, shape: tuple[int, ...], tokens: Tensor, scale: float) -> Tensor:
        """One evaluation of the grounded UNet."""
        timesteps = torch.tensor(TIMESTEPS[: shape[0]])
        context, unet = self.context("context", shape[0]), self.unet
        with self.adapter.grounded(tokens, scale):
            return unet(self.noised(shape), timesteps, context).sample

    def sampled(self, shape: tuple[int, ...], name: str, schedule: list[float]) -> Tensor:
        """Latents after a whole run of the sampler."""
        on, linear, off = schedule
        return sample(
            self.unet,
            make_scheduler(name, SD14_DIFFUSION),
            self.noised(shape),
            Condition(context=self.context("context", shape[0]), tokens=self.tokens(shape[0])),
            Condition(context=self.context("uncond", shape[0])),
            settings=SamplerSettings(steps=STEPS, guidance=GUIDANCE, schedule=(on, linear, off)),
            adapter=self.adapter,
        )

    @torch.no_grad()
    def compute(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Our version of an array of the file.

        Raises:
            NotCoveredError: we have none.
        """
        batch = shape[0]
        if name == "fourier":
            return fourier_embed(unit(f"{self.tag}:fourier", (batch, 4)))
        if name == "text/tokens":
            return self.tokens(batch)[:, :KEPT_TOKENS]
        if name == "text/null_tokens":
            return self.adapter.null_tokens(batch)[:, :KEPT_NULL_TOKENS]
        if name == "text/eps_null":
            return self.predict(shape, self.adapter.null_tokens(batch), 1.0)
        if match := SCALED.fullmatch(name):
            return self.predict(shape, self.tokens(batch), float(match[1]))
        if match := SAMPLE.fullmatch(name):
            return self.sampled(shape, match[1], [float(part) for part in match.groups()[1:]])
        raise NotCoveredError(name)


def relative_error(ours: Tensor, reference: np.ndarray) -> float:
    """Norm of the difference over norm of the reference, in float64."""
    wanted = torch.from_numpy(np.asarray(reference, dtype=np.float64))
    return float((ours.double() - wanted).norm() / wanted.norm())


def main(argv: list[str] | None = None) -> int:
    """Compare every array of a golden file; 0 if all pass, 1 if one fails, 2 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.gligen", description=__doc__)
    parser.add_argument("file", type=Path, help="golden numbers (.npz)")
    parser.add_argument("--tag", default="golden", help="prefix of the inputs' names")
    options = parser.parse_args(argv)
    try:
        golden = dict(np.load(options.file))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        print(f"cannot read golden numbers (.npz) from {options.file}: {error}", file=sys.stderr)
        return 2
    model, compared, failed = GoldenModel(options.tag), 0, 0
    for name, reference in golden.items():
        try:
            ours = model.compute(name, reference.shape)
        except NotCoveredError:
            print(f"{name:32s} {'-':>9s}  skipped: not covered yet")
            continue
        fits = tuple(ours.shape) == reference.shape
        error = relative_error(ours, reference) if fits else float("inf")
        compared, failed = compared + 1, failed + (not error < TOLERANCE)
        print(f"{name:32s} {error:9.2e}  {'ok' if error < TOLERANCE else 'FAIL'}", flush=True)
    print(f"{compared} compared, {failed} failed, {len(golden) - compared} skipped")
    return 0 if compared and not failed else 1 if compared else 2


if __name__ == "__main__":
    sys.exit(main())
