"""Add: draw a new thing into a box."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from grounding.part import Text
from grounding.region import NormalizedBox, Region
from pipelines.edit.newcomer import Newcomer
from pipelines.edit.regions import free_id
from pipelines.edit.scene import Scene
from pipelines.edit.step import Feather, Seed, Step, Steps
from pipelines.edit.studio import Studio

__all__ = ["Add"]


class Add(Step):
    """Draw a thing where none was; it is selected then."""

    do: Literal["add"] = "add"
    phrase: Annotated[Text, Field(min_length=1, description="What is drawn.")]
    box: NormalizedBox
    whole: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Take the whole box from the drawing, not only the thing."
    )
    feather: Feather = 1
    seed: Seed = 0
    steps: Steps = None

    def __call__(self, scene: Scene, studio: Studio) -> Scene:
        """Add it."""
        name = free_id(scene.document)
        newcomer = Newcomer(
            region=Region(id=name, phrase=self.phrase, box=self.box),
            seed=self.seed,
            steps=self.steps,
            feather=self.feather,
            whole=self.whole,
        )
        after = newcomer.drawn(scene, studio)
        return after.changed(after.document, said=f"added {name} {self.phrase}")
