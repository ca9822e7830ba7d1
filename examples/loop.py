"""Close the loop: ``python -m examples.loop`` draws the README's picture and finds it again.

GLIGEN draws what was asked for, in its box; SEEM looks for the same words on the picture; the box
around the mask it finds is compared with the box that was asked for. Writes the picture with both,
and prints the overlap (IoU) of each region and, as one JSON line, the mean.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from grounding.draw import draw_found
from grounding.formats import load
from grounding.geometry import Box, box_iou
from grounding.masks import bitmap_to_box
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.console import guarded, quiet_libraries
from pipelines.generate import Generator
from pipelines.segmentation.segmenter import open_predictor

HERE = Path(__file__).parent


def find_again(picture: np.ndarray, document: GroundedPrompt) -> list[tuple[Region, Box | None]]:
    """Look for the phrase of each region: where the best mask of each is, or None."""
    predictor = open_predictor()
    predictor.set_image(picture)
    places: list[tuple[Region, Box | None]] = []
    for region in document.regions:
        mask = predictor.predict(text=region.phrase).masks[0].numpy()
        places.append((region, bitmap_to_box(mask)))
    return places


def main() -> int:
    """Draw, find, compare; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.loop", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--boxes", type=Path, default=HERE / "boxes.json", help="what to draw")
    parser.add_argument("--prompt", default="lava llama", help="the caption")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/loop.png"))
    options = parser.parse_args()
    return guarded("loop", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    quiet_libraries()
    document = load(options.boxes).replace(prompt=options.prompt)
    [drawn] = Generator.from_pretrained()(document, seed=options.seed)
    picture = np.asarray(drawn.image.convert("RGB"))
    overlaps, found = [], []
    for region, place in find_again(picture, document):
        overlap = 0.0 if place is None or region.box is None else box_iou(place, region.box)
        overlaps.append(overlap)
        found.append(region.replace(box=place, score=None))
        print(f"{region.phrase}: IoU of the box found with the box asked for {overlap:.3f}")
    answer = document.replace(regions=tuple(r for r in found if r.box is not None))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw_found(drawn.image, answer, document.regions).save(options.out)
    print(options.out)
    print(json.dumps({"regions": len(overlaps), "mean_iou": round(float(np.mean(overlaps)), 4)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
