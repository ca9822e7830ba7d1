"""Chat: questions about pictures, answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from PIL import Image

from grounding.errors import PromptError
from grounding.geometry import CanvasMap, Size
from grounding.llava.conversation import Conversation
from grounding.llava.decoding import GREEDY, Decoding, decode
from grounding.llava.memory import PictureMemory
from grounding.llava.model import Llava
from grounding.llava.stream import TextStream
from grounding.llava.template import Template, fence
from grounding.llava.tokens import tokenize

__all__ = ["Chat", "Speaker"]


class Speaker(Protocol):
    """Whoever answers: a model on this machine or elsewhere."""

    def stream(self, conversation: Conversation, decoding: Decoding = ...) -> Iterator[str]:
        """Yield an answer in parts, as it is made."""
        ...

    def answer(self, conversation: Conversation, decoding: Decoding = ...) -> str:
        """Return an answer."""
        ...


class Chat:
    """A LLaVA on this machine, and what it takes to speak with it.

    Attributes:
        model: In evaluation mode.
        tokenizer: Of the language model.
        template: How the model was spoken to in training.
    """

    def __init__(self, model: Llava, tokenizer: Any, template: Template):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.template = template
        self.reader = model.config.reader
        self._memory = PictureMemory()

    def view(self, size: Size) -> CanvasMap:
        """Return where a picture of a size lies on what the model sees."""
        return self.reader.view(size)

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Iterator[str]:
        """Yield an answer in parts, as it is made.

        Raises:
            PromptError: The conversation asks nothing, or is longer than the model can read.
        """
        for [part] in self._streams([conversation], decoding):
            if part:
                yield part

    def answer(self, conversation: Conversation, decoding: Decoding = GREEDY) -> str:
        """Return an answer.

        Raises:
            PromptError: As for `stream`.
        """
        return "".join(self.stream(conversation, decoding)).strip()

    def answers(
        self,
        conversations: Sequence[Conversation],
        decoding: Decoding = GREEDY,
        *,
        batch: int = 1,
    ) -> list[str]:
        """Answer many conversations.

        Args:
            conversations: Independent of each other.
            decoding: How; every conversation is sampled with the same seed.
            batch: How many are answered at once. With one, an answer is the same whatever the
                others are; with more it is so but for rounding.

        Raises:
            PromptError: As for `stream`.
        """
        if batch < 1:
            raise PromptError(f"batch must be at least 1, got {batch}")
        answers = []
        for start in range(0, len(conversations), batch):
            parts = zip(*self._streams(conversations[start : start + batch], decoding), strict=True)
            answers += ["".join(row).strip() for row in parts]
        return answers

    @torch.inference_mode()
    def _streams(
        self, conversations: Sequence[Conversation], decoding: Decoding
    ) -> Iterator[list[str]]:
        """Yield the next part of each answer; the last ones are what was held back."""
        prompts = [self._prompt(conversation) for conversation in conversations]
        room = self._room(max(len(prompt) for prompt in prompts))
        decoding = replace(decoding, max_tokens=min(decoding.max_tokens, room))
        streams = [TextStream(self.tokenizer, self.template.stop) for _ in prompts]
        steps = decode(self.model.language_model, prompts, decoding, self._stop())
        for tokens in steps:
            yield [
                "" if token is None or stream.ended else stream.push(token)
                for stream, token in zip(streams, tokens, strict=True)
            ]
            if all(
                token is None or stream.ended for stream, token in zip(streams, tokens, strict=True)
            ):
                break
        yield [stream.finish() for stream in streams]

    def _prompt(self, conversation: Conversation) -> torch.Tensor:
        if not conversation.asks:
            raise PromptError("the last turn must be the user's: there is nothing to answer")
        pieces = self.template.pieces(conversation)
        if self.model.config.fenced:
            pieces = fence(pieces)
        tokens = tokenize(pieces, self.tokenizer)
        return self.model.join(tokens, [self._see(one) for one in conversation.pictures]).words

    def _see(self, picture: Image.Image) -> torch.Tensor:
        return self._memory.recall(picture, lambda: self.model.see(self.reader(picture)))

    def _room(self, length: int) -> int:
        """How many tokens can follow a prompt."""
        text = self.model.config.text
        limit = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
        if limit is None:
            return 2**31
        if length >= limit:
            raise PromptError(
                f"the conversation has {length} tokens, the model reads {limit} at most: ask less, "
                "or show fewer pictures"
            )
        return limit - length

    def _stop(self) -> frozenset[int]:
        """Ids that end an answer."""
        generation = getattr(self.model.language_model, "generation_config", None)
        ids = [self.tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)]
        stop = self.tokenizer.encode(self.template.stop, add_special_tokens=False)
        ids += stop if len(stop) == 1 else []
        flat = [i for item in ids for i in (item if isinstance(item, list) else [item])]
        return frozenset(i for i in flat if i is not None)
