import numpy as np

from grounding.composites.regions import add_regions


def test_even_areas_are_regions_and_fine_ones_make_up_coarse_ones():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, :40], picture[:, 40:] = (200, 40, 40), (40, 40, 200)
    picture[20:40, 10:30] = (40, 200, 40)
    noise = np.random.default_rng(0).integers(-3, 4, picture.shape)
    result = add_regions(np.clip(picture + noise, 0, 255).astype(np.uint8))
    fine, coarse = result[..., 3], result[..., 4]
    assert (result[..., :3] == np.clip(picture + noise, 0, 255)).all()
    for rows, columns in ((slice(2, 18), slice(2, 38)), (slice(22, 38), slice(12, 28))):
        assert len(np.unique(fine[rows, columns])) == 1
    assert fine[5, 5] != fine[30, 20] != fine[5, 60] != fine[5, 5]
    for region in np.unique(fine):
        assert len(np.unique(coarse[fine == region])) == 1
    assert fine.min() >= 1
    assert coarse.min() >= 1
