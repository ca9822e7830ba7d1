"""Move: cut a thing out, fill the hole, and lay it down elsewhere.

Axes: H x W pixels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Shaped
from pydantic import Field, model_validator
from typing_extensions import Self

from grounding.errors import PromptError
from grounding.geometry import Box
from grounding.masks import bitmap_to_box
from grounding.part import Number, Xy
from grounding.region import Region
from pipelines.edit.hole import By, Filling
from pipelines.edit.matte import laid, matte
from pipelines.edit.outline import outline
from pipelines.edit.regions import captioned, outlined, setting, uncovered, with_region
from pipelines.edit.repaint import Repainting
from pipelines.edit.scene import Scene
from pipelines.edit.step import Feather, RegionStep, Seed, Steps
from pipelines.edit.studio import Studio

__all__ = ["Move"]

Shift = Annotated[Number, Field(ge=-1, le=1)]
Share = Annotated[Number, Field(gt=0, le=1)]


class Move(RegionStep):
    """Move a region by fractions of the picture, or its middle to a place."""

    do: Literal["move"] = "move"
    by: tuple[Shift, Shift] | None = Field(default=None, description="[right, down].")
    to: Xy | None = Field(default=None, description="Where the middle of its box goes.")
    fill: By = Field(default="auto", description="What fills the hole: model, telea, or auto.")
    feather: Feather = 1
    harmonise: Share | None = Field(
        default=None, description="Draw this share of it anew at its new place; absent: nothing."
    )
    seed: Seed = 0
    steps: Steps = None

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if (self.by is None) == (self.to is None):
            raise ValueError("a move says by how much, or to where: one of the two")
        return self

    def edited(self, scene: Scene, region: Region, studio: Studio) -> Scene:
        """Move one."""
        area = outline(region, scene, studio)
        right, down = self._pixels(bitmap_to_box(area), scene.size)
        placed = _shifted(area, right, down)
        if not placed.any():
            raise PromptError(f"{region.id} would leave the picture: move it less far")
        filling = Filling(by=self.fill, seed=self.seed, steps=self.steps)
        ground, how = filling(scene, region.id, area, studio)
        share = _shifted(matte(area, self.feather), right, down)
        picture = laid(_shifted(scene.picture, right, down), ground, share)
        moved = outlined(region, placed).replace(score=None)
        document = uncovered(with_region(scene.document, moved), placed, region.id)
        document = captioned(document, setting(scene.document))
        if self.harmonise is not None:
            assert moved.box is not None, "a region that is outlined has a box"
            drawing = Repainting(
                prompt=document.prompt,
                phrase=region.phrase,
                box=moved.box,
                seed=self.seed,
                sampling=document.sampling,
                steps=self.steps,
                strength=self.harmonise,
            )
            picture = laid(drawing(picture, studio), picture, matte(placed, self.feather))
        said = f"moved {region.id} {region.phrase}".rstrip()
        said = f"{said} by {right},{down} pixels; the hole was {how}"
        return scene.changed(document, picture, said=said)

    def _pixels(self, box: Box | None, size: tuple[int, int]) -> tuple[int, int]:
        """(right, down) in pixels."""
        assert box is not None, "an outline is not empty"
        by = self.by
        if by is None:
            assert self.to is not None, "a move says by how much, or to where"
            by = self.to[0] - (box[0] + box[2]) / 2, self.to[1] - (box[1] + box[3]) / 2
        return round(by[0] * size[0]), round(by[1] * size[1])


def _shifted(values: Shaped[np.ndarray, "H W ..."], right: int, down: int) -> np.ndarray:
    """An array moved by whole pixels; what comes in is 0, what goes out is lost."""
    height, width = values.shape[:2]
    result = np.zeros_like(values)
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    top, left = max(0, down), max(0, right)
    source = values[max(0, -down) :][:rows, max(0, -right) :][:, :columns]
    result[top : top + rows, left : left + columns] = source
    return result
