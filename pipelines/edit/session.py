"""EditSession: edits of a document and its picture, one after the other, with undo and redo.

session = EditSession(picture, document)
session.select("lava llama")
session.move(0.2, 0.1)
session.document, session.picture
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from grounding.errors import OutputError
from grounding.geometry import Box
from grounding.lock import locked
from grounding.prompt import GroundedPrompt, Point, Region
from pipelines.edit.add import Add
from pipelines.edit.archive import Models, history_digest, read_archive
from pipelines.edit.history import Edit, History
from pipelines.edit.move import Move
from pipelines.edit.recolour import Recolour
from pipelines.edit.remove import Remove
from pipelines.edit.replace import Replace
from pipelines.edit.result import write_result
from pipelines.edit.scene import EMPTY, Scene
from pipelines.edit.select import Select
from pipelines.edit.source import read_source
from pipelines.edit.studio import Studio

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EditSession"]


class EditSession:
    """A picture that is edited; every edit is a step that can be undone.

    Places are fractions of the picture, x to the right, y down. An edit is about the region that
    is named by its id, or by its phrase if no other has the same, else about what is selected. An
    edit that fails leaves the session as it was. Settings of steps (seed, feather, ...) are those
    of `pipelines.edit.move.Move` and its like.
    """

    def __init__(
        self,
        picture: Image.Image | np.ndarray,
        document: GroundedPrompt = EMPTY,
        *,
        studio: Studio | None = None,
    ) -> None:
        """Begin with a picture.

        Args:
            picture: a PIL image, or uint8 [height, width, 3].
            document: what is known of it: of `lavallama generate` or `segment`, or nothing.
            studio: the models; None: the embedded ones, opened when they are needed.

        Raises:
            PromptError: it is no picture.
        """
        self.studio = Studio() if studio is None else studio
        self.history = History(first=Scene.of(picture, document))
        self._seen: dict[Path, str] = {}

    @classmethod
    def open(cls, source: str | Path, *, studio: Studio | None = None) -> Self:
        """Begin with a file: a picture, a document that names one, or the folder of a history.

        Args:
            source: a picture that `lavallama generate` drew brings its document.
            studio: the models; None: those of the history, else the embedded ones.

        Raises:
            PromptError: it is none of these.
        """
        path = Path(source)
        if path.is_dir():
            seen = history_digest(path)
            history, models = read_archive(path)
            session = cls.of(history, Studio(**dict(models)) if studio is None else studio)
            session._seen[path.resolve()] = seen
            return session
        picture, document = read_source(path)
        return cls(picture, document, studio=studio)

    @classmethod
    def of(cls, history: History, studio: Studio) -> Self:
        """Go on with a history."""
        session = cls(history.first.picture, history.first.document, studio=studio)
        session.history = history
        return session

    @property
    def scene(self) -> Scene:
        """The document and the picture as they are now."""
        return self.history.now

    @property
    def document(self) -> GroundedPrompt:
        """The document as it is now."""
        return self.scene.document

    @property
    def picture(self) -> Image.Image:
        """The picture as it is now."""
        return self.scene.image

    @property
    def selected(self) -> tuple[Region, ...]:
        """The regions that the next edit is about, if it names none."""
        return tuple(self.document.region(name) for name in self.scene.selected)

    def do(self, step: Edit) -> Scene:
        """Do a step.

        Raises:
            LavallamaError: it cannot be done; nothing has changed.
        """
        self.history = self.history.done(step, self.studio)
        return self.scene

    def select(self, what: str | None = None, **how: Any) -> tuple[Region, ...]:
        """Select a region by its id, or by words, which may say more about points or a box.

        Args:
            what: an id, the phrase of a region, or words that SEEM looks for.
            how: points, box, all of `Select`.
        """
        self.do(Select(phrase=what, **how))
        return self.selected

    def click(self, *places: Sequence[float], labels: Sequence[int] = ()) -> Region:
        """Select what lies at some places, each [x, y].

        Args:
            places: on the thing, or beside it.
            labels: 1 on it, 0 beside it; default: all on it.
        """
        signs = labels or [1] * len(places)
        points = [Point(xy=xy, label=sign) for xy, sign in zip(places, signs, strict=True)]  # pyright: ignore[reportArgumentType]
        [region] = self.select(points=tuple(points))
        return region

    def remove(self, region: str | None = None, **how: Any) -> Scene:
        """Take a region away and fill the hole."""
        return self.do(Remove(region=region, **how))

    def move(self, right: float, down: float, region: str | None = None, **how: Any) -> Scene:
        """Move a region by fractions of the picture; `harmonise` draws it into its new place."""
        return self.do(Move(region=region, by=(right, down), **how))

    def move_to(self, x: float, y: float, region: str | None = None, **how: Any) -> Scene:
        """Move the middle of a region's box to a place."""
        return self.do(Move(region=region, to=(x, y), **how))

    def replace(self, phrase: str, region: str | None = None, **how: Any) -> Scene:
        """Draw another thing where a region is."""
        return self.do(Replace(region=region, phrase=phrase, **how))

    def add(self, phrase: str, box: Box, **how: Any) -> Scene:
        """Draw a thing into a box."""
        return self.do(Add(phrase=phrase, box=box, **how))

    def recolour(self, colour: str, region: str | None = None, **how: Any) -> Scene:
        """Give a region's pixels the hue of a colour: a CSS name, or #rrggbb."""
        return self.do(Recolour(region=region, colour=colour, **how))

    def remake(self, material: str, region: str | None = None, **how: Any) -> Scene:
        """Draw a region anew, of a material."""
        return self.do(Recolour(region=region, material=material, **how))

    def undo(self) -> Scene:
        """Take the last step back.

        Raises:
            PromptError: there is none.
        """
        self.history = self.history.undone()
        return self.scene

    def redo(self) -> Scene:
        """Bring the step back that was undone last.

        Raises:
            PromptError: there is none.
        """
        self.history = self.history.redone()
        return self.scene

    def replay(self) -> None:
        """Do all steps again and compare.

        Raises:
            PromptError: a step comes out different.
        """
        self.history.replayed(self.studio)

    def watch(self, folder: str | Path) -> None:
        """Remember what is in a folder now: it is saved there only if it is still so."""
        place = Path(folder).resolve()
        self._seen.setdefault(place, history_digest(place))

    def save(self, folder: str | Path) -> list[Path]:
        """Write picture, document, overlay and history into a folder: all of them or none.

        A folder that was opened, watched or saved to is written only if its history is still the
        one that was seen there: nobody's steps are lost.

        Raises:
            OutputError: it cannot be written, or another session has saved there meanwhile.
        """
        studio, place = self.studio, Path(folder).resolve()
        models = Models(**{name: getattr(studio, name) for name in Models.model_fields})
        with locked(place):
            if self._seen.get(place, history_digest(place)) != history_digest(place):
                raise OutputError(
                    f"{folder}: another session has saved there meanwhile; save to another folder "
                    "(--out), or open it again and repeat the steps"
                )
            written = write_result(self.history, models, Path(folder))
            self._seen[place] = history_digest(place)
        return written
