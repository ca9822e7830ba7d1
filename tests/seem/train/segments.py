"""Pictures with known segments: a plate on a table, with a nested piece of food."""

import numpy as np

from seem.train.segment_scenes import Segment

SEGMENTS = (
    Segment(pieces=(2, 3), kind="thing"),
    Segment(pieces=(3,), kind="part"),
    Segment(pieces=(1,), kind="stuff"),
    Segment(pieces=(4,), kind="group"),  # on no picture
)
COLOURS = np.array([[0, 0, 0], [60, 90, 60], [200, 60, 40], [240, 220, 60]], np.uint8)


class Plates:
    """Four of them; what lies on the last one's rim is not known."""

    def __init__(self, height: int = 90, width: int = 120) -> None:
        self.height, self.width = height, width

    def __len__(self) -> int:
        return 4

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray, tuple[Segment, ...]]:
        y, x = np.mgrid[: self.height, : self.width]
        far = np.hypot(y - self.height / 2, x - self.width * (0.35 + number / 10))
        pieces = np.ones((self.height, self.width), np.uint8)
        pieces[far < self.height * 0.35] = 2
        pieces[far < self.height * 0.18] = 3
        if number == 3:
            pieces[:, :10] = 0
        noise = np.random.default_rng(number).integers(0, 30, (*pieces.shape, 3))
        return (COLOURS[pieces] + noise).clip(0, 255).astype(np.uint8), pieces, SEGMENTS
