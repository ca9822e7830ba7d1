"""A small folder in COCO's panoptic format."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from seem.coco import panoptic_png

CATEGORIES = [
    {"id": 3, "name": "dog", "isthing": 1},
    {"id": 9, "name": "grass-merged", "isthing": 0},
]


def coco_folder(folder: Path, pictures: int = 4) -> Path:
    """Dogs (dark squares) on grass; returns the JSON file."""
    (folder / "images").mkdir(parents=True)
    (folder / "panoptic_mine").mkdir()
    images, annotations = [], []
    for number in range(pictures):
        chance = np.random.default_rng(number)
        ids = np.full((70, 90), 12, np.int32)
        y, x = chance.integers(5, 30, 2)
        ids[y : y + 30, x : x + 30] = 700
        colours = np.where((ids == 700)[..., None], 40, [80, 160, 60]).astype(np.uint8)
        Image.fromarray(colours).save(folder / "images" / f"{number}.jpg")
        (folder / "panoptic_mine" / f"{number}.png").write_bytes(panoptic_png(ids))
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 90, "height": 70})
        segments = [
            {"id": 12, "category_id": 9, "iscrowd": 0, "area": int((ids == 12).sum())},
            {"id": 700, "category_id": 3, "iscrowd": 0, "area": 900},
        ]
        annotations.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
        )
    data = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    path = folder / "panoptic_mine.json"
    path.write_text(json.dumps(data))
    return path
