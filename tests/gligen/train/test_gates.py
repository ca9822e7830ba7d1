"""What the gates' training is told about boxes."""

import torch

from gligen.train.gates import inside


def test_inside_marks_the_cells_that_a_box_touches():
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0]]])
    marked = inside(boxes, torch.tensor([[1.0, 0.0]]), (4, 4))
    expected = torch.zeros(4, 4)
    expected[2:, 1] = 1
    assert torch.equal(marked[0, 0], expected)


def test_inside_joins_boxes_and_ignores_absent_ones():
    boxes = torch.tensor([[[0.0, 0.0, 0.3, 0.3], [0.7, 0.7, 1.0, 1.0]]])
    both = inside(boxes, torch.ones(1, 2), (2, 2))
    assert both[0, 0].tolist() == [[1, 0], [0, 1]]
    assert inside(boxes, torch.zeros(1, 2), (2, 2)).sum() == 0
