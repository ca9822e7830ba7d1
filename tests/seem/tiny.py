"""Small SEEMs with random parameters, one image and prompts about it, the same in every run."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from seem.backbones import NanoDetConfig
from seem.config import CONFIGS, GroupingName
from seem.image_memory import ImageMemory
from seem.model import Seem, build_seem
from seem.prompt import TextTokens
from seem.refiner import RefinerConfig

SIZE = (64, 96)
TINY_NANODET = NanoDetConfig(stem=8, blocks=(1, 1, 1, 1), neck=16, classes=5)
TINY_REFINER = RefinerConfig(widths=(8, 8, 16, 16), edges=4, looks=6, heads=2)
REFINED = replace(  # as "photographs", but for its size
    CONFIGS["tiny"],
    backbone=TINY_NANODET,
    queries_per_object=4,
    mark_positions=True,
    refiner=TINY_REFINER,
)


@cache
def tiny_seem(grouping: GroupingName) -> Seem:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_seem(replace(CONFIGS["tiny"], grouping=grouping))
    return model.requires_grad_(False).eval()


@cache
def tiny_refined_seem() -> Seem:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_seem(REFINED)
    assert model.refiner is not None
    with torch.no_grad():  # so that its first masks are neither empty nor full
        model.refiner.coarse.weight.mul_(8)
        model.refiner.coarse.bias.fill_(3)
    return model.requires_grad_(False).eval()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def tiny_memory(grouping: GroupingName, images: int = 1) -> ImageMemory:
    return tiny_seem(grouping).encode_image(normal(1, images, 3, *SIZE))


def bitmap(*rectangles: tuple[int, int, int, int]) -> Tensor:
    """One bitmap for each (top, left, bottom, right)."""
    bitmaps = torch.zeros(len(rectangles), *SIZE, dtype=torch.bool)
    for picture, (top, left, bottom, right) in zip(bitmaps, rectangles, strict=True):
        picture[top:bottom, left:right] = True
    return bitmaps


def tiny_text(grouping: GroupingName, *lengths: int) -> TextTokens:
    """Texts of some lengths, made of arbitrary words."""
    longest = max(lengths)
    ids = torch.arange(len(lengths) * longest).view(len(lengths), longest) % 100 + 7
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 127
    return tiny_seem(grouping).encode_text(ids, mask)
