"""A small folder in COCO's format: rendered sticker scenes with instances and captions."""

import json
from pathlib import Path

from PIL import Image

from grounding.stickers.scene import render
from grounding.stickers.world import PRESETS, World


def write_coco(folder: Path, count: int, world: World = PRESETS["small"]) -> Path:
    """Write `count` scenes of training; returns the instances file (captions lie beside it)."""
    (folder / "images").mkdir(parents=True)
    names: dict[str, int] = {}
    images, annotations, captions = [], [], []
    for seed in range(count):
        scene = world.scene(seed, "train")
        drawn = render(scene)
        height, width = drawn.image.shape[:2]
        name = f"{seed:06d}.png"
        Image.fromarray(drawn.image).save(folder / "images" / name)
        images.append({"id": seed, "file_name": name, "width": width, "height": height})
        captions.append({"id": seed, "image_id": seed, "caption": scene.caption})
        for sticker, (x0, y0, x1, y1) in zip(scene.stickers, drawn.boxes, strict=True):
            category = names.setdefault(sticker.phrase, len(names) + 1)
            box = [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": seed,
                    "category_id": category,
                    "bbox": [round(float(value), 3) for value in box],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in names.items()]
    path = folder / "instances_stickers.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (folder / "captions_stickers.json").write_text(
        json.dumps({"images": images, "annotations": captions})
    )
    return path
