"""Regions of the canvas: what the document says about one thing, by box, point, stroke or mask.

All coordinates are normalised: x to the right in [0, 1] of the canvas width, y down in [0, 1] of
its height, origin at the top left of the *unpadded* canvas. Boxes are `(x0, y0, x1, y1)`.
"""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from grounding.geometry import order_flaw
from grounding.jsonfile import describe
from grounding.part import Coordinate, Number, Part, Text, Whole, Xy

__all__ = [
    "MAX_SIDE",
    "Attribute",
    "Keypoint",
    "NormalizedBox",
    "Point",
    "Reference",
    "Region",
    "RleMask",
    "Stroke",
]

MAX_SIDE = 16384  # pixels; beyond this a mask or canvas is a mistake or an attack


def _ordered(
    box: tuple[float, float, float, float],
) -> tuple[float, float, float, float]:
    flaw = order_flaw(box)
    if flaw is not None:
        raise ValueError(flaw)
    return box


NormalizedBox = Annotated[
    tuple[Coordinate, Coordinate, Coordinate, Coordinate], AfterValidator(_ordered)
]
Ring = Annotated[tuple[Xy, ...], Field(min_length=3)]
Attribute = Text | bool | int | float
Sign = Annotated[Literal[0, 1], Field(description="1: belongs to the region; 0: does not.")]


class Point(Part):
    """A click: a place that belongs to the region, or (label 0) does not."""

    xy: Xy = Field(description="Normalised [x, y].")
    label: Sign = 1


class Stroke(Part):
    """A scribble along a polyline that belongs to the region, or (label 0) does not."""

    xy: Annotated[tuple[Xy, ...], Field(min_length=1, fail_fast=True)] = Field(
        description="Normalised vertices [[x, y], ...], joined in order."
    )
    width: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.02, description="Diameter of the brush as a fraction of the canvas's longer side."
    )
    label: Sign = 1


class Keypoint(Part):
    """A named landmark of the region, such as a joint."""

    xy: Xy = Field(description="Normalised [x, y].")
    name: Text | None = Field(
        default=None, description='Name of the landmark, such as "left_shoulder".'
    )
    visibility: Literal[0, 1, 2] = Field(
        default=2, description="As in COCO. 0: not labelled, 1: labelled but hidden, 2: visible."
    )


class RleMask(Part):
    """A bitmap in COCO's run-length encoding: column-major runs of 0s and 1s, zeros first."""

    size: tuple[
        Annotated[Whole, Field(ge=1, le=MAX_SIDE)], Annotated[Whole, Field(ge=1, le=MAX_SIDE)]
    ] = Field(description="[height, width] of the bitmap in pixels.")
    counts: str | tuple[Annotated[Whole, Field(ge=0)], ...] = Field(
        description="Run lengths: COCO's compressed text, or the plain list of numbers."
    )

    @model_validator(mode="after")
    def _covers_the_bitmap(self) -> Self:
        runs = self.runs()
        total, area = sum(runs), math.prod(self.size)
        if total != area or min(runs) < 0:
            raise ValueError(
                f"the mask's runs cover {total} pixels, its size {self.size[0]} x {self.size[1]} "
                f"has {area}; size is [height, width]"
            )
        return self

    def runs(self) -> list[int]:
        """Return the run lengths, zeros first, whichever way `counts` holds them.

        COCO's text packs each number into 6-bit characters from `0` on, 5 bits of value and one
        that says "more follows", and stores from the third run on the difference to the run two
        before (cocoapi, common/maskApi.c, rleToString).
        """
        if not isinstance(self.counts, str):
            return list(self.counts) or [0]
        runs: list[int] = []
        value = shift = 0
        more = False
        for character in self.counts:
            code = ord(character) - 48
            if not 0 <= code < 64 or shift > 40:
                raise ValueError(
                    f"the mask's counts hold {describe(character)}, which is not COCO's RLE"
                )
            value |= (code & 0x1F) << shift
            shift += 5
            more = bool(code & 0x20)
            if not more:
                value -= (1 << shift) if code & 0x10 else 0
                runs.append(value + (runs[-2] if len(runs) > 2 else 0))
                value = shift = 0
        if more:
            raise ValueError("the mask's counts end in the middle of a number; they were cut off")
        return runs or [0]


class Reference(Part):
    """Something elsewhere that the region should look like (a visual prompt)."""

    image: Text | None = Field(
        default=None,
        description="Path, URL or data URI of an image; absent: this document's own image.",
    )
    region: Text | None = Field(
        default=None,
        description="Id of a region in that image's document; absent: the whole image.",
    )

    @model_validator(mode="after")
    def _points_somewhere(self) -> Self:
        if self.image is None and self.region is None:
            raise ValueError("a reference needs an image, a region or both")
        return self


class Region(Part):
    """One thing on the canvas. Regions are told apart by id: two apples are two regions."""

    id: Text = Field(
        default="",
        max_length=128,
        description="Unique name in the document; absent: assigned as r1, r2, ... by position.",
    )
    phrase: Text = Field(default="", description='What it is, in words, such as "red apple".')
    box: NormalizedBox | None = Field(
        default=None, description="Normalised [x0, y0, x1, y1], x0 < x1, y0 < y1."
    )
    points: tuple[Point, ...] = Field(
        default=(), description="Clicks on it, or beside it (label 0)."
    )
    strokes: tuple[Stroke, ...] = Field(
        default=(), description="Scribbles on it, or beside it (label 0)."
    )
    polygon: tuple[Ring, ...] = Field(
        default=(),
        description="Its outline: rings of normalised [x, y]; the region is their union.",
    )
    mask: RleMask | None = Field(default=None, description="Its bitmap, over the whole canvas.")
    keypoints: tuple[Keypoint, ...] = Field(default=(), description="Its landmarks.")
    reference: Reference | None = Field(default=None, description="What it should look like.")
    audio: Text | None = Field(
        default=None, description="Path or URL of a recording that names it."
    )
    attributes: dict[Text, Attribute] = Field(
        default={}, description='Facts about it, such as {"color": "red"}.'
    )
    z: Whole = Field(default=0, description="Depth order: higher lies in front.")
    score: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None, description="Confidence of the model that found it, 0 to 1."
    )

    def bounds(self) -> tuple[float, float, float, float] | None:
        """Return the box, or the box around the polygon, or None; normalised xyxy.

        A mask's bounds need its bitmap: see `grounding.masks.region_box`.
        """
        if self.box is not None or not self.polygon:
            return self.box
        xs = [x for ring in self.polygon for x, _ in ring]
        ys = [y for ring in self.polygon for _, y in ring]
        return min(xs), min(ys), max(xs), max(ys)
