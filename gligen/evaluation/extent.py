"""How far something reaches on a plain background; it needs no model."""

import cv2
import numpy as np

from grounding.geometry import Box

__all__ = ["box_of_difference"]

DIFFERENCE = 40  # of 255, the largest channel: what differs more from a plain background is object


def box_of_difference(image: np.ndarray) -> Box | None:
    """Where a picture differs from its plain background.

    Args:
        image: uint8 [H, W, 3]; its background is the median colour of its rim.

    Returns:
        Normalised xyxy around everything that differs, specks aside; None if nothing does.
    """
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    difference = np.abs(image.astype(np.int16) - np.median(rim, 0)).max(-1)
    mask = (difference > DIFFERENCE).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
