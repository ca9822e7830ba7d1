"""Steps: what can be done to a scene. Each is data, and a pure function of scene and models."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from grounding.part import Part, Text, Whole
from grounding.region import Region
from pipelines.edit.scene import Scene
from pipelines.edit.studio import Studio

__all__ = ["Feather", "RegionStep", "Seed", "Step", "Steps"]

MAX_FEATHER = 256  # pixels
DRAWING_STEPS = 10_000  # as of `grounding.prompt.Sampling`

Seed = Annotated[Whole, Field(ge=0, lt=2**63, description="Of what is drawn.")]
Feather = Annotated[
    Whole, Field(ge=0, le=MAX_FEATHER, description="Pixels over which an edge fades, inside.")
]
Steps = Annotated[Whole, Field(ge=1, le=DRAWING_STEPS, description="Of denoising.")] | None


class Step(Part):
    """One edit. The same scene, step and models give the same scene, to the bit."""

    @abstractmethod
    def __call__(self, scene: Scene, studio: Studio) -> Scene:
        """Do it.

        Raises:
            LavallamaError: it cannot be done, in one line.
        """


class RegionStep(Step):
    """An edit of one region; of several that are selected, one after the other."""

    region: Text | None = Field(
        default=None, description="Id, or phrase if only one has it; absent: what is selected."
    )

    def __call__(self, scene: Scene, studio: Studio) -> Scene:
        """Edit each region."""
        said = []
        for chosen in scene.chosen(self.region):
            scene = self.edited(scene, scene.document.region(chosen.id), studio)
            said.append(scene.said)
        return scene.changed(scene.document, said="; ".join(said))

    @abstractmethod
    def edited(self, scene: Scene, region: Region, studio: Studio) -> Scene:
        """Edit one."""
