"""What is asked of a generator, and where such requests come from.

Axes: H W the picture. Boxes are normalised xyxy, origin top left.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from gligen.evaluation.claims import Claim
from grounding.drops import Drops
from grounding.geometry import Box
from grounding.prompt import GroundedPrompt

__all__ = ["Instance", "Layout", "LayoutSet"]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One object that was asked for.

    Attributes:
        noun: What it is, as a detector is asked for it: "llama".
        box: Where.
        attribute: What its phrase says beside that, "lava"; None: nothing that is measured.
    """

    noun: str
    box: Box
    attribute: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """One request.

    Attributes:
        name: Unique in its set.
        document: What the generator is given.
        instances: What should be on the picture, and where.
        ignored: What is there and was not asked for: finding it is neither right nor wrong.
        group: Under which it is reported; "" if there are no groups.
        truth: Returns the picture that the request was made from; None: there is none.
        claim: What else must be true of the picture; None: nothing.
    """

    name: str
    document: GroundedPrompt
    instances: tuple[Instance, ...]
    ignored: tuple[Instance, ...] = ()
    group: str = ""
    truth: Callable[[], UInt8[np.ndarray, "H W 3"]] | None = None
    claim: Claim | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LayoutSet:
    """Requests that are measured together.

    Attributes:
        what: In a few words, for the report.
        classes: The nouns that occur.
        closed: Whether each picture is searched for all classes, not only for those it asks for.
        attributes: Those that occur.
        count: Of layouts.
        layouts: Yields them, each call from the start.
        has_truth: Whether all have a true picture.
        left_out: What is not asked for and why.
        drops: What of the data makes no sense, or was clipped.
    """

    what: str
    classes: tuple[str, ...]
    closed: bool
    attributes: tuple[str, ...] = ()
    count: int
    layouts: Callable[[], Iterator[Layout]]
    has_truth: bool
    left_out: dict[str, int] = field(default_factory=dict)
    drops: Drops = field(default_factory=Drops)
