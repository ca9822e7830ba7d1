"""Outlines: what is drawn counts; of what SEEM says of a box, the answer that fits it."""

import numpy as np

from grounding.masks import bitmap_to_rle, box_to_bitmap, region_bitmap
from grounding.prompt import GroundedPrompt, Region
from pipelines.edit.outline import outline, sought
from pipelines.edit.studio import Studio
from tests.pipelines.edit.stand_ins import Colours, Discs, scene, studio

BOX = (0.2, 0.2, 0.7, 0.8)


class Confused(Colours):
    """Answers each way of asking with another mask."""

    def __init__(self, *masks: np.ndarray):
        super().__init__()
        self.masks = list(masks)

    def predict_document(self, document: GroundedPrompt) -> GroundedPrompt:
        masks = [bitmap_to_rle(self.masks.pop(0)) for _ in document.regions]
        pairs = zip(document.regions, masks, strict=True)
        return document.replace(regions=[region.replace(mask=mask) for region, mask in pairs])


def disc() -> np.ndarray:
    rows, columns = np.mgrid[:48, :64] + 0.5
    return ((columns - 28.8) / 16) ** 2 + ((rows - 24) / 14.4) ** 2 <= 1


def test_a_thing_does_not_fill_its_box_along_the_edge():
    inside = box_to_bitmap(BOX, (64, 48))
    behind, elsewhere = inside & ~disc(), np.zeros((48, 64), bool)
    elsewhere[:5, 60:] = True
    for masks in ([behind, elsewhere, disc(), elsewhere], [behind, behind, elsewhere, disc()]):
        models = Studio(drawing=Discs(), finding=Confused(*masks))
        found = sought(Region(id="r1", phrase="llama", box=BOX), scene(), models)
        assert (found == disc()).all()


def test_what_is_drawn_is_not_asked_about_but_for_pinholes():
    pricked = disc()
    pricked[20:22, 30:32] = False
    pricked[28:36, 22:34] = False  # no pinhole
    region = Region(id="r1", mask=bitmap_to_rle(pricked))
    models = Studio(drawing=Discs(), finding=Confused())
    area = outline(region, scene(), models)
    assert area[20:22, 30:32].all()
    assert not area[28:36, 22:34].any()
    assert (area & ~disc()).sum() == 0
    ring = Region(id="r2", polygon=[[(0.1, 0.1), (0.3, 0.1), (0.3, 0.4)]])
    assert (outline(ring, scene(), models) == region_bitmap(ring, (64, 48))).all()


def test_clicks_are_asked_as_they_are():
    clicked = Region(id="r9", phrase="dog", points=[{"xy": [0.8, 0.6]}], box=BOX)
    assert not outline(clicked.replace(box=None), scene(), studio())[:, :40].any()
