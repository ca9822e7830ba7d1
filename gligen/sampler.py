"""From noise to latents: classifier-free guidance over text and grounding, with any scheduler.

    eps = eps(z | negative prompt, no regions) + g * (eps(z | prompt, regions) - eps(z | ...))

(Ho & Salimans, "Classifier-Free Diffusion Guidance", arXiv 2207.12598.) Both halves are one batched
call of the UNet. Nothing here depends on what else is in the batch: one generator for each image
makes the noise, and the schedulers are deterministic (eta = 0).
Axes: B images, C latent channels, H x W latent cells, T prompt tokens, N grounding tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float
from torch import Tensor, nn

from gligen.adapter import GligenAdapter
from gligen.inpainting import KnownLatents
from gligen.schedule import evaluation_scales
from grounding.errors import LavallamaError

__all__ = [
    "SCHEDULERS",
    "Condition",
    "SamplerSettings",
    "initial_noise",
    "make_scheduler",
    "sample",
]

Latents = Float[Tensor, "B C H W"]
StepCallback = Callable[[int, int, Latents], None]

SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "plms": (PNDMScheduler, {"skip_prk_steps": True}),  # Liu et al., arXiv 2202.09778
    "ddim": (DDIMScheduler, {}),  # Song et al., arXiv 2010.02502
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),  # arXiv 2211.01095
    "unipc": (UniPCMultistepScheduler, {}),  # Zhao et al., arXiv 2302.04867
}
LATENT_DEFAULTS = {"clip_sample": False, "set_alpha_to_one": False}  # as in Stable Diffusion


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What one half of the guidance is given.

    Attributes:
        context: [B, T, channels], the encoded prompts; any T, the same on both halves.
        tokens: [B, N, channels] grounding tokens, or None for images without regions.
        added: further inputs of the UNet (`added_cond_kwargs`: SDXL's text_embeds and time_ids).
        extra: [B, X, H, W] channels beside the latents, for an adapter that reads maps. Those of
            the positive condition go to both halves, as in the official code.
        known: latents to keep (inpainting); of the positive condition.
        beside: [B, X, H, W] channels that the UNet itself reads after the latents (an inpainting
            UNet: mask and masked picture); of the positive condition, for both halves.
    """

    context: Tensor
    tokens: Tensor | None = None
    added: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Tensor | None = None
    known: KnownLatents | None = None
    beside: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How to sample: steps, guidance (1 = none, and half the work), gate schedule."""

    steps: int = 50
    guidance: float = 7.5
    schedule: tuple[float, float, float] = (0.3, 0.0, 0.7)


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A scheduler of diffusers by our name, for the diffusion process that `config` describes.

    Args:
        name: "plms", "ddim", "dpm++" or "unipc".
        config: a scheduler's config as diffusers saves it, of whatever class; betas, prediction
            type, spacing and offset are taken from it.
    """
    if name not in SCHEDULERS:
        raise LavallamaError(f"scheduler must be one of {', '.join(SCHEDULERS)}; got {name!r}")
    kind, fixed = SCHEDULERS[name]
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    return kind.from_config({**LATENT_DEFAULTS, **public, **fixed})


def initial_noise(
    generators: Sequence[torch.Generator], shape: tuple[int, int, int]
) -> Float[Tensor, "B C H W"]:
    """Standard normal noise, one generator for each image, in float32 where the generators are.

    Args:
        generators: B generators; on the CPU they give the same picture on every machine.
        shape: (C, H, W) of one image.
    """
    return torch.cat(
        [torch.randn((1, *shape), generator=one, device=one.device) for one in generators]
    )


