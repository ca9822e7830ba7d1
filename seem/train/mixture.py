"""Several sets of scenes as one, each with a share of what is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from seem.train.crop import resize_pair
from seem.train.scenes import Lexicon, Record, Scenes
from seem.vocabulary import BACKGROUND

__all__ = ["Mixture", "Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some scenes of a set.

    Attributes:
        scenes: The set.
        numbers: Which of them.
        share: Of all that is drawn.
    """

    scenes: Scenes
    numbers: Sequence[int]
    share: float


class Mixture:
    """Scenes of several sets (`seem.train.scenes.Scenes`), at one size."""

    def __init__(self, parts: Sequence[Part], size: int) -> None:
        """Join them.

        Args:
            parts: At least one, each with a scene.
            size: Pixels of a side of what is read.
        """
        self.parts, self.size = parts, size
        self._places = [(part.scenes, number) for part in parts for number in part.numbers]
        self.records: list[Record] = []
        for part in parts:
            records = part.scenes.records
            self.records += [records[number] for number in part.numbers]
        self.lexicon = _join([part.scenes.lexicon for part in parts])

    @property
    def weights(self) -> Float[np.ndarray, " N"]:
        """How often each scene is drawn; they sum to 1."""
        total = sum(part.share for part in self.parts)
        each = [np.full(len(p.numbers), p.share / total / len(p.numbers)) for p in self.parts]
        return np.concatenate(each)

    def name(self, number: int) -> str:
        """What its own set calls it."""
        scenes, own = self._places[number]
        return scenes.name(own)

    def read(
        self, number: int, generator: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]:
        """A square of a scene."""
        scenes, own = self._places[number]
        image, owners = scenes.read(own, generator)
        if image.shape[:2] != (self.size, self.size):
            image, owners = resize_pair(image, owners, (self.size, self.size))
        return image, owners


def _join(lexicons: Sequence[Lexicon]) -> Lexicon:
    """All words, each once: what is a thing somewhere is one."""
    concepts = dict.fromkeys(name for one in lexicons for name in one.concepts)
    materials = dict.fromkeys(name for one in lexicons for name in one.materials)
    grounds = dict.fromkeys(name for one in lexicons for name in one.backgrounds)
    return Lexicon(
        concepts=tuple(concepts),
        materials=tuple(name for name in materials if name not in concepts),
        backgrounds=tuple(name for name in grounds if name not in concepts and name != BACKGROUND),
    )
