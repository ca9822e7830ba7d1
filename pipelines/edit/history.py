"""History: the scenes of a session, and the steps between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from grounding.errors import PromptError
from grounding.jsonfile import describe
from pipelines.edit.add import Add
from pipelines.edit.move import Move
from pipelines.edit.recolour import Recolour
from pipelines.edit.remove import Remove
from pipelines.edit.replace import Replace
from pipelines.edit.scene import Scene
from pipelines.edit.select import Select
from pipelines.edit.studio import Studio

__all__ = ["Edit", "History", "Moment", "edit_of"]

Edit = Select | Remove | Move | Replace | Add | Recolour

_EDITS: dict[str, type[Edit]] = {
    "select": Select,
    "remove": Remove,
    "move": Move,
    "replace": Replace,
    "add": Add,
    "recolour": Recolour,
}


def edit_of(entry: Any) -> Edit:
    """Read a step: {"do": "move", "region": "r1", "by": [0.2, 0.1]}.

    Raises:
        PromptError: it is none.
    """
    kind = entry.get("do") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _EDITS:
        raise PromptError(
            f'a step is an object with "do": {", ".join(_EDITS)}; got {describe(kind or entry)}'
        )
    return _EDITS[kind].model_validate(entry)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A step, and the scene after it."""

    step: Edit
    scene: Scene


@dataclass(frozen=True, kw_only=True)
class History:
    """Steps that were done, and steps that were undone.

    Attributes:
        first: the scene before all steps.
        moments: all steps.
        place: how many of them count; those after it can be redone.
    """

    first: Scene
    moments: tuple[Moment, ...] = ()
    place: int = 0

    @property
    def now(self) -> Scene:
        """The scene after the steps that count."""
        return self.moments[self.place - 1].scene if self.place else self.first

    @property
    def steps(self) -> tuple[Edit, ...]:
        """The steps that count."""
        return tuple(moment.step for moment in self.moments[: self.place])

    def done(self, step: Edit, studio: Studio) -> History:
        """The history with one step more; what was undone can be redone no more.

        Raises:
            LavallamaError: the step cannot be done.
        """
        moment = Moment(step=step, scene=step(self.now, studio))
        moments = (*self.moments[: self.place], moment)
        return replace(self, moments=moments, place=len(moments))

    def undone(self) -> History:
        """The history before its last step.

        Raises:
            PromptError: there is none.
        """
        if not self.place:
            raise PromptError("there is nothing to undo")
        return replace(self, place=self.place - 1)

    def redone(self) -> History:
        """The history with the step that was undone last.

        Raises:
            PromptError: there is none.
        """
        if self.place == len(self.moments):
            raise PromptError("there is nothing to redo")
        return replace(self, place=self.place + 1)

    def replayed(self, studio: Studio) -> History:
        """All steps done again from the first scene.

        Raises:
            PromptError: a step does not come out the same, to the bit; or cannot be done.
        """
        again = History(first=self.first)
        for number, moment in enumerate(self.moments, start=1):
            again = again.done(moment.step, studio)
            if again.now.digest() != moment.scene.digest():
                raise PromptError(
                    f"step {number} ({moment.step.do}) comes out different: it was made with other "
                    "models, or on another machine"
                )
        return replace(again, place=self.place)
