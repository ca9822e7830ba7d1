"""Recolour: give a thing another colour, pixel by pixel, or another material, drawn anew.

Axes: H x W pixels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import ImageColor
from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from grounding.jsonfile import describe
from grounding.part import Text
from grounding.planning.caption import read_phrase
from grounding.region import Region
from grounding.stickers.vocabulary import CONCEPTS
from pipelines.edit.matte import laid, matte
from pipelines.edit.outline import outline
from pipelines.edit.regions import captioned, outlined, setting, with_region
from pipelines.edit.repaint import Repainting
from pipelines.edit.scene import Scene
from pipelines.edit.step import Feather, RegionStep, Seed, Steps
from pipelines.edit.studio import Studio

__all__ = ["Recolour", "rephrased", "tinted"]

EPSILON = 1e-6  # in place of no shade at all


def _known(colour: str) -> str:
    try:
        ImageColor.getrgb(colour)
    except ValueError:
        raise ValueError(
            f"no colour is called {describe(colour)}: give a name such as teal, or #rrggbb; a "
            "material is said with of"
        ) from None
    return colour


Colour = Annotated[Text, AfterValidator(_known)]


class Recolour(RegionStep):
    """Tint a region's pixels with a colour, or draw it anew of a material."""

    do: Literal["recolour"] = "recolour"
    colour: Colour | None = Field(default=None, description="A CSS name, or #rrggbb.")
    material: Annotated[Text, Field(min_length=1)] | None = Field(
        default=None, description='Such as "ice".'
    )
    feather: Feather = 1
    seed: Seed = 0
    steps: Steps = None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.colour is None) == (self.material is None):
            raise ValueError("recolour with a colour, or of a material: one of the two")
        return self

    def edited(self, scene: Scene, region: Region, studio: Studio) -> Scene:
        """Recolour one; its outline stays."""
        area = outline(region, scene, studio)
        name, look = region.id, self.colour or self.material or ""
        kind = "colour" if self.colour is not None else "material"
        phrase = rephrased(region.phrase, look, kind)
        new = outlined(region, area).replace(
            phrase=phrase, score=None, attributes={**region.attributes, kind: look}
        )
        document = captioned(with_region(scene.document, new), setting(scene.document))
        if self.colour is not None:
            picture = tinted(scene.picture, area, self.colour)
        else:
            assert new.box is not None, "a region that is outlined has a box"
            picture = Repainting(
                prompt=document.prompt,
                phrase=phrase,
                box=new.box,
                seed=self.seed,
                sampling=document.sampling,
                steps=self.steps,
            )(scene.picture, studio)
        picture = laid(picture, scene.picture, matte(area, self.feather))
        return scene.changed(document, picture, said=f"{name} is now {phrase or look}")


def rephrased(phrase: str, look: str, kind: str) -> str:
    """A phrase with another look: "red lava llama", "ice" -> "ice llama".

    Args:
        phrase: A noun phrase; any other comes back as it is.
        look: The new colour or material; a colour in numbers is not said.
        kind: "colour" replaces colours; "material" materials and colours.
    """
    thing = read_phrase(phrase, CONCEPTS)
    if thing is None or look.startswith("#"):
        return phrase
    replaced = ("colour",) if kind == "colour" else ("colour", "material")
    kept = [word for of, word in thing.attributes if of not in replaced]
    words = (look, *kept) if kind == "colour" else (*kept, look)
    return " ".join((*words, thing.noun))


def tinted(
    picture: UInt8[np.ndarray, "H W 3"], area: Bool[np.ndarray, "H W"], colour: str
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture with one hue and saturation in an area; light and shade stay.

    Brightness is scaled, from black, down to the colour's mean; or up, from white, half-way to it,
    so that shade is left.

    Args:
        picture: RGB.
        area: not empty.
        colour: for `PIL.ImageColor`.
    """
    red, green, blue = (value / 255 for value in ImageColor.getrgb(colour)[:3])
    goal = np.array([[[red, green, blue]]], np.float32)
    hue, saturation, brightness = cv2.cvtColor(goal, cv2.COLOR_RGB2HSV)[0, 0].tolist()
    values = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    shade = values[area][:, 2]
    mean = float(shade.mean())
    if brightness < mean:
        shade = shade * (brightness / mean)
    else:
        shade = 1 - (1 - shade) * (1 - (mean + brightness) / 2) / max(1 - mean, EPSILON)
    values[area] = np.stack(
        (np.full_like(shade, hue), np.full_like(shade, saturation), shade), axis=-1
    )
    tint = np.rint(cv2.cvtColor(values, cv2.COLOR_HSV2RGB) * 255).clip(0, 255).astype(np.uint8)
    return np.where(area[..., None], tint, picture)
