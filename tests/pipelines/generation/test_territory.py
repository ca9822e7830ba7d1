import torch

from grounding.masks import bitmap_to_rle
from grounding.region import Region
from pipelines.generation.territory import territory

SIZE, CELLS = (32, 16), (4, 8)  # (width, height) in pixels, (height, width) in cells of 4 x 4
LEFT = Region(phrase="left", box=(0, 0, 0.5, 1))
CORNER = Region(phrase="corner", box=(0, 0, 0.25, 0.375))


def owners(*regions: Region) -> list[list[str]]:
    """For each row of cells, the numbers of the regions that own each; a dot for none."""
    owned = territory(regions, 4, SIZE, CELLS).owned(*CELLS)[0].unflatten(1, CELLS)
    return [
        ["".join(str(r) for r in range(len(regions)) if owned[r, y, x]) or "." for x in range(8)]
        for y in range(4)
    ]


def test_shares_are_of_cells():
    apart = territory([LEFT, CORNER], 4, SIZE, CELLS)
    assert apart.covered.shape == (1, 4, *CELLS)
    assert apart.covered[0, 1, :3, 1].tolist() == [1, 0.5, 0]
    assert torch.equal(apart.seen[0, 1], apart.covered[0, 1])
    assert apart.seen[0, 0, :3, 1].tolist() == [0, 0.5, 1]
    assert not apart.covered[0, 2:].any()


def test_the_smaller_is_in_front_unless_z_says_otherwise():
    expected = [[*"11", *"00", *"...."], [*"11", *"00", *"...."], *[[*"0000...."]] * 2]
    assert owners(LEFT, CORNER) == expected
    assert owners(LEFT.replace(z=-1), CORNER) == expected
    assert owners(LEFT.replace(z=1), CORNER) == [[*"0000...."]] * 4


def test_several_phrases_of_one_box_share_it():
    assert owners(LEFT, LEFT.replace(phrase="other")) == [["01"] * 4 + ["."] * 4] * 4


def test_an_outline_says_more_than_a_box():
    bitmap = torch.zeros(16, 32, dtype=torch.bool)
    bitmap[:, :4] = True
    masked = LEFT.replace(mask=bitmap_to_rle(bitmap.numpy()))
    assert owners(masked) == [[*"0......."]] * 4
    drawn = LEFT.replace(polygon=[[(0, 0), (0.12, 0), (0.12, 1), (0, 1)]])
    assert owners(drawn) == [[*"0......."]] * 4
