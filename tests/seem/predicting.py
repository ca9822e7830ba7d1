"""A predictor of the tiny model, words for it, and an image, the same in every run."""

import zlib

import numpy as np
import torch

from seem.config import GroupingName
from seem.encoded_image import Resizing
from seem.predictor import Predictor
from seem.refined_predictor import RefinedPredictor
from seem.vocabulary import Vocabulary
from tests.seem.tiny import tiny_refined_seem, tiny_seem

HEIGHT, WIDTH = 50, 70
KINDS = ("demo", "v0", "v1", "refined")
THINGS = ("cat", "dog", "hot dog", "person", "bicycle")


class WordHash:
    """A tokenizer for the tiny vocabulary: a number for each word, then the end token."""

    START, END, CONTEXT = 126, 127, 16

    def __call__(self, texts: list[str], *, padding: bool, return_tensors: str) -> dict:
        assert padding
        assert return_tensors == "pt"
        rows = [[zlib.crc32(word.encode()) % 120 for word in text.split()] for text in texts]
        rows = [[self.START, *row[: self.CONTEXT - 2], self.END] for row in rows]
        longest = max(map(len, rows))
        ids = [row + [self.END] * (longest - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def picture(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiny_predictor(grouping: GroupingName = "v1", **options) -> Predictor:
    resizing = Resizing(short_side=64, long_side=128)
    return Predictor(tiny_seem(grouping), WordHash(), resizing=resizing, **options)


def ready(grouping: GroupingName = "v1", **options) -> Predictor:
    predictor = tiny_predictor(grouping, **options)
    predictor.set_image(picture())
    return predictor


def refined_predictor() -> RefinedPredictor:
    return RefinedPredictor(
        tiny_refined_seem(),
        WordHash(),
        vocabulary=Vocabulary(things=THINGS, templates=("{}",)),
        resizing=Resizing(short_side=64, long_side=96),
    )


def ready_refined() -> RefinedPredictor:
    predictor = refined_predictor()
    predictor.set_image(picture())
    return predictor


def predictor_of(kind: str) -> Predictor:
    """A tiny predictor of a grouping, or the one with a refiner."""
    if kind == "refined":
        return refined_predictor()
    assert kind in ("demo", "v0", "v1")
    return tiny_predictor(kind)
