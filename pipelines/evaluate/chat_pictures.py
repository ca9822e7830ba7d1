"""Contact sheets of questions and answers: the picture, what was asked, what was said."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from grounding.draw import draw_found
from grounding.llava.evaluation.subject import Subject
from grounding.prompt import GroundedPrompt
from grounding.region import Region
from pipelines.evaluate.chat_marks import Mark

__all__ = ["chosen_examples", "example_sheet"]

SIDE = 256  # pixels of a picture
GAP, FONT = 10, 14
LINE = FONT + 4
LINES = 6  # of text under a picture
COLUMNS = 4
INK, PAPER, RIGHT, WRONG = (24, 24, 27), (255, 255, 255), (21, 128, 61), (185, 28, 28)


def chosen_examples(marks: Sequence[Mark], count: int) -> list[Mark]:
    """Some answers: half of them wrong, as far as there are any, spread over the questions."""
    wrong = [each for each in marks if not each.is_right]
    right = [each for each in marks if each.is_right]
    few = min(len(wrong), max(count // 2, count - len(right)))
    return _spread(right, count - few) + _spread(wrong, few)


def _spread(marks: Sequence[Mark], count: int) -> list[Mark]:
    count = min(count, len(marks))
    return [marks[place * len(marks) // count] for place in range(count)]


def example_sheet(marks: Sequence[Mark], subjects: Mapping[str, Subject]) -> bytes:
    """Draw examples, as PNG.

    Args:
        marks: Of one task.
        subjects: By the names that the questions use.
    """
    columns = min(COLUMNS, len(marks))
    rows = -(-len(marks) // columns)
    width, height = SIDE + GAP, SIDE + LINES * LINE + GAP
    sheet = Image.new("RGB", (GAP + columns * width, GAP + rows * height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for number, each in enumerate(marks):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        sheet.paste(_picture(each, subjects), (left, top))
        asked = _wrapped(each.question.text, font, LINES - 2)
        answer = f"{each.answer.strip() or '(nothing)'}  [{_label(each)}]"
        said = _wrapped(answer, font, LINES - len(asked))
        color = RIGHT if each.is_right else WRONG
        lines = [(line, INK) for line in asked] + [(line, color) for line in said]
        for place, (line, ink) in enumerate(lines):
            pen.text((left, top + SIDE + place * LINE), line, ink, font)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _picture(each: Mark, subjects: Mapping[str, Subject]) -> Image.Image:
    """The picture with the boxes of the answer; of a plan the boxes alone."""
    name = each.question.image
    base = subjects[name].picture() if name else Image.new("RGB", (SIDE, SIDE), (244, 244, 245))
    boxes = each.question.kind in ("box", "plan")
    found = tuple(each.understood or ()) if boxes else ()
    box: Any = each.question.label
    asked = (Region(box=box),) if each.question.kind == "box" else ()
    labels = each.question.kind == "plan"
    drawn = draw_found(base, GroundedPrompt(regions=found), asked, min_side=SIDE, labels=labels)
    drawn.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (SIDE, SIDE), PAPER)
    tile.paste(drawn, ((SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2))
    return tile


def _label(each: Mark) -> str:
    if each.question.kind == "box":
        return f"IoU {each.score:.2f}"
    label = each.question.label
    return label if isinstance(label, str) else ", ".join(map(str, label))


def _wrapped(text: str, font, most: int) -> list[str]:
    """A text in lines of a picture's width, the last one cut short if there are too many."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    lines: list[str] = []
    for word in words:
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= SIDE:
            lines[-1] = joined
        elif len(lines) == most:
            lines[-1] = f"{lines[-1][:-3]}..."
            break
        else:
            lines.append(word[:40])
    return lines
