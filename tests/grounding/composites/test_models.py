import numpy as np

from grounding.composites.models import View, read_model, render_model

CUBE = """
v -1 -1 -1
v 1 -1 -1
v 1 1 -1
v -1 1 -1
v -1 -1 1
v 1 -1 1
v 1 1 1
v -1 1 1
usemtl red
f 5 6 7 8
usemtl blue
f -7 -6 -2 -3
f 1 4 3 2
f 1 5 8 4
f 4 8 7 3
f 1 2 6 5
"""
COLOURS = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n"
FRONT = View(turn=0, tilt=0, distance=4, light=(0, 0, 1), ambient=0.5)


def seen(text=CUBE, view=FRONT, **how):
    model = read_model(text, COLOURS, lambda name: None)
    assert model is not None
    picture = render_model(model, view, 64, **how)
    assert picture is not None
    return picture


def test_the_nearest_face_hides_the_others():
    picture = seen()
    assert picture.shape[2] == 5
    height, width = picture.shape[:2]
    assert abs(height - width) <= 1
    inside = picture[2:-2, 2:-2]
    assert (inside[..., 3] == 255).all()
    assert (inside[..., 0] > 200).all()
    assert (inside[..., 2] < 60).all()
    assert len(np.unique(inside[..., 4])) == 1


def test_materials_are_parts():
    picture = seen(view=View(turn=0.6, tilt=0.4, distance=4, light=(0, 1, 0), ambient=0.6))
    parts = {int(part) for part in np.unique(picture[..., 4][picture[..., 3] == 255])}
    assert len(parts - {1}) == 2
    red = picture[..., 0].astype(int) > picture[..., 2]
    opaque = picture[..., 3] == 255
    for part in parts - {1}:
        share = red[opaque & (picture[..., 4] == part)].mean()
        assert share < 0.05 or share > 0.95


def test_a_face_is_drawn_once_from_either_side():
    front = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nusemtl red\nf 1 2 3 4\n"
    back = front.replace("f 1 2 3 4", "f 4 3 2 1")
    assert (seen(front) == seen(back)).all()


def test_nothing_is_no_model():
    assert read_model("v 0 0 0\n", "", lambda name: None) is None
