"""Answers of a model with a mask refiner: the whole image first, then a closer look.

Axes: M masks of a question, H W the image, h w the mask map of the answers (stride 4 of
`EncodedImage.size`), K what a detector finds.

A box is looked at closely at once. A first click is answered on the whole image, with a vote of the
detector's best box that holds it; further clicks, and whatever corrects an answer, also get a
closer look at the last answer and all that was drawn (the "zoom-in" of Sofiiuk et al., arXiv
2102.06583, section 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from grounding.geometry import Box
from grounding.region import Point, Stroke
from seem.attention_groups import Group
from seem.backbones.nanodet import NanoDet
from seem.correction import kept_to_marks
from seem.decoder import mask_logits
from seem.detector import Detections, detect
from seem.encoded_image import EncodedImage, Resizing, encode_image
from seem.mark_planes import mark_planes
from seem.marks import Marks, around, draw, resize_bitmap
from seem.model import Seem
from seem.postprocess import restore_linear
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens
from seem.ranking import OUTSIDE
from seem.refiner import Prototypes

__all__ = [
    "Answers",
    "Window",
    "answer_marks",
    "answer_reference",
    "answer_window",
    "detections",
    "on_mask_map",
    "read_marks",
    "window_around",
]

CLOSE = Resizing(short_side=256, long_side=256)  # how a closer look is seen
BOXED = Resizing(short_side=224, long_side=224)  # how the surroundings of a box are
GROWN = 2.2  # sides of a window, in sides of what it is about
SQUARER = 0.6  # of the longer side: the least of the shorter
NARROWEST = 32  # pixels of a window's side
AROUND = 8  # pixels that a window reaches beyond a click, at least
WORTHWHILE = 0.75  # of the image's longer side: a larger window shows nothing new
VOTE = 0.2  # least score of a detection that has a say in a click
VOTERS = 3  # detections that are tried, the best first
SURE = 6.0  # logits beyond are no surer
STRIDE = 4  # of the mask map
MARGIN = 1.0  # the logit that a drawn place shall have (`seem.correction`)
KEPT = 8  # closer looks that an image remembers

Window = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Masks of one question on a part of the image.

    Attributes:
        logits: At the size of the window, the best guess first, then the others, [M, H, W].
        quality: Estimates of their IoU, in [0, 1].
        window: Where they lie; all else is not part of any mask.
    """

    logits: Float[Tensor, "M H W"]
    quality: Float[Tensor, " M"]
    window: Window


def detections(model: Seem, image: EncodedImage) -> Detections | None:
    """What the backbone's detector finds; computed once for each image."""
    if not isinstance(model.backbone, NanoDet) or image.picture is None:
        return None
    if image.detections is None:
        image.detections = detect(model.backbone, image.picture)
    return image.detections


def answer_marks(
    model: Seem,
    image: EncodedImage,
    marks: Marks,
    previous: Float[Tensor, "1 h w"] | None = None,
) -> Answers:
    """Answer what is drawn about one object.

    Args:
        model: With a refiner.
        image: Encoded by it.
        marks: Something positive.
        previous: The last answer's logits.
    """
    before = None if previous is None else _full(previous, image)
    if marks.box is not None:
        window = _window(image, marks, None)
        return _look(model, image, _closer(model, image, window, BOXED), marks, before, window)
    whole = _whole(image)
    first = _look(model, image, image, marks, before, whole)
    if _is_first_click(marks) and before is None:
        return _voted(model, image, marks, first)
    if len(marks.points) < 2 and before is None:
        return first
    guess = first.logits[0] > 0
    seen = guess if before is None else guess | (before > 0)
    window = _window(image, marks, seen)
    if not _is_worthwhile(window, image):
        return first
    return _look(model, image, _closer(model, image, window, CLOSE), marks, first.logits[0], window)


def answer_reference(model: Seem, image: EncodedImage, tokens: SpatialTokens) -> Answers:
    """Answer what is shown on another image, as `read_marks` reads it."""
    return _look(model, image, image, Marks(), None, _whole(image), shown=tokens)


def answer_window(
    model: Seem,
    image: EncodedImage,
    window: Window,
    marks: Marks,
    *,
    previous: Float[Tensor, "H W"],
    shown: SpatialTokens,
) -> Answers:
    """Look again for an object that was found on a part of the image.

    Args:
        model: With a refiner.
        image: Encoded by it.
        window: Around the object.
        marks: Where it is.
        previous: Its logits at the image's own size.
        shown: What it looks like on other images.
    """
    if not _is_worthwhile(window, image):
        return _look(model, image, image, marks, previous, _whole(image), shown=shown)
    view = _closer(model, image, window, CLOSE)
    return _look(model, image, view, marks, previous, window, shown=shown)


def window_around(image: EncodedImage, marks: Marks) -> Window:
    """The part of an image to look at closely for what is drawn."""
    return _window(image, marks, None)


