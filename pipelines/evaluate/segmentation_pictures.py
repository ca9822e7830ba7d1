"""Pictures of what clicking did: the truth, the answers after one click and after five."""

import io

import numpy as np
from PIL import Image

from grounding.draw import draw_regions
from grounding.masks import bitmap_to_rle
from grounding.prompt import GroundedPrompt
from grounding.region import Point, Region
from seem.clicks import iou
from seem.evaluation.sample import Sample
from seem.evaluation.tasks import ClickTask, objects
from seem.predictor import Predictor

__all__ = ["click_panels"]

GAP = 8  # pixels between panels
LARGEST = 8  # objects on a picture; more hide each other


def click_panels(predictor: Predictor, sample: Sample, classes: tuple[str, ...]) -> bytes:
    """Draw the truth, the answers after 1 click, and after up to 5, side by side, as PNG.

    The numbers beside the names are IoUs. Of many objects the largest eight are shown.

    Args:
        predictor: With the sample's image set.
        sample: With at least one object.
        classes: Names, by index.
    """
    height, width = sample.image.shape[:2]
    shown = sorted(objects(sample), key=lambda item: -int(item[1].mask.sum()))[:LARGEST]
    panels: dict[int, list[Region]] = {0: [], **{kept: [] for kept in ClickTask.KEPT}}
    for _, truth in sorted(shown, key=lambda item: item[0]):
        name = "object" if truth.label is None else classes[truth.label]
        clicked = ClickTask(rounds=max(ClickTask.KEPT)).click(predictor, truth.mask)
        masks = {0: truth.mask, **clicked.masks}
        for count, regions in panels.items():
            points = [
                Point(xy=((x + 0.5) / width, (y + 0.5) / height), label=1 if label else 0)
                for y, x, label in clicked.clicks.places[:count]
            ]
            mask = masks[count]
            score = iou(truth.mask, mask) if count else None
            rle = bitmap_to_rle(mask) if mask.any() else None
            regions.append(Region(phrase=name, mask=rle, points=tuple(points), score=score))
    image = Image.fromarray(sample.image)
    drawn = [
        draw_regions(image, GroundedPrompt(regions=tuple(regions))) for regions in panels.values()
    ]
    step = drawn[0].width + GAP
    sheet = np.full((drawn[0].height, step * len(drawn) - GAP, 3), 255, np.uint8)
    for place, panel in enumerate(drawn):
        sheet[:, place * step : place * step + panel.width] = np.asarray(panel)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()
