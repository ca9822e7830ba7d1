"""What is drawn on images, as planes that a convolutional network reads beside their features.

Axes: P prompts (one object each), h w the mask map (stride 4 of the padded image).

As in interactive segmentation (Sofiiuk et al., arXiv 2102.06583, section 3): a click is a disc,
here a narrow and a wide one, a box a filled rectangle, a stroke or a mask its own picture, and the
last answer comes back as a plane of probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from grounding.geometry import Box
from grounding.masks import strokes_to_bitmap
from seem.marks import Marks
from seem.preprocess import ImageSize

__all__ = ["PLANES", "MarkPlanes", "mark_planes"]

STRIDE = 4  # of the mask map
NARROW, WIDE = 1.0, 5.0  # deviations of a click's two discs, in cells
PLANES = 11
MIDDLE = 0.2  # deviation of the middle of a box, in sides
OUTSIDE_BOX = 0.02  # weights of a pixel as an example of what does not belong to the object,
INSIDE_PREVIOUS, OUTSIDE_PREVIOUS = 0.02, 0.004  # beside a click's of about 1


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkPlanes:
    """The planes of some prompts.

    Attributes:
        planes: [P, 11, h, w]: positive clicks (narrow, wide), negative clicks (narrow, wide), box,
            whether there is a box, positive strokes, negative strokes, last answer (less a half),
            whether there was one, whether nothing is drawn (a reference image shows the object).
        positive: How much each cell is an example of the object, [P, 1, h, w].
        negative: The same of what does not belong to it.
    """

    planes: Float[Tensor, "P 11 h w"]
    positive: Float[Tensor, "P 1 h w"]
    negative: Float[Tensor, "P 1 h w"]

    def to(self, device: torch.device) -> "MarkPlanes":
        """The same on a device."""
        return MarkPlanes(
            planes=self.planes.to(device),
            positive=self.positive.to(device),
            negative=self.negative.to(device),
        )


def mark_planes(
    marks: Sequence[Marks], size: ImageSize, previous: Float[Tensor, "P h w"] | None = None
) -> MarkPlanes:
    """Paint the marks of some objects of one image, or of images of one size.

    Args:
        marks: Of each object; none: it is shown on a reference image.
        size: Of the image, or images.
        previous: The last answers' probabilities; None: nothing was answered yet.
    """
    painted = [
        _paint(each, size, None if previous is None else previous[number].numpy(force=True))
        for number, each in enumerate(marks)
    ]
    stacked = torch.from_numpy(np.stack(painted))
    return MarkPlanes(
        planes=stacked[:, :PLANES],
        positive=stacked[:, PLANES : PLANES + 1],
        negative=stacked[:, PLANES + 1 :],
    )


def _paint(marks: Marks, size: ImageSize, previous: np.ndarray | None) -> np.ndarray:
    """One object's planes, then its positive and its negative weights, float32."""
    height, width = (side // STRIDE for side in size.padded)
    high, wide = (side / STRIDE for side in size.image)
    planes = np.zeros((PLANES + 2, height, width), np.float32)
    positive, negative = planes[PLANES], planes[PLANES + 1]
    for point in marks.points:
        place = point.xy[0] * wide, point.xy[1] * high
        first = 0 if point.label else 2
        for plane, deviation in ((planes[first], NARROW), (planes[first + 1], WIDE)):
            np.maximum(plane, _disc(plane.shape, place, (deviation, deviation)), out=plane)
    positive += planes[0]
    negative += planes[2]
    for label, plane in ((1, planes[6]), (0, planes[7])):
        if bitmap := _drawn(marks, size, label):
            plane += bitmap[0]
    positive += planes[6]
    negative += planes[7]
    if marks.box is not None:
        planes[4] = _coverage(marks.box, (high, wide), planes.shape[1:])
        planes[5] = 1
        negative += (1 - planes[4]) * OUTSIDE_BOX
        if not positive.any() and previous is None:
            x0, y0, x1, y1 = (v * s for v, s in zip(marks.box, (wide, high) * 2, strict=True))
            spread = max(0.6, MIDDLE * (x1 - x0)), max(0.6, MIDDLE * (y1 - y0))
            positive += _disc(positive.shape, ((x0 + x1) / 2, (y0 + y1) / 2), spread)
    if previous is not None:
        planes[8] = previous - 0.5
        planes[9] = 1
        positive += INSIDE_PREVIOUS * (previous > 0.5)
        negative += OUTSIDE_PREVIOUS * (previous < 0.5)
    planes[10] = not marks
    return planes


def _disc(
    shape: tuple[int, ...], place: tuple[float, float], spread: tuple[float, float]
) -> np.ndarray:
    """A Gaussian of height 1 around (x, y), in cells."""
    (high, wide), (x, y), (across, down) = shape, place, spread
    column = np.exp(-(((np.arange(high) + 0.5 - y) / down) ** 2) / 2)
    row = np.exp(-(((np.arange(wide) + 0.5 - x) / across) ** 2) / 2)
    return np.outer(column, row).astype(np.float32)


def _coverage(box: Box, scale: tuple[float, float], shape: tuple[int, ...]) -> np.ndarray:
    """How much of each cell lies in a box."""
    parts = []
    for axis in (1, 0):
        low, high = box[axis] * scale[1 - axis], box[axis + 2] * scale[1 - axis]
        cells = np.arange(shape[1 - axis])
        parts.append((np.minimum(cells + 1, high) - np.maximum(cells, low)).clip(0, 1))
    return np.outer(*parts).astype(np.float32)


def _drawn(marks: Marks, size: ImageSize, label: int) -> tuple[np.ndarray] | tuple[()]:
    """What strokes, and for label 1 a mask, cover of each cell; nothing if there are none."""
    height, width = size.image
    strokes = [stroke for stroke in marks.strokes if stroke.label == label]
    mask = marks.mask if label else None
    if not strokes and mask is None:
        return ()
    painted = strokes_to_bitmap(strokes, (width, height), label=label).astype(np.float32)
    if mask is not None:
        resized = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        painted = np.maximum(painted, resized)
    padded = np.zeros(size.padded, np.float32)
    padded[:height, :width] = painted
    cells = padded.reshape(size.padded[0] // STRIDE, STRIDE, size.padded[1] // STRIDE, STRIDE)
    return (cells.mean((1, 3)),)
