"""LLaVA: a vision tower, a projector, and a language model that reads pictures as words.

    H_v = W Z_v,  Z_v = g(X_v)                      arXiv 2304.08485, equation 1

The parts are transformers' own models. What joins them is ours: transformers' LLaVA classes know
one projector and only language models whose words are `embed_tokens`, and want a token for pictures
in the vocabulary. Where they can hold a model, both compute the same.

Axes: T tiles, S their side, N patches kept, D channels of a word, L the length of a prompt,
B conversations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM

from grounding.errors import PromptError
from grounding.llava.anyres import anyres_grid, unpadded
from grounding.llava.config import LlavaConfig
from grounding.llava.pictures import Pixels
from grounding.llava.projector import build_projector
from grounding.llava.tokens import IGNORED, IMAGE_ID, Tokens

__all__ = ["Embedded", "Llava", "build_llava"]


class Embedded(NamedTuple):
    """A prompt in the language model's terms: words, and what to learn of them."""

    words: Float[Tensor, "L D"]
    labels: Int[Tensor, " L"]


class Llava(nn.Module):
    """Reads pictures and words."""

    def __init__(
        self,
        config: LlavaConfig,
        vision_tower: nn.Module,
        projector: nn.Module,
        language_model: nn.Module,
    ):
        super().__init__()
        self.config = config
        self.vision_tower = vision_tower
        self.projector = projector
        self.language_model = language_model
        self.image_newline = None
        if config.aspect == "anyres":
            width = config.text.hidden_size
            self.image_newline = nn.Parameter(torch.randn(width) / width**0.5)

    @property
    def embedding(self) -> nn.Module:
        """The language model's table of words."""
        model: Any = self.language_model
        return model.get_input_embeddings()

    @property
    def device(self) -> torch.device:
        """Where the words are."""
        return next(self.embedding.parameters()).device

    def see(self, pixels: Pixels) -> Float[Tensor, "N D"]:
        """Turn one picture into words. Pictures do not see each other."""
        first = next(self.vision_tower.parameters())
        values = pixels.values.to(first.device, first.dtype)
        seen = self.vision_tower(values, output_hidden_states=True)
        features = seen.hidden_states[self.config.layer]
        grid = self.config.side // self.config.patch
        if self.config.feature == "patch" and features.shape[1] == grid * grid + 1:
            features = features[:, 1:]  # without the class token
        words = self.projector(features.to(next(self.projector.parameters(), features).dtype))
        return words[0] if self.image_newline is None else self._unrolled(words, pixels, grid)

    def _unrolled(
        self, words: Float[Tensor, "T N D"], pixels: Pixels, grid: int
    ) -> Float[Tensor, "N D"]:
        """The whole picture, then the rows of its canvas, each with a mark at its end."""
        assert self.image_newline is not None
        across, down = anyres_grid(pixels.view.target, self.config.side)
        canvas = rearrange(
            words[1:],
            "(down across) (y x) d -> (down y) (across x) d",
            down=down, across=across, y=grid, x=grid,
        )  # fmt: skip
        left, top, right, bottom = unpadded(pixels.size, (across * grid, down * grid))
        canvas = canvas[top:bottom, left:right]
        ends = repeat(self.image_newline.to(canvas), "d -> rows 1 d", rows=len(canvas))
        rows = rearrange(torch.cat([canvas, ends], dim=1), "rows x d -> (rows x) d")
        return torch.cat([words[0], rows])

    def embed(self, tokens: Tokens, pictures: Sequence[Pixels]) -> Embedded:
        """Put pictures into a prompt.

        Raises:
            PromptError: As for `join`.
        """
        return self.join(tokens, [self.see(picture) for picture in pictures])

    def join(self, tokens: Tokens, pictures: Sequence[Float[Tensor, "N D"]]) -> Embedded:
        """Put the words of pictures into a prompt.

        Raises:
            PromptError: The prompt has more or fewer places than there are pictures.
        """
        ids = tokens.ids.to(self.device)
        labels = tokens.labels.to(self.device)
        places = (ids == IMAGE_ID).nonzero().flatten().tolist()
        if len(places) != len(pictures):
            raise PromptError(
                f"the prompt has places for {len(places)} pictures, got {len(pictures)}"
            )
        words, targets, start = [], [], 0
        for place, seen in zip(places, pictures, strict=True):
            words += [self.embedding(ids[start:place]), seen]
            targets += [labels[start:place], labels.new_full((len(seen),), IGNORED)]
            start = place + 1
        words.append(self.embedding(ids[start:]))
        targets.append(labels[start:])
        return Embedded(torch.cat([part.to(words[-1]) for part in words]), torch.cat(targets))

    def forward(self, prompts: Sequence[Embedded]) -> Float[Tensor, ""]:
        """Return the mean loss per target of a batch of prompts, padded on the right."""
        words, mask = _padded([prompt.words for prompt in prompts])
        labels = nn.utils.rnn.pad_sequence(
            [prompt.labels for prompt in prompts], batch_first=True, padding_value=IGNORED
        )
        model: Any = self.language_model
        logits = model(inputs_embeds=words, attention_mask=mask, use_cache=False).logits
        return nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
        )


def _padded(
    prompts: Sequence[Float[Tensor, "L D"]],
) -> tuple[Float[Tensor, "B L D"], Int[Tensor, "B L"]]:
    """Prompts of one length, and where they are not padding."""
    words = nn.utils.rnn.pad_sequence(list(prompts), batch_first=True)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=words.device)
    mask = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
    return words, mask.long()


def build_llava(config: LlavaConfig, *, seed: int = 0) -> Llava:
    """Build a LLaVA with fresh parameters, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Llava(
            config,
            AutoModel.from_config(config.vision),
            build_projector(config.projector, config.vision.hidden_size, config.text.hidden_size),
            AutoModelForCausalLM.from_config(config.text),
        )
