"""Surfaces: what stuff and things are covered with, from photographs, textures and noise.

Colours are float32 in [0, 255], sizes (width, height), generators decide everything.
"""

import cv2
import numpy as np

from grounding.composites.art import Art
from grounding.stickers.textures import paint_texture

__all__ = [
    "adjust_colours",
    "crop_photograph",
    "draw_colour",
    "draw_noise",
    "fractal_noise",
    "log_uniform",
    "mean_colour",
    "paint_surface",
    "shift_mean",
    "soft_step",
    "tilt",
    "weighted_mean",
]

Size = tuple[int, int]
LUMA = np.asarray((0.299, 0.587, 0.114), np.float32)  # BT.601
CLOSE_UPS = (0.12, 0.6)  # of a photograph's shorter side, where it is used as a surface


def log_uniform(low: float, high: float, generator: np.random.Generator) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def draw_noise(size: Size, cell: float, generator: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit variance, float32 [H, W], with bumps of `cell` pixels."""
    width, height = size
    rows, columns = (max(2, int(np.ceil(side / cell)) + 1) for side in (height, width))
    coarse = generator.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)


def fractal_noise(
    size: Size, coarsest: float, generator: np.random.Generator, roughness: float = 0.5
) -> np.ndarray:
    """Noise of several octaves, float32 [H, W]; each finer one `roughness` times as strong."""
    total = np.zeros(size[::-1], np.float32)
    cell, strength = coarsest, 1.0
    while cell >= 2 and strength > 0.03:
        total += draw_noise(size, cell, generator) * strength
        cell, strength = cell / 2, strength * roughness
    return total


def draw_colour(generator: np.random.Generator) -> np.ndarray:
    """A colour as photographs have them: mostly dull, between orange and blue, any brightness."""
    gray = generator.uniform(15, 240)
    warmth = generator.normal(0, 0.16) * np.asarray((1, 0.1, -1))
    other = generator.normal(0, 0.05, 3)
    vivid = 2.2 if generator.random() < 0.15 else 1.0
    return np.clip(gray * (1 + vivid * (warmth + other)), 0, 255).astype(np.float32)


def soft_step(field: np.ndarray) -> np.ndarray:
    """The logistic function of a field, float32 [H, W, 1] in [0, 1]."""
    return (1 / (1 + cv2.exp(-np.clip(field, -30, 30).astype(np.float32))))[..., None]


def mean_colour(colours: np.ndarray) -> np.ndarray:
    """Mean of float32 [H, W, 3], [3]."""
    return np.asarray(cv2.mean(np.ascontiguousarray(colours))[:3], np.float32)


def shift_mean(colours: np.ndarray, goal: np.ndarray, share: float) -> np.ndarray:
    """Move colours [H, W, 3] by a share of the way from their mean to another."""
    return colours + ((np.asarray(goal) - mean_colour(colours)) * share).astype(np.float32)


def weighted_mean(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean colour [3] of [H, W, 3] under weights [H, W]."""
    return np.einsum("hwc,hw->c", colours, weights) / max(float(weights.sum()), 1e-3)


def adjust_colours(
    colours: np.ndarray, generator: np.random.Generator, strength: float = 1.0
) -> np.ndarray:
    """Change hue, saturation, gamma, contrast and brightness at random.

    Args:
        colours: float32 [H, W, 3].
        generator: Decides how.
        strength: 1: as differently as things of one kind look; 0: not at all.
    """
    mixing = np.eye(3)
    if generator.random() < 0.5 * strength:
        mixing = _turn_hue(generator.normal(0, 0.6 * strength))
    vivid = np.exp(generator.normal(-0.35, 0.35) * strength)
    mixing = vivid * mixing + (1 - vivid) * LUMA
    gamma = np.exp(generator.normal(0, 0.3) * strength)
    contrast = np.exp(generator.normal(0, 0.2) * strength)
    bright = generator.normal(0, 16) * strength
    colours = np.clip(np.asarray(colours, np.float32), 0, 255)
    colours = cv2.transform(colours, (mixing / 255).astype(np.float32))
    colours = cv2.pow(np.clip(colours, 1e-3, 1), float(gamma)) * np.float32(255)
    mean = float(mean_colour(colours).mean())
    colours = colours * np.float32(contrast) + np.float32(mean * (1 - contrast) + bright)
    return np.clip(colours, 0, 255)


def _turn_hue(angle: float) -> np.ndarray:
    """The matrix that turns colours about the gray axis by an angle in radians."""
    cross = np.cross(np.eye(3), np.full(3, 1 / np.sqrt(3)))
    return np.cos(angle) * np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) / 3


def crop_photograph(
    photograph: np.ndarray, size: Size, zoom: tuple[float, float], generator: np.random.Generator
) -> np.ndarray:
    """Cut a piece out of a photograph and scale it to a size.

    Args:
        photograph: uint8 [H, W, C]; channels after the third are labels, scaled as such.
        size: Of the result.
        zoom: Least and largest extent of the piece, in shares of the largest that fits.
        generator: Decides where, and whether it is mirrored.

    Returns:
        uint8 [*size, C].
    """
    height, width = photograph.shape[:2]
    largest = min(width / size[0], height / size[1])
    scale = largest * log_uniform(*zoom, generator)
    w, h = max(4, int(size[0] * scale)), max(4, int(size[1] * scale))
    y, x = int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1))
    piece = photograph[y : y + h, x : x + w]
    if generator.random() < 0.5:
        piece = piece[:, ::-1]
    way = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    result = cv2.resize(np.ascontiguousarray(piece[..., :3]), size, interpolation=way)
    if photograph.shape[2] == 3:
        return result
    labels = np.ascontiguousarray(piece[..., 3:])
    return np.dstack([result, cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)])


