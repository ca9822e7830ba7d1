"""Squares out of pictures: at a random scale, a random place. Axes: H W a picture, S S a square."""

import cv2
import numpy as np
from jaxtyping import UInt8

__all__ = ["LARGEST_ZOOM", "crop_square", "resize_pair"]

LARGEST_ZOOM = 1.6  # of the shorter side, before a square is cut out


def crop_square(
    image: UInt8[np.ndarray, "H W 3"],
    owners: UInt8[np.ndarray, "H W"],
    size: int,
    generator: np.random.Generator,
) -> tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S"]]:
    """Cut a square out of a picture that is scaled first, and out of whose pixels its are.

    Args:
        image: RGB.
        owners: Whose each pixel is.
        size: Pixels of the square's side; the picture's shorter side becomes as long, or up to
            `LARGEST_ZOOM` times as long.
        generator: Decides.
    """
    height, width = owners.shape
    scale = size * generator.uniform(1, LARGEST_ZOOM) / min(height, width)
    scaled = (max(size, round(width * scale)), max(size, round(height * scale)))
    image, owners = resize_pair(image, owners, scaled)
    x, y = (int(generator.integers(side - size + 1)) for side in scaled)
    place = np.s_[y : y + size, x : x + size]
    return image[place], owners[place]


def resize_pair(
    image: UInt8[np.ndarray, "H W 3"], owners: UInt8[np.ndarray, "H W"], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A picture, and whose its pixels are, at another (width, height)."""
    smaller = size[0] < image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return (
        cv2.resize(image, size, interpolation=how),
        cv2.resize(owners, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )
