"""Grounds: the stuff that surrounds things: skies over land, rooms, patches, photographs."""

import dataclasses
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from grounding.composites.art import Art
from grounding.composites.surfaces import (
    adjust_colours,
    crop_photograph,
    draw_colour,
    draw_noise,
    fractal_noise,
    log_uniform,
    mean_colour,
    paint_surface,
    soft_step,
    tilt,
)

__all__ = ["Ground", "draw_ground"]

SMALLEST_REGION = 0.006  # share of the picture, of a photograph's region that may be asked about


@dataclasses.dataclass(frozen=True)
class Ground:
    """What lies behind all things.

    Attributes:
        colours: float32 [H, W, 3].
        leaves: int16 [H, W], from 1; 0: not known.
        wholes: Leaves that are one only together, as coarse regions are.
        horizon: Row, as a share of the height, from which things may stand.
    """

    colours: np.ndarray
    leaves: np.ndarray
    wholes: list[list[int]]
    horizon: float


def draw_ground(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """Draw the stuff of a picture of `size` x `size` pixels."""
    shares = dict(SHARES)
    if not len(art.photographs):
        shares[_take_regions] = shares[_take_photograph] = 0
    weights = np.asarray(list(shares.values()))
    draw = list(shares)[int(generator.choice(len(shares), p=weights / weights.sum()))]
    return draw(art, size, generator)


def _lay(
    colours: np.ndarray,
    leaves: np.ndarray,
    field: np.ndarray,
    surface: np.ndarray,
    softness: float,
) -> None:
    """Cover where a field is positive with another surface, as the next leaf."""
    colours += (surface - colours) * soft_step(field / softness)
    leaves[field > 0] = leaves.max() + 1


def _start(surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return surface.copy(), np.ones(surface.shape[:2], np.int16)


def _draw_plain(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """One surface, facing the eye or lying."""
    colours = paint_surface(art, (size, size), generator)
    horizon = generator.uniform(-0.2, 0.3)
    if generator.random() < 0.4:
        colours = tilt(colours, -0.2, 0, generator)
    return Ground(*_start(colours), [], horizon)


def _draw_land(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """Sky, then land behind land, each with a border of its own roughness."""
    colours, leaves = _start(_paint_sky(art, size, generator))
    y = np.mgrid[0:size, 0:size][0].astype(np.float32)
    layers = int(generator.choice([1, 2, 2, 3]))
    levels = np.sort(generator.uniform(0.12, 0.75, layers))
    for number, level in enumerate(levels):
        last = number == layers - 1
        surface = paint_surface(art, (size, size), generator)
        if last and generator.random() < 0.7:
            surface = tilt(surface, level, 0, generator)
        haze = (1 - number / layers) * generator.uniform(0, 0.5) if not last else 0
        surface = surface * (1 - haze) + mean_colour(colours) * haze
        field = y - level * size + _border(size, generator, 0.03 if last else 0.12)
        _lay(colours, leaves, field, surface, log_uniform(0.4, 2, generator))
    return Ground(colours, leaves, [], float(levels[-1]))


def _border(size: int, generator: np.random.Generator, swell: float) -> np.ndarray:
    """How far a border swings, in pixels: even, hilly or ragged as foliage is, float32 [H, W]."""
    kind = generator.random()
    if kind < 0.35:  # straight, and perhaps not level
        x = np.linspace(-0.5, 0.5, size, dtype=np.float32)[None]
        return np.repeat(x * size * generator.normal(0, 0.05), size, 0)
    roughness = generator.uniform(0.25, 0.55)
    line = fractal_noise((size, 8), size / 3, generator, roughness)[:1]
    field = np.repeat(line, size, 0) * size * swell * generator.uniform(0.3, 1.2)
    if kind < 0.7:
        return field
    return field + fractal_noise((size, size), log_uniform(8, 40, generator), generator, 0.7) * (
        size * generator.uniform(0.01, 0.06)
    )


def _paint_sky(art: Art, size: int, generator: np.random.Generator) -> np.ndarray:
    """A sky that pales towards the horizon, clear, with clouds or overcast; or any surface."""
    if generator.random() < 0.3:
        return paint_surface(art, (size, size), generator)
    top = np.asarray(
        generator.choice([(70, 120, 200), (110, 150, 210), (150, 170, 195)]), np.float32
    )
    low = np.asarray(
        generator.choice([(200, 215, 235), (225, 225, 225), (240, 210, 180)]), np.float32
    )
    blend = np.linspace(0, 1, size, dtype=np.float32)[:, None, None] ** generator.uniform(0.5, 1.5)
    colours = np.repeat(top * (1 - blend) + low * blend, size, 1)
    if generator.random() < 0.6:
        clouds = fractal_noise((size, size), size / generator.uniform(1.5, 5), generator, 0.55)
        clouds = (clouds - generator.uniform(-0.8, 1)) * generator.uniform(1, 6)
        white = np.float32(generator.uniform(170, 250))
        colours += (white - colours) * soft_step(clouds) * np.float32(generator.uniform(0.3, 1))
    return colours * np.float32(generator.uniform(0.5, 1.05))


def _draw_room(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """A wall over a floor, perhaps a corner and a ceiling; what hangs on it is stuff, too."""
    level = generator.uniform(0.35, 0.8)
    colours, leaves = _start(paint_surface(art, (size, size), generator))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    wholes: list[list[int]] = []
    if generator.random() < 0.4:  # a wall at the side
        side = int(generator.choice([1, 3]))
        wall = paint_surface(art, (size, size), generator)
        if generator.random() < 0.5:
            wall = colours * np.float32(generator.uniform(0.6, 0.9))
            wholes.append([1, 2])
        wall = tilt(wall, 0.3, side, generator)
        edge = generator.uniform(0.15, 0.45) * size
        field = edge - x if side == 1 else x - (size - edge)
        _lay(colours, leaves, field, wall, 0.5)
    slope = generator.normal(0, 0.08)
    bent = np.abs(x - generator.uniform(0, size)) * generator.uniform(0, 0.25)
    line = y - level * size + (x - size / 2) * slope - bent * (generator.random() < 0.4)
    floor = tilt(paint_surface(art, (size, size), generator), level - 0.15, 0, generator)
    _lay(colours, leaves, line, floor, log_uniform(0.4, 1.5, generator))
    if generator.random() < 0.3:  # a strip along the floor
        strip = np.minimum(line + size * generator.uniform(0.01, 0.05), -line)
        _lay(colours, leaves, strip, np.broadcast_to(draw_colour(generator), colours.shape), 0.5)
    for _ in range(int(generator.choice([0, 0, 1, 2, 3]))):  # pictures, windows, doors, rugs
        middle_x, middle_y = (
            generator.uniform(0.05, 0.95) * size,
            generator.uniform(0, level) * size,
        )
        half_x, half_y = (log_uniform(0.04, 0.25, generator) * size for _ in range(2))
        field = np.minimum(half_x - np.abs(x - middle_x), half_y - np.abs(y - middle_y))
        field = np.minimum(field, -line)
        if (field > 0).sum() < 80:
            continue
        if generator.random() < 0.6:  # a frame
            frame = np.broadcast_to(draw_colour(generator), colours.shape)
            _lay(colours, leaves, field, frame, 0.5)
            field = field - generator.uniform(1.5, 6)
            wholes.append([int(leaves.max()), int(leaves.max()) + 1])
        _lay(colours, leaves, field, paint_surface(art, (size, size), generator), 0.5)
    return Ground(colours, leaves, wholes, level)


def _draw_patches(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """Surfaces beside each other with borders of any shape."""
    colours, leaves = _start(paint_surface(art, (size, size), generator))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    for _ in range(int(generator.choice([1, 1, 2, 3]))):
        kind = generator.random()
        if kind < 0.4:
            angle = generator.uniform(0, 2 * np.pi)
            field = x * np.cos(angle) + y * np.sin(angle) - generator.uniform(-0.3, 0.3)
        elif kind < 0.8:
            field = 0.3 * draw_noise((size, size), size * generator.uniform(0.15, 0.45), generator)
            field = field + generator.uniform(-0.2, 0.1)
        else:
            radius = np.hypot(x - generator.uniform(-0.4, 0.4), y - generator.uniform(-0.4, 0.4))
            field = generator.uniform(0.15, 0.4) - radius
        rough = generator.choice([0, 0, 0.02, 0.05])
        if rough:
            cell = size / log_uniform(3, 25, generator)
            field = field + rough * fractal_noise((size, size), cell, generator, 0.65)
        surface = paint_surface(art, (size, size), generator)
        if generator.random() < 0.3:  # hardly another colour
            surface = surface + (mean_colour(colours) - mean_colour(surface)) * 0.85
        _lay(colours, leaves, field * size, surface, log_uniform(0.4, 3, generator))
    return Ground(colours, leaves, [], generator.uniform(-0.2, 0.3))


def _take_photograph(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """A piece of a photograph of which nothing is known."""
    photograph = art.photographs[int(generator.integers(len(art.photographs)))][..., :3]
    piece = crop_photograph(photograph, (size, size), (0.3, 1), generator)
    colours = adjust_colours(piece.astype(np.float32), generator, 0.6)
    return Ground(colours, np.zeros((size, size), np.int16), [], generator.uniform(0.1, 0.5))


def _take_regions(art: Art, size: int, generator: np.random.Generator) -> Ground:
    """A piece of a photograph with its own regions, fine ones and what they make up."""
    photograph = art.photographs[int(generator.integers(len(art.photographs)))]
    piece = crop_photograph(photograph, (size, size), (0.3, 1), generator)
    colours = adjust_colours(piece[..., :3].astype(np.float32), generator, 0.6)
    labels = piece[..., 3].astype(np.int16)
    coarse = piece[..., 4]
    counts = np.bincount(labels.ravel(), minlength=256)
    smallest = SMALLEST_REGION * size * size
    fine = {int(label) for label in np.flatnonzero(counts >= smallest)}
    leaves = np.zeros((size, size), np.int16)
    wholes = []
    number = 0
    for whole in np.unique(coarse):
        inside = coarse == whole
        if inside.sum() < smallest:
            continue
        within = [int(label) for label in np.unique(labels[inside])]
        big = [label for label in within if label in fine]
        kept = big[:6] if generator.random() < 0.5 else []
        mine = []
        for label in kept:
            number += 1
            mine.append(number)
            leaves[labels == label] = number
        rest = inside & ~np.isin(labels, kept)
        if rest.any():
            number += 1
            mine.append(number)
            leaves[rest] = number
        if len(mine) > 1:
            wholes.append(mine)
    return Ground(colours, leaves, wholes, generator.uniform(0.1, 0.5))


SHARES: Final[dict[Callable[[Art, int, np.random.Generator], Ground], float]] = {
    _draw_plain: 0.13,
    _draw_land: 0.26,
    _draw_room: 0.24,
    _draw_patches: 0.13,
    _take_regions: 0.12,
    _take_photograph: 0.12,
}


def shade_ground(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Uneven light over a picture, float32 [H, W, 1] about 1: slopes, pools and bands of shade."""
    height, width = shape
    light = draw_noise((width, height), max(shape) / generator.uniform(1, 2.5), generator)
    light = light * generator.uniform(0.05, 0.35)
    if generator.random() < 0.2:  # a shadow with a border, as of a tree or a roof
        field = fractal_noise((width, height), max(shape) / 2, generator, 0.4)
        field = (field - generator.uniform(0, 1)) * log_uniform(3, 30, generator)
        light = light - soft_step(field)[..., 0] * generator.uniform(0.2, 0.7)
    return np.exp(cv2.GaussianBlur(light.astype(np.float32), (0, 0), 1.0))[..., None]
