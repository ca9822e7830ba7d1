"""A picture, and what is known to be on it. Boxes are normalised xyxy, origin top left."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from grounding.geometry import Box
from grounding.stickers.scene import Scene, render

__all__ = ["Subject", "Thing", "scene_subject"]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object on a picture.

    Attributes:
        noun: What it is: "llama".
        box: Where; None: nobody knows.
        attribute: What it is like: "lava"; None: nothing that is asked about.
    """

    noun: str
    box: Box | None = None
    attribute: str | None = None

    @property
    def phrase(self) -> str:
        """What it is called: "lava llama"."""
        return f"{self.attribute} {self.noun}" if self.attribute else self.noun


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A picture that is asked about.

    Attributes:
        name: Unique in its data.
        picture: Returns it, RGB.
        things: What is on it, for certain.
        unsure: Nouns that may be on it: nothing is asked about them.
        group: Under which it is reported; "" if there are no groups.
    """

    name: str
    picture: Callable[[], Image.Image]
    things: tuple[Thing, ...]
    unsure: frozenset[str] = frozenset()
    group: str = ""

    @property
    def nouns(self) -> tuple[str, ...]:
        """What is on it, each noun once."""
        return tuple(dict.fromkeys(thing.noun for thing in self.things))


def scene_subject(scene: Scene, group: str, name: str | None = None) -> Subject:
    """A scene of stickers as a subject.

    Args:
        scene: Of any split.
        group: Under which it is reported.
        name: None: after the group and the scene's seed.
    """
    return Subject(
        name=name or f"{group.replace(' ', '-')}-{scene.seed}.png",
        picture=partial(_rendered, scene),
        things=tuple(
            Thing(noun=each.concept, attribute=each.material, box=each.box)
            for each in scene.stickers
        ),
        group=group,
    )


def _rendered(scene: Scene) -> Image.Image:
    return Image.fromarray(render(scene).image)
