"""Whole files of each kind to begin with, and ways to spoil them."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

__all__ = ["KINDS", "make", "spoil"]

KINDS = ("coco", "labelme", "lines", "png", "jpeg", "film", "safetensors")
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3.7, 1e308, -1e-9, 10**30, float("nan"), float("inf"), "", "1", "é\u2028",
    "../../etc/passwd", "a\x00b", [], {}, [[]], [None], {"a": 1}, [1, 2], [10, 8, 70, 60], "NaN",
)  # fmt: skip


def picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)


def make(kind: str, folder: Path) -> Path:
    """Write a whole file of a kind, and what belongs to it; return the one that is to be spoilt."""
    folder.mkdir(parents=True)
    if kind in ("coco", "labelme", "lines"):
        for number in range(2):
            picture(number).save(folder / f"{number}.png")
    return MAKERS[kind](folder)


def _coco(folder: Path) -> Path:
    ring = [10, 8, 70, 8, 70, 60, 10, 60]
    content = {
        "info": {"year": 2026},
        "images": [
            {"id": 7 + n, "width": 96, "height": 64, "file_name": f"{n}.png"} for n in range(2)
        ],
        "annotations": [
            {
                "id": 1 + n,
                "image_id": 7 + n // 2,
                "category_id": 3,
                "bbox": [10, 8, 60, 52],
                "area": 3120,
                "iscrowd": 0,
                "segmentation": [ring],
            }
            for n in range(4)
        ],
        "categories": [{"id": 3, "name": "llama", "supercategory": "animal"}],
    }
    return _json(folder / "instances.json", content)


def _labelme(folder: Path) -> Path:
    shape = {"label": "llama", "points": [[10, 8], [70, 60]], "shape_type": "rectangle"}
    outline = {"label": "tree", "points": [[10, 8], [70, 8], [40, 60]], "shape_type": "polygon"}
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": [shape, outline],
        "imagePath": "0.png",
        "imageData": None,
        "imageHeight": 64,
        "imageWidth": 96,
    }
    _json(folder / "1.json", {**content, "imagePath": "1.png"})
    return _json(folder / "0.json", content)


def _lines(folder: Path) -> Path:
    lines = [
        {
            "prompt": f"picture {n}",
            "image": f"{n}.png",
            "regions": [{"phrase": "llama", "box": [0.1, 0.1, 0.9, 0.9]}],
        }
        for n in range(2)
    ]
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _png(folder: Path) -> Path:
    path = folder / "a.png"
    picture().save(path)
    return path


def _jpeg(folder: Path) -> Path:
    path = folder / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(path, exif=exif)
    return path


def _film(folder: Path) -> Path:
    path = folder / "a.avi"
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 5, (96, 64))
    for seed in range(3):
        writer.write(np.asarray(picture(seed)))
    writer.release()
    return path


def _safetensors(folder: Path) -> Path:
    from weights.registry import embedded

    source = embedded("gligen")
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    path = folder / "adapter.safetensors"
    path.write_bytes((source / "adapter.safetensors").read_bytes())
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "coco": _coco,
    "labelme": _labelme,
    "lines": _lines,
    "png": _png,
    "jpeg": _jpeg,
    "film": _film,
    "safetensors": _safetensors,
}


def _json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def spoil(path: Path, rng: random.Random) -> str:
    """Spoil a file in one way; return what was done, for the report."""
    data = path.read_bytes()
    ways = [_flip, _cut, _repeat]
    if path.suffix in (".json", ".jsonl"):
        ways += [_odd_value] * 4 + [_drop_field] * 2
    way = rng.choice(ways)
    changed, told = way(data, rng)
    path.write_bytes(changed)
    return told


def _flip(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    changed = bytearray(data)
    # Mostly near the start, where the headers are.
    places = [
        rng.randrange(min(len(data), 256) if rng.random() < 0.6 else len(data))
        for _ in range(rng.choice((1, 1, 8)))
    ]
    for place in places:
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed), f"bits flipped at {sorted(places)}"


def _cut(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    length = rng.randrange(len(data))
    return data[:length], f"cut after {length} of {len(data)} bytes"


def _repeat(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randrange(1, 64)]
    return data[:start] + piece + data[start:], f"{len(piece)} bytes at {start} given twice"


def _odd_value(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    return _edit(data, rng, lambda box, key: box.__setitem__(key, rng.choice(ODD)), "changed")


def _drop_field(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    return _edit(data, rng, lambda box, key: box.__delitem__(key), "dropped")


def _edit(
    data: bytes, rng: random.Random, change: Callable[[Any, Any], None], word: str
) -> tuple[bytes, str]:
    """Change one value somewhere in JSON, or in one line of JSON lines."""
    lines = data.decode().splitlines()
    number = rng.randrange(len(lines))
    content = json.loads(lines[number])
    places = list(_places(content, ()))
    box, key, where = rng.choice(places)
    change(box, key)
    lines[number] = json.dumps(content)
    file = io.StringIO("\n".join(lines) + "\n")
    return file.getvalue().encode(), f"{word} {'.'.join(map(str, where))}: {lines[number][:300]}"


def _places(value: Any, where: tuple[Any, ...]):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key, (*where, key)
        if isinstance(inner, (dict, list)):
            yield from _places(inner, (*where, key))
