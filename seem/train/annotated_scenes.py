"""Pictures whose regions have outlines or masks, to learn from. Axes: H W pixels of a picture.

A pixel has one owner: where regions overlap, the one in front (`z`), else the smaller. Pictures
are kept no larger than they are looked at, as many as memory is given for.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import UInt8

from grounding.masks import region_bitmap
from grounding.picture_file import open_picture
from grounding.region import Region
from seem.train.crop import LARGEST_ZOOM, crop_square
from seem.train.scenes import Lexicon, Record

__all__ = ["MOST_REGIONS", "AnnotatedPicture", "AnnotatedScenes"]

MOST_REGIONS = 250  # of one picture: bytes say whose a pixel is, and a few are laid over it
MEMORY = 2**29  # bytes of pictures that are kept

Pair = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]


@dataclass(frozen=True, kw_only=True)
class AnnotatedPicture:
    """A picture and what is on it.

    Attributes:
        name: For reports.
        digest: sha256 of its file.
        read: Returns the bytes of its file.
        regions: With a polygon or a mask each, `MOST_REGIONS` at most.
        names: Of the regions; None: nothing that has a name.
    """

    name: str
    digest: str
    read: Callable[[], bytes]
    regions: tuple[Region, ...]
    names: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class AnnotatedScenes:
    """Annotated pictures as scenes (`seem.train.scenes.Scenes`).

    Attributes:
        pictures: At least one.
        size: Pixels of a side of the squares that are read.
    """

    pictures: Sequence[AnnotatedPicture]
    size: int
    _kept: dict[int, Pair] = field(default_factory=dict, repr=False, compare=False)

    @property
    def records(self) -> list[Record]:
        """What is known of each picture."""
        return [
            Record(background=None, concepts=one.names, materials=(None,) * len(one.names))
            for one in self.pictures
        ]

    @property
    def lexicon(self) -> Lexicon:
        """All names, in the order of the pictures."""
        names = dict.fromkeys(name for one in self.pictures for name in one.names if name)
        return Lexicon(concepts=tuple(names))

    def name(self, number: int) -> str:
        """The file of the picture."""
        return self.pictures[number].name

    def digest(self, number: int) -> str:
        """sha256 of the picture's file."""
        return self.pictures[number].digest

    def look(self, number: int) -> None:
        """Nothing: pictures were looked at as they were found."""

    def read(self, number: int, generator: np.random.Generator) -> Pair:
        """A random square of a picture at a random scale.

        Raises:
            PromptError: the picture cannot be read.
        """
        return crop_square(*self.whole(number), self.size, generator)

    def whole(self, number: int) -> Pair:
        """A picture, as large as it is looked at, and whose each pixel is. Raises as `read`."""
        if number not in self._kept:
            pair = self._open(self.pictures[number])
            if sum(map(_bytes, self._kept.values())) + _bytes(pair) > MEMORY:
                return pair
            self._kept[number] = pair
        return self._kept[number]

    def _open(self, picture: AnnotatedPicture) -> Pair:
        image = np.array(open_picture(io.BytesIO(picture.read())))
        height, width = image.shape[:2]
        scale = min(1.0, LARGEST_ZOOM * self.size / min(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return image, share_out(picture.regions, size)


def share_out(regions: Sequence[Region], size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """Whose each pixel is: 0 nobody's, i + 1 region i's.

    Args:
        regions: With a polygon or a mask each.
        size: (width, height) of the map.
    """
    owners = np.zeros(size[::-1], np.uint8)
    bitmaps = [region_bitmap(region, size) for region in regions]
    found = [
        (region.z, bitmap, i)
        for i, (region, bitmap) in enumerate(zip(regions, bitmaps, strict=True), 1)
        if bitmap is not None
    ]
    for _, bitmap, number in sorted(found, key=lambda item: (item[0], -int(item[1].sum()))):
        owners[bitmap] = number
    return owners


def _bytes(pair: Pair) -> int:
    return sum(part.nbytes for part in pair)
