"""Who attends to whom in SEEM's decoder: one table for each of its three published forms.

Axes: P prompts, R rows that ask, K rows that answer.

The decoder works on one sequence of rows of several kinds: learned queries, tokens of the prompts,
memories. Its forms ("demo", "v0", "v1" of the official code, github.com/UX-Decoder/
Segment-Everything-Everywhere-All-At-Once) have the same parameters and differ in this table alone:

- demo: one group of queries, which sees the tokens of all prompts;
- v0: three copies of the queries, for objects, for texts and for spatial prompts, that never mix;
- v1: as v0, and a pass may hold several objects, each with a few queries, tokens and memories of
  its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

import torch
from jaxtyping import Bool, Int
from torch import Tensor

__all__ = ["ABSENT", "GROUPINGS", "NOBODY", "Group", "Grouping", "self_attention_mask"]

ABSENT = -1  # the group of a padding row
NOBODY = -1  # the owner of a row that serves no single object


class Group(IntEnum):
    """The kinds of rows, in the order in which the decoder lays them out."""

    OBJECT = 0
    GROUNDING = 1
    SPATIAL = 2
    MEMORY = 3
    TEXT = 4
    AUDIO = 5
    STROKE = 6
    VISUAL = 7


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """One form of the decoder.

    Attributes:
        attends: Columns that a row of each group may see in self-attention; a group that is not
            named does not exist in this form.
        crosses: Groups that look at the image, in cross-attention.
        text_queries: The queries that answer texts and speech.
        spatial_queries: The queries that answer strokes and reference images.
        audio: The group that tokens of speech join.
        visual: The group that tokens of a reference image join.
        several_objects: Whether rows that belong to different objects are kept apart, so that one
            pass can serve many.
    """

    attends: Mapping[Group, frozenset[Group]]
    crosses: frozenset[Group]
    text_queries: Group
    spatial_queries: Group
    audio: Group
    visual: Group
    several_objects: bool

    @property
    def has_memory(self) -> bool:
        """Whether a previous mask can be given."""
        return Group.MEMORY in self.attends


def _table(**columns: tuple[Group, ...]) -> Mapping[Group, frozenset[Group]]:
    return MappingProxyType({Group[row]: frozenset(seen) for row, seen in columns.items()})


_APART = {
    "attends": _table(
        OBJECT=(Group.OBJECT,),
        GROUNDING=(Group.GROUNDING, Group.TEXT),
        SPATIAL=(Group.SPATIAL, Group.STROKE, Group.MEMORY),
        MEMORY=(Group.MEMORY,),
        TEXT=(Group.GROUNDING, Group.TEXT),
        STROKE=(Group.STROKE,),
    ),
    "crosses": frozenset({Group.OBJECT, Group.GROUNDING, Group.SPATIAL, Group.MEMORY}),
    "text_queries": Group.GROUNDING,
    "spatial_queries": Group.SPATIAL,
    "audio": Group.TEXT,
    "visual": Group.STROKE,
}

GROUPINGS: Mapping[str, Grouping] = MappingProxyType(
    {
        "demo": Grouping(
            attends=_table(
                OBJECT=(Group.OBJECT, Group.TEXT, Group.STROKE, Group.VISUAL, Group.AUDIO),
                TEXT=(Group.OBJECT, Group.TEXT),
                AUDIO=(Group.OBJECT, Group.AUDIO),
                STROKE=(Group.STROKE,),
                VISUAL=(Group.VISUAL,),
            ),
            crosses=frozenset({Group.OBJECT}),
            text_queries=Group.OBJECT,
            spatial_queries=Group.OBJECT,
            audio=Group.AUDIO,
            visual=Group.VISUAL,
            several_objects=False,
        ),
        "v0": Grouping(**_APART, several_objects=False),
        "v1": Grouping(**_APART, several_objects=True),
    }
)


def self_attention_mask(
    grouping: Grouping,
    row_groups: Int[Tensor, "P R"],
    row_owners: Int[Tensor, "P R"],
    column_groups: Int[Tensor, "P K"],
    column_owners: Int[Tensor, "P K"],
) -> Bool[Tensor, "P 1 R K"]:
    """Which rows may attend to which columns.

    Args:
        grouping: The decoder's form.
        row_groups: `Group` of each row; `ABSENT` for padding, which sees nothing and is not seen.
        row_owners: The object that each row serves, or `NOBODY`. Rows of two objects never meet.
        column_groups: As `row_groups`.
        column_owners: As `row_owners`.

    Returns:
        True where a row may attend to a column; broadcasts over heads.
    """
    table = torch.zeros(len(Group) + 1, len(Group) + 1, dtype=torch.bool)  # ABSENT: the last
    for row, seen in grouping.attends.items():
        for column in seen:
            table[row, column] = True
    table = table.to(row_groups.device)
    allowed = table[row_groups[:, :, None], column_groups[:, None, :]]
    asking, answering = row_owners[:, :, None], column_owners[:, None, :]
    strangers = (asking != answering) & (asking != NOBODY) & (answering != NOBODY)
    return (allowed & ~strangers)[:, None]
