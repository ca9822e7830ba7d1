"""LLaVA learns from records: both stages of the papers.

    stage 1   the projector alone, on captions        (arXiv 2304.08485, section 4.2)
    stage 2   projector and language model, or LoRA upon it, on instructions

Answers alone count in the loss; the vision tower stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from grounding.broken import Broken
from grounding.errors import PromptError
from grounding.find_file import find_beside
from grounding.llava.model import Embedded, Llava
from grounding.llava.records import Record
from grounding.llava.template import Template, fence
from grounding.llava.tokens import IGNORED, tokenize
from grounding.llava.train.batches import epoch_batches
from grounding.llava.train.recipes import Recipe
from grounding.picture_file import open_picture, read_picture_size

__all__ = ["LlavaTask", "check_pictures"]


@dataclass
class LlavaTask:
    """Trains a LLaVA.

    Attributes:
        model: Its parameters that require gradients are trained.
        tokenizer: Of its language model.
        template: How it is spoken to.
        records: What it learns from.
        images: Folder of their pictures.
        recipe: How.
        batch: Records that a process reads at once.
        seed: Of the order of the records.
        processes: How many train together.
        process: Which of them this one is.
        broken: Counts records that cannot be learned from; the next one comes in their place.
    """

    model: Llava
    tokenizer: Any
    template: Template
    records: Sequence[Record]
    images: Path
    recipe: Recipe
    batch: int = 1
    seed: int = 0
    processes: int = 1
    process: int = 0
    broken: Broken = field(default_factory=Broken)
    _epoch: tuple[int, list[list[int]]] = field(default=(-1, []), init=False)

    def __post_init__(self) -> None:
        """Measure the records."""
        self._lengths = [sum(len(text.split()) for text in r.turns) for r in self.records]
        self._names = record_names(self.records)
        self._pictured = [record.image is not None for record in self.records]
        self._batches = len(self._order(0))

    @property
    def batches(self) -> int:
        """How many batches an epoch has, all processes together."""
        return self._batches

    def trained(self) -> nn.Module:
        """The model."""
        return self.model

    def loss(self, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of the next batch: the mean over all tokens of answers."""
        epoch, place = divmod(step * self.processes + self.process, self._batches)
        chosen = self._order(epoch)[place]
        device = self.model.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # LoRA's dropout
            torch.manual_seed(generator.initial_seed())
            prompts = [
                self.broken.read(number, self._names, lambda n: self._prompt(self.records[n]))[1]
                for number in chosen
            ]
            loss = self.model(prompts)
        return loss, {"tokens": float(sum(len(prompt.words) for prompt in prompts))}

    def sample(self, path: Path) -> None:
        """Nothing is drawn."""

    def _order(self, epoch: int) -> list[list[int]]:
        if self._epoch[0] != epoch:
            batches = epoch_batches(
                self._lengths,
                self._pictured,
                self.batch,
                grouped=self.recipe.grouped,
                seed=self.seed * 1_000_003 + epoch,
            )
            self._epoch = (epoch, batches)
        return self._epoch[1]

    def _prompt(self, record: Record) -> Embedded:
        """A record in the model's terms, cut off at the end if it is too long."""
        picture = None if record.image is None else self._open(record.image)
        pieces = self.template.pieces(record.conversation(picture))
        if self.model.config.fenced:
            pieces = fence(pieces)
        tokens = tokenize(pieces, self.tokenizer)
        seen = [] if picture is None else [self.model.config.reader(picture)]
        embedded = self.model.embed(tokens, seen)
        end = self.recipe.max_tokens
        if not (embedded.labels[:end] != IGNORED).any():
            raise PromptError(
                f"record {record.id!r}: no answer begins within {end} tokens; leave it out, or "
                "raise --max-tokens"
            )
        return Embedded(embedded.words[:end], embedded.labels[:end])

    def _open(self, name: str) -> Image.Image:
        return open_picture(find_beside(self.images, name))


def check_pictures(records: Sequence[Record], images: Path, broken: Broken, data: object) -> None:
    """Look at the pictures of records before the first step, without decoding them.

    Args:
        records: What is learned from.
        images: Folder of their pictures.
        broken: Counts those that are missing, or none.
        data: For messages.

    Raises:
        PromptError: none can be read, so that the folder is another; or, if strict, not all can.
    """

    @functools.cache
    def look(name: str) -> None:
        read_picture_size(find_beside(images, name))

    named = {number: one.image for number, one in enumerate(records) if one.image is not None}
    try:
        broken.check(data, record_names(records), lambda n: look(named[n]), among=list(named))
    except PromptError as error:
        raise PromptError(f"{error}; their folder is named by --images") from None


def record_names(records: Sequence[Record]) -> list[str]:
    """What records are called in reports: by their pictures, if they have any."""
    return [record.image or record.id for record in records]
