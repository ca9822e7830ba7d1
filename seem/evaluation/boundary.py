"""Region and contour similarity of video objects, J and F of the DAVIS challenge.

Axes: H W the frame. Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video
Object Segmentation" (CVPR 2016); Pont-Tuset et al., "The 2017 DAVIS Challenge" (arXiv 1704.00675).
Numbers and edge cases are those of https://github.com/davisvideochallenge/davis2017-evaluation.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool

from grounding.errors import GeometryError

__all__ = ["contour", "contour_similarity", "region_similarity"]

TOLERANCE = 0.008  # of the diagonal


def region_similarity(
    truth: Bool[np.ndarray, "H W"],
    found: Bool[np.ndarray, "H W"],
    void: Bool[np.ndarray, "H W"] | None = None,
) -> float:
    """J: intersection over union; 1 if both are empty. Pixels of `void` do not count."""
    truth, found = _known(truth, found, void)
    union = int((truth | found).sum())
    return int((truth & found).sum()) / union if union else 1.0


def contour_similarity(
    truth: Bool[np.ndarray, "H W"],
    found: Bool[np.ndarray, "H W"],
    void: Bool[np.ndarray, "H W"] | None = None,
    *,
    tolerance: float = TOLERANCE,
) -> float:
    """F: the harmonic mean of the contours' precision and recall.

    A contour pixel is right if the other contour passes within a distance of `tolerance` times the
    diagonal, rounded up to whole pixels. 1 if neither mask has a contour, 0 if one has none.
    """
    truth, found = _known(truth, found, void)
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    wanted, given = contour(truth), contour(found)
    if not wanted.any() or not given.any():
        return float(wanted.any() == given.any())
    disk = _disk(radius)
    near_wanted, near_given = (cv2.dilate(line.astype(np.uint8), disk) for line in (wanted, given))
    precision = float(near_wanted[given].mean())
    recall = float(near_given[wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels that differ from the one to the right, below, or below to the right.

    At the right and lower rim only the neighbour along the rim counts: the end of the picture is
    no contour.
    """
    framed = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    inner = framed[:-1, :-1]
    return (inner ^ framed[:-1, 1:]) | (inner ^ framed[1:, :-1]) | (inner ^ framed[1:, 1:])


def _disk(radius: int) -> np.ndarray:
    steps = np.arange(-radius, radius + 1)
    return (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).astype(np.uint8)


def _known(
    truth: np.ndarray, found: np.ndarray, void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    shapes = [mask.shape for mask in (truth, found, void) if mask is not None]
    if len(set(shapes)) > 1 or truth.ndim != 2:
        raise GeometryError(f"masks of one frame are [H, W] and of one shape; got {shapes}")
    if void is None:
        return truth, found
    return truth & ~void, found & ~void