@torch.no_grad()
def sample(
    unet: nn.Module,
    scheduler: Any,
    noise: Latents,
    positive: Condition,
    negative: Condition | None = None,
    *,
    settings: SamplerSettings,
    adapter: GligenAdapter | None = None,
    on_step: StepCallback | None = None,
) -> Latents:
    """Denoise a batch of images, each with its own prompt and regions.

    Args:
        unet: a UNet2DConditionModel, or what is called like one.
        scheduler: a diffusers scheduler; its config is used, its state neither read nor changed.
        noise: [B, C, H, W] standard normal, see `initial_noise`; stays in its dtype.
        positive: prompts and grounding tokens.
        negative: the other half of the guidance; null grounding where `positive` is grounded and
            this has no tokens. Not needed at guidance 1.
        settings: steps, guidance, gate schedule.
        adapter: the adapter that is injected into `unet`; needed for grounding tokens.
        on_step: called after each evaluation with (done, total, latents).

    Returns:
        [B, C, H, W] latents, in the dtype and on the device of `noise`.

    Raises:
        LavallamaError: steps, guidance, schedule or shapes that cannot be.
    """
    scheduler = _fresh(scheduler, settings.steps, noise.device)
    guided = settings.guidance != 1
    condition = _condition(noise, positive, negative if guided else None, settings, adapter)
    timesteps = scheduler.timesteps
    scales = evaluation_scales(len(timesteps), settings.steps, settings.schedule)
    dtype = condition.context.dtype
    latents, known = noise * scheduler.init_noise_sigma, positive.known
    with _grounded(adapter, condition) as run:
        for index, (timestep, scale) in enumerate(zip(timesteps, scales, strict=True)):
            if run is not None:
                run.scale = scale
            if known is not None:
                latents = known.pasted(latents, float(scheduler.alphas_cumprod[int(timestep)]))
            inputs = scheduler.scale_model_input(latents, timestep).to(dtype)
            if positive.beside is not None:
                inputs = torch.cat((inputs, positive.beside.to(inputs)), dim=1)
            predicted = unet(
                torch.cat((inputs, inputs)) if guided else inputs,
                timestep,
                encoder_hidden_states=condition.context,
                added_cond_kwargs=dict(condition.added),
                return_dict=False,
            )[0].to(latents.dtype)
            if guided:
                without, with_it = predicted.chunk(2)
                predicted = without + settings.guidance * (with_it - without)
            latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
            if on_step is not None:
                on_step(index + 1, len(timesteps), latents)
    return latents if known is None else known.pasted(latents)


def _grounded(adapter: GligenAdapter | None, condition: Condition) -> Any:
    """The adapter at work, or, without one, nothing; a context that yields the run or None."""
    if adapter is None:
        return nullcontext()
    return adapter.grounded(condition.tokens, extra=condition.extra)


def _fresh(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A copy without history, set to so many steps."""
    trained = scheduler.config.num_train_timesteps
    if not 1 <= steps <= trained:
        raise LavallamaError(f"steps must be between 1 and {trained}; got {steps}")
    scheduler = type(scheduler).from_config(scheduler.config)
    scheduler.set_timesteps(steps, device=device)
    if scheduler.timesteps.max() >= trained:
        raise LavallamaError(
            f"{steps} steps reach beyond the {trained} that the model was trained on; take fewer"
        )
    return scheduler


def _condition(
    noise: Latents,
    positive: Condition,
    negative: Condition | None,
    settings: SamplerSettings,
    adapter: GligenAdapter | None,
) -> Condition:
    """One condition for the UNet's batch: the negative half, then the positive one."""
    batch, guided = noise.shape[0], settings.guidance != 1
    _check_batch(batch, positive)
    if guided and negative is None:
        raise LavallamaError(
            f"guidance {settings.guidance} contrasts with a negative condition, and there is none; "
            "give one (an empty prompt will do), or guidance 1"
        )
    if positive.tokens is not None and adapter is None:
        raise LavallamaError("grounding tokens need the adapter that made them; pass adapter=")
    tokens, extra = positive.tokens, _extra(positive, adapter)
    if negative is None:
        return replace(positive, extra=extra)
    if tokens is not None and adapter is not None:
        nothing = negative.tokens
        if nothing is None:
            nothing = adapter.null_tokens(batch, tokens.shape[1]).to(tokens)
        tokens = _joined("grounding tokens", nothing, tokens)
    return Condition(
        context=_joined("prompts", negative.context, positive.context),
        tokens=tokens,
        added={
            name: _joined(name, negative.added[name], positive.added[name])
            for name in positive.added
        },
        extra=None if extra is None else torch.cat((extra, extra)),
    )


def _extra(positive: Condition, adapter: GligenAdapter | None) -> Tensor | None:
    """Channels beside the latents: given, or, for an adapter that inpaints, of what is known."""
    extra = positive.extra
    if extra is not None and adapter is None:
        raise LavallamaError("extra channels need the adapter that reads them; pass adapter=")
    if adapter is None or not adapter.config.inpainting:
        return extra
    if positive.known is None:
        raise LavallamaError(
            "an adapter that inpaints needs the latents to keep; give the condition known="
        )
    return positive.known.channels().to(positive.context)


def _joined(name: str, negative: Tensor, positive: Tensor) -> Tensor:
    if negative.shape != positive.shape:
        raise LavallamaError(
            f"the {name} of both halves of the guidance must have one shape; "
            f"got {list(negative.shape)} (negative) and {list(positive.shape)}; pad the shorter"
        )
    return torch.cat((negative, positive))


def _check_batch(batch: int, condition: Condition) -> None:
    known = None if condition.known is None else condition.known.latents
    for name, tensor in (
        ("prompts", condition.context),
        ("grounding tokens", condition.tokens),
        ("extra channels", condition.extra),
        ("known latents", known),
        ("channels beside the latents", condition.beside),
    ):
        if tensor is not None and tensor.shape[0] != batch:
            raise LavallamaError(
                f"the noise and the {name} must be of one batch; got {batch} and {tensor.shape[0]}"
            )
