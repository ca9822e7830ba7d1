"""The detector as a backbone: maps, strides, boxes."""

import pytest
import torch

from seem.backbones import NanoDetConfig, build_backbone
from seem.backbones.nanodet import BINS, SIDES, NanoDet, decode_boxes
from tests.seem.tiny import TINY_NANODET, normal, tiny_refined_seem

CLASSES = TINY_NANODET.classes


def network() -> NanoDet:
    backbone = tiny_refined_seem().backbone
    assert isinstance(backbone, NanoDet)
    return backbone


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (32, 32), (96, 32)])
def test_maps_have_the_strides_and_channels_that_it_names(size) -> None:
    backbone = network()
    maps = backbone(normal(0, 2, 3, *size))
    for level, stride, channels in zip(maps, (4, 8, 16, 32), backbone.channels, strict=True):
        assert level.shape == (2, channels, size[0] // stride, size[1] // stride)
    answers = backbone.detector_maps(*maps[1:])
    for level, stride in zip(answers, (8, 16, 32), strict=True):
        assert level.shape == (2, CLASSES + SIDES * BINS, size[0] // stride, size[1] // stride)


@torch.no_grad()
def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    pixels = normal(0, 2, 3, 64, 64)
    for both, alone in zip(network()(pixels), network()(pixels[1:]), strict=True):
        torch.testing.assert_close(both[1:], alone)


def test_the_published_size() -> None:
    with torch.device("meta"):
        backbone = build_backbone(NanoDetConfig())
    assert sum(p.numel() for p in backbone.parameters()) == 3_786_068
    assert backbone.channels == (64, 128, 256, 512)


def test_boxes_are_distances_from_the_middles_of_cells() -> None:
    maps = [torch.zeros(CLASSES + SIDES * BINS, 64 // s, 96 // s) for s in (8, 16, 32)]
    for level in maps:
        level[:CLASSES] = -9
    level, row, column = maps[1], 2, 4
    level[3, row, column] = 9
    for side, bin_ in enumerate((2, 1, 0, 10)):  # left, top, right, bottom; in strides
        level[CLASSES + side * BINS + bin_, row, column] = 90
    boxes, scores = decode_boxes(maps, CLASSES)
    assert len(boxes) == len(scores) == 96 + 24 + 6
    best = int(scores.max(1).values.argmax())
    assert best == 96 + row * 6 + column
    assert scores[best].argmax() == 3
    x, y = (column + 0.5) * 16, (row + 0.5) * 16
    torch.testing.assert_close(boxes[best], torch.tensor([x - 32, y - 16, x, y + 160]))
    # a flat distribution reaches as far as the mean of its bins, here of stride 32
    torch.testing.assert_close(boxes[-1], torch.tensor([80.0, 48, 80, 48]) + 160 * SIGNS)
    scores[best, 3] = 0
    assert scores.max() < 0.001


SIGNS = torch.tensor([-1.0, -1, 1, 1])
