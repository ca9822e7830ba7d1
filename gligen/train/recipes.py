"""Recipes: every number behind the embedded models, by the preset of the sticker world."""

import dataclasses
from typing import Final

from grounding.loop import LoopConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the models of one preset are made.

    Attributes:
        preset: A key of ``grounding.stickers.PRESETS``.
        scenes: Scenes rendered for training.
        latent_channels: Of the autoencoder.
        decoder_width: Channels of the autoencoder's refiner.
        width: Channels of the UNet and of the text encoder.
        words: Steps in which the text encoder learns to name phrases.
        judged: The preset that the judge learns from, with every pair, and how many scenes of it.
        decoder, base, field, gates, vision, judge: The stages' loops, each with its batch.
    """

    preset: str
    scenes: int
    latent_channels: int
    decoder_width: int
    width: int
    words: int
    decoder: LoopConfig
    decoder_batch: int
    base: LoopConfig
    base_batch: int
    field: LoopConfig
    field_batch: int
    gates: LoopConfig
    gates_batch: int
    vision: LoopConfig
    vision_batch: int
    judged: tuple[str, int]
    judge: LoopConfig
    judge_batch: int


_DECODER = LoopConfig(steps=1500, learning_rate=1e-3, warmup=100, weight_decay=0.0, ema=0.995)
_BASE = LoopConfig(
    steps=5400, learning_rate=6e-4, warmup=200, ema=0.998, save_every=300, sample_every=600
)
_FIELD = LoopConfig(steps=6000, learning_rate=2e-3, warmup=100, weight_decay=0.0, ema=0.998)
_GATES = LoopConfig(
    steps=4500, learning_rate=1e-3, warmup=200, ema=0.998, save_every=300, sample_every=600
)
_VISION = LoopConfig(
    steps=3000, learning_rate=1e-3, warmup=200, ema=0.998, save_every=250, sample_every=3000
)
_JUDGE = LoopConfig(steps=2000, learning_rate=2e-3, warmup=100, ema=0.99, sample_every=600)

RECIPES: Final[dict[str, Recipe]] = {
    # Two CPU cores and an afternoon.
    "small": Recipe(
        preset="small",
        scenes=60_000,
        latent_channels=32,
        decoder_width=64,
        width=192,
        words=150,
        decoder=_DECODER,
        decoder_batch=16,
        base=_BASE,
        base_batch=16,
        field=_FIELD,
        field_batch=64,
        gates=_GATES,
        gates_batch=16,
        vision=_VISION,
        vision_batch=64,
        judged=("crowd", 20_000),
        judge=_JUDGE,
        judge_batch=64,
    ),
    # Everything that the world has, at 256 x 256: for a GPU.
    "full": Recipe(
        preset="full",
        scenes=400_000,
        latent_channels=32,
        decoder_width=64,
        width=384,
        words=1000,
        decoder=dataclasses.replace(_DECODER, steps=40_000),
        decoder_batch=32,
        base=dataclasses.replace(_BASE, steps=100_000, warmup=1000, save_every=2000),
        base_batch=128,
        field=dataclasses.replace(_FIELD, steps=40_000),
        field_batch=128,
        gates=dataclasses.replace(_GATES, steps=60_000, warmup=1000, save_every=2000),
        gates_batch=128,
        vision=dataclasses.replace(_VISION, steps=30_000),
        vision_batch=128,
        judged=("full", 100_000),
        judge=dataclasses.replace(_JUDGE, steps=6000),
        judge_batch=128,
    ),
}
