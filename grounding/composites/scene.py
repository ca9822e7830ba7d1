"""A composite: things over stuff, seen by a camera, with every segment that a user may mean."""

import dataclasses
from typing import Final

import cv2
import numpy as np

from grounding.composites.art import Art
from grounding.composites.camera import defocus, photograph
from grounding.composites.grounds import draw_ground, shade_ground
from grounding.composites.segments import PlacedThing, Segment, find_segments
from grounding.composites.surfaces import log_uniform, shift_mean, weighted_mean
from grounding.composites.things import (
    OPAQUE,
    Cutout,
    Pose,
    draw_cutout,
    draw_pose,
    place,
    vary_pose,
)

__all__ = ["SIZE", "Composite", "render_composite"]

SIZE = 320
COUNTS: Final = {0: 2, 1: 9, 2: 14, 3: 18, 4: 18, 5: 15, 6: 11, 8: 9, 11: 4}  # things: weight
AREAS = (0.008, 0.3)  # of a thing's bounding square, as shares of the picture
LARGE, LARGE_AREAS = 0.75, (0.15, 1.8)  # how often one thing is large, and how large
STANDING = 0.6  # share of the things that stand on the ground
REPEATED, JOINED = 0.2, 0.35  # shares of the things that stand in a group, that have additions
COPIES = (2, 3, 4, 5, 7)
MIXED = 0.12  # share of a group's members that are other things
SHADOWS, PULLED = 0.55, 0.5  # shares of the cut-outs with a shadow, with colours of the ground
FEWEST_PIXELS = 4  # a side, of a cut-out on the picture


@dataclasses.dataclass(frozen=True)
class Composite:
    """A picture with exact segments.

    Attributes:
        image: RGB, uint8 [H, W, 3].
        ids: uint8 [H, W]: the smallest pieces (leaves), from 1; 0: not known, not to be asked
            about.
        segments: What a user may mean, each of leaves that show; no two of the same leaves.
    """

    image: np.ndarray
    ids: np.ndarray
    segments: tuple[Segment, ...]


def render_composite(art: Art, generator: np.random.Generator, size: int = SIZE) -> Composite:
    """Render a composite.

    Args:
        art: What it is made of.
        generator: Decides all of it.
        size: Pixels a side.
    """
    cv2.setNumThreads(1)  # worker processes share the cores
    scene = _Scene(art, size, generator)
    sides = sorted(_draw_sides(size, generator))
    focus = generator.random()
    for number, side in enumerate(sides):
        if number == len(sides) // 2 and focus < 0.25:  # what is behind is out of focus
            scene.colours = defocus(scene.colours, log_uniform(1, 6, generator))
        nearest = number == len(sides) - 1 and len(sides) > 1
        scene.add_thing(side, log_uniform(1, 5, generator) if nearest and focus > 0.92 else 0.0)
    if generator.random() < 0.6:
        scene.colours *= shade_ground(scene.colours.shape[:2], generator)
    if generator.random() < 0.15:  # haze, or an evening's colour over all
        goal = generator.uniform(0, 255, 3)
        scene.colours = shift_mean(scene.colours, goal, generator.uniform(0.1, 0.4))
    ids, segments = find_segments(scene.leaves, scene.things, scene.groups, scene.stuff)
    return Composite(photograph(scene.colours, generator), ids, segments)


def _draw_sides(size: int, generator: np.random.Generator) -> list[float]:
    """Longer sides of the things, in pixels."""
    weights = np.asarray(list(COUNTS.values())) / sum(COUNTS.values())
    count = int(generator.choice(list(COUNTS), p=weights))
    areas = [log_uniform(*AREAS, generator) for _ in range(count)]
    if count and generator.random() < LARGE:
        areas[0] = log_uniform(*LARGE_AREAS, generator)
    return [float(np.sqrt(area)) * size * generator.uniform(1, 1.3) for area in areas]


