"""Four pictures of robots (blue squares) and aliens (green ones), written in many forms."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from grounding.masks import bitmap_to_rle
from tests.seem.train.folders import coco_folder

SIZE = (90, 70)
NAMES = ("robot", "alien")
COLOURS = {"robot": (30, 60, 220), "alien": (40, 200, 60)}


def places(number: int) -> dict[str, tuple[int, int, int, int]]:
    """xyxy of the things of a picture, in pixels."""
    return {"robot": (5 + number, 10, 35 + number, 40), "alien": (50, 20 + number, 80, 60 + number)}


def picture(number: int) -> Image.Image:
    pixels = np.full((SIZE[1], SIZE[0], 3), 150 + 20 * number, np.uint8)
    for name, (x0, y0, x1, y1) in places(number).items():
        pixels[y0:y1, x0:x1] = COLOURS[name]
    return Image.fromarray(pixels)


def png(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


def ring(box: tuple[int, int, int, int]) -> list[list[int]]:
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(number))


def coco(
    folder: Path, *, rle: bool = False, count: int = 4, names: tuple[str, ...] = NAMES
) -> Path:
    """COCO instances; `names` are what the two categories are called."""
    write_pictures(folder / "images", count)
    annotations = []
    for number in range(count):
        for category, box in enumerate(places(number).values(), 1):
            outline: object = [[value for xy in ring(box) for value in xy]]
            if rle:
                bitmap = np.zeros(SIZE[::-1], bool)
                bitmap[box[1] : box[3], box[0] : box[2]] = True
                outline = bitmap_to_rle(bitmap).model_dump()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": outline,
                }
            )
    images = [
        {"id": n, "file_name": f"{n}.png", "width": SIZE[0], "height": SIZE[1]}
        for n in range(count)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


def labelme_file(number: int, **more: object) -> str:
    shapes = [
        {"label": name, "points": ring(box), "shape_type": "polygon"}
        for name, box in places(number).items()
    ]
    sizes = {"imageWidth": SIZE[0], "imageHeight": SIZE[1]}
    return json.dumps({"shapes": shapes, "imagePath": f"{number}.png", **sizes, **more})


def labelme(folder: Path) -> Path:
    write_pictures(folder, 4)
    for number in range(4):
        (folder / f"{number}.json").write_text(labelme_file(number))
    return folder


def labelme_alone(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "one.json"
    path.write_text(labelme_file(0, imageData=base64.b64encode(png(0)).decode()))
    return path


def document(number: int) -> dict[str, object]:
    regions = [
        {"phrase": name, "polygon": [[[x / SIZE[0], y / SIZE[1]] for x, y in ring(box)]]}
        for name, box in places(number).items()
    ]
    return {"image": f"{number}.png", "regions": regions}


def lines(folder: Path) -> Path:
    write_pictures(folder, 4)
    path = folder / "mine.jsonl"
    path.write_text("\n".join(json.dumps(document(number)) for number in range(4)))
    return path


def documents(folder: Path) -> Path:
    write_pictures(folder, 4)
    for number in range(4):
        (folder / f"{number}.json").write_text(json.dumps(document(number)))
    return folder


FORMS = {
    "coco polygons": coco,
    "coco run lengths": lambda folder: coco(folder, rle=True),
    "coco folder": lambda folder: coco(folder).rename(folder / "instances_mine.json").parent,
    "coco panoptic": coco_folder,
    "labelme folder": labelme,
    "labelme file": labelme_alone,
    "documents": documents,
    "json lines": lines,
}
