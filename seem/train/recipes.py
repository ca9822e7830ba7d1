"""Recipes: every number behind a training run that is not asked for on the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from grounding.loop import LoopConfig

__all__ = ["PHOTOGRAPHS", "RECIPES", "PhotographsRecipe", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        config: A key of `seem.config.CONFIGS`, for a model that starts from nothing.
        preset: Of the sticker world, for runs on it.
        scenes: Rendered scenes of the preset.
        collages: Rendered collages beside them.
        words: Steps in which a text encoder that starts from nothing learns words alone.
        loop: The optimiser's steps.
        pasted: Share of the pictures over which objects of others are laid (`seem.train.paste`).
        batch: Pictures in a step.
        objects: Drawn objects of a picture, at most.
        points: Points at which masks are compared.
        sizes: From which step on the model sees pictures of which size (pixels of a side).
        features_first: Steps at the beginning in which the decoder waits (`SeemTask`).
    """

    config: str
    preset: str
    scenes: int
    collages: int
    words: int
    loop: LoopConfig
    pasted: float = 0.0
    batch: int
    objects: int
    points: int
    sizes: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({0: 128}))
    features_first: int = 0


@dataclass(frozen=True, kw_only=True)
class PhotographsRecipe:
    """How a model for photographs is trained on composites (`seem.train.prompt_task`).

    Attributes:
        config: A key of `seem.config.CONFIGS`.
        composites: How many are rendered.
        held_out: Every so many-th of them is held out.
        words: Steps in which the text encoder learns words alone.
        size: Pixels of a view's side.
        batch: Views in a step.
        prompts: Prompts of a view.
        loop: The optimiser's steps.
    """

    config: str
    composites: int
    held_out: int
    words: int
    size: int
    batch: int
    prompts: int
    loop: LoopConfig


# Two CPU cores, one of them free: 15 prompts a step, 1.2 to 1.9 steps a second.
PHOTOGRAPHS: Final = PhotographsRecipe(
    config="photographs",
    composites=8000,
    held_out=33,
    words=400,
    size=192,
    batch=5,
    prompts=3,
    loop=LoopConfig(
        steps=11_000,
        learning_rate=1.5e-3,
        warmup=100,
        weight_decay=0.03,
        betas=(0.9, 0.98),
        ema=0.998,
        save_every=150,
        sample_every=600,
    ),
)

RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        # Two CPU cores and two hours.
        "stickers": Recipe(
            config="stickers",
            preset="crowd",
            scenes=40_000,
            collages=16_000,
            words=400,
            loop=LoopConfig(
                steps=8500,
                learning_rate=1e-3,
                warmup=150,
                weight_decay=0.02,
                ema=0.998,
                save_every=200,
                sample_every=400,
            ),
            pasted=0.75,
            batch=8,
            objects=3,
            points=512,
            sizes=MappingProxyType({0: 128, 7500: 192}),
            features_first=4500,
        ),
        # SEEM's own numbers (arXiv 2304.06718, section 4.1), for a GPU and COCO.
        "coco": Recipe(
            config="focalt",
            preset="crowd",
            scenes=0,
            collages=0,
            words=0,
            loop=LoopConfig(
                steps=90_000,
                learning_rate=1e-4,
                warmup=1000,
                weight_decay=0.05,
                ema=0.0,
                save_every=1000,
                sample_every=5000,
            ),
            batch=8,
            objects=8,
            points=12_544,
            sizes=MappingProxyType({0: 512}),
        ),
    }
)
