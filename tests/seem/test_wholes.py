"""A part of what was found is not found once more, nor in its place."""

import torch

from seem.wholes import PART, wholes_first


def boxes(*spans: tuple[int, int]) -> torch.Tensor:
    masks = torch.full((len(spans), 4, 20), -1.0)
    for mask, (start, stop) in zip(masks, spans, strict=True):
        mask[:, start:stop] = 1
    return masks


def test_a_part_gives_way_to_a_whole_that_is_nearly_as_good():
    value = torch.tensor([1.0, 0.95])
    found = wholes_first(boxes((2, 5), (1, 9)), value)
    torch.testing.assert_close(found, torch.tensor([PART, 0.95]))


def test_a_part_stays_before_a_whole_that_is_worse():
    value = torch.tensor([1.0, 0.8])
    assert torch.equal(wholes_first(boxes((2, 5), (1, 9)), value), value)


def test_neighbours_and_empty_masks_are_no_parts():
    value = torch.tensor([1.0, 0.99, 1.0])
    assert torch.equal(wholes_first(boxes((2, 8), (6, 15), (0, 0)), value), value)


def test_of_equal_masks_none_gives_way():
    value = torch.tensor([1.0, 1.0])
    assert torch.equal(wholes_first(boxes((2, 8), (2, 8)), value), value)


def test_one_of_two_things_is_no_part_of_both():
    both = boxes((1, 6), (1, 6))
    both[1, :, 9:15] = 1
    value = torch.tensor([0.9, 1.0])
    assert torch.equal(wholes_first(both, value), value)
