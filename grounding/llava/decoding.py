"""The next word, and the next: greedy or sampled, with a cache of what was read.

Axes: B conversations, L the longest prompt, D channels of a word, V words.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.errors import PromptError

__all__ = ["GREEDY", "Decoding", "decode"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How an answer is made.

    Attributes:
        max_tokens: It has no more tokens than these.
        temperature: 0 takes the likeliest token; above, tokens are sampled.
        top_p: Sampling is among the likeliest tokens that together have this probability.
        seed: Of the sampling; each conversation has a generator of its own.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise PromptError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if not self.temperature >= 0:
            raise PromptError(f"temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise PromptError(f"top_p must lie above 0 and not above 1, got {self.top_p}")


GREEDY = Decoding()
"""The likeliest word, up to 512 times."""


@torch.inference_mode()
def decode(
    language_model: Any,
    prompts: Sequence[Float[Tensor, "L D"]],
    decoding: Decoding,
    stop: frozenset[int],
) -> Iterator[list[int | None]]:
    """Continue prompts, one token each at a time.

    Prompts are padded on the left. With one prompt there is nothing to pad, and an answer is the
    same to the bit; with several, it is the same but for rounding.

    Args:
        language_model: A causal model of transformers.
        prompts: Words of each prompt.
        decoding: How.
        stop: Ids that end an answer; they are not part of it.

    Yields:
        For each prompt the next token, or None once its answer has ended.
    """
    step = _Steps(language_model, prompts)
    generators = [torch.Generator().manual_seed(decoding.seed) for _ in prompts]
    open_ = [True] * len(prompts)
    logits = step.first()
    for index in range(decoding.max_tokens):
        scores = logits.float().cpu()
        chosen = [
            _choose(row, decoding, generator)
            for row, generator in zip(scores, generators, strict=True)
        ]
        open_ = [alive and token not in stop for alive, token in zip(open_, chosen, strict=True)]
        if not any(open_):
            return
        yield [token if alive else None for alive, token in zip(open_, chosen, strict=True)]
        if index + 1 < decoding.max_tokens:
            logits = step.next(torch.tensor(chosen))


class _Steps:
    """One pass through the prompts, then one through each new token."""

    def __init__(self, language_model: Any, prompts: Sequence[Float[Tensor, "L D"]]):
        self.model = language_model
        known = inspect.signature(language_model.forward).parameters
        self.placed = "position_ids" in known  # MPT tells places by their distance alone
        self.last: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        # transformers 5.24 renamed it
        self.cache_name = "cache" if "cache" in known else "past_key_values"
        length = max(len(prompt) for prompt in prompts)
        first = prompts[0]
        self.words = first.new_zeros(len(prompts), length, first.shape[-1])
        self.mask = torch.zeros(len(prompts), length, dtype=torch.long, device=first.device)
        for row, prompt in enumerate(prompts):
            self.words[row, length - len(prompt) :] = prompt
            self.mask[row, length - len(prompt) :] = 1
        self.cache: Any = None

    def first(self) -> Float[Tensor, "B V"]:
        places = (self.mask.cumsum(1) - 1).clamp(min=0)
        return self._run(places, inputs_embeds=self.words)

    def next(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        places = self.mask.sum(1, keepdim=True) - 1
        return self._run(places, input_ids=tokens.to(self.mask.device)[:, None])

    def _run(self, places: Int[Tensor, "B L"], **given: Tensor) -> Float[Tensor, "B V"]:
        if self.placed:
            given["position_ids"] = places
        result = self.model(
            attention_mask=self.mask,
            use_cache=True,
            **{self.cache_name: self.cache},
            **given,
            **self.last,
        )
        self.cache = result[self.cache_name]
        return result.logits[:, -1]


def _choose(scores: Float[Tensor, " V"], decoding: Decoding, generator: torch.Generator) -> int:
    """Choose a token."""
    if decoding.temperature == 0:
        return int(scores.argmax())
    chances = torch.softmax(scores / decoding.temperature, dim=-1)
    if decoding.top_p < 1:  # arXiv 1904.09751, section 3.1
        ordered, places = chances.sort(descending=True, stable=True)
        outside = ordered.cumsum(-1) - ordered >= decoding.top_p
        chances[places[outside]] = 0
    return int(torch.multinomial(chances, 1, generator=generator))
