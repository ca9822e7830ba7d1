"""Regions of a document as text of a model, and back.

Boxes are moved to the canvas that the model speaks of, padded, cropped or scaled, and exactly back.
What a model says is searched for boxes, never evaluated.
"""

import logging
import re
from collections.abc import Iterable

from grounding.errors import AnswerError, LavallamaError, PromptError
from grounding.geometry import Box, CanvasMap, check_xyxy, clip_xyxy
from grounding.jsonfile import describe
from grounding.llava.box_text import Dialect
from grounding.masks import region_box
from grounding.region import Region

__all__ = ["place_text", "regions_to_text", "text_to_regions"]

log = logging.getLogger(__name__)
# How places look in dialects, and which of ours read them.
SIGNS: tuple[tuple[re.Pattern[str], str, tuple[str, ...]], ...] = (
    (re.compile(r'"point_2d"'), "points as Qwen's models write them (point_2d)", ()),
    (re.compile(r"<points?\s"), "points as Molmo writes them (<points>)", ()),
    (re.compile(r'"box_2d"'), "boxes as Gemini writes them (box_2d, y before x)", ()),
    (re.compile(r"<loc\d{4}>"), "boxes as PaliGemma writes them (<loc0123>)", ()),
    (re.compile(r'"bbox_2d"'), "boxes in JSON (bbox_2d)", ("qwen2.5-vl", "qwen3-vl")),
    (re.compile(r"<box>\s*\[\["), "boxes in <box>", ("internvl",)),
    (re.compile(r"<loc_\d"), "boxes in <loc_123>", ("florence2",)),
    (re.compile(r"<patch_index_"), "boxes in <patch_index_0123>", ("kosmos2",)),
)
PHRASE_LIMIT = 200  # characters; a phrase, not a story


def place_text(region: Region, dialect: Dialect, view: CanvasMap) -> str:
    """Return the place of a region, to point with.

    Raises:
        PromptError: It has none on what the model sees.
    """
    return dialect.place(_box(region, view), view.target)


def regions_to_text(regions: Iterable[Region], dialect: Dialect, view: CanvasMap) -> str:
    """Return regions as the answer of a model, one a line; those without a phrase by their id.

    Args:
        regions: Each with a place.
        dialect: How boxes are written.
        view: Where the picture lies on the canvas of the text; of `dialect.view`, or of the model.

    Raises:
        PromptError: A region has no place on what the model sees.
    """
    lines = []
    for region in regions:
        name = " ".join((region.phrase or region.id).split()) or "object"
        lines.append(dialect.write(name, _box(region, view), view.target))
    return "\n".join(lines)


def text_to_regions(
    text: str, dialect: Dialect, view: CanvasMap, *, strict: bool = False
) -> tuple[Region, ...]:
    """Return what a text says is where, in order.

    Args:
        text: What a model said.
        dialect: How boxes are written.
        view: As for `regions_to_text`.
        strict: Whether an impossible box is an error rather than left out with a warning.

    Returns:
        Regions with phrases and normalised boxes on the picture; without an id. A mention without
        coordinates ([SEG]) is a region without a place.

    Raises:
        AnswerError: Under `strict`, a box has no extent, or lies beside the picture.
    """
    for sign, what, readers in SIGNS:
        if dialect.name not in readers and sign.search(text):
            cure = f"; name its dialect: {' or '.join(readers)}" if readers else ""
            log.warning("the model's answer has %s, of which no region is made%s", what, cure)
    regions = []
    back = view.inverse()
    for mention in dialect.read(text, view.target):
        phrase = mention.phrase[:PHRASE_LIMIT].strip()
        try:
            box = None if mention.box is None else _on_picture(mention.box, back)
            regions.append(Region(phrase=phrase, box=box))
        except LavallamaError as error:
            problem = f"the model's answer has an impossible box for {describe(phrase)}: {error}"
            if strict:
                raise AnswerError(problem) from None
            log.warning("%s; it is left out", problem)
    return tuple(regions)


def _on_picture(box: Box, back: CanvasMap) -> Box:
    """A box of the text's canvas on the picture."""
    check_xyxy(box)
    clipped = clip_xyxy(back.normalized_box(box))
    if clipped is None:
        raise AnswerError("it lies beside the picture")
    return clipped


def _box(region: Region, view: CanvasMap) -> Box:
    """A region's box on the text's canvas."""
    box = region_box(region)
    if box is None:
        raise PromptError(f"region {region.id or region.phrase!r} has no box, mask or outline")
    clipped = clip_xyxy(view.normalized_box(box))
    if clipped is None:
        raise PromptError(
            f"region {region.id or region.phrase!r} lies outside of what the model sees: the "
            "picture is cropped; use a model that pads"
        )
    return clipped
