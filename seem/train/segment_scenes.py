"""Pictures with segments to be asked about: parts, things, groups and stuff, nested or not.

Axes: H W a picture, S S a view of it as the model sees it, n segments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from seem.marks import around

__all__ = ["CompositeScenes", "Kind", "Segment", "SegmentScenes", "View", "take_view"]

Kind = Literal["part", "thing", "group", "stuff"]

LEAST, MOST = 0.004, 0.85  # of a view's pixels: segments that can be asked about
CLOSE = 0.4  # share of the views that look closely at one segment, as a box or a second click does
WHOLE = 0.25  # share of all others that show the whole picture
SMALLEST_CROP = 0.4  # of the side; the rest shows less
NARROWEST = 40  # pixels of a close view
GRAY, TINTED = 0.1, 0.7  # shares of the views
WEIGHTS = {"thing": 1.0, "stuff": 0.6, "part": 0.2, "group": 0.5}  # how often each is meant


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Something that a prompt may mean.

    Attributes:
        pieces: The numbers that its pixels have in the picture's map.
        kind: What it is.
    """

    pieces: tuple[int, ...]
    kind: Kind


class SegmentScenes(Protocol):
    """Pictures to learn from."""

    def __len__(self) -> int: ...  # noqa: D105

    def read(
        self, number: int
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"], Sequence[Segment]]:
        """A picture, the number of each pixel's piece (0: nothing is known of it), its segments."""
        ...


@dataclass(frozen=True)
class CompositeScenes:
    """Composites of a store (`grounding.composites.store.open_composites`), or some of them.

    Attributes:
        arrays: "images" uint8 [N, H, W, 3] and "ids" uint8 [N, H, W].
        records: Of each its segments, as JSON has them.
        numbers: Those that are read.
    """

    arrays: Mapping[str, np.ndarray]
    records: Sequence[Mapping[str, Any]]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray, list[Segment]]:
        """One of them."""
        index = self.numbers[number]
        segments = [
            Segment(pieces=tuple(each["leaves"]), kind=each["kind"])
            for each in self.records[index]["segments"]
        ]
        return self.arrays["images"][index], self.arrays["ids"][index], segments


@dataclass(frozen=True, kw_only=True)
class View:
    """A part of a picture as the model sees it.

    Attributes:
        image: Its pixels.
        masks: Of the segments that can be asked about.
        weights: How often each should be, of sum 1.
        numbers: Their numbers among the picture's segments.
    """

    image: UInt8[np.ndarray, "S S 3"]
    masks: Bool[np.ndarray, "n S S"]
    weights: np.ndarray
    numbers: tuple[int, ...]


def take_view(
    image: UInt8[np.ndarray, "H W 3"],
    pieces: UInt8[np.ndarray, "H W"],
    segments: Sequence[Segment],
    size: int,
    generator: np.random.Generator,
    *,
    holding: int | None = None,
) -> View | None:
    """Crop, mirror and tint a picture at random.

    Args:
        image: The picture.
        pieces: Its map.
        segments: What may be asked about.
        size: Pixels of the view's side, S.
        generator: Decides everything else.
        holding: A segment to look at closely; None: any, or none.

    Returns:
        The view; None: it holds nothing that can be asked about.
    """
    left, top, side = _window(pieces, segments, generator, holding)
    rows, columns = slice(top, top + side), slice(left, left + side)
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    seen = cv2.resize(image[rows, columns], (size, size), interpolation=way)
    map_ = cv2.resize(pieces[rows, columns], (size, size), interpolation=cv2.INTER_NEAREST)
    if generator.random() < 0.5:
        seen, map_ = seen[:, ::-1], map_[:, ::-1]
    found = []
    for number, segment in enumerate(segments):
        mask = np.isin(map_, segment.pieces)
        share = float(mask.mean())
        if LEAST < share < MOST:
            found.append((number, mask, np.sqrt(share) * WEIGHTS[segment.kind]))
    if not found:
        return None
    numbers, masks, weights = zip(*found, strict=True)
    return View(
        image=_tinted(seen, generator),
        masks=np.stack(masks),
        weights=np.array(weights) / np.sum(weights),
        numbers=numbers,
    )


def _window(
    pieces: np.ndarray,
    segments: Sequence[Segment],
    generator: np.random.Generator,
    holding: int | None,
) -> tuple[int, int, int]:
    """Left, top and side of a square to look at."""
    height, width = pieces.shape
    whole = min(height, width)
    if holding is None and segments and generator.random() < CLOSE:
        counts = np.bincount(pieces.ravel(), minlength=256)
        weights = np.array(
            [np.sqrt(counts[list(s.pieces)].sum()) * WEIGHTS[s.kind] for s in segments]
        )
        if weights.any():
            holding = int(generator.choice(len(segments), p=weights / weights.sum()))
    if holding is not None:
        mask = np.isin(pieces, segments[holding].pieces)
        if mask.any():
            x0, y0, x1, y1 = around(mask)
            side = max(x1 - x0, y1 - y0) * generator.uniform(1.1, 2.0)
            side = int(np.clip(side, NARROWEST, whole))
            middle = np.array([x0 + x1, y0 + y1]) / 2 + generator.normal(0, 0.05 * side, 2)
            left, top = np.clip(middle - side / 2, 0, (width - side, height - side)).astype(int)
            return int(left), int(top), side
    side = whole
    if generator.random() >= WHOLE:
        side = int(whole * np.exp(generator.uniform(np.log(SMALLEST_CROP), 0)))
    left, top = generator.integers(width - side + 1), generator.integers(height - side + 1)
    return int(left), int(top), side


def _tinted(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The picture in other light, or without colours."""
    if generator.random() < TINTED:
        gamma = np.exp(generator.normal(0, 0.3))
        gains = np.exp(generator.normal(0, 0.12, 3))
        levels = np.arange(256)[:, None] / 255
        table = (255 * levels**gamma * gains).clip(0, 255).astype(np.uint8)
        image = cv2.LUT(np.ascontiguousarray(image), table[None])
    if generator.random() < GRAY:
        image = np.repeat(image.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    return np.ascontiguousarray(image)
