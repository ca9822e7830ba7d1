"""Detections: scores in order, one box a thing, whatever the picture's size."""

import numpy as np
import pytest
import torch

from seem import detector
from seem.backbones.nanodet import NanoDet
from seem.detector import detect
from tests.seem.predicting import picture
from tests.seem.tiny import TINY_NANODET, tiny_refined_seem


class Told(NanoDet):
    """Answers with boxes in pixels of the picture as it is seen, whatever that shows."""

    def __init__(self, *things: tuple[tuple[float, float, float, float], int, float]) -> None:
        super().__init__(TINY_NANODET)
        self.things, self.seen = things, torch.zeros(0)

    def forward(self, pixels):
        self.seen = pixels
        return super().forward(pixels)


@pytest.fixture
def told(monkeypatch):
    """Detections of known boxes: (box, class, score)."""

    def build(*things) -> Told:
        backbone = Told(*things)
        boxes = torch.tensor([box for box, _, _ in things])
        scores = torch.zeros(len(things), 5)
        for row, (_, label, score) in enumerate(things):
            scores[row, label] = score
        monkeypatch.setattr(detector, "decode_boxes", lambda maps, classes: (boxes, scores))
        return backbone

    return build


def test_one_box_stays_of_those_that_overlap_and_only_within_a_class(told) -> None:
    found = detect(
        told(
            ((0, 0, 100, 100), 1, 0.5),
            ((0, 0, 100, 90), 1, 0.9),  # IoU 0.9
            ((0, 0, 100, 80), 2, 0.4),
            ((0, 60, 100, 200), 1, 0.3),
            ((9, 9, 50, 50), 3, 0.04),  # noise
        ),
        picture(0, 208, 416),
    )
    assert found.labels.tolist() == [1, 2, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.4, 0.3]))
    torch.testing.assert_close(found.boxes[0], torch.tensor([0, 0, 100 / 416, 90 / 208]))


def test_boxes_are_fractions_of_the_picture_and_end_with_it(told) -> None:
    backbone = told(((-50, 10, 600, 400), 0, 0.9), ((0, 450, 100, 500), 0, 0.8))
    found = detect(backbone, picture(0, 50, 200))  # seen with 104 x 416 pixels, padded to 128
    assert backbone.seen.shape == (1, 3, 128, 416)
    assert (backbone.seen[:, :, 104:] == 0).all()
    torch.testing.assert_close(found.boxes, torch.tensor([[0, 10 / 104, 1, 1]]))


@pytest.mark.parametrize("size", [(1, 1), (300, 2), (70, 50)])
def test_any_picture_has_valid_boxes(size) -> None:
    backbone = tiny_refined_seem().backbone
    assert isinstance(backbone, NanoDet)
    found = detect(backbone, np.ascontiguousarray(picture(1, *size)))
    assert len(found.boxes) == len(found.scores) == len(found.labels) <= detector.MOST
    assert len(found.boxes)  # a network that knows nothing finds much
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.scores.diff() <= 0).all()
    assert (found.labels < TINY_NANODET.classes).all()