def read_marks(
    model: Seem, image: EncodedImage, marks: Marks, window: Window | None = None
) -> SpatialTokens:
    """What the decoder and the refiner read of something drawn, to look for it on other images.

    Args:
        model: With a refiner.
        image: That is drawn on.
        marks: Something positive.
        window: Look closely at this part; None: at the whole image.
    """
    refiner, view = model.refiner, image
    if window is not None and _is_worthwhile(window, image):
        view = _closer(model, image, window, CLOSE)
        marks = _within(marks, window, image.size.original)
    memory, size = view.memory, view.view
    assert refiner is not None
    assert memory.refiner is not None
    assert size is not None
    device = memory.mask_features.device
    drawing = draw(marks, size, box_mode="outline")
    tokens = model.encode_marks(
        memory, drawing.positive[None].to(device), drawing.negative[None].to(device)
    )
    looks = refiner.read_looks(memory.refiner, mark_planes([marks], size).to(device))
    return replace(tokens, looks=looks)


def on_mask_map(answers: Answers, image: EncodedImage) -> Float[Tensor, "M h w"]:
    """Answers on the mask map, stride 4 of `EncodedImage.size`."""
    height, width = image.size.original
    left, top, right, bottom = answers.window
    whole = answers.logits.new_full((len(answers.logits), height, width), OUTSIDE)
    whole[:, top:bottom, left:right] = answers.logits
    small = F.interpolate(whole[None], image.size.image, mode="bilinear", antialias=True)
    high, wide = (p - s for p, s in zip(image.size.padded, image.size.image, strict=True))
    padded = F.pad(small, (0, wide, 0, high), value=OUTSIDE)
    return F.avg_pool2d(padded, STRIDE)[0]


def _whole(image: EncodedImage) -> Window:
    return 0, 0, image.size.original[1], image.size.original[0]


def _is_worthwhile(window: Window, image: EncodedImage) -> bool:
    sides = window[2] - window[0], window[3] - window[1]
    return max(sides) < WORTHWHILE * max(image.size.original)


def _is_first_click(marks: Marks) -> bool:
    return len(marks.points) == 1 and not marks.strokes and marks.mask is None


def _voted(model: Seem, image: EncodedImage, marks: Marks, first: Answers) -> Answers:
    """A first click's answer, and that to the best detection whose mask holds it, each half."""
    found, (x, y) = detections(model, image), marks.points[0].xy
    if found is None:
        return first
    x0, y0, x1, y1 = found.boxes.unbind(1)
    holding = ((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1) & (found.scores >= VOTE)).nonzero()
    height, width = image.size.original
    place = int(y * height), int(x * width)
    for index in holding[:VOTERS, 0].tolist():
        a, b, c, d = found.boxes[index].tolist()
        boxed = answer_marks(model, image, Marks(box=(a, b, c, d)))
        left, top, right, bottom = boxed.window
        other = torch.full_like(first.logits[0], -SURE)
        other[top:bottom, left:right] = boxed.logits[0].clamp(-SURE, SURE)
        if other[place] > 0:
            mean = (first.logits[0].clamp(-SURE, SURE) + other) / 2
            return replace(first, logits=torch.cat([mean[None], first.logits[1:]]))
    return first


def _look(
    model: Seem,
    image: EncodedImage,
    view: EncodedImage,
    marks: Marks,
    before: Float[Tensor, "H W"] | None,
    window: Window,
    *,
    shown: SpatialTokens | None = None,
) -> Answers:
    """Ask the model about one view; what was drawn and answered is cut to its window."""
    refiner, memory, size = model.refiner, view.memory, view.view
    assert refiner is not None
    assert memory.refiner is not None
    assert size is not None
    device = memory.mask_features.device
    prototypes: Prototypes | None = None if shown is None else shown.looks
    if marks:
        marks = _within(marks, window, image.size.original)
        drawing = draw(marks, size, box_mode="outline")
        tokens = model.encode_marks(
            memory, drawing.positive[None].to(device), drawing.negative[None].to(device)
        )
        prompt = Prompt(spatial=tokens)
    else:
        drawing, prompt = None, Prompt(visual=shown)
    previous = None
    if before is not None:
        left, top, right, bottom = window
        chance = before[top:bottom, left:right].sigmoid()[None, None]
        seen = F.interpolate(chance, size.image, mode="bilinear", antialias=True)
        high, wide = (p - s for p, s in zip(size.padded, size.image, strict=True))
        previous = F.avg_pool2d(F.pad(seen, (0, wide, 0, high)), STRIDE)[0]
    planes = mark_planes([marks], size, previous).to(device)
    output = model.decode(memory, [prompt], objects=False)
    span = output.spans[Group.SPATIAL]
    queries = mask_logits(output.predictions.mask_embeddings[:, span], memory)
    refined = refiner(memory.refiner, planes, queries, prototypes)
    logits = refined.logits
    if drawing is not None and marks.mask is None:
        cells, looks = F.avg_pool2d(logits, 2)[0], memory.refiner.looks[0][0]
        on, beside = drawing.evidence.to(device), drawing.counter_evidence.to(device)
        kept = kept_to_marks(cells, looks, on, beside, margin=MARGIN)
        logits = logits + F.interpolate((kept - cells)[None], scale_factor=2, mode="bilinear")
    padded = F.interpolate(logits, size.padded, mode="bilinear")
    height, width = window[3] - window[1], window[2] - window[0]
    logits = F.interpolate(size.crop(padded), (height, width), mode="bilinear")[0]
    return Answers(logits=logits, quality=refined.quality[0].sigmoid(), window=window)


