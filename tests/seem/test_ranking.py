"""Ranking: overlap with boxes, agreement with marks, and how they choose."""

import pytest
import torch

from seem.decoder import Predictions
from seem.encoded_image import EncodedImage
from seem.image_memory import ImageMemory
from seem.marks import Drawing
from seem.preprocess import ImageSize
from seem.ranking import OUTSIDE, agreement, box_overlap, clip_to_box, rank

SIZE = ImageSize(original=(40, 64), image=(40, 64), padded=(64, 64))
BOX = (0.25, 0.2, 0.75, 0.8)  # 16, 8 .. 48, 32 in pixels; 4, 2 .. 12, 8 in cells


def cells(*rectangles: tuple[int, int, int, int]) -> torch.Tensor:
    """Masks of the 16 x 16 map, each (top, left, bottom, right) in cells."""
    masks = torch.zeros(len(rectangles), 16, 16, dtype=torch.bool)
    for mask, (top, left, bottom, right) in zip(masks, rectangles, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def pixel(*places: tuple[int, int]) -> torch.Tensor:
    bitmap = torch.zeros(SIZE.padded, dtype=torch.bool)
    for y, x in places:
        bitmap[y, x] = True
    return bitmap


def image_of(masks: torch.Tensor) -> EncodedImage:
    """An image whose mask number i is that of the i-th unit vector."""
    features = torch.where(masks, 4.0, -4.0)[None]
    memory = ImageMemory(
        mask_features=features, levels=(), level_mask_features=(), keys=(), values=()
    )
    return EncodedImage(memory=memory, size=SIZE)


def candidates(count: int) -> Predictions:
    return Predictions(
        captions=torch.zeros(1, count, count), mask_embeddings=torch.eye(count)[None]
    )


def test_overlap_is_the_iou_of_bounding_boxes_and_the_part_inside() -> None:
    masks = cells((2, 4, 8, 12), (2, 4, 8, 8), (2, 8, 8, 16), (0, 0, 1, 1), (0, 0, 0, 0))
    masks[0, 3:7, 5:11] = False  # a ring has the box of a disc
    masks[1, 12:] = True  # padding does not count
    # of the third, 5 columns of 8 lie in the box and its margin, and 4 of them in the box
    expected = torch.tensor([1, 0.5, 4 / 9 * 5 / 8, 0, 0])
    torch.testing.assert_close(box_overlap(masks, BOX, SIZE), expected)


def test_agreement_counts_both_signs() -> None:
    masks = cells((2, 4, 8, 12), (0, 0, 16, 16), (0, 0, 0, 0))
    inside, half, beside = pixel((9, 17)), pixel((9, 17), (1, 1)), pixel((1, 1))
    for positive, negative, expected in (
        (inside, beside, [1, 0, 0]),
        (half, pixel(), [0.5, 1, 0]),
        (pixel(), beside, [1, 0, 1]),
        (pixel(), pixel(), [1, 1, 1]),
    ):
        assert agreement(masks, positive, negative).tolist() == expected


def test_masks_of_a_box_end_at_its_margin() -> None:
    clipped = clip_to_box(torch.full((1, 16, 16), 3.0), BOX, SIZE)[0]
    assert (clipped[2:8, 4:12] == 3).all()
    assert (clipped[:, :3] == OUTSIDE).all()
    assert (clipped[:, 13:] == OUTSIDE).all()
    assert (clipped[:1] == OUTSIDE).all()
    assert (clipped[9:] == OUTSIDE).all()


def test_a_box_takes_the_mask_that_fills_it_and_marks_decide_between_equals() -> None:
    masks = cells((0, 0, 10, 16), (2, 4, 8, 12), (2, 4, 8, 12), (3, 5, 6, 10))
    masks[1, 3, 5] = False
    masks[2, 5, 9] = False
    nothing = {"mean": None, "probability": None}
    for place, winner in (((3, 5), 2), ((5, 9), 1)):
        clicked = pixel((4 * place[0], 4 * place[1]))
        drawing = Drawing(
            positive=clicked, negative=pixel(), evidence=clicked, counter_evidence=pixel()
        )
        ranked = rank(candidates(4), image_of(masks), drawing=drawing, box=BOX, **nothing)
        assert torch.equal(ranked.mask_logits[0] > 0, masks[winner])
        assert ranked.probability.tolist() == [1, 1, 1]


def test_marks_say_which_of_the_likely_ones() -> None:
    masks = cells((0, 0, 4, 4), (4, 4, 8, 8), (0, 8, 8, 16))
    clicked = pixel((20, 20))
    drawing = Drawing(
        positive=clicked, negative=pixel(), evidence=clicked, counter_evidence=pixel()
    )
    chance = torch.tensor([0.9, 0.3, 0.6])
    likely = {"mean": None, "probability": chance, "box": None}
    alone = rank(candidates(3), image_of(masks), drawing=None, **likely)
    assert alone.probability.tolist() == pytest.approx([0.9, 0.6, 0.3])
    marked = rank(candidates(3), image_of(masks), drawing=drawing, **likely)
    assert torch.equal(marked.mask_logits[0] > 0, masks[1])
    # The others contradict the click; the likelier comes first even so.
    assert marked.probability.tolist() == pytest.approx([0.3, 0.9, 0.6])


def test_drawn_prompts_go_by_the_mean_feature() -> None:
    masks = cells((0, 0, 4, 4), (4, 4, 8, 8), (0, 8, 8, 16))
    mean = torch.tensor([[0.1, -1.0, 2.0]])
    ranked = rank(
        candidates(3),
        image_of(masks),
        mean=mean,
        probability=None,
        drawing=None,
        box=None,
    )
    assert torch.equal(ranked.mask_logits > 0, masks[[2, 0, 1]])


def test_masks_that_are_known_are_not_computed_again() -> None:
    masks = cells((2, 4, 8, 12), (0, 0, 4, 4))
    asked = {"mean": None, "probability": None, "drawing": None, "box": BOX}
    known = torch.where(masks[1:], 4.0, -4.0)
    wrong = Predictions(captions=torch.zeros(1, 2, 2), mask_embeddings=torch.eye(2)[None, :, :])
    wrong.mask_embeddings[0, 1] = torch.nan  # of the one that is known
    ranked = rank(wrong, image_of(masks), known=known, **asked)
    assert torch.equal(ranked.mask_logits, torch.where(masks, 4.0, -4.0))
