"""What was drawn holds, and what is unlike it or far from it stays."""

import torch

from seem import correction
from seem.correction import MARGIN, MOST_CELLS, kept_to_marks
from seem.mask_rules import MaskRules
from tests.seem.predicting import picture, tiny_predictor


def two_kinds() -> torch.Tensor:
    """Features of a map whose left half is of one kind and whose right half of another."""
    features = torch.zeros(2, 8, 16)
    features[0, :, :8] = 1
    features[1, :, 8:] = 3
    return features


def drawn(*places: tuple[int, int], size: tuple[int, int] = (32, 64)) -> torch.Tensor:
    bitmap = torch.zeros(size, dtype=torch.bool)
    for y, x in places:
        bitmap[4 * y, 4 * x] = True
    return bitmap


def test_a_click_pulls_what_is_like_it_and_near_into_the_mask():
    wrong = torch.full((1, 8, 16), -2.0)
    [found] = kept_to_marks(wrong, two_kinds(), drawn((4, 6)), drawn())
    assert found[4, 6] > 0.8 * MARGIN
    assert found[4, 5] > 0, "a neighbour of its kind comes along"
    assert found[4, 8] < -1, "one of the other kind does not"
    assert found[4, 0] < -1.7, "nor does one that is far"


def test_a_click_beside_the_object_pushes_out():
    wrong = torch.full((1, 8, 16), 2.0)
    [found] = kept_to_marks(wrong, two_kinds(), drawn((4, 12)), drawn((4, 6)))
    assert found[4, 6] < 0 < found[4, 12]


def test_a_mask_that_agrees_stays_to_the_bit_and_costs_no_kernel(monkeypatch):
    monkeypatch.setattr(correction, "_kernel", None)
    right = torch.where(two_kinds()[:1] > 0, MARGIN + 1, -MARGIN - 1)
    assert torch.equal(kept_to_marks(right, two_kinds(), drawn((4, 3)), drawn((4, 12))), right)
    assert torch.equal(kept_to_marks(right, two_kinds(), drawn(), drawn()), right)


def test_masks_do_not_change_one_another():
    masks = torch.stack([torch.full((8, 16), -2.0), torch.full((8, 16), 4.0)])
    marks = drawn((4, 6)), drawn((1, 12))
    together = kept_to_marks(masks, two_kinds(), *marks)
    alone = [kept_to_marks(mask[None], two_kinds(), *marks)[0] for mask in masks]
    torch.testing.assert_close(together, torch.stack(alone))


def test_of_a_long_stroke_some_pixels_are_enough():
    everything = torch.ones(32, 64, dtype=torch.bool)
    assert everything.sum() / 16 <= MOST_CELLS
    large = torch.ones(4 * 40, 4 * 40, dtype=torch.bool)
    features, masks = torch.ones(3, 40, 40), torch.full((1, 40, 40), -1.0)
    assert (kept_to_marks(masks, features, large, ~large) > 0).all()


def test_a_predictor_that_corrects_honours_every_click():
    predictor = tiny_predictor()
    predictor.rules = MaskRules(corrected=True)
    predictor.set_image(picture())
    points = [(20, 20), (60, 40), (40, 30)]
    [mask] = predictor.predict(points=points, labels=[1, 1, 0]).masks
    assert [bool(mask[y, x]) for x, y in points] == [True, True, False]
    predictor.rules = MaskRules()
    [plain] = predictor.predict(points=points, labels=[1, 1, 0]).masks
    assert not torch.equal(mask, plain)
