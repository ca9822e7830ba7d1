"""Many conversations about one picture, which read it once.

A picture's words come first, then the conversations one after the other. Each sees the picture and
itself, at the places that it would have alone; so the loss is that of separate prompts, for the
price of one picture. Axes: L the length of all, P parts (the picture's words, then conversations),
B rows, D channels of a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from grounding.llava.tokens import IGNORED, IMAGE_ID, Tokens

__all__ = ["Shared", "share", "shared_loss"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """Conversations in a row.

    Attributes:
        ids: Token ids, `IMAGE_ID` for each word of the picture.
        labels: What the model is trained to say, `IGNORED` elsewhere.
        places: Positions, as if each conversation were alone with the picture.
        parts: 0 for what all share, then 1, 2, ...
    """

    ids: Int[Tensor, " L"]
    labels: Int[Tensor, " L"]
    places: Int[Tensor, " L"]
    parts: Int[Tensor, " L"]


def share(conversations: Sequence[Tokens], picture: int) -> Shared:
    """Put conversations in a row.

    Args:
        conversations: All about one picture, which stands at the same place in each; or all
            without one.
        picture: How many words it becomes.
    """
    first = conversations[0].ids
    seen = (first == IMAGE_ID).nonzero().flatten().tolist()
    head = seen[0] if seen else 0
    opening = first[:head]
    ids, labels = [opening], [torch.full_like(opening, IGNORED)]
    if seen:
        ids.append(torch.full((picture,), IMAGE_ID))
        labels.append(torch.full((picture,), IGNORED))
    start = head + (picture if seen else 0)
    places, parts = [torch.arange(start)], [torch.zeros(start, dtype=torch.long)]
    for number, tokens in enumerate(conversations, start=1):
        tail = slice(head + bool(seen), None)
        ids.append(tokens.ids[tail])
        labels.append(tokens.labels[tail])
        places.append(torch.arange(start, start + len(ids[-1])))
        parts.append(torch.full((len(ids[-1]),), number))
    return Shared(
        ids=torch.cat(ids),
        labels=torch.cat(labels),
        places=torch.cat(places),
        parts=torch.cat(parts),
    )


def shared_loss(
    language_model: nn.Module,
    rows: Sequence[Shared],
    pictures: Sequence[Tensor | None],
    *,
    evenly: bool = False,
) -> Float[Tensor, ""]:
    """Return the mean loss per target of a batch of rows.

    Args:
        language_model: A causal model of transformers.
        rows: Of `share`.
        pictures: The words of each row's picture, [N, D]; None: it has none.
        evenly: Whether each conversation counts the same, however long its answers are, and not
            each target.
    """
    model: Any = language_model
    table = model.get_input_embeddings()
    device = next(table.parameters()).device
    words = []
    for row, picture in zip(rows, pictures, strict=True):
        ids = row.ids.to(device)
        embedded = table(ids.clamp(min=0))
        if picture is not None:
            embedded = embedded.masked_scatter((ids == IMAGE_ID)[:, None], picture.to(embedded))
        words.append(embedded)
    padded = nn.utils.rnn.pad_sequence(words, batch_first=True)
    labels = _padded([row.labels for row in rows], IGNORED).to(device)
    places = _padded([row.places for row in rows], 0).to(device)
    parts = _padded([row.parts for row in rows], -1).to(device)
    seen = _seen(parts)
    hidden = model.get_decoder()(
        inputs_embeds=padded,
        attention_mask=torch.where(seen[:, None], 0.0, torch.finfo(padded.dtype).min),
        position_ids=places,
        use_cache=False,
    ).last_hidden_state
    wanted = labels[:, 1:] != IGNORED
    logits = model.get_output_embeddings()(hidden[:, :-1][wanted])
    losses = F.cross_entropy(logits.float(), labels[:, 1:][wanted], reduction="none")
    if not evenly:
        return losses.mean()
    numbers = parts + torch.arange(len(rows), device=device)[:, None] * (parts.max() + 1)
    _, own, counts = numbers[:, 1:][wanted].unique(return_inverse=True, return_counts=True)
    return (losses / counts[own]).sum() / len(counts)


def _padded(rows: list[Tensor], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _seen(parts: Int[Tensor, "B L"]) -> Bool[Tensor, "B L L"]:
    """Which words each word sees: earlier ones of its own part, and of what all share."""
    same = parts[:, :, None] == parts[:, None, :]
    common = parts[:, None, :] == 0
    return (same | common) & torch.ones_like(same[0]).tril()
