"""Two pictures and two captions of the same words, each of which fits one of the pictures.

In the manner of Winoground (Thrush et al., arXiv 2204.03162): a model that sees what is there, but
not what belongs to what, is right in half of the cases. Pink on top or blue on top?
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np

from grounding.planning.relations import cover
from grounding.stickers.captions import direction
from grounding.stickers.scene import Box, Scene, Sticker
from grounding.stickers.vocabulary import article
from grounding.stickers.world import HELD_OUT_PAIRS

__all__ = ["Twins", "find_twins"]

MOST_COVER = 0.05  # of the smaller of two boxes, by the other


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Two scenes and their captions.

    Attributes:
        scenes: Alike but for who is where, or what is made of what.
        captions: Of either, of the same words.
        kind: What was exchanged: "places" or "materials".
    """

    scenes: tuple[Scene, Scene]
    captions: tuple[str, str]
    kind: str

    @property
    def holds_out(self) -> bool:
        """Whether something on the pictures is made of what it never is in training."""
        stickers = [sticker for scene in self.scenes for sticker in scene.stickers]
        return any((sticker.material, sticker.concept) in HELD_OUT_PAIRS for sticker in stickers)


def find_twins(scene: Scene, generator: np.random.Generator) -> list[Twins]:
    """Exchange two things of a scene, in either way, where that can be done.

    Args:
        scene: Of any split.
        generator: Decides which two.

    Returns:
        None, one or both: things that change places must lie well apart and must not cover others
        where they come to lie; those that exchange materials must not be alike.
    """
    pairs = list(permutations(range(len(scene.stickers)), 2))
    order = [pairs[i] for i in generator.permutation(len(pairs))]
    found = []
    for exchange in (_places, _materials):
        options = (exchange(scene, *pair) for pair in order if _are_single(scene, pair))
        found += [twins for twins in options if twins is not None][:1]
    return found


def _are_single(scene: Scene, pair: tuple[int, int]) -> bool:
    """Whether each of two things is the only one of its concept."""
    concepts = [sticker.concept for sticker in scene.stickers]
    return all(concepts.count(concepts[i]) == 1 for i in pair)


def _places(scene: Scene, one: int, two: int) -> Twins | None:
    a, b = scene.stickers[one], scene.stickers[two]
    where = direction(a.box, b.box)
    moved = replace(a, box=_centred(a.box, b.box)), replace(b, box=_centred(b.box, a.box))
    other = _exchanged(scene, {one: moved[0], two: moved[1]})
    if where is None or direction(moved[1].box, moved[0].box) != where or _overlaps(other.stickers):
        return None
    names = article(a.phrase), article(b.phrase)
    captions = f"{names[0]} {where} {names[1]}", f"{names[1]} {where} {names[0]}"
    return Twins(scenes=(scene, other), captions=captions, kind="places")


def _materials(scene: Scene, one: int, two: int) -> Twins | None:
    a, b = scene.stickers[one], scene.stickers[two]
    if a.material == b.material or a.material is None or b.material is None:
        return None
    swapped = replace(a, material=b.material), replace(b, material=a.material)
    captions = [f"{article(x.phrase)} and {article(y.phrase)}" for x, y in ((a, b), swapped)]
    other = _exchanged(scene, {one: swapped[0], two: swapped[1]})
    return Twins(scenes=(scene, other), captions=(captions[0], captions[1]), kind="materials")


def _exchanged(scene: Scene, changes: dict[int, Sticker]) -> Scene:
    stickers = tuple(changes.get(i, sticker) for i, sticker in enumerate(scene.stickers))
    return replace(scene, stickers=stickers)


def _centred(box: Box, other: Box) -> Box:
    """A box in the middle of another, moved onto the canvas."""
    width, height = box[2] - box[0], box[3] - box[1]
    x = min(max((other[0] + other[2] - width) / 2, 0.0), 1.0 - width)
    y = min(max((other[1] + other[3] - height) / 2, 0.0), 1.0 - height)
    return x, y, x + width, y + height


def _overlaps(stickers: Sequence[Sticker]) -> bool:
    return any(cover(a.box, b.box) > MOST_COVER for a, b in combinations(stickers, 2))
