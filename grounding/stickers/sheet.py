"""The sprite sheet: every concept in every style, cut out, on one transparent WebP.

Sprites are trimmed to their opaque part and fitted into square cells; ``sheet.json`` keeps each
one's place, so a sprite comes back with its own aspect ratio.

Rebuild from the art's npm packages (extra ``art``)::

    npm pack @iconify-json/noto @iconify-json/fluent-emoji-flat
    python -m grounding.stickers.sheet --noto noto/icons.json --flat fluent-emoji-flat/icons.json
"""

import argparse
import functools
import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from grounding.picture_file import open_upright
from grounding.stickers.vocabulary import CONCEPTS, STYLES

CELL = 128  # pixels a side of one sprite's cell
COLUMNS = 16
OPAQUE = 32  # alpha below this does not count as part of a sprite


@functools.cache
def sprite(concept: str, style: str) -> np.ndarray:
    """One sticker's art.

    Args:
        concept: A key of ``vocabulary.CONCEPTS``.
        style: One of ``vocabulary.STYLES``.

    Returns:
        RGBA, uint8 [H, W, 4], trimmed to the opaque part, longest side 128 pixels. Read-only.
    """
    x, y, width, height = _places()[f"{style}/{concept}"]
    art = _sheet()[y : y + height, x : x + width].copy()
    art.setflags(write=False)
    return art


@functools.cache
def _sheet() -> np.ndarray:
    data = resources.files("grounding.stickers").joinpath("sheet.webp").read_bytes()
    return np.asarray(open_upright(io.BytesIO(data)).convert("RGBA"))


@functools.cache
def _places() -> dict[str, list[int]]:
    text = resources.files("grounding.stickers").joinpath("sheet.json").read_text("utf-8")
    return json.loads(text)


def trimmed(art: Image.Image, cell: int = CELL) -> Image.Image:
    """Cut away the transparent rim and scale the rest to fit a square cell."""
    alpha = np.asarray(art.getchannel("A")) >= OPAQUE
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    art = art.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    scale = cell / max(art.size)
    size = (max(1, round(art.width * scale)), max(1, round(art.height * scale)))
    return art.resize(size, Image.Resampling.LANCZOS)


def build(icons: Mapping[str, Path], out: Path) -> None:
    """Render every concept of every style and write ``sheet.webp`` and ``sheet.json``.

    Args:
        icons: For each style, the ``icons.json`` of its Iconify package.
        out: The folder to write into.
    """
    import resvg_py  # pyright: ignore[reportMissingImports]  # only the extra "art" has it

    total = len(CONCEPTS) * len(STYLES)
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-total // COLUMNS) * CELL))
    places: dict[str, list[int]] = {}
    for style in STYLES:
        package = json.loads(icons[style].read_text("utf-8"))
        for concept, name in CONCEPTS.items():
            icon = package["icons"][name]
            width = icon.get("width", package.get("width", 16))
            height = icon.get("height", package.get("height", 16))
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" '
                'xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
            )
            png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=512, height=512))
            art = trimmed(open_upright(io.BytesIO(png)).convert("RGBA"))
            row, column = divmod(len(places), COLUMNS)
            sheet.paste(art, (column * CELL, row * CELL))
            places[f"{style}/{concept}"] = [column * CELL, row * CELL, art.width, art.height]
    sheet.save(out / "sheet.webp", lossless=True, quality=100, method=6)
    (out / "sheet.json").write_text(json.dumps(places, indent=0, sort_keys=True) + "\n", "utf-8")


def main() -> None:
    """Rebuild the sheet beside this file."""
    parser = argparse.ArgumentParser(prog="python -m grounding.stickers.sheet")
    for style in STYLES:
        parser.add_argument(f"--{style}", type=Path, required=True, help="icons.json of the style")
    arguments = vars(parser.parse_args())
    build(arguments, Path(__file__).parent)


if __name__ == "__main__":
    main()
