"""Our `post.*` and `click.*` arrays of SEEM's golden files; they need no model.

Axes: Q queries, K classes, H height, W width. Each function returns {name in the file: array}.
"""

import numpy as np
import torch

from seem.clicks import Clicks, box_click, first_click, next_click
from seem.postprocess import instances, panoptic, semantic
from tests.parity.fill import noise
from tests.parity.seem_inputs import IMAGE_SIZE, prompt_masks

QUERIES, CLASSES, THINGS = 12, 6, (0, 1, 2)
MAP_SIZE = (48, 60)
OBJECT_THRESHOLDS = (0.8, 0.4)
DETECTIONS = 20
PREDICTIONS = ("missing", "extra", "good", "empty")


def post_inputs(tag: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Class logits [12, 7] and mask logits [12, 48, 60] of round blobs."""
    class_logits = 3 * noise(tag + "post.cls", (QUERIES, CLASSES + 1))
    class_logits[:, -1] -= 2
    query = torch.arange(QUERIES)
    class_logits[query, (5 * query) % CLASSES] += 5
    radius = 9 + 2 * noise(tag + "post.radius", (QUERIES,))[:, None, None]
    y = torch.arange(float(MAP_SIZE[0]))[:, None] - (8 + 16 * (query // 4))[:, None, None]
    x = torch.arange(float(MAP_SIZE[1])) - (7 + 15 * (query % 4))[:, None, None]
    return class_logits, 4 * (1 - (y**2 + x**2) / radius**2)


def post_arrays(tag: str) -> dict[str, np.ndarray]:
    """All `post.*` arrays, with the official strides."""
    class_logits, masks = post_inputs(tag)
    found = instances(class_logits, masks, things=THINGS, detections=DETECTIONS)
    arrays = {
        "post.in.masks": masks[:, ::6, ::6],
        "post.instance.scores": found.scores,
        "post.instance.classes": found.labels,
        "post.instance.areas": found.masks.sum((1, 2)),
        "post.semantic": semantic(class_logits, masks)[:, ::4, ::4],
    }
    for threshold in OBJECT_THRESHOLDS:
        shared = panoptic(class_logits, masks, things=THINGS, object_threshold=threshold)
        rows = [[s.id, s.label, int(s.is_thing)] for s in shared.segments]
        arrays[f"post.panoptic_{threshold}"] = shared.map
        arrays[f"post.panoptic_{threshold}.segments"] = torch.tensor(rows).reshape(-1, 3)
    return {name: array.numpy() for name, array in arrays.items()}


def click_arrays(tag: str, box: np.ndarray) -> dict[str, np.ndarray]:
    """All `click.*` arrays but the box itself: pixels [N, (y, x)] in reading order.

    Args:
        tag: of the inputs' names.
        box: `click.box.xyxy` of the file.
    """
    drawn = prompt_masks(tag)
    truth, point = drawn["big"], drawn["point"]
    arrays = {
        "click.box.pixels_yx": np.argwhere(box_click(box, IMAGE_SIZE)),
        "click.first.pixels_yx": np.argwhere(first_click(truth).positive),
    }
    earlier = Clicks(positive=point, negative=np.zeros_like(point))
    for name in PREDICTIONS:
        new = next_click(truth, _prediction(name, truth), earlier)
        arrays[f"click.next.{name}.positive_yx"] = np.argwhere(new.positive & ~point)
        arrays[f"click.next.{name}.negative_yx"] = np.argwhere(new.negative)
    return arrays


def _prediction(name: str, truth: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    if name == "missing":
        return truth & (x < 120)
    if name == "extra":
        return ((y - 110) * 7) ** 2 + ((x - 140) * 5) ** 2 < 520**2
    if name == "good":
        return np.roll(truth, 1, axis=1)
    return np.zeros_like(truth)
