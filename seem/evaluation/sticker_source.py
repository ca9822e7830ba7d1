"""Held-out scenes of the sticker world: exact masks, words, references, and short films.

Axes: H W the image. Half of the scenes have layouts that training never had ("held-out"), half
(material, object) pairs that it never had ("held-out pairs"). A fifth as many again are "twins":
three objects, two of them alike but for where they are, so that a name has two instances, and "the
dog left of the car" is the one that a relation tells.
"""

import dataclasses
import zlib
from collections.abc import Iterator

import numpy as np

from grounding.stickers.captions import relation
from grounding.stickers.scene import Box, Rendered, Scene, render
from grounding.stickers.vocabulary import article
from grounding.stickers.world import Split, World
from seem.evaluation.sample import Clip, Phrase, ReferenceCase, Sample, Source, Truth
from seem.evaluation.sticker_words import fitting, names, places, relations, searches

__all__ = ["sticker_film", "sticker_sample", "sticker_source", "twin_scene"]

TASKS = ("clicks", "box", "scribble", "mask", "phrase", "panoptic", "reference", "video")
TWINS = 5  # scenes for each scene of twins
FILMS = 15  # scenes for each film
FRAMES = 12
GROWTH = (0.7, 1.3)  # of an object's sides, on its reference image and within a film
DRIFT = (0.1, 0.35)  # of the canvas: how far an object moves within a film


def sticker_source(world: World, scenes: int) -> Source:
    """Scenes of both held-out splits, then twins; films.

    Args:
        world: Its concepts are the things, its backgrounds the stuff.
        scenes: How many, without twins; at least 2.
    """
    classes = (*world.concepts, *world.backgrounds)
    twins, films = max(1, scenes // TWINS), max(1, scenes // FILMS)

    def samples() -> Iterator[Sample]:
        half = scenes // 2
        counts: dict[Split, int] = {"held-out": scenes - half, "held-out pairs": half}
        for split, count in counts.items():
            for seed in range(count):
                yield sticker_sample(world, world.scene(seed, split), split)
        for seed in range(twins):
            yield sticker_sample(world, twin_scene(world, seed), "twins")

    return Source(
        what=(
            f"the sticker world: {_many(scenes, 'held-out scene')}, {twins} with twins, "
            f"{_many(films, 'film')}"
        ),
        classes=classes,
        things=frozenset(world.concepts),
        tasks=TASKS,
        usual=TASKS,
        count=scenes + twins,
        samples=samples,
        clip_count=films,
        clips=lambda: (sticker_film(world, seed) for seed in range(films)),
    )


def sticker_sample(world: World, scene: Scene, group: str) -> Sample:
    """A scene with all that may be asked about it.

    Args:
        world: Of the scene.
        scene: Any of its splits.
        group: Under which its objects are reported.
    """
    rendered = render(scene)
    stickers = scene.stickers
    labels = {concept: index for index, concept in enumerate(world.concepts)}
    truths = [
        Truth(mask=mask, label=labels[sticker.concept], group=group)
        for sticker, mask in zip(stickers, rendered.masks, strict=True)
    ]
    label = len(world.concepts) + world.backgrounds.index(scene.background)
    ground = Truth(mask=np.logical_not(rendered.masks.any(0)), label=label, thing=False)
    phrases = [*names(stickers), *relations(stickers), *places(stickers)]
    phrases.append(Phrase(text=scene.background, targets=(len(truths),), kind="background"))
    generator = _generator(scene.seed, f"absent {group}")
    others = [c for c in world.concepts if c not in {s.concept for s in stickers}]
    return Sample(
        name=f"{group.replace(' ', '-')}-{scene.seed}",
        image=rendered.image,
        truths=(*truths, ground),
        complete=True,
        phrases=tuple(phrases),
        searches=tuple(searches(stickers, str(generator.choice(others)))),
        references=tuple(
            _reference(world, scene, index, group)
            for index in range(len(stickers))
            if len(fitting(stickers, stickers[index].phrase)) == 1
        ),
    )


def twin_scene(world: World, seed: int) -> Scene:
    """Three stickers: the first two alike, on different sides of the third; layouts held out."""
    for attempt in range(seed * 1000, (seed + 1) * 1000):
        scene = world.scene(attempt, "held-out", 3)
        first, second, third = scene.stickers
        second = dataclasses.replace(second, concept=first.concept, material=first.material)
        sides = relation(first, third), relation(second, third)
        if None not in sides and sides[0] != sides[1]:
            return dataclasses.replace(scene, stickers=(first, second, third))
    raise AssertionError("a thousand scenes of three hold one whose objects lie apart")


def _reference(world: World, scene: Scene, index: int, group: str) -> ReferenceCase:
    """The same concept and material alone on another background, elsewhere and at another size."""
    generator = _generator(scene.seed, f"reference {group} {index}")
    sticker = scene.stickers[index]
    sides = _sides(sticker.box, generator.uniform(*GROWTH))
    corner = [generator.uniform(0, 1 - side) for side in sides]
    box = (corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1])
    grounds = [ground for ground in world.backgrounds if ground != scene.background]
    other = dataclasses.replace(
        scene,
        background=str(generator.choice(grounds or world.backgrounds)),
        stickers=(dataclasses.replace(sticker, box=box),),
        caption=article(sticker.phrase),
        seed=int(generator.integers(2**31)),
    )
    drawn = render(other)
    return ReferenceCase(image=drawn.image, mask=drawn.masks[0], target=index)