def _within(marks: Marks, window: Window, size: tuple[int, int]) -> Marks:
    """Marks of an image of (height, width) in coordinates of a window that holds them."""
    left, top, right, bottom = window
    height, width = size
    across, down = width / (right - left), height / (bottom - top)
    shift_x, shift_y = left / width, top / height

    def move(x: float, y: float) -> tuple[float, float]:
        moved = (x - shift_x) * across, (y - shift_y) * down
        return min(max(moved[0], 0.0), 1.0), min(max(moved[1], 0.0), 1.0)

    thicker = max(height, width) / max(bottom - top, right - left)
    box = marks.box
    return Marks(
        points=tuple(Point(xy=move(*p.xy), label=p.label) for p in marks.points),
        strokes=tuple(
            Stroke(
                xy=tuple(move(*xy) for xy in stroke.xy),
                width=min(1.0, stroke.width * thicker),
                label=stroke.label,
            )
            for stroke in marks.strokes
        ),
        box=None if box is None else (*move(box[0], box[1]), *move(box[2], box[3])),
        mask=None if marks.mask is None else _cut(marks.mask, window, size),
    )


def _cut(mask: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """The part of a bitmap of any size over the whole image that lies in a window."""
    if mask.shape != size:
        mask = resize_bitmap(mask, (size[1], size[0]))
    left, top, right, bottom = window
    return mask[top:bottom, left:right]


def _window(image: EncodedImage, marks: Marks, seen: Tensor | None) -> Window:
    """A part of the image around what is drawn and what was answered, and some more."""
    height, width = image.size.original
    boxes: list[tuple[float, float, float, float]] = []
    if marks.box is not None:
        boxes.append(_pixels(marks.box, height, width))
    if seen is not None and seen.any():
        boxes.append(around(seen.numpy(force=True)))
    if marks.mask is not None:
        whole = _cut(marks.mask, (0, 0, width, height), (height, width))
        boxes.append(around(whole))
    places = [(p.xy[0] * width, p.xy[1] * height) for p in marks.points]
    drawn = [(x * width, y * height) for stroke in marks.strokes for x, y in stroke.xy]
    boxes += [(x, y, x, y) for x, y in (*places, *drawn)]
    x0, y0, x1, y1 = _union(boxes)
    side = max(x1 - x0, y1 - y0)
    reach_x, reach_y = (
        max(length * GROWN, side * SQUARER, NARROWEST) / 2 for length in (x1 - x0, y1 - y0)
    )
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    wide = middle_x - reach_x, middle_y - reach_y, middle_x + reach_x, middle_y + reach_y
    near = [(x - AROUND, y - AROUND, x + AROUND, y + AROUND) for x, y in (*places, *drawn)]
    left, top, right, bottom = _union([wide, *near])
    return (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )


def _pixels(box: Box, height: int, width: int) -> tuple[float, float, float, float]:
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def _union(
    boxes: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    lows, highs = [box[:2] for box in boxes], [box[2:] for box in boxes]
    (x0, y0), (x1, y1) = np.min(lows, axis=0).tolist(), np.max(highs, axis=0).tolist()
    return x0, y0, x1, y1


def _closer(model: Seem, image: EncodedImage, window: Window, resizing: Resizing) -> EncodedImage:
    """A part of the image, encoded by itself; the last few are remembered."""
    key = (*window, resizing.long_side)
    if key not in image.closer:
        assert image.picture is not None, "models with a refiner keep the picture"
        left, top, right, bottom = window
        while len(image.closer) >= KEPT:
            del image.closer[next(iter(image.closer))]
        closer = encode_image(model, image.picture[top:bottom, left:right], resizing)
        image.closer[key] = replace(closer, picture=None)  # which may be large, and is known
    return image.closer[key]


def _full(logits: Float[Tensor, "1 h w"], image: EncodedImage) -> Float[Tensor, "H W"]:
    """Logits of an answer at the image's own size."""
    return restore_linear(logits, image.size)[0]
