"""COCO's annotations as requests (https://cocodataset.org/#format-data): class names and boxes.

As GLIGEN is measured (arXiv 2301.07093, section 5.1): pictures are square, cut out of the middle;
boxes of less than a hundredth of the picture and those of crowds are not asked for, of more than 30
only the largest. What is left out so is ignored where it is found.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
from jaxtyping import UInt8

from gligen.evaluation.layout import Instance, Layout, LayoutSet
from grounding.drops import Dropped, Drops
from grounding.errors import PromptError
from grounding.formats.annotation import (
    NO_SENSE,
    Entry,
    Id,
    find_category,
    group_by_image,
    identify,
    image_size,
    in_order,
    index_by_id,
    is_crowd,
    name_categories,
    read_box,
    same_shape,
    used_categories,
)
from grounding.formats.fields import as_list, as_object, as_text, needed
from grounding.formats.remarks import Remarks
from grounding.geometry import Box, CanvasMap, Size, box_area, clip_xyxy, crop
from grounding.prompt import GroundedPrompt, Region, Sampling
from grounding.stickers.vocabulary import article

__all__ = ["MIN_AREA", "coco_captions", "coco_layouts"]

MIN_AREA = 0.01  # of the picture; GLIGEN, section 4
MOST_BOXES = 30  # GLIGEN's text-box tokenizer

ReadImage = Callable[[str], UInt8[np.ndarray, "H W 3"]]


def coco_captions(data: Entry) -> dict[Id, str]:
    """The first caption of each image of a captions file, by image id.

    Raises:
        PromptError: it is no such file.
    """
    captions: dict[Id, str] = {}
    for place, value in enumerate(as_list(needed(data, "annotations", ""), "annotations")):
        where = f"annotations[{place}]"
        entry = as_object(value, where)
        number = identify(needed(entry, "image_id", where), f"{where}.image_id")
        text = as_text(needed(entry, "caption", where), f"{where}.caption")
        captions.setdefault(number, " ".join(text.split()))
    return captions


def coco_layouts(
    data: Entry,
    *,
    captions: Mapping[Id, str] | None = None,
    read_image: ReadImage | None = None,
    read_size: Callable[[str], Size | None] | None = None,
    limit: int | None = None,
    drops: Drops | None = None,
) -> LayoutSet:
    """Make requests of an instances file, one for each image that has a box left.

    Args:
        data: The parsed file.
        captions: By image id; images without one are asked for by the names of their classes.
        read_image: Returns the image of a file name; None: the true pictures are not at hand.
        read_size: Returns (width, height) of an image whose entry does not tell; None: unknown. It
            may raise `PromptError`, which costs the image.
        limit: Requests at most.
        drops: Counts annotations that make no sense, and boxes that are clipped.

    Raises:
        PromptError: it is no such file, or nothing is left to ask for.
    """
    drops = Drops() if drops is None else drops
    reader = _Reader(data, captions or {}, read_image, read_size, drops)
    asked = [number for number in in_order(reader.boxes) if reader.instances(number)[0]]
    numbers = list(islice(filter(reader.can_show, asked), limit))
    if not numbers:
        raise PromptError(
            f"expected an image with a box of at least {MIN_AREA:.0%} of its middle square; got "
            f"{len(reader.images)} images and none{drops.why()}"
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
        drops=drops,
    )


@dataclass
class _Reader:
    """The parsed file, by ids.

    Attributes:
        images: File name, and (width, height) where anybody tells.
        names: Of the categories.
        boxes: Of each image: (category id, normalised box, crowd).
    """

    data: Entry
    captions: Mapping[Id, str]
    read_image: ReadImage | None
    read_size: Callable[[str], Size | None] | None
    drops: Drops
    images: dict[Id, tuple[str, Size | None]] = field(default_factory=dict)
    names: dict[Id, str] = field(default_factory=dict)
    boxes: dict[Id, list[tuple[Id, Box, bool]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        remarks = Remarks()
        images = index_by_id(self.data, "images", remarks)
        for number, entry in images.items():
            where = f"image {number}"
            name = as_text(needed(entry, "file_name", where), f"{where}: file_name")
            self.images[number] = name, image_size(entry)
        groups = group_by_image(self.data, images, remarks)
        self.drops.add("annotations", remarks)
        used = used_categories(entry for group in groups.values() for _, entry in group)
        self.names = name_categories(self.data, used)
        for number, group in groups.items():
            self._read(number, group)

    def _read(self, number: Id, group: Sequence[tuple[str, Entry]]) -> None:
        """Read the boxes of an image."""
        name, size = self.images[number]
        if size is None and self.read_size is not None:
            try:
                size = self.read_size(name)
            except PromptError as error:
                self._drop(name, error)
                return
        self.images[number] = name, size
        remarks = Remarks()
        for where, entry in group:
            category = find_category(entry, self.names, where, remarks)
            if category is None:
                continue
            try:
                box = read_box(entry, where, size, remarks)
                if box is None:
                    raise PromptError(f"{where}: has neither a box nor an outline")
            except PromptError as error:
                remarks.lose(NO_SENSE, str(error))
                continue
            self.boxes.setdefault(number, []).append((category, box, is_crowd(entry)))
        self.drops.add(name, remarks)

    def instances(
        self, number: Id
    ) -> tuple[tuple[Instance, ...], tuple[Instance, ...], Mapping[str, int]]:
        """Of one image: what is asked for, what is ignored, and why."""
        size = self.images[number][1]
        assert size is not None, "without one there are no boxes"
        square = _middle(*size)
        asked, ignored, left_out = [], [], defaultdict[str, int](int)
        for category, box, crowd in self.boxes[number]:
            placed = clip_xyxy(square.normalized_box(box))
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

    def _place(self, number: Id) -> int:
        """The place of an image in the file."""
        return list(self.images).index(number)

    def can_show(self, number: Id) -> bool:
        """Whether the true picture of an image, if they are at hand, can be read; else drop it."""
        if self.read_image is not None:
            try:
                self.truth(number)
            except PromptError as error:
                self._drop(self.images[number][0], error)
                return False
        return True

    def _drop(self, name: str, error: PromptError) -> None:
        self.drops.picture(name, Dropped("a picture that cannot be read", str(error)))

    def truth(self, number: Id) -> np.ndarray:
        """The middle square of the true picture.

        Raises:
            PromptError: it cannot be read, or is of another shape than its annotations.
        """
        name, size = self.images[number]
        assert self.read_image is not None, "asked only where pictures are at hand"
        assert size is not None, "without one there are no boxes"
        image = self.read_image(name)
        height, width = image.shape[:2]
        if not same_shape(size, (width, height)):
            raise PromptError(
                f"{name}: is of another shape than its annotations: expected {size[0]}x"
                f"{size[1]} pixels, got {width}x{height}"
            )
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return np.ascontiguousarray(image[top : top + side, left : left + side])

    def layout(self, number: Id) -> Layout:
        asked, ignored, _ = self.instances(number)
        nouns = list(dict.fromkeys(instance.noun for instance in asked))
        seed = number if isinstance(number, int) and number >= 0 else self._place(number)
        caption = self.captions.get(number) or _listed([article(noun) for noun in nouns])
        document = GroundedPrompt(
            prompt=caption,
            regions=tuple(Region(phrase=each.noun, box=each.box) for each in asked),
            sampling=Sampling(seed=seed),
        )

        return Layout(
            name=f"image-{number}",
            document=document,
            instances=asked,
            ignored=ignored,
            truth=None if self.read_image is None else partial(self.truth, number),
        )


def _middle(width: int, height: int) -> CanvasMap:
    """The map onto the largest square in the middle."""
    side = min(width, height)
    return crop((width, height), (width - side) // 2, (height - side) // 2, side, side)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
