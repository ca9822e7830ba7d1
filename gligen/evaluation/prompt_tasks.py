"""Four tasks in the manner of LLM-grounded Diffusion, from the sticker world.

Lian et al., "LLM-grounded Diffusion", arXiv 2305.13655, section 4: numbers of objects, attributes
of two objects, places of two objects, objects that must not be there. There a language model makes
the layouts, here the world does; none of them occurs in training. What must not be there is named
by the negative prompt, as there, and the rest has to be there too, so that a blank picture fails.
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from gligen.evaluation.claims import Absent, Bound, Counted, Placed
from gligen.evaluation.layout import Layout, LayoutSet
from gligen.evaluation.sticker_layouts import sticker_layout, sticker_set
from grounding.stickers.captions import direction
from grounding.stickers.scene import Scene
from grounding.stickers.vocabulary import BACKGROUNDS, article
from grounding.stickers.world import World

__all__ = ["PROMPT_TASKS", "prompt_task"]

ATTEMPTS = 1000  # scenes tried for each prompt
MOST_BESIDE = 3  # objects on a picture from which another is absent


def prompt_task(task: str, world: World, prompts: int) -> LayoutSet:
    """Make the requests of one task.

    Args:
        task: One of `PROMPT_TASKS`.
        world: Whose objects, materials and backgrounds.
        prompts: How many.
    """
    make = PROMPT_TASKS[task]

    def layouts() -> Iterator[Layout]:
        for seed in range(prompts):
            yield dataclasses.replace(make(world, seed), name=f"{task}-{seed}", group=task)

    return sticker_set(f"{prompts} prompts", world, prompts, layouts)


def counting(world: World, seed: int) -> Layout:
    """One to as many of one object as the world puts into a scene, of no material."""
    generator = _generator(seed, "counting")
    number = 1 + seed % len(world.counts)
    noun = str(generator.choice(world.concepts))
    alike = dataclasses.replace(world, concepts=(noun,) * number, material_share=0.0)
    scene = alike.scene(int(generator.integers(2**31)), "held-out", number)
    return sticker_layout(scene, claim=Counted(noun=noun, number=number))


def attribute(world: World, seed: int) -> Layout:
    """Two objects of two materials, each pair known from training."""
    both = dataclasses.replace(world, material_share=1.0, repeat_share=0.0)
    scene = _first(both, _generator(seed, "attribute"), lambda a, b: a.material != b.material)
    pairs = tuple((str(s.material), s.concept) for s in scene.stickers)
    return sticker_layout(scene, claim=Bound(pairs=pairs, choices=world.materials))


def spatial(world: World, seed: int) -> Layout:
    """Two objects, and words that say how one lies to the other."""
    bare = dataclasses.replace(world, material_share=0.0, repeat_share=0.0)
    scene = _first(
        bare, _generator(seed, "spatial"), lambda a, b: direction(a.box, b.box) is not None
    )
    subject, other = scene.stickers
    side = direction(subject.box, other.box) or ""
    words = f"{article(subject.concept)} {side} {article(other.concept)}"
    scene = dataclasses.replace(scene, caption=f"{words} {BACKGROUNDS[scene.background]}")
    claim = Placed(subject=subject.concept, side=side, other=other.concept)
    return sticker_layout(scene, claim=claim)


def negation(world: World, seed: int) -> Layout:
    """One to three objects, and one that must not be there."""
    generator = _generator(seed, "negation")
    count = 1 + seed % min(MOST_BESIDE, len(world.counts))
    scene = world.scene(int(generator.integers(2**31)), "held-out", count)
    present = tuple(dict.fromkeys(sticker.concept for sticker in scene.stickers))
    absent = str(generator.choice([c for c in world.concepts if c not in present]))
    claim = Absent(noun=absent, present=present)
    return sticker_layout(scene, claim=claim, negative=article(absent))


PROMPT_TASKS: dict[str, Callable[[World, int], Layout]] = {
    "counting": counting,
    "attribute": attribute,
    "spatial": spatial,
    "negation": negation,
}


def _first(world: World, generator: np.random.Generator, fits) -> Scene:
    """The first of many scenes of two objects that fit."""
    for _ in range(ATTEMPTS):
        scene = world.scene(int(generator.integers(2**31)), "held-out", 2)
        if fits(*scene.stickers):
            return scene
    raise AssertionError("a thousand scenes hold one whose two objects differ and lie apart")


def _generator(seed: int, task: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"prompt task: {task}".encode())])
