"""Materials: an object's luminance and a procedural texture, through a colour ramp.

Each material is a ramp of colours (dark to light) and a texture. The object's own light and shade
carry its shape through the ramp; the texture breaks the surface up. Arrays are float32 in [0, 1].
"""

import functools
import zlib
from typing import Final

import cv2
import numpy as np

TEXTURE = 256  # pixels a side; textures tile

# Ramps from dark to light, sRGB.
RAMPS: Final[dict[str, tuple[str, ...]]] = {
    "lava": ("#1a0505", "#4a0a06", "#b81f05", "#ff5a00", "#ffb300", "#fff3a0"),
    "ice": ("#1d5f9c", "#4f9bd0", "#8fd0f0", "#c4ecfb", "#f4fdff"),
    "gold": ("#5a3a00", "#a87400", "#e3aa14", "#ffd94a", "#fffbd0"),
    "stone": ("#2e3033", "#5b5e63", "#868a90", "#b0b3b8", "#d9dbde"),
    "wood": ("#3a1f0d", "#6b3d1c", "#99602f", "#bf8850", "#dcb27c"),
    "grass": ("#0d3a10", "#1e6a1c", "#3f9a2a", "#76c442", "#c4ee86"),
    "galaxy": ("#07041a", "#22105a", "#5a1f9a", "#c04ac8", "#ffd0ff"),
    "rainbow": ("#e02020", "#ff9a00", "#f6e600", "#20b040", "#2060e0", "#8a20c0"),
    "candy": ("#b0104a", "#f0508a", "#ff9ac0", "#ffd8e8", "#ffffff"),
    "water": ("#04264f", "#0a5aa0", "#1f94d0", "#6ad0ee", "#d8fbff"),
}

# How much of the ramp's position the texture decides; the rest is the object's own shading.
TEXTURE_SHARE: Final[dict[str, float]] = {
    "lava": 0.45,
    "ice": 0.25,
    "gold": 0.25,
    "stone": 0.40,
    "wood": 0.45,
    "grass": 0.45,
    "galaxy": 0.50,
    "rainbow": 0.75,
    "candy": 0.55,
    "water": 0.40,
}


def shade(luminance: np.ndarray, material: str, offset: tuple[int, int]) -> np.ndarray:
    """Make a surface of a material.

    Args:
        luminance: The object's light and shade, float32 [H, W] in [0, 1].
        material: One of ``vocabulary.MATERIALS``.
        offset: Where in the tiling texture (row, column) the surface is cut.

    Returns:
        Colours, uint8 [H, W, 3].
    """
    height, width = luminance.shape
    rows = (np.arange(height) + offset[0]) % TEXTURE
    columns = (np.arange(width) + offset[1]) % TEXTURE
    texture = _texture(material)[np.ix_(rows, columns)]
    share = TEXTURE_SHARE[material]
    place = luminance * (1 - share) + texture * share
    return _ramp(material)[np.clip(place * 255, 0, 255).astype(np.uint8)]


def tileable_noise(seed: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Fractal value noise that tiles, float32 [TEXTURE, TEXTURE], stretched to [0, 1]."""
    generator = np.random.default_rng(seed)
    total = np.zeros((TEXTURE, TEXTURE), np.float32)
    for octave in range(octaves):
        n = cells << octave
        grid = np.tile(generator.random((n, n), np.float32), (3, 3))
        full = cv2.resize(grid, (3 * TEXTURE, 3 * TEXTURE), interpolation=cv2.INTER_CUBIC)
        total += full[TEXTURE : 2 * TEXTURE, TEXTURE : 2 * TEXTURE] / 2**octave
    low, high = np.quantile(total, (0.01, 0.99))
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


@functools.cache
def _ramp(material: str) -> np.ndarray:
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in RAMPS[material]])
    places = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), places, stops[:, i]) for i in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


@functools.cache
def _texture(material: str) -> np.ndarray:
    seed = zlib.crc32(material.encode())
    y, x = np.mgrid[0:TEXTURE, 0:TEXTURE].astype(np.float32) / TEXTURE
    warp = tileable_noise(seed, 6)
    if material == "lava":  # bright cracks between dark crusts
        return 1 - np.abs(2 * warp - 1) ** 0.6
    if material == "ice":  # broad facets
        return np.round(tileable_noise(seed, 8, 1) * 4) / 4
    if material == "gold":  # polished bands
        return 0.5 + 0.5 * np.sin(2 * np.pi * (8 * (x + y) + 0.4 * warp))
    if material == "wood":  # grain
        return 0.5 + 0.5 * np.sin(2 * np.pi * (12 * y + 0.6 * warp))
    if material == "grass":  # blades
        blades = tileable_noise(seed, 16, 2)
        return cv2.blur(np.tile(blades, (3, 1)), (1, 9))[TEXTURE : 2 * TEXTURE]
    if material == "galaxy":  # clouds and stars
        stars = np.random.default_rng(seed).random((TEXTURE, TEXTURE)) > 0.995
        return np.maximum(warp * 0.8, cv2.GaussianBlur(stars.astype(np.float32), (3, 3), 0) * 4)
    if material == "rainbow":  # one turn of the ramp every 64 pixels
        return (4 * (x + y) / 2 * 2) % 1
    if material == "candy":  # diagonal stripes
        return (np.sin(2 * np.pi * 10 * (x - y)) > 0).astype(np.float32)
    if material == "water":  # waves
        return 0.5 + 0.5 * np.sin(2 * np.pi * (10 * y + 0.8 * tileable_noise(seed, 4)))
    return warp  # stone: plain mottling
