"""Plain shapes: blobs, boxes seen from a corner, tables, poles, fences, rings, branches."""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

__all__ = ["draw_shape"]

SIDE = 160  # pixels of the canvas that shapes are drawn on
FRACTION = 3  # bits of a pixel's fraction, for OpenCV's polygons

Shape = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Alpha float32 [H, W], parts uint8 [H, W] from 1, light float32 [H, W] about 1."""


def draw_shape(generator: np.random.Generator) -> Shape:
    """Draw a shape, trimmed to what is opaque."""
    canvas = _Canvas()
    kinds = list(KINDS)
    kinds[int(generator.integers(len(kinds)))](canvas, generator)
    rows, columns = (np.flatnonzero((canvas.alpha > 0.1).any(axis)) for axis in (1, 0))
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return canvas.alpha[cut], canvas.parts[cut], canvas.light[cut]


class _Canvas:
    """Polygons and lines, each of a part and of a brightness."""

    def __init__(self) -> None:
        self.alpha = np.zeros((SIDE, SIDE), np.float32)
        self.parts = np.zeros((SIDE, SIDE), np.uint8)
        self.light = np.ones((SIDE, SIDE), np.float32)

    def fill(self, corners: np.ndarray, part: int, light: float) -> None:
        """Fill a polygon [N, 2] (x, y) in shares of the canvas."""
        cover = np.zeros((SIDE, SIDE), np.uint8)
        points = np.round(corners * (SIDE - 1) * 2**FRACTION).astype(np.int32)
        cv2.fillPoly(cover, [points], 255, cv2.LINE_AA, FRACTION)
        self._lay(cover, part, light)

    def stroke(self, points: np.ndarray, width: float, part: int, light: float) -> None:
        """Draw a line [N, 2] of a width in shares of the canvas."""
        cover = np.zeros((SIDE, SIDE), np.uint8)
        places = np.round(points * (SIDE - 1) * 2**FRACTION).astype(np.int32)
        thick = max(1, round(width * SIDE))
        cv2.polylines(cover, [places], False, 255, thick, cv2.LINE_AA, FRACTION)
        self._lay(cover, part, light)

    def _lay(self, cover: np.ndarray, part: int, light: float) -> None:
        share = cover.astype(np.float32) / 255
        self.alpha = np.maximum(self.alpha, share)
        self.parts[cover > 127] = part
        self.parts[(cover > 0) & (self.parts == 0)] = part
        self.light = self.light * (1 - share) + light * share


def _blob(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A smooth or knobbly outline about a middle."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.full(96, 1.0)
    for wave in range(2, int(generator.integers(3, 12))):
        radius += generator.normal(0, 0.35 / wave) * np.cos(wave * angles + generator.uniform(0, 7))
    radius = np.clip(radius, 0.25, 2)
    radius *= 0.46 / radius.max()
    squash = generator.uniform(0.4, 1)
    canvas.fill(
        0.5 + np.stack([np.cos(angles), np.sin(angles) * squash], 1) * radius[:, None], 1, 1
    )


def _polygon(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A sign, a kite, a roof: few straight sides."""
    count = int(generator.integers(3, 7))
    angles = np.sort(np.arange(count) / count * 2 * np.pi + generator.normal(0, 0.25, count))
    radius = generator.uniform(0.3, 0.48, count)[:, None]
    squash = generator.uniform(0.4, 1)
    canvas.fill(0.5 + np.stack([np.cos(angles), np.sin(angles) * squash], 1) * radius, 1, 1)


