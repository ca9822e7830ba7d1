"""Scene: a document and its picture, between two edits.

Axes: H x W pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from grounding.errors import PromptError
from grounding.jsonfile import describe
from grounding.prompt import Canvas, GroundedPrompt, Region

__all__ = ["Scene", "pixel_digest"]

EMPTY = GroundedPrompt()


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What an edit begins with, and what it leaves.

    Attributes:
        document: its canvas is the picture's size.
        picture: RGB; never written to.
        selected: ids of the regions that the next edit is about, if it names none.
        said: what the last edit did, in words.
    """

    document: GroundedPrompt
    picture: UInt8[np.ndarray, "H W 3"]
    selected: tuple[str, ...] = ()
    said: str = ""

    @classmethod
    def of(cls, picture: Image.Image | np.ndarray, document: GroundedPrompt = EMPTY) -> Scene:
        """Put a picture and its document together; nothing is selected.

        Raises:
            PromptError: the picture is no array [H, W, 3] of bytes.
        """
        if isinstance(picture, Image.Image):
            picture = np.asarray(picture.convert("RGB"))
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise PromptError(
                "a picture is a PIL image, or uint8 [height, width, 3]; got "
                f"{picture.dtype} {list(picture.shape)}"
            )
        pixels = picture.copy()
        pixels.setflags(write=False)
        height, width = pixels.shape[:2]
        document = document.replace(canvas=Canvas(width=width, height=height))
        return cls(document=document, picture=pixels)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    @property
    def image(self) -> Image.Image:
        """The picture for Pillow."""
        return Image.fromarray(self.picture)

    def chosen(self, target: str | None) -> tuple[Region, ...]:
        """The regions that an edit is about.

        Args:
            target: the id of a region, or its phrase if no other has the same; None: what is
                selected.

        Raises:
            PromptError: there is none.
        """
        regions = self.document.regions
        if target is None:
            if not self.selected:
                raise PromptError(f"nothing is selected: select something, or {self._known()}")
            return tuple(self.document.region(name) for name in self.selected)
        by_id = [region for region in regions if region.id == target]
        words = " ".join(target.casefold().split())
        named = by_id or [r for r in regions if " ".join(r.phrase.casefold().split()) == words]
        if len(named) != 1:
            count = "no region is" if not named else f"{len(named)} regions are"
            raise PromptError(f"{count} called {describe(target)}: {self._known()}")
        return tuple(named)

    def changed(
        self,
        document: GroundedPrompt,
        picture: UInt8[np.ndarray, "H W 3"] | None = None,
        *,
        selected: tuple[str, ...] | None = None,
        said: str = "",
    ) -> Scene:
        """The scene after an edit; what is not given stays, but for ids that are gone.

        With another picture, the document names no file: the picture is in none until it is saved.
        """
        if picture is None:
            picture = self.picture
        else:
            picture.setflags(write=False)
            document = document.replace(image=None, files={})
        ids = {region.id for region in document.regions}
        kept = tuple(name for name in self.selected if name in ids)
        return replace(
            self,
            document=document,
            picture=picture,
            selected=kept if selected is None else selected,
            said=said,
        )

    def digest(self) -> str:
        """SHA-256 of document, pixels and selection, 64 hexadecimal digits."""
        parts = (self.document.digest(), pixel_digest(self.picture), *self.selected)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _known(self) -> str:
        names = [f"{region.id} ({region.phrase or 'unnamed'})" for region in self.document.regions]
        return f"name one of {', '.join(names[:8])}" if names else "the document has no regions yet"


def pixel_digest(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    """SHA-256 of a picture's size and pixels, however it is stored."""
    height, width = picture.shape[:2]
    head = f"{width} {height}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(picture).tobytes()).hexdigest()
