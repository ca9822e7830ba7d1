"""Turns of a conversation about an image and its regions."""

from typing import Annotated, Literal

from pydantic import Field

from grounding.part import Part, Text

__all__ = ["AudioContent", "Content", "ImageContent", "Message", "RegionContent", "TextContent"]


class TextContent(Part):
    """Words."""

    type: Literal["text"]
    text: Text = Field(description="What is said.")


class RegionContent(Part):
    """A pointing finger: regions of this document, by id."""

    type: Literal["region"]
    ids: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(description="Ids of regions.")


class ImageContent(Part):
    """An image beside the document's own."""

    type: Literal["image"]
    image: Text = Field(description="Path, URL or data URI.")


class AudioContent(Part):
    """A recording."""

    type: Literal["audio"]
    audio: Text = Field(description="Path, URL or data URI.")
    transcript: Text | None = Field(
        default=None, description="Its words, once they have been heard."
    )


Content = Annotated[
    TextContent | RegionContent | ImageContent | AudioContent, Field(discriminator="type")
]


class Message(Part):
    """One turn."""

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks.")
    content: tuple[Content, ...] = Field(description="What is said and shown, in order.")
