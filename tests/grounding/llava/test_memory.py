"""What was seen is not looked at again."""

import numpy as np
import torch
from PIL import Image

from grounding.llava.memory import PictureMemory


def pictures(count):
    return [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(count)]


def red(picture):
    return float(np.asarray(picture).flat[0])


def test_equal_pictures_are_seen_once():
    memory, seen = PictureMemory(), []

    def look(picture):
        seen.append(picture)
        return torch.full((2, 3), red(picture))

    for picture in (*pictures(3), *pictures(3)):
        words = memory.recall(picture, lambda one=picture: look(one))
        assert words[0, 0] == red(picture)
    assert len(seen) == 3
    memory.recall(Image.new("L", (4, 12)), lambda: look(pictures(1)[0]))  # the same bytes
    assert len(seen) == 4


def test_what_was_used_longest_ago_is_forgotten():
    memory, seen = PictureMemory(limit=2 * 24), []
    one, two, three = pictures(3)

    def recall(picture):
        memory.recall(picture, lambda: seen.append(picture) or torch.zeros(2, 3))

    for picture in (one, two, one, three, one, two):
        recall(picture)
    assert seen == [one, two, three, two]
