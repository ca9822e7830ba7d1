"""Collages are the same for a seed, and their masks say what is where."""

import numpy as np
import pytest

from grounding.stickers.collage import MOST_PIECES, make_collage
from grounding.stickers.textures import KINDS, paint_texture
from grounding.stickers.vocabulary import CONCEPTS, MATERIALS

SIZE = (96, 80)


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_have_the_size_and_range_of_pictures(kind):
    painted = kind(SIZE, np.random.default_rng(0))
    assert painted.shape == (80, 96, 3)
    assert np.isfinite(painted).all()
    whole = paint_texture(SIZE, np.random.default_rng(0))
    assert 0 <= whole.min() < whole.max() <= 255


def test_the_same_seed_makes_the_same_bits():
    one, two = make_collage(3, SIZE), make_collage(3, SIZE)
    assert np.array_equal(one.rendered.image, two.rendered.image)
    assert np.array_equal(one.rendered.masks, two.rendered.masks)
    assert not np.array_equal(one.rendered.image, make_collage(4, SIZE).rendered.image)


def test_pieces_do_not_share_pixels_and_lie_in_their_boxes():
    named = nameless = 0
    for seed in range(30):
        collage = make_collage(seed, SIZE)
        drawn = collage.rendered
        assert 1 <= len(collage.pieces) == len(drawn.masks) <= MOST_PIECES
        assert drawn.masks.sum(0).max() <= 1
        for piece, mask, box in zip(collage.pieces, drawn.masks, drawn.boxes, strict=True):
            y, x = np.nonzero(mask)
            if len(x):
                assert box[0] * 96 - 1e-3 <= x.min() <= x.max() < box[2] * 96 + 1e-3
                assert box[1] * 80 - 1e-3 <= y.min() <= y.max() < box[3] * 80 + 1e-3
            assert piece.concept is None or piece.concept in CONCEPTS
            assert piece.material is None or piece.material in MATERIALS
            named += piece.concept is not None
            nameless += piece.concept is None
    assert min(named, nameless) > 10
