"""What each patch of a sticker scene shows: the truth that the embedded vision tower learns.

Axes: B pictures, G patches a side, N objects of a picture, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.stickers.scene import Box, Scene
from grounding.stickers.world import World

__all__ = ["NOTHING", "Cells", "cells_of"]

NOTHING = -100  # what PyTorch's cross entropy leaves out
SOLID = 0.3  # of a patch's pixels must be an object's, to make the patch the object's
NEAR = 0.5  # of an object's best patch must its middle one show


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What the patches of pictures show.

    Attributes:
        concepts: 0 for the background, i + 1 for concept i of the world.
        materials: 0 for none, i + 1 for material i; `NOTHING` on the background.
        backgrounds: Which background; `NOTHING` on objects.
        boxes: Normalised xyxy of the patch's object; zeros on the background.
        middles: 1 on one patch of every object, near its middle; else 0.
    """

    concepts: Int[Tensor, "B G G"]
    materials: Int[Tensor, "B G G"]
    backgrounds: Int[Tensor, "B G G"]
    boxes: Float[Tensor, "B G G 4"]
    middles: Float[Tensor, "B G G"]


def cells_of(
    scenes: Sequence[Scene], ids: Int[np.ndarray, "B H W"], world: World, grid: int
) -> Cells:
    """Say what the patches of scenes show.

    Args:
        scenes: Of the world.
        ids: Whose each pixel is: 0 the background's, i + 1 object i's.
        world: Numbers concepts, materials and backgrounds.
        grid: Patches a side; divides the sides of the pictures.
    """
    shape = (len(scenes), grid, grid)
    owners = np.zeros(shape, np.int64)
    middles = np.zeros(shape, np.float32)
    concepts, materials = np.zeros(shape, np.int64), np.full(shape, NOTHING)
    backgrounds, boxes = np.full(shape, NOTHING), np.zeros((*shape, 4), np.float32)
    for i, (scene, picture) in enumerate(zip(scenes, ids, strict=True)):
        owners[i], middles[i] = _owners(picture, [s.box for s in scene.stickers], grid)
        backgrounds[i][owners[i] == 0] = world.backgrounds.index(scene.background)
        for number, sticker in enumerate(scene.stickers, start=1):
            here = owners[i] == number
            concepts[i][here] = 1 + world.concepts.index(sticker.concept)
            named = sticker.material is not None
            materials[i][here] = 1 + world.materials.index(sticker.material) if named else 0
            boxes[i][here] = sticker.box
    return Cells(
        concepts=torch.from_numpy(concepts),
        materials=torch.from_numpy(materials),
        backgrounds=torch.from_numpy(backgrounds),
        boxes=torch.from_numpy(boxes),
        middles=torch.from_numpy(middles),
    )


def _owners(ids: np.ndarray, boxes: Sequence[Box], grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Whose each patch is [G, G], and which ones are the middles [G, G]."""
    side = ids.shape[0] // grid
    patches = ids.reshape(grid, side, grid, side).transpose(0, 2, 1, 3).reshape(grid, grid, -1)
    numbers = np.arange(1, len(boxes) + 1)
    shares = (patches[..., None] == numbers).mean(2)  # [G, G, N]
    owners = np.where(shares.max(-1) >= SOLID, 1 + shares.argmax(-1), 0)
    middles = np.zeros((grid, grid), np.float32)
    places = (np.arange(grid) + 0.5) / grid
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        share = shares[..., i]
        if not share.any():
            continue
        apart = np.hypot(places[:, None] - (y0 + y1) / 2, places[None] - (x0 + x1) / 2)
        apart[share < NEAR * share.max()] = np.inf
        place = np.unravel_index(apart.argmin(), apart.shape)
        owners[place], middles[place] = i + 1, 1
    return owners, middles
