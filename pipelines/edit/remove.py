"""Remove: take a thing out of a picture, and show what may lie behind it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from grounding.region import Region
from pipelines.edit.hole import By, Filling
from pipelines.edit.outline import outline
from pipelines.edit.regions import captioned, setting, without
from pipelines.edit.scene import Scene
from pipelines.edit.step import RegionStep, Seed, Steps
from pipelines.edit.studio import Studio

__all__ = ["Remove"]


class Remove(RegionStep):
    """Take a region away."""

    do: Literal["remove"] = "remove"
    by: By = Field(default="auto", description="What fills the hole: model, telea, or auto.")
    seed: Seed = 0
    steps: Steps = None

    def edited(self, scene: Scene, region: Region, studio: Studio) -> Scene:
        """Remove one."""
        area = outline(region, scene, studio)
        filling = Filling(by=self.by, seed=self.seed, steps=self.steps)
        picture, how = filling(scene, region.id, area, studio)
        document = captioned(without(scene.document, region.id), setting(scene.document))
        said = f"removed {region.id} {region.phrase}".rstrip()
        return scene.changed(document, picture, said=f"{said}; the hole was {how}")
