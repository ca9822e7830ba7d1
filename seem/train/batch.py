"""A batch to learn from: pictures somewhat changed, whose pixel is whose, what is said and drawn.

Axes: B pictures, n objects, H W pixels of the truth, S S of the image as the model sees it. Every
other picture shares an object's name with the one before it, where there is one: they are each
other's references.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from grounding.broken import Broken
from grounding.geometry import Box
from grounding.masks import bitmap_to_box
from seem.preprocess import PIXEL_MEAN, PIXEL_STD
from seem.train.paste import cut, paste
from seem.train.phrases import Said, say
from seem.train.scenes import Record, Scenes

__all__ = ["Batch", "BatchMaker", "Picture"]

SMALLEST = 24  # visible pixels of an object that is worth asking about
MOST_PASTED, TWINS = 3, 0.4  # objects laid over a picture; share of them that it shows already
BLURRED, JITTERED = 0.3, 0.5  # shares of the pictures


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is known of one picture.

    Attributes:
        record: Its names.
        ids: Whose each pixel is, [H, W].
        boxes: Of the visible parts that are large enough, by number; 0 is the background.
        said: What is said of it.
    """

    record: Record
    ids: UInt8[np.ndarray, "H W"]
    boxes: dict[int, Box]
    said: Said


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pictures and their pixels, normalised as the model wants them, [B, 3, S, S]."""

    pictures: list[Picture]
    pixels: Float[Tensor, "B 3 S S"]

    @property
    def ids(self) -> UInt8[np.ndarray, "B H W"]:
        """Whose each pixel of each picture is."""
        return np.stack([picture.ids for picture in self.pictures])


class BatchMaker:
    """Draws batches of scenes."""

    def __init__(
        self,
        scenes: Scenes,
        pasted: float = 0.0,
        broken: Broken | None = None,
        weights: Float[np.ndarray, " N"] | None = None,
        vain: Sequence[str] = (),
    ) -> None:
        """Index the scenes by what they show.

        Args:
            scenes: Pictures.
            pasted: Share of the pictures over which objects of others are laid.
            broken: Counts those that cannot be read; the next one comes in their place.
            weights: How often each is drawn, and its objects are laid over others; they sum to 1.
                None: all scenes equally often, and all names.
            vain: Names that are often asked for where nothing is called so (`say`).
        """
        self.vain = vain
        self.scenes, self.pasted = scenes, pasted
        self.broken = Broken() if broken is None else broken
        self._names = [scenes.name(number) for number in range(len(scenes.records))]
        self.showing: dict[str, list[int]] = defaultdict(list)
        for number, record in enumerate(scenes.records):
            for phrase in dict.fromkeys(filter(None, record.phrases)):
                self.showing[phrase].append(number)
        self.phrases = tuple(self.showing)
        self.weights, self._phrase_weights = weights, None
        if weights is not None:
            shown = np.array([weights[numbers].sum() for numbers in self.showing.values()])
            self._phrase_weights = shown / shown.sum()

    def draw(self, count: int, size: int, generator: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            count: Pictures.
            size: Pixels of a side as the model sees them.
            generator: Decides everything else.
        """
        numbers: list[int] = []
        while len(numbers) < count:
            number = _drawn(len(self.scenes.records), self.weights, generator)
            numbers += [number, self._partner(number, generator)]
        drawn = [self._picture(number, generator) for number in numbers[:count]]
        images = torch.from_numpy(np.stack([image for image, _ in drawn])).permute(0, 3, 1, 2)
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bicubic").clamp(0, 255)
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (PIXEL_MEAN, PIXEL_STD))
        return Batch(pictures=[p for _, p in drawn], pixels=(images - mean) / deviation)

    def _partner(self, number: int, generator: np.random.Generator) -> int:
        """Another scene that shows something of the same name; any, if there is no name."""
        phrases = list(filter(None, self.scenes.records[number].phrases))
        if not phrases:
            return int(generator.integers(len(self.scenes.records)))
        alike = self.showing[phrases[int(generator.integers(len(phrases)))]]
        return alike[int(generator.integers(len(alike)))]

    def _picture(
        self, number: int, generator: np.random.Generator
    ) -> tuple[Float[np.ndarray, "H W 3"], Picture]:
        number, (image, ids) = self._read(number, generator)
        record = self.scenes.records[number]
        if generator.random() < self.pasted:
            image, ids, record = self._crowded(image, ids, record, generator)
        if generator.random() < 0.5:
            image, ids = image[:, ::-1], ids[:, ::-1]
        changed = _changed(np.ascontiguousarray(image, np.float32), generator)
        ids = np.ascontiguousarray(ids)
        counts = np.bincount(ids.ravel(), minlength=len(record.concepts) + 1)
        boxes = {}
        for owner in np.flatnonzero(counts >= SMALLEST).tolist():
            box = bitmap_to_box(ids == owner)
            assert box is not None, "it has pixels"
            boxes[owner] = box
        said = say(record, boxes, self.scenes.lexicon, generator, self.vain)
        return changed, Picture(record=record, ids=ids, boxes=boxes, said=said)

    def _read(
        self, number: int, generator: np.random.Generator
    ) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
        """A picture, or the next that can be read, with its number."""
        return self.broken.read(number, self._names, lambda here: self.scenes.read(here, generator))

    def _crowded(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        ids: UInt8[np.ndarray, "H W"],
        record: Record,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, Record]:
        """The picture with one to three objects laid over it: twins of its own, or others."""
        for _ in range(int(generator.integers(1, MOST_PASTED + 1))):
            source = image, ids, record
            visible = np.unique(ids)
            numbers = visible[visible > 0]
            if generator.random() > TWINS or not len(numbers):
                choice = _drawn(len(self.phrases), self._phrase_weights, generator)
                phrase = self.phrases[choice]
                scenes = self.showing[phrase]
                other = scenes[int(generator.integers(len(scenes)))]
                there = self.scenes.records[other]
                found, picture = self._read(other, generator)
                if found != other:  # another, which may not show it
                    continue
                source = *picture, there
                numbers = np.flatnonzero([p == phrase for p in there.phrases]) + 1
            piece = cut(*source, int(generator.choice(numbers)))
            if piece is not None:
                image, ids, record = paste(image, ids, record, piece, generator)
        return image, ids, record


def _drawn(
    count: int, weights: Float[np.ndarray, " N"] | None, generator: np.random.Generator
) -> int:
    """One of a count of numbers."""
    if weights is None:
        return int(generator.integers(count))
    return int(generator.choice(count, p=weights))


def _changed(
    image: Float[np.ndarray, "H W 3"], generator: np.random.Generator
) -> Float[np.ndarray, "H W 3"]:
    """The picture with other light, blur and noise, as other cameras and models give it."""
    if generator.random() < JITTERED:
        gain = generator.uniform(0.8, 1.2) * generator.uniform(0.93, 1.07, 3)
        image = image * gain + generator.uniform(-15, 15)
    if generator.random() < BLURRED:
        image = cv2.GaussianBlur(image, (0, 0), float(generator.uniform(0.5, 1.5)))
        image = image + generator.normal(0, generator.uniform(0, 8), image.shape)
    return np.clip(image, 0, 255).astype(np.float32)
