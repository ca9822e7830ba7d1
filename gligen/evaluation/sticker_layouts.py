"""Held-out scenes of the sticker world, as requests: captions, phrases, boxes, true pictures."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from gligen.evaluation.claims import Claim
from gligen.evaluation.layout import Instance, Layout, LayoutSet
from grounding.prompt import Canvas, GroundedPrompt, Region
from grounding.stickers.scene import Scene, render
from grounding.stickers.vocabulary import PLAIN_BACKGROUNDS
from grounding.stickers.world import Split, World

__all__ = ["held_out_layouts", "plain_layouts", "sticker_layout", "sticker_set"]


def held_out_layouts(world: World, scenes: int) -> LayoutSet:
    """Half of the scenes have layouts that training never had, half such pairs.

    Args:
        world: Whose scenes.
        scenes: How many; groups are "held-out" and "held-out pairs" (material and object).
    """
    half = scenes // 2
    counts: dict[Split, int] = {"held-out": scenes - half, "held-out pairs": half}

    def layouts() -> Iterator[Layout]:
        for split, count in counts.items():
            for seed in range(count):
                yield sticker_layout(world.scene(seed, split), group=split)

    return sticker_set(f"{scenes} held-out scenes of the sticker world", world, scenes, layouts)


def plain_layouts(world: World, scenes: int) -> LayoutSet:
    """Single objects on plain backgrounds, where their extent can be seen without a detector."""
    grounds = tuple(ground for ground in world.backgrounds if ground in PLAIN_BACKGROUNDS)
    plain = dataclasses.replace(world, backgrounds=grounds, counts=(1.0,))

    def layouts() -> Iterator[Layout]:
        for seed in range(scenes):
            yield sticker_layout(plain.scene(seed, "held-out"), group="plain")

    return sticker_set(f"{scenes} objects on plain backgrounds", plain, scenes, layouts)


def sticker_layout(
    scene: Scene, *, group: str = "", claim: Claim | None = None, negative: str = ""
) -> Layout:
    """Ask for a scene: its caption, and each sticker's phrase and box.

    Args:
        scene: Of any split.
        group: Under which it is reported.
        claim: What else must be true.
        negative: The negative prompt.
    """
    width, height = scene.size
    document = GroundedPrompt(
        canvas=Canvas(width=width, height=height),
        prompt=scene.caption,
        negative_prompt=negative,
        regions=tuple(Region(phrase=s.phrase, box=s.box) for s in scene.stickers),
    )

    def truth() -> np.ndarray:
        return render(scene).image

    return Layout(
        name=f"{group.replace(' ', '-') or 'scene'}-{scene.seed}",
        document=document,
        instances=tuple(
            Instance(noun=s.concept, box=s.box, attribute=s.material) for s in scene.stickers
        ),
        group=group,
        truth=truth,
        claim=claim,
    )


def sticker_set(what: str, world: World, count: int, layouts) -> LayoutSet:
    """Scenes of a world, all of whose nouns are looked for on each picture."""
    return LayoutSet(
        what=what,
        classes=world.concepts,
        closed=True,
        attributes=world.materials,
        count=count,
        layouts=layouts,
        has_truth=True,
    )
