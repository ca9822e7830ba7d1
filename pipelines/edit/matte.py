"""Mattes: how much of each pixel is new when something is laid upon a picture.

Axes: H x W pixels.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

__all__ = ["grown", "laid", "matte"]


def grown(area: Bool[np.ndarray, "H W"], pixels: int) -> Bool[np.ndarray, "H W"]:
    """An area and what lies within some pixels of it."""
    far = cv2.distanceTransform((~area).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return area | (far <= pixels)


def matte(area: Bool[np.ndarray, "H W"], feather: int) -> Float[np.ndarray, "H W"]:
    """Shares in [0, 1]: 0 outside of an area, 1 deeper in it than `feather` pixels.

    The edge lies inside, so that nothing changes outside.
    """
    if feather < 1:
        return area.astype(np.float32)
    padded = np.pad(area.astype(np.uint8), 1, mode="edge")  # the picture's edge is none of the area
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    return (depth / (feather + 1)).clip(0, 1).astype(np.float32)


def laid(
    new: UInt8[np.ndarray, "H W 3"],
    old: UInt8[np.ndarray, "H W 3"],
    share: Float[np.ndarray, "H W"],
) -> UInt8[np.ndarray, "H W 3"]:
    """The new picture over the old one; where the share is 0 the old one stays, bit for bit."""
    share = share[..., None]
    mixed = np.rint(share * new + (1 - share) * old).astype(np.uint8)
    return np.where(share > 0, mixed, old)