def paint_surface(art: Art, size: Size, generator: np.random.Generator) -> np.ndarray:
    """Paint one surface: a close-up of a photograph, a texture, noise or a pattern.

    Returns:
        float32 [H, W, 3].
    """
    kind = generator.random()
    if kind < 0.3 and len(art.photographs):
        photograph = art.photographs[int(generator.integers(len(art.photographs)))][..., :3]
        colours = crop_photograph(photograph, size, CLOSE_UPS, generator).astype(np.float32)
        if generator.random() < 0.4:
            colours = _even_out(colours)
    elif kind < 0.6 and len(art.textures):
        colours = _take_texture(art, size, generator)
    elif kind < 0.82:
        colours = paint_texture(size, generator)
    elif kind < 0.92:
        colours = _paint_pattern(size, generator)
    else:
        colours = _paint_specks(size, generator)
    colours = adjust_colours(colours, generator)
    if generator.random() < 0.5:
        colours = shift_mean(colours, draw_colour(generator), generator.uniform(0.3, 1))
    return np.clip(colours, 0, 255)


def _even_out(colours: np.ndarray) -> np.ndarray:
    """Take the slow changes out of a piece of a photograph: what is left is its texture."""
    slow = cv2.GaussianBlur(colours, (0, 0), max(colours.shape[:2]) / 8)
    return np.clip(colours - slow + mean_colour(slow), 0, 255)


def _take_texture(art: Art, size: Size, generator: np.random.Generator) -> np.ndarray:
    texture = art.textures[int(generator.integers(len(art.textures)))]
    colours = crop_photograph(texture, size, (0.3, 1), generator).astype(np.float32)
    if np.ptp(colours.reshape(-1, 3).mean(0)) < 2:  # gray
        gray = colours @ LUMA
        tone = (gray - gray.mean())[..., None] * generator.uniform(0.4, 1)
        colours = draw_colour(generator) * (1 + tone / max(60.0, float(gray.mean())))
    return colours


def _paint_pattern(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Tiles, bricks, planks or cloth in two or three colours, each piece a little different."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    step = log_uniform(8, 90, generator)
    aspect = float(generator.choice([1, 1, 2, 3, 8]))
    row = np.floor(y / step)
    shifted = x + (row % 2) * step * aspect / 2 * (generator.random() < 0.5)
    column = np.floor(shifted / (step * aspect))
    table = generator.normal(0, 1, (64, 64)).astype(np.float32)
    each = table[row.astype(int) % 64, column.astype(int) % 64]
    if generator.random() < 0.3:
        each = np.where((row + column) % 2 > 0, 1.5, -1.5).astype(np.float32)
    gap = log_uniform(0.6, 3, generator)
    joint = np.minimum(y - row * step, shifted - column * step * aspect) < gap
    base, seam = draw_colour(generator), draw_colour(generator)
    colours = base + each[..., None] * generator.normal(0, 18, 3).astype(np.float32)
    colours = np.where(joint[..., None], base + (seam - base) * generator.uniform(0.2, 1), colours)
    grain = fractal_noise(size, 24, generator, 0.7)[..., None]
    return (colours + grain * generator.uniform(1, 12)).astype(np.float32)


def _paint_specks(size: Size, generator: np.random.Generator) -> np.ndarray:
    """Foliage, gravel, crowds: small blots of related colours, light above and dark below."""
    cell = log_uniform(3, 18, generator)
    colours = np.broadcast_to(draw_colour(generator), (size[1], size[0], 3)).copy()
    for _ in range(3):
        blots = draw_noise(size, cell, generator) + 0.5 * draw_noise(size, cell * 4, generator)
        cover = soft_step(4 * (blots - generator.uniform(-0.3, 0.6)))
        relief = np.gradient(blots, axis=0)[..., None] * np.float32(cell)
        paint = (
            mean_colour(colours)
            + generator.normal(0, 30, 3)
            + relief * np.float32(generator.uniform(0, 40))
        )
        colours = colours * (1 - cover) + paint * cover
    return colours.astype(np.float32)


def tilt(
    surface: np.ndarray, horizon: float, side: float, generator: np.random.Generator
) -> np.ndarray:
    """See a surface at an angle, as a floor or a wall that runs away from the eye.

    Args:
        surface: float32 [H, W, 3].
        horizon: Where it vanishes: rows from the top, as a share of the height.
        side: Quarter turns: 0 a floor, 1 a wall to the left, 2 a ceiling, 3 a wall to the right.
        generator: Decides how steep.
    """
    surface = np.ascontiguousarray(np.rot90(surface, int(side)))
    height, width = surface.shape[:2]
    top = np.clip(horizon, -0.3, 0.85) * height + 0.04 * height
    near = generator.uniform(1.2, 3.0)
    far = near * generator.uniform(0.08, 0.4)
    middle = width * generator.uniform(0.3, 0.7)
    source = np.asarray([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    goal = np.asarray(
        [
            [middle - far * width / 2, top],
            [middle + far * width / 2, top],
            [middle + near * width / 2, height],
            [middle - near * width / 2, height],
        ],
        np.float32,
    )
    matrix = cv2.getPerspectiveTransform(source, goal)
    seen = cv2.warpPerspective(
        surface, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.ascontiguousarray(np.rot90(seen, -int(side)))
