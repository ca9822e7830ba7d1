"""Prompts as token ids, with places for pictures and targets for training.

As the original does, the texts between pictures are tokenised apart, and only the first keeps the
token that opens a text (haotian-liu/LLaVA, llava/mm_utils.py, tokenizer_image_token). Axes: L the
length of a prompt, a picture counting as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from grounding.errors import PromptError
from grounding.llava.template import IMAGE, Piece

__all__ = ["IGNORED", "IMAGE_ID", "Tokens", "tokenize"]

IMAGE_ID = -200  # IMAGE_TOKEN_INDEX; haotian-liu/LLaVA, llava/constants.py
IGNORED = -100  # what PyTorch's cross entropy leaves out


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """A prompt for the model.

    Attributes:
        ids: Token ids, `IMAGE_ID` at the place of a picture.
        labels: The ids that the model is trained to say, `IGNORED` elsewhere.
    """

    ids: Int[Tensor, " L"]
    labels: Int[Tensor, " L"]


def tokenize(pieces: Sequence[Piece], tokenizer: Any) -> Tokens:
    """Tokenise a prompt.

    A token that holds the border between a question and its answer counts as the answer's.

    Args:
        pieces: Of `Template.pieces`.
        tokenizer: A fast tokenizer of transformers.

    Raises:
        PromptError: Targets are wanted of a tokenizer that does not say where its tokens lie.
    """
    ids: list[int] = []
    labels: list[int] = []
    for index, run in enumerate(_runs(pieces)):
        if index:
            ids.append(IMAGE_ID)
            labels.append(IGNORED)
        new, spans = _encode("".join(str(piece.text) for piece in run), run, tokenizer)
        opens = bool(new) and new[0] == tokenizer.bos_token_id
        skipped = 1 if index and opens else 0
        targets = _target_spans(run)
        for token, span in zip(new[skipped:], spans[skipped:], strict=True):
            is_target = any(span[0] < end and start < span[1] for start, end in targets)
            ids.append(token)
            labels.append(token if is_target else IGNORED)
    return Tokens(ids=torch.tensor(ids), labels=torch.tensor(labels))


def _runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The texts before, between and after the pictures."""
    runs: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece.text is IMAGE:
            runs.append([])
        else:
            runs[-1].append(piece)
    return runs


def _encode(
    text: str, run: Sequence[Piece], tokenizer: Any
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids, and which characters each stands for."""
    if tokenizer.is_fast:
        encoded = tokenizer(text, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]
    if any(piece.target for piece in run):
        raise PromptError(
            f"{type(tokenizer).__name__} does not say where its tokens lie in the text, which "
            "training needs: load the fast tokenizer (tokenizer.json)"
        )
    ids = tokenizer(text)["input_ids"]
    return ids, [(0, 0)] * len(ids)


def _target_spans(run: Sequence[Piece]) -> list[tuple[int, int]]:
    """Which characters the model is trained to say."""
    spans, place = [], 0
    for piece in run:
        end = place + len(str(piece.text))
        if piece.target:
            spans.append((place, end))
        place = end
    return spans
