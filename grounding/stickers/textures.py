"""Surfaces that look a little like the world's: noise, dead leaves, waves, soft light.

Nothing here is a photograph. Colours and spectra are drawn at random with the statistics that
natural images share: power falls with frequency (Field, "Relations between the statistics of
natural images and the response properties of cortical cells", 1987) and things hide one another
(the dead-leaves model; Baradad et al., "Learning to See by Looking at Noise", arXiv 2106.05963).
Textures are float32 [H, W, 3] in [0, 255].
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

__all__ = ["paint_texture"]

Size = tuple[int, int]
LEAVES = 120
SMALLEST_LEAF, LARGEST_LEAF = 0.02, 0.4  # radii, as fractions of the longer side


def paint_texture(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Paint a surface.

    Args:
        size: (width, height) in pixels.
        generator: Decides its kind, its colours and its details.

    Returns:
        Colours, float32 [H, W, 3] in [0, 255].
    """
    kind = KINDS[int(generator.integers(len(KINDS)))]
    surface = kind(size, generator)
    return np.clip(surface * _light(size, generator), 0, 255).astype(np.float32)


def _clouds(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls as a power of frequency, in correlated colours."""
    width, height = size
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.maximum(np.hypot(fy, fx), 1 / max(size))
    fall = frequency ** -generator.uniform(0.6, 1.8)
    fall[0, 0] = 0
    white = np.fft.rfft2(generator.standard_normal((3, height, width)))
    channels = np.fft.irfft2(white * fall, s=(height, width))
    channels /= channels.std(axis=(1, 2), keepdims=True)
    mixing = generator.normal(size=(3, 3)) * 0.3 + generator.uniform(0.3, 1.0)
    coloured = np.tensordot(mixing, channels, 1).transpose(1, 2, 0)
    return _colour(generator) + coloured * generator.uniform(6, 40)


def _leaves(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Discs, ellipses and quadrilaterals that hide one another; sizes follow a power law."""
    width, height = size
    canvas = np.empty((height, width, 3), np.float32)
    palette = np.stack([_colour(generator) for _ in range(int(generator.integers(2, 7)))])
    canvas[:] = palette[0]
    low, high = (share * max(size) for share in (SMALLEST_LEAF, LARGEST_LEAF))
    radii = 1 / np.sqrt(1 / high**2 + generator.random(LEAVES) * (1 / low**2 - 1 / high**2))
    spread = generator.uniform(5, 30)
    for radius in np.sort(radii)[::-1]:
        centre = generator.uniform((0, 0), (width, height))
        paint = palette[generator.integers(len(palette))] + generator.normal(0, spread, 3)
        corners = _leaf(float(radius), generator) + centre
        cv2.fillPoly(canvas, [np.round(corners * 8).astype(np.int32)], paint.tolist(), shift=3)
    return canvas + generator.normal(0, generator.uniform(0, 8), canvas.shape)


def _leaf(radius: float, generator: np.random.Generator) -> np.ndarray:
    """The corners of one leaf around (0, 0), [N, 2]."""
    corners = int(generator.choice([4, 6, 24]))
    angles = 2 * np.pi * (np.arange(corners) + generator.uniform()) / corners
    ring = np.stack([np.cos(angles), np.sin(angles) * generator.uniform(0.4, 1)], 1) * radius
    turn = generator.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return ring @ rotation.T


def _waves(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Stripes of two colours, bent by noise: grain, ripples, cloth."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(size)
    turn, waves = generator.uniform(0, np.pi), generator.uniform(3, 24)
    coarse = generator.standard_normal((5, 5)).astype(np.float32)
    bend = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    along = x * np.cos(turn) + y * np.sin(turn) + bend * generator.uniform(0, 0.06)
    share = (0.5 + 0.5 * np.sin(2 * np.pi * waves * along))[..., None]
    one = _colour(generator)
    other = one + generator.normal(0, 40, 3) if generator.random() < 0.7 else _colour(generator)
    mixed = one * (1 - share) + other * share
    return mixed + generator.normal(0, generator.uniform(0, 10), mixed.shape)


def _plain(size: Size, generator: np.random.Generator) -> np.ndarray:
    """One colour that drifts, with a fine grain: walls, skies, skin."""
    width, height = size
    corners = _colour(generator) + generator.normal(0, 25, (2, 2, 3))
    drift = cv2.resize(corners.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return drift + generator.normal(0, generator.uniform(0, 8), (height, width, 3))


def _light(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Brightness that changes slowly over the surface, float32 [H, W, 1]."""
    corners = generator.uniform(0.7, 1.2, (2, 2)).astype(np.float32)
    return cv2.resize(corners, size, interpolation=cv2.INTER_LINEAR)[..., None]


def _colour(generator: np.random.Generator) -> np.ndarray:
    """A colour that is more often dull than bright."""
    gray = generator.uniform(20, 235)
    return np.clip(gray + generator.normal(0, generator.uniform(5, 70), 3), 0, 255)


KINDS: Final[tuple[Callable[[Size, np.random.Generator], np.ndarray], ...]] = (
    _clouds,
    _clouds,
    _leaves,
    _waves,
    _plain,
)
