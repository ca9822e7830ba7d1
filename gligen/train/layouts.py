"""Layouts as tensors: the boxes of scenes, and the phrase embeddings of what is in them.

Axes: B batch, N regions, D channels of a phrase embedding.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from gligen.train.scenes import Record
from gligen.train.words import PHRASE_TOKENS, tokenized


@dataclasses.dataclass(frozen=True)
class Layouts:
    """Every phrase of some scenes, encoded once.

    Attributes:
        phrases: Embedding [D] of each phrase.
    """

    phrases: dict[str, Tensor]

    @classmethod
    @torch.no_grad()
    def of(
        cls, records: Iterable[Record], text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
    ) -> "Layouts":
        """Encode the phrases of all records."""
        texts = sorted({phrase for record in records for phrase in record.phrases})
        ids = tokenized(tokenizer, texts, PHRASE_TOKENS).to(text_encoder.device)
        pooled = text_encoder(input_ids=ids).pooler_output.cpu()
        return cls(dict(zip(texts, pooled, strict=True)))

    def __call__(self, records: Sequence[Record]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [B, N, 4], masks [B, N] and phrase embeddings [B, N, D] of some records."""
        most = max(len(record.boxes) for record in records)
        width = len(next(iter(self.phrases.values())))
        boxes = torch.zeros(len(records), most, 4)
        masks = torch.zeros(len(records), most)
        phrases = torch.zeros(len(records), most, width)
        for i, record in enumerate(records):
            count = len(record.boxes)
            boxes[i, :count] = torch.tensor(record.boxes)
            masks[i, :count] = 1
            phrases[i, :count] = torch.stack([self.phrases[p] for p in record.phrases])
        return boxes, masks, phrases
