"""Prepared pictures as examples of gates: latents and texts from the cache, grounding beside them.

Axes: B batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gligen.train.examples import Batch, Draw
from pipelines.generation.grounder import Grounder
from pipelines.generation.request import Grounding
from pipelines.generation.text import Words
from pipelines.training.gligen.cache import CachedReader
from pipelines.training.gligen.prepare import Prepared, Preparer

__all__ = ["PreparedExamples"]


@dataclass
class PreparedExamples:
    """A prepared data set.

    Attributes:
        pictures: What is learnt from.
        preparer: What prepared them.
        reader: Of captions and phrases.
        grounder: Reads documents for the adapter that is trained.
    """

    pictures: Sequence[Prepared]
    preparer: Preparer
    reader: CachedReader
    grounder: Grounder

    def __post_init__(self) -> None:
        """Sort the pictures by size."""
        sizes = sorted({one.size for one in self.pictures})
        numbers = range(len(self.pictures))
        self.buckets = [[n for n in numbers if self.pictures[n].size == size] for size in sizes]

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """Read some pictures of one bucket."""
        words = Words.together([self._words(draw) for draw in draws])
        grounding = [self._grounding(draw) for draw in draws]
        maps = [one.maps for one in grounding if one.maps is not None]
        latents = [
            self.preparer.latents(self.pictures[draw.number], flip=draw.mirrored) for draw in draws
        ]
        columns = zip(*(one.inputs for one in grounding), strict=True)
        return Batch(
            latents=torch.cat(latents),
            context=words.context,
            added=words.added,
            grounding=tuple(torch.cat(column) for column in columns),
            maps=torch.cat(maps) if maps else None,
        )

    def encode_texts(self) -> None:
        """See to it that every caption and phrase is in the cache."""
        for flip in (False, True) if self.preparer.flips else (False,):
            for number, one in enumerate(self.pictures):
                prompt = self.preparer.captioned(one, flip=flip).prompt
                self.reader.keep_prompt(prompt, _nobody, one.size)
                self._grounding(Draw(number=number, mirrored=flip, captioned=True))

    def _words(self, draw: Draw) -> Words:
        one = self.pictures[draw.number]
        if not draw.captioned:
            return self.reader.without_caption(one.size, _nobody)
        document = self.preparer.captioned(one, flip=draw.mirrored)
        return self.reader.prompt(document.prompt, _nobody, one.size)

    def _grounding(self, draw: Draw) -> Grounding:
        one = self.pictures[draw.number]
        document = self.preparer.request(one, flip=draw.mirrored)
        found = self.grounder(document, one.size, _nobody)
        assert found is not None, "pictures without anything to ground are dropped"
        return found


def _nobody(_: str) -> None:
    """Captions are cut where the text encoder ends, which need not be said at every step."""
