"""Collages: stickers and nameless cut-outs, pasted over surfaces that are no sticker's.

They teach what "one thing" is where nothing is known: copy-paste (Ghiasi et al., "Simple Copy-Paste
is a Strong Data Augmentation Method for Instance Segmentation", arXiv 2012.07177) of the sprites'
silhouettes, and of smooth blobs, filled with `textures`. Axes as in `scene`.
"""

import dataclasses

import cv2
import numpy as np

from grounding.stickers.materials import shade
from grounding.stickers.scene import Rendered, cut_out
from grounding.stickers.sheet import OPAQUE
from grounding.stickers.textures import paint_texture
from grounding.stickers.vocabulary import CONCEPTS, MATERIALS, STYLES

__all__ = ["Collage", "Piece", "make_collage"]

SIDES = (0.15, 0.75)  # of a piece, as fractions of the canvas
MOST_PIECES = 5
NAMED, SHADED = 0.35, 0.3  # shares of the pieces that keep their art; that get a material
BLOBS = 0.4  # share of the nameless pieces that are blobs, not silhouettes
SOFT = 0.5  # share of the collages that are blurred or grainy as photographs are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """One cut-out.

    Attributes:
        concept: What it shows; None: nothing that has a name.
        material: What it is made of; None: its own art, or nothing that has a name.
        style: The art it is cut from.
    """

    concept: str | None
    material: str | None
    style: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collage:
    """A picture with exact masks, and what its pieces are, later ones on top."""

    rendered: Rendered
    pieces: tuple[Piece, ...]


def make_collage(seed: int, size: tuple[int, int]) -> Collage:
    """Make a collage: the same seed gives the same bits.

    Args:
        seed: Any integer >= 0.
        size: Canvas (width, height) in pixels.
    """
    generator = np.random.default_rng([seed, 2])
    width, height = size
    image = paint_texture(size, generator)
    count = int(generator.integers(1, MOST_PIECES + 1))
    masks = np.zeros((count, height, width), bool)
    boxes = np.zeros((count, 4), np.float32)
    pieces = []
    for i in range(count):
        side = generator.uniform(*SIDES) * min(size)
        w, h = (max(8, round(side * generator.uniform(0.6, 1))) for _ in range(2))
        x0, y0 = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
        piece, colours, alpha = _piece((w, h), generator)
        place = image[y0 : y0 + h, x0 : x0 + w]
        place += alpha[..., None] * (colours - place)
        solid = alpha >= OPAQUE / 255
        masks[:, y0 : y0 + h, x0 : x0 + w] &= ~solid
        masks[i, y0 : y0 + h, x0 : x0 + w] = solid
        boxes[i] = (x0 / width, y0 / height, (x0 + w) / width, (y0 + h) / height)
        pieces.append(piece)
    if generator.random() < SOFT:
        image = cv2.GaussianBlur(image, (0, 0), float(generator.uniform(0.4, 1.0)))
        image = image + generator.normal(0, generator.uniform(0, 8), image.shape)
    picture = np.clip(image, 0, 255).round().astype(np.uint8)
    return Collage(rendered=Rendered(image=picture, masks=masks, boxes=boxes), pieces=tuple(pieces))


def _piece(
    size: tuple[int, int], generator: np.random.Generator
) -> tuple[Piece, np.ndarray, np.ndarray]:
    """A piece, its colours [h, w, 3] in [0, 255], and its alpha [h, w] in [0, 1]."""
    concept = str(generator.choice(list(CONCEPTS)))
    style = str(generator.choice(STYLES))
    kind = generator.random()
    if kind >= NAMED + SHADED and generator.random() < BLOBS:
        nameless = Piece(concept=None, material=None, style=None)
        return nameless, paint_texture(size, generator), _blob(size, generator)
    colours, alpha, luminance = cut_out(concept, style, size)
    if generator.random() < 0.5:
        colours, alpha, luminance = (np.fliplr(a) for a in (colours, alpha, luminance))
    if kind < NAMED:
        return Piece(concept=concept, material=None, style=style), colours, alpha
    if kind < NAMED + SHADED:
        material = str(generator.choice(MATERIALS))
        offset = generator.integers(64, size=2)
        surface = shade(luminance, material, (int(offset[0]), int(offset[1])))
        return Piece(concept=concept, material=material, style=style), surface, alpha
    surface = paint_texture(size, generator)
    if generator.random() < 0.5:
        surface = surface * (0.5 + luminance[..., None])
    return Piece(concept=None, material=None, style=None), np.clip(surface, 0, 255), alpha


def _blob(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """The alpha of a smooth closed shape, float32 [h, w]."""
    width, height = size
    angles = 2 * np.pi * np.arange(64) / 64
    radius = np.ones(64)
    for wave in range(2, 6):
        swell = generator.uniform(0, 0.5) / wave
        radius += swell * np.sin(wave * angles + generator.uniform(0, 2 * np.pi))
    radius /= radius.max()
    corners = np.stack([np.cos(angles) * width, np.sin(angles) * height], 1) / 2
    corners = corners * radius[:, None] + (width / 2, height / 2)
    alpha = np.zeros((height, width), np.float32)
    cv2.fillPoly(alpha, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    return alpha