def _box(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A box seen from a corner: two sides and a top, some with doors and windows."""
    edge, depth = generator.uniform(0.3, 0.7), generator.uniform(0.03, 0.2)
    low, high = 0.95, generator.uniform(0.1, 0.5)
    skew = generator.uniform(0.02, 0.15)
    left = np.asarray(
        [[0.05, high + depth], [edge, high + 2 * depth], [edge, low], [0.05, low - skew]]
    )
    right = np.asarray(
        [[edge, high + 2 * depth], [0.95, high + depth], [0.95, low - skew], [edge, low]]
    )
    top = np.asarray([[0.05, high + depth], [1 - edge, high], [0.95, high + depth], left[1]])
    for part, (face, light) in enumerate(
        [(left, generator.uniform(0.5, 0.9)), (right, generator.uniform(0.7, 1.1)), (top, 1.15)], 1
    ):
        canvas.fill(face, part, light)
    part = 3
    for face in (left, right):
        if generator.random() < 0.4:
            rows, columns = int(generator.integers(1, 4)), int(generator.integers(1, 4))
            part += 1
            light = generator.uniform(0.3, 1.2)
            for i in range(rows):
                for j in range(columns):
                    u = (j + np.asarray([0.2, 0.8, 0.8, 0.2])) / columns
                    v = (i + np.asarray([0.2, 0.2, 0.8, 0.8])) / rows
                    across = face[0] + (face[1] - face[0]) * u[:, None]
                    under = face[3] + (face[2] - face[3]) * u[:, None]
                    canvas.fill(across + (under - across) * v[:, None], part, light)


def _table(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A top on legs, with or without a back: tables, chairs, benches."""
    top, thick = generator.uniform(0.2, 0.55), generator.uniform(0.03, 0.12)
    slant, depth = generator.uniform(0, 0.2), generator.uniform(0.05, 0.25)
    leg = generator.uniform(0.02, 0.07)
    for x, y in ((0.07 + slant, 0.85), (0.93 - leg, 0.85), (0.07, 0.95), (0.9 - slant, 0.95)):
        canvas.fill(np.asarray([[x, top], [x + leg, top], [x + leg, y], [x, y]]), 1, 0.6)
    if generator.random() < 0.4:  # a back
        back = np.asarray([[0.05 + slant, 0.03], [0.95, 0.03], [0.95, top], [0.05 + slant, top]])
        canvas.fill(back, 3, 0.8)
    corners = [[0.05 + slant, top - depth / 2], [0.95, top - depth / 2]]
    corners += [[0.95 - slant, top + depth / 2], [0.05, top + depth / 2]]
    canvas.fill(np.asarray(corners), 2, 1.1)
    front = np.asarray([corners[3], corners[2], corners[2], corners[3]]) + [
        [0, 0],
        [0, 0],
        [0, thick],
        [0, thick],
    ]
    canvas.fill(front, 2, 0.7)


def _pole(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A thin upright or lying thing, perhaps with a head."""
    sway = generator.normal(0, 0.05, 5).cumsum()
    points = np.stack([0.5 + sway - sway[2], np.linspace(0.97, 0.03, 5)], 1)
    points[:, 0] = np.clip(points[:, 0], 0.1, 0.9)
    canvas.stroke(points, generator.uniform(0.015, 0.09), 1, 1)
    if generator.random() < 0.5:
        angles = np.linspace(0, 2 * np.pi, int(generator.choice([4, 5, 8, 32])), endpoint=False)
        size = generator.uniform(0.06, 0.25, 2)
        middle = (float(np.clip(points[-1, 0], 0.25, 0.75)), float(size[1]) + 0.02)
        canvas.fill(np.stack([np.cos(angles), np.sin(angles)], 1) * size + middle, 2, 1.1)


def _fence(canvas: _Canvas, generator: np.random.Generator) -> None:
    """Bars, crossed by others: fences, racks, windows."""
    bar = generator.uniform(0.012, 0.05)
    for x in np.linspace(0.05, 0.95, int(generator.integers(2, 9))):
        canvas.stroke(np.asarray([[x, 0.05], [x, 0.95]]), bar, 1, 1)
    for y in generator.uniform(0.05, 0.95, int(generator.integers(1, 4))):
        canvas.stroke(np.asarray([[0.05, y], [0.95, y]]), bar * generator.uniform(0.7, 1.5), 1, 0.9)


def _ring(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A ring, or a handle on a cup."""
    angles = np.linspace(0, 2 * np.pi * generator.uniform(0.5, 1), 64)
    middle = generator.uniform(0.45, 0.55, 2)
    size = generator.uniform(0.2, 0.4, 2)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * size + middle
    canvas.stroke(points, generator.uniform(0.03, 0.14), 1, 1)


def _branch(canvas: _Canvas, generator: np.random.Generator) -> None:
    """A stem that forks, perhaps with leaves."""
    leafy = generator.random() < 0.6

    def grow(place: np.ndarray, angle: float, length: float, width: float, depth: int) -> None:
        end = place + length * np.asarray([np.cos(angle), np.sin(angle)])
        canvas.stroke(np.stack([place, np.clip(end, 0.02, 0.98)]), width, 1, 0.8)
        if depth:
            for _ in range(int(generator.integers(2, 4))):
                turned = angle + generator.normal(0, 0.6)
                grow(end, turned, length * generator.uniform(0.5, 0.85), width * 0.65, depth - 1)
        elif leafy:
            around = np.linspace(0, 2 * np.pi, 8, endpoint=False)
            leaf = np.stack([np.cos(around), np.sin(around)], 1) * generator.uniform(0.02, 0.07)
            canvas.fill(np.clip(end + leaf, 0, 1), 2, generator.uniform(0.7, 1.2))

    grow(np.asarray([0.5, 0.97]), -np.pi / 2, 0.3, generator.uniform(0.02, 0.07), 3)


KINDS: Final[tuple[Callable[[_Canvas, np.random.Generator], None], ...]] = (
    _blob,
    _blob,
    _polygon,
    _box,
    _box,
    _table,
    _pole,
    _fence,
    _ring,
    _branch,
)
