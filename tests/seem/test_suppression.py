"""Suppression: one mask for each thing."""

import pytest
import torch

from grounding.errors import PromptError
from seem.preprocess import ImageSize
from seem.suppression import distinct

SIZE = ImageSize(original=(30, 40), image=(30, 40), padded=(32, 64))


def strips(*spans: tuple[int, int]) -> torch.Tensor:
    masks = torch.full((len(spans), 8, 16), -1.0)
    for mask, (left, right) in zip(masks, spans, strict=True):
        mask[:, left:right] = 1
    return masks


def test_of_masks_that_overlap_the_most_certain_stays() -> None:
    masks = strips((0, 4), (1, 5), (5, 9), (0, 4))
    certainty = torch.tensor([0.6, 0.9, 0.7, 0.1])
    every = {"threshold": 0.0, "overlap": 0.6}
    assert distinct(masks, certainty, SIZE, **every).tolist() == [1, 2]
    every["overlap"] = 0.61  # the first two share 3 of 5 columns
    assert distinct(masks, certainty, SIZE, **every).tolist() == [1, 2, 0]


def test_a_part_of_what_stays_is_the_same_thing_and_so_is_a_whole_whose_part_stays() -> None:
    masks = strips((0, 8), (2, 5), (6, 9))  # one holds all of the second, two thirds of the third
    every = {"threshold": 0.0, "overlap": 0.5}
    for certainty, kept in (([0.9, 0.8, 0.7], [0]), ([0.7, 0.9, 0.8], [1, 2])):
        assert distinct(masks, torch.tensor(certainty), SIZE, **every).tolist() == kept
    every["overlap"] = 0.7
    assert distinct(masks, torch.tensor([0.9, 0.8, 0.7]), SIZE, **every).tolist() == [0, 2]


def test_things_that_another_mask_takes_together_stay() -> None:
    masks = strips((0, 3), (5, 8), (0, 3))
    masks[0, :, 5:8] = 1  # two places, which the others fill
    every = {"threshold": 0.0, "overlap": 0.6}
    for certainty, kept in (([0.9, 0.8, 0.1], [0, 1, 2]), ([0.8, 0.9, 0.1], [1, 0, 2])):
        assert distinct(masks, torch.tensor(certainty), SIZE, **every).tolist() == kept


def test_what_is_uncertain_or_empty_goes() -> None:
    masks = strips((0, 4), (5, 5), (5, 9), (12, 16))  # the last lies on the padding
    certainty = torch.tensor([0.4, 0.9, 0.5, 0.8])
    assert distinct(masks, certainty, SIZE, threshold=0.5, overlap=0.5).tolist() == [2]
    assert distinct(masks[:0], certainty[:0], SIZE, threshold=0.5, overlap=0.5).tolist() == []


def test_equals_stay_in_their_order() -> None:
    masks, certainty = strips((0, 4), (4, 8), (0, 4)), torch.tensor([0.5, 0.5, 0.5])
    assert distinct(masks, certainty, SIZE, threshold=0.0, overlap=1.0).tolist() == [0, 1]


@pytest.mark.parametrize("wrong", [{"threshold": -0.1}, {"overlap": 1.5}])
def test_fractions_are_fractions(wrong: dict) -> None:
    with pytest.raises(PromptError, match="must lie in 0..1"):
        distinct(strips((0, 4)), torch.ones(1), SIZE, **{"threshold": 0.5, "overlap": 0.5, **wrong})
