"""Art made on the spot: a disc, a two-coloured box, a model with two parts, a photograph."""

import numpy as np

from grounding.composites.art import Art
from grounding.composites.regions import add_regions


def make_art() -> Art:
    y, x = np.mgrid[0:64, 0:48]
    disc = np.zeros((64, 48, 4), np.uint8)
    disc[(y - 32) ** 2 + (x - 24) ** 2 < 23**2] = (200, 80, 40, 255)
    box = np.full((64, 48, 4), (30, 90, 200, 255), np.uint8)
    box[40:], box[:4] = (240, 220, 60, 255), 0
    view = np.zeros((64, 48, 5), np.uint8)
    view[4:60, 8:40] = (120, 120, 120, 255, 1)
    view[4:30, 8:40] = (60, 180, 60, 255, 2)
    photograph = np.zeros((120, 160, 3), np.uint8)
    photograph[:50], photograph[50:] = (120, 170, 230), (90, 120, 60)
    photograph[30:90, 40:80] = (180, 60, 50)
    texture = np.random.default_rng(0).integers(90, 160, (64, 64, 3), dtype=np.uint8)
    return Art(
        cutouts=[disc, box],
        models=[[view, view[:, ::-1]]],
        photographs=[add_regions(photograph)],
        textures=[texture],
    )
