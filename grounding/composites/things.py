"""Things: cut-outs with a look of their own, made of one part or of several.

A thing is cut from art, from a photograph's region, or drawn as a plain shape; it may keep its
colours, or be filled with another surface and shaded as if it were round.
"""

import dataclasses
from typing import Final

import cv2
import numpy as np

from grounding.composites.art import Art
from grounding.composites.shapes import draw_shape
from grounding.composites.surfaces import (
    LUMA,
    adjust_colours,
    crop_photograph,
    fractal_noise,
    log_uniform,
    paint_surface,
)

__all__ = ["Cutout", "Pose", "draw_cutout", "draw_pose", "place"]

OPAQUE = 0.5  # alpha from which a pixel is the thing's
SHARES: Final = {"model": 0.6, "art": 0.12, "silhouette": 0.13, "piece": 0.08, "shape": 0.07}
LOOKS = 3  # in which art is seen
COMMON, OFTEN = 500, 0.4  # cut-outs that are met again and again, and how often one of them is
SAMPLES, CLUSTERS, ROUNDS = 600, 5, 6  # of the colours of a cut-out (k-means)
SMALLEST_PART, LARGEST_PART = 0.06, 0.85  # shares of a cut-out
MOST_PARTS = 4
PIECE = 160  # pixels a side of what a piece is cut from


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A thing by itself.

    Attributes:
        colours: float32 [H, W, 3] in [0, 255].
        alpha: float32 [H, W] in [0, 1].
        parts: uint8 [H, W], from 1; 0 where `alpha` is nothing.
        source: What it is cut from, and its look; the same words, the same thing.
    """

    colours: np.ndarray
    alpha: np.ndarray
    parts: np.ndarray
    source: str


@dataclasses.dataclass(frozen=True)
class Pose:
    """How a cut-out is seen.

    Attributes:
        matrix: [2, 2], from the cut-out's pixels to the picture's.
        bend: Noise that displaces it, in shares of its longer side.
        blur: Sigma of its edge and colours, in pixels.
        seed: Of the noise.
    """

    matrix: np.ndarray
    bend: float
    blur: float
    seed: int


def draw_cutout(art: Art, generator: np.random.Generator, *, small: bool = False) -> Cutout:
    """Draw a thing.

    Args:
        art: What there is.
        generator: Decides which, and its look.
        small: Whether it will be a part of another: it has no parts then.
    """
    shares = dict(SHARES)
    if not len(art.cutouts):
        shares["art"] = shares["silhouette"] = 0
    if not len(art.models):
        shares["model"] = 0
    if not len(art.photographs):
        shares["piece"] = 0
    weights = np.asarray(list(shares.values()))
    kind = str(generator.choice(list(shares), p=weights / weights.sum()))
    if kind == "model":
        number, look = int(generator.integers(len(art.models))), int(generator.integers(LOOKS))
        cutout = _from_model(art, number, look, generator)
    elif kind in ("art", "silhouette"):
        number = int(generator.integers(len(art.cutouts)))
        if generator.random() < OFTEN:
            number = int(np.random.default_rng(number % COMMON).integers(len(art.cutouts)))
        look = int(generator.integers(LOOKS))
        own = np.random.default_rng([number, look, kind == "art"])
        draw = _from_art if kind == "art" else _from_silhouette
        cutout = draw(art, art.cutouts[number], f"{kind}/{number}/{look}", own)
    elif kind == "piece":
        cutout = _from_photograph(art, generator)
    else:
        cutout = _from_shape(art, generator)
    if small:
        return dataclasses.replace(cutout, parts=(cutout.parts > 0).astype(np.uint8))
    return cutout


def _from_model(art: Art, number: int, look: int, generator: np.random.Generator) -> Cutout:
    """See a model from one of its sides, in its own surfaces or in others that its light falls on.

    A look is the same from all sides.
    """
    views = art.models[number]
    view = views[int(generator.integers(len(views)))]
    colours, alpha = view[..., :3].astype(np.float32), view[..., 3].astype(np.float32) / 255
    parts = view[..., 4]
    own = np.random.default_rng([number, look])
    if look and own.random() < 0.7:
        gray = colours @ LUMA
        side = max(alpha.shape)
        together = own.random() < 0.3
        for part in range(1, int(parts.max()) + 1):
            paint = np.random.default_rng([number, look, 0 if together else part])
            surface = paint_surface(art, (side, side), paint)[: alpha.shape[0], : alpha.shape[1]]
            mine = parts == part
            if mine.any() and (together or own.random() < 0.7):
                light = (gray + 25) / max(float(gray[mine].mean()) + 25, 1.0)
                colours = np.where(mine[..., None], surface * light[..., None], colours)
    strength = 0.5 if look else 0.15
    colours = adjust_colours(colours, own, strength)
    source = f"model/{number}/{look}"
    return Cutout(np.clip(colours, 0, 255).astype(np.float32), alpha, parts, source)


def _from_art(art: Art, picture: np.ndarray, source: str, generator: np.random.Generator) -> Cutout:
    colours, alpha = picture[..., :3].astype(np.float32), picture[..., 3].astype(np.float32) / 255
    parts = split_colours(colours, alpha, generator) if generator.random() < 0.6 else None
    if generator.random() < 0.6:  # flat art gets a grain
        size = (alpha.shape[1], alpha.shape[0])
        grain = paint_surface(art, size, generator) @ LUMA
        grain = (grain - grain.mean())[..., None] * generator.uniform(0.15, 0.8)
        colours = np.clip(colours + grain, 0, 255)
    colours = adjust_colours(colours, generator, 0.7)
    return _finish(colours, alpha, parts, source, generator)


def _from_silhouette(
    art: Art, picture: np.ndarray, source: str, generator: np.random.Generator
) -> Cutout:
    """Fill a silhouette, or each part of it, with other surfaces."""
    own, alpha = picture[..., :3].astype(np.float32), picture[..., 3].astype(np.float32) / 255
    size = (alpha.shape[1], alpha.shape[0])
    parts = split_colours(own, alpha, generator) if generator.random() < 0.5 else None
    colours = paint_surface(art, size, generator)
    if parts is not None:
        for part in range(2, int(parts.max()) + 1):
            cover = cv2.GaussianBlur((parts == part).astype(np.float32), (0, 0), 0.7)[..., None]
            colours = colours * (1 - cover) + paint_surface(art, size, generator) * cover
    kept = generator.choice([0, 0, 0.25, 0.5])
    colours = colours * (1 - kept) + own * kept
    return _finish(colours, alpha, parts, source, generator)


def _from_photograph(art: Art, generator: np.random.Generator) -> Cutout:
    """Cut a region out of a photograph."""
    for _ in range(4):
        number = int(generator.integers(len(art.photographs)))
        piece = crop_photograph(art.photographs[number], (PIECE, PIECE), (0.25, 0.9), generator)
        labels = piece[..., 3 + int(generator.random() < 0.4)]
        values, counts = np.unique(labels, return_counts=True)
        able = values[(counts > 0.03 * labels.size) & (counts < 0.7 * labels.size)]
        if len(able):
            alpha = (labels == generator.choice(able)).astype(np.float32)
            alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), 2.0) * 2 - 0.6, 0, 1)
            rows, columns = (
                np.flatnonzero((alpha > 0.1).any(1)),
                np.flatnonzero((alpha > 0.1).any(0)),
            )
            if len(rows) > 16 and len(columns) > 16:
                cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                colours = adjust_colours(piece[cut][..., :3].astype(np.float32), generator, 0.6)
                source = f"piece/{number}/{generator.integers(2**31)}"
                return _finish(colours, alpha[cut], None, source, generator)
    return _from_shape(art, generator)


def _from_shape(art: Art, generator: np.random.Generator) -> Cutout:
    """Draw a shape and cover its parts with surfaces."""
    alpha, parts, light = draw_shape(generator)
    size = (alpha.shape[1], alpha.shape[0])
    colours = paint_surface(art, size, generator)
    for part in range(2, int(parts.max()) + 1):
        if generator.random() < 0.4:
            colours = np.where(
                (parts == part)[..., None], paint_surface(art, size, generator), colours
            )
    source = f"shape/{generator.integers(2**31)}"
    return _finish(colours * light[..., None], alpha, parts, source, generator)


def _finish(
    colours: np.ndarray,
    alpha: np.ndarray,
    parts: np.ndarray | None,
    source: str,
    generator: np.random.Generator,
) -> Cutout:
    if generator.random() < 0.6:
        colours = colours * _relief(alpha, generator)[..., None]
    if parts is None:
        parts = np.ones(alpha.shape, np.uint8)
    parts = np.where(alpha > 0.02, parts, 0).astype(np.uint8)
    return Cutout(np.clip(colours, 0, 255).astype(np.float32), alpha, parts, source)


def _relief(alpha: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Light on a shape that swells towards its middle, float32 [H, W] about 1."""
    height, width = alpha.shape
    distance = cv2.distanceTransform((alpha > OPAQUE).astype(np.uint8), cv2.DIST_L2, 3)
    swell = np.sqrt(cv2.GaussianBlur(distance, (0, 0), max(1.0, max(height, width) / 30)) + 1)
    slope_y, slope_x = np.gradient(swell * generator.uniform(0.5, 3.0))
    angle = generator.normal(-np.pi / 2, 0.8)  # mostly from above
    lit = slope_x * -np.cos(angle) + slope_y * -np.sin(angle)
    ramp = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * generator.normal(0, 0.12)
    return np.exp(np.clip(-lit * generator.uniform(0.2, 1.0), -0.9, 0.9) * 0.7 + ramp)


