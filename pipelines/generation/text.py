"""Words into what the UNet and the gates read: one or two CLIP text encoders, two ways to read.

| base   | context of the UNet                        | phrase of the gates                        |
|--------|--------------------------------------------|--------------------------------------------|
| SD 1.x | last hidden states                         | pooled output (end token, not projected)   |
| SD 2.x | the same, of an encoder without its last layer | the same, as in IGLIGEN's SD 2.1       |
| SDXL   | last hidden states but one of both encoders | pooled output of the first, projected one of the second, as in IGLIGEN-XL |

(Podell et al., "SDXL", arXiv 2307.01952, section 2; github.com/TonyLianLong/igligen;
github.com/jiuntian/igligen-xl.)
Axes: B prompts, T tokens (77 in Stable Diffusion), D channels of all encoders together.
Each text is encoded alone, so its embedding never depends on the texts around it.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grounding.errors import CheckpointError
from weights.base import BaseModel

__all__ = ["TextReader", "Words"]

_LEGACY_EOS = 2  # CLIP configs from before transformers 4.31: "take the largest id"
_SPECIAL_TOKENS = 2  # one that opens and one that closes every text

Notice = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """Encoded prompts.

    Attributes:
        context: what the UNet attends to.
        added: what else it is told (`gligen.sampler.Condition.added`): of SDXL the pooled text
            [B, P] and six numbers of the picture [B, 6].
    """

    context: Float[Tensor, "B T D"]
    added: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def together(cls, prompts: Sequence[Words]) -> Words:
        """One batch of several."""
        names = prompts[0].added
        return cls(
            context=torch.cat([one.context for one in prompts]),
            added={name: torch.cat([one.added[name] for one in prompts]) for name in names},
        )


class TextReader:
    """Embeds prompts and phrases with frozen text encoders.

    Args:
        tokenizer: a `CLIPTokenizer`.
        encoder: its `CLIPTextModel`; the device and dtype are those of the results.
        second: tokenizer and `CLIPTextModelWithProjection` of a base with two encoders (SDXL).
        zero_negative: an empty negative prompt is all zeros (SDXL), not the empty text.
        spelled: rewrites every text before it is read, such as words of one's own.

    Raises:
        CheckpointError: a tokenizer and its encoder disagree on the token that ends a text, which
            would silently give every phrase the same embedding; or two encoders on the length.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        second: tuple[Any, Any] | None = None,
        *,
        zero_negative: bool = False,
        spelled: Callable[[str], str] = str,
    ) -> None:
        self.first = _Encoder(tokenizer, encoder)
        self.second = None if second is None else _Encoder(*second)
        self.zero_negative, self.spelled = zero_negative, spelled
        if self.second is not None and self.second.length != self.first.length:
            raise CheckpointError(
                f"the text encoders read {self.first.length} and {self.second.length} tokens: "
                "they do not belong together"
            )

    @classmethod
    def of(cls, base: BaseModel, spelled: Callable[[str], str] = str) -> TextReader:
        """The reader of a base model."""
        second = None
        if base.text_encoder_2 is not None:
            second = base.tokenizer_2, base.text_encoder_2
        return cls(
            base.tokenizer,
            base.text_encoder,
            second,
            zero_negative=base.zero_negative,
            spelled=spelled,
        )

    @property
    def phrase_dim(self) -> int:
        """Channels of a phrase."""
        wide: int = self.first.model.config.hidden_size
        return wide if self.second is None else wide + self.second.model.config.projection_dim

    @torch.inference_mode()
    def prompt(self, text: str, notice: Notice, size: tuple[int, int]) -> Words:
        """Encode a prompt, padded to the encoders' length.

        Args:
            text: the prompt.
            notice: told what the encoders do not see.
            size: (width, height) of the picture; SDXL is told them.
        """
        text = self.spelled(text)
        self.first.tell_what_is_cut(text, notice)
        one = self.first(text, padding="max_length", output_hidden_states=self.second is not None)
        if self.second is None:
            return Words(context=one.last_hidden_state)
        two = self.second(text, padding="max_length", output_hidden_states=True)
        context = torch.cat((one.hidden_states[-2], two.hidden_states[-2]), dim=-1)
        width, height = size
        # Original size, what was cut off its top and left, target size; SDXL, section 2.2.
        told = [height, width, 0, 0, height, width]
        times = torch.tensor([told], device=context.device, dtype=torch.float32)
        return Words(context=context, added={"text_embeds": two.text_embeds, "time_ids": times})

    def negative(self, text: str, notice: Notice, size: tuple[int, int]) -> Words:
        """Encode a negative prompt; as `prompt`, but for the empty one of some bases."""
        words = self.prompt(text, notice, size)
        if text or not self.zero_negative:
            return words
        zeros = {"text_embeds": torch.zeros_like(words.added["text_embeds"])}
        return Words(context=torch.zeros_like(words.context), added={**words.added, **zeros})

    @torch.inference_mode()
    def phrase(self, text: str, notice: Notice) -> Float[Tensor, "1 D"]:
        """Encode a phrase in the way that GLIGEN's gates read it."""
        text = self.spelled(text)
        self.first.tell_what_is_cut(text, notice)
        pooled = self.first(text, padding=False).pooler_output
        if self.second is None:
            return pooled
        return torch.cat((pooled, self.second(text, padding=False).text_embeds), dim=-1)


class _Encoder:
    """One tokenizer with its text encoder."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer, self.model = tokenizer, model
        self.length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        end = model.config.eos_token_id
        if end not in (_LEGACY_EOS, tokenizer.eos_token_id):
            raise CheckpointError(
                f"the text encoder's config ends a text with token {end}, its tokenizer with "
                f"{tokenizer.eos_token_id}: they do not belong together; set eos_token_id"
            )

    def __call__(self, text: str, padding: str | bool, **options: Any) -> Any:
        """The encoder's output for one text."""
        return self.model(self._ids(text, padding), **options)

    def _ids(self, text: str, padding: str | bool) -> Int[Tensor, "1 T"]:
        ids = self.tokenizer(
            text,
            padding=padding,
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return ids.to(self.model.device)

    def tell_what_is_cut(self, text: str, notice: Notice) -> None:
        """Say which words are too many."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        room = self.length - _SPECIAL_TOKENS
        if len(ids) > room:
            lost = self.tokenizer.decode(ids[room:]).strip()
            notice(
                f"the text encoder reads {room} tokens and the text has {len(ids)}: "
                f"it does not see {lost!r}"
            )
