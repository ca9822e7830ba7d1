"""Models that cost nothing: one draws discs of one colour, one finds what is of one colour."""

import base64
import io
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from grounding.geometry import normalized_to_pixels
from grounding.masks import bitmap_to_rle, box_to_bitmap
from grounding.prompt import GroundedPrompt
from pipelines.edit.scene import Scene
from pipelines.edit.studio import Studio
from pipelines.generation.frame import Frame
from pipelines.generation.picture import Generation

COLOURS = {"llama": (200, 30, 30), "dog": (30, 60, 200), "cat": (20, 160, 60)}
BEACH = (230, 210, 160)
NOWHERE = (255, 0, 255)


class Discs:
    """Draws a disc of the phrase's colour into each box of a picture; without words, the ground."""

    def __init__(self, *, inpaints: bool = False, modality: str | None = "text"):
        self.base = SimpleNamespace(inpaints=inpaints)
        config = SimpleNamespace(modality=modality)
        self.adapter = None if modality is None else SimpleNamespace(config=config)
        self.frame = Frame(width=64, height=64, channels=4, factor=8, multiple=8)
        self.names, self.ground = ("discs", None), BEACH
        self.asked: list[tuple[GroundedPrompt, dict[str, Any]]] = []

    def __call__(
        self, document: GroundedPrompt, *, image: str | None = None, **wishes: Any
    ) -> list[Generation]:
        self.asked.append((document, {name: wishes.get(name) for name in ("seed", "strength")}))
        pixels = np.full((64, 64, 3), BEACH, np.uint8)
        if image is not None:
            data = base64.b64decode(image.partition(",")[2])
            pixels = np.array(Image.open(io.BytesIO(data)))
        for region in document.regions:
            x0, y0, x1, y1 = normalized_to_pixels(region.box, pixels.shape[1::-1])
            rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
            across = 2 * (columns - (x0 + x1) / 2) / (x1 - x0)
            down = 2 * (rows - (y0 + y1) / 2) / (y1 - y0)
            disc = across**2 + down**2 <= 1
            square = np.maximum(abs(across), abs(down)) <= 1
            area = disc if region.phrase else square
            pixels[area] = colour_of(region.phrase, self.ground)
        return [Generation(image=Image.fromarray(pixels), document=document)]


class Colours:
    """Finds the pixels that have a phrase's colour, and what has the colour of a click."""

    def __init__(self):
        self.encoded = 0
        self.pixels = np.zeros((1, 1, 3), np.uint8)
        self.words = SimpleNamespace(tokenizer=str.split)

    def knows(self, text: str) -> bool:
        return bool(text)

    def encode(self, image: Image.Image) -> np.ndarray:
        self.encoded += 1
        return np.asarray(image)

    def set_image(self, pixels: Any) -> None:
        self.pixels = np.asarray(pixels)

    def like(self, colour: tuple[int, ...]) -> np.ndarray:
        far = np.abs(self.pixels.astype(int) - np.array(colour)).max(axis=-1)
        return far <= 16

    def predict_document(self, document: GroundedPrompt) -> GroundedPrompt:
        regions = []
        for region in document.regions:
            area = self.like(colour_of(region.phrase))
            if region.box is not None:
                area &= box_to_bitmap(region.box, area.shape[::-1])
            regions.append(region.replace(mask=bitmap_to_rle(area), score=0.9))
        return document.replace(regions=regions)

    def predict(self, *, points: Any, labels: Any, box: Any, text: str | None):
        if box is not None:
            points = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)]
        x, y = (int(value) for value in points[0])
        area = self.like(tuple(self.pixels[y, x]))
        return torch.tensor(area[None]), torch.tensor([0.9]), None

    def find(self, texts: list[str], *, threshold: float):
        found = []
        for text in texts:
            area = self.like(colour_of(text))
            masks = torch.tensor(area[None])[: int(area.any())]
            found.append(SimpleNamespace(masks=masks, scores=torch.tensor([0.8])[: len(masks)]))
        return found


def colour_of(phrase: str, otherwise: tuple[int, int, int] = NOWHERE) -> tuple[int, int, int]:
    for name, colour in COLOURS.items():
        if re.search(rf"\b{name}\b", phrase):
            return colour
    return otherwise


def studio(**options: Any) -> Studio:
    return Studio(drawing=Discs(**options), finding=Colours())  # pyright: ignore[reportArgumentType]


def picture(size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A beach with a llama at left and a dog at right."""
    pixels = np.full((size[1], size[0], 3), BEACH, np.uint8)
    pixels[12:28, 8:20] = COLOURS["llama"]
    pixels[20:36, 44:56] = COLOURS["dog"]
    return pixels


def document() -> GroundedPrompt:
    """Its document: the llama has a mask, the dog a box."""
    llama = np.zeros((48, 64), bool)
    llama[12:28, 8:20] = True
    return GroundedPrompt.model_validate(
        {
            "prompt": "a llama left of a dog on a beach",
            "regions": [
                {"id": "r1", "phrase": "llama", "mask": bitmap_to_rle(llama).model_dump()},
                {"id": "r2", "phrase": "dog", "box": [44 / 64, 20 / 48, 56 / 64, 36 / 48]},
            ],
            "relations": [["r1", "left of", "r2"]],
        }
    )


def scene() -> Scene:
    return Scene.of(picture(), document())
