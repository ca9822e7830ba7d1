"""Interpreter: from a prompt document to a request that only has to be drawn."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from grounding.errors import LavallamaError, PromptError
from grounding.prompt import Canvas, GroundedPrompt, Maps, Sampling
from pipelines.generation.companions.company import Company
from pipelines.generation.companions.cues import Cues
from pipelines.generation.companions.notes import CONTROL, IP_IMAGE, STRENGTH, numbered
from pipelines.generation.defaults import model_defaults, solver_defaults
from pipelines.generation.frame import Frame
from pipelines.generation.grounder import Grounder
from pipelines.generation.layout import Notice
from pipelines.generation.request import Request, Solver
from pipelines.generation.source_picture import (
    BLEND_KEY,
    DRAWN_KEY,
    INPAINTED_KEY,
    SOURCE_KEY,
    Start,
    drawn_size,
    read_picture,
    source_picture,
    starting_picture,
    tell_changes,
)
from pipelines.generation.text import TextReader
from pipelines.generation.wishes import Wishes
from pipelines.original import Original, picture_latents
from weights.base import BaseModel

__all__ = ["Interpreter"]

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Interpreter:
    """Reads documents for one model.

    Attributes:
        base: the model.
        reader: of prompts.
        grounder: of regions; None: the model has no gates.
        company: of what else is drawn from.
        name: what the model is called in messages.
        ignore_boxes: without gates, draw documents with boxes all the same, with a warning.
    """

    base: BaseModel
    reader: TextReader
    grounder: Grounder | None
    company: Company
    name: str = ""
    ignore_boxes: bool = False

    def __post_init__(self) -> None:
        self.frame = Frame.of(self.base.unet, self.base.vae)
        self.defaults = model_defaults(self.base.scheduler_config)

    def __call__(
        self, document: GroundedPrompt, size: tuple[int, int] | None, wishes: Wishes, say: Notice
    ) -> Request:
        """Understand a document.

        Args:
            document: what to draw.
            size: (width, height) in pixels that the caller insists on.
            wishes: of the caller.
            say: told of everything that has no effect on the picture.

        Raises:
            LavallamaError: it asks for what cannot be, or names files that do not serve.
        """
        self._tell_what_is_missing(document, say)
        if wishes.image is not None:
            document = document.replace(image=wishes.image, files={})
        wishes = wishes.filled(document)
        sampling = self._sampling(wishes.sampling)
        start, source = self._start(document, wishes)
        picture = self._picture(start, source, wishes)
        size, result = self._sizes(document, start, picture, size, say)
        self._refuse_boxes(document, say)
        cells = self.frame.latent_shape(size)[1:] if sampling.isolate else None
        grounding = None
        if self.grounder is not None:
            drawn = _described(document) if start is not None and start.inpaints else document
            grounding = self.grounder(drawn, size, say, cells=cells)
        original = self._original(document, start, picture, (size, result), wishes)
        return Request(
            document=document.replace(
                canvas=Canvas(width=result[0], height=result[1]),
                sampling=sampling,
                image=None,
                files={},
            ),
            size=size,
            solver=Solver.of(sampling, wishes.strength),
            positive=self.reader.prompt(document.prompt, say, size),
            negative=self.reader.negative(document.negative_prompt, say, size),
            grounding=grounding,
            original=original,
            beginning=self._beginning(picture, size, wishes),
            cues=self._cues(size, wishes, say),
            notes=_notes(wishes, source, original, size),
        )

    def _sampling(self, asked: Sampling) -> Sampling:
        return asked.filled(solver_defaults(asked.scheduler)).filled(self.defaults)

    def _start(self, document: GroundedPrompt, wishes: Wishes) -> tuple[Start | None, str | None]:
        """How a picture is started from, if it is inpainted or its edges followed; and its name."""
        start = starting_picture(
            None if self.grounder is None else self.grounder.adapter.config,
            document,
            asked=wishes.image is not None and wishes.strength is None,
            base_inpaints=self.base.inpaints,
        )
        if start is not None:
            return start, start.name
        source = source_picture(document) if wishes.strength is not None else None
        if wishes.strength is not None and source is None:
            raise PromptError(
                "strength says how much of a picture is drawn anew, and the document names none: "
                "give its image"
            )
        return None, source

    def _picture(
        self, start: Start | None, source: str | None, wishes: Wishes
    ) -> Image.Image | None:
        """The picture that is inpainted or begun from, opened."""
        inpaints = start is not None and start.inpaints
        if source is None or not (inpaints or wishes.strength is not None):
            return None
        if inpaints:
            tell_changes(source)
        return read_picture(source)

    def _sizes(
        self,
        document: GroundedPrompt,
        start: Start | None,
        picture: Image.Image | None,
        size: tuple[int, int] | None,
        say: Notice,
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """(width, height) that is drawn, and that of the result: of an inpainted picture its own.

        If the caller insists on a size, both are that; of a result that is drawn again, both are
        what they were.
        """
        if size is not None or picture is None:
            size = self.frame.size(size, document.canvas, say)
            return size, size
        size, result = self.frame.fitting(picture.size), picture.size
        if start is None or not start.inpaints:
            if size != result:
                say(
                    f"the picture of {_spelled(result)} is scaled to {_spelled(size)}, which this "
                    f"model can draw (multiples of {self.frame.multiple}); width and height ask "
                    "for another size"
                )
            return size, size
        before = drawn_size(document)
        if before is not None and document.canvas is not None:
            size, result = self.frame.size(before, None, say), document.canvas.size
        if size != result:
            log.warning(
                "the boxes are drawn in a picture of %s, which this model can draw, and scaled to "
                "the %s of the result: they may look softer than the rest, which stays as it is",
                _spelled(size),
                _spelled(result),
            )
        return size, result

    def _original(
        self,
        document: GroundedPrompt,
        start: Start | None,
        picture: Image.Image | None,
        sizes: tuple[tuple[int, int], tuple[int, int]],
        wishes: Wishes,
    ) -> Original | None:
        """What is inpainted; `sizes` as of `_sizes`."""
        if start is None or not start.inpaints or picture is None:
            return None
        boxes = [box for region in document.regions if (box := region.bounds()) is not None]
        return Original.of(picture, boxes, self.base, *sizes, wishes.blend or 0)

    def _beginning(
        self, picture: Image.Image | None, size: tuple[int, int], wishes: Wishes
    ) -> Tensor | None:
        """The latents of image-to-image."""
        if picture is None or wishes.strength is None:
            return None
        return picture_latents(picture, self.base.vae, size)

    def _cues(self, size: tuple[int, int], wishes: Wishes, say: Notice) -> Cues:
        _, height, width = self.frame.latent_shape(size)
        return self.company.cues(wishes.controls or (), wishes.ip_image, (height, width), say)

    def _refuse_boxes(self, document: GroundedPrompt, say: Notice) -> None:
        if self.grounder is not None or (not document.regions and document.maps == Maps()):
            return
        problem = f"{self.name or 'this model'} has no GLIGEN gates, so boxes have no effect"
        if self.base.inpaints:
            say(f"{problem} but to say where the picture is redrawn")
            return
        if not self.ignore_boxes:
            raise LavallamaError(f"{problem}; name an adapter, or leave the boxes out")
        say(problem)

    def _tell_what_is_missing(self, document: GroundedPrompt, say: Notice) -> None:
        made = document.provenance
        missing = [] if made is None else self.company.missing(made.settings)
        if missing:
            say(
                f"the picture of this document was drawn with {', '.join(missing)}, not loaded "
                "here: it comes out different"
            )


def _described(document: GroundedPrompt) -> GroundedPrompt:
    """The document without boxes that say nothing: inpainting draws there what lies behind."""
    said = [one for one in document.regions if one.phrase.strip() or one.reference is not None]
    if len(said) == len(document.regions):
        return document
    return document.replace(regions=said, relations=(), messages=())


def _notes(
    wishes: Wishes, source: str | None, original: Original | None, size: tuple[int, int]
) -> dict[str, str | int | float]:
    """For the provenance: what the picture is made from, beside words and boxes."""
    notes: dict[str, str | int | float] = {} if source is None else {SOURCE_KEY: source}
    if original is not None:
        notes |= {INPAINTED_KEY: 1, **({BLEND_KEY: original.blend} if original.blend else {})}
        if original.size != size:
            notes[DRAWN_KEY] = _spelled(size)
    if wishes.strength is not None:
        notes[STRENGTH] = wishes.strength
    notes |= numbered(CONTROL, wishes.controls or ())
    return notes if wishes.ip_image is None else {**notes, IP_IMAGE: wishes.ip_image}


def _spelled(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
