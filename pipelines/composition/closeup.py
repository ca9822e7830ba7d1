"""Close-up: a region that is redrawn large, and put back.

What is small comes out wrong: a model draws it in a few latent cells. So what surrounds the region
is cut out and scaled to the whole canvas, the region is redrawn there, and shrunk into its place
("inpaint only masked" of stable-diffusion-webui, github.com/AUTOMATIC1111/stable-diffusion-webui).
Outside of the region's box every pixel stays as it is.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from grounding.errors import PromptError
from grounding.geometry import Box, CanvasMap, clip_xyxy
from grounding.masks import box_to_bitmap
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from grounding.stickers.vocabulary import article
from pipelines.window import window

__all__ = ["Closeup"]

ARTICLES = ("a", "an", "the")


@dataclass(frozen=True, kw_only=True)
class Closeup:
    """One region of a picture and what surrounds it.

    Attributes:
        plan: What the whole picture is to show.
        region: The one that is redrawn.
        box: Where it is.
        view: From the picture to what is cut out of it.
        scene: What lies behind everything, "on a beach"; "" where nothing is said.
    """

    plan: GroundedPrompt
    region: Region
    box: Box
    view: CanvasMap
    scene: str

    @classmethod
    def of(
        cls, plan: GroundedPrompt, name: str, size: tuple[int, int], scene: str = ""
    ) -> "Closeup":
        """Choose what is cut out.

        Args:
            plan: Regions with boxes.
            name: Id of the one that is redrawn.
            size: (width, height) of the picture.
            scene: What lies behind everything.

        Raises:
            PromptError: there is no such region, or it has no box.
        """
        region = plan.region(name)
        box = region.bounds()
        if box is None:
            raise PromptError(f"the region {name!r} has no box in which it could be redrawn")
        view = window(box, size, size, closeup=True)
        return cls(plan=plan, region=region, box=box, view=view, scene=scene)

    @property
    def document(self) -> GroundedPrompt:
        """What is drawn there: the region alone, in the scene of the plan."""
        phrase, box = self.region.phrase, clip_xyxy(self.view.normalized_box(self.box))
        named = phrase if phrase.split(" ")[0] in ARTICLES else article(phrase)
        return self.plan.replace(
            prompt=f"{named} {self.scene}".rstrip(),
            regions=(self.region.replace(box=box, polygon=(), mask=None),),
            relations=(),
        )

    def cut(self, picture: Image.Image) -> Image.Image:
        """The surroundings, at the size of the whole picture."""
        return picture.crop(self._edges).resize(picture.size, Image.Resampling.LANCZOS)

    def put(self, drawn: Image.Image, picture: Image.Image) -> Image.Image:
        """The picture with the region as it was drawn."""
        new = picture.copy()
        new.paste(drawn.resize(self.view.target, Image.Resampling.LANCZOS), self._edges)
        inside = box_to_bitmap(self.box, picture.size)
        return Image.fromarray(np.where(inside[..., None], np.asarray(new), np.asarray(picture)))

    @property
    def _edges(self) -> tuple[int, int, int, int]:
        left, top = (-int(offset) for offset in self.view.offset)
        return left, top, left + self.view.target[0], top + self.view.target[1]
