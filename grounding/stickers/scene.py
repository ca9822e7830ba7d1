"""A scene of stickers: what is where, and its picture with exact masks and boxes.

Boxes are normalised xyxy on the canvas, origin top left; images are uint8 [H, W, 3]; masks are
bool [H, W] and tell what is *visible* of each sticker.
"""

import dataclasses
import functools

import cv2
import numpy as np

from grounding.stickers.backgrounds import paint
from grounding.stickers.materials import TEXTURE, shade
from grounding.stickers.sheet import OPAQUE, sprite

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sticker:
    """One object of a scene; later stickers lie on top of earlier ones."""

    concept: str
    material: str | None
    style: str
    box: Box
    mirrored: bool = False

    @property
    def phrase(self) -> str:
        """What the sticker is called: "llama" or "lava llama"."""
        return f"{self.material} {self.concept}" if self.material else self.concept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A background and its stickers; ``seed`` decides the details that words do not."""

    background: str
    stickers: tuple[Sticker, ...]
    caption: str
    size: tuple[int, int]
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
    """A scene's picture.

    Attributes:
        image: uint8 [H, W, 3].
        masks: bool [N, H, W], the visible part of each sticker.
        boxes: float32 [N, 4], normalised xyxy around each sticker's opaque part (also where
            another sticker lies on top).
    """

    image: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray


def render(scene: Scene) -> Rendered:
    """Draw a scene: the same scene gives the same bits."""
    width, height = scene.size
    generator = np.random.default_rng([scene.seed, 1])
    image = paint(scene.background, scene.size, generator).astype(np.float32)
    masks = np.zeros((len(scene.stickers), height, width), bool)
    boxes = np.zeros((len(scene.stickers), 4), np.float32)
    for i, sticker in enumerate(scene.stickers):
        x0, y0, x1, y1 = _pixel_box(sticker.box, scene.size)
        colours, alpha = _shaded(sticker, (x1 - x0, y1 - y0), generator)
        place = image[y0:y1, x0:x1]
        place += alpha[..., None] * (colours - place)
        solid = alpha >= OPAQUE / 255
        masks[:, y0:y1, x0:x1] &= ~solid
        masks[i, y0:y1, x0:x1] = solid
        boxes[i] = (x0 / width, y0 / height, x1 / width, y1 / height)
    return Rendered(image=image.round().astype(np.uint8), masks=masks, boxes=boxes)


def _pixel_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    x0, y0 = round(box[0] * width), round(box[1] * height)
    return x0, y0, max(x0 + 1, round(box[2] * width)), max(y0 + 1, round(box[3] * height))


def _shaded(
    sticker: Sticker, size: tuple[int, int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A sticker's colours, float32 [h, w, 3] in [0, 255], and its alpha, float32 in [0, 1]."""
    colours, alpha, luminance = cut_out(sticker.concept, sticker.style, size)
    offset = generator.integers(TEXTURE, size=2)
    if sticker.mirrored:
        colours, alpha, luminance = (np.fliplr(a) for a in (colours, alpha, luminance))
    if sticker.material:
        surface = shade(luminance, sticker.material, (int(offset[0]), int(offset[1])))
        return surface.astype(np.float32), alpha
    return colours, alpha


def cut_out(
    concept: str, style: str, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sprite at a (width, height): colours in [0, 255], alpha and luminance in [0, 1]."""
    colours, alpha, luminance = (
        cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in _art(concept, style)
    )
    return colours, alpha, luminance


@functools.cache
def _art(concept: str, style: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sprite's colours, alpha and luminance, the last stretched over [0, 1] inside the sprite."""
    rgba = sprite(concept, style).astype(np.float32)
    colours, alpha = np.ascontiguousarray(rgba[..., :3]), rgba[..., 3] / 255
    solid = alpha >= OPAQUE / 255
    # Transparent pixels have no colour of their own: spread the mean, so that resizing does not
    # bleed black into the edges.
    colours[~solid] = colours[solid].mean(0)
    luminance = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    low, high = np.quantile(luminance[solid], (0.02, 0.98))
    luminance = np.clip((luminance - low) / max(float(high - low), 48.0), 0, 1)
    return colours, alpha, luminance
