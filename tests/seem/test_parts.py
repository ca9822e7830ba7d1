"""Of a mask's parts those stay that were pointed at."""

import torch

from seem.parts import touched_parts


def two_parts() -> torch.Tensor:
    mask = torch.full((1, 8, 8), -1.0)
    mask[0, 1:3, 1:3] = 2.0
    mask[0, 5:7, 4:8] = 3.0
    return mask


def drawn(*places: tuple[int, int]) -> torch.Tensor:
    evidence = torch.zeros(32, 32, dtype=torch.bool)
    for y, x in places:
        evidence[4 * y, 4 * x] = True
    return evidence


def test_a_click_keeps_its_part() -> None:
    found = touched_parts(two_parts(), drawn((1, 2)))[0]
    assert (found[1:3, 1:3] == 2).all()
    assert (found[5:7, 4:8] < 0).all()


def test_clicks_on_both_parts_keep_both() -> None:
    assert torch.equal(touched_parts(two_parts(), drawn((1, 1), (6, 5))), two_parts())


def test_a_click_beside_all_parts_changes_nothing() -> None:
    assert torch.equal(touched_parts(two_parts(), drawn((0, 7))), two_parts())


def test_no_masks_stay_none() -> None:
    assert touched_parts(two_parts()[:0], drawn((1, 1))).shape == (0, 8, 8)