def sticker_film(world: World, seed: int) -> Clip:
    """Two or three stickers that drift, and grow or shrink, over a background that stays.

    Each moves along a line, ever more slowly, as far as the canvas allows. Ids are 1, 2, ...; later
    ones pass in front.
    """
    scene = world.scene(seed, "held-out", 2 + seed % 2)
    generator = _generator(seed, "film")
    drawn: list[Rendered] = []
    paths = [_Path(sticker.box, generator) for sticker in scene.stickers]
    for step in range(FRAMES):
        moved = tuple(
            dataclasses.replace(sticker, box=path.box(step / (FRAMES - 1)))
            for sticker, path in zip(scene.stickers, paths, strict=True)
        )
        drawn.append(render(dataclasses.replace(scene, stickers=moved)))
    numbers = np.arange(1, 1 + len(paths), dtype=np.uint8)[:, None, None]
    return Clip(
        name=f"film-{seed}",
        frames=[rendered.image for rendered in drawn],
        ids=[(rendered.masks * numbers).max(0).astype(np.uint8) for rendered in drawn],
    )


class _Path:
    """Where a box is at each time in [0, 1]."""

    def __init__(self, box: Box, generator: np.random.Generator) -> None:
        self.start, angle = box, generator.uniform(0, 2 * np.pi)
        far = generator.uniform(*DRIFT)
        self.drift = far * np.cos(angle), far * np.sin(angle)
        self.growth = generator.uniform(*GROWTH)

    def box(self, time: float) -> Box:
        """The box, on the canvas."""
        swing = np.sin(np.pi / 2 * time)
        grown = _sides(self.start, 1 + (self.growth - 1) * swing)
        corners = []
        for axis in (0, 1):
            middle = (self.start[axis] + self.start[axis + 2]) / 2 + self.drift[axis] * swing
            half = grown[axis] / 2
            corners.append(min(max(middle, half), 1 - half) - half)
        x, y = (float(corner) for corner in corners)
        return x, y, x + grown[0], y + grown[1]


def _sides(box: Box, growth: float) -> tuple[float, float]:
    """Width and height of a box that is made larger, as far as the canvas allows."""
    width, height = box[2] - box[0], box[3] - box[1]
    growth = float(min(growth, 1 / width, 1 / height))
    return width * growth, height * growth


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
