"""Words into what the UNet and the gates read: one CLIP text encoder, two ways to read it.

Axes: T tokens (77 in Stable Diffusion), D channels of the text encoder.
Each text is encoded alone, so its embedding never depends on the texts around it.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from grounding.errors import CheckpointError

__all__ = ["TextReader"]

_LEGACY_EOS = 2  # CLIP configs from before transformers 4.31: "take the largest id"
_SPECIAL_TOKENS = 2  # one that opens and one that closes every text

Notice = Callable[[str], None]


class TextReader:
    """Embeds prompts and phrases with a frozen `CLIPTextModel`.

    Args:
        tokenizer: its `CLIPTokenizer`.
        encoder: the text encoder; its device and dtype are those of the results.

    Raises:
        CheckpointError: the two disagree on the token that ends a text, which would silently give
            every phrase the same embedding.
    """

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder
        self.length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        end = encoder.config.eos_token_id
        if end not in (_LEGACY_EOS, tokenizer.eos_token_id):
            raise CheckpointError(
                f"the text encoder's config ends a text with token {end}, its tokenizer with "
                f"{tokenizer.eos_token_id}: they do not belong together; set eos_token_id"
            )

    @torch.inference_mode()
    def prompt(self, text: str, notice: Notice) -> Float[Tensor, "1 T D"]:
        """Last hidden states of a prompt, padded to the encoder's length, as SD 1.x reads them."""
        return self.encoder(self._ids(text, notice, padding="max_length")).last_hidden_state

    @torch.inference_mode()
    def phrase(self, text: str, notice: Notice) -> Float[Tensor, "1 D"]:
        """The pooled output of a phrase (its end token, not projected), as GLIGEN reads it."""
        return self.encoder(self._ids(text, notice, padding=False)).pooler_output

    def _ids(self, text: str, notice: Notice, padding: str | bool) -> Tensor:
        self._tell_what_is_cut(text, notice)
        ids = self.tokenizer(
            text,
            padding=padding,
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return ids.to(self.encoder.device)

    def _tell_what_is_cut(self, text: str, notice: Notice) -> None:
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        room = self.length - _SPECIAL_TOKENS
        if len(ids) > room:
            lost = self.tokenizer.decode(ids[room:]).strip()
            notice(
                f"the text encoder reads {room} tokens and the text has {len(ids)}: "
                f"it does not see {lost!r}"
            )