class _Scene:
    """A picture in the making: colours float32 [H, W, 3], leaves int16 [H, W]."""

    def __init__(self, art: Art, size: int, generator: np.random.Generator) -> None:
        ground = draw_ground(art, size, generator)
        self.art, self.generator, self.size = art, generator, size
        self.colours, self.leaves, self.horizon = ground.colours, ground.leaves, ground.horizon
        self.last = int(ground.leaves.max())
        self.stuff = [*ground.wholes, *([leaf] for leaf in range(1, self.last + 1))]
        self.things: list[PlacedThing] = []
        self.groups: list[list[PlacedThing]] = []
        self.light = generator.normal(0, 0.7)  # sideways shift of shadows per height

    def add_thing(self, side: float, blur: float) -> None:
        """Add one thing, several copies of it that stand together, or one with additions."""
        generator = self.generator
        cutout = draw_cutout(self.art, generator)
        pose = draw_pose(cutout, side, generator)
        extent = np.abs(pose.matrix) @ np.asarray(cutout.alpha.shape[::-1], float)
        centre = self._draw_centre(extent)
        if side < self.size * 0.45 and generator.random() < REPEATED:
            self._add_group(cutout, pose, centre, extent, side, blur)
            return
        leaves = self._paste(cutout, pose, centre, blur=blur)
        if leaves:
            thing = PlacedThing([leaves], cutout.source)
            self.things.append(thing)
            if generator.random() < JOINED and side > 35:
                self._join(thing, side, blur)

    def _draw_centre(self, extent: np.ndarray) -> np.ndarray:
        """Where a thing goes, (x, y): it stands on the ground, or is anywhere."""
        generator, size = self.generator, self.size
        x = generator.uniform(-0.1, 1.1) * size
        if generator.random() < STANDING:
            near = max(extent) / size * 0.8 + generator.normal(0, 0.25)
            level = max(self.horizon, 0.2)
            foot = (level + (1.1 - level) * np.clip(near, 0.02, 1)) * size
            return np.asarray([x, foot - extent[1] / 2])
        return np.asarray([x, generator.uniform(-0.05, 1.05) * size])

    def _add_group(
        self,
        cutout: Cutout,
        pose: Pose,
        centre: np.ndarray,
        extent: np.ndarray,
        side: float,
        blur: float,
    ) -> None:
        """Add copies in a row or a heap, those in front last."""
        generator = self.generator
        near, in_row = generator.uniform(0.55, 1.0), generator.random() < 0.5
        places = [centre]
        for number in range(1, int(generator.choice(COPIES))):
            if in_row:
                shift = np.asarray([near * number, generator.normal(0, 0.06)])
                places.append(centre + shift * extent)
            else:
                angle = generator.uniform(0, 2 * np.pi)
                shift = near * np.asarray([np.cos(angle), 0.6 * np.sin(angle)])
                places.append(places[number // 2] + shift * extent)
        group = []
        for at in sorted(places, key=lambda one: float(one[1])):
            member, seen = cutout, pose
            if generator.random() < MIXED:
                member = draw_cutout(self.art, generator)
                seen = draw_pose(member, side, generator)
            leaves = self._paste(member, vary_pose(seen, generator), at, blur=blur)
            if leaves:
                group.append(PlacedThing([leaves], member.source))
        self.things += group
        if len(group) > 1:
            self.groups.append(group)

    def _join(self, thing: PlacedThing, side: float, blur: float) -> None:
        """Join further cut-outs to a thing, within its outline or over it."""
        generator = self.generator
        for _ in range(int(generator.integers(1, 4))):
            rows, columns = np.nonzero(np.isin(self.leaves, thing.leaves))
            if len(rows) < 40:
                return
            at = int(generator.integers(len(rows)))
            part = draw_cutout(self.art, generator, small=True)
            pose = draw_pose(part, side * log_uniform(0.2, 0.8, generator), generator)
            within = thing.leaves if generator.random() < 0.4 else None
            centre = np.asarray([columns[at], rows[at]], float)
            leaves = self._paste(part, pose, centre, within=within, blur=blur)
            if leaves:
                thing.pieces.append(leaves)

    def _paste(
        self,
        cutout: Cutout,
        pose: Pose,
        centre: np.ndarray,
        *,
        within: list[int] | None = None,
        blur: float = 0.0,
    ) -> list[int]:
        """Paste a cut-out with its middle at (x, y).

        Returns:
            Its leaves, one for each part; none where it lies outside.
        """
        seen, parts = place(cutout, pose)
        if blur:
            seen, parts = _blur(seen, parts, blur)
        x, y = np.round(centre - np.asarray(parts.shape[::-1]) / 2).astype(int).tolist()
        rows = slice(max(0, y), min(self.size, y + parts.shape[0]))
        columns = slice(max(0, x), min(self.size, x + parts.shape[1]))
        if min(rows.stop - rows.start, columns.stop - columns.start) < FEWEST_PIXELS:
            return []
        if within is None and self.generator.random() < SHADOWS:
            self._cast_shadow(seen[..., 3], x, y)
        inside = np.s_[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        seen, parts, here = seen[inside], parts[inside], self.leaves[rows, columns]
        if within is not None:
            on = np.isin(here, within)
            seen, parts = seen * on[..., None], np.where(on, parts, 0)
        colours = self._pull(seen, self.colours[rows, columns])
        self.colours[rows, columns] *= 1 - seen[..., 3:]
        self.colours[rows, columns] += colours
        leaves = []
        for part in np.unique(parts[parts > 0]):
            self.last += 1
            here[parts == part] = self.last
            leaves.append(self.last)
        return leaves

    def _pull(self, seen: np.ndarray, ground: np.ndarray) -> np.ndarray:
        """Draw a thing's colours towards the ground's: hard contrasts are rare on photographs."""
        colours, alpha = seen[..., :3], seen[..., 3]
        if self.generator.random() > PULLED:
            return colours
        share = self.generator.uniform(0.15, 0.85)
        own = colours.sum((0, 1)) / max(float(alpha.sum()), 1e-3)
        goal = weighted_mean(ground, alpha + 1e-3)
        return np.maximum(colours + (goal - own) * share * alpha[..., None], 0)

    def _cast_shadow(self, alpha: np.ndarray, x: int, y: int) -> None:
        """Darken the ground: close by, or along it away from the light."""
        generator, height = self.generator, alpha.shape[0]
        flat = generator.uniform(0.15, 0.6) if generator.random() < 0.5 else 1.0
        skew = self.light * (1 - flat)
        down = height * (1 - flat) if flat < 1 else generator.normal(height * 0.04, 2)
        along = x + skew * height + generator.normal(0, 2)
        matrix = np.asarray([[1, -skew, along], [0, flat, y + down]], np.float32)
        shade = cv2.warpAffine(alpha, matrix, (self.size, self.size))
        shade = cv2.GaussianBlur(shade, (0, 0), log_uniform(0.8, 7, generator))
        self.colours *= 1 - generator.uniform(0.15, 0.65) * shade[..., None]


def _blur(seen: np.ndarray, parts: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Put a cut-out out of focus; its outline is where half of it still covers."""
    margin = int(np.ceil(radius)) + 1
    seen = defocus(np.pad(seen, ((margin, margin), (margin, margin), (0, 0))), radius)
    parts = np.pad(parts, margin)
    largest = int(np.bincount(parts[parts > 0], minlength=2).argmax()) if parts.any() else 1
    parts = np.where(parts > 0, parts, largest)
    return seen, np.where(seen[..., 3] > OPAQUE, parts, 0).astype(np.uint8)
