"""Bitmaps and what else can describe an area: run lengths, polygons, strokes, boxes.

A bitmap is a NumPy array of bools, axes `[height, width]`, over the whole canvas. Sizes are
`(width, height)`. Coordinates are normalised; the centre of pixel i lies at `(i + 0.5) / side`.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image

from grounding.errors import GeometryError
from grounding.geometry import Box, Size
from grounding.prompt import Region, RleMask, Stroke

__all__ = [
    "bitmap_to_box",
    "bitmap_to_polygon",
    "bitmap_to_rle",
    "bitmap_to_strokes",
    "box_to_bitmap",
    "picture_to_bitmap",
    "polygon_to_bitmap",
    "region_bitmap",
    "region_box",
    "rle_to_bitmap",
    "strokes_to_bitmap",
]

SUBPIXEL_BITS = 8  # OpenCV takes vertices as fixed-point numbers
NUMERIC_MODES = ("1", "L", "I", "F")  # of Pillow: one number a pixel; there is "I;16" too
THINNING_SIDE = 192  # pixels; a centre line needs no more

Ring = Sequence[tuple[float, float]]


def bitmap_to_rle(bitmap: np.ndarray, *, compressed: bool = True) -> RleMask:
    """Encode a bitmap `[height, width]` as COCO's run lengths, as text or as numbers."""
    bitmap = _checked(bitmap)
    height, width = bitmap.shape
    if compressed:
        from pycocotools import mask as coco

        counts = coco.encode(np.asfortranarray(bitmap, dtype=np.uint8))["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        return RleMask(size=(height, width), counts=text)
    flat = bitmap.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return RleMask(size=(height, width), counts=tuple([0] * bool(flat[0]) + runs))


def rle_to_bitmap(mask: RleMask) -> np.ndarray:
    """Decode run lengths into a bitmap `[height, width]`."""
    runs = mask.runs()
    values = np.arange(len(runs)) % 2 == 1
    height, width = mask.size
    return np.repeat(values, runs).reshape((height, width), order="F")


def picture_to_bitmap(picture: Image.Image) -> np.ndarray:
    """Read a picture of a mask: every pixel that is not black counts, however dark it is.

    Args:
        picture: Of any mode. Where pixels are places in a palette their colours count, not their
            numbers; transparency does not count.

    Returns:
        Bools `[height, width]`.
    """
    if picture.mode not in NUMERIC_MODES and not picture.mode.startswith("I;"):
        picture = picture.convert("RGB")
    values = np.asarray(picture) != 0
    return values if values.ndim == 2 else values.any(-1)


def polygon_to_bitmap(rings: Iterable[Ring], size: Size) -> np.ndarray:
    """Fill the union of rings; pixels whose centre lies inside or that the outline crosses."""
    width, height = size
    bitmap = np.zeros((height, width), np.uint8)
    for ring in rings:
        vertices = np.asarray(ring, np.float64) * (width, height) - 0.5
        fixed = np.rint(vertices * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(bitmap, [fixed], (1,), shift=SUBPIXEL_BITS)
    return bitmap.astype(bool)


def bitmap_to_polygon(
    bitmap: np.ndarray, *, tolerance: float = 0.0
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Trace the outer outlines, one ring per connected part, through the centres of edge pixels.

    Without tolerance, `polygon_to_bitmap` restores every bitmap that has no holes; holes are
    filled, since a region's polygon is a union.

    Args:
        bitmap: bools `[height, width]`.
        tolerance: how far the outline may move, in pixels, to need fewer vertices.
    """
    bitmap = _checked(bitmap)
    height, width = bitmap.shape
    contours, _ = cv2.findContours(
        bitmap.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    rings: list[tuple[tuple[float, float], ...]] = []
    for contour in contours:
        if tolerance > 0:
            contour = cv2.approxPolyDP(contour, tolerance, True)
        ring = [
            ((float(x) + 0.5) / width, (float(y) + 0.5) / height) for x, y in contour.reshape(-1, 2)
        ]
        ring += [ring[-1]] * (3 - len(ring))  # a pixel or a line is a ring without area
        rings.append(tuple(ring))
    return tuple(rings)


def strokes_to_bitmap(strokes: Iterable[Stroke], size: Size, *, label: int = 1) -> np.ndarray:
    """Paint the strokes of one label with a round brush, at least one pixel wide."""
    width, height = size
    bitmap = np.zeros((height, width), np.uint8)
    scale = 2**SUBPIXEL_BITS
    for stroke in strokes:
        if stroke.label != label:
            continue
        brush = max(1, round(stroke.width * max(size)))
        vertices = np.asarray(stroke.xy, np.float64) * (width, height) - 0.5
        fixed = np.rint(vertices * scale).astype(np.int32)
        if len(fixed) > 1:
            cv2.polylines(bitmap, [fixed], False, (1,), brush, cv2.LINE_8, SUBPIXEL_BITS)
        for x, y in fixed[[0, -1]].tolist():
            radius = max(0, brush - 1) * scale // 2
            cv2.circle(bitmap, (x, y), radius, (1,), -1, cv2.LINE_8, SUBPIXEL_BITS)
    return bitmap.astype(bool)


def bitmap_to_strokes(bitmap: np.ndarray, *, label: int = 1) -> tuple[Stroke, ...]:
    """Draw one stroke along the middle of each connected part, as wide as the part is.

    The middle is the longest path in the part's skeleton (Zhang and Suen, "A fast parallel
    algorithm for thinning digital patterns", CACM 1984).
    """
    bitmap = _checked(bitmap)
    height, width = bitmap.shape
    shrink = min(1.0, THINNING_SIDE / max(height, width))
    small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    area = cv2.resize(bitmap.astype(np.float32), small, interpolation=cv2.INTER_AREA) >= 0.5
    if not area.any() and bitmap.any():  # a hair that shrinking would lose
        area = cv2.resize(bitmap.astype(np.float32), small, interpolation=cv2.INTER_AREA) > 0
    count, parts = cv2.connectedComponents(area.astype(np.uint8), connectivity=8)
    strokes: list[Stroke] = []
    for part in range(1, count):
        inside = np.pad(parts == part, 1)
        radius = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        path = _longest_path(_thin(inside)[1:-1, 1:-1])
        thickness = 2 * float(np.median([radius[y, x] for y, x in path])) - 1
        line = np.array([(x, y) for y, x in path], np.int32).reshape(-1, 1, 2)
        line = cv2.approxPolyDP(line, 0.75, False).reshape(-1, 2)
        strokes.append(
            Stroke(
                xy=tuple(
                    ((float(x) + 0.5) / small[0], (float(y) + 0.5) / small[1]) for x, y in line
                ),
                width=min(1.0, max(1.0, thickness) / max(small)),
                label=1 if label else 0,
            )
        )
    return tuple(strokes)


def box_to_bitmap(box: Box, size: Size) -> np.ndarray:
    """Fill a normalised xyxy box: the pixels whose centre lies inside."""
    width, height = size
    xs = (np.arange(width) + 0.5) / width
    ys = (np.arange(height) + 0.5) / height
    return ((ys >= box[1]) & (ys < box[3]))[:, None] & ((xs >= box[0]) & (xs < box[2]))[None, :]


def bitmap_to_box(bitmap: np.ndarray) -> Box | None:
    """Return the normalised xyxy box around the set pixels, their full extent; None if none is."""
    bitmap = _checked(bitmap)
    height, width = bitmap.shape
    xs, ys = np.flatnonzero(bitmap.any(axis=0)), np.flatnonzero(bitmap.any(axis=1))
    if not xs.size:
        return None
    return (
        float(xs[0] / width),
        float(ys[0] / height),
        float((xs[-1] + 1) / width),
        float((ys[-1] + 1) / height),
    )


def region_bitmap(region: Region, size: Size) -> np.ndarray | None:
    """Return the area of a region: its mask, else its polygon, else its box; None without any."""
    if region.mask is not None:
        bitmap = rle_to_bitmap(region.mask)
        if bitmap.shape == (size[1], size[0]):
            return bitmap
        return cv2.resize(
            bitmap.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT
        ).astype(bool)
    if region.polygon:
        return polygon_to_bitmap(region.polygon, size)
    return box_to_bitmap(region.box, size) if region.box is not None else None


def region_box(region: Region) -> Box | None:
    """Return the normalised box of a region: its own, or that of its polygon, mask or landmarks."""
    box = region.bounds()
    if box is not None:
        return box
    if region.mask is not None:
        return bitmap_to_box(rle_to_bitmap(region.mask))
    places = [joint.xy for joint in region.keypoints if joint.visibility]
    if not places:
        return None
    xs, ys = zip(*places, strict=True)
    return (min(xs), min(ys), max(xs), max(ys)) if min(xs) < max(xs) and min(ys) < max(ys) else None


def _checked(bitmap: np.ndarray) -> np.ndarray:
    bitmap = np.asarray(bitmap)
    if bitmap.ndim != 2 or not bitmap.size:
        raise GeometryError(f"a bitmap is [height, width] and not empty, got shape {bitmap.shape}")
    return bitmap.astype(bool)


def _thin(bitmap: np.ndarray) -> np.ndarray:
    """Thin a bitmap with a margin of one empty pixel to lines one pixel wide."""
    image = bitmap.astype(np.uint8)
    changed = True
    while changed:
        changed = False
        for step in (0, 1):
            # Neighbours p2..p9 of Zhang and Suen, clockwise from north.
            north, east, south, west = (
                np.roll(image, shift, axis) for shift, axis in ((1, 0), (-1, 1), (-1, 0), (1, 1))
            )
            ring = [
                north,
                np.roll(north, -1, 1),
                east,
                np.roll(south, -1, 1),
                south,
                np.roll(south, 1, 1),
                west,
                np.roll(north, 1, 1),
            ]
            neighbours = sum(ring)
            rises = sum((ring[i] == 0) & (ring[(i + 1) % 8] == 1) for i in range(8))
            first, second = (
                (north * east * south, east * south * west)
                if step == 0
                else (north * east * west, north * south * west)
            )
            doomed = (
                (image == 1)
                & (neighbours >= 2)
                & (neighbours <= 6)
                & (rises == 1)
                & (first == 0)
                & (second == 0)
            )
            if doomed.any():
                image[doomed] = 0
                changed = True
    return image.astype(bool) if image.any() else bitmap


def _longest_path(skeleton: np.ndarray) -> list[tuple[int, int]]:
    """Walk a connected skeleton from one far end to the other (farthest point, twice)."""
    pixels = {(int(y), int(x)) for y, x in np.argwhere(skeleton)}
    start = min(pixels)
    path = [start]
    for _ in range(2):
        came: dict[tuple[int, int], tuple[int, int] | None] = {path[-1]: None}
        queue = deque(came)
        last = path[-1]
        while queue:
            last = queue.popleft()
            y, x = last
            for near in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                if near in pixels and near not in came:
                    came[near] = last
                    queue.append(near)
        path, place = [], last
        while place is not None:
            path.append(place)
            place = came[place]
        path.reverse()
    return path