def split_colours(
    colours: np.ndarray, alpha: np.ndarray, generator: np.random.Generator
) -> np.ndarray | None:
    """Split a cut-out into its large even areas.

    Args:
        colours: float32 [H, W, 3].
        alpha: float32 [H, W].
        generator: Decides where the search for the commonest colours begins (k-means).

    Returns:
        uint8 [H, W]: 1 what is left over, from 2 the areas; None: there are none.
    """
    inside = np.flatnonzero(alpha.ravel() > OPAQUE)
    if len(inside) < 400:
        return None
    flat = colours.reshape(-1, 3)
    sample = flat[generator.choice(inside, SAMPLES)]
    centres = sample[generator.choice(SAMPLES, CLUSTERS, replace=False)]
    for _ in range(ROUNDS):
        nearest = np.square(sample[:, None] - centres[None]).sum(2).argmin(1)
        centres = np.stack(
            [
                sample[nearest == i].mean(0) if (nearest == i).any() else centres[i]
                for i in range(CLUSTERS)
            ]
        )
    smooth = cv2.GaussianBlur(colours, (0, 0), 1.0).reshape(-1, 3)
    nearest = (-2 * smooth @ centres.T + np.square(centres).sum(1)).argmin(1)
    nearest = cv2.medianBlur(nearest.reshape(alpha.shape).astype(np.uint8), 5)
    found = []
    for cluster in range(CLUSTERS):
        mask = ((nearest == cluster) & (alpha > OPAQUE)).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        for i, area in enumerate(stats[1:, cv2.CC_STAT_AREA], 1):
            if SMALLEST_PART * len(inside) < area < LARGEST_PART * len(inside):
                found.append((int(area), labels == i))
    if not found:
        return None
    parts = np.ones(alpha.shape, np.uint8)
    found.sort(key=lambda one: -one[0])
    for number, (_, mask) in enumerate(found[:MOST_PARTS], 2):
        parts[mask] = number
    return parts


