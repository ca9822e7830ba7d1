"""Repainting: the model looks at a window, and only the box changes."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from grounding.errors import LavallamaError
from grounding.masks import box_to_bitmap
from pipelines.edit.repaint import Repainting
from tests.pipelines.edit.stand_ins import COLOURS, Discs, studio


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (40, 90)])
def test_only_the_box_changes(size):
    old = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    box, models = (0.3, 0.2, 0.6, 0.7), studio()
    drawing = Repainting(prompt="a cat", phrase="cat", box=box, seed=5)
    new = drawing(old, models)
    inside = box_to_bitmap(box, size)
    assert (new[~inside] == old[~inside]).all()
    middle = new[round(0.45 * size[1]), round(0.45 * size[0])]
    assert np.abs(middle.astype(int) - COLOURS["cat"]).max() < 40
    assert isinstance(models.generator, Discs)
    [(asked, wishes)] = models.generator.asked
    assert wishes == {"seed": 5, "strength": None}
    assert asked.prompt == "a cat"


def test_a_model_that_cannot_says_so():
    drawing = Repainting(prompt="a cat", phrase="cat", box=(0, 0, 0.5, 0.5), seed=0)
    for modality in (None, "depth"):
        with pytest.raises(LavallamaError, match="discs cannot redraw a part of a picture"):
            drawing(np.zeros((8, 8, 3), np.uint8), studio(modality=modality))
    assert studio(modality=None, inpaints=True).inpaints


def test_a_closeup_is_drawn_at_the_models_size():
    old, models = np.zeros((48, 64, 3), np.uint8), studio()
    drawing = Repainting(prompt="a cat", phrase="cat", box=(0.1, 0.1, 0.3, 0.4), seed=0)
    for closeup, sides in ((False, (0.2, 0.3)), (True, (0.44, 0.5))):
        dataclasses.replace(drawing, closeup=closeup)(old, models)
        assert isinstance(models.generator, Discs)
        [region] = models.generator.asked[-1][0].regions
        x0, y0, x1, y1 = region.box
        assert (x1 - x0, y1 - y0) == pytest.approx(sides, abs=0.03)


def test_a_closeup_keeps_its_shape(monkeypatch):
    models, shown = studio(), []
    draw = type(models.generator).__call__

    def seen(self, documents, **wishes):
        uri = wishes["image"].partition(",")[2]
        shown.append(Image.open(io.BytesIO(base64.b64decode(uri))).size)
        return draw(self, documents, **wishes)

    monkeypatch.setattr(type(models.generator), "__call__", seen)
    drawing = Repainting(
        prompt="a cat", phrase="cat", box=(0.0, 0.0, 0.9, 0.9), seed=0, closeup=True
    )
    drawing(np.zeros((30, 60, 3), np.uint8), models)
    [(width, height)] = shown
    assert width > 1.5 * height
