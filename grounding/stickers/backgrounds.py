"""Backgrounds: simple places, drawn from a generator so that no two are quite alike."""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

Colour = tuple[int, int, int]


def paint(name: str, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Paint a background.

    Args:
        name: One of ``vocabulary.BACKGROUNDS``.
        size: (width, height) in pixels.
        generator: Decides the horizon, the light and the details.

    Returns:
        Colours, uint8 [H, W, 3].
    """
    return np.clip(_PAINTERS[name](size, generator), 0, 255).astype(np.uint8)


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> np.ndarray:
    width, height = size
    blend = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = np.asarray(top, np.float32) * (1 - blend) + np.asarray(bottom, np.float32) * blend
    return np.repeat(rows, width, axis=1)


def _ground(
    sky: np.ndarray, generator: np.random.Generator, near: Colour, far: Colour, swell: float
) -> np.ndarray:
    """Lay ground with a gently waving horizon over the lower part of a sky."""
    height, width = sky.shape[:2]
    level = generator.uniform(0.5, 0.65) * height
    phase, waves = generator.uniform(0, 2 * np.pi), generator.uniform(0.5, 1.5)
    line = level + swell * height * np.sin(
        phase + waves * 2 * np.pi * np.arange(width, dtype=np.float32) / width
    )
    # A soft edge one pixel wide keeps the horizon smooth at any size.
    cover = np.clip(np.arange(height, dtype=np.float32)[:, None] - line[None] + 0.5, 0, 1)
    return sky + cover[..., None] * (_gradient((width, height), far, near) - sky)


def _plain(colour: Colour) -> Callable[[tuple[int, int], np.random.Generator], np.ndarray]:
    return lambda size, generator: _gradient(size, colour, colour)


def _meadow(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sky = _gradient(size, (120, 190, 250), (210, 236, 255))
    return _ground(sky, generator, (70, 150, 60), (150, 210, 100), 0.03)


def _beach(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sky = _gradient(size, (110, 200, 235), (40, 140, 190))
    return _ground(sky, generator, (226, 190, 130), (250, 226, 176), 0.02)


def _desert(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sky = _gradient(size, (250, 214, 150), (255, 236, 196))
    return _ground(sky, generator, (190, 110, 60), (226, 150, 90), 0.06)


def _snow(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sky = _gradient(size, (150, 176, 200), (196, 212, 226))
    return _ground(sky, generator, (236, 242, 250), (250, 252, 255), 0.05)


def _sea(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sky = _gradient(size, (170, 215, 250), (226, 242, 252))
    return _ground(sky, generator, (10, 60, 120), (40, 120, 180), 0.01)


def _sunset(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sky = _gradient(size, (90, 50, 120), (255, 150, 90))
    return _ground(sky, generator, (40, 24, 60), (80, 40, 80), 0.03)


def _night(size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    width, height = size
    sky = _gradient(size, (12, 16, 48), (44, 48, 104))
    for _ in range(8):
        place = (int(generator.integers(width)), int(generator.integers(height)))
        cv2.circle(sky, place, max(1, width // 96), (255, 250, 210), -1, cv2.LINE_AA)
    return sky


_PAINTERS: Final[dict[str, Callable[[tuple[int, int], np.random.Generator], np.ndarray]]] = {
    "white": _plain((250, 250, 250)),
    "pink": _plain((250, 196, 206)),
    "lilac": _plain((206, 196, 240)),
    "meadow": _meadow,
    "beach": _beach,
    "night": _night,
    "desert": _desert,
    "snow": _snow,
    "sea": _sea,
    "sunset": _sunset,
}
