"""Draw the gallery: ``python -m examples.gallery`` writes ``examples/gallery.png``.

The requests of ``gallery.json``, drawn by the embedded model, with their boxes on top: sixteen from
words, a row that redraws some of these pictures inside a box, and a row that takes things out of
them as references. What was given is in a corner. Every seed is the first that was tried.
"""

import argparse
import json
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

from grounding.draw import draw_regions
from grounding.geometry import normalized_to_pixels
from grounding.prompt import GroundedPrompt
from grounding.region import Reference
from pipelines.generate import Generator

HERE = Path(__file__).parent
COLUMNS = 4
SIDE = 384  # pixels of a tile; the model's own pictures are 128
INSET = 88  # pixels of what was given
GAP = 8


def main() -> None:
    """Draw the rows one after the other: a picture can be what a later one starts from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "gallery.png")
    out = parser.parse_args().out
    entries = json.loads((HERE / "gallery.json").read_text("utf-8"))
    generator = Generator.from_pretrained()
    tiles: list[Image.Image] = []
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(entries), COLUMNS):
            row = [located(entry, Path(folder)) for entry in entries[start : start + COLUMNS]]
            for document, picture in zip(row, draw(generator, row), strict=True):
                keep(picture, document, Path(folder) / str(len(tiles)))
                tiles.append(tile(picture, document))
    step = SIDE + GAP
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * step + GAP, rows * step + GAP), "white")
    for index, picture in enumerate(tiles):
        row, column = divmod(index, COLUMNS)
        sheet.paste(picture, (GAP + column * step, GAP + row * step))
    sheet.save(out, optimize=True)
    print(out)


def located(entry: dict, folder: Path) -> GroundedPrompt:
    """An entry as a document; the pictures that it names are those kept before."""
    document = GroundedPrompt.model_validate(entry)
    regions = tuple(
        region.replace(reference=Reference(image=str(folder / str(region.reference.image))))
        if region.reference
        else region
        for region in document.regions
    )
    image = None if document.image is None else str(folder / document.image)
    return document.replace(regions=regions, image=image)


def draw(generator: Generator, row: list[GroundedPrompt]) -> list[Image.Image]:
    """Draw a row; documents with an image redraw it."""
    if not any(document.image for document in row):
        return [drawn.image for drawn in generator(row, batch=COLUMNS)]
    return [generator(document, image=document.image)[0].image for document in row]


def keep(picture: Image.Image, document: GroundedPrompt, path: Path) -> None:
    """Keep a picture, and what lies in each of its boxes, for later rows."""
    picture.save(f"{path}.png")
    for region in document.regions:
        if region.box is not None:
            place = normalized_to_pixels(region.box, picture.size)
            picture.crop([round(edge) for edge in place]).save(f"{path}-{region.id}.png")


def tile(picture: Image.Image, document: GroundedPrompt) -> Image.Image:
    """A picture with its boxes, and below what it was made from."""
    drawn = draw_regions(picture, document, min_side=SIDE).resize((SIDE, SIDE))
    given = [document.image, *(r.reference.image for r in document.regions if r.reference)]
    for index, path in enumerate(filter(None, given)):
        with Image.open(path) as image:
            inset = ImageOps.expand(image.resize((INSET, INSET)), border=4, fill="white")
        drawn.paste(inset, (SIDE - (index + 1) * inset.width, SIDE - inset.height))
    return drawn


if __name__ == "__main__":
    main()
