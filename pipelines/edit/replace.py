"""Replace: draw another thing where one is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from grounding.part import Text
from grounding.region import Region
from pipelines.edit.hole import By, Filling
from pipelines.edit.newcomer import Newcomer
from pipelines.edit.outline import outline
from pipelines.edit.regions import outlined
from pipelines.edit.scene import Scene
from pipelines.edit.step import Feather, RegionStep, Seed, Steps
from pipelines.edit.studio import Studio

__all__ = ["Replace"]


class Replace(RegionStep):
    """Take a region away and draw another thing into its box."""

    do: Literal["replace"] = "replace"
    phrase: Annotated[Text, Field(min_length=1, description="What is drawn.")]
    whole: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Take the whole box from the drawing, not only the thing."
    )
    fill: By = Field(default="auto", description="What fills the hole: model, telea, or auto.")
    feather: Feather = 1
    seed: Seed = 0
    steps: Steps = None

    def edited(self, scene: Scene, region: Region, studio: Studio) -> Scene:
        """Replace one; it keeps its id and its place."""
        area = outline(region, scene, studio)
        there = outlined(region, area)
        filling = Filling(by=self.fill, seed=self.seed, steps=self.steps)
        ground, _ = filling(scene, region.id, area, studio)
        newcomer = Newcomer(
            region=Region(id=region.id, phrase=self.phrase, box=there.box, z=region.z),
            seed=self.seed,
            steps=self.steps,
            feather=self.feather,
            whole=self.whole,
        )
        kept = scene.selected
        after = newcomer.drawn(scene.changed(scene.document, ground), studio)
        said = f"replaced {region.id} {region.phrase}".rstrip() + f" by {self.phrase}"
        return after.changed(after.document, selected=kept, said=said)
