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
from grounding.geometry import Box, normalized_to_pixels
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from grounding.stickers.vocabulary import article

__all__ = ["Closeup"]

AROUND = 2.0  # sides of the window, in sides of the box
ARTICLES = ("a", "an", "the")

Pixels = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Closeup:
    """One region of a picture and what surrounds it.

    Attributes:
        plan: What the whole picture is to show.
        region: The one that is redrawn.
        scene: What lies behind everything, "on a beach"; "" where nothing is said.
        box: Its pixels, (x0, y0, x1, y1).
        window: What is cut out, of the picture's own shape.
    """

    plan: GroundedPrompt
    region: Region
    scene: str
    box: Pixels
    window: Pixels

    @classmethod
    def of(
        cls, plan: GroundedPrompt, name: str, size: tuple[int, int], scene: str = ""
    ) -> "Closeup":
        """Choose the window.

        Args:
            plan: Regions with boxes.
            name: Id of the one that is redrawn.
            size: (width, height) of the picture.
            scene: What lies behind everything.

        Raises:
            PromptError: there is no such region, or it has no box.
        """
        region = plan.region(name)
        bounds = region.bounds()
        if bounds is None:
            raise PromptError(f"the region {name!r} has no box in which it could be redrawn")
        x0, y0, x1, y1 = bounds
        share = min(1.0, AROUND * max(x1 - x0, y1 - y0))
        left = min(max((x0 + x1 - share) / 2, 0.0), 1 - share)
        top = min(max((y0 + y1 - share) / 2, 0.0), 1 - share)
        window = (left, top, left + share, top + share)
        return cls(
            plan=plan,
            region=region,
            scene=scene,
            box=_pixels(bounds, size),
            window=_pixels(window, size),
        )

    @property
    def document(self) -> GroundedPrompt:
        """What is drawn in the window: the region alone, in the scene of the plan."""
        left, top, right, bottom = self.window
        wide, high = right - left, bottom - top
        x0, y0, x1, y1 = self.box
        box = ((x0 - left) / wide, (y0 - top) / high, (x1 - left) / wide, (y1 - top) / high)
        phrase = self.region.phrase
        named = phrase if phrase.split(" ")[0] in ARTICLES else article(phrase)
        return self.plan.replace(
            prompt=f"{named} {self.scene}".rstrip(),
            regions=(self.region.replace(box=box, polygon=(), mask=None),),
            relations=(),
        )

    def cut(self, picture: Image.Image) -> Image.Image:
        """The window, at the size of the whole picture."""
        return picture.crop(self.window).resize(picture.size, Image.Resampling.LANCZOS)

    def put(self, drawn: Image.Image, picture: Image.Image) -> Image.Image:
        """The picture with the region as it was drawn in the window."""
        left, top, right, bottom = self.window
        small = drawn.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        x0, y0, x1, y1 = self.box
        new = np.array(picture)
        new[y0:y1, x0:x1] = np.asarray(small)[y0 - top : y1 - top, x0 - left : x1 - left]
        return Image.fromarray(new)


def _pixels(box: Box, size: tuple[int, int]) -> Pixels:
    x0, y0, x1, y1 = (round(edge) for edge in normalized_to_pixels(box, size))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
