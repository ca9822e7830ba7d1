"""Simulated users: what they draw first, and how they correct what comes back.

Axes: B pictures, n objects of one picture, S S the image as the model sees it, h w the mask map.
As in SEEM (arXiv 2304.06718, section 4.1) some rounds go by without gradients, each with a click on
the largest mistake and the last mask as memory; the last round is the one that is learned from.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from seem.clicks import Clicks, next_click
from seem.image_memory import ImageMemory
from seem.model import Seem
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens
from seem.train.batch import Picture
from seem.train.marks import draw_at_random

__all__ = ["Conversation", "begin", "go_on", "reference_of"]

BACKGROUND_SHARE = 0.3  # of the pictures in which the background may be pointed at


@dataclass(kw_only=True)
class Conversation:
    """What was said about some objects of one picture up to now.

    Attributes:
        numbers: The objects; 0 is the background.
        truth: Their pixels, [n, S, S].
        positive: What was drawn on them.
        negative: What was drawn beside them.
        previous: The last answer's logits, [n, h, w]; None: nothing was answered yet.
    """

    numbers: tuple[int, ...]
    truth: Bool[np.ndarray, "n S S"]
    positive: Bool[np.ndarray, "n S S"]
    negative: Bool[np.ndarray, "n S S"]
    previous: Float[Tensor, "n h w"] | None = None

    def tokens(self, model: Seem, memory: ImageMemory, image: int) -> SpatialTokens:
        """The drawing as the decoder reads it."""
        device = memory.mask_features.device
        positive, negative = (
            torch.from_numpy(bitmaps).to(device) for bitmaps in (self.positive, self.negative)
        )
        return model.encode_marks(memory, positive, negative, image=image)


def begin(picture: Picture, size: int, most: int, generator: np.random.Generator) -> Conversation:
    """Choose up to `most` objects of a picture, and draw something about each."""
    numbers = [number for number in picture.boxes if number]
    if 0 in picture.boxes and (not numbers or generator.random() < BACKGROUND_SHARE):
        numbers.append(0)
    chosen = tuple(numbers[i] for i in generator.permutation(len(numbers))[:most].tolist())
    ids = _resized(picture.ids, size)
    truth = np.stack([ids == number for number in chosen])
    drawn = [draw_at_random(bitmap, generator) for bitmap in truth]
    return Conversation(
        numbers=chosen,
        truth=truth,
        positive=np.stack([each.positive for each in drawn]),
        negative=np.stack([each.negative for each in drawn]),
    )


@torch.no_grad()
def go_on(model: Seem, memory: ImageMemory, conversations: list[Conversation]) -> None:
    """One round: answer every conversation, and click on each answer's largest mistake."""
    prompts = [
        Prompt(spatial=each.tokens(model, memory, image), previous=each.previous)
        for image, each in enumerate(conversations)
    ]
    output = model.decode(memory, prompts, objects=False)
    for index, (each, prompt) in enumerate(zip(conversations, prompts, strict=True)):
        logits = model.answer(memory, output, prompt, by="spatial", index=index).mask_logits
        masks = F.interpolate(logits[None], each.truth.shape[1:], mode="bilinear")[0] > 0
        for number, found in enumerate(masks.cpu().numpy()):
            said = Clicks(positive=each.positive[number], negative=each.negative[number])
            said = next_click(each.truth[number], found, said)
            each.positive[number], each.negative[number] = said.positive, said.negative
        each.previous = logits


def reference_of(
    picture: Picture, partner: Picture, size: int, generator: np.random.Generator
) -> tuple[int, Bool[np.ndarray, "S S"]] | None:
    """Something drawn on the partner that looks like one object of the picture, and only one.

    Returns:
        The object's number in the picture, and what is drawn on the partner; None: they share
        nothing.
    """
    here, there = (_by_phrase(each) for each in (picture, partner))
    shared = [p for p, numbers in here.items() if len(numbers) == 1 and p in there]
    if not shared:
        return None
    phrase = shared[int(generator.integers(len(shared)))]
    number = there[phrase][int(generator.integers(len(there[phrase])))]
    drawn = draw_at_random(_resized(partner.ids, size) == number, generator)
    return here[phrase][0], drawn.positive


def _by_phrase(picture: Picture) -> dict[str, list[int]]:
    """The visible objects of each name."""
    found: dict[str, list[int]] = {}
    for number in picture.boxes:
        phrase = picture.record.phrases[number - 1] if number else None
        if phrase:
            found.setdefault(phrase, []).append(number)
    return found


def _resized(ids: UInt8[np.ndarray, "H W"], size: int) -> UInt8[np.ndarray, "S S"]:
    return cv2.resize(ids, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
