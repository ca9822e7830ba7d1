"""COCO's annotations as requests (https://cocodataset.org/#format-data): class names and boxes.

As GLIGEN is measured (arXiv 2301.07093, section 5.1): pictures are square, cut out of the middle;
boxes of less than a hundredth of the picture and those of crowds are not asked for, of more than 30
only the largest. What is left out so is ignored where it is found.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from gligen.evaluation.layout import Instance, Layout, LayoutSet
from grounding.errors import PromptError
from grounding.formats.fields import as_list, as_numbers, as_object, as_text, as_whole, needed
from grounding.geometry import (
    Box,
    CanvasMap,
    box_area,
    clip_xyxy,
    crop,
    pixels_to_normalized,
    xywh_to_xyxy,
)
from grounding.prompt import GroundedPrompt, Region, Sampling
from grounding.stickers.vocabulary import article

__all__ = ["MIN_AREA", "coco_captions", "coco_layouts"]

MIN_AREA = 0.01  # of the picture; GLIGEN, section 4
MOST_BOXES = 30  # GLIGEN's text-box tokenizer

Entry = Mapping[str, object]
ReadImage = Callable[[str], UInt8[np.ndarray, "H W 3"]]


def coco_captions(data: Entry) -> dict[int, str]:
    """The first caption of each image of a captions file, by image id.

    Raises:
        PromptError: it is no such file.
    """
    captions: dict[int, str] = {}
    for place, value in enumerate(as_list(needed(data, "annotations", ""), "annotations")):
        where = f"annotations[{place}]"
        entry = as_object(value, where)
        number = as_whole(needed(entry, "image_id", where), f"{where}.image_id", 0)
        text = as_text(needed(entry, "caption", where), f"{where}.caption")
        captions.setdefault(number, " ".join(text.split()))
    return captions


def coco_layouts(
    data: Entry,
    *,
    captions: Mapping[int, str] | None = None,
    read_image: ReadImage | None = None,
    limit: int | None = None,
) -> LayoutSet:
    """Make requests of an instances file, one for each image that has a box left.

    Args:
        data: The parsed file.
        captions: By image id; images without one are asked for by the names of their classes.
        read_image: Returns the image of a file name; None: the true pictures are not at hand.
        limit: Requests at most.

    Raises:
        PromptError: it is no such file, or nothing is left to ask for.
    """
    reader = _Reader(data, captions or {}, read_image)
    numbers = [number for number in sorted(reader.boxes) if reader.instances(number)[0]][:limit]
    if not numbers:
        raise PromptError(
            f"expected an image with a box of at least {MIN_AREA:.0%} of its middle square; got "
            f"{len(reader.images)} images and none"
        )
    left_out: dict[str, int] = defaultdict(int)
    for number in numbers:
        for what, count in reader.instances(number)[2].items():
            left_out[what] += count

    def layouts() -> Iterator[Layout]:
        for number in numbers:
            yield reader.layout(number)

    return LayoutSet(
        what=f"COCO annotations of {len(numbers)} images",
        classes=tuple(dict.fromkeys(reader.names.values())),
        closed=True,
        count=len(numbers),
        layouts=layouts,
        has_truth=read_image is not None,
        left_out=dict(left_out),
    )


@dataclass
class _Reader:
    """The parsed file, by ids.

    Attributes:
        images: File name, width and height.
        names: Of the categories.
        boxes: Of each image: (category id, xywh pixels, crowd).
    """

    data: Entry
    captions: Mapping[int, str]
    read_image: ReadImage | None
    images: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    boxes: dict[int, list[tuple[int, Box, bool]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for where, entry in _entries(self.data, "images"):
            number = as_whole(needed(entry, "id", where), f"{where}.id", 0)
            name = as_text(needed(entry, "file_name", where), f"{where}.file_name")
            width, height = (
                as_whole(needed(entry, side, where), f"{where}.{side}")
                for side in ("width", "height")
            )
            self.images[number] = name, width, height
        for where, entry in _entries(self.data, "categories"):
            number = as_whole(needed(entry, "id", where), f"{where}.id", 0)
            self.names[number] = as_text(needed(entry, "name", where), f"{where}.name")
        for where, entry in _entries(self.data, "annotations"):
            image, category = (
                as_whole(needed(entry, key, where), f"{where}.{key}", 0)
                for key in ("image_id", "category_id")
            )
            if image not in self.images:
                raise PromptError(f"{where}.image_id: there is no image {image}")
            if category not in self.names:
                raise PromptError(f"{where}.category_id: there is no category {category}")
            x, y, w, h = as_numbers(needed(entry, "bbox", where), 4, f"{where}.bbox")
            box = (category, (x, y, w, h), bool(entry.get("iscrowd")))
            self.boxes.setdefault(image, []).append(box)

    def instances(
        self, number: int
    ) -> tuple[tuple[Instance, ...], tuple[Instance, ...], Mapping[str, int]]:
        """Of one image: what is asked for, what is ignored, and why."""
        _, width, height = self.images[number]
        square = _middle(width, height)
        asked, ignored, left_out = [], [], defaultdict[str, int](int)
        for category, box, crowd in self.boxes[number]:
            normalized = pixels_to_normalized(xywh_to_xyxy(box), (width, height))
            placed = clip_xyxy(square.normalized_box(normalized))
            if placed is None:
                left_out["boxes outside the middle square"] += 1
                continue
            instance = Instance(noun=self.names[category], box=placed)
            small = box_area(placed) < MIN_AREA
            if crowd or small:
                ignored.append(instance)
                left_out["crowds" if crowd else f"boxes under {MIN_AREA:.0%} of the picture"] += 1
            else:
                asked.append(instance)
        asked.sort(key=lambda instance: -box_area(instance.box))
        if len(asked) > MOST_BOXES:
            left_out[f"boxes beyond the {MOST_BOXES} largest"] += len(asked) - MOST_BOXES
        return tuple(asked[:MOST_BOXES]), (*ignored, *asked[MOST_BOXES:]), left_out

    def layout(self, number: int) -> Layout:
        name, width, height = self.images[number]
        asked, ignored, _ = self.instances(number)
        nouns = list(dict.fromkeys(instance.noun for instance in asked))
        caption = self.captions.get(number) or _listed([article(noun) for noun in nouns])
        document = GroundedPrompt(
            prompt=caption,
            regions=tuple(Region(phrase=each.noun, box=each.box) for each in asked),
            sampling=Sampling(seed=number),
        )

        def truth() -> np.ndarray:
            assert self.read_image is not None, "asked only where pictures are at hand"
            image = self.read_image(name)
            if image.shape[:2] != (height, width):
                raise PromptError(
                    f"{name}: expected {width}x{height} pixels, as its annotation says; got "
                    f"{image.shape[1]}x{image.shape[0]}"
                )
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            return np.ascontiguousarray(image[top : top + side, left : left + side])

        return Layout(
            name=f"image-{number}",
            document=document,
            instances=asked,
            ignored=ignored,
            truth=None if self.read_image is None else truth,
        )


def _entries(data: Entry, key: str) -> list[tuple[str, Entry]]:
    values = as_list(needed(data, key, ""), key)
    return [(f"{key}[{i}]", as_object(value, f"{key}[{i}]")) for i, value in enumerate(values)]


def _middle(width: int, height: int) -> CanvasMap:
    """The map onto the largest square in the middle."""
    side = min(width, height)
    return crop((width, height), (width - side) // 2, (height - side) // 2, side, side)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
