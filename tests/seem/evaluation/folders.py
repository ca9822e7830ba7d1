"""Tiny data sets in the layouts of the real ones."""

import json

import numpy as np
from PIL import Image

from seem.coco import panoptic_png

HEIGHT, WIDTH = 40, 60
CATEGORIES = [
    {"id": 18, "name": "dog", "isthing": 1},
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 184, "name": "tree-merged", "isthing": 0},
]


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def panoptic_folder(folder):
    """Two images: two dogs, a tree, a speck of a car, void; and a tree with a crowd of cars."""
    (folder / "images").mkdir(parents=True)
    (folder / "panoptic").mkdir()
    images, annotations = [], []
    for number in (7, 5):
        Image.fromarray(picture(number)).save(folder / "images" / f"{number:03}.jpg")
        images.append({"id": number, "file_name": f"{number:03}.jpg"})
    first = np.zeros((HEIGHT, WIDTH), np.int32)
    first[:, :20], first[:, 20:40], first[:20, 40:], first[39, 59] = 1000, 70000, 3, 4
    second = np.full((HEIGHT, WIDTH), 9, np.int32)
    second[:10] = 10
    parts = {
        7: (first, {1000: (18, 0), 70000: (18, 0), 3: (184, 0), 4: (3, 0)}),
        5: (second, {9: (184, 0), 10: (3, 1)}),
    }
    for number, (ids, segments) in parts.items():
        (folder / "panoptic" / f"{number:03}.png").write_bytes(panoptic_png(ids))
        infos = [
            {"id": key, "category_id": category, "iscrowd": crowd}
            for key, (category, crowd) in segments.items()
        ]
        annotations.append(
            {"image_id": number, "file_name": f"{number:03}.png", "segments_info": infos}
        )
    data = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "panoptic.json").write_text(json.dumps(data))
    return folder


def rectangle(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def instances_file(folder, name="instances.json"):
    """One image with a dog of two parts, as polygons, and a car as run lengths."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture()).save(folder / "a.png")
    runs = [0, HEIGHT * 5, HEIGHT * (WIDTH - 5)]
    polygons = [rectangle(10, 10, 20, 30), rectangle(30, 10, 40, 30)]
    data = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 18, "segmentation": polygons},
            {
                "id": 2,
                "image_id": 1,
                "category_id": 3,
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs},
            },
            {"id": 3, "image_id": 1, "category_id": 3, "segmentation": []},
        ],
        "categories": CATEGORIES,
    }
    (folder / name).write_text(json.dumps(data))
    return folder / name


def davis_folder(folder, frames=4):
    """One sequence with two squares that go right, and a void pixel."""
    sequence = folder / "JPEGImages" / "480p" / "squares"
    annotations = folder / "Annotations" / "480p" / "squares"
    for path in (sequence, annotations, folder / "ImageSets" / "2017"):
        path.mkdir(parents=True)
    (folder / "ImageSets" / "2017" / "val.txt").write_text("squares\n")
    for number in range(frames):
        ids = np.zeros((HEIGHT, WIDTH), np.uint8)
        ids[5:15, 5 + number : 15 + number] = 1
        ids[20:35, 20 + number : 40 + number] = 2
        ids[0, 0] = 255
        Image.fromarray((picture() // 4 + ids[..., None] % 255 * 80).astype(np.uint8)).save(
            sequence / f"{number:05}.jpg"
        )
        image = Image.fromarray(ids, "P")
        image.putpalette(list(range(256)) * 3)
        image.save(annotations / f"{number:05}.png")
    return folder
