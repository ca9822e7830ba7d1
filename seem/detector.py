"""What a backbone that was trained as a detector finds on an image.

Axes: N things, K classes, H W the image in pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from seem.backbones.nanodet import NanoDet, decode_boxes
from seem.preprocess import preprocess

__all__ = ["Detections", "detect"]

LONG_SIDE = 416  # pixels: the size at which the detector was trained
LEAST = 0.05  # scores below are noise
OVERLAP = 0.6  # IoU of two boxes of one class from which they are one thing; upstream's
MOST = 100
CANDIDATES = 1000


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Things, the most certain first.

    Attributes:
        boxes: Normalised xyxy.
        scores: In [0, 1].
        labels: Indices of classes.
    """

    boxes: Float[Tensor, "N 4"]
    scores: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]


@torch.no_grad()
def detect(backbone: NanoDet, picture: UInt8[np.ndarray, "H W 3"]) -> Detections:
    """Find things on a picture."""
    height, width = picture.shape[:2]
    scale = LONG_SIDE / max(height, width)
    high, wide = (max(1, round(side * scale)) for side in (height, width))
    seen = Image.fromarray(picture).resize((wide, high), Image.Resampling.BILINEAR)
    device = backbone.stem.weight.device
    pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1).contiguous().to(device)
    prepared = preprocess([pixels], divisor=backbone.size_divisibility)
    _, res3, res4, res5 = backbone(prepared.pixels)
    maps = [level[0] for level in backbone.detector_maps(res3, res4, res5)]
    boxes, chances = decode_boxes(maps, backbone.config.classes)
    cells, labels = (chances > LEAST).nonzero(as_tuple=True)
    scores = chances[cells, labels]
    order = scores.sort(descending=True, stable=True).indices[:CANDIDATES]
    boxes, scores, labels = boxes[cells[order]], scores[order], labels[order]
    boxes = torch.stack(
        [(boxes[:, axis] / (wide, high)[axis % 2]).clamp(0, 1) for axis in range(4)],
        dim=1,
    )
    wide_enough = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes, scores, labels = boxes[wide_enough], scores[wide_enough], labels[wide_enough]
    kept = _suppress(boxes, labels)[:MOST]
    return Detections(boxes=boxes[kept], scores=scores[kept], labels=labels[kept])


def _suppress(boxes: Float[Tensor, "N 4"], labels: Int[Tensor, " N"]) -> list[int]:
    """Indices of the boxes that stay, of boxes sorted by descending score."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    same = common > OVERLAP * (areas[:, None] + areas[None] - common)
    rivals = (same & (labels[:, None] == labels[None])).cpu().numpy()
    gone = np.zeros(len(boxes), bool)
    kept = []
    for index in range(len(boxes)):
        if not gone[index]:
            kept.append(index)
            gone |= rivals[index]
    return kept
