"""An annotator without models: what differs from the corner is a thing.

Run as a program, it annotates a folder slowly, to be killed.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from grounding.drops import Dropped
from grounding.masks import bitmap_to_box, bitmap_to_rle
from grounding.prompt import Canvas, GroundedPrompt, Provenance, Region
from pipelines.annotate import annotator
from pipelines.annotate.dataset import Dataset
from pipelines.annotate.raw import list_pictures
from pipelines.annotate.settings import Settings

PAUSE = 0.05  # seconds a picture takes, as a program


class Stub(annotator.Annotator):
    """Annotates at once, and counts."""

    def __init__(self, settings: Settings, pause: float = 0.0) -> None:
        super().__init__(None, settings)  # pyright: ignore
        self.pause, self.seen = pause, 0

    def _annotate(self, picture, given):
        time.sleep(self.pause)
        self.seen += 1
        pixels = np.asarray(picture).astype(int)
        mask = np.abs(pixels - pixels[0, 0]).sum(-1) > 60
        if not mask.any():
            raise Dropped("nothing was found")
        parts = {annotator.NAME_KEY: "blob", annotator.THING_KEY: True}
        blob = Region(
            phrase="red blob",
            box=bitmap_to_box(mask),
            mask=bitmap_to_rle(mask),
            score=0.9,
            attributes=parts,
        )
        behind = {annotator.NAME_KEY: "sky", annotator.THING_KEY: False}
        sky = Region(
            phrase="sky",
            box=bitmap_to_box(~mask),
            mask=bitmap_to_rle(~mask),
            score=0.8,
            attributes=behind,
            z=-1,
        )
        document = GroundedPrompt(
            canvas=Canvas(width=picture.width, height=picture.height),
            prompt=given[0] if given else "a red blob",
            background="with sky in the background",
            regions=(blob, sky),
            provenance=Provenance(model="stub", settings={"caption": "stub"}),
        )
        return document, [("a score under 0.5", "speck 0.10")]


def write_pictures(folder: Path, count: int) -> None:
    """Write pictures with a red rectangle each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((24, 32, 3), 250, np.uint8)
        pixels[4 + number % 8 : 16, 5 : 20 + number % 10] = (200, 30, 20 + number)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


if __name__ == "__main__":
    annotator.open_annotator = lambda settings: Stub(settings, PAUSE)
    Dataset(folder=Path(sys.argv[2]), settings=Settings()).annotate(
        list_pictures(Path(sys.argv[1]))
    )