def draw_pose(cutout: Cutout, side: float, generator: np.random.Generator) -> Pose:
    """Draw how a cut-out is seen.

    Args:
        cutout: It.
        side: What its longer side becomes, in pixels.
        generator: Decides turn, shear, aspect and bend.
    """
    scale = side / max(cutout.alpha.shape)
    if generator.random() < 0.85:
        angle = generator.normal(0, 0.18)
    else:
        angle = generator.uniform(-np.pi, np.pi)
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    aspect = np.exp(generator.normal(0, 0.15))
    flip = -1 if generator.random() < 0.5 else 1
    shape = np.asarray([[aspect * flip, generator.normal(0, 0.1)], [0, 1 / aspect]])
    bend = generator.uniform(0, 0.05) if generator.random() < 0.5 else 0.0
    blur = log_uniform(0.3, 1.2, generator) if generator.random() < 0.7 else 0.0
    return Pose(turn @ shape * scale, bend, blur, int(generator.integers(2**31)))


def vary_pose(pose: Pose, generator: np.random.Generator, amount: float = 0.1) -> Pose:
    """Draw how a copy of the same thing beside it is seen."""
    angle = generator.normal(0, amount * 1.5)
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ pose.matrix * np.exp(generator.normal(0, amount))
    if generator.random() < 0.3:
        matrix = matrix @ np.diag([-1, 1])
    return dataclasses.replace(pose, matrix=matrix, seed=int(generator.integers(2**31)))


def place(cutout: Cutout, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """See a cut-out in a pose.

    Returns:
        Premultiplied colours and alpha, float32 [H, W, 4] in [0, 255] and [0, 1]; parts, uint8
        [H, W], 0 where alpha is below one half.
    """
    height, width = cutout.alpha.shape
    corners = np.asarray([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * (width / 2, height / 2)
    extent = np.ptp(corners @ pose.matrix.T, axis=0)
    w, h = (np.ceil(extent * (1 + 2 * pose.bend)) + 4).astype(int)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    x, y = x - (w - 1) / 2, y - (h - 1) / 2
    if pose.bend:
        noise = np.random.default_rng(pose.seed)
        size, cell = (int(w), int(h)), max(8.0, max(w, h) / 3)
        x = x + fractal_noise(size, cell, noise) * pose.bend * max(w, h) * 0.5
        y = y + fractal_noise(size, cell, noise) * pose.bend * max(w, h) * 0.5
    back = np.linalg.inv(pose.matrix).astype(np.float32)
    map_x = back[0, 0] * x + back[0, 1] * y + (width - 1) / 2
    map_y = back[1, 0] * x + back[1, 1] * y + (height - 1) / 2
    layers = np.dstack([cutout.colours * cutout.alpha[..., None], cutout.alpha])
    scale = float(np.sqrt(abs(np.linalg.det(pose.matrix))))
    if scale < 0.7:
        layers = cv2.GaussianBlur(layers, (0, 0), 0.4 / scale)
    map_x, map_y = map_x.astype(np.float32), map_y.astype(np.float32)
    seen = cv2.remap(layers, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    parts = cv2.remap(cutout.parts, map_x, map_y, cv2.INTER_NEAREST)
    if pose.blur:
        seen = cv2.GaussianBlur(seen, (0, 0), pose.blur)
    opaque = seen[..., 3] > OPAQUE
    if opaque.any():  # the blur may carry alpha to where no part is
        missing = opaque & (parts == 0)
        parts[missing] = np.bincount(parts[opaque], minlength=2)[1:].argmax() + 1
    return seen, np.where(opaque, parts, 0).astype(np.uint8)
