"""Repainting: the model looks at a window, and only the box changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import LavallamaError
from grounding.masks import box_to_bitmap
from pipelines.edit.repaint import Repainting, window
from tests.pipelines.edit.stand_ins import COLOURS, Discs, studio

sides = st.integers(1, 400)
fractions = st.tuples(*[st.integers(0, 100)] * 2).filter(lambda pair: pair[0] != pair[1])


@given(sides, sides, fractions, fractions)
def test_a_window_holds_its_box(width, height, across, down):
    (x0, x1), (y0, y1) = sorted(across), sorted(down)
    box = (x0 / 100, y0 / 100, x1 / 100, y1 / 100)
    view = window(box, (width, height), (64, 48))
    assert view.target[0] <= width
    assert view.target[1] <= height
    assert view.target[0] >= min(64, width)
    assert view.target[1] >= min(48, height)
    inside = view.normalized_box(box)
    assert min(inside) >= -1 / min(view.target)
    assert max(inside) <= 1 + 1 / min(view.target)


def test_a_picture_of_the_models_size_is_seen_whole():
    view = window((0.1, 0.1, 0.3, 0.9), (64, 48), (64, 48))
    assert view.target == (64, 48)
    assert view.offset == (0, 0)


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
