"""The prompt document as a conversation, and answers as parts of the document.

A message can point at regions. A model that reads boxes is told them in its dialect; any model can be
shown numerals on the picture (`grounding.llava.marks`), or what is inside the regions as pictures of
their own.
"""  # noqa: E501

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from PIL import Image

from grounding.errors import PromptError
from grounding.geometry import CanvasMap, normalized_to_pixels
from grounding.jsonfile import describe
from grounding.llava.box_text import Dialect
from grounding.llava.conversation import Conversation, Turn
from grounding.llava.marks import draw_marks, name_marks
from grounding.llava.region_text import place_text
from grounding.masks import region_box
from grounding.message import (
    AudioContent,
    Content,
    ImageContent,
    Message,
    RegionContent,
    TextContent,
)
from grounding.prompt import GroundedPrompt
from grounding.region import Region

__all__ = ["Showing", "conversation_of", "with_answer", "with_question"]

Showing = Literal["text", "marks", "crops"]
CROP_MARGIN = 0.1  # of the region's longer side: what a thing stands on helps to tell what it is


def conversation_of(
    document: GroundedPrompt,
    picture: Image.Image | None,
    *,
    showing: Showing = "text",
    dialect: Dialect,
    view: CanvasMap | None = None,
    pictures: Mapping[str, Image.Image] | None = None,
) -> Conversation:
    """Return the conversation of a document.

    Args:
        document: With messages, the first of the user after those of the system.
        picture: What the document is about; None: it is about words alone.
        showing: How regions reach the model.
        dialect: How boxes are written.
        view: Where the picture lies on the canvas of boxes; None: as the dialect says.
        pictures: Those that the messages name.

    Raises:
        PromptError: There is nothing to say, or it cannot be said so.
    """
    if not document.messages:
        raise PromptError("the document has no messages: ask something")
    if picture is not None:
        view = view or dialect.view(picture.size)
    speaking = _Speaking(document, picture, showing, dialect, view, pictures or {})
    turns: list[Turn] = []
    system: list[str] = []
    for index, message in enumerate(document.messages):
        content = speaking.said(message, f"messages[{index}]")
        if message.role != "system":
            turns.append(Turn(role=message.role, content=content))
        elif turns or not all(isinstance(part, str) for part in content):
            raise PromptError(f"messages[{index}]: the system speaks first, and in words")
        else:
            system += [str(part) for part in content]
    if picture is not None and turns and turns[0].role == "user":
        shown = draw_marks(picture, speaking.marked) if speaking.marked else picture
        turns[0] = Turn(role="user", content=(shown, *turns[0].content))
    return Conversation(turns=tuple(turns), system=" ".join(system) if system else None)


class _Speaking:
    """How the contents of one document are said."""

    def __init__(
        self,
        document: GroundedPrompt,
        picture: Image.Image | None,
        showing: Showing,
        dialect: Dialect,
        view: CanvasMap | None,
        pictures: Mapping[str, Image.Image],
    ):
        self.document = document
        self.picture = picture
        self.showing: Showing = showing
        self.dialect = dialect
        self.view = view
        self.pictures = pictures
        self.marked: list[Region] = []

    def said(self, message: Message, where: str) -> tuple[str | Image.Image, ...]:
        """Words and pictures of one message.

        An answer speaks of regions in words alone, and not twice.
        """
        parts: list[str | Image.Image] = []
        for place, content in enumerate(message.content):
            at = f"{where}.content[{place}]"
            if message.role != "assistant" or not isinstance(content, RegionContent):
                parts += self._parts(content, at)
            elif self.view is not None and not any(
                isinstance(part, str) and self.dialect.read(part, self.view.target)
                for part in parts
            ):
                parts += self._regions(content, at, "text")
        return tuple(parts)

    def _parts(self, content: Content, where: str) -> list[str | Image.Image]:
        """Words and pictures of one content."""
        if isinstance(content, TextContent):
            return [content.text]
        if isinstance(content, AudioContent):
            if content.transcript is None:
                raise PromptError(
                    f"{where}: the recording {describe(content.audio)} has no transcript yet: have "
                    "its words recognised (--audio and --asr), or give them as text"
                )
            return [content.transcript]
        if isinstance(content, ImageContent):
            if content.image not in self.pictures:
                raise PromptError(f"{where}: no picture {describe(content.image)} was given")
            return [self.pictures[content.image]]
        return self._regions(content, where, self.showing)

    def _regions(
        self, content: RegionContent, where: str, showing: Showing
    ) -> list[str | Image.Image]:
        if self.picture is None or self.view is None:
            raise PromptError(f"{where}: points at regions, but there is no picture")
        regions = [self.document.region(name) for name in content.ids]
        for region in regions:
            if region_box(region) is None:
                raise PromptError(
                    f"{where}: region {describe(region.id)} has no box, mask or outline"
                )
        if showing == "text":
            return [", ".join(place_text(r, self.dialect, self.view) for r in regions)]
        if showing == "crops":
            return [_cut_out(self.picture, region) for region in regions]
        for region in regions:
            if region not in self.marked:
                self.marked.append(region)
        return [name_marks([self.marked.index(region) + 1 for region in regions])]


def _cut_out(picture: Image.Image, region: Region) -> Image.Image:
    """What is inside a region, with a margin."""
    box = region_box(region)
    assert box is not None
    x0, y0, x1, y1 = normalized_to_pixels(box, picture.size)
    margin = CROP_MARGIN * max(x1 - x0, y1 - y0)
    left, top = max(0, math.floor(x0 - margin)), max(0, math.floor(y0 - margin))
    right = min(picture.width, math.ceil(x1 + margin))
    bottom = min(picture.height, math.ceil(y1 + margin))
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def with_question(
    document: GroundedPrompt, question: str | AudioContent, ids: tuple[str, ...] = ()
) -> GroundedPrompt:
    """Return a document that asks one thing more, pointing at regions.

    Args:
        document: What was said before.
        question: In words, or a recording with its transcript.
        ids: Of the regions.
    """
    written = isinstance(question, str)
    content: list[Content] = [TextContent(type="text", text=question) if written else question]
    if ids:
        content.append(RegionContent(type="region", ids=ids))
    message = Message(role="user", content=tuple(content))
    return document.replace(messages=(*document.messages, message))


def with_answer(
    document: GroundedPrompt, text: str, found: tuple[Region, ...] = ()
) -> GroundedPrompt:
    """Return a document with an answer, and the regions that were found in it.

    Args:
        document: What was asked.
        text: The answer.
        found: Regions of `text_to_regions`; they get ids of their own.
    """
    taken = {region.id for region in document.regions}
    names = (f"a{number}" for number in range(1, len(taken) + len(found) + 1))
    free = [name for name in names if name not in taken]
    named = tuple(
        region.replace(id=name) for region, name in zip(found, free[: len(found)], strict=True)
    )
    content: list[Content] = [TextContent(type="text", text=text)]
    if named:
        content.append(RegionContent(type="region", ids=tuple(region.id for region in named)))
    message = Message(role="assistant", content=tuple(content))
    return document.replace(
        messages=(*document.messages, message), regions=(*document.regions, *named)
    )
