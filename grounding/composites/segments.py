"""Segments of a composite: what a user may mean, in terms of its smallest pieces, the leaves."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

__all__ = ["Kind", "PlacedThing", "Segment", "find_segments"]

Kind = Literal["part", "thing", "group", "stuff"]

SMALLEST_LEAF = 16  # visible pixels; smaller ones are given to another leaf of their thing
SMALLEST_SEGMENT = 60  # visible pixels; what shows less is not known
MOST_LEAVES = 255


@dataclasses.dataclass(frozen=True)
class Segment:
    """What a user may mean.

    Attributes:
        leaves: The ids that it is made of, ascending.
        kind: A part of a thing, a thing, several that stand together, or stuff.
        source: Of a thing: what it is cut from, the same on every picture that shows it.
    """

    leaves: tuple[int, ...]
    kind: Kind
    source: str | None = None

    def as_json(self) -> dict[str, Any]:
        """This segment as JSON has it."""
        return {"leaves": list(self.leaves), "kind": self.kind, "source": self.source}


@dataclasses.dataclass(frozen=True)
class PlacedThing:
    """A thing on a picture.

    Attributes:
        pieces: The leaves of each cut-out that it is joined of, its own first.
        source: What its own is cut from.
    """

    pieces: list[list[int]]
    source: str

    @property
    def leaves(self) -> list[int]:
        """The leaves of all its cut-outs."""
        return [leaf for piece in self.pieces for leaf in piece]


def find_segments(
    leaves: np.ndarray,
    things: Sequence[PlacedThing],
    groups: Sequence[Sequence[PlacedThing]],
    stuff: Sequence[Sequence[int]],
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Number the leaves that show, and say what they make up.

    Args:
        leaves: Of each pixel, int [H, W], from 1; 0: not known.
        things: All of them.
        groups: Things that stand together.
        stuff: Leaves of each stuff region.

    Returns:
        Ids uint8 [H, W] without gaps from 1, 0: not known; and the segments, no two of the same
        leaves. Every id is in one segment at least.
    """
    leaves = leaves.copy()
    for thing in things:
        _give_slivers(leaves, thing)
    counts = np.bincount(leaves.ravel())
    counts[0] = 0
    order = np.argsort(-counts, kind="stable")[:MOST_LEAVES]
    shown = set(order[counts[order] >= SMALLEST_LEAF].tolist())

    def is_seen(thing: PlacedThing) -> bool:
        return counts[list(shown.intersection(thing.leaves))].sum() >= SMALLEST_SEGMENT

    things = [thing for thing in things if is_seen(thing)]
    groups = [[thing for thing in group if is_seen(thing)] for group in groups]
    groups = [group for group in groups if len(group) > 1]
    found: dict[tuple[int, ...], Segment] = {}
    for segment in _name_segments(things, groups, stuff):
        mine = tuple(sorted(shown.intersection(segment.leaves)))
        if mine and mine not in found and counts[list(mine)].sum() >= SMALLEST_SEGMENT:
            found[mine] = dataclasses.replace(segment, leaves=mine)
    used = sorted({leaf for mine in found for leaf in mine})
    table = np.zeros(len(counts), np.uint8)
    table[used] = np.arange(1, len(used) + 1)
    return table[leaves], tuple(
        dataclasses.replace(segment, leaves=tuple(table[list(mine)].tolist()))
        for mine, segment in found.items()
    )


def _name_segments(
    things: Sequence[PlacedThing],
    groups: Sequence[Sequence[PlacedThing]],
    stuff: Sequence[Sequence[int]],
) -> list[Segment]:
    """All that might be meant, whether it shows or not; of equals the first counts."""
    named = [Segment(tuple(thing.leaves), "thing", thing.source) for thing in things]
    named += [
        Segment(tuple(leaf for thing in group for leaf in thing.leaves), "group")
        for group in groups
    ]
    for thing in things:
        named += [Segment(tuple(piece), "part") for piece in thing.pieces]
        named += [Segment((leaf,), "part") for leaf in thing.leaves]
    return named + [Segment(tuple(region), "stuff") for region in stuff]


def _give_slivers(leaves: np.ndarray, thing: PlacedThing) -> None:
    """Give what hardly shows of a thing to its largest leaf, in place."""
    own = np.asarray(thing.leaves)
    counts = np.bincount(leaves.ravel(), minlength=int(own.max()) + 1)[own]
    slivers = own[(counts > 0) & (counts < SMALLEST_LEAF)]
    largest = own[counts.argmax()]
    if len(slivers):
        leaves[np.isin(leaves, slivers)] = largest
