"""Draw the gallery: ``python -m examples.gallery`` writes ``examples/gallery.png``.

Sixteen requests from ``gallery.json``, drawn by the embedded model, with their boxes on top. The
seeds are those of the file: the first that was tried for each.
"""

import argparse
import json
from pathlib import Path

from PIL import Image

from grounding.draw import draw_regions
from grounding.prompt import GroundedPrompt
from pipelines.generate import Generator

HERE = Path(__file__).parent
COLUMNS = 4
SIDE = 384  # pixels of a tile; the model's own pictures are 128
GAP = 8


def main() -> None:
    """Draw every entry and paste the pictures onto one sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "gallery.png")
    out = parser.parse_args().out
    entries = json.loads((HERE / "gallery.json").read_text("utf-8"))
    documents = [GroundedPrompt.model_validate(entry) for entry in entries]
    generator = Generator.from_pretrained()
    drawn = generator(documents, batch=4)
    rows = -(-len(drawn) // COLUMNS)
    step = SIDE + GAP
    sheet = Image.new("RGB", (COLUMNS * step + GAP, rows * step + GAP), "white")
    for index, (document, picture) in enumerate(zip(documents, drawn, strict=True)):
        tile = draw_regions(picture.image, document, min_side=SIDE).resize((SIDE, SIDE))
        row, column = divmod(index, COLUMNS)
        sheet.paste(tile, (GAP + column * step, GAP + row * step))
    sheet.save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
