"""The decoder's sequence: prompts of a batch laid out as rows of one table.

Axes: P prompts, R rows that are carried from layer to layer, K rows that each layer reads afresh,
C channels, L levels, n objects, k queries of an object, h w the mask map (stride 4).

Queries come first, then memories, then tokens of texts: the first two look at the image, so that
they are one slice. Prompts of a batch may have different numbers of rows; shorter ones are padded
with rows that see nothing and are not seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.errors import PromptError
from seem.attention_groups import ABSENT, NOBODY, Group, Grouping
from seem.prompt import Prompt
from seem.prompt_encoder import SpatialTokens

__all__ = ["Learned", "Rows", "drawn_objects", "lay_out"]

CARRIED = (Group.OBJECT, Group.GROUNDING, Group.SPATIAL, Group.MEMORY, Group.TEXT, Group.AUDIO)
QUERIES = (Group.OBJECT, Group.GROUNDING, Group.SPATIAL)
FRESH = (Group.STROKE, Group.VISUAL)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The decoder's learned rows: contents and places of its queries and of its memories."""

    queries: Float[Tensor, "Q C"]
    query_places: Float[Tensor, "Q C"]
    memories: Float[Tensor, "M C"]
    memory_places: Float[Tensor, "M C"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The table of a batch of prompts.

    Attributes:
        states: What the carried rows hold at first, [P, R, C].
        places: What is added to them wherever they ask or are asked, [P, R, C].
        groups: `Group` of all rows, carried then fresh, or `ABSENT`, [P, R + K].
        owners: The object that each row serves, or `NOBODY`, [P, R + K].
        spans: Where each group of carried rows lies.
        fresh: Tokens read from images, for each level, [L, P, K, C].
        previous: The mask logits that belong to each memory row, [P, M, h, w]; None: no memories.
    """

    states: Float[Tensor, "P R C"]
    places: Float[Tensor, "P R C"]
    groups: Int[Tensor, "P RK"]
    owners: Int[Tensor, "P RK"]
    spans: Mapping[Group, slice]
    fresh: Float[Tensor, "L P K C"]
    previous: Float[Tensor, "P M h w"] | None

    @property
    def queries(self) -> int:
        """The number of rows that predict masks; they come first."""
        return max((self.spans[group].stop for group in QUERIES), default=0)


_Part = tuple[Tensor, Tensor, Tensor]  # states [r, C], places [r, C], owners [r]


def drawn_objects(grouping: Grouping, prompt: Prompt) -> list[SpatialTokens]:
    """The prompt's tokens that join the strokes: drawn ones, and a reference's if it has no group.

    Raises:
        PromptError: more objects than this form of the decoder can keep apart.
    """
    parts = [prompt.spatial]
    if grouping.visual is Group.STROKE:
        parts.append(prompt.visual)
    found = [part for part in parts if part is not None]
    count = sum(len(part.positive_mean) for part in found)
    if count > 1 and not grouping.several_objects:
        raise PromptError(
            f"this SEEM answers one object a pass, got {count}: give each object a prompt of its "
            "own in the batch, or load the model with grouping 'v1'"
        )
    return found


def lay_out(
    grouping: Grouping,
    learned: Learned,
    prompts: Sequence[Prompt],
    *,
    objects: bool,
    default_picks: Int[Tensor, " k"],
    levels: int,
) -> Rows:
    """Lay out a batch of prompts.

    Args:
        grouping: The decoder's form.
        learned: Its learned rows.
        prompts: One for each pass.
        objects: Whether the object queries take part where nothing depends on them.
        default_picks: The queries of an object whose prompt picks none.
        levels: Levels of fresh tokens.

    Raises:
        PromptError: a prompt asks for what this form cannot do.
    """
    parts = [_carried(grouping, learned, prompt, objects, default_picks) for prompt in prompts]
    fresh = [_fresh(grouping, prompt) for prompt in prompts]
    like, spans, start = learned.queries, {}, 0
    for group in CARRIED:
        size = max(len(part[group][2]) if group in part else 0 for part in parts)
        spans[group] = slice(start, start + size)
        start += size
    newcomers = max((len(owners) for _, _, owners in fresh), default=0)
    count, total, width = len(prompts), start + newcomers, like.shape[1]
    groups = torch.full((count, total), ABSENT, device=like.device)
    owners = torch.full((count, total), NOBODY, device=like.device)
    states: list[Tensor] = []
    places: list[Tensor] = []
    tokens = like.new_zeros(levels, count, newcomers, width)
    for p, (part, (read, kinds, whose)) in enumerate(zip(parts, fresh, strict=True)):
        columns: list[_Part] = []
        for group in CARRIED:
            span = spans[group]
            rows = part.get(group) or (like[:0], like[:0], owners[p, :0])
            filled = slice(span.start, span.start + len(rows[2]))
            groups[p, filled], owners[p, filled] = int(group), rows[2]
            columns.append(_padded(rows, span.stop - span.start))
        states.append(torch.cat([column[0] for column in columns]))
        places.append(torch.cat([column[1] for column in columns]))
        filled = slice(start, start + len(whose))
        groups[p, filled], owners[p, filled] = kinds, whose
        if read is not None:
            tokens[:, p, : len(whose)] = read
    return Rows(
        states=torch.stack(states),
        places=torch.stack(places),
        groups=groups,
        owners=owners,
        spans=spans,
        fresh=tokens,
        previous=_previous(prompts, len(learned.memories)),
    )


def _carried(
    grouping: Grouping,
    learned: Learned,
    prompt: Prompt,
    objects: bool,
    default_picks: Tensor,
) -> dict[Group, _Part]:
    """The rows that one prompt carries through the layers."""
    index = default_picks
    shared = _part(learned.queries, learned.query_places, index)
    parts: dict[Group, _Part] = {}
    if objects or grouping.spatial_queries is Group.OBJECT:
        parts[Group.OBJECT] = shared
    if prompt.text is not None or prompt.audio is not None:
        parts.setdefault(grouping.text_queries, shared)
    drawn = drawn_objects(grouping, prompt)
    count = sum(len(part.positive_mean) for part in drawn)
    if grouping.several_objects and drawn:
        parts[Group.SPATIAL] = _picked(learned, _picks(prompt, count, default_picks))
    elif prompt.picks is not None:
        raise PromptError("picks of queries are for prompts on objects of a 'v1' model; drop them")
    elif drawn:
        parts.setdefault(grouping.spatial_queries, shared)
    if prompt.previous is not None:
        parts[Group.MEMORY] = _memories(grouping, learned, prompt.previous, count)
    for group, text in ((Group.TEXT, prompt.text), (grouping.audio, prompt.audio)):
        if text is not None:
            before = [parts[group]] if group in parts else []
            added = [*before, _part(text.tokens, text.tokens, index)]
            states, places, owners = (torch.cat(column) for column in zip(*added, strict=True))
            parts[group] = (states, places, owners)
    return parts


def _part(states: Tensor, places: Tensor, like: Tensor) -> _Part:
    return states, places, torch.full((len(states),), NOBODY, device=like.device)


def _picks(prompt: Prompt, objects: int, default: Tensor) -> Int[Tensor, "n k"]:
    picks = default.expand(objects, -1) if prompt.picks is None else prompt.picks
    if picks.ndim != 2 or len(picks) != objects:
        raise PromptError(
            f"picks need one row of queries for each of the {objects} objects; got the shape "
            f"{list(picks.shape)}"
        )
    return picks.to(default.device)


def _picked(learned: Learned, picks: Int[Tensor, "n k"]) -> _Part:
    owners = torch.arange(len(picks), device=picks.device).repeat_interleave(picks.shape[1])
    chosen = picks.flatten()
    return learned.queries[chosen], learned.query_places[chosen], owners


def _memories(grouping: Grouping, learned: Learned, previous: Tensor, objects: int) -> _Part:
    """Memories of every object: a whole set each, so that objects do not change one another."""
    if not grouping.has_memory:
        raise PromptError(
            "the demo form of SEEM has no memory of a previous mask: drop the mask, or load the "
            "model with grouping 'v0' or 'v1'"
        )
    if len(previous) != objects:
        raise PromptError(
            f"each object of a prompt needs its previous mask: {objects} objects, "
            f"{len(previous)} masks; give none in the first round"
        )
    count = len(learned.memories)
    owners = torch.arange(objects, device=previous.device).repeat_interleave(count)
    return (
        learned.memories.repeat(objects, 1),
        learned.memory_places.repeat(objects, 1),
        owners,
    )


def _fresh(
    grouping: Grouping, prompt: Prompt
) -> tuple[Float[Tensor, "L K C"] | None, Tensor, Tensor]:
    """Tokens read from images, their groups and their owners."""
    drawn = drawn_objects(grouping, prompt)
    parts = [(Group.STROKE, part) for part in drawn]
    if grouping.visual is not Group.STROKE and prompt.visual is not None:
        parts.append((grouping.visual, prompt.visual))
    if not parts:
        nothing = torch.zeros(0, dtype=torch.long)
        return None, nothing, nothing
    tokens, kinds, owners, first = [], [], [], 0
    for group, part in parts:
        tokens.append(part.tokens)
        kinds.append(torch.full_like(part.owners, int(group)))
        owners.append(part.owners + first)
        first += len(part.positive_mean)
    whose = torch.cat(owners)
    if not grouping.several_objects:
        whose = torch.full_like(whose, NOBODY)
    return torch.cat(tokens, dim=1), torch.cat(kinds), whose


def _padded(part: _Part, size: int) -> _Part:
    """A part with rows of zeros up to a size."""
    states, places, owners = part
    missing = size - len(owners)
    if not missing:
        return part
    empty = states.new_zeros(missing, states.shape[1])
    return torch.cat([states, empty]), torch.cat([places, empty]), owners


def _previous(prompts: Sequence[Prompt], memories: int) -> Float[Tensor, "P M h w"] | None:
    """The previous mask of every memory row of the batch, object after object."""
    given = [prompt.previous for prompt in prompts if prompt.previous is not None]
    if not given:
        return None
    most = max(len(masks) for masks in given)
    result = given[0].new_zeros(len(prompts), most, *given[0].shape[1:])
    for row, prompt in zip(result, prompts, strict=True):
        if prompt.previous is not None:
            row[: len(prompt.previous)] = prompt.previous
    return result.repeat_interleave(memories, dim=1)
